//! PutLogEvents and GetLogEvents: the events of one stream.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use store::{Direction, JournalEntry, Position, Span};
use wire::{Arn, Context, Effect, Error as Refused, Http, List, Operation, Scope, Shape, text};

use super::Logs;
use super::archive::{DAY_MS, EVENT_BYTES_MAX, EVENT_OVERHEAD_BYTES, Event, Group, NewEvent};
use super::names::{
    EventTime, EventsLimit, FromChecked, LogGroupIdentifier, LogGroupName, LogStreamName,
    NextToken, one_of, resource_of, storable,
};
use super::search::after;
use crate::{Error, Result};

/// The largest batch: messages in UTF-8, and 26 bytes for each event.
const BATCH_BYTES_MAX: usize = 1_048_576;
/// The longest time that one batch may span.
const BATCH_SPAN_MS_MAX: i64 = DAY_MS;
/// How old an event may be.
const AGE_MS_MAX: i64 = 14 * DAY_MS;
/// How far in the future an event may lie.
const AHEAD_MS_MAX: i64 = 2 * 3_600_000;
/// The largest request body. JSON can write each byte of a message as six (`\u0001`).
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The largest page of events, counted like a batch.
pub(super) const PAGE_BYTES: usize = 1_048_576;
/// Events that one look at the store takes.
const READ_STEP: usize = 1000;

text! {
    /// The message of an event.
    pub struct EventMessage: 1..=usize::MAX;
    /// What older clients hand from one batch to the next; ignored, as by AWS since 2023.
    pub struct SequenceToken: 1..=usize::MAX;
}

/// Stores events in a stream.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct PutLogEvents {
    log_group_name: LogGroupName,
    log_stream_name: LogStreamName,
    log_events: List<InputLogEvent, 1, 10_000>,
    sequence_token: Option<SequenceToken>,
    entity: Option<Entity>,
}

/// One event of a batch.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct InputLogEvent {
    timestamp: EventTime,
    message: EventMessage,
}

/// What the events are about. Entities are not built; the answer says that this one was rejected.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct Entity {
    key_attributes: Option<BTreeMap<String, String>>,
    attributes: Option<BTreeMap<String, String>>,
}

/// What became of a batch.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct PutLogEventsOutput {
    next_sequence_token: Option<String>,
    rejected_log_events_info: Option<RejectedLogEventsInfo>,
    rejected_entity_info: Option<RejectedEntityInfo>,
}

/// Which events of a batch were left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Shape)]
#[shape(rename_all = "camelCase")]
pub struct RejectedLogEventsInfo {
    /// From this one on they are too new.
    too_new_log_event_start_index: Option<i64>,
    /// Before this one they are too old.
    too_old_log_event_end_index: Option<i64>,
    /// Before this one they are past the group's retention.
    expired_log_event_end_index: Option<i64>,
}

/// Why an entity was left out.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct RejectedEntityInfo {
    error_type: EntityRejectionErrorType,
}

/// Reasons of AWS for leaving an entity out.
#[derive(Clone, Copy, Shape)]
pub enum EntityRejectionErrorType {
    /// Not an entity.
    InvalidEntity,
    /// Of no known type.
    InvalidTypeValue,
    /// With wrong key attributes.
    InvalidKeyAttributes,
    /// With wrong attributes.
    InvalidAttributes,
    /// Too large.
    EntitySizeTooLarge,
    /// Not with this group.
    UnsupportedLogGroupType,
    /// Incomplete.
    MissingRequiredFields,
}

impl Operation for PutLogEvents {
    type Service = Logs;
    type Output = PutLogEventsOutput;
    const NAME: &'static str = "PutLogEvents";
    const EFFECT: Effect = Effect::Data;
    const HTTP: Http = Http::ROOT.body_max(BODY_BYTES_MAX);

    fn resource(&self, at: &Scope) -> Arn {
        Arn::log_stream(at, &self.log_group_name, &self.log_stream_name)
    }

    async fn run(self, logs: &Logs, cx: &Context) -> Result<PutLogEventsOutput, Refused> {
        let events: Vec<NewEvent> = self
            .log_events
            .into_iter()
            .map(|event| NewEvent {
                time_ms: event.timestamp.get(),
                message: event.message.into_string(),
            })
            .collect();
        check_batch(&events)?;
        let stream = storable(&self.log_stream_name)?;
        let group = logs.archive.group(&cx.scope, &self.log_group_name).await?;
        logs.archive.stream(&group, stream).await?;
        let (valid, rejected) = sort_out(&events, &group, cx.now_ms);
        let valid: Vec<NewEvent> = events[valid].to_vec();
        if let (Some(first), Some(last)) = (valid.first(), valid.last())
            && last.time_ms - first.time_ms > BATCH_SPAN_MS_MAX
        {
            return Err(invalid(
                "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
            )
            .into());
        }
        let last_seq = match valid.is_empty() {
            true => 0,
            false => {
                logs.archive
                    .append(
                        &cx.scope,
                        &self.log_group_name,
                        &group,
                        stream,
                        valid,
                        cx.now_ms,
                    )
                    .await?
            }
        };
        Ok(PutLogEventsOutput {
            next_sequence_token: Some(sequence_token(last_seq)),
            rejected_log_events_info: (rejected != RejectedLogEventsInfo::default())
                .then_some(rejected),
            rejected_entity_info: self.entity.map(|_| RejectedEntityInfo {
                error_type: EntityRejectionErrorType::UnsupportedLogGroupType,
            }),
        })
    }
}

fn invalid(text: impl Into<String>) -> Error {
    Error::InvalidParameter(text.into())
}

/// What makes the whole batch fail.
fn check_batch(events: &[NewEvent]) -> Result<()> {
    let sizes = events
        .iter()
        .map(|e| e.message.len() + EVENT_OVERHEAD_BYTES);
    if let Some(size) = sizes.clone().find(|size| *size > EVENT_BYTES_MAX) {
        return Err(invalid(format!(
            "Log event too large: {size} bytes exceeds limit of {EVENT_BYTES_MAX}"
        )));
    }
    let total: usize = sizes.sum();
    if total > BATCH_BYTES_MAX {
        return Err(invalid(format!(
            "Upload too large: {total} bytes exceeds limit of {BATCH_BYTES_MAX}"
        )));
    }
    match events.is_sorted_by_key(|event| event.time_ms) {
        true => Ok(()),
        false => Err(invalid(
            "Log events in a single PutLogEvents request must be in chronological order.",
        )),
    }
}

/// Which events of a batch in order are stored, and what is said of the others. The numbers of what is too old or
/// expired are those of the first event behind, as AWS says: "This field is exclusive."
fn sort_out(
    events: &[NewEvent],
    group: &Group,
    now_ms: i64,
) -> (Range<usize>, RejectedLogEventsInfo) {
    let index = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
    let before = |time_ms: i64| events.partition_point(|event| event.time_ms < time_ms);
    let too_old = before(now_ms - AGE_MS_MAX);
    let expired = group.expiry_ms(now_ms).map_or(0, before);
    let too_new = before(now_ms + AHEAD_MS_MAX + 1);
    let rejected = RejectedLogEventsInfo {
        too_new_log_event_start_index: (too_new < events.len()).then(|| index(too_new)),
        too_old_log_event_end_index: (too_old > 0).then(|| index(too_old)),
        expired_log_event_end_index: (expired > too_old).then(|| index(expired)),
    };
    let start = too_old.max(expired).min(too_new);
    (start..too_new, rejected)
}

/// A token for clients that want one.
pub(super) fn sequence_token(seq: u64) -> String {
    format!("496{seq:053}")
}

/// An event's id: 56 digits, in order of time.
pub(super) fn event_id(place: Position) -> String {
    format!("3{:015}{:040}", place.time_ms.max(0), place.seq)
}

/// The place of an event by its id.
pub(super) fn position_of(id: &str) -> Option<Position> {
    if id.len() != 56 || !id.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Position {
        time_ms: id.strip_prefix('3')?.get(..15)?.parse().ok()?,
        seq: id.get(16..)?.parse().ok()?,
    })
}

/// Reads the events of a stream in order of time.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct GetLogEvents {
    log_group_name: Option<LogGroupName>,
    log_group_identifier: Option<LogGroupIdentifier>,
    log_stream_name: LogStreamName,
    start_time: Option<EventTime>,
    end_time: Option<EventTime>,
    next_token: Option<NextToken>,
    limit: Option<EventsLimit>,
    start_from_head: Option<bool>,
    /// Nothing is ever masked here, because there are no data protection policies.
    unmask: Option<bool>,
}

/// A page of a stream.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct GetLogEventsOutput {
    events: Vec<OutputLogEvent>,
    next_forward_token: String,
    next_backward_token: String,
}

/// An event of a stream.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct OutputLogEvent {
    timestamp: i64,
    message: String,
    ingestion_time: i64,
}

impl Operation for GetLogEvents {
    type Service = Logs;
    type Output = GetLogEventsOutput;
    const NAME: &'static str = "GetLogEvents";

    fn resource(&self, at: &Scope) -> Arn {
        let group = resource_of(
            at,
            self.log_group_name.as_ref(),
            self.log_group_identifier.as_ref(),
        );
        Arn::log_stream(at, &group, &self.log_stream_name)
    }

    async fn run(self, logs: &Logs, cx: &Context) -> Result<GetLogEventsOutput, Refused> {
        let group_name = one_of(
            &cx.scope,
            self.log_group_name.as_ref(),
            self.log_group_identifier.as_ref(),
        )?;
        let token = match self.next_token.as_deref() {
            Some(token) => Some(Token::read(token).ok_or(Error::LogsToken)?),
            None => None,
        };
        let stream = storable(&self.log_stream_name)?;
        let group = logs.archive.group(&cx.scope, group_name).await?;
        logs.archive.stream(&group, stream).await?;
        let (span, direction) = self.span(token);
        let limit = self
            .limit
            .map_or(10_000, |limit| usize::from_i64(limit.get()));
        let entries = page(logs, &group, stream, span.clone(), direction, limit).await?;
        let (forward, backward) = tokens(token, &span, &entries);
        let events = entries.iter().map(|entry| {
            let event = Event::from(entry);
            OutputLogEvent {
                timestamp: event.time_ms,
                message: event.message,
                ingestion_time: event.ingested_ms,
            }
        });
        Ok(GetLogEventsOutput {
            events: events.collect(),
            next_forward_token: forward.write(),
            next_backward_token: backward.write(),
        })
    }
}

impl GetLogEvents {
    fn span(&self, token: Option<Token>) -> (Range<Position>, Direction) {
        let start = Position::start_of(self.start_time.map_or(i64::MIN, EventTime::get));
        // "Events with a timestamp equal to or later than this time are not included."
        let end = self.end_time.map_or(
            Position {
                time_ms: i64::MAX,
                seq: u64::MAX,
            },
            |end| Position::start_of(end.get()),
        );
        match token {
            Some(Token::Forward(place)) => (start.max(after(place))..end, Direction::Forward),
            Some(Token::Backward(place)) => (start..end.min(place), Direction::Backward),
            None if self.start_from_head.unwrap_or_default() => (start..end, Direction::Forward),
            None => (start..end, Direction::Backward),
        }
    }
}

/// `f/` goes on behind an event, `b/` before one.
#[derive(Debug, Clone, Copy)]
enum Token {
    Forward(Position),
    Backward(Position),
}

impl Token {
    fn read(token: &str) -> Option<Self> {
        match token.split_at_checked(2)? {
            ("f/", id) => position_of(id).map(Self::Forward),
            ("b/", id) => position_of(id).map(Self::Backward),
            _ => None,
        }
    }

    fn write(self) -> String {
        match self {
            Self::Forward(place) => format!("f/{}", event_id(place)),
            Self::Backward(place) => format!("b/{}", event_id(place)),
        }
    }
}

/// The tokens around a page. At the end of a stream a call answers the token it was given: that is how clients know.
fn tokens(given: Option<Token>, span: &Range<Position>, page: &[JournalEntry]) -> (Token, Token) {
    if let (Some(first), Some(last)) = (page.first(), page.last()) {
        return (Token::Forward(last.at()), Token::Backward(first.at()));
    }
    let before = |place: Position| Position {
        seq: place.seq.saturating_sub(1),
        ..place
    };
    match given {
        Some(Token::Forward(place)) => (Token::Forward(place), Token::Backward(after(place))),
        Some(Token::Backward(place)) => (Token::Forward(before(place)), Token::Backward(place)),
        None => {
            let start = Position::start_of(span.start.time_ms.max(0));
            (Token::Forward(start), Token::Backward(start))
        }
    }
}

/// Reads until the page is full, and answers it in order of time whatever the direction.
async fn page(
    logs: &Logs,
    group: &Group,
    stream: &str,
    mut span: Range<Position>,
    direction: Direction,
    limit: usize,
) -> Result<Vec<JournalEntry>> {
    let mut page: VecDeque<JournalEntry> = VecDeque::new();
    let mut bytes = 0;
    'reading: while page.len() < limit {
        let step = READ_STEP.min(limit - page.len());
        let read = logs
            .archive
            .read(group, stream, Span::Time(span.clone()), step, direction)
            .await?;
        let Some(last) = read.entries.last() else {
            break;
        };
        match direction {
            Direction::Forward => span.start = last.after(),
            Direction::Backward => span.end = last.at(),
        }
        let more = read.more;
        for entry in read.entries {
            bytes += entry.body.len() + EVENT_OVERHEAD_BYTES;
            if bytes > PAGE_BYTES && !page.is_empty() {
                break 'reading;
            }
            match direction {
                Direction::Forward => page.push_back(entry),
                Direction::Backward => page.push_front(entry),
            }
        }
        if !more {
            break;
        }
    }
    Ok(page.into())
}
