//! Real handlers in the real sandbox: what a user's function sees, and what its caller gets.
#![allow(clippy::unwrap_used, missing_docs)]

mod bed;
mod catalogue;
mod credentials;
mod inputs;
mod leaks;
mod life;
mod parked;
mod prediction;
mod preloaded;
mod protocol;
mod provisioned;
mod settling;
mod templates;
