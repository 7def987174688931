//! The signer: for tests, for our own command line, and for what functions' runtimes are handed.

use super::canonical::{self, encoded, hex};
use super::keys::{derive, mac};
use super::time::basic;
use super::{ALGORITHM, Head, PathRule, sha256};
use http::HeaderValue;
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use jiff::Timestamp;
use std::time::Duration;

/// Headers that proxies and clients change on the way, so that signing them breaks requests.
const NEVER_SIGNED: &[&str] = &[
    "authorization",
    "connection",
    "expect",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-amzn-trace-id",
];

/// An access key.
#[derive(Clone)]
pub struct Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token of temporary credentials.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Signs requests for one region and service.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Who signs.
    pub credentials: Credentials,
    /// The region of the scope.
    pub region: String,
    /// The service of the scope.
    pub service: String,
    /// How the service reads paths.
    pub path: PathRule,
}

impl Signer {
    /// A signer for an ordinary service (not S3).
    pub fn new(credentials: Credentials, region: &str, service: &str) -> Self {
        Signer {
            credentials,
            region: region.to_owned(),
            service: service.to_owned(),
            path: PathRule::Normalised,
        }
    }

    /// Adds the date, the token, the host where it is missing, and the `Authorization` header.
    ///
    /// # Panics
    /// If a credential or the URI's authority cannot be a header's value.
    pub fn sign(&self, parts: &mut Parts, body: &[u8], now: Timestamp) {
        let at = basic(now);
        set_host(parts);
        parts.headers.insert("x-amz-date", header(&at));
        if let Some(token) = &self.credentials.session_token {
            parts.headers.insert("x-amz-security-token", header(token));
        }
        let signed = self.signed_headers(parts);
        let payload = hex(&sha256(body));
        let signature = self.signature(parts, &signed, &payload, &at);
        let value = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={signed}, Signature={signature}",
            self.credentials.access_key_id,
            self.scope(&at),
        );
        parts.headers.insert(AUTHORIZATION, header(&value));
    }

    /// Turns the URI into a presigned one, for a request without a body.
    ///
    /// # Panics
    /// If the URI's authority cannot be a header's value.
    pub fn presign(&self, parts: &mut Parts, expires: Duration, now: Timestamp) {
        let at = basic(now);
        set_host(parts);
        let signed = self.signed_headers(parts);
        let credential = format!("{}/{}", self.credentials.access_key_id, self.scope(&at));
        let mut query = parts.uri.query().unwrap_or("").to_owned();
        let mut add = |name: &str, value: &str| {
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(name);
            query.push('=');
            query.push_str(&encoded(value.as_bytes()));
        };
        add("X-Amz-Algorithm", ALGORITHM);
        add("X-Amz-Credential", &credential);
        add("X-Amz-Date", &at);
        add("X-Amz-Expires", &expires.as_secs().to_string());
        add("X-Amz-SignedHeaders", &signed);
        if let Some(token) = &self.credentials.session_token {
            add("X-Amz-Security-Token", token);
        }
        set_query(parts, &query);
        let signature = self.signature(parts, &signed, &hex(&sha256(b"")), &at);
        set_query(parts, &format!("{query}&X-Amz-Signature={signature}"));
    }

    fn scope(&self, at: &str) -> String {
        format!("{}/{}/{}/aws4_request", &at[..8], self.region, self.service)
    }

    fn signature(&self, parts: &Parts, signed: &str, payload: &str, at: &str) -> String {
        let head = Head::from(parts);
        let canonical = canonical::request(&head, self.path, signed, &[], payload);
        let scope = self.scope(at);
        let text = canonical::string_to_sign(at, &scope, &canonical);
        let secret = self.credentials.secret_access_key.as_bytes();
        let key = derive(secret, &scope);
        hex(&mac(&key, text.as_bytes()))
    }

    fn signed_headers(&self, parts: &Parts) -> String {
        let names = parts.headers.keys().map(|name| name.as_str());
        let mut names: Vec<&str> = names.filter(|name| !NEVER_SIGNED.contains(name)).collect();
        names.sort_unstable();
        names.join(";")
    }
}

fn set_host(parts: &mut Parts) {
    if let (false, Some(authority)) = (parts.headers.contains_key(HOST), parts.uri.authority()) {
        let value = header(authority.as_str());
        parts.headers.insert(HOST, value);
    }
}

fn set_query(parts: &mut Parts, query: &str) {
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    let path = uri
        .path_and_query
        .as_ref()
        .map_or("/", PathAndQuery::path)
        .to_owned();
    let joined = format!("{path}?{query}");
    uri.path_and_query =
        Some(PathAndQuery::try_from(joined).expect("an encoded query keeps a path valid"));
    parts.uri = http::Uri::from_parts(uri).expect("only the query changed");
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("credentials and authorities are visible ASCII")
}
