//! The condition keys of S3's requests
//! (<https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html>).

use wire::{Keys, Signed};

use crate::access::{Request, query_of};
use crate::record::Content;

/// Condition keys that are headers, under the same name.
const HEADER_KEYS: &[&str] = &[
    "x-amz-acl",
    "x-amz-copy-source",
    "x-amz-metadata-directive",
    "x-amz-object-ownership",
    "x-amz-server-side-encryption",
    "x-amz-storage-class",
];
/// Condition keys that are parameters: parameter, key.
const PARAMETER_KEYS: &[(&str, &str)] = &[
    ("prefix", "s3:prefix"),
    ("delimiter", "s3:delimiter"),
    ("max-keys", "s3:max-keys"),
    ("versionId", "s3:VersionId"),
];

/// Those of a request; with `content`, also those of the object that is there.
pub(crate) fn keys(request: &Request<'_>, content: Option<&Content>) -> Keys {
    let mut keys = Keys::new();
    for (parameter, key) in PARAMETER_KEYS {
        if let Some(value) = request.parameter(parameter) {
            keys.push(((*key).into(), vec![value.to_owned()]));
        }
    }
    for name in HEADER_KEYS {
        if let Some(value) = request.header(name) {
            keys.push((format!("s3:{name}").into(), vec![value.to_owned()]));
        }
    }
    for (name, key) in [
        ("referer", "aws:Referer"),
        ("if-match", "s3:if-match"),
        ("if-none-match", "s3:if-none-match"),
    ] {
        if let Some(value) = request.header(name) {
            keys.push((key.into(), vec![value.to_owned()]));
        }
    }
    match request.asked.signed {
        Signed::Not => {}
        Signed::OldUrl => keys.push(("s3:authType".into(), vec!["REST-QUERY-STRING".to_owned()])),
        Signed::Form { .. } => keys.push(("s3:authType".into(), vec!["POST".to_owned()])),
        Signed::Header => keys.push(("s3:authType".into(), vec!["REST-HEADER".to_owned()])),
        Signed::Url { age_ms } => {
            keys.push(("s3:authType".into(), vec!["REST-QUERY-STRING".to_owned()]));
            keys.push(("s3:signatureAge".into(), vec![age_ms.to_string()]));
        }
    }
    let version = match request.asked.signed {
        Signed::Not => None,
        Signed::OldUrl => Some("AWS"),
        Signed::Form { version } => version,
        Signed::Header | Signed::Url { .. } => Some("AWS4-HMAC-SHA256"),
    };
    if let Some(version) = version {
        keys.push(("s3:signatureversion".into(), vec![version.to_owned()]));
    }
    if let Some(tags) = request.header("x-amz-tagging") {
        push_request_tags(&mut keys, &query_of(tags));
    }
    push_tags(&mut keys, "s3:ExistingObjectTag/", content);
    keys
}

/// The tags that an object is to have.
pub(crate) fn push_request_tags(keys: &mut Keys, tags: &[(String, String)]) {
    for (tag, value) in tags {
        keys.push((
            format!("s3:RequestObjectTag/{tag}").into(),
            vec![value.clone()],
        ));
    }
    let names = tags.iter().map(|(tag, _value)| tag.clone()).collect();
    keys.push(("s3:RequestObjectTagKeys".into(), names));
}

/// The tags that it has.
pub(crate) fn push_tags(keys: &mut Keys, prefix: &str, content: Option<&Content>) {
    for (tag, value) in content.iter().flat_map(|content| &content.tags) {
        keys.push((format!("{prefix}{tag}").into(), vec![value.clone()]));
    }
}
