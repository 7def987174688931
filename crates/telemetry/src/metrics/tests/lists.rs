//! ListMetrics.

use super::*;

fn names(reply: &Value) -> Vec<&str> {
    let metrics = reply["Metrics"].as_array().unwrap();
    metrics
        .iter()
        .map(|m| m["MetricName"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn metrics_are_filtered() {
    let server = Server::start().await;
    put(
        &server,
        json!([
            {"MetricName": "a", "Value": 1, "Dimensions": [{"Name": "Y", "Value": "2"}, {"Name": "X", "Value": "1"}]},
            {"MetricName": "b", "Value": 1, "Dimensions": [{"Name": "X", "Value": "2"}]},
            {"MetricName": "c", "Value": 1, "Unit": "Count"},
            {"MetricName": "c", "Value": 1, "Unit": "Bytes"},
        ]),
    )
    .await;
    let other = json!({"Namespace": "Other", "MetricData": [{"MetricName": "d", "Value": 1, "Timestamp": NOW_S - 4 * 3600}]});
    server.metrics("PutMetricData", &other).await;
    for (request, found) in [
        (json!({}), vec!["d", "a", "b", "c"]),
        (json!({"Namespace": NAMESPACE}), vec!["a", "b", "c"]),
        (json!({"MetricName": "b"}), vec!["b"]),
        (json!({"Dimensions": [{"Name": "X"}]}), vec!["a", "b"]),
        (
            json!({"Dimensions": [{"Name": "X", "Value": "2"}]}),
            vec!["b"],
        ),
        (
            json!({"Dimensions": [{"Name": "X"}, {"Name": "Y"}]}),
            vec!["a"],
        ),
        (json!({"RecentlyActive": "PT3H"}), vec!["a", "b", "c"]),
        (
            json!({"OwningAccount": "123456789012", "MetricName": "d"}),
            vec!["d"],
        ),
    ] {
        let reply = server.metrics("ListMetrics", &request).await;
        assert_eq!(names(&reply), found, "{request}");
    }
    let reply = server
        .metrics("ListMetrics", &json!({"MetricName": "a"}))
        .await;
    assert_eq!(
        reply,
        json!({"Metrics": [{"Namespace": NAMESPACE, "MetricName": "a", "Dimensions": [
            {"Name": "X", "Value": "1"}, {"Name": "Y", "Value": "2"}
        ]}]})
    );
    let linked = json!({"MetricName": "c", "IncludeLinkedAccounts": true});
    let reply = server.metrics("ListMetrics", &linked).await;
    assert_eq!(reply["OwningAccounts"], json!(["123456789012"]));
    let text = "The value of parameter OwningAccount is not an account that is linked to this one.";
    let request = json!({"OwningAccount": "000000000000"});
    server
        .metrics_refused(
            "ListMetrics",
            &request,
            "InvalidParameterValueException",
            text,
        )
        .await;
}

#[tokio::test]
async fn metrics_come_in_pages_of_five_hundred() {
    let server = Server::start().await;
    for from in [0, 700] {
        let data: Vec<Value> = (from..from + 700)
            .map(|n| json!({"MetricName": format!("m{n:04}"), "Value": 1}))
            .collect();
        put(&server, json!(data)).await;
    }
    let server = server.restart().await;
    let mut seen: Vec<String> = Vec::new();
    let mut request = json!({"Namespace": NAMESPACE});
    loop {
        let reply = server.metrics("ListMetrics", &request).await;
        seen.extend(names(&reply).into_iter().map(str::to_owned));
        if reply["NextToken"].is_null() {
            break;
        }
        assert_eq!(seen.len() % 500, 0);
        request["NextToken"] = reply["NextToken"].clone();
    }
    let wanted: Vec<String> = (0..1400).map(|n| format!("m{n:04}")).collect();
    assert_eq!(seen, wanted);
    request["NextToken"] = json!("x");
    server
        .metrics_refused(
            "ListMetrics",
            &request,
            "InvalidParameterValueException",
            "Invalid nextToken",
        )
        .await;
}

#[tokio::test]
async fn silent_metrics_leave_the_list() {
    let server = Server::start().await;
    put(&server, json!([datum("old", 0, 1.0)])).await;
    server.advance(Duration::from_secs(13 * 86_400));
    assert_eq!(
        names(&server.metrics("ListMetrics", &json!({})).await),
        ["old"]
    );
    server.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(
        server.metrics("ListMetrics", &json!({})).await,
        json!({"Metrics": []})
    );
}
