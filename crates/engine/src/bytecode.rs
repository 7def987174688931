//! Bytecode: what the Python modules of functions' code and layers compile to.
//!
//! A function cannot write beside its code, so each of its environments would compile every module that comes without
//! bytecode. So that is done once for each content and interpreter, after the deployment, in a sandbox of its own: the
//! sources are strangers', and a compiler can be made to do much. What comes out is kept as one file, not looked into
//! here, and mounted read-only into the sandboxes of functions with that content and no others.
//!
//! All of it is a cache. It may be deleted at any time, and where there is none modules are compiled as they are imported.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, PipeReader, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use sandbox::{Exit, Mount, Process};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::launch::TASK_ROOT;
use crate::plan::plan;
use crate::runtimes::{Compiler, Runtime};
use crate::shared::Shared;
use crate::slots::quiet;
use crate::spec::FunctionSpec;
use crate::variables::parked_variables;

/// Contents that wait to be compiled. Others are asked for again with their next environment.
const WAITING_MAX: usize = 1024;
/// Contents that are remembered for not compiling; all are forgotten when there are more.
const FAILED_MAX: usize = 4096;
/// What compiling may take. `mayfly_compile.py` stops by itself before, and leaves the rest to the import.
const TIME_LIMIT: Duration = Duration::from_secs(300);
const MEMORY_BYTES: u64 = 384 << 20;
const CPU_MILLIS: u32 = 500;
const PROCESSES_MAX: u32 = 8;
const TMP_BYTES: u64 = 1 << 20;
/// The largest file that is kept, and all of them.
const FILE_BYTES_MAX: u64 = 64 << 20;
const CACHE_BYTES_MAX: u64 = 1 << 30;
/// What no environment was made with for so long makes way when there is no more room.
const UNUSED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How often it is asked whether compiling has ended, or the engine stops.
const TICK: Duration = Duration::from_millis(50);

/// The name of the file in an entry; `bootstrap.py` looks for it.
const FILE: &str = "modules";
/// What the names of entries begin with that are not finished.
const DRAFT: &str = "draft-";

/// The cache, and what is to be added to it.
pub(crate) struct Bytecode {
    folder: PathBuf,
    state: Mutex<State>,
    wanted: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Content>,
    /// The name of what is being compiled.
    making: Option<String>,
    failed: HashSet<String>,
    /// When environments were made with an entry last, by [`Shared::now`].
    used: HashMap<String, Duration>,
}

impl State {
    fn is_pending(&self, name: &str) -> bool {
        self.making.as_deref() == Some(name)
            || self.waiting.iter().any(|content| content.name == name)
    }
}

/// A folder of code or layers, and who is to run it.
#[derive(Clone)]
struct Content {
    /// Names the entry: the digest of the content, a dot, and the name of the compiler.
    name: String,
    folder: PathBuf,
    place: &'static Place,
    runtime: Arc<Runtime>,
    compiler: Compiler,
}

/// Where a content is in a sandbox, and what it was compiled to.
struct Place {
    sources: &'static str,
    bytecode: &'static str,
}

const TASK: &Place = &Place {
    sources: TASK_ROOT,
    bytecode: "/var/bytecode/task",
};
const LAYERS: &Place = &Place {
    sources: "/opt",
    bytecode: "/var/bytecode/opt",
};

impl Content {
    /// What can be compiled of a function.
    fn of(spec: &FunctionSpec) -> impl Iterator<Item = Content> {
        let runtime = &spec.runtime;
        let compiler = runtime.compiler.as_ref().filter(|_| spec.content_named);
        let places = [(TASK, Some(&spec.code)), (LAYERS, spec.layers.as_ref())];
        places.into_iter().filter_map(move |(place, folder)| {
            let folder = folder?;
            let digest = folder.file_name()?.to_str()?;
            Some(Content {
                name: format!("{digest}.{}", compiler?.name),
                folder: folder.clone(),
                place,
                runtime: runtime.clone(),
                compiler: compiler?.clone(),
            })
        })
    }
}

impl Bytecode {
    pub(crate) fn new(folder: PathBuf) -> Bytecode {
        Bytecode {
            folder,
            state: Mutex::default(),
            wanted: Notify::new(),
        }
    }

    /// What the sandboxes of a function are to see of it. What is missing is compiled meanwhile.
    pub(crate) fn mounts(&self, spec: &FunctionSpec, now: Duration) -> Vec<Mount> {
        let entry = |content: Content| {
            let path = self.folder.join(&content.name);
            if !path.is_dir() {
                self.want(content);
                return None;
            }
            self.state().used.insert(content.name, now);
            // It may be deleted in this moment.
            Some(Mount::optional(path, content.place.bytecode))
        };
        Content::of(spec).filter_map(entry).collect()
    }

    /// Has compiled what is missing.
    pub(crate) fn expect(&self, spec: &FunctionSpec) {
        for content in Content::of(spec) {
            if !self.folder.join(&content.name).is_dir() {
                self.want(content);
            }
        }
    }

    fn want(&self, content: Content) {
        let mut state = self.state();
        let known = state.failed.contains(&content.name) || state.is_pending(&content.name);
        if !known && state.waiting.len() < WAITING_MAX {
            state.waiting.push_back(content);
            self.wanted.notify_one();
        }
    }

    /// Whether something of a function is going to be compiled.
    pub(crate) fn is_pending(&self, spec: &FunctionSpec) -> bool {
        let state = self.state();
        let none = state.making.is_none() && state.waiting.is_empty();
        !none && Content::of(spec).any(|content| state.is_pending(&content.name))
    }

    /// Compiles what is wanted until `stop`.
    pub(crate) async fn look_after(shared: Arc<Shared>, stop: CancellationToken) {
        let bytecode = &shared.bytecode;
        bytecode.remove_if(|name| name.starts_with(DRAFT));
        while !stop.is_cancelled() {
            let Some(content) = bytecode.take() else {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = bytecode.wanted.notified() => {}
                }
                continue;
            };
            quiet(&shared).await;
            let (owned, of) = (shared.clone(), content.clone());
            let made = tokio::task::spawn_blocking(move || owned.bytecode.make(&owned, &of)).await;
            bytecode.end(content, made.map_err(|error| error.to_string()).flatten());
            // Slots of this content have waited for it.
            shared.slots.look_again();
        }
    }

    fn take(&self) -> Option<Content> {
        let mut state = self.state();
        let content = state.waiting.pop_front()?;
        state.making = Some(content.name.clone());
        Some(content)
    }

    fn end(&self, content: Content, made: Result<(), String>) {
        let mut state = self.state();
        state.making = None;
        if let Err(why) = made {
            let runtime = content.runtime.id;
            tracing::warn!(
                runtime,
                content = content.name,
                why,
                "code is compiled at each start"
            );
            if state.failed.len() >= FAILED_MAX {
                state.failed.clear();
            }
            state.failed.insert(content.name);
        }
    }

    /// Compiles a content and adds it. Blocks.
    fn make(&self, shared: &Shared, content: &Content) -> Result<(), String> {
        let entry = self.folder.join(&content.name);
        if entry.is_dir() {
            return Ok(());
        }
        let draft = Draft::new(&self.folder).map_err(text)?;
        let file = draft.file().map_err(text)?;
        let bytes = compile(shared, content, file)?;
        self.make_room(bytes, shared.now()).map_err(text)?;
        // Whole or not at all: its bytes are on the disk before its name is.
        fs::rename(&draft.0, entry).map_err(text)
    }

    /// Makes room for so many bytes, at the cost of what is not used.
    fn make_room(&self, bytes: u64, now: Duration) -> io::Result<()> {
        let mut entries = Entry::list(&self.folder)?;
        let total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        let mut excess = (total + bytes).saturating_sub(CACHE_BYTES_MAX);
        {
            let used = &mut self.state().used;
            used.retain(|name, _| entries.iter().any(|entry| entry.name == *name));
            entries.retain(|entry| {
                let since = used.get(&entry.name);
                since.is_none_or(|since| now.saturating_sub(*since) > UNUSED_AFTER)
            });
        }
        entries.sort_by_key(|entry| entry.made);
        for entry in entries {
            if excess == 0 {
                break;
            }
            remove(&self.folder.join(entry.name))?;
            excess = excess.saturating_sub(entry.bytes);
        }
        match excess {
            0 => Ok(()),
            _ => Err(io::Error::other("the cache is full of what is in use")),
        }
    }

    /// Removes what is not of one of these contents.
    pub(crate) fn sweep(&self, contents: &BTreeSet<String>) {
        let digest = |name: &str| name.split('.').next().map(str::to_owned);
        self.remove_if(|name| {
            let is_kept = digest(name).is_some_and(|digest| contents.contains(&digest));
            !is_kept && !name.starts_with(DRAFT)
        });
    }

    fn remove_if(&self, condition: impl Fn(&str) -> bool) {
        let entries = match Entry::list(&self.folder) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "the cache of bytecode was not swept");
                return;
            }
        };
        for entry in entries.iter().filter(|entry| condition(&entry.name)) {
            if let Err(error) = remove(&self.folder.join(&entry.name)) {
                tracing::warn!(entry = entry.name, %error, "bytecode was not removed");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one insertion or removal, or an assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One in the cache's folder.
struct Entry {
    name: String,
    bytes: u64,
    made: SystemTime,
}

impl Entry {
    /// All there are; none if there is no folder.
    fn list(folder: &Path) -> io::Result<Vec<Entry>> {
        let listed = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let entry = |found: fs::DirEntry| {
            // One that goes meanwhile takes no room.
            let file = fs::metadata(found.path().join(FILE)).ok();
            Entry {
                name: found.file_name().to_string_lossy().into_owned(),
                bytes: file.as_ref().map_or(0, fs::Metadata::len),
                made: file
                    .and_then(|file| file.modified().ok())
                    .unwrap_or(SystemTime::UNIX_EPOCH),
            }
        };
        listed.map(|found| found.map(entry)).collect()
    }
}

/// A folder that becomes an entry, or goes.
struct Draft(PathBuf);

impl Draft {
    /// The folders above it are ours alone; it is read by the users of sandboxes that it is mounted into.
    fn new(folder: &Path) -> io::Result<Draft> {
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700).create(folder)?;
        let draft = folder.join(format!("{DRAFT}{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&draft)?;
        let draft = Draft(draft);
        fs::set_permissions(&draft.0, fs::Permissions::from_mode(0o755))?;
        Ok(draft)
    }

    fn file(&self) -> io::Result<File> {
        let file = File::create_new(self.0.join(FILE))?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        Ok(file)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is not there when it has become an entry; otherwise the next start removes it.
        let _ = remove(&self.0);
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Has a content's interpreter compile it in a sandbox, and writes what comes out. Tells how many bytes that is.
fn compile(shared: &Shared, content: &Content, file: File) -> Result<u64, String> {
    let name = uuid::Uuid::new_v4().simple().to_string();
    let mut plan = plan(&content.runtime, &name, shared.config.endpoint_port);
    plan.listeners.clear();
    let sources = Mount::read_only(&content.folder, content.place.sources);
    plan.mounts.push(sources);
    plan.memory_bytes = MEMORY_BYTES;
    plan.tmp_bytes = TMP_BYTES;
    plan.pids_max = PROCESSES_MAX;
    plan.cpu_millis = Some(CPU_MILLIS);
    let executable = content
        .runtime
        .argv
        .first()
        .ok_or("it has no interpreter")?;
    let script = content.compiler.script.as_str();
    let argv = [executable, "-I", "-S", "-u", script, content.place.sources];
    let (output, input) = io::pipe().map_err(text)?;
    let process = Process {
        argv: argv.map(str::to_owned).to_vec(),
        // As functions have them, so that it finds its libraries and spells the names of files alike.
        env: parked_variables(&content.runtime),
        stdout: Some(input.into()),
        ..Process::default()
    };
    let sandbox = shared.host.create(plan).map_err(text)?;
    let child = sandbox.spawn(process).map_err(text)?;
    let writer = thread::spawn(move || write(output, file));
    let until = Instant::now() + TIME_LIMIT;
    let exit = loop {
        match child.wait_timeout(TICK) {
            Ok(None) if shared.stop.is_cancelled() => break Err("the engine stops".to_owned()),
            Ok(None) if Instant::now() > until => break Err("it took too long".to_owned()),
            Ok(None) => {}
            Ok(Some(exit)) => break Ok(exit),
            Err(error) => break Err(error.to_string()),
        }
    };
    // With it goes all that could write.
    drop(sandbox);
    let written = writer.join().map_err(|_| "the writer panicked")?;
    match exit? {
        Exit::Code(0) => written.map_err(text),
        exit => Err(format!("its interpreter ended: {exit:?}")),
    }
}

/// Writes a limited number of bytes to the disk.
fn write(output: PipeReader, mut file: File) -> io::Result<u64> {
    let bytes = io::copy(&mut output.take(FILE_BYTES_MAX + 1), &mut file)?;
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::other("it is too large"));
    }
    file.sync_all()?;
    Ok(bytes)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A cache with entries of such sizes, in gigabytes, the oldest first.
    fn cache(folder: &Path, entries: &[(&str, u64)]) -> Bytecode {
        for (age, (name, size)) in entries.iter().rev().enumerate() {
            let draft = Draft::new(folder).unwrap();
            let file = draft.file().unwrap();
            file.set_len(size * (CACHE_BYTES_MAX / 10)).unwrap();
            let made = SystemTime::now() - DAY * u32::try_from(age).unwrap();
            file.set_modified(made).unwrap();
            fs::rename(&draft.0, folder.join(name)).unwrap();
        }
        Bytecode::new(folder.to_owned())
    }

    fn names(bytecode: &Bytecode) -> Vec<String> {
        let mut entries = Entry::list(&bytecode.folder).unwrap();
        entries.sort_by_key(|entry| entry.made);
        entries.into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn the_oldest_that_is_not_used_makes_way() {
        let folder = tempfile::tempdir().unwrap();
        let bytecode = cache(folder.path(), &[("a", 3), ("b", 3), ("c", 3)]);
        let now = DAY * 3;
        bytecode.state().used.insert("a".to_owned(), now - DAY / 2);
        bytecode.state().used.insert("b".to_owned(), now - DAY * 2);
        bytecode.make_room(1, now).unwrap();
        assert_eq!(names(&bytecode), ["a", "b", "c"]);
        bytecode.make_room(CACHE_BYTES_MAX / 5, now).unwrap();
        assert_eq!(names(&bytecode), ["a", "c"]);
        bytecode.make_room(CACHE_BYTES_MAX / 10 * 6, now).unwrap();
        assert_eq!(names(&bytecode), ["a"]);
        bytecode.make_room(CACHE_BYTES_MAX, now).unwrap_err();
        assert_eq!(names(&bytecode), ["a"]);
    }

    #[test]
    fn what_is_swept_is_of_no_content() {
        let folder = tempfile::tempdir().unwrap();
        let entries = [("one.x", 1), ("one.y", 1), ("two.x", 1), ("draft-1", 1)];
        let bytecode = cache(folder.path(), &entries);
        bytecode.sweep(&BTreeSet::from(["one".to_owned(), "three".to_owned()]));
        assert_eq!(names(&bytecode), ["one.x", "one.y", "draft-1"]);
        Bytecode::new(folder.path().join("missing")).sweep(&BTreeSet::new());
    }
}
