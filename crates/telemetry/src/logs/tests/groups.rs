//! Groups, their tags and their end.

use super::*;

#[tokio::test]
async fn groups_are_made_described_and_deleted() {
    let server = Server::start().await;
    let create = json!({"logGroupName": GROUP, "tags": {"team": "a b"}});
    assert_eq!(server.logs("CreateLogGroup", &create).await, Value::Null);
    server
        .logs_refused(
            "CreateLogGroup",
            &create,
            "ResourceAlreadyExistsException",
            "The specified log group already exists",
        )
        .await;
    let reply = server.logs("DescribeLogGroups", &json!({})).await;
    assert_eq!(
        reply,
        json!({"logGroups": [{
            "logGroupName": GROUP, "creationTime": NOW_MS, "metricFilterCount": 0, "arn": format!("{ARN}:*"),
            "storedBytes": 0, "logGroupClass": "STANDARD", "logGroupArn": ARN, "deletionProtectionEnabled": false,
        }]})
    );
    let asked = server.asked.0.lock().unwrap().clone();
    assert_eq!(asked[0], format!("logs:CreateLogGroup {ARN}:log-stream:"));
    assert_eq!(
        asked[2],
        "logs:DescribeLogGroups arn:aws:logs:us-east-1:123456789012:log-group::log-stream:"
    );
    // Another region and another account see nothing of it.
    for other in [
        scope_of("123456789012", "eu-west-1"),
        scope_of("000000000000", "us-east-1"),
    ] {
        let (_, reply) = server
            .json(&other, "Logs_20140328.DescribeLogGroups", &json!({}))
            .await;
        assert_eq!(reply, json!({"logGroups": []}));
    }
    let delete = json!({"logGroupName": GROUP});
    server.logs("DeleteLogGroup", &delete).await;
    server
        .logs_refused(
            "DeleteLogGroup",
            &delete,
            "ResourceNotFoundException",
            "The specified log group does not exist.",
        )
        .await;
}

#[tokio::test]
async fn bad_groups_are_refused_in_awss_words() {
    let server = Server::start().await;
    for (body, text) in [
        (
            json!({"logGroupName": "a b"}),
            r"1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+",
        ),
        (
            json!({}),
            "1 validation error detected: Value null at 'logGroupName' failed to satisfy constraint: Member must not be null",
        ),
        (
            json!({"logGroupName": "a", "logGroupClass": "GOLD"}),
            "1 validation error detected: Value 'GOLD' at 'logGroupClass' failed to satisfy constraint: Member must satisfy enum value set: [STANDARD, INFREQUENT_ACCESS, DELIVERY, ESSENTIALS]",
        ),
        (
            json!({"logGroupName": "a", "logGroupClass": "DELIVERY"}),
            "The log group class DELIVERY is not supported.",
        ),
        (
            json!({"logGroupName": "a", "kmsKeyId": "arn:aws:kms:us-east-1:123456789012:key/x"}),
            "The specified KMS key does not exist or is not allowed to be used with LogGroup 'arn:aws:logs:us-east-1:123456789012:log-group:a'",
        ),
        (
            json!({"logGroupName": "a", "tags": {"aws:x": "y"}}),
            "Tag keys starting with \"aws:\" are reserved for internal use: aws:x",
        ),
    ] {
        server
            .logs_refused("CreateLogGroup", &body, "InvalidParameterException", text)
            .await;
    }
    server
        .logs(
            "CreateLogGroup",
            &json!({"logGroupName": "kept", "deletionProtectionEnabled": true}),
        )
        .await;
    let (_, reply) = server
        .json(
            &scope(),
            "Logs_20140328.DeleteLogGroup",
            &json!({"logGroupName": "kept"}),
        )
        .await;
    assert_eq!(reply["__type"], "ValidationException");
}

#[tokio::test]
async fn groups_are_found_page_by_page() {
    let server = Server::start().await;
    for n in 0..7 {
        let name = format!("{}/g{n}", if n % 2 == 0 { "even" } else { "odd" });
        server
            .logs("CreateLogGroup", &json!({"logGroupName": name}))
            .await;
    }
    let mut seen = Vec::new();
    let mut token = Value::Null;
    loop {
        let mut request = json!({"limit": 2});
        if !token.is_null() {
            request["nextToken"] = token;
        }
        let reply = server.logs("DescribeLogGroups", &request).await;
        seen.extend(
            names(&reply, "logGroups", "logGroupName")
                .into_iter()
                .map(str::to_owned),
        );
        token = reply["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(
        seen,
        [
            "even/g0", "even/g2", "even/g4", "even/g6", "odd/g1", "odd/g3", "odd/g5"
        ]
    );
    for (request, found) in [
        (
            json!({"logGroupNamePrefix": "odd"}),
            vec!["odd/g1", "odd/g3", "odd/g5"],
        ),
        (
            json!({"logGroupNamePattern": "n/g"}),
            vec!["even/g0", "even/g2", "even/g4", "even/g6"],
        ),
        (
            json!({"logGroupIdentifiers": ["odd/g1", "nope"]}),
            vec!["odd/g1"],
        ),
        (json!({"logGroupClass": "INFREQUENT_ACCESS"}), vec![]),
    ] {
        let reply = server.logs("DescribeLogGroups", &request).await;
        assert_eq!(
            names(&reply, "logGroups", "logGroupName"),
            found,
            "{request}"
        );
    }
    let reply = server
        .logs(
            "ListLogGroups",
            &json!({"logGroupNamePattern": "^odd|n/g6", "limit": 3}),
        )
        .await;
    assert_eq!(
        names(&reply, "logGroups", "logGroupName"),
        ["even/g6", "odd/g1", "odd/g3"]
    );
    let next = json!({"logGroupNamePattern": "^odd|n/g6", "nextToken": reply["nextToken"]});
    let reply = server.logs("ListLogGroups", &next).await;
    assert_eq!(names(&reply, "logGroups", "logGroupName"), ["odd/g5"]);
    server
        .logs_refused(
            "DescribeLogGroups",
            &json!({"nextToken": "x"}),
            "InvalidParameterException",
            "The specified nextToken is invalid.",
        )
        .await;
}

#[tokio::test]
async fn tags_come_and_go_in_both_forms() {
    let server = with_stream(&[]).await;
    server
        .logs(
            "TagResource",
            &json!({"resourceArn": ARN, "tags": {"a": "1", "b": "2"}}),
        )
        .await;
    server
        .logs(
            "TagLogGroup",
            &json!({"logGroupName": GROUP, "tags": {"b": "3", "c": ""}}),
        )
        .await;
    let list = json!({"resourceArn": ARN});
    let tags = server.logs("ListTagsForResource", &list).await;
    assert_eq!(tags, json!({"tags": {"a": "1", "b": "3", "c": ""}}));
    server
        .logs(
            "UntagResource",
            &json!({"resourceArn": ARN, "tagKeys": ["a", "zz"]}),
        )
        .await;
    server
        .logs(
            "UntagLogGroup",
            &json!({"logGroupName": GROUP, "tags": ["c"]}),
        )
        .await;
    let tags = server
        .logs("ListTagsLogGroup", &json!({"logGroupName": GROUP}))
        .await;
    assert_eq!(tags, json!({"tags": {"b": "3"}}));
    let asked = server.asked.0.lock().unwrap().clone();
    assert!(asked.contains(&format!("logs:TagResource {ARN}")));
    let many: serde_json::Map<String, Value> =
        (0..50).map(|n| (format!("k{n}"), json!("v"))).collect();
    server
        .logs_refused(
            "TagResource",
            &json!({"resourceArn": ARN, "tags": many}),
            "TooManyTagsException",
            "A resource can have no more than 50 tags.",
        )
        .await;
    server
        .logs_refused(
            "ListTagsForResource",
            &json!({"resourceArn": format!("{ARN}x")}),
            "ResourceNotFoundException",
            "The specified log group does not exist.",
        )
        .await;
    server
        .logs_refused(
            "TagResource",
            &json!({"resourceArn": "x:y", "tags": {"a": "1"}}),
            "InvalidParameterException",
            "Invalid log group identifier: x:y",
        )
        .await;
}

#[tokio::test]
async fn a_deleted_group_comes_back_empty() {
    let server = with_stream(&["s"]).await;
    put(&server, "s", &[(0, "old")]).await;
    server
        .logs("DeleteLogGroup", &json!({"logGroupName": GROUP}))
        .await;
    server
        .logs("CreateLogGroup", &json!({"logGroupName": GROUP}))
        .await;
    let streams = server
        .logs("DescribeLogStreams", &json!({"logGroupName": GROUP}))
        .await;
    assert_eq!(streams, json!({"logStreams": []}));
    let events = server
        .logs("FilterLogEvents", &json!({"logGroupName": GROUP}))
        .await;
    assert_eq!(events, json!({"events": [], "searchedLogStreams": []}));
    let left = server.store.journal.list("logs/", None, 10).await.unwrap();
    assert_eq!(left, []);
    let left = server.store.kv.scan("logs/", None, 10).await.unwrap();
    assert_eq!(left.len(), 1, "only the new group: {left:?}");
}

#[tokio::test]
async fn an_interrupted_deletion_is_finished_later() {
    let server = with_stream(&["s"]).await;
    put(&server, "s", &[(0, "old")]).await;
    // What is on disk when the process dies right after the group's record went.
    let (key, entry) = server
        .store
        .kv
        .scan("logs/group:", None, 1)
        .await
        .unwrap()
        .remove(0);
    let group: archive::Group = store::record::decode(&entry.value).unwrap();
    let note = format!("logs/gone:{}", group.id);
    let value = Bytes::copy_from_slice(key.as_bytes());
    server
        .store
        .kv
        .put(&note, value.clone(), store::Expect::Any)
        .await
        .unwrap();
    server
        .store
        .kv
        .delete(&key, store::Expect::Any)
        .await
        .unwrap();
    server.telemetry.logs().archive.expire().await.unwrap();
    assert_eq!(server.store.kv.scan("logs/", None, 10).await.unwrap(), []);
    assert_eq!(
        server.store.journal.list("logs/", None, 10).await.unwrap(),
        []
    );
    // And when it dies before: the note about a living group does nothing.
    server
        .store
        .kv
        .put(&key, entry.value, store::Expect::Any)
        .await
        .unwrap();
    server
        .store
        .kv
        .put(&note, value, store::Expect::Any)
        .await
        .unwrap();
    server.telemetry.logs().archive.expire().await.unwrap();
    let left = server.store.kv.scan("logs/", None, 10).await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    let server = Server::start().await;
    let (status, reply) = server
        .json(&scope(), "Logs_20140328.StartQuery", &json!({}))
        .await;
    assert_eq!((status, &reply["__type"]), (501, &json!("NotImplemented")));
    let (status, reply) = server
        .json(&scope(), "Logs_20140328.Nope", &json!({}))
        .await;
    assert_eq!(
        (status, &reply["__type"]),
        (400, &json!("UnknownOperationException"))
    );
}
