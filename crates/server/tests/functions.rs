//! Functions behind the whole server: what only the wiring can get wrong.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;

use common::*;
use rustix::process::Signal;
use wire::sigv4::Credentials;

/// Does what its event says.
const SOURCE: &str = "
import os, time, urllib.request, urllib.error
def lambda_handler(event, context):
    if 'say' in event:
        print('said ' + event['say'])
    if 'get' in event:
        try:
            return urllib.request.urlopen(os.environ['AWS_ENDPOINT_URL'] + event['get']).status
        except urllib.error.HTTPError as error:
            return error.code
    if 'sleep' in event:
        print('asleep')
        time.sleep(event['sleep'])
    return event.get('say')
";

fn start(data: &Path) -> (Server, Credentials) {
    let server = Server::start(data, &[]);
    let root = root(data);
    create_function(&server, &root, "f", SOURCE);
    (server, root)
}

/// Whether the function's log has a line.
fn logged(server: &Server, who: &Credentials, text: &str) -> bool {
    let body = format!(r#"{{"logGroupName":"/aws/lambda/f","filterPattern":"\"{text}\""}}"#);
    let headers = [
        ("x-amz-target", "Logs_20140328.FilterLogEvents"),
        ("content-type", "application/x-amz-json-1.1"),
    ];
    let answer = json(server, who, "logs", &headers, &body);
    answer.body.contains("eventId")
}

#[test]
fn a_function_is_invoked_logged_and_counted() {
    let data = tempfile::tempdir().unwrap();
    let (server, root) = start(data.path());
    let answer = invoke(&server, &root, "f", "RequestResponse", r#"{"say":"hello"}"#);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "\"hello\""),
        "{answer:?}"
    );
    assert!(
        answer
            .head
            .to_lowercase()
            .contains("x-amz-executed-version: $latest"),
        "{answer:?}"
    );
    eventually(|| logged(&server, &root, "said hello"));
    let metrics = plain(&server, "GET", "/_/metrics").body;
    let invoked = r#"mayfly_requests_total{service="lambda",operation="Invoke",status="200"} 1"#;
    assert!(metrics.contains(invoked), "{metrics}");
    let stranger = credentials("AKIDNOBODY", "guessed");
    assert_eq!(
        invoke(&server, &stranger, "f", "RequestResponse", "{}").status,
        403
    );
}

#[test]
fn a_function_reaches_the_front_door_and_not_our_own_pages() {
    let data = tempfile::tempdir().unwrap();
    let (server, root) = start(data.path());
    let inside = |method_and_path: &str| {
        let event = format!(r#"{{"get":"{method_and_path}"}}"#);
        invoke(&server, &root, "f", "RequestResponse", &event).body
    };
    assert_eq!(inside("/_/health"), "200");
    assert_eq!(inside("/_/metrics"), "403");
    assert_eq!(inside("/2015-03-31/functions/"), "403");
}

#[test]
fn an_invocation_under_way_is_finished_before_the_end() {
    let data = tempfile::tempdir().unwrap();
    let (server, root) = start(data.path());
    let answer = std::thread::scope(|scope| {
        let event = r#"{"sleep":2,"say":"finished"}"#;
        let invoking = scope.spawn(|| invoke(&server, &root, "f", "RequestResponse", event));
        eventually(|| logged(&server, &root, "asleep"));
        server.signal(Signal::TERM);
        invoking.join().unwrap()
    });
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "\"finished\""),
        "{answer:?}"
    );
    assert_eq!(server.wait().code(), Some(0));
    let server = Server::start(data.path(), &[]);
    assert!(
        logged(&server, &root, "REPORT"),
        "the log of the last invocation"
    );
}

#[test]
fn an_accepted_event_survives_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let (server, root) = start(data.path());
    let answer = invoke(
        &server,
        &root,
        "f",
        "Event",
        r#"{"sleep":3,"say":"survived"}"#,
    );
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (202, ""),
        "{answer:?}"
    );
    server.kill();
    let server = Server::start(data.path(), &[]);
    eventually(|| logged(&server, &root, "said survived"));
}

#[test]
fn a_reset_ends_functions_too() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &["--dev"]);
    let test = credentials("test", "test");
    create_function(&server, &test, "f", SOURCE);
    let say = r#"{"say":"hello"}"#;
    assert_eq!(
        invoke(&server, &test, "f", "RequestResponse", say).status,
        200
    );
    let reset = plain(&server, "POST", "/_/reset");
    assert_eq!(reset.status, 200, "{reset:?}");
    assert_eq!(
        invoke(&server, &test, "f", "RequestResponse", say).status,
        404
    );
    assert!(!logged(&server, &test, "said hello"));
    create_function(&server, &test, "f", SOURCE);
    let answer = invoke(
        &server,
        &test,
        "f",
        "RequestResponse",
        r#"{"get":"/_/health"}"#,
    );
    assert_eq!(
        answer.body, "200",
        "the new environment reaches the front door: {answer:?}"
    );
}

#[test]
fn a_function_reaches_the_internet_when_its_tag_says_so() {
    // What stands for the internet is a loopback address that the operator names.
    let outside = std::net::TcpListener::bind("127.77.1.1:0").unwrap();
    let port = outside.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in outside.incoming() {
            std::io::Write::write_all(&mut stream.unwrap(), b"hello").unwrap();
        }
    });
    let source = "
import errno, socket
def lambda_handler(event, context):
    try:
        with socket.create_connection(event, 20) as s:
            return s.recv(5).decode()
    except OSError as error:
        return errno.errorcode.get(error.errno, repr(error))
";
    let data = tempfile::tempdir().unwrap();
    let ports = port.to_string();
    let flags = [
        "--internet-by-tag",
        "--internet-ports",
        &ports,
        "--internet-allow",
        "127.77.1.1/32",
    ];
    let server = Server::start(data.path(), &flags);
    let root = root(data.path());
    create_function(&server, &root, "f", source);
    let connect = |address: &str| {
        let event = format!(r#"["{address}", {port}]"#);
        invoke(&server, &root, "f", "RequestResponse", &event).body
    };
    assert_eq!(connect("127.77.1.1"), "\"ECONNREFUSED\"");
    assert_eq!(connect("10.0.0.1"), "\"ENETUNREACH\"");
    let path = "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af";
    let tag = |value: &str| {
        let body = format!(r#"{{"Tags":{{"mayfly:internet":"{value}"}}}}"#);
        rest(&server, &root, "POST", path, &body).status
    };
    assert_eq!(tag("open"), 204);
    assert_eq!(connect("127.77.1.1"), "\"hello\"");
    assert_eq!(connect("10.0.0.1"), "\"ECONNRESET\"");
    let line = server.wait_for("a function may not connect there");
    assert!(line.contains("10.0.0.1"), "{line}");
    let metrics = plain(&server, "GET", "/_/metrics").body;
    assert!(metrics.contains("mayfly_outbound_connections_allowed_total 1\n"));
    assert!(metrics.contains("mayfly_outbound_connections_refused_total 1\n"));
    assert_eq!((tag("closed"), tag("ajar")), (204, 400));
    assert_eq!(connect("127.77.1.1"), "\"ECONNREFUSED\"");
}
