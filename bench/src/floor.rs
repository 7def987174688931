//! What this machine does at best: the floors that figures are divided by.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::table::Series;

/// Round trips of a ping-pong.
const ROUNDS: usize = 20_000;
/// Processes started.
const STARTS: usize = 300;
/// What cold starts wait for before each: what follows an answer (the next sandbox is made ahead) is over by then, and the
/// machine is quiet.
pub const PAUSE: Duration = Duration::from_millis(250);
/// Times that a floor is taken after such a pause.
const PAUSES: usize = 30;

/// One floor.
pub struct Floor {
    /// Its short name, as the targets have it.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// What it took, one right after the other.
    pub series: Series,
    /// What it took when nothing had happened for [`PAUSE`], as before a cold start: the processor has to be woken, and its
    /// caches know nothing of it any more.
    pub rested: Option<Series>,
}

/// All floors of a run.
pub struct Floors {
    /// fork and exec of a static binary, until it is reaped.
    pub f1: Floor,
    /// A byte to another process and back over a Unix socket, on one CPU.
    pub f3: Floor,
    /// The same from one CPU to another, each of which sleeps meanwhile; none where there is one only.
    pub apart: Option<Floor>,
    /// A small request and reply over TCP on loopback, on one CPU: below it no HTTP server can be.
    pub tcp: Floor,
}

impl Floors {
    /// Measures them.
    ///
    /// # Errors
    /// If there is no C compiler, or the machine refuses.
    pub fn measure() -> Result<Self> {
        Ok(Self {
            f1: Floor {
                name: "F1",
                what: "fork and exec of a static binary, reaped",
                series: on_one_cpu(|| fork_and_exec(STARTS, Duration::ZERO))?,
                rested: Some(on_one_cpu(|| fork_and_exec(PAUSES, PAUSE))?),
            },
            f3: Floor {
                name: "F3",
                what: "Unix-socket ping-pong on one CPU",
                series: on_one_cpu(|| unix_ping_pong(ROUNDS, Duration::ZERO))?,
                rested: Some(on_one_cpu(|| unix_ping_pong(PAUSES, PAUSE))?),
            },
            apart: on_one_cpu(unix_ping_pong_apart)?.map(|series| Floor {
                name: "F3b",
                what: "Unix-socket ping-pong between two CPUs",
                series,
                rested: None,
            }),
            tcp: Floor {
                name: "T",
                what: "TCP ping-pong of 500 bytes on one CPU",
                series: on_one_cpu(tcp_ping_pong)?,
                rested: None,
            },
        })
    }

    /// In the order in which they are printed.
    pub fn all(&self) -> impl Iterator<Item = &Floor> {
        let first = [&self.f1, &self.f3].into_iter();
        first.chain(&self.apart).chain([&self.tcp])
    }
}

/// Runs in a thread of its own that stays on one CPU, as do the threads and processes it starts. Nothing else is pinned.
pub fn on_one_cpu<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let first = cpus()?.into_iter().next().context("no CPU")?;
    on_cpu(first, work)
}

fn on_cpu<T: Send>(cpu: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pinned = move || {
        let mut one = CpuSet::new();
        one.set(cpu);
        sched_setaffinity(None, &one)?;
        work()
    };
    let done = std::thread::scope(|scope| scope.spawn(pinned).join());
    done.map_err(|_| anyhow!("a measuring thread panicked"))?
}

/// Those that this process may use.
fn cpus() -> Result<Vec<usize>> {
    // Of the process, since the thread may stay on one already.
    let allowed = sched_getaffinity(Some(rustix::process::getpid()))?;
    let all = 0..CpuSet::MAX_CPU;
    Ok(all.filter(|cpu| allowed.is_set(*cpu)).collect())
}

fn fork_and_exec(starts: usize, pause: Duration) -> Result<Series> {
    let folder = tempfile::tempdir()?;
    let program = static_program(folder.path(), "int main(void) { return 0; }\n")?;
    let mut times = Vec::with_capacity(starts);
    for _ in 0..starts {
        std::thread::sleep(pause);
        let begin = Instant::now();
        let status = Command::new(&program).env_clear().status()?;
        times.push(begin.elapsed());
        ensure!(status.success(), "the static program failed");
    }
    Ok(Series::of(times))
}

/// Compiles a C program that needs no library, in a folder.
pub fn static_program(folder: &Path, text: &str) -> Result<std::path::PathBuf> {
    let (source, program) = (folder.join("program.c"), folder.join("program"));
    std::fs::write(&source, text)?;
    let compiled = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .args([&program, &source])
        .stderr(Stdio::null())
        .status()
        .context("no C compiler")?;
    ensure!(compiled.success(), "cc cannot link statically");
    Ok(program)
}

fn unix_ping_pong(rounds: usize, pause: Duration) -> Result<Series> {
    let (here, there) = UnixStream::pair()?;
    ping_pong(here, echo(there)?, 1, rounds, pause)
}

fn unix_ping_pong_apart() -> Result<Option<Series>> {
    let Some(other) = cpus()?.into_iter().nth(1) else {
        return Ok(None);
    };
    let (here, there) = UnixStream::pair()?;
    let echo = on_cpu(other, || echo(there))?;
    ping_pong(here, echo, 1, ROUNDS, Duration::ZERO).map(Some)
}

fn tcp_ping_pong() -> Result<Series> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = TcpStream::connect(listener.local_addr()?)?;
    let (there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    ping_pong(here, echo(there)?, 500, ROUNDS, Duration::ZERO)
}

/// Another process, as a function is one: `cat` says again what it is told.
fn echo(there: impl Into<OwnedFd>) -> Result<Child> {
    let there = there.into();
    let mut cat = Command::new("cat");
    let cat = cat.stdin(there.try_clone()?).stdout(there);
    cat.spawn().context("no cat")
}

fn ping_pong<S>(
    mut here: S,
    mut echo: Child,
    size: usize,
    rounds: usize,
    pause: Duration,
) -> Result<Series>
where
    S: std::io::Read + std::io::Write,
{
    let mut bytes = vec![1; size];
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        std::thread::sleep(pause);
        let begin = Instant::now();
        here.write_all(&bytes)?;
        here.read_exact(&mut bytes)?;
        times.push(begin.elapsed());
    }
    drop(here);
    ensure!(echo.wait()?.success(), "cat failed");
    Ok(Series::of(times))
}
