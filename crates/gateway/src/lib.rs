//! The front door: takes connections, finds out who asks ([`wire::sigv4`]), and hands each request to the
//! service that answers it ([`wire::Router`]).
//!
//! Refused here, before any service sees a request: connections and bodies over their limits, clients too
//! slow to send or to read, claims that do not hold, and in dev mode whatever a web page sends. Nothing is
//! unlimited: every count, size and wait is in [`Limits`] or a constant beside its use.

mod admin;
mod authority;
mod body;
mod connection;
mod in_place;
mod listener;
mod metrics;
mod request;

pub use admin::{Found, Page, Reset};
pub use authority::{Authority, AuthorityError};
pub use listener::{Tls, TlsError};
pub use metrics::{Measures, Metrics};

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::sigv4::{KeyCache, Refusal};
use wire::{Authorizer, Caller, Router, Storage};

/// Whose access keys there are. Asked once for each request; never touches the disk.
pub trait Keyring: Send + Sync {
    /// The secret and the owner of an access key. A session's key comes with its token, and only with it.
    fn find(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
        now: Timestamp,
    ) -> Result<Key, Refusal>;
}

impl Keyring for identity::Identity {
    fn find(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
        now: Timestamp,
    ) -> Result<Key, Refusal> {
        let found = self.find_key(access_key_id, session_token, now)?;
        Ok(Key {
            secret: found.secret,
            caller: found.caller,
        })
    }
}

/// An access key and who it stands for.
pub struct Key {
    /// The secret access key.
    pub secret: Box<[u8]>,
    /// The principal.
    pub caller: Caller,
}

/// Everything behind the door. Replaced as a whole when a developer resets the server.
pub struct Services {
    /// The operations of all services.
    pub router: Router,
    /// The service that reads its requests itself: S3.
    pub storage: Option<Arc<dyn Storage>>,
    /// Who is who.
    pub keyring: Arc<dyn Keyring>,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// What can be fetched by links.
    pub pages: Vec<Arc<dyn Page>>,
}

/// How much the door lets in at once, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once on all listeners together; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Connections at once from inside one sandbox.
    pub connections_inside: usize,
    /// Requests being worked on at once; further ones are answered 503.
    pub requests: usize,
    /// Bytes of request bodies held at once; further ones wait for [`Limits::body_wait`].
    pub body_bytes: usize,
    /// The wait for the next piece of a body, and for room to hold it.
    pub body_wait: Duration,
    /// The wait for a request's head, which is also how long an idle connection is kept.
    pub head_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 4096,
            connections_inside: 64,
            requests: 8192,
            body_bytes: 1 << 30,
            body_wait: Duration::from_secs(30),
            head_wait: Duration::from_secs(60),
        }
    }
}

/// What an operator decides about the door.
#[derive(Default)]
pub struct Settings {
    /// How much is let in.
    pub limits: Limits,
    /// Dev mode: `POST /_/reset` runs this.
    pub reset: Option<Arc<dyn Reset>>,
    /// Whether `/_/metrics` answers others than this machine.
    pub metrics_for_anyone: bool,
    /// What else `/_/metrics` shows.
    pub measures: Vec<Arc<dyn Measures>>,
}

/// The front door. Clones are handles to the same one.
#[derive(Clone)]
pub struct Gateway(Arc<Door>);

struct Door {
    services: RwLock<Arc<Services>>,
    settings: Settings,
    keys: KeyCache,
    metrics: Metrics,
    connections: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    body_bytes: Arc<Semaphore>,
    /// Cancelled when the door closes: no new connections, no further requests on old ones.
    closing: CancellationToken,
    /// Listeners and connections from outside, and all requests: what a drain waits for.
    tasks: TaskTracker,
    /// Connections from inside sandboxes. They end with their environments, not with a drain.
    inside: TaskTracker,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gateway")
    }
}

impl Gateway {
    /// A door that nobody listens at yet.
    pub fn new(services: Services, settings: Settings) -> Self {
        let limits = settings.limits;
        Gateway(Arc::new(Door {
            services: RwLock::new(Arc::new(services)),
            keys: KeyCache::new(),
            metrics: Metrics::default(),
            connections: Arc::new(Semaphore::new(limits.connections)),
            requests: Arc::new(Semaphore::new(limits.requests)),
            body_bytes: Arc::new(Semaphore::new(body::permits(limits.body_bytes))),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            inside: TaskTracker::new(),
            settings,
        }))
    }

    /// Serves a TCP port, with TLS if there is a certificate, until [`Gateway::drain`].
    pub fn listen(&self, listener: tokio::net::TcpListener, tls: Option<Tls>) {
        let gateway = self.clone();
        self.0
            .tasks
            .spawn(async move { gateway.accept_outside(listener, tls).await });
    }

    /// Serves a sandbox on a listener that was made inside its network, until `stop`.
    pub async fn serve_sandbox(&self, listener: tokio::net::TcpListener, stop: CancellationToken) {
        self.clone().accept_inside(listener, stop).await;
    }

    /// Serves one connection that a function made to a host name of AWS's, to its end. With TLS the connection begins with a
    /// handshake.
    pub async fn serve_inside(&self, stream: tokio::net::TcpStream, tls: Option<&Tls>) {
        self.serve_name(stream, tls).await;
    }

    /// Puts other services behind the door. Requests under way finish with the old ones.
    pub fn replace(&self, services: Services) {
        let services = Arc::new(services);
        *self
            .0
            .services
            .write()
            .unwrap_or_else(PoisonError::into_inner) = services;
    }

    /// Closes the door: listeners and idle connections at once, requests under way when they are done, or
    /// after `limit`. Says whether all of them finished. Functions still reach AWS's APIs from inside.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.0.closing.cancel();
        self.0.tasks.close();
        tokio::time::timeout(limit, self.0.tasks.wait())
            .await
            .is_ok()
    }

    /// What the door counts.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn services(&self) -> Arc<Services> {
        let services = self.0.services.read();
        services.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// Over the network.
    Outside {
        /// The other end.
        peer: SocketAddr,
        /// Whether it is encrypted.
        tls: bool,
    },
    /// Out of a sandbox.
    Inside {
        /// Whether it is encrypted, which is a matter of form: it does not leave this machine.
        tls: bool,
    },
}

impl Origin {
    /// Whether the other end is this machine itself, and not a function on it.
    fn is_local(self) -> bool {
        matches!(self, Origin::Outside { peer, .. } if peer.ip().to_canonical().is_loopback())
    }
}
