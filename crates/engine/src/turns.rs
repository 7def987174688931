//! Starts take turns: an init that shares a processor with a hundred others is not done within its ten seconds.
//!
//! Who waits for a turn is not on the clock yet. Who waits for something else than the processor, such as an answer from
//! the network, gives the turn to the next one and goes on without it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// Starts under way at once, for each processor.
const STARTS_PER_CPU: usize = 4;
/// For how long a start has its turn.
const TURN_MAX: Duration = Duration::from_millis(250);

/// Who may start now.
#[derive(Debug)]
pub(crate) struct Turns(Arc<Semaphore>);

/// A start's turn, until it is dropped or over.
pub(crate) struct Turn {
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    end: AbortHandle,
}

impl Default for Turns {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Turns::of(cpus * STARTS_PER_CPU)
    }
}

impl Turns {
    fn of(count: usize) -> Self {
        Turns(Arc::new(Semaphore::new(count)))
    }

    /// Waits for a turn, in the order of asking. Says whether it had to wait.
    pub(crate) async fn wait(&self) -> (Turn, bool) {
        let at_once = self.0.clone().try_acquire_owned().ok();
        let waited = at_once.is_none();
        let permit = match at_once {
            Some(permit) => Some(permit),
            // It is never closed; without a permit the start goes on all the same.
            None => self.0.clone().acquire_owned().await.ok(),
        };
        let permit = Arc::new(Mutex::new(permit));
        let over = permit.clone();
        let end = tokio::spawn(async move {
            tokio::time::sleep(TURN_MAX).await;
            take(&over);
        });
        let end = end.abort_handle();
        (Turn { permit, end }, waited)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end.abort();
        take(&self.permit);
    }
}

fn take(permit: &Mutex<Option<OwnedSemaphorePermit>>) {
    // Taking is one step, so a panic elsewhere leaves it whole.
    drop(permit.lock().unwrap_or_else(PoisonError::into_inner).take());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_ends_with_its_start_or_its_time() {
        let turns = Turns::of(1);
        let (first, waited) = turns.wait().await;
        assert!(!waited);
        let (second, waited) = turns.wait().await;
        assert!(waited, "the first one's time is over");
        drop(second);
        let (_third, waited) = turns.wait().await;
        assert!(!waited);
        drop(first);
        assert_eq!(turns.0.available_permits(), 0, "what is over ends once");
    }
}
