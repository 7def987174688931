//! The sandbox through its public face, with the small broker binary of this crate.
#![allow(clippy::unwrap_used)]

mod basics;
mod common;
mod egress;
mod escape;
mod leaks;
mod limits;
mod nursery;
mod rootless;
