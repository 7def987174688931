//! GetMetricData.

use super::*;

async fn shop() -> Server {
    let server = Server::start().await;
    put(
        &server,
        json!([
            datum("errors", 0, 1.0), datum("errors", 60, 3.0),
            datum("requests", 0, 10.0), datum("requests", 60, 30.0), datum("requests", 120, 5.0),
            {"MetricName": "errors", "Dimensions": [{"Name": "Page", "Value": "Cart"}], "Timestamp": NOW_S, "Value": 7},
            {"MetricName": "errors", "Dimensions": [{"Name": "Page", "Value": "Home"}], "Timestamp": NOW_S, "Value": 2},
        ]),
    )
    .await;
    server
}

#[tokio::test]
async fn metrics_and_expressions() {
    let server = shop().await;
    let mut hidden = query("errors", "errors", 60, "Sum");
    hidden["ReturnData"] = json!(false);
    let request = data(
        0,
        180,
        json!([
            {"Id": "rate", "Expression": "100 * filled / requests", "Label": "error rate"},
            {"Id": "filled", "Expression": "FILL(errors, 0)", "ReturnData": false},
            hidden,
            query("requests", "requests", 60, "Sum"),
            {"Id": "all", "Expression": "SUM(METRICS())"},
            {"Id": "pages", "Expression": "SEARCH('{Shop,Page} errors', 'Sum', 60)"},
            {"Id": "total", "Expression": "SUM(pages)"},
        ]),
    );
    let reply = server.metrics("GetMetricData", &request).await;
    assert_eq!(
        results(&reply),
        [
            ("rate".to_owned(), vec![0, 60, 120], vec![10.0, 10.0, 0.0]),
            (
                "requests".to_owned(),
                vec![0, 60, 120],
                vec![10.0, 30.0, 5.0]
            ),
            ("all".to_owned(), vec![0, 60, 120], vec![11.0, 33.0, 5.0]),
            ("pages".to_owned(), vec![0], vec![7.0]),
            ("pages".to_owned(), vec![0], vec![2.0]),
            ("total".to_owned(), vec![0], vec![9.0]),
        ]
    );
    let labels: Vec<&str> = reply["MetricDataResults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["Label"].as_str().unwrap())
        .collect();
    assert_eq!(
        labels,
        ["error rate", "requests", "all", "Cart", "Home", "total"]
    );
    assert_eq!(reply["MetricDataResults"][0]["StatusCode"], "Complete");
    assert_eq!(reply["Messages"], json!([]));
    assert!(reply.get("NextToken").is_none());
}

#[tokio::test]
async fn the_latest_come_first_and_pages_end_together() {
    let server = shop().await;
    let mut request = data(
        0,
        180,
        json!([
            query("e", "errors", 60, "Sum"),
            query("r", "requests", 60, "Maximum")
        ]),
    );
    request.as_object_mut().unwrap().remove("ScanBy");
    let reply = server.metrics("GetMetricData", &request).await;
    assert_eq!(
        results(&reply)[1],
        ("r".to_owned(), vec![120, 60, 0], vec![5.0, 30.0, 10.0])
    );
    request["MaxDatapoints"] = json!(4);
    let first = server.metrics("GetMetricData", &request).await;
    assert_eq!(
        results(&first),
        [
            ("e".to_owned(), vec![60, 0], vec![3.0, 1.0]),
            ("r".to_owned(), vec![120, 60], vec![5.0, 30.0])
        ]
    );
    assert_eq!(first["MetricDataResults"][0]["StatusCode"], "Complete");
    assert_eq!(first["MetricDataResults"][1]["StatusCode"], "PartialData");
    request["NextToken"] = first["NextToken"].clone();
    let second = server.metrics("GetMetricData", &request).await;
    assert_eq!(
        results(&second),
        [
            ("e".to_owned(), vec![], vec![]),
            ("r".to_owned(), vec![0], vec![10.0])
        ]
    );
    assert!(second.get("NextToken").is_none());
    request["NextToken"] = json!("nonsense");
    let text = "The service cannot process this request because the NextToken is not valid.";
    server
        .metrics_refused("GetMetricData", &request, "InvalidNextToken", text)
        .await;
}

#[tokio::test]
async fn labels_are_filled_in() {
    let server = shop().await;
    let metric = json!({"Namespace": NAMESPACE, "MetricName": "errors", "Dimensions": [{"Name": "Page", "Value": "Cart"}]});
    let labelled = |label: &str| json!({"Id": "m", "Label": label, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "p50"}});
    for (label, text) in [
        ("plain", "plain"),
        (
            "[${MAX}/${MIN}/${AVG}/${SUM}/${FIRST}/${LAST}] ${LABEL}",
            "[7/7/7/7/7/7] errors",
        ),
        (
            "${PROP('Dim.Page')} ${PROP('MetricName')} ${PROP('Namespace')} ${PROP('Stat')} ${PROP('Period')}",
            "Cart errors Shop p50 60",
        ),
        (
            "${PROP('Region')} ${PROP('AccountId')} ${DATAPOINT_COUNT}",
            "us-east-1 123456789012 1",
        ),
        (
            "${NOPE} ${PROP('Dim.X')} ${open",
            "${NOPE} ${PROP('Dim.X')} ${open",
        ),
    ] {
        let reply = server
            .metrics("GetMetricData", &data(0, 60, json!([labelled(label)])))
            .await;
        assert_eq!(reply["MetricDataResults"][0]["Label"], text);
    }
}

#[tokio::test]
async fn bad_queries_are_refused() {
    let server = shop().await;
    let expression = |id: &str, text: &str| json!([{"Id": id, "Expression": text}]);
    for (queries, text) in [
        (json!([]), "The parameter MetricDataQueries is required."),
        (
            json!([query("M1", "errors", 60, "Sum")]),
            "The value M1 for parameter MetricDataQueries.member.1.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.",
        ),
        (
            json!([
                query("m", "errors", 60, "Sum"),
                query("m", "errors", 60, "Sum")
            ]),
            "The values for parameter id in MetricDataQueries are not unique.",
        ),
        (
            json!([{"Id": "m"}]),
            "Either MetricDataQueries.member.1.Expression or MetricDataQueries.member.1.MetricStat must be specified.",
        ),
        (
            json!([query("m", "errors", 60, "Median")]),
            "The value Median for parameter MetricDataQueries.member.1.MetricStat.Stat is not supported.",
        ),
        (
            json!([query("m", "errors", 61, "Sum")]),
            "The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60.",
        ),
        (
            json!([{"Id": "m", "MetricStat": {"Metric": {"MetricName": "x"}, "Period": 60, "Stat": "Sum"}}]),
            "The parameter MetricDataQueries.member.1.MetricStat.Metric.Namespace is required.",
        ),
        (
            expression("e", "m1 +"),
            "Error in expression 'e' [Invalid syntax at position 4]",
        ),
        (
            expression("e", "m1 + 1"),
            "Error in expression 'e' [Unknown id 'm1']",
        ),
        (
            expression("e", "e + 1"),
            "Error in expression 'e' [Circular reference to 'e']",
        ),
        (
            json!([{"Id": "a", "Expression": "b"}, {"Id": "b", "Expression": "a"}]),
            "Error in expression 'a' [Circular reference to 'a']",
        ),
        (
            expression("e", "1 + 1"),
            "Error in expression 'e' [The expression must return a time series or an array of time series]",
        ),
        (
            expression("e", "SEARCH('(', 'Sum')"),
            "Error in expression 'e' [Invalid search expression]",
        ),
        (
            expression("e", "SEARCH('errors', 'Median')"),
            "Error in expression 'e' [Invalid statistic 'Median']",
        ),
        (
            expression("e", "SELECT AVG(errors) FROM Shop"),
            "Metrics Insights queries are not implemented by Mayfly yet.",
        ),
        (
            json!([{"Id": "m", "Expression": "TIME_SERIES(1)", "ReturnData": false}]),
            "At least one of the queries must have ReturnData set to true.",
        ),
        (
            json!([{"Id": "m", "Expression": "TIME_SERIES(1)", "AccountId": "000000000000"}]),
            "The parameter MetricDataQueries.member.1.AccountId is not an account that is linked to this one.",
        ),
        (
            json!(vec![query("m", "errors", 60, "Sum"); 501]),
            "The collection MetricDataQueries must not have a size greater than 500.",
        ),
    ] {
        let request = data(0, 180, queries);
        server
            .metrics_refused("GetMetricData", &request, "ValidationError", text)
            .await;
    }
    let backwards = data(0, 0, json!([query("m", "errors", 60, "Sum")]));
    let text = "The parameter StartTime must be less than the parameter EndTime.";
    server
        .metrics_refused("GetMetricData", &backwards, "ValidationError", text)
        .await;
}

#[tokio::test]
async fn a_range_of_all_time_costs_little() {
    let server = shop().await;
    let request = json!({
        "StartTime": 0, "EndTime": NOW_S + 3600,
        "MetricDataQueries": [query("m", "errors", 86_400, "Sum"), {"Id": "e", "Expression": "FILL(m, 0) * 0"}],
    });
    let reply = server.metrics("GetMetricData", &request).await;
    assert_eq!(results(&reply)[0].2, [4.0]);
    let endless = json!({
        "StartTime": 0, "EndTime": NOW_S, "MetricDataQueries": [{"Id": "e", "Expression": "TIME_SERIES(1)", "Period": 1}],
    });
    let text = "The request asks for too many data points.";
    server
        .metrics_refused("GetMetricData", &endless, "ValidationError", text)
        .await;
}
