//! What all environments share, and the janitor that looks after the idle ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Config;
use crate::admission::Admission;
use crate::bytecode::Bytecode;
use crate::egress::Egress;
use crate::environment::{Environment, Idle, LINGERING_MAX};
use crate::events::Events;
use crate::handle::Handle;
use crate::invoke::make_ahead;
use crate::pool::{Capacity, Pool, Room};
use crate::prediction::{Keeping, Prediction};
use crate::pressure;
use crate::provision::Provisions;
use crate::settling::Settling;
use crate::slots::{self, Slots};
use crate::spec::{Refusal, ThrottleReason};
use crate::templates::{self, Template, Templates};
use crate::turns::Turns;
use crate::zygotes::Zygotes;

/// An environment is frozen when it was idle for this long, so that bursts never pay for it.
const FREEZE_AFTER: Duration = Duration::from_millis(1);
/// How often the janitor looks while something may have to be frozen.
const FREEZE_TICK: Duration = Duration::from_millis(4);
/// How often it looks for environments that were idle for too long.
const EXPIRY_TICK: Duration = Duration::from_secs(1);
/// How long an invocation waits for room on a full machine.
const ROOM_LIMIT: Duration = Duration::from_secs(10);
/// Idle environments that are ended at each look while processes wait for memory.
const PRESSURE_STEP: usize = 4;

/// The engine's insides.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) host: sandbox::Host,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) pool: Pool,
    pub(crate) settling: Settling,
    pub(crate) provisions: Provisions,
    pub(crate) slots: Slots,
    pub(crate) templates: Templates,
    pub(crate) zygotes: Zygotes,
    pub(crate) bytecode: Bytecode,
    pub(crate) prediction: Prediction,
    pub(crate) turns: Turns,
    /// The kernel says that processes wait for memory.
    pressed: AtomicBool,
    /// AWS's host names, and the way to the internet if the configuration has one.
    pub(crate) egress: Arc<Egress>,
    capacity: Capacity,
    /// Places for environments that made way and are not taken down yet.
    pub(crate) lingering: Arc<Semaphore>,
    /// Every task of the engine.
    pub(crate) tasks: TaskTracker,
    /// One token per invocation.
    pub(crate) invocations: TaskTracker,
    pub(crate) draining: AtomicBool,
    pub(crate) stop: CancellationToken,
    ids: AtomicU64,
    idle: Notify,
    janitor_sleeps: AtomicBool,
}

impl Shared {
    pub(crate) fn new(config: Config, host: sandbox::Host, events: Arc<dyn Events>) -> Shared {
        let admission = Arc::<Admission>::default();
        let bytecode = Bytecode::new(config.data.join("bytecode"));
        Shared {
            provisions: Provisions::new(admission.clone()),
            prediction: Prediction::default(),
            turns: Turns::default(),
            pressed: AtomicBool::new(false),
            capacity: Capacity::new(config.environments_max, config.memory_mb_max),
            egress: Arc::new(Egress::new(&config, events.clone())),
            slots: Slots::new(&config),
            config,
            host,
            events,
            admission,
            pool: Pool::default(),
            settling: Settling::default(),
            lingering: Arc::new(Semaphore::new(LINGERING_MAX)),
            templates: Templates::default(),
            zygotes: Zygotes::default(),
            bytecode,
            tasks: TaskTracker::new(),
            invocations: TaskTracker::new(),
            draining: AtomicBool::new(false),
            stop: CancellationToken::new(),
            ids: AtomicU64::new(1),
            idle: Notify::new(),
            janitor_sleeps: AtomicBool::new(false),
        }
    }

    /// A number that has not been given before.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// This moment, for what is counted in seconds and hours.
    pub(crate) fn now(&self) -> Duration {
        self.config.clock.now()
    }

    pub(crate) fn keeping(&self) -> Keeping {
        Keeping {
            fixed: self.config.idle_timeout,
            scarce: self.capacity.is_scarce() || self.pressed.load(Ordering::Acquire),
        }
    }

    /// Room for an environment that nobody waits for: none is ended for it.
    pub(crate) fn room_to_spare(&self, memory_mb: u32) -> Option<Room> {
        self.capacity.try_take(memory_mb)
    }

    /// Room for another environment; the longest idle ones make way.
    pub(crate) async fn make_room(self: &Arc<Self>, memory_mb: u32) -> Result<Room, Refusal> {
        let full = Refusal::Throttled(ThrottleReason::ConcurrentInvocationLimitExceeded);
        loop {
            if let Some(room) = self.capacity.try_take(memory_mb) {
                return Ok(room);
            }
            match self.pool.take_oldest() {
                Some(idle) => idle.environment.make_way().await,
                None => break,
            }
        }
        self.capacity.waiting.fetch_add(1, Ordering::AcqRel);
        let room = tokio::time::timeout(ROOM_LIMIT, self.capacity.take(memory_mb)).await;
        self.capacity.waiting.fetch_sub(1, Ordering::AcqRel);
        room.ok().flatten().ok_or(full)
    }

    /// Takes an environment back after an invocation.
    pub(crate) fn give(self: &Arc<Self>, environment: Environment) {
        let now = self.now();
        if environment.keep.is_none() {
            environment.version.ends(now);
        }
        self.put(environment, now);
    }

    /// Puts an environment where the next invocation finds it; its version was last used at `since`.
    pub(crate) fn put(self: &Arc<Self>, environment: Environment, since: Duration) {
        let waited_for =
            self.capacity.waiting.load(Ordering::Acquire) > 0 && environment.keep.is_none();
        let wanted = waited_for || self.draining.load(Ordering::Acquire);
        if wanted || !environment.usable() {
            self.tasks.spawn(environment.stop("spindown"));
            return;
        }
        let handle = environment.handle.clone();
        self.pool.put(Idle { environment, since });
        // It may have died or been retired between the check and the put; whoever did that looked in vain.
        if !handle.usable() {
            self.bury(&handle);
        }
        self.wake_janitor();
    }

    /// Has the janitor look in a moment.
    pub(crate) fn wake_janitor(&self) {
        if self.janitor_sleeps.swap(false, Ordering::AcqRel) {
            self.idle.notify_one();
        }
    }

    /// Stops an environment if nobody uses it.
    pub(crate) fn bury(self: &Arc<Self>, handle: &Handle) {
        if let Some(idle) = self.pool.take_this(handle) {
            self.tasks.spawn(idle.environment.stop("failure"));
        }
    }

    /// Ends the templates of revisions, and the slots that wait for them.
    pub(crate) fn retire_ahead(self: &Arc<Self>, key_prefix: &str) {
        let templates = self.templates.retire(key_prefix);
        self.take_down(templates, key_prefix);
    }

    /// Takes down templates that are not wanted any more, with the slots of these revisions.
    pub(crate) fn take_down(self: &Arc<Self>, templates: Vec<Arc<Template>>, key_prefix: &str) {
        let waiting = self.slots.retire(key_prefix);
        if templates.is_empty() && waiting.is_empty() {
            return;
        }
        self.tasks.spawn(async move {
            slots::dispose(waiting).await;
            templates::dispose(templates).await;
        });
    }

    /// Stops some.
    pub(crate) fn stop_all(self: &Arc<Self>, idle: Vec<Idle>) {
        for idle in idle {
            self.tasks.spawn(idle.environment.stop("spindown"));
        }
    }

    /// Ends what is not worth its memory, and more of it while processes wait for memory.
    fn expire(self: &Arc<Self>) {
        self.pressed.store(pressure::is_high(), Ordering::Release);
        let (keeping, now) = (self.keeping(), self.now());
        self.slots.give_up(keeping.scarce, self.pool.alive());
        let keeps = |idle: &Idle| {
            let time = now.saturating_sub(idle.since);
            let predicts = self.config.prediction;
            let window = || idle.environment.version.window().filter(|_| predicts);
            keeping.keeps_in_any_case(time) || keeping.keeps(window(), time)
        };
        self.stop_all(self.pool.take_expired(keeps));
        if self.pressed.load(Ordering::Acquire) {
            let oldest = std::iter::from_fn(|| self.pool.take_oldest());
            self.stop_all(oldest.take(PRESSURE_STEP).collect());
        }
    }

    /// Makes environments for calls that are expected.
    fn make_ahead(self: &Arc<Self>) {
        let hindered =
            self.pressed.load(Ordering::Acquire) || self.draining.load(Ordering::Acquire);
        if !self.config.prediction || hindered {
            return;
        }
        let has = |key: &str| self.pool.has(key);
        for (spec, since) in self.prediction.due(self.now(), self.keeping(), has) {
            let shared = self.clone();
            self.tasks.spawn(async move {
                if let Err(refusal) = make_ahead(&shared, &spec, since).await {
                    tracing::warn!(function = spec.name, %refusal, "not made ahead");
                }
            });
        }
    }

    /// Ends the log of what is idle and freezes it, stops what was idle for too long. One code path for the signal and for the clock.
    pub(crate) async fn look_after_idle(self: Arc<Self>) {
        let mut expiry = Instant::now() + EXPIRY_TICK;
        loop {
            self.slots.look_again_if_taken();
            self.settling.look_after();
            let thawed = self.pool.take_thawed(FREEZE_AFTER);
            if !thawed.is_empty() {
                let freeze = move || {
                    for (handle, uses) in &thawed {
                        handle.tell();
                        handle.freeze(*uses);
                    }
                };
                // It only fails when the runtime is going down.
                let _ = tokio::task::spawn_blocking(freeze).await;
            }
            if Instant::now() >= expiry {
                self.expire();
                self.make_ahead();
                expiry = Instant::now() + EXPIRY_TICK;
            }
            // Before it looks, so that what comes meanwhile wakes it.
            self.janitor_sleeps.store(true, Ordering::SeqCst);
            let tick = if self.settling.any_left() || self.pool.any_thawed() {
                self.janitor_sleeps.store(false, Ordering::SeqCst);
                FREEZE_TICK
            } else {
                EXPIRY_TICK
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(tick) => {}
                () = self.idle.notified() => {}
            }
        }
    }
}
