"""S3: who may, what goes by itself, web pages, the AWS CLI, and what survives a kill."""

import contextlib
import datetime
import email.utils
import json
import os
import socket
import sqlite3
import threading
import unittest.mock
import urllib.request

import boto3
import boto3.s3.transfer
import botocore.auth
import botocore.config
import botocore.exceptions
import botocore.handlers
import pytest

import mayfly as m
from s3 import MIB, aws, error_code, fetch, keys, where


class TestAccess:
    def test_denials_say_why(self, server, user, s3, bucket):
        key = user({"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/public/*"})
        client = server.client("s3", key)
        who = server.client("sts", key).get_caller_identity()["Arn"]
        s3.put_object(Bucket=bucket, Key="public/k", Body=b"x")
        assert client.get_object(Bucket=bucket, Key="public/k")["Body"].read() == b"x"
        why = "because no identity-based policy allows the {0} action"
        for action, resource, call in [
            ("s3:PutObject", f"{bucket}/k", lambda: client.put_object(Bucket=bucket, Key="k", Body=b"x" * MIB)),
            ("s3:GetObject", f"{bucket}/k", lambda: client.get_object(Bucket=bucket, Key="k")),
            ("s3:DeleteObject", f"{bucket}/k", lambda: client.delete_object(Bucket=bucket, Key="k")),
            ("s3:ListBucket", bucket, lambda: client.list_objects_v2(Bucket=bucket)),
            ("s3:PutBucketPolicy", bucket, lambda: client.put_bucket_policy(Bucket=bucket, Policy="{}")),
            # Whether a key is there is for those to know who may list.
            ("s3:ListBucket", bucket, lambda: client.get_object(Bucket=bucket, Key="public/none")),
        ]:
            resource = f"arn:aws:s3:::{resource}"
            text = f'User: {who} is not authorized to perform: {action} on resource: "{resource}" {why.format(action)}'
            with m.refused("AccessDenied", m.re.escape(text), 403):
                call()
        with m.refused("AccessDenied"):
            client.copy_object(Bucket=bucket, Key="public/copy", CopySource={"Bucket": bucket, "Key": "public/k"})
        reply = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "public/k"}]})
        assert [one["Code"] for one in reply["Errors"]] == ["AccessDenied"]

    def test_a_bucket_policy_lets_in_and_keeps_out(self, server, user, s3, bucket):
        key = user({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
        client, who = server.client("s3", key), server.client("sts", key).get_caller_identity()["Arn"]
        nobody = user()
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Deny",
                    "Principal": {"AWS": who},
                    "Action": "s3:PutObject",
                    "Resource": f"arn:aws:s3:::{bucket}/locked/*",
                },
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": server.client("sts", nobody).get_caller_identity()["Arn"]},
                    "Action": "s3:ListBucket",
                    "Resource": f"arn:aws:s3:::{bucket}",
                    "Condition": {"StringLike": {"s3:prefix": "home/*"}},
                },
            ],
        }
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == policy
        client.put_object(Bucket=bucket, Key="free/k")
        with m.refused("AccessDenied", ".* with an explicit deny in a resource-based policy", 403):
            client.put_object(Bucket=bucket, Key="locked/k")
        server.client("s3", nobody).list_objects_v2(Bucket=bucket, Prefix="home/me")
        with m.refused("AccessDenied"):
            server.client("s3", nobody).list_objects_v2(Bucket=bucket)
        assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"] == {"IsPublic": False}
        s3.delete_bucket_policy(Bucket=bucket)
        with m.refused("NoSuchBucketPolicy", status=404):
            s3.get_bucket_policy(Bucket=bucket)

    def test_tags_of_objects_decide(self, server, user, s3, bucket):
        objects = f"arn:aws:s3:::{bucket}/*"
        key = user(
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:DeleteObject"],
                "Resource": objects,
                "Condition": {"StringEquals": {"s3:ExistingObjectTag/team": "red"}},
            },
            {
                "Effect": "Allow",
                "Action": ["s3:PutObject", "s3:PutObjectTagging"],
                "Resource": objects,
                "Condition": {"StringEquals": {"s3:RequestObjectTag/team": "red"}},
            },
        )
        client = server.client("s3", key)
        s3.put_object(Bucket=bucket, Key="red", Body=b"r", Tagging="team=red&level=1")
        s3.put_object(Bucket=bucket, Key="blue", Body=b"b", Tagging="team=blue")
        s3.put_object(Bucket=bucket, Key="bare", Body=b"n")
        assert client.get_object(Bucket=bucket, Key="red")["Body"].read() == b"r"
        for name in ["blue", "bare"]:
            with m.refused("AccessDenied", status=403):
                client.get_object(Bucket=bucket, Key=name)
        client.put_object(Bucket=bucket, Key="mine", Tagging="team=red")
        for tagging in ["team=blue", ""]:
            with m.refused("AccessDenied", status=403):
                client.put_object(Bucket=bucket, Key="mine", Tagging=tagging)
        # Who may set tags to red may read what was blue; taken away, it cannot be read any more.
        red = {"TagSet": [{"Key": "team", "Value": "red"}]}
        client.put_object_tagging(Bucket=bucket, Key="blue", Tagging=red)
        assert client.get_object(Bucket=bucket, Key="blue")["Body"].read() == b"b"
        s3.delete_object_tagging(Bucket=bucket, Key="blue")
        with m.refused("AccessDenied", status=403):
            client.get_object(Bucket=bucket, Key="blue")

    def test_the_page_that_links_to_it_decides(self, s3, bucket):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        statement = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{bucket}/*",
            "Condition": {"StringLikeIfExists": {"aws:Referer": "https://example.com/*"}},
        }
        s3.delete_public_access_block(Bucket=bucket)
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statement}))
        url = f"{s3.meta.endpoint_url}/{bucket}/k"
        for headers, status in [
            ({}, 200),
            ({"Referer": "https://example.com/page"}, 200),
            ({"Referer": "https://example.org/page"}, 403),
        ]:
            assert fetch(url, headers=headers)[0] == status, headers

    def test_policies_that_are_none(self, s3, bucket):
        def statement(**changes):
            rule = {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{bucket}/*",
            }
            return json.dumps({"Version": "2012-10-17", "Statement": rule | changes})

        for policy, text in [
            ("not json", "Policies must be valid JSON and the first byte must be '{'"),
            ("{", "This policy contains invalid Json"),
            (statement(Resource="arn:aws:s3:::other/*"), "Policy has invalid resource"),
            (statement(Action="lambda:InvokeFunction"), "Policy has invalid action"),
            (statement(Effect="Perhaps"), None),
            (statement(Principal={"AWS": "nonsense"}), None),
        ]:
            with m.refused("MalformedPolicy", text, 400):
                s3.put_bucket_policy(Bucket=bucket, Policy=policy)

    def test_the_root_user_is_never_locked_out(self, s3, bucket):
        policy = {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            },
        }
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        with m.refused("AccessDenied"):
            s3.list_objects_v2(Bucket=bucket)
        s3.delete_bucket_policy(Bucket=bucket)
        s3.list_objects_v2(Bucket=bucket)

    def test_public_objects(self, server, s3, bucket):
        s3.put_object(Bucket=bucket, Key="k", Body=b"for all")
        url = f"{server.url}/{bucket}/k"
        status, _, body = fetch(url)
        assert (status, error_code(body)) == (403, "AccessDenied")
        public = json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": {
                    "Effect": "Allow",
                    "Principal": "*",
                    "Action": "s3:GetObject",
                    "Resource": f"arn:aws:s3:::{bucket}/*",
                },
            }
        )
        with m.refused("AccessDenied", ".*BlockPublicPolicy.*", 403):
            s3.put_bucket_policy(Bucket=bucket, Policy=public)
        s3.delete_public_access_block(Bucket=bucket)
        with m.refused("NoSuchPublicAccessBlockConfiguration"):
            s3.get_public_access_block(Bucket=bucket)
        s3.put_bucket_policy(Bucket=bucket, Policy=public)
        assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"] == {"IsPublic": True}
        assert fetch(url)[::2] == (200, b"for all")
        assert fetch(url, method="DELETE")[0] == 403
        assert fetch(f"{server.url}/{bucket}")[0] == 403
        block = {"RestrictPublicBuckets": True}
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)
        assert fetch(url)[0] == 403

    def test_presigned_urls(self, server, s3, bucket):
        signed = boto3.client("s3", config=botocore.config.Config(signature_version="s3v4"), **where(s3))
        one = {"Bucket": bucket, "Key": "a b/ü"}
        put = signed.generate_presigned_url("put_object", one)
        assert fetch(put, b"hello", "PUT")[0] == 200
        get = signed.generate_presigned_url("get_object", one)
        assert fetch(get)[::2] == (200, b"hello")
        for url, header, code in [
            (get.replace("Signature=", "Signature=0"), {}, "SignatureDoesNotMatch|AuthorizationQueryParametersError"),
            (get.replace("Expires=3600", "Expires=9999"), {}, "SignatureDoesNotMatch"),
            (put, {"x-amz-tagging": "a=b"}, "AccessDenied"),
            (put, {"x-amz-copy-source": f"{bucket}/a"}, "AccessDenied"),
            (
                signed.generate_presigned_url("get_object", one, ExpiresIn=604801),
                {},
                "AuthorizationQueryParametersError",
            ),
            (get.replace("/a%20b", "/other"), {}, "SignatureDoesNotMatch"),
        ]:
            method = "PUT" if url == put else "GET"
            status, _, body = fetch(url, b"x" if method == "PUT" else None, method, header)
            assert status in (400, 403) and error_code(body) in code.split("|"), (url, body)

    def test_presigned_urls_of_the_old_kind(self, server, s3, bucket):
        old = boto3.client("s3", config=botocore.config.Config(signature_version="s3"), **where(s3))
        one = {"Bucket": bucket, "Key": "a b/ü"}
        put = old.generate_presigned_url("put_object", one | {"Metadata": {"a": "b"}, "ContentType": "a/b"})
        assert fetch(put, b"hello", "PUT", {"x-amz-meta-a": "b", "Content-Type": "a/b"})[0] == 200
        get = old.generate_presigned_url("get_object", one | {"ResponseContentType": "text/plain"})
        status, headers, body = fetch(get)
        assert (status, headers["Content-Type"], headers["x-amz-meta-a"], body) == (200, "text/plain", "b", b"hello")
        listing = old.generate_presigned_url("list_objects", {"Bucket": bucket})
        far = old.generate_presigned_url("get_object", one, ExpiresIn=604900)
        for url, header, status in [
            (get.replace("text%2Fplain", "text%2Fhtml"), {}, 403),
            (get.replace("/a%20b", "/other"), {}, 403),
            (get + "&attributes", {}, 403),
            (get, {"x-amz-copy-source": "a/b"}, 403),
            (listing, {}, 403),
            (far, {}, 400),
        ]:
            assert fetch(url, headers=header)[0] == status, url
        gone = old.generate_presigned_url("get_object", one, ExpiresIn=-1)
        status, _, body = fetch(gone)
        assert (status, error_code(body)) == (403, "AccessDenied")
        # Headers that carry it are refused.
        with m.refused("InvalidRequest", "The authorization mechanism you have provided is not supported.*", 400):
            old.get_object(**one)

    def test_an_expired_url(self, server, s3, bucket):
        signed = boto3.client("s3", config=botocore.config.Config(signature_version="s3v4"), **where(s3))
        url = signed.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"}, ExpiresIn=1)

        def expired():
            status, _, body = fetch(url)
            return status == 403 and error_code(body) == "AccessDenied" and b"Request has expired" in body

        m.until(expired, "the URL expires")

    def test_a_url_of_the_future(self, server, s3, bucket):
        """Signed by a clock that is an hour ahead; a quarter of an hour is forgiven."""
        s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
        one = {"Bucket": bucket, "Key": "k"}

        def signed(ahead):
            clock = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=ahead)
            client = boto3.client("s3", config=botocore.config.Config(signature_version="s3v4"), **where(s3))
            with unittest.mock.patch("botocore.auth.get_current_datetime", lambda: clock.replace(tzinfo=None)):
                return client.generate_presigned_url("get_object", one)

        assert fetch(signed(10))[::2] == (200, b"hello")
        status, _, body = fetch(signed(60))
        assert (status, error_code(body)) == (403, "AccessDenied")
        assert b"Request is not yet valid" in body

    def test_who_is_not_who_they_say(self, server, s3, bucket):
        for key, code in [
            ({"AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "SecretAccessKey": "x"}, "InvalidAccessKeyId"),
            ({"AccessKeyId": where(s3)["aws_access_key_id"], "SecretAccessKey": "x"}, "SignatureDoesNotMatch"),
        ]:
            with m.refused(code, status=403):
                server.client("s3", key).list_objects_v2(Bucket=bucket)

    def test_a_session(self, server, sts, s3, bucket):
        key = sts.get_federation_token(
            Name="visitor",
            Policy=json.dumps(
                {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:List*", "Resource": "*"}}
            ),
        )["Credentials"]
        client = server.client("s3", key)
        client.list_objects_v2(Bucket=bucket)
        with m.refused("AccessDenied"):
            client.put_object(Bucket=bucket, Key="k")

    def test_the_bucket_in_the_host(self, server, s3, bucket):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        for host in f"{bucket}.localhost", f"{bucket}.s3.localhost", f"{bucket}.s3.us-east-1.amazonaws.com":
            status, _, body = server.signed(
                "GET", "/k", service="s3", sign=botocore.auth.S3SigV4Auth, headers={"Host": f"{host}:{server.port}"}
            )
            assert (status, body) == (200, b"x"), host


def post(url, fields, content, name="a b.txt"):
    """What a browser sends for a form: status, headers, body."""
    edge = "----edge"
    parts = [f'--{edge}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    file = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: a/b\r\n\r\n'
    body = "".join([*parts, file]).encode() + content + f"\r\n--{edge}--\r\n".encode()
    return fetch(url, body, "POST", {"Content-Type": f"multipart/form-data; boundary={edge}"})


class TestForms:
    @pytest.mark.parametrize("version", ["s3", "s3v4"])
    def test_uploads_from_a_form(self, s3, bucket, version):
        client = boto3.client("s3", config=botocore.config.Config(signature_version=version), **where(s3))
        wanted = {"acl": "private", "Content-Type": "text/plain", "x-amz-meta-a": "b"}
        wanted["tagging"] = "<Tagging><TagSet><Tag><Key>t</Key><Value>1 + 2</Value></Tag></TagSet></Tagging>"
        conditions = [{name: value} for name, value in wanted.items()] + [["content-length-range", 1, 2 * MIB]]
        form = client.generate_presigned_post(bucket, "in/${filename}", dict(wanted), conditions)
        content = b"\r\n--" + os.urandom(MIB) + b"\r\n----edg"
        status, headers, body = post(form["url"], form["fields"], content)
        assert (status, body) == (204, b""), body
        got = s3.get_object(Bucket=bucket, Key="in/a b.txt")
        assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (content, "text/plain", {"a": "b"})
        assert got["ETag"] == headers["ETag"]
        assert headers["Location"].endswith(f"/{bucket}/in/a%20b.txt")
        tags = s3.get_object_tagging(Bucket=bucket, Key="in/a b.txt")["TagSet"]
        assert tags == [{"Key": "t", "Value": "1 + 2"}]
        for changed, content, expected in [
            ({"x-amz-meta-a": "c"}, b"x", (403, "AccessDenied")),
            ({"x-amz-meta-b": "c"}, b"x", (403, "AccessDenied")),
            ({"key": "out/a"}, b"x", (403, "AccessDenied")),
            ({"policy": "e30="}, b"x", (403, "SignatureDoesNotMatch")),
            ({}, b"", (400, "EntityTooSmall")),
            ({}, b"x" * (2 * MIB + 1), (400, "EntityTooLarge")),
            ({"x-ignore-long": "x" * 50_000}, b"x", (400, "MaxPostPreDataLengthExceeded")),
        ]:
            status, _, body = post(form["url"], form["fields"] | changed, content)
            assert (status, error_code(body)) == expected, (changed, body)
        assert keys(s3.list_objects_v2(Bucket=bucket)) == ["in/a b.txt"]

    def test_answers_to_a_form(self, s3, bucket):
        def asked(**wanted):
            form = s3.generate_presigned_post(bucket, "k", dict(wanted), [{name: wanted[name]} for name in wanted])
            return post(form["url"], form["fields"], b"x")

        assert asked(success_action_status="200")[0] == 200
        status, _, body = asked(success_action_status="201")
        assert status == 201 and b"<PostResponse><Location>" in body and f"<Bucket>{bucket}</Bucket>".encode() in body
        assert asked(success_action_status="404")[0] == 204

        class Stays(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_):
                return None

        urllib.request.install_opener(urllib.request.build_opener(Stays))
        try:
            status, headers, _ = asked(success_action_redirect="https://example.com/done?a=b")
        finally:
            urllib.request.install_opener(urllib.request.build_opener())
        assert status == 303
        assert headers["Location"].startswith(f"https://example.com/done?a=b&bucket={bucket}&key=k&etag=%22")

    def test_whose_form_it_is(self, server, user, s3, bucket):
        late = s3.generate_presigned_post(bucket, "k", ExpiresIn=-1)
        status, _, body = post(late["url"], late["fields"], b"x")
        assert (status, error_code(body)) == (403, "AccessDenied") and b"Policy expired" in body
        # The signer must be allowed what the form does.
        stranger = server.client("s3", user({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}))
        form = stranger.generate_presigned_post(bucket, "k")
        status, _, body = post(form["url"], form["fields"], b"x")
        assert (status, error_code(body)) == (403, "AccessDenied") and b"s3:PutObject" in body
        unsigned = {"key": "k"}
        for fields, code in [
            (unsigned, "AccessDenied"),
            (unsigned | {"policy": form["fields"]["policy"]}, "AccessDenied"),
            ({}, "InvalidArgument"),
        ]:
            status, _, body = post(form["url"], fields, b"x")
            assert error_code(body) == code, (fields, body)
        # A condition of a policy sees how it came.
        policy = {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:PutObject",
                "Resource": f"arn:aws:s3:::{bucket}/*",
                "Condition": {"StringEquals": {"s3:authType": "POST"}},
            },
        }
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        s3.put_object(Bucket=bucket, Key="other")
        form = s3.generate_presigned_post(bucket, "k")
        assert post(form["url"], form["fields"], b"x")[0] == 403
        assert keys(s3.list_objects_v2(Bucket=bucket)) == ["other"]


class TestLifecycle:
    def test_rules_are_kept(self, s3, bucket):
        with m.refused("NoSuchLifecycleConfiguration", status=404):
            s3.get_bucket_lifecycle_configuration(Bucket=bucket)
        rules = [
            {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 1}},
            {
                "ID": "b",
                "Status": "Disabled",
                "Filter": {"And": {"Prefix": "x", "Tags": [{"Key": "k", "Value": "v"}], "ObjectSizeGreaterThan": 5}},
                "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 2},
            },
            {
                "ID": "c",
                "Status": "Enabled",
                "Filter": {"Prefix": ""},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
            },
        ]
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
        assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules
        s3.delete_bucket_lifecycle(Bucket=bucket)
        for rule, code in [
            ({**rules[0], "Expiration": {"Days": 0}}, "InvalidArgument"),
            ({**rules[0], "Expiration": {"Date": "2020-01-01T01:00:00Z"}}, "InvalidArgument"),
            ({**rules[0], "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}, "NotImplemented"),
            ({"ID": "d", "Status": "Enabled", "Filter": {"Prefix": ""}}, "InvalidRequest"),
        ]:
            with m.refused(code):
                s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})

    def test_objects_expire(self, s3, bucket):
        s3.put_object(Bucket=bucket, Key="tmp/old", Body=b"x")
        s3.put_object(Bucket=bucket, Key="kept", Body=b"x")
        rule = {"Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Date": "2020-01-01T00:00:00Z"}}
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
        m.until(lambda: keys(s3.list_objects_v2(Bucket=bucket)) == ["kept"], "the old one is gone")

    def test_replies_say_when(self, s3, bucket):
        rules = [
            {"ID": "later", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 9}},
            {"ID": "soon, 1", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 2}},
            {"ID": "off", "Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}},
            {
                "ID": "parts",
                "Status": "Enabled",
                "Filter": {"Prefix": "tmp/"},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
            },
        ]
        one = {"Bucket": bucket, "Key": "tmp/k"}
        assert "Expiration" not in s3.put_object(**one)
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})

        def midnight(days, since):
            day = datetime.datetime.combine(since.date(), datetime.time(), datetime.UTC)
            return day + datetime.timedelta(days=days + 1)

        def says(reply, days, rule):
            date = midnight(days, s3.head_object(**one)["LastModified"])
            date = email.utils.format_datetime(date, usegmt=True)
            return reply["Expiration"] == f'expiry-date="{date}", rule-id="{rule}"'

        assert says(s3.put_object(**one), 2, "soon%2C%201")
        assert says(s3.head_object(**one), 2, "soon%2C%201")
        assert says(s3.get_object(**one), 2, "soon%2C%201")
        assert says(s3.copy_object(Bucket=bucket, Key="k", CopySource=one), 9, "later")
        upload = s3.create_multipart_upload(**one)
        part = {"UploadId": upload["UploadId"], **one}
        begun = s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["Initiated"]
        for reply in [upload, s3.list_parts(**part)]:
            assert (reply["AbortDate"], reply["AbortRuleId"]) == (midnight(1, begun), "parts")
        etag = s3.upload_part(PartNumber=1, **part)["ETag"]
        done = s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}, **part)
        assert says(done, 2, "soon%2C%201")


class TestCors:
    def test_pages(self, server, s3, bucket):
        with m.refused("NoSuchCORSConfiguration", status=404):
            s3.get_bucket_cors(Bucket=bucket)
        rule = {
            "AllowedOrigins": ["https://*.example.com"],
            "AllowedMethods": ["GET", "PUT"],
            "AllowedHeaders": ["x-amz-*", "content-type"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 60,
        }
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
        assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == [rule]

        def ask(origin, method, headers=""):
            asked = {
                "Origin": origin,
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": headers,
            }
            return fetch(f"{server.url}/{bucket}/k", method="OPTIONS", headers=asked)

        status, headers, _ = ask("https://www.example.com", "PUT", "x-amz-meta-a, content-type")
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, "https://www.example.com")
        assert headers["Access-Control-Allow-Headers"] == "x-amz-meta-a, content-type"
        assert headers["Access-Control-Max-Age"] == "60"
        for origin, method, wanted in [
            ("https://evil.example", "GET", ""),
            ("https://www.example.com", "DELETE", ""),
            ("https://www.example.com", "GET", "authorization"),
        ]:
            status, headers, body = ask(origin, method, wanted)
            assert (status, error_code(body)) == (403, "AccessForbidden")
            assert headers["Access-Control-Allow-Origin"] is None
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        signed = boto3.client("s3", config=botocore.config.Config(signature_version="s3v4"), **where(s3))
        url = signed.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})
        _, headers, _ = fetch(url, headers={"Origin": "https://www.example.com"})
        assert headers["Access-Control-Allow-Origin"] == "https://www.example.com"
        assert headers["Access-Control-Expose-Headers"] == "ETag"
        _, headers, _ = fetch(url, headers={"Origin": "https://evil.example"})
        assert headers["Access-Control-Allow-Origin"] is None
        s3.delete_bucket_cors(Bucket=bucket)
        assert ask("https://www.example.com", "PUT")[0] == 403

    def test_dev_mode_lets_in_pages_that_the_bucket_lets_in(self, fresh):
        server = fresh("--dev")
        s3 = server.client("s3", {"AccessKeyId": "test", "SecretAccessKey": "test"})
        s3.create_bucket(Bucket="pages")
        s3.put_object(Bucket="pages", Key="k", Body=b"x")
        signed = boto3.client("s3", config=botocore.config.Config(signature_version="s3v4"), **where(s3))
        url = signed.generate_presigned_url("get_object", {"Bucket": "pages", "Key": "k"})
        page = {"Origin": "https://page.example"}
        assert fetch(url)[0] == 200
        assert fetch(url, headers=page)[0] == 403
        rule = {"AllowedOrigins": ["https://page.example"], "AllowedMethods": ["GET"]}
        s3.put_bucket_cors(Bucket="pages", CORSConfiguration={"CORSRules": [rule]})
        assert fetch(url, headers=page)[0] == 200
        assert fetch(url, headers={"Origin": "https://evil.example"})[0] == 403


class TestCode:
    def test_functions_and_layers_from_a_bucket(self, server, user, s3, bucket, lambdas, role, function):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        first = s3.put_object(Bucket=bucket, Key="code.zip", Body=m.handler("return 1"))["VersionId"]
        s3.put_object(Bucket=bucket, Key="code.zip", Body=m.handler("return 2"))
        s3.put_object(Bucket=bucket, Key="layer.zip", Body=m.zipped({"python/lib.py": "x = 3"}))
        s3.put_object(Bucket=bucket, Key="no.zip", Body=b"no zip")
        code = {"S3Bucket": bucket, "S3Key": "code.zip"}
        one = function(m.handler("return 0"))
        lambdas.update_function_code(FunctionName=one.name, **code)
        lambdas.get_waiter("function_updated_v2").wait(FunctionName=one.name)
        assert one.call()["payload"] == 2
        lambdas.update_function_code(FunctionName=one.name, S3ObjectVersion=first, **code)
        lambdas.get_waiter("function_updated_v2").wait(FunctionName=one.name)
        assert one.call()["payload"] == 1
        layer = lambdas.publish_layer_version(
            LayerName=m.name("layer"), Content={"S3Bucket": bucket, "S3Key": "layer.zip"}
        )
        assert layer["Version"] == 1
        made = {
            "FunctionName": m.name(),
            "Runtime": m.PYTHON,
            "Handler": "lambda_function.lambda_handler",
            "Role": role,
        }
        lambdas.create_function(Code=code, **made)
        lambdas.delete_function(FunctionName=made["FunctionName"])
        for changed, text in [
            ({"S3Key": "none"}, "NoSuchKey. S3 Error Message: The specified key does not exist."),
            ({"S3Bucket": "none-" + bucket}, "NoSuchBucket. S3 Error Message: The specified bucket does not exist"),
            ({"S3ObjectVersion": "none"}, "NoSuchVersion. S3 Error Message: The specified version does not exist."),
        ]:
            text = f"Error occurred while GetObject. S3 Error Code: {text}"
            with m.refused("InvalidParameterValueException", m.re.escape(text), 400):
                lambdas.create_function(Code=code | changed, **made)
        with m.refused("InvalidParameterValueException"):
            lambdas.create_function(Code=code | {"S3Key": "no.zip"}, **made)
        key = user({"Effect": "Allow", "Action": ["lambda:*", "iam:PassRole"], "Resource": "*"})
        text = f".*GetObject for {bucket}/code.zip.*"
        with m.refused("AccessDeniedException", text, 403):
            server.client("lambda", key).create_function(Code=code, **made)


class TestCommandLine:
    def test_a_day_with_the_command_line(self, server, tmp_path):
        name = m.name("bucket")
        source, target = tmp_path / "source", tmp_path / "target"
        (source / "deep").mkdir(parents=True)
        (source / "a.txt").write_text("a")
        (source / "deep" / "b c.txt").write_text("b")
        (source / "big").write_bytes(os.urandom(9 * MIB))
        assert aws(server, "s3", "mb", f"s3://{name}").stdout == f"make_bucket: {name}\n"
        aws(server, "s3", "cp", source / "a.txt", f"s3://{name}/copied.txt")
        aws(server, "s3", "sync", source, f"s3://{name}/tree")
        listed = aws(server, "s3", "ls", "--recursive", f"s3://{name}").stdout.split("\n")
        assert [line.split(None, 3)[3] for line in listed if line] == [
            "copied.txt",
            "tree/a.txt",
            "tree/big",
            "tree/deep/b c.txt",
        ]
        assert "PRE tree/" in aws(server, "s3", "ls", f"s3://{name}/").stdout
        # Nothing has changed.
        assert aws(server, "s3", "sync", source, f"s3://{name}/tree").stdout == ""
        aws(server, "s3", "sync", f"s3://{name}/tree", target)
        for file in "a.txt", "big", "deep/b c.txt":
            assert (target / file).read_bytes() == (source / file).read_bytes()
        url = aws(server, "s3", "presign", f"s3://{name}/copied.txt").stdout.strip()
        assert fetch(url)[::2] == (200, b"a")
        aws(server, "s3", "rm", f"s3://{name}/copied.txt")
        assert aws(server, "s3", "cp", f"s3://{name}/copied.txt", "-", check=False).returncode == 1
        assert "BucketNotEmpty" in aws(server, "s3", "rb", f"s3://{name}", check=False).stderr
        aws(server, "s3", "rb", "--force", f"s3://{name}")
        assert name not in aws(server, "s3", "ls").stdout


class TestDurability:
    def test_what_was_acknowledged_survives_a_kill(self, fresh):
        server = fresh()
        s3 = server.client("s3")
        s3.create_bucket(Bucket="kept")
        upload = s3.create_multipart_upload(Bucket="kept", Key="parts")["UploadId"]
        part = {"Bucket": "kept", "Key": "parts", "UploadId": upload, "PartNumber": 1}
        etag = s3.upload_part(Body=b"p" * MIB, **part)["ETag"]
        acknowledged, stop = {}, threading.Event()

        def write(n):
            client, k = server.client("s3"), 0
            while not stop.is_set():
                # Small ones are records of the store, others files.
                key, body = f"{n}/{k % 7}", os.urandom(3_000 if k % 2 else 300_000)
                acknowledged[key] = None  # Whether it is written is not known.
                try:
                    client.put_object(Bucket="kept", Key=key, Body=body)
                except Exception:
                    return
                acknowledged[key] = body
                k += 1

        writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for writer in writers:
            writer.start()
        m.until(lambda: len(acknowledged) >= 20, "some are written")
        server.kill()
        stop.set()
        for writer in writers:
            writer.join()
        server.start()
        s3 = server.client("s3")
        for key, body in acknowledged.items():
            if body is not None:
                assert s3.get_object(Bucket="kept", Key=key)["Body"].read() == body, key
        parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
        s3.complete_multipart_upload(Bucket="kept", Key="parts", UploadId=upload, MultipartUpload=parts)
        assert s3.head_object(Bucket="kept", Key="parts")["ContentLength"] == MIB

    def test_uploads_that_a_kill_breaks_off_leave_nothing(self, fresh):
        server = fresh()
        s3 = server.client("s3", signature_version="s3v4")
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="whole", Body=b"w" * MIB)
        upload = {"Bucket": "kept", "Key": "parts"}
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        first = s3.upload_part(Body=b"p" * 5 * MIB, PartNumber=1, **upload)["ETag"]
        folder = server.data / "store" / "objects"
        sizes = lambda: {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}  # noqa: E731
        acknowledged = sizes()
        with contextlib.ExitStack() as open_ones:
            for url in (
                s3.generate_presigned_url("put_object", {"Bucket": "kept", "Key": "half"}),
                s3.generate_presigned_url("put_object", {"Bucket": "kept", "Key": "whole"}),
                s3.generate_presigned_url("upload_part", upload | {"PartNumber": 1}),
                s3.generate_presigned_url("upload_part", upload | {"PartNumber": 2}),
            ):
                raw = open_ones.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                head = f"PUT {url.removeprefix(server.url)} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
                raw.sendall(f"{head}Content-Length: {4 * MIB}\r\n\r\n".encode() + os.urandom(2 * MIB))
            arrived = lambda: sum(sizes().values()) - sum(acknowledged.values())  # noqa: E731
            m.until(lambda: arrived() >= 4 * MIB, "halves of all four are on the disk")
            server.kill()
        server.start()
        m.until(lambda: sizes() == acknowledged, "what was acknowledged is left, and nothing else")
        assert s3.get_object(Bucket="kept", Key="whole")["Body"].read() == b"w" * MIB
        assert keys(s3.list_objects_v2(Bucket="kept")) == ["whole"]
        assert [part["PartNumber"] for part in s3.list_parts(**upload)["Parts"]] == [1]
        parts = {"Parts": [{"PartNumber": 1, "ETag": first}]}
        s3.complete_multipart_upload(MultipartUpload=parts, **upload)
        assert s3.get_object(Bucket="kept", Key="parts")["Body"].read() == b"p" * 5 * MIB

    def test_nothing_is_left_of_what_is_gone(self, fresh):
        server = fresh()
        s3 = server.client("s3")
        s3.create_bucket(Bucket="gone")
        for _ in range(5):
            s3.put_object(Bucket="gone", Key="k", Body=os.urandom(100_000))
            s3.put_object(Bucket="gone", Key="small", Body=os.urandom(1000))
        s3.copy_object(Bucket="gone", Key="copy", CopySource="gone/small")
        upload = s3.create_multipart_upload(Bucket="gone", Key="parts")["UploadId"]
        s3.upload_part(Bucket="gone", Key="parts", UploadId=upload, PartNumber=1, Body=os.urandom(1000))
        s3.abort_multipart_upload(Bucket="gone", Key="parts", UploadId=upload)
        folder = server.data / "store" / "objects"
        blobs = lambda: [path for path in folder.rglob("*") if path.is_file()]  # noqa: E731

        def small():
            database = f"file:{server.data}/store/mayfly.db?mode=ro"
            with contextlib.closing(sqlite3.connect(database, uri=True)) as connection:
                (count,) = connection.execute("SELECT count(*) FROM kv WHERE key LIKE 's3/content/%'").fetchone()
            return count

        # Copies share it.
        assert (len(blobs()), small()) == (6, 5)
        server.kill()
        server.start()
        # A start removes what no record names.
        m.until(lambda: (len(blobs()), small()) == (1, 1), "one of each is left")
        s3 = server.client("s3")
        assert len(s3.get_object(Bucket="gone", Key="k")["Body"].read()) == 100_000
        s3.delete_object(Bucket="gone", Key="small")
        assert len(s3.get_object(Bucket="gone", Key="copy")["Body"].read()) == 1000
