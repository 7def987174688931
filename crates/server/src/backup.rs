//! `mayfly backup`: a copy of the data folder, taken while the server runs.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use store::Store;

use crate::config::Config;
use crate::folder::Folder;

/// Copies the folder of the configuration to `to`.
pub fn run(to: &Path, config: &Config) -> Result<ExitCode> {
    let folder = Folder::open(&config.data)?;
    let at = || format!("the folder {}", to.display());
    let mut folders = fs::DirBuilder::new();
    folders
        .recursive(true)
        .mode(0o700)
        .create(to)
        .with_context(at)?;
    if fs::read_dir(to).with_context(at)?.next().is_some() {
        bail!("{} is not empty; name a new one", to.display());
    }
    // The store first: a crash half-way leaves no folder that a server would take for a whole one.
    let store = to.join("store");
    folders.create(&store).with_context(at)?;
    Store::back_up(&folder.store(), &store)?;
    for file in folder.own_files()? {
        let name = file.file_name().context("a file without a name")?;
        let mut source = fs::File::open(&file)?;
        let mut options = fs::OpenOptions::new();
        let mut copy = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to.join(name))?;
        std::io::copy(&mut source, &mut copy)?;
        copy.sync_all()?;
    }
    fs::File::open(to)?.sync_all()?;
    println!(
        "{} is a copy of {}; serve it with: mayfly serve --data {}",
        to.display(),
        folder.path().display(),
        to.display()
    );
    println!("SDKs are not in it; `mayfly runtime add-sdk` fetches them again.");
    Ok(ExitCode::SUCCESS)
}
