//! Linux isolation for one function environment. Knows nothing of Lambda.
//!
//! A [`Host`] re-executes the running binary as a small single-threaded *broker*, the only process that
//! forks. For every [`Sandbox`] the broker clones a static init (pid 1 of the new namespaces), which builds
//! the read-only root, drops every privilege, and then starts [`Process`]es on request. Everything is tied
//! to file descriptors: when the host process dies, even by `kill -9`, the sockets close and nothing survives.
//!
//! Calls are blocking and short; what must be awaited is a descriptor ([`Child::exit_fd`], the listeners),
//! so an async caller can register it. This is the only crate of the workspace with `unsafe`.

mod broker;
mod cgroup;
mod channel;
mod confine;
mod filter;
mod host;
mod init;
mod probe;
mod rootfs;
mod route;
mod spec;
mod sys;
mod syscalls;
mod warden;

pub use broker::broker_main;
pub use host::{Child, Host, Sandbox};
pub use probe::{Finding, Level, Probe};
pub use route::{Delivery, delivery};
pub use spec::{Config, Egress, Error, Exit, Limits, Mode, Mount, Process, Spec, Usage};
