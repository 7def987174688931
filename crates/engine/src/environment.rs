//! One execution environment: a sandbox, the processes in it, and the protocol with them.
//!
//! ```text
//! Starting ──► Idle ◄──► Busy ──► Stopping
//!    └───────────────────────────────┘
//! ```
//!
//! Each state owns its data. *Starting* is a future of [`Environment::create`] and [`Environment::boot`]; *Idle* is
//! [`Idle`], which only the pool holds; *Busy* is [`crate::invoke::Busy`]; *Stopping* is a future of
//! [`Environment::stop`], which takes the environment and never gives it back. A time-out or a crash kills the processes
//! and keeps the sandbox with its `/tmp`, as AWS does; the next invocation boots it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use sandbox::{Exit, Loading, Poised};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::{Api, Client, FunctionFacts, Happening};
use crate::egress::Door;
use crate::events::{Serving, serve_all};
use crate::failure::Failure;
use crate::grant::Grant;
use crate::handle::Handle;
use crate::http::{Connection, Stream};
use crate::launch::{TASK_ROOT, errno_text, external_extensions, runtime_argv};
use crate::log::{Log, Pipes};
use crate::parked::{Call, Identity, Parked};
use crate::pool::{Room, Start};
use crate::prediction::Version;
use crate::process::Process;
use crate::provision::Keep;
use crate::runtimes::Family;
use crate::shared::Shared;
use crate::slots::{self, Slot};
use crate::spec::{FunctionSpec, Initialization, Refusal};
use crate::templates::Template;
use crate::variables::{About, extension_variables};

/// The init phase; then init runs again inside the invocation
/// (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>).
pub(crate) const INIT_LIMIT: Duration = Duration::from_secs(10);
/// Connections of one environment to its Runtime API at once.
const CONNECTIONS_MAX: usize = 128;
/// Messages of connections that wait for the environment; a connection that finds it full waits.
const INBOX_MAX: usize = 64;
/// How long extensions have for SHUTDOWN.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);
/// What a dead runtime may still have in its sockets is read for this long.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(50);
/// How long an environment that made way may be there still, idle: most others have started by then.
const LINGER: Duration = Duration::from_millis(10);
/// How many may be at once; they hold memory that is counted as free.
pub(crate) const LINGERING_MAX: usize = 4;
/// Credentials that end sooner than this after an invocation's latest end are not used for it.
const CREDENTIALS_MARGIN: Duration = Duration::from_secs(60);
/// MemorySize that gets one CPU.
const MB_PER_CPU: u32 = 1769;

/// An environment that waits for its next invocation. Only the pool holds one.
pub(crate) struct Idle {
    pub(crate) environment: Environment,
    /// When its version was last used, by [`Shared::now`].
    pub(crate) since: Duration,
}

/// The data of every state.
pub(crate) struct Environment {
    pub(crate) shared: Arc<Shared>,
    pub(crate) spec: Arc<FunctionSpec>,
    pub(crate) handle: Arc<Handle>,
    pub(crate) api: Arc<Api>,
    pub(crate) log: Arc<Log>,
    pipes: Pipes,
    grant: Arc<Grant>,
    /// The runtime's connection that the current owner drives itself.
    pub(crate) active: Option<Client>,
    /// The runtime's connection that waits for the next event.
    pub(crate) waiting: Option<Client>,
    /// The extensions' connections that wait, by the extension's index.
    extensions: Vec<Option<Client>>,
    inbox: mpsc::Receiver<(u64, Message)>,
    outbox: mpsc::Sender<(u64, Message)>,
    listener: Arc<tokio::net::TcpListener>,
    /// An interpreter that waits for its assignment, until the first boot.
    parked: Option<Parked>,
    /// A runtime that is about to be loaded, until the first boot.
    poised: Option<(Process, Poised)>,
    /// Its runtime has been told to start already, for the first boot.
    started: bool,
    /// What the runtime loads, until it has shown that it did.
    loading: Option<Loading>,
    /// What its runtime was forked of, which must outlive it.
    _parent: Option<Arc<Template>>,
    /// Its runtime had run init when it was forked.
    restored: bool,
    /// Which boot of this environment is the current one; what an earlier one left behind is ignored.
    generation: Arc<AtomicU64>,
    /// When the boot under way began, or the last one.
    began: Option<Instant>,
    pub(crate) booted: bool,
    /// It has had an event since it booted.
    pub(crate) tried: bool,
    /// Its CPU share has been set since it booted.
    pub(crate) throttled: bool,
    /// The duration of the init phase, until a REPORT has told it.
    pub(crate) init_duration: Option<Duration>,
    /// The duration of the restore, until a REPORT has told it.
    pub(crate) restore_duration: Option<Duration>,
    pub(crate) initialization: Initialization,
    /// What is known of its version's calls.
    pub(crate) version: Arc<Version>,
    /// Makes it one of those that are provisioned.
    pub(crate) keep: Option<Keep>,
    oom_kills: u64,
    external: Vec<String>,
    processes: Vec<ProcessEnd>,
    /// The way to AWS's host names, and to the internet if the function has one.
    door: Arc<Door>,
    stop: CancellationToken,
    /// Ends the tasks of this environment when it is dropped, however that happens.
    _stop_guard: DropGuard,
    /// Until it makes way for another.
    room: Option<Room>,
}

/// Tells when a process is gone.
struct ProcessEnd {
    gone: CancellationToken,
    process: sandbox::Signalled,
    runtime: bool,
}

/// What a connection or a process has for the environment's owner.
enum Message {
    Waiting(Client),
    ExtensionWaiting(usize, Client),
    Told(Happening),
    Exit(Who, Exit),
}

#[derive(Clone, Debug)]
enum Who {
    Runtime,
    Extension(String),
}

/// What the owner of an environment learns.
#[derive(Debug)]
pub(crate) enum Signal {
    /// The runtime waits for the next event.
    Waiting,
    /// An extension registered, or waits for its next event.
    Extension,
    Told(Happening),
    Failed(Failure),
}

impl Environment {
    /// Makes the sandbox. A runtime that waits in it is told to start before all else, so that both work at once; `trace_id`
    /// is that of the invocation that it starts for.
    pub(crate) async fn create(
        start: &Start,
        room: Room,
        initialization: Initialization,
        trace_id: Option<&str>,
    ) -> Result<Environment, Refusal> {
        let (shared, spec) = (&start.shared, &start.spec);
        if !shared.egress.has(spec.network) {
            let text = "the function may reach the internet, and this engine has no way there";
            return Err(internal(text));
        }
        let began = Timestamp::now();
        let call = Call {
            initialization,
            trace_id,
        };
        let slot = slots::slot_for(shared, spec, call)
            .await
            .map_err(internal)?;
        let Slot {
            name,
            sandbox,
            runtime_api,
            endpoint,
            outbound,
            udp,
            pipes,
            readers,
            mut parked,
            mut poised,
            parent,
            restored,
            ..
        } = slot;
        let told = parked.as_ref().and_then(Parked::be_needed);
        let identity = told.unwrap_or_else(|| Identity::new(spec, &name));
        let identity = identity.map_err(Refusal::Credentials)?;
        let external = external_extensions(spec.layers.as_deref());
        // Extensions start before the runtime does.
        let mut going = None;
        if external.is_empty() {
            let about = identity.about(spec, initialization, trace_id);
            going = go(&mut parked, &mut poised, about).map_err(internal)?;
        }
        let Identity { target, grant } = identity;
        sandbox.complete();
        let (events, config) = (shared.events.clone(), spec.log.clone());
        let log = Log::new(events, target, config, initialization, readers);
        let stop = CancellationToken::new();
        let stop_guard = stop.clone().drop_guard();
        let (door, mut serving) = Door::open(
            shared.egress.clone(),
            (&spec.name, spec.network),
            outbound,
            udp,
            &shared.tasks,
            stop.child_token(),
        );
        serving.push(shared.events.endpoint(spec, endpoint, stop.child_token()));
        serving.push(Box::pin(log.clone().watch(stop.child_token())));
        let handle = Handle::new(shared.next_id(), spec.key.clone(), sandbox);
        let handle = Arc::new(handle);
        shared.pool.add(start, &handle);
        let facts = FunctionFacts {
            name: spec.name.clone(),
            version: spec.version.clone(),
            handler: spec.handler.clone(),
        };
        let (outbox, inbox) = mpsc::channel(INBOX_MAX);
        let mut environment = Environment {
            shared: shared.clone(),
            spec: spec.clone(),
            handle,
            api: Arc::new(Api::new(facts, external.clone(), grant.clone())),
            log,
            pipes,
            grant,
            active: None,
            waiting: None,
            extensions: Vec::new(),
            inbox,
            outbox,
            listener: Arc::new(runtime_api),
            parked,
            poised,
            started: going.is_some(),
            loading: None,
            _parent: parent,
            restored,
            generation: Arc::new(AtomicU64::new(0)),
            began: going.as_ref().map(|going| going.since),
            booted: false,
            tried: false,
            throttled: false,
            init_duration: None,
            restore_duration: None,
            initialization,
            version: shared.prediction.version(spec),
            keep: None,
            oom_kills: 0,
            external,
            processes: Vec::new(),
            door,
            _stop_guard: stop_guard,
            stop,
            room: Some(room),
        };
        if restored {
            environment.log.restore_start(began, spec, &name);
        } else {
            environment.log.init_start(began, spec, &name);
        }
        serving.push(environment.accept_connections());
        if let Some(going) = going {
            serving.push(environment.adopt(going));
        }
        shared.tasks.spawn(serve_all(serving));
        Ok(environment)
    }

    /// Starts extensions and the runtime and waits until each of them asks for its first event.
    pub(crate) async fn boot(
        &mut self,
        limit: Duration,
        trace_id: Option<&str>,
    ) -> Result<(), Failure> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let late = tokio::time::Instant::from_std(began + limit);
        let booted = tokio::time::timeout_at(late, self.boot_processes(trace_id)).await;
        booted.unwrap_or(Err(Failure::Timeout(limit)))?;
        self.api.init_done();
        self.loading = None;
        self.booted = true;
        (self.tried, self.throttled) = (false, false);
        Ok(())
    }

    /// How long ago the boot began.
    pub(crate) fn boot_time(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// Init runs unthrottled, as on AWS; after it the share belongs to the memory size. To set it takes as long as a short
    /// invocation, so the first one is left alone for [`crate::invoke::GRACE`].
    pub(crate) fn throttle(&mut self) {
        if !self.booted || std::mem::replace(&mut self.throttled, true) {
            return;
        }
        if let Err(error) = self.handle.sandbox.set_cpu(cpu_share(self.spec.memory_mb)) {
            tracing::warn!(environment = self.handle.id, %error, "the CPU share was not set");
        }
    }

    async fn boot_processes(&mut self, trace_id: Option<&str>) -> Result<(), Failure> {
        for name in self.external.clone() {
            let env = extension_variables(&self.spec, self.initialization, &self.grant);
            let path = format!("/opt/extensions/{name}");
            let launched = self
                .spawn(Who::Extension(name.clone()), vec![path], env, "/")
                .await;
            launched.map_err(|error| Failure::Extension {
                error_type: "Extension.LaunchError",
                text: format!("{name}: {error}"),
            })?;
        }
        while !self.api.all_registered() {
            self.expect_init_signal().await?;
        }
        if !std::mem::take(&mut self.started) {
            self.start(trace_id).await?;
        }
        while self.waiting.is_none() || !self.extensions_ready() {
            self.expect_init_signal().await?;
        }
        Ok(())
    }

    /// Notes how long it took until it waited for its first event, and tells the log.
    pub(crate) fn started_in(&mut self, duration: Duration) {
        if !self.restored {
            self.init_duration = Some(duration);
            crate::invoke::report_init(self, duration, "init", None);
            return;
        }
        self.restore_duration = Some(duration);
        self.log.drain_to_end();
        self.log.restore_report(duration, None);
    }

    /// Whether it was forked of a template.
    pub(crate) fn is_restored(&self) -> bool {
        self.restored
    }

    /// Starts the runtime: the one that waits, or one that is executed.
    async fn start(&mut self, trace_id: Option<&str>) -> Result<(), Failure> {
        let argv = runtime_argv(&self.spec)?;
        let (spec, grant, log) = (self.spec.clone(), self.grant.clone(), self.log.clone());
        let about = About {
            spec: &spec,
            initialization: self.initialization,
            grant: &grant,
            log_stream: log.stream(),
            trace_id,
        };
        let started = match go(&mut self.parked, &mut self.poised, about) {
            Ok(Some(going)) => {
                let watch = self.adopt(going);
                self.shared.tasks.spawn(watch);
                Ok(())
            }
            Ok(None) => {
                self.spawn(Who::Runtime, argv, about.variables(), TASK_ROOT)
                    .await
            }
            Err(error) => Err(error),
        };
        started.map_err(|error| self.launch_failure(&error))
    }

    /// Takes on a runtime that waited; returns what watches for its end.
    fn adopt(&mut self, going: Going) -> Serving {
        (self.active, self.waiting, self.loading) = (going.active, going.waiting, going.loading);
        self.watch_exit(Who::Runtime, going.process)
    }

    async fn expect_init_signal(&mut self) -> Result<(), Failure> {
        match self.next_signal().await {
            Signal::Told(Happening::InitError(error)) => Err(Failure::Init(error)),
            Signal::Failed(failure) => Err(failure),
            _ => Ok(()),
        }
    }

    fn launch_failure(&self, error: &sandbox::Error) -> Failure {
        let managed = self.spec.runtime.family != Family::Provided;
        match error {
            // A shell would say 127 or 126; that is what AWS's start script of managed runtimes is.
            sandbox::Error::Exec { source, .. }
                if managed && source.kind() == std::io::ErrorKind::NotFound =>
            {
                Failure::Exit(Exit::Code(127))
            }
            sandbox::Error::Exec { .. } if managed => Failure::Exit(Exit::Code(126)),
            sandbox::Error::Exec { source, program } => {
                Failure::Entrypoint(format!("fork/exec {program}: {}", errno_text(source)))
            }
            other => {
                tracing::error!(environment = self.handle.id, error = %other, "a runtime was not started");
                Failure::Exit(Exit::Signal(9))
            }
        }
    }

    async fn spawn(
        &mut self,
        who: Who,
        argv: Vec<String>,
        env: Vec<(String, String)>,
        cwd: &str,
    ) -> Result<(), sandbox::Error> {
        let process = match who {
            Who::Runtime => self.pipes.runtime(argv, env, cwd),
            Who::Extension(_) => self.pipes.process(argv, env, cwd),
        };
        let process = process.map_err(|source| sandbox::Error::Io {
            what: "duplicating a pipe".to_owned(),
            source,
        })?;
        let handle = self.handle.clone();
        let spawned = tokio::task::spawn_blocking(move || handle.sandbox.spawn(process)).await;
        let child = spawned.map_err(|_| sandbox::Error::Gone)??;
        let watch = self.watch_exit(who, Process::watch(child)?);
        self.shared.tasks.spawn(watch);
        Ok(())
    }

    /// Tells the owner when the process ends, and the pool when nobody owns the environment.
    fn watch_exit(&mut self, who: Who, process: Process) -> Serving {
        let (process, ended) = process.into_parts();
        let gone = CancellationToken::new();
        self.processes.push(ProcessEnd {
            gone: gone.clone(),
            process,
            runtime: matches!(who, Who::Runtime),
        });
        let (outbox, handle, shared) = (
            self.outbox.clone(),
            self.handle.clone(),
            self.shared.clone(),
        );
        let current = self.generation.clone();
        let generation = current.load(Ordering::Acquire);
        Box::pin(async move {
            let exit = ended.await;
            gone.cancel();
            if current.load(Ordering::Acquire) == generation {
                handle.dead.store(true, Ordering::Release);
                shared.bury(&handle);
            }
            // The environment may be stopping, and then nobody listens.
            let _ = outbox.send((generation, Message::Exit(who, exit))).await;
        })
    }

    /// Serves the Runtime API.
    fn accept_connections(&self) -> Serving {
        let (listener, api, outbox) =
            (self.listener.clone(), self.api.clone(), self.outbox.clone());
        let (generation, stop, shared) = (
            self.generation.clone(),
            self.stop.clone(),
            self.shared.clone(),
        );
        let open = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
        Box::pin(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else { return };
                // Too many at once: closing is all that a misbehaving function is owed.
                let Ok(permit) = open.clone().try_acquire_owned() else {
                    continue;
                };
                let client = Client::new(Connection::new(Stream::Tcp(stream)));
                let of = generation.load(Ordering::Acquire);
                let driven = drive(client, api.clone(), outbox.clone(), of, stop.clone());
                shared.tasks.spawn(async move {
                    driven.await;
                    drop(permit);
                });
            }
        })
    }

    /// Lets a connection be read by a task of its own.
    pub(crate) fn release(&self, client: Client) {
        let generation = self.generation.load(Ordering::Acquire);
        let driven = drive(
            client,
            self.api.clone(),
            self.outbox.clone(),
            generation,
            self.stop.clone(),
        );
        self.shared.tasks.spawn(driven);
    }

    /// Waits for the next thing to happen. A dropped future loses nothing.
    pub(crate) async fn next_signal(&mut self) -> Signal {
        loop {
            let message = tokio::select! {
                biased;
                happening = step(self.active.as_mut(), &self.api) => match happening {
                    Happening::Next => {
                        self.waiting = self.active.take();
                        return Signal::Waiting;
                    }
                    Happening::Closed => {
                        self.active = None;
                        continue;
                    }
                    Happening::Nothing => continue,
                    told => return Signal::Told(told),
                },
                message = self.inbox.recv() => message.expect("the environment holds a sender itself"),
            };
            let (generation, message) = message;
            if generation != self.generation.load(Ordering::Acquire) {
                continue;
            }
            if let Some(signal) = self.take_message(message) {
                return signal;
            }
        }
    }

    fn take_message(&mut self, message: Message) -> Option<Signal> {
        match message {
            Message::Waiting(client) => {
                self.waiting = Some(client);
                Some(Signal::Waiting)
            }
            Message::ExtensionWaiting(index, client) => {
                if self.extensions.len() <= index {
                    self.extensions.resize_with(index + 1, || None);
                }
                self.extensions[index] = Some(client);
                Some(Signal::Extension)
            }
            Message::Told(Happening::ExtensionRegistered) => Some(Signal::Extension),
            Message::Told(Happening::ExtensionFailed {
                error_type,
                name,
                reason,
            }) => Some(Signal::Failed(Failure::Extension {
                error_type,
                text: format!("{name}: {reason}"),
            })),
            Message::Told(Happening::Nothing | Happening::Closed) => None,
            Message::Told(told) => Some(Signal::Told(told)),
            Message::Exit(Who::Runtime, exit) => {
                let fault = self.loading.take().and_then(Loading::fault);
                let failure = match fault {
                    Some(fault) => self.launch_failure(&fault),
                    None => self.exit_failure(exit),
                };
                Some(Signal::Failed(failure))
            }
            Message::Exit(Who::Extension(name), exit) => {
                let how = match exit {
                    Exit::Code(code) => format!("exit code {code}"),
                    Exit::Signal(signal) => format!("signal {signal}"),
                };
                let text = format!("{name} ended: {how}");
                Some(Signal::Failed(Failure::Extension {
                    error_type: "Extension.Crash",
                    text,
                }))
            }
        }
    }

    fn exit_failure(&mut self, exit: Exit) -> Failure {
        let kills = self
            .handle
            .sandbox
            .usage()
            .map_or(0, |usage| usage.oom_kills);
        let out_of_memory = kills > self.oom_kills && exit != Exit::Code(0);
        self.oom_kills = kills;
        if out_of_memory {
            Failure::OutOfMemory
        } else {
            Failure::Exit(exit)
        }
    }

    /// After a process ended: what it had still sent. Ends when its connection does.
    pub(crate) async fn last_words(&mut self) -> Vec<Signal> {
        let mut words = Vec::new();
        let end = tokio::time::Instant::now() + LAST_WORDS_LIMIT;
        while self.active.is_some() || !self.inbox.is_empty() {
            match tokio::time::timeout_at(end, self.next_signal()).await {
                Ok(signal) => words.push(signal),
                Err(_) => break,
            }
        }
        words
    }

    /// Whether every extension waits for its next event.
    pub(crate) fn extensions_ready(&self) -> bool {
        let registered = self.api.extensions().len();
        registered <= self.extensions.iter().flatten().count()
    }

    /// Tells every extension that asked for it about an invocation, or about the end.
    pub(crate) async fn tell_extensions(&mut self, event: &serde_json::Value, shutdown: bool) {
        if self.extensions.is_empty() {
            return;
        }
        let registered = self.api.extensions();
        let text = event.to_string();
        for (index, extension) in registered.iter().enumerate() {
            let wanted = if shutdown {
                extension.shutdown
            } else {
                extension.invoke
            };
            let waiting = self.extensions.get_mut(index);
            let Some(mut client) = waiting.filter(|_| wanted).and_then(Option::take) else {
                continue;
            };
            let event_id = uuid::Uuid::new_v4().to_string();
            let headers = [("Lambda-Extension-Event-Identifier", event_id.as_str())];
            // One that went away is found by its exit.
            if client
                .connection
                .deliver(&headers, text.as_bytes())
                .await
                .is_ok()
            {
                self.release(client);
            }
        }
    }

    /// Makes it ready for an invocation that may take all of the function's time.
    pub(crate) fn wake(&mut self) -> Result<(), sandbox::Error> {
        self.handle.uses.fetch_add(1, Ordering::AcqRel);
        self.handle.thaw()
    }

    /// Whether it may be used again: not retired, alive, its credentials good for another invocation.
    pub(crate) fn usable(&self) -> bool {
        let now = SystemTime::now();
        let latest_end = now + self.spec.timeout + CREDENTIALS_MARGIN;
        !self.handle.retired.load(Ordering::Acquire)
            && self.grant.ends(now) > latest_end
            && self.alive()
    }

    /// When its credentials end.
    pub(crate) fn expires(&self) -> SystemTime {
        self.grant.ends(SystemTime::now())
    }

    fn alive(&self) -> bool {
        !self.booted || !self.handle.dead.load(Ordering::Acquire)
    }

    /// Kills every process and keeps the sandbox with its `/tmp`; the next [`boot`](Self::boot) starts anew. `false` when
    /// the sandbox is gone.
    pub(crate) async fn reset(&mut self) -> bool {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.loading = None;
        self.began = None;
        self.booted = false;
        let handle = self.handle.clone();
        let reset = tokio::task::spawn_blocking(move || {
            handle.sandbox.set_cpu(None)?;
            handle.sandbox.reset()?;
            handle.sandbox.reset_peak();
            Ok::<(), sandbox::Error>(())
        });
        let reset = matches!(reset.await, Ok(Ok(())));
        self.door.cut();
        self.active = None;
        self.waiting = None;
        self.extensions.clear();
        self.processes.clear();
        self.api.reset();
        while self.inbox.try_recv().is_ok() {}
        // What dead processes left in the listener's queue must not be taken for the next runtime.
        while let Some(Ok(_)) = futures_util::FutureExt::now_or_never(self.listener.accept()) {}
        self.handle.dead.store(false, Ordering::Release);
        reset
    }

    /// Makes way for another, which need not wait: it is taken down once the other has probably started, since the two would share
    /// the processor; if many linger so already, its processes are killed here, and what is left is taken down meanwhile.
    /// Extensions have to be told first, and are waited for.
    pub(crate) async fn make_way(mut self) {
        if self.has_extensions() {
            return self.stop("spindown").await;
        }
        self.room = None;
        // It counts no longer.
        self.shared.pool.forget(&self.handle);
        let lingers = self.shared.lingering.clone().try_acquire_owned();
        if lingers.is_err() {
            self.handle.sandbox.kill();
        }
        let tasks = self.shared.tasks.clone();
        tasks.spawn(async move {
            if let Ok(_place) = lingers {
                tokio::time::sleep(LINGER).await;
            }
            self.stop("spindown").await;
        });
    }

    /// Tells extensions, waits for them, and takes everything down.
    pub(crate) async fn stop(mut self, reason: &str) {
        self.handle.retired.store(true, Ordering::Release);
        self.shared.pool.forget(&self.handle);
        self.handle.tell();
        self.shared.slots.look_again_if_taken();
        if let Some(keep) = self.keep.take()
            && reason == "failure"
        {
            keep.failed();
        }
        if self.wake().is_ok() {
            self.say_goodbye_if_heard(reason).await;
        }
        self.handle.sandbox.kill();
        self.stop.cancel();
        self.log.drain_to_end();
        // Dropping the last handle waits until nothing is left, so not on this thread; the room is free after that.
        let dropped = tokio::task::spawn_blocking(move || drop(self)).await;
        if let Err(error) = dropped {
            tracing::error!(%error, "an environment was not taken down");
        }
    }

    /// Tells extensions that the processes are about to be killed, if there are any to hear it.
    pub(crate) async fn say_goodbye_if_heard(&mut self, reason: &str) {
        if self.extensions.iter().any(Option::is_some) {
            self.say_goodbye(reason).await;
        }
    }

    /// Whether any extension registered.
    pub(crate) fn has_extensions(&self) -> bool {
        !self.extensions.is_empty()
    }

    async fn say_goodbye(&mut self, reason: &str) {
        let deadline_ms =
            crate::log::now_ms() + i64::try_from(SHUTDOWN_LIMIT.as_millis()).unwrap_or(0);
        let event =
            json!({"eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": deadline_ms});
        for process in self.processes.iter().filter(|process| process.runtime) {
            // A runtime that is gone needs no signal.
            let _ = process.process.signal(15);
        }
        self.tell_extensions(&event, true).await;
        let gone = async {
            for process in &self.processes {
                process.gone.cancelled().await;
            }
        };
        // Whoever is not done by then is killed.
        let _ = tokio::time::timeout(SHUTDOWN_LIMIT, gone).await;
    }
}

/// A runtime that waited, and has been told to start.
struct Going {
    since: Instant,
    process: Process,
    /// Its connection, until it asks for its first event.
    active: Option<Client>,
    /// Its connection, if it has.
    waiting: Option<Client>,
    loading: Option<Loading>,
}

/// Tells the runtime that waits to start, if one does.
fn go(
    parked: &mut Option<Parked>,
    poised: &mut Option<(Process, Poised)>,
    about: About<'_>,
) -> Result<Option<Going>, sandbox::Error> {
    let now = Instant::now();
    if let Some(mut parked) = parked.take() {
        parked.assign(about);
        let (active, waiting) = match parked.asks_for_event() {
            true => (None, Some(parked.client)),
            false => (Some(parked.client), None),
        };
        return Ok(Some(Going {
            since: parked.since.unwrap_or(now),
            process: parked.process,
            active,
            waiting,
            loading: None,
        }));
    }
    let Some((process, poised)) = poised.take() else {
        return Ok(None);
    };
    Ok(Some(Going {
        since: now,
        process,
        active: None,
        waiting: None,
        loading: Some(poised.go(&about.variables())?),
    }))
}

async fn step(client: Option<&mut Client>, api: &Api) -> Happening {
    match client {
        Some(client) => client.step(api).await,
        None => std::future::pending().await,
    }
}

/// Reads a connection until it waits for an event, which hands it to the environment, or ends.
async fn drive(
    mut client: Client,
    api: Arc<Api>,
    outbox: mpsc::Sender<(u64, Message)>,
    generation: u64,
    stop: CancellationToken,
) {
    loop {
        let happening = tokio::select! {
            () = stop.cancelled() => return,
            happening = client.step(&api) => happening,
        };
        let message = match happening {
            Happening::Closed => return,
            Happening::Nothing => continue,
            Happening::Next => {
                // Nobody listens when the environment is stopping.
                let _ = outbox.send((generation, Message::Waiting(client))).await;
                return;
            }
            Happening::ExtensionNext(index) => {
                // The same.
                let _ = outbox
                    .send((generation, Message::ExtensionWaiting(index, client)))
                    .await;
                return;
            }
            told => Message::Told(told),
        };
        if outbox.send((generation, message)).await.is_err() {
            return;
        }
    }
}

/// Thousandths of a CPU for a memory size.
fn cpu_share(memory_mb: u32) -> Option<u32> {
    Some(
        (u64::from(memory_mb) * 1000 / u64::from(MB_PER_CPU))
            .try_into()
            .unwrap_or(u32::MAX),
    )
    .filter(|share| *share > 0)
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal::Internal(error.to_string())
}
