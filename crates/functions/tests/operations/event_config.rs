use std::time::Duration;

use delivery::Delivery;
use engine::ThrottleReason;
use serde_json::{Value, json};

use crate::bed::{Bed, FUNCTION, ROLE, Script, until};

const EVENT: &[(&str, &str)] = &[("x-amz-invocation-type", "Event")];
const CONFIG: &str = "/2019-09-25/functions/hello/event-invoke-config";
const QUEUE: &str = "arn:aws:sqs:eu-west-1:123456789012:results";
const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:failures";
const BUS: &str = "arn:aws:events:eu-west-1:123456789012:event-bus/default";
const DLQ: &str = "arn:aws:sqs:eu-west-1:123456789012:dlq";
const INVALID: &str = "InvalidParameterValueException";

fn destinations(success: &str, failure: &str) -> Value {
    json!({ "OnSuccess": { "Destination": success }, "OnFailure": { "Destination": failure } })
}

#[tokio::test]
async fn put_replaces_and_update_keeps() {
    let bed = Bed::new().await;
    bed.hello().await;
    let missing = format!("The function {FUNCTION}:$LATEST doesn't have an EventInvokeConfig");
    let missing = missing.as_str();
    bed.get(CONFIG)
        .await
        .fails(404, "ResourceNotFoundException", missing);
    bed.delete(CONFIG)
        .await
        .fails(404, "ResourceNotFoundException", missing);
    let update = bed.post(CONFIG, json!({ "MaximumRetryAttempts": 1 })).await;
    update.fails(404, "ResourceNotFoundException", missing);

    let body =
        json!({ "MaximumRetryAttempts": 0, "DestinationConfig": destinations(QUEUE, TOPIC) });
    let put = bed.put(CONFIG, body).await.ok();
    assert_eq!(put["FunctionArn"], format!("{FUNCTION}:$LATEST"));
    assert_eq!(put["MaximumRetryAttempts"], 0);
    assert!(put["MaximumEventAgeInSeconds"].is_null());
    assert!(put["LastModified"].as_f64().unwrap() > 1.7e9);
    assert_eq!(put["DestinationConfig"], destinations(QUEUE, TOPIC));
    assert_eq!(bed.get(CONFIG).await.ok(), put);

    let body = json!({ "MaximumEventAgeInSeconds": 60, "DestinationConfig": { "OnSuccess": { "Destination": "" } } });
    let updated = bed.post(CONFIG, body).await.ok();
    assert_eq!(updated["MaximumRetryAttempts"], 0);
    assert_eq!(updated["MaximumEventAgeInSeconds"], 60);
    let only_failure = json!({ "OnSuccess": {}, "OnFailure": { "Destination": TOPIC } });
    assert_eq!(updated["DestinationConfig"], only_failure);

    let replaced = bed
        .put(CONFIG, json!({ "MaximumRetryAttempts": 2 }))
        .await
        .ok();
    assert!(replaced["MaximumEventAgeInSeconds"].is_null());
    let none = json!({ "OnSuccess": {}, "OnFailure": {} });
    assert_eq!(replaced["DestinationConfig"], none);

    // It outlives the process, and goes with an alias.
    let bed = bed.restart().await;
    assert_eq!(bed.get(CONFIG).await.ok(), replaced);
    bed.publish().await;
    let alias = json!({ "Name": "live", "FunctionVersion": "1" });
    bed.post("/2015-03-31/functions/hello/aliases", alias.clone())
        .await
        .ok();
    let of_alias = format!("{CONFIG}?Qualifier=live");
    bed.put(&of_alias, json!({ "MaximumRetryAttempts": 1 }))
        .await
        .ok();
    let list = format!("{CONFIG}/list");
    let listed = bed.get(&list).await.ok();
    let arns: Vec<&Value> = listed["FunctionEventInvokeConfigs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|config| &config["FunctionArn"])
        .collect();
    assert_eq!(
        arns,
        [
            &json!(format!("{FUNCTION}:$LATEST")),
            &json!(format!("{FUNCTION}:live"))
        ]
    );
    let first = bed.get(&format!("{list}?MaxItems=1")).await.ok();
    assert_eq!(
        first["FunctionEventInvokeConfigs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let marker = first["NextMarker"].as_str().unwrap();
    let second = bed.get(&format!("{list}?Marker={marker}")).await.ok();
    assert_eq!(
        second["FunctionEventInvokeConfigs"][0]["FunctionArn"],
        *arns[1]
    );
    bed.delete("/2015-03-31/functions/hello/aliases/live")
        .await
        .ok();
    bed.post("/2015-03-31/functions/hello/aliases", alias)
        .await
        .ok();
    assert_eq!(bed.get(&of_alias).await.status, 404);
    bed.delete(CONFIG).await.ok();
    assert_eq!(bed.get(CONFIG).await.status, 404);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let bed = Bed::new().await;
    bed.hello().await;
    let nothing = "You must specify at least one of error handling or destination setting.";
    bed.put(CONFIG, json!({}))
        .await
        .fails(400, INVALID, nothing);
    let own = json!({ "DestinationConfig": destinations(FUNCTION, "") });
    let itself = "You can't specify the function as a destination for itself.";
    bed.put(CONFIG, own).await.fails(400, INVALID, itself);
    for (success, failure, wrong) in [
        ("arn:aws:s3:::bucket", "", "arn:aws:s3:::bucket"),
        (
            "arn:aws:sqs:eu-west-1:123456789012:a.fifo",
            "",
            "arn:aws:sqs:eu-west-1:123456789012:a.fifo",
        ),
        ("", "kafka://topic", "kafka://topic"),
        (
            "",
            "arn:aws:iam::123456789012:role/x",
            "arn:aws:iam::123456789012:role/x",
        ),
    ] {
        let body = json!({ "DestinationConfig": destinations(success, failure) });
        let invalid = format!("The destination ARN {wrong} is invalid.");
        bed.put(CONFIG, body).await.fails(400, INVALID, &invalid);
    }
    let hidden = "arn:aws:sqs:eu-west-1:123456789012:x:hidden";
    let body = json!({ "DestinationConfig": destinations("", hidden) });
    let denied = format!(
        "The function's execution role does not have permissions to call SendMessage on {hidden}"
    );
    bed.put(CONFIG, body).await.fails(400, INVALID, &denied);
    let bucket = json!({ "DestinationConfig": destinations("", "arn:aws:s3:::bucket") });
    bed.put(CONFIG, bucket).await.ok();
    for (body, sentence) in [
        (
            json!({ "MaximumRetryAttempts": 3 }),
            "1 validation error detected: Value '3' at 'maximumRetryAttempts' failed to satisfy constraint: Member must have value less than or equal to 2",
        ),
        (
            json!({ "MaximumEventAgeInSeconds": 59 }),
            "1 validation error detected: Value '59' at 'maximumEventAgeInSeconds' failed to satisfy constraint: Member must have value greater than or equal to 60",
        ),
    ] {
        bed.put(CONFIG, body)
            .await
            .fails(400, "ValidationException", sentence);
    }
    let other = "/2019-09-25/functions/other/event-invoke-config";
    let body = json!({ "MaximumRetryAttempts": 1 });
    let gone = "The function doesn't exist.";
    bed.put(other, body.clone())
        .await
        .fails(404, "ResourceNotFoundException", gone);
    let version = format!("{CONFIG}?Qualifier=7");
    bed.put(&version, body)
        .await
        .fails(404, "ResourceNotFoundException", gone);
    bed.get(&format!("{other}/list"))
        .await
        .fails(404, "ResourceNotFoundException", gone);
}

#[tokio::test]
async fn dead_letter_queues_are_part_of_a_version() {
    let bed = Bed::new().await;
    let weak = "arn:aws:iam::123456789012:role/weak";
    let body = json!({ "Role": weak, "DeadLetterConfig": { "TargetArn": DLQ } });
    let denied = "The provided execution role does not have permissions to call SendMessage on SQS";
    bed.create_with(body).await.fails(400, INVALID, denied);
    let wrong = json!({ "DeadLetterConfig": { "TargetArn": BUS } });
    assert_eq!(bed.create_with(wrong).await.status, 400);
    let config = json!({ "TargetArn": DLQ });
    bed.create_with(json!({ "DeadLetterConfig": config }))
        .await
        .ok();
    assert_eq!(bed.active("hello").await["DeadLetterConfig"], config);
    assert_eq!(bed.publish().await["DeadLetterConfig"], config);
    let path = "/2015-03-31/functions/hello/configuration";
    let denied = "The provided execution role does not have permissions to call SendMessage on SQS";
    bed.put(path, json!({ "Role": weak }))
        .await
        .fails(400, INVALID, denied);
    bed.put(path, json!({ "DeadLetterConfig": { "TargetArn": "" } }))
        .await
        .ok();
    assert!(bed.active("hello").await["DeadLetterConfig"].is_null());
    let first = bed.get(&format!("{path}?Qualifier=1")).await.ok();
    assert_eq!(first["DeadLetterConfig"], config);
    bed.new_code("another").await;
    assert_eq!(bed.publish().await["Version"], "2");
    let alias = json!({ "Name": "split", "FunctionVersion": "1", "RoutingConfig": { "AdditionalVersionWeights": { "2": 0.5 } } });
    let apart = "The dead-letter configurations of the two versions of an alias must be the same.";
    bed.post("/2015-03-31/functions/hello/aliases", alias)
        .await
        .fails(400, INVALID, apart);
    assert!(ROLE.ends_with("role/lambda"));
}

fn record(delivery: &Delivery) -> Value {
    serde_json::from_slice(&delivery.payload).unwrap()
}

#[tokio::test]
async fn a_record_of_each_end_goes_to_its_destination() {
    let bed = Bed::new().await;
    bed.create_with(json!({ "DeadLetterConfig": { "TargetArn": DLQ } }))
        .await
        .ok();
    bed.active("hello").await;
    let body = json!({ "MaximumRetryAttempts": 0, "DestinationConfig": destinations(BUS, TOPIC) });
    bed.put(CONFIG, body).await.ok();

    let reply = bed.invoke("hello", EVENT, r#"{"n": 1}"#).await;
    let id = reply.header("x-amzn-requestid").unwrap().to_owned();
    let got = bed.mail.arrived(1).await;
    assert_eq!(got[0].to.as_str(), BUS);
    let parameter = |name: &str| got[0].parameters[name].as_str();
    assert_eq!(parameter("Source"), "lambda");
    assert_eq!(
        parameter("DetailType"),
        "Lambda Function Invocation Result - Success"
    );
    let resources: Value = serde_json::from_str(parameter("Resources")).unwrap();
    assert_eq!(resources, json!([BUS, format!("{FUNCTION}:$LATEST")]));
    assert_eq!(got[0].from.service, "lambda.amazonaws.com");
    assert_eq!(got[0].from.role.as_ref().unwrap().as_str(), ROLE);
    let expected = json!({
        "version": "1.0",
        "timestamp": "2026-11-23T09:00:00.175Z",
        "requestContext": {
            "requestId": id,
            "functionArn": format!("{FUNCTION}:$LATEST"),
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": { "n": 1 },
        "responseContext": { "statusCode": 200, "executedVersion": "$LATEST" },
        "responsePayload": { "n": 1 },
    });
    let mut found = record(&got[0]);
    // The clock of the bed stands where the test began.
    found["timestamp"] = expected["timestamp"].clone();
    assert_eq!(found.to_string(), expected.to_string());

    bed.recorder.script.lock().unwrap().push(Script::Error);
    let reply = bed.invoke("hello", EVENT, r#"{"n": 2}"#).await;
    let id = reply.header("x-amzn-requestid").unwrap().to_owned();
    let got = bed.mail.arrived(3).await;
    let to = |arn: &str| {
        got.iter()
            .find(|delivery| delivery.to.as_str() == arn)
            .unwrap()
    };
    let failed = record(to(TOPIC));
    assert_eq!(failed["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(failed["responseContext"]["functionError"], "Unhandled");
    assert_eq!(failed["responsePayload"], json!({ "errorMessage": "x" }));
    let letter = to(DLQ);
    assert_eq!(&*letter.payload, br#"{"n": 2}"#);
    let attributes: Vec<(&str, &str)> = letter
        .parameters
        .iter()
        .map(|(k, v)| (&**k, &**v))
        .collect();
    let expected = [
        ("ErrorCode", "200"),
        ("ErrorMessage", "x"),
        ("RequestID", id.as_str()),
    ];
    assert_eq!(attributes, expected);
}

#[tokio::test]
async fn events_without_concurrency_fail_at_once_and_old_ones_when_they_are_old() {
    let bed = Bed::new().await;
    bed.hello().await;
    let body =
        json!({ "MaximumEventAgeInSeconds": 60, "DestinationConfig": destinations("", QUEUE) });
    bed.put(CONFIG, body).await.ok();
    let concurrency = "/2017-10-31/functions/hello/concurrency";
    let zero = json!({ "ReservedConcurrentExecutions": 0 });
    bed.put(concurrency, zero).await.ok();
    bed.invoke("hello", EVENT, "{}").await.ok();
    let got = bed.mail.arrived(1).await;
    let context = record(&got[0])["requestContext"].clone();
    assert_eq!(context["condition"], "ZeroReservedConcurrency");
    assert_eq!(context["approximateInvokeCount"], 0);
    assert!(record(&got[0]).get("responsePayload").is_none());
    bed.delete(concurrency).await.ok();

    // A retry would come after one minute and a bit, when it is too old.
    bed.recorder.script.lock().unwrap().push(Script::Error);
    bed.invoke("hello", EVENT, "{}").await.ok();
    bed.clock.advance(Duration::from_secs(1));
    let got = bed.mail.arrived(2).await;
    let condition = &record(&got[1])["requestContext"]["condition"];
    assert!(
        condition == "EventAgeExceeded" || condition == "RetriesExhausted",
        "{condition}"
    );

    let reason = ThrottleReason::ConcurrentInvocationLimitExceeded;
    bed.recorder
        .script
        .lock()
        .unwrap()
        .push(Script::Throttle(reason));
    bed.invoke("hello", EVENT, "{}").await.ok();
    let queue = "lambda/events/123456789012/eu-west-1/hello";
    until(async || bed.store.queues.depth(queue).await.unwrap().delayed == 1).await;
    bed.clock.advance(Duration::from_secs(61));
    let got = bed.mail.arrived(3).await;
    let record = record(&got[2]);
    assert_eq!(record["requestContext"]["condition"], "EventAgeExceeded");
    assert!(record.get("responseContext").is_none());
}

#[tokio::test]
async fn each_qualifier_has_its_own_and_versions_their_dead_letters() {
    let bed = Bed::new().await;
    bed.create_with(json!({ "DeadLetterConfig": { "TargetArn": DLQ } }))
        .await
        .ok();
    bed.active("hello").await;
    bed.publish().await;
    let path = "/2015-03-31/functions/hello/configuration";
    bed.put(path, json!({ "DeadLetterConfig": { "TargetArn": "" } }))
        .await
        .ok();
    bed.active("hello").await;
    let body = json!({ "MaximumRetryAttempts": 0, "DestinationConfig": destinations("", QUEUE) });
    bed.put(&format!("{CONFIG}?Qualifier=1"), body).await.ok();
    bed.recorder.script.lock().unwrap().push(Script::Error);
    bed.invoke("hello:1", EVENT, "{}").await.ok();
    let got = bed.mail.arrived(2).await;
    let mut to: Vec<&str> = got.iter().map(|delivery| delivery.to.as_str()).collect();
    to.sort_unstable();
    assert_eq!(to, [DLQ, QUEUE]);
    // $LATEST has neither, and tries again after a minute.
    bed.recorder
        .script
        .lock()
        .unwrap()
        .extend([Script::Error; 3]);
    bed.invoke("hello", EVENT, "{}").await.ok();
    let queue = "lambda/events/123456789012/eu-west-1/hello";
    for seconds in [60, 120] {
        until(async || bed.store.queues.depth(queue).await.unwrap().delayed == 1).await;
        bed.clock.advance(Duration::from_secs(seconds));
    }
    until(async || bed.store.queues.depth(queue).await.unwrap().live() == 0).await;
    assert_eq!(bed.mail.arrived(2).await.len(), 2);
}

#[tokio::test]
async fn a_destination_that_is_not_there_keeps_the_record_and_is_counted() {
    let bed = Bed::new().await;
    bed.hello().await;
    let nowhere = "arn:aws:sqs:eu-west-1:123456789012:nowhere";
    let body = json!({ "DestinationConfig": destinations(nowhere, "") });
    bed.put(CONFIG, body).await.ok();
    bed.invoke("hello", EVENT, "{}").await.ok();
    let mut graves = Vec::new();
    until(async || {
        let account = wire::AccountId::new(crate::bed::ACCOUNT).unwrap();
        graves = bed.outbox.graves(&account, None, 10).await.unwrap();
        graves.len() == 1
    })
    .await;
    assert_eq!(graves[0].to.as_str(), nowhere);
    let kept = record(graves[0].delivery.as_ref().unwrap());
    assert_eq!(kept["requestContext"]["condition"], "Success");
}
