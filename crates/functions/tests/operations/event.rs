use std::time::Duration;

use engine::ThrottleReason;
use serde_json::json;

use crate::bed::{Bed, FUNCTION, Ran, Script, until};

const EVENT: &[(&str, &str)] = &[("x-amz-invocation-type", "Event")];

/// Waits until this many invocations reached the engine.
async fn ran(bed: &Bed, count: usize) -> Vec<Ran> {
    loop {
        let told = bed.recorder.told.notified();
        let ran = bed.recorder.ran.lock().unwrap().clone();
        if ran.len() >= count {
            return ran;
        }
        told.await;
    }
}

async fn left(bed: &Bed) -> u64 {
    let queue = "lambda/events/123456789012/eu-west-1/hello";
    bed.store.queues.depth(queue).await.unwrap().live()
}

async fn handled(bed: &Bed) {
    until(async || left(bed).await == 0).await;
}

/// Moves the clock when the one event waits for a later time.
async fn wait_and_advance(bed: &Bed, by: Duration) {
    let queue = "lambda/events/123456789012/eu-west-1/hello";
    until(async || {
        let depth = bed.store.queues.depth(queue).await.unwrap();
        (depth.delayed, depth.live()) == (1, 1)
    })
    .await;
    bed.clock.advance(by);
}

#[tokio::test]
async fn accepted_then_run() {
    let bed = Bed::new().await;
    bed.hello().await;
    let reply = bed.invoke("hello", EVENT, r#"{"a":1}"#).await;
    assert_eq!((reply.status, reply.body.len()), (202, 0));
    assert_eq!(reply.header("x-amz-executed-version"), None);
    let ran = ran(&bed, 1).await;
    assert_eq!(
        (&*ran[0].payload, ran[0].arn.as_str()),
        (br#"{"a":1}"#.as_slice(), FUNCTION)
    );
    assert_eq!(
        Some(ran[0].request_id.as_str()),
        reply.header("x-amzn-requestid")
    );
    handled(&bed).await;
    assert_eq!(bed.invoke("other", EVENT, "{}").await.status, 404);

    let old = bed
        .post(
            "/2014-11-13/functions/hello/invoke-async/",
            json!({ "b": 2 }),
        )
        .await;
    assert_eq!(old.status, 202);
    assert_eq!(&*self::ran(&bed, 2).await[1].payload, br#"{"b":2}"#);
}

#[tokio::test]
async fn tried_again_after_one_and_two_minutes_under_the_same_id() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.recorder
        .script
        .lock()
        .unwrap()
        .extend([Script::Error; 5]);
    bed.invoke("hello", EVENT, "{}").await.ok();
    ran(&bed, 1).await;
    wait_and_advance(&bed, Duration::from_secs(59)).await;
    assert_eq!(left(&bed).await, 1);
    assert_eq!(ran(&bed, 1).await.len(), 1);
    bed.clock.advance(Duration::from_secs(1));
    ran(&bed, 2).await;
    wait_and_advance(&bed, Duration::from_secs(120)).await;
    let ran = ran(&bed, 3).await;
    handled(&bed).await;
    assert!(ran.iter().all(|one| one.request_id == ran[0].request_id));
    assert_eq!(bed.recorder.script.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn throttled_events_go_back_to_the_queue_and_use_no_attempts_up() {
    let bed = Bed::new().await;
    bed.hello().await;
    let reason = ThrottleReason::ConcurrentInvocationLimitExceeded;
    bed.recorder
        .script
        .lock()
        .unwrap()
        .extend([Script::Throttle(reason); 4]);
    bed.invoke("hello", EVENT, "{}").await.ok();
    for (count, seconds) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        ran(&bed, count).await;
        wait_and_advance(&bed, Duration::from_secs(seconds)).await;
    }
    ran(&bed, 5).await;
    handled(&bed).await;
}

#[tokio::test]
async fn a_long_queue_is_worked_off_though_it_is_throttled() {
    let bed = Bed::new().await;
    bed.hello().await;
    let reason = ThrottleReason::ConcurrentInvocationLimitExceeded;
    let turned_away = [Script::Throttle(reason); 8];
    bed.recorder.script.lock().unwrap().extend(turned_away);
    for _ in 0..30 {
        bed.invoke("hello", EVENT, "{}").await.ok();
    }
    let queue = "lambda/events/123456789012/eu-west-1/hello";
    until(async || {
        // Not while one runs: its lease would end by this clock.
        let depth = bed.store.queues.depth(queue).await.unwrap();
        if depth.due + depth.leased == 0 {
            bed.clock.advance(Duration::from_secs(1));
        }
        depth.live() == 0
    })
    .await;
    assert_eq!(ran(&bed, 38).await.len(), 38);
}

#[tokio::test]
async fn dropped_after_six_hours_or_with_no_concurrency_at_all() {
    let bed = Bed::new().await;
    bed.hello().await;
    let reason = ThrottleReason::ConcurrentInvocationLimitExceeded;
    bed.recorder
        .script
        .lock()
        .unwrap()
        .push(Script::Throttle(reason));
    bed.invoke("hello", EVENT, "{}").await.ok();
    ran(&bed, 1).await;
    wait_and_advance(&bed, Duration::from_secs(6 * 3600 + 1)).await;
    handled(&bed).await;
    assert_eq!(ran(&bed, 1).await.len(), 1);

    let body = json!({ "ReservedConcurrentExecutions": 0 });
    bed.put("/2017-10-31/functions/hello/concurrency", body)
        .await
        .ok();
    bed.invoke("hello", EVENT, "{}").await.ok();
    handled(&bed).await;
    assert_eq!(ran(&bed, 1).await.len(), 1);
}

#[tokio::test]
async fn an_accepted_event_survives_the_end_of_the_process() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.recorder.script.lock().unwrap().push(Script::Error);
    let reply = bed.invoke("hello", EVENT, r#"{"kept":true}"#).await;
    let id = reply.header("x-amzn-requestid").unwrap().to_owned();
    ran(&bed, 1).await;
    wait_and_advance(&bed, Duration::ZERO).await;
    let bed = bed.restart().await;
    bed.clock.advance(Duration::from_secs(60));
    let ran = ran(&bed, 1).await;
    assert_eq!(
        (&*ran[0].payload, &ran[0].request_id),
        (br#"{"kept":true}"#.as_slice(), &id)
    );
    handled(&bed).await;
}

#[tokio::test]
async fn events_of_a_deleted_function_go_with_it() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.recorder.script.lock().unwrap().push(Script::Error);
    bed.invoke("hello", EVENT, "{}").await.ok();
    ran(&bed, 1).await;
    wait_and_advance(&bed, Duration::ZERO).await;
    bed.delete("/2015-03-31/functions/hello").await.ok();
    assert_eq!(left(&bed).await, 0);
}
