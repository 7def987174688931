//! The tasks that run beside the services.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info_span};

/// Runs workers, and notices when one panics.
pub struct Workers {
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Cancelled when a worker panicked: the server is no longer whole.
    broken: CancellationToken,
}

impl Workers {
    /// Workers whose panic is told by `broken`.
    pub fn new(broken: CancellationToken) -> Self {
        Workers {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            broken,
        }
    }

    /// Runs a worker until [`Workers::stop`].
    pub fn spawn(&self, name: &'static str, run: impl Future<Output = ()> + Send + 'static) {
        let (stop, broken) = (self.stop.clone(), self.broken.clone());
        let task = tokio::spawn(run.instrument(info_span!("worker", name)));
        self.tasks.spawn(async move {
            let abort = task.abort_handle();
            tokio::select! {
                ended = task => if let Err(cause) = ended {
                    error!(name, %cause, "a worker failed: a defect of ours");
                    broken.cancel();
                },
                () = stop.cancelled() => abort.abort(),
            }
        });
    }

    /// Ends them. What they have not finished they find again at the next start.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_panics_is_noticed() {
        let broken = CancellationToken::new();
        let workers = Workers::new(broken.clone());
        workers.spawn("steady", std::future::pending());
        workers.spawn("done", std::future::ready(()));
        tokio::task::yield_now().await;
        assert!(!broken.is_cancelled());
        workers.spawn("shaky", async { panic!("on purpose") });
        broken.cancelled().await;
        workers.stop().await;
    }

    #[tokio::test]
    async fn stopped_workers_are_not_broken() {
        let broken = CancellationToken::new();
        let workers = Workers::new(broken.clone());
        workers.spawn("steady", std::future::pending());
        workers.stop().await;
        assert!(!broken.is_cancelled());
    }
}
