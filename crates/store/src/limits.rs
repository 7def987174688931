//! Every limit of the store, and the checks of what callers hand in.

use bytes::Bytes;

use crate::{Error, NewEntry, Result};

/// The longest key, queue, message or stream name. CloudWatch allows 512 characters each for a group and a stream
/// in it, and callers put account and region before them.
pub const KEY_BYTES_MAX: usize = 2048;
/// The largest value, message or journal entry: what NATS recommends as the largest payload, so that the clustered
/// backend can hold the same.
pub const VALUE_BYTES_MAX: usize = 8 << 20;
/// The most entries one scan or list returns.
pub const SCAN_ENTRIES_MAX: usize = 10_000;
/// The most entries one append takes: as many as one PutLogEvents carries.
pub const APPEND_ENTRIES_MAX: usize = 10_000;
/// The most messages one lease takes.
pub const LEASE_MESSAGES_MAX: usize = 1000;
/// A page of the journal, a scan or a lease ends after the entry that fills this many bytes.
pub const PAGE_BYTES_MAX: usize = 16 << 20;

pub(crate) fn check_put(key: &str, value: &Bytes) -> Result<()> {
    check_name("key", key)?;
    check_value("the bytes of a value", value.len())
}

pub(crate) fn check_push(queue: &str, id: &str, body: &Bytes) -> Result<()> {
    check_message(queue, id)?;
    check_value("the bytes of a message", body.len())
}

pub(crate) fn check_message(queue: &str, id: &str) -> Result<()> {
    check_queue(queue)?;
    check_name("message id", id)
}

pub(crate) fn check_queue(queue: &str) -> Result<()> {
    check_name("queue name", queue)
}

pub(crate) fn check_lease(queue: &str, max: usize) -> Result<()> {
    check_queue(queue)?;
    check_limit("the messages of a lease", max, LEASE_MESSAGES_MAX)
}

/// Returns the bytes of the contents.
pub(crate) fn check_append(stream: &str, entries: &[NewEntry]) -> Result<usize> {
    check_stream(stream)?;
    check_limit(
        "the entries of an append",
        entries.len(),
        APPEND_ENTRIES_MAX,
    )?;
    if entries.is_empty() {
        return Err(Error::EmptyAppend);
    }
    let mut bytes = 0;
    for (_time, body) in entries {
        check_value("the bytes of an entry", body.len())?;
        bytes += body.len();
    }
    Ok(bytes)
}

pub(crate) fn check_stream(stream: &str) -> Result<()> {
    check_name("stream name", stream)
}

pub(crate) fn check_page(entries: usize) -> Result<()> {
    check_limit("the entries of a page", entries, SCAN_ENTRIES_MAX)
}

pub(crate) fn check_value(what: &'static str, bytes: usize) -> Result<()> {
    check_limit(what, bytes, VALUE_BYTES_MAX)
}

pub(crate) fn check_name(what: &'static str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > KEY_BYTES_MAX || name.contains('\0') {
        return Err(Error::InvalidName {
            what,
            bytes: name.len(),
        });
    }
    Ok(())
}

fn check_limit(what: &'static str, asked: usize, limit: usize) -> Result<()> {
    if asked > limit {
        return Err(Error::OverLimit { what, asked, limit });
    }
    Ok(())
}
