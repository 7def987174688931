//! Addresses as patterns compare them: IPv4 and IPv6 as numbers of their family.

use std::net::Ipv6Addr;

/// An address. Those of one family are ordered; an IPv4 address that is written as IPv6 (`::ffff:10.0.0.1`'s bits) is IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Ip {
    V4(u32),
    V6(u128),
}

/// Why a CIDR block is none. The texts are AWS's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotCidr {
    #[error("Malformed CIDR, one '/' required")]
    Slashes,
    #[error("Malformed CIDR, mask bits must be an integer")]
    Mask,
    #[error("Malformed CIDR, mask bits must not be negative")]
    Negative,
    #[error("Nonstandard IP address: {0}")]
    Nonstandard(String),
    #[error("Invalid IP address: {0}")]
    Invalid(String),
    #[error("IPv4 mask bits must be < 32")]
    MaskV4,
    #[error("IPv6 mask bits must be < 128")]
    MaskV6,
}

/// The address that a text spells, if it looks like one at all. Leading zeros are decimal, as for AWS.
pub(super) fn address(text: &str) -> Option<Ip> {
    match form(text)? {
        Form::V4 => v4(text),
        Form::V6 => v6(text),
    }
}

/// The first and the last address of a block such as `10.0.0.0/24`.
pub(super) fn block(text: &str) -> Result<(Ip, Ip), NotCidr> {
    let (ip, mask) = text
        .split_once('/')
        .filter(|(_, mask)| !mask.contains('/'))
        .ok_or(NotCidr::Slashes)?;
    let mask: i32 = mask.parse().map_err(|_| NotCidr::Mask)?;
    let mask = u32::try_from(mask).map_err(|_| NotCidr::Negative)?;
    if form(ip).is_none() {
        return Err(NotCidr::Nonstandard(ip.to_owned()));
    }
    match address(ip).ok_or_else(|| NotCidr::Invalid(ip.to_owned()))? {
        // A single address is written as a plain string; AWS refuses it as a block.
        Ip::V4(_) if mask > 31 => Err(NotCidr::MaskV4),
        Ip::V6(_) if mask > 127 => Err(NotCidr::MaskV6),
        Ip::V4(bits) => {
            let host = u32::MAX >> mask;
            Ok((Ip::V4(bits & !host), Ip::V4(bits | host)))
        }
        Ip::V6(bits) => {
            let host = u128::MAX >> mask;
            Ok((Ip::V6(bits & !host), Ip::V6(bits | host)))
        }
    }
}

enum Form {
    V4,
    V6,
}

/// Whether a text has the letters of an address: four groups of digits, or hexadecimal digits and colons.
fn form(text: &str) -> Option<Form> {
    let bytes = text.as_bytes();
    if bytes.contains(&b':') {
        let every = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b':';
        return bytes.iter().all(every).then_some(Form::V6);
    }
    let group = |group: &str| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit());
    (text.split('.').count() == 4 && text.split('.').all(group)).then_some(Form::V4)
}

fn v4(text: &str) -> Option<Ip> {
    let mut bits = 0;
    for group in text.split('.') {
        bits = bits << 8 | u32::from(group.parse::<u8>().ok()?);
    }
    Some(Ip::V4(bits))
}

fn v6(text: &str) -> Option<Ip> {
    let address: Ipv6Addr = text.parse().ok()?;
    Some(match address.to_ipv4_mapped() {
        Some(mapped) => Ip::V4(mapped.to_bits()),
        None => Ip::V6(address.to_bits()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks() {
        let v4 = |bits| Ip::V4(bits);
        for (text, wanted) in [
            ("10.0.0.0/24", Ok((v4(0x0a00_0000), v4(0x0a00_00ff)))),
            // The block begins where the mask says (event-ruler pull request 89).
            ("10.0.0.77/24", Ok((v4(0x0a00_0000), v4(0x0a00_00ff)))),
            ("10.0.0.77/31", Ok((v4(0x0a00_004c), v4(0x0a00_004d)))),
            ("0.0.0.0/0", Ok((v4(0), v4(u32::MAX)))),
            ("::/0", Ok((Ip::V6(0), Ip::V6(u128::MAX)))),
            (
                "2001:db8::/127",
                Ok((Ip::V6(0x2001_0db8 << 96), Ip::V6((0x2001_0db8 << 96) + 1))),
            ),
            ("bad-filter", Err(NotCidr::Slashes)),
            ("10.0.0.0/1/2", Err(NotCidr::Slashes)),
            ("10.0.0.0/xx", Err(NotCidr::Mask)),
            ("10.0.0.0/-1", Err(NotCidr::Negative)),
            ("10.0.0.0/32", Err(NotCidr::MaskV4)),
            ("::/128", Err(NotCidr::MaskV6)),
            ("xx.11.xx/8", Err(NotCidr::Nonstandard("xx.11.xx".into()))),
            ("300.0.0.1/8", Err(NotCidr::Invalid("300.0.0.1".into()))),
            ("1:::2/8", Err(NotCidr::Invalid("1:::2".into()))),
        ] {
            assert_eq!(block(text), wanted, "{text}");
        }
    }
}
