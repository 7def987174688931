use serde_json::{Value, json};

use crate::bed::{Bed, base64, zip};

const BASE: &str = "arn:aws:lambda:eu-west-1:123456789012:layer:base";
const VERSIONS: &str = "/2018-10-31/layers/base/versions";

async fn publish(bed: &Bed, name: &str, files: &[(&str, &str)]) -> Value {
    let body = json!({
        "Content": { "ZipFile": base64(&zip(files)) }, "Description": "shared", "LicenseInfo": "MIT",
        "CompatibleRuntimes": ["python3.11", "provided.al2023"], "CompatibleArchitectures": ["x86_64"],
    });
    let reply = bed
        .post(&format!("/2018-10-31/layers/{name}/versions"), body)
        .await;
    assert_eq!(reply.status, 201, "{:?}", reply.body);
    reply.json()
}

#[tokio::test]
async fn published_got_listed_deleted() {
    let bed = Bed::new().await;
    let first = publish(&bed, "base", &[("python/a.py", "1")]).await;
    assert_eq!(first["LayerArn"], BASE);
    assert_eq!(first["LayerVersionArn"], format!("{BASE}:1"));
    assert_eq!(
        (&first["Version"], &first["LicenseInfo"]),
        (&json!(1), &json!("MIT"))
    );
    let location = first["Content"]["Location"].as_str().unwrap();
    let token = location.rsplit('/').next().unwrap();
    assert_eq!(
        bed.functions.code_download(token).await.unwrap(),
        zip(&[("python/a.py", "1")])
    );
    publish(&bed, "base", &[("python/a.py", "2")]).await;
    publish(&bed, "other", &[("x", "y")]).await;

    let mut got = bed.get(&format!("{VERSIONS}/1")).await.ok();
    assert_eq!(got["Content"]["CodeSha256"], first["Content"]["CodeSha256"]);
    let by_arn = bed
        .get(&format!(
            "/2018-10-31/layers?find=LayerVersion&Arn={BASE}:1"
        ))
        .await
        .ok();
    got["Content"]["Location"] = by_arn["Content"]["Location"].clone();
    assert_eq!(by_arn, got);
    let layers = bed.get("/2018-10-31/layers").await.ok();
    let layers = layers["Layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    assert_eq!(layers[0]["LayerName"], "base");
    assert_eq!(layers[0]["LatestMatchingVersion"]["Version"], 2);
    let none = bed
        .get("/2018-10-31/layers?CompatibleRuntime=ruby3.3")
        .await
        .ok();
    assert_eq!(none, json!({ "Layers": [] }));
    let page = bed.get(&format!("{VERSIONS}?MaxItems=1")).await.ok();
    assert_eq!(page["LayerVersions"][0]["Version"], 2);
    let marker = page["NextMarker"].as_str().unwrap();
    let page = bed
        .get(&format!("{VERSIONS}?MaxItems=1&Marker={marker}"))
        .await
        .ok();
    assert_eq!(
        page["LayerVersions"][0]["LayerVersionArn"],
        format!("{BASE}:1")
    );
    assert_eq!(page.get("NextMarker"), None);

    assert_eq!(bed.delete(&format!("{VERSIONS}/2")).await.status, 204);
    assert_eq!(bed.delete(&format!("{VERSIONS}/2")).await.status, 204);
    bed.get(&format!("{VERSIONS}/2")).await.fails(
        404,
        "ResourceNotFoundException",
        "The resource you requested does not exist.",
    );
    // Numbers are never used twice.
    assert_eq!(publish(&bed, "base", &[("a", "b")]).await["Version"], 3);
    bed.get(&format!("{VERSIONS}/0")).await.fails(
        400,
        "InvalidParameterValueException",
        "Layer Version Cannot be less than 1",
    );
    let body = json!({ "Content": { "ZipFile": base64(b"x") }, "CompatibleRuntimes": ["x"] });
    let bad = bed.post(VERSIONS, body).await;
    let text = bad.json()["message"].as_str().unwrap().to_owned();
    assert!(text.starts_with("1 validation error detected: Value '[x]' at 'compatibleRuntimes' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: ["), "{text}");
}

#[tokio::test]
async fn laid_over_one_another_in_order() {
    let bed = Bed::new().await;
    publish(
        &bed,
        "base",
        &[
            ("both", "base"),
            ("python/only-base", "1"),
            ("swap/a", "folder"),
        ],
    )
    .await;
    publish(
        &bed,
        "over",
        &[
            ("both", "over"),
            ("python/only-over", "2"),
            ("swap", "file"),
        ],
    )
    .await;
    let over = BASE.replace(":base", ":over");
    let layers = json!({ "Layers": [format!("{BASE}:1"), format!("{over}:1")] });
    let created = bed.create_with(layers).await.ok();
    assert_eq!(created["Layers"][0]["Arn"], format!("{BASE}:1"));
    assert!(created["Layers"][1]["CodeSize"].as_u64().unwrap() > 0);
    bed.active("hello").await;
    bed.invoke("hello", &[], "{}").await.ok();
    let opt = bed.recorder.specs.lock().unwrap()[0]
        .layers
        .clone()
        .unwrap();
    let read = |name: &str| std::fs::read_to_string(opt.join(name)).unwrap();
    assert_eq!(
        (read("both").as_str(), read("swap").as_str()),
        ("over", "file")
    );
    assert_eq!(
        (
            read("python/only-base").as_str(),
            read("python/only-over").as_str()
        ),
        ("1", "2")
    );
    // A function keeps the layers that it has.
    bed.delete(&format!("{VERSIONS}/1")).await.ok();
    bed.put(
        "/2015-03-31/functions/hello/configuration",
        json!({ "Timeout": 9 }),
    )
    .await
    .ok();
    bed.active("hello").await;
    bed.invoke("hello", &[], "{}").await.ok();
    assert_eq!(read("both"), "over");
    // The layer's own file is untouched by what lies over it.
    let none = bed
        .put(
            "/2015-03-31/functions/hello/configuration",
            json!({ "Layers": [] }),
        )
        .await
        .ok();
    assert_eq!(none.get("Layers"), None);
}

#[tokio::test]
async fn what_functions_refuse() {
    let bed = Bed::new().await;
    publish(&bed, "base", &[("a", "1")]).await;
    publish(&bed, "base", &[("a", "2")]).await;
    let invalid = "InvalidParameterValueException";
    let check = async |layers: Value, message: &str| {
        bed.create_with(json!({ "Layers": layers }))
            .await
            .fails(400, invalid, message);
    };
    let many: Vec<_> = (1..7).map(|n| format!("{BASE}{n}:1")).collect();
    check(json!(many), "Cannot reference more than 5 layers.").await;
    check(
        json!([format!("{BASE}:1"), format!("{BASE}:2")]),
        &format!("Two different versions of the same layer are not allowed to be referenced in the same function. {BASE}:1 and {BASE}:2 are versions of the same layer."),
    )
    .await;
    check(
        json!([format!("{BASE}:9")]),
        &format!("Layer version {BASE}:9 does not exist."),
    )
    .await;
    let elsewhere = BASE.replace("eu-west-1", "us-east-1");
    check(
        json!([format!("{elsewhere}:1")]),
        "Layers are not in the same region as the function. Layers are expected to be in region eu-west-1.",
    )
    .await;
    let malformed = bed.create_with(json!({ "Layers": [BASE] })).await;
    assert_eq!(
        malformed.header("x-amzn-errortype"),
        Some("ValidationException")
    );
}

#[tokio::test]
async fn whoever_uses_a_layer_must_be_allowed_to_get_it() {
    let bed = Bed::new().await;
    publish(&bed, "base", &[("a", "1")]).await;
    let policy = format!("{VERSIONS}/1/policy");
    bed.get(&policy).await.fails(
        404,
        "ResourceNotFoundException",
        "No policy is associated with the given resource.",
    );
    let body = json!({ "StatementId": "x", "Action": "lambda:GetLayerVersion", "Principal": "210987654321" });
    let added = bed.post(&policy, body.clone()).await;
    assert_eq!(added.status, 201);
    let added = added.json();
    let statement = format!(
        r#"{{"Sid":"x","Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::210987654321:root"}},"Action":"lambda:GetLayerVersion","Resource":"{BASE}:1"}}"#
    );
    assert_eq!(added["Statement"], statement);
    assert_eq!(
        bed.get(&policy).await.ok()["RevisionId"],
        added["RevisionId"]
    );
    bed.post(&policy, body).await.fails(
        409,
        "ResourceConflictException",
        "The statement id (x) provided already exists. Please provide a new statement id, or remove the existing statement.",
    );
    bed.post(
        &format!("{VERSIONS}/7/policy"),
        json!({ "StatementId": "y", "Action": "lambda:GetLayerVersion", "Principal": "*" }),
    )
    .await
    .fails(
        404,
        "ResourceNotFoundException",
        &format!("Layer version {BASE}:7 does not exist."),
    );
    let bad = bed
        .post(
            &policy,
            json!({ "StatementId": "y", "Action": "lambda:*", "Principal": "*" }),
        )
        .await;
    assert_eq!(bad.header("x-amzn-errortype"), Some("ValidationException"));

    bed.guard.asked.lock().unwrap().clear();
    bed.create_with(json!({ "Layers": [format!("{BASE}:1")] }))
        .await
        .ok();
    let asked = bed.guard.asked.lock().unwrap().clone();
    assert!(
        asked[0]
            .keys
            .contains(&("lambda:Layer".into(), vec![format!("{BASE}:1")]))
    );
    let get = asked
        .iter()
        .find(|asked| asked.action == "lambda:GetLayerVersion")
        .unwrap();
    assert_eq!(get.resource, format!("{BASE}:1"));
    assert!(get.policy.as_ref().unwrap().contains(&statement));

    bed.delete(&format!("{policy}/x?RevisionId=wrong")).await.fails(
        412,
        "PreconditionFailedException",
        "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the latest Revision Id",
    );
    assert_eq!(bed.delete(&format!("{policy}/x")).await.status, 204);
    bed.delete(&format!("{policy}/x")).await.fails(
        404,
        "ResourceNotFoundException",
        "Statement x is not found in resource policy.",
    );
}
