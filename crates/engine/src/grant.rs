//! How the processes of an environment get the credentials of its role.
//!
//! Most have keys among their variables, as on AWS, and the environment ends before the keys do. An environment out of a
//! version's template has none in it: it is told where to ask for them, as often as it likes
//! (<https://docs.aws.amazon.com/lambda/latest/dg/snapstart-activate.html#snapstart-credentials>).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::spec::{Credentials, CredentialsSource, Initialization};
use crate::variables::RUNTIME_API;

/// Where the keys are asked for, at the Runtime API.
pub(crate) const CREDENTIALS_PATH: &str = "/2021-04-23/credentials";
/// Keys with less time left are not given out. SDKs ask again when a quarter of an hour is left, and would ask without end
/// if they got the same ones.
const LEFT_MIN: Duration = Duration::from_secs(30 * 60);

/// Longer than any environment lives: its keys are made anew.
const ENDLESS: Duration = Duration::from_secs(3650 * 24 * 3600);

/// One environment's.
pub(crate) enum Grant {
    /// Keys for as long as it lives.
    Keys(Credentials),
    /// Keys to be asked for.
    Asked {
        /// Proves that one is a process of this environment; nobody else reaches its loopback either.
        token: String,
        source: CredentialsSource,
        last: Mutex<Credentials>,
    },
}

impl Grant {
    /// Asks the role for the first keys either way: a role that cannot be assumed is found before anything is started.
    pub(crate) fn new(
        initialization: Initialization,
        source: &CredentialsSource,
    ) -> Result<Grant, String> {
        let first = source()?;
        Ok(match initialization {
            Initialization::OnDemand | Initialization::Provisioned => Grant::Keys(first),
            Initialization::SnapStart => {
                let part = || uuid::Uuid::new_v4().simple().to_string();
                Grant::Asked {
                    token: part() + &part(),
                    source: source.clone(),
                    last: Mutex::new(first),
                }
            }
        })
    }

    /// What tells clients about it.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Grant::Keys(keys) => vec![
                ("AWS_ACCESS_KEY_ID", keys.access_key_id.clone()),
                ("AWS_SECRET_ACCESS_KEY", keys.secret_access_key.clone()),
                ("AWS_SESSION_TOKEN", keys.session_token.clone()),
            ],
            Grant::Asked { token, .. } => vec![
                (
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    format!("http://{RUNTIME_API}{CREDENTIALS_PATH}"),
                ),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN", token.clone()),
            ],
        }
    }

    /// When the environment must have ended.
    pub(crate) fn ends(&self) -> SystemTime {
        match self {
            Grant::Keys(keys) => keys.expires,
            Grant::Asked { .. } => SystemTime::now() + ENDLESS,
        }
    }

    /// The document for a client with this `Authorization`; `None` when it is not one of ours.
    pub(crate) fn answer(&self, authorization: Option<&str>) -> Option<Result<String, String>> {
        let Grant::Asked {
            token,
            source,
            last,
        } = self
        else {
            return None;
        };
        let shown = authorization.unwrap_or_default().as_bytes();
        aws_lc_rs::constant_time::verify_slices_are_equal(shown, token.as_bytes()).ok()?;
        Some(fresh(source, last).map(|keys| document(&keys)))
    }
}

/// The last keys, or new ones. When there are no new ones the last are given for as long as they are good.
fn fresh(source: &CredentialsSource, last: &Mutex<Credentials>) -> Result<Credentials, String> {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let now = SystemTime::now();
    if last.expires > now + LEFT_MIN {
        return Ok(last.clone());
    }
    match source() {
        Ok(made) => *last = made,
        Err(why) if last.expires > now => {
            tracing::warn!(why, "a function's credentials were not made anew");
        }
        Err(why) => return Err(why),
    }
    Ok(last.clone())
}

fn document(keys: &Credentials) -> String {
    let expires = jiff::Timestamp::try_from(keys.expires).unwrap_or(jiff::Timestamp::MAX);
    json!({
        "AccessKeyId": keys.access_key_id,
        "SecretAccessKey": keys.secret_access_key,
        "Token": keys.session_token,
        "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    })
    .to_string()
}
