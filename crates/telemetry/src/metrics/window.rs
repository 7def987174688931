//! The time range of a query, cut into periods.

/// Seconds that CloudWatch rounds a start time down to, by how old it is: "Start time between 15 and 63 days ago -
/// Rounded down to the nearest 5-minute interval", and so on.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html>
const ROUNDING: [(i64, i64); 2] = [(63 * DAY_S, 3600), (15 * DAY_S, 300)];
const MINUTE_S: i64 = 60;
const DAY_S: i64 = 86_400;

/// Periods below a minute that a high-resolution metric can be asked for.
const SHORT_PERIODS_S: [i64; 5] = [1, 5, 10, 20, 30];

/// From `start_s` (included) to `end_s` (excluded) in steps of `period_s`, all in seconds since 1970.
///
/// Periods are counted from the rounded start, not from multiples of the period: AWS's own example asks for hours from
/// 23:18 and gets data points at 18 minutes past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Begin of the first period.
    pub start_s: i64,
    /// End of the range; the last period may reach beyond it.
    pub end_s: i64,
    /// Length of a period.
    pub period_s: i64,
}

impl Window {
    /// Rounds the start of a range as CloudWatch does. `None` if the range is empty.
    pub fn new(start_ms: i64, end_ms: i64, period_s: i64, now_ms: i64) -> Option<Self> {
        if start_ms >= end_ms {
            return None;
        }
        let start_s = start_ms.div_euclid(1000);
        let age_s = now_ms.div_euclid(1000) - start_s;
        let rounding = ROUNDING
            .iter()
            .find(|(older_than, _)| age_s >= *older_than)
            .map_or(period_s.min(MINUTE_S), |(_, rounding)| *rounding);
        Some(Self {
            start_s: start_s - start_s.rem_euclid(rounding),
            // A part of a second at the end still belongs to the range.
            end_s: end_ms.div_euclid(1000) + i64::from(end_ms.rem_euclid(1000) > 0),
            period_s,
        })
    }

    /// Whether CloudWatch has such a period at all.
    pub fn is_period(period_s: i64) -> bool {
        SHORT_PERIODS_S.contains(&period_s) || (period_s > 0 && period_s % MINUTE_S == 0)
    }

    /// The start of the period that holds a time, if the range does.
    pub fn period_of(&self, time_s: i64) -> Option<i64> {
        (time_s >= self.start_s && time_s < self.end_s)
            .then(|| time_s - (time_s - self.start_s).rem_euclid(self.period_s))
    }

    /// The start of every period.
    pub fn periods(&self) -> impl Iterator<Item = i64> + use<> {
        let Self {
            start_s,
            end_s,
            period_s,
        } = *self;
        (0..self.count())
            .map(move |n| start_s + n * period_s)
            .take_while(move |t| *t < end_s)
    }

    /// How many periods there are.
    pub fn count(&self) -> i64 {
        (self.end_s - self.start_s + self.period_s - 1).max(0) / self.period_s
    }

    /// The same range in other steps.
    #[must_use]
    pub fn with_period(self, period_s: i64) -> Self {
        Self { period_s, ..self }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    #[track_caller]
    fn check(start_s: i64, period_s: i64, rounded_s: i64) {
        let window = Window::new(start_s * 1000 + 7, NOW_MS, period_s, NOW_MS).unwrap();
        assert_eq!(window.start_s, rounded_s);
    }

    #[test]
    fn starts_are_rounded_by_age() {
        let now_s = NOW_MS / 1000;
        check(now_s - 59, 60, now_s - 60);
        check(now_s - 59, 3600, now_s - 60);
        check(now_s - 59, 1, now_s - 59);
        check(now_s - 59, 10, now_s - 60);
        check(now_s - 15 * DAY_S - 1, 60, now_s - 15 * DAY_S - 300);
        check(now_s - 63 * DAY_S - 1, 60, now_s - 63 * DAY_S - 3600);
    }

    #[test]
    fn periods_count_from_the_start() {
        let window = Window::new(61_000, 400_500, 120, 400_000).unwrap();
        assert_eq!((window.start_s, window.end_s), (60, 401));
        assert_eq!(window.periods().collect::<Vec<_>>(), [60, 180, 300]);
        assert_eq!(window.count(), 3);
        assert_eq!(window.period_of(59), None);
        assert_eq!(window.period_of(179), Some(60));
        assert_eq!(window.period_of(400), Some(300));
        assert_eq!(window.period_of(401), None);
        assert_eq!(Window::new(5, 5, 60, 5), None);
    }
}
