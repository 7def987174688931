//! Firing a rule or a schedule by hand, and looking ahead. An API of our own, since AWS has none: the service `mayfly`, for
//! `mayfly fire`. It is signed and authorized like any other.

use delivery::{Delivery, Outbox};
use wire::{
    Arn, Context, Operation, Protocol, Route, Scope, Service, Shape, Timestamp, Unbuilt, number,
    text,
};

use crate::Events;
use crate::clock::{Ticks, Timed};
use crate::names::{BusRef, rule_of_arn};
use crate::record::{RuleRecord, rule_key};
use crate::scheduler::{DEFAULT_GROUP, ScheduleRecord, Scheduler};

text! {
    /// A rule's name on the default bus, a schedule's name, a group's and a schedule's with a slash between them, or an ARN.
    pub struct Name: 1..=1224;
}

number! {
    /// How many times to look ahead.
    pub struct Count: 1..=100;
}

/// How many times a preview shows where the request does not say.
const COUNT: usize = 10;

/// Fires by hand. Clones are handles to the same.
#[derive(Clone)]
pub struct Firing {
    events: Events,
    scheduler: Scheduler,
    outbox: Outbox,
}

impl Firing {
    /// For these rules and schedules.
    pub fn new(events: &Events, scheduler: &Scheduler, outbox: &Outbox) -> Self {
        Self {
            events: events.clone(),
            scheduler: scheduler.clone(),
            outbox: outbox.clone(),
        }
    }

    /// What a name means.
    fn find(&self, name: &str, at: &Scope) -> Result<Found, wire::Error> {
        match (self.rule(name, at), self.schedule(name, at)) {
            (Some(rule), None) if rule.expression().is_none() => {
                let text = format!(
                    "The rule {name} has no ScheduleExpression; put an event that it matches instead."
                );
                Err(wire::Error::new("ValidationException", 400, text))
            }
            (Some(rule), Some(schedule)) if rule.expression().is_some() => {
                let (rule, schedule) = (rule.arn(), schedule.arn());
                let text = format!(
                    "{name} is a rule and a schedule; give one's ARN: {rule} or {schedule}."
                );
                Err(wire::Error::new("ValidationException", 400, text))
            }
            (_, Some(found)) | (Some(found), None) => Ok(found),
            (None, None) => {
                let text = format!("There is no rule and no schedule {name} in {}.", at.region);
                Err(wire::Error::new("ResourceNotFoundException", 400, text))
            }
        }
    }

    fn rule(&self, name: &str, at: &Scope) -> Option<Found> {
        let (bus, name) = match Arn::parse(name) {
            Some(arn) => rule_of_arn(&arn).filter(|(bus, _)| bus.at == *at)?,
            None => (BusRef::default_in(at), name.to_owned()),
        };
        let key = rule_key(&bus, &name);
        let held = self.events.inner.rules.get(&key)?;
        let record = Box::new(held.record.clone());
        Some(Found::Rule(key, bus.rule_arn(&name), record))
    }

    fn schedule(&self, name: &str, at: &Scope) -> Option<Found> {
        let (group, name) = match Arn::parse(name) {
            Some(arn) => self.scheduler.named_by(&arn, at)?,
            None => {
                let (group, name) = name.split_once('/').unwrap_or((DEFAULT_GROUP, name));
                (group.to_owned(), name.to_owned())
            }
        };
        let (key, arn, record) = self.scheduler.find(at, &group, &name)?;
        Some(Found::Schedule(key, arn, Box::new(record)))
    }

    /// The ARN that a request is about, as far as it is known.
    fn resource(&self, name: &str, at: &Scope) -> Arn {
        match self.find(name, at) {
            Ok(found) => found.arn().clone(),
            Err(_) => Arn::any(),
        }
    }
}

/// What a name means.
enum Found {
    Rule(String, Arn, Box<RuleRecord>),
    Schedule(String, Arn, Box<ScheduleRecord>),
}

impl Found {
    fn arn(&self) -> &Arn {
        match self {
            Self::Rule(_, arn, _) | Self::Schedule(_, arn, _) => arn,
        }
    }

    /// The deliveries of a firing at this time.
    fn deliveries(&self, now_ms: i64, by: &str) -> Vec<Delivery> {
        let id = |key: &str| format!("{key}@{now_ms}!{by}");
        match self {
            Self::Rule(key, _, rule) => rule.deliveries(key, now_ms, now_ms, &id(key)),
            Self::Schedule(key, _, schedule) => schedule.deliveries(key, now_ms, now_ms, &id(key)),
        }
    }

    fn ticks(&self) -> Option<Ticks> {
        match self {
            Self::Rule(key, _, rule) => rule.ticks(key),
            Self::Schedule(key, _, schedule) => schedule.ticks(key),
        }
    }

    fn expression(&self) -> Option<&str> {
        match self {
            Self::Rule(_, _, rule) => rule.schedule.as_deref(),
            Self::Schedule(_, _, schedule) => Some(&schedule.expression),
        }
    }
}

impl Service for Firing {
    const NAME: &'static str = "mayfly";
    const MODEL: &'static str = "";
    const PROTOCOLS: &'static [Protocol] = &[Protocol::Json11];
    const TARGET_PREFIX: &'static str = "Mayfly";
    const OPERATIONS: &'static [Route<Self>] = &[Route::of::<Fire>(), Route::of::<Preview>()];
    const UNBUILT: &'static [Unbuilt] = &[];
}

/// Fires a rule or a schedule now, enabled or not. It goes on as if nothing had been.
#[derive(Debug, Shape)]
pub struct Fire {
    name: Name,
}

/// See [`Fire`].
#[derive(Debug, Shape)]
pub struct FireOutput {
    arn: String,
    /// How many targets are brought it.
    targets: usize,
}

impl Operation for Fire {
    type Service = Firing;
    type Output = FireOutput;
    const NAME: &'static str = "Fire";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    fn find_resource(&self, firing: &Firing, cx: &Context) -> Arn {
        firing.resource(&self.name, &cx.scope)
    }

    async fn run(self, firing: &Firing, cx: &Context) -> Result<FireOutput, wire::Error> {
        let found = firing.find(&self.name, &cx.scope)?;
        let deliveries = found.deliveries(cx.now_ms, &cx.request_id);
        for delivery in &deliveries {
            firing
                .outbox
                .put(delivery)
                .await
                .map_err(wire::Error::internal)?;
        }
        if let Found::Rule(key, _, rule) = &found {
            firing.events.measure_tick(key, rule, deliveries.len());
        }
        Ok(FireOutput {
            arn: found.arn().to_string(),
            targets: deliveries.len(),
        })
    }
}

/// When a rule or a schedule fires next.
#[derive(Debug, Shape)]
pub struct Preview {
    name: Name,
    count: Option<Count>,
}

/// See [`Preview`].
#[derive(Debug, Shape)]
pub struct PreviewOutput {
    arn: String,
    expression: Option<String>,
    time_zone: String,
    times: Vec<Timestamp>,
}

impl Operation for Preview {
    type Service = Firing;
    type Output = PreviewOutput;
    const NAME: &'static str = "Preview";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    fn find_resource(&self, firing: &Firing, cx: &Context) -> Arn {
        firing.resource(&self.name, &cx.scope)
    }

    async fn run(self, firing: &Firing, cx: &Context) -> Result<PreviewOutput, wire::Error> {
        let found = firing.find(&self.name, &cx.scope)?;
        let ticks = found.ticks();
        let count = self
            .count
            .and_then(|count| usize::try_from(count.get()).ok());
        let times = ticks.iter().flat_map(|ticks| {
            let first = ticks.next(cx.now_ms);
            std::iter::successors(first, |tick| ticks.next(tick + 1)).map(Timestamp)
        });
        let zone = ticks.as_ref().and_then(|ticks| ticks.zone.iana_name());
        Ok(PreviewOutput {
            arn: found.arn().to_string(),
            expression: found.expression().map(str::to_owned),
            time_zone: zone.unwrap_or("UTC").to_owned(),
            times: times.take(count.unwrap_or(COUNT)).collect(),
        })
    }
}
