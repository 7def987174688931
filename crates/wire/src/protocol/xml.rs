//! The XML of Query replies and errors, and XML as JSON has it.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use quick_xml::Reader;
use quick_xml::escape::{escape, unescape};
use quick_xml::events::{BytesStart, Event};

use crate::{Error, Node};

/// How deep elements may lie in a document that is read.
const DEPTH_MAX: usize = 32;
/// How many names an element of such a document may have below it.
const NAMES_MAX: usize = 1000;

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

/// What a document says, as CloudTrail turns XML into JSON: attributes are members, elements that repeat are lists, and text is
/// the number or the boolean that it says. `None` if it is no document, or one that goes too deep.
pub fn document(text: &str) -> Option<Node> {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => open.push(Element::of(&tag)?),
            Event::Empty(tag) => open.last_mut()?.add(Element::of(&tag)?)?,
            Event::End(_) => {
                let closed = open.pop()?;
                open.last_mut()?.add(closed)?;
            }
            Event::Text(text) => open.last_mut()?.text += &text.xml10_content(),
            Event::CData(text) => open.last_mut()?.text += &text.xml10_content(),
            Event::GeneralRef(name) => {
                open.last_mut()?.text += &unescape(&format!("&{};", &*name)).ok()?;
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
        if open.len() > DEPTH_MAX {
            return None;
        }
    }
    let whole = open.pop()?;
    open.is_empty().then_some(Node::Map(whole.members))
}

/// An element that is being read.
#[derive(Default)]
struct Element {
    name: String,
    members: Vec<(Cow<'static, str>, Node)>,
    text: String,
}

impl Element {
    fn of(tag: &BytesStart<'_>) -> Option<Element> {
        let mut element = Element {
            name: tag.name().0.to_owned(),
            ..Element::default()
        };
        for attribute in tag.attributes() {
            let attribute = attribute.ok()?;
            let value = unescape(&attribute.value).ok()?.into_owned();
            let name = attribute.key.0.to_owned();
            element.members.push((Cow::Owned(name), Node::from(value)));
        }
        Some(element)
    }

    /// Takes in an element that is closed, unless there are too many.
    fn add(&mut self, closed: Element) -> Option<()> {
        let Element {
            name,
            mut members,
            text,
        } = closed;
        let node = match (members.is_empty(), text.trim()) {
            (true, text) => scalar(text),
            (false, "") => Node::Map(members),
            (false, text) => {
                members.push(("content".into(), scalar(text)));
                Node::Map(members)
            }
        };
        match self.members.iter_mut().find(|(own, _)| *own == name) {
            None => self.members.push((Cow::Owned(name), node)),
            Some((_, Node::List(items))) => items.push(node),
            Some((_, first)) => *first = Node::List(vec![std::mem::take(first), node]),
        }
        (self.members.len() <= NAMES_MAX).then_some(())
    }
}

fn scalar(text: &str) -> Node {
    match (text, text.parse::<i64>()) {
        ("true", _) => Node::Bool(true),
        ("false", _) => Node::Bool(false),
        // Only what is written the same way again: 007 is no number.
        (_, Ok(number)) if number.to_string() == text => Node::Int(number),
        _ => Node::from(text.to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let read = document(text).map(|node| serde_json::to_string(&node).unwrap());
        assert_eq!(read.as_deref().unwrap_or("-"), expected, "{text}");
    }

    #[test]
    fn documents_as_json() {
        check(
            r#"<?xml version="1.0"?><A xmlns="http://x/"><B>a &lt; b&#33;</B><C>7</C><C>007</C><D>true</D><E/></A>"#,
            r#"{"A":{"xmlns":"http://x/","B":"a < b!","C":[7,"007"],"D":true,"E":""}}"#,
        );
        check(
            "<A>\n <B><![CDATA[<&]]></B>\n <B>-1</B><B>x</B>\n</A>",
            r#"{"A":{"B":["<&",-1,"x"]}}"#,
        );
        check(r#"<A x="1">y</A>"#, r#"{"A":{"x":"1","content":"y"}}"#);
        check("", "{}");
        check("<A><B></A>", "-");
        check("</A>", "-");
        check("<A>", "-");
        check("<A>&nothing;</A>", "-");
        check(&"<A>".repeat(40), "-");
    }
}
