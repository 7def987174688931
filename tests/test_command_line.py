"""The binary itself: run, doctor, env, version, configuration, dev mode, TLS, stopping, and where it listens."""

import contextlib
import datetime
import http.client
import json
import os
import pathlib
import re
import signal
import ssl
import subprocess
import threading

import pytest

import mayfly as m
from conftest import make_role

HELLO = 'import json\n\ndef lambda_handler(event, context):\n    print("event: " + json.dumps(event))\n    return event["key1"]\n'


@pytest.fixture
def hello(tmp_path):
    path = tmp_path / "lambda_function.py"
    path.write_text(HELLO)
    return path


def test_run_runs_a_handler_once(hello):
    ended = m.run("run", hello, "--event", '{"key1":"value1"}')
    assert ended.stdout.strip() == '"value1"'
    assert 'event: {"key1": "value1"}' in ended.stderr
    assert re.search(r"REPORT RequestId: .*\tMax Memory Used: \d+ MB\tInit Duration: ", ended.stderr)


def test_run_fails_when_the_function_does(hello):
    ended = m.run("run", hello, "--event", "{}", check=False)
    assert ended.returncode != 0
    assert json.loads(ended.stdout)["errorType"] == "KeyError"


def test_run_takes_its_settings(tmp_path):
    path = tmp_path / "app.py"
    path.write_text(
        "import os\ndef go(event, context):\n    return [os.environ['A'], context.memory_limit_in_mb, event]\n"
    )
    event = tmp_path / "event.json"
    event.write_text("[1]")
    ended = m.run("run", path, "--handler", "app.go", "--env", "A=b", "--memory", "256", "--event-file", event)
    assert json.loads(ended.stdout) == ["b", "256", [1]]


def test_run_enforces_the_timeout(tmp_path):
    path = tmp_path / "lambda_function.py"
    path.write_text("import time\ndef lambda_handler(event, context):\n    time.sleep(60)\n")
    ended = m.run("run", path, "--timeout", "1", check=False)
    assert ended.returncode != 0
    assert "Task timed out after 1.00 seconds" in ended.stdout + ended.stderr


def test_run_says_what_is_wrong(tmp_path, hello):
    assert "nowhere.py" in m.run("run", tmp_path / "nowhere.py", check=False).stderr
    assert m.run("run", hello, "--event", "{nope", check=False).returncode != 0
    assert m.run("run", hello, "--runtime", "cobol85", check=False).returncode != 0


def test_run_watches(hello):
    process = subprocess.Popen(
        [m.BINARY, "run", hello, "--event", '{"key1":"value1"}', "--watch"],
        env=m.clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        seen = []
        threading.Thread(target=lambda: [seen.append(line.strip()) for line in process.stdout], daemon=True).start()
        m.until(lambda: '"value1"' in seen, "the first run has ended")
        hello.write_text(HELLO.replace('event["key1"]', '"changed"'))
        m.until(lambda: '"changed"' in seen, "the changed file has run")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(m.DEADLINE_S)


def test_sample_events_are_listed_and_printed():
    listed = m.run("events", "sample").stdout.splitlines()
    names = [line.split()[0] for line in listed]
    assert {"s3", "sns", "sqs", "kinesis", "dynamodb", "scheduled", "codecommit", "api-gateway", "cognito"} <= set(
        names
    )
    for name in names:
        assert isinstance(json.loads(m.run("events", "sample", name).stdout), dict)
    said = m.run("events", "sample", "nothing", check=False)
    assert said.returncode == 1
    assert "`mayfly events sample` lists those there are" in said.stderr


def test_doctor_lists_what_there_is():
    said = m.run("doctor", check=False)
    assert said.returncode == 0, said.stdout
    for word in ("namespaces", "landlock", "seccomp", m.PYTHON):
        assert word in said.stdout, said.stdout
    assert re.search(r"cold start  \d+\.\d\d ms: python\d\.\d+ hello in a new sandbox", said.stdout), said.stdout


def test_nobody_has_to_read_to_the_end():
    there, here = os.pipe()
    os.close(there)
    with os.fdopen(here, "wb") as gone:
        said = subprocess.run([m.BINARY, "events", "sample"], stdout=gone, stderr=subprocess.PIPE, text=True)
    assert (said.returncode, said.stderr) == (128 + signal.SIGPIPE, "")


def test_a_denial_is_explained():
    who = "arn:aws:sts::123456789012:assumed-role/alarm/alarm"
    sentence = (
        f'User: {who} is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/wake.txt" because no '
        "identity-based policy allows the s3:PutObject action"
    )
    said = m.run("explain", f"[ERROR] ClientError: An error occurred (AccessDenied): {sentence}").stdout
    assert f"who       {who}\naction    s3:PutObject\nresource  arn:aws:s3:::b/wake.txt\n" in said
    identity, resource = (json.loads(part[part.index("{") : part.rindex("}") + 1]) for part in said.split("\nOr "))
    assert identity["Statement"] == [
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/wake.txt"}
    ]
    assert resource["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::123456789012:role/alarm"}
    said = m.run("explain", "Access Denied", check=False)
    assert said.returncode == 1 and "that holds no denial" in said.stderr


def test_a_policy_is_generated(iam):
    said = m.run("policy", "generate", "--action", "logs:*", "--resource", "*").stdout
    name = m.name("policy")
    arn = iam.create_policy(PolicyName=name, PolicyDocument=said)["Policy"]["Arn"]
    iam.delete_policy(PolicyArn=arn)
    said = m.run("policy", "generate", "--action", "PutObject", "--resource", "*", check=False)
    assert said.returncode == 1 and "IAM would refuse" in said.stderr
    said = m.run("policy", "generate", check=False)
    assert said.returncode == 1 and "--action" in said.stderr


def test_version():
    assert re.fullmatch(r"mayfly \d+\.\d+\.\d+\n", m.run("version").stdout)


def test_env_of_a_folder_that_never_started(tmp_path):
    ended = m.run("env", "--data", tmp_path / "nothing", check=False)
    assert ended.returncode != 0
    assert "no server has been started" in ended.stderr


def test_env_of_a_stopped_server(fresh):
    server = fresh()
    running = server.env()
    assert running["AWS_ENDPOINT_URL"] == server.url
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"} <= running.keys()
    server.stop()
    assert server.env()["AWS_SECRET_ACCESS_KEY"] == running["AWS_SECRET_ACCESS_KEY"]


def test_the_folder_is_for_its_owner_only(fresh):
    server = fresh()
    for path in [server.data, *server.data.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0 or path.is_symlink() or below_closed(path, server.data), path


def below_closed(path, top):
    """Inside the folder modes are of no account to others: nobody else gets through its door."""
    return top.stat().st_mode & 0o777 == 0o700 and path != top


def test_one_server_for_one_folder(fresh):
    server = fresh()
    second = m.run("serve", "--data", server.data, "--listen", f"127.0.0.1:{m.free_port()}", check=False)
    assert second.returncode != 0
    assert server.request("GET", "/_/health")[0] == 200


@pytest.mark.parametrize(
    ("flags", "env", "file", "words"),
    [
        ((), {}, "colour = 1", "colour"),
        ((), {}, "drain_seconds = 'soon'", "drain_seconds"),
        ((), {}, "drain_seconds = ", "mayfly.toml"),
        (("--drain-seconds", "soon"), {}, None, "--drain-seconds"),
        ((), {"MAYFLY_LISTEN": "here"}, None, "MAYFLY_LISTEN"),
        (("--colour",), {}, None, "--colour"),
        (("--account", "12"), {}, None, "--account"),
        (("--listen", "0.0.0.0:0"), {}, None, "insecure"),
        (("--dev", "--listen", "0.0.0.0:0", "--insecure-plaintext-listen"), {}, None, "loopback"),
        (("--tls-certificate", "x.pem"), {}, None, "tls_key"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, flags, env, file, words):
    data = tmp_path / "data"
    if file is not None:
        data.mkdir(mode=0o700)
        (data / "mayfly.toml").write_text(file + "\n")
    if not any(flag == "--listen" for flag in flags) and "MAYFLY_LISTEN" not in env:
        flags = (*flags, "--listen", "127.0.0.1:0")
    ended = m.run("serve", "--data", data, *flags, env=env, check=False)
    assert ended.returncode != 0
    assert words in ended.stderr, ended.stderr


def test_flags_win_over_variables_and_those_over_the_file(fresh, tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "mayfly.toml").write_text('region = "eu-west-1"\naccount = "111111111111"\n')
    server = fresh("--account", "333333333333", data=data, env={"MAYFLY_ACCOUNT": "222222222222"})
    assert server.client("sts").get_caller_identity()["Account"] == "333333333333"
    assert server.env()["AWS_REGION"] == "eu-west-1"


def test_the_configuration_page_is_generated():
    page = (m.ROOT / "docs" / "configuration.md").read_text()
    assert page == m.run("config-reference").stdout, "docs/configuration.md is stale: make coverage"


# Dev mode.


def test_dev_mode(fresh):
    server = fresh("--dev")
    test = {"AccessKeyId": "test", "SecretAccessKey": "test"}
    twelve = {"AccessKeyId": "123412341234", "SecretAccessKey": "test"}
    assert server.client("sts", test).get_caller_identity()["Account"] == "000000000000"
    assert server.client("sts", twelve).get_caller_identity()["Account"] == "123412341234"
    assert "DEV MODE" in server.log.read_text().upper()
    for key in (test, twelve):
        role = make_role(server.client("iam", key), "basic", m.BASIC_EXECUTION)
        client = server.client("lambda", key)
        client.create_function(
            FunctionName="f",
            Runtime=m.PYTHON,
            Role=role,
            Handler="lambda_function.lambda_handler",
            Code={"ZipFile": m.handler("return event")},
        )
        client.get_waiter("function_active_v2").wait(FunctionName="f")
        assert client.invoke(FunctionName="f", Payload=b"1")["Payload"].read() == b"1"
    with m.refused(
        "UnrecognizedClientException|InvalidClientTokenId|SignatureDoesNotMatch|InvalidSignatureException", status=403
    ):
        server.client("sts", {"AccessKeyId": "test", "SecretAccessKey": "guess"}).get_caller_identity()
    assert server.request("POST", "/_/reset", headers={"Origin": "http://evil.example"})[0] == 403
    assert server.request("POST", "/_/reset")[0] == 200
    assert server.client("lambda", test).list_functions()["Functions"] == []
    assert server.client("iam", twelve).list_roles()["Roles"] == []
    server.stop()
    server.start()
    assert server.client("lambda", test).list_functions()["Functions"] == [], "the reset is durable"


def test_without_dev_there_is_no_reset(server):
    assert server.request("POST", "/_/reset")[0] == 404


def test_state_is_kept_per_region(server, role):
    east, west = server.client("lambda"), server.client("lambda", region="us-west-2", key=root(server))
    name = m.name()
    west.create_function(
        FunctionName=name, Runtime=m.PYTHON, Role=role, Handler="a.b", Code={"ZipFile": m.handler("return 1")}
    )
    assert west.get_function(FunctionName=name)["Configuration"]["FunctionArn"].startswith("arn:aws:lambda:us-west-2:")
    with m.refused("ResourceNotFoundException"):
        east.get_function(FunctionName=name)
    west.delete_function(FunctionName=name)


def root(server):
    env = server.env()
    return {"AccessKeyId": env["AWS_ACCESS_KEY_ID"], "SecretAccessKey": env["AWS_SECRET_ACCESS_KEY"]}


# TLS.


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1, signed by itself: its file and its key's."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mayfly test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    paths[1].write_bytes(key.private_bytes(*private))
    return paths


def test_tls(fresh, certificate):
    server = fresh("--tls-certificate", str(certificate[0]), "--tls-key", str(certificate[1]))
    assert server.env()["AWS_ENDPOINT_URL"].startswith("https://")
    trusted = subprocess.run(
        [m.BIN / "aws", "lambda", "list-functions"],
        env=m.clean_environment() | server.env() | {"AWS_CA_BUNDLE": str(certificate[0])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert trusted.returncode == 0, trusted.stderr
    plain = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    with pytest.raises((http.client.HTTPException, OSError)):
        plain.request("GET", "/_/health")
        plain.getresponse()
    context = ssl.create_default_context(cafile=str(certificate[0]))
    secure = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=context)
    secure.request("GET", "/_/health")
    assert secure.getresponse().status == 200


# Stopping, health, metrics.


def test_a_drain_lets_invocations_finish(fresh):
    server = fresh()
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    client = server.client("lambda")
    client.create_function(
        FunctionName="slow",
        Runtime=m.PYTHON,
        Role=role,
        Handler="lambda_function.lambda_handler",
        Timeout=60,
        Code={"ZipFile": m.handler("import time\ntime.sleep(4)\nreturn 'finished'")},
    )
    client.get_waiter("function_active_v2").wait(FunctionName="slow")
    replies = []
    call = threading.Thread(target=lambda: replies.append(client.invoke(FunctionName="slow")["Payload"].read()))
    call.start()
    m.until(lambda: b"mayfly" in server.request("GET", "/_/metrics")[2] and busy(server), "the invocation runs")
    assert server.stop() == 0
    call.join()
    assert replies == [b'"finished"']
    with pytest.raises(OSError):
        server.request("GET", "/_/health")


def busy(server):
    """Whether the log already tells of the invocation's START."""
    logs = server.client("logs")
    try:
        return logs.filter_log_events(logGroupName="/aws/lambda/slow", filterPattern="START")["events"]
    except logs.exceptions.ResourceNotFoundException:
        return False


def test_nothing_is_left_behind(fresh, tmp_path):
    """After a stop no process of ours is alive, and nothing of ours is mounted."""
    server = fresh()
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    client = server.client("lambda")
    client.create_function(
        FunctionName="f",
        Runtime=m.PYTHON,
        Role=role,
        Handler="lambda_function.lambda_handler",
        Code={"ZipFile": m.handler("return 1")},
    )
    client.get_waiter("function_active_v2").wait(FunctionName="f")
    client.invoke(FunctionName="f")
    group = descendants(server.process.pid)
    assert group
    assert server.stop() == 0
    m.until(lambda: not [pid for pid in group if alive(pid)], "its processes are gone")
    assert str(server.data) not in open("/proc/self/mountinfo").read()


def descendants(pid):
    """The processes below this one. Some end meanwhile, since sandboxes are made ahead."""
    gone = contextlib.suppress(FileNotFoundError, ProcessLookupError)
    found = []
    with gone:
        for task in os.listdir(f"/proc/{pid}/task"):
            with gone:
                for child in pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                    found += [int(child), *descendants(child)]
    return found


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_health_and_metrics(server):
    status, _, body = server.request("GET", "/_/health")
    assert (status, json.loads(body)["status"]) == (200, "ok")
    status, headers, body = server.request("GET", "/_/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    for line in body.decode().splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) \w+ .*|\w+(\{[^}]*\})? [-+.\deE]+(NaN|Inf)?", line), line
    assert server.request("GET", "/_/nothing")[0] == 404


def test_variables_count_before_the_data_folder(server, user, fresh):
    """Of another server, whose keys are not this one's."""
    name, events = m.name("rule"), server.client("events")
    events.put_rule(Name=name, ScheduleExpression="rate(1 day)")
    other = fresh().data
    key = user({"Effect": "Allow", "Action": "mayfly:Preview", "Resource": "*"})
    mine = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def fire(*arguments, data=other, **variables):
        return m.run("fire", "--data", data, *arguments, name, check=False, env=variables)

    assert "no targets" in fire(**server.env()).stderr
    previewed = fire("--next", AWS_ENDPOINT_URL=server.url, **mine)
    assert len(previewed.stdout.splitlines()) == 10, previewed.stderr
    denied = fire(AWS_ENDPOINT_URL=server.url, **mine)
    assert "not authorized to perform: mayfly:Fire" in denied.stderr
    strange = fire(**mine)
    assert (
        "security token included in the request is invalid" in strange.stderr and "AWS_ACCESS_KEY_ID" in strange.stderr
    )
    elsewhere = fire(**{**server.env(), "AWS_REGION": "eu-west-3"})
    assert name in elsewhere.stderr and "no targets" not in elsewhere.stderr
    # What is not set is the folder's; a flag is for this command alone.
    invalid = fire(AWS_ENDPOINT_URL=server.url)
    assert "security token included in the request is invalid" in invalid.stderr
    assert "AWS_ACCESS_KEY_ID" not in invalid.stderr
    flagged = fire(
        "--listen", server.url.removeprefix("http://"), data=server.data, AWS_ENDPOINT_URL="http://127.0.0.1:1"
    )
    assert "no targets" in flagged.stderr
    half = fire(AWS_ACCESS_KEY_ID="AKIA")
    assert half.returncode == 1 and "AWS_SECRET_ACCESS_KEY" in half.stderr
    events.delete_rule(Name=name)
