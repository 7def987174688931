"""AWS's own Python runtime client, unmodified: forked through its snapshot hooks, and started where an interpreter waits."""

import pathlib
import re
import threading

import pytest

import mayfly as m
from conftest import Function, make_role
from test_starts import SNAP_START


class Bench:
    """A server whose Python functions run on AWS's client."""

    def __init__(self, server, runtime):
        self.server, self.runtime = server, runtime
        self.client, self.logs = server.client("lambda"), server.client("logs")
        self.role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)

    def function(self, code, **settings):
        files = code if isinstance(code, dict) else {"app.py": code}
        settings = {"Handler": "app.lambda_handler", "Timeout": 30, "MemorySize": 256, **settings}
        name = m.name()
        self.client.create_function(
            FunctionName=name, Runtime=self.runtime, Role=self.role, Code={"ZipFile": m.zipped(files)}, **settings
        )
        one = Function(self.client, name)
        m.until(lambda: self.settled(one, "$LATEST"), "the function is active")
        return one

    def snapped(self, code, **settings):
        """A function with SnapStart, and a version of it."""
        one = self.function(code, SnapStart=SNAP_START, **settings)
        version = one.client.publish_version(FunctionName=one.name)["Version"]
        return one, version, m.until(lambda: self.settled(one, version), "init has run")

    def settled(self, one, version):
        found = one.client.get_function_configuration(FunctionName=one.name, Qualifier=version)
        return found["State"] != "Pending" and found

    def lines(self, one, wanted):
        found = self.logs.filter_log_events(logGroupName=f"/aws/lambda/{one.name}", filterPattern=wanted)["events"]
        return [event["message"] for event in found]


@pytest.fixture(scope="module")
def bench(awslambdaric, system_python):
    runtime = f"python{system_python}"
    flags = ("--runtimes", f"{runtime}=/usr/bin/python3", "--aws-runtime-clients", f"{runtime}={awslambdaric}")
    with m.temporary_folder() as folder:
        server = m.Mayfly(pathlib.Path(folder) / "data", *flags).start()
        yield Bench(server, runtime)
        status = server.stop()
        assert status == 0, server.tail()


def at_once(one, count, event=None, **options):
    replies = []
    event = {"sleep": 1, **(event or {})}
    threads = [threading.Thread(target=lambda: replies.append(one.call(event, **options))) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(replies) == count and not any("FunctionError" in reply for reply in replies), replies
    return replies


HOOKS = """
import logging, os, random, sys, uuid
from snapshot_restore_py import register_after_restore, register_before_snapshot
SEEN = ["init"]
MADE = str(uuid.uuid4())
KEYS = sorted(os.environ[name] for name in os.environ if "ACCESS_KEY" in name or "SESSION_TOKEN" in name)
KIND = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
open("/tmp/left", "w").write("by init")
print("init ran")

@register_before_snapshot
def first():
    SEEN.append("before, registered first")

@register_before_snapshot
def second():
    SEEN.append("before, registered second")
    int(os.environ["BEFORE"])

@register_after_restore
def after():
    SEEN.append("after")
    int(os.environ["AFTER"])

@register_after_restore
def after_that():
    SEEN.append("after that")

def lambda_handler(event, context):
    import time
    time.sleep(event.get("sleep", 0))
    logging.getLogger().warning("two\\nlines")
    left = open("/tmp/left").read()
    open("/tmp/left", "a").write("!")
    return {
        "seen": SEEN, "made": MADE, "random": random.random(), "uuid": str(uuid.uuid4()), "left": left, "keys": KEYS,
        "kinds": [KIND, os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]], "argv": sys.argv, "id": context.aws_request_id,
        "main": sys.modules["__main__"].__spec__.name, "env": dict(os.environ),
        "modules": [name for name in sys.modules if "mayfly" in name or name == "bootstrap"],
    }
"""
GOOD = {"Variables": {"BEFORE": "1", "AFTER": "1", "MINE": "own"}}


def test_the_client_is_forked_through_its_hooks(bench):
    one, version, _ = bench.snapped(HOOKS, Environment=GOOD)
    replies = at_once(one, 2, Qualifier=version)
    first, second = (reply["payload"] for reply in replies)
    for reply in replies:
        found, log = reply["payload"], reply["log"]
        assert found["seen"] == ["init", "before, registered second", "before, registered first", "after", "after that"]
        assert found["main"] == "awslambdaric.__main__" and found["modules"] == []
        assert found["argv"] == ["/var/runtime/awslambdaric/__main__.py", "app.lambda_handler"]
        assert found["kinds"] == ["snap-start", "snap-start"]
        assert found["left"] == "by init" and found["id"] == reply["ResponseMetadata"]["RequestId"]
        assert re.search(r"\tRestore Duration: [\d.]+ ms\tBilled Restore Duration: \d+ ms", log), log
        assert "Init Duration" not in log and "\ttwo\nlines\n" in log
    assert first["made"] == second["made"], "init ran once"
    assert first["random"] != second["random"] and first["uuid"] != second["uuid"]

    # The variables are an environment's own, and no secret was there when init ran.
    assert set(first["keys"]) == {"MAYFLY-TEMPLATE"}
    token = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
    assert first["env"][token] != second["env"][token] and first["env"]["MINE"] == "own"
    ours = [name for name in first["env"] if "MAYFLY" in name or "ACCESS_KEY" in name or "SESSION_TOKEN" in name]
    assert ours == [] and "_LAMBDA_TELEMETRY_LOG_FD" not in first["env"]
    assert "MAYFLY-TEMPLATE" not in first["env"].values()

    assert len(m.until(lambda: len(found := bench.lines(one, "RESTORE_START")) == 2 and found, "they are logged")) == 2
    assert all(
        re.fullmatch(r"RESTORE_REPORT Restore Duration: [\d.]+ ms\n?", s) for s in bench.lines(one, "RESTORE_REPORT")
    )
    assert len(bench.lines(one, '"init ran"')) == 1
    # It goes on in one of them, by AWS's own requests.
    assert one.call({}, Qualifier=version)["payload"]["left"] == "by init!"
    failed = one.call({"sleep": "x"}, Qualifier=version)["payload"]
    assert (failed["errorType"], failed["stackTrace"][0].split(",")[0]) == ("TypeError", '  File "/var/task/app.py"')


def test_a_hook_that_fails_after_the_restore(bench):
    one, version, _ = bench.snapped(HOOKS, Environment={"Variables": {"BEFORE": "1", "AFTER": "no"}})
    with m.refused("SnapStartException", "The afterRestore.. runtime hook encountered an error.*", 400):
        one.call({}, Qualifier=version)
    report = m.until(lambda: bench.lines(one, "RESTORE_REPORT"), "the restore is reported")
    assert report[0].rstrip().endswith(" ms\tStatus: error\tError Type: Runtime.AfterRestoreError"), report
    error = m.until(lambda: bench.lines(one, '"[ERROR]"'), "the client has told the log")
    assert "[ERROR] ValueError: invalid literal" in error[0]


@pytest.mark.parametrize(
    "code, why",
    [
        (HOOKS.replace('int(os.environ["BEFORE"])', "raise KeyError('not before')"), "not before"),
        ("raise RuntimeError('not today')", "not today"),
    ],
)
def test_an_init_that_fails(bench, code, why):
    one, _, config = bench.snapped(code, Environment=GOOD)
    assert (config["State"], config["StateReasonCode"]) == ("Failed", "FunctionError.RuntimeInitError")
    assert why in config["StateReason"]
    told = m.until(lambda: bench.lines(one, '"[ERROR]"'), "the client has told the log")
    assert all(why in line for line in told), told
    assert bench.lines(one, '"Connection refused"') == bench.lines(one, "unreachable") == []


def test_templates_end_with_their_version_and_the_tag_asks_for_one(bench):
    before = bench.server.metric("templates")
    one = bench.function(HOOKS, Environment=GOOD, Tags={"mayfly:template": "true"})
    one.call({})
    m.until(lambda: bench.server.metric("templates") == before + 1, "the template is there")
    restored = [reply["payload"] for reply in at_once(one, 3) if "\tRestore Duration: " in reply["log"]]
    assert len({found["made"] for found in restored}) == 1 and len(restored) >= 2
    for found in restored:
        assert found["seen"][1:3] == ["before, registered second", "before, registered first"]
        # The client runs hooks for SnapStart only, so init sees that; the environment sees what AWS would say.
        assert found["kinds"] == ["snap-start", "on-demand"]
    one.client.update_function_code(FunctionName=one.name, ZipFile=m.zipped({"app.py": HOOKS + "\n"}))
    one.client.get_waiter("function_updated_v2").wait(FunctionName=one.name)
    m.until(lambda: bench.server.metric("templates") == before, "the old code's template is gone")
    assert one.call({})["payload"]["made"] != restored[0]["made"]


# Python's own module, marked: what a function gets that has one of that name.
OWN_JSON = """
import sys
here = sys.path.pop(0)
del sys.modules["json"]
import json
json.MARK = "own"
sys.path.insert(0, here)
"""
OWN_CLIENT = {
    "awslambdaric/__init__.py": "",
    "awslambdaric/lambda_runtime_client.py": "class LambdaRuntimeClient: pass",
    "awslambdaric/__main__.py": """
import runpy, sys
sys.path.append(sys.path.pop(0))
del sys.modules["awslambdaric"]
import json
json.MARK = "own"
runpy._run_module_as_main("awslambdaric")
""",
}
ANSWER = """
def lambda_handler(event, context):
    import json
    return getattr(json, "MARK", "Python's")
"""


@pytest.mark.parametrize(
    "files, reason, answer",
    [
        ({"app.py": "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()"}, "threads", "Python's"),
        ({"app.py": "import socket\nkept = socket.socketpair()"}, "socket", "Python's"),
        ({"app.py": "import subprocess\nsubprocess.Popen(['sleep', '1'])"}, "child processes", "Python's"),
        ({"json.py": OWN_JSON}, "one of Python's own", "own"),
        (OWN_CLIENT, "knows no snapshots", "own"),
    ],
)  # fmt: skip
def test_what_cannot_be_forked_runs_without(bench, files, reason, answer):
    one, version, _ = bench.snapped({**files, "app.py": files.get("app.py", "") + ANSWER})
    why = m.until(lambda: bench.lines(one, '"no template"'), "the log says why")
    assert reason in why[0], why
    assert one.call({}, Qualifier=version)["payload"] == answer


SURROUNDINGS = """
import sys
MODULES = sorted(sys.modules)
import ctypes, os

def attempt(work):
    try:
        return repr(work())
    except Exception as error:
        return f"{type(error).__name__} {getattr(error, 'errno', '')}"

def call(number, *args):
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(number, *args), ctypes.get_errno()

def lambda_handler(event, context):
    import logging, resource, socket, time
    time.sleep(event.get("sleep", 0))
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    rights = "CapEff CapPrm CapInh CapBnd CapAmb NoNewPrivs Seccomp Groups Uid Gid".split()
    fds = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            fds.add(os.readlink("/proc/self/fd/" + fd).split(":")[0])
        except OSError:
            pass
    return {
        "path": sys.path, "argv": sys.argv, "orig_argv": sys.orig_argv, "flags": repr(sys.flags), "cwd": os.getcwd(),
        "main": sorted(vars(sys.modules["__main__"])), "file": sys.modules["__main__"].__file__,
        "modules": MODULES, "client": len(sys.modules["awslambdaric.bootstrap"].__dict__),
        "finders": [getattr(finder, "__name__", type(finder).__name__) for finder in sys.meta_path],
        "streams": [type(sys.stdout).__name__, sys.stdout.encoding, sys.stdout.line_buffering],
        "names": sorted(set(os.environ) - {"PYTHONWARNINGS"}), "variables": [os.environ[name] for name in event["variables"]],
        "handlers": [type(handler).__name__ for handler in logging.getLogger().handlers],
        "status": [status[name].split() for name in rights], "fds": sorted(fds), "nofile": resource.getrlimit(7),
        "pids": sum(name.isdigit() for name in os.listdir("/proc")), "session": os.getsid(0) == os.getpid(),
        "write": attempt(lambda: open("/var/task/x", "w")), "client_file": attempt(lambda: open("/var/runtime/x", "w")),
        "ours": attempt(lambda: open("/var/mayfly/x", "w")), "shadow": attempt(lambda: open("/etc/shadow")),
        "mount": call(165, b"none", b"/tmp", b"tmpfs", 0, None), "unshare": call(272, 0x10000000),
        "chroot": attempt(lambda: os.chroot("/tmp")), "setuid": attempt(lambda: os.setuid(0)),
        "kill": attempt(lambda: os.kill(1, 9)), "vsock": attempt(lambda: socket.socket(socket.AF_VSOCK)),
        "dev": sorted(os.listdir("/dev")), "root": sorted(os.listdir("/")), "tmp": os.listdir("/tmp"),
        "executed": b"awslambdaric" in open("/proc/self/cmdline", "rb").read(),
    }
"""
SHOWN = ["LANG", "PATH", "PYTHONPATH"]
# Is read when an interpreter starts, so one that waits will not do.
AT_START = {"PYTHONWARNINGS": "ignore"}


def differences(one, other):
    """What is not the same in both; of the modules, which only one has."""
    lists = {name: (one[name], other[name]) for name in one if one[name] != other[name]}
    if "modules" in lists:
        found = [set(modules) for modules in lists["modules"]]
        lists["modules"] = (sorted(found[0] - found[1]), sorted(found[1] - found[0]))
    return lists


def test_a_fork_has_no_more_rights_than_an_executed_client(bench):
    executed = bench.function(SURROUNDINGS, Environment={"Variables": AT_START}).call({"variables": SHOWN})["payload"]
    assert executed["executed"]
    one, version, _ = bench.snapped(SURROUNDINGS, Environment={"Variables": AT_START})
    reply = one.call({"variables": SHOWN}, Qualifier=version)
    assert "\tRestore Duration: " in reply["log"], "it is no fork"
    unlike = differences(executed, reply["payload"])
    assert unlike.pop("executed") == (True, False)
    unlike.pop("names")  # It asks for its credentials.
    assert unlike == {}


# What records of `logging` tell their time from is the start of the environment.
WAITED = """
import logging
RECENT = logging.LogRecord("x", 1, "", 1, "", (), None).relativeCreated < 5000
""" + SURROUNDINGS.replace('"main":', '"recent": RECENT, "main":')


def test_an_interpreter_that_waits_is_like_one_that_was_executed(bench):
    def answers(count=1, files=None, **variables):
        one = bench.function({"app.py": WAITED, **(files or {})}, Environment={"Variables": variables})
        return [reply["payload"] for reply in at_once(one, count, {"variables": SHOWN})]

    executed = answers(**AT_START)[0]
    assert executed["executed"] and executed["recent"]
    # When there is one to be forked, calls at once get those that wait and those that are forked for them.
    m.until(lambda: not answers()[0]["executed"], "interpreters wait")
    for found in answers(count=3):
        unlike = differences(executed, found)
        assert unlike == {"executed": (True, False)}
    # What a function could tell is executed after all.
    for own in ({"files": {"json.py": OWN_JSON}}, {"PYTHONPATH": "/var/runtime:/var/task/lib"}):
        found = answers(**own)[0]
        assert found["executed"] and found["path"][1] == found["variables"][2].split(":")[0]


LIAR = """
import sys
frame = sys._getframe()
while frame and "template" not in frame.f_locals:
    frame = frame.f_back
if frame:
    print("found the way out")
    type(frame.f_locals["template"].kernel).drop_capabilities = lambda kernel: None

def lambda_handler(event, context):
    return [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapPrm")]
"""


def test_a_template_that_does_not_confine_its_forks_is_given_up(bench):
    before = bench.server.metric("templates")
    one, version, _ = bench.snapped(LIAR)
    for _ in range(2):
        assert one.call({}, Qualifier=version)["payload"] == ["0" * 16]
    assert m.until(lambda: bench.lines(one, '"the way out"'), "init has run")
    assert bench.lines(one, "RESTORE_START") == []
    assert bench.server.metric("templates") == before
