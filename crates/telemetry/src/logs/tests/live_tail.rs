//! Live Tail sessions.

use aws_smithy_eventstream::frame::read_message_from;

use super::*;

/// The frames of a chunk: type and payload.
fn frames(chunk: &Bytes) -> Vec<(String, Value)> {
    let mut rest = chunk.clone();
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let message = read_message_from(&mut rest).unwrap();
        let kind = message
            .headers()
            .iter()
            .find(|h| matches!(h.name().as_str(), ":event-type" | ":exception-type"))
            .unwrap();
        let kind = kind.value().as_string().unwrap().as_str().to_owned();
        frames.push((kind, serde_json::from_slice(message.payload()).unwrap()));
    }
    frames
}

#[tokio::test]
async fn live_tail_shows_what_comes_in() {
    let server = with_stream(&["a", "b"]).await;
    let request = json!({"logGroupIdentifiers": [ARN], "logStreamNamePrefixes": ["a"], "logEventFilterPattern": "ERROR"});
    let mut stream = server.stream("Logs_20140328.StartLiveTail", &request).await;
    let mut next = async || frames(&next_chunk(&mut stream).await.unwrap()).remove(0);
    assert_eq!(next().await, ("initial-response".into(), json!({})));
    let (kind, start) = next().await;
    assert_eq!(kind, "sessionStart");
    assert_eq!(
        start,
        json!({
            "requestId": "c0ffee00-0000-4000-8000-000000000000", "sessionId": start["sessionId"],
            "logGroupIdentifiers": [ARN], "logStreamNames": [], "logStreamNamePrefixes": ["a"],
            "logEventFilterPattern": "ERROR",
        })
    );
    put(&server, "a", &[(0, "ERROR 1"), (1, "fine")]).await;
    put(&server, "b", &[(2, "ERROR 2")]).await;
    server.telemetry.lines(
        &scope(),
        GROUP,
        "a2",
        May::CREATE_ALL,
        vec![(NOW_MS + 3, "ERROR 3".into())],
    );
    server.telemetry.flush().await;
    server.advance(Duration::from_secs(1));
    let event = |stream: &str, time: i64, text: &str| {
        json!({
            "logStreamName": stream, "logGroupIdentifier": format!("123456789012:{GROUP}"), "message": text,
            "timestamp": NOW_MS + time, "ingestionTime": NOW_MS,
        })
    };
    assert_eq!(
        next().await,
        (
            "sessionUpdate".into(),
            json!({"sessionMetadata": {"sampled": false}, "sessionResults": [event("a", 0, "ERROR 1"), event("a2", 3, "ERROR 3")]})
        )
    );
    server.advance(Duration::from_secs(1));
    let (_, update) = next().await;
    assert_eq!(
        update,
        json!({"sessionMetadata": {"sampled": false}, "sessionResults": []})
    );
    let many: Vec<(i64, String)> = (0..2000)
        .map(|n| (NOW_MS + n, format!("ERROR {n}")))
        .collect();
    server
        .telemetry
        .lines(&scope(), GROUP, "a", May::CREATE_ALL, many);
    server.telemetry.flush().await;
    server.advance(Duration::from_secs(1));
    let (_, update) = next().await;
    assert_eq!(update["sessionMetadata"], json!({"sampled": true}));
    let results = update["sessionResults"].as_array().unwrap();
    assert_eq!(results.len(), 500);
    assert!(
        results
            .iter()
            .any(|e| e["timestamp"].as_i64().unwrap() > NOW_MS + 1000)
    );
    server.advance(Duration::from_secs(3 * 3600));
    let (kind, _) = next().await;
    assert_eq!(kind, "SessionTimeoutException");
    assert!(next_chunk(&mut stream).await.is_none());
}

#[tokio::test]
async fn live_tail_has_limits() {
    let server = with_stream(&["a"]).await;
    server
        .logs(
            "CreateLogGroup",
            &json!({"logGroupName": "rare", "logGroupClass": "INFREQUENT_ACCESS"}),
        )
        .await;
    let rare = "arn:aws:logs:us-east-1:123456789012:log-group:rare";
    for (body, code, text) in [
        (
            json!({"logGroupIdentifiers": [format!("{ARN}x")]}),
            "ResourceNotFoundException",
            "The specified log group does not exist.",
        ),
        (
            json!({"logGroupIdentifiers": [rare]}),
            "InvalidOperationException",
            "Live Tail is not supported for log groups of this class: rare",
        ),
        (
            json!({"logGroupIdentifiers": [ARN], "logEventFilterPattern": "{"}),
            "InvalidParameterException",
            "If a filter pattern starts with '{' it must end with '}'",
        ),
        (
            json!({"logGroupIdentifiers": [ARN, ARN], "logStreamNames": ["a"]}),
            "InvalidParameterException",
            "logStreamNames and logStreamNamePrefixes can be specified only with exactly one log group.",
        ),
    ] {
        server
            .logs_refused("StartLiveTail", &body, code, text)
            .await;
    }
    let request = json!({"logGroupIdentifiers": [ARN]});
    let mut open = Vec::new();
    for _ in 0..15 {
        open.push(server.stream("Logs_20140328.StartLiveTail", &request).await);
    }
    let too_many = "An account can have at most 15 concurrent Live Tail sessions.";
    server
        .logs_refused(
            "StartLiveTail",
            &request,
            "LimitExceededException",
            too_many,
        )
        .await;
    open.pop();
    open.push(server.stream("Logs_20140328.StartLiveTail", &request).await);
}
