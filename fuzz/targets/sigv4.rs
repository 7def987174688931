//! SigV4: no request, however strange, verifies without the secret, and none makes the parser panic.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use wire::sigv4::{self, Head, KeyCache, PathRule, Regions, Rules};

// One line each: method, path, query, authority; then headers as `name:value`.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (method, path, query, authority) = (next(), next(), next(), next());
    let mut headers = HeaderMap::new();
    for line in lines {
        if let Some((name, value)) = line.split_once(':')
            && let Ok(name) = HeaderName::from_bytes(name.as_bytes())
            && let Ok(value) = HeaderValue::from_str(value)
        {
            headers.append(name, value);
        }
    }
    let head = Head {
        method,
        path,
        query,
        headers: &headers,
        authority: Some(authority),
    };
    for path in [PathRule::Normalised, PathRule::Once] {
        let rules = Rules {
            path,
            unsigned_payload: true,
            ..Rules::new(&["lambda"], Regions::Any)
        };
        let now: jiff::Timestamp = "2015-08-30T12:36:00Z".parse().expect("a constant");
        let keys = KeyCache::new();
        let verdict = sigv4::verify(&head, &rules, &sigv4::sha256(b""), now, &keys, |_, _| {
            Ok(b"a secret that no input holds".as_slice())
        });
        assert!(verdict.is_err(), "verified without the secret");
    }
});
