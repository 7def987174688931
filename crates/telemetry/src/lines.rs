//! Log lines from inside: taken without waiting, stored in batches.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::{Notify, oneshot};
use wire::Scope;

use crate::logs::{Archive, EVENT_OVERHEAD_BYTES, May, NewEvent, fit};

/// Batches that may wait to be stored.
const WAITING_BATCHES_MAX: usize = 16_384;
/// Bytes that may wait to be stored, or are being stored; what comes on top is dropped and counted.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long the first line of a round waits for others: a busy server then commits some ten times a second for its
/// logs, whatever the number of functions, and wakes the writer no more often.
const LINGER: Duration = Duration::from_millis(100);
/// Streams written at a time.
const WRITES_AT_ONCE: usize = 64;
/// Events and bytes of one write to a stream.
const WRITE_EVENTS_MAX: usize = 5000;
const WRITE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Lines of one stream.
struct Batch {
    to: Destination,
    events: Vec<NewEvent>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Destination {
    scope: Scope,
    group: String,
    stream: String,
    may: May,
}

/// What waits for the writer.
#[derive(Default)]
struct Waiting {
    batches: Vec<Batch>,
    /// Of the batches, and of those that are being stored.
    bytes: usize,
    /// Answered when everything that waits now is stored.
    flushes: Vec<oneshot::Sender<()>>,
    /// Nothing more will come.
    closed: bool,
    /// Nothing more will be stored.
    abandoned: bool,
}

impl Waiting {
    /// Adds lines; `false` when there is no room for them.
    fn add(&mut self, to: (&Scope, &str, &str, May), lines: Vec<(i64, String)>) -> bool {
        let (scope, group, stream, may) = to;
        let bytes: usize = lines
            .iter()
            .map(|(_, text)| text.len() + EVENT_OVERHEAD_BYTES)
            .sum();
        if self.bytes + bytes > WAITING_BYTES_MAX {
            return false;
        }
        let same = |last: &&mut Batch| {
            let to = &last.to;
            to.stream == stream && to.group == group && to.scope == *scope && to.may == may
        };
        // Mostly the lines of one environment follow each other.
        if let Some(last) = self.batches.last_mut().filter(same) {
            push_events(&mut last.events, lines);
        } else if self.batches.len() < WAITING_BATCHES_MAX {
            let to = Destination {
                scope: scope.clone(),
                group: group.to_owned(),
                stream: stream.to_owned(),
                may,
            };
            let mut events = Vec::with_capacity(lines.len());
            push_events(&mut events, lines);
            self.batches.push(Batch { to, events });
        } else {
            return false;
        }
        self.bytes += bytes;
        true
    }
}

/// What both sides share.
#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something waits that did not before.
    some: Notify,
    /// Somebody waits for it.
    hurry: Notify,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Lines are added whole or not at all, so a panic elsewhere leaves it whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    shared: Arc<Shared>,
    pub(crate) counts: Arc<Counts>,
}

/// Where they come out.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    counts: Arc<Counts>,
    archive: Archive,
}

pub(crate) fn channel(archive: Archive) -> (Lines, Writer) {
    let lines = Lines {
        shared: Arc::default(),
        counts: Arc::default(),
    };
    let writer = Writer {
        shared: lines.shared.clone(),
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
        if count == 0 {
            return;
        }
        let mut waiting = self.shared.waiting();
        let first = waiting.batches.is_empty();
        if waiting.add((at, group, stream, may), lines) {
            drop(waiting);
            if first {
                self.shared.some.notify_one();
            }
            return;
        }
        drop(waiting);
        let dropped = self.counts.dropped_full.fetch_add(count, Ordering::Relaxed);
        if dropped == 0 {
            tracing::warn!(
                group,
                "log lines are dropped: they come faster than the disk takes them"
            );
        }
    }

    /// Resolves when everything sent before is stored, or can never be.
    pub(crate) async fn flush(&self) {
        let (done, stored) = oneshot::channel();
        {
            let mut waiting = self.shared.waiting();
            if waiting.abandoned {
                return;
            }
            waiting.flushes.push(done);
        }
        self.shared.some.notify_one();
        self.shared.hurry.notify_one();
        // An error says that the writer has gone, and nothing will be stored any more.
        let _ = stored.await;
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.shared.waiting().closed = true;
        self.shared.some.notify_one();
        self.shared.hurry.notify_one();
    }
}

impl Drop for Writer {
    /// Whoever waits is let go.
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting();
        waiting.abandoned = true;
        waiting.flushes.clear();
    }
}

/// Empty lines are no events, as in CloudWatch Logs; what is too long for one event becomes several.
fn push_events(events: &mut Vec<NewEvent>, lines: Vec<(i64, String)>) {
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
}

impl Writer {
    /// Stores until nothing more will come.
    pub(crate) async fn run(self) {
        let mut more = true;
        while more {
            self.shared.some.notified().await;
            // Whoever waits waits for one write together with all who ask by now.
            tokio::select! {
                () = tokio::time::sleep(LINGER) => {}
                () = self.shared.hurry.notified() => {}
            }
            more = self.store().await;
        }
    }

    /// Stores what waits. Tells whether more can come.
    async fn store(&self) -> bool {
        let (batches, bytes, flushes, closed) = {
            let mut waiting = self.shared.waiting();
            let batches = std::mem::take(&mut waiting.batches);
            let flushes = std::mem::take(&mut waiting.flushes);
            (batches, waiting.bytes, flushes, waiting.closed)
        };
        let mut by_stream: HashMap<Destination, Vec<NewEvent>> = HashMap::new();
        for batch in batches {
            by_stream.entry(batch.to).or_default().extend(batch.events);
        }
        stream::iter(by_stream)
            .for_each_concurrent(WRITES_AT_ONCE, |(to, events)| self.store_stream(to, events))
            .await;
        self.shared.waiting().bytes -= bytes;
        for done in flushes {
            // Whoever asked may no longer want to know.
            let _ = done.send(());
        }
        !closed
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
