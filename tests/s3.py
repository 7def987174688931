"""What the suites of S3 share."""

import subprocess
import urllib.error
import urllib.request
import xml.etree.ElementTree

import mayfly as m

MIB = 1 << 20


def fetch(url, data=None, method="GET", headers=None):
    """A plain HTTP request: status, headers, body."""
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def error_code(body):
    return xml.etree.ElementTree.fromstring(body).findtext("Code")


def keys(page):
    return [one["Key"] for one in page.get("Contents", [])]


def prefixes(page):
    return [one["Prefix"] for one in page.get("CommonPrefixes", [])]


def aws(server, *arguments, check=True, **options):
    """The AWS CLI."""
    env = m.clean_environment() | server.env() | {"AWS_ENDPOINT_URL": server.url}
    command = [m.BIN / "aws", *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=check, timeout=60, **options)


def where(client):
    """What another client of the same server needs."""
    key = client._request_signer._credentials
    return {
        "endpoint_url": client.meta.endpoint_url,
        "region_name": client.meta.region_name,
        "aws_access_key_id": key.access_key,
        "aws_secret_access_key": key.secret_key,
    }
