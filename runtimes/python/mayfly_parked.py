# What an interpreter does while it waits for a function.
#
# It rehearses its first start and invocation, so that the real ones find their memory written and their caches warm. Then
# it asks for its assignment. A *furnished* one is told its function ahead, with all but what is an environment's own: the
# credentials and the name of the log stream. It takes on the variables and reads the handler's bytecode, and runs none of
# the function's code before it is told the rest.
#
# It is one file for Python 2.7 and 3.6 to 3.15, like the bootstrap, and functions do not see it.
import sys

import _socket
import json
import os
import time

MODULE = "mayfly_rehearsal"
STAGE = "/tmp/.mayfly_rehearsal"
SCRIPT = "import os\nimport json\n\nNAME = os.environ.get('NAME')\n\ndef handler(event, context):\n    return {'a': [event]}\n"

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


def await_assignment(main, api):
    """Waits until it is known whose interpreter this is, and makes the function's surroundings; returns the log."""
    assignment = ask(api)
    take_on(assignment["environment"])
    log = main.prepare()
    Preloaded.foreign = brings_its_own()
    if assignment.get("ahead"):
        if not Preloaded.foreign:
            read_ahead(main, os.environ.get("_HANDLER", ""))
        for name, value in ask(api)["environment"].items():
            os.environ[native(name)] = native(value)
    return log


def ask(api):
    api.socket.sendall(("GET /2018-06-01/mayfly/assignment HTTP/1.1\r\n").encode("ascii") + api.host + b"\r\n")
    return json.loads(api.read()[2].decode("utf-8"))


def take_on(environment):
    """The function's environment variables, in place of those of an interpreter that waits."""
    zone = os.environ.get("TZ")
    # From 3.7 on the interpreter sets it itself when the machine lacks the locale (PEP 538).
    coerced = os.environ.get("LC_CTYPE")
    set_environ(dict((native(name), native(value)) for name, value in environment.items()))
    if coerced:
        os.environ.setdefault("LC_CTYPE", coerced)
    if os.environ.get("TZ") != zone:
        time.tzset()
    os.chdir(os.environ.get("LAMBDA_TASK_ROOT", "/var/task"))


def set_environ(given):
    """Makes these the environment variables; what stays the same is not touched."""
    for name in list(os.environ):
        if name not in given:
            del os.environ[name]
    for name, value in given.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


# --- reading ahead ------------------------------------------------------------------------------------------------------


def read_ahead(main, handler):
    """Finds the handler's module and the packages around it, and reads their bytecode, without running any of them. What is
    wrong with them is for the import to find out."""
    names = handler.rpartition(".")[0].replace("/", ".").split(".")
    if names[0] in sys.modules:
        return
    path = None
    try:
        from importlib.machinery import PathFinder

        for end in range(1, len(names) + 1):
            spec = PathFinder.find_spec(".".join(names[:end]), path)
            main.Bytecode.read_ahead(spec.origin)
            path = spec.submodule_search_locations
    except Exception:
        pass


# --- AWS's SDK ----------------------------------------------------------------------------------------------------------


# What functions use most.
SERVICES = "s3 dynamodb sqs sns sts lambda secretsmanager ssm".split()


class Preloaded(object):
    """What a zygote has loaded ahead for the functions that will use it."""

    # Names of modules, each with the folder that a function must not have another before.
    loaded = []
    # Of the SDK.
    folder = None
    argv = []
    # The function means something else by these names.
    foreign = False


def preload_sdk():
    """Imports AWS's SDK and has it make clients, which is most of what functions do that use it."""
    Preloaded.argv = command_line()
    before = set(sys.modules)
    import boto3

    Preloaded.folder = os.path.dirname(os.path.dirname(boto3.__file__))
    session = boto3.session.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="us-east-1")
    with KeptReading():
        for service in SERVICES:
            session.client(service)
    after = set(sys.modules) - before
    Preloaded.loaded.append((frozenset(name.partition(".")[0] for name in after), Preloaded.folder))
    for name in after:
        namespace = getattr(sys.modules[name], "__dict__", None)
        if type(namespace) is dict:
            # What it warned of, functions shall be warned of.
            namespace.pop("__warningregistry__", None)


class KeptReading(object):
    """What the SDK reads of its own folder meanwhile is read for all of its sessions: the descriptions of services, and which
    there are. Otherwise each session reads them anew, which takes most of the time of making a client. All clients of one
    session share what was read, so sharing it is nothing new to them; and nobody can change the files."""

    def __init__(self):
        from botocore import loaders

        self.reading = True
        self.files, self.services = {}, {}
        self.wrap(loaders.JSONFileLoader, "load_file", self.load_file)
        self.wrap(loaders.Loader, "list_available_services", self.list_services)

    def __enter__(self):
        pass

    def __exit__(self, *_):
        self.reading = False

    @staticmethod
    def wrap(kind, name, method):
        from functools import wraps

        original = getattr(kind, name)

        @wraps(original)
        def wrapped(self, argument):
            return method(original, self, argument)

        setattr(kind, name, wrapped)

    def load_file(self, original, loader, path):
        if path in self.files:
            return self.files[path]
        found = original(loader, path)
        if self.reading and found is not None and path.startswith(Preloaded.folder + "/"):
            self.files[path] = found
        return found

    def list_services(self, original, loader, kind):
        # The user may have a folder of such descriptions too.
        places = tuple(place for place in loader.search_paths if os.path.isdir(place))
        if (places, kind) in self.services:
            return list(self.services[places, kind])
        found = original(loader, kind)
        if self.reading:
            self.services[places, kind] = list(found)
        return found


def brings_its_own():
    """Whether the function could mean another module by the name of one that has been loaded, or loads it otherwise."""
    if Preloaded.folder and any(name.startswith("BOTO") for name in os.environ):
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
        self.lists = [(kept, list(kept)) for kept in (sys.path, sys.argv, sys.meta_path)]
        self.finders = set(sys.path_importer_cache)

    def take_back(self):
        set_environ(self.environ)
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
    script = STAGE + "/" + MODULE + ".py"
    os.mkdir(STAGE)
    with open(script, "w") as file:
        file.write(SCRIPT)
    traces, stage = Traces(), Stage(main)
    assigned = dict((name, traces.environ[name]) for name in traces.environ if not name.startswith("_MAYFLY"))
    assigned.update(values(FUNCTIONS), LAMBDA_TASK_ROOT=STAGE, _HANDLER=MODULE + ".handler")
    stage.will_say({}, json.dumps({"environment": assigned, "ahead": True}))
    stage.will_say({}, json.dumps({"environment": values(ENVIRONMENTS)}))
    log = await_assignment(main, stage.api)
    invoke(main, stage, log, main.load_handler(os.environ["_HANDLER"]))
    stage.close()
    traces.take_back()
    os.remove(script)
    os.rmdir(STAGE)


def rehearse_invocation(main):
    """The same in an interpreter that has run a function's init."""
    before, stage = os.environ.get("_X_AMZN_TRACE_ID"), Stage(main)
    invoke(main, stage, None, lambda event, context: event)
    stage.close()
    main.set_trace_id(before)


def invoke(main, stage, log, handler):
    stage.will_say(EVENT, '{"a": [1, "b", null]}')
    stage.api.ask()
    main.take_one(stage.api, log, handler)
    main.State.request_id = None


def get_ready(main):
    """What an interpreter can do before it is known whose it is."""
    rehearse(main)
    try:
        import gc

        gc.collect()
        gc.freeze()
    except AttributeError:
        pass  # Before 3.7.


def fork(main, what):
    """Gets ready once, then is forked; returns in every fork, which is an interpreter that waits by then."""
    import mayfly_zygote as zygote

    parent = zygote.Template()
    if what == "sdk":
        preload_sdk()
    get_ready(main)
    ahead = parent.serve()
    zygote.seed_again()
    if ahead:
        # Once more, for what the fork has of its own.
        rehearse(main)
    del sys.modules["mayfly_zygote"]
