//! Signing keys: four HMACs deep, the same all day for one key, region and service, so worth keeping.

use super::Sha256;
use aws_lc_rs::hmac;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use subtle::ConstantTimeEq;

/// How many signing keys are kept. Past it all are dropped: a full cache is yesterday's, or an attack.
const KEYS_MAX: usize = 4096;

/// The signing keys computed lately.
#[derive(Default)]
pub struct KeyCache(Mutex<HashMap<Slot, Kept>>);

#[derive(PartialEq, Eq, Hash)]
struct Slot {
    access_key_id: String,
    scope: String,
}

/// The secret is kept to notice a key id whose secret is another one by now.
struct Kept {
    secret: Box<[u8]>,
    key: Sha256,
}

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

    /// The signing key of a credential scope. Called only for access keys that exist, which bounds what a
    /// stranger can put in.
    pub(super) fn key(
        &self,
        access_key_id: &str,
        secret: &[u8],
        date: &str,
        region: &str,
        service: &str,
    ) -> Sha256 {
        let slot = Slot {
            access_key_id: access_key_id.to_owned(),
            scope: format!("{date}/{region}/{service}"),
        };
        // A poisoned lock is harmless here: every entry is complete before it is inserted.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.get(&slot)
            && bool::from(found.secret.ct_eq(secret))
        {
            return found.key;
        }
        let key = derive(secret, date, region, service);
        if kept.len() >= KEYS_MAX {
            kept.clear();
        }
        let secret = secret.into();
        kept.insert(slot, Kept { secret, key });
        key
    }
}

/// Derives the signing key of one day, region and service.
pub(super) fn derive(secret: &[u8], date: &str, region: &str, service: &str) -> Sha256 {
    let first = [b"AWS4", secret].concat();
    [region, service, "aws4_request"]
        .iter()
        .fold(mac(&first, date.as_bytes()), |key, part| {
            mac(&key, part.as_bytes())
        })
}

/// Whether a form's policy has this signature, in hexadecimal digits.
pub fn policy_signature(
    secret: &[u8],
    date: &str,
    region: &str,
    policy: &[u8],
    signature: &str,
) -> bool {
    let key = derive(secret, date, region, "s3");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    super::canonical::unhex(signature)
        .is_some_and(|signature| hmac::verify(&key, policy, &signature).is_ok())
}

/// HMAC-SHA256.
pub(super) fn mac(key: &[u8], message: &[u8]) -> Sha256 {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&key, message).as_ref());
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn another_secret_for_the_same_key_id_gets_another_key() {
        let cache = KeyCache::new();
        let key = |secret: &[u8]| cache.key("AKID", secret, "20260101", "us-east-1", "lambda");
        let one = key(b"one");
        assert_eq!(one, key(b"one"));
        assert_ne!(one, key(b"two"));
        assert_eq!(one, derive(b"one", "20260101", "us-east-1", "lambda"));
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = KeyCache::new();
        for n in 0..KEYS_MAX + 10 {
            cache.key(&n.to_string(), b"s", "20260101", "us-east-1", "lambda");
        }
        assert!(cache.0.lock().unwrap().len() <= KEYS_MAX);
    }
}
