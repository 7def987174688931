//! A thread that watches what no kernel limit covers: memory apart from `/tmp`, and all memory where no
//! cgroup is to be had. It sleeps while every sandbox is frozen or empty.

use std::fs;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::host::Inner;
use crate::sys;

/// How often it looks. Memory can grow by some 20 MB between two looks.
const TICK: Duration = Duration::from_millis(10);

pub(crate) struct Warden {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    watched: Mutex<Watched>,
    changed: Condvar,
}

#[derive(Default)]
struct Watched {
    sandboxes: Vec<Weak<Inner>>,
    /// Something became active since the last look.
    woken: bool,
    over: bool,
}

impl Warden {
    pub fn start() -> Warden {
        let state = Arc::new(State::default());
        let for_thread = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("sandbox-warden".to_owned())
            .spawn(move || for_thread.run());
        // Without it limits are weaker, but starting a thread only fails when nothing else works either.
        if let Err(error) = &thread {
            tracing::error!(%error, "could not start the thread that watches memory");
        }
        Warden {
            state,
            thread: thread.ok(),
        }
    }

    pub fn watch(&self, sandbox: &Arc<Inner>) {
        self.state.lock().sandboxes.push(Arc::downgrade(sandbox));
    }

    /// Something may have become active.
    pub fn wake(&self) {
        self.state.lock().woken = true;
        self.state.changed.notify_one();
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.state.lock().over = true;
        self.state.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic in it has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut watched = self.lock();
        while !watched.over {
            watched.woken = false;
            watched
                .sandboxes
                .retain(|sandbox| sandbox.strong_count() > 0);
            let active: Vec<Arc<Inner>> = watched
                .sandboxes
                .iter()
                .filter_map(Weak::upgrade)
                .filter(|sandbox| !sandbox.is_idle())
                .collect();
            drop(watched);
            active.iter().for_each(|sandbox| sandbox.check_memory());
            let none = active.is_empty();
            drop(active);
            watched = self.rest(self.lock(), none);
        }
    }

    /// Waits for the next look: a moment while something runs, else until something does.
    fn rest<'a>(
        &'a self,
        watched: MutexGuard<'a, Watched>,
        none_active: bool,
    ) -> MutexGuard<'a, Watched> {
        if none_active {
            let asleep = |watched: &mut Watched| !watched.woken && !watched.over;
            return self
                .changed
                .wait_while(watched, asleep)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if watched.over {
            return watched;
        }
        self.changed
            .wait_timeout(watched, TICK)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

/// Memory of one process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessMemory {
    /// Highest resident size.
    pub peak_bytes: u64,
    /// Anonymous and shared memory now.
    pub held_bytes: u64,
    /// Mapped files now.
    pub file_bytes: u64,
}

/// Reads it from `/proc`; nothing for a process that has just ended.
pub(crate) fn process_memory(pid: i32) -> ProcessMemory {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes =
            line.and_then(|line| line.trim_start_matches(':').trim().strip_suffix(" kB"));
        kilobytes
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    };
    ProcessMemory {
        peak_bytes: field("VmHWM"),
        held_bytes: field("RssAnon") + field("RssShmem"),
        file_bytes: field("RssFile"),
    }
}

/// CPU time of a process and of its children that have been waited for.
pub(crate) fn process_cpu_us(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the command name, utime is the 12th word, then stime, cutime and cstime.
    let words = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace();
    let ticks: u64 = words
        .skip(11)
        .take(4)
        .filter_map(|word| word.parse::<u64>().ok())
        .sum();
    ticks * sys::tick_us()
}

/// Every process below this one. In a pid namespace orphans fall to its init, so none is missed.
pub(crate) fn descendants(pid: i32) -> Vec<i32> {
    /// More than a sandbox may have; a guard against a tree that grows while it is read.
    const PROCESSES_MAX: usize = 10_000;
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for thread in fs::read_dir(format!("/proc/{parent}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children = children
                .split_whitespace()
                .filter_map(|word| word.parse::<i32>().ok());
            for child in children {
                found.push(child);
                parents.push(child);
            }
        }
        if found.len() > PROCESSES_MAX {
            break;
        }
    }
    found
}
