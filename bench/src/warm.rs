//! Warm invocations over the whole public path, and what a warm environment takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::client::{Access, Client};
use crate::floor::on_one_cpu;
use crate::mayfly::{self, Mayfly};
use crate::table::{Series, Table};
use crate::{Bench, peers, process};

/// Invocations before counting begins: the environment starts, caches fill.
const WARM_UP: usize = 300;
/// How long a signed request is used before it is signed anew.
const SIGNED_FOR: Duration = Duration::from_secs(60);

/// Interpreters that have used more CPU time have done so in invocations: to start and to wait takes less.
const AT_WORK: Duration = Duration::from_millis(200);

/// What is sent, and what comes back.
const EVENT: &[u8] = br#"{"key3":"value3","key2":"value2","key1":"value1"}"#;
const ANSWER: &[u8] = b"\"value1\"";

/// Puts the rows into the table.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let server = Mayfly::start(&bench.mayfly, &[])?;
    server.deploy("hello", &bench.python, &mayfly::hello())?;
    table.section("Warm: HTTP, SigV4, IAM, engine, sandboxed function, and back");
    let f3 = &bench.floors.f3;
    let ours = latency(&server.access, "hello", bench.invocations)?;
    table.times(
        "warm invoke, a client that stays on one CPU",
        ours,
        f3,
        Some(12.0),
    );
    let anywhere = sequential(&server.access, "hello", bench.invocations)?;
    table.times("warm invoke, a client anywhere", anywhere, f3, None);
    match aws_client(bench, &server) {
        Ok(theirs) => table.times("warm invoke, AWS's runtime client", theirs, f3, Some(20.0)),
        Err(why) => table.missing("warm invoke, AWS's runtime client", &why),
    }
    let (ours, theirs) = on_the_floor_s_cpu(bench)?;
    let what = "all of it on one CPU, as the floor is: warm invoke";
    table.times(what, ours, f3, Some(12.0));
    let what = "all of it on one CPU: AWS's runtime client";
    match theirs {
        Ok(theirs) => table.times(what, theirs, f3, Some(20.0)),
        Err(why) => table.missing(what, &why),
    }
    let what = "  that client alone, from an event until it asks for the next";
    match peers::stock_client(bench) {
        Ok(alone) => table.times(what, alone.round, f3, None),
        Err(why) => table.missing(what, &why),
    }
    for connections in [1, 8] {
        let what = format!("invocations per second, {connections} connections");
        let (rate, per_core) = throughput(bench, &server, connections)?;
        table.at_least(&what, rate, "/s", None);
        let what =
            format!("  per core that Mayfly and its functions used, {connections} connections");
        let target = (connections > 1).then_some(8000.0);
        table.at_least(&what, per_core, "/s", target);
    }
    let private = server.environments_mb(AT_WORK)?;
    table.at_most(
        "private memory of a warm Python environment",
        private,
        "MB",
        Some(3.0),
    );
    server.stop()
}

/// One invocation after another, by a client that stays on one CPU.
fn latency(access: &Access, function: &str, count: usize) -> Result<Series> {
    on_one_cpu(|| sequential(access, function, count))
}

fn sequential(access: &Access, function: &str, count: usize) -> Result<Series> {
    let mut caller = Caller::new(access, function)?;
    for _ in 0..WARM_UP {
        caller.invoke()?;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        caller.sign_if_old()?;
        let begin = Instant::now();
        caller.invoke()?;
        times.push(begin.elapsed());
    }
    Ok(Series::of(times))
}

/// A client, a server, and its functions that have one CPU together, so that none wakes another CPU: ours and AWS's client.
fn on_the_floor_s_cpu(bench: &Bench) -> Result<(Series, Result<Series>)> {
    on_one_cpu(|| {
        let server = Mayfly::start(&bench.mayfly, &[])?;
        server.deploy("hello", &bench.python, &mayfly::hello())?;
        let ours = sequential(&server.access, "hello", bench.invocations)?;
        let theirs = aws_client(bench, &server);
        server.stop()?;
        Ok((ours, theirs))
    })
}

fn aws_client(bench: &Bench, server: &Mayfly) -> Result<Series> {
    let client = peers::awslambdaric(bench)?;
    let bootstrap = "#!/bin/sh\nexport PYTHONPATH=/var/task\nexec /usr/bin/python3 -m awslambdaric \"$_HANDLER\"\n";
    let mut files = mayfly::files_below(&client)?;
    files.extend(mayfly::hello());
    files.push(("bootstrap".to_owned(), bootstrap.into()));
    server.deploy("theirs", "provided.al2023", &files)?;
    latency(&server.access, "theirs", bench.invocations)
}

/// Invocations per second, and per second of CPU time that the server and the functions used.
fn throughput(bench: &Bench, server: &Mayfly, connections: usize) -> Result<(f64, f64)> {
    let lasting = Duration::from_secs(bench.seconds);
    let enough = AtomicBool::new(false);
    let mut callers = Vec::new();
    for _ in 0..connections {
        callers.push(Caller::new(&server.access, "hello")?);
    }
    let run = |mut caller: Caller| -> Result<u32> {
        let mut count = 0;
        while !enough.load(Ordering::Relaxed) {
            caller.sign_if_old()?;
            caller.invoke()?;
            count += 1;
        }
        Ok(count)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = callers
            .into_iter()
            .map(|caller| scope.spawn(|| run(caller)))
            .collect();
        // The environments start before counting begins; what is counted is the rate of the time after.
        std::thread::sleep(lasting / 5);
        let before = process::cpu_time(&process::tree(server.pid()));
        let begin = Instant::now();
        std::thread::sleep(lasting);
        let used = process::cpu_time(&process::tree(server.pid())).saturating_sub(before);
        let share = begin.elapsed().as_secs_f64() / (begin.elapsed() + lasting / 5).as_secs_f64();
        enough.store(true, Ordering::Relaxed);
        let mut total = 0.0;
        for thread in threads {
            let count = thread.join().map_err(|_| anyhow!("a client panicked"))??;
            total += f64::from(count) * share;
        }
        Ok((total / lasting.as_secs_f64(), total / used.as_secs_f64()))
    })
}

/// One connection that invokes one function.
struct Caller {
    access: Access,
    path: String,
    request: Vec<u8>,
    signed: Instant,
    client: Client,
}

impl Caller {
    fn new(access: &Access, function: &str) -> Result<Self> {
        let path = mayfly::invocations(function);
        let mut caller = Self {
            access: access.clone(),
            path,
            request: Vec::new(),
            signed: Instant::now(),
            client: access.connect()?,
        };
        caller.sign()?;
        Ok(caller)
    }

    fn sign(&mut self) -> Result<()> {
        let call = ("POST", self.path.as_str());
        self.request = self
            .access
            .request("lambda", call, "application/json", EVENT)?;
        self.signed = Instant::now();
        Ok(())
    }

    fn sign_if_old(&mut self) -> Result<()> {
        match self.signed.elapsed() > SIGNED_FOR {
            true => self.sign(),
            false => Ok(()),
        }
    }

    fn invoke(&mut self) -> Result<()> {
        let (status, body) = self.client.exchange(&self.request)?;
        ensure!(
            status == 200 && body == ANSWER,
            "an invocation answered {status} {}",
            String::from_utf8_lossy(body)
        );
        Ok(())
    }
}
