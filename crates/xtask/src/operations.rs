//! The operations of every service, as one JSON list.

use anyhow::Result;
use buckets::operations;
use serde_json::{Value, json};

/// Prints the list.
pub fn print() -> Result<()> {
    let mut services = [
        wire::describe::<identity::Iam>(),
        wire::describe::<identity::Sts>(),
        wire::describe::<events::Scheduler>(),
        wire::describe::<functions::Functions>(),
        wire::describe::<events::Events>(),
        wire::describe::<telemetry::CloudWatch>(),
        wire::describe::<telemetry::Logs>(),
    ]
    .iter()
    .map(serde_json::to_value)
    .collect::<Result<Vec<_>, _>>()?;
    services.push(s3());
    println!("{}", serde_json::to_string_pretty(&services)?);
    Ok(())
}

/// S3 is no table of operations: its shapes are those of the crate s3s.
fn s3() -> Value {
    let built: Vec<Value> = operations::built()
        .map(|operation| json!({ "name": operation.name, "query": operation.query }))
        .collect();
    let unbuilt: Vec<Value> = operations::unbuilt()
        .iter()
        .map(|name| json!({ "name": name }))
        .collect();
    json!({
        "service": "s3",
        "model": "s3",
        "shapesOf": "s3s",
        "operations": built,
        "headers": operations::headers(),
        "unbuilt": unbuilt,
    })
}
