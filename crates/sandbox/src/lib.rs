//! Linux isolation for one function environment. Knows nothing of Lambda.
//!
//! A [`Host`] re-executes the running binary as a small single-threaded *broker*, the only process that
//! forks. For every [`Sandbox`] the broker clones a static init (pid 1 of the new namespaces), which builds
//! the read-only root, drops every privilege, and then starts [`Process`]es on request. Everything is tied
//! to file descriptors: when the host process dies, even by `kill -9`, the sockets close and nothing survives.
//!
//! Calls are blocking and short; what must be awaited is a descriptor ([`Child::exit_fd`], the listeners),
//! so an async caller can register it.
//!
//! As root every sandbox has host ids of its own and kernel limits by cgroup v2 or v1. An ordinary user gets
//! the same namespaces, filter and Landlock domain, but one id for all sandboxes and, unless a v2 group is
//! delegated, best-effort limits: memory is polled, CPU is not throttled, and `/tmp` and processes hold. With
//! neither root nor user namespaces [`Host::start`] refuses. All of it shares the kernel: one kernel bug is a
//! way out. The adversarial suite in `tests/it/hostile.py` is the list of what is promised.
//! This is the only crate of the workspace with `unsafe`.

mod broker;
mod cgroup;
mod channel;
mod child;
mod confine;
mod filter;
mod host;
mod init;
mod inspect;
mod line;
mod moves;
mod probe;
mod rootfs;
mod route;
mod spec;
mod sys;
mod syscalls;
mod warden;
mod zygote;

pub use broker::broker_main;
pub use child::{Child, Loading, Poised, Signalled, read_exit};
pub use host::{Host, Sandbox};
pub use probe::{Finding, Level, Probe};
pub use route::{Delivery, delivery};
pub use spec::{
    CA_BUNDLE, Config, Egress, Error, Exit, Late, Limits, Mode, Mount, Process, Spec, Usage,
};
pub use zygote::{Outputs, ZYGOTE_FD, Zygote};
