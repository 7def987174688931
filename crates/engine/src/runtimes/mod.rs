//! Runtimes: AWS's identifiers as data, and where this machine has a toolchain for them.
//!
//! A deprecated identifier is data, not a wall: what has a toolchain may be created. [`Policy::Aws`] restores AWS's
//! refusals. Discovery runs an interpreter to believe it (a version manager's shim may exist and not work), and does so
//! when its identifier is first asked for: starting waits for no interpreter.

mod discovery;
mod identifiers;
mod install;
mod python;
mod sdk;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use discovery::{Python, Search};

pub use identifiers::{Family, IDENTIFIERS, Identifier, Lifecycle};
pub use install::{Added, NotAdded, pinned_sdk};
pub use sdk::{SDK_TARGET, Sdk};

/// A runtime that this machine can run, resolved from an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// AWS's identifier.
    pub id: &'static str,
    /// What kind it is.
    pub family: Family,
    /// The interpreter, as this machine names it; `provided` has none.
    pub interpreter: Option<PathBuf>,
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
    /// What compiles functions' modules once for all environments, where there is something.
    pub compiler: Option<Compiler>,
    /// Whether AWS no longer offers it.
    pub deprecated: bool,
    /// What to execute instead where it is to wait for its assignment, or to be forked; none if it can do neither.
    pub waiting: Option<Vec<String>>,
    /// Whether what waits can be forked.
    pub forks: bool,
}

/// What compiles modules for an interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Names the interpreter and the way that the bytecode is kept.
    pub name: String,
    /// The script that the interpreter runs, as the sandbox sees it.
    pub script: String,
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

/// Every identifier with what this machine has for it, found when it is first asked for. Clones share what was found.
#[derive(Clone, Debug)]
pub struct Catalogue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: RuntimesConfig,
    /// The interpreters that the configuration names.
    configured: BTreeMap<&'static str, Python>,
    search: Search,
    /// In the order of [`IDENTIFIERS`].
    found: Vec<OnceLock<Option<Arc<Runtime>>>>,
}

impl Catalogue {
    /// Looks for interpreters by their names. Those that the configuration names are run, the first time, to see that
    /// they do; the others only when their identifier is asked for.
    ///
    /// # Errors
    /// If the configuration names something that does not work, or the folder of `config` cannot be written.
    pub fn discover(config: &RuntimesConfig) -> io::Result<Catalogue> {
        std::fs::create_dir_all(&config.data)?;
        let search = Search::begin(config.data.join("runtimes.json"));
        for client in config.aws_clients.values() {
            python::check_client(client)?;
        }
        let mut configured = BTreeMap::new();
        for known in IDENTIFIERS {
            if let Some(path) = config.paths.get(known.id) {
                let python = search.ask(path).ok_or_else(|| {
                    let path = path.display();
                    io::Error::other(format!("{path} is set for {} and does not run", known.id))
                })?;
                configured.insert(known.id, python);
            }
        }
        Ok(Catalogue(Arc::new(Inner {
            config: config.clone(),
            configured,
            search,
            found: IDENTIFIERS.iter().map(|_| OnceLock::new()).collect(),
        })))
    }

    /// What the operator decided.
    pub fn policy(&self) -> Policy {
        self.0.config.policy
    }

    /// The runtime for an identifier that a function is created or updated with. Blocks like
    /// [`resolve_existing`](Self::resolve_existing).
    ///
    /// # Errors
    /// If there is no such identifier, AWS refuses it, or nothing here runs it.
    pub fn resolve(&self, id: &str) -> Result<Arc<Runtime>, Unavailable> {
        let (_, known) = identifier(id)?;
        if self.0.config.policy == Policy::Aws && known.lifecycle == Lifecycle::Blocked {
            return Err(Unavailable::Blocked { id: id.to_owned() });
        }
        self.resolve_existing(id)
    }

    /// The runtime of a function that exists already: AWS invokes what it no longer lets anyone create. Blocks for a
    /// moment when an interpreter must be run, which is once for each that is new or was replaced.
    ///
    /// # Errors
    /// If there is no such identifier, or nothing here runs it.
    pub fn resolve_existing(&self, id: &str) -> Result<Arc<Runtime>, Unavailable> {
        let (index, known) = identifier(id)?;
        let found = self.0.found[index].get_or_init(|| self.0.find(known));
        found.clone().ok_or_else(|| missing(known))
    }

    /// Everything that this machine runs, the oldest version of a language first. Looks for what was not asked for yet.
    pub fn found(&self) -> impl DoubleEndedIterator<Item = Arc<Runtime>> {
        let mut known: Vec<_> = IDENTIFIERS.iter().collect();
        known.sort_by_key(|known| match known.family {
            Family::Python(major, minor) => (0, major, minor),
            _ => (1, 0, 0),
        });
        known
            .into_iter()
            .filter_map(|known| self.resolve_existing(known.id).ok())
    }
}

fn identifier(id: &str) -> Result<(usize, &'static Identifier), Unavailable> {
    let known = IDENTIFIERS.iter().enumerate();
    known
        .into_iter()
        .find(|(_, known)| known.id == id)
        .ok_or_else(|| Unavailable::Unknown {
            id: id.to_owned(),
            known: IDENTIFIERS
                .iter()
                .map(|known| known.id)
                .collect::<Vec<_>>()
                .join(", "),
        })
}

fn missing(known: &Identifier) -> Unavailable {
    Unavailable::Missing {
        id: known.id.to_owned(),
        advice: known.family.advice(),
    }
}

impl Inner {
    fn find(&self, known: &'static Identifier) -> Option<Arc<Runtime>> {
        let found = match known.family {
            Family::Provided => Ok(Some(provided(known))),
            Family::Python(..) => self.find_python(known),
            _ => Ok(None),
        };
        found.map_or_else(
            |error| {
                tracing::error!(runtime = known.id, %error, "an interpreter cannot be used");
                None
            },
            |runtime| runtime.map(Arc::new),
        )
    }

    /// The configured interpreter, else the one with the highest patch level.
    fn python(&self, known: &Identifier) -> Option<Python> {
        let configured = self.configured.get(known.id).cloned();
        configured.or_else(|| self.search.newest(known.family))
    }

    fn find_python(&self, known: &'static Identifier) -> io::Result<Option<Runtime>> {
        let Some(python) = self.python(known) else {
            return Ok(None);
        };
        let mut runtime = match self.config.aws_clients.get(known.id) {
            Some(client) => python::runtime_of_aws(known, &python, client, &self.config.data)?,
            None => python::runtime(known, &python, &self.config.data)?,
        };
        let sdks = self.config.sdks.as_deref();
        if let Some(sdk) = sdks.and_then(|sdks| Sdk::find(sdks, known.id)) {
            sdk.join(&mut runtime);
        }
        Ok(Some(runtime))
    }
}

/// `provided.*` needs nothing: its bootstrap comes with the function.
fn provided(known: &'static Identifier) -> Runtime {
    let version = known.id.replace("provided.", "provided:");
    Runtime {
        id: known.id,
        family: known.family,
        interpreter: None,
        argv: Vec::new(),
        mounts: Vec::new(),
        sdk: None,
        env: Vec::new(),
        digest: python::hex_digest(&[version.as_bytes()]),
        version: format!("{version}.v1"),
        compiler: None,
        deprecated: known.lifecycle != Lifecycle::Current,
        waiting: None,
        forks: false,
    }
}
