//! Our own cgroup writer: a group per sandbox in every hierarchy that limits something, v1 or v2.
//!
//! Layout: `NAME/PID-START/ID` below the folder that we may write; a folder whose process is dead and which
//! is empty is left over from a crash and removed at the next start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::channel::{Fault, Step};
use crate::spec::{Limits, Spec};

/// What the sandbox's init and the kernel's own bookkeeping (page tables, stacks, sockets) may use on top.
const OVERHEAD_BYTES: u64 = 12 << 20;
/// CPU period. Short ones stall less; below a sixth of a CPU the quota would fall under the kernel's 1 ms.
const PERIOD_SHORT_US: u64 = 20_000;
const PERIOD_LONG_US: u64 = 100_000;
const QUOTA_US_MIN: u64 = 1_000;

/// Where groups can be made.
#[derive(Clone, Debug)]
pub(crate) enum Tree {
    /// One hierarchy.
    V2 { base: PathBuf },
    /// A hierarchy per controller; `cpuacct` only counts and may be missing.
    V1 {
        memory: PathBuf,
        cpu: PathBuf,
        pids: PathBuf,
        cpuacct: Option<PathBuf>,
    },
    /// Nothing writable.
    None { why: String },
}

/// The groups of one sandbox. Paths are those of the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Group {
    V2 {
        dir: PathBuf,
    },
    V1 {
        memory: PathBuf,
        cpu: PathBuf,
        pids: PathBuf,
        cpuacct: Option<PathBuf>,
    },
}

/// Memory and CPU as the kernel counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Anonymous and shared memory, `/tmp` included.
    pub held_bytes: u64,
    /// The part of it that is shared memory or tmpfs files.
    pub shared_bytes: u64,
    /// Highest charge, page cache included.
    pub charged_peak_bytes: u64,
    pub cpu_us: u64,
    pub oom_kills: u64,
}

impl Tree {
    /// Finds what this process may write. `root` is where the host's root is mounted ("/" but for the broker
    /// and for tests with a faked tree).
    pub fn detect(root: &Path, name: &str) -> Tree {
        let mounts =
            fs::read_to_string(below(root, Path::new("/proc/self/mounts"))).unwrap_or_default();
        let own =
            fs::read_to_string(below(root, Path::new("/proc/self/cgroup"))).unwrap_or_default();
        Tree::from_mounts(root, &mounts, &own, name)
    }

    /// The testable part of [`detect`](Tree::detect).
    pub fn from_mounts(root: &Path, mounts: &str, own: &str, name: &str) -> Tree {
        let mut why = Vec::new();
        match Tree::v1(root, mounts, name) {
            Ok(tree) => return tree,
            Err(reason) => why.push(reason),
        }
        match Tree::v2(root, mounts, own, name) {
            Ok(tree) => return tree,
            Err(reason) => why.push(reason),
        }
        Tree::None {
            why: why.join("; "),
        }
    }

    fn v1(root: &Path, mounts: &str, name: &str) -> Result<Tree, String> {
        let find = |controller: &str| -> Result<PathBuf, String> {
            let point = mount_points(mounts, root, "cgroup")
                .find(|(_, options)| options.split(',').any(|option| option == controller))
                .map(|(point, _)| point)
                .ok_or_else(|| format!("cgroup v1 has no {controller} controller"))?;
            let base = point.join(name);
            make_dir(&below(root, &base))
                .map_err(|error| format!("{}: {error}", base.display()))?;
            Ok(base)
        };
        Ok(Tree::V1 {
            memory: find("memory")?,
            cpu: find("cpu")?,
            pids: find("pids")?,
            cpuacct: find("cpuacct").ok(),
        })
    }

    fn v2(root: &Path, mounts: &str, own: &str, name: &str) -> Result<Tree, String> {
        let Some((point, _)) = mount_points(mounts, root, "cgroup2").next() else {
            return Err("cgroup v2 is not mounted".to_owned());
        };
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .unwrap_or("/");
        let own = point.join(own.trim_start_matches('/'));
        let mut why = String::new();
        // The visible root first: outside containers nothing forbids processes in it. Then our own group,
        // which a service manager may have delegated to us.
        for parent in [point, own] {
            match delegate(&below(root, &parent)) {
                Ok(()) => {
                    let base = parent.join(name);
                    let real = below(root, &base);
                    match make_dir(&real).and_then(|()| enable(&real)) {
                        Ok(()) => return Ok(Tree::V2 { base }),
                        Err(error) => why = format!("{}: {error}", base.display()),
                    }
                }
                Err(reason) => why = format!("{}: {reason}", parent.display()),
            }
        }
        Err(format!("cgroup v2 is not delegated to us ({why})"))
    }

    pub fn limits(&self) -> Limits {
        match self {
            Tree::V2 { .. } => Limits::CgroupV2,
            Tree::V1 { .. } => Limits::CgroupV1,
            Tree::None { why } => Limits::BestEffort(why.clone()),
        }
    }

    /// Makes the folder of this instance, named so that a later one can tell whether it is alive.
    pub fn enter_instance(&mut self, root: &Path, instance: &str) -> Result<(), Fault> {
        self.each_base(|base| {
            base.push(instance);
            // An instance that ends may be removing the empty folder above this very moment.
            fs::create_dir_all(below(root, base)).step(format!("mkdir {}", base.display()))
        })?;
        if let Tree::V2 { base } = self {
            enable(&below(root, base)).step("cgroup.subtree_control")?;
        }
        Ok(())
    }

    fn each_base(
        &mut self,
        mut f: impl FnMut(&mut PathBuf) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match self {
            Tree::V2 { base } => f(base),
            Tree::V1 {
                memory,
                cpu,
                pids,
                cpuacct,
            } => [memory, cpu, pids]
                .into_iter()
                .chain(cpuacct)
                .try_for_each(f),
            Tree::None { .. } => Ok(()),
        }
    }

    fn bases(&self) -> Vec<&Path> {
        match self {
            Tree::V2 { base } => vec![base],
            Tree::V1 {
                memory,
                cpu,
                pids,
                cpuacct,
            } => [memory, cpu, pids]
                .into_iter()
                .chain(cpuacct)
                .map(PathBuf::as_path)
                .collect(),
            Tree::None { .. } => Vec::new(),
        }
    }

    /// Removes what instances left that no longer run. Call it before [`enter_instance`](Tree::enter_instance).
    pub fn remove_stale(&self, root: &Path, is_alive: impl Fn(&str) -> bool) {
        for base in self.bases() {
            let Ok(entries) = fs::read_dir(below(root, base)) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                if entry.file_type().is_ok_and(|kind| kind.is_dir())
                    && !is_alive(&name.to_string_lossy())
                {
                    remove_tree(&entry.path());
                }
            }
        }
    }

    /// Removes the folder of this instance.
    pub fn leave_instance(&self, root: &Path) {
        for base in self.bases() {
            let base = below(root, base);
            remove_tree(&base);
            // The folder of all instances stays while another one is in it.
            let _ = base.parent().map(fs::remove_dir);
        }
    }

    /// Removes what [`detect`](Tree::detect) made, unless it is in use.
    pub fn forget(&self, root: &Path) {
        for base in self.bases() {
            // In use by an instance that runs.
            let _ = fs::remove_dir(below(root, base));
        }
    }

    /// Makes and limits the groups of one sandbox.
    pub fn create(&self, root: &Path, id: &str, spec: &Spec) -> Result<Option<Group>, Fault> {
        let group = match self {
            Tree::V2 { base } => Group::V2 { dir: base.join(id) },
            Tree::V1 {
                memory,
                cpu,
                pids,
                cpuacct,
            } => Group::V1 {
                memory: memory.join(id),
                cpu: cpu.join(id),
                pids: pids.join(id),
                cpuacct: cpuacct.as_ref().map(|base| base.join(id)),
            },
            Tree::None { .. } => return Ok(None),
        };
        let made = group.make(root, spec);
        if made.is_err() {
            group.remove(root);
        }
        made.map(|()| Some(group))
    }
}

impl Group {
    fn make(&self, root: &Path, spec: &Spec) -> Result<(), Fault> {
        for dir in self.dirs() {
            fs::create_dir(below(root, dir)).step(format!("mkdir {}", dir.display()))?;
        }
        // `/tmp` is charged to the group of whoever writes it, so it needs room of its own; that memory alone
        // does not take it is watched by the warden.
        let memory = (spec.memory_bytes + spec.tmp_bytes + OVERHEAD_BYTES).to_string();
        let pids = u64::from(spec.pids_max) + 1;
        match self {
            Group::V2 { dir } => {
                let dir = below(root, dir);
                write(&dir, "memory.max", &memory)?;
                // Absent without swap accounting, and then there is no swap to forbid.
                optional(write(&dir, "memory.swap.max", "0"))?;
                write(&dir, "memory.oom.group", "1")?;
                write(&dir, "pids.max", &pids.to_string())?;
            }
            Group::V1 {
                memory: dir,
                pids: pids_dir,
                ..
            } => {
                let dir = below(root, dir);
                write(&dir, "memory.limit_in_bytes", &memory)?;
                optional(write(&dir, "memory.memsw.limit_in_bytes", &memory))?;
                write(&below(root, pids_dir), "pids.max", &pids.to_string())?;
            }
        }
        self.set_cpu(root, spec.cpu_millis)
    }

    fn dirs(&self) -> Vec<&Path> {
        match self {
            Group::V2 { dir } => vec![dir],
            Group::V1 {
                memory,
                cpu,
                pids,
                cpuacct,
            } => {
                // `cpu` and `cpuacct` are often one hierarchy.
                let cpuacct = cpuacct.as_ref().filter(|dir| *dir != cpu);
                [memory, cpu, pids]
                    .into_iter()
                    .chain(cpuacct)
                    .map(PathBuf::as_path)
                    .collect()
            }
        }
    }

    /// The v2 folder, for `CLONE_INTO_CGROUP`.
    pub fn unified(&self) -> Option<&Path> {
        match self {
            Group::V2 { dir } => Some(dir),
            Group::V1 { .. } => None,
        }
    }

    /// Moves a process in.
    pub fn attach(&self, root: &Path, pid: i32) -> Result<(), Fault> {
        self.dirs()
            .into_iter()
            .try_for_each(|dir| write(&below(root, dir), "cgroup.procs", &pid.to_string()))
    }

    /// Processes in it, as the reader's pid namespace numbers them.
    pub fn processes(&self, root: &Path) -> Vec<i32> {
        let dir = match self {
            Group::V2 { dir } | Group::V1 { memory: dir, .. } => dir,
        };
        let text = fs::read_to_string(below(root, dir).join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Sets the CPU share; 1000 is one CPU.
    pub fn set_cpu(&self, root: &Path, millis: Option<u32>) -> Result<(), Fault> {
        let quota = millis.map(quota);
        match self {
            Group::V2 { dir } => {
                let text = match quota {
                    Some((quota, period)) => format!("{quota} {period}"),
                    None => format!("max {PERIOD_LONG_US}"),
                };
                write(&below(root, dir), "cpu.max", &text)
            }
            Group::V1 { cpu, .. } => {
                let dir = below(root, cpu);
                let Some((quota, period)) = quota else {
                    return write(&dir, "cpu.cfs_quota_us", "-1");
                };
                write(&dir, "cpu.cfs_period_us", &period.to_string())?;
                write(&dir, "cpu.cfs_quota_us", &quota.to_string())
            }
        }
    }

    /// Freezes or thaws by the v2 freezer; false where only signals can do it.
    pub fn freeze(&self, root: &Path, frozen: bool) -> Result<bool, Fault> {
        match self {
            Group::V2 { dir } => write(
                &below(root, dir),
                "cgroup.freeze",
                if frozen { "1" } else { "0" },
            )
            .map(|()| true),
            // v1's freezer costs a hundred microseconds a time.
            Group::V1 { .. } => Ok(false),
        }
    }

    pub fn counters(&self, root: &Path) -> Result<Counters, Fault> {
        match self {
            Group::V2 { dir } => {
                let dir = below(root, dir);
                let stat = read(&dir, "memory.stat")?;
                let shared_bytes = field(&stat, "shmem");
                Ok(Counters {
                    held_bytes: field(&stat, "anon") + shared_bytes,
                    shared_bytes,
                    // memory.peak came with Linux 5.19.
                    charged_peak_bytes: read(&dir, "memory.peak").map_or(0, |text| number(&text)),
                    cpu_us: field(&read(&dir, "cpu.stat")?, "usage_usec"),
                    oom_kills: field(&read(&dir, "memory.events")?, "oom_kill"),
                })
            }
            Group::V1 {
                memory, cpuacct, ..
            } => {
                let dir = below(root, memory);
                let stat = read(&dir, "memory.stat")?;
                let shared_bytes = field(&stat, "total_shmem");
                let cpu_ns = match cpuacct {
                    Some(cpuacct) => number(&read(&below(root, cpuacct), "cpuacct.usage")?),
                    None => 0,
                };
                Ok(Counters {
                    // "rss" of v1 is anonymous memory only.
                    held_bytes: field(&stat, "total_rss") + shared_bytes,
                    shared_bytes,
                    charged_peak_bytes: number(&read(&dir, "memory.max_usage_in_bytes")?),
                    cpu_us: cpu_ns / 1000,
                    oom_kills: field(&read(&dir, "memory.oom_control")?, "oom_kill"),
                })
            }
        }
    }

    /// The whole charge now: an upper bound of memory that costs one small read.
    pub fn charged_bytes(&self, root: &Path) -> u64 {
        let (dir, file) = match self {
            Group::V2 { dir } => (dir, "memory.current"),
            Group::V1 { memory, .. } => (memory, "memory.usage_in_bytes"),
        };
        read(&below(root, dir), file).map_or(0, |text| number(&text))
    }

    /// Starts the kernel's high-water mark anew.
    pub fn reset_peak(&self, root: &Path) {
        let (dir, file) = match self {
            Group::V2 { dir } => (dir, "memory.peak"),
            Group::V1 { memory, .. } => (memory, "memory.max_usage_in_bytes"),
        };
        // Best effort: v2 learned to reset with Linux 6.12, and the mark is only an upper bound for us.
        let _ = write(&below(root, dir), file, "0");
    }

    /// Kills everything in it where the kernel can do so at once.
    pub fn kill(&self, root: &Path) {
        if let Group::V2 { dir } = self {
            // cgroup.kill came with Linux 5.14; killing the init of the pid namespace does the same.
            let _ = write(&below(root, dir), "cgroup.kill", "1");
        }
    }

    /// Removes the groups; false if a process is still in one of them.
    pub fn remove(&self, root: &Path) -> bool {
        self.dirs()
            .into_iter()
            .all(|dir| remove_group(&below(root, dir)))
    }
}

/// Quota and period in microseconds for a share of CPU.
fn quota(millis: u32) -> (u64, u64) {
    let share = |period: u64| u64::from(millis) * period / 1000;
    let period = if share(PERIOD_SHORT_US) >= 5 * QUOTA_US_MIN {
        PERIOD_SHORT_US
    } else {
        PERIOD_LONG_US
    };
    (share(period).max(QUOTA_US_MIN), period)
}

/// Makes a v2 group able to have children with limits, moving our own processes into a leaf if need be.
fn delegate(dir: &Path) -> Result<(), String> {
    let controllers =
        fs::read_to_string(dir.join("cgroup.controllers")).map_err(|error| error.to_string())?;
    for needed in ["memory", "cpu", "pids"] {
        if !controllers.split_whitespace().any(|have| have == needed) {
            return Err(format!("no {needed} controller"));
        }
    }
    match enable(dir) {
        // "No internal processes": a group with limits for its children must not hold processes itself.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        Err(error) => return Err(error.to_string()),
        Ok(()) => return Ok(()),
    }
    let leaf = dir.join("mayfly.host");
    make_dir(&leaf).map_err(|error| error.to_string())?;
    let processes =
        fs::read_to_string(dir.join("cgroup.procs")).map_err(|error| error.to_string())?;
    for pid in processes.lines() {
        fs::write(leaf.join("cgroup.procs"), pid).map_err(|error| error.to_string())?;
    }
    enable(dir).map_err(|error| error.to_string())
}

fn enable(dir: &Path) -> io::Result<()> {
    fs::write(dir.join("cgroup.subtree_control"), "+memory +cpu +pids")
}

/// Makes a folder that we can write, or finds it made.
fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        // Another user's Mayfly may have made it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(rustix::fs::access(dir, rustix::fs::Access::WRITE_OK)?)
        }
        other => other,
    }
}

/// Removes an empty group; false while tasks are just leaving it.
fn remove_group(dir: &Path) -> bool {
    match fs::remove_dir(dir) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(()) => true,
    }
}

/// Removes a group and the groups in it, as far as they are empty.
fn remove_tree(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // What is still busy belongs to somebody who is alive after all.
            let _ = fs::remove_dir(entry.path());
        }
    }
    // Likewise.
    let _ = fs::remove_dir(dir);
}

/// Mount points and options of one kind of file system, as `/proc/self/mounts` lists them, without `root`.
fn mount_points<'a>(
    mounts: &'a str,
    root: &'a Path,
    kind: &'a str,
) -> impl Iterator<Item = (PathBuf, &'a str)> {
    mounts.lines().filter_map(move |line| {
        let mut words = line.split(' ').skip(1);
        let (point, found, options) = (words.next()?, words.next()?, words.next()?);
        let point = Path::new(point);
        let point = Path::new("/").join(point.strip_prefix(root).unwrap_or(point));
        (found == kind).then_some((point, options))
    })
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn write(dir: &Path, file: &str, text: &str) -> Result<(), Fault> {
    fs::write(dir.join(file), text).step(format!("writing {text} to {}", dir.join(file).display()))
}

fn optional(result: Result<(), Fault>) -> Result<(), Fault> {
    match result {
        Err(fault) if fault.errno == libc::ENOENT => Ok(()),
        // The v1 swap file exists but cannot be written when swap accounting is off.
        Err(fault) if fault.errno == libc::EOPNOTSUPP => Ok(()),
        other => other,
    }
}

fn read(dir: &Path, file: &str) -> Result<String, Fault> {
    fs::read_to_string(dir.join(file)).step(format!("reading {}", dir.join(file).display()))
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

/// The number after a key in a flat keyed file.
fn field(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        .map_or(0, number)
}
