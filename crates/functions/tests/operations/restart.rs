use std::time::Duration;

use serde_json::json;

use crate::bed::{Bed, base64, zip};

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let bed = Bed::new().await;
    let layer = json!({ "Content": { "ZipFile": base64(&zip(&[("a", "1")])) } });
    let layer = bed
        .post("/2018-10-31/layers/base/versions", layer)
        .await
        .ok();
    bed.create_with(json!({ "Layers": [layer["LayerVersionArn"]], "Tags": { "a": "b" } }))
        .await
        .ok();
    bed.active("hello").await;
    bed.publish().await;
    let alias = json!({ "Name": "prod", "FunctionVersion": "1" });
    bed.post("/2015-03-31/functions/hello/aliases", alias)
        .await
        .ok();
    let statement =
        json!({ "StatementId": "a", "Action": "lambda:InvokeFunction", "Principal": "*" });
    bed.post(
        "/2015-03-31/functions/hello/policy?Qualifier=prod",
        statement,
    )
    .await
    .ok();
    bed.put(
        "/2017-10-31/functions/hello/concurrency",
        json!({ "ReservedConcurrentExecutions": 7 }),
    )
    .await
    .ok();
    let paths = [
        "/2015-03-31/functions/hello",
        "/2015-03-31/functions/hello/versions",
        "/2015-03-31/functions/hello/aliases",
        "/2015-03-31/functions/hello/policy?Qualifier=prod",
        "/2018-10-31/layers/base/versions",
        "/2016-08-19/account-settings",
    ];
    let mut before = Vec::new();
    for path in paths {
        before.push(bed.get(path).await.ok());
    }
    let bed = bed.restart().await;
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(bed.get(path).await.ok(), before, "{path}");
    }
    assert_eq!(bed.recorder.reserved.lock().unwrap()["hello"], Some(7));
    let reply = bed.invoke("hello:prod", &[], "{}").await;
    assert_eq!(reply.header("x-amz-executed-version"), Some("1"));
    let code = bed.recorder.specs.lock().unwrap()[0].code.clone();
    assert!(code.join("bootstrap").is_file());
    let token = bed.get("/2015-03-31/functions/hello").await.ok();
    let token = token["Code"]["Location"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    assert!(bed.functions.code_download(&token).await.is_some());
}

#[tokio::test]
async fn an_unfinished_creation_is_finished() {
    let bed = Bed::new().await;
    bed.hello().await;
    // As a crash between the record and the activation leaves it.
    let key = "lambda/functions/123456789012/eu-west-1/hello";
    let entry = bed.store.kv.get(key).await.unwrap().unwrap();
    let text = String::from_utf8(entry.value.to_vec()).unwrap();
    let text = text.replacen("\"Active\"", "\"Pending\"", 1);
    let expect = store::Expect::Revision(entry.revision);
    bed.store.kv.put(key, text.into(), expect).await.unwrap();
    let packages = bed.folder.path().join("functions/code/packages");
    std::fs::remove_dir_all(&packages).unwrap();
    let bed = bed.restart().await;
    assert_eq!(bed.active("hello").await["State"], "Active");
    bed.invoke("hello", &[], "{}").await.ok();
    let code = bed.recorder.specs.lock().unwrap()[0].code.clone();
    assert!(code.join("bootstrap").is_file());
}

#[tokio::test]
async fn code_that_is_missing_is_unpacked_again() {
    let bed = Bed::new().await;
    bed.hello().await;
    let packages = bed.folder.path().join("functions/code/packages");
    std::fs::remove_dir_all(&packages).unwrap();
    let bed = bed.restart().await;
    bed.invoke("hello", &[], "{}").await.ok();
    let code = bed.recorder.specs.lock().unwrap()[0].code.clone();
    assert!(code.join("bootstrap").is_file());
}

#[tokio::test]
async fn what_a_crash_left_over_is_removed() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.publish().await;
    let versions = bed.store.kv.scan_all("lambda/versions/").await.unwrap();
    let (key, entry) = &versions[0];
    let orphan = format!("{}/orphan", key.rsplit_once('/').unwrap().0);
    bed.store
        .kv
        .put(&orphan, entry.value.clone(), store::Expect::Absent)
        .await
        .unwrap();
    let temp = bed.folder.path().join("functions/code/temp/half");
    std::fs::create_dir(&temp).unwrap();
    let bed = bed.restart().await;
    assert_eq!(
        bed.store
            .kv
            .scan_all("lambda/versions/")
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(!temp.exists());
    assert_eq!(
        bed.get("/2015-03-31/functions/hello?Qualifier=1")
            .await
            .status,
        200
    );
}

/// What was changed last comes last, so that it does not make way for others; old versions without an alias do not come at all.
#[tokio::test]
async fn after_a_restart_what_is_likely_to_be_called_is_expected() {
    let bed = Bed::new().await;
    bed.hello().await;
    for text in ["one", "two", "three", "four"] {
        bed.new_code(text).await;
        bed.publish().await;
    }
    let alias = json!({ "Name": "prod", "FunctionVersion": "2", "RoutingConfig": { "AdditionalVersionWeights": { "1": 0.5 } } });
    bed.post("/2015-03-31/functions/hello/aliases", alias)
        .await
        .ok();
    bed.clock.advance(Duration::from_secs(1));
    bed.create_with(json!({ "FunctionName": "after" }))
        .await
        .ok();
    bed.active("after").await;
    let bed = bed.restart().await;
    let expected = bed.recorder.expected.lock().unwrap().clone();
    let of = |name: &str, versions: &[&str]| -> Vec<(String, String)> {
        let named = |version: &&str| (name.to_owned(), (*version).to_owned());
        versions.iter().map(named).collect()
    };
    let hello = of("hello", &["1", "2", "4", "$LATEST"]);
    assert_eq!(expected, [hello, of("after", &["$LATEST"])].concat());
}
