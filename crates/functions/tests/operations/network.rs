//! Who reaches the internet: what the server says, and what a tag may change about it.

use engine::NetworkPolicy::{self, Endpoint, Internet};
use serde_json::json;

use crate::bed::{Bed, FUNCTION};

fn path() -> String {
    format!("/2017-03-31/tags/{}", FUNCTION.replace(':', "%3A"))
}

/// The policy and the environment's key of an invocation now.
async fn ran(bed: &Bed, name: &str) -> (NetworkPolicy, String) {
    bed.invoke(name, &[], "{}").await.ok();
    let specs = bed.recorder.specs.lock().unwrap();
    let spec = specs.last().unwrap();
    (spec.network, spec.key.clone())
}

async fn tag(bed: &Bed, value: &str) {
    let tags = json!({ "Tags": { "mayfly:internet": value } });
    bed.post(&path(), tags).await.ok();
}

async fn untag(bed: &Bed) {
    let path = format!("{}?tagKeys=mayfly%3Ainternet", path());
    bed.delete(&path).await.ok();
}

#[tokio::test]
async fn closed_unless_the_operator_says_otherwise() {
    let bed = Bed::new().await;
    bed.hello().await;
    assert_eq!(ran(&bed, "hello").await.0, Endpoint);
    // A wish that nobody grants is refused, in both places where it can be made.
    let wish = json!({ "Tags": { "mayfly:internet": "open" } });
    let words = "The tag mayfly:internet cannot open the internet on this server. Its operator may set internet_by_tag.";
    let refused = "InvalidParameterValueException";
    bed.post(&path(), wish.clone())
        .await
        .fails(400, refused, words);
    let mut other = wish;
    other["FunctionName"] = json!("other");
    bed.create_with(other.clone())
        .await
        .fails(400, refused, words);
    // Creating with the tag takes leave to tag.
    bed.guard
        .denied
        .lock()
        .unwrap()
        .push("lambda:TagResource".to_owned());
    assert_eq!(bed.create_with(other).await.status, 403);
    assert_eq!(ran(&bed, "hello").await.0, Endpoint);
}

#[tokio::test]
async fn a_tag_opens_and_closes_where_the_operator_allows_it() {
    let bed = Bed::with(|config| config.internet_by_tag = true).await;
    bed.hello().await;
    bed.publish().await;
    let closed = [ran(&bed, "hello").await, ran(&bed, "hello:1").await];
    assert_eq!([closed[0].0, closed[1].0], [Endpoint; 2]);
    tag(&bed, "open").await;
    // All versions alike, in environments of their own.
    let open = [ran(&bed, "hello").await, ran(&bed, "hello:1").await];
    assert_eq!([open[0].0, open[1].0], [Internet; 2]);
    assert!(open[0].1 != closed[0].1 && open[1].1 != closed[1].1);
    let retired = || bed.recorder.retired.lock().unwrap().len();
    assert_eq!(retired(), 1);
    assert!(
        open[0]
            .1
            .starts_with(&bed.recorder.retired.lock().unwrap()[0])
    );
    // Other tags change nothing about it.
    let tags = json!({ "Tags": { "team": "a" } });
    bed.post(&path(), tags).await.ok();
    assert_eq!((ran(&bed, "hello").await, retired()), (open[0].clone(), 1));
    tag(&bed, "closed").await;
    assert_eq!(
        (ran(&bed, "hello").await, retired()),
        (closed[0].clone(), 2)
    );
    tag(&bed, "open").await;
    untag(&bed).await;
    assert_eq!(
        (ran(&bed, "hello:1").await, retired()),
        (closed[1].clone(), 4)
    );
    let tags = json!({ "Tags": { "mayfly:internet": "ajar" } });
    bed.post(&path(), tags).await.fails(
        400,
        "InvalidParameterValueException",
        "The value of the tag mayfly:internet must be open or closed.",
    );
}

#[tokio::test]
async fn one_function_closes_what_the_server_opens() {
    let bed = Bed::with(|config| config.network = Internet).await;
    bed.hello().await;
    assert_eq!(ran(&bed, "hello").await.0, Internet);
    tag(&bed, "closed").await;
    assert_eq!(ran(&bed, "hello").await.0, Endpoint);
    // With the server open, the wish for it is granted.
    tag(&bed, "open").await;
    assert_eq!(ran(&bed, "hello").await.0, Internet);
}

#[tokio::test]
async fn a_tag_from_more_generous_days_opens_nothing() {
    let bed = Bed::with(|config| config.internet_by_tag = true).await;
    bed.hello().await;
    tag(&bed, "open").await;
    assert_eq!(ran(&bed, "hello").await.0, Internet);
    // The usual configuration again.
    let bed = bed.restart().await;
    bed.active("hello").await;
    assert_eq!(ran(&bed, "hello").await.0, Endpoint);
    untag(&bed).await;
}
