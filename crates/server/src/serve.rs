//! `mayfly serve`: opens the folder, starts the services, opens the door, waits to be told to stop, drains.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gateway::{Gateway, Limits, Reset, Settings, Tls};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::app::{self, Around};
use crate::config::{self, Config};
use crate::folder::Folder;
use crate::logging;
use crate::notify;
use crate::reset::Apps;

/// Runs the server to its end.
pub fn serve(config: Config) -> Result<ExitCode> {
    logging::start(&config);
    warn_of_unknown_variables();
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(run(Arc::new(config)));
    // What did not drain in time is not waited for.
    runtime.shutdown_background();
    outcome
}

async fn run(config: Arc<Config>) -> Result<ExitCode> {
    let folder = Folder::open_or_make(&config.data)?;
    let tls = config.tls.as_ref();
    let tls = tls.map(|files| Tls::from_pem_files(&files.certificate, &files.key));
    let tls = tls.transpose()?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let mut signals = Signals::new()?;

    let broken = CancellationToken::new();
    let slot = Arc::new(SetOnce::new());
    let around = Around {
        config: config.clone(),
        folder: folder.clone(),
        catalogue: app::discover(&config, &folder).await?,
        gateway: slot.clone(),
        broken: broken.clone(),
    };
    let apps = Arc::new(Apps::start(around).await?);
    let gateway = Gateway::new(apps.services().await, settings(&config, &apps));
    slot.set(gateway.clone()).expect("it is set here only");
    let at = listener.local_addr()?;
    folder.set_endpoint(&config.url(at))?;
    gateway.listen(listener, tls);
    announce(&config, &folder, at);
    notify::tell("READY=1");

    tokio::select! {
        () = signals.next() => {}
        () = broken.cancelled() => error!("the server ends, because a part of it broke"),
    }
    notify::tell("STOPPING=1");
    info!(limit = ?config.drain, "draining: no new requests; a second signal ends at once");
    let drained = tokio::select! {
        drained = drain(&gateway, &apps, config.drain) => drained,
        () = signals.next() => false,
    };
    if !drained {
        warn!("stopped with requests under way");
        return Ok(ExitCode::FAILURE);
    }
    info!("stopped");
    Ok(match broken.is_cancelled() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Requests first, then what they started, both within `limit`.
async fn drain(gateway: &Gateway, apps: &Apps, limit: Duration) -> bool {
    let began = Instant::now();
    let drained = gateway.drain(limit).await;
    apps.stop(limit.saturating_sub(began.elapsed())).await;
    drained
}

fn settings(config: &Config, apps: &Arc<Apps>) -> Settings {
    Settings {
        limits: Limits {
            connections: config.connections_max,
            requests: config.requests_max,
            body_bytes: config.body_bytes_max,
            ..Limits::default()
        },
        reset: config.dev.then(|| apps.clone() as Arc<dyn Reset>),
        metrics_for_anyone: config.metrics_for_anyone,
        measures: vec![apps.clone()],
    }
}

fn announce(config: &Config, folder: &Folder, at: SocketAddr) {
    let data = folder.path().display();
    info!(endpoint = config.url(at), %data, "Mayfly is ready");
    if !at.ip().is_loopback() && config.tls.is_none() {
        warn!(
            "listening beyond this machine WITHOUT TLS, as told by insecure_plaintext_listen: payloads and \
             session tokens cross the network in clear"
        );
    }
    if config.dev {
        warn!(
            "DEV MODE: the key pair test/test is an administrator of account 000000000000, and any 12-digit key id \
             of its own account. Every program of every user on this machine may use them. Never put data here \
             that matters."
        );
    }
}

fn warn_of_unknown_variables() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in config::unknown_variables(names) {
        warn!(%name, "an environment variable that looks like ours and is not; misspelt?");
    }
}

/// Every environment needs some twenty descriptors; the usual soft limit of 1,024 ends at fifty of them. A thousand
/// environments need more than some machines' hard limit, which only root may raise.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const ENOUGH: u64 = 1 << 16;
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = |maximum| Rlimit {
        current: maximum,
        maximum,
    };
    let wanted = limit(most.map(|most| most.max(ENOUGH)));
    let raised = setrlimit(Resource::Nofile, wanted);
    if let Err(cause) = raised.or_else(|_| setrlimit(Resource::Nofile, limit(most))) {
        warn!(%cause, "cannot raise the limit of open files");
    }
}

/// The signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
