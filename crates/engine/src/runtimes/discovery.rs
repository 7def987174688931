//! Finds interpreters on the machine and asks each what it is.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long an interpreter may take to say what it is.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// Interpreters asked at the same time.
const PROBES_AT_ONCE: usize = 4;
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
}

/// Answers of earlier probes, by path; believed while file and time are the same.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Cache {
    probes: BTreeMap<PathBuf, Probe>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Probe {
    modified_ns: i128,
    size: u64,
    python: Option<Python>,
}

impl Cache {
    pub(super) fn load(path: &Path) -> Cache {
        // A cache that cannot be read or understood costs a few probes, nothing else.
        fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    pub(super) fn save(&self, path: &Path) {
        let bytes = serde_json::to_vec_pretty(self).expect("paths that serde read can be written");
        if let Err(error) = fs::write(path, bytes) {
            tracing::warn!(path = %path.display(), %error, "the cache of runtimes was not saved");
        }
    }
}

/// Every Python on this machine that runs.
pub(super) fn pythons(cache: &mut Cache) -> Vec<Python> {
    let mut unknown = Vec::new();
    let mut found = Vec::new();
    for path in candidates().into_iter().take(CANDIDATES_MAX) {
        match cache.probes.get(&path) {
            Some(probe) if stamp(&path) == Some((probe.modified_ns, probe.size)) => {
                found.extend(probe.python.clone())
            }
            _ => unknown.push(path),
        }
    }
    for batch in unknown.chunks(PROBES_AT_ONCE) {
        let answers: Vec<_> = thread::scope(|scope| {
            let asked: Vec<_> = batch
                .iter()
                .map(|path| scope.spawn(|| ask_python(path)))
                .collect();
            asked
                .into_iter()
                .map(|probe| probe.join().unwrap_or(None))
                .collect()
        });
        for (path, python) in batch.iter().zip(answers) {
            if let Some((modified_ns, size)) = stamp(path) {
                cache.probes.insert(
                    path.clone(),
                    Probe {
                        modified_ns,
                        size,
                        python: python.clone(),
                    },
                );
            }
            found.extend(python);
        }
    }
    found.sort_by_key(|python| (python.major, python.minor, python.micro));
    found.dedup_by(|a, b| a.executable == b.executable);
    found
}

fn stamp(path: &Path) -> Option<(i128, u64)> {
    let meta = fs::metadata(path).ok()?;
    Some((
        i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
        meta.size(),
    ))
}

/// Interpreters by their usual places: the system's, PATH, then the folders of version managers.
fn candidates() -> Vec<PathBuf> {
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
        for name in names_in(&folder) {
            // Links and their targets are one interpreter.
            if let Ok(path) = fs::canonicalize(folder.join(name))
                && !out.contains(&path)
            {
                out.push(path);
            }
        }
    }
    out
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_python_name(name)).collect();
    names.sort();
    names
}

/// `python3.11` and the like; plain `python3` is a link to one of them, or is found through its own name.
fn is_python_name(name: &str) -> bool {
    let Some((major, minor)) = name
        .strip_prefix("python")
        .and_then(|version| version.split_once('.'))
    else {
        return false;
    };
    matches!(major, "2" | "3")
        && !minor.is_empty()
        && minor.bytes().all(|byte| byte.is_ascii_digit())
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
pub(super) fn ask_python(path: &Path) -> Option<Python> {
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
    Some(Python {
        executable,
        prefix,
        major,
        minor,
        micro,
        library,
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
