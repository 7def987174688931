"""EventBridge Scheduler: schedules fire, once each, also over a kill, and say what is wrong with them."""

import datetime
import json
import random
import time

import pytest

import mayfly as m
from conftest import make_role

OFF = {"Mode": "OFF"}
UNIVERSAL = "arn:aws:scheduler:::aws-sdk"


def trust(**condition):
    statement = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": "scheduler.amazonaws.com"},
    } | ({"Condition": condition} if condition else {})
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def scheduler_role(iam, *actions, **condition):
    """A role that Scheduler may act in, and that may do this."""
    name = m.name("role")
    arn = make_role(iam, name, trust=trust(**condition))
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=policy)
    return arn


@pytest.fixture(scope="session")
def scheduler(server):
    return server.client("scheduler")


@pytest.fixture(scope="session")
def target(iam):
    """What a schedule calls that makes a log group."""
    role = scheduler_role(iam, "logs:CreateLogGroup", "lambda:InvokeFunction")

    def make(group):
        return {
            "Arn": f"{UNIVERSAL}:cloudwatchlogs:createLogGroup",
            "RoleArn": role,
            "Input": json.dumps({"LogGroupName": group}),
        }

    make.role = role
    return make


def soon(seconds=1):
    time = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return f"at({time:%Y-%m-%dT%H:%M:%S})"


def log_groups(logs, prefix):
    return [group["logGroupName"] for group in logs.describe_log_groups(logGroupNamePrefix=prefix)["logGroups"]]


def test_a_function_is_invoked_with_the_input(scheduler, target, function, logs):
    sink = function("import json\nprint('GOT ' + json.dumps(event))")
    arn = sink.client.get_function(FunctionName=sink.name)["Configuration"]["FunctionArn"]
    name = m.name("s")
    marks = {"at": "scheduled-time", "by": "schedule-arn", "attempt": "attempt-number"}
    given = json.dumps({member: f"<aws.scheduler.{mark}>" for member, mark in marks.items()})
    made = scheduler.create_schedule(
        Name=name,
        ScheduleExpression=soon(),
        FlexibleTimeWindow=OFF,
        ActionAfterCompletion="DELETE",
        Target={"Arn": arn, "RoleArn": target.role, "Input": given},
    )["ScheduleArn"]
    assert made.endswith(f":schedule/default/{name}")

    def got():
        group = f"/aws/lambda/{sink.name}"
        if not log_groups(logs, group):
            return None
        events = logs.filter_log_events(logGroupName=group, filterPattern="GOT")["events"]
        return [json.loads(event["message"].split("GOT ")[1]) for event in events]

    m.until(got, "the function ran")
    (event,) = got()
    assert event["by"] == made and event["at"].endswith("Z") and event["attempt"] == "1"
    with m.refused("ResourceNotFoundException", f"Schedule {name} does not exist.", 404):
        scheduler.get_schedule(Name=name)


def test_without_an_input_a_function_gets_an_event(scheduler, target, function, logs):
    sink = function("import json\nprint('GOT ' + json.dumps(event))")
    arn = sink.client.get_function(FunctionName=sink.name)["Configuration"]["FunctionArn"]
    name = m.name("s")
    scheduler.create_schedule(
        Name=name,
        ScheduleExpression="rate(365 days)",
        FlexibleTimeWindow=OFF,
        Target={"Arn": arn, "RoleArn": target.role},
    )

    # Without a start date, a rate fires at once.
    def got():
        group = f"/aws/lambda/{sink.name}"
        if not log_groups(logs, group):
            return None
        events = logs.filter_log_events(logGroupName=group, filterPattern="GOT")["events"]
        return [json.loads(event["message"].split("GOT ")[1]) for event in events]

    m.until(got, "the function ran")
    event = got()[0]
    assert (event["source"], event["detail-type"], event["detail"]) == ("aws.scheduler", "Scheduled Event", "{}")
    assert event["resources"] == [scheduler.get_schedule(Name=name)["Arn"]]
    scheduler.delete_schedule(Name=name)


def test_what_comes_due_while_the_server_is_down_comes_late(fresh):
    server = fresh()
    iam, scheduler = server.client("iam"), server.client("scheduler")
    role = scheduler_role(iam, "logs:CreateLogGroup")
    for number in range(5):
        scheduler.create_schedule(
            Name=f"s{number}",
            ScheduleExpression=soon(1),
            FlexibleTimeWindow=OFF,
            ActionAfterCompletion="DELETE",
            Target={
                "Arn": f"{UNIVERSAL}:cloudwatchlogs:createLogGroup",
                "RoleArn": role,
                "Input": json.dumps({"LogGroupName": f"late/{number}"}),
            },
        )
    server.kill()
    server.start()
    logs, scheduler = server.client("logs"), server.client("scheduler")
    m.until(lambda: len(log_groups(logs, "late/")) == 5, "all five came")
    m.until(lambda: not scheduler.list_schedules()["Schedules"], "they are gone")


@pytest.mark.parametrize("kills, each", [(6, 16)])
def test_kills_around_due_ticks_lose_none_and_double_none(fresh, kills, each, capsys):
    """The server is killed at random moments around the second in which schedules are due. Each tick reaches the function,
    and however often, under one execution id: that is made from the id in the outbox."""
    server = fresh()
    iam, lambdas, logs = server.client("iam"), server.client("lambda"), server.client("logs")
    function = lambdas.create_function(
        FunctionName="sink",
        Runtime=m.PYTHON,
        Handler="lambda_function.lambda_handler",
        Role=make_role(iam, "basic", m.BASIC_EXECUTION),
        Timeout=60,
        Code={"ZipFile": m.handler("print('ran', event['of'], event['tick'])")},
    )["FunctionArn"]
    lambdas.get_waiter("function_active_v2").wait(FunctionName="sink")
    # More at once would only wait for the two cores.
    lambdas.put_function_concurrency(FunctionName="sink", ReservedConcurrentExecutions=4)
    target = {
        "Arn": function,
        "RoleArn": scheduler_role(iam, "lambda:InvokeFunction"),
        "Input": '{"of": "<aws.scheduler.schedule-arn>", "tick": "<aws.scheduler.execution-id>"}',
    }
    seed, made = random.randrange(2**32), set()
    scheduler, moments = server.client("scheduler"), random.Random(seed)
    for kill in range(kills):
        due = int(time.time()) + 3
        once = datetime.datetime.fromtimestamp(due, datetime.UTC)
        for number in range(each):
            name, after = f"s{kill}-{number}", ["NONE", "DELETE"][number % 2]
            created = scheduler.create_schedule(
                Name=name,
                ScheduleExpression=f"at({once:%Y-%m-%dT%H:%M:%S})",
                ActionAfterCompletion=after,
                FlexibleTimeWindow=OFF,
                Target=target,
            )
            made.add(created["ScheduleArn"])
        time.sleep(max(0.0, due + moments.uniform(-0.1, 0.4) - time.time()))
        server.kill()
        server.start()

    def ticks():
        if not log_groups(logs, "/aws/lambda/sink"):
            return {}
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName="/aws/lambda/sink", filterPattern="ran")
        ran = {}
        for event in (event for page in pages for event in page["events"]):
            _, schedule, tick = event["message"].split()
            ran.setdefault(schedule, []).append(tick)
        return ran

    m.until(lambda: ticks().keys() == made, f"all came (seed {seed})")
    m.until(lambda: server.metric("deliveries_waiting") == 0, "the outbox is empty")
    ran = ticks()
    assert all(len(set(found)) == 1 for found in ran.values()), (seed, ran)
    assert server.metric("deliveries_set_aside") == 0
    left = {schedule["Name"] for schedule in scheduler.list_schedules()["Schedules"]}
    assert left == {f"s{kill}-{number}" for kill in range(kills) for number in range(0, each, 2)}
    with capsys.disabled():
        print(f"\n{len(made)} ticks, {kills} kills, none lost; {sum(map(len, ran.values())) - len(made)} repeats")


def test_a_call_of_a_universal_target_is_an_event_too(server, scheduler, iam, logs, function):
    """CloudTrail's event of a call that a schedule makes names the role in which it was made."""
    events, sink = server.client("events"), function("import json\nprint('GOT ' + json.dumps(event))")
    name, made = m.name("s"), m.name("made/by/schedule")
    pattern = {
        "source": ["aws.logs"],
        "detail-type": ["AWS API Call via CloudTrail"],
        "detail": {"eventName": ["CreateLogGroup"], "requestParameters": {"logGroupName": [made]}},
    }
    rule = events.put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"]
    arn = sink.client.get_function(FunctionName=sink.name)["Configuration"]["FunctionArn"]
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])
    sink.client.add_permission(
        FunctionName=sink.name,
        StatementId="r",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule,
    )
    role = scheduler_role(iam, "logs:CreateLogGroup")
    scheduler.create_schedule(
        Name=name,
        ScheduleExpression=soon(0),
        FlexibleTimeWindow=OFF,
        ActionAfterCompletion="DELETE",
        Target={
            "Arn": f"{UNIVERSAL}:cloudwatchlogs:createLogGroup",
            "RoleArn": role,
            "Input": json.dumps({"LogGroupName": made}),
        },
    )

    def got():
        group = f"/aws/lambda/{sink.name}"
        if not log_groups(logs, group):
            return None
        events = logs.filter_log_events(logGroupName=group, filterPattern="GOT")["events"]
        return [json.loads(event["message"].split("GOT ")[1]) for event in events]

    detail = m.until(got, "the call is told")[0]["detail"]
    assert (detail["eventSource"], detail["readOnly"]) == ("logs.amazonaws.com", False)
    identity = detail["userIdentity"]
    assert identity["type"] == "AssumedRole"
    assert f":assumed-role/{role.rsplit('/', 1)[1]}/" in identity["arn"]
    events.remove_targets(Rule=name, Ids=["1"])
    events.delete_rule(Name=name)
    logs.delete_log_group(logGroupName=made)


def test_a_role_without_the_permission_is_seen_in_a_metric(scheduler, iam, cloudwatch):
    role = scheduler_role(iam, "logs:DeleteLogGroup")
    group, name = m.name("group"), m.name("s")
    scheduler.create_schedule_group(Name=group)
    scheduler.create_schedule(
        Name=name,
        GroupName=group,
        ScheduleExpression=soon(0),
        FlexibleTimeWindow=OFF,
        Target={
            "Arn": f"{UNIVERSAL}:cloudwatchlogs:createLogGroup",
            "RoleArn": role,
            "Input": '{"LogGroupName": "never"}',
            "DeadLetterConfig": {"Arn": "arn:aws:sqs:us-east-1:123456789012:letters"},
        },
    )

    def metrics():
        found = cloudwatch.list_metrics(
            Namespace="AWS/Scheduler", Dimensions=[{"Name": "ScheduleGroup", "Value": group}]
        )["Metrics"]
        return {metric["MetricName"] for metric in found}

    # There are no queues yet, so the letter cannot be sent either.
    wanted = {
        "InvocationAttemptCount",
        "TargetErrorCount",
        "InvocationDroppedCount",
        "InvocationsFailedToBeSentToDeadLetterCount",
    }
    m.until(lambda: metrics() >= wanted, "the failure is counted")
    scheduler.delete_schedule_group(Name=group)


def test_the_role_must_trust_scheduler(scheduler, role, target):
    refusal = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
    with m.refused("ValidationException", refusal, 400):
        scheduler.create_schedule(
            Name=m.name("s"),
            ScheduleExpression="rate(1 day)",
            FlexibleTimeWindow=OFF,
            Target=target("x") | {"RoleArn": role},
        )


def test_the_trust_may_name_the_group(scheduler, iam, sts):
    account = sts.get_caller_identity()["Account"]
    arn = f"arn:aws:scheduler:{scheduler.meta.region_name}:{account}:schedule-group/default"
    role = scheduler_role(iam, "logs:CreateLogGroup", StringEquals={"aws:SourceArn": arn})
    name = m.name("s")
    target = {
        "Arn": f"{UNIVERSAL}:cloudwatchlogs:createLogGroup",
        "RoleArn": role,
        "Input": '{"LogGroupName": "x"}',
    }
    settings = {"ScheduleExpression": soon(3600), "FlexibleTimeWindow": OFF, "Target": target}
    scheduler.create_schedule(Name=name, **settings)
    scheduler.delete_schedule(Name=name)
    scheduler.create_schedule_group(Name=name)
    with m.refused("ValidationException"):
        scheduler.create_schedule(Name=name, GroupName=name, **settings)
    scheduler.delete_schedule_group(Name=name)


def test_who_makes_a_schedule_must_pass_the_role(server, user, target):
    key = user({"Effect": "Allow", "Action": "scheduler:*", "Resource": "*"})
    with m.refused("AccessDeniedException", status=403):
        server.client("scheduler", key=key).create_schedule(
            Name="s", ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF, Target=target("x")
        )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ScheduleExpression": "cron(0 6 * * MON-FRI *)"}, "write cron(0 6 ? * MON-FRI *)"),
        ({"ScheduleExpression": "rate(1 minutes)"}, "Invalid Schedule Expression rate(1 minutes)."),
        ({"ScheduleExpression": "at(2026-11-25)"}, "Invalid Schedule Expression at(2026-11-25)."),
        ({"ScheduleExpression": "daily"}, "Invalid Schedule Expression daily."),
        ({"ScheduleExpressionTimezone": "Europe/Nowhere"}, "Invalid Schedule Expression Timezone Europe/Nowhere."),
        (
            {
                "ScheduleExpression": "at(2026-03-08T02:30:00)",
                "ScheduleExpressionTimezone": "America/New_York",
            },
            "skip this time",
        ),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}}, "MaximumWindowInMinutes must be provided"),
        ({"FlexibleTimeWindow": {"Mode": "OFF", "MaximumWindowInMinutes": 5}}, "must not be provided"),
        ({"StartDate": 1_700_000_000}, "StartDate you specify cannot be earlier than 5 minutes ago"),
        ({"EndDate": 1_700_000_000}, "EndDate you specify must come after"),
        ({"KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/x"}, "no KMS"),
    ],
)
def test_wrong_schedules(scheduler, target, wrong, words):
    settings = {"ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": OFF, "Target": target("x")} | wrong
    with m.refused("ValidationException", status=400) as refusal:
        scheduler.create_schedule(Name=m.name("s"), **settings)
    assert words in refusal.error["Message"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"Arn": "hello"}, "Provided Arn is not in correct format."),
        ({"Arn": "arn:aws:sqs:us-east-1:123456789012:q"}, "no targets of the service sqs"),
        ({"Arn": f"{UNIVERSAL}:lambda:getFunction"}, "only reads"),
        ({"Arn": f"{UNIVERSAL}:lambda:launchRocket"}, "no operation launchRocket"),
        ({"Arn": f"{UNIVERSAL}:rockets:launch"}, "no operation launch of a service rockets"),
        ({"Arn": f"{UNIVERSAL}:lambda"}, "Provided Arn is not in correct format."),
        ({"Input": "{"}, "not valid JSON"),
        ({"Input": "[]"}, "JSON object"),
        ({"Input": '{"LogGroop": "x"}'}, "LogGroop is not known"),
        ({"SqsParameters": {"MessageGroupId": "1"}}, "SqsParameters cannot be given"),
        (
            {"EventBridgeParameters": {"DetailType": "x", "Source": "x"}},
            "EventBridgeParameters cannot be given",
        ),
    ],
)
def test_wrong_targets(scheduler, target, wrong, words):
    settings = {"ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": OFF}
    with m.refused("ValidationException", status=400) as refusal:
        scheduler.create_schedule(Name=m.name("s"), Target=target("x") | wrong, **settings)
    assert words in refusal.error["Message"]


def test_schedules_are_listed_changed_and_deleted(scheduler, target):
    group = m.name("group")
    scheduler.create_schedule_group(Name=group, Tags=[{"Key": "team", "Value": "a"}])
    settings = {"GroupName": group, "FlexibleTimeWindow": OFF, "Target": target("x")}
    for name in ["a1", "a2", "b1"]:
        scheduler.create_schedule(Name=name, ScheduleExpression="rate(1 day)", State="DISABLED", **settings)
    with m.refused("ConflictException", "Schedule a1 already exists.", 409):
        scheduler.create_schedule(Name="a1", ScheduleExpression="rate(1 day)", **settings)
    token = m.name("token")
    for _ in range(2):
        scheduler.create_schedule(
            Name="c1", ScheduleExpression=soon(3600), ClientToken=token, Description="x", **settings
        )

    def names(**filters):
        pages = scheduler.get_paginator("list_schedules").paginate(
            GroupName=group, PaginationConfig={"PageSize": 1}, **filters
        )
        return [schedule["Name"] for page in pages for schedule in page["Schedules"]]

    assert names() == ["a1", "a2", "b1", "c1"]
    assert names(NamePrefix="a") == ["a1", "a2"]
    assert names(State="ENABLED") == ["c1"]
    window = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15}
    scheduler.update_schedule(
        Name="c1", ScheduleExpression="cron(0 7 * * ? *)", **settings | {"FlexibleTimeWindow": window}
    )
    shown = scheduler.get_schedule(Name="c1", GroupName=group)
    assert (shown["ScheduleExpression"], shown["FlexibleTimeWindow"], shown.get("Description")) == (
        "cron(0 7 * * ? *)",
        window,
        None,
    )
    scheduler.delete_schedule(Name="a1", GroupName=group)
    assert names() == ["a2", "b1", "c1"]
    arn = scheduler.get_schedule_group(Name=group)["Arn"]
    scheduler.tag_resource(ResourceArn=arn, Tags=[{"Key": "more", "Value": "b"}])
    scheduler.untag_resource(ResourceArn=arn, TagKeys=["team"])
    assert scheduler.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "more", "Value": "b"}]
    scheduler.delete_schedule_group(Name=group)

    def gone():
        groups = scheduler.list_schedule_groups(NamePrefix=group)["ScheduleGroups"]
        return [found["State"] for found in groups] in ([], ["DELETING"]) and not groups

    m.until(gone, "the group is gone")
    with m.refused("ResourceNotFoundException", f"Schedule group {group} does not exist.", 404):
        scheduler.get_schedule(Name="a2", GroupName=group)
    with m.refused("ValidationException"):
        scheduler.delete_schedule_group(Name="default")


def test_mayfly_fire(server, scheduler, target, logs):
    name, made = m.name("s"), m.name("made/by/fire")
    scheduler.create_schedule(
        Name=name,
        ScheduleExpression="cron(0 6 ? * MON-FRI *)",
        ScheduleExpressionTimezone="Europe/Berlin",
        State="DISABLED",
        FlexibleTimeWindow=OFF,
        Target=target(made),
    )
    fired = m.run("fire", "--data", server.data, name)
    assert f"schedule/default/{name} fired, targets: 1" in fired.stdout
    m.until(lambda: log_groups(logs, made), "it fired")
    scheduler.update_schedule(
        Name=name,
        ScheduleExpression="cron(0 6 ? * MON-FRI *)",
        ScheduleExpressionTimezone="Europe/Berlin",
        FlexibleTimeWindow=OFF,
        Target=target(made),
    )
    shown = m.run("fire", "--data", server.data, "--next", f"default/{name}").stdout.splitlines()
    assert len(shown) == 10 and all(" 06:00:00 +0" in line for line in shown)
    assert not any(line.startswith(("Sat", "Sun")) for line in shown)
    missing = m.run("fire", "--data", server.data, "nobody", check=False)
    assert missing.returncode == 1 and "There is no rule and no schedule nobody" in missing.stderr
    scheduler.delete_schedule(Name=name)


def test_mayfly_fire_needs_no_server_for_an_expression():
    shown = m.run("fire", "--next", "cron(0 6 ? * 2#1 2030-2031)", "--timezone", "Asia/Tokyo", "--count", "2")
    assert shown.stdout.splitlines() == ["Mon 2030-01-07 06:00:00 +09:00", "Mon 2030-02-04 06:00:00 +09:00"]
    wrong = m.run("fire", "--next", "cron(0 6 * * MON-FRI *)", check=False)
    assert wrong.returncode == 1 and "write cron(0 6 ? * MON-FRI *)" in wrong.stderr


def test_firing_is_for_those_who_may(server, user, scheduler, target):
    name = m.name("s")
    scheduler.create_schedule(
        Name=name, ScheduleExpression=soon(3600), FlexibleTimeWindow=OFF, Target=target(m.name("x"))
    )
    arn = scheduler.get_schedule(Name=name)["Arn"]
    headers = {"X-Amz-Target": "Mayfly.Fire", "Content-Type": "application/x-amz-json-1.1"}
    body = json.dumps({"Name": name}).encode()

    def fire(*statements):
        return server.signed("POST", "/", body, service="mayfly", headers=headers, key=user(*statements))[0]

    assert fire({"Effect": "Allow", "Action": "scheduler:*", "Resource": "*"}) == 400
    assert fire({"Effect": "Allow", "Action": "mayfly:Fire", "Resource": arn}) == 200
    scheduler.delete_schedule(Name=name)
