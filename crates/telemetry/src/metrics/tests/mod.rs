#![allow(clippy::unwrap_used, clippy::float_cmp)]
//! CloudWatch through the wire: requests and replies as clients see them.

mod data;
mod faults;
mod lists;
mod protocols;
mod put;
mod retention;
mod statistics;

use std::time::Duration;

use serde_json::{Value, json};

use super::{Measured, Metric, Unit};
use crate::testing::{NOW_MS, Server, scope, scope_of};

const NOW_S: i64 = NOW_MS / 1000;
const NAMESPACE: &str = "Shop";

/// Puts data of the namespace `Shop`.
async fn put(server: &Server, data: Value) {
    let request = json!({"Namespace": NAMESPACE, "MetricData": data});
    assert_eq!(server.metrics("PutMetricData", &request).await, Value::Null);
}

/// One plain value, so many seconds from now.
fn datum(name: &str, seconds: i64, value: f64) -> Value {
    json!({"MetricName": name, "Timestamp": NOW_S + seconds, "Value": value})
}

/// A GetMetricStatistics request over a range around now.
fn statistics(name: &str, from: i64, to: i64, period: i64, statistics: &[&str]) -> Value {
    json!({
        "Namespace": NAMESPACE, "MetricName": name, "StartTime": NOW_S + from, "EndTime": NOW_S + to,
        "Period": period, "Statistics": statistics,
    })
}

/// A query of GetMetricData for a metric of the namespace `Shop`.
fn query(id: &str, name: &str, period: i64, stat: &str) -> Value {
    let metric = json!({"Namespace": NAMESPACE, "MetricName": name});
    json!({"Id": id, "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}})
}

/// A GetMetricData request over a range around now, oldest data points first.
fn data(from: i64, to: i64, queries: Value) -> Value {
    json!({
        "StartTime": NOW_S + from, "EndTime": NOW_S + to, "MetricDataQueries": queries,
        "ScanBy": "TimestampAscending",
    })
}

/// Id, seconds from now and values of each result.
fn results(reply: &Value) -> Vec<(String, Vec<i64>, Vec<f64>)> {
    let results = reply["MetricDataResults"].as_array().unwrap();
    let one = |result: &Value| {
        let times = result["Timestamps"].as_array().unwrap();
        let values = result["Values"].as_array().unwrap();
        (
            result["Id"].as_str().unwrap().to_owned(),
            times.iter().map(|t| t.as_i64().unwrap() - NOW_S).collect(),
            values.iter().map(|v| v.as_f64().unwrap()).collect(),
        )
    };
    results.iter().map(one).collect()
}
