//! Durable state, behind four small traits: [`Kv`] for records, [`Blobs`] for large immutable content,
//! [`Queues`] for work that must happen, [`Journal`] for entries ordered in time.
//!
//! A future of this crate that resolves with `Ok` for a write means the write is on disk. Nothing here knows
//! what the bytes mean, and there is no transaction over two keys: every durable change is one
//! compare-and-swap on one key, so that a clustered backend can behave alike. The only thing that may come with it is
//! content that nothing but that key names ([`Kv::put_with`]).

mod blobs;
mod clock;
mod embedded;
mod error;
mod feed;
mod journal;
mod kv;
mod limits;
mod queues;
pub mod record;
mod signals;
pub mod sim;

use std::path::Path;
use std::sync::Arc;

pub use blobs::{BlobInfo, BlobStream, Blobs, Digest, InvalidDigest};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, Result};
pub use feed::Watch;
pub use journal::{
    Appended, Before, Direction, Journal, JournalEntry, NewEntry, Page, Position, Span, StreamInfo,
};
pub use kv::{Change, Entry, Expect, Kv};
pub use limits::{
    APPEND_ENTRIES_MAX, KEY_BYTES_MAX, LEASE_MESSAGES_MAX, PAGE_BYTES_MAX, SCAN_ENTRIES_MAX,
    VALUE_BYTES_MAX,
};
pub use queues::{Buried, Depth, InvalidToken, Leased, Queues, Token};

/// Everything durable, as one handle that is cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// Small records, changed by compare-and-swap.
    pub kv: Arc<dyn Kv>,
    /// Large immutable content, named by its SHA-256: functions' packages.
    pub blobs: Arc<dyn Blobs>,
    /// The same for objects of buckets, apart from the packages: whoever removes what nobody refers to knows all that refers.
    pub objects: Arc<dyn Blobs>,
    /// Messages that stay until somebody says that the work is done.
    pub queues: Arc<dyn Queues>,
    /// Append-only streams, read by arrival or by time.
    pub journal: Arc<dyn Journal>,
    /// The time by which leases expire and messages become due.
    pub clock: Arc<dyn Clock>,
    backend: Arc<dyn Backend>,
}

impl Store {
    /// Opens (or makes) the embedded store in `dir`: one SQLite file and a folder of blobs.
    ///
    /// The folder is locked for as long as the store is open; a second process gets [`Error::Locked`].
    pub fn open(dir: &Path) -> Result<Store> {
        Store::open_with(dir, Arc::new(SystemClock))
    }

    /// Like [`Store::open`], with a clock of the caller's.
    pub fn open_with(dir: &Path, clock: Arc<dyn Clock>) -> Result<Store> {
        embedded::open(dir, clock)
    }

    /// Copies the store in `from` into the folder `to`, which must be empty. Another process may have the store open and
    /// write to it; the copy is of one moment, and opens like a store that was closed then. Blocks for as long as it takes.
    pub fn back_up(from: &Path, to: &Path) -> Result<()> {
        embedded::backup::copy(from, to)
    }

    /// Finishes every write already handed in, then closes the files and unlocks the folder.
    ///
    /// Whatever is asked of the store afterwards, by any clone of the handle, answers [`Error::Closed`].
    pub async fn close(&self) {
        self.backend.close().await;
    }

    /// Reads everything and reports what is damaged; an empty list means sound. Slow on a large store.
    pub async fn check(&self) -> Result<Vec<String>> {
        self.backend.check().await
    }

    /// Counts since the store was opened.
    pub fn stats(&self) -> Stats {
        self.backend.stats()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// What a store has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Writes made durable; an append of many entries counts once.
    pub writes: u64,
    /// Commits that made them durable: `writes / commits` is the mean group.
    pub commits: u64,
    /// The largest group so far.
    pub largest_group: u64,
    /// Writes that failed because their commit did.
    pub failed: u64,
}

/// What a backend does besides the four traits.
#[async_trait::async_trait]
trait Backend: Send + Sync {
    async fn close(&self);
    async fn check(&self) -> Result<Vec<String>>;
    fn stats(&self) -> Stats;
}
