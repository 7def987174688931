//! CloudWatch Logs and CloudWatch metrics.

pub mod filter;
pub mod metrics;
