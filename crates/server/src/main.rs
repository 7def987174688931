//! `mayfly`: AWS Lambda on your own machines.
//!
//! `serve` wires the crates together, `env` prints what clients need, `run` runs a handler once without a server,
//! `fire` fires a rule or a schedule, `outbox` shows and sends again what was not delivered, `runtime` lists runtimes and adds AWS's SDK to them, `doctor` says what this machine
//! offers, `events sample` prints events to try.

mod alone;
mod app;
mod authority;
mod backup;
mod cli;
mod config;
mod credentials;
mod doctor;
mod env;
mod explain;
mod fire;
mod folder;
mod inside;
mod logging;
mod meter;
mod notify;
mod operator;
mod outbound;
mod policy;
mod reset;
mod run;
mod runtime;
mod samples;
mod scheduler_metrics;
mod serve;
mod trail;
mod trust;
mod undelivered;
mod universal;
mod vault;
mod workers;

use std::process::ExitCode;

use cli::Command;

fn main() -> ExitCode {
    // The sandbox's broker is this binary under another name. It forks and unshares, so it must be alone: no
    // thread, no runtime, no logging before it.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|arg| arg == "__sandbox")
    {
        sandbox::broker_main();
    }
    end_quietly_without_a_reader();
    let outcome = match cli::parse() {
        Command::Serve(config) => serve::serve(config),
        Command::Env(config) => env::print(&config),
        Command::Run(args, config) => run::run(&args, &config),
        Command::RuntimeList(config) => runtime::list(&config),
        Command::RuntimeAddSdk(args, config) => runtime::add(&args, &config),
        Command::Fire(args, config) => fire::run(&args, &config),
        Command::Backup(to, config) => backup::run(&to, &config),
        Command::Explain(args) => explain::run(&args),
        Command::GeneratePolicy(args) => policy::generate(args),
        Command::Outbox(args, config) => undelivered::run(&args, &config),
        Command::Doctor(config) => doctor::examine(&config),
        Command::SampleEvent(name) => samples::print(name.as_deref()),
        Command::ConfigReference => {
            print!("{}", config::reference());
            Ok(ExitCode::SUCCESS)
        }
        Command::Version => {
            println!("mayfly {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("mayfly: {error:#}");
        ExitCode::FAILURE
    })
}

/// Whoever reads what we print may stop before its end, as `head` does. `println!` panics then, for a mistake of nobody's; we
/// end with the status that a shell gives to those whom SIGPIPE ends.
fn end_quietly_without_a_reader() {
    const SIGPIPE_STATUS: i32 = 128 + 13;
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            std::process::exit(SIGPIPE_STATUS);
        }
        told(panic);
    }));
}
