"""What happens to objects is told to functions and to EventBridge."""

import json

import pytest

import mayfly as m
from conftest import make_role


class TestNotifications:
    EVENT = """
import json
print('EVENT ' + json.dumps(event))
"""

    @pytest.fixture
    def told(self, lambdas, s3, bucket, function, logs):
        """A function that the bucket may invoke, and what it was told."""
        one = function(self.EVENT)
        arn = lambdas.get_function_configuration(FunctionName=one.name)["FunctionArn"]
        one.arn = arn

        def allow():
            lambdas.add_permission(
                FunctionName=one.name,
                StatementId="s3",
                Action="lambda:InvokeFunction",
                Principal="s3.amazonaws.com",
                SourceArn=f"arn:aws:s3:::{bucket}",
                SourceAccount=arn.split(":")[4],
            )

        def records(count):
            def read():
                try:
                    page = logs.filter_log_events(logGroupName=f"/aws/lambda/{one.name}", filterPattern="EVENT")
                except logs.exceptions.ResourceNotFoundException:
                    return None
                found = [json.loads(e["message"].removeprefix("EVENT "))["Records"][0] for e in page["events"]]
                return found if len(found) >= count else None

            return m.until(read, f"the function was told {count} times")

        one.allow, one.records = allow, records
        return one

    def test_a_function_is_told(self, server, s3, bucket, told):
        configuration = {
            "LambdaFunctionConfigurations": [
                {
                    "Id": "images",
                    "LambdaFunctionArn": told.arn,
                    "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:Delete"],
                    "Filter": {
                        "Key": {
                            "FilterRules": [{"Name": "Prefix", "Value": "in/"}, {"Name": "Suffix", "Value": ".jpg"}]
                        }
                    },
                }
            ]
        }
        with m.refused("InvalidArgument", "Unable to validate the following destination configurations", 400):
            s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)
        told.allow()
        s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)
        found = s3.get_bucket_notification_configuration(Bucket=bucket)
        assert found["LambdaFunctionConfigurations"] == configuration["LambdaFunctionConfigurations"]
        s3.put_object(Bucket=bucket, Key="out/a.jpg", Body=b"x")
        s3.put_object(Bucket=bucket, Key="in/a.png", Body=b"x")
        put = s3.put_object(Bucket=bucket, Key="in/ä b+c.jpg", Body=b"hello")
        s3.copy_object(Bucket=bucket, Key="in/copy.jpg", CopySource={"Bucket": bucket, "Key": "out/a.jpg"})
        s3.delete_object(Bucket=bucket, Key="in/copy.jpg")
        records = {record["eventName"]: record for record in told.records(3)}
        assert sorted(records) == ["ObjectCreated:Copy", "ObjectCreated:Put", "ObjectRemoved:Delete"]
        record = records["ObjectCreated:Put"]
        object = record["s3"].pop("object")
        sequencer = object.pop("sequencer")
        assert object == {"key": "in/%C3%A4+b%2Bc.jpg", "size": 5, "eTag": put["ETag"].strip('"')}
        assert int(sequencer, 16) < int(records["ObjectCreated:Copy"]["s3"]["object"]["sequencer"], 16)
        assert list(records["ObjectRemoved:Delete"]["s3"]["object"]) == ["key", "sequencer"]
        owner = record["s3"]["bucket"].pop("ownerIdentity")
        assert list(owner) == ["principalId"]
        assert record["s3"] == {
            "s3SchemaVersion": "1.0",
            "configurationId": "images",
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
        }
        request_id = put["ResponseMetadata"]["RequestId"]
        assert record["responseElements"]["x-amz-request-id"] == request_id
        assert m.re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["eventTime"])
        assert (record["eventVersion"], record["eventSource"], record["awsRegion"]) == (
            "2.1",
            "aws:s3",
            s3.meta.region_name,
        )
        assert record["userIdentity"]["principalId"].startswith("AWS:")
        assert record["requestParameters"] == {"sourceIPAddress": "127.0.0.1"}

    def test_versions_and_markers_are_told(self, s3, bucket, told):
        told.allow()
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        events = ["s3:ObjectCreated:Put", "s3:ObjectRemoved:*", "s3:ObjectTagging:*"]
        one = {"LambdaFunctionArn": told.arn, "Events": events}
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"LambdaFunctionConfigurations": [one]}
        )
        version = s3.put_object(Bucket=bucket, Key="k")["VersionId"]
        s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
        marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
        s3.delete_object(Bucket=bucket, Key="k", VersionId=version)
        found = sorted((r["eventName"], r["s3"]["object"]["versionId"], r["eventVersion"]) for r in told.records(4))
        assert found == [
            ("ObjectCreated:Put", version, "2.1"),
            ("ObjectRemoved:Delete", version, "2.1"),
            ("ObjectRemoved:DeleteMarkerCreated", marker, "2.1"),
            ("ObjectTagging:Put", version, "2.3"),
        ]

    def test_configurations_that_are_none(self, s3, bucket, told):
        told.allow()

        def put(*configurations, **more):
            listed = [
                {"LambdaFunctionArn": told.arn, "Events": ["s3:ObjectCreated:*"], **one} for one in configurations
            ]
            return s3.put_bucket_notification_configuration(
                Bucket=bucket, NotificationConfiguration={"LambdaFunctionConfigurations": listed}, **more
            )

        def filtered(prefix, suffix=""):
            rules = [{"Name": "prefix", "Value": prefix}, {"Name": "suffix", "Value": suffix}]
            return {"Filter": {"Key": {"FilterRules": rules}}}

        with m.refused("InvalidArgument", "Configurations overlap.*"):
            put({}, {})
        with m.refused("InvalidArgument", "Configuration is ambiguously defined.*"):
            put(filtered("a/"), filtered("a/b/"))
        put(filtered("a/", ".jpg"), filtered("a/", ".png"))
        put({"Events": ["s3:ObjectCreated:Put"]}, {"Events": ["s3:ObjectCreated:Copy"]})
        with m.refused("InvalidArgument", "The event 's3:ObjectEaten:\\*' is not supported for notifications"):
            put({"Events": ["s3:ObjectEaten:*"]})
        with m.refused("InvalidArgument", "Unable to validate.*"):
            put({"LambdaFunctionArn": told.arn + "none"})
        with m.refused("NotImplemented"):
            queue = {"QueueArn": "arn:aws:sqs:us-east-1:000000000000:q", "Events": ["s3:ObjectCreated:*"]}
            s3.put_bucket_notification_configuration(
                Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [queue]}
            )
        put({"LambdaFunctionArn": told.arn + "none"}, SkipDestinationValidation=True)
        s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
        assert "LambdaFunctionConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)

    def test_eventbridge_is_told(self, server, s3, bucket, told, lambdas):
        events = server.client("events")
        rule = m.name("rule")
        pattern = {"source": ["aws.s3"], "detail": {"bucket": {"name": [bucket]}}}
        arn = events.put_rule(Name=rule, EventPattern=json.dumps(pattern))["RuleArn"]
        lambdas.add_permission(
            FunctionName=told.name,
            StatementId="events",
            Action="lambda:InvokeFunction",
            Principal="events.amazonaws.com",
            SourceArn=arn,
        )
        template = '{"Records": [<event>]}'
        transformer = {"InputPathsMap": {"event": "$"}, "InputTemplate": template}
        events.put_targets(Rule=rule, Targets=[{"Id": "1", "Arn": told.arn, "InputTransformer": transformer}])
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
        assert s3.get_bucket_notification_configuration(Bucket=bucket)["EventBridgeConfiguration"] == {}
        s3.put_object(Bucket=bucket, Key="ä b", Body=b"hello")
        s3.delete_object(Bucket=bucket, Key="ä b")
        found = {event["detail-type"]: event for event in told.records(2)}
        created, deleted = found["Object Created"], found["Object Deleted"]
        assert (created["source"], created["resources"]) == ("aws.s3", [f"arn:aws:s3:::{bucket}"])
        detail = created["detail"]
        assert (detail["reason"], detail["object"]["key"], detail["object"]["size"]) == ("PutObject", "ä b", 5)
        assert deleted["detail"]["deletion-type"] == "Permanently Deleted"
        events.remove_targets(Rule=rule, Ids=["1"])
        events.delete_rule(Name=rule)

    def test_a_kill_loses_no_notification(self, fresh):
        server = fresh()
        s3, lambdas, logs = server.client("s3"), server.client("lambda"), server.client("logs")
        role = make_role(server.client("iam"), "basic", m.BASIC_EXECUTION)
        arn = lambdas.create_function(
            FunctionName="told",
            Runtime=m.PYTHON,
            Handler="lambda_function.lambda_handler",
            Role=role,
            Code={"ZipFile": m.handler("print('got ' + event['Records'][0]['s3']['object']['key'])")},
        )["FunctionArn"]
        lambdas.get_waiter("function_active_v2").wait(FunctionName="told")
        lambdas.add_permission(
            FunctionName="told", StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com"
        )
        s3.create_bucket(Bucket="telling")
        one = {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}
        s3.put_bucket_notification_configuration(
            Bucket="telling", NotificationConfiguration={"LambdaFunctionConfigurations": [one]}
        )
        for n in range(10):
            s3.put_object(Bucket="telling", Key=f"<{n}>")
        server.kill()
        server.start()
        logs = server.client("logs")

        def all_told():
            try:
                page = logs.filter_log_events(logGroupName="/aws/lambda/told", filterPattern="got")
            except logs.exceptions.ResourceNotFoundException:
                return False
            text = "".join(event["message"] for event in page["events"])
            return all(f"%3C{n}%3E" in text for n in range(10))

        # What was leased when the server was killed comes again when the lease is over, a minute later.
        m.until(all_told, "all ten are told", 150)
