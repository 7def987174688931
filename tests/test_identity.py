"""Who may do what, with AWS's codes and sentences: users, roles, sessions, boundaries, and functions themselves."""

import json
import re

import pytest

import mayfly as m
from conftest import make_role

ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def allow(*actions, resource="*"):
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource}


def deny(*actions, resource="*"):
    return {"Effect": "Deny", "Action": list(actions), "Resource": resource}


def sentence(arn, action, resource, why):
    return re.escape(f"User: {arn} is not authorized to perform: {action} on resource: {resource} {why}")


def user_arn(server, key):
    return server.client("sts", key).get_caller_identity()["Arn"]


def test_the_root_is_the_account(sts):
    who = sts.get_caller_identity()
    assert who["Arn"] == f"arn:aws:iam::{who['Account']}:root"
    assert who["UserId"] == who["Account"]


def test_no_permission_at_all(server, user, function):
    one, key = function("return 1"), user()
    arn = one.client.get_function_configuration(FunctionName=one.name)["FunctionArn"]
    who = user_arn(server, key)
    action = "lambda:InvokeFunction"
    why = f"because no identity-based policy allows the {action} action"
    with m.refused("AccessDeniedException", sentence(who, action, arn, why), 403):
        server.client("lambda", key).invoke(FunctionName=one.name)


def test_an_explicit_deny_wins(server, user, function):
    one = function("return 1")
    arn = one.client.get_function_configuration(FunctionName=one.name)["FunctionArn"]
    key = user(ALLOW_ALL, deny("lambda:InvokeFunction", resource=arn))
    why = "with an explicit deny in an identity-based policy"
    client = server.client("lambda", key)
    with m.refused(
        "AccessDeniedException", sentence(user_arn(server, key), "lambda:InvokeFunction", arn, why) + ".*", 403
    ):
        client.invoke(FunctionName=one.name)
    assert client.get_function(FunctionName=one.name)["Configuration"]["FunctionName"] == one.name


def test_a_permission_is_for_its_resource(server, user, function):
    mine, other = function("return 'mine'"), function("return 'other'")
    arn = mine.client.get_function_configuration(FunctionName=mine.name)["FunctionArn"]
    client = server.client("lambda", user(allow("lambda:InvokeFunction", resource=arn)))
    assert client.invoke(FunctionName=mine.name)["Payload"].read() == b'"mine"'
    with m.refused("AccessDeniedException", status=403):
        client.invoke(FunctionName=other.name)


def test_what_exists_is_not_told_to_those_who_may_not_ask(server, user):
    client = server.client("lambda", user())
    with m.refused("AccessDeniedException", status=403):
        client.get_function(FunctionName="never-made")


def test_each_protocol_has_its_own_envelope(server, user):
    key = user()
    who = user_arn(server, key)
    for service, call, code, status in [
        ("iam", lambda c: c.list_users(), "AccessDenied", 403),
        ("logs", lambda c: c.describe_log_groups(), "AccessDeniedException", 400),
        ("cloudwatch", lambda c: c.list_metrics(), "AccessDenied|AccessDeniedException", None),
        ("lambda", lambda c: c.list_functions(), "AccessDeniedException", 403),
    ]:
        with m.refused(code, rf"User: {re.escape(who)} is not authorized to perform: {service}:.*", status):
            call(server.client(service, key))


def test_policies_count_at_once(server, user, iam, function):
    one, key = function("return 1"), user()
    name = user_arn(server, key).rsplit("/", 1)[1]
    client = server.client("lambda", key)
    with m.refused("AccessDeniedException"):
        client.invoke(FunctionName=one.name)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow("lambda:InvokeFunction")]})
    iam.put_user_policy(UserName=name, PolicyName="more", PolicyDocument=policy)
    assert client.invoke(FunctionName=one.name)["StatusCode"] == 200
    iam.delete_user_policy(UserName=name, PolicyName="more")
    with m.refused("AccessDeniedException"):
        client.invoke(FunctionName=one.name)


def test_groups_and_managed_policies(server, user, iam):
    key = user()
    name = user_arn(server, key).rsplit("/", 1)[1]
    group = m.name("group")
    iam.create_group(GroupName=group)
    iam.attach_group_policy(GroupName=group, PolicyArn="arn:aws:iam::aws:policy/AWSLambda_ReadOnlyAccess")
    client = server.client("lambda", key)
    with m.refused("AccessDeniedException"):
        client.list_functions()
    iam.add_user_to_group(GroupName=group, UserName=name)
    assert client.list_functions()["ResponseMetadata"]["HTTPStatusCode"] == 200
    with m.refused("AccessDeniedException"):
        client.delete_function(FunctionName="x")


def test_a_permissions_boundary_limits(server, user, iam):
    key = user(ALLOW_ALL)
    name = user_arn(server, key).rsplit("/", 1)[1]
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow("lambda:List*", "sts:*")]})
    boundary = iam.create_policy(PolicyName=m.name("boundary"), PolicyDocument=document)["Policy"]["Arn"]
    client = server.client("lambda", key)
    iam.put_user_permissions_boundary(UserName=name, PermissionsBoundary=boundary)
    client.list_functions()
    with m.refused(
        "AccessDeniedException", ".*because no permissions boundary allows the lambda:GetAccountSettings action"
    ):
        client.get_account_settings()
    iam.delete_user_permissions_boundary(UserName=name)
    client.get_account_settings()


def test_assuming_a_role(server, user, iam, sts):
    account = sts.get_caller_identity()["Account"]
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": account}}],
    }
    name = m.name("role")
    role = make_role(iam, name, trust=json.dumps(trust))
    reader = json.dumps({"Version": "2012-10-17", "Statement": [allow("lambda:*")]})
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=reader)
    with m.refused(
        "AccessDenied", ".*is not authorized to perform: sts:AssumeRole on resource: " + re.escape(role) + ".*", 403
    ):
        server.client("sts", user()).assume_role(RoleArn=role, RoleSessionName="visit")
    assumed = server.client("sts", user(allow("sts:AssumeRole", resource=role))).assume_role(
        RoleArn=role,
        RoleSessionName="visit",
        Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow("lambda:ListFunctions")]}),
    )
    key = assumed["Credentials"]
    arn = f"arn:aws:sts::{account}:assumed-role/{name}/visit"
    assert assumed["AssumedRoleUser"]["Arn"] == arn
    assert user_arn(server, key) == arn
    client = server.client("lambda", key)
    client.list_functions()
    why = "because no session policy allows the lambda:GetAccountSettings action"
    with m.refused("AccessDeniedException", rf"User: {re.escape(arn)} .* {why}"):
        client.get_account_settings()


def test_session_tokens_are_needed_and_checked(server, sts):
    session = sts.get_session_token()["Credentials"]
    assert server.client("lambda", session).list_functions()["ResponseMetadata"]["HTTPStatusCode"] == 200
    for broken in (
        {**session, "SessionToken": None},
        {**session, "SessionToken": session["SessionToken"][:-4] + "AAAA"},
    ):
        with m.refused("UnrecognizedClientException|InvalidClientTokenId|ExpiredTokenException", status=403):
            server.client("lambda", broken).list_functions()


def test_passing_a_role_needs_permission(server, user, role):
    client = server.client("lambda", user(allow("lambda:CreateFunction")))
    with m.refused(
        "AccessDeniedException", rf".*is not authorized to perform: iam:PassRole on resource: {role} .*", 403
    ):
        client.create_function(
            FunctionName=m.name(),
            Runtime=m.PYTHON,
            Handler="lambda_function.lambda_handler",
            Role=role,
            Code={"ZipFile": m.handler("return 1")},
        )


def test_a_function_policy_lets_another_account_in(fresh):
    """Two accounts need the drop-in mode; what is refused and allowed between them is not weaker in it."""
    server = fresh("--dev")
    owner = server.client("lambda", {"AccessKeyId": "111111111111", "SecretAccessKey": "test"})
    iam = server.client("iam", {"AccessKeyId": "111111111111", "SecretAccessKey": "test"})
    stranger = server.client("lambda", {"AccessKeyId": "222222222222", "SecretAccessKey": "test"})
    role = make_role(iam, "basic", m.BASIC_EXECUTION)
    arn = owner.create_function(
        FunctionName="shared",
        Runtime=m.PYTHON,
        Handler="lambda_function.lambda_handler",
        Role=role,
        Code={"ZipFile": m.handler("return 'shared'")},
    )["FunctionArn"]
    owner.get_waiter("function_active_v2").wait(FunctionName="shared")
    with m.refused(
        "AccessDeniedException", ".*because no resource-based policy allows the lambda:InvokeFunction action", 403
    ):
        stranger.invoke(FunctionName=arn)
    owner.add_permission(
        FunctionName="shared", StatementId="other", Action="lambda:InvokeFunction", Principal="222222222222"
    )
    assert stranger.invoke(FunctionName=arn)["Payload"].read() == b'"shared"'
    with m.refused("AccessDeniedException", status=403):
        stranger.get_function(FunctionName=arn)
    owner.remove_permission(FunctionName="shared", StatementId="other")
    with m.refused("AccessDeniedException", status=403):
        stranger.invoke(FunctionName=arn)


def test_simulating(iam, server, user):
    who = user_arn(server, user(allow("lambda:Get*"), deny("lambda:GetPolicy")))
    results = iam.simulate_principal_policy(
        PolicySourceArn=who, ActionNames=["lambda:GetFunction", "lambda:GetPolicy", "lambda:Invoke"]
    )["EvaluationResults"]
    assert [r["EvalDecision"] for r in results] == ["allowed", "explicitDeny", "implicitDeny"]


# From inside a function, with what AWS's SDK finds there: the environment, and nothing else.

ASK = """
import hashlib, hmac, json, os, urllib.error, urllib.parse, urllib.request, datetime

def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()

def ask(service, action, version):
    env, now = os.environ, datetime.datetime.utcnow().strftime('%Y%m%dT%H%M%SZ')
    url = urllib.parse.urlsplit(env['AWS_ENDPOINT_URL'])
    body = urllib.parse.urlencode({'Action': action, 'Version': version})
    headers = {'content-type': 'application/x-www-form-urlencoded', 'host': url.netloc, 'x-amz-date': now,
               'x-amz-security-token': env['AWS_SESSION_TOKEN']}
    names = ';'.join(sorted(headers))
    canonical = '\\n'.join(['POST', '/', '', *(f'{n}:{headers[n]}' for n in sorted(headers)), '', names,
                           hashlib.sha256(body.encode()).hexdigest()])
    scope = f"{now[:8]}/{env['AWS_REGION']}/{service}/aws4_request"
    text = '\\n'.join(['AWS4-HMAC-SHA256', now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ('AWS4' + env['AWS_SECRET_ACCESS_KEY']).encode()
    for part in scope.split('/'):
        key = sign(key, part)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers['authorization'] = (f"AWS4-HMAC-SHA256 Credential={env['AWS_ACCESS_KEY_ID']}/{scope}, "
                                f"SignedHeaders={names}, Signature={signature}")
    request = urllib.request.Request(env['AWS_ENDPOINT_URL'], body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return [reply.status, reply.read().decode()]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode()]

def lambda_handler(event, context):
    return ask(*event)
"""


@pytest.fixture
def asker(function):
    def make(**settings):
        return function(m.zipped({"lambda_function.py": ASK}), **settings)

    return make


def test_a_function_is_its_role(asker, sts):
    account = sts.get_caller_identity()["Account"]
    one = asker()
    status, body = one.call(["sts", "GetCallerIdentity", "2011-06-15"])["payload"]
    assert status == 200, body
    assert f"arn:aws:sts::{account}:assumed-role/lambda_basic_execution/{one.name}" in body


def test_a_function_may_do_no_more_than_its_role(asker, iam):
    name = m.name("role")
    role = make_role(iam, name, m.BASIC_EXECUTION)
    one = asker(Role=role)
    status, body = one.call(["iam", "ListUsers", "2010-05-08"])["payload"]
    assert status == 403, body
    assert "AccessDenied" in body
    assert f"assumed-role/{name}/{one.name} is not authorized to perform: iam:ListUsers" in body
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow("iam:ListUsers")]})
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy)
    status, body = one.call(["iam", "ListUsers", "2010-05-08"])["payload"]
    assert status == 200, body


def test_a_function_without_the_permission_to_log_leaves_no_log(function, iam, logs):
    mute = make_role(iam, m.name("mute"))
    quiet, loud = function("print('quiet')", Role=mute), function("print('loud')")
    assert quiet.call({})["payload"] is None
    assert loud.call({})["payload"] is None
    m.until(lambda: groups(logs, loud), "the other one's log group is there")
    assert not groups(logs, quiet)


def groups(logs, function):
    return logs.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{function.name}")["logGroups"]
