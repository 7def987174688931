//! `mayfly doctor`: what this machine offers, and what to do about what is missing.

mod trial;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use engine::runtimes::{Catalogue, Family, IDENTIFIERS, Lifecycle};

use crate::config::Config;

/// Looks at everything and prints it; fails when functions cannot run here.
pub fn examine(config: &Config) -> Result<ExitCode> {
    println!("Isolation");
    let probe = sandbox::Host::probe(&sandbox::Config::this_exe());
    let probe = probe.context("cannot look at what the kernel offers")?;
    print!("{}", indented(&probe.to_string()));

    println!("\nRuntimes");
    let folder = tempfile::tempdir()?;
    let catalogue = Catalogue::discover(&config.runtimes_config(folder.path()))?;
    print!("{}", indented(&runtimes(&catalogue)));

    println!();
    let can_run = probe.works() && catalogue.found().next().is_some();
    if can_run {
        println!("Speed");
        match trial::measure(catalogue.found()) {
            Ok(trial) => print!("{}", indented(&trial.to_string())),
            Err(why) => print!(
                "{}",
                indented(&format!("cold start  not measured: {why:#}"))
            ),
        }
        if let Some(advice) = advice_about_waking() {
            print!("{}", indented(advice));
        }
        println!("\nFunctions can run here.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("Functions cannot run here before the above is seen to.");
    Ok(ExitCode::FAILURE)
}

/// A call wakes a CPU four times. In a virtual machine that takes 40 us a round trip where a CPU without work is given back to
/// the host at once, and 16 where it waits a moment first, as Linux does unless it is told otherwise.
fn advice_about_waking() -> Option<&'static str> {
    let wait =
        std::fs::read_to_string("/sys/module/haltpoll/parameters/guest_halt_poll_ns").ok()?;
    let driver = std::fs::read_to_string("/sys/devices/system/cpu/cpuidle/current_driver").ok()?;
    (driver.trim() == "haltpoll" && wait.trim() == "0").then_some(
        "waking      this virtual machine's CPUs never wait before they halt, which makes warm calls half as long again; Linux's default:\n            echo 200000 > /sys/module/haltpoll/parameters/guest_halt_poll_ns",
    )
}

/// What was found, and what could be added.
fn runtimes(catalogue: &Catalogue) -> String {
    let mut out = String::new();
    for runtime in catalogue.found() {
        let note = if runtime.deprecated {
            " (no longer offered by AWS)"
        } else {
            ""
        };
        let interpreter = runtime.interpreter.as_deref().map(Path::display);
        let interpreter = interpreter.map(|path| format!(" {path}"));
        out += &format!(
            "ok      {}{note}: {}{}\n",
            runtime.id,
            runtime.version,
            interpreter.unwrap_or_default()
        );
    }
    let missing = IDENTIFIERS.iter().filter(|known| {
        known.lifecycle == Lifecycle::Current
            && matches!(known.family, Family::Python(..))
            && catalogue.resolve_existing(known.id).is_err()
    });
    for known in missing {
        out += &format!("absent  {}\n        {}\n", known.id, known.family.advice());
    }
    out
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
