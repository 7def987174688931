//! A thread that watches what no kernel limit covers: memory apart from `/tmp`, and all memory where no
//! cgroup is to be had. It sleeps while every sandbox is frozen or empty.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::host::Inner;
use crate::sys;

/// What memory grows by at the most in a millisecond, roughly: who has far to its limit is looked at less often.
const GROWTH_BYTES_PER_MS: u64 = 2 << 20;
/// The least time between two looks at a sandbox. Memory can grow by some 20 MB meanwhile.
const LOOK_MIN_MS: u64 = 10;
/// The most time.
const LOOK_MAX_MS: u64 = 250;
/// Looks in a millisecond, at all sandboxes together, so that many of them do not keep a CPU busy: each takes some ten
/// microseconds. What is missed by that the kernel's limit holds, with `/tmp`.
const LOOKS_PER_MS: u64 = 5;
/// When no look is planned.
pub(crate) const NEVER: u64 = u64::MAX;

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
    /// The next look at each sandbox that is not idle; the earliest first.
    looks: BinaryHeap<Reverse<Look>>,
    over: bool,
}

/// A look that is due. It counts only as long as it is the one that [`Inner::next_look`] tells of.
struct Look {
    due: u64,
    sandbox: Weak<Inner>,
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

    /// It may have become active. When it is due does not change by that: it may have grown before it was idle.
    pub fn wake(&self, sandbox: &Arc<Inner>) {
        let mut watched = self.state.lock();
        if watched.plan(sandbox, sandbox.look.load(Ordering::Acquire)) {
            self.state.changed.notify_one();
        }
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

impl Watched {
    /// Plans a look unless there is an earlier one; says whether it is the earliest of all.
    fn plan(&mut self, sandbox: &Arc<Inner>, due: u64) -> bool {
        if sandbox.next_look.load(Ordering::Relaxed) <= due {
            return false;
        }
        sandbox.next_look.store(due, Ordering::Relaxed);
        let earliest = self.next().is_none_or(|next| due < next);
        self.looks.push(Reverse(Look {
            due,
            sandbox: Arc::downgrade(sandbox),
        }));
        earliest
    }

    fn next(&self) -> Option<u64> {
        self.looks.peek().map(|Reverse(look)| look.due)
    }

    /// The sandboxes to be looked at now. Whoever becomes active from here on says so.
    fn take_due(&mut self) -> Vec<Arc<Inner>> {
        let now = now();
        let mut due = Vec::new();
        while self.next().is_some_and(|next| next <= now)
            && let Some(Reverse(look)) = self.looks.pop()
        {
            let sandbox = look.sandbox.upgrade();
            let is_next =
                |sandbox: &Arc<Inner>| sandbox.next_look.load(Ordering::Relaxed) == look.due;
            if let Some(sandbox) = sandbox.filter(is_next) {
                sandbox.next_look.store(NEVER, Ordering::Relaxed);
                due.push(sandbox);
            }
        }
        due.retain(|sandbox| !sandbox.is_idle());
        due
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut watched = self.lock();
        while !watched.over {
            let due = watched.take_due();
            let all = watched.looks.len() + due.len();
            drop(watched);
            let looks = due.iter().map(|sandbox| (sandbox, look(sandbox, all)));
            let looked: Vec<_> = looks.collect();
            watched = self.lock();
            for (sandbox, next) in looked {
                watched.plan(sandbox, next);
            }
            drop(watched);
            // Perhaps with its last handle, whose end takes its time.
            drop(due);
            watched = self.rest(self.lock());
        }
    }

    /// Waits for the next look.
    fn rest<'a>(&'a self, mut watched: MutexGuard<'a, Watched>) -> MutexGuard<'a, Watched> {
        while !watched.over {
            let wait = watched.next().map(|next| next.saturating_sub(now()));
            watched = match wait {
                Some(0) => break,
                Some(wait) => {
                    let wait = Duration::from_millis(wait);
                    let waited = self.changed.wait_timeout(watched, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.changed.wait(watched);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
        watched
    }
}

impl Ord for Look {
    fn cmp(&self, other: &Look) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

impl PartialOrd for Look {
    fn partial_cmp(&self, other: &Look) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Look {
    fn eq(&self, other: &Look) -> bool {
        self.due == other.due
    }
}

impl Eq for Look {}

/// Looks at a sandbox, one of so many, and says when it is to be looked at next.
fn look(sandbox: &Inner, all: usize) -> u64 {
    sandbox.check_memory();
    let due = now() + until_look(sandbox.may_grow_bytes(), all);
    sandbox.look.store(due, Ordering::Release);
    due
}

/// For how many milliseconds one of so many sandboxes cannot come near to its limit.
fn until_look(may_grow_bytes: u64, all: usize) -> u64 {
    let all = u64::try_from(all).unwrap_or(u64::MAX);
    let least = (all / LOOKS_PER_MS).clamp(LOOK_MIN_MS, LOOK_MAX_MS);
    (may_grow_bytes / GROWTH_BYTES_PER_MS).clamp(least, LOOK_MAX_MS)
}

/// When to look at what has begun just now, or has got another limit: not while somebody waits for it to begin.
pub(crate) fn soon() -> u64 {
    now() + LOOK_MIN_MS
}

/// Milliseconds since the first time it was asked.
fn now() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX)
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
    let status = sys::read_file(Path::new(&format!("/proc/{pid}/status"))).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_far_to_the_limit_is_looked_at_less_often_and_many_are_too() {
        for (mb, all, expected) in [
            (0, 1, LOOK_MIN_MS),
            (100, 1, 50),
            (10_000, 1, LOOK_MAX_MS),
            (0, 50, LOOK_MIN_MS),
            (0, 500, 100),
            (100, 500, 100),
            (300, 500, 150),
            (0, 100_000, LOOK_MAX_MS),
        ] {
            assert_eq!(until_look(mb << 20, all), expected, "{mb} MB, {all}");
        }
    }
}
