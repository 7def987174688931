//! Two independent signers against our check: what the aws-sigv4 crate (the Rust SDK's signer) and our own
//! signer make of arbitrary requests must verify; and no arbitrary claim may panic.
#![allow(clippy::unwrap_used)]

use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use http::{HeaderMap, HeaderName, HeaderValue, Request, request::Parts};
use jiff::Timestamp;
use proptest::prelude::*;
use std::time::{Duration, SystemTime};
use wire::sigv4::{
    Claim, Credentials, Head, KeyCache, Refusal, Regions, Rules, Signer, sha256, verify,
};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "token/with+odd=characters";

fn judge(parts: &Parts, body: &[u8], now: Timestamp) -> Result<(), Refusal> {
    verify(
        &Head::from(parts),
        &Rules::new(&["lambda"], Regions::Any),
        &sha256(body),
        now,
        &KeyCache::new(),
        |key, token| match (key, token) {
            ("AKID", None) | ("AKID", Some(TOKEN)) => Ok(SECRET),
            _ => Err(Refusal::UnknownClient),
        },
    )
    .map(drop)
}

/// Percent-encodes everything, so that any text can be part of a URI.
fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

fn uri() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        "[a-zA-Z0-9._~:@$!-]{0,8}",
        "\\PC{0,4}".prop_map(|s| encoded(&s))
    ];
    let pair =
        ("[a-zA-Z0-9._-]{1,6}", "\\PC{0,6}").prop_map(|(k, v)| format!("{k}={}", encoded(&v)));
    (
        prop::collection::vec(segment, 0..5),
        prop::collection::vec(pair, 0..5),
    )
        .prop_map(|(segments, pairs)| {
            let query = if pairs.is_empty() {
                String::new()
            } else {
                format!("?{}", pairs.join("&"))
            };
            format!("http://127.0.0.1:4566/{}{query}", segments.join("/"))
        })
}

fn request() -> impl Strategy<Value = (Parts, Vec<u8>)> {
    let header = ("x-amz-[a-z]{1,8}", "[ -~]{0,20}");
    (
        prop::sample::select(vec!["GET", "POST", "PUT", "DELETE"]),
        uri(),
        prop::collection::vec(header, 0..4),
        prop::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(method, uri, headers, body)| {
            let mut request = Request::builder().method(method).uri(uri);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            (request.body(()).unwrap().into_parts().0, body)
        })
}

/// Signs as the Rust SDK does, and applies what it says to the request.
fn sign_as_the_sdk(parts: &mut Parts, body: &[u8], presign: bool, token: bool, at: SystemTime) {
    let mut settings = SigningSettings::default();
    if presign {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(900));
    }
    let token = token.then(|| TOKEN.to_owned());
    let identity =
        aws_credential_types::Credentials::new("AKID", SECRET, token, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("lambda")
        .time(at)
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let uri = parts.uri.to_string();
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let signable = SignableRequest::new(
        parts.method.as_str(),
        &uri,
        headers.iter().map(|(n, v)| (n.as_str(), v.as_str())),
        SignableBody::Bytes(body),
    )
    .unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    let mut request = Request::from_parts(parts.clone(), ());
    instructions.apply_to_request_http1x(&mut request);
    *parts = request.into_parts().0;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_the_sdk_signs_verifies(
        (mut parts, body) in request(), presign: bool, token: bool, minute in 0u64..30_000_000,
    ) {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(minute * 60);
        let host = HeaderValue::from_static("127.0.0.1:4566");
        parts.headers.insert("host", host);
        sign_as_the_sdk(&mut parts, &body, presign, token, at);
        let now = Timestamp::try_from(at).unwrap();
        prop_assert_eq!(judge(&parts, &body, now), Ok(()));
        let mut changed = body;
        changed.push(1);
        prop_assert!(judge(&parts, &changed, now).is_err());
    }

    #[test]
    fn what_we_sign_verifies((mut parts, body) in request(), presign: bool, token: bool) {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let credentials = Credentials {
            access_key_id: "AKID".into(),
            secret_access_key: SECRET.into(),
            session_token: token.then(|| TOKEN.to_owned()),
        };
        let signer = Signer::new(credentials, "us-east-1", "lambda");
        let body = if presign { Vec::new() } else { body };
        if presign {
            signer.presign(&mut parts, Duration::from_secs(60), now);
        } else {
            signer.sign(&mut parts, &body, now);
        }
        prop_assert_eq!(judge(&parts, &body, now), Ok(()));
    }

    #[test]
    fn no_claim_panics(authorization in "(AWS4-HMAC-SHA256 )?\\PC{0,80}", query in "\\PC{0,80}", date in "\\PC{0,20}") {
        let mut headers = HeaderMap::new();
        for (name, value) in [("authorization", authorization), ("x-amz-date", date)] {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let query = format!("X-Amz-Algorithm=AWS4-HMAC-SHA256&{query}");
        for query in ["", query.as_str()] {
            let head = Head { method: "GET", path: "/", query, headers: &headers, authority: None };
            prop_assert!(Claim::read(&head, &Rules::new(&["lambda"], Regions::Any), Timestamp::UNIX_EPOCH).is_err());
        }
    }
}
