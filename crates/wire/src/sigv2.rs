//! Signature Version 2 in presigned URLs of objects, which boto3 and the AWS CLI still make for S3's oldest regions
//! (AmazonS3/latest/userguide/RESTAuthentication.html). It rests on HMAC-SHA-1, signs no body and few parameters; so it is taken
//! for single objects only, and with no parameter that it does not sign.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use crate::sigv4::{EXPIRES_MAX, Refusal};

/// Parameters that prove the request. Headers that begin with `x-amz-` may stand in the query too.
const PROOF: &[&str] = &["AWSAccessKeyId", "Expires", "Signature"];
/// Parameters that are part of what is signed, of those that requests about single objects have.
const SIGNED: &[&str] = &[
    "acl",
    "partNumber",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "tagging",
    "uploadId",
    "uploads",
    "versionId",
];
/// Headers that are signed beside those of the `x-amz-` family; they may stand in the query.
const CONTENT_MD5: &str = "content-md5";
const CONTENT_TYPE: &str = "content-type";
const TOKEN: &str = "x-amz-security-token";

/// What a presigned URL says of its signer; believed only once [`check`](Claim::check) returned.
pub struct Claim {
    access_key_id: String,
    signature: Vec<u8>,
    /// Without the resource's part that depends on the bucket in the host.
    text: String,
    resource: String,
    session_token: Option<String>,
}

/// Whether a request carries such a claim, in its URL or in a header.
pub fn is_claimed(head: &Parts) -> bool {
    let in_query =
        pairs(head).any(|(name, _)| matches!(name.as_str(), "AWSAccessKeyId" | "Signature"));
    let header = head.headers.get(http::header::AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok());
    in_query || header.is_some_and(|text| text.starts_with("AWS "))
}

/// The parameters, decoded.
fn pairs(head: &Parts) -> impl Iterator<Item = (String, Option<String>)> {
    let decoded = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    let parts = head
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|part| !part.is_empty());
    parts.map(move |part| match part.split_once('=') {
        Some((name, value)) => (decoded(name), Some(decoded(value))),
        None => (decoded(part), None),
    })
}

impl Claim {
    /// Reads the claim, and checks what needs no secret.
    pub fn read(head: &Parts, now: Timestamp) -> Result<Claim, Refusal> {
        if head.headers.contains_key(http::header::AUTHORIZATION) {
            return Err(Refusal::Incomplete(
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.".to_owned(),
            ));
        }
        let mut proof = BTreeMap::new();
        let mut headers = BTreeMap::new();
        let mut signed = BTreeMap::new();
        for (name, value) in pairs(head) {
            let lower = name.to_ascii_lowercase();
            let twice = if PROOF.contains(&name.as_str()) {
                proof.insert(name, value.unwrap_or_default()).is_some()
            } else if lower.starts_with("x-amz-") || lower == CONTENT_TYPE || lower == CONTENT_MD5 {
                headers.insert(lower, value.unwrap_or_default()).is_some()
            } else if SIGNED.contains(&name.as_str()) {
                signed.insert(name, value).is_some()
            } else if name == "x-id" {
                false
            } else {
                return Err(Refusal::Unsigned(format!(
                    "Signature Version 2 does not sign the parameter '{name}'. Please use AWS4-HMAC-SHA256."
                )));
            };
            if twice {
                return Err(Refusal::Incomplete(
                    "A parameter is there more than once.".to_owned(),
                ));
            }
        }
        let [Some(access_key_id), Some(expires), Some(signature)] = PROOF
            .iter()
            .map(|name| proof.remove(*name))
            .collect::<Vec<_>>()
            .try_into()
            .unwrap_or([None, None, None])
        else {
            return Err(Refusal::Incomplete(
                "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters".to_owned(),
            ));
        };
        in_time(&expires, now)?;
        for (name, value) in &head.headers {
            let name = name.as_str();
            if name.starts_with("x-amz-") || name == CONTENT_TYPE || name == CONTENT_MD5 {
                let value = value.to_str().map_err(|_| Refusal::Mismatch)?.trim();
                // In both places it must be the same: only one of them would be signed.
                if headers
                    .insert(name.to_owned(), value.to_owned())
                    .is_some_and(|before| before != value)
                {
                    return Err(Refusal::Mismatch);
                }
            }
        }
        let session_token = headers.get(TOKEN).cloned();
        let mut take = |name: &str| headers.remove(name).unwrap_or_default();
        let (md5, kind) = (take(CONTENT_MD5), take(CONTENT_TYPE));
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"));
        let lines: String = lines.collect();
        let text = format!("{}\n{md5}\n{kind}\n{expires}\n{lines}", head.method);
        let parameters = signed.into_iter().map(|(name, value)| match value {
            Some(value) => format!("{name}={value}"),
            None => name,
        });
        let parameters: Vec<String> = parameters.collect();
        let resource = match parameters.is_empty() {
            true => head.uri.path().to_owned(),
            false => format!("{}?{}", head.uri.path(), parameters.join("&")),
        };
        Ok(Claim {
            access_key_id,
            signature: STANDARD.decode(&signature).map_err(|_| Refusal::Mismatch)?,
            text,
            resource,
            session_token,
        })
    }

    /// The access key that the request says signed it.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// The session token that came along.
    pub fn session_token(&self) -> Option<&str> {
        self.session_token.as_deref()
    }

    /// Computes the signature and compares it in constant time. `bucket` is the one in the host, if that is where it is.
    pub fn check(self, bucket: Option<&str>, secret: &[u8]) -> Result<(), Refusal> {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
        let before = bucket
            .map(|bucket| format!("/{bucket}"))
            .unwrap_or_default();
        let text = format!("{}{before}{}", self.text, self.resource);
        hmac::verify(&key, text.as_bytes(), &self.signature).map_err(|_| Refusal::Mismatch)
    }
}

/// The end of the URL's life, which must not be further away than a week.
fn in_time(expires: &str, now: Timestamp) -> Result<(), Refusal> {
    let seconds: i64 = expires.parse().map_err(|_| {
        Refusal::Incomplete("Invalid date (should be seconds since epoch)".to_owned())
    })?;
    let left = seconds.saturating_sub(now.as_second());
    if left < 0 {
        return Err(Refusal::OutOfTime("Request has expired".to_owned()));
    }
    match Duration::from_secs(left.unsigned_abs()) > EXPIRES_MAX {
        true => Err(Refusal::Incomplete(
            "Expires must be less than a week (in seconds) away".to_owned(),
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parts(method: &str, uri: &str) -> Parts {
        http::Request::builder()
            .method(method)
            .uri(uri)
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    /// The example of the page above: "Query string request authentication alternative example".
    #[test]
    fn the_documented_example() {
        let uri = "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620";
        let secret = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let at = |second| Timestamp::from_second(second).unwrap();
        let claim = |uri: &str| Claim::read(&parts("GET", uri), at(1_175_139_000));
        assert_eq!(claim(uri).unwrap().check(Some("johnsmith"), secret), Ok(()));
        assert_eq!(
            claim(uri).unwrap().check(Some("other"), secret),
            Err(Refusal::Mismatch)
        );
        assert_eq!(
            claim(uri).unwrap().check(Some("johnsmith"), b"x"),
            Err(Refusal::Mismatch)
        );
        assert!(matches!(
            claim(&format!("{uri}&prefix=a")),
            Err(Refusal::Unsigned(_))
        ));
        assert!(matches!(
            claim(&format!("{uri}&Expires=1")),
            Err(Refusal::Incomplete(_))
        ));
        let tagged = claim(&format!("{uri}&tagging")).unwrap();
        assert_eq!(
            tagged.check(Some("johnsmith"), secret),
            Err(Refusal::Mismatch)
        );
        let late = Claim::read(&parts("GET", uri), at(1_175_139_621));
        assert!(matches!(late, Err(Refusal::OutOfTime(_))));
        let early = Claim::read(&parts("GET", uri), at(1_175_139_620 - 604_801));
        assert!(matches!(early, Err(Refusal::Incomplete(_))));
    }
}
