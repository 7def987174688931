//! What a request says of itself, read from the `Authorization` header or from a presigned query, and the
//! comparison of its signature with ours.

use super::canonical::{self, hex, unhex};
use super::keys::mac;
use super::time::{basic, parse_basic, parse_date_header};
use super::{
    ALGORITHM, CLAIM_BYTES_MAX, Chunks, EXPIRES_MAX, Head, KeyCache, Refusal, Rules,
    SIGNED_HEADERS_MAX, Sha256,
};
use http::header::{AUTHORIZATION, DATE};
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use std::borrow::Cow;
use std::time::Duration;
use subtle::ConstantTimeEq;

const TERMINATOR: &str = "aws4_request";
const SIGNATURE_PARAMETER: &str = "X-Amz-Signature";
const TOKEN_PARAMETER: &str = "X-Amz-Security-Token";

static X_AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
static X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
static X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Headers of the `x-amz-` family that need not be listed as signed, because what they say is bound some
/// other way: the date is part of the string to sign, the hash is part of the canonical request, and the
/// token is checked against the access key. (The suite's `post-sts-header-after` has an unsigned token.)
const BOUND_OTHERWISE: &[&str] = &["x-amz-date", "x-amz-content-sha256", "x-amz-security-token"];

/// What a request says of its signer; believed only once [`check`](Claim::check) returned.
#[derive(Clone, Debug)]
pub struct Claim {
    /// `AKID/20150830/us-east-1/service/aws4_request`.
    credential: String,
    region: String,
    service: String,
    signed_at: Timestamp,
    /// The same, as it is signed.
    date: String,
    /// Their names, with semicolons between them.
    signed_headers: String,
    signature: Sha256,
    session_token: Option<String>,
    presigned: bool,
    payload: PayloadKind,
}

/// How the body takes part in the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// By its SHA-256, which [`Claim::check`] has compared.
    Hashed,
    /// Not at all (`UNSIGNED-PAYLOAD`).
    Unsigned,
    /// Chunk by chunk (`STREAMING-...`); the value of the header.
    Streaming(String),
}

/// Who signed a request, for which scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The access key that signed.
    pub access_key_id: String,
    /// The session token that came with it.
    pub session_token: Option<String>,
    /// The region of the credential scope.
    pub region: String,
    /// The service of the credential scope.
    pub service: String,
    /// When the request says it was signed.
    pub signed_at: Timestamp,
    /// Whether the signature came in the query.
    pub presigned: bool,
    /// How the body was signed.
    pub payload: PayloadKind,
}

/// The fields of a claim as text, wherever they came from.
struct Fields<'a> {
    algorithm: Cow<'a, str>,
    credential: Cow<'a, str>,
    signed_headers: Cow<'a, str>,
    signature: Cow<'a, str>,
    date: Option<Timestamp>,
    date_text: Cow<'a, str>,
    expires: Option<String>,
    session_token: Option<String>,
    presigned: bool,
}

impl Claim {
    /// Reads the claim and checks everything that needs neither the secret nor the body, in AWS's order:
    /// completeness, date, signed headers, algorithm, credential scope.
    pub fn read(head: &Head<'_>, rules: &Rules<'_>, now: Timestamp) -> Result<Claim, Refusal> {
        let fields = Fields::read(head)?;
        let Some(signed_at) = fields.date else {
            return Err(Refusal::Incomplete(format!(
                "Date must be in ISO-8601 'basic format'. Got '{}'. See http://en.wikipedia.org/wiki/ISO_8601",
                fields.date_text
            )));
        };
        check_date(signed_at, lifetime(&fields, rules)?, rules.clock_skew, now)?;
        let signed_headers = signed_headers(&fields.signed_headers, head)?;
        if fields.algorithm != ALGORITHM {
            return Err(Refusal::Incomplete(format!(
                "Unsupported AWS 'algorithm': '{}' (only {ALGORITHM} for now). ",
                fields.algorithm
            )));
        }
        let date = basic(signed_at);
        let (region, service) = scope(&fields.credential, &date, rules)?;
        Ok(Claim {
            region: region.to_owned(),
            service: service.to_owned(),
            credential: fields.credential.into_owned(),
            signed_at,
            date,
            signed_headers,
            // A signature that is not hexadecimal is as wrong as any other.
            signature: unhex(&fields.signature).ok_or(Refusal::Mismatch)?,
            session_token: fields.session_token,
            presigned: fields.presigned,
            payload: payload_kind(head, rules, fields.presigned)?,
        })
    }

    /// The access key that the request says signed it.
    pub fn access_key_id(&self) -> &str {
        self.split().0
    }

    /// Its access key, and the scope that it is used for.
    fn split(&self) -> (&str, &str) {
        self.credential.split_once('/').unwrap_or_default()
    }

    /// The session token that came along.
    pub fn session_token(&self) -> Option<&str> {
        self.session_token.as_deref()
    }

    /// The region of the credential scope.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Whether the signature came in the query.
    pub fn presigned(&self) -> bool {
        self.presigned
    }

    /// How the body takes part in the signature.
    pub fn payload(&self) -> &PayloadKind {
        &self.payload
    }

    /// What reads a body of signed chunks, whose first signature depends on that of the request.
    pub fn signed_chunks(&self, secret: &[u8], keys: &KeyCache) -> Chunks {
        let key = keys.key(&self.credential, secret);
        let scope = self.split().1.to_owned();
        Chunks::signed(key, self.date.clone(), scope, self.signature)
    }

    /// Computes the signature and compares it in constant time. `body` is the hash of the whole body; it is
    /// not looked at for unsigned and streaming payloads.
    pub fn check(
        self,
        head: &Head<'_>,
        rules: &Rules<'_>,
        body: &Sha256,
        secret: &[u8],
        keys: &KeyCache,
    ) -> Result<Verified, Refusal> {
        let payload = self.payload_line(head, body)?;
        let key = keys.key(&self.credential, secret);
        let (access_key_id, scope) = self.split();
        let signed_without = |left_out: &[&str]| -> bool {
            let canonical =
                canonical::request(head, rules.path, &self.signed_headers, left_out, &payload);
            let text = canonical::string_to_sign(&self.date, scope, &canonical);
            mac(&key, text.as_bytes()).ct_eq(&self.signature).into()
        };
        let matches = match (self.presigned, &self.session_token) {
            (false, _) => signed_without(&[]),
            (true, None) => signed_without(&[SIGNATURE_PARAMETER]),
            // Some signers add the token after signing; it is checked against the key either way.
            (true, Some(_)) => {
                signed_without(&[SIGNATURE_PARAMETER])
                    || signed_without(&[SIGNATURE_PARAMETER, TOKEN_PARAMETER])
            }
        };
        if !matches {
            return Err(Refusal::Mismatch);
        }
        Ok(Verified {
            access_key_id: access_key_id.to_owned(),
            session_token: self.session_token,
            region: self.region,
            service: self.service,
            signed_at: self.signed_at,
            presigned: self.presigned,
            payload: self.payload,
        })
    }

    /// The last line of the canonical request. A hash that the client announces must be the body's.
    fn payload_line(&self, head: &Head<'_>, body: &Sha256) -> Result<String, Refusal> {
        match &self.payload {
            PayloadKind::Unsigned => Ok("UNSIGNED-PAYLOAD".into()),
            PayloadKind::Streaming(kind) => Ok(kind.clone()),
            PayloadKind::Hashed => {
                let announced = head.headers.get(&X_AMZ_CONTENT_SHA256);
                let actual = hex(body);
                match announced {
                    Some(said) if !said.as_bytes().eq_ignore_ascii_case(actual.as_bytes()) => {
                        Err(Refusal::Mismatch)
                    }
                    _ => Ok(actual),
                }
            }
        }
    }
}

impl<'a> Fields<'a> {
    fn read(head: &Head<'a>) -> Result<Self, Refusal> {
        let header = one_header(head.headers, &AUTHORIZATION)?;
        let presigned =
            canonical::query_pairs(head.query).any(|(key, _)| key.as_ref() == b"X-Amz-Algorithm");
        match (header, presigned) {
            (Some(_), true) => Err(Refusal::Invalid(
                "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.".into(),
            )),
            (None, true) => Fields::from_query(head.query),
            (Some(header), false) if header.trim_start().starts_with("AWS4-") => {
                Fields::from_header(header.trim(), head.headers)
            }
            _ => Err(Refusal::Missing),
        }
    }

    fn from_header(header: &'a str, headers: &'a HeaderMap) -> Result<Self, Refusal> {
        if header.len() > CLAIM_BYTES_MAX {
            return Err(Refusal::Incomplete(
                "The Authorization header is too long.".into(),
            ));
        }
        let (algorithm, rest) = header.split_once(' ').unwrap_or((header, ""));
        let [mut credential, mut signature, mut signed] = [None, None, None];
        let parts = rest.split(',').flat_map(|part| part.split(' '));
        for part in parts.filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(Refusal::Incomplete(format!(
                    "'{part}' not a valid key=value pair (missing equal-sign) in Authorization header: '{header}'."
                )));
            };
            let field = match name {
                "Credential" => &mut credential,
                "Signature" => &mut signature,
                "SignedHeaders" => &mut signed,
                _ => {
                    return Err(Refusal::Incomplete(format!(
                        "Authorization header has an unknown parameter '{name}'. Authorization={header}"
                    )));
                }
            };
            if field.replace(value).is_some() {
                return Err(Refusal::Incomplete(format!(
                    "Authorization header has more than one '{name}' parameter. Authorization={header}"
                )));
            }
        }
        let amz_date = one_header(headers, &X_AMZ_DATE)?;
        let plain_date = one_header(headers, &DATE)?;
        let mut missing = String::new();
        for (name, field) in [
            ("Credential", credential),
            ("Signature", signature),
            ("SignedHeaders", signed),
        ] {
            if field.is_none_or(str::is_empty) {
                missing += &format!("Authorization header requires '{name}' parameter. ");
            }
        }
        if amz_date.or(plain_date).is_none() {
            missing += "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ";
        }
        if !missing.is_empty() {
            return Err(Refusal::Incomplete(format!(
                "{missing}Authorization={header}"
            )));
        }
        Ok(Fields {
            algorithm: algorithm.into(),
            credential: credential.unwrap_or_default().into(),
            signed_headers: signed.unwrap_or_default().into(),
            signature: signature.unwrap_or_default().into(),
            date: match amz_date {
                Some(text) => parse_basic(text),
                None => plain_date.and_then(parse_date_header),
            },
            date_text: amz_date.or(plain_date).unwrap_or_default().into(),
            expires: None,
            session_token: one_header(headers, &X_AMZ_SECURITY_TOKEN)?.map(str::to_owned),
            presigned: false,
        })
    }

    fn from_query(query: &str) -> Result<Self, Refusal> {
        if query.len() > CLAIM_BYTES_MAX {
            return Err(Refusal::Incomplete(
                "The query-string parameters are too long.".into(),
            ));
        }
        const NAMES: [&str; 7] = [
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            SIGNATURE_PARAMETER,
            "X-Amz-SignedHeaders",
            "X-Amz-Date",
            "X-Amz-Expires",
            TOKEN_PARAMETER,
        ];
        const REQUIRED: usize = 5;
        let mut found: [Option<String>; 7] = Default::default();
        for (key, value) in canonical::query_pairs(query) {
            let Some(at) = NAMES
                .iter()
                .position(|name| name.as_bytes() == key.as_ref())
            else {
                continue;
            };
            let value = String::from_utf8(value.into_owned()).unwrap_or_default();
            if found[at].replace(value).is_some() {
                return Err(Refusal::Incomplete(format!(
                    "AWS query-string parameters must include '{}' only once. Re-examine the query-string parameters.",
                    NAMES[at]
                )));
            }
        }
        let missing: String = NAMES[..REQUIRED]
            .iter()
            .zip(&found)
            .filter(|(_, value)| value.as_deref().is_none_or(str::is_empty))
            .map(|(name, _)| format!("AWS query-string parameters must include '{name}'. "))
            .collect();
        if !missing.is_empty() {
            return Err(Refusal::Incomplete(format!(
                "{missing}Re-examine the query-string parameters."
            )));
        }
        let [
            algorithm,
            credential,
            signature,
            signed,
            date,
            expires,
            token,
        ] = found;
        let date = date.unwrap_or_default();
        Ok(Fields {
            algorithm: algorithm.unwrap_or_default().into(),
            credential: credential.unwrap_or_default().into(),
            signed_headers: signed.unwrap_or_default().into(),
            signature: signature.unwrap_or_default().into(),
            date: parse_basic(&date),
            date_text: date.into(),
            expires,
            session_token: token,
            presigned: true,
        })
    }
}

/// A header that may come once. Twice, or unreadable, is refused: which one would count?
fn one_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(Refusal::Incomplete(format!(
            "The request must have one readable '{name}' header."
        ))),
    }
}

/// How long past its date the signature holds.
fn lifetime(fields: &Fields<'_>, rules: &Rules<'_>) -> Result<Duration, Refusal> {
    let Some(text) = &fields.expires else {
        return Ok(rules.clock_skew);
    };
    let seconds: i64 = text
        .parse()
        .map_err(|_| Refusal::Incomplete("X-Amz-Expires should be a number".into()))?;
    match u64::try_from(seconds) {
        Ok(s) if s >= 1 && s <= EXPIRES_MAX.as_secs() => Ok(Duration::from_secs(s)),
        Ok(s) if s >= 1 => Err(Refusal::Incomplete(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds".into(),
        )),
        _ => Err(Refusal::Incomplete("X-Amz-Expires must be positive".into())),
    }
}

fn check_date(
    at: Timestamp,
    lifetime: Duration,
    skew: Duration,
    now: Timestamp,
) -> Result<(), Refusal> {
    // Arithmetic that leaves jiff's range (year 9999) counts as a date that is wrong.
    let beyond = || Refusal::Invalid("Signature date is out of range.".into());
    let oldest = now.checked_sub(lifetime).map_err(|_| beyond())?;
    let newest = now.checked_add(skew).map_err(|_| beyond())?;
    if at < oldest {
        return Err(Refusal::OutOfTime(format!(
            "Signature expired: {} is now earlier than {} ({} - {})",
            basic(at),
            basic(oldest),
            basic(now),
            minutes(lifetime)
        )));
    }
    if at > newest {
        return Err(Refusal::NotYet(format!(
            "Signature not yet current: {} is still later than {} ({} + {})",
            basic(at),
            basic(newest),
            basic(now),
            minutes(skew)
        )));
    }
    Ok(())
}

fn minutes(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds.is_multiple_of(60) => format!("{} min.", seconds / 60),
        seconds => format!("{seconds} sec."),
    }
}

/// The signed headers, lower case and sorted. `host` must be among them, and every `x-amz-` header that the
/// request has: an unsigned one could have been added on the way.
fn signed_headers(list: &str, head: &Head<'_>) -> Result<String, Refusal> {
    let names = canonical::header_names(list);
    let signed = || names.split(';');
    if signed().count() > SIGNED_HEADERS_MAX {
        return Err(Refusal::Incomplete("Too many signed headers.".into()));
    }
    if !signed().any(|name| name == "host" || name == ":authority") {
        return Err(Refusal::Invalid(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".into(),
        ));
    }
    let unsigned = head.headers.keys().find(|name| {
        let name = name.as_str();
        name.starts_with("x-amz-")
            && !BOUND_OTHERWISE.contains(&name)
            && !signed().any(|signed| signed == name)
    });
    match unsigned {
        Some(name) => Err(Refusal::Unsigned(format!(
            "'{name}' must be a 'SignedHeader' in the AWS Authorization."
        ))),
        None => Ok(names.into_owned()),
    }
}

/// The region and the service of `AKID/20150830/us-east-1/service/aws4_request`, signed at `at`. Everything wrong is named
/// at once.
fn scope<'c>(
    credential: &'c str,
    at: &str,
    rules: &Rules<'_>,
) -> Result<(&'c str, &'c str), Refusal> {
    let mut parts = credential.split('/').skip(1);
    let [date, region, service, terminator] = std::array::from_fn(|_| parts.next());
    let (Some(date), Some(region), Some(service), Some(terminator), None) =
        (date, region, service, terminator, parts.next())
    else {
        return Err(Refusal::Incomplete(format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'"
        )));
    };
    let today = &at[..8];
    let mut wrong = Vec::new();
    if !rules.regions.accept(region) {
        wrong.push(format!(
            "Credential should be scoped to a valid region, not '{region}'. "
        ));
    }
    if !rules.services.contains(&service) {
        let expected = rules.services.first().copied().unwrap_or_default();
        wrong.push(format!(
            "Credential should be scoped to correct service: '{expected}'. "
        ));
    }
    if terminator != TERMINATOR {
        wrong.push(format!(
            "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator}'. "
        ));
    }
    if date != today {
        wrong.push(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' != '{today}', from '{at}'. "
        ));
    }
    if !wrong.is_empty() {
        return Err(Refusal::Invalid(wrong.concat()));
    }
    Ok((region, service))
}

/// The hash that a request says its body has, for who reads the body later and compares then.
pub fn announced_sha256(headers: &HeaderMap) -> Option<Sha256> {
    unhex(headers.get(&X_AMZ_CONTENT_SHA256)?.to_str().ok()?)
}

/// Reads `x-amz-content-sha256`. Kinds that the service does not take are refused, unknown words too.
fn payload_kind(
    head: &Head<'_>,
    rules: &Rules<'_>,
    presigned: bool,
) -> Result<PayloadKind, Refusal> {
    let refused = |said: &str| {
        Err(Refusal::Invalid(format!(
            "The value '{said}' of 'x-amz-content-sha256' is not accepted by this service."
        )))
    };
    match one_header(head.headers, &X_AMZ_CONTENT_SHA256)? {
        // Who presigns does not know the body yet (AmazonS3/latest/API/sigv4-query-string-auth.html).
        None if presigned && rules.unsigned_payload => Ok(PayloadKind::Unsigned),
        None => Ok(PayloadKind::Hashed),
        Some("UNSIGNED-PAYLOAD") if rules.unsigned_payload => Ok(PayloadKind::Unsigned),
        Some(kind) if kind.starts_with("STREAMING-") && rules.streaming_payload => {
            Ok(PayloadKind::Streaming(kind.to_owned()))
        }
        Some(said) if unhex(said).is_some() => Ok(PayloadKind::Hashed),
        Some(said) => refused(said),
    }
}
