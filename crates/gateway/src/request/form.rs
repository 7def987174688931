//! Uploads from HTML forms. A form whose policy allows it becomes the PutObject that it stands for, of the one who signed the
//! policy; so everything behind the door, and the decision who may, is the same for both.

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use wire::post_form::{self, FIELDS_BYTES_MAX, Form, Lengths, Step};
use wire::sigv4::Refusal;
use wire::{
    Body, BodyFault, Context, Error, Reply, Signed, StorageRequest, Trailers, bucket_in_host,
};

use super::Asked;
use super::storage::{Reader, host_of, is_claimed, unread_error};
use crate::admin;
use crate::body;

/// What a key has in a URL.
const KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');
/// And what it has in a query.
const VALUE: &AsciiSet = &KEY.add(b'/');
/// Fields that are headers under the same name, beside those of the `x-amz-` family.
const HEADERS: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
];
/// Fields of the `x-amz-` family that prove the form.
const PROOF: &[&str] = &[
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-signature",
];

/// Whether a request is a form.
pub(super) fn is_asked(head: &Parts) -> bool {
    head.method == Method::POST
        && head.uri.query().is_none()
        && !is_claimed(head)
        && post_form::is_form(&head.headers)
}

/// What the answer to a form needs to know of it.
pub(super) struct Upload {
    bucket: String,
    key: String,
    location: String,
    status: StatusCode,
    redirect: Option<Uri>,
}

impl Asked<'_> {
    /// Reads the fields, verifies who signed them, judges them by the policy, and leaves the file to be read.
    pub(super) async fn admit_form(
        &self,
        mut body: Incoming,
    ) -> Result<(StorageRequest, Upload), Error> {
        let mut input = BytesMut::new();
        match self.read_form(&mut body, &mut input).await {
            Ok((form, bucket, context, lengths)) => {
                let upload = Upload::of(&form, bucket, host_of(self.head))?;
                let request = StorageRequest {
                    head: self.put(&form, &upload)?,
                    body: Reader::file(body, self, &form, lengths, input).into_stream(),
                    length: None,
                    trailers: Trailers::default(),
                    signed: Signed::Form {
                        version: form.claim()?.map(|claim| claim.version()),
                    },
                    context,
                    guarded: self.gateway.0.settings.reset.is_some()
                        && admin::is_from_a_web_page(&self.head.headers),
                };
                Ok((request, upload))
            }
            Err(error) => {
                // The client is to read the refusal.
                body::discard(&mut body).await;
                Err(error)
            }
        }
    }

    async fn read_form(
        &self,
        body: &mut Incoming,
        input: &mut BytesMut,
    ) -> Result<(Form, String, Context, Lengths), Error> {
        let bucket = self.form_bucket()?;
        let mut form = Form::new(&self.head.headers)?;
        let mut read = 0;
        loop {
            match form.take(input)? {
                Step::File => break,
                Step::Field => continue,
                Step::More if read > FIELDS_BYTES_MAX => return Err(too_long()),
                Step::More => {}
            }
            let wait = self.gateway.0.settings.limits.body_wait;
            let piece = body::next(body, wait).await;
            let piece = piece.map_err(|unread| fault(unread_error(unread)))?;
            let Some(piece) = piece else {
                let text = "POST requires exactly one file upload per request.";
                return Err(Error::new("InvalidArgument", 400, text));
            };
            read += piece.len();
            input.extend_from_slice(&piece);
        }
        let Some(claim) = form.claim()? else {
            // Nobody says what it may be: the bucket's policy alone decides.
            let any = Lengths {
                min: 0,
                max: u64::MAX,
            };
            return Ok((form, bucket, self.anonymous()?, any));
        };
        let refused = |refusal: Refusal| self.storage_refusal(&refusal, true);
        let keyring = &self.services.keyring;
        let key = keyring.find(claim.access_key_id, claim.token, self.now);
        let key = key.map_err(refused)?;
        claim.check(&key.secret).map_err(refused)?;
        let region = claim.region().unwrap_or(self.region());
        let context = self.context(region, key.caller)?;
        let lengths = post_form::judge(claim.policy, &form, &bucket, self.now)?;
        Ok((form, bucket, context, lengths))
    }

    /// The bucket, in the host or as the whole path.
    fn form_bucket(&self) -> Result<String, Error> {
        let path = self.head.uri.path().trim_matches('/');
        match bucket_in_host(host_of(self.head)) {
            Some(bucket) if path.is_empty() => Ok(bucket.to_owned()),
            None if !path.is_empty() && !path.contains('/') => Ok(path.to_owned()),
            _ => {
                let text = "The specified method is not allowed against this resource.";
                Err(Error::new("MethodNotAllowed", 405, text))
            }
        }
    }

    /// The head of the PutObject that a form stands for.
    fn put(&self, form: &Form, upload: &Upload) -> Result<Parts, Error> {
        let mut head = self.head.clone();
        head.method = Method::PUT;
        let mut headers = HeaderMap::new();
        for name in [header::HOST, header::ORIGIN, header::USER_AGENT] {
            if let Some(value) = self.head.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        for (name, value) in form.fields() {
            let is_amazons = name.starts_with("x-amz-") && !PROOF.contains(&name);
            let (name, value) = match name {
                "acl" => ("x-amz-acl", value.to_owned()),
                "tagging" => ("x-amz-tagging", post_form::tags(value)?),
                name if is_amazons || HEADERS.contains(&name) => (name, value.to_owned()),
                _ => continue,
            };
            let bad = || {
                Error::new(
                    "InvalidArgument",
                    400,
                    format!("The value of '{name}' is not valid."),
                )
            };
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?;
            headers.insert(HeaderName::try_from(name).map_err(|_| bad())?, value);
        }
        head.headers = headers;
        let key = utf8_percent_encode(&upload.key, KEY);
        let path = match bucket_in_host(host_of(self.head)) {
            Some(_) => format!("/{key}"),
            None => format!("/{}/{key}", upload.bucket),
        };
        let mut parts = head.uri.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(Error::internal)?);
        head.uri = Uri::from_parts(parts).map_err(Error::internal)?;
        Ok(head)
    }
}

fn too_long() -> Error {
    let text = "Your POST request fields preceding the upload file were too large.";
    Error::new("MaxPostPreDataLengthExceeded", 400, text)
}

fn fault(fault: BodyFault) -> Error {
    Error::new(fault.code, fault.status, fault.message)
}

impl Upload {
    fn of(form: &Form, bucket: String, host: &str) -> Result<Upload, Error> {
        let key = form.field("key").unwrap_or_default().to_owned();
        if key.is_empty() {
            let text = "User key must have a length greater than 0.";
            return Err(Error::new("InvalidArgument", 400, text));
        }
        let path = utf8_percent_encode(&key, KEY);
        let location = match bucket_in_host(host) {
            Some(_) => format!("http://{host}/{path}"),
            None => format!("http://{host}/{bucket}/{path}"),
        };
        let redirect = form
            .field("success_action_redirect")
            .or(form.field("redirect"));
        // What is no URL is passed over, as AWS does.
        let redirect = redirect.and_then(|url| url.parse::<Uri>().ok());
        let status = match form.field("success_action_status") {
            Some("200") => StatusCode::OK,
            Some("201") => StatusCode::CREATED,
            _ => StatusCode::NO_CONTENT,
        };
        Ok(Upload {
            redirect: redirect.filter(|url| url.scheme().is_some()),
            bucket,
            key,
            location,
            status,
        })
    }

    /// The answer that a form gets, made of PutObject's.
    pub fn answered(&self, mut reply: Reply) -> Reply {
        if reply.status() != StatusCode::OK {
            return reply;
        }
        let etag = reply.headers().get(header::ETAG);
        let etag = etag
            .and_then(|etag| etag.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        *reply.status_mut() = self.status;
        let mut location = self.location.clone();
        if let Some(url) = &self.redirect {
            let encoded = |text: &str| utf8_percent_encode(text, VALUE).to_string();
            let (bucket, key, etag) = (encoded(&self.bucket), encoded(&self.key), encoded(&etag));
            let mark = if url.query().is_some() { '&' } else { '?' };
            location = format!("{url}{mark}bucket={bucket}&key={key}&etag={etag}");
            *reply.status_mut() = StatusCode::SEE_OTHER;
        } else if self.status == StatusCode::CREATED {
            let told = [
                ("Location", self.location.as_str()),
                ("Bucket", &self.bucket),
                ("Key", &self.key),
                ("ETag", &etag),
            ];
            let body = post_form::response(&told);
            *reply.body_mut() = Body::Whole(Bytes::from(body));
            let kind = HeaderValue::from_static("application/xml");
            reply.headers_mut().insert(header::CONTENT_TYPE, kind);
            reply.headers_mut().remove(header::CONTENT_LENGTH);
        }
        if let Ok(location) = HeaderValue::from_str(&location) {
            reply.headers_mut().insert(header::LOCATION, location);
        }
        reply
    }
}
