#![allow(clippy::unwrap_used)]
//! CloudWatch Logs through the wire: requests and replies as clients see them.

mod events;
mod faults;
mod groups;
mod lines;
mod live_tail;
mod streams;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{May, archive};
use crate::testing::{NOW_MS, Server, next_chunk, scope, scope_of};

const DAY: Duration = Duration::from_secs(86_400);
const GROUP: &str = "/aws/lambda/hello";
const ARN: &str = "arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/hello";

async fn with_stream(streams: &[&str]) -> Server {
    let server = Server::start().await;
    server
        .logs("CreateLogGroup", &json!({"logGroupName": GROUP}))
        .await;
    for stream in streams {
        server
            .logs(
                "CreateLogStream",
                &json!({"logGroupName": GROUP, "logStreamName": stream}),
            )
            .await;
    }
    server
}

async fn put(server: &Server, stream: &str, events: &[(i64, &str)]) -> Value {
    let events: Vec<Value> = events
        .iter()
        .map(|(time, text)| json!({"timestamp": NOW_MS + time, "message": text}))
        .collect();
    let request = json!({"logGroupName": GROUP, "logStreamName": stream, "logEvents": events});
    server.logs("PutLogEvents", &request).await
}

fn messages(reply: &Value) -> Vec<&str> {
    let events = reply["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["message"].as_str().unwrap())
        .collect()
}

fn names<'a>(reply: &'a Value, list: &str, member: &str) -> Vec<&'a str> {
    let items = reply[list].as_array().unwrap();
    items
        .iter()
        .map(|item| item[member].as_str().unwrap())
        .collect()
}
