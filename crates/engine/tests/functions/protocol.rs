//! Custom runtimes and extensions: the Runtime API as its clients see it.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use engine::{FunctionSpec, Mode, Part};
use tokio::sync::mpsc;

use crate::bed::{Answer, Bed, invocation};

/// A bootstrap in shell that speaks through bash's own /dev/tcp: no curl needed.
const SHELL: &str = r#"#!/bin/sh
set -euo pipefail
api() { # method path body
  exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API%:*}/${AWS_LAMBDA_RUNTIME_API#*:}"
  printf '%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' "$1" "$2" "${#3}" "$3" >&3
  cat <&3
  exec 3>&-
}
while true; do
  reply=$(api GET /2018-06-01/runtime/invocation/next "")
  id=$(printf '%s' "$reply" | tr -d '\r' | sed -n 's/^[Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d: //p')
  echo "handler $_HANDLER got $id"
  event=$(printf '%s' "$reply" | tr -d '\r' | sed '1,/^$/d')
  case "$event" in
    '"error"') api POST "/2018-06-01/runtime/invocation/$id/error" '{"errorMessage":"told","errorType":"Mine"}' >/dev/null ;;
    '"wrong"') api POST "/2018-06-01/runtime/invocation/nope/response" '1' | tail -1
               api POST "/2018-06-01/runtime/invocation/$id/response" '2' >/dev/null ;;
    '"twice"') api POST "/2018-06-01/runtime/invocation/$id/response" '1' >/dev/null
               api POST "/2018-06-01/runtime/invocation/$id/response" '2' | tail -1
               sleep 0.1 ;;
    '"exit"') exit 5 ;;
    *) api POST "/2018-06-01/runtime/invocation/$id/response" "$event" >/dev/null ;;
  esac
done
"#;

fn provided(bed: &Bed, files: &[(&str, &str)]) -> FunctionSpec {
    bed.function_on(
        bed.catalogue.resolve("provided.al2").unwrap(),
        "any.handler",
        files,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_script_is_a_runtime() {
    let bed = Bed::new();
    let spec = Arc::new(provided(&bed, &[("bootstrap", SHELL)]));
    for event in ["{\"a\":1}", "[2]"] {
        let answer = bed.invoke(&spec, event).await;
        answer.gives(event);
        let line = format!("handler any.handler got {}\n", answer.0.report.request_id);
        assert!(answer.tail().contains(&line), "{}", answer.tail());
    }
    bed.invoke(&spec, "\"error\"").await.fails("Mine", "told");
    let wrong = bed.invoke(&spec, "\"wrong\"").await;
    wrong.gives("2");
    assert!(
        wrong
            .tail()
            .contains(r#"{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}"#),
        "{}",
        wrong.tail()
    );
    let twice = bed.invoke(&spec, "\"twice\"").await;
    twice.gives("1");
    assert!(
        twice.tail().contains("InvalidStateTransition"),
        "{}",
        twice.tail()
    );
    let exit = bed.invoke(&spec, "\"exit\"").await;
    exit.fails(
        "Runtime.ExitError",
        "RequestId: REQUEST Error: Runtime exited with error: exit status 5",
    );
    bed.invoke(&spec, "[3]").await.gives("[3]");
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_executed() {
    let bed = Bed::new();
    let cases: [(&str, u32, &str, &str); 4] = [
        (
            "bootstrap",
            0o644,
            "#!/bin/sh\n",
            "fork/exec /var/task/bootstrap: permission denied",
        ),
        (
            "bootstrap",
            0o755,
            "not a program",
            "fork/exec /var/task/bootstrap: exec format error",
        ),
        (
            "bootstrap",
            0o755,
            "#!/nonesuch\n",
            "fork/exec /var/task/bootstrap: no such file or directory",
        ),
        (
            "other",
            0o755,
            "",
            "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]",
        ),
    ];
    for (name, mode, text, message) in cases {
        let spec = provided(&bed, &[(name, text)]);
        std::fs::set_permissions(spec.code.join(name), std::fs::Permissions::from_mode(mode))
            .unwrap();
        let answer = bed.once(spec, "{}").await;
        answer.fails(
            "Runtime.InvalidEntrypoint",
            &format!("RequestId: REQUEST Error: {message}"),
        );
    }
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_may_come_in_a_layer() {
    let bed = Bed::new();
    let mut spec = provided(&bed, &[("data", "1")]);
    spec.layers = Some(bed.files(&[("bootstrap", SHELL)]));
    bed.once(spec, "[1]").await.gives("[1]");
    bed.end().await;
}

/// A runtime in Python that does as the event says with its raw socket.
const RAW: &str = r#"#!/usr/bin/env python3
import json, os, socket, sys, time
host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
def connect():
    return socket.create_connection((host, int(port)))
def read(s):
    data = b''
    while b'\r\n\r\n' not in data:
        part = s.recv(65536)
        if not part:
            return None, {}, b''
        data += part
    head, body = data.split(b'\r\n\r\n', 1)
    lines = head.decode().split('\r\n')
    headers = dict(line.lower().split(': ', 1) for line in lines[1:])
    while len(body) < int(headers['content-length']):
        body += s.recv(65536)
    return int(lines[0].split()[1]), headers, body
def send(s, method, path, headers={}, body=b''):
    head = '%s /2018-06-01/runtime/%s HTTP/1.1\r\nHost: x\r\n' % (method, path)
    for item in headers.items():
        head += '%s: %s\r\n' % item
    if 'Transfer-Encoding' not in headers:
        head += 'Content-Length: %d\r\n' % len(body)
    s.sendall(head.encode() + b'\r\n' + body)
def chunk(data):
    return b'%x\r\n%s\r\n' % (len(data), data)
STREAM = {'Transfer-Encoding': 'chunked', 'Lambda-Runtime-Function-Response-Mode': 'streaming',
          'Content-Type': 'application/vnd.awslambda.http-integration-response',
          'Trailer': 'Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body'}
s = connect()
while True:
    send(s, 'GET', 'invocation/next')
    _, headers, body = read(s)
    event = json.loads(body)
    answer = 'invocation/%s/response' % headers['lambda-runtime-aws-request-id']
    if event == 'chunked':
        send(s, 'POST', answer, {'Transfer-Encoding': 'chunked'}, chunk(b'[1,') + chunk(b'2]') + b'0\r\n\r\n')
        read(s)
    elif event == 'stream':
        send(s, 'POST', answer, STREAM)
        for n in range(3):
            s.sendall(chunk(b'part%d;' % n))
            time.sleep(0.05)
        s.sendall(b'0\r\n\r\n')
        read(s)
    elif event == 'stream-error':
        send(s, 'POST', answer, STREAM, chunk(b'some') + b'0\r\nLambda-Runtime-Function-Error-Type: Broken\r\n'
             b'Lambda-Runtime-Function-Error-Body: eyJlcnJvclR5cGUiOiJCcm9rZW4ifQ==\r\n\r\n')
        read(s)
    elif event == 'stream-broken':
        send(s, 'POST', answer, STREAM, chunk(b'some'))
        s.close()
        s = connect()
    elif event == 'bad-mode':
        send(s, 'POST', answer, {'Lambda-Runtime-Function-Response-Mode': 'odd'}, b'1')
        status, _, body = read(s)
        send(s, 'POST', answer, {}, json.dumps([status, json.loads(body)['errorType']]).encode())
        read(s)
    elif event == 'late':
        # The answer of another attempt with the same request id.
        send(s, 'POST', answer, {'Lambda-Runtime-Invocation-Id': '0'}, b'1')
        status, _, body = read(s)
        send(s, 'POST', answer, {'Lambda-Runtime-Invocation-Id': headers['lambda-runtime-invocation-id']},
             json.dumps([status, json.loads(body)['errorType']]).encode())
        read(s)
    elif event == 'big-header':
        send(s, 'POST', answer.replace('/response', '/error'),
             {'Lambda-Runtime-Function-Error-Type': 'Big', 'Lambda-Runtime-Function-XRay-Error-Cause': 'x' * 1000000},
             b'{"errorType":"Big","errorMessage":"m"}')
        print('answered', read(s)[0])
    elif event == 'early-next':
        send(s, 'GET', 'invocation/next')
        status, _, body = read(s)
        send(s, 'POST', answer, {}, json.dumps([status, json.loads(body)['errorType']]).encode())
        read(s)
    elif event == 'unknown':
        t = connect()
        send(t, 'GET', 'nonesuch')
        status, _, body = read(t)
        send(t, 'POST', 'init/error', {}, b'{}')
        after = read(t)[0]
        t.sendall(b'garbage\r\n\r\n')
        gone = read(t)[0]
        send(s, 'POST', answer, {}, json.dumps([status, after, gone]).encode())
        read(s)
    elif event == 'expect':
        send(s, 'POST', answer, {'Expect': '100-continue', 'Transfer-Encoding': 'chunked'})
        assert s.recv(100).startswith(b'HTTP/1.1 100 ')
        s.sendall(chunk(b'"went on"') + b'0\r\n\r\n')
        read(s)
    elif event == 'headers':
        send(s, 'POST', answer, {}, json.dumps(headers).encode())
        read(s)
"#;

async fn streamed(bed: &Bed, spec: &Arc<FunctionSpec>, event: &str) -> (Answer, Vec<Part>) {
    let (sender, mut receiver) = mpsc::channel(1);
    let mut invocation = invocation(event);
    invocation.mode = Mode::Streaming(sender);
    let (outcome, parts) = tokio::join!(bed.engine.invoke(spec.clone(), invocation), async {
        let mut parts = Vec::new();
        while let Some(part) = receiver.recv().await {
            parts.push(part);
        }
        parts
    });
    (Answer(outcome.unwrap()), parts)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runtime_api_in_its_details() {
    let bed = Bed::new();
    let spec = Arc::new(provided(&bed, &[("bootstrap", RAW)]));
    bed.invoke(&spec, "\"chunked\"").await.gives("[1,2]");
    bed.invoke(&spec, "\"bad-mode\"")
        .await
        .gives(r#"[400, "Runtime.InvalidResponseModeHeader"]"#);
    bed.invoke(&spec, "\"late\"")
        .await
        .gives(r#"[400, "InvalidRequestID"]"#);
    bed.invoke(&spec, "\"early-next\"")
        .await
        .gives(r#"[403, "InvalidStateTransition"]"#);
    bed.invoke(&spec, "\"unknown\"")
        .await
        .gives("[404, 403, null]");
    bed.invoke(&spec, "\"expect\"").await.gives("\"went on\"");
    let big = bed.invoke(&spec, "\"big-header\"").await;
    big.fails("Big", "m");
    assert_eq!(big.0.report.error_type.as_deref(), Some("Big"));
    let headers = bed.invoke(&spec, "\"headers\"").await;
    let json = headers.json();
    assert_eq!(
        json["lambda-runtime-aws-request-id"],
        headers.0.report.request_id
    );
    assert_eq!(
        json["lambda-runtime-invoked-function-arn"],
        "arn:aws:lambda:eu-west-1:111122223333:function:fn"
    );
    assert_eq!(
        json["lambda-runtime-trace-id"],
        "root=1-5759e988-bd862e3fe1be46a994272793;sampled=0"
    );
    assert_eq!(json["content-type"], "application/json");
    assert!(
        json["lambda-runtime-deadline-ms"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 1_700_000_000_000
    );
    assert!(json.get("lambda-runtime-client-context").is_none());
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_may_be_streamed() {
    let bed = Bed::new();
    let spec = Arc::new(provided(&bed, &[("bootstrap", RAW)]));
    bed.invoke(&spec, "\"stream\"")
        .await
        .gives("part0;part1;part2;");
    let (answer, parts) = streamed(&bed, &spec, "\"stream\"").await;
    assert!(!answer.failed() && answer.text().is_empty());
    let kind = "application/vnd.awslambda.http-integration-response".to_owned();
    assert_eq!(
        parts[0],
        Part::Head {
            content_type: Some(kind)
        }
    );
    let body = |parts: &[Part]| -> String {
        let chunk = |part: &Part| {
            if let Part::Chunk(bytes) = part {
                String::from_utf8_lossy(bytes).into_owned()
            } else {
                String::new()
            }
        };
        parts.iter().map(chunk).collect()
    };
    assert_eq!(body(&parts), "part0;part1;part2;");
    assert!(parts.len() >= 4, "it came at once: {parts:?}");
    let (answer, parts) = streamed(&bed, &spec, "\"stream-error\"").await;
    assert_eq!(
        (answer.failed(), answer.text().as_str()),
        (true, r#"{"errorType":"Broken"}"#)
    );
    assert_eq!(body(&parts), "some");
    let (answer, _) = streamed(&bed, &spec, "\"stream-broken\"").await;
    assert_eq!(answer.json()["errorType"], "Runtime.TruncatedResponse");
    bed.invoke(&spec, "\"chunked\"").await.gives("[1,2]");
    bed.end().await;
}

/// An external extension that writes down what it is told.
const EXTENSION: &str = r#"#!/usr/bin/env python3
import json, os, sys, http.client
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
def call(method, path, headers, body=None):
    api.request(method, '/2020-01-01/extension/' + path, body=body, headers=headers)
    reply = api.getresponse()
    return reply, reply.read()
name = os.path.basename(sys.argv[0])
reply, body = call('POST', 'register', {'Lambda-Extension-Name': name}, json.dumps({'events': ['INVOKE', 'SHUTDOWN']}))
me = {'Lambda-Extension-Identifier': reply.headers['Lambda-Extension-Identifier']}
print('registered', reply.status, json.loads(body)['handler'], '_HANDLER' in os.environ, 'AWS_REGION' in os.environ, flush=True)
while True:
    reply, body = call('GET', 'event/next', me)
    event = json.loads(body)
    print('extension told', event['eventType'], event.get('requestId', event.get('shutdownReason')), flush=True)
    if event['eventType'] == 'SHUTDOWN':
        sys.exit(0)
    if os.path.exists('/tmp/fail'):
        call('POST', 'exit/error', dict(me, **{'Lambda-Extension-Function-Error-Type': 'Extension.Mine'}), '{}')
    if os.path.exists('/tmp/crash'):
        sys.exit(3)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn extensions_live_with_the_function() {
    let bed = Bed::new();
    let code = "def handler(event, context):\n    if event: open('/tmp/' + event, 'w').close()\n    return 1\n";
    let mut spec = bed.function(code);
    spec.layers = Some(bed.files(&[("extensions/watcher", EXTENSION)]));
    let spec = Arc::new(spec);
    let answer = bed.invoke(&spec, "null").await;
    answer.gives("1");
    let id = answer.0.report.request_id.clone();
    assert!(
        answer
            .tail()
            .contains(&format!("extension told INVOKE {id}\n")),
        "{}",
        answer.tail()
    );
    assert!(
        bed.recorder
            .text()
            .contains("registered 200 app.handler False True\n"),
        "{}",
        bed.recorder.text()
    );
    bed.invoke(&spec, "null").await.gives("1");
    bed.engine.drain(Duration::from_secs(10)).await;
    assert!(
        bed.recorder
            .text()
            .contains("extension told SHUTDOWN spindown\n"),
        "{}",
        bed.recorder.text()
    );
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_that_fails_takes_the_environment_with_it() {
    let bed = Bed::new();
    // It fails in the invocation after the one that leaves the mark.
    let code = "import time\ndef handler(event, context):\n    if event:\n        open('/tmp/' + event, 'w').close()\n    elif context.memory_limit_in_mb == '256' and __import__('os').path.exists('/tmp/crash') or __import__('os').path.exists('/tmp/fail'):\n        time.sleep(10)\n    return 1\n";
    let mut spec = bed.function(code);
    spec.layers = Some(bed.files(&[("extensions/watcher", EXTENSION)]));
    let spec = Arc::new(spec);
    for (mark, kind) in [
        ("crash", "Extension.Crash"),
        ("fail", "Extension.ExitError"),
    ] {
        bed.engine.retire(&spec.key);
        let first = bed.invoke(&spec, &format!("\"{mark}\"")).await;
        if !first.failed() {
            let answer = bed.invoke(&spec, "null").await;
            assert!(answer.failed(), "{}", answer.tail());
            assert_eq!(answer.json()["errorType"], kind, "{}", answer.text());
        }
    }
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_that_cannot_start() {
    let bed = Bed::new();
    let code = "def handler(event, context):\n    return 1\n";
    let mut spec = bed.function(code);
    spec.layers = Some(bed.files(&[("extensions/broken", "#!/nonesuch\n")]));
    let answer = bed.once(spec, "null").await;
    assert_eq!(
        answer.json()["errorType"],
        "Extension.LaunchError",
        "{}",
        answer.text()
    );
    let mut spec = bed.function(code);
    spec.layers = Some(bed.files(&[("extensions/broken", "#!/bin/sh\nexit 9\n")]));
    let answer = bed.once(spec, "null").await;
    assert_eq!(
        answer.json()["errorType"],
        "Extension.Crash",
        "{}",
        answer.text()
    );
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_extensions_and_refused_registrations() {
    let bed = Bed::new();
    let code = r#"
import json, http.client, os
def call(method, path, headers, body=None):
    api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
    api.request(method, path, body=body, headers=headers)
    reply = api.getresponse()
    text = reply.read()
    return [reply.status, json.loads(text).get('errorType')] if text else [reply.status]
def register(name, events):
    return call('POST', '/2020-01-01/extension/register', {'Lambda-Extension-Name': name}, json.dumps({'events': events}))
init = [
    register('inside', []),
    register('inside', []),
    register('other', ['SHUTDOWN']),
    register('other', ['PARTY']),
    call('GET', '/2020-01-01/extension/event/next', {}),
    call('GET', '/2020-01-01/extension/event/next', {'Lambda-Extension-Identifier': 'nobody'}),
    call('PUT', '/2022-07-01/telemetry', {}, '{}'),
]
import threading
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
api.request('POST', '/2020-01-01/extension/register', body='{"events":["INVOKE"]}', headers={'Lambda-Extension-Name': 'thread'})
reply = api.getresponse()
reply.read()
me = {'Lambda-Extension-Identifier': reply.headers['Lambda-Extension-Identifier']}
told = []
def listen():
    while True:
        api.request('GET', '/2020-01-01/extension/event/next', headers=me)
        told.append(json.loads(api.getresponse().read())['eventType'])
def handler(event, context):
    while not told:
        pass
    return init + [register('late', [])] + told
"#;
    // The first internal extension never asks for an event, so this one waits for none.
    let code = code.replace(
        "    register('inside', []),\n    register('inside', []),\n",
        "",
    );
    let code = code.replace(
        "def handler",
        "threading.Thread(target=listen, daemon=True).start()\ndef handler",
    );
    let answer = bed.once(bed.function(&code), "{}").await;
    let expected = serde_json::json!([
        [400, "ShutdownEventNotSupportedForInternalExtension"],
        [400, "Extension.InvalidEventType"],
        [403, "Extension.MissingHeader"],
        [403, "Extension.UnknownExtensionIdentifier"],
        [501, "Telemetry.NotSupported"],
        [403, "Extension.RegistrationClosed"],
        "INVOKE",
    ]);
    assert_eq!(answer.json(), expected, "{}", answer.tail());
    bed.end().await;
}
