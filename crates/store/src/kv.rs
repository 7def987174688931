//! Small records, changed by compare-and-swap.

use async_trait::async_trait;
use bytes::Bytes;

use crate::feed::Watch;
use crate::{Result, SCAN_ENTRIES_MAX};

/// Records by key. Keys order by their bytes; revisions grow over the whole store and are never used twice, so that
/// a record made again after a delete is never taken for the old one.
#[async_trait]
pub trait Kv: Send + Sync {
    /// The record, as of the last finished write.
    async fn get(&self, key: &str) -> Result<Option<Entry>>;

    /// Writes the record if it is as expected, and returns its new revision; else [`crate::Error::Conflict`].
    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<u64>;

    /// As [`Kv::put`], and writes another record in the same step, whatever was there: both or neither. No watcher is told
    /// of the other one, which is content that only the first one names.
    async fn put_with(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        other: (&str, Bytes),
    ) -> Result<u64>;

    /// Removes the record if it is as expected, and tells whether there was one.
    async fn delete(&self, key: &str, expect: Expect) -> Result<bool>;

    /// At most `limit` (up to [`SCAN_ENTRIES_MAX`]) records whose key begins with `prefix`, in order, beginning after
    /// the key `after`. Shorter pages than `limit` happen when records are large; only an empty one is the end.
    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Entry)>>;

    /// The keys and revisions of what [`Kv::scan`] would return, without reading the values.
    async fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, u64)>>;

    /// Every change of a key with this prefix that happens after this call returns.
    ///
    /// A watcher that falls behind is told [`Change::Relist`] instead of what it missed.
    async fn watch(&self, prefix: &str) -> Result<Watch>;

    /// All records with this prefix, page after page. Not one moment in time: writes may happen in between.
    async fn scan_all(&self, prefix: &str) -> Result<Vec<(String, Entry)>> {
        let mut all: Vec<(String, Entry)> = Vec::new();
        loop {
            let after = all.last().map(|(key, _)| key.as_str());
            let page = self.scan(prefix, after, SCAN_ENTRIES_MAX).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }
}

/// A record and its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The content.
    pub value: Bytes,
    /// The write that made it so.
    pub revision: u64,
}

/// What a writer takes the record to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// There is none.
    Absent,
    /// It is the one that this revision wrote.
    Revision(u64),
    /// Whatever it is.
    Any,
}

impl Expect {
    /// Whether a record with this revision (or none) is as expected.
    pub fn admits(self, found: Option<u64>) -> bool {
        match self {
            Expect::Absent => found.is_none(),
            Expect::Revision(revision) => found == Some(revision),
            Expect::Any => true,
        }
    }
}

/// What happened to the records of a [`Watch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A record was made or changed.
    Put {
        /// Its key.
        key: String,
        /// What it is now.
        entry: Entry,
    },
    /// A record was removed.
    Deleted {
        /// Its key.
        key: String,
        /// The revision of the removal.
        revision: u64,
    },
    /// Changes were missed: scan the prefix again. What follows happened after that.
    Relist,
}

impl Change {
    /// The key that changed, if it is one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Change::Put { key, .. } | Change::Deleted { key, .. } => Some(key),
            Change::Relist => None,
        }
    }
}
