//! Our own cgroup writer: a group per sandbox in every hierarchy that limits something, v1 or v2.
//!
//! Layout: `NAME/PID-START/ID` below the folder that we may write; a folder whose process is dead and which
//! is empty is left over from a crash and removed at the next start.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::channel::{Fault, Step};
use crate::host::GONE_WAIT;
use crate::spec::{Limits, Spec};
use crate::sys;

/// What the sandbox's init and the kernel's own bookkeeping (page tables, stacks, sockets) may use on top.
const OVERHEAD_BYTES: u64 = 12 << 20;
/// CPU period. Short ones stall less; below a sixth of a CPU the quota would fall under the kernel's 1 ms.
const PERIOD_SHORT_US: u64 = 20_000;
const PERIOD_LONG_US: u64 = 100_000;
const QUOTA_US_MIN: u64 = 1_000;

/// Where groups can be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Tree {
    /// One hierarchy.
    V2 { base: PathBuf },
    /// A hierarchy per controller.
    V1 {
        memory: PathBuf,
        cpu: PathBuf,
        pids: PathBuf,
        /// That of `cpu` has `cpuacct` too, which counts CPU time. A hierarchy only for that would cost more than it is worth.
        counts: bool,
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
        counts: bool,
    },
}

/// Memory and CPU as the kernel counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Anonymous and shared memory, `/tmp` included.
    pub held_bytes: u64,
    /// The part of it that is shared memory or tmpfs files.
    pub shared_bytes: u64,
    /// Where it is counted.
    pub cpu_us: Option<u64>,
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
        fn has(options: &str, controller: &str) -> bool {
            options.split(',').any(|have| have == controller)
        }
        let mut counts = false;
        let mut find = |controller: &str| -> Result<PathBuf, String> {
            let (point, options) = mount_points(mounts, root, "cgroup")
                .find(|(_, options)| has(options, controller))
                .ok_or_else(|| format!("cgroup v1 has no {controller} controller"))?;
            counts |= controller == "cpu" && has(options, "cpuacct");
            let base = point.join(name);
            make_dir(&below(root, &base))
                .map_err(|error| format!("{}: {error}", base.display()))?;
            Ok(base)
        };
        Ok(Tree::V1 {
            memory: find("memory")?,
            cpu: find("cpu")?,
            pids: find("pids")?,
            counts,
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
                memory, cpu, pids, ..
            } => [memory, cpu, pids].into_iter().try_for_each(f),
            Tree::None { .. } => Ok(()),
        }
    }

    fn bases(&self) -> Vec<&Path> {
        match self {
            Tree::V2 { base } => vec![base],
            Tree::V1 {
                memory, cpu, pids, ..
            } => vec![memory, cpu, pids],
            Tree::None { .. } => Vec::new(),
        }
    }

    /// Removes what instances left that no longer run. Call it before [`enter_instance`](Tree::enter_instance).
    pub fn remove_stale(&self, root: &Path, wait: Duration, is_alive: impl Fn(&str) -> bool) {
        let until = Instant::now() + wait;
        for base in self.bases() {
            let Ok(entries) = fs::read_dir(below(root, base)) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                if entry.file_type().is_ok_and(|kind| kind.is_dir())
                    && !is_alive(&name.to_string_lossy())
                {
                    remove_tree(&entry.path(), until);
                }
            }
        }
    }

    /// Removes the folder of this instance.
    pub fn leave_instance(&self, root: &Path, wait: Duration) {
        let until = Instant::now() + wait;
        for base in self.bases() {
            let base = below(root, base);
            remove_tree(&base, until);
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
                counts,
            } => Group::V1 {
                memory: memory.join(id),
                cpu: cpu.join(id),
                pids: pids.join(id),
                counts: *counts,
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
        let pids = u64::from(spec.pids_max) + 1;
        match self {
            Group::V2 { dir } => {
                let dir = below(root, dir);
                // Absent without swap accounting, and then there is no swap to forbid.
                optional(write(&dir, "memory.swap.max", "0"))?;
                write(&dir, "memory.oom.group", "1")?;
                write(&dir, "pids.max", &pids.to_string())?;
            }
            Group::V1 { pids: dir, .. } => write(&below(root, dir), "pids.max", &pids.to_string())?,
        }
        self.set_memory(root, 0, spec.memory_bytes + spec.tmp_bytes)?;
        self.set_cpu(root, None, spec.cpu_millis)
    }

    /// Limits memory and `/tmp` together. `/tmp` is charged to the group of whoever writes it, so it needs room of its
    /// own; that memory alone does not take it is watched by the warden. `before` is the last limit, 0 for none.
    pub fn set_memory(&self, root: &Path, before: u64, bytes: u64) -> Result<(), Fault> {
        let limit = (bytes + OVERHEAD_BYTES).to_string();
        match self {
            Group::V2 { dir } => write(&below(root, dir), "memory.max", &limit),
            Group::V1 { memory, .. } => {
                let dir = below(root, memory);
                let both = || optional(write(&dir, "memory.memsw.limit_in_bytes", &limit));
                let plain = || write(&dir, "memory.limit_in_bytes", &limit);
                // The limit with swap is never the smaller one.
                if before == 0 || bytes < before {
                    plain().and_then(|()| both())
                } else {
                    both().and_then(|()| plain())
                }
            }
        }
    }

    /// Its folders, one in each hierarchy.
    fn dirs(&self) -> Vec<&Path> {
        match self {
            Group::V2 { dir } => vec![dir],
            Group::V1 {
                memory, cpu, pids, ..
            } => vec![memory, cpu, pids],
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
        let text = sys::read_file(&below(root, dir).join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Sets the CPU share; 1000 is one CPU. `before` is the last one, `None` of a new group. What stays is not written again:
    /// for each write v1 looks at every group there is.
    pub fn set_cpu(
        &self,
        root: &Path,
        before: Option<u32>,
        millis: Option<u32>,
    ) -> Result<(), Fault> {
        let ((quota_before, period_before), (quota, period)) =
            (bandwidth(before), bandwidth(millis));
        if (quota, period) == (quota_before, period_before) {
            return Ok(());
        }
        match self {
            Group::V2 { dir } => {
                let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
                write(&below(root, dir), "cpu.max", &format!("{quota} {period}"))
            }
            Group::V1 { cpu, .. } => {
                let dir = below(root, cpu);
                if period != period_before {
                    write(&dir, "cpu.cfs_period_us", &period.to_string())?;
                }
                if quota == quota_before {
                    return Ok(());
                }
                let quota = quota.map_or("-1".to_owned(), |quota| quota.to_string());
                write(&dir, "cpu.cfs_quota_us", &quota)
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
                    cpu_us: Some(field(&read(&dir, "cpu.stat")?, "usage_usec")),
                    oom_kills: field(&read(&dir, "memory.events")?, "oom_kill"),
                })
            }
            Group::V1 {
                memory,
                cpu,
                counts,
                ..
            } => {
                let dir = below(root, memory);
                let stat = read(&dir, "memory.stat")?;
                let shared_bytes = field(&stat, "total_shmem");
                let cpu_ns = counts.then(|| read(&below(root, cpu), "cpuacct.usage"));
                let cpu_ns = cpu_ns.transpose()?.map(|text| number(&text));
                Ok(Counters {
                    // "rss" of v1 is anonymous memory only.
                    held_bytes: field(&stat, "total_rss") + shared_bytes,
                    shared_bytes,
                    cpu_us: cpu_ns.map(|ns| ns / 1000),
                    oom_kills: field(&read(&dir, "memory.oom_control")?, "oom_kill"),
                })
            }
        }
    }

    /// The highest charge, page cache included; 0 where the kernel does not tell.
    pub fn charged_peak(&self, root: &Path) -> Result<u64, Fault> {
        match self {
            // memory.peak came with Linux 5.19.
            Group::V2 { dir } => {
                Ok(read(&below(root, dir), "memory.peak").map_or(0, |text| number(&text)))
            }
            Group::V1 { memory, .. } => {
                read(&below(root, memory), "memory.max_usage_in_bytes").map(|text| number(&text))
            }
        }
    }

    /// The meter of its charge.
    pub fn charge(&self, root: &Path) -> Result<Charge, Fault> {
        let (dir, file) = match self {
            Group::V2 { dir } => (dir, "memory.current"),
            Group::V1 { memory, .. } => (memory, "memory.usage_in_bytes"),
        };
        let file = fs::File::open(below(root, dir).join(file)).step(file)?;
        Ok(Charge(file))
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

/// A group that no broker removes: it goes with this.
pub(crate) struct OutsideGroup(pub Group);

impl Drop for OutsideGroup {
    fn drop(&mut self) {
        let until = Instant::now() + GONE_WAIT;
        // Tasks are in it for a moment after they have been reaped.
        while !self.0.remove(Path::new("/")) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Everything that a group is charged with: an upper bound of memory that costs one system call.
#[derive(Debug)]
pub(crate) struct Charge(fs::File);

impl Charge {
    /// The charge now; nothing when the group is gone.
    pub fn bytes(&self) -> u64 {
        let mut digits = [0; 24];
        let length = self.0.read_at(&mut digits, 0).unwrap_or(0);
        std::str::from_utf8(&digits[..length]).map_or(0, number)
    }
}

/// Quota and period in microseconds; without a share those that new groups have.
fn bandwidth(millis: Option<u32>) -> (Option<u64>, u64) {
    match millis.map(quota) {
        Some((quota, period)) => (Some(quota), period),
        None => (None, PERIOD_LONG_US),
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

/// Removes a group and the groups in it, giving tasks that are just leaving them some time.
fn remove_tree(dir: &Path, until: Instant) {
    let folders = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    };
    loop {
        // What is still busy at the end belongs to somebody who is alive after all.
        let busy = !folders(dir).iter().all(|dir| remove_group(dir)) || !remove_group(dir);
        if !busy || Instant::now() >= until {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
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
    let path = dir.join(file);
    fs::write(&path, text)
        .map_err(|error| Fault::new(format!("writing {text} to {}", path.display()), &error))
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
    let path = dir.join(file);
    sys::read_file(&path).map_err(|error| Fault::new(format!("reading {}", path.display()), &error))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::process::{WaitId, WaitIdOptions};

    use super::*;
    use crate::sys;

    const V1: &str = "cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
        cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
        cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
        cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
    const V2: &str = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";

    /// A folder that looks like a host's root with these files.
    fn fake(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn spec() -> Spec {
        Spec {
            memory_bytes: 128 << 20,
            tmp_bytes: 512 << 20,
            pids_max: 1024,
            cpu_millis: Some(289),
            ..Spec::new("f")
        }
    }

    fn text(root: &Path, path: &str) -> String {
        fs::read_to_string(root.join(path)).unwrap()
    }

    #[test]
    fn v2_limits_are_written_where_they_belong() {
        let root = fake(&[(
            "sys/fs/cgroup/cgroup.controllers",
            "cpuset cpu io memory pids\n",
        )]);
        let root = root.path();
        let mut tree = Tree::from_mounts(root, V2, "0::/user.slice\n", "mayfly");
        assert_eq!(tree.limits(), Limits::CgroupV2);
        tree.enter_instance(root, "7-9").unwrap();
        let group = tree.create(root, "f-1", &spec()).unwrap().unwrap();
        let dir = "sys/fs/cgroup/mayfly/7-9/f-1";
        let memory = ((128 + 512) << 20) + OVERHEAD_BYTES;
        for (file, expected) in [
            ("memory.max", memory.to_string()),
            ("memory.swap.max", "0".to_owned()),
            ("memory.oom.group", "1".to_owned()),
            ("pids.max", "1025".to_owned()),
            ("cpu.max", "5780 20000".to_owned()),
            ("../cgroup.subtree_control", "+memory +cpu +pids".to_owned()),
            (
                "../../cgroup.subtree_control",
                "+memory +cpu +pids".to_owned(),
            ),
            (
                "../../../cgroup.subtree_control",
                "+memory +cpu +pids".to_owned(),
            ),
        ] {
            assert_eq!(text(root, &format!("{dir}/{file}")), expected, "{file}");
        }
        group.set_cpu(root, Some(289), None).unwrap();
        assert_eq!(text(root, &format!("{dir}/cpu.max")), "max 100000");
        group.attach(root, 42).unwrap();
        assert_eq!(text(root, &format!("{dir}/cgroup.procs")), "42");
        assert_eq!(
            group.freeze(root, true).map_err(|fault| fault.step),
            Ok(true)
        );
        assert_eq!(text(root, &format!("{dir}/cgroup.freeze")), "1");
        group.kill(root);
        assert_eq!(text(root, &format!("{dir}/cgroup.kill")), "1");
        assert_eq!(
            group.unified(),
            Some(Path::new("/sys/fs/cgroup/mayfly/7-9/f-1"))
        );
    }

    #[test]
    fn v2_counters_are_read() {
        let root = fake(&[
            (
                "g/memory.stat",
                "anon 1000\nfile 5000\nkernel 7\nshmem 300\nshmem_thp 9\n",
            ),
            ("g/memory.peak", "9000\n"),
            ("g/memory.current", "6300\n"),
            ("g/cpu.stat", "usage_usec 777\nuser_usec 1\n"),
            (
                "g/memory.events",
                "low 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 1\n",
            ),
        ]);
        let group = Group::V2 { dir: "/g".into() };
        let expected = Counters {
            held_bytes: 1300,
            shared_bytes: 300,
            cpu_us: Some(777),
            oom_kills: 1,
        };
        assert_eq!(group.counters(root.path()).unwrap(), expected);
        assert_eq!(group.charge(root.path()).unwrap().bytes(), 6300);
        assert_eq!(group.charged_peak(root.path()).unwrap(), 9000);
        // Linux before 5.19 has no mark.
        fs::remove_file(root.path().join("g/memory.peak")).unwrap();
        assert_eq!(group.charged_peak(root.path()).unwrap(), 0);
    }

    #[test]
    fn v1_limits_are_written_to_every_hierarchy_once() {
        let root = fake(&[
            ("sys/fs/cgroup/memory/x", ""),
            ("sys/fs/cgroup/cpu,cpuacct/x", ""),
            ("sys/fs/cgroup/pids/x", ""),
        ]);
        let root = root.path();
        let mut tree = Tree::from_mounts(root, V1, "", "mayfly");
        assert_eq!(tree.limits(), Limits::CgroupV1);
        tree.enter_instance(root, "7-9").unwrap();
        let group = tree.create(root, "f-1", &spec()).unwrap().unwrap();
        let read = |path: &str| text(root, &format!("sys/fs/cgroup/{path}"));
        let memory = ((128 + 512) << 20) + OVERHEAD_BYTES;
        assert_eq!(
            read("memory/mayfly/7-9/f-1/memory.limit_in_bytes"),
            memory.to_string()
        );
        assert_eq!(
            read("memory/mayfly/7-9/f-1/memory.memsw.limit_in_bytes"),
            memory.to_string()
        );
        assert_eq!(read("cpu,cpuacct/mayfly/7-9/f-1/cpu.cfs_quota_us"), "5780");
        assert_eq!(
            read("cpu,cpuacct/mayfly/7-9/f-1/cpu.cfs_period_us"),
            "20000"
        );
        assert_eq!(read("pids/mayfly/7-9/f-1/pids.max"), "1025");

        // What stays is not written again, and what does not is.
        let (quota, period) = ("cpu.cfs_quota_us", "cpu.cfs_period_us");
        for (before, after, written) in [
            (Some(289), Some(289), ("", "")),
            (Some(289), Some(72), ("7200", "100000")),
            (None, Some(72), ("7200", "")),
            (Some(72), None, ("-1", "")),
            (Some(1000), None, ("-1", "100000")),
            (Some(289), Some(1000), ("20000", "")),
            (None, None, ("", "")),
        ] {
            let dir = root.join("sys/fs/cgroup/cpu,cpuacct/mayfly/7-9/f-1");
            for file in [quota, period] {
                fs::write(dir.join(file), "").unwrap();
            }
            group.set_cpu(root, before, after).unwrap();
            let found = [quota, period].map(|file| fs::read_to_string(dir.join(file)).unwrap());
            assert_eq!(found, [written.0, written.1], "{before:?} -> {after:?}");
        }
    }

    #[test]
    fn without_a_writable_tree_the_reason_is_told() {
        for (mounts, controllers, expected) in [
            (
                "",
                "",
                "cgroup v1 has no memory controller; cgroup v2 is not mounted",
            ),
            (V2, "hugetlb", "no memory controller"),
            (V2, "memory cpu", "no pids controller"),
        ] {
            let root = fake(&[("sys/fs/cgroup/cgroup.controllers", controllers)]);
            match Tree::from_mounts(root.path(), mounts, "0::/\n", "mayfly").limits() {
                Limits::BestEffort(why) => assert!(why.contains(expected), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn quotas_keep_their_share() {
        for (millis, expected) in [
            (1, (1000, 100_000)),
            (72, (7200, 100_000)),
            (289, (5780, 20_000)),
            (1000, (20_000, 20_000)),
            (6000, (120_000, 20_000)),
        ] {
            assert_eq!(quota(millis), expected, "{millis}");
        }
    }

    #[test]
    fn only_dead_instances_are_stale() {
        let root = fake(&[]);
        for instance in ["1-2/f-1", "3-4", "other"] {
            fs::create_dir_all(root.path().join("base").join(instance)).unwrap();
        }
        let tree = Tree::V2 {
            base: "/base".into(),
        };
        tree.remove_stale(root.path(), Duration::ZERO, |instance| instance != "1-2");
        let mut left: Vec<_> = fs::read_dir(root.path().join("base"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["3-4", "other"]);
    }

    /// The parts of v2 that work without controllers, on a real hierarchy: birth in a group, freezing, killing.
    #[test]
    fn a_real_v2_group_freezes_and_kills() {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let Some((point, _)) = mount_points(&mounts, Path::new("/"), "cgroup2").next() else {
            println!("skipped: cgroup v2 is not mounted");
            return;
        };
        let dir = point.join(format!("sandbox-test-{}", std::process::id()));
        if fs::create_dir(&dir).is_err() {
            println!("skipped: {} is not writable", point.display());
            return;
        }
        let (group, root) = (Group::V2 { dir: dir.clone() }, Path::new("/"));
        let (end, hold) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let folder = fs::File::open(&dir).unwrap();
        // This process has more threads, which is harmless here: the child neither allocates nor locks.
        let Some((pid, pidfd)) = sys::clone3(0, Some(folder.as_fd())).unwrap() else {
            let _ = rustix::io::read(&end, &mut [0]);
            sys::exit_now(0);
        };
        let frozen = || field(&read(&dir, "cgroup.events").unwrap(), "frozen");
        let until = |value| {
            while frozen() != value {
                std::thread::yield_now()
            }
        };
        assert_eq!(group.processes(root), [pid.as_raw_nonzero().get()]);
        assert!(group.freeze(root, true).unwrap());
        until(1);
        assert!(group.freeze(root, false).unwrap());
        until(0);
        assert!(!group.remove(root));
        group.kill(root);
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap();
        while !group.remove(root) {
            std::thread::yield_now();
        }
        drop(hold);
    }
}
