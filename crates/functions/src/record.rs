//! What is kept of functions and layers. One record per function holds all that can change, so that each change is one
//! compare-and-swap; what a published version is made of never changes and has a record of its own, written before the
//! function's record names it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::Scope;

use crate::code::Package;

/// A function.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FunctionRecord {
    /// Tells a function from an earlier one of the same name.
    pub id: String,
    pub latest: Content,
    pub latest_head: Head,
    /// How the last update of `$LATEST` went; versions have no such thing.
    pub last_update: LastUpdate,
    pub next_version: u64,
    pub versions: BTreeMap<u64, VersionHead>,
    pub aliases: BTreeMap<String, Alias>,
    /// Statements by qualifier; those of the function itself under the empty one.
    pub policies: BTreeMap<String, Vec<Statement>>,
    pub tags: BTreeMap<String, String>,
    pub reserved_concurrency: Option<u32>,
    /// Provisioned concurrency, by alias or version.
    #[serde(default)]
    pub provisioned: BTreeMap<String, ProvisionedConfig>,
    /// What becomes of asynchronous invocations, by version, alias or `$LATEST`.
    #[serde(default)]
    pub event_invoke: BTreeMap<String, EventInvoke>,
    /// Whether the function may run in a loop.
    #[serde(default)]
    pub recursion_allowed: bool,
}

/// What becomes of asynchronous invocations; AWS's defaults where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventInvoke {
    /// Attempts after the first.
    pub retries_max: Option<usize>,
    pub age_max_seconds: Option<i64>,
    pub on_success: Option<String>,
    pub on_failure: Option<String>,
    pub modified_ms: i64,
}

store::first_version!(FunctionRecord);

/// Provisioned concurrency of an alias or a version, as it was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProvisionedConfig {
    pub requested: u32,
    pub modified_ms: i64,
}

/// What changes about a version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Head {
    pub revision_id: String,
    pub state: State,
}

/// What changes about a published version, and where the rest is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VersionHead {
    pub head: Head,
    /// Names the [`VersionRecord`].
    pub content: String,
}

/// `State` and its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Pending,
    Active,
    Failed { code: FailureCode, reason: String },
}

/// `LastUpdateStatus` and its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LastUpdate {
    Successful,
    InProgress,
    Failed { code: FailureCode, reason: String },
}

/// Why a function did not become active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FailureCode {
    InvalidRuntime,
    InternalError,
    InitTimeout,
    RuntimeInitError,
    ExtensionInitError,
    InvalidEntryPoint,
    InitResourceExhausted,
}

impl FailureCode {
    /// AWS's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            FailureCode::InvalidRuntime => "InvalidRuntime",
            FailureCode::InternalError => "InternalError",
            FailureCode::InitTimeout => "FunctionError.InitTimeout",
            FailureCode::RuntimeInitError => "FunctionError.RuntimeInitError",
            FailureCode::ExtensionInitError => "FunctionError.ExtensionInitError",
            FailureCode::InvalidEntryPoint => "FunctionError.InvalidEntryPoint",
            FailureCode::InitResourceExhausted => "FunctionError.InitResourceExhausted",
        }
    }
}

/// Code and configuration: what an environment is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Content {
    /// Changes when anything else here does. Equal contents of one function have equal ones.
    pub id: String,
    pub code: Package,
    pub layers: Vec<LayerUse>,
    pub runtime: String,
    pub role: String,
    pub handler: String,
    pub description: String,
    pub timeout_s: i64,
    pub memory_mb: i64,
    pub ephemeral_mb: i64,
    /// `None` when it was never set, which replies show.
    pub variables: Option<BTreeMap<String, String>>,
    pub logging: Logging,
    /// The queue or topic of failed events.
    #[serde(default)]
    pub dead_letter: Option<String>,
    pub modified_ms: i64,
    /// Whether versions are made of what one init left behind.
    #[serde(default)]
    pub snap_start: bool,
}

/// A layer of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerUse {
    pub arn: String,
    pub package: Package,
}

/// `LoggingConfig`, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Logging {
    pub json: bool,
    /// AWS's words; only with JSON.
    pub application_level: Option<String>,
    pub system_level: Option<String>,
    pub group: String,
}

/// What a published version is made of. Never changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    pub content: Content,
}

store::first_version!(VersionRecord);

/// An alias.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Alias {
    /// A version's number, or `$LATEST`.
    pub version: String,
    /// At most one further version, and its share of the invocations.
    pub weights: BTreeMap<String, f64>,
    pub description: String,
    pub revision_id: String,
}

/// One statement of a resource policy, as AWS prints it. The order of the members is the order of the text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Statement {
    pub sid: String,
    pub effect: String,
    pub principal: serde_json::Value,
    pub action: String,
    pub resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<serde_json::Value>,
}

/// A layer with all its versions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// Never goes back, also when versions are deleted.
    pub last_version: i64,
    pub versions: BTreeMap<i64, LayerVersion>,
}

store::first_version!(LayerRecord);

/// One version of a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerVersion {
    pub package: Package,
    pub description: String,
    pub created_ms: i64,
    pub architectures: Option<Vec<String>>,
    pub runtimes: Option<Vec<String>>,
    pub license: Option<String>,
    pub policy: Vec<Statement>,
    pub policy_revision_id: String,
}

/// Prefix of functions' records.
pub(crate) const FUNCTIONS: &str = "lambda/functions/";
/// Prefix of versions' records.
pub(crate) const VERSIONS: &str = "lambda/versions/";
/// Prefix of layers' records.
pub(crate) const LAYERS: &str = "lambda/layers/";
/// Prefix of the queues of asynchronous events.
pub(crate) const EVENTS: &str = "lambda/events/";
/// The secret that signs download links.
pub(crate) const DOWNLOAD_KEY: &str = "lambda/download-key";

/// Where a function's record is.
pub(crate) fn function_key(at: &Scope, name: &str) -> String {
    format!("{FUNCTIONS}{}/{name}", at.key())
}

/// Where a version's record is.
pub(crate) fn version_key(at: &Scope, name: &str, id: &str, content: &str) -> String {
    format!("{VERSIONS}{}/{name}/{id}/{content}", at.key())
}

/// Where a layer's record is.
pub(crate) fn layer_key(at: &Scope, name: &str) -> String {
    format!("{LAYERS}{}/{name}", at.key())
}

/// A function's queue of asynchronous events.
pub(crate) fn event_queue(at: &Scope, name: &str) -> String {
    format!("{EVENTS}{}/{name}", at.key())
}

/// Account, region and name of a key below a prefix.
pub(crate) fn read_key(prefix: &str, key: &str) -> Option<(Scope, String)> {
    let mut parts = key.strip_prefix(prefix)?.split('/');
    let scope = Scope {
        account: wire::AccountId::new(parts.next()?)?,
        region: wire::Region::new(parts.next()?)?,
    };
    Some((scope, parts.next()?.to_owned()))
}

/// A new id: of a function, a revision, a content.
pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
