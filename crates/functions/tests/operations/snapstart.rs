use bytes::Bytes;
use engine::{Initialization, Unprepared};
use serde_json::{Value, json};

use crate::bed::{Bed, until};

const CONFIGURATION: &str = "/2015-03-31/functions/hello/configuration";
const INVALID: &str = "InvalidParameterValueException";

fn snap_start() -> Value {
    json!({ "SnapStart": { "ApplyOn": "PublishedVersions" } })
}

/// A Python that this machine has.
fn python(bed: &Bed) -> String {
    let found = bed.runtimes.found().map(|runtime| runtime.id);
    let mut pythons = found.filter(|id| id.starts_with("python3."));
    pythons
        .next()
        .expect("these tests need a Python on the machine")
        .to_owned()
}

async fn with_snap_start() -> Bed {
    let bed = Bed::new().await;
    let mut settings = snap_start();
    settings["Runtime"] = json!(python(&bed));
    bed.create_with(settings).await.ok();
    let latest = bed.active("hello").await;
    let expected = json!({ "ApplyOn": "PublishedVersions", "OptimizationStatus": "Off" });
    assert_eq!(latest["SnapStart"], expected);
    bed
}

async fn state(bed: &Bed, wanted: &str) -> Value {
    let mut last = Value::Null;
    let path = format!("{CONFIGURATION}?Qualifier=1");
    until(async || {
        last = bed.get(&path).await.ok();
        last["State"] == wanted
    })
    .await;
    last
}

#[tokio::test]
async fn a_version_is_active_when_its_init_has_run() {
    let bed = with_snap_start().await;
    let gate = bed.recorder.gate.lock().await;
    let published = bed.publish().await;
    assert_eq!(published["State"], "Pending");
    assert_eq!(published["StateReasonCode"], "Creating");
    bed.invoke("hello:1", &[], "{}").await.fails(
        409,
        "SnapStartNotReadyException",
        "Lambda is initializing your function. It will be ready to invoke once your function state becomes ACTIVE.",
    );
    // $LATEST has no part in it.
    assert_eq!(bed.invoke("hello", &[], "{}").await.status, 200);
    drop(gate);
    let active = state(&bed, "Active").await;
    let expected = json!({ "ApplyOn": "PublishedVersions", "OptimizationStatus": "On" });
    assert_eq!(active["SnapStart"], expected);
    assert_eq!(active["RevisionId"], published["RevisionId"]);
    assert_eq!(bed.invoke("hello:1", &[], "{}").await.status, 200);
    assert_eq!(*bed.recorder.prepared.lock().unwrap(), ["1"]);
    let ran = bed.recorder.specs.lock().unwrap().clone();
    let kinds: Vec<_> = ran.iter().map(|spec| spec.initialization).collect();
    assert_eq!(kinds, [Initialization::OnDemand, Initialization::SnapStart]);
    // Nothing changed, so there is nothing to publish.
    assert_eq!(bed.publish().await["Version"], "1");
}

#[tokio::test]
async fn a_version_whose_init_fails_says_why() {
    let bed = with_snap_start().await;
    bed.recorder.inits.lock().unwrap().push(Unprepared::Init {
        error_type: "Runtime.ImportModuleError".to_owned(),
        document: Bytes::from_static(b"{\"errorMessage\":\"No module named 'x'\"}"),
    });
    bed.publish().await;
    let failed = state(&bed, "Failed").await;
    assert_eq!(failed["StateReasonCode"], "FunctionError.RuntimeInitError");
    assert_eq!(
        failed["StateReason"],
        "Function initialization failed: Runtime.ImportModuleError: No module named 'x'"
    );
}

#[tokio::test]
async fn init_runs_again_after_a_start() {
    let bed = with_snap_start().await;
    bed.publish().await;
    state(&bed, "Active").await;
    let bed = bed.restart().await;
    until(async || *bed.recorder.prepared.lock().unwrap() == ["1"]).await;
    state(&bed, "Active").await;
}

#[tokio::test]
async fn what_has_none() {
    let bed = Bed::new().await;
    let refused = |what: &str| format!("{what} is not supported for SnapStart enabled functions.");
    bed.create_with(snap_start())
        .await
        .fails(400, INVALID, &refused("provided.al2023"));
    let mut large = snap_start();
    large["Runtime"] = json!(python(&bed));
    large["EphemeralStorage"] = json!({ "Size": 513 });
    let storage = refused("EphemeralStorage greater than 512 MB");
    bed.create_with(large).await.fails(400, INVALID, &storage);

    let bed = with_snap_start().await;
    bed.put(
        CONFIGURATION,
        json!({ "EphemeralStorage": { "Size": 600 } }),
    )
    .await
    .fails(400, INVALID, &storage);
    bed.publish().await;
    state(&bed, "Active").await;
    bed.put(
        "/2019-09-30/functions/hello/provisioned-concurrency?Qualifier=1",
        json!({ "ProvisionedConcurrentExecutions": 1 }),
    )
    .await
    .fails(400, INVALID, &refused("Provisioned Concurrency"));
    let none = json!({ "SnapStart": { "ApplyOn": "None" } });
    bed.put(CONFIGURATION, none).await.ok();
    let latest = bed.active("hello").await;
    assert_eq!(latest["SnapStart"]["ApplyOn"], "None");
}
