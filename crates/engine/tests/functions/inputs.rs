//! The inputs that must work as they stand, on every Python of this machine.

use std::sync::Arc;

use engine::runtimes::{Family, Runtime};

use crate::bed::{Answer, Bed};

fn version(runtime: &Runtime) -> (u8, u8) {
    match runtime.family {
        Family::Python(major, minor) => (major, minor),
        _ => unreachable!("only Pythons are asked"),
    }
}

/// Runs the same one-file function once on every Python.
async fn on_each(code: &str, handler: &str, event: &str, check: impl Fn((u8, u8), &Answer)) {
    let bed = Bed::new();
    for runtime in bed.pythons() {
        println!("{}", runtime.version);
        let spec = bed.function_on(runtime.clone(), handler, &[("app.py", code)]);
        check(version(&runtime), &bed.once(spec, event).await);
    }
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prints_the_event_and_returns_a_member() {
    let bed = Bed::new();
    for runtime in bed.pythons() {
        let code = "def handler(event, context):\n    print('value1 = ' + event['key1'])\n    return event['key1']\n";
        let spec = Arc::new(bed.function_on(runtime.clone(), "app.handler", &[("app.py", code)]));
        let first = bed
            .invoke(
                &spec,
                r#"{"key3": "value3", "key2": "value2", "key1": "value1"}"#,
            )
            .await;
        first.gives("\"value1\"");
        let id = &first.0.report.request_id;
        let tail = first.tail();
        assert!(
            tail.starts_with(&format!("START RequestId: {id} Version: $LATEST\n")),
            "{}: {tail}",
            runtime.id
        );
        assert!(
            tail.contains("\nvalue1 = value1\nEND RequestId: "),
            "{}: {tail}",
            runtime.id
        );
        assert!(
            tail.contains("\tMemory Size: 256 MB\tMax Memory Used: "),
            "{}: {tail}",
            runtime.id
        );
        assert!(
            tail.contains("\tInit Duration: ") && tail.ends_with(" ms\t\n"),
            "{}: {tail}",
            runtime.id
        );
        assert!(first.0.report.max_memory_mb > 3, "{}: {tail}", runtime.id);
        let second = bed.invoke(&spec, r#"{"key1": "again"}"#).await;
        second.gives("\"again\"");
        assert!(
            !second.tail().contains("Init Duration"),
            "{}: {}",
            runtime.id,
            second.tail()
        );
        println!(
            "{} ok, init {:?}",
            runtime.version, first.0.report.init_duration
        );
    }
    let log = bed.recorder.text();
    assert!(
        log.contains("INIT_START Runtime Version: python:3."),
        "{log}"
    );
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_a_scheduled_event() {
    let code =
        "def handler(event, context):\n    return 'hello world! it is {}'.format(event['time'])\n";
    let event = r#"{"version": "0", "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "detail-type": "Scheduled Event",
        "source": "aws.events", "account": "123456789012", "time": "2015-10-08T16:53:06Z", "region": "us-east-1",
        "resources": ["arn:aws:events:us-east-1:123456789012:rule/my-rule"], "detail": {}}"#;
    on_each(code, "app.handler", event, |_, answer| {
        answer.gives("\"hello world! it is 2015-10-08T16:53:06Z\"")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_the_style_of_an_api() {
    let code = "import json\n\
        def handler(event, context):\n    \
            return {'statusCode': '200', 'body': json.dumps({'path': event['path']}), \
            'headers': {'Content-Type': 'application/json'}}\n";
    on_each(
        code,
        "app.handler",
        r#"{"path": "/x", "httpMethod": "GET"}"#,
        |_, answer| {
            let json = answer.json();
            assert_eq!(json["statusCode"], "200");
            assert_eq!(json["body"], r#"{"path": "/x"}"#);
            assert_eq!(json["headers"]["Content-Type"], "application/json");
            assert!(!answer.failed());
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raises() {
    let code = "def handler(event, context):\n    fail(event)\n\ndef fail(event):\n    raise ValueError('wrong: ' + event['x'])\n";
    on_each(code, "app.handler", r#"{"x": "\u00fc"}"#, |version, answer| {
        answer.fails("ValueError", "wrong: ü");
        let json = answer.json();
        let last = &json["stackTrace"][1];
        if version < (3, 7) {
            assert_eq!(last, &serde_json::json!(["/var/task/app.py", 5, "fail", "raise ValueError('wrong: ' + event['x'])"]));
        } else {
            let text = "  File \"/var/task/app.py\", line 5, in fail\n    raise ValueError('wrong: ' + event['x'])\n";
            assert_eq!(last, text);
        }
        assert_eq!(json.get("requestId").is_some(), version >= (3, 9));
        assert_eq!(json["stackTrace"].as_array().unwrap().len(), 2, "{json}");
        let tail = answer.tail();
        let event = "[ERROR] ValueError: wrong: ü\nTraceback (most recent call last):\n\u{a0}\u{a0}File \"/var/task/app.py\", line 2, in handler\n\u{a0}\u{a0}\u{a0}\u{a0}fail(event)\n";
        assert!(tail.contains(event), "{tail}");
        assert!(!tail.contains("Status:"), "{tail}");
        assert_eq!(answer.0.report.error_type.as_deref(), Some("ValueError"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_looks_like_an_error_is_a_success() {
    let code =
        "def handler(event, context):\n    return {'errorMessage': 'no', 'errorType': 'X'}\n";
    on_each(code, "app.handler", "{}", |_, answer| {
        assert!(!answer.failed())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_sys_exit() {
    let code =
        "import sys\ndef handler(event, context):\n    print('leaving')\n    sys.exit(event)\n";
    on_each(code, "app.handler", "3", |_, answer| {
        answer.fails("Runtime.ExitError", "RequestId: REQUEST Error: Runtime exited with error: exit status 3");
        let tail = answer.tail();
        let id = &answer.0.report.request_id;
        let lines = format!("leaving\nRequestId: {id} Error: Runtime exited with error: exit status 3\nRuntime.ExitError\nEND RequestId: {id}\n");
        assert!(tail.contains(&lines), "{tail}");
        assert!(tail.ends_with("\tStatus: error\tError Type: Runtime.ExitError\n"), "{tail}");
    })
    .await;
    on_each(code, "app.handler", "0", |_, answer| {
        answer.fails(
            "Runtime.ExitError",
            "RequestId: REQUEST Error: Runtime exited without providing a reason",
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_exit_and_quit() {
    let code = "def handler(event, context):\n    (exit if event else quit)(4)\n";
    on_each(code, "app.handler", "true", |_, answer| {
        answer.fails(
            "Runtime.ExitError",
            "RequestId: REQUEST Error: Runtime exited with error: exit status 4",
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cannot_be_imported() {
    let cases = [
        (
            "nope.handler",
            "",
            "Runtime.ImportModuleError",
            "Unable to import module 'nope': No module named",
        ),
        (
            "app.nope",
            "x = 1\n",
            "Runtime.HandlerNotFound",
            "Handler 'nope' missing on module 'app'",
        ),
        (
            "app.handler",
            "import nonesuch\n",
            "Runtime.ImportModuleError",
            "Unable to import module 'app': No module named",
        ),
        (
            "app.handler",
            "def handler(:\n",
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module 'app': invalid syntax (app.py, line 1)",
        ),
        (
            "app",
            "x = 1\n",
            "Runtime.MalformedHandlerName",
            "Bad handler 'app': ",
        ),
        (
            "sys.exit",
            "x = 1\n",
            "Runtime.BuiltInModuleConflict",
            "Cannot use built-in module sys as a handler module",
        ),
        ("app.handler", "1 / 0\n", "ZeroDivisionError", ""),
    ];
    for (handler, code, kind, message) in cases {
        on_each(code, handler, "{}", |version, answer| {
            assert!(answer.failed(), "{}", answer.text());
            let json = answer.json();
            assert_eq!(json["errorType"], kind, "{json}");
            assert!(
                json["errorMessage"].as_str().unwrap().starts_with(message),
                "{json}"
            );
            if version >= (3, 9) {
                assert_eq!(json["requestId"], "");
            }
            let tail = answer.tail();
            let report = format!("\tPhase: invoke\tStatus: error\tError Type: {kind}\n");
            assert!(
                tail.contains(&report) && tail.contains(&format!("[ERROR] {kind}: ")),
                "{tail}"
            );
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn returns_six_megabytes_and_more() {
    let code = "def handler(event, context):\n    return 'x' * event\n";
    let bed = Bed::new();
    for runtime in bed.pythons() {
        let spec = Arc::new(bed.function_on(runtime.clone(), "app.handler", &[("app.py", code)]));
        // The quotes belong to the payload.
        let largest = engine::RESPONSE_BYTES_MAX - 2;
        for size in [6 << 20, largest] {
            let answer = bed.invoke(&spec, &size.to_string()).await;
            assert_eq!(answer.0.payload.len(), size + 2);
            assert!(!answer.failed());
        }
        for size in [largest + 1, 20 << 20] {
            let text =
                "Response payload size exceeded maximum allowed payload size (6291556 bytes).";
            bed.invoke(&spec, &size.to_string())
                .await
                .fails("Function.ResponseSizeTooLarge", text);
        }
        bed.invoke(&spec, "1").await.gives("\"x\"");
    }
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn takes_six_megabytes() {
    let event = format!("\"{}\"", "y".repeat(6 * 1024 * 1024 - 2));
    on_each(
        "def handler(event, context):\n    return len(event)\n",
        "app.handler",
        &event,
        |_, answer| {
            answer.gives("6291454");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_every_attribute_of_the_context() {
    let code = "
def handler(event, context):
    c = context
    left = c.get_remaining_time_in_millis()
    c.log('from context.log\\n')
    return [c.function_name, c.function_version, c.invoked_function_arn, c.memory_limit_in_mb, c.aws_request_id,
            c.log_group_name, c.log_stream_name, c.identity.cognito_identity_id, c.identity.cognito_identity_pool_id,
            c.client_context.client.app_title, c.client_context.custom, c.client_context.env, c.tenant_id,
            0 < left <= 20000, repr(c).startswith('LambdaContext([aws_request_id=')]
";
    let bed = Bed::new();
    for runtime in bed.pythons() {
        let spec = Arc::new(bed.function_on(runtime.clone(), "app.handler", &[("app.py", code)]));
        let mut invocation = crate::bed::invocation("{}");
        invocation.client_context = Some(
            r#"{"client": {"app_title": "t"}, "custom": {"a": 1}, "env": {"b": "ü"}}"#.to_owned(),
        );
        invocation.cognito_identity =
            Some(r#"{"cognitoIdentityId": "me", "cognitoIdentityPoolId": "pool"}"#.to_owned());
        let id = invocation.request_id.clone();
        let answer = Answer(bed.engine.invoke(spec.clone(), invocation).await.unwrap());
        let json = answer.json();
        let stream = json[6]
            .as_str()
            .unwrap_or_else(|| panic!("{json}"))
            .to_owned();
        assert!(
            stream.contains("/[$LATEST]") && stream.len() == "2026/11/23/[$LATEST]".len() + 32,
            "{stream}"
        );
        let expected = serde_json::json!([
            spec.name, "$LATEST", "arn:aws:lambda:eu-west-1:111122223333:function:fn", "256", id,
            spec.log.group, stream, "me", "pool", "t", {"a": 1}, {"b": "ü"}, null, true, true
        ]);
        assert_eq!(json, expected, "{}", runtime.id);
        assert!(answer.tail().contains("from context.log\n"));
    }
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn speaks_json_like_aws() {
    let bed = Bed::new();
    let code = "
import decimal
def handler(event, context):
    return {'none': None, 'bytes': b'raw', 'object': object(), 'decimal': {'d': decimal.Decimal('1.10'), 'n': 1.5},
            'umlaut': u'\\xfc', 'empty': [], 'set': set([1])}[event]
";
    for runtime in bed.pythons() {
        let version = version(&runtime);
        let spec = Arc::new(bed.function_on(runtime.clone(), "app.handler", &[("app.py", code)]));
        bed.invoke(&spec, "\"none\"").await.gives("null");
        bed.invoke(&spec, "\"empty\"").await.gives("[]");
        bed.invoke(&spec, "\"bytes\"")
            .await
            .gives(if version < (3, 0) { "\"raw\"" } else { "raw" });
        let decimal = bed.invoke(&spec, "\"decimal\"").await;
        assert!(decimal.text().contains("\"d\": 1.10"), "{}", decimal.text());
        bed.invoke(&spec, "\"umlaut\"")
            .await
            .gives(if version < (3, 12) {
                "\"\\u00fc\""
            } else {
                "\"ü\""
            });
        let object = bed.invoke(&spec, "\"object\"").await;
        let json = object.json();
        assert!(object.failed());
        assert_eq!(json["errorType"], "Runtime.MarshalError");
        assert!(
            json["errorMessage"]
                .as_str()
                .unwrap()
                .starts_with("Unable to marshal response: "),
            "{json}"
        );
        assert_eq!(json["stackTrace"], serde_json::json!([]));
        let bad = bed.invoke(&spec, "{not json").await;
        assert!(bad.failed());
        assert_eq!(bad.json()["errorType"], "Runtime.UnmarshalError");
        assert!(
            bad.json()["errorMessage"]
                .as_str()
                .unwrap()
                .starts_with("Unable to unmarshal input: ")
        );
    }
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_through_the_logging_module() {
    let code = "
import logging
logger = logging.getLogger()
logger.setLevel(logging.INFO)
def handler(event, context):
    logger.info('two\\nlines')
    logger.debug('hidden')
    try:
        1 / 0
    except Exception:
        logger.exception('it failed')
    return len(logger.handlers)
";
    on_each(code, "app.handler", "{}", |_, answer| {
        answer.gives("1");
        let tail = answer.tail();
        let id = &answer.0.report.request_id;
        let line = tail
            .lines()
            .find(|line| line.starts_with("[INFO]\t"))
            .unwrap_or_else(|| panic!("{tail}"));
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!((fields[2], fields[3]), (id.as_str(), "two"), "{tail}");
        assert!(
            fields[1].ends_with('Z') && fields[1].len() == "2026-11-23T08:56:44.137Z".len(),
            "{tail}"
        );
        assert!(
            tail.contains("\nlines\n")
                && tail.contains("[ERROR]\t")
                && tail.contains("ZeroDivisionError"),
            "{tail}"
        );
        assert!(!tail.contains("hidden"), "{tail}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sees_only_its_own_modules() {
    let code = "
import sys
def handler(event, context):
    for part in sys.path:
        if 'site-packages' in part and not part.startswith('/opt/python'):
            return 'host modules: ' + part
    return [sys.path[0], sys.path[1].startswith('/opt/python/lib/python'), sys.path[2], '/var/runtime' in sys.path]
";
    on_each(code, "app.handler", "{}", |_, answer| {
        assert_eq!(
            answer.json(),
            serde_json::json!(["/var/task", true, "/opt/python", true])
        );
    })
    .await;
}
