use serde_json::{Value, json};

use crate::bed::{Bed, FUNCTION};

const VERSIONS: &str = "/2015-03-31/functions/hello/versions";

#[tokio::test]
async fn published_once_for_each_change() {
    let bed = Bed::new().await;
    let latest = bed.hello().await;
    let first = bed
        .post(
            VERSIONS,
            json!({ "Description": "one", "RevisionId": latest["RevisionId"] }),
        )
        .await;
    assert_eq!(first.status, 201);
    let first = first.json();
    assert_eq!(first["Version"], "1");
    assert_eq!(first["FunctionArn"], format!("{FUNCTION}:1"));
    assert_eq!(first["Description"], "one");
    assert_eq!(first["State"], "Active");
    // Publishing changes the revision of $LATEST.
    assert_ne!(
        bed.active("hello").await["RevisionId"],
        latest["RevisionId"]
    );

    let again = bed
        .post(VERSIONS, json!({ "Description": "other" }))
        .await
        .ok();
    assert_eq!(again, first);
    bed.put(
        "/2015-03-31/functions/hello/configuration",
        json!({ "Description": "changed" }),
    )
    .await
    .ok();
    bed.active("hello").await;
    let second = bed.publish().await;
    assert_eq!(second["Version"], "2");
    assert_eq!(second["Description"], "changed");
    bed.new_code("three").await;
    assert_eq!(bed.publish().await["Version"], "3");

    let listed = bed.get(VERSIONS).await.ok();
    let listed: Vec<_> = listed["Versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| {
            (
                v["Version"].as_str().unwrap(),
                v["FunctionArn"]
                    .as_str()
                    .unwrap()
                    .rsplit(':')
                    .next()
                    .unwrap(),
            )
        })
        .collect();
    assert_eq!(
        listed,
        [("$LATEST", "$LATEST"), ("1", "1"), ("2", "2"), ("3", "3")]
    );
    let old = bed
        .get("/2015-03-31/functions/hello?Qualifier=1")
        .await
        .ok();
    assert_eq!(old["Configuration"], first);
}

#[tokio::test]
async fn what_publish_refuses() {
    let bed = Bed::new().await;
    let latest = bed.hello().await;
    bed.post(VERSIONS, json!({ "RevisionId": "wrong" })).await.fails(
        412,
        "PreconditionFailedException",
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id",
    );
    let current = latest["CodeSha256"].as_str().unwrap();
    bed.post(VERSIONS, json!({ "CodeSha256": "wrong" })).await.fails(
        400,
        "InvalidParameterValueException",
        &format!("CodeSHA256 (wrong) is different from current CodeSHA256 in $LATEST ({current}). Please try again with the CodeSHA256 in $LATEST."),
    );
    bed.post(VERSIONS, json!({ "CodeSha256": current }))
        .await
        .ok();
    bed.post("/2015-03-31/functions/other/versions", json!({}))
        .await
        .fails(
            404,
            "ResourceNotFoundException",
            "Function not found: arn:aws:lambda:eu-west-1:123456789012:function:other",
        );
}

#[tokio::test]
async fn published_with_the_function() {
    let bed = Bed::new().await;
    let created = bed.create_with(json!({ "Publish": true })).await.ok();
    assert_eq!(created["Version"], "1");
    assert_eq!(created["State"], "Pending");
    bed.active("hello").await;
    let version = bed
        .get("/2015-03-31/functions/hello/configuration?Qualifier=1")
        .await
        .ok();
    assert_eq!(
        (&version["State"], &version["RevisionId"]),
        (&json!("Active"), &created["RevisionId"])
    );
    // Nothing changed since.
    assert_eq!(bed.publish().await["Version"], "1");
}

#[tokio::test]
async fn deleted_unless_an_alias_needs_it() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.publish().await;
    let alias = json!({ "Name": "prod", "FunctionVersion": "1" });
    bed.post("/2015-03-31/functions/hello/aliases", alias)
        .await
        .ok();
    let path = "/2015-03-31/functions/hello?Qualifier=1";
    bed.delete(path).await.fails(
        409,
        "ResourceConflictException",
        "Unable to delete version because the following aliases reference it: [prod]",
    );
    bed.delete("/2015-03-31/functions/hello/aliases/prod")
        .await
        .ok();
    assert_eq!(bed.delete(path).await.status, 204);
    assert_eq!(bed.delete(path).await.status, 204);
    assert_eq!(bed.get(path).await.status, 404);
    // Numbers are never used twice.
    assert_eq!(bed.publish().await["Version"], "2");
    assert_eq!(
        bed.delete("/2015-03-31/functions/hello?Qualifier=prod")
            .await
            .status,
        400
    );
    let gone = bed
        .get("/2015-03-31/functions/hello?Qualifier=1")
        .await
        .json();
    assert_eq!(
        gone["message"],
        Value::from(format!("Function not found: {FUNCTION}:1"))
    );
}
