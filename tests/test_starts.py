"""How environments start: provisioned concurrency and SnapStart."""

import base64
import datetime
import json
import re
import threading

import mayfly as m
from conftest import make_role

INIT_TYPE = """
import os
KIND = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]

def lambda_handler(event, context):
    import time
    time.sleep(event.get("sleep", 0))
    return [KIND, context.function_version]
"""


def published(one):
    version = one.client.publish_version(FunctionName=one.name)["Version"]
    one.client.get_waiter("published_version_active").wait(FunctionName=one.name, Qualifier=version)
    return version


def provision(client, name, qualifier, count):
    reply = client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=count
    )
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert (reply["Status"], reply["RequestedProvisionedConcurrentExecutions"]) == ("IN_PROGRESS", count)
    return settled(client, name, qualifier)


def settled(client, name, qualifier):
    """How an allocation ended."""

    def done():
        found = client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
        return found if found["Status"] != "IN_PROGRESS" else None

    return m.until(done, "the allocation is done")


def metric(cloudwatch, name, statistic, **dimensions):
    now = datetime.datetime.now(datetime.UTC)
    found = cloudwatch.get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=now - datetime.timedelta(hours=1),
        EndTime=now + datetime.timedelta(hours=1),
        Period=7200,
        Statistics=[statistic],
    )["Datapoints"]
    return sum(point[statistic] for point in found)


def test_provisioned_environments_are_used_first_and_spill_over(function, cloudwatch):
    one = function(m.zipped({"lambda_function.py": INIT_TYPE}))
    version = published(one)
    ready = provision(one.client, one.name, version, 1)
    assert ready["Status"] == "READY"
    assert ready["AllocatedProvisionedConcurrentExecutions"] == ready["AvailableProvisionedConcurrentExecutions"] == 1

    reply = one.call({}, Qualifier=version)
    assert reply["payload"] == ["provisioned-concurrency", version]
    assert "Init Duration" not in reply["log"]
    assert one.call({})["payload"] == ["on-demand", "$LATEST"]

    kinds = []
    call = lambda: kinds.append(one.call({"sleep": 2}, Qualifier=version)["payload"][0])  # noqa: E731
    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kinds) == ["on-demand", "provisioned-concurrency"]

    where = {"FunctionName": one.name, "Resource": f"{one.name}:{version}"}
    of = lambda name, statistic: metric(cloudwatch, name, statistic, **where)  # noqa: E731
    m.until(lambda: of("ProvisionedConcurrencyInvocations", "Sum") == 2, "invocations are counted")
    assert of("ProvisionedConcurrencySpilloverInvocations", "Sum") == 1
    assert of("ProvisionedConcurrencyUtilization", "Maximum") == 1
    assert of("ProvisionedConcurrentExecutions", "Maximum") == 1

    one.client.delete_provisioned_concurrency_config(FunctionName=one.name, Qualifier=version)
    with m.refused("ProvisionedConcurrencyConfigNotFoundException", status=404):
        one.client.get_provisioned_concurrency_config(FunctionName=one.name, Qualifier=version)
    assert one.call({}, Qualifier=version)["payload"][0] == "on-demand"


def test_an_init_that_fails_is_the_reason(function):
    one = function(m.zipped({"lambda_function.py": "raise RuntimeError('not today')"}))
    version = published(one)
    failed = provision(one.client, one.name, version, 1)
    assert (failed["Status"], failed["StatusReason"]) == ("FAILED", "FUNCTION_ERROR_INIT_FAILURE")
    assert failed["AllocatedProvisionedConcurrentExecutions"] == 0


def test_reserved_concurrency_that_is_all_provisioned(function):
    one = function(m.zipped({"lambda_function.py": INIT_TYPE}))
    version = published(one)
    one.client.put_function_concurrency(FunctionName=one.name, ReservedConcurrentExecutions=1)
    assert provision(one.client, one.name, version, 1)["Status"] == "READY"
    with m.refused("TooManyRequestsException", "Rate Exceeded.", 429):
        one.call({})
    assert one.call({}, Qualifier=version)["payload"][0] == "provisioned-concurrency"


def test_an_alias_and_a_kill(fresh):
    server = fresh()
    client = server.client("lambda")
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    client.create_function(
        FunctionName="kept",
        Runtime=m.PYTHON,
        Handler="lambda_function.lambda_handler",
        Role=role,
        Timeout=30,
        Code={"ZipFile": m.zipped({"lambda_function.py": INIT_TYPE})},
        Publish=True,
    )
    client.get_waiter("published_version_active").wait(FunctionName="kept", Qualifier="1")
    client.create_alias(FunctionName="kept", Name="live", FunctionVersion="1")
    assert provision(client, "kept", "live", 2)["Status"] == "READY"

    def payload():
        return json.loads(client.invoke(FunctionName="kept", Qualifier="live", Payload=b"{}")["Payload"].read())

    assert payload() == ["provisioned-concurrency", "1"]
    server.kill()
    server.start()
    assert settled(client, "kept", "live")["Status"] == "READY"
    assert payload() == ["provisioned-concurrency", "1"]

    client.update_function_code(
        FunctionName="kept", ZipFile=m.zipped({"lambda_function.py": INIT_TYPE + "\n"}), Publish=True
    )
    client.get_waiter("published_version_active").wait(FunctionName="kept", Qualifier="2")
    client.update_alias(FunctionName="kept", Name="live", FunctionVersion="2")
    assert settled(client, "kept", "live")["Status"] == "READY"
    assert payload() == ["provisioned-concurrency", "2"]
    listed = client.list_provisioned_concurrency_configs(FunctionName="kept")["ProvisionedConcurrencyConfigs"]
    assert [(c["FunctionArn"].split(":")[-1], c["Status"]) for c in listed] == [("live", "READY")]


SNAP_START = {"ApplyOn": "PublishedVersions"}
LONG_INIT = """
import os, time
time.sleep(float(os.environ["INIT"]))
KIND = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]

def lambda_handler(event, context):
    return [KIND, context.function_version, "AWS_LAMBDA_LOG_STREAM_NAME" in os.environ]
"""


def test_snap_start(function):
    one = function(
        m.zipped({"lambda_function.py": LONG_INIT}), SnapStart=SNAP_START, Environment={"Variables": {"INIT": "3"}}
    )
    config = one.client.get_function_configuration(FunctionName=one.name)
    assert config["SnapStart"] == {**SNAP_START, "OptimizationStatus": "Off"}

    version = one.client.publish_version(FunctionName=one.name)
    assert (version["State"], version["StateReasonCode"]) == ("Pending", "Creating")
    ready = "Lambda is initializing your function. It will be ready to invoke once your function state becomes ACTIVE."
    with m.refused("SnapStartNotReadyException", ready, 409):
        one.call({}, Qualifier="1")
    one.client.get_waiter("published_version_active").wait(FunctionName=one.name, Qualifier="1")
    config = one.client.get_function_configuration(FunctionName=one.name, Qualifier="1")
    assert config["SnapStart"] == {**SNAP_START, "OptimizationStatus": "On"}
    reply = one.call({}, Qualifier="1")
    assert reply["payload"] == ["snap-start", "1", False]
    assert "Init Duration" not in reply["log"], "init ran when the version was published"
    assert re.search(r"\tRestore Duration: [\d.]+ ms\tBilled Restore Duration: \d+ ms", reply["log"]), reply["log"]
    assert one.call({})["payload"] == ["on-demand", "$LATEST", True]

    with m.refused("InvalidParameterValueException", ".* is not supported for SnapStart enabled functions.", 400):
        one.client.put_provisioned_concurrency_config(
            FunctionName=one.name, Qualifier="1", ProvisionedConcurrentExecutions=1
        )
    one.client.update_function_configuration(FunctionName=one.name, SnapStart={"ApplyOn": "None"})
    one.client.get_waiter("function_updated_v2").wait(FunctionName=one.name)
    again = one.client.publish_version(FunctionName=one.name)
    assert (again["Version"], again["State"]) == ("2", "Active")


def test_a_version_whose_init_fails(function):
    one = function(m.zipped({"lambda_function.py": "raise RuntimeError('not today')"}), SnapStart=SNAP_START)
    one.client.publish_version(FunctionName=one.name)
    config = m.until(
        lambda: (
            (found := one.client.get_function_configuration(FunctionName=one.name, Qualifier="1"))["State"] != "Pending"
            and found
        ),
        "init has run",
    )
    assert (config["State"], config["StateReasonCode"]) == ("Failed", "FunctionError.RuntimeInitError")
    assert "not today" in config["StateReason"]
    with m.refused("ResourceConflictException", ".*state: Failed", 409):
        one.call({}, Qualifier="1")


def test_snap_start_is_refused_where_there_is_none(lambdas, role):
    def create(**settings):
        lambdas.create_function(
            FunctionName=m.name(),
            Role=role,
            Handler="lambda_function.lambda_handler",
            Code={"ZipFile": m.handler("return 1")},
            SnapStart=SNAP_START,
            **settings,
        )

    of = "{} is not supported for SnapStart enabled functions."
    with m.refused("InvalidParameterValueException", of.format("provided.al2023"), 400):
        create(Runtime="provided.al2023")
    with m.refused("InvalidParameterValueException", of.format("EphemeralStorage .*"), 400):
        create(Runtime=m.PYTHON, EphemeralStorage={"Size": 1024})


def test_a_kill_while_a_version_is_initialised(fresh):
    server = fresh()
    client = server.client("lambda")
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    client.create_function(
        FunctionName="snapped",
        Runtime=m.PYTHON,
        Handler="lambda_function.lambda_handler",
        Role=role,
        Timeout=30,
        Code={"ZipFile": m.zipped({"lambda_function.py": LONG_INIT})},
        SnapStart=SNAP_START,
        Environment={"Variables": {"INIT": "2"}},
    )
    client.get_waiter("function_active_v2").wait(FunctionName="snapped")
    assert client.publish_version(FunctionName="snapped")["State"] == "Pending"
    server.kill()
    server.start()
    client.get_waiter("published_version_active").wait(FunctionName="snapped", Qualifier="1")
    reply = client.invoke(FunctionName="snapped", Qualifier="1", Payload=b"{}")
    assert json.loads(reply["Payload"].read())[:2] == ["snap-start", "1"]


HOOKS = """
import os, random, uuid
from snapshot_restore_py import register_after_restore, register_before_snapshot
SEEN = ["init"]
MADE = str(uuid.uuid4())
open("/tmp/left", "w").write("by init")

@register_before_snapshot
def before():
    SEEN.append("before")

@register_after_restore
def after():
    SEEN.append("after")
    int(os.environ["RESTORE"])

def lambda_handler(event, context):
    import time
    time.sleep(event.get("sleep", 0))
    old = open("/tmp/left").read()
    open("/tmp/left", "a").write("!")
    return {"seen": SEEN, "made": MADE, "random": random.random(), "tmp": old, "token": os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")}
"""


def test_hooks_of_snap_start_and_what_restored_environments_share(function, server):
    one = function(
        m.zipped({"lambda_function.py": HOOKS}), SnapStart=SNAP_START, Environment={"Variables": {"RESTORE": "1"}}
    )
    version = published(one)
    assert one.call({})["payload"]["seen"] == ["init"], "hooks are for snapshots"

    replies = []
    call = lambda: replies.append(one.call({"sleep": 1}, Qualifier=version))  # noqa: E731
    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = (reply["payload"] for reply in replies)
    assert first["seen"] == second["seen"] == ["init", "before", "after"]
    assert first["made"] == second["made"], "init ran once"
    assert first["random"] != second["random"]
    assert first["tmp"] == second["tmp"] == "by init"
    assert first["token"] and second["token"] and first["token"] != second["token"]
    assert all("\tRestore Duration: " in reply["log"] for reply in replies)

    logs = server.client("logs")

    def lines(wanted):
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{one.name}", filterPattern=wanted)["events"]
        return [event["message"] for event in events]

    starts = m.until(lambda: len(found := lines("RESTORE_START")) == 2 and found, "both restores are logged")
    assert all(re.fullmatch(r"RESTORE_START Runtime Version: \S+\tRuntime Version ARN: arn:\S+\n?", s) for s in starts)
    assert all(re.fullmatch(r"RESTORE_REPORT Restore Duration: [\d.]+ ms\n?", s) for s in lines("RESTORE_REPORT"))
    assert len(lines("INIT_REPORT")) == 1


def test_a_hook_that_fails_after_the_restore(function):
    one = function(
        m.zipped({"lambda_function.py": HOOKS}), SnapStart=SNAP_START, Environment={"Variables": {"RESTORE": "no"}}
    )
    version = published(one)
    with m.refused("SnapStartException", "The afterRestore.. runtime hook encountered an error.*", 400):
        one.call({}, Qualifier=version)


def test_a_restored_function_has_the_variables_that_its_user_set(function):
    given = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/mine", "MINE": "1"}
    code = (
        f"import os\n\ndef lambda_handler(event, context):\n    return [os.environ[name] for name in {list(given)}]\n"
    )
    one = function(m.zipped({"lambda_function.py": code}), SnapStart=SNAP_START, Environment={"Variables": given})
    reply = one.call({}, Qualifier=published(one))
    assert "Restore Duration" in reply["log"]
    assert reply["payload"] == list(given.values())


MADE_ONCE = """
import os, uuid
MADE = str(uuid.uuid4())

def lambda_handler(event, context):
    import time
    time.sleep(event.get("sleep", 0))
    return [MADE, os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]]
"""


# A thread of a library that ends it before a fork (`pthread_atfork` calls this), as OpenBLAS does, and one that stays.
AT_FORK = """
import ctypes
import os
import threading

STOP = threading.Event()
thread = threading.Thread(target=STOP.wait, daemon=True)
thread.start()
PREPARE = ctypes.CFUNCTYPE(None)(lambda: (STOP.set(), thread.join()))
if os.environ["ENDS_IT"] == "yes":
    ctypes.CDLL(None).__register_atfork(PREPARE, None, None, None)

def lambda_handler(event, context):
    return len(os.listdir("/proc/self/task"))
"""


def test_threads_that_end_before_a_fork(function):
    for ends in ("yes", "no"):
        one = function(
            m.zipped({"lambda_function.py": AT_FORK}),
            SnapStart={"ApplyOn": "PublishedVersions"},
            Environment={"Variables": {"ENDS_IT": ends}},
        )
        reply = one.call({}, Qualifier=published(one))
        assert ("Restore Duration" in reply["log"]) == (ends == "yes"), reply["log"]
        assert reply["payload"] == (1 if ends == "yes" else 2)


def test_templates_end_at_once(fresh):
    server = fresh()
    client = server.client("lambda")
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    client.create_function(
        FunctionName="snapped",
        Runtime=m.PYTHON,
        Handler="lambda_function.lambda_handler",
        Role=role,
        Code={"ZipFile": m.zipped({"lambda_function.py": MADE_ONCE})},
        SnapStart=SNAP_START,
    )
    client.get_waiter("function_active_v2").wait(FunctionName="snapped")
    for number in ("1", "2"):
        client.update_function_code(
            FunctionName="snapped", ZipFile=m.zipped({"lambda_function.py": MADE_ONCE + f"# {number}\n"})
        )
        client.get_waiter("function_updated_v2").wait(FunctionName="snapped")
        assert client.publish_version(FunctionName="snapped")["Version"] == number
        client.get_waiter("published_version_active").wait(FunctionName="snapped", Qualifier=number)
    assert server.metric("templates") == 2
    client.delete_function(FunctionName="snapped", Qualifier="1")
    assert server.metric("templates") == 1
    client.delete_function(FunctionName="snapped")
    assert server.metric("templates") == 0


def test_a_template_without_snap_start(fresh):
    server = fresh()
    client = server.client("lambda")
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    made = {"Runtime": m.PYTHON, "Handler": "lambda_function.lambda_handler", "Role": role, "Timeout": 30}
    code = {"ZipFile": m.zipped({"lambda_function.py": MADE_ONCE})}
    with m.refused(
        "InvalidParameterValueException", "The value of the tag mayfly:template must be true or false.", 400
    ):
        client.create_function(FunctionName="asks", Code=code, Tags={"mayfly:template": "yes"}, **made)
    arn = client.create_function(FunctionName="asks", Code=code, Tags={"mayfly:template": "true"}, **made)[
        "FunctionArn"
    ]
    client.get_waiter("function_active_v2").wait(FunctionName="asks")

    def call(sleep=0):
        payload = json.dumps({"sleep": sleep}).encode()
        reply = client.invoke(FunctionName="asks", Payload=payload, LogType="Tail")
        return json.loads(reply["Payload"].read()), base64.b64decode(reply["LogResult"]).decode()

    # The first call asks for the template and does not wait for it.
    call()
    m.until(lambda: server.metric("templates") == 1, "the template is there")
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(call(1))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    restored = [made for (made, kind), log in replies if "\tRestore Duration: " in log]
    assert len(restored) >= 2 and len(set(restored)) == 1, replies
    assert {kind for (_, kind), _ in replies} == {"on-demand"}

    client.update_function_code(FunctionName="asks", ZipFile=m.zipped({"lambda_function.py": MADE_ONCE + "\n"}))
    client.get_waiter("function_updated_v2").wait(FunctionName="asks")
    m.until(lambda: server.metric("templates") == 0, "the old code's template is gone")
    call()
    m.until(lambda: server.metric("templates") == 1, "the new code's template is there")
    client.tag_resource(Resource=arn, Tags={"mayfly:template": "false"})
    assert server.metric("templates") == 0
