//! CBOR, for Smithy RPC v2.

use std::borrow::Cow;

use bytes::Bytes;
use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder};

use crate::Node;

/// The deepest nesting that is read.
const DEPTH_MAX: usize = 64;

/// Reads one value, which must be all there is.
pub fn decode(body: &Bytes) -> Result<Node, String> {
    if body.is_empty() {
        return Ok(Node::Map(Vec::new()));
    }
    let mut from = Decoder::new(body);
    let node = value(&mut from, 0)
        .map_err(|cause| format!("Could not parse request body into CBOR: {cause}"))?;
    match node {
        Node::Map(_) if from.position() == body.len() => Ok(node),
        _ => Err("The request body must be one CBOR map".to_owned()),
    }
}

fn value(from: &mut Decoder<'_>, depth: usize) -> Result<Node, minicbor::decode::Error> {
    if depth > DEPTH_MAX {
        return Err(minicbor::decode::Error::message("nested too deeply"));
    }
    Ok(match from.datatype()? {
        Type::Null | Type::Undefined => {
            from.skip()?;
            Node::Null
        }
        Type::Bool => Node::Bool(from.bool()?),
        Type::U8
        | Type::U16
        | Type::U32
        | Type::U64
        | Type::I8
        | Type::I16
        | Type::I32
        | Type::I64
        | Type::Int => {
            let number = i128::from(from.int()?);
            i64::try_from(number).map_or(Node::Float(number as f64), Node::Int)
        }
        Type::F16 => Node::Float(f64::from(from.f16()?)),
        Type::F32 => Node::Float(f64::from(from.f32()?)),
        Type::F64 => Node::Float(from.f64()?),
        Type::String => Node::from(from.str()?.to_owned()),
        Type::StringIndef => {
            let mut text = String::new();
            for part in from.str_iter()? {
                text.push_str(part?);
            }
            Node::from(text)
        }
        Type::Bytes => Node::Bytes(Bytes::copy_from_slice(from.bytes()?)),
        Type::BytesIndef => {
            let mut bytes = Vec::new();
            for part in from.bytes_iter()? {
                bytes.extend_from_slice(part?);
            }
            Node::Bytes(bytes.into())
        }
        Type::Array | Type::ArrayIndef => {
            let length = from.array()?;
            let mut items = Vec::new();
            while more(from, length, items.len())? {
                items.push(value(from, depth + 1)?);
            }
            Node::List(items)
        }
        Type::Map | Type::MapIndef => {
            let length = from.map()?;
            let mut members = Vec::new();
            while more(from, length, members.len())? {
                let name = match value(from, depth + 1)? {
                    Node::String(name) => name,
                    _ => return Err(minicbor::decode::Error::message("a map key must be text")),
                };
                members.push((name, value(from, depth + 1)?));
            }
            Node::Map(members)
        }
        Type::Tag => {
            let tag = from.tag()?;
            match (tag.as_u64(), value(from, depth + 1)?) {
                (1, Node::Int(seconds)) => Node::Timestamp(seconds.saturating_mul(1000)),
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "a cast saturates, and such a moment is refused later"
                )]
                (1, Node::Float(seconds)) => Node::Timestamp((seconds * 1000.0).round() as i64),
                (_, node) => node,
            }
        }
        other => {
            return Err(minicbor::decode::Error::message(format!(
                "unexpected {other}"
            )));
        }
    })
}

/// Whether another item follows in a container of known or unknown length.
fn more(
    from: &mut Decoder<'_>,
    length: Option<u64>,
    read: usize,
) -> Result<bool, minicbor::decode::Error> {
    match length {
        Some(length) => Ok((read as u64) < length),
        None if from.datatype()? == Type::Break => {
            from.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

/// Prints a value.
pub fn encode(node: &Node) -> Bytes {
    let mut to = Encoder::new(Vec::new());
    match write(&mut to, node) {
        Ok(()) => to.into_writer().into(),
        Err(never) => match never.as_write() {
            // Writing to a vector cannot fail.
            Some(infallible) => match *infallible {},
            None => Bytes::new(),
        },
    }
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn write(to: &mut Encoder<Vec<u8>>, node: &Node) -> Written {
    match node {
        Node::Null | Node::Stream(_) => to.null()?,
        Node::Bool(value) => to.bool(*value)?,
        Node::Int(value) => to.i64(*value)?,
        Node::Float(value) => to.f64(*value)?,
        Node::String(text) => to.str(text)?,
        Node::Text(text) => to.str(text)?,
        Node::Bytes(bytes) => to.bytes(bytes)?,
        Node::Timestamp(millis) => to.tag(Tag::new(1))?.f64(*millis as f64 / 1000.0)?,
        Node::List(items) => {
            to.array(items.len() as u64)?;
            for item in items {
                write(to, item)?;
            }
            to
        }
        Node::Map(members) | Node::Entries(members) => {
            return entries(
                to,
                members.iter().map(|(k, v)| (k.as_ref(), v)),
                members.len(),
            );
        }
        Node::Form(members) => {
            return entries(
                to,
                members.iter().map(|(k, v)| (k.as_str(), v)),
                members.len(),
            );
        }
    };
    Ok(())
}

fn entries<'a>(
    to: &mut Encoder<Vec<u8>>,
    members: impl Iterator<Item = (&'a str, &'a Node)>,
    count: usize,
) -> Written {
    to.map(count as u64)?;
    for (name, value) in members {
        to.str(Cow::Borrowed(name).as_ref())?;
        write(to, value)?;
    }
    Ok(())
}
