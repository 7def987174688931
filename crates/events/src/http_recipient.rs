//! API destinations as targets: each delivery is one HTTP request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use delivery::{Delivery, Recipient, Refusal};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::time::Instant;
use wire::{Ask, Keys};

use crate::Events;
use crate::event::with_member;
use crate::http_client::{NoWay, Outbound, Request, send};
use crate::names::scope_of;
use crate::record::{
    AuthRecord, ConnectionRecord, DestinationRecord, HttpRecord, ParameterRecord, Place,
};

/// How long a delivery waits for its turn when an endpoint takes only so many calls a second.
const TURN_WAIT_MAX: Duration = Duration::from_secs(15);
/// How many endpoints' turns are remembered.
const TURNS_MAX: usize = 10_000;
/// A token that is good for less is asked for anew.
const TOKEN_MARGIN_MS: i64 = 60_000;
/// How long a token is taken to be good that does not say so.
const TOKEN_LIFE_S: i64 = 300;
/// What stands for itself in a part of a path or in a parameter.
const PLAIN: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'/')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// Headers that are the connection's own business.
const FORBIDDEN: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Takes deliveries for API destinations.
pub struct ApiDestinationRecipient {
    events: Events,
    out: Arc<dyn Outbound>,
    turns: Mutex<HashMap<String, Instant>>,
    tokens: Mutex<HashMap<String, Token>>,
}

/// What an endpoint gave us to show to another.
#[derive(Clone)]
struct Token {
    text: String,
    expires_ms: i64,
}

impl ApiDestinationRecipient {
    /// A recipient whose requests go out this way.
    pub fn new(events: Events, out: Arc<dyn Outbound>) -> Self {
        Self {
            events,
            out,
            turns: Mutex::default(),
            tokens: Mutex::default(),
        }
    }
}

#[async_trait]
impl Recipient for ApiDestinationRecipient {
    fn takes(&self, to: &wire::Arn) -> bool {
        to.service() == "events" && to.resource().starts_with("api-destination/")
    }

    async fn receive(&self, delivery: &Delivery) -> Result<(), Refusal> {
        let gone =
            |what: &str| Refusal::permanent("NO_RESOURCE", format!("The {what} is not there."));
        let found = self.events.destination_of_arn(&delivery.to);
        let destination = found.ok_or_else(|| gone("API destination"))?;
        let destination = &destination.record;
        self.authorize(delivery)?;
        let connection = wire::Arn::parse(&destination.connection);
        let connection = connection.and_then(|arn| self.events.connection_of_arn(&arn));
        let (_, _, connection) = connection.ok_or_else(|| gone("connection"))?;
        let connection = &connection.record;
        if !connection.authorized {
            let text = "The connection is deauthorized.";
            return Err(Refusal::permanent("NO_PERMISSIONS", text));
        }
        self.turn(destination).await?;
        let mut request = request(delivery, destination, connection)?;
        self.prove(connection, &mut request).await?;
        let (status, _) = send(&*self.out, request).await.map_err(refusal)?;
        if matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        ) {
            self.forget_token(connection);
        }
        judge(status)
    }
}

/// What a status means (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-api-destinations.html>).
fn judge(status: StatusCode) -> Result<(), Refusal> {
    let text = format!("The endpoint answered {status}.");
    match status.as_u16() {
        200..300 => Ok(()),
        401 | 407 | 409 | 429 | 500.. => Err(Refusal::transient("SDK_CLIENT_ERROR", text)),
        _ => Err(Refusal::permanent("SDK_CLIENT_ERROR", text)),
    }
}

fn refusal(why: NoWay) -> Refusal {
    match why {
        NoWay::Closed(text) => Refusal::permanent("ENDPOINT_NOT_REACHABLE", text),
        NoWay::Failed(text) => Refusal::transient("ENDPOINT_NOT_REACHABLE", text),
    }
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::permanent("INVALID_PARAMETER", text)
}

/// The request, but for what proves who sends it.
fn request(
    delivery: &Delivery,
    destination: &DestinationRecord,
    connection: &ConnectionRecord,
) -> Result<Request, Refusal> {
    let http = match delivery.parameters.get("HttpParameters") {
        Some(text) => serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?,
        None => HttpRecord::default(),
    };
    let method = destination.method.parse();
    let method: Method = method.map_err(|_| invalid("The method is not one of HTTP."))?;
    let mut headers = HeaderMap::new();
    let agent = HeaderValue::from_static("Amazon/EventBridge/ApiDestinations");
    headers.insert(USER_AGENT, agent);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    headers.insert(CONTENT_TYPE, json);
    let mut query: Vec<(String, String)> = http.query.into_iter().collect();
    let mut body = match method {
        Method::GET | Method::HEAD => Bytes::new(),
        _ => delivery.payload.clone(),
    };
    for (name, value) in &http.headers {
        insert(&mut headers, name, value)?;
    }
    // The connection's come last: it is not for the sender to change them.
    apply(
        &connection.parameters,
        &mut headers,
        &mut query,
        |name, value| {
            if !body.is_empty() {
                body = add_member(&body, name, value)?;
            }
            Ok(())
        },
    )?;
    Ok(Request {
        method,
        uri: uri(&destination.endpoint, &http.path_values, &query)?,
        headers,
        body,
    })
}

/// Puts the parameters of a connection into a request.
fn apply(
    parameters: &[ParameterRecord],
    headers: &mut HeaderMap,
    query: &mut Vec<(String, String)>,
    mut body: impl FnMut(&str, &str) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    for ParameterRecord {
        place, name, value, ..
    } in parameters
    {
        match place {
            Place::Header => insert(headers, name, value)?,
            Place::Query => {
                query.retain(|(known, _)| known != name);
                query.push((name.clone(), value.clone()));
            }
            Place::Body => body(name, value)?,
        }
    }
    Ok(())
}

fn add_member(body: &Bytes, name: &str, value: &str) -> Result<Bytes, Refusal> {
    let text = std::str::from_utf8(body).map_err(|_| invalid("The event is not UTF-8."))?;
    let with = with_member(text, name, value);
    let with = with.ok_or_else(|| invalid("Body parameters need a JSON object as body."))?;
    Ok(with.into())
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Refusal> {
    let wrong = || invalid(format!("{name} cannot be a header."));
    if FORBIDDEN.contains(&name.to_lowercase().as_str()) {
        return Err(wrong());
    }
    let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
    let mut value: HeaderValue = value.trim().parse().map_err(|_| wrong())?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

/// The endpoint with its `*` replaced by parts of the path in their order, and with the parameters behind its own.
fn uri(endpoint: &str, path: &[String], query: &[(String, String)]) -> Result<Uri, Refusal> {
    let encode = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
    let (address, own) = endpoint.split_once('?').unwrap_or((endpoint, ""));
    let mut parts = path.iter();
    let mut whole = String::new();
    for (index, piece) in address.split('*').enumerate() {
        if index > 0 {
            whole.push_str(
                &parts
                    .next()
                    .map_or_else(|| "*".to_owned(), |part| encode(part)),
            );
        }
        whole.push_str(piece);
    }
    let own = (!own.is_empty()).then(|| own.to_owned());
    let given = query.iter();
    let given = given.map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    let all: Vec<String> = own.into_iter().chain(given).collect();
    if !all.is_empty() {
        whole.push('?');
        whole.push_str(&all.join("&"));
    }
    whole
        .parse()
        .map_err(|_| invalid("The endpoint is not an address."))
}

impl ApiDestinationRecipient {
    /// The target's role must be allowed to call the destination.
    fn authorize(&self, delivery: &Delivery) -> Result<(), Refusal> {
        let denied = |why: String| Refusal::permanent("NO_PERMISSIONS", why);
        let sender = &delivery.from;
        if sender.role.is_none() {
            return Err(denied("An API destination needs a role.".to_owned()));
        }
        let at = scope_of(&delivery.to).unwrap_or_else(|| delivery.scope.clone());
        let home = scope_of(&sender.arn).map_or(delivery.scope.account, |at| at.account);
        let ask = Ask {
            action: "events:InvokeApiDestination",
            resource: &delivery.to,
            owner: None,
            keys: &Keys::new(),
            resource_policy: None,
        };
        let authority = self.events.authority();
        authority
            .may_deliver(sender, home, &at, &ask)
            .map_err(denied)
    }

    /// Waits until the endpoint may be called again.
    async fn turn(&self, destination: &DestinationRecord) -> Result<(), Refusal> {
        let apart = Duration::from_secs(1) / destination.per_second.max(1);
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if turns.len() > TURNS_MAX {
                turns.retain(|_, next| *next > now);
            }
            let next = turns.entry(destination.id.clone()).or_insert(now);
            let turn = (*next).max(now);
            if turn > now + TURN_WAIT_MAX {
                let text = "The endpoint's invocation rate limit is used up.";
                return Err(Refusal::transient("THROTTLED", text));
            }
            *next = turn + apart;
            turn
        };
        tokio::time::sleep_until(turn).await;
        Ok(())
    }

    /// Adds what proves who sends the request.
    async fn prove(
        &self,
        connection: &ConnectionRecord,
        request: &mut Request,
    ) -> Result<(), Refusal> {
        match &connection.auth {
            AuthRecord::Basic { username, password } => {
                use base64::Engine as _;
                let pair = format!("{username}:{password}");
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                insert(
                    &mut request.headers,
                    AUTHORIZATION.as_str(),
                    &format!("Basic {pair}"),
                )
            }
            AuthRecord::ApiKey { name, value } => insert(&mut request.headers, name, value),
            AuthRecord::OAuth { .. } => {
                let token = self.token(connection).await?;
                insert(
                    &mut request.headers,
                    AUTHORIZATION.as_str(),
                    &format!("Bearer {token}"),
                )
            }
        }
    }

    /// The token of a connection, asked for when there is none that is still good.
    async fn token(&self, connection: &ConnectionRecord) -> Result<String, Refusal> {
        let now_ms = self.events.now_ms();
        let key = token_key(connection);
        if let Some(token) = self.tokens().get(&key)
            && token.expires_ms > now_ms + TOKEN_MARGIN_MS
        {
            return Ok(token.text.clone());
        }
        let (status, body) = send(&*self.out, token_request(&connection.auth)?)
            .await
            .map_err(refusal)?;
        let no_token = |why: String| Refusal::transient("CONNECTION_NOT_AUTHORIZED", why);
        if !status.is_success() {
            let text = format!("The authorization endpoint answered {status}.");
            return Err(no_token(text));
        }
        #[derive(serde::Deserialize)]
        struct Given {
            access_token: String,
            expires_in: Option<i64>,
        }
        let given: Result<Given, _> = serde_json::from_slice(&body);
        let given =
            given.map_err(|_| no_token("The authorization endpoint gave no token.".to_owned()))?;
        let life_s = given.expires_in.unwrap_or(TOKEN_LIFE_S).max(0);
        let token = Token {
            text: given.access_token,
            expires_ms: now_ms.saturating_add(life_s.saturating_mul(1000)),
        };
        let mut tokens = self.tokens();
        if tokens.len() > TURNS_MAX {
            tokens.retain(|_, token| token.expires_ms > now_ms);
        }
        tokens.insert(key, token.clone());
        Ok(token.text)
    }

    fn forget_token(&self, connection: &ConnectionRecord) {
        self.tokens().remove(&token_key(connection));
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<String, Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that was changed has no token yet.
fn token_key(connection: &ConnectionRecord) -> String {
    format!("{}@{}", connection.id, connection.modified_ms)
}

/// Asks for a token (<https://www.rfc-editor.org/rfc/rfc6749#section-4.4>).
fn token_request(auth: &AuthRecord) -> Result<Request, Refusal> {
    let AuthRecord::OAuth {
        client_id,
        client_secret,
        endpoint,
        method,
        parameters,
    } = auth
    else {
        return Err(invalid("The connection has no authorization endpoint."));
    };
    let method: Method = method
        .parse()
        .map_err(|_| invalid("The method is not one of HTTP."))?;
    let mut headers = HeaderMap::new();
    let agent = HeaderValue::from_static("Amazon/EventBridge/ApiDestinations");
    headers.insert(USER_AGENT, agent);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let mut form = vec![
        ("grant_type".to_owned(), "client_credentials".to_owned()),
        ("client_id".to_owned(), client_id.clone()),
        ("client_secret".to_owned(), client_secret.clone()),
    ];
    let mut query = Vec::new();
    apply(parameters, &mut headers, &mut query, |name, value| {
        form.retain(|(known, _)| known != name);
        form.push((name.to_owned(), value.to_owned()));
        Ok(())
    })?;
    let mut body = Bytes::new();
    if method == Method::GET {
        query.extend(form);
    } else {
        let encode = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
        let pairs = form.iter();
        let pairs = pairs.map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        body = pairs.collect::<Vec<_>>().join("&").into();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, kind);
    }
    Ok(Request {
        method,
        uri: uri(endpoint, &[], &query)?,
        headers,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_uri(endpoint: &str, path: &[&str], query: &[(&str, &str)], expected: &str) {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let query: Vec<_> = query.iter().map(pair).collect();
        let made = uri(endpoint, &path, &query).map(|uri| uri.to_string());
        assert_eq!(made.as_deref(), Ok(expected));
    }

    #[test]
    fn addresses() {
        check_uri("https://x.test/a", &[], &[], "https://x.test/a");
        check_uri(
            "https://x.test/*/b/*",
            &["1", "2"],
            &[],
            "https://x.test/1/b/2",
        );
        // What comes out of an event stays within its part.
        check_uri(
            "https://x.test/*/b",
            &["../a?b#c"],
            &[],
            "https://x.test/..%2Fa%3Fb%23c/b",
        );
        check_uri(
            "https://x.test/a?k=v",
            &[],
            &[("q", "a&b"), ("r", "é")],
            "https://x.test/a?k=v&q=a%26b&r=%C3%A9",
        );
    }

    #[track_caller]
    fn check_status(status: u16, expected: Option<bool>) {
        let verdict = judge(StatusCode::from_u16(status).expect("a status"));
        assert_eq!(
            verdict.err().map(|refusal| refusal.transient),
            expected,
            "{status}"
        );
    }

    #[test]
    fn statuses() {
        for taken in [200, 201, 202, 204, 299] {
            check_status(taken, None);
        }
        for again in [401, 407, 409, 429, 500, 502, 503, 504, 599] {
            check_status(again, Some(true));
        }
        for never in [301, 302, 400, 402, 403, 404, 405, 410, 422] {
            check_status(never, Some(false));
        }
    }

    #[test]
    fn headers_of_the_connection_itself_are_not_given() {
        let mut headers = HeaderMap::new();
        for name in ["Host", "content-length", "Transfer-Encoding", "a b", ""] {
            assert!(insert(&mut headers, name, "x").is_err(), "{name}");
        }
        assert!(insert(&mut headers, "X-Key", "a\r\nb: c").is_err());
        assert!(insert(&mut headers, "X-Key", "secret").is_ok());
        assert!(!format!("{headers:?}").contains("secret"));
    }
}
