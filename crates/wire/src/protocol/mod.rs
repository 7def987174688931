//! The protocols: how a request becomes a [`Node`], and how a node or an error becomes a reply.

mod cbor;
mod form;
mod gzip;
pub(crate) mod xml;

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_TYPE, HeaderName};
use http::request::Parts;

use crate::router::{Body, Profile, Reply, Row};
use crate::{Error, Http, Node, event_stream};

pub use form::{form, url_pairs};
pub use gzip::plain;

/// How a service and its clients talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `restJson1`: members in the path, the query, headers and a JSON body.
    RestJson,
    /// `awsJson1_0`: `X-Amz-Target` and a JSON body.
    Json10,
    /// `awsJson1_1`.
    Json11,
    /// `awsQuery`: a form in, XML out.
    Query,
    /// Smithy RPC v2 with CBOR bodies.
    Cbor,
}

/// A body that cannot be read at all.
pub enum Unreadable {
    /// Not in the protocol's format; the text says where.
    Body(String),
    /// Declared to be something else.
    ContentType(String),
}

/// Reads a request. Query requests are read by [`form`] instead, since their action is in the body.
pub fn decode(
    protocol: Protocol,
    http: &Http,
    head: &Parts,
    parameters: &[(&'static str, String)],
    body: Bytes,
) -> Result<Node, Unreadable> {
    match protocol {
        Protocol::RestJson => rest(http, head, parameters, body),
        Protocol::Json10 | Protocol::Json11 => {
            let declared = content_type(head);
            if !is_json(declared) {
                return Err(Unreadable::ContentType(declared.to_owned()));
            }
            json(&body)
        }
        Protocol::Cbor => cbor::decode(&body).map_err(Unreadable::Body),
        Protocol::Query => form(head.uri.query().unwrap_or_default(), &body)
            .map_err(|error| Unreadable::Body(error.message)),
    }
}

fn rest(
    http: &Http,
    head: &Parts,
    parameters: &[(&'static str, String)],
    body: Bytes,
) -> Result<Node, Unreadable> {
    let mut members = Vec::new();
    for (name, value) in parameters {
        members.push((Cow::Borrowed(*name), Node::Text(value.clone())));
    }
    for (header, name) in http.headers {
        if let Some(value) = head.headers.get(*header) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            members.push((Cow::Borrowed(*name), Node::Text(value)));
        }
    }
    let mut repeated: Vec<(&'static str, Vec<Node>)> = Vec::new();
    for (key, value) in url_pairs(head.uri.query().unwrap_or_default()) {
        let Some((_, name)) = http.query.iter().find(|(parameter, _)| *parameter == key) else {
            continue;
        };
        match repeated.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(Node::Text(value)),
            None => repeated.push((name, vec![Node::Text(value)])),
        }
    }
    for (name, mut values) in repeated {
        let node = match values.len() {
            1 => values.remove(0),
            _ => Node::List(values),
        };
        members.push((Cow::Borrowed(name), node));
    }
    match http.payload {
        Some(name) => members.push((Cow::Borrowed(name), Node::Bytes(body))),
        None if body.is_empty() => {}
        None => {
            let declared = content_type(head);
            if !declared.is_empty() && !is_json(declared) {
                return Err(Unreadable::ContentType(declared.to_owned()));
            }
            if let Node::Map(from_body) = json(&body)? {
                // What the URL says stands; a body cannot rename the resource that was authorized.
                let bound = members.len();
                for (name, value) in from_body {
                    if !members[..bound].iter().any(|(known, _)| *known == name) {
                        members.push((name, value));
                    }
                }
            }
        }
    }
    Ok(Node::Map(members))
}

fn content_type(head: &Parts) -> &str {
    let value = head.headers.get(CONTENT_TYPE);
    value.and_then(|v| v.to_str().ok()).unwrap_or_default()
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.starts_with("application/x-amz-json-1.")
        || essence.eq_ignore_ascii_case("application/json")
}

fn json(body: &Bytes) -> Result<Node, Unreadable> {
    if body.is_empty() {
        return Ok(Node::Map(Vec::new()));
    }
    match serde_json::from_slice(body) {
        Ok(node @ Node::Map(_)) => Ok(node),
        Ok(_) => Err(Unreadable::Body(
            "Unexpected token: the body must be a JSON object".to_owned(),
        )),
        Err(cause) => Err(Unreadable::Body(format!(
            "Could not parse request body into json: {cause}"
        ))),
    }
}

/// Prints a reply.
pub fn encode(
    protocol: Protocol,
    profile: &Profile,
    row: &Row,
    mut output: Node,
    request_id: &str,
) -> Result<Reply, Error> {
    if protocol == Protocol::RestJson {
        return encode_rest(&row.http, output, request_id);
    }
    if let Some(stream) = take_stream(&mut output) {
        return reply(
            200,
            event_stream::CONTENT_TYPE,
            Body::Stream(stream),
            request_id,
        );
    }
    let (content_type, body) = match protocol {
        Protocol::Json10 => ("application/x-amz-json-1.0", to_json(&output)?),
        Protocol::Json11 => ("application/x-amz-json-1.1", to_json(&output)?),
        Protocol::Cbor => ("application/cbor", cbor::encode(&output)),
        _ => (
            "text/xml",
            xml::reply(profile.xml_namespace, row.name, &output, request_id).into(),
        ),
    };
    let mut reply = reply(200, content_type, Body::Whole(body), request_id)?;
    if protocol == Protocol::Cbor {
        reply
            .headers_mut()
            .insert(SMITHY_PROTOCOL, HeaderValue::from_static("rpc-v2-cbor"));
    }
    Ok(reply)
}

pub(crate) const SMITHY_PROTOCOL: HeaderName = HeaderName::from_static("smithy-protocol");

/// A reply of an operation without members is an empty JSON object, or nothing where AWS sends nothing.
fn to_json(output: &Node) -> Result<Bytes, Error> {
    match output {
        Node::Map(members) if members.is_empty() => Ok(Bytes::from_static(b"{}")),
        // Operations without any output structure.
        Node::Null => Ok(Bytes::new()),
        output => serde_json::to_vec(output)
            .map(Bytes::from)
            .map_err(Error::internal),
    }
}

fn take_stream(output: &mut Node) -> Option<crate::ByteStream> {
    let Node::Map(members) = output else {
        return None;
    };
    let index = members
        .iter()
        .position(|(_, v)| matches!(v, Node::Stream(_)))?;
    match members.swap_remove(index).1 {
        Node::Stream(stream) => Some(stream),
        _ => None,
    }
}

fn encode_rest(http: &Http, mut output: Node, request_id: &str) -> Result<Reply, Error> {
    let status = match http.reply_status.and_then(|name| output.take(name)) {
        Some(Node::Int(status)) => u16::try_from(status).map_err(Error::internal)?,
        _ => http.status,
    };
    let mut headers = Vec::new();
    for (header, name) in http.reply_headers {
        if let Some(value) = output.take(name) {
            headers.push((*header, value.to_string()));
        }
    }
    let (content_type, body) = match http.reply_payload {
        Some(name) => match output.take(name) {
            Some(Node::Bytes(bytes)) => ("application/json", Body::Whole(bytes)),
            Some(Node::Stream(stream)) => (event_stream::CONTENT_TYPE, Body::Stream(stream)),
            Some(node) => ("application/json", Body::Whole(to_json(&node)?)),
            None => ("application/json", Body::Whole(Bytes::new())),
        },
        None if status == 204 => ("application/json", Body::Whole(Bytes::new())),
        None => ("application/json", Body::Whole(to_json(&output)?)),
    };
    let mut reply = reply(status, content_type, body, request_id)?;
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(Error::internal)?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(Error::internal)?;
        reply.headers_mut().insert(name, value);
    }
    Ok(reply)
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

fn reply(
    status: u16,
    content_type: &'static str,
    body: Body,
    request_id: &str,
) -> Result<Reply, Error> {
    let mut builder = http::Response::builder()
        .status(status)
        .header(REQUEST_ID, request_id);
    if status != 204 {
        builder = builder.header(CONTENT_TYPE, content_type);
    }
    builder.body(body).map_err(Error::internal)
}

/// Prints an error in the protocol's envelope.
pub fn error(
    protocol: Protocol,
    profile: &Profile,
    error: &Error,
    head: &Parts,
    request_id: &str,
) -> Reply {
    let code = error.code.as_ref();
    let (content_type, body) = match protocol {
        Protocol::Query => (
            "text/xml",
            xml::error(profile.xml_namespace, error, request_id).into_bytes(),
        ),
        Protocol::RestJson => ("application/json", json_error(None, error)),
        Protocol::Json10 => {
            let full = match profile.error_namespace {
                "" => code.to_owned(),
                namespace => format!("{namespace}#{code}"),
            };
            ("application/x-amz-json-1.0", json_error(Some(full), error))
        }
        Protocol::Json11 => (
            "application/x-amz-json-1.1",
            json_error(Some(code.to_owned()), error),
        ),
        Protocol::Cbor => (
            "application/cbor",
            cbor::encode(&error_node(Some(code.to_owned()), error)).to_vec(),
        ),
    };
    let mut builder = http::Response::builder()
        .status(error.status)
        .header(REQUEST_ID, request_id)
        .header(CONTENT_TYPE, content_type);
    if protocol == Protocol::RestJson {
        builder = builder.header("x-amzn-errortype", code);
    }
    if protocol == Protocol::Cbor {
        builder = builder.header(SMITHY_PROTOCOL, "rpc-v2-cbor");
    }
    if head
        .headers
        .get("x-amzn-query-mode")
        .is_some_and(|v| v == "true")
    {
        let sender = if error.status < 500 {
            "Sender"
        } else {
            "Receiver"
        };
        builder = builder.header(
            "x-amzn-query-error",
            format!("{};{sender}", error.query_code.unwrap_or(code)),
        );
    }
    for (name, value) in &error.headers {
        builder = builder.header(*name, value);
    }
    builder
        .body(Body::Whole(body.into()))
        .unwrap_or_else(|_| bare_failure())
}

/// When even an error cannot be printed: a code or header that is no HTTP header, which is a defect of ours.
fn bare_failure() -> Reply {
    let mut reply = http::Response::new(Body::Whole(Bytes::new()));
    *reply.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    reply
}

fn json_error(code: Option<String>, error: &Error) -> Vec<u8> {
    // A node of strings, numbers and lists always prints.
    serde_json::to_vec(&error_node(code, error)).unwrap_or_default()
}

fn error_node(code: Option<String>, error: &Error) -> Node {
    let mut members: Vec<(Cow<'static, str>, Node)> = Vec::new();
    if let Some(code) = code {
        members.push((Cow::Borrowed("__type"), Node::from(code)));
    }
    for (name, value) in &error.members {
        members.push((Cow::Borrowed(*name), Node::from(value.to_string())));
    }
    // A crate whose service spells it `Message` says so itself.
    if !error.members.iter().any(|(name, _)| *name == "Message") {
        members.push((Cow::Borrowed("message"), Node::from(error.message.clone())));
    }
    Node::Map(members)
}
