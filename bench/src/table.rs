//! The table that is printed, a row as soon as it is known.

use std::time::Duration;

use crate::cold::Cold;
use crate::floor::{Floor, Floors};

/// Percentiles of one series of times.
#[derive(Clone, Copy)]
pub struct Series {
    /// The median.
    pub p50: Duration,
    /// The 99th percentile.
    pub p99: Duration,
}

impl Series {
    /// Of a series that is not empty.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        Self {
            p50: at(50),
            p99: at(99),
        }
    }
}

/// Rows, printed as they come.
pub struct Table {
    missed: usize,
}

impl Table {
    /// Prints the head and the floors.
    pub fn begin(floors: &Floors) -> Self {
        println!(
            "{:<66} {:>10} {:>10} {:>11} {:>11}",
            "", "p50", "p99", "ratio", "target"
        );
        let table = Self { missed: 0 };
        for floor in floors.all() {
            let name = format!("floor {}: {}", floor.name, floor.what);
            table.row(&name, floor.series);
            if let Some(rested) = floor.rested {
                table.row("  after a pause of a quarter of a second", rested);
            }
        }
        table
    }

    /// A floor of a section's own.
    pub fn floor(&mut self, floor: &Floor) {
        self.row(
            &format!("  floor {}: {}", floor.name, floor.what),
            floor.series,
        );
    }

    fn row(&self, name: &str, series: Series) {
        println!(
            "{name:<66} {:>10} {:>10}",
            time(series.p50),
            time(series.p99)
        );
    }

    /// A group of rows.
    pub fn section(&mut self, name: &str) {
        println!("\n{name}");
    }

    /// A time, as a multiple of a floor. `target` is the largest multiple that is good enough, where there is one.
    pub fn times(&mut self, what: &str, series: Series, floor: &Floor, target: Option<f64>) {
        let ratio = series.p50.as_secs_f64() / floor.series.p50.as_secs_f64();
        let verdict = target.map(|target| (format!("{target} x"), ratio <= target));
        println!(
            "  {what:<64} {:>10} {:>10} {:>11}{}",
            time(series.p50),
            time(series.p99),
            format!("{ratio:.1} x {}", floor.name),
            self.verdict(verdict),
        );
    }

    /// Cold starts, each beside the floor in the same state of the machine.
    pub fn cold(&mut self, what: &str, cold: Cold, floor: &Floor, target: Option<f64>) {
        self.times(what, cold.in_use, floor, target);
        if let Some(series) = floor.rested {
            let rested = Floor { series, ..*floor };
            let what = "  after a pause, as the floor after the same pause";
            self.times(what, cold.rested, &rested, target);
        }
    }

    /// A number that must not be above `target`.
    pub fn at_most(&mut self, what: &str, value: f64, unit: &str, target: Option<f64>) {
        let verdict = target.map(|target| (format!("{target} {unit}"), value <= target));
        let value = format!("{value:.1} {unit}");
        println!(
            "  {what:<64} {value:>10} {:>22}{}",
            "",
            self.verdict(verdict)
        );
    }

    /// A number that must not be below `target`.
    pub fn at_least(&mut self, what: &str, value: f64, unit: &str, target: Option<f64>) {
        let verdict = target.map(|target| (format!("{target} {unit}"), value >= target));
        let value = format!("{value:.0} {unit}");
        println!(
            "  {what:<64} {value:>10} {:>22}{}",
            "",
            self.verdict(verdict)
        );
    }

    /// Something that could not be measured here.
    pub fn missing(&mut self, what: &str, why: &anyhow::Error) {
        println!("  {what:<64} not measured: {why:#}");
    }

    /// Says how many targets were missed.
    pub fn end(self) {
        match self.missed {
            0 => println!("\nEvery target is met."),
            missed => println!("\nTargets missed: {missed}"),
        }
    }

    fn verdict(&mut self, target: Option<(String, bool)>) -> String {
        let Some((target, met)) = target else {
            return String::new();
        };
        if !met {
            self.missed += 1;
        }
        let word = if met { "met" } else { "missed" };
        format!(" {target:>11} {word}")
    }
}

fn time(time: Duration) -> String {
    match time {
        short if short < Duration::from_millis(10) => {
            format!("{:.1} us", short.as_secs_f64() * 1e6)
        }
        long => format!("{:.1} ms", long.as_secs_f64() * 1e3),
    }
}
