//! What is stored, and under which keys.
//!
//! Buses: `events/bus:ACCOUNT/REGION/NAME`; the default bus has a record once there is something to say about it.
//! Rules with their targets: `events/rule:ACCOUNT/REGION/BUS/NAME`, so that a rule and all of its targets change at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Progress;
use crate::names::BusRef;

pub(crate) const BUSES: &str = "events/bus:";
pub(crate) const RULES: &str = "events/rule:";

/// Where a bus's record is.
pub(crate) fn bus_key(bus: &BusRef) -> String {
    format!("{BUSES}{}/{}", bus.at.key(), bus.name)
}

/// What the keys of all rules of a bus begin with.
pub(crate) fn rules_prefix(bus: &BusRef) -> String {
    format!("{RULES}{}/{}/", bus.at.key(), bus.name)
}

/// Where a rule's record is.
pub(crate) fn rule_key(bus: &BusRef, name: &str) -> String {
    format!("{}{name}", rules_prefix(bus))
}

/// The bus and the name of the rule whose record has this key.
pub(crate) fn read_rule_key(key: &str) -> Option<(BusRef, &str)> {
    let mut parts = key.strip_prefix(RULES)?.splitn(3, '/');
    let at = wire::Scope {
        account: wire::AccountId::new(parts.next()?)?,
        region: wire::Region::new(parts.next()?)?,
    };
    // Names of rules have no slash.
    let (bus, rule) = parts.next()?.rsplit_once('/')?;
    let name = bus.to_owned();
    Some((BusRef { at, name }, rule))
}

/// A bus.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct BusRecord {
    pub created_ms: i64,
    pub modified_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The resource policy, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

store::first_version!(BusRecord);

/// A rule and its targets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RuleRecord {
    /// The event pattern as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The schedule expression as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Since when it has this schedule and is enabled: rates count from here.
    #[serde(default)]
    pub scheduled_ms: i64,
    #[serde(default)]
    pub progress: Progress,
    /// AWS's word.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The account that made it.
    pub created_by: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    #[serde(default)]
    pub targets: Vec<TargetRecord>,
}

impl RuleRecord {
    pub(crate) fn enabled(&self) -> bool {
        self.state != crate::rule::RuleState::Disabled.as_str()
    }
}

store::first_version!(RuleRecord);

/// Where what fires goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetRecord {
    pub id: String,
    pub arn: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(default)]
    pub input: InputRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_max_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key_path: Option<String>,
}

/// What a target receives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum InputRecord {
    /// The event.
    #[default]
    Event,
    /// Always this JSON.
    Constant(String),
    /// The part of the event that the path leads to.
    Path(String),
    /// What the template makes of parts of the event.
    Transformer {
        paths: BTreeMap<String, String>,
        template: String,
    },
}

/// What a target that is an API destination adds to the request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HttpRecord {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path_values: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
}

pub(crate) const CONNECTIONS: &str = "events/connection:";
pub(crate) const DESTINATIONS: &str = "events/api-destination:";

/// Where a connection's record is.
pub(crate) fn connection_key(at: &wire::Scope, name: &str) -> String {
    format!("{CONNECTIONS}{}/{name}", at.key())
}

/// What the keys of all API destinations in a scope begin with.
pub(crate) fn destinations_prefix(at: &wire::Scope) -> String {
    format!("{DESTINATIONS}{}/", at.key())
}

/// Where an API destination's record is.
pub(crate) fn destination_key(at: &wire::Scope, name: &str) -> String {
    format!("{}{name}", destinations_prefix(at))
}

/// A connection.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ConnectionRecord {
    /// Part of its ARN.
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub created_ms: i64,
    pub modified_ms: i64,
    /// Not since its secrets were removed.
    pub authorized: bool,
    pub auth: AuthRecord,
    /// What every request has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<ParameterRecord>,
}

store::first_version!(ConnectionRecord);

/// How the caller proves who it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AuthRecord {
    Basic {
        username: String,
        password: String,
    },
    ApiKey {
        name: String,
        value: String,
    },
    OAuth {
        client_id: String,
        client_secret: String,
        endpoint: String,
        method: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parameters: Vec<ParameterRecord>,
    },
}

impl AuthRecord {
    /// Removes the secrets.
    pub(crate) fn forget(&mut self) {
        match self {
            AuthRecord::Basic { password, .. } => password.clear(),
            AuthRecord::ApiKey { value, .. } => value.clear(),
            AuthRecord::OAuth {
                client_secret,
                parameters,
                ..
            } => {
                client_secret.clear();
                parameters.retain(|parameter| !parameter.secret);
            }
        }
    }
}

/// Where in a request a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    Header,
    Query,
    Body,
}

/// A parameter of every request.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ParameterRecord {
    pub place: Place,
    pub name: String,
    pub value: String,
    pub secret: bool,
}

/// An API destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DestinationRecord {
    /// Part of its ARN.
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The connection's ARN.
    pub connection: String,
    pub endpoint: String,
    pub method: String,
    pub per_second: u32,
    pub created_ms: i64,
    pub modified_ms: i64,
}

store::first_version!(DestinationRecord);
