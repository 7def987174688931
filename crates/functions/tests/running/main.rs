//! Functions that really run: the engine in its sandbox, roles of IAM, logs and metrics of telemetry, asked through the
//! wire.
#![allow(clippy::unwrap_used, missing_docs)]

mod bed;
mod scenes;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "__sandbox") {
        sandbox::broker_main();
    }
    let filter: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let bed = bed::Bed::new().await;
        for (name, scene) in scenes::ALL {
            if filter.is_empty() || filter.iter().any(|wanted| name.contains(wanted)) {
                println!("scene {name} ...");
                scene(&bed).await;
            }
        }
        bed.end().await;
    });
    println!("running: every scene passed");
    ExitCode::SUCCESS
}
