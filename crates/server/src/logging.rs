//! Our own log: to stderr, as text or JSON. What functions log goes to CloudWatch Logs instead.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Starts logging, once in the life of the process.
pub fn start(config: &Config) {
    let filter = EnvFilter::try_new(&config.log_level).expect("the configuration was checked");
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
