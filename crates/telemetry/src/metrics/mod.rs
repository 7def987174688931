//! CloudWatch metrics: what a metric is, how its values are kept, and what is computed from them.

pub mod distribution;
pub mod math;
pub mod search;
pub mod statistic;
pub mod window;

pub use distribution::Distribution;
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
