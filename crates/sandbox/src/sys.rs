//! The system calls that rustix does not wrap. All of this crate's `unsafe` is here.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Pid;

pub(crate) const CLONE_NEW_ALL: u64 = (libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS) as u64;
pub(crate) const CLONE_NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
pub(crate) const CLONE_NEWPID: u64 = libc::CLONE_NEWPID as u64;
pub(crate) const CLONE_NEWNS: u64 = libc::CLONE_NEWNS as u64;
/// Shares the table of descriptors. The child must leave it by [`part_with_all_except`] before either of the two closes any.
pub(crate) const CLONE_FILES: u64 = libc::CLONE_FILES as u64;

/// `struct clone_args` up to the cgroup field (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Forks into new namespaces, optionally straight into a cgroup. `None` in the child, its pid and pidfd in the parent.
///
/// Must only be called while the process has one thread: the child is a full copy and goes on using the
/// allocator, whose locks nobody can then hold.
pub(crate) fn clone3(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Option<(Pid, OwnedFd)>> {
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        /// `CLONE_INTO_CGROUP` of linux/sched.h.
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup =
            u64::try_from(cgroup.as_raw_fd()).expect("a borrowed descriptor is not negative");
    }
    // SAFETY: `args` is a valid clone_args of the size given, `pidfd` outlives the call, no CLONE_VM is asked
    // for, so the child runs on its own copy of this stack; the caller guarantees a single thread.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel stored a fresh descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("clone3 returns a positive pid in the parent");
    Ok(Some((pid, pidfd)))
}

/// Stack of a process that shares our memory.
const STACK_WORDS: usize = (16 << 10) / size_of::<u128>();

/// Starts a process that shares our memory and runs `work`, on a stack of its own.
///
/// # Safety
/// `work` must be fit to run beside whatever we do, and the stack must live until the process has ended.
unsafe fn clone_with_memory(
    work: extern "C" fn(*mut libc::c_void) -> libc::c_int,
    argument: *mut libc::c_void,
    flags: libc::c_int,
    stack: &mut [u128],
) -> io::Result<Pid> {
    let top = stack.as_mut_ptr_range().end.cast();
    // SAFETY: the child begins at the end of a stack that is its own; the caller answers for what it does there.
    let pid = unsafe { libc::clone(work, top, flags | libc::CLONE_VM, argument) };
    check(pid.into())?;
    Ok(Pid::from_raw(pid).expect("clone returns a positive pid"))
}

/// A process that does nothing, in a user namespace of its own. It ends when this is dropped, or with us.
pub(crate) struct InUserNamespace {
    pub pid: Pid,
    _stack: Vec<u128>,
}

impl InUserNamespace {
    /// It shares memory and descriptors with us, so that neither has to be copied.
    pub fn start() -> io::Result<InUserNamespace> {
        /// Until it is killed, or its parent is another one by now.
        extern "C" fn wait(parent: *mut libc::c_void) -> libc::c_int {
            // SAFETY: no call touches memory, nor fails and sets `errno`, which is ours.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                while libc::getppid().unsigned_abs() as usize == parent.addr() {
                    libc::syscall(libc::SYS_pause);
                }
            }
            0
        }
        let mut stack = vec![0; STACK_WORDS];
        let us = std::ptr::without_provenance_mut(std::process::id() as usize);
        let flags = libc::CLONE_NEWUSER | libc::CLONE_FILES | libc::SIGCHLD;
        // SAFETY: `wait` touches no memory, and the stack lives until the process is reaped.
        let pid = unsafe { clone_with_memory(wait, us, flags, &mut stack) }?;
        Ok(InUserNamespace { pid, _stack: stack })
    }
}

impl Drop for InUserNamespace {
    fn drop(&mut self) {
        // Until it is reaped the number is its own, so it cannot fail.
        let _ = rustix::process::kill_process(self.pid, rustix::process::Signal::KILL);
        let end = rustix::process::WaitIdOptions::EXITED;
        // Nor can this: it is a child of ours.
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(rustix::process::WaitId::Pid(self.pid), end)
        });
    }
}

/// Leaves this process's memory to another one as soon as it executes a program, so that `execve` only lets go of it. To take it
/// down is that process's to do, which then ends: it does nothing else, is as confined as we are, holds no descriptors, makes
/// way for the program, and is reaped by our parent.
///
/// It begins when the program has probably started, which would share the kernel's locks for memory with it, and before an
/// environment that is idle is frozen, which would keep that memory.
///
/// Must be called once, by a process that has one thread, as the last thing before it waits for its program.
pub(crate) fn leave_memory_at_exec() -> io::Result<()> {
    /// The kernel clears it, and wakes whoever waits for that, when we execute a program or end.
    static HERE: AtomicU32 = AtomicU32::new(1);
    static START: libc::timespec = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    extern "C" fn take_down(_: *mut libc::c_void) -> libc::c_int {
        // SAFETY: of our memory they only read `HERE` and constants. What fails would set `errno`, which is that of the process
        // that started us: only the waits can, when it has gone.
        unsafe {
            libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
            let policy: libc::sched_param = std::mem::zeroed();
            libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const policy);
            while HERE.load(Ordering::Acquire) != 0 {
                let forever = std::ptr::null::<libc::timespec>();
                libc::syscall(libc::SYS_futex, HERE.as_ptr(), libc::FUTEX_WAIT, 1, forever);
            }
            let rest = std::ptr::null_mut::<libc::timespec>();
            libc::syscall(libc::SYS_nanosleep, &raw const START, rest);
        }
        0
    }
    // Lives as long as the memory.
    let stack = Vec::leak(vec![0; STACK_WORDS]);
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    // SAFETY: `HERE` and the stack outlive every process that has this memory, and `take_down` leaves the rest of it alone.
    unsafe {
        libc::syscall(libc::SYS_set_tid_address, HERE.as_ptr());
        clone_with_memory(take_down, std::ptr::null_mut(), libc::CLONE_PARENT, stack).map(drop)
    }
}

/// `fork`, under the same rule as [`clone3`]: `None` in the child.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the callers are single-threaded, so the child may go on as a normal process.
    let pid = unsafe { libc::fork() };
    check(pid.into())?;
    Ok(Pid::from_raw(pid))
}

/// Ends the process at once, without destructors: they belong to the parent.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Leaves the current namespaces.
pub(crate) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: the callers are single-threaded and hold no state that depends on the namespaces left.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// Replaces the program; returns only on failure.
pub(crate) fn execve(program: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts
            .iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end with a null pointer and point to strings that live until the call returns.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Makes `to` a copy of `from` that survives exec. `to` need not be open.
pub(crate) fn dup_to(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: dup2 only changes the descriptor table; what was at `to` is owned by nobody in the child that calls this.
    check(unsafe { libc::dup2(from, to) }.into()).map(drop)
}

/// A copy of a descriptor at `lowest` or above, closed on exec, deliberately without an owner.
pub(crate) fn dup_above(from: RawFd, lowest: RawFd) -> io::Result<RawFd> {
    // SAFETY: fcntl with F_DUPFD_CLOEXEC takes two integers.
    let fd = check(unsafe { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, lowest) }.into())?;
    Ok(RawFd::try_from(fd).expect("a descriptor fits its own type"))
}

/// Writes to a descriptor without an owner; a failure is not reported, as the reader's end tells enough.
pub(crate) fn write_raw(fd: RawFd, bytes: &[u8]) {
    // SAFETY: the pointer and length are those of a slice that outlives the call.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
}

/// Closes every descriptor from 0 that is not in `keep`. Only for a child that will not run the owners' destructors.
pub(crate) fn close_all_except(keep: &[RawFd]) -> io::Result<()> {
    part_with_all_except(keep, || {})
}

/// The same for a child that shares its table with its parent: it gets one of its own, and says so by `parted`. What is above
/// the highest of `keep` costs nothing, as it is not even copied.
pub(crate) fn part_with_all_except(keep: &[RawFd], parted: impl FnOnce()) -> io::Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .collect();
    keep.sort_unstable();
    let above = keep.last().map_or(0, |fd| fd + 1);
    close_range(above, u32::MAX, libc::CLOSE_RANGE_UNSHARE)?;
    parted();
    let mut first = 0;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    Ok(())
}

/// Marks every descriptor from `first` to be closed on exec.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: close_range takes three integers; the callers own the whole descriptor table.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Sets attributes of a mount tree, makes it private, and optionally maps its owners through a user namespace.
pub(crate) fn mount_setattr(
    tree: BorrowedFd<'_>,
    set: u64,
    idmap: Option<BorrowedFd<'_>>,
    recursive: bool,
) -> io::Result<()> {
    let mut attr = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    if let Some(idmap) = idmap {
        attr.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attr.userns_fd =
            u64::try_from(idmap.as_raw_fd()).expect("a borrowed descriptor is not negative");
    }
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and `attr` a valid mount_attr of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}

/// Brings the loopback interface of the current network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING)
        .expect("interface flags fit a short");
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which `request` is.
    check(
        unsafe {
            libc::ioctl(
                socket.as_raw_fd(),
                libc::SIOCSIFFLAGS as _,
                &raw const request,
            )
        }
        .into(),
    )
    .map(drop)
}

/// Every signal back to its default and none blocked, as a new program expects.
pub(crate) fn reset_signals() {
    // SAFETY: resetting dispositions and the mask of a single-threaded child has no preconditions; signals
    // that cannot be changed report an error, which is meant to be ignored.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Ignores a signal.
pub(crate) fn ignore_signal(signal: libc::c_int) {
    // SAFETY: SIG_IGN runs no code.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Blocks SIGCHLD and returns a descriptor that becomes readable when a child changes state.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use, and the descriptor returned is fresh.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()).into())?;
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(fd.into())?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Signals every process of the own pid namespace except pid 1. Only pid 1 may call it: anywhere else it
/// would hit the host.
pub(crate) fn signal_everyone(signal: libc::c_int) -> io::Result<()> {
    assert!(
        rustix::process::getpid().is_init(),
        "only the init of a sandbox signals everyone"
    );
    // SAFETY: kill has no memory preconditions.
    match check(unsafe { libc::kill(-1, signal) }.into()) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map(drop),
    }
}

/// Reaps one child: its pid and raw wait status, or `None` when none is left to reap now.
pub(crate) fn reap(block: bool) -> Option<(i32, i32)> {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call.
        let pid =
            unsafe { libc::waitpid(-1, &raw mut status, if block { 0 } else { libc::WNOHANG }) };
        if pid > 0 {
            return Some((pid, status));
        }
        if pid == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

/// Loads a system call filter into the calling thread. It must have given up gaining privileges before.
pub(crate) fn load_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: `program` describes a slice that outlives the call, and the kernel only reads it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0_u32,
            &raw const program,
        )
    };
    check(result).map(drop)
}

/// The newest Landlock ABI of the running kernel; 0 without Landlock.
pub(crate) fn landlock_abi() -> i32 {
    const LANDLOCK_CREATE_RULESET_VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the kernel reads no memory and returns a number.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    i32::try_from(abi).unwrap_or(0).max(0)
}

/// A file of the kernel's. Those have no size, so the standard library would read it in ever larger pieces.
pub(crate) fn read_file(path: &Path) -> io::Result<String> {
    /// More than most of them have.
    const BYTES: usize = 4096;
    let mut text = String::with_capacity(BYTES);
    fs::File::open(path)?
        .take(u64::MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Microseconds per clock tick of `/proc/PID/stat`.
pub(crate) fn tick_us() -> u64 {
    // SAFETY: sysconf has no preconditions.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    1_000_000 / u64::try_from(per_second).unwrap_or(100).max(1)
}
