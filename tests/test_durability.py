"""What was acknowledged survives kill -9."""

import json
import os
import pathlib
import signal
import threading
import time

import mayfly as m
from conftest import make_role


def create(client, role, name, body="return event", **settings):
    return client.create_function(
        FunctionName=name,
        Runtime=m.PYTHON,
        Handler="lambda_function.lambda_handler",
        Role=role,
        Code={"ZipFile": m.handler(body)},
        **settings,
    )


def wait_active(client, name):
    client.get_waiter("function_active_v2").wait(FunctionName=name)


def lines(logs, group, pattern=""):
    """Every message of a log group; none when it is not there."""
    try:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, filterPattern=pattern)
        return [event["message"] for page in pages for event in page["events"]]
    except logs.exceptions.ResourceNotFoundException:
        return []


def test_an_event_that_was_accepted_runs_after_a_kill(fresh):
    server = fresh()
    client = server.client("lambda")
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    create(client, role, "sink", "print('got ' + event['n'])")
    wait_active(client, "sink")
    accepted = [
        client.invoke(FunctionName="sink", InvocationType="Event", Payload=json.dumps({"n": f"<{n}>"}))["StatusCode"]
        for n in range(20)
    ]
    server.kill()
    assert accepted == [202] * 20
    server.start()
    logs = server.client("logs")

    def all_there():
        text = "".join(lines(logs, "/aws/lambda/sink", "got"))
        return all(f"<{n}>" in text for n in range(20))

    # Those that ran when the server was killed run again when their lease is over, a minute later.
    m.until(all_there, "all twenty have run", 120)


def test_a_kill_while_the_event_runs_runs_it_again(fresh):
    server = fresh()
    client = server.client("lambda")
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    create(client, role, "slow", "import time\nprint('begun')\ntime.sleep(3)\nprint('ended')", Timeout=60)
    wait_active(client, "slow")
    client.invoke(FunctionName="slow", InvocationType="Event", Payload=b"{}")
    m.until(lambda: has_processes(server), "the event runs")
    server.kill()
    server.start()
    logs = server.client("logs")
    m.until(lambda: lines(logs, "/aws/lambda/slow", "ended"), "it has run to its end", 120)


def has_processes(server):
    """Whether the server has processes below it: its sandboxes."""
    children = pathlib.Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return children.read_text().split()


def test_kills_under_load_lose_nothing_acknowledged(fresh):
    """Writers of every kind go on while the server is killed five times; what each was told is there at the end."""
    server = fresh()
    iam = server.client("iam")
    role = make_role(iam, "basic", m.BASIC_EXECUTION)
    server.client("logs").create_log_group(logGroupName="/load")
    server.client("logs").create_log_stream(logGroupName="/load", logStreamName="s")
    stop = threading.Event()
    acknowledged = {"functions": [], "users": [], "events": []}

    def writer(kind, write):
        """Writes numbered things until told to stop; notes each that was acknowledged."""
        number = 0
        while not stop.is_set():
            number += 1
            try:
                write(number)
            except Exception:  # The server is being killed; what was not acknowledged may or may not be there.
                time.sleep(0.05)
                continue
            acknowledged[kind].append(number)

    client, log_client = server.client("lambda"), server.client("logs")
    writes = {
        "functions": lambda n: create(client, role, f"f{n}"),
        "users": lambda n: iam.create_user(UserName=f"u{n}"),
        "events": lambda n: log_client.put_log_events(
            logGroupName="/load",
            logStreamName="s",
            logEvents=[{"timestamp": int(time.time() * 1000), "message": f"<{n}>"}],
        ),
    }
    threads = [threading.Thread(target=writer, args=item) for item in writes.items()]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            before = sum(map(len, acknowledged.values()))
            m.until(lambda: sum(map(len, acknowledged.values())) > before + 30, "the writers have got on")
            server.kill()
            server.start()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    server.kill()
    server.start()

    functions = client.get_paginator("list_functions").paginate()
    functions = {f["FunctionName"] for page in functions for f in page["Functions"]}
    users = {u["UserName"] for page in iam.get_paginator("list_users").paginate() for u in page["Users"]}
    events = "".join(lines(log_client, "/load"))
    lost = (
        [f"f{n}" for n in acknowledged["functions"] if f"f{n}" not in functions]
        + [f"u{n}" for n in acknowledged["users"] if f"u{n}" not in users]
        + [f"<{n}>" for n in acknowledged["events"] if f"<{n}>" not in events]
    )
    assert not lost, f"lost {lost} of {acknowledged}"
    assert all(len(kind) > 10 for kind in acknowledged.values()), acknowledged
    last = f"f{acknowledged['functions'][-1]}"
    wait_active(client, last)
    assert client.invoke(FunctionName=last, Payload=b'"works"')["Payload"].read() == b'"works"'


def test_a_server_without_its_broker_ends_and_says_why(fresh):
    """So that whoever supervises it starts it again. One that goes on would answer every invocation with an error."""
    server = fresh()
    client = server.client("lambda")
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    create(client, role, "echo")
    wait_active(client, "echo")
    children = pathlib.Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    broker = min(int(pid) for pid in children)
    assert "__sandbox" in pathlib.Path(f"/proc/{broker}/cmdline").read_text()
    os.kill(broker, signal.SIGKILL)
    assert server.process.wait(m.DEADLINE_S) == 1
    assert "the sandbox broker has ended" in server.log.read_text()
    server.start()
    answer = server.client("lambda").invoke(FunctionName="echo", Payload=b"1")
    assert answer["Payload"].read() == b"1"


def test_a_function_that_is_pending_becomes_active_after_a_kill(fresh):
    server = fresh()
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    create(server.client("lambda"), role, "young")
    server.kill()
    server.start()
    client = server.client("lambda")
    wait_active(client, "young")
    assert client.invoke(FunctionName="young", Payload=b"1")["Payload"].read() == b"1"


def test_everything_is_there_after_a_stop(fresh):
    server = fresh()
    client, iam = server.client("lambda"), server.client("iam")
    role = make_role(iam, "basic", m.BASIC_EXECUTION)
    create(client, role, "kept", Tags={"a": "b"})
    wait_active(client, "kept")
    client.publish_version(FunctionName="kept")
    client.create_alias(FunctionName="kept", Name="live", FunctionVersion="1")
    client.add_permission(
        FunctionName="kept", StatementId="s", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com"
    )
    client.put_function_concurrency(FunctionName="kept", ReservedConcurrentExecutions=3)
    client.invoke(FunctionName="kept", Payload=b"1")
    logs = server.client("logs")
    m.until(lambda: lines(logs, "/aws/lambda/kept", "REPORT"), "its log is there")
    before = snapshot(server)
    assert server.stop() == 0
    server.start()
    assert snapshot(server) == before
    assert client.invoke(FunctionName="kept:live", Payload=b"2")["Payload"].read() == b"2"


def snapshot(server):
    client = server.client("lambda")
    calls = [
        client.get_function(FunctionName="kept"),
        client.get_alias(FunctionName="kept", Name="live"),
        client.get_policy(FunctionName="kept"),
        client.list_versions_by_function(FunctionName="kept"),
        server.client("iam").list_attached_role_policies(RoleName="basic"),
    ]
    for call in calls:
        call.pop("ResponseMetadata")
    calls[0].pop("Code")  # A link that expires, and so is new each time.
    return calls + [sorted(lines(server.client("logs"), "/aws/lambda/kept"))]


def test_a_backup_beside_writes_is_whole(fresh, tmp_path):
    server = fresh()
    client = server.client("lambda")
    role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
    s3 = server.client("s3")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="k", Body=b"content")
    enough, created, failures = threading.Event(), [], []

    def write():
        own = server.client("lambda")
        try:
            while not enough.is_set():
                name = f"f{len(created)}"
                create(own, role, name, f"return '{name}'")
                created.append(name)
        except Exception as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    m.until(lambda: len(created) > 5 or failures, "some functions are there")
    acknowledged = list(created)
    copy = tmp_path / "copy"
    said = m.run("backup", copy, "--data", server.data)
    assert f"mayfly serve --data {copy}" in said.stdout
    enough.set()
    writer.join()
    assert not failures
    modes = {path.stat().st_mode & 0o077 for path in [copy, *copy.rglob("*")]}
    assert modes == {0}, "nobody else can read any of it"

    # The copy goes on where that moment was: every record, and the code that each of them names.
    second = fresh(data=copy)
    client = second.client("lambda")
    assert second.client("s3").get_object(Bucket="kept", Key="k")["Body"].read() == b"content"
    there = [f["FunctionName"] for page in client.get_paginator("list_functions").paginate() for f in page["Functions"]]
    assert set(acknowledged) <= set(there)
    for name in there:
        wait_active(client, name)
        assert json.loads(client.invoke(FunctionName=name)["Payload"].read()) == name

    said = m.run("backup", copy, "--data", server.data, check=False)
    assert said.returncode == 1 and "is not empty" in said.stderr
    # Without a server as well.
    server.stop()
    m.run("backup", tmp_path / "another", "--data", server.data)
