//! croner, where its dialect agrees with AWS's: not in ranges over the end, a bare `L` weekday and daylight saving.

use chrono::{DateTime, TimeZone as _, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;

use super::{cron, utc};

/// AWS's numbering of weekdays is the alternative one.
fn croner(fields: &str) -> Cron {
    CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .alternative_weekdays(true)
        .build()
        .parse(&format!("0 {fields}"))
        .expect("valid for croner too")
}

#[test]
fn croner_agrees() {
    for minutes in ["0", "*/15", "5,35", "10-20/5"] {
        for hours in ["*", "6", "8-17", "0,12", "*/6"] {
            for days in DAYS {
                for months in ["*", "2", "JAN,JUL", "3-9/3"] {
                    let [of_month, of_week] = days;
                    if (of_month, months) == ("31", "2") {
                        // Never; croner takes long to find that out.
                        continue;
                    }
                    let fields = format!("{minutes} {hours} {of_month} {months} {of_week} *");
                    compare(&fields);
                }
            }
        }
    }
}

const DAYS: [[&str; 2]; 13] = [
    ["*", "?"],
    ["1", "?"],
    ["31", "?"],
    ["1,15", "?"],
    ["*/10", "?"],
    ["L", "?"],
    ["LW", "?"],
    ["15W", "?"],
    ["?", "MON-FRI"],
    ["?", "1,7"],
    ["?", "6L"],
    ["?", "3#2"],
    ["?", "SAT#3"],
];

fn compare(fields: &str) {
    let from = utc("2026-11-25 06:30:30");
    let ours = cron(fields).next_times(from, 0, &TimeZone::UTC, 5);
    let start: DateTime<Utc> = Utc.timestamp_millis_opt(from).single().expect("a moment");
    let theirs: Vec<i64> = croner(fields)
        .iter_after(start)
        .take(5)
        .map(|time| time.timestamp_millis())
        .collect();
    assert_eq!(ours, theirs, "cron({fields})");
}
