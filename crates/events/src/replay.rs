//! Replays (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-replay-archived-event.html>): the events of an archive,
//! given again to the rules of its bus.
//!
//! `STARTING -> RUNNING -> COMPLETED`, with `CANCELLING -> CANCELLED` and `FAILED` on the way. One worker does all of them,
//! a page of events at a time: the deliveries of a page are in the outbox before the record says so. After a crash the page
//! is done again, and the deliveries' ids, made of the replay and the event, make the repeat harmless.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::{Direction, JournalEntry, Position, Span};
use wire::{Arn, Context, Operation, Scope, Shape, Timestamp, text};

use crate::Events;
use crate::archive::{ArchiveDescription, SourceArn};
use crate::error::Error;
use crate::event::{Event, with_member};
use crate::ingest::Arrival;
use crate::names::{BusRef, Limit, NextToken, ResourceArn, scope_of};
use crate::paging::{one_filter, page_of};
use crate::record::rule_key;
use crate::shelf::Edit;

/// What the keys of replays begin with.
pub(crate) const REPLAYS: &str = "events/replay:";
/// Replays at work in an account and region, AWS's quota.
const ACTIVE_MAX: usize = 10;
/// Rules that a replay may be kept to.
const FILTERS_MAX: usize = 100;
/// Events between two notes of how far a replay is.
const PAGE: usize = 100;
/// How long a replay is remembered after its end, as on AWS.
const REMEMBERED_MS: i64 = 90 * 24 * 60 * 60 * 1000;
/// How often archives and ended replays are looked through for what is too old.
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);

text! {
    /// A replay's name.
    pub struct ReplayName: 1..=64, r"[\.\-_A-Za-z0-9]+";
}

/// Where a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReplayState {
    /// Not one event has been replayed.
    Starting,
    /// At work.
    Running,
    /// About to stop.
    Cancelling,
    /// All events were replayed.
    Completed,
    /// Stopped.
    Cancelled,
    /// It could not go on.
    Failed,
}

impl ReplayState {
    fn active(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Cancelling)
    }
}

/// A replay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReplayRecord {
    /// The archive's ARN.
    archive: String,
    /// The archive's stream when the replay began.
    stream: String,
    /// The bus's ARN.
    destination: String,
    /// The ARNs of the rules it is kept to; none is all.
    #[serde(default)]
    filters: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// AWS's word.
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    from_ms: i64,
    to_ms: i64,
    started_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_ms: Option<i64>,
    /// The last event that was replayed: time and number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<(i64, u64)>,
}

impl ReplayRecord {
    fn state(&self) -> ReplayState {
        ReplayState::parse(&self.state).unwrap_or(ReplayState::Failed)
    }

    fn enter(&mut self, state: ReplayState, now_ms: i64) {
        self.state = state.as_str().to_owned();
        if !state.active() {
            self.ended_ms = Some(now_ms);
        }
    }
}

store::first_version!(ReplayRecord);

fn replays_prefix(at: &Scope) -> String {
    format!("{REPLAYS}{}/", at.key())
}

fn replay_key(at: &Scope, name: &str) -> String {
    format!("{}{name}", replays_prefix(at))
}

/// Where a replay's events go.
#[derive(Debug, Clone, Shape)]
pub struct ReplayDestination {
    arn: ResourceArn,
    filter_arns: Option<Vec<ResourceArn>>,
}

/// Begins a replay (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_StartReplay.html>).
#[derive(Debug, Shape)]
pub struct StartReplay {
    replay_name: ReplayName,
    description: Option<ArchiveDescription>,
    event_source_arn: SourceArn,
    event_start_time: Timestamp,
    event_end_time: Timestamp,
    destination: ReplayDestination,
}

/// See [`StartReplay`].
#[derive(Debug, Shape)]
pub struct StartReplayOutput {
    replay_arn: Option<String>,
    state: Option<ReplayState>,
    state_reason: Option<String>,
    replay_start_time: Option<Timestamp>,
}

fn invalid(parameter: &str, reason: &str) -> Error {
    Error::Invalid(format!(
        "Parameter {parameter} is not valid. Reason: {reason}"
    ))
}

impl StartReplay {
    /// The name of the archive.
    fn archive(&self, at: &Scope) -> Result<String, Error> {
        let none = || invalid("EventSourceArn", "Must contain an archive ARN.");
        let arn = Arn::parse(&self.event_source_arn).ok_or_else(none)?;
        let name = arn.resource().strip_prefix("archive/").ok_or_else(none)?;
        match arn.service() == "events" && scope_of(&arn).is_some_and(|scope| scope == *at) {
            true => Ok(name.to_owned()),
            false => Err(Error::NoArchive(name.to_owned())),
        }
    }

    fn bus(&self) -> Result<BusRef, Error> {
        let bus = Arn::parse(&self.destination.arn).and_then(|arn| BusRef::of_arn(&arn));
        bus.ok_or_else(|| invalid("Destination.Arn", "Must contain an event bus ARN."))
    }

    fn filters(&self, bus: &BusRef) -> Result<Vec<String>, Error> {
        let filters = self.destination.filter_arns.iter().flatten();
        let filters: Vec<String> = filters.map(ToString::to_string).collect();
        if filters.len() > FILTERS_MAX {
            return Err(Error::LimitExceeded);
        }
        for filter in &filters {
            let rule = Arn::parse(filter).and_then(|arn| crate::names::rule_of_arn(&arn));
            if rule.is_none_or(|(of, _)| of != *bus) {
                return Err(invalid(
                    "Destination.FilterArns",
                    "Must contain ARNs of rules of the destination.",
                ));
            }
        }
        Ok(filters)
    }
}

impl Operation for StartReplay {
    type Service = Events;
    type Output = StartReplayOutput;
    const NAME: &'static str = "StartReplay";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::replay(at, &self.replay_name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<StartReplayOutput, wire::Error> {
        let bus = self.bus()?;
        events.bus(&bus)?;
        let archive = events.archive(&cx.scope, &self.archive(&cx.scope)?)?;
        if archive.source != bus.arn().as_str() {
            return Err(invalid(
                "Destination.Arn",
                "Cross event bus replay is not permitted.",
            )
            .into());
        }
        if self.event_start_time.0 >= self.event_end_time.0 {
            return Err(invalid(
                "EventEndTime",
                "EventStartTime must be before EventEndTime.",
            )
            .into());
        }
        let record = ReplayRecord {
            archive: self.event_source_arn.to_string(),
            stream: archive.stream,
            destination: bus.arn().to_string(),
            filters: self.filters(&bus)?,
            description: self.description.as_deref().map(str::to_owned),
            state: ReplayState::Starting.as_str().to_owned(),
            reason: None,
            from_ms: self.event_start_time.0,
            to_ms: self.event_end_time.0,
            started_ms: cx.now_ms,
            ended_ms: None,
            last: None,
        };
        events
            .add_replay(&cx.scope, &self.replay_name, &record)
            .await?;
        Ok(StartReplayOutput {
            replay_arn: Some(Arn::replay(&cx.scope, &self.replay_name).to_string()),
            state: Some(ReplayState::Starting),
            state_reason: None,
            replay_start_time: Some(Timestamp(cx.now_ms)),
        })
    }
}

/// A replay (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeReplay.html>).
#[derive(Debug, Shape)]
pub struct DescribeReplay {
    replay_name: ReplayName,
}

/// See [`DescribeReplay`].
#[derive(Debug, Shape)]
pub struct DescribeReplayOutput {
    replay_name: Option<String>,
    replay_arn: Option<String>,
    description: Option<String>,
    state: Option<ReplayState>,
    state_reason: Option<String>,
    event_source_arn: Option<String>,
    destination: Option<DestinationOutput>,
    event_start_time: Option<Timestamp>,
    event_end_time: Option<Timestamp>,
    event_last_replayed_time: Option<Timestamp>,
    replay_start_time: Option<Timestamp>,
    replay_end_time: Option<Timestamp>,
}

/// See [`ReplayDestination`].
#[derive(Debug, Shape)]
pub struct DestinationOutput {
    arn: Option<String>,
    filter_arns: Option<Vec<String>>,
}

impl Operation for DescribeReplay {
    type Service = Events;
    type Output = DescribeReplayOutput;
    const NAME: &'static str = "DescribeReplay";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::replay(at, &self.replay_name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<DescribeReplayOutput, wire::Error> {
        let key = replay_key(&cx.scope, &self.replay_name);
        let held = events.inner.replays.get(&key);
        let held = held.ok_or_else(|| Error::NoReplay(self.replay_name.to_string()))?;
        let replay = held.record.clone();
        Ok(DescribeReplayOutput {
            replay_arn: Some(Arn::replay(&cx.scope, &self.replay_name).to_string()),
            replay_name: Some(self.replay_name.to_string()),
            state: Some(replay.state()),
            description: replay.description,
            state_reason: replay.reason,
            event_source_arn: Some(replay.archive),
            destination: Some(DestinationOutput {
                arn: Some(replay.destination),
                filter_arns: (!replay.filters.is_empty()).then_some(replay.filters),
            }),
            event_start_time: Some(Timestamp(replay.from_ms)),
            event_end_time: Some(Timestamp(replay.to_ms)),
            event_last_replayed_time: replay.last.map(|(time_ms, _)| Timestamp(time_ms)),
            replay_start_time: Some(Timestamp(replay.started_ms)),
            replay_end_time: replay.ended_ms.map(Timestamp),
        })
    }
}

/// The replays of the account, by one of three (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListReplays.html>).
#[derive(Debug, Shape)]
pub struct ListReplays {
    name_prefix: Option<ReplayName>,
    state: Option<ReplayState>,
    event_source_arn: Option<SourceArn>,
    next_token: Option<NextToken>,
    limit: Option<Limit>,
}

/// See [`ListReplays`].
#[derive(Debug, Shape)]
pub struct ListReplaysOutput {
    replays: Option<Vec<Replay>>,
    next_token: Option<String>,
}

/// One replay of a list.
#[derive(Debug, Shape)]
pub struct Replay {
    replay_name: Option<String>,
    event_source_arn: Option<String>,
    state: Option<ReplayState>,
    state_reason: Option<String>,
    event_start_time: Option<Timestamp>,
    event_end_time: Option<Timestamp>,
    event_last_replayed_time: Option<Timestamp>,
    replay_start_time: Option<Timestamp>,
    replay_end_time: Option<Timestamp>,
}

impl Operation for ListReplays {
    type Service = Events;
    type Output = ListReplaysOutput;
    const NAME: &'static str = "ListReplays";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<ListReplaysOutput, wire::Error> {
        let filters = [
            self.name_prefix.is_some(),
            self.event_source_arn.is_some(),
            self.state.is_some(),
        ];
        one_filter(Self::NAME, filters)?;
        let show = |name: &str, replay: &ReplayRecord| {
            let source = self.event_source_arn.as_deref();
            let wanted = source.is_none_or(|source| replay.archive == *source)
                && self.state.is_none_or(|state| replay.state() == state);
            wanted.then(|| Replay {
                replay_name: Some(name.to_owned()),
                state: Some(replay.state()),
                event_source_arn: Some(replay.archive.clone()),
                state_reason: replay.reason.clone(),
                event_start_time: Some(Timestamp(replay.from_ms)),
                event_end_time: Some(Timestamp(replay.to_ms)),
                event_last_replayed_time: replay.last.map(|(time_ms, _)| Timestamp(time_ms)),
                replay_start_time: Some(Timestamp(replay.started_ms)),
                replay_end_time: replay.ended_ms.map(Timestamp),
            })
        };
        let (replays, next_token) = page_of(
            &events.inner.replays,
            &replays_prefix(&cx.scope),
            self.name_prefix.as_deref(),
            (self.next_token.as_ref(), self.limit),
            show,
        )?;
        Ok(ListReplaysOutput {
            replays: Some(replays),
            next_token,
        })
    }
}

/// Stops a replay (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_CancelReplay.html>).
#[derive(Debug, Shape)]
pub struct CancelReplay {
    replay_name: ReplayName,
}

/// See [`CancelReplay`].
#[derive(Debug, Shape)]
pub struct CancelReplayOutput {
    replay_arn: Option<String>,
    state: Option<ReplayState>,
    state_reason: Option<String>,
}

impl Operation for CancelReplay {
    type Service = Events;
    type Output = CancelReplayOutput;
    const NAME: &'static str = "CancelReplay";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::replay(at, &self.replay_name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<CancelReplayOutput, wire::Error> {
        let cancel = |before: Option<&ReplayRecord>| {
            let mut record = before
                .cloned()
                .ok_or_else(|| Error::NoReplay(self.replay_name.to_string()))?;
            if !matches!(record.state(), ReplayState::Starting | ReplayState::Running) {
                return Err(Error::ReplayEnded(self.replay_name.to_string()));
            }
            record.enter(ReplayState::Cancelling, cx.now_ms);
            Ok(Edit::Put(record, ()))
        };
        let key = replay_key(&cx.scope, &self.replay_name);
        events.inner.replays.change(&key, cancel).await?;
        events.inner.replaying.notify_one();
        Ok(CancelReplayOutput {
            replay_arn: Some(Arn::replay(&cx.scope, &self.replay_name).to_string()),
            state: Some(ReplayState::Cancelling),
            state_reason: None,
        })
    }
}

/// How a round went.
enum Round {
    /// No replay is at work.
    Nothing,
    /// All that are at work went on.
    Went,
    /// One did not.
    Failed,
}

impl Events {
    async fn add_replay(&self, at: &Scope, name: &str, record: &ReplayRecord) -> Result<(), Error> {
        let replays = &self.inner.replays;
        let all = replays.list(&replays_prefix(at));
        let active = all.iter().filter(|(_, held)| held.record.state().active());
        let active = active.count();
        let make = |before: Option<&ReplayRecord>| {
            if before.is_some() {
                return Err(Error::Exists {
                    kind: "Replay",
                    name: name.to_owned(),
                });
            }
            if active >= ACTIVE_MAX {
                return Err(Error::LimitExceeded);
            }
            Ok(Edit::Put(record.clone(), ()))
        };
        replays.change(&replay_key(at, name), make).await?;
        self.inner.replaying.notify_one();
        Ok(())
    }

    /// The worker: does replays until it is dropped. It begins with those that a crash interrupted.
    pub(crate) async fn replay_archives(self) {
        loop {
            match self.replay_round().await {
                Round::Nothing => self.inner.replaying.notified().await,
                Round::Went => {}
                Round::Failed => self.pause().await,
            }
        }
    }

    /// The worker: removes what archives and replays need not remember any longer.
    pub(crate) async fn expire(self) {
        let every = i64::try_from(EXPIRE_EVERY.as_millis()).unwrap_or(i64::MAX);
        loop {
            let done = async {
                self.expire_archives().await?;
                self.forget_replays().await
            };
            if let Err(error) = done.await {
                tracing::error!(%error, "archives were not looked through for what is too old");
            }
            self.inner.clock.sleep_until(self.now_ms() + every).await;
        }
    }

    /// A page of every replay that is at work. One that fails is tried again in the next round, from where it is, and holds
    /// up no other.
    async fn replay_round(&self) -> Round {
        let mut round = Round::Nothing;
        for (key, held) in self.inner.replays.list(REPLAYS) {
            if !held.record.state().active() {
                continue;
            }
            let page = self.replay_page(&key, &held.record).await;
            round = match (page, round) {
                (Err(error), _) => {
                    tracing::error!(%error, replay = key, "a page of a replay failed; it is tried again");
                    Round::Failed
                }
                (Ok(()), Round::Failed) => Round::Failed,
                (Ok(()), _) => Round::Went,
            };
        }
        round
    }

    /// One page of one replay. `key` is what follows the prefix of all keys.
    async fn replay_page(&self, key: &str, replay: &ReplayRecord) -> Result<(), Error> {
        let name = key.rsplit('/').next().unwrap_or_default();
        let (Some(archive), Some(bus)) = (
            Arn::parse(&replay.archive),
            Arn::parse(&replay.destination).and_then(|arn| BusRef::of_arn(&arn)),
        ) else {
            return self
                .note(key, None, |record, now_ms| {
                    record.reason = Some("The replay cannot be read.".to_owned());
                    record.enter(ReplayState::Failed, now_ms);
                })
                .await;
        };
        if replay.state() == ReplayState::Cancelling {
            return self
                .note(key, None, |record, now_ms| {
                    record.enter(ReplayState::Cancelled, now_ms)
                })
                .await;
        }
        let archive_name = archive.resource().trim_start_matches("archive/").to_owned();
        let there = self.archive(&bus.at, &archive_name);
        if there.is_ok_and(|there| there.stream != replay.stream)
            || self.archive(&bus.at, &archive_name).is_err()
        {
            let reason = format!("Archive {archive_name} does not exist.");
            return self
                .note(key, None, |record, now_ms| {
                    record.reason = Some(reason.clone());
                    record.enter(ReplayState::Failed, now_ms);
                })
                .await;
        }
        let from = replay
            .last
            .map_or(Position::start_of(replay.from_ms), |(time_ms, seq)| {
                Position {
                    time_ms,
                    seq: seq + 1,
                }
            });
        // Events up to the end, and none that came after the replay began: it would never end.
        let to_ms = replay.to_ms.saturating_add(1).min(replay.started_ms);
        let span = Span::Time(from..Position::start_of(to_ms).max(from));
        let journal = &self.inner.journal;
        let found = journal
            .read(&replay.stream, span, PAGE, Direction::Forward)
            .await?;
        let mut last = None;
        for entry in &found.entries {
            if let Err(error) = self.replay_event(name, replay, &bus, entry).await {
                // What is done stays done, so that a replay goes on even where much fails.
                if last.is_some() {
                    self.note(key, last, |record, now_ms| {
                        record.enter(ReplayState::Running, now_ms);
                    })
                    .await?;
                }
                return Err(error);
            }
            last = Some((entry.time_ms, entry.seq));
        }
        let state = match found.more {
            true => ReplayState::Running,
            false => ReplayState::Completed,
        };
        self.note(key, last, |record, now_ms| record.enter(state, now_ms))
            .await
    }

    /// Writes down how far a replay is, unless it was cancelled meanwhile: then only how far.
    async fn note(
        &self,
        key: &str,
        last: Option<(i64, u64)>,
        change: impl Fn(&mut ReplayRecord, i64),
    ) -> Result<(), Error> {
        let now_ms = self.now_ms();
        let edit = |before: Option<&ReplayRecord>| {
            let Some(mut record) = before.cloned() else {
                return Ok::<_, Error>(Edit::Remove(()));
            };
            record.last = last.or(record.last);
            let cancelled = record.state() == ReplayState::Cancelling;
            if !cancelled || last.is_none() {
                change(&mut record, now_ms);
            }
            Ok(Edit::Put(record, ()))
        };
        self.inner
            .replays
            .change(&format!("{REPLAYS}{key}"), edit)
            .await
    }

    /// Gives one event to the rules of the bus.
    async fn replay_event(
        &self,
        name: &str,
        replay: &ReplayRecord,
        bus: &BusRef,
        entry: &JournalEntry,
    ) -> Result<(), Error> {
        let document = std::str::from_utf8(&entry.body).unwrap_or_default();
        let Some(document) = with_member(document, "replay-name", name) else {
            tracing::error!(
                replay = name,
                seq = entry.seq,
                "an archived event is damaged"
            );
            return Ok(());
        };
        let original = crate::raw::Json::parse(&document, crate::pattern::DEPTH_MAX)
            .ok()
            .and_then(|event| event.get("id").map(ToString::to_string))
            .unwrap_or_else(|| entry.seq.to_string());
        let arrival = Arrival {
            bus: bus.clone(),
            hops: 0,
            event: Event {
                // Of this replay of this event, for the ids of deliveries; the document keeps the event's own.
                id: format!(
                    "{}@{}/{}",
                    original.trim_matches('"'),
                    name,
                    replay.started_ms
                ),
                document,
            },
            ingested_ms: self.now_ms(),
        };
        for rule in self.inner.matcher.matches(bus, &arrival.event) {
            let wanted = || {
                let arn = bus.rule_arn(&rule);
                replay.filters.is_empty() || replay.filters.iter().any(|one| one == arn.as_str())
            };
            let held = self.inner.rules.get(&rule_key(bus, &rule));
            if let Some(held) = held.filter(|held| held.record.enabled() && wanted()) {
                self.fire(bus, &rule, &held.record, &arrival).await?;
            }
        }
        Ok(())
    }

    /// Forgets replays that ended long ago.
    async fn forget_replays(&self) -> Result<(), Error> {
        let before = self.now_ms() - REMEMBERED_MS;
        for (key, held) in self.inner.replays.list(REPLAYS) {
            if held.record.ended_ms.is_some_and(|ended| ended < before) {
                let remove = |_: Option<&ReplayRecord>| Ok::<_, Error>(Edit::Remove(()));
                let key = format!("{REPLAYS}{key}");
                self.inner.replays.change(&key, remove).await?;
            }
        }
        Ok(())
    }
}

/// Begins a replay without a request.
#[cfg(test)]
pub(crate) async fn begin(
    events: &Events,
    bus: &BusRef,
    archive: &str,
    name: &str,
    filters: Vec<String>,
    (from_ms, to_ms): (i64, i64),
) -> Result<(), Error> {
    let record = ReplayRecord {
        archive: Arn::archive(&bus.at, archive).to_string(),
        stream: events.archive(&bus.at, archive)?.stream,
        destination: bus.arn().to_string(),
        filters,
        description: None,
        state: ReplayState::Starting.as_str().to_owned(),
        reason: None,
        from_ms,
        to_ms,
        started_ms: to_ms,
        ended_ms: None,
        last: None,
    };
    events.add_replay(&bus.at, name, &record).await
}
