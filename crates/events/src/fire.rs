//! Firing a schedule by hand, and looking ahead. An API of our own, since AWS has none: the service `mayfly`, for
//! `mayfly fire`. It is signed and authorized like any other.

use delivery::{Delivery, Outbox};
use wire::{
    Arn, Context, Operation, Protocol, Route, Scope, Service, Shape, Timestamp, Unbuilt, number,
    text,
};

use crate::clock::{Ticks, Timed};
use crate::scheduler::{DEFAULT_GROUP, ScheduleRecord, Scheduler};

text! {
    /// A schedule's name, a group's and a schedule's with a slash between them, or an ARN.
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
    scheduler: Scheduler,
    outbox: Outbox,
}

impl Firing {
    /// For these schedules.
    pub fn new(scheduler: &Scheduler, outbox: &Outbox) -> Self {
        Self {
            scheduler: scheduler.clone(),
            outbox: outbox.clone(),
        }
    }

    /// What a name means.
    fn find(&self, name: &str, at: &Scope) -> Result<Found, wire::Error> {
        self.schedule(name, at).ok_or_else(|| {
            let text = format!("There is no schedule {name} in {}.", at.region);
            wire::Error::new("ResourceNotFoundException", 400, text)
        })
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
    Schedule(String, Arn, Box<ScheduleRecord>),
}

impl Found {
    fn arn(&self) -> &Arn {
        match self {
            Self::Schedule(_, arn, _) => arn,
        }
    }

    /// The deliveries of a firing at this time.
    fn deliveries(&self, now_ms: i64, by: &str) -> Vec<Delivery> {
        match self {
            Self::Schedule(key, _, schedule) => {
                schedule.deliveries(key, now_ms, now_ms, &format!("{key}@{now_ms}!{by}"))
            }
        }
    }

    fn ticks(&self) -> Option<Ticks> {
        match self {
            Self::Schedule(key, _, schedule) => schedule.ticks(key),
        }
    }

    fn expression(&self) -> Option<&str> {
        match self {
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

/// Fires a schedule now, enabled or not. The schedule goes on as if nothing had been.
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
        Ok(FireOutput {
            arn: found.arn().to_string(),
            targets: deliveries.len(),
        })
    }
}

/// When a schedule fires next.
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
