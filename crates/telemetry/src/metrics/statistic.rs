//! Statistics: `Average`, `p99.9`, `TM(10%:90%)` and the others, parsed by name and computed from a [`Distribution`].
//!
//! Follows <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html>.

use std::fmt;

use super::Distribution;

/// How many digits CloudWatch takes after the point of a percentile.
const DECIMALS_MAX: usize = 10;

/// A statistic that can be asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistic {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    SampleCount,
    Sum,
    Average,
    Minimum,
    Maximum,
    /// `p95`: the highest value after the top five per cent are ignored.
    Percentile(f64),
    TrimmedMean(Bounds),
    WinsorizedMean(Bounds),
    TrimmedCount(Bounds),
    TrimmedSum(Bounds),
    /// `PR(100:2000)`: the share of values in a range, in per cent.
    PercentileRank {
        low: Option<f64>,
        high: Option<f64>,
    },
}

/// Which values take part.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bounds {
    /// From one percentile to another, both as fractions.
    Percent { low: f64, high: f64 },
    /// Above the first and up to the second.
    Values { low: Option<f64>, high: Option<f64> },
}

impl Statistic {
    /// Reads a statistic's name; `None` if CloudWatch has no such statistic.
    pub fn parse(name: &str) -> Option<Self> {
        Some(Self {
            name: name.to_owned(),
            kind: Kind::parse(name)?,
        })
    }

    /// The statistic over a period; `None` if the period is empty or its values are not known.
    pub fn of(&self, values: &Distribution) -> Option<f64> {
        if values.is_empty() {
            return None;
        }
        match self.kind {
            Kind::SampleCount => Some(values.count),
            Kind::Sum => Some(values.sum),
            Kind::Average => Some(values.sum / values.count),
            Kind::Minimum => Some(values.min),
            Kind::Maximum => Some(values.max),
            Kind::Percentile(share) => percentile(&values.values()?, values.count, share),
            Kind::TrimmedMean(bounds) => {
                let kept = bounds.trim(&values.values()?, values.count);
                (kept.count > 0.0).then(|| kept.sum / kept.count)
            }
            Kind::TrimmedCount(bounds) => Some(bounds.trim(&values.values()?, values.count).count),
            Kind::TrimmedSum(bounds) => Some(bounds.trim(&values.values()?, values.count).sum),
            Kind::WinsorizedMean(bounds) => bounds.winsorize(&values.values()?, values.count),
            Kind::PercentileRank { low, high } => {
                let kept = Bounds::Values { low, high }.trim(&values.values()?, values.count);
                Some(kept.count / values.count * 100.0)
            }
        }
    }

    /// Whether it is one of the five that GetMetricStatistics takes as `Statistics`, not as `ExtendedStatistics`.
    pub fn is_basic(&self) -> bool {
        matches!(
            self.kind,
            Kind::SampleCount | Kind::Sum | Kind::Average | Kind::Minimum | Kind::Maximum
        )
    }

    /// The name as it was asked for.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Kind {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "SampleCount" => return Some(Self::SampleCount),
            "Sum" => return Some(Self::Sum),
            "Average" => return Some(Self::Average),
            "Minimum" => return Some(Self::Minimum),
            "Maximum" => return Some(Self::Maximum),
            "IQM" => {
                return Some(Self::TrimmedMean(Bounds::Percent {
                    low: 0.25,
                    high: 0.75,
                }));
            }
            _ => {}
        }
        if let Some((function, range)) = name.strip_suffix(')').and_then(|n| n.split_once('(')) {
            let bounds = Bounds::parse(range)?;
            return match (function, bounds) {
                ("TM", bounds) => Some(Self::TrimmedMean(bounds)),
                ("WM", bounds) => Some(Self::WinsorizedMean(bounds)),
                ("TC", bounds) => Some(Self::TrimmedCount(bounds)),
                ("TS", bounds) => Some(Self::TrimmedSum(bounds)),
                ("PR", Bounds::Values { low, high }) => Some(Self::PercentileRank { low, high }),
                _ => None,
            };
        }
        if let Some(share) = name.strip_prefix('p') {
            return per_cent(share).map(Self::Percentile);
        }
        let (function, share) = name.split_at_checked(2)?;
        let bounds = Bounds::Percent {
            low: 0.0,
            high: per_cent(share)?,
        };
        match function {
            "tm" => Some(Self::TrimmedMean(bounds)),
            "wm" => Some(Self::WinsorizedMean(bounds)),
            "tc" => Some(Self::TrimmedCount(bounds)),
            "ts" => Some(Self::TrimmedSum(bounds)),
            _ => None,
        }
    }
}

/// What is left after trimming.
struct Kept {
    count: f64,
    sum: f64,
}

impl Bounds {
    /// Reads `10%:90%`, `:95%`, `80:500` and the like.
    fn parse(range: &str) -> Option<Self> {
        let (low, high) = range.split_once(':')?;
        if low.is_empty() && high.is_empty() {
            return None;
        }
        if range.contains('%') {
            let bound = |text: &str, open: f64| match text {
                "" => Some(open),
                text => per_cent(text.strip_suffix('%')?),
            };
            let (low, high) = (bound(low, 0.0)?, bound(high, 1.0)?);
            return (low < high).then_some(Self::Percent { low, high });
        }
        let bound = |text: &str| match text {
            "" => Some(None),
            text => decimal(text).map(Some),
        };
        let (low, high) = (bound(low)?, bound(high)?);
        let in_order = low.zip(high).is_none_or(|(low, high)| low < high);
        in_order.then_some(Self::Values { low, high })
    }

    fn trim(self, pairs: &[(f64, f64)], total: f64) -> Kept {
        let mut kept = Kept {
            count: 0.0,
            sum: 0.0,
        };
        let (first, last) = self.ranks(total);
        let mut before = 0.0;
        for (value, count) in pairs {
            let after = before + count;
            let share = match self {
                Self::Percent { .. } => (after.min(last) - before.max(first)).max(0.0),
                Self::Values { low, high } => {
                    let inside = low.is_none_or(|low| *value > low)
                        && high.is_none_or(|high| *value <= high);
                    if inside { *count } else { 0.0 }
                }
            };
            kept.count += share;
            kept.sum += share * value;
            before = after;
        }
        kept
    }

    /// The mean with values beyond a boundary counted as the boundary.
    fn winsorize(self, pairs: &[(f64, f64)], total: f64) -> Option<f64> {
        let (low, high) = match self {
            Self::Percent { low, high } => (
                percentile(pairs, total, low)?,
                percentile(pairs, total, high)?,
            ),
            Self::Values { low, high } => (
                low.unwrap_or(f64::NEG_INFINITY),
                high.unwrap_or(f64::INFINITY),
            ),
        };
        let sum: f64 = pairs
            .iter()
            .map(|(value, count)| value.max(low).min(high) * count)
            .sum();
        Some(sum / total)
    }

    /// How many values are cut below, and the rank of the last one kept: the same nearest rank that a percentile takes,
    /// so that `p99` is the highest value of what `tm99` averages.
    fn ranks(self, total: f64) -> (f64, f64) {
        match self {
            Self::Percent { low, high } => (
                ((low * total) + ROUNDING).floor(),
                nearest_rank(total, high),
            ),
            Self::Values { .. } => (0.0, total),
        }
    }
}

/// Forgives the last bits of a product such as `0.07 * 100`.
const ROUNDING: f64 = 1e-9;

fn nearest_rank(total: f64, share: f64) -> f64 {
    (share * total - ROUNDING).ceil().max(0.0)
}

/// The lowest value that at least `share` of all values do not exceed.
fn percentile(pairs: &[(f64, f64)], total: f64, share: f64) -> Option<f64> {
    let wanted = nearest_rank(total, share).min(total);
    let mut seen = 0.0;
    for (value, count) in pairs {
        seen += count;
        if seen + ROUNDING >= wanted {
            return Some(*value);
        }
    }
    pairs.last().map(|(value, _)| *value)
}

fn per_cent(text: &str) -> Option<f64> {
    let share = decimal(text)?;
    (0.0..=100.0).contains(&share).then_some(share / 100.0)
}

fn decimal(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > DECIMALS_MAX {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The values 1 to 100, once each.
    fn hundred() -> Distribution {
        let mut all = Distribution::default();
        for value in 1..=100 {
            all.add(&Distribution::of(f64::from(value), 1.0), 1000);
        }
        all
    }

    #[track_caller]
    fn check(name: &str, expected: f64) {
        let value = Statistic::parse(name)
            .expect(name)
            .of(&hundred())
            .expect(name);
        assert!(
            (value - expected).abs() < 1e-9,
            "{name} is {value}, not {expected}"
        );
    }

    #[test]
    fn statistics_of_one_to_a_hundred() {
        check("SampleCount", 100.0);
        check("Sum", 5050.0);
        check("Average", 50.5);
        check("Minimum", 1.0);
        check("Maximum", 100.0);
        check("p0", 1.0);
        check("p7", 7.0);
        check("p50", 50.0);
        check("p99", 99.0);
        check("p99.9", 100.0);
        check("p100", 100.0);
        check("tm90", 45.5);
        check("TM(:90%)", 45.5);
        check("TM(2%:98%)", 50.5);
        check("TM(10:20)", 15.5);
        check("TM(95:)", 98.0);
        check("IQM", 50.5);
        check("tc90", 90.0);
        check("TC(10%:90%)", 80.0);
        check("TC(80:500)", 20.0);
        check("TC(:0.5)", 0.0);
        check("ts90", 4095.0);
        check("TS(80%:)", 1810.0);
        check("wm98", (4851.0 + 2.0 * 98.0) / 100.0);
        check("WM(10%:90%)", (100.0 + 4040.0 + 900.0) / 100.0);
        check("WM(:50)", (1275.0 + 50.0 * 50.0) / 100.0);
        check("PR(:30)", 30.0);
        check("PR(10:20)", 10.0);
        check("PR(99:)", 1.0);
    }

    #[test]
    fn unknown_names_are_refused() {
        for name in [
            "",
            "average",
            "SUM",
            "p",
            "p101",
            "p-1",
            "p1e1",
            "p99.12345678901",
            "P99",
            "tm",
            "TM90",
            "tm(10%:90%)",
            "TM()",
            "TM(:)",
            "TM(10%:90)",
            "TM(90%:10%)",
            "TM(5:5)",
            "PR(10%:90%)",
            "XX(1:2)",
            "iqm",
            "é",
            "TM(1:2",
        ] {
            assert!(Statistic::parse(name).is_none(), "{name}");
        }
    }

    #[test]
    fn counts_weigh() {
        let mut all = Distribution::of(1.0, 99.0);
        all.add(&Distribution::of(1000.0, 1.0), 10);
        let of = |name: &str| Statistic::parse(name).unwrap().of(&all);
        assert_eq!(of("p99"), Some(1.0));
        assert_eq!(of("p99.1"), Some(1000.0));
        assert_eq!(of("tm99"), Some(1.0));
        assert_eq!(of("Average"), Some(10.99));
    }

    #[test]
    fn what_is_not_known_is_not_answered() {
        let set = Distribution::of_statistics(10.0, 100.0, 1.0, 50.0);
        assert_eq!(Statistic::parse("p50").unwrap().of(&set), None);
        assert_eq!(Statistic::parse("Average").unwrap().of(&set), Some(10.0));
        let empty = Distribution::default();
        assert_eq!(Statistic::parse("Sum").unwrap().of(&empty), None);
        assert_eq!(Statistic::parse("p50").unwrap().of(&empty), None);
    }
}
