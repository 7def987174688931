//! CloudWatch Logs and CloudWatch metrics.

pub mod filter;
