//! Nothing stays behind: not after many sandboxes, not after `kill -9`.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use sandbox::{Exit, Host, Spec};

use crate::common::{
    Traces, children, command, config, descendants, folder, host, orphans, python, sh, start, until,
};

const ROUNDS: usize = 300;
/// Set in the process that is going to be killed.
const HOLD: &str = "SANDBOX_TEST_HOLD";

#[test]
fn three_hundred_sandboxes_leave_nothing() {
    // In a process of its own: other tests of this one have sandboxes too.
    if std::env::var_os(HOLD).is_none() {
        let folder = folder();
        let status = again("leaks::three_hundred_sandboxes_leave_nothing")
            .env(HOLD, "1")
            .env("TMPDIR", folder.path())
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let pid = std::process::id();
    let empty = Traces::of(pid);
    let host = host();
    sandbox_round(&host, 0);
    let before = Traces::of(pid);
    let broker = u32::try_from(before.children[0]).unwrap();
    let broker_before = std::fs::read_dir(format!("/proc/{broker}/fd"))
        .unwrap()
        .count();
    for round in 0..ROUNDS {
        sandbox_round(&host, round);
    }
    assert_eq!(Traces::of(pid).children, before.children);
    assert_eq!(Traces::of(pid), before);
    // The broker keeps a few user namespaces to use again, never one per sandbox made.
    until("the broker's descriptors", || {
        std::fs::read_dir(format!("/proc/{broker}/fd"))
            .unwrap()
            .count()
            <= broker_before
    });
    drop(host);
    until("no orphan", || orphans().is_empty());
    let left = Traces::of(pid);
    assert_eq!(
        (left.mounts, left.cgroups, left.temporary, left.children),
        (empty.mounts, empty.cgroups, empty.temporary, empty.children)
    );
}

/// One sandbox that ends in one of many ways.
fn sandbox_round(host: &Host, round: usize) {
    let sandbox = host
        .create(Spec {
            memory_bytes: 32 << 20,
            tmp_bytes: 1 << 20,
            pids_max: 20,
            ..Spec::new("leak")
        })
        .unwrap();
    match round % 10 {
        0 => assert_eq!(sh(&sandbox, "exit 3").1, Exit::Code(3)),
        1 => assert_eq!(sh(&sandbox, "kill -SEGV $$").1, Exit::Signal(11)),
        2 => drop(start(&sandbox, command(&["/bin/sleep", "1000"]))),
        3 => drop(start(
            &sandbox,
            command(&[
                "/bin/sh",
                "-c",
                "while :; do (sleep 1000 &) 2>/dev/null; done",
            ]),
        )),
        4 => assert!(sandbox.spawn(command(&["/missing"])).is_err()),
        5 => sandbox.kill(),
        6 => {
            drop(start(&sandbox, command(&["/bin/sleep", "1000"])));
            sandbox.freeze().unwrap();
        }
        7 => {
            sh(
                &sandbox,
                "dd if=/dev/zero of=/tmp/x bs=64k count=100 2>/dev/null",
            );
        }
        8 if round % 50 == 8 => {
            python(&sandbox, "x = bytearray(1 << 30)");
        }
        _ => {}
    }
}

#[test]
fn kill_9_of_the_host_leaves_nothing() {
    if std::env::var_os(HOLD).is_some() {
        hold();
    }
    for victim in ["host", "broker", "both"] {
        let mut child = again("leaks::kill_9_of_the_host_leaves_nothing")
            .env(HOLD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("holding") {
            line.clear();
            assert!(
                output.read_line(&mut line).unwrap() > 0,
                "the other process ended early"
            );
        }
        let all: HashSet<i32> = descendants(child.id()).into_iter().collect();
        // Its number need not be the lowest: they begin anew after the highest.
        let broker = *children(child.id()).first().unwrap();
        assert!(all.len() > 3 * 3, "{all:?}");
        let kill = |pid: i32| {
            assert!(
                Command::new("kill")
                    .args(["-9", &pid.to_string()])
                    .status()
                    .unwrap()
                    .success()
            )
        };
        if victim != "host" {
            kill(broker);
        }
        if victim != "broker" {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let alive = |pid: &i32| {
            // A zombie whose parent has yet to look is dead enough.
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.contains(") Z "))
        };
        until("the end of all sandboxes", || !all.iter().any(alive));
        // Ends the host when only the broker was killed.
        let _ = child.kill();
        let _ = child.wait();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        // Without its broker nobody removes the cgroups, until the next start does.
        if victim != "host" {
            drop(Host::start(&config()).unwrap());
        }
        let left = |hierarchy: &str| {
            Path::new("/sys/fs/cgroup")
                .join(hierarchy)
                .join("mayfly")
                .read_dir()
                .is_ok_and(|mut entries| {
                    entries.any(|entry| {
                        entry
                            .unwrap()
                            .file_name()
                            .to_string_lossy()
                            .starts_with(&format!("{broker}-"))
                    })
                })
        };
        until("the end of the cgroups", || {
            !["memory", "cpu", "pids", "cpuacct", "."]
                .iter()
                .any(|name| left(name))
        });
    }
}

/// Three sandboxes with processes, until killed.
fn hold() -> ! {
    let host = host();
    let sandboxes: Vec<_> = (0..3)
        .map(|_| host.create(Spec::new("held")).unwrap())
        .collect();
    let children: Vec<_> = sandboxes
        .iter()
        .map(|sandbox| {
            start(
                sandbox,
                command(&["/bin/sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"]),
            )
        })
        .collect();
    for sandbox in &sandboxes {
        // Frozen ones must die too.
        until("two processes", || {
            sh(sandbox, "ls -d /proc/[0-9]* | wc -l")
                .0
                .trim()
                .parse::<usize>()
                .is_ok_and(|count| count >= 4)
        });
    }
    sandboxes[0].freeze().unwrap();
    println!("holding");
    let _children = children;
    loop {
        std::thread::park();
    }
}

/// This test binary again, with one test only.
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command
}
