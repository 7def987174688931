"""CloudWatch Logs and metrics, as boto3 and the AWS CLI see them."""

import datetime
import json
import os
import shutil
import subprocess
import threading
import time

import pytest

import mayfly as m


def now_ms():
    return int(time.time() * 1000)


@pytest.fixture
def group(logs):
    name = f"/test/{m.name()}"
    logs.create_log_group(logGroupName=name)
    yield name
    logs.delete_log_group(logGroupName=name)


def put(logs, group, *messages, stream="s"):
    try:
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    except logs.exceptions.ResourceAlreadyExistsException:
        pass  # An earlier call made it.
    start = now_ms()
    events = [{"timestamp": start + n, "message": message} for n, message in enumerate(messages)]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def found(logs, group, pattern=""):
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, filterPattern=pattern)
    return [event["message"] for page in pages for event in page["events"]]


def test_filter_patterns(logs, group):
    put(logs, group, "ERROR disk full", "WARN disk slow", '{"level": "error", "code": 42}', "10.0.0.1 GET /pets 404")
    for pattern, expected in [
        ("", [0, 1, 2, 3]),
        ("disk", [0, 1]),
        ("ERROR disk", [0]),
        ("?ERROR ?WARN", [0, 1]),
        ("disk -ERROR", [1]),
        ('"disk slow"', [1]),
        ("{ $.code = 42 }", [2]),
        ('{ $.level = "err*" && $.code > 41 }', [2]),
        ("[ip, method = GET, path, status = 4*]", [3]),
        ("nothing", []),
    ]:
        messages = ["ERROR disk full", "WARN disk slow", '{"level": "error", "code": 42}', "10.0.0.1 GET /pets 404"]
        assert found(logs, group, pattern) == [messages[n] for n in expected], pattern
    with m.refused("InvalidParameterException", status=400):
        found(logs, group, "{ $.code = ")


def test_reading_a_stream_in_pages(logs, group):
    put(logs, group, *[f"line {n}" for n in range(10)])
    read, token = [], None
    while True:
        more = {"nextToken": token} if token else {}
        page = logs.get_log_events(logGroupName=group, logStreamName="s", startFromHead=True, limit=4, **more)
        read += [event["message"] for event in page["events"]]
        if page["nextForwardToken"] == token:
            break
        token = page["nextForwardToken"]
    assert read == [f"line {n}" for n in range(10)]
    back = logs.get_log_events(logGroupName=group, logStreamName="s", limit=3)
    assert [event["message"] for event in back["events"]] == ["line 7", "line 8", "line 9"], "the newest by default"


def test_groups_streams_retention_tags(logs, group):
    with m.refused("ResourceAlreadyExistsException", "The specified log group already exists", 400):
        logs.create_log_group(logGroupName=group)
    logs.put_retention_policy(logGroupName=group, retentionInDays=7)
    described = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]
    assert described["retentionInDays"] == 7
    with m.refused("InvalidParameterException|ValidationException", status=400):
        logs.put_retention_policy(logGroupName=group, retentionInDays=8)
    logs.delete_retention_policy(logGroupName=group)
    assert "retentionInDays" not in logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]
    arn = described["arn"].removesuffix(":*")
    logs.tag_resource(resourceArn=arn, tags={"team": "pets"})
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"team": "pets"}
    put(logs, group, "x", stream="b")
    put(logs, group, "x", stream="a")
    streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert [stream["logStreamName"] for stream in streams] == ["a", "b"]
    logs.delete_log_stream(logGroupName=group, logStreamName="a")
    with m.refused("ResourceNotFoundException", "The specified log stream does not exist.", 400):
        logs.get_log_events(logGroupName=group, logStreamName="a")
    with m.refused("ResourceNotFoundException", "The specified log group does not exist.", 400):
        logs.describe_log_streams(logGroupName="/never/made")


def test_events_that_are_too_old_or_out_of_order(logs, group):
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    day = 24 * 3600 * 1000
    reply = logs.put_log_events(
        logGroupName=group, logStreamName="s", logEvents=[{"timestamp": now_ms() - 20 * day, "message": "old"}]
    )
    assert "tooOldLogEventEndIndex" in reply["rejectedLogEventsInfo"]
    assert found(logs, group) == []
    unordered = [{"timestamp": now_ms(), "message": "b"}, {"timestamp": now_ms() - 1000, "message": "a"}]
    with m.refused(
        "InvalidParameterException", "Log events in a single PutLogEvents request must be in chronological order."
    ):
        logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=unordered)


def test_live_tail_shows_what_comes(server, logs, group):
    arn = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["arn"].removesuffix(":*")
    stream = server.client("logs").start_live_tail(logGroupIdentifiers=[arn])["responseStream"]
    events = iter(stream)
    assert "sessionStart" in next(events)
    put(logs, group, "while you watch")
    end = time.monotonic() + m.DEADLINE_S
    while time.monotonic() < end:
        update = next(events)["sessionUpdate"]
        if update["sessionResults"]:
            assert update["sessionResults"][0]["message"] == "while you watch"
            break
    else:
        pytest.fail("nothing came")
    stream.close()


def cli_v2():
    """An AWS CLI of version 2, which PyPI does not have and Debian does."""
    for folder in [*os.environ["PATH"].split(":"), "/usr/bin"]:
        path = shutil.which("aws", path=folder)
        said = path and subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        if said and said.startswith("aws-cli/2"):
            return path
    return None


def test_the_cli_follows(server, logs, group):
    if not (aws := cli_v2()):
        pytest.skip("no AWS CLI 2 here (apt-get install awscli); version 1 has no `logs tail`")
    put(logs, group, "before")
    # Versions before 2.13 do not read AWS_ENDPOINT_URL.
    tail = subprocess.Popen(
        [aws, "--endpoint-url", server.url, "logs", "tail", group, "--follow", "--format", "short"],
        env=m.clean_environment() | server.env() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        seen = []
        threading.Thread(target=lambda: [seen.append(line) for line in tail.stdout], daemon=True).start()
        m.until(lambda: any("before" in line for line in seen), "the CLI prints what was there")
        put(logs, group, "after")
        m.until(lambda: any("after" in line for line in seen), "the CLI prints what comes")
    finally:
        tail.terminate()
        tail.wait()


def hour():
    now = datetime.datetime.now(datetime.timezone.utc)
    return {"StartTime": now - datetime.timedelta(hours=1), "EndTime": now + datetime.timedelta(hours=1)}


def total(cloudwatch, metric, function, statistic="Sum", namespace="AWS/Lambda"):
    points = cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": "FunctionName", "Value": function.name}],
        Period=3600,
        Statistics=[statistic],
        **hour(),
    )["Datapoints"]
    return sum(point[statistic] for point in points)


def test_a_functions_metrics(function, cloudwatch):
    one = function("if event: raise ValueError\n")
    for event in ({}, {}, {"fail": True}):
        one.call(event)
    one.client.put_function_concurrency(FunctionName=one.name, ReservedConcurrentExecutions=0)
    with m.refused("TooManyRequestsException"):
        one.call({})
    m.until(lambda: total(cloudwatch, "Invocations", one) == 3, "three invocations are counted")
    m.until(lambda: total(cloudwatch, "Errors", one) == 1, "one error is counted")
    m.until(lambda: total(cloudwatch, "Throttles", one) == 1, "one throttle is counted")
    assert total(cloudwatch, "Duration", one, "Average") > 0
    assert total(cloudwatch, "ConcurrentExecutions", one, "Maximum") >= 1
    listed = cloudwatch.list_metrics(Namespace="AWS/Lambda", Dimensions=[{"Name": "FunctionName", "Value": one.name}])
    assert {"Invocations", "Errors", "Throttles", "Duration"} <= {metric["MetricName"] for metric in listed["Metrics"]}


def test_custom_metrics_math_and_percentiles(cloudwatch):
    space = m.name("Pets")
    data = [{"MetricName": "Weight", "Values": [float(n) for n in range(1, 101)]}]
    cloudwatch.put_metric_data(Namespace=space, MetricData=data)

    def query(identity, statistic):
        metric = {"Metric": {"Namespace": space, "MetricName": "Weight"}, "Period": 3600, "Stat": statistic}
        return {"Id": identity, "MetricStat": metric, "ReturnData": True}

    queries = [
        query("total", "Sum"),
        query("count", "SampleCount"),
        query("p90", "p90"),
        {"Id": "mean", "Expression": "total / count"},
    ]

    def values():
        results = cloudwatch.get_metric_data(MetricDataQueries=queries, **hour())["MetricDataResults"]
        return {r["Id"]: sum(r["Values"]) for r in results if r["Values"]}

    got = m.until(lambda: v if len(v := values()) == 4 else None, "the metric is there")
    assert (got["total"], got["count"], got["mean"]) == (5050, 100, 50.5)
    assert 88 <= got["p90"] <= 92
    with m.refused("InvalidParameterValue|InvalidParameterValueException|ValidationError|ValidationException"):
        cloudwatch.put_metric_data(Namespace="AWS/Lambda", MetricData=data)


def test_old_clients_speak_query_and_new_ones_cbor(server, cloudwatch):
    """boto3 speaks JSON to CloudWatch; the other two protocols by hand."""
    space = m.name("Wire")
    cloudwatch.put_metric_data(Namespace=space, MetricData=[{"MetricName": "M", "Value": 1}])
    form = f"Action=ListMetrics&Version=2010-08-01&Namespace={space}".encode()
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    m.until(
        lambda: b"<MetricName>M</MetricName>" in server.signed("POST", "/", form, "monitoring", headers)[2],
        "Query answers",
    )
    # {"Namespace": space} in CBOR.
    body = b"\xa1" + bytes([0x60 + 9]) + b"Namespace" + bytes([0x60 + len(space)]) + space.encode()
    headers = {"smithy-protocol": "rpc-v2-cbor", "content-type": "application/cbor", "accept": "application/cbor"}
    path = "/service/GraniteServiceVersion20100801/operation/ListMetrics"
    status, headers, reply = server.signed("POST", path, body, "monitoring", headers)
    assert status == 200, reply
    assert headers["smithy-protocol"] == "rpc-v2-cbor"
    assert b"MetricName" in reply


def test_a_chatty_function_does_not_slow_the_others(function):
    """Not a timing: both must simply get through, with every line kept."""
    chatty = function("for n in range(2000): print(f'line {n}')", Timeout=60)
    quiet = function("return 1")
    done = []
    thread = threading.Thread(target=lambda: done.append(chatty.call({})))
    thread.start()
    for _ in range(20):
        assert quiet.call({})["payload"] == 1
    thread.join()
    assert done[0]["payload"] is None and "FunctionError" not in done[0], json.dumps(done[0]["payload"])


def test_every_line_of_a_chatty_function_is_kept(function, logs):
    one = function("for n in range(2000): print(f'line {n};')", Timeout=60)
    one.call({})
    group = f"/aws/lambda/{one.name}"

    def count():
        try:
            return len(found(logs, group, '"line"'))
        except logs.exceptions.ResourceNotFoundException:
            return 0

    m.until(lambda: count() == 2000, "all two thousand lines are there")
