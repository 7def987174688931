//! [`Telemetry`]: the handle for those who write logs and metrics from inside.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use store::{Clock, Store};
use wire::Scope;

use crate::Result;
use crate::lines::{self, Lines};
use crate::logs::{Archive, LogGroupRecipient, Logs, May, Writers};
use crate::metrics::{CloudWatch, Distribution, Measured, Metric, Recorder, Unit};

/// How often what is past its retention is removed.
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);

/// Takes log lines and metrics without ever waiting. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

struct Inner {
    logs: Arc<Logs>,
    lines: Lines,
    cloudwatch: Arc<CloudWatch>,
}

/// A task that must run for as long as the server does. It ends when it is dropped.
pub struct Worker {
    /// For the log.
    pub name: &'static str,
    /// The task.
    pub run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Log lines of functions that are on disk.
    pub lines_stored: u64,
    /// Dropped because too many were waiting.
    pub lines_dropped_full: u64,
    /// Dropped because their group or stream is missing and may not be created.
    pub lines_dropped_refused: u64,
    /// Dropped because the store failed.
    pub lines_dropped_failed: u64,
    /// Metric values dropped because there are too many metrics.
    pub values_dropped: u64,
}

impl Telemetry {
    /// Everything over one store, and the workers that must be spawned for it.
    pub async fn open(store: &Store) -> Result<(Self, Vec<Worker>)> {
        let archive = Archive::new(store);
        let (lines, writer) = lines::channel(archive.clone());
        let (recorder, rounds) = Recorder::open(store).await?;
        let workers = vec![
            Worker {
                name: "log lines",
                run: Box::pin(writer.run()),
            },
            Worker {
                name: "log retention",
                run: Box::pin(expire(archive.clone(), store.clock.clone())),
            },
            Worker {
                name: "metrics",
                run: Box::pin(rounds.run()),
            },
            Worker {
                name: "metric retention",
                run: Box::pin(thin_out(recorder.clone(), store.clock.clone())),
            },
        ];
        let inner = Arc::new(Inner {
            logs: Arc::new(Logs { archive }),
            lines,
            cloudwatch: Arc::new(CloudWatch { recorder }),
        });
        Ok((Self { inner }, workers))
    }

    /// CloudWatch Logs, to be mounted.
    pub fn logs(&self) -> Arc<Logs> {
        self.inner.logs.clone()
    }

    /// Log groups as targets of rules; `writers` says who may.
    pub fn log_groups(&self, writers: Arc<dyn Writers>) -> LogGroupRecipient {
        let archive = self.inner.logs.archive.clone();
        LogGroupRecipient { archive, writers }
    }

    /// CloudWatch, to be mounted.
    pub fn cloudwatch(&self) -> Arc<CloudWatch> {
        self.inner.cloudwatch.clone()
    }

    /// Stores lines (time in milliseconds and text) in a stream, creating group and stream if they are missing and
    /// `may` allows. Never waits: what there is no room for is dropped and counted in [`Telemetry::stats`].
    ///
    /// The caller has checked that whoever writes may `logs:PutLogEvents`.
    pub fn lines(
        &self,
        at: &Scope,
        group: &str,
        stream: &str,
        may: May,
        lines: Vec<(i64, String)>,
    ) {
        self.inner.lines.send(at, group, stream, may, lines);
    }

    /// Adds a value to a metric of the platform. Never waits and never touches the disk: values are added up and
    /// written about once a second.
    pub fn metric(&self, at: &Scope, metric: &Metric, unit: Unit, value: f64, time_ms: i64) {
        let recorder = &self.inner.cloudwatch.recorder;
        let values = Distribution::of(value, 1.0);
        if !recorder.add(at, metric, unit, time_ms, false, &values) {
            recorder.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The same for a metric that its caller keeps, because it has values all the time.
    pub fn measure(&self, measured: &Measured, value: f64, time_ms: i64) {
        let recorder = &self.inner.cloudwatch.recorder;
        if !recorder.add_value(measured, time_ms, value) {
            recorder.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Resolves when the lines given before are on disk, or can never be.
    pub async fn flush_lines(&self) {
        self.inner.lines.flush().await;
    }

    /// Resolves when everything written before is on disk. For drain and for tests.
    pub async fn flush(&self) {
        self.inner.lines.flush().await;
        if let Err(error) = self.inner.cloudwatch.recorder.flush().await {
            tracing::error!(%error, "the last metrics may be lost");
        }
    }

    /// Counts since the start, for `/_/metrics`.
    pub fn stats(&self) -> Stats {
        let counts = &self.inner.lines.counts;
        Stats {
            lines_stored: counts.stored.load(Ordering::Relaxed),
            lines_dropped_full: counts.dropped_full.load(Ordering::Relaxed),
            lines_dropped_refused: counts.dropped_refused.load(Ordering::Relaxed),
            lines_dropped_failed: counts.dropped_failed.load(Ordering::Relaxed),
            values_dropped: self
                .inner
                .cloudwatch
                .recorder
                .dropped
                .load(Ordering::Relaxed),
        }
    }
}

/// Like [`expire`], for metrics.
async fn thin_out(recorder: Arc<Recorder>, clock: Arc<dyn Clock>) {
    loop {
        if let Err(error) = recorder.thin_out(&*clock).await {
            tracing::error!(%error, "the metric retention could not do its round");
        }
        sleep(&*clock).await;
    }
}

/// Idempotent and without input: a round after a crash is a round like any other.
async fn expire(archive: Archive, clock: Arc<dyn Clock>) {
    loop {
        match archive.expire().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "log events past their retention were removed"),
            Err(error) => tracing::error!(%error, "the log retention could not do its round"),
        }
        sleep(&*clock).await;
    }
}

async fn sleep(clock: &dyn Clock) {
    let every = i64::try_from(EXPIRE_EVERY.as_millis()).unwrap_or(i64::MAX);
    clock.sleep_until(clock.now_ms() + every).await;
}
