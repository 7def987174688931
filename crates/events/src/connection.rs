//! Connections: how to prove to an HTTP endpoint who calls
//! (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-target-connection.html>).
//!
//! Their secrets are in no reply and no log, and in the store they are sealed with a key that is not there. AWS keeps them in
//! Secrets Manager, which is not built: the `SecretArn` names nothing that could be fetched.

use std::sync::Arc;

use wire::{Arn, Context, Decoder, List, Node, Operation, Schema, Scope, Shape, Timestamp, text};

use crate::Events;
use crate::connection_shown::{AuthParametersOutput, auth_output};
use crate::error::Error;
use crate::names::{Description, KmsKeyIdentifier, Limit, NextToken, scope_of};
use crate::paging::page_of;
use crate::record::{
    AuthRecord, CONNECTIONS, ConnectionRecord, DestinationRecord, ParameterRecord, Place,
    connection_key, destinations_prefix,
};
use crate::shelf::{Edit, Held};
use crate::target::OtherService;

/// Connections in an account and region, AWS's default quota.
const CONNECTIONS_MAX: usize = 3000;

text! {
    /// A connection's name.
    pub struct ConnectionName: 1..=64, r"[\.\-_A-Za-z0-9]+";
    /// A user's name, a header's name, a client's id.
    pub struct AuthHeaderParameters: 1..=512, r"^[ \t]*[^\x00-\x1F:\x7F]+([ \t]+[^\x00-\x1F:\x7F]+)*[ \t]*$";
    /// An address on the web.
    pub struct HttpsEndpoint: 1..=2048, r"^((%[0-9A-Fa-f]{2}|[-()_.!~*';/?:@\x26=+$,A-Za-z0-9])+)([).!';/?:,])?$";
    /// A header's name.
    pub struct HeaderKey: 0..=512, r"^[!#$%&'*+-.^_`|~0-9a-zA-Z]+$";
    /// A parameter's name.
    pub struct QueryStringKey: 0..=512, r"[^\x00-\x1F\x7F]+";
}

/// Text that no log shows.
#[derive(Clone)]
pub struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Shape for Secret {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        let text = at.string(node)?.into_owned();
        // What goes into a header must fit there. The value is not told back.
        let sound = !text.is_empty() && text.len() <= 512 && !text.contains(['\r', '\n', '\0']);
        if !sound {
            at.violation(
                "***",
                "Member must have length between 1 and 512 and be one line",
            );
        }
        sound.then_some(Self(text))
    }
    fn encode(self) -> Node {
        Node::Null
    }
    fn schema() -> Schema {
        Schema::String
    }
}

/// How the caller proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuthorizationType {
    /// A name and a password.
    Basic,
    /// A token that another endpoint gives.
    OauthClientCredentials,
    /// A secret in a header.
    ApiKey,
}

/// Whether a connection can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectionState {
    /// Being made.
    Creating,
    /// Being changed.
    Updating,
    /// Being removed.
    Deleting,
    /// It can.
    Authorized,
    /// It cannot: its secrets were removed.
    Deauthorized,
    /// Not known yet: no token was asked for.
    Authorizing,
    /// Its secrets are being removed.
    Deauthorizing,
    /// It can, privately.
    Active,
    /// It cannot, privately.
    FailedConnectivity,
}

/// How a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OAuthHttpMethod {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
}

/// A name and a password.
#[derive(Debug, Clone, Shape)]
pub struct BasicAuthRequest {
    username: AuthHeaderParameters,
    password: Secret,
}

/// A secret in a header.
#[derive(Debug, Clone, Shape)]
pub struct ApiKeyAuthRequest {
    api_key_name: AuthHeaderParameters,
    api_key_value: Secret,
}

/// The client that asks for a token.
#[derive(Debug, Clone, Shape)]
pub struct OAuthClientRequest {
    #[shape(name = "ClientID")]
    client_id: AuthHeaderParameters,
    client_secret: Secret,
}

/// A token that another endpoint gives.
#[derive(Debug, Clone, Shape)]
pub struct OAuthRequest {
    client_parameters: OAuthClientRequest,
    authorization_endpoint: HttpsEndpoint,
    http_method: OAuthHttpMethod,
    o_auth_http_parameters: Option<HttpParameters>,
}

/// The same when a connection is changed: what is not given stays.
#[derive(Debug, Clone, Shape)]
pub struct BasicAuthUpdate {
    username: Option<AuthHeaderParameters>,
    password: Option<Secret>,
}

/// See [`ApiKeyAuthRequest`].
#[derive(Debug, Clone, Shape)]
pub struct ApiKeyAuthUpdate {
    api_key_name: Option<AuthHeaderParameters>,
    api_key_value: Option<Secret>,
}

/// See [`OAuthClientRequest`].
#[derive(Debug, Clone, Shape)]
pub struct OAuthClientUpdate {
    #[shape(name = "ClientID")]
    client_id: Option<AuthHeaderParameters>,
    client_secret: Option<Secret>,
}

/// See [`OAuthRequest`].
#[derive(Debug, Clone, Shape)]
pub struct OAuthUpdate {
    client_parameters: Option<OAuthClientUpdate>,
    authorization_endpoint: Option<HttpsEndpoint>,
    http_method: Option<OAuthHttpMethod>,
    o_auth_http_parameters: Option<HttpParameters>,
}

/// A header of every request.
#[derive(Debug, Clone, Shape)]
pub struct HeaderParameter {
    key: Option<HeaderKey>,
    value: Option<Secret>,
    is_value_secret: Option<bool>,
}

/// A parameter in the address of every request.
#[derive(Debug, Clone, Shape)]
pub struct QueryStringParameter {
    key: Option<QueryStringKey>,
    value: Option<Secret>,
    is_value_secret: Option<bool>,
}

/// A member of the body of every request.
#[derive(Debug, Clone, Shape)]
pub struct BodyParameter {
    key: Option<String>,
    value: Option<Secret>,
    is_value_secret: Option<bool>,
}

/// What every request has beside what its sender gives it.
#[derive(Debug, Clone, Default, Shape)]
pub struct HttpParameters {
    header_parameters: Option<List<HeaderParameter, 0, 100>>,
    query_string_parameters: Option<List<QueryStringParameter, 0, 100>>,
    body_parameters: Option<List<BodyParameter, 0, 100>>,
}

impl HttpParameters {
    /// As stored, if every parameter has a name and a value.
    fn records(self) -> Result<Vec<ParameterRecord>, Error> {
        let record = |place, key: Option<String>, value: Option<Secret>, secret: Option<bool>| {
            let (Some(name), Some(Secret(value))) = (key, value) else {
                let text = "Every HTTP parameter must have a Key and a Value.";
                return Err(Error::Invalid(text.to_owned()));
            };
            Ok(ParameterRecord {
                place,
                name,
                value,
                secret: secret.unwrap_or(false),
            })
        };
        let headers = self.header_parameters.into_iter().flatten();
        let queries = self.query_string_parameters.into_iter().flatten();
        let bodies = self.body_parameters.into_iter().flatten();
        let headers = headers.map(|p| {
            let key = p.key.map(HeaderKey::into_string);
            record(Place::Header, key, p.value, p.is_value_secret)
        });
        let queries = queries.map(|p| {
            let key = p.key.map(QueryStringKey::into_string);
            record(Place::Query, key, p.value, p.is_value_secret)
        });
        let bodies = bodies.map(|p| record(Place::Body, p.key, p.value, p.is_value_secret));
        headers.chain(queries).chain(bodies).collect()
    }
}

/// All that a new connection may have.
#[derive(Debug, Shape)]
pub struct CreateAuthParameters {
    basic_auth_parameters: Option<BasicAuthRequest>,
    o_auth_parameters: Option<OAuthRequest>,
    api_key_auth_parameters: Option<ApiKeyAuthRequest>,
    invocation_http_parameters: Option<HttpParameters>,
    connectivity_parameters: Option<OtherService>,
}

/// All that may be changed.
#[derive(Debug, Shape)]
pub struct UpdateAuthParameters {
    basic_auth_parameters: Option<BasicAuthUpdate>,
    o_auth_parameters: Option<OAuthUpdate>,
    api_key_auth_parameters: Option<ApiKeyAuthUpdate>,
    invocation_http_parameters: Option<HttpParameters>,
    connectivity_parameters: Option<OtherService>,
}

/// Private connectivity and keys of customers are not built.
fn refuse_unbuilt(private: bool, key: Option<&KmsKeyIdentifier>) -> Result<(), Error> {
    if private {
        return Err(Error::Unsupported {
            setting: "Private connectivity",
            advice: "Leave the connectivity parameters out.",
        });
    }
    if key.is_some_and(|key| !key.is_empty()) {
        return Err(Error::Unsupported {
            setting: "KmsKeyIdentifier",
            advice: "Mayfly has no KMS; leave it out.",
        });
    }
    Ok(())
}

/// AWS's words for parameters that are not those of the authorization type.
fn mismatched() -> Error {
    Error::Invalid("Only one of the auth parameters can be specified, and it must be that of the AuthorizationType.".to_owned())
}

/// Only addresses that say how they are reached are.
pub(crate) fn check_endpoint(endpoint: &str) -> Result<(), Error> {
    let uri: Result<http::Uri, _> = endpoint.parse();
    let sound = uri.is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri
                .authority()
                .is_some_and(|authority| !authority.as_str().contains('@'))
    });
    match sound {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "Parameter {endpoint} is not valid. Reason: The endpoint must be an http or https URL."
        ))),
    }
}

impl CreateAuthParameters {
    fn record(self, kind: AuthorizationType) -> Result<(AuthRecord, Vec<ParameterRecord>), Error> {
        refuse_unbuilt(self.connectivity_parameters.is_some(), None)?;
        let given = (
            self.basic_auth_parameters,
            self.o_auth_parameters,
            self.api_key_auth_parameters,
        );
        let auth = match (kind, given) {
            (AuthorizationType::Basic, (Some(basic), None, None)) => AuthRecord::Basic {
                username: basic.username.into_string(),
                password: basic.password.0,
            },
            (AuthorizationType::ApiKey, (None, None, Some(key))) => AuthRecord::ApiKey {
                name: key.api_key_name.into_string(),
                value: key.api_key_value.0,
            },
            (AuthorizationType::OauthClientCredentials, (None, Some(oauth), None)) => {
                check_endpoint(&oauth.authorization_endpoint)?;
                let http = oauth.o_auth_http_parameters.unwrap_or_default();
                AuthRecord::OAuth {
                    client_id: oauth.client_parameters.client_id.into_string(),
                    client_secret: oauth.client_parameters.client_secret.0,
                    endpoint: oauth.authorization_endpoint.into_string(),
                    method: oauth.http_method.as_str().to_owned(),
                    parameters: http.records()?,
                }
            }
            _ => return Err(mismatched()),
        };
        let http = self.invocation_http_parameters.unwrap_or_default();
        Ok((auth, http.records()?))
    }
}

impl UpdateAuthParameters {
    /// What the parameters are after the change.
    fn apply(
        self,
        kind: AuthorizationType,
        before: &ConnectionRecord,
    ) -> Result<(AuthRecord, Vec<ParameterRecord>), Error> {
        refuse_unbuilt(self.connectivity_parameters.is_some(), None)?;
        let parameters = match self.invocation_http_parameters {
            Some(http) => http.records()?,
            None => before.parameters.clone(),
        };
        // A connection that changes its type must say everything.
        let needed = || {
            Error::Invalid(
                "The auth parameters of the new AuthorizationType must be complete.".to_owned(),
            )
        };
        let need = |new: Option<String>, old: Option<&String>| {
            new.or_else(|| old.cloned()).ok_or_else(needed)
        };
        let auth = match kind {
            AuthorizationType::Basic => {
                let (username, password) = match &before.auth {
                    AuthRecord::Basic { username, password } => (Some(username), Some(password)),
                    _ => (None, None),
                };
                let new = self.basic_auth_parameters;
                let (name, secret) = new.map_or((None, None), |new| (new.username, new.password));
                AuthRecord::Basic {
                    username: need(name.map(AuthHeaderParameters::into_string), username)?,
                    password: need(secret.map(|secret| secret.0), password)?,
                }
            }
            AuthorizationType::ApiKey => {
                let (name, value) = match &before.auth {
                    AuthRecord::ApiKey { name, value } => (Some(name), Some(value)),
                    _ => (None, None),
                };
                let new = self.api_key_auth_parameters;
                let (key, secret) =
                    new.map_or((None, None), |new| (new.api_key_name, new.api_key_value));
                AuthRecord::ApiKey {
                    name: need(key.map(AuthHeaderParameters::into_string), name)?,
                    value: need(secret.map(|secret| secret.0), value)?,
                }
            }
            AuthorizationType::OauthClientCredentials => self.o_auth_parameters.map_or_else(
                || match &before.auth {
                    oauth @ AuthRecord::OAuth { .. } => Ok(oauth.clone()),
                    _ => Err(needed()),
                },
                |new| new.apply(&before.auth),
            )?,
        };
        Ok((auth, parameters))
    }
}

impl OAuthUpdate {
    fn apply(self, before: &AuthRecord) -> Result<AuthRecord, Error> {
        let needed = || {
            Error::Invalid(
                "The auth parameters of the new AuthorizationType must be complete.".to_owned(),
            )
        };
        if let Some(endpoint) = &self.authorization_endpoint {
            check_endpoint(endpoint)?;
        }
        let (id, secret) = self.client_parameters.map_or((None, None), |client| {
            (
                client.client_id.map(AuthHeaderParameters::into_string),
                client.client_secret.map(|secret| secret.0),
            )
        });
        let endpoint = self.authorization_endpoint.map(HttpsEndpoint::into_string);
        let method = self.http_method.map(|method| method.as_str().to_owned());
        let parameters = self.o_auth_http_parameters.map(HttpParameters::records);
        let parameters = parameters.transpose()?;
        match before {
            AuthRecord::OAuth {
                client_id,
                client_secret,
                endpoint: known_endpoint,
                method: known_method,
                parameters: known_parameters,
            } => Ok(AuthRecord::OAuth {
                client_id: id.unwrap_or_else(|| client_id.clone()),
                client_secret: secret.unwrap_or_else(|| client_secret.clone()),
                endpoint: endpoint.unwrap_or_else(|| known_endpoint.clone()),
                method: method.unwrap_or_else(|| known_method.clone()),
                parameters: parameters.unwrap_or_else(|| known_parameters.clone()),
            }),
            _ => Ok(AuthRecord::OAuth {
                client_id: id.ok_or_else(needed)?,
                client_secret: secret.ok_or_else(needed)?,
                endpoint: endpoint.ok_or_else(needed)?,
                method: method.ok_or_else(needed)?,
                parameters: parameters.unwrap_or_default(),
            }),
        }
    }
}

/// Makes a connection (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_CreateConnection.html>).
#[derive(Debug, Shape)]
pub struct CreateConnection {
    name: ConnectionName,
    description: Option<Description>,
    authorization_type: AuthorizationType,
    auth_parameters: CreateAuthParameters,
    invocation_connectivity_parameters: Option<OtherService>,
    kms_key_identifier: Option<KmsKeyIdentifier>,
}

/// The state of a connection that was made.
#[derive(Debug, Shape)]
pub struct CreateConnectionOutput {
    connection_arn: Option<String>,
    connection_state: Option<ConnectionState>,
    creation_time: Option<Timestamp>,
    last_modified_time: Option<Timestamp>,
}

impl Operation for CreateConnection {
    type Service = Events;
    type Output = CreateConnectionOutput;
    const NAME: &'static str = "CreateConnection";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::connection(at, &self.name, None)
    }

    async fn run(
        self,
        events: &Events,
        cx: &Context,
    ) -> Result<CreateConnectionOutput, wire::Error> {
        refuse_unbuilt(
            self.invocation_connectivity_parameters.is_some(),
            self.kms_key_identifier.as_ref(),
        )?;
        let connections = &events.inner.connections;
        let count = connections.list(&connections_prefix(&cx.scope)).len();
        let (auth, parameters) = self.auth_parameters.record(self.authorization_type)?;
        let record = ConnectionRecord {
            id: uuid::Uuid::new_v4().to_string(),
            description: self.description.map(Description::into_string),
            created_ms: cx.now_ms,
            modified_ms: cx.now_ms,
            authorized: true,
            auth,
            parameters,
        };
        let make = |before: Option<&ConnectionRecord>| {
            if before.is_some() {
                return Err(Error::Exists {
                    kind: "Connection",
                    name: self.name.to_string(),
                });
            }
            match count < CONNECTIONS_MAX {
                true => Ok(Edit::Put(record.clone(), ())),
                false => Err(Error::LimitExceeded),
            }
        };
        let key = connection_key(&cx.scope, &self.name);
        connections.change::<_, Error>(&key, make).await?;
        Ok(CreateConnectionOutput {
            connection_arn: Some(arn(cx, &self.name, &record)),
            connection_state: Some(state(&record)),
            creation_time: Some(Timestamp(record.created_ms)),
            last_modified_time: Some(Timestamp(record.modified_ms)),
        })
    }
}

fn connections_prefix(at: &Scope) -> String {
    format!("{CONNECTIONS}{}/", at.key())
}

fn arn(cx: &Context, name: &str, record: &ConnectionRecord) -> String {
    Arn::connection(&cx.scope, name, Some(&record.id)).to_string()
}

fn state(record: &ConnectionRecord) -> ConnectionState {
    match record.authorized {
        true => ConnectionState::Authorized,
        false => ConnectionState::Deauthorized,
    }
}

fn kind(record: &ConnectionRecord) -> AuthorizationType {
    match record.auth {
        AuthRecord::Basic { .. } => AuthorizationType::Basic,
        AuthRecord::ApiKey { .. } => AuthorizationType::ApiKey,
        AuthRecord::OAuth { .. } => AuthorizationType::OauthClientCredentials,
    }
}

/// Changes a connection (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_UpdateConnection.html>).
#[derive(Debug, Shape)]
pub struct UpdateConnection {
    name: ConnectionName,
    description: Option<Description>,
    authorization_type: Option<AuthorizationType>,
    auth_parameters: Option<UpdateAuthParameters>,
    invocation_connectivity_parameters: Option<OtherService>,
    kms_key_identifier: Option<KmsKeyIdentifier>,
}

/// The state of a connection that was changed.
#[derive(Debug, Shape)]
pub struct ConnectionOutput {
    connection_arn: Option<String>,
    connection_state: Option<ConnectionState>,
    creation_time: Option<Timestamp>,
    last_modified_time: Option<Timestamp>,
    last_authorized_time: Option<Timestamp>,
}

fn output(
    cx: &Context,
    name: &str,
    record: &ConnectionRecord,
    state: ConnectionState,
) -> ConnectionOutput {
    ConnectionOutput {
        connection_arn: Some(arn(cx, name, record)),
        connection_state: Some(state),
        creation_time: Some(Timestamp(record.created_ms)),
        last_modified_time: Some(Timestamp(record.modified_ms)),
        last_authorized_time: Some(Timestamp(record.modified_ms)),
    }
}

impl Operation for UpdateConnection {
    type Service = Events;
    type Output = ConnectionOutput;
    const NAME: &'static str = "UpdateConnection";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::connection(at, &self.name, None)
    }

    fn find_resource(&self, events: &Events, cx: &Context) -> Arn {
        events.connection_arn(cx, &self.name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<ConnectionOutput, wire::Error> {
        refuse_unbuilt(
            self.invocation_connectivity_parameters.is_some(),
            self.kms_key_identifier.as_ref(),
        )?;
        let mut given = self.auth_parameters;
        let before = events.connection(&cx.scope, &self.name)?;
        let kind = self
            .authorization_type
            .unwrap_or_else(|| kind(&before.record));
        let (auth, parameters) = match given.take() {
            Some(given) => given.apply(kind, &before.record)?,
            None if kind == self::kind(&before.record) => {
                (before.record.auth.clone(), before.record.parameters.clone())
            }
            None => return Err(mismatched().into()),
        };
        let description = self.description.map(Description::into_string);
        let update = |found: Option<&ConnectionRecord>| {
            // The parameters were made of what was there.
            let found = found.ok_or_else(|| no_connection(&self.name))?;
            let mut record = found.clone();
            record.description = description.clone().or(record.description);
            record.auth = auth.clone();
            record.parameters = parameters.clone();
            record.modified_ms = cx.now_ms;
            record.authorized = true;
            Ok(Edit::Put(record.clone(), record))
        };
        let key = connection_key(&cx.scope, &self.name);
        let record = events
            .inner
            .connections
            .change::<_, Error>(&key, update)
            .await?;
        Ok(output(cx, &self.name, &record, state(&record)))
    }
}

/// Forgets the secrets (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DeauthorizeConnection.html>).
#[derive(Debug, Shape)]
pub struct DeauthorizeConnection {
    name: ConnectionName,
}

impl Operation for DeauthorizeConnection {
    type Service = Events;
    type Output = ConnectionOutput;
    const NAME: &'static str = "DeauthorizeConnection";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::connection(at, &self.name, None)
    }

    fn find_resource(&self, events: &Events, cx: &Context) -> Arn {
        events.connection_arn(cx, &self.name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<ConnectionOutput, wire::Error> {
        let forget = |found: Option<&ConnectionRecord>| {
            let mut record = found.ok_or_else(|| no_connection(&self.name))?.clone();
            record.auth.forget();
            record.parameters.retain(|parameter| !parameter.secret);
            record.authorized = false;
            record.modified_ms = cx.now_ms;
            Ok(Edit::Put(record.clone(), record))
        };
        let key = connection_key(&cx.scope, &self.name);
        let record = events
            .inner
            .connections
            .change::<_, Error>(&key, forget)
            .await?;
        Ok(output(
            cx,
            &self.name,
            &record,
            ConnectionState::Deauthorizing,
        ))
    }
}

/// Removes a connection (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DeleteConnection.html>).
#[derive(Debug, Shape)]
pub struct DeleteConnection {
    name: ConnectionName,
}

impl Operation for DeleteConnection {
    type Service = Events;
    type Output = ConnectionOutput;
    const NAME: &'static str = "DeleteConnection";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::connection(at, &self.name, None)
    }

    fn find_resource(&self, events: &Events, cx: &Context) -> Arn {
        events.connection_arn(cx, &self.name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<ConnectionOutput, wire::Error> {
        let destinations = events
            .inner
            .destinations
            .list(&destinations_prefix(&cx.scope));
        let remove = |found: Option<&ConnectionRecord>| {
            let record = found.ok_or_else(|| no_connection(&self.name))?.clone();
            let arn = arn(cx, &self.name, &record);
            let used =
                |(_, held): &(String, Arc<Held<DestinationRecord>>)| held.record.connection == arn;
            match destinations.iter().any(used) {
                true => Err(Error::Invalid(format!(
                    "Connection {} is used by API destinations. Delete them first.",
                    self.name
                ))),
                false => Ok(Edit::Remove(record)),
            }
        };
        let key = connection_key(&cx.scope, &self.name);
        let record = events
            .inner
            .connections
            .change::<_, Error>(&key, remove)
            .await?;
        Ok(output(cx, &self.name, &record, ConnectionState::Deleting))
    }
}

/// A connection (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeConnection.html>).
#[derive(Debug, Shape)]
pub struct DescribeConnection {
    name: ConnectionName,
}

/// See [`DescribeConnection`].
#[derive(Debug, Shape)]
pub struct DescribeConnectionOutput {
    connection_arn: Option<String>,
    name: Option<String>,
    description: Option<String>,
    connection_state: Option<ConnectionState>,
    state_reason: Option<String>,
    authorization_type: Option<AuthorizationType>,
    secret_arn: Option<String>,
    kms_key_identifier: Option<String>,
    auth_parameters: Option<AuthParametersOutput>,
    creation_time: Option<Timestamp>,
    last_modified_time: Option<Timestamp>,
    last_authorized_time: Option<Timestamp>,
}

impl Operation for DescribeConnection {
    type Service = Events;
    type Output = DescribeConnectionOutput;
    const NAME: &'static str = "DescribeConnection";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::connection(at, &self.name, None)
    }

    fn find_resource(&self, events: &Events, cx: &Context) -> Arn {
        events.connection_arn(cx, &self.name)
    }

    async fn run(
        self,
        events: &Events,
        cx: &Context,
    ) -> Result<DescribeConnectionOutput, wire::Error> {
        let held = events.connection(&cx.scope, &self.name)?;
        let record = &held.record;
        Ok(DescribeConnectionOutput {
            connection_arn: Some(arn(cx, &self.name, record)),
            name: Some(self.name.to_string()),
            description: record.description.clone(),
            connection_state: Some(state(record)),
            state_reason: None,
            authorization_type: Some(kind(record)),
            secret_arn: Some(Arn::connection_secret(&cx.scope, &self.name, &record.id).to_string()),
            kms_key_identifier: None,
            auth_parameters: Some(auth_output(record)),
            creation_time: Some(Timestamp(record.created_ms)),
            last_modified_time: Some(Timestamp(record.modified_ms)),
            last_authorized_time: Some(Timestamp(record.modified_ms)),
        })
    }
}

/// The connections (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListConnections.html>).
#[derive(Debug, Shape)]
pub struct ListConnections {
    name_prefix: Option<ConnectionName>,
    connection_state: Option<ConnectionState>,
    next_token: Option<NextToken>,
    limit: Option<Limit>,
}

/// See [`ListConnections`].
#[derive(Debug, Shape)]
pub struct ListConnectionsOutput {
    connections: Option<Vec<Connection>>,
    next_token: Option<String>,
}

/// One connection of a list.
#[derive(Debug, Shape)]
pub struct Connection {
    connection_arn: Option<String>,
    name: Option<String>,
    connection_state: Option<ConnectionState>,
    state_reason: Option<String>,
    authorization_type: Option<AuthorizationType>,
    creation_time: Option<Timestamp>,
    last_modified_time: Option<Timestamp>,
    last_authorized_time: Option<Timestamp>,
}

impl Operation for ListConnections {
    type Service = Events;
    type Output = ListConnectionsOutput;
    const NAME: &'static str = "ListConnections";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(
        self,
        events: &Events,
        cx: &Context,
    ) -> Result<ListConnectionsOutput, wire::Error> {
        let show = |name: &str, record: &ConnectionRecord| {
            let wanted = self.connection_state;
            let wanted = wanted.is_none_or(|wanted| wanted == state(record));
            wanted.then(|| Connection {
                connection_arn: Some(arn(cx, name, record)),
                name: Some(name.to_owned()),
                connection_state: Some(state(record)),
                state_reason: None,
                authorization_type: Some(kind(record)),
                creation_time: Some(Timestamp(record.created_ms)),
                last_modified_time: Some(Timestamp(record.modified_ms)),
                last_authorized_time: Some(Timestamp(record.modified_ms)),
            })
        };
        let (connections, next_token) = page_of(
            &events.inner.connections,
            &connections_prefix(&cx.scope),
            self.name_prefix.as_deref(),
            (self.next_token.as_ref(), self.limit),
            show,
        )?;
        Ok(ListConnectionsOutput {
            connections: Some(connections),
            next_token,
        })
    }
}

fn no_connection(name: &str) -> Error {
    Error::NoConnection(name.to_owned())
}

impl Events {
    /// The connection.
    pub(crate) fn connection(
        &self,
        at: &Scope,
        name: &str,
    ) -> Result<Arc<Held<ConnectionRecord>>, Error> {
        let held = self.inner.connections.get(&connection_key(at, name));
        held.ok_or_else(|| no_connection(name))
    }

    /// The connection of an ARN, which has an id, so that one made anew under the same name is another.
    pub(crate) fn connection_of_arn(
        &self,
        arn: &Arn,
    ) -> Option<(Scope, String, Arc<Held<ConnectionRecord>>)> {
        let (name, id) = arn
            .resource()
            .strip_prefix("connection/")?
            .split_once('/')?;
        let at = scope_of(arn)?;
        let held = self.connection(&at, name).ok()?;
        (held.record.id == id).then(|| (at, name.to_owned(), held))
    }

    fn connection_arn(&self, cx: &Context, name: &str) -> Arn {
        let held = self.connection(&cx.scope, name).ok();
        let id = held.as_ref().map(|held| held.record.id.as_str());
        Arn::connection(&cx.scope, name, id)
    }
}
