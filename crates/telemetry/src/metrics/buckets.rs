//! The values on disk: one record for each series and minute. Older ones are added up to five minutes and to hours, as
//! CloudWatch does, and high-resolution ones are kept by the second for three hours beside their minutes.
//!
//! A coarser record is written before the finer ones are removed, and its presence hides them. So a crash in the middle
//! neither loses nor doubles anything.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html>

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use store::{Expect, Kv};

use super::distribution::{EXACT_VALUES_MAX, EXACT_VALUES_QUERY_MAX};
use super::series::Series;
use super::{Distribution, Window};
use crate::Result;

/// How finely values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Tier {
    Second,
    Minute,
    FiveMinutes,
    Hour,
}

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

/// How long each tier is kept.
pub(super) const SECONDS_KEPT_S: i64 = 3 * HOUR_S;
const MINUTES_KEPT_S: i64 = 15 * DAY_S;
const FIVES_KEPT_S: i64 = 63 * DAY_S;
pub(super) const HOURS_KEPT_S: i64 = 455 * DAY_S;

/// Records that one look at the store takes.
const PAGE: usize = 2000;

impl Tier {
    pub(super) fn length_s(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::FiveMinutes => 300,
            Self::Hour => HOUR_S,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::FiveMinutes => "five",
            Self::Hour => "hour",
        }
    }
}

/// The key of a record. Times have ten digits until the year 2286, so keys order as times do.
pub(super) fn key(series: &Series, tier: Tier, start_s: i64) -> String {
    format!("{}{:010}", prefix(series, tier), start_s.max(0))
}

fn prefix(series: &Series, tier: Tier) -> String {
    format!("metrics/{}:{}:", tier.name(), series.id)
}

/// Reads and thins out the records.
#[derive(Clone)]
pub(super) struct Buckets {
    pub(super) kv: Arc<dyn Kv>,
}

impl Buckets {
    pub(super) async fn get(&self, key: &str) -> Result<Option<Distribution>> {
        let entry = self.kv.get(key).await?;
        Ok(entry.and_then(|entry| decode(key, &entry.value)))
    }

    pub(super) async fn put(&self, key: &str, values: &Distribution) -> Result<()> {
        self.kv.put(key, encode(values), Expect::Any).await?;
        Ok(())
    }

    /// The records of a tier that start in a range, by start.
    async fn read(
        &self,
        series: &Series,
        tier: Tier,
        from_s: i64,
        to_s: i64,
    ) -> Result<BTreeMap<i64, Distribution>> {
        let prefix = prefix(series, tier);
        // Scans begin behind a key.
        let mut after = key(series, tier, (from_s - 1).max(0));
        let mut found = BTreeMap::new();
        if from_s <= 0 {
            after.clone_from(&prefix);
        }
        loop {
            let page = self.kv.scan(&prefix, Some(&after), PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(found);
            };
            after.clone_from(last);
            for (key, entry) in page {
                let Ok(start_s) = key[prefix.len()..].parse::<i64>() else {
                    continue;
                };
                if start_s >= to_s {
                    return Ok(found);
                }
                if let Some(values) = decode(&key, &entry.value) {
                    found.insert(start_s, values);
                }
            }
        }
    }

    /// What series hold together in each period of a window. Tiers coarser than the period do not take part: CloudWatch
    /// answers nothing where a period is finer than what it still has.
    pub(super) async fn query(
        &self,
        all: &[Arc<Series>],
        window: Window,
    ) -> Result<BTreeMap<i64, Distribution>> {
        let mut periods: BTreeMap<i64, Distribution> = BTreeMap::new();
        for series in all {
            for (start_s, values) in self.series(series, window).await? {
                if let Some(period) = window.period_of(start_s) {
                    let sum = periods.entry(period).or_default();
                    sum.add(&values, EXACT_VALUES_QUERY_MAX);
                }
            }
        }
        Ok(periods)
    }

    async fn series(&self, series: &Series, window: Window) -> Result<BTreeMap<i64, Distribution>> {
        let Window {
            start_s,
            end_s,
            period_s,
        } = window;
        if period_s < Tier::Minute.length_s() {
            return self.read(series, Tier::Second, start_s, end_s).await;
        }
        // Fine before coarse: what is thinned out in between is then seen twice and hidden, never missed.
        let mut found = self.read(series, Tier::Minute, start_s, end_s).await?;
        for tier in [Tier::FiveMinutes, Tier::Hour] {
            let length_s = tier.length_s();
            let coarse = self
                .read(series, tier, start_s - length_s + 1, end_s)
                .await?;
            for (coarse_s, values) in coarse {
                let hidden: Vec<i64> = found
                    .range(coarse_s..coarse_s + length_s)
                    .map(|(time, _)| *time)
                    .collect();
                for time in hidden {
                    found.remove(&time);
                }
                if period_s >= length_s {
                    found.insert(coarse_s, values);
                }
            }
        }
        Ok(found)
    }

    /// One round of thinning out; tells whether the series still has any values.
    pub(super) async fn thin_out(&self, series: &Series, now_s: i64) -> Result<()> {
        self.drop_before(series, Tier::Second, now_s - SECONDS_KEPT_S)
            .await?;
        let fold = [
            (Tier::Minute, Tier::FiveMinutes, MINUTES_KEPT_S),
            (Tier::FiveMinutes, Tier::Hour, FIVES_KEPT_S),
        ];
        for (fine, coarse, kept_s) in fold {
            let length_s = coarse.length_s();
            let before_s = (now_s - kept_s).div_euclid(length_s) * length_s;
            self.fold(series, fine, coarse, before_s).await?;
        }
        self.drop_before(series, Tier::Hour, now_s - HOURS_KEPT_S)
            .await
    }

    async fn fold(&self, series: &Series, fine: Tier, coarse: Tier, before_s: i64) -> Result<()> {
        let old = self.read(series, fine, 0, before_s).await?;
        let mut folded: BTreeMap<i64, Distribution> = BTreeMap::new();
        for (start_s, values) in &old {
            let coarse_s = start_s.div_euclid(coarse.length_s()) * coarse.length_s();
            folded
                .entry(coarse_s)
                .or_default()
                .add(values, EXACT_VALUES_MAX);
        }
        for (coarse_s, values) in folded {
            let key = key(series, coarse, coarse_s);
            match self.kv.put(&key, encode(&values), Expect::Absent).await {
                // It is there when an earlier round was interrupted; then it was made of all of them.
                Ok(_) | Err(store::Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for start_s in old.keys() {
            self.kv
                .delete(&key(series, fine, *start_s), Expect::Any)
                .await?;
        }
        Ok(())
    }

    async fn drop_before(&self, series: &Series, tier: Tier, before_s: i64) -> Result<()> {
        for start_s in self.read(series, tier, 0, before_s).await?.into_keys() {
            self.kv
                .delete(&key(series, tier, start_s), Expect::Any)
                .await?;
        }
        Ok(())
    }
}

fn encode(values: &Distribution) -> Bytes {
    let mut bytes = Vec::new();
    values.encode(&mut bytes);
    bytes.into()
}

fn decode(key: &str, mut bytes: &[u8]) -> Option<Distribution> {
    let values = Distribution::decode(&mut bytes);
    if values.is_none() {
        tracing::error!(key, "damaged metric values are left out");
    }
    values
}
