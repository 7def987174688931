//! Encryption at rest, as AWS does it with everything (AmazonS3/latest/userguide/UsingServerSideEncryption.html). Each blob has
//! a key of its own, made of the server's secret and the blob's salt, and is sealed with AES-256-GCM in chunks, so that a part
//! of it can be read without the rest. Decision 021 says what that keeps safe, and from whom.

use std::io;
use std::ops::Range;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use bytes::{Bytes, BytesMut};
use futures_util::{TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use store::BlobStream;

use crate::object::hex;

/// What is sealed together.
const CHUNK_BYTES: usize = 64 << 10;
/// What AES-GCM adds to each chunk.
const TAG_BYTES: usize = 16;
const SEALED_BYTES: usize = CHUNK_BYTES + TAG_BYTES;
/// Keeps these keys from being taken for any others.
const PURPOSE: &[u8] = b"mayfly object 1";

/// What the keys of all blobs are made of.
pub struct Secret(hkdf::Prk);

/// What makes the key of one blob: never used twice, so that the chunks' numbers are nonces enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Salt([u8; 16]);

impl From<Salt> for String {
    fn from(salt: Salt) -> String {
        hex(&salt.0)
    }
}

impl TryFrom<String> for Salt {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = u128::from_str_radix(&text, 16).ok();
        let number = number.filter(|_| text.len() == 32);
        let number = number.ok_or_else(|| format!("'{text}' is no salt"))?;
        Ok(Salt(number.to_be_bytes()))
    }
}

impl Salt {
    /// A new one.
    pub fn new() -> Self {
        Salt(*uuid::Uuid::new_v4().as_bytes())
    }
}

impl Secret {
    /// With these bytes, which must be kept as long as the objects.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Secret(hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, bytes))
    }

    fn key(&self, salt: &Salt) -> Key {
        let info = [PURPOSE, &salt.0];
        let made = self.0.expand(&info, &AES_256_GCM);
        Key(LessSafeKey::new(UnboundKey::from(
            made.expect("a key is shorter than 255 hashes"),
        )))
    }

    /// Content as it is written to disk.
    pub(crate) fn seal(&self, salt: &Salt, content: BlobStream) -> BlobStream {
        let state = Sealing {
            key: self.key(salt),
            content: Some(content),
            waiting: BytesMut::new(),
            next: 0,
        };
        Box::pin(stream::try_unfold(state, |mut state| async {
            let piece = state.piece().await?;
            Ok(piece.map(|piece| (piece, state)))
        }))
    }

    /// The part of the content that a range covers, of chunks as [`covering`] says. What was changed on disk is an error.
    pub(crate) fn open(&self, salt: &Salt, range: Range<u64>, sealed: BlobStream) -> BlobStream {
        let state = Opening {
            key: self.key(salt),
            sealed: Some(sealed),
            waiting: BytesMut::new(),
            next: range.start / CHUNK_BYTES as u64,
            range,
        };
        Box::pin(stream::try_unfold(state, |mut state| async {
            let piece = state.piece().await?;
            Ok(piece.map(|piece| (piece, state)))
        }))
    }
}

/// Where the chunks lie that a range of the content is in, for content of this size.
pub(crate) fn covering(range: &Range<u64>, size: u64) -> Range<u64> {
    let (chunk, sealed) = (CHUNK_BYTES as u64, SEALED_BYTES as u64);
    let whole = size + size.div_ceil(chunk) * TAG_BYTES as u64;
    range.start / chunk * sealed..(range.end.div_ceil(chunk) * sealed).min(whole)
}

/// The key of one blob.
struct Key(LessSafeKey);

impl Key {
    fn nonce(number: u64) -> Nonce {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&number.to_be_bytes());
        Nonce::assume_unique_for_key(bytes)
    }

    fn seal(&self, number: u64, chunk: &[u8], into: &mut BytesMut) -> io::Result<()> {
        let at = into.len();
        into.extend_from_slice(chunk);
        let tag =
            self.0
                .seal_in_place_separate_tag(Key::nonce(number), Aad::empty(), &mut into[at..]);
        let tag = tag.map_err(|_| io::Error::other("content cannot be sealed"))?;
        into.extend_from_slice(tag.as_ref());
        Ok(())
    }

    fn open(&self, number: u64, mut chunk: BytesMut) -> io::Result<Bytes> {
        let opened = self
            .0
            .open_in_place(Key::nonce(number), Aad::empty(), &mut chunk);
        let damaged = || {
            io::Error::other("content is damaged, or secrets.key is not the one it was sealed with")
        };
        let length = opened.map_err(|_| damaged())?.len();
        chunk.truncate(length);
        Ok(chunk.freeze())
    }
}

struct Sealing {
    key: Key,
    /// `None` behind the end.
    content: Option<BlobStream>,
    waiting: BytesMut,
    next: u64,
}

impl Sealing {
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        while let Some(content) = &mut self.content
            && self.waiting.len() < CHUNK_BYTES
        {
            match content.try_next().await? {
                Some(piece) => self.waiting.extend_from_slice(&piece),
                None => self.content = None,
            }
        }
        // Whole chunks, and behind the end whatever is left.
        let ready = match self.content {
            Some(_) => self.waiting.len() / CHUNK_BYTES * CHUNK_BYTES,
            None => self.waiting.len(),
        };
        let ready = self.waiting.split_to(ready);
        let mut sealed =
            BytesMut::with_capacity(ready.len() + ready.len().div_ceil(CHUNK_BYTES) * TAG_BYTES);
        for chunk in ready.chunks(CHUNK_BYTES) {
            self.key.seal(self.next, chunk, &mut sealed)?;
            self.next += 1;
        }
        Ok(Some(sealed.freeze()).filter(|sealed| !sealed.is_empty()))
    }
}

struct Opening {
    key: Key,
    /// `None` behind the end.
    sealed: Option<BlobStream>,
    waiting: BytesMut,
    next: u64,
    /// Of the content, what is still wanted.
    range: Range<u64>,
}

impl Opening {
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        if self.range.is_empty() {
            return Ok(None);
        }
        while let Some(sealed) = &mut self.sealed
            && self.waiting.len() < SEALED_BYTES
        {
            match sealed.try_next().await? {
                Some(piece) => self.waiting.extend_from_slice(&piece),
                None => self.sealed = None,
            }
        }
        let ready = self.waiting.len().min(SEALED_BYTES);
        let mut chunk = self.key.open(self.next, self.waiting.split_to(ready))?;
        let begin = self.next * CHUNK_BYTES as u64;
        self.next += 1;
        let within = |at: u64| {
            let at = usize::try_from(at.saturating_sub(begin)).unwrap_or(usize::MAX);
            at.min(CHUNK_BYTES)
        };
        let (from, to) = (within(self.range.start), within(self.range.end));
        if to > chunk.len() || from >= to {
            return Err(io::Error::other("content is shorter than it was"));
        }
        chunk = chunk.slice(from..to);
        self.range.start += chunk.len() as u64;
        Ok(Some(chunk))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    const C: u64 = CHUNK_BYTES as u64;

    fn streamed(content: &[u8], pieces: usize) -> BlobStream {
        let pieces: Vec<_> = content
            .chunks(pieces)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        Box::pin(stream::iter(pieces))
    }

    async fn collected(stream: BlobStream) -> io::Result<Vec<u8>> {
        let pieces: Vec<Bytes> = stream.try_collect().await?;
        Ok(pieces.concat())
    }

    fn content(size: u64) -> Vec<u8> {
        (0..size).map(|n| (n * 7 % 251) as u8).collect()
    }

    #[tokio::test]
    async fn every_range_of_what_is_sealed_opens() {
        let (secret, salt) = (Secret::new(&[7; 32]), Salt::new());
        for size in [0, 1, C - 1, C, C + 1, 3 * C, 3 * C + 5] {
            let plain = content(size);
            let sealed = collected(secret.seal(&salt, streamed(&plain, 10_000)))
                .await
                .unwrap();
            assert_eq!(sealed.len() as u64, covering(&(0..size), size).end);
            let edges = [
                0,
                1,
                C - 1,
                C,
                C + 1,
                2 * C,
                size / 2,
                size.saturating_sub(1),
                size,
            ];
            for from in edges {
                for to in edges.into_iter().filter(|to| from <= *to && *to <= size) {
                    let there = covering(&(from..to), size);
                    let part = if from == to {
                        &[][..]
                    } else {
                        &sealed[there.start as usize..there.end as usize]
                    };
                    let opened = secret.open(&salt, from..to, streamed(part, 30_000));
                    let expected = &plain[from as usize..to as usize];
                    assert_eq!(
                        collected(opened).await.unwrap(),
                        expected,
                        "{from}..{to} of {size}"
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn what_was_changed_does_not_open() {
        let (secret, salt) = (Secret::new(&[7; 32]), Salt::new());
        let plain = content(2 * C + 5);
        let sealed = collected(secret.seal(&salt, streamed(&plain, 1 << 20)))
            .await
            .unwrap();
        assert!(!sealed.windows(16).any(|part| part == &plain[..16]));
        let check = async |sealed: Vec<u8>, secret: &Secret, salt: &Salt| {
            let mut opened = secret.open(salt, 0..2 * C + 5, streamed(&sealed, 1 << 20));
            let mut last = None;
            while let Some(piece) = opened.next().await {
                last = Some(piece);
            }
            assert!(last.unwrap().is_err());
        };
        let mut flipped = sealed.clone();
        flipped[SEALED_BYTES + 3] ^= 1;
        check(flipped, &secret, &salt).await;
        let mut swapped = sealed[SEALED_BYTES..2 * SEALED_BYTES].to_vec();
        swapped.extend_from_slice(&sealed[..SEALED_BYTES]);
        swapped.extend_from_slice(&sealed[2 * SEALED_BYTES..]);
        check(swapped, &secret, &salt).await;
        check(sealed[..2 * SEALED_BYTES].to_vec(), &secret, &salt).await;
        check(sealed.clone(), &Secret::new(&[8; 32]), &salt).await;
        check(sealed, &secret, &Salt::new()).await;
    }

    #[test]
    fn salts_are_kept_as_text() {
        let salt = Salt([1; 16]);
        let text = serde_json::to_string(&salt).unwrap();
        assert_eq!(text, format!("\"{}\"", "01".repeat(16)));
        assert_eq!(serde_json::from_str::<Salt>(&text).unwrap(), salt);
        assert!(serde_json::from_str::<Salt>("\"01\"").is_err());
    }
}
