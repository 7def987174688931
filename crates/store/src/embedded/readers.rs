//! Connections for reading, used on the runtime's blocking threads.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{failure, schema};
use crate::{Error, Result};

/// Reads at a time; more wait their turn.
const READERS_MAX: u32 = 8;

#[derive(Clone)]
pub(super) struct Readers(Arc<Pool>);

struct Pool {
    path: PathBuf,
    turns: Arc<Semaphore>,
    free: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Readers {
        let turns = Arc::new(Semaphore::new(READERS_MAX as usize));
        Readers(Arc::new(Pool {
            path,
            turns,
            free: Mutex::default(),
        }))
    }

    /// Runs the work on a connection that sees every finished write.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = Arc::clone(&self.0.turns)
            .acquire_owned()
            .await
            .map_err(|_closed| Error::CLOSED)?;
        let pool = Arc::clone(&self.0);
        let reading = tokio::task::spawn_blocking(move || {
            let answer = pool.with_connection(work);
            drop(turn);
            answer
        });
        // The task ends early when the runtime shuts down.
        reading.await.map_err(|_gone| Error::CLOSED)?
    }

    /// Lets the reads that run end, and refuses others.
    pub(super) async fn close(&self) {
        // Only fails when it was closed before.
        let all = self.0.turns.acquire_many(READERS_MAX).await;
        self.0.turns.close();
        drop(all);
        self.0.free().clear();
    }
}

impl Pool {
    fn with_connection<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let free = self.free().pop();
        let connection = match free {
            Some(connection) => connection,
            None => schema::open_reader(&self.path).map_err(|error| failure(&self.path, &error))?,
        };
        let answer = work(&connection).map_err(|error| failure(&self.path, &error));
        self.free().push(connection);
        answer
    }

    fn free(&self) -> MutexGuard<'_, Vec<Connection>> {
        // Nothing panics while it is held.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
