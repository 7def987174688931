"""One server for the whole run, its clients, and functions that are deleted again."""

import base64
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

import mayfly as m


@pytest.fixture(scope="session")
def server():
    with m.temporary_folder() as folder:
        server = m.Mayfly(pathlib.Path(folder) / "data").start()
        yield server
        status = server.stop()
        assert status == 0, f"mayfly ended with {status}:\n{server.tail()}"


@pytest.fixture
def fresh(tmp_path):
    """Starts servers of one test's own, with flags; stops what is left of them."""
    started = []

    def start(*flags, data=tmp_path / "data", **options):
        started.append(m.Mayfly(data, *flags, **options).start())
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows the end of the server's log with a failure."""
    report = yield
    if report.when == "call" and report.failed:
        for fixture in ("server", "fresh"):
            server = item.funcargs.get(fixture)
            if isinstance(server, m.Mayfly):
                report.sections.append(("mayfly's log", server.tail(25)))
    return report


def session_client(service):
    @pytest.fixture(scope="session", name=service)
    def client(server):
        return server.client(service)

    return client


iam = session_client("iam")
sts = session_client("sts")
logs = session_client("logs")
cloudwatch = session_client("cloudwatch")
s3 = session_client("s3")


@pytest.fixture(scope="session")
def lambdas(server):
    return server.client("lambda")


@pytest.fixture(scope="session")
def role(iam):
    """The ARN of a role with AWS's basic execution policy."""
    return make_role(iam, "lambda_basic_execution", m.BASIC_EXECUTION)


def make_role(iam, name, *policies, trust=m.LAMBDA_TRUST):
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    for policy in policies:
        iam.attach_role_policy(RoleName=name, PolicyArn=policy)
    return arn


@pytest.fixture
def user(iam):
    """Makes users with an inline policy of these statements; returns the access key."""

    def make(*statements):
        name = m.name("user")
        iam.create_user(UserName=name)
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        if statements:
            iam.put_user_policy(UserName=name, PolicyName="inline", PolicyDocument=policy)
        return iam.create_access_key(UserName=name)["AccessKey"]

    return make


class Function:
    """A function of a test, and what one does with it."""

    def __init__(self, client, name):
        self.client, self.name = client, name

    def call(self, event=None, **options):
        """Invokes; returns the reply with `payload` decoded and `log` as text."""
        payload = b"" if event is None else event if isinstance(event, bytes) else json.dumps(event).encode()
        reply = self.client.invoke(FunctionName=self.name, Payload=payload, LogType="Tail", **options)
        body = reply["Payload"].read()
        reply["payload"] = json.loads(body) if body else None
        reply["log"] = base64.b64decode(reply.get("LogResult", "")).decode()
        return reply


@pytest.fixture
def function(lambdas, role):
    """Makes functions, waits until they are active, and deletes them after the test."""
    made = []

    def make(code, client=lambdas, **settings):
        name = settings.pop("FunctionName", m.name())
        made.append((client, name))
        settings = {
            "Runtime": m.PYTHON,
            "Handler": "lambda_function.lambda_handler",
            "Role": role,
            "Timeout": 30,
            **settings,
        }
        code = m.handler(code) if isinstance(code, str) else code
        client.create_function(FunctionName=name, Code={"ZipFile": code}, **settings)
        client.get_waiter("function_active_v2").wait(FunctionName=name)
        return Function(client, name)

    yield make
    for client, name in made:
        try:
            client.delete_function(FunctionName=name)
        except client.exceptions.ResourceNotFoundException:
            pass  # The test deleted it, or was refused.


@pytest.fixture(scope="session")
def system_python():
    """The version of the Python in /usr/bin, which a provided function sees."""
    python = shutil.which("python3", path="/usr/bin")
    if not python:
        pytest.skip("no /usr/bin/python3, which a bootstrap could start")
    return subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="session")
def awslambdaric(tmp_path_factory, system_python):
    """A folder with AWS's client for the Python in /usr/bin."""
    version = system_python
    folder = tmp_path_factory.mktemp("awslambdaric")
    folder.chmod(0o755)  # Functions read it as a user of their own.
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes",
         "--only-binary", ":all:", "--python-version", version, "--target", folder, "-r", m.ROOT / "tests" / "awslambdaric.txt"],
        check=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def bucket(s3):
    """A bucket, which is emptied and deleted after the test."""
    name = m.name("bucket")
    s3.create_bucket(Bucket=name)
    yield name
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
            s3.delete_object(Bucket=name, Key=one["Key"], VersionId=one["VersionId"])
    s3.delete_bucket(Bucket=name)
