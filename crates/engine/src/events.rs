//! What the engine tells the rest of Mayfly while functions run.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::spec::{FunctionSpec, Report};

/// The other side of the engine. Called on the path of invocations: an implementation must return at once, keep its
/// queues bounded, and count what it drops.
pub trait Events: Send + Sync + 'static {
    /// Log lines of one environment, in order.
    fn lines(&self, to: &LogTarget, lines: Vec<LogLine>);

    /// An invocation ended.
    fn report(&self, function: &FunctionSpec, report: &Report);

    /// An environment is about to start: serve AWS's APIs to it on `listener`, which is bound inside its network
    /// namespace, at [`crate::Config::endpoint_port`], until `stop` is cancelled. It is part of one task
    /// with all else that an environment needs. Without an implementation connections are refused.
    fn endpoint(&self, _: &FunctionSpec, listener: TcpListener, _: CancellationToken) -> Serving {
        drop(listener);
        Box::pin(std::future::ready(()))
    }

    /// A function connected to a host name that is answered here ([`crate::Config::answers`]): serve AWS's APIs on the
    /// connection, after a TLS handshake when the port was HTTPS's. Dropped when the environment ends. Without an
    /// implementation the connection is closed.
    fn connection(&self, stream: TcpStream, tls: bool) -> Serving {
        Box::pin(async move { drop((stream, tls)) })
    }
}

/// A connection or a listener that is being served.
pub type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Does all of it in one task: to spawn each would wake another thread as often, in the middle of a start. So would a
/// `FuturesUnordered`, which has itself polled anew when it has polled all. They are few, and seldom woken.
pub(crate) async fn serve_all(mut parts: Vec<Serving>) {
    let all = poll_fn(|cx| {
        parts.retain_mut(|part| part.as_mut().poll(cx).is_pending());
        match parts.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    });
    all.await;
}

/// Where an environment logs: each has a stream of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogTarget {
    /// [`crate::PoolKey::account_region`] of the function.
    pub account_region: String,
    /// The log group.
    pub group: String,
    /// The log stream.
    pub stream: String,
    /// [`crate::LogConfig::role`] of the function.
    pub role: Arc<str>,
}

impl LogTarget {
    /// The stream of an environment that begins now.
    pub(crate) fn of(spec: &FunctionSpec, environment: &str) -> LogTarget {
        let day = jiff::Timestamp::now()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .strftime("%Y/%m/%d")
            .to_string();
        let function = if spec.log.custom_group {
            spec.name.as_str()
        } else {
            ""
        };
        LogTarget {
            account_region: spec.pool.account_region.clone(),
            group: spec.log.group.clone(),
            role: spec.log.role.clone(),
            stream: format!("{day}/{function}[{}]{environment}", spec.version),
        }
    }
}

/// One log event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Milliseconds since the epoch.
    pub time_ms: i64,
    /// The message as AWS stores it: a line keeps its newline.
    pub text: String,
}
