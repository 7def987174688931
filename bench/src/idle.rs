//! A server that has nothing to do: how soon it is there, and what it takes.

use std::time::Duration;

use anyhow::Result;

use crate::Bench;
use crate::mayfly::Mayfly;
use crate::process;
use crate::table::{Series, Table};

/// Starts of each kind.
const STARTS: usize = 5;
/// What a server does after its start is over by then.
const SETTLED: Duration = Duration::from_secs(2);

/// Puts the rows into the table.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    table.section("Idle: the server itself");
    let (mut first, mut again) = (Vec::new(), Vec::new());
    let mut memory = 0.0;
    for _ in 0..STARTS {
        let server = Mayfly::start(&bench.mayfly, &[])?;
        first.push(server.start);
        let server = server.restart(&bench.mayfly, &[])?;
        again.push(server.start);
        std::thread::sleep(SETTLED);
        memory = process::tree(server.pid())
            .into_iter()
            .filter_map(|pid| process::resident_mb(pid).ok())
            .sum();
        server.stop()?;
    }
    for (what, times) in [
        ("start to first request, a new data folder", first),
        ("start to first request, again", again),
    ] {
        let median = Series::of(times).p50.as_secs_f64() * 1e3;
        table.at_most(what, median, "ms", Some(100.0));
    }
    table.at_most(
        "resident memory of server and broker",
        memory,
        "MB",
        Some(40.0),
    );
    Ok(())
}
