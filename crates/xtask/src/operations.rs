//! The operations of every service, as one JSON list.

use anyhow::Result;

/// Prints the list.
pub fn print() -> Result<()> {
    let services = [
        wire::describe::<identity::Iam>(),
        wire::describe::<identity::Sts>(),
        wire::describe::<events::Scheduler>(),
        wire::describe::<functions::Functions>(),
        wire::describe::<events::Events>(),
        wire::describe::<telemetry::CloudWatch>(),
        wire::describe::<telemetry::Logs>(),
    ];
    println!("{}", serde_json::to_string_pretty(&services)?);
    Ok(())
}
