//! Cold starts of a function that imports numpy and pandas.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::Bench;
use crate::cold::Starts;
use crate::floor::Floor;
use crate::mayfly::{self, Files, Mayfly};
use crate::peers::packages;
use crate::table::{Series, Table};

const PACKAGES: &[&str] = &["numpy", "pandas"];
const STARTS: usize = 24;
const FUNCTION: &str =
    "import numpy, pandas\n\ndef lambda_handler(event, context):\n    return event['key1']\n";
/// Says how many microseconds each fork takes of a process that is what a template of the function is.
const FORKS: &str = "
import sys
sys.path.insert(0, sys.argv[1])
import numpy, pandas, gc, os, time
gc.collect()
gc.freeze()
for _ in range(100):
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    print(int((time.perf_counter() - began) * 1e6))
";

/// Puts the rows into the table.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    table.section("Cold, numpy and pandas: a function that brings and imports both");
    let folder = match packages(bench, "pandas", PACKAGES) {
        Ok(folder) => folder,
        Err(why) => {
            table.missing("numpy and pandas", &why);
            return Ok(());
        }
    };
    let f4 = Floor {
        name: "F4",
        what: "fork of a process that has imported both, reaped",
        series: forks(&folder)?,
        rested: None,
    };
    table.floor(&f4);
    let server = Mayfly::start(&bench.mayfly, &[])?;
    let python = mayfly::python_runtime()?;
    server.deploy("pandas", &python, &files(&folder)?)?;
    let starts = Starts::on(&server, &python)?;
    let times = starts.changed("pandas", STARTS)?;
    table.cold("numpy and pandas", times, &f4, None);
    let times = starts.published("pandas", STARTS)?;
    let what = "the same, a version with SnapStart";
    table.cold(what, times, &f4, Some(2.0));
    server.stop()
}

fn forks(folder: &Path) -> Result<Series> {
    let output = Command::new("/usr/bin/python3")
        .args(["-c", FORKS])
        .arg(folder)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot be imported here: {said}");
    let times = String::from_utf8(output.stdout)?;
    let times = times
        .lines()
        .map(|micros| Ok(Duration::from_micros(micros.parse()?)));
    Ok(Series::of(times.collect::<Result<_>>()?))
}

/// The function and the packages, without what only their own tests need.
fn files(folder: &Path) -> Result<Files> {
    let mut files = vec![("lambda_function.py".to_owned(), FUNCTION.into())];
    let mut folders = vec![folder.to_owned()];
    while let Some(inside) = folders.pop() {
        for entry in std::fs::read_dir(&inside)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if name != "tests" && name != "__pycache__" {
                    folders.push(path);
                }
                continue;
            }
            let inside = path
                .strip_prefix(folder)?
                .to_str()
                .context("a file's name")?;
            files.push((inside.to_owned(), std::fs::read(&path)?));
        }
    }
    Ok(files)
}
