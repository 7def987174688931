//! A delivery as it is stored: all but the payload as a record, the payload beside it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::record;
use wire::{AccountId, Arn, Region, Scope};

use crate::{Delivery, RetryPolicy, Sender};

#[derive(Serialize, Deserialize)]
struct Stored {
    id: String,
    account: String,
    region: String,
    to: String,
    service: String,
    from: String,
    role: Option<String>,
    parameters: BTreeMap<String, String>,
    attempts_max: u32,
    age_max_seconds: u32,
    dead_letter: Option<String>,
    trace_id: Option<String>,
    accepted_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt_mark: Option<String>,
}

store::first_version!(Stored);

pub(crate) fn encode(delivery: &Delivery) -> store::Result<Bytes> {
    let stored = Stored {
        id: delivery.id.clone(),
        account: delivery.scope.account.to_string(),
        region: delivery.scope.region.to_string(),
        to: delivery.to.to_string(),
        service: delivery.from.service.clone(),
        from: delivery.from.arn.to_string(),
        role: delivery.from.role.as_ref().map(Arn::to_string),
        parameters: delivery.parameters.clone(),
        attempts_max: delivery.retry.attempts_max,
        age_max_seconds: delivery.retry.age_max_seconds,
        dead_letter: delivery.dead_letter.as_ref().map(Arn::to_string),
        trace_id: delivery.trace_id.clone(),
        accepted_ms: delivery.accepted_ms,
        attempt_mark: delivery.attempt_mark.clone(),
    };
    record::encode_with(&stored, &delivery.payload)
}

pub(crate) fn decode(body: Bytes) -> store::Result<Delivery> {
    let (stored, payload) = record::decode_with::<Stored>(body)?;
    Ok(Delivery {
        scope: Scope {
            account: AccountId::new(&stored.account).ok_or_else(|| odd(&stored.account))?,
            region: Region::new(&stored.region).ok_or_else(|| odd(&stored.region))?,
        },
        to: arn(&stored.to)?,
        from: Sender {
            service: stored.service,
            arn: arn(&stored.from)?,
            role: stored.role.as_deref().map(arn).transpose()?,
        },
        dead_letter: stored.dead_letter.as_deref().map(arn).transpose()?,
        id: stored.id,
        payload,
        parameters: stored.parameters,
        retry: RetryPolicy {
            attempts_max: stored.attempts_max,
            age_max_seconds: stored.age_max_seconds,
        },
        trace_id: stored.trace_id,
        accepted_ms: stored.accepted_ms,
        attempt_mark: stored.attempt_mark,
    })
}

fn arn(text: &str) -> store::Result<Arn> {
    Arn::parse(text).ok_or_else(|| odd(text))
}

fn odd(text: &str) -> store::Error {
    store::Error::Damaged {
        what: "a delivery".to_owned(),
        detail: format!("{text:?} is not what it should be"),
    }
}
