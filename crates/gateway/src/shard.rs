//! Shards: threads that serve connections, each alone on one CPU. A request stays on the thread of its connection, and
//! finds there an environment that was started on it; so between reading and answering nobody else is woken up.
//!
//! A connection goes to the shard of the CPU that its packets arrive on, which for a client on this machine is the
//! client's own, unless that shard has far more connections than another.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::net::sockopt::socket_incoming_cpu;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How many more connections than the emptiest a shard may have before others are preferred.
const LEAD_MAX: usize = 4;

/// Threads that serve connections. They end when this is dropped.
#[derive(Debug)]
pub struct Shards {
    shards: Vec<Shard>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shard {
    runtime: Handle,
    cpu: usize,
    connections: Arc<AtomicUsize>,
}

/// Counts a connection of a shard until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shards {
    /// One shard for each CPU that this process may use.
    ///
    /// # Errors
    /// If the CPUs cannot be read or a thread cannot be started.
    pub fn start() -> io::Result<Shards> {
        let allowed = sched_getaffinity(None)?;
        let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        let stop = CancellationToken::new();
        let shards = cpus
            .map(|cpu| Shard::start(cpu, stop.clone()))
            .collect::<io::Result<Vec<Shard>>>()?;
        Ok(Shards {
            shards,
            _stop: stop.drop_guard(),
        })
    }

    /// The shard for a connection, and its place there.
    pub(crate) fn choose(&self, connection: impl AsFd) -> (&Handle, Place) {
        let open = |shard: &Shard| shard.connections.load(Ordering::Relaxed);
        let least = self.shards.iter().map(open).min().unwrap_or_default();
        // A kernel that does not tell where packets arrive leaves it to the numbers.
        let near = socket_incoming_cpu(connection).ok();
        let near = self.shards.iter().find(|shard| {
            near.is_some_and(|cpu| usize::try_from(cpu).is_ok_and(|cpu| cpu == shard.cpu))
                && open(shard) < least + LEAD_MAX
        });
        let emptiest = || self.shards.iter().min_by_key(|shard| open(shard));
        let shard = near.or_else(emptiest).expect("there is at least one CPU");
        shard.connections.fetch_add(1, Ordering::Relaxed);
        (&shard.runtime, Place(shard.connections.clone()))
    }
}

impl Shard {
    fn start(cpu: usize, stop: CancellationToken) -> io::Result<Shard> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let serve = move || {
            let mut alone = CpuSet::new();
            alone.set(cpu);
            if let Err(error) = sched_setaffinity(None, &alone) {
                tracing::warn!(cpu, %error, "a shard runs on any CPU");
            }
            runtime.block_on(stop.cancelled());
            // What did not drain in time is not waited for.
            runtime.shutdown_background();
        };
        std::thread::Builder::new()
            .name(format!("shard {cpu}"))
            .spawn(serve)?;
        Ok(Shard {
            runtime: handle,
            cpu,
            connections: Arc::default(),
        })
    }
}
