//! `mayfly env`: what AWS clients need to talk to the server of a data folder.

use std::process::ExitCode;

use anyhow::Result;

use crate::config::Config;
use crate::credentials::RootCredential;
use crate::folder::Folder;

/// Prints lines for a POSIX shell's `eval`.
pub fn print(config: &Config) -> Result<ExitCode> {
    let folder = Folder::open(&config.data)?;
    let root = RootCredential::read(&folder)?;
    let endpoint = match folder.endpoint() {
        Some(written) if !config.listen_is_given => written,
        _ => config.url(config.listen),
    };
    for (name, value) in [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_REGION", &*config.region),
        ("AWS_DEFAULT_REGION", &*config.region),
        ("AWS_ACCESS_KEY_ID", &root.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &root.secret_access_key),
    ] {
        println!("export {name}={}", quoted(value));
    }
    // A session token of another login would go along with every request otherwise.
    println!("unset AWS_SESSION_TOKEN AWS_PROFILE");
    Ok(ExitCode::SUCCESS)
}

/// Quotes for a POSIX shell, where it is needed.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:+=@".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn values_survive_a_shell() {
        assert_eq!(quoted("http://127.0.0.1:4566"), "http://127.0.0.1:4566");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("$(rm -rf /)"), "'$(rm -rf /)'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
