//! Environments that wait, and the room that all of them share.
//!
//! Last in, first out: a burst's extra environments grow old together and are reclaimed together, and the one used last
//! has the warmest caches.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::environment::{Environment, Idle};
use crate::handle::Handle;
use crate::shared::Shared;
use crate::spec::FunctionSpec;

/// Every environment, and the idle ones by their function's revision.
#[derive(Default)]
pub(crate) struct Pool {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: HashMap<String, Stacks>,
    alive: HashMap<u64, Arc<Handle>>,
    /// Starts under way: of which revision, and whether that has been retired meanwhile.
    starting: HashMap<u64, (String, bool)>,
    /// Idle environments that may still run, with the use after which they became idle.
    thawed: Vec<(Arc<Handle>, u64, Instant)>,
}

/// The idle environments of one revision, each pile with the one used last on top.
#[derive(Default)]
struct Stacks {
    on_demand: Vec<Idle>,
    /// They stay, however long they are idle.
    provisioned: Vec<Idle>,
}

/// What an environment is idle among.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pile {
    OnDemand,
    Provisioned,
}

impl Pile {
    pub(crate) fn of(environment: &Environment) -> Pile {
        match environment.keep {
            Some(_) => Pile::Provisioned,
            None => Pile::OnDemand,
        }
    }
}

impl Stacks {
    fn pile(&mut self, pile: Pile) -> &mut Vec<Idle> {
        match pile {
            Pile::Provisioned => &mut self.provisioned,
            Pile::OnDemand => &mut self.on_demand,
        }
    }

    fn both(&mut self) -> [&mut Vec<Idle>; 2] {
        [&mut self.on_demand, &mut self.provisioned]
    }

    fn is_empty(&self) -> bool {
        self.on_demand.is_empty() && self.provisioned.is_empty()
    }
}

impl Pool {
    /// Takes the environment of this revision that was used last.
    pub(crate) fn take(&self, key: &str, pile: Pile) -> Option<Idle> {
        self.state().idle.get_mut(key)?.pile(pile).pop()
    }

    /// Takes some of those that are provisioned, the oldest credentials first.
    pub(crate) fn take_provisioned(&self, key: &str, count: usize) -> Vec<Idle> {
        let mut state = self.state();
        let Some(stacks) = state.idle.get_mut(key) else {
            return Vec::new();
        };
        let mut all = std::mem::take(&mut stacks.provisioned);
        all.sort_by_key(|idle| std::cmp::Reverse(idle.environment.expires()));
        let out = all.split_off(all.len().saturating_sub(count));
        all.sort_by_key(|idle| idle.since);
        stacks.provisioned = all;
        out
    }

    /// Puts an environment where the next invocation finds it.
    pub(crate) fn put(&self, idle: Idle) {
        let handle = idle.environment.handle.clone();
        let uses = handle.uses.load(Ordering::Acquire);
        let mut state = self.state();
        state.thawed.retain(|(have, ..)| have.id != handle.id);
        if idle.environment.booted {
            state.thawed.push((handle.clone(), uses, Instant::now()));
        }
        if !state.idle.contains_key(&handle.key) {
            state.idle.insert(handle.key.clone(), Stacks::default());
        }
        let stacks = state.idle.get_mut(&handle.key);
        let stacks = stacks.expect("it was inserted above");
        stacks.pile(Pile::of(&idle.environment)).push(idle);
    }

    /// Registers the new environment of a start.
    pub(crate) fn add(&self, start: &Start, handle: &Arc<Handle>) {
        let mut state = self.state();
        let begun = state.starting.get(&start.id);
        let retired = begun.is_some_and(|(_, retired)| *retired);
        handle.retired.store(retired, Ordering::Release);
        state.alive.insert(handle.id, handle.clone());
    }

    /// Forgets one that is going down.
    pub(crate) fn forget(&self, handle: &Handle) {
        let mut state = self.state();
        state.alive.remove(&handle.id);
        state.thawed.retain(|(have, ..)| have.id != handle.id);
    }

    /// Marks every environment and every start whose key begins so, and gives those that are idle.
    pub(crate) fn retire(&self, key_prefix: &str) -> Vec<Idle> {
        let mut state = self.state();
        for (key, retired) in state.starting.values_mut() {
            *retired |= key.starts_with(key_prefix);
        }
        for handle in state
            .alive
            .values()
            .filter(|handle| handle.key.starts_with(key_prefix))
        {
            handle.retired.store(true, Ordering::Release);
        }
        let keys: Vec<String> = state
            .idle
            .keys()
            .filter(|key| key.starts_with(key_prefix))
            .cloned()
            .collect();
        keys.iter()
            .filter_map(|key| state.idle.remove(key))
            .flat_map(|stacks| [stacks.on_demand, stacks.provisioned])
            .flatten()
            .collect()
    }

    /// Takes this environment out, if it is idle.
    pub(crate) fn take_this(&self, handle: &Handle) -> Option<Idle> {
        let mut state = self.state();
        let stacks = state.idle.get_mut(&handle.key)?;
        stacks.both().into_iter().find_map(|stack| {
            let is_it = |idle: &Idle| idle.environment.handle.id == handle.id;
            let index = stack.iter().position(is_it)?;
            Some(stack.remove(index))
        })
    }

    /// Takes the one that has been idle for longest, of those that nobody provisioned.
    pub(crate) fn take_oldest(&self) -> Option<Idle> {
        let mut state = self.state();
        // The bottom of each stack is its oldest.
        let key = state
            .idle
            .iter()
            .filter_map(|(key, stacks)| Some((key, stacks.on_demand.first()?.since)));
        let key = key.min_by_key(|(_, since)| *since)?.0.clone();
        Some(state.idle.get_mut(&key)?.on_demand.remove(0))
    }

    /// Whether there is any environment of this revision, idle or not.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.state().alive.values().any(|handle| handle.key == key)
    }

    /// Takes those that are not worth keeping, or no longer good for use.
    pub(crate) fn take_expired(&self, keeps: impl Fn(&Idle) -> bool) -> Vec<Idle> {
        let mut state = self.state();
        let mut out = Vec::new();
        for stacks in state.idle.values_mut() {
            let expired = |idle: &mut Idle| !keeps(idle) || !idle.environment.usable();
            out.extend(stacks.on_demand.extract_if(.., expired));
            let unusable = |idle: &mut Idle| !idle.environment.usable();
            out.extend(stacks.provisioned.extract_if(.., unusable));
        }
        state.idle.retain(|_, stacks| !stacks.is_empty());
        out
    }

    /// Those that have been idle for at least this long and still run.
    pub(crate) fn take_thawed(&self, age: Duration) -> Vec<(Arc<Handle>, u64)> {
        let mut out = Vec::new();
        self.state().thawed.retain(|(handle, uses, since)| {
            let due = since.elapsed() >= age;
            if due {
                out.push((handle.clone(), *uses));
            }
            !due
        });
        out
    }

    pub(crate) fn any_thawed(&self) -> bool {
        !self.state().thawed.is_empty()
    }

    /// Environments alive, idle or not.
    pub(crate) fn alive(&self) -> usize {
        self.state().alive.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one push or one removal, so a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A start under way, from when it is known what is to be started. Who retires the revision meanwhile means the environment
/// that will come of it too.
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) spec: Arc<FunctionSpec>,
    id: u64,
}

impl Start {
    pub(crate) fn new(shared: &Arc<Shared>, spec: &Arc<FunctionSpec>) -> Start {
        let (id, begun) = (shared.next_id(), (spec.key.clone(), false));
        shared.pool.state().starting.insert(id, begun);
        Start {
            shared: shared.clone(),
            spec: spec.clone(),
            id,
        }
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.shared.pool.state().starting.remove(&self.id);
    }
}

/// How many environments, and how much memory for them, there may be.
pub(crate) struct Capacity {
    environments: Arc<Semaphore>,
    memory_mb: Arc<Semaphore>,
    environments_max: usize,
    memory_mb_max: u32,
    /// Invocations that wait for room: then nobody stays idle.
    pub(crate) waiting: AtomicUsize,
}

/// The room of one environment; free again when dropped.
pub(crate) struct Room {
    _environment: OwnedSemaphorePermit,
    _memory: OwnedSemaphorePermit,
}

impl Capacity {
    pub(crate) fn new(environments: usize, memory_mb: u64) -> Capacity {
        let memory_mb_max = u32::try_from(memory_mb)
            .unwrap_or(u32::MAX)
            .min(Semaphore::MAX_PERMITS.try_into().unwrap_or(u32::MAX));
        Capacity {
            environments: Arc::new(Semaphore::new(environments)),
            memory_mb: Arc::new(Semaphore::new(memory_mb_max as usize)),
            environments_max: environments,
            memory_mb_max,
            waiting: AtomicUsize::new(0),
        }
    }

    /// Whether less than half of the room is left.
    pub(crate) fn is_scarce(&self) -> bool {
        self.environments.available_permits() < self.environments_max / 2
            || self.memory_mb.available_permits() < self.memory_mb_max as usize / 2
    }

    /// Room for one environment now, if there is.
    pub(crate) fn try_take(&self, memory_mb: u32) -> Option<Room> {
        let _environment = self.environments.clone().try_acquire_owned().ok()?;
        // A function larger than the whole budget runs alone.
        let memory_mb = memory_mb.min(self.memory_mb_max);
        let _memory = self
            .memory_mb
            .clone()
            .try_acquire_many_owned(memory_mb)
            .ok()?;
        Some(Room {
            _environment,
            _memory,
        })
    }

    /// Waits for room.
    pub(crate) async fn take(&self, memory_mb: u32) -> Option<Room> {
        let memory_mb = memory_mb.min(self.memory_mb_max);
        let _memory = self
            .memory_mb
            .clone()
            .acquire_many_owned(memory_mb)
            .await
            .ok()?;
        let _environment = self.environments.clone().acquire_owned().await.ok()?;
        Some(Room {
            _environment,
            _memory,
        })
    }
}
