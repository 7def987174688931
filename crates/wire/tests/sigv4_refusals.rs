//! What is refused, and in which words. The order of the checks and the sentences follow what clients of
//! DynamoDB, STS and Lambda report.
#![allow(clippy::unwrap_used)]

use http::{HeaderValue, Request, request::Parts};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use wire::sigv4::{
    Credentials, Family, Head, KeyCache, PayloadKind, Refusal, Regions, Rules, Signer, Verified,
    sha256, verify,
};

const SECRET: &str = "secret";

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn signer() -> Signer {
    let credentials = Credentials {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: SECRET.into(),
        session_token: None,
    };
    Signer::new(credentials, "eu-west-1", "lambda")
}

fn request(uri: &str) -> Parts {
    let request = Request::post(uri)
        .header("x-amz-invocation-type", "Event")
        .header("content-type", "application/json");
    request.body(()).unwrap().into_parts().0
}

fn signed() -> Parts {
    let mut parts = request("http://localhost:4566/2015-03-31/functions/f/invocations?Qualifier=1");
    signer().sign(&mut parts, b"{}", now());
    parts
}

fn rules() -> Rules<'static> {
    Rules::new(&["lambda"], Regions::Any)
}

fn judge_with(
    parts: &Parts,
    rules: &Rules<'_>,
    body: &[u8],
    now: Timestamp,
) -> Result<Verified, Refusal> {
    verify(
        &Head::from(parts),
        rules,
        &sha256(body),
        now,
        &KeyCache::new(),
        |key, token| match (key, token) {
            ("AKIDEXAMPLE", None) => Ok(SECRET),
            ("ASIAEXAMPLE", Some("token")) => Ok(SECRET),
            ("ASIAEXAMPLE", Some("old")) => Err(Refusal::ExpiredToken),
            _ => Err(Refusal::UnknownClient),
        },
    )
}

fn judge(parts: &Parts) -> Result<Verified, Refusal> {
    judge_with(parts, &rules(), b"{}", now())
}

/// Edits a signed request's `Authorization` header.
fn with_authorization(edit: impl Fn(&str) -> String) -> Parts {
    let mut parts = signed();
    let header = parts.headers["authorization"].to_str().unwrap().to_owned();
    let header = HeaderValue::from_str(&edit(&header)).unwrap();
    parts.headers.insert("authorization", header);
    parts
}

#[track_caller]
fn check(parts: &Parts, code: &str, message: &str) {
    let refusal = judge(parts).unwrap_err();
    assert_eq!(refusal.code(Family::RestJson).0, code, "{refusal}");
    let said = refusal.message(Family::RestJson);
    assert!(said.starts_with(message), "{said}");
}

#[test]
fn a_signed_request_tells_its_signer() {
    let verified = judge(&signed()).unwrap();
    assert_eq!(verified.access_key_id, "AKIDEXAMPLE");
    assert_eq!(verified.region, "eu-west-1");
    assert_eq!(verified.service, "lambda");
    assert_eq!(verified.payload, PayloadKind::Hashed);
    assert!(!verified.presigned);
}

#[test]
fn http2_authority_stands_for_host() {
    let mut parts = signed();
    parts.headers.remove("host");
    assert!(judge(&parts).is_ok());
}

#[test]
fn no_claim_at_all() {
    let parts = request("http://localhost/");
    check(
        &parts,
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    );
    let refusal = judge(&parts).unwrap_err();
    assert_eq!(refusal.code(Family::RestJson).1, 403);
    assert_eq!(refusal.code(Family::Rpc).1, 400);
    assert_eq!(
        refusal.code(Family::Query),
        ("MissingAuthenticationToken", 403)
    );
    assert_eq!(
        refusal.message(Family::Query),
        "Request is missing Authentication Token"
    );
    for other in ["Bearer abc", "AWS AKID:sig", "Basic dGVzdDp0ZXN0"] {
        let parts = with_authorization(|_| other.into());
        check(&parts, "MissingAuthenticationTokenException", "");
    }
}

#[test]
fn an_incomplete_claim() {
    let incomplete = "IncompleteSignatureException";
    check(
        &with_authorization(|_| "AWS4-HMAC-SHA256".into()),
        incomplete,
        "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization=AWS4-HMAC-SHA256",
    );
    check(
        &with_authorization(|h| h.replace("Signature=", "Signature")),
        incomplete,
        "'Signature",
    );
    check(
        &with_authorization(|h| format!("{h}, Credential=again")),
        incomplete,
        "Authorization header has more than one 'Credential'",
    );
    check(
        &with_authorization(|h| h.replace("/lambda/", "/")),
        incomplete,
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'AKIDEXAMPLE/20261123/eu-west-1/aws4_request'",
    );
    check(
        &with_authorization(|h| h.replace("HMAC-SHA256", "ECDSA-P256-SHA256")),
        incomplete,
        "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'",
    );
    let mut parts = signed();
    parts.headers.remove("x-amz-date");
    check(
        &parts,
        incomplete,
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
    );
    for date in [
        "2026-11-23T12:00:00Z",
        "20261123T1200000Z",
        "20261323T120000Z",
        "+0261123T120000Z",
    ] {
        parts
            .headers
            .insert("x-amz-date", HeaderValue::from_static(date));
        check(
            &parts,
            incomplete,
            &format!("Date must be in ISO-8601 'basic format'. Got '{date}'."),
        );
    }
    let mut parts = signed();
    parts
        .headers
        .append("x-amz-date", HeaderValue::from_static("20261123T120000Z"));
    check(
        &parts,
        incomplete,
        "The request must have one readable 'x-amz-date' header.",
    );
}

#[test]
fn a_claim_for_something_else() {
    let invalid = "InvalidSignatureException";
    check(
        &with_authorization(|h| {
            h.replace(
                "20261123/eu-west-1/lambda/aws4_request",
                "20261122/Mars/s3/aws5_request",
            )
        }),
        invalid,
        "Credential should be scoped to a valid region, not 'Mars'. Credential should be scoped to correct service: 'lambda'. Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'. Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20261122' != '20261123', from '20261123T120000Z'. ",
    );
    check(
        &with_authorization(|h| h.replace("host;", "")),
        invalid,
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
    );
    check(
        &with_authorization(|h| h.replace(";x-amz-invocation-type", "")),
        invalid,
        "'x-amz-invocation-type' must be a 'SignedHeader' in the AWS Authorization.",
    );
    let only_here = Rules {
        regions: Regions::Only(&["us-east-1"]),
        ..rules()
    };
    let refusal = judge_with(&signed(), &only_here, b"{}", now()).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "Credential should be scoped to a valid region, not 'eu-west-1'. "
    );
    let mut parts = signed();
    let both = "http://localhost:4566/?X-Amz-Algorithm=AWS4-HMAC-SHA256";
    parts.uri = both.parse().unwrap();
    check(
        &parts,
        invalid,
        "Found both 'X-Amz-Algorithm' as a query-string param",
    );
}

#[test]
fn a_forged_signature() {
    let mismatch = "The request signature we calculated does not match";
    let invalid = "InvalidSignatureException";
    let flip = |h: &str| {
        let (rest, last) = h.split_at(h.len() - 1);
        format!("{rest}{}", if last == "0" { "1" } else { "0" })
    };
    check(&with_authorization(flip), invalid, mismatch);
    check(
        &with_authorization(|h| h[..h.len() - 1].into()),
        invalid,
        mismatch,
    );
    check(
        &with_authorization(|h| h.replace("Signature=", "Signature=zz")),
        invalid,
        mismatch,
    );
    let refusal = judge_with(&signed(), &rules(), b"{ }", now()).unwrap_err();
    assert_eq!(refusal, Refusal::Mismatch);
    assert_eq!(refusal.code(Family::Query), ("SignatureDoesNotMatch", 403));
}

#[test]
fn an_unknown_key_and_an_expired_session() {
    check(
        &with_authorization(|h| h.replace("AKIDEXAMPLE", "AKIDNOBODY")),
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    );
    let mut signer = signer();
    signer.credentials.access_key_id = "ASIAEXAMPLE".into();
    let mut try_token = |token: &str| {
        signer.credentials.session_token = Some(token.into());
        let mut parts = request("http://localhost:4566/");
        signer.sign(&mut parts, b"{}", now());
        judge(&parts)
    };
    assert_eq!(
        try_token("token").unwrap().session_token.as_deref(),
        Some("token")
    );
    assert_eq!(try_token("stolen"), Err(Refusal::UnknownClient));
    assert_eq!(try_token("old"), Err(Refusal::ExpiredToken));
    assert_eq!(
        Refusal::ExpiredToken.code(Family::Query),
        ("ExpiredToken", 403)
    );
}

#[test]
fn clocks_may_be_off_by_five_minutes() {
    let at = |seconds: i64| {
        let now = now() + SignedDuration::from_secs(seconds);
        judge_with(&signed(), &rules(), b"{}", now)
    };
    assert!(at(300).is_ok());
    assert!(at(-300).is_ok());
    assert_eq!(
        at(301).unwrap_err().to_string(),
        "Signature expired: 20261123T120000Z is now earlier than 20261123T120001Z (20261123T120501Z - 5 min.)"
    );
    assert_eq!(
        at(-301).unwrap_err().to_string(),
        "Signature not yet current: 20261123T120000Z is still later than 20261123T115959Z (20261123T115459Z + 5 min.)"
    );
    let iam = Rules {
        clock_skew: wire::sigv4::CLOCK_SKEW_IAM,
        ..rules()
    };
    let later = now() + SignedDuration::from_mins(15);
    assert!(judge_with(&signed(), &iam, b"{}", later).is_ok());
}

#[test]
fn a_plain_date_header_counts() {
    let mut parts = signed();
    parts.headers.remove("x-amz-date");
    let date = HeaderValue::from_static("Mon, 23 Nov 2026 12:00:00 GMT");
    parts.headers.insert("date", date);
    // The signature covers the absent header, so this is a mismatch; but the date itself was read.
    assert_eq!(judge(&parts), Err(Refusal::Mismatch));
}

fn presigned(expires: u64, now: Timestamp) -> Parts {
    let mut parts = Request::get("http://localhost:4566/2015-03-31/functions?x=a%20b")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    signer().presign(&mut parts, Duration::from_secs(expires), now);
    parts
}

#[test]
fn presigned_urls_live_as_long_as_they_say() {
    let at = |expires: u64, seconds: i64| {
        let later = now() + SignedDuration::from_secs(seconds);
        judge_with(&presigned(expires, now()), &rules(), b"", later)
    };
    assert!(at(3600, 3600).unwrap().presigned);
    assert_eq!(
        at(3600, 3601).unwrap_err().to_string(),
        "Signature expired: 20261123T120000Z is now earlier than 20261123T120001Z (20261123T130001Z - 60 min.)"
    );
    assert!(at(604_800, 1).is_ok());
    let code = |r: Result<Verified, Refusal>| r.unwrap_err().code(Family::RestJson).0;
    assert_eq!(code(at(604_801, 1)), "IncompleteSignatureException");
    assert_eq!(code(at(0, 0)), "IncompleteSignatureException");
}

#[test]
fn presigned_urls_cover_their_query_and_body() {
    let mut parts = presigned(60, now());
    assert_eq!(judge(&parts), Err(Refusal::Mismatch), "a body came along");
    let edit = |from: &str, to: &str| {
        let mut parts = presigned(60, now());
        parts.uri = parts.uri.to_string().replace(from, to).parse().unwrap();
        judge_with(&parts, &rules(), b"", now())
    };
    assert!(
        edit("a%20b", "a+b").is_ok(),
        "the same parameter, spelt another way"
    );
    assert_eq!(edit("a%20b", "c"), Err(Refusal::Mismatch));
    assert_eq!(
        edit("X-Amz-Expires=60", "X-Amz-Expires=61"),
        Err(Refusal::Mismatch)
    );
    let twice = edit("&X-Amz-Date", "&X-Amz-Expires=9&X-Amz-Date").unwrap_err();
    assert!(twice.to_string().contains("'X-Amz-Expires' only once"));
    let gone = edit("X-Amz-Credential", "Credential").unwrap_err();
    assert_eq!(
        gone.to_string(),
        "AWS query-string parameters must include 'X-Amz-Credential'. Re-examine the query-string parameters."
    );
    parts
        .headers
        .insert("x-amz-acl", HeaderValue::from_static("public-read"));
    let added = judge_with(&parts, &rules(), b"", now()).unwrap_err();
    assert!(
        added
            .to_string()
            .starts_with("'x-amz-acl' must be a 'SignedHeader'")
    );
}

#[test]
fn payload_kinds_are_for_services_that_take_them() {
    let with = |kind: &'static str, rules: Rules<'_>| {
        let mut parts = request("http://localhost:4566/");
        parts
            .headers
            .insert("x-amz-content-sha256", HeaderValue::from_static(kind));
        signer().sign(&mut parts, b"{}", now());
        judge_with(&parts, &rules, b"{}", now())
    };
    let refused = |kind| with(kind, rules()).unwrap_err().to_string();
    assert!(refused("UNSIGNED-PAYLOAD").contains("'UNSIGNED-PAYLOAD' of 'x-amz-content-sha256'"));
    assert!(refused("STREAMING-AWS4-HMAC-SHA256-PAYLOAD").contains("not accepted"));
    assert!(refused("whatever").contains("not accepted"));
    // Accepted kinds become the last line of the canonical request, so the ordinary signer's do not match.
    let s3 = Rules {
        unsigned_payload: true,
        streaming_payload: true,
        ..rules()
    };
    assert_eq!(with("UNSIGNED-PAYLOAD", s3), Err(Refusal::Mismatch));
    // The hash of something else than the body.
    let other = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(with(other, rules()), Err(Refusal::Mismatch));
}
