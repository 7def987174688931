# Mayfly's Lambda runtime for Python 2.7 and 3.6 to 3.15, in one file.
#
# It speaks the Lambda Runtime API (2018-06-01) over one raw socket and imports as little as it can: no HTTP library,
# no `logging` unless the function asks for it, no `traceback` until something fails. The answer to an event and the
# request for the next one leave in one write, which saves the server a wake-up.
#
# What functions can see follows AWS's runtime: the context object, the error documents, the log formats, the order of
# sys.path. It is started with `-S -u`: no host site-packages, nothing buffered.
import sys

import _socket
import json
import os
import time
from marshal import loads as unmarshal

try:
    from importlib import import_module
except ImportError:  # Some minimal builds of 2.7 leave the package out.
    def import_module(name):
        __import__(name)
        return sys.modules[name]

VERSION = sys.version_info[:2]
PY2 = VERSION[0] == 2
THIS_FILE = "/bootstrap.py"
PREFIX = "/2018-06-01/runtime/"
SEND_AT_ONCE = 65536
TRACES_MAX = 1000 if VERSION >= (3, 9) else None  # From 3.9 on each costs memory, and so does to spare it.

text_type = unicode if PY2 else str  # noqa: F821


class Fault(Exception):
    """A failure with a name of its own, found by this file and not raised by the function."""

    def __init__(self, kind, message, trace=None):
        Exception.__init__(self, message)
        self.kind = kind
        self.message = message
        self.trace = trace or []


# --- the function's surroundings -------------------------------------------------------------------------------------


class State(object):
    """What the log formatter and the context need to know about the moment."""

    request_id = tenant_id = None
    # What every context says.
    context = None
    traces, trace, room = 0, None, None  # How many headers, and where they are kept once they are many; a fork has that ready.
    # What a fork does not need any more. To free it would write to memory that is shared.
    kept = ()


# An object and not the class, for which the interpreter would forget, with each change, what it has looked up.
state = State()


def set_path():
    """Puts sys.path in AWS's order, leaving only the standard library of the interpreter's own."""
    given = [part for part in os.environ.get("PYTHONPATH", "").split(":") if part]
    script = os.path.dirname(os.path.abspath(sys.argv[0]))
    standard = [part for part in sys.path if part not in given and part != script and part != ""]
    ours = [
        os.environ.get("LAMBDA_TASK_ROOT", "/var/task"),
        "/opt/python/lib/python%d.%d/site-packages" % VERSION,
        "/opt/python",
    ]
    path = []
    for part in ours + given + standard:
        if part not in path:
            path.append(part)
    sys.path[:] = path
    sys.argv[:] = [os.environ.get("LAMBDA_RUNTIME_DIR", "/var/runtime") + THIS_FILE]


def set_builtins():
    """`-S` skips `site`, which also defines exit() and quit(); handlers in the wild call them."""
    try:
        import builtins
        from _sitebuiltins import Quitter

        builtins.exit = Quitter("exit", "Ctrl-D (i.e. EOF)")
        builtins.quit = Quitter("quit", "Ctrl-D (i.e. EOF)")
    except ImportError:
        import __builtin__

        __builtin__.exit = __builtin__.quit = sys.exit


# --- bytecode --------------------------------------------------------------------------------------------------------


class Bytecode(object):
    """What the modules in the function's code and layers were compiled to, by `mayfly_compile.py`, once that is done. It is
    not beside them, where the function would see what it did not bring, but in one file for each of the two."""

    FILES = ("/var/bytecode/task/modules", "/var/bytecode/opt/modules")
    # By file, the places of modules in it.
    places = {}
    # Code that was read before it is needed, by the module's path.
    ahead = {}
    late = False

    @classmethod
    def begin(cls):
        cls.places, cls.ahead = {}, {}
        cls.expect()

    @classmethod
    def expect(cls):
        """There may be some that was not found before, for which the next import looks."""
        if not PY2 and not sys.flags.optimize:
            cls.late = True
            loads_bytecode()

    @classmethod
    def find(cls):
        for file in cls.FILES:
            if file not in cls.places:
                try:
                    length = int.from_bytes(read_at(file, -8, 8), "little")
                    number, places = unmarshal(read_at(file, -8 - length, length))
                except Exception:
                    continue
                if number == sys.modules["_frozen_importlib_external"].MAGIC_NUMBER:
                    cls.places[file] = places

    @classmethod
    def read(cls, path):
        """The code of a module. None if there is none, or no more: the files may be deleted at any time."""
        if path in cls.ahead:
            return cls.ahead.pop(path)
        if cls.late:
            cls.late = False
            cls.find()
        for file, places in cls.places.items():
            if path in places:
                try:
                    return unmarshal(read_at(file, *places[path]))
                except Exception:
                    break
        return None


def read_at(path, offset, length, open=os.open, pread=getattr(os, "pread", None), close=os.close):
    """Part of a file; from its end, if the offset is negative. It is not kept open, since functions close what they did not
    open. They may also replace these functions of `os`."""
    fd = open(path, os.O_RDONLY)
    try:
        return pread(fd, length, offset if offset >= 0 else os.fstat(fd).st_size + offset)
    finally:
        close(fd)


def loads_bytecode():
    """Has the interpreter's loader of source files use it. Loaders that are derived of it may do something else to the
    source, and go on doing so."""
    loader = sys.modules["_frozen_importlib_external"].SourceFileLoader
    original = loader.get_code
    if original.__name__ == "get_bytecode":
        return

    def get_bytecode(self, fullname):
        if type(self) is loader:
            code = Bytecode.read(self.get_filename(fullname))
            if code is not None:
                return code
        return original(self, fullname)

    if VERSION >= (3, 8):
        # The interpreter leaves its own loaders out of stack traces.
        get_bytecode.__code__ = get_bytecode.__code__.replace(co_filename=original.__code__.co_filename)
    loader.get_code = get_bytecode


# --- logs ------------------------------------------------------------------------------------------------------------

# Frame types of the telemetry descriptor: JSON or text, with the level in the third to fifth bit.
LEVEL_BITS = {10: 8, 20: 12, 30: 16, 40: 20, 50: 24}


class Log(object):
    """Writes log events: framed to the telemetry descriptor when there is one, else as lines to stdout."""

    def __init__(self):
        fd = os.environ.pop("_LAMBDA_TELEMETRY_LOG_FD", None)
        self.fd = int(fd) if fd else None
        self.json = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
        level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
        self.level = "DEBUG" if level == "TRACE" else level

    def write(self, message, level=0, as_json=False):
        """One event. `level` is a number of the logging module, 0 for none."""
        if self.fd is None:
            sys.stdout.write(message)
            return
        data = message.encode("utf-8", "replace") if isinstance(message, text_type) else message
        kind = 0xA55A0000 | (2 if as_json else 3) | LEVEL_BITS.get(level, 0)
        micros = int(time.time() * 1000000)
        head = kind << 96 | len(data) << 64 | micros
        frame = bytes(bytearray((head >> shift) & 255 for shift in range(120, -8, -8))) + data
        while frame:
            frame = frame[os.write(self.fd, frame):]

    def error(self, document):
        """An error document, as one event."""
        if self.json:
            record = [("timestamp", utc_now()), ("level", "ERROR")] + document
            self.write(encode_document(record) + ("" if self.fd is not None else "\n"), 40, True)
            return
        fields = dict(document)
        first = "[ERROR]"
        if fields["errorType"]:
            first += " " + fields["errorType"]
        if fields["errorMessage"]:
            first += (": " if fields["errorType"] else " ") + fields["errorMessage"]
        lines = [first, "Traceback (most recent call last):"]
        for element in fields["stackTrace"]:
            if isinstance(element, (list, tuple)):
                element = '  File "%s", line %s, in %s\n    %s' % tuple(element)
            lines.extend(indent_hard(line) for line in element.splitlines())
        if self.fd is None:
            self.write("\r".join(lines) + "\n")
        else:
            self.write("\n".join(lines), 40)


def indent_hard(line):
    """Leading spaces as U+00A0, so that log viewers keep the indentation."""
    bare = line.lstrip(" ")
    pad = text_type(b"\xc2\xa0".decode("utf-8")) * (len(line) - len(bare))
    if PY2 and isinstance(bare, bytes):
        bare = bare.decode("utf-8", "replace")
    return pad + bare


def utc_now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class LoggingWatch(object):
    """Waits on sys.meta_path for the function's first `import logging`, to install AWS's root handler then."""

    # The module when it has been loaded ahead, which a function does not see before it asks for it.
    loaded = None

    def __init__(self, log):
        self.log = log

    def find_spec(self, name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = LoggingLoader(spec.loader, self.log)
                return spec
        return None

    # The protocol of Python 2.
    def find_module(self, name, path=None):
        return self if name == "logging" and path is None else None

    def load_module(self, name):
        sys.meta_path.remove(self)
        module = import_module(name)
        install_logging(module, self.log)
        return module


class LoggingLoader(object):
    """Loads `logging` with its real loader, then installs the handler and steps aside."""

    def __init__(self, loader, log):
        self.loader, self.log = loader, log

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        loaded = LoggingWatch.loaded
        if loaded is not None and loaded.__file__ == spec.origin:
            return loaded
        return self.loader.create_module(spec)

    def exec_module(self, module):
        if module is not LoggingWatch.loaded:
            self.loader.exec_module(module)
        module.__spec__.loader = module.__loader__ = self.loader
        install_logging(module, self.log)


def install_logging(logging, log):
    """The root handler: `[LEVEL]<tab>time<tab>request id<tab>message`, or JSON."""
    if not hasattr(logging, "Handler"):
        return  # A module of the function's own that is called logging.
    logging.Formatter.converter = time.gmtime
    set_clock(logging)

    class LambdaHandler(logging.Handler):
        def emit(self, record):
            level = min(50, max(0, record.levelno)) // 10 * 10
            log.write(self.format(record), level, log.json)

    class RequestFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = state.request_id or ""
            record.tenant_id = state.tenant_id
            return True

    handler = LambdaHandler()
    if log.json:
        handler.setFormatter(json_formatter(logging))
    else:
        handler.setFormatter(
            logging.Formatter(
                "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n", "%Y-%m-%dT%H:%M:%S"
            )
        )
    handler.addFilter(RequestFilter())
    root = logging.getLogger()
    root.addHandler(handler)
    level = getattr(logging, log.level, None) if log.level else None
    if isinstance(level, int):
        root.setLevel(level)


def set_clock(logging):
    """Log records tell the time since `logging` was loaded, which may have been for nobody yet; from 3.13 on in nanoseconds."""
    before = getattr(logging, "_startTime", None)
    if before is not None:
        logging._startTime = time.time() if isinstance(before, float) else time.time_ns()


# What a LogRecord always carries; everything else came in as `extra`.
RECORD_FIELDS = frozenset(
    "name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno funcName created "
    "msecs relativeCreated thread threadName processName process taskName aws_request_id tenant_id".split()
)


def json_formatter(logging):
    class JsonFormatter(logging.Formatter):
        def format(self, record):
            lone = isinstance(record.msg, dict) and not record.args
            out = [
                ("timestamp", self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ")),
                ("level", record.levelname),
                ("message", record.msg if lone else record.getMessage()),
                ("logger", record.name),
            ]
            if record.exc_info:
                import traceback

                kind, value, trace = record.exc_info
                out.append(("stackTrace", traceback.format_tb(trace)))
                out.append(("errorType", kind.__name__ if kind else None))
                out.append(("errorMessage", message_of(value)))
                out.append(("location", "%s:%s:%s" % (record.pathname, record.funcName, record.lineno)))
            out.append(("requestId", getattr(record, "aws_request_id", None)))
            out.append(("tenantId", getattr(record, "tenant_id", None)))
            taken = set(name for name, _ in out)
            for name, value in record.__dict__.items():
                if name not in RECORD_FIELDS and name not in taken:
                    out.append((name, value))
            out = [(name, value) for name, value in out if value is not None]
            return encode_document(out, default=str) + "\n"

    return JsonFormatter()


# --- JSON ------------------------------------------------------------------------------------------------------------

# AWS answers in UTF-8 from 3.12 on and in escapes before.
ESCAPE = VERSION < (3, 12)


class Encoder(json.JSONEncoder):
    """The standard encoder, with whatever a library has made of its `default`, which cannot write decimal.Decimal with its own
    digits."""

    def default(self, value):
        if is_decimal(value):
            raise HasDecimals()
        return super(Encoder, self).default(value)


class HasDecimals(Exception):
    """Something of this value has to be written by a `DecimalEncoder`."""


class DecimalEncoder(Encoder):
    """Decimals leave as marked texts, and the marks are taken off afterwards."""

    def __init__(self, **options):
        Encoder.__init__(self, **options)
        self.mark = "decimal-%s-" % "".join("%02x" % byte for byte in bytearray(os.urandom(12)))
        self.texts = []

    def default(self, value):
        if not is_decimal(value):
            return Encoder.default(self, value)
        if value.is_nan():
            return float("nan")
        self.texts.append(str(value))
        return "%s%d" % (self.mark, len(self.texts) - 1)

    def encode(self, value):
        encoded = Encoder.encode(self, value)
        for index, text in enumerate(self.texts):
            encoded = encoded.replace('"%s%d"' % (self.mark, index), text)
        return encoded


def is_decimal(value):
    kind = type(value)
    return kind.__name__ == "Decimal" and kind.__module__ in ("decimal", "_decimal", "_pydecimal")


encode = Encoder(ensure_ascii=ESCAPE).encode
scan = json.JSONDecoder().scan_once


def encode_answer(value):
    """What the handler returned, as bytes and a content type."""
    if not PY2 and isinstance(value, bytes):
        return value, "application/unknown"
    try:
        try:
            encoded = encode(value)
        except HasDecimals:
            encoded = DecimalEncoder(ensure_ascii=ESCAPE).encode(value)
        return utf8(encoded), "application/json"
    except Exception as error:
        raise Fault("Runtime.MarshalError", "Unable to marshal response: " + message_of(error))


def encode_document(pairs, default=None):
    """An object with its members in this order, on any version."""
    parts = []
    for name, value in pairs:
        parts.append("%s: %s" % (json.dumps(name), json.dumps(value, ensure_ascii=ESCAPE, default=default)))
    return "{" + ", ".join(parts) + "}"


def decode_event(body, content_type):
    if content_type != "application/json":
        return body
    try:
        text = body.decode("utf-8")
        try:
            value, end = scan(text, 0)
            if end == len(text):
                return value
        except StopIteration:
            pass
        return json.loads(text)  # There is something around the value, or it is wrong.
    except Exception as error:
        raise Fault("Runtime.UnmarshalError", "Unable to unmarshal input: " + message_of(error))


# --- errors ----------------------------------------------------------------------------------------------------------


def message_of(error):
    """str() of an exception, which on Python 2 may hold text or bytes and anywhere may fail itself."""
    try:
        return str(error)
    except UnicodeError:
        return text_type(error)
    except Exception:
        return "<unprintable %s object>" % type(error).__name__


def frames_of(trace):
    """(file, line, function, source line) for each frame from the function's first on."""
    import traceback

    frames = [tuple(frame)[:4] for frame in traceback.extract_tb(trace)]
    for index, frame in enumerate(frames):
        if not frame[0].endswith(THIS_FILE):
            return frames[index:]
    return frames


def describe_failure(request_id):
    """The error document and the X-Ray cause of the exception being handled, both as ordered pairs."""
    kind, error, trace = sys.exc_info()
    if isinstance(error, Fault):
        frames, name, message, stack = [], error.kind, error.message, error.trace
    else:
        frames, name, message = frames_of(trace), kind.__name__, message_of(error)
        # Lists in the oldest runtimes, texts since 3.7.
        stack = [list(frame) for frame in frames] if VERSION < (3, 7) else [frame_text(frame) for frame in frames]
    if PY2 and isinstance(message, bytes):
        message = message.decode("utf-8", "replace")
    document = [("errorMessage", message), ("errorType", name)]
    if VERSION >= (3, 9):
        document.append(("requestId", request_id or ""))
    document.append(("stackTrace", stack))
    return document, xray_cause("LambdaValidationError" if isinstance(error, Fault) else name, message, frames)


def frame_text(frame):
    text = '  File "%s", line %s, in %s\n' % frame[:3]
    if frame[3]:
        text += "    %s\n" % frame[3].strip()
    return text


def xray_cause(kind, message, frames):
    try:
        directory = os.getcwd()
    except OSError:
        directory = ""
    stack = [{"label": frame[2], "path": frame[0], "line": frame[1]} for frame in frames]
    return [
        ("working_directory", directory),
        ("exceptions", [{"message": message, "type": kind, "stack": stack}]),
        ("paths", sorted(set(frame[0] for frame in frames))),
    ]


# --- the Runtime API -------------------------------------------------------------------------------------------------


class Api(object):
    """One kept-alive connection."""

    def __init__(self, address, connected=None):
        self.socket = connected or self.connect(address)
        self.rest = b""
        # What is said to every answer that is taken, once it is known.
        self.accepted = None
        self.host = "Host: " + address + "\r\n"
        self.next_request = ("GET " + PREFIX + "invocation/next HTTP/1.1\r\n" + self.host + "\r\n").encode("ascii")

    @staticmethod
    def connect(address):
        host, _, port = address.rpartition(":")
        socket = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        socket.connect((host, int(port)))
        return socket

    def ask(self):
        self.socket.sendall(self.next_request)

    def post(self, path, body, headers, then_ask):
        """Posts a body, with these header lines; with `then_ask` the request for the next event goes along. The reply is read
        later."""
        head = "POST %s%s HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n" % (PREFIX, path, self.host, headers, len(body))
        head = head.encode("ascii")
        after = self.next_request if then_ask else b""
        if len(body) <= SEND_AT_ONCE:
            self.socket.sendall(head + body + after)
            return
        self.socket.sendall(head)
        self.socket.sendall(body)
        if after:
            self.socket.sendall(after)

    def read(self):
        """One reply: status, headers with lower-case names, body. That an answer was taken is told once only."""
        data = self.rest or self.receive()
        if self.accepted and data.startswith(self.accepted):
            data = data[len(self.accepted):] or self.receive()
        end = data.find(b"\r\n\r\n")
        while end < 0:
            data += self.receive()
            end = data.find(b"\r\n\r\n")
        lines = (data[:end] if PY2 else data[:end].decode("utf-8", "replace")).split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        begin, end = end + 4, end + 4 + int(headers.get("content-length", 0))
        if len(data) < end:
            parts, have = [data], len(data)
            while have < end:
                part = self.receive()
                parts.append(part)
                have += len(part)
            data = b"".join(parts)
        status, self.rest = int(lines[0].split(" ", 2)[1]), data[end:]
        if status == 202:
            self.accepted = data[:end]
        return status, headers, data[begin:end]

    def receive(self):
        part = self.socket.recv(SEND_AT_ONCE)
        if not part:
            os._exit(0)  # The platform closed the environment.
        return part


# --- the context object ----------------------------------------------------------------------------------------------


class Fields(object):
    """An object with a few named values; what was not given is None."""

    __slots__ = ()

    def __init__(self, values=None):
        for name in self.__slots__:
            setattr(self, name, (values or {}).get(name))

    def __repr__(self):
        shown = ",".join("%s=%s" % (name, getattr(self, name)) for name in self.__slots__)
        return "%s([%s])" % (type(self).__name__, shown)


class CognitoIdentity(Fields):
    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    def __init__(self):
        self.cognito_identity_id = self.cognito_identity_pool_id = None


class Client(Fields):
    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class ClientContext(Fields):
    __slots__ = ("custom", "env", "client")


def lasting_context():
    """What the context says in every invocation of an environment."""
    env = os.environ
    return {
        "log_group_name": env.get("AWS_LAMBDA_LOG_GROUP_NAME"),
        "log_stream_name": env.get("AWS_LAMBDA_LOG_STREAM_NAME"),
        "function_name": env.get("AWS_LAMBDA_FUNCTION_NAME"),
        "memory_limit_in_mb": env.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
        "function_version": env.get("AWS_LAMBDA_FUNCTION_VERSION"),
        "client_context": None,
    }


class LambdaContext(object):
    def __init__(self, headers, log):
        if state.context is None:
            state.context = lasting_context()
        self.__dict__.update(state.context)
        self.aws_request_id = state.request_id
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn")
        self.tenant_id = state.tenant_id
        if "lambda-runtime-client-context" in headers:
            given = parse_header(headers["lambda-runtime-client-context"], "Client Context")
            if isinstance(given, dict):
                self.client_context = ClientContext(given)
                if isinstance(given.get("client"), dict):
                    self.client_context.client = Client(given["client"])
        self.identity = CognitoIdentity()
        if "lambda-runtime-cognito-identity" in headers:
            given = parse_header(headers["lambda-runtime-cognito-identity"], "Cognito Identity")
            if isinstance(given, dict):
                self.identity.cognito_identity_id = given.get("cognitoIdentityId")
                self.identity.cognito_identity_pool_id = given.get("cognitoIdentityPoolId")
        self._epoch_deadline_time_in_ms = int(headers.get("lambda-runtime-deadline-ms", 0))
        self._log = log

    def get_remaining_time_in_millis(self):
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))

    def log(self, msg):
        self._log.write(msg if isinstance(msg, text_type) else str(msg))

    def __repr__(self):
        names = (
            "aws_request_id log_group_name log_stream_name function_name memory_limit_in_mb function_version "
            "invoked_function_arn client_context identity tenant_id"
        ).split()
        return "LambdaContext([%s])" % ",".join("%s=%s" % (name, getattr(self, name)) for name in names)


def parse_header(value, name):
    try:
        return json.loads(value)
    except Exception as error:
        raise Fault("Runtime.LambdaContextUnmarshalError", "Unable to parse %s JSON: %s" % (name, message_of(error)))


# --- life ------------------------------------------------------------------------------------------------------------


def load_handler(name):
    """`dir/module.function` to the function."""
    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as error:
        raise Fault("Runtime.MalformedHandlerName", "Bad handler '%s': %s" % (name, message_of(error)))
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault("Runtime.BuiltInModuleConflict", "Cannot use built-in module %s as a handler module" % module_name)
    try:
        with no_bytecode():
            module = import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", "Unable to import module '%s': %s" % (module_name, message_of(error)))
    except SyntaxError as error:
        where = '  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)
        raise Fault(
            "Runtime.UserCodeSyntaxError", "Syntax error in module '%s': %s" % (module_name, message_of(error)), [where]
        )
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise Fault("Runtime.HandlerNotFound", "Handler '%s' missing on module '%s'" % (function_name, module_name))


def fail_init(api, log, path="init/error"):
    """Reports the exception being handled as an init error and ends the process."""
    document, cause = describe_failure(None)
    log.error(document)
    api.post(path, utf8(encode_document(document)), error_headers(document, cause), False)
    api.read()
    sys.exit(1)


def error_headers(document, cause):
    kind = dict(document)["errorType"].encode("ascii", "replace").decode("ascii")
    headers = "Content-Type: application/json\r\nLambda-Runtime-Function-Error-Type: %s\r\n" % kind
    # json.dumps without ensure_ascii=False gives ASCII without line breaks: safe in a header.
    encoded = json.dumps(dict(cause))
    if len(encoded) < 1024 * 1024:
        headers += "Lambda-Runtime-Function-XRay-Error-Cause: %s\r\n" % encoded
    return headers


def utf8(value):
    return value if isinstance(value, bytes) else value.encode("utf-8", "replace")


def set_trace_id(trace_id):
    if trace_id is None:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
        return
    state.traces += 1
    if state.traces == TRACES_MAX:
        state.trace = state.room or trace_room()
    if state.trace is None:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    else:
        state.trace.set(trace_id)


def trace_room(ctypes=None):
    """Where it costs no memory, unless the function has made that unreachable."""
    try:
        with no_bytecode():
            import mayfly_trace
        del sys.modules["mayfly_trace"]
        return mayfly_trace.Room(ctypes)
    except Exception:
        return None


def run_one(api, log, handler, headers, body):
    """Runs the handler on one event and posts what came of it, asking for the next event in the same write."""
    request_id = state.request_id = headers["lambda-runtime-aws-request-id"]
    state.tenant_id = headers.get("lambda-runtime-aws-tenant-id")
    set_trace_id(headers.get("lambda-runtime-trace-id"))
    # Tells the server that this answers the event that it sent, and not one before with the same id.
    token = headers.get("lambda-runtime-invocation-id")
    token = "Lambda-Runtime-Invocation-Id: %s\r\n" % token if token else ""
    try:
        context = LambdaContext(headers, log)
        event = decode_event(body, headers.get("content-type", "application/json"))
        answer, content_type = encode_answer(handler(event, context))
    except Exception:
        document, cause = describe_failure(request_id)
        log.error(document)
        api.post(
            "invocation/%s/error" % request_id, utf8(encode_document(document)), error_headers(document, cause) + token, True
        )
    else:
        api.post("invocation/%s/response" % request_id, answer, "Content-Type: %s\r\n%s" % (content_type, token), True)


class no_bytecode(object):
    """Looks for no place to put compiled code: where functions are, nothing can be written."""

    def __enter__(self):
        self.before, sys.dont_write_bytecode = sys.dont_write_bytecode, True

    def __exit__(self, *_):
        sys.dont_write_bytecode = self.before


def template(this):
    """Runs init once, then is forked; returns in every fork, which is an environment of its own by then."""
    import mayfly_parked as parked
    import mayfly_zygote as zygote

    del sys.modules["mayfly_parked"]  # The function does not see it.
    template = zygote.Template()
    state.room = trace_room(template.kernel.ctypes)
    set_builtins()
    log = prepare()
    parked.make_immortal(template.kernel.ctypes)
    try:
        handler = load_handler(os.environ["_HANDLER"])
        zygote.run_before_snapshot()
    except Exception:
        document, _ = describe_failure(None)
        log.error(document)
        template.say(error=encode_document(document))
        sys.exit(1)
    parked.rehearse_invocation(this)
    try:
        template.freeze()
    except zygote.Refused as refused:
        template.say(refused=str(refused))
        sys.exit(0)
    if template.serve(resumes=not zygote.after_restore_hooks()):
        parked.rehearse_restore(this, template)
    api = Api(os.environ["AWS_LAMBDA_RUNTIME_API"], template.connected)
    template.take_on(parked.ask(api, template.told))
    # It may not have been made when the template was.
    Bytecode.expect()
    try:
        zygote.run_after_restore()
    except Exception:
        fail_init(api, log, "restore/error")
    return api, log, handler


def wait(this):
    """Waits for a function, in an interpreter of its own or as a fork of one."""
    import mayfly_parked as parked

    del sys.modules["mayfly_parked"]
    set_builtins()
    if os.environ.get("_MAYFLY_ZYGOTE"):
        connected, told = parked.fork(this, os.environ["_MAYFLY_ZYGOTE"])
    else:
        connected, told = parked.connected(), False
        parked.get_ready(this)
    api = Api(os.environ["AWS_LAMBDA_RUNTIME_API"], connected)
    log, rest = parked.await_assignment(this, api, told)
    rest.wait_in_import()
    parked.start_anew_if_foreign()
    return api, log


def main():
    this = sys.modules["__main__"]
    if os.environ.pop("_MAYFLY_TEMPLATE", None):
        serve(*template(this))
    if os.environ.get("_MAYFLY_PARKED"):
        api, log = wait(this)
    else:
        set_builtins()
        api, log = Api(os.environ["AWS_LAMBDA_RUNTIME_API"]), prepare()
    try:
        handler = load_handler(os.environ["_HANDLER"])
    except Exception:
        fail_init(api, log)
    serve(api, log, handler)


def prepare():
    """The function's surroundings, once its variables are known."""
    set_path()
    Bytecode.begin()
    log = Log()
    if "logging" in sys.modules:
        install_logging(sys.modules["logging"], log)
    else:
        sys.meta_path.insert(0, LoggingWatch(log))
    return log


def serve(api, log, handler):
    api.ask()
    while True:
        take_one(api, log, handler)


def take_one(api, log, handler):
    """One reply of the Runtime API."""
    status, headers, body = api.read()
    if "lambda-runtime-aws-request-id" in headers:
        run_one(api, log, handler, headers, body)
    elif status not in (202, 413, 400, 403):
        # Those are replies to what was posted; the event that was asked for along with it follows.
        sys.exit("the Runtime API answered %d to a request for the next event" % status)


if __name__ == "__main__":
    main()
