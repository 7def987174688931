//! Uploads from HTML forms: `multipart/form-data` whose fields carry a policy and its signature
//! (AmazonS3/latest/API/sigv4-HTTPPOSTForms.html). Here the fields are read and the policy is judged; a form that passes is a
//! PutObject like any other.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use http::HeaderMap;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::escape::{escape, unescape};
use serde::Deserialize;
use serde_json::Value;

use crate::Error;
use crate::sigv4::{Refusal, policy_signature};

/// The most bytes before the file: "preceding the upload file", with room for the parts' headers.
pub const FIELDS_BYTES_MAX: usize = 20 << 10;
/// RFC 2046: "no more than 70 characters".
const BOUNDARY_BYTES_MAX: usize = 70;
const CONDITIONS_MAX: usize = 200;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Fields that a policy need not name, beside those that begin with `x-ignore-`.
const UNNAMED: &[&str] = &[
    "awsaccesskeyid",
    "file",
    "policy",
    "signature",
    "x-amz-signature",
];

/// The fields of a form, by name in lower case.
#[derive(Debug, Default)]
pub struct Form {
    fields: BTreeMap<String, String>,
    boundary: String,
}

/// What [`Form::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It needs more bytes.
    More,
    /// A field is noted; there may be more in the bytes.
    Field,
    /// What follows is the file.
    File,
}

fn bad(code: &'static str, text: impl Into<String>) -> Error {
    Error::new(code, 400, text.into())
}

fn malformed() -> Error {
    bad(
        "MalformedPOSTRequest",
        "The body of your POST request is not well-formed multipart/form-data.",
    )
}

fn denied(why: impl std::fmt::Display) -> Error {
    Error::new(
        "AccessDenied",
        403,
        format!("Invalid according to Policy: {why}"),
    )
}

/// Whether the headers say that a body is a form.
pub fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("multipart/form-data")
}

impl Form {
    /// An empty form, with the boundary that the headers say.
    ///
    /// # Errors
    /// `MalformedPOSTRequest` without a boundary.
    pub fn new(headers: &HeaderMap) -> Result<Form, Error> {
        let kind = headers.get(http::header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let parameters = kind
            .split(';')
            .skip(1)
            .filter_map(|part| part.split_once('='));
        let mut boundaries =
            parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"));
        let boundary = boundaries
            .next()
            .map(|(_, value)| value.trim().trim_matches('"'));
        let legal = |text: &&str| (1..=BOUNDARY_BYTES_MAX).contains(&text.len());
        Ok(Form {
            boundary: boundary.filter(legal).ok_or_else(malformed)?.to_owned(),
            fields: BTreeMap::new(),
        })
    }

    /// What ends the file, and every field.
    pub fn delimiter(&self) -> Vec<u8> {
        format!("\r\n--{}", self.boundary).into_bytes()
    }

    /// A field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// All fields, by name in lower case.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |(name, value)| (String::as_str(name), String::as_str(value));
        self.fields.iter().map(text)
    }

    /// Takes one part off the bytes. Before the first call they must begin with the body, without anything before it.
    ///
    /// # Errors
    /// `MalformedPOSTRequest` for what is no form, `InvalidArgument` for a form without a file or with a field twice.
    pub fn take(&mut self, bytes: &mut BytesMut) -> Result<Step, Error> {
        let open = format!("--{}", self.boundary).into_bytes();
        // A field leaves the line break before the next boundary.
        let skip = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        let Some(rest) = bytes.get(skip + open.len()..skip + open.len() + 2) else {
            return Ok(Step::More);
        };
        if bytes[skip..skip + open.len()] != open[..] {
            return Err(malformed());
        }
        if rest == b"--" {
            let text = "POST requires exactly one file upload per request.";
            return Err(bad("InvalidArgument", text));
        }
        if rest != b"\r\n" {
            return Err(malformed());
        }
        let begin = skip + open.len() + 2;
        let Some(head) = find(&bytes[begin..], b"\r\n\r\n") else {
            return Ok(Step::More);
        };
        let (name, file) = named(&bytes[begin..begin + head]).ok_or_else(malformed)?;
        let begin = begin + head + 4;
        if name == "file" {
            let key = self.fields.get_mut("key").ok_or_else(|| {
                let text = "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.";
                bad("InvalidArgument", text)
            })?;
            *key = key.replace("${filename}", &file);
            drop(bytes.split_to(begin));
            return Ok(Step::File);
        }
        let Some(length) = find(&bytes[begin..], &self.delimiter()) else {
            return Ok(Step::More);
        };
        let value = std::str::from_utf8(&bytes[begin..begin + length]).map_err(|_| malformed())?;
        if self.fields.insert(name.clone(), value.to_owned()).is_some() {
            let text = format!("The field '{name}' is there more than once.");
            return Err(bad("InvalidArgument", text));
        }
        drop(bytes.split_to(begin + length));
        Ok(Step::Field)
    }

    /// Who says to have signed the policy, if there is one.
    ///
    /// # Errors
    /// `InvalidArgument` if a part of the claim is missing, `AccessDenied` for a policy that nobody signed.
    pub fn claim(&self) -> Result<Option<Claim<'_>>, Error> {
        let missing = |name: &str| {
            bad(
                "InvalidArgument",
                format!(
                    "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
                ),
            )
        };
        let needed = |name: &str| self.field(name).ok_or_else(|| missing(name));
        let by_header =
            self.field("x-amz-signature").is_some() || self.field("x-amz-credential").is_some();
        let by_id = self.field("signature").is_some() || self.field("awsaccesskeyid").is_some();
        if !by_header && !by_id {
            return match self.field("policy") {
                None => Ok(None),
                Some(_) => Err(Error::new("AccessDenied", 403, "Access Denied")),
            };
        }
        let policy = needed("policy")?;
        let token = self.field("x-amz-security-token");
        if !by_header {
            return Ok(Some(Claim {
                access_key_id: needed("awsaccesskeyid")?,
                signature: needed("signature")?,
                scope: None,
                policy,
                token,
            }));
        }
        if needed("x-amz-algorithm")? != ALGORITHM {
            return Err(bad(
                "InvalidArgument",
                format!("X-Amz-Algorithm only supports \"{ALGORITHM}\""),
            ));
        }
        let credential: Vec<&str> = needed("x-amz-credential")?.split('/').collect();
        let &[access_key_id, date, region, "s3", "aws4_request"] = credential.as_slice() else {
            let text = "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/s3/aws4_request\".";
            return Err(bad("InvalidArgument", text));
        };
        if !needed("x-amz-date")?.starts_with(date) || date.len() != 8 {
            let text = "Invalid credential date. This date is not the same as X-Amz-Date.";
            return Err(bad("InvalidArgument", text));
        }
        Ok(Some(Claim {
            access_key_id,
            signature: needed("x-amz-signature")?,
            scope: Some((date, region)),
            policy,
            token,
        }))
    }
}

/// The field `tagging`, which is the body of PutObjectTagging, as the header `x-amz-tagging` has it.
///
/// # Errors
/// `MalformedXML`.
pub fn tags(xml: &str) -> Result<String, Error> {
    fn between<'a>(text: &'a str, name: &str) -> Option<&'a str> {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    }
    let encoded = |text: &str| {
        let plain = unescape(text).ok()?;
        Some(utf8_percent_encode(&plain, NON_ALPHANUMERIC).to_string())
    };
    let pair = |tag: &str| {
        let tag = tag.trim_end().strip_suffix("</Tag>")?;
        Some(format!(
            "{}={}",
            encoded(between(tag, "Key")?)?,
            encoded(between(tag, "Value")?)?
        ))
    };
    let set = between(xml, "TagSet").unwrap_or_default();
    let mut tags = set.split("<Tag>");
    let is_sound =
        xml.contains("<TagSet") && tags.next().is_none_or(|before| before.trim().is_empty());
    let pairs: Option<Vec<String>> = tags.map(pair).collect();
    let pairs = pairs.filter(|_| is_sound).ok_or_else(|| {
        bad(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    })?;
    Ok(pairs.join("&"))
}

/// The body that a form with the status 201 is answered with.
pub fn response(told: &[(&str, &str)]) -> String {
    let member = |(name, value): &(&str, &str)| format!("<{name}>{}</{name}>", escape(*value));
    let members: String = told.iter().map(member).collect();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>{members}</PostResponse>")
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

/// Name in lower case, and file name, of a part with these headers.
fn named(headers: &[u8]) -> Option<(String, String)> {
    let headers = std::str::from_utf8(headers).ok()?;
    let mut lines = headers
        .split("\r\n")
        .filter_map(|line| line.split_once(':'));
    let (_, disposition) =
        lines.find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))?;
    let (kind, parameters) = disposition.split_once(';')?;
    let value = |wanted: &str| {
        let mut rest = parameters;
        while let Some((name, after)) = rest.split_once('=') {
            let (value, left) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(';').unwrap_or((after, "")),
            };
            if name.trim_matches([' ', ';']).eq_ignore_ascii_case(wanted) {
                return Some(value.to_owned());
            }
            rest = left;
        }
        None
    };
    let name = value("name").filter(|_| kind.trim().eq_ignore_ascii_case("form-data"))?;
    // Some browsers tell the whole path.
    let file = value("filename").unwrap_or_default();
    let file = file.rsplit(['/', '\\']).next().unwrap_or_default();
    Some((name.to_ascii_lowercase(), file.to_owned()))
}

/// What a form says of the one who signed its policy; believed only once [`check`](Claim::check) returned.
#[derive(Debug)]
pub struct Claim<'a> {
    /// Whose key.
    pub access_key_id: &'a str,
    /// The token of a session.
    pub token: Option<&'a str>,
    /// The policy, in base64, which is what is signed.
    pub policy: &'a str,
    signature: &'a str,
    /// Date and region; none with Signature Version 2.
    scope: Option<(&'a str, &'a str)>,
}

impl Claim<'_> {
    /// The region that it is signed for, if any.
    pub fn region(&self) -> Option<&str> {
        self.scope.map(|(_date, region)| region)
    }

    /// The version of the signature, as policies call it.
    pub fn version(&self) -> &'static str {
        match self.scope {
            Some(_) => ALGORITHM,
            None => "AWS",
        }
    }

    /// Compares the signature.
    ///
    /// # Errors
    /// [`Refusal::Mismatch`].
    pub fn check(&self, secret: &[u8]) -> Result<(), Refusal> {
        let holds = match self.scope {
            Some((date, region)) => {
                policy_signature(secret, date, region, self.policy.as_bytes(), self.signature)
            }
            None => STANDARD.decode(self.signature).is_ok_and(|signature| {
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
                hmac::verify(&key, self.policy.as_bytes(), &signature).is_ok()
            }),
        };
        holds.then_some(()).ok_or(Refusal::Mismatch)
    }
}

/// How long the file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

#[derive(Deserialize)]
struct Policy {
    expiration: String,
    conditions: Vec<Value>,
}

/// Judges a form by its policy, in base64: every condition must hold, and every field must be in one.
///
/// # Errors
/// `InvalidPolicyDocument` for what is no policy, `AccessDenied` for a form that it does not allow or that comes late.
pub fn judge(policy: &str, form: &Form, bucket: &str, now: Timestamp) -> Result<Lengths, Error> {
    let invalid = |why: &str| bad("InvalidPolicyDocument", format!("Invalid Policy: {why}"));
    let text = STANDARD
        .decode(policy)
        .map_err(|_| invalid("Invalid base64 encoding."))?;
    let policy: Policy = serde_json::from_slice(&text).map_err(|_| invalid("Invalid JSON."))?;
    // "ISO8601 UTC date format", which is stricter than what can be read.
    let is_utc = policy.expiration.contains('T') && policy.expiration.ends_with('Z');
    let until = policy
        .expiration
        .parse::<Timestamp>()
        .ok()
        .filter(|_| is_utc);
    let until = until.ok_or_else(|| invalid("Invalid 'expiration' value."))?;
    if until <= now {
        return Err(denied("Policy expired."));
    }
    if policy.conditions.len() > CONDITIONS_MAX {
        return Err(invalid("Too many conditions."));
    }
    let mut lengths = Lengths {
        min: 0,
        max: u64::MAX,
    };
    let mut named = vec!["bucket".to_owned()];
    for condition in &policy.conditions {
        if let Some(range) = length_range(condition) {
            lengths =
                range.map_err(|()| invalid("Invalid Simple-Condition: the range is not one."))?;
            continue;
        }
        for (name, kind, value) in rules(condition).ok_or_else(|| invalid("Invalid Condition."))? {
            let given = match name.as_str() {
                "bucket" => bucket,
                name => form.field(name).unwrap_or_default(),
            };
            let holds = match kind {
                Kind::Equals => given == value,
                // "Content-Type values that include commas are interpreted as lists."
                Kind::StartsWith if name == "content-type" => {
                    given.split(',').all(|one| one.trim().starts_with(value))
                }
                Kind::StartsWith => given.starts_with(value),
            };
            if !holds {
                return Err(denied(format_args!("Policy Condition failed: {condition}")));
            }
            named.push(name);
        }
    }
    let is_named = |name: &str| {
        UNNAMED.contains(&name)
            || name.starts_with("x-ignore-")
            || named.iter().any(|own| own == name)
    };
    let extra: Vec<&str> = form
        .fields()
        .map(|(name, _)| name)
        .filter(|name| !is_named(name))
        .collect();
    match extra.is_empty() {
        true => Ok(lengths),
        false => Err(denied(format_args!(
            "Extra input fields: {}",
            extra.join(", ")
        ))),
    }
}

enum Kind {
    Equals,
    StartsWith,
}

/// `["content-length-range", 1, 10]`, if it is that.
fn length_range(condition: &Value) -> Option<Result<Lengths, ()>> {
    let list = condition.as_array()?;
    let name = list.first()?.as_str()?;
    if !name.eq_ignore_ascii_case("content-length-range") {
        return None;
    }
    let number = |at: usize| match list.get(at) {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let range = match (number(1), number(2), list.len()) {
        (Some(min), Some(max), 3) if min <= max => Ok(Lengths { min, max }),
        _ => Err(()),
    };
    Some(range)
}

/// `{"acl": "private"}`, `["eq", "$acl", "private"]` or `["starts-with", "$key", "user/"]`.
fn rules(condition: &Value) -> Option<Vec<(String, Kind, &str)>> {
    match condition {
        Value::Object(members) if !members.is_empty() => members
            .iter()
            .map(|(name, value)| Some((name.to_ascii_lowercase(), Kind::Equals, value.as_str()?)))
            .collect(),
        Value::Array(list) => {
            let [kind, name, value] = list.as_slice() else {
                return None;
            };
            let kind = match kind.as_str()?.to_ascii_lowercase().as_str() {
                "eq" => Kind::Equals,
                "starts-with" => Kind::StartsWith,
                _ => return None,
            };
            let name = name.as_str()?.strip_prefix('$')?.to_ascii_lowercase();
            Some(vec![(name, kind, value.as_str()?)])
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn form(fields: &[(&str, &str)]) -> Form {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Form {
            boundary: "b".to_owned(),
            fields: fields.iter().map(pair).collect(),
        }
    }

    #[test]
    fn parts_are_read_however_they_come() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"Key\"\r\n\r\nin/${filename}\r\n--b\r\nContent-Type: text/plain\r\ncontent-disposition: form-data; name=\"file\"; filename=\"C:\\\\a b.txt\"\r\n\r\nhello\r\n--b--\r\n";
        for size in [1, 7, 1000] {
            let mut headers = HeaderMap::new();
            headers.insert(
                "content-type",
                HeaderValue::from_static("multipart/form-data; boundary=\"b\""),
            );
            assert!(is_form(&headers));
            let mut form = Form::new(&headers).unwrap();
            let mut waiting = BytesMut::new();
            let mut found = false;
            for piece in body.chunks(size) {
                waiting.extend_from_slice(piece);
                while !found {
                    match form.take(&mut waiting).unwrap() {
                        Step::More => break,
                        Step::Field => {}
                        Step::File => found = true,
                    }
                }
            }
            assert_eq!(form.field("key"), Some("in/a b.txt"));
            assert_eq!(&waiting[..], b"hello\r\n--b--\r\n");
        }
    }

    #[test]
    fn what_is_no_form() {
        for body in [
            "--c\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nx\r\n--c\r\n",
            "--b--\r\n",
            "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n",
            "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b--\r\n",
        ] {
            let mut bytes = BytesMut::from(body);
            assert!(form(&[]).take(&mut bytes).is_err(), "{body}");
        }
    }

    #[test]
    fn policies() {
        let check =
            |conditions: &str, fields: &[(&str, &str)], expected: Result<(u64, u64), &str>| {
                let policy =
                    format!(r#"{{"expiration":"2030-01-01T00:00:00Z","conditions":{conditions}}}"#);
                let now = "2029-01-01T00:00:00Z".parse().unwrap();
                let found = judge(&STANDARD.encode(policy), &form(fields), "photos", now);
                let found = found
                    .map(|lengths| (lengths.min, lengths.max))
                    .map_err(|error| error.code.into_owned());
                assert_eq!(
                    found,
                    expected.map_err(str::to_owned),
                    "{conditions} {fields:?}"
                );
            };
        let any = Ok((0, u64::MAX));
        let key: &[_] = &[("key", "a/b")];
        check(r#"[{"bucket":"photos"},["eq","$key","a/b"]]"#, key, any);
        check(r#"[{"bucket":"photos","key":"a/b"}]"#, key, any);
        check(r#"[["starts-with","$key","a/"]]"#, key, any);
        check(
            r#"[["starts-with","$key",""],["content-length-range",1,"9"]]"#,
            key,
            Ok((1, 9)),
        );
        check(r#"[["starts-with","$key","b/"]]"#, key, Err("AccessDenied"));
        check(
            r#"[{"bucket":"other"},["eq","$key","a/b"]]"#,
            key,
            Err("AccessDenied"),
        );
        check("[]", key, Err("AccessDenied"));
        check(
            r#"[["eq","$key","a/b"],{"acl":"private"}]"#,
            key,
            Err("AccessDenied"),
        );
        check(
            r#"[["eq","$key","a/b"]]"#,
            &[("key", "a/b"), ("acl", "private")],
            Err("AccessDenied"),
        );
        check(
            r#"[["eq","$key","a/b"]]"#,
            &[("key", "a/b"), ("x-ignore-me", "1"), ("policy", "x")],
            any,
        );
        let kind = |value| [("key", "k"), ("content-type", value)];
        let pictures = r#"[{"key":"k"},["starts-with","$Content-Type","image/"]]"#;
        check(pictures, &kind("image/png, image/gif"), any);
        check(pictures, &kind("image/png,text/html"), Err("AccessDenied"));
        for broken in [
            r#"[["eq","key","a/b"]]"#,
            r#"[["like","$key","a/b"]]"#,
            r#"["key"]"#,
            r#"[["content-length-range",9,1]]"#,
            r#"[{"key":1}]"#,
            "{}",
        ] {
            check(broken, key, Err("InvalidPolicyDocument"));
        }
    }

    #[test]
    fn tags_of_a_form() {
        let check = |xml: &str, expected: Option<&str>| {
            assert_eq!(tags(xml).ok().as_deref(), expected, "{xml}");
        };
        let one = "<Tag><Key>a b</Key><Value>1&amp;2</Value></Tag>";
        check(
            &format!("<Tagging><TagSet>{one}</TagSet></Tagging>"),
            Some("a%20b=1%262"),
        );
        let two = "<Tag><Value/><Key>c</Key><Value></Value></Tag>";
        check(
            &format!("<Tagging>\n<TagSet>\n{one}\n{two}</TagSet></Tagging>"),
            Some("a%20b=1%262&c="),
        );
        check("<Tagging><TagSet></TagSet></Tagging>", Some(""));
        check(
            "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
            None,
        );
        check("nonsense", None);
    }

    #[test]
    fn a_policy_ends() {
        let policy = STANDARD
            .encode(r#"{"expiration":"2030-01-01T00:00:00.000Z","conditions":[{"key":"k"}]}"#);
        let form = form(&[("key", "k")]);
        let judged = |now: &str| judge(&policy, &form, "b", now.parse().unwrap());
        assert!(judged("2029-12-31T23:59:59Z").is_ok());
        assert_eq!(
            judged("2030-01-01T00:00:00Z").unwrap_err().code,
            "AccessDenied"
        );
        for bad in ["2030-01-01 00:00:00Z", "2030-01-01T00:00:00+00:00", "soon"] {
            let policy = format!(r#"{{"expiration":"{bad}","conditions":[{{"key":"k"}}]}}"#);
            let now = "2029-01-01T00:00:00Z".parse().unwrap();
            let refused = judge(&STANDARD.encode(policy), &form, "b", now).unwrap_err();
            assert_eq!(refused.code, "InvalidPolicyDocument");
        }
    }
}
