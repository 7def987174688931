use serde_json::json;

use crate::bed::Bed;

const CONFIG: &str = "/2024-08-31/functions/hello/recursion-config";

#[tokio::test]
async fn a_loop_is_stopped_unless_it_is_allowed() {
    let bed = Bed::new().await;
    bed.hello().await;
    assert_eq!(bed.get(CONFIG).await.ok()["RecursiveLoop"], "Terminate");
    // Each invocation is caused by the one before: what the function sees is what it sends.
    let mut trace =
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0".to_owned();
    let next = async |trace: &str| bed.invoke_traced("hello", &[], trace).await;
    for pass in 1..=16 {
        next(&trace).await.ok();
        let ran = bed.recorder.ran.lock().unwrap();
        trace = ran.last().unwrap().trace_id.clone().unwrap();
        assert!(
            trace.starts_with("Root=1-5759e988-bd862e3fe1be46a994272793;Parent="),
            "{trace}"
        );
        assert!(trace.ends_with(&format!(":{pass}")), "{trace}");
    }
    let sentence = "The function was invoked again and again in a loop, which has been stopped.";
    next(&trace)
        .await
        .fails(400, "RecursiveInvocationException", sentence);
    assert_eq!(bed.recorder.ran.lock().unwrap().len(), 16);
    // Another function in the same chain goes on, and one that began anew as well.
    bed.create_with(json!({ "FunctionName": "other" }))
        .await
        .ok();
    bed.active("other").await;
    bed.invoke_traced("other", &[], &trace).await.ok();
    next("Root=1-5759e988-bd862e3fe1be46a994272794").await.ok();

    let allow = json!({ "RecursiveLoop": "Allow" });
    assert_eq!(bed.put(CONFIG, allow.clone()).await.ok(), allow);
    assert_eq!(bed.get(CONFIG).await.ok(), allow);
    next(&trace).await.ok();
    let wrong = bed.put(CONFIG, json!({ "RecursiveLoop": "Maybe" })).await;
    assert_eq!(wrong.status, 400);
    let version = "/2024-08-31/functions/hello:1/recursion-config";
    assert_eq!(bed.get(version).await.status, 400);
}

#[tokio::test]
async fn an_event_in_a_loop_goes_to_the_dead_letter_queue() {
    let bed = Bed::new().await;
    let dlq = "arn:aws:sqs:eu-west-1:123456789012:dlq";
    bed.create_with(json!({ "DeadLetterConfig": { "TargetArn": dlq } }))
        .await
        .ok();
    bed.active("hello").await;
    let mut trace = "Root=1-5759e988-bd862e3fe1be46a994272793".to_owned();
    for _ in 0..16 {
        bed.invoke_traced("hello", &[], &trace).await.ok();
        let ran = bed.recorder.ran.lock().unwrap();
        trace = ran.last().unwrap().trace_id.clone().unwrap();
    }
    let event = [("x-amz-invocation-type", "Event")];
    bed.invoke_traced("hello", &event, &trace).await.ok();
    let got = bed.mail.arrived(1).await;
    assert_eq!(got[0].to.as_str(), dlq);
    assert_eq!(got[0].parameters["ErrorCode"], "400");
    assert_eq!(bed.recorder.ran.lock().unwrap().len(), 16);
}
