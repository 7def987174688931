//! What is due when, in memory. The records say it; this puts it in order.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::Clock;
use tokio::sync::Notify;

use super::{Plan, Timed};

/// Times and what is due then.
pub struct Agenda {
    pub(super) time: Arc<dyn Clock>,
    pages: Mutex<Pages>,
    earlier: Notify,
}

/// A record by what it is and its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Entry {
    Rule(String),
    Schedule(String),
}

#[derive(Debug, Default)]
struct Pages {
    by_time: BTreeSet<(i64, Entry)>,
    by_entry: HashMap<Entry, i64>,
}

impl Agenda {
    /// With nothing in it.
    pub fn new(time: Arc<dyn Clock>) -> Self {
        Self {
            time,
            pages: Mutex::default(),
            earlier: Notify::new(),
        }
    }

    /// Notes when a record is due, or that there is none.
    pub(crate) fn note<R: Timed>(&self, entry: Entry, key: &str, record: Option<&R>) {
        self.set(entry, record.and_then(|record| self.due_ms(record, key)));
    }

    fn due_ms<R: Timed>(&self, record: &R, key: &str) -> Option<i64> {
        let progress = record.progress();
        if let Some(claim) = &progress.claim {
            return Some(claim.until_ms);
        }
        let now_ms = self.time.now_ms();
        match record.ticks(key)?.plan(progress.done_ms, now_ms) {
            Plan::Never => None,
            Plan::Wait(until_ms) => Some(until_ms),
            Plan::Fire(_) => Some(now_ms),
        }
    }

    /// Notes when an entry is due; `None` strikes it out.
    pub(crate) fn set(&self, entry: Entry, due_ms: Option<i64>) {
        let mut pages = self.pages();
        let first_ms = pages.first_ms();
        pages.strike(&entry);
        if let Some(due_ms) = due_ms {
            pages.by_entry.insert(entry.clone(), due_ms);
            pages.by_time.insert((due_ms, entry));
            if first_ms.is_none_or(|first| due_ms < first) {
                self.earlier.notify_one();
            }
        }
    }

    /// Takes the earliest entry if it is due.
    pub(crate) fn take_due(&self, now_ms: i64) -> Option<Entry> {
        let mut pages = self.pages();
        let (_, entry) = pages.by_time.first().filter(|(due, _)| *due <= now_ms)?;
        let entry = entry.clone();
        pages.strike(&entry);
        Some(entry)
    }

    /// When the next one is due.
    pub(crate) fn first_ms(&self) -> Option<i64> {
        self.pages().first_ms()
    }

    /// Resolves when something is due earlier than all before it.
    pub(crate) async fn earlier(&self) {
        self.earlier.notified().await;
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn first_ms(&self) -> Option<i64> {
        self.by_time.first().map(|(due, _)| *due)
    }

    fn strike(&mut self, entry: &Entry) {
        if let Some(due) = self.by_entry.remove(entry) {
            self.by_time.remove(&(due, entry.clone()));
        }
    }
}
