//! Records that evolve in place: each version knows the one before it, and how to become the next.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use store::record::{self, First, Record};
//!
//! #[derive(Serialize, Deserialize)]
//! struct RuleV1 { cron: String }
//! impl Record for RuleV1 {
//!     const VERSION: u32 = 1;
//!     type Previous = First;
//!     fn migrate(previous: First) -> Self { match previous {} }
//! }
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

use bytes::Bytes;
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
