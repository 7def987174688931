//! Requests to S3, which reads them itself ([`wire::Storage`]): verified here, head first, and then piece by piece as the body
//! comes. What proved a request goes no further, so that nothing behind the door can judge it once more, and differently.

use std::borrow::Cow;
use std::io;

use aws_lc_rs::digest;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use http_body::Body as _;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use wire::post_form::{Form, Lengths};
use wire::sigv4::{
    CLOCK_SKEW_IAM, ChunkFault, Chunks, Claim, Head, PathRule, PayloadKind, Refusal, Regions,
    Rules, Sha256, announced_sha256, sha256,
};
use wire::{
    AccountId, Arn, AwsHost, BodyFault, ByteStream, Caller, CallerKind, Context, Error, Region,
    Signed, StorageRequest, Trailers, bucket_in_host, sigv2, website_in_host,
};

use super::{Asked, scope_part, scope_service, text_header};
use crate::admin;
use crate::body::{self, Unread};

/// Parameters of a presigned URL that prove it. The others are the request.
const PROOF: &[&str] = &[
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
    "x-amz-content-sha256",
    "awsaccesskeyid",
    "expires",
    "signature",
];
const X_AMZ_DECODED_CONTENT_LENGTH: HeaderName =
    HeaderName::from_static("x-amz-decoded-content-length");
/// Headers that prove a request, or say how its body is wrapped.
const WRAPPING: &[&str] = &[
    "authorization",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
    "transfer-encoding",
    "expect",
];
/// Where requests are that name no region.
const REGION_DEFAULT: &str = "us-east-1";
/// The account of those who have none. It owns nothing of theirs and no policy is asked of it.
const NO_ACCOUNT: &str = "000000000000";

/// Whether a request is S3's: by its host, or by the service it is signed for. Its path says nothing, as buckets may have
/// any name.
pub(super) fn is_asked(head: &Parts, signed_for: Option<&str>) -> bool {
    if let Some(host) = AwsHost::of(head) {
        return host.service == "s3" || website_in_host(host_of(head)).is_some();
    }
    let host = host_of(head);
    match signed_for {
        Some(service) => service == "s3",
        None => {
            bucket_in_host(host).is_some()
                || website_in_host(host).is_some()
                || sigv2::is_claimed(head)
        }
    }
}

/// Whether a browser asks what it may send.
pub(super) fn is_preflight(head: &Parts) -> bool {
    head.method == http::Method::OPTIONS
        && head
            .headers
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && (is_asked(head, scope_service(head).as_deref()) || may_be_anonymous(head))
}

/// Whether a request that nobody else takes may be one to a public object.
pub(super) fn may_be_anonymous(head: &Parts) -> bool {
    let path = head.uri.path().trim_start_matches('/');
    let bucket = path.split('/').next().unwrap_or_default();
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    AwsHost::of(head).is_none()
        && !is_claimed(head)
        && (3..=63).contains(&bucket.len())
        && bucket.bytes().all(legal)
}

pub(super) fn is_claimed(head: &Parts) -> bool {
    let in_query = pairs(head).any(|(name, _)| name.eq_ignore_ascii_case("x-amz-algorithm"));
    in_query || head.headers.contains_key(header::AUTHORIZATION) || sigv2::is_claimed(head)
}

pub(super) fn host_of(head: &Parts) -> &str {
    let authority = head.uri.authority().map(|authority| authority.as_str());
    text_header(&head.headers, header::HOST)
        .or(authority)
        .unwrap_or_default()
}

impl Asked<'_> {
    /// Verifies the head and prepares the body's check.
    pub(super) fn admit_storage(&self, body: Incoming) -> Result<StorageRequest, Error> {
        let announced = body.size_hint().exact();
        let mut reader = Reader::new(body, self);
        let door = &self.gateway.0;
        let (context, signed) = if sigv2::is_claimed(self.head) {
            (self.claimed_the_old_way()?, Signed::OldUrl)
        } else if is_claimed(self.head) {
            let (context, signed, check) = self.claimed()?;
            reader.check = check;
            (context, signed)
        } else {
            (self.anonymous()?, Signed::Not)
        };
        let length = match reader.check {
            Check::Chunks { left, .. } => Some(left),
            _ => announced,
        };
        let trailers = reader.trailers.clone();
        let presigned = matches!(signed, Signed::Url { .. } | Signed::OldUrl);
        Ok(StorageRequest {
            head: unwrapped(self.head, presigned, length)?,
            body: reader.into_stream(),
            length,
            trailers,
            context,
            signed,
            guarded: door.settings.reset.is_some() && admin::is_from_a_web_page(&self.head.headers),
        })
    }

    fn claimed(&self) -> Result<(Context, Signed, Check), Error> {
        let door = &self.gateway.0;
        let region = AwsHost::of(self.head).and_then(|host| host.region);
        let mut rules = Rules {
            path: PathRule::Once,
            clock_skew: CLOCK_SKEW_IAM,
            unsigned_payload: true,
            streaming_payload: true,
            ..Rules::new(&["s3"], Regions::Any)
        };
        if let Some(region) = &region {
            rules.regions = Regions::Only(std::slice::from_ref(region));
        }
        let head = Head::from(self.head);
        let in_url = !self.head.headers.contains_key(header::AUTHORIZATION);
        let refused = |refusal: Refusal| self.storage_refusal(&refusal, in_url);
        let claim = Claim::read(&head, &rules, self.now).map_err(refused)?;
        let keyring = &self.services.keyring;
        let key = keyring.find(claim.access_key_id(), claim.session_token(), self.now);
        let key = key.map_err(refused)?;
        let headers = &self.head.headers;
        let announced = announced_sha256(headers);
        let check = match claim.payload() {
            PayloadKind::Unsigned => Check::Nothing,
            PayloadKind::Hashed => Check::Hash {
                expected: announced.ok_or_else(|| {
                    let text = "Missing required header for this request: x-amz-content-sha256";
                    Error::new("InvalidRequest", 400, text)
                })?,
                hasher: Box::new(digest::Context::new(&digest::SHA256)),
            },
            PayloadKind::Streaming(kind) => {
                let chunks = match kind.as_str() {
                    "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Chunks::unsigned(),
                    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
                    | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
                        claim.signed_chunks(&key.secret, &door.keys)
                    }
                    _ => {
                        let text =
                            format!("The value '{kind}' of x-amz-content-sha256 is not supported.");
                        return Err(Error::new("NotImplemented", 501, text));
                    }
                };
                let length = text_header(headers, X_AMZ_DECODED_CONTENT_LENGTH);
                let left = length
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(missing_length)?;
                Check::Chunks {
                    chunks: Some(Box::new(chunks)),
                    left,
                    input: Bytes::new(),
                }
            }
        };
        let hash = announced.unwrap_or_else(|| sha256(b""));
        let verified = claim.check(&head, &rules, &hash, &key.secret, &door.keys);
        let verified = verified.map_err(refused)?;
        let signed = match verified.presigned {
            true => Signed::Url {
                age_ms: self.now.as_millisecond() - verified.signed_at.as_millisecond(),
            },
            false => Signed::Header,
        };
        Ok((self.context(&verified.region, key.caller)?, signed, check))
    }

    /// A presigned URL of Signature Version 2. It names no region.
    fn claimed_the_old_way(&self) -> Result<Context, Error> {
        if self.head.headers.contains_key(header::AUTHORIZATION) {
            let text = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.";
            self.gateway.0.metrics.refused("s3");
            return Err(Error::new("InvalidRequest", 400, text));
        }
        let refused = |refusal: Refusal| self.storage_refusal(&refusal, true);
        let claim = sigv2::Claim::read(self.head, self.now).map_err(refused)?;
        let keyring = &self.services.keyring;
        let key = keyring.find(claim.access_key_id(), claim.session_token(), self.now);
        let key = key.map_err(refused)?;
        let bucket = bucket_in_host(host_of(self.head));
        claim.check(bucket, &key.secret).map_err(refused)?;
        let segments = self.head.uri.path().trim_start_matches('/').splitn(2, '/');
        let is_object = match bucket {
            Some(_) => self.head.uri.path().len() > 1,
            None => segments.filter(|segment| !segment.is_empty()).count() == 2,
        };
        if !is_object {
            let text = "Signature Version 2 is taken for single objects only. Please use AWS4-HMAC-SHA256.";
            return Err(Error::new("InvalidRequest", 400, text));
        }
        self.context(self.region(), key.caller)
    }

    /// The region in the host, or the first one.
    pub(super) fn region(&self) -> &str {
        let region = AwsHost::of(self.head).and_then(|host| host.region);
        region
            .filter(|region| Region::new(*region).is_some())
            .unwrap_or(REGION_DEFAULT)
    }

    pub(super) fn anonymous(&self) -> Result<Context, Error> {
        let account = AccountId::new(NO_ACCOUNT).ok_or_else(|| Error::internal("a constant"))?;
        let caller = Caller {
            kind: CallerKind::Anonymous,
            arn: Arn::any(),
            account,
            user_id: "anonymous".to_owned(),
            access_key_id: String::new(),
            session: None,
        };
        self.context(self.region(), caller)
    }

    /// AWS's codes for S3 (AmazonS3/latest/API/ErrorResponses.html), which differ from those of all other services.
    pub(super) fn storage_refusal(&self, refusal: &Refusal, in_url: bool) -> Error {
        let denied = |text: &str| Error::new("AccessDenied", 403, text);
        let error = match refusal {
            Refusal::OutOfTime(_) if in_url => denied("Request has expired"),
            Refusal::NotYet(_) if in_url => denied("Request is not yet valid"),
            Refusal::OutOfTime(_) | Refusal::NotYet(_) => Error::new(
                "RequestTimeTooSkewed",
                403,
                "The difference between the request time and the current time is too large.",
            ),
            Refusal::Unsigned(text) => denied(&format!(
                "There were headers present in the request which were not signed: {text}"
            )),
            Refusal::Mismatch => Error::new(
                "SignatureDoesNotMatch",
                403,
                "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
            ),
            Refusal::UnknownClient => Error::new(
                "InvalidAccessKeyId",
                403,
                "The AWS Access Key Id you provided does not exist in our records.",
            ),
            Refusal::ExpiredToken => {
                Error::new("ExpiredToken", 400, "The provided token has expired.")
            }
            Refusal::Missing => denied("Access Denied"),
            Refusal::Incomplete(text) | Refusal::Invalid(text) if in_url => {
                Error::new("AuthorizationQueryParametersError", 400, text.clone())
            }
            Refusal::Incomplete(text) | Refusal::Invalid(text) => self.malformed(text),
        };
        self.gateway.0.metrics.refused("s3");
        tracing::debug!(code = %error.code, %refusal, "refused");
        error
    }
}

impl Asked<'_> {
    /// A header that is no signature. Clients that begin with a region of their own learn from this which one to take.
    fn malformed(&self, text: &str) -> Error {
        let code = "AuthorizationHeaderMalformed";
        let of = |why: &str| {
            Error::new(
                code,
                400,
                format!("The authorization header is malformed; {why}"),
            )
        };
        let host = AwsHost::of(self.head).and_then(|host| host.region);
        let is_taken = |region: &str| match &host {
            Some(host) => *host == region,
            None => Region::new(region).is_some(),
        };
        match scope_part(self.head, 2).filter(|region| !is_taken(region)) {
            Some(wrong) => {
                let right = self.region();
                of(&format!(
                    "the region '{wrong}' is wrong; expecting '{right}'"
                ))
                .with("Region", right.to_owned())
            }
            None => of(text),
        }
    }
}

fn missing_length() -> Error {
    let text = "You must provide the Content-Length HTTP header.";
    Error::new("MissingContentLength", 411, text)
}

/// The head without what proved it. Parameters of a presigned URL that stand for headers become headers, since all of them
/// are signed.
fn unwrapped(head: &Parts, presigned: bool, length: Option<u64>) -> Result<Parts, Error> {
    let mut head = head.clone();
    for name in WRAPPING {
        head.headers.remove(*name);
    }
    without_chunked(&mut head.headers);
    if let Some(length) = length {
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let Some(query) = head.uri.query() else {
        return Ok(head);
    };
    let mut kept: Vec<&str> = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = pair(part);
        let name = name.to_ascii_lowercase();
        if PROOF.contains(&name.as_str()) {
            continue;
        }
        // The old signature takes the content's headers there too.
        if presigned
            && (name.starts_with("x-amz-")
                || matches!(name.as_str(), "content-type" | "content-md5"))
        {
            let bad = || {
                Error::new(
                    "InvalidArgument",
                    400,
                    format!("The value of '{name}' is not valid."),
                )
            };
            let value = HeaderValue::from_str(&value).map_err(|_| bad())?;
            let name = HeaderName::try_from(name.as_str()).map_err(|_| bad())?;
            head.headers.entry(name).or_insert(value);
            continue;
        }
        kept.push(part);
    }
    let path = match kept.is_empty() {
        true => head.uri.path().to_owned(),
        false => format!("{}?{}", head.uri.path(), kept.join("&")),
    };
    let mut parts = head.uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(Error::internal)?);
    head.uri = Uri::from_parts(parts).map_err(Error::internal)?;
    Ok(head)
}

/// `aws-chunked` says how the body travels, not what it is.
fn without_chunked(headers: &mut HeaderMap) {
    let Some(encoding) = text_header(headers, header::CONTENT_ENCODING) else {
        return;
    };
    let codings = encoding.split(',').map(str::trim);
    let left: Vec<&str> = codings.filter(|coding| *coding != "aws-chunked").collect();
    match HeaderValue::from_str(&left.join(",")) {
        Ok(value) if !left.is_empty() => {
            headers.insert(header::CONTENT_ENCODING, value);
        }
        _ => {
            headers.remove(header::CONTENT_ENCODING);
        }
    }
}

fn pairs(head: &Parts) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let parts = head.uri.query().unwrap_or_default().split('&');
    parts.filter(|part| !part.is_empty()).map(pair)
}

fn pair(part: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    let (name, value) = part.split_once('=').unwrap_or((part, ""));
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy();
    (decoded(name), decoded(value))
}

/// What a body is compared with.
enum Check {
    Nothing,
    /// The file of a form, up to the boundary.
    File {
        delimiter: Vec<u8>,
        lengths: Lengths,
        input: BytesMut,
        seen: u64,
        ended: bool,
    },
    Hash {
        expected: Sha256,
        hasher: Box<digest::Context>,
    },
    Chunks {
        /// `None` behind the end.
        chunks: Option<Box<Chunks>>,
        /// How much content is to come.
        left: u64,
        /// What is read and not yet taken apart.
        input: Bytes,
    },
}

impl Check {
    /// The next bytes of a form's file, if they are there.
    fn take_file(&mut self) -> Result<Option<Bytes>, BodyFault> {
        let Check::File {
            delimiter,
            lengths,
            input,
            seen,
            ended: ended @ false,
        } = self
        else {
            return Ok(None);
        };
        let mut at = 0;
        // All of it is the file's but what may be the beginning of the end.
        let length = loop {
            let Some(next) = input[at..].iter().position(|byte| *byte == b'\r') else {
                break input.len();
            };
            at += next;
            let rest = &input[at..];
            if rest.starts_with(delimiter) {
                *ended = true;
                break at;
            }
            if rest.len() < delimiter.len() && delimiter.starts_with(rest) {
                break at;
            }
            at += 1;
        };
        let piece = input.split_to(length).freeze();
        *seen += piece.len() as u64;
        if *seen > lengths.max {
            let text = "Your proposed upload exceeds the maximum allowed size";
            return Err(fault("EntityTooLarge", 400, text));
        }
        if *ended && *seen < lengths.min {
            let text = "Your proposed upload is smaller than the minimum allowed size";
            return Err(fault("EntityTooSmall", 400, text));
        }
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }
}

/// Reads a body and checks it on the way.
pub(super) struct Reader {
    /// `None` behind the end.
    body: Option<Incoming>,
    wait: std::time::Duration,
    /// Whether the client waits for "100 Continue" before it sends.
    is_awaited: bool,
    check: Check,
    trailers: Trailers,
}

impl Reader {
    fn new(body: Incoming, asked: &Asked<'_>) -> Self {
        Reader {
            body: Some(body),
            wait: asked.gateway.0.settings.limits.body_wait,
            is_awaited: asked.head.headers.contains_key(header::EXPECT),
            check: Check::Nothing,
            trailers: Trailers::default(),
        }
    }

    /// Reads the file of a form of which `input` is read already.
    pub(super) fn file(
        body: Incoming,
        asked: &Asked<'_>,
        form: &Form,
        lengths: Lengths,
        input: BytesMut,
    ) -> Self {
        let mut reader = Reader::new(body, asked);
        // It has come as far as the file.
        reader.is_awaited = false;
        reader.check = Check::File {
            delimiter: form.delimiter(),
            lengths,
            input,
            seen: 0,
            ended: false,
        };
        reader
    }

    pub(super) fn into_stream(self) -> ByteStream {
        ByteStream(Box::pin(stream::try_unfold(self, |mut reader| async {
            let piece = reader.next().await.map_err(io::Error::other)?;
            Ok(piece.map(|piece| (piece, reader)))
        })))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyFault> {
        loop {
            if let Check::Chunks {
                chunks: Some(chunks),
                left,
                input,
            } = &mut self.check
                && let Some(piece) = chunks.next(input).map_err(chunk_error)?
            {
                let longer = || chunk_error(ChunkFault::Incomplete);
                *left = left.checked_sub(piece.len() as u64).ok_or_else(longer)?;
                return Ok(Some(piece));
            }
            if let Some(piece) = self.check.take_file()? {
                return Ok(Some(piece));
            }
            let Some(body) = &mut self.body else {
                return Ok(None);
            };
            let piece = body::next(body, self.wait).await.map_err(unread_error)?;
            // Once it asks for the body, the client is told to go on.
            self.is_awaited = false;
            let Some(piece) = piece else {
                self.body = None;
                self.end()?;
                return Ok(None);
            };
            match &mut self.check {
                Check::Nothing => return Ok(Some(piece)),
                Check::Hash { hasher, .. } => {
                    hasher.update(&piece);
                    return Ok(Some(piece));
                }
                Check::Chunks { input, .. } => *input = piece,
                // What is behind the file is no content.
                Check::File { ended: true, .. } => {}
                Check::File { input, .. } => input.extend_from_slice(&piece),
            }
        }
    }

    /// The whole body is read: is it the one that was signed?
    fn end(&mut self) -> Result<(), BodyFault> {
        match &mut self.check {
            Check::Nothing | Check::File { ended: true, .. } => Ok(()),
            Check::File { .. } => Err(unread_error(Unread::Broken)),
            Check::Hash { expected, hasher } => {
                if (**hasher).clone().finish().as_ref() == expected {
                    return Ok(());
                }
                let text =
                    "The provided 'x-amz-content-sha256' header does not match what was computed.";
                Err(fault("XAmzContentSHA256Mismatch", 400, text))
            }
            Check::Chunks { chunks, left, .. } => {
                let chunks = *chunks.take().unwrap_or_default();
                self.trailers.set(chunks.finish().map_err(chunk_error)?);
                match *left {
                    0 => Ok(()),
                    _ => Err(chunk_error(ChunkFault::Incomplete)),
                }
            }
        }
    }
}

impl Drop for Reader {
    /// Lets the client finish sending, so that it reads the answer.
    fn drop(&mut self) {
        if let Some(mut body) = self.body.take().filter(|_| !self.is_awaited) {
            tokio::spawn(async move { body::discard(&mut body).await });
        }
    }
}

fn chunk_error(why: ChunkFault) -> BodyFault {
    let (code, status) = match why {
        ChunkFault::Malformed => ("InvalidRequest", 400),
        ChunkFault::Incomplete => ("IncompleteBody", 400),
        ChunkFault::Mismatch => ("SignatureDoesNotMatch", 403),
    };
    fault(code, status, why.to_string())
}

pub(super) fn unread_error(unread: Unread) -> BodyFault {
    match unread {
        Unread::Slow => fault(
            "RequestTimeout",
            400,
            "Your socket connection to the server was not read from or written to within the timeout period.",
        ),
        Unread::TooLarge | Unread::NoRoom | Unread::Broken => fault(
            "IncompleteBody",
            400,
            "You did not provide the number of bytes specified by the Content-Length HTTP header",
        ),
    }
}

fn fault(code: &'static str, status: u16, message: impl Into<String>) -> BodyFault {
    BodyFault {
        code,
        status,
        message: message.into(),
    }
}
