"""Invocations, as the AWS SDK sees them: the issue's real inputs, the three types, errors of every kind, the limits."""

import base64
import json
import re

import pytest

import mayfly as m

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

SCHEDULED = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2015-10-08T16:53:06Z",
    "region": "us-east-1",
    "resources": ["arn:aws:events:us-east-1:123456789012:rule/my-scheduled-rule"],
    "detail": {},
}


def test_the_handler_of_the_first_tutorial(function):
    hello = function("import json\nprint('Received event: ' + json.dumps(event))\nreturn event['key1']")
    reply = hello.call({"key3": "value3", "key2": "value2", "key1": "value1"})
    assert reply["payload"] == "value1"
    assert reply["StatusCode"] == 200
    assert reply["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in reply
    assert 'Received event: {"key3": "value3", "key2": "value2", "key1": "value1"}' in reply["log"]


def test_the_log_has_awss_lines(function):
    hello = function("print('hi')")
    first, second = hello.call({}), hello.call({})
    id_1 = first["ResponseMetadata"]["RequestId"]
    assert re.fullmatch(
        rf"(INIT_START Runtime Version: .*\n)?START RequestId: {id_1} Version: \$LATEST\nhi\nEND RequestId: {id_1}\n"
        rf"REPORT RequestId: {id_1}\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\t"
        r"Max Memory Used: \d+ MB\tInit Duration: \d+\.\d\d ms\t\n",
        first["log"],
    ), first["log"]
    assert "Init Duration" not in second["log"]
    assert first["payload"] is None, "a handler that returns nothing yields null"


def test_the_log_of_calls_in_a_row_is_in_order(function, logs):
    """The end of an invocation waits in the log until its caller has the answer; what follows waits for it."""
    grows = function("held = bytearray(60_000_000) if event else None\nprint('hi')")
    replies = [grows.client.invoke(FunctionName=grows.name, Payload=payload) for payload in (b"1", b"0", b"0")]
    ids = [reply["ResponseMetadata"]["RequestId"] for reply in replies]
    expected = [line for id in ids for line in (f"START {id}", "hi", f"END {id}", f"REPORT {id}")]

    def lines():
        log = logs.filter_log_events(logGroupName=f"/aws/lambda/{grows.name}")
        return [event["message"] for event in log["events"]]

    def shortened():
        return [re.sub(r"^(START|END|REPORT) RequestId: (\S+).*", r"\1 \2", line.rstrip()) for line in lines()]

    m.until(lambda: shortened()[-1:] == expected[-1:], "the last of them is reported")
    assert [line for line in shortened() if not line.startswith("INIT_")] == expected
    memory = [int(found[1]) for found in (re.search(r"Max Memory Used: (\d+) MB", line) for line in lines()) if found]
    assert len(memory) == 3 and min(memory) >= 60, "what the first of them took is in the report of each"


def test_the_scheduled_event(function):
    report = function("return 'hello world! it is {}'.format(event['time'])")
    assert report.call(SCHEDULED)["payload"] == "hello world! it is 2015-10-08T16:53:06Z"


def test_the_api_style_handler(function):
    api = function(
        """
import json
body = {'path': event.get('path'), 'ok': True}
return {'statusCode': '200', 'body': json.dumps(body), 'headers': {'Content-Type': 'application/json'}}
"""
    )
    reply = api.call({"path": "/pets"})["payload"]
    assert reply["statusCode"] == "200"
    assert json.loads(reply["body"]) == {"path": "/pets", "ok": True}


def test_a_handler_that_raises(function):
    failing = function("raise ValueError('no such pet')")
    reply = failing.call({})
    assert reply["StatusCode"] == 200
    assert reply["FunctionError"] == "Unhandled"
    payload = reply["payload"]
    assert payload["errorType"] == "ValueError"
    assert payload["errorMessage"] == "no such pet"
    assert payload["requestId"] == reply["ResponseMetadata"]["RequestId"]
    assert payload["stackTrace"][-1].startswith('  File "/var/task/lambda_function.py", line 2, in lambda_handler\n')
    assert "[ERROR] ValueError: no such pet" in reply["log"]


def test_a_success_may_look_like_an_error(function):
    assert "FunctionError" not in function("return {'errorMessage': 'x', 'errorType': 'y'}").call({})


def test_a_handler_past_its_timeout(function):
    slow = function("import time\nif event: time.sleep(60)\nreturn 1", Timeout=1)
    reply = slow.call({"sleep": True})
    request = reply["ResponseMetadata"]["RequestId"]
    assert reply["FunctionError"] == "Unhandled"
    assert reply["payload"] == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {request} Error: Task timed out after 1.00 seconds",
    }
    assert "Status: timeout" in reply["log"]
    assert slow.call(None)["payload"] == 1, "the next one gets a new environment"


def test_a_handler_past_its_memory(function):
    hungry = function("blocks = []\nwhile event: blocks.append(bytearray(8 << 20))\nreturn 1", Timeout=60)
    reply = hungry.call({"eat": True})
    assert reply["FunctionError"] == "Unhandled"
    assert reply["payload"]["errorType"] in ("Runtime.OutOfMemory", "Runtime.ExitError"), reply["payload"]
    assert "Error Type: Runtime.OutOfMemory" in reply["log"], reply["log"]
    assert hungry.call({})["payload"] == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit(0)", "Runtime exited without providing a reason"),
        ("import sys; sys.exit(3)", "Runtime exited with error: exit status 3"),
        ("import os; os._exit(7)", "Runtime exited with error: exit status 7"),
        ("import os; os.kill(os.getpid(), 9)", "Runtime exited with error: signal: killed"),
        ("import ctypes; ctypes.string_at(0)", "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_a_handler_that_ends_its_process(function, code, message):
    reply = function(code).call({})
    request = reply["ResponseMetadata"]["RequestId"]
    assert reply["FunctionError"] == "Unhandled"
    assert reply["payload"]["errorType"] == "Runtime.ExitError"
    # AWS adds ` (core dumped)` where the kernel says so.
    assert reply["payload"]["errorMessage"].startswith(f"RequestId: {request} Error: {message}"), reply["payload"]


@pytest.mark.parametrize(
    ("files", "handler", "kind", "message"),
    [
        (
            {"syn.py": "def lambda_handler(event, context)\n    pass\n"},
            "syn.lambda_handler",
            "Runtime.UserCodeSyntaxError",
            r"Syntax error in module 'syn': .*\(syn.py, line 1\)",
        ),
        (
            {"other.py": ""},
            "nope.lambda_handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'nope': No module named 'nope'",
        ),
        (
            {"app.py": "import missing_thing"},
            "app.lambda_handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'app': No module named 'missing_thing'",
        ),
        ({"app.py": "x = 1"}, "app.nope", "Runtime.HandlerNotFound", "Handler 'nope' missing on module 'app'"),
        (
            {"app.py": "x = 1"},
            "app",
            "Runtime.MalformedHandlerName",
            r"Bad handler 'app': not enough values to unpack \(expected 2, got 1\)",
        ),
        ({"app.py": "raise KeyError('at import')"}, "app.handler", "KeyError", "'at import'"),
    ],
)
def test_code_that_does_not_load(function, files, handler, kind, message):
    reply = function(m.zipped(files), Handler=handler).call({})
    assert reply["StatusCode"] == 200
    assert reply["FunctionError"] == "Unhandled"
    assert reply["payload"]["errorType"] == kind, reply["payload"]
    assert re.fullmatch(message, reply["payload"]["errorMessage"]), reply["payload"]


def test_a_reply_that_is_not_json(function):
    payload = function("return object()").call({})["payload"]
    assert payload["errorType"] == "Runtime.MarshalError"
    assert payload["errorMessage"].startswith(
        "Unable to marshal response: Object of type object is not JSON serializable"
    )


def test_an_encoder_that_was_taught_more(function):
    taught = """
import decimal, json
original = json.JSONEncoder.default
json.JSONEncoder.default = lambda self, value: sorted(value) if isinstance(value, set) else original(self, value)

def handler(event, context):
    return {"set": {2, 1}, "price": decimal.Decimal("1.10"), "other": object() if event else None}
"""
    answer = function(m.zipped({"app.py": taught}), Handler="app.handler")
    assert (
        answer.client.invoke(FunctionName=answer.name)["Payload"].read()
        == b'{"set": [1, 2], "price": 1.10, "other": null}'
    )
    assert "object is not JSON serializable" in answer.call({"k": 1})["payload"]["errorMessage"]


def test_replies_of_six_megabytes_and_more(function):
    echo = function("return 'x' * event", MemorySize=512)
    limit = 6 * 1024 * 1024
    assert len(echo.call(limit - 2)["payload"]) == limit - 2
    reply = echo.call(limit + 1000)
    assert reply["FunctionError"] == "Unhandled"
    assert reply["payload"]["errorType"] == "Function.ResponseSizeTooLarge"
    assert (
        "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
        in reply["payload"]["errorMessage"]
    )


def test_requests_of_six_megabytes_and_more(function):
    count = function("return len(event)", MemorySize=512)
    limit = 6 * 1024 * 1024
    assert count.call(b'"' + b"x" * (limit - 2) + b'"')["payload"] == limit - 2
    with m.refused("RequestEntityTooLargeException|RequestTooLargeException", status=413) as refusal:
        count.call(b'"' + b"x" * limit + b'"')
    assert str(limit) in refusal.error["Message"]


def test_events_of_one_megabyte_and_more(function):
    sink = function("return 1")
    limit = 1024 * 1024
    accepted = sink.client.invoke(
        FunctionName=sink.name, InvocationType="Event", Payload=b'"' + b"x" * (limit - 2) + b'"'
    )
    assert accepted["StatusCode"] == 202
    with m.refused("RequestEntityTooLargeException|RequestTooLargeException", status=413) as refusal:
        sink.client.invoke(FunctionName=sink.name, InvocationType="Event", Payload=b'"' + b"x" * limit + b'"')
    assert str(limit) in refusal.error["Message"]


CONTEXT = """
import os
names = ['function_name', 'function_version', 'invoked_function_arn', 'memory_limit_in_mb', 'aws_request_id',
         'log_group_name', 'log_stream_name', 'client_context', 'tenant_id']
found = {name: getattr(context, name) for name in names if name != 'client_context'}
found['identity'] = [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id]
cc = context.client_context
found['client_context'] = cc and {
    'custom': cc.custom, 'env': cc.env, 'title': cc.client.app_title, 'installation': cc.client.installation_id}
found['remaining'] = context.get_remaining_time_in_millis()
context.log('from the context\\n')
found['env'] = dict(os.environ)
found['repr'] = repr(context)
return found
"""


def test_every_attribute_of_the_context(function):
    look = function(CONTEXT, MemorySize=256, Timeout=20, Environment={"Variables": {"COLOUR": "blue"}})
    given = {"client": {"app_title": "t", "installation_id": "i"}, "custom": {"a": "b"}, "env": {"locale": "de"}}
    reply = look.call({}, ClientContext=base64.b64encode(json.dumps(given).encode()).decode())
    found = reply["payload"]
    assert found["function_name"] == look.name
    assert found["function_version"] == "$LATEST"
    assert found["invoked_function_arn"].endswith(f":function:{look.name}")
    assert found["memory_limit_in_mb"] == "256", "a string, as on AWS"
    assert found["aws_request_id"] == reply["ResponseMetadata"]["RequestId"]
    assert found["log_group_name"] == f"/aws/lambda/{look.name}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", found["log_stream_name"])
    assert found["identity"] == [None, None]
    assert found["client_context"] == {"custom": {"a": "b"}, "env": {"locale": "de"}, "title": "t", "installation": "i"}
    assert found["tenant_id"] is None
    assert 0 < found["remaining"] <= 20_000
    assert found["repr"].startswith("LambdaContext([aws_request_id=")
    assert "from the context" in reply["log"]
    env = found["env"]
    assert env["COLOUR"] == "blue"
    assert env["AWS_EXECUTION_ENV"] == f"AWS_Lambda_{m.PYTHON}"
    assert env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert env["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    assert env["_HANDLER"] == "lambda_function.lambda_handler"
    assert env["LAMBDA_TASK_ROOT"] == "/var/task"
    assert env["TZ"] == ":UTC"
    assert re.fullmatch(r"[^:/]+:\d+", env["AWS_LAMBDA_RUNTIME_API"])
    assert env["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert env["AWS_SESSION_TOKEN"]
    assert not [name for name in env if name.startswith("MAYFLY")]


def test_without_a_client_context(function):
    assert function(CONTEXT).call({})["payload"]["client_context"] is None


def test_an_event_is_accepted_and_runs(function, logs):
    sink = function("print('saw ' + event['word'])")
    reply = sink.client.invoke(FunctionName=sink.name, InvocationType="Event", Payload=b'{"word": "later"}')
    assert reply["StatusCode"] == 202
    assert reply["Payload"].read() == b""
    assert "ExecutedVersion" not in reply
    request = reply["ResponseMetadata"]["RequestId"]
    found = m.until(lambda: messages(logs, sink, "saw later"), "the event has run")
    assert found == ["saw later\n"] or found == ["saw later"]
    assert m.until(lambda: messages(logs, sink, f'"START RequestId: {request}"'), "its START names the same request")


def messages(logs, function, pattern):
    try:
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{function.name}", filterPattern=pattern)["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [event["message"] for event in events]


def test_a_dry_run_runs_nothing(function, logs):
    sink = function("print('ran')")
    reply = sink.client.invoke(FunctionName=sink.name, InvocationType="DryRun")
    assert reply["StatusCode"] == 204
    assert reply["Payload"].read() == b""
    assert sink.call({})["payload"] is None
    m.until(lambda: messages(logs, sink, "ran"), "the second one's line is there")
    assert len(messages(logs, sink, "ran")) == 1


def test_an_empty_payload(function):
    assert function("return [event]").call(None)["payload"] in ([{}], [None], [""])


@pytest.mark.parametrize("form", ["{name}", "{name}:$LATEST", "{account}:function:{name}", "{arn}", "{arn}:$LATEST"])
def test_every_form_of_a_functions_name(function, sts, form):
    one = function("return 1")
    arn = one.client.get_function_configuration(FunctionName=one.name)["FunctionArn"]
    account = sts.get_caller_identity()["Account"]
    reply = one.client.invoke(FunctionName=form.format(name=one.name, account=account, arn=arn))
    assert reply["Payload"].read() == b"1"


def test_state_is_kept_between_invocations_of_one_environment(function):
    code = "count = 0\ndef lambda_handler(event, context):\n    global count\n    count += 1\n    return count\n"
    counter = function(m.zipped({"lambda_function.py": code}))
    assert [counter.call({})["payload"] for _ in range(5)] == [1, 2, 3, 4, 5]


def test_tmp_is_writable_and_the_rest_is_not(function):
    probe = function(
        """
import os
def writes(path):
    try:
        open(path, 'w').close()
        return True
    except OSError:
        return False
return [writes(p) for p in ('/tmp/x', '/var/task/x', '/opt/x', '/x', '/etc/passwd', '/usr/x')]
"""
    )
    assert probe.call({})["payload"] == [True, False, False, False, False, False]


def test_unicode_comes_and_goes(function):
    echo = function("print(event)\nreturn event")
    text = "grüße 日本語 \U0001f680 \u2028 \x00"
    reply = echo.call({"text": text})
    assert reply["payload"] == {"text": text}


def test_a_payload_that_is_not_json(function):
    one = function("return 1")
    with m.refused("InvalidRequestContentException", "Could not parse request body into json: .*", 400):
        one.call(b"{nope")


def test_unknown_invocation_type(function):
    one = function("return 1")
    with m.refused("InvalidParameterValueException|ValidationException"):
        one.client.invoke(FunctionName=one.name, InvocationType="Sometimes")
