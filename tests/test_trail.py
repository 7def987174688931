"""Calls that manage buckets are told to EventBridge, as CloudTrail tells them on AWS."""

import json

import pytest

import mayfly as m
from s3 import fetch

ECHO = "print('got ' + __import__('json').dumps(event))"


@pytest.fixture
def told(server, lambdas, logs, function):
    """A rule with a pattern of a detail that fires a function, and how to read what the function got."""
    events, sink, rule = server.client("events"), function(ECHO), m.name("rule")
    arn = lambdas.get_function_configuration(FunctionName=sink.name)["FunctionArn"]

    def start(source="aws.s3", **detail):
        pattern = {"source": [source], "detail-type": ["AWS API Call via CloudTrail"], "detail": detail}
        of_rule = events.put_rule(Name=rule, EventPattern=json.dumps(pattern))["RuleArn"]
        lambdas.add_permission(
            FunctionName=sink.name,
            StatementId="r",
            Action="lambda:InvokeFunction",
            Principal="events.amazonaws.com",
            SourceArn=of_rule,
        )
        events.put_targets(Rule=rule, Targets=[{"Id": "1", "Arn": arn}])

    def got(count):
        def read():
            try:
                page = logs.filter_log_events(logGroupName=f"/aws/lambda/{sink.name}", filterPattern="got")
            except logs.exceptions.ResourceNotFoundException:
                return None
            found = [json.loads(one["message"].removeprefix("got ")) for one in page["events"]]
            return found if len(found) >= count else None

        found = m.until(read, f"{count} calls are told")
        return sorted(found, key=lambda event: event["detail"]["eventTime"])

    start.got = got
    yield start
    events.remove_targets(Rule=rule, Ids=["1"])
    events.delete_rule(Name=rule)


def test_a_new_bucket_fires_a_function(s3, told):
    told(eventName=["CreateBucket"])
    name = m.name("seen")
    made = s3.create_bucket(Bucket=name)
    (event,) = told.got(1)
    s3.delete_bucket(Bucket=name)
    detail = event["detail"]
    assert (event["source"], event["detail-type"]) == ("aws.s3", "AWS API Call via CloudTrail")
    assert (event["region"], event["resources"]) == (s3.meta.region_name, [])
    assert (detail["eventSource"], detail["eventName"]) == ("s3.amazonaws.com", "CreateBucket")
    assert detail["requestParameters"] == {"bucketName": name, "Host": s3.meta.endpoint_url.removeprefix("http://")}
    assert detail["responseElements"] is None and "errorCode" not in detail
    assert detail["userIdentity"]["type"] == "Root"
    assert detail["userAgent"].startswith("[Boto3/") and detail["sourceIPAddress"] == "127.0.0.1"
    assert detail["requestID"] == made["ResponseMetadata"]["RequestId"]
    assert detail["additionalEventData"]["SignatureVersion"] == "SigV4"
    assert detail["additionalEventData"]["AuthenticationMethod"] == "AuthHeader"
    assert (detail["readOnly"], detail["managementEvent"], detail["eventCategory"]) == (False, True, "Management")


def test_what_is_done_to_a_bucket_is_told_and_its_objects_are_not(server, s3, user, bucket, told):
    told(requestParameters={"bucketName": [bucket]})
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.get_bucket_versioning(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "a/"}, "Expiration": {"Days": 30}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    block = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": False}
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteBucket", "Resource": f"arn:aws:s3:::{bucket}"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    stranger = server.client("s3", user())
    with m.refused("AccessDenied") as denied:
        stranger.delete_bucket_policy(Bucket=bucket)
    with m.refused("MalformedPolicy") as malformed:
        s3.put_bucket_policy(Bucket=bucket, Policy="{")
    s3.delete_bucket_policy(Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="k")
    found = [event["detail"] for event in told.got(7)]
    names = [detail["eventName"] for detail in found]
    assert sorted(names) == sorted(
        [
            "PutBucketVersioning",
            "PutBucketLifecycle",
            "PutBucketPublicAccessBlock",
            "PutBucketPolicy",
            "DeleteBucketPolicy",
            "PutBucketPolicy",
            "DeleteBucketPolicy",
        ]
    )
    done = {detail["eventName"]: detail for detail in found if "errorCode" not in detail}
    failed = {detail["eventName"]: detail for detail in found if "errorCode" in detail}

    def said(name):
        return done[name]["requestParameters"]

    assert said("PutBucketVersioning")["VersioningConfiguration"]["Status"] == "Enabled"
    assert said("PutBucketVersioning")["versioning"] == ""
    assert said("PutBucketLifecycle")["LifecycleConfiguration"]["Rule"]["Expiration"] == {"Days": 30}
    assert said("PutBucketPublicAccessBlock")["PublicAccessBlockConfiguration"]["BlockPublicPolicy"] is False
    assert said("PutBucketPolicy")["bucketPolicy"] == policy
    account = done["PutBucketPolicy"]["recipientAccountId"]
    touched = {"accountId": account, "type": "AWS::S3::Bucket", "ARN": f"arn:aws:s3:::{bucket}"}
    assert done["DeleteBucketPolicy"]["resources"] == [touched]
    refusal = failed["DeleteBucketPolicy"]
    assert (refusal["errorCode"], refusal["errorMessage"]) == ("AccessDenied", denied.error["Message"])
    assert refusal["userIdentity"]["type"] == "IAMUser"
    refusal = failed["PutBucketPolicy"]
    assert (refusal["errorCode"], refusal["errorMessage"]) == ("MalformedPolicy", malformed.error["Message"])
    assert "bucketPolicy" not in refusal["requestParameters"]


def test_a_presigned_call_tells_no_signature(server, s3, told):
    name = m.name("presigned")
    told(requestParameters={"bucketName": [name]})
    s3.create_bucket(Bucket=name)
    signing = server.client("s3", signature_version="s3v4")
    url = signing.generate_presigned_url("delete_bucket", {"Bucket": name})
    status, _, body = fetch(url, method="DELETE")
    assert status == 204, body
    events = {event["detail"]["eventName"]: event["detail"] for event in told.got(2)}
    gone = events["DeleteBucket"]
    assert sorted(gone["requestParameters"]) == ["Host", "bucketName"]
    assert gone["additionalEventData"]["AuthenticationMethod"] == "QueryString"
    assert "Signature=" not in json.dumps(gone)


def test_what_other_services_refuse_is_told_too(server, user, told):
    name = m.name("refused")
    told("aws.events", requestParameters={"name": [name]})
    with m.refused("AccessDeniedException") as denied:
        server.client("events", user()).put_rule(Name=name, ScheduleExpression="rate(1 day)")
    with m.refused("ValidationException") as failed:
        server.client("events").put_rule(Name=name, ScheduleExpression="every day")
    details = {event["detail"]["errorCode"]: event["detail"] for event in told.got(2)}
    assert details["AccessDenied"]["errorMessage"] == denied.error["Message"]
    assert details["ValidationException"]["errorMessage"] == failed.error["Message"]
    for detail in details.values():
        assert (detail["eventName"], detail["responseElements"]) == ("PutRule", None)
