"""S3: buckets and objects, lists, multipart uploads, versions, checksums: with boto3's client, resource and transfer manager."""

import base64
import hashlib
import io
import json
import os
import socket
import threading
import zlib

import boto3
import boto3.s3.transfer
import botocore.auth
import botocore.config
import botocore.exceptions
import botocore.handlers
import pytest

import mayfly as m
from s3 import MIB, error_code, keys, prefixes, where


class TestBuckets:
    def test_life(self, server, s3):
        name = m.name("bucket")
        assert s3.create_bucket(Bucket=name)["Location"] == f"/{name}"
        assert name in [one["Name"] for one in s3.list_buckets()["Buckets"]]
        assert s3.head_bucket(Bucket=name)["BucketRegion"] == s3.meta.region_name
        s3.put_object(Bucket=name, Key="k")
        with m.refused("BucketNotEmpty", "The bucket you tried to delete is not empty", 409):
            s3.delete_bucket(Bucket=name)
        s3.delete_object(Bucket=name, Key="k")
        s3.delete_bucket(Bucket=name)
        with m.refused("404", status=404):
            s3.head_bucket(Bucket=name)
        for call in [s3.delete_bucket, s3.list_objects_v2, s3.get_bucket_location]:
            with m.refused("NoSuchBucket", "The specified bucket does not exist", 404):
                call(Bucket=name)
        with m.refused("NoSuchBucket"):
            s3.put_object(Bucket=name, Key="k", Body=b"x" * MIB)

    def test_a_bucket_made_again_is_empty(self, s3, bucket):
        s3.put_object(Bucket=bucket, Key="k", Body=b"old")
        s3.delete_object(Bucket=bucket, Key="k")
        s3.delete_bucket(Bucket=bucket)
        s3.create_bucket(Bucket=bucket)
        assert keys(s3.list_objects_v2(Bucket=bucket)) == []

    def test_locations(self, server):
        west, east = server.client("s3", region="eu-west-1"), server.client("s3", region="us-east-1")
        name = m.name("bucket")
        with m.refused("IllegalLocationConstraintException", status=400):
            west.create_bucket(Bucket=name)
        with m.refused("IllegalLocationConstraintException"):
            west.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
        with m.refused("InvalidLocationConstraint"):
            east.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "nowhere"})
        west.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        assert west.get_bucket_location(Bucket=name)["LocationConstraint"] == "eu-west-1"
        with m.refused("BucketAlreadyOwnedByYou", status=409):
            west.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        west.delete_bucket(Bucket=name)
        east.create_bucket(Bucket=name)
        east.create_bucket(Bucket=name)  # Twice is once in us-east-1.
        assert east.get_bucket_location(Bucket=name)["LocationConstraint"] is None
        east.delete_bucket(Bucket=name)

    @pytest.mark.parametrize("name", ["ab", "UPPER", "under_score", "-dash", "1.2.3.4", "a..b", "x" * 64, "a-s3alias"])
    def test_bad_names(self, s3, name):
        # botocore has an opinion of its own, which is not in question here.
        s3.meta.events.unregister("before-parameter-build.s3", botocore.handlers.validate_bucket_name)
        with m.refused("InvalidBucketName|AccessDenied", status=400):
            s3.create_bucket(Bucket=name)

    def test_who_is_refused_before_sending_is_told_that_the_connection_ends(self, server):
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            head = "PUT /theirs/k HTTP/1.1\r\nHost: %s:%s\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
            client.sendall((head % (host, port)).encode())
            reply = b""
            while part := client.recv(65536):
                reply += part
        assert reply.startswith(b"HTTP/1.1 404 "), reply
        assert b"\r\nconnection: close\r\n" in reply.lower(), reply

    def test_names_are_one_for_all_accounts(self, fresh):
        server = fresh("--dev")
        one = server.client("s3", {"AccessKeyId": "111111111111", "SecretAccessKey": "test"})
        two = server.client("s3", {"AccessKeyId": "222222222222", "SecretAccessKey": "test"})
        one.create_bucket(Bucket="theirs")
        with m.refused("BucketAlreadyExists", status=409):
            two.create_bucket(Bucket="theirs")
        with m.refused("AccessDenied", status=403):
            two.list_objects_v2(Bucket="theirs")
        with m.refused("AccessDenied", status=403):
            two.put_object(Bucket="theirs", Key="k", Body=b"x")
        assert two.list_buckets()["Buckets"] == []
        with m.refused("AccessDenied"):
            one.list_objects_v2(Bucket="theirs", ExpectedBucketOwner="222222222222")
        one.put_bucket_policy(
            Bucket="theirs",
            Policy=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": {
                        "Effect": "Allow",
                        "Principal": {"AWS": "222222222222"},
                        "Action": "s3:PutObject",
                        "Resource": "arn:aws:s3:::theirs/*",
                    },
                }
            ),
        )
        two.put_object(Bucket="theirs", Key="k", Body=b"x")

    def test_tags(self, s3, bucket):
        with m.refused("NoSuchTagSet", "The TagSet does not exist", 404):
            s3.get_bucket_tagging(Bucket=bucket)
        tags = [{"Key": "team", "Value": "a b"}, {"Key": "x", "Value": ""}]
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
        assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
        with m.refused("InvalidTag"):
            s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "1"}] * 2})
        s3.delete_bucket_tagging(Bucket=bucket)
        with m.refused("NoSuchTagSet"):
            s3.get_bucket_tagging(Bucket=bucket)

    def test_what_is_not_built_says_so(self, server, s3, bucket):
        with m.refused("NotImplemented", ".*s3:GetBucketLogging.*", 501):
            s3.get_bucket_logging(Bucket=bucket)
        with m.refused("NotImplemented", ".*x-amz-server-side-encryption.*", 501):
            s3.put_object(Bucket=bucket, Key="k", ServerSideEncryption="aws:kms")
        # A parameter that nobody knows must not make a deletion of the bucket out of something else.
        status, _, body = server.signed(
            "DELETE", f"/{bucket}?metadataConfiguration", service="s3", sign=botocore.auth.S3SigV4Auth
        )
        assert (status, error_code(body)) == (501, "NotImplemented")
        s3.head_bucket(Bucket=bucket)


class TestObjects:
    def test_life(self, s3, bucket):
        put = s3.put_object(
            Bucket=bucket,
            Key="a/b c+d%é?#&.txt",
            Body=b"hello",
            ContentType="text/plain",
            CacheControl="no-cache",
            ContentLanguage="de",
            ContentDisposition="attachment",
            ContentEncoding="identity",
            Expires="Thu, 01 Dec 2044 16:00:00 GMT",
            Metadata={"one": "1", "Two": "zwei"},
            Tagging="a=1&b=x%20y",
        )
        assert put["ETag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'
        got = s3.get_object(Bucket=bucket, Key="a/b c+d%é?#&.txt")
        assert got["Body"].read() == b"hello"
        head = s3.head_object(Bucket=bucket, Key="a/b c+d%é?#&.txt")
        for reply in got, head:
            assert reply["ContentLength"] == 5
            assert reply["ContentType"] == "text/plain"
            assert reply["CacheControl"] == "no-cache"
            assert reply["ContentLanguage"] == "de"
            assert reply["ContentDisposition"] == "attachment"
            assert reply["ContentEncoding"] == "identity"
            assert reply["ExpiresString"] == "Thu, 01 Dec 2044 16:00:00 GMT"
            assert reply["Metadata"] == {"one": "1", "two": "zwei"}
            assert reply["ETag"] == put["ETag"]
            assert reply["AcceptRanges"] == "bytes"
            assert "VersionId" not in reply
        assert got["TagCount"] == 2
        assert head["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "2"
        s3.delete_object(Bucket=bucket, Key="a/b c+d%é?#&.txt")
        with m.refused("NoSuchKey", "The specified key does not exist.", 404):
            s3.get_object(Bucket=bucket, Key="a/b c+d%é?#&.txt")
        with m.refused("404", status=404):
            s3.head_object(Bucket=bucket, Key="a/b c+d%é?#&.txt")
        s3.delete_object(Bucket=bucket, Key="never was")

    @pytest.mark.parametrize(
        "key", ["/", "//a", "a//b", "./..", "a/../b", " ", "x" * 1024, "ключ/鍵", "a\nb", "%2F", "a+b"]
    )
    def test_keys_are_any_text(self, s3, bucket, key):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
        assert keys(s3.list_objects_v2(Bucket=bucket)) == [key]

    def test_a_key_that_is_too_long(self, s3, bucket):
        with m.refused("KeyTooLongError", status=400):
            s3.put_object(Bucket=bucket, Key="x" * 1025)

    def test_an_object_without_content(self, s3, bucket):
        s3.put_object(Bucket=bucket, Key="empty")
        got = s3.get_object(Bucket=bucket, Key="empty")
        assert (got["Body"].read(), got["ContentLength"]) == (b"", 0)
        assert got["ContentType"] == "binary/octet-stream"
        with m.refused("InvalidRange", status=416):
            s3.get_object(Bucket=bucket, Key="empty", Range="bytes=0-1")

    def test_ranges(self, s3, bucket):
        s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
        for asked, content, told in [
            ("bytes=0-0", b"0", "bytes 0-0/10"),
            ("bytes=3-5", b"345", "bytes 3-5/10"),
            ("bytes=8-", b"89", "bytes 8-9/10"),
            ("bytes=-3", b"789", "bytes 7-9/10"),
            ("bytes=5-99", b"56789", "bytes 5-9/10"),
            ("bytes=-99", b"0123456789", "bytes 0-9/10"),
        ]:
            got = s3.get_object(Bucket=bucket, Key="k", Range=asked)
            assert (got["Body"].read(), got["ContentRange"]) == (content, told)
            assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        head = s3.head_object(Bucket=bucket, Key="k", Range="bytes=3-5")
        assert (head["ContentLength"], head["ContentRange"]) == (3, "bytes 3-5/10")
        with m.refused("InvalidRange", status=416):
            s3.get_object(Bucket=bucket, Key="k", Range="bytes=10-11")

    def test_conditional_reads(self, s3, bucket):
        etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
        modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
        s3.get_object(Bucket=bucket, Key="k", IfMatch=etag, IfUnmodifiedSince="Thu, 01 Dec 1994 16:00:00 GMT")
        s3.get_object(Bucket=bucket, Key="k", IfNoneMatch='"other"', IfModifiedSince=modified)
        for condition in [{"IfMatch": '"other"'}, {"IfUnmodifiedSince": "Thu, 01 Dec 1994 16:00:00 GMT"}]:
            with m.refused("PreconditionFailed|412", status=412):
                s3.get_object(Bucket=bucket, Key="k", **condition)
        for condition in [{"IfNoneMatch": etag}, {"IfModifiedSince": modified}, {"IfNoneMatch": "*"}]:
            with m.refused("304", status=304):
                s3.get_object(Bucket=bucket, Key="k", **condition)

    def test_conditional_writes(self, s3, bucket):
        etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
        with m.refused("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", 412):
            s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
        with m.refused("PreconditionFailed", status=412):
            s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch='"other"')
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=etag)
        with m.refused("NoSuchKey", status=404):
            s3.put_object(Bucket=bucket, Key="none", Body=b"2", IfMatch=etag)

    def test_one_of_many_conditional_writers_wins(self, server, bucket):
        outcomes = []

        def write(n):
            try:
                server.client("s3").put_object(Bucket=bucket, Key="k", Body=str(n), IfNoneMatch="*")
                outcomes.append(n)
            except botocore.exceptions.ClientError as error:
                assert error.response["Error"]["Code"] == "PreconditionFailed"

        threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(outcomes) == 1
        assert server.client("s3").get_object(Bucket=bucket, Key="k")["Body"].read() == str(outcomes[0]).encode()

    def test_headers_of_the_reply_can_be_chosen(self, s3, bucket):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="text/plain")
        got = s3.get_object(
            Bucket=bucket,
            Key="k",
            ResponseContentType="a/b",
            ResponseContentDisposition="inline",
            ResponseCacheControl="c",
        )
        assert (got["ContentType"], got["ContentDisposition"], got["CacheControl"]) == ("a/b", "inline", "c")

    def test_metadata_has_a_limit(self, s3, bucket):
        s3.put_object(Bucket=bucket, Key="k", Metadata={"a": "x" * 2047})
        with m.refused("MetadataTooLarge", status=400):
            s3.put_object(Bucket=bucket, Key="k", Metadata={"a": "x" * 2048})

    def test_copies(self, s3, bucket):
        s3.put_object(Bucket=bucket, Key="from/ä b", Body=b"x", ContentType="a/b", Metadata={"m": "1"}, Tagging="t=1")
        source = {"Bucket": bucket, "Key": "from/ä b"}
        copied = s3.copy_object(Bucket=bucket, Key="to", CopySource=source)["CopyObjectResult"]
        assert copied["ETag"] == f'"{hashlib.md5(b"x").hexdigest()}"'
        got = s3.get_object(Bucket=bucket, Key="to")
        assert (got["Body"].read(), got["ContentType"], got["Metadata"], got["TagCount"]) == (
            b"x",
            "a/b",
            {"m": "1"},
            1,
        )
        s3.copy_object(
            Bucket=bucket,
            Key="to",
            CopySource=source,
            MetadataDirective="REPLACE",
            ContentType="c/d",
            TaggingDirective="REPLACE",
            Tagging="",
        )
        got = s3.get_object(Bucket=bucket, Key="to")
        assert (got["ContentType"], got["Metadata"], "TagCount" in got) == ("c/d", {}, False)
        with m.refused("InvalidRequest", ".*copy an object to itself.*", 400):
            s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "to"})
        with m.refused("NoSuchKey"):
            s3.copy_object(Bucket=bucket, Key="x", CopySource={"Bucket": bucket, "Key": "none"})
        with m.refused("NoSuchBucket"):
            s3.copy_object(Bucket=bucket, Key="x", CopySource={"Bucket": "no-such-bucket", "Key": "k"})
        with m.refused("PreconditionFailed"):
            s3.copy_object(Bucket=bucket, Key="x", CopySource=source, CopySourceIfMatch='"other"')

    def test_many_are_deleted_at_once(self, s3, bucket):
        for n in range(5):
            s3.put_object(Bucket=bucket, Key=f"k{n}")
        reply = s3.delete_objects(
            Bucket=bucket, Delete={"Objects": [{"Key": f"k{n}"} for n in range(4)] + [{"Key": "none"}]}
        )
        assert [one["Key"] for one in reply["Deleted"]] == ["k0", "k1", "k2", "k3", "none"]
        assert "Deleted" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k4"}], "Quiet": True})
        assert keys(s3.list_objects_v2(Bucket=bucket)) == []
        text = "x-amz-bypass-governance-retention is only applicable to Object Lock enabled buckets."
        with m.refused("InvalidArgument", m.re.escape(text), 400):
            s3.delete_object(Bucket=bucket, Key="k4", BypassGovernanceRetention=True)

    def test_tags(self, s3, bucket):
        s3.put_object(Bucket=bucket, Key="k", Tagging="a=1")
        assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "a", "Value": "1"}]
        s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "b", "Value": "2"}]})
        assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "b", "Value": "2"}]
        s3.delete_object_tagging(Bucket=bucket, Key="k")
        assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
        with m.refused("BadRequest", "Object tags cannot be greater than 10"):
            tags = [{"Key": str(n), "Value": ""} for n in range(11)]
            s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tags})
        with m.refused("NoSuchKey"):
            s3.get_object_tagging(Bucket=bucket, Key="none")

    def test_acls_are_off(self, s3, bucket):
        # These say what is so anyway.
        for acl in ["bucket-owner-full-control", "private"]:
            s3.put_object(Bucket=bucket, Key="k", ACL=acl)
        for acl in [{"ACL": "public-read"}, {"GrantRead": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'}]:
            with m.refused("AccessControlListNotSupported", "The bucket does not allow ACLs", 400):
                s3.put_object(Bucket=bucket, Key="k", **acl)
            with m.refused("InvalidBucketAclWithObjectOwnership", status=400):
                s3.create_bucket(Bucket=m.name("bucket"), **acl)
        with m.refused("AccessControlListNotSupported"):
            s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
        assert s3.get_bucket_acl(Bucket=bucket)["Grants"][0]["Permission"] == "FULL_CONTROL"
        rules = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
        assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]


class TestIntegrity:
    ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_checksums_are_kept(self, s3, bucket, algorithm):
        if algorithm in ("CRC32C", "CRC64NVME"):
            pytest.importorskip("awscrt")
        put = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)
        head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        name = f"Checksum{algorithm}"
        assert put[name] == head[name]
        assert head["ChecksumType"] == "FULL_OBJECT"
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"
        parts = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectSize", "ETag"])
        assert (parts["Checksum"][name], parts["ObjectSize"]) == (put[name], 5)

    @pytest.mark.parametrize(
        ("header", "value"),
        [
            ("ChecksumCRC32", "AAAAAA=="),
            ("ChecksumCRC32C", "AAAAAA=="),
            ("ChecksumCRC64NVME", "AAAAAAAAAAA="),
            ("ChecksumSHA1", base64.b64encode(b"0" * 20).decode()),
            ("ChecksumSHA256", base64.b64encode(b"0" * 32).decode()),
            ("ContentMD5", base64.b64encode(b"0" * 16).decode()),
        ],
    )
    def test_other_content_than_announced(self, s3, bucket, header, value):
        with m.refused("BadDigest", status=400):
            s3.put_object(Bucket=bucket, Key="k", Body=b"hello", **{header: value})
        assert keys(s3.list_objects_v2(Bucket=bucket)) == []
        with m.refused("InvalidRequest|InvalidDigest", status=400):
            s3.put_object(Bucket=bucket, Key="k", Body=b"hello", **{header: "AAAA"})

    def test_instructions_other_than_announced(self, server, s3, bucket):
        s3.put_object(Bucket=bucket, Key="k")
        delete = b"<Delete><Object><Key>k</Key></Object></Delete>"
        tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
        md5 = lambda body: base64.b64encode(hashlib.md5(body).digest()).decode()  # noqa: E731
        crc = lambda body: base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()  # noqa: E731
        for header, value, code in [
            ("content-md5", md5(b"other"), "BadDigest"),
            ("content-md5", "AAAA", "InvalidDigest"),
            ("content-md5", "no base64", "InvalidDigest"),
            ("x-amz-checksum-crc32", crc(b"other"), "BadDigest"),
            ("x-amz-checksum-crc32", "AAAA", "InvalidRequest"),
        ]:
            for method, path, body in [
                ("POST", f"/{bucket}?delete", delete),
                ("PUT", f"/{bucket}?policy", b"{}"),
                ("PUT", f"/{bucket}?tagging", tags),
                ("PUT", f"/{bucket}/k?tagging", tags),
            ]:
                status, _, reply = server.signed(method, path, body, "s3", {header: value}, botocore.auth.S3SigV4Auth)
                assert (status, error_code(reply)) == (400, code), (path, header, value)
        assert keys(s3.list_objects_v2(Bucket=bucket)) == ["k"]
        with m.refused("NoSuchTagSet"):
            s3.get_bucket_tagging(Bucket=bucket)
        for header, value in [("content-md5", md5(delete)), ("x-amz-checksum-crc32", crc(delete))]:
            s3.put_object(Bucket=bucket, Key="k")
            status, _, reply = server.signed(
                "POST", f"/{bucket}?delete", delete, "s3", {header: value}, botocore.auth.S3SigV4Auth
            )
            assert (status, keys(s3.list_objects_v2(Bucket=bucket))) == (200, [])

    def test_the_right_sums(self, s3, bucket):
        crc = base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
        md5 = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
        s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumCRC32=crc, ContentMD5=md5)
        # Without any, AWS sums up for itself.
        plain = boto3.client(
            "s3", config=botocore.config.Config(request_checksum_calculation="when_required"), **where(s3)
        )
        put = plain.put_object(Bucket=bucket, Key="k", Body=b"hello")
        assert put["ChecksumCRC64NVME"] == "M3eFcAZSQlc="

    def test_another_body_than_signed(self, server, s3, bucket):
        class Lies(botocore.auth.S3SigV4Auth):
            def payload(self, request):
                return hashlib.sha256(b"something else").hexdigest()

        status, _, body = server.signed("PUT", f"/{bucket}/k", b"hello", "s3", sign=Lies)
        assert (status, error_code(body)) == (400, "XAmzContentSHA256Mismatch")
        assert keys(s3.list_objects_v2(Bucket=bucket)) == []

    @pytest.mark.parametrize("trailer", [True, False])
    def test_chunks(self, server, s3, bucket, trailer):
        crc = base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
        for sum, expected in [(crc, 200), ("AAAAAA==", 400)]:
            status, body = chunked(
                server, f"/{bucket}/k", [b"hel", b"lo"], {"x-amz-checksum-crc32": sum} if trailer else {}
            )
            assert status == (expected if trailer else 200), body
        got = s3.get_object(Bucket=bucket, Key="k")
        assert (got["Body"].read(), "ContentEncoding" in got) == (b"hello", False)

    def test_chunks_that_break_off(self, server, s3, bucket):
        status, body = chunked(server, f"/{bucket}/k", [b"hel"], {}, length=5)
        assert (status, error_code(body)) == (400, "IncompleteBody")
        assert keys(s3.list_objects_v2(Bucket=bucket)) == []

    def test_an_upload_that_breaks_off(self, server, s3, bucket):

        signed = boto3.client("s3", config=botocore.config.Config(signature_version="s3v4"), **where(s3))
        url = signed.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "k"})
        path = url.removeprefix(server.url)
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 1000\r\n\r\n"
            raw.sendall(head.encode() + b"x" * 500)
        # The next one is answered, and the first left nothing.
        s3.put_object(Bucket=bucket, Key="other")
        assert keys(s3.list_objects_v2(Bucket=bucket)) == ["other"]

    def test_a_put_of_unknown_length(self, server, bucket):
        status, _, body = server.signed(
            "PUT",
            f"/{bucket}/k",
            service="s3",
            sign=botocore.auth.S3SigV4Auth,
            body=b"",
            headers={"transfer-encoding": "chunked"},
        )
        assert status in (400, 411), body


def chunked(server, path, chunks, trailers, length=None):
    """A PUT whose chunks are not signed, as the SDKs send over TLS: status and body."""

    class Streaming(botocore.auth.S3SigV4Auth):
        def payload(self, request):
            return "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n"
    body += b"".join(f"{name}:{value}\r\n".encode() for name, value in trailers.items()) + b"\r\n"
    headers = {
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(length or sum(map(len, chunks))),
    }
    if trailers:
        headers["x-amz-trailer"] = ",".join(trailers)
    status, _, reply = server.signed("PUT", path, body, "s3", headers, Streaming)
    return status, reply


@pytest.fixture(scope="module")
def full(s3):
    name = m.name("bucket")
    s3.create_bucket(Bucket=name)
    made = ["a", "b/1", "b/2", "b/c/3", "b0", "d/", "d/x", "é/1", "z&<>"]
    for key in made:
        s3.put_object(Bucket=name, Key=key, Body=b"x")
    yield name
    s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": key} for key in made]})
    s3.delete_bucket(Bucket=name)


class TestEncryption:
    def test_everything_is_encrypted_on_disk(self, fresh):
        server = fresh()
        s3 = server.client("s3")
        s3.create_bucket(Bucket="sealed")
        content = b"plain to see " * 20_000
        assert s3.put_object(Bucket="sealed", Key="k", Body=content)["ServerSideEncryption"] == "AES256"
        assert (
            s3.put_object(Bucket="sealed", Key="a", ServerSideEncryption="AES256")["ServerSideEncryption"] == "AES256"
        )
        s3.put_object(Bucket="sealed", Key="small", Body=b"plain to see")
        blobs = [path for path in (server.data / "store" / "objects").rglob("*") if path.is_file()]
        assert len(blobs) == 1
        everything = [path for path in (server.data / "store").rglob("*") if path.is_file()]
        assert not any(b"plain to see" in path.read_bytes() for path in everything)
        assert s3.head_object(Bucket="sealed", Key="k")["ServerSideEncryption"] == "AES256"
        server.kill()
        server.start()
        s3 = server.client("s3")
        assert s3.get_object(Bucket="sealed", Key="small")["Body"].read() == b"plain to see"
        assert s3.get_object(Bucket="sealed", Key="small", Range="bytes=6-7")["Body"].read() == b"to"
        got = s3.get_object(Bucket="sealed", Key="k")
        assert (got["Body"].read(), got["ServerSideEncryption"]) == (content, "AES256")
        for begin, end in [(0, 0), (65_535, 65_536), (131_072, 200_000), (259_999, 259_999)]:
            got = s3.get_object(Bucket="sealed", Key="k", Range=f"bytes={begin}-{end}")
            assert got["Body"].read() == content[begin : end + 1]
        # What was changed on disk is no content.
        largest = max(blobs, key=lambda blob: blob.stat().st_size)
        damaged = bytearray(largest.read_bytes())
        damaged[100_000] ^= 1
        largest.chmod(0o600)
        largest.write_bytes(damaged)
        assert s3.get_object(Bucket="sealed", Key="k", Range="bytes=0-99")["Body"].read() == content[:100]
        with pytest.raises(Exception, match="."):
            s3.get_object(Bucket="sealed", Key="k")["Body"].read()

    def test_configurations(self, s3, bucket):
        def rules():
            return s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]

        def put(default, **more):
            rule = {"ApplyServerSideEncryptionByDefault": default, **more}
            s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})

        default = {"SSEAlgorithm": "AES256"}
        assert rules() == [{"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": False}]
        put(default, BucketKeyEnabled=True)
        assert rules()[0]["BucketKeyEnabled"] is True
        s3.delete_bucket_encryption(Bucket=bucket)
        assert rules()[0]["BucketKeyEnabled"] is False
        with m.refused("NotImplemented", status=501):
            put({"SSEAlgorithm": "aws:kms"})
        with m.refused("InvalidArgument", status=400):
            put({"SSEAlgorithm": "AES256", "KMSMasterKeyID": "x"})
        with m.refused("InvalidEncryptionAlgorithmError", status=400):
            s3.put_object(Bucket=bucket, Key="k", ServerSideEncryption="ROT13")
        with m.refused("NotImplemented", status=501):
            s3.put_object(Bucket=bucket, Key="k", SSECustomerAlgorithm="AES256", SSECustomerKey="x" * 32)

    def test_a_policy_may_ask_for_it(self, s3, bucket):
        policy = {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:PutObject",
                "Resource": f"arn:aws:s3:::{bucket}/*",
                "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption": "AES256"}},
            },
        }
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        with m.refused("AccessDenied", status=403):
            s3.put_object(Bucket=bucket, Key="k")
        s3.put_object(Bucket=bucket, Key="k", ServerSideEncryption="AES256")


class TestLists:
    def test_everything(self, s3, full):
        page = s3.list_objects_v2(Bucket=full)
        assert keys(page) == ["a", "b/1", "b/2", "b/c/3", "b0", "d/", "d/x", "z&<>", "é/1"]
        assert (page["KeyCount"], page["IsTruncated"], page["MaxKeys"]) == (9, False, 1000)
        one = page["Contents"][0]
        assert (one["Size"], one["StorageClass"], one["ETag"]) == (1, "STANDARD", f'"{hashlib.md5(b"x").hexdigest()}"')

    @pytest.mark.parametrize(
        ("query", "contents", "common"),
        [
            ({"Delimiter": "/"}, ["a", "b0", "z&<>"], ["b/", "d/", "é/"]),
            ({"Prefix": "b/", "Delimiter": "/"}, ["b/1", "b/2"], ["b/c/"]),
            ({"Prefix": "b"}, ["b/1", "b/2", "b/c/3", "b0"], []),
            ({"Prefix": "d/", "Delimiter": "/"}, ["d/", "d/x"], []),
            ({"Prefix": "none"}, [], []),
            ({"StartAfter": "b/2"}, ["b/c/3", "b0", "d/", "d/x", "z&<>", "é/1"], []),
            ({"StartAfter": "b/", "Delimiter": "/"}, ["b0", "z&<>"], ["d/", "é/"]),
            ({"MaxKeys": 0}, [], []),
            ({"Delimiter": "c"}, ["a", "b/1", "b/2", "b0", "d/", "d/x", "z&<>", "é/1"], ["b/c"]),
        ],
    )
    def test_prefixes_and_delimiters(self, s3, full, query, contents, common):
        page = s3.list_objects_v2(Bucket=full, **query)
        assert (keys(page), prefixes(page)) == (contents, common)

    @pytest.mark.parametrize("size", [1, 2, 3, 5])
    def test_pages(self, s3, full, size):
        for operation in "list_objects_v2", "list_objects", "list_object_versions":
            for query in {}, {"Delimiter": "/"}:
                pages = list(
                    s3.get_paginator(operation).paginate(Bucket=full, PaginationConfig={"PageSize": size}, **query)
                )
                entries = [one["Key"] for page in pages for one in page.get("Contents", page.get("Versions", []))]
                common = [one for page in pages for one in prefixes(page)]
                whole = s3.list_objects_v2(Bucket=full, **query)
                assert (entries, common) == (keys(whole), prefixes(whole)), (operation, query)

    def test_a_token_that_is_none(self, s3, full):
        with m.refused("InvalidArgument", status=400):
            s3.list_objects_v2(Bucket=full, ContinuationToken="nonsense")
        with m.refused("InvalidArgument", "The continuation token provided is incorrect", 400):
            s3.list_objects_v2(Bucket=full, ContinuationToken="")

    def test_more_than_a_page(self, server, s3, bucket):
        transfer = [threading.Thread(target=fill, args=(server, bucket, n)) for n in range(4)]
        for thread in transfer:
            thread.start()
        for thread in transfer:
            thread.join()
        page = s3.list_objects_v2(Bucket=bucket)
        assert (len(page["Contents"]), page["IsTruncated"]) == (1000, True)
        rest = s3.list_objects_v2(Bucket=bucket, ContinuationToken=page["NextContinuationToken"])
        assert len(rest["Contents"]) == 4
        with m.refused("MalformedXML", status=400):
            s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": str(n)} for n in range(1001)]})
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys(page)], "Quiet": True})
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys(rest)], "Quiet": True})


def fill(server, bucket, n):
    client = server.client("s3")
    for k in range(251):
        client.put_object(Bucket=bucket, Key=f"{n}/{k:04}")


class TestMultipart:
    def test_life(self, s3, bucket):
        upload = s3.create_multipart_upload(
            Bucket=bucket, Key="k", ContentType="a/b", Metadata={"m": "1"}, Tagging="t=1"
        )
        one = {"Bucket": bucket, "Key": "k", "UploadId": upload["UploadId"]}
        content = [os.urandom(5 * MIB), os.urandom(5 * MIB), b"end"]
        parts = [
            {"PartNumber": n, "ETag": s3.upload_part(PartNumber=n, Body=body, **one)["ETag"]}
            for n, body in zip([1, 3, 10000], content, strict=True)
        ]
        assert [(p["PartNumber"], p["Size"]) for p in s3.list_parts(**one)["Parts"]] == [
            (1, 5 * MIB),
            (3, 5 * MIB),
            (10000, 3),
        ]
        page = s3.list_parts(MaxParts=1, PartNumberMarker=1, **one)
        assert ([p["PartNumber"] for p in page["Parts"]], page["IsTruncated"], page["NextPartNumberMarker"]) == (
            [3],
            True,
            3,
        )
        uploads = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
        assert [(u["Key"], u["UploadId"]) for u in uploads] == [("k", upload["UploadId"])]
        assert keys(s3.list_objects_v2(Bucket=bucket)) == []
        done = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **one)
        digests = b"".join(hashlib.md5(body).digest() for body in content)
        assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
        again = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **one)
        assert again["ETag"] == done["ETag"]
        got = s3.get_object(Bucket=bucket, Key="k")
        assert (got["Body"].read(), got["ContentType"], got["TagCount"]) == (b"".join(content), "a/b", 1)
        third = s3.get_object(Bucket=bucket, Key="k", PartNumber=3)
        assert (third["Body"].read(), third["PartsCount"]) == (b"end", 3)
        across = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={5 * MIB - 2}-{5 * MIB + 1}")["Body"].read()
        assert across == content[0][-2:] + content[1][:2]
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
        # A copy of several parts is one.
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
        copy = s3.get_object(Bucket=bucket, Key="copy")
        assert copy["Body"].read() == b"".join(content)
        assert copy["ETag"] == f'"{hashlib.md5(b"".join(content)).hexdigest()}"'

    def test_refusals(self, s3, bucket):
        upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
        one = {"Bucket": bucket, "Key": "k", "UploadId": upload}
        etag = s3.upload_part(PartNumber=1, Body=b"small", **one)["ETag"]
        other = s3.upload_part(PartNumber=2, Body=b"small too", **one)["ETag"]

        def complete(*parts):
            listed = [{"PartNumber": number, "ETag": tag} for number, tag in parts]
            return s3.complete_multipart_upload(MultipartUpload={"Parts": listed}, **one)

        with m.refused("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size", 400):
            complete((1, etag), (2, other))
        with m.refused("InvalidPart", status=400):
            complete((1, other))
        with m.refused("InvalidPart"):
            complete((3, etag))
        with m.refused("InvalidPartOrder"):
            complete((2, other), (1, etag))
        with m.refused("InvalidArgument"):
            s3.upload_part(PartNumber=10001, Body=b"", **one)
        for wrong in [{**one, "UploadId": "x"}, {**one, "Key": "other"}]:
            with m.refused("NoSuchUpload", status=404):
                s3.upload_part(PartNumber=1, Body=b"", **wrong)
        s3.abort_multipart_upload(**one)
        with m.refused("NoSuchUpload"):
            s3.list_parts(**one)
        with m.refused("NoSuchUpload"):
            complete((1, etag))

    def test_parts_that_are_copies(self, s3, bucket):
        s3.put_object(Bucket=bucket, Key="from", Body=b"0123456789")
        upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
        one = {"Bucket": bucket, "Key": "k", "UploadId": upload}
        source = {"Bucket": bucket, "Key": "from"}
        part = s3.upload_part_copy(PartNumber=1, CopySource=source, CopySourceRange="bytes=2-4", **one)
        with m.refused("InvalidArgument"):
            s3.upload_part_copy(PartNumber=1, CopySource=source, CopySourceRange="bytes=2-40", **one)
        parts = [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]
        s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **one)
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"234"

    @pytest.mark.parametrize("kind", ["COMPOSITE", "FULL_OBJECT"])
    def test_checksums(self, s3, bucket, kind):
        content = [b"a" * 5 * MIB, b"b"]
        upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC32", ChecksumType=kind)
        one = {"Bucket": bucket, "Key": "k", "UploadId": upload["UploadId"]}
        parts = []
        for number, body in enumerate(content, 1):
            part = s3.upload_part(PartNumber=number, Body=body, ChecksumAlgorithm="CRC32", **one)
            parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]})
        wrong = [parts[0], {**parts[1], "ChecksumCRC32": "AAAAAA=="}]
        with m.refused("InvalidPart"):
            s3.complete_multipart_upload(MultipartUpload={"Parts": wrong}, ChecksumType=kind, **one)
        done = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, ChecksumType=kind, **one)
        sums = [zlib.crc32(body).to_bytes(4, "big") for body in content]
        whole = zlib.crc32(b"".join(content)) if kind == "FULL_OBJECT" else zlib.crc32(b"".join(sums))
        expected = base64.b64encode(whole.to_bytes(4, "big")).decode() + ("" if kind == "FULL_OBJECT" else "-2")
        assert done["ChecksumCRC32"] == expected
        assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["ChecksumCRC32"] == expected

    def test_the_transfer_manager(self, server, s3, bucket, tmp_path):
        content = os.urandom(12 * MIB + 5)
        (tmp_path / "file").write_bytes(content)
        config = boto3.s3.transfer.TransferConfig(
            multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4
        )
        resource = boto3.resource("s3", **where(s3))
        resource.Bucket(bucket).upload_file(str(tmp_path / "file"), "big", Config=config)
        assert [one.key for one in resource.Bucket(bucket).objects.all()] == ["big"]
        found = io.BytesIO()
        s3.download_fileobj(bucket, "big", found, Config=config)
        assert found.getvalue() == content
        s3.copy({"Bucket": bucket, "Key": "big"}, bucket, "copy", Config=config)
        assert resource.Object(bucket, "copy").get()["Body"].read() == content
        resource.Bucket(bucket).objects.delete()
        assert keys(s3.list_objects_v2(Bucket=bucket)) == []


class TestVersions:
    @pytest.fixture
    def versioned(self, s3, bucket):
        assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        return bucket

    def test_life(self, s3, versioned):
        one = {"Bucket": versioned, "Key": "k"}
        first, second = (s3.put_object(Body=body, **one)["VersionId"] for body in (b"1", b"2"))
        assert s3.get_object(**one)["Body"].read() == b"2"
        assert s3.get_object(VersionId=first, **one)["Body"].read() == b"1"
        marker = s3.delete_object(**one)
        assert marker["DeleteMarker"] is True
        with m.refused("NoSuchKey", status=404):
            s3.get_object(**one)
        with m.refused("MethodNotAllowed", status=405):
            s3.get_object(VersionId=marker["VersionId"], **one)
        with m.refused("NoSuchVersion", status=404):
            s3.get_object(VersionId="none", **one)
        assert keys(s3.list_objects_v2(Bucket=versioned)) == []
        listed = s3.list_object_versions(Bucket=versioned)
        assert [(v["VersionId"], v["IsLatest"]) for v in listed["Versions"]] == [(second, False), (first, False)]
        assert [(v["VersionId"], v["IsLatest"]) for v in listed["DeleteMarkers"]] == [(marker["VersionId"], True)]
        assert s3.delete_object(VersionId=marker["VersionId"], **one)["DeleteMarker"] is True
        assert s3.get_object(**one)["Body"].read() == b"2"
        s3.delete_object(VersionId=second, **one)
        assert s3.get_object(**one)["VersionId"] == first
        s3.copy_object(CopySource={**one, "VersionId": first}, Bucket=versioned, Key="copy")
        with m.refused("BucketNotEmpty"):
            s3.delete_bucket(Bucket=versioned)

    def test_suspended(self, s3, bucket):
        one = {"Bucket": bucket, "Key": "k"}
        s3.put_object(Body=b"null", **one)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        kept = s3.put_object(Body=b"kept", **one)["VersionId"]
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
        # Writes do not tell it, reads do.
        assert "VersionId" not in s3.put_object(Body=b"new null", **one)
        assert s3.head_object(**one)["VersionId"] == "null"
        versions = s3.list_object_versions(Bucket=bucket)["Versions"]
        assert [v["VersionId"] for v in versions] == ["null", kept]
        assert s3.get_object(VersionId="null", **one)["Body"].read() == b"new null"
        assert s3.delete_object(**one)["VersionId"] == "null"
        assert [v["VersionId"] for v in s3.list_object_versions(Bucket=bucket)["Versions"]] == [kept]
