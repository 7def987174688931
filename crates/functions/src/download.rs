//! Links by which clients download code: like AWS's presigned ones, each is good for one package and ten minutes.

use aws_lc_rs::hmac;
use bytes::Bytes;
use store::{Digest, Expect, Store};
use wire::Context;

use crate::Functions;
use crate::error::Error;
use crate::record::DOWNLOAD_KEY;

/// What the path of every link begins with; the rest is the token that [`Functions::code_download`] takes.
pub const DOWNLOAD_PATH: &str = "/_/lambda/code/";
/// How long a link is good, as on AWS.
const VALID_MS: i64 = 600_000;
/// Bytes of the secret.
const SECRET_BYTES: usize = 32;

/// Signs links.
pub(crate) struct Key(hmac::Key);

impl Key {
    /// The store's key, made on first use.
    pub(crate) async fn open(store: &Store) -> Result<Key, Error> {
        let mut secret = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut secret)
            .map_err(|_| Error::Internal("there is no randomness".to_owned()))?;
        let fresh = Bytes::copy_from_slice(&secret);
        match store.kv.put(DOWNLOAD_KEY, fresh, Expect::Absent).await {
            Ok(_) | Err(store::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let stored = store.kv.get(DOWNLOAD_KEY).await?;
        let stored = stored.ok_or_else(|| Error::Internal("the key vanished".to_owned()))?;
        Ok(Key(hmac::Key::new(hmac::HMAC_SHA256, &stored.value)))
    }

    /// A link for the client that asks.
    pub(crate) fn location(&self, cx: &Context, digest: &Digest) -> String {
        let scheme = if cx.secure { "https" } else { "http" };
        let token = self.token(digest, cx.now_ms + VALID_MS);
        format!("{scheme}://{}{DOWNLOAD_PATH}{token}", cx.host)
    }

    fn token(&self, digest: &Digest, until_ms: i64) -> String {
        let claim = format!("{digest}.{until_ms}");
        let tag = hmac::sign(&self.0, claim.as_bytes());
        let tag: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        format!("{claim}.{tag}")
    }

    /// The package that a token is for, while it is good.
    fn check(&self, token: &str, now_ms: i64) -> Option<Digest> {
        let (claim, tag) = token.rsplit_once('.')?;
        hmac::verify(&self.0, claim.as_bytes(), &unhex(tag)?).ok()?;
        let (digest, until_ms) = claim.split_once('.')?;
        (now_ms <= until_ms.parse().ok()?).then_some(())?;
        digest.parse().ok()
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok()?;
        (pair.len() == 2).then(|| u8::from_str_radix(text, 16).ok())?
    };
    digits.chunks(2).map(pair).collect()
}

impl Functions {
    /// The package that a link's token is for; `None` when the token is no good any more or never was.
    pub async fn code_download(&self, token: &str) -> Option<Bytes> {
        let now_ms = self.inner.clock.now_ms();
        let digest = self.inner.download_key.check(token, now_ms)?;
        match self.inner.code.zip(&digest).await {
            Ok(zip) => zip,
            Err(error) => {
                tracing::error!(%error, "could not read a package");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let key = Key(hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]));
        let digest = Digest::of(b"x");
        let token = key.token(&digest, 1000);
        assert_eq!(key.check(&token, 1000), Some(digest));
        assert_eq!(key.check(&token, 1001), None);
        assert_eq!(key.check(&token.replace(".1000.", ".9999."), 1000), None);
        assert_eq!(key.check(&token[..token.len() - 1], 1000), None);
        assert_eq!(key.check("", 1000), None);
        let other = Key(hmac::Key::new(hmac::HMAC_SHA256, &[8; 32]));
        assert_eq!(other.check(&token, 1000), None);
    }
}
