//! Where the records of asynchronous invocations go, and failed events: destinations and dead-letter queues
//! (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>). Both go through the outbox, with
//! what the execution role may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use delivery::{Delivery, Observer, Outcome, RetryPolicy, Sender, parameter};
use serde::Serialize;
use serde_json::value::RawValue;
use wire::Arn;

use crate::Inner;
use crate::error::Error;
use crate::name::{FunctionRef, LATEST};
use crate::roles::SERVICE;
use crate::state::Function;

/// How long a record is tried to be delivered: as long as an event may wait.
const RETRY: RetryPolicy = RetryPolicy {
    age_max_seconds: 6 * 3600,
    ..RetryPolicy::DEFAULT
};
/// What of an error's message goes into a dead letter: "the first 1 KB of the error message".
const ERROR_MESSAGE_BYTES_MAX: usize = 1024;
/// What the ids of the two kinds of deliveries end with.
const DESTINATION: &str = ">destination";
const DEAD_LETTER: &str = ">dead-letter-queue";

/// A kind of destination, and what the execution role needs for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Queue,
    Topic,
    Function,
    Bus,
    Bucket,
}

impl Kind {
    /// Those that take the records of successful invocations.
    pub(crate) const SUCCESS: &[Kind] = &[Kind::Queue, Kind::Topic, Kind::Function, Kind::Bus];
    /// Those that take the records of failed ones.
    pub(crate) const FAILURE: &[Kind] = &[
        Kind::Queue,
        Kind::Topic,
        Kind::Function,
        Kind::Bus,
        Kind::Bucket,
    ];
    /// Those that take failed events.
    pub(crate) const DEAD_LETTER: &[Kind] = &[Kind::Queue, Kind::Topic];

    fn of(arn: &Arn) -> Option<Kind> {
        let resource = arn.resource();
        match arn.service() {
            // "Standard queues and topics only": order is not kept.
            "sqs" if !resource.ends_with(".fifo") => Some(Kind::Queue),
            "sns" if !resource.ends_with(".fifo") => Some(Kind::Topic),
            "lambda" if resource.starts_with("function:") => Some(Kind::Function),
            "events" if resource.starts_with("event-bus/") => Some(Kind::Bus),
            "s3" if !resource.contains('/') => Some(Kind::Bucket),
            _ => None,
        }
    }

    /// The action, the operation and the service, as the error names them.
    fn permission(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Kind::Queue => ("sqs:SendMessage", "SendMessage", "SQS"),
            Kind::Topic => ("sns:Publish", "Publish", "SNS"),
            Kind::Function => ("lambda:InvokeFunction", "InvokeFunction", "Lambda"),
            Kind::Bus => ("events:PutEvents", "PutEvents", "EventBridge"),
            Kind::Bucket => ("s3:PutObject", "PutObject", "S3"),
        }
    }

    /// Whether the role lets the function send there.
    fn permitted(self, inner: &Inner, function: &Function, role: &str, arn: &Arn) -> bool {
        let (action, ..) = self.permission();
        let resource = match self {
            Kind::Bucket => Arn::parse(&format!("{arn}/*")),
            _ => Some(arn.clone()),
        };
        resource.is_some_and(|resource| inner.roles.may(role, &function.at, action, &resource))
    }
}

/// A destination must be of a known kind, not the function itself, and permitted to the role.
pub(crate) fn check_destination(
    inner: &Inner,
    function: &Function,
    role: &str,
    text: &str,
    kinds: &[Kind],
) -> Result<(), Error> {
    let invalid = || Error::Invalid(format!("The destination ARN {text} is invalid."));
    let arn = Arn::parse(text).ok_or_else(invalid)?;
    let kind = Kind::of(&arn).filter(|kind| kinds.contains(kind));
    let kind = kind.ok_or_else(invalid)?;
    if kind == Kind::Function && is_itself(function, &arn) {
        return Err(Error::Invalid(
            "You can't specify the function as a destination for itself.".to_owned(),
        ));
    }
    match kind.permitted(inner, function, role, &arn) {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "The function's execution role does not have permissions to call {} on {arn}",
            kind.permission().1
        ))),
    }
}

/// A dead-letter queue is a queue or a topic, and permitted to the role.
pub(crate) fn check_dead_letter(
    inner: &Inner,
    at: &wire::Scope,
    role: &str,
    text: &str,
) -> Result<(), Error> {
    let invalid = || {
        Error::Invalid(format!(
            "The dead-letter target {text} is not the ARN of a standard queue or topic."
        ))
    };
    let arn = Arn::parse(text).ok_or_else(invalid)?;
    let kind = Kind::of(&arn).filter(|kind| Kind::DEAD_LETTER.contains(kind));
    let (action, operation, service) = kind.ok_or_else(invalid)?.permission();
    match inner.roles.may(role, at, action, &arn) {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "The provided execution role does not have permissions to call {operation} on {service}"
        ))),
    }
}

fn is_itself(function: &Function, arn: &Arn) -> bool {
    let named = FunctionRef::parse(arn.as_str());
    named.is_some_and(|named| {
        named.name() == function.name && named.scope(&function.at) == function.at
    })
}

/// Why an event is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Condition {
    Success,
    RetriesExhausted,
    EventAgeExceeded,
    ZeroReservedConcurrency,
    /// AWS's page on recursive loops does not say what it writes here.
    RecursiveInvocation,
}

/// The end of an event.
pub(crate) struct Ending<'a> {
    pub function: &'a Function,
    /// As it was called.
    pub qualifier: Option<&'a str>,
    /// What the event ran as, or would have.
    pub role: &'a str,
    pub dead_letter: Option<&'a str>,
    pub request_id: &'a str,
    pub trace_id: Option<&'a str>,
    pub payload: &'a Bytes,
    pub condition: Condition,
    pub invoke_count: u32,
    /// What the last attempt came to, if it ran.
    pub response: Option<Response<'a>>,
    /// For the dead letter: a status and a sentence.
    pub error: (u16, String),
}

/// What an attempt came to.
#[derive(Clone, Copy)]
pub(crate) struct Response<'a> {
    pub executed_version: &'a str,
    pub function_error: Option<&'static str>,
    pub payload: &'a Bytes,
}

/// The invocation record, in the order in which AWS writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InvocationRecord<'a> {
    version: &'static str,
    timestamp: String,
    request_context: RequestContext<'a>,
    request_payload: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_payload: Option<Box<RawValue>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    request_id: &'a str,
    function_arn: String,
    condition: Condition,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext<'a> {
    status_code: u16,
    executed_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_error: Option<&'static str>,
}

impl Ending<'_> {
    /// The ARN as records name it: always with a qualifier.
    fn function_arn(&self) -> Arn {
        self.function.arn(Some(self.qualifier.unwrap_or(LATEST)))
    }

    fn record(&self, now_ms: i64) -> Result<Bytes, Error> {
        let internal = |error: serde_json::Error| Error::Internal(error.to_string());
        let moment = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
        let record = InvocationRecord {
            version: "1.0",
            timestamp: moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
            request_context: RequestContext {
                request_id: self.request_id,
                function_arn: self.function_arn().to_string(),
                condition: self.condition,
                approximate_invoke_count: self.invoke_count,
            },
            request_payload: raw(self.payload).map_err(internal)?,
            response_context: self.response.map(|response| ResponseContext {
                status_code: 200,
                executed_version: response.executed_version,
                function_error: response.function_error,
            }),
            response_payload: self
                .response
                .map(|response| raw(response.payload))
                .transpose()
                .map_err(internal)?,
        };
        serde_json::to_vec(&record)
            .map(Bytes::from)
            .map_err(internal)
    }

    fn delivery(&self, to: Arn, kind: &str, payload: Bytes, now_ms: i64) -> Delivery {
        Delivery {
            id: format!("{}{kind}", self.request_id),
            scope: self.function.at.clone(),
            to,
            from: Sender {
                service: SERVICE.to_owned(),
                arn: self.function_arn(),
                role: Arn::parse(self.role),
            },
            payload,
            parameters: BTreeMap::new(),
            retry: RETRY,
            dead_letter: None,
            trace_id: self.trace_id.map(str::to_owned),
            attempt_mark: None,
            accepted_ms: now_ms,
        }
    }

    /// What a bus wants to know beside the detail.
    fn event_parameters(&self, bus: &Arn) -> BTreeMap<String, String> {
        let outcome = match self.condition {
            Condition::Success => "Success",
            _ => "Failure",
        };
        let resources = [bus.to_string(), self.function_arn().to_string()];
        let parameters = [
            (parameter::SOURCE, "lambda".to_owned()),
            (
                parameter::DETAIL_TYPE,
                format!("Lambda Function Invocation Result - {outcome}"),
            ),
            (
                parameter::RESOURCES,
                serde_json::Value::from(resources.to_vec()).to_string(),
            ),
        ];
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        parameters.into_iter().map(owned).collect()
    }
}

/// JSON as it is. What is none, which AWS's runtimes never answer, becomes a string.
fn raw(payload: &Bytes) -> Result<Box<RawValue>, serde_json::Error> {
    serde_json::from_slice::<Box<RawValue>>(payload).or_else(|_not_json| {
        let text = String::from_utf8_lossy(payload);
        serde_json::value::to_raw_value(&text)
    })
}

impl Inner {
    /// Sends what the end of an event gives rise to. What is sent again after a crash is removed by its id.
    ///
    /// # Errors
    /// If the outbox cannot take it now: then the event must not be forgotten.
    pub(crate) async fn conclude(&self, ending: &Ending<'_>) -> Result<(), delivery::Error> {
        let key = ending.qualifier.unwrap_or(LATEST);
        let config = ending.function.record.event_invoke.get(key);
        let destination = config.and_then(|config| match ending.condition {
            Condition::Success => config.on_success.as_deref(),
            _ => config.on_failure.as_deref(),
        });
        if let Some(to) = destination.and_then(Arn::parse) {
            self.send_record(ending, to).await?;
        }
        let failed = ending.condition != Condition::Success;
        if let Some(to) = ending.dead_letter.filter(|_| failed).and_then(Arn::parse) {
            self.send_dead_letter(ending, to).await?;
        }
        Ok(())
    }

    async fn send_record(&self, ending: &Ending<'_>, to: Arn) -> Result<(), delivery::Error> {
        let now_ms = self.clock.now_ms();
        let record = match ending.record(now_ms) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(%error, request = ending.request_id, "no record of an invocation can be made");
                return Ok(());
            }
        };
        let parameters = match Kind::of(&to) {
            Some(Kind::Bus) => ending.event_parameters(&to),
            _ => BTreeMap::new(),
        };
        let delivery = Delivery {
            parameters,
            ..ending.delivery(to, DESTINATION, record, now_ms)
        };
        match self.outbox.put(&delivery).await {
            Err(error @ delivery::Error::TooLarge { .. }) => {
                let Function { at, name, .. } = ending.function;
                tracing::warn!(%error, function = name, request = ending.request_id, "a record is too large for its destination");
                self.meter.destination_failed(at, name, self);
                Ok(())
            }
            other => other.map(drop),
        }
    }

    async fn send_dead_letter(&self, ending: &Ending<'_>, to: Arn) -> Result<(), delivery::Error> {
        let (status, message) = &ending.error;
        let end = message.floor_char_boundary(ERROR_MESSAGE_BYTES_MAX);
        let attributes = [
            ("RequestID", ending.request_id.to_owned()),
            ("ErrorCode", status.to_string()),
            ("ErrorMessage", message[..end].to_owned()),
        ];
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        let payload = ending.payload.clone();
        let letter = Delivery {
            parameters: attributes.into_iter().map(owned).collect(),
            ..ending.delivery(to, DEAD_LETTER, payload, self.clock.now_ms())
        };
        self.outbox.put(&letter).await.map(drop)
    }
}

/// Counts what could not be delivered, as AWS does.
pub(crate) struct Failures(pub Arc<Inner>);

impl Observer for Failures {
    fn saw(&self, delivery: &Delivery, outcome: &Outcome) {
        let (Outcome::Buried(refusal) | Outcome::DeadLettered(refusal)) = outcome else {
            return;
        };
        if delivery.from.service != SERVICE {
            return;
        }
        let Some(function) = FunctionRef::parse(delivery.from.arn.as_str()) else {
            return;
        };
        let (at, name) = (function.scope(&delivery.scope), function.name());
        tracing::warn!(function = name, to = %delivery.to, %refusal, "the result of an event was not delivered");
        match delivery.id.ends_with(DEAD_LETTER) {
            true => self.0.meter.dead_letter_failed(&at, name, &self.0),
            false => self.0.meter.destination_failed(&at, name, &self.0),
        }
    }
}
