//! One invocation: the *Busy* state of an environment.
//!
//! The caller's own task drives the runtime's connection, so an event and its answer cost no hand-over between tasks.
//! When the caller goes away half-way, the rest runs in a task of its own: a function that began is never cut short.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::admission::Slot;
use crate::api::{Happening, RuntimeError, error_document, too_large};
use crate::environment::{Environment, INIT_LIMIT, Idle, Signal};
use crate::failure::{Failure, misses_sdk};
use crate::log::{InitReport, iso_now, now_ms, whole_ms};
use crate::pool::{Pile, Start};
use crate::provision::{AtWork, ProvisionedUse};
use crate::shared::Shared;
use crate::spec::{
    FunctionError, FunctionSpec, Initialization, Invocation, Mode, Outcome, Part,
    RESPONSE_BYTES_MAX, Refusal, Report, Status, Unprepared,
};
use crate::templates::PREPARE_LIMIT_MIN;

/// How long the answer of a failed invocation waits for its environment to be reset.
const RECOVER_LIMIT: Duration = Duration::from_millis(100);

/// Largest streamed answer (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html>).
const STREAM_BYTES_MAX: usize = 200 << 20;

/// AWS's managed runtimes bring the SDK along; here it is added by a step of its own, and many functions rely on it.
fn advise_about_sdk(environment: &Environment) {
    let runtime = &environment.spec.runtime;
    if runtime.sdk.is_none() {
        let id = runtime.id;
        environment.log.advice(&format!(
            "Mayfly: the runtime {id} has no boto3 yet. Add it, and start the server again: mayfly runtime add-sdk {id}"
        ));
    }
}

/// Runs an invocation, if it is let in.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    spec: &Arc<FunctionSpec>,
    invocation: Invocation,
) -> Result<Outcome, Refusal> {
    let (key, settling) = (&spec.key, &shared.settling);
    let provisioned = || take_provisioned(shared, key).ok_or(NoneIdle);
    if let Ok(environment) = settling.until(key, Pile::Provisioned, provisioned).await {
        // Its concurrency was set aside when it was made.
        let slot = shared.admission.enter_kept(spec, &shared.invocations);
        return Ok(Busy::begin(environment, invocation, slot).complete().await);
    }
    // An invocation that has answered holds its concurrency until it has settled.
    let enter = || shared.admission.enter(spec, &shared.invocations);
    let slot = settling.until(key, Pile::OnDemand, enter).await;
    let slot = slot.map_err(Refusal::Throttled)?;
    let idle = || take_idle(shared, key).ok_or(NoneIdle);
    if let Ok(environment) = settling.until(key, Pile::OnDemand, idle).await {
        let busy = Busy::begin(environment, invocation, slot);
        if busy.environment.booted {
            return Ok(busy.complete().await);
        }
        return detached(shared, Box::pin(async { Ok(busy.complete().await) })).await;
    }
    let (shared, spec) = (shared.clone(), spec.clone());
    let owned = shared.clone();
    let work = Box::pin(async move { cold(&shared, &spec, invocation, slot).await });
    detached(&owned, work).await
}

/// There is no environment to take.
struct NoneIdle;

fn take_provisioned(shared: &Arc<Shared>, key: &str) -> Option<Environment> {
    if !shared.provisions.any() {
        return None;
    }
    let kept = || shared.pool.take(key, Pile::Provisioned);
    std::iter::from_fn(kept).find_map(|idle| woken(shared, idle))
}

fn take_idle(shared: &Arc<Shared>, key: &str) -> Option<Environment> {
    while let Some(idle) = shared.pool.take(key, Pile::OnDemand) {
        let since = idle.since;
        if let Some(environment) = woken(shared, idle) {
            environment.version.begins(shared.now(), Some(since));
            return Some(environment);
        }
    }
    None
}

/// The environment, if it is still good for an invocation.
fn woken(shared: &Arc<Shared>, idle: Idle) -> Option<Environment> {
    let mut environment = idle.environment;
    if environment.usable() && environment.wake().is_ok() {
        return Some(environment);
    }
    shared.tasks.spawn(environment.stop("spindown"));
    None
}

type Work = Pin<Box<dyn Future<Output = Result<Outcome, Refusal>> + Send>>;

/// Work that is worth finishing even when the caller goes away, as a start is: the caller's task does it, without handing it
/// over, and a task of its own when that ends. Boxed, so that invocations without a start do not carry the room for one about.
struct Detached {
    shared: Arc<Shared>,
    work: Option<Work>,
}

impl Future for Detached {
    type Output = Result<Outcome, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        // Not there while it is polled, so that nobody goes on with it after a panic.
        let Some(mut work) = self.work.take() else {
            let why = "the work is done, or ended in a panic".to_owned();
            return Poll::Ready(Err(Refusal::Internal(why)));
        };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.shared.tasks.spawn(work);
        }
    }
}

fn detached(shared: &Arc<Shared>, work: Work) -> Detached {
    Detached {
        shared: shared.clone(),
        work: Some(work),
    }
}

/// Makes an environment first.
async fn cold(
    shared: &Arc<Shared>,
    spec: &Arc<FunctionSpec>,
    invocation: Invocation,
    slot: Slot,
) -> Result<Outcome, Refusal> {
    let start = Start::new(shared, spec);
    let (turn, waited) = shared.turns.wait().await;
    // Another invocation may have left its environment meanwhile.
    if waited && let Some(environment) = take_idle(shared, &spec.key) {
        drop(turn);
        return Ok(Busy::begin(environment, invocation, slot).complete().await);
    }
    let version = shared.prediction.version(spec);
    version.begins(shared.now(), None);
    let room = shared.make_room(spec.memory_mb).await?;
    let (initialization, trace_id) = (spec.initialization, invocation.trace_id.as_deref());
    let mut environment = Environment::create(&start, room, initialization, trace_id).await?;
    match environment.boot(INIT_LIMIT, trace_id).await {
        Ok(()) => environment.started_in(environment.boot_time()),
        // As on AWS the invocation has not begun then. The next one is restored anew.
        Err(failure) if environment.is_restored() => {
            environment.log.drain_to_end();
            environment
                .log
                .restore_report(environment.boot_time(), Some(&failure));
            environment.stop("failure").await;
            return Err(match failure {
                Failure::Timeout(_) => Refusal::RestoreTimeout,
                other => Refusal::NotRestored(other.error_type().to_owned()),
            });
        }
        Err(failure) => {
            report_init(
                &environment,
                environment.boot_time(),
                "init",
                Some(&failure),
            );
            if !environment.reset().await {
                // The sandbox died with the runtime, as it does when memory runs out: take a new one.
                environment.stop("failure").await;
                let room = shared.make_room(spec.memory_mb).await?;
                environment = Environment::create(&start, room, initialization, trace_id).await?;
            }
        }
    }
    drop((start, turn));
    Ok(Busy::begin(environment, invocation, slot).complete().await)
}

/// Runs init ahead of any invocation and keeps the environment; tells how long init took.
pub(crate) async fn init_ahead(
    shared: &Arc<Shared>,
    spec: &Arc<FunctionSpec>,
) -> Result<Duration, Unprepared> {
    let (owned, spec) = (shared.clone(), spec.clone());
    let work = async move {
        let start = Start::new(&owned, &spec);
        let room = owned.make_room(spec.memory_mb).await?;
        let mut environment = Environment::create(&start, room, spec.initialization, None).await?;
        let limit = spec.timeout.max(PREPARE_LIMIT_MIN);
        let booted = environment.boot(limit, None).await;
        let init_duration = environment.boot_time();
        report_init(&environment, init_duration, "init", booted.as_ref().err());
        if let Err(failure) = booted {
            environment.stop("failure").await;
            return Err(Unprepared::Init {
                error_type: failure.error_type().to_owned(),
                document: failure.document("").body,
            });
        }
        // With SnapStart the publishing of the version has reported it.
        let on_demand = spec.initialization == Initialization::OnDemand;
        environment.init_duration = on_demand.then_some(init_duration);
        environment.throttle();
        owned.give(environment);
        Ok(init_duration)
    };
    // In a task of its own: a start is worth finishing even when the caller goes away.
    let done = shared.tasks.spawn(work).await;
    done.unwrap_or_else(|error| Err(Refusal::Internal(error.to_string()).into()))
}

/// Makes an environment for a call that is expected. `since` is when the version was last used. What goes wrong is for
/// the call to find out.
pub(crate) async fn make_ahead(
    shared: &Arc<Shared>,
    spec: &Arc<FunctionSpec>,
    since: Duration,
) -> Result<(), Refusal> {
    let Some(room) = shared.room_to_spare(spec.memory_mb) else {
        return Ok(());
    };
    let start = Start::new(shared, spec);
    let mut environment = Environment::create(&start, room, spec.initialization, None).await?;
    let booted = environment.boot(INIT_LIMIT, None).await;
    let duration = environment.boot_time();
    report_init(&environment, duration, "init", booted.as_ref().err());
    match booted {
        Ok(()) => {
            environment.init_duration = Some(duration);
            environment.throttle();
            shared.put(environment, since);
        }
        Err(_) => environment.stop("failure").await,
    }
    Ok(())
}

/// Tells how an init phase went.
pub(crate) fn report_init(
    environment: &Environment,
    duration: Duration,
    phase: &str,
    failure: Option<&Failure>,
) {
    environment.log.drain_to_end();
    if failure.is_some_and(Failure::misses_sdk) {
        advise_about_sdk(environment);
    }
    environment.log.init_report(&InitReport {
        duration,
        phase,
        status: failure.map_or(Status::Success, Failure::status),
        error_type: failure.map(Failure::error_type),
    });
}

/// How long the first invocation of an environment runs before it is held to its share of CPU, and before the next sandbox
/// is made: most are over by then.
pub(crate) const GRACE: Duration = Duration::from_millis(1);

/// An environment at work on one invocation.
pub(crate) struct Busy {
    environment: Environment,
    invocation: Invocation,
    _slot: Slot,
    provisioned: Option<ProvisionedUse>,
    _at_work: Option<AtWork>,
    began: Instant,
    deadline: Instant,
    /// How long it took, if that is known before it has settled.
    took: Option<Duration>,
    answer: Option<Answer>,
    failure: Option<Failure>,
    stream: Stream,
    produced: usize,
}

/// What the runtime said.
enum Answer {
    Success(Bytes),
    Streamed,
    Error(RuntimeError),
}

/// The parts of a streamed answer on their way.
enum Stream {
    None,
    /// To a caller who takes them as they come.
    Passed,
    /// For a caller who wants all at once.
    Collected(BytesMut),
    /// Already answered otherwise; the rest is thrown away.
    Ignored,
}

/// Finishes an invocation whose caller went away.
struct Guard(Option<Box<Busy>>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(busy) = self.0.take() {
            let shared = busy.environment.shared.clone();
            shared.tasks.spawn(async move {
                // Nobody is left to take the outcome; the log and the report have been told.
                let _ = busy.complete().await;
            });
        }
    }
}

impl Busy {
    /// Starts the clock and hands the event to the runtime, if it waits for one.
    fn begin(environment: Environment, invocation: Invocation, slot: Slot) -> Box<Busy> {
        let began = Instant::now();
        let spec = &environment.spec;
        environment.handle.tell();
        environment.log.start(
            &invocation.request_id,
            &spec.version,
            &invocation.invoked_arn,
            invocation.tail,
        );
        let (shared, key) = (&environment.shared, &spec.key);
        let at_work = environment.keep.as_ref();
        let at_work = at_work.map(|_| shared.provisions.at_work(shared, key));
        let provisioned = shared.provisions.use_of(key, at_work.is_some());
        let deadline = began + spec.timeout;
        let mut busy = Busy {
            environment,
            invocation,
            _slot: slot,
            provisioned,
            _at_work: at_work,
            began,
            deadline,
            took: None,
            answer: None,
            failure: None,
            stream: Stream::None,
            produced: 0,
        };
        if busy.environment.booted {
            busy.deliver();
        }
        Box::new(busy)
    }

    /// Runs to the end, gives the environment back, and tells what came of it.
    async fn complete(self: Box<Self>) -> Outcome {
        let mut guard = Guard(Some(self));
        let busy = guard
            .0
            .as_mut()
            .expect("it was put there in the line above");
        if !busy.environment.booted && busy.answer.is_none() && busy.failure.is_none() {
            busy.boot().await;
        }
        busy.tell_extensions().await;
        busy.until_answered().await;
        if busy.invocation.tail || busy.failure.is_some() {
            busy.settle().await;
        } else {
            // Our own bootstraps ask for the next event in the same write.
            let _ = busy.settle().now_or_never();
        }
        let mut busy = guard.0.take().expect("it is only taken here");
        if !busy.is_settled() {
            return busy.leave();
        }
        let report = busy.tell();
        let mut outcome = busy.outcome(report);
        outcome.log_tail = busy.environment.log.take_tail();
        if let Some(recovering) = busy.give_back() {
            // So that the next invocation in a row finds the environment that was reset, as on AWS. It goes on by
            // itself when extensions take their time.
            let _ = timeout(RECOVER_LIMIT, recovering).await;
        }
        outcome
    }

    /// Makes the outcome while the runtime or extensions have not asked for the next event.
    fn leave(mut self: Box<Self>) -> Outcome {
        // Of extensions the end is waited for; a runtime's way back to its next event is nobody's time.
        self.took = (!self.environment.has_extensions()).then(|| self.began.elapsed());
        let report = self.report();
        let outcome = self.outcome(report);
        let shared = self.environment.shared.clone();
        shared.settling.leave(self);
        shared.wake_janitor();
        outcome
    }

    /// Ends what has settled after its answer has left.
    pub(crate) async fn end(mut self: Box<Self>) {
        self.tell();
        if let Some(recovering) = self.give_back() {
            // A panic there has been reported.
            let _ = recovering.await;
        }
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Init inside of the invocation, under the function's own limit: the environment was reset, or its init failed.
    async fn boot(&mut self) {
        let limit = self.environment.spec.timeout;
        let trace_id = self.invocation.trace_id.clone();
        let booted = self.environment.boot(limit, trace_id.as_deref()).await;
        let elapsed = self.began.elapsed();
        report_init(&self.environment, elapsed, "invoke", booted.as_ref().err());
        match booted {
            Ok(()) => self.deliver(),
            Err(failure) => self.failure = Some(failure),
        }
    }

    /// Answers the runtime's waiting request for an event.
    fn deliver(&mut self) {
        let environment = &mut self.environment;
        let invocation = &self.invocation;
        let invocation_id = environment.shared.next_id().to_string();
        environment
            .api
            .begin(&invocation.request_id, &invocation_id);
        let Some(mut client) = environment.waiting.take() else {
            return;
        };
        let deadline_ms =
            now_ms() + i64::try_from(environment.spec.timeout.as_millis()).unwrap_or(i64::MAX / 2);
        let deadline_ms = deadline_ms.to_string();
        let mut headers = vec![
            (
                "Lambda-Runtime-Aws-Request-Id",
                invocation.request_id.as_str(),
            ),
            ("Lambda-Runtime-Deadline-Ms", &deadline_ms),
            (
                "Lambda-Runtime-Invoked-Function-Arn",
                &invocation.invoked_arn,
            ),
            ("Lambda-Runtime-Invocation-Id", &invocation_id),
        ];
        let optional = [
            ("Lambda-Runtime-Trace-Id", &invocation.trace_id),
            ("Lambda-Runtime-Client-Context", &invocation.client_context),
            (
                "Lambda-Runtime-Cognito-Identity",
                &invocation.cognito_identity,
            ),
        ];
        headers.extend(
            optional
                .iter()
                .filter_map(|(name, value)| Some((*name, value.as_deref()?))),
        );
        client
            .connection
            .reply(crate::http::OK, &headers, &invocation.payload);
        client.connection.send();
        environment.active = Some(client);
        if std::mem::replace(&mut environment.tried, true) {
            environment.throttle();
        }
    }

    async fn tell_extensions(&mut self) {
        if self.failure.is_some() {
            return;
        }
        let limit_ms =
            i64::try_from(self.environment.spec.timeout.as_millis()).unwrap_or(i64::MAX / 2);
        let event = || {
            json!({
                "eventType": "INVOKE",
                "deadlineMs": now_ms() + limit_ms,
                "requestId": self.invocation.request_id,
                "invokedFunctionArn": self.invocation.invoked_arn,
                "tracing": {"type": "X-Amzn-Trace-Id", "value": self.invocation.trace_id.as_deref().unwrap_or("")},
            })
        };
        if self.environment.has_extensions() {
            let event = event();
            self.environment.tell_extensions(&event, false).await;
        }
    }

    async fn until_answered(&mut self) {
        while self.answer.is_none() && self.failure.is_none() {
            self.one_signal().await;
        }
    }

    /// Waits until the runtime and every extension ask for the next event.
    pub(crate) async fn settle(&mut self) {
        while !self.is_settled() {
            self.one_signal().await;
        }
    }

    fn is_settled(&self) -> bool {
        self.failure.is_some()
            || (self.environment.waiting.is_some() && self.environment.extensions_ready())
    }

    async fn one_signal(&mut self) {
        let until = match self.environment.throttled {
            true => self.deadline,
            false => self.deadline.min(self.began + GRACE),
        };
        match timeout_at(until, self.environment.next_signal()).await {
            Err(_) if until < self.deadline => {
                self.environment.throttle();
                self.environment.shared.slots.look_again_if_taken();
            }
            Err(_) => self.failure = Some(Failure::Timeout(self.environment.spec.timeout)),
            Ok(Signal::Failed(failure)) => {
                // A runtime may answer and end; its answer counts.
                for word in self.environment.last_words().await {
                    if let Signal::Told(told) = word {
                        self.told(told).await;
                    }
                }
                self.failure.get_or_insert(failure);
            }
            Ok(Signal::Told(told)) => self.told(told).await,
            Ok(Signal::Waiting | Signal::Extension) => {}
        }
    }

    async fn told(&mut self, told: Happening) {
        match told {
            Happening::Answer(body) => {
                self.produced = body.len();
                self.answered(Answer::Success(body)).await;
            }
            Happening::AnswerTooLarge => self.answer = Some(Answer::Error(too_large())),
            Happening::Error(error) => self.answer = Some(Answer::Error(error)),
            Happening::StreamStart { content_type } => self.stream_start(content_type).await,
            Happening::StreamChunk(chunk) => self.stream_chunk(chunk).await,
            Happening::StreamEnd { error } => self.stream_end(error),
            Happening::StreamBroken => {
                let text = format!(
                    "RequestId: {} Error: the response ended before it was complete",
                    self.invocation.request_id
                );
                self.stream_end(Some(error_document("Runtime.TruncatedResponse", &text)));
            }
            // Init errors are refused once init is over, and the rest is not for an invocation.
            _ => {}
        }
    }

    /// A caller who wants a stream gets a whole answer as a stream of one part.
    async fn answered(&mut self, answer: Answer) {
        self.answer = Some(match (answer, &self.invocation.mode) {
            (Answer::Success(body), Mode::Streaming(_)) => {
                self.pass_on(Part::Head {
                    content_type: Some("application/json".to_owned()),
                })
                .await;
                self.pass_on(Part::Chunk(body)).await;
                Answer::Streamed
            }
            (answer, _) => answer,
        });
    }

    async fn stream_start(&mut self, content_type: Option<String>) {
        self.stream = match self.invocation.mode {
            Mode::Buffered => Stream::Collected(BytesMut::new()),
            Mode::Streaming(_) => Stream::Passed,
        };
        if matches!(self.stream, Stream::Passed) {
            self.pass_on(Part::Head { content_type }).await;
        }
    }

    async fn stream_chunk(&mut self, chunk: Bytes) {
        self.produced += chunk.len();
        match &mut self.stream {
            Stream::Passed if self.produced > STREAM_BYTES_MAX => {
                self.stream = Stream::Ignored;
                let text = format!(
                    "Response payload size exceeded maximum allowed payload size ({STREAM_BYTES_MAX} bytes)."
                );
                self.answer = Some(Answer::Error(error_document(
                    "Function.ResponseSizeTooLarge",
                    &text,
                )));
            }
            Stream::Passed => self.pass_on(Part::Chunk(chunk)).await,
            Stream::Collected(all) if all.len() + chunk.len() <= RESPONSE_BYTES_MAX => {
                all.extend_from_slice(&chunk)
            }
            Stream::Collected(_) => {
                self.stream = Stream::Ignored;
                self.answer = Some(Answer::Error(too_large()));
            }
            Stream::None | Stream::Ignored => {}
        }
    }

    fn stream_end(&mut self, error: Option<RuntimeError>) {
        let stream = std::mem::replace(&mut self.stream, Stream::Ignored);
        self.answer = match (error, stream) {
            (_, Stream::Ignored | Stream::None) => return,
            (Some(error), _) => Some(Answer::Error(error)),
            (None, Stream::Collected(all)) => Some(Answer::Success(all.freeze())),
            (None, Stream::Passed) => Some(Answer::Streamed),
        };
    }

    /// Waits for a slow reader, as long as the invocation may.
    async fn pass_on(&mut self, part: Part) {
        let Mode::Streaming(sender) = &self.invocation.mode else {
            return;
        };
        match timeout_at(self.deadline, sender.send(part)).await {
            Ok(Ok(())) => {}
            // The reader went away; the function runs on, as on AWS.
            Ok(Err(_)) => {}
            Err(_) => self.failure = Some(Failure::Timeout(self.environment.spec.timeout)),
        }
    }

    /// Writes the last lines of the log, and tells what the invocation took.
    fn tell(&mut self) -> Report {
        let log = self.environment.log.clone();
        log.drain_to_end();
        if let Some(failure) = &self.failure
            && let Some(line) = failure.log_line(&self.invocation.request_id, &iso_now())
        {
            log.failure(line);
        }
        if matches!(&self.answer, Some(Answer::Error(error)) if misses_sdk(error)) {
            advise_about_sdk(&self.environment);
        }
        let handle = self.environment.handle.clone();
        let at_once = self.invocation.tail || self.failure.is_some();
        let is_known = self.environment.init_duration.is_none() && handle.knows_memory();
        if at_once {
            handle.measure_memory();
        }
        let report = self.report();
        self.environment.init_duration = None;
        self.environment.restore_duration = None;
        if at_once || is_known {
            log.end(&report, self.produced);
        } else {
            handle.tell_later(&log, &report, self.produced);
        }
        self.environment
            .shared
            .events
            .report(&self.environment.spec, &report);
        report
    }

    /// Back to the pool: at once, or after it has been reset.
    fn give_back(self) -> Option<JoinHandle<()>> {
        let Busy {
            mut environment,
            failure,
            ..
        } = self;
        environment.api.end();
        let shared = environment.shared.clone();
        let Some(failure) = failure else {
            shared.give(environment);
            return None;
        };
        let owned = shared.clone();
        Some(shared.tasks.spawn(async move {
            let reason = if matches!(failure, Failure::Timeout(_)) {
                "timeout"
            } else {
                "failure"
            };
            environment.say_goodbye_if_heard(reason).await;
            // One that is provisioned must be ready for the next invocation, so another takes its place; another fork of a
            // template is there sooner than this one would have run init.
            let replaced = environment.keep.is_some() || environment.is_restored();
            if !replaced && environment.reset().await {
                owned.give(environment);
            } else {
                environment.stop(reason).await;
            }
        }))
    }

    fn report(&self) -> Report {
        let limit = self.environment.spec.timeout;
        let memory_mb = self.environment.spec.memory_mb;
        let timed_out = matches!(self.failure, Some(Failure::Timeout(_)));
        let duration = if timed_out {
            limit
        } else {
            self.took.unwrap_or_else(|| self.began.elapsed())
        };
        let init_duration = self.environment.init_duration;
        let restore_duration = self.environment.restore_duration;
        let (status, error_type) = match (&self.failure, &self.answer) {
            (Some(failure), _) => (failure.status(), Some(failure.error_type().to_owned())),
            (None, Some(Answer::Error(error))) => (Status::Error, error.error_type.clone()),
            (None, _) => (Status::Success, None),
        };
        Report {
            request_id: self.invocation.request_id.clone(),
            duration,
            billed: whole_ms(
                duration + init_duration.unwrap_or_default() + restore_duration.unwrap_or_default(),
            ),
            init_duration,
            restore_duration,
            initialization: self.environment.initialization,
            memory_mb,
            max_memory_mb: self.environment.handle.memory_peak_mb(memory_mb),
            status,
            error_type,
        }
    }

    fn outcome(&self, report: Report) -> Outcome {
        let failed = |body: Bytes| (body, Some(FunctionError::Unhandled));
        let (payload, function_error) = match (&self.answer, &self.failure) {
            (Some(Answer::Success(body)), _) => (body.clone(), None),
            (Some(Answer::Streamed), _) => (Bytes::new(), None),
            (Some(Answer::Error(error)), _) => failed(error.body.clone()),
            (None, Some(failure)) => failed(failure.document(&self.invocation.request_id).body),
            (None, None) => (Bytes::new(), None),
        };
        Outcome {
            payload,
            function_error,
            log_tail: None,
            provisioned: self.provisioned,
            report,
        }
    }
}
