//! What the outbox and the courier count.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the process began, and what is there now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Taken into the outbox.
    pub accepted: u64,
    /// Put again with an id that was there already.
    pub repeated: u64,
    /// Brought to their recipient.
    pub delivered: u64,
    /// Attempts that will be followed by another.
    pub retried: u64,
    /// Given up and sent to a dead-letter queue.
    pub dead_lettered: u64,
    /// Given up and set aside in the outbox.
    pub buried: u64,
    /// Set aside long ago, and removed.
    pub expired: u64,
    /// In the outbox now, on their way; counted anew once a minute.
    pub waiting: u64,
    /// Set aside in the outbox now; counted anew once a minute.
    pub graves: u64,
}

/// The same, while it changes.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub accepted: AtomicU64,
    pub repeated: AtomicU64,
    pub delivered: AtomicU64,
    pub retried: AtomicU64,
    pub dead_lettered: AtomicU64,
    pub buried: AtomicU64,
    pub expired: AtomicU64,
    pub waiting: AtomicU64,
    pub graves: AtomicU64,
}

impl Counts {
    pub fn read(&self) -> Stats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Stats {
            accepted: read(&self.accepted),
            repeated: read(&self.repeated),
            delivered: read(&self.delivered),
            retried: read(&self.retried),
            dead_lettered: read(&self.dead_lettered),
            buried: read(&self.buried),
            expired: read(&self.expired),
            waiting: read(&self.waiting),
            graves: read(&self.graves),
        }
    }
}

/// One more.
pub(crate) fn up(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// One less, but never less than none: the count is an estimate between two countings.
pub(crate) fn down(count: &AtomicU64) {
    let less = |now: u64| Some(now.saturating_sub(1));
    // Always Ok, as `less` always has an answer.
    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
}
