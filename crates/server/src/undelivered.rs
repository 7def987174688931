//! `mayfly outbox`: shows what could not be delivered and was set aside, and sends it again.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::config::Config;
use crate::operator::{Server, waited};

/// How many are asked for at once.
const PAGE: u32 = 100;

/// The flags of `mayfly outbox`.
#[derive(Args, Debug)]
pub struct OutboxArgs {
    #[command(subcommand)]
    command: Option<OutboxCommand>,
}

/// What to do with them.
#[derive(Subcommand, Debug)]
enum OutboxCommand {
    /// Send what was set aside on its way again
    Redrive(RedriveArgs),
}

/// The flags of `mayfly outbox redrive`.
#[derive(Args, Debug)]
#[group(id = "which", required = true, multiple = false, args = ["id", "to", "all"])]
struct RedriveArgs {
    /// The one with this id, as `mayfly outbox` prints it
    id: Option<String>,
    /// Those for this recipient
    #[arg(long, value_name = "ARN")]
    to: Option<String>,
    /// All
    #[arg(long)]
    all: bool,
}

/// Lists them, or sends them again.
pub fn run(args: &OutboxArgs, config: &Config) -> Result<ExitCode> {
    let server = Server::of(config)?;
    waited(async {
        match &args.command {
            None => list(&server).await,
            Some(OutboxCommand::Redrive(which)) => redrive(&server, which).await,
        }
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    deliveries: Vec<Undelivered>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Undelivered {
    id: String,
    to: String,
    from: Option<String>,
    attempts: u32,
    set_aside: f64,
    why: String,
    payload_bytes: Option<usize>,
}

async fn list(server: &Server) -> Result<ExitCode> {
    let mut next: Option<String> = None;
    let mut count = 0;
    loop {
        let request = match &next {
            Some(token) => json!({"MaxItems": PAGE, "NextToken": token}),
            None => json!({"MaxItems": PAGE}),
        };
        let page: Page = server.ask("MayflyOutbox.ListUndelivered", &request).await?;
        count += page.deliveries.len();
        for delivery in &page.deliveries {
            print(delivery)?;
        }
        next = page.next_token;
        if next.is_none() {
            break;
        }
    }
    if count == 0 {
        eprintln!("mayfly: nothing was set aside");
    }
    Ok(ExitCode::SUCCESS)
}

fn print(delivery: &Undelivered) -> Result<()> {
    let Undelivered {
        id,
        to,
        attempts,
        why,
        ..
    } = delivery;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "seconds of the calendar fit"
    )]
    let set_aside = Timestamp::from_second(delivery.set_aside as i64)?;
    let from = delivery.from.as_deref().unwrap_or("it cannot be read");
    println!("{id}");
    println!("    from      {from}");
    println!("    to        {to}");
    println!("    set aside {set_aside}, attempts: {attempts}");
    if let Some(bytes) = delivery.payload_bytes {
        println!("    payload   {bytes} bytes");
    }
    println!("    why       {why}");
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Redriven {
    sent: u64,
}

async fn redrive(server: &Server, which: &RedriveArgs) -> Result<ExitCode> {
    let request = match (&which.id, &which.to) {
        (Some(id), _) => json!({"Id": id}),
        (None, Some(to)) => json!({"To": to}),
        (None, None) => json!({}),
    };
    let Redriven { sent } = server.ask("MayflyOutbox.Redrive", &request).await?;
    println!("sent again: {sent}");
    if sent == 0 && which.id.is_some() {
        eprintln!("mayfly: no delivery of this id was set aside");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
