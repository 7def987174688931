use serde_json::json;

use crate::bed::{Bed, FUNCTION};

fn path() -> String {
    format!("/2017-03-31/tags/{}", FUNCTION.replace(':', "%3A"))
}

#[tokio::test]
async fn added_listed_and_removed() {
    let bed = Bed::new().await;
    let before = bed.hello().await;
    assert_eq!(bed.get(&path()).await.ok(), json!({ "Tags": {} }));
    let added = bed
        .post(&path(), json!({ "Tags": { "a": "1", "b": "2" } }))
        .await;
    assert_eq!((added.status, added.body.len()), (204, 0));
    bed.post(&path(), json!({ "Tags": { "b": "3", "c": "4" } }))
        .await
        .ok();
    assert_eq!(
        bed.get(&path()).await.ok(),
        json!({ "Tags": { "a": "1", "b": "3", "c": "4" } })
    );
    assert_ne!(
        bed.active("hello").await["RevisionId"],
        before["RevisionId"]
    );
    bed.delete(&format!("{}?tagKeys=a&tagKeys=x&tagKeys=b", path()))
        .await
        .ok();
    assert_eq!(bed.get(&path()).await.ok(), json!({ "Tags": { "c": "4" } }));
    bed.delete(&format!("{}?tagKeys=c", path())).await.ok();
    assert_eq!(
        bed.get("/2015-03-31/functions/hello")
            .await
            .ok()
            .get("Tags"),
        None
    );
}

#[tokio::test]
async fn what_is_refused() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.publish().await;
    let other = format!("{}other", path().strip_suffix("hello").unwrap());
    bed.get(&other).await.fails(
        404,
        "ResourceNotFoundException",
        "Function not found: arn:aws:lambda:eu-west-1:123456789012:function:other",
    );
    bed.post(&format!("{}:1", path()), json!({ "Tags": {} })).await.fails(
        400,
        "InvalidParameterValueException",
        "Tags on function aliases and versions are not supported. Please specify either a function name or an unqualified function ARN.",
    );
    let many: serde_json::Map<_, _> = (0..51).map(|n| (n.to_string(), json!("x"))).collect();
    bed.post(&path(), json!({ "Tags": many })).await.fails(
        400,
        "InvalidParameterValueException",
        "Number of tags exceeds resource tag limit.",
    );
    let bad = bed.post(&path(), json!({ "Tags": { "a!": "1" } })).await;
    assert_eq!(bad.header("x-amzn-errortype"), Some("ValidationException"));
    let bad = bed.get("/2017-03-31/tags/hello").await;
    assert_eq!(bad.header("x-amzn-errortype"), Some("ValidationException"));
}

#[tokio::test]
async fn tags_are_condition_keys() {
    let bed = Bed::new().await;
    bed.create_with(json!({ "Tags": { "team": "a" } }))
        .await
        .ok();
    let asked = bed.guard.asked.lock().unwrap()[0].clone();
    assert!(
        asked
            .keys
            .contains(&("aws:RequestTag/team".into(), vec!["a".to_owned()]))
    );
    assert!(
        asked
            .keys
            .contains(&("aws:TagKeys".into(), vec!["team".to_owned()]))
    );
    bed.guard.asked.lock().unwrap().clear();
    bed.invoke("hello", &[], "{}").await.ok();
    let asked = bed.guard.asked.lock().unwrap()[0].clone();
    assert!(
        asked
            .keys
            .contains(&("aws:ResourceTag/team".into(), vec!["a".to_owned()]))
    );
}
