//! What one service has for another: a [`Delivery`] goes to the durable [`Outbox`] before it is promised, and one
//! [`Courier`] brings it to the [`Recipient`] that its ARN names, with retries and a dead-letter place.
//!
//! Nothing here knows what the payload means, or any service.

mod courier;
mod error;
mod graves;
mod operator;
mod outbox;
mod record;
mod stats;

use std::collections::BTreeMap;

use bytes::Bytes;
use wire::{Arn, Scope};

pub use courier::{Courier, Observer, Outcome};
pub use error::Error;
pub use graves::{Grave, Place};
pub use outbox::{Outbox, PAYLOAD_BYTES_MAX, REPEATS_MS};
pub use stats::Stats;

/// Something to be brought to a recipient, once it is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Made from what caused it, such as `rule@tick>target`, so that doing it again is harmless: within [`REPEATS_MS`]
    /// a recipient gets an id once.
    pub id: String,
    /// The account and region in which it began.
    pub scope: Scope,
    /// The recipient.
    pub to: Arn,
    /// Who sends.
    pub from: Sender,
    /// What is brought, as it is.
    pub payload: Bytes,
    /// What stands in the payload for the number of the attempt: each is brought its own, the first 1.
    pub attempt_mark: Option<String>,
    /// What the recipient's kind wants beside the payload, such as `DetailType` for a bus. They go along to the
    /// dead-letter queue, as attributes of the message.
    pub parameters: BTreeMap<String, String>,
    /// How often and how long it is tried.
    pub retry: RetryPolicy,
    /// The queue that gets what could not be brought.
    pub dead_letter: Option<Arn>,
    /// The `X-Amzn-Trace-Id` of what caused it. Its lineage is how loops are noticed.
    pub trace_id: Option<String>,
    /// When it was accepted, in milliseconds since 1970.
    pub accepted_ms: i64,
}

/// What the id of a delivery to a dead-letter queue ends with.
const DEAD_LETTER: &str = ">dead-letter";

impl Delivery {
    /// The delivery to the dead-letter queue, if there is one, with the attributes that AWS gives such a message
    /// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html>): why the last attempt failed, how
    /// many there were after the first, and the limit that was reached, if it was one.
    pub fn dead_letter(
        &self,
        refusal: &Refusal,
        retries: u32,
        exhausted: Option<&str>,
        now_ms: i64,
    ) -> Option<Delivery> {
        let mut parameters = self.parameters.clone();
        let mut attribute = |name: &str, value: String| parameters.insert(name.to_owned(), value);
        attribute("TARGET_ARN", self.to.to_string());
        attribute("ERROR_CODE", refusal.code.to_owned());
        attribute("ERROR_MESSAGE", refusal.message.clone());
        attribute("RETRY_ATTEMPTS", retries.to_string());
        if let Some(exhausted) = exhausted {
            attribute("EXHAUSTED_RETRY_CONDITION", exhausted.to_owned());
        }
        Some(Delivery {
            id: format!("{}{DEAD_LETTER}", self.id),
            to: self.dead_letter.clone()?,
            parameters,
            retry: RetryPolicy::DEFAULT,
            dead_letter: None,
            accepted_ms: now_ms,
            ..self.clone()
        })
    }

    /// Whether this brings to a dead-letter queue what another one could not bring.
    pub fn is_dead_letter(&self) -> bool {
        self.id.ends_with(DEAD_LETTER)
    }

    /// The same with the number of the attempt in its payload.
    fn numbered(mut self, attempt: u32) -> Delivery {
        let text = std::str::from_utf8(&self.payload);
        if let (Some(mark), Ok(text)) = (self.attempt_mark.take(), text) {
            self.payload = Bytes::from(text.replace(&mark, &attempt.to_string()));
        }
        self
    }
}

/// Names of [`Delivery::parameters`].
///
/// A bus gets an event's detail as the payload, and what stands around it in the first four. Where there is no `Source`,
/// the payload is a whole event.
pub mod parameter {
    /// The event's `source`.
    pub const SOURCE: &str = "Source";
    /// The event's `detail-type`.
    pub const DETAIL_TYPE: &str = "DetailType";
    /// The event's `resources`, a JSON array of strings. None if absent.
    pub const RESOURCES: &str = "Resources";
    /// The event's `time`, as RFC 3339. When it was accepted if absent.
    pub const TIME: &str = "Time";
}

/// Who sends, for the recipient to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The service principal, such as `events.amazonaws.com`.
    pub service: String,
    /// `aws:SourceArn`: the rule, the schedule, the function.
    pub arn: Arn,
    /// The role whose permissions count instead of the recipient's own policy.
    pub role: Option<Arn>,
}

/// How often and how long a delivery is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub attempts_max: u32,
    /// How old it gets, in seconds.
    pub age_max_seconds: u32,
}

impl RetryPolicy {
    /// EventBridge's default: 185 attempts within a day
    /// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html>).
    pub const DEFAULT: RetryPolicy = RetryPolicy {
        attempts_max: 185,
        age_max_seconds: 86_400,
    };
}

/// Takes deliveries for one kind of ARN.
#[async_trait::async_trait]
pub trait Recipient: Send + Sync {
    /// Whether the ARN is of this kind. The first recipient that says so gets the delivery.
    fn takes(&self, to: &Arn) -> bool;

    /// Accepts it durably, or says why not. Called again with the same id after a crash, or when it did not answer
    /// within [`courier's deadline`](Courier::ATTEMPT_MAX).
    async fn receive(&self, delivery: &Delivery) -> Result<(), Refusal>;
}

/// Why a recipient did not take a delivery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// AWS's code, such as `NO_PERMISSIONS`
    /// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html>).
    pub code: &'static str,
    /// The sentence for the user.
    pub message: String,
    /// Whether another attempt may go better. What may not goes to the dead-letter place at once.
    pub transient: bool,
}

impl Refusal {
    /// Another attempt may go better.
    pub fn transient(code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
            transient: true,
        }
    }

    /// No attempt will go better until somebody changes something.
    pub fn permanent(code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
            transient: false,
        }
    }
}
