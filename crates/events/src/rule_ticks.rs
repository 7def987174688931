//! Rules with a schedule: what the clock must know of them
//! (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-rule-schedule.html>).

use delivery::Delivery;
use jiff::tz::TimeZone;

use crate::Events;
use crate::clock::{Missed, Progress, Ticks, Timed};
use crate::error::Error;
use crate::event::{NewEvent, id_of};
use crate::ingest::{self, Arrival};
use crate::meter::Unit;
use crate::names::BusRef;
use crate::record::{RuleRecord, read_rule_key};
use crate::schedule::Schedule;

impl Timed for RuleRecord {
    fn ticks(&self, key: &str) -> Option<Ticks> {
        let text = self.schedule.as_deref().filter(|_| self.enabled())?;
        let schedule = match Schedule::parse_for_rule(text) {
            Ok(schedule) => schedule,
            Err(error) => {
                let why = error.advice();
                tracing::error!(key, why, "a rule's schedule cannot be read; it never fires");
                return None;
            }
        };
        Some(Ticks {
            schedule,
            zone: TimeZone::UTC,
            anchor_ms: self.scheduled_ms,
            // Unlike a schedule of Scheduler, a rule's rate comes for the first time when it has passed once.
            from_ms: self.scheduled_ms.saturating_add(1),
            until_ms: i64::MAX,
            window_ms: 0,
            seed: key.to_owned(),
            missed: Missed::Lost,
        })
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn goes_after(&self, _: &str, _: i64) -> bool {
        false
    }

    fn deliveries(&self, key: &str, tick_ms: i64, accepted_ms: i64, id: &str) -> Vec<Delivery> {
        let Some((bus, name)) = read_rule_key(key) else {
            tracing::error!(key, "a rule has an odd key");
            return Vec::new();
        };
        let arrival = match arrival(&bus, name, tick_ms, accepted_ms, id) {
            Ok(arrival) => arrival,
            Err(why) => {
                tracing::error!(key, %why, "a rule did not fire");
                return Vec::new();
            }
        };
        let delivery = |target| match ingest::delivery(&bus, name, target, &arrival) {
            Ok(delivery) => Some(Delivery {
                id: format!("{id}>{}", target.id),
                ..delivery
            }),
            // What the target's input makes of the event is nothing: another attempt would not go better.
            Err(why) => {
                let target = &target.id;
                tracing::warn!(rule = name, target, %why, "an event was not delivered");
                None
            }
        };
        self.targets.iter().filter_map(delivery).collect()
    }
}

/// The event of a tick, under an id that is always the same for the same tick.
fn arrival(
    bus: &BusRef,
    rule: &str,
    tick_ms: i64,
    accepted_ms: i64,
    id: &str,
) -> Result<Arrival, Error> {
    let event = NewEvent {
        id: &id_of(id),
        source: "aws.events",
        detail_type: "Scheduled Event",
        at: &bus.at,
        time_ms: tick_ms,
        resources: &[bus.rule_arn(rule).to_string()],
        detail: "{}",
    };
    Ok(Arrival {
        bus: bus.clone(),
        hops: 0,
        event: event.event()?,
        ingested_ms: accepted_ms,
    })
}

impl Events {
    /// Counts a firing, and the targets that it could not be made into a delivery for.
    pub(crate) fn measure_tick(&self, key: &str, rule: &RuleRecord, deliveries: usize) {
        let Some((bus, name)) = read_rule_key(key) else {
            return;
        };
        self.measure_rule(&bus, name, "TriggeredRules", Unit::Count, 1.0);
        for _ in deliveries..rule.targets.len() {
            self.measure_rule(&bus, name, "FailedInvocations", Unit::Count, 1.0);
        }
    }
}
