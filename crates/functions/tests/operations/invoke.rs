use serde_json::json;

use crate::bed::{Bed, FUNCTION, Script, base64, until};

const TYPE: &str = "x-amz-invocation-type";

#[tokio::test]
async fn request_response() {
    let bed = Bed::new().await;
    bed.hello().await;
    let reply = bed.invoke("hello", &[], r#"{"key1": "value1"}"#).await;
    assert_eq!(
        (reply.status, &*reply.body),
        (200, br#"{"key1": "value1"}"#.as_slice())
    );
    assert_eq!(reply.header("x-amz-executed-version"), Some("$LATEST"));
    assert_eq!(reply.header("x-amz-function-error"), None);
    assert_eq!(reply.header("x-amz-log-result"), None);
    let ran = bed.recorder.ran.lock().unwrap()[0].clone();
    assert_eq!(
        Some(ran.request_id.as_str()),
        reply.header("x-amzn-requestid")
    );
    assert_eq!(ran.arn, FUNCTION);
    // Nothing at all stands for an empty object.
    assert_eq!(&*bed.invoke("hello", &[], "").await.body, b"{}");

    let tail = bed
        .invoke("hello", &[("x-amz-log-type", "Tail")], "{}")
        .await;
    assert_eq!(tail.header("x-amz-log-result"), Some(&*base64(b"the log")));
    let context = base64(br#"{"custom":{"a":"b"}}"#);
    bed.invoke("hello", &[("x-amz-client-context", &context)], "{}")
        .await
        .ok();
    let ran = bed.recorder.ran.lock().unwrap().last().unwrap().clone();
    assert_eq!(
        ran.client_context.as_deref(),
        Some(r#"{"custom":{"a":"b"}}"#)
    );
}

#[tokio::test]
async fn a_function_error_is_a_200_with_a_header() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.recorder.script.lock().unwrap().push(Script::Error);
    let reply = bed.invoke("hello", &[], "{}").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-amz-function-error"), Some("Unhandled"));
    // A success may look like an error and is none.
    let reply = bed.invoke("hello", &[], r#"{"errorMessage":"x"}"#).await;
    assert_eq!(reply.header("x-amz-function-error"), None);
}

#[tokio::test]
async fn versions_and_aliases_run_as_such() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.publish().await;
    let alias = json!({ "Name": "prod", "FunctionVersion": "1" });
    bed.post("/2015-03-31/functions/hello/aliases", alias)
        .await
        .ok();
    for (name, arn, version) in [
        ("hello:1", format!("{FUNCTION}:1"), "1"),
        ("hello:prod", format!("{FUNCTION}:prod"), "1"),
        ("hello:$LATEST", format!("{FUNCTION}:$LATEST"), "$LATEST"),
    ] {
        let reply = bed.invoke(name, &[], "{}").await;
        assert_eq!(reply.header("x-amz-executed-version"), Some(version));
        let ran = bed.recorder.ran.lock().unwrap().last().unwrap().clone();
        assert_eq!((ran.arn, ran.version.as_str()), (arn, version));
    }
}

#[tokio::test]
async fn dry_run() {
    let bed = Bed::new().await;
    bed.hello().await;
    let reply = bed.invoke("hello", &[(TYPE, "DryRun")], "{}").await;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    assert_eq!(reply.header("x-amz-executed-version"), None);
    assert!(bed.recorder.ran.lock().unwrap().is_empty());
    assert_eq!(
        bed.invoke("other", &[(TYPE, "DryRun")], "{}").await.status,
        404
    );
}

#[tokio::test]
async fn what_is_refused() {
    let bed = Bed::new().await;
    bed.hello().await;
    let not_json = bed.invoke("hello", &[], "{").await;
    assert_eq!(
        (not_json.status, not_json.header("x-amzn-errortype")),
        (400, Some("InvalidRequestContentException"))
    );
    let text = not_json.json()["message"].as_str().unwrap().to_owned();
    assert!(
        text.starts_with(
            "Could not parse request body into json: Could not parse payload into json: "
        ),
        "{text}"
    );
    bed.invoke("hello", &[(TYPE, "Later")], "{}").await.fails(
        400,
        "ValidationException",
        "1 validation error detected: Value 'Later' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, RequestResponse, DryRun]",
    );
    let large = format!("\"{}\"", "x".repeat(1_048_576));
    bed.invoke("hello", &[(TYPE, "Event")], &large).await.fails(
        413,
        "RequestTooLargeException",
        "1048578 byte payload is too large for the Event invocation type (limit 1048576 bytes)",
    );
    assert_eq!(bed.invoke("hello", &[], &large).await.status, 200);
    let large = format!("\"{}\"", "x".repeat(6_291_456));
    bed.invoke("hello", &[], &large).await.fails(
        413,
        "RequestTooLargeException",
        "6291458 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)",
    );
    let context = bed
        .invoke("hello", &[("x-amz-client-context", "%")], "{}")
        .await;
    assert_eq!(
        context.header("x-amzn-errortype"),
        Some("InvalidRequestContentException")
    );
    let tenant = bed.invoke("hello", &[("x-amz-tenant-id", "a")], "{}").await;
    assert_eq!(tenant.status, 400);
    bed.invoke("other:prod", &[], "{}").await.fails(
        404,
        "ResourceNotFoundException",
        "Function not found: arn:aws:lambda:eu-west-1:123456789012:function:other:prod",
    );
}

#[tokio::test]
async fn an_invocation_waits_for_a_function_on_its_way() {
    let bed = Bed::new().await;
    bed.create_with(json!({ "Publish": true })).await.ok();
    assert_eq!(bed.invoke("hello", &[], "{}").await.status, 200);
    assert_eq!(bed.invoke("hello:1", &[], "{}").await.status, 200);
}

#[tokio::test]
async fn new_code_is_run_and_old_environments_are_retired() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.invoke("hello", &[], "{}").await.ok();
    bed.new_code("two").await;
    bed.invoke("hello", &[], "{}").await.ok();
    let ran = bed.recorder.ran.lock().unwrap().clone();
    assert_ne!(ran[0].key, ran[1].key);
    until(async || !bed.recorder.retired.lock().unwrap().is_empty()).await;
    assert_eq!(
        *bed.recorder.retired.lock().unwrap(),
        std::slice::from_ref(&ran[0].key)
    );
    let specs = bed.recorder.specs.lock().unwrap().clone();
    let content = std::fs::read_to_string(specs[1].code.join("bootstrap")).unwrap();
    assert_eq!(content, "two");
}

#[tokio::test]
async fn another_accounts_function_by_its_arn() {
    let bed = Bed::new().await;
    bed.hello().await;
    let request = http::Request::builder()
        .method("POST")
        .uri(format!("/2015-03-31/functions/{FUNCTION}/invocations"))
        .body(bytes::Bytes::from_static(b"{}"))
        .unwrap();
    let reply = bed.send_as(request, "210987654321").await;
    assert_eq!(reply.status, 200);
    let asked = bed.guard.asked.lock().unwrap().last().unwrap().clone();
    assert_eq!(asked.resource, FUNCTION);
}
