//! The role's credentials as processes inside an environment get them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use engine::{Credentials, Initialization};

use crate::bed::Bed;

/// Asks for credentials with the right token, with a wrong one and with none, and tells what keys it has as variables.
const ASKS: &str = "
import json, os
from urllib.error import HTTPError
from urllib.request import Request, urlopen

def ask(token):
    headers = {} if token is None else {'Authorization': token}
    try:
        return json.load(urlopen(Request(os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI'], headers=headers)))
    except HTTPError as error:
        return error.code

def handler(event, context):
    token = os.environ['AWS_CONTAINER_AUTHORIZATION_TOKEN']
    keys = [name for name in os.environ if 'ACCESS_KEY' in name or 'SESSION_TOKEN' in name]
    return [ask(token), ask(token[:-1] + '_'), ask(None), keys]
";

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_environment_asks_for_its_credentials_and_outlives_them() {
    let bed = Bed::new();
    let mut spec = bed.function(ASKS);
    spec.initialization = Initialization::SnapStart;
    let made = Arc::new(AtomicU32::new(0));
    let count = made.clone();
    // The first keys ended long ago; the others hold for long.
    spec.credentials = Arc::new(move || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let ends_s = if number == 0 { 1 } else { 4_000_000_000 };
        Ok(Credentials {
            access_key_id: format!("ASIA{number}"),
            secret_access_key: "secret".to_owned(),
            session_token: "token".to_owned(),
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(ends_s),
        })
    });
    let spec = Arc::new(spec);
    for _ in 0..2 {
        let answer = bed.invoke(&spec, "{}").await.json();
        assert_eq!(answer[0]["AccessKeyId"], "ASIA1", "{answer}");
        assert_eq!(answer[0]["SecretAccessKey"], "secret");
        assert_eq!(answer[0]["Token"], "token");
        assert_eq!(answer[0]["Expiration"], "2096-10-02T07:06:40Z");
        assert_eq!((&answer[1], &answer[2]), (&403.into(), &403.into()));
        assert_eq!(answer[3], serde_json::json!([]));
    }
    assert_eq!(made.load(Ordering::Relaxed), 2);
    assert_eq!(bed.recorder.text().matches("INIT_START").count(), 1);
    bed.end().await;
}
