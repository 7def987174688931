//! Schedule expressions: what is taken and refused, when each comes next, and an oracle beside ours.

mod expressions;
mod naive;
mod oracle;
mod times;
mod zones;

use events::schedule::Schedule;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// `2026-11-25 06:30` or with seconds, in UTC, as milliseconds since 1970.
#[track_caller]
fn utc(text: &str) -> i64 {
    let civil: DateTime = text.parse().expect("a date and a time");
    let zoned = civil.to_zoned(TimeZone::UTC).expect("UTC has no gaps");
    zoned.timestamp().as_millisecond()
}

#[track_caller]
fn cron(fields: &str) -> Schedule {
    Schedule::parse(&format!("cron({fields})")).expect("a valid expression")
}
