//! What the door counts, as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Something else that `/_/metrics` shows.
pub trait Measures: Send + Sync {
    /// Appends lines in Prometheus's text format.
    fn write(&self, out: &mut String);
}

/// Upper bounds of the duration histogram, in seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0, 900.0,
];

/// The door's own numbers. Labels are names of our tables, so their number is bounded.
#[derive(Default)]
pub struct Metrics {
    connections: AtomicU64,
    connections_total: AtomicU64,
    requests: AtomicU64,
    panics_total: AtomicU64,
    answered: Mutex<BTreeMap<(&'static str, &'static str), Answered>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

/// One operation's answers.
#[derive(Default)]
struct Answered {
    by_status: BTreeMap<u16, u64>,
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
}

/// Counts one down when it goes out of scope.
pub(crate) struct Gauge<'a>(&'a AtomicU64);

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(crate) fn connection(&self) -> Gauge<'_> {
        self.connections_total.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
        Gauge(&self.connections)
    }

    pub(crate) fn request(&self) -> Gauge<'_> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Gauge(&self.requests)
    }

    pub(crate) fn panic(&self) {
        self.panics_total.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was refused before its operation was reached.
    pub(crate) fn refused(&self, code: &'static str) {
        *lock(&self.refused).entry(code).or_default() += 1;
    }

    /// An operation was answered.
    pub(crate) fn answered(
        &self,
        service: &'static str,
        operation: &'static str,
        status: u16,
        took: Duration,
    ) {
        let mut answered = lock(&self.answered);
        let one = answered.entry((service, operation)).or_default();
        *one.by_status.entry(status).or_default() += 1;
        let seconds = took.as_secs_f64();
        one.seconds += seconds;
        if let Some(at) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            one.buckets[at] += 1;
        }
    }

    /// The numbers in Prometheus's text format.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.print(&mut out);
        out
    }

    fn print(&self, out: &mut String) -> std::fmt::Result {
        for (name, kind, help, value) in [
            (
                "mayfly_connections",
                "gauge",
                "Open connections.",
                &self.connections,
            ),
            (
                "mayfly_connections_total",
                "counter",
                "Connections accepted.",
                &self.connections_total,
            ),
            (
                "mayfly_requests_in_flight",
                "gauge",
                "Requests being worked on.",
                &self.requests,
            ),
            (
                "mayfly_panics_total",
                "counter",
                "Requests that failed for a defect of ours.",
                &self.panics_total,
            ),
        ] {
            head(out, name, kind, help)?;
            writeln!(out, "{name} {}", value.load(Ordering::Relaxed))?;
        }
        let name = "mayfly_requests_refused_total";
        head(
            out,
            name,
            "counter",
            "Requests refused at the front door, by AWS's code.",
        )?;
        for (code, count) in lock(&self.refused).iter() {
            writeln!(out, "{name}{{code=\"{code}\"}} {count}")?;
        }
        let answered = lock(&self.answered);
        let name = "mayfly_requests_total";
        head(
            out,
            name,
            "counter",
            "Requests answered, by operation and status.",
        )?;
        for ((service, operation), one) in answered.iter() {
            for (status, count) in &one.by_status {
                writeln!(
                    out,
                    "{name}{{service=\"{service}\",operation=\"{operation}\",status=\"{status}\"}} {count}"
                )?;
            }
        }
        let name = "mayfly_request_duration_seconds";
        head(
            out,
            name,
            "histogram",
            "From a request's head to its reply's head.",
        )?;
        for ((service, operation), one) in answered.iter() {
            let labels = format!("service=\"{service}\",operation=\"{operation}\"");
            let mut sum = 0;
            for (bound, count) in BUCKETS.iter().zip(one.buckets) {
                sum += count;
                writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {sum}")?;
            }
            let count: u64 = one.by_status.values().sum();
            writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
            writeln!(out, "{name}_sum{{{labels}}} {}", one.seconds)?;
            writeln!(out, "{name}_count{{{labels}}} {count}")?;
        }
        Ok(())
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// The counters are plain numbers: whatever panicked while holding them left them usable.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
