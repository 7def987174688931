//! Which metrics there are. The index is in memory, because every query and every value that comes in asks it; each
//! series has a record in the store from which the index is read at start.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use store::record;
use store::{Expect, Kv};
use wire::{AccountId, Region, Scope};

use super::{Distribution, Metric, Unit};
use crate::Result;

/// How many series there may be over all accounts. A value of one more is refused (or dropped and counted, when it
/// comes from inside), so that a dimension with endless values fills neither memory nor disk.
const SERIES_MAX: usize = 200_000;

/// How far the time of the latest value may run ahead of what the record says before it is written again.
const RECORD_EVERY_MS: i64 = 3_600_000;

/// The values of one metric in one unit.
pub(crate) struct Series {
    /// Under which its values are kept.
    pub(super) id: String,
    pub(super) scope: Scope,
    pub(super) metric: Metric,
    pub(super) unit: Unit,
    /// The time of the latest value.
    pub(super) last_ms: AtomicI64,
    /// What the record on disk says of it; `i64::MIN` while there is no record.
    recorded_ms: AtomicI64,
    /// The index does not have it any more: it had no values.
    pub(super) forgotten: AtomicBool,
    pub(super) pending: Mutex<Pending>,
}

/// Values that are not on disk yet, by the start of their minute or second.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) minutes: BTreeMap<i64, Distribution>,
    pub(super) seconds: BTreeMap<i64, Distribution>,
    /// Whether the recorder knows that there is something.
    pub(super) queued: bool,
}

/// A series as stored.
#[derive(Serialize, Deserialize)]
struct SeriesRecord {
    namespace: String,
    name: String,
    dimensions: Vec<(String, String)>,
    unit: String,
    last_ms: i64,
}

store::first_version!(SeriesRecord);

/// All series.
pub(crate) struct Index {
    scopes: RwLock<HashMap<Scope, Metrics>>,
    count: AtomicUsize,
    kv: Arc<dyn Kv>,
}

/// The series of each metric, one for each unit.
type Metrics = BTreeMap<Metric, Vec<Arc<Series>>>;

const SERIES: &str = "metrics/series:";

impl Index {
    /// Reads the records.
    pub(crate) async fn open(kv: Arc<dyn Kv>) -> Result<Self> {
        let mut scopes: HashMap<Scope, Metrics> = HashMap::new();
        let mut count = 0;
        for (key, entry) in kv.scan_all(SERIES).await? {
            let record: SeriesRecord = record::decode(&entry.value)?;
            let Some((scope, id)) = parse_key(&key) else {
                tracing::error!(key, "a series with a key that is none is left out");
                continue;
            };
            let series = Series {
                id,
                metric: Metric::new(record.namespace, record.name, record.dimensions),
                unit: Unit::parse(&record.unit).unwrap_or_default(),
                last_ms: record.last_ms.into(),
                recorded_ms: record.last_ms.into(),
                forgotten: false.into(),
                pending: Mutex::default(),
                scope,
            };
            count += 1;
            let metrics = scopes.entry(series.scope.clone()).or_default();
            let of_metric = metrics.entry(series.metric.clone()).or_default();
            of_metric.push(Arc::new(series));
        }
        Ok(Self {
            scopes: RwLock::new(scopes),
            count: count.into(),
            kv,
        })
    }

    /// The series of a metric in a unit, made if need be; `None` if there are too many already.
    pub(super) fn series(&self, at: &Scope, metric: &Metric, unit: Unit) -> Option<Arc<Series>> {
        let find = |scopes: &HashMap<Scope, Metrics>| {
            let units = scopes.get(at)?.get(metric)?;
            units.iter().find(|series| series.unit == unit).cloned()
        };
        let known = find(&self.scopes.read().unwrap_or_else(PoisonError::into_inner));
        if known.is_some() {
            return known;
        }
        let mut scopes = self.scopes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = find(&scopes) {
            return Some(series);
        }
        if self.count.load(Ordering::Relaxed) >= SERIES_MAX {
            return None;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let series = Arc::new(Series {
            id: uuid::Uuid::new_v4().simple().to_string(),
            scope: at.clone(),
            metric: metric.clone(),
            unit,
            last_ms: i64::MIN.into(),
            recorded_ms: i64::MIN.into(),
            forgotten: false.into(),
            pending: Mutex::default(),
        });
        let metrics = scopes.entry(at.clone()).or_default();
        let of_metric = metrics.entry(metric.clone()).or_default();
        of_metric.push(series.clone());
        Some(series)
    }

    /// The series of a metric, in one unit or in all.
    pub(super) fn of_metric(
        &self,
        at: &Scope,
        metric: &Metric,
        unit: Option<Unit>,
    ) -> Vec<Arc<Series>> {
        let scopes = self.scopes.read().unwrap_or_else(PoisonError::into_inner);
        let units = scopes.get(at).and_then(|metrics| metrics.get(metric));
        units
            .into_iter()
            .flatten()
            .filter(|series| unit.is_none_or(|unit| series.unit == unit))
            .cloned()
            .collect()
    }

    /// Metrics behind `after` that `wanted` accepts by identity and time of the latest value, in order; at most `limit`.
    pub(super) fn list(
        &self,
        at: &Scope,
        after: Option<&Metric>,
        limit: usize,
        wanted: impl Fn(&Metric, i64) -> bool,
    ) -> Vec<Metric> {
        let scopes = self.scopes.read().unwrap_or_else(PoisonError::into_inner);
        let Some(metrics) = scopes.get(at) else {
            return Vec::new();
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        metrics
            .range::<Metric, _>((from, Bound::Unbounded))
            .filter(|(metric, units)| {
                let last = units
                    .iter()
                    .map(|s| s.last_ms.load(Ordering::Relaxed))
                    .max();
                last.is_some_and(|last_ms| wanted(metric, last_ms))
            })
            .map(|(metric, _)| metric.clone())
            .take(limit)
            .collect()
    }

    /// Every series.
    pub(super) fn all(&self) -> Vec<Arc<Series>> {
        let scopes = self.scopes.read().unwrap_or_else(PoisonError::into_inner);
        scopes
            .values()
            .flat_map(BTreeMap::values)
            .flatten()
            .cloned()
            .collect()
    }

    /// Writes the record of a series if there is none, or if it is far behind.
    pub(super) async fn record(&self, series: &Series) -> Result<()> {
        let last_ms = series.last_ms.load(Ordering::Relaxed);
        let recorded_ms = series.recorded_ms.load(Ordering::Relaxed);
        if recorded_ms != i64::MIN && last_ms - recorded_ms < RECORD_EVERY_MS {
            return Ok(());
        }
        let value = record::encode(&SeriesRecord {
            namespace: series.metric.namespace.clone(),
            name: series.metric.name.clone(),
            dimensions: series.metric.dimensions.clone(),
            unit: series.unit.as_str().to_owned(),
            last_ms,
        })?;
        self.kv.put(&key(series), value, Expect::Any).await?;
        series.recorded_ms.store(last_ms, Ordering::Relaxed);
        Ok(())
    }

    /// Forgets a series that has no values any more, unless one came in meanwhile.
    pub(super) async fn forget(&self, series: &Series, older_than_ms: i64) -> Result<()> {
        {
            let mut scopes = self.scopes.write().unwrap_or_else(PoisonError::into_inner);
            if series.last_ms.load(Ordering::Relaxed) >= older_than_ms {
                return Ok(());
            }
            series.forgotten.store(true, Ordering::Release);
            if let Some(metrics) = scopes.get_mut(&series.scope)
                && let Some(units) = metrics.get_mut(&series.metric)
            {
                units.retain(|other| other.id != series.id);
                if units.is_empty() {
                    metrics.remove(&series.metric);
                }
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.kv.delete(&key(series), Expect::Any).await?;
        Ok(())
    }
}

fn key(series: &Series) -> String {
    format!("{SERIES}{}:{}", series.scope.key(), series.id)
}

fn parse_key(key: &str) -> Option<(Scope, String)> {
    let (scope, id) = key.strip_prefix(SERIES)?.split_once(':')?;
    let (account, region) = scope.split_once('/')?;
    let scope = Scope {
        account: AccountId::new(account)?,
        region: Region::new(region)?,
    };
    Some((scope, id.to_owned()))
}
