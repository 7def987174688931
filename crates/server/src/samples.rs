//! `mayfly events sample`: the sample events, listed or printed.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use events::samples::{SAMPLES, sample};

/// Prints the sample of a name, or the names of all.
pub fn print(name: Option<&str>) -> Result<ExitCode> {
    let Some(name) = name else {
        let width = SAMPLES.iter().map(|one| one.name.len()).max().unwrap_or(0);
        for one in SAMPLES {
            println!("{:width$}  {}", one.name, one.about);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let sample = sample(name).ok_or_else(|| {
        anyhow!("there is no sample event {name}; `mayfly events sample` lists those there are")
    })?;
    print!("{}", sample.json);
    Ok(ExitCode::SUCCESS)
}
