//! Runtimes: AWS's identifiers as data, and where this machine has a toolchain for them.
//!
//! A deprecated identifier is data, not a wall: what has a toolchain may be created. [`Policy::Aws`] restores AWS's
//! refusals. Discovery runs an interpreter to believe it (a version manager's shim may exist and not work).

mod discovery;
mod identifiers;
mod python;
mod sdk;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use identifiers::{Family, IDENTIFIERS, Identifier, Lifecycle};
pub use sdk::{SDK_TARGET, Sdk};

/// A runtime that this machine can run, resolved from an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// AWS's identifier.
    pub id: &'static str,
    /// What kind it is.
    pub family: Family,
    /// What to execute inside the sandbox; empty for `provided`, whose `bootstrap` is found in the function's own files.
    pub argv: Vec<String>,
    /// Folders and files seen read-only inside the sandbox.
    pub mounts: Vec<Mount>,
    /// AWS's SDK, when one was added for it; it is among the mounts, at [`SDK_TARGET`].
    pub sdk: Option<Sdk>,
    /// Variables that this runtime adds to AWS's common set, or replaces in it.
    pub env: Vec<(String, String)>,
    /// Text for `Runtime Version:` of INIT_START, such as `python:3.11.v7`.
    pub version: String,
    /// Hex digest that changes with the toolchain: the last part of the runtime version's ARN.
    pub digest: String,
    /// Whether AWS no longer offers it.
    pub deprecated: bool,
}

/// A host path seen inside the sandbox, read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// On the host.
    pub source: PathBuf,
    /// Inside, absolute.
    pub target: String,
}

/// What to do about identifiers that AWS no longer lets anyone create.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// They may be created when a toolchain is here.
    #[default]
    Permissive,
    /// They are refused in AWS's words.
    Aws,
}

/// How runtimes are found.
#[derive(Clone, Debug, Default)]
pub struct RuntimesConfig {
    /// Where the catalogue keeps its bootstraps and its cache of probes.
    pub data: PathBuf,
    /// Where SDKs are, in a folder for each identifier; unlike `data` it is shared with other processes.
    pub sdks: Option<PathBuf>,
    /// What to do about deprecated identifiers.
    pub policy: Policy,
    /// `[runtimes.ID]` of the configuration: an interpreter to use for an identifier, before any that is discovered.
    pub paths: BTreeMap<String, PathBuf>,
    /// `ric = "aws"` of an identifier: a folder that AWS's own runtime client was installed into
    /// (`pip install --target FOLDER awslambdaric`), to be used instead of our bootstrap.
    pub aws_clients: BTreeMap<String, PathBuf>,
}

/// Stands for the handler in [`Runtime::argv`], for clients that want it as an argument.
pub const HANDLER_ARGUMENT: &str = "{handler}";

/// Why an identifier cannot be used. The texts are for the user, as messages of `InvalidParameterValueException`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// AWS has no such identifier.
    #[error(
        "Value {id} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{known}] or be a valid ARN"
    )]
    Unknown {
        /// What was asked for.
        id: String,
        /// Every identifier there is.
        known: String,
    },
    /// Refused by [`Policy::Aws`].
    #[error(
        "The runtime parameter of {id} is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions."
    )]
    Blocked {
        /// What was asked for.
        id: String,
    },
    /// Known, but nothing here runs it.
    #[error("The runtime {id} has no toolchain on this machine. {advice}")]
    Missing {
        /// What was asked for.
        id: String,
        /// What to do about it.
        advice: String,
    },
}

/// Every identifier with what this machine has for it. Clones share one discovery.
#[derive(Clone, Debug)]
pub struct Catalogue {
    found: Arc<BTreeMap<&'static str, Arc<Runtime>>>,
    policy: Policy,
}

impl Catalogue {
    /// Looks for toolchains. Runs interpreters, so it blocks for a moment.
    pub fn discover(config: &RuntimesConfig) -> std::io::Result<Catalogue> {
        std::fs::create_dir_all(&config.data)?;
        let cache_path = config.data.join("runtimes.json");
        let mut cache = discovery::Cache::load(&cache_path);
        let pythons = discovery::pythons(&mut cache);
        cache.save(&cache_path);
        let mut found = BTreeMap::new();
        for known in IDENTIFIERS {
            let runtime = match known.family {
                Family::Provided => Some(provided(known)),
                Family::Python(..) => find_python(known, config, &pythons)?,
                _ => None,
            };
            if let Some(runtime) = runtime {
                found.insert(known.id, Arc::new(runtime));
            }
        }
        Ok(Catalogue {
            found: Arc::new(found),
            policy: config.policy,
        })
    }

    /// The runtime for an identifier that a function is created or updated with.
    pub fn resolve(&self, id: &str) -> Result<Arc<Runtime>, Unavailable> {
        let known = self.identifier(id)?;
        if self.policy == Policy::Aws && known.lifecycle == Lifecycle::Blocked {
            return Err(Unavailable::Blocked { id: id.to_owned() });
        }
        self.resolve_existing(id)
    }

    /// The runtime of a function that exists already: AWS invokes what it no longer lets anyone create.
    pub fn resolve_existing(&self, id: &str) -> Result<Arc<Runtime>, Unavailable> {
        let known = self.identifier(id)?;
        self.found
            .get(known.id)
            .cloned()
            .ok_or_else(|| Unavailable::Missing {
                id: id.to_owned(),
                advice: known.family.advice(),
            })
    }

    /// Everything found, for `mayfly doctor`.
    pub fn found(&self) -> impl Iterator<Item = &Arc<Runtime>> {
        self.found.values()
    }

    fn identifier(&self, id: &str) -> Result<&'static Identifier, Unavailable> {
        IDENTIFIERS
            .iter()
            .find(|known| known.id == id)
            .ok_or_else(|| Unavailable::Unknown {
                id: id.to_owned(),
                known: IDENTIFIERS
                    .iter()
                    .map(|known| known.id)
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }
}

/// `provided.*` needs nothing: its bootstrap comes with the function.
fn provided(known: &'static Identifier) -> Runtime {
    let version = known.id.replace("provided.", "provided:");
    Runtime {
        id: known.id,
        family: known.family,
        argv: Vec::new(),
        mounts: Vec::new(),
        sdk: None,
        env: Vec::new(),
        digest: python::hex_digest(&[version.as_bytes()]),
        version: format!("{version}.v1"),
        deprecated: known.lifecycle != Lifecycle::Current,
    }
}

/// The configured interpreter, else the one with the highest patch level.
fn find_python(
    known: &'static Identifier,
    config: &RuntimesConfig,
    pythons: &[discovery::Python],
) -> std::io::Result<Option<Runtime>> {
    let configured = match config.paths.get(known.id) {
        Some(path) => Some(discovery::ask_python(path).ok_or_else(|| {
            std::io::Error::other(format!(
                "{} is set for {} and does not run",
                path.display(),
                known.id
            ))
        })?),
        None => None,
    };
    let discovered = || {
        pythons
            .iter()
            .rfind(|python| python::family(python) == known.family)
            .cloned()
    };
    match configured.or_else(discovered) {
        Some(python) => {
            let mut runtime = match config.aws_clients.get(known.id) {
                Some(client) => python::runtime_of_aws(known, &python, client)?,
                None => python::runtime(known, &python, &config.data)?,
            };
            let sdk = config
                .sdks
                .as_deref()
                .and_then(|sdks| Sdk::find(sdks, known.id));
            if let Some(sdk) = sdk {
                sdk.join(&mut runtime);
            }
            Ok(Some(runtime))
        }
        None => Ok(None),
    }
}
