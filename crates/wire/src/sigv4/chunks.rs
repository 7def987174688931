//! Bodies that come in chunks (`aws-chunked`), each with its length and, unless the payload is unsigned, its signature; then
//! trailing headers, mostly a checksum (AmazonS3/latest/API/sigv4-streaming.html and sigv4-streaming-trailers.html).

use aws_lc_rs::digest;
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use subtle::ConstantTimeEq;

use super::canonical::{hex, unhex};
use super::keys::{SigningKey, mac};
use super::{ALGORITHM, Sha256, sha256};

/// The longest line before a chunk, and the longest trailing header.
const LINE_BYTES_MAX: usize = 4096;
/// Trailing headers. SDKs send one, and its signature.
const TRAILERS_MAX: usize = 8;

/// Why a chunked body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkFault {
    /// It has not the form of one.
    #[error("The chunked encoding of the body is malformed.")]
    Malformed,
    /// It ends too early, or has another length than announced.
    #[error(
        "You did not provide the number of bytes specified by the x-amz-decoded-content-length HTTP header"
    )]
    Incomplete,
    /// A chunk's signature, or that of the trailing headers, is not the one we compute.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your key and signing method."
    )]
    Mismatch,
}

/// Takes a chunked body apart, as it comes. Content is handed on before its chunk's signature is compared: whoever uses it
/// must not take it for whole before [`Chunks::finish`].
pub struct Chunks {
    at: At,
    line: BytesMut,
    signing: Option<Signing>,
    trailers: HeaderMap,
    /// The trailing headers as they are signed.
    trailer_lines: String,
    trailer_signature: Option<Sha256>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the line before a chunk.
    Length,
    /// In a chunk, with so many bytes to come.
    Content(u64),
    /// In the line break behind a chunk.
    Break,
    /// In the trailing headers.
    Trailers,
    /// Behind the empty line.
    End,
}

struct Signing {
    key: SigningKey,
    date: String,
    scope: String,
    previous: Sha256,
    /// What the present chunk says it is signed with.
    claimed: Sha256,
    hasher: digest::Context,
}

impl Signing {
    fn compare(
        &mut self,
        kind: &str,
        hashes: &[Sha256],
        claimed: &Sha256,
    ) -> Result<(), ChunkFault> {
        let hashes: Vec<String> = hashes.iter().map(hex).collect();
        let text = format!(
            "{ALGORITHM}-{kind}\n{}\n{}\n{}\n{}",
            self.date,
            self.scope,
            hex(&self.previous),
            hashes.join("\n")
        );
        let signature = mac(&self.key, text.as_bytes());
        if !bool::from(signature.ct_eq(claimed)) {
            return Err(ChunkFault::Mismatch);
        }
        self.previous = signature;
        Ok(())
    }

    fn end_of_chunk(&mut self) -> Result<(), ChunkFault> {
        let hasher = std::mem::replace(&mut self.hasher, digest::Context::new(&digest::SHA256));
        let mut content = [0; 32];
        content.copy_from_slice(hasher.finish().as_ref());
        let claimed = self.claimed;
        self.compare("PAYLOAD", &[sha256(b""), content], &claimed)
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Chunks::unsigned()
    }
}

impl Chunks {
    /// Reads chunks without signatures.
    pub fn unsigned() -> Self {
        Chunks {
            at: At::Length,
            line: BytesMut::new(),
            signing: None,
            trailers: HeaderMap::new(),
            trailer_lines: String::new(),
            trailer_signature: None,
        }
    }

    pub(super) fn signed(key: SigningKey, date: String, scope: String, seed: Sha256) -> Self {
        let signing = Signing {
            key,
            date,
            scope,
            previous: seed,
            claimed: [0; 32],
            hasher: digest::Context::new(&digest::SHA256),
        };
        Chunks {
            signing: Some(signing),
            ..Chunks::unsigned()
        }
    }

    /// Reads on, and returns the next piece of content; `None` when all of `input` is read.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, ChunkFault> {
        while !input.is_empty() {
            match self.at {
                At::Content(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let piece = input.split_to(here);
                    self.at = match left - piece.len() as u64 {
                        0 => At::Break,
                        left => At::Content(left),
                    };
                    if let Some(signing) = &mut self.signing {
                        signing.hasher.update(&piece);
                        if self.at == At::Break {
                            signing.end_of_chunk()?;
                        }
                    }
                    return Ok(Some(piece));
                }
                At::End => return Err(ChunkFault::Malformed),
                At::Length | At::Break | At::Trailers => {
                    if let Some(line) = self.read_line(input)? {
                        self.take_line(&line)?;
                    }
                }
            }
        }
        Ok(None)
    }

    /// The trailing headers, once the whole body is read.
    pub fn finish(mut self) -> Result<HeaderMap, ChunkFault> {
        // Some signers leave out the last line break.
        if self.at != At::End && !(self.at == At::Trailers && self.line.is_empty()) {
            return Err(ChunkFault::Incomplete);
        }
        if let Some(signing) = &mut self.signing
            && !self.trailer_lines.is_empty()
        {
            let claimed = self.trailer_signature.ok_or(ChunkFault::Mismatch)?;
            signing.compare(
                "TRAILER",
                &[sha256(self.trailer_lines.as_bytes())],
                &claimed,
            )?;
        }
        Ok(self.trailers)
    }

    /// The next line without its end; `None` when more of it is to come.
    fn read_line(&mut self, input: &mut Bytes) -> Result<Option<String>, ChunkFault> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let part = input.split_to(end.unwrap_or(input.len()));
        if self.line.len() + part.len() > LINE_BYTES_MAX {
            return Err(ChunkFault::Malformed);
        }
        self.line.extend_from_slice(&part);
        if end.is_none() {
            return Ok(None);
        }
        input.advance(1);
        let line = self.line.split();
        let line = std::str::from_utf8(&line).map_err(|_| ChunkFault::Malformed)?;
        Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned()))
    }

    fn take_line(&mut self, line: &str) -> Result<(), ChunkFault> {
        match self.at {
            At::Length => self.begin_chunk(line),
            At::Break if line.is_empty() => {
                self.at = At::Length;
                Ok(())
            }
            At::Trailers if line.is_empty() => {
                self.at = At::End;
                Ok(())
            }
            At::Trailers => self.take_trailer(line),
            At::Break | At::Content(_) | At::End => Err(ChunkFault::Malformed),
        }
    }

    /// `10000;chunk-signature=...`
    fn begin_chunk(&mut self, line: &str) -> Result<(), ChunkFault> {
        let (length, extension) = line.split_once(';').unwrap_or((line, ""));
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits {
            return Err(ChunkFault::Malformed);
        }
        let length = u64::from_str_radix(length, 16).map_err(|_| ChunkFault::Malformed)?;
        if let Some(signing) = &mut self.signing {
            let claimed = extension.trim().strip_prefix("chunk-signature=");
            signing.claimed = claimed.and_then(unhex).ok_or(ChunkFault::Mismatch)?;
        }
        self.at = match length {
            0 => At::Trailers,
            length => At::Content(length),
        };
        match (&mut self.signing, length) {
            (Some(signing), 0) => signing.end_of_chunk(),
            _ => Ok(()),
        }
    }

    fn take_trailer(&mut self, line: &str) -> Result<(), ChunkFault> {
        let (name, value) = line.split_once(':').ok_or(ChunkFault::Malformed)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == "x-amz-trailer-signature" {
            self.trailer_signature = Some(unhex(value).ok_or(ChunkFault::Mismatch)?);
            return Ok(());
        }
        if self.trailers.len() >= TRAILERS_MAX {
            return Err(ChunkFault::Malformed);
        }
        self.trailer_lines += &format!("{name}:{value}\n");
        let name = HeaderName::try_from(name).map_err(|_| ChunkFault::Malformed)?;
        let value = HeaderValue::from_str(value).map_err(|_| ChunkFault::Malformed)?;
        match self.trailers.insert(name, value) {
            Some(_twice) => Err(ChunkFault::Malformed),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sigv4::keys::derive;

    /// Content and trailing headers of a body that comes in pieces of `step` bytes.
    fn read(
        mut chunks: Chunks,
        body: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, HeaderMap), ChunkFault> {
        let mut content = Vec::new();
        for piece in body.chunks(step) {
            let mut piece = Bytes::copy_from_slice(piece);
            while let Some(found) = chunks.next(&mut piece)? {
                content.extend_from_slice(&found);
            }
        }
        Ok((content, chunks.finish()?))
    }

    #[track_caller]
    fn check(body: &str, expected: Result<&str, ChunkFault>) {
        for step in [1, 2, 7, 4096] {
            let found = read(Chunks::unsigned(), body.as_bytes(), step);
            let found = found.map(|(content, trailers)| {
                let trailers = trailers
                    .iter()
                    .map(|(n, v)| format!(" {n}={}", v.to_str().unwrap()));
                format!(
                    "{}{}",
                    String::from_utf8(content).unwrap(),
                    trailers.collect::<String>()
                )
            });
            assert_eq!(
                found.as_deref(),
                expected.as_ref().map(|text| *text),
                "{body:?} by {step}"
            );
        }
    }

    #[test]
    fn unsigned_chunks() {
        use ChunkFault::*;
        check("5\r\nhello\r\n0\r\n\r\n", Ok("hello"));
        check(
            "3\r\nhel\r\n2\r\nlo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n",
            Ok("hello x-amz-checksum-crc32=NhCmhg=="),
        );
        check("0\r\n\r\n", Ok(""));
        check("0\r\n", Ok(""));
        check("5\r\nhel", Err(Incomplete));
        check("5\r\nhello\r\n", Err(Incomplete));
        check("", Err(Incomplete));
        check("5\r\nhelloo\r\n0\r\n\r\n", Err(Malformed));
        check("-5\r\nhello\r\n0\r\n\r\n", Err(Malformed));
        check("11111111111111111\r\n", Err(Malformed));
        check("0\r\nno colon\r\n\r\n", Err(Malformed));
        check("0\r\na:1\r\na:2\r\n\r\n", Err(Malformed));
        check("0\r\n\r\nmore", Err(Malformed));
        check(&"1".repeat(LINE_BYTES_MAX + 1), Err(Malformed));
    }

    /// The example of AmazonS3/latest/API/sigv4-streaming.html: 65 KiB of the letter a.
    #[test]
    fn signed_chunks_as_aws_documents_them() {
        let key = Arc::new(derive(
            b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "20130524/us-east-1/s3/aws4_request",
        ));
        let seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        let chunks = || {
            let scope = "20130524/us-east-1/s3/aws4_request".to_owned();
            Chunks::signed(
                Arc::clone(&key),
                "20130524T000000Z".to_owned(),
                scope,
                unhex(seed).unwrap(),
            )
        };
        let body = [
            "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n",
            &"a".repeat(65536),
            "\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n",
            &"a".repeat(1024),
            "\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n",
        ]
        .concat();
        for step in [1000, 1 << 20] {
            let (content, _) = read(chunks(), body.as_bytes(), step).unwrap();
            assert_eq!(content.len(), 66560);
        }
        let other = body.replacen("aaaa", "aaab", 1);
        assert_eq!(
            read(chunks(), other.as_bytes(), 1000).unwrap_err(),
            ChunkFault::Mismatch
        );
        let unsigned = body.replacen(";chunk-signature=ad80", ";other=ad80", 1);
        assert_eq!(
            read(chunks(), unsigned.as_bytes(), 1000).unwrap_err(),
            ChunkFault::Mismatch
        );
    }
}
