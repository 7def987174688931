//! IPv4 routes, by rtnetlink messages written by hand: there are two of them, and a library for them would be
//! larger than this crate. Both work in the network namespace of the calling thread.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// The kernel answers while it is asked, so this only keeps a broken one from holding us for ever.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// `lo` is the first interface of every network namespace.
const LOOPBACK_INDEX: u32 = 1;
/// `struct nlmsghdr`, then `struct rtmsg` or the error number.
const HEADER_BYTES: usize = 16;
/// `struct rtmsg`.
const ROUTE_BYTES: usize = 12;

/// How this machine would deliver a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// To another machine.
    Remote,
    /// To itself.
    Local,
    /// To several, or not at all.
    Other,
}

/// Asks the kernel how this machine would deliver a packet to `address`. Unlike a list of the addresses of its
/// interfaces this knows secondary addresses, whole local networks and broadcast addresses too.
pub fn delivery(address: Ipv4Addr) -> io::Result<Delivery> {
    let route = Route {
        destination: Some(address),
        ..Route::default()
    };
    let answer = talk(&route.message(libc::RTM_GETROUTE, libc::NLM_F_REQUEST))?;
    if kind_of_message(&answer) != Some(libc::RTM_NEWROUTE) {
        return Err(malformed());
    }
    // The type is the eighth byte of `struct rtmsg`.
    let kind = *answer.get(HEADER_BYTES + 7).ok_or_else(malformed)?;
    Ok(match kind {
        libc::RTN_UNICAST => Delivery::Remote,
        libc::RTN_LOCAL => Delivery::Local,
        _ => Delivery::Other,
    })
}

/// Makes every IPv4 address an address of this network namespace: `ip route add local default dev lo`. What is
/// sent to any address then arrives at whoever listens to all addresses here, with the address as its
/// destination. Needs `lo` to be up, and `CAP_NET_ADMIN` over the namespace.
pub(crate) fn everything_is_local() -> io::Result<()> {
    let route = Route {
        table: libc::RT_TABLE_LOCAL,
        scope: libc::RT_SCOPE_HOST,
        kind: libc::RTN_LOCAL,
        interface: Some(LOOPBACK_INDEX),
        ..Route::default()
    };
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    talk(&route.message(libc::RTM_NEWROUTE, flags)).map(drop)
}

/// The parts of a route message that are used here.
#[derive(Default)]
struct Route {
    destination: Option<Ipv4Addr>,
    interface: Option<u32>,
    table: u8,
    scope: u8,
    kind: u8,
}

impl Route {
    /// A whole netlink message: `struct nlmsghdr`, `struct rtmsg`, attributes of four bytes each.
    fn message(&self, operation: u16, flags: libc::c_int) -> Vec<u8> {
        let family = u8::try_from(libc::AF_INET).expect("AF_INET is 2");
        let length_of_destination = if self.destination.is_some() { 32 } else { 0 };
        let (source_bits, service, route_flags) = (0, 0, 0_u32);
        let mut body = vec![
            family,
            length_of_destination,
            source_bits,
            service,
            self.table,
            libc::RTPROT_STATIC,
            self.scope,
            self.kind,
        ];
        body.extend(route_flags.to_ne_bytes());
        debug_assert_eq!(body.len(), ROUTE_BYTES);
        let destination = self
            .destination
            .map(|address| (libc::RTA_DST, address.octets()));
        let interface = self
            .interface
            .map(|index| (libc::RTA_OIF, index.to_ne_bytes()));
        for (kind, value) in destination.into_iter().chain(interface) {
            body.extend(8_u16.to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(value);
        }
        let (sequence, port) = (1_u32, 0_u32);
        let length = u32::try_from(HEADER_BYTES + body.len()).expect("a message is small");
        let flags = u16::try_from(flags).expect("netlink flags have 16 bits");
        let mut message = Vec::from(length.to_ne_bytes());
        message.extend(operation.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(sequence.to_ne_bytes());
        message.extend(port.to_ne_bytes());
        message.extend(body);
        message
    }
}

/// Sends a message to the kernel and returns its answer, or the error in it.
fn talk(message: &[u8]) -> io::Result<Vec<u8>> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE is protocol 0.
        None,
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_WAIT))?;
    rustix::io::retry_on_intr(|| rustix::net::send(&socket, message, SendFlags::empty()))?;
    let mut answer = vec![0; 4096];
    let (_, length) = rustix::io::retry_on_intr(|| {
        rustix::net::recv(&socket, answer.as_mut_slice(), RecvFlags::empty())
    })?;
    answer.truncate(length);
    if kind_of_message(&answer) == u16::try_from(libc::NLMSG_ERROR).ok() {
        let number = answer.get(HEADER_BYTES..HEADER_BYTES + 4);
        let number: [u8; 4] = number
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(malformed)?;
        // Zero is the acknowledgement; errors are negative.
        return match i32::from_ne_bytes(number) {
            0 => Ok(answer),
            errno => Err(io::Error::from_raw_os_error(errno.wrapping_neg())),
        };
    }
    Ok(answer)
}

fn kind_of_message(message: &[u8]) -> Option<u16> {
    let bytes = message.get(4..6)?.try_into().ok()?;
    Some(u16::from_ne_bytes(bytes))
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel's answer about a route",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_what_is_local() {
        for local in [[127, 0, 0, 1], [127, 9, 9, 9]] {
            assert_eq!(delivery(local.into()).unwrap(), Delivery::Local);
        }
        // Without a default route there is no answer to this one.
        if let Ok(kind) = delivery(Ipv4Addr::new(198, 51, 100, 7)) {
            assert_ne!(kind, Delivery::Local);
        }
        // Nothing is sent to it by asking.
        if let Ok(kind) = delivery(Ipv4Addr::BROADCAST) {
            assert_eq!(kind, Delivery::Other);
        }
    }
}
