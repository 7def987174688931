//! Log streams: made, listed, deleted.

use std::cmp::Reverse;
use std::collections::HashMap;

use store::StreamInfo;
use wire::{Arn, Context, Error as Refused, Operation, Scope, Shape};

use super::Logs;
use super::archive::{Group, Stream};
use super::names::{
    DescribeLimit, LogGroupIdentifier, LogGroupName, LogStreamName, NextToken, group_resource,
    one_of, resource_of, storable,
};
use crate::{Error, Result, page_token};

/// Makes a log stream.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogStream.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct CreateLogStream {
    log_group_name: LogGroupName,
    log_stream_name: LogStreamName,
}

impl Operation for CreateLogStream {
    type Service = Logs;
    type Output = ();
    const NAME: &'static str = "CreateLogStream";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::log_stream(at, &self.log_group_name, &self.log_stream_name)
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<(), Refused> {
        let stream = storable(&self.log_stream_name)?;
        let group = logs.archive.group(&cx.scope, &self.log_group_name).await?;
        Ok(logs
            .archive
            .create_stream(&group, stream, cx.now_ms)
            .await?)
    }
}

/// Deletes a log stream and its events.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DeleteLogStream.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct DeleteLogStream {
    log_group_name: LogGroupName,
    log_stream_name: LogStreamName,
}

impl Operation for DeleteLogStream {
    type Service = Logs;
    type Output = ();
    const NAME: &'static str = "DeleteLogStream";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::log_stream(at, &self.log_group_name, &self.log_stream_name)
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<(), Refused> {
        let stream = storable(&self.log_stream_name)?;
        let group = logs.archive.group(&cx.scope, &self.log_group_name).await?;
        Ok(logs.archive.delete_stream(&group, stream).await?)
    }
}

/// The order of a list of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum OrderBy {
    /// By name.
    LogStreamName,
    /// By the time of the latest event.
    LastEventTime,
}

/// Lists the streams of a group.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogStreams.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct DescribeLogStreams {
    log_group_name: Option<LogGroupName>,
    log_group_identifier: Option<LogGroupIdentifier>,
    log_stream_name_prefix: Option<LogStreamName>,
    order_by: Option<OrderBy>,
    descending: Option<bool>,
    next_token: Option<NextToken>,
    limit: Option<DescribeLimit>,
}

/// A page of streams.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct DescribeLogStreamsOutput {
    log_streams: Vec<LogStream>,
    next_token: Option<String>,
}

/// A stream as DescribeLogStreams shows it.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct LogStream {
    log_stream_name: String,
    creation_time: i64,
    first_event_timestamp: Option<i64>,
    last_event_timestamp: Option<i64>,
    last_ingestion_time: Option<i64>,
    upload_sequence_token: Option<String>,
    arn: String,
    stored_bytes: i64,
}

impl Operation for DescribeLogStreams {
    type Service = Logs;
    type Output = DescribeLogStreamsOutput;
    const NAME: &'static str = "DescribeLogStreams";

    fn resource(&self, at: &Scope) -> Arn {
        let group = resource_of(
            at,
            self.log_group_name.as_ref(),
            self.log_group_identifier.as_ref(),
        );
        group_resource(at, &group)
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<DescribeLogStreamsOutput, Refused> {
        let group_name = one_of(
            &cx.scope,
            self.log_group_name.as_ref(),
            self.log_group_identifier.as_ref(),
        )?;
        let by_time = self.order_by == Some(OrderBy::LastEventTime);
        if by_time && self.log_stream_name_prefix.is_some() {
            return Err(Error::InvalidParameter(
                "Cannot order by LastEventTime with a logStreamNamePrefix.".into(),
            )
            .into());
        }
        let after = match self.next_token.as_deref() {
            Some(token) => Some(page_token::read(token).ok_or(Error::LogsToken)?),
            None => None,
        };
        let group = logs.archive.group(&cx.scope, group_name).await?;
        let limit = DescribeLimit::or_default(self.limit);
        let descending = self.descending.unwrap_or_default();
        let mut page = match (by_time, descending) {
            (false, false) => {
                let prefix = self.log_stream_name_prefix.as_deref().unwrap_or_default();
                by_name(logs, &group, prefix, after.as_deref(), limit).await?
            }
            _ => {
                let prefix = self.log_stream_name_prefix.as_deref().unwrap_or_default();
                let listed = Listed::all(logs, &group, prefix).await?;
                Listed::page(listed, by_time, descending, after.as_deref(), limit)?
            }
        };
        let next_token = match page.len() > limit {
            true => {
                page.truncate(limit);
                page.last()
                    .map(|last| page_token::write(&last.place(by_time)))
            }
            false => None,
        };
        let mut log_streams = Vec::with_capacity(page.len());
        for listed in page {
            log_streams.push(described(logs, cx, group_name, &group, listed).await?);
        }
        Ok(DescribeLogStreamsOutput {
            log_streams,
            next_token,
        })
    }
}

/// A stream with what its journal knows.
struct Listed {
    name: String,
    stream: Stream,
    info: Option<StreamInfo>,
}

impl Listed {
    async fn all(logs: &Logs, group: &Group, prefix: &str) -> Result<Vec<Self>> {
        let infos = logs.archive.infos(group, prefix).await?;
        let mut infos: HashMap<String, StreamInfo> = infos.into_iter().collect();
        let streams = logs.archive.all_streams(group).await?.into_iter();
        let listed = streams
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, stream)| Self {
                info: infos.remove(&name),
                name,
                stream,
            });
        Ok(listed.collect())
    }

    /// Streams without events order before all others.
    fn last_ms(&self) -> i64 {
        self.info
            .as_ref()
            .and_then(|info| info.last_ms)
            .unwrap_or(i64::MIN)
    }

    /// Where the list goes on behind this one.
    fn place(&self, by_time: bool) -> String {
        match by_time {
            true => format!("{}:{}", self.last_ms(), self.name),
            false => self.name.clone(),
        }
    }

    /// One more than `limit`, if there are that many, behind `after`.
    fn page(
        mut all: Vec<Self>,
        by_time: bool,
        descending: bool,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Self>> {
        let key = |listed: &Self| {
            (
                if by_time { listed.last_ms() } else { 0 },
                listed.name.clone(),
            )
        };
        match descending {
            true => all.sort_by_key(|listed| Reverse(key(listed))),
            false => all.sort_by_key(key),
        }
        if let Some(after) = after {
            let place = match by_time {
                true => after
                    .split_once(':')
                    .and_then(|(ms, name)| Some((ms.parse().ok()?, name.to_owned())))
                    .ok_or(Error::LogsToken)?,
                false => (0, after.to_owned()),
            };
            all.retain(|listed| match descending {
                true => key(listed) < place,
                false => key(listed) > place,
            });
        }
        all.truncate(limit + 1);
        Ok(all)
    }
}

async fn by_name(
    logs: &Logs,
    group: &Group,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Listed>> {
    let streams = logs
        .archive
        .streams(group, prefix, after, limit + 1)
        .await?;
    let mut page = Vec::with_capacity(streams.len());
    for (name, stream) in streams {
        let info = logs.archive.info(group, &name).await?;
        page.push(Listed { name, stream, info });
    }
    Ok(page)
}

async fn described(
    logs: &Logs,
    cx: &Context,
    group_name: &str,
    group: &Group,
    listed: Listed,
) -> Result<LogStream> {
    let Listed { name, stream, info } = listed;
    let last_ingestion_time = match info {
        Some(_) => logs.archive.last_ingestion_ms(group, &name).await?,
        None => None,
    };
    Ok(LogStream {
        arn: Arn::log_stream(&cx.scope, group_name, &name).to_string(),
        creation_time: stream.created_ms,
        first_event_timestamp: info.as_ref().and_then(|info| info.first_ms),
        last_event_timestamp: info.as_ref().and_then(|info| info.last_ms),
        last_ingestion_time,
        upload_sequence_token: info
            .as_ref()
            .map(|info| super::events::sequence_token(info.last_seq)),
        // "Beginning on June 17, 2019, this parameter was deprecated for log streams, and is reported as zero."
        stored_bytes: 0,
        log_stream_name: name,
    })
}
