//! Environments between an answer and the next event.
//!
//! An answer leaves as soon as it is there. Its environment is free when its runtime and its extensions have asked for the
//! next event: 50 us later with AWS's clients, which wait for an acknowledgement first, and whenever an extension has sent
//! what it collected. An invocation that comes meanwhile waits for it a little before it takes another one. It does the rest of
//! the one before by itself, so that calls in a row hand nothing over to other threads; when none comes, a task does.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::invoke::Busy;
use crate::pool::Pile;

/// How long an invocation waits for an environment that gets ready. Then it takes another.
const WAIT_LIMIT: Duration = Duration::from_millis(10);
/// How long the rest of an invocation is left for the next one.
const LEFT_FOR: Duration = Duration::from_millis(1);

/// The rests of invocations whose answers have left, by revision.
#[derive(Default)]
pub(crate) struct Settling {
    by_key: Mutex<HashMap<String, Vec<Entry>>>,
}

/// Each is known to one waiting invocation at most.
struct Entry {
    id: u64,
    pile: Pile,
    rest: Rest,
}

enum Rest {
    /// Nobody does it yet.
    Left(Left, Instant),
    /// A task does it, and ends then.
    Done(oneshot::Receiver<()>),
}

impl Settling {
    /// Leaves the rest of an invocation to the next one, or to the janitor. Extensions are seen to at once: how long they take
    /// counts.
    pub(crate) fn leave(&self, busy: Box<Busy>) {
        if busy.environment().has_extensions() {
            self.add(busy, |busy, id| Rest::Done(in_a_task(busy, id)));
        } else {
            self.add(busy, |busy, _| Rest::Left(Left(Some(busy)), Instant::now()));
        }
    }

    fn add(&self, busy: Box<Busy>, rest: impl FnOnce(Box<Busy>, u64) -> Rest) {
        let environment = busy.environment();
        let (id, key) = (environment.shared.next_id(), environment.spec.key.clone());
        let pile = Pile::of(environment);
        let mut by_key = self.by_key();
        let rest = rest(busy, id);
        let entries = by_key.entry(key).or_default();
        entries.push(Entry { id, pile, rest });
    }

    /// Attempts what an environment may stand in the way of, again after each of this revision that gets ready.
    pub(crate) async fn until<T, E>(
        &self,
        key: &str,
        pile: Pile,
        attempt: impl Fn() -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            let attempted = attempt();
            if attempted.is_ok() || !self.wait(key, pile).await {
                return attempted;
            }
        }
    }

    /// Waits for an environment of this revision that gets ready, and tells whether one did.
    async fn wait(&self, key: &str, pile: Pile) -> bool {
        match self.take(key, pile) {
            None => false,
            Some(Rest::Left(left, _)) => timeout(WAIT_LIMIT, left.done()).await.is_ok(),
            Some(Rest::Done(over)) => timeout(WAIT_LIMIT, over).await.is_ok(),
        }
    }

    fn take(&self, key: &str, pile: Pile) -> Option<Rest> {
        let mut by_key = self.by_key();
        let entries = by_key.get_mut(key)?;
        let index = entries.iter().rposition(|entry| entry.pile == pile)?;
        Some(entries.swap_remove(index).rest)
    }

    /// Has tasks do what no invocation came for.
    pub(crate) fn look_after(&self) {
        let mut by_key = self.by_key();
        by_key.retain(|_, entries| !entries.is_empty());
        for entry in by_key.values_mut().flatten() {
            let Rest::Left(left, since) = &mut entry.rest else {
                continue;
            };
            if since.elapsed() >= LEFT_FOR
                && let Some(busy) = left.0.take()
            {
                entry.rest = Rest::Done(in_a_task(busy, entry.id));
            }
        }
    }

    /// Whether there is any that nobody does.
    pub(crate) fn any_left(&self) -> bool {
        let by_key = self.by_key();
        let mut entries = by_key.values().flatten();
        entries.any(|entry| matches!(entry.rest, Rest::Left(..)))
    }

    fn remove(&self, key: &str, id: u64) {
        let mut by_key = self.by_key();
        if let Some(entries) = by_key.get_mut(key) {
            entries.retain(|entry| entry.id != id);
        }
    }

    fn by_key(&self) -> MutexGuard<'_, HashMap<String, Vec<Entry>>> {
        // Each change is one assignment, so a panic elsewhere leaves it whole.
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rest of an invocation. A task does it when this is dropped.
struct Left(Option<Box<Busy>>);

impl Left {
    async fn done(mut self) {
        if let Some(busy) = &mut self.0 {
            busy.settle().await;
        }
        if let Some(busy) = self.0.take() {
            busy.end().await;
        }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(busy) = self.0.take() {
            let shared = busy.environment().shared.clone();
            let rest = |busy, id| Rest::Done(in_a_task(busy, id));
            shared.settling.add(busy, rest);
        }
    }
}

/// Does the rest of an invocation, whose entry has this id; resolves when the task ends.
fn in_a_task(mut busy: Box<Busy>, id: u64) -> oneshot::Receiver<()> {
    let environment = busy.environment();
    let (shared, key) = (environment.shared.clone(), environment.spec.key.clone());
    let (done, over) = oneshot::channel();
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        // What the runtime has written until here is not to wait for slow extensions.
        busy.environment().log.drain();
        busy.settle().await;
        busy.end().await;
        shared.settling.remove(&key, id);
        drop(done);
    });
    over
}
