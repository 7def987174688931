//! A connection wakes itself while it is polled: hyper's reader of a body tells its writer, which is the same task, that it wants
//! more. A runtime that hears of that wakes another thread, which finds nothing to do, for each request with a body.
//! So the future is polled once more in place.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// After so many times in a row it is the runtime's turn: there are other tasks.
const AGAIN_MAX: usize = 2;

/// A future whose waking itself does not reach the runtime.
pub(crate) struct InPlace<F> {
    future: Pin<Box<F>>,
    relay: Arc<Relay>,
    waker: Waker,
}

/// What the future wakes.
#[derive(Default)]
struct Relay {
    polling: AtomicBool,
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Sequentially consistent, both here and in `poll`: either this sees that polling is over, or that sees this.
        self.woken.store(true, Ordering::SeqCst);
        if !self.polling.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl<F> InPlace<F> {
    pub(crate) fn new(future: F) -> InPlace<F> {
        let relay = Arc::<Relay>::default();
        InPlace {
            future: Box::pin(future),
            waker: relay.clone().into(),
            relay,
        }
    }

    /// The future itself.
    pub(crate) fn get(&mut self) -> Pin<&mut F> {
        self.future.as_mut()
    }
}

impl<F: Future> Future for InPlace<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let InPlace {
            future,
            relay,
            waker,
        } = &mut *self;
        relay.task.register(cx.waker());
        for _ in 0..=AGAIN_MAX {
            relay.polling.store(true, Ordering::SeqCst);
            // What was said until here, this will see.
            relay.woken.swap(false, Ordering::SeqCst);
            let polled = future.as_mut().poll(&mut Context::from_waker(waker));
            relay.polling.store(false, Ordering::SeqCst);
            if polled.is_ready() || !relay.woken.load(Ordering::SeqCst) {
                return polled;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    /// What the runtime hears.
    #[derive(Default)]
    struct Heard(AtomicUsize);

    impl Wake for Heard {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls a future that wakes itself in its first `times` polls. Tells how often it was polled, and what the runtime heard.
    fn poll(times: usize) -> (usize, usize) {
        let heard = Arc::<Heard>::default();
        let mut polls = 0;
        let mut future = InPlace::new(std::future::poll_fn(|cx| {
            polls += 1;
            if polls <= times {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        }));
        let waker = heard.clone().into();
        let polled = Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        drop(future);
        (polls, heard.0.load(Ordering::Relaxed))
    }

    #[test]
    fn what_wakes_itself_is_polled_again_and_the_runtime_does_not_hear_of_it() {
        assert_eq!(poll(0), (1, 0));
        assert_eq!(poll(1), (2, 0));
    }

    #[test]
    fn it_gives_way_after_some_times() {
        assert_eq!(poll(1000), (AGAIN_MAX + 1, 1));
    }

    #[test]
    fn others_wake_it_by_the_runtime_from_any_thread() {
        let heard = Arc::<Heard>::default();
        let mut others = None;
        let mut future = InPlace::new(std::future::poll_fn(|cx| {
            others = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        let waker: Waker = heard.clone().into();
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut future).poll(&mut cx).is_pending());
        drop(future);
        let other = std::thread::spawn(move || others.map(Waker::wake));
        assert_eq!(other.join().ok().flatten(), Some(()));
        assert_eq!(heard.0.load(Ordering::Relaxed), 1);
    }
}
