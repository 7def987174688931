"""EventBridge's archives, replays and TestEventPattern, driven by boto3 as a user would."""

import datetime
import json
import re

import pytest

import mayfly as m

# An attempt that a loaded machine did not start in time is made again after a minute, then after two, as on AWS.
ATTEMPTS_S = 240


@pytest.fixture(scope="session")
def events(server):
    return server.client("events")


def minutes(count):
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=count)


class Scene:
    """A bus with an archive, and two rules that give events to one function each."""

    def __init__(self, server, function):
        self.server, self.function = server, function
        self.events = server.client("events")
        self.bus = m.name("bus")
        self.bus_arn = self.events.create_event_bus(Name=self.bus)["EventBusArn"]
        self.archive = m.name("archive")
        made = self.events.create_archive(
            ArchiveName=self.archive,
            EventSourceArn=self.bus_arn,
            Description="orders",
            EventPattern=json.dumps({"source": ["shop"], "detail": {"keep": [True]}}),
            RetentionDays=7,
        )
        assert made["State"] == "ENABLED"
        self.archive_arn = made["ArchiveArn"]

    def rule(self, name):
        arn = self.events.put_rule(Name=name, EventBusName=self.bus, EventPattern='{"source":["shop"]}')["RuleArn"]
        function = self.function("import json\nprint('got ' + json.dumps(event))")
        lambdas = self.server.client("lambda")
        lambdas.add_permission(
            FunctionName=function.name,
            StatementId="s",
            Action="lambda:InvokeFunction",
            Principal="events.amazonaws.com",
            SourceArn=arn,
        )
        target = lambdas.get_function_configuration(FunctionName=function.name)["FunctionArn"]
        reply = self.events.put_targets(Rule=name, EventBusName=self.bus, Targets=[{"Id": "1", "Arn": target}])
        assert reply["FailedEntryCount"] == 0
        return arn, function.name

    def put(self, number, keep=True):
        detail = json.dumps({"n": number, "keep": keep})
        entry = {"Source": "shop", "DetailType": "order", "Detail": detail, "EventBusName": self.bus}
        return self.events.put_events(Entries=[entry])["Entries"][0]["EventId"]

    def count(self):
        return self.events.describe_archive(ArchiveName=self.archive)["EventCount"]

    def got(self, name):
        logs = self.server.client("logs")
        try:
            pages = logs.get_paginator("filter_log_events").paginate(
                logGroupName=f"/aws/lambda/{name}", filterPattern='"got "'
            )
            found = [event for page in pages for event in page["events"]]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [json.loads(event["message"].removeprefix("got ")) for event in found]

    def replayed(self, name, replay):
        return sorted(event["detail"]["n"] for event in self.got(name) if event.get("replay-name") == replay)

    def replay(self, name, **destination):
        return self.events.start_replay(
            ReplayName=name,
            EventSourceArn=self.archive_arn,
            EventStartTime=minutes(-10),
            EventEndTime=minutes(10),
            Destination={"Arn": self.bus_arn, **destination},
        )


@pytest.fixture
def scene(server, function):
    return Scene(server, function)


def test_an_archive_keeps_what_it_wants_and_a_replay_gives_it_again(events, scene):
    kept_arn, kept = scene.rule("kept")
    _, other = scene.rule("other")
    ids = [scene.put(number) for number in range(3)]
    scene.put(99, keep=False)
    m.until(lambda: scene.count() == 3, "three archived events")
    m.until(lambda: len(scene.got(kept)) == 4 and len(scene.got(other)) == 4, "the events themselves came", ATTEMPTS_S)

    name = m.name("replay")
    started = scene.replay(name, FilterArns=[kept_arn])
    assert started["State"] == "STARTING"
    m.until(lambda: scene.replayed(kept, name) == [0, 1, 2], "the replayed events came", ATTEMPTS_S)
    m.until(lambda: events.describe_replay(ReplayName=name)["State"] == "COMPLETED", "the end of the replay")
    assert scene.replayed(other, name) == []
    again = [event for event in scene.got(kept) if "replay-name" in event]
    assert {event["id"] for event in again} == set(ids), "an event keeps its id"

    found = events.describe_replay(ReplayName=name)
    assert found["ReplayArn"] == started["ReplayArn"]
    assert found["EventSourceArn"] == scene.archive_arn
    assert found["Destination"] == {"Arn": scene.bus_arn, "FilterArns": [kept_arn]}
    assert found["ReplayEndTime"] >= found["ReplayStartTime"]
    assert "EventLastReplayedTime" in found
    assert [r["ReplayName"] for r in events.list_replays(NamePrefix=name)["Replays"]] == [name]
    assert scene.count() == 3, "what is replayed is not archived again"

    with m.refused("IllegalStatusException", f"Replay {name} is not in a valid state for this operation."):
        events.cancel_replay(ReplayName=name)
    with m.refused("ResourceAlreadyExistsException", f"Replay {name} already exists."):
        scene.replay(name)


def test_an_archive_lives_and_dies(events, scene):
    found = events.describe_archive(ArchiveName=scene.archive)
    assert (found["ArchiveArn"], found["EventSourceArn"]) == (scene.archive_arn, scene.bus_arn)
    assert (found["State"], found["RetentionDays"], found["Description"]) == ("ENABLED", 7, "orders")
    assert (found["EventCount"], found["SizeBytes"]) == (0, 0)
    with m.refused("ResourceAlreadyExistsException", f"Archive {scene.archive} already exists."):
        events.create_archive(ArchiveName=scene.archive, EventSourceArn=scene.bus_arn)

    events.update_archive(ArchiveName=scene.archive, RetentionDays=0, EventPattern='{"source":["other"]}')
    found = events.describe_archive(ArchiveName=scene.archive)
    assert (found["RetentionDays"], found["EventPattern"]) == (0, '{"source":["other"]}')
    assert found["Description"] == "orders"
    with m.refused("InvalidEventPatternException"):
        events.update_archive(ArchiveName=scene.archive, EventPattern='{"source":"other"}')

    listed = events.list_archives(EventSourceArn=scene.bus_arn)["Archives"]
    assert [archive["ArchiveName"] for archive in listed] == [scene.archive]
    with m.refused("ValidationException"):
        events.list_archives(EventSourceArn=scene.bus_arn, NamePrefix="x")

    events.delete_archive(ArchiveName=scene.archive)
    for call in (events.describe_archive, events.delete_archive, events.update_archive):
        with m.refused("ResourceNotFoundException", f"Archive {scene.archive} does not exist."):
            call(ArchiveName=scene.archive)
    with m.refused("ResourceNotFoundException", f"Archive {scene.archive} does not exist."):
        scene.replay("never")


def test_what_a_replay_refuses(events, scene):
    other = events.create_event_bus(Name=m.name("bus"))["EventBusArn"]
    with m.refused(
        "ValidationException",
        "Parameter Destination.Arn is not valid. Reason: Cross event bus replay is not permitted.",
    ):
        scene.replay("never", Arn=other)
    with m.refused(
        "ValidationException", "Parameter Destination.Arn is not valid. Reason: Must contain an event bus ARN."
    ):
        scene.replay("never", Arn="arn:aws:lambda:us-east-1:123456789012:function:f")
    with m.refused(
        "ValidationException",
        "Parameter EventEndTime is not valid. Reason: EventStartTime must be before EventEndTime.",
    ):
        events.start_replay(
            ReplayName="never",
            EventSourceArn=scene.archive_arn,
            EventStartTime=minutes(0),
            EventEndTime=minutes(-1),
            Destination={"Arn": scene.bus_arn},
        )
    with m.refused("ResourceNotFoundException", "Replay never does not exist."):
        events.describe_replay(ReplayName="never")


def test_archived_events_survive_kill_9(fresh):
    server = fresh()
    events = server.client("events")
    bus = events.create_event_bus(Name="orders")["EventBusArn"]
    events.create_archive(ArchiveName="all", EventSourceArn=bus)
    entry = {"Source": "shop", "DetailType": "order", "Detail": "{}", "EventBusName": "orders"}
    for _ in range(5):
        assert events.put_events(Entries=[entry] * 10)["FailedEntryCount"] == 0
    server.kill()
    server = fresh()
    events = server.client("events")
    m.until(lambda: events.describe_archive(ArchiveName="all")["EventCount"] >= 50, "fifty archived events")


EVENT = {
    "id": "1",
    "source": "shop",
    "detail-type": "order",
    "account": "123456789012",
    "region": "us-east-1",
    "time": "2026-03-14T09:26:53Z",
    "detail": {"total": 300.0},
}


def test_a_pattern_is_tried_on_an_event(events):
    def test(pattern, event=EVENT):
        return events.test_event_pattern(EventPattern=json.dumps(pattern), Event=json.dumps(event))["Result"]

    assert test({"source": ["shop"], "detail": {"total": [300]}}) is True
    assert test({"source": ["shop"], "detail": {"total": [{"numeric": [">", 300]}]}}) is False
    text = (
        'Event pattern is not valid. Reason: "int" must be an object or an array\n'
        ' at [Source: (String)"{"int": 42}"; line: 1, column: 11]'
    )
    with m.refused("InvalidEventPatternException", re.escape(text)):
        test({"int": 42})
    for wrong in ("this is a string", [EVENT], {"id": "1", "source": "shop"}):
        with m.refused("ValidationException", "Parameter Event is not valid."):
            test({"source": ["shop"]}, wrong)
