//! AWS's cron dialect: six fields, of which exactly one of the two day fields is `?`.
//!
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html>

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::field::{DAY_OF_MONTH, DAY_OF_WEEK, Field, HOURS, MINUTES, MONTH, YEAR, number};
use super::moment;

/// What stands inside `cron(...)`. Sets of numbers are in order and never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: Vec<u16>,
    hours: Vec<u16>,
    days: Days,
    months: Vec<u16>,
    years: Vec<u16>,
}

/// The day field that is not `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Days {
    OfMonth(Vec<DayOfMonth>),
    OfWeek(Vec<DayOfWeek>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DayOfMonth {
    /// `15`.
    Day(i8),
    /// `L`.
    Last,
    /// `LW`: the last day from Monday to Friday.
    LastWeekday,
    /// `15W`: the day from Monday to Friday that is nearest to the 15th within the month.
    NearestWeekday(i8),
}

/// Weekdays count from 1, Sunday, to 7, Saturday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DayOfWeek {
    /// `6`, `FRI`; a bare `L` is Saturday, the last day of the week.
    Every(i8),
    /// `6L`: the last Friday of the month.
    Last(i8),
    /// `6#3`: the third Friday of the month.
    Nth(i8, i8),
}

const FIELDS: &str = "minutes hours day-of-month month day-of-week year";
const SUNDAY: i8 = 1;
const SATURDAY: i8 = 7;

impl Cron {
    /// Reads the six fields. The error says what to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.trim() != text {
            return Err("Leave out the spaces next to the parentheses.".to_owned());
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let &[minutes, hours, of_month, month, of_week, year] = fields.as_slice() else {
            return Err(format!(
                "A cron expression has six fields: {FIELDS}; this one has {}.",
                fields.len()
            ));
        };
        let days = match (of_month, of_week) {
            ("?", "?") => Err(one_day_field([minutes, hours, "*", month, "?", year])),
            ("?", _) => Days::of_week(of_week),
            (_, "?") => Days::of_month(of_month),
            ("*", "*") => Err(one_day_field([minutes, hours, "*", month, "?", year])),
            ("*", _) => Err(one_day_field([minutes, hours, "?", month, of_week, year])),
            (_, "*") => Err(one_day_field([minutes, hours, of_month, month, "?", year])),
            _ => Err(format!(
                "A day of the month and a day of the week cannot be combined: write ? for one of them, as in cron({minutes} {hours} {of_month} {month} ? {year}) or cron({minutes} {hours} ? {month} {of_week} {year})."
            )),
        };
        Ok(Self {
            days: days?,
            minutes: MINUTES.set(minutes)?,
            hours: HOURS.set(hours)?,
            months: MONTH.set(month)?,
            years: YEAR.set(year)?,
        })
    }

    /// The earliest time at or after `from_ms`, in milliseconds since 1970.
    pub(super) fn next(&self, from_ms: i64, zone: &TimeZone) -> Option<i64> {
        let from = Timestamp::from_millisecond(from_ms).ok()?;
        let mut civil = whole_minute(zone.to_datetime(from))?;
        loop {
            let found = self.next_civil(civil)?;
            // Passed over: what the clock skips, and what it repeats when the first pass is over. A leap is at most a day.
            if let Some(moment) = moment(found, zone)
                && moment >= from
            {
                return Some(moment.as_millisecond());
            }
            civil = found.checked_add(1.minute()).ok()?;
        }
    }

    /// The earliest calendar time at or after `from`, which is a whole minute. Bounded by the months until the year 2200.
    fn next_civil(&self, from: DateTime) -> Option<DateTime> {
        if self.has_date(from.date())
            && let Some(time) = self.next_time(from.time())
        {
            return Some(from.date().to_datetime(time));
        }
        let date = self.next_date(from.date().tomorrow().ok()?)?;
        Some(date.to_datetime(self.next_time(Time::midnight())?))
    }

    fn next_time(&self, from: Time) -> Option<Time> {
        let hour = at_or_after(&self.hours, from.hour())?;
        let minute = match hour == from.hour() {
            true => at_or_after(&self.minutes, from.minute()),
            false => at_or_after(&self.minutes, 0),
        };
        match minute {
            Some(minute) => Time::new(hour, minute, 0, 0).ok(),
            None => self.next_time(Time::new(hour.checked_add(1)?, 0, 0, 0).ok()?),
        }
    }

    fn has_date(&self, date: Date) -> bool {
        let has =
            |values: &[u16], value: i16| values.iter().any(|v| i16::try_from(*v) == Ok(value));
        has(&self.years, date.year())
            && has(&self.months, date.month().into())
            && self.days.within(date.first_of_month()).has(date.day())
    }

    fn next_date(&self, from: Date) -> Option<Date> {
        let years = self
            .years
            .iter()
            .filter_map(|year| i16::try_from(*year).ok());
        for year in years.filter(|year| *year >= from.year()) {
            let months = self
                .months
                .iter()
                .filter_map(|month| i8::try_from(*month).ok());
            for month in months {
                let first = Date::new(year, month, 1).ok()?;
                let begin = first.max(from);
                if begin.first_of_month() != first {
                    continue;
                }
                let days = self.days.within(first);
                let begin_at = begin.day();
                if let Some(day) = (begin_at..=first.days_in_month()).find(|d| days.has(*d)) {
                    return Date::new(year, month, day).ok();
                }
            }
        }
        None
    }
}

fn one_day_field([minutes, hours, of_month, month, of_week, year]: [&str; 6]) -> String {
    format!(
        "Exactly one of day-of-month and day-of-week is ?: write cron({minutes} {hours} {of_month} {month} {of_week} {year})."
    )
}

/// This minute if it has just begun, else the next one.
fn whole_minute(civil: DateTime) -> Option<DateTime> {
    let begun = civil.with().second(0).subsec_nanosecond(0).build().ok()?;
    match begun == civil {
        true => Some(civil),
        false => begun.checked_add(1.minute()).ok(),
    }
}

fn at_or_after(values: &[u16], from: i8) -> Option<i8> {
    values
        .iter()
        .filter_map(|value| i8::try_from(*value).ok())
        .find(|value| *value >= from)
}

/// Days of one month, as bits.
#[derive(Clone, Copy)]
struct DaySet(u32);

impl DaySet {
    fn has(self, day: i8) -> bool {
        self.0 & (1 << day) != 0
    }
}

impl Days {
    fn of_month(text: &str) -> Result<Self, String> {
        let mut days = Vec::new();
        for item in text.split(',') {
            match item.to_ascii_uppercase().as_str() {
                "L" => days.push(DayOfMonth::Last),
                "LW" => days.push(DayOfMonth::LastWeekday),
                upper => match upper.strip_suffix('W') {
                    Some(day) => days.push(DayOfMonth::NearestWeekday(small(&DAY_OF_MONTH, day)?)),
                    None => days.extend(smalls(&DAY_OF_MONTH, item)?.map(DayOfMonth::Day)),
                },
            }
        }
        Ok(Self::OfMonth(days))
    }

    fn of_week(text: &str) -> Result<Self, String> {
        if let Some((day, nth)) = text.split_once('#') {
            let nth = number(nth).and_then(|nth| i8::try_from(nth).ok());
            let nth = nth.filter(|nth| (1..=5).contains(nth)).ok_or_else(|| {
                "After # stands 1 to 5, and it is the only item of its field: SAT#3 is the third Saturday.".to_owned()
            })?;
            return Ok(Self::OfWeek(vec![DayOfWeek::Nth(
                small(&DAY_OF_WEEK, day)?,
                nth,
            )]));
        }
        let mut days = Vec::new();
        for item in text.split(',') {
            match item.strip_suffix(['L', 'l']) {
                Some("") => days.push(DayOfWeek::Every(SATURDAY)),
                Some(day) => days.push(DayOfWeek::Last(small(&DAY_OF_WEEK, day)?)),
                None => days.extend(smalls(&DAY_OF_WEEK, item)?.map(DayOfWeek::Every)),
            }
        }
        Ok(Self::OfWeek(days))
    }

    /// The days of the month that begins with `first`.
    fn within(&self, first: Date) -> DaySet {
        match self {
            Self::OfMonth(days) => DaySet(days.iter().fold(0, |set, day| set | day.within(first))),
            Self::OfWeek(days) => DaySet(days.iter().fold(0, |set, day| set | day.within(first))),
        }
    }
}

fn small(field: &Field, text: &str) -> Result<i8, String> {
    let value = field.value(text)?;
    i8::try_from(value).map_err(|_| field.wrong(text))
}

fn smalls(field: &Field, item: &str) -> Result<impl Iterator<Item = i8> + use<>, String> {
    let values = field.item(item)?;
    Ok(values
        .into_iter()
        .filter_map(|value| i8::try_from(value).ok()))
}

impl DayOfMonth {
    fn within(self, first: Date) -> u32 {
        let last = first.days_in_month();
        let weekday = |day: i8| 1 + (weekday(first) - 1 + day - 1) % 7;
        let day = match self {
            // A 31st is skipped where there is none, by L too: the month has other days then.
            Self::Day(day) | Self::NearestWeekday(day) if day > last => return 0,
            Self::Day(day) => day,
            Self::Last => last,
            Self::LastWeekday => match weekday(last) {
                SATURDAY => last - 1,
                SUNDAY => last - 2,
                _ => last,
            },
            // The nearest may be on the other side of the weekend, but never in another month.
            Self::NearestWeekday(day) => match weekday(day) {
                SATURDAY if day == 1 => 3,
                SATURDAY => day - 1,
                SUNDAY if day == last => day - 2,
                SUNDAY => day + 1,
                _ => day,
            },
        };
        1 << day
    }
}

impl DayOfWeek {
    fn within(self, first: Date) -> u32 {
        let last = first.days_in_month();
        let earliest = |day: i8| 1 + (day - weekday(first)).rem_euclid(7);
        let all = |day: i8| (earliest(day)..=last).step_by(7);
        match self {
            Self::Every(day) => all(day).fold(0, |set, day| set | 1 << day),
            Self::Last(day) => all(day).next_back().map_or(0, |day| 1 << day),
            Self::Nth(day, nth) => match earliest(day) + 7 * (nth - 1) {
                day if day <= last => 1 << day,
                _ => 0,
            },
        }
    }
}

/// 1, Sunday, to 7, Saturday.
fn weekday(date: Date) -> i8 {
    date.weekday().to_sunday_one_offset()
}
