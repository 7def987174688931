//! Schedule expressions: `rate(5 minutes)`, `cron(0 6 ? * MON-FRI *)`, `at(2026-11-25T06:00:00)`.
//!
//! Parsed once into a value that cannot be wrong, and asked for the next time in a time zone. What AWS does not define is
//! refused: no field that is not understood ever counts as "any".
//! <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html>

mod cron;
mod field;

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

pub use cron::Cron;

/// A schedule expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// Again and again after the same time.
    Rate(Rate),
    /// At times of the calendar.
    Cron(Box<Cron>),
    /// Once. Only EventBridge Scheduler has these.
    At(At),
}

/// An interval, counted from an anchor and deaf to the calendar: a day is 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval_ms: i64,
}

/// One moment of the calendar, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    civil: DateTime,
}

/// Text that is not a schedule expression, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSchedule {
    text: String,
    advice: String,
}

/// The units of `rate`, in the singular, and how long they are.
const RATE_UNITS: [(&str, i64); 3] = [("minute", 60_000), ("hour", 3_600_000), ("day", 86_400_000)];

impl Schedule {
    /// Reads an expression of EventBridge Scheduler.
    ///
    /// # Errors
    /// If it is not one; [`InvalidSchedule::of_scheduler`] is then the sentence for the client.
    pub fn parse(text: &str) -> Result<Self, InvalidSchedule> {
        let parsed = match text.split_once('(') {
            Some((kind, rest)) => match (kind, rest.strip_suffix(')')) {
                ("rate", Some(inner)) => Rate::parse(inner).map(Self::Rate),
                ("cron", Some(inner)) => Cron::parse(inner).map(|cron| Self::Cron(cron.into())),
                ("at", Some(inner)) => At::parse(inner).map(Self::At),
                _ => Err(unknown_kind(text)),
            },
            None => Err(unknown_kind(text)),
        };
        parsed.map_err(|advice| InvalidSchedule {
            text: text.to_owned(),
            advice,
        })
    }

    /// Reads an expression of a rule, which has no `at`.
    ///
    /// # Errors
    /// If it is not one; [`InvalidSchedule::of_rule`] is then the sentence for the client.
    pub fn parse_for_rule(text: &str) -> Result<Self, InvalidSchedule> {
        match Self::parse(text)? {
            Self::At(_) => Err(InvalidSchedule {
                text: text.to_owned(),
                advice: "A rule runs by rate(...) or cron(...); for a single time create a schedule of EventBridge Scheduler.".to_owned(),
            }),
            schedule => Ok(schedule),
        }
    }

    /// The earliest time at or after `from_ms`, in milliseconds since 1970; `None` when there is none before the year 2200.
    ///
    /// The calendar is that of `zone`, where a time that a clock skips in spring does not come, and one that it repeats in
    /// autumn comes once, at its first pass. A rate counts from `anchor_ms`, which is a tick itself.
    pub fn next(&self, from_ms: i64, anchor_ms: i64, zone: &TimeZone) -> Option<i64> {
        match self {
            Self::Rate(rate) => rate.next(from_ms, anchor_ms),
            Self::Cron(cron) => cron.next(from_ms, zone),
            Self::At(at) => at.moment_ms(zone).filter(|moment| *moment >= from_ms),
        }
    }

    /// At most `count` times at or after `from_ms`, in order.
    pub fn next_times(
        &self,
        from_ms: i64,
        anchor_ms: i64,
        zone: &TimeZone,
        count: usize,
    ) -> Vec<i64> {
        let first = self.next(from_ms, anchor_ms, zone);
        std::iter::successors(first, |at| self.next(at + 1, anchor_ms, zone))
            .take(count)
            .collect()
    }
}

fn unknown_kind(text: &str) -> String {
    match Cron::parse(text) {
        Ok(_) => format!("Write cron({text})."),
        Err(_) => {
            "An expression is rate(...), cron(...) or at(...), in lower case and without spaces around it."
                .to_owned()
        }
    }
}

impl Rate {
    /// How long from one time to the next, in milliseconds.
    pub fn interval_ms(self) -> i64 {
        self.interval_ms
    }

    fn parse(inner: &str) -> Result<Self, String> {
        let wrong = || {
            "A rate is a whole number from 1 on and a unit: rate(1 minute), rate(5 minutes), rate(2 hours), rate(1 day)."
                .to_owned()
        };
        let (number, unit) = inner.split_once(' ').ok_or_else(wrong)?;
        let plain = number.starts_with(|c: char| ('1'..='9').contains(&c))
            && number.bytes().all(|b| b.is_ascii_digit());
        // Billions of any unit outlast the calendar.
        let count: u32 = number.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
        let (singular, unit_ms) = RATE_UNITS
            .into_iter()
            .find(|(singular, _)| unit.strip_suffix('s').unwrap_or(unit) == *singular)
            .ok_or_else(wrong)?;
        if (count == 1) != (unit == singular) {
            let plural = if count == 1 { "" } else { "s" };
            return Err(format!("Write rate({count} {singular}{plural})."));
        }
        Ok(Self {
            interval_ms: i64::from(count) * unit_ms,
        })
    }

    fn next(self, from_ms: i64, anchor_ms: i64) -> Option<i64> {
        let since = from_ms.checked_sub(anchor_ms)?;
        if since <= 0 {
            return Some(anchor_ms);
        }
        let intervals = (since - 1) / self.interval_ms + 1;
        anchor_ms.checked_add(intervals.checked_mul(self.interval_ms)?)
    }
}

impl At {
    fn parse(inner: &str) -> Result<Self, String> {
        // The form is stricter than the ISO's: no fractions, no zone, no date alone. It is the one that is printed.
        inner
            .parse::<DateTime>()
            .ok()
            .filter(|civil| civil.strftime("%Y-%m-%dT%H:%M:%S").to_string() == inner)
            .map(|civil| Self { civil })
            .ok_or_else(|| {
                "Write a date and a time that exist, as in at(2026-11-25T06:00:00); the time zone is ScheduleExpressionTimezone."
                    .to_owned()
            })
    }

    /// The moment in a time zone, in milliseconds since 1970; `None` where the clock skips it.
    pub fn moment_ms(self, zone: &TimeZone) -> Option<i64> {
        moment(self.civil, zone).map(Timestamp::as_millisecond)
    }
}

/// The moment of a calendar time: the first of two where the clock goes back, none where it leaps over it.
fn moment(civil: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Gap { .. } => None,
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(civil).ok(),
    }
}

impl InvalidSchedule {
    /// The sentence of EventBridge for a rule, and what to write instead.
    pub fn of_rule(&self) -> String {
        format!("Parameter ScheduleExpression is not valid. {}", self.advice)
    }

    /// The sentence of EventBridge Scheduler, and what to write instead.
    pub fn of_scheduler(&self) -> String {
        format!("Invalid Schedule Expression {}. {}", self.text, self.advice)
    }

    /// What to write instead.
    pub fn advice(&self) -> &str {
        &self.advice
    }
}

impl fmt::Display for InvalidSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.of_scheduler())
    }
}

impl std::error::Error for InvalidSchedule {}
