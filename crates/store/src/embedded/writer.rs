//! The one thread that writes. It takes whatever is waiting, runs it in one transaction, and answers everyone after
//! the commit: with one sync of the disk for a whole group, that is worth a factor of sixty under load.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::folder::Folder;
use super::{failure, journal, to_sql};
use crate::feed::Feed;
use crate::signals::Signals;
use crate::{Change, Error, Result, Stats};

/// Writes that wait for the thread; more make their callers wait.
const WAITING_MAX: usize = 4096;
/// Writes in one commit.
const GROUP_WRITES_MAX: usize = 2048;
/// A commit takes no further write after this many bytes of content.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// Why the work of a write did not succeed.
pub(super) enum Stop {
    /// It was refused, and wrote nothing: the others in the group go on.
    Refused(Error),
    /// The engine failed: the group is rolled back.
    Failed(rusqlite::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Refused(error)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Stop {
        Stop::Failed(error)
    }
}

/// The transaction of a group, as the work of a write sees it.
pub(super) struct Transaction<'a> {
    pub(super) connection: &'a Connection,
    number: &'a mut u64,
    changes: Vec<Change>,
    woken: BTreeSet<String>,
    /// Set when there are entries to sweep away.
    pub(super) sweep: bool,
}

impl Transaction<'_> {
    /// The first of `count` numbers that were never used.
    pub(super) fn numbers(&mut self, count: u64) -> u64 {
        let first = *self.number + 1;
        *self.number += count;
        first
    }

    /// Tells the watchers, if the commit succeeds.
    pub(super) fn changed(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Wakes those who wait for the queue, if the commit succeeds.
    pub(super) fn wake(&mut self, queue: &str) {
        if !self.woken.contains(queue) {
            self.woken.insert(queue.to_owned());
        }
    }
}

/// The handle that hands writes to the thread.
pub(super) struct Writer {
    waiting: mpsc::Sender<Message>,
    thread: Option<JoinHandle<()>>,
    counts: Arc<Counts>,
}

enum Message {
    Write(Box<dyn Work>),
    Stop(oneshot::Sender<()>),
}

#[derive(Default)]
struct Counts {
    writes: AtomicU64,
    commits: AtomicU64,
    largest_group: AtomicU64,
    failed: AtomicU64,
}

impl Writer {
    /// Starts the thread, which keeps the folder locked until its end.
    pub(super) fn start(
        connection: Connection,
        number: u64,
        path: PathBuf,
        folder: Folder,
        feed: Arc<Feed>,
        signals: Arc<Signals>,
    ) -> Result<Writer> {
        let (waiting, messages) = mpsc::channel(WAITING_MAX);
        let counts = Arc::new(Counts::default());
        let thread = Thread {
            connection,
            path: path.clone(),
            messages,
            number,
            // Looks once for what a crash left to sweep.
            sweep: true,
            broken: None,
            counts: Arc::clone(&counts),
            feed,
            signals,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let stopped = thread.run();
                drop(folder);
                // Nobody may be waiting for the end any more.
                let _ = stopped.map(|stopped| stopped.send(()));
            })
            .map_err(|error| Error::io("start the writer of", path, &error))?;
        Ok(Writer {
            waiting,
            thread: Some(thread),
            counts,
        })
    }

    /// Does the work in the next commit; resolves when that is on disk. `bytes` is about what it writes.
    ///
    /// A caller that stops waiting does not stop the write.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(Write {
            bytes,
            work: Some(work),
            outcome: None,
            reply,
        });
        self.waiting
            .send(Message::Write(work))
            .await
            .map_err(|_stopped| Error::CLOSED)?;
        answer.await.map_err(|_stopped| Error::CLOSED)?
    }

    /// Finishes what is waiting, and ends the thread.
    pub(super) async fn close(&self) {
        let (stopped, wait) = oneshot::channel();
        if self.waiting.send(Message::Stop(stopped)).await.is_ok() {
            // An error means that somebody else closed it in the same moment.
            let _ = wait.await;
        }
        self.waiting.closed().await;
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            writes: self.counts.writes.load(Ordering::Relaxed),
            commits: self.counts.commits.load(Ordering::Relaxed),
            largest_group: self.counts.largest_group.load(Ordering::Relaxed),
            failed: self.counts.failed.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Writer {
    /// Waits for the thread, so that the folder is free for whoever comes next.
    fn drop(&mut self) {
        let (nobody, _) = mpsc::channel(1);
        self.waiting = nobody;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// One write, whatever its answer is.
trait Work: Send {
    fn bytes(&self) -> usize;
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), rusqlite::Error>;
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Write<F, T> {
    bytes: usize,
    work: Option<F>,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<F, T> Work for Write<F, T>
where
    F: FnOnce(&mut Transaction<'_>) -> Result<T, Stop> + Send,
    T: Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), rusqlite::Error> {
        let work = self.work.take().expect("a write is run once");
        self.outcome = Some(match work(transaction) {
            Ok(value) => Ok(value),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Failed(error)) => return Err(error),
        });
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        // A refusal too is only true if what it saw in this group was committed.
        let Write { outcome, reply, .. } = *self;
        let outcome = committed.and_then(|()| outcome.expect("what was committed was run"));
        // The caller may have gone away, and the write stays.
        let _ = reply.send(outcome);
    }
}

/// The thread's own.
struct Thread {
    connection: Connection,
    path: PathBuf,
    messages: mpsc::Receiver<Message>,
    number: u64,
    sweep: bool,
    /// Set after a failure of the disk, of which nobody can say what it left behind: no write after that.
    broken: Option<String>,
    counts: Arc<Counts>,
    feed: Arc<Feed>,
    signals: Arc<Signals>,
}

/// What a group leaves to do once it is durable.
struct Effects {
    changes: Vec<Change>,
    woken: BTreeSet<String>,
    sweep: bool,
}

impl Thread {
    /// Works until told to stop, or until nobody is left to write. Returns whom to tell after the files are closed.
    fn run(mut self) -> Option<oneshot::Sender<()>> {
        let mut stopped = None;
        while let Some(first) = self.next() {
            let mut group = Vec::new();
            let mut bytes = 0;
            let mut message = Some(first);
            while let Some(taken) = message.take() {
                match taken {
                    Message::Write(work) => {
                        bytes += work.bytes();
                        group.push(work);
                    }
                    Message::Stop(reply) => {
                        // What is in the channel already was accepted, and is done before the end.
                        self.messages.close();
                        stopped = stopped.or(Some(reply));
                    }
                }
                if group.len() < GROUP_WRITES_MAX && bytes < GROUP_BYTES_MAX {
                    message = self.messages.try_recv().ok();
                }
            }
            self.commit(group);
        }
        stopped
    }

    /// The next message. While none is there, sweeps.
    fn next(&mut self) -> Option<Message> {
        while self.sweep && self.broken.is_none() {
            match self.messages.try_recv() {
                Ok(message) => return Some(message),
                Err(mpsc::error::TryRecvError::Empty) => self.commit(Vec::new()),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
            }
        }
        self.messages.blocking_recv()
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Work>>) {
        let size = group.len() as u64;
        let committed = match &self.broken {
            Some(reason) => Err(Error::Closed {
                reason: Some(reason.clone()),
            }),
            None => self
                .try_commit(&mut group)
                .map_err(|error| self.failed(&error)),
        };
        match &committed {
            Ok(effects) => {
                self.counts.writes.fetch_add(size, Ordering::Relaxed);
                self.counts.commits.fetch_add(1, Ordering::Relaxed);
                self.counts.largest_group.fetch_max(size, Ordering::Relaxed);
                tracing::debug!(writes = size, "committed");
                self.feed.tell(&effects.changes);
                effects
                    .woken
                    .iter()
                    .for_each(|queue| self.signals.send(queue));
                self.sweep = effects.sweep;
            }
            Err(error) => {
                self.counts.failed.fetch_add(size, Ordering::Relaxed);
                // Not tried again before the next write, lest a full disk keeps the thread busy.
                self.sweep = false;
                tracing::error!(writes = size, %error, "a commit failed");
            }
        }
        let committed = committed.map(|_effects| ());
        group
            .into_iter()
            .for_each(|work| work.answer(committed.clone()));
    }

    fn try_commit(&mut self, group: &mut [Box<dyn Work>]) -> rusqlite::Result<Effects> {
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")?
            .execute([])?;
        let before = self.number;
        let mut transaction = Transaction {
            connection: &self.connection,
            number: &mut self.number,
            changes: Vec::new(),
            woken: BTreeSet::new(),
            sweep: self.sweep,
        };
        for work in group {
            work.run(&mut transaction)?;
        }
        if transaction.sweep {
            transaction.sweep = journal::sweep(transaction.connection)?;
        }
        let Transaction {
            changes,
            woken,
            sweep,
            ..
        } = transaction;
        if self.number != before {
            let mut statement = self
                .connection
                .prepare_cached("UPDATE counter SET last = ?1")?;
            statement.execute([to_sql(self.number)])?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(Effects {
            changes,
            woken,
            sweep,
        })
    }

    /// Undoes the group, and decides whether there can be another.
    fn failed(&mut self, error: &rusqlite::Error) -> Error {
        if !self.connection.is_autocommit() {
            // The engine may have rolled back by itself in the meantime; the group is undone either way, since
            // nothing but COMMIT keeps it.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let meaning = failure(&self.path, error);
        let harmless = matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::ConstraintViolation
                    | ErrorCode::TooBig
                    | ErrorCode::DatabaseBusy
            )
        );
        if !harmless || !self.connection.is_autocommit() {
            self.broken = Some(meaning.to_string());
        }
        meaning
    }
}
