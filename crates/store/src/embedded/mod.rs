//! The embedded backend: one SQLite file and a folder of blobs.
//!
//! All writes go through one thread, which commits whatever is waiting as one group; reads run beside it on
//! connections of their own. One folder to back up, in a format that anyone can inspect.

pub(crate) mod backup;
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
    let shelf = |name| blobs::FolderBlobs::open(&folder, name, Arc::clone(&clock)).map(Arc::new);
    let (blobs, objects) = (shelf(blobs::PACKAGES)?, shelf(blobs::OBJECTS)?);
    let embedded = Arc::new(Embedded::open(folder, Arc::clone(&clock))?);
    Ok(Store {
        kv: Arc::clone(&embedded) as _,
        blobs,
        objects,
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

impl Embedded {
    fn open(folder: Folder, clock: Arc<dyn Clock>) -> Result<Embedded> {
        let path = folder.private_file(DATABASE)?;
        let (connection, number) = schema::open(&path)?;
        folder.sync()?;
        let feed = Arc::new(Feed::default());
        let signals = Arc::new(Signals::default());
        let readers = Readers::new(path.clone());
        let writer = Writer::start(
            connection,
            number,
            path,
            folder,
            Arc::clone(&feed),
            Arc::clone(&signals),
        )?;
        Ok(Embedded {
            readers,
            writer,
            clock,
            feed,
            signals,
        })
    }
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

/// The least name that begins with `prefix` and comes after `after`. No name has a NUL, so there is none between a name
/// and the same with one. Asked for as one bound, because of two SQLite uses only one to find its way.
fn first_name(prefix: &str, after: Option<&str>) -> String {
    match after {
        Some(after) if after >= prefix => format!("{after}\0"),
        _ => prefix.to_owned(),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Entry, Expect, Kv, SystemClock};

    /// Lets the file grow by so many pages and no more: how SQLite sees a full disk.
    async fn leave_pages(embedded: &Embedded, pages: i64) {
        let leave = embedded.writer.write(0, move |transaction| {
            let count: i64 = transaction
                .connection
                .query_row("PRAGMA page_count", [], |row| row.get(0))?;
            let sql = format!("PRAGMA max_page_count = {}", count + pages);
            Ok(transaction.connection.query_row(&sql, [], |_row| Ok(()))?)
        });
        leave.await.unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_refuses_writes_until_there_is_space() {
        let dir = tempfile::tempdir().unwrap();
        let embedded =
            Embedded::open(Folder::lock(dir.path()).unwrap(), Arc::new(SystemClock)).unwrap();
        let value = bytes::Bytes::from(vec![1; 20_000]);
        let revision = embedded
            .put("k", value.clone(), Expect::Absent)
            .await
            .unwrap();
        let mut watch = embedded.watch("").await.unwrap();
        leave_pages(&embedded, 3).await;
        for key in ["k", "other"] {
            let error = embedded
                .put(key, vec![2; 200_000].into(), Expect::Any)
                .await
                .unwrap_err();
            assert!(
                matches!(&error, Error::DiskFull { dir: of } if of == &dir.path().canonicalize().unwrap())
            );
        }
        assert_eq!(
            embedded.get("k").await.unwrap(),
            Some(Entry { value, revision })
        );
        assert_eq!(embedded.get("other").await.unwrap(), None);
        assert_eq!(watch.try_next(), None);
        assert_eq!(embedded.stats().failed, 2);
        leave_pages(&embedded, 1000).await;
        embedded
            .put("other", vec![2; 200_000].into(), Expect::Absent)
            .await
            .unwrap();
        assert_eq!(embedded.check().await.unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn after_a_failure_of_the_disk_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let embedded =
            Embedded::open(Folder::lock(dir.path()).unwrap(), Arc::new(SystemClock)).unwrap();
        embedded.put("k", "1".into(), Expect::Any).await.unwrap();
        let io_error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        let failing = embedded.writer.write(0, move |transaction| {
            transaction.connection.execute("DELETE FROM kv", [])?;
            Err::<(), _>(rusqlite::Error::SqliteFailure(io_error, None).into())
        });
        assert!(matches!(failing.await, Err(Error::Database { .. })));
        let error = embedded
            .put("k", "2".into(), Expect::Any)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Closed { reason: Some(_) }),
            "{error}"
        );
        assert_eq!(embedded.get("k").await.unwrap().unwrap().value, "1");
    }
}
