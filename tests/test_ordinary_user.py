"""Mayfly without root: everything works, and what cannot be enforced is said at start."""

import os
import shutil
import tempfile

import pytest

import mayfly as m
from conftest import make_role

NOBODY = 65534


@pytest.fixture
def folder():
    """A folder that any user reaches, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="mayfly-user-") as path:
        os.chmod(path, 0o755)
        yield path


def test_as_an_ordinary_user(fresh, folder):
    if os.getuid() != 0:
        pytest.skip("all other tests already run as an ordinary user")
    if not shutil.which("setpriv") or not shutil.which("python3", path="/usr/bin"):
        pytest.skip("needs setpriv, and a Python that every user may run")
    binary, home = f"{folder}/mayfly", f"{folder}/home"
    shutil.copy(m.BINARY, binary)
    os.mkdir(home)
    os.chown(home, NOBODY, NOBODY)
    command = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", binary)
    env = {"HOME": home, "TMPDIR": home, "PATH": "/usr/bin:/bin"}
    server = fresh(data=f"{home}/data", env=env, command=command)
    runtime = (
        "python" + os.popen("/usr/bin/python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").read().strip()
    )
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    client = server.client("lambda")

    def create(name, body, **settings):
        client.create_function(
            FunctionName=name, Runtime=runtime, Role=role, Handler="lambda_function.lambda_handler",
            Code={"ZipFile": m.handler(body)}, **settings,
        )  # fmt: skip
        client.get_waiter("function_active_v2").wait(FunctionName=name)

    create("who", "import os\nreturn [os.getuid() != 0, os.path.exists('/proc/1/root/etc/shadow')]")
    assert client.invoke(FunctionName="who")["Payload"].read() == b"[true, false]"
    create("slow", "import time\ntime.sleep(60)", Timeout=1)
    reply = client.invoke(FunctionName="slow")
    assert reply["FunctionError"] == "Unhandled"
    assert b"Sandbox.Timedout" in reply["Payload"].read()
    create("hungry", "blocks = []\nwhile True: blocks.append(bytearray(8 << 20))", Timeout=60)
    assert client.invoke(FunctionName="hungry")["FunctionError"] == "Unhandled"
    assert "best effort" in server.log.read_text()
    assert server.stop() == 0
