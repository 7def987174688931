//! FilterLogEvents: the events of a group that match a pattern.

use std::collections::BTreeSet;
use std::ops::Range;

use store::{Direction, Position, StreamInfo};
use wire::{Arn, Context, Error as Refused, List, Operation, Scope, Shape};

use super::Logs;
use super::archive::{EVENT_OVERHEAD_BYTES, Event, Group};
use super::cursor::Merge;
use super::events::{PAGE_BYTES, event_id, position_of};
use super::names::{
    EventTime, EventsLimit, FilterPattern, FromChecked, LogGroupIdentifier, LogGroupName,
    LogStreamName, NextToken, group_resource, one_of, resource_of,
};
use crate::filter::Pattern;
use crate::{Error, Result};

/// Events that one call looks at before it answers with what it has and a token. AWS does the same by time: "A returned
/// page might only be partially full, or even empty."
const SCANNED_EVENTS_MAX: usize = 100_000;
/// Bytes of messages that one call looks at.
const SCANNED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Searches the events of a group.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct FilterLogEvents {
    log_group_name: Option<LogGroupName>,
    log_group_identifier: Option<LogGroupIdentifier>,
    log_stream_names: Option<List<LogStreamName, 1, 100>>,
    log_stream_name_prefix: Option<LogStreamName>,
    start_time: Option<EventTime>,
    end_time: Option<EventTime>,
    filter_pattern: Option<FilterPattern>,
    next_token: Option<NextToken>,
    limit: Option<EventsLimit>,
    start_from_head: Option<bool>,
    /// Ignored, as by AWS since 2019: the answer is always interleaved.
    interleaved: Option<bool>,
    /// Nothing is ever masked here, because there are no data protection policies.
    unmask: Option<bool>,
}

/// A page of events.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct FilterLogEventsOutput {
    events: Vec<FilteredLogEvent>,
    /// Always empty, as on AWS since 2020.
    searched_log_streams: Vec<SearchedLogStream>,
    next_token: Option<String>,
}

/// An event that matched.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct FilteredLogEvent {
    log_stream_name: String,
    timestamp: i64,
    message: String,
    ingestion_time: i64,
    event_id: String,
}

/// A stream that was searched.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct SearchedLogStream {
    log_stream_name: String,
    searched_completely: bool,
}

impl Operation for FilterLogEvents {
    type Service = Logs;
    type Output = FilterLogEventsOutput;
    const NAME: &'static str = "FilterLogEvents";

    fn resource(&self, at: &Scope) -> Arn {
        let group = resource_of(
            at,
            self.log_group_name.as_ref(),
            self.log_group_identifier.as_ref(),
        );
        group_resource(at, &group)
    }

    async fn run(self, logs: &Logs, cx: &Context) -> Result<FilterLogEventsOutput, Refused> {
        let group_name = one_of(
            &cx.scope,
            self.log_group_name.as_ref(),
            self.log_group_identifier.as_ref(),
        )?;
        let pattern = Pattern::parse(self.filter_pattern.as_deref().unwrap_or_default())
            .map_err(Error::from)?;
        let (span, direction) = self.span()?;
        let group = logs.archive.group(&cx.scope, group_name).await?;
        let streams = self.streams(logs, &group).await?;
        let merge = Merge::new(&logs.archive, &group, streams, &span, direction);
        let limit = self
            .limit
            .map_or(EVENTS_LIMIT, |limit| usize::from_i64(limit.get()));
        Ok(search(merge, &pattern, limit, direction).await?)
    }
}

/// The page size when none is asked for.
const EVENTS_LIMIT: usize = 10_000;

impl FilterLogEvents {
    /// Where to search and in which order; a token knows both how far an earlier call came and its order.
    fn span(&self) -> Result<(Range<Position>, Direction)> {
        let start = Position::start_of(self.start_time.map_or(i64::MIN, EventTime::get));
        // "Events with a timestamp later than this time are not returned": the end belongs to the range.
        let end = match self.end_time {
            Some(end) => Position::start_of(end.get().saturating_add(1)),
            None => Position {
                time_ms: i64::MAX,
                seq: u64::MAX,
            },
        };
        let Some(token) = &self.next_token else {
            let direction = match self.start_from_head {
                Some(false) => Direction::Backward,
                _ => Direction::Forward,
            };
            return Ok((start..end, direction));
        };
        let (direction, place) = place(token).ok_or(Error::LogsToken)?;
        Ok(match direction {
            Direction::Forward => (start.max(after(place))..end, direction),
            Direction::Backward => (start..end.min(place), direction),
        })
    }

    async fn streams(&self, logs: &Logs, group: &Group) -> Result<Vec<(String, StreamInfo)>> {
        match (&self.log_stream_names, &self.log_stream_name_prefix) {
            (Some(_), Some(_)) => Err(Error::InvalidParameter(
                "LogStreamNames and LogStreamNamePrefix are mutually exclusive parameters.".into(),
            )),
            (None, prefix) => {
                let prefix = prefix.as_deref().unwrap_or_default();
                logs.archive.infos(group, prefix).await
            }
            (Some(names), None) => {
                let mut streams = Vec::new();
                for name in names.iter().collect::<BTreeSet<_>>() {
                    logs.archive.stream(group, name).await?;
                    if let Some(info) = logs.archive.info(group, name).await? {
                        streams.push((name.to_string(), info));
                    }
                }
                Ok(streams)
            }
        }
    }
}

async fn search(
    mut merge: Merge<'_>,
    pattern: &Pattern,
    limit: usize,
    direction: Direction,
) -> Result<FilterLogEventsOutput> {
    let mut events: Vec<FilteredLogEvent> = Vec::new();
    let (mut bytes, mut scanned, mut scanned_bytes) = (0, 0, 0);
    let mut last = None;
    let full = |events: &[_], scanned, scanned_bytes| {
        events.len() >= limit || scanned >= SCANNED_EVENTS_MAX || scanned_bytes >= SCANNED_BYTES_MAX
    };
    let mut overflow = false;
    while !full(&events, scanned, scanned_bytes) {
        let Some((stream, entry)) = merge.next().await? else {
            break;
        };
        scanned += 1;
        scanned_bytes += entry.body.len();
        let event = Event::from(&entry);
        if pattern.matches(&event.message) {
            bytes += event.message.len() + EVENT_OVERHEAD_BYTES;
            if bytes > PAGE_BYTES && !events.is_empty() {
                // This one begins the next page.
                overflow = true;
                break;
            }
            events.push(FilteredLogEvent {
                log_stream_name: stream.to_owned(),
                timestamp: event.time_ms,
                ingestion_time: event.ingested_ms,
                event_id: event_id(entry.at()),
                message: event.message,
            });
        }
        last = Some(entry.at());
    }
    let more = overflow || !merge.is_done();
    Ok(FilterLogEventsOutput {
        events,
        searched_log_streams: Vec::new(),
        next_token: last.filter(|_| more).map(|place| token(direction, place)),
    })
}

fn token(direction: Direction, place: Position) -> String {
    let mark = match direction {
        Direction::Forward => 'f',
        Direction::Backward => 'b',
    };
    format!("{mark}{}", event_id(place))
}

fn place(token: &str) -> Option<(Direction, Position)> {
    let (direction, id) = match token.split_at_checked(1)? {
        ("f", id) => (Direction::Forward, id),
        ("b", id) => (Direction::Backward, id),
        _ => return None,
    };
    Some((direction, position_of(id)?))
}

pub(super) fn after(place: Position) -> Position {
    Position {
        seq: place.seq.saturating_add(1),
        ..place
    }
}
