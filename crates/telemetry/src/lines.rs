//! Log lines from inside: taken without waiting, stored in batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::{mpsc, oneshot};
use wire::Scope;

use crate::logs::{Archive, EVENT_OVERHEAD_BYTES, May, NewEvent, fit};

/// Batches that may wait to be stored.
const QUEUE_BATCHES_MAX: usize = 16_384;
/// Bytes that may wait to be stored; what comes on top is dropped and counted.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long the first line of a round waits for others: a busy server then commits some ten times a second for its
/// logs, whatever the number of functions.
const LINGER: Duration = Duration::from_millis(100);
/// Batches taken in one round.
const ROUND_BATCHES_MAX: usize = 4096;
/// Streams written at a time.
const WRITES_AT_ONCE: usize = 64;
/// Events and bytes of one write to a stream.
const WRITE_EVENTS_MAX: usize = 5000;
const WRITE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Lines of one stream.
struct Batch {
    to: Destination,
    events: Vec<NewEvent>,
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Destination {
    scope: Scope,
    group: String,
    stream: String,
    may: May,
}

enum Message {
    Batch(Batch),
    /// Answered when everything sent before is stored.
    Flush(oneshot::Sender<()>),
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) stored: AtomicU64,
    pub(crate) dropped_full: AtomicU64,
    pub(crate) dropped_refused: AtomicU64,
    pub(crate) dropped_failed: AtomicU64,
}

/// Where lines go in.
pub(crate) struct Lines {
    queue: mpsc::Sender<Message>,
    waiting_bytes: Arc<AtomicUsize>,
    pub(crate) counts: Arc<Counts>,
}

/// Where they come out.
pub(crate) struct Writer {
    queue: mpsc::Receiver<Message>,
    waiting_bytes: Arc<AtomicUsize>,
    counts: Arc<Counts>,
    archive: Archive,
}

pub(crate) fn channel(archive: Archive) -> (Lines, Writer) {
    let (sender, receiver) = mpsc::channel(QUEUE_BATCHES_MAX);
    let lines = Lines {
        queue: sender,
        waiting_bytes: Arc::default(),
        counts: Arc::default(),
    };
    let writer = Writer {
        queue: receiver,
        waiting_bytes: lines.waiting_bytes.clone(),
        counts: lines.counts.clone(),
        archive,
    };
    (lines, writer)
}

impl Lines {
    /// Never waits. Lines for which there is no room are dropped and counted.
    pub(crate) fn send(
        &self,
        at: &Scope,
        group: &str,
        stream: &str,
        may: May,
        lines: Vec<(i64, String)>,
    ) {
        let count = lines.len() as u64;
        let bytes: usize = lines
            .iter()
            .map(|(_, text)| text.len() + EVENT_OVERHEAD_BYTES)
            .sum();
        if count == 0 {
            return;
        }
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let batch = Batch {
            to: Destination {
                scope: at.clone(),
                group: group.to_owned(),
                stream: stream.to_owned(),
                may,
            },
            events: events(lines),
            bytes,
        };
        let room = before + bytes <= QUEUE_BYTES_MAX;
        if !room || self.queue.try_send(Message::Batch(batch)).is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let dropped = self.counts.dropped_full.fetch_add(count, Ordering::Relaxed);
            if dropped == 0 {
                tracing::warn!(
                    group,
                    "log lines are dropped: they come faster than the disk takes them"
                );
            }
        }
    }

    /// Resolves when everything sent before is stored, or can never be.
    pub(crate) async fn flush(&self) {
        let (done, stored) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            // An error says that the writer has gone, and nothing will be stored any more.
            let _ = stored.await;
        }
    }
}

/// Empty lines are no events, as in CloudWatch Logs; what is too long for one event becomes several.
fn events(lines: Vec<(i64, String)>) -> Vec<NewEvent> {
    let mut events = Vec::with_capacity(lines.len());
    for (time_ms, text) in lines {
        let time_ms = time_ms.max(0);
        if text.len() + EVENT_OVERHEAD_BYTES <= crate::logs::EVENT_BYTES_MAX {
            if !text.is_empty() {
                events.push(NewEvent {
                    time_ms,
                    message: text,
                });
            }
            continue;
        }
        events.extend(fit(&text).into_iter().map(|piece| NewEvent {
            time_ms,
            message: piece.to_owned(),
        }));
    }
    events
}

impl Writer {
    /// Stores until the last sender has gone.
    pub(crate) async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let mut round = vec![first];
            if !self.wait_for_more(&mut round).await {
                self.store(round).await;
                return;
            }
            self.store(round).await;
        }
    }

    /// Gathers until the linger is over, the round is full or somebody waits. Tells whether more can come.
    async fn wait_for_more(&mut self, round: &mut Vec<Message>) -> bool {
        let linger = tokio::time::sleep(LINGER);
        tokio::pin!(linger);
        while round.len() < ROUND_BATCHES_MAX {
            if matches!(round.last(), Some(Message::Flush(_))) {
                self.take_waiting(round);
                break;
            }
            tokio::select! {
                () = &mut linger => break,
                next = self.queue.recv() => match next {
                    Some(message) => round.push(message),
                    None => return false,
                },
            }
        }
        true
    }

    /// Takes what is there already, so that all who wait by now wait for one write together.
    fn take_waiting(&mut self, round: &mut Vec<Message>) {
        while round.len() < ROUND_BATCHES_MAX
            && let Ok(message) = self.queue.try_recv()
        {
            round.push(message);
        }
    }

    async fn store(&self, round: Vec<Message>) {
        let mut by_stream: HashMap<Destination, Vec<NewEvent>> = HashMap::new();
        let mut waiting = Vec::new();
        let mut bytes = 0;
        for message in round {
            match message {
                Message::Batch(batch) => {
                    bytes += batch.bytes;
                    by_stream.entry(batch.to).or_default().extend(batch.events);
                }
                Message::Flush(done) => waiting.push(done),
            }
        }
        stream::iter(by_stream)
            .for_each_concurrent(WRITES_AT_ONCE, |(to, events)| self.store_stream(to, events))
            .await;
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        for done in waiting {
            // Whoever asked may no longer want to know.
            let _ = done.send(());
        }
    }

    async fn store_stream(&self, to: Destination, events: Vec<NewEvent>) {
        for part in parts(events) {
            let count = part.len() as u64;
            let stored = self
                .archive
                .append_creating(&to.scope, &to.group, &to.stream, to.may, part)
                .await;
            let counter = match stored {
                Ok(()) => &self.counts.stored,
                Err(crate::Error::Store(error)) => {
                    tracing::error!(%error, group = to.group, "log lines could not be stored");
                    &self.counts.dropped_failed
                }
                // The group or stream is missing and may not be made.
                Err(_) => &self.counts.dropped_refused,
            };
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// Cuts events into writes of bounded size.
fn parts(events: Vec<NewEvent>) -> Vec<Vec<NewEvent>> {
    let mut parts: Vec<Vec<NewEvent>> = Vec::new();
    let mut bytes = 0;
    for event in events {
        bytes += event.message.len();
        match parts.last_mut() {
            Some(part) if part.len() < WRITE_EVENTS_MAX && bytes <= WRITE_BYTES_MAX => {
                part.push(event);
            }
            _ => {
                bytes = event.message.len();
                parts.push(vec![event]);
            }
        }
    }
    parts
}
