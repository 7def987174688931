//! What is told of calls that manage a bucket, for the trail that CloudTrail keeps on AWS
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/cloudtrail-logging-s3-info.html>). Calls about objects are data
//! events, which no trail has unless it is asked for them, and reading is not told at all.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::TryStreamExt;
use http::request::Parts;
use http::{HeaderMap, Method};
use wire::{
    AccountId, Arn, Body, ByteStream, Context, Http, Node, Refused, Region, Reply, Seen, Signed,
    Touched,
};

use crate::Buckets;
use crate::access::{Asked, query_of};
use crate::service::place_of;

/// The largest body that is told. CloudTrail leaves out what is above it.
const BODY_BYTES_MAX: usize = 100 * 1024;
/// Headers that say what is to be done. All others are about the request itself.
const HEADERS: &[&str] = &[
    "x-amz-acl",
    "x-amz-bucket-object-lock-enabled",
    "x-amz-object-ownership",
];

/// What is kept of a request until its reply is known.
pub(crate) struct Told {
    /// Who asks, when, and where the bucket is.
    cx: Context,
    bucket: String,
    owner: Option<AccountId>,
    /// What head and path say.
    said: Vec<(&'static str, String)>,
    body: Arc<Mutex<Overheard>>,
}

#[derive(Default)]
struct Overheard {
    text: Vec<u8>,
    bytes: usize,
}

impl Told {
    /// What is to be told of a request, if it manages a bucket and somebody listens.
    pub fn of(buckets: &Buckets, head: &Parts, asked: &Asked) -> Option<Told> {
        if !matches!(head.method, Method::PUT | Method::DELETE) {
            return None;
        }
        let place = place_of(head)?;
        if !place.key.is_empty() {
            return None;
        }
        let found = buckets.shelf().find(place.bucket).ok();
        let found = found.map(|held| held.bucket());
        let mut cx = asked.cx.clone();
        if let Some(region) = found.as_ref().and_then(|own| Region::new(&own.region)) {
            cx.scope.region = region;
        }
        if !buckets.witness().wants(&cx, "s3") {
            return None;
        }
        // As S3 alone writes it.
        cx.user_agent = format!("[{}]", cx.user_agent);
        Some(Told {
            bucket: place.bucket.to_owned(),
            owner: found.and_then(|own| AccountId::new(&own.owner)),
            said: said(head, &cx),
            cx,
            body: Arc::default(),
        })
    }

    /// The body, of which a copy is kept while it is read.
    pub fn overhear(&self, body: ByteStream) -> ByteStream {
        let kept = self.body.clone();
        let heard = body.0.inspect_ok(move |piece| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.bytes += piece.len();
            if kept.bytes <= BODY_BYTES_MAX {
                kept.text.extend_from_slice(piece);
            }
        });
        ByteStream(Box::pin(heard))
    }

    /// Tells of the request and its reply.
    pub fn tell(self, buckets: &Buckets, asked: &Asked, reply: &Reply) {
        // Without an operation it was no call of AWS's, or of none that is built.
        let Some(operation) = asked.operation.get().copied() else {
            return;
        };
        let (text, received) = {
            let mut kept = self.body.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut kept.text), kept.bytes)
        };
        let mut request = vec![("bucketName".into(), Node::from(self.bucket.clone()))];
        for (name, value) in self.said {
            request.push((name.into(), Node::from(value)));
        }
        if received <= BODY_BYTES_MAX {
            request.extend(instructions(operation, &text));
        }
        let resources = self.owner.map(|account| Touched {
            account,
            kind: "AWS::S3::Bucket",
            arn: Arn::bucket(&self.bucket),
        });
        buckets.witness().saw(Seen {
            cx: &self.cx,
            service: "s3",
            operation,
            http: Http::new("PUT", "/{Bucket}", 200),
            request: Node::Map(request),
            reply: outcome(reply),
            additional: additional(asked, received, reply),
            resources: resources.into_iter().collect(),
        });
    }
}

/// The host, the parameters that make the operation what it is, and its headers.
fn said(head: &Parts, cx: &Context) -> Vec<(&'static str, String)> {
    let mut said = vec![("Host", cx.host.clone())];
    let query = query_of(head.uri.query().unwrap_or_default());
    let of_a_row = |name: &str| {
        let mut known = crate::access::OPERATIONS.iter().flat_map(|row| row.query);
        known.find(|known| **known == name)
    };
    for (name, value) in query {
        if let Some(name) = of_a_row(&name) {
            said.push((name, value));
        }
    }
    let header = |name: &'static str| {
        let headers: &HeaderMap = &head.headers;
        Some((name, headers.get(name)?.to_str().ok()?.to_owned()))
    };
    said.extend(HEADERS.iter().copied().filter_map(header));
    said
}

/// What the body says: a policy as what it is, any other document under its own name.
fn instructions(operation: &str, body: &[u8]) -> Vec<(std::borrow::Cow<'static, str>, Node)> {
    if operation == "PutBucketPolicy" {
        let policy = serde_json::from_slice(body).ok();
        return policy
            .map(|policy| ("bucketPolicy".into(), policy))
            .into_iter()
            .collect();
    }
    let document = std::str::from_utf8(body).ok().and_then(wire::read_xml);
    match document {
        Some(Node::Map(members)) => members,
        _ => Vec::new(),
    }
}

fn outcome(reply: &Reply) -> Result<Node, Refused> {
    if reply.status().is_success() {
        return Ok(Node::Null);
    }
    let document = match reply.body() {
        Body::Whole(bytes) => std::str::from_utf8(bytes).ok().and_then(wire::read_xml),
        Body::Stream(_) => None,
    };
    let error = document.as_ref().and_then(|document| document.get("Error"));
    let member = |name: &str| {
        let member = error.and_then(|error| error.get(name)?.as_str());
        member.unwrap_or_default().to_owned()
    };
    Err(Refused {
        code: member("Code").into(),
        message: member("Message"),
    })
}

fn additional(asked: &Asked, received: usize, reply: &Reply) -> Node {
    let signed = match asked.signed {
        Signed::Not | Signed::Form { .. } => None,
        Signed::Header => Some(("SigV4", "AuthHeader")),
        Signed::Url { .. } => Some(("SigV4", "QueryString")),
        Signed::OldUrl => Some(("SigV2", "QueryString")),
    };
    let sent = match reply.body() {
        Body::Whole(bytes) => bytes.len(),
        Body::Stream(_) => 0,
    };
    let count = |bytes: usize| Node::Int(i64::try_from(bytes).unwrap_or(i64::MAX));
    let mut members = Vec::new();
    if let Some((version, method)) = signed {
        members.push(("SignatureVersion".into(), Node::from(version)));
        members.push(("AuthenticationMethod".into(), Node::from(method)));
    }
    members.push(("bytesTransferredIn".into(), count(received)));
    members.push(("bytesTransferredOut".into(), count(sent)));
    members.push(("x-amz-id-2".into(), Node::from(asked.cx.request_id.clone())));
    Node::Map(members)
}
