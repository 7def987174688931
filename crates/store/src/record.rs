//! Records that evolve in place: each version knows the one before it, and how to become the next.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use store::record::{self, Record};
//!
//! #[derive(Serialize, Deserialize)]
//! struct RuleV1 { cron: String }
//! store::first_version!(RuleV1);
//!
//! #[derive(Serialize, Deserialize)]
//! struct Rule { schedule: String, enabled: bool }
//! impl Record for Rule {
//!     const VERSION: u32 = 2;
//!     type Previous = RuleV1;
//!     fn migrate(previous: RuleV1) -> Self { Rule { schedule: format!("cron({})", previous.cron), enabled: true } }
//! }
//!
//! let old = record::encode(&RuleV1 { cron: "0 12 * * ? *".into() })?;
//! assert_eq!(record::decode::<Rule>(&old)?.schedule, "cron(0 12 * * ? *)");
//! # Ok::<(), store::Error>(())
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Error, Result};

/// A type whose values are stored, in its present version.
pub trait Record: Serialize + DeserializeOwned {
    /// Grows by one with every change that old readers or old data would not survive. Begins with 1.
    const VERSION: u32;
    /// The version before, or [`First`].
    type Previous: Record;
    /// Makes this version of that one.
    fn migrate(previous: Self::Previous) -> Self;
}

/// What was before the first version: nothing.
#[derive(Debug, Serialize, Deserialize)]
pub enum First {}

impl Record for First {
    const VERSION: u32 = 0;
    type Previous = First;
    fn migrate(previous: First) -> First {
        previous
    }
}

/// Makes types [`Record`]s of version 1, which nothing was before.
#[macro_export]
macro_rules! first_version {
    ($($record:ty),+ $(,)?) => {$(
        impl $crate::record::Record for $record {
            const VERSION: u32 = 1;
            type Previous = $crate::record::First;
            fn migrate(previous: $crate::record::First) -> Self {
                match previous {}
            }
        }
    )+};
}

/// A record with content beside it that is kept as it is: the length of the record, the record, the content.
pub fn encode_with<T: Record>(record: &T, content: &[u8]) -> Result<Bytes> {
    let record = encode(record)?;
    let length = u32::try_from(record.len()).map_err(|error| damaged::<T>(&error))?;
    let mut whole = BytesMut::with_capacity(LENGTH_BYTES + record.len() + content.len());
    whole.put_u32(length);
    whole.put_slice(&record);
    whole.put_slice(content);
    Ok(whole.freeze())
}

/// Takes apart what [`encode_with`] put together.
pub fn decode_with<T: Record>(mut stored: Bytes) -> Result<(T, Bytes)> {
    let cut = || damaged::<T>(&"it ends too early");
    let (length, _rest) = stored.split_first_chunk().ok_or_else(cut)?;
    let length = u32::from_be_bytes(*length);
    let end = usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_add(LENGTH_BYTES));
    let end = end.filter(|end| *end <= stored.len()).ok_or_else(cut)?;
    let record = stored.split_to(end);
    Ok((decode(&record[LENGTH_BYTES..])?, stored))
}

/// What [`encode_with`] writes the length of the record in.
const LENGTH_BYTES: usize = 4;

#[derive(Serialize)]
struct Written<'a, T> {
    v: u32,
    record: &'a T,
}

#[derive(Deserialize)]
struct Read<'a> {
    v: u32,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// The record as stored: JSON that anyone can inspect, with its version.
pub fn encode<T: Record>(record: &T) -> Result<Bytes> {
    serde_json::to_vec(&Written {
        v: T::VERSION,
        record,
    })
    .map(Bytes::from)
    .map_err(|error| damaged::<T>(&error))
}

/// The record in its present version, whatever version was stored. A newer one is an error, never a guess.
pub fn decode<T: Record>(stored: &[u8]) -> Result<T> {
    let read: Read<'_> = serde_json::from_slice(stored).map_err(|error| damaged::<T>(&error))?;
    decode_version(read.v, read.record)
}

fn decode_version<T: Record>(version: u32, record: &RawValue) -> Result<T> {
    if version == T::VERSION {
        return serde_json::from_str(record.get()).map_err(|error| damaged::<T>(&error));
    }
    if version > T::VERSION || T::VERSION == 0 {
        return Err(damaged::<T>(&format_args!(
            "version {version} is not known here"
        )));
    }
    decode_version(version, record).map(T::migrate)
}

fn damaged<T>(detail: &dyn std::fmt::Display) -> Error {
    Error::Damaged {
        what: format!("a stored {}", std::any::type_name::<T>()),
        detail: detail.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Head(String);
    crate::first_version!(Head);

    #[test]
    fn content_stays_beside_its_record() {
        for content in [&b""[..], b"{\"a\": 1}"] {
            let whole = encode_with(&Head("h".to_owned()), content).expect("it encodes");
            let (head, rest) = decode_with::<Head>(whole.clone()).expect("it decodes");
            assert_eq!((head.0.as_str(), &*rest), ("h", content));
            for end in 0..whole.len() - content.len() {
                assert!(decode_with::<Head>(whole.slice(..end)).is_err());
            }
        }
        assert!(decode_with::<Head>(Bytes::from_static(b"\xff\xff\xff\xff")).is_err());
    }
}
