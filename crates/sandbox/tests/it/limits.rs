//! Memory, processes, disk, descriptors and CPU end where the specification says.

use std::fs;
use std::time::Duration;

use sandbox::{Exit, Limits, Spec};

use crate::common::{LONG, command, host, python, sh, start, until};

const MB: u64 = 1 << 20;

#[test]
fn a_memory_balloon_is_killed_and_reported() {
    let host = host();
    // The room of /tmp must not be had for memory.
    for tmp_bytes in [4 * MB, 512 * MB] {
        let sandbox = host
            .create(Spec {
                memory_bytes: 64 * MB,
                tmp_bytes,
                ..Spec::new("balloon")
            })
            .unwrap();
        let (child, _output) = start(
            &sandbox,
            command(&[
                "/usr/bin/python3",
                "-S",
                "-c",
                "x = []\nwhile True: x.append(bytearray(1 << 20))",
            ]),
        );
        assert_eq!(
            child.wait_timeout(LONG).unwrap(),
            Some(Exit::Signal(9)),
            "{tmp_bytes}"
        );
        let usage = sandbox.usage().unwrap();
        assert!(usage.oom_kills > 0, "{usage:?}");
        assert!(usage.memory_peak_bytes > 50 * MB, "{usage:?}");
        // The sandbox itself lives on.
        assert_eq!(sh(&sandbox, "echo alive").0, "alive\n");
    }
}

#[test]
fn memory_below_the_limit_is_measured() {
    let host = host();
    let sandbox = host
        .create(Spec {
            memory_bytes: 256 * MB,
            ..Spec::new("measure")
        })
        .unwrap();
    let (output, exit) = python(
        &sandbox,
        "x = bytearray(80 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\nimport time; print('held', flush=True)",
    );
    assert_eq!((output.as_str(), exit), ("held\n", Exit::Code(0)));
    let script = "x = bytearray(100 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\ndel x\nprint('freed', flush=True)\nimport time; time.sleep(1000)";
    let (_child, mut output) = start(&sandbox, command(&["/usr/bin/python3", "-S", "-c", script]));
    let mut freed = [0; 6];
    std::io::Read::read_exact(&mut output, &mut freed).unwrap();
    let usage = sandbox.usage().unwrap();
    assert!(
        (100 * MB..140 * MB).contains(&usage.memory_peak_bytes),
        "{usage:?}"
    );
    assert!(usage.memory_bytes < 40 * MB, "{usage:?}");
    assert!(usage.cpu_us > 0 && usage.oom_kills == 0, "{usage:?}");
    sandbox.reset_peak();
    assert!(sandbox.usage().unwrap().memory_peak_bytes < 60 * MB);
}

#[test]
fn tmp_has_its_size_and_is_not_memory() {
    let host = host();
    let sandbox = host
        .create(Spec {
            memory_bytes: 64 * MB,
            tmp_bytes: 100 * MB,
            ..Spec::new("disk")
        })
        .unwrap();
    let (output, exit) = sh(
        &sandbox,
        "dd if=/dev/zero of=/tmp/full bs=1M count=200 2>&1 | grep -c 'No space left'; stat -c %s /tmp/full",
    );
    assert_eq!(exit, Exit::Code(0));
    assert_eq!(output, format!("1\n{}\n", 100 * MB));
    let usage = sandbox.usage().unwrap();
    assert_eq!(usage.oom_kills, 0, "{usage:?}");
    assert!(usage.memory_bytes < 20 * MB, "{usage:?}");
    assert_eq!(sandbox.tmp_used_bytes(), 100 * MB);
    // Neither can it be filled with names alone.
    let (output, _) = python(
        &sandbox,
        "import os\nos.unlink('/tmp/full')\nn = 0\ntry:\n  while True: os.close(os.open('/tmp/%d' % n, os.O_CREAT)); n += 1\nexcept OSError as e: print(e.errno, n < 30000)",
    );
    assert_eq!(output, "28 True\n");
}

#[test]
fn shared_memory_counts_as_memory() {
    let host = host();
    let sandbox = host
        .create(Spec {
            memory_bytes: 32 * MB,
            shm_bytes: 256 * MB,
            ..Spec::new("shm")
        })
        .unwrap();
    let (child, _output) = start(
        &sandbox,
        command(&[
            "/bin/sh",
            "-c",
            "dd if=/dev/zero of=/dev/shm/full bs=1M count=200",
        ]),
    );
    let end = child.wait_timeout(LONG).unwrap();
    if matches!(host.limits(), Limits::BestEffort(_)) {
        // Nothing counts it there but the size of the file system.
        return;
    }
    assert_eq!(end, Some(Exit::Signal(9)));
    assert!(sandbox.usage().unwrap().oom_kills > 0);
}

#[test]
fn a_fork_bomb_hits_the_limit_and_dies() {
    let host = host();
    let sandbox = host
        .create(Spec {
            pids_max: 50,
            ..Spec::new("bomb")
        })
        .unwrap();
    let script = "import os, time\nn = 0\nwhile True:\n  try:\n    if os.fork() == 0: time.sleep(1000)\n    n += 1\n  except BlockingIOError: break\nprint(n, flush=True)\nwhile True:\n  try:\n    if os.fork() == 0: time.sleep(1000)\n  except OSError: pass";
    let (child, mut output) = start(&sandbox, command(&["/usr/bin/python3", "-S", "-c", script]));
    let mut text = [0; 3];
    std::io::Read::read_exact(&mut output, &mut text).unwrap();
    assert_eq!(&text, b"49\n");
    // The host can still fork, and this ends it.
    assert!(
        std::process::Command::new("true")
            .status()
            .unwrap()
            .success()
    );
    sandbox.reset().unwrap();
    assert_eq!(child.try_wait().unwrap(), Some(Exit::Signal(9)));
    assert_eq!(sh(&sandbox, "echo alive").0, "alive\n");
}

#[test]
fn descriptors_end_at_their_limit() {
    let host = host();
    let sandbox = host
        .create(Spec {
            nofile: 100,
            ..Spec::new("files")
        })
        .unwrap();
    let script = "import os\nn = 0\ntry:\n  while True: os.dup(0); n += 1\nexcept OSError as e: print(e.errno, n)";
    assert_eq!(python(&sandbox, script).0, "24 97\n");
}

#[test]
fn cpu_is_throttled_and_released() {
    let host = host();
    let sandbox = host
        .create(Spec {
            cpu_millis: Some(100),
            ..Spec::new("cpu")
        })
        .unwrap();
    let (_child, mut output) = start(
        &sandbox,
        command(&[
            "/usr/bin/python3",
            "-S",
            "-c",
            "print('x', flush=True)\nwhile True: pass",
        ]),
    );
    std::io::Read::read_exact(&mut output, &mut [0; 2]).unwrap();
    if host.limits() != &Limits::CgroupV1 {
        return;
    }
    // The kernel's own count of throttled periods tells that the quota holds; wall time would tell nothing.
    let groups = crate::common::cgroups();
    let group = groups
        .iter()
        .find(|path| {
            path.starts_with("/sys/fs/cgroup/cpu/") && path.display().to_string().contains("/cpu-")
        })
        .unwrap();
    let throttled = || {
        let stat = fs::read_to_string(group.join("cpu.stat")).unwrap();
        stat.lines()
            .find_map(|line| line.strip_prefix("nr_throttled "))
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    until("throttling", || throttled() > 2);
    sandbox.set_cpu(None).unwrap();
    assert_eq!(
        fs::read_to_string(group.join("cpu.cfs_quota_us"))
            .unwrap()
            .trim(),
        "-1"
    );
    sandbox.set_cpu(Some(1500)).unwrap();
    assert_eq!(
        fs::read_to_string(group.join("cpu.cfs_quota_us"))
            .unwrap()
            .trim(),
        "30000"
    );
}

#[test]
fn killing_is_final_and_quick() {
    let host = host();
    let sandbox = host.create(Spec::new("kill")).unwrap();
    let (child, _output) = start(
        &sandbox,
        command(&[
            "/bin/sh",
            "-c",
            "trap '' TERM INT HUP; while :; do sleep 1000; done",
        ]),
    );
    sandbox.kill();
    assert_eq!(
        child.wait_timeout(Duration::from_secs(10)).unwrap(),
        Some(Exit::Signal(9))
    );
    assert!(matches!(
        sandbox.spawn(command(&["/bin/true"])),
        Err(sandbox::Error::Gone)
    ));
}

#[test]
fn moves_under_limits_are_favoured_while_there_is_a_host() {
    let host = host();
    if let Some(why) = host.slow_moves() {
        eprintln!("skipped: {why}");
        return;
    }
    let hierarchies = fs::read_to_string("/proc/self/cgroup").unwrap();
    assert!(hierarchies.contains(":name=mayfly:"), "{hierarchies}");
}
