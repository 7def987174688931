//! [`Lasting`]: the work of a request ends, whether its client stays or not.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use wire::Reply;

type Work = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Work that the connection's own task does, without handing it over, and a task of its own once the connection is gone: an
/// operation that has begun ends. A panic in it is the end of this work only.
pub(super) struct Lasting {
    work: Option<Work>,
    /// A drain waits for it.
    under_way: TaskTrackerToken,
}

/// What a panic said.
pub(super) struct Panic(Box<dyn Any + Send>);

impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.0.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| self.0.downcast_ref::<&str>().copied());
        f.write_str(text.unwrap_or("a panic"))
    }
}

impl Lasting {
    pub(super) fn new(
        tasks: &TaskTracker,
        work: impl Future<Output = Reply> + Send + 'static,
    ) -> Self {
        Self {
            work: Some(Box::pin(work)),
            under_way: tasks.token(),
        }
    }
}

impl Future for Lasting {
    type Output = Result<Reply, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Not there while it is polled, so that nobody goes on with it after a panic.
        let mut work = self.work.take().expect("nobody polls what has ended");
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Pending) => {
                self.work = Some(work);
                Poll::Pending
            }
            Ok(Poll::Ready(reply)) => Poll::Ready(Ok(reply)),
            Err(panic) => Poll::Ready(Err(Panic(panic))),
        }
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.under_way.task_tracker().spawn(work);
        }
    }
}
