# The template of a function version: a process that has run its init once and is forked for every environment.
#
# It runs in a sandbox of its own without any network and with no credentials but a placeholder. On its channel the host
# sends an order with descriptors; the fork enters the sandbox that they belong to, gives up every right, confines itself
# with Landlock as the sandbox's own init is, and goes on as the environment's runtime. The template goes on waiting.
#
# An interpreter that has run no init, a zygote, is forked in the same way for functions of everybody.
#
# It refuses to be a template when init left something behind that cannot be had twice: threads, processes, connections.
import sys

import _signal
import _socket
import json
import os
import select
import stat

CHANNEL = 4
USER, GROUP = 993, 990
CLONE_NEWPID = 0x20000000
MSG_CMSG_CLOEXEC = 0x40000000
# Numbers that the host's `zygote.rs` and `init.rs` give: what comes with an order, in order. Six namespaces begin with that
# of processes and end with that of users; then comes a Landlock domain, where the kernel has such.
READY, END, OUTPUT, FRAMES, MOUNTS, PIDS, DOMAIN = 0, 1, 2, 3, 4, 5, 11
# Tells where log events go; a runtime takes it out of sight before init.
FRAMES_VARIABLE = "_LAMBDA_TELEMETRY_LOG_FD"
PLACEHOLDER = "MAYFLY-TEMPLATE"
# botocore's name of the provider that asks for credentials.
CONTAINER = "container-role"
CREDENTIALS_SECONDS_MAX = 10
# Files that init left in /tmp are written again by every child, up to this.
TMP_BYTES_MAX = 1 << 20
TMP_FILES_MAX = 256
ORDER_BYTES = 16
AHEAD = b"ahead"
GO, TOLD = b"g", b"t"
FDS_MAX = 16
WAKES_MAX = 4096


class Refused(Exception):
    """Init left something that a fork cannot have."""


class Kernel(object):
    """The system calls that Python does not have. What can be made of them ahead is, since a fork that makes it writes to
    memory that it shares, which takes longer than the calls."""

    def __init__(self):
        ours = "ctypes" not in sys.modules
        import ctypes

        self.ctypes = ctypes
        self.libc = libc = ctypes.CDLL(None, use_errno=True)
        self.prctl, self.capset, self.setns, self.fcntl, self.syscall = (
            libc.prctl, libc.capset, libc.setns, libc.fcntl, libc.syscall
        )
        self.version, self.no_rights = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        # PR_CAPBSET_READ tells which there are.
        self.rights = [number for number in range(64) if self.prctl(23, number, 0, 0, 0) >= 0]
        # PR_CAPBSET_DROP, once for each.
        self.drops = [24] * len(self.rights)
        # What a child may have. We may have more: one is kept for each child.
        self.descriptors_max = self.descriptors()[0]
        if ours:
            # The function never asked for it.
            for name in [name for name in sys.modules if name.split(".")[0] in ("ctypes", "_ctypes")]:
                del sys.modules[name]

    def check(self, result, what):
        if result < 0:
            raise OSError(self.ctypes.get_errno(), what)
        return result

    def enter(self, fd, kind=0):
        self.check(self.setns(fd, kind), "setns")

    def duplicate(self, fd, lowest):
        """F_DUPFD_CLOEXEC."""
        return self.check(self.fcntl(fd, 1030, lowest), "fcntl")

    def descriptors(self):
        """RLIMIT_NOFILE: how many there may be, and how many may be asked for."""
        limits = (self.ctypes.c_ulong * 2)()
        self.check(self.libc.getrlimit(7, limits), "getrlimit")
        return limits

    def allow_descriptors(self, limits):
        self.check(self.libc.setrlimit(7, limits), "setrlimit")

    def drop_capabilities(self):
        """Empties the bounding set and all others, and locks it."""
        self.check(min(map(self.prctl, self.drops, self.rights)), "bounding set")
        self.check(self.prctl(28, 0b11000011, 0, 0, 0), "secure bits")
        self.check(self.capset(self.version, self.no_rights), "capset")
        # Changing users made the process one that may not look at itself.
        self.check(self.prctl(4, 1, 0, 0, 0), "dumpable")


# --- what init left ---------------------------------------------------------------------------------------------------


class Leftovers(object):
    """What init left and every child gets its own copy of, or the reason why there is no template."""

    def __init__(self, before):
        self.files = {}
        self.tmp = []
        if threads() > 1:
            fork_in_vain()
        if threads() > 1:
            raise Refused("init left threads running")
        try:
            os.waitpid(-1, os.WNOHANG)
            raise Refused("init left child processes")
        except ChildProcessError:
            pass
        for fd in open_descriptors() - before:
            self.look_at(fd)
        self.read_tmp()

    def look_at(self, fd):
        try:
            mode = os.fstat(fd).st_mode
            name = os.readlink("/proc/self/fd/%d" % fd)
        except OSError:
            return
        if stat.S_ISCHR(mode) and name.startswith("/dev/"):
            return
        import fcntl

        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if not stat.S_ISREG(mode) or flags & (os.O_WRONLY | os.O_RDWR) or name.startswith("/tmp/"):
            raise Refused("init left %s open" % name)
        self.files[fd] = os.lseek(fd, 0, os.SEEK_CUR), os.get_inheritable(fd)

    def read_tmp(self):
        room = TMP_BYTES_MAX
        for folder, folders, files in os.walk("/tmp"):
            for name in folders + files:
                path = os.path.join(folder, name)
                mode = os.lstat(path).st_mode
                data = None
                if stat.S_ISREG(mode):
                    with open(path, "rb") as file:
                        data = file.read(room + 1)
                    room -= len(data)
                elif not stat.S_ISDIR(mode):
                    raise Refused("init left %s in /tmp, which is not a file" % path)
                self.tmp.append((path, stat.S_IMODE(mode), data))
                if room < 0 or len(self.tmp) > TMP_FILES_MAX:
                    raise Refused("init left more in /tmp than %d bytes or %d files" % (TMP_BYTES_MAX, TMP_FILES_MAX))

    def restore(self):
        """In a child: descriptors of its own, at the same place of the same files, and its own files in /tmp."""
        for fd, (position, inheritable) in self.files.items():
            again = os.open("/proc/self/fd/%d" % fd, os.O_RDONLY | os.O_CLOEXEC)
            os.lseek(again, position, os.SEEK_SET)
            os.dup2(again, fd, inheritable=inheritable)
            os.close(again)
        for path, mode, data in self.tmp:
            if data is None:
                os.mkdir(path)
            else:
                with open(path, "wb") as file:
                    file.write(data)
            os.chmod(path, mode)


def threads():
    return len(os.listdir("/proc/self/task"))


def fork_in_vain():
    """Libraries that know of forks end their threads before each, by `pthread_atfork`, and start others when they are needed:
    OpenBLAS does, which numpy loads. After this they have none, and every fork of the template would have come to the same.
    Threads of anybody else are still there."""
    import warnings

    with warnings.catch_warnings():
        # From 3.12 on Python warns of forks beside threads. This one does nothing.
        warnings.simplefilter("ignore")
        pid = os.fork()
        if pid == 0:
            os._exit(0)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # Init wants to hear of no children, or has heard of this one.


def open_descriptors():
    return {int(name) for name in os.listdir("/proc/self/fd")}


def placeholder_holders():
    """The SDK's credential objects that were made of the placeholder while init ran."""
    if "botocore.credentials" not in sys.modules:
        return []
    import gc

    kind = sys.modules["botocore.credentials"].Credentials
    return [found for found in gc.get_objects() if isinstance(found, kind) and holds_placeholder(found)]


def holds_placeholder(credentials):
    return getattr(credentials, "access_key", None) == PLACEHOLDER


def make_refreshable(credentials):
    """Makes an object that init made of the placeholder one that asks for credentials when it is used, and again before
    they end: as if the SDK had found this environment's variables."""
    from botocore.credentials import RefreshableCredentials

    nothing = {"access_key": "", "secret_key": "", "token": "", "expiry_time": "1970-01-01T00:00:00Z"}
    refreshable = RefreshableCredentials.create_from_metadata(nothing, ask_for_credentials, CONTAINER)
    credentials.__class__ = RefreshableCredentials
    credentials.__dict__.clear()
    credentials.__dict__.update(refreshable.__dict__)


def ask_for_credentials():
    """What the SDK's own provider for containers asks for."""
    from botocore.exceptions import CredentialRetrievalError
    from http.client import HTTPConnection
    from urllib.parse import urlsplit

    url = urlsplit(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
    connection = HTTPConnection(url.netloc, timeout=CREDENTIALS_SECONDS_MAX)
    try:
        token = os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
        connection.request("GET", url.path, headers={"Authorization": token})
        reply = connection.getresponse()
        found = json.loads(reply.read().decode("utf-8"))
    finally:
        connection.close()
    if reply.status != 200:
        raise CredentialRetrievalError(provider=CONTAINER, error_msg=found.get("errorMessage"))
    return {
        "access_key": found["AccessKeyId"],
        "secret_key": found["SecretAccessKey"],
        "token": found["Token"],
        "expiry_time": found["Expiration"],
    }


def seed_again():
    """Generators that were seeded before the fork would give the same numbers in every child."""
    random = sys.modules.get("random")
    if random is not None:
        random.seed()
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed(int.from_bytes(os.urandom(4), "little"))


# --- hooks of snapshot_restore_py ---------------------------------------------------------------------------------------


def run_before_snapshot():
    hooks = sys.modules.get("snapshot_restore_py")
    if hooks is not None:
        waiting = hooks.get_before_snapshot()
        while waiting:
            function, arguments, named = waiting.pop()
            function(*arguments, **named)


def after_restore_hooks():
    hooks = sys.modules.get("snapshot_restore_py")
    return hooks.get_after_restore() if hooks is not None else []


def run_after_restore():
    for function, arguments, named in after_restore_hooks():
        function(*arguments, **named)


# --- memory ----------------------------------------------------------------------------------------------------------


# How CPython 3.5 and later hand out memory for small objects: in pools of blocks of one size.
POOL_BYTES = (16 if sys.version_info >= (3, 10) else 4) << 10
POOL_HEAD_BYTES = 48
BLOCK_BYTES = 16
SMALL_BYTES_MAX = 512
# How the C library hands out other memory, and how much in a row is of what nobody has had yet.
CHUNK_BYTES_MAX = 64 << 10
CHUNK_HEAD_BYTES = 8
IN_ROW = 4
# What is taken of each of the two at the most, for a memory that is handed out otherwise.
FILL_BYTES_MAX = 8 << 20


def fill(ctypes):
    """Takes all free places between what is in memory. What a fork allocates would be spread over these, and the memory around
    each be copied; now it goes to memory of its own. None of it is ever given back."""
    fill_heap(ctypes)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(fillers()))


def fillers():
    """Objects of all small sizes."""
    made, left = [], FILL_BYTES_MAX
    for size in range(3 * BLOCK_BYTES, SMALL_BYTES_MAX + 1, BLOCK_BYTES):
        in_row, last = 1, 0
        while left > 0:
            filler = bytes(size - sys.getsizeof(b""))
            made.append(filler)
            left -= size
            in_row = in_row + 1 if id(filler) == last + size else 1
            if in_row >= (POOL_BYTES - POOL_HEAD_BYTES) // size:
                break  # A whole pool.
            last = id(filler)
    return made


def fill_heap(ctypes):
    """Takes what the C library has to hand out."""
    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    size, left = CHUNK_BYTES_MAX, FILL_BYTES_MAX
    while size > BLOCK_BYTES:
        in_row, last = 1, 0
        while left > 0:
            at = malloc(size - CHUNK_HEAD_BYTES) or 0
            left -= size
            in_row = in_row + 1 if at == last + size else 1
            if in_row == IN_ROW:
                break
            last = at
        size = size // 2 if size > 2 * SMALL_BYTES_MAX else size - BLOCK_BYTES


# --- life ---------------------------------------------------------------------------------------------------------------


class Template(object):
    def __init__(self):
        self.kernel = Kernel()
        self.channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, os.dup(CHANNEL))
        os.close(CHANNEL)
        os.set_inheritable(self.channel.fileno(), False)
        # Signals write to it, so none is missed that comes just before we wait.
        self.woken, self.wakes = os.pipe()
        os.set_blocking(self.woken, False)
        os.set_blocking(self.wakes, False)
        self.before = open_descriptors()
        self.ends = {}
        self.child_handler = _signal.getsignal(_signal.SIGCHLD)
        # A fork's own connection to the Runtime API.
        self.connected = None
        # The assignment came with the word to go on.
        self.told = False
        self.credentials = []

    def say(self, **words):
        self.channel.send(json.dumps(words).encode("utf-8")[:60000])

    def freeze(self):
        """Init is over: looks at what it left, and makes what there is cheap to share."""
        self.leftovers = Leftovers(self.before)
        self.credentials = placeholder_holders()
        self.given = dict(os.environ)
        self.child_handler = _signal.getsignal(_signal.SIGCHLD)
        import gc

        gc.collect()
        gc.freeze()

    def serve(self, resumes=False):
        """Says that it is ready, and whether a fork that is told who it is will ask for its first event without running
        anything of the function's. Then forks whenever it is asked to. Returns in the children, inside of their sandboxes,
        and tells whether they are made ahead of a call."""
        _signal.signal(_signal.SIGCHLD, self.reap)
        self.child_wakes = _signal.set_wakeup_fd(self.wakes)
        events = select.poll()
        events.register(self.channel, select.POLLIN)
        events.register(self.woken, select.POLLIN)
        self.allow_descriptors()
        # The children's ends are kept above all else, with room below for what comes with an order, so that a child can close
        # them all at once.
        self.ends_from = self.ends_to = max(open_descriptors()) + 1 + FDS_MAX
        pair = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        away = [self.put_away(end.detach()) for end in pair]
        self.mirror = [_socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, end) for end in away]
        fill(self.kernel.ctypes)
        self.say(ready={"resumes": resumes})
        while True:
            if self.channel.fileno() not in [fd for fd, _event in events.poll()]:
                # Children that ended; `reap` has been called.
                os.read(self.woken, WAKES_MAX)
                continue
            fds = []
            try:
                order, fds = receive_order(self.channel)
                if not order:
                    os._exit(0)  # The host is gone, or wants no more of us.
                fds[END] = self.put_away(fds[END])
                self.kernel.enter(fds[PIDS], CLONE_NEWPID)
                pid = os.fork()
                if pid == 0:
                    try:
                        self.become_child(fds)
                        return order == AHEAD
                    except BaseException as error:
                        os.write(fds[OUTPUT], ("a fork did not get into its sandbox: %r\n" % (error,)).encode("utf-8"))
                        os._exit(1)
                self.ends[pid] = fds.pop(END)
            except OSError as error:
                os.write(2, ("a template did not fork: %r\n" % (error,)).encode("utf-8"))
            for fd in fds:
                os.close(fd)
            if not events.poll(0):
                self.rehearse()

    def allow_descriptors(self):
        """One is kept for each child, which has no more of them than before."""
        self.child_descriptors, own = self.kernel.descriptors(), self.kernel.descriptors()
        self.child_descriptors[1] = min(self.child_descriptors[1], self.kernel.descriptors_max)
        own[0] = own[1]
        self.kernel.allow_descriptors(own)

    def put_away(self, fd):
        """Moves a descriptor to where no child keeps it."""
        away = self.kernel.duplicate(fd, self.ends_from)
        os.close(fd)
        self.ends_to = max(self.ends_to, away + 1)
        return away

    def rehearse(self):
        """All memory is shared with the child now. What the next order will write to is copied before that comes."""
        here, there = self.mirror
        like_order = here.fileno().to_bytes(4, sys.byteorder) * (DOMAIN + 1)
        fds = []
        try:
            here.sendmsg([AHEAD], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, like_order)])
            _order, fds = receive_order(there)
            fds.append(self.kernel.duplicate(fds[END], self.ends_from))
        except OSError:
            pass  # There are no more descriptors. That is for the next order to find out.
        for fd in fds:
            os.close(fd)

    def reap(self, _number, _frame):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            end = self.ends.pop(pid, None)
            if end is not None:
                try:
                    os.write(end, status.to_bytes(4, sys.byteorder))
                except OSError:
                    pass  # Nobody wants to know.
                os.close(end)

    def become_child(self, fds):
        _signal.signal(_signal.SIGCHLD, self.child_handler or _signal.SIG_DFL)
        _signal.set_wakeup_fd(self.child_wakes)
        os.close(self.woken)
        os.close(self.wakes)
        os.setsid()
        for end in self.mirror:
            end.detach()
        os.closerange(self.ends_from, self.ends_to)
        self.channel.close()
        self.kernel.allow_descriptors(self.child_descriptors)
        os.dup2(fds[OUTPUT], 1)
        os.dup2(fds[OUTPUT], 2)
        os.dup2(fds[FRAMES], 3)
        kernel = self.kernel
        for fd in [fds[MOUNTS]] + fds[PIDS + 1:DOMAIN]:
            kernel.enter(fd)
        os.chdir("/")
        try:
            os.setgroups([])
        except OSError:
            pass  # Forbidden in unprivileged user namespaces, whose groups mean nothing inside.
        os.setresgid(GROUP, GROUP, GROUP)
        os.setresuid(USER, USER, USER)
        kernel.drop_capabilities()
        for domain in fds[DOMAIN:]:
            kernel.check(kernel.syscall(446, domain, 0), "landlock")
        self.connected = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fds[READY])
        for fd in fds[END + 1:]:
            os.close(fd)
        self.connected.send(b"%d" % os.getpid())
        # Meanwhile the host looks whether we are what we said.
        for credentials in self.credentials:
            make_refreshable(credentials)
        seed_again()
        word = self.connected.recv(1)
        if word not in (GO, TOLD):
            os._exit(1)
        self.told = word == TOLD

    def set_variables(self, environment):
        """Environment variables, over those that init has seen or set."""
        for name, value in environment.items():
            if name != FRAMES_VARIABLE and self.given.get(name) != value:
                os.environ[name] = value

    def take_on(self, assignment):
        """What this environment has of its own."""
        self.set_variables(assignment["environment"])
        for name in [name for name, value in self.given.items() if value == PLACEHOLDER]:
            if os.environ.get(name) == PLACEHOLDER:
                del os.environ[name]
        os.chdir(os.environ.get("LAMBDA_TASK_ROOT", "/var/task"))
        self.leftovers.restore()


def receive_order(channel):
    """What the host wants, and all the descriptors that come with it."""
    room = _socket.CMSG_SPACE(4 * FDS_MAX)
    order, ancillary, flags, _from = channel.recvmsg(ORDER_BYTES, room, MSG_CMSG_CLOEXEC)
    fds = []
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            for at in range(0, len(data) - 3, 4):
                fds.append(int.from_bytes(data[at:at + 4], sys.byteorder))
    if flags & _socket.MSG_CTRUNC:
        for fd in fds:
            os.close(fd)
        raise OSError("there are no more descriptors")
    return order, fds
