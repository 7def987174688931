//! Finds interpreters on the machine and asks each what it is, once.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Family;
use super::python::hex_digest;

/// How long an interpreter may take to say what it is.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// What an interpreter may say.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Candidates looked at; a machine with more has lost its way.
const CANDIDATES_MAX: usize = 200;

/// A Python that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Python {
    /// The interpreter itself, links resolved.
    pub(super) executable: PathBuf,
    /// Its installation.
    pub(super) prefix: PathBuf,
    pub(super) major: u8,
    pub(super) minor: u8,
    pub(super) micro: u32,
    /// Where its standard library is.
    pub(super) library: PathBuf,
    /// SHA-256 of the interpreter's file, in hex.
    pub(super) sha256: String,
}

impl Python {
    /// The identifier of its version.
    pub(super) fn family(&self) -> Family {
        Family::Python(self.major, self.minor)
    }
}

/// The interpreters whose names were seen, and what those said that were asked.
#[derive(Debug)]
pub(super) struct Search {
    /// By the version in the name, which only running it confirms.
    candidates: Vec<(Family, PathBuf)>,
    cache_path: PathBuf,
    cache: Mutex<Cache>,
}

/// Answers of earlier probes, by path.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cache {
    probes: BTreeMap<PathBuf, Probe>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Probe {
    file: Stamp,
    python: Option<Python>,
}

/// What changes when a file is replaced or written: an answer is believed for as long as it is the same. The time of
/// the last change cannot be set back, as that of the last modification is by package managers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let meta = fs::metadata(path).ok()?;
        Some(Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

impl Search {
    /// Looks at names only. `cache_path` is where answers are kept for the next start.
    pub(super) fn begin(cache_path: PathBuf) -> Search {
        let mut candidates = candidates();
        candidates.truncate(CANDIDATES_MAX);
        // A cache that cannot be read or understood costs a few probes, nothing else.
        let cache = fs::read(&cache_path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Search {
            candidates,
            cache_path,
            cache: Mutex::new(cache.unwrap_or_default()),
        }
    }

    /// The Python of this version with the highest patch level.
    pub(super) fn newest(&self, family: Family) -> Option<Python> {
        let named = self.candidates.iter().filter(|(of, _)| *of == family);
        let pythons: Vec<Option<Python>> = thread::scope(|scope| {
            let asked: Vec<_> = named
                .map(|(_, path)| scope.spawn(|| self.ask(path)))
                .collect();
            let answers = asked.into_iter().map(|probe| probe.join().unwrap_or(None));
            answers.collect()
        });
        let right = pythons.into_iter().flatten();
        right
            .filter(|python| python.family() == family)
            .max_by_key(|python| python.micro)
    }

    /// What an interpreter says of itself, now or when its file was last looked at; `None` when it does not work.
    pub(super) fn ask(&self, path: &Path) -> Option<Python> {
        let file = Stamp::of(path)?;
        if let Some(probe) = self.cache().probes.get(path)
            && probe.file == file
        {
            return probe.python.clone();
        }
        let python = ask_python(path);
        let probe = Probe {
            file,
            python: python.clone(),
        };
        let mut cache = self.cache();
        cache.probes.insert(path.to_owned(), probe);
        cache.save(&self.cache_path);
        python
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Every change is one insertion, so a panic elsewhere leaves it whole.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    /// Whole or not at all: a crash in between leaves the one before.
    fn save(&self, path: &Path) {
        let bytes = serde_json::to_vec_pretty(self).expect("paths that serde read can be written");
        let draft = path.with_extension("new");
        let written = fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, path));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "the cache of runtimes was not saved");
        }
    }
}

/// Interpreters by their usual places: the system's, PATH, then the folders of version managers.
fn candidates() -> Vec<(Family, PathBuf)> {
    let mut out = Vec::new();
    let mut folders: Vec<PathBuf> = vec!["/usr/bin".into(), "/usr/local/bin".into()];
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path).filter(|folder| folder.is_absolute()));
    }
    if let Some(home) = std::env::var_os("HOME").map(PathBuf::from) {
        for versions in [
            ".local/share/uv/python",
            ".pyenv/versions",
            ".local/share/mise/installs/python",
            ".asdf/installs/python",
        ] {
            folders.extend(
                subfolders(&home.join(versions))
                    .into_iter()
                    .map(|version| version.join("bin")),
            );
        }
    }
    for folder in folders {
        // A shim decides at run time what it starts, and may start nothing at all.
        if folder.components().any(|part| part.as_os_str() == "shims") {
            continue;
        }
        for (family, name) in names_in(&folder) {
            // Links and their targets are one interpreter.
            if let Ok(path) = fs::canonicalize(folder.join(name)) {
                let candidate = (family, path);
                if !out.contains(&candidate) {
                    out.push(candidate);
                }
            }
        }
    }
    out
}

fn names_in(folder: &Path) -> Vec<(Family, String)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names
        .filter_map(|name| Some((version_in(&name)?, name)))
        .collect();
    names.sort_by(|(_, a), (_, b)| a.cmp(b));
    names
}

/// `python3.11` and the like; plain `python3` is a link to one of them, or is found through its own name.
fn version_in(name: &str) -> Option<Family> {
    let (major, minor) = name.strip_prefix("python")?.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (matches!(major, "2" | "3") && digits(minor)).then_some(())?;
    Some(Family::Python(major.parse().ok()?, minor.parse().ok()?))
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut out: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    out.sort();
    out
}

/// Runs an interpreter and lets it describe itself; `None` when it does not work.
fn ask_python(path: &Path) -> Option<Python> {
    const QUESTION: &str = "import sys, os\n\
        sys.stdout.write('\\n'.join(['%d %d %d' % tuple(sys.version_info[:3]), sys.prefix, os.path.dirname(os.__file__)]))";
    let mut command = Command::new(path);
    command.args(["-S", "-E", "-c", QUESTION]).env_clear();
    let answer = run(command)?;
    let mut lines = answer.lines();
    let mut version = lines.next()?.split(' ');
    let (major, minor) = (version.next()?.parse().ok()?, version.next()?.parse().ok()?);
    let micro = version.next()?.parse().ok()?;
    let prefix = PathBuf::from(lines.next()?);
    let library = PathBuf::from(lines.next()?);
    let executable = fs::canonicalize(path).ok()?;
    let sha256 = hex_digest(&[&fs::read(&executable).ok()?]);
    Some(Python {
        executable,
        prefix,
        major,
        minor,
        micro,
        library,
        sha256,
    })
}

/// Runs a command within [`PROBE_LIMIT`] and gives its output when it succeeded.
pub(super) fn run(mut command: Command) -> Option<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let succeeded = wait(&mut child)?;
    let mut answer = String::new();
    child
        .stdout
        .take()?
        .take(ANSWER_BYTES_MAX)
        .read_to_string(&mut answer)
        .ok()?;
    succeeded.then_some(answer)
}

fn wait(child: &mut Child) -> Option<bool> {
    let end = Instant::now() + PROBE_LIMIT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(2)),
            _ => {
                // It may have ended by itself in this moment; either way it is gone after the wait.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}
