//! Time zones: Scheduler's rules for daylight saving, which hold for no rule, since those run in UTC.
//!
//! <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#daylist-savings-time>

use events::schedule::Schedule;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::utc;

/// Times are given with their offset, as a clock on the wall there shows them.
#[track_caller]
fn check(expression: &str, zone: &str, from: &str, expected: &[&str]) {
    let schedule = Schedule::parse(expression).expect("valid");
    let zone = TimeZone::get(zone).expect("a time zone");
    let ms = |text: &str| {
        text.parse::<Timestamp>()
            .expect("a moment")
            .as_millisecond()
    };
    let from = ms(from);
    let times = schedule.next_times(from, from, &zone, expected.len());
    let expected: Vec<i64> = expected.iter().map(|text| ms(text)).collect();
    assert_eq!(times, expected, "{expression}");
}

#[test]
fn a_time_that_spring_skips_does_not_come() {
    check(
        "cron(30 2 * * ? *)",
        "America/New_York",
        "2026-03-07T00:00-05:00",
        &["2026-03-07T02:30-05:00", "2026-03-09T02:30-04:00"],
    );
    check(
        "cron(0/20 1-3 8 3 ? *)",
        "America/New_York",
        "2026-03-08T01:30-05:00",
        &["2026-03-08T01:40-05:00", "2026-03-08T03:00-04:00"],
    );
    // The first moment after the gap is there.
    check(
        "cron(0 3 * * ? *)",
        "America/New_York",
        "2026-03-08T00:00-05:00",
        &["2026-03-08T03:00-04:00"],
    );
    check(
        "cron(30 2 ? * SUN *)",
        "Europe/Berlin",
        "2026-03-23T00:00+01:00",
        &["2026-04-05T02:30+02:00"],
    );
    // Half an hour only.
    check(
        "cron(15 2 * * ? *)",
        "Australia/Lord_Howe",
        "2026-10-03T00:00+10:30",
        &["2026-10-03T02:15+10:30", "2026-10-05T02:15+11:00"],
    );
    // A clock that is put forward at midnight.
    check(
        "cron(0 0 ? * SUN *)",
        "America/Santiago",
        "2026-09-01T00:00-04:00",
        &["2026-09-13T00:00-03:00"],
    );
    // A day that Samoa never had.
    check(
        "cron(0 12 30 12 ? *)",
        "Pacific/Apia",
        "2011-12-01T00:00-10:00",
        &["2012-12-30T12:00+14:00"],
    );
    check(
        "at(2026-03-08T02:30:00)",
        "America/New_York",
        "2026-03-01T00:00-05:00",
        &[],
    );
}

#[test]
fn a_time_that_autumn_repeats_comes_once() {
    check(
        "cron(30 1 * * ? *)",
        "America/New_York",
        "2026-10-31T02:00-04:00",
        &["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"],
    );
    // From within the second pass.
    check(
        "cron(30 1 * * ? *)",
        "America/New_York",
        "2026-11-01T01:10-05:00",
        &["2026-11-02T01:30-05:00"],
    );
    check(
        "cron(0/30 * * * ? *)",
        "America/New_York",
        "2026-11-01T00:45-04:00",
        &[
            "2026-11-01T01:00-04:00",
            "2026-11-01T01:30-04:00",
            "2026-11-01T02:00-05:00",
        ],
    );
    check(
        "cron(30 2 25 10 ? *)",
        "Europe/Berlin",
        "2026-10-01T00:00+02:00",
        &["2026-10-25T02:30+02:00", "2027-10-25T02:30+02:00"],
    );
    check(
        "at(2026-11-01T01:30:00)",
        "America/New_York",
        "2026-10-01T00:00-04:00",
        &["2026-11-01T01:30-04:00"],
    );
}

#[test]
fn other_days_follow_the_wall_clock() {
    check(
        "cron(0 7 * * ? *)",
        "America/New_York",
        "2026-03-07T12:00-05:00",
        &["2026-03-08T07:00-04:00", "2026-03-09T07:00-04:00"],
    );
    check(
        "cron(0 0 1 1 ? *)",
        "Asia/Kolkata",
        "2026-11-25T00:00Z",
        &["2027-01-01T00:00+05:30"],
    );
    check(
        "cron(45 5 * * ? *)",
        "Asia/Kathmandu",
        "2026-11-25T00:00Z",
        &["2026-11-25T00:00Z", "2026-11-26T00:00Z"],
    );
    // Beyond the table of transitions, by the zone's rule.
    check(
        "cron(0 12 1 7 ? 2150)",
        "America/New_York",
        "2026-11-25T00:00Z",
        &["2150-07-01T12:00-04:00"],
    );
}

#[test]
fn a_day_of_a_rate_is_24_hours() {
    check(
        "rate(1 day)",
        "America/New_York",
        "2026-03-07T12:00-05:00",
        &["2026-03-07T12:00-05:00", "2026-03-08T13:00-04:00"],
    );
}

/// No scan by the minute: what never comes is found out a hundred times while a test runs.
#[test]
fn what_never_comes_costs_nothing() {
    let zone = TimeZone::get("Europe/Berlin").expect("a time zone");
    let never = Schedule::parse("cron(* * 31 2 ? *)").expect("valid");
    for minute in 0..100 {
        let from = utc("2026-01-01 00:00") + minute * 60_000;
        assert_eq!(never.next(from, 0, &zone), None);
    }
}

#[test]
fn times_beyond_the_calendar_are_none() {
    let always = Schedule::parse("cron(* * * * ? *)").expect("valid");
    assert_eq!(always.next(i64::MAX, 0, &TimeZone::UTC), None);
    assert_eq!(always.next(i64::MIN, 0, &TimeZone::UTC), None);
    assert_eq!(
        always.next(utc("2200-01-01 00:00"), 0, &TimeZone::UTC),
        None
    );
    assert_eq!(
        always.next(utc("1900-01-01 00:00"), 0, &TimeZone::UTC),
        Some(0)
    );
    let daily = Schedule::parse("rate(1 day)").expect("valid");
    assert_eq!(daily.next(i64::MAX, 0, &TimeZone::UTC), None);
    assert_eq!(daily.next(i64::MAX, i64::MIN, &TimeZone::UTC), None);
}
