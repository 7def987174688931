//! CloudWatch Logs and CloudWatch metrics: what functions and users write, kept and found again.
//!
//! [`Telemetry`] is the handle for those who write from inside; [`Logs`] and [`CloudWatch`] are the services of the
//! wire. Nothing here knows who writes or whether they may: that is asked before.

mod error;
pub mod filter;
mod lines;
pub mod logs;
pub mod metrics;
mod page_token;
mod telemetry;
#[cfg(test)]
mod testing;

pub use error::{Error, Result};
pub use logs::{LogGroupRecipient, Logs, May, Writers};
pub use metrics::{CloudWatch, Metric, Unit};
pub use telemetry::{Stats, Telemetry, Worker};
