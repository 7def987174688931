//! The embedded backend: one SQLite file and a folder of blobs.
//!
//! All writes go through one thread, which commits whatever is waiting as one group; reads run beside it on
//! connections of their own. One folder to back up, in a format that anyone can inspect.

mod blobs;
mod folder;
mod journal;
mod kv;
mod queues;
mod readers;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::ErrorCode;

use crate::feed::Feed;
use crate::signals::Signals;
use crate::{Backend, Clock, Error, Result, Stats, Store};

use folder::Folder;
use readers::Readers;
use writer::Writer;

/// The database file inside the store's folder.
const DATABASE: &str = "mayfly.db";

pub(crate) fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Store> {
    let folder = Folder::lock(dir)?;
    let path = folder.private_file(DATABASE)?;
    let (connection, number) = schema::open(&path)?;
    folder.sync()?;
    let blobs = Arc::new(blobs::FolderBlobs::open(&folder, Arc::clone(&clock))?);
    let feed = Arc::new(Feed::default());
    let signals = Arc::new(Signals::default());
    let embedded = Arc::new(Embedded {
        readers: Readers::new(path.clone()),
        writer: Writer::start(
            connection,
            number,
            path,
            folder,
            Arc::clone(&feed),
            Arc::clone(&signals),
        )?,
        clock: Arc::clone(&clock),
        feed,
        signals,
    });
    Ok(Store {
        kv: Arc::clone(&embedded) as _,
        blobs,
        queues: Arc::clone(&embedded) as _,
        journal: Arc::clone(&embedded) as _,
        clock,
        backend: embedded,
    })
}

/// The parts that the four traits work with.
struct Embedded {
    readers: Readers,
    writer: Writer,
    clock: Arc<dyn Clock>,
    feed: Arc<Feed>,
    signals: Arc<Signals>,
}

#[async_trait]
impl Backend for Embedded {
    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        self.feed.close();
        self.signals.send_all();
    }

    async fn check(&self) -> Result<Vec<String>> {
        self.readers.read(schema::check).await
    }

    fn stats(&self) -> Stats {
        self.writer.stats()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.feed.close();
    }
}

/// What an error of the engine means for the store.
fn failure(path: &Path, error: &rusqlite::Error) -> Error {
    let detail = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::DiskFull {
            dir: path.parent().map_or_else(PathBuf::new, Path::to_owned),
        },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt {
            path: path.to_owned(),
            detail,
        },
        _ => Error::Database { detail },
    }
}

/// A number of the store as SQLite holds it. Numbers beyond its range are beyond every record.
fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that this crate wrote, which is never negative.
fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// A limit as SQLite takes it.
fn limit_to_sql(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
