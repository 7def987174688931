//! Append-only streams of entries, read by arrival or by time. Log events and metric datapoints live here.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::Result;

/// A time in milliseconds and a content, to be appended.
pub type NewEntry = (i64, Bytes);

/// Streams by name. Every entry gets a number that is unique in the store and grows within its stream (with gaps).
/// Times are the caller's and may come in any order.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Adds the entries (1 to [`crate::APPEND_ENTRIES_MAX`]), all or none, making the stream if need be.
    async fn append(&self, stream: &str, entries: Vec<NewEntry>) -> Result<Appended>;

    /// At most `limit` entries of the span. A page also ends after [`crate::PAGE_BYTES_MAX`]. A stream that is not
    /// there reads as empty.
    async fn read(
        &self,
        stream: &str,
        span: Span,
        limit: usize,
        direction: Direction,
    ) -> Result<Page>;

    /// Removes the entries before this number or time and tells how many. The stream stays. Large trims happen in
    /// steps: a crash in the middle leaves the rest to the next trim.
    async fn trim(&self, stream: &str, before: Before) -> Result<u64>;

    /// Removes the stream with all its entries and tells whether there was one.
    async fn drop_stream(&self, stream: &str) -> Result<bool>;

    /// What is known of one stream.
    async fn info(&self, stream: &str) -> Result<Option<StreamInfo>>;

    /// At most `limit` streams whose name begins with `prefix`, in order, beginning after `after`.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StreamInfo>>;
}

/// An entry with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Unique in the store; grows with arrival.
    pub seq: u64,
    /// What the caller said.
    pub time_ms: i64,
    /// The content.
    pub body: Bytes,
}

impl JournalEntry {
    /// Where a read by time goes on after this entry, forward: `Span::Time(record.after()..end)`. Backward, a span
    /// that ends at [`JournalEntry::at`] goes on before it.
    pub fn after(&self) -> Position {
        Position {
            time_ms: self.time_ms,
            seq: self.seq + 1,
        }
    }

    /// Where this entry is in time.
    pub fn at(&self) -> Position {
        Position {
            time_ms: self.time_ms,
            seq: self.seq,
        }
    }
}

/// A place in a stream ordered by time; entries of one millisecond are in order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The time.
    pub time_ms: i64,
    /// The number.
    pub seq: u64,
}

impl Position {
    /// Before everything of this millisecond.
    pub fn start_of(time_ms: i64) -> Position {
        Position { time_ms, seq: 0 }
    }
}

/// Which entries to read, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
    /// By number: from the first (included) to the second (excluded), in order of arrival.
    Arrival(Range<u64>),
    /// By time: from the first place (included) to the second (excluded), in order of time.
    Time(Range<Position>),
}

impl Span {
    /// Everything, in order of time.
    pub fn all() -> Span {
        Span::Time(
            Position::start_of(i64::MIN)..Position {
                time_ms: i64::MAX,
                seq: u64::MAX,
            },
        )
    }

    /// Everything with a number of at least `seq`, in order of arrival: how a tail goes on.
    pub fn since(seq: u64) -> Span {
        Span::Arrival(seq..u64::MAX)
    }

    /// From this millisecond (included) to that one (excluded), in order of time.
    pub fn times(from_ms: i64, to_ms: i64) -> Span {
        Span::Time(Position::start_of(from_ms)..Position::start_of(to_ms))
    }
}

/// The order in which a span is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the beginning of the span.
    Forward,
    /// From its end.
    Backward,
}

/// Where to cut a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Entries with a smaller number go.
    Seq(u64),
    /// Entries with an earlier time go.
    Time(i64),
}

/// A part of a span.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order asked for.
    pub entries: Vec<JournalEntry>,
    /// Whether the span has more beyond the last of these.
    pub more: bool,
}

/// The numbers of appended entries, in the order given; they have no gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Of the first entry.
    pub first_seq: u64,
    /// Of the last entry.
    pub last_seq: u64,
}

/// What is known of a stream without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// How many entries it has.
    pub entries: u64,
    /// How many bytes their contents have.
    pub bytes: u64,
    /// The number of the entry that came last; stays when that one is trimmed.
    pub last_seq: u64,
    /// The earliest time of an entry.
    pub first_ms: Option<i64>,
    /// The latest time of an entry.
    pub last_ms: Option<i64>,
}
