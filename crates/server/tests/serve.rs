//! The server as an operator meets it: starts, stops, crashes, refusals; and its door as strangers meet it.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::*;
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_server_starts_and_says_how_to_reach_it() {
    let outer = folder();
    let data = outer.path().join("data");
    let server = Server::start(&data, &[]);
    let health = plain(&server, "GET", "/_/health");
    assert_eq!(health.status, 200);
    assert!(health.body.contains("\"status\":\"ok\""), "{health:?}");
    // The connection of the question before may take a moment to be gone.
    let alone = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let metrics = plain(&server, "GET", "/_/metrics");
        metrics.body.contains("mayfly_connections 1\n")
    });
    assert!(alone, "connections that are over are still counted");

    let running = env(&data, &[]);
    assert_eq!(running["AWS_ENDPOINT_URL"], server.url);
    assert_eq!(running["AWS_REGION"], "us-east-1");
    assert_eq!(running["AWS_DEFAULT_REGION"], "us-east-1");
    assert!(running["AWS_ACCESS_KEY_ID"].starts_with("AKIA"));
    assert_eq!(running["AWS_SECRET_ACCESS_KEY"].len(), 40);
    let elsewhere = env(&data, &["--listen", "127.0.0.1:99"]);
    assert_eq!(elsewhere["AWS_ENDPOINT_URL"], "http://127.0.0.1:99");
    server.kill();
    assert_eq!(env(&data, &[]), running, "a stopped server's");
}

#[test]
fn what_is_in_the_folder_is_for_its_owner_only() {
    let outer = folder();
    let data = outer.path().join("data");
    let _server = Server::start(&data, &[]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("credentials")), 0o600);
    for entry in fs::read_dir(data.join("store")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn the_root_credential_is_the_accounts_root() {
    let data = folder();
    let server = Server::start(data.path(), &["--account", "111122223333"]);
    let answer = who_am_i(&server, &root(data.path()));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        answer
            .body
            .contains("<Arn>arn:aws:iam::111122223333:root</Arn>"),
        "{answer:?}"
    );
    assert!(
        answer.head.to_lowercase().contains("x-amzn-requestid: "),
        "{answer:?}"
    );
}

#[test]
fn claims_that_do_not_hold_are_refused_in_awss_words() {
    let data = folder();
    let server = Server::start(data.path(), &[]);
    let root = root(data.path());
    #[track_caller]
    fn check(answer: &Answer, status: u16, code: &str, message: &str) {
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(
            answer.body.contains(&format!("<Code>{code}</Code>")),
            "{answer:?}"
        );
        assert!(answer.body.contains(message), "{answer:?}");
    }
    let head = |who: &_, minutes: i64| {
        let at = Timestamp::now() + SignedDuration::from_mins(minutes);
        signed_head(&server, who, at, WHO_AM_I)
    };
    let forged = credentials(&root.access_key_id, "guessed");
    let answer = who_am_i(&server, &forged);
    check(
        &answer,
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated",
    );
    let answer = who_am_i(&server, &credentials("AKIDNOBODY", "guessed"));
    check(
        &answer,
        403,
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
    );
    let answer = send(&server, &(head(&root, -20) + WHO_AM_I));
    check(&answer, 403, "SignatureDoesNotMatch", "Signature expired: ");
    let answer = send(&server, &(head(&root, 20) + WHO_AM_I));
    check(
        &answer,
        403,
        "SignatureDoesNotMatch",
        "Signature not yet current: ",
    );
    let unsigned = head(&root, 0).replacen("authorization:", "x-other:", 1);
    let answer = send(&server, &(unsigned + WHO_AM_I));
    check(
        &answer,
        403,
        "MissingAuthenticationToken",
        "Request is missing Authentication Token",
    );
    let changed = WHO_AM_I.replace("GetCallerIdentity", "GetSessionToken  ");
    let answer = send(&server, &(head(&root, 0) + &changed));
    check(
        &answer,
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated",
    );
    let mut with_token = root.clone();
    with_token.session_token = Some("made-up".to_owned());
    let answer = who_am_i(&server, &with_token);
    check(&answer, 403, "InvalidClientTokenId", "");
    let test = credentials("test", "test");
    check(&who_am_i(&server, &test), 403, "InvalidClientTokenId", "");
}

#[test]
fn a_request_under_way_is_finished_before_the_end() {
    let data = folder();
    let server = Server::start(data.path(), &[]);
    let root = root(data.path());
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = signed_head(&server, &root, Timestamp::now(), WHO_AM_I);
    let head = head.replacen("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n", 1);
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.signal(Signal::TERM);
    server.wait_for("draining");
    stream.write_all(WHO_AM_I.as_bytes()).unwrap();
    let answer = receive(stream);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_second_signal_does_not_wait() {
    let data = folder();
    let server = Server::start(data.path(), &["--drain-seconds", "900"]);
    let root = root(data.path());
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = signed_head(&server, &root, Timestamp::now(), WHO_AM_I);
    let head = head.replacen("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n", 1);
    stream.write_all(head.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 25]).unwrap();
    server.signal(Signal::INT);
    server.wait_for("draining");
    server.signal(Signal::TERM);
    server.wait_for("stopped with requests under way");
    assert_eq!(server.wait().code(), Some(1));
}

#[test]
fn a_server_that_was_killed_starts_again_as_it_was() {
    let data = folder();
    let server = Server::start(data.path(), &[]);
    let before = root(data.path());
    assert_eq!(who_am_i(&server, &before).status, 200);
    server.kill();
    let server = Server::start(data.path(), &[]);
    assert_eq!(
        root(data.path()).secret_access_key,
        before.secret_access_key
    );
    assert_eq!(who_am_i(&server, &before).status, 200);
}

#[test]
fn dev_mode_is_the_drop_in_for_an_emulator() {
    let data = folder();
    let server = Server::start(data.path(), &["--dev"]);
    #[track_caller]
    fn check_root(answer: &Answer, account: &str) {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            answer
                .body
                .contains(&format!("<Arn>arn:aws:iam::{account}:root</Arn>")),
            "{answer:?}"
        );
    }
    check_root(
        &who_am_i(&server, &credentials("test", "test")),
        "000000000000",
    );
    check_root(
        &who_am_i(&server, &credentials("111122223333", "test")),
        "111122223333",
    );
    check_root(&who_am_i(&server, &root(data.path())), "123456789012");
    // Nothing else is weaker.
    for forged in [credentials("test", "guessed"), credentials("1111", "test")] {
        assert_eq!(who_am_i(&server, &forged).status, 403);
    }
    let unsigned = send(
        &server,
        &format!(
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{WHO_AM_I}",
            WHO_AM_I.len()
        ),
    );
    assert_eq!(unsigned.status, 403);
}

#[test]
fn a_reset_empties_everything_in_dev_mode_only() {
    let data = folder();
    let server = Server::start(data.path(), &["--dev"]);
    let test = credentials("test", "test");
    let create = "Action=CreateUser&Version=2010-05-08&UserName=ann";
    let get = "Action=GetUser&Version=2010-05-08&UserName=ann";
    assert_eq!(call(&server, &test, "iam", create).status, 200);
    assert_eq!(call(&server, &test, "iam", get).status, 200);
    let reset = plain(&server, "POST", "/_/reset");
    assert_eq!(reset.status, 200, "{reset:?}");
    assert_eq!(call(&server, &test, "iam", get).status, 404);
    assert_eq!(call(&server, &test, "iam", create).status, 200);
    assert_eq!(
        who_am_i(&server, &root(data.path())).status,
        200,
        "the file has the new credential"
    );
    server.kill();

    let server = Server::start(data.path(), &[]);
    let reset = plain(&server, "POST", "/_/reset");
    assert_eq!(reset.status, 404, "{reset:?}");
    assert_eq!(
        who_am_i(&server, &test).status,
        403,
        "dev mode's keys end with it"
    );
}

#[track_caller]
fn check_start_refused(data: &Path, flags: &[&str], expected: &str) {
    let output = run(data, &[&["serve"], flags].concat());
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(expected), "{said}");
}

#[test]
fn starts_that_are_refused() {
    let data = folder();
    let server = Server::start(data.path(), &[]);
    let any = ["--listen", "127.0.0.1:0"];
    check_start_refused(data.path(), &any, "in use by another process");
    drop(server);

    let data = folder();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    check_start_refused(
        data.path(),
        &["--listen", &taken],
        &format!("cannot listen on {taken}"),
    );
    drop(holder);
    let everywhere = ["--listen", "0.0.0.0:0"];
    check_start_refused(
        data.path(),
        &everywhere,
        "refusing to listen beyond this machine without TLS",
    );
    let dev = [
        "--listen",
        "0.0.0.0:0",
        "--dev",
        "--insecure-plaintext-listen",
    ];
    check_start_refused(
        data.path(),
        &dev,
        "dev mode listens on loopback addresses only",
    );
    check_start_refused(
        data.path(),
        &["--lisen", "x"],
        "unexpected argument '--lisen'",
    );
    fs::write(
        data.path().join("mayfly.toml"),
        "region = \"eu-west-1\"\nlisten-on = 1\n",
    )
    .unwrap();
    check_start_refused(
        data.path(),
        &any,
        "mayfly.toml:2:1: unknown key `listen-on`",
    );
    fs::write(
        data.path().join("mayfly.toml"),
        "tls_certificate = \"/none\"\ntls_key = \"/none\"\n",
    )
    .unwrap();
    check_start_refused(data.path(), &any, "cannot read /none");

    let home = folder();
    fs::write(home.path().join("thesis.doc"), "").unwrap();
    check_start_refused(
        home.path(),
        &any,
        "is not a data folder of Mayfly and not empty",
    );
    let output = run(home.path(), &["env"]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no server has been started on"), "{said}");
}

#[test]
fn a_server_beyond_loopback_says_so_loudly() {
    let data = folder();
    let flags = ["--listen", "0.0.0.0:0", "--insecure-plaintext-listen"];
    let server = mayfly()
        .args(["serve", "--log-format", "json", "--data"])
        .arg(data.path())
        .args(flags)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = Ended(server);
    let mut said = String::new();
    let mut stderr = server.0.stderr.take().unwrap();
    let mut byte = [0];
    while !said.contains("WITHOUT TLS") {
        assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{said}");
        said.push(char::from(byte[0]));
    }
}
