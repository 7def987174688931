"""Rules with a schedule come by themselves, through a kill too."""

import datetime
import json
import random
import re
import time

import mayfly as m
from conftest import make_role

RULES = 8


def got(logs):
    """The events that the function has printed."""
    try:
        found = logs.filter_log_events(logGroupName="/aws/lambda/sink", filterPattern='"got "')["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [json.loads(event["message"].removeprefix("got ")) for event in found]


def test_a_scheduled_rule_comes_by_itself_also_through_a_kill(fresh):
    """Rules at the next minute; the server is killed at about that time."""
    server = fresh()
    lambdas, events, logs = server.client("lambda"), server.client("events"), server.client("logs")
    account = server.client("sts").get_caller_identity()["Account"]
    function = lambdas.create_function(
        FunctionName="sink",
        Runtime=m.PYTHON,
        Handler="lambda_function.lambda_handler",
        Role=make_role(server.client("iam"), "basic", m.BASIC_EXECUTION),
        Timeout=60,
        Code={"ZipFile": m.handler("import json\nprint('got ' + json.dumps(event))")},
    )["FunctionArn"]
    lambdas.get_waiter("function_active_v2").wait(FunctionName="sink")
    lambdas.add_permission(
        FunctionName="sink", StatementId="s", Action="lambda:InvokeFunction", Principal="events.amazonaws.com"
    )
    # With less time than that until the next minute, they would not be there by then.
    due = int((time.time() + 4) // 60 + 1) * 60
    moment = datetime.datetime.fromtimestamp(due, datetime.UTC)
    expression = f"cron({moment.minute} {moment.hour} * * ? *)"
    for number in range(RULES):
        arn = events.put_rule(Name=f"r{number}", ScheduleExpression=expression)["RuleArn"]
        events.put_targets(Rule=f"r{number}", Targets=[{"Id": "1", "Arn": function}])
    assert time.time() < due, "the rules were not made in time"
    time.sleep(max(0.0, due + random.uniform(-0.1, 0.4) - time.time()))
    server.kill()
    server.start()
    found = m.until(lambda: len(there := got(logs)) >= RULES and there, "all came")
    # A kill may repeat one, but not make another of it.
    ids = {(event["id"], *event["resources"]) for event in found}
    assert len(ids) == RULES, found
    event = next(event for event in found if event["resources"] == [arn])
    assert list(event) == [
        "version",
        "id",
        "detail-type",
        "source",
        "account",
        "time",
        "region",
        "resources",
        "detail",
    ]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", event.pop("id"))
    assert event == {
        "version": "0",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "region": arn.split(":")[3],
        "resources": [arn],
        "detail": {},
    }
