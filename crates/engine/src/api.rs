//! The Runtime API (2018-06-01) and the Extensions API (2020-01-01) of one environment.
//!
//! [`Client::step`] reads one request, checks it against the environment's state, answers it, and says what happened.
//! Who drives a connection is not decided here: a task of its own, or the invocation that waits for it.
//!
//! Pages: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html> and
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::grant::{CREDENTIALS_PATH, Denied, Grant};
use crate::http::{Body, BodyPart, Connection, Head, Method};
use crate::spec::RESPONSE_BYTES_MAX;

/// Extensions of one environment, external and internal together.
pub(crate) const EXTENSIONS_MAX: usize = 10;
/// A registration or an error document of an extension or runtime.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

const ACCEPTED: &str = "202 Accepted";
const OK: &str = "200 OK";
const BAD_REQUEST: &str = "400 Bad Request";
const FORBIDDEN: &str = "403 Forbidden";
const NOT_FOUND: &str = "404 Not Found";
const TOO_LARGE: &str = "413 Payload Too Large";
const INTERNAL: &str = "500 Internal Server Error";
const NOT_IMPLEMENTED: &str = "501 Not Implemented";

/// What a request meant for the environment.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The runtime asks for the next event; its connection waits for it.
    Next,
    /// The answer to the current event.
    Answer(Bytes),
    /// The answer to the current event was larger than AWS allows.
    AnswerTooLarge,
    /// The answer begins, and follows in parts.
    StreamStart { content_type: Option<String> },
    /// A part of the answer.
    StreamChunk(Bytes),
    /// The end of the answer, well or with an error that the runtime tells in trailers.
    StreamEnd { error: Option<RuntimeError> },
    /// The connection broke while the answer was on its way.
    StreamBroken,
    /// The runtime reports that the handler failed.
    Error(RuntimeError),
    /// The runtime reports that it cannot start.
    InitError(RuntimeError),
    /// An extension asks for its next event; its connection waits for it.
    ExtensionNext(usize),
    /// An extension registered.
    ExtensionRegistered,
    /// An extension reports that it cannot go on.
    ExtensionFailed {
        error_type: &'static str,
        name: String,
        reason: String,
    },
    /// The request was answered and changes nothing.
    Nothing,
    /// The client went away.
    Closed,
}

/// An error document and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeError {
    pub(crate) body: Bytes,
    pub(crate) error_type: Option<String>,
}

/// The state that requests are checked against. Held for moments only.
pub(crate) struct Api {
    state: Mutex<State>,
    function: FunctionFacts,
    grant: Arc<Grant>,
}

/// What an extension is told when it registers.
pub(crate) struct FunctionFacts {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) handler: String,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// Init is over: nobody may register any more, and no init error can be reported.
    ready: bool,
    extensions: Vec<Extension>,
    /// File names in /opt/extensions; anybody else who registers is internal.
    external: Vec<String>,
}

struct Current {
    request_id: String,
    invocation_id: String,
    answered: bool,
}

/// A registered extension.
#[derive(Clone, Debug)]
pub(crate) struct Extension {
    pub(crate) name: String,
    id: String,
    pub(crate) invoke: bool,
    pub(crate) shutdown: bool,
    pub(crate) external: bool,
}

impl Api {
    pub(crate) fn new(function: FunctionFacts, external: Vec<String>, grant: Arc<Grant>) -> Api {
        Api {
            state: Mutex::new(State {
                external,
                ..State::default()
            }),
            function,
            grant,
        }
    }

    /// Makes `request_id` the invocation that answers are accepted for.
    pub(crate) fn begin(&self, request_id: &str, invocation_id: &str) {
        let mut state = self.state();
        state.ready = true;
        state.current = Some(Current {
            request_id: request_id.to_owned(),
            invocation_id: invocation_id.to_owned(),
            answered: false,
        });
    }

    /// Accepts no answer any more.
    pub(crate) fn end(&self) {
        self.state().current = None;
    }

    /// Forgets everything about the processes: others will be started.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        let external = std::mem::take(&mut state.external);
        *state = State {
            external,
            ..State::default()
        };
    }

    /// Closes the registration of extensions.
    pub(crate) fn init_done(&self) {
        self.state().ready = true;
    }

    /// The extensions registered so far.
    pub(crate) fn extensions(&self) -> Vec<Extension> {
        self.state().extensions.clone()
    }

    /// Whether every external extension registered.
    pub(crate) fn all_registered(&self) -> bool {
        let state = self.state();
        state.external.iter().all(|name| {
            state
                .extensions
                .iter()
                .any(|have| have.external && have.name == *name)
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment, so a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection, and whether an answer is being streamed on it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) connection: Connection,
    streaming: bool,
    /// A request whose body is still being read; kept here so that a dropped future loses nothing.
    pending: Option<(Head, Route)>,
}

/// What a request is, by method and path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Next,
    Response(String),
    Error(String),
    InitError,
    RestoreNext,
    RestoreError,
    Register,
    ExtensionNext,
    ExtensionInitError,
    ExtensionExitError,
    Telemetry,
    Credentials,
    Unknown,
}

impl Route {
    fn of(method: Method, path: &str) -> Route {
        let path = path.split('?').next().unwrap_or(path);
        if let Some(rest) = path.strip_prefix("/2018-06-01/runtime/") {
            let invocation = rest
                .strip_prefix("invocation/")
                .and_then(|rest| rest.split_once('/'));
            return match (method, rest, invocation) {
                (Method::Get, "invocation/next", _) => Route::Next,
                (Method::Get, "restore/next", _) => Route::RestoreNext,
                (Method::Post, "init/error", _) => Route::InitError,
                (Method::Post, "restore/error", _) => Route::RestoreError,
                (Method::Post, _, Some((id, "response"))) => Route::Response(id.to_owned()),
                (Method::Post, _, Some((id, "error"))) => Route::Error(id.to_owned()),
                _ => Route::Unknown,
            };
        }
        match (method, path) {
            (Method::Post, "/2020-01-01/extension/register") => Route::Register,
            (Method::Get, "/2020-01-01/extension/event/next") => Route::ExtensionNext,
            (Method::Post, "/2020-01-01/extension/init/error") => Route::ExtensionInitError,
            (Method::Post, "/2020-01-01/extension/exit/error") => Route::ExtensionExitError,
            (Method::Put, "/2020-08-15/logs" | "/2022-07-01/telemetry") => Route::Telemetry,
            (Method::Get, CREDENTIALS_PATH) => Route::Credentials,
            _ => Route::Unknown,
        }
    }

    fn body_limit(&self) -> usize {
        match self {
            Route::Response(_) | Route::Error(_) => RESPONSE_BYTES_MAX,
            _ => DOCUMENT_BYTES_MAX,
        }
    }
}

impl Client {
    pub(crate) fn new(connection: Connection) -> Client {
        Client {
            connection,
            streaming: false,
            pending: None,
        }
    }

    /// Reads and answers one request, or one part of a streamed answer. A dropped future can be begun again.
    pub(crate) async fn step(&mut self, api: &Api) -> Happening {
        let result = if self.streaming {
            self.stream_part().await
        } else {
            self.request(api).await
        };
        result.unwrap_or_else(|error| {
            tracing::debug!(%error, "a Runtime API connection ended");
            if std::mem::take(&mut self.streaming) {
                Happening::StreamBroken
            } else {
                Happening::Closed
            }
        })
    }

    async fn request(&mut self, api: &Api) -> io::Result<Happening> {
        if self.pending.is_none() {
            let Some(head) = self.connection.head().await? else {
                return Ok(Happening::Closed);
            };
            let route = Route::of(head.method, &head.path);
            if let Some(start) = self.try_stream(api, &head, &route) {
                return Ok(start);
            }
            self.pending = Some((head, route));
        }
        let limit = self
            .pending
            .as_ref()
            .map_or(0, |(_, route)| route.body_limit());
        let body = self.connection.body(limit).await?;
        let (head, route) = self
            .pending
            .take()
            .expect("it was set above and is only taken here");
        Ok(self.handle(api, &head, &route, body))
    }

    /// A response in streaming mode is passed on as it comes.
    fn try_stream(&mut self, api: &Api, head: &Head, route: &Route) -> Option<Happening> {
        let Route::Response(id) = route else {
            return None;
        };
        let mode = head.header("lambda-runtime-function-response-mode")?;
        if !mode.eq_ignore_ascii_case("streaming") || self.claim(api, head, id).is_some() {
            return None;
        }
        self.streaming = true;
        Some(Happening::StreamStart {
            content_type: head.header("content-type").map(str::to_owned),
        })
    }

    async fn stream_part(&mut self) -> io::Result<Happening> {
        match self.connection.part().await? {
            BodyPart::Chunk(chunk) => Ok(Happening::StreamChunk(chunk)),
            BodyPart::End(trailers) => {
                self.streaming = false;
                self.accepted();
                Ok(Happening::StreamEnd {
                    error: error_in(&trailers),
                })
            }
        }
    }

    fn handle(&mut self, api: &Api, head: &Head, route: &Route, body: Body) -> Happening {
        match route {
            Route::Next => self.next(api),
            Route::Response(id) => self.response(api, head, id, body),
            Route::Error(id) => self.error(api, head, id, body),
            Route::InitError => self.init_error(api, head, body),
            // There is no snapshot to restore from: a runtime that asks goes on at once.
            Route::RestoreNext => self.plain(OK, b""),
            Route::RestoreError => self.init_error(api, head, body),
            Route::Register => self.register(api, head, body),
            Route::ExtensionNext => self.extension_next(api, head),
            Route::ExtensionInitError => self.extension_error(api, head, "Extension.InitError"),
            Route::ExtensionExitError => self.extension_error(api, head, "Extension.ExitError"),
            Route::Credentials => self.credentials(api, head),
            Route::Telemetry => self.refuse(
                NOT_IMPLEMENTED,
                "Telemetry.NotSupported",
                "Mayfly has no Telemetry or Logs API yet.",
            ),
            Route::Unknown => self.refuse(
                NOT_FOUND,
                "NotFound",
                "There is no such path in the Runtime API.",
            ),
        }
    }

    fn next(&mut self, api: &Api) -> Happening {
        let mut state = api.state();
        if state
            .current
            .as_ref()
            .is_some_and(|current| !current.answered)
        {
            return self.refuse(
                FORBIDDEN,
                "InvalidStateTransition",
                "The current invocation has not been answered.",
            );
        }
        state.current = None;
        Happening::Next
    }

    fn response(&mut self, api: &Api, head: &Head, id: &str, body: Body) -> Happening {
        if let Some(mode) = head.header("lambda-runtime-function-response-mode")
            && !mode.eq_ignore_ascii_case("streaming")
        {
            return self.refuse(
                BAD_REQUEST,
                "Runtime.InvalidResponseModeHeader",
                "Invalid response mode",
            );
        }
        if let Some((status, kind, text)) = self.claim(api, head, id) {
            return self.refuse(status, kind, text);
        }
        match body {
            Body::Complete(body) => {
                self.accepted();
                Happening::Answer(body)
            }
            Body::TooLarge => {
                let text =
                    format!("Exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes).");
                self.refuse(TOO_LARGE, "RequestEntityTooLarge", &text);
                Happening::AnswerTooLarge
            }
        }
    }

    fn error(&mut self, api: &Api, head: &Head, id: &str, body: Body) -> Happening {
        if let Some((status, kind, text)) = self.claim(api, head, id) {
            return self.refuse(status, kind, text);
        }
        self.accepted();
        Happening::Error(runtime_error(head, body))
    }

    fn init_error(&mut self, api: &Api, head: &Head, body: Body) -> Happening {
        if api.state().ready {
            return self.refuse(
                FORBIDDEN,
                "InvalidStateTransition",
                "The runtime has been initialized.",
            );
        }
        self.accepted();
        Happening::InitError(runtime_error(head, body))
    }

    /// Makes this the answer of the current invocation, or says why it is not.
    fn claim(
        &self,
        api: &Api,
        head: &Head,
        id: &str,
    ) -> Option<(&'static str, &'static str, &'static str)> {
        const WRONG: (&str, &str, &str) = (BAD_REQUEST, "InvalidRequestID", "Invalid request ID");
        let mut state = api.state();
        let Some(current) = state.current.as_mut() else {
            return Some(WRONG);
        };
        // Clients that know the header send it back; it tells the answers of two attempts with one request id apart.
        let same = head
            .header("lambda-runtime-invocation-id")
            .is_none_or(|given| given == current.invocation_id);
        if current.request_id != id || !same {
            return Some(WRONG);
        }
        if std::mem::replace(&mut current.answered, true) {
            return Some((
                FORBIDDEN,
                "InvalidStateTransition",
                "The invocation has been answered.",
            ));
        }
        None
    }

    fn register(&mut self, api: &Api, head: &Head, body: Body) -> Happening {
        match registration(api, head, body) {
            Ok((id, features)) => {
                let facts = &api.function;
                let mut reply = json!({
                    "functionName": facts.name, "functionVersion": facts.version, "handler": facts.handler,
                });
                if let (Some(features), Some(map)) = (features, reply.as_object_mut()) {
                    map.insert("acceptedFeatures".to_owned(), features);
                }
                self.connection.reply(
                    OK,
                    &[("Lambda-Extension-Identifier", &id)],
                    reply.to_string().as_bytes(),
                );
                Happening::ExtensionRegistered
            }
            Err((status, kind, text)) => self.refuse(status, kind, text),
        }
    }

    fn extension_next(&mut self, api: &Api, head: &Head) -> Happening {
        match identify(api, head) {
            Ok(index) => Happening::ExtensionNext(index),
            Err((status, kind, text)) => self.refuse(status, kind, text),
        }
    }

    fn extension_error(&mut self, api: &Api, head: &Head, error_type: &'static str) -> Happening {
        let index = match identify(api, head) {
            Ok(index) => index,
            Err((status, kind, text)) => return self.refuse(status, kind, text),
        };
        let Some(reason) = head.header("lambda-extension-function-error-type") else {
            return self.refuse(
                BAD_REQUEST,
                "Extension.MissingHeader",
                "Lambda-Extension-Function-Error-Type is missing",
            );
        };
        let name = api.state().extensions[index].name.clone();
        let reason = reason.to_owned();
        self.accepted();
        Happening::ExtensionFailed {
            error_type,
            name,
            reason,
        }
    }

    fn accepted(&mut self) {
        self.connection
            .reply(ACCEPTED, &[], b"{\"status\":\"OK\"}\n");
    }

    fn credentials(&mut self, api: &Api, head: &Head) -> Happening {
        match api
            .grant
            .answer(head.header("authorization"), SystemTime::now())
        {
            Ok(document) => {
                let kind = [("Content-Type", "application/json")];
                self.connection.reply(OK, &kind, document.as_bytes());
                Happening::Nothing
            }
            Err(Denied::Stranger) => {
                let text = "The authorization token is not that of this environment.";
                self.refuse(FORBIDDEN, "Forbidden", text)
            }
            Err(Denied::Role(why)) => {
                let function = &api.function.name;
                tracing::error!(function, why, "a function got no credentials");
                let text = "The execution role cannot be assumed.";
                self.refuse(INTERNAL, "CredentialsError", text)
            }
        }
    }

    fn plain(&mut self, status: &str, body: &[u8]) -> Happening {
        self.connection.reply(status, &[], body);
        Happening::Nothing
    }

    fn refuse(&mut self, status: &str, kind: &str, text: &str) -> Happening {
        let body = json!({"errorMessage": text, "errorType": kind}).to_string();
        self.plain(status, body.as_bytes())
    }
}

type Refused = (&'static str, &'static str, &'static str);

#[derive(Deserialize)]
struct Registration {
    #[serde(default)]
    events: Vec<String>,
}

/// Registers an extension; gives its identifier and the features it may use.
fn registration(api: &Api, head: &Head, body: Body) -> Result<(String, Option<Value>), Refused> {
    let name = head
        .header("lambda-extension-name")
        .filter(|name| !name.is_empty());
    let name = name.ok_or((
        FORBIDDEN,
        "Extension.InvalidExtensionName",
        "Lambda-Extension-Name is missing",
    ))?;
    let unreadable = (
        BAD_REQUEST,
        "InvalidRequestFormat",
        "The registration is not JSON with a list of events",
    );
    let Body::Complete(body) = body else {
        return Err(unreadable);
    };
    let wanted: Registration = serde_json::from_slice(&body).map_err(|_| unreadable)?;
    if wanted
        .events
        .iter()
        .any(|event| event != "INVOKE" && event != "SHUTDOWN")
    {
        return Err((
            BAD_REQUEST,
            "Extension.InvalidEventType",
            "An extension can ask for INVOKE and SHUTDOWN only",
        ));
    }
    let mut state = api.state();
    let external = state.external.iter().any(|have| have == name);
    let shutdown = wanted.events.iter().any(|event| event == "SHUTDOWN");
    if state.ready {
        return Err((
            FORBIDDEN,
            "Extension.RegistrationClosed",
            "Extensions register before init ends",
        ));
    }
    if state.extensions.iter().any(|have| have.name == name) {
        return Err((
            FORBIDDEN,
            "Extension.AlreadyRegistered",
            "This extension is registered already",
        ));
    }
    if state.extensions.len() >= EXTENSIONS_MAX {
        return Err((
            FORBIDDEN,
            "Extension.TooManyExtensions",
            "There are ten extensions already",
        ));
    }
    if shutdown && !external {
        return Err((
            BAD_REQUEST,
            "ShutdownEventNotSupportedForInternalExtension",
            "Internal extensions get no SHUTDOWN",
        ));
    }
    let id = uuid::Uuid::new_v4().to_string();
    let invoke = wanted.events.iter().any(|event| event == "INVOKE");
    state.extensions.push(Extension {
        name: name.to_owned(),
        id: id.clone(),
        invoke,
        shutdown,
        external,
    });
    // The account id is a feature that an extension may ask for; the engine does not know accounts.
    let features = head
        .header("lambda-extension-accept-feature")
        .map(|_| json!([]));
    Ok((id, features))
}

fn identify(api: &Api, head: &Head) -> Result<usize, Refused> {
    let missing = (
        FORBIDDEN,
        "Extension.MissingHeader",
        "Lambda-Extension-Identifier is missing",
    );
    let id = head.header("lambda-extension-identifier").ok_or(missing)?;
    let unknown = (
        FORBIDDEN,
        "Extension.UnknownExtensionIdentifier",
        "No extension has this identifier",
    );
    api.state()
        .extensions
        .iter()
        .position(|extension| extension.id == id)
        .ok_or(unknown)
}

fn runtime_error(head: &Head, body: Body) -> RuntimeError {
    let error_type = head
        .header("lambda-runtime-function-error-type")
        .map(str::to_owned);
    match body {
        Body::Complete(body) => RuntimeError { body, error_type },
        Body::TooLarge => too_large(),
    }
}

/// The error document for an answer that is too large.
pub(crate) fn too_large() -> RuntimeError {
    let text = format!(
        "Response payload size exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes)."
    );
    let kind = "Function.ResponseSizeTooLarge";
    error_document(kind, &text)
}

/// An error document of the platform's own.
pub(crate) fn error_document(kind: &str, text: &str) -> RuntimeError {
    let body = json!({"errorType": kind, "errorMessage": text}).to_string();
    RuntimeError {
        body: body.into(),
        error_type: Some(kind.to_owned()),
    }
}

fn error_in(trailers: &[(String, String)]) -> Option<RuntimeError> {
    let find = |name: &str| {
        trailers
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value)
    };
    let error_type = find("lambda-runtime-function-error-type")?.clone();
    let decode = |text: &String| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(text).ok()
    };
    // A body that is not base64 is still an error; its type is all that can be told.
    let body = find("lambda-runtime-function-error-body").and_then(decode);
    match body {
        Some(body) => Some(RuntimeError {
            body: body.into(),
            error_type: Some(error_type),
        }),
        None => Some(error_document(&error_type, "")),
    }
}
