//! Watches: who is told of changes, and how one that falls behind is told so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::Change;

/// How many changes wait for a watcher before it is told to scan again.
const WATCH_CHANGES_MAX: usize = 1024;

/// The changes of the records under one prefix, in the order of their revisions.
#[derive(Debug)]
pub struct Watch(Arc<Watcher>);

impl Watch {
    /// The next change; `None` when the store was closed.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            // Asks to be woken before looking, so that a change in between is not missed.
            let changed = self.0.changed.notified();
            match self.0.state().take() {
                Taken::Change(change) => return Some(change),
                Taken::Closed => return None,
                Taken::Nothing => {}
            }
            changed.await;
        }
    }

    /// The next change, if one is waiting.
    pub fn try_next(&mut self) -> Option<Change> {
        match self.0.state().take() {
            Taken::Change(change) => Some(change),
            Taken::Closed | Taken::Nothing => None,
        }
    }
}

#[derive(Debug)]
struct Watcher {
    prefix: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Change>,
    behind: bool,
    closed: bool,
}

enum Taken {
    Change(Change),
    Nothing,
    Closed,
}

impl State {
    fn take(&mut self) -> Taken {
        if std::mem::take(&mut self.behind) {
            // What still waits is older than what was missed; the new scan will show it.
            self.waiting.clear();
            return Taken::Change(Change::Relist);
        }
        match self.waiting.pop_front() {
            Some(change) => Taken::Change(change),
            None if self.closed => Taken::Closed,
            None => Taken::Nothing,
        }
    }
}

impl Watcher {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: &Change) {
        if !change
            .key()
            .is_some_and(|key| key.starts_with(&self.prefix))
        {
            return;
        }
        let mut state = self.state();
        if state.behind {
            return;
        }
        if state.waiting.len() == WATCH_CHANGES_MAX {
            state.behind = true;
        } else {
            state.waiting.push_back(change.clone());
        }
        drop(state);
        self.changed.notify_one();
    }

    fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }
}

/// All watchers of a store.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    watchers: Mutex<Watchers>,
}

#[derive(Debug, Default)]
struct Watchers {
    all: Vec<Weak<Watcher>>,
    closed: bool,
}

impl Feed {
    /// Begins a watch.
    pub(crate) fn watch(&self, prefix: &str) -> Watch {
        let watcher = Arc::new(Watcher {
            prefix: prefix.to_owned(),
            state: Mutex::default(),
            changed: Notify::new(),
        });
        let mut watchers = self.watchers();
        watchers.all.retain(|watcher| watcher.strong_count() > 0);
        if watchers.closed {
            watcher.close();
        }
        watchers.all.push(Arc::downgrade(&watcher));
        Watch(watcher)
    }

    /// Tells everyone concerned; to be called in the order of the revisions.
    pub(crate) fn tell(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        for watcher in self.watchers().all.iter().filter_map(Weak::upgrade) {
            for change in changes {
                watcher.tell(change);
            }
        }
    }

    /// Ends every watch.
    pub(crate) fn close(&self) {
        let mut watchers = self.watchers();
        watchers.closed = true;
        for watcher in watchers.all.iter().filter_map(Weak::upgrade) {
            watcher.close();
        }
    }

    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        // Nothing panics while it is held.
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
