//! PutMetricData: what is taken, what is refused, and that it stays.

use super::*;

#[tokio::test]
async fn bad_data_is_refused_in_awss_words() {
    let server = Server::start().await;
    let week = 7 * 86_400;
    let many: Vec<f64> = (0..151).map(f64::from).collect();
    for (datum, code, text) in [
        (
            json!({"MetricName": "m"}),
            "MissingRequiredParameterException",
            "The parameter MetricData.member.1.Value is required.",
        ),
        (
            json!({"MetricName": "m", "Value": 1, "Values": [1]}),
            "InvalidParameterCombinationException",
            "The parameters MetricData.member.1.Value and MetricData.member.1.Values are mutually exclusive and you have specified both.",
        ),
        (
            json!({"MetricName": "m", "Value": 1, "StatisticValues": {"SampleCount": 1, "Sum": 1, "Minimum": 1, "Maximum": 1}}),
            "InvalidParameterCombinationException",
            "The parameters MetricData.member.1.Value and MetricData.member.1.StatisticValues are mutually exclusive and you have specified both.",
        ),
        (
            json!({"MetricName": "m", "Values": [1, 2], "Counts": [1]}),
            "InvalidParameterValueException",
            "The parameters MetricData.member.1.Values and MetricData.member.1.Counts must be of the same size.",
        ),
        (
            json!({"MetricName": "m", "Values": many}),
            "InvalidParameterValueException",
            "The collection MetricData.member.1.Values must not have a size greater than 150.",
        ),
        (
            json!({"MetricName": "m", "Value": 1e300}),
            "InvalidParameterValueException",
            &format!(
                "The value {} for parameter MetricData.member.1.Value is invalid.",
                1e300
            ),
        ),
        (
            json!({"MetricName": "m", "Values": [1], "Counts": [-1]}),
            "InvalidParameterValueException",
            "The value -1 for parameter MetricData.member.1.Counts.member.1 is invalid.",
        ),
        (
            json!({"MetricName": "m", "StatisticValues": {"SampleCount": 0, "Sum": 1, "Minimum": 1, "Maximum": 1}}),
            "InvalidParameterValueException",
            "The value 0 for parameter MetricData.member.1.StatisticValues.SampleCount is invalid.",
        ),
        (
            json!({"MetricName": "m", "Value": 1, "Timestamp": NOW_S - 2 * week - 1}),
            "InvalidParameterValueException",
            "The parameter MetricData.member.1.Timestamp must specify a time within the past two weeks.",
        ),
        (
            json!({"MetricName": "m", "Value": 1, "Timestamp": NOW_S + 7201}),
            "InvalidParameterValueException",
            "The parameter MetricData.member.1.Timestamp must specify a time no more than two hours in the future.",
        ),
        (
            json!({"MetricName": "m", "Value": 1, "StorageResolution": 30}),
            "InvalidParameterValueException",
            "The value 30 for parameter MetricData.member.1.StorageResolution is invalid.",
        ),
        (
            json!({"MetricName": "m", "Value": 1, "Dimensions": [{"Name": "a", "Value": "1"}, {"Name": "a", "Value": "2"}]}),
            "InvalidParameterValueException",
            "No metric may specify the same dimension name twice.",
        ),
        (
            json!({"MetricName": "", "Value": 1}),
            "ValidationError",
            "1 validation error detected: Value '' at 'metricData.1.member.metricName' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
    ] {
        let request = json!({"Namespace": NAMESPACE, "MetricData": [datum]});
        server
            .metrics_refused("PutMetricData", &request, code, text)
            .await;
    }
    for (request, code, text) in [
        (
            json!({"Namespace": "AWS/Lambda", "MetricData": [datum("m", 0, 1.0)]}),
            "InvalidParameterValueException",
            "The value AWS/Lambda for parameter Namespace is invalid.",
        ),
        (
            json!({"Namespace": NAMESPACE}),
            "MissingRequiredParameterException",
            "The parameter MetricData is required.",
        ),
        (
            json!({"Namespace": NAMESPACE, "MetricData": vec![datum("m", 0, 1.0); 1001]}),
            "InvalidParameterValueException",
            "The collection MetricData must not have a size greater than 1000.",
        ),
        (
            json!({"Namespace": ":x", "MetricData": [datum("m", 0, 1.0)]}),
            "ValidationError",
            "1 validation error detected: Value ':x' at 'namespace' failed to satisfy constraint: Member must satisfy regular expression pattern: [^:].*",
        ),
    ] {
        server
            .metrics_refused("PutMetricData", &request, code, text)
            .await;
    }
    let list = server.metrics("ListMetrics", &json!({})).await;
    assert_eq!(
        list["Metrics"],
        json!([]),
        "a refused request leaves nothing"
    );
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let server = Server::start().await;
    put(&server, json!([datum("m", 0, 1.0), datum("m", 1, 3.0)])).await;
    let server = server.restart().await;
    put(&server, json!([datum("m", 2, 5.0)])).await;
    let server = server.restart().await;
    let request = statistics(
        "m",
        0,
        60,
        60,
        &["Sum", "SampleCount", "Minimum", "Maximum"],
    );
    let reply = server.metrics("GetMetricStatistics", &request).await;
    assert_eq!(
        reply,
        json!({"Label": "m", "Datapoints": [
            {"Timestamp": NOW_S, "SampleCount": 3.0, "Sum": 9.0, "Minimum": 1.0, "Maximum": 5.0, "Unit": "None"}
        ]})
    );
}

#[tokio::test]
async fn values_from_inside_are_added_up_and_written_later() {
    let server = Server::start().await;
    let duration = Metric::new(
        "AWS/Lambda",
        "Duration",
        vec![("FunctionName".into(), "hello".into())],
    );
    for n in 1..=100 {
        let value = f64::from(n);
        server
            .telemetry
            .metric(&scope(), &duration, Unit::Milliseconds, value, NOW_MS + 10);
    }
    server.telemetry.flush().await;
    let buckets = server
        .store
        .kv
        .scan("metrics/minute:", None, 10)
        .await
        .unwrap();
    assert_eq!(
        buckets.len(),
        1,
        "a hundred values of a minute are one record"
    );
    let request = json!({
        "Namespace": "AWS/Lambda", "MetricName": "Duration", "Dimensions": [{"Name": "FunctionName", "Value": "hello"}],
        "StartTime": NOW_S, "EndTime": NOW_S + 60, "Period": 60, "ExtendedStatistics": ["p90", "tm50"],
    });
    let reply = server.metrics("GetMetricStatistics", &request).await;
    assert_eq!(
        reply["Datapoints"],
        json!([{"Timestamp": NOW_S, "Unit": "Milliseconds", "ExtendedStatistics": {"p90": 90.0, "tm50": 25.5}}])
    );
    // Without the dimension it is another metric, which has no values.
    let without = json!({
        "Namespace": "AWS/Lambda", "MetricName": "Duration", "StartTime": NOW_S, "EndTime": NOW_S + 60, "Period": 60,
        "Statistics": ["Sum"],
    });
    let reply = server.metrics("GetMetricStatistics", &without).await;
    assert_eq!(reply, json!({"Label": "Duration", "Datapoints": []}));
}

#[tokio::test]
async fn accounts_and_regions_are_apart() {
    let server = Server::start().await;
    put(&server, json!([datum("m", 0, 1.0)])).await;
    for other in [
        scope_of("123456789012", "eu-west-1"),
        scope_of("000000000000", "us-east-1"),
    ] {
        let (_, reply) = server
            .json(
                &other,
                "GraniteServiceVersion20100801.ListMetrics",
                &json!({}),
            )
            .await;
        assert_eq!(reply, json!({"Metrics": []}));
    }
}

#[tokio::test]
async fn entities_are_left_aside_unless_insisted_on() {
    let server = Server::start().await;
    let entity = json!([{"Entity": {"KeyAttributes": {"Type": "Service", "Name": "x"}}, "MetricData": [datum("m", 0, 2.0)]}]);
    let request = json!({"Namespace": NAMESPACE, "EntityMetricData": entity});
    server.metrics("PutMetricData", &request).await;
    let reply = server.metrics("ListMetrics", &json!({})).await;
    assert_eq!(reply["Metrics"].as_array().unwrap().len(), 1);
    let strict =
        json!({"Namespace": NAMESPACE, "EntityMetricData": entity, "StrictEntityValidation": true});
    let text = "The value of parameter EntityMetricData is invalid: entities are not supported.";
    server
        .metrics_refused(
            "PutMetricData",
            &strict,
            "InvalidParameterValueException",
            text,
        )
        .await;
}
