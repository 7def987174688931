# What an interpreter does while it waits for a function.
#
# It rehearses its first start and invocation, so that the real ones find their memory written and their caches warm. Then
# it asks for its assignment. A *furnished* one is told its function ahead, with all but what is an environment's own: the
# credentials and the name of the log stream. It takes on the variables, reads the handler's bytecode, and makes the SDK's
# clients that this names (`mayfly_ahead.py`). It runs none of the function's code before it is told the rest.
#
# It is one file for Python 2.7 and 3.6 to 3.15, like the bootstrap, and functions do not see it.
import sys

import _socket
import json
import os
import time
from marshal import dumps

# Where the host put the other end of a connection.
CHANNEL = 4
MODULE = "mayfly_rehearsal"
STAGE = "/tmp/.mayfly_rehearsal"
SCRIPT = "import os\nimport json\n\nNAME = os.environ.get('NAME')\n\ndef handler(event, context):\n    return {'a': [event]}\n"

# Less than `json.loads` does, of which all is needed once in the middle of a start.
scan = json.JSONDecoder().scan_once

# What an assignment has over the variables of an interpreter that waits.
FUNCTIONS = (
    "_HANDLER _AWS_XRAY_DAEMON_ADDRESS _AWS_XRAY_DAEMON_PORT AWS_REGION AWS_DEFAULT_REGION AWS_EXECUTION_ENV "
    "AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_FUNCTION_VERSION AWS_LAMBDA_FUNCTION_MEMORY_SIZE AWS_LAMBDA_INITIALIZATION_TYPE "
    "AWS_XRAY_CONTEXT_MISSING AWS_XRAY_DAEMON_ADDRESS AWS_ENDPOINT_URL"
).split()
ENVIRONMENTS = (
    "_X_AMZN_TRACE_ID AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_LAMBDA_LOG_GROUP_NAME "
    "AWS_LAMBDA_LOG_STREAM_NAME"
).split()
EVENT = {
    "Content-Type": "application/json",
    "Lambda-Runtime-Aws-Request-Id": "00000000-0000-0000-0000-000000000000",
    "Lambda-Runtime-Deadline-Ms": "0",
    "Lambda-Runtime-Invoked-Function-Arn": "arn",
    "Lambda-Runtime-Invocation-Id": "0",
    "Lambda-Runtime-Trace-Id": "Root=0",
}


def native(value):
    return value.encode("utf-8") if sys.version_info[0] == 2 else value


def values(names):
    return dict((name, "0") for name in names)


# --- the assignment -----------------------------------------------------------------------------------------------------


def await_assignment(main, api, told=False):
    """Waits until it is known whose interpreter this is, and makes the function's surroundings. Returns the log, and what
    waits for the rest of the assignment: for what only a call brings."""
    assignment = ask(api, told)
    zone_changes = take_on(assignment["environment"])
    if assignment.get("early"):
        # The function's files come meanwhile.
        add(ask(api)["environment"])
    enter(zone_changes)
    log = main.prepare()
    Preloaded.foreign = brings_its_own()
    rest = Rest(main, api)
    if not assignment.get("ahead"):
        rest.has_come()
    elif not Preloaded.foreign:
        rest.get_ahead(os.environ.get("_HANDLER", ""))
    return log, rest


class Rest(object):
    """What an interpreter that knows its function does for it, without running any of its code, until a call brings what is
    the environment's own."""

    def __init__(self, main, api):
        self.main, self.api = main, api
        self.waiting = True
        self.clients = self.outermost = None

    def get_ahead(self, handler):
        """Reads bytecode, and makes the SDK's clients that the handler's module is likely to want."""
        module = handler.rpartition(".")[0].replace("/", ".")
        code, self.outermost = read_ahead(self.main, module)
        if code is not None:
            self.clients = Preloaded.make_clients(code, "." in module)

    def wait(self):
        if self.waiting:
            add(ask(self.api)["environment"])
            self.has_come()

    def has_come(self):
        self.waiting = False
        if self.clients is not None:
            self.clients.expect()
        if "logging" in sys.modules:
            self.main.set_clock(sys.modules["logging"])

    def wait_in_import(self):
        """Waits when the handler's module has been imported but for running it, or its outermost package; or now."""
        if self.outermost is None:
            return self.wait()
        loader, code = self.outermost

        def get_code(_name):
            del loader.get_code
            self.wait()
            return code

        loader.get_code = get_code


def ask(api, told=False):
    """The next part of the assignment, which a fork may have been told already."""
    if not told:
        api.socket.sendall(("GET /2018-06-01/mayfly/assignment HTTP/1.1\r\n" + api.host + "\r\n").encode("ascii"))
    return scan(api.read()[2].decode("utf-8"), 0)[0]


def connected():
    """What an interpreter that was executed to wait has of the Runtime API."""
    if sys.version_info[0] == 2:
        connection = _socket.fromfd(CHANNEL, _socket.AF_UNIX, _socket.SOCK_STREAM)
    else:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, os.dup(CHANNEL))
    os.close(CHANNEL)
    return connection


def take_on(environment):
    """The function's environment variables, in place of those of an interpreter that waits; returns whether its time zone is
    another one."""
    before = Preloaded.environ or dict(os.environ)
    after = dict((native(name), native(value)) for name, value in environment.items())
    # From 3.7 on the interpreter sets it itself when the machine lacks the locale (PEP 538).
    if "LC_CTYPE" in before:
        after.setdefault("LC_CTYPE", before["LC_CTYPE"])
    set_environ(before, after)
    return after.get("TZ") != before.get("TZ")


def add(environment):
    """Variables that were not known before."""
    for name, value in environment.items():
        os.environ[native(name)] = native(value)


def enter(zone_changes):
    """Goes to the function's files, in its time zone, which can be one of them."""
    if zone_changes:
        time.tzset()
    os.chdir(os.environ.get("LAMBDA_TASK_ROOT", "/var/task"))


def set_environ(before, after):
    """Makes some environment variables of others; what stays the same is not touched."""
    for name in before:
        if name not in after:
            del os.environ[name]
    for name in after:
        if before.get(name) != after[name]:
            os.environ[name] = after[name]


# --- reading ahead ------------------------------------------------------------------------------------------------------


def read_ahead(main, module):
    """Finds the handler's module and the packages around it, and reads their bytecode, without running any of them. Returns
    the module's, and the loader and the bytecode of the outermost. What is wrong with them is for the import to find out."""
    names = module.split(".")
    if names[0] in sys.modules or names[0] == "logging":
        return None, None
    path, found, outermost = None, Found(), None
    try:
        for end in range(1, len(names) + 1):
            spec = find(main, ".".join(names[:end]), path)
            code = main.Bytecode.read(spec.origin)
            if code is not None:
                main.Bytecode.ahead[spec.origin] = code
                if end == 1 and is_of_source(spec.loader):
                    outermost = spec.loader, code
            path, found.specs[spec.name] = spec.submodule_search_locations, spec
    except Exception:
        return None, None
    sys.meta_path.insert(0, found)
    return main.Bytecode.ahead.get(spec.origin), outermost


def find(main, name, path):
    """The specification of a module, as an import would find it."""
    finders = (finder for finder in sys.meta_path if not isinstance(finder, main.LoggingWatch))
    return next(filter(None, (finder.find_spec(name, path) for finder in finders)))


def is_of_source(loader):
    return type(loader) is sys.modules["_frozen_importlib_external"].SourceFileLoader


class Found(object):
    """Gives an import what was found before, once, and is gone with the last of it. The files cannot change, and none of the
    function's code has run, which could have changed the way they are found."""

    def __init__(self):
        self.specs = {}

    def find_spec(self, name, _path=None, _target=None):
        spec = self.specs.pop(name, None)
        if not self.specs:
            sys.meta_path.remove(self)
        return spec


# --- what is loaded ahead -----------------------------------------------------------------------------------------------


# What functions use most, of the standard library and of AWS's services. Modules that import `logging` are not among them:
# a function that does is given its handler then.
STANDARD = (
    "base64 copy csv dataclasses datetime decimal gzip hashlib hmac inspect pathlib queue random secrets string tempfile "
    "traceback typing urllib.parse urllib.request uuid logging"
).split()
SERVICES = "s3 dynamodb sqs sns sts lambda secretsmanager ssm".split()


class Preloaded(object):
    """What a zygote has loaded ahead for the functions that will use it."""

    # Names of modules, each with the folder that a function must not have another before.
    loaded = []
    # What they want to have done when a process forks.
    forkers = []
    argv = []
    # The function means something else by these names.
    foreign = False
    # The environment variables, while they are those of an interpreter that waits.
    environ = None

    @staticmethod
    def make_clients(_code, _in_package):
        """Where the SDK has been loaded, makes clients that a module's code names."""

    @classmethod
    def add(cls, folder, load):
        """Has something in a folder loaded."""
        before = set(sys.modules)
        load()
        after = set(sys.modules) - before
        cls.loaded.append((frozenset(name.partition(".")[0] for name in after), folder))
        for name in after:
            namespace = getattr(sys.modules[name], "__dict__", None)
            if type(namespace) is dict:
                # What it warned of, functions shall be warned of.
                namespace.pop("__warningregistry__", None)


def preload(main, maker=None):
    """Imports what functions use most, and AWS's SDK if there is something that makes its clients for functions."""
    if main.PY2:
        return
    Preloaded.argv = command_line()
    with KeptForkers():
        Preloaded.add(os.path.dirname(os.__file__), lambda: load_standard(main))
        if maker:
            preload_sdk(maker)
        else:
            # It is given to the function that asks for it.
            main.LoggingWatch.loaded = sys.modules.pop("logging")


def preload_sdk(maker):
    """Imports AWS's SDK and has it make clients, which is most of what functions do that use it."""
    from importlib.util import find_spec

    folder = os.path.dirname(find_spec("boto3").submodule_search_locations[0])
    Preloaded.add(folder, lambda: load_sdk(folder))
    maker.get_ready(SERVICES)
    Preloaded.make_clients = maker.make


class KeptForkers(object):
    """What modules register to be done when a process forks is registered in the function's process: there are no threads
    before that, and no locks that they could hold, and what it writes to would be copied in each fork."""

    def __enter__(self):
        # New in 3.7.
        self.register = getattr(os, "register_at_fork", None)
        if self.register is not None:
            os.register_at_fork = self.keep

    def __exit__(self, *_):
        if self.register is not None:
            os.register_at_fork = self.register

    @staticmethod
    def keep(**forkers):
        Preloaded.forkers.append(forkers)


def begin_as_fork():
    """What those modules would have done in a fork, as far as it matters."""
    for forkers in Preloaded.forkers:
        os.register_at_fork(**forkers)
    threading = sys.modules.get("threading")
    if threading is not None:
        getattr(threading.main_thread(), "_set_native_id", bool)()


def load_standard(main):
    for name in STANDARD:
        try:
            main.import_module(name)
        except ImportError:
            pass  # Newer than this interpreter.


def load_sdk(folder):
    with KeptWork(folder):
        try_clients(SERVICES)


def try_clients(services):
    import boto3

    session = boto3.session.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="us-east-1")
    for service in services:
        session.client(service)


class KeptWork(object):
    """What the SDK does anew for each session or client, and always with the same result, while it makes clients ahead is kept
    for all of them: reading descriptions of services, building the rules for endpoints and the methods of clients from them,
    translating names of events, and looking at the parameters of its own functions. Nobody changes any of it: clients of one
    session share most of it anyway, and nobody can change the files."""

    def __init__(self, folder):
        self.folder, self.keeping = folder + "/", True
        self.files, self.services, self.made = {}, {}, {}
        self.rules, self.functions, self.events = {}, {}, {}
        self.wrap("loaders", "JSONFileLoader", "load_file", self.load_file)
        self.wrap("loaders", "Loader", "list_available_services", self.list_services)
        self.wrap("client", "ClientCreator", "_create_methods", self.make_from_service)
        self.wrap("client", "ClientCreator", "_create_name_mapping", self.make_from_service)
        self.wrap("endpoint_provider", "EndpointProvider", "__init__", self.make_rules)
        self.wrap("hooks", "EventAliaser", "_alias_event_name", self.alias)
        self.wrap("hooks", None, "accepts_kwargs", self.takes_all)

    def __enter__(self):
        pass

    def __exit__(self, *_):
        self.keeping = False

    @staticmethod
    def wrap(module, kind, name, method):
        from functools import wraps
        from importlib import import_module

        try:
            place = import_module("botocore." + module)
            place = getattr(place, kind) if kind else place
            original = getattr(place, name)
        except (ImportError, AttributeError):
            return  # Another version of the SDK, which does it in another way.

        @wraps(original)
        def wrapped(*arguments, **named):
            return method(original, *arguments, **named)

        setattr(place, name, wrapped)

    def load_file(self, original, loader, path):
        if path in self.files:
            return self.files[path]
        found = original(loader, path)
        if self.keeping and found is not None and path.startswith(self.folder):
            self.files[path] = found
        return found

    def list_services(self, original, loader, type_name):
        # The user may have a folder of such descriptions too.
        places = tuple(place for place in loader.search_paths if os.path.isdir(place))
        if (places, type_name) in self.services:
            return list(self.services[places, type_name])
        found = original(loader, type_name)
        if self.keeping:
            self.services[places, type_name] = list(found)
        return found

    def make_from_service(self, original, creator, service):
        key = original.__name__, type(creator), service.service_name
        description = service._service_description
        known, made = self.made.get(key, (None, None))
        if known is not description:
            made = original(creator, service)
            if self.keeping:
                self.made[key] = description, made
        # The session's handlers may add to it.
        return dict(made)

    def make_rules(self, original, provider, ruleset_data, partition_data, **more):
        rules, partitions, others, made = self.rules.get(id(ruleset_data), (None, None, None, None))
        if rules is ruleset_data and partitions is partition_data and others == more:
            vars(provider).update(made)
            return
        original(provider, ruleset_data, partition_data, **more)
        if self.keeping:
            self.rules[id(ruleset_data)] = ruleset_data, partition_data, more, dict(vars(provider))

    def alias(self, original, aliaser, name):
        if name in aliaser._alias_name_cache:
            return aliaser._alias_name_cache[name]
        if name in self.events and aliaser._event_aliases == self.aliases:
            return self.events[name]
        found = original(aliaser, name)
        if self.keeping:
            self.events[name], self.aliases = found, aliaser._event_aliases
        return found

    def takes_all(self, original, function):
        function = getattr(function, "__func__", function)
        try:
            if function in self.functions:
                return self.functions[function]
        except TypeError:
            return original(function)  # One that cannot be a key.
        found = original(function)
        if self.keeping:
            self.functions[function] = found
        return found


def brings_its_own():
    """Whether the function could mean another module by the name of one that has been loaded, or loads it otherwise."""
    if "boto3" in sys.modules and any(name.startswith("BOTO") for name in os.environ):
        return True
    return any(is_hidden(names, folder) for names, folder in Preloaded.loaded)


def is_hidden(names, folder):
    """Whether one of these names is found before this folder, or the folder not at all."""
    if folder not in sys.path:
        return True
    for before in sys.path[:sys.path.index(folder)]:
        try:
            found = os.listdir(before)
        except OSError:
            if os.path.exists(before):
                return True  # A file of modules.
            continue
        if any(name.partition(".")[0] in names for name in found):
            return True
    return False


def command_line():
    with open("/proc/self/cmdline", "rb") as file:
        return [native(part.decode("utf-8")) for part in file.read().split(b"\0")[:-1]]


def start_anew_if_foreign():
    """Executes itself once more, without what was loaded ahead."""
    if Preloaded.foreign:
        os.execve(Preloaded.argv[0], Preloaded.argv, os.environ)


# --- the rehearsal ------------------------------------------------------------------------------------------------------


class Stage(object):
    """The Runtime API of a rehearsal: what it will say has been said, and nobody listens."""

    def __init__(self, main):
        ours, self.theirs = _socket.socketpair()
        self.api = main.Api("127.0.0.1:0", ours)

    def will_say(self, headers, body):
        head = "HTTP/1.1 200 OK\r\n"
        for name in headers:
            head += name + ": " + headers[name] + "\r\n"
        head += "Content-Length: %d\r\n\r\n" % len(body)
        self.theirs.sendall((head + body).encode("utf-8"))

    def close(self):
        self.api.socket.close()
        self.theirs.close()


class Traces(object):
    """What a start changes in the interpreter."""

    def __init__(self):
        self.environ = dict(os.environ)
        self.directory = os.getcwd()
        lists = [sys.path, sys.argv, sys.meta_path]
        if "logging" in sys.modules:
            lists.append(sys.modules["logging"].getLogger().handlers)
        self.lists = [(kept, list(kept)) for kept in lists]
        self.finders = set(sys.path_importer_cache)

    def take_back(self):
        set_environ(dict(os.environ), self.environ)
        os.chdir(self.directory)
        for kept, before in self.lists:
            kept[:] = before
        # Of folders that are not there yet it would remember that they are not.
        for folder in set(sys.path_importer_cache) - self.finders:
            del sys.path_importer_cache[folder]
        sys.modules.pop(MODULE, None)
        Preloaded.foreign = False


def rehearse(main):
    """Acts out the first start and invocation as `main`, the bootstrap, does them, with a function of nobody's, and takes
    every trace of them back. A page that a fork writes to for the first time is copied, which takes longer than what is
    done with it, and now nobody waits."""
    script, modules = STAGE + "/" + MODULE + ".py", STAGE + "/modules"
    os.mkdir(STAGE)
    with open(script, "w") as file:
        file.write(SCRIPT)
    with open(modules, "wb") as file:
        file.write(b"" if main.PY2 else bytecode(script))
    traces, stage = Traces(), Stage(main)
    main.Bytecode.FILES, files = (modules,), main.Bytecode.FILES
    assigned = dict((name, traces.environ[name]) for name in traces.environ if not name.startswith("_MAYFLY"))
    assigned.update(values(FUNCTIONS), LAMBDA_TASK_ROOT=STAGE, _HANDLER=MODULE + ".handler")
    stage.will_say({}, json.dumps({"environment": assigned, "early": True, "ahead": True}))
    for _ in range(2):
        stage.will_say({}, json.dumps({"environment": values(ENVIRONMENTS)}))
    log, rest = await_assignment(main, stage.api)
    rest.wait_in_import()
    invoke(main, stage, log, main.load_handler(os.environ["_HANDLER"]))
    stage.close()
    traces.take_back()
    main.Bytecode.FILES = files
    os.remove(script)
    os.remove(modules)
    os.rmdir(STAGE)


def bytecode(script):
    """What `mayfly_compile.py` would write."""
    code = dumps(compile(SCRIPT, script, "exec"))
    number = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
    index = dumps((number, {script: (0, len(code))}))
    return code + index + len(index).to_bytes(8, "little")


def rehearse_invocation(main):
    """The same in an interpreter that has run a function's init."""
    before, stage = os.environ.get("_X_AMZN_TRACE_ID"), Stage(main)
    invoke(main, stage, None, lambda event, context: event)
    stage.close()
    main.set_trace_id(before)


def rehearse_restore(main, template):
    """The same in a fork of such an interpreter, whose assignment comes first."""
    before, stage = dict(os.environ), Stage(main)
    stage.will_say({}, json.dumps({"environment": dict(before, **values(ENVIRONMENTS))}))
    template.set_variables(ask(stage.api)["environment"])
    set_environ(dict(os.environ), before)
    stage.close()
    rehearse_invocation(main)


def invoke(main, stage, log, handler):
    stage.will_say(EVENT, '{"a": [1, "b", null]}')
    stage.api.ask()
    main.take_one(stage.api, log, handler)
    main.state.request_id = main.state.context = None


def get_ready(main):
    """What an interpreter can do before it is known whose it is."""
    if not main.PY2:
        # Nearly every function has some, and a fork has this done for it.
        main.loads_bytecode()
    rehearse(main)
    Preloaded.environ = dict(os.environ)
    freeze()


def freeze():
    """Has what is there never looked at again by the collector of garbage, which would write to it."""
    import gc

    gc.collect()
    # New in 3.7.
    getattr(gc, "freeze", bool)()


# What is in code, besides numbers.
CODE = (
    "co_consts co_names co_varnames co_freevars co_cellvars co_filename co_name co_qualname co_linetable co_exceptiontable"
).split()


def make_immortal(ctypes):
    """From 3.12 on the interpreter does not count the references to objects that are immortal (PEP 683), and forks go on
    sharing the memory of those. So everything becomes it that is here before any fork, and would not be freed in one anyway."""
    if sys.version_info < (3, 12) or "t" in sys.abiflags:
        return  # Or counts them otherwise, where it has no lock for all threads.
    import gc
    from types import CodeType, FrameType

    count = ctypes.c_uint32.from_address
    forever, probe = count(id(None)).value, object()
    count(id(probe)).value = forever
    [probe, probe].clear()
    if count(id(probe)).value != forever:
        return  # A build that keeps the count elsewhere.
    # Of what is frozen the collector does not tell.
    gc.unfreeze()
    left = gc.get_objects()
    gc.freeze()
    while left:
        found = left.pop()
        if count(id(found)).value == forever or type(found) is FrameType:
            continue
        count(id(found)).value = forever
        left += gc.get_referents(found)
        if type(found) is CodeType:
            # The collector of garbage does not know what is in code.
            left += [getattr(found, name) for name in CODE]


def maker_of_clients(parent):
    """What makes the SDK's clients for functions, which do not see it."""
    import mayfly_ahead

    del sys.modules["mayfly_ahead"]
    return mayfly_ahead.Maker(parent.kernel.ctypes)


def fork(main, what):
    """Gets ready once, then is forked; returns in every fork, which is an interpreter that waits by then, its connection to
    the Runtime API."""
    import mayfly_zygote as zygote

    parent = zygote.Template()
    preload(main, maker_of_clients(parent) if what == "sdk" else None)
    main.state.room = main.trace_room(parent.kernel.ctypes)
    get_ready(main)
    make_immortal(parent.kernel.ctypes)
    main.state.kept = parent, zygote, globals()
    ahead = parent.serve()
    begin_as_fork()
    if ahead:
        # Once more, for what the fork has of its own.
        rehearse(main)
        if what == "sdk":
            try_clients(SERVICES[:1])
    del sys.modules["mayfly_zygote"]
    return parent.connected, parent.told
