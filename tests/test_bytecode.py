"""A function's modules are compiled once, and every later environment reads what came of it."""

import base64
import json
import re
import shutil

import mayfly as m
from conftest import make_role

MODULES = 40
# Notes what the imports below it have to compile.
PROBE = """
import importlib.machinery
import os
import sys

COMPILED = []
_original = importlib.machinery.SourceFileLoader.source_to_code

def _noted(self, data, path, *rest, **named):
    COMPILED.append(path)
    return _original(self, data, path, *rest, **named)

importlib.machinery.SourceFileLoader.source_to_code = _noted
"""
HANDLER = (
    PROBE
    + """
import package
import layered

def tree(root):
    return sorted(os.path.join(at, name) for at, _, names in os.walk(root) for name in names)

def attempt(act):
    try:
        return "did it: %r" % (act(),)
    except OSError as error:
        return type(error).__name__

def lambda_handler(event, context):
    import inspect
    import traceback
    found = {"compiled": COMPILED, "sum": package.total(), "word": layered.WORD, "handler": __cached__}
    if event.get("look"):
        module = package.part_1
        try:
            module.fail()
        except ValueError:
            found["trace"] = traceback.format_exc()
        found["file"], found["cached"] = module.__file__, module.__cached__
        found["source"] = inspect.getsource(module.fail)
        found["code"] = module.fail.__code__.co_filename
        found["tree"] = tree("/var/task") + tree("/opt")
        found["bytecode"] = tree("/var/bytecode")
        found["write"] = [attempt(lambda: open(path, "r+b")) for path in found["bytecode"]]
        found["remove"] = [attempt(lambda: os.remove(path)) for path in found["bytecode"]]
        found["add"] = attempt(lambda: open("/var/bytecode/task/more", "wb"))
    if event.get("lazily"):
        import late
        found["late"] = late.WORD
    return found
"""
)


def package(value, **more):
    """A function's code: a package of many modules without bytecode, whose sum is MODULES times the value."""
    part = f"VALUE = {value}\n\ndef fail():\n    raise ValueError(VALUE)\n"
    names = [f"part_{number}" for number in range(MODULES)]
    main = "\n".join(f"from . import {name}" for name in names)
    main += f"\n\ndef total():\n    return sum([{', '.join(name + '.VALUE' for name in names)}])\n"
    files = {"lambda_function.py": HANDLER, "package/__init__.py": main, "late.py": "WORD = 'late'"}
    return m.zipped(files | {f"package/{name}.py": part for name in names} | more)


def entry(server, configuration):
    """Where the bytecode of a package is kept, once it is."""
    digest = base64.b64decode(configuration["CodeSha256"]).hex()
    return m.until(lambda: next(cache(server).glob(f"{digest}.*"), None), "the code is compiled")


def cache(server):
    return server.data / "engine" / "bytecode"


def renew(one, **variables):
    """Has the next call start a new environment."""
    one.client.update_function_configuration(FunctionName=one.name, Environment={"Variables": variables})
    one.client.get_waiter("function_updated_v2").wait(FunctionName=one.name)


def update(one, code):
    one.client.update_function_code(FunctionName=one.name, ZipFile=code)
    one.client.get_waiter("function_updated_v2").wait(FunctionName=one.name)
    return one.client.get_function_configuration(FunctionName=one.name)


def layer(client, files):
    content = {"ZipFile": m.zipped(files)}
    return client.publish_layer_version(LayerName=m.name("layer"), Content=content)


def test_what_an_environment_compiles(server, function, lambdas):
    added = layer(lambdas, {"python/layered.py": "WORD = 'layered'"})
    one = function(package(2), Layers=[added["LayerVersionArn"]])
    entry(server, one.client.get_function_configuration(FunctionName=one.name))
    entry(server, added["Content"])
    # Forked of a zygote, executed, and forked of a template.
    for way in ({"WAY_TAKEN": "1"}, {"PYTHONDONTWRITEBYTECODE": "1"}):
        renew(one, **way)
        found = one.call({"look": True})["payload"]
        assert found["compiled"] == []
        assert (found["sum"], found["word"]) == (2 * MODULES, "layered")
    one.client.update_function_configuration(FunctionName=one.name, SnapStart={"ApplyOn": "PublishedVersions"})
    one.client.get_waiter("function_updated_v2").wait(FunctionName=one.name)
    version = one.client.publish_version(FunctionName=one.name)["Version"]
    one.client.get_waiter("published_version_active").wait(FunctionName=one.name, Qualifier=version)
    restored = one.call({"lazily": True}, Qualifier=version)
    assert "Restore Duration" in restored["log"]
    assert (restored["payload"]["compiled"], restored["payload"]["late"]) == ([], "late")

    # Functions see what they would see on AWS, and cannot change what all of their environments read.
    name = "/var/task/package/part_1.py"
    assert (found["file"], found["code"]) == (name, name)
    tag = m.PYTHON.replace("python", "cpython-").replace(".", "")
    assert found["cached"] == f"/var/task/package/__pycache__/part_1.{tag}.pyc"
    assert found["source"] == "def fail():\n    raise ValueError(VALUE)\n"
    assert f'File "{name}", line 4, in fail\n    raise ValueError(VALUE)' in found["trace"]
    assert "importlib" not in found["trace"] and "bootstrap" not in found["trace"]
    assert len(found["tree"]) == MODULES + 4 and all(path.endswith(".py") for path in found["tree"])
    assert found["bytecode"] == ["/var/bytecode/opt/modules", "/var/bytecode/task/modules"]
    assert set(found["write"] + found["remove"] + [found["add"]]) <= {"OSError", "PermissionError"}


def test_every_python_that_is_here(server, function, lambdas):
    said = m.run("doctor", check=False).stdout
    runtimes = re.findall(r"ok\s+(python3\.\d+)", said)
    assert m.PYTHON in runtimes
    code = package(7, **{"layered.py": "WORD = 1"})
    made = [function(code, Runtime=runtime) for runtime in runtimes]
    digest = entry(server, lambdas.get_function_configuration(FunctionName=made[0].name)).name.split(".")[0]
    m.until(lambda: len(list(cache(server).glob(f"{digest}.*"))) == len(runtimes), "all of them are compiled")
    for one in made:
        renew(one, AGAIN="1")
        found = one.call({})["payload"]
        assert (found["compiled"], found["sum"]) == ([], 7 * MODULES)


def test_new_code_and_the_end_of_it(server, function, lambdas):
    added = layer(lambdas, {"python/layered.py": "WORD = 1"})
    one = function(package(3), Layers=[added["LayerVersionArn"]])
    first = entry(server, one.client.get_function_configuration(FunctionName=one.name))
    assert one.call({})["payload"]["sum"] == 3 * MODULES
    updated = update(one, package(4))
    assert one.call({})["payload"]["sum"] == 4 * MODULES
    second = entry(server, updated)
    renew(one, AGAIN="1")
    found = one.call({})["payload"]
    assert (found["compiled"], found["sum"]) == ([], 4 * MODULES)
    m.until(lambda: not first.exists(), "what nobody needs is gone")
    assert second.exists()


def test_what_is_not_compiled_ahead(server, function):
    files = {
        "lambda_function.py": PROBE
        + "import user\n\ndef lambda_handler(event, context):\n    return COMPILED, user.ships.WORD\n",
        "user.py": "try:\n    import broken\nexcept SyntaxError:\n    pass\nimport warns, ships\n",
        "broken.py": "def (",
        "warns.py": "X = 1 is 1\n",
        "ships.py": "WORD = 'source'\n",
        f"__pycache__/ships.{m.PYTHON.replace('python', 'cpython-').replace('.', '')}.pyc": shipped(
            "WORD = 'bytecode'\n"
        ),
    }
    one = function(m.zipped(files))
    entry(server, one.client.get_function_configuration(FunctionName=one.name))
    renew(one, AGAIN="1")
    assert one.call({})["payload"] == [["/var/task/broken.py", "/var/task/warns.py"], "bytecode"]


def shipped(source):
    """Bytecode that is believed without a look at the source."""
    import importlib.util
    import marshal

    code = compile(source, "/var/task/ships.py", "exec")
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)


def test_the_cache_may_go_and_a_kill_leaves_nothing_half(fresh):
    server = fresh()
    client = server.client("lambda")
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    made = {"Runtime": m.PYTHON, "Handler": "lambda_function.lambda_handler", "Role": role, "Timeout": 30}

    def create(name, code):
        added = client.create_function(FunctionName=name, Code={"ZipFile": code}, **made)
        client.get_waiter("function_active_v2").wait(FunctionName=name)
        return added

    def call(event):
        return json.loads(client.invoke(FunctionName="small", Payload=json.dumps(event))["Payload"].read())

    small = create("small", package(5, **{"layered.py": "WORD = 'mine'"}))
    entry(server, small)
    assert call({})["sum"] == 5 * MODULES
    shutil.rmtree(cache(server))
    # An environment that has read it, and one that is new.
    assert call({"lazily": True})["late"] == "late"
    client.update_function_configuration(FunctionName="small", MemorySize=256)
    client.get_waiter("function_updated_v2").wait(FunctionName="small")
    assert call({})["sum"] == 5 * MODULES
    kept = entry(server, small)

    # Some seconds of compiling, so that the kill comes in the middle.
    slow = "VALUES = {" + "".join(f"{number}: [{number}, 'x{number}'],\n" for number in range(15000)) + "}\n"
    large = create("large", package(6, **{f"slow_{number}.py": slow for number in range(8)}))
    m.until(lambda: list(cache(server).glob("draft-*")), "it is being compiled")
    server.kill()
    digest = base64.b64decode(large["CodeSha256"]).hex()
    assert not list(cache(server).glob(f"{digest}.*"))
    server.start()
    client = server.client("lambda")
    assert call({})["sum"] == 5 * MODULES
    assert kept.exists()
    done = entry(server, large)
    assert [path.name for path in done.iterdir()] == ["modules"]
    m.until(lambda: not list(cache(server).glob("draft-*")), "no draft is left")


def test_an_import_that_waits_for_its_call_is_like_any_other(server, function):
    files = {
        "outer/__init__.py": """
import os
import sys
import threading
import time

# What only a call brings is there when the first line runs.
OWN = [os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_LAMBDA_LOG_STREAM_NAME")]
MODULES = [name for name in sys.modules if name.startswith("outer")]
SEEN = []

def look():
    # Others wait until the import is over.
    import outer
    SEEN.append(hasattr(outer, "LAST"))

thread = threading.Thread(target=look)
thread.start()
time.sleep(0.05)
LAST = True
""",
        "outer/inner.py": """
import os
import sys

import outer

if "FAILS" in os.environ:
    raise RuntimeError("as it was told")

def handler(event, context):
    outer.thread.join()
    own = [os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN")] + [context.log_stream_name]
    module = sys.modules[__name__]
    return {
        "own": outer.OWN == own,
        "modules": outer.MODULES,
        "seen": outer.SEEN,
        "loaders": [sorted(vars(it)) for it in (__loader__, outer.__loader__, __spec__, outer.__spec__)],
        "same": module.__spec__.loader is __loader__,
    }
""",
    }
    one = function(m.zipped(files), Handler="outer.inner.handler")
    entry(server, one.client.get_function_configuration(FunctionName=one.name))
    found = []
    # One that waits has its slot before the other, which is executed, has been called.
    for variables in ({"WAITS": "1"}, {"PYTHONDONTWRITEBYTECODE": "1"}):
        for more in ({}, {"FAILS": "1"}):
            before = server.metric("sandboxes_waiting")
            renew(one, **variables, **more)
            m.until(lambda before=before: server.metric("sandboxes_waiting") >= before, "a sandbox waits")
            found.append(one.call({})["payload"])
    works, fails, works_executed, fails_executed = found
    assert works == works_executed
    assert (works["own"], works["modules"], works["seen"], works["same"]) == (True, ["outer"], [True], True)
    assert fails == {**fails_executed, "requestId": fails["requestId"]}
    assert (fails["errorType"], fails["errorMessage"]) == ("RuntimeError", "as it was told")
    assert 'line 8, in <module>\n    raise RuntimeError("as it was told")\n' in fails["stackTrace"][-1]
    assert any("_call_with_frames_removed" in frame for frame in fails["stackTrace"])
