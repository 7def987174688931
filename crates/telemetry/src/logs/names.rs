//! Names of groups and streams as they come over the wire, and how requests point at a group.

use wire::{Arn, Scope, number, text};

use crate::{Error, Result};

text! {
    /// A log group's name.
    pub struct LogGroupName: 1..=512, r"[\.\-_/#A-Za-z0-9]+";
    /// A part of log group names, for searches.
    pub struct LogGroupNamePattern: 0..=512, r"[\.\-_/#A-Za-z0-9]*";
    /// A log stream's name.
    pub struct LogStreamName: 1..=512, r"[^:*]*";
    /// A log group's name or ARN.
    pub struct LogGroupIdentifier: 1..=2048, r"[\w#+=/:,.@-]*";
    /// What a call answered for the next one.
    pub struct NextToken: 1..=usize::MAX;
    /// A filter pattern, still to be compiled.
    pub struct FilterPattern: 0..=1024;
}

number! {
    /// How many groups or streams a page may have.
    pub struct DescribeLimit: 1..=50;
    /// How many events a page may have.
    pub struct EventsLimit: 1..=10_000;
    /// Milliseconds since 1970.
    pub struct EventTime: 0..=i64::MAX;
}

/// The page size of DescribeLogGroups and DescribeLogStreams when none is asked for.
pub(super) const DESCRIBE_LIMIT: usize = 50;

impl DescribeLimit {
    /// The page size asked for, or the usual one.
    pub(super) fn or_default(limit: Option<Self>) -> usize {
        limit.map_or(DESCRIBE_LIMIT, |limit| usize::from_i64(limit.get()))
    }
}

/// A number that was checked to be small and positive.
pub(super) trait FromChecked {
    fn from_i64(value: i64) -> Self;
}

impl FromChecked for usize {
    fn from_i64(value: i64) -> Self {
        Self::try_from(value).unwrap_or(Self::MAX)
    }
}

/// The stream name too long for the store. 512 characters may be 2,048 bytes, and the store's names hold that many in
/// all; AWS has no such limit, but nobody has such names either.
const STREAM_BYTES_MAX: usize = 1536;

/// Refuses stream names that the store cannot hold.
pub(super) fn storable(stream: &LogStreamName) -> Result<&str> {
    if stream.len() > STREAM_BYTES_MAX || stream.contains('\0') {
        return Err(Error::InvalidParameter(format!(
            "The log stream name must have at most {STREAM_BYTES_MAX} bytes and no NUL."
        )));
    }
    Ok(stream)
}

/// The resource of actions on a group as a whole. AWS authorizes them with this empty stream, which is why policies
/// need `:*` behind the group's name.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html>
pub(super) fn group_resource(at: &Scope, group: &str) -> Arn {
    Arn::log_stream(at, group, "")
}

/// The group that `logGroupName` or `logGroupIdentifier` points at.
pub(super) fn one_of<'a>(
    at: &Scope,
    name: Option<&'a LogGroupName>,
    identifier: Option<&'a LogGroupIdentifier>,
) -> Result<&'a str> {
    match (name, identifier) {
        (Some(name), None) => Ok(name),
        (None, Some(identifier)) => identified(at, identifier),
        (Some(_), Some(_)) => Err(Error::InvalidParameter(
            "LogGroup name and LogGroup ARN are mutually exclusive parameters.".into(),
        )),
        (None, None) => Err(Error::InvalidParameter(
            "Either LogGroup name or LogGroup ARN must be specified.".into(),
        )),
    }
}

/// For authorization, which must name a resource even when the request will be refused.
pub(super) fn resource_of(
    at: &Scope,
    name: Option<&LogGroupName>,
    identifier: Option<&LogGroupIdentifier>,
) -> String {
    one_of(at, name, identifier).unwrap_or_default().to_owned()
}

/// The group's name in an identifier, which is a name or an ARN of this account and region without `:*`.
pub(super) fn identified<'a>(at: &Scope, identifier: &'a str) -> Result<&'a str> {
    if !identifier.contains(':') {
        return LogGroupName::new(identifier)
            .map(|_| identifier)
            .map_err(|_| invalid_identifier(identifier));
    }
    arn_group(at, identifier)
}

/// The group's name in an ARN of this account and region.
pub(super) fn arn_group<'a>(at: &Scope, arn: &'a str) -> Result<&'a str> {
    let parsed = Arn::parse(arn).ok_or_else(|| invalid_identifier(arn))?;
    let here = parsed.service() == "logs"
        && parsed.region() == &*at.region
        && parsed.account() == &*at.account;
    if parsed.service() == "logs" && !here {
        // Another account's groups are reached only through observability links, which are not built.
        return Err(Error::GroupNotFound);
    }
    // The slice is taken from the text itself so that it outlives the parsed copy.
    arn.splitn(6, ':')
        .nth(5)
        .and_then(|resource| resource.strip_prefix("log-group:"))
        .filter(|name| LogGroupName::new(*name).is_ok())
        .ok_or_else(|| invalid_identifier(arn))
}

fn invalid_identifier(identifier: &str) -> Error {
    Error::InvalidParameter(format!("Invalid log group identifier: {identifier}"))
}
