"""Starts and stops the built binary, and the small words that the suites are written in."""

import contextlib
import http.client
import io
import itertools
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile

import boto3
import botocore.config
import botocore.exceptions
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FUNCTIONS = ROOT / "tests" / "functions"
BINARY = pathlib.Path(os.environ.get("MAYFLY_BIN", ROOT / "target" / "debug" / "mayfly")).resolve()
BIN = pathlib.Path(sys.executable).parent
# A loaded machine of two cores is slow; a wait that is over earlier costs nothing.
DEADLINE_S = 60

LAMBDA_TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
        ],
    }
)
BASIC_EXECUTION = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"

# The Python that runs these tests is on this machine, so Mayfly finds it too.
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


class Mayfly:
    """One server with its own data folder and port."""

    def __init__(self, data, *flags, env=None, command=(BINARY,)):
        self.data = pathlib.Path(data)
        self.flags = flags
        self.extra = env or {}
        self.command = command
        self.log = self.data.parent / f"{self.data.name}.log"
        self.port = free_port()
        self.process = None

    @property
    def url(self):
        scheme = "https" if "--tls-certificate" in self.flags else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}", *self.flags],
                env=clean_environment() | self.extra,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self.answers, f"mayfly answers on port {self.port}")
        return self

    def answers(self):
        assert self.process.poll() is None, f"mayfly ended with {self.process.returncode}:\n{self.tail()}"
        try:
            return self.request("GET", "/_/health")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def stop(self):
        """SIGTERM, as an init system stops it; says how it ended."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def kill(self):
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def tail(self, count=40):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])

    def env(self):
        """What `eval "$(mayfly env)"` puts into a shell."""
        printed = run("env", "--data", self.data).stdout
        shell = subprocess.run(
            ["env", "-i", "bash", "-c", f"{printed}\nenv -0"], capture_output=True, check=True, text=True
        ).stdout
        pairs = dict(pair.split("=", 1) for pair in shell.split("\0") if pair)
        return {name: value for name, value in pairs.items() if name.startswith("AWS_")}

    def client(self, service, key=None, region=None, **config):
        """A boto3 client; `key` is an `AccessKey` or `Credentials` as IAM and STS return them."""
        env = self.env() if key is None else {}
        key = key or {"AccessKeyId": env["AWS_ACCESS_KEY_ID"], "SecretAccessKey": env["AWS_SECRET_ACCESS_KEY"]}
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region or env.get("AWS_REGION", "us-east-1"),
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
            aws_session_token=key.get("SessionToken"),
            verify=False if self.url.startswith("https") else None,
            # A second try would hide the failure of the first.
            config=botocore.config.Config(
                retries={"total_max_attempts": 1}, read_timeout=120, inject_host_prefix=False, **config
            ),
        )

    def request(self, method, path, body=b"", headers=None):
        """A request as it is written here, unsigned: status, headers, body."""
        if self.url.startswith("https"):
            # Of a certificate that signs itself; whether it is the right one is another test's question.
            trust = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=DEADLINE_S, context=trust)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()

    def metric(self, name):
        """A number of `/_/metrics`, by its name without the prefix."""
        text = self.request("GET", "/_/metrics")[2].decode()
        return int(re.search(rf"^mayfly_{name} (\d+)$", text, re.MULTILINE)[1])

    def signed(self, method, path, body=b"", service="lambda", headers=None, sign=None, key=None):
        """The same, signed by botocore. `sign` may be another signer's class; `headers` are signed too."""
        import botocore.auth
        import botocore.awsrequest
        import botocore.credentials

        env = self.env()
        key = key or {"AccessKeyId": env["AWS_ACCESS_KEY_ID"], "SecretAccessKey": env["AWS_SECRET_ACCESS_KEY"]}
        credentials = botocore.credentials.Credentials(
            key["AccessKeyId"], key["SecretAccessKey"], key.get("SessionToken")
        )
        request = botocore.awsrequest.AWSRequest(method, self.url + path, headers or {}, body)
        (sign or botocore.auth.SigV4Auth)(credentials, service, env["AWS_REGION"]).add_auth(request)
        return self.request(method, path, body, dict(request.headers.items()))


def clean_environment():
    """Our own environment without what an AWS client or Mayfly would read from it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAYFLY_"))}
    return kept | {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_PAGER": ""}


def run(*arguments, check=True, env=None, timeout=120, **options):
    """The binary, to its end."""
    return subprocess.run(
        [BINARY, *arguments],
        env=clean_environment() | (env or {}),
        capture_output=True,
        text=True,
        check=check,
        stdin=subprocess.DEVNULL,
        timeout=timeout,
        **options,
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(probe, what, deadline_s=DEADLINE_S):
    """Asks `probe` until what it says is true, and returns that."""
    end = time.monotonic() + deadline_s
    for pause in itertools.chain([0.01, 0.02, 0.05, 0.1], itertools.repeat(0.2)):
        if found := probe():
            return found
        assert time.monotonic() < end, f"waited {deadline_s} s in vain until {what}"
        time.sleep(pause)


def refused(code, message=None, status=None):
    """A block in which AWS's client must fail with this code, or one of several joined by `|`; `message` is a regular
    expression for the whole sentence."""
    return Refused(code, message, status)


class Refused:
    def __init__(self, code, message, status):
        self.code, self.message, self.status = code, message, status
        self.error = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if error is None:
            pytest.fail(f"was not refused with {self.code}")
        if not isinstance(error, botocore.exceptions.ClientError):
            return False
        self.error = error.response["Error"]
        found = (self.error["Code"], self.error["Message"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        assert found[0] in self.code.split("|"), found
        assert self.message is None or re.fullmatch(self.message, found[1], re.DOTALL), found
        assert self.status is None or found[2] == self.status, found
        return True


def name(prefix="f"):
    """A name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def zipped(files):
    """A zip of `files`, by path: text, or bytes; those named bootstrap may be executed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            info = zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o755 if path.split("/")[-1] == "bootstrap" else 0o644) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def handler(body):
    """A zip of one module whose `lambda_handler` has this body."""
    indented = "\n".join("    " + line for line in body.strip("\n").splitlines())
    return zipped({"lambda_function.py": f"def lambda_handler(event, context):\n{indented}\n"})


def temporary_folder():
    return tempfile.TemporaryDirectory(prefix="mayfly-test-")
