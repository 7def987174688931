//! What every test needs: a host, a way to run something inside, and a way to count what is left.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sandbox::{Child, Config, Exit, Host, Process, Sandbox, Spec};
use tempfile::TempDir;

/// No test waits longer than this for anything.
pub const LONG: Duration = Duration::from_secs(60);

/// Set to the broker's path when the tests run again as an ordinary user.
pub const BROKER: &str = "SANDBOX_TEST_BROKER";

pub fn config() -> Config {
    let path = std::env::var_os(BROKER).map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_sandbox-broker")),
        PathBuf::from,
    );
    Config::with_broker(path, ["__sandbox"])
}

pub fn host() -> Host {
    Host::start(&config()).unwrap()
}

pub fn sandbox(host: &Host) -> Sandbox {
    host.create(Spec::new("test")).unwrap()
}

/// A folder that the sandbox's user can read, unlike a plain temporary one.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

pub fn command(argv: &[&str]) -> Process {
    Process {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        ..Process::default()
    }
}

/// Starts a process with both outputs in one pipe.
pub fn start(sandbox: &Sandbox, mut process: Process) -> (Child, File) {
    let (read, write) = std::io::pipe().unwrap();
    process.stdout = Some(OwnedFd::from(write.try_clone().unwrap()));
    process.stderr = Some(OwnedFd::from(write));
    (
        sandbox.spawn(process).unwrap(),
        File::from(OwnedFd::from(read)),
    )
}

/// Runs it to the end: what it wrote and how it ended.
pub fn run(sandbox: &Sandbox, process: Process) -> (String, Exit) {
    let (child, mut output) = start(sandbox, process);
    let mut text = Vec::new();
    output.read_to_end(&mut text).unwrap();
    (
        String::from_utf8_lossy(&text).into_owned(),
        child.wait_timeout(LONG).unwrap().unwrap(),
    )
}

pub fn sh(sandbox: &Sandbox, script: &str) -> (String, Exit) {
    run(sandbox, command(&["/bin/sh", "-c", script]))
}

pub fn python(sandbox: &Sandbox, script: &str) -> (String, Exit) {
    run(sandbox, command(&["/usr/bin/python3", "-S", "-c", script]))
}

/// Waits until something holds; for effects that nothing announces.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "{what} never came true");
        std::thread::yield_now();
    }
}

/// Everything that a host process with sandboxes can leave behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    pub mounts: usize,
    pub cgroups: Vec<PathBuf>,
    pub fds: usize,
    pub temporary: Vec<PathBuf>,
    pub children: Vec<i32>,
}

impl Traces {
    pub fn of(pid: u32) -> Traces {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        Traces {
            mounts: fs::read_to_string(proc.join("mountinfo"))
                .unwrap()
                .lines()
                .count(),
            cgroups: cgroups(),
            fds: fs::read_dir(proc.join("fd")).unwrap().count(),
            temporary: names(&std::env::temp_dir()),
            children: descendants(pid),
        }
    }
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    names.sort();
    names
}

/// Cgroups of this process's brokers and of their sandboxes.
pub fn cgroups() -> Vec<PathBuf> {
    let ours = descendants(std::process::id());
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    };
    let pid = |path: &Path| {
        path.file_name()?
            .to_str()?
            .split('-')
            .next()?
            .parse::<i32>()
            .ok()
    };
    let mut found = Vec::new();
    for hierarchy in folders(Path::new("/sys/fs/cgroup")) {
        for instance in folders(&hierarchy.join("mayfly")) {
            if pid(&instance).is_some_and(|pid| ours.contains(&pid)) {
                found.extend(folders(&instance));
                found.push(instance);
            }
        }
    }
    found.sort();
    found
}

/// Brokers and inits whose parent has died.
pub fn orphans() -> Vec<PathBuf> {
    let broker = config().broker_path.display().to_string();
    let ours = |proc: &Path| {
        let command = fs::read_to_string(proc.join("cmdline")).unwrap_or_default();
        let stat = fs::read_to_string(proc.join("stat")).unwrap_or_default();
        command.starts_with(&broker)
            && stat
                .rsplit(") ")
                .next()
                .is_some_and(|rest| rest.split(' ').nth(1) == Some("1"))
    };
    names(Path::new("/proc"))
        .into_iter()
        .filter(|proc| ours(proc))
        .collect()
}

/// Every process below this one.
pub fn descendants(pid: u32) -> Vec<i32> {
    let mut found = children(pid);
    for child in found.clone() {
        found.extend(descendants(child.unsigned_abs()));
    }
    found.sort_unstable();
    found
}

/// The processes that this one has started.
pub fn children(pid: u32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let mut found = Vec::new();
    for thread in threads.into_iter().flatten().flatten() {
        let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let pids = text.split_whitespace().map(str::parse);
        found.extend(pids.filter_map(Result::<i32, _>::ok));
    }
    found
}
