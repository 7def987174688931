//! How the processes of an environment get the credentials of its role.
//!
//! Most have keys among their variables, as on AWS, and the environment ends before the keys do. What may be a fork of a
//! template is told where to ask for them, as often as it likes, and lives on
//! (<https://docs.aws.amazon.com/lambda/latest/dg/snapstart-security.html>,
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde_json::json;

use crate::spec::{Credentials, CredentialsSource, Lasting};
use crate::variables::RUNTIME_API;

/// Where the keys are asked for, at the Runtime API.
pub(crate) const CREDENTIALS_PATH: &str = "/2021-04-23/credentials";
/// Keys with less time left are not given out again. SDKs ask anew when a quarter of an hour is left, and would ask before
/// every call if they got the same ones.
const LEFT_MIN: Duration = Duration::from_secs(30 * 60);
/// Longer than any environment lives, as its keys are made anew.
const ENDLESS: Duration = Duration::from_secs(3650 * 24 * 3600);

/// The keys of one environment.
pub(crate) enum Grant {
    /// For as long as it lives.
    Keys(Credentials),
    /// To be asked for.
    Asked(Asked),
}

/// Keys that are asked for.
pub(crate) struct Asked {
    /// Proves that who asks is told the variables of this environment. Nobody else reaches its loopback either.
    token: String,
    source: CredentialsSource,
    last: Mutex<Last>,
}

struct Last {
    keys: Credentials,
    /// From when on they are made anew.
    stale: SystemTime,
}

impl Last {
    fn made(keys: Credentials, now: SystemTime) -> Self {
        let lasting = keys.expires.duration_since(now).unwrap_or_default();
        let stale = now + lasting.saturating_sub(LEFT_MIN).max(lasting / 2);
        Last { keys, stale }
    }
}

/// Why nobody is given keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The token is not this environment's, or it has its keys among its variables.
    Stranger,
    /// The role cannot be assumed; the text is for operators.
    Role(String),
}

impl Grant {
    /// The first keys are made at once: a role that cannot be assumed is found before anything is started.
    pub(crate) fn asked(source: CredentialsSource, now: SystemTime) -> Result<Grant, String> {
        let first = source(Lasting::Renewed)?;
        let part = || uuid::Uuid::new_v4().simple().to_string();
        Ok(Grant::Asked(Asked {
            token: part() + &part(),
            source,
            last: Mutex::new(Last::made(first, now)),
        }))
    }

    /// Makes the keys anew: some were made for an environment that waited since.
    pub(crate) fn renew(&self, now: SystemTime) -> Result<(), String> {
        if let Grant::Asked(asked) = self {
            let keys = (asked.source)(Lasting::Renewed)?;
            *asked.last() = Last::made(keys, now);
        }
        Ok(())
    }

    /// What tells SDKs about it.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Grant::Keys(keys) => vec![
                ("AWS_ACCESS_KEY_ID", keys.access_key_id.clone()),
                ("AWS_SECRET_ACCESS_KEY", keys.secret_access_key.clone()),
                ("AWS_SESSION_TOKEN", keys.session_token.clone()),
            ],
            Grant::Asked(asked) => vec![
                (
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    format!("http://{RUNTIME_API}{CREDENTIALS_PATH}"),
                ),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN", asked.token.clone()),
            ],
        }
    }

    /// By when the environment must have ended.
    pub(crate) fn ends(&self, now: SystemTime) -> SystemTime {
        match self {
            Grant::Keys(keys) => keys.expires,
            Grant::Asked(_) => now + ENDLESS,
        }
    }

    /// The document for a client with this `Authorization`.
    pub(crate) fn answer(
        &self,
        authorization: Option<&str>,
        now: SystemTime,
    ) -> Result<String, Denied> {
        let Grant::Asked(asked) = self else {
            return Err(Denied::Stranger);
        };
        let shown = authorization.unwrap_or_default().as_bytes();
        verify_slices_are_equal(shown, asked.token.as_bytes()).map_err(|_| Denied::Stranger)?;
        let keys = asked.fresh(now).map_err(Denied::Role)?;
        document(&keys)
    }
}

impl Asked {
    /// The last keys, or new ones. When there are no new ones, the last are given for as long as they are good.
    fn fresh(&self, now: SystemTime) -> Result<Credentials, String> {
        let mut last = self.last();
        if now < last.stale {
            return Ok(last.keys.clone());
        }
        match (self.source)(Lasting::Renewed) {
            Ok(keys) => *last = Last::made(keys, now),
            Err(why) if now < last.keys.expires => {
                tracing::warn!(why, "a function's credentials were not made anew");
            }
            Err(why) => return Err(why),
        }
        Ok(last.keys.clone())
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn document(keys: &Credentials) -> Result<String, Denied> {
    let expires = jiff::Timestamp::try_from(keys.expires);
    let expires = expires.map_err(|error| Denied::Role(error.to_string()))?;
    Ok(json!({
        "AccessKeyId": keys.access_key_id,
        "SecretAccessKey": keys.secret_access_key,
        "Token": keys.session_token,
        "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    })
    .to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// A role whose sessions last so many seconds, each made at the time that is told, until there is none to be had.
    struct Role {
        lasting: u64,
        now: AtomicU64,
        sessions: AtomicU64,
        sessions_max: u64,
    }

    impl Role {
        fn source(self: &Arc<Self>) -> CredentialsSource {
            let role = self.clone();
            Arc::new(move |_| {
                let number = role.sessions.fetch_add(1, Ordering::Relaxed);
                if number >= role.sessions_max {
                    return Err("the role is gone".to_owned());
                }
                Ok(Credentials {
                    access_key_id: format!("ASIA{number}"),
                    secret_access_key: "secret".to_owned(),
                    session_token: "token".to_owned(),
                    expires: at(role.now.load(Ordering::Relaxed) + role.lasting),
                })
            })
        }

        fn grant(self: &Arc<Self>) -> Grant {
            Grant::asked(self.source(), at(0)).unwrap()
        }
    }

    /// What a process with the token gets at these times, from sessions of so many seconds.
    #[track_caller]
    fn check(lasting: u64, sessions_max: u64, expected: &[(u64, &str)]) {
        let role = Arc::new(Role {
            lasting,
            now: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            sessions_max,
        });
        let grant = role.grant();
        let token = grant.variables()[1].1.clone();
        for (now, key) in expected {
            role.now.store(*now, Ordering::Relaxed);
            let found = match grant.answer(Some(&token), at(*now)) {
                Ok(document) => document,
                Err(Denied::Role(why)) => why,
                Err(Denied::Stranger) => "a stranger".to_owned(),
            };
            assert!(found.contains(key), "{found} after {now} s");
        }
    }

    #[test]
    fn keys_are_made_anew_before_they_end() {
        // Twelve hours: until half an hour is left.
        let end = 12 * 3600;
        check(
            end,
            9,
            &[
                (0, "ASIA0"),
                (end - 1801, "ASIA0"),
                (end - 1800, "ASIA1"),
                (end, "ASIA1"),
                (3 * end, "ASIA2"),
            ],
        );
        // Shorter ones: until half their time is over, so that not every call makes a session.
        check(
            900,
            9,
            &[
                (449, "ASIA0"),
                (450, "ASIA1"),
                (899, "ASIA1"),
                (900, "ASIA2"),
            ],
        );
    }

    #[test]
    fn what_is_good_is_given_while_there_is_nothing_new() {
        check(
            900,
            1,
            &[(0, "ASIA0"), (899, "ASIA0"), (900, "the role is gone")],
        );
    }

    #[test]
    fn strangers_get_nothing() {
        let role = Arc::new(Role {
            lasting: 900,
            now: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            sessions_max: 9,
        });
        let [one, other] = [role.grant(), role.grant()];
        let stolen = other.variables()[1].1.clone();
        for shown in [None, Some(""), Some(&*stolen), Some(&stolen[1..])] {
            assert_eq!(one.answer(shown, at(0)), Err(Denied::Stranger), "{shown:?}");
        }
        let plain = Grant::Keys(role.source()(Lasting::Long).unwrap());
        assert_eq!(plain.answer(Some(""), at(0)), Err(Denied::Stranger));
    }

    #[test]
    fn the_document_is_what_sdks_read() {
        let keys = Credentials {
            access_key_id: "ASIA".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: "token".to_owned(),
            expires: at(4_000_000_000),
        };
        let document: serde_json::Value = serde_json::from_str(&document(&keys).unwrap()).unwrap();
        let expected = json!({
            "AccessKeyId": "ASIA",
            "SecretAccessKey": "secret",
            "Token": "token",
            "Expiration": "2096-10-02T07:06:40Z",
        });
        assert_eq!(document, expected);
    }
}
