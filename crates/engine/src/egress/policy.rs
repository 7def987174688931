//! Which addresses functions may reach. Names do not count: whatever a name led to, the address is judged.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::str::FromStr;

use sandbox::Delivery;

/// A network of IPv4 addresses, such as `10.20.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: u32,
    bits: u32,
}

impl Cidr {
    const fn new([a, b, c, d]: [u8; 4], bits: u32) -> Cidr {
        let base = u32::from_be_bytes([a, b, c, d]);
        Cidr { base, bits }
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == self.base
    }

    fn covers(self, other: Cidr) -> bool {
        self.bits <= other.bits && other.base & self.mask() == self.base
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - self.bits).unwrap_or(0)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let wrong = || format!("{text:?} is not an IPv4 network, such as 10.20.0.0/16");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let bits = bits.parse().ok().filter(|bits| *bits <= 32);
        let cidr = Cidr {
            base: address.into(),
            bits: bits.ok_or_else(wrong)?,
        };
        if cidr.base & !cidr.mask() != 0 {
            let base = Ipv4Addr::from(cidr.base & cidr.mask());
            return Err(format!(
                "{text:?} has bits beyond its prefix; did you mean {base}/{}?",
                cidr.bits
            ));
        }
        Ok(cidr)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
}

/// Ranges that are not the internet (<https://www.iana.org/assignments/iana-ipv4-special-registry>), and what they are.
const CLOSED: &[(Cidr, &str)] = &[
    (Cidr::new([0, 0, 0, 0], 8), "this network"),
    (Cidr::new([10, 0, 0, 0], 8), "a private network"),
    (Cidr::new([100, 64, 0, 0], 10), "a carrier's own network"),
    (Cidr::new([127, 0, 0, 0], 8), "loopback"),
    // Clouds keep the metadata of a machine here, the credentials of its role among them.
    (Cidr::new([169, 254, 0, 0], 16), "link-local"),
    (Cidr::new([172, 16, 0, 0], 12), "a private network"),
    (Cidr::new([192, 0, 0, 0], 24), "reserved"),
    (Cidr::new([192, 0, 2, 0], 24), "for documentation"),
    (Cidr::new([192, 88, 99, 0], 24), "reserved"),
    (Cidr::new([192, 168, 0, 0], 16), "a private network"),
    (Cidr::new([198, 18, 0, 0], 15), "for benchmarks"),
    (Cidr::new([198, 51, 100, 0], 24), "for documentation"),
    (Cidr::new([203, 0, 113, 0], 24), "for documentation"),
    (Cidr::new([224, 0, 0, 0], 4), "multicast"),
    (Cidr::new([240, 0, 0, 0], 4), "reserved"),
];

/// Why an address is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the function does not reach the internet")]
    Closed,
    #[error("the port is not open")]
    Port,
    #[error("the address is {0}")]
    Range(&'static str),
    #[error("the address is this machine's own")]
    Own,
    #[error("the address is not that of one machine")]
    NotOne,
    #[error("there is no route: {0}")]
    NoRoute(io::Error),
    #[error("too many connections of one environment")]
    Full,
    #[error("too many connections of all functions")]
    AllFull,
}

/// Judges an address. `allow` are the operator's exceptions, and `delivery` tells how this machine would deliver to it.
///
/// An exception counts when it lies within the closed range, so that a wide one such as `0.0.0.0/0` does not open the
/// metadata service by accident; and this machine's own addresses are opened one by one, because a service that
/// listens on all addresses of its machine rarely means functions too.
pub(crate) fn judge(
    address: Ipv4Addr,
    allow: &[Cidr],
    delivery: impl FnOnce(Ipv4Addr) -> io::Result<Delivery>,
) -> Result<(), Refused> {
    let mut named = allow.iter().filter(|cidr| cidr.contains(address));
    for (range, what) in CLOSED.iter().filter(|(range, _)| range.contains(address)) {
        if !named.clone().any(|cidr| range.covers(*cidr)) {
            return Err(Refused::Range(what));
        }
    }
    match delivery(address) {
        Ok(Delivery::Remote) => Ok(()),
        Ok(Delivery::Local) if named.any(|cidr| cidr.bits == 32) => Ok(()),
        Ok(Delivery::Local) => Err(Refused::Own),
        Ok(Delivery::Other) => Err(Refused::NotOne),
        Err(error) => Err(Refused::NoRoute(error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, allow: &[&str], delivery: Delivery, expected: &str) {
        let allow: Vec<Cidr> = allow.iter().map(|cidr| cidr.parse().unwrap()).collect();
        let verdict = judge(address.parse().unwrap(), &allow, |_| Ok(delivery));
        let verdict = verdict.map_or_else(|why| why.to_string(), |()| "allowed".to_owned());
        assert_eq!(verdict, expected, "{address} with {allow:?}");
    }

    #[test]
    fn the_internet_is_open_and_everything_else_is_not() {
        use Delivery::{Local, Other, Remote};
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.0.0.1",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.0.1",
            "192.169.0.0",
            "198.17.0.1",
            "198.20.0.0",
            "223.255.255.255",
        ] {
            check(address, &[], Remote, "allowed");
            check(address, &[], Local, "the address is this machine's own");
            let expected = "the address is not that of one machine";
            check(address, &[], Other, expected);
        }
        for (address, what) in [
            ("0.0.0.0", "this network"),
            ("10.0.0.1", "a private network"),
            ("10.255.255.255", "a private network"),
            ("100.64.0.1", "a carrier's own network"),
            ("100.127.255.255", "a carrier's own network"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.255", "loopback"),
            ("169.254.169.254", "link-local"),
            ("169.254.170.2", "link-local"),
            ("172.16.0.1", "a private network"),
            ("172.31.255.255", "a private network"),
            ("192.0.0.192", "reserved"),
            ("192.168.1.1", "a private network"),
            ("198.19.0.1", "for benchmarks"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
        ] {
            check(address, &[], Remote, &format!("the address is {what}"));
            // Opening everything opens nothing.
            let expected = format!("the address is {what}");
            check(address, &["0.0.0.0/0"], Remote, &expected);
        }
    }

    #[test]
    fn exceptions_open_what_they_name() {
        use Delivery::{Local, Remote};
        let private = "the address is a private network";
        check("10.1.2.3", &["10.1.0.0/16"], Remote, "allowed");
        check("10.2.2.3", &["10.1.0.0/16"], Remote, private);
        check(
            "192.168.7.7",
            &["10.0.0.0/8", "192.168.0.0/16"],
            Remote,
            "allowed",
        );
        let metadata = "169.254.169.254";
        check(metadata, &["169.254.169.254/32"], Remote, "allowed");
        check(
            metadata,
            &["160.0.0.0/4"],
            Remote,
            "the address is link-local",
        );
        // This machine's own addresses are opened one by one.
        let own = "the address is this machine's own";
        check("10.1.2.3", &["10.1.0.0/16"], Local, own);
        check("10.1.2.3", &["10.1.2.3/32"], Local, "allowed");
        check("127.0.0.1", &["127.0.0.0/8"], Local, own);
        check("8.8.8.8", &["8.8.8.8/32"], Local, "allowed");
    }

    #[test]
    fn networks_are_read_strictly() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "1.2.3.4/32"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        for text in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "fd00::/8",
            "",
            "/8",
            "10.0.0.0/-1",
        ] {
            let error = text.parse::<Cidr>().unwrap_err();
            assert!(error.contains("is not an IPv4 network"), "{error}");
        }
        let error = "10.1.2.3/8".parse::<Cidr>().unwrap_err();
        assert!(error.ends_with("did you mean 10.0.0.0/8?"), "{error}");
    }

    #[test]
    fn without_an_answer_about_the_route_it_is_refused() {
        let verdict = judge(Ipv4Addr::new(1, 1, 1, 1), &[], |_| {
            Err(io::ErrorKind::NetworkUnreachable.into())
        });
        assert!(matches!(verdict, Err(Refused::NoRoute(_))));
    }
}
