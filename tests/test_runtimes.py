"""Every runtime that this machine has, and AWS's own runtime clients, unmodified."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import zipfile

import pytest

import mayfly as m
from conftest import Function, make_role


def found_runtimes():
    """The identifiers that `mayfly doctor` found here."""
    said = m.run("doctor", check=False).stdout
    return re.findall(r"ok\s+(python\d\.\d+)", said)


def test_every_python_that_is_here(function):
    """One test for all, so that a machine with only one Python says how many it tried."""
    runtimes = found_runtimes()
    assert m.PYTHON in runtimes
    code = "import sys\nprint('hello')\nreturn '%d.%d' % sys.version_info[:2]"
    for runtime in runtimes:
        one = function(code, Runtime=runtime)
        reply = one.call({})
        assert reply["payload"] == runtime.removeprefix("python"), (runtime, reply["payload"], reply["log"])
        assert "hello\n" in reply["log"]
    print(f"tried {', '.join(runtimes)}")


def test_old_pythons_speak_their_own_language(function):
    if "python2.7" not in found_runtimes():
        pytest.skip("no Python 2.7 on this machine")
    code = "try:\n    raise Exception('old words')\nexcept Exception as err:\n    return err.message"
    assert function(code, Runtime="python2.7").call({})["payload"] == "old words"


SHELL = r"""#!/bin/sh
set -euo pipefail
api="http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation"
while true; do
  exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API%:*}/${AWS_LAMBDA_RUNTIME_API#*:}"
  printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >&3
  id= length=0
  while IFS= read -r line <&3; do
    line="${line%$'\r'}"
    [ -z "$line" ] && break
    case "${line,,}" in
      lambda-runtime-aws-request-id:*) id="${line#*: }" ;;
      content-length:*) length="${line#*: }" ;;
    esac
  done
  IFS= read -r -N "$length" event <&3 || true
  exec 3>&-
  echo "shell saw $event"
  body="{\"shell\": $event}"
  exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API%:*}/${AWS_LAMBDA_RUNTIME_API#*:}"
  printf 'POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %s\r\n\r\n%s' "$id" "${#body}" "$body" >&3
  cat <&3 >/dev/null
  exec 3>&-
done
"""


@pytest.mark.parametrize("runtime", ["provided.al2023", "provided.al2", "provided"])
def test_a_bootstrap_in_shell(function, runtime):
    """AWS's shell tutorial begins so; its `/bin/sh` is bash."""
    one = function(m.zipped({"bootstrap": SHELL}), Runtime=runtime, Handler="function.handler")
    for _ in range(2):
        reply = one.call({"a": 1})
        assert reply["payload"] == {"shell": {"a": 1}}, reply["log"]
        assert 'shell saw {"a": 1}' in reply["log"]


def test_a_bootstrap_that_is_missing(function):
    payload = function(m.zipped({"other": "x"}), Runtime="provided.al2023", Handler="x").call({})["payload"]
    assert payload["errorType"] == "Runtime.InvalidEntrypoint", payload


def test_a_bootstrap_that_ends(function):
    code = m.zipped({"bootstrap": "#!/bin/sh\nexit 5\n"})
    payload = function(code, Runtime="provided.al2023", Handler="x").call({})["payload"]
    assert payload["errorType"] == "Runtime.ExitError"
    assert payload["errorMessage"].endswith("Error: Runtime exited with error: exit status 5")


def packed(folder, extra):
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return m.zipped({**files, **extra})


def test_awss_own_python_client(function, awslambdaric):
    code = """
def lambda_handler(event, context):
    print('from awslambdaric')
    if event.get('fail'):
        raise ValueError('asked to')
    return [event['n'], context.function_name, context.aws_request_id, context.get_remaining_time_in_millis() > 0]
"""
    bootstrap = '#!/bin/sh\nexport PYTHONPATH=/var/task\nexec /usr/bin/python3 -m awslambdaric "$_HANDLER"\n'
    archive = packed(awslambdaric, {"bootstrap": bootstrap, "app.py": code})
    one = function(archive, Runtime="provided.al2023", Handler="app.lambda_handler", MemorySize=256)
    for n in range(3):
        reply = one.call({"n": n})
        assert reply["payload"] == [n, one.name, reply["ResponseMetadata"]["RequestId"], True], reply
        assert "from awslambdaric" in reply["log"]
    failed = one.call({"fail": True})
    assert failed["FunctionError"] == "Unhandled"
    assert (failed["payload"]["errorType"], failed["payload"]["errorMessage"]) == ("ValueError", "asked to")


def test_awss_own_python_client_as_an_option(fresh, awslambdaric, system_python):
    """The `python3.x` runtime itself, on AWS's client instead of ours."""
    runtime = f"python{system_python}"
    server = fresh("--runtimes", f"{runtime}=/usr/bin/python3", "--aws-runtime-clients", f"{runtime}={awslambdaric}")
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    client = server.client("lambda")
    code = """
import logging
def lambda_handler(event, context):
    logging.getLogger().warning('two\\nlines')
    print('printed')
    if event == 'error': raise ValueError('wrong')
    if event == 'exit': __import__('sys').exit(3)
    if event == 'big': return 'x' * (7 << 20)
    return [event, context.function_name, context.memory_limit_in_mb]
"""
    client.create_function(
        FunctionName="option",
        Runtime=runtime,
        Handler="app.lambda_handler",
        Role=role,
        MemorySize=256,
        Code={"ZipFile": m.zipped({"app.py": code})},
    )
    client.get_waiter("function_active_v2").wait(FunctionName="option")
    one = Function(client, "option")
    reply = one.call("one")
    assert reply["payload"] == ["one", "option", "256"], reply
    assert "\ttwo\nlines\n" in reply["log"] and "printed\n" in reply["log"]
    failed = one.call("error")
    assert (failed["payload"]["errorType"], failed["payload"]["errorMessage"]) == ("ValueError", "wrong")
    assert "[ERROR] ValueError: wrong\nTraceback" in failed["log"]
    assert one.call("exit")["payload"]["errorMessage"].endswith("Error: Runtime exited with error: exit status 3")
    assert one.call("big")["payload"]["errorType"] == "Function.ResponseSizeTooLarge"
    assert one.call(1)["payload"] == [1, "option", "256"], "it goes on"


def test_awss_own_rust_client(function):
    folder = m.FUNCTIONS / "rust-hello"
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", m.ROOT / "target")) / "functions"
    subprocess.run(
        ["cargo", "build", "--locked", "--quiet", "--manifest-path", folder / "Cargo.toml", "--target-dir", target],
        check=True,
        timeout=280,
    )
    archive = m.zipped({"bootstrap": (target / "debug" / "bootstrap").read_bytes()})
    one = function(archive, Runtime="provided.al2023", Handler="bootstrap", Architectures=["x86_64"])
    assert one.call({"n": 1})["payload"] == {"n": 1}
    reply = one.call("context")
    payload = reply["payload"]
    assert payload["id"] == reply["ResponseMetadata"]["RequestId"]
    assert payload["arn"].endswith(f":function:{one.name}")
    assert (payload["memory"], payload["name"]) == (128, one.name)
    failed = one.call("error")
    assert failed["FunctionError"] == "Unhandled"
    assert failed["payload"]["errorMessage"] == "it went wrong"
    assert one.call("panic")["FunctionError"] == "Unhandled"
    assert one.call({"n": 9})["payload"] == {"n": 9}, "it goes on"
    # As on AWS, a caller of plain Invoke sees the HTTP prelude that this client writes before a streamed body.
    streaming = function(
        archive, Runtime="provided.al2023", Handler="bootstrap", Environment={"Variables": {"STREAM": "1"}}
    )
    streamed = streaming.client.invoke(FunctionName=streaming.name, Payload=b"1")["Payload"].read()
    assert streamed.startswith(b'{"statusCode":200,') and streamed.endswith(b"\0one two three"), streamed


MODELS = ("sts", "iam", "logs", "lambda")


@pytest.fixture(scope="session")
def boto3_layer(lambdas):
    """boto3 as a layer, with the models of a few services: what AWS's runtimes have built in."""
    import boto3

    site = pathlib.Path(boto3.__file__).parent.parent
    files = {}
    for package in ("boto3", "botocore", "jmespath", "s3transfer", "urllib3", "dateutil"):
        for path in (site / package).rglob("*"):
            inside = path.relative_to(site)
            model = inside.parts[:2] == ("botocore", "data") and len(inside.parts) > 3 and inside.parts[2] not in MODELS
            if path.is_file() and path.suffix != ".pyc" and not model:
                files[f"python/{inside}"] = path.read_bytes()
    files["python/six.py"] = (site / "six.py").read_bytes()
    content = {"ZipFile": m.zipped(files)}
    return lambdas.publish_layer_version(LayerName=m.name("boto3"), Content=content)["LayerVersionArn"]


def test_boto3_in_a_function_needs_no_settings(function, boto3_layer):
    code = """
import boto3
who = boto3.client('sts').get_caller_identity()['Arn']
try:
    boto3.client('iam').list_users()
    return [who, 'allowed']
except Exception as error:
    return [who, error.response['Error']['Code'], error.response['Error']['Message']]
"""
    one = function(code, Layers=[boto3_layer], Timeout=60, MemorySize=512)
    reply = one.call({})
    who, refusal, message = reply["payload"]
    assert who.endswith(f":assumed-role/lambda_basic_execution/{one.name}")
    assert refusal == "AccessDenied"
    assert message == (
        f"User: {who} is not authorized to perform: iam:ListUsers on resource: {iam_resource(who)} "
        "because no identity-based policy allows the iam:ListUsers action"
    )


def iam_resource(who):
    """What AWS names as the resource of iam:ListUsers: the users of the account."""
    account = who.split(":")[4]
    return f"arn:aws:iam::{account}:user/"


def test_a_large_zip_of_many_files(function):
    files = {f"data/{n}.txt": f"{n}" * 50 for n in range(2000)}
    files["lambda_function.py"] = (
        "import os\ndef lambda_handler(event, context):\n    return len(os.listdir('/var/task/data'))\n"
    )
    assert function(m.zipped(files)).call({})["payload"] == 2000


def test_files_of_a_zip_keep_their_modes(function):
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, mode, text in [
            ("tool.sh", 0o755, "#!/bin/sh\necho tool\n"),
            ("lambda_function.py", 0o644, "import subprocess\ndef lambda_handler(event, context):\n"
             "    return subprocess.run(['/var/task/tool.sh'], stdout=subprocess.PIPE).stdout.decode()\n"),
        ]:  # fmt: skip
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, text)
    assert function(buffer.getvalue()).call({})["payload"] == "tool\n"


def test_extensions_of_a_layer_live_with_the_function(function, lambdas):
    """An extension in shell would be long; this one is Python on the machine's own interpreter."""
    extension = """#!/usr/bin/python3
import http.client, json, os
def ask(method, path, headers, body=b''):
    connection = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
    connection.request(method, '/2020-01-01/extension/' + path, body, headers)
    reply = connection.getresponse()
    return reply, reply.read()
reply, _ = ask('POST', 'register', {'Lambda-Extension-Name': 'watcher'}, json.dumps({'events': ['INVOKE', 'SHUTDOWN']}))
me = {'Lambda-Extension-Identifier': reply.headers['Lambda-Extension-Identifier']}
while True:
    _, body = ask('GET', 'event/next', me)
    event = json.loads(body)
    print('extension saw ' + event['eventType'], flush=True)
    if event['eventType'] == 'SHUTDOWN':
        break
"""
    if not shutil.which("python3", path="/usr/bin"):
        pytest.skip("no /usr/bin/python3, which the extension is written in")
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("extensions/watcher")
        info.external_attr = 0o755 << 16
        archive.writestr(info, extension)
    layer = lambdas.publish_layer_version(LayerName=m.name("ext"), Content={"ZipFile": buffer.getvalue()})
    one = function("return 1", Layers=[layer["LayerVersionArn"]])
    assert one.call({})["payload"] == 1
    assert "extension saw INVOKE" in one.call({})["log"]


def test_json_is_what_json_says(function):
    """Floats, big numbers and nesting come back as they went."""
    echo = function("return event")
    for value in [0.1, 1e300, 12345678901234567890, -0.0, [[[]]], {"": None}, True, "\u0000", {"k": [1, {"x": "y"}]}]:
        assert json.dumps(echo.call(value)["payload"]) == json.dumps(value)
