//! AWS's own runtime client for Python, unmodified: executed alone as its users run it, and in Mayfly over the whole public
//! path, out of a template that its snapshot hooks made and out of an interpreter that waits.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Result;

use crate::Bench;
use crate::cold::{Cold, STARTS, Starts};
use crate::mayfly::{self, Mayfly};
use crate::peers::{awslambdaric, stock_client};
use crate::table::Table;

/// A start through the hooks is to be so many times faster than executing the client.
const TIMES_FASTER: f64 = 10.0;

/// Puts the rows into the table.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    table.section("AWS's own Python runtime client, unmodified: start to first answer");
    let client = match awslambdaric(bench) {
        Ok(client) => client,
        Err(why) => {
            table.missing("unmodified awslambdaric", &why);
            return Ok(());
        }
    };
    let f1 = &bench.floors.f1;
    let alone = stock_client(bench)?.first;
    table.times("alone, executed, no sandbox, no API", alone, f1, None);
    let [hooks, waiting] = in_mayfly(bench, &client)?;
    table.cold("through its snapshot hooks", hooks, f1, None);
    table.cold("out of an interpreter that waits", waiting, f1, None);
    // It was executed again and again too.
    let faster = |cold: Cold| alone.p50.as_secs_f64() / cold.in_use.p50.as_secs_f64();
    let what = "how many times faster than alone: through its snapshot hooks";
    table.at_least(what, faster(hooks), "x", Some(TIMES_FASTER));
    let what = "how many times faster than alone: out of an interpreter that waits";
    table.at_least(what, faster(waiting), "x", None);
    Ok(())
}

/// The first calls of versions with SnapStart, and of a function without.
fn in_mayfly(bench: &Bench, client: &Path) -> Result<[Cold; 2]> {
    let python = mayfly::python_runtime()?;
    let interpreter = format!("{python}=/usr/bin/python3");
    let client = format!("{python}={}", client.display());
    let flags: [&OsStr; 4] = [
        "--runtimes".as_ref(),
        interpreter.as_ref(),
        "--aws-runtime-clients".as_ref(),
        client.as_ref(),
    ];
    let server = Mayfly::start(&bench.mayfly, &flags)?;
    server.deploy("hello", &python, &mayfly::hello())?;
    let starts = Starts::on(&server, &python)?;
    let hooks = starts.published("hello", STARTS)?;
    let waiting = starts.changed("hello", STARTS)?;
    server.stop()?;
    Ok([hooks, waiting])
}
