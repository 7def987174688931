//! When a record is due, and how far the clock is with it. Nothing here waits or writes.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::schedule::Schedule;

/// The precision that AWS promises: what is due at 1:00 may come until 1:00:59.
pub(crate) const PRECISION_MS: i64 = 60_000;

/// How far the clock is with a record. It is a part of the record, so that a claim is one compare-and-swap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Ticks up to this one are over.
    #[serde(default)]
    pub done_ms: i64,
    /// The tick that is being put into the outbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
}

/// A node's right to a tick, for a while. Nothing bad happens when two believe to have it: what they put into the outbox
/// has the same ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub tick_ms: i64,
    /// The process.
    pub by: String,
    /// From here on the tick is anybody's.
    pub until_ms: i64,
}

impl Progress {
    /// The tick is in the outbox.
    pub(crate) fn finish(&mut self, tick_ms: i64) {
        self.done_ms = self.done_ms.max(tick_ms);
        self.claim = None;
    }
}

/// The ticks of a record.
#[derive(Debug, Clone)]
pub(crate) struct Ticks {
    pub schedule: Schedule,
    pub zone: TimeZone,
    /// Rates count from here.
    pub anchor_ms: i64,
    /// No tick is earlier.
    pub from_ms: i64,
    /// No tick is later.
    pub until_ms: i64,
    /// A tick is put off by up to this much.
    pub window_ms: i64,
    /// Tells the delays of one record from another's.
    pub seed: String,
    /// What becomes of ticks that nobody was there for.
    pub missed: Missed,
}

/// What becomes of ticks that nobody was there for, because the machine slept or Mayfly was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missed {
    /// They are gone.
    Lost,
    /// The last of them comes late.
    LastComesLate,
}

/// What to do about a record now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing, ever.
    Never,
    /// Look again at this time.
    Wait(i64),
    /// This tick is due.
    Fire(i64),
}

impl Ticks {
    /// What to do now, when the clock is this far.
    pub(crate) fn plan(&self, done_ms: i64, now_ms: i64) -> Plan {
        let undone_ms = self.from_ms.max(done_ms.saturating_add(1));
        let in_time_ms = now_ms - PRECISION_MS - self.window_ms;
        let Some(first) = self.next(undone_ms.max(in_time_ms)) else {
            // All that is left was missed.
            return self.late(undone_ms, now_ms).map_or(Plan::Never, Plan::Fire);
        };
        if first > now_ms
            && let Some(tick) = self.late(undone_ms, now_ms)
        {
            return Plan::Fire(tick);
        }
        match self.due(first) {
            due if due <= now_ms => Plan::Fire(first),
            due => Plan::Wait(due),
        }
    }

    /// The first tick at or after this time.
    pub(crate) fn next(&self, from_ms: i64) -> Option<i64> {
        self.schedule
            .next(from_ms.max(self.from_ms), self.anchor_ms, &self.zone)
            .filter(|tick| *tick <= self.until_ms)
    }

    /// Whether there is none after this one.
    pub(crate) fn ends_with(&self, tick_ms: i64) -> bool {
        self.next(tick_ms.saturating_add(1)).is_none()
    }

    /// When a tick comes: within its window, by chance, but always the same for the same tick.
    pub(crate) fn due(&self, tick_ms: i64) -> i64 {
        if self.window_ms == 0 {
            return tick_ms;
        }
        let mut hasher = DefaultHasher::new();
        (&self.seed, tick_ms).hash(&mut hasher);
        let window = u64::try_from(self.window_ms).unwrap_or(1);
        let delay = hasher.finish() % window;
        tick_ms.saturating_add(i64::try_from(delay).unwrap_or_default())
    }

    /// The last tick that was missed, if it is to come late.
    fn late(&self, undone_ms: i64, now_ms: i64) -> Option<i64> {
        if self.missed == Missed::Lost {
            return None;
        }
        let is_past = |from_ms: i64| self.next(from_ms).filter(|tick| *tick <= now_ms);
        let mut last = is_past(undone_ms)?;
        // Halves the time until now. A month of minutes takes thirty steps, not forty thousand.
        let mut end = now_ms;
        while last < end {
            let middle = last + (end - last) / 2 + 1;
            match is_past(middle) {
                Some(later) => last = later,
                None => end = middle - 1,
            }
        }
        Some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::DateTime;

    const MINUTE: i64 = 60_000;

    #[track_caller]
    fn utc(text: &str) -> i64 {
        let civil: DateTime = format!("2026-11-{text}")
            .parse()
            .expect("a date and a time");
        let zoned = civil.to_zoned(TimeZone::UTC).expect("UTC has no gaps");
        zoned.timestamp().as_millisecond()
    }

    fn ticks(schedule: &str, missed: Missed) -> Ticks {
        Ticks {
            schedule: Schedule::parse(schedule).expect("valid"),
            zone: TimeZone::UTC,
            anchor_ms: utc("01 00:00"),
            from_ms: utc("01 00:00"),
            until_ms: i64::MAX,
            window_ms: 0,
            seed: "one".to_owned(),
            missed,
        }
    }

    #[track_caller]
    fn check(ticks: &Ticks, done: &str, now: &str, expected: Plan) {
        assert_eq!(
            ticks.plan(utc(done), utc(now)),
            expected,
            "done {done}, now {now}"
        );
    }

    #[test]
    fn a_tick_comes_when_it_is_due() {
        for missed in [Missed::Lost, Missed::LastComesLate] {
            let daily = ticks("cron(0 6 * * ? *)", missed);
            check(
                &daily,
                "24 06:00",
                "25 05:59:59",
                Plan::Wait(utc("25 06:00")),
            );
            check(&daily, "24 06:00", "25 06:00", Plan::Fire(utc("25 06:00")));
            check(
                &daily,
                "24 06:00",
                "25 06:00:59",
                Plan::Fire(utc("25 06:00")),
            );
            check(&daily, "25 06:00", "25 06:00", Plan::Wait(utc("26 06:00")));
        }
    }

    #[test]
    fn a_rule_is_not_made_up_for() {
        let daily = ticks("cron(0 6 * * ? *)", Missed::Lost);
        check(&daily, "24 06:00", "25 06:01", Plan::Fire(utc("25 06:00")));
        check(
            &daily,
            "24 06:00",
            "25 06:01:01",
            Plan::Wait(utc("26 06:00")),
        );
        check(
            &daily,
            "20 06:00",
            "25 06:00:30",
            Plan::Fire(utc("25 06:00")),
        );
        let by_minute = ticks("rate(1 minute)", Missed::Lost);
        check(
            &by_minute,
            "25 06:00",
            "25 07:00:30",
            Plan::Fire(utc("25 07:00")),
        );
        let over = ticks("cron(0 6 25 11 ? 2026)", Missed::Lost);
        check(&over, "24 06:00", "25 07:00", Plan::Never);
    }

    #[test]
    fn the_last_missed_tick_of_a_schedule_comes_late() {
        let daily = ticks("cron(0 6 * * ? *)", Missed::LastComesLate);
        check(
            &daily,
            "24 06:00",
            "25 13:17:05",
            Plan::Fire(utc("25 06:00")),
        );
        check(&daily, "20 06:00", "25 13:00", Plan::Fire(utc("25 06:00")));
        check(&daily, "25 06:00", "25 13:00", Plan::Wait(utc("26 06:00")));
        // One that is in time comes instead of those that are not.
        check(
            &daily,
            "20 06:00",
            "25 06:00:10",
            Plan::Fire(utc("25 06:00")),
        );
        let by_minute = ticks("rate(1 minute)", Missed::LastComesLate);
        check(
            &by_minute,
            "01 00:00",
            "29 23:59:59",
            Plan::Fire(utc("29 23:59")),
        );
        let once = ticks("at(2026-11-10T00:00:00)", Missed::LastComesLate);
        check(&once, "01 00:00", "25 00:00", Plan::Fire(utc("10 00:00")));
        check(&once, "10 00:00", "25 00:00", Plan::Never);
        let last = ticks("cron(0 6 25 11 ? 2026)", Missed::LastComesLate);
        check(&last, "24 06:00", "28 07:00", Plan::Fire(utc("25 06:00")));
        let two = ticks("cron(0 6,7 25 11 ? *)", Missed::LastComesLate);
        check(&two, "24 06:00", "25 07:30", Plan::Fire(utc("25 07:00")));
    }

    #[test]
    fn windows_put_ticks_off_by_the_same_every_time() {
        let window_ms = 10 * MINUTE;
        let hourly = Ticks {
            window_ms,
            ..ticks("rate(1 hour)", Missed::LastComesLate)
        };
        let tick = utc("25 06:00");
        let due = hourly.due(tick);
        assert!((tick..tick + window_ms).contains(&due));
        assert_eq!(hourly.due(tick), due);
        assert_eq!(hourly.plan(tick - 1, tick), Plan::Wait(due));
        assert_eq!(hourly.plan(tick - 1, due), Plan::Fire(tick));
        let dues: std::collections::BTreeSet<i64> = (0..24)
            .map(|hour| hourly.due(tick + hour * 60 * MINUTE) % (60 * MINUTE))
            .collect();
        assert!(dues.len() > 12, "spread over the window");
        let other = Ticks {
            seed: "two".to_owned(),
            ..hourly.clone()
        };
        assert_ne!(other.due(tick), due, "each record by itself");
        // Windows that overlap: every tick comes, in order and within its own.
        let crowded = Ticks {
            window_ms,
            ..ticks("rate(1 minute)", Missed::LastComesLate)
        };
        let (mut done, mut now) = (tick, tick);
        for number in 1..=60 {
            match crowded.plan(done, now) {
                Plan::Wait(until) => now = until,
                other => assert_eq!(other, Plan::Fire(tick + number * MINUTE)),
            }
            assert_eq!(crowded.plan(done, now), Plan::Fire(tick + number * MINUTE));
            done = tick + number * MINUTE;
            assert!((done..done + window_ms).contains(&now), "within its window");
        }
    }

    #[test]
    fn ends_are_kept() {
        let ticks = Ticks {
            until_ms: utc("25 06:00"),
            ..ticks("cron(0 6 * * ? *)", Missed::LastComesLate)
        };
        check(&ticks, "24 06:00", "25 06:00", Plan::Fire(utc("25 06:00")));
        check(&ticks, "25 06:00", "25 06:01", Plan::Never);
        assert!(ticks.ends_with(utc("25 06:00")));
        assert!(!ticks.ends_with(utc("24 06:00")));
    }
}
