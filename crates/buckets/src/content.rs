//! Content on its way in and out, in pieces: no object is ever whole in memory.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use s3s::dto::StreamingBlob;
use store::{BlobStream, Blobs, Digest, Kv};
use wire::BodyFault;

use crate::access::Asked;
use crate::checksum::{Summed, Sums};
use crate::record::{Piece, SMALL_BYTES_MAX};
use crate::seal::{Salt, Secret, covering};
use crate::{Error, Result};

/// Content is written in pieces of at least this size, as each costs a hop to another thread.
const WRITE_BYTES: usize = 256 << 10;

/// Where content is, and what it is sealed with there.
#[derive(Clone, Copy)]
pub(crate) struct Vessel<'a> {
    pub blobs: &'a Arc<dyn Blobs>,
    pub kv: &'a Arc<dyn Kv>,
    pub secret: &'a Arc<Secret>,
}

/// Where the store has small content.
pub(crate) const SMALL: &str = "s3/content/";

/// Small content as it is to be written with the record that names it: its key in the store, and what is sealed.
pub(crate) type Small = (String, Bytes);

/// Writes a body to disk, and sums it up on the way.
pub(crate) async fn receive(
    vessel: Vessel<'_>,
    asked: &Arc<Asked>,
    body: Option<StreamingBlob>,
    sums: Sums,
    bytes_max: u64,
) -> Result<(Piece, Summed)> {
    let coming = Coming::new(vessel, asked, body, sums, bytes_max);
    let put = vessel.blobs.put_stream(coming.sealed).await;
    let summed = summed(&coming.state)?;
    let piece = Piece {
        digest: put?,
        size: summed.size,
        salt: Some(coming.salt),
        small: false,
    };
    Ok((piece, summed))
}

/// The same for a body that may be small: such a one is sealed in memory, and its record's to write.
pub(crate) async fn receive_any(
    vessel: Vessel<'_>,
    asked: &Arc<Asked>,
    body: Option<StreamingBlob>,
    sums: Sums,
    length: Option<u64>,
    bytes_max: u64,
) -> Result<(Piece, Summed, Option<Small>)> {
    if length.is_none_or(|length| length > SMALL_BYTES_MAX) {
        let (piece, summed) = receive(vessel, asked, body, sums, bytes_max).await?;
        return Ok((piece, summed, None));
    }
    let coming = Coming::new(vessel, asked, body, sums, SMALL_BYTES_MAX);
    let sealed = whole(coming.sealed).await;
    let summed = summed(&coming.state)?;
    let sealed = sealed?;
    let piece = Piece {
        digest: Digest::of(&sealed),
        size: summed.size,
        salt: Some(coming.salt),
        small: true,
    };
    Ok((piece, summed, Some((small_key(&piece), sealed))))
}

fn small_key(piece: &Piece) -> String {
    format!("{SMALL}{}", piece.digest)
}

/// Small content as it is in the store, to be named by another record too.
pub(crate) async fn small(vessel: Vessel<'_>, piece: &Piece) -> Result<Option<Small>> {
    let key = small_key(piece);
    let found = vessel.kv.get(&key).await?;
    Ok(found.map(|entry| (key, entry.value)))
}

/// A body on its way.
struct Coming {
    sealed: BlobStream,
    salt: Salt,
    state: Arc<Mutex<State>>,
}

impl Coming {
    fn new(
        vessel: Vessel<'_>,
        asked: &Arc<Asked>,
        body: Option<StreamingBlob>,
        sums: Sums,
        bytes_max: u64,
    ) -> Coming {
        let state = Arc::new(Mutex::new(State {
            sums: Some(sums),
            failure: None,
            bytes_max,
        }));
        let stream = match body {
            Some(body) => incoming(body, asked.clone(), state.clone()),
            None => Box::pin(stream::empty()) as BlobStream,
        };
        let salt = Salt::new();
        let sealed = vessel.secret.seal(&salt, stream);
        Coming {
            sealed,
            salt,
            state,
        }
    }
}

/// The sums of a body that has come, or why it was refused.
fn summed(state: &Mutex<State>) -> Result<Summed> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    match state.failure.take() {
        Some(failure) => Err(failure),
        None => Ok(state.sums.take().expect("nobody else takes it").finish()),
    }
}

struct State {
    sums: Option<Sums>,
    failure: Option<Error>,
    bytes_max: u64,
}

impl State {
    /// Notes why the body cannot be taken; the error itself only ends the stream.
    fn fail(&mut self, failure: Error) -> io::Error {
        self.failure = Some(failure);
        io::Error::other("the body is refused")
    }
}

fn incoming(body: StreamingBlob, asked: Arc<Asked>, state: Arc<Mutex<State>>) -> BlobStream {
    Box::pin(stream::try_unfold(Some(body), move |body| {
        let (asked, state) = (asked.clone(), state.clone());
        async move {
            let Some(mut body) = body else {
                return Ok(None);
            };
            let mut piece = BytesMut::new();
            loop {
                let next = body.next().await;
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                match next {
                    None if piece.is_empty() => return Ok(None),
                    None => return Ok(Some((piece.freeze(), None))),
                    Some(Err(cause)) => return Err(state.fail(refusal(&asked, &*cause))),
                    Some(Ok(bytes)) => {
                        let max = state.bytes_max;
                        let sums = state.sums.as_mut().expect("it is taken behind the end");
                        sums.update(&bytes);
                        if sums.size() > max {
                            return Err(state.fail(Error::EntityTooLarge));
                        }
                        if piece.is_empty() && bytes.len() >= WRITE_BYTES {
                            return Ok(Some((bytes, Some(body))));
                        }
                        piece.extend_from_slice(&bytes);
                        if piece.len() >= WRITE_BYTES {
                            return Ok(Some((piece.freeze(), Some(body))));
                        }
                    }
                }
            }
        }
    }))
}

/// Why a body broke off: the front door notes it with the request, as it gets lost on the way through s3s.
fn refusal(asked: &Asked, cause: &(dyn std::error::Error + 'static)) -> Error {
    let fault = asked.fault.get().cloned().or_else(|| fault_in(cause));
    match fault {
        Some(fault) => Error::Body(fault),
        None => Error::Internal(cause.to_string()),
    }
}

/// The fault inside an error of a body.
pub(crate) fn fault_in(cause: &(dyn std::error::Error + 'static)) -> Option<BodyFault> {
    if let Some(fault) = cause.downcast_ref::<BodyFault>() {
        return Some(fault.clone());
    }
    if let Some(inner) = cause
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        return fault_in(inner);
    }
    fault_in(cause.source()?)
}

/// The pieces, and of each the part, that hold a range of the content.
pub(crate) fn cut(pieces: &[Piece], range: &Range<u64>) -> VecDeque<(Piece, Range<u64>)> {
    let mut begin = 0;
    let mut found = VecDeque::new();
    for piece in pieces {
        let (from, to) = (range.start.max(begin), range.end.min(begin + piece.size));
        if from < to {
            found.push_back((*piece, from - begin..to - begin));
        }
        begin += piece.size;
    }
    found
}

/// Reads a range of the content, a piece at a time. The first piece is opened at once, so that what is missing is an error
/// and not half a reply.
pub(crate) async fn read(
    vessel: Vessel<'_>,
    pieces: &[Piece],
    range: &Range<u64>,
) -> Result<BlobStream> {
    let mut rest = cut(pieces, range);
    let Some((first, part)) = rest.pop_front() else {
        return Ok(Box::pin(stream::empty()));
    };
    let first = open(vessel, &first, part)
        .await
        .map_err(|error| Error::Internal(error.to_string()))?;
    let (blobs, kv, secret) = (
        vessel.blobs.clone(),
        vessel.kv.clone(),
        vessel.secret.clone(),
    );
    let others = stream::iter(rest).then(move |(piece, part)| {
        let (blobs, kv, secret) = (blobs.clone(), kv.clone(), secret.clone());
        async move {
            let vessel = Vessel {
                blobs: &blobs,
                kv: &kv,
                secret: &secret,
            };
            open(vessel, &piece, part).await
        }
    });
    Ok(Box::pin(first.chain(others.try_flatten())))
}

async fn open(vessel: Vessel<'_>, piece: &Piece, part: Range<u64>) -> io::Result<BlobStream> {
    let there = match piece.salt {
        Some(_) => covering(&part, piece.size),
        // It was written before content was sealed.
        None => part.clone(),
    };
    let missing = || io::Error::other(format!("the content {} is missing", piece.digest));
    let found = if piece.small {
        let entry = vessel.kv.get(&small_key(piece)).await;
        let entry = entry.map_err(io::Error::other)?.ok_or_else(missing)?;
        // Small content is one chunk, which is opened as a whole.
        Box::pin(stream::iter([Ok(entry.value)])) as BlobStream
    } else {
        let found = vessel.blobs.get_stream(&piece.digest, Some(there)).await;
        found.map_err(io::Error::other)?.ok_or_else(missing)?
    };
    Ok(match &piece.salt {
        Some(salt) => vessel.secret.open(salt, part, found),
        None => found,
    })
}

/// A body for s3s.
pub(crate) fn body(stream: BlobStream) -> s3s::Body {
    let frames = stream.map_ok(Frame::data);
    s3s::Body::http_body_unsync(StreamBody::new(frames))
}

/// All of some content that is known to be small.
pub(crate) async fn whole(mut stream: BlobStream) -> Result<Bytes> {
    let mut all = BytesMut::new();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece.map_err(|error| Error::Internal(error.to_string()))?);
    }
    Ok(all.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Digest;

    #[test]
    fn ranges_over_pieces() {
        let piece = |size| Piece {
            digest: Digest::of(b""),
            size,
            salt: None,
            small: false,
        };
        let pieces = [piece(10), piece(0), piece(5)];
        let check = |range: Range<u64>, expected: &[(u64, Range<u64>)]| {
            let found: Vec<_> = cut(&pieces, &range)
                .into_iter()
                .map(|(piece, part)| (piece.size, part))
                .collect();
            assert_eq!(found, expected, "{range:?}");
        };
        check(0..15, &[(10, 0..10), (5, 0..5)]);
        check(3..4, &[(10, 3..4)]);
        check(9..11, &[(10, 9..10), (5, 0..1)]);
        check(10..15, &[(5, 0..5)]);
        check(4..4, &[]);
    }
}
