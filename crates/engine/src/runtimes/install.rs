//! Adds AWS's SDK to a runtime: an interpreter's own pip fetches exactly what is pinned in the repository, the runtime's
//! interpreter compiles and tries it, and a link makes it the one that counts.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock, syncfs};

use super::discovery::{self, Python, Search};
use super::sdk::{CURRENT, PACKAGE, SDK_TARGET, Sdk};
use super::{Catalogue, Family, IDENTIFIERS, Unavailable, identifier, missing};

/// How long pip may take: 20 MB over a slow line.
const FETCH_LIMIT: Duration = Duration::from_secs(600);
/// How long an interpreter may take to compile some hundred files, and to import them.
const COMPILE_LIMIT: Duration = Duration::from_secs(120);
/// How often a command is asked whether it has ended.
const TICK: Duration = Duration::from_millis(20);
/// Tries and seconds of silence after which pip gives up on the index; its own defaults take minutes.
const PIP_PATIENCE: [&str; 4] = ["--retries", "1", "--timeout", "15"];
/// Of what a command said, this much is shown.
const SAID_BYTES_MAX: usize = 2000;
/// The folder that is being filled, and what is said meanwhile.
const DRAFT: &str = "draft";
const DRAFT_LOG: &str = "draft.log";

/// What is installed, by the first Python that it is for. `make sdk-pins` writes these files.
const PINS: &[((u8, u8), &str)] = &[
    (
        (2, 7),
        include_str!("../../../../runtimes/python/sdk/2.7.txt"),
    ),
    (
        (3, 6),
        include_str!("../../../../runtimes/python/sdk/3.6.txt"),
    ),
    (
        (3, 7),
        include_str!("../../../../runtimes/python/sdk/3.7.txt"),
    ),
    (
        (3, 8),
        include_str!("../../../../runtimes/python/sdk/3.8.txt"),
    ),
    (
        (3, 9),
        include_str!("../../../../runtimes/python/sdk/3.9.txt"),
    ),
    (
        (3, 10),
        include_str!("../../../../runtimes/python/sdk/3.10.txt"),
    ),
];

/// What has come of adding an SDK.
#[derive(Clone, Debug)]
pub struct Added {
    /// The one that counts now.
    pub sdk: Sdk,
    /// Whether it was not there before.
    pub is_new: bool,
}

/// Why an SDK was not added.
#[derive(Debug, thiserror::Error)]
pub enum NotAdded {
    /// There is no such runtime, or nothing here runs it.
    #[error("{0}")]
    Unavailable(#[from] Unavailable),
    /// The runtime is not one that AWS puts an SDK into.
    #[error("{id} has no SDK: its functions bring their own")]
    NoSdk {
        /// The runtime.
        id: String,
    },
    /// Nothing here can fetch packages.
    #[error(
        "no Python on this machine has pip, which fetches the SDK: install it, such as with apt-get install python3-pip"
    )]
    NoPip,
    /// The package index does not answer.
    #[error(
        "pip does not reach its package index for {what}. Without a way there, PIP_INDEX_URL can name a mirror and PIP_FIND_LINKS a folder of wheels.\n{said}"
    )]
    Unreachable {
        /// What was to be fetched.
        what: String,
        /// What pip said.
        said: String,
    },
    /// pip failed.
    #[error("pip did not fetch {what}:\n{said}")]
    Fetch {
        /// What was to be fetched.
        what: String,
        /// What pip said.
        said: String,
    },
    /// It was fetched, and the interpreter cannot use it.
    #[error("{} cannot import {what}:\n{said}", python.display())]
    Unusable {
        /// The runtime's interpreter.
        python: PathBuf,
        /// What was fetched.
        what: String,
        /// What it said.
        said: String,
    },
    /// A file or folder failed.
    #[error("cannot add an SDK at {}: {source}", path.display())]
    Files {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Catalogue {
    /// Adds the SDK that is pinned for a runtime, into the folder of SDKs that this catalogue was made with. Runtimes that were
    /// found before do not have it yet. Runs interpreters and waits for the network; several processes may do so at once.
    pub fn add_sdk(&self, id: &str) -> Result<Added, NotAdded> {
        let (_, known) = identifier(id)?;
        let wanted = match known.family {
            Family::Python(major, minor) => Wanted::of(major, minor),
            _ => None,
        };
        let sdks = self.0.config.sdks.as_deref();
        let (Some(wanted), Some(sdks)) = (wanted, sdks) else {
            return Err(NotAdded::NoSdk { id: id.to_owned() });
        };
        let python = self.0.python(known).ok_or_else(|| missing(known))?;
        let folder = sdks.join(id);
        let files = |source| NotAdded::Files {
            path: folder.clone(),
            source,
        };
        let place = Place::open(folder.clone()).map_err(files)?;
        let is_new = place.current().as_deref() != Some(&*wanted.folder);
        if is_new {
            let draft = place.draft().map_err(files)?;
            fetch(&wanted, &python, &self.0.search, &draft)?;
            compile(&python, &draft).map_err(files)?;
            try_out(&wanted, &python, &draft)?;
            place.publish(&wanted.folder).map_err(files)?;
        }
        let gone = || files(io::Error::other("what was added is not there"));
        let sdk = Sdk::find(sdks, id).ok_or_else(gone)?;
        Ok(Added { sdk, is_new })
    }
}

/// What `add_sdk` would install for a runtime, such as `boto3 1.42.97`.
pub fn pinned_sdk(family: Family) -> Option<String> {
    match family {
        Family::Python(major, minor) => Wanted::of(major, minor).map(|wanted| wanted.what),
        _ => None,
    }
}

/// One list of pins.
struct Wanted {
    pins: &'static str,
    what: String,
    /// The name of the folder.
    folder: PathBuf,
}

impl Wanted {
    fn of(major: u8, minor: u8) -> Option<Wanted> {
        let covers = |from: &(u8, u8)| from.0 == major && from.1 <= minor;
        let (_, pins) = PINS.iter().rev().find(|(from, _)| covers(from))?;
        let pinned = |line: &'static str| line.strip_prefix(PACKAGE)?.strip_prefix("==");
        let version = pins.lines().find_map(pinned)?.split(' ').next()?;
        let digest = super::python::hex_digest(&[pins.as_bytes()]);
        Some(Wanted {
            pins,
            what: format!("{PACKAGE} {version}"),
            folder: format!("{PACKAGE}-{version}-{}", &digest[..8]).into(),
        })
    }
}

/// The folder of one runtime's SDKs, while nobody else changes it.
struct Place {
    folder: PathBuf,
    _lock: File,
}

impl Place {
    fn open(folder: PathBuf) -> io::Result<Place> {
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(Place {
            folder,
            _lock: lock,
        })
    }

    fn current(&self) -> Option<PathBuf> {
        fs::read_link(self.folder.join(CURRENT)).ok()
    }

    /// An empty folder to be filled. Takes away what was left behind: drafts of the killed, and SDKs that did not even count
    /// before this. The one that counts until now stays, because a server may be running on it.
    fn draft(&self) -> io::Result<PathBuf> {
        let current = self.current();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let counts = current.as_deref() == Some(Path::new(&entry.file_name()));
            if entry.file_type()?.is_dir() && !counts {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let draft = self.folder.join(DRAFT);
        fs::create_dir(&draft)?;
        Ok(draft)
    }

    /// Makes the draft the one that counts; on disk before it does.
    fn publish(&self, name: &Path) -> io::Result<()> {
        let (draft, folder) = (self.folder.join(DRAFT), File::open(&self.folder)?);
        readable(&draft)?;
        syncfs(&folder)?;
        fs::rename(&draft, self.folder.join(name))?;
        let link = self.folder.join("next");
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => symlink(name, &link)?,
        }
        fs::rename(&link, self.folder.join(CURRENT))?;
        // Both are small; what they name is on disk.
        folder.sync_all()?;
        match fs::remove_file(self.folder.join(DRAFT_LOG)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Lets the sandbox's user read everything, whatever our umask said.
fn readable(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            readable(&entry.path())?;
        } else if entry.file_type()?.is_file() {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

/// Has a pip fill the draft with exactly what is pinned.
fn fetch(wanted: &Wanted, python: &Python, search: &Search, draft: &Path) -> Result<(), NotAdded> {
    let pip = choose_pip(python, search).ok_or(NotAdded::NoPip)?;
    let files = |source| NotAdded::Files {
        path: draft.to_owned(),
        source,
    };
    let pins = draft.with_extension("txt");
    fs::write(&pins, wanted.pins).map_err(files)?;
    let mut command = Command::new(&pip.executable);
    command
        .args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--no-deps", "--no-compile"])
        .args(["--only-binary=:all:", "--require-hashes"])
        .args(PIP_PATIENCE)
        .arg("--target")
        .arg(draft)
        .arg("--requirement")
        .arg(&pins);
    if (pip.major, pip.minor) != (python.major, python.minor) {
        let version = format!("{}.{}", python.major, python.minor);
        command.args(["--python-version", &version]);
    }
    // Settings for people's own installations, which `--target` does not go with.
    command.envs([("PIP_USER", "0"), ("PIP_REQUIRE_VIRTUALENV", "0")]);
    let fetched = run_long(command, FETCH_LIMIT, draft).map_err(files)?;
    fs::remove_file(&pins).map_err(files)?;
    let (what, said) = match fetched {
        Ok(()) => return tidy(draft).map_err(files),
        Err(said) => (wanted.what.clone(), said),
    };
    Err(match said.contains("Retrying (Retry(") {
        true => NotAdded::Unreachable { what, said },
        false => NotAdded::Fetch { what, said },
    })
}

/// Everything pinned is a wheel without machine code, so one Python's pip can fetch it for another. The runtime's own is
/// taken when it is not ancient; the pips of 2.7 and 3.6 know too little of today's wheels to come first.
fn choose_pip(python: &Python, search: &Search) -> Option<Python> {
    const MODERN: (u8, u8) = (3, 8);
    let is_modern = |version: &(u8, u8)| *version >= MODERN;
    let own = is_modern(&(python.major, python.minor)).then(|| python.clone());
    let versions = IDENTIFIERS.iter().filter_map(|known| match known.family {
        Family::Python(major, minor) => Some((major, minor)),
        _ => None,
    });
    let mut others: Vec<(u8, u8)> = versions.filter(is_modern).collect();
    others.sort_unstable();
    let others = others.into_iter().rev();
    let others = others.filter_map(|(major, minor)| search.newest(Family::Python(major, minor)));
    let mut candidates = own.into_iter().chain(others).chain([python.clone()]);
    candidates.find(has_pip)
}

fn has_pip(python: &Python) -> bool {
    let mut command = Command::new(&python.executable);
    command.args(["-c", "import pip"]);
    discovery::run(command).is_some()
}

/// Commands are not for functions; their first lines name the interpreter that fetched them.
fn tidy(draft: &Path) -> io::Result<()> {
    match fs::remove_dir_all(draft.join("bin")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Compiles everything once, with the paths that functions see. Files of other versions of Python may fail, and are then
/// not imported either.
fn compile(python: &Python, draft: &Path) -> io::Result<()> {
    let mut command = Command::new(&python.executable);
    command
        .args(["-S", "-E", "-m", "compileall", "-q", "-d", SDK_TARGET])
        .arg(draft)
        .env_clear();
    // Whether it is usable is found by using it.
    let _ = run_long(command, COMPILE_LIMIT, draft)?;
    Ok(())
}

/// Imports it as a function would, without anything else that the interpreter may have.
fn try_out(wanted: &Wanted, python: &Python, draft: &Path) -> Result<(), NotAdded> {
    const IMPORT: &str =
        "import sys; sys.path.insert(0, sys.argv[1]); import boto3, botocore.httpsession";
    let mut command = Command::new(&python.executable);
    command
        .args(["-S", "-E", "-B", "-c", IMPORT])
        .arg(draft)
        .env_clear();
    let tried = run_long(command, COMPILE_LIMIT, draft);
    let tried = tried.map_err(|source| NotAdded::Files {
        path: python.executable.clone(),
        source,
    })?;
    tried.map_err(|said| NotAdded::Unusable {
        python: python.executable.clone(),
        what: wanted.what.clone(),
        said,
    })
}

/// Runs a command to its end; the error is what it said, when it failed. What it says goes through a file, since a pipe
/// that nobody reads fills up.
fn run_long(mut command: Command, limit: Duration, draft: &Path) -> io::Result<Result<(), String>> {
    let path = draft.with_file_name(DRAFT_LOG);
    let log = File::create(&path)?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log));
    let mut child = command.spawn()?;
    let end = Instant::now() + limit;
    let succeeded = loop {
        match child.try_wait()? {
            Some(status) => break status.success(),
            None if Instant::now() >= end => {
                child.kill()?;
                child.wait()?;
                return Ok(Err(format!(
                    "it took longer than {} seconds",
                    limit.as_secs()
                )));
            }
            None => thread::sleep(TICK),
        }
    };
    if succeeded {
        return Ok(Ok(()));
    }
    let said = String::from_utf8_lossy(&fs::read(&path)?).trim().to_owned();
    let from = said.ceil_char_boundary(said.len().saturating_sub(SAID_BYTES_MAX));
    Ok(Err(said[from..].to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_python_that_is_run_has_pins_with_hashes() {
        for known in super::super::IDENTIFIERS {
            let Family::Python(major, minor) = known.family else {
                assert_eq!(pinned_sdk(known.family), None, "{}", known.id);
                continue;
            };
            let wanted = Wanted::of(major, minor).unwrap();
            for line in wanted.pins.lines().filter(|line| !line.starts_with('#')) {
                let (_, hash) = line.split_once(" --hash=sha256:").unwrap();
                assert_eq!(hash.len(), 64, "{line}");
            }
        }
        assert_eq!(pinned_sdk(Family::Python(2, 7)).unwrap(), "boto3 1.17.112");
        assert_eq!(
            pinned_sdk(Family::Python(3, 15)),
            pinned_sdk(Family::Python(3, 10))
        );
    }
}
