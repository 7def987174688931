//! API destinations: HTTP endpoints as targets
//! (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-api-destinations.html>). How they are called is in
//! [`crate::http_recipient`].

use std::sync::Arc;

use wire::{Arn, Context, Operation, Scope, Shape, Timestamp, number, text};

use crate::Events;
use crate::connection::{HttpsEndpoint, check_endpoint};
use crate::error::Error;
use crate::names::{Description, Limit, NextToken, scope_of};
use crate::paging::page_of;
use crate::record::{DestinationRecord, destination_key, destinations_prefix};
use crate::shelf::{Edit, Held};

/// API destinations in an account and region, AWS's default quota.
const DESTINATIONS_MAX: usize = 3000;
/// Calls in a second, unless told otherwise.
const PER_SECOND_DEFAULT: u32 = 300;

text! {
    /// An API destination's name.
    pub struct ApiDestinationName: 1..=64, r"[\.\-_A-Za-z0-9]+";
    /// A connection's ARN.
    pub struct ConnectionArn: 1..=1600, r"^arn:aws([a-z]|\-)*:events:([a-z]|\d|\-)*:([0-9]{12})?:connection\/[\.\-_A-Za-z0-9]+\/[\-A-Za-z0-9]+$";
}

number! {
    /// Calls in a second.
    pub struct RateLimit: 1..=1_000_000;
}

/// How the endpoint is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HttpMethod {
    Post,
    Get,
    Head,
    Options,
    Put,
    Patch,
    Delete,
}

/// Whether an API destination can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DestinationState {
    /// It can.
    Active,
    /// Its connection cannot be used.
    Inactive,
}

/// Makes an API destination (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_CreateApiDestination.html>).
#[derive(Debug, Shape)]
pub struct CreateApiDestination {
    name: ApiDestinationName,
    description: Option<Description>,
    connection_arn: ConnectionArn,
    invocation_endpoint: HttpsEndpoint,
    http_method: HttpMethod,
    invocation_rate_limit_per_second: Option<RateLimit>,
}

/// The state of an API destination that was made or changed.
#[derive(Debug, Shape)]
pub struct ApiDestinationOutput {
    api_destination_arn: Option<String>,
    api_destination_state: Option<DestinationState>,
    creation_time: Option<Timestamp>,
    last_modified_time: Option<Timestamp>,
}

impl Operation for CreateApiDestination {
    type Service = Events;
    type Output = ApiDestinationOutput;
    const NAME: &'static str = "CreateApiDestination";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::api_destination(at, &self.name, None)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<ApiDestinationOutput, wire::Error> {
        events.check_connection(&self.connection_arn, cx)?;
        check_endpoint(&self.invocation_endpoint)?;
        let destinations = &events.inner.destinations;
        let count = destinations.list(&destinations_prefix(&cx.scope)).len();
        let record = DestinationRecord {
            id: uuid::Uuid::new_v4().to_string(),
            description: self.description.map(Description::into_string),
            connection: self.connection_arn.into_string(),
            endpoint: self.invocation_endpoint.into_string(),
            method: self.http_method.as_str().to_owned(),
            per_second: rate(self.invocation_rate_limit_per_second),
            created_ms: cx.now_ms,
            modified_ms: cx.now_ms,
        };
        let make = |before: Option<&DestinationRecord>| {
            if before.is_some() {
                return Err(Error::Exists {
                    kind: "ApiDestination",
                    name: self.name.to_string(),
                });
            }
            match count < DESTINATIONS_MAX {
                true => Ok(Edit::Put(record.clone(), ())),
                false => Err(Error::LimitExceeded),
            }
        };
        let key = destination_key(&cx.scope, &self.name);
        destinations.change::<_, Error>(&key, make).await?;
        Ok(output(events, cx, &self.name, &record))
    }
}

fn rate(limit: Option<RateLimit>) -> u32 {
    let limit = limit.and_then(|limit| u32::try_from(limit.get()).ok());
    limit.unwrap_or(PER_SECOND_DEFAULT)
}

fn output(
    events: &Events,
    cx: &Context,
    name: &str,
    record: &DestinationRecord,
) -> ApiDestinationOutput {
    ApiDestinationOutput {
        api_destination_arn: Some(arn(cx, name, record)),
        api_destination_state: Some(events.destination_state(record)),
        creation_time: Some(Timestamp(record.created_ms)),
        last_modified_time: Some(Timestamp(record.modified_ms)),
    }
}

fn arn(cx: &Context, name: &str, record: &DestinationRecord) -> String {
    Arn::api_destination(&cx.scope, name, Some(&record.id)).to_string()
}

/// Changes an API destination (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_UpdateApiDestination.html>).
#[derive(Debug, Shape)]
pub struct UpdateApiDestination {
    name: ApiDestinationName,
    description: Option<Description>,
    connection_arn: Option<ConnectionArn>,
    invocation_endpoint: Option<HttpsEndpoint>,
    http_method: Option<HttpMethod>,
    invocation_rate_limit_per_second: Option<RateLimit>,
}

impl Operation for UpdateApiDestination {
    type Service = Events;
    type Output = ApiDestinationOutput;
    const NAME: &'static str = "UpdateApiDestination";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::api_destination(at, &self.name, None)
    }

    fn find_resource(&self, events: &Events, cx: &Context) -> Arn {
        events.destination_arn(cx, &self.name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<ApiDestinationOutput, wire::Error> {
        if let Some(connection) = &self.connection_arn {
            events.check_connection(connection, cx)?;
        }
        if let Some(endpoint) = &self.invocation_endpoint {
            check_endpoint(endpoint)?;
        }
        let update = |found: Option<&DestinationRecord>| {
            let mut record = found.ok_or_else(|| no_destination(&self.name))?.clone();
            if let Some(description) = &self.description {
                record.description = Some(description.to_string());
            }
            if let Some(connection) = &self.connection_arn {
                record.connection = connection.to_string();
            }
            if let Some(endpoint) = &self.invocation_endpoint {
                record.endpoint = endpoint.to_string();
            }
            if let Some(method) = self.http_method {
                record.method = method.as_str().to_owned();
            }
            if self.invocation_rate_limit_per_second.is_some() {
                record.per_second = rate(self.invocation_rate_limit_per_second);
            }
            record.modified_ms = cx.now_ms;
            Ok(Edit::Put(record.clone(), record))
        };
        let key = destination_key(&cx.scope, &self.name);
        let record = events
            .inner
            .destinations
            .change::<_, Error>(&key, update)
            .await?;
        Ok(output(events, cx, &self.name, &record))
    }
}

/// Removes an API destination (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DeleteApiDestination.html>).
#[derive(Debug, Shape)]
pub struct DeleteApiDestination {
    name: ApiDestinationName,
}

/// See [`DeleteApiDestination`].
#[derive(Debug, Shape)]
pub struct DeleteApiDestinationOutput {}

impl Operation for DeleteApiDestination {
    type Service = Events;
    type Output = DeleteApiDestinationOutput;
    const NAME: &'static str = "DeleteApiDestination";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::api_destination(at, &self.name, None)
    }

    fn find_resource(&self, events: &Events, cx: &Context) -> Arn {
        events.destination_arn(cx, &self.name)
    }

    async fn run(
        self,
        events: &Events,
        cx: &Context,
    ) -> Result<DeleteApiDestinationOutput, wire::Error> {
        let remove = |found: Option<&DestinationRecord>| {
            found.ok_or_else(|| no_destination(&self.name))?;
            Ok(Edit::Remove(()))
        };
        let key = destination_key(&cx.scope, &self.name);
        events
            .inner
            .destinations
            .change::<_, Error>(&key, remove)
            .await?;
        Ok(DeleteApiDestinationOutput {})
    }
}

/// An API destination (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeApiDestination.html>).
#[derive(Debug, Shape)]
pub struct DescribeApiDestination {
    name: ApiDestinationName,
}

/// See [`DescribeApiDestination`].
#[derive(Debug, Shape)]
pub struct DescribeApiDestinationOutput {
    api_destination_arn: Option<String>,
    name: Option<String>,
    description: Option<String>,
    api_destination_state: Option<DestinationState>,
    connection_arn: Option<String>,
    invocation_endpoint: Option<String>,
    http_method: Option<HttpMethod>,
    invocation_rate_limit_per_second: Option<u32>,
    creation_time: Option<Timestamp>,
    last_modified_time: Option<Timestamp>,
}

impl Operation for DescribeApiDestination {
    type Service = Events;
    type Output = DescribeApiDestinationOutput;
    const NAME: &'static str = "DescribeApiDestination";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::api_destination(at, &self.name, None)
    }

    fn find_resource(&self, events: &Events, cx: &Context) -> Arn {
        events.destination_arn(cx, &self.name)
    }

    async fn run(
        self,
        events: &Events,
        cx: &Context,
    ) -> Result<DescribeApiDestinationOutput, wire::Error> {
        let held = events.destination(&cx.scope, &self.name)?;
        let record = held.record.clone();
        Ok(DescribeApiDestinationOutput {
            api_destination_arn: Some(arn(cx, &self.name, &record)),
            name: Some(self.name.to_string()),
            api_destination_state: Some(events.destination_state(&record)),
            description: record.description,
            connection_arn: Some(record.connection),
            invocation_endpoint: Some(record.endpoint),
            http_method: HttpMethod::parse(&record.method),
            invocation_rate_limit_per_second: Some(record.per_second),
            creation_time: Some(Timestamp(record.created_ms)),
            last_modified_time: Some(Timestamp(record.modified_ms)),
        })
    }
}

/// The API destinations (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListApiDestinations.html>).
#[derive(Debug, Shape)]
pub struct ListApiDestinations {
    name_prefix: Option<ApiDestinationName>,
    connection_arn: Option<ConnectionArn>,
    next_token: Option<NextToken>,
    limit: Option<Limit>,
}

/// See [`ListApiDestinations`].
#[derive(Debug, Shape)]
pub struct ListApiDestinationsOutput {
    api_destinations: Option<Vec<ApiDestination>>,
    next_token: Option<String>,
}

/// One API destination of a list.
#[derive(Debug, Shape)]
pub struct ApiDestination {
    api_destination_arn: Option<String>,
    name: Option<String>,
    api_destination_state: Option<DestinationState>,
    connection_arn: Option<String>,
    invocation_endpoint: Option<String>,
    http_method: Option<HttpMethod>,
    invocation_rate_limit_per_second: Option<u32>,
    creation_time: Option<Timestamp>,
    last_modified_time: Option<Timestamp>,
}

impl Operation for ListApiDestinations {
    type Service = Events;
    type Output = ListApiDestinationsOutput;
    const NAME: &'static str = "ListApiDestinations";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(
        self,
        events: &Events,
        cx: &Context,
    ) -> Result<ListApiDestinationsOutput, wire::Error> {
        let show = |name: &str, record: &DestinationRecord| {
            let wanted = self.connection_arn.as_deref();
            let wanted = wanted.is_none_or(|wanted| wanted == record.connection);
            wanted.then(|| ApiDestination {
                api_destination_arn: Some(arn(cx, name, record)),
                name: Some(name.to_owned()),
                api_destination_state: Some(events.destination_state(record)),
                connection_arn: Some(record.connection.clone()),
                invocation_endpoint: Some(record.endpoint.clone()),
                http_method: HttpMethod::parse(&record.method),
                invocation_rate_limit_per_second: Some(record.per_second),
                creation_time: Some(Timestamp(record.created_ms)),
                last_modified_time: Some(Timestamp(record.modified_ms)),
            })
        };
        let (destinations, next_token) = page_of(
            &events.inner.destinations,
            &destinations_prefix(&cx.scope),
            self.name_prefix.as_deref(),
            (self.next_token.as_ref(), self.limit),
            show,
        )?;
        Ok(ListApiDestinationsOutput {
            api_destinations: Some(destinations),
            next_token,
        })
    }
}

fn no_destination(name: &str) -> Error {
    Error::NoDestination(name.to_owned())
}

impl Events {
    /// The API destination.
    fn destination(&self, at: &Scope, name: &str) -> Result<Arc<Held<DestinationRecord>>, Error> {
        let held = self.inner.destinations.get(&destination_key(at, name));
        held.ok_or_else(|| no_destination(name))
    }

    /// The API destination of an ARN, which has an id, so that one made anew under the same name is another.
    pub(crate) fn destination_of_arn(&self, arn: &Arn) -> Option<Arc<Held<DestinationRecord>>> {
        let rest = arn.resource().strip_prefix("api-destination/")?;
        let (name, id) = rest.split_once('/')?;
        let held = self.destination(&scope_of(arn)?, name).ok()?;
        (held.record.id == id).then_some(held)
    }

    /// A connection that an API destination may have: one of this account and region.
    fn check_connection(&self, connection: &str, cx: &Context) -> Result<(), Error> {
        let arn = Arn::parse(connection).ok_or_else(|| Error::NotAnArn(connection.to_owned()))?;
        let found = self.connection_of_arn(&arn);
        match found.is_some_and(|(at, _, _)| at == cx.scope) {
            true => Ok(()),
            false => Err(Error::NoResource(arn)),
        }
    }

    fn destination_state(&self, record: &DestinationRecord) -> DestinationState {
        let connection = Arn::parse(&record.connection);
        let connection = connection.and_then(|arn| self.connection_of_arn(&arn));
        match connection.is_some_and(|(_, _, held)| held.record.authorized) {
            true => DestinationState::Active,
            false => DestinationState::Inactive,
        }
    }

    fn destination_arn(&self, cx: &Context, name: &str) -> Arn {
        let held = self.destination(&cx.scope, name).ok();
        let id = held.as_ref().map(|held| held.record.id.as_str());
        Arn::api_destination(&cx.scope, name, id)
    }
}
