//! The role's credentials as processes inside an environment of SnapStart get them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use engine::{Credentials, FunctionSpec, Initialization, Lasting};
use serde_json::{Value, json};

use crate::bed::Bed;

/// Asks for credentials with some tokens, and tells what it knows itself. Init tells what it sees.
const ASKS: &str = "
import json, os
from urllib.error import HTTPError
from urllib.request import Request, urlopen

def known():
    return sorted(name for name in os.environ if name.startswith('AWS_CONTAINER') or 'KEY' in name or 'TOKEN' in name)

INIT = [os.environ.get('AWS_ACCESS_KEY_ID'), known()]

def ask(token):
    headers = {} if token is None else {'Authorization': token}
    try:
        return json.load(urlopen(Request(os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI'], headers=headers)))
    except HTTPError as error:
        return error.code

def handler(event, context):
    token = os.environ['AWS_CONTAINER_AUTHORIZATION_TOKEN']
    return {'right': ask(token), 'wrong': [ask(t) for t in [None, '', token[:-1], token + 'x'] + event['tokens']],
            'token': token, 'known': known(), 'init': INIT}
";

/// A function whose sessions are numbered. The first ended long ago, the others hold for long.
fn asks(bed: &Bed) -> Arc<FunctionSpec> {
    let mut spec = bed.function(ASKS);
    spec.initialization = Initialization::SnapStart;
    let (made, name) = (AtomicU32::new(0), spec.name.clone());
    spec.credentials = Arc::new(move |lasting| {
        assert_eq!(lasting, Lasting::Renewed);
        let number = made.fetch_add(1, Ordering::Relaxed);
        let ends_s = if number == 0 { 1 } else { 4_000_000_000 };
        Ok(Credentials {
            access_key_id: format!("ASIA{name}-{number}"),
            secret_access_key: "secret".to_owned(),
            session_token: "session".to_owned(),
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(ends_s),
        })
    });
    Arc::new(spec)
}

async fn answer(bed: &Bed, spec: &Arc<FunctionSpec>, tokens: &[&Value]) -> Value {
    let event = json!({ "tokens": tokens }).to_string();
    bed.invoke(spec, &event).await.json()
}

/// An environment outlives its keys, and one's token is nothing to another.
#[track_caller]
fn check(answer: &Value, spec: &FunctionSpec) {
    let mut right = answer["right"].clone();
    // Forks that are made meanwhile have keys too.
    let key = right["AccessKeyId"].take();
    let key = key.as_str().unwrap();
    let number = key.strip_prefix(&format!("ASIA{}-", spec.name)).unwrap();
    assert!(number.parse::<u32>().unwrap() > 0, "{key}");
    let expected = json!({
        "AccessKeyId": null,
        "SecretAccessKey": "secret",
        "Token": "session",
        "Expiration": "2096-10-02T07:06:40Z",
    });
    assert_eq!(right, expected);
    let wrong = answer["wrong"].as_array().unwrap();
    assert!(wrong.iter().all(|status| *status == 403), "{answer}");
    let variables = json!([
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    ]);
    assert_eq!(answer["known"], variables);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_asks_for_its_credentials_and_outlives_them() {
    let bed = Bed::new();
    let (one, other) = (asks(&bed), asks(&bed));
    for spec in [&one, &other] {
        let prepared = bed.engine.prepare(spec.clone()).await.unwrap();
        assert_eq!(prepared.template, Ok(()), "{}", bed.recorder.text());
    }
    let first = answer(&bed, &one, &[]).await;
    check(&first, &one);
    // The template held a placeholder, and no token.
    let keys = json!([
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN"
    ]);
    assert_eq!(first["init"], json!(["MAYFLY-TEMPLATE", keys]));
    let second = answer(&bed, &other, &[&first["token"]]).await;
    check(&second, &other);
    assert_ne!(first["token"], second["token"]);
    let again = answer(&bed, &one, &[&second["token"]]).await;
    check(&again, &one);
    assert_eq!(again["right"], first["right"], "its keys are good for long");
    assert_eq!(again["token"], first["token"], "the same environment");
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_an_environment_that_has_no_template() {
    let bed = Bed::new();
    let spec = asks(&bed);
    let first = answer(&bed, &spec, &[]).await;
    check(&first, &spec);
    let again = answer(&bed, &spec, &[]).await;
    check(&again, &spec);
    assert_eq!(again["right"], first["right"], "its keys are good for long");
    assert_eq!(first["token"], again["token"], "the same environment");
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_that_comes_before_its_template() {
    let bed = Bed::new();
    let mut spec = FunctionSpec::clone(&asks(&bed));
    spec.initialization = Initialization::OnDemand;
    spec.template = true;
    let spec = Arc::new(spec);
    let first = answer(&bed, &spec, &[]).await;
    assert!(!bed.recorder.text().contains("RESTORE_START"));
    check(&first, &spec);
    bed.end().await;
}
