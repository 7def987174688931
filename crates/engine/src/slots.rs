//! Slots: sandboxes made ahead of the functions that they will belong to.
//!
//! Everything generic is in place: namespaces, limits, listeners, the runtime's files, and for runtimes that can *park*
//! an interpreter that has loaded its bootstrap and waits for an assignment ([`crate::parked`]). What a slot lacks is a
//! function. For the
//! versions that were deployed or called lately there are *furnished* slots besides: their files are mounted and their
//! limits set, the interpreter has compiled the handler or the runtime's process is about to be loaded, but nothing of
//! them has run. *Bare* ones are still without an interpreter, and spare a fork that a call waits for the making of its
//! sandbox. A slot is given to one environment and never comes back, so no code of a function ever runs in the slot of
//! another.
//!
//! How many wait follows what was taken lately, within limits of number and memory. They are made after answers, one at
//! a time, and their absence costs an invocation time, never its success.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sandbox::{Outputs, Poised, Sandbox};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::demand::Demand;
use crate::kind::{Kind, Owner, is_of};
use crate::launch::{TASK_ROOT, has_extensions, runtime_argv};
use crate::log::{Pipes, Readers};
use crate::parked::{Call, Parked};
use crate::plan::{late, plan};
use crate::process::Process;
use crate::shared::Shared;
use crate::spec::{FunctionSpec, Initialization};
use crate::templates::Template;
use crate::variables::parked_variables;
use crate::{Clock, Config};

/// Most slots that wait, of all kinds together: each has two processes and some twenty descriptors. Those of versions that
/// were not used for longest make way for others.
const SLOTS_MAX: usize = 512;
/// What one takes whose process is forked, roughly, with what the kernel has of it; and the part of the memory budget that
/// all of them may take.
const SLOT_MB: u64 = 4;
const SLOTS_BUDGET_DIVISOR: u64 = 8;
/// Descriptors of ours that a slot or an environment takes, and those that are left for all else.
const DESCRIPTORS_EACH: u64 = 20;
const DESCRIPTORS_SPARE: u64 = 1024;
/// Making slots waits for quiet, but not longer than this for each.
const QUIET_LIMIT: Duration = Duration::from_millis(250);
const QUIET_TICK: Duration = Duration::from_millis(2);
/// How long an interpreter may take until it waits.
const PARK_LIMIT: Duration = Duration::from_secs(60);
/// After a failure no slot of that kind is made for this long.
const FAILURE_REST: Duration = Duration::from_secs(30);
/// What a function has for whom nothing is said.
const MEMORY_MB_DEFAULT: u32 = 128;
/// Kinds remembered; more than there are runtimes, templates and versions with slots.
const KINDS_MAX: usize = 2048;
/// The part of them that may be furnished for versions; the one used least lately makes way.
const FURNISHED_DIVISOR: usize = 2;
/// The part of them that are bare before others that were used less lately.
const BARE_DIVISOR: usize = 8;
/// Where memory is short, a version that was not used for so long has none any more.
const VERSION_MEMORY: Duration = Duration::from_secs(3600);
/// Where an interpreter that waits finds its connection to the Runtime API, if it was executed.
const CHANNEL_FD: i32 = 4;

/// A slot for an environment, with the files of its version: one that waits, or a new one. What a template cannot give is made without it. Environments
/// that are provisioned run init themselves, as on AWS.
pub(crate) async fn slot_for(
    shared: &Arc<Shared>,
    spec: &Arc<FunctionSpec>,
    call: Call<'_>,
) -> Result<Slot, String> {
    let forks = call.initialization != Initialization::Provisioned;
    if let Some(template) = shared.templates.of(shared, spec).filter(|_| forks) {
        let kind = Kind::of_template(spec, template);
        if let Some(slot) = shared.slots.take(&kind) {
            return Ok(slot);
        }
        match Slot::ready(shared, &kind, Some(call)).await {
            Ok(slot) => return Ok(slot),
            Err(why) => {
                tracing::warn!(function = spec.name, why, "a template was not forked");
            }
        }
    }
    let kind = Kind::of(&shared.zygotes, spec);
    let own = kind.for_version(spec);
    let furnished = Some(&own).filter(|_| !spec.wants_template());
    let furnished = furnished.and_then(|kind| shared.slots.take(kind));
    let anybodys = || {
        let usual = &shared.slots.usual_memory_mb;
        usual.store(spec.memory_mb, Ordering::Relaxed);
        shared.slots.take(&kind)
    };
    if let Some(slot) = furnished.or_else(anybodys) {
        return slot.furnish(shared, spec, Some(call)).await;
    }
    let kind = own;
    if let Some(zygote) = shared
        .zygotes
        .ready(shared, &kind.runtime, kind.sdk)
        .filter(|_| kind.parked)
    {
        match Slot::of(shared, &kind, Some(zygote), Some(call)).await {
            Ok(slot) => return Ok(slot),
            Err(why) => tracing::warn!(runtime = kind.runtime.id, why, "a zygote was not forked"),
        }
    }
    Slot::make(shared, &kind, None).await
}

/// Sandboxes that were made ahead and wait for a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCounts {
    /// With all that belongs to them.
    pub whole: usize,
    /// Those whose process is forked when a call takes them: for a second call at the same time.
    pub bare: usize,
}

impl SlotCounts {
    /// Both together.
    pub fn all(&self) -> usize {
        self.whole + self.bare
    }

    fn of(shelves: &HashMap<String, Shelf>) -> SlotCounts {
        let mut counts = SlotCounts::default();
        for shelf in shelves.values() {
            let count = match shelf.kind.bare {
                true => &mut counts.bare,
                false => &mut counts.whole,
            };
            *count += shelf.ready.len();
        }
        counts
    }
}

/// A sandbox without a function.
pub(crate) struct Slot {
    /// The environment's name to be.
    pub(crate) name: String,
    pub(crate) sandbox: Sandbox,
    pub(crate) runtime_api: TcpListener,
    pub(crate) endpoint: TcpListener,
    /// The way to AWS's host names, and to the internet if the slot is for functions that have one.
    pub(crate) outbound: Vec<TcpListener>,
    pub(crate) udp: Vec<UdpSocket>,
    pub(crate) pipes: Pipes,
    pub(crate) readers: Readers,
    pub(crate) parked: Option<Parked>,
    /// The runtime of a version that cannot be parked.
    pub(crate) poised: Option<(Process, Poised)>,
    /// What its process was forked of, which must outlive it.
    pub(crate) parent: Option<Arc<Template>>,
    /// The files of a version are mounted, and its limits are set.
    furnished: bool,
    /// The process has run the function's init: it was forked of a version's template.
    pub(crate) restored: bool,
}

impl Slot {
    /// Makes a slot without an interpreter, in the nursery of what shall be forked into it.
    async fn make(
        shared: &Arc<Shared>,
        kind: &Kind,
        parent: Option<Arc<Template>>,
    ) -> Result<Slot, String> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let mut plan = plan(&kind.runtime, &name, shared.config.endpoint_port);
        shared.egress.plan(kind.network, &mut plan);
        let version = kind.version();
        let host = match &parent {
            Some(parent) => {
                // All of its nursery's have the runtime's files.
                plan.mounts.clear();
                parent.host.clone()
            }
            None => shared.host.clone(),
        };
        let missing = version.map(|spec| late(shared, spec));
        (plan.memory_bytes, plan.tmp_bytes) = match &missing {
            Some(missing) => (missing.memory_bytes, missing.tmp_bytes),
            None => (shared.slots.usual_memory_bytes(), plan.tmp_bytes),
        };
        let made = tokio::task::spawn_blocking(move || {
            let sandbox = host.create(plan)?;
            missing.map_or(Ok(()), |missing| sandbox.attach(missing))?;
            Ok::<_, sandbox::Error>(sandbox)
        })
        .await;
        let mut sandbox = made.map_err(text)?.map_err(text)?;
        let listening = |listener: std::net::TcpListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let mut listeners = sandbox.take_listeners().into_iter().map(listening);
        let (Some(runtime_api), Some(endpoint)) = (listeners.next(), listeners.next()) else {
            return Err("the sandbox gave no listeners".to_owned());
        };
        let bound = |socket: std::net::UdpSocket| {
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket)
        };
        let udp = sandbox.take_udp().into_iter().map(bound);
        let (pipes, readers) = crate::log::pipes().map_err(text)?;
        Ok(Slot {
            name,
            udp: udp.collect::<Result<_, _>>().map_err(text)?,
            sandbox,
            runtime_api: runtime_api.map_err(text)?,
            endpoint: endpoint.map_err(text)?,
            outbound: listeners.collect::<Result<_, _>>().map_err(text)?,
            pipes,
            readers,
            parked: None,
            poised: None,
            parent,
            furnished: version.is_some(),
            restored: kind.template().is_some(),
        })
    }

    /// Makes a slot of a kind, with all that belongs to it, unless the engine stops meanwhile: ahead, or for a call that
    /// waits.
    async fn ready(
        shared: &Arc<Shared>,
        kind: &Kind,
        call: Option<Call<'_>>,
    ) -> Result<Slot, String> {
        let parent = match kind.template() {
            Some(template) => Some(template.clone()),
            None if kind.parked => shared.zygotes.get(shared, &kind.runtime, kind.sdk).await,
            None => None,
        };
        Slot::of(shared, kind, parent, call).await
    }

    /// Makes a slot whose interpreter, if the kind has one, is forked or executed.
    async fn of(
        shared: &Arc<Shared>,
        kind: &Kind,
        parent: Option<Arc<Template>>,
        call: Option<Call<'_>>,
    ) -> Result<Slot, String> {
        let bare = kind.bare().filter(|_| parent.is_some() && call.is_some());
        let bare = bare.and_then(|bare| shared.slots.take(&bare));
        let made = match bare.zip(kind.version()) {
            Some((slot, spec)) => slot.furnish(shared, spec, call).await,
            None => Slot::make(shared, kind, parent.clone()).await,
        };
        let parked = match made {
            Ok(slot) if kind.bare => Ok(slot),
            Ok(slot) if kind.parked => slot.park(shared, kind, call).await,
            Ok(slot) => slot.poise(kind).await,
            Err(why) => Err(why),
        };
        if let Ok(slot) = &parked
            && slot.furnished
            && !kind.bare
        {
            slot.sandbox.complete();
        }
        if let (Err(_), Some(parent)) = (&parked, &parent)
            && !parent.zygote.is_alive()
        {
            match &kind.owner {
                Owner::Template(spec, template) => shared.templates.lose(&spec.key, template),
                _ => shared.zygotes.lose(parent),
            }
        }
        parked
    }

    /// Mounts the files of a version and sets its limits, unless it has them. An interpreter that waits takes on its
    /// variables meanwhile.
    async fn furnish(
        mut self,
        shared: &Shared,
        spec: &FunctionSpec,
        call: Option<Call<'_>>,
    ) -> Result<Slot, String> {
        if self.furnished {
            return Ok(self);
        }
        if let Some(parked) = &mut self.parked {
            // Extensions start before it does.
            parked.tell_early(spec, &self.name, call.filter(|_| !has_extensions(spec)));
        }
        let missing = late(shared, spec);
        let attached = tokio::task::spawn_blocking(move || {
            let attached = self.sandbox.attach(missing);
            (self, attached)
        });
        let (mut slot, attached) = attached.await.map_err(text)?;
        if let Err(error) = attached {
            dispose(vec![slot]).await;
            return Err(text(error));
        }
        slot.furnished = true;
        if let Some(parked) = &mut slot.parked {
            parked.has_taken_it_on().await;
        }
        Ok(slot)
    }

    /// Starts an interpreter in it, or forks one, and waits until that waits, unless a call does.
    async fn park(
        self,
        shared: &Arc<Shared>,
        kind: &Kind,
        call: Option<Call<'_>>,
    ) -> Result<Slot, String> {
        let argv = kind.runtime.waiting.clone().unwrap_or_default();
        let env = parked_variables(&kind.runtime);
        let mut process = self.pipes.runtime(argv, env, "/").map_err(text)?;
        let briefing = kind.briefing(&self.name, call);
        let (words, ahead) = (briefing.words(), call.is_none());
        let started = tokio::task::spawn_blocking(move || {
            let child = match &self.parent {
                None => UnixStream::pair().map_err(text).and_then(|(here, there)| {
                    process.fds.push((CHANNEL_FD, there.into()));
                    let child = self.sandbox.spawn(process).map_err(text)?;
                    Ok((child, here, None))
                }),
                Some(parent) => {
                    let outputs = Outputs {
                        output: self.pipes.output.as_fd(),
                        third: self.pipes.frames.as_fd(),
                    };
                    let forked =
                        parent
                            .zygote
                            .fork(&self.sandbox, &outputs, ahead, words.as_deref());
                    let forked = forked.map_err(text);
                    forked.map(|(child, channel)| (child, channel, Some(Instant::now())))
                }
            };
            (self, child)
        });
        let (mut slot, child) = started.await.map_err(text)?;
        let (child, channel, forked) = match child {
            Ok(started) => started,
            Err(why) => {
                dispose(vec![slot]).await;
                return Err(why);
            }
        };
        let parked = Parked::new(child, channel, briefing, forked);
        let parked = shared.stop.run_until_cancelled(parked);
        match tokio::time::timeout(PARK_LIMIT, parked).await {
            Ok(Some(Ok(parked))) => {
                slot.parked = Some(parked);
                Ok(slot)
            }
            other => {
                let why = match other {
                    Ok(Some(Err(error))) => error.to_string(),
                    Ok(None) => "the engine stops".to_owned(),
                    _ => "it did not ask in time".to_owned(),
                };
                dispose(vec![slot]).await;
                Err(why)
            }
        }
    }

    /// Has the runtime of a version that cannot be parked wait just before it is loaded. What hinders that is for its
    /// environment to find out.
    async fn poise(mut self, kind: &Kind) -> Result<Slot, String> {
        let Owner::Version(spec) = &kind.owner else {
            return Ok(self);
        };
        let Ok(argv) = runtime_argv(spec) else {
            return Ok(self);
        };
        // Nothing else may be in the sandbox when they start.
        if has_extensions(spec) {
            return Ok(self);
        }
        let process = self.pipes.runtime(argv, Vec::new(), TASK_ROOT);
        let process = process.map_err(text)?;
        let poised = tokio::task::spawn_blocking(move || {
            let poised = self.sandbox.poise(process);
            (self, poised)
        });
        let (slot, poised) = poised.await.map_err(text)?;
        self = slot;
        let watched = poised.and_then(|(child, poised)| Ok((Process::watch(child)?, poised)));
        match watched {
            Ok(poised) => self.poised = Some(poised),
            Err(error) => {
                dispose(vec![self]).await;
                return Err(error.to_string());
            }
        }
        Ok(self)
    }

    fn is_alive(&self) -> bool {
        let forks = |parent: &Arc<Template>| self.parked.is_some() || parent.zygote.is_alive();
        let parked = self.parked.as_ref().map(|parked| &parked.process);
        let poised = self.poised.as_ref().map(|(process, _)| process);
        parked.or(poised).is_none_or(Process::is_alive) && self.parent.as_ref().is_none_or(forks)
    }
}

/// The slots that wait.
pub(crate) struct Slots {
    /// Most of them, of all kinds together, if all were forked ([`Kind::weight`]).
    most: usize,
    /// Slots and environments for which there are descriptors.
    sandboxes_max: usize,
    /// Whether interpreters are forked, where they can be.
    zygotes: bool,
    clock: Clock,
    /// The memory of the function that took one for anybody last: its successor needs no other limit as long as the next is alike.
    usual_memory_mb: AtomicU32,
    shelves: Mutex<HashMap<String, Shelf>>,
    /// Those that have been given up, until they are taken down.
    unwanted: Mutex<Vec<Slot>>,
    wanted: Notify,
    /// One was taken, and nobody has been told yet that another is wanted.
    taken: AtomicBool,
    /// Held while a slot is being made, so that [`Slots::shed`] misses none.
    making: tokio::sync::Mutex<()>,
}

/// Those of one kind.
struct Shelf {
    kind: Kind,
    weight: usize,
    ready: Vec<Slot>,
    demand: Demand,
    /// By the configuration's clock.
    used: Duration,
    rest_until: Option<Instant>,
}

impl Shelf {
    /// The places that its slots take.
    fn taken(&self) -> usize {
        self.ready.len() * self.weight
    }

    /// How many shall be there. After the first bare one, forks are there ahead for as many calls as come.
    fn wanted(&mut self, now: Instant) -> usize {
        match &self.kind {
            kind if kind.is_retired() => 0,
            kind if kind.bare => 1,
            _ => self.demand.now(now),
        }
    }
}

impl Slots {
    /// None yet, and never more than an eighth of the memory budget of environments, or than there are descriptors for beside them.
    pub(crate) fn new(config: &Config) -> Slots {
        let budget = config.memory_mb_max / SLOTS_BUDGET_DIVISOR / SLOT_MB;
        let descriptors = config.descriptors_max.saturating_sub(DESCRIPTORS_SPARE);
        let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Slots {
            most: SLOTS_MAX.min(whole(budget)),
            sandboxes_max: whole(descriptors / DESCRIPTORS_EACH),
            zygotes: config.zygotes,
            clock: config.clock.clone(),
            usual_memory_mb: AtomicU32::new(MEMORY_MB_DEFAULT),
            shelves: Mutex::default(),
            unwanted: Mutex::default(),
            wanted: Notify::new(),
            taken: AtomicBool::default(),
            making: tokio::sync::Mutex::default(),
        }
    }

    /// A slot for a function, if one waits. That another is to be made can wait until the call has been answered, or takes
    /// its time ([`Slots::look_again_if_taken`]).
    pub(crate) fn take(&self, kind: &Kind) -> Option<Slot> {
        let (now, mut shelves) = (Instant::now(), self.shelves());
        let shelf = self.shelf(&mut shelves, kind, now)?;
        shelf.demand.take(now);
        // The one that was made last is the most likely to be in caches.
        let slot = std::iter::from_fn(|| shelf.ready.pop()).find(Slot::is_alive);
        drop(shelves);
        self.taken.store(true, Ordering::Release);
        slot
    }

    /// A function of this kind is there, so one slot shall wait, and a bare one for a second call.
    pub(crate) fn expect(&self, kind: &Kind) {
        let (now, mut shelves) = (Instant::now(), self.shelves());
        for kind in [Some(kind.clone()), kind.bare()].into_iter().flatten() {
            self.shelf(&mut shelves, &kind, now);
        }
        drop(shelves);
        self.wanted.notify_one();
    }

    /// Has those replaced that were taken.
    pub(crate) fn look_again_if_taken(&self) {
        if self.taken.swap(false, Ordering::AcqRel) {
            self.look_again();
        }
    }

    /// Looks whether one of them can be made now.
    pub(crate) fn look_again(&self) {
        self.wanted.notify_one();
    }

    /// The shelf of a kind; none when there are too many kinds.
    fn shelf<'a>(
        &self,
        shelves: &'a mut HashMap<String, Shelf>,
        kind: &Kind,
        now: Instant,
    ) -> Option<&'a mut Shelf> {
        let (key, weight) = (kind.key(), kind.weight(self.zygotes));
        if !shelves.contains_key(&key) {
            if kind.is_furnished() {
                let furnished = |shelf: &Shelf| shelf.kind.is_furnished();
                let weigh = |shelf: &Shelf| if furnished(shelf) { shelf.weight } else { 0 };
                self.make_room(
                    shelves,
                    weight,
                    self.most / FURNISHED_DIVISOR,
                    weigh,
                    furnished,
                );
            }
            if shelves.len() >= KINDS_MAX {
                return None;
            }
        }
        let used = self.clock.now();
        let shelf = shelves.entry(key).or_insert_with(|| Shelf {
            kind: kind.clone(),
            weight,
            ready: Vec::new(),
            demand: Demand::new(now),
            used,
            rest_until: None,
        });
        shelf.used = used;
        Some(shelf)
    }

    /// Has these make way until one of this weight more is not too much for all; false when they do not suffice.
    fn make_room(
        &self,
        shelves: &mut HashMap<String, Shelf>,
        weight: usize,
        most: usize,
        weigh: impl Fn(&Shelf) -> usize,
        of_these: impl Fn(&Shelf) -> bool,
    ) -> bool {
        while shelves.values().map(&weigh).sum::<usize>() + weight > most {
            if !self.make_way(shelves, &of_these) {
                return false;
            }
        }
        true
    }

    /// Gives up what there is for the version that was used least lately of these; false when there is none. Bare slots make way first
    /// where they have more than their share, and last where not.
    fn make_way(
        &self,
        shelves: &mut HashMap<String, Shelf>,
        of_these: impl Fn(&Shelf) -> bool,
    ) -> bool {
        let bare_first = SlotCounts::of(shelves).bare > self.most / BARE_DIVISOR;
        let these = shelves.iter().filter(|(_, shelf)| of_these(shelf));
        let oldest = these.min_by_key(|(_, shelf)| (shelf.kind.bare != bare_first, shelf.used));
        let key = oldest.map(|(key, _)| key.clone());
        let gone = key.and_then(|key| shelves.remove(&key));
        let made_way = gone.is_some();
        self.unwanted()
            .extend(gone.into_iter().flat_map(|shelf| shelf.ready));
        made_way
    }

    /// Makes slots until `stop`, then takes all of them down.
    pub(crate) async fn look_after(shared: Arc<Shared>, stop: CancellationToken) {
        let slots = &shared.slots;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = quiet(&shared) => {}
            }
            let unwanted = std::mem::take(&mut *slots.unwanted());
            dispose(unwanted).await;
            if slots.make_one(&shared).await {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = slots.wanted.notified() => {}
                // Rests after failures end.
                () = tokio::time::sleep(FAILURE_REST) => {}
            }
        }
        slots.shed().await;
    }

    /// Makes a slot of a kind that has too few; false when there is none.
    async fn make_one(&self, shared: &Arc<Shared>) -> bool {
        let _making = self.making.lock().await;
        let Some(kind) = self.missing(shared) else {
            return false;
        };
        let made = Slot::ready(shared, &kind, None).await;
        if shared.stop.is_cancelled() {
            dispose(made.into_iter().collect()).await;
            return false;
        }
        dispose(self.put(&kind, made)).await;
        true
    }

    /// A kind that has fewer than it should.
    fn missing(&self, shared: &Shared) -> Option<Kind> {
        let now = Instant::now();
        let mut shelves = self.shelves();
        // One may have come back by an environment that was under way when its version was retired.
        shelves.retain(|_, shelf| !shelf.kind.is_retired() || !shelf.ready.is_empty());
        let most = self.most_beside(shared.pool.alive());
        let counts = SlotCounts::of(&shelves);
        let lacking = |shelf: &mut Shelf| {
            let rests = shelf.rest_until.is_some_and(|until| now < until);
            let furnished = shelf.kind.version().filter(|_| shelf.kind.is_furnished());
            // It is furnished with the bytecode, once there is some.
            let waits = furnished.is_some_and(|spec| shared.bytecode.is_pending(spec));
            let forks = shared.config.zygotes || shelf.kind.template().is_some();
            !rests && !waits && (forks || !shelf.kind.bare) && shelf.ready.len() < shelf.wanted(now)
        };
        // The emptiest first, so that no kind goes without because of another, those for anybody before others, and what was
        // used last.
        let mut lacking: Vec<&Shelf> = shelves
            .values_mut()
            .filter_map(|shelf| lacking(shelf).then_some(&*shelf))
            .collect();
        lacking.sort_by_key(|shelf| {
            let kind = &shelf.kind;
            let there = shelf.ready.len();
            (kind.bare, there, kind.is_furnished(), Reverse(shelf.used))
        });
        let lacking: Vec<_> = lacking
            .into_iter()
            .map(|shelf| (shelf.kind.clone(), shelf.weight, shelf.used))
            .collect();
        let few_bare = counts.bare < self.most / BARE_DIVISOR;
        let found = lacking.into_iter().find(|(kind, weight, used)| {
            let older = |shelf: &Shelf| {
                shelf.kind.version().is_some()
                    && shelf.used < *used
                    && !shelf.ready.is_empty()
                    && (few_bare || !kind.bare || shelf.kind.bare)
            };
            self.make_room(&mut shelves, *weight, most, Shelf::taken, older)
        });
        found.map(|(kind, ..)| kind)
    }

    /// Gives back what there is no place for.
    fn put(&self, kind: &Kind, made: Result<Slot, String>) -> Vec<Slot> {
        let now = Instant::now();
        let mut shelves = self.shelves();
        // Its template may have been retired meanwhile.
        let Some(shelf) = shelves.get_mut(&kind.key()) else {
            return made.into_iter().collect();
        };
        match made {
            Ok(slot) => shelf.ready.push(slot),
            Err(why) => {
                shelf.rest_until = Some(now + FAILURE_REST);
                tracing::warn!(runtime = kind.runtime.id, why, "no sandbox was made ahead");
            }
        }
        Vec::new()
    }

    fn usual_memory_bytes(&self) -> u64 {
        u64::from(self.usual_memory_mb.load(Ordering::Relaxed)) << 20
    }

    /// How many wait.
    pub(crate) fn counts(&self) -> SlotCounts {
        SlotCounts::of(&self.shelves())
    }

    /// Takes away those that are for these versions only. One that is being made finds no shelf any more.
    pub(crate) fn retire(&self, key_prefix: &str) -> Vec<Slot> {
        let mut shelves = self.shelves();
        let gone = shelves.extract_if(|key, _| is_of(key, key_prefix));
        gone.flat_map(|(_, shelf)| shelf.ready).collect()
    }

    /// Most of them while there are so many environments.
    fn most_beside(&self, environments: usize) -> usize {
        self.most
            .min(self.sandboxes_max.saturating_sub(environments))
    }

    /// Gives up what demand has fallen below, where memory is short what is of versions that are not in use, and what environments need
    /// the descriptors of.
    pub(crate) fn give_up(&self, scarce: bool, environments: usize) {
        let (now, today) = (Instant::now(), self.clock.now());
        let (mut shelves, mut extra) = (self.shelves(), Vec::new());
        let forgotten = |shelf: &Shelf| {
            let idle = today.saturating_sub(shelf.used);
            shelf.kind.is_furnished() && scarce && idle > VERSION_MEMORY
        };
        for (_, shelf) in shelves.extract_if(|_, shelf| forgotten(shelf)) {
            extra.extend(shelf.ready);
        }
        for shelf in shelves.values_mut() {
            let keep = shelf.wanted(now).min(shelf.ready.len());
            extra.extend(shelf.ready.drain(keep..));
        }
        self.unwanted().extend(extra);
        let most = self.most_beside(environments);
        let of_versions = |shelf: &Shelf| shelf.kind.version().is_some();
        self.make_room(&mut shelves, 0, most, Shelf::taken, of_versions);
        drop(shelves);
        if !self.unwanted().is_empty() {
            self.look_again();
        }
    }

    fn take_all(&self) -> Vec<Slot> {
        let shelves = std::mem::take(&mut *self.shelves());
        shelves
            .into_values()
            .flat_map(|shelf| shelf.ready)
            .chain(std::mem::take(&mut *self.unwanted()))
            .collect()
    }

    /// Takes down all that wait.
    pub(crate) async fn shed(&self) {
        let _making = self.making.lock().await;
        dispose(self.take_all()).await;
    }

    fn shelves(&self) -> MutexGuard<'_, HashMap<String, Shelf>> {
        // Every change is one push or one removal, so a panic elsewhere leaves it whole.
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unwanted(&self) -> MutexGuard<'_, Vec<Slot>> {
        // The same.
        self.unwanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until no invocation runs, or for long enough.
pub(crate) async fn quiet(shared: &Shared) {
    let until = tokio::time::Instant::now() + QUIET_LIMIT;
    while !shared.invocations.is_empty() && tokio::time::Instant::now() < until {
        tokio::time::sleep(QUIET_TICK).await;
    }
}

/// Takes slots down. Each waits until nothing of it is left, so not on this thread.
pub(crate) async fn dispose(slots: Vec<Slot>) {
    if let Err(error) = tokio::task::spawn_blocking(move || drop(slots)).await {
        tracing::error!(%error, "sandboxes were not taken down");
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
