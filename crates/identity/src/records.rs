//! What is stored of an account. Names are keys in lower case: IAM's names differ by more than capitals.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub key: String,
    pub value: String,
}

/// An access key.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AccessKey {
    pub id: String,
    pub secret: String,
    pub active: bool,
    pub created_ms: i64,
}

/// The account itself.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Root {
    pub created_ms: i64,
    /// The root user's keys.
    pub keys: Vec<AccessKey>,
    pub alias: Option<String>,
}

/// What users, groups and roles have in common: a name, and policies.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Identified {
    pub name: String,
    pub path: String,
    pub id: String,
    pub created_ms: i64,
    /// Inline policies by name, as text.
    #[serde(default)]
    pub inline: BTreeMap<String, String>,
    /// ARNs of attached managed policies.
    #[serde(default)]
    pub attached: Vec<String>,
    /// The key this record was stored under before it was renamed; the loader removes what a crash left there.
    #[serde(default)]
    pub renamed_from: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct User {
    #[serde(flatten)]
    pub base: Identified,
    #[serde(default)]
    pub tags: Vec<Tag>,
    #[serde(default)]
    pub boundary: Option<String>,
    /// Unique ids of groups: names may change.
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub keys: Vec<AccessKey>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Group {
    #[serde(flatten)]
    pub base: Identified,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Role {
    #[serde(flatten)]
    pub base: Identified,
    #[serde(default)]
    pub tags: Vec<Tag>,
    #[serde(default)]
    pub boundary: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    pub session_seconds_max: i64,
    /// The trust policy, as text.
    pub trust: String,
    /// The unique ids that the trust policy's users and roles had when it was written: one made anew under an old name
    /// is somebody else.
    #[serde(default)]
    pub trusted_ids: BTreeMap<String, String>,
    /// The service this role is linked to.
    #[serde(default)]
    pub service: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ManagedPolicy {
    pub name: String,
    pub path: String,
    pub id: String,
    pub created_ms: i64,
    pub updated_ms: i64,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Oldest first.
    pub versions: Vec<PolicyVersion>,
    /// The number of the version in force.
    pub default_version: u32,
    /// The number of the newest version there ever was.
    pub last_version: u32,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PolicyVersion {
    pub number: u32,
    pub document: String,
    pub created_ms: i64,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct InstanceProfile {
    pub name: String,
    pub path: String,
    pub id: String,
    pub created_ms: i64,
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// The name of the role: roles cannot be renamed, nor deleted while in a profile.
    #[serde(default)]
    pub role: Option<String>,
}

store::first_version!(Root, User, Group, Role, ManagedPolicy, InstanceProfile);
