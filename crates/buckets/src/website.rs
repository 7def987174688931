//! Websites: what everyone may read of a bucket as the pages of a site, at `BUCKET.s3-website.localhost`, with an index in every
//! folder and a page for errors (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/WebsiteHosting.html>). A page is read by
//! GetObject, as anybody: this module decides which object it is, and how a refusal looks.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use s3s::S3Request;
use s3s::dto::{
    DeleteBucketWebsiteInput, DeleteBucketWebsiteOutput, ErrorDocument, GetBucketWebsiteInput,
    GetBucketWebsiteOutput, IndexDocument, Protocol, PutBucketWebsiteInput, PutBucketWebsiteOutput,
    RedirectAllRequestsTo,
};
use serde::{Deserialize, Serialize};
use wire::{Body, Reply, Signed, StorageReply, StorageRequest, escaped};

use crate::access::Asked;
use crate::cors;
use crate::record::Bucket;
use crate::service::{Service, dressed};
use crate::{Buckets, Error, Result};

/// Headers of a request that count for the page, and not for the page of errors.
const CONDITIONS: &[&str] = &[
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "range",
];
/// What is escaped in the names that a configuration adds to a path.
const IN_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'?');

/// A bucket's website.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Website {
    /// Its objects are the pages.
    Pages {
        /// The name of the page that stands for a folder.
        index: String,
        /// The key of the page for errors.
        error: Option<String>,
    },
    /// All requests are sent elsewhere.
    Elsewhere {
        host: String,
        /// `http` or `https`; otherwise the request's own.
        protocol: Option<String>,
    },
}

/// Why there is no page.
struct Missing {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    key: Option<String>,
}

const NO_BUCKET: Missing = Missing {
    status: StatusCode::NOT_FOUND,
    code: "NoSuchBucket",
    message: "The specified bucket does not exist",
    key: None,
};
const NO_WEBSITE: Missing = Missing {
    status: StatusCode::NOT_FOUND,
    code: "NoSuchWebsiteConfiguration",
    message: "The specified bucket does not have a website configuration",
    key: None,
};
const NO_ACCESS: Missing = Missing {
    status: StatusCode::FORBIDDEN,
    code: "AccessDenied",
    message: "Access Denied",
    key: None,
};
const NO_KEY: Missing = Missing {
    status: StatusCode::NOT_FOUND,
    code: "NoSuchKey",
    message: "The specified key does not exist.",
    key: None,
};
const NO_METHOD: Missing = Missing {
    status: StatusCode::METHOD_NOT_ALLOWED,
    code: "MethodNotAllowed",
    message: "The specified method is not allowed against this resource.",
    key: None,
};
const SIGNED: Missing = Missing {
    status: StatusCode::BAD_REQUEST,
    code: "InvalidRequest",
    message: "A website is read without a signature; sign requests for the bucket's own host.",
    key: None,
};

impl Service {
    /// Answers a request to the host of a website.
    pub(crate) async fn browse(&self, name: &str, request: StorageRequest) -> StorageReply {
        let asked = Asked::anew(&request);
        let head = request.head;
        let bucket = self.bucket_named(name);
        let answered = self.page(bucket.as_deref(), &head, &asked).await;
        let (operation, page) = answered.unwrap_or_else(|why| (None, why.page(&asked)));
        let mut reply = dressed(page, &asked);
        let origin = head.headers.get(header::ORIGIN);
        if let (Some(bucket), Some(Ok(origin))) = (&bucket, origin.map(HeaderValue::to_str)) {
            cors::dress(&mut reply, bucket, origin, &head.method);
        }
        StorageReply { operation, reply }
    }

    async fn page(
        &self,
        bucket: Option<&Bucket>,
        head: &Parts,
        asked: &Asked,
    ) -> std::result::Result<(Option<&'static str>, Reply), Missing> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(NO_METHOD);
        }
        if asked.signed != Signed::Not {
            return Err(SIGNED);
        }
        let bucket = bucket.ok_or(NO_BUCKET)?;
        let path = head.uri.path();
        let (index, error) = match bucket.website.as_ref().ok_or(NO_WEBSITE)? {
            Website::Pages { index, error } => (index, error),
            Website::Elsewhere { host, protocol } => {
                let own = if asked.cx.secure { "https" } else { "http" };
                let protocol = protocol.as_deref().unwrap_or(own);
                let target = head.uri.path_and_query();
                let target = target.map_or("/", |target| target.as_str());
                let to = format!("{protocol}://{host}{target}");
                return Ok((None, redirect(StatusCode::MOVED_PERMANENTLY, &to)));
            }
        };
        let within = |folder: &str| format!("{folder}{}", utf8_percent_encode(index, IN_PATH));
        let page = match path.ends_with('/') {
            true => within(path),
            false => path.to_owned(),
        };
        let read = self.read(bucket, &page, Asking::Page(head), asked);
        let (operation, reply) = read.await;
        if !matches!(
            reply.status(),
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
        ) {
            return Ok((operation, reply));
        }
        // A folder without its slash. Two at the beginning would be another host.
        if !path.ends_with('/') && !path.starts_with("//") {
            let folder = format!("{path}/");
            let index = within(&folder);
            let read = self.read(bucket, &index, Asking::Whether, asked);
            if read.await.1.status().is_success() {
                return Ok((operation, redirect(StatusCode::FOUND, &folder)));
            }
        }
        let why = match reply.status() {
            StatusCode::FORBIDDEN => NO_ACCESS,
            _ => {
                let key = page.trim_start_matches('/');
                let key = percent_decode_str(key).decode_utf8_lossy();
                Missing {
                    key: Some(key.into_owned()),
                    ..NO_KEY
                }
            }
        };
        if let Some(error) = error {
            let path = format!("/{}", utf8_percent_encode(error, IN_PATH));
            let read = self.read(bucket, &path, Asking::Error(head), asked);
            let (_, mut page) = read.await;
            if page.status().is_success() {
                *page.status_mut() = why.status;
                why.mark(&mut page);
                return Ok((operation, page));
            }
        }
        Ok((operation, why.page(asked)))
    }

    /// Reads an object, whose path is escaped already, as whoever asks.
    async fn read(
        &self,
        bucket: &Bucket,
        path: &str,
        asking: Asking<'_>,
        asked: &Asked,
    ) -> (Option<&'static str>, Reply) {
        let asked = Arc::new(Asked::unsigned(asked.cx.clone()));
        let whole = format!("/{}{path}", bucket.name);
        let request = http::Request::builder()
            .method(asking.method())
            .uri(&whole)
            .header(header::HOST, "localhost")
            .extension(asked.clone())
            .body(());
        let Ok(request) = request else {
            // Too long, with the bucket before it: there is no such key.
            let mut none = Reply::new(Body::Whole(Bytes::new()));
            *none.status_mut() = StatusCode::NOT_FOUND;
            return (None, none);
        };
        let (mut inner, ()) = request.into_parts();
        if let Asking::Page(head) = asking {
            for name in CONDITIONS {
                if let Some(value) = head.headers.get(*name) {
                    inner.headers.insert(*name, value.clone());
                }
            }
        }
        let read = self.call(inner, s3s::Body::empty(), &whole, &asked).await;
        (asked.operation.get().copied(), read)
    }
}

/// What an object is read for.
enum Asking<'a> {
    /// It is the page that a request is for.
    Page(&'a Parts),
    /// To learn whether it is there.
    Whether,
    /// It is the page of errors, in place of what a request is for.
    Error(&'a Parts),
}

impl Asking<'_> {
    fn method(&self) -> Method {
        match self {
            Asking::Page(head) | Asking::Error(head) => head.method.clone(),
            Asking::Whether => Method::HEAD,
        }
    }
}

fn redirect(status: StatusCode, to: &str) -> Reply {
    let mut reply = Reply::new(Body::Whole(Bytes::new()));
    *reply.status_mut() = status;
    if let Ok(to) = HeaderValue::from_str(to) {
        reply.headers_mut().insert(header::LOCATION, to);
    }
    reply
}

impl Missing {
    /// AWS's own page, where the bucket has none.
    fn page(&self, asked: &Asked) -> Reply {
        let title = self.status.to_string();
        let key = self.key.as_deref();
        let key = key.map(|key| format!("<li>Key: {}</li>\n", escaped(key)));
        let (code, message, id) = (self.code, self.message, &asked.cx.request_id);
        let text = format!(
            "<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<ul>\n<li>Code: {code}</li>\n<li>Message: {message}</li>\n{}<li>RequestId: {id}</li>\n<li>HostId: {id}</li>\n</ul>\n<hr/>\n</body>\n</html>\n",
            key.unwrap_or_default(),
        );
        let mut reply = Reply::new(Body::Whole(Bytes::from(text)));
        *reply.status_mut() = self.status;
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        reply.headers_mut().insert(header::CONTENT_TYPE, kind);
        self.mark(&mut reply);
        reply
    }

    fn mark(&self, reply: &mut Reply) {
        for (name, text) in [
            ("x-amz-error-code", self.code),
            ("x-amz-error-message", self.message),
        ] {
            if let Ok(value) = HeaderValue::from_str(text) {
                reply.headers_mut().insert(name, value);
            }
        }
    }
}

impl Buckets {
    pub(crate) async fn put_bucket_website(
        &self,
        request: S3Request<PutBucketWebsiteInput>,
    ) -> Result<PutBucketWebsiteOutput> {
        let asked = request.input.website_configuration;
        if asked.routing_rules.is_some_and(|rules| !rules.is_empty()) {
            let text = "Mayfly does not implement the RoutingRules of websites yet.";
            return Err(Error::NotImplemented(text.to_owned()));
        }
        let invalid = |text: &str| Error::InvalidArgument(text.to_owned());
        let website = match (asked.index_document, asked.redirect_all_requests_to) {
            (None, None) => {
                return Err(invalid(
                    "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
                ));
            }
            (Some(_), Some(_)) => return Err(Error::MalformedXml),
            (None, Some(_)) if asked.error_document.is_some() => return Err(Error::MalformedXml),
            (Some(IndexDocument { suffix }), None) => {
                if suffix.is_empty() || suffix.contains('/') {
                    return Err(invalid("The IndexDocument Suffix is not well formed"));
                }
                let error = asked.error_document.map(|error| error.key);
                if error.as_ref().is_some_and(String::is_empty) {
                    return Err(invalid("The ErrorDocument Key is not well formed"));
                }
                Website::Pages {
                    index: suffix,
                    error,
                }
            }
            (None, Some(to)) => elsewhere(to)?,
        };
        let change = |bucket: &mut Bucket| {
            bucket.website = Some(website);
            Ok(())
        };
        self.shelf().change(&request.input.bucket, change).await?;
        Ok(PutBucketWebsiteOutput::default())
    }

    pub(crate) async fn get_bucket_website(
        &self,
        request: S3Request<GetBucketWebsiteInput>,
    ) -> Result<GetBucketWebsiteOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        let website = bucket.website.as_ref();
        Ok(match website.ok_or(Error::NoSuchWebsiteConfiguration)? {
            Website::Pages { index, error } => GetBucketWebsiteOutput {
                index_document: Some(IndexDocument {
                    suffix: index.clone(),
                }),
                error_document: error.clone().map(|key| ErrorDocument { key }),
                ..GetBucketWebsiteOutput::default()
            },
            Website::Elsewhere { host, protocol } => GetBucketWebsiteOutput {
                redirect_all_requests_to: Some(RedirectAllRequestsTo {
                    host_name: host.clone(),
                    protocol: protocol.clone().map(Protocol::from),
                }),
                ..GetBucketWebsiteOutput::default()
            },
        })
    }

    pub(crate) async fn delete_bucket_website(
        &self,
        request: S3Request<DeleteBucketWebsiteInput>,
    ) -> Result<DeleteBucketWebsiteOutput> {
        let change = |bucket: &mut Bucket| {
            bucket.website = None;
            Ok(())
        };
        self.shelf().change(&request.input.bucket, change).await?;
        Ok(DeleteBucketWebsiteOutput::default())
    }
}

fn elsewhere(to: RedirectAllRequestsTo) -> Result<Website> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._:/".contains(&b);
    if to.host_name.is_empty() || !to.host_name.bytes().all(legal) {
        let text = "The provided HostName is not valid".to_owned();
        return Err(Error::InvalidArgument(text));
    }
    let protocol = to.protocol.map(|protocol| protocol.as_str().to_owned());
    if protocol
        .as_deref()
        .is_some_and(|protocol| !matches!(protocol, "http" | "https"))
    {
        let text = "Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically.";
        return Err(Error::InvalidRequest(text.to_owned()));
    }
    Ok(Website::Elsewhere {
        host: to.host_name,
        protocol,
    })
}
