//! The next time is the earliest that matches: against a matcher that looks at every minute, as the words of AWS's page
//! describe the fields.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;

use super::cron;

/// How far the naive search goes.
const DAYS_MAX: i32 = 150;

/// A field and the values it means, made together.
#[derive(Debug, Clone)]
struct Numbers {
    text: String,
    values: Vec<i32>,
}

/// One item of a list of `min` to `max`: a value, a range that may run over the end, a step.
fn item(min: i32, max: i32) -> impl Strategy<Value = Numbers> {
    let range = (min..=max, min..=max, 1..=(max - min).min(max));
    (0..5, range).prop_map(move |(form, (a, b, step))| {
        // Goes round like a clock, one by one, until the end of the range.
        let walk = |from: i32, to: i32, step: i32| {
            let (mut values, mut value, mut index) = (Vec::new(), from, 0);
            loop {
                if index % step == 0 {
                    values.push(value);
                }
                if value == to {
                    return values;
                }
                value = if value == max { min } else { value + 1 };
                index += 1;
            }
        };
        let (text, values) = match form {
            0 => ("*".to_owned(), walk(min, max, 1)),
            1 => (format!("{a}"), vec![a]),
            2 => (format!("{a}-{b}"), walk(a, b, 1)),
            3 => (format!("{a}/{step}"), walk(a, max, step)),
            _ => (format!("{a}-{b}/{step}"), walk(a, b, step)),
        };
        Numbers { text, values }
    })
}

fn numbers(min: i32, max: i32) -> impl Strategy<Value = Numbers> {
    prop::collection::vec(item(min, max), 1..3).prop_map(|items| Numbers {
        text: items
            .iter()
            .map(|i| i.text.as_str())
            .collect::<Vec<_>>()
            .join(","),
        values: items.into_iter().flat_map(|i| i.values).collect(),
    })
}

#[derive(Debug, Clone)]
enum Day {
    Month(Numbers),
    Week(Numbers),
    Last,
    LastWeekday,
    Nearest(i32),
    LastOf(i32),
    Nth(i32, i32),
}

impl Day {
    fn fields(&self) -> (String, String) {
        let any = || "?".to_owned();
        match self {
            Day::Month(numbers) => (numbers.text.clone(), any()),
            Day::Week(numbers) => (any(), numbers.text.clone()),
            Day::Last => ("L".to_owned(), any()),
            Day::LastWeekday => ("LW".to_owned(), any()),
            Day::Nearest(day) => (format!("{day}W"), any()),
            Day::LastOf(weekday) => (any(), format!("{weekday}L")),
            Day::Nth(weekday, nth) => (any(), format!("{weekday}#{nth}")),
        }
    }

    fn matches(&self, date: Date) -> bool {
        let weekday = |date: Date| i32::from(date.weekday().to_sunday_one_offset());
        let is_workday = |date: Date| (2..=6).contains(&weekday(date));
        let day = i32::from(date.day());
        let mut month = (1..=date.days_in_month())
            .map(|day| Date::new(date.year(), date.month(), day).expect("a day of the month"));
        match self {
            Day::Month(numbers) => numbers.values.contains(&day),
            Day::Week(numbers) => numbers.values.contains(&weekday(date)),
            Day::Last => date.day() == date.days_in_month(),
            Day::LastWeekday => month.rfind(|d| is_workday(*d)) == Some(date),
            Day::Nearest(wanted) => {
                let days: Vec<Date> = month.collect();
                let exists = days.iter().any(|d| i32::from(d.day()) == *wanted);
                let distance = |d: &&Date| (i32::from(d.day()) - wanted).abs();
                let nearest = days.iter().filter(|d| is_workday(**d)).min_by_key(distance);
                exists && nearest == Some(&date)
            }
            Day::LastOf(wanted) => month.rfind(|d| weekday(*d) == *wanted) == Some(date),
            Day::Nth(wanted, nth) => {
                let index = usize::try_from(nth - 1).expect("from 1 on");
                month.filter(|d| weekday(*d) == *wanted).nth(index) == Some(date)
            }
        }
    }
}

fn days() -> impl Strategy<Value = Day> {
    prop_oneof![
        3 => numbers(1, 31).prop_map(Day::Month),
        3 => numbers(1, 7).prop_map(Day::Week),
        1 => Just(Day::Last),
        1 => Just(Day::LastWeekday),
        2 => (1..=31).prop_map(Day::Nearest),
        2 => (1..=7).prop_map(Day::LastOf),
        2 => (1..=7, 1..=5).prop_map(|(weekday, nth)| Day::Nth(weekday, nth)),
    ]
}

/// Every minute of the zone's wall clock that matches, in order, each once.
fn naive(
    minutes: &Numbers,
    hours: &Numbers,
    day: &Day,
    months: &Numbers,
    from: Timestamp,
    zone: &TimeZone,
) -> Option<Timestamp> {
    let first = zone.to_datetime(from).date();
    for offset in -1..DAYS_MAX {
        let date = first
            .checked_add(offset.days())
            .expect("within the calendar");
        if !months.values.contains(&i32::from(date.month())) || !day.matches(date) {
            continue;
        }
        for minute in 0..24 * 60 {
            if !minutes.values.contains(&(minute % 60)) || !hours.values.contains(&(minute / 60)) {
                continue;
            }
            let civil: DateTime = date.at(0, 0, 0, 0) + minute.minutes();
            let ambiguous = zone.to_ambiguous_timestamp(civil);
            if matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. }) {
                continue;
            }
            let moment = ambiguous.earlier().expect("within the calendar");
            if moment >= from {
                return Some(moment);
            }
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_next_time_is_the_earliest_that_matches(
        minutes in numbers(0, 59),
        hours in numbers(0, 23),
        day in days(),
        months in numbers(1, 12),
        // 2020 to 2040, in seconds.
        from in 1_577_836_800_i64..2_208_988_800,
        zone in prop::sample::select(vec![
            "UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "America/Santiago", "Africa/Casablanca",
        ]),
    ) {
        let (of_month, of_week) = day.fields();
        let fields = format!("{} {} {of_month} {} {of_week} *", minutes.text, hours.text, months.text);
        let zone = TimeZone::get(zone).expect("a time zone");
        let from = Timestamp::from_second(from).expect("within the calendar");
        let found = cron(&fields).next(from.as_millisecond(), 0, &zone);
        let horizon = zone.to_datetime(from).date() + DAYS_MAX.days();
        match naive(&minutes, &hours, &day, &months, from, &zone) {
            Some(expected) => prop_assert_eq!(found, Some(expected.as_millisecond()), "cron({})", fields),
            None => {
                let found = found.map(|ms| Timestamp::from_millisecond(ms).expect("a moment"));
                let beyond = found.is_none_or(|moment| zone.to_datetime(moment).date() >= horizon);
                prop_assert!(beyond, "cron({}) has found {:?}, which does not match", fields, found);
            }
        }
    }

    /// Whatever is written, it is read or refused, in no time and without a panic.
    #[test]
    fn any_text_is_read_or_refused(text in "(cron|rate|at)?\\(?[0-9A-Z*?/,# -]{0,40}\\)?") {
        if let Ok(schedule) = events::schedule::Schedule::parse(&text) {
            let _ = schedule.next_times(0, 0, &TimeZone::UTC, 3);
        }
    }
}
