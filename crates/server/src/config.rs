//! The configuration: one table of keys, from which the flags, the environment variables, the file and the
//! reference page all follow. A key that is not in the table is an error wherever it turns up.

mod file;
mod table;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::EgressConfig;
use engine::runtimes::{Policy, RuntimesConfig};
pub use table::KEYS;

/// The name of the file in the data folder.
const FILE_NAME: &str = "mayfly.toml";
/// The folder of SDKs in the data folder.
pub const SDKS_FOLDER: &str = "sdk";
/// The flag and variable that name another file.
pub const FILE_FLAG: &str = "config";

/// What the operator decided, complete and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub data: PathBuf,
    pub listen: SocketAddr,
    /// Whether anybody said where to listen, or the default counts.
    pub listen_is_given: bool,
    pub endpoint: Option<String>,
    pub tls: Option<TlsFiles>,
    pub insecure_plaintext_listen: bool,
    pub dev: bool,
    pub account: wire::AccountId,
    pub region: wire::Region,
    pub log_format: LogFormat,
    pub log_level: String,
    pub drain: Duration,
    pub connections_max: usize,
    pub requests_max: usize,
    pub body_bytes_max: usize,
    pub metrics_for_anyone: bool,
    pub runtimes: BTreeMap<String, PathBuf>,
    pub aws_runtime_clients: BTreeMap<String, PathBuf>,
    pub runtime_policy: Policy,
    pub concurrency: u32,
    pub environments_max: usize,
    pub environments_memory_mb_max: Option<u64>,
    pub environment_idle: Duration,
    pub prediction: bool,
    pub zygotes: bool,
    pub templates: bool,
    pub renewed_session: Duration,
    pub internet: bool,
    pub internet_by_tag: bool,
    pub internet_ports: Vec<u16>,
    pub internet_allow: Vec<engine::Cidr>,
}

/// Where the certificate is.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How our own log looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LogFormat {
    Text,
    Json,
}

/// One key of the configuration.
pub struct Key {
    /// Its name in the file; the flag and the variable follow from it.
    pub name: &'static str,
    /// What a value looks like.
    pub form: Form,
    /// The value when nobody gives one; empty when there is none.
    pub default: &'static str,
    /// What it is, in a sentence or two.
    pub help: &'static str,
    set: fn(&mut Draft, &str) -> Result<(), String>,
}

/// What a value looks like.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    /// Text; the word stands for it in the help.
    Text(&'static str),
    /// A whole number.
    Number,
    /// Yes or no.
    Switch,
    /// Names and values: `NAME=VALUE,...`, in the file a table.
    Map(&'static str),
}

impl Key {
    /// The flag, without its dashes.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("MAYFLY_{}", self.name.to_uppercase())
    }
}

/// Values while they are collected.
#[derive(Default)]
struct Draft {
    data: PathBuf,
    listen: Option<SocketAddr>,
    endpoint: Option<String>,
    tls_certificate: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    insecure_plaintext_listen: bool,
    dev: bool,
    account: Option<wire::AccountId>,
    region: Option<wire::Region>,
    log_format: Option<LogFormat>,
    log_level: String,
    drain_seconds: u64,
    connections_max: usize,
    requests_max: usize,
    body_bytes_max: usize,
    metrics_for_anyone: bool,
    runtimes: BTreeMap<String, PathBuf>,
    aws_runtime_clients: BTreeMap<String, PathBuf>,
    runtime_policy: Policy,
    concurrency: u32,
    environments_max: usize,
    environments_memory_mb_max: Option<u64>,
    environment_idle_seconds: u64,
    prediction: bool,
    zygotes: bool,
    templates: bool,
    renewed_session_seconds: u64,
    internet: bool,
    internet_by_tag: bool,
    internet_ports: Vec<u16>,
    internet_allow: Vec<engine::Cidr>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{origin}: {problem}")]
    Value { origin: String, problem: String },
    #[error("cannot read {path}: {source}")]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}:{line}:{column}: {problem}")]
    File {
        path: PathBuf,
        line: usize,
        column: usize,
        problem: String,
    },
    #[error("{0}")]
    Together(&'static str),
}

/// Values by the names of their keys.
pub type Given = BTreeMap<String, String>;

impl Config {
    /// Puts the configuration together: flags before variables before the file before the defaults.
    /// `variable` looks up the environment.
    pub fn load(flags: &Given, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let variables: Given = KEYS
            .iter()
            .filter_map(|key| Some((key.name.to_owned(), variable(&key.variable())?)))
            .collect();
        let mut draft = Draft::default();
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            (key.set)(&mut draft, key.default).expect("the defaults are legal values");
        }
        let from_variables = |key: &Key| key.variable();
        let from_flags = |key: &Key| format!("--{}", key.flag());
        let mut listen_is_given = ["listen"]
            .iter()
            .any(|key| flags.contains_key(*key) || variables.contains_key(*key));
        // The data folder first: the file may be in it.
        let only_data = |given: &Given| -> Given {
            let data = given.get("data").cloned();
            data.map(|value| ("data".to_owned(), value))
                .into_iter()
                .collect()
        };
        apply(&mut draft, &only_data(&variables), from_variables)?;
        apply(&mut draft, &only_data(flags), from_flags)?;
        let named = flags.get(FILE_FLAG).cloned();
        let named = named
            .or_else(|| variable("MAYFLY_CONFIG"))
            .map(PathBuf::from);
        let path = named.clone().unwrap_or_else(|| draft.data.join(FILE_NAME));
        if named.is_some() || path.exists() {
            let text = std::fs::read_to_string(&path).map_err(|source| Error::Unreadable {
                path: path.clone(),
                source,
            })?;
            let keys = file::apply(&mut draft, &path, &text, named.is_none())?;
            listen_is_given |= keys.iter().any(|key| key == "listen");
        }
        apply(&mut draft, &variables, from_variables)?;
        apply(&mut draft, flags, from_flags)?;
        draft.finish(listen_is_given)
    }

    /// How runtimes are found; `data` is where the catalogue may keep files.
    pub fn runtimes_config(&self, data: &Path) -> RuntimesConfig {
        RuntimesConfig {
            data: data.to_owned(),
            sdks: Some(self.sdks()),
            policy: self.runtime_policy,
            paths: self.runtimes.clone(),
            aws_clients: self.aws_runtime_clients.clone(),
        }
    }

    /// Where SDKs are.
    pub fn sdks(&self) -> PathBuf {
        self.data.join(SDKS_FOLDER)
    }

    /// The way to the internet, if any function may have it.
    pub fn egress(&self) -> Option<EgressConfig> {
        (self.internet || self.internet_by_tag).then(|| EgressConfig {
            ports: self.internet_ports.clone(),
            allow: self.internet_allow.clone(),
            ..EgressConfig::default()
        })
    }

    /// The URL by which clients on this machine reach a server that listens at `at`.
    pub fn url(&self, at: SocketAddr) -> String {
        if let Some(endpoint) = &self.endpoint {
            return endpoint.clone();
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        match (at.ip().is_unspecified(), at.is_ipv6()) {
            (false, _) => format!("{scheme}://{at}"),
            (true, false) => format!("{scheme}://127.0.0.1:{}", at.port()),
            (true, true) => format!("{scheme}://[::1]:{}", at.port()),
        }
    }
}

fn apply(draft: &mut Draft, given: &Given, origin: impl Fn(&Key) -> String) -> Result<(), Error> {
    for key in KEYS {
        if let Some(value) = given.get(key.name) {
            (key.set)(draft, value).map_err(|problem| Error::Value {
                origin: origin(key),
                problem,
            })?;
        }
    }
    Ok(())
}

impl Draft {
    fn finish(self, listen_is_given: bool) -> Result<Config, Error> {
        let has_default = "the table has a default";
        let config = Config {
            data: self.data,
            listen: self.listen.expect(has_default),
            listen_is_given,
            endpoint: self.endpoint,
            tls: match (self.tls_certificate, self.tls_key) {
                (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
                (None, None) => None,
                _ => {
                    return Err(Error::Together(
                        "tls_certificate and tls_key belong together: give both or neither",
                    ));
                }
            },
            insecure_plaintext_listen: self.insecure_plaintext_listen,
            dev: self.dev,
            account: self.account.expect(has_default),
            region: self.region.expect(has_default),
            log_format: self.log_format.expect(has_default),
            log_level: self.log_level,
            drain: Duration::from_secs(self.drain_seconds),
            connections_max: self.connections_max,
            requests_max: self.requests_max,
            body_bytes_max: self.body_bytes_max,
            metrics_for_anyone: self.metrics_for_anyone,
            runtimes: self.runtimes,
            aws_runtime_clients: self.aws_runtime_clients,
            runtime_policy: self.runtime_policy,
            concurrency: self.concurrency,
            environments_max: self.environments_max,
            environments_memory_mb_max: self.environments_memory_mb_max,
            environment_idle: Duration::from_secs(self.environment_idle_seconds),
            prediction: self.prediction,
            zygotes: self.zygotes,
            templates: self.templates,
            renewed_session: Duration::from_secs(self.renewed_session_seconds),
            internet: self.internet,
            internet_by_tag: self.internet_by_tag,
            internet_ports: self.internet_ports,
            internet_allow: self.internet_allow,
        };
        if !config.internet_allow.is_empty() && config.egress().is_none() {
            return Err(Error::Together(
                "internet_allow opens nothing as long as neither internet nor internet_by_tag is true",
            ));
        }
        let beyond_loopback = !config.listen.ip().is_loopback();
        if config.dev && beyond_loopback {
            return Err(Error::Together(
                "dev mode listens on loopback addresses only: its keys are known to everyone",
            ));
        }
        if beyond_loopback && config.tls.is_none() && !config.insecure_plaintext_listen {
            return Err(Error::Together(
                "refusing to listen beyond this machine without TLS: payloads and session tokens would cross \
                 the network in clear. Give tls_certificate and tls_key, or, behind a proxy that speaks TLS, \
                 say --insecure-plaintext-listen",
            ));
        }
        Ok(config)
    }
}

/// Variables that look like ours and are not: most likely misspelt. Not an error, because Kubernetes makes
/// such names for a service that is called mayfly.
pub fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let known: Vec<String> = KEYS.iter().map(Key::variable).collect();
    names
        .filter(|name| name.starts_with("MAYFLY_") && name != "MAYFLY_CONFIG")
        .filter(|name| !known.contains(name))
        .collect()
}

/// The reference page, `docs/configuration.md`.
pub fn reference() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         <!-- Generated by `mayfly config-reference`; a test compares. Edit crates/server/src/config/table.rs. -->\n\n\
         Every key can be a flag of `mayfly serve`, an environment variable, or a line of the configuration file: \
         flags count first, then variables, then the file, then the default. The file is `mayfly.toml` in the data \
         folder, or what `--config` or `MAYFLY_CONFIG` names. Unknown keys are refused.\n",
    );
    for key in KEYS {
        let form = match key.form {
            Form::Text(word) | Form::Map(word) => word,
            Form::Number => "NUMBER",
            Form::Switch => "true|false",
        };
        let default = match key.default {
            "" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        let (flag, variable) = (key.flag(), key.variable());
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "\n## `{}`\n\n{}\n\n`--{flag} {form}` · `{variable}` · default: {default}\n",
            key.name, key.help
        );
    }
    out
}

/// A path, with `~` for the user's home.
fn path(value: &str) -> Result<PathBuf, String> {
    let Some(rest) = value.strip_prefix("~/") else {
        return match value {
            "" => Err("a path cannot be empty".to_owned()),
            value => Ok(PathBuf::from(value)),
        };
    };
    match std::env::var_os("HOME") {
        Some(home) => Ok(Path::new(&home).join(rest)),
        None => Err(format!("{value} needs a home folder, and HOME is not set")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> Given {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn load(
        folder: &Path,
        flags: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Result<Config, String> {
        let variables = given(variables);
        let mut flags = given(flags);
        flags
            .entry("data".to_owned())
            .or_insert(folder.to_str().unwrap().to_owned());
        Config::load(&flags, |name| variables.get(name).cloned()).map_err(|e| e.to_string())
    }

    #[track_caller]
    fn check_refused(flags: &[(&str, &str)], file: &str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), file).unwrap();
        let error = load(folder.path(), flags, &[]).unwrap_err();
        let error = error.replace(&format!("{}/", folder.path().display()), "");
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn flags_before_variables_before_the_file_before_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let region = |flags: &[_], variables: &[_]| {
            load(folder.path(), flags, variables)
                .unwrap()
                .region
                .to_string()
        };
        assert_eq!(region(&[], &[]), "us-east-1");
        std::fs::write(folder.path().join(FILE_NAME), "region = \"eu-west-1\"").unwrap();
        assert_eq!(region(&[], &[]), "eu-west-1");
        let variable = ("MAYFLY_REGION", "eu-west-2");
        assert_eq!(region(&[], &[variable]), "eu-west-2");
        assert_eq!(region(&[("region", "eu-west-3")], &[variable]), "eu-west-3");
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_place() {
        check_refused(
            &[],
            "region = \"eu-west-1\"\nlisten_on = 1\n",
            "mayfly.toml:2:1: unknown key `listen_on`",
        );
        check_refused(
            &[],
            "dev = \"yes\"",
            "mayfly.toml:1:7: `dev` takes true or false",
        );
        check_refused(
            &[],
            "drain_seconds = \"1\"",
            "mayfly.toml:1:17: `drain_seconds` takes a whole number",
        );
        check_refused(
            &[],
            "listen = 4566",
            "mayfly.toml:1:10: `listen` takes text",
        );
        check_refused(
            &[],
            "region = \"Mars!\"",
            "mayfly.toml:1:10: `region`: not the name of a region",
        );
        check_refused(
            &[],
            "[server]\nlisten = \"\"",
            "mayfly.toml:1:2: unknown key `server`",
        );
        check_refused(&[], "a = ", "mayfly.toml:1:5: ");
        check_refused(
            &[],
            "data = \"/x\"",
            "mayfly.toml:1:1: `data` cannot be in the file inside the data folder",
        );
        check_refused(
            &[("listen", "here")],
            "",
            "--listen: not an address and port",
        );
        check_refused(
            &[("drain_seconds", "soon")],
            "",
            "--drain-seconds: not a whole number",
        );
        check_refused(
            &[("account", "12")],
            "",
            "--account: not a 12-digit account id",
        );
        check_refused(
            &[("tls_key", "k.pem")],
            "",
            "tls_certificate and tls_key belong together",
        );
    }

    #[test]
    fn beyond_loopback_only_with_tls_or_by_name() {
        let everywhere = ("listen", "0.0.0.0:4566");
        check_refused(
            &[everywhere],
            "",
            "refusing to listen beyond this machine without TLS",
        );
        check_refused(&[("listen", "[::]:4566")], "", "refusing to listen beyond");
        check_refused(
            &[("listen", "127.0.0.1:1"), ("dev", "maybe")],
            "",
            "--dev: not true or false",
        );
        let plaintext = ("insecure_plaintext_listen", "true");
        check_refused(
            &[everywhere, plaintext, ("dev", "true")],
            "",
            "dev mode listens on loopback",
        );
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path(), &[everywhere, plaintext], &[]).is_ok());
        let tls = [everywhere, ("tls_certificate", "c"), ("tls_key", "k")];
        assert!(load(folder.path(), &tls, &[]).is_ok());
        assert!(load(folder.path(), &[("listen", "[::1]:4566")], &[]).is_ok());
    }

    #[test]
    fn runtimes_as_a_flag_and_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = "[runtimes]\n\"python3.11\" = \"/a\"\n\"python3.12\" = \"/b\"";
        std::fs::write(folder.path().join(FILE_NAME), file).unwrap();
        let runtimes = |flags: &[_]| load(folder.path(), flags, &[]).unwrap().runtimes;
        let expected = ["python3.11=/a", "python3.12=/b"];
        let expected: BTreeMap<_, _> = expected
            .iter()
            .map(|s| s.split_once('=').unwrap())
            .collect();
        let found = runtimes(&[]);
        assert!(
            found
                .iter()
                .map(|(k, v)| (k.as_str(), v.to_str().unwrap()))
                .eq(expected)
        );
        let given = runtimes(&[("runtimes", "python3.9=/c")]);
        assert_eq!(
            given.into_iter().collect::<Vec<_>>(),
            [("python3.9".to_owned(), PathBuf::from("/c"))]
        );
    }

    #[test]
    fn the_internet_is_closed_until_somebody_opens_it() {
        let folder = tempfile::tempdir().unwrap();
        let egress = |flags: &[_]| load(folder.path(), flags, &[]).unwrap().egress();
        assert!(egress(&[]).is_none());
        for switch in ["internet", "internet_by_tag"] {
            let open = egress(&[(switch, "true")]).unwrap();
            assert_eq!(open.ports, engine::EGRESS_PORTS_DEFAULT);
            assert!(open.allow.is_empty());
        }
        let some = egress(&[
            ("internet", "true"),
            ("internet_ports", "443, 8080"),
            ("internet_allow", "10.0.0.0/8,192.168.7.7/32"),
        ]);
        let some = some.unwrap();
        assert_eq!(some.ports, [443, 8080]);
        let allow: Vec<String> = some.allow.iter().map(ToString::to_string).collect();
        assert_eq!(allow, ["10.0.0.0/8", "192.168.7.7/32"]);
        check_refused(
            &[("internet_ports", "443,https")],
            "",
            "--internet-ports: \"https\" is not a port, from 1 to 65535",
        );
        check_refused(
            &[("internet", "true"), ("internet_allow", "10.0.0.1/8")],
            "",
            "--internet-allow: \"10.0.0.1/8\" has bits beyond its prefix; did you mean 10.0.0.0/8?",
        );
        check_refused(
            &[],
            "internet_allow = \"10.0.0.0/8\"",
            "internet_allow opens nothing as long as",
        );
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(folder.path(), &[], &[("MAYFLY_CONFIG", "/nowhere.toml")]).unwrap_err();
        assert!(error.starts_with("cannot read /nowhere.toml"), "{error}");
    }

    #[test]
    fn urls_for_clients() {
        let folder = tempfile::tempdir().unwrap();
        let url = |flags: &[_], at: &str| {
            load(folder.path(), flags, &[])
                .unwrap()
                .url(at.parse().unwrap())
        };
        assert_eq!(url(&[], "127.0.0.1:99"), "http://127.0.0.1:99");
        assert_eq!(url(&[], "0.0.0.0:99"), "http://127.0.0.1:99");
        assert_eq!(url(&[], "[::]:99"), "http://[::1]:99");
        assert_eq!(
            url(&[("tls_certificate", "c"), ("tls_key", "k")], "[::1]:99"),
            "https://[::1]:99"
        );
        assert_eq!(
            url(&[("endpoint", "https://mayfly.example")], "[::1]:99"),
            "https://mayfly.example"
        );
    }

    #[test]
    fn misspelt_variables_are_noticed() {
        let names = ["MAYFLY_LISTEN", "MAYFLY_LISTN", "MAYFLY_CONFIG", "HOME"];
        let unknown = unknown_variables(names.into_iter().map(str::to_owned));
        assert_eq!(unknown, ["MAYFLY_LISTN"]);
    }

    #[test]
    fn the_reference_page_is_current() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        let written = std::fs::read_to_string(page).unwrap_or_default();
        let advice = "run: cargo run -p server -- config-reference > docs/configuration.md";
        assert!(written == reference(), "{advice}");
    }
}
