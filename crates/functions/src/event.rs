//! Asynchronous invocations. An event is in a durable queue before it is acknowledged, and leaves it after it was handled
//! (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>).
//!
//! Each function has a queue, so that one that is slow or throttled holds up nobody else; a queue has a worker for as
//! long as it has events. A function's error is tried again after one and after two minutes; when the event cannot even
//! be let in, it goes back to the queue until it is too old, and uses up none of these attempts.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use store::Leased;
use tokio::sync::Notify;
use wire::{Arn, Scope};

use crate::destination::{Condition, Ending, Response};
use crate::error::Error;
use crate::invoke::{Call, Done};
use crate::name::LATEST;
use crate::record::{EVENTS, event_queue, read_key};
use crate::state::{Function, version_number};
use crate::{Functions, Inner, Worker, recursion};

/// Events of one function that run at once, whatever its concurrency.
const RUNNING_MAX: usize = 1000;
/// Events taken from a queue at once.
const LEASE_MAX: usize = 10;
/// How long nobody else gets an event that is being handled; extended for as long as it runs.
const LEASE: Duration = Duration::from_secs(60);
/// How often the lease of a running event is extended.
const EXTEND_EVERY: Duration = Duration::from_secs(20);
/// How old an event gets, unless configured.
const AGE_MAX_MS: i64 = 6 * 3600 * 1000;
/// Waits before the second and the third attempt after a function's error.
const RETRY_AFTER_MS: [i64; 2] = [60_000, 120_000];
/// First and last wait of an event that was not let in.
const BACK_OFF_MS: (i64, i64) = (1000, 300_000);
/// What dead letters say of events that never ran.
const NO_CONCURRENCY: (u16, &str) = (429, "The function's reserved concurrency is zero.");
const TOO_OLD: (u16, &str) = (
    429,
    "The event is older than the function's maximum event age.",
);
/// How long an event waits that has run but whose result cannot be sent; it then runs again.
const RESULT_AGAIN_MS: i64 = 60_000;
/// How long a worker waits after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// What is kept of an event beside its payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Header {
    request_id: String,
    qualifier: Option<String>,
    /// As the caller named the function.
    arn: String,
    trace_id: Option<String>,
    accepted_ms: i64,
    /// Attempts that ended with the function's error.
    errors: usize,
    #[serde(default)]
    origin: Origin,
}

/// Where an event came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// An invocation, which has a request id of its own.
    #[default]
    Invocation,
    /// The courier, which brings a delivery again when it does not know that it was taken.
    Delivery,
}

/// An event as it is in the queue: the length of the header, the header as JSON, the payload as it came.
struct Event {
    header: Header,
    payload: Bytes,
}

impl Event {
    fn encode(&self) -> Result<Bytes, Error> {
        let header =
            serde_json::to_vec(&self.header).map_err(|e| Error::Internal(e.to_string()))?;
        let length = u32::try_from(header.len()).map_err(|e| Error::Internal(e.to_string()))?;
        let mut whole = BytesMut::with_capacity(4 + header.len() + self.payload.len());
        whole.put_u32(length);
        whole.put_slice(&header);
        whole.put_slice(&self.payload);
        Ok(whole.freeze())
    }

    fn decode(mut whole: Bytes) -> Option<Event> {
        let length = whole.split_to_checked(4)?;
        let length = u32::from_be_bytes(length.as_ref().try_into().ok()?);
        let header = whole.split_to_checked(usize::try_from(length).ok()?)?;
        Some(Event {
            header: serde_json::from_slice(&header).ok()?,
            payload: whole,
        })
    }

    /// Names the event in its queue: once for each attempt, so that a repeated push does nothing.
    fn id(&self) -> String {
        format!("{}#{}", self.header.request_id, self.header.errors)
    }
}

trait SplitChecked {
    fn split_to_checked(&mut self, at: usize) -> Option<Bytes>;
}

impl SplitChecked for Bytes {
    fn split_to_checked(&mut self, at: usize) -> Option<Bytes> {
        (at <= self.len()).then(|| self.split_to(at))
    }
}

/// The queues that have a worker.
#[derive(Default)]
pub(crate) struct Workers(Mutex<HashSet<String>>);

impl Workers {
    fn enter(&self, queue: &str) -> bool {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues.insert(queue.to_owned())
    }

    fn leave(&self, queue: &str) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues.remove(queue);
    }
}

/// How many events of a function run at once: no more than it has reserved, and no more than were let in lately, so that
/// a long queue does not wear itself out against the function's own limit.
struct Window {
    allowed: AtomicUsize,
    running: AtomicUsize,
    ended: Notify,
}

impl Window {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            allowed: AtomicUsize::new(RUNNING_MAX),
            running: AtomicUsize::new(0),
            ended: Notify::new(),
        })
    }

    /// Waits until one more may run, and says how many may. Only the queue's worker asks.
    async fn room(&self, reserved: Option<u32>) -> usize {
        let reserved = reserved.and_then(|reserved| usize::try_from(reserved).ok());
        let most = reserved.unwrap_or(RUNNING_MAX).clamp(1, RUNNING_MAX);
        loop {
            // Asks to be woken before looking, so that an end in between is not missed.
            let ended = self.ended.notified();
            let allowed = self.allowed.load(Ordering::Relaxed).min(most);
            let room = allowed.saturating_sub(self.running.load(Ordering::Relaxed));
            if room > 0 {
                return room;
            }
            ended.await;
        }
    }

    fn begin(&self, count: usize) {
        self.running.fetch_add(count, Ordering::Relaxed);
    }

    fn end(&self, throttled: bool) {
        let left = self.running.fetch_sub(1, Ordering::Relaxed) - 1;
        let allowed = match throttled {
            // What still runs is what was let in.
            true => left.max(1),
            false => (self.allowed.load(Ordering::Relaxed) + 1).min(RUNNING_MAX),
        };
        self.allowed.store(allowed, Ordering::Relaxed);
        self.ended.notify_one();
    }
}

impl Functions {
    /// Puts an event on the disk. When this returns it will be handled, whatever happens.
    pub(crate) async fn push_event(
        &self,
        call: &Call,
        qualifier: Option<&str>,
        payload: Bytes,
        origin: Origin,
    ) -> Result<(), Error> {
        let now_ms = self.inner.clock.now_ms();
        let event = Event {
            header: Header {
                request_id: call.request_id.clone(),
                qualifier: qualifier.map(str::to_owned),
                arn: call.arn.to_string(),
                trace_id: call.trace_id.clone(),
                accepted_ms: now_ms,
                errors: 0,
                origin,
            },
            payload,
        };
        let queue = event_queue(&call.function.at, &call.function.name);
        let body = event.encode()?;
        let queues = &self.inner.queues;
        if queues.push(&queue, &event.id(), now_ms, body).await? {
            self.inner.meter.event_received(call, &self.inner);
        }
        self.serve_queue(queue);
        Ok(())
    }

    /// Gives a queue a worker, unless it has one.
    fn serve_queue(&self, queue: String) {
        if !self.inner.event_workers.enter(&queue) {
            return;
        }
        let functions = self.clone();
        self.inner.tasks.spawn(async move {
            functions.work(&queue).await;
        });
    }

    async fn work(&self, queue: &str) {
        let Some((at, name)) = read_key(EVENTS, queue) else {
            tracing::error!(queue, "a queue of events has an odd name");
            return;
        };
        let window = Window::new();
        let closing = self.inner.closing.clone();
        while !closing.is_cancelled() {
            let round = tokio::select! {
                round = self.round(&at, &name, queue, &window) => round,
                () = closing.cancelled() => return,
            };
            match round {
                Ok(true) => {}
                Ok(false) => {
                    // Left before the last look, so that a push in between finds a worker: this one or a new one.
                    self.inner.event_workers.leave(queue);
                    let empty = match self.inner.queues.depth(queue).await {
                        Ok(depth) => depth.live() == 0,
                        Err(_) => false,
                    };
                    if empty || !self.inner.event_workers.enter(queue) {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, queue, "could not take events");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// Takes what is due and begins to handle it, or waits for more; `false` when there is nothing left at all.
    async fn round(
        &self,
        at: &Scope,
        name: &str,
        queue: &str,
        window: &Arc<Window>,
    ) -> Result<bool, Error> {
        let function = self.inner.functions.get(at, name);
        let reserved = function.and_then(|function| function.record.reserved_concurrency);
        let room = window.room(reserved).await.min(LEASE_MAX);
        let leased = self.inner.queues.lease(queue, room, LEASE).await?;
        if leased.is_empty() {
            if self.inner.queues.depth(queue).await?.live() == 0 {
                return Ok(false);
            }
            self.inner.queues.ready(queue).await?;
            return Ok(true);
        }
        window.begin(leased.len());
        for event in leased {
            let (functions, at, name) = (self.clone(), at.clone(), name.to_owned());
            let window = Arc::clone(window);
            self.inner.tasks.spawn(async move {
                let throttled = functions.handle(&at, &name, event).await;
                window.end(throttled);
            });
        }
        Ok(true)
    }

    /// Handles one event and says so to the queue. What cannot be said is handled again: at least once. Returns whether
    /// the event was not let in.
    async fn handle(&self, at: &Scope, name: &str, leased: Leased) -> bool {
        let queues = &self.inner.queues;
        let Some(event) = Event::decode(leased.body.clone()) else {
            let buried = queues.bury(&leased.token, "the event cannot be read").await;
            tracing::error!(
                function = name,
                id = leased.id,
                ?buried,
                "an event is damaged"
            );
            return false;
        };
        let verdict = self.attempt(at, name, &event, &leased).await;
        let put_back = matches!(verdict, Verdict::Later(_));
        if !put_back {
            // What the function logged is on disk before the event is gone: a crash shows the one or runs the other again.
            self.inner.telemetry.flush_lines().await;
        }
        let told = match verdict {
            Verdict::Done => self.done(&event, &leased).await,
            Verdict::Later(not_before_ms) => queues.retry(&leased.token, not_before_ms).await,
            Verdict::Again(next, not_before_ms) => {
                self.push_again(at, name, &event, &next, not_before_ms, &leased)
                    .await
            }
        };
        if let Err(error) = told {
            tracing::warn!(%error, function = name, "an event will be handled again");
        }
        put_back
    }

    async fn push_again(
        &self,
        at: &Scope,
        name: &str,
        event: &Event,
        next: &Event,
        not_before_ms: i64,
        leased: &Leased,
    ) -> store::Result<()> {
        let queue = event_queue(at, name);
        let Ok(body) = next.encode() else {
            return self.inner.queues.retry(&leased.token, not_before_ms).await;
        };
        let queues = &self.inner.queues;
        queues.push(&queue, &next.id(), not_before_ms, body).await?;
        self.done(event, leased).await
    }

    /// The attempt is over.
    async fn done(&self, event: &Event, leased: &Leased) -> store::Result<()> {
        let queues = &self.inner.queues;
        match event.header.origin {
            Origin::Invocation => queues.ack(&leased.token).await,
            Origin::Delivery => {
                let until_ms = self.inner.clock.now_ms() + delivery::REPEATS_MS;
                queues.ack_once(&leased.token, until_ms).await
            }
        }
    }

    async fn attempt(&self, at: &Scope, name: &str, event: &Event, leased: &Leased) -> Verdict {
        let now_ms = self.inner.clock.now_ms();
        let header = &event.header;
        let Some(function) = self.inner.functions.get(at, name) else {
            tracing::info!(function = name, "an event's function is gone");
            return Verdict::Done;
        };
        let call = Call {
            function,
            arn: Arn::parse(&header.arn).unwrap_or_else(Arn::any),
            request_id: header.request_id.clone(),
            trace_id: header.trace_id.clone(),
        };
        let age_ms = now_ms - header.accepted_ms;
        let limits = Limits::of(&call.function, header.qualifier.as_deref());
        let end = if call.function.record.reserved_concurrency == Some(0) {
            End::new(Condition::ZeroReservedConcurrency, NO_CONCURRENCY)
        } else if age_ms > limits.age_max_ms {
            End::new(Condition::EventAgeExceeded, TOO_OLD)
        } else if recursion::is_loop(&call.function, header.trace_id.as_deref()) {
            self.inner.meter.recursion_dropped(&call, &self.inner);
            let why = (400, Error::Recursive.to_string());
            End::new(Condition::RecursiveInvocation, why)
        } else {
            self.inner.meter.event_age(&call, age_ms, &self.inner);
            let result = self.run_leased(&call, event, leased).await;
            return self.verdict(&call, event, leased, &limits, result).await;
        };
        self.end(&call, event, end, None).await
    }

    /// Runs the function, and keeps the lease meanwhile.
    async fn run_leased(&self, call: &Call, event: &Event, leased: &Leased) -> Result<Done, Error> {
        let qualifier = event.header.qualifier.as_deref();
        let run = self.call(call, qualifier, event.payload.clone(), None, false);
        tokio::pin!(run);
        loop {
            tokio::select! {
                done = &mut run => return done,
                () = tokio::time::sleep(EXTEND_EVERY) => {
                    if let Err(error) = self.inner.queues.extend(&leased.token, LEASE).await {
                        tracing::warn!(%error, "the lease of a running event was not extended");
                    }
                }
            }
        }
    }

    async fn verdict(
        &self,
        call: &Call,
        event: &Event,
        leased: &Leased,
        limits: &Limits,
        result: Result<Done, Error>,
    ) -> Verdict {
        let now_ms = self.inner.clock.now_ms();
        let header = &event.header;
        let done = match result {
            Ok(done) => done,
            Err(Error::FunctionNotFound(arn)) => {
                tracing::info!(%arn, request = header.request_id, "an event's version is gone");
                self.inner.meter.event_dropped(call, &self.inner);
                return Verdict::Done;
            }
            Err(error) => {
                tracing::debug!(%error, function = call.function.name, "event put back");
                return Verdict::Later(now_ms + back_off_ms(leased.attempts));
            }
        };
        let condition = if done.outcome.function_error.is_none() {
            Condition::Success
        } else {
            match limits.wait_ms(header.errors) {
                Some(wait_ms) if now_ms + wait_ms - header.accepted_ms <= limits.age_max_ms => {
                    let mut header = header.clone();
                    header.errors += 1;
                    let payload = event.payload.clone();
                    return Verdict::Again(Event { header, payload }, now_ms + wait_ms);
                }
                Some(_) => Condition::EventAgeExceeded,
                None => Condition::RetriesExhausted,
            }
        };
        let end = End::new(condition, (200, error_message(&done.outcome.payload)));
        self.end(call, event, end, Some(&done)).await
    }

    /// Sends what the end of an event gives rise to, and only then forgets the event.
    async fn end(&self, call: &Call, event: &Event, end: End, done: Option<&Done>) -> Verdict {
        let (header, inner) = (&event.header, &self.inner);
        let qualifier = header.qualifier.as_deref();
        let version = match done {
            Some(done) => version_number(&done.executed_version),
            None => call
                .target(qualifier, (inner.config.random)())
                .unwrap_or_default(),
        };
        let content = match version {
            Some(number) => call.function.version(number).map(|content| &**content),
            None => Some(&call.function.record.latest),
        };
        let ran = u32::from(done.is_some());
        let trace_id = call.seen_trace_id();
        let ending = Ending {
            function: &call.function,
            qualifier,
            role: content.map_or("", |content| &content.role),
            dead_letter: content.and_then(|content| content.dead_letter.as_deref()),
            request_id: &header.request_id,
            trace_id: trace_id.as_deref(),
            payload: &event.payload,
            condition: end.condition,
            invoke_count: u32::try_from(header.errors).unwrap_or(u32::MAX) + ran,
            response: done.map(|done| Response {
                executed_version: &done.executed_version,
                function_error: done.outcome.function_error.as_ref().map(|e| e.as_str()),
                payload: &done.outcome.payload,
            }),
            error: end.error,
        };
        if let Err(error) = inner.conclude(&ending).await {
            tracing::error!(%error, function = call.function.name, request = header.request_id, "an event is kept, as its result cannot be sent");
            return Verdict::Later(inner.clock.now_ms() + RESULT_AGAIN_MS);
        }
        if end.condition != Condition::Success {
            let (function, request) = (&call.function.name, &header.request_id);
            tracing::info!(function, request, condition = ?end.condition, "event dropped");
            inner.meter.event_dropped(call, inner);
        }
        Verdict::Done
    }
}

/// How often and how long events are tried.
struct Limits {
    retries_max: usize,
    age_max_ms: i64,
}

impl Limits {
    fn of(function: &Function, qualifier: Option<&str>) -> Self {
        let key = qualifier.unwrap_or(LATEST);
        let config = function.record.event_invoke.get(key);
        let age = config.and_then(|config| config.age_max_seconds);
        Self {
            retries_max: config
                .and_then(|config| config.retries_max)
                .unwrap_or(RETRY_AFTER_MS.len()),
            age_max_ms: age.map_or(AGE_MAX_MS, |seconds| seconds * 1000),
        }
    }

    /// The wait before the next attempt, after so many errors before the last one.
    fn wait_ms(&self, errors: usize) -> Option<i64> {
        let waits = RETRY_AFTER_MS.iter().take(self.retries_max);
        waits.copied().nth(errors)
    }
}

/// How an event ends.
struct End {
    condition: Condition,
    /// For the dead letter: a status and a sentence.
    error: (u16, String),
}

impl End {
    fn new(condition: Condition, (status, message): (u16, impl Into<String>)) -> Self {
        Self {
            condition,
            error: (status, message.into()),
        }
    }
}

/// The message in the answer of a function that failed.
fn error_message(payload: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Failed {
        error_message: Option<String>,
    }
    let failed = serde_json::from_slice::<Failed>(payload);
    failed
        .ok()
        .and_then(|failed| failed.error_message)
        .unwrap_or_default()
}

/// What is to become of an event.
enum Verdict {
    Done,
    /// The same again, at this time.
    Later(i64),
    /// A further attempt, at this time.
    Again(Event, i64),
}

fn back_off_ms(attempts: u32) -> i64 {
    let (first, last) = BACK_OFF_MS;
    let doublings = attempts.saturating_sub(1).min(16);
    (first << doublings).min(last)
}

/// Gives every queue that has events a worker when Mayfly starts.
pub(crate) fn starter(inner: Arc<Inner>) -> Worker {
    Worker {
        name: "asynchronous events",
        run: Box::pin(async move {
            const PAGE: usize = 1000;
            let functions = Functions { inner };
            let mut after: Option<String> = None;
            loop {
                let queues = &functions.inner.queues;
                match queues.list(EVENTS, after.as_deref(), PAGE).await {
                    Ok(page) if page.is_empty() => return,
                    Ok(page) => {
                        after = page.last().cloned();
                        for queue in page {
                            functions.serve_queue(queue);
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "could not list the queues of events");
                        tokio::time::sleep(STORE_PAUSE).await;
                    }
                }
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_queue() {
        let event = Event {
            header: Header {
                request_id: "r".to_owned(),
                qualifier: Some("prod".to_owned()),
                arn: String::new(),
                trace_id: None,
                accepted_ms: 5,
                errors: 1,
                origin: Origin::Delivery,
            },
            payload: Bytes::from_static(b"{\"a\": 1}"),
        };
        let whole = event.encode().expect("it encodes");
        let read = Event::decode(whole.clone()).expect("it decodes");
        assert_eq!(
            (read.id().as_str(), &*read.payload),
            ("r#1", b"{\"a\": 1}".as_slice())
        );
        for end in 0..20 {
            assert!(Event::decode(whole.slice(..end)).is_none());
        }
        assert!(Event::decode(Bytes::from_static(b"\xff\xff\xff\xff")).is_none());
    }

    #[tokio::test]
    async fn no_more_run_than_are_let_in() {
        let window = Window::new();
        assert_eq!(window.room(Some(2)).await, 2);
        assert_eq!(window.room(Some(0)).await, 1);
        assert_eq!(window.room(None).await, RUNNING_MAX);
        window.begin(10);
        // Eight of ten are turned away, so two is what fits.
        for _ in 0..8 {
            window.end(true);
        }
        let full = tokio::time::timeout(Duration::ZERO, window.room(None)).await;
        assert!(full.is_err());
        // Each that ends well makes room for itself and one more.
        window.end(false);
        assert_eq!(window.room(None).await, 2);
        window.end(false);
        assert_eq!(window.room(None).await, 4);
    }

    #[test]
    fn the_wait_grows_to_five_minutes() {
        let waits: Vec<i64> = (1..=11).map(|n| back_off_ms(n) / 1000).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }
}
