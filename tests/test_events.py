"""EventBridge: buses, rules, targets, events; driven by boto3 as a user would."""

import datetime
import json

import pytest

import mayfly as m
from conftest import make_role
from endpoint import Endpoint

EVENTS_TRUST = m.LAMBDA_TRUST.replace("lambda.amazonaws.com", "events.amazonaws.com")


@pytest.fixture(scope="session")
def events(server):
    return server.client("events")


@pytest.fixture(scope="session")
def account(sts):
    return sts.get_caller_identity()["Account"]


@pytest.fixture
def bus(events):
    """Makes buses, and deletes them with their rules after the test."""
    made = []

    def make(client=events, **settings):
        name = settings.pop("Name", m.name("bus"))
        arn = client.create_event_bus(Name=name, **settings)["EventBusArn"]
        made.append((client, name))
        return name, arn

    yield make
    for client, name in made:
        delete_rules(client, name)
        client.delete_event_bus(Name=name)


@pytest.fixture
def rule(events):
    """Makes rules of the default bus, and deletes them after the test."""
    made = []

    def make(pattern=None, client=events, **settings):
        name = settings.pop("Name", m.name("rule"))
        if pattern is not None:
            settings["EventPattern"] = json.dumps(pattern)
        arn = client.put_rule(Name=name, **settings)["RuleArn"]
        made.append((client, name, settings.get("EventBusName", "default")))
        return name, arn

    yield make
    for client, name, bus in made:
        delete_rule(client, name, bus)


def delete_rules(client, bus):
    try:
        rules = client.list_rules(EventBusName=bus)["Rules"]
    except client.exceptions.ResourceNotFoundException:
        return  # The test deleted it.
    for rule in rules:
        delete_rule(client, rule["Name"], bus)


def delete_rule(client, name, bus):
    try:
        targets = client.list_targets_by_rule(Rule=name, EventBusName=bus)["Targets"]
    except client.exceptions.ResourceNotFoundException:
        return
    if targets:
        client.remove_targets(Rule=name, EventBusName=bus, Ids=[target["Id"] for target in targets])
    client.delete_rule(Name=name, EventBusName=bus)


def entry(source, detail=None, **members):
    return {"Source": source, "DetailType": "test", "Detail": json.dumps(detail or {}), **members}


def put(client, *entries):
    reply = client.put_events(Entries=list(entries))
    assert reply["FailedEntryCount"] == 0, reply
    return [entry["EventId"] for entry in reply["Entries"]]


class Witness:
    """A function that prints the events it gets, each on one line."""

    def __init__(self, server, function):
        self.function = function("import json\nprint('got ' + json.dumps(event))\nreturn None")
        self.lambdas = self.function.client
        self.logs = server.client("logs")
        self.name = self.function.name

    @property
    def arn(self):
        return self.lambdas.get_function_configuration(FunctionName=self.name)["FunctionArn"]

    def allow(self, source_arn, statement=None):
        self.lambdas.add_permission(
            FunctionName=self.name,
            StatementId=statement or m.name("s"),
            Action="lambda:InvokeFunction",
            Principal="events.amazonaws.com",
            SourceArn=source_arn,
        )

    def events(self):
        try:
            pages = self.logs.get_paginator("filter_log_events").paginate(
                logGroupName=f"/aws/lambda/{self.name}", filterPattern='"got "'
            )
            lines = [event["message"] for page in pages for event in page["events"]]
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        return [json.loads(line.removeprefix("got ")) for line in lines]

    def wait(self, count=1):
        m.until(lambda: len(self.events()) >= count, f"{count} events at {self.name}")
        return self.events()


@pytest.fixture
def witness(server, function):
    return lambda: Witness(server, function)


# Rules by the clock.


def test_a_scheduled_rule_calls_with_its_input(server, events, rule, witness):
    seen = witness()
    name, arn = rule(ScheduleExpression="cron(0 6 ? * MON-FRI *)")
    seen.allow(arn)
    target = {"Id": "1", "Arn": seen.arn, "Input": '{"message":"WAKE UP"}'}
    assert events.put_targets(Rule=name, Targets=[target])["FailedEntryCount"] == 0
    assert events.describe_rule(Name=name)["ScheduleExpression"] == "cron(0 6 ? * MON-FRI *)"
    fired = m.run("fire", "--data", server.data, name)
    assert fired.stdout == f"{arn} fired, targets: 1\n"
    assert seen.wait() == [{"message": "WAKE UP"}]
    for metric_name in ("TriggeredRules", "Invocations"):
        m.until(lambda metric_name=metric_name: metric(server, metric_name, name) == 1, metric_name)
    shown = m.run("fire", "--data", server.data, "--next", name).stdout.splitlines()
    assert len(shown) == 10 and all(line.endswith(" 06:00:00 +00:00") for line in shown)
    assert not any(line.startswith(("Sat", "Sun")) for line in shown)


def test_a_scheduled_rule_sends_in_a_role_and_says_what_failed(server, events, bus, rule, witness, iam):
    """There are no queues yet, so that the letter to one cannot be sent either: both failures are counted and logged."""
    seen, there = witness(), bus()
    name, arn = rule({"source": ["aws.events"]}, EventBusName=there[0])
    seen.allow(arn)
    events.put_targets(Rule=name, EventBusName=there[0], Targets=[{"Id": "1", "Arn": seen.arn}])
    role = m.name("role")
    role_arn = make_role(iam, role, trust=EVENTS_TRUST)
    queue = f"arn:aws:sqs:us-east-1:123456789012:{m.name('letters')}"
    here, here_arn = rule(ScheduleExpression="rate(1 day)")
    target = {"Id": "1", "Arn": there[1], "RoleArn": role_arn, "DeadLetterConfig": {"Arn": queue}}
    events.put_targets(Rule=here, Targets=[target])
    assert events.list_targets_by_rule(Rule=here)["Targets"] == [target]
    m.run("fire", "--data", server.data, here)
    for metric_name in ("FailedInvocations", "InvocationsFailedToBeSentToDlq"):
        m.until(lambda metric_name=metric_name: metric(server, metric_name, here) == 1, metric_name)
    assert metric(server, "Invocations", here) == 1 and metric(server, "InvocationsSentToDlq", here) == 0
    lines = [line for line in server.log.read_text().splitlines() if here in line]
    assert any("NO_PERMISSIONS" in line and there[1] in line for line in lines)
    assert any("NO_RESOURCE" in line and queue in line for line in lines)
    statement = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": there[1]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=role, PolicyName="put", PolicyDocument=policy)
    m.run("fire", "--data", server.data, here)
    (event,) = seen.wait()
    assert (event["detail-type"], event["resources"]) == ("Scheduled Event", [here_arn])


def test_a_name_to_fire_means_one_thing(server, events, rule, function, iam):
    role = make_role(iam, m.name("role"), trust=EVENTS_TRUST.replace("events.", "scheduler."))
    by_pattern, _ = rule({"source": ["x"]})
    refused = m.run("fire", "--data", server.data, by_pattern, check=False)
    assert refused.returncode == 1 and "has no ScheduleExpression" in refused.stderr
    name, arn = rule(ScheduleExpression="rate(1 day)", State="DISABLED")
    scheduler = server.client("scheduler")
    made = scheduler.create_schedule(
        Name=name,
        ScheduleExpression="cron(0 6 * * ? 2199)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": Witness(server, function).arn, "RoleArn": role},
    )["ScheduleArn"]
    refused = m.run("fire", "--data", server.data, name, check=False)
    assert refused.returncode == 1 and arn in refused.stderr and made in refused.stderr
    assert "targets: 1" in m.run("fire", "--data", server.data, made).stdout
    nothing = m.run("fire", "--data", server.data, arn, check=False)
    assert nothing.returncode == 1 and "no targets" in nothing.stderr
    scheduler.delete_schedule(Name=name)


# Buses.


def test_a_bus_lives_and_dies(events, bus):
    name, arn = bus(Description="orders", Tags=[{"Key": "team", "Value": "shop"}])
    assert arn.endswith(f":event-bus/{name}")
    found = events.describe_event_bus(Name=name)
    assert (found["Name"], found["Arn"], found["Description"]) == (name, arn, "orders")
    assert events.describe_event_bus(Name=arn)["Name"] == name
    assert [b["Name"] for b in events.list_event_buses(NamePrefix=name)["EventBuses"]] == [name]
    assert events.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "shop"}]
    assert events.update_event_bus(Name=name, Description="all orders")["Description"] == "all orders"
    assert events.describe_event_bus(Name=name)["Description"] == "all orders"
    with m.refused("ResourceAlreadyExistsException", f"Event bus {name} already exists."):
        events.create_event_bus(Name=name)
    events.delete_event_bus(Name=name)
    with m.refused("ResourceNotFoundException", f"Event bus {name} does not exist.", 400):
        events.describe_event_bus(Name=name)
    events.delete_event_bus(Name=name)  # As good as deleted.


def test_the_default_bus_is_always_there(events, account):
    found = events.describe_event_bus()
    assert found["Name"] == "default"
    assert found["Arn"] == f"arn:aws:events:us-east-1:{account}:event-bus/default"
    assert "default" in [bus["Name"] for bus in events.list_event_buses()["EventBuses"]]
    with m.refused("ValidationException", "Cannot delete event bus default."):
        events.delete_event_bus(Name="default")


def test_a_bus_with_rules_is_not_deleted(events, bus, rule):
    name, _ = bus()
    rule({"source": ["x"]}, EventBusName=name)
    with m.refused("ValidationException", "EventBus can't be deleted since it has rules."):
        events.delete_event_bus(Name=name)


def test_lists_come_in_pages(events, bus, rule):
    name, _ = bus()
    names = sorted(rule({"source": ["x"]}, EventBusName=name)[0] for _ in range(5))
    first = events.list_rules(EventBusName=name, Limit=3)
    second = events.list_rules(EventBusName=name, Limit=3, NextToken=first["NextToken"])
    assert [rule["Name"] for rule in first["Rules"] + second["Rules"]] == names
    assert "NextToken" not in second
    with m.refused("ValidationException"):
        events.list_rules(EventBusName=name, NextToken="nonsense")


# Rules and targets.


def test_a_rule_is_replaced_but_its_tags_and_targets_stay(events, rule, witness, account):
    name, arn = rule({"source": ["one"]}, Description="first", Tags=[{"Key": "a", "Value": "1"}])
    assert arn == f"arn:aws:events:us-east-1:{account}:rule/{name}"
    target = {"Id": "1", "Arn": f"arn:aws:lambda:us-east-1:{account}:function:f"}
    events.put_targets(Rule=name, Targets=[target])
    events.put_rule(Name=name, EventPattern='{"source": ["two"]}', Tags=[{"Key": "b", "Value": "2"}])
    found = events.describe_rule(Name=name)
    assert found["EventPattern"] == '{"source": ["two"]}'
    assert "Description" not in found
    assert (found["State"], found["EventBusName"], found["CreatedBy"]) == ("ENABLED", "default", account)
    assert events.list_targets_by_rule(Rule=name)["Targets"] == [target]
    assert events.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "a", "Value": "1"}]
    events.tag_resource(ResourceARN=arn, Tags=[{"Key": "b", "Value": "2"}])
    events.untag_resource(ResourceARN=arn, TagKeys=["a"])
    assert events.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert name in events.list_rule_names_by_target(TargetArn=target["Arn"])["RuleNames"]
    with m.refused("ValidationException", "Rule can't be deleted since it has targets."):
        events.delete_rule(Name=name)
    events.remove_targets(Rule=name, Ids=["1", "unknown"])
    events.delete_rule(Name=name)
    with m.refused("ResourceNotFoundException", f"Rule {name} does not exist on EventBus default."):
        events.describe_rule(Name=name)


def test_targets_come_out_as_they_went_in(events, rule, account):
    name, _ = rule({"source": ["x"]})
    arn = f"arn:aws:lambda:us-east-1:{account}:function:f"
    queue = f"arn:aws:sqs:us-east-1:{account}:dead"
    targets = [
        {"Id": "a", "Arn": arn, "Input": '{"k": 1}'},
        {"Id": "b", "Arn": arn, "InputPath": "$.detail"},
        {
            "Id": "c",
            "Arn": arn,
            "InputTransformer": {"InputPathsMap": {"s": "$.source"}, "InputTemplate": '{"from": <s>}'},
        },
        {
            "Id": "d",
            "Arn": arn,
            "DeadLetterConfig": {"Arn": queue},
            "RetryPolicy": {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 120},
        },
    ]
    assert events.put_targets(Rule=name, Targets=targets)["FailedEntryCount"] == 0
    assert events.list_targets_by_rule(Rule=name)["Targets"] == targets


INVALID_RULES = [
    ({}, "ValidationException", r"Parameter\(s\) EventPattern or ScheduleExpression must be specified\."),
    ({"EventPattern": "nonsense"}, "InvalidEventPatternException", r"Event pattern is not valid\. Reason: .*"),
    ({"EventPattern": "[]"}, "InvalidEventPatternException", r"Event pattern is not valid\. Reason: .*"),
    ({"EventPattern": '{"source": "x"}'}, "InvalidEventPatternException", r"Event pattern is not valid\. Reason: .*"),
    (
        {"ScheduleExpression": "cron(0 6 * * MON-FRI *)"},
        "ValidationException",
        r"Parameter ScheduleExpression is not valid\. .*cron\(0 6 \? \* MON-FRI \*\).*",
    ),
    (
        {"ScheduleExpression": "rate(1 minutes)"},
        "ValidationException",
        r"Parameter ScheduleExpression is not valid\. .*",
    ),
    ({"ScheduleExpression": "daily"}, "ValidationException", r"Parameter ScheduleExpression is not valid\. .*"),
    (
        {"EventPattern": "{}", "State": "SOMETIMES"},
        "ValidationException",
        r".*Value 'SOMETIMES' at 'state' failed to satisfy constraint: Member must satisfy enum value set: .*",
    ),
    (
        {"EventPattern": '{"a": ["b"]}', "EventBusName": "nowhere"},
        "ResourceNotFoundException",
        r"Event bus nowhere does not exist\.",
    ),
]


@pytest.mark.parametrize("settings, code, message", INVALID_RULES, ids=lambda value: str(value)[:40])
def test_invalid_rules_are_refused(events, settings, code, message):
    name = m.name("rule")
    with m.refused(code, message, 400):
        events.put_rule(Name=name, **settings)
    with m.refused("ResourceNotFoundException"):
        events.describe_rule(Name=name)


def test_schedules_are_for_the_default_bus(events, bus):
    name, _ = bus()
    with m.refused("ValidationException", "ScheduleExpression is supported only on the default event bus."):
        events.put_rule(Name="r", ScheduleExpression="rate(5 minutes)", EventBusName=name)


F = "arn:aws:lambda:us-east-1:123456789012:function:f"
INVALID_TARGETS = [
    ({"Id": "!@#", "Arn": F}, r".*Value '!@#' at 'targets\.1\.member\.id' failed to satisfy constraint: .*pattern: .*"),
    ({"Id": "x" * 65, "Arn": F}, r".*at 'targets\.1\.member\.id' .*length less than or equal to 64"),
    ({"Id": "1", "Arn": "f"}, r"Parameter f is not valid\. Reason: Provided Arn is not in correct format\."),
    ({"Id": "1", "Arn": "arn:aws:ecs:us-east-1:123456789012:cluster/c"}, r"This kind of target is not supported .*"),
    (
        {"Id": "1", "Arn": F, "Input": "{}", "InputPath": "$.detail"},
        r"Only one of Input, InputPath, or InputTransformer must be provided for target 1\.",
    ),
    ({"Id": "1", "Arn": F, "Input": "{not json"}, r"JSON syntax error in input for target 1.*"),
    ({"Id": "1", "Arn": F, "InputPath": "detail"}, r"InputPath for target 1 is not a valid JSON path.*"),
    (
        {"Id": "1", "Arn": F, "InputTransformer": {"InputPathsMap": {}, "InputTemplate": "<gone>"}},
        r"InputTemplate for target 1 contains invalid placeholder gone\.",
    ),
    ({"Id": "1", "Arn": F, "RetryPolicy": {"MaximumRetryAttempts": 186}}, r".*less than or equal to 185"),
    ({"Id": "1", "Arn": F, "RetryPolicy": {"MaximumEventAgeInSeconds": 86_401}}, r".*less than or equal to 86400"),
    ({"Id": "1", "Arn": F, "DeadLetterConfig": {"Arn": F}}, r"Parameter .* is not valid\. .*"),
    (
        {"Id": "1", "Arn": "arn:aws:events:us-east-1:123456789012:event-bus/b"},
        r"RoleArn is required for target arn:aws:events:us-east-1:123456789012:event-bus/b\.",
    ),
    ({"Id": "1", "Arn": F, "KinesisParameters": {"PartitionKeyPath": "$.id"}}, r"KinesisParameters is not .*"),
    ({"Id": "1", "Arn": F.replace("us-east-1", "eu-west-1")}, r"Target .* is in another region than its rule\."),
]


@pytest.mark.parametrize("target, message", INVALID_TARGETS, ids=lambda value: str(value)[:50])
def test_invalid_targets_are_refused(events, rule, target, message):
    name, _ = rule({"source": ["x"]})
    with m.refused("ValidationException", message, 400):
        events.put_targets(Rule=name, Targets=[target])
    assert events.list_targets_by_rule(Rule=name)["Targets"] == []


def test_a_rule_has_five_targets(events, rule):
    name, _ = rule({"source": ["x"]})
    with m.refused("LimitExceededException", "The requested resource exceeds the maximum number allowed."):
        events.put_targets(Rule=name, Targets=[{"Id": str(n), "Arn": F} for n in range(6)])
    events.put_targets(Rule=name, Targets=[{"Id": str(n), "Arn": F} for n in range(5)])
    with m.refused("LimitExceededException"):
        events.put_targets(Rule=name, Targets=[{"Id": "5", "Arn": F}])
    with m.refused("ResourceNotFoundException", "Rule gone does not exist on EventBus default."):
        events.put_targets(Rule="gone", Targets=[{"Id": "5", "Arn": F}])


# Events.


def test_an_event_reaches_a_function(events, rule, witness, account):
    seen = witness()
    source = m.name("source")
    name, arn = rule({"source": [source], "detail": {"kind": ["a"]}})
    seen.allow(arn)
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": seen.arn}])
    ids = put(
        events,
        entry(source, {"kind": "b"}),
        entry(source, {"kind": "a", "n": 1.50}, Resources=["arn:aws:s3:::b"], Time=1_700_000_000),
        entry(m.name("other"), {"kind": "a"}),
    )
    (event,) = seen.wait()
    assert event == {
        "version": "0",
        "id": ids[1],
        "detail-type": "test",
        "source": source,
        "account": account,
        "time": "2023-11-14T22:13:20Z",
        "region": "us-east-1",
        "resources": ["arn:aws:s3:::b"],
        "detail": {"kind": "a", "n": 1.50},
    }
    put(events, entry(source, {"kind": "a"}))
    assert len(seen.wait(2)) == 2


def test_targets_receive_what_their_input_makes_of_the_event(events, rule, witness):
    seen = witness()
    source = m.name("source")
    name, arn = rule({"source": [source]})
    seen.allow(arn)
    paths = {"n": "$.detail.n", "list": "$.detail.list"}
    template = '{"n": <n>, "text": "n is <n>", "list": <list>, "rule": "<aws.events.rule-name>"}'
    events.put_targets(
        Rule=name,
        Targets=[
            {"Id": "constant", "Arn": seen.arn, "Input": '{"message": "WAKE UP"}'},
            {"Id": "path", "Arn": seen.arn, "InputPath": "$.detail"},
            {
                "Id": "made",
                "Arn": seen.arn,
                "InputTransformer": {"InputPathsMap": paths, "InputTemplate": template},
            },
        ],
    )
    put(events, entry(source, {"n": 7, "list": [1, "two"]}))
    got = sorted(json.dumps(event, sort_keys=True) for event in seen.wait(3))
    expected = [
        {"message": "WAKE UP"},
        {"n": 7, "list": [1, "two"]},
        {"n": 7, "text": "n is 7", "list": [1, "two"], "rule": name},
    ]
    assert got == sorted(json.dumps(event, sort_keys=True) for event in expected)


def test_disabled_rules_do_not_fire(server, events, rule, witness):
    seen = witness()
    source = m.name("source")
    name, arn = rule({"source": [source]}, State="DISABLED")
    beside, _ = rule({"source": [source]})
    seen.allow(arn)
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": seen.arn}])

    def matched(count):
        """Events are matched behind the answer, against all rules at once."""
        m.until(lambda: metric(server, "MatchedEvents", beside) == count, f"{count} events were matched")

    put(events, entry(source, {"n": 1}))
    matched(1)
    events.enable_rule(Name=name)
    put(events, entry(source, {"n": 2}))
    assert [event["detail"]["n"] for event in seen.wait()] == [2]
    events.disable_rule(Name=name)
    assert events.describe_rule(Name=name)["State"] == "DISABLED"
    put(events, entry(source, {"n": 3}))
    matched(3)
    events.enable_rule(Name=name)
    put(events, entry(source, {"n": 4}))
    assert [event["detail"]["n"] for event in seen.wait(2)] == [2, 4]
    with m.refused("ResourceNotFoundException", "Rule gone does not exist on EventBus default."):
        events.enable_rule(Name="gone")


ENTRIES = [
    ({"Source": None}, "InvalidArgument", "Parameter Source is not valid. Reason: Source is a required argument."),
    (
        {"DetailType": None},
        "InvalidArgument",
        "Parameter DetailType is not valid. Reason: DetailType is a required argument.",
    ),
    ({"Detail": None}, "InvalidArgument", "Parameter Detail is not valid. Reason: Detail is a required argument."),
    ({"Detail": "text"}, "MalformedDetail", "Detail is malformed."),
    ({"Detail": '"text"'}, "MalformedDetail", "Detail is malformed."),
    ({"Detail": "[]"}, "MalformedDetail", "Detail is malformed."),
    ({"Detail": '{"a":'}, "MalformedDetail", "Detail is malformed."),
    ({"Detail": '{"a":' * 1001 + "1" + "}" * 1001}, "MalformedDetail", "Detail is malformed."),
    ({"Source": "aws.s3"}, "NotAuthorizedForSourceException", "Not authorized for the source."),
]


@pytest.mark.parametrize("change, code, message", ENTRIES, ids=lambda value: str(value)[:40])
def test_each_entry_is_taken_or_refused_for_itself(events, change, code, message):
    bad = {key: value for key, value in (entry("x") | change).items() if value is not None}
    reply = events.put_events(Entries=[entry("x"), bad, entry("x")])
    assert reply["FailedEntryCount"] == 1
    assert reply["Entries"][1] == {"ErrorCode": code, "ErrorMessage": message}
    assert len({entry["EventId"] for entry in (reply["Entries"][0], reply["Entries"][2])}) == 2


def test_requests_have_limits(events):
    with m.refused("ValidationException", r".*at 'entries' failed to satisfy constraint: .*less than or equal to 10"):
        events.put_events(Entries=[entry("x")] * 11)
    half = json.dumps({"a": "x" * 600_000})
    assert events.put_events(Entries=[entry("x") | {"Detail": half}])["FailedEntryCount"] == 0
    with m.refused("ValidationException", "Total size of the entries in the request is over the limit."):
        events.put_events(Entries=[entry("x") | {"Detail": half}] * 2)
    # A bus that is not there takes everything, as on AWS.
    put(events, entry("x", EventBusName="nowhere"))


# Who may.


def test_iam_decides_for_each_bus_and_source(server, events, bus, user, account):
    name, arn = bus()
    allow = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": arn}
    allow["Condition"] = {"StringEquals": {"events:source": "mine"}}
    client = server.client("events", user(allow))
    put(client, entry("mine", EventBusName=name), entry("mine", EventBusName=arn))
    denied = r".* is not authorized to perform: events:PutEvents on resource: {}.*"
    with m.refused("AccessDeniedException", denied.format(arn)):
        client.put_events(Entries=[entry("mine", EventBusName=name), entry("other", EventBusName=name)])
    with m.refused("AccessDeniedException", denied.format(f"arn:aws:events:us-east-1:{account}:event-bus/default")):
        client.put_events(Entries=[entry("mine")])
    with m.refused("AccessDeniedException", r".*events:PutRule on resource: .*:rule/r .*"):
        client.put_rule(Name="r", EventPattern='{"source": ["x"]}')
    with m.refused("AccessDeniedException"):
        client.list_event_buses()


def test_roles_are_passed_only_by_those_who_may(server, events, rule, user, iam, account):
    name, arn = rule({"source": ["x"]})
    trust = {"RoleName": m.name("role"), "AssumeRolePolicyDocument": EVENTS_TRUST}
    role = iam.create_role(**trust)["Role"]["Arn"]
    target = {"Id": "1", "Arn": f"arn:aws:events:us-east-1:{account}:event-bus/b", "RoleArn": role}
    may_put = {"Effect": "Allow", "Action": "events:PutTargets", "Resource": arn}
    with m.refused("AccessDeniedException", rf".*iam:PassRole on resource: {role}.*"):
        server.client("events", user(may_put)).put_targets(Rule=name, Targets=[target])
    may_pass = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": role}
    may_pass["Condition"] = {"StringEquals": {"iam:PassedToService": "events.amazonaws.com"}}
    client = server.client("events", user(may_put, may_pass))
    client.put_targets(Rule=name, Targets=[target])


def test_a_bus_policy_lets_another_account_in_and_keeps_users_out(fresh):
    server = fresh("--dev")
    own, other = "111111111111", "222222222222"
    client = server.client("events", {"AccessKeyId": own, "SecretAccessKey": "test"}, region="us-east-1")
    guest = server.client("events", {"AccessKeyId": other, "SecretAccessKey": "test"}, region="us-east-1")
    arn = client.create_event_bus(Name="shared")["EventBusArn"]
    with m.refused("AccessDeniedException"):
        guest.put_events(Entries=[entry("x", EventBusName=arn)])
    client.put_permission(EventBusName="shared", Action="events:PutEvents", Principal=other, StatementId="guest")
    put(guest, entry("x", EventBusName=arn))
    policy = json.loads(client.describe_event_bus(Name="shared")["Policy"])
    assert policy == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "guest",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{other}:root"},
                "Action": "events:PutEvents",
                "Resource": arn,
            }
        ],
    }
    deny = {"Sid": "no", "Effect": "Deny", "Principal": "*", "Action": "events:PutEvents", "Resource": arn}
    document = {"Version": "2012-10-17", "Statement": [*policy["Statement"], deny]}
    client.put_permission(EventBusName="shared", Policy=json.dumps(document))
    for caller in (guest, client):
        if caller is guest:
            with m.refused("AccessDeniedException", r".*explicit deny.*"):
                caller.put_events(Entries=[entry("x", EventBusName=arn)])
    client.remove_permission(EventBusName="shared", StatementId="no")
    put(guest, entry("x", EventBusName=arn))
    with m.refused("ResourceNotFoundException", "Statement with the provided id does not exist."):
        client.remove_permission(EventBusName="shared", StatementId="no")
    client.remove_permission(EventBusName="shared", RemoveAllPermissions=True)
    assert "Policy" not in client.describe_event_bus(Name="shared")
    with m.refused("AccessDeniedException"):
        guest.put_events(Entries=[entry("x", EventBusName=arn)])
    with m.refused("ValidationException"):
        client.put_permission(EventBusName="shared", Policy="nonsense")
    with m.refused("ResourceNotFoundException", "Event bus gone does not exist."):
        client.put_permission(EventBusName="gone", Action="events:PutEvents", Principal="*", StatementId="a")


# Where events go.


def metric(server, name, rule):
    """The sum of a metric of a rule since an hour ago."""
    now = datetime.datetime.now(datetime.UTC)
    reply = server.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Events",
        MetricName=name,
        Dimensions=[{"Name": "RuleName", "Value": rule}],
        Statistics=["Sum"],
        Period=3600,
        StartTime=now - datetime.timedelta(hours=1),
        EndTime=now + datetime.timedelta(hours=1),
    )
    return sum(point["Sum"] for point in reply["Datapoints"])


def test_a_target_without_permission_is_seen_in_metric_and_log(server, events, rule, witness):
    seen = witness()
    source = m.name("source")
    name, arn = rule({"source": [source]})
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": seen.arn}])
    put(events, entry(source))
    m.until(lambda: metric(server, "FailedInvocations", name) == 1, "the failure is counted")
    assert metric(server, "TriggeredRules", name) == metric(server, "MatchedEvents", name) == 1
    assert name in server.log.read_text()
    seen.allow(arn)
    put(events, entry(source, {"n": 2}))
    assert [event["detail"] for event in seen.wait()] == [{"n": 2}]
    m.until(lambda: metric(server, "TriggeredRules", name) == 2, "the success is counted")


def test_events_go_from_bus_to_bus(server, events, bus, rule, witness, iam, account):
    seen = witness()
    source = m.name("source")
    there, there_arn = bus()
    name, arn = rule({"source": [source]}, EventBusName=there)
    seen.allow(arn)
    events.put_targets(Rule=name, EventBusName=there, Targets=[{"Id": "1", "Arn": seen.arn}])
    role = m.name("role")
    role_arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=EVENTS_TRUST)["Role"]["Arn"]
    here, _ = rule({"source": [source]})
    events.put_targets(Rule=here, Targets=[{"Id": "1", "Arn": there_arn, "RoleArn": role_arn}])
    with m.refused("ValidationException", r"Input, InputPath and InputTransformer are not supported .*"):
        events.put_targets(Rule=here, Targets=[{"Id": "1", "Arn": there_arn, "RoleArn": role_arn, "Input": "{}"}])
    put(events, entry(source, {"n": 1}))
    # The role may nothing yet.
    m.until(lambda: metric(server, "FailedInvocations", here) == 1, "the role is refused")
    statement = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": there_arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=role, PolicyName="put", PolicyDocument=policy)
    (sent,) = put(events, entry(source, {"n": 2}))
    (event,) = seen.wait()
    assert (event["detail"], event["source"], event["account"]) == ({"n": 2}, source, account)
    assert event["id"] != sent


def test_rules_that_send_in_circles_end(server, events, bus, rule, iam):
    source = m.name("source")
    here, here_arn = bus()
    role = m.name("role")
    role_arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=EVENTS_TRUST)["Role"]["Arn"]
    statement = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": here_arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=role, PolicyName="put", PolicyDocument=policy)
    name, _ = rule({"source": [source]}, EventBusName=here)
    events.put_targets(Rule=name, EventBusName=here, Targets=[{"Id": "1", "Arn": here_arn, "RoleArn": role_arn}])
    put(events, entry(source, EventBusName=here))
    m.until(lambda: metric(server, "FailedInvocations", name) == 1, "the circle is broken")
    assert metric(server, "TriggeredRules", name) == 11


def test_a_log_group_receives_events(server, events, rule, logs, account):
    source = m.name("source")
    group = f"/aws/events/{m.name()}"
    logs.create_log_group(logGroupName=group)
    name, _ = rule({"source": [source]})
    arn = f"arn:aws:logs:us-east-1:{account}:log-group:{group}"
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])
    put(events, entry(source, {"n": 1}))
    m.until(lambda: metric(server, "FailedInvocations", name) == 1, "no policy lets events in")
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": ["events.amazonaws.com", "delivery.logs.amazonaws.com"]},
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": f"{arn}:*",
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    policy = m.name("policy")
    logs.put_resource_policy(policyName=policy, policyDocument=document)
    assert policy in [found["policyName"] for found in logs.describe_resource_policies()["resourcePolicies"]]
    (sent,) = put(events, entry(source, {"n": 2}))
    messages = m.until(
        lambda: [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]],
        "the event is in the log",
    )
    assert [json.loads(message)["id"] for message in messages] == [sent]
    logs.delete_resource_policy(policyName=policy)
    with m.refused("ResourceNotFoundException"):
        logs.delete_resource_policy(policyName=policy)


def test_an_accepted_event_survives_a_kill(fresh, tmp_path):
    server = fresh()
    iam = server.client("iam")
    role = iam.create_role(RoleName="basic", AssumeRolePolicyDocument=m.LAMBDA_TRUST)["Role"]["Arn"]
    iam.attach_role_policy(RoleName="basic", PolicyArn=m.BASIC_EXECUTION)
    lambdas, events = server.client("lambda"), server.client("events")
    function = lambdas.create_function(
        FunctionName="sink",
        Runtime=m.PYTHON,
        Handler="lambda_function.lambda_handler",
        Role=role,
        Timeout=30,
        Code={"ZipFile": m.handler("print('got ' + str(event['detail']['n']) + '.')")},
    )["FunctionArn"]
    lambdas.get_waiter("function_active_v2").wait(FunctionName="sink")
    rule = events.put_rule(Name="r", EventPattern='{"source": ["x"]}')["RuleArn"]
    lambdas.add_permission(
        FunctionName="sink",
        StatementId="r",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule,
    )
    events.put_targets(Rule="r", Targets=[{"Id": "1", "Arn": function}])
    for first in range(0, 30, 10):
        put(events, *[entry("x", {"n": n}) for n in range(first, first + 10)])
        server.kill()
        server.start()
        events = server.client("events")
    assert events.describe_rule(Name="r")["Arn"] == rule
    logs = server.client("logs")

    def all_there():
        try:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName="/aws/lambda/sink")
            text = "".join(event["message"] for page in pages for event in page["events"])
        except logs.exceptions.ResourceNotFoundException:
            return False
        return all(f"got {n}." in text for n in range(30))

    m.until(all_there, "all thirty have run", 120)


# API destinations.


@pytest.fixture
def endpoint():
    endpoint = Endpoint()
    yield endpoint
    endpoint.shutdown()
    endpoint.server_close()


def api_server(fresh, endpoint):
    """A server that may reach the endpoint, with a role that may call every destination."""
    server = fresh("--internet", "--internet-allow", "127.0.0.1/32", "--internet-ports", str(endpoint.server_port))
    iam = server.client("iam")
    role = iam.create_role(RoleName="caller", AssumeRolePolicyDocument=EVENTS_TRUST)["Role"]["Arn"]
    statement = {"Effect": "Allow", "Action": "events:InvokeApiDestination", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName="caller", PolicyName="call", PolicyDocument=policy)
    return server, role


AUTH = {
    "BASIC": (
        lambda _: {"BasicAuthParameters": {"Username": "me", "Password": "s3cret"}},
        ("authorization", "Basic bWU6czNjcmV0"),
    ),
    "API_KEY": (
        lambda _: {"ApiKeyAuthParameters": {"ApiKeyName": "X-Api-Key", "ApiKeyValue": "s3cret"}},
        ("x-api-key", "s3cret"),
    ),
    "OAUTH_CLIENT_CREDENTIALS": (
        lambda url: {
            "OAuthParameters": {
                "ClientParameters": {"ClientID": "me", "ClientSecret": "s3cret"},
                "AuthorizationEndpoint": f"{url}/token",
                "HttpMethod": "POST",
            }
        },
        ("authorization", "Bearer t0ken"),
    ),
}


@pytest.mark.parametrize("kind", AUTH)
def test_an_api_destination_is_called(fresh, endpoint, kind):
    server, role = api_server(fresh, endpoint)
    events = server.client("events")
    parameters, (header, value) = AUTH[kind]
    extra = {
        "HeaderParameters": [{"Key": "X-Extra", "Value": "1", "IsValueSecret": False}],
        "QueryStringParameters": [{"Key": "q", "Value": "hidden", "IsValueSecret": True}],
        "BodyParameters": [{"Key": "tenant", "Value": "shop", "IsValueSecret": False}],
    }
    connection = events.create_connection(
        Name="c",
        AuthorizationType=kind,
        AuthParameters=parameters(endpoint.url) | {"InvocationHttpParameters": extra},
    )
    assert connection["ConnectionState"] == "AUTHORIZED"
    shown = json.dumps(events.describe_connection(Name="c"), default=str)
    assert "s3cret" not in shown and "hidden" not in shown and "shop" in shown
    _, name, identifier = connection["ConnectionArn"].rsplit("/", 2)
    secret = events.describe_connection(Name="c")["SecretArn"]
    assert f":secretsmanager:us-east-1:123456789012:secret:events!connection/{name}/{identifier}-" in secret
    # What is on the disk is of no use without the key, with which it is read again.
    key = server.data / "secrets.key"
    assert key.stat().st_mode & 0o777 == 0o600
    for file in server.data.rglob("store/mayfly.db*"):
        stored = file.read_bytes()
        assert b"s3cret" not in stored and b"hidden" not in stored, file
    server.kill()
    server.start()
    events = server.client("events")
    destination = events.create_api_destination(
        Name="d",
        ConnectionArn=connection["ConnectionArn"],
        InvocationEndpoint=f"{endpoint.url}/orders/*",
        HttpMethod="PUT",
    )["ApiDestinationArn"]
    events.put_rule(Name="r", EventPattern='{"source": ["x"]}')
    target = {
        "Id": "1",
        "Arn": destination,
        "RoleArn": role,
        "InputPath": "$.detail",
        "HttpParameters": {
            "PathParameterValues": ["a/b"],
            "HeaderParameters": {"X-Mine": "2"},
            "QueryStringParameters": {"p": "1"},
        },
    }
    events.put_targets(Rule="r", Targets=[target])
    assert events.list_targets_by_rule(Rule="r")["Targets"] == [target]
    endpoint.answers = [503]  # Tried again.
    put(events, entry("x", {"n": 1}))
    calls = m.until(
        lambda: len(found := [call for call in endpoint.requests if call[1] != "/token"]) >= 2 and found,
        "the endpoint was called again",
    )
    for method, path, headers, body in calls:
        assert (method, path) == ("PUT", "/orders/a%2Fb?p=1&q=hidden")
        assert (headers[header], headers["x-extra"], headers["x-mine"]) == (value, "1", "2")
        assert json.loads(body) == {"n": 1, "tenant": "shop"}
    assert "s3cret" not in server.log.read_text()
    with m.refused("ValidationException", r"Connection c is used by API destinations\. .*"):
        events.delete_connection(Name="c")
    events.deauthorize_connection(Name="c")
    assert events.describe_api_destination(Name="d")["ApiDestinationState"] == "INACTIVE"
    put(events, entry("x", {"n": 2}))
    m.until(lambda: metric(server, "FailedInvocations", "r") == 1, "a deauthorized connection is not used")
    events.delete_api_destination(Name="d")
    events.delete_connection(Name="c")
    with m.refused(
        "ResourceNotFoundException", r"Failed to describe the connection\(s\)\. Connection 'c' does not exist\."
    ):
        events.describe_connection(Name="c")


def test_an_api_destination_leads_nowhere_that_is_closed(server, events, rule, iam, endpoint):
    role = m.name("role")
    role_arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=EVENTS_TRUST)["Role"]["Arn"]
    statement = {"Effect": "Allow", "Action": "events:InvokeApiDestination", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=role, PolicyName="call", PolicyDocument=policy)
    name = m.name("c")
    connection = events.create_connection(
        Name=name,
        AuthorizationType="API_KEY",
        AuthParameters={"ApiKeyAuthParameters": {"ApiKeyName": "k", "ApiKeyValue": "v"}},
    )["ConnectionArn"]
    with m.refused("ResourceAlreadyExistsException", f"Connection {name} already exists."):
        events.create_connection(
            Name=name,
            AuthorizationType="API_KEY",
            AuthParameters={"ApiKeyAuthParameters": {"ApiKeyName": "k", "ApiKeyValue": "v"}},
        )
    destination = events.create_api_destination(
        Name=name, ConnectionArn=connection, InvocationEndpoint=endpoint.url, HttpMethod="POST"
    )["ApiDestinationArn"]
    source = m.name("source")
    rule_name, _ = rule({"source": [source]})
    events.put_targets(Rule=rule_name, Targets=[{"Id": "1", "Arn": destination, "RoleArn": role_arn}])
    put(events, entry(source))
    m.until(lambda: metric(server, "FailedInvocations", rule_name) == 1, "the way out is closed")
    assert endpoint.requests == []
    events.delete_api_destination(Name=name)
    events.delete_connection(Name=name)
