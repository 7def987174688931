//! The state of a simulated store, and what each operation does to it: the plainest form of every promise.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;

use crate::blobs::clamp;
use crate::{
    Appended, Before, BlobInfo, Buried, Change, Depth, Digest, Direction, Entry, Error, Expect,
    JournalEntry, Leased, NewEntry, PAGE_BYTES_MAX, Page, Position, Result, Span, StreamInfo,
    Token,
};

#[derive(Default)]
pub(super) struct World {
    /// The last number used, for revisions, messages and entries alike.
    number: u64,
    records: BTreeMap<String, Entry>,
    blobs: BTreeMap<Digest, Blob>,
    queues: BTreeMap<String, Queue>,
    /// Messages by queue and id that must not be pushed again until then.
    done: BTreeMap<(String, String), i64>,
    streams: BTreeMap<String, Stream>,
}

struct Blob {
    content: Bytes,
    touched_ms: i64,
}

#[derive(Default)]
struct Queue {
    messages: BTreeMap<String, Message>,
    buried: BTreeMap<u64, (Buried, i64)>,
}

struct Message {
    number: u64,
    due_ms: i64,
    leased: bool,
    lease: i64,
    attempts: u32,
    body: Bytes,
}

#[derive(Default)]
struct Stream {
    entries: BTreeMap<u64, (i64, Bytes)>,
    by_time: BTreeSet<Position>,
    last_seq: u64,
}

impl World {
    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Gives back what a life that is over was working on.
    pub(super) fn forget_leases(&mut self) {
        let messages = self
            .queues
            .values_mut()
            .flat_map(|queue| queue.messages.values_mut());
        for message in messages.filter(|message| message.leased) {
            message.leased = false;
            message.due_ms = 0;
        }
    }
}

/// Records.
impl World {
    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.records.get(key).cloned()
    }

    pub(super) fn put(&mut self, key: &str, value: Bytes, expect: Expect) -> Result<Change> {
        self.check_expected(key, expect)?;
        let entry = Entry {
            value,
            revision: self.next(),
        };
        self.records.insert(key.to_owned(), entry.clone());
        Ok(Change::Put {
            key: key.to_owned(),
            entry,
        })
    }

    pub(super) fn delete(&mut self, key: &str, expect: Expect) -> Result<Option<Change>> {
        self.check_expected(key, expect)?;
        if self.records.remove(key).is_none() {
            return Ok(None);
        }
        Ok(Some(Change::Deleted {
            key: key.to_owned(),
            revision: self.next(),
        }))
    }

    pub(super) fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(String, Entry)> {
        let mut bytes = 0;
        in_prefix(&self.records, prefix, after)
            .take(limit)
            .take_while(|(_key, entry)| within_page(&mut bytes, entry.value.len()))
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect()
    }

    fn check_expected(&self, key: &str, expect: Expect) -> Result<()> {
        let found = self.records.get(key).map(|entry| entry.revision);
        if expect.admits(found) {
            Ok(())
        } else {
            Err(Error::Conflict {
                key: key.to_owned(),
                found,
            })
        }
    }
}

/// Blobs.
impl World {
    pub(super) fn put_blob(&mut self, content: Bytes, now_ms: i64) -> Digest {
        let digest = Digest::of(&content);
        self.blobs.insert(
            digest,
            Blob {
                content,
                touched_ms: now_ms,
            },
        );
        digest
    }

    pub(super) fn touch_blob(&mut self, digest: &Digest, now_ms: i64) -> bool {
        let blob = self.blobs.get_mut(digest);
        blob.map(|blob| blob.touched_ms = now_ms).is_some()
    }

    pub(super) fn blob(&self, digest: &Digest, range: Option<&Range<u64>>) -> Option<Bytes> {
        let content = &self.blobs.get(digest)?.content;
        let range = clamp(range, content.len() as u64);
        let index = |at: u64| usize::try_from(at).expect("the range is within what is in memory");
        Some(content.slice(index(range.start)..index(range.end)))
    }

    pub(super) fn blob_info(&self, digest: &Digest) -> Option<BlobInfo> {
        self.blobs.get(digest).map(|blob| blob_info(digest, blob))
    }

    pub(super) fn delete_blob(&mut self, digest: &Digest, since_ms: i64) -> bool {
        let untouched = self
            .blobs
            .get(digest)
            .is_some_and(|blob| blob.touched_ms < since_ms);
        untouched && self.blobs.remove(digest).is_some()
    }

    pub(super) fn list_blobs(&self, after: Option<&Digest>, limit: usize) -> Vec<BlobInfo> {
        let blobs = self
            .blobs
            .iter()
            .filter(|(digest, _)| after.is_none_or(|after| *digest > after));
        blobs
            .take(limit)
            .map(|(digest, blob)| blob_info(digest, blob))
            .collect()
    }
}

/// Queues.
impl World {
    pub(super) fn push(
        &mut self,
        queue: &str,
        id: &str,
        not_before_ms: i64,
        body: Bytes,
        now_ms: i64,
    ) -> bool {
        let name = (queue.to_owned(), id.to_owned());
        if self
            .done
            .get(&name)
            .is_some_and(|until_ms| *until_ms > now_ms)
        {
            return false;
        }
        let number = self.next();
        let queue = self.queues.entry(queue.to_owned()).or_default();
        if queue.messages.contains_key(id) || queue.grave(id).is_some() {
            return false;
        }
        let message = Message {
            number,
            due_ms: not_before_ms,
            leased: false,
            lease: 0,
            attempts: 0,
            body,
        };
        queue.messages.insert(id.to_owned(), message);
        true
    }

    pub(super) fn lease(
        &mut self,
        queue: &str,
        max: usize,
        now_ms: i64,
        until_ms: i64,
    ) -> Vec<Leased> {
        let Some(queue) = self.queues.get_mut(queue) else {
            return Vec::new();
        };
        let mut due: Vec<_> = queue
            .messages
            .iter_mut()
            .filter(|(_id, message)| message.due_ms <= now_ms)
            .collect();
        due.sort_by_key(|(_id, message)| (message.due_ms, message.number));
        let mut bytes = 0;
        due.into_iter()
            .take(max)
            .take_while(|(_id, message)| within_page(&mut bytes, message.body.len()))
            .map(|(id, message)| message.lease(id, until_ms))
            .collect()
    }

    /// Ends a lease before its time, without telling its holder.
    pub(super) fn cut_lease(&mut self, token: &Token, now_ms: i64) {
        if let Some((_queue, _id, message)) = self.held(token) {
            message.due_ms = now_ms;
        }
    }

    pub(super) fn ack(&mut self, token: &Token) -> Result<String> {
        let (queue, id, _message) = self.held(token).ok_or_else(|| lost(token))?;
        self.queues
            .get_mut(&queue)
            .and_then(|messages| messages.messages.remove(&id));
        Ok(queue)
    }

    pub(super) fn ack_once(&mut self, token: &Token, until_ms: i64) -> Result<String> {
        let (queue, id, _message) = self.held(token).ok_or_else(|| lost(token))?;
        self.done.insert((queue, id), until_ms);
        self.ack(token)
    }

    pub(super) fn extend(&mut self, token: &Token, until_ms: i64) -> Result<String> {
        let (queue, _id, message) = self.held(token).ok_or_else(|| lost(token))?;
        message.due_ms = until_ms;
        Ok(queue)
    }

    pub(super) fn retry(&mut self, token: &Token, not_before_ms: i64) -> Result<String> {
        let (queue, _id, message) = self.held(token).ok_or_else(|| lost(token))?;
        message.due_ms = not_before_ms;
        message.leased = false;
        Ok(queue)
    }

    pub(super) fn bury(&mut self, token: &Token, why: &str, now_ms: i64) -> Result<String> {
        let (name, id, _message) = self.held(token).ok_or_else(|| lost(token))?;
        let number = self.next();
        let queue = self
            .queues
            .get_mut(&name)
            .expect("a message that is held is in a queue");
        let Message {
            body,
            attempts,
            lease,
            ..
        } = queue
            .messages
            .remove(&id)
            .expect("a message that is held is in its queue");
        let buried = Buried {
            id,
            body,
            attempts,
            buried_ms: now_ms,
            why: why.to_owned(),
        };
        queue.buried.insert(number, (buried, lease));
        Ok(name)
    }

    pub(super) fn depth(&self, queue: &str, now_ms: i64) -> Depth {
        let Some(queue) = self.queues.get(queue) else {
            return Depth::default();
        };
        let mut depth = Depth {
            buried: queue.buried.len() as u64,
            ..Depth::default()
        };
        for message in queue.messages.values() {
            match message {
                message if message.due_ms <= now_ms => depth.due += 1,
                message if message.leased => depth.leased += 1,
                _ => depth.delayed += 1,
            }
        }
        depth
    }

    pub(super) fn earliest(&self, queue: &str) -> Option<i64> {
        self.queues
            .get(queue)?
            .messages
            .values()
            .map(|message| message.due_ms)
            .min()
    }

    pub(super) fn buried(&self, queue: &str, after: Option<&str>, limit: usize) -> Vec<Buried> {
        let Some(queue) = self.queues.get(queue) else {
            return Vec::new();
        };
        let after = after.and_then(|id| queue.grave(id)).unwrap_or_default();
        let mut bytes = 0;
        let graves = queue
            .buried
            .range(after + 1..)
            .take(limit)
            .map(|(_number, (buried, _lease))| buried);
        graves
            .take_while(|buried| within_page(&mut bytes, buried.body.len()))
            .cloned()
            .collect()
    }

    pub(super) fn exhume(&mut self, queue: &str, id: &str, not_before_ms: i64) -> bool {
        let number = self.next();
        let Some(queue) = self.queues.get_mut(queue) else {
            return false;
        };
        let Some((buried, lease)) = queue
            .grave(id)
            .and_then(|grave| queue.buried.remove(&grave))
        else {
            return false;
        };
        let body = buried.body;
        let message = Message {
            number,
            due_ms: not_before_ms,
            leased: false,
            lease,
            attempts: 0,
            body,
        };
        queue.messages.insert(id.to_owned(), message);
        true
    }

    pub(super) fn remove(&mut self, queue: &str, id: &str) -> bool {
        let Some(queue) = self.queues.get_mut(queue) else {
            return false;
        };
        let buried = queue
            .grave(id)
            .and_then(|grave| queue.buried.remove(&grave));
        queue.messages.remove(id).is_some() || buried.is_some()
    }

    pub(super) fn purge(&mut self, queue: &str) -> u64 {
        self.queues.remove(queue).map_or(0, |queue| {
            (queue.messages.len() + queue.buried.len()) as u64
        })
    }

    pub(super) fn list_queues(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<String> {
        in_prefix(&self.queues, prefix, after)
            .filter(|(_name, queue)| !queue.messages.is_empty() || !queue.buried.is_empty())
            .map(|(name, _queue)| name.clone())
            .take(limit)
            .collect()
    }

    fn held(&mut self, token: &Token) -> Option<(String, String, &mut Message)> {
        self.queues.iter_mut().find_map(|(name, queue)| {
            let (id, message) = queue
                .messages
                .iter_mut()
                .find(|(_id, message)| message.is_held(token))?;
            Some((name.clone(), id.clone(), message))
        })
    }
}

impl Queue {
    fn grave(&self, id: &str) -> Option<u64> {
        self.buried
            .iter()
            .find(|(_number, (buried, _lease))| buried.id == id)
            .map(|(number, _buried)| *number)
    }
}

impl Message {
    fn lease(&mut self, id: &str, until_ms: i64) -> Leased {
        self.leased = true;
        self.lease += 1;
        self.attempts += 1;
        self.due_ms = until_ms;
        let token = Token {
            message: signed(self.number),
            lease: self.lease,
        };
        Leased {
            id: id.to_owned(),
            body: self.body.clone(),
            attempts: self.attempts,
            until_ms,
            token,
        }
    }

    fn is_held(&self, token: &Token) -> bool {
        self.leased && signed(self.number) == token.message && self.lease == token.lease
    }
}

/// Streams.
impl World {
    pub(super) fn append(&mut self, stream: &str, entries: Vec<NewEntry>) -> Appended {
        let first_seq = self.number + 1;
        self.number += entries.len() as u64;
        let stream = self.streams.entry(stream.to_owned()).or_default();
        for ((time_ms, body), seq) in entries.into_iter().zip(first_seq..) {
            stream.entries.insert(seq, (time_ms, body));
            stream.by_time.insert(Position { time_ms, seq });
        }
        stream.last_seq = self.number;
        Appended {
            first_seq,
            last_seq: self.number,
        }
    }

    pub(super) fn read(
        &self,
        stream: &str,
        span: &Span,
        limit: usize,
        direction: Direction,
    ) -> Page {
        let Some(stream) = self.streams.get(stream) else {
            return Page::default();
        };
        let seqs: Vec<u64> = match span {
            Span::Arrival(seqs) => stream
                .entries
                .keys()
                .copied()
                .filter(|seq| seqs.contains(seq))
                .collect(),
            Span::Time(times) => stream
                .by_time
                .iter()
                .filter(|at| times.contains(at))
                .map(|at| at.seq)
                .collect(),
        };
        let all = seqs.len();
        let ordered: Box<dyn Iterator<Item = u64>> = match direction {
            Direction::Forward => Box::new(seqs.into_iter()),
            Direction::Backward => Box::new(seqs.into_iter().rev()),
        };
        let mut bytes = 0;
        let entries: Vec<JournalEntry> = ordered
            .take(limit)
            .map(|seq| stream.entry(seq))
            .take_while(|entry| within_page(&mut bytes, entry.body.len()))
            .collect();
        let more = entries.len() < all;
        Page { entries, more }
    }

    pub(super) fn trim(&mut self, stream: &str, before: Before) -> u64 {
        let Some(stream) = self.streams.get_mut(stream) else {
            return 0;
        };
        let goes = |at: &Position| match before {
            Before::Seq(seq) => at.seq < seq,
            Before::Time(time_ms) => at.time_ms < time_ms,
        };
        let (gone, kept): (BTreeSet<Position>, _) = std::mem::take(&mut stream.by_time)
            .into_iter()
            .partition(goes);
        stream.by_time = kept;
        gone.iter()
            .for_each(|at| drop(stream.entries.remove(&at.seq)));
        gone.len() as u64
    }

    pub(super) fn drop_stream(&mut self, stream: &str) -> bool {
        self.streams.remove(stream).is_some()
    }

    pub(super) fn stream_info(&self, name: &str) -> Option<StreamInfo> {
        self.streams.get(name).map(|stream| stream.info(name))
    }

    pub(super) fn list_streams(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<StreamInfo> {
        in_prefix(&self.streams, prefix, after)
            .take(limit)
            .map(|(name, stream)| stream.info(name))
            .collect()
    }
}

impl Stream {
    fn entry(&self, seq: u64) -> JournalEntry {
        let (time_ms, body) = &self.entries[&seq];
        JournalEntry {
            seq,
            time_ms: *time_ms,
            body: body.clone(),
        }
    }

    fn info(&self, name: &str) -> StreamInfo {
        StreamInfo {
            name: name.to_owned(),
            entries: self.entries.len() as u64,
            bytes: self
                .entries
                .values()
                .map(|(_time, body)| body.len() as u64)
                .sum(),
            last_seq: self.last_seq,
            first_ms: self.by_time.first().map(|at| at.time_ms),
            last_ms: self.by_time.last().map(|at| at.time_ms),
        }
    }
}

fn in_prefix<'a, T>(
    map: &'a BTreeMap<String, T>,
    prefix: &'a str,
    after: Option<&'a str>,
) -> impl Iterator<Item = (&'a String, &'a T)> {
    map.range(prefix.to_owned()..)
        .take_while(move |(name, _)| name.starts_with(prefix))
        .filter(move |(name, _)| after.is_none_or(|after| name.as_str() > after))
}

/// Whether a page that has so many bytes takes one more entry.
fn within_page(bytes: &mut usize, more: usize) -> bool {
    let fits = *bytes < PAGE_BYTES_MAX;
    *bytes += more;
    fits
}

fn blob_info(digest: &Digest, blob: &Blob) -> BlobInfo {
    BlobInfo {
        digest: *digest,
        size_bytes: blob.content.len() as u64,
        touched_ms: blob.touched_ms,
    }
}

fn lost(token: &Token) -> Error {
    Error::LeaseLost {
        token: token.to_string(),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("no test counts that far")
}
