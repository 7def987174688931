//! The values that cross the public boundary: what to build, what to run, what came of it.

use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest sandbox name and host name.
const NAME_BYTES_MAX: usize = 63;
/// Most bind mounts in one sandbox.
const MOUNTS_MAX: usize = 64;
/// Most listeners and UDP sockets in one sandbox; they travel in one message.
const SOCKETS_MAX: usize = 32;
/// Longest argument vector and environment together; one SEQPACKET message must hold them as JSON.
const PROCESS_BYTES_MAX: usize = 96 * 1024;
/// Most extra descriptors of one process.
const PROCESS_FDS_MAX: usize = 16;

/// How the broker is started and what it may use.
#[derive(Clone, Debug)]
pub struct Config {
    /// The binary whose `main` calls [`broker_main`](crate::broker_main) when it sees `broker_args`.
    pub broker_path: PathBuf,
    /// Arguments that make that binary the broker.
    pub broker_args: Vec<String>,
    /// First of the host uids (and gids) given to sandboxes when running as root. Must not be used by anyone else.
    pub uid_base: u32,
    /// How many of them there are. Two are used per living sandbox, one is shared, and nurseries take blocks of 4096
    /// from the end.
    pub uid_count: u32,
    /// Name of the cgroup under which every instance keeps its own.
    pub cgroup_name: String,
    /// Contents of `/etc/resolv.conf` inside.
    pub resolv_conf: String,
    /// Certificates to be trusted inside, instead of the host's: a PEM file, read once at start. It is seen at
    /// [`CA_BUNDLE`] and wherever else programs look for one.
    pub ca_bundle: Option<PathBuf>,
}

/// Where [`Config::ca_bundle`] is inside.
pub const CA_BUNDLE: &str = "/etc/ssl/ca-bundle.pem";

impl Config {
    /// Uses the running binary with the hidden argument `__sandbox`.
    pub fn this_exe() -> Config {
        Config::with_broker("/proc/self/exe", ["__sandbox"])
    }

    /// Uses another binary as the broker.
    pub fn with_broker(
        path: impl Into<PathBuf>,
        args: impl IntoIterator<Item = impl Into<String>>,
    ) -> Config {
        Config {
            broker_path: path.into(),
            broker_args: args.into_iter().map(Into::into).collect(),
            // Above the range of systemd-nspawn (524288 to 1879048191) and below the sign bit.
            uid_base: 0x7000_0000,
            uid_count: 1 << 20,
            cgroup_name: "mayfly".to_owned(),
            // Without a socket on that port asking is refused at once; with one, it answers when its own
            // resolvers have had their time.
            resolv_conf: "nameserver 127.0.0.1\noptions timeout:10 attempts:1\n".to_owned(),
            ca_bundle: None,
        }
    }
}

/// What privilege the broker found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Real root: distinct host uids, device nodes, cgroups.
    Root,
    /// An ordinary user inside a user namespace: one uid for all sandboxes.
    UserNamespace,
}

/// Whether memory, CPU and process limits are kept by the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limits {
    /// cgroup v2 controllers.
    CgroupV2,
    /// cgroup v1 hierarchies.
    CgroupV1,
    /// No cgroup is writable: resource limits, polling and signals. The text says why.
    BestEffort(String),
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limits::CgroupV2 => f.write_str("enforced by cgroup v2"),
            Limits::CgroupV1 => f.write_str("enforced by cgroup v1"),
            Limits::BestEffort(why) => write!(f, "best effort: {why}"),
        }
    }
}

/// One bind mount into the sandbox. Devices and setuid bits never work through it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// File or folder on the host. Its parents need not be readable for the sandbox's user; it itself must be.
    pub source: PathBuf,
    /// Absolute path inside. Folders made for it stay visible, empty, in later sandboxes: use few of them.
    pub target: PathBuf,
    /// Refuse writes.
    pub read_only: bool,
    /// Allow programs in it to be executed.
    pub exec: bool,
    /// Do without it if the source is not there; only for what is attached late.
    pub optional: bool,
}

impl Mount {
    /// A read-only mount whose programs may run.
    pub fn read_only(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Mount {
        Mount {
            source: source.into(),
            target: target.into(),
            read_only: true,
            exec: true,
            optional: false,
        }
    }

    /// A read-only mount of data, which is done without if it is not there.
    pub fn optional(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Mount {
        Mount {
            exec: false,
            optional: true,
            ..Mount::read_only(source, target)
        }
    }
}

/// What the sandbox can reach besides its own loopback and the injected listeners.
///
/// The network namespace never has more than `lo`. What leaves the machine does so from the host process, which
/// keeps the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Egress {
    /// Nothing: other addresses are unreachable.
    #[default]
    None,
    /// Every IPv4 address leads to the injected sockets: a TCP connection to any address is accepted by the
    /// listener on `0.0.0.0` and its port, whose accepted socket has the address that was meant as its local
    /// one; a datagram to any address arrives at the UDP socket on `0.0.0.0` and its port, and an answer from
    /// that socket seems to come from there. A port without a socket refuses. IPv6 stays unreachable.
    ///
    /// Nothing inside can listen on the ports of those listeners.
    Transparent,
}

/// One sandbox. Creation is separate from starting processes in it, so that sandboxes can be pooled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// For cgroup paths and messages: letters, digits, `_`, `-`, `.`; at most 63 bytes. Need not be unique.
    pub name: String,
    /// Host name inside.
    pub hostname: String,
    /// Bind mounts.
    pub mounts: Vec<Mount>,
    /// Size of the private `/tmp`.
    pub tmp_bytes: u64,
    /// Size of the private `/dev/shm`, which counts as memory.
    pub shm_bytes: u64,
    /// Memory of all processes together, without `/tmp`.
    pub memory_bytes: u64,
    /// CPU share; 1000 is one CPU, `None` unthrottled. See [`Sandbox::set_cpu`](crate::Sandbox::set_cpu).
    pub cpu_millis: Option<u32>,
    /// Most processes and threads.
    pub pids_max: u32,
    /// Most descriptors of each process.
    pub nofile: u64,
    /// TCP listeners created inside its network namespace and handed to the host, in this order.
    pub listeners: Vec<SocketAddrV4>,
    /// UDP sockets likewise.
    pub udp: Vec<SocketAddrV4>,
    /// Reach beyond loopback.
    pub egress: Egress,
}

impl Spec {
    /// A sandbox with the limits AWS Lambda documents for the smallest function.
    pub fn new(name: impl Into<String>) -> Spec {
        Spec {
            name: name.into(),
            hostname: "localhost".to_owned(),
            mounts: Vec::new(),
            tmp_bytes: 512 << 20,
            shm_bytes: 64 << 20,
            memory_bytes: 128 << 20,
            cpu_millis: None,
            pids_max: 1024,
            nofile: 1024,
            listeners: Vec::new(),
            udp: Vec::new(),
            egress: Egress::None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let word = |text: &str| {
            !text.is_empty()
                && text.len() <= NAME_BYTES_MAX
                && !text.starts_with('.')
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        let refuse = |what: &str| Err(Error::Spec(what.to_owned()));
        if !word(&self.name) {
            return refuse("the name must be 1 to 63 letters, digits, '_', '-' or '.'");
        }
        if !word(&self.hostname) {
            return refuse("the host name must be 1 to 63 letters, digits, '_', '-' or '.'");
        }
        if self.mounts.len() > MOUNTS_MAX || self.listeners.len() + self.udp.len() > SOCKETS_MAX {
            return refuse("too many mounts or sockets");
        }
        if self.memory_bytes == 0 || self.tmp_bytes == 0 || self.pids_max == 0 || self.nofile < 8 {
            return refuse(
                "memory, /tmp and processes must not be 0, and at least 8 descriptors are needed",
            );
        }
        if self.cpu_millis == Some(0) {
            return refuse("a CPU share of 0 would never run");
        }
        for mount in &self.mounts {
            check_target(&mount.target)?;
            if mount.optional {
                return refuse("only late mounts are optional");
            }
        }
        Ok(())
    }
}

/// A target is absolute, plain, and does not cover what the sandbox itself mounts.
fn check_target(target: &Path) -> Result<(), Error> {
    let mut parts = target.components();
    let plain = parts.next() == Some(Component::RootDir)
        && parts.clone().next().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)));
    let ours = [
        "/proc", "/dev", "/sys", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/tmp",
    ];
    let covers = ours.iter().any(|path| target.starts_with(path));
    // `/var` or `/` itself would hide what is below it; one name deep is fine (`/opt`).
    if !plain || covers || target == Path::new("/var") {
        return Err(Error::Spec(format!(
            "{} cannot be a mount target",
            target.display()
        )));
    }
    Ok(())
}

/// What a sandbox gets after it was built, when it is known whose it will be. See [`Sandbox::attach`](crate::Sandbox::attach).
#[derive(Clone, Debug)]
pub struct Late {
    /// Read-only bind mounts, over folders that are there: `/var/task`, `/opt`, `/var/bytecode/task`,
    /// `/var/bytecode/opt`, or targets of the specification.
    pub mounts: Vec<Mount>,
    /// Size of `/tmp`.
    pub tmp_bytes: u64,
    /// Memory of all processes together, without `/tmp`.
    pub memory_bytes: u64,
}

impl Late {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.memory_bytes == 0 || self.tmp_bytes == 0 {
            return Err(Error::Spec("memory and /tmp must not be 0".to_owned()));
        }
        late_mounts(&self.mounts)
    }
}

/// Whether these can be mounted over folders that are there.
pub(crate) fn late_mounts(mounts: &[Mount]) -> Result<(), Error> {
    if mounts.len() > MOUNTS_MAX || mounts.iter().any(|mount| !mount.read_only) {
        return Err(Error::Spec("late mounts are few and read-only".to_owned()));
    }
    mounts
        .iter()
        .try_for_each(|mount| check_target(&mount.target))
}

/// One process to start in a sandbox. Standard input is `/dev/null`; nothing of the host's environment or
/// descriptors is inherited.
#[derive(Debug, Default)]
pub struct Process {
    /// Program (a path inside, not searched in `PATH`) and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory inside; empty means `/`.
    pub cwd: PathBuf,
    /// Standard output; `None` is `/dev/null`.
    pub stdout: Option<OwnedFd>,
    /// Standard error; `None` is `/dev/null`.
    pub stderr: Option<OwnedFd>,
    /// More descriptors, each at the number given (3 or more).
    pub fds: Vec<(RawFd, OwnedFd)>,
}

impl Process {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |what: &str| Err(Error::Spec(what.to_owned()));
        if self.argv.is_empty() {
            return refuse("a process needs a program");
        }
        let bytes: usize = self.argv.iter().map(String::len).sum::<usize>()
            + self
                .env
                .iter()
                .map(|(key, value)| key.len() + value.len() + 2)
                .sum::<usize>();
        if bytes > PROCESS_BYTES_MAX {
            return refuse("arguments and environment are larger than 96 KiB");
        }
        let zero = |text: &String| text.contains('\0');
        if self.argv.iter().any(zero)
            || self.env.iter().any(|(key, value)| zero(key) || zero(value))
        {
            return refuse("arguments and environment must not contain a zero byte");
        }
        if self
            .env
            .iter()
            .any(|(key, _)| key.is_empty() || key.contains('='))
        {
            return refuse("environment names must not be empty or contain '='");
        }
        if self.fds.len() > PROCESS_FDS_MAX || self.fds.iter().any(|(at, _)| !(3..256).contains(at))
        {
            return refuse("at most 16 extra descriptors, numbered 3 to 255");
        }
        Ok(())
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal. Processes that vanish with their sandbox count as killed by 9.
    Signal(i32),
}

/// What a sandbox has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Highest memory of its processes since creation or [`reset_peak`](crate::Sandbox::reset_peak), without
    /// files in `/tmp` and without page cache of files that are only read.
    pub memory_peak_bytes: u64,
    /// The same, now.
    pub memory_bytes: u64,
    /// CPU time of all its processes; without those that have exited where no cgroup counts it.
    pub cpu_us: u64,
    /// Processes killed because memory ran out.
    pub oom_kills: u64,
}

/// Why a sandbox or process could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker binary did not start.
    #[error("could not start the sandbox broker {}: {source}", path.display())]
    Start {
        /// What was executed.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The machine lacks what isolation needs.
    #[error("cannot isolate functions on this machine: {0}")]
    NoIsolation(String),
    /// The broker died, and every sandbox with it.
    #[error("the sandbox broker has died")]
    BrokerGone,
    /// The sandbox died or was killed.
    #[error("the sandbox is gone")]
    Gone,
    /// A step of the set-up failed.
    #[error("sandbox set-up failed at {step}: {source}")]
    Setup {
        /// Which step.
        step: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The program could not be executed; `source` is the error of `execve`.
    #[error("could not execute {program}: {source}")]
    Exec {
        /// The program.
        program: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The specification makes no sense.
    #[error("invalid sandbox specification: {0}")]
    Spec(String),
    /// What a zygote forked is not confined as it must be; it was ended, and the zygote too.
    #[error("a forked process is not confined: {0}")]
    Unfit(String),
    /// No answer within the limit.
    #[error("the sandbox did not answer in time")]
    Timeout,
    /// A control file or descriptor failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
}
