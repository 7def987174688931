//! [`Node`]: one tree for every wire format. Protocols parse bytes into it and print it; shapes read and write it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::Shape;

/// A value on its way from or to the wire.
#[derive(Debug, Default)]
pub enum Node {
    /// Not there, or JSON's `null`. Left out of every reply.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string that the wire format says is a string.
    String(Cow<'static, str>),
    /// Text from a URL, a header or a form, which may stand for any scalar.
    Text(String),
    /// A blob; base64 in JSON and XML.
    Bytes(Bytes),
    /// A moment, in milliseconds since 1970; each protocol prints it its own way.
    Timestamp(i64),
    /// A list.
    List(Vec<Node>),
    /// A structure, or a map that was read, in order.
    Map(Vec<(Cow<'static, str>, Node)>),
    /// A map in a reply: like a structure in every format but XML, where each entry is an element of its own.
    Entries(Vec<(Cow<'static, str>, Node)>),
    /// The members below one prefix of a form (`A.member.1=x`), which may stand for a structure, a list or a map.
    Form(BTreeMap<String, Node>),
    /// A body that is sent while it is made, such as an event stream. Only ever a reply's payload.
    Stream(crate::ByteStream),
}

impl Node {
    /// Adds a member unless it is absent. Used by `#[derive(Shape)]`.
    pub fn push<T: Shape>(
        members: &mut Vec<(Cow<'static, str>, Node)>,
        name: &'static str,
        value: T,
    ) {
        match value.encode() {
            Node::Null => {}
            node => members.push((Cow::Borrowed(name), node)),
        }
    }

    /// Takes a member out of a structure.
    pub fn take(&mut self, name: &str) -> Option<Node> {
        match self {
            Node::Map(members) | Node::Entries(members) => {
                let index = members.iter().position(|(key, _)| key == name)?;
                Some(members.remove(index).1)
            }
            Node::Form(members) => members.remove(name),
            _ => None,
        }
    }

    /// A member of a structure.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match self {
            Node::Map(members) | Node::Entries(members) => {
                members.iter().find(|(key, _)| key == name).map(|(_, v)| v)
            }
            Node::Form(members) => members.get(name),
            _ => None,
        }
    }

    /// The text of a scalar that is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Node::String(text) => Some(text),
            Node::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&'static str> for Node {
    fn from(text: &'static str) -> Self {
        Node::String(Cow::Borrowed(text))
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Node::String(Cow::Owned(text))
    }
}

/// As AWS prints a value inside a validation message.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Null => f.write_str("null"),
            Node::Bool(value) => write!(f, "{value}"),
            Node::Int(value) => write!(f, "{value}"),
            Node::Float(value) => write!(f, "{value}"),
            Node::String(text) => f.write_str(text),
            Node::Text(text) => f.write_str(text),
            Node::Bytes(bytes) => write!(f, "java.nio.HeapByteBuffer[{} bytes]", bytes.len()),
            Node::Timestamp(millis) => write!(f, "{millis}"),
            Node::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Node::Map(members) | Node::Entries(members) => {
                f.write_str("{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}{name}={value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Node::Form(members) => {
                f.write_str("{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}{name}={value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Node::Stream(_) => f.write_str("(stream)"),
        }
    }
}

/// As JSON: blobs in base64, moments in seconds.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Null | Node::Stream(_) => to.serialize_unit(),
            Node::Bool(value) => to.serialize_bool(*value),
            Node::Int(value) => to.serialize_i64(*value),
            Node::Float(value) => to.serialize_f64(*value),
            Node::String(text) => to.serialize_str(text),
            Node::Text(text) => to.serialize_str(text),
            Node::Bytes(bytes) => to.serialize_str(&BASE64.encode(bytes)),
            Node::Timestamp(millis) if millis % 1000 == 0 => to.serialize_i64(millis / 1000),
            // A double holds milliseconds since 1970 exactly for the next 285,000 years.
            Node::Timestamp(millis) => to.serialize_f64(*millis as f64 / 1000.0),
            Node::List(items) => {
                let mut list = to.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Node::Map(members) | Node::Entries(members) => {
                let mut map = to.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
            Node::Form(members) => to.collect_map(members),
        }
    }
}

/// From JSON, where every value says what it is.
impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(i64::try_from(value).map_or(Node::Float(value as f64), Node::Int))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::String(Cow::Owned(value.to_owned())))
    }
    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::String(Cow::Owned(value)))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = from.next_entry::<String, Node>()? {
            members.push((Cow::Owned(name), value));
        }
        Ok(Node::Map(members))
    }
}
