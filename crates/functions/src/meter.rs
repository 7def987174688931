//! The metrics of functions (<https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html>), each in the
//! dimensions that AWS has: all functions, the function, the version or alias called, and the version behind an alias.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use engine::{Outcome, Refusal};
use telemetry::Telemetry;
use telemetry::metrics::{Metric, Unit};
use wire::Scope;

use crate::Inner;
use crate::invoke::Call;
use crate::spec::pool;

const NAMESPACE: &str = "AWS/Lambda";
/// How many sets of identities are kept ready; beyond that they are made anew.
const READY_MAX: usize = 10_000;

const INVOCATIONS: &str = "Invocations";
const ERRORS: &str = "Errors";
const THROTTLES: &str = "Throttles";
const DURATION: &str = "Duration";
const CONCURRENT: &str = "ConcurrentExecutions";
const PROVISIONED: &str = "ProvisionedConcurrencyInvocations";
const SPILLED_OVER: &str = "ProvisionedConcurrencySpilloverInvocations";
const UTILIZATION: &str = "ProvisionedConcurrencyUtilization";
const PROVISIONED_CONCURRENT: &str = "ProvisionedConcurrentExecutions";
const NAMES: [&str; 9] = [
    INVOCATIONS,
    ERRORS,
    THROTTLES,
    DURATION,
    CONCURRENT,
    PROVISIONED,
    SPILLED_OVER,
    UTILIZATION,
    PROVISIONED_CONCURRENT,
];

/// Measures invocations.
pub(crate) struct Meter {
    telemetry: Telemetry,
    ready: RwLock<HashMap<String, Arc<Identities>>>,
}

/// The identities of what one way to call a function measures, by the names of [`NAMES`].
struct Identities([Vec<Metric>; NAMES.len()]);

impl Identities {
    fn new(function: &str, qualifier: Option<&str>, version: &str) -> Self {
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
        let metrics = |name: &str| {
            let metric = |set: &Vec<_>| Metric::new(NAMESPACE, name, set.clone());
            sets.iter().map(metric).collect()
        };
        Self(NAMES.map(metrics))
    }
}

impl Meter {
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Self {
            telemetry,
            ready: RwLock::default(),
        }
    }

    fn identities(&self, call: &Call, qualifier: Option<&str>, version: &str) -> Arc<Identities> {
        let key = format!("{}|{version}", call.arn);
        let ready = self.ready.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = ready.get(&key) {
            return Arc::clone(found);
        }
        drop(ready);
        let made = Arc::new(Identities::new(&call.function.name, qualifier, version));
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
        let (at, now_ms) = (&call.function.at, inner.clock.now_ms());
        let identities = self.identities(call, qualifier, version);
        let put = |index: usize, unit, value: f64| {
            for metric in &identities.0[index] {
                self.telemetry.metric(at, metric, unit, value, now_ms);
            }
        };
        match result {
            Ok(outcome) => {
                put(0, Unit::Count, 1.0);
                let error = outcome.function_error.is_some();
                put(1, Unit::Count, if error { 1.0 } else { 0.0 });
                put(2, Unit::Count, 0.0);
                let duration = outcome.report.duration.as_secs_f64() * 1000.0;
                put(3, Unit::Milliseconds, duration);
                if let Some(provisioned) = outcome.provisioned {
                    let busy = f64::from(provisioned.busy);
                    let all = f64::from(provisioned.allocated);
                    put(if provisioned.used { 5 } else { 6 }, Unit::Count, 1.0);
                    put(
                        7,
                        Unit::None,
                        if all > 0.0 {
                            (busy / all).min(1.0)
                        } else {
                            0.0
                        },
                    );
                    put(8, Unit::Count, busy);
                }
            }
            Err(Refusal::Throttled(_)) => put(2, Unit::Count, 1.0),
            // Nothing ran, and it is not the caller's doing.
            Err(_) => return,
        }
        // The one that just ended counts.
        let running = inner.engine.concurrency(&pool(at, &call.function.name));
        for (index, metric) in identities.0[4].iter().enumerate() {
            let count = if index == 0 {
                running.account
            } else {
                running.function
            };
            let value = f64::from(count + 1);
            self.telemetry
                .metric(at, metric, Unit::Count, value, now_ms);
        }
        if call.function.record.reserved_concurrency.is_none() {
            let metric = Metric::new(NAMESPACE, "UnreservedConcurrentExecutions", Vec::new());
            let value = f64::from(running.account + 1);
            self.telemetry
                .metric(at, &metric, Unit::Count, value, now_ms);
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
