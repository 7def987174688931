//! Reads the events of many streams as one, in order of time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;

use store::{Direction, JournalEntry, Position, Span, StreamInfo};

use super::archive::{Archive, Group};
use crate::Result;

/// Entries of the first page that is read of a stream; few, because a group may have thousands of streams.
const PAGE_FIRST: usize = 32;
/// Entries of later pages.
const PAGE_NEXT: usize = 1000;

/// A merge of streams. Positions are unique in the store, so they order the events of all streams alike.
pub(super) struct Merge<'a> {
    archive: &'a Archive,
    group: &'a Group,
    direction: Direction,
    cursors: Vec<Cursor>,
    /// The place of each stream's next event, or where it is at the earliest.
    heap: BinaryHeap<Reverse<(Key, usize)>>,
}

/// A position, ordered by the direction of reading.
type Key = (i128, i128);

struct Cursor {
    stream: String,
    rest: Range<Position>,
    buffer: VecDeque<JournalEntry>,
    read_once: bool,
    more: bool,
}

impl<'a> Merge<'a> {
    /// Streams that have no event in the span are left out by what is known of them, without reading.
    pub(super) fn new(
        archive: &'a Archive,
        group: &'a Group,
        streams: Vec<(String, StreamInfo)>,
        span: &Range<Position>,
        direction: Direction,
    ) -> Self {
        let mut merge = Self {
            archive,
            group,
            direction,
            cursors: Vec::new(),
            heap: BinaryHeap::new(),
        };
        for (stream, info) in streams {
            let (Some(first_ms), Some(last_ms)) = (info.first_ms, info.last_ms) else {
                continue;
            };
            let first = Position::start_of(first_ms).max(span.start);
            let last = Position {
                time_ms: last_ms,
                seq: u64::MAX,
            }
            .min(span.end);
            if first >= span.end || last < span.start {
                continue;
            }
            let key = match direction {
                Direction::Forward => merge.key(first),
                Direction::Backward => merge.key(last),
            };
            merge.heap.push(Reverse((key, merge.cursors.len())));
            merge.cursors.push(Cursor {
                stream,
                rest: span.clone(),
                buffer: VecDeque::new(),
                read_once: false,
                more: true,
            });
        }
        merge
    }

    /// The next event and its stream.
    pub(super) async fn next(&mut self) -> Result<Option<(&str, JournalEntry)>> {
        while let Some(Reverse((_, index))) = self.heap.pop() {
            if let Some(entry) = self.cursors[index].buffer.pop_front() {
                self.push(index, Some(entry.at()));
                return Ok(Some((&self.cursors[index].stream, entry)));
            }
            if self.cursors[index].more {
                self.fill(index).await?;
                self.push(index, None);
            }
        }
        Ok(None)
    }

    /// Whether there is certainly nothing more.
    pub(super) fn is_done(&self) -> bool {
        self.heap.is_empty()
    }

    /// Puts a stream back with its next event, or behind the last one read if more must be loaded.
    fn push(&mut self, index: usize, last: Option<Position>) {
        let cursor = &self.cursors[index];
        let next = match cursor.buffer.front() {
            Some(entry) => Some(entry.at()),
            None if cursor.more => last,
            None => None,
        };
        if let Some(position) = next {
            self.heap.push(Reverse((self.key(position), index)));
        }
    }

    async fn fill(&mut self, index: usize) -> Result<()> {
        let cursor = &self.cursors[index];
        let limit = if cursor.read_once {
            PAGE_NEXT
        } else {
            PAGE_FIRST
        };
        let span = Span::Time(cursor.rest.clone());
        let page = self
            .archive
            .read(self.group, &cursor.stream, span, limit, self.direction)
            .await?;
        let cursor = &mut self.cursors[index];
        cursor.read_once = true;
        cursor.more = page.more;
        if let Some(last) = page.entries.last() {
            match self.direction {
                Direction::Forward => cursor.rest.start = last.after(),
                Direction::Backward => cursor.rest.end = last.at(),
            }
        }
        cursor.buffer = page.entries.into();
        Ok(())
    }

    fn key(&self, position: Position) -> Key {
        let key = (i128::from(position.time_ms), i128::from(position.seq));
        match self.direction {
            Direction::Forward => key,
            Direction::Backward => (-key.0, -key.1),
        }
    }
}
