//! Amazon Resource Names. No other crate spells one.

use std::fmt;

use crate::{AccountId, Scope};

/// `arn:partition:service:region:account:resource`, or `*` for operations without a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arn(String);

/// Longer than most of them.
const LENGTH_USUAL: usize = 96;
/// The resource of actions that AWS authorizes on `*` alone.
const ANY: &str = "*";

impl Arn {
    /// The resource of operations that have none.
    pub fn any() -> Self {
        Self(ANY.to_owned())
    }

    /// The ARN, if the text has six parts, the first is `arn`, and partition, service and resource are there.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let sound = parts.len() == 6
            && parts[0] == "arn"
            && !parts[1].is_empty()
            && !parts[2].is_empty()
            && !parts[5].is_empty();
        sound.then(|| Self(text.to_owned()))
    }

    /// A resource of a service in a scope: `Arn::regional("lambda", at, "function:hello")`.
    pub fn regional(service: &str, at: &Scope, resource: impl fmt::Display) -> Self {
        // Every request makes some, so there is room for most from the start.
        let mut text = String::with_capacity(LENGTH_USUAL);
        for part in ["arn:aws:", service, ":", &at.region, ":", &at.account, ":"] {
            text.push_str(part);
        }
        fmt::write(&mut text, format_args!("{resource}")).expect("text takes any text");
        Self(text)
    }

    /// A resource of a service that knows no regions: `Arn::global("iam", account, "role/x")`.
    pub fn global(service: &str, account: &AccountId, resource: impl fmt::Display) -> Self {
        Self(format!("arn:aws:{service}::{account}:{resource}"))
    }

    /// A managed policy of AWS's own; `name` includes its path (`service-role/...`).
    pub fn aws_managed_policy(name: &str) -> Self {
        Self(format!("arn:aws:iam::aws:policy/{name}"))
    }

    /// A function, or with a qualifier one of its versions or aliases.
    pub fn function(at: &Scope, name: &str, qualifier: Option<&str>) -> Self {
        match qualifier {
            None => Self::regional("lambda", at, format_args!("function:{name}")),
            Some(qualifier) => {
                Self::regional("lambda", at, format_args!("function:{name}:{qualifier}"))
            }
        }
    }

    /// A layer, or one of its versions.
    pub fn layer(at: &Scope, name: &str, version: Option<i64>) -> Self {
        match version {
            None => Self::regional("lambda", at, format_args!("layer:{name}")),
            Some(version) => Self::regional("lambda", at, format_args!("layer:{name}:{version}")),
        }
    }

    /// The managed runtime whose version has this fingerprint (64 hex digits), as INIT_START prints it.
    pub fn runtime(region: &str, fingerprint: &str) -> Self {
        Self(format!("arn:aws:lambda:{region}::runtime:{fingerprint}"))
    }

    /// A bucket. Their names are unique without account and region.
    pub fn bucket(name: &str) -> Self {
        Self(format!("arn:aws:s3:::{name}"))
    }

    /// An object in a bucket.
    pub fn object(bucket: &str, key: &str) -> Self {
        Self(format!("arn:aws:s3:::{bucket}/{key}"))
    }

    /// A log group.
    pub fn log_group(at: &Scope, name: &str) -> Self {
        Self::regional("logs", at, format_args!("log-group:{name}"))
    }

    /// A log stream.
    pub fn log_stream(at: &Scope, group: &str, stream: &str) -> Self {
        Self::regional(
            "logs",
            at,
            format_args!("log-group:{group}:log-stream:{stream}"),
        )
    }

    /// A group of EventBridge Scheduler's schedules.
    pub fn schedule_group(at: &Scope, group: &str) -> Self {
        Self::regional("scheduler", at, format_args!("schedule-group/{group}"))
    }

    /// A schedule of EventBridge Scheduler.
    pub fn schedule(at: &Scope, group: &str, name: &str) -> Self {
        Self::regional("scheduler", at, format_args!("schedule/{group}/{name}"))
    }

    /// The secret in which AWS keeps what a connection of EventBridge's proves itself with.
    pub fn connection_secret(at: &Scope, name: &str, id: &str) -> Self {
        // AWS puts six characters behind the name of every secret.
        let random = id.get(..6).unwrap_or(id);
        let resource = format_args!("secret:events!connection/{name}/{id}-{random}");
        Self::regional("secretsmanager", at, resource)
    }

    /// An event bus.
    pub fn event_bus(at: &Scope, name: &str) -> Self {
        Self::regional("events", at, format_args!("event-bus/{name}"))
    }

    /// A rule. Those of the default bus do not name it.
    pub fn rule(at: &Scope, bus: &str, name: &str) -> Self {
        match bus {
            "default" => Self::regional("events", at, format_args!("rule/{name}")),
            bus => Self::regional("events", at, format_args!("rule/{bus}/{name}")),
        }
    }

    /// An archive of EventBridge's.
    pub fn archive(at: &Scope, name: &str) -> Self {
        Self::regional("events", at, format_args!("archive/{name}"))
    }

    /// A replay of EventBridge's.
    pub fn replay(at: &Scope, name: &str) -> Self {
        Self::regional("events", at, format_args!("replay/{name}"))
    }

    /// A connection of EventBridge's; without its id, all that had or have the name.
    pub fn connection(at: &Scope, name: &str, id: Option<&str>) -> Self {
        let id = id.unwrap_or(ANY);
        Self::regional("events", at, format_args!("connection/{name}/{id}"))
    }

    /// An API destination of EventBridge's; without its id, all that had or have the name.
    pub fn api_destination(at: &Scope, name: &str, id: Option<&str>) -> Self {
        let id = id.unwrap_or(ANY);
        Self::regional("events", at, format_args!("api-destination/{name}/{id}"))
    }

    /// The account's root user, which stands for the whole account in policies.
    pub fn root(account: &AccountId) -> Self {
        Self::global("iam", account, "root")
    }

    /// A role; `path` begins and ends with `/`.
    pub fn role(account: &AccountId, path: &str, name: &str) -> Self {
        Self::global("iam", account, format_args!("role{path}{name}"))
    }

    /// A user; `path` begins and ends with `/`.
    pub fn user(account: &AccountId, path: &str, name: &str) -> Self {
        Self::global("iam", account, format_args!("user{path}{name}"))
    }

    /// One session of a role.
    pub fn assumed_role(account: &AccountId, role: &str, session: &str) -> Self {
        Self::global(
            "sts",
            account,
            format_args!("assumed-role/{role}/{session}"),
        )
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition, `aws` for all that is made here.
    pub fn partition(&self) -> &str {
        self.part(1)
    }

    /// The service, such as `lambda`.
    pub fn service(&self) -> &str {
        self.part(2)
    }

    /// The region; empty for global services.
    pub fn region(&self) -> &str {
        self.part(3)
    }

    /// The account; empty where the service leaves it out.
    pub fn account(&self) -> &str {
        self.part(4)
    }

    /// All after the fifth colon; `*` for [`Arn::any`].
    pub fn resource(&self) -> &str {
        if self.0 == ANY { ANY } else { self.part(5) }
    }

    fn part(&self, index: usize) -> &str {
        let mut rest = self.0.as_bytes();
        // `*` has one part.
        for _ in 0..index {
            match rest.iter().position(|b| *b == b':') {
                Some(colon) => rest = &rest[colon + 1..],
                None => return "",
            }
        }
        let end = match index {
            5 => None,
            _ => rest.iter().position(|b| *b == b':'),
        };
        let from = self.0.len() - rest.len();
        &self.0[from..from + end.unwrap_or(rest.len())]
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl crate::Shape for Arn {
    fn decode(node: crate::Node, at: &mut crate::Decoder) -> Option<Self> {
        let text = at.string(node)?;
        let arn = Self::parse(&text);
        if arn.is_none() {
            at.violation(
                &text,
                "Member must satisfy regular expression pattern: arn:[^:]+:[^:]+:[^:]*:[^:]*:.+",
            );
        }
        arn
    }
    fn encode(self) -> crate::Node {
        crate::Node::from(self.0)
    }
    fn schema() -> crate::Schema {
        crate::Schema::String
    }
}
