//! AWS Signature Version 4, both sides: the check that the front door makes and the signer that tests and
//! our own command line use. It follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
//!
//! A check has two halves, so that a request without a plausible claim is refused before its body is read:
//! [`Claim::read`] looks at the head only; [`Claim::check`] compares the signature once the secret is known
//! and the body is hashed. [`verify`] is both in one call. Nothing here reads a clock or a store.
//!
//! Refused: SigV2, SigV4A, bearer tokens, and chunk-signed bodies unless the service asks for them.

mod canonical;
mod chunks;
mod claim;
mod keys;
mod sign;
mod time;

pub use chunks::{ChunkFault, Chunks};
pub use claim::{Claim, PayloadKind, Verified, announced_sha256};
pub use keys::{KeyCache, policy_signature};
pub use sign::{Credentials, Signer};

use aws_lc_rs::digest;
use std::time::Duration;

/// The only algorithm accepted.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a clock may be off, for most services.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// How far a clock may be off for IAM and STS, whose messages say fifteen minutes.
pub const CLOCK_SKEW_IAM: Duration = Duration::from_secs(15 * 60);
/// The longest life of a presigned URL: one week.
pub const EXPIRES_MAX: Duration = Duration::from_secs(604_800);
/// More signed headers than any SDK sends; past it a request is refused unread.
pub const SIGNED_HEADERS_MAX: usize = 128;
/// The longest `Authorization` header or presigned query that is looked at. Session tokens have no fixed
/// length at AWS; this leaves room for several times the longest seen.
pub const CLAIM_BYTES_MAX: usize = 32 * 1024;

/// A SHA-256 digest, of a body or of a canonical request.
pub type Sha256 = [u8; 32];

/// Hashes a body for [`Claim::check`] and [`Signer::sign`].
pub fn sha256(bytes: &[u8]) -> Sha256 {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// The parts of a request's head that are signed.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path as it came over the wire, still percent-encoded.
    pub path: &'a str,
    /// The query as it came over the wire, without the question mark.
    pub query: &'a str,
    /// All headers.
    pub headers: &'a http::HeaderMap,
    /// HTTP/2's `:authority`, which stands for `host` where that header is missing.
    pub authority: Option<&'a str>,
}

impl<'a> From<&'a http::request::Parts> for Head<'a> {
    fn from(parts: &'a http::request::Parts) -> Self {
        Head {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or(""),
            headers: &parts.headers,
            authority: parts.uri.authority().map(|a| a.as_str()),
        }
    }
}

/// What one service asks of a signature.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The names that the scope may carry. The first one is named in the refusal.
    pub services: &'a [&'a str],
    /// The regions that the scope may carry.
    pub regions: Regions<'a>,
    /// How the path becomes canonical.
    pub path: PathRule,
    /// How far the caller's clock may be off.
    pub clock_skew: Duration,
    /// Whether `UNSIGNED-PAYLOAD` is accepted (S3).
    pub unsigned_payload: bool,
    /// Whether the `STREAMING-...` payload kinds are accepted (S3). Who accepts them checks the chunks.
    pub streaming_payload: bool,
}

impl<'a> Rules<'a> {
    /// The rules of an ordinary service: a normalised path, a hashed body, five minutes.
    pub const fn new(services: &'a [&'a str], regions: Regions<'a>) -> Self {
        Rules {
            services,
            regions,
            path: PathRule::Normalised,
            clock_skew: CLOCK_SKEW,
            unsigned_payload: false,
            streaming_payload: false,
        }
    }
}

/// The regions that a credential scope may name.
#[derive(Clone, Copy, Debug)]
pub enum Regions<'a> {
    /// Whatever has the form of a region: state is kept per region, made on first use.
    Any,
    /// Only these.
    Only(&'a [&'a str]),
}

impl Regions<'_> {
    fn accept(&self, region: &str) -> bool {
        match self {
            Regions::Any => crate::Region::is_one(region),
            Regions::Only(list) => list.contains(&region),
        }
    }
}

/// How the path on the wire becomes the canonical one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// Dots and double slashes are resolved, then every segment is encoded once more: all services but S3.
    Normalised,
    /// Encoded once more as it is. No AWS service; kept for the cases of the signing suite.
    AsIs,
    /// Encoded exactly once, never normalised: S3, where `a//b` and `a/./b` are keys.
    Once,
}

/// Why a request is not taken for who it says it is. [`code`](Refusal::code) has AWS's code and status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither a SigV4 `Authorization` header nor a presigned query.
    #[error("Missing Authentication Token")]
    Missing,
    /// A part of the claim is missing or has the wrong form.
    #[error("{0}")]
    Incomplete(String),
    /// The claim is complete and cannot hold: its scope, its headers.
    #[error("{0}")]
    Invalid(String),
    /// The claim was made too long ago.
    #[error("{0}")]
    OutOfTime(String),
    /// The claim is of the future.
    #[error("{0}")]
    NotYet(String),
    /// A header that would have an effect is not among the signed ones.
    #[error("{0}")]
    Unsigned(String),
    /// The signature is not the one we compute.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
    /// No such access key, or a session token that does not belong to it.
    #[error("The security token included in the request is invalid.")]
    UnknownClient,
    /// A session that is over.
    #[error("The security token included in the request is expired")]
    ExpiredToken,
}

/// How a protocol spells refusals. AWS's services share the sentences but not the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// restJson (Lambda, Scheduler): codes end in `Exception`, status 403.
    RestJson,
    /// awsJson and RPC v2 CBOR (Logs, Events, CloudWatch): codes end in `Exception`, status 400.
    Rpc,
    /// Query (IAM, STS, SNS): older codes, status 403.
    Query,
}

impl Refusal {
    /// The scope names another service than the one that the request is for, whose name is `expected`.
    pub fn wrong_service(expected: &str) -> Refusal {
        Refusal::Invalid(format!(
            "Credential should be scoped to correct service: '{expected}'. "
        ))
    }

    /// AWS's code and HTTP status in one family of protocols, after the services' "Common Errors" pages.
    pub fn code(&self, family: Family) -> (&'static str, u16) {
        let query = family == Family::Query;
        let code = match (self, query) {
            (Refusal::Missing, false) => "MissingAuthenticationTokenException",
            (Refusal::Missing, true) => "MissingAuthenticationToken",
            (Refusal::Incomplete(_), false) => "IncompleteSignatureException",
            (Refusal::Incomplete(_), true) => "IncompleteSignature",
            (
                Refusal::Invalid(_)
                | Refusal::OutOfTime(_)
                | Refusal::NotYet(_)
                | Refusal::Unsigned(_)
                | Refusal::Mismatch,
                false,
            ) => "InvalidSignatureException",
            (
                Refusal::Invalid(_)
                | Refusal::OutOfTime(_)
                | Refusal::NotYet(_)
                | Refusal::Unsigned(_)
                | Refusal::Mismatch,
                true,
            ) => "SignatureDoesNotMatch",
            (Refusal::UnknownClient, false) => "UnrecognizedClientException",
            (Refusal::UnknownClient, true) => "InvalidClientTokenId",
            (Refusal::ExpiredToken, false) => "ExpiredTokenException",
            (Refusal::ExpiredToken, true) => "ExpiredToken",
        };
        let status = match (self, family) {
            (_, Family::Rpc) | (Refusal::Incomplete(_), Family::Query) => 400,
            _ => 403,
        };
        (code, status)
    }

    /// The sentence for the caller.
    pub fn message(&self, family: Family) -> String {
        match (self, family) {
            (Refusal::Missing, Family::Query) => "Request is missing Authentication Token".into(),
            _ => self.to_string(),
        }
    }
}

/// Reads the claim, asks `secret_of` for the secret of an access key (and its session token), and compares.
///
/// `secret_of` answers [`Refusal::UnknownClient`] or [`Refusal::ExpiredToken`] where there is none.
pub fn verify<S: AsRef<[u8]>>(
    head: &Head<'_>,
    rules: &Rules<'_>,
    body: &Sha256,
    now: jiff::Timestamp,
    keys: &KeyCache,
    secret_of: impl FnOnce(&str, Option<&str>) -> Result<S, Refusal>,
) -> Result<Verified, Refusal> {
    let claim = Claim::read(head, rules, now)?;
    let secret = secret_of(claim.access_key_id(), claim.session_token())?;
    claim.check(head, rules, body, secret.as_ref(), keys)
}
