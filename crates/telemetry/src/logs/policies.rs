//! Resource policies: which services may write into the groups of an account
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html>).
//!
//! They are policies of the account in a region, and a decision takes all of them together. Those of single groups
//! (`resourceArn`) are not built.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::record;
use store::{Expect, Kv};
use wire::{Arn, Context, Error as Refused, Operation, Scope, Shape, text};

use super::Logs;
use super::names::{DescribeLimit, NextToken};
use crate::{Error, Result};

/// Policies of an account in a region.
const POLICIES_MAX: usize = 10;
/// How often a change is tried anew after somebody else's came first.
const CHANGE_ATTEMPTS_MAX: usize = 10;

text! {
    /// A policy.
    pub struct PolicyDocument: 1..=51_200;
    /// The revision that a change expects.
    pub struct ExpectedRevisionId: 1..=usize::MAX;
}

/// What a policy belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PolicyScope {
    /// The account.
    Account,
    /// One group.
    Resource,
}

/// A resource policy in a reply.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct ResourcePolicy {
    policy_name: Option<String>,
    policy_document: Option<String>,
    last_updated_time: Option<i64>,
    policy_scope: Option<PolicyScope>,
    resource_arn: Option<String>,
    revision_id: Option<String>,
}

/// All policies of a scope, one record: `logs/policies:ACCOUNT/REGION`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Policies {
    by_name: BTreeMap<String, Stored>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    document: String,
    updated_ms: i64,
    revision_id: String,
}

store::first_version!(Policies);

fn key(at: &Scope) -> String {
    format!("logs/policies:{}", at.key())
}

async fn read(kv: &dyn Kv, at: &Scope) -> Result<(Policies, Expect)> {
    match kv.get(&key(at)).await? {
        Some(entry) => Ok((
            record::decode(&entry.value)?,
            Expect::Revision(entry.revision),
        )),
        None => Ok((Policies::default(), Expect::Absent)),
    }
}

async fn change<T>(
    kv: &dyn Kv,
    at: &Scope,
    edit: impl Fn(&mut Policies) -> Result<T> + Send + Sync,
) -> Result<T> {
    for _ in 0..CHANGE_ATTEMPTS_MAX {
        let (mut policies, expect) = read(kv, at).await?;
        let value = edit(&mut policies)?;
        match kv.put(&key(at), record::encode(&policies)?, expect).await {
            Ok(_) => return Ok(value),
            Err(store::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Aborted)
}

/// All policies of a scope as one document, for the authorizer; `None` when there are none.
pub(super) async fn whole(kv: &dyn Kv, at: &Scope) -> Result<Option<Arc<str>>> {
    let (policies, _) = read(kv, at).await?;
    let mut all = Vec::new();
    for stored in policies.by_name.values() {
        all.extend(statements(&stored.document).unwrap_or_default());
    }
    let whole = json!({ "Version": "2012-10-17", "Statement": all }).to_string();
    Ok((!all.is_empty()).then(|| whole.into()))
}

/// The statements of a document; `None` if it is none.
fn statements(document: &str) -> Option<Vec<Value>> {
    let mut document: Value = serde_json::from_str(document).ok()?;
    match document.get_mut("Statement")?.take() {
        Value::Array(all) => Some(all),
        one @ Value::Object(_) => Some(vec![one]),
        _ => None,
    }
}

fn not_of_groups(arn: Option<&String>) -> Result<()> {
    match arn {
        None => Ok(()),
        Some(_) => Err(Error::InvalidParameter(
            "resourceArn is not supported by Mayfly yet. Leave it out, and name the group in the policy's Resource."
                .into(),
        )),
    }
}

fn check_revision(expected: Option<&ExpectedRevisionId>, stored: Option<&Stored>) -> Result<()> {
    let Some(expected) = expected else {
        return Ok(());
    };
    match stored.is_some_and(|stored| stored.revision_id == expected.as_str()) {
        true => Ok(()),
        false => Err(Error::InvalidParameter(
            "The expectedRevisionId is not that of the policy.".into(),
        )),
    }
}

/// Makes or replaces a policy.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutResourcePolicy.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct PutResourcePolicy {
    policy_name: Option<String>,
    policy_document: Option<PolicyDocument>,
    resource_arn: Option<String>,
    expected_revision_id: Option<ExpectedRevisionId>,
}

/// See [`PutResourcePolicy`].
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct PutResourcePolicyOutput {
    resource_policy: Option<ResourcePolicy>,
    revision_id: Option<String>,
}

impl Operation for PutResourcePolicy {
    type Service = Logs;
    type Output = PutResourcePolicyOutput;
    const NAME: &'static str = "PutResourcePolicy";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<PutResourcePolicyOutput, Refused> {
        not_of_groups(self.resource_arn.as_ref())?;
        let missing = |name: &str| Error::InvalidParameter(format!("{name} must be specified."));
        let name = self.policy_name.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| missing("policyName"))?;
        let document = self
            .policy_document
            .ok_or_else(|| missing("policyDocument"))?;
        if statements(&document).is_none_or(|all| all.is_empty()) {
            let text = "The policy document is not a policy with statements.";
            return Err(Error::InvalidParameter(text.into()).into());
        }
        let stored = Stored {
            document: document.into_string(),
            updated_ms: cx.now_ms,
            revision_id: uuid::Uuid::new_v4().to_string(),
        };
        let put = |policies: &mut Policies| {
            check_revision(
                self.expected_revision_id.as_ref(),
                policies.by_name.get(&name),
            )?;
            policies.by_name.insert(name.clone(), stored.clone());
            match policies.by_name.len() > POLICIES_MAX {
                true => Err(Error::LimitExceeded("Resource limit exceeded.".into())),
                false => Ok(()),
            }
        };
        change(logs.archive.kv(), &cx.scope, put).await?;
        let revision_id = Some(stored.revision_id.clone());
        Ok(PutResourcePolicyOutput {
            resource_policy: Some(shown(name, stored)),
            revision_id,
        })
    }
}

fn shown(name: String, stored: Stored) -> ResourcePolicy {
    ResourcePolicy {
        policy_name: Some(name),
        policy_document: Some(stored.document),
        last_updated_time: Some(stored.updated_ms),
        policy_scope: Some(PolicyScope::Account),
        resource_arn: None,
        revision_id: Some(stored.revision_id),
    }
}

/// The policies.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeResourcePolicies.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct DescribeResourcePolicies {
    next_token: Option<NextToken>,
    limit: Option<DescribeLimit>,
    resource_arn: Option<String>,
    policy_scope: Option<PolicyScope>,
}

/// See [`DescribeResourcePolicies`].
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct DescribeResourcePoliciesOutput {
    resource_policies: Option<Vec<ResourcePolicy>>,
    next_token: Option<String>,
}

impl Operation for DescribeResourcePolicies {
    type Service = Logs;
    type Output = DescribeResourcePoliciesOutput;
    const NAME: &'static str = "DescribeResourcePolicies";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }
    async fn run(
        self,
        logs: &Logs,
        cx: &Context,
    ) -> Result<DescribeResourcePoliciesOutput, Refused> {
        let (policies, _) = read(logs.archive.kv(), &cx.scope).await?;
        let of_account =
            self.resource_arn.is_none() && self.policy_scope != Some(PolicyScope::Resource);
        let after = match &self.next_token {
            Some(token) => Some(crate::page_token::read(token).ok_or(Error::LogsToken)?),
            None => None,
        };
        let limit = DescribeLimit::or_default(self.limit);
        let mut left: Vec<_> = policies
            .by_name
            .into_iter()
            .filter(|(name, _)| of_account && after.as_ref().is_none_or(|after| name > after))
            .collect();
        let next_token = (left.len() > limit).then(|| crate::page_token::write(&left[limit - 1].0));
        left.truncate(limit);
        let shown = left.into_iter().map(|(name, stored)| shown(name, stored));
        Ok(DescribeResourcePoliciesOutput {
            resource_policies: Some(shown.collect()),
            next_token,
        })
    }
}

/// Removes a policy.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DeleteResourcePolicy.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct DeleteResourcePolicy {
    policy_name: Option<String>,
    resource_arn: Option<String>,
    expected_revision_id: Option<ExpectedRevisionId>,
}

impl Operation for DeleteResourcePolicy {
    type Service = Logs;
    type Output = ();
    const NAME: &'static str = "DeleteResourcePolicy";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<(), Refused> {
        not_of_groups(self.resource_arn.as_ref())?;
        let name = self.policy_name.unwrap_or_default();
        let remove = |policies: &mut Policies| {
            check_revision(
                self.expected_revision_id.as_ref(),
                policies.by_name.get(&name),
            )?;
            let removed = policies.by_name.remove(&name);
            removed.map(drop).ok_or(Error::PolicyNotFound)
        };
        Ok(change(logs.archive.kv(), &cx.scope, remove).await?)
    }
}
