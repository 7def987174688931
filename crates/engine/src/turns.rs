//! Starts take turns: an init that shares a processor with a hundred others is not done within its ten seconds.
//!
//! Who waits for a turn is not on the clock yet. Who waits for something else than the processor, such as an answer from
//! the network, gives the turn to the next one and goes on without it.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Starts under way at once, for each processor.
const STARTS_PER_CPU: usize = 4;
/// For how long a start has its turn.
const TURN_MAX: Duration = Duration::from_millis(250);

/// Who may start now.
#[derive(Debug)]
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    /// Those that began, in this order, and when they will be over. Nobody but who waits for a turn sees to that.
    begun: Mutex<VecDeque<(Instant, Permit)>>,
}

/// A start's turn, until it is dropped or over.
pub(crate) struct Turn(Permit);

/// Nothing once the turn is over.
type Permit = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

impl Default for Turns {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Turns::of(cpus * STARTS_PER_CPU)
    }
}

impl Turns {
    fn of(count: usize) -> Self {
        Turns {
            free: Arc::new(Semaphore::new(count)),
            begun: Mutex::default(),
        }
    }

    /// Waits for a turn, in the order of asking. Says whether it had to wait.
    pub(crate) async fn wait(&self) -> (Turn, bool) {
        let at_once = self.free.clone().try_acquire_owned().ok();
        let waited = at_once.is_none();
        let permit = match at_once {
            Some(permit) => Some(permit),
            None => self.wait_for_another().await,
        };
        let permit = Arc::new(Mutex::new(permit));
        let mut begun = self.begun();
        end_overdue(&mut begun);
        begun.push_back((Instant::now() + TURN_MAX, permit.clone()));
        (Turn(permit), waited)
    }

    /// Waits until a turn ends or is over.
    async fn wait_for_another(&self) -> Option<OwnedSemaphorePermit> {
        let mut free = pin!(self.free.clone().acquire_owned());
        loop {
            let next = end_overdue(&mut self.begun());
            tokio::select! {
                // It is never closed; without a permit the start goes on all the same.
                permit = &mut free => return permit.ok(),
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    fn begun(&self) -> MutexGuard<'_, VecDeque<(Instant, Permit)>> {
        // Every change is one push or one removal, so a panic elsewhere leaves it whole.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends those whose time is over, and forgets those that ended; tells when to look again.
fn end_overdue(begun: &mut VecDeque<(Instant, Permit)>) -> Instant {
    let now = Instant::now();
    while let Some((over, permit)) = begun.front() {
        if now < *over && has_turn(permit) {
            return *over;
        }
        end(permit);
        begun.pop_front();
    }
    now + TURN_MAX
}

impl Drop for Turn {
    fn drop(&mut self) {
        end(&self.0);
    }
}

fn has_turn(permit: &Permit) -> bool {
    lock(permit).is_some()
}

fn end(permit: &Permit) {
    drop(lock(permit).take());
}

fn lock(permit: &Permit) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
    // Taking is one step, so a panic elsewhere leaves it whole.
    permit.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!(turns.free.available_permits(), 0, "what is over ends once");
    }

    #[tokio::test]
    async fn turns_that_ended_are_forgotten() {
        let turns = Turns::of(2);
        for _ in 0..100 {
            let (_turn, waited) = turns.wait().await;
            assert!(!waited);
        }
        assert_eq!(turns.begun().len(), 1);
    }
}
