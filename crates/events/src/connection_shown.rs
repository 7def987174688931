//! What is told of a connection: never a secret.

use wire::Shape;

use crate::connection::OAuthHttpMethod;
use crate::record::{AuthRecord, ConnectionRecord, ParameterRecord, Place};

/// What may be told of the parameters.
#[derive(Debug, Default, Shape)]
pub struct AuthParametersOutput {
    basic_auth_parameters: Option<BasicAuthOutput>,
    o_auth_parameters: Option<OAuthOutput>,
    api_key_auth_parameters: Option<ApiKeyOutput>,
    invocation_http_parameters: Option<HttpParametersOutput>,
}

/// See [`BasicAuthRequest`].
#[derive(Debug, Shape)]
pub struct BasicAuthOutput {
    username: Option<String>,
}

/// See [`ApiKeyAuthRequest`].
#[derive(Debug, Shape)]
pub struct ApiKeyOutput {
    api_key_name: Option<String>,
}

/// See [`OAuthRequest`].
#[derive(Debug, Shape)]
pub struct OAuthOutput {
    client_parameters: Option<OAuthClientOutput>,
    authorization_endpoint: Option<String>,
    http_method: Option<OAuthHttpMethod>,
    o_auth_http_parameters: Option<HttpParametersOutput>,
}

/// See [`OAuthClientRequest`].
#[derive(Debug, Shape)]
pub struct OAuthClientOutput {
    #[shape(name = "ClientID")]
    client_id: Option<String>,
}

/// See [`HttpParameters`].
#[derive(Debug, Default, Shape)]
pub struct HttpParametersOutput {
    header_parameters: Option<Vec<ParameterOutput>>,
    query_string_parameters: Option<Vec<ParameterOutput>>,
    body_parameters: Option<Vec<ParameterOutput>>,
}

/// A parameter, with its value unless that is secret.
#[derive(Debug, Shape)]
pub struct ParameterOutput {
    key: Option<String>,
    value: Option<String>,
    is_value_secret: Option<bool>,
}

fn parameters_output(records: &[ParameterRecord]) -> HttpParametersOutput {
    let of = |place: Place| {
        let here = records.iter().filter(|record| record.place == place);
        let shown = here.map(|record| ParameterOutput {
            key: Some(record.name.clone()),
            value: (!record.secret).then(|| record.value.clone()),
            is_value_secret: Some(record.secret),
        });
        let shown: Vec<_> = shown.collect();
        (!shown.is_empty()).then_some(shown)
    };
    HttpParametersOutput {
        header_parameters: of(Place::Header),
        query_string_parameters: of(Place::Query),
        body_parameters: of(Place::Body),
    }
}

pub(crate) fn auth_output(record: &ConnectionRecord) -> AuthParametersOutput {
    let mut output = AuthParametersOutput {
        invocation_http_parameters: (!record.parameters.is_empty())
            .then(|| parameters_output(&record.parameters)),
        ..AuthParametersOutput::default()
    };
    match &record.auth {
        AuthRecord::Basic { username, .. } => {
            let username = Some(username.clone());
            output.basic_auth_parameters = Some(BasicAuthOutput { username });
        }
        AuthRecord::ApiKey { name, .. } => {
            let api_key_name = Some(name.clone());
            output.api_key_auth_parameters = Some(ApiKeyOutput { api_key_name });
        }
        AuthRecord::OAuth {
            client_id,
            endpoint,
            method,
            parameters,
            ..
        } => {
            output.o_auth_parameters = Some(OAuthOutput {
                client_parameters: Some(OAuthClientOutput {
                    client_id: Some(client_id.clone()),
                }),
                authorization_endpoint: Some(endpoint.clone()),
                http_method: OAuthHttpMethod::parse(method),
                o_auth_http_parameters: (!parameters.is_empty())
                    .then(|| parameters_output(parameters)),
            });
        }
    }
    output
}
