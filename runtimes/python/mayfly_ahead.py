# Clients of AWS's SDK, made before the function asks for them.
#
# An interpreter that waits for a known function looks in the bytecode of its handler's module for calls such as
# `boto3.client("s3")`, and makes one session and these clients as the function would. None of the function's code runs for
# that. The function's first session without arguments is this one then, and what it asks this session for are these
# clients, each once.
#
# They are handed out only while everything that they came of is as it was: the variables, the files that a session
# reads, the loggers, the session, and whatever the code that made them read by name, compared by identity. The last two
# are not looked at while all that has run of the function is a beginning of its module that cannot have changed them. In any
# other case, and for the rest of the process then, the SDK does what it always does.
#
# It is for Python 3.6 to 3.15.
import sys

import gc
import os
from functools import wraps
from itertools import chain
from operator import attrgetter, itemgetter
from types import ModuleType

CLIENTS_MAX = 4
# Stands for each of the credentials while clients are made.
PLACEHOLDER = "MAYFLY-AHEAD"
CREDENTIALS = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), PLACEHOLDER)
# Changes with every invocation, and the SDK reads it for each request.
TRACE = b"_X_AMZN_TRACE_ID"
PACKAGES = frozenset("boto3 botocore s3transfer urllib3 jmespath dateutil".split())
# Our own code, and that of `logging`, which changes when handlers are added: loggers are asked themselves whether they log.
UNSEEN = frozenset("__main__ bootstrap logging mayfly_ahead mayfly_client mayfly_parked".split())
IS_HEAP_TYPE = 1 << 9
DEBUG, INFO = 10, 20

stat = os.stat


class Maker(object):
    """Makes clients for functions, in forks of the process where it was made."""

    def __init__(self, ctypes):
        self.identities = lambda found: Identities(ctypes, found)
        self.world = None

    def get_ready(self, services):
        """Finds out what code usually runs, which takes longer than making clients. Resources of boto3 are made once, too."""
        import boto3

        # Regional endpoints and one for all are what functions have.
        usual = dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), "us-east-1")
        usual["AWS_ENDPOINT_URL"] = "http://127.0.0.1"
        with Variables(usual), Variables(CREDENTIALS), Heard():
            with Ran() as codes:
                session = boto3.session.Session()
                resources = [service for service in session.get_available_resources() if service in services]
                for service in services:
                    session.client(service)
                for service in resources:
                    arguments_of(session, "resource", service)
            for service in resources:
                session.resource(service)
        self.world = World(codes, self.identities)

    def make(self, code, in_package):
        """Makes what a module's code is likely to ask for. Returns None if that is nothing, or cannot be made for certain."""
        try:
            calls = predicted(code)
            return Clients(calls, self, code, in_package) if calls else None
        except Exception:
            # What is wrong is for the function to find out, in the ordinary way.
            Clients.current = None
            return None

    def world_of(self, codes):
        if self.world is None or not self.world.codes.keys() >= codes.keys():
            return World(codes, self.identities)
        return self.world


# --- what will be asked for ---------------------------------------------------------------------------------------------


def predicted(code):
    """The calls for clients that a module's code names: the method of a session, and the service."""
    if "boto3" not in code.co_names:
        return []
    import boto3

    services = frozenset(boto3.session.Session().get_available_services())
    return [call for part in parts(code) for call in named_calls(part) if call[1] in services][:CLIENTS_MAX]


def parts(code):
    """A code object and those in it."""
    yield code
    for constant in code.co_consts:
        if type(constant) is type(code):
            for part in parts(constant):
                yield part


def named_calls(code):
    """What looks like a call of `client` or `resource` with a text."""
    import dis

    method = None
    for step in dis.get_instructions(code):
        if step.opname.startswith("LOAD_") and step.argval in ("client", "resource"):
            method = step.argval
        elif method and step.opname == "LOAD_CONST" and isinstance(step.argval, str):
            yield method, step.argval
            method = None


# What changes nothing, of what a module does.
MILD = frozenset(
    "CACHE COPY EXTENDED_ARG IMPORT_FROM KW_NAMES LOAD_CONST LOAD_SMALL_INT NOP NOT_TAKEN PRECALL PUSH_NULL RESUME "
    "BINARY_SUBSCR BUILD_TUPLE BUILD_LIST BUILD_MAP BUILD_CONST_KEY_MAP BUILD_STRING FORMAT_VALUE FORMAT_SIMPLE "
    "SET_FUNCTION_ATTRIBUTE".split()
)
CALLS = frozenset("CALL CALL_FUNCTION CALL_FUNCTION_KW CALL_KW CALL_METHOD".split())
# What may be called, of what comes of these modules.
MILD_CALLS = {"boto3": ("Session", "client", "resource"), "logging": ("getLogger", "setLevel"), "os": ("get", "getenv")}
# In place of a module's name, of what may do anything when it is called.
UNKNOWN = ""


def mild_until(code):
    """The place in a module's code up to which it only imports what is loaded, reads, defines functions, and makes clients, one
    after the other."""
    import dis

    # Of which module is what a name stands for, what has been loaded last, and what waits to be called.
    names, module, callees, at = {"__name__": None}, None, [], 0
    for step in dis.get_instructions(code):
        at, what = step.offset, step.argval
        if step.opname == "IMPORT_NAME" and what in sys.modules:
            module = what.partition(".")[0]
        elif step.opname == "MAKE_FUNCTION":
            module = UNKNOWN
        elif step.opname == "LOAD_NAME" and names.get(what, UNKNOWN) != UNKNOWN:
            module = names[what]
        elif step.opname == "STORE_NAME" and not callees:
            names[what], module = module, None
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            if what in MILD_CALLS.get(module, ()):
                callees.append(module)
        elif step.opname in CALLS and callees:
            module = callees.pop()
        elif step.opname not in MILD and (step.opname != "POP_TOP" or callees):
            return at
    return at


# --- what it came of ----------------------------------------------------------------------------------------------------


class Ran(object):
    """Notes which code runs, and where that looks for names."""

    def __init__(self):
        self.codes = {}

    def __enter__(self):
        sys.settrace(self.note)
        return self.codes

    def __exit__(self, *_):
        sys.settrace(None)

    def note(self, frame, _event, _argument):
        # Traces begin with calls, and nothing is returned that would trace what follows.
        namespace = frame.f_globals
        if namespace.get("__name__") not in UNSEEN:
            self.codes[id(frame.f_code)] = frame.f_code, namespace


class World(object):
    """What code read by name while it ran: names of modules and of `builtins`, classes, and what is in the SDK's lists and
    dictionaries of modules and classes; and which code its functions have."""

    def __init__(self, codes, identities):
        self.codes, self.identities = codes, identities
        self.namespaces, self.names = {}, {}
        # By identity, what may refer to something else later.
        self.holders, self.functions = {}, {}
        for code, namespace in codes.values():
            self.read(namespace, code.co_names)
        self.read(sys.modules, [name for name in sys.modules if name.partition(".")[0] in PACKAGES])
        for namespace in {id(found): found for _, found in codes.values()}.values():
            self.look_at_classes(namespace)
        self.hold_class(sys.modules["logging"].Logger)
        self.look_at_values()
        # The first once more, since a single name would give no tuple.
        self.getters = [(itemgetter(*names[:1] + names), self.namespaces[at]) for at, names in self.names.items()]
        self.holders, self.functions = list(self.holders.values()), list(self.functions.values())

    def read(self, namespace, names):
        """Notes names that code in a namespace uses, there and in modules that it reaches by them."""
        builtins = vars(sys.modules["builtins"])
        for name in names:
            place = namespace if name in namespace else builtins if name in builtins else None
            if place is None or name in self.names.get(id(place), ()):
                continue
            self.namespaces[id(place)] = place
            self.names.setdefault(id(place), []).append(name)
            if type(place[name]) is ModuleType and namespace is not sys.modules:
                self.read(vars(place[name]), names)

    def look_at_classes(self, namespace):
        module = namespace.get("__name__", "")
        for found in list(namespace.values()):
            if isinstance(found, type) and found.__module__ == module:
                if is_of_sdk(module) or any(id(function.__code__) in self.codes for function in functions_of(found)):
                    for kind in found.__mro__:
                        if kind.__flags__ & IS_HEAP_TYPE:
                            self.hold_class(kind)

    def look_at_values(self):
        places = [(self.namespaces[at], names) for at, names in self.names.items()]
        for place, names in places + [(kind, list(kind)) for kind in list(self.holders.values())]:
            of_sdk = is_of_sdk(str(place.get("__name__") or place.get("__module__")))
            for name in names:
                value = place[name]
                for function in unwrapped(value):
                    if id(function.__code__) in self.codes:
                        self.functions[id(function)] = function
                if of_sdk and "cache" not in name:
                    if type(value) in (dict, list, set):
                        self.hold(value)
                    elif is_of_sdk(type(value).__module__) and type(getattr(value, "__dict__", None)) is dict:
                        self.hold(vars(value))

    def hold_class(self, kind):
        # What there is of its dictionary refers to that.
        self.hold(gc.get_referents(vars(kind))[0])

    def hold(self, value):
        self.holders[id(value)] = value

    def look(self):
        found = []
        for get, namespace in self.getters:
            found += get(namespace)
        found += map(code_of, self.functions)
        found += gc.get_referents(*self.holders)
        return self.identities(found)


code_of = attrgetter("__code__")


def is_of_sdk(module):
    return module.partition(".")[0] in PACKAGES


def functions_of(kind):
    return chain.from_iterable(map(unwrapped, list(vars(kind).values())))


def unwrapped(value):
    """The functions that something in a class or module consists of."""
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__func__", value)
    for _ in range(3):
        if not hasattr(value, "__code__"):
            return
        yield value
        value = getattr(value, "__wrapped__", None)


class Identities(object):
    """Which objects these are. They are kept, so that no other can have their place. That `==` says so would not do: what
    tools wrap functions of the SDK in says that it equals them."""

    def __init__(self, ctypes, found):
        self.kept = tuple(found)
        self.places = ctypes.string_at(id(self.kept) + tuple.__basicsize__, len(self.kept) * tuple.__itemsize__)


# --- the session and its clients ----------------------------------------------------------------------------------------


class Asked(Exception):
    """A session would make a client now."""


class Clients(object):
    """A session and clients of it that nobody has asked for yet."""

    # Those that may still be handed out, and those that have been: to forget them takes as long as to look at what they came of.
    current = over = None

    def __init__(self, calls, maker, code, in_package):
        import boto3
        import botocore.session

        self.kind, self.prepared = boto3.session.Session, None
        self.identities = maker.identities
        wrap(self.kind, "__init__", begin_session)
        self.create = wrap(botocore.session.Session, "create_client", create_client)
        Clients.current = self
        with Variables(CREDENTIALS), Heard() as self.heard, Ran() as codes:
            self.prepared = self.kind()
            self.session = self.prepared._session
            self.parts = parts_of(self.session)
            before = copies(self.parts)
            self.clients = [self.make(*call) for call in calls]
        self.after = copies(self.parts), self.state()
        self.first = self.clients[0]
        self.region = self.session._last_client_region_used
        self.credentials = self.session._credentials
        self.files = files_of(self.session)
        if self.find_files() or type(self.credentials).__name__ != "Credentials":
            raise ValueError("there is more than variables")
        self.provider = self.session.get_component("credential_provider")
        self.be(before)
        self.before = self.state()
        self.session.get_component("data_loader")._cache.clear()
        self.loggers = loggers()
        self.world = maker.world_of(codes)
        self.seen = self.world.look()
        # Code of the packages around a module runs before it does.
        self.code, self.mild_until = code, 0 if in_package else mild_until(code)

    def make(self, method, service):
        """A client, made as the session would make it."""
        arguments, named = arguments_of(self.prepared, method, service)
        given = dict(vars(named["config"])) if named.get("config") else None
        del self.heard[:]
        client = self.create(self.session, *arguments, **named)
        return Made(arguments, named, given, client, self.heard[:])

    def state(self):
        return self.identities(gc.get_referents(*self.parts))

    def be(self, state):
        """Puts the session into a state. It lacks nothing meanwhile, should another thread use it."""
        for part, had in zip(self.parts, state):
            if type(part) is list:
                part[:] = had
                continue
            part.update(had)
            for name in set(part).difference(had):
                del part[name]

    def expect(self):
        """The variables are all there: nothing may change from now on."""
        self.environ = variables()

    def is_unchanged(self):
        """Whether a session and clients that are made now would be the same."""
        try:
            return (
                variables() == self.environ
                and not any(logger.isEnabledFor(DEBUG) for logger in self.loggers)
                and (self.is_mild_yet() or self.is_as_it_was())
                and not self.find_files()
            )
        except Exception:
            return False  # Something is not there any more.

    def is_mild_yet(self):
        """Whether nothing has run that could have changed the SDK, if that can be told."""
        frame = sys._getframe(1)
        while frame is not None and frame.f_code is not self.code:
            frame = frame.f_back
        return frame is not None and frame.f_lasti < self.mild_until

    def is_as_it_was(self):
        return self.state().places == self.before.places and self.world.look().places == self.seen.places

    def find_files(self):
        for path in self.files:
            try:
                stat(path)
                return True
            except OSError:
                pass
        return False

    def take(self, arguments, named):
        """The client that was made of these arguments, if there is one."""
        for made in self.clients:
            if made.arguments == arguments and self.are_alike(named, made):
                # The one that comes with the credentials tells services so, in its user agent.
                if (made is self.first) != (self.session._credentials is None):
                    return None
                try:
                    self.clients.remove(made)
                except ValueError:
                    return None  # Another thread was quicker.
                return made
        return None

    def are_alike(self, named, made):
        if set(named) != set(made.named):
            return False
        for name, value in named.items():
            its = made.named[name]
            if value is its or type(value) is str and (value == its or name == "region_name" and value == self.region):
                continue
            if name != "config" or type(value) is not type(its) or vars(value) != made.config:
                return False
        return True

    def own(self):
        """What the first client of a session leaves in it, with the credentials that are there now."""
        if self.session._credentials is None:
            found = self.provider.load_credentials()
            self.credentials.__dict__.update(vars(found))
            self.be(self.after[0])
            self.before = self.after[1]


def arguments_of(session, method, service):
    """What a session of boto3 makes a client of."""

    def create_client(*arguments, **named):
        raise Asked(arguments, named)

    session._session.create_client = create_client
    try:
        getattr(session, method)(service)
    except Asked as asked:
        return asked.args
    finally:
        del session._session.create_client


def variables():
    found = dict(os.environ._data)
    found.pop(TRACE, None)
    return found


def loggers():
    import logging

    known = logging.Logger.manager.loggerDict
    return [known[name] for name in known if is_of_sdk(name) and isinstance(known[name], logging.Logger)]


def files_of(session):
    """Where a session looks for what users say, besides in variables."""
    names = [session.get_config_variable(name) for name in ("config_file", "credentials_file")]
    sdk = os.path.dirname(os.path.dirname(sys.modules["boto3"].__file__)) + os.sep
    folders = session.get_component("data_loader").search_paths
    return [os.path.expanduser(path) for path in names] + [path for path in folders if not path.startswith(sdk)]


def parts_of(session):
    """What decides about a session's clients and may be changed in it."""
    aliases, store = session._events, session.get_component("config_store")
    emitter, loader = aliases._emitter, session.get_component("data_loader")
    found = [vars(session), vars(aliases), vars(emitter), vars(loader), vars(store)]
    found += [emitter._unique_id_handlers, loader._search_paths, store._overrides, store._mapping]
    found += [session._session_instance_vars, session.session_var_map._store]
    for components in (session._components, session._internal_components):
        found += [components._components, components._deferred]
    return found


def copies(parts):
    return [type(part)(part) for part in parts]


class Variables(object):
    """Environment variables that are not there yet."""

    def __init__(self, given):
        self.given = given

    def __enter__(self):
        self.had = {name: os.environ.get(name) for name in self.given}
        os.environ.update(self.given)

    def __exit__(self, *_):
        for name, value in self.had.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Heard(object):
    """Hears what is logged, which shall be said when it is the function's turn. Warnings are shown by whom they please."""

    level = INFO

    def __enter__(self):
        import logging
        import warnings

        self.warnings, self.root = warnings.catch_warnings(), logging.getLogger()
        self.warnings.__enter__()
        warnings.simplefilter("error")
        self.had = self.root.level, list(self.root.handlers)
        self.root.setLevel(INFO)
        self.root.handlers[:] = [self]
        self.records = []
        return self.records

    def __exit__(self, *why):
        self.root.handlers[:] = self.had[1]
        self.root.setLevel(self.had[0])
        self.warnings.__exit__(*why)

    def handle(self, record):
        # This will be said anyway, by what finds the credentials then.
        if (record.name, record.funcName) != ("botocore.credentials", "load"):
            self.records.append(record)


class Made(object):
    """A client, the arguments that a session made it of, and what was logged meanwhile."""

    def __init__(self, arguments, named, config, client, records):
        self.arguments, self.named, self.config = arguments, named, config
        self.client, self.records = client, records

    def say(self):
        for record in self.records:
            logger = sys.modules["logging"].getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                where = record.name, record.levelno, record.pathname, record.lineno
                logger.handle(logger.makeRecord(*where + (record.msg, record.args, None, record.funcName)))


# --- in place of the SDK's own ------------------------------------------------------------------------------------------


def wrap(kind, name, method):
    original = getattr(kind, name)

    @wraps(original)
    def wrapped(*arguments, **named):
        return method(original, *arguments, **named)

    setattr(kind, name, wrapped)
    return original


def begin_session(original, session, *arguments, **named):
    ahead = Clients.current
    if ahead is None or ahead.prepared is None or arguments or any(value is not None for value in named.values()):
        return original(session, *arguments, **named)
    if type(session) is not ahead.kind or not ahead.is_unchanged():
        return original(session)
    prepared, ahead.prepared = ahead.prepared, None
    if prepared is None:
        return original(session)
    vars(session).update(vars(prepared))


def create_client(original, session, *arguments, **named):
    ahead = Clients.current
    if ahead is None or session is not ahead.session:
        return original(session, *arguments, **named)
    made = ahead.take(arguments, named) if ahead.is_unchanged() else None
    if made is None:
        # What this leaves in the session might be anything.
        Clients.current = None
        return original(session, *arguments, **named)
    ahead.own()
    made.say()
    if not ahead.clients:
        Clients.current, Clients.over = None, ahead
    return made.client
