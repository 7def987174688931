"""AWS's SDK in the runtime, and AWS's own host names, as functions see them: whatever endpoint a client has built in, it
finds this server, which takes it for the function's role."""

import datetime
import json
import os
import pathlib
import re
import stat
import subprocess

import pytest

import mayfly as m
from conftest import Function, make_role

# The oldest, the last that knows no AWS_ENDPOINT_URL, and the one that these tests run on.
RUNTIMES = list(dict.fromkeys(["python2.7", "python3.6", m.PYTHON]))


# SDKs are fetched once and kept between runs; what was fetched by an older version of this file is fetched anew.
SDKS = m.BINARY.parent.parent / "test-sdks" / "data"


class Place:
    """A server of this file's own, with the SDKs that could be added to it."""

    def __init__(self, folder, **env):
        self.data = pathlib.Path(folder) / "data"
        listed = m.run("runtime", "list", "--data", SDKS).stdout
        self.found = re.findall(r"^(python\d\.\d+) ", listed, re.MULTILINE)
        self.missing = {}
        self.said = {}
        for runtime in RUNTIMES:
            if runtime not in self.found:
                self.missing[runtime] = f"no {runtime} on this machine"
                continue
            SDKS.parent.mkdir(exist_ok=True)
            added = m.run("runtime", "add-sdk", "--data", SDKS, runtime, check=False, timeout=600)
            self.said[runtime] = added.stdout
            if added.returncode != 0:
                assert "does not reach its package index" in added.stderr, added.stderr
                self.missing[runtime] = "the package index is not reached"
        self.server = m.Mayfly(self.data, env={"MAYFLY_LOG_LEVEL": "info,engine=debug", **env})
        self.data.mkdir(mode=0o700)
        (self.data / "format").write_text("mayfly 1\n")
        (self.data / "sdk").symlink_to(SDKS / "sdk")
        self.server.start()
        iam = self.server.client("iam")
        self.role = make_role(iam, "basic", m.BASIC_EXECUTION)
        self.client = self.server.client("lambda")
        self.functions = {}

    def function(self, runtime, code, files=None, **settings):
        name = m.name()
        files = {"lambda_function.py": code, **(files or {})}
        self.client.create_function(
            FunctionName=name, Runtime=runtime, Role=self.role, Handler="lambda_function.lambda_handler",
            Timeout=60, MemorySize=512, Code={"ZipFile": m.zipped(files)}, **settings,
        )  # fmt: skip
        self.client.get_waiter("function_active_v2").wait(FunctionName=name)
        return Function(self.client, name)

    def sdk(self, runtime):
        """The function with the SDK that all tests of a runtime share."""
        if runtime in self.missing:
            pytest.skip(self.missing[runtime])
        if runtime not in self.functions:
            self.functions[runtime] = self.function(runtime, CALLS)
        return self.functions[runtime]


@pytest.fixture(scope="module")
def place():
    with m.temporary_folder() as folder:
        place = Place(folder)
        yield place
        assert place.server.stop() == 0


# One call after the other, each with what came of it. `hard` takes away what new SDKs are told about endpoints.
CALLS = """
import json
import os

if os.environ.get("AWS_ENDPOINT_URL") is None:
    raise Exception("AWS_ENDPOINT_URL should be there")
ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
import boto3
import botocore.exceptions

def lambda_handler(event, context):
    os.environ.pop("AWS_ENDPOINT_URL", None)
    if not event["hard"]:
        os.environ["AWS_ENDPOINT_URL"] = ENDPOINT
    out = {"version": boto3.__version__, "file": boto3.__file__}
    session = boto3.session.Session()
    sts = session.client("sts")
    out["endpoint"] = sts.meta.endpoint_url
    out["arn"] = sts.get_caller_identity()["Arn"]
    logs = session.client("logs")
    out["logs"] = logs.meta.endpoint_url
    logs.create_log_group(logGroupName=event["group"])
    lambdas = session.client("lambda")
    try:
        lambdas.list_functions()
    except botocore.exceptions.ClientError as error:
        out["denied"] = [error.response["Error"]["Code"], error.response["Error"]["Message"]]
    try:
        session.client("dynamodb").list_tables()
    except botocore.exceptions.ClientError as error:
        out["unbuilt"] = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return out
"""


@pytest.mark.parametrize("hard", [False, True], ids=["told", "hard-coded"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_sdk_reaches_this_server_as_the_role(place, runtime, hard):
    function = place.sdk(runtime)
    before = place.server.metric("aws_connections_redirected_total")
    group = m.name("/made/by")
    reply = function.call({"hard": hard, "group": group})
    assert "FunctionError" not in reply, (reply["payload"], reply["log"])
    said = reply["payload"]
    assert said["file"].startswith("/var/sdk/boto3/"), said
    assert re.match(rf"{runtime}: boto3 {re.escape(said['version'])} (added|is there)\n", place.said[runtime])
    assert said["arn"] == f"arn:aws:sts::123456789012:assumed-role/basic/{function.name}"
    groups = place.server.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert [made["logGroupName"] for made in groups] == [group]
    code, message = said["denied"]
    assert code == "AccessDeniedException"
    assert f"assumed-role/basic/{function.name} is not authorized to perform: lambda:ListFunctions" in message
    assert said["unbuilt"] == 501
    knows_endpoints = runtime not in ("python2.7", "python3.6")
    if knows_endpoints and not hard:
        assert said["endpoint"] == "http://127.0.0.1:4566"
    else:
        assert re.fullmatch(r"https://sts\.(us-east-1\.)?amazonaws\.com", said["endpoint"])
        assert said["logs"] == "https://logs.us-east-1.amazonaws.com"
        assert place.server.metric("aws_connections_redirected_total") > before
        told = place.server.log.read_text()
        assert re.search(r'a name of AWS.s is answered here.* name="sts\.(us-east-1\.)?amazonaws\.com"', told)
        assert f'a connection to AWS is answered here function="{function.name}"' in told


BARE = """
import socket
import ssl
import sys
try:
    from urllib.request import urlopen
    from urllib.error import HTTPError
except ImportError:
    from urllib2 import urlopen, HTTPError

def get(url):
    try:
        return [200, urlopen(url, timeout=20).read().decode("utf-8")]
    except HTTPError as error:
        return [error.code, error.read().decode("utf-8")]
    except Exception as error:
        return [0, str(error)]

def lambda_handler(event, context):
    return [get(url) for url in event]
"""


def test_names_of_aws_without_an_sdk(place):
    """Python's own TLS trusts what answers at AWS's names, checks the name, and finds nobody at any other."""
    unsigned = "/?Action=GetCallerIdentity&Version=2011-06-15"
    urls = [
        f"https://sts.amazonaws.com{unsigned}",
        f"https://sts.eu-central-1.amazonaws.com{unsigned}",
        f"http://sts.amazonaws.com{unsigned}",
        "https://lambda.us-east-1.api.aws/2015-03-31/functions",
        "https://dynamodb.us-east-1.amazonaws.com/",
        "https://127.0.0.2/",
        "https://example.com/",
        "https://rds.evil.eu-west-1.rds.amazonaws.com/",
    ]
    tried = [runtime for runtime in RUNTIMES if runtime in place.found]
    for runtime in tried:
        reply = place.function(runtime, BARE).call(urls)
        said = dict(zip(urls, reply["payload"], strict=True))
        for url in urls[:3]:
            status, text = said[url]
            assert (status, "MissingAuthenticationToken" in text) == (403, True), (runtime, url, text)
        assert said[urls[3]][0] == 403 and said[urls[4]][0] == 403, (runtime, said)
        for url in urls[5:]:
            assert said[url][0] == 0, (runtime, url, said[url])
        # An address has no certificate here, and other names no address.
        assert "SSL" in said[urls[5]][1] or "ssl" in said[urls[5]][1], said[urls[5]]
    print(f"tried {', '.join(tried)}")


SIGNED = """
import datetime, hashlib, hmac, json, os, ssl
from urllib.request import Request, urlopen
from urllib.error import HTTPError

def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()

def post(host, region, service, version, action):
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    body = "Action=%s&Version=%s" % (action, version)
    token = os.environ["AWS_SESSION_TOKEN"]
    names = "content-type;host;x-amz-date;x-amz-security-token"
    form = "application/x-www-form-urlencoded"
    canonical = "\\n".join(["POST", "/", "", "content-type:" + form, "host:" + host, "x-amz-date:" + now,
                           "x-amz-security-token:" + token, "", names, hashlib.sha256(body.encode()).hexdigest()])
    scope = "%s/%s/%s/aws4_request" % (now[:8], region, service)
    text = "\\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope.split("/"):
        key = sign(key, part)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers = {"Content-Type": form, "X-Amz-Date": now, "X-Amz-Security-Token": token, "Authorization":
        "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s"
        % (os.environ["AWS_ACCESS_KEY_ID"], scope, names, signature)}
    try:
        return [200, urlopen(Request("https://" + host + "/", body.encode(), headers)).read().decode()]
    except HTTPError as error:
        return [error.code, error.read().decode()]

def lambda_handler(event, context):
    return [post(*call) for call in event]
"""


def test_the_host_says_service_and_region(place):
    sts = ["sts", "2011-06-15", "GetCallerIdentity"]
    calls = [
        ["sts.eu-west-1.amazonaws.com", "eu-west-1", *sts],
        ["sts.amazonaws.com", "us-east-1", *sts],
        # Another region's signature, and another service's host.
        ["sts.eu-west-1.amazonaws.com", "us-east-1", *sts],
        ["monitoring.eu-west-1.amazonaws.com", "eu-west-1", *sts],
    ]
    right, right_too, region, service = place.function(m.PYTHON, SIGNED).call(calls)["payload"]
    assert right[0] == 200 and ":assumed-role/basic/" in right[1], right
    assert right_too[0] == 200, right_too
    assert region[0] == 403 and "Credential should be scoped to" in region[1], region
    assert service[0] == 400 and "InvalidAction" in service[1], service


# A client that init made outlives the keys that it began with; `ended` is what is said of those then.
KEPT = """
import json, os, time, uuid
from urllib.error import HTTPError
from urllib.request import Request, urlopen
import boto3
from botocore.exceptions import ClientError
STS = boto3.client("sts")
INIT = str(uuid.uuid4())

def keys():
    return STS._request_signer._credentials.get_frozen_credentials()

def ask(token):
    request = Request(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"], headers={"Authorization": token})
    try:
        return sorted(json.load(urlopen(request)))
    except HTTPError as error:
        return error.code

def lambda_handler(event, context):
    out = {"init": INIT, "keys": [n for n in os.environ if "ACCESS_KEY" in n or "SESSION_TOKEN" in n]}
    if not out["keys"]:
        out["own"] = os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
        out["asked"] = [ask(out["own"]), ask(event.get("stolen", ""))]
    if event.get("outlive"):
        old = keys()
        out["before"] = STS.get_caller_identity()["Arn"]
        fixed = boto3.client("sts", aws_access_key_id=old.access_key, aws_secret_access_key=old.secret_key,
                             aws_session_token=old.token)
        while "ended" not in out:
            try:
                fixed.get_caller_identity()
                time.sleep(0.1)
            except ClientError as error:
                out["ended"] = error.response["Error"]["Code"]
        out["after"] = STS.get_caller_identity()["Arn"]
        out["new"] = keys().access_key != old.access_key
    return out
"""


def test_a_kept_client_outlives_its_credentials():
    with m.temporary_folder() as folder:
        short = Place(folder, MAYFLY_RENEWED_SESSION_SECONDS="4")
        if m.PYTHON in short.missing:
            pytest.skip(short.missing[m.PYTHON])
        snap_start = {"ApplyOn": "PublishedVersions"}
        one, other = (short.function(m.PYTHON, KEPT, SnapStart=snap_start) for _ in range(2))
        for function in one, other:
            short.client.publish_version(FunctionName=function.name)
        for function in one, other:
            waiter = short.client.get_waiter("published_version_active")
            waiter.wait(FunctionName=function.name, Qualifier="1")

        def fork(function, **event):
            reply = function.call(event, Qualifier="1")
            assert "FunctionError" not in reply and not reply["payload"]["keys"], (reply["payload"], reply["log"])
            return reply["payload"]

        first = fork(one)
        said = fork(one, outlive=True)
        assert said["init"] == first["init"], "init ran once, in the template"
        who = f"arn:aws:sts::123456789012:assumed-role/basic/{one.name}"
        assert (said["before"], said["ended"], said["after"], said["new"]) == (who, "ExpiredToken", who, True)
        own, stranger = fork(other, stolen=first["own"])["asked"]
        assert own == ["AccessKeyId", "Expiration", "SecretAccessKey", "Token"]
        assert stranger == 403, "one environment's token is nothing to another"
        assert short.server.stop() == 0


def test_what_sandboxes_trust_is_their_own(place):
    key, bundle = place.data / "authority.key", place.data / "ca-bundle.pem"
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600
    authority = bundle.read_text().rstrip().split("-----BEGIN CERTIFICATE-----")[-1]
    for path in ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem", "/etc/pki/tls/certs/ca-bundle.crt"]:
        if os.path.exists(path):
            assert authority.strip() not in pathlib.Path(path).read_text(), path
    code = """
import os
def lambda_handler(event, context):
    names = ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"]
    found = [open(path).read().rstrip().endswith(event) for path in
             ["/etc/ssl/ca-bundle.pem", "/etc/ssl/certs/ca-certificates.crt"] if os.path.exists(path)]
    return [[os.environ.get(name) for name in names], found]
"""
    ending = bundle.read_text().rstrip()[-200:]
    variables, found = place.function(m.PYTHON, code).call(ending)["payload"]
    assert variables == ["/etc/ssl/ca-bundle.pem"] * 4
    assert found == [True] * len(found) and found
    # What the user says counts.
    own = place.function(m.PYTHON, code, Environment={"Variables": {"AWS_CA_BUNDLE": "/var/task/mine.pem"}})
    assert own.call(ending)["payload"][0] == ["/var/task/mine.pem"] + ["/etc/ssl/ca-bundle.pem"] * 3


def test_a_function_s_own_copy_is_imported_first(place):
    if m.PYTHON in place.missing:
        pytest.skip(place.missing[m.PYTHON])
    name = m.name()
    files = {
        "boto3/__init__.py": "__version__ = 'mine'\n",
        "lambda_function.py": "import boto3, botocore\n"
        "def lambda_handler(event, context):\n    return [boto3.__version__, botocore.__file__]\n",
    }
    place.client.create_function(
        FunctionName=name, Runtime=m.PYTHON, Role=place.role, Handler="lambda_function.lambda_handler",
        Code={"ZipFile": m.zipped(files)},
    )  # fmt: skip
    place.client.get_waiter("function_active_v2").wait(FunctionName=name)
    version, botocore = Function(place.client, name).call({})["payload"]
    assert version == "mine" and botocore.startswith("/var/sdk/botocore/")


EARLY = """
import sys
EARLY = sorted({name.partition(".")[0] for name in sys.modules} & {"boto3", "botocore", "queue", "logging"})
import queue, random
import boto3, logging
RANDOM = random.random()

def lambda_handler(event, context):
    logging.getLogger("mine").error("told to the log")
    return [EARLY, boto3.__file__, queue.__file__, RANDOM]
"""


# A function's own module by a name that the SDK has loaded.
QUEUE = "from _queue import Empty, SimpleQueue\nFull = Queue = LifoQueue = PriorityQueue = SimpleQueue\n"


def test_an_interpreter_that_waits_has_the_sdk(place):
    """What has been loaded ahead is used, unless the function would have loaded something else by that name."""
    if m.PYTHON in place.missing:
        pytest.skip(place.missing[m.PYTHON])

    def cold(function):
        place.client.update_function_configuration(FunctionName=function.name, Description=m.name())
        place.client.get_waiter("function_updated_v2").wait(FunctionName=function.name)
        reply = function.call({})
        assert re.search(r"^\[ERROR\]\t\S+Z\t\S+\ttold to the log$", reply["log"], re.MULTILINE), reply["log"]
        return reply["payload"]

    function = place.function(m.PYTHON, EARLY)
    numbers = set()

    def early():
        said = cold(function)
        numbers.add(said[3])
        return said if "boto3" in said[0] else None

    early, boto3, queue, _ = m.until(early, "the SDK is there before the function asks")
    assert early == ["boto3", "botocore", "logging", "queue"]
    assert boto3.startswith("/var/sdk/boto3/") and not queue.startswith("/var/task")
    numbers.update(cold(function)[3] for _ in range(3))
    assert len(numbers) > 3, "forks draw the same random numbers"

    sdk = "/var/sdk/boto3/__init__.py"
    for files, variables, expected in [
        ({"queue.py": QUEUE}, {}, [sdk, "/var/task/queue.py"]),
        ({"boto3/__init__.py": ""}, {}, ["/var/task/boto3/__init__.py", queue]),
        ({"lib/boto3/__init__.py": ""}, {"PYTHONPATH": "/var/task/lib"}, ["/var/task/lib/boto3/__init__.py", queue]),
        ({}, {"BOTO_CONFIG": "mine"}, [sdk, queue]),
    ]:
        function = place.function(m.PYTHON, EARLY, files, Environment={"Variables": variables})
        for _ in range(3):
            early, *found, _ = cold(function)
            assert "boto3" not in early and found == expected


OWN_DESCRIPTIONS = """
import json, os, boto3

ORDINARY = boto3.session.Session().get_available_services()
OWN = {
    "metadata": {"apiVersion": "2020-01-01", "endpointPrefix": "mine", "protocol": "json", "serviceId": "Mine",
                 "signatureVersion": "v4", "jsonVersion": "1.1", "targetPrefix": "Mine"},
    "operations": {"Do": {"name": "Do", "http": {"method": "POST", "requestUri": "/"}}}, "shapes": {},
}

def lambda_handler(event, context):
    folder = "/tmp/models/mine/2020-01-01"
    os.makedirs(folder)
    with open(folder + "/service-2.json", "w") as file:
        json.dump(OWN, file)
    os.environ["AWS_DATA_PATH"] = "/tmp/models"
    session = boto3.session.Session()
    before = len(ORDINARY)
    clients = [session.client(name).meta.service_model.service_id for name in ("mine", "s3", "ec2")]
    return ["s3" in ORDINARY, "mine" in ORDINARY, len(session.get_available_services()) - before, clients]
"""


def test_descriptions_of_services_may_be_the_function_s_own(place):
    """An interpreter that waits has read those of the SDK already, for every session."""
    if m.PYTHON in place.missing:
        pytest.skip(place.missing[m.PYTHON])
    answer = place.function(m.PYTHON, OWN_DESCRIPTIONS).call({})["payload"]
    assert answer == [True, False, 1, ["Mine", "S3", "EC2"]]


def test_the_sdk_is_added_once_and_listed(place):
    if m.PYTHON in place.missing:
        pytest.skip(place.missing[m.PYTHON])
    again = m.run("runtime", "add-sdk", "--data", place.data, m.PYTHON)
    assert re.fullmatch(rf"{m.PYTHON}: boto3 [\d.]+ is there\n", again.stdout), again.stdout
    listed = m.run("runtime", "list", "--data", place.data).stdout
    assert re.search(rf"^{re.escape(m.PYTHON)} +python:\S+ +boto3 [\d.]+$", listed, re.MULTILINE), listed
    folder = place.data / "sdk" / m.PYTHON
    assert {entry.name for entry in folder.iterdir()} == {"current", "lock", os.readlink(folder / "current")}
    compiled = list((folder / "current" / "boto3" / "__pycache__").glob("session.*.pyc"))
    assert len(compiled) == 1


def test_without_an_index_it_says_so(tmp_path):
    env = {
        "PIP_INDEX_URL": f"http://127.0.0.1:{m.free_port()}/simple",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": os.devnull,
    }
    env["PIP_NO_CACHE_DIR"] = "1"
    failed = m.run("runtime", "add-sdk", "--data", tmp_path / "data", m.PYTHON, check=False, env=env)
    assert failed.returncode != 0
    assert re.search(r"pip does not reach its package index for boto3 [\d.]+\. Without", failed.stderr), failed.stderr
    assert not (tmp_path / "data/sdk" / m.PYTHON / "current").exists()


def test_what_is_no_python_has_no_sdk(tmp_path):
    data = ("--data", tmp_path / "data")
    for runtime, words in [
        ("provided.al2023", "provided.al2023 has no SDK: its functions bring their own"),
        ("python3.99", "Value python3.99 at 'runtime' failed to satisfy constraint"),
    ]:
        failed = m.run("runtime", "add-sdk", *data, runtime, check=False)
        assert failed.returncode != 0 and words in failed.stderr, failed.stderr
    assert subprocess.run([m.BINARY, "runtime", "add-sdk"], capture_output=True).returncode == 2


def test_without_it_the_log_says_how_to_add_it(function):
    late = function("import boto3")
    reply = late.call({})
    assert reply["payload"]["errorType"] == "ModuleNotFoundError"
    assert reply["payload"]["errorMessage"] == "No module named 'boto3'"
    assert f"mayfly runtime add-sdk {m.PYTHON}\n" in reply["log"]


def test_with_the_internet_open_aws_is_still_this_server(fresh):
    server = fresh("--internet")
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    client = server.client("lambda")
    client.create_function(
        FunctionName="bare", Runtime=m.PYTHON, Role=role, Handler="lambda_function.lambda_handler", Timeout=60,
        Code={"ZipFile": m.zipped({"lambda_function.py": BARE})},
    )  # fmt: skip
    client.get_waiter("function_active_v2").wait(FunctionName="bare")
    urls = ["https://sts.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15", "https://169.254.169.254/"]
    (status, text), (metadata, _) = json.loads(
        client.invoke(FunctionName="bare", Payload=json.dumps(urls))["Payload"].read()
    )
    assert (status, "MissingAuthenticationToken" in text, metadata) == (403, True, 0), text


ALARM = """
import boto3

s3 = boto3.client("s3")


def lambda_handler(event, context):
    bucket = event["bucket"] if "bucket" in event else event["Records"][0]["s3"]["bucket"]["name"]
    s3.put_object(Bucket=bucket, Key="alarm/" + context.aws_request_id, Body=b"WAKE UP")
    return s3.meta.endpoint_url
"""


def test_a_function_puts_into_a_bucket_once_it_may(place):
    if m.PYTHON in place.missing:
        pytest.skip(place.missing[m.PYTHON])
    s3 = place.server.client("s3")
    s3.create_bucket(Bucket="alarms")
    one = place.function(m.PYTHON, ALARM)
    event = {"message": "hello world", "bucket": "alarms"}
    failed = one.call(event)["payload"]
    assert "AccessDenied" in failed["errorMessage"]
    session = place.role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + f"/{one.name}"
    assert f"User: {session} is not authorized to perform: s3:PutObject on resource: " in failed["errorMessage"]
    assert "because no identity-based policy allows the s3:PutObject action" in failed["errorMessage"]
    policy = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": place.role},
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::alarms/*",
        },
    }
    s3.put_bucket_policy(Bucket="alarms", Policy=json.dumps(policy))
    assert "FunctionError" not in one.call(event)
    [alarm] = s3.list_objects_v2(Bucket="alarms")["Contents"]
    assert s3.get_object(Bucket="alarms", Key=alarm["Key"])["Body"].read() == b"WAKE UP"


def test_a_function_that_wakes_itself_is_stopped(place):
    if m.PYTHON in place.missing:
        pytest.skip(place.missing[m.PYTHON])
    s3, iam = place.server.client("s3"), place.server.client("iam")
    s3.create_bucket(Bucket="loops")
    one = place.function(m.PYTHON, ALARM)
    sink = place.function(
        m.PYTHON, "import json\n\n\ndef lambda_handler(event, _):\n    print('GOT', json.dumps(event))"
    )
    actions = ["s3:PutObject", "lambda:InvokeFunction"]
    policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": actions, "Resource": "*"}}
    iam.put_role_policy(RoleName="basic", PolicyName="put", PolicyDocument=json.dumps(policy))
    arn = place.client.get_function_configuration(FunctionName=one.name)["FunctionArn"]
    place.client.add_permission(
        FunctionName=one.name, StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com"
    )
    place.client.put_function_event_invoke_config(
        FunctionName=one.name,
        DestinationConfig={"OnFailure": {"Destination": arn.replace(one.name, sink.name)}},
    )
    told = {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(
        Bucket="loops", NotificationConfiguration={"LambdaFunctionConfigurations": [told]}
    )
    one.call({"bucket": "loops"})
    cloudwatch = place.server.client("cloudwatch")

    def stopped():
        names = cloudwatch.list_metrics(Namespace="AWS/Lambda", MetricName="RecursiveInvocationsDropped")["Metrics"]
        return any({"Name": "FunctionName", "Value": one.name} in metric["Dimensions"] for metric in names)

    m.until(stopped, "the loop is stopped")
    made = s3.list_objects_v2(Bucket="loops")
    assert 10 <= made["KeyCount"] <= 20, made["KeyCount"]
    logs = place.server.client("logs")

    def dropped():
        try:
            page = logs.filter_log_events(logGroupName=f"/aws/lambda/{sink.name}", filterPattern="GOT")
        except logs.exceptions.ResourceNotFoundException:
            return None
        return [json.loads(event["message"].removeprefix("GOT ")) for event in page["events"]]

    # The event that did not run goes where failed ones go.
    (record,) = m.until(dropped, "the event goes to the destination")
    assert record["requestContext"]["condition"] == "RecursiveInvocation"
    key = record["requestPayload"]["Records"][0]["s3"]["object"]["key"].replace("%2F", "/")
    assert key in [object["Key"] for object in made["Contents"]]
    now = datetime.datetime.now(datetime.timezone.utc)
    dimensions = [{"Name": "FunctionName", "Value": one.name}]
    counted = cloudwatch.get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName="RecursiveInvocationsDropped",
        Dimensions=dimensions,
        StartTime=now - datetime.timedelta(hours=1),
        EndTime=now + datetime.timedelta(minutes=2),
        Period=3600 * 2,
        Statistics=["Sum"],
    )["Datapoints"]
    assert sum(point["Sum"] for point in counted) == 1
    iam.delete_role_policy(RoleName="basic", PolicyName="put")


CLIENTS = """
import sys
EARLY = "boto3" in sys.modules
import boto3

def look(session, service):
    client = session.client(service)
    return [
        dir(client), sorted(client.meta.method_to_api_mapping.items()), client.meta.endpoint_url,
        sorted(client.exceptions.__dict__.get("_code_to_exception", {})), str(client.waiter_names),
        count(client.meta.events._emitter._handlers._root),
    ]

def count(node):
    return sum(map(len, node["values"] or ())) + sum(map(count, node["children"].values()))

def lambda_handler(event, context):
    own = boto3.session.Session()
    def add(class_attributes, base_classes, **_):
        class_attributes["mine"] = lambda self: "mine"
    own.events.register("creating-client-class.s3", add)
    return [EARLY, [look(boto3, service) for service in ("s3", "dynamodb", "sqs", "events")],
            own.client("s3").mine(), hasattr(boto3.client("s3"), "mine"),
            boto3.client("s3", region_name="eu-central-1", use_ssl=False).meta.endpoint_url,
            boto3.client("s3").generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"}).partition("?")[0]]
"""


def test_clients_of_what_is_kept_are_like_all_others(place):
    """What the SDK has come to ahead makes the same clients as it makes in a fresh interpreter."""
    if m.PYTHON in place.missing:
        pytest.skip(place.missing[m.PYTHON])

    def cold(function, wanted):
        def says():
            place.client.update_function_configuration(FunctionName=function.name, Description=m.name())
            place.client.get_waiter("function_updated_v2").wait(FunctionName=function.name)
            payload = function.call({})["payload"]
            assert isinstance(payload, list), payload
            return payload[1:] if payload[0] == wanted else None

        return m.until(says, f"an interpreter whose SDK was loaded ahead: {wanted}")

    kept = cold(place.function(m.PYTHON, CLIENTS), True)
    fresh = cold(place.function(m.PYTHON, CLIENTS, Environment={"Variables": {"BOTO_CONFIG": "none"}}), False)
    assert kept == fresh
    assert kept[1:3] == ["mine", False] and kept[0][0][-1] > 50
