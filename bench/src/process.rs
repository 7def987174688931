//! What the kernel says of processes.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// A process and all below it.
pub fn tree(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        // A process that is gone has no children.
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok());
            all.extend(children);
        }
        next += 1;
    }
    all
}

/// The CPU time that processes have used, with that of the children they have reaped.
pub fn cpu_time(pids: &[u32]) -> Duration {
    // Linux counts in hundredths of a second for everyone who asks, whatever its own clock.
    const TICK: Duration = Duration::from_millis(10);
    let ticks = |pid: &u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, and ends with the last parenthesis.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let sum: u64 = fields
            .get(11..15)?
            .iter()
            .filter_map(|f| f.parse::<u64>().ok())
            .sum();
        u32::try_from(sum).ok()
    };
    TICK * pids.iter().filter_map(ticks).sum::<u32>()
}

/// Memory that belongs to a process alone, in megabytes.
pub fn private_mb(pid: u32) -> Result<f64> {
    sum_mb(
        &format!("/proc/{pid}/smaps_rollup"),
        &["Private_Clean:", "Private_Dirty:"],
    )
}

/// Memory that a process has in RAM, shared parts counted whole, in megabytes.
pub fn resident_mb(pid: u32) -> Result<f64> {
    sum_mb(&format!("/proc/{pid}/smaps_rollup"), &["Rss:"])
}

/// Forgets the most that a process had in RAM, so that [`peak_mb`] counts from now on.
pub fn forget_peak(pid: u32) -> Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// The most that a process had in RAM, in megabytes.
pub fn peak_mb(pid: u32) -> Result<f64> {
    sum_mb(&format!("/proc/{pid}/status"), &["VmHWM:"])
}

fn sum_mb(path: &str, names: &[&str]) -> Result<f64> {
    let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
    let kilobytes = text
        .lines()
        .filter(|line| names.iter().any(|name| line.starts_with(name)))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    Ok(kilobytes.sum::<f64>() / 1024.0)
}

/// The command line, its arguments parted by blanks.
pub fn command(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline"))
        .unwrap_or_default()
        .replace('\0', " ")
}
