//! Policy documents as text: strict JSON, known elements only, each at most once
//! (`IAM/latest/UserGuide/reference_policies_grammar.html`).

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::condition::Condition;
use super::glob::{Pattern, Syntax};
use super::principal::{Kind, Principals, is_partition};
use super::{Actions, Effect, Flavour, Policy, PolicyError, Resources, Statement};

/// What an IAM ARN in a policy may name.
pub(super) const IAM_PATHS: [&str; 13] = [
    "user/",
    "federated-user/",
    "role/",
    "group/",
    "instance-profile/",
    "mfa/",
    "server-certificate/",
    "policy/",
    "sms-mfa/",
    "saml-provider/",
    "oidc-provider/",
    "report/",
    "access-report/",
];

type Result<T> = std::result::Result<T, PolicyError>;

/// Reads a document and compiles it.
pub(super) fn parse(text: &str, flavour: Flavour) -> Result<Policy> {
    if text.len() > super::DOCUMENT_BYTES_MAX {
        return Err(PolicyError::TooLarge);
    }
    let broken = || {
        if flavour == Flavour::Trust {
            PolicyError::InvalidJson
        } else {
            PolicyError::Syntax
        }
    };
    let whole: &RawValue = serde_json::from_str(text).map_err(|_| broken())?;
    let (mut version, mut id, mut raw) = (Version::V2008, None, Vec::new());
    for (element, value) in object(whole)? {
        match element.as_str() {
            "Version" => version = Version::parse(&string(value)?)?,
            "Id" => id = Some(string(value)?),
            "Statement" => raw = statements(value)?,
            _ => return Err(PolicyError::Syntax),
        }
    }
    if raw.is_empty() {
        return Err(PolicyError::Syntax);
    }
    let written = raw
        .into_iter()
        .map(|raw| Ok((Written::parse(raw)?, span(text, raw))))
        .collect::<Result<Vec<_>>>()?;
    if flavour == Flavour::Managed && version != Version::V2012 {
        return Err(PolicyError::OldVersion);
    }
    sids_differ(&written)?;
    let statements = written
        .into_iter()
        .map(|(statement, span)| statement.compile(span, version == Version::V2012, flavour))
        .collect::<Result<_>>()?;
    Ok(Policy { id, statements })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V2008,
    V2012,
}

impl Version {
    fn parse(text: &str) -> Result<Self> {
        match text {
            "2008-10-17" => Ok(Self::V2008),
            "2012-10-17" => Ok(Self::V2012),
            _ => Err(PolicyError::Syntax),
        }
    }
}

/// An element with its `Not` twin.
struct Either {
    values: Vec<String>,
    not: bool,
}

/// A statement as written: every element of the right type, nothing compiled.
#[derive(Default)]
struct Written {
    sid: Option<String>,
    effect: Option<Effect>,
    principal: Option<(Named, bool)>,
    action: Option<Either>,
    resource: Option<Either>,
    /// Operator, key, values.
    conditions: Vec<(String, String, Vec<String>)>,
}

/// The two forms of a `Principal`.
enum Named {
    Everyone,
    List(Vec<(Kind, String)>),
}

impl Written {
    fn parse(raw: &RawValue) -> Result<Self> {
        let mut written = Self::default();
        for (element, value) in object(raw)? {
            match element.as_str() {
                "Sid" => written.sid = Some(string(value)?),
                "Effect" => written.effect = Some(effect(&string(value)?)?),
                "Principal" | "NotPrincipal" => {
                    fill(
                        &mut written.principal,
                        (principal(value)?, element.starts_with("Not")),
                    )?;
                }
                "Action" | "NotAction" => fill(&mut written.action, either(&element, value)?)?,
                "Resource" | "NotResource" => {
                    fill(&mut written.resource, either(&element, value)?)?
                }
                "Condition" => written.conditions = conditions(value)?,
                _ => return Err(PolicyError::Syntax),
            }
        }
        Ok(written)
    }

    fn compile(self, span: Range<usize>, variables: bool, flavour: Flavour) -> Result<Statement> {
        let effect = self.effect.ok_or(PolicyError::Syntax)?;
        if flavour != Flavour::Resource
            && self
                .sid
                .as_ref()
                .is_some_and(|sid| !sid.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        {
            return Err(PolicyError::SidCharacters);
        }
        let principals = principals(self.principal, flavour)?;
        let action = self
            .action
            .filter(|action| !action.values.is_empty())
            .ok_or(PolicyError::NoActions)?;
        let resources = resources(self.resource, variables, flavour)?;
        let actions = actions(&action, flavour)?;
        let conditions = self
            .conditions
            .iter()
            .map(|(operator, key, values)| Condition::parse(operator, key, values, variables))
            .collect::<Result<_>>()?;
        Ok(Statement {
            sid: self.sid.map(Into::into),
            effect,
            principals,
            actions,
            resources,
            conditions,
            span,
        })
    }
}

fn sids_differ(written: &[(Written, Range<usize>)]) -> Result<()> {
    let mut seen = HashSet::new();
    for sid in written
        .iter()
        .filter_map(|(statement, _)| statement.sid.as_deref())
        .filter(|sid| !sid.is_empty())
    {
        if !seen.insert(sid) {
            return Err(PolicyError::DuplicateSid);
        }
    }
    Ok(())
}

fn principals(written: Option<(Named, bool)>, flavour: Flavour) -> Result<Option<Principals>> {
    let wanted = matches!(flavour, Flavour::Resource | Flavour::Trust);
    match written {
        None if wanted => Err(PolicyError::MissingPrincipal),
        None => Ok(None),
        Some(_) if !wanted => Err(PolicyError::PrincipalInIdentityPolicy),
        // A trust policy is about who may, never about who may not.
        Some((_, true)) if flavour == Flavour::Trust => {
            Err(PolicyError::Prohibited("NotPrincipal"))
        }
        Some((Named::Everyone, not)) => Ok(Some(Principals::everyone(not))),
        Some((Named::List(list), not)) => Principals::parse(&list, not).map(Some),
    }
}

fn actions(written: &Either, flavour: Flavour) -> Result<Actions> {
    for action in &written.values {
        check_action(action)?;
    }
    if flavour == Flavour::Trust
        && (written.not || !written.values.iter().all(|action| assumes(action)))
    {
        return Err(PolicyError::NotAssumeRole);
    }
    // Actions compare without regard to case; both sides are lowered.
    let patterns = written
        .values
        .iter()
        .map(|action| {
            Pattern::text(
                &action.to_ascii_lowercase(),
                Syntax {
                    variables: false,
                    wildcards: true,
                },
            )
        })
        .collect();
    Ok(Actions {
        patterns,
        not: written.not,
    })
}

fn assumes(action: &str) -> bool {
    let action = action.to_ascii_lowercase();
    action.strip_prefix("sts:").is_some_and(|name| {
        name == "*"
            || name.starts_with("assumerole")
            || matches!(
                name,
                "tagsession" | "setsourceidentity" | "setcontext" | "assume*"
            )
    })
}

fn check_action(action: &str) -> Result<()> {
    if action == "*" {
        return Ok(());
    }
    let (vendor, name) = action.split_once(':').ok_or(PolicyError::NoVendor)?;
    if name.contains(':') {
        return Err(PolicyError::TwoColons);
    }
    let known = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.');
    if vendor != "*" && (vendor.is_empty() || !vendor.chars().all(known)) {
        return Err(PolicyError::Vendor(vendor.to_owned()));
    }
    Ok(())
}

fn resources(
    written: Option<Either>,
    variables: bool,
    flavour: Flavour,
) -> Result<Option<Resources>> {
    let Some(written) = written else {
        return if flavour == Flavour::Trust {
            Ok(None)
        } else {
            Err(PolicyError::NoResources)
        };
    };
    if flavour == Flavour::Trust {
        return Err(PolicyError::Prohibited("Resource"));
    }
    if written.values.is_empty() {
        return Err(PolicyError::NoResources);
    }
    for resource in &written.values {
        check_resource(resource)?;
    }
    let patterns = written
        .values
        .iter()
        .map(|text| Pattern::resource(text, variables))
        .collect();
    Ok(Some(Resources {
        patterns,
        not: written.not,
    }))
}

fn check_resource(resource: &str) -> Result<()> {
    if resource == "*" {
        return Ok(());
    }
    let parts: Vec<&str> = resource.splitn(6, ':').collect();
    if parts[0] != "arn" || parts.len() < 2 {
        return Err(PolicyError::NotAnArn(resource.to_owned()));
    }
    let part = |at: usize| {
        parts
            .get(at)
            .copied()
            .filter(|part| !part.is_empty() || at + 1 < parts.len())
            .unwrap_or("*")
    };
    if parts.len() < 3 || parts[2].is_empty() || parts[2].contains(['*', '?']) && parts[2] != "*" {
        return Err(PolicyError::ResourceVendor);
    }
    // `*` for the partition is how policies are written that serve several partitions.
    if !is_partition(parts[1]) && parts[1] != "*" {
        let resource = format!(
            "arn:{}:{}:{}:{}:{}",
            parts[1],
            part(2),
            part(3),
            part(4),
            part(5)
        );
        return Err(PolicyError::Partition {
            partition: parts[1].to_owned(),
            resource,
        });
    }
    if parts[2] == "iam" {
        return check_iam(resource, &parts);
    }
    Ok(())
}

fn check_iam(resource: &str, parts: &[&str]) -> Result<()> {
    if parts.get(3).is_some_and(|region| !region.is_empty()) {
        return Err(PolicyError::IamRegion(resource.to_owned()));
    }
    match parts.get(5) {
        Some(&("*" | "root")) => Ok(()),
        Some(path) if IAM_PATHS.iter().any(|start| path.starts_with(start)) => Ok(()),
        _ => Err(PolicyError::IamPath),
    }
}

// The JSON below: one level at a time, over the raw text, so that a statement's place in the document is known.

fn statements(value: &RawValue) -> Result<Vec<&RawValue>> {
    match first(value) {
        b'[' => serde_json::from_str(value.get()).map_err(|_| PolicyError::Syntax),
        _ => Ok(vec![value]),
    }
}

fn effect(text: &str) -> Result<Effect> {
    match text {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        _ if text.eq_ignore_ascii_case("allow") || text.eq_ignore_ascii_case("deny") => {
            Err(PolicyError::Legacy)
        }
        _ => Err(PolicyError::Syntax),
    }
}

fn either(element: &str, value: &RawValue) -> Result<Either> {
    Ok(Either {
        values: strings(value)?,
        not: element.starts_with("Not"),
    })
}

/// An element and its `Not` twin exclude each other.
fn fill<T>(slot: &mut Option<T>, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(PolicyError::Syntax),
    }
}

fn principal(value: &RawValue) -> Result<Named> {
    if first(value) == b'"' {
        let text = string(value)?;
        if text == "*" {
            return Ok(Named::Everyone);
        }
        return Err(PolicyError::InvalidPrincipal(format!("\"{text}\"")));
    }
    let mut list = Vec::new();
    for (kind, value) in object(value)? {
        let kind = Kind::parse(&kind)?;
        list.extend(strings(value)?.into_iter().map(|text| (kind, text)));
    }
    Ok(Named::List(list))
}

fn conditions(value: &RawValue) -> Result<Vec<(String, String, Vec<String>)>> {
    let mut conditions = Vec::new();
    for (operator, keys) in object(value)? {
        for (key, values) in object(keys)? {
            let values = match first(values) {
                b'[' => serde_json::from_str::<Vec<Scalar>>(values.get())
                    .map_err(|_| PolicyError::Syntax)?,
                _ => vec![serde_json::from_str(values.get()).map_err(|_| PolicyError::Syntax)?],
            };
            conditions.push((
                operator.clone(),
                key,
                values.into_iter().map(|Scalar(text)| text).collect(),
            ));
        }
    }
    Ok(conditions)
}

/// "string", number or Boolean: the grammar's `condition_value`, as text.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        match first(raw) {
            b'"' => serde_json::from_str(raw.get())
                .map(Self)
                .map_err(serde::de::Error::custom),
            b'[' | b'{' | b'n' => Err(serde::de::Error::custom("not a scalar")),
            _ => Ok(Self(raw.get().to_owned())),
        }
    }
}

fn first(value: &RawValue) -> u8 {
    value.get().as_bytes().first().copied().unwrap_or_default()
}

fn string(value: &RawValue) -> Result<String> {
    serde_json::from_str(value.get()).map_err(|_| PolicyError::Syntax)
}

fn strings(value: &RawValue) -> Result<Vec<String>> {
    match first(value) {
        b'[' => serde_json::from_str(value.get()).map_err(|_| PolicyError::Syntax),
        _ => Ok(vec![string(value)?]),
    }
}

fn object(value: &RawValue) -> Result<Vec<(String, &RawValue)>> {
    let Members(members) = serde_json::from_str(value.get()).map_err(|_| PolicyError::Syntax)?;
    Ok(members)
}

fn span(text: &str, part: &RawValue) -> Range<usize> {
    // The part borrows from the text, so the distance of their addresses is its place.
    let start = part.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + part.get().len()
}

/// A JSON object whose keys must differ: of two elements with one name, a reader and a parser may each believe in another.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(Members)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        let mut seen = HashSet::new();
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            if !seen.insert(key.clone()) {
                return Err(serde::de::Error::custom("repeated key"));
            }
            members.push((key, value));
        }
        Ok(members)
    }
}
