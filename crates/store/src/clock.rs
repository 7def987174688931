//! Time, passed in: the real one, or one that a test moves.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::Notify;

/// No wait of the system clock is longer, so that a step of the wall clock is noticed.
const NAP_MAX: Duration = Duration::from_secs(10);

/// Tells the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// Resolves at this time or after it.
    async fn sleep_until(&self, time_ms: i64);
}

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        // A clock set before 1970 counts as 1970: there is nothing better to say.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    async fn sleep_until(&self, time_ms: i64) {
        while let Ok(left @ 1..) = u64::try_from(time_ms.saturating_sub(self.now_ms())) {
            tokio::time::sleep(Duration::from_millis(left).min(NAP_MAX)).await;
        }
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    now_ms: AtomicI64,
    moved: Notify,
}

impl ManualClock {
    /// Stands at this time.
    pub fn at(now_ms: i64) -> ManualClock {
        ManualClock {
            now_ms: AtomicI64::new(now_ms),
            moved: Notify::new(),
        }
    }

    /// Moves on, and wakes those whose time has come.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.now_ms.fetch_add(by, Ordering::SeqCst);
        self.moved.notify_waiters();
    }

    /// Moves to this time, also backwards.
    pub fn set(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
        self.moved.notify_waiters();
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    async fn sleep_until(&self, time_ms: i64) {
        loop {
            // Asks to be woken before looking, so that a move in between is not missed.
            let moved = self.moved.notified();
            if self.now_ms() >= time_ms {
                return;
            }
            moved.await;
        }
    }
}

/// The time this long after `now_ms`.
pub(crate) fn after(now_ms: i64, time: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}
