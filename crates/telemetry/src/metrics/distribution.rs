//! The values of one metric in one period: count, sum, extremes, and enough of the rest for percentiles.

use std::collections::BTreeMap;

/// How many different values a stored period keeps exactly. It is what one PutMetricData datum may carry, so a datum
/// never loses precision on its own.
pub const EXACT_VALUES_MAX: usize = 150;

/// How many different values a query keeps exactly while it adds periods up.
pub const EXACT_VALUES_QUERY_MAX: usize = 20_000;

/// Above the limit values are counted in bins whose middle is at most this share off. CloudWatch's own bins are ten
/// per cent wide.
const BIN_ERROR: f64 = 0.005;
const BIN_GROWTH: f64 = (1.0 + BIN_ERROR) / (1.0 - BIN_ERROR);

/// The bin of zero, which has no logarithm.
const ZERO_BIN: i32 = i32::MIN;

/// What is known about the values of a period.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Distribution {
    /// How many values there were. It may be a fraction, because PutMetricData takes fractional counts.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    values: Values,
}

#[derive(Debug, Clone, PartialEq)]
enum Values {
    /// Value and count, sorted by value.
    Exact(Vec<(f64, f64)>),
    /// Count by the logarithm of the value.
    Binned(BTreeMap<i32, f64>),
    /// Only the summary is known: a statistic set of more than one value, or a negative value.
    Lost,
}

impl Default for Values {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

impl Distribution {
    /// One value that was seen `count` times.
    pub fn of(value: f64, count: f64) -> Self {
        Self {
            count,
            sum: value * count,
            min: value,
            max: value,
            values: match value < 0.0 {
                true => Values::Lost,
                false => Values::Exact(vec![(value, count)]),
            },
        }
    }

    /// A statistic set. Its percentiles are known only if all its values were equal, as CloudWatch says.
    pub fn of_statistics(count: f64, sum: f64, min: f64, max: f64) -> Self {
        if min.total_cmp(&max).is_eq() && (sum - min * count).abs() <= f64::EPSILON * sum.abs() {
            return Self::of(min, count);
        }
        Self {
            count,
            sum,
            min,
            max,
            values: Values::Lost,
        }
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.count <= 0.0
    }

    /// Adds one value that was seen once, keeping at most `exact_max` different values exactly.
    pub fn add_value(&mut self, value: f64, exact_max: usize) {
        match &mut self.values {
            // The usual case, without making a distribution of the value.
            Values::Exact(pairs) if self.count > 0.0 && value >= 0.0 && pairs.len() < exact_max => {
                self.count += 1.0;
                self.sum += value;
                self.min = self.min.min(value);
                self.max = self.max.max(value);
                insert(pairs, value, 1.0);
            }
            _ => self.add(&Self::of(value, 1.0), exact_max),
        }
    }

    /// Adds what another one saw, keeping at most `exact_max` different values exactly.
    pub fn add(&mut self, other: &Self, exact_max: usize) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.values.add(&other.values, exact_max);
    }

    /// Values in ascending order with their counts; `None` if they are not known.
    pub fn values(&self) -> Option<Vec<(f64, f64)>> {
        match &self.values {
            Values::Exact(pairs) => Some(pairs.clone()),
            Values::Binned(bins) => Some(
                bins.iter()
                    .map(|(bin, count)| (middle(*bin).clamp(self.min, self.max), *count))
                    .collect(),
            ),
            Values::Lost => None,
        }
    }

    /// Appends a compact form that [`Self::decode`] reads.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.count, self.sum, self.min, self.max] {
            out.extend(number.to_le_bytes());
        }
        let (kind, len) = match &self.values {
            Values::Exact(pairs) => (KIND_EXACT, pairs.len()),
            Values::Binned(bins) => (KIND_BINNED, bins.len()),
            Values::Lost => (KIND_LOST, 0),
        };
        out.push(kind);
        out.extend(u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
        match &self.values {
            Values::Exact(pairs) => {
                for (value, count) in pairs {
                    out.extend(value.to_le_bytes());
                    out.extend(count.to_le_bytes());
                }
            }
            Values::Binned(bins) => {
                for (bin, count) in bins {
                    out.extend(bin.to_le_bytes());
                    out.extend(count.to_le_bytes());
                }
            }
            Values::Lost => {}
        }
    }

    /// Reads one from the front of `bytes` and moves on behind it; `None` if they are not one.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut numbers = [0.0; 4];
        for number in &mut numbers {
            *number = f64::from_le_bytes(take(bytes)?);
        }
        let [kind] = take(bytes)?;
        let len = u32::from_le_bytes(take(bytes)?);
        let values = match kind {
            KIND_EXACT => Values::Exact(
                (0..len)
                    .map(|_| {
                        Some((
                            f64::from_le_bytes(take(bytes)?),
                            f64::from_le_bytes(take(bytes)?),
                        ))
                    })
                    .collect::<Option<_>>()?,
            ),
            KIND_BINNED => Values::Binned(
                (0..len)
                    .map(|_| {
                        Some((
                            i32::from_le_bytes(take(bytes)?),
                            f64::from_le_bytes(take(bytes)?),
                        ))
                    })
                    .collect::<Option<_>>()?,
            ),
            KIND_LOST => Values::Lost,
            _ => return None,
        };
        let [count, sum, min, max] = numbers;
        Some(Self {
            count,
            sum,
            min,
            max,
            values,
        })
    }
}

const KIND_EXACT: u8 = 0;
const KIND_BINNED: u8 = 1;
const KIND_LOST: u8 = 2;

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

impl Values {
    fn add(&mut self, other: &Self, exact_max: usize) {
        match (&mut *self, other) {
            (Self::Lost, _) => {}
            (_, Self::Lost) => *self = Self::Lost,
            (Self::Exact(mine), Self::Exact(theirs)) => {
                for (value, count) in theirs {
                    insert(mine, *value, *count);
                }
                if mine.len() > exact_max {
                    *self = Self::Binned(into_bins(mine));
                }
            }
            (Self::Exact(mine), Self::Binned(_)) => {
                *self = Self::Binned(into_bins(mine));
                self.add(other, exact_max);
            }
            (Self::Binned(mine), Self::Exact(theirs)) => {
                for (value, count) in theirs {
                    *mine.entry(bin(*value)).or_default() += count;
                }
            }
            (Self::Binned(mine), Self::Binned(theirs)) => {
                for (bin, count) in theirs {
                    *mine.entry(*bin).or_default() += count;
                }
            }
        }
    }
}

fn insert(pairs: &mut Vec<(f64, f64)>, value: f64, count: f64) {
    match pairs.binary_search_by(|(have, _)| have.total_cmp(&value)) {
        Ok(at) => pairs[at].1 += count,
        Err(at) => pairs.insert(at, (value, count)),
    }
}

fn into_bins(pairs: &[(f64, f64)]) -> BTreeMap<i32, f64> {
    let mut bins = BTreeMap::new();
    for (value, count) in pairs {
        *bins.entry(bin(*value)).or_default() += count;
    }
    bins
}

fn bin(value: f64) -> i32 {
    if value <= 0.0 {
        return ZERO_BIN;
    }
    // The logarithm of any positive double in this base lies between -75,000 and 71,000.
    #[allow(clippy::cast_possible_truncation)]
    let bin = (value.ln() / BIN_GROWTH.ln()).ceil() as i32;
    bin
}

fn middle(bin: i32) -> f64 {
    match bin {
        ZERO_BIN => 0.0,
        bin => 2.0 * BIN_GROWTH.powi(bin) / (BIN_GROWTH + 1.0),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn many(values: impl IntoIterator<Item = f64>, exact_max: usize) -> Distribution {
        let mut all = Distribution::default();
        for value in values {
            all.add(&Distribution::of(value, 1.0), exact_max);
        }
        all
    }

    #[test]
    fn few_values_stay_exact() {
        let all = many([3.0, 1.0, 3.0, 0.0], 10);
        assert_eq!((all.count, all.sum, all.min, all.max), (4.0, 7.0, 0.0, 3.0));
        assert_eq!(all.values().unwrap(), [(0.0, 1.0), (1.0, 1.0), (3.0, 2.0)]);
    }

    #[test]
    fn one_value_adds_like_a_distribution_of_it() {
        let (mut one, mut other) = (Distribution::default(), Distribution::default());
        for value in [3.0, 1.0, 3.0, 0.0, 2.0, 7.0, -1.0, 5.0] {
            one.add_value(value, 4);
            other.add(&Distribution::of(value, 1.0), 4);
            assert_eq!(one, other, "after {value}");
        }
    }

    #[test]
    fn many_values_stay_within_half_a_per_cent() {
        let values: Vec<f64> = (0..5000).map(|n| f64::from(n) * 0.37).collect();
        let all = many(values.iter().copied(), EXACT_VALUES_MAX);
        let binned = all.values().unwrap();
        assert!(binned.len() < 1000);
        assert_eq!(binned.iter().map(|(_, count)| count).sum::<f64>(), 5000.0);
        for value in values {
            let near = middle(bin(value));
            assert!(
                (near - value).abs() <= value * BIN_ERROR * 1.0001,
                "{near} {value}"
            );
        }
    }

    #[test]
    fn statistic_sets_and_negative_values_lose_percentiles() {
        assert!(
            Distribution::of_statistics(3.0, 6.0, 1.0, 3.0)
                .values()
                .is_none()
        );
        assert_eq!(
            Distribution::of_statistics(3.0, 6.0, 2.0, 2.0)
                .values()
                .unwrap(),
            [(2.0, 3.0)]
        );
        let mut all = Distribution::of(5.0, 1.0);
        all.add(&Distribution::of(-1.0, 1.0), 10);
        assert!(all.values().is_none());
        assert_eq!((all.count, all.min), (2.0, -1.0));
    }

    proptest::proptest! {
        #[test]
        fn survives_encoding(values in proptest::collection::vec(-1.0..1e9f64, 0..300), exact in 1..300usize) {
            let all = many(values, exact);
            let mut bytes = Vec::new();
            all.encode(&mut bytes);
            all.encode(&mut bytes);
            let mut rest = bytes.as_slice();
            proptest::prop_assert_eq!(Distribution::decode(&mut rest), Some(all.clone()));
            proptest::prop_assert_eq!(Distribution::decode(&mut rest), Some(all));
            proptest::prop_assert_eq!(Distribution::decode(&mut rest), None);
        }

        #[test]
        fn junk_does_not_decode_by_accident(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            Distribution::decode(&mut bytes.as_slice());
        }
    }
}
