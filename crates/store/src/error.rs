//! What can go wrong with durable state.

use std::io;
use std::path::PathBuf;

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The record is not what the writer expected: somebody else wrote first. Read it again and decide anew.
    #[error("{key:?} was changed by somebody else (its revision now is {})", revision_text(.found))]
    Conflict {
        /// The key.
        key: String,
        /// Its revision, or `None` when there is no such record.
        found: Option<u64>,
    },
    /// The lease ran out and the message went to somebody else, or is done.
    #[error("the lease {token} is over: the message was handed out again or is gone")]
    LeaseLost {
        /// The token as given.
        token: String,
    },
    /// A key, queue, message or stream name that cannot be one.
    #[error(
        "a {what} has 1 to {} bytes without NUL; this one has {bytes}",
        crate::KEY_BYTES_MAX
    )]
    InvalidName {
        /// What it was to name.
        what: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// More than one call may carry.
    #[error("{what}: {asked} asked for, at most {limit} allowed")]
    OverLimit {
        /// What there was too much of.
        what: &'static str,
        /// How much was asked for.
        asked: usize,
        /// The limit.
        limit: usize,
    },
    /// An append of nothing has no numbers to answer with.
    #[error("an append has at least one entry")]
    EmptyAppend,
    /// A blob whose content no longer has its digest, or a record that cannot be read.
    #[error("{what} is damaged: {detail}")]
    Damaged {
        /// Which one.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The disk (or the quota) is full. Nothing was written; free some space and try again.
    #[error("no space left for the store in {}: free some and try again", dir.display())]
    DiskFull {
        /// The store's folder.
        dir: PathBuf,
    },
    /// Another process has this store open.
    #[error("the store in {} is in use by another process{}", dir.display(), holder_text(.holder))]
    Locked {
        /// The store's folder.
        dir: PathBuf,
        /// The process id of the one that has it open, when known.
        holder: Option<u32>,
    },
    /// The database file is not one, or is damaged.
    #[error("the store's file {} is damaged ({detail}): restore it from a backup", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// In the engine's words.
        detail: String,
    },
    /// A newer Mayfly wrote this store.
    #[error("the store in {} has format {found}, written by a newer Mayfly; this one reads up to {known}", dir.display())]
    TooNew {
        /// The store's folder.
        dir: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format known here.
        known: i64,
    },
    /// The operating system refused.
    #[error("could not {action} {}: {detail}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        detail: String,
    },
    /// The content to store could not be read to its end.
    #[error("the content ended early: {detail}")]
    Source {
        /// Why.
        detail: String,
    },
    /// The database engine refused.
    #[error("the store's database failed: {detail}")]
    Database {
        /// In the engine's words.
        detail: String,
    },
    /// The store was closed, or stopped taking writes after a failure of the disk.
    #[error("the store is closed{}", reason_text(.reason))]
    Closed {
        /// The failure, when it was one.
        reason: Option<String>,
    },
    /// The answer was lost: the effect may or may not have happened. Only backends that can lose an answer say so.
    #[error("the store did not answer: the effect may or may not have happened")]
    Unknown,
}

impl Error {
    pub(crate) const CLOSED: Error = Error::Closed { reason: None };

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, error: &io::Error) -> Error {
        let path = path.into();
        if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return Error::DiskFull { dir: path };
        }
        Error::Io {
            action,
            path,
            detail: error.to_string(),
        }
    }
}

fn revision_text(found: &Option<u64>) -> String {
    found.map_or_else(
        || "none, it is gone".to_owned(),
        |revision| revision.to_string(),
    )
}

fn holder_text(holder: &Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

fn reason_text(reason: &Option<String>) -> String {
    reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(": {reason}"))
}
