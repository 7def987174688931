"""Bad input, each through a real client or as raw HTTP, answered as AWS answers."""

import io
import json
import re
import zipfile

import botocore.auth
import pytest

import mayfly as m

INVALID = "InvalidParameterValueException"
FUNCTIONS = "/2015-03-31/functions"


@pytest.fixture
def create(lambdas, role):
    """Tries to create a function, with one thing wrong."""

    def make(**wrong):
        settings = {
            "FunctionName": m.name(),
            "Runtime": m.PYTHON,
            "Handler": "lambda_function.lambda_handler",
            "Role": role,
            "Code": {"ZipFile": m.handler("return 1")},
        }
        return lambdas.create_function(**{**settings, **wrong})

    return make


def error(reply):
    """Code and message of a restJson error."""
    _, headers, body = reply
    found = json.loads(body)
    return headers.get("x-amzn-ErrorType", "").split(":")[0], found.get("message") or found.get("Message")


def test_malformed_json(server):
    reply = server.signed("POST", FUNCTIONS, b'{"FunctionName": ')
    assert reply[0] == 400
    code, message = error(reply)
    assert code == "SerializationException" or code == "InvalidRequestContentException", (code, message)


def test_the_wrong_type(server):
    reply = server.signed("POST", FUNCTIONS, b'{"FunctionName": ["x"]}')
    assert reply[0] == 400
    assert error(reply)[0] == "SerializationException"


def test_a_wrong_content_type(server):
    reply = server.signed("POST", FUNCTIONS, b"<x/>", headers={"content-type": "text/xml"})
    assert reply[0] in (400, 415)
    assert error(reply)[0] in ("SerializationException", "UnsupportedMediaTypeException")


def test_a_body_over_the_limit(create):
    with m.refused("RequestEntityTooLargeException|RequestTooLargeException", status=413):
        create(Code={"ZipFile": b"\0" * (54 * 1024 * 1024)})


def test_every_violation_is_named_at_once(server):
    body = json.dumps(
        {"FunctionName": "x", "Handler": "a b", "Role": "no-arn", "MemorySize": 1, "Timeout": 100000, "Code": {}}
    )
    status, headers, body = server.signed("POST", FUNCTIONS, body.encode())
    assert status == 400
    text = json.loads(body).get("message") or json.loads(body).get("Message")
    assert re.match(r"\d validation errors detected: Value ", text), text
    for member, constraint in [
        ("handler", "Member must satisfy regular expression pattern: "),
        ("role", "Member must satisfy regular expression pattern: "),
        ("memorySize", "Member must have value greater than or equal to 128"),
    ]:
        assert f"at '{member}' failed to satisfy constraint: {constraint}" in text, text


def test_an_unknown_runtime(create):
    with m.refused(
        INVALID,
        r"Value cobol85 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: \[.*\] or be a valid ARN",
        400,
    ):
        create(Runtime="cobol85")


def test_a_runtime_that_is_not_installed(create):
    """Known to AWS, not to this machine: AWS's exception, our advice."""
    with m.refused(INVALID, ".*java21.*", 400):
        create(Runtime="java21")


@pytest.mark.parametrize("code", [b"this is not a zip", b"", b"PK\x05\x06"])
def test_a_zip_that_is_not_one(create, code):
    with m.refused(f"{INVALID}|InvalidZipFileException|ValidationException"):
        create(Code={"ZipFile": code})


def archive(*entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for path, content, mode in entries:
            info = zipfile.ZipInfo(path)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16
            out.writestr(info, content)
    return buffer.getvalue()


LINK = 0o120777


@pytest.mark.parametrize(
    "entries",
    [
        [("../outside.py", "x = 1", 0o644)],
        [("a/../../outside.py", "x = 1", 0o644)],
        [("/etc/cron.d/job", "x", 0o644)],
        [("link", "/etc/passwd", LINK)],
        [("link", "../../../etc", LINK)],
        [("folder", "/etc", LINK), ("folder/passwd", "x", 0o644)],
    ],
    ids=["dots", "inner-dots", "absolute", "link-absolute", "link-dots", "through-a-link"],
)
def test_a_zip_that_leads_outside(create, lambdas, entries, server):
    """Refused, or harmless: what is checked is that no such file is made and that the server goes on."""
    code = archive(("lambda_function.py", "def lambda_handler(event, context):\n    return 1\n", 0o644), *entries)
    name = m.name()
    try:
        create(FunctionName=name, Code={"ZipFile": code})
    except lambdas.exceptions.ClientError as refusal:
        assert refusal.response["Error"]["Code"] in (INVALID, "InvalidZipFileException"), refusal
    else:
        pytest.fail("a zip that leads outside was accepted")
    assert not (server.data.parent / "outside.py").exists()
    with m.refused("ResourceNotFoundException"):
        lambdas.get_function(FunctionName=name)


def zeros(entries, megabytes):
    """A zip of many entries that share their compressed bytes: small on the wire, huge when unpacked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        with out.open("zeros", "w") as entry:
            for _ in range(megabytes):
                entry.write(bytes(1 << 20))
        for number in range(1, entries):
            twin = out.getinfo("zeros")
            alias = zipfile.ZipInfo(f"zeros{number}")
            for field in ("compress_type", "CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                setattr(alias, field, getattr(twin, field))
            out.filelist.append(alias)
            out.NameToInfo[alias.filename] = alias
    return buffer.getvalue()


def test_ten_gigabytes_of_zeros(create):
    """A megabyte on the wire, ten thousand when unpacked."""
    bomb = zeros(entries=40, megabytes=256)
    assert len(bomb) < 1 << 20
    with m.refused(f"{INVALID}|InvalidZipFileException", "Unzipped size must be smaller than 262144000 bytes"):
        create(Code={"ZipFile": bomb})


def test_a_zip_that_lies_about_its_size(create):
    """The directory says one byte; the entry unpacks to 300 MB."""
    honest = io.BytesIO()
    with zipfile.ZipFile(honest, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        out.writestr("zeros", bytes(300 << 20))
    real = (300 << 20).to_bytes(4, "little")
    lying = honest.getvalue().replace(real, (1).to_bytes(4, "little"))
    assert lying != honest.getvalue()
    with m.refused(f"{INVALID}|InvalidZipFileException"):
        create(Code={"ZipFile": lying})


def test_a_handler_without_a_dot_is_stored_and_fails_when_invoked(function):
    payload = function("return 1", Handler="nodot").call({})["payload"]
    assert payload["errorType"] == "Runtime.MalformedHandlerName"


def test_a_handler_with_a_space(create):
    with m.refused(f"ValidationException|{INVALID}", ".*at 'handler' failed to satisfy constraint: .*"):
        create(Handler="lambda function")


@pytest.mark.parametrize("key", ["AWS_REGION", "AWS_LAMBDA_FUNCTION_NAME", "AWS_SECRET_ACCESS_KEY"])
def test_reserved_environment_keys(create, key):
    with m.refused(
        INVALID,
        "Lambda was unable to configure your environment variables because the environment variables you have provided "
        "contains reserved keys that are currently not supported for modification. Reserved keys used in this request: "
        + key,
        400,
    ):
        create(Environment={"Variables": {key: "x", "FINE": "y"}})


def test_environment_over_four_kilobytes(create):
    with m.refused(INVALID, r"Lambda was unable to configure .* exceeded the 4KB limit. String measured: .*"):
        create(Environment={"Variables": {"BIG": "x" * 5000}})


@pytest.mark.parametrize("name", ["1STARTS_WITH_A_DIGIT", "has-dash", "a", "_HANDLER"])
def test_environment_names(create, name):
    with m.refused(f"ValidationException|{INVALID}", ".*failed to satisfy constraint: .*"):
        create(Environment={"Variables": {name: "x"}})


def test_a_role_that_does_not_exist(create, sts):
    account = sts.get_caller_identity()["Account"]
    with m.refused(INVALID, "The role defined for the function cannot be assumed by Lambda.", 400):
        create(Role=f"arn:aws:iam::{account}:role/nobody-made-this")


def test_a_role_that_does_not_trust_lambda(create, iam):
    name = m.name("role")
    trust = m.LAMBDA_TRUST.replace("lambda.amazonaws.com", "ec2.amazonaws.com")
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    with m.refused(INVALID, "The role defined for the function cannot be assumed by Lambda.", 400):
        create(Role=arn)


def test_a_duplicate_name(create, function):
    one = function("return 1")
    with m.refused("ResourceConflictException", f"Function already exist: {one.name}", 409):
        create(FunctionName=one.name)


@pytest.mark.parametrize("name", ["x" * 65, "x" * 200, "no spaces", "no/slash", ""])
def test_names_that_are_not(server, role, name):
    """By hand: boto3 refuses some of these itself."""
    body = {"FunctionName": name, "Role": role, "Runtime": m.PYTHON, "Handler": "a.b", "Code": {"ZipFile": ""}}
    reply = server.signed("POST", FUNCTIONS, json.dumps(body).encode())
    assert reply[0] == 400
    code, message = error(reply)
    assert code in ("ValidationException", INVALID)
    assert "at 'functionName' failed to satisfy constraint: Member must " in message, message


def test_a_stale_revision(function):
    one = function("return 1")
    stale = one.client.get_function_configuration(FunctionName=one.name)["RevisionId"]
    one.client.update_function_configuration(FunctionName=one.name, Description="new")
    one.client.get_waiter("function_updated_v2").wait(FunctionName=one.name)
    with m.refused(
        "PreconditionFailedException",
        r"The Revision Id provided does not match the latest Revision Id\. Call the GetFunction/GetAlias API to retrieve "
        r"the latest Revision Id",
        412,
    ):
        one.client.update_function_code(FunctionName=one.name, ZipFile=m.handler("return 2"), RevisionId=stale)


def test_code_in_a_bucket_that_is_not_there(create):
    text = r"Error occurred while GetObject\. S3 Error Code: NoSuchBucket\. S3 Error Message: The specified bucket does not exist"
    with m.refused(INVALID, text):
        create(Code={"S3Bucket": "b" * 8, "S3Key": "k"})


@pytest.mark.parametrize(
    "feature",
    [
        {"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}},
        {
            "FileSystemConfigs": [
                {
                    "Arn": "arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/fsap-" + "0" * 17,
                    "LocalMountPath": "/mnt/x",
                }
            ]
        },
        {"PackageType": "Image", "Code": {"ImageUri": "x"}},
    ],
    ids=["vpc", "efs", "image"],
)
def test_settings_that_are_not_built_are_refused_and_not_ignored(create, feature):
    with m.refused(f"{INVALID}|NotImplemented|ValidationException"):
        create(**feature)


@pytest.mark.parametrize("size", [127, 10241, 0])
def test_memory_out_of_bounds(server, function, size):
    one = function("return 1")
    unchecked = server.client("lambda", parameter_validation=False)
    with m.refused(
        f"ValidationException|{INVALID}", rf".*Value '{size}' at 'memorySize' failed to satisfy constraint: .*"
    ):
        unchecked.update_function_configuration(FunctionName=one.name, MemorySize=size)


# Signatures.


def test_no_credentials(server):
    reply = server.request("GET", f"{FUNCTIONS}/")
    assert reply[0] == 403
    assert error(reply)[0] == "MissingAuthenticationTokenException"


class Expired(botocore.auth.SigV4Auth):
    """Signs as if it were an hour ago."""

    def add_auth(self, request):
        import datetime
        from unittest import mock

        past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
        with mock.patch("botocore.auth.get_current_datetime", lambda *_: past):
            super().add_auth(request)


class Forged(botocore.auth.SigV4Auth):
    """Changes one digit of the signature."""

    def signature(self, *arguments):
        made = super().signature(*arguments)
        return ("0" if made[0] != "0" else "1") + made[1:]


@pytest.mark.parametrize(
    ("sign", "codes"),
    [(Expired, ("InvalidSignatureException", "RequestExpired")), (Forged, ("InvalidSignatureException",))],
)
def test_bad_signatures(server, sign, codes):
    reply = server.signed("GET", f"{FUNCTIONS}/", sign=sign)
    assert reply[0] == 403
    code, message = error(reply)
    assert code in codes
    assert message.startswith("Signature expired: " if sign is Expired else "The request signature we calculated")


def test_a_changed_body(server):
    import botocore.awsrequest
    import botocore.credentials

    env = server.env()
    credentials = botocore.credentials.Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
    request = botocore.awsrequest.AWSRequest("POST", server.url + FUNCTIONS, {}, b"{}")
    botocore.auth.SigV4Auth(credentials, "lambda", env["AWS_REGION"]).add_auth(request)
    reply = server.request("POST", FUNCTIONS, b'{"a":1}', dict(request.headers.items()))
    assert reply[0] == 403
    assert error(reply)[0] == "InvalidSignatureException"


def test_an_unknown_access_key(server):
    with m.refused("UnrecognizedClientException", "The security token included in the request is invalid.?", 403):
        server.client("lambda", {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "SecretAccessKey": "x"}).list_functions()


def test_the_emulators_key_is_no_key_here(server):
    with m.refused("UnrecognizedClientException", status=403):
        server.client("lambda", {"AccessKeyId": "test", "SecretAccessKey": "test"}).list_functions()


# What nobody has, and what is not built.


def test_operations_that_are_not_built_say_so(lambdas, server):
    with m.refused("NotImplemented", ".*lambda:CreateEventSourceMapping.*", 501):
        lambdas.create_event_source_mapping(FunctionName="f", EventSourceArn="arn:aws:sqs:us-east-1:123456789012:q")
    with m.refused("NotImplemented", ".*iam:CreateSAMLProvider.*", 501):
        server.client("iam").create_saml_provider(SAMLMetadataDocument="x" * 1000, Name="x")


def test_a_service_that_is_not_built_says_so(server):
    with m.refused("NotImplemented|501", status=501):
        server.client("sqs").list_queues()


def test_operations_that_nobody_has(server):
    status, headers, body = server.signed(
        "POST",
        "/",
        b"{}",
        "logs",
        {"X-Amz-Target": "Logs_20140328.Nonsense", "content-type": "application/x-amz-json-1.1"},
    )
    assert status == 400
    assert "UnknownOperationException" in body.decode()
    status, headers, body = server.signed("GET", "/2015-03-31/nonsense")
    assert status in (403, 404)


def test_a_client_that_sends_garbage_does_no_harm(server):
    import socket

    for garbage in [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"A" * 100_000,
        b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ]:
        with socket.create_connection(("127.0.0.1", server.port), 10) as raw:
            raw.settimeout(30)
            try:
                raw.sendall(garbage)
                raw.shutdown(socket.SHUT_WR)
                raw.recv(4096)
            except OSError:
                pass  # Hanging up is an answer too.
    assert server.request("GET", "/_/health")[0] == 200
