use serde_json::{Value, json};

use crate::bed::{Bed, FUNCTION};

const ALIASES: &str = "/2015-03-31/functions/hello/aliases";
const PROD: &str = "/2015-03-31/functions/hello/aliases/prod";
const INVALID: &str = "InvalidParameterValueException";

/// `hello` with the versions 1 and 2.
async fn two_versions() -> Bed {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.publish().await;
    bed.new_code("two").await;
    bed.publish().await;
    bed
}

#[tokio::test]
async fn from_creation_to_deletion() {
    let bed = two_versions().await;
    let latest = bed.active("hello").await;
    let created = bed
        .post(
            ALIASES,
            json!({ "Name": "prod", "FunctionVersion": "1", "Description": "live" }),
        )
        .await;
    assert_eq!(created.status, 201);
    let created = created.json();
    assert_eq!(
        created,
        json!({ "AliasArn": format!("{FUNCTION}:prod"), "Name": "prod", "FunctionVersion": "1", "Description": "live", "RevisionId": created["RevisionId"] })
    );
    assert_eq!(bed.get(PROD).await.ok(), created);
    assert_eq!(bed.active("hello").await, latest);
    let shown = bed
        .get("/2015-03-31/functions/hello?Qualifier=prod")
        .await
        .ok();
    assert_eq!(
        shown["Configuration"]["FunctionArn"],
        format!("{FUNCTION}:prod")
    );
    assert_eq!(shown["Configuration"]["Version"], "1");

    bed.put(PROD, json!({ "RevisionId": "wrong" })).await.fails(
        412,
        "PreconditionFailedException",
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id",
    );
    let body = json!({ "FunctionVersion": "2", "RevisionId": created["RevisionId"] });
    let updated = bed.put(PROD, body).await.ok();
    assert_eq!(
        (&updated["FunctionVersion"], &updated["Description"]),
        (&json!("2"), &json!("live"))
    );
    assert_ne!(updated["RevisionId"], created["RevisionId"]);

    bed.post(
        ALIASES,
        json!({ "Name": "dev", "FunctionVersion": "$LATEST" }),
    )
    .await
    .ok();
    let names = |list: Value| -> Vec<String> {
        list["Aliases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a["Name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(bed.get(ALIASES).await.ok()), ["dev", "prod"]);
    assert_eq!(
        names(bed.get(&format!("{ALIASES}?FunctionVersion=2")).await.ok()),
        ["prod"]
    );
    let page = bed.get(&format!("{ALIASES}?MaxItems=1")).await.ok();
    let marker = page["NextMarker"].as_str().unwrap();
    assert_eq!(
        names(
            bed.get(&format!("{ALIASES}?MaxItems=1&Marker={marker}"))
                .await
                .ok()
        ),
        ["prod"]
    );

    assert_eq!(bed.delete(PROD).await.status, 204);
    assert_eq!(bed.delete(PROD).await.status, 204);
    bed.get(PROD).await.fails(
        404,
        "ResourceNotFoundException",
        &format!("Cannot find alias arn: {FUNCTION}:prod"),
    );
}

#[tokio::test]
async fn what_is_refused() {
    let bed = two_versions().await;
    let check = async |body: Value, status, code: &str, message: &str| {
        bed.post(ALIASES, body).await.fails(status, code, message);
    };
    let weights = |version: &str, weights: Value| json!({ "Name": "prod", "FunctionVersion": version, "RoutingConfig": { "AdditionalVersionWeights": weights } });
    check(
        json!({ "Name": "12", "FunctionVersion": "1" }),
        400,
        "ValidationException",
        "1 validation error detected: Value '12' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)",
    )
    .await;
    let missing = format!("Function not found: {FUNCTION}:9");
    check(
        json!({ "Name": "prod", "FunctionVersion": "9" }),
        404,
        "ResourceNotFoundException",
        &missing,
    )
    .await;
    check(
        weights("1", json!({ "9": 0.5 })),
        404,
        "ResourceNotFoundException",
        &missing,
    )
    .await;
    check(
        weights("1", json!({ "2": 0.5, "3": 0.1 })),
        400,
        INVALID,
        "Number of items in AdditionalVersionWeights cannot be greater than 1",
    )
    .await;
    check(
        weights("$LATEST", json!({ "2": 0.5 })),
        400,
        INVALID,
        "$LATEST is not supported for an alias pointing to more than 1 version",
    )
    .await;
    check(
        weights("1", json!({ "1": 0.5 })),
        400,
        INVALID,
        "Invalid function version 1. Function version 1 is already included in routing configuration.",
    )
    .await;
    check(
        weights("1", json!({ "2": 1.5 })),
        400,
        "ValidationException",
        "1 validation error detected: Value '{2=1.5}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value greater than or equal to 0.0, Member must not be null]",
    )
    .await;
    bed.post(ALIASES, json!({ "Name": "prod", "FunctionVersion": "1" }))
        .await
        .ok();
    check(
        json!({ "Name": "prod", "FunctionVersion": "1" }),
        409,
        "ResourceConflictException",
        &format!("Alias already exists: {FUNCTION}:prod"),
    )
    .await;
    bed.put("/2015-03-31/functions/hello/aliases/x", json!({}))
        .await
        .fails(
            404,
            "ResourceNotFoundException",
            &format!("Cannot find alias arn: {FUNCTION}:x"),
        );
}

#[tokio::test]
async fn weights_decide_where_an_invocation_goes() {
    let bed = two_versions().await;
    let routing =
        |weight: f64| json!({ "RoutingConfig": { "AdditionalVersionWeights": { "2": weight } } });
    let mut body = routing(0.3);
    body["Name"] = json!("prod");
    body["FunctionVersion"] = json!("1");
    let created = bed.post(ALIASES, body).await.ok();
    assert_eq!(
        created["RoutingConfig"],
        json!({ "AdditionalVersionWeights": { "2": 0.3 } })
    );
    // The bed's random number is always 0.25.
    let executed = async || {
        let reply = bed.invoke("hello:prod", &[], "{}").await;
        reply.header("x-amz-executed-version").unwrap().to_owned()
    };
    assert_eq!(executed().await, "2");
    bed.put(PROD, routing(0.25)).await.ok();
    assert_eq!(executed().await, "1");
    bed.put(PROD, json!({ "RoutingConfig": {} })).await.ok();
    assert_eq!(executed().await, "1");
    let ran = bed.recorder.ran.lock().unwrap().clone();
    assert_eq!(ran[0].version, "2");
    assert_eq!(ran[0].arn, format!("{FUNCTION}:prod"));
}
