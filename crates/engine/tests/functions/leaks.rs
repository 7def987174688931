//! Two thousand invocations, with time-outs and crashes among them, leave nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{FunctionSpec, Initialization};

use crate::bed::Bed;

const INVOCATIONS: usize = 2000;
const AT_ONCE: usize = 8;

/// What an engine might leave behind.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    descriptors: usize,
    mounts: usize,
    files: usize,
    processes: usize,
    cgroups: usize,
}

fn traces(folder: &Path, cgroup: &str) -> Traces {
    Traces {
        descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        mounts: fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .count(),
        files: count_files(folder),
        processes: descendants(std::process::id()).len(),
        cgroups: cgroups(cgroup),
    }
}

fn count_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| {
            if entry.path().is_dir() {
                1 + count_files(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

/// Cgroups below the one of this name, itself included, in every hierarchy.
fn cgroups(name: &str) -> usize {
    fn below(folder: &Path, wanted: &str, depth: usize) -> usize {
        let Ok(entries) = fs::read_dir(folder) else {
            return 0;
        };
        let folders = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir());
        folders
            .map(|path| {
                let ours = path.to_string_lossy().contains(wanted);
                let inside = if depth < 6 {
                    below(&path, wanted, depth + 1)
                } else {
                    0
                };
                usize::from(ours) + inside
            })
            .sum()
    }
    below(Path::new("/sys/fs/cgroup"), name, 0)
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<u32>>()
        })
        .collect()
}

fn descendants(pid: u32) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    let mut todo = vec![pid];
    while let Some(pid) = todo.pop() {
        todo.extend(children(pid).into_iter().filter(|child| all.insert(*child)));
    }
    all
}

/// Runs alone, in a process of its own, so that what it counts is its own.
#[test]
fn two_thousand_invocations_leave_nothing() {
    let alone = std::env::var_os("MAYFLY_LEAK_TEST").is_some();
    if alone {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(hammer());
        return;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "leaks::two_thousand_invocations_leave_nothing",
            "--nocapture",
        ])
        .env("MAYFLY_LEAK_TEST", "1")
        .status()
        .unwrap();
    assert!(status.success());
}

async fn hammer() {
    let cgroup = format!("mayfly-leaks-{}", std::process::id());
    let bed = Arc::new(Bed::with(|config| {
        config.environments_max = 12;
        config.sandbox.cgroup_name = cgroup.clone();
    }));
    let code = "
import os, time
def handler(event, context):
    open('/tmp/file', 'w').write('x' * 1000)
    if event == 1: time.sleep(60)
    if event == 2: os._exit(1)
    if event == 3: os.abort()
    if event == 4: return bytearray(400 << 20) and 1
    if event == 5 and os.fork() == 0: time.sleep(60)
    if event == 6: raise ValueError()
    return event
";
    let mut spec = bed.function(code);
    spec.timeout = Duration::from_secs(3);
    spec.memory_mb = 128;
    let spec = Arc::new(spec);
    bed.invoke(&spec, "0").await.gives("0");
    // Every second environment is a fork of a template, which goes too.
    let mut forked = FunctionSpec::clone(&spec);
    forked.key += "forked/";
    forked.initialization = Initialization::SnapStart;
    let forked = Arc::new(forked);
    template(&bed, &forked).await;
    bed.invoke(&forked, "0").await.gives("0");
    bed.engine.retire("");
    settled(&bed).await;
    let before = traces(bed.folder.path(), &cgroup);

    template(&bed, &forked).await;
    let mut workers = Vec::new();
    for worker in 0..AT_ONCE {
        let spec = [&spec, &forked][worker % 2];
        let (bed, spec) = (bed.clone(), spec.clone());
        workers.push(tokio::spawn(async move {
            let mut failed = 0;
            for number in (worker..INVOCATIONS).step_by(AT_ONCE) {
                // Every fortieth goes wrong, each time in another way and by turns with a template and without.
                let event = if number % 40 == 7 - number / 40 % 2 {
                    1 + (number / 80) % 6
                } else {
                    0
                };
                let answer = bed.invoke(&spec, &event.to_string()).await;
                failed += usize::from(answer.failed());
                // 5 answers well and leaves a process of its own behind.
                assert_eq!(
                    answer.failed(),
                    ![0, 5].contains(&event),
                    "{event}: {} {}",
                    answer.text(),
                    bed.recorder.text()
                );
            }
            failed
        }));
    }
    let mut failed = 0;
    for worker in workers {
        failed += worker.await.unwrap();
    }
    assert!(failed > INVOCATIONS / 60, "{failed}");
    assert_eq!(bed.recorder.reports.lock().unwrap().len(), INVOCATIONS + 2);
    bed.engine.retire("");
    settled(&bed).await;
    let after = traces(bed.folder.path(), &cgroup);
    assert_eq!(after, before);
    bed.engine.drain(Duration::from_secs(10)).await;
    drop(bed);
    for _ in 0..1000 {
        if cgroups(&cgroup) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        cgroups(&cgroup),
        0,
        "the broker is gone, and its cgroups are not"
    );
    println!("{INVOCATIONS} invocations, {failed} of them failed, left {after:?}");
}

async fn template(bed: &Bed, spec: &Arc<FunctionSpec>) {
    let prepared = bed.engine.prepare(spec.clone()).await.unwrap();
    assert_eq!(prepared.template, Ok(()), "{}", bed.recorder.text());
}

/// Waits until no environment is left, and what was going down with it is gone.
async fn settled(bed: &Bed) {
    for _ in 0..2000 {
        if bed.engine.environments() == 0 && bed.engine.is_quiet() {
            // Neither do the sandboxes that were made ahead.
            bed.engine.shed().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("environments did not end");
}
