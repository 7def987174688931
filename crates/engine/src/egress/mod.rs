//! The internet for functions whose policy is [`NetworkPolicy::Internet`](crate::NetworkPolicy::Internet).
//!
//! A sandbox has no way out. What it sends to any address arrives at sockets that this process holds inside it; here the
//! target is judged, connected to from outside, and the two connections are made one. A function whose policy is
//! [`NetworkPolicy::Endpoint`](crate::NetworkPolicy::Endpoint) has neither the route nor the sockets.

mod names;
mod policy;
mod splice;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use policy::Cidr;
use policy::{Refused, judge};

/// Ports that functions reach unless told otherwise: SSH, the web, mail, and the databases and queues that functions use.
/// Nothing inside can listen on them, so those that web frameworks inside a function like, such as 8080, are left out.
pub const EGRESS_PORTS_DEFAULT: &[u16] = &[
    22, 80, 443, 465, 587, 993, 995, 1433, 3306, 5432, 5671, 6379, 8443, 9092, 27017,
];
/// Most ports; each is a listener in every open environment.
pub const EGRESS_PORTS_MAX: usize = 24;
/// Connections of one environment at once, unless configured.
const CONNECTIONS_MAX: usize = 256;
/// Connections of all environments at once: each takes two descriptors and two buffers.
const ALL_CONNECTIONS_MAX: usize = 8192;
/// Queries of one environment that wait for their answer.
const QUERIES_MAX: usize = 32;
/// Queries of all environments that wait for their answer.
const ALL_QUERIES_MAX: usize = 1024;
/// How long a target may take to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may be silent; as long as with the NAT gateway that functions on AWS are behind
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html>).
const IDLE_LIMIT: Duration = Duration::from_secs(350);
/// An environment's refusals are told once in this time, and counted in between.
const REFUSALS_EVERY: Duration = Duration::from_secs(10);
/// How long accepting rests when the process has no descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What functions with [`NetworkPolicy::Internet`](crate::NetworkPolicy::Internet) may reach.
#[derive(Clone, Debug)]
pub struct EgressConfig {
    /// TCP ports that are open; nothing inside can listen on them.
    pub ports: Vec<u16>,
    /// Exceptions from the rule that only public addresses of other machines are reached. One counts when it lies within
    /// the range that is closed, and for an address of this machine when it names just that one.
    pub allow: Vec<Cidr>,
    /// Who answers DNS; when empty, the resolvers of this machine's `/etc/resolv.conf`.
    pub resolvers: Vec<SocketAddr>,
    /// Connections of one environment at once; further ones are reset.
    pub connections_max: usize,
    /// How long a connection may be silent.
    pub idle_limit: Duration,
}

impl Default for EgressConfig {
    fn default() -> EgressConfig {
        EgressConfig {
            ports: EGRESS_PORTS_DEFAULT.to_vec(),
            allow: Vec::new(),
            resolvers: Vec::new(),
            connections_max: CONNECTIONS_MAX,
            idle_limit: IDLE_LIMIT,
        }
    }
}

impl EgressConfig {
    /// Why it cannot be used; `taken` are ports that mean something else inside.
    pub(crate) fn problem(&self, taken: &[u16]) -> Option<String> {
        let mut seen = vec![0, names::PORT];
        seen.extend(taken);
        for port in &self.ports {
            if seen.contains(port) {
                return Some(format!("port {port} is named twice or has another meaning"));
            }
            seen.push(*port);
        }
        let many = self.ports.len() > EGRESS_PORTS_MAX;
        many.then(|| format!("at most {EGRESS_PORTS_MAX} ports can be open"))
    }
}

/// What has come of it so far, all functions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EgressCounts {
    /// Connections that were let out.
    pub allowed: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Connections that were let out and not accepted by their target.
    pub failed: u64,
    /// DNS queries that were answered.
    pub queries: u64,
    /// DNS queries that were not.
    pub queries_failed: u64,
    /// Connections open now.
    pub open: usize,
}

#[derive(Default)]
pub(crate) struct Counts {
    allowed: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    queries: AtomicU64,
    queries_failed: AtomicU64,
}

impl Counts {
    fn query(&self) {
        self.queries.fetch_add(1, Ordering::Relaxed);
    }

    fn query_failed(&self) {
        self.queries_failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// What all environments share.
pub(crate) struct Egress {
    config: EgressConfig,
    resolvers: names::Resolvers,
    counts: Counts,
    connections: Arc<Semaphore>,
    queries: Arc<Semaphore>,
}

impl Egress {
    pub(crate) fn new(config: EgressConfig) -> Egress {
        Egress {
            resolvers: names::Resolvers::new(config.resolvers.clone()),
            config,
            counts: Counts::default(),
            connections: Arc::new(Semaphore::new(ALL_CONNECTIONS_MAX)),
            queries: Arc::new(Semaphore::new(ALL_QUERIES_MAX)),
        }
    }

    /// Gives a sandbox its way to us: listeners after those it has, and one UDP socket.
    pub(crate) fn plan(&self, plan: &mut sandbox::Spec) {
        let any = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        plan.egress = sandbox::Egress::Transparent;
        plan.listeners
            .extend(self.config.ports.iter().copied().map(any));
        // Answers that are too long for a datagram are fetched over TCP.
        plan.listeners.push(any(names::PORT));
        plan.udp.push(any(names::PORT));
    }

    pub(crate) fn counts(&self) -> EgressCounts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        EgressCounts {
            allowed: get(&self.counts.allowed),
            refused: get(&self.counts.refused),
            failed: get(&self.counts.failed),
            queries: get(&self.counts.queries),
            queries_failed: get(&self.counts.queries_failed),
            open: ALL_CONNECTIONS_MAX - self.connections.available_permits(),
        }
    }

    fn judge(&self, target: SocketAddrV4) -> Result<(), Refused> {
        judge(*target.ip(), &self.config.allow, sandbox::delivery)
    }
}

/// Room for one connection or query; free again when dropped.
type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// The way out of one environment.
pub(crate) struct Door {
    egress: Arc<Egress>,
    /// For the log.
    function: String,
    room: Arc<Semaphore>,
    queries: Arc<Semaphore>,
    refusals: Mutex<Refusals>,
    /// Ends the connections that are open.
    cut: Mutex<CancellationToken>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Refusals since the last that was told.
#[derive(Default)]
struct Refusals {
    told: Option<Instant>,
    untold: u64,
}

impl Door {
    /// Serves the sockets of [`Egress::plan`] until `stop`.
    pub(crate) fn open(
        egress: Arc<Egress>,
        function: &str,
        listeners: impl Iterator<Item = std::net::TcpListener>,
        udp: impl Iterator<Item = std::net::UdpSocket>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> io::Result<Arc<Door>> {
        let door = Arc::new(Door {
            room: Arc::new(Semaphore::new(egress.config.connections_max)),
            egress,
            function: function.to_owned(),
            queries: Arc::new(Semaphore::new(QUERIES_MAX)),
            refusals: Mutex::default(),
            cut: Mutex::new(stop.child_token()),
            stop,
            tasks: tasks.clone(),
        });
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            door.tasks.spawn(accept(door.clone(), listener));
        }
        for socket in udp {
            socket.set_nonblocking(true)?;
            let socket = tokio::net::UdpSocket::from_std(socket)?;
            door.tasks.spawn(names::serve(door.clone(), socket));
        }
        Ok(door)
    }

    /// Ends every connection: the processes they belonged to were killed.
    pub(crate) fn cut(&self) {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *cut, self.stop.child_token()).cancel();
    }

    fn cutter(&self) -> CancellationToken {
        let cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.clone()
    }

    fn room_for_connection(&self) -> Result<Permits, Refused> {
        let own = self.room.clone().try_acquire_owned();
        let own = own.map_err(|_| Refused::Full)?;
        let all = self.egress.connections.clone().try_acquire_owned();
        Ok((own, all.map_err(|_| Refused::AllFull)?))
    }

    fn room_for_query(&self) -> Option<Permits> {
        let own = self.queries.clone().try_acquire_owned().ok()?;
        let all = self.egress.queries.clone().try_acquire_owned().ok()?;
        Some((own, all))
    }

    /// Room and leave for a connection that was meant for `target`.
    fn admit(&self, target: SocketAddrV4) -> Result<Permits, Refused> {
        // DNS goes to our own resolvers, whomever it was meant for, as it does over UDP.
        if target.port() != names::PORT {
            self.egress.judge(target)?;
        }
        self.room_for_connection()
    }

    fn tell_refusal(&self, target: SocketAddrV4, why: &Refused) {
        let function = &self.function;
        self.egress.counts.refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(function, %target, %why, "an outbound connection was refused");
        let untold = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if refusals
                .told
                .is_some_and(|at| at.elapsed() < REFUSALS_EVERY)
            {
                refusals.untold += 1;
                return;
            }
            refusals.told = Some(Instant::now());
            std::mem::take(&mut refusals.untold)
        };
        tracing::info!(function, %target, %why, untold, "a function may not connect there");
    }
}

async fn accept(door: Arc<Door>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            () = door.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let inside = match accepted {
            Ok((inside, _)) => inside,
            Err(error) => {
                tracing::warn!(function = door.function, %error, "an outbound connection was not accepted");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        // The listener is reached by every address, so the local one is what was meant.
        let Ok(SocketAddr::V4(target)) = inside.local_addr() else {
            reset(&inside);
            continue;
        };
        match door.admit(target) {
            Ok(permits) => {
                let (door, cut) = (door.clone(), door.cutter());
                door.tasks.clone().spawn(async move {
                    let _permits = permits;
                    connect(&door, inside, target, cut).await;
                });
            }
            Err(why) => {
                door.tell_refusal(target, &why);
                reset(&inside);
            }
        }
    }
}

/// Connects to where the connection was meant to go and stays between the two.
async fn connect(door: &Door, mut inside: TcpStream, target: SocketAddrV4, cut: CancellationToken) {
    let function = &door.function;
    let counts = &door.egress.counts;
    counts.allowed.fetch_add(1, Ordering::Relaxed);
    tracing::debug!(function, %target, "an outbound connection was allowed");
    let to = match target.port() {
        names::PORT => door.egress.resolvers.list().first().copied(),
        _ => Some(SocketAddr::V4(target)),
    };
    let connecting = async {
        let to = to.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(to));
        let outside = connected.await.map_err(|_| io::ErrorKind::TimedOut)??;
        // Whoever writes small pieces means it; the other side of us cannot know.
        outside.set_nodelay(true)?;
        inside.set_nodelay(true)?;
        Ok::<_, io::Error>(outside)
    };
    let connected = tokio::select! {
        () = cut.cancelled() => return reset(&inside),
        connected = connecting => connected,
    };
    let mut outside = match connected {
        Ok(outside) => outside,
        Err(error) => {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(function, %target, %error, "an outbound connection was not accepted by its target");
            return reset(&inside);
        }
    };
    let ended = tokio::select! {
        () = cut.cancelled() => Err(io::ErrorKind::ConnectionAborted.into()),
        ended = splice::splice(&mut inside, &mut outside, door.egress.config.idle_limit) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(function, %target, %error, "an outbound connection was broken off");
        // An ordinary end would look like the end of what was sent.
        reset(&inside);
        reset(&outside);
    }
}

/// Makes the other side see a reset when the stream is dropped.
fn reset(stream: &TcpStream) {
    // It may be reset already.
    let _ = stream.set_zero_linger();
}
