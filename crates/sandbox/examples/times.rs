//! Prints what a sandbox costs, next to the floors of the same run: F1 is fork and exec of a small program,
//! F2 a clone with five namespaces. Build it with `--release`; ratios say more than microseconds.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::{Config, Host, Process, Spec};

const ROUNDS: usize = 200;

/// Durations of one step.
struct Row {
    name: &'static str,
    times: Vec<Duration>,
}

impl Row {
    fn at(&self, percent: usize) -> f64 {
        let mut times = self.times.clone();
        times.sort();
        times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6
    }
}

fn measure(name: &'static str, mut step: impl FnMut() -> Duration) -> Row {
    Row {
        name,
        times: (0..ROUNDS).map(|_| step()).collect(),
    }
}

fn timed<T>(step: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let value = step();
    (start.elapsed(), value)
}

fn main() {
    let broker = std::env::args().nth(1).map_or_else(
        || {
            std::env::current_exe()
                .unwrap()
                .parent()
                .unwrap()
                .parent()
                .unwrap()
                .join("sandbox-broker")
        },
        PathBuf::from,
    );
    let config = Config::with_broker(broker, ["__sandbox"]);
    let (started, host) = timed(|| Host::start(&config).unwrap());
    println!(
        "{:?}, {}; broker ready after {started:?}; {ROUNDS} rounds\n",
        host.mode(),
        host.limits()
    );

    let f1 = measure("F1 fork + exec of /bin/true, reaped", || {
        timed(|| {
            Command::new("/bin/true")
                .stdin(Stdio::null())
                .status()
                .unwrap()
        })
        .0
    });
    let f2 = measure("F2 clone with 5 namespaces, reaped", || {
        // `unshare` execs twice as much as a bare clone would, so this is F1 plus the namespaces.
        timed(|| {
            Command::new("unshare")
                .args(["-pmiuC", "-f", "/bin/true"])
                .status()
                .unwrap()
        })
        .0
    });
    let (mut spawn, mut run, mut freeze, mut thaw, mut usage, mut cpu, mut reset, mut drop_it) = (
        Vec::new(),
        Vec::new(),
        Vec::new(),
        Vec::new(),
        Vec::new(),
        Vec::new(),
        Vec::new(),
        Vec::new(),
    );
    let create = measure("create", || {
        let spec = Spec {
            listeners: vec!["127.0.0.1:9001".parse().unwrap()],
            ..Spec::new("times")
        };
        let (created, sandbox) = timed(|| host.create(spec).unwrap());
        let process = |program: &str| Process {
            argv: vec![program.to_owned(), "1000".to_owned()],
            ..Process::default()
        };
        let (spawned, _child) = timed(|| sandbox.spawn(process("/bin/sleep")).unwrap());
        spawn.push(spawned);
        run.push(
            timed(|| {
                let (read, write) = std::io::pipe().unwrap();
                sandbox
                    .spawn(Process {
                        stdout: Some(OwnedFd::from(write)),
                        ..process("/bin/true")
                    })
                    .unwrap();
                File::from(OwnedFd::from(read))
                    .read_to_end(&mut Vec::new())
                    .unwrap();
            })
            .0,
        );
        freeze.push(timed(|| sandbox.freeze().unwrap()).0);
        thaw.push(timed(|| sandbox.thaw().unwrap()).0);
        usage.push(timed(|| sandbox.usage().unwrap()).0);
        cpu.push(timed(|| sandbox.set_cpu(Some(500)).unwrap()).0);
        reset.push(timed(|| sandbox.reset().unwrap()).0);
        drop_it.push(timed(|| drop(sandbox)).0);
        created
    });
    let rows = [
        create,
        Row {
            name: "spawn (program loaded)",
            times: spawn,
        },
        Row {
            name: "spawn /bin/true to its end",
            times: run,
        },
        Row {
            name: "freeze",
            times: freeze,
        },
        Row {
            name: "thaw",
            times: thaw,
        },
        Row {
            name: "usage",
            times: usage,
        },
        Row {
            name: "set_cpu",
            times: cpu,
        },
        Row {
            name: "reset (kill processes)",
            times: reset,
        },
        Row {
            name: "drop (kill to nothing left)",
            times: drop_it,
        },
    ];
    let (one, two) = (f1.at(50), f2.at(50));
    println!(
        "{:38}{:>9}{:>9}{:>9}{:>8}{:>8}",
        "us", "p10", "p50", "p90", "/ F1", "/ F2"
    );
    for row in [f1, f2].iter().chain(&rows) {
        let [p10, p50, p90] = [10, 50, 90].map(|percent| row.at(percent));
        println!(
            "{:38}{p10:>9.0}{p50:>9.0}{p90:>9.0}{:>8.2}{:>8.2}",
            row.name,
            p50 / one,
            p50 / two
        );
    }
}
