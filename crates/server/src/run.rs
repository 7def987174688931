//! `mayfly run`: one invocation of a handler, in the sandbox that the server would use, without a server.

pub mod code;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use engine::runtimes::{Catalogue, Family, Runtime};
use engine::{Engine, Events, FunctionSpec, LogLine, LogTarget, Outcome, Report};

use crate::alone::{self, Alone};
use crate::config::Config;
use code::Code;

/// How often `--watch` looks for changes.
const WATCH_EVERY: Duration = Duration::from_millis(200);
/// How long the environment may take to end.
const STOP_WAIT_MAX: Duration = Duration::from_secs(5);

/// The flags of `mayfly run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The code: a file, a zip, or a folder.
    code: PathBuf,
    /// The event, as JSON.
    #[arg(long, value_name = "JSON", conflicts_with = "event_file")]
    event: Option<String>,
    /// A file that holds the event; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    event_file: Option<PathBuf>,
    /// The handler, such as lambda_function.lambda_handler [default: lambda_handler of the only or usual module].
    #[arg(long)]
    handler: Option<String>,
    /// The runtime [default: the newest Python here, or provided.al2023 for a bootstrap].
    #[arg(long, value_name = "ID")]
    runtime: Option<String>,
    /// The time limit, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=900))]
    timeout: u64,
    /// The memory, in megabytes.
    #[arg(long, value_name = "MB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(128..=10_240))]
    memory: u32,
    /// An environment variable of the function; may be given again.
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Run again whenever the code or the event file changes.
    #[arg(long)]
    watch: bool,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(letters) {
        return Err(format!("{name:?} is not the name of a variable"));
    }
    if engine::RESERVED_VARIABLES.contains(&name) {
        return Err(format!("{name} is reserved: the runtime sets it"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the handler once, or again and again.
pub fn run(args: &RunArgs, config: &Config) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let code = runtime.block_on(async {
        let folder = tempfile::Builder::new().prefix("mayfly-run-").tempdir()?;
        let catalogue = Catalogue::discover(&config.runtimes_config(folder.path()))?;
        let mut config = engine::Config::new(folder.path());
        config.environments_max = 1;
        config.memory_mb_max = u64::from(args.memory);
        let engine = Engine::start(config, Arc::new(ToStderr))?;
        let ended = tokio::select! {
            ended = repeat(args, &engine, &catalogue) => ended,
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
        };
        engine.drain(STOP_WAIT_MAX).await;
        ended
    });
    runtime.shutdown_background();
    code
}

async fn repeat(args: &RunArgs, engine: &Engine, catalogue: &Catalogue) -> Result<ExitCode> {
    for round in 0_u64.. {
        let seen = fingerprint(args);
        let ended = once(args, engine, catalogue, round).await;
        if !args.watch {
            return ended;
        }
        if let Err(error) = ended {
            eprintln!("mayfly: {error:#}");
        }
        eprintln!("-- waiting for a change of {}", args.code.display());
        while fingerprint(args) == seen {
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }
    unreachable!("a round is a change of a file")
}

/// What changes when the code or the event does.
fn fingerprint(args: &RunArgs) -> Vec<(PathBuf, Option<SystemTime>, u64)> {
    let mut seen = code::files(&args.code).unwrap_or_default();
    seen.extend(args.event_file.clone());
    seen.into_iter()
        .map(|path| {
            let about = std::fs::metadata(&path).ok();
            let size = about.as_ref().map_or(0, std::fs::Metadata::len);
            (path, about.and_then(|about| about.modified().ok()), size)
        })
        .collect()
}

async fn once(
    args: &RunArgs,
    engine: &Engine,
    catalogue: &Catalogue,
    round: u64,
) -> Result<ExitCode> {
    let code = Code::stage(&args.code, args.handler.as_deref())?;
    let runtime = choose_runtime(args, &code, catalogue)?;
    let function = Alone {
        name: "run",
        round,
        code: code.folder().to_owned(),
        handler: code.handler.clone(),
        runtime,
        timeout: Duration::from_secs(args.timeout),
        memory_mb: args.memory,
        env: args.env.clone(),
    };
    let spec = Arc::new(function.spec());
    let invocation = alone::invocation(&spec, event(args)?);
    let outcome = engine.invoke(spec.clone(), invocation).await;
    // The next round runs the code as it is then.
    engine.retire(&spec.key);
    Ok(show(&outcome?))
}

/// The answer goes to stdout, alone; log lines and the report have gone to stderr.
fn show(outcome: &Outcome) -> ExitCode {
    println!("{}", String::from_utf8_lossy(&outcome.payload));
    match outcome.function_error {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    }
}

fn event(args: &RunArgs) -> Result<Bytes> {
    let text = match (&args.event, &args.event_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) if path.as_os_str() == "-" => std::io::read_to_string(std::io::stdin())?,
        (None, Some(path)) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the event in {}", path.display()))?,
        (None, None) => "{}".to_owned(),
    };
    let checked: Result<serde::de::IgnoredAny, _> = serde_json::from_str(&text);
    checked.context("the event is not JSON")?;
    Ok(text.into())
}

fn choose_runtime(args: &RunArgs, code: &Code, catalogue: &Catalogue) -> Result<Arc<Runtime>> {
    if let Some(id) = &args.runtime {
        return Ok(catalogue.resolve(id)?);
    }
    if code.is_bootstrap {
        return Ok(catalogue.resolve("provided.al2023")?);
    }
    let is_python = |runtime: &Arc<Runtime>| matches!(runtime.family, Family::Python(..));
    match catalogue.found().rev().find(is_python) {
        Some(newest) => Ok(newest),
        None => bail!("no Python was found on this machine; `mayfly doctor` says more"),
    }
}

/// Shows log lines as they come. No server, no AWS: it serves no endpoint.
struct ToStderr;

impl Events for ToStderr {
    fn lines(&self, _: &LogTarget, lines: Vec<LogLine>) {
        for line in lines {
            eprintln!("{}", line.text.trim_end_matches('\n'));
        }
    }

    fn report(&self, _: &FunctionSpec, _: &Report) {}
}
