//! Signing keys: four HMACs deep, the same all day for one key, region and service, so worth keeping.

use super::Sha256;
use aws_lc_rs::hmac;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use subtle::ConstantTimeEq;

/// How many signing keys are kept. Past it all are dropped: a full cache is yesterday's, or an attack.
const KEYS_MAX: usize = 4096;

/// The signing keys computed lately, by credential.
#[derive(Default)]
pub struct KeyCache(Mutex<HashMap<String, Kept>>);

/// The secret is kept to notice a key id whose secret is another one by now.
struct Kept {
    secret: Box<[u8]>,
    key: SigningKey,
}

/// What signs the requests of one day, region and service, ready for use.
pub(super) type SigningKey = Arc<hmac::Key>;

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyCache")
    }
}

impl KeyCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The signing key of a credential, an access key and what it is used for: `AKID/20150830/us-east-1/iam/aws4_request`.
    /// Called only for access keys that exist, which bounds what a stranger can put in.
    pub(super) fn key(&self, credential: &str, secret: &[u8]) -> SigningKey {
        // A poisoned lock is harmless here: every entry is complete before it is inserted.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.get(credential)
            && bool::from(found.secret.ct_eq(secret))
        {
            return Arc::clone(&found.key);
        }
        let (_, scope) = credential.split_once('/').unwrap_or_default();
        let key = Arc::new(derive(secret, scope));
        if kept.len() >= KEYS_MAX {
            kept.clear();
        }
        let (secret, shared) = (secret.into(), Arc::clone(&key));
        kept.insert(credential.to_owned(), Kept { secret, key });
        shared
    }
}

/// Derives the signing key of a scope, `20150830/us-east-1/iam/aws4_request`.
pub(super) fn derive(secret: &[u8], scope: &str) -> hmac::Key {
    let first = hmac_key(&[b"AWS4", secret].concat());
    scope
        .split('/')
        .fold(first, |key, part| hmac_key(&mac(&key, part.as_bytes())))
}

/// Whether a form's policy has this signature, in hexadecimal digits.
pub fn policy_signature(
    secret: &[u8],
    date: &str,
    region: &str,
    policy: &[u8],
    signature: &str,
) -> bool {
    let key = derive(secret, &format!("{date}/{region}/s3/aws4_request"));
    super::canonical::unhex(signature)
        .is_some_and(|signature| hmac::verify(&key, policy, &signature).is_ok())
}

/// HMAC-SHA256.
pub(super) fn mac(key: &hmac::Key, message: &[u8]) -> Sha256 {
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(key, message).as_ref());
    out
}

fn hmac_key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn another_secret_for_the_same_key_id_gets_another_key() {
        let cache = KeyCache::new();
        let of = |key: &hmac::Key| mac(key, b"text");
        let key =
            |secret: &[u8]| of(&cache.key("AKID/20260101/us-east-1/lambda/aws4_request", secret));
        let one = key(b"one");
        assert_eq!(one, key(b"one"));
        assert_ne!(one, key(b"two"));
        assert_eq!(
            one,
            of(&derive(b"one", "20260101/us-east-1/lambda/aws4_request"))
        );
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = KeyCache::new();
        for n in 0..KEYS_MAX + 10 {
            cache.key(&format!("{n}/20260101/us-east-1/lambda/aws4_request"), b"s");
        }
        assert!(cache.0.lock().unwrap().len() <= KEYS_MAX);
    }
}
