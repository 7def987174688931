//! Templates: a process per function version that has run its init once, forked for every environment.
//!
//! AWS runs init in every environment unless SnapStart is on, so templates are for SnapStart alone. A template has a nursery of its own: what a function's init does there reaches only sandboxes of its own
//! version. It sees no event, has no network, and a placeholder for credentials. When there cannot be one the function's
//! log says why, once, and its environments run init themselves.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use sandbox::{Host, Process, Zygote};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::environment::log_target;
use crate::log::{InitReport, Log, TELEMETRY_FD};
use crate::shared::Shared;
use crate::slots::{Kind, late, plan};
use crate::spec::{
    Credentials, FunctionSpec, Initialization, Prepared, Refusal, Status, Unprepared,
};
use crate::variables::runtime_variables;

/// The least time that init has ahead of invocations: AWS gives 130 seconds, or the function's own limit when that is
/// longer (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>).
pub(crate) const PREPARE_LIMIT_MIN: Duration = Duration::from_secs(130);
/// Most templates at once. Each is a process of the function's size.
const TEMPLATES_MAX: usize = 64;
/// What a template has instead of credentials; `mayfly_zygote.py` looks for it.
const PLACEHOLDER: &str = "MAYFLY-TEMPLATE";

/// A process that can be forked into sandboxes of its nursery.
pub(crate) struct Template {
    pub(crate) host: Host,
    pub(crate) zygote: Zygote,
    /// Its version is gone: nothing more is forked of it.
    pub(crate) retired: AtomicBool,
    _watch: tokio_util::sync::DropGuard,
}

enum State {
    Making,
    Ready(Arc<Template>),
    Refused,
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
    Ready(serde::de::IgnoredAny),
    Refused(String),
    Error(String),
}

/// Why there is no template.
enum Without {
    /// It cannot be had, for this reason.
    Refused(String),
    /// Init failed there, with this error document; it may have wanted the network.
    Init(Bytes),
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
        match self.states().get(&spec.key) {
            Some(State::Ready(template)) => return Some(template.clone()),
            Some(State::Making | State::Refused) => return None,
            None => {}
        }
        let (owned, spec) = (shared.clone(), spec.clone());
        shared.tasks.spawn(async move {
            // Why there is none has been logged, and environments do without.
            let _ = prepare(&owned, &spec).await;
        });
        None
    }

    /// Forgets those whose key begins so. Environments that were forked of them go on.
    pub(crate) fn retire(&self, key_prefix: &str) -> Vec<Arc<Template>> {
        let mut states = self.states();
        let keys: Vec<String> = states.keys().cloned().collect();
        let gone = keys.iter().filter(|key| key.starts_with(key_prefix));
        gone.filter_map(|key| match states.remove(key) {
            Some(State::Ready(template)) => {
                template.retired.store(true, Ordering::Release);
                Some(template)
            }
            _ => None,
        })
        .collect()
    }

    /// Templates that can be forked.
    pub(crate) fn ready(&self) -> usize {
        let ready = |state: &&State| matches!(state, State::Ready(_));
        self.states().values().filter(ready).count()
    }

    /// Claims the making of one; false if somebody has or had it.
    fn begin(&self, key: &str) -> bool {
        let mut states = self.states();
        if states.contains_key(key) {
            return false;
        }
        states.insert(key.to_owned(), State::Making);
        true
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

/// Makes the template of a version and the first fork of it. An init that fails is run again as an environment would run
/// it, which tells whether it is the function's own failure.
pub(crate) async fn prepare(
    shared: &Arc<Shared>,
    spec: &Arc<FunctionSpec>,
) -> Result<Prepared, Unprepared> {
    if !spec.wants_template() {
        let why = "the function does without a template".to_owned();
        return Err(Refusal::Internal(why).into());
    }
    let templates = &shared.templates;
    if !templates.begin(&spec.key) {
        return Ok(Prepared {
            init_duration: Duration::ZERO,
            template: match templates.states().get(&spec.key) {
                Some(State::Ready(_)) => Ok(()),
                _ => Err("it is being made, or cannot be had".to_owned()),
            },
        });
    }
    let began = Instant::now();
    let name = uuid::Uuid::new_v4().simple().to_string();
    let (pipes, readers) = crate::log::pipes().map_err(internal)?;
    let log = Log::new(
        shared.events.clone(),
        log_target(spec, &name),
        spec.log.clone(),
        spec.initialization,
        readers,
    );
    log.init_start(spec, &name);
    let stop = CancellationToken::new();
    shared.tasks.spawn(log.clone().watch(stop.clone()));
    let full = templates.states().len() > TEMPLATES_MAX;
    let (owned, for_making) = (shared.clone(), spec.clone());
    let stream = log.stream().to_owned();
    let watch = stop.drop_guard();
    let made = tokio::task::spawn_blocking(move || {
        if full {
            return Err(Without::Refused("there are too many templates".to_owned()));
        }
        let (host, zygote) = make(&owned, &for_making, &name, &stream, &pipes)?;
        Ok(Template {
            host,
            zygote,
            retired: AtomicBool::new(false),
            _watch: watch,
        })
    });
    let made = made.await.map_err(internal)?;
    log.drain_to_end();
    let init_duration = began.elapsed();
    let (why, document) = match made {
        Ok(template) => {
            let template = Arc::new(template);
            log.init_report(&InitReport {
                duration: init_duration,
                phase: "init",
                status: Status::Success,
                error_type: None,
            });
            if templates.end(&spec.key, State::Ready(template.clone())) {
                shared.slots.expect(&Kind::of_template(spec, template));
            } else {
                dispose(vec![template]).await;
            }
            return Ok(Prepared {
                init_duration,
                template: Ok(()),
            });
        }
        Err(Without::Refused(why)) => (why, None),
        Err(Without::Init(document)) => (
            "init fails in it, without network and credentials".to_owned(),
            Some(document),
        ),
    };
    templates.end(&spec.key, State::Refused);
    log.failure(format!(
        "Mayfly: no template, so every environment runs init itself: {why}.\n"
    ));
    tracing::info!(
        function = spec.name,
        version = spec.version,
        why,
        "no template"
    );
    let Some(_) = document else {
        return Ok(Prepared {
            init_duration,
            template: Err(why),
        });
    };
    let init_duration = crate::invoke::init_ahead(shared, spec).await?;
    Ok(Prepared {
        init_duration,
        template: Err(why),
    })
}

/// Starts the nursery and the process, and waits until its init is over. Blocks.
fn make(
    shared: &Shared,
    spec: &FunctionSpec,
    name: &str,
    stream: &str,
    pipes: &crate::log::Pipes,
) -> Result<(Host, Zygote), Without> {
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
    let duplicate = |fd: &std::os::fd::OwnedFd| fd.try_clone().map_err(|error| refused(&error));
    let host = shared.host.nursery().map_err(|error| refused(&error))?;
    let mut env = runtime_variables(spec, spec.initialization, &placeholder(), stream, None);
    env.push(("_MAYFLY_TEMPLATE".to_owned(), "1".to_owned()));
    let mut plan = plan(&spec.runtime, name, shared.config.endpoint_port);
    plan.mounts.clear();
    plan.listeners.clear();
    let process = Process {
        argv: spec.runtime.argv.clone(),
        env,
        cwd: PathBuf::from("/var/task"),
        stdout: Some(duplicate(&pipes.output)?),
        stderr: Some(duplicate(&pipes.output)?),
        fds: vec![(TELEMETRY_FD, duplicate(&pipes.frames)?)],
    };
    let zygote = host
        .zygote(plan, late(spec, true), process)
        .map_err(|error| refused(&error))?;
    let limit = spec.timeout.max(PREPARE_LIMIT_MIN);
    let Some(message) = zygote.message(limit) else {
        return Err(Without::Init(Bytes::new()));
    };
    match serde_json::from_slice(&message) {
        Ok(Word::Ready(_)) => Ok((host, zygote)),
        Ok(Word::Refused(why)) => Err(Without::Refused(why)),
        Ok(Word::Error(document)) => Err(Without::Init(document.into())),
        Err(error) => Err(refused(&error)),
    }
}

fn placeholder() -> Credentials {
    Credentials {
        access_key_id: PLACEHOLDER.to_owned(),
        secret_access_key: PLACEHOLDER.to_owned(),
        session_token: PLACEHOLDER.to_owned(),
        expires: SystemTime::UNIX_EPOCH,
    }
}

/// Ends templates. Each waits until nothing of it is left, so not on this thread.
pub(crate) async fn dispose(templates: Vec<Arc<Template>>) {
    if let Err(error) = tokio::task::spawn_blocking(move || drop(templates)).await {
        tracing::error!(%error, "a template was not taken down");
    }
}

fn internal(error: impl std::fmt::Display) -> Unprepared {
    Unprepared::Refused(Refusal::Internal(error.to_string()))
}

impl FunctionSpec {
    /// Whether its environments are to be forks of a template.
    pub(crate) fn wants_template(&self) -> bool {
        self.initialization == Initialization::SnapStart
    }
}
