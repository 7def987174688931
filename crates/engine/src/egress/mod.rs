//! What functions reach beyond the Runtime API and the endpoint: AWS's host names, which are answered by this server, and the
//! internet, where their policy is [`NetworkPolicy::Internet`].
//!
//! A sandbox has no way out. Names of AWS lead to an address inside, and connections to it are served here. With the internet,
//! what the sandbox sends to any other address arrives at sockets that this process holds inside it too; the target is
//! judged, connected to from outside, and the two connections are made one. Without it there are no such route and sockets.

mod names;
mod policy;
mod reach;
mod splice;
mod told;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use policy::Cidr;
use policy::{Refused, judge};
pub use reach::NoWay;

use crate::events::{Events, Serving};
use crate::spec::NetworkPolicy;

/// Ports that functions reach unless told otherwise: SSH, the web, mail, and the databases and queues that functions use.
/// Nothing inside can listen on them, so those that web frameworks inside a function like, such as 8080, are left out.
pub const EGRESS_PORTS_DEFAULT: &[u16] = &[
    22, 80, 443, 465, 587, 993, 995, 1433, 3306, 5432, 5671, 6379, 8443, 9092, 27017,
];
/// Most ports; each is a listener in every open environment.
pub const EGRESS_PORTS_MAX: usize = 24;
/// Where names that are answered here lead to, inside a sandbox. Not 127.0.0.1, where a function's own servers are.
const ANSWERED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const HTTP: u16 = 80;
const HTTPS: u16 = 443;
/// The ports that are served there.
const ANSWERED_PORTS: [u16; 2] = [HTTPS, HTTP];
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

/// What has come of it so far, all functions together, and of the connections that the server makes by the same rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EgressCounts {
    /// Connections that were let out.
    pub allowed: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Connections that were let out and not accepted by their target.
    pub failed: u64,
    /// Connections to AWS's host names, which are served here.
    pub redirected: u64,
    /// DNS queries for AWS's host names, which are answered here.
    pub names_redirected: u64,
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
    redirected: AtomicU64,
    names_redirected: AtomicU64,
    queries: AtomicU64,
    queries_failed: AtomicU64,
}

impl Counts {
    fn allowed(&self) {
        self.allowed.fetch_add(1, Ordering::Relaxed);
    }

    fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn name_redirected(&self) {
        self.names_redirected.fetch_add(1, Ordering::Relaxed);
    }

    fn query(&self) {
        self.queries.fetch_add(1, Ordering::Relaxed);
    }

    fn query_failed(&self) {
        self.queries_failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// What all environments share.
pub(crate) struct Egress {
    /// The internet, for those who may reach it.
    internet: Option<EgressConfig>,
    /// Which host names are answered here.
    answers: Option<fn(&str) -> bool>,
    events: Arc<dyn Events>,
    resolvers: names::Resolvers,
    counts: Counts,
    /// Names without an answer that are in the log.
    told: Mutex<told::ToldNames>,
    connections: Arc<Semaphore>,
    queries: Arc<Semaphore>,
}

impl Egress {
    pub(crate) fn new(config: &crate::Config, events: Arc<dyn Events>) -> Egress {
        let internet = config.egress.clone();
        let resolvers = internet.as_ref().map(|internet| internet.resolvers.clone());
        Egress {
            resolvers: names::Resolvers::new(resolvers.unwrap_or_default()),
            internet,
            answers: config.answers,
            events,
            counts: Counts::default(),
            told: Mutex::default(),
            connections: Arc::new(Semaphore::new(ALL_CONNECTIONS_MAX)),
            queries: Arc::new(Semaphore::new(ALL_QUERIES_MAX)),
        }
    }

    /// Whether functions can have this policy here.
    pub(crate) fn has(&self, network: NetworkPolicy) -> bool {
        network == NetworkPolicy::Endpoint || self.internet.is_some()
    }

    /// Gives a sandbox its way to us: listeners after those it has, and a UDP socket.
    pub(crate) fn plan(&self, network: NetworkPolicy, plan: &mut sandbox::Spec) {
        let answered = ANSWERED_PORTS.iter().filter(|_| self.answers.is_some());
        match self.internet_of(network) {
            Some(internet) => {
                let any = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
                plan.egress = sandbox::Egress::Transparent;
                let mut ports = internet.ports.clone();
                ports.extend(answered.filter(|port| !internet.ports.contains(port)));
                plan.listeners.extend(ports.into_iter().map(any));
                // Answers that are too long for a datagram are fetched over TCP.
                plan.listeners.push(any(names::PORT));
                plan.udp.push(any(names::PORT));
            }
            None if self.answers.is_some() => {
                let ports = answered.map(|port| SocketAddrV4::new(ANSWERED, *port));
                plan.listeners.extend(ports);
                plan.udp
                    .push(SocketAddrV4::new(Ipv4Addr::LOCALHOST, names::PORT));
            }
            None => {}
        }
    }

    fn internet_of(&self, network: NetworkPolicy) -> Option<&EgressConfig> {
        let is_open = network == NetworkPolicy::Internet;
        self.internet.as_ref().filter(|_| is_open)
    }

    pub(crate) fn counts(&self) -> EgressCounts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        EgressCounts {
            allowed: get(&self.counts.allowed),
            refused: get(&self.counts.refused),
            failed: get(&self.counts.failed),
            redirected: get(&self.counts.redirected),
            names_redirected: get(&self.counts.names_redirected),
            queries: get(&self.counts.queries),
            queries_failed: get(&self.counts.queries_failed),
            open: ALL_CONNECTIONS_MAX - self.connections.available_permits(),
        }
    }
}

/// Room for one connection or query; free again when dropped.
type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// What becomes of a connection.
enum Way {
    /// It is served by this server.
    Answered,
    /// DNS over TCP.
    Names,
    /// It is connected to its target.
    Out,
}

/// The way out of one environment.
pub(crate) struct Door {
    egress: Arc<Egress>,
    network: NetworkPolicy,
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
    /// What serves the sockets of [`Egress::plan`] until `stop`.
    pub(crate) fn open(
        egress: Arc<Egress>,
        (function, network): (&str, NetworkPolicy),
        listeners: Vec<TcpListener>,
        udp: Vec<UdpSocket>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> (Arc<Door>, Vec<Serving>) {
        let room = egress.internet_of(network).map(|i| i.connections_max);
        let door = Arc::new(Door {
            room: Arc::new(Semaphore::new(room.unwrap_or(CONNECTIONS_MAX))),
            egress,
            network,
            function: function.to_owned(),
            queries: Arc::new(Semaphore::new(QUERIES_MAX)),
            refusals: Mutex::default(),
            cut: Mutex::new(stop.child_token()),
            stop,
            tasks: tasks.clone(),
        });
        let mut serving: Vec<Serving> = Vec::new();
        for listener in listeners {
            serving.push(Box::pin(accept(door.clone(), listener)));
        }
        for socket in udp {
            serving.push(Box::pin(names::serve(door.clone(), socket)));
        }
        (door, serving)
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

    /// Room and leave for a query that is passed on, or why it is not.
    fn admit_query(&self) -> Result<Permits, &'static str> {
        self.internet().ok_or("the internet is closed to it")?;
        let full = |_| "too many queries wait for their answer";
        let own = self.queries.clone().try_acquire_owned().map_err(full)?;
        let all = self.egress.queries.clone().try_acquire_owned();
        Ok((own, all.map_err(full)?))
    }

    /// Room and leave for a connection that was meant for `target`.
    fn admit(&self, target: SocketAddrV4) -> Result<(Way, Permits), Refused> {
        let way = self.way(target)?;
        Ok((way, self.room_for_connection()?))
    }

    fn way(&self, target: SocketAddrV4) -> Result<Way, Refused> {
        let is_ours = *target.ip() == ANSWERED && ANSWERED_PORTS.contains(&target.port());
        if is_ours && self.egress.answers.is_some() {
            return Ok(Way::Answered);
        }
        let internet = self.internet().ok_or(Refused::Closed)?;
        // DNS goes to our own resolvers, whomever it was meant for, as it does over UDP.
        if target.port() == names::PORT {
            return Ok(Way::Names);
        }
        if !internet.ports.contains(&target.port()) {
            return Err(Refused::Port);
        }
        judge(*target.ip(), &internet.allow, sandbox::delivery)?;
        Ok(Way::Out)
    }

    fn idle_limit(&self) -> Duration {
        let internet = self.internet();
        internet.map_or(IDLE_LIMIT, |internet| internet.idle_limit)
    }

    fn internet(&self) -> Option<&EgressConfig> {
        self.egress.internet_of(self.network)
    }

    /// The answer to a query for a name that is answered here.
    fn own_answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let (name, answer) = names::own_answer(query, self.egress.answers?, ANSWERED)?;
        let function = &self.function;
        self.egress.counts.name_redirected();
        tracing::debug!(function, name, "a name of AWS's is answered here");
        Some(answer)
    }

    /// Counts a query that gets no answer, and tells its name, which the function has chosen.
    fn tell_unanswered(&self, query: &[u8], why: &str) {
        let function = &self.function;
        self.egress.counts.query_failed();
        let name = names::name(query).unwrap_or_default();
        let untold = {
            let mut told = (self.egress.told.lock()).unwrap_or_else(PoisonError::into_inner);
            told.tell(function, &name, Instant::now())
        };
        match untold {
            Some(untold) => {
                tracing::info!(
                    function,
                    ?name,
                    why,
                    untold,
                    "a function's DNS query has no answer"
                );
            }
            None => tracing::debug!(function, ?name, why, "a function's DNS query has no answer"),
        }
    }

    fn tell_refusal(&self, target: SocketAddrV4, why: &Refused) {
        let function = &self.function;
        self.egress.counts.refused();
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
            Ok((way, permits)) => {
                let (door, cut) = (door.clone(), door.cutter());
                door.tasks.clone().spawn(async move {
                    let _permits = permits;
                    match way {
                        Way::Answered => answer(&door, inside, target, cut).await,
                        Way::Names => names::serve_stream(&door, inside, cut).await,
                        Way::Out => connect(&door, inside, target, cut).await,
                    }
                });
            }
            Err(why) => {
                door.tell_refusal(target, &why);
                reset(&inside);
            }
        }
    }
}

/// Serves a connection to one of AWS's host names.
async fn answer(door: &Door, inside: TcpStream, target: SocketAddrV4, cut: CancellationToken) {
    let function = &door.function;
    door.egress
        .counts
        .redirected
        .fetch_add(1, Ordering::Relaxed);
    tracing::debug!(function, %target, "a connection to AWS is answered here");
    // Replies go out as they are written; a connection that is gone is found by reading it.
    let _ = inside.set_nodelay(true);
    let serving = door
        .egress
        .events
        .connection(inside, target.port() == HTTPS);
    // Served to its end, or cut off by dropping it.
    let _ = cut.run_until_cancelled(serving).await;
}

/// Connects to where the connection was meant to go and stays between the two.
async fn connect(door: &Door, mut inside: TcpStream, target: SocketAddrV4, cut: CancellationToken) {
    let function = &door.function;
    let counts = &door.egress.counts;
    counts.allowed();
    tracing::debug!(function, %target, "an outbound connection was allowed");
    let connecting = async {
        let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(target));
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
            counts.failed();
            tracing::debug!(function, %target, %error, "an outbound connection was not accepted by its target");
            return reset(&inside);
        }
    };
    let ended = tokio::select! {
        () = cut.cancelled() => Err(io::ErrorKind::ConnectionAborted.into()),
        ended = splice::splice(&mut inside, &mut outside, door.idle_limit()) => ended,
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
