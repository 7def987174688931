//! A process of an environment, a runtime or an extension, as the engine holds it.

use futures_util::FutureExt;
use sandbox::{Child, Error, Exit, Signalled};
use tokio::net::unix::pipe::Receiver;

/// A process whose end the engine is told of. Dropping it does not end it.
pub(crate) struct Process {
    signalled: Signalled,
    end: Receiver,
}

impl Process {
    /// Has the engine told of its end.
    pub(crate) fn watch(child: Child) -> Result<Process, Error> {
        let (signalled, end) = child.into_parts();
        let watched = |source| Error::Io {
            what: "watching a process".to_owned(),
            source,
        };
        let end = Receiver::from_owned_fd(end).map_err(watched)?;
        Ok(Process { signalled, end })
    }

    /// Whether the engine has not been told of its end.
    pub(crate) fn is_alive(&self) -> bool {
        self.end.readable().now_or_never().is_none()
    }

    /// Parts what signals are sent to from what waits for its end.
    pub(crate) fn into_parts(self) -> (Signalled, impl Future<Output = Exit> + Send) {
        let end = self.end;
        let ended = async move {
            // An error of readiness means the reactor is going down, and everything with it.
            let _ = end.readable().await;
            sandbox::read_exit(&end).unwrap_or(Exit::Signal(9))
        };
        (self.signalled, ended)
    }
}
