"""What goes out of the server is counted, and in the log, whoever wanted it: functions or API destinations."""

import json

import pytest

import mayfly as m
from endpoint import Endpoint

EVENTS_TRUST = m.LAMBDA_TRUST.replace("lambda.", "events.")


def logged(server, *words):
    """Lines of the server's log that hold all of these."""
    lines = server.log.read_text().splitlines()
    return [line for line in lines if all(word in line for word in words)]


def test_a_name_without_an_answer_is_told_once(server, function):
    one = function("""
import socket
try:
    return socket.getaddrinfo(event, 80)[0][4][0]
except OSError as error:
    return type(error).__name__
""")
    first, second = f"{m.name('db')}.example.com", f"{m.name('db')}.example.com"
    failed = server.metric("outbound_names_failed_total")
    for name in (first, first, second):
        assert one.call(name)["payload"] == "gaierror"
    for name in (first, second):
        (line,) = m.until(lambda name=name: logged(server, name), "the name is in the log")
        assert one.name in line and "the internet is closed to it" in line
    assert server.metric("outbound_names_failed_total") >= failed + 3


@pytest.fixture
def endpoint():
    endpoint = Endpoint()
    yield endpoint
    endpoint.shutdown()
    endpoint.server_close()


def test_connections_to_api_destinations_are_counted_and_logged(fresh, endpoint):
    port = endpoint.server_port
    flags = ("--internet", "--internet-allow", "127.0.0.1/32", "--internet-ports", str(port))
    server = fresh(*flags, env={"MAYFLY_LOG_LEVEL": "info,engine=debug"})
    events, iam = server.client("events"), server.client("iam")
    role = iam.create_role(RoleName="caller", AssumeRolePolicyDocument=EVENTS_TRUST)["Role"]["Arn"]
    statement = {"Effect": "Allow", "Action": "events:InvokeApiDestination", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName="caller", PolicyName="call", PolicyDocument=policy)
    connection = events.create_connection(
        Name="c",
        AuthorizationType="API_KEY",
        AuthParameters={"ApiKeyAuthParameters": {"ApiKeyName": "k", "ApiKeyValue": "s3cret"}},
    )["ConnectionArn"]
    for name, host, count, why in (
        ("open", "127.0.0.1", "allowed", "it is open"),
        ("closed", "127.0.0.2", "refused", "127.0.0.2 may not be reached"),
    ):
        destination = events.create_api_destination(
            Name=name, ConnectionArn=connection, InvocationEndpoint=f"http://{host}:{port}/", HttpMethod="POST"
        )["ApiDestinationArn"]
        events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
        events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": destination, "RoleArn": role}])
        before = server.metric(f"outbound_connections_{count}_total")
        events.put_events(Entries=[{"Source": name, "DetailType": "t", "Detail": "{}"}])
        (line,) = m.until(lambda host=host: logged(server, "own connection", host), "the decision is in the log")
        assert why in line and str(port) in line
        assert server.metric(f"outbound_connections_{count}_total") == before + 1
    m.until(lambda: len(endpoint.requests) == 1, "the open one was called")
    assert logged(server, "s3cret") == []
