//! [`Storage`]: a service that reads its requests itself, a piece at a time, as S3 does. Its bodies have no useful limit and
//! its paths no form, so it is no table of [`crate::Operation`]s. The front door verifies who asks, and hands over the rest.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};

use crate::{AwsHost, Body, ByteStream, Context, Error, Reply};

/// Names below which each name is a bucket's, beside AWS's own.
const LOCAL_DOMAINS: &[&str] = &["localhost"];

/// What stands for the service in the host names of websites.
const WEBSITE: &str = "s3-website";

/// A service that reads requests itself.
pub trait Storage: Send + Sync {
    /// Answers a request whose signature holds, or that has none.
    fn answer(
        &self,
        request: StorageRequest,
    ) -> Pin<Box<dyn Future<Output = StorageReply> + Send + '_>>;
}

/// A verified request. What proved it is taken out of the head: authorization, session token, the parameters of a presigned
/// URL, and the encoding in chunks.
pub struct StorageRequest {
    /// Method, URI and headers.
    pub head: Parts,
    /// The content, which fails where it is not what was signed. The failure is a [`BodyFault`] inside the `io::Error`.
    pub body: ByteStream,
    /// The content's length, where the client says it.
    pub length: Option<u64>,
    /// The headers behind the content.
    pub trailers: Trailers,
    /// Who asks, where, when.
    pub context: Context,
    /// How the request was signed.
    pub signed: Signed,
    /// Whether a web page sent it to a server whose keys all know: it is refused unless the bucket lets in the page's origin.
    pub guarded: bool,
}

/// Why a body cannot be read to its end.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct BodyFault {
    /// AWS's code.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The sentence for the user.
    pub message: String,
}

/// How a request was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// Not at all: its caller is anonymous.
    Not,
    /// In a header.
    Header,
    /// By the policy of an HTML form, if it has one.
    Form {
        /// The version of the signature.
        version: Option<&'static str>,
    },
    /// In the URL, with Signature Version 2.
    OldUrl,
    /// In the URL, so many milliseconds ago.
    Url {
        /// The age of the signature.
        age_ms: i64,
    },
}

/// The answer to a [`StorageRequest`].
pub struct StorageReply {
    /// AWS's name of the operation, if it got as far as that.
    pub operation: Option<&'static str>,
    /// What goes to the client.
    pub reply: Reply,
}

/// Headers that come behind a body: there once the body has been read.
#[derive(Clone, Debug, Default)]
pub struct Trailers(Arc<OnceLock<HeaderMap>>);

impl Trailers {
    /// Notes the headers. Only the first call counts.
    pub fn set(&self, headers: HeaderMap) {
        // A body ends once.
        let _ = self.0.set(headers);
    }

    /// One of the headers.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get()?.get(name)?.to_str().ok()
    }
}

/// The bucket that a host name says, for requests whose path begins with the key: `photos.s3.eu-west-1.amazonaws.com`, and of
/// names that lead to this machine `photos.localhost` and `photos.s3.localhost`.
pub fn bucket_in_host(host: &str) -> Option<&str> {
    let name = host.split_once(':').map_or(host, |(name, _port)| name);
    if let Some(found) = AwsHost::parse(name) {
        return Some(found.subdomain).filter(|bucket| found.service == "s3" && !bucket.is_empty());
    }
    if website_in_host(host).is_some() {
        return None;
    }
    let below = |domain: &&str| name.strip_suffix(*domain)?.strip_suffix('.');
    let rest = LOCAL_DOMAINS.iter().find_map(below)?;
    let bucket = match rest.split_once(".s3.") {
        // `photos.s3.eu-west-1.localhost`
        Some((bucket, region)) if crate::Region::new(region).is_some() => bucket,
        _ => rest.strip_suffix(".s3").unwrap_or(rest),
    };
    let is_service = bucket == "s3" || bucket.starts_with("s3.") || bucket.contains(".lambda-url.");
    (!bucket.is_empty() && !is_service).then_some(bucket)
}

/// The bucket whose website a host name is: `photos.s3-website-us-east-1.amazonaws.com`, where a dot may stand before the
/// region, and of names that lead to this machine `photos.s3-website.localhost` and the same with a region.
pub fn website_in_host(host: &str) -> Option<&str> {
    let name = host.split_once(':').map_or(host, |(name, _port)| name);
    let (bucket, service) = match AwsHost::parse(name) {
        Some(found) => (found.subdomain, found.service),
        None => {
            let below = |domain: &&str| name.strip_suffix(*domain)?.strip_suffix('.');
            let rest = LOCAL_DOMAINS.iter().find_map(below)?;
            let (before, last) = rest.rsplit_once('.')?;
            match crate::Region::new(last) {
                Some(_) if !last.starts_with(WEBSITE) => before.rsplit_once('.')?,
                _ => (before, last),
            }
        }
    };
    let region = service.strip_prefix(WEBSITE)?;
    let is_region = |region: &str| crate::Region::new(region).is_some();
    let is_known = region.is_empty() || region.strip_prefix('-').is_some_and(is_region);
    (is_known && !bucket.is_empty()).then_some(bucket)
}

/// A refusal in S3's envelope.
pub fn storage_error(error: &Error, path: &str, request_id: &str) -> Reply {
    let mut members = String::new();
    for (name, value) in &error.members {
        if let crate::Node::String(text) = value {
            members += &format!("<{name}>{}</{name}>", escaped(text));
        }
    }
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>{members}<Resource>{}</Resource><RequestId>{request_id}</RequestId></Error>",
        escaped(&error.code),
        escaped(&error.message),
        escaped(path),
    );
    let mut reply = Reply::new(Body::Whole(Bytes::from(body)));
    *reply.status_mut() =
        http::StatusCode::from_u16(error.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static("application/xml");
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    for (name, value) in &error.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            reply.headers_mut().insert(*name, value);
        }
    }
    reply
}

/// Text of an XML element, or of HTML outside of attributes: S3 leaves quotes as they are.
pub fn escaped(text: &str) -> std::borrow::Cow<'_, str> {
    quick_xml::escape::partial_escape(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, expected: Option<&str>) {
        assert_eq!(bucket_in_host(host), expected, "{host}");
    }

    #[test]
    fn buckets_in_hosts() {
        check("photos.localhost:4566", Some("photos"));
        check("photos.s3.localhost:4566", Some("photos"));
        check("my.photos.s3.eu-west-1.localhost", Some("my.photos"));
        check("photos.s3.amazonaws.com", Some("photos"));
        check("a.b.s3.eu-west-1.amazonaws.com", Some("a.b"));
        check("s3.eu-west-1.amazonaws.com", None);
        check("lambda.eu-west-1.amazonaws.com", None);
        check("s3.localhost", None);
        check("s3.eu-west-1.localhost", None);
        check("localhost:4566", None);
        check("127.0.0.1:4566", None);
        check("x.lambda-url.us-east-1.localhost", None);
        check("photos.s3-website.localhost:4566", None);
    }

    #[test]
    fn websites_in_hosts() {
        let check = |host: &str, expected: Option<&str>| {
            assert_eq!(website_in_host(host), expected, "{host}");
        };
        check("photos.s3-website.localhost:4566", Some("photos"));
        check("my.photos.s3-website.localhost", Some("my.photos"));
        check("photos.s3-website.eu-west-1.localhost", Some("photos"));
        check("photos.s3-website-eu-west-1.localhost", Some("photos"));
        check("photos.s3-website-us-east-1.amazonaws.com", Some("photos"));
        check("photos.s3-website.eu-west-1.amazonaws.com", Some("photos"));
        check("photos.s3-websites.localhost", None);
        check("photos.s3-website-.localhost", None);
        check("s3-website.localhost", None);
        check("s3-website.eu-west-1.amazonaws.com", None);
        check("photos.s3.localhost", None);
        check("photos.localhost", None);
        check("localhost", None);
    }

    #[test]
    fn only_what_xml_reads_is_escaped() {
        let error = Error::new("InvalidArgument", 400, "the region 'a' & \"b\" is < wrong");
        let reply = storage_error(&error, "/bucket/<key>", "ID");
        let Body::Whole(body) = reply.into_body() else {
            panic!("it is not in one piece");
        };
        let expected = "<Message>the region 'a' &amp; \"b\" is &lt; wrong</Message><Resource>/bucket/&lt;key&gt;</Resource>";
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains(expected), "{body}");
    }
}
