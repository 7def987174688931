//! Old values are thinned out, and gone in the end.

use super::*;

async fn sums(server: &Server, period: i64) -> Vec<f64> {
    let now_s = store::Clock::now_ms(&*server.clock) / 1000;
    let request = json!({
        "StartTime": NOW_S - 3600, "EndTime": (NOW_S + 3600).min(now_s), "ScanBy": "TimestampAscending",
        "MetricDataQueries": [query("m", "m", period, "Sum")],
    });
    let reply = server.metrics("GetMetricData", &request).await;
    results(&reply).remove(0).2
}

async fn records(server: &Server, tier: &str) -> usize {
    let prefix = format!("metrics/{tier}:");
    server
        .store
        .kv
        .scan(&prefix, None, 1000)
        .await
        .unwrap()
        .len()
}

#[tokio::test]
async fn values_are_folded_step_by_step() {
    let server = Server::start().await;
    let recorder = server.telemetry.cloudwatch().recorder.clone();
    let values = [(-3000, 1.0), (-2940, 2.0), (-2640, 4.0), (-60, 8.0)];
    let data: Vec<Value> = values
        .iter()
        .map(|(s, v)| json!({"MetricName": "m", "Timestamp": NOW_S + s, "Value": v, "StorageResolution": 1}))
        .collect();
    put(&server, json!(data)).await;
    recorder.thin_out(&*server.clock).await.unwrap();
    assert_eq!(
        (
            records(&server, "second").await,
            records(&server, "minute").await
        ),
        (4, 4)
    );
    assert_eq!(sums(&server, 60).await, [1.0, 2.0, 4.0, 8.0]);

    server.advance(Duration::from_secs(4 * 3600));
    recorder.thin_out(&*server.clock).await.unwrap();
    assert_eq!(
        (
            records(&server, "second").await,
            records(&server, "minute").await
        ),
        (0, 4)
    );

    server.advance(Duration::from_secs(16 * 86_400));
    assert_eq!(
        sums(&server, 300).await,
        [3.0, 4.0, 8.0],
        "before the round"
    );
    recorder.thin_out(&*server.clock).await.unwrap();
    assert_eq!(
        (
            records(&server, "minute").await,
            records(&server, "five").await
        ),
        (0, 3)
    );
    assert_eq!(sums(&server, 300).await, [3.0, 4.0, 8.0], "after the round");
    assert_eq!(
        sums(&server, 60).await,
        [0.0; 0],
        "AWS has no minutes of that age"
    );

    server.advance(Duration::from_secs(60 * 86_400));
    recorder.thin_out(&*server.clock).await.unwrap();
    assert_eq!(
        (
            records(&server, "five").await,
            records(&server, "hour").await
        ),
        (0, 1)
    );
    assert_eq!(sums(&server, 3600).await, [15.0]);
    let server = server.restart().await;
    assert_eq!(sums(&server, 3600).await, [15.0]);

    server.advance(Duration::from_secs(400 * 86_400));
    let recorder = server.telemetry.cloudwatch().recorder.clone();
    recorder.thin_out(&*server.clock).await.unwrap();
    assert_eq!(
        server.store.kv.scan("metrics/", None, 10).await.unwrap(),
        []
    );
}

/// Dies after the coarse record is written and before the fine ones are removed.
#[tokio::test]
async fn a_metric_that_its_caller_keeps_is_found_again_after_a_silence() {
    let server = Server::start().await;
    let recorder = server.telemetry.cloudwatch().recorder.clone();
    let kept = Measured::new(
        &scope(),
        Metric::new(NAMESPACE, "m", Vec::new()),
        Unit::None,
    );
    let now_ms = || store::Clock::now_ms(&*server.clock);
    let sum = async || {
        let now_s = now_ms() / 1000;
        let request = json!({
            "StartTime": now_s - 60, "EndTime": now_s + 60, "ScanBy": "TimestampAscending",
            "MetricDataQueries": [query("m", "m", 60, "Sum")],
        });
        let reply = server.metrics("GetMetricData", &request).await;
        results(&reply).remove(0).2
    };
    for value in [1.0, 2.0, 2.0] {
        server.telemetry.measure(&kept, value, now_ms());
    }
    server.telemetry.flush().await;
    assert_eq!(sum().await, [5.0]);

    server.advance(Duration::from_secs(500 * 86_400));
    recorder.thin_out(&*server.clock).await.unwrap();
    server.telemetry.measure(&kept, 4.0, now_ms());
    server.telemetry.flush().await;
    assert_eq!(sum().await, [4.0]);
}

#[tokio::test]
async fn an_interrupted_round_doubles_nothing() {
    let server = Server::start().await;
    let recorder = server.telemetry.cloudwatch().recorder.clone();
    put(
        &server,
        json!([datum("m", -3000, 1.0), datum("m", -2940, 2.0)]),
    )
    .await;
    let minutes = server
        .store
        .kv
        .scan("metrics/minute:", None, 10)
        .await
        .unwrap();
    server.advance(Duration::from_secs(16 * 86_400));
    recorder.thin_out(&*server.clock).await.unwrap();
    for (key, entry) in &minutes[..1] {
        server
            .store
            .kv
            .put(key, entry.value.clone(), store::Expect::Any)
            .await
            .unwrap();
    }
    assert_eq!(sums(&server, 300).await, [3.0]);
    recorder.thin_out(&*server.clock).await.unwrap();
    assert_eq!(sums(&server, 300).await, [3.0]);
    assert_eq!(records(&server, "minute").await, 0);
    assert_eq!(minutes.len(), 2);
}
