//! `make bench`: what Mayfly costs, next to what this machine could do at best and to what people would use instead, all
//! from one run.
//!
//! Everything is on: SigV4, IAM, sandbox, limits. Ratios travel between machines; milliseconds do not. To add rows, write
//! a module with a function that takes [`Bench`] and puts rows into a [`Table`], and name it in [`SECTIONS`].

mod aws_client;
mod client;
mod clock;
mod cold;
mod dependencies;
mod floor;
mod idle;
mod mayfly;
mod pandas;
mod peers;
mod process;
mod s3;
mod s3_floor;
mod table;
mod warm;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use crate::floor::Floors;
use crate::table::Table;

/// Measures Mayfly against floors of the same run.
#[derive(Parser)]
struct Arguments {
    /// The built binary.
    #[arg(long, default_value = "target/release/mayfly")]
    mayfly: PathBuf,
    /// A folder for what the peers need; it is filled from package registries.
    #[arg(long, default_value = "target/bench")]
    downloads: PathBuf,
    /// The runtime of functions that bring nothing along; this machine's own Python, if it is not said.
    #[arg(long)]
    python: Option<String>,
    /// Only the sections whose names contain this.
    #[arg(long, default_value = "")]
    only: String,
    /// Measurements of each kind that is quick.
    #[arg(long, default_value_t = 3000)]
    invocations: usize,
    /// How long each throughput measurement lasts.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Keys of the bucket that is listed.
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// The size of the upload whose memory is measured. It is left out where the disk has not enough room.
    #[arg(long, default_value_t = 5)]
    upload_gib: u64,
}

/// What every section works with.
struct Bench {
    mayfly: PathBuf,
    python: String,
    downloads: PathBuf,
    invocations: usize,
    seconds: u64,
    keys: usize,
    upload_gib: u64,
    floors: Floors,
}

/// Measures something and puts rows into the table.
type Section = fn(&Bench, &mut Table) -> Result<()>;

const SECTIONS: &[(&str, Section)] = &[
    ("warm", warm::measure),
    ("cold", cold::measure),
    ("sdk", cold::with_sdk),
    ("awslambdaric", aws_client::measure),
    ("dependencies", dependencies::measure),
    ("pandas", pandas::measure),
    ("burst", cold::burst),
    ("idle", idle::measure),
    ("clock", clock::measure),
    ("s3", s3::measure),
    ("peers", peers::measure),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.downloads)?;
    let bench = Bench {
        mayfly: arguments.mayfly,
        python: arguments.python.map_or_else(mayfly::python_runtime, Ok)?,
        downloads: arguments.downloads.canonicalize()?,
        invocations: arguments.invocations,
        seconds: arguments.seconds,
        keys: arguments.keys,
        upload_gib: arguments.upload_gib,
        floors: Floors::measure()?,
    };
    let mut table = Table::begin(&bench.floors);
    for (name, section) in SECTIONS {
        if name.contains(&arguments.only) {
            section(&bench, &mut table)?;
        }
    }
    table.end();
    Ok(())
}
