//! Large immutable content, named by its SHA-256.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;

use async_trait::async_trait;
use aws_lc_rs::digest;
use bytes::Bytes;
use futures_util::Stream;

use crate::Result;

/// Content in pieces.
pub type BlobStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// Content by digest. How large a blob may be is the caller's business: it knows whose disk it fills.
///
/// Whoever collects garbage lists, takes out what is referred to, and calls [`Blobs::delete_untouched`] with the
/// time its marking began, so that content put again in the meantime survives.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Stores the content; free when it is there already (but it counts as touched).
    async fn put(&self, content: Bytes) -> Result<Digest>;

    /// Stores the content as it comes; an error in the stream stores nothing.
    async fn put_stream(&self, content: BlobStream) -> Result<Digest>;

    /// Notes that the content is wanted again, as [`Blobs::put`] would, and tells whether it is there.
    async fn touch(&self, digest: &Digest) -> Result<bool>;

    /// The content, or the part of it that `range` covers; `None` when there is no such blob.
    async fn get(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Bytes>>;

    /// Like [`Blobs::get`], in pieces.
    async fn get_stream(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<BlobStream>>;

    /// Size and time of last touch; `None` when there is no such blob.
    async fn info(&self, digest: &Digest) -> Result<Option<BlobInfo>>;

    /// The file that holds the content, for backends that have one. It must not be changed.
    fn path(&self, digest: &Digest) -> Option<PathBuf>;

    /// Removes the content and tells whether there was any.
    async fn delete(&self, digest: &Digest) -> Result<bool>;

    /// Removes the content unless it was put (again) at or after `since_ms`, and tells whether it did.
    async fn delete_untouched(&self, digest: &Digest, since_ms: i64) -> Result<bool>;

    /// At most `limit` blobs in order of digest, beginning after `after`; only an empty page is the end.
    async fn list(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobInfo>>;
}

/// What is known of a blob without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// When it was last put.
    pub touched_ms: i64,
}

/// The SHA-256 of some content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of this content.
    pub fn of(content: &[u8]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(content);
        hasher.finish()
    }

    /// The digest itself, for those who spell it otherwise (Lambda's `CodeSha256` is base64).
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest as 64 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits =
            |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)]));
        f.write_str(&self.0.iter().flat_map(digits).collect::<String>())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 64 lower-case hexadecimal digits")]
pub struct InvalidDigest;

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Digest, InvalidDigest> {
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(InvalidDigest);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Digest(bytes))
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn nibble(digit: u8) -> Result<u8, InvalidDigest> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(InvalidDigest),
    }
}

/// Makes a [`Digest`] of content that comes in pieces.
pub(crate) struct Hasher(digest::Context);

impl Hasher {
    pub(crate) fn new() -> Hasher {
        Hasher(digest::Context::new(&digest::SHA256))
    }

    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    pub(crate) fn finish(self) -> Digest {
        let digest = self.0.finish();
        Digest(digest.as_ref().try_into().expect("a SHA-256 has 32 bytes"))
    }
}

/// The part of a blob of `size` bytes that `range` covers.
pub(crate) fn clamp(range: Option<&Range<u64>>, size: u64) -> Range<u64> {
    let Some(range) = range else { return 0..size };
    let start = range.start.min(size);
    start..range.end.clamp(start, size)
}
