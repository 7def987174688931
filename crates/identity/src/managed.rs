//! The managed policies that AWS keeps. The documents are AWS's own; those of `ReadOnlyAccess`, `SecurityAudit` and
//! `ViewOnlyAccess` are cut down to the services that functions use.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, OnceLock};

use serde::Deserialize;
use serde_json::value::RawValue;
use wire::Arn;

use crate::policy::{Attached, Flavour, Policy};

/// One policy on each line: name, path, dates, version, document.
static DATA: &str = include_str!("../data/aws_managed_policies.jsonl");

static BY_ARN: LazyLock<BTreeMap<String, AwsPolicy>> = LazyLock::new(|| {
    DATA.lines()
        .map(|line| {
            let written: Written = serde_json::from_str(line)
                .expect("the file is part of the program, read by a test");
            let policy = AwsPolicy::from(written);
            (policy.arn.clone(), policy)
        })
        .collect()
});

#[derive(Deserialize)]
struct Written<'a> {
    name: String,
    path: String,
    created: String,
    updated: String,
    version: String,
    #[serde(borrow)]
    document: &'a RawValue,
}

/// A managed policy of AWS's own.
pub(crate) struct AwsPolicy {
    pub arn: String,
    pub name: String,
    pub path: String,
    pub id: String,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub version: String,
    pub document: String,
    compiled: OnceLock<Attached>,
}

impl From<Written<'_>> for AwsPolicy {
    fn from(written: Written<'_>) -> Self {
        let name = format!("{}{}", written.path.trim_start_matches('/'), written.name);
        Self {
            arn: Arn::aws_managed_policy(&name).to_string(),
            id: id(&written.name),
            name: written.name,
            path: written.path,
            created_ms: moment(&written.created),
            updated_ms: moment(&written.updated),
            version: written.version,
            document: written.document.get().to_owned(),
            compiled: OnceLock::new(),
        }
    }
}

impl AwsPolicy {
    /// The policy, compiled at its first use.
    pub fn attached(&self) -> Attached {
        let compile = || Attached {
            name: self.arn.as_str().into(),
            policy: Arc::new(
                Policy::parse(&self.document, Flavour::Managed)
                    .expect("every document is parsed by a test"),
            ),
        };
        self.compiled.get_or_init(compile).clone()
    }
}

fn moment(text: &str) -> i64 {
    let moment: jiff::Timestamp = text
        .parse()
        .expect("the file is part of the program, read by a test");
    moment.as_millisecond()
}

/// A stable id in the form of AWS's. Not AWS's own: those are nowhere published.
fn id(name: &str) -> String {
    let digest = wire::sigv4::sha256(name.as_bytes());
    let letters = digest
        .iter()
        .take(17)
        .map(|byte| char::from(b'A' + byte % 26));
    format!("ANPA{}", letters.collect::<String>())
}

pub(crate) fn find(arn: &str) -> Option<&'static AwsPolicy> {
    BY_ARN.get(arn)
}

/// All, ordered by ARN.
pub(crate) fn all() -> impl Iterator<Item = &'static AwsPolicy> {
    BY_ARN.values()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_valid() {
        assert!(all().count() >= 60);
        for policy in all() {
            assert!(
                policy.attached().policy.sids().count() > 0,
                "{}",
                policy.name
            );
        }
        assert!(
            find(Arn::aws_managed_policy("service-role/AWSLambdaBasicExecutionRole").as_str())
                .is_some()
        );
    }
}
