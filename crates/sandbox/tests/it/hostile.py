"""Ways out and sideways, tried from inside a sandbox.

Every attack runs in a process of its own and must fail: by an error, by no effect, or by finding nothing.
Every normal thing must work. One line per row: BLOCKED, ESCAPED, WORKS or BROKEN, a tab, the name, a tab, why.
"""
import ctypes
import errno
import json
import os
import platform
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback

FACTS = json.loads(sys.argv[1])
LIBC = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"
ATTACKS, NORMAL = [], []


def attack(name):
    return lambda function: ATTACKS.append((name, function)) or function


def normal(name):
    return lambda function: NORMAL.append((name, function)) or function


def call(number, *arguments):
    """A raw system call; raises OSError."""
    arguments = [argument if isinstance(argument, bytes) else ctypes.c_long(argument or 0) for argument in arguments]
    result = LIBC.syscall(ctypes.c_long(number), *arguments)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


# Name, number on x86-64, number on arm64 (None: not there), arguments. Success of any of them is an escape.
NEWNS, NEWUSER, NEWPID, NEWNET, NEWIPC, NEWUTS, NEWCGROUP = (
    0x20000, 0x10000000, 0x20000000, 0x40000000, 0x8000000, 0x4000000, 0x2000000)
BUFFER = ctypes.addressof(ctypes.create_string_buffer(4096))
CALLS = [
    ("mount tmpfs", 165, 40, (b"x", b"/tmp", b"tmpfs", 0, None)),
    ("mount proc", 165, 40, (b"proc", b"/tmp", b"proc", 0, None)),
    ("mount bind", 165, 40, (b"/usr", b"/tmp", None, 4096, None)),
    ("mount remount writable", 165, 40, (None, b"/usr", None, 32 | 4096, None)),
    ("mount cgroup2", 165, 40, (b"x", b"/tmp", b"cgroup2", 0, None)),
    ("umount", 166, 39, (b"/proc", 2)),
    ("pivot_root", 155, 41, (b"/tmp", b"/tmp")),
    ("chroot", 161, 51, (b"/tmp",)),
    ("fsopen", 430, 430, (b"tmpfs", 0)),
    ("fsmount", 432, 432, (0, 0, 0)),
    ("open_tree clone", 428, 428, (-100, b"/", 1)),
    ("move_mount", 429, 429, (-100, b"/usr", -100, b"/tmp", 0)),
    ("mount_setattr", 442, 442, (-100, b"/", 0, BUFFER, 32)),
    ("unshare user", 272, 97, (NEWUSER,)),
    ("unshare mount", 272, 97, (NEWNS,)),
    ("unshare pid", 272, 97, (NEWPID,)),
    ("unshare network", 272, 97, (NEWNET,)),
    ("clone user", 56, 220, (NEWUSER | 17, 0, 0, 0, 0)),
    ("clone user and mount", 56, 220, (NEWUSER | NEWNS | 17, 0, 0, 0, 0)),
    ("clone network", 56, 220, (NEWNET | 17, 0, 0, 0, 0)),
    ("clone ipc", 56, 220, (NEWIPC | 17, 0, 0, 0, 0)),
    ("clone uts", 56, 220, (NEWUTS | 17, 0, 0, 0, 0)),
    ("clone cgroup", 56, 220, (NEWCGROUP | 17, 0, 0, 0, 0)),
    ("clone pid", 56, 220, (NEWPID | 17, 0, 0, 0, 0)),
    ("ptrace attach", 101, 117, (16, os.getppid(), 0, 0)),
    ("ptrace traceme", 101, 117, (0, 0, 0, 0)),
    ("process_vm_readv", 310, 270, (os.getppid(), BUFFER, 0, BUFFER, 0, 0)),
    ("process_vm_writev", 311, 271, (os.getppid(), BUFFER, 0, BUFFER, 0, 0)),
    ("process_madvise", 440, 440, (0, 0, 0, 0, 0)),
    ("kcmp", 312, 272, (os.getpid(), os.getppid(), 0, 0, 0)),
    ("pidfd_getfd", 438, 438, (0, 0, 0)),
    ("bpf", 321, 280, (0, BUFFER, 64)),
    ("perf_event_open", 298, 241, (BUFFER, 0, -1, -1, 0)),
    ("userfaultfd", 323, 282, (0,)),
    ("userfaultfd user mode only", 323, 282, (1,)),
    ("io_uring_setup", 425, 425, (8, BUFFER)),
    ("io_uring_enter", 426, 426, (0, 0, 0, 0, 0, 0)),
    ("io_uring_register", 427, 427, (0, 0, 0, 0)),
    ("keyctl session keyring", 250, 219, (0, -3, 1)),
    ("keyctl join session", 250, 219, (1, 0)),
    ("add_key", 248, 217, (b"user", b"x", b"y", 1, -3)),
    ("request_key", 249, 218, (b"user", b"x", None, -3)),
    ("init_module", 175, 105, (BUFFER, 16, b"")),
    ("finit_module", 313, 273, (0, b"", 0)),
    ("delete_module", 176, 106, (b"ext4", 0)),
    ("kexec_load", 246, 104, (0, 0, 0, 0)),
    ("reboot", 169, 142, (0xfee1dead, 672274793, 0x89abcdef, 0)),
    ("swapon", 167, 224, (b"/tmp/x", 0)),
    ("swapoff", 168, 225, (b"/dev/vda",)),
    ("acct", 163, 89, (b"/tmp/x",)),
    ("quotactl", 179, 60, (0x80000700, b"/dev/vda", 0, BUFFER)),
    ("name_to_handle_at", 303, 264, (-100, b"/", BUFFER, BUFFER + 2048, 0)),
    ("open_by_handle_at", 304, 265, (-100, BUFFER, 0)),
    ("settimeofday", 164, 170, (BUFFER, 0)),
    ("clock_settime", 227, 112, (0, BUFFER)),
    ("clock_adjtime", 305, 266, (0, BUFFER)),
    ("adjtimex", 159, 171, (BUFFER,)),
    ("sethostname", 170, 161, (b"evil", 4)),
    ("setdomainname", 171, 162, (b"evil", 4)),
    ("syslog read all", 103, 116, (3, BUFFER, 4096)),
    ("iopl", 172, None, (3,)),
    ("ioperm", 173, None, (0x80, 1, 1)),
    ("modify_ldt", 154, None, (0, BUFFER, 16)),
    ("fanotify_init", 300, 262, (0, 0)),
    ("vhangup", 153, 58, ()),
    ("mbind", 237, 235, (BUFFER, 4096, 0, 0, 0, 0)),
    ("migrate_pages", 256, 238, (0, 0, 0, 0)),
    ("move_pages", 279, 239, (0, 0, 0, 0, 0, 0)),
    ("memfd_secret", 447, 447, (0,)),
    ("landlock_create_ruleset", 444, 444, (BUFFER, 16, 0)),
    ("seccomp", 317, 277, (3, 0, BUFFER)),
    ("personality without randomization", 135, 92, (0x40000,)),
    ("personality read implies exec", 135, 92, (0x400000,)),
    ("sync all disks", 162, 81, ()),
    ("syncfs", 306, 267, (0,)),
    ("vmsplice", 278, 75, (1, BUFFER, 0, 0)),
    ("statmount", 457, 457, (BUFFER, BUFFER, 64, 0)),
    ("lookup_dcookie", 212, 18, (0, 0, BUFFER, 16)),
    ("a system call of the future", 500, 500, ()),
    ("prctl set ptracer", 157, 167, (0x59616d61, -1, 0, 0, 0)),
    ("prctl set mm", 157, 167, (35, 1, 0, 0, 0)),
    ("prctl set seccomp", 157, 167, (22, 2, BUFFER, 0, 0)),
    ("prctl set keepcaps", 157, 167, (8, 1, 0, 0, 0)),
    ("prctl set securebits", 157, 167, (28, 0, 0, 0, 0)),
    ("prctl raise ambient capability", 157, 167, (47, 2, 21, 0, 0)),
    ("mlock beyond the limit", 149, 228, (BUFFER & ~4095, 1 << 20)),
]
for name, x86, arm, arguments in CALLS:
    number = arm if ARM else x86
    if number is not None:
        ATTACKS.append((name, lambda number=number, arguments=arguments: call(number, *arguments) is not None))


@attack("clone3 answers not implemented")
def _():
    try:
        call(435, BUFFER, 88)
    except OSError as error:
        return error.errno != errno.ENOSYS


@attack("setns to own namespaces")
def _():
    for kind in os.listdir("/proc/self/ns"):
        try:
            call(268 if ARM else 308, os.open("/proc/self/ns/" + kind, os.O_RDONLY), 0)
            return kind
        except OSError:
            pass


# Files that must not be there, not be readable, or not be writable.
for path in ["/etc/shadow", "/etc/gshadow", "/etc/ssh/ssh_host_ed25519_key", "/root/.bashrc", "/root/.ssh/id_rsa", "/boot/vmlinuz",
             "/var/log/dpkg.log", "/var/lib/dpkg/status", "/run/utmp", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs",
             "/dev/mem", "/dev/kmem", "/dev/vda", "/dev/sda", "/dev/kmsg", "/dev/fuse", "/dev/kvm", "/dev/loop-control", "/dev/net/tun",
             "/dev/vsock", "/dev/tty", "/dev/ptmx", "/dev/console",
             "/proc/kcore", "/proc/kallsyms", "/proc/kmsg", "/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/cmdline",
             "/proc/config.gz", "/proc/slabinfo", "/proc/vmallocinfo", "/proc/kpageflags", "/proc/sched_debug", "/proc/modules",
             "/proc/1/environ", "/proc/1/maps", "/proc/1/mem", "/proc/1/status", "/proc/1/cmdline", "/proc/2/environ",
             FACTS["host_file"], FACTS["neighbour_code"], "/proc/1/root/etc/shadow", "/proc/1/root" + FACTS["host_file"],
             "/proc/self/root/../../.." + FACTS["host_file"], "/host/etc/shadow", "/t/etc/passwd", "/old_root/etc/shadow"]:
    def read(path=path):
        if path == "/proc/2/environ" and os.getpgid(0) and not os.path.exists(path):
            return None
        if path == "/proc/2/environ" and os.stat(path).st_uid == os.getuid():
            return None  # Our own first process.
        with open(path, "rb") as file:
            return file.read(64) or "opened"
    ATTACKS.append(("read " + path.replace(FACTS["host_file"], "a file of the host").replace(FACTS["neighbour_code"], "another function's code"), read))

for path in ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/kernel/sysrq",
             "/proc/sys/vm/drop_caches", "/proc/sys/kernel/modprobe", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/fs/file-max",
             "/proc/self/exe", "/proc/1/oom_score_adj", "/usr/bin/python3", "/etc/passwd", "/etc/ld.so.preload", "/var/task/hostile.py",
             "/bin/sh", "/new", "/usr/new", "/etc/new", "/opt/new", "/var/task/new", "/dev/new", "/var/new", "/run/new", "/proc/new", "/mnt/new"]:
    def write(path=path):
        with open(path, "ab") as file:
            return file.write(b"") == 0
    ATTACKS.append(("write " + path, write))


@attack("list the host's home folders")
def _():
    return [path for path in ["/root", "/home", "/var/lib", "/var/log", "/sys", "/srv", "/boot"] if os.path.isdir(path) and os.listdir(path)]


@attack("see processes of others")
def _():
    mine = {os.getpid(), os.getppid(), int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[1])}
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in mine]
    return [pid for pid in others if os.stat("/proc/" + pid).st_uid != os.getuid()]


@attack("make a device node")
def _():
    for kind, device in [(0o020666, os.makedev(1, 1)), (0o060666, os.makedev(254, 0)), (0o020666, os.makedev(1, 3))]:
        try:
            os.mknod("/tmp/device", kind, device)
            return True
        except OSError:
            pass


@attack("change the mode of a system program")
def _():
    os.chmod("/usr/bin/python3", 0o4755)
    return True


@attack("give a file away")
def _():
    with open("/tmp/mine", "w"):
        os.chown("/tmp/mine", 0, 0)
    return True


@attack("become root")
def _():
    for change in [lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.setresuid(0, 0, 0),
                   lambda: os.setuid(992), lambda: os.setresuid(-1, 992, -1)]:
        try:
            change()
            return True
        except OSError:
            pass


@attack("hold a capability")
def _():
    status = dict(line.rstrip().split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line and len(line.rstrip().split(":\t", 1)) == 2)
    return {key: status[key] for key in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] if int(status[key], 16)}


@attack("run without no_new_privs and seccomp")
def _():
    status = dict(line.rstrip().split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line and len(line.rstrip().split(":\t", 1)) == 2)
    return status["NoNewPrivs"] != "1" or status["Seccomp"] != "2"


@attack("gain by a setuid program")
def _():
    for program in ["/usr/bin/su", "/usr/bin/newgrp", "/usr/bin/passwd"]:
        if not os.path.exists(program):
            continue
        process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            uids = [line for line in open("/proc/%d/status" % process.pid) if line.startswith("Uid:")][0].split()[1:]
            if {int(uid) for uid in uids} != {os.getuid()}:
                return uids
        except FileNotFoundError:
            pass
        finally:
            process.kill()
            process.wait()


@attack("a setuid copy of my own")
def _():
    subprocess.check_call(["cp", "/usr/bin/id", "/tmp/id"])
    os.chmod("/tmp/id", 0o6755)
    return "uid=0" in subprocess.check_output(["/tmp/id"]).decode()


for name, arguments in [("packet", (17, 3, 0x300)), ("packet datagram", (17, 2, 0x300)), ("raw ICMP", (2, 3, 1)), ("raw IPv6", (10, 3, 58)),
                        ("raw IP", (2, 3, 255)), ("ping", (2, 2, 1)), ("netlink audit", (16, 3, 9)), ("netlink netfilter", (16, 3, 12)),
                        ("netlink uevent", (16, 3, 15)), ("netlink generic", (16, 3, 16)), ("netlink crypto", (16, 3, 21)),
                        ("netlink sock_diag", (16, 3, 4)), ("netlink xfrm", (16, 3, 6)), ("vsock stream", (40, 1, 0)),
                        ("vsock datagram", (40, 2, 0)), ("kernel crypto", (38, 5, 0)), ("bluetooth", (31, 3, 1)), ("CAN", (29, 3, 1)),
                        ("XDP", (44, 3, 0)), ("TIPC", (30, 2, 0)), ("RDS", (21, 5, 0)), ("KCM", (41, 2, 0)), ("SMC", (43, 1, 0)),
                        ("PPPoX", (24, 1, 0)), ("SCTP", (2, 1, 132)), ("DCCP", (2, 6, 33)), ("UDP-Lite", (2, 2, 136)), ("MPTCP", (2, 1, 262)),
                        ("L2TP", (2, 2, 115)), ("Q.IPC router", (42, 2, 0))]:
    ATTACKS.append((name + " socket", lambda arguments=arguments: call(198 if ARM else 41, *arguments) >= 0))


def reaches(address, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(3)
        connection.connect(address)
        return True


@attack("connect to a port of the host's loopback")
def _():
    return reaches(("127.0.0.1", FACTS["host_port"]))


@attack("connect to the host's loopback over IPv6")
def _():
    return reaches(("::1", FACTS["host_port"]), socket.AF_INET6)


@attack("connect to another sandbox's listener")
def _():
    return reaches(("127.0.0.1", 9001))


@attack("connect to the metadata address")
def _():
    return reaches(("169.254.169.254", 80))


@attack("connect to the container metadata address")
def _():
    return reaches(("169.254.170.2", 80))


@attack("connect to the internet")
def _():
    return reaches(("1.1.1.1", 53))


@attack("connect to an address of the host")
def _():
    return any(reaches((address, FACTS["host_port"])) for address in FACTS["host_addresses"])


@attack("send a datagram outside")
def _():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"x", ("8.8.8.8", 53))


@attack("resolve a public name")
def _():
    return socket.getaddrinfo("example.com", 80)


@attack("see more interfaces than loopback")
def _():
    return [name for _, name in socket.if_nameindex() if name != "lo"]


@attack("bring an interface down")
def _():
    import fcntl
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sh22x", b"lo", 0))
        return True


@attack("add an address by netlink")
def _():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.settimeout(2)
        body = struct.pack("=BBBBI", 2, 8, 0, 0, 1) + struct.pack("=HH4s", 8, 2, bytes([10, 0, 0, 1]))
        route.send(struct.pack("=IHHII", 16 + len(body), 20, 5 | 0x400, 1, 0) + body)
        answer = route.recv(4096)
        return struct.unpack("=i", answer[16:20])[0] == 0


@attack("listen on a privileged port")
def _():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 80))
        return True


@attack("connect to an abstract socket of the host")
def _():
    return reaches("\0" + FACTS["abstract"], socket.AF_UNIX)


@attack("connect to a socket file of the host")
def _():
    return reaches(FACTS["socket_file"], socket.AF_UNIX)


@attack("attach shared memory of the host")
def _():
    return FACTS["shm"] >= 0 and call(196 if ARM else 30, FACTS["shm"], 0, 0) is not None


@attack("list shared memory of the host")
def _():
    return len(open("/proc/sysvipc/shm").readlines()) > 1


@attack("signal a process of the host")
def _():
    os.kill(FACTS["host_pid"], 0)
    return True


# With one uid for everything the kernel delivers these, and pid 1 ignores them: nothing would follow if it died.
for number in [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGSEGV]:
    ATTACKS.append(("kill the init by " + number.name, lambda number=number: os.kill(1, number)))


@attack("read my parents' memory outside")
def _():
    return os.getppid() == 0


@attack("find descriptors that leaked")
def _():
    own = os.open("/proc/self/fd", os.O_RDONLY)
    links = {}
    for name in os.listdir(own):
        try:
            links[int(name)] = os.readlink("/proc/self/fd/" + name)
        except FileNotFoundError:
            pass
    return {fd: link for fd, link in links.items() if fd > 2 and fd not in (own, FACTS.get("report_fd", -1)) and not link.endswith("/fd")}


@attack("find the host's environment")
def _():
    return [key for key in os.environ if key.startswith("CARGO") or key in ("HOME", "USER", "RUST_LOG", "SSH_AUTH_SOCK", "LD_PRELOAD")]


@attack("push characters into a terminal")
def _():
    import fcntl
    for number in [0x5412, 0x541c, 0x541d, 0x5423]:
        for fd in [0, 1, 2]:
            try:
                fcntl.ioctl(fd, number, b"\n")
                return True
            except OSError as error:
                if error.errno != errno.EPERM:
                    return "refused by the driver, not by the filter: %s" % error


@attack("push characters with high bits in the number")
def _():
    for number in [0x1_0000_5412]:
        try:
            call(29 if ARM else 16, 0, number, BUFFER)
            return True
        except OSError as error:
            return error.errno != errno.EPERM


for kind in ["RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_CORE", "RLIMIT_MEMLOCK", "RLIMIT_RTPRIO", "RLIMIT_NICE"]:
    def raise_limit(kind=getattr(resource, kind, None)):
        soft, hard = resource.getrlimit(kind)
        try:
            resource.setrlimit(kind, (hard + 1, hard + 1))
        except ValueError:
            return False
        return resource.getrlimit(kind) != (soft, hard)
    ATTACKS.append(("raise " + kind, raise_limit))


@attack("raise the priority")
def _():
    os.setpriority(os.PRIO_PROCESS, 0, -5)
    return True


@attack("become a real-time process")
def _():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return True


@attack("hide from the out-of-memory killer")
def _():
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000")
    return True


@attack("write my own uid map")
def _():
    with open("/proc/self/uid_map", "w") as file:
        file.write("0 0 1")
    return True


@attack("see cgroups of the host")
def _():
    return [line for line in open("/proc/self/cgroup") if line.rstrip().split(":", 2)[2] != "/"]


@attack("an old-architecture system call")
def _():
    # int 0x80 with the number of getpid would bypass a filter that checks no architecture; it kills instead.
    if ARM:
        return None
    import mmap
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()


@attack("an x32 system call")
def _():
    return not ARM and call(0x40000000 | 39) is not None


@attack("follow a link of mine to the host")
def _():
    os.symlink(FACTS["host_file"], "/tmp/link")
    return open("/tmp/link").read()


@attack("hard-link a system file")
def _():
    os.link("/usr/bin/su", "/tmp/su")
    return True


@attack("execute where mounts forbid it")
def _():
    return subprocess.call([FACTS["no_exec"]]) == 0


@attack("enter namespaces with a tool")
def _():
    return subprocess.call(["nsenter", "-t", "1", "-a", "true"], stderr=subprocess.DEVNULL) == 0


@attack("unshare with a tool")
def _():
    return subprocess.call(["unshare", "-Urm", "true"], stderr=subprocess.DEVNULL) == 0


@attack("mount with a tool")
def _():
    return subprocess.call(["mount", "-t", "tmpfs", "x", "/tmp"], stderr=subprocess.DEVNULL) == 0


# What functions do every day.

@normal("list the root and every folder of it")
def _():
    for name in os.listdir("/"):
        path = "/" + name
        if os.path.isdir(path):
            os.listdir(path)
    return {"usr", "tmp", "var", "opt", "proc", "dev", "etc"} <= set(os.listdir("/"))


@normal("threads")
def _():
    seen = []
    threads = [threading.Thread(target=seen.append, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(seen) == 16


@normal("subprocess")
def _():
    return subprocess.check_output(["sh", "-c", "echo $((6 * 7))"]) == b"42\n"


@normal("sh is bash")
def _():
    return not FACTS["bash"] or subprocess.check_output(["/bin/sh", "-c", "echo ${BASH_VERSION:+bash}"]) == b"bash\n"


@normal("temporary files")
def _():
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x" * 100000)
        file.flush()
        return file.name.startswith("/tmp/") and os.stat(file.name).st_size == 100000


@normal("run a program in /tmp")
def _():
    with open("/tmp/program", "w") as file:
        file.write("#!/bin/sh\necho ran\n")
    os.chmod("/tmp/program", 0o755)
    return subprocess.check_output(["/tmp/program"]) == b"ran\n"


@normal("unix sockets, by pair, path and abstract name")
def _():
    left, right = socket.socketpair()
    left.send(b"x")
    for name in ["/tmp/socket", "\0mine"]:
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
            listener.bind(name)
            listener.listen()
            client.connect(name)
    return right.recv(1) == b"x"


@normal("TCP on localhost")
def _():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            server, _ = listener.accept()
            client.send(b"x")
            return server.recv(1) == b"x"


@normal("TCP on IPv6 localhost")
def _():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        return reaches(listener.getsockname()[:2], socket.AF_INET6)


@normal("UDP on localhost")
def _():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
        one.bind(("127.0.0.1", 0))
        two.sendto(b"x", one.getsockname())
        return one.recv(1) == b"x"


@normal("multiprocessing with a queue")
def _():
    import multiprocessing
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=queue.put, args=(42,))
    process.start()
    value = queue.get(timeout=10)
    process.join()
    return value == 42


@normal("signals between my own processes")
def _():
    process = subprocess.Popen(["sleep", "100"])
    process.terminate()
    return process.wait() == -signal.SIGTERM


@normal("pipes with names, memory files, asynchronous events")
def _():
    os.mkfifo("/tmp/fifo")
    os.close(os.memfd_create("x"))
    import asyncio
    return asyncio.run(asyncio.wait_for(asyncio.sleep(0, result=True), 5))


@normal("users, hosts, time zones, certificates")
def _():
    import pwd
    import ssl
    import time
    time.tzset()
    ssl.create_default_context()
    return pwd.getpwuid(os.getuid()).pw_name == "sbx_user1051" and socket.gethostbyname("localhost") == "127.0.0.1" and socket.gethostbyname(socket.gethostname())


@normal("randomness and devices")
def _():
    with open("/dev/urandom", "rb") as random, open("/dev/null", "wb") as null, open("/dev/zero", "rb") as zero:
        null.write(random.read(16))
        return zero.read(4) == bytes(4) and len(os.urandom(8)) == 8


@normal("facts about the machine")
def _():
    return os.cpu_count() > 0 and open("/proc/meminfo").read() and open("/proc/cpuinfo").read() and open("/proc/sys/kernel/osrelease").read()


@normal("the umask, the limits and the working folder")
def _():
    return (os.umask(0o022) == 0o022 and resource.getrlimit(resource.RLIMIT_NOFILE) == (1024, 1024) and os.getcwd() == "/var/task"
            and resource.getrlimit(resource.RLIMIT_CORE) == (1, 1))


@normal("root owns the system")
def _():
    return not FACTS["root"] or all(os.stat(path).st_uid == 0 for path in ["/", "/usr", "/usr/bin/python3", "/etc/passwd", "/tmp", "/var/task"])


@normal("copies keep their times and attributes")
def _():
    import shutil
    shutil.copy2("/etc/passwd", "/tmp/passwd")
    return os.stat("/tmp/passwd").st_mtime == os.stat("/etc/passwd").st_mtime


def row(name, function, words):
    """Runs one row in its own process and folder; a crash counts as a failure of the row."""
    read, write = os.pipe()
    FACTS["report_fd"] = write
    pid = os.fork()
    if pid == 0:
        os.close(read)
        signal.alarm(20)
        try:
            result = function()
            text = ("1" if result else "0") + repr(result)[:200]
        except Exception as error:
            # Anything but a refusal is a mistake in the row itself.
            refused = isinstance(error, (OSError, subprocess.CalledProcessError))
            text = ("0" if refused else "2") + "".join(traceback.format_exception_only(type(error), error)).strip()[:200]
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    text = text or "0killed by signal %d" % (status & 127)
    print("%s\t%s\t%s" % (words[int(text[0])], name, text[1:].replace("\n", " ")), flush=True)


for name, function in ATTACKS:
    row(name, function, ["BLOCKED", "ESCAPED", "BROKEN"])
subprocess.call("rm -rf /tmp/* 2>/dev/null", shell=True)
for name, function in NORMAL:
    row(name, function, ["BROKEN", "WORKS", "BROKEN"])
