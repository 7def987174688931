//! Wakes those who wait for a queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::{Clock, Result};

/// Resolves when the queue has a message to lease. `earliest` tells when its first one is due.
pub(crate) async fn ready<F>(
    signals: &Arc<Signals>,
    clock: &dyn Clock,
    queue: &str,
    earliest: impl Fn() -> F + Send + Sync,
) -> Result<()>
where
    F: Future<Output = Result<Option<i64>>> + Send,
{
    let waiter = signals.wait(queue);
    loop {
        // Stands by before looking, so that a push in between is not missed.
        let signal = waiter.signal();
        match earliest().await? {
            Some(due_ms) if due_ms <= clock.now_ms() => return Ok(()),
            Some(due_ms) => {
                tokio::select! {
                    () = signal => {}
                    () = clock.sleep_until(due_ms) => {}
                }
            }
            None => signal.await,
        }
    }
}

/// One signal for each queue that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Signals(Mutex<HashMap<String, Arc<Notify>>>);

impl Signals {
    /// Stands by for a queue; signals sent after [`Waiter::signal`] was called are not missed.
    fn wait(self: &Arc<Self>, queue: &str) -> Waiter {
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
struct Waiter {
    signals: Arc<Signals>,
    queue: String,
    signal: Arc<Notify>,
}

impl Waiter {
    /// Resolves on the next signal after this call.
    fn signal(&self) -> Notified<'_> {
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
