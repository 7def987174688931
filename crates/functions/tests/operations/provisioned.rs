use engine::{ProvisionFailure, Provisioned};
use serde_json::{Value, json};

use crate::bed::{Bed, FUNCTION};

const VERSIONS: &str = "/2015-03-31/functions/hello/versions";
const ALIASES: &str = "/2015-03-31/functions/hello/aliases";
const INVALID: &str = "InvalidParameterValueException";
const CONFLICT: &str = "ResourceConflictException";

fn at(qualifier: &str) -> String {
    format!("/2019-09-30/functions/hello/provisioned-concurrency?Qualifier={qualifier}")
}

fn wanted(count: i64) -> Value {
    json!({ "ProvisionedConcurrentExecutions": count })
}

/// A function with the versions 1 and 2 and the alias `live` of the first.
async fn published() -> Bed {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.post(VERSIONS, json!({})).await.ok();
    bed.put(
        "/2015-03-31/functions/hello/configuration",
        json!({ "Description": "other" }),
    )
    .await
    .ok();
    bed.active("hello").await;
    bed.post(VERSIONS, json!({})).await.ok();
    bed.post(ALIASES, json!({ "Name": "live", "FunctionVersion": "1" }))
        .await
        .ok();
    bed
}

fn told(bed: &Bed) -> Vec<(String, u32)> {
    bed.recorder.provisioned.lock().unwrap()["hello"].clone()
}

fn allocate(bed: &Bed, version: &str, allocated: u32, failure: Option<ProvisionFailure>) {
    let there = Provisioned {
        allocated,
        busy: 0,
        failure,
    };
    let mut all = bed.recorder.allocated.lock().unwrap();
    all.insert(version.to_owned(), there);
}

#[tokio::test]
async fn asked_for_shown_and_given_back() {
    let bed = published().await;
    let put = bed.put(&at("2"), wanted(3)).await;
    assert_eq!(put.status, 202);
    let put = put.ok();
    let mut expected = json!({
        "RequestedProvisionedConcurrentExecutions": 3,
        "AvailableProvisionedConcurrentExecutions": 0,
        "AllocatedProvisionedConcurrentExecutions": 0,
        "Status": "IN_PROGRESS",
        "LastModified": put["LastModified"],
    });
    assert_eq!(put, expected);
    assert_eq!(told(&bed), [("2".to_owned(), 3)]);
    assert_eq!(bed.get(&at("2")).await.ok(), expected);

    allocate(&bed, "2", 3, None);
    expected["Status"] = json!("READY");
    expected["AvailableProvisionedConcurrentExecutions"] = json!(3);
    expected["AllocatedProvisionedConcurrentExecutions"] = json!(3);
    assert_eq!(bed.get(&at("2")).await.ok(), expected);
    expected["FunctionArn"] = json!(format!("{FUNCTION}:2"));
    let listed = bed
        .get("/2019-09-30/functions/hello/provisioned-concurrency?List=ALL")
        .await;
    assert_eq!(
        listed.ok(),
        json!({ "ProvisionedConcurrencyConfigs": [expected] })
    );

    assert_eq!(bed.delete(&at("2")).await.status, 204);
    assert_eq!(told(&bed), []);
    assert_eq!(bed.delete(&at("2")).await.status, 204);
    bed.get(&at("2")).await.fails(
        404,
        "ProvisionedConcurrencyConfigNotFoundException",
        "No Provisioned Concurrency Config found for this function",
    );
}

#[tokio::test]
async fn a_failure_says_why() {
    let bed = published().await;
    bed.put(&at("live"), wanted(2)).await.ok();
    allocate(&bed, "1", 0, Some(ProvisionFailure::Init));
    let found = bed.get(&at("live")).await.ok();
    assert_eq!(found["Status"], "FAILED");
    assert_eq!(found["StatusReason"], "FUNCTION_ERROR_INIT_FAILURE");
}

#[tokio::test]
async fn an_alias_takes_its_environments_along() {
    let bed = published().await;
    bed.put(&at("live"), wanted(4)).await.ok();
    assert_eq!(told(&bed), [("1".to_owned(), 4)]);
    let alias = format!("{ALIASES}/live");
    bed.put(&alias, json!({ "FunctionVersion": "2" }))
        .await
        .ok();
    assert_eq!(told(&bed), [("2".to_owned(), 4)]);
    let shared = json!({ "RoutingConfig": { "AdditionalVersionWeights": { "1": 0.25 } } });
    bed.put(&alias, shared).await.ok();
    assert_eq!(told(&bed), [("2".to_owned(), 3), ("1".to_owned(), 1)]);
    bed.put(&at("live"), wanted(4)).await.fails(
        400,
        INVALID,
        "Alias with weights can not be used with Provisioned Concurrency",
    );
    bed.delete(&alias).await;
    assert_eq!(told(&bed), []);
}

#[tokio::test]
async fn what_is_deleted_has_none() {
    let bed = published().await;
    bed.put(&at("2"), wanted(1)).await.ok();
    bed.delete("/2015-03-31/functions/hello?Qualifier=2").await;
    assert_eq!(told(&bed), []);
    bed.put(&at("live"), wanted(1)).await.ok();
    bed.delete("/2015-03-31/functions/hello").await;
    assert_eq!(told(&bed), []);
    let settings = bed.get("/2016-08-19/account-settings").await.ok();
    let limit = &settings["AccountLimit"];
    assert_eq!(limit["UnreservedConcurrentExecutions"], 1000);
}

#[tokio::test]
async fn it_is_told_again_after_a_start() {
    let bed = published().await;
    bed.put(&at("live"), wanted(2)).await.ok();
    let bed = bed.restart().await;
    assert_eq!(told(&bed), [("1".to_owned(), 2)]);
}

#[tokio::test]
async fn where_it_cannot_be() {
    let bed = published().await;
    bed.put(&at("$LATEST"), wanted(1)).await.fails(
        400,
        INVALID,
        "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
    );
    let published_only = "The function resource provided must be an alias or a published version.";
    bed.get(&at("$LATEST"))
        .await
        .fails(400, INVALID, published_only);
    bed.delete(&at("$LATEST"))
        .await
        .fails(400, INVALID, published_only);
    let missing = "ResourceNotFoundException";
    let alias = format!("Cannot find alias arn: {FUNCTION}:no");
    bed.put(&at("no"), wanted(1))
        .await
        .fails(404, missing, &alias);
    let version = format!("Function not found: {FUNCTION}:9");
    bed.get(&at("9")).await.fails(404, missing, &version);
    let zero = bed.put(&at("1"), wanted(0)).await;
    assert_eq!(zero.header("x-amzn-errortype"), Some("ValidationException"));

    bed.put(&at("live"), wanted(1)).await.ok();
    bed.put(&at("1"), wanted(1)).await.fails(
        409,
        CONFLICT,
        "Version is pointed by a Provisioned Concurrency alias",
    );
    bed.put(&at("2"), wanted(1)).await.ok();
    let twice = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version";
    bed.put(
        &format!("{ALIASES}/live"),
        json!({ "FunctionVersion": "2" }),
    )
    .await
    .fails(409, CONFLICT, twice);
    bed.post(ALIASES, json!({ "Name": "new", "FunctionVersion": "2" }))
        .await
        .ok();
    bed.put(&at("new"), wanted(1))
        .await
        .fails(409, CONFLICT, twice);
}

#[tokio::test]
async fn it_is_a_part_of_what_is_reserved() {
    let bed = published().await;
    const RESERVED: &str = "/2017-10-31/functions/hello/concurrency";
    let reserve = |count: i64| json!({ "ReservedConcurrentExecutions": count });
    bed.put(RESERVED, reserve(3)).await.ok();
    bed.put(&at("1"), wanted(2)).await.ok();
    let above = "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function";
    bed.put(&at("2"), wanted(2))
        .await
        .fails(400, INVALID, above);
    bed.put(&at("2"), wanted(1)).await.ok();
    bed.put(RESERVED, reserve(2)).await.fails(
        400,
        INVALID,
        "ReservedConcurrentExecutions should not be lower than function's total provisioned concurrency [3].",
    );
    let settings = bed.get("/2016-08-19/account-settings").await.ok();
    let limit = &settings["AccountLimit"];
    assert_eq!(limit["UnreservedConcurrentExecutions"], 997);
}

#[tokio::test]
async fn without_reserved_it_comes_out_of_the_account() {
    let bed = published().await;
    bed.put(&at("1"), wanted(901)).await.fails(
        400,
        INVALID,
        "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100].",
    );
    bed.put(&at("1"), wanted(1001)).await.fails(
        400,
        INVALID,
        "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000].",
    );
    bed.put(&at("1"), wanted(900)).await.ok();
    let settings = bed.get("/2016-08-19/account-settings").await.ok();
    let limit = &settings["AccountLimit"];
    assert_eq!(limit["UnreservedConcurrentExecutions"], 100);
    bed.create_with(json!({ "FunctionName": "two" })).await.ok();
    let reserve = json!({ "ReservedConcurrentExecutions": 1 });
    bed.put("/2017-10-31/functions/two/concurrency", reserve)
        .await
        .fails(
            400,
            INVALID,
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100].",
        );
}
