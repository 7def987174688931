//! Between the front door and s3s: a verified request in, a reply out.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use s3s::auth::{S3Auth, SecretKey};
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Error, S3ErrorCode, S3Result};
use wire::{
    Body, BodyFault, ByteStream, Reply, Signed, Storage, StorageReply, StorageRequest,
    bucket_in_host, escaped, website_in_host,
};

use crate::access::{Access, Asked, query_of};
use crate::checksum::Expected;
use crate::content::fault_in;
use crate::cors;
use crate::record::Bucket;
use crate::trail::Told;
use crate::{Buckets, Result};

/// Replies of at least so many bytes, or of unknown size, are sent while they are made.
const WHOLE_BYTES_MAX: u64 = 1 << 20;

pub(crate) struct Service {
    buckets: Buckets,
    wire: S3Service,
}

impl Service {
    pub fn new(buckets: Buckets) -> Self {
        let mut builder = S3ServiceBuilder::new(buckets.clone());
        // Without this, s3s would not ask for access at all.
        builder.set_auth(NobodySigns);
        builder.set_access(Access(buckets.clone()));
        builder.set_host(Hosts);
        Service {
            buckets,
            wire: builder.build(),
        }
    }
}

/// s3s is never to verify a signature: the front door has, and took it out of the request.
struct NobodySigns;

#[async_trait::async_trait]
impl S3Auth for NobodySigns {
    async fn get_secret_key(&self, _access_key: &str) -> S3Result<SecretKey> {
        Err(S3Error::new(S3ErrorCode::AccessDenied))
    }
}

/// Finds the bucket in a host name.
struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let found = VirtualHost::new(host);
        Ok(match bucket_in_host(host) {
            Some(bucket) => found.with_bucket(bucket),
            None => found,
        })
    }
}

impl Storage for Service {
    fn answer(
        &self,
        request: StorageRequest,
    ) -> Pin<Box<dyn Future<Output = StorageReply> + Send + '_>> {
        Box::pin(self.run(request))
    }
}

impl Service {
    async fn run(&self, request: StorageRequest) -> StorageReply {
        if let Some(bucket) = host_of(&request.head).and_then(website_in_host)
            && request.head.method != Method::OPTIONS
        {
            let bucket = bucket.to_owned();
            return self.browse(&bucket, request).await;
        }
        let asked = Arc::new(Asked::anew(&request));
        let mut head = request.head;
        head.extensions.insert(asked.clone());
        let path = head.uri.path().to_owned();
        let told = Told::of(&self.buckets, &head, &asked);
        let body = match &told {
            Some(told) => told.overhear(request.body),
            None => request.body,
        };
        let body = match instructions(&head, &asked, body) {
            Ok(body) => body,
            Err(error) => {
                let (code, status) = error.code();
                let error = wire::Error::new(code.to_owned(), status, error.to_string());
                return unasked(&error, &path, &asked);
            }
        };
        let noting = asked.clone();
        let body = body.0.map_err(move |error| {
            if let Some(fault) = fault_in(&error) {
                // The first one ends the body.
                let _ = noting.fault.set(fault);
            }
            error
        });
        let body = match asked.length {
            Some(0) => s3s::Body::empty(),
            _ => s3s::Body::http_body_unsync(StreamBody::new(body.map_ok(Frame::data))),
        };
        let method = match request.signed {
            Signed::Form { .. } => Method::POST,
            _ => head.method.clone(),
        };
        let origin = head.headers.get(header::ORIGIN);
        let origin = origin
            .and_then(|origin| origin.to_str().ok())
            .map(str::to_owned);
        // Only browsers need to know it here.
        let asks = method == Method::OPTIONS || origin.is_some();
        let bucket = asks.then(|| self.bucket(&head)).flatten();
        if method == Method::OPTIONS {
            let answer = cors::preflight(bucket.as_deref(), &head.headers);
            let answer = answer
                .unwrap_or_else(|error| wire::storage_error(&error, &path, &asked.cx.request_id));
            return StorageReply {
                operation: None,
                reply: dressed(answer, &asked),
            };
        }
        let let_in = match (&bucket, &origin) {
            (Some(bucket), Some(origin)) => cors::lets_in(bucket, origin, &method),
            _ => false,
        };
        if request.guarded && !let_in {
            let text = "Dev mode does not answer web pages, as its keys are known to all of them; a bucket's CORS rules let in an origin.";
            return unasked(&wire::Error::new("AccessDenied", 403, text), &path, &asked);
        }
        let reply = self.call(head, body, &path, &asked).await;
        let mut reply = dressed(reply, &asked);
        if let Some(told) = told {
            told.tell(&self.buckets, &asked, &reply);
        }
        if let (Some(bucket), Some(origin)) = (&bucket, &origin) {
            cors::dress(&mut reply, bucket, origin, &method);
        }
        StorageReply {
            operation: asked.operation.get().copied(),
            reply,
        }
    }

    /// Lets s3s answer a request, in whose extensions is what is asked.
    pub(crate) async fn call(
        &self,
        head: Parts,
        body: s3s::Body,
        path: &str,
        asked: &Asked,
    ) -> Reply {
        let answered = self.wire.call(http::Request::from_parts(head, body)).await;
        match (asked.fault.get(), answered) {
            // Whatever came of it, the body was not what was signed.
            (Some(fault), _) => refused(fault, path, asked),
            (None, Ok(response)) => reply(response, path, asked).await,
            (None, Err(error)) => {
                tracing::error!(?error, "s3s failed");
                internal(path, asked)
            }
        }
    }

    /// The bucket that a request is about, if it exists.
    fn bucket(&self, head: &Parts) -> Option<Arc<Bucket>> {
        self.bucket_named(place_of(head)?.bucket)
    }

    pub(crate) fn bucket_named(&self, name: &str) -> Option<Arc<Bucket>> {
        Some(self.buckets.shelf().find(name).ok()?.bucket())
    }
}

/// What a request is about, by its host and path, whether it exists or not.
pub(crate) struct Place<'a> {
    pub bucket: &'a str,
    /// As it is in the path, and empty where the bucket itself is meant.
    pub key: &'a str,
}

fn host_of(head: &Parts) -> Option<&str> {
    let host = head.headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    host.or(head.uri.authority().map(|authority| authority.as_str()))
}

/// The bucket and the key in host and path.
pub(crate) fn place_of(head: &Parts) -> Option<Place<'_>> {
    let path = head.uri.path();
    let path = path.strip_prefix('/').unwrap_or(path);
    let in_host = |host| bucket_in_host(host).or_else(|| website_in_host(host));
    if let Some(bucket) = host_of(head).and_then(in_host) {
        return Some(Place { bucket, key: path });
    }
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    (!bucket.is_empty()).then_some(Place { bucket, key })
}

/// A refusal before the operation is known.
fn unasked(error: &wire::Error, path: &str, asked: &Asked) -> StorageReply {
    StorageReply {
        operation: None,
        reply: dressed(
            wire::storage_error(error, path, &asked.cx.request_id),
            asked,
        ),
    }
}

/// Parameters of requests whose body is content, which the operation itself sums up while it writes it.
const CONTENT_QUERY: &[&str] = &["partNumber", "uploadId", "x-id"];

/// The body, compared with its digests if it says what to do: whoever announces one wants no other policy to be put.
fn instructions(head: &Parts, asked: &Arc<Asked>, body: ByteStream) -> Result<ByteStream> {
    let query = query_of(head.uri.query().unwrap_or_default());
    let is_content = head.method == Method::PUT
        && query
            .iter()
            .all(|(name, _)| CONTENT_QUERY.contains(&name.as_str()));
    if is_content {
        return Ok(body);
    }
    // The checksum of a completion is the object's.
    let completes = head.method == Method::POST && query.iter().any(|(name, _)| name == "uploadId");
    let expected = match completes {
        true => Expected::read_md5(&head.headers)?,
        false => Expected::read(&head.headers)?,
    };
    Ok(expected.compared(body, asked.trailers.clone()))
}

fn refused(fault: &BodyFault, path: &str, asked: &Asked) -> Reply {
    let error = wire::Error::new(fault.code, fault.status, fault.message.clone());
    wire::storage_error(&error, path, &asked.cx.request_id)
}

fn internal(path: &str, asked: &Asked) -> Reply {
    let text = "We encountered an internal error. Please try again.";
    wire::storage_error(
        &wire::Error::new("InternalError", 500, text),
        path,
        &asked.cx.request_id,
    )
}

async fn reply(response: s3s::HttpResponse, path: &str, asked: &Asked) -> Reply {
    let (head, body) = response.into_parts();
    let length = head.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let length = http_body::Body::size_hint(&body).exact().or(length);
    let is_small = length.is_some_and(|length| length < WHOLE_BYTES_MAX);
    let body = if head.status == StatusCode::NOT_MODIFIED {
        Body::Whole(Bytes::new())
    } else if is_small || head.status.is_client_error() || head.status.is_server_error() {
        match BodyExt::collect(body).await {
            Ok(body) => Body::Whole(body.to_bytes()),
            Err(error) => {
                tracing::error!(%error, "content could not be read");
                return internal(path, asked);
            }
        }
    } else {
        let frames = TryStreamExt::map_err(BodyStream::new(body), std::io::Error::other);
        let data = frames.try_filter_map(|frame| std::future::ready(Ok(frame.into_data().ok())));
        Body::Stream(ByteStream(Box::pin(data.boxed())))
    };
    let mut reply = Reply::new(body);
    *reply.status_mut() = head.status;
    *reply.headers_mut() = head.headers;
    if reply.status().is_client_error() || reply.status().is_server_error() {
        identified(&mut reply, path, asked);
    }
    reply
}

/// Sentences for errors that s3s makes of itself, without any.
const SENTENCES: &[(&str, &str)] = &[
    ("InvalidBucketName", "The specified bucket is not valid."),
    ("InvalidURI", "Couldn't parse the specified URI."),
    ("KeyTooLongError", "Your key is too long"),
    (
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    ),
    (
        "MethodNotAllowed",
        "The specified method is not allowed against this resource.",
    ),
];

/// Errors tell the request's id, as support asks for it.
fn identified(reply: &mut Reply, path: &str, asked: &Asked) {
    let Body::Whole(bytes) = reply.body() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Some(inner) = text.strip_suffix("</Error>") else {
        return;
    };
    let between = |name: &str| {
        let (_before, rest) = inner.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0)
    };
    let code = between("Code").unwrap_or_default();
    let sentence = SENTENCES
        .iter()
        .find(|row| row.0 == code && between("Message").is_none());
    let sentence = sentence
        .map(|row| format!("<Message>{}</Message>", row.1))
        .unwrap_or_default();
    let resource = escaped(path);
    let id = &asked.cx.request_id;
    let whole = format!(
        "{inner}{sentence}<Resource>{resource}</Resource><RequestId>{id}</RequestId></Error>"
    );
    *reply.body_mut() = Body::Whole(Bytes::from(whole));
    reply.headers_mut().remove(header::CONTENT_LENGTH);
}

pub(crate) fn dressed(mut reply: Reply, asked: &Asked) -> Reply {
    let headers: &mut HeaderMap = reply.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&asked.cx.request_id) {
        headers.insert("x-amz-request-id", id.clone());
        headers.insert("x-amz-id-2", id);
    }
    headers.insert(header::SERVER, HeaderValue::from_static("AmazonS3"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_no_hosts_of_buckets() {
        for host in [
            "127.0.0.1:4566",
            "localhost:4566",
            "s3.eu-west-1.amazonaws.com",
        ] {
            let found = Hosts.parse_host_header(host);
            assert_eq!(
                found
                    .ok()
                    .and_then(|found| found.bucket().map(str::to_owned)),
                None,
                "{host}"
            );
        }
    }
}
