//! The XML of Query replies and errors.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use quick_xml::escape::escape;

use crate::{Error, Node};

/// `<XResponse><XResult>...</XResult><ResponseMetadata>...`; operations without output have no result element.
pub fn reply(namespace: &str, operation: &str, output: &Node, request_id: &str) -> String {
    let mut text = format!("<{operation}Response xmlns=\"{namespace}\">");
    if !matches!(output, Node::Null) {
        element(&mut text, &format!("{operation}Result"), output);
    }
    element(
        &mut text,
        "ResponseMetadata",
        &Node::Map(vec![(
            "RequestId".into(),
            Node::from(request_id.to_owned()),
        )]),
    );
    let _infallible = write!(text, "</{operation}Response>");
    text
}

/// The error envelope.
pub fn error(namespace: &str, error: &Error, request_id: &str) -> String {
    let kind = if error.status < 500 {
        "Sender"
    } else {
        "Receiver"
    };
    format!(
        "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{kind}</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
        error
            .query_code
            .map_or_else(|| escape(error.code.as_ref()), escape),
        escape(clean(&error.message).as_str()),
        escape(request_id),
    )
}

fn element(text: &mut String, name: &str, node: &Node) {
    let name = escape(name);
    let _infallible = write!(text, "<{name}>");
    content(text, node);
    let _infallible = write!(text, "</{name}>");
}

fn content(text: &mut String, node: &Node) {
    match node {
        Node::Null | Node::Stream(_) => {}
        Node::List(items) => {
            for item in items {
                element(text, "member", item);
            }
        }
        Node::Map(members) => {
            for (name, value) in members {
                element(text, name, value);
            }
        }
        Node::Entries(members) => {
            for (key, value) in members {
                text.push_str("<entry>");
                let _infallible = write!(text, "<key>{}</key>", escape(clean(key).as_str()));
                element(text, "value", value);
                text.push_str("</entry>");
            }
        }
        Node::Form(members) => {
            for (name, value) in members {
                element(text, name, value);
            }
        }
        Node::Bytes(bytes) => text.push_str(&BASE64.encode(bytes)),
        Node::Timestamp(millis) => text.push_str(&iso(*millis)),
        scalar => text.push_str(&escape(clean(&scalar.to_string()).as_str())),
    }
}

/// Characters that XML 1.0 cannot hold at all become the replacement character.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' | '\n' | '\r' => c,
            c if c < ' ' || c == '\u{fffe}' || c == '\u{ffff}' => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// ISO 8601 in UTC, without a fraction when it is zero.
fn iso(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| String::new(), |moment| moment.to_string())
}
