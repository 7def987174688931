//! Which CPU a runtime's process runs on.
//!
//! A function that answers at once runs best on the CPU of the thread that calls it: waking up another CPU takes longer
//! than all of the rest. So the process of a function whose invocations are short stays there, for as long as they are;
//! one that takes longer runs anywhere, with all that it has started.

use std::fs;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// An invocation that takes longer than this is no short one.
pub(crate) const SHORT: Duration = Duration::from_millis(1);
/// So many short ones in a row are a habit.
const HABIT: u32 = 8;
/// Threads and processes that are let go; a function with more has been let go by then with the first ones.
const FOLLOWERS_MAX: usize = 1024;

/// The place of one runtime's process.
#[derive(Debug, Default)]
pub(crate) struct Place {
    short: u32,
    pinned: Option<Pinned>,
}

#[derive(Debug)]
struct Pinned {
    pid: Pid,
    before: CpuSet,
}

impl Place {
    /// Takes note of a short invocation. `child` is the runtime's process.
    pub(crate) fn short(&mut self, child: Option<&sandbox::Child>) {
        self.short = self.short.saturating_add(1);
        if self.short == HABIT {
            self.pinned = child.and_then(pin);
        }
    }

    /// Lets the process run anywhere, since it takes longer or its caller is another thread.
    pub(crate) fn release(&mut self) {
        self.short = 0;
        if let Some(Pinned { pid, before }) = self.pinned.take() {
            release(pid, &before);
        }
    }
}

/// Pins a process to the CPU of this thread, if this thread has just one and the process just one thread.
fn pin(child: &sandbox::Child) -> Option<Pinned> {
    let here = sched_getaffinity(None).ok()?;
    if here.count() != 1 {
        return None;
    }
    let pid = pid(child)?;
    if fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()))
        .ok()?
        .count()
        != 1
    {
        return None;
    }
    let before = sched_getaffinity(Some(pid)).ok()?;
    // Without the right to do so it runs where it runs.
    sched_setaffinity(Some(pid), &here).ok()?;
    Some(Pinned { pid, before })
}

/// The process's id on this machine.
fn pid(child: &sandbox::Child) -> Option<Pid> {
    let about = format!("/proc/self/fdinfo/{}", child.pidfd().as_raw_fd());
    let about = fs::read_to_string(about).ok()?;
    let line = about.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    Pid::from_raw(line.trim().parse().ok()?)
}

/// What a pinned process started is pinned as well.
fn release(root: Pid, before: &CpuSet) {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else {
            continue;
        };
        for task in tasks.flatten() {
            let id = task.file_name().to_str().and_then(|id| id.parse().ok());
            if let Some(id) = id.and_then(Pid::from_raw) {
                // It may have ended by now.
                let _ = sched_setaffinity(Some(id), before);
            }
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|id| id.parse().ok());
            all.extend(children.filter_map(Pid::from_raw));
        }
        all.truncate(FOLLOWERS_MAX);
    }
}
