//! Runs functions: admission, the pool of environments, the Runtime API and the Extensions API, log framing and the
//! numbers of the REPORT line.
//!
//! It owns every running environment. It refuses to know who called, what IAM thinks of it, and where functions are
//! kept: a [`FunctionSpec`] and an [`Invocation`] come in, an [`Outcome`] or a [`Refusal`] goes out.

mod admission;
mod api;
mod bytecode;
mod demand;
mod egress;
mod environment;
mod events;
mod failure;
mod grant;
mod handle;
mod http;
mod invoke;
mod kind;
mod launch;
mod log;
mod parked;
mod plan;
mod pool;
mod prediction;
mod pressure;
mod process;
mod provision;
pub mod runtimes;
mod settling;
mod shared;
mod slots;
mod spec;
mod templates;
mod turns;
mod variables;
mod zygotes;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytecode::Bytecode;
use kind::Kind;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use shared::Shared;
use slots::Slots;
use tokio::sync::oneshot;

pub use egress::{Cidr, EGRESS_PORTS_DEFAULT, EGRESS_PORTS_MAX, EgressConfig, EgressCounts, NoWay};
pub use events::{Events, LogLine, LogTarget, Serving};
pub use provision::{Provision, ProvisionFailure, Provisioned, ProvisionedUse};
pub use slots::SlotCounts;
pub use spec::{
    Credentials, CredentialsSource, FunctionError, FunctionSpec, Initialization, Invocation,
    LOG_TAIL_BYTES, Lasting, LogConfig, LogFormat, LogLevel, Mode, NetworkPolicy, Outcome, Part,
    PoolKey, Prepared, RESPONSE_BYTES_MAX, Refusal, Report, Status, ThrottleReason, Unprepared,
};
pub use variables::RESERVED_VARIABLES;

/// How long an unused environment is kept, unless configured.
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// What [`Config::zygote_forks_max`] is by itself.
const ZYGOTE_FORKS_MAX: u32 = 1500;

/// Concurrent executions of an account in one region, unless told otherwise: AWS's default quota.
pub const ACCOUNT_CONCURRENCY_DEFAULT: u32 = 1000;

/// Port of Mayfly's own endpoint inside a sandbox, unless configured.
pub const ENDPOINT_PORT_DEFAULT: u16 = 4566;

/// How long the end of all environments may take when the engine drains; extensions have two seconds of it.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The janitor, who looks after what is provisioned, who makes slots, and who compiles.
const TASKS_ALWAYS: usize = 4;

/// What the engine is configured with.
#[derive(Clone, Debug)]
pub struct Config {
    /// A folder of the engine's own for bootstraps and the sandbox; made when absent.
    pub data: PathBuf,
    /// How long an unused environment is kept, where nothing better is known.
    pub idle_timeout: Duration,
    /// The time, for what is counted in seconds and hours; tests have their own.
    pub clock: Clock,
    /// Whether environments are kept longer or shorter, and made ahead, by the pattern of a version's calls.
    pub prediction: bool,
    /// Whether interpreters that wait are forked of one that has started, and not executed.
    pub zygotes: bool,
    /// How many are forked of one, before it is replaced: they have the seed of Python's hashes in common. A nursery has
    /// room for 2,047.
    pub zygote_forks_max: u32,
    /// Environments alive at once, busy or idle.
    pub environments_max: usize,
    /// Sum of the MemorySize of all environments, in megabytes.
    pub memory_mb_max: u64,
    /// Descriptors that this process may have.
    pub descriptors_max: u64,
    /// Port on 127.0.0.1 where a function finds Mayfly.
    pub endpoint_port: u16,
    /// The internet, for functions that may reach it. Without it there is none, whatever a function's specification says.
    pub egress: Option<EgressConfig>,
    /// Host names that lead functions to this server: [`Events::connection`] gets what they connect to there. Without it
    /// such names are like any other.
    pub answers: Option<fn(&str) -> bool>,
    /// How sandboxes are made.
    pub sandbox: sandbox::Config,
}

impl Config {
    /// Defaults for an engine that keeps its files in `data`.
    pub fn new(data: impl Into<PathBuf>) -> Config {
        Config {
            data: data.into(),
            idle_timeout: IDLE_TIMEOUT_DEFAULT,
            clock: Clock::default(),
            prediction: true,
            zygotes: true,
            zygote_forks_max: ZYGOTE_FORKS_MAX,
            environments_max: 1000,
            memory_mb_max: 8192,
            descriptors_max: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            endpoint_port: ENDPOINT_PORT_DEFAULT,
            egress: None,
            answers: None,
            sandbox: sandbox::Config::this_exe(),
        }
    }
}

/// Tells how much time has passed since some moment.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    /// A clock that says what `now` says.
    pub fn new(now: impl Fn() -> Duration + Send + Sync + 'static) -> Clock {
        Clock(Arc::new(now))
    }

    fn now(&self) -> Duration {
        (self.0)()
    }
}

impl Default for Clock {
    /// The machine's.
    fn default() -> Clock {
        let began = Instant::now();
        Clock::new(move || began.elapsed())
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its folder cannot be used.
    #[error("cannot use {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration of the way to the internet makes no sense.
    #[error("functions cannot reach the internet like this: {0}")]
    Egress(String),
    /// The sandbox cannot work here.
    #[error("functions cannot be isolated on this machine: {0}")]
    Sandbox(String),
}

/// The engine. Clones are handles to the same one.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// Starts the engine on the current tokio runtime.
    pub fn start(config: Config, events: Arc<dyn Events>) -> Result<Engine, Error> {
        std::fs::create_dir_all(&config.data).map_err(|source| Error::Folder {
            path: config.data.clone(),
            source,
        })?;
        let taken = [variables::RUNTIME_API_PORT, config.endpoint_port];
        if let Some(problem) = config.egress.as_ref().and_then(|e| e.problem(&taken)) {
            return Err(Error::Egress(problem));
        }
        let host = sandbox::Host::start(&config.sandbox)
            .map_err(|error| Error::Sandbox(error.to_string()))?;
        if let sandbox::Limits::BestEffort(why) = host.limits() {
            tracing::warn!(why, "limits of memory, CPU and processes are best effort");
        } else if let Some(why) = host.slow_moves() {
            tracing::info!(
                why,
                "processes wait for milliseconds until they are under their limits"
            );
        }
        let shared = Arc::new(Shared::new(config, host, events));
        shared.tasks.spawn(shared.clone().look_after_idle());
        shared.tasks.spawn(provision::look_after(shared.clone()));
        let slots = Slots::look_after(shared.clone(), shared.stop.child_token());
        shared.tasks.spawn(slots);
        let bytecode = Bytecode::look_after(shared.clone(), shared.stop.child_token());
        shared.tasks.spawn(bytecode);
        Ok(Engine { shared })
    }

    /// Runs a function once and waits for the end. When the returned future is dropped the function runs on.
    pub async fn invoke(
        &self,
        spec: Arc<FunctionSpec>,
        invocation: Invocation,
    ) -> Result<Outcome, Refusal> {
        if self.shared.draining.load(Ordering::Acquire) {
            return Err(Refusal::Draining);
        }
        invoke::run(&self.shared, &spec, invocation).await
    }

    /// Runs the function's init once, ahead of any invocation, and keeps what came of it for its environments. Publishing
    /// calls it.
    pub async fn prepare(&self, spec: Arc<FunctionSpec>) -> Result<Prepared, Unprepared> {
        if self.shared.draining.load(Ordering::Acquire) {
            return Err(Refusal::Draining.into());
        }
        if spec.wants_template() {
            return templates::prepare(&self.shared, &spec).await;
        }
        let init_duration = invoke::init_ahead(&self.shared, &spec).await?;
        Ok(Prepared {
            init_duration,
            template: Err("the function does without a template".to_owned()),
        })
    }

    /// Ends the environments of these revisions and keeps their templates.
    pub fn retire_environments(&self, key_prefix: &str) {
        self.shared.stop_all(self.shared.pool.retire(key_prefix));
    }

    /// This function is there and may be invoked: of its first environment all is made ready but what it runs itself.
    pub fn expect(&self, spec: &Arc<FunctionSpec>) {
        self.shared.bytecode.expect(spec);
        let slots = &self.shared.slots;
        let kind = Kind::of(&self.shared.zygotes, spec);
        slots.expect(&kind);
        if let Some(furnished) = kind.furnished(spec) {
            slots.expect(&furnished);
        }
    }

    /// Removes, in the background, what was compiled of other contents than these: names of folders of code and layers.
    pub fn sweep_bytecode(&self, contents: BTreeSet<String>) {
        let shared = self.shared.clone();
        let sweep = move || shared.bytecode.sweep(&contents);
        self.shared.tasks.spawn_blocking(sweep);
    }

    /// Templates that environments are forked of.
    pub fn templates(&self) -> usize {
        self.shared.templates.ready()
    }

    /// Takes down everything that was made ahead of demand; demand brings it back.
    pub async fn shed(&self) {
        self.shared.slots.shed().await;
        self.shared.zygotes.shed().await;
    }

    /// Sandboxes that wait for a function.
    pub fn slots(&self) -> SlotCounts {
        self.shared.slots.counts()
    }

    /// Ends the environments of every revision whose [`FunctionSpec::key`] starts with `key_prefix`: idle ones now, busy
    /// ones after what they are doing. Call it when code or configuration changed or the function is gone.
    pub fn retire(&self, key_prefix: &str) {
        self.shared.prediction.forget(key_prefix);
        self.retire_environments(key_prefix);
        self.shared.retire_ahead(key_prefix);
    }

    /// Says which environments of a function are to be initialised ahead and kept, all versions together. They are made,
    /// and those that are not named any more go, in the background.
    pub fn set_provisioned(&self, pool: &PoolKey, wanted: Vec<Provision>) {
        self.shared.provisions.set(pool, wanted);
    }

    /// How far the environments of a revision are that were asked for.
    pub fn provisioned(&self, key: &str) -> Provisioned {
        self.shared.provisions.status(key)
    }

    /// Sets the function's reserved concurrency, or takes it away.
    pub fn set_reserved(&self, pool: &PoolKey, reserved: Option<u32>) {
        self.shared.admission.set_reserved(pool, reserved);
    }

    /// Sets how many executions an account may have at once in a region ([`ACCOUNT_CONCURRENCY_DEFAULT`] until then).
    pub fn set_account_limit(&self, account_region: &str, limit: u32) {
        self.shared
            .admission
            .set_account_limit(account_region, limit);
    }

    /// Executions going on right now: of the function, and of the account in that region.
    pub fn concurrency(&self, pool: &PoolKey) -> Concurrency {
        self.shared.admission.concurrency(pool)
    }

    /// Environments alive, idle or not.
    pub fn environments(&self) -> usize {
        self.shared.pool.alive()
    }

    /// Whether nothing runs and nothing is being started or taken down.
    pub fn is_quiet(&self) -> bool {
        self.shared.invocations.is_empty() && self.shared.tasks.len() <= TASKS_ALWAYS
    }

    /// Connects to a host for the server itself, by the rules for functions that reach the internet.
    ///
    /// # Errors
    /// If the operator has not opened the internet, if the host may not be reached, or if it does not accept.
    pub async fn reach(&self, host: &str, port: u16) -> Result<tokio::net::TcpStream, NoWay> {
        self.shared.egress.reach(host, port).await
    }

    /// What has come of outbound connections so far.
    pub fn egress_counts(&self) -> EgressCounts {
        self.shared.egress.counts()
    }

    /// Resolves when no function can run any more: the sandbox broker has ended.
    ///
    /// # Errors
    /// If that cannot be watched, for want of descriptors or threads.
    pub async fn broken(&self) -> std::io::Result<()> {
        let (end, (told, ended)) = (self.shared.host.end()?, oneshot::channel());
        // A thread that waits for nothing else: the reactor takes sockets and pipes only.
        let thread = std::thread::Builder::new().name("broker-watch".to_owned());
        thread.spawn(move || {
            let mut fds = [PollFd::new(&end, PollFlags::IN)];
            while poll(&mut fds, None) == Err(Errno::INTR) {}
            // Nobody listens when the server ends by itself.
            let _ = told.send(());
        })?;
        ended.await.map_err(std::io::Error::other)
    }

    /// How limits are kept on this machine, for logs and `mayfly doctor`.
    pub fn limits(&self) -> String {
        self.shared.host.limits().to_string()
    }

    /// Lets nothing new in, waits up to `limit` for what is running, then ends every environment.
    pub async fn drain(&self, limit: Duration) {
        let shared = &self.shared;
        shared.draining.store(true, Ordering::Release);
        shared.invocations.close();
        if tokio::time::timeout(limit, shared.invocations.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                running = shared.invocations.len(),
                "invocations did not end in time"
            );
        }
        shared.stop_all(shared.pool.retire(""));
        shared.retire_ahead("");
        shared.stop.cancel();
        shared.tasks.close();
        if tokio::time::timeout(STOP_LIMIT, shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                tasks = shared.tasks.len(),
                "environments did not end in time"
            );
        }
        shared.zygotes.shed().await;
    }
}

/// Executions going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Concurrency {
    /// Of the function.
    pub function: u32,
    /// Of its account in its region.
    pub account: u32,
}
