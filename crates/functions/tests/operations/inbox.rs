use std::collections::BTreeMap;

use delivery::{Delivery, RetryPolicy, Sender};
use serde_json::json;
use wire::{AccountId, Arn, Region, Scope};

use crate::bed::{ACCOUNT, Bed, FUNCTION, NOW_MS, REGION, until};

fn delivery(id: &str, to: &str, payload: &str) -> Delivery {
    let scope = Scope {
        account: AccountId::new(ACCOUNT).unwrap(),
        region: Region::new(REGION).unwrap(),
    };
    Delivery {
        id: id.to_owned(),
        to: Arn::parse(to).unwrap(),
        from: Sender {
            service: "events.amazonaws.com".to_owned(),
            arn: Arn::regional("events", &scope, "rule/r"),
            role: None,
        },
        scope,
        payload: payload.to_owned().into(),
        parameters: BTreeMap::new(),
        retry: RetryPolicy::DEFAULT,
        dead_letter: None,
        trace_id: None,
        attempt_mark: None,
        accepted_ms: NOW_MS,
    }
}

#[tokio::test]
async fn a_delivery_runs_once_however_often_it_comes() {
    let bed = Bed::new().await;
    bed.hello().await;
    let inbox = bed.functions.recipient();
    for _ in 0..3 {
        inbox
            .receive(&delivery("tick", FUNCTION, r#"{"a":1}"#))
            .await
            .unwrap();
    }
    let queue = "lambda/events/123456789012/eu-west-1/hello";
    until(async || bed.store.queues.depth(queue).await.unwrap().live() == 0).await;
    inbox
        .receive(&delivery("tick", FUNCTION, r#"{"a":1}"#))
        .await
        .unwrap();
    inbox
        .receive(&delivery("tock", FUNCTION, r#"{"a":2}"#))
        .await
        .unwrap();
    until(async || bed.store.queues.depth(queue).await.unwrap().live() == 0).await;
    let ran = bed.recorder.ran.lock().unwrap();
    let payloads: Vec<&[u8]> = ran.iter().map(|ran| &*ran.payload).collect();
    assert_eq!(payloads, [br#"{"a":1}"#, br#"{"a":2}"#]);
    assert_ne!(ran[0].request_id, ran[1].request_id);
    assert_eq!(ran[0].arn, FUNCTION);
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_with_its_code() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.create_with(json!({ "FunctionName": "hidden" }))
        .await
        .ok();
    let inbox = bed.functions.recipient();
    let check = async |to: &str, payload: &str, code: &str| {
        let refusal = inbox
            .receive(&delivery("x", to, payload))
            .await
            .unwrap_err();
        assert_eq!(
            (refusal.code, refusal.transient),
            (code, false),
            "{refusal}"
        );
    };
    let other = FUNCTION.replace("hello", "other");
    check(&other, "{}", "NO_RESOURCE").await;
    check(&format!("{FUNCTION}:no-alias"), "{}", "NO_RESOURCE").await;
    check(&FUNCTION.replace("hello", "hidden"), "{}", "NO_PERMISSIONS").await;
    check(FUNCTION, "{", "INVALID_JSON").await;
    check(
        FUNCTION,
        &format!("\"{}\"", "x".repeat(1 << 20)),
        "INVALID_PARAMETER",
    )
    .await;
    let mut with_role = delivery("x", FUNCTION, "{}");
    with_role.from.role = Arn::parse("arn:aws:iam::123456789012:role/r");
    let refusal = inbox.receive(&with_role).await.unwrap_err();
    assert_eq!(
        (refusal.code, refusal.transient),
        ("FAILED_TO_ASSUME_ROLE", false)
    );
    assert!(!inbox.takes(&Arn::parse("arn:aws:sqs:eu-west-1:123456789012:q").unwrap()));
    assert!(bed.recorder.ran.lock().unwrap().is_empty());
}
