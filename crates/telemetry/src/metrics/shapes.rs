//! Members that several operations share.

use wire::{List, Shape, Timestamp, text};

use super::Metric;

text! {
    /// A namespace, such as `AWS/Lambda`.
    pub struct Namespace: 1..=255, "[^:].*";
    /// A metric's name.
    pub struct MetricName: 1..=255;
    /// A dimension's name.
    pub struct DimensionName: 1..=255;
    /// A dimension's value.
    pub struct DimensionValue: 1..=1024;
}

/// The most dimensions that a metric has.
pub const DIMENSIONS_MAX: usize = 30;

/// One dimension of a metric.
#[derive(Debug, Clone, Shape)]
pub struct Dimension {
    pub(super) name: DimensionName,
    pub(super) value: DimensionValue,
}

/// The dimensions of a metric.
pub type Dimensions = List<Dimension, 0, DIMENSIONS_MAX>;

/// The identity that these members say.
pub(super) fn metric(namespace: &str, name: &str, dimensions: Option<&[Dimension]>) -> Metric {
    let dimensions = dimensions.unwrap_or_default().iter();
    Metric::new(
        namespace,
        name,
        dimensions
            .map(|d| (d.name.to_string(), d.value.to_string()))
            .collect(),
    )
}

/// A metric in a reply.
#[derive(Debug, Clone, Shape)]
pub struct MetricOutput {
    namespace: String,
    metric_name: String,
    dimensions: Vec<DimensionOutput>,
}

/// A dimension in a reply.
#[derive(Debug, Clone, Shape)]
pub struct DimensionOutput {
    name: String,
    value: String,
}

impl From<&Metric> for MetricOutput {
    fn from(metric: &Metric) -> Self {
        let dimensions = metric.dimensions.iter().cloned();
        Self {
            namespace: metric.namespace.clone(),
            metric_name: metric.name.clone(),
            dimensions: dimensions
                .map(|(name, value)| DimensionOutput { name, value })
                .collect(),
        }
    }
}

/// What a value is measured in.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Shape)]
#[allow(missing_docs, reason = "the names say all")]
pub enum Unit {
    Seconds,
    Microseconds,
    Milliseconds,
    Bytes,
    Kilobytes,
    Megabytes,
    Gigabytes,
    Terabytes,
    Bits,
    Kilobits,
    Megabits,
    Gigabits,
    Terabits,
    Percent,
    Count,
    #[shape(name = "Bytes/Second")]
    BytesPerSecond,
    #[shape(name = "Kilobytes/Second")]
    KilobytesPerSecond,
    #[shape(name = "Megabytes/Second")]
    MegabytesPerSecond,
    #[shape(name = "Gigabytes/Second")]
    GigabytesPerSecond,
    #[shape(name = "Terabytes/Second")]
    TerabytesPerSecond,
    #[shape(name = "Bits/Second")]
    BitsPerSecond,
    #[shape(name = "Kilobits/Second")]
    KilobitsPerSecond,
    #[shape(name = "Megabits/Second")]
    MegabitsPerSecond,
    #[shape(name = "Gigabits/Second")]
    GigabitsPerSecond,
    #[shape(name = "Terabits/Second")]
    TerabitsPerSecond,
    #[shape(name = "Count/Second")]
    CountPerSecond,
    #[default]
    None,
}

/// Seconds on the wire.
pub(super) fn moment(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1000)
}
