//! Takes values in. They are added up in memory and written by one worker: about once a second what comes from inside,
//! and at once what PutMetricData waits for. One writer means that no two add to the same record at a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use store::Store;
use tokio::sync::{Notify, mpsc, oneshot};
use wire::Scope;

use super::buckets::{Buckets, Tier, key};
use super::distribution::EXACT_VALUES_MAX;
use super::series::{Index, Pending, Series};
use super::{Distribution, Metric, Unit};
use crate::{Error, Result};

/// How long values from inside wait for others.
const LINGER: Duration = Duration::from_secs(1);
/// Callers that may wait for the next round.
const WAITING_MAX: usize = 1024;
/// Records read or written at a time.
const WRITES_AT_ONCE: usize = 256;
/// Records whose last content is remembered, so that adding to them needs no read.
const REMEMBERED_MAX: usize = 50_000;

type Waiting = oneshot::Sender<std::result::Result<(), String>>;

/// A metric that is measured often: where its values go is looked up once.
pub struct Measured {
    at: Scope,
    metric: Metric,
    unit: Unit,
    known: RwLock<Option<Arc<Series>>>,
}

impl Measured {
    /// A metric in one unit, of an account in a region.
    pub fn new(at: &Scope, metric: Metric, unit: Unit) -> Self {
        Self {
            at: at.clone(),
            metric,
            unit,
            known: RwLock::default(),
        }
    }

    fn series(&self, index: &Index) -> Option<Arc<Series>> {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(series) = &*known
                && !series.forgotten.load(Ordering::Acquire)
            {
                return Some(series.clone());
            }
        }
        let series = index.series(&self.at, &self.metric, self.unit)?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Some(series.clone());
        Some(series)
    }
}

/// Where values go in.
pub(crate) struct Recorder {
    pub(super) index: Index,
    pub(super) buckets: Buckets,
    dirty: Mutex<Vec<Arc<Series>>>,
    wake: Notify,
    rounds: mpsc::Sender<Waiting>,
    /// Values that were dropped because there are too many series.
    pub(crate) dropped: AtomicU64,
}

/// The worker's side.
pub(crate) struct Rounds {
    recorder: Arc<Recorder>,
    waiting: mpsc::Receiver<Waiting>,
    /// What records hold on disk, for those written lately.
    remembered: HashMap<String, Distribution>,
    /// What records held before a write that failed and may have had its effect nevertheless. The next write begins
    /// from here again, whatever is on disk now, so that nothing is counted twice.
    doubtful: HashMap<String, Distribution>,
}

impl Recorder {
    pub(crate) async fn open(store: &Store) -> Result<(Arc<Self>, Rounds)> {
        let (rounds, waiting) = mpsc::channel(WAITING_MAX);
        let recorder = Arc::new(Self {
            index: Index::open(store.kv.clone()).await?,
            buckets: Buckets {
                kv: store.kv.clone(),
            },
            dirty: Mutex::default(),
            wake: Notify::new(),
            rounds,
            dropped: AtomicU64::new(0),
        });
        let rounds = Rounds {
            recorder: recorder.clone(),
            waiting,
            remembered: HashMap::new(),
            doubtful: HashMap::new(),
        };
        Ok((recorder, rounds))
    }

    /// Adds values to a metric. Never waits. False if there are too many series for one more.
    pub(crate) fn add(
        &self,
        at: &Scope,
        metric: &Metric,
        unit: Unit,
        time_ms: i64,
        high_resolution: bool,
        values: &Distribution,
    ) -> bool {
        let Some(series) = self.index.series(at, metric, unit) else {
            return false;
        };
        self.put(&series, time_ms, |pending, second, minute| {
            let minutes = pending.minutes.entry(minute).or_default();
            minutes.add(values, EXACT_VALUES_MAX);
            if high_resolution {
                let seconds = pending.seconds.entry(second).or_default();
                seconds.add(values, EXACT_VALUES_MAX);
            }
        });
        true
    }

    /// Adds one value to a metric that is measured often. Never waits. False if there are too many series.
    pub(crate) fn add_value(&self, measured: &Measured, time_ms: i64, value: f64) -> bool {
        let Some(series) = measured.series(&self.index) else {
            return false;
        };
        self.put(&series, time_ms, |pending, _, minute| {
            let minutes = pending.minutes.entry(minute).or_default();
            minutes.add_value(value, EXACT_VALUES_MAX);
        });
        true
    }

    /// Changes what is pending of a series, for the second and the minute of a time.
    fn put(&self, series: &Arc<Series>, time_ms: i64, add: impl FnOnce(&mut Pending, i64, i64)) {
        series.last_ms.fetch_max(time_ms, Ordering::Relaxed);
        let second = time_ms.div_euclid(1000);
        let queue = {
            let mut pending = lock(&series.pending);
            add(&mut pending, second, second - second.rem_euclid(60));
            !std::mem::replace(&mut pending.queued, true)
        };
        if queue {
            lock(&self.dirty).push(series.clone());
            self.wake.notify_one();
        }
    }

    /// Resolves when everything added before is on disk.
    pub(crate) async fn flush(&self) -> Result<()> {
        let stopped = || Error::NotStored("the recorder has stopped".into());
        let (done, written) = oneshot::channel();
        self.rounds.send(done).await.map_err(|_| stopped())?;
        let outcome = written.await.map_err(|_| stopped())?;
        outcome.map_err(Error::NotStored)
    }
}

/// One record to write: what it is, and what comes on top of what it holds.
struct Write {
    series: Arc<Series>,
    tier: Tier,
    start_s: i64,
    more: Distribution,
}

impl Rounds {
    /// Writes until the last [`Recorder`] has gone.
    pub(crate) async fn run(mut self) {
        loop {
            let mut waiting = Vec::new();
            tokio::select! {
                next = self.waiting.recv() => match next {
                    Some(next) => waiting.push(next),
                    None => return,
                },
                () = self.recorder.wake.notified() => {
                    tokio::select! {
                        () = tokio::time::sleep(LINGER) => {}
                        next = self.waiting.recv() => match next {
                            Some(next) => waiting.push(next),
                            None => return,
                        },
                    }
                }
            }
            while let Ok(next) = self.waiting.try_recv() {
                waiting.push(next);
            }
            let outcome = self.round().await.map_err(|error| {
                tracing::error!(%error, "metrics could not be stored; the next round tries again");
                error.to_string()
            });
            for waiting in waiting {
                // Whoever asked may no longer want to know.
                let _ = waiting.send(outcome.clone());
            }
        }
    }

    /// Writes everything that is pending. What fails stays pending.
    async fn round(&mut self) -> Result<()> {
        let dirty = std::mem::take(&mut *lock(&self.recorder.dirty));
        let mut writes = Vec::new();
        for series in &dirty {
            let Pending {
                minutes, seconds, ..
            } = std::mem::take(&mut *lock(&series.pending));
            for (tier, buckets) in [(Tier::Minute, minutes), (Tier::Second, seconds)] {
                writes.extend(buckets.into_iter().map(|(start_s, more)| Write {
                    series: series.clone(),
                    tier,
                    start_s,
                    more,
                }));
            }
        }
        if self.remembered.len() > REMEMBERED_MAX {
            self.remembered.clear();
        }
        // A series is on disk before its first values, so that no values are there that nobody can find.
        let recorder = self.recorder.clone();
        let recorded: Result<()> = stream::iter(dirty)
            .map(|series| {
                let recorder = recorder.clone();
                async move { recorder.index.record(&series).await }
            })
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect()
            .await;
        if let Err(error) = recorded {
            self.put_back(writes);
            return Err(error);
        }
        let known = |key: &String| self.doubtful.get(key).or_else(|| self.remembered.get(key));
        let results: Vec<_> = stream::iter(writes)
            .map(|write| {
                let key = key(&write.series, write.tier, write.start_s);
                let before = known(&key).cloned();
                write_one(&recorder.buckets, key, before, write)
            })
            .buffer_unordered(WRITES_AT_ONCE)
            .collect()
            .await;
        let (mut failed, mut outcome) = (Vec::new(), Ok(()));
        for result in results {
            match result {
                Ok(Written { key, values }) => {
                    self.doubtful.remove(&key);
                    self.remembered.insert(key, values);
                }
                Err(failure) => {
                    let Failed {
                        key,
                        before,
                        write,
                        error,
                    } = *failure;
                    if let Some(before) = before {
                        self.doubtful.insert(key, before);
                    }
                    failed.push(write);
                    outcome = Err(error);
                }
            }
        }
        self.put_back(failed);
        outcome
    }

    fn put_back(&self, writes: Vec<Write>) {
        for Write {
            series,
            tier,
            start_s,
            more,
        } in writes
        {
            let queue = {
                let mut pending = lock(&series.pending);
                let buckets = match tier {
                    Tier::Second => &mut pending.seconds,
                    _ => &mut pending.minutes,
                };
                let bucket = buckets.entry(start_s).or_default();
                bucket.add(&more, EXACT_VALUES_MAX);
                !std::mem::replace(&mut pending.queued, true)
            };
            if queue {
                lock(&self.recorder.dirty).push(series);
                self.recorder.wake.notify_one();
            }
        }
    }
}

struct Written {
    key: String,
    values: Distribution,
}

struct Failed {
    key: String,
    /// What the record held, if that much was found out.
    before: Option<Distribution>,
    write: Write,
    error: Error,
}

async fn write_one(
    buckets: &Buckets,
    key: String,
    known: Option<Distribution>,
    write: Write,
) -> std::result::Result<Written, Box<Failed>> {
    let failed = |key, before, write, error| {
        Err(Box::new(Failed {
            key,
            before,
            write,
            error,
        }))
    };
    let before = match known {
        Some(values) => values,
        None => match buckets.get(&key).await {
            Ok(values) => values.unwrap_or_default(),
            Err(error) => return failed(key, None, write, error),
        },
    };
    let mut values = before.clone();
    values.add(&write.more, EXACT_VALUES_MAX);
    match buckets.put(&key, &values).await {
        Ok(()) => Ok(Written { key, values }),
        Err(error) => failed(key, Some(before), write, error),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
