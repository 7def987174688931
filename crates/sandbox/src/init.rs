//! Pid 1 of a sandbox: builds it, gives up every privilege, then starts and reaps processes on request.
//!
//! It is a clone of the broker, runs under the sandbox's own system call filter, and dies with either of
//! its two sockets: the host's and the broker's. Its death is the death of everything inside.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{DumpableBehavior, PidfdFlags, Resource, Rlimit, Signal};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, Gid, LinkNameSpaceType, Uid,
};
use serde::{Deserialize, Serialize};

use crate::broker::How;
use crate::channel::{self, Fault, Step};
use crate::confine;
use crate::filter::Filter;
use crate::rootfs;
use crate::route;
use crate::spec::{Egress, Mode, Spec};
use crate::sys;

/// What the host asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Start a process. Descriptors come along in the order: numbered ones, then stdout and stderr if set.
    Spawn {
        argv: Vec<String>,
        env: Vec<(String, String)>,
        cwd: String,
        fds: Vec<RawFd>,
        stdout: bool,
        stderr: bool,
        /// What the sandbox's processes may hold by now; it may have changed since the sandbox was built.
        memory_bytes: u64,
        /// Not to be loaded before its variables come, by a pipe of its own.
        poised: bool,
    },
    /// Stop every process.
    Stop,
    /// Let them go on.
    Continue,
    /// Kill and reap every process.
    Kill,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The sandbox is complete; listeners, UDP sockets, `/tmp` and the mount namespace come along, and in a nursery the
    /// namespaces that a zygote's child enters, in the order of [`NAMESPACES`], the user namespace, and its Landlock domain.
    Ready,
    /// A process runs; its pidfd and the pipe that will tell its end come along. The pid is that inside.
    Spawned {
        pid: i32,
    },
    Done,
    Failed(Fault),
    /// `execve` failed.
    NoExec(Fault),
}

/// Everything the clone needs to become a sandbox.
pub(crate) struct Seed<'a> {
    pub spec: &'a Spec,
    pub mode: Mode,
    /// How files are made.
    pub files: Mode,
    pub how: How,
    /// Host uid that stands for root inside.
    pub owner: u32,
    /// To the host.
    pub control: OwnedFd,
    /// From the broker: one byte when it may go on; hung up when the broker dies.
    pub go: OwnedFd,
    pub userns: OwnedFd,
    /// Told by one byte when the clone has a table of descriptors of its own.
    pub parted: BorrowedFd<'a>,
    pub filter: &'a Filter,
    /// No cgroup counts processes or memory.
    pub best_effort: bool,
}

/// What a child of a zygote enters besides the mount namespace. The first is entered by its parent.
const NAMESPACES: &[&str] = &["pid", "net", "ipc", "uts", "cgroup"];

/// Runs in the clone; never returns to the broker's code. `trees` are what [`Spec::mounts`] will mount.
pub(crate) fn run(seed: &Seed<'_>, trees: Vec<OwnedFd>) -> ! {
    // A panic must not unwind into the broker's loop, which this process has a copy of.
    let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match build(seed, trees) {
        Ok((files, children)) => {
            let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
            if channel::send(&seed.control, &Answer::Ready, &fds).is_err() {
                return 1;
            }
            drop(files);
            match seed.how.zygote {
                true => become_zygote(seed),
                false => serve(seed, &children),
            }
        }
        Err(fault) => {
            // The host may be gone already; then nobody wants to know.
            let _ = channel::send(&seed.control, &Answer::Failed(fault), &[]);
            1
        }
    }));
    sys::exit_now(end.unwrap_or(101));
}

fn build(seed: &Seed<'_>, trees: Vec<OwnedFd>) -> Result<(Vec<OwnedFd>, OwnedFd), Fault> {
    // For people who look at the list of processes; nothing depends on it.
    let _ = rustix::thread::set_name(c"mayfly-init");
    let spec = seed.spec;
    let mut keep = vec![
        seed.control.as_raw_fd(),
        seed.go.as_raw_fd(),
        seed.userns.as_raw_fd(),
        2,
    ];
    keep.extend(trees.iter().map(AsRawFd::as_raw_fd));
    let parted = seed.parted.as_raw_fd();
    sys::part_with_all_except(&keep, || sys::write_raw(parted, b"p"))
        .step("closing descriptors")?;
    let mut byte = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(&seed.go, &mut byte))
        .step("waiting for the broker")?
    {
        0 => {
            return Err(Fault {
                step: "the broker died".to_owned(),
                errno: libc::EPIPE,
            });
        }
        _ => sys::unshare(libc::CLONE_NEWCGROUP).step("cgroup namespace")?,
    }
    let tmp = rootfs::furnish(spec, trees, seed.files, seed.owner)?;
    let mounts = rootfs::mount_namespace(Path::new("/"))?;
    // When the machine runs out of memory functions go first. Only raising it is allowed to everyone.
    std::fs::write("/proc/self/oom_score_adj", "500").step("oom_score_adj")?;
    rustix::system::sethostname(spec.hostname.as_bytes()).step("host name")?;
    if seed.how.zygote {
        // No network before it is restored, not even its own loopback.
        return Ok((vec![tmp, mounts], sys::child_signals().step("signalfd")?));
    }
    sys::loopback_up().step("loopback")?;
    match spec.egress {
        Egress::None => {}
        Egress::Transparent => route::everything_is_local().step("local default route")?,
    }
    let mut files = sockets(spec)?;
    files.extend([tmp, mounts]);
    if seed.how.outside.is_some() {
        files.extend(namespaces(seed)?);
        files.extend(confine::domain(&rootfs::writable(spec))?);
    }
    drop_privileges(seed)?;
    let children = sys::child_signals().step("signalfd")?;
    Ok((files, children))
}

/// Descriptors of what a zygote's child enters.
fn namespaces(seed: &Seed<'_>) -> Result<Vec<OwnedFd>, Fault> {
    let own = |name: &&str| File::open(format!("/proc/self/ns/{name}")).step(*name);
    let mut all = NAMESPACES
        .iter()
        .map(|name| own(name).map(OwnedFd::from))
        .collect::<Result<Vec<_>, _>>()?;
    all.push(seed.userns.try_clone().step("dup")?);
    Ok(all)
}

/// Descriptors that a zygote may have: it keeps one for each child, and a nursery has room for 2,047.
const ZYGOTE_NOFILE_MAX: u64 = 4096;

/// Executes the zygote that the host asks for. It keeps two of root's rights over its nursery and no others: to enter
/// the namespaces of sandboxes whose descriptors it is given. A hang-up tells the host that it runs.
fn become_zygote(seed: &Seed<'_>) -> i32 {
    let Ok(Some((request, fds))) = channel::receive(&seed.control) else {
        return 0;
    };
    let Request::Spawn {
        argv,
        env,
        cwd,
        fds: numbers,
        stdout,
        stderr,
        memory_bytes,
        poised: false,
    } = request
    else {
        return 1;
    };
    let program = Program::new(argv, env, cwd, numbers, stdout, stderr, fds);
    let program = program.map(|program| Program {
        memory_bytes,
        ..program
    });
    // Out of the way of the numbers that the program's own descriptors get.
    let Ok(control) = sys::dup_above(seed.control.as_raw_fd(), SPARE) else {
        return 1;
    };
    let fault = match program.and_then(|program| prepare_zygote(seed, &program).map(|()| program)) {
        Err(fault) => fault,
        Ok(program) => {
            let name = program.argv.first().map(CString::as_c_str);
            let name = name.unwrap_or_default();
            Fault::new(EXEC, &sys::execve(name, &program.argv, &program.env))
        }
    };
    let answer = if fault.step == EXEC {
        Answer::NoExec(fault)
    } else {
        Answer::Failed(fault)
    };
    // As a message of its own, like those of the channel.
    let text = serde_json::to_string(&answer).unwrap_or_default();
    sys::write_raw(control, text.as_bytes());
    1
}

fn prepare_zygote(seed: &Seed<'_>, program: &Program) -> Result<(), Fault> {
    place(program)?;
    limit(
        seed,
        program.memory_bytes,
        seed.spec.nofile.max(ZYGOTE_NOFILE_MAX),
    )?;
    rustix::thread::set_keep_capabilities(true).step("keeping capabilities")?;
    if seed.mode == Mode::Root {
        become_user(rootfs::USER, rootfs::GROUP)?;
    }
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_CHROOT;
    let bound = CapabilitySets {
        effective: needed | CapabilitySet::SETPCAP,
        permitted: needed | CapabilitySet::SETPCAP,
        inheritable: needed,
    };
    rustix::thread::set_capabilities(None, bound).step("capabilities")?;
    for capability in needed.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true).step("ambient")?;
    }
    rustix::thread::set_capabilities_secure_bits(secure_bits()).step("secure bits")?;
    drop_bounding_set()?;
    let sets = CapabilitySets {
        effective: needed,
        permitted: needed,
        inheritable: needed,
    };
    rustix::thread::set_capabilities(None, sets).step("capabilities")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .step("parent death signal")?;
    rustix::thread::set_no_new_privs(true).step("no_new_privs")?;
    rustix::process::chdir(program.cwd.as_c_str()).step("chdir")?;
    // Before any of the function's code, so that no fork can do without it.
    confine::scope_signals()?;
    Filter::compile_for_zygotes().load()
}

/// Made while still privileged, so that low ports work, and inside, so that only the sandbox reaches them.
fn sockets(spec: &Spec) -> Result<Vec<OwnedFd>, Fault> {
    let mut files = Vec::new();
    for address in &spec.listeners {
        files.push(OwnedFd::from(
            TcpListener::bind(address).step(format!("listening on {address}"))?,
        ));
    }
    for address in &spec.udp {
        files.push(OwnedFd::from(
            UdpSocket::bind(address).step(format!("binding udp {address}"))?,
        ));
    }
    Ok(files)
}

/// Enters the user namespace and keeps only what starting processes as the function's user needs.
fn drop_privileges(seed: &Seed<'_>) -> Result<(), Fault> {
    rustix::thread::move_into_link_name_space(seed.userns.as_fd(), Some(LinkNameSpaceType::User))
        .step("user namespace")?;
    let needed = match seed.mode {
        Mode::Root => {
            // In a nursery we are root inside as well, who loses them by becoming somebody else.
            rustix::thread::set_keep_capabilities(true).step("keeping capabilities")?;
            become_user(rootfs::INIT_USER, rootfs::INIT_GROUP)?;
            let kept = rustix::thread::capabilities(None).step("capabilities")?;
            set_capabilities(kept.permitted)?;
            CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::KILL
        }
        // There is only one uid to be had.
        Mode::UserNamespace => {
            become_user(rootfs::USER, rootfs::GROUP)?;
            CapabilitySet::empty()
        }
    };
    rustix::thread::set_capabilities_secure_bits(secure_bits()).step("secure bits")?;
    drop_bounding_set()?;
    set_capabilities(needed)?;
    // Changing users clears both of these, so they come last.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).step("dumpable")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .step("parent death signal")?;
    rustix::thread::set_no_new_privs(true).step("no_new_privs")?;
    confine::confine(&rootfs::writable(seed.spec), seed.how.outside.is_none())?;
    seed.filter.load()
}

fn secure_bits() -> CapabilitiesSecureBits {
    CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED
}

fn drop_bounding_set() -> Result<(), Fault> {
    for number in 0..64 {
        let Some(capability) = CapabilitySet::from_bits(1 << number) else {
            break;
        };
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The kernel knows fewer than 64.
            Err(rustix::io::Errno::INVAL) => break,
            other => other.step("bounding set")?,
        }
    }
    Ok(())
}

fn set_capabilities(set: CapabilitySet) -> Result<(), Fault> {
    let sets = CapabilitySets {
        effective: set,
        permitted: set,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).step("capabilities")
}

pub(crate) fn become_user(user: u32, group: u32) -> Result<(), Fault> {
    match rustix::thread::set_thread_groups(&[]) {
        // Forbidden in unprivileged user namespaces, whose groups mean nothing inside.
        Err(rustix::io::Errno::PERM) => {}
        other => other.step("setgroups")?,
    }
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    rustix::thread::set_thread_res_gid(group, group, group).step("setresgid")?;
    rustix::thread::set_thread_res_uid(user, user, user).step("setresuid")
}

/// A started process that has not ended.
struct Running {
    pid: i32,
    /// Its wait status goes here, then the pipe is closed.
    end: OwnedFd,
}

fn serve(seed: &Seed<'_>, children: &OwnedFd) -> i32 {
    let mut running: Vec<Running> = Vec::new();
    loop {
        let mut fds = [
            PollFd::new(&seed.control, PollFlags::IN),
            PollFd::new(children, PollFlags::IN),
            PollFd::new(&seed.go, PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return 1,
        }
        let ready = fds.map(|fd| !fd.revents().is_empty());
        if ready[1] {
            drain(children);
            while let Some((pid, status)) = sys::reap(false) {
                tell(&mut running, pid, status);
            }
        }
        if ready[2] {
            return 0;
        }
        if ready[0] {
            let Ok(Some((request, fds))) = channel::receive(&seed.control) else {
                return 0;
            };
            let sent = match handle(seed, &mut running, request, fds) {
                Ok((answer, fds)) => {
                    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
                    channel::send(&seed.control, &answer, &fds)
                }
                Err(fault) => channel::send(&seed.control, &Answer::Failed(fault), &[]),
            };
            if sent.is_err() {
                return 0;
            }
        }
    }
}

fn drain(children: &OwnedFd) {
    let mut bytes = [0; 1024];
    while rustix::io::read(children, &mut bytes).is_ok_and(|count| count > 0) {}
}

fn tell(running: &mut Vec<Running>, pid: i32, status: i32) {
    if let Some(at) = running.iter().position(|process| process.pid == pid) {
        let process = running.swap_remove(at);
        // Nobody may be listening any more.
        let _ = rustix::io::write(&process.end, &status.to_ne_bytes());
    }
}

type Handled = Result<(Answer, Vec<OwnedFd>), Fault>;

fn handle(
    seed: &Seed<'_>,
    running: &mut Vec<Running>,
    request: Request,
    fds: Vec<OwnedFd>,
) -> Handled {
    match request {
        Request::Spawn {
            argv,
            env,
            cwd,
            fds: numbers,
            stdout,
            stderr,
            memory_bytes,
            poised,
        } => {
            let mut program = Program::new(argv, env, cwd, numbers, stdout, stderr, fds)?;
            program.memory_bytes = memory_bytes;
            spawn(seed, running, program, poised)
        }
        Request::Stop => sys::signal_everyone(libc::SIGSTOP)
            .step("stop")
            .map(|()| (Answer::Done, Vec::new())),
        Request::Continue => sys::signal_everyone(libc::SIGCONT)
            .step("continue")
            .map(|()| (Answer::Done, Vec::new())),
        Request::Kill => {
            sys::signal_everyone(libc::SIGKILL).step("kill")?;
            while let Some((pid, status)) = sys::reap(true) {
                tell(running, pid, status);
            }
            Ok((Answer::Done, Vec::new()))
        }
    }
}

/// What a child executes, prepared before the fork.
struct Program {
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
    /// Descriptor here, number there.
    fds: Vec<(OwnedFd, RawFd)>,
    memory_bytes: u64,
}

impl Program {
    fn new(
        argv: Vec<String>,
        env: Vec<(String, String)>,
        cwd: String,
        numbers: Vec<RawFd>,
        stdout: bool,
        stderr: bool,
        fds: Vec<OwnedFd>,
    ) -> Result<Program, Fault> {
        let text = |text: String| {
            CString::new(text)
                .map_err(io::Error::from)
                .step("a zero byte in an argument")
        };
        let targets = numbers
            .into_iter()
            .chain(stdout.then_some(1))
            .chain(stderr.then_some(2));
        Ok(Program {
            argv: argv.into_iter().map(text).collect::<Result<_, _>>()?,
            env: variables(&env).step("a zero byte in a variable")?,
            cwd: text(if cwd.is_empty() { "/".to_owned() } else { cwd })?,
            fds: fds.into_iter().zip(targets).collect(),
            memory_bytes: 0,
        })
    }
}

/// What a program's environment consists of. Fails if there is a zero byte in it.
pub(crate) fn variables(env: &[(String, String)]) -> io::Result<Vec<CString>> {
    env.iter()
        .map(|(key, value)| Ok(CString::new(format!("{key}={value}"))?))
        .collect()
}

fn spawn(
    seed: &Seed<'_>,
    running: &mut Vec<Running>,
    mut program: Program,
    poised: bool,
) -> Handled {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("pipe");
    let (end_read, end) = pipe()?;
    let (fault_read, fault_write) = pipe()?;
    let (go, go_write) = poised.then(pipe).transpose()?.unzip();
    let Some(pid) = sys::fork().step("fork")? else {
        // It would wait for the end of its own.
        drop(go_write);
        child(seed, &mut program, &fault_write, go.as_ref())
    };
    drop(fault_write);
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).step("pidfd_open")?;
    if let Some(go_write) = go_write {
        let pid = pid.as_raw_nonzero().get();
        running.push(Running { pid, end });
        let files = vec![pidfd, end_read, fault_read, go_write];
        return Ok((Answer::Spawned { pid }, files));
    }
    // Closed by a successful exec, so this waits until the program runs.
    let mut text = String::new();
    File::from(fault_read)
        .read_to_string(&mut text)
        .step("starting a process")?;
    running.push(Running {
        pid: pid.as_raw_nonzero().get(),
        end,
    });
    match serde_json::from_str::<Fault>(&text) {
        Ok(fault) if fault.step == EXEC => Ok((Answer::NoExec(fault), Vec::new())),
        Ok(fault) => Err(fault),
        Err(_) => Ok((
            Answer::Spawned {
                pid: pid.as_raw_nonzero().get(),
            },
            vec![pidfd, end_read],
        )),
    }
}

/// Above every number a caller may ask for, so that placing descriptors never overwrites one.
const SPARE: RawFd = 256;
/// The step name of a failed `execve`.
pub(crate) const EXEC: &str = "execve";

fn child(seed: &Seed<'_>, program: &mut Program, faults: &OwnedFd, go: Option<&OwnedFd>) -> ! {
    // Out of the way of the numbers that the program's own descriptors get.
    let Ok(faults) = sys::dup_above(faults.as_raw_fd(), SPARE) else {
        sys::exit_now(127)
    };
    let go = go.map(|go| rustix::io::fcntl_dupfd_cloexec(go, SPARE));
    let prepared = prepare(seed, program).and_then(|()| match go {
        Some(go) => await_variables(program, go.step("dup")?),
        None => Ok(()),
    });
    let fault = prepared.err().unwrap_or_else(|| {
        let name = program
            .argv
            .first()
            .map(CString::as_c_str)
            .unwrap_or_default();
        Fault::new(EXEC, &sys::execve(name, &program.argv, &program.env))
    });
    let text = serde_json::to_string(&fault).unwrap_or_default();
    sys::write_raw(faults, text.as_bytes());
    sys::exit_now(127);
}

/// What comes before the variables of a program that is poised. Nothing at all comes when nobody wants it any more.
pub(crate) const GO: u8 = b'g';
/// Memory for the variables of most functions.
const VARIABLES_BYTES: usize = 16 << 10;

/// Waits for the variables of a program that is poised, each with a zero byte after it. When nobody wants it any more, it ends.
fn await_variables(program: &mut Program, go: OwnedFd) -> Result<(), Fault> {
    // Written to while nobody waits, since a page is copied for that: what they are read into, and then kept in.
    let mut text = vec![GO; VARIABLES_BYTES];
    drop(std::hint::black_box(vec![GO; VARIABLES_BYTES]));
    text.clear();
    // A tenth of a cold start would be taking down 36 mappings and 750 pages, of which the program needs none.
    sys::leave_memory_at_exec().step("leaving memory")?;
    File::from(go)
        .read_to_end(&mut text)
        .step("reading variables")?;
    let Some((&GO, text)) = text.split_first() else {
        sys::exit_now(0);
    };
    program.env = text
        .split_inclusive(|byte| *byte == 0)
        .map(|variable| CString::from_vec_with_nul(variable.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)
        .step("reading variables")?;
    Ok(())
}

fn prepare(seed: &Seed<'_>, program: &Program) -> Result<(), Fault> {
    place(program)?;
    limit(seed, program.memory_bytes, seed.spec.nofile)?;
    if seed.mode == Mode::Root {
        become_user(rootfs::USER, rootfs::GROUP)?;
    }
    set_capabilities(CapabilitySet::empty())?;
    if seed.how.outside.is_some() {
        confine::scope_signals()?;
    }
    rustix::process::chdir(program.cwd.as_c_str()).step("chdir")
}

/// A session of its own, and the descriptors where the program expects them.
fn place(program: &Program) -> Result<(), Fault> {
    sys::reset_signals();
    rustix::process::setsid().step("setsid")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let moved = |fd: RawFd| sys::dup_above(fd, SPARE).step("dup");
    let null = {
        // Closed before its number may become the program's.
        let null = rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .step("open /dev/null")?;
        moved(null.as_raw_fd())?
    };
    let mut fds: Vec<(RawFd, RawFd)> = vec![(null, 0), (null, 1), (null, 2)];
    for (fd, number) in &program.fds {
        fds.push((moved(fd.as_raw_fd())?, *number));
    }
    sys::close_on_exec_from(0).step("close_range")?;
    for (fd, number) in fds {
        sys::dup_to(fd, number).step("dup2")?;
    }
    Ok(())
}

/// Resource limits as AWS sets them, except that there are no core files. The program may have up to `nofile_max` descriptors
/// when it asks for more than it has.
fn limit(seed: &Seed<'_>, memory_bytes: u64, nofile_max: u64) -> Result<(), Fault> {
    const STACK_BYTES: u64 = 8 << 20;
    const LOCKED_BYTES: u64 = 64 << 10;
    let spec = seed.spec;
    // With one uid for all, the init counts too.
    let own = u64::from(seed.mode == Mode::UserNamespace);
    let both = |resource, value| (resource, value, value);
    let mut limits = vec![
        (Resource::Nofile, spec.nofile, nofile_max),
        both(Resource::Nproc, u64::from(spec.pids_max) + own),
        // Not 0: where the kernel pipes cores into a program of the host, only 1 keeps it from being run.
        both(Resource::Core, 1),
        both(Resource::Memlock, LOCKED_BYTES),
        both(Resource::Rtprio, 0),
        both(Resource::Nice, 0),
    ];
    if seed.best_effort {
        // A backstop only: the warden kills at the limit itself. Address space is no measure, because Java
        // and V8 reserve much more than they use.
        let data = memory_bytes.saturating_mul(2) + (64 << 20);
        limits.push(both(Resource::Data, data));
    }
    for (resource, current, maximum) in limits {
        let most = rustix::process::getrlimit(resource).maximum;
        let at_most = |value: u64| Some(most.map_or(value, |most| most.min(value)));
        let limit = Rlimit {
            current: at_most(current),
            maximum: at_most(maximum),
        };
        rustix::process::setrlimit(resource, limit).step("setrlimit")?;
    }
    let most = rustix::process::getrlimit(Resource::Stack).maximum;
    let current = Some(most.map_or(STACK_BYTES, |most| most.min(STACK_BYTES)));
    rustix::process::setrlimit(
        Resource::Stack,
        Rlimit {
            current,
            maximum: most,
        },
    )
    .step("setrlimit")
}
