"""Websites of buckets, as a browser reads them."""

import http.client
import json

import pytest

import mayfly as m


@pytest.fixture
def site(server, s3, bucket):
    """A bucket that everyone may read, and how a browser asks for its pages: status, headers, text."""
    s3.delete_public_access_block(Bucket=bucket)
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))

    def get(path, method="GET", host=None, **headers):
        headers["Host"] = host or f"{bucket}.s3-website.localhost:{server.port}"
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        found = reply.status, reply.headers, reply.read().decode()
        connection.close()
        return found

    get.bucket = bucket
    return get


def page(s3, bucket, key, text):
    s3.put_object(Bucket=bucket, Key=key, Body=text.encode(), ContentType="text/html")


def test_pages_folders_and_errors(server, s3, site):
    assert site("/")[0] == 404 and "NoSuchWebsiteConfiguration" in site("/")[2]
    configuration = {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "errors/ä.html"}}
    s3.put_bucket_website(Bucket=site.bucket, WebsiteConfiguration=configuration)
    found = s3.get_bucket_website(Bucket=site.bucket)
    assert {name: found[name] for name in configuration} == configuration
    page(s3, site.bucket, "index.html", "home")
    page(s3, site.bucket, "a b/index.html", "folder")
    page(s3, site.bucket, "a b/<c>", "page")
    for path, text in (("/", "home"), ("/?x=1", "home"), ("/a%20b/", "folder"), ("/a%20b/%3Cc%3E", "page")):
        status, headers, body = site(path)
        assert (status, headers["Content-Type"], body) == (200, "text/html", text), path
    status, headers, _ = site("/a%20b")
    assert (status, headers["Location"]) == (302, "/a%20b/")
    # Whoever may not list does not learn whether there is such a page; the bucket's own error page is not there yet.
    status, headers, body = site("/%3Cscript%3E")
    assert (status, headers["x-amz-error-code"]) == (403, "AccessDenied")
    assert "<h1>403 Forbidden</h1>" in body and "<script" not in body
    page(s3, site.bucket, "errors/ä.html", "oh")
    status, headers, body = site("/none", Range="bytes=0-0")
    assert (status, body, headers["Content-Type"]) == (403, "oh", "text/html")
    etag = site("/")[1]["ETag"]
    assert site("/", **{"If-None-Match": etag})[0] == 304
    assert site("/", Range="bytes=1-2")[::2] == (206, "om")
    assert site("/", "HEAD")[::2] == (200, "")
    assert site("/", "PUT")[0] == 405
    # Other names of the same site; its bucket is reached as ever.
    assert site("/", host=f"{site.bucket}.s3-website-us-east-1.amazonaws.com")[2] == "home"
    assert site("/index.html", host=f"{site.bucket}.localhost:{server.port}")[2] == "home"
    assert site("/", host=f"{m.name('none')}.s3-website.localhost")[1]["x-amz-error-code"] == "NoSuchBucket"
    s3.delete_bucket_website(Bucket=site.bucket)
    assert site("/")[0] == 404
    with m.refused("NoSuchWebsiteConfiguration", status=404):
        s3.get_bucket_website(Bucket=site.bucket)


def test_only_what_everyone_may_read_is_a_page(s3, site):
    s3.put_bucket_website(Bucket=site.bucket, WebsiteConfiguration={"IndexDocument": {"Suffix": "i"}})
    page(s3, site.bucket, "i", "home")
    s3.delete_bucket_policy(Bucket=site.bucket)
    assert site("/")[0] == 403
    signed = s3.generate_presigned_url("get_object", {"Bucket": site.bucket, "Key": "i"})
    assert site(f"/i?{signed.split('?')[1]}")[0] in (400, 403)


def test_all_requests_may_be_sent_elsewhere(s3, site):
    elsewhere = {"HostName": "example.com", "Protocol": "https"}
    s3.put_bucket_website(Bucket=site.bucket, WebsiteConfiguration={"RedirectAllRequestsTo": elsewhere})
    status, headers, _ = site("/a/b?c=d")
    assert (status, headers["Location"]) == (301, "https://example.com/a/b?c=d")
    assert s3.get_bucket_website(Bucket=site.bucket)["RedirectAllRequestsTo"] == elsewhere


@pytest.mark.parametrize(
    "configuration, code",
    [
        ({}, "InvalidArgument|MalformedXML"),
        ({"IndexDocument": {"Suffix": "a/b"}}, "InvalidArgument"),
        ({"IndexDocument": {"Suffix": ""}}, "InvalidArgument"),
        ({"IndexDocument": {"Suffix": "i"}, "RedirectAllRequestsTo": {"HostName": "a"}}, "MalformedXML"),
        ({"RedirectAllRequestsTo": {"HostName": "a\r\nb"}}, "InvalidArgument"),
        ({"RedirectAllRequestsTo": {"HostName": "a", "Protocol": "ftp"}}, "InvalidRequest|MalformedXML"),
        (
            {"IndexDocument": {"Suffix": "i"}, "RoutingRules": [{"Redirect": {"HostName": "a"}}]},
            "NotImplemented",
        ),
    ],
)
def test_configurations_that_are_none(s3, bucket, configuration, code):
    with m.refused(code):
        s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=configuration)
