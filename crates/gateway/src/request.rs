//! The life of a request: find its operation, check its claim, read its body, check its signature, run it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
};
use hyper::body::Incoming;
use jiff::Timestamp;
use tracing::{Instrument, debug, error, info_span};
use wire::sigv4::{
    self, CLOCK_SKEW_IAM, Claim, Family, Head, Refusal, Regions, Rules, Sha256, Verified,
};
use wire::{AwsHost, Body, Caller, Context, Error, Found, Protocol, Region, Reply, Scope};

mod form;
mod lasting;
mod storage;

use self::lasting::Lasting;
use crate::body::{self, Held, ReplyBody, Unread};
use crate::{Gateway, Origin, Services, admin};

const X_AMZN_REQUESTID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// The longest `User-Agent` and trace header that is passed on.
const TEXT_BYTES_MAX: usize = 1024;
/// The largest body that is hashed where it is read; about a millisecond.
const HASH_INLINE_BYTES_MAX: usize = 1 << 20;

impl Gateway {
    /// Answers one request, whatever happens.
    pub(crate) async fn answer(
        self,
        request: Request<Incoming>,
        origin: Origin,
    ) -> Response<ReplyBody> {
        let request_id = uuid::Uuid::new_v4().to_string();
        let is_head = request.method() == Method::HEAD;
        let awaits =
            request.version() == Version::HTTP_11 && request.headers().contains_key(header::EXPECT);
        let span = info_span!("request", id = %request_id, operation = tracing::field::Empty);
        let work = self.clone().work(request, origin, request_id.clone());
        let reply = match Lasting::new(&self.0.tasks, work.instrument(span)).await {
            Ok(reply) => reply,
            Err(cause) => {
                self.0.metrics.panic();
                error!(id = %request_id, %cause, "a request failed for a defect of ours");
                internal_failure()
            }
        };
        let mut reply = dressed(reply, &request_id, is_head);
        if awaits && !reply.status().is_success() {
            // Unless its body was asked for nothing can follow it, and the connection ends. Who is not told may use it again.
            let close = HeaderValue::from_static("close");
            reply.headers_mut().insert(header::CONNECTION, close);
        }
        reply
    }

    async fn work(self, request: Request<Incoming>, origin: Origin, request_id: String) -> Reply {
        let began = Instant::now();
        let _gauge = self.0.metrics.request();
        let (head, mut body) = request.into_parts();
        if admin::is_ours(head.uri.path()) {
            return self.administer(&head, origin).await;
        }
        let services = self.services();
        let stores = services.storage.is_some();
        if stores && storage::is_preflight(&head) {
            return self.store(services, head, body, origin, request_id).await;
        }
        if let Some(reply) = method_answer(&head.method) {
            return reply;
        }
        let signed_for = scope_service(&head);
        if stores && storage::is_asked(&head, signed_for.as_deref()) {
            return self.store(services, head, body, origin, request_id).await;
        }
        let at_host = || AwsHost::of(&head).map(|host| Cow::Borrowed(host.service));
        let hint = signed_for.or_else(at_host);
        let found = services.router.find(&head, hint.as_deref());
        let Some(found) = found else {
            if stores && storage::may_be_anonymous(&head) {
                return self
                    .store(services.clone(), head, body, origin, request_id)
                    .await;
            }
            let unserved = self.unserved(&services, &head, hint.as_deref(), &request_id);
            return self.refused(&head, &mut body, unserved).await;
        };
        let asked = Asked {
            gateway: &self,
            services: &services,
            head: &head,
            origin,
            request_id: &request_id,
            now: Timestamp::now(),
        };
        match asked.admit(&found, &mut body).await {
            Ok((verified, caller, body)) => {
                let (named, reply) = asked.run(found, verified, caller, body.bytes.clone()).await;
                if let Some((service, operation)) = named {
                    let (status, took) = (reply.status().as_u16(), began.elapsed());
                    debug!(service, operation, status, ?took, "answered");
                    self.0.metrics.answered(service, operation, status, took);
                }
                drop(body);
                reply
            }
            Err(refused) => {
                let reply = found.error(&refused, &head, &request_id);
                self.refused(&head, &mut body, reply).await
            }
        }
    }

    /// Hands a request to the service that reads requests itself.
    async fn store(
        &self,
        services: Arc<Services>,
        head: Parts,
        body: Incoming,
        origin: Origin,
        request_id: String,
    ) -> Reply {
        let began = Instant::now();
        let asked = Asked {
            gateway: self,
            services: &services,
            head: &head,
            origin,
            request_id: &request_id,
            now: Timestamp::now(),
        };
        let Some(storage) = &services.storage else {
            return wire::unserved(&head, None, &request_id);
        };
        let Ok(_place) = self.0.requests.clone().try_acquire_owned() else {
            let error = Error::new("SlowDown", 503, "Please reduce your request rate.");
            return wire::storage_error(&error, head.uri.path(), &request_id);
        };
        let admitted = match form::is_asked(&head) {
            true => asked
                .admit_form(body)
                .await
                .map(|(request, upload)| (request, Some(upload))),
            false => asked.admit_storage(body).map(|request| (request, None)),
        };
        let (request, upload) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => return wire::storage_error(&error, head.uri.path(), &request_id),
        };
        let mut answer = storage.answer(request).await;
        if let Some(upload) = upload {
            answer.reply = upload.answered(answer.reply);
        }
        if let Some(operation) = answer.operation {
            let named = format_args!("s3:{operation}");
            tracing::Span::current().record("operation", tracing::field::display(named));
            let (status, took) = (answer.reply.status().as_u16(), began.elapsed());
            debug!(service = "s3", operation, status, ?took, "answered");
            self.0.metrics.answered("s3", operation, status, took);
        }
        answer.reply
    }

    /// Lets the client finish sending, so that it reads the refusal.
    async fn refused(&self, head: &Parts, body: &mut Incoming, reply: Reply) -> Reply {
        // Who waits for "100 Continue" has not begun.
        if !head.headers.contains_key(header::EXPECT) {
            body::discard(body).await;
        }
        reply
    }

    /// A request that no service here takes. Whose claim does not hold does not learn that.
    fn unserved(
        &self,
        services: &Services,
        head: &Parts,
        hint: Option<&str>,
        request_id: &str,
    ) -> Reply {
        let names: Vec<&str> = hint.into_iter().collect();
        let now = Timestamp::now();
        let claim = Claim::read(&Head::from(head), &Rules::new(&names, Regions::Any), now);
        let known = claim.and_then(|claim| {
            let keyring = &services.keyring;
            keyring.find(claim.access_key_id(), claim.session_token(), now)
        });
        match known {
            Ok(_) => wire::unserved(head, hint, request_id),
            Err(refusal) => {
                let error = self.refusal(&refusal, Family::RestJson);
                wire::refuse(&error, head, request_id)
            }
        }
    }

    fn refusal(&self, refusal: &Refusal, family: Family) -> Error {
        let (code, status) = refusal.code(family);
        self.0.metrics.refused(code);
        debug!(code, %refusal, "refused");
        Error::new(code, status, refusal.message(family))
    }
}

/// A request whose service is known, and what it is judged by.
struct Asked<'a> {
    gateway: &'a Gateway,
    services: &'a Services,
    head: &'a Parts,
    origin: Origin,
    request_id: &'a str,
    now: Timestamp,
}

impl<'a> Asked<'a> {
    /// Checks the claim, reads the body, checks the signature: in this order, so that who has no claim does
    /// not get to send a body.
    async fn admit(
        &self,
        found: &Found<'a>,
        body: &mut Incoming,
    ) -> Result<(Verified, Caller, Held), Error> {
        let door = &self.gateway.0;
        if door.settings.reset.is_some() && admin::is_from_a_web_page(&self.head.headers) {
            let text = "Dev mode does not answer web pages: its keys are known to all of them.";
            return Err(Error::new("AccessDeniedException", 403, text));
        }
        let family = family(found.protocol());
        let refused = |refusal: Refusal| self.gateway.refusal(&refusal, family);
        let names = self.signing_names(found);
        // A region's host takes signatures for that region only.
        let region = AwsHost::of(self.head).and_then(|host| host.region);
        let mut rules = rules(&names, found.protocol());
        if let Some(region) = &region {
            rules.regions = Regions::Only(std::slice::from_ref(region));
        }
        let head = Head::from(self.head);
        let claim = Claim::read(&head, &rules, self.now).map_err(refused)?;
        let keyring = &self.services.keyring;
        let key = keyring.find(claim.access_key_id(), claim.session_token(), self.now);
        let key = key.map_err(refused)?;
        let max = found.body_bytes_max();
        let limits = &door.settings.limits;
        let held = body::read(body, max, &door.body_bytes, limits).await;
        let held = held.map_err(|unread| too_much(unread, found, max))?;
        let hash = hash(&held.bytes).await;
        let verified = claim.check(&head, &rules, &hash, &key.secret, &door.keys);
        Ok((verified.map_err(refused)?, key.caller, held))
    }

    /// Runs the operation. Says its service and name too, for the metrics.
    async fn run(
        &self,
        found: Found<'a>,
        verified: Verified,
        caller: Caller,
        body: Bytes,
    ) -> (Option<(&'static str, &'static str)>, Reply) {
        let (head, id) = (self.head, self.request_id);
        let Ok(_place) = self.gateway.0.requests.clone().try_acquire_owned() else {
            let text = "The request has failed due to a temporary failure of the server.";
            let error = Error::new("ServiceUnavailable", 503, text);
            return (None, found.error(&error, head, id));
        };
        let settled = found.settle(&self.services.router, head, &body);
        let profile = settled.found.profile();
        let operation = settled.found.operation();
        // A form tells its service only now.
        if operation.is_some() && !profile.signing_names.contains(&verified.service.as_str()) {
            let expected = profile.signing_names.first().copied().unwrap_or_default();
            let refusal = Refusal::wrong_service(expected);
            let error = self.gateway.refusal(&refusal, Family::Query);
            return (None, settled.found.error(&error, head, id));
        }
        let named = operation.map(|name| (profile.name, name));
        if let Some((service, operation)) = named {
            let operation = format_args!("{service}:{operation}");
            tracing::Span::current().record("operation", tracing::field::display(operation));
        }
        let context = match self.context(&verified.region, caller) {
            Ok(context) => context,
            Err(error) => return (named, settled.found.error(&error, head, id)),
        };
        let authorizer = self.services.authorizer.as_ref();
        (named, settled.run(head, body, &context, authorizer).await)
    }

    /// The names that the scope may carry: the service's, or those of all services that read forms, as long
    /// as the form is not read.
    fn signing_names(&self, found: &Found<'_>) -> Vec<&'static str> {
        if found.protocol() != Protocol::Query {
            return found.profile().signing_names.to_vec();
        }
        let profiles = self.services.router.mounts().iter().map(|m| m.profile());
        let forms = profiles.filter(|p| p.protocols.contains(&Protocol::Query));
        forms.flat_map(|p| p.signing_names).copied().collect()
    }

    fn context(&self, region: &str, caller: Caller) -> Result<Context, Error> {
        let headers = &self.head.headers;
        let text = |name: HeaderName| text_header(headers, name);
        let short = |text: &str| text.get(..TEXT_BYTES_MAX).unwrap_or(text).to_owned();
        let authority = self.head.uri.authority().map(|a| a.as_str());
        let region = Region::new(region);
        let (source_ip, secure) = match self.origin {
            Origin::Outside { peer, tls } => (Some(peer.ip().to_canonical()), tls),
            Origin::Inside { tls } => (None, tls),
        };
        Ok(Context {
            request_id: self.request_id.to_owned(),
            scope: Scope {
                account: caller.account,
                region: region.ok_or_else(|| Error::internal("a region passed the check"))?,
            },
            caller,
            source_ip,
            user_agent: short(text(header::USER_AGENT).unwrap_or_default()),
            secure,
            now_ms: self.now.as_millisecond(),
            host: text(header::HOST)
                .or(authority)
                .unwrap_or_default()
                .to_owned(),
            trace_id: text(X_AMZN_TRACE_ID).map(short),
        })
    }
}

/// The hash of a body, made beside the other requests when it takes long: code comes in bodies of 70 MB.
async fn hash(body: &Bytes) -> Sha256 {
    if body.len() <= HASH_INLINE_BYTES_MAX {
        return sigv4::sha256(body);
    }
    let body = body.clone();
    let hashing = tokio::task::spawn_blocking(move || sigv4::sha256(&body));
    hashing.await.expect("hashing does not panic")
}

fn family(protocol: Protocol) -> Family {
    match protocol {
        Protocol::RestJson => Family::RestJson,
        Protocol::Query => Family::Query,
        Protocol::Json10 | Protocol::Json11 | Protocol::Cbor => Family::Rpc,
    }
}

fn rules<'n>(names: &'n [&'n str], protocol: Protocol) -> Rules<'n> {
    let mut rules = Rules::new(names, Regions::Any);
    if protocol == Protocol::Query {
        rules.clock_skew = CLOCK_SKEW_IAM;
    }
    rules
}

fn text_header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The service in the scope of a claim that nobody has checked: a hint, no more.
fn scope_service(head: &Parts) -> Option<Cow<'_, str>> {
    scope_part(head, 3)
}

/// A part of that scope: 2 is the region, 3 the service.
fn scope_part(head: &Parts, part: usize) -> Option<Cow<'_, str>> {
    let authorization = head.headers.get(header::AUTHORIZATION);
    let in_header = authorization.and_then(|value| value.to_str().ok());
    let in_query = head.uri.query();
    let credential = match (in_header, in_query) {
        (Some(text), _) => {
            let mut fields = text.split(' ').flat_map(|part| part.split(','));
            fields.find_map(|field| field.strip_prefix("Credential="))?
        }
        (None, Some(text)) => {
            let mut fields = text.split('&');
            fields.find_map(|field| field.strip_prefix("X-Amz-Credential="))?
        }
        (None, None) => return None,
    };
    let found = match credential.contains('%') {
        false => Cow::Borrowed(credential.split('/').nth(part)?),
        true => {
            let credential = credential.replace("%2F", "/").replace("%2f", "/");
            Cow::Owned(credential.split('/').nth(part)?.to_owned())
        }
    };
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (found.len() <= 64 && found.bytes().all(legal)).then_some(found)
}

/// Methods that no AWS operation has.
fn method_answer(method: &Method) -> Option<Reply> {
    let status = match *method {
        // No cross-origin headers: browsers are not let in.
        Method::OPTIONS => StatusCode::NO_CONTENT,
        Method::TRACE | Method::CONNECT => StatusCode::METHOD_NOT_ALLOWED,
        _ => return None,
    };
    let mut reply = Reply::new(Body::Whole(Bytes::new()));
    *reply.status_mut() = status;
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    reply.headers_mut().insert(header::ALLOW, methods);
    Some(reply)
}

fn too_much(unread: Unread, found: &Found<'_>, max: usize) -> Error {
    let rest = found.protocol() == Protocol::RestJson;
    match unread {
        Unread::TooLarge => {
            let operation = found.operation().unwrap_or("requested");
            Error::new(
                if rest {
                    "RequestEntityTooLargeException"
                } else {
                    "RequestEntityTooLarge"
                },
                413,
                format!("Request must be smaller than {max} bytes for the {operation} operation"),
            )
        }
        Unread::Slow => Error::new(
            "RequestTimeout",
            408,
            "The body of the request did not arrive in time.",
        ),
        Unread::NoRoom => Error::new(
            "ServiceUnavailable",
            503,
            "The server holds as many request bodies as it may. Try again later.",
        ),
        Unread::Broken => Error::new(
            "IncompleteBody",
            400,
            "The body of the request is incomplete.",
        ),
    }
}

/// The reply to a request that panicked. Its service may be unknown by now, so the envelope is the plainest.
fn internal_failure() -> Reply {
    let body = r#"{"message":"The request processing has failed because of an unknown error, exception or failure."}"#;
    let mut reply = Reply::new(Body::Whole(Bytes::from_static(body.as_bytes())));
    *reply.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(
        "x-amzn-errortype",
        HeaderValue::from_static("InternalFailure"),
    );
    reply
}

/// What every reply carries, and what HEAD replies leave out.
fn dressed(reply: Reply, request_id: &str, is_head: bool) -> Response<ReplyBody> {
    let (mut head, body) = reply.into_parts();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        head.headers.entry(X_AMZN_REQUESTID).or_insert(id);
    }
    let body = if is_head {
        Body::Whole(Bytes::new())
    } else {
        body
    };
    Response::from_parts(head, ReplyBody::from(body))
}
