//! The life of environments: time-outs, crashes, reuse, limits, variables.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use engine::{
    EgressConfig, FunctionSpec, LogFormat, LogLevel, Mode, NetworkPolicy, Part, Refusal, Status,
    ThrottleReason,
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::bed::{Answer, Bed, invocation, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn times_out_and_keeps_tmp() {
    let bed = Bed::new();
    let code = "
import os, time
seen = []
def handler(event, context):
    seen.append(1)
    if event == 'sleep':
        open('/tmp/kept', 'w').write('x')
        print('going to sleep')
        time.sleep(60)
    return [len(seen), os.path.exists('/tmp/kept')]
";
    let mut spec = bed.function(code);
    spec.timeout = Duration::from_secs(1);
    let spec = Arc::new(spec);
    bed.invoke(&spec, "0").await.gives("[1, false]");
    bed.invoke(&spec, "0").await.gives("[2, false]");
    let late = bed.invoke(&spec, "\"sleep\"").await;
    late.fails(
        "Sandbox.Timedout",
        "RequestId: REQUEST Error: Task timed out after 1.00 seconds",
    );
    let tail = late.tail();
    let id = &late.0.report.request_id;
    assert!(
        tail.contains(&format!(
            "Z {id} Task timed out after 1.00 seconds\n\nEND RequestId: {id}\n"
        )),
        "{tail}"
    );
    assert!(
        tail.contains("\tDuration: 1000.00 ms\tBilled Duration: 1000 ms\t"),
        "{tail}"
    );
    assert!(
        tail.contains("going to sleep\n") && tail.ends_with("\tStatus: timeout\n"),
        "{tail}"
    );
    assert_eq!(late.0.report.status, Status::Timeout);
    // A new process, so globals are lost; the same environment, so its log stream and /tmp are not.
    bed.invoke(&spec, "0").await.gives("[1, true]");
    assert_eq!(bed.recorder.text().matches("INIT_START").count(), 1);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn allocates_past_its_memory() {
    let bed = Bed::new();
    let code = "def handler(event, context):\n    return len(bytearray(event << 20))\n";
    let mut spec = bed.function(code);
    spec.memory_mb = 128;
    let spec = Arc::new(spec);
    bed.invoke(&spec, "32").await.gives("33554432");
    let died = bed.invoke(&spec, "400").await;
    if bed.engine.limits().starts_with("best effort") {
        // Without a cgroup the allocation is refused instead, and Python says so itself.
        assert!(died.failed(), "{}", died.text());
        bed.invoke(&spec, "32").await.gives("33554432");
        bed.end().await;
        return;
    }
    died.fails(
        "Runtime.OutOfMemory",
        "RequestId: REQUEST Error: Runtime exited with error: signal: killed",
    );
    let tail = died.tail();
    assert!(
        tail.ends_with("\tStatus: error\tError Type: Runtime.OutOfMemory\n"),
        "{tail}"
    );
    assert!(died.0.report.max_memory_mb > 100, "{tail}");
    bed.invoke(&spec, "32").await.gives("33554432");
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes() {
    let bed = Bed::new();
    let code = "
import ctypes, os
def handler(event, context):
    if event == 'segfault':
        ctypes.string_at(0)
    if event == 'abort':
        os.abort()
    if event == 'exit':
        os._exit(7)
    if event == 'raise':
        raise SystemExit('text')
    return os.getpid()
";
    let spec = Arc::new(bed.function(code));
    let cases = [
        ("segfault", "signal: segmentation fault"),
        ("abort", "signal: aborted"),
        ("exit", "exit status 7"),
        ("raise", "exit status 1"),
    ];
    for (event, how) in cases {
        let answer = bed.invoke(&spec, &format!("\"{event}\"")).await;
        answer.fails(
            "Runtime.ExitError",
            &format!("RequestId: REQUEST Error: Runtime exited with error: {how}"),
        );
        assert!(!bed.invoke(&spec, "0").await.failed());
    }
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_that_takes_too_long_runs_again_under_the_timeout() {
    let bed = Bed::new();
    // The first init leaves a mark in /tmp and outlasts init's ten seconds; the second is quick.
    let code = "
import os, time
if not os.path.exists('/tmp/again'):
    open('/tmp/again', 'w').close()
    time.sleep(30)
def handler(event, context):
    return 'at last'
";
    let answer = bed.once(bed.function(code), "0").await;
    answer.gives("\"at last\"");
    let log = bed.recorder.text();
    assert!(
        log.contains("INIT_REPORT Init Duration: 10")
            && log.contains("\tPhase: init\tStatus: timeout\n"),
        "{log}"
    );
    assert_eq!(answer.0.report.init_duration, None);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_aws_own() {
    let bed = Bed::new();
    let code = "import os\ndef handler(event, context):\n    return dict(os.environ)\n";
    let mut spec = bed.function(code);
    spec.env = vec![
        ("MINE".to_owned(), "1".to_owned()),
        ("TZ".to_owned(), "Europe/Berlin".to_owned()),
        ("AWS_REGION".to_owned(), "mars-1".to_owned()),
        ("_HANDLER".to_owned(), "other.handler".to_owned()),
    ];
    let (name, group) = (spec.name.clone(), spec.log.group.clone());
    let answer = bed.once(spec, "{}").await;
    let have = answer.json();
    let expect = [
        ("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_python3.11"),
        ("AWS_LAMBDA_FUNCTION_NAME", &name),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", &group),
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
        ("LAMBDA_TASK_ROOT", "/var/task"),
        ("LANG", "en_US.UTF-8"),
        (
            "PATH",
            "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        ),
        ("PYTHONPATH", "/var/runtime"),
        ("_HANDLER", "app.handler"),
        (
            "_X_AMZN_TRACE_ID",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0",
        ),
        ("MINE", "1"),
        ("TZ", "Europe/Berlin"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
    ];
    for (name, value) in expect {
        assert_eq!(have[name], value, "{name}");
    }
    assert!(
        have.get("_LAMBDA_TELEMETRY_LOG_FD").is_none(),
        "the bootstrap takes it away"
    );
    assert!(
        have.get("HOME").is_none() && have.get("AWS_LAMBDA_LOG_FORMAT").is_none(),
        "{have}"
    );
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_is_reachable_and_nothing_else() {
    let bed = Bed::new();
    let code = "
import socket
def handler(event, context):
    hello = socket.create_connection(('127.0.0.1', 4566), 5).recv(100).decode()
    try:
        socket.create_connection(('192.0.2.1', 80), 1)
        return 'the internet'
    except OSError:
        return hello
";
    bed.once(bed.function(code), "{}")
        .await
        .gives("\"hello from the endpoint\"");
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_are_reused_and_retired() {
    let bed = Bed::new();
    let code = "count = 0\ndef handler(event, context):\n    global count\n    count += 1\n    return count\n";
    let spec = Arc::new(bed.function(code));
    for expected in 1..=20 {
        bed.invoke(&spec, "{}").await.gives(&expected.to_string());
    }
    bed.engine
        .retire(spec.key.split("/$LATEST").next().unwrap());
    bed.invoke(&spec, "{}").await.gives("1");
    assert_eq!(bed.recorder.text().matches("INIT_START").count(), 2);
    bed.end().await;
}

/// As when a function is called while its update goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_begins_while_its_revision_is_retired_serves_one_call() {
    let bed = Bed::with(|config| config.memory_mb_max = 600);
    let code =
        "import time\ndef handler(event, context):\n    time.sleep(event)\n    return event\n";
    let calls = [("0.3", 512), ("0.3", 256)].map(|(event, memory_mb)| {
        let mut spec = bed.function(code);
        spec.memory_mb = memory_mb;
        let spec = Arc::new(spec);
        let (engine, owned) = (bed.engine.clone(), spec.clone());
        let call = async move { engine.invoke(owned, invocation(event)).await };
        (spec, tokio::spawn(call))
    });
    let [(first, _), (second, _)] = &calls;
    // There is room for one of them.
    let begun = |spec: &FunctionSpec| bed.engine.concurrency(&spec.pool).function == 1;
    wait_until(|| begun(first) && begun(second)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    bed.engine.retire(&first.key);
    bed.engine.retire(&second.key);
    for (_, call) in calls {
        call.await.unwrap().unwrap();
    }
    wait_until(|| bed.engine.environments() == 0).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_environment_is_frozen_and_thawed() {
    let bed = Bed::new();
    let code = "
import threading, time
ticks = [0]
def tick():
    while True:
        ticks[0] += 1
        time.sleep(0.001)
threading.Thread(target=tick, daemon=True).start()
def handler(event, context):
    return ticks[0]
";
    let spec = Arc::new(bed.function(code));
    let first: u64 = bed.invoke(&spec, "{}").await.text().parse().unwrap();
    // Long enough for hundreds of ticks of a process that runs.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let second: u64 = bed.invoke(&spec, "{}").await.text().parse().unwrap();
    assert!(
        second - first < 200,
        "it ran on while it was idle: {first} to {second}"
    );
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrency_makes_environments_and_reserved_concurrency_limits_them() {
    let bed = Bed::new();
    let code = "import os, time\ndef handler(event, context):\n    time.sleep(1)\n    return open('/proc/sys/kernel/random/boot_id').read() and context.log_stream_name\n";
    let spec = Arc::new(bed.function(code));
    bed.engine.set_reserved(&spec.pool, Some(3));
    let three = || async {
        let all = tokio::join!(
            bed.invoke(&spec, "{}"),
            bed.invoke(&spec, "{}"),
            bed.invoke(&spec, "{}")
        );
        let streams: BTreeSet<String> = [all.0, all.1, all.2].iter().map(Answer::text).collect();
        streams.len()
    };
    let fourth = async {
        wait_until(|| bed.engine.concurrency(&spec.pool).function == 3).await;
        bed.try_invoke(&spec, "{}").await
    };
    let (streams, fourth) = tokio::join!(three(), fourth);
    assert_eq!(streams, 3);
    let reason = ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
    assert_eq!(fourth.err(), Some(Refusal::Throttled(reason)));
    assert_eq!(
        bed.engine.concurrency(&spec.pool),
        engine::Concurrency::default()
    );
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_machine_makes_the_longest_idle_give_way() {
    let bed = Bed::with(|config| config.environments_max = 2);
    let code = "def handler(event, context):\n    return 1\n";
    let specs = [0, 1, 2, 3].map(|_| Arc::new(bed.function(code)));
    for spec in &specs {
        bed.invoke(spec, "{}").await.gives("1");
        assert!(bed.engine.environments() <= 2);
    }
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_environments_end_after_a_while() {
    let bed = Bed::with(|config| config.idle_timeout = Duration::from_millis(1));
    bed.once(
        bed.function("def handler(event, context):\n    return 1\n"),
        "{}",
    )
    .await
    .gives("1");
    wait_until(|| bed.engine.environments() == 0).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_away_does_not_cut_the_function_short() {
    let bed = Bed::new();
    let code = "import time\ndef handler(event, context):\n    time.sleep(event)\n    print('done it')\n    return 1\n";
    let spec = Arc::new(bed.function(code));
    bed.invoke(&spec, "0").await.gives("1");
    let impatient = bed.try_invoke(&spec, "1");
    assert!(
        tokio::time::timeout(Duration::from_millis(200), impatient)
            .await
            .is_err()
    );
    wait_until(|| bed.recorder.text().matches("done it").count() == 2).await;
    wait_until(|| bed.recorder.reports.lock().unwrap().len() == 2).await;
    bed.invoke(&spec, "0").await.gives("1");
    assert_eq!(bed.recorder.text().matches("INIT_START").count(), 1);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_logs_are_filtered_by_level() {
    let bed = Bed::new();
    let code = "
import logging
def handler(event, context):
    logging.info('hidden')
    logging.warning({'a': 1})
    logging.getLogger('mine').error('with %s', 'args', extra={'order': 5})
    print('plain')
    print('{\"level\": \"debug\", \"x\": 1}')
    print('{\"level\": \"error\", \"x\": 2}')
    raise KeyError('k')
";
    let mut spec = bed.function(code);
    spec.log.format = LogFormat::Json;
    spec.log.application_level = LogLevel::Warn;
    spec.log.system_level = LogLevel::Debug;
    let answer = bed.once(spec, "{}").await;
    answer.fails("KeyError", "'k'");
    let all = bed.recorder.all();
    let lines: Vec<serde_json::Value> = all
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let find = |kind: &str| {
        lines
            .iter()
            .find(|line| line["type"] == kind)
            .unwrap_or_else(|| panic!("{all:?}"))
    };
    assert_eq!(
        find("platform.initStart")["record"]["instanceMaxMemory"],
        256 << 20
    );
    assert_eq!(find("platform.initReport")["record"]["status"], "success");
    let id = answer.0.report.request_id.clone();
    assert_eq!(find("platform.start")["record"]["requestId"], id);
    assert_eq!(find("platform.runtimeDone")["record"]["status"], "error");
    let report = &find("platform.report")["record"];
    assert_eq!(report["metrics"]["memorySizeMB"], 256);
    assert_eq!(report["errorType"], "KeyError");
    let message = |text: serde_json::Value| lines.iter().find(|line| line["message"] == text);
    assert_eq!(
        message(serde_json::json!({"a": 1})).unwrap()["level"],
        "WARNING"
    );
    let error = message("with args".into()).unwrap_or_else(|| panic!("{all:?}"));
    assert_eq!(
        (&error["logger"], &error["order"], &error["requestId"]),
        (&"mine".into(), &5.into(), &id.into())
    );
    assert!(
        lines
            .iter()
            .any(|line| line["errorType"] == "KeyError" && line["level"] == "ERROR"),
        "{all:?}"
    );
    assert!(all.iter().any(|line| line == "plain\n"));
    assert!(
        lines.iter().any(|line| line["x"] == 2) && !lines.iter().any(|line| line["x"] == 1),
        "{all:?}"
    );
    assert!(!bed.recorder.text().contains("hidden"));
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_one_part_for_a_runtime_that_does_not_stream() {
    let bed = Bed::new();
    let spec = Arc::new(bed.function("def handler(event, context):\n    return event\n"));
    let (sender, mut receiver) = mpsc::channel(4);
    let mut invocation = invocation("[1]");
    invocation.mode = Mode::Streaming(sender);
    let outcome = bed.engine.invoke(spec.clone(), invocation).await.unwrap();
    assert!(outcome.function_error.is_none() && outcome.payload.is_empty());
    assert_eq!(
        receiver.recv().await,
        Some(Part::Head {
            content_type: Some("application/json".to_owned())
        })
    );
    assert_eq!(receiver.recv().await, Some(Part::Chunk("[1]".into())));
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapper_script_starts_the_runtime() {
    let bed = Bed::new();
    let files = [
        (
            "app.py",
            "import os\ndef handler(event, context):\n    return os.environ.get('WRAPPED')\n",
        ),
        ("wrap.sh", "#!/bin/bash\nexport WRAPPED=yes\nexec \"$@\"\n"),
    ];
    let mut spec = bed.function_on(bed.python(), "app.handler", &files);
    spec.env = vec![(
        "AWS_LAMBDA_EXEC_WRAPPER".to_owned(),
        "/var/task/wrap.sh".to_owned(),
    )];
    bed.once(spec, "{}").await.gives("\"yes\"");
    let mut spec = bed.function_on(bed.python(), "app.handler", &files);
    spec.env = vec![(
        "AWS_LAMBDA_EXEC_WRAPPER".to_owned(),
        "/var/task/nope".to_owned(),
    )];
    let answer = bed.once(spec, "{}").await;
    answer.fails(
        "Runtime.ExitError",
        "RequestId: REQUEST Error: Runtime exited with error: exit status 127",
    );
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expiring_credentials_are_not_used() {
    let bed = Bed::new();
    let mut spec = bed.function("def handler(event, context):\n    return 1\n");
    let credentials = spec.credentials.clone();
    spec.credentials = Arc::new(move |lasting| {
        let mut soon = credentials(lasting)?;
        soon.expires = std::time::SystemTime::now() + Duration::from_secs(30);
        Ok(soon)
    });
    let spec = Arc::new(spec);
    bed.invoke(&spec, "{}").await.gives("1");
    bed.invoke(&spec, "{}").await.gives("1");
    assert_eq!(bed.recorder.text().matches("INIT_START").count(), 2);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_engine_refuses() {
    let bed = Bed::new();
    let code = "import time\ndef handler(event, context):\n    time.sleep(1)\n    return 1\n";
    let spec = Arc::new(bed.function(code));
    let engine = bed.engine.clone();
    let drain = async {
        wait_until(|| bed.engine.concurrency(&spec.pool).function == 1).await;
        engine.drain(Duration::from_secs(10)).await;
        bed.try_invoke(&spec, "{}").await.err()
    };
    let (answer, refused) = tokio::join!(bed.invoke(&spec, "{}"), drain);
    answer.gives("1");
    assert_eq!(refused, Some(Refusal::Draining));
    assert_eq!(bed.engine.environments(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn exits_during_init() {
    let bed = Bed::new();
    let answer = bed
        .once(
            bed.function("import sys\nprint('in init')\nsys.exit(9)\n"),
            "{}",
        )
        .await;
    answer.fails(
        "Runtime.ExitError",
        "RequestId: REQUEST Error: Runtime exited with error: exit status 9",
    );
    let log = bed.recorder.text();
    assert!(
        log.contains("\tPhase: init\tStatus: error\tError Type: Runtime.ExitError\n"),
        "{log}"
    );
    assert!(
        log.contains("\tPhase: invoke\tStatus: error\tError Type: Runtime.ExitError\n"),
        "{log}"
    );
    assert_eq!(log.matches("in init\n").count(), 2, "{log}");
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn says_when_the_sdk_is_missing() {
    let bed = Bed::new();
    let answer = bed.once(bed.function("import boto3\n"), "{}").await;
    answer.fails(
        "Runtime.ImportModuleError",
        "Unable to import module 'app': No module named 'boto3'",
    );
    let id = bed.python().id;
    let advice = format!("start the server again: mayfly runtime add-sdk {id}\n");
    assert!(answer.tail().contains(&advice), "{}", answer.tail());
    let late = bed.function("def handler(event, context):\n    import botocore\n");
    let answer = bed.once(late, "{}").await;
    answer.fails("ModuleNotFoundError", "No module named 'botocore'");
    assert!(answer.tail().contains(&advice), "{}", answer.tail());
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_output_stays_within_bounds() {
    let bed = Bed::new();
    let code = "
import os, struct, sys
def handler(event, context):
    sys.stdout.write('no newline')
    sys.stdout.flush()
    os.write(2, b' and on\\n')
    os.write(1, b'\\xff\\xfe not text\\n')
    sys.stdout.write('z' * 2500000 + '\\n')
    os.write(3, struct.pack('>IIQ', 0xA55A0003, 5, 0) + b'a\\nb\\nc')
    os.write(3, struct.pack('>IIQ', 0xA55A0003, 0xFFFFFFFF, 0))
    os.write(3, b'not a frame at all')
    print('last')
    return 1
"
    .replace("\\\\", "\\");
    bed.once(bed.function(&code), "{}").await.gives("1");
    let all = bed.recorder.all();
    let has = |text: &str| all.iter().any(|line| line == text);
    assert!(
        has("no newline and on\n")
            && has("\u{fffd}\u{fffd} not text\n")
            && has("a\nb\nc")
            && has("last\n")
    );
    assert!(all.iter().any(|line| line.ends_with("not a frame at all")));
    let long: usize = all
        .iter()
        .filter(|line| line.starts_with('z'))
        .map(String::len)
        .sum();
    assert_eq!(long, 2_500_001);
    assert!(all.iter().all(|line| line.len() <= 1 << 20));
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_internet_is_open_when_the_policy_says_so() {
    // An address of this machine's own stands for the internet: allowed by name, on a port that leads out.
    let outside = tokio::net::TcpListener::bind("127.0.83.7:27017")
        .await
        .unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = outside.accept().await {
            stream.writable().await.unwrap();
            stream.try_write(b"hello from outside").unwrap();
        }
    });
    let egress = EgressConfig {
        allow: vec!["127.0.83.7/32".parse().unwrap()],
        ..EgressConfig::default()
    };
    let bed = Bed::with(|config| config.egress = Some(egress));
    let code = "
import socket
def handler(event, context):
    answers = []
    for address in [('127.0.83.7', 27017), ('127.0.84.7', 27017), ('169.254.169.254', 80), ('192.0.2.1', 12345)]:
        try:
            s = socket.create_connection(address, 5)
            answers.append(s.recv(100).decode())
        except OSError as error:
            answers.append(type(error).__name__)
    answers.append(socket.create_connection(('127.0.0.1', 4566), 5).recv(100).decode())
    return answers
";
    let mut spec = bed.function(code);
    spec.network = NetworkPolicy::Internet;
    let answer = bed.once(spec, "{}").await;
    let json = answer.json();
    let texts: Vec<&str> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect();
    assert_eq!(
        (texts[0], texts[4]),
        ("hello from outside", "hello from the endpoint"),
        "{json}"
    );
    // Closed without a byte, one way or the other.
    for text in &texts[1..4] {
        assert!(
            ["", "ConnectionResetError", "ConnectionRefusedError"].contains(text),
            "{json}"
        );
    }
    bed.end().await;
}

/// `setenv` frees no value ever, and this one is another in each invocation.
#[tokio::test(flavor = "multi_thread")]
async fn trace_headers_cost_no_memory_for_ever() {
    let bed = Bed::new();
    let code = "
import os, subprocess, sys
def handler(event, context):
    told = os.environ['_X_AMZN_TRACE_ID']
    if event == 'seen':
        child = subprocess.check_output(['/bin/sh', '-c', 'echo $_X_AMZN_TRACE_ID']).decode().strip()
        return [told, child, 'ctypes' in sys.modules]
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
";
    let spec = Arc::new(bed.function(code));
    let trace =
        |number: u32| format!("Root=1-5759e988-{number:024};Parent=53995c3f42cd8ad8;Sampled=0");
    let call = async |number: u32, event: &str| -> serde_json::Value {
        let mut invocation = invocation(event);
        invocation.trace_id = Some(trace(number));
        let outcome = bed.engine.invoke(spec.clone(), invocation).await.unwrap();
        serde_json::from_slice(&outcome.payload).unwrap()
    };
    let seen = async |number: u32| {
        let found = call(number, "\"seen\"").await;
        assert_eq!(found, json!([trace(number), trace(number), false]));
    };
    seen(0).await;
    for number in 1..1100 {
        call(number, "0").await;
    }
    let before = call(1100, "0").await.as_i64().unwrap();
    seen(1101).await;
    for number in 1102..6000 {
        call(number, "0").await;
    }
    let more = call(6000, "0").await.as_i64().unwrap() - before;
    // A header is 80 bytes long, and took twice as much.
    assert!(more < 4900 * 80, "{more} bytes more");
    bed.end().await;
}
