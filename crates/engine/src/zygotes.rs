//! Zygotes: an interpreter of each runtime that has loaded its bootstrap and no function, forked for every slot of it.
//!
//! A fork takes a tenth of the time that executing an interpreter does, and shares the memory of what is the same in all
//! of them. A zygote runs no code of a function's, so its nursery serves functions of everybody; what holds it is what
//! holds a [`Template`]. Its forks also share the layout of their memory and the seed of Python's hashes, so it is
//! replaced by a new one after a number of forks and after a time.
//!
//! Where there is none the interpreter of a slot is executed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sandbox::{Late, Process};

use crate::runtimes::Runtime;
use crate::shared::Shared;
use crate::slots::{files, plan};
use crate::templates::{self, Template};
use crate::variables::zygote_variables;

/// Forks of one zygote. Its nursery has host ids for 2,047 sandboxes.
const FORKS_MAX: u32 = 1500;
/// A zygote that is older is not forked any more.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// How long it may take until it can be forked.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often its start looks whether the engine stops.
const START_TICK: Duration = Duration::from_millis(100);
/// After a failure none is started for this long.
const FAILURE_REST: Duration = Duration::from_secs(300);

/// Those of all runtimes, by [`Runtime::digest`].
#[derive(Default)]
pub(crate) struct Zygotes {
    states: Mutex<HashMap<String, State>>,
    /// Held while one is being started, so that none is started twice.
    starting: tokio::sync::Mutex<()>,
}

enum State {
    Ready {
        zygote: Arc<Template>,
        since: Instant,
        forks: u32,
    },
    Failed(Instant),
}

impl Zygotes {
    /// The zygote of a runtime, to be forked once, if there is one.
    pub(crate) fn ready(&self, runtime: &Runtime) -> Option<Arc<Template>> {
        match self.states().get_mut(&runtime.digest)? {
            State::Ready {
                zygote,
                since,
                forks,
            } if *forks < FORKS_MAX && since.elapsed() < AGE_MAX => {
                *forks += 1;
                Some(zygote.clone())
            }
            _ => None,
        }
    }

    /// The zygote of a runtime, to be forked once. One is started when there is none.
    pub(crate) async fn get(
        &self,
        shared: &Arc<Shared>,
        runtime: &Arc<Runtime>,
    ) -> Option<Arc<Template>> {
        if !shared.config.zygotes || !runtime.forks {
            return None;
        }
        let _starting = self.starting.lock().await;
        if let Some(zygote) = self.ready(runtime) {
            return Some(zygote);
        }
        if let Some(State::Failed(when)) = self.states().get(&runtime.digest)
            && when.elapsed() < FAILURE_REST
        {
            return None;
        }
        let (owned, of) = (shared.clone(), runtime.clone());
        let started = tokio::task::spawn_blocking(move || start(&owned, &of)).await;
        let (state, zygote) = match started.map_err(|error| error.to_string()).flatten() {
            Ok(zygote) => {
                let ready = State::Ready {
                    zygote: zygote.clone(),
                    since: Instant::now(),
                    forks: 1,
                };
                (ready, Some(zygote))
            }
            Err(why) => {
                if !shared.stop.is_cancelled() {
                    let runtime = runtime.id;
                    tracing::warn!(runtime, why, "no zygote: interpreters are executed");
                }
                (State::Failed(Instant::now()), None)
            }
        };
        let before = self.states().insert(runtime.digest.clone(), state);
        dispose(before).await;
        zygote
    }

    /// Gives up one that ended by itself.
    pub(crate) fn lose(&self, lost: &Arc<Template>) {
        self.states().retain(
            |_, state| !matches!(state, State::Ready { zygote, .. } if Arc::ptr_eq(zygote, lost)),
        );
    }

    /// Forgets all of them. Each ends with the last of its forks.
    pub(crate) async fn shed(&self) {
        let _starting = self.starting.lock().await;
        let states = std::mem::take(&mut *self.states());
        dispose(states.into_values()).await;
    }

    fn states(&self) -> MutexGuard<'_, HashMap<String, State>> {
        // Every change is one insertion or removal.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn dispose(states: impl IntoIterator<Item = State>) {
    let zygotes = states.into_iter().filter_map(|state| match state {
        State::Ready { zygote, .. } => Some(zygote),
        State::Failed(_) => None,
    });
    let zygotes: Vec<_> = zygotes.collect();
    if !zygotes.is_empty() {
        templates::dispose(zygotes).await;
    }
}

/// Starts the nursery and the interpreter, and waits until that can be forked. Blocks.
fn start(shared: &Shared, runtime: &Runtime) -> Result<Arc<Template>, String> {
    let host = shared.host.nursery().map_err(|error| error.to_string())?;
    let name = uuid::Uuid::new_v4().simple().to_string();
    let mut plan = plan(runtime, &name, shared.config.endpoint_port);
    plan.mounts.clear();
    plan.listeners.clear();
    let late = Late {
        mounts: files(runtime),
        tmp_bytes: plan.tmp_bytes,
        memory_bytes: plan.memory_bytes,
    };
    let process = Process {
        argv: runtime.argv.clone(),
        env: zygote_variables(runtime),
        cwd: PathBuf::from("/"),
        stdout: None,
        stderr: None,
        fds: Vec::new(),
    };
    let zygote = host
        .zygote(plan, late, process)
        .map_err(|error| error.to_string())?;
    let until = Instant::now() + START_LIMIT;
    loop {
        if shared.stop.is_cancelled() {
            return Err("the engine stops".to_owned());
        }
        // What it says is only ever that it is ready.
        if zygote.message(START_TICK).is_some() {
            return Ok(Arc::new(Template {
                host,
                zygote,
                retired: AtomicBool::new(false),
                _watch: None,
            }));
        }
        if !zygote.is_alive() || Instant::now() > until {
            return Err("it did not get ready".to_owned());
        }
    }
}
