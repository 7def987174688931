//! Our own log: to stderr, as text or JSON. What functions log goes to CloudWatch Logs instead.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Starts logging, once in the life of the process.
pub fn start(config: &Config) {
    // What s3s says as errors are refusals of requests. Who wants them anyway names it in the level.
    let level = format!("s3s=off,{}", config.log_level);
    let filter = EnvFilter::try_new(level).expect("the configuration was checked");
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
