//! Archives (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-archive.html>): what came over a bus, kept to be
//! replayed. An archive's events are a stream of the journal; its record says which.

use serde::{Deserialize, Serialize};
use store::{Before, Journal};
use wire::{Arn, Context, Operation, Scope, Shape, Timestamp, number, text};

use crate::Events;
use crate::error::Error;
use crate::ingest::Arrival;
use crate::names::{BusRef, KmsKeyIdentifier, Limit, NextToken};
use crate::paging::{one_filter, page_of};
use crate::pattern::{Event, Pattern};
use crate::rule::EventPattern;
use crate::shelf::Edit;

/// Archives of an account in a region.
const ARCHIVES_MAX: usize = 100;
/// What the keys of archives begin with, and their streams.
pub(crate) const ARCHIVES: &str = "events/archive:";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Streams looked at in one go when those without an archive are sought.
const STREAMS_PAGE: usize = 1000;

text! {
    /// An archive's name.
    pub struct ArchiveName: 1..=48, r"[\.\-_A-Za-z0-9]+";
    /// What an archive or a replay is for.
    pub struct ArchiveDescription: 0..=512;
    /// The ARN of a bus or an archive.
    pub struct SourceArn: 1..=1600, r"^arn:aws([a-z]|\-)*:events:([a-z]|\d|\-)*:([0-9]{12})?:.+\/.+$";
}

number! {
    /// How long events are kept; 0 is for ever.
    pub struct RetentionDays: 0..=2_147_483_647;
}

/// Whether an archive takes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ArchiveState {
    /// It does. Archives here are never anything else.
    Enabled,
    /// It does not.
    Disabled,
    /// Not yet.
    Creating,
    /// It is being changed.
    Updating,
    /// It never will.
    CreateFailed,
    /// The change failed.
    UpdateFailed,
}

/// An archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ArchiveRecord {
    /// The bus's ARN.
    pub source: String,
    /// The stream of its events. An archive made anew under the same name has another.
    pub stream: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Which events it takes; all without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// 0 is for ever.
    #[serde(default)]
    pub retention_days: i32,
    pub created_ms: i64,
}

store::first_version!(ArchiveRecord);

fn archives_prefix(at: &Scope) -> String {
    format!("{ARCHIVES}{}/", at.key())
}

pub(crate) fn archive_key(at: &Scope, name: &str) -> String {
    format!("{}{name}", archives_prefix(at))
}

fn given(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

fn check_pattern(pattern: Option<&str>) -> Result<(), Error> {
    match pattern.filter(|text| !text.is_empty()).map(Pattern::parse) {
        Some(Err(error)) => Err(Error::Pattern(error.reason().to_owned())),
        _ => Ok(()),
    }
}

fn check_key(key: Option<&KmsKeyIdentifier>) -> Result<(), Error> {
    match key.is_some_and(|key| !key.is_empty()) {
        true => Err(Error::Unsupported {
            setting: "KmsKeyIdentifier",
            advice: "Mayfly has no KMS; leave it out.",
        }),
        false => Ok(()),
    }
}

/// Makes an archive (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_CreateArchive.html>).
#[derive(Debug, Shape)]
pub struct CreateArchive {
    archive_name: ArchiveName,
    event_source_arn: SourceArn,
    description: Option<ArchiveDescription>,
    event_pattern: Option<EventPattern>,
    retention_days: Option<RetentionDays>,
    kms_key_identifier: Option<KmsKeyIdentifier>,
}

/// What became of an archive.
#[derive(Debug, Shape)]
pub struct ArchiveOutput {
    archive_arn: Option<String>,
    state: Option<ArchiveState>,
    state_reason: Option<String>,
    creation_time: Option<Timestamp>,
}

impl ArchiveOutput {
    fn of(at: &Scope, name: &str, created_ms: i64) -> Self {
        Self {
            archive_arn: Some(Arn::archive(at, name).to_string()),
            state: Some(ArchiveState::Enabled),
            state_reason: None,
            creation_time: Some(Timestamp(created_ms)),
        }
    }
}

impl Operation for CreateArchive {
    type Service = Events;
    type Output = ArchiveOutput;
    const NAME: &'static str = "CreateArchive";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::archive(at, &self.archive_name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<ArchiveOutput, wire::Error> {
        check_key(self.kms_key_identifier.as_ref())?;
        let bus = bus_of(&self.event_source_arn, &cx.scope)?;
        events.bus(&bus)?;
        check_pattern(self.event_pattern.as_deref())?;
        let record = ArchiveRecord {
            source: bus.arn().to_string(),
            stream: new_stream(&cx.scope, &self.archive_name),
            description: given(self.description.as_deref()),
            pattern: given(self.event_pattern.as_deref()),
            retention_days: self.retention_days.map_or(0, days),
            created_ms: cx.now_ms,
        };
        events
            .add_archive(&cx.scope, &self.archive_name, &record)
            .await?;
        Ok(ArchiveOutput::of(&cx.scope, &self.archive_name, cx.now_ms))
    }
}

/// Days, which the model keeps within 32 bits.
fn days(days: RetentionDays) -> i32 {
    i32::try_from(days.get()).unwrap_or(i32::MAX)
}

/// The bus of a source.
fn bus_of(arn: &str, at: &Scope) -> Result<BusRef, Error> {
    let bus = Arn::parse(arn).and_then(|arn| BusRef::of_arn(&arn));
    let bus = bus.ok_or_else(|| {
        Error::Invalid(
            "Parameter EventSourceArn is not valid. Reason: Must contain an event bus ARN."
                .to_owned(),
        )
    })?;
    match bus.at == *at {
        true => Ok(bus),
        false => Err(Error::NoBus(bus.name)),
    }
}

/// Changes an archive; what is left out stays
/// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_UpdateArchive.html>).
#[derive(Debug, Shape)]
pub struct UpdateArchive {
    archive_name: ArchiveName,
    description: Option<ArchiveDescription>,
    event_pattern: Option<EventPattern>,
    retention_days: Option<RetentionDays>,
    kms_key_identifier: Option<KmsKeyIdentifier>,
}

impl Operation for UpdateArchive {
    type Service = Events;
    type Output = ArchiveOutput;
    const NAME: &'static str = "UpdateArchive";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::archive(at, &self.archive_name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<ArchiveOutput, wire::Error> {
        check_key(self.kms_key_identifier.as_ref())?;
        check_pattern(self.event_pattern.as_deref())?;
        let edit = |before: Option<&ArchiveRecord>| {
            let mut record = before
                .cloned()
                .ok_or_else(|| Error::NoArchive(self.archive_name.to_string()))?;
            if let Some(description) = &self.description {
                record.description = given(Some(description));
            }
            if let Some(pattern) = &self.event_pattern {
                record.pattern = given(Some(pattern));
            }
            if let Some(retention) = self.retention_days {
                record.retention_days = days(retention);
            }
            let created_ms = record.created_ms;
            Ok::<_, Error>(Edit::Put(record, created_ms))
        };
        let key = archive_key(&cx.scope, &self.archive_name);
        let created_ms = events.inner.archives.change(&key, edit).await?;
        Ok(ArchiveOutput::of(&cx.scope, &self.archive_name, created_ms))
    }
}

/// An archive (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeArchive.html>).
#[derive(Debug, Shape)]
pub struct DescribeArchive {
    archive_name: ArchiveName,
}

/// See [`DescribeArchive`].
#[derive(Debug, Shape)]
pub struct DescribeArchiveOutput {
    archive_arn: Option<String>,
    archive_name: Option<String>,
    event_source_arn: Option<String>,
    description: Option<String>,
    event_pattern: Option<String>,
    state: Option<ArchiveState>,
    state_reason: Option<String>,
    kms_key_identifier: Option<String>,
    retention_days: Option<i32>,
    size_bytes: Option<i64>,
    event_count: Option<i64>,
    creation_time: Option<Timestamp>,
}

impl Operation for DescribeArchive {
    type Service = Events;
    type Output = DescribeArchiveOutput;
    const NAME: &'static str = "DescribeArchive";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::archive(at, &self.archive_name)
    }

    async fn run(
        self,
        events: &Events,
        cx: &Context,
    ) -> Result<DescribeArchiveOutput, wire::Error> {
        let archive = events.archive(&cx.scope, &self.archive_name)?;
        let (event_count, size_bytes) = events.size_of(&archive).await?;
        Ok(DescribeArchiveOutput {
            archive_arn: Some(Arn::archive(&cx.scope, &self.archive_name).to_string()),
            archive_name: Some(self.archive_name.to_string()),
            event_source_arn: Some(archive.source),
            description: archive.description,
            event_pattern: archive.pattern,
            state: Some(ArchiveState::Enabled),
            state_reason: None,
            kms_key_identifier: None,
            retention_days: Some(archive.retention_days),
            size_bytes: Some(size_bytes),
            event_count: Some(event_count),
            creation_time: Some(Timestamp(archive.created_ms)),
        })
    }
}

/// The archives of the account, by one of three (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListArchives.html>).
#[derive(Debug, Shape)]
pub struct ListArchives {
    name_prefix: Option<ArchiveName>,
    event_source_arn: Option<SourceArn>,
    state: Option<ArchiveState>,
    next_token: Option<NextToken>,
    limit: Option<Limit>,
}

/// See [`ListArchives`].
#[derive(Debug, Shape)]
pub struct ListArchivesOutput {
    archives: Option<Vec<Archive>>,
    next_token: Option<String>,
}

/// One archive of a list.
#[derive(Debug, Shape)]
pub struct Archive {
    archive_name: Option<String>,
    event_source_arn: Option<String>,
    state: Option<ArchiveState>,
    state_reason: Option<String>,
    retention_days: Option<i32>,
    size_bytes: Option<i64>,
    event_count: Option<i64>,
    creation_time: Option<Timestamp>,
}

impl Operation for ListArchives {
    type Service = Events;
    type Output = ListArchivesOutput;
    const NAME: &'static str = "ListArchives";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<ListArchivesOutput, wire::Error> {
        let filters = [
            self.name_prefix.is_some(),
            self.event_source_arn.is_some(),
            self.state.is_some(),
        ];
        one_filter(Self::NAME, filters)?;
        if let Some(source) = &self.event_source_arn {
            events.bus(&bus_of(source, &cx.scope)?)?;
        }
        let show = |name: &str, archive: &ArchiveRecord| {
            let source = self.event_source_arn.as_deref();
            let wanted = source.is_none_or(|source| archive.source == *source)
                && self
                    .state
                    .is_none_or(|state| state == ArchiveState::Enabled);
            wanted.then(|| (name.to_owned(), archive.clone()))
        };
        let (items, next_token) = page_of(
            &events.inner.archives,
            &archives_prefix(&cx.scope),
            self.name_prefix.as_deref(),
            (self.next_token.as_ref(), self.limit),
            show,
        )?;
        let mut archives = Vec::with_capacity(items.len());
        for (name, archive) in items {
            let (event_count, size_bytes) = events.size_of(&archive).await?;
            archives.push(Archive {
                archive_name: Some(name),
                event_source_arn: Some(archive.source),
                state: Some(ArchiveState::Enabled),
                state_reason: None,
                retention_days: Some(archive.retention_days),
                size_bytes: Some(size_bytes),
                event_count: Some(event_count),
                creation_time: Some(Timestamp(archive.created_ms)),
            });
        }
        Ok(ListArchivesOutput {
            archives: Some(archives),
            next_token,
        })
    }
}

/// Removes an archive with its events
/// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DeleteArchive.html>).
#[derive(Debug, Shape)]
pub struct DeleteArchive {
    archive_name: ArchiveName,
}

impl Operation for DeleteArchive {
    type Service = Events;
    type Output = ();
    const NAME: &'static str = "DeleteArchive";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::archive(at, &self.archive_name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<(), wire::Error> {
        let remove = |before: Option<&ArchiveRecord>| match before {
            Some(archive) => Ok(Edit::Remove(archive.stream.clone())),
            None => Err(Error::NoArchive(self.archive_name.to_string())),
        };
        let key = archive_key(&cx.scope, &self.archive_name);
        let stream = events.inner.archives.change(&key, remove).await?;
        // What a crash leaves here goes with the next round of retention.
        events
            .inner
            .journal
            .drop_stream(&stream)
            .await
            .map_err(Error::from)?;
        Ok(())
    }
}

/// A stream that no archive has had.
fn new_stream(at: &Scope, name: &str) -> String {
    format!("{}/{}", archive_key(at, name), uuid::Uuid::new_v4())
}

impl Events {
    async fn add_archive(
        &self,
        at: &Scope,
        name: &str,
        record: &ArchiveRecord,
    ) -> Result<(), Error> {
        let archives = &self.inner.archives;
        let count = archives.list(&archives_prefix(at)).len();
        let make = |before: Option<&ArchiveRecord>| {
            if before.is_some() {
                return Err(Error::Exists {
                    kind: "Archive",
                    name: name.to_owned(),
                });
            }
            if count >= ARCHIVES_MAX {
                return Err(Error::LimitExceeded);
            }
            Ok(Edit::Put(record.clone(), ()))
        };
        archives.change(&archive_key(at, name), make).await
    }

    pub(crate) fn archive(&self, at: &Scope, name: &str) -> Result<ArchiveRecord, Error> {
        let held = self.inner.archives.get(&archive_key(at, name));
        held.map(|held| held.record.clone())
            .ok_or_else(|| Error::NoArchive(name.to_owned()))
    }

    /// How many events an archive has, and how many bytes.
    async fn size_of(&self, archive: &ArchiveRecord) -> Result<(i64, i64), Error> {
        let info = self.inner.journal.info(&archive.stream).await?;
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Ok(info.map_or((0, 0), |info| (number(info.entries), number(info.bytes))))
    }

    /// Keeps an event in every archive of its bus that wants it. A crash after this and before the event's
    /// acknowledgement keeps it twice; a replay then gives it to targets once, because both have its id.
    pub(crate) async fn keep(&self, arrival: &Arrival) -> Result<(), Error> {
        let bus = arrival.bus.arn();
        for (_, held) in self.inner.archives.list(&archives_prefix(&arrival.bus.at)) {
            let archive = &held.record;
            if archive.source == bus.as_str() && wants(archive, &arrival.event.document) {
                let entry = (
                    arrival.ingested_ms,
                    arrival.event.document.clone().into_bytes().into(),
                );
                self.inner
                    .journal
                    .append(&archive.stream, vec![entry])
                    .await?;
            }
        }
        Ok(())
    }

    /// Removes what archives need not keep any longer, and the streams of archives that are gone.
    pub(crate) async fn expire_archives(&self) -> Result<(), Error> {
        let journal: &dyn Journal = &*self.inner.journal;
        let archives = self.inner.archives.list(ARCHIVES);
        for (_, held) in &archives {
            let days = i64::from(held.record.retention_days);
            if days > 0 {
                let before = self.now_ms().saturating_sub(days.saturating_mul(DAY_MS));
                journal
                    .trim(&held.record.stream, Before::Time(before))
                    .await?;
            }
        }
        let mut after: Option<String> = None;
        loop {
            let streams = journal
                .list(ARCHIVES, after.as_deref(), STREAMS_PAGE)
                .await?;
            let Some(last) = streams.last() else {
                return Ok(());
            };
            after = Some(last.name.clone());
            for stream in streams {
                // Looked up anew: an archive may have been made since.
                let name = stream.name.rsplit_once('/').map_or("", |(key, _)| key);
                let held = self.inner.archives.get(name);
                if held.is_none_or(|held| held.record.stream != stream.name) {
                    journal.drop_stream(&stream.name).await?;
                }
            }
        }
    }
}

fn wants(archive: &ArchiveRecord, event: &str) -> bool {
    let Some(pattern) = &archive.pattern else {
        return true;
    };
    // Both were read before they were taken.
    match (Pattern::parse(pattern), Event::parse(event)) {
        (Ok(pattern), Ok(event)) => pattern.matches(&event),
        _ => false,
    }
}

/// Makes an archive without a request.
#[cfg(test)]
pub(crate) async fn make(
    events: &Events,
    bus: &BusRef,
    name: &str,
    pattern: &str,
) -> Result<(), Error> {
    let record = ArchiveRecord {
        source: bus.arn().to_string(),
        stream: new_stream(&bus.at, name),
        description: None,
        pattern: Some(pattern.to_owned()),
        retention_days: 0,
        created_ms: events.now_ms(),
    };
    events.add_archive(&bus.at, name, &record).await
}

/// How many different events an archive has; nothing if the store does not say.
#[cfg(test)]
pub(crate) async fn kept(events: &Events, at: &Scope, name: &str) -> usize {
    let Ok(archive) = events.archive(at, name) else {
        return 0;
    };
    let span = store::Span::all();
    let journal = &events.inner.journal;
    let page = journal.read(&archive.stream, span, 1000, store::Direction::Forward);
    let entries = page.await.map(|page| page.entries).unwrap_or_default();
    let bodies: std::collections::BTreeSet<_> = entries.iter().map(|entry| &entry.body).collect();
    bodies.len()
}
