"""Asynchronous invocations: their configuration, their destinations, what a loop comes to, what a kill does to ten
thousand of them."""

import collections
import http.client
import json
import random
import re
import threading

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import mayfly as m
from conftest import make_role

ECHO = "print('got ' + __import__('json').dumps(event))"


def role_that_may(iam, *statements):
    """A role with AWS's basic execution policy and these statements."""
    name = m.name("role")
    arn = make_role(iam, name, m.BASIC_EXECUTION)
    if statements:
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_role_policy(RoleName=name, PolicyName="more", PolicyDocument=policy)
    return arn


def allow(action, resource="*"):
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def messages(logs, function, pattern):
    """What a function has printed after `got `, as JSON."""
    try:
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=f"/aws/lambda/{function.name}", filterPattern=pattern
        )
        return [json.loads(event["message"].removeprefix("got ")) for page in pages for event in page["events"]]
    except logs.exceptions.ResourceNotFoundException:
        return []


def arn_of(lambdas, function):
    return lambdas.get_function_configuration(FunctionName=function.name)["FunctionArn"]


def outbox_as(key, server, operation, request=None):
    """An operation of Mayfly's own, for which there is no client."""
    headers = {"X-Amz-Target": f"MayflyOutbox.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    body = json.dumps(request or {}).encode()
    status, _, reply = server.signed("POST", "/", body, "mayfly", headers, key=key)
    return status, json.loads(reply)


def outbox(server, operation, request=None):
    status, reply = outbox_as(None, server, operation, request)
    assert status == 200, reply
    return reply


def send(function, event, **options):
    reply = function.client.invoke(
        FunctionName=function.name, InvocationType="Event", Payload=json.dumps(event), **options
    )
    assert reply["StatusCode"] == 202
    return reply["ResponseMetadata"]["RequestId"]


def test_the_record_of_each_end_reaches_a_function(lambdas, iam, logs, function):
    sink = function(ECHO)
    role = role_that_may(iam, allow("lambda:InvokeFunction"))
    body = "if 'fail' in event:\n    raise ValueError('no luck')\nreturn {'sum': event['a'] + 1}"
    worker = function(body, Role=role)
    to_sink = {"Destination": arn_of(lambdas, sink)}
    put = lambdas.put_function_event_invoke_config(
        FunctionName=worker.name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnSuccess": to_sink, "OnFailure": to_sink},
    )
    assert put["FunctionArn"] == arn_of(lambdas, worker) + ":$LATEST"
    good, bad = send(worker, {"a": 1}), send(worker, {"fail": 1})
    m.until(lambda: len(messages(logs, sink, "got")) == 2, "both records have come")
    records = {record["requestContext"]["requestId"]: record for record in messages(logs, sink, "got")}
    success, failure = records[good], records[bad]
    assert list(success) == [
        "version",
        "timestamp",
        "requestContext",
        "requestPayload",
        "responseContext",
        "responsePayload",
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", success["timestamp"])
    assert success["requestContext"] == {
        "requestId": good,
        "functionArn": put["FunctionArn"],
        "condition": "Success",
        "approximateInvokeCount": 1,
    }
    assert (success["requestPayload"], success["responsePayload"]) == ({"a": 1}, {"sum": 2})
    assert success["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert failure["requestContext"]["condition"] == "RetriesExhausted"
    assert failure["responseContext"]["functionError"] == "Unhandled"
    assert failure["responsePayload"]["errorMessage"] == "no luck"


def test_a_destination_needs_the_role_when_it_is_configured_and_when_it_is_used(server, lambdas, iam, function):
    sink = function(ECHO)
    to_sink = {"OnSuccess": {"Destination": arn_of(lambdas, sink)}}
    worker = function("return 1")
    with m.refused(
        "InvalidParameterValueException",
        "The function's execution role does not have permissions to call InvokeFunction on .*",
    ):
        lambdas.put_function_event_invoke_config(FunctionName=worker.name, DestinationConfig=to_sink)
    role = role_that_may(iam, allow("lambda:InvokeFunction"))
    worker = function("return 1", Role=role)
    lambdas.put_function_event_invoke_config(FunctionName=worker.name, DestinationConfig=to_sink)
    iam.delete_role_policy(RoleName=role.rsplit("/", 1)[1], PolicyName="more")
    before = server.metric("deliveries_buried_total")
    send(worker, {})
    m.until(lambda: server.metric("deliveries_buried_total") == before + 1, "the record is set aside")
    assert "NO_PERMISSIONS" in server.log.read_text()


def test_events_that_may_not_run_end_at_once(lambdas, iam, logs, function):
    sink = function(ECHO)
    worker = function("return 1", Role=role_that_may(iam, allow("lambda:InvokeFunction")))
    to_sink = {"OnFailure": {"Destination": arn_of(lambdas, sink)}}
    lambdas.put_function_event_invoke_config(FunctionName=worker.name, DestinationConfig=to_sink)
    lambdas.put_function_concurrency(FunctionName=worker.name, ReservedConcurrentExecutions=0)
    send(worker, {"x": 1})
    (record,) = m.until(lambda: messages(logs, sink, "got"), "the record has come")
    assert record["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert record["requestPayload"] == {"x": 1}


def test_dead_letters_wait_in_the_outbox_for_the_queue(server, lambdas, iam, function, user):
    """Mayfly has no queues yet: what is sent to one stays visible until there are."""
    role = role_that_may(iam, allow("sqs:SendMessage"))
    queue = "arn:aws:sqs:us-east-1:123456789012:dlq"
    with m.refused(
        "InvalidParameterValueException",
        "The provided execution role does not have permissions to call SendMessage on SQS",
    ):
        function("return 1", DeadLetterConfig={"TargetArn": queue})
    worker = function("raise ValueError('x')", Role=role, DeadLetterConfig={"TargetArn": queue})
    configuration = lambdas.get_function_configuration(FunctionName=worker.name)
    assert configuration["DeadLetterConfig"] == {"TargetArn": queue}
    lambdas.put_function_event_invoke_config(FunctionName=worker.name, MaximumRetryAttempts=0)
    before = server.metric("deliveries_buried_total")
    send(worker, {})
    m.until(lambda: server.metric("deliveries_buried_total") == before + 1, "the letter is set aside")

    listed = [letter for letter in outbox(server, "ListUndelivered")["Deliveries"] if letter["To"] == queue]
    (letter,) = [letter for letter in listed if worker.name in letter["From"]]
    assert letter["Why"].startswith("NO_RESOURCE: ") and letter["PayloadBytes"] == 2
    # There is still nothing that takes it.
    assert outbox(server, "Redrive", {"Id": letter["Id"]}) == {"Sent": 1}
    m.until(lambda: server.metric("deliveries_buried_total") == before + 2, "the letter is set aside again")
    status, reply = outbox_as(user(), server, "ListUndelivered")
    assert (status, reply["__type"]) == (400, "AccessDeniedException")
    # The same by command.
    lines = m.run("outbox", "--data", server.data).stdout.splitlines()
    start = lines.index(letter["Id"])
    assert [line.split()[:2] for line in lines[start + 1 : start + 3]] == [["from", letter["From"]], ["to", queue]]
    assert "NO_RESOURCE: " in lines[start + 5]
    sent = m.run("outbox", "redrive", letter["Id"], "--data", server.data)
    assert sent.stdout == "sent again: 1\n"
    m.until(lambda: server.metric("deliveries_buried_total") == before + 3, "it is set aside once more")
    assert m.run("outbox", "redrive", "--to", queue, "--data", server.data).stdout == "sent again: 1\n"
    m.until(lambda: server.metric("deliveries_buried_total") == before + 4, "and again")
    missing = m.run("outbox", "redrive", "nobody", "--data", server.data, check=False)
    assert missing.returncode == 1 and "no delivery of this id" in missing.stderr
    for wrong in ([], ["--all", "one"]):
        assert m.run("outbox", "redrive", *wrong, "--data", server.data, check=False).returncode == 2


def test_the_outbox_is_listed_in_pages_and_for_its_account_alone(fresh):
    server = fresh("--dev")
    mine, other = ({"AccessKeyId": key, "SecretAccessKey": "test"} for key in ("111111111111", "222222222222"))
    for key in (mine, other):
        events = server.client("events", key=key)
        events.put_rule(Name="r", EventPattern='{"source": ["x"]}')
        # Nothing is called by a rule without a permission.
        account = key["AccessKeyId"]
        arns = [f"arn:aws:lambda:us-east-1:{account}:function:f{n}" for n in range(3)]
        events.put_targets(Rule="r", Targets=[{"Id": str(n), "Arn": arn} for n, arn in enumerate(arns)])
        entry = {"Source": "x", "DetailType": "t", "Detail": "{}"}
        events.put_events(Entries=[entry, entry])
    m.until(lambda: server.metric("deliveries_set_aside") == 12, "all are set aside")

    def listed(key, size):
        found, token = [], {}
        while True:
            status, reply = outbox_as(key, server, "ListUndelivered", {"MaxItems": size} | token)
            assert status == 200 and len(reply["Deliveries"]) <= size
            found += [(letter["To"], letter["Id"]) for letter in reply["Deliveries"]]
            if "NextToken" not in reply:
                return found
            token = {"NextToken": reply["NextToken"]}

    for key in (mine, other):
        whole = listed(key, 1000)
        assert len(whole) == 6 and all(f":{key['AccessKeyId']}:" in to for to, _ in whole)
        assert [listed(key, size) for size in (1, 2, 4)] == [whole] * 3
    assert outbox_as(mine, server, "ListUndelivered", {"NextToken": "x"})[0] == 400
    assert outbox_as(mine, server, "Redrive", {"Id": listed(other, 1)[0][1]}) == (200, {"Sent": 0})
    assert outbox_as(mine, server, "Redrive") == (200, {"Sent": 6})


def test_two_functions_that_cause_each_other_are_stopped(lambdas, iam, logs, function):
    role = role_that_may(iam, allow("lambda:InvokeFunction"))
    ping, pong = function(ECHO, Role=role), function(ECHO, Role=role)
    for one, other in ((ping, pong), (pong, ping)):
        lambdas.put_function_event_invoke_config(
            FunctionName=one.name, DestinationConfig={"OnSuccess": {"Destination": arn_of(lambdas, other)}}
        )
    assert lambdas.get_function_recursion_config(FunctionName=ping.name)["RecursiveLoop"] == "Terminate"
    # A record holds the one before; so that they stay small, the loop is short: both run sixteen times.
    send(ping, {})

    def passes(one):
        return len(messages(logs, one, "got"))

    m.until(lambda: passes(pong) == 16, "the loop has gone round")
    assert passes(ping) == 16


def test_settings_are_listed_for_each_qualifier(lambdas, function):
    worker = function("return 1")
    lambdas.publish_version(FunctionName=worker.name)
    lambdas.create_alias(FunctionName=worker.name, Name="live", FunctionVersion="1")
    with m.refused("ResourceNotFoundException", r"The function .*:\$LATEST doesn't have an EventInvokeConfig"):
        lambdas.get_function_event_invoke_config(FunctionName=worker.name)
    lambdas.put_function_event_invoke_config(FunctionName=worker.name, MaximumRetryAttempts=1)
    lambdas.put_function_event_invoke_config(FunctionName=worker.name, Qualifier="live", MaximumEventAgeInSeconds=90)
    lambdas.update_function_event_invoke_config(FunctionName=worker.name, Qualifier="live", MaximumRetryAttempts=0)
    pages = lambdas.get_paginator("list_function_event_invoke_configs").paginate(
        FunctionName=worker.name, PaginationConfig={"PageSize": 1}
    )
    found = {
        config["FunctionArn"].rsplit(":", 1)[1]: (
            config.get("MaximumRetryAttempts"),
            config.get("MaximumEventAgeInSeconds"),
        )
        for page in pages
        for config in page["FunctionEventInvokeConfigs"]
    }
    assert found == {"$LATEST": (1, None), "live": (0, 90)}
    lambdas.delete_function_event_invoke_config(FunctionName=worker.name, Qualifier="live")
    with m.refused("ResourceNotFoundException"):
        lambdas.get_function_event_invoke_config(FunctionName=worker.name, Qualifier="live")
    with m.refused("InvalidParameterValueException", "You must specify at least one of .*"):
        lambdas.put_function_event_invoke_config(FunctionName=worker.name)


class Sender:
    """Sends events over one connection, signed as botocore signs, and again until each is acknowledged."""

    def __init__(self, server, name):
        env = server.env()
        credentials = botocore.credentials.Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
        self.signer = botocore.auth.SigV4Auth(credentials, "lambda", env["AWS_REGION"])
        self.server, self.path = server, f"/2015-03-31/functions/{name}/invocations"
        self.connection = None

    def send(self, body):
        headers = {"X-Amz-Invocation-Type": "Event"}
        request = botocore.awsrequest.AWSRequest("POST", self.server.url + self.path, headers, body)
        self.signer.add_auth(request)
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=m.DEADLINE_S)
        try:
            self.connection.request("POST", self.path, body, dict(request.headers.items()))
            reply = self.connection.getresponse()
            body = reply.read()
            assert reply.status == 202, (reply.status, body)
            return True
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            return False


class Ran:
    """Which numbers a function has printed after `ran `, and how often; reads on from where it was."""

    def __init__(self, logs, function):
        self.logs, self.group = logs, f"/aws/lambda/{function}"
        self.seen, self.until_ms = {}, 0

    def numbers(self):
        # Lines come in batches, so one may be older than another that was there before it.
        start = max(0, self.until_ms - 20_000)
        pages = self.logs.get_paginator("filter_log_events").paginate(
            logGroupName=self.group, filterPattern="ran", startTime=start, PaginationConfig={"PageSize": 10_000}
        )
        for event in (event for page in pages for event in page["events"]):
            self.seen[event["eventId"]] = int(event["message"].split()[1])
            self.until_ms = max(self.until_ms, event["timestamp"])
        return collections.Counter(self.seen.values())


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("events, kills", [(10_000, 21)])
def test_kills_lose_no_event_that_was_accepted(fresh, events, kills, capsys):
    """Ten thousand events are accepted while the server is killed at random and started again; each runs."""
    server = fresh()
    client, logs = server.client("lambda"), server.client("logs")
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    client.create_function(
        FunctionName="sink",
        Runtime=m.PYTHON,
        Handler="lambda_function.lambda_handler",
        Role=role,
        Code={"ZipFile": m.handler("print(f'ran {event}')")},
    )
    client.get_waiter("function_active_v2").wait(FunctionName="sink")
    # More at once would only wait for the two cores.
    client.put_function_concurrency(FunctionName="sink", ReservedConcurrentExecutions=4)
    numbers, lock, alive = iter(range(events)), threading.Lock(), threading.Event()
    accepted, unanswered = [], []
    alive.set()

    def work():
        sender = Sender(server, "sink")
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            while not sender.send(str(number).encode()):
                unanswered.append(number)
                alive.wait()
            accepted.append(number)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    seed = random.randrange(2**32)
    for threshold in sorted(random.Random(seed).sample(range(events // 100, events), kills)):
        m.until(lambda: len(accepted) >= threshold, f"{threshold} are accepted (seed {seed})", 300)
        alive.clear()
        server.kill()
        server.start()
        alive.set()
    for thread in threads:
        thread.join()
    assert len(accepted) == events

    ran = Ran(logs, "sink")
    m.until(lambda: len(ran.numbers()) == events, f"all have run (seed {seed})", 600)
    repeats = sum(ran.numbers().values()) - events
    sent_again = len(unanswered)
    with capsys.disabled():
        print(
            f"\n{events} events, {kills} kills, none lost; {repeats} repeats, of which at most {sent_again} were sent "
            f"again for want of an answer"
        )
    # A kill repeats what ran or was sent at that moment, not more.
    assert repeats <= kills * 50


def test_a_rule_reacts_to_a_call_that_changes_something(server, lambdas, iam, logs, function):
    """CloudTrail's event of an API call, on the default bus; secrets are not in it."""
    sink = function(ECHO)
    events = server.client("events")
    rule = m.name("rule")
    pattern = {
        "source": ["aws.lambda"],
        "detail-type": ["AWS API Call via CloudTrail"],
        "detail": {"eventName": [{"prefix": "CreateFunction"}]},
    }
    arn = events.put_rule(Name=rule, EventPattern=json.dumps(pattern))["RuleArn"]
    events.put_targets(Rule=rule, Targets=[{"Id": "1", "Arn": arn_of(lambdas, sink)}])
    lambdas.add_permission(
        FunctionName=sink.name,
        StatementId="r",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=arn,
    )
    made = function("return 1", Environment={"Variables": {"SECRET": "not-for-the-trail"}}, Description="seen")
    (event,) = m.until(lambda: messages(logs, sink, "got"), "the call is told")
    detail = event["detail"]
    assert (event["source"], event["detail-type"]) == ("aws.lambda", "AWS API Call via CloudTrail")
    assert detail["eventName"] == "CreateFunction20150331"
    assert detail["eventSource"] == "lambda.amazonaws.com"
    assert detail["requestParameters"]["functionName"] == made.name
    assert detail["requestParameters"]["description"] == "seen"
    assert detail["responseElements"]["functionArn"] == arn_of(lambdas, made)
    assert detail["userIdentity"]["type"] == "Root"
    assert (detail["readOnly"], detail["eventType"], detail["managementEvent"]) == (False, "AwsApiCall", True)
    assert detail["recipientAccountId"] == event["account"]
    assert "not-for-the-trail" not in json.dumps(event) and "zipFile" not in json.dumps(event)
    events.remove_targets(Rule=rule, Ids=["1"])
    events.delete_rule(Name=rule)
