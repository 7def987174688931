//! The way out of a sandbox whose policy opens the internet.
//!
//! Inside, every IPv4 address leads to sockets of ours on a few well-known ports; each accepted connection tells which
//! address was meant. The policy is kept here and the real connection is made by this process: private networks, this
//! machine itself and metadata addresses stay closed, unless the operator names a network. DNS questions are passed to
//! this machine's resolver.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Ports that lead out. Nothing inside can listen on them, so those that local servers like are left out.
pub(crate) const TCP_PORTS: &[u16] = &[
    22, 53, 80, 443, 465, 587, 993, 995, 1433, 3306, 5432, 5671, 6379, 8443, 9092, 27017,
];
/// DNS.
pub(crate) const UDP_PORTS: &[u16] = &[53];
/// Connections and questions of one environment at once.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection may take to be made, or a question to be answered.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Largest DNS message over UDP that is passed on.
const DATAGRAM_BYTES_MAX: usize = 4096;

/// A network by its address and the bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub Ipv4Addr, pub u8);

impl Network {
    fn holds(self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(self.1.min(32)))
            .unwrap_or(0);
        u32::from(self.0) & mask == u32::from(address) & mask
    }
}

/// What is not the internet (<https://www.iana.org/assignments/iana-ipv4-special-registry/>).
const CLOSED: &[Network] = &[
    Network(Ipv4Addr::new(0, 0, 0, 0), 8),
    Network(Ipv4Addr::new(10, 0, 0, 0), 8),
    Network(Ipv4Addr::new(100, 64, 0, 0), 10),
    Network(Ipv4Addr::new(127, 0, 0, 0), 8),
    Network(Ipv4Addr::new(169, 254, 0, 0), 16),
    Network(Ipv4Addr::new(172, 16, 0, 0), 12),
    Network(Ipv4Addr::new(192, 0, 0, 0), 24),
    Network(Ipv4Addr::new(192, 168, 0, 0), 16),
    Network(Ipv4Addr::new(198, 18, 0, 0), 15),
    Network(Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// Sockets for the sandbox's plan.
pub(crate) fn addresses(ports: &[u16]) -> impl Iterator<Item = SocketAddrV4> {
    ports
        .iter()
        .map(|port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, *port))
}

/// Serves the sockets of one environment until `stop`.
pub(crate) struct Egress {
    pub(crate) allowed: Vec<Network>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Egress {
    pub(crate) fn serve(
        self,
        listeners: impl Iterator<Item = std::net::TcpListener>,
        udp: Vec<UdpSocket>,
    ) -> std::io::Result<()> {
        let egress = Arc::new(self);
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let serving = egress.clone().accept(listener, room.clone());
            egress
                .tasks
                .spawn(egress.stop.clone().run_until_cancelled_owned(serving));
        }
        for socket in udp {
            socket.set_nonblocking(true)?;
            let socket = Arc::new(tokio::net::UdpSocket::from_std(socket)?);
            let serving = egress.clone().pass_questions(socket, room.clone());
            egress
                .tasks
                .spawn(egress.stop.clone().run_until_cancelled_owned(serving));
        }
        Ok(())
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, room: Arc<Semaphore>) {
        while let Ok((inside, _)) = listener.accept().await {
            // Too many at once, or not allowed: dropping the socket closes it.
            let Ok(permit) = room.clone().try_acquire_owned() else {
                continue;
            };
            let Ok(SocketAddr::V4(target)) = inside.local_addr() else {
                continue;
            };
            if !self.allows(*target.ip()) {
                tracing::debug!(%target, "a function may not connect there");
                continue;
            }
            self.tasks
                .spawn(self.stop.clone().run_until_cancelled_owned(async move {
                    join(inside, target).await;
                    drop(permit);
                }));
        }
    }

    /// The internet, and what the operator named.
    fn allows(&self, address: Ipv4Addr) -> bool {
        if self.allowed.iter().any(|network| network.holds(address)) {
            return true;
        }
        let closed = CLOSED.iter().any(|network| network.holds(address));
        // Only an address of this machine can be bound.
        !closed && UdpSocket::bind((address, 0)).is_err()
    }

    async fn pass_questions(
        self: Arc<Self>,
        socket: Arc<tokio::net::UdpSocket>,
        room: Arc<Semaphore>,
    ) {
        let mut question = [0; DATAGRAM_BYTES_MAX];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            let Ok(permit) = room.clone().try_acquire_owned() else {
                continue;
            };
            let (question, socket) = (question[..length].to_vec(), socket.clone());
            self.tasks
                .spawn(self.stop.clone().run_until_cancelled_owned(async move {
                    if let Some(answer) = ask_resolver(&question).await {
                        // Whoever asked may be gone; DNS asks again.
                        let _ = socket.send_to(&answer, from).await;
                    }
                    drop(permit);
                }));
        }
    }
}

async fn join(mut inside: TcpStream, target: SocketAddrV4) {
    match tokio::time::timeout(ANSWER_LIMIT, TcpStream::connect(target)).await {
        Ok(Ok(mut outside)) => {
            // How a connection of the function's ended is between it and its peer.
            let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
        }
        Ok(Err(error)) => tracing::debug!(%target, %error, "a function's connection failed"),
        Err(_) => tracing::debug!(%target, "a function's connection took too long"),
    }
}

async fn ask_resolver(question: &[u8]) -> Option<Vec<u8>> {
    let resolver = resolver()?;
    let any: SocketAddr = match resolver {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = tokio::net::UdpSocket::bind(any).await.ok()?;
    socket.connect((resolver, 53)).await.ok()?;
    socket.send(question).await.ok()?;
    let mut answer = vec![0; DATAGRAM_BYTES_MAX];
    let length = tokio::time::timeout(ANSWER_LIMIT, socket.recv(&mut answer))
        .await
        .ok()?
        .ok()?;
    answer.truncate(length);
    Some(answer)
}

/// This machine's first resolver; read each time, for it changes with the network.
fn resolver() -> Option<IpAddr> {
    let text = fs::read_to_string("/etc/resolv.conf").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: [u8; 4], allowed: bool) {
        let egress = Egress {
            allowed: vec![Network(Ipv4Addr::new(10, 9, 0, 0), 16)],
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        assert_eq!(egress.allows(address.into()), allowed, "{address:?}");
    }

    #[test]
    fn the_internet_is_not_the_neighbourhood() {
        check([192, 0, 2, 7], true);
        check([8, 8, 8, 8], true);
        check([127, 0, 0, 1], false);
        check([169, 254, 169, 254], false);
        check([169, 254, 170, 2], false);
        check([10, 0, 0, 1], false);
        check([172, 31, 255, 255], false);
        check([172, 32, 0, 1], true);
        check([192, 168, 1, 1], false);
        check([100, 100, 100, 200], false);
        check([0, 0, 0, 0], false);
        check([224, 0, 0, 1], false);
        check([255, 255, 255, 255], false);
        check([10, 9, 8, 7], true);
    }
}
