//! [`Router`]: finds the operation of an HTTP request by its target header, action, path and host, never by the
//! signature's scope alone, and carries it from bytes to bytes.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use http::HeaderName;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use crate::http_binding::{self, Template};
use crate::operation::{Failure, Route};
use crate::protocol::SMITHY_PROTOCOL;
use crate::protocol::{self, Protocol};
use crate::shape::Undecodable;
use crate::{
    Authorizer, AwsHost, Context, Effect, Error, Http, Node, Refused, Schema, Seen, Service,
    Unbuilt, Witness,
};

/// A body that is sent while it is made.
pub struct ByteStream(pub Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>>);

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByteStream")
    }
}

/// The body of a reply.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// A part at a time.
    Stream(ByteStream),
}

/// What goes back to the client.
pub type Reply = http::Response<Body>;

/// What a service needs to know of itself, without its type.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// See [`Service::NAME`].
    pub name: &'static str,
    /// See [`Service::SIGNING_NAMES`].
    pub signing_names: &'static [&'static str],
    /// See [`Service::MODEL`].
    pub model: &'static str,
    /// See [`Service::PROTOCOLS`].
    pub protocols: &'static [Protocol],
    /// See [`Service::TARGET_PREFIX`].
    pub target_prefix: &'static str,
    /// See [`Service::API_VERSION`].
    pub api_version: &'static str,
    /// See [`Service::XML_NAMESPACE`].
    pub xml_namespace: &'static str,
    /// See [`Service::ERROR_NAMESPACE`].
    pub error_namespace: &'static str,
    /// See [`Service::VALIDATION`].
    pub validation: (&'static str, u16),
    /// See [`Service::SERIALIZATION`].
    pub serialization: (&'static str, u16),
    /// See [`Service::UNBUILT`].
    pub unbuilt: &'static [Unbuilt],
}

impl Profile {
    /// Of no service in particular.
    const NONE: Self = Self {
        name: "",
        signing_names: &[],
        model: "",
        protocols: &[],
        target_prefix: "",
        api_version: "",
        xml_namespace: "",
        error_namespace: "",
        validation: ("ValidationException", 400),
        serialization: ("SerializationException", 400),
        unbuilt: &[],
    };

    const fn of<S: Service>() -> Self {
        Self {
            name: S::NAME,
            signing_names: S::SIGNING_NAMES,
            model: S::MODEL,
            protocols: S::PROTOCOLS,
            target_prefix: S::TARGET_PREFIX,
            api_version: S::API_VERSION,
            xml_namespace: S::XML_NAMESPACE,
            error_namespace: S::ERROR_NAMESPACE,
            validation: S::VALIDATION,
            serialization: S::SERIALIZATION,
            unbuilt: S::UNBUILT,
        }
    }
}

/// One operation of a mounted service, without its types.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// AWS's name.
    pub name: &'static str,
    /// Its HTTP binding.
    pub http: Http,
    /// What it does.
    pub effect: Effect,
    /// The request's form.
    pub input: fn() -> Schema,
    /// The reply's form.
    pub output: fn() -> Schema,
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<Node, Failure>> + Send + 'a>>;

trait Serve: Send + Sync {
    fn run<'a>(
        &'a self,
        index: usize,
        cx: &'a Context,
        authorizer: &'a dyn Authorizer,
        input: Node,
    ) -> Running<'a>;
}

struct Served<S>(Arc<S>);

impl<S: Service> Serve for Served<S> {
    fn run<'a>(
        &'a self,
        index: usize,
        cx: &'a Context,
        authorizer: &'a dyn Authorizer,
        input: Node,
    ) -> Running<'a> {
        (S::OPERATIONS[index].run)(&self.0, cx, authorizer, input)
    }
}

/// A service that takes requests: its table and its handle.
pub struct Mount {
    profile: Profile,
    rows: Vec<Row>,
    /// Of each row.
    templates: Vec<Template>,
    /// Of the operations that are not built, with their names.
    unbuilt: Vec<(&'static str, Template)>,
    by_name: HashMap<&'static str, usize>,
    service: Box<dyn Serve>,
}

impl Mount {
    /// Mounts a service.
    pub fn new<S: Service>(service: Arc<S>) -> Self {
        let rows = schema_of::<S>();
        let template = |row: &Row| Template::new(row.http.method, row.http.path);
        let unbuilt = |unbuilt: &Unbuilt| {
            let (method, path) = unbuilt.http?;
            Some((unbuilt.name, Template::new(method, path)))
        };
        Self {
            templates: rows.iter().map(template).collect(),
            unbuilt: S::UNBUILT.iter().filter_map(unbuilt).collect(),
            profile: Profile::of::<S>(),
            by_name: rows.iter().enumerate().map(|(i, r)| (r.name, i)).collect(),
            rows,
            service: Box::new(Served(service)),
        }
    }

    /// What the service says of itself.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Where in its table an operation is.
    pub(crate) fn row_named(&self, operation: &str) -> Option<usize> {
        self.by_name.get(operation).copied()
    }

    pub(crate) fn row(&self, index: usize) -> &Row {
        &self.rows[index]
    }

    /// Decodes, authorizes and runs, and tells the witness of what changed.
    pub(crate) async fn run(
        &self,
        index: usize,
        cx: &Context,
        authorizer: &dyn Authorizer,
        witness: Option<&dyn Witness>,
        input: Node,
    ) -> Result<Node, Failure> {
        let (row, service) = (&self.rows[index], self.profile.name);
        let witness = witness.filter(|one| row.effect == Effect::Changes && one.wants(cx, service));
        // Copied before it is taken apart, and only if somebody wants it.
        let request = witness.map(|_| input.told());
        let ran = self.service.run(index, cx, authorizer, input).await;
        if let (Some(witness), Some(request)) = (witness, request)
            && let Some(reply) = outcome(&ran)
        {
            witness.saw(Seen {
                cx,
                service,
                operation: row.name,
                http: row.http,
                request,
                reply,
                additional: Node::Null,
                resources: Vec::new(),
            });
        }
        ran
    }
}

/// What is told of a call's end. A request that could not be read was no call.
fn outcome(ran: &Result<Node, Failure>) -> Option<Result<Node, Refused>> {
    match ran {
        Ok(output) => Some(Ok(output.told())),
        Err(Failure::Failed(error)) => Some(Err(Refused {
            code: error.code.clone(),
            message: error.message.clone(),
        })),
        // In the trail it has this name whatever the protocol.
        Err(Failure::Denied(message)) => Some(Err(Refused {
            code: "AccessDenied".into(),
            message: message.clone(),
        })),
        Err(Failure::Undecodable(_)) => None,
    }
}

/// The table of a service, for documentation and for the comparison with AWS's models.
pub fn schema_of<S: Service>() -> Vec<Row> {
    let row = |route: &Route<S>| Row {
        name: route.name,
        http: route.http,
        effect: route.effect,
        input: route.input,
        output: route.output,
    };
    S::OPERATIONS.iter().map(row).collect()
}

/// All services.
pub struct Router {
    mounts: Vec<Mount>,
    witness: Option<Arc<dyn Witness>>,
}

/// The operation of a request, as far as its head tells.
pub struct Found<'a> {
    mount: &'a Mount,
    protocol: Protocol,
    target: Target,
}

enum Target {
    Row(usize, Vec<(&'static str, String)>),
    Unbuilt(&'static str),
    Unknown(String),
    /// A Query request tells its action only in the body.
    InForm,
}

const X_AMZ_TARGET: HeaderName = HeaderName::from_static("x-amz-target");
/// The largest body of a Query request, and of one that will be refused anyway.
const FORM_BYTES_MAX: usize = 2 * 1024 * 1024;

impl Router {
    /// A router over these services, asked in this order.
    pub fn new(mounts: Vec<Mount>) -> Self {
        Self {
            mounts,
            witness: None,
        }
    }

    /// The same, with somebody who learns of what changes.
    pub fn witnessed_by(self, witness: Arc<dyn Witness>) -> Self {
        Self {
            witness: Some(witness),
            ..self
        }
    }

    /// Who learns of what changes.
    pub(crate) fn witness(&self) -> Option<&dyn Witness> {
        self.witness.as_deref()
    }

    /// The services.
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// Finds the operation of a request. `signing_name` is the service in the signature's scope, a mere hint. `None`
    /// when no service here answers such requests at all, or when the request was sent to a host of AWS's that is another
    /// service's.
    pub fn find(&self, head: &Parts, signing_name: Option<&str>) -> Option<Found<'_>> {
        let Some(host) = AwsHost::of(head) else {
            return self.find_at(None, head, signing_name);
        };
        let found = self.find_at(Some(host.service), head, Some(host.service))?;
        found.mount.answers_at(Some(host.service)).then_some(found)
    }

    fn find_at(
        &self,
        host: Option<&str>,
        head: &Parts,
        signing_name: Option<&str>,
    ) -> Option<Found<'_>> {
        if let Some(target) = header(head, X_AMZ_TARGET) {
            return self.find_target(target, header(head, CONTENT_TYPE).unwrap_or_default());
        }
        if let Some(rest) = head.uri.path().strip_prefix("/service/")
            && header(head, SMITHY_PROTOCOL) == Some("rpc-v2-cbor")
        {
            let (prefix, operation) = rest.split_once("/operation/")?;
            return self.find_named(prefix, operation, Protocol::Cbor);
        }
        if head.uri.path() == "/" {
            return self.find_form(head, signing_name);
        }
        self.find_rest(host, head)
    }

    fn find_target(&self, target: &str, content_type: &str) -> Option<Found<'_>> {
        let (prefix, operation) = target.rsplit_once('.')?;
        let protocol = if content_type.starts_with("application/x-amz-json-1.1") {
            Protocol::Json11
        } else {
            Protocol::Json10
        };
        self.find_named(prefix, operation, protocol)
    }

    fn find_named(&self, prefix: &str, operation: &str, protocol: Protocol) -> Option<Found<'_>> {
        let mount = self
            .mounts
            .iter()
            .find(|m| !prefix.is_empty() && m.profile.target_prefix == prefix)?;
        // A JSON client that names the other minor version is answered in the service's own.
        let protocol = match protocol {
            Protocol::Json10 | Protocol::Json11 => *mount
                .profile
                .protocols
                .iter()
                .find(|p| matches!(p, Protocol::Json10 | Protocol::Json11))?,
            other => other,
        };
        let target = if mount.profile.protocols.contains(&protocol) {
            mount.target(operation)
        } else {
            Target::Unknown(operation.to_owned())
        };
        Some(Found {
            mount,
            protocol,
            target,
        })
    }

    fn find_form(&self, head: &Parts, signing_name: Option<&str>) -> Option<Found<'_>> {
        let in_url: HashMap<_, _> =
            protocol::url_pairs(head.uri.query().unwrap_or_default()).collect();
        let speaks_query = |m: &&Mount| m.profile.protocols.contains(&Protocol::Query);
        let version = in_url.get("Version");
        let mount = self
            .mounts
            .iter()
            .filter(speaks_query)
            .find(|m| match version {
                Some(version) => m.profile.api_version == version,
                None => signing_name.is_some_and(|name| m.profile.signing_names.contains(&name)),
            })
            // The body will tell which; any Query service can read it.
            .or_else(|| self.mounts.iter().find(speaks_query))?;
        let is_form = header(head, CONTENT_TYPE)
            .is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
        (is_form || in_url.contains_key("Action")).then_some(Found {
            mount,
            protocol: Protocol::Query,
            target: Target::InForm,
        })
    }

    fn find_rest(&self, host: Option<&str>, head: &Parts) -> Option<Found<'_>> {
        let (path, method) = (head.uri.path(), head.method.as_str());
        let segments: Vec<&str> = http_binding::segments(path).collect();
        let query = head.uri.query().unwrap_or_default();
        let matches = |template: &Template| template.matches(method, &segments, query);
        let rest = |m: &&Mount| m.profile.protocols.contains(&Protocol::RestJson);
        let at_host = |m: &&Mount| m.answers_at(host);
        for mount in self.mounts.iter().filter(rest).filter(at_host) {
            let found = |target| {
                Some(Found {
                    mount,
                    protocol: Protocol::RestJson,
                    target,
                })
            };
            for (index, template) in mount.templates.iter().enumerate() {
                if let Some(parameters) = matches(template) {
                    return found(Target::Row(index, parameters));
                }
            }
            for (name, template) in &mount.unbuilt {
                if matches(template).is_some() {
                    return found(Target::Unbuilt(name));
                }
            }
            let same_first_segment =
                |template: &str| first_segment(template) == first_segment(path);
            if mount
                .rows
                .iter()
                .any(|row| same_first_segment(row.http.path))
            {
                return found(Target::Unknown(format!("{} {path}", head.method)));
            }
        }
        None
    }
}

fn first_segment(path: &str) -> &str {
    path.trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or_default()
}

fn header(head: &Parts, name: HeaderName) -> Option<&str> {
    head.headers.get(name)?.to_str().ok()
}

impl Mount {
    /// Whether requests to a host of AWS's are this service's; those to any other host may be.
    fn answers_at(&self, host: Option<&str>) -> bool {
        host.is_none_or(|service| self.profile.signing_names.contains(&service))
    }

    fn target(&self, operation: &str) -> Target {
        if let Some(index) = self.by_name.get(operation) {
            return Target::Row(*index, Vec::new());
        }
        match self.profile.unbuilt.iter().find(|u| u.name == operation) {
            Some(unbuilt) => Target::Unbuilt(unbuilt.name),
            None => Target::Unknown(operation.to_owned()),
        }
    }
}

impl Found<'_> {
    /// What the service says of itself.
    pub fn profile(&self) -> &Profile {
        &self.mount.profile
    }

    /// The protocol, which decides the form of errors too.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The operation's name, where the head tells it.
    pub fn operation(&self) -> Option<&'static str> {
        match &self.target {
            Target::Row(index, _) => Some(self.mount.rows[*index].name),
            Target::Unbuilt(name) => Some(name),
            Target::Unknown(_) | Target::InForm => None,
        }
    }

    /// The largest body that will be read.
    pub fn body_bytes_max(&self) -> usize {
        match &self.target {
            Target::Row(index, _) => self.mount.rows[*index].http.body_bytes_max,
            _ => FORM_BYTES_MAX,
        }
    }

    /// An error in the form of this service and protocol.
    pub fn error(&self, error: &Error, head: &Parts, request_id: &str) -> Reply {
        protocol::error(self.protocol, &self.mount.profile, error, head, request_id)
    }
}

impl<'a> Found<'a> {
    /// Settles a Query request by its body, which may belong to another service than the head suggested. Every
    /// other request is settled already.
    pub fn settle(self, router: &'a Router, head: &Parts, body: &Bytes) -> Settled<'a> {
        let witness = router.witness();
        let Target::InForm = self.target else {
            return Settled {
                found: self,
                form: None,
                witness,
            };
        };
        let form = protocol::plain(head, body, FORM_BYTES_MAX)
            .and_then(|body| protocol::form(head.uri.query().unwrap_or_default(), &body));
        let Ok(mut form) = form else {
            return Settled {
                found: self,
                form: Some(form),
                witness,
            };
        };
        let mut text = |name| match form.take(name) {
            Some(Node::Text(text)) => text,
            _ => String::new(),
        };
        let (action, version) = (text("Action"), text("Version"));
        let host = AwsHost::of(head).map(|host| host.service);
        let mount = router.mounts.iter().find(|m| {
            m.profile.api_version == version
                && m.profile.protocols.contains(&Protocol::Query)
                && m.answers_at(host)
        });
        let (mount, target) = match mount {
            Some(mount) if !version.is_empty() => (mount, mount.target(&action)),
            _ => (self.mount, Target::Unknown(action.clone())),
        };
        let form = match target {
            Target::Unknown(_) => Err(invalid_action(&action, &version)),
            _ => Ok(form),
        };
        Settled {
            found: Found {
                mount,
                protocol: Protocol::Query,
                target,
            },
            form: Some(form),
            witness,
        }
    }
}

fn invalid_action(action: &str, version: &str) -> Error {
    if action.is_empty() {
        return Error::new("MissingAction", 400, "Missing Action");
    }
    let version = match version {
        "" => "NO_VERSION_SPECIFIED",
        version => version,
    };
    let text = format!("Could not find operation {action} for version {version}");
    Error::new("InvalidAction", 400, text)
}

/// A request whose operation is known, ready to run.
pub struct Settled<'a> {
    /// The operation.
    pub found: Found<'a>,
    /// The form of a Query request, or what is wrong with it.
    form: Option<Result<Node, Error>>,
    /// Who learns of it if it changes something.
    witness: Option<&'a dyn Witness>,
}

impl Settled<'_> {
    /// Decodes, authorizes, runs and encodes.
    pub async fn run(
        self,
        head: &Parts,
        body: Bytes,
        cx: &Context,
        authorizer: &dyn Authorizer,
    ) -> Reply {
        let Self {
            found,
            form,
            witness,
        } = self;
        let profile = &found.mount.profile;
        let refuse = |error: &Error| found.error(error, head, &cx.request_id);
        let form = match form.transpose() {
            Ok(form) => form,
            Err(error) => return refuse(&error),
        };
        let (index, parameters) = match &found.target {
            Target::Row(index, parameters) => (*index, parameters),
            Target::Unbuilt(name) => return refuse(&unbuilt(profile, name)),
            Target::Unknown(name) => return refuse(&unknown(found.protocol, name)),
            Target::InForm => return refuse(&unknown(found.protocol, "")),
        };
        let row = &found.mount.rows[index];
        // A function's payload is the function's business, however it is encoded.
        let body = match (&form, found.protocol) {
            (Some(_), _) | (_, Protocol::RestJson) => body,
            (None, _) => match protocol::plain(head, &body, row.http.body_bytes_max) {
                Ok(body) => body,
                Err(error) => return refuse(&error),
            },
        };
        let input = match form {
            Some(form) => Ok(form),
            None => protocol::decode(found.protocol, &row.http, head, parameters, body),
        };
        let input = match input {
            Ok(input) => input,
            Err(undecodable) => return refuse(&undecodable_error(profile, undecodable)),
        };
        let ran = found.mount.run(index, cx, authorizer, witness, input);
        match ran.await {
            Ok(output) => {
                match protocol::encode(found.protocol, profile, row, output, &cx.request_id) {
                    Ok(reply) => reply,
                    Err(error) => refuse(&error),
                }
            }
            Err(failure) => refuse(&failure_error(profile, found.protocol, failure)),
        }
    }
}

/// What a client is told of a failure.
pub(crate) fn failure_error(profile: &Profile, protocol: Protocol, failure: Failure) -> Error {
    match failure {
        Failure::Failed(error) => error,
        Failure::Undecodable(Undecodable::Violations(text)) => {
            Error::new(profile.validation.0, profile.validation.1, text)
        }
        Failure::Undecodable(Undecodable::Mismatch(text)) => {
            undecodable_error(profile, protocol::Unreadable::Body(text))
        }
        Failure::Denied(text) => denied(protocol, text),
    }
}

fn unbuilt(profile: &Profile, name: &str) -> Error {
    Error::new(
        "NotImplemented",
        501,
        format!("Mayfly does not implement {}:{name} yet.", profile.name),
    )
}

fn unknown(protocol: Protocol, name: &str) -> Error {
    let status = if protocol == Protocol::Json11 || protocol == Protocol::Json10 {
        400
    } else {
        404
    };
    Error::new(
        "UnknownOperationException",
        status,
        format!("Unknown operation {name}").trim_end().to_owned(),
    )
}

fn denied(protocol: Protocol, text: String) -> Error {
    match protocol {
        Protocol::Query => Error::new("AccessDenied", 403, text),
        Protocol::RestJson => Error::new("AccessDeniedException", 403, text),
        Protocol::Json10 | Protocol::Json11 | Protocol::Cbor => {
            Error::new("AccessDeniedException", 400, text)
        }
    }
}

fn undecodable_error(profile: &Profile, why: protocol::Unreadable) -> Error {
    match why {
        protocol::Unreadable::Body(text) => {
            Error::new(profile.serialization.0, profile.serialization.1, text)
        }
        protocol::Unreadable::ContentType(found) => Error::new(
            "UnsupportedMediaTypeException",
            415,
            format!("Unsupported content type: {found}"),
        ),
    }
}

/// The reply to a request that no service here answers, in the envelope its client most likely reads.
/// `signing_name` is the service in the signature's scope.
pub fn unserved(head: &Parts, signing_name: Option<&str>, request_id: &str) -> Reply {
    let error = match signing_name {
        Some(name) => Error::new(
            "NotImplemented",
            501,
            format!("Mayfly does not implement the service {name} yet, or not this request of it."),
        ),
        None => Error::new("UnknownOperationException", 404, "Unknown operation"),
    };
    refuse(&error, head, request_id)
}

/// An error about a request whose service is not known.
pub fn refuse(error: &Error, head: &Parts, request_id: &str) -> Reply {
    let is_form = header(head, CONTENT_TYPE)
        .is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
    let protocol = if head.headers.contains_key(X_AMZ_TARGET) {
        Protocol::Json11
    } else if is_form {
        Protocol::Query
    } else {
        Protocol::RestJson
    };
    protocol::error(protocol, &Profile::NONE, error, head, request_id)
}

/// A service's table as data, for `docs/coverage.md` and the comparison with AWS's models: its names, its built
/// operations with the members of their requests and replies, and the names of the unbuilt ones.
pub fn describe<S: Service>() -> Node {
    let profile = Profile::of::<S>();
    let text = |text: &'static str| Node::from(text);
    let operations = schema_of::<S>().into_iter().map(|row| {
        Node::Map(vec![
            ("name".into(), text(row.name)),
            ("method".into(), text(row.http.method)),
            ("path".into(), text(row.http.path)),
            ("status".into(), Node::Int(row.http.status.into())),
            ("query".into(), pairs(row.http.query)),
            ("headers".into(), pairs(row.http.headers)),
            ("payload".into(), row.http.payload.map_or(Node::Null, text)),
            ("replyHeaders".into(), pairs(row.http.reply_headers)),
            (
                "replyStatus".into(),
                row.http.reply_status.map_or(Node::Null, text),
            ),
            (
                "replyPayload".into(),
                row.http.reply_payload.map_or(Node::Null, text),
            ),
            ("input".into(), schema_node((row.input)())),
            ("output".into(), schema_node((row.output)())),
        ])
    });
    let unbuilt = profile.unbuilt.iter().map(|unbuilt| {
        let (method, path) = unbuilt.http.unwrap_or(("", ""));
        Node::Map(vec![
            ("name".into(), text(unbuilt.name)),
            ("method".into(), text(method)),
            ("path".into(), text(path)),
        ])
    });
    Node::Map(vec![
        ("service".into(), text(profile.name)),
        ("model".into(), text(profile.model)),
        (
            "signingNames".into(),
            Node::List(profile.signing_names.iter().map(|n| text(n)).collect()),
        ),
        (
            "protocols".into(),
            Node::List(
                profile
                    .protocols
                    .iter()
                    .map(|p| Node::from(format!("{p:?}")))
                    .collect(),
            ),
        ),
        ("targetPrefix".into(), text(profile.target_prefix)),
        ("apiVersion".into(), text(profile.api_version)),
        ("operations".into(), Node::List(operations.collect())),
        ("unbuilt".into(), Node::List(unbuilt.collect())),
    ])
}

fn pairs(pairs: &'static [(&'static str, &'static str)]) -> Node {
    let pair = |(from, to): &(&'static str, &'static str)| ((*from).into(), Node::from(*to));
    Node::Map(pairs.iter().map(pair).collect())
}

fn schema_node(schema: Schema) -> Node {
    let kind = |kind: &'static str| ("kind".into(), Node::from(kind));
    let of = |schema: fn() -> Schema| ("of".into(), schema_node(schema()));
    Node::Map(match schema {
        Schema::Structure(members) => {
            let member = |member: crate::Member| {
                Node::Map(vec![
                    ("name".into(), Node::from(member.name)),
                    ("required".into(), Node::Bool(member.required)),
                    ("schema".into(), schema_node((member.schema)())),
                ])
            };
            let members = members.into_iter().map(member).collect();
            vec![kind("structure"), ("members".into(), Node::List(members))]
        }
        Schema::List(item) => vec![kind("list"), of(item)],
        Schema::Map(value) => vec![kind("map"), of(value)],
        Schema::Enum(values) => {
            let values = values.iter().map(|v| Node::from(*v)).collect();
            vec![kind("enum"), ("values".into(), Node::List(values))]
        }
        Schema::String => vec![kind("string")],
        Schema::Integer => vec![kind("integer")],
        Schema::Float => vec![kind("float")],
        Schema::Boolean => vec![kind("boolean")],
        Schema::Timestamp => vec![kind("timestamp")],
        Schema::Blob => vec![kind("blob")],
        Schema::Any => vec![kind("any")],
    })
}
