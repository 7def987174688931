"""S3 with programs that Debian has: s3cmd and rclone."""

import json
import os
import shutil
import subprocess

import pytest

import mayfly as m
from s3 import MIB, fetch


@pytest.fixture
def tree(tmp_path):
    """A folder with a small file, one that is uploaded in parts, and one with a name to be escaped."""
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "deep" / "b c+ü.txt").write_text("b")
    (source / "big").write_bytes(os.urandom(20 * MIB))
    return source


@pytest.fixture
def client(server, tmp_path):
    """A program with its configuration; what it prints, and how it ends."""

    def program(name, configure):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed (apt-get install {name})")
        file = tmp_path / f"{name}.conf"
        file.write_text(configure(server.env(), f"127.0.0.1:{server.port}"))
        # Their AWS SDKs would take a bundle of certificates and more from the environment.
        env = {key: value for key, value in m.clean_environment().items() if not key.startswith("AWS_")}

        def call(*arguments, status=0):
            command = [name, "--config", file, *map(str, arguments)]
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
            assert done.returncode == status, (command, done.stdout, done.stderr)
            return done.stdout + (done.stderr if status else "")

        return call

    return program


def same(one, other):
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    for file in files:
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


def s3cmd_file(env, address):
    return f"""[default]
access_key = {env["AWS_ACCESS_KEY_ID"]}
secret_key = {env["AWS_SECRET_ACCESS_KEY"]}
host_base = {address}
host_bucket = {address}
use_https = False
"""


def rclone_file(env, address):
    return f"""[m]
type = s3
provider = Other
access_key_id = {env["AWS_ACCESS_KEY_ID"]}
secret_access_key = {env["AWS_SECRET_ACCESS_KEY"]}
endpoint = http://{address}
"""


def test_s3cmd(client, tree, tmp_path):
    s3cmd = client("s3cmd", s3cmd_file)
    bucket = f"s3://{m.name('bucket')}"
    assert s3cmd("mb", bucket) == f"Bucket '{bucket}/' created\n"
    s3cmd("put", "--mime-type=text/plain", tree / "a.txt", f"{bucket}/a.txt")
    s3cmd("sync", "--multipart-chunk-size-mb=5", f"{tree}/", f"{bucket}/tree/")
    # Nothing has changed.
    assert "upload" not in s3cmd("sync", f"{tree}/", f"{bucket}/tree/")
    assert [line.split()[-1] for line in s3cmd("ls", f"{bucket}/").splitlines()] == [
        f"{bucket}/tree/",
        f"{bucket}/a.txt",
    ]
    s3cmd("sync", f"{bucket}/tree/", f"{tmp_path}/target/")
    same(tree, tmp_path / "target")
    s3cmd("get", f"{bucket}/tree/big", tmp_path / "big")
    assert (tmp_path / "big").read_bytes() == (tree / "big").read_bytes()
    info = s3cmd("info", f"{bucket}/a.txt")
    assert "MIME type: text/plain" in info and "FULL_CONTROL" in info
    assert fetch(s3cmd("signurl", f"{bucket}/a.txt", "+600").strip())[::2] == (200, b"a")
    # ACLs are off, as on AWS, where copies need this option too.
    for status, call in [
        (11, ["setacl", "--acl-public", f"{bucket}/a.txt"]),
        (11, ["put", "--acl-public", tree / "a.txt", f"{bucket}/public"]),
        (1, ["cp", f"{bucket}/a.txt", f"{bucket}/copy.txt"]),
    ]:
        assert "AccessControlListNotSupported" in s3cmd(*call, status=status)
    s3cmd("cp", "--acl-private", f"{bucket}/tree/big", f"{bucket}/copy")
    s3cmd("mv", "--acl-private", f"{bucket}/a.txt", f"{bucket}/moved.txt")
    s3cmd("modify", "--acl-private", "--add-header=Cache-Control:no-cache", f"{bucket}/moved.txt")
    s3cmd("expire", "--expiry-days=3", "--expiry-prefix=x/", bucket)
    assert "<Days>3</Days>" in s3cmd("getlifecycle", bucket)
    s3cmd("del", f"{bucket}/copy")
    assert "BucketNotEmpty" in s3cmd("rb", bucket, status=13)
    s3cmd("del", "--recursive", "--force", f"{bucket}/")
    s3cmd("rb", bucket)
    assert bucket not in s3cmd("ls")


def test_rclone(client, tree, tmp_path):
    call = client("rclone", rclone_file)
    parts = ["--s3-chunk-size", "5M", "--s3-upload-cutoff", "5M", "--s3-copy-cutoff", "5M"]

    def rclone(*arguments, status=0):
        return call("--retries", "1", "--low-level-retries", "1", *parts, *arguments, status=status)

    bucket = f"m:{m.name('bucket')}"
    rclone("mkdir", bucket)
    rclone("copy", tree, f"{bucket}/tree")
    rclone("check", tree, f"{bucket}/tree")
    rclone("sync", tree, f"{bucket}/tree")
    assert rclone("cat", f"{bucket}/tree/a.txt") == "a"
    listed = json.loads(rclone("lsjson", "--recursive", "--files-only", "--hash", f"{bucket}/tree"))
    assert sorted((one["Path"], one["Size"]) for one in listed) == [
        ("a.txt", 1),
        ("big", 20 * MIB),
        ("deep/b c+ü.txt", 1),
    ]
    # On the server, the big one in parts.
    rclone("sync", f"{bucket}/tree", f"{bucket}/copy")
    rclone("check", "--download", f"{bucket}/tree", f"{bucket}/copy")
    rclone("moveto", f"{bucket}/copy/a.txt", f"{bucket}/copy/z.txt")
    rclone("copy", f"{bucket}/tree", tmp_path / "target")
    same(tree, tmp_path / "target")
    assert fetch(rclone("link", f"{bucket}/tree/a.txt").strip())[::2] == (200, b"a")
    assert "AccessControlListNotSupported" in rclone(
        "--s3-acl", "public-read", "--s3-no-check-bucket", "copyto", tree / "a.txt", f"{bucket}/public", status=1
    )
    (tree / "a.txt").unlink()
    rclone("sync", tree, f"{bucket}/tree")
    assert rclone("lsf", f"{bucket}/tree").split() == ["big", "deep/"]
    rclone("delete", f"{bucket}/copy")
    assert rclone("lsf", bucket).split() == ["tree/"]
    rclone("purge", bucket)
    assert bucket.removeprefix("m:") not in rclone("lsd", "m:")
