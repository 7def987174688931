//! The metrics of functions (<https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html>), each in the
//! dimensions that AWS has: all functions, the function, the version or alias called, and the version behind an alias.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use engine::{Outcome, Refusal};
use telemetry::Telemetry;
use telemetry::metrics::{Measured, Metric, Unit};
use wire::Scope;

use crate::Inner;
use crate::invoke::Call;
use crate::spec::pool;

const NAMESPACE: &str = "AWS/Lambda";
/// How many ways to call a function have their metrics kept ready; beyond that they are made anew.
const READY_MAX: usize = 10_000;

/// Measures invocations.
pub(crate) struct Meter {
    telemetry: Telemetry,
    ready: RwLock<HashMap<String, Arc<Kept>>>,
}

/// The metrics of one way to call a function, each in all its dimensions.
struct Kept {
    invocations: Vec<Measured>,
    errors: Vec<Measured>,
    throttles: Vec<Measured>,
    duration: Vec<Measured>,
    concurrent: Vec<Measured>,
    provisioned: Vec<Measured>,
    spilled_over: Vec<Measured>,
    utilization: Vec<Measured>,
    provisioned_concurrent: Vec<Measured>,
    unreserved_concurrent: Measured,
}

impl Kept {
    fn new(at: &Scope, function: &str, qualifier: Option<&str>, version: &str) -> Self {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let named = pair("FunctionName", function);
        let resource = pair(
            "Resource",
            &qualifier.map_or_else(|| function.to_owned(), |q| format!("{function}:{q}")),
        );
        let mut sets = vec![
            Vec::new(),
            vec![named.clone()],
            vec![named.clone(), resource.clone()],
        ];
        if qualifier.is_some_and(|qualifier| qualifier != version) {
            sets.push(vec![named, resource, pair("ExecutedVersion", version)]);
        }
        let all = |name: &str, unit| {
            let of =
                |set: &Vec<_>| Measured::new(at, Metric::new(NAMESPACE, name, set.clone()), unit);
            sets.iter().map(of).collect()
        };
        let unreserved = Metric::new(NAMESPACE, "UnreservedConcurrentExecutions", Vec::new());
        Self {
            invocations: all("Invocations", Unit::Count),
            errors: all("Errors", Unit::Count),
            throttles: all("Throttles", Unit::Count),
            duration: all("Duration", Unit::Milliseconds),
            concurrent: all("ConcurrentExecutions", Unit::Count),
            provisioned: all("ProvisionedConcurrencyInvocations", Unit::Count),
            spilled_over: all("ProvisionedConcurrencySpilloverInvocations", Unit::Count),
            utilization: all("ProvisionedConcurrencyUtilization", Unit::None),
            provisioned_concurrent: all("ProvisionedConcurrentExecutions", Unit::Count),
            unreserved_concurrent: Measured::new(at, unreserved, Unit::Count),
        }
    }
}

impl Meter {
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Self {
            telemetry,
            ready: RwLock::default(),
        }
    }

    fn kept(&self, call: &Call, qualifier: Option<&str>, version: &str) -> Arc<Kept> {
        let key = format!("{}|{version}", call.arn);
        let ready = self.ready.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = ready.get(&key) {
            return Arc::clone(found);
        }
        drop(ready);
        let function = &call.function;
        let made = Arc::new(Kept::new(&function.at, &function.name, qualifier, version));
        let mut ready = self.ready.write().unwrap_or_else(PoisonError::into_inner);
        if ready.len() >= READY_MAX {
            ready.clear();
        }
        ready.insert(key, Arc::clone(&made));
        made
    }

    /// An attempt to invoke, let in or not.
    pub(crate) fn measure(
        &self,
        call: &Call,
        qualifier: Option<&str>,
        version: &str,
        result: &Result<Outcome, Refusal>,
        inner: &Inner,
    ) {
        let now_ms = inner.clock.now_ms();
        let kept = self.kept(call, qualifier, version);
        let put = |metrics: &[Measured], value: f64| {
            for metric in metrics {
                self.telemetry.measure(metric, value, now_ms);
            }
        };
        match result {
            Ok(outcome) => {
                put(&kept.invocations, 1.0);
                let error = outcome.function_error.is_some();
                put(&kept.errors, if error { 1.0 } else { 0.0 });
                put(&kept.throttles, 0.0);
                let duration = outcome.report.duration.as_secs_f64() * 1000.0;
                put(&kept.duration, duration);
                if let Some(provisioned) = outcome.provisioned {
                    let busy = f64::from(provisioned.busy);
                    let all = f64::from(provisioned.allocated);
                    let how = match provisioned.used {
                        true => &kept.provisioned,
                        false => &kept.spilled_over,
                    };
                    put(how, 1.0);
                    let share = if all > 0.0 {
                        (busy / all).min(1.0)
                    } else {
                        0.0
                    };
                    put(&kept.utilization, share);
                    put(&kept.provisioned_concurrent, busy);
                }
            }
            Err(Refusal::Throttled(_)) => put(&kept.throttles, 1.0),
            // Nothing ran, and it is not the caller's doing.
            Err(_) => return,
        }
        let function = &call.function;
        // The one that just ended counts.
        let running = inner
            .engine
            .concurrency(&pool(&function.at, &function.name));
        let of_account = f64::from(running.account + 1);
        for (index, metric) in kept.concurrent.iter().enumerate() {
            let value = match index {
                0 => of_account,
                _ => f64::from(running.function + 1),
            };
            self.telemetry.measure(metric, value, now_ms);
        }
        if function.record.reserved_concurrency.is_none() {
            self.telemetry
                .measure(&kept.unreserved_concurrent, of_account, now_ms);
        }
    }

    /// An event was accepted.
    pub(crate) fn event_received(&self, call: &Call, inner: &Inner) {
        self.event(call, inner, "AsyncEventsReceived", Unit::Count, 1.0);
    }

    /// An event is given up.
    pub(crate) fn event_dropped(&self, call: &Call, inner: &Inner) {
        self.event(call, inner, "AsyncEventsDropped", Unit::Count, 1.0);
    }

    /// How old an event is when it is attempted.
    pub(crate) fn event_age(&self, call: &Call, age_ms: i64, inner: &Inner) {
        // An event's age is far below 2^53 milliseconds.
        let age = age_ms.max(0) as f64;
        self.event(call, inner, "AsyncEventAge", Unit::Milliseconds, age);
    }

    /// An event or an invocation goes on with a loop, and is stopped.
    pub(crate) fn recursion_dropped(&self, call: &Call, inner: &Inner) {
        let name = "RecursiveInvocationsDropped";
        self.event(call, inner, name, Unit::Count, 1.0);
    }

    /// The record of an invocation did not reach its destination.
    pub(crate) fn destination_failed(&self, at: &Scope, function: &str, inner: &Inner) {
        let name = "DestinationDeliveryFailures";
        self.put(at, function, inner, name, Unit::Count, 1.0);
    }

    /// A failed event did not reach its dead-letter queue.
    pub(crate) fn dead_letter_failed(&self, at: &Scope, function: &str, inner: &Inner) {
        self.put(at, function, inner, "DeadLetterErrors", Unit::Count, 1.0);
    }

    fn event(&self, call: &Call, inner: &Inner, name: &str, unit: Unit, value: f64) {
        let function = &call.function;
        self.put(&function.at, &function.name, inner, name, unit, value);
    }

    fn put(&self, at: &Scope, function: &str, inner: &Inner, name: &str, unit: Unit, value: f64) {
        let now_ms = inner.clock.now_ms();
        let named = ("FunctionName".to_owned(), function.to_owned());
        for dimensions in [Vec::new(), vec![named]] {
            let metric = Metric::new(NAMESPACE, name, dimensions);
            self.telemetry.metric(at, &metric, unit, value, now_ms);
        }
    }
}
