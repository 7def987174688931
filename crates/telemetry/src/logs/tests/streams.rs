//! Streams in their lists.

use super::*;

#[tokio::test]
async fn streams_are_listed_by_name_and_by_time() {
    let server = with_stream(&["b", "a", "c[$LATEST]", "empty"]).await;
    put(&server, "a", &[(1, "x")]).await;
    put(&server, "b", &[(5, "x"), (9, "y")]).await;
    put(&server, "c[$LATEST]", &[(3, "x")]).await;
    for (request, found) in [
        (json!({}), vec!["a", "b", "c[$LATEST]", "empty"]),
        (
            json!({"descending": true}),
            vec!["empty", "c[$LATEST]", "b", "a"],
        ),
        (
            json!({"orderBy": "LastEventTime"}),
            vec!["empty", "a", "c[$LATEST]", "b"],
        ),
        (
            json!({"orderBy": "LastEventTime", "descending": true}),
            vec!["b", "c[$LATEST]", "a", "empty"],
        ),
        (json!({"logStreamNamePrefix": "c"}), vec!["c[$LATEST]"]),
    ] {
        let mut request = request;
        request["logGroupName"] = json!(GROUP);
        let reply = server.logs("DescribeLogStreams", &request).await;
        assert_eq!(
            names(&reply, "logStreams", "logStreamName"),
            found,
            "{request}"
        );
        // The same in pages of one.
        let mut seen: Vec<String> = Vec::new();
        request["limit"] = json!(1);
        loop {
            let reply = server.logs("DescribeLogStreams", &request).await;
            seen.extend(
                names(&reply, "logStreams", "logStreamName")
                    .into_iter()
                    .map(str::to_owned),
            );
            if reply["nextToken"].is_null() {
                break;
            }
            request["nextToken"] = reply["nextToken"].clone();
        }
        assert_eq!(seen, found, "{request}");
    }
    let one = json!({"logGroupIdentifier": ARN, "logStreamNamePrefix": "b"});
    let reply = server.logs("DescribeLogStreams", &one).await;
    let token = reply["logStreams"][0]["uploadSequenceToken"].clone();
    assert_eq!(
        reply["logStreams"][0],
        json!({
            "logStreamName": "b", "creationTime": NOW_MS, "firstEventTimestamp": NOW_MS + 5,
            "lastEventTimestamp": NOW_MS + 9, "lastIngestionTime": NOW_MS, "uploadSequenceToken": token,
            "arn": format!("{ARN}:log-stream:b"), "storedBytes": 0,
        })
    );
    let groups = server.logs("DescribeLogGroups", &json!({})).await;
    assert_eq!(groups["logGroups"][0]["storedBytes"], 4 * 27);
    for (body, code, text) in [
        (
            json!({"logGroupName": GROUP, "logStreamNamePrefix": "a", "orderBy": "LastEventTime"}),
            "InvalidParameterException",
            "Cannot order by LastEventTime with a logStreamNamePrefix.",
        ),
        (
            json!({"logGroupName": "nope"}),
            "ResourceNotFoundException",
            "The specified log group does not exist.",
        ),
        (
            json!({"logGroupName": GROUP, "logGroupIdentifier": GROUP}),
            "InvalidParameterException",
            "LogGroup name and LogGroup ARN are mutually exclusive parameters.",
        ),
        (
            json!({"logGroupIdentifier": format!("{ARN}:*")}),
            "InvalidParameterException",
            r"1 validation error detected: Value 'arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/hello:*' at 'logGroupIdentifier' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w#+=/:,.@-]*",
        ),
    ] {
        server
            .logs_refused("DescribeLogStreams", &body, code, text)
            .await;
    }
    server
        .logs_refused(
            "CreateLogStream",
            &json!({"logGroupName": GROUP, "logStreamName": "a"}),
            "ResourceAlreadyExistsException",
            "The specified log stream already exists",
        )
        .await;
}

#[tokio::test]
async fn a_deleted_stream_comes_back_empty() {
    let server = with_stream(&["s"]).await;
    put(&server, "s", &[(0, "old")]).await;
    let stream = json!({"logGroupName": GROUP, "logStreamName": "s"});
    server.logs("DeleteLogStream", &stream).await;
    for operation in ["DeleteLogStream", "GetLogEvents"] {
        server
            .logs_refused(
                operation,
                &stream,
                "ResourceNotFoundException",
                "The specified log stream does not exist.",
            )
            .await;
    }
    server.logs("CreateLogStream", &stream).await;
    assert_eq!(
        server.logs("GetLogEvents", &stream).await["events"],
        json!([])
    );
}
