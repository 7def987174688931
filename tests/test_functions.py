"""Functions, versions, aliases, layers, permissions and concurrency through boto3 and its waiters."""

import base64
import collections
import hashlib
import json
import re
import threading

import mayfly as m

NOT_FOUND = "ResourceNotFoundException"


def test_create_get_update_delete(lambdas, role):
    name, code = m.name(), m.handler("return 1")
    created = lambdas.create_function(
        FunctionName=name,
        Runtime=m.PYTHON,
        Role=role,
        Handler="lambda_function.lambda_handler",
        Code={"ZipFile": code},
        Description="first",
        Tags={"team": "pets"},
    )
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert created["State"] == "Pending"
    assert created["StateReasonCode"] == "Creating"
    assert created["StateReason"] == "The function is being created."
    lambdas.get_waiter("function_active_v2").wait(FunctionName=name)

    found = lambdas.get_function(FunctionName=name)
    config = found["Configuration"]
    assert config["State"] == "Active"
    assert config["LastUpdateStatus"] == "Successful"
    assert config["RevisionId"] != created["RevisionId"], "becoming active is a revision"
    assert config["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode()
    assert config["CodeSize"] == len(code)
    assert (config["MemorySize"], config["Timeout"], config["Version"]) == (128, 3, "$LATEST")
    assert config["Architectures"] == ["x86_64"]
    assert config["EphemeralStorage"] == {"Size": 512}
    assert config["PackageType"] == "Zip"
    assert config["TracingConfig"] == {"Mode": "PassThrough"}
    assert config["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}
    assert config["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"}
    assert "Environment" not in config
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", config["LastModified"])
    assert found["Tags"] == {"team": "pets"}

    lambdas.update_function_configuration(FunctionName=name, Timeout=7, Environment={"Variables": {"COLOUR": "1"}})
    lambdas.get_waiter("function_updated_v2").wait(FunctionName=name)
    config = lambdas.get_function_configuration(FunctionName=name)
    assert (config["Timeout"], config["Environment"], config["Description"]) == (
        7,
        {"Variables": {"COLOUR": "1"}},
        "first",
    )

    assert name in [f["FunctionName"] for f in pages(lambdas, "list_functions", "Functions")]
    assert lambdas.delete_function(FunctionName=name)["ResponseMetadata"]["HTTPStatusCode"] in (200, 204)
    with m.refused(NOT_FOUND, rf"Function not found: arn:aws:lambda:[\w-]+:\d{{12}}:function:{name}", 404):
        lambdas.get_function(FunctionName=name)


def pages(client, operation, member, **arguments):
    """Every item of a paged listing."""
    return [item for page in client.get_paginator(operation).paginate(**arguments) for item in page[member]]


def test_the_code_can_be_downloaded_again(function, server):
    import urllib.request

    code = m.handler("return 1")
    one = function(code)
    location = one.client.get_function(FunctionName=one.name)["Code"]
    assert location["RepositoryType"] == "S3"
    with urllib.request.urlopen(location["Location"], timeout=30) as reply:
        assert reply.read() == code


def test_new_code_is_what_runs(function):
    one = function("return 'old'")
    assert one.call({})["payload"] == "old"
    one.client.update_function_code(FunctionName=one.name, ZipFile=m.handler("return 'new'"))
    one.client.get_waiter("function_updated_v2").wait(FunctionName=one.name)
    assert {one.call({})["payload"] for _ in range(5)} == {"new"}


def test_new_configuration_is_what_runs(function):
    one = function("import os\nreturn os.environ.get('COLOUR')")
    assert one.call({})["payload"] is None
    one.client.update_function_configuration(FunctionName=one.name, Environment={"Variables": {"COLOUR": "set"}})
    one.client.get_waiter("function_updated_v2").wait(FunctionName=one.name)
    assert one.call({})["payload"] == "set"


def test_a_dry_run_of_an_update_changes_nothing(function):
    one = function("return 'old'")
    before = one.client.get_function_configuration(FunctionName=one.name)
    one.client.update_function_code(FunctionName=one.name, ZipFile=m.handler("return 'new'"), DryRun=True)
    assert one.client.get_function_configuration(FunctionName=one.name)["CodeSha256"] == before["CodeSha256"]


def test_listing_in_pages(function):
    made = {function("return 1").name for _ in range(3)}
    client = function("return 1").client
    found, marker, rounds = set(), None, 0
    while True:
        page = client.list_functions(MaxItems=1, **({"Marker": marker} if marker else {}))
        assert len(page["Functions"]) <= 1
        found |= {f["FunctionName"] for f in page["Functions"]}
        rounds += 1
        marker = page.get("NextMarker")
        if not marker:
            break
    assert made <= found
    assert rounds >= 3


def test_versions(function):
    one = function("import os\nreturn [os.environ['AWS_LAMBDA_FUNCTION_VERSION'], context.function_version, 'one']")
    client, name = one.client, one.name
    first = client.publish_version(FunctionName=name, Description="the first")
    assert (first["Version"], first["Description"]) == ("1", "the first")
    assert first["FunctionArn"].endswith(f":{name}:1")
    assert client.publish_version(FunctionName=name)["Version"] == "1", "nothing has changed"
    client.update_function_code(FunctionName=name, ZipFile=m.handler("return 'two'"))
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert client.publish_version(FunctionName=name)["Version"] == "2"
    reply = one.call({}, Qualifier="1")
    assert reply["payload"] == ["1", "1", "one"]
    assert reply["ExecutedVersion"] == "1"
    assert one.call({}, Qualifier="2")["payload"] == "two"
    versions = [v["Version"] for v in pages(client, "list_versions_by_function", "Versions", FunctionName=name)]
    assert versions == ["$LATEST", "1", "2"]
    with m.refused(NOT_FOUND, r"Function not found: .*:function:.*:9", 404):
        one.call({}, Qualifier="9")
    with m.refused(
        "InvalidParameterValueException", r"\$LATEST version cannot be deleted without deleting the function."
    ):
        client.delete_function(FunctionName=name, Qualifier="$LATEST")
    client.delete_function(FunctionName=name, Qualifier="1")
    with m.refused(NOT_FOUND):
        client.get_function(FunctionName=name, Qualifier="1")


def test_publish_with_the_wrong_hash(function):
    one = function("return 1")
    sha = one.client.get_function_configuration(FunctionName=one.name)["CodeSha256"]
    with m.refused(
        "InvalidParameterValueException",
        rf"CodeSHA256 \(wrong\) is different from current CodeSHA256 in \$LATEST \({re.escape(sha)}\)\. "
        r"Please try again with the CodeSHA256 in \$LATEST\.",
    ):
        one.client.publish_version(FunctionName=one.name, CodeSha256="wrong")


def two_versions(function):
    one = function("return 'one'")
    one.client.publish_version(FunctionName=one.name)
    one.client.update_function_code(FunctionName=one.name, ZipFile=m.handler("return 'two'"), Publish=True)
    one.client.get_waiter("function_updated_v2").wait(FunctionName=one.name)
    return one


def test_aliases(function):
    one = two_versions(function)
    client, name = one.client, one.name
    alias = client.create_alias(FunctionName=name, Name="live", FunctionVersion="1", Description="d")
    assert alias["AliasArn"].endswith(f":function:{name}:live")
    reply = one.call({}, Qualifier="live")
    assert (reply["payload"], reply["ExecutedVersion"]) == ("one", "1")
    with m.refused("ResourceConflictException", rf"Alias already exists: {alias['AliasArn']}", 409):
        client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    client.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    assert one.call({}, Qualifier="live")["payload"] == "two"
    found = client.get_alias(FunctionName=name, Name="live")
    assert (found["FunctionVersion"], found["Description"]) == ("2", "d")
    assert [a["Name"] for a in pages(client, "list_aliases", "Aliases", FunctionName=name)] == ["live"]
    with m.refused("PreconditionFailedException", status=412):
        client.update_alias(FunctionName=name, Name="live", RevisionId=alias["RevisionId"], FunctionVersion="1")
    client.delete_alias(FunctionName=name, Name="live")
    with m.refused(NOT_FOUND, rf"Cannot find alias arn: {alias['AliasArn']}", 404):
        client.get_alias(FunctionName=name, Name="live")


def test_the_arn_that_a_handler_sees_is_the_one_invoked(function):
    one = function("return context.invoked_function_arn")
    one.client.publish_version(FunctionName=one.name)
    one.client.create_alias(FunctionName=one.name, Name="live", FunctionVersion="1")
    assert one.call({}, Qualifier="live")["payload"].endswith(f":{one.name}:live")
    assert one.call({}, Qualifier="1")["payload"].endswith(f":{one.name}:1")
    assert one.call({})["payload"].endswith(f":{one.name}")


def test_weights_route(function):
    one = two_versions(function)
    one.client.create_alias(
        FunctionName=one.name,
        Name="canary",
        FunctionVersion="1",
        RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}},
    )
    seen = collections.Counter()
    for _ in range(60):
        reply = one.call({}, Qualifier="canary")
        assert reply["payload"] == {"1": "one", "2": "two"}[reply["ExecutedVersion"]]
        seen[reply["payload"]] += 1
    # Fewer than 8 of 60 at one half happens once in ten thousand million runs.
    assert min(seen["one"], seen["two"]) >= 8, seen


def layer(files):
    return {"ZipFile": m.zipped(files)}


def test_layers_are_under_opt_and_later_ones_win(function):
    one = function("import shared\nreturn [shared.WORD, open('/opt/data.txt').read()]")
    client = one.client
    name_1, name_2 = m.name("layer"), m.name("layer")
    first = client.publish_layer_version(
        LayerName=name_1,
        Content=layer({"python/shared.py": "WORD = 'first'", "data.txt": "first"}),
        CompatibleRuntimes=[m.PYTHON],
        Description="d",
    )
    assert first["Version"] == 1
    assert first["LayerVersionArn"].endswith(f":layer:{name_1}:1")
    second = client.publish_layer_version(LayerName=name_2, Content=layer({"data.txt": "second"}))
    client.update_function_configuration(
        FunctionName=one.name, Layers=[first["LayerVersionArn"], second["LayerVersionArn"]]
    )
    client.get_waiter("function_updated_v2").wait(FunctionName=one.name)
    assert one.call({})["payload"] == ["first", "second"]
    found = client.get_function_configuration(FunctionName=one.name)["Layers"]
    assert [entry["Arn"] for entry in found] == [first["LayerVersionArn"], second["LayerVersionArn"]]
    assert client.get_layer_version(LayerName=name_1, VersionNumber=1)["CompatibleRuntimes"] == [m.PYTHON]
    assert [v["Version"] for v in pages(client, "list_layer_versions", "LayerVersions", LayerName=name_1)] == [1]
    client.delete_layer_version(LayerName=name_1, VersionNumber=1)
    with m.refused(NOT_FOUND):
        client.get_layer_version(LayerName=name_1, VersionNumber=1)
    assert one.call({})["payload"] == ["first", "second"], "a function keeps a layer that is deleted"
    with m.refused("InvalidParameterValueException", "Cannot reference more than 5 layers."):
        client.update_function_configuration(FunctionName=one.name, Layers=[second["LayerVersionArn"]] * 6)


def test_tags(function):
    one = function("return 1", Tags={"a": "1"})
    arn = one.client.get_function_configuration(FunctionName=one.name)["FunctionArn"]
    one.client.tag_resource(Resource=arn, Tags={"b": "2"})
    one.client.untag_resource(Resource=arn, TagKeys=["a"])
    assert one.client.list_tags(Resource=arn)["Tags"] == {"b": "2"}


def test_a_resource_policy_is_kept_as_aws_keeps_it(function):
    one = function("return 1")
    client, name = one.client, one.name
    with m.refused(NOT_FOUND, "The resource you requested does not exist.", 404):
        client.get_policy(FunctionName=name)
    added = client.add_permission(
        FunctionName=name,
        StatementId="s3",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn="arn:aws:s3:::pets",
        SourceAccount="123456789012",
    )
    arn = client.get_function_configuration(FunctionName=name)["FunctionArn"]
    wanted = {
        "Sid": "s3",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": arn,
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": "123456789012"},
            "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::pets"},
        },
    }
    assert json.loads(added["Statement"]) == wanted
    policy = client.get_policy(FunctionName=name)
    assert json.loads(policy["Policy"]) == {"Version": "2012-10-17", "Id": "default", "Statement": [wanted]}
    with m.refused(
        "ResourceConflictException",
        r"The statement id \(s3\) provided already exists\. Please provide a new statement id, or remove the existing statement\.",
        409,
    ):
        client.add_permission(FunctionName=name, StatementId="s3", Action="lambda:InvokeFunction", Principal="*")
    with m.refused(NOT_FOUND, "Statement nope is not found in resource policy.", 404):
        client.remove_permission(FunctionName=name, StatementId="nope")
    client.remove_permission(FunctionName=name, StatementId="s3")
    with m.refused(NOT_FOUND):
        client.get_policy(FunctionName=name)


def test_reserved_concurrency_holds(function):
    one = function("import time\ntime.sleep(event)\nreturn 'done'", Timeout=60)
    client, name = one.client, one.name
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    assert client.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 1
    assert client.get_function(FunctionName=name)["Concurrency"] == {"ReservedConcurrentExecutions": 1}
    assert one.call(0)["payload"] == "done"
    taken = threading.Event()

    def hold():
        """Takes the one slot, which the probe below may have for a moment."""
        while not taken.is_set():
            try:
                one.call(5)
                break
            except client.exceptions.TooManyRequestsException:
                pass  # The probe was quicker.

    busy = threading.Thread(target=hold)
    busy.start()

    def throttled():
        try:
            one.call(0)
        except client.exceptions.TooManyRequestsException as error:
            return error.response
        return None

    response = m.until(throttled, "the one slot is taken")
    taken.set()
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert response["Error"]["Message"] == "Rate Exceeded."
    busy.join()
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with m.refused("TooManyRequestsException", "Rate Exceeded.", 429):
        one.call(0)
    client.delete_function_concurrency(FunctionName=name)
    assert one.call(0)["payload"] == "done"


def test_concurrency_is_of_the_function_and_of_the_account(function):
    one = function("return 1")
    limits = one.client.get_account_settings()["AccountLimit"]
    assert limits["ConcurrentExecutions"] >= limits["UnreservedConcurrentExecutions"]
    with m.refused(
        "InvalidParameterValueException", "Specified ReservedConcurrentExecutions for function decreases .*"
    ):
        one.client.put_function_concurrency(
            FunctionName=one.name, ReservedConcurrentExecutions=limits["ConcurrentExecutions"]
        )
    one.client.publish_version(FunctionName=one.name)
    with m.refused("InvalidParameterValueException", "This operation is permitted on Lambda functions only. .*"):
        one.client.put_function_concurrency(FunctionName=f"{one.name}:1", ReservedConcurrentExecutions=1)


def test_invocations_at_once_run_at_once(function):
    """Four invocations that wait for one another: they can only end if all are there together."""
    one = function("import time\ntime.sleep(1)\nimport os\nreturn context.log_stream_name", Timeout=60)
    streams, threads = [], []
    for _ in range(4):
        threads.append(threading.Thread(target=lambda: streams.append(one.call({})["payload"])))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert len(set(streams)) == 4, "one environment serves one invocation at a time"


def test_account_settings_count(function):
    one = function("return 1")
    before = one.client.get_account_settings()["AccountUsage"]
    two = function("return 2")
    after = one.client.get_account_settings()["AccountUsage"]
    assert after["FunctionCount"] == before["FunctionCount"] + 1
    assert after["TotalCodeSize"] > before["TotalCodeSize"]
    assert two.call({})["payload"] == 2


def test_json_logs(function, logs):
    group = f"/pets/{m.name()}"
    one = function(
        "import logging\nlogging.getLogger().warning('careful')\nlogging.getLogger().info('detail')\nprint('plain')",
        LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN", "SystemLogLevel": "INFO", "LogGroup": group},
    )
    reply = one.call({})
    request = reply["ResponseMetadata"]["RequestId"]

    def report():
        try:
            events = logs.filter_log_events(logGroupName=group)["events"]
        except logs.exceptions.ResourceNotFoundException:
            return None
        lines = [e["message"] for e in events]
        return lines if any("platform.report" in line for line in lines) else None

    lines = m.until(report, "the report is in the function's own log group")
    records = [json.loads(line) for line in lines if line.startswith("{")]
    warning = next(r for r in records if r.get("level") == "WARN" or r.get("level") == "WARNING")
    assert (warning["message"], warning["requestId"]) == ("careful", request)
    assert not [r for r in records if r.get("message") == "detail"]
    metrics = next(r for r in records if r.get("type") == "platform.report")["record"]
    assert metrics["requestId"] == request
    assert metrics["status"] == "success"
    assert metrics["metrics"]["memorySizeMB"] == 128
    assert metrics["metrics"]["billedDurationMs"] >= 1
