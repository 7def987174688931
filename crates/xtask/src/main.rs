//! Tasks of this repository that are programs: `cargo run -p xtask -- tidy` checks the house rules, and
//! `cargo run -p xtask -- operations` prints every service's operations as JSON, for the comparison with AWS's models.

mod operations;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that anyhow would print: what went wrong here is in the repository, not in this program.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["operations"] => operations::print(),
        ["tidy"] => tidy::check(),
        _ => bail!("usage: cargo run -p xtask -- operations | tidy"),
    }
}
