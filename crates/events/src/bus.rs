//! Event buses (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-bus.html>). Every account has one named
//! `default` in every region.

use wire::{Arn, Context, Keys, Operation, Scope, Shape, Timestamp, text};

use crate::Events;
use crate::error::Error;
use crate::names::{
    BusName, BusNameOrArn, BusRef, DEFAULT, Description, KmsKeyIdentifier, Limit, NextToken,
    ResourceArn,
};
use crate::paging::page;
use crate::record::{BUSES, BusRecord, bus_key, rules_prefix};
use crate::shelf::Edit;
use crate::tag::{TagList, check_tags, request_tags};

/// Buses in an account and region, AWS's default quota.
const BUSES_MAX: usize = 100;

text! {
    /// A partner's event source.
    pub struct EventSourceName: 1..=256, r"aws\.partner(/[\.\-_A-Za-z0-9]+){2,}";
}

/// What is logged about events on their way through a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Level {
    /// Nothing.
    Off,
    /// What fails.
    Error,
    /// More.
    Info,
    /// Everything.
    Trace,
}

/// Whether a log has the events themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IncludeDetail {
    /// No.
    None,
    /// Yes.
    Full,
}

/// A bus's own log.
#[derive(Debug, Clone, Copy, Shape)]
pub struct LogConfig {
    include_detail: Option<IncludeDetail>,
    level: Option<Level>,
}

/// A queue for what could not be delivered.
#[derive(Debug, Clone, Shape)]
pub struct DeadLetterConfig {
    /// The queue.
    pub arn: Option<ResourceArn>,
}

/// Refuses what a bus may have on AWS and has not here. The dead-letter queue of a bus gets what its own key could not
/// encrypt, so without keys of customers there is nothing for it to get.
fn check_settings(
    key: Option<&KmsKeyIdentifier>,
    log: Option<LogConfig>,
    dead_letter: Option<&DeadLetterConfig>,
) -> Result<(), Error> {
    let refuse = |setting, advice| Err(Error::Unsupported { setting, advice });
    if key.is_some_and(|key| !key.is_empty()) {
        return refuse("KmsKeyIdentifier", "Mayfly has no KMS; leave it out.");
    }
    if log.is_some_and(|log| log.level.is_some_and(|level| level != Level::Off)) {
        return refuse(
            "LogConfig",
            "Leave it out, and add a rule with a log group as target.",
        );
    }
    if dead_letter.is_some_and(|queue| queue.arn.is_some()) {
        return refuse(
            "DeadLetterConfig of an event bus",
            "Give it to the targets of rules.",
        );
    }
    Ok(())
}

/// Makes a bus (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_CreateEventBus.html>).
#[derive(Debug, Shape)]
pub struct CreateEventBus {
    name: BusName,
    event_source_name: Option<EventSourceName>,
    description: Option<Description>,
    kms_key_identifier: Option<KmsKeyIdentifier>,
    dead_letter_config: Option<DeadLetterConfig>,
    log_config: Option<LogConfig>,
    tags: Option<TagList>,
}

/// See [`CreateEventBus`].
#[derive(Debug, Shape)]
pub struct CreateEventBusOutput {
    event_bus_arn: Option<String>,
    description: Option<String>,
    kms_key_identifier: Option<String>,
    dead_letter_config: Option<DeadLetterConfig>,
    log_config: Option<LogConfig>,
}

impl Operation for CreateEventBus {
    type Service = Events;
    type Output = CreateEventBusOutput;
    const NAME: &'static str = "CreateEventBus";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::event_bus(at, &self.name)
    }

    fn condition_keys(&self, _: &Events, _: &Context) -> Keys {
        request_tags(self.tags.as_ref())
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<CreateEventBusOutput, wire::Error> {
        check_settings(
            self.kms_key_identifier.as_ref(),
            self.log_config,
            self.dead_letter_config.as_ref(),
        )?;
        if self.event_source_name.is_some() {
            return Err(Error::Unsupported {
                setting: "EventSourceName",
                advice: "Mayfly has no partners.",
            }
            .into());
        }
        if self.name.contains('/') {
            return Err(Error::SlashInBus.into());
        }
        let bus = BusRef::of(Some(&self.name), &cx.scope);
        let tags = check_tags(self.tags.unwrap_or_default(), Default::default())?;
        let description = self.description.map(Description::into_string);
        let count = events.inner.buses.list(&buses_prefix(&cx.scope)).len();
        if bus.is_default() {
            return Err(Error::BusExists(bus.name).into());
        }
        let make = |before: Option<&BusRecord>| {
            if before.is_some() {
                return Err(Error::BusExists(bus.name.clone()));
            }
            if count >= BUSES_MAX {
                return Err(Error::LimitExceeded);
            }
            let record = BusRecord {
                created_ms: cx.now_ms,
                modified_ms: cx.now_ms,
                description: description.clone(),
                tags: tags.clone(),
                ..BusRecord::default()
            };
            Ok(Edit::Put(record, ()))
        };
        events
            .inner
            .buses
            .change::<_, Error>(&bus_key(&bus), make)
            .await?;
        Ok(CreateEventBusOutput {
            event_bus_arn: Some(bus.arn().to_string()),
            description,
            kms_key_identifier: None,
            dead_letter_config: None,
            log_config: None,
        })
    }
}

/// What the keys of all buses in a scope begin with.
fn buses_prefix(at: &Scope) -> String {
    format!("{BUSES}{}/", at.key())
}

/// A bus (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeEventBus.html>).
#[derive(Debug, Shape)]
pub struct DescribeEventBus {
    name: Option<BusNameOrArn>,
}

/// See [`DescribeEventBus`].
#[derive(Debug, Shape)]
pub struct DescribeEventBusOutput {
    name: Option<String>,
    arn: Option<String>,
    description: Option<String>,
    kms_key_identifier: Option<String>,
    dead_letter_config: Option<DeadLetterConfig>,
    policy: Option<String>,
    log_config: Option<LogConfig>,
    creation_time: Option<Timestamp>,
    last_modified_time: Option<Timestamp>,
}

impl Operation for DescribeEventBus {
    type Service = Events;
    type Output = DescribeEventBusOutput;
    const NAME: &'static str = "DescribeEventBus";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.name.as_deref(), at).arn()
    }

    async fn run(
        self,
        events: &Events,
        cx: &Context,
    ) -> Result<DescribeEventBusOutput, wire::Error> {
        let bus = BusRef::of(self.name.as_deref(), &cx.scope).in_region(&cx.scope)?;
        let record = events.bus(&bus)?;
        let (creation_time, last_modified_time) = times(&record);
        Ok(DescribeEventBusOutput {
            name: Some(bus.name.clone()),
            arn: Some(bus.arn().to_string()),
            description: record.description,
            kms_key_identifier: None,
            dead_letter_config: None,
            policy: record.policy,
            log_config: None,
            creation_time,
            last_modified_time,
        })
    }
}

/// When a bus was made and changed; not known of a default bus that nobody has changed.
fn times(record: &BusRecord) -> (Option<Timestamp>, Option<Timestamp>) {
    let known = record.created_ms > 0;
    let time = |ms| known.then_some(Timestamp(ms));
    (time(record.created_ms), time(record.modified_ms))
}

/// The buses of the account (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListEventBuses.html>).
#[derive(Debug, Shape)]
pub struct ListEventBuses {
    name_prefix: Option<BusName>,
    next_token: Option<NextToken>,
    limit: Option<Limit>,
}

/// See [`ListEventBuses`].
#[derive(Debug, Shape)]
pub struct ListEventBusesOutput {
    event_buses: Option<Vec<EventBus>>,
    next_token: Option<String>,
}

/// One bus of a list.
#[derive(Debug, Shape)]
pub struct EventBus {
    name: Option<String>,
    arn: Option<String>,
    description: Option<String>,
    policy: Option<String>,
    creation_time: Option<Timestamp>,
    last_modified_time: Option<Timestamp>,
}

impl Operation for ListEventBuses {
    type Service = Events;
    type Output = ListEventBusesOutput;
    const NAME: &'static str = "ListEventBuses";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<ListEventBusesOutput, wire::Error> {
        let held = events.inner.buses.list(&buses_prefix(&cx.scope));
        let mut buses: Vec<(String, BusRecord)> = held
            .into_iter()
            .map(|(name, held)| (name, held.record.clone()))
            .collect();
        if !buses.iter().any(|(name, _)| name == DEFAULT) {
            buses.push((DEFAULT.to_owned(), BusRecord::default()));
            buses.sort_by(|a, b| a.0.cmp(&b.0));
        }
        let prefix = self.name_prefix.as_deref().unwrap_or_default();
        let buses = buses
            .into_iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, record)| {
                let (creation_time, last_modified_time) = times(&record);
                let bus = EventBus {
                    name: Some(name.clone()),
                    arn: Some(Arn::event_bus(&cx.scope, &name).to_string()),
                    description: record.description,
                    policy: record.policy,
                    creation_time,
                    last_modified_time,
                };
                (name, bus)
            })
            .collect();
        let (buses, next_token) = page(buses, self.next_token.as_ref(), self.limit)?;
        Ok(ListEventBusesOutput {
            event_buses: Some(buses),
            next_token,
        })
    }
}

/// Changes a bus (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_UpdateEventBus.html>).
#[derive(Debug, Shape)]
pub struct UpdateEventBus {
    name: Option<BusName>,
    kms_key_identifier: Option<KmsKeyIdentifier>,
    description: Option<Description>,
    dead_letter_config: Option<DeadLetterConfig>,
    log_config: Option<LogConfig>,
}

/// See [`UpdateEventBus`].
#[derive(Debug, Shape)]
pub struct UpdateEventBusOutput {
    arn: Option<String>,
    name: Option<String>,
    kms_key_identifier: Option<String>,
    description: Option<String>,
    dead_letter_config: Option<DeadLetterConfig>,
    log_config: Option<LogConfig>,
}

impl Operation for UpdateEventBus {
    type Service = Events;
    type Output = UpdateEventBusOutput;
    const NAME: &'static str = "UpdateEventBus";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.name.as_deref(), at).arn()
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<UpdateEventBusOutput, wire::Error> {
        check_settings(
            self.kms_key_identifier.as_ref(),
            self.log_config,
            self.dead_letter_config.as_ref(),
        )?;
        let bus = BusRef::of(self.name.as_deref(), &cx.scope);
        let description = self.description.map(Description::into_string);
        let update = |record: &mut BusRecord| {
            record.description = description.clone().or(record.description.take());
            Ok(record.description.clone())
        };
        let description = events.change_bus(&bus, cx.now_ms, update).await?;
        Ok(UpdateEventBusOutput {
            arn: Some(bus.arn().to_string()),
            name: Some(bus.name),
            kms_key_identifier: None,
            description,
            dead_letter_config: None,
            log_config: None,
        })
    }
}

/// Removes a bus (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DeleteEventBus.html>). One that is not
/// there is as good as removed.
#[derive(Debug, Shape)]
pub struct DeleteEventBus {
    name: BusName,
}

impl Operation for DeleteEventBus {
    type Service = Events;
    type Output = ();
    const NAME: &'static str = "DeleteEventBus";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::event_bus(at, &self.name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<(), wire::Error> {
        let bus = BusRef::of(Some(&self.name), &cx.scope);
        if bus.is_default() {
            return Err(Error::DefaultStays.into());
        }
        let remove =
            |_: Option<&BusRecord>| match events.inner.rules.list(&rules_prefix(&bus)).is_empty() {
                true => Ok(Edit::Remove(())),
                false => Err(Error::BusHasRules),
            };
        Ok(events
            .inner
            .buses
            .change::<_, Error>(&bus_key(&bus), remove)
            .await?)
    }
}

impl Events {
    /// The bus. The default bus is there without a record.
    pub(crate) fn bus(&self, bus: &BusRef) -> Result<BusRecord, Error> {
        match self.inner.buses.get(&bus_key(bus)) {
            Some(held) => Ok(held.record.clone()),
            None if bus.is_default() => Ok(BusRecord::default()),
            None => Err(Error::NoBus(bus.name.clone())),
        }
    }

    /// Changes a bus that is there.
    pub(crate) async fn change_bus<T>(
        &self,
        bus: &BusRef,
        now_ms: i64,
        mut edit: impl FnMut(&mut BusRecord) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let change = |before: Option<&BusRecord>| {
            let mut record = match before {
                Some(record) => record.clone(),
                None if bus.is_default() => BusRecord {
                    created_ms: now_ms,
                    ..BusRecord::default()
                },
                None => return Err(Error::NoBus(bus.name.clone())),
            };
            let value = edit(&mut record)?;
            record.modified_ms = now_ms;
            Ok(Edit::Put(record, value))
        };
        self.inner
            .buses
            .change::<_, Error>(&bus_key(bus), change)
            .await
    }
}
