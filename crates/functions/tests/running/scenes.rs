use std::pin::Pin;

use serde_json::{Value, json};

use crate::bed::{Bed, MUTE, until, zip};

type Scene = for<'a> fn(&'a Bed) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

macro_rules! scenes {
    ($($name:ident)*) => {
        pub const ALL: &[(&str, Scene)] = &[$((stringify!($name), |bed| Box::pin($name(bed)))),*];
    };
}

scenes! {
    hello_with_its_log_and_metrics
    errors_as_functions_make_them
    new_code_and_configuration_are_what_runs
    versions_aliases_and_weights
    layers_under_opt
    the_environment_of_a_function
    logs_are_kept_only_where_the_role_may_write
    an_event_runs_later
    reserved_concurrency_holds
    a_bootstrap_of_ones_own
    a_role_that_does_not_trust_lambda
}

async fn hello_with_its_log_and_metrics(bed: &Bed) {
    let code = "def handler(event, context):\n    print('value1 =', event['key1'])\n    return event['key1']\n";
    bed.python("hello", code, json!({})).await;
    let reply = bed
        .invoke(
            "hello",
            r#"{"key3":"value3","key2":"value2","key1":"value1"}"#,
        )
        .await;
    assert_eq!(reply.ok(), "value1");
    assert_eq!(reply.header("x-amz-executed-version"), "$LATEST");
    let id = reply.header("x-amzn-requestid").to_owned();
    let log = reply.log();
    for part in [
        format!("START RequestId: {id} Version: $LATEST\n"),
        "value1 = value1\n".to_owned(),
        format!("END RequestId: {id}\n"),
        format!("REPORT RequestId: {id}\tDuration: "),
    ] {
        assert!(log.contains(&part), "{part:?} in {log:?}");
    }
    for _ in 0..4 {
        bed.invoke("hello", r#"{"key1":1}"#).await.ok();
    }
    let stored = bed.logged("hello").await.concat();
    assert!(stored.contains(&log), "{stored}");
    assert_eq!(stored.matches("REPORT RequestId").count(), 5);
    let function = json!([{ "Name": "FunctionName", "Value": "hello" }]);
    assert_eq!(bed.metric(function.clone(), "Invocations").await, 5.0);
    assert_eq!(bed.metric(function, "Errors").await, 0.0);
}

async fn errors_as_functions_make_them(bed: &Bed) {
    let code = "import time, sys\n\ndef handler(event, context):\n    if event == 'sleep': time.sleep(30)\n    if event == 'exit': sys.exit(1)\n    raise ValueError('wrong: ' + event)\n";
    bed.python("fails", code, json!({ "Timeout": 1 })).await;
    let reply = bed.invoke("fails", "\"a\"").await;
    assert_eq!(
        (reply.status, reply.header("x-amz-function-error")),
        (200, "Unhandled")
    );
    let error = reply.ok();
    assert_eq!(
        (&error["errorType"], &error["errorMessage"]),
        (&json!("ValueError"), &json!("wrong: a"))
    );
    assert_eq!(
        error["stackTrace"][0],
        "  File \"/var/task/app.py\", line 6, in handler\n    raise ValueError('wrong: ' + event)\n"
    );
    let slow = bed.invoke("fails", "\"sleep\"").await.ok();
    assert_eq!(slow["errorType"], "Sandbox.Timedout");
    let exit = bed.invoke("fails", "\"exit\"").await.ok();
    assert_eq!(exit["errorType"], "Runtime.ExitError");
    let function = json!([{ "Name": "FunctionName", "Value": "fails" }]);
    assert_eq!(bed.metric(function, "Errors").await, 3.0);

    bed.python("dotless", "", json!({ "Handler": "app" })).await;
    let dotless = bed.invoke("dotless", "{}").await.ok();
    assert_eq!(dotless["errorType"], "Runtime.MalformedHandlerName");
    bed.python("missing", "", json!({ "Handler": "nope.handler" }))
        .await;
    let missing = bed.invoke("missing", "{}").await.ok();
    assert_eq!(
        missing["errorMessage"],
        "Unable to import module 'nope': No module named 'nope'"
    );
}

async fn new_code_and_configuration_are_what_runs(bed: &Bed) {
    let code = |text: &str| {
        format!(
            "import os\n\ndef handler(event, context):\n    return '{text}', os.environ.get('WORD')\n"
        )
    };
    bed.python("changes", &code("one"), json!({})).await;
    assert_eq!(
        bed.invoke("changes", "{}").await.ok(),
        json!(["one", Value::Null])
    );
    let path = "/2015-03-31/functions/changes";
    let body = json!({ "ZipFile": zip(&[("app.py", &code("two"))]) });
    bed.ask("PUT", &format!("{path}/code"), body).await.ok();
    bed.settled("changes").await;
    assert_eq!(
        bed.invoke("changes", "{}").await.ok(),
        json!(["two", Value::Null])
    );
    let body = json!({ "Environment": { "Variables": { "WORD": "now" } } });
    bed.ask("PUT", &format!("{path}/configuration"), body)
        .await
        .ok();
    bed.settled("changes").await;
    assert_eq!(
        bed.invoke("changes", "{}").await.ok(),
        json!(["two", "now"])
    );
    assert_eq!(bed.ask("DELETE", path, Value::Null).await.status, 204);
    assert_eq!(bed.invoke("changes", "{}").await.status, 404);
}

async fn versions_aliases_and_weights(bed: &Bed) {
    let code = |text: &str| {
        format!(
            "import os\n\ndef handler(event, context):\n    return '{text}', context.function_version, os.environ['AWS_LAMBDA_FUNCTION_VERSION'], context.invoked_function_arn\n"
        )
    };
    bed.python("versions", &code("one"), json!({ "Publish": true }))
        .await;
    let path = "/2015-03-31/functions/versions";
    let body = json!({ "ZipFile": zip(&[("app.py", &code("two"))]), "Publish": true });
    bed.ask("PUT", &format!("{path}/code"), body).await.ok();
    bed.settled("versions").await;
    let body = json!({ "Name": "live", "FunctionVersion": "1", "RoutingConfig": { "AdditionalVersionWeights": { "2": 0.5 } } });
    bed.ask("POST", &format!("{path}/aliases"), body).await.ok();
    let arn = "arn:aws:lambda:eu-west-1:123456789012:function:versions";
    assert_eq!(
        bed.invoke("versions:1", "{}").await.ok(),
        json!(["one", "1", "1", format!("{arn}:1")])
    );
    assert_eq!(
        bed.invoke("versions:2", "{}").await.ok(),
        json!(["two", "2", "2", format!("{arn}:2")])
    );
    assert_eq!(
        bed.invoke("versions", "{}").await.ok(),
        json!(["two", "$LATEST", "$LATEST", arn])
    );
    let mut seen = std::collections::BTreeSet::new();
    // Both come with a chance of one half each time.
    until(async || {
        let reply = bed.invoke("versions:live", "{}").await;
        let text = reply.ok();
        assert_eq!(
            reply.header("x-amz-executed-version"),
            text[1].as_str().unwrap()
        );
        assert_eq!(text[3], format!("{arn}:live"));
        seen.insert(text[1].as_str().unwrap().to_owned());
        seen.len() == 2
    })
    .await;
    let executed = json!([
        { "Name": "FunctionName", "Value": "versions" },
        { "Name": "Resource", "Value": "versions:live" },
        { "Name": "ExecutedVersion", "Value": "2" },
    ]);
    assert!(bed.metric(executed, "Invocations").await >= 1.0);
}

async fn layers_under_opt(bed: &Bed) {
    let mut layers = Vec::new();
    for (name, word) in [("first", "one"), ("second", "two")] {
        let module = format!("WORD = '{word}'\n");
        let own = format!("python/own_{name}.py");
        let body = json!({ "Content": { "ZipFile": zip(&[("python/shared.py", &module), (&own, &module)]) } });
        let path = format!("/2018-10-31/layers/{name}/versions");
        layers.push(bed.ask("POST", &path, body).await.ok()["LayerVersionArn"].clone());
    }
    let code = "import shared, own_first, own_second, os\n\ndef handler(event, context):\n    return shared.WORD, own_first.WORD, own_second.WORD, os.listdir('/opt')\n";
    bed.python("layered", code, json!({ "Layers": layers }))
        .await;
    assert_eq!(
        bed.invoke("layered", "{}").await.ok(),
        json!(["two", "one", "two", ["python"]])
    );
}

async fn the_environment_of_a_function(bed: &Bed) {
    let code = "import os\n\ndef handler(event, context):\n    return dict(os.environ), context.memory_limit_in_mb, context.log_group_name\n";
    bed.python(
        "looks",
        code,
        json!({ "MemorySize": 256, "LoggingConfig": { "LogGroup": "/my/group" } }),
    )
    .await;
    let seen = bed.invoke("looks", "{}").await.ok();
    let variables = &seen[0];
    assert!(
        variables["AWS_ACCESS_KEY_ID"]
            .as_str()
            .unwrap()
            .starts_with("ASIA")
    );
    assert!(!variables["AWS_SESSION_TOKEN"].as_str().unwrap().is_empty());
    for (name, value) in [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_LAMBDA_FUNCTION_NAME", "looks"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/my/group"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
        ("_HANDLER", "app.handler"),
    ] {
        assert_eq!(variables[name], value, "{name}");
    }
    assert_eq!((&seen[1], &seen[2]), (&json!("256"), &json!("/my/group")));
}

async fn logs_are_kept_only_where_the_role_may_write(bed: &Bed) {
    let code = "def handler(event, context):\n    print('heard')\n    return 1\n";
    bed.python("mute", code, json!({ "Role": MUTE })).await;
    let reply = bed.invoke("mute", "{}").await;
    assert_eq!(reply.ok(), 1);
    // The caller's own copy of the tail is the caller's.
    assert!(reply.log().contains("heard"));
    assert_eq!(bed.logged("mute").await, Vec::<String>::new());
}

async fn an_event_runs_later(bed: &Bed) {
    let code = "def handler(event, context):\n    print('event', event['number'])\n";
    bed.python("later", code, json!({})).await;
    let reply = bed
        .invoke_with(
            "later",
            &[("x-amz-invocation-type", "Event")],
            r#"{"number":7}"#,
        )
        .await;
    assert_eq!((reply.status, reply.body.len()), (202, 0));
    let id = reply.header("x-amzn-requestid").to_owned();
    let start = format!("START RequestId: {id} ");
    until(async || {
        let lines = bed.logged("later").await;
        lines.iter().any(|line| line.starts_with(&start))
            && lines.iter().any(|line| line == "event 7\n")
    })
    .await;
    let function = json!([{ "Name": "FunctionName", "Value": "later" }]);
    assert_eq!(bed.metric(function, "AsyncEventsReceived").await, 1.0);
}

async fn reserved_concurrency_holds(bed: &Bed) {
    let code = "def handler(event, context):\n    return 1\n";
    bed.python("limited", code, json!({})).await;
    let path = "/2017-10-31/functions/limited/concurrency";
    bed.ask("PUT", path, json!({ "ReservedConcurrentExecutions": 0 }))
        .await
        .ok();
    let reply = bed.invoke("limited", "{}").await;
    assert_eq!(reply.status, 429);
    let error: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(
        error["Reason"],
        "ReservedFunctionConcurrentInvocationLimitExceeded"
    );
    let function = json!([{ "Name": "FunctionName", "Value": "limited" }]);
    assert_eq!(bed.metric(function, "Throttles").await, 1.0);
    assert_eq!(bed.ask("DELETE", path, Value::Null).await.status, 204);
    assert_eq!(bed.invoke("limited", "{}").await.ok(), 1);
}

async fn a_bootstrap_of_ones_own(bed: &Bed) {
    let bootstrap = "#!/bin/sh\nset -eu\nwhile true; do\n  exec 3<>\"/dev/null\"\n  exit 7\ndone\n";
    let body = json!({
        "FunctionName": "own", "Runtime": "provided.al2023", "Role": crate::bed::ROLE, "Handler": "x",
        "Code": { "ZipFile": zip(&[("bootstrap", bootstrap)]) },
    });
    bed.ask("POST", "/2015-03-31/functions", body).await.ok();
    bed.settled("own").await;
    let error = bed.invoke("own", "{}").await.ok();
    assert_eq!(error["errorType"], "Runtime.ExitError");
    let text = error["errorMessage"].as_str().unwrap();
    assert!(
        text.ends_with("Error: Runtime exited with error: exit status 7"),
        "{text}"
    );
}

async fn a_role_that_does_not_trust_lambda(bed: &Bed) {
    let role = crate::bed::ROLE.replace("/runs", "/other");
    for role in [role.as_str(), "arn:aws:iam::123456789012:role/none"] {
        let body = json!({
            "FunctionName": "never", "Runtime": bed.python, "Role": role, "Handler": "app.handler",
            "Code": { "ZipFile": zip(&[("app.py", "")]) },
        });
        let reply = bed.ask("POST", "/2015-03-31/functions", body).await;
        assert_eq!(reply.status, 400);
        let error: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(
            error["message"],
            "The role defined for the function cannot be assumed by Lambda."
        );
    }
}
