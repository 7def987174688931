//! Metrics in AWS/Events (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html>).

use delivery::{Delivery, Observer, Outcome};
use wire::Scope;

use crate::names::{BusRef, rule_of_arn};
use crate::{Events, PRINCIPAL};

/// The namespace of all of them.
pub const NAMESPACE: &str = "AWS/Events";

/// In what a metric is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// Time.
    Milliseconds,
}

/// Takes the values of metrics, without ever waiting.
pub trait Meter: Send + Sync {
    /// Adds a value, measured at `time_ms`, to the metric of these dimensions.
    fn put(
        &self,
        at: &Scope,
        name: &'static str,
        dimensions: &[(&'static str, &str)],
        unit: Unit,
        value: f64,
        time_ms: i64,
    );
}

impl Events {
    /// A value that is about a rule: for the rule, for its bus, and for all.
    pub(crate) fn measure_rule(
        &self,
        bus: &BusRef,
        rule: &str,
        name: &'static str,
        unit: Unit,
        value: f64,
    ) {
        let now_ms = self.inner.clock.now_ms();
        let (of_bus, of_rule) = (("EventBusName", bus.name.as_str()), ("RuleName", rule));
        let sets: [&[(&'static str, &str)]; 4] = [&[], &[of_rule], &[of_bus], &[of_bus, of_rule]];
        for dimensions in sets {
            let meter = &self.inner.meter;
            meter.put(&bus.at, name, dimensions, unit, value, now_ms);
        }
    }

    /// A value that is about all calls of an account.
    pub(crate) fn measure_account(&self, at: &Scope, name: &'static str, unit: Unit, value: f64) {
        let now_ms = self.inner.clock.now_ms();
        self.inner.meter.put(at, name, &[], unit, value, now_ms);
    }
}

/// Counts what becomes of what rules send.
pub struct Outcomes(pub Events);

impl Observer for Outcomes {
    fn saw(&self, delivery: &Delivery, outcome: &Outcome) {
        if delivery.from.service != PRINCIPAL {
            return;
        }
        let Some((bus, rule)) = rule_of_arn(&delivery.from.arn) else {
            return;
        };
        let count = |name| self.0.measure_rule(&bus, &rule, name, Unit::Count, 1.0);
        let target = &delivery.to;
        if delivery.is_dead_letter() {
            match outcome {
                Outcome::Delivered => count("InvocationsSentToDlq"),
                Outcome::Buried(refusal) => {
                    count("InvocationsFailedToBeSentToDlq");
                    tracing::warn!(%rule, queue = %target, %refusal, "a dead-letter queue did not take an event; it was set aside");
                }
                Outcome::Retried(_) | Outcome::DeadLettered(_) | Outcome::Expired(_) => {}
            }
            return;
        }
        match outcome {
            Outcome::Delivered => {
                count("Invocations");
                // Latencies are far below 2^53 milliseconds.
                let latency = self.0.inner.clock.now_ms() - delivery.accepted_ms;
                let latency = latency.max(0) as f64;
                let name = "IngestionToInvocationStartLatency";
                let unit = Unit::Milliseconds;
                self.0.measure_rule(&bus, &rule, name, unit, latency);
            }
            Outcome::Retried(refusal) => {
                count("Invocations");
                count("RetryInvocationAttempts");
                tracing::info!(%rule, %target, %refusal, "a target did not take an event; it is tried again");
            }
            Outcome::DeadLettered(refusal) => {
                count("Invocations");
                count("FailedInvocations");
                tracing::warn!(%rule, %target, %refusal, "a target did not take an event; it goes to the dead-letter queue");
            }
            Outcome::Buried(refusal) => {
                count("Invocations");
                count("FailedInvocations");
                tracing::warn!(%rule, %target, %refusal, "a target did not take an event; it was set aside");
            }
            Outcome::Expired(_) => count("FailedInvocations"),
        }
    }
}
