//! Every operation through the wire: requests as clients send them, replies as they read them.
#![allow(clippy::unwrap_used, missing_docs)]

mod alias;
mod bed;
mod code;
mod concurrency;
mod event;
mod event_config;
mod function;
mod inbox;
mod invoke;
mod layer;
mod network;
mod permission;
mod provisioned;
mod recursion;
mod restart;
mod snapstart;
mod tag;
mod version;
