//! Events: put, read, searched, expired.

use super::*;

#[tokio::test]
async fn events_are_checked_as_aws_checks_them() {
    let server = with_stream(&["s"]).await;
    let hour = 3_600_000;
    let reply = put(&server, "s", &[(0, "now")]).await;
    assert_eq!(reply["nextSequenceToken"].as_str().unwrap().len(), 56);
    assert!(reply.get("rejectedLogEventsInfo").is_none());
    let reply = put(
        &server,
        "s",
        &[
            (-15 * 24 * hour, "old"),
            (-14 * 24 * hour - 1, "old"),
            (0, "kept"),
            (2 * hour, "kept"),
            (2 * hour + 1, "new"),
        ],
    )
    .await;
    assert_eq!(
        reply["rejectedLogEventsInfo"],
        json!({"tooOldLogEventEndIndex": 2, "tooNewLogEventStartIndex": 4})
    );
    server
        .logs(
            "PutRetentionPolicy",
            &json!({"logGroupName": GROUP, "retentionInDays": 1}),
        )
        .await;
    let reply = put(&server, "s", &[(-25 * hour, "expired"), (-hour, "kept")]).await;
    assert_eq!(
        reply["rejectedLogEventsInfo"],
        json!({"expiredLogEventEndIndex": 1})
    );
    let reply = put(&server, "s", &[(3 * hour, "new")]).await;
    assert_eq!(
        reply["rejectedLogEventsInfo"],
        json!({"tooNewLogEventStartIndex": 0})
    );
    let all = json!({"logGroupName": GROUP, "logStreamName": "s", "startFromHead": true});
    let reply = server.logs("GetLogEvents", &all).await;
    assert_eq!(messages(&reply), ["kept", "now", "kept", "kept"]);

    let event = |time: i64, text: &str| json!({"timestamp": NOW_MS + time, "message": text});
    let big = "x".repeat(1_048_577 - 26);
    let half = "x".repeat(524_288 - 26);
    for (events, text) in [
        (
            json!([event(1, "b"), event(0, "a")]),
            "Log events in a single PutLogEvents request must be in chronological order.",
        ),
        (
            json!([event(-23 * hour, "a"), event(hour + 1, "b")]),
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ),
        (
            json!([event(0, &big)]),
            "Log event too large: 1048577 bytes exceeds limit of 1048576",
        ),
        (
            json!([event(0, &half), event(0, &half), event(0, "x")]),
            "Upload too large: 1048603 bytes exceeds limit of 1048576",
        ),
        (
            json!([event(0, "")]),
            "1 validation error detected: Value '' at 'logEvents.1.member.message' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
        (
            json!([]),
            "1 validation error detected: Value '[]' at 'logEvents' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
        (
            json!([{"timestamp": -1, "message": "x"}]),
            "1 validation error detected: Value '-1' at 'logEvents.1.member.timestamp' failed to satisfy constraint: Member must have value greater than or equal to 0",
        ),
    ] {
        let body = json!({"logGroupName": GROUP, "logStreamName": "s", "logEvents": events});
        server
            .logs_refused("PutLogEvents", &body, "InvalidParameterException", text)
            .await;
    }
    // The largest batch that is allowed, written as badly as JSON can.
    let control = "\u{1}".repeat(1_048_576 - 26);
    put(&server, "s", &[(0, &control)]).await;
    let entity = json!({"logGroupName": GROUP, "logStreamName": "s", "logEvents": [event(0, "x")],
        "sequenceToken": "anything", "entity": {"keyAttributes": {"Type": "Service", "Name": "x"}}});
    let reply = server.logs("PutLogEvents", &entity).await;
    assert_eq!(
        reply["rejectedEntityInfo"],
        json!({"errorType": "UnsupportedLogGroupType"})
    );
    for (group, stream, text) in [
        ("nope", "s", "The specified log group does not exist."),
        (GROUP, "nope", "The specified log stream does not exist."),
    ] {
        let body =
            json!({"logGroupName": group, "logStreamName": stream, "logEvents": [event(0, "x")]});
        server
            .logs_refused("PutLogEvents", &body, "ResourceNotFoundException", text)
            .await;
    }
}

/// "This operation can return empty results while there are more log events available through the token. ... you know
/// that you have reached the end of the stream if it returns the same token you passed in."
#[tokio::test]
async fn a_stream_is_paged_in_both_directions() {
    let server = with_stream(&["s"]).await;
    let request = |extra: Value| {
        let mut request = json!({"logGroupName": GROUP, "logStreamName": "s"});
        for (key, value) in extra.as_object().unwrap() {
            request[key] = value.clone();
        }
        request
    };
    // Tokens of an empty stream lead to what comes later.
    let empty = server
        .logs("GetLogEvents", &request(json!({"startFromHead": true})))
        .await;
    assert_eq!(empty["events"], json!([]));
    put(
        &server,
        "s",
        &[(0, "0"), (1, "1"), (1, "1b"), (2, "2"), (3, "3")],
    )
    .await;
    put(&server, "s", &[(1, "late")]).await;
    let first =
        request(json!({"nextToken": empty["nextForwardToken"], "startFromHead": true, "limit": 4}));
    let page = server.logs("GetLogEvents", &first).await;
    assert_eq!(messages(&page), ["0", "1", "1b", "late"]);
    assert_eq!(
        page["events"][0],
        json!({"timestamp": NOW_MS, "message": "0", "ingestionTime": NOW_MS})
    );
    let next = request(json!({"nextToken": page["nextForwardToken"]}));
    let page2 = server.logs("GetLogEvents", &next).await;
    assert_eq!(messages(&page2), ["2", "3"]);
    let next = request(json!({"nextToken": page2["nextForwardToken"]}));
    let end = server.logs("GetLogEvents", &next).await;
    assert_eq!(end["events"], json!([]));
    assert_eq!(end["nextForwardToken"], page2["nextForwardToken"]);
    let back = request(json!({"nextToken": end["nextBackwardToken"], "limit": 1}));
    let back = server.logs("GetLogEvents", &back).await;
    assert_eq!(messages(&back), ["3"]);
    put(&server, "s", &[(4, "4")]).await;
    let more = server.logs("GetLogEvents", &next).await;
    assert_eq!(messages(&more), ["4"]);

    // Without a token and without startFromHead: the latest.
    let latest = server
        .logs("GetLogEvents", &request(json!({"limit": 2})))
        .await;
    assert_eq!(messages(&latest), ["3", "4"]);
    let back = request(json!({"nextToken": latest["nextBackwardToken"], "limit": 10}));
    let back = server.logs("GetLogEvents", &back).await;
    assert_eq!(messages(&back), ["0", "1", "1b", "late", "2"]);
    let begin = request(json!({"nextToken": back["nextBackwardToken"]}));
    let begin = server.logs("GetLogEvents", &begin).await;
    assert_eq!(begin["events"], json!([]));
    assert_eq!(begin["nextBackwardToken"], back["nextBackwardToken"]);
    let forward = request(json!({"nextToken": begin["nextForwardToken"], "limit": 1}));
    assert_eq!(
        messages(&server.logs("GetLogEvents", &forward).await),
        ["0"]
    );

    // The start belongs to the range, the end does not.
    let range = request(json!({"startTime": NOW_MS + 1, "endTime": NOW_MS + 3}));
    assert_eq!(
        messages(&server.logs("GetLogEvents", &range).await),
        ["1", "1b", "late", "2"]
    );
    for token in [
        "x",
        "f/1",
        "f/é",
        "b/00000000000000000000000000000000000000000000000000000000",
    ] {
        server
            .logs_refused(
                "GetLogEvents",
                &request(json!({"nextToken": token})),
                "InvalidParameterException",
                "The specified nextToken is invalid.",
            )
            .await;
    }
}

#[tokio::test]
async fn a_page_holds_a_megabyte() {
    let server = with_stream(&["s", "t"]).await;
    let text = "y".repeat(300_000);
    for (stream, n) in [("s", 0), ("t", 1), ("s", 2), ("s", 3), ("s", 4)] {
        put(&server, stream, &[(n, &text)]).await;
    }
    let stream = json!({"logGroupName": GROUP, "logStreamName": "s", "startFromHead": true});
    let page = server.logs("GetLogEvents", &stream).await;
    assert_eq!(page["events"].as_array().unwrap().len(), 3);
    let mut found = Vec::new();
    let mut request = json!({"logGroupName": GROUP});
    loop {
        let page = server.logs("FilterLogEvents", &request).await;
        let events = page["events"].as_array().unwrap().clone();
        assert!(events.len() <= 3);
        found.extend(
            events
                .iter()
                .map(|e| e["timestamp"].as_i64().unwrap() - NOW_MS),
        );
        if page["nextToken"].is_null() {
            break;
        }
        request["nextToken"] = page["nextToken"].clone();
    }
    assert_eq!(found, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn events_are_filtered_over_streams_in_order_of_time() {
    let server = with_stream(&["a1", "a2", "b"]).await;
    put(
        &server,
        "a1",
        &[(0, "ERROR zero"), (4, "ok four"), (8, "ERROR eight")],
    )
    .await;
    put(&server, "a2", &[(1, "ok one"), (5, "ERROR five")]).await;
    put(
        &server,
        "b",
        &[(2, "{\"level\":\"ERROR\",\"n\":2}"), (6, "ERROR six")],
    )
    .await;
    for (extra, found) in [
        (
            json!({}),
            vec![
                "ERROR zero",
                "ok one",
                "{\"level\":\"ERROR\",\"n\":2}",
                "ok four",
                "ERROR five",
                "ERROR six",
                "ERROR eight",
            ],
        ),
        (
            json!({"filterPattern": "ERROR -six -level"}),
            vec!["ERROR zero", "ERROR five", "ERROR eight"],
        ),
        (
            json!({"filterPattern": "{ $.n > 1 }"}),
            vec!["{\"level\":\"ERROR\",\"n\":2}"],
        ),
        (
            json!({"filterPattern": "[w1=ok, w2]", "startFromHead": false}),
            vec!["ok four", "ok one"],
        ),
        (
            json!({"logStreamNamePrefix": "a", "filterPattern": "?one ?zero"}),
            vec!["ERROR zero", "ok one"],
        ),
        (
            json!({"logStreamNames": ["b", "a2", "b"]}),
            vec![
                "ok one",
                "{\"level\":\"ERROR\",\"n\":2}",
                "ERROR five",
                "ERROR six",
            ],
        ),
        (
            json!({"startTime": NOW_MS + 4, "endTime": NOW_MS + 6}),
            vec!["ok four", "ERROR five", "ERROR six"],
        ),
        (json!({"startTime": NOW_MS + 9}), vec![]),
        (
            json!({"interleaved": false, "endTime": NOW_MS}),
            vec!["ERROR zero"],
        ),
    ] {
        for limit in [None, Some(1), Some(2)] {
            let mut request = extra.clone();
            request["logGroupName"] = json!(GROUP);
            if let Some(limit) = limit {
                request["limit"] = json!(limit);
            }
            let mut seen: Vec<String> = Vec::new();
            loop {
                let reply = server.logs("FilterLogEvents", &request).await;
                assert_eq!(reply["searchedLogStreams"], json!([]));
                seen.extend(messages(&reply).into_iter().map(str::to_owned));
                if reply["nextToken"].is_null() {
                    break;
                }
                request["nextToken"] = reply["nextToken"].clone();
            }
            assert_eq!(seen, found, "{request}");
        }
    }
    let one = json!({"logGroupIdentifier": ARN, "filterPattern": "five"});
    let event = server.logs("FilterLogEvents", &one).await["events"][0].clone();
    assert_eq!(
        event,
        json!({"logStreamName": "a2", "timestamp": NOW_MS + 5, "message": "ERROR five", "ingestionTime": NOW_MS, "eventId": event["eventId"]})
    );
    assert_eq!(event["eventId"].as_str().unwrap().len(), 56);
    for (extra, code, text) in [
        (
            json!({"filterPattern": "a:b"}),
            "InvalidParameterException",
            "Invalid character(s) in term ':'",
        ),
        (
            json!({"logStreamNames": ["nope"]}),
            "ResourceNotFoundException",
            "The specified log stream does not exist.",
        ),
        (
            json!({"logStreamNames": ["b"], "logStreamNamePrefix": "a"}),
            "InvalidParameterException",
            "LogStreamNames and LogStreamNamePrefix are mutually exclusive parameters.",
        ),
        (
            json!({"nextToken": "f123"}),
            "InvalidParameterException",
            "The specified nextToken is invalid.",
        ),
        (
            json!({"limit": 10_001}),
            "InvalidParameterException",
            "1 validation error detected: Value '10001' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 10000",
        ),
    ] {
        let mut request = extra;
        request["logGroupName"] = json!(GROUP);
        server
            .logs_refused("FilterLogEvents", &request, code, text)
            .await;
    }
}

/// What `aws logs tail --follow` does: asks again from the latest time on and leaves out the ids it has seen.
#[tokio::test]
async fn a_follower_sees_every_event_once() {
    let server = with_stream(&["s", "t"]).await;
    let mut seen: Vec<String> = Vec::new();
    let mut ids = std::collections::HashSet::new();
    let mut start = NOW_MS;
    for round in 0..5 {
        put(&server, "s", &[(round, "s"), (round + 1, "s")]).await;
        put(&server, "t", &[(round, "t")]).await;
        let mut request = json!({"logGroupName": GROUP, "startTime": start, "interleaved": true});
        loop {
            let reply = server.logs("FilterLogEvents", &request).await;
            for event in reply["events"].as_array().unwrap() {
                start = start.max(event["timestamp"].as_i64().unwrap());
                if ids.insert(event["eventId"].as_str().unwrap().to_owned()) {
                    seen.push(event["message"].as_str().unwrap().to_owned());
                }
            }
            if reply["nextToken"].is_null() {
                break;
            }
            request["nextToken"] = reply["nextToken"].clone();
        }
        // Round by round the follower's start moves on, and late events of the same millisecond still count.
        start = start.min(NOW_MS + round);
    }
    assert_eq!(seen.len(), 15);
}

#[tokio::test]
async fn retention_deletes() {
    let server = with_stream(&["s"]).await;
    put(&server, "s", &[(-3_600_000, "old"), (0, "new")]).await;
    let group = json!({"logGroupName": GROUP});
    for days in [0, 2, 3655] {
        let body = json!({"logGroupName": GROUP, "retentionInDays": days});
        let (_, reply) = server
            .json(&scope(), "Logs_20140328.PutRetentionPolicy", &body)
            .await;
        assert_eq!(reply["__type"], "InvalidParameterException");
    }
    server
        .logs(
            "PutRetentionPolicy",
            &json!({"logGroupName": GROUP, "retentionInDays": 3}),
        )
        .await;
    let described = server.logs("DescribeLogGroups", &json!({})).await;
    assert_eq!(described["logGroups"][0]["retentionInDays"], 3);
    let archive = server.telemetry.logs().archive.clone();
    server.advance(3 * DAY - Duration::from_secs(3600));
    archive.expire().await.unwrap();
    assert_eq!(
        messages(&server.logs("FilterLogEvents", &group).await),
        ["old", "new"]
    );
    server.advance(Duration::from_secs(60));
    archive.expire().await.unwrap();
    assert_eq!(
        messages(&server.logs("FilterLogEvents", &group).await),
        ["new"]
    );
    server.logs("DeleteRetentionPolicy", &group).await;
    server.advance(100 * DAY);
    assert_eq!(archive.expire().await.unwrap(), 0);
    assert_eq!(
        messages(&server.logs("FilterLogEvents", &group).await),
        ["new"]
    );
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let server = with_stream(&["s"]).await;
    put(&server, "s", &[(0, "kept")]).await;
    server
        .logs(
            "TagLogGroup",
            &json!({"logGroupName": GROUP, "tags": {"a": "1"}}),
        )
        .await;
    let before = server.logs("DescribeLogGroups", &json!({})).await;
    let events = server
        .logs("FilterLogEvents", &json!({"logGroupName": GROUP}))
        .await;
    let server = server.restart().await;
    assert_eq!(server.logs("DescribeLogGroups", &json!({})).await, before);
    assert_eq!(
        server
            .logs("FilterLogEvents", &json!({"logGroupName": GROUP}))
            .await,
        events
    );
    let tags = server
        .logs("ListTagsLogGroup", &json!({"logGroupName": GROUP}))
        .await;
    assert_eq!(tags, json!({"tags": {"a": "1"}}));
}
