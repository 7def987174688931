//! Checksums of content: which there are, what the client says they are, and what they are
//! (AmazonS3/latest/userguide/checking-object-integrity.html).

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use futures_util::{TryStreamExt, stream};
use http::HeaderMap;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use serde::{Deserialize, Serialize};
use wire::{BodyFault, ByteStream, Trailers};

use crate::Error;

/// An algorithm that S3 knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

use Algorithm::{Crc32 as A32, Crc32c as A32c, Crc64Nvme as A64, Sha1 as A1, Sha256 as A256};

/// Each algorithm, its name and its header.
const ALGORITHMS: &[(Algorithm, &str, &str)] = &[
    (A32, "CRC32", "x-amz-checksum-crc32"),
    (A32c, "CRC32C", "x-amz-checksum-crc32c"),
    (A64, "CRC64NVME", "x-amz-checksum-crc64nvme"),
    (A1, "SHA1", "x-amz-checksum-sha1"),
    (A256, "SHA256", "x-amz-checksum-sha256"),
];

/// What AWS uses where the client names none.
pub(crate) const DEFAULT: Algorithm = Algorithm::Crc64Nvme;

impl Algorithm {
    /// Reads AWS's name.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let found = ALGORITHMS
            .iter()
            .find(|row| row.1.eq_ignore_ascii_case(name));
        found.map(|row| row.0).ok_or_else(|| {
            let text = "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]";
            Error::InvalidRequest(text.to_owned())
        })
    }

    fn row(self) -> &'static (Algorithm, &'static str, &'static str) {
        ALGORITHMS
            .iter()
            .find(|row| row.0 == self)
            .expect("the table has all of them")
    }

    /// AWS's name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    fn header(self) -> &'static str {
        self.row().2
    }

    /// The bytes that a value has.
    fn width(self) -> usize {
        match self {
            A32 | A32c => 4,
            A64 => 8,
            A1 => 20,
            A256 => 32,
        }
    }

    /// Whether the checksum of a whole can be made of those of its parts.
    pub fn combines(self) -> bool {
        matches!(self, A32 | A32c | A64)
    }
}

/// A checksum of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksum {
    pub algorithm: Algorithm,
    /// Base64; with `-` and the number of parts behind it if it is one of the parts' checksums.
    pub value: String,
    /// Whether it is of the content and not of the parts' checksums.
    pub full_object: bool,
}

/// What a client says about the content it sends.
pub(crate) struct Expected {
    algorithm: Option<Algorithm>,
    /// In a header; or else it comes behind the body.
    value: Option<String>,
    md5: Option<[u8; 16]>,
}

impl Expected {
    /// Reads the headers. More than one checksum is refused, as AWS does.
    pub fn read(headers: &HeaderMap) -> Result<Self, Error> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let mut given = ALGORITHMS
            .iter()
            .filter_map(|row| Some((row, text(row.2)?)));
        let first = given.next();
        if given.next().is_some() {
            let text = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
            return Err(Error::InvalidRequest(text.to_owned()));
        }
        let trailer = text("x-amz-trailer").map(|name| name.trim().to_ascii_lowercase());
        let in_trailer = ALGORITHMS
            .iter()
            .find(|row| Some(row.2) == trailer.as_deref());
        let named = text("x-amz-sdk-checksum-algorithm")
            .or_else(|| text("x-amz-checksum-algorithm"))
            .map(Algorithm::parse)
            .transpose()?;
        let algorithm = first
            .map(|(row, _)| row.0)
            .or(in_trailer.map(|row| row.0))
            .or(named);
        let value = match first {
            Some((row, value)) => Some(decoded(row.0, value)?),
            None => None,
        };
        Ok(Expected {
            algorithm,
            value,
            ..Expected::read_md5(headers)?
        })
    }

    /// Reads the MD5 alone.
    pub fn read_md5(headers: &HeaderMap) -> Result<Self, Error> {
        let invalid = || Error::InvalidDigest("Content-MD5".to_owned());
        let md5 = headers.get("content-md5").map(|value| {
            let bytes = STANDARD.decode(value.as_bytes()).ok();
            let bytes = bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
            bytes.ok_or_else(invalid)
        });
        Ok(Expected {
            algorithm: None,
            value: None,
            md5: md5.transpose()?,
        })
    }

    /// The body, which fails at its end if it is another one than this says.
    pub fn compared(self, body: ByteStream, trailers: Trailers) -> ByteStream {
        let sums = self.sums(None);
        let begin = (body.0, sums, self, trailers);
        ByteStream(Box::pin(stream::try_unfold(
            begin,
            |(mut body, mut sums, expected, trailers)| async move {
                let Some(piece) = body.try_next().await? else {
                    let compared = expected.verify(&sums.finish(), &trailers);
                    return compared.map(|()| None).map_err(fault);
                };
                sums.update(&piece);
                Ok(Some((piece, (body, sums, expected, trailers))))
            },
        )))
    }

    /// The algorithm that the client uses.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// What is to be computed, for content whose checksum is kept in `kept` if that is decided already.
    pub fn sums(&self, kept: Option<Algorithm>) -> Sums {
        Sums::new(self.algorithm, kept.or(self.algorithm).unwrap_or(DEFAULT))
    }

    /// Compares what was computed.
    pub fn verify(&self, summed: &Summed, trailers: &Trailers) -> Result<(), Error> {
        if self.md5.is_some_and(|md5| md5 != summed.md5) {
            return Err(Error::BadDigest("Content-MD5".to_owned()));
        }
        let Some(algorithm) = self.algorithm else {
            return Ok(());
        };
        let trailing = trailers.get(algorithm.header());
        let said = match (&self.value, trailing) {
            (Some(value), _) => value.clone(),
            (None, Some(value)) => decoded(algorithm, value)?,
            (None, None) => return Ok(()),
        };
        match summed.sent == said {
            true => Ok(()),
            false => Err(Error::BadDigest(algorithm.name().to_owned())),
        }
    }
}

impl Expected {
    /// Compares the checksum of a whole that was made of its parts'.
    pub fn verify_whole(&self, whole: &Checksum) -> Result<(), Error> {
        let (Some(algorithm), Some(value)) = (self.algorithm, &self.value) else {
            return Ok(());
        };
        let same = algorithm == whole.algorithm && (!whole.full_object || *value == whole.value);
        match same {
            true => Ok(()),
            false => Err(Error::BadDigest(algorithm.name().to_owned())),
        }
    }
}

fn fault(error: Error) -> io::Error {
    let (code, status) = match error {
        Error::BadDigest(_) => ("BadDigest", 400),
        _ => ("InvalidRequest", 400),
    };
    io::Error::other(BodyFault {
        code,
        status,
        message: error.to_string(),
    })
}

/// Checks that a value has the form of a checksum.
pub(crate) fn decoded(algorithm: Algorithm, value: &str) -> Result<String, Error> {
    match STANDARD.decode(value.trim()) {
        Ok(bytes) if bytes.len() == algorithm.width() => Ok(STANDARD.encode(bytes)),
        _ => Err(Error::InvalidRequest(format!(
            "Value for {} header is invalid.",
            algorithm.header()
        ))),
    }
}

/// Computes checksums of content as it comes.
pub(crate) struct Sums {
    md5: Md5,
    kept: Sum,
    /// The client's, where it is another.
    sent: Option<Sum>,
    size: u64,
}

/// What [`Sums`] found.
pub(crate) struct Summed {
    pub md5: [u8; 16],
    pub size: u64,
    /// In the algorithm that is kept.
    pub kept: String,
    /// In the client's algorithm; where it has none, as [`Summed::kept`].
    sent: String,
}

impl Sums {
    fn new(sent: Option<Algorithm>, kept: Algorithm) -> Self {
        Sums {
            md5: Md5::new(),
            kept: Sum::new(kept),
            sent: sent.filter(|sent| *sent != kept).map(Sum::new),
            size: 0,
        }
    }

    pub fn update(&mut self, piece: &[u8]) {
        self.size += piece.len() as u64;
        self.md5.update(piece);
        self.kept.update(piece);
        if let Some(sent) = &mut self.sent {
            sent.update(piece);
        }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn finish(self) -> Summed {
        let kept = self.kept.finish();
        Summed {
            md5: self
                .md5
                .finalize()
                .as_ref()
                .try_into()
                .expect("an MD5 has 16 bytes"),
            size: self.size,
            sent: self.sent.map_or_else(|| kept.clone(), Sum::finish),
            kept,
        }
    }
}

enum Sum {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Box<Sha1>),
    Sha256(Box<Sha256>),
}

impl Sum {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            A32 => Sum::Crc32(Crc32::new()),
            A32c => Sum::Crc32c(Crc32c::new()),
            A64 => Sum::Crc64Nvme(Crc64Nvme::new()),
            A1 => Sum::Sha1(Box::default()),
            A256 => Sum::Sha256(Box::default()),
        }
    }

    fn update(&mut self, piece: &[u8]) {
        match self {
            Sum::Crc32(sum) => sum.update(piece),
            Sum::Crc32c(sum) => sum.update(piece),
            Sum::Crc64Nvme(sum) => sum.update(piece),
            Sum::Sha1(sum) => sum.update(piece),
            Sum::Sha256(sum) => sum.update(piece),
        }
    }

    fn finish(self) -> String {
        match self {
            Sum::Crc32(sum) => STANDARD.encode(sum.finalize()),
            Sum::Crc32c(sum) => STANDARD.encode(sum.finalize()),
            Sum::Crc64Nvme(sum) => STANDARD.encode(sum.finalize()),
            Sum::Sha1(sum) => STANDARD.encode(sum.finalize()),
            Sum::Sha256(sum) => STANDARD.encode(sum.finalize()),
        }
    }
}

/// The checksum of a whole whose parts have these checksums and sizes.
pub(crate) fn of_parts(
    algorithm: Algorithm,
    full_object: bool,
    parts: &[(&str, u64)],
) -> Option<Checksum> {
    let value = if full_object {
        combined(algorithm, parts)?
    } else {
        let mut sum = Sum::new(algorithm);
        for (part, _size) in parts {
            sum.update(&STANDARD.decode(part).ok()?);
        }
        format!("{}-{}", sum.finish(), parts.len())
    };
    Some(Checksum {
        algorithm,
        value,
        full_object,
    })
}

fn combined(algorithm: Algorithm, parts: &[(&str, u64)]) -> Option<String> {
    let kind = match algorithm {
        A32 => CrcAlgorithm::Crc32IsoHdlc,
        A32c => CrcAlgorithm::Crc32Iscsi,
        A64 => CrcAlgorithm::Crc64Nvme,
        A1 | A256 => return None,
    };
    let mut whole: Option<u64> = None;
    for (part, size) in parts {
        let bytes = STANDARD.decode(part).ok()?;
        let part = bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        whole = Some(match whole {
            None => part,
            Some(before) => crc_fast::checksum_combine(kind, before, part, *size),
        });
    }
    let bytes = whole.unwrap_or_default().to_be_bytes();
    Some(STANDARD.encode(&bytes[bytes.len() - algorithm.width()..]))
}

/// Fills in the members of a reply that has one for each algorithm.
macro_rules! fill {
    ($reply:expr, $checksum:expr) => {{
        let checksum: &$crate::checksum::Checksum = $checksum;
        let value = Some(checksum.value.clone());
        match checksum.algorithm {
            $crate::checksum::Algorithm::Crc32 => $reply.checksum_crc32 = value,
            $crate::checksum::Algorithm::Crc32c => $reply.checksum_crc32c = value,
            $crate::checksum::Algorithm::Crc64Nvme => $reply.checksum_crc64nvme = value,
            $crate::checksum::Algorithm::Sha1 => $reply.checksum_sha1 = value,
            $crate::checksum::Algorithm::Sha256 => $reply.checksum_sha256 = value,
        }
    }};
}
pub(crate) use fill;

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(algorithm: Algorithm, content: &[u8]) -> String {
        let mut sum = Sum::new(algorithm);
        sum.update(content);
        sum.finish()
    }

    #[test]
    fn checksums_of_parts_make_that_of_the_whole() {
        let content: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0]).collect();
        for algorithm in [A32, A32c, A64] {
            for cut in [0, 1, 50_000, 100_000] {
                let (a, b) = content.split_at(cut);
                let parts = [
                    (sum(algorithm, a), a.len() as u64),
                    (sum(algorithm, b), b.len() as u64),
                ];
                let parts: Vec<_> = parts
                    .iter()
                    .map(|(sum, size)| (sum.as_str(), *size))
                    .collect();
                let whole = of_parts(algorithm, true, &parts).map(|whole| whole.value);
                assert_eq!(
                    whole,
                    Some(sum(algorithm, &content)),
                    "{} {cut}",
                    algorithm.name()
                );
            }
        }
        assert_eq!(of_parts(A1, true, &[]), None);
    }

    #[test]
    fn known_values() {
        assert_eq!(sum(A32, b"hello"), "NhCmhg==");
        assert_eq!(sum(A32c, b"hello"), "mnG7TA==");
        assert_eq!(sum(A1, b"hello"), "qvTGHdzF6KLavt4PO0gs2a6pQ00=");
    }
}
