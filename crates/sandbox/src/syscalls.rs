//! The table of system calls: what may be called, and with which arguments. [`crate::filter`] compiles it.

use std::collections::BTreeMap;

/// What becomes of a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allow,
    /// "Not permitted".
    Refuse,
    /// "Not implemented", so that a C library falls back to an older call.
    Unknown,
    /// Allowed if every test of one of these alternatives holds, else refused.
    If(Vec<Vec<Test>>),
}

/// A condition on the lower half of an argument. All the arguments tested are 32-bit values, of which the
/// kernel ignores the upper half too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    pub argument: u8,
    pub mask: u32,
    pub value: u32,
}

/// The first number that nobody had heard of when this table was written.
pub(crate) const UNKNOWN_FROM: u32 = 470;

/// Every call that is not simply refused.
pub(crate) fn table() -> BTreeMap<u32, Verdict> {
    let mut table: BTreeMap<u32, Verdict> = PLAIN
        .iter()
        .chain(PLAIN_OF_ARCH)
        .map(|call| (number(*call), Verdict::Allow))
        .collect();
    // Its flags lie behind a pointer, where a filter cannot look.
    table.insert(number(libc::SYS_clone3), Verdict::Unknown);
    let mut when = |call, alternatives| table.insert(number(call), Verdict::If(alternatives));
    when(
        libc::SYS_clone,
        vec![vec![Test {
            argument: 0,
            mask: NAMESPACES,
            value: 0,
        }]],
    );
    when(libc::SYS_socket, sockets());
    when(libc::SYS_socketpair, one_of(0, ALL, &[word(libc::AF_UNIX)]));
    when(libc::SYS_ioctl, one_of(1, ALL, IOCTLS));
    when(libc::SYS_prctl, one_of(0, ALL, PRCTLS));
    // Linux, and the question which one is set.
    when(libc::SYS_personality, one_of(0, ALL, &[0, u32::MAX]));
    // Pipes, sockets and plain files, but no device nodes.
    let kinds = [0, libc::S_IFREG, libc::S_IFIFO, libc::S_IFSOCK];
    when(libc::SYS_mknodat, one_of(2, libc::S_IFMT, &kinds));
    #[cfg(target_arch = "x86_64")]
    when(libc::SYS_mknod, one_of(1, libc::S_IFMT, &kinds));
    table
}

/// What the sandboxes of a nursery may call besides: to confine themselves further, since their init leaves that to each
/// of its children.
pub(crate) fn nursery_table() -> BTreeMap<u32, Verdict> {
    let mut table = table();
    for call in [
        444, // landlock_create_ruleset
        445, // landlock_add_rule
        446, // landlock_restrict_self
    ] {
        table.insert(number(call), Verdict::Allow);
    }
    table
}

/// What a zygote may call besides that: to enter namespaces that it holds a descriptor of, and to give up rights.
/// Its children keep this table; without capabilities it lets them do no more than the plain one.
pub(crate) fn zygote_table() -> BTreeMap<u32, Verdict> {
    const CAPBSET_DROP: u32 = 24;
    const SET_SECUREBITS: u32 = 28;
    let mut table = nursery_table();
    table.insert(number(libc::SYS_setns), Verdict::Allow);
    let prctls: Vec<u32> = PRCTLS
        .iter()
        .copied()
        .chain([CAPBSET_DROP, SET_SECUREBITS])
        .collect();
    let verdict = Verdict::If(one_of(0, ALL, &prctls));
    table.insert(number(libc::SYS_prctl), verdict);
    table
}

/// The mask of a plain comparison.
const ALL: u32 = u32::MAX;

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("system call numbers are small and positive")
}

fn word(value: libc::c_int) -> u32 {
    value.cast_unsigned()
}

/// One alternative per value that the argument may have.
fn one_of(argument: u8, mask: u32, values: &[u32]) -> Vec<Vec<Test>> {
    values
        .iter()
        .map(|value| {
            vec![Test {
                argument,
                mask,
                value: *value,
            }]
        })
        .collect()
}

/// Bits of `clone` that make namespaces.
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .cast_unsigned();

/// Unix, TCP, UDP, and the netlink protocol that lists interfaces. Vsock is not namespaced and netlink has
/// many dangerous protocols, so families are named, never excluded.
fn sockets() -> Vec<Vec<Test>> {
    const TYPE_MASK: u32 = 0xf;
    let is = |argument, value| Test {
        argument,
        mask: ALL,
        value: word(value),
    };
    let kind = |value| Test {
        argument: 1,
        mask: TYPE_MASK,
        value: word(value),
    };
    let mut alternatives = vec![
        vec![is(0, libc::AF_UNIX)],
        vec![is(0, libc::AF_NETLINK), is(2, libc::NETLINK_ROUTE)],
    ];
    for inet in [libc::AF_INET, libc::AF_INET6] {
        for (of_kind, protocols) in [
            (libc::SOCK_STREAM, [0, libc::IPPROTO_TCP]),
            (libc::SOCK_DGRAM, [0, libc::IPPROTO_UDP]),
        ] {
            let with = |protocol| vec![is(0, inet), kind(of_kind), is(2, protocol)];
            alternatives.extend(protocols.map(with));
        }
    }
    alternatives
}

/// Terminal state, descriptor flags, interface look-ups and copy-on-write clones. TIOCSTI, TIOCLINUX,
/// line disciplines and every driver's own numbers are not among them.
const IOCTLS: &[u32] = &[
    0x5401,
    0x5402,
    0x5403,
    0x5404, // TCGETS, TCSETS, TCSETSW, TCSETSF
    0x5405,
    0x5406,
    0x5407,
    0x5408, // TCGETA, TCSETA, TCSETAW, TCSETAF
    0x5409,
    0x540b,
    0x540f,
    0x5410, // TCSBRK, TCFLSH, TIOCGPGRP, TIOCSPGRP
    0x5411,
    0x5413,
    0x5414,
    0x541b, // TIOCOUTQ, TIOCGWINSZ, TIOCSWINSZ, FIONREAD
    0x5421,
    0x5429,
    0x5450,
    0x5451,
    0x5452,      // FIONBIO, TIOCGSID, FIONCLEX, FIOCLEX, FIOASYNC
    0x802c_542a, // TCGETS2
    0x8905,      // SIOCATMARK
    0x8910,
    0x8912,
    0x8913,
    0x8915,
    0x8917, // SIOCGIFNAME, CONF, FLAGS, ADDR, DSTADDR
    0x8919,
    0x891b,
    0x891d,
    0x8921,
    0x8927, // SIOCGIFBRDADDR, NETMASK, METRIC, MTU, HWADDR
    0x8933,
    0x8942,      // SIOCGIFINDEX, SIOCGIFTXQLEN
    0x8008_6601, // FS_IOC_GETFLAGS
    0x4004_9409,
    0x4020_940d, // FICLONE, FICLONERANGE
    0x8004_5200, // RNDGETENTCNT
];

const PRCTLS: &[u32] = &[
    1,
    2,
    3,
    4, // PDEATHSIG, DUMPABLE
    7,
    15,
    16,
    21, // GET_KEEPCAPS, NAME, GET_SECCOMP
    23,
    25,
    27, // CAPBSET_READ, GET_TSC, GET_SECUREBITS
    29,
    30, // TIMERSLACK
    36,
    37,
    38,
    39,
    40, // CHILD_SUBREAPER, NO_NEW_PRIVS, GET_TID_ADDRESS
    41,
    42,
    47, // THP_DISABLE, CAP_AMBIENT
    52,
    53,
    55,
    56,          // SPECULATION_CTRL, TAGGED_ADDR_CTRL
    0x5356_4d41, // SET_VMA: names of anonymous memory
];

/// Calls without conditions. Not here, and so refused: everything about mounts, namespaces, modules, tracing
/// and other processes' memory, keys, bpf, io_uring, userfaultfd, perf, handles, clocks, host names, quotas,
/// NUMA placement, raw I/O, `sync` of other people's disks, and sandboxing interfaces of the kernel itself.
const PLAIN: &[libc::c_long] = &[
    // Files.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    452, // fchmodat2
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_umask,
    libc::SYS_memfd_create,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    // Waiting.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    454, // futex_wake
    455, // futex_wait
    456, // futex_requeue
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_restart_syscall,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_mlockall,
    libc::SYS_munlockall,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
    libc::SYS_pkey_mprotect,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_getrandom,
    451, // cachestat
    462, // mseal
    // Processes, threads and signals.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_set_tid_address,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getpgid,
    libc::SYS_setpgid,
    libc::SYS_getsid,
    libc::SYS_setsid,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_ioprio_get,
    libc::SYS_ioprio_set,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getattr,
    libc::SYS_sched_setattr,
    libc::SYS_sched_getparam,
    libc::SYS_sched_setparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_getcpu,
    libc::SYS_get_mempolicy,
    // Users: without capabilities they change nothing that matters.
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capget,
    libc::SYS_capset,
    // Time and the machine.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    // Sockets, once made.
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    // System V and POSIX queues of the sandbox's own IPC namespace.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmdt,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_mq_timedsend,
    libc::SYS_mq_timedreceive,
    libc::SYS_mq_notify,
    libc::SYS_mq_getsetattr,
];

/// Older spellings that only some architectures have.
#[cfg(target_arch = "x86_64")]
const PLAIN_OF_ARCH: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_getdents,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_symlink,
    libc::SYS_link,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_signalfd,
    libc::SYS_inotify_init,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_getpgrp,
    libc::SYS_pause,
    libc::SYS_alarm,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const PLAIN_OF_ARCH: &[libc::c_long] = &[libc::SYS_renameat];
