//! Invoke, in its three types (<https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>). Nothing on the
//! synchronous path touches the disk.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use engine::{FunctionSpec, Invocation, Mode, Outcome, Refusal};
use wire::{Arn, Blob, Context, Effect, Http, Operation, Scope, Shape, text};

use crate::error::Error;
use crate::event::Origin;
use crate::name::{FunctionRef, LATEST, Qualifier};
use crate::record::State;
use crate::settings::refuse;
use crate::state::{Function, version_number};
use crate::{Functions, recursion};

/// Largest event of a synchronous invocation.
pub(crate) const SYNC_BYTES_MAX: usize = 6_291_456;
/// Largest event of an asynchronous invocation.
pub(crate) const EVENT_BYTES_MAX: usize = 1_048_576;
/// Longest client context, in base64.
const CLIENT_CONTEXT_BYTES_MAX: usize = 3583;
/// How long an invocation waits for a function that is still being created or updated.
const ACTIVE_WAIT: Duration = Duration::from_secs(10);

text! {
    /// Names a durable execution.
    pub struct DurableExecutionName: 1..=64, "[a-zA-Z0-9-_]+";

    /// A tenant.
    pub struct TenantId: 1..=256, r"[a-zA-Z0-9\._:\/=+\-@ ]+";
}

/// Whether the caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum InvocationType {
    Event,
    RequestResponse,
    DryRun,
}

/// Whether the end of the log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum LogType {
    None,
    Tail,
}

/// Invokes a function.
#[derive(Debug, Shape)]
pub struct Invoke {
    function_name: FunctionRef,
    invocation_type: Option<InvocationType>,
    log_type: Option<LogType>,
    client_context: Option<String>,
    durable_execution_name: Option<DurableExecutionName>,
    payload: Option<Blob>,
    qualifier: Option<Qualifier>,
    tenant_id: Option<TenantId>,
}

/// See [`Invoke`].
#[derive(Debug, Default, Shape)]
pub struct InvokeOutput {
    status_code: Option<i64>,
    function_error: Option<&'static str>,
    log_result: Option<String>,
    payload: Option<Blob>,
    executed_version: Option<String>,
    durable_execution_arn: Option<String>,
}

impl InvokeOutput {
    fn empty(status: i64) -> Self {
        Self {
            status_code: Some(status),
            ..Self::default()
        }
    }
}

impl Operation for Invoke {
    type Service = Functions;
    type Output = InvokeOutput;
    const NAME: &'static str = "Invoke";
    const EFFECT: Effect = Effect::Data;
    const ACTION: &'static str = "InvokeFunction";
    const HTTP: Http = Http::new(
        "POST",
        "/2015-03-31/functions/{FunctionName}/invocations",
        200,
    )
    .query(&[("Qualifier", "Qualifier")])
    .headers(&[
        ("x-amz-invocation-type", "InvocationType"),
        ("x-amz-log-type", "LogType"),
        ("x-amz-client-context", "ClientContext"),
        ("x-amz-durable-execution-name", "DurableExecutionName"),
        ("x-amz-tenant-id", "TenantId"),
    ])
    .payload("Payload")
    .reply_headers(&[
        ("X-Amz-Function-Error", "FunctionError"),
        ("X-Amz-Log-Result", "LogResult"),
        ("X-Amz-Executed-Version", "ExecutedVersion"),
        ("X-Amz-Durable-Execution-Arn", "DurableExecutionArn"),
    ])
    .reply_status("StatusCode")
    .reply_payload("Payload")
    .body_max(SYNC_BYTES_MAX);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name
            .qualified_arn(at, self.qualifier.as_ref())
    }

    async fn run(self, functions: &Functions, cx: &Context) -> Result<InvokeOutput, wire::Error> {
        Ok(self.invoke(functions, cx).await?)
    }
}

impl Invoke {
    async fn invoke(self, functions: &Functions, cx: &Context) -> Result<InvokeOutput, Error> {
        let (function, qualifier) =
            functions.find(&self.function_name, self.qualifier.as_ref(), cx)?;
        refuse(
            "DurableExecutionName",
            self.durable_execution_name.is_some(),
            "Leave it out.",
        )?;
        if self.tenant_id.is_some() {
            return Err(Error::Invalid(
                "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request and try again.".to_owned(),
            ));
        }
        let qualifier = qualifier.as_deref();
        let payload = self.payload.map(|blob| blob.0).unwrap_or_default();
        let call = Call {
            function,
            arn: self
                .function_name
                .qualified_arn(&cx.scope, self.qualifier.as_ref()),
            request_id: cx.request_id.clone(),
            trace_id: Some(functions.trace_id(cx)),
        };
        match self.invocation_type {
            Some(InvocationType::DryRun) => {
                call.target(qualifier, 0.0)?;
                Ok(InvokeOutput::empty(204))
            }
            Some(InvocationType::Event) => {
                let payload = checked(payload, "Event", EVENT_BYTES_MAX)?;
                let origin = Origin::Invocation;
                functions
                    .accept_event(&call, qualifier, payload, origin)
                    .await?;
                Ok(InvokeOutput::empty(202))
            }
            None | Some(InvocationType::RequestResponse) => {
                let payload = checked(payload, "RequestResponse", SYNC_BYTES_MAX)?;
                let client_context = client_context(self.client_context.as_deref())?;
                let tail = self.log_type == Some(LogType::Tail);
                if recursion::is_loop(&call.function, cx.trace_id.as_deref()) {
                    functions
                        .inner
                        .meter
                        .recursion_dropped(&call, &functions.inner);
                    return Err(Error::Recursive);
                }
                let done = functions
                    .call(&call, qualifier, payload, client_context, tail)
                    .await?;
                Ok(done.output())
            }
        }
    }
}

/// One call of a function, whoever makes it.
pub(crate) struct Call {
    pub function: Arc<Function>,
    /// As the caller named it.
    pub arn: Arn,
    pub request_id: String,
    pub trace_id: Option<String>,
}

/// What came of a call.
pub(crate) struct Done {
    pub outcome: Outcome,
    pub executed_version: String,
}

impl Done {
    fn output(self) -> InvokeOutput {
        let tail = self.outcome.log_tail.map(|tail| BASE64.encode(tail));
        InvokeOutput {
            status_code: Some(200),
            function_error: self.outcome.function_error.map(|error| error.as_str()),
            log_result: tail,
            payload: Some(Blob(self.outcome.payload)),
            executed_version: Some(self.executed_version),
            durable_execution_arn: None,
        }
    }
}

/// AWS parses the event before it looks for the function's settings; nothing at all stands for an empty object.
pub(crate) fn checked(payload: Bytes, kind: &'static str, limit: usize) -> Result<Bytes, Error> {
    if payload.len() > limit {
        return Err(Error::PayloadTooLarge {
            bytes: payload.len(),
            kind,
            limit,
        });
    }
    if payload.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(&payload) {
        Ok(_) => Ok(payload),
        Err(error) => Err(Error::PayloadNotJson(error.to_string())),
    }
}

fn client_context(given: Option<&str>) -> Result<Option<String>, Error> {
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return Ok(None);
    };
    if given.len() > CLIENT_CONTEXT_BYTES_MAX {
        return Err(Error::ClientContextTooLarge);
    }
    let text = BASE64
        .decode(given)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|text| {
            serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
        });
    text.map(Some).ok_or(Error::ClientContextNotJson)
}

impl Call {
    /// The trace header that the function sees, and what it causes carries on.
    pub(crate) fn seen_trace_id(&self) -> Option<String> {
        let trace_id = self.trace_id.as_deref()?;
        Some(recursion::with_pass(&self.function, trace_id))
    }

    /// The version that a qualifier means; `random`, from 0 to 1, decides for aliases that share their invocations.
    pub(crate) fn target(
        &self,
        qualifier: Option<&str>,
        random: f64,
    ) -> Result<Option<u64>, Error> {
        let function = &self.function;
        let not_found = || Error::FunctionNotFound(function.arn(qualifier));
        let version = match qualifier {
            None | Some(LATEST) => return Ok(None),
            Some(qualifier) if version_number(qualifier).is_some() => qualifier,
            Some(alias) => {
                let alias = function.record.aliases.get(alias).ok_or_else(not_found)?;
                let further = alias.weights.iter().next();
                match further.filter(|(_, weight)| random < **weight) {
                    Some((version, _)) => version,
                    None => &alias.version,
                }
            }
        };
        match version_number(version) {
            None => Ok(None),
            Some(number) if function.record.versions.contains_key(&number) => Ok(Some(number)),
            Some(_) => Err(not_found()),
        }
    }
}

impl Functions {
    /// Runs a function and waits for the end.
    pub(crate) async fn call(
        &self,
        call: &Call,
        qualifier: Option<&str>,
        payload: Bytes,
        client_context: Option<String>,
        tail: bool,
    ) -> Result<Done, Error> {
        let version = call.target(qualifier, (self.inner.config.random)())?;
        let spec = self.ready(&call.function, version).await?;
        let invocation = Invocation {
            request_id: call.request_id.clone(),
            payload,
            invoked_arn: call.arn.to_string(),
            client_context,
            cognito_identity: None,
            trace_id: call.seen_trace_id(),
            tail,
            mode: Mode::Buffered,
        };
        let executed_version = spec.version.clone();
        let result = self.inner.engine.invoke(spec, invocation).await;
        self.inner
            .meter
            .measure(call, qualifier, &executed_version, &result, &self.inner);
        Ok(Done {
            outcome: result.map_err(refused)?,
            executed_version,
        })
    }

    /// What is to run as this version, as soon as there is something.
    async fn ready(
        &self,
        function: &Arc<Function>,
        version: Option<u64>,
    ) -> Result<Arc<FunctionSpec>, Error> {
        if let Some(runnable) = function.runnable(version) {
            return runnable.clone().map_err(Error::RuntimeGone);
        }
        let wait = tokio::time::timeout(ACTIVE_WAIT, self.wait_until_ready(function, version));
        wait.await.unwrap_or(Err(Error::NotActive("Pending")))
    }

    async fn wait_until_ready(
        &self,
        function: &Arc<Function>,
        version: Option<u64>,
    ) -> Result<Arc<FunctionSpec>, Error> {
        let mut changes = self.inner.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let now = self.inner.function(&function.at, &function.name, None)?;
            if let Some(runnable) = now.runnable(version) {
                return runnable.clone().map_err(Error::RuntimeGone);
            }
            match now.state(version) {
                State::Failed { .. } => return Err(Error::NotActive("Failed")),
                State::Pending if now.has_snap_start(version) => {
                    return Err(Error::SnapStartNotReady);
                }
                State::Pending | State::Active => {}
            }
            if changes.changed().await.is_err() {
                return Err(Error::NotActive("Pending"));
            }
        }
    }

    /// The caller's trace, or a new one that is not sampled
    /// (<https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>).
    fn trace_id(&self, cx: &Context) -> String {
        self.trace_id_or_new(cx.trace_id.as_deref())
    }

    pub(crate) fn trace_id_or_new(&self, given: Option<&str>) -> String {
        if let Some(given) = given {
            return given.to_owned();
        }
        let random = uuid::Uuid::new_v4().simple().to_string();
        let parent = &uuid::Uuid::new_v4().simple().to_string()[..16];
        let seconds = self.inner.clock.now_ms() / 1000;
        format!(
            "Root=1-{seconds:08x}-{};Parent={parent};Sampled=0",
            &random[..24]
        )
    }
}

/// Why the engine did not let a call in, for the caller.
fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Throttled(reason) => Error::Throttled(reason),
        Refusal::Draining => {
            Error::Unavailable("The server is about to stop. Please try again.".to_owned())
        }
        Refusal::NoRuntime(why) => Error::RuntimeGone(why),
        Refusal::Credentials(why) => {
            tracing::warn!(why, "an execution role cannot be assumed");
            Error::RoleNotAssumable
        }
        Refusal::NotRestored(_) => Error::SnapStart,
        Refusal::RestoreTimeout => Error::SnapStartTimeout,
        Refusal::Internal(why) => Error::Internal(why),
    }
}

/// Invokes a function asynchronously, the old way
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_InvokeAsync.html>).
#[derive(Debug, Shape)]
pub struct InvokeAsync {
    function_name: FunctionRef,
    invoke_args: Blob,
}

/// See [`InvokeAsync`].
#[derive(Debug, Shape)]
pub struct InvokeAsyncOutput {
    status: Option<i64>,
}

/// Largest event of the old operation.
const OLD_EVENT_BYTES_MAX: usize = 262_144;

impl Operation for InvokeAsync {
    type Service = Functions;
    type Output = InvokeAsyncOutput;
    const NAME: &'static str = "InvokeAsync";
    const EFFECT: Effect = Effect::Data;
    const HTTP: Http = Http::new(
        "POST",
        "/2014-11-13/functions/{FunctionName}/invoke-async",
        202,
    )
    .payload("InvokeArgs")
    .reply_status("Status");

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.qualified_arn(at, None)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<InvokeAsyncOutput, wire::Error> {
        let (function, qualifier) = functions.find(&self.function_name, None, cx)?;
        let payload = checked(self.invoke_args.0, "Event", OLD_EVENT_BYTES_MAX)?;
        let call = Call {
            function,
            arn: self.function_name.qualified_arn(&cx.scope, None),
            request_id: cx.request_id.clone(),
            trace_id: Some(functions.trace_id(cx)),
        };
        functions
            .accept_event(&call, qualifier.as_deref(), payload, Origin::Invocation)
            .await?;
        Ok(InvokeAsyncOutput { status: Some(202) })
    }
}

impl Functions {
    /// An event is taken for something that is there; which version it meets is decided when it runs.
    pub(crate) async fn accept_event(
        &self,
        call: &Call,
        qualifier: Option<&str>,
        payload: Bytes,
        origin: Origin,
    ) -> Result<(), Error> {
        call.target(qualifier, 0.0)?;
        self.push_event(call, qualifier, payload, origin).await
    }
}
