//! What a cold start costs on this machine, measured: an engine, a function in a sandbox with all limits, and no server.

use std::fmt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use engine::runtimes::{Family, Runtime};
use engine::{Engine, Events, FunctionSpec, LogLine, LogTarget, Report};

use crate::alone::{self, Alone};
use crate::run::code::Code;

/// How long is measured, and how often a function is called: seldom enough that the next sandbox is ready each time.
const LASTING: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(60);
/// How long a sandbox may take to be made ahead.
const READY_WAIT_MAX: Duration = Duration::from_secs(1);
/// One for anybody, and one with the files of the function.
const SLOTS: usize = 2;
const READY_TICK: Duration = Duration::from_millis(2);
/// How long the environments may take to end.
const STOP_WAIT_MAX: Duration = Duration::from_secs(2);
/// Processes started, to compare with.
const PROCESSES: usize = 50;
const PROCESS: &str = "/bin/true";

const SOURCE: &str = "def lambda_handler(event, context):\n    return 'hello'\n";

/// Medians.
pub struct Trial {
    runtime: &'static str,
    cold: Duration,
    rounds: usize,
    process: Duration,
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cold, process) = (self.cold.as_secs_f64(), self.process.as_secs_f64());
        write!(
            f,
            "cold start  {:.2} ms: {} hello in a new sandbox, the median of {}; {:.1} x starting {PROCESS} ({:.2} ms)",
            cold * 1e3,
            self.runtime,
            self.rounds,
            cold / process,
            process * 1e3,
        )
    }
}

/// Measures for a few seconds.
pub fn measure(runtimes: impl DoubleEndedIterator<Item = Arc<Runtime>>) -> Result<Trial> {
    let is_python = |runtime: &Arc<Runtime>| matches!(runtime.family, Family::Python(..));
    let newest = runtimes.rev().find(is_python);
    let runtime = newest.context("there is no Python")?;
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let cold = threads.block_on(cold_starts(&runtime));
    threads.shutdown_background();
    let cold = cold?;
    Ok(Trial {
        runtime: runtime.id,
        rounds: cold.len(),
        cold: median(cold),
        process: median(processes()?),
    })
}

async fn cold_starts(runtime: &Arc<Runtime>) -> Result<Vec<Duration>> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("lambda_function.py");
    std::fs::write(&source, SOURCE)?;
    let code = Code::stage(&source, None)?;
    let engine = Engine::start(
        engine::Config::new(folder.path().join("engine")),
        Arc::new(Silent),
    )?;
    let mut times = Vec::new();
    let until = Instant::now() + LASTING;
    for round in 0.. {
        let function = Alone {
            name: "doctor",
            round,
            code: code.folder().to_owned(),
            handler: code.handler.clone(),
            runtime: runtime.clone(),
            timeout: Duration::from_secs(3),
            memory_mb: 1769,
            env: Vec::new(),
        };
        let mut spec = function.spec();
        // One folder for all rounds, in an engine of their own.
        spec.content_named = true;
        let spec = Arc::new(spec);
        engine.expect(&spec);
        tokio::time::sleep(PAUSE).await;
        wait_for_slot(&engine).await;
        let began = Instant::now();
        let invocation = alone::invocation(&spec, "{}".into());
        let outcome = engine.invoke(spec.clone(), invocation).await?;
        times.push(began.elapsed());
        let said = String::from_utf8_lossy(&outcome.payload);
        ensure!(said == "\"hello\"", "the function answered {said}");
        engine.retire(&spec.key);
        if Instant::now() > until {
            break;
        }
    }
    engine.drain(STOP_WAIT_MAX).await;
    Ok(times)
}

/// The next sandbox is made after an answer, as it is between the calls of a server.
async fn wait_for_slot(engine: &Engine) {
    let until = Instant::now() + READY_WAIT_MAX;
    while engine.slots().whole < SLOTS && Instant::now() < until {
        tokio::time::sleep(READY_TICK).await;
    }
}

fn processes() -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..PROCESSES {
        let began = Instant::now();
        Command::new(PROCESS).env_clear().status()?;
        times.push(began.elapsed());
    }
    Ok(times)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Nobody reads what the function says.
struct Silent;

impl Events for Silent {
    fn lines(&self, _: &LogTarget, _: Vec<LogLine>) {}

    fn report(&self, _: &FunctionSpec, _: &Report) {}
}
