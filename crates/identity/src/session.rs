//! Sessions: temporary credentials whose token carries everything about them, sealed with a key of this server. Nothing is
//! stored for a session, so sessions cost no disk and survive a restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::{Expect, Kv};
use wire::AccountId;
use wire::sigv4::{Sha256, sha256};

use crate::limits::OPEN_SESSIONS_MAX;
use crate::policy::{Attached, Flavour, Policy};
use crate::records::Tag;
use crate::{Error, ids};

/// Where the sealing key is stored.
const SEALING_KEY: &str = "identity/sealing-key";
/// Names the format and keeps tokens from being taken for anything else that the key might seal.
const PURPOSE: &[u8] = b"mayfly session token 1";
/// What every token begins with, after the base64.
const FORMAT: u8 = 1;
/// AES-GCM's nonce.
const NONCE_BYTES: usize = 12;
/// Format, nonce and tag.
const OVERHEAD_BYTES: usize = 1 + NONCE_BYTES + 16;

/// What a token says.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub key_id: String,
    pub secret: String,
    pub account: String,
    pub issued_ms: i64,
    pub expires_ms: i64,
    pub who: Who,
    /// Session policies as text; `None` where the session was made without any kind of session policy.
    #[serde(default)]
    pub policies: Option<Vec<String>>,
    #[serde(default)]
    pub policy_arns: Vec<String>,
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// The keys of tags that go along when this session assumes another role.
    #[serde(default)]
    pub transitive: Vec<String>,
    #[serde(default)]
    pub source_identity: Option<String>,
}

/// Whose session.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Who {
    /// `GetSessionToken` of the root user.
    Root,
    /// `GetSessionToken` of a user.
    User { id: String },
    /// `AssumeRole`, or a service acting in a role.
    Role {
        id: String,
        name: String,
        session: String,
    },
    /// `GetFederationToken` of a user, or of the root user (`None`).
    Federated { id: Option<String>, name: String },
}

/// An opened token.
pub(crate) struct Session {
    pub claims: Claims,
    pub account: AccountId,
    /// The session policies that came as text, compiled.
    pub inline: Vec<Attached>,
}

/// Makes and opens tokens.
pub(crate) struct Sessions {
    key: RandomizedNonceKey,
    /// Two generations: when the young one is full it becomes the old one, and what was only in the old one is forgotten.
    open: Mutex<[HashMap<Sha256, Arc<Session>>; 2]>,
}

impl Sessions {
    /// With the stored sealing key, made at the first start.
    pub async fn open(kv: &dyn Kv) -> Result<Self, Error> {
        let key = match kv.get(SEALING_KEY).await? {
            Some(entry) => entry.value,
            None => {
                let made = Bytes::copy_from_slice(&ids::random::<32>()?);
                match kv.put(SEALING_KEY, made.clone(), Expect::Absent).await {
                    Ok(_) => made,
                    Err(store::Error::Conflict { .. }) => kv
                        .get(SEALING_KEY)
                        .await?
                        .map(|entry| entry.value)
                        .ok_or(Error::Concurrent)?,
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let damaged = |_| Error::Damaged {
            what: SEALING_KEY.to_owned(),
            detail: "not 32 bytes".to_owned(),
        };
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(damaged)?;
        Ok(Self {
            key,
            open: Mutex::default(),
        })
    }

    /// The token, of at least `bytes_min` characters.
    pub fn seal(&self, claims: &Claims, bytes_min: usize) -> Result<String, Error> {
        let mut sealed = serde_json::to_vec(claims).map_err(|_| Error::Crypto)?;
        // Base64 makes four characters of three bytes; JSON may end in spaces.
        let bytes = bytes_min.div_ceil(4) * 3;
        sealed.resize(sealed.len().max(bytes.saturating_sub(OVERHEAD_BYTES)), b' ');
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(PURPOSE), &mut sealed)
            .map_err(|_| Error::Crypto)?;
        let mut token = vec![FORMAT];
        token.extend_from_slice(nonce.as_ref());
        token.append(&mut sealed);
        Ok(BASE64.encode(token))
    }

    /// The session of a token of ours; `None` for anything else.
    pub fn find(&self, token: &str) -> Option<Arc<Session>> {
        let digest = sha256(token.as_bytes());
        if let Some(session) = self.remembered(&digest) {
            return Some(session);
        }
        let session = Arc::new(self.unseal(token)?);
        self.remember(digest, session.clone());
        Some(session)
    }

    fn unseal(&self, token: &str) -> Option<Session> {
        let token = BASE64.decode(token).ok()?;
        let (&FORMAT, rest) = token.split_first()? else {
            return None;
        };
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES)?;
        let nonce = aws_lc_rs::aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(PURPOSE), &mut sealed)
            .ok()?;
        let claims: Claims = serde_json::from_slice(opened).ok()?;
        let compile = |text: &String| {
            let policy = Policy::parse(text, Flavour::Inline).ok()?;
            Some(Attached {
                name: "session".into(),
                policy: Arc::new(policy),
            })
        };
        let inline = claims
            .policies
            .iter()
            .flatten()
            .map(compile)
            .collect::<Option<_>>()?;
        Some(Session {
            account: AccountId::new(&claims.account)?,
            claims,
            inline,
        })
    }

    fn remembered(&self, digest: &Sha256) -> Option<Arc<Session>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = open[0].get(digest) {
            return Some(session.clone());
        }
        let session = open[1].remove(digest)?;
        open[0].insert(*digest, session.clone());
        Some(session)
    }

    fn remember(&self, digest: Sha256, session: Arc<Session>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open[0].len() >= OPEN_SESSIONS_MAX / 2 {
            open[1] = std::mem::take(&mut open[0]);
        }
        open[0].insert(digest, session);
    }
}
