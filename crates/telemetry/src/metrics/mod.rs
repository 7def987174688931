//! CloudWatch metrics: what a metric is, how its values are kept, and what is computed from them.

mod buckets;
mod cloudwatch;
pub mod distribution;
mod get_metric_data;
mod get_metric_statistics;
mod labels;
mod list_metrics;
pub mod math;
mod put_metric_data;
mod recorder;
pub mod search;
mod series;
mod shapes;
pub mod statistic;
pub mod window;

#[cfg(test)]
mod tests;

pub use cloudwatch::CloudWatch;
pub use distribution::Distribution;
pub use get_metric_data::GetMetricData;
pub use get_metric_statistics::GetMetricStatistics;
pub use list_metrics::ListMetrics;
pub use put_metric_data::PutMetricData;
pub use recorder::Measured;
pub(crate) use recorder::Recorder;
pub use shapes::Unit;
pub use statistic::Statistic;
pub use window::Window;

/// A metric's identity: namespace, name and dimensions, sorted by dimension name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Metric {
    /// Such as `AWS/Lambda`.
    pub namespace: String,
    /// Such as `Invocations`.
    pub name: String,
    /// Name and value pairs, sorted by name so that the order in a request does not matter.
    pub dimensions: Vec<(String, String)>,
}

impl Metric {
    /// Makes an identity; the dimensions may come in any order.
    pub fn new(
        namespace: impl Into<String>,
        name: impl Into<String>,
        mut dimensions: Vec<(String, String)>,
    ) -> Self {
        dimensions.sort();
        Self {
            namespace: namespace.into(),
            name: name.into(),
            dimensions,
        }
    }
}
