//! `mayfly runtime`: which runtimes there are, and AWS's SDK for them.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use engine::runtimes::{Catalogue, Family, NotAdded, Runtime, pinned_sdk};

use crate::config::Config;
use crate::folder::Folder;

/// The arguments of `add-sdk`.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// Runtimes, such as python3.11.
    #[arg(value_name = "RUNTIME", required_unless_present = "all")]
    ids: Vec<String>,
    /// Every Python that is found on this machine.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

/// Prints what this machine runs, and the SDK of each.
pub fn list(config: &Config) -> Result<ExitCode> {
    let catalogue = discover(config)?;
    let found: Vec<_> = catalogue.found().collect();
    let wide = found.iter().map(|runtime| runtime.id.len()).max();
    let wide = wide.unwrap_or_default();
    for runtime in found {
        let (id, version) = (runtime.id, &runtime.version);
        println!("{id:wide$}  {version:<22}  {}", sdk(&runtime));
    }
    Ok(ExitCode::SUCCESS)
}

fn sdk(runtime: &Runtime) -> String {
    match (&runtime.sdk, pinned_sdk(runtime.family)) {
        (Some(sdk), Some(newer)) if sdk.version != newer => {
            format!(
                "{} ({newer}: mayfly runtime add-sdk {})",
                sdk.version, runtime.id
            )
        }
        (Some(sdk), _) => sdk.version.clone(),
        (None, Some(_)) => format!("no SDK (mayfly runtime add-sdk {})", runtime.id),
        (None, None) => "functions bring their own SDK".to_owned(),
    }
}

/// Adds SDKs; fails when one of them cannot be added, after it has tried the others.
pub fn add(args: &AddArgs, config: &Config) -> Result<ExitCode> {
    let folder = Folder::open_or_make(&config.data)?;
    let ids = match args.all {
        true => pythons(&discover(config)?),
        false => args.ids.clone(),
    };
    if ids.is_empty() {
        bail!("no Python was found on this machine; `mayfly doctor` says more");
    }
    let runtimes = config.runtimes_config(&folder.toolchains());
    let catalogue = Catalogue::discover(&runtimes)?;
    let (mut is_new, mut failed) = (false, false);
    for id in &ids {
        eprintln!("{id}: looking for AWS's SDK");
        match catalogue.add_sdk(id) {
            Ok(added) => {
                is_new |= added.is_new;
                let how = if added.is_new { "added" } else { "is there" };
                println!("{id}: {} {how}", added.sdk.version);
            }
            // The next ones would wait as long, and in vain.
            Err(error @ NotAdded::Unreachable { .. }) => return Err(error.into()),
            Err(error) => {
                eprintln!("mayfly: {id}: {error}");
                failed = true;
            }
        }
    }
    if is_new {
        println!("Functions have it as soon as `mayfly serve` is started, or started again.");
    }
    Ok(match failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Looks around without leaving anything in the data folder, which may not be there yet.
fn discover(config: &Config) -> Result<Catalogue> {
    let folder = tempfile::tempdir()?;
    Ok(Catalogue::discover(&config.runtimes_config(folder.path()))?)
}

fn pythons(catalogue: &Catalogue) -> Vec<String> {
    let found = catalogue.found();
    let pythons = found.filter(|runtime| matches!(runtime.family, Family::Python(..)));
    pythons.map(|runtime| runtime.id.to_owned()).collect()
}
