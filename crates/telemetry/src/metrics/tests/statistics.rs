//! GetMetricStatistics.

use super::*;

#[tokio::test]
async fn periods_begin_at_the_start_time() {
    let server = Server::start().await;
    // 2 values in the first minute, one in the second, one five minutes later.
    put(
        &server,
        json!([
            datum("m", 0, 1.0),
            datum("m", 59, 2.0),
            datum("m", 60, 4.0),
            datum("m", 300, 8.0)
        ]),
    )
    .await;
    for (from, to, period, sums) in [
        (0, 360, 60, vec![(0, 3.0), (60, 4.0), (300, 8.0)]),
        (0, 360, 300, vec![(0, 7.0), (300, 8.0)]),
        // AWS's own example asks for hours from 23:18 and gets them at 18 minutes past.
        (-60, 360, 120, vec![(-60, 3.0), (60, 4.0), (300, 8.0)]),
        (-30, 360, 120, vec![(-60, 3.0), (60, 4.0), (300, 8.0)]),
        (60, 300, 60, vec![(60, 4.0)]),
        (0, 301, 60, vec![(0, 3.0), (60, 4.0), (300, 8.0)]),
    ] {
        let request = statistics("m", from, to, period, &["Sum"]);
        let reply = server.metrics("GetMetricStatistics", &request).await;
        let found: Vec<(i64, f64)> = reply["Datapoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| {
                (
                    d["Timestamp"].as_i64().unwrap() - NOW_S,
                    d["Sum"].as_f64().unwrap(),
                )
            })
            .collect();
        assert_eq!(found, sums, "{request}");
    }
}

#[tokio::test]
async fn values_counts_and_sets_add_up() {
    let server = Server::start().await;
    put(
        &server,
        json!([
            {"MetricName": "m", "Timestamp": NOW_S, "Values": [10, 20], "Counts": [8, 1], "Unit": "Bytes"},
            {"MetricName": "m", "Timestamp": NOW_S, "Values": [30], "Unit": "Bytes"},
        ]),
    )
    .await;
    let mut request = statistics(
        "m",
        0,
        60,
        60,
        &["SampleCount", "Average", "Sum", "Minimum", "Maximum"],
    );
    let reply = server.metrics("GetMetricStatistics", &request).await;
    assert_eq!(
        reply["Datapoints"],
        json!([{"Timestamp": NOW_S, "SampleCount": 10.0, "Average": 13.0, "Sum": 130.0, "Minimum": 10.0, "Maximum": 30.0, "Unit": "Bytes"}])
    );
    // A set of several values adds to the sums and takes the percentiles away.
    let set = json!({"SampleCount": 2, "Sum": 5, "Minimum": 1, "Maximum": 4});
    put(
        &server,
        json!([{"MetricName": "m", "Timestamp": NOW_S, "StatisticValues": set, "Unit": "Bytes"}]),
    )
    .await;
    request["Statistics"] = json!(["Sum", "Minimum"]);
    let reply = server.metrics("GetMetricStatistics", &request).await;
    assert_eq!(reply["Datapoints"][0]["Sum"], 135.0);
    assert_eq!(reply["Datapoints"][0]["Minimum"], 1.0);
    request.as_object_mut().unwrap().remove("Statistics");
    request["ExtendedStatistics"] = json!(["p50"]);
    let reply = server.metrics("GetMetricStatistics", &request).await;
    assert_eq!(reply["Datapoints"][0]["ExtendedStatistics"], json!({}));
}

#[tokio::test]
async fn units_are_answered_apart() {
    let server = Server::start().await;
    put(
        &server,
        json!([
            {"MetricName": "m", "Timestamp": NOW_S, "Value": 1, "Unit": "Bytes/Second"},
            {"MetricName": "m", "Timestamp": NOW_S, "Value": 2},
        ]),
    )
    .await;
    let mut request = statistics("m", 0, 60, 60, &["Sum"]);
    let reply = server.metrics("GetMetricStatistics", &request).await;
    assert_eq!(reply["Datapoints"].as_array().unwrap().len(), 2);
    request["Unit"] = json!("Bytes/Second");
    let reply = server.metrics("GetMetricStatistics", &request).await;
    assert_eq!(
        reply["Datapoints"],
        json!([{"Timestamp": NOW_S, "Sum": 1.0, "Unit": "Bytes/Second"}])
    );
    request["Unit"] = json!("Percent");
    let reply = server.metrics("GetMetricStatistics", &request).await;
    assert_eq!(reply["Datapoints"], json!([]));
}

#[tokio::test]
async fn bad_questions_are_refused_in_awss_words() {
    let server = Server::start().await;
    let base = || statistics("m", -3600, 0, 60, &["Sum"]);
    let with = |member: &str, value: Value| {
        let mut request = base();
        request[member] = value;
        request
    };
    let without_statistics = {
        let mut request = base();
        request.as_object_mut().unwrap().remove("Statistics");
        request
    };
    let extended = |name: &str| {
        let mut request = without_statistics.clone();
        request["ExtendedStatistics"] = json!([name]);
        request
    };
    for (request, code, text) in [
        (
            without_statistics.clone(),
            "InvalidParameterCombinationException",
            "Must specify either Statistics or ExtendedStatistics",
        ),
        (
            with("ExtendedStatistics", json!(["p50"])),
            "InvalidParameterCombinationException",
            "Must specify either Statistics or ExtendedStatistics",
        ),
        (
            extended("p101"),
            "InvalidParameterValueException",
            "The value p101 for parameter ExtendedStatistics is invalid.",
        ),
        (
            with("Period", json!(90)),
            "InvalidParameterValueException",
            "The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60.",
        ),
        (
            with("EndTime", json!(NOW_S - 3600)),
            "InvalidParameterValueException",
            "The parameter StartTime must be less than the parameter EndTime.",
        ),
        (
            with("StartTime", json!(NOW_S - 18_720 * 60)),
            "InvalidParameterCombinationException",
            "You have requested up to 18720 datapoints, which exceeds the limit of 1440. You may reduce the datapoints requested by increasing Period, or decreasing the time range.",
        ),
        (
            with("Period", json!(0)),
            "ValidationError",
            "1 validation error detected: Value '0' at 'period' failed to satisfy constraint: Member must have value greater than or equal to 1",
        ),
        (
            with("Statistics", json!(["Median"])),
            "ValidationError",
            "1 validation error detected: Value 'Median' at 'statistics.1.member' failed to satisfy constraint: Member must satisfy enum value set: [SampleCount, Average, Sum, Minimum, Maximum]",
        ),
    ] {
        server
            .metrics_refused("GetMetricStatistics", &request, code, text)
            .await;
    }
}

#[tokio::test]
async fn seconds_are_kept_for_high_resolution_metrics_only() {
    let server = Server::start().await;
    let high = |second: i64, value: i64| json!({"MetricName": "fast", "Timestamp": NOW_S + second, "Value": value, "StorageResolution": 1});
    put(
        &server,
        json!([
            high(-60, 1),
            high(-59, 2),
            high(-51, 4),
            datum("slow", -60, 1.0)
        ]),
    )
    .await;
    for (name, period, sums) in [
        ("fast", 1, vec![1.0, 2.0, 4.0]),
        ("fast", 5, vec![3.0, 4.0]),
        ("fast", 10, vec![7.0]),
        ("fast", 60, vec![7.0]),
        ("slow", 1, vec![]),
        ("slow", 60, vec![1.0]),
    ] {
        let request = statistics(name, -60, 0, period, &["Sum"]);
        let reply = server.metrics("GetMetricStatistics", &request).await;
        let points = reply["Datapoints"].as_array().unwrap();
        let found: Vec<f64> = points.iter().map(|d| d["Sum"].as_f64().unwrap()).collect();
        assert_eq!(found, sums, "{name} {period}");
    }
}
