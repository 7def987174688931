//! Requests that the client has compressed: SDKs do so with what is larger than 10,240 bytes, for operations whose model
//! says so (CloudWatch's PutMetricData). The signature covers the compressed body.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::CONTENT_ENCODING;
use http::request::Parts;

use crate::Error;

/// The body as it was before it was compressed, if it was. It may have `bytes_max` bytes then.
pub fn plain(head: &Parts, body: &Bytes, bytes_max: usize) -> Result<Bytes, Error> {
    let encoding = head.headers.get(CONTENT_ENCODING);
    match encoding.map_or("", |value| value.to_str().unwrap_or("?")) {
        "" | "identity" => Ok(body.clone()),
        "gzip" => unzip(body, bytes_max),
        other => Err(Error::new(
            "UnsupportedMediaTypeException",
            415,
            format!("Unsupported content encoding: {other}"),
        )),
    }
}

fn unzip(body: &Bytes, bytes_max: usize) -> Result<Bytes, Error> {
    let mut plain = Vec::new();
    let mut reader = GzDecoder::new(&body[..]).take(bytes_max as u64 + 1);
    if reader.read_to_end(&mut plain).is_err() {
        return Err(Error::new(
            "SerializationException",
            400,
            "The body cannot be decompressed",
        ));
    }
    if plain.len() > bytes_max {
        return Err(Error::new(
            "RequestEntityTooLargeException",
            413,
            format!("The decompressed body must be at most {bytes_max} bytes"),
        ));
    }
    Ok(plain.into())
}
