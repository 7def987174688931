//! Templates: a process per function version that has run its init once, forked for every environment.
//!
//! AWS runs init in every environment unless SnapStart is on, so templates are for SnapStart and for functions that ask
//! for one. A template has a nursery of its own: what a function's init does there reaches only sandboxes of its own version. It sees no event, has no network, and a placeholder for credentials. When there cannot be one the function's
//! log says why, once, and its environments run init themselves.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use sandbox::{Host, Late, Process, Zygote};
use serde::Deserialize;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::events::LogTarget;
use crate::grant::Grant;
use crate::kind::Kind;
use crate::launch::wrapper;
use crate::log::{InitReport, Log, Pipes, TELEMETRY_FD};
use crate::plan::{files, late, plan};
use crate::shared::Shared;
use crate::spec::{Credentials, FunctionSpec, Initialization, Prepared, Status, Unprepared};
use crate::variables::About;

/// The least time that init has ahead of invocations: AWS gives 130 seconds, or the function's own limit when that is
/// longer (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>).
pub(crate) const PREPARE_LIMIT_MIN: Duration = Duration::from_secs(130);
/// Most templates at once.
const TEMPLATES_MAX: usize = 64;
/// The part of the memory budget that all of them may take.
const TEMPLATES_BUDGET_DIVISOR: u64 = 2;
/// What a fork leaves with its template: the pages that it copies until it is under its own limits, and the kernel's books.
const FORK_BYTES: u64 = 1 << 20;
/// The part of what a template holds that the page tables of a fork take.
const PAGE_TABLES_DIVISOR: u64 = 128;
/// A template that was not used for so long makes way for one that a call would have used. For the one of a version that is
/// being published the one that was used least lately does in any case.
const UNUSED: Duration = Duration::from_mins(10);
/// How often the making of a template looks whether it is still wanted.
const WANTED_TICK: Duration = Duration::from_millis(100);
/// What a template has instead of credentials; `mayfly_zygote.py` looks for it.
const PLACEHOLDER: &str = "MAYFLY-TEMPLATE";

/// A process that can be forked into sandboxes of its nursery.
pub(crate) struct Template {
    pub(crate) host: Host,
    pub(crate) zygote: Zygote,
    /// A fork is restored by being told who it is: nothing of the function runs then, and it asks for its first event.
    pub(crate) resumes: bool,
    /// Its version is gone: nothing more is forked of it.
    pub(crate) retired: AtomicBool,
    /// Ends the reading of what it writes.
    pub(crate) _watch: Option<DropGuard>,
}

enum State {
    /// Init may take its function's MemorySize.
    Making {
        memory_bytes: u64,
    },
    Ready(Kept),
    Refused,
}

/// A template, and what is known of it.
struct Kept {
    template: Arc<Template>,
    /// What it may hold.
    memory_bytes: u64,
    /// When a call last wanted it, by [`Shared::now`].
    used: Duration,
}

impl State {
    fn memory_bytes(&self) -> Option<u64> {
        match self {
            State::Making { memory_bytes } | State::Ready(Kept { memory_bytes, .. }) => {
                Some(*memory_bytes)
            }
            State::Refused => None,
        }
    }

    /// The template, if there is one, of which nothing is forked from here on.
    fn end(self) -> Option<Arc<Template>> {
        let State::Ready(Kept { template, .. }) = self else {
            return None;
        };
        template.retired.store(true, Ordering::Release);
        Some(template)
    }
}

/// Those of all versions, by [`FunctionSpec::key`].
#[derive(Default)]
pub(crate) struct Templates {
    states: Mutex<HashMap<String, State>>,
}

/// What a template says when its init is over.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Ready(Readiness),
    Refused(String),
    Error(serde::de::IgnoredAny),
}

/// What is known of it then.
#[derive(Deserialize)]
struct Readiness {
    resumes: bool,
}

/// Why there is no template.
enum Without {
    /// It cannot be had, for this reason.
    Refused(String),
    /// Its version went meanwhile, or the engine stops.
    Unwanted,
    /// Init failed there; it may have wanted the network.
    Init,
}

impl Templates {
    /// The template of a version, if there is one. When there should be and nobody has tried, it is made meanwhile.
    pub(crate) fn of(
        &self,
        shared: &Arc<Shared>,
        spec: &Arc<FunctionSpec>,
    ) -> Option<Arc<Template>> {
        if !spec.wants_template() {
            return None;
        }
        match self.states().get_mut(&spec.key) {
            Some(State::Ready(kept)) => {
                kept.used = shared.now();
                return Some(kept.template.clone());
            }
            Some(State::Making { .. } | State::Refused) => return None,
            None => {}
        }
        let (owned, spec) = (shared.clone(), spec.clone());
        shared.tasks.spawn(async move {
            if let Err(why) = make(&owned, &spec, UNUSED).await {
                // Environments do without.
                tracing::debug!(
                    function = spec.name,
                    version = spec.version,
                    why,
                    "no template"
                );
            }
        });
        None
    }

    /// Forgets those whose key begins so. Environments that were forked of them go on.
    pub(crate) fn retire(&self, key_prefix: &str) -> Vec<Arc<Template>> {
        let mut states = self.states();
        let gone = states.extract_if(|key, _| key.starts_with(key_prefix));
        gone.filter_map(|(_, state)| state.end()).collect()
    }

    /// Gives up one that ended by itself.
    pub(crate) fn lose(&self, key: &str, template: &Arc<Template>) {
        template.retired.store(true, Ordering::Release);
        let mut states = self.states();
        if let Some(state) = states.get_mut(key)
            && matches!(state, State::Ready(kept) if Arc::ptr_eq(&kept.template, template))
        {
            *state = State::Refused;
        }
    }

    /// Templates that can be forked.
    pub(crate) fn ready(&self) -> usize {
        let ready = |state: &&State| matches!(state, State::Ready(..));
        self.states().values().filter(ready).count()
    }

    /// Whether one is still being made for a version that is there.
    fn is_wanted(&self, key: &str) -> bool {
        matches!(self.states().get(key), Some(State::Making { .. }))
    }

    /// Claims the making of one, and room for it. Templates that no call has wanted for `unused` make way, those that were
    /// used least lately first.
    fn begin(&self, shared: &Shared, spec: &FunctionSpec, unused: Duration) -> Begun {
        let mut states = self.states();
        match states.get(&spec.key) {
            None => {}
            Some(State::Ready(_)) => return Begun::Ready,
            Some(State::Making { .. }) => return Begun::Without("it is being made"),
            Some(State::Refused) => return Begun::Without("it was refused before"),
        }
        let memory_bytes = u64::from(spec.memory_mb) << 20;
        let budget = (shared.config.memory_mb_max << 20) / TEMPLATES_BUDGET_DIVISOR;
        let held: Vec<u64> = states.values().filter_map(State::memory_bytes).collect();
        let (mut count, mut sum) = (held.len() + 1, held.iter().sum::<u64>() + memory_bytes);
        let mut idle: Vec<(Duration, u64, String)> = states
            .iter()
            .filter_map(|(key, state)| match state {
                State::Ready(kept) => Some((kept.used, kept.memory_bytes, key.clone())),
                _ => None,
            })
            .filter(|(used, ..)| shared.now().saturating_sub(*used) >= unused)
            .collect();
        idle.sort();
        let mut idle = idle.into_iter();
        let mut make_way = Vec::new();
        while count > TEMPLATES_MAX || sum > budget {
            let Some((_, bytes, key)) = idle.next() else {
                return Begun::Without("templates have their part of the memory already");
            };
            (count, sum) = (count - 1, sum - bytes);
            make_way.push(key);
        }
        let mut end = |key: String| Some((states.remove(&key)?.end()?, key));
        let gone = make_way.into_iter().filter_map(&mut end).collect();
        states.insert(spec.key.clone(), State::Making { memory_bytes });
        Begun::Mine(gone)
    }

    /// Keeps what was made, unless the version was retired meanwhile.
    fn end(&self, key: &str, state: State) -> bool {
        let mut states = self.states();
        match states.get_mut(key) {
            Some(entry) => {
                *entry = state;
                true
            }
            None => false,
        }
    }

    fn states(&self) -> MutexGuard<'_, HashMap<String, State>> {
        // Every change is one insertion or removal.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of the wish to make one.
enum Begun {
    /// It is ours to make, and these made way for it.
    Mine(Vec<(Arc<Template>, String)>),
    Ready,
    /// There is none, and it is not ours to make.
    Without(&'static str),
}

/// Makes the template of a version, or runs its init in an environment where there can be none: that tells whether a
/// failure is the function's own, and the next invocation is spared it.
pub(crate) async fn prepare(
    shared: &Arc<Shared>,
    spec: &Arc<FunctionSpec>,
) -> Result<Prepared, Unprepared> {
    let (init_duration, template) = match make(shared, spec, Duration::ZERO).await {
        Ok(init_duration) => (init_duration, Ok(())),
        Err(why) => {
            tracing::info!(
                function = spec.name,
                version = spec.version,
                why,
                "no template"
            );
            (crate::invoke::init_ahead(shared, spec).await?, Err(why))
        }
    };
    Ok(Prepared {
        init_duration,
        template,
    })
}

/// Makes the template of a version, and tells how long its init took or why there is none. The function's log has been
/// told by then.
async fn make(
    shared: &Arc<Shared>,
    spec: &Arc<FunctionSpec>,
    unused: Duration,
) -> Result<Duration, String> {
    let templates = &shared.templates;
    match templates.begin(shared, spec, unused) {
        Begun::Mine(gone) => {
            for (template, key) in gone {
                shared.take_down(vec![template], &key);
            }
        }
        Begun::Ready => return Ok(Duration::ZERO),
        Begun::Without(why) => return Err(why.to_owned()),
    }
    let began = Instant::now();
    let made = match Nursery::new(shared, spec) {
        Ok(nursery) => nursery.rear(shared, spec).await,
        Err(error) => Err(error.to_string()),
    };
    let state = match &made {
        Ok((template, memory_bytes)) => State::Ready(Kept {
            template: template.clone(),
            memory_bytes: *memory_bytes,
            used: shared.now(),
        }),
        Err(_) => State::Refused,
    };
    let kept = templates.end(&spec.key, state);
    match made? {
        (template, _) if kept => shared.slots.expect(&Kind::of_template(spec, template)),
        (unwanted, _) => {
            dispose(vec![unwanted]).await;
            return Err("its version has gone".to_owned());
        }
    }
    Ok(began.elapsed())
}

/// Where a template comes into being, with the log of what it says there.
struct Nursery {
    name: String,
    log: Arc<Log>,
    pipes: Pipes,
    /// Ends the reading of the log.
    watch: DropGuard,
}

impl Nursery {
    fn new(shared: &Arc<Shared>, spec: &FunctionSpec) -> std::io::Result<Nursery> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let (pipes, readers) = crate::log::pipes()?;
        let log = Log::new(
            shared.events.clone(),
            LogTarget::of(spec, &name),
            spec.log.clone(),
            // Whatever asked for the template, its init is reported as SnapStart's is.
            Initialization::SnapStart,
            readers,
        );
        let stop = CancellationToken::new();
        shared.tasks.spawn(log.clone().watch(stop.clone()));
        Ok(Nursery {
            name,
            log,
            pipes,
            watch: stop.drop_guard(),
        })
    }

    /// Runs init, and tells the log what came of it: a template, and what it may hold.
    async fn rear(
        self,
        shared: &Arc<Shared>,
        spec: &Arc<FunctionSpec>,
    ) -> Result<(Arc<Template>, u64), String> {
        let Nursery {
            name,
            log,
            pipes,
            watch,
        } = self;
        log.init_start(Timestamp::now(), spec, &name);
        let (owned, for_making) = (shared.clone(), spec.clone());
        let stream = log.stream().to_owned();
        let began = Instant::now();
        let made =
            tokio::task::spawn_blocking(move || start(&owned, &for_making, &name, &stream, &pipes));
        let made = made.await.map_err(|error| error.to_string())?;
        log.drain_to_end();
        let why = match made {
            Ok((template, memory_bytes)) => {
                log.init_report(&InitReport {
                    duration: began.elapsed(),
                    phase: "init",
                    status: Status::Success,
                    error_type: None,
                });
                let template = Template {
                    _watch: Some(watch),
                    ..template
                };
                return Ok((Arc::new(template), memory_bytes));
            }
            Err(Without::Unwanted) => return Err("its version has gone".to_owned()),
            Err(Without::Refused(why)) => why,
            Err(Without::Init) => "init fails in it, without network and credentials".to_owned(),
        };
        log.advice(&format!(
            "Mayfly: no template, so every environment runs init itself: {why}."
        ));
        Err(why)
    }
}

/// Starts the nursery and the process, and waits until its init is over; tells what it may hold from there on. Blocks.
fn start(
    shared: &Shared,
    spec: &FunctionSpec,
    name: &str,
    stream: &str,
    pipes: &crate::log::Pipes,
) -> Result<(Template, u64), Without> {
    let refused = |error: &dyn std::fmt::Display| Without::Refused(error.to_string());
    if !spec.runtime.forks {
        return Err(refused(&format!("{} cannot be forked", spec.runtime.id)));
    }
    if spec
        .layers
        .as_ref()
        .is_some_and(|layers| layers.join("extensions").is_dir())
    {
        return Err(refused(&"it has extensions"));
    }
    if wrapper(spec).is_some() {
        return Err(refused(&"it has a wrapper script"));
    }
    let duplicate = |fd: &std::os::fd::OwnedFd| fd.try_clone().map_err(|error| refused(&error));
    let host = shared.host.nursery(files(&spec.runtime));
    let host = host.map_err(|error| refused(&error))?;
    let about = About {
        spec,
        initialization: spec.initialization,
        grant: &placeholder(),
        log_stream: stream,
        trace_id: None,
    };
    let mut env = about.variables();
    env.push(("_MAYFLY_TEMPLATE".to_owned(), "1".to_owned()));
    let mut plan = plan(&spec.runtime, name, shared.config.endpoint_port);
    plan.mounts.clear();
    plan.listeners.clear();
    let process = Process {
        argv: spec.runtime.waiting.clone().unwrap_or_default(),
        env,
        cwd: PathBuf::from("/var/task"),
        stdout: Some(duplicate(&pipes.output)?),
        stderr: Some(duplicate(&pipes.output)?),
        fds: vec![(TELEMETRY_FD, duplicate(&pipes.frames)?)],
    };
    let zygote = host
        .zygote(plan, late(shared, spec), process)
        .map_err(|error| refused(&error))?;
    let until = Instant::now() + spec.timeout.max(PREPARE_LIMIT_MIN);
    let message = loop {
        if shared.stop.is_cancelled() || !shared.templates.is_wanted(&spec.key) {
            return Err(Without::Unwanted);
        }
        if let Some(message) = zygote.message(WANTED_TICK) {
            break message;
        }
        if Instant::now() > until || !zygote.is_alive() {
            return Err(Without::Init);
        }
    };
    match serde_json::from_slice(&message) {
        Ok(Word::Ready(Readiness { resumes })) => {
            zygote.rest();
            let memory_bytes = settle(shared, spec, &zygote).map_err(|error| refused(&error))?;
            let template = Template {
                host,
                zygote,
                resumes,
                retired: AtomicBool::new(false),
                _watch: None,
            };
            Ok((template, memory_bytes))
        }
        Ok(Word::Refused(why)) => Err(Without::Refused(why)),
        Ok(Word::Error(_)) => Err(Without::Init),
        Err(error) => Err(refused(&error)),
    }
}

/// Lets a template whose init is over hold what it does, with room for as many forks as there may be.
fn settle(shared: &Shared, spec: &FunctionSpec, zygote: &Zygote) -> Result<u64, sandbox::Error> {
    let held = zygote.sandbox().usage()?.memory_bytes;
    let forks = shared.config.memory_mb_max / u64::from(spec.memory_mb.max(1));
    let memory_bytes = held + forks * (FORK_BYTES + held / PAGE_TABLES_DIVISOR);
    zygote.sandbox().attach(Late {
        mounts: Vec::new(),
        memory_bytes,
        ..late(shared, spec)
    })?;
    Ok(memory_bytes)
}

fn placeholder() -> Grant {
    Grant::Keys(Credentials {
        access_key_id: PLACEHOLDER.to_owned(),
        secret_access_key: PLACEHOLDER.to_owned(),
        session_token: PLACEHOLDER.to_owned(),
        expires: SystemTime::UNIX_EPOCH,
    })
}

/// Ends templates. Each waits until nothing of it is left, so not on this thread.
pub(crate) async fn dispose(templates: Vec<Arc<Template>>) {
    if let Err(error) = tokio::task::spawn_blocking(move || drop(templates)).await {
        tracing::error!(%error, "a template was not taken down");
    }
}

impl FunctionSpec {
    /// Whether its environments are to be forks of a template.
    pub(crate) fn wants_template(&self) -> bool {
        self.template || self.initialization == Initialization::SnapStart
    }
}
