use engine::ThrottleReason;
use serde_json::{Value, json};

use crate::bed::{Bed, Script};

const PUT: &str = "/2017-10-31/functions/hello/concurrency";
const GET: &str = "/2019-09-30/functions/hello/concurrency";

#[tokio::test]
async fn reserved_shown_and_given_back() {
    let bed = Bed::new().await;
    bed.hello().await;
    assert_eq!(bed.get(GET).await.ok(), json!({}));
    let body = json!({ "ReservedConcurrentExecutions": 10 });
    assert_eq!(bed.put(PUT, body.clone()).await.ok(), body);
    assert_eq!(bed.get(GET).await.ok(), body);
    assert_eq!(
        bed.get("/2015-03-31/functions/hello").await.ok()["Concurrency"],
        body
    );
    assert_eq!(bed.recorder.reserved.lock().unwrap()["hello"], Some(10));
    let settings = bed.get("/2016-08-19/account-settings").await.ok();
    assert_eq!(
        settings["AccountLimit"]["UnreservedConcurrentExecutions"],
        990
    );
    assert_eq!(bed.delete(PUT).await.status, 204);
    assert_eq!(bed.get(GET).await.ok(), json!({}));
    assert_eq!(bed.recorder.reserved.lock().unwrap()["hello"], None);
}

#[tokio::test]
async fn what_is_refused() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.create_with(json!({ "FunctionName": "two" })).await.ok();
    let invalid = "InvalidParameterValueException";
    let too_much = "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100].";
    let reserve = |count: i64| json!({ "ReservedConcurrentExecutions": count });
    bed.put(PUT, reserve(901))
        .await
        .fails(400, invalid, too_much);
    bed.put(PUT, reserve(900)).await.ok();
    bed.put("/2017-10-31/functions/two/concurrency", reserve(1))
        .await
        .fails(400, invalid, too_much);
    bed.put(PUT, reserve(899)).await.ok();
    bed.put("/2017-10-31/functions/two/concurrency", reserve(1))
        .await
        .ok();
    bed.put("/2017-10-31/functions/hello:1/concurrency", reserve(1)).await.fails(
        400,
        invalid,
        "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.",
    );
    let negative = bed.put(PUT, reserve(-1)).await;
    assert_eq!(
        negative.header("x-amzn-errortype"),
        Some("ValidationException")
    );
    // What a deleted function had reserved is free again.
    bed.delete("/2015-03-31/functions/hello").await.ok();
    bed.put("/2017-10-31/functions/two/concurrency", reserve(900))
        .await
        .ok();
}

#[tokio::test]
async fn throttled_with_awss_reason() {
    let bed = Bed::new().await;
    bed.hello().await;
    let reason = ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
    bed.recorder
        .script
        .lock()
        .unwrap()
        .push(Script::Throttle(reason));
    let reply = bed.invoke("hello", &[], "{}").await;
    assert_eq!(reply.status, 429);
    assert_eq!(
        reply.header("x-amzn-errortype"),
        Some("TooManyRequestsException")
    );
    assert_eq!(
        reply.json(),
        json!({ "Type": "User", "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "message": "Rate Exceeded." })
    );
    assert_eq!(
        bed.invoke("hello", &[], "").await.json(),
        Value::Object(serde_json::Map::new())
    );
}
