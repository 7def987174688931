//! Request bodies in, reply bodies out.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::Limits;

/// Room for bodies is counted in pages of this size, since a semaphore counts to 2^29 only.
const PAGE_BYTES: usize = 4096;
/// Of a refused request's body, so much is read and thrown away: a client that is still writing does not see
/// the answer.
const DISCARD_BYTES_MAX: usize = 128 << 20;
/// And for so long.
const DISCARD_WAIT_MAX: Duration = Duration::from_secs(10);

/// How many permits stand for so many bytes.
pub(crate) fn permits(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_BYTES).min(Semaphore::MAX_PERMITS)
}

/// Why a body was not read.
pub(crate) enum Unread {
    /// Longer than the operation takes.
    TooLarge,
    /// The client stopped sending.
    Slow,
    /// All room for bodies is taken.
    NoRoom,
    /// The connection broke.
    Broken,
}

/// A body, and the room it takes until its request is done.
pub(crate) struct Held {
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// Reads a whole body of at most `max` bytes.
pub(crate) async fn read(
    body: &mut Incoming,
    max: usize,
    room: &Arc<Semaphore>,
    limits: &Limits,
) -> Result<Held, Unread> {
    let announced = body.size_hint().exact();
    let announced = announced.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if announced.is_some_and(|bytes| bytes > max) {
        return Err(Unread::TooLarge);
    }
    let pages = permits(announced.unwrap_or(max).min(limits.body_bytes));
    let pages = u32::try_from(pages).unwrap_or(u32::MAX);
    let _room = match pages {
        0 => None,
        pages => {
            let place = timeout(limits.body_wait, room.clone().acquire_many_owned(pages)).await;
            let place = place.map_err(|_| Unread::NoRoom)?;
            Some(place.expect("the semaphore is never closed"))
        }
    };
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(data) = next(body, limits.body_wait).await? {
        if first.len() + rest.len() + data.len() > max {
            return Err(Unread::TooLarge);
        }
        // Small bodies come in one piece, which is kept as it is.
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(announced.unwrap_or(0).max(first.len() + data.len()));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    let bytes = if rest.is_empty() {
        first
    } else {
        rest.freeze()
    };
    Ok(Held { bytes, _room })
}

/// The next bytes; empty frames and trailers are passed over.
pub(crate) async fn next(body: &mut Incoming, wait: Duration) -> Result<Option<Bytes>, Unread> {
    loop {
        match timeout(wait, body.frame()).await {
            Err(_) => return Err(Unread::Slow),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Unread::Broken),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                _ => {}
            },
        }
    }
}

/// Reads what is left of a refused request, so that its client gets to read the refusal.
pub(crate) async fn discard(body: &mut Incoming) {
    let all = async {
        let mut seen = 0;
        while seen < DISCARD_BYTES_MAX {
            match next(body, DISCARD_WAIT_MAX).await {
                Ok(Some(data)) => seen += data.len(),
                _ => return,
            }
        }
    };
    // A client that takes longer may find its connection closed.
    let _ = timeout(DISCARD_WAIT_MAX, all).await;
}

/// The body of a reply.
pub(crate) enum ReplyBody {
    Whole(Full<Bytes>),
    Stream(wire::ByteStream),
}

impl From<wire::Body> for ReplyBody {
    fn from(body: wire::Body) -> Self {
        match body {
            wire::Body::Whole(bytes) => ReplyBody::Whole(Full::new(bytes)),
            wire::Body::Stream(stream) => ReplyBody::Stream(stream),
        }
    }
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            ReplyBody::Whole(whole) => {
                let frame = Pin::new(whole).poll_frame(cx);
                frame.map_err(|never: Infallible| match never {})
            }
            // An error ends the connection, so that the client does not take half a reply for a whole one.
            ReplyBody::Stream(stream) => stream
                .0
                .as_mut()
                .poll_next(cx)
                .map(|next| next.map(|data| data.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Whole(whole) => whole.is_end_stream(),
            ReplyBody::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Whole(whole) => whole.size_hint(),
            ReplyBody::Stream(_) => SizeHint::default(),
        }
    }
}
