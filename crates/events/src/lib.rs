//! EventBridge and EventBridge Scheduler: buses, rules and their patterns, targets and their input, schedules.
//!
//! What fires is put into the outbox of `delivery`; nothing here knows how a target takes it.

pub mod pattern;
mod raw;
pub mod samples;
pub mod schedule;
pub mod transform;
