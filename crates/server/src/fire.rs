//! `mayfly fire`: fires a rule or a schedule of the running server now, or shows when one fires next.

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use events::schedule::Schedule;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::json;

use crate::config::Config;
use crate::operator::{Server, waited};

/// The flags of `mayfly fire`.
#[derive(Args, Debug)]
pub struct FireArgs {
    /// A rule's or a schedule's name, GROUP/NAME for a schedule in a group, or an ARN. With --next also an expression,
    /// such as 'cron(0 6 ? * MON-FRI *)'.
    name: String,
    /// Show when it fires next instead of firing it.
    #[arg(long)]
    next: bool,
    /// How many times to show.
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=100), requires = "next")]
    count: u8,
    /// The time zone of an expression [default: UTC].
    #[arg(long, value_name = "NAME", requires = "next")]
    timezone: Option<String>,
}

/// Fires, or looks ahead.
pub fn run(args: &FireArgs, config: &Config) -> Result<ExitCode> {
    let is_expression = ["cron(", "rate(", "at("]
        .iter()
        .any(|kind| args.name.starts_with(kind));
    match (args.next, is_expression) {
        (true, true) => preview_expression(args),
        (false, true) => bail!("an expression alone has nothing to fire; --next shows its times"),
        (next, false) => {
            if args.timezone.is_some() {
                bail!(
                    "--timezone is for an expression; a schedule has its own, and a rule has UTC"
                );
            }
            let server = Server::of(config)?;
            waited(async {
                match next {
                    true => preview(args, &server).await,
                    false => fire(args, &server).await,
                }
            })
        }
    }
}

/// An expression needs no server. A rate counts from now.
fn preview_expression(args: &FireArgs) -> Result<ExitCode> {
    let schedule = Schedule::parse(&args.name).map_err(|invalid| anyhow!("{invalid}"))?;
    let zone = args.timezone.as_deref().unwrap_or("UTC");
    let zone = TimeZone::get(zone)
        .map_err(|_| anyhow!("{zone} is no time zone; write it as Europe/Berlin"))?;
    let now_ms = Timestamp::now().as_millisecond();
    let times = schedule.next_times(now_ms, now_ms, &zone, args.count.into());
    print(&times, &zone)
}

fn print(times: &[i64], zone: &TimeZone) -> Result<ExitCode> {
    if times.is_empty() {
        eprintln!("mayfly: it never fires");
        return Ok(ExitCode::FAILURE);
    }
    for time_ms in times {
        let moment = Timestamp::from_millisecond(*time_ms)?;
        println!("{}", moment.to_zoned(zone.clone()).strftime("%a %F %T %:z"));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Previewed {
    time_zone: String,
    times: Vec<f64>,
}

async fn preview(args: &FireArgs, server: &Server) -> Result<ExitCode> {
    let request = json!({"Name": args.name, "Count": args.count});
    let previewed: Previewed = server.ask("Mayfly.Preview", &request).await?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "seconds of the calendar fit"
    )]
    let times: Vec<i64> = previewed
        .times
        .iter()
        .map(|seconds| (seconds * 1000.0).round() as i64)
        .collect();
    print(&times, &TimeZone::get(&previewed.time_zone)?)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Fired {
    arn: String,
    targets: usize,
}

async fn fire(args: &FireArgs, server: &Server) -> Result<ExitCode> {
    let fired: Fired = server
        .ask("Mayfly.Fire", &json!({"Name": args.name}))
        .await?;
    println!("{} fired, targets: {}", fired.arn, fired.targets);
    if fired.targets == 0 {
        eprintln!("mayfly: it has no targets, so nothing happened");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
