//! The binary event stream (`application/vnd.amazon.eventstream`) of streaming replies.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;

use crate::Error;

/// The content type of a reply that is an event stream.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// One event, framed. `content_type` is `application/json` for structures and `application/octet-stream` for blobs.
pub fn event(event_type: &str, content_type: &str, payload: Bytes) -> Result<Bytes, Error> {
    frame("event", (":event-type", event_type), content_type, payload)
}

/// An error that ends the stream, framed.
pub fn exception(code: &str, payload: Bytes) -> Result<Bytes, Error> {
    frame(
        "exception",
        (":exception-type", code),
        "application/json",
        payload,
    )
}

fn frame(
    message_type: &str,
    kind: (&'static str, &str),
    content_type: &str,
    payload: Bytes,
) -> Result<Bytes, Error> {
    let text = |value: &str| HeaderValue::String(value.to_owned().into());
    let message = Message::new(payload)
        .add_header(Header::new(":message-type", text(message_type)))
        .add_header(Header::new(kind.0, text(kind.1)))
        .add_header(Header::new(":content-type", text(content_type)));
    let mut framed = Vec::new();
    write_message_to(&message, &mut framed).map_err(Error::internal)?;
    Ok(framed.into())
}
