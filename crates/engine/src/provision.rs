//! Provisioned concurrency: environments that are initialised ahead and kept
//! (<https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html>).
//!
//! What is wanted is told for a function as a whole, and one task makes it so: at first, after a restart, when an
//! environment died, and before its credentials end. Whoever holds a [`Keep`] is one of the environments kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use crate::admission::Admission;
use crate::environment::Environment;
use crate::invoke::report_init;
use crate::pool::Start;
use crate::shared::Shared;
use crate::spec::{FunctionSpec, Initialization, PoolKey, Refusal};

/// Environments that are started at once, of all functions: starting takes processor time from invocations.
const STARTS_MAX: usize = 4;
/// How often it is looked whether credentials are about to end, and whether to try again.
const TICK: Duration = Duration::from_secs(1);
/// An environment is replaced when its credentials have less than this left beyond the function's own limit.
const REPLACE_BEFORE: Duration = Duration::from_secs(300);
/// How long a start that failed is not tried again: twice as long each time, up to the last.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(300));
/// An environment that fails before this age counts as one whose start failed.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// Init that no invocation waits for has at least this long, or the function's own limit
/// (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>).
pub(crate) const INIT_AHEAD_LIMIT: Duration = Duration::from_secs(130);

/// Environments of one version to be kept.
#[derive(Clone, Debug)]
pub struct Provision {
    /// What they run.
    pub spec: Arc<FunctionSpec>,
    /// How many.
    pub count: u32,
    /// Names the request for them: after another one, what failed is tried again at once.
    pub request: i64,
}

/// How far the environments of a version are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provisioned {
    /// Initialised, at work or not.
    pub allocated: u32,
    /// At work.
    pub busy: u32,
    /// Why the last start failed, if it did.
    pub failure: Option<ProvisionFailure>,
}

/// Why an environment was not made ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProvisionFailure {
    /// The function's own init failed.
    Init,
    /// The machine has no room for it.
    NoRoom,
    /// The execution role cannot be assumed.
    Role,
    /// A fault of the platform; the text is in its log.
    Internal,
}

/// How provisioned concurrency took part in an invocation of a version that has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvisionedUse {
    /// Whether the invocation had one of the environments; otherwise it spilled over.
    pub used: bool,
    /// Environments at work when it began, with its own.
    pub busy: u32,
    /// Environments there were.
    pub allocated: u32,
}

/// What is wanted, and what there is. One for the engine.
pub(crate) struct Provisions {
    admission: Arc<Admission>,
    state: Mutex<State>,
    /// Spares functions without any the look.
    any: AtomicBool,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// By [`FunctionSpec::key`].
    kept: HashMap<String, Kept>,
    starting: usize,
}

struct Kept {
    spec: Arc<FunctionSpec>,
    count: u32,
    request: i64,
    starting: u32,
    busy: u32,
    /// By the environment's id.
    members: HashMap<u64, Member>,
    failure: Option<ProvisionFailure>,
    failures: u32,
    retry_at: Option<Instant>,
}

struct Member {
    made: Instant,
    /// When its credentials end.
    expires: SystemTime,
}

impl Kept {
    /// Whether credentials that end then are good for a while.
    fn is_fresh(&self, expires: SystemTime, now: SystemTime) -> bool {
        expires > now + self.spec.timeout + REPLACE_BEFORE
    }

    /// How many are to be started now.
    fn missing(&self, now: Instant, time: SystemTime) -> u32 {
        if self.retry_at.is_some_and(|at| now < at) {
            return 0;
        }
        let fresh = self.members.values();
        let fresh = fresh.filter(|member| self.is_fresh(member.expires, time));
        let fresh = fresh.count();
        let fresh = u32::try_from(fresh).unwrap_or(u32::MAX);
        self.count
            .saturating_sub(fresh.saturating_add(self.starting))
    }

    fn surplus(&self) -> usize {
        self.members.len().saturating_sub(self.count as usize)
    }

    fn failed(&mut self, failure: ProvisionFailure, now: Instant) {
        self.failure = Some(failure);
        let (first, last) = RETRY_AFTER;
        self.retry_at = Some(now + (first * (1 << self.failures.min(8))).min(last));
        self.failures += 1;
    }

    fn try_again(&mut self) {
        self.failure = None;
        self.failures = 0;
        self.retry_at = None;
    }
}

/// Held by an environment that is kept. Dropping it makes room for another.
pub(crate) struct Keep {
    shared: Arc<Shared>,
    key: String,
    pool: PoolKey,
    id: u64,
}

impl Keep {
    /// The environment ends because it failed: one that did at once is not replaced at once.
    pub(crate) fn failed(&self) {
        if let Some(kept) = self.shared.provisions.state().kept.get_mut(&self.key) {
            let member = kept.members.get(&self.id);
            if member.is_some_and(|member| member.made.elapsed() < SHORT_LIFE) {
                kept.failed(ProvisionFailure::Init, Instant::now());
            }
        }
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        let provisions = &self.shared.provisions;
        if let Some(kept) = provisions.state().kept.get_mut(&self.key) {
            kept.members.remove(&self.id);
        }
        provisions.admission.unclaim(&self.pool);
        provisions.changed.notify_one();
    }
}

/// Held while an environment that is kept is at work.
pub(crate) struct AtWork {
    shared: Arc<Shared>,
    key: String,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if let Some(kept) = self.shared.provisions.state().kept.get_mut(&self.key) {
            kept.busy = kept.busy.saturating_sub(1);
        }
    }
}

impl Provisions {
    pub(crate) fn new(admission: Arc<Admission>) -> Provisions {
        Provisions {
            admission,
            state: Mutex::default(),
            any: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Says all that is wanted of a function; what was wanted before is no more.
    pub(crate) fn set(&self, pool: &PoolKey, wanted: Vec<Provision>) {
        if wanted.is_empty() && !self.any() {
            return;
        }
        let mut state = self.state();
        for kept in state
            .kept
            .values_mut()
            .filter(|kept| kept.spec.pool == *pool)
        {
            kept.count = 0;
        }
        for Provision {
            spec,
            count,
            request,
        } in wanted
        {
            let kept = state.kept.entry(spec.key.clone());
            let kept = kept.or_insert_with(|| Kept {
                spec,
                count,
                request,
                starting: 0,
                busy: 0,
                members: HashMap::new(),
                failure: None,
                failures: 0,
                retry_at: None,
            });
            kept.count = count;
            if kept.request != request {
                kept.request = request;
                kept.try_again();
            }
        }
        state.forget_empty();
        self.any.store(!state.kept.is_empty(), Ordering::Release);
        drop(state);
        self.changed.notify_one();
    }

    /// Whether any function has some.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub(crate) fn status(&self, key: &str) -> Provisioned {
        let state = self.state();
        state
            .kept
            .get(key)
            .map_or_else(Provisioned::default, |kept| Provisioned {
                allocated: u32::try_from(kept.members.len()).unwrap_or(u32::MAX),
                busy: kept.busy,
                failure: kept.failure.clone(),
            })
    }

    /// How an invocation met them; `None` for a version without any.
    pub(crate) fn use_of(&self, key: &str, used: bool) -> Option<ProvisionedUse> {
        if !self.any() {
            return None;
        }
        let state = self.state();
        let kept = state.kept.get(key).filter(|kept| kept.count > 0)?;
        Some(ProvisionedUse {
            used,
            busy: kept.busy,
            allocated: u32::try_from(kept.members.len()).unwrap_or(u32::MAX),
        })
    }

    /// Counts an environment as at work.
    pub(crate) fn at_work(&self, shared: &Arc<Shared>, key: &str) -> AtWork {
        if let Some(kept) = self.state().kept.get_mut(key) {
            kept.busy += 1;
        }
        AtWork {
            shared: shared.clone(),
            key: key.to_owned(),
        }
    }

    /// Reserves the starts that are to begin now.
    fn take_missing(&self) -> Vec<Arc<FunctionSpec>> {
        let (now, time) = (Instant::now(), SystemTime::now());
        let mut state = self.state();
        let mut room = STARTS_MAX.saturating_sub(state.starting);
        let mut out = Vec::new();
        for kept in state.kept.values_mut() {
            let missing = (kept.missing(now, time) as usize).min(room);
            room -= missing;
            kept.starting += u32::try_from(missing).unwrap_or(0);
            out.extend(std::iter::repeat_n(&kept.spec, missing).cloned());
        }
        state.starting += out.len();
        out
    }

    /// How many environments are too many, by key.
    fn surplus(&self) -> Vec<(String, usize)> {
        let state = self.state();
        let kept = state.kept.iter();
        kept.map(|(key, kept)| (key.clone(), kept.surplus()))
            .filter(|(_, surplus)| *surplus > 0)
            .collect()
    }

    /// Takes an environment that has just been initialised in, unless it is not wanted any more.
    fn admit(&self, shared: &Arc<Shared>, environment: &Environment) -> Option<Keep> {
        let spec = &environment.spec;
        let id = environment.handle.id;
        let mut state = self.state();
        let kept = state.kept.get_mut(&spec.key)?;
        if kept.count == 0 {
            return None;
        }
        let member = Member {
            made: Instant::now(),
            expires: environment.expires(),
        };
        kept.members.insert(id, member);
        kept.try_again();
        drop(state);
        self.admission.claim(&spec.pool);
        Some(Keep {
            shared: shared.clone(),
            key: spec.key.clone(),
            pool: spec.pool.clone(),
            id,
        })
    }

    fn started(&self, key: &str, failure: Option<ProvisionFailure>) {
        let mut state = self.state();
        state.starting = state.starting.saturating_sub(1);
        if let Some(kept) = state.kept.get_mut(key) {
            kept.starting = kept.starting.saturating_sub(1);
            if let Some(failure) = failure {
                kept.failed(failure, Instant::now());
            }
        }
        state.forget_empty();
        self.any.store(!state.kept.is_empty(), Ordering::Release);
        drop(state);
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete when the lock is given back, so a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_empty(&mut self) {
        self.kept
            .retain(|_, kept| kept.count > 0 || kept.starting > 0 || !kept.members.is_empty());
    }
}

/// Makes what there is what is wanted, until the engine ends.
pub(crate) async fn look_after(shared: Arc<Shared>) {
    loop {
        for (key, surplus) in shared.provisions.surplus() {
            shared.stop_all(shared.pool.take_provisioned(&key, surplus));
        }
        if !shared.draining.load(Ordering::Acquire) {
            for spec in shared.provisions.take_missing() {
                shared.tasks.spawn(start(shared.clone(), spec));
            }
        }
        let provisions = &shared.provisions;
        let tick = async {
            match provisions.any() {
                true => tokio::time::sleep(TICK).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = provisions.changed.notified() => {}
            () = tick => {}
        }
    }
}

async fn start(shared: Arc<Shared>, spec: Arc<FunctionSpec>) {
    let made = make(&shared, &spec).await;
    if let Err(failure) = &made {
        let (function, version) = (&spec.name, &spec.version);
        tracing::warn!(function, version, ?failure, "not provisioned");
    }
    shared.provisions.started(&spec.key, made.err());
}

async fn make(shared: &Arc<Shared>, spec: &Arc<FunctionSpec>) -> Result<(), ProvisionFailure> {
    let start = Start::new(shared, spec);
    let room = shared.make_room(spec.memory_mb).await.map_err(refused)?;
    let initialization = Initialization::Provisioned;
    let mut environment = Environment::create(&start, room, initialization, None)
        .await
        .map_err(refused)?;
    let booted = tokio::select! {
        booted = environment.boot(INIT_AHEAD_LIMIT.max(spec.timeout), None) => booted,
        () = shared.stop.cancelled() => {
            environment.stop("spindown").await;
            return Ok(());
        }
    };
    let duration = environment.boot_time();
    report_init(&environment, duration, "init", booted.as_ref().err());
    if booted.is_err() {
        environment.stop("failure").await;
        return Err(ProvisionFailure::Init);
    }
    match shared.provisions.admit(shared, &environment) {
        Some(keep) => {
            environment.keep = Some(keep);
            shared.give(environment);
        }
        None => environment.stop("spindown").await,
    }
    Ok(())
}

fn refused(refusal: Refusal) -> ProvisionFailure {
    match refusal {
        Refusal::Throttled(_) => ProvisionFailure::NoRoom,
        Refusal::Credentials(_) => ProvisionFailure::Role,
        // What is provisioned is no fork.
        Refusal::NotRestored(_)
        | Refusal::RestoreTimeout
        | Refusal::Draining
        | Refusal::NoRuntime(_)
        | Refusal::Internal(_) => {
            tracing::error!(%refusal, "not provisioned");
            ProvisionFailure::Internal
        }
    }
}
