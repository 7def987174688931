//! How many sandboxes of one kind are likely to be taken at once.

use std::time::{Duration, Instant};

/// Demand is the most that was taken in one such window.
const WINDOW: Duration = Duration::from_millis(500);
/// After this long without a higher one the demand is halved.
const MEMORY: Duration = Duration::from_secs(60);

/// What was taken lately. It is never none.
pub(crate) struct Demand {
    window: Instant,
    taken: usize,
    peak: usize,
    peaked: Instant,
}

impl Demand {
    pub(crate) fn new(now: Instant) -> Demand {
        Demand {
            window: now,
            taken: 0,
            peak: 1,
            peaked: now,
        }
    }

    /// One is taken.
    pub(crate) fn take(&mut self, now: Instant) {
        if now.duration_since(self.window) > WINDOW {
            (self.window, self.taken) = (now, 0);
        }
        self.taken += 1;
        if self.taken >= self.peak {
            (self.peak, self.peaked) = (self.taken, now);
        }
    }

    /// How many should be there.
    pub(crate) fn now(&mut self, now: Instant) -> usize {
        if now.duration_since(self.peaked) > MEMORY {
            (self.peak, self.peaked) = ((self.peak / 2).max(1), now);
        }
        self.peak
    }
}
