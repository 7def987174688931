//! What services count that do not know telemetry, put into CloudWatch.

use events::{Meter, NAMESPACE, Unit};
use telemetry::Telemetry;
use telemetry::metrics::{self, Metric};
use wire::Scope;

/// Metrics of EventBridge.
pub struct EventMeter(pub Telemetry);

impl Meter for EventMeter {
    fn put(
        &self,
        at: &Scope,
        name: &'static str,
        dimensions: &[(&'static str, &str)],
        unit: Unit,
        value: f64,
        time_ms: i64,
    ) {
        let dimensions = dimensions.iter();
        let dimensions = dimensions.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let metric = Metric::new(NAMESPACE, name, dimensions.collect());
        let unit = match unit {
            Unit::Count => metrics::Unit::Count,
            Unit::Milliseconds => metrics::Unit::Milliseconds,
        };
        self.0.metric(at, &metric, unit, value, time_ms);
    }
}
