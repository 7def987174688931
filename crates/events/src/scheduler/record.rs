//! What is stored, and under which keys.
//!
//! Groups: `scheduler/group:ACCOUNT/REGION/NAME`; the default group has a record once it has tags.
//! Schedules: `scheduler/schedule:ACCOUNT/REGION/GROUP/NAME`, with how far the clock is with them.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use wire::{AccountId, Region, Scope};

use crate::clock::{Missed, Progress, Ticks};
use crate::schedule::Schedule;

pub(crate) const GROUPS: &str = "scheduler/group:";
pub(crate) const SCHEDULES: &str = "scheduler/schedule:";

/// Where a group's record is.
pub(crate) fn group_key(at: &Scope, name: &str) -> String {
    format!("{GROUPS}{}/{name}", at.key())
}

/// What the keys of all groups of a scope begin with.
pub(crate) fn groups_prefix(at: &Scope) -> String {
    format!("{GROUPS}{}/", at.key())
}

/// Where a schedule's record is.
pub(crate) fn schedule_key(at: &Scope, group: &str, name: &str) -> String {
    format!("{SCHEDULES}{}/{group}/{name}", at.key())
}

/// What the keys of all schedules of a scope begin with.
pub(crate) fn schedules_prefix(at: &Scope) -> String {
    format!("{SCHEDULES}{}/", at.key())
}

/// Scope, group and name of a schedule's key.
pub(crate) fn of_schedule_key(key: &str) -> Option<(Scope, &str, &str)> {
    let mut parts = key.strip_prefix(SCHEDULES)?.split('/');
    let at = Scope {
        account: AccountId::new(parts.next()?)?,
        region: Region::new(parts.next()?)?,
    };
    Some((at, parts.next()?, parts.next()?))
}

/// A group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupRecord {
    /// `None` for the default group, which nobody made.
    pub created_ms: Option<i64>,
    pub modified_ms: Option<i64>,
    /// It and its schedules are being removed.
    #[serde(default)]
    pub deleting: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The token of the request that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

store::first_version!(GroupRecord);

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScheduleRecord {
    /// As it was written.
    pub expression: String,
    /// A name of the time zone database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub enabled: bool,
    /// The flexible window, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_minutes: Option<u32>,
    /// Whether it goes when there is no more to come.
    #[serde(default)]
    pub delete_at_end: bool,
    pub target: TargetRecord,
    pub created_ms: i64,
    pub modified_ms: i64,
    /// Since when it has these times and is enabled: rates count from here.
    pub scheduled_ms: i64,
    /// The token of the request that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(default)]
    pub progress: Progress,
}

store::first_version!(ScheduleRecord);

/// What a schedule calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetRecord {
    pub arn: String,
    pub role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_max_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// Detail type and source, where the target is a bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventRecord>,
}

/// What an event on a bus says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventRecord {
    pub detail_type: String,
    pub source: String,
}

impl ScheduleRecord {
    /// When it runs, if it does. `key` is the record's.
    pub(crate) fn ticks(&self, key: &str) -> Option<Ticks> {
        if !self.enabled {
            return None;
        }
        let found = self.parsed();
        if found.is_none() {
            tracing::error!(
                key,
                expression = self.expression,
                "a schedule does not run, because it cannot be read"
            );
        }
        let (schedule, zone) = found?;
        // "EventBridge Scheduler ignores StartDate for one-time schedules", and EndDate.
        let (start_ms, end_ms) = match schedule {
            Schedule::At(_) => (i64::MIN, i64::MAX),
            _ => (
                self.start_ms
                    .unwrap_or(self.scheduled_ms)
                    .max(self.scheduled_ms),
                self.end_ms.unwrap_or(i64::MAX),
            ),
        };
        Some(Ticks {
            schedule,
            zone,
            anchor_ms: self.start_ms.unwrap_or(self.scheduled_ms),
            from_ms: start_ms,
            until_ms: end_ms,
            window_ms: i64::from(self.window_minutes.unwrap_or_default()) * 60_000,
            seed: key.to_owned(),
            missed: Missed::LastComesLate,
        })
    }

    fn parsed(&self) -> Option<(Schedule, TimeZone)> {
        let zone = match self.zone.as_deref() {
            Some(name) => TimeZone::get(name).ok()?,
            None => TimeZone::UTC,
        };
        Some((Schedule::parse(&self.expression).ok()?, zone))
    }

    /// Whether the two have the same times.
    pub(crate) fn has_times_of(&self, other: &Self) -> bool {
        let times = |record: &Self| {
            (
                record.enabled,
                record.expression.clone(),
                record.zone.clone(),
                record.start_ms,
            )
        };
        times(self) == times(other)
    }
}
