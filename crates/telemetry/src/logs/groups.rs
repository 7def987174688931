//! Log groups: made, listed, kept for a time, deleted.

use wire::{Arn, Context, Error as Refused, List, Operation, Scope, Shape, number, text};

use super::archive::{Group, stored_bytes};
use super::names::{
    DescribeLimit, FromChecked, LogGroupIdentifier, LogGroupName, LogGroupNamePattern, NextToken,
    group_resource, identified,
};
use super::tags::Tags;
use super::{Logs, retention};
use crate::{Error, Result, page_token};

text! {
    /// A KMS key's ARN.
    pub struct KmsKeyId: 0..=256;
    /// A regular expression of sorts over names: up to five parts, each perhaps anchored at the begin.
    pub struct NameRegex: 3..=129, r"(\^?[\.\-_\/#A-Za-z0-9]{3,24})(\|\^?[\.\-_\/#A-Za-z0-9]{3,24}){0,4}";
    /// An account.
    pub struct AccountIdentifier: 12..=12, r"^\d{12}$";
}

number! {
    /// How many groups a page of ListLogGroups may have.
    pub struct ListLimit: 1..=1000;
}

/// Groups looked at in one step of a search by a part of the name.
const SEARCH_STEP: usize = 1000;

/// What a group's events cost and can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LogGroupClass {
    /// Everything.
    Standard,
    /// Cheaper on AWS, and without Live Tail.
    InfrequentAccess,
    /// Only for delivery elsewhere; not built.
    Delivery,
    /// Only the essentials; not built.
    Essentials,
}

/// Makes a log group.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct CreateLogGroup {
    log_group_name: LogGroupName,
    kms_key_id: Option<KmsKeyId>,
    tags: Option<Tags>,
    log_group_class: Option<LogGroupClass>,
    deletion_protection_enabled: Option<bool>,
}

impl Operation for CreateLogGroup {
    type Service = Logs;
    type Output = ();
    const NAME: &'static str = "CreateLogGroup";

    fn resource(&self, at: &Scope) -> Arn {
        group_resource(at, &self.log_group_name)
    }
    fn condition_keys(&self, _: &Logs, _: &Context) -> wire::Keys {
        self.tags
            .as_ref()
            .map(Tags::condition_keys)
            .unwrap_or_default()
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<(), Refused> {
        if self.kms_key_id.is_some() {
            // There is no KMS here; a key that is stored and never used would be a lie.
            return Err(Error::InvalidParameter(format!(
                "The specified KMS key does not exist or is not allowed to be used with LogGroup '{}'",
                Arn::log_group(&cx.scope, &self.log_group_name)
            ))
            .into());
        }
        let class = self.log_group_class.unwrap_or(LogGroupClass::Standard);
        if matches!(class, LogGroupClass::Delivery | LogGroupClass::Essentials) {
            return Err(Error::InvalidParameter(format!(
                "The log group class {class} is not supported."
            ))
            .into());
        }
        let mut group = Group {
            class: class.as_str().into(),
            protected: self.deletion_protection_enabled.unwrap_or_default(),
            ..Group::new(cx.now_ms)
        };
        if let Some(tags) = &self.tags {
            tags.add_to(&mut group.tags)?;
        }
        let created = logs
            .archive
            .create_group(&cx.scope, &self.log_group_name, &group);
        Ok(created.await?)
    }
}

/// Deletes a log group and everything in it.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DeleteLogGroup.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct DeleteLogGroup {
    log_group_name: LogGroupName,
}

impl Operation for DeleteLogGroup {
    type Service = Logs;
    type Output = ();
    const NAME: &'static str = "DeleteLogGroup";

    fn resource(&self, at: &Scope) -> Arn {
        group_resource(at, &self.log_group_name)
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<(), Refused> {
        let deleted = logs.archive.delete_group(&cx.scope, &self.log_group_name);
        Ok(deleted.await?)
    }
}

/// Keeps a group's events for a number of days.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct PutRetentionPolicy {
    log_group_name: LogGroupName,
    retention_in_days: i64,
}

impl Operation for PutRetentionPolicy {
    type Service = Logs;
    type Output = ();
    const NAME: &'static str = "PutRetentionPolicy";

    fn resource(&self, at: &Scope) -> Arn {
        group_resource(at, &self.log_group_name)
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<(), Refused> {
        let days = self.retention_in_days;
        if !retention::DAYS.contains(&days) {
            let set: Vec<String> = retention::DAYS.iter().map(ToString::to_string).collect();
            return Err(Error::InvalidParameter(format!(
                "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
                set.join(", ")
            ))
            .into());
        }
        set_retention(logs, cx, &self.log_group_name, Some(days)).await
    }
}

/// Keeps a group's events for ever.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DeleteRetentionPolicy.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct DeleteRetentionPolicy {
    log_group_name: LogGroupName,
}

impl Operation for DeleteRetentionPolicy {
    type Service = Logs;
    type Output = ();
    const NAME: &'static str = "DeleteRetentionPolicy";

    fn resource(&self, at: &Scope) -> Arn {
        group_resource(at, &self.log_group_name)
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<(), Refused> {
        set_retention(logs, cx, &self.log_group_name, None).await
    }
}

async fn set_retention(
    logs: &Logs,
    cx: &Context,
    group: &str,
    days: Option<i64>,
) -> Result<(), Refused> {
    let change = |group: &mut Group| {
        group.retention_days = days;
        Ok(())
    };
    Ok(logs.archive.change_group(&cx.scope, group, change).await?)
}

/// Lists log groups with what is known of them.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogGroups.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct DescribeLogGroups {
    account_identifiers: Option<List<AccountIdentifier, 0, 20>>,
    log_group_name_prefix: Option<LogGroupName>,
    log_group_name_pattern: Option<LogGroupNamePattern>,
    next_token: Option<NextToken>,
    limit: Option<DescribeLimit>,
    include_linked_accounts: Option<bool>,
    log_group_class: Option<LogGroupClass>,
    log_group_identifiers: Option<List<LogGroupIdentifier, 1, 50>>,
}

/// A page of groups.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct DescribeLogGroupsOutput {
    log_groups: Vec<LogGroup>,
    next_token: Option<String>,
}

/// A group as DescribeLogGroups shows it.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct LogGroup {
    log_group_name: String,
    creation_time: i64,
    retention_in_days: Option<i64>,
    metric_filter_count: i64,
    arn: String,
    stored_bytes: i64,
    log_group_class: String,
    log_group_arn: String,
    deletion_protection_enabled: bool,
}

impl Operation for DescribeLogGroups {
    type Service = Logs;
    type Output = DescribeLogGroupsOutput;
    const NAME: &'static str = "DescribeLogGroups";

    fn resource(&self, at: &Scope) -> Arn {
        group_resource(
            at,
            self.log_group_name_prefix.as_deref().unwrap_or_default(),
        )
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<DescribeLogGroupsOutput, Refused> {
        if self.log_group_name_prefix.is_some() && self.log_group_name_pattern.is_some() {
            return Err(Error::InvalidParameter(
                "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters."
                    .into(),
            )
            .into());
        }
        only_here(cx, self.account_identifiers.as_deref())?;
        let (found, next_token) = match &self.log_group_identifiers {
            Some(identifiers) => (self.named(logs, cx, identifiers).await?, None),
            None => {
                let pattern = self.log_group_name_pattern.as_deref().unwrap_or_default();
                Find {
                    prefix: self.log_group_name_prefix.as_deref().unwrap_or_default(),
                    matches: &|name| name.contains(pattern),
                    class: self.log_group_class,
                    limit: DescribeLimit::or_default(self.limit),
                }
                .run(logs, cx, self.next_token.as_deref())
                .await?
            }
        };
        let mut log_groups = Vec::with_capacity(found.len());
        for (name, group) in found {
            log_groups.push(described(logs, cx, name, group).await?);
        }
        Ok(DescribeLogGroupsOutput {
            log_groups,
            next_token,
        })
    }
}

impl DescribeLogGroups {
    async fn named(
        &self,
        logs: &Logs,
        cx: &Context,
        identifiers: &[LogGroupIdentifier],
    ) -> Result<Vec<(String, Group)>> {
        let other = self.log_group_name_prefix.is_some()
            || self.log_group_name_pattern.is_some()
            || self.log_group_class.is_some()
            || self.account_identifiers.is_some();
        if other {
            return Err(Error::InvalidParameter(
                "logGroupIdentifiers cannot be combined with other filters.".into(),
            ));
        }
        let mut found = Vec::new();
        for identifier in identifiers {
            let name = identified(&cx.scope, identifier)?;
            match logs.archive.group(&cx.scope, name).await {
                Ok(group) => found.push((name.to_owned(), group)),
                Err(Error::GroupNotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

async fn described(logs: &Logs, cx: &Context, name: String, group: Group) -> Result<LogGroup> {
    let infos = logs.archive.infos(&group, "").await?;
    let arn = Arn::log_group(&cx.scope, &name);
    Ok(LogGroup {
        creation_time: group.created_ms,
        retention_in_days: group.retention_days,
        metric_filter_count: 0,
        arn: format!("{arn}:*"),
        stored_bytes: infos.iter().map(|(_, info)| stored_bytes(info)).sum(),
        log_group_class: group.class,
        log_group_arn: arn.to_string(),
        deletion_protection_enabled: group.protected,
        log_group_name: name,
    })
}

/// Lists log groups by name.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_ListLogGroups.html>
///
/// Its filters by data source, field index and tag are not built. Ignored, they would be answered as if there were none,
/// so any value of them is refused.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct ListLogGroups {
    log_group_name_pattern: Option<NameRegex>,
    log_group_class: Option<LogGroupClass>,
    include_linked_accounts: Option<bool>,
    account_identifiers: Option<List<AccountIdentifier, 0, 20>>,
    next_token: Option<NextToken>,
    limit: Option<ListLimit>,
    data_sources: Option<Unfiltered>,
    field_index_names: Option<Unfiltered>,
    log_group_tags: Option<Unfiltered>,
}

/// A filter that is not built: any value of it is refused.
pub struct Unfiltered;

impl Shape for Unfiltered {
    fn decode(_: wire::Node, at: &mut wire::Decoder) -> Option<Self> {
        at.violation("", "Member is not supported by Mayfly yet");
        None
    }
    fn encode(self) -> wire::Node {
        wire::Node::Null
    }
    fn schema() -> wire::Schema {
        wire::Schema::Any
    }
}

/// A page of names.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct ListLogGroupsOutput {
    log_groups: Vec<LogGroupSummary>,
    next_token: Option<String>,
}

/// A group as ListLogGroups shows it.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct LogGroupSummary {
    log_group_name: String,
    log_group_arn: String,
    log_group_class: String,
}

impl Operation for ListLogGroups {
    type Service = Logs;
    type Output = ListLogGroupsOutput;
    const NAME: &'static str = "ListLogGroups";

    fn resource(&self, at: &Scope) -> Arn {
        group_resource(at, "")
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<ListLogGroupsOutput, Refused> {
        only_here(cx, self.account_identifiers.as_deref())?;
        let parts: Vec<&str> = match &self.log_group_name_pattern {
            Some(pattern) => pattern.split('|').collect(),
            None => vec![""],
        };
        let matches = |name: &str| {
            parts.iter().any(|part| match part.strip_prefix('^') {
                Some(start) => name.starts_with(start),
                None => name.contains(part),
            })
        };
        let (found, next_token) = Find {
            prefix: "",
            matches: &matches,
            class: self.log_group_class,
            limit: self.limit.map_or(super::names::DESCRIBE_LIMIT, |limit| {
                usize::from_i64(limit.get())
            }),
        }
        .run(logs, cx, self.next_token.as_deref())
        .await?;
        let log_groups = found.into_iter().map(|(name, group)| LogGroupSummary {
            log_group_arn: Arn::log_group(&cx.scope, &name).to_string(),
            log_group_class: group.class,
            log_group_name: name,
        });
        Ok(ListLogGroupsOutput {
            log_groups: log_groups.collect(),
            next_token,
        })
    }
}

/// Groups of other accounts are reached only through observability links, which are not built.
fn only_here(cx: &Context, accounts: Option<&[AccountIdentifier]>) -> Result<()> {
    match accounts.is_some_and(|all| all.iter().any(|a| a.as_str() != &*cx.scope.account)) {
        true => Err(Error::InvalidParameter(
            "The request contains account identifiers that are not linked to this account.".into(),
        )),
        false => Ok(()),
    }
}

/// A search for groups.
struct Find<'a> {
    prefix: &'a str,
    matches: &'a (dyn Fn(&str) -> bool + Sync),
    class: Option<LogGroupClass>,
    limit: usize,
}

impl Find<'_> {
    /// A page of what is found behind `token`, and the token of the next page if there is one.
    async fn run(
        &self,
        logs: &Logs,
        cx: &Context,
        token: Option<&str>,
    ) -> Result<(Vec<(String, Group)>, Option<String>)> {
        let mut after = match token {
            Some(token) => Some(page_token::read(token).ok_or(Error::LogsToken)?),
            None => None,
        };
        let mut found: Vec<(String, Group)> = Vec::new();
        loop {
            let step = logs
                .archive
                .groups(&cx.scope, self.prefix, after.as_deref(), SEARCH_STEP)
                .await?;
            let Some((last, _)) = step.last() else {
                return Ok((found, None));
            };
            after = Some(last.clone());
            for (name, group) in step {
                if !(self.matches)(&name) || self.class.is_some_and(|c| c.as_str() != group.class) {
                    continue;
                }
                if found.len() == self.limit {
                    let token = found.last().map(|(name, _)| page_token::write(name));
                    return Ok((found, token));
                }
                found.push((name, group));
            }
        }
    }
}
