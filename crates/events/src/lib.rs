//! EventBridge and EventBridge Scheduler: buses, rules and their patterns, targets and their input, schedules.
//!
//! What fires is put into the outbox of `delivery`; nothing here knows how a target takes it.

mod clock;
mod fire;
mod json;
pub mod pattern;
mod raw;
pub mod samples;
pub mod schedule;
pub mod scheduler;
mod shelf;
pub mod transform;

pub use clock::{Agenda, Clock};
pub use fire::Firing;
pub use scheduler::Scheduler;
pub use shelf::Error as ShelfError;
