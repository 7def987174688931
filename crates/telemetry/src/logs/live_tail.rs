//! StartLiveTail: events as they come in, as an event stream.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::broadcast;
use wire::{
    Arn, ByteStream, Context, Effect, Error as Refused, List, Operation, Scope, Shape,
    event_stream, text,
};

use super::Logs;
use super::archive::{Archive, Arrival, Session};
use super::names::{FilterPattern, LogStreamName, arn_group, group_resource};
use crate::filter::Pattern;
use crate::{Error, Result};

/// "Each session can be open for up to three hours."
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CloudWatchLogs_LiveTail.html>
const SESSION_MS_MAX: i64 = 3 * 3_600_000;
/// An update is sent this often, empty or not.
const UPDATE_EVERY_MS: i64 = 1000;
/// Events in one update; of more, a sample is sent.
const UPDATE_EVENTS_MAX: usize = 500;
/// Sessions that an account may have open at a time.
const SESSIONS_MAX: usize = 15;

text! {
    /// The ARN of a log group.
    pub struct GroupArn: 1..=2048, r"[\w#+=/:,.@-]*";
}

/// Watches groups.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartLiveTail.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct StartLiveTail {
    log_group_identifiers: List<GroupArn, 1, 10>,
    log_stream_names: Option<List<LogStreamName, 1, 100>>,
    log_stream_name_prefixes: Option<List<LogStreamName, 1, 100>>,
    log_event_filter_pattern: Option<FilterPattern>,
}

/// The stream.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct StartLiveTailOutput {
    response_stream: ByteStream,
}

/// The first event of a session: what was asked for.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
struct SessionStart {
    request_id: String,
    session_id: String,
    log_group_identifiers: Vec<String>,
    log_stream_names: Vec<String>,
    log_stream_name_prefixes: Vec<String>,
    log_event_filter_pattern: String,
}

/// What came in since the last update.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
struct SessionUpdate {
    session_metadata: SessionMetadata,
    session_results: Vec<SessionLogEvent>,
}

#[derive(Shape)]
#[shape(rename_all = "camelCase")]
struct SessionMetadata {
    sampled: bool,
}

#[derive(Shape)]
#[shape(rename_all = "camelCase")]
struct SessionLogEvent {
    log_stream_name: String,
    log_group_identifier: String,
    message: String,
    timestamp: i64,
    ingestion_time: i64,
}

#[derive(Shape)]
#[shape(rename_all = "camelCase")]
struct Message {
    message: String,
}

impl Operation for StartLiveTail {
    type Service = Logs;
    type Output = StartLiveTailOutput;
    const NAME: &'static str = "StartLiveTail";
    const EFFECT: Effect = Effect::Reads;

    fn resource(&self, at: &Scope) -> Arn {
        self.group_resource(at, 0)
    }

    fn also_needs(&self, _: &Logs, cx: &Context) -> Vec<wire::Permission> {
        (1..self.log_group_identifiers.len())
            .map(|index| wire::Permission {
                action: "logs:StartLiveTail",
                resource: self.group_resource(&cx.scope, index),
                keys: Vec::new(),
                resource_policy: None,
            })
            .collect()
    }

    async fn run(self, logs: &Logs, cx: &Context) -> Result<StartLiveTailOutput, Refused> {
        let pattern = self.log_event_filter_pattern.as_deref().unwrap_or_default();
        let filter = Pattern::parse(pattern).map_err(Error::from)?;
        let streams = self.streams()?;
        let mut groups = Vec::new();
        for arn in self.log_group_identifiers.iter() {
            let name = arn_group(&cx.scope, arn)?;
            if logs.archive.group(&cx.scope, name).await?.class != "STANDARD" {
                return Err(Error::InvalidOperation(format!(
                    "Live Tail is not supported for log groups of this class: {name}"
                ))
                .into());
            }
            groups.push(name.to_owned());
        }
        let account = cx.scope.account;
        let session = logs.archive.open_session(account, SESSIONS_MAX);
        let session = session.ok_or_else(|| {
            Error::LimitExceeded(format!(
                "An account can have at most {SESSIONS_MAX} concurrent Live Tail sessions."
            ))
        })?;
        let start = self.start(&cx.request_id);
        let opened = [
            // Protocols that are not REST begin every event stream with an empty reply.
            event_stream::event("initial-response", JSON, Bytes::from_static(b"{}"))?,
            event("sessionStart", start)?,
        ];
        let tail = Tail {
            arrivals: logs.archive.watch(),
            archive: logs.archive.clone(),
            scope: cx.scope.clone(),
            groups,
            streams,
            filter,
            ends_ms: logs.archive.clock.now_ms() + SESSION_MS_MAX,
            update_ms: logs.archive.clock.now_ms() + UPDATE_EVERY_MS,
            sample: Sample::new(&cx.request_id),
            over: false,
            _session: session,
        };
        let response_stream = ByteStream(Box::pin(tail.into_stream(opened)));
        Ok(StartLiveTailOutput { response_stream })
    }
}

const JSON: &str = "application/json";

fn event(kind: &str, payload: impl Shape) -> Result<Bytes, Refused> {
    let json = serde_json::to_vec(&payload.encode()).map_err(Refused::internal)?;
    event_stream::event(kind, JSON, json.into())
}

impl StartLiveTail {
    fn group_resource(&self, at: &Scope, index: usize) -> Arn {
        let arn = self.log_group_identifiers.get(index);
        let group = arn.and_then(|arn| arn_group(at, arn).ok());
        group_resource(at, group.unwrap_or_default())
    }

    fn streams(&self) -> Result<Streams> {
        let one_group = self.log_group_identifiers.len() == 1;
        let texts = |names: &[LogStreamName]| names.iter().map(ToString::to_string).collect();
        match (&self.log_stream_names, &self.log_stream_name_prefixes) {
            (None, None) => Ok(Streams::All),
            (Some(_), Some(_)) => Err(Error::InvalidParameter(
                "logStreamNames and logStreamNamePrefixes are mutually exclusive parameters.".into(),
            )),
            _ if !one_group => Err(Error::InvalidParameter(
                "logStreamNames and logStreamNamePrefixes can be specified only with exactly one log group.".into(),
            )),
            (Some(names), None) => Ok(Streams::Named(texts(names))),
            (None, Some(prefixes)) => Ok(Streams::Prefixed(texts(prefixes))),
        }
    }

    fn start(&self, request_id: &str) -> SessionStart {
        let texts = |names: Option<&[LogStreamName]>| {
            let names = names.unwrap_or_default().iter();
            names.map(ToString::to_string).collect()
        };
        let groups = self.log_group_identifiers.iter();
        SessionStart {
            request_id: request_id.to_owned(),
            session_id: uuid::Uuid::new_v4().to_string(),
            log_group_identifiers: groups.map(ToString::to_string).collect(),
            log_stream_names: texts(self.log_stream_names.as_deref()),
            log_stream_name_prefixes: texts(self.log_stream_name_prefixes.as_deref()),
            log_event_filter_pattern: self
                .log_event_filter_pattern
                .as_deref()
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// Which streams of the group are watched.
enum Streams {
    All,
    Named(Vec<String>),
    Prefixed(Vec<String>),
}

impl Streams {
    fn holds(&self, stream: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == stream),
            Self::Prefixed(prefixes) => prefixes.iter().any(|p| stream.starts_with(p.as_str())),
        }
    }
}

/// An open session. It does its work while the client reads: a slow client makes it miss arrivals, never others wait.
struct Tail {
    arrivals: broadcast::Receiver<Arc<Arrival>>,
    archive: Archive,
    scope: Scope,
    groups: Vec<String>,
    streams: Streams,
    filter: Pattern,
    ends_ms: i64,
    update_ms: i64,
    sample: Sample,
    over: bool,
    _session: Session,
}

impl Tail {
    fn into_stream(
        self,
        opened: [Bytes; 2],
    ) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send {
        let opened = opened.into_iter();
        stream::unfold((self, opened), |(mut tail, mut opened)| async move {
            let next = match opened.next() {
                Some(first) => first,
                None if tail.over => return None,
                None => match tail.next().await {
                    Ok(next) => next,
                    Err(error) => {
                        return Some((
                            Err(std::io::Error::other(error.to_string())),
                            (tail, opened),
                        ));
                    }
                },
            };
            Some((Ok(next), (tail, opened)))
        })
    }

    /// The next update, or the end.
    async fn next(&mut self) -> Result<Bytes, Refused> {
        let clock = self.archive.clock.clone();
        loop {
            let now_ms = clock.now_ms();
            if now_ms >= self.ends_ms {
                self.over = true;
                let message = "The session has timed out after three hours.".to_owned();
                let json = serde_json::to_vec(&Message { message }.encode());
                let json = json.map_err(Refused::internal)?;
                return event_stream::exception("SessionTimeoutException", json.into());
            }
            if now_ms >= self.update_ms {
                // What arrived before now belongs to this update even if nobody asked for it yet.
                while let Ok(arrival) = self.arrivals.try_recv() {
                    self.take(&arrival);
                }
                self.update_ms = now_ms + UPDATE_EVERY_MS;
                return event("sessionUpdate", self.sample.update());
            }
            tokio::select! {
                () = clock.sleep_until(self.update_ms.min(self.ends_ms)) => {}
                arrived = self.arrivals.recv() => match arrived {
                    Ok(arrival) => self.take(&arrival),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.sample.sampled = true,
                    Err(broadcast::error::RecvError::Closed) => {
                        self.over = true;
                        return event("sessionUpdate", self.sample.update());
                    }
                },
            }
        }
    }

    fn take(&mut self, arrival: &Arrival) {
        let watched = arrival.scope == self.scope
            && self.groups.contains(&arrival.group)
            && self.streams.holds(&arrival.stream);
        if !watched {
            return;
        }
        for event in &arrival.events {
            if !self.filter.matches(&event.message) {
                continue;
            }
            self.sample.add(|| SessionLogEvent {
                log_stream_name: arrival.stream.clone(),
                log_group_identifier: format!("{}:{}", self.scope.account, arrival.group),
                message: event.message.clone(),
                timestamp: event.time_ms,
                ingestion_time: arrival.ingested_ms,
            });
        }
    }
}

/// At most [`UPDATE_EVENTS_MAX`] events, each as likely as any other.
struct Sample {
    seen: usize,
    kept: Vec<SessionLogEvent>,
    sampled: bool,
    /// A small generator; what it decides is no secret.
    random: u64,
}

impl Sample {
    fn new(seed: &str) -> Self {
        let seed = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self {
            seen: 0,
            kept: Vec::new(),
            sampled: false,
            random: seed | 1,
        }
    }

    fn add(&mut self, event: impl FnOnce() -> SessionLogEvent) {
        self.seen += 1;
        if self.kept.len() < UPDATE_EVENTS_MAX {
            self.kept.push(event());
            return;
        }
        self.sampled = true;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let place = usize::try_from(self.random % self.seen as u64).unwrap_or(usize::MAX);
        if let Some(kept) = self.kept.get_mut(place) {
            *kept = event();
        }
    }

    fn update(&mut self) -> SessionUpdate {
        let mut session_results = std::mem::take(&mut self.kept);
        session_results.sort_by_key(|event| event.timestamp);
        self.seen = 0;
        SessionUpdate {
            session_metadata: SessionMetadata {
                sampled: std::mem::take(&mut self.sampled),
            },
            session_results,
        }
    }
}
