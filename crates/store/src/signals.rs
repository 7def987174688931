//! Wakes those who wait for a queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// One signal for each queue that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Signals(Mutex<HashMap<String, Arc<Notify>>>);

impl Signals {
    /// Stands by for a queue; signals sent after [`Waiter::signal`] was called are not missed.
    pub(crate) fn wait(self: &Arc<Self>, queue: &str) -> Waiter {
        let signal = Arc::clone(self.map().entry(queue.to_owned()).or_default());
        Waiter {
            signals: Arc::clone(self),
            queue: queue.to_owned(),
            signal,
        }
    }

    /// Wakes everyone who waits for the queue: they look again.
    pub(crate) fn send(&self, queue: &str) {
        if let Some(signal) = self.map().get(queue) {
            signal.notify_waiters();
        }
    }

    /// Wakes everyone.
    pub(crate) fn send_all(&self) {
        self.map()
            .values()
            .for_each(|signal| signal.notify_waiters());
    }

    fn map(&self) -> MutexGuard<'_, HashMap<String, Arc<Notify>>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    signals: Arc<Signals>,
    queue: String,
    signal: Arc<Notify>,
}

impl Waiter {
    /// Resolves on the next signal after this call.
    pub(crate) fn signal(&self) -> Notified<'_> {
        self.signal.notified()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut map = self.signals.map();
        // One in the map and one here: nobody else waits.
        if Arc::strong_count(&self.signal) == 2 {
            map.remove(&self.queue);
        }
    }
}
