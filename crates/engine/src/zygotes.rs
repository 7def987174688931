//! Zygotes: an interpreter of each runtime that has loaded its bootstrap and no function, forked for every slot of it.
//!
//! A fork takes a tenth of the time that executing an interpreter does, and shares the memory of what is the same in all
//! of them. A zygote runs no code of a function's, so its nursery serves functions of everybody; what holds it is what
//! holds a [`Template`]. Its forks also share the layout of their memory and the seed of Python's hashes, so it is
//! replaced by a new one after a number of forks and after a time.
//!
//! Where there is none the interpreter of a slot is executed.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use sandbox::Process;

use crate::plan::{files, plan};
use crate::runtimes::Runtime;
use crate::shared::Shared;
use crate::spec::FunctionSpec;
use crate::templates::{self, Template};
use crate::variables::zygote_variables;

/// A zygote that is older is not forked any more.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// How long it may take until it can be forked.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often its start looks whether the engine stops.
const START_TICK: Duration = Duration::from_millis(100);
/// After a failure none is started for this long.
const FAILURE_REST: Duration = Duration::from_secs(300);

/// How much is told of what one wrote that did not get ready.
const LAST_WORDS_BYTES: u64 = 500;
/// What names AWS's SDK in Python code.
const SDK_NAMES: &[&[u8]] = &[b"boto3", b"botocore"];
/// How much of a function's code is searched for the name of the SDK, and how many files.
const SEARCHED_BYTES_MAX: u64 = 1 << 20;
const SEARCHED_FILES_MAX: usize = 64;
/// Packages of code of which it is remembered; all are forgotten when there are more.
const REMEMBERED_MAX: usize = 4096;

/// Those of all runtimes, by [`Runtime::digest`] and whether they have loaded AWS's SDK.
#[derive(Default)]
pub(crate) struct Zygotes {
    states: Mutex<HashMap<(String, bool), State>>,
    /// Whether a folder of code names the SDK.
    naming: Mutex<HashMap<PathBuf, bool>>,
    /// Held while one is being started, so that none is started twice.
    starting: tokio::sync::Mutex<()>,
}

enum State {
    Ready {
        zygote: Arc<Template>,
        /// When it was started, by [`Shared::now`].
        since: Duration,
        forks: u32,
    },
    Failed(Instant),
}

impl Zygotes {
    /// The zygote of a runtime, to be forked once, if there is one.
    pub(crate) fn ready(
        &self,
        shared: &Shared,
        runtime: &Runtime,
        sdk: bool,
    ) -> Option<Arc<Template>> {
        let (now, forks_max) = (shared.now(), shared.config.zygote_forks_max);
        match self.states().get_mut(&(runtime.digest.clone(), sdk))? {
            State::Ready {
                zygote,
                since,
                forks,
            } if *forks < forks_max && now.saturating_sub(*since) < AGE_MAX => {
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
        sdk: bool,
    ) -> Option<Arc<Template>> {
        if !shared.config.zygotes || !runtime.forks {
            return None;
        }
        let _starting = self.starting.lock().await;
        if let Some(zygote) = self.ready(shared, runtime, sdk) {
            return Some(zygote);
        }
        let key = (runtime.digest.clone(), sdk);
        if let Some(State::Failed(when)) = self.states().get(&key)
            && when.elapsed() < FAILURE_REST
        {
            return None;
        }
        let (owned, of) = (shared.clone(), runtime.clone());
        let started = tokio::task::spawn_blocking(move || start(&owned, &of, sdk)).await;
        let (state, zygote) = match started.map_err(|error| error.to_string()).flatten() {
            Ok(zygote) => {
                let ready = State::Ready {
                    zygote: zygote.clone(),
                    since: shared.now(),
                    forks: 1,
                };
                (ready, Some(zygote))
            }
            Err(why) => {
                if !shared.stop.is_cancelled() {
                    let runtime = runtime.id;
                    tracing::warn!(runtime, sdk, why, "no zygote: interpreters are executed");
                }
                (State::Failed(Instant::now()), None)
            }
        };
        let before = self.states().insert(key, state);
        dispose(before).await;
        zygote
    }

    /// Whether a function is likely to load AWS's SDK, and the one that its runtime has. One that brings another notices
    /// itself, and starts anew.
    pub(crate) fn suits_sdk(&self, spec: &FunctionSpec) -> bool {
        if spec.runtime.sdk.is_none() || !spec.runtime.forks {
            return false;
        }
        let naming = || self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = naming().get(&spec.code) {
            return *known;
        }
        let names = names_sdk(&spec.code);
        let mut naming = naming();
        if naming.len() >= REMEMBERED_MAX {
            naming.clear();
        }
        naming.insert(spec.code.clone(), names);
        names
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

    fn states(&self) -> MutexGuard<'_, HashMap<(String, bool), State>> {
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

/// Whether Python code in a folder names the SDK: in a file of it or of the folders in it, within bounds.
fn names_sdk(code: &Path) -> bool {
    let (mut bytes, mut files) = (SEARCHED_BYTES_MAX, SEARCHED_FILES_MAX);
    let mut folders = VecDeque::from([code.to_owned()]);
    while let Some(folder) = folders.pop_front() {
        // What cannot be read is looked at by nobody.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && folders.len() < SEARCHED_FILES_MAX => {
                    folders.push_back(path);
                }
                Ok(kind) if kind.is_file() && path.extension().is_some_and(|end| end == "py") => {
                    if files == 0 || bytes == 0 {
                        return false;
                    }
                    let mut text = Vec::new();
                    let read = fs::File::open(path)
                        .and_then(|file| file.take(bytes).read_to_end(&mut text));
                    files -= 1;
                    bytes -= read.map_or(0, |read| u64::try_from(read).unwrap_or(bytes));
                    if SDK_NAMES.iter().any(|name| memmem(&text, name)) {
                        return true;
                    }
                }
                _ => {}
            }
        }
    }
    false
}

fn memmem(text: &[u8], name: &[u8]) -> bool {
    text.windows(name.len()).any(|part| part == name)
}

/// Starts the nursery and the interpreter, and waits until that can be forked. Blocks.
fn start(shared: &Shared, runtime: &Runtime, sdk: bool) -> Result<Arc<Template>, String> {
    let host = shared.host.nursery(files(runtime));
    let host = host.map_err(|error| error.to_string())?;
    let name = uuid::Uuid::new_v4().simple().to_string();
    let mut plan = plan(runtime, &name, shared.config.endpoint_port);
    plan.mounts.clear();
    plan.listeners.clear();
    let late = sandbox::Late {
        mounts: Vec::new(),
        tmp_bytes: plan.tmp_bytes,
        memory_bytes: plan.memory_bytes,
    };
    let said = memfd_create("zygote", MemfdFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let process = Process {
        argv: runtime.waiting.clone().unwrap_or_default(),
        env: zygote_variables(runtime, sdk),
        cwd: PathBuf::from("/"),
        stdout: None,
        stderr: Some(said.try_clone().map_err(|error| error.to_string())?),
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
                resumes: false,
                retired: AtomicBool::new(false),
                _watch: None,
            }));
        }
        if !zygote.is_alive() || Instant::now() > until {
            return Err(format!("it did not get ready: {}", last_words(said)));
        }
    }
}

/// The end of what it wrote to its standard error.
fn last_words(said: OwnedFd) -> String {
    let mut file = fs::File::from(said);
    let end = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(end.saturating_sub(LAST_WORDS_BYTES)))
        .and_then(|_| file.read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) => error.to_string(),
    }
}
