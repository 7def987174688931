//! What the engine is asked to run and what it answers: the types that meet the caller.
//!
//! Nothing here knows who called. Every name that AWS's clients can see is passed in, ARNs as finished text.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::provision::ProvisionedUse;
use crate::runtimes::Runtime;

/// Largest answer of a buffered invocation, in bytes (AWS's limit text names this number, not 6 MiB).
pub const RESPONSE_BYTES_MAX: usize = 6_291_556;

/// Bytes of log kept for `X-Amz-Log-Result`.
pub const LOG_TAIL_BYTES: usize = 4096;

/// The pools that concurrency is counted in: the account's in one region, and the function's own share of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// One account in one region, in any spelling the caller likes, such as `111122223333/eu-west-1`.
    pub account_region: String,
    /// The function within it, all versions together: reserved concurrency belongs to the function.
    pub function: String,
}

/// One immutable revision of a function: everything an environment is made from.
#[derive(Clone)]
pub struct FunctionSpec {
    /// Unique per immutable revision (code and configuration); environments are shared by equal keys only. Spell it
    /// `.../NAME/VERSION/REVISION` so that [`crate::Engine::retire`] can name a function or a version by prefix.
    pub key: String,
    /// Where its concurrency is counted.
    pub pool: PoolKey,
    /// The function's name, as functions see it.
    pub name: String,
    /// `$LATEST` or a version number.
    pub version: String,
    /// Region, for `AWS_REGION`.
    pub region: String,
    /// The handler, as configured.
    pub handler: String,
    /// The resolved runtime.
    pub runtime: Arc<Runtime>,
    /// ARN of the runtime version for INIT_START, spelled by the caller from [`Runtime::digest`].
    pub runtime_version_arn: Option<String>,
    /// Limit of one invocation.
    pub timeout: Duration,
    /// MemorySize, in megabytes.
    pub memory_mb: u32,
    /// EphemeralStorage, in megabytes: the size of `/tmp`.
    pub ephemeral_mb: u32,
    /// The unpacked code, seen as `/var/task`.
    pub code: PathBuf,
    /// The merged layers, seen as `/opt`.
    pub layers: Option<PathBuf>,
    /// Whether the last part of both paths always stands for the same content, as a digest does, so that what is compiled
    /// of it may be kept.
    pub content_named: bool,
    /// Variables of the platform beyond AWS's own set, such as `AWS_ENDPOINT_URL`; the user's may override them.
    pub platform_env: Vec<(String, String)>,
    /// The user's variables; they come last and never replace a reserved name.
    pub env: Vec<(String, String)>,
    /// Where and how it logs.
    pub log: LogConfig,
    /// Gives the execution role's credentials when an environment starts.
    pub credentials: CredentialsSource,
    /// What the function may reach.
    pub network: NetworkPolicy,
    /// How its environments come to be initialised, unless they are provisioned.
    pub initialization: Initialization,
    /// Whether environments are forks of a template, as with SnapStart, although it is off.
    pub template: bool,
}

/// What came of [`crate::Engine::prepare`].
#[derive(Clone, Debug)]
pub struct Prepared {
    /// How long init took.
    pub init_duration: Duration,
    /// Whether environments will be forks of what was prepared, or why not. Then every environment runs init itself.
    pub template: Result<(), String>,
}

/// Why nothing was prepared.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unprepared {
    /// The platform could not run it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The function's init failed.
    #[error("init failed: {error_type}")]
    Init {
        /// `Runtime.ImportModuleError` and the like.
        error_type: String,
        /// The error document, as an invocation would get it.
        document: Bytes,
    },
}

impl fmt::Debug for FunctionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionSpec")
            .field("key", &self.key)
            .field("runtime", &self.runtime.id)
            .finish_non_exhaustive()
    }
}

/// How an environment comes to be initialised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initialization {
    /// For the invocation that needs it.
    #[default]
    OnDemand,
    /// Ahead, for provisioned concurrency.
    Provisioned,
    /// Out of what a version's init left behind.
    SnapStart,
}

impl Initialization {
    /// `AWS_LAMBDA_INITIALIZATION_TYPE`, and AWS's word in log records.
    pub fn as_str(self) -> &'static str {
        match self {
            Initialization::OnDemand => "on-demand",
            Initialization::Provisioned => "provisioned-concurrency",
            Initialization::SnapStart => "snap-start",
        }
    }
}

/// What a function may reach over the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkPolicy {
    /// The Runtime API and Mayfly's own endpoint, nothing else.
    #[default]
    Endpoint,
    /// The internet as well.
    Internet,
}

/// Called when an environment starts, and when one that asks for its credentials needs new ones. May take a moment, must not
/// block for long.
pub type CredentialsSource = Arc<dyn Fn(Lasting) -> Result<Credentials, String> + Send + Sync>;

/// How long credentials are to be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// As long as a session can be: the environment ends before them.
    Long,
    /// As long as the operator likes: there are new ones before they end.
    Renewed,
}

/// Temporary credentials of the execution role.
#[derive(Clone)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: String,
    /// When they end. The environment is retired before that, or asks for others.
    pub expires: SystemTime,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// LoggingConfig, resolved.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The log group, such as `/aws/lambda/NAME`.
    pub group: String,
    /// Whether the group is the user's own: then the function's name is part of the stream's.
    pub custom_group: bool,
    /// Whose permission to write logs counts; the engine passes it on unread.
    pub role: Arc<str>,
    /// Text or JSON.
    pub format: LogFormat,
    /// ApplicationLogLevel; applies to JSON only, as on AWS.
    pub application_level: LogLevel,
    /// SystemLogLevel; applies to JSON only, as on AWS.
    pub system_level: LogLevel,
}

/// LogFormat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines as the function wrote them.
    Text,
    /// One JSON object a line.
    Json,
}

/// Log levels, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// TRACE
    Trace,
    /// DEBUG
    Debug,
    /// INFO
    Info,
    /// WARN
    Warn,
    /// ERROR
    Error,
    /// FATAL
    Fatal,
}

impl LogLevel {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Trace => "TRACE",
            LogLevel::Debug => "DEBUG",
            LogLevel::Info => "INFO",
            LogLevel::Warn => "WARN",
            LogLevel::Error => "ERROR",
            LogLevel::Fatal => "FATAL",
        }
    }

    /// Reads AWS's word, in any case; `WARNING` and `CRITICAL`, Python's own words, are understood too.
    pub fn parse(text: &str) -> Option<LogLevel> {
        Some(match text.to_ascii_uppercase().as_str() {
            "TRACE" => LogLevel::Trace,
            "DEBUG" => LogLevel::Debug,
            "INFO" => LogLevel::Info,
            "WARN" | "WARNING" => LogLevel::Warn,
            "ERROR" => LogLevel::Error,
            "FATAL" | "CRITICAL" => LogLevel::Fatal,
            _ => return None,
        })
    }
}

/// One call of a function.
pub struct Invocation {
    /// The request id, a UUID; the same in every log line and in the context.
    pub request_id: String,
    /// The event, as it came.
    pub payload: Bytes,
    /// The ARN that was called, with its qualifier when one was given.
    pub invoked_arn: String,
    /// ClientContext, decoded: JSON text.
    pub client_context: Option<String>,
    /// Cognito identity, as JSON text.
    pub cognito_identity: Option<String>,
    /// The X-Ray trace header.
    pub trace_id: Option<String>,
    /// Whether the last 4 KB of log are wanted.
    pub tail: bool,
    /// How the answer travels.
    pub mode: Mode,
}

/// How the answer of an invocation travels.
#[derive(Clone, Debug, Default)]
pub enum Mode {
    /// All at once, in [`Outcome::payload`].
    #[default]
    Buffered,
    /// As it is written, through this channel. A function that answers at once sends one part. When the receiver is
    /// dropped the rest of the answer is read and thrown away.
    Streaming(mpsc::Sender<Part>),
}

/// A piece of a streamed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Comes first, once.
    Head {
        /// What the runtime declared; `application/vnd.awslambda.http-integration-response` announces an HTTP prelude.
        content_type: Option<String>,
    },
    /// Some bytes.
    Chunk(Bytes),
}

/// What came of an invocation that was let in.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The answer, or the error document when `function_error` is set; empty when the answer was streamed.
    pub payload: Bytes,
    /// `X-Amz-Function-Error`, decided by which endpoint the runtime posted to, never by the payload.
    pub function_error: Option<FunctionError>,
    /// The last [`LOG_TAIL_BYTES`] of this invocation's log, when they were asked for.
    pub log_tail: Option<Vec<u8>>,
    /// How provisioned concurrency took part, where the version has some.
    pub provisioned: Option<ProvisionedUse>,
    /// The numbers of the REPORT line.
    pub report: Report,
}

/// `X-Amz-Function-Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionError {
    /// A raised error, a time-out or a crash: every failure of a managed runtime.
    Unhandled,
}

impl FunctionError {
    /// The header's value.
    pub fn as_str(self) -> &'static str {
        match self {
            FunctionError::Unhandled => "Unhandled",
        }
    }
}

/// The numbers of one REPORT line.
#[derive(Clone, Debug)]
pub struct Report {
    /// The request id.
    pub request_id: String,
    /// Time of the invocation.
    pub duration: Duration,
    /// What AWS would bill: duration and init, rounded up to a millisecond.
    pub billed: Duration,
    /// Only on an environment's first invocation, and only where init was made for it.
    pub init_duration: Option<Duration>,
    /// Only on an environment's first invocation, where it was made out of a version's template.
    pub restore_duration: Option<Duration>,
    /// How the environment came to be initialised.
    pub initialization: Initialization,
    /// MemorySize, in megabytes.
    pub memory_mb: u32,
    /// The environment's peak so far, measured.
    pub max_memory_mb: u32,
    /// How it ended.
    pub status: Status,
    /// `Runtime.ExitError` and the like, when `status` is not success.
    pub error_type: Option<String>,
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The runtime posted a response.
    Success,
    /// The runtime posted an error.
    Error,
    /// The runtime ended, or could not start.
    Failure,
    /// The time was up.
    Timeout,
}

/// Why an invocation was not let in: nothing ran, so the caller may try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many at once.
    #[error("Rate Exceeded.")]
    Throttled(ThrottleReason),
    /// Mayfly is stopping.
    #[error("the engine is draining")]
    Draining,
    /// The toolchain went away after the function was created.
    #[error("{0}")]
    NoRuntime(String),
    /// The role's credentials could not be made.
    #[error("the execution role cannot be assumed: {0}")]
    Credentials(String),
    /// A fork of the function's template failed before it waited for an event: a hook did, mostly. The log says how.
    #[error("the function was not restored: {0}")]
    NotRestored(String),
    /// It took too long.
    #[error("the function was not restored in time")]
    RestoreTimeout,
    /// A fault of the platform. The text is for operators.
    #[error("internal error: {0}")]
    Internal(String),
}

/// AWS's `Reason` of a 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottleReason {
    /// The account's unreserved pool is used up, or the machine is full.
    ConcurrentInvocationLimitExceeded,
    /// The function's reserved concurrency is used up.
    ReservedFunctionConcurrentInvocationLimitExceeded,
}

impl ThrottleReason {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            ThrottleReason::ConcurrentInvocationLimitExceeded => {
                "ConcurrentInvocationLimitExceeded"
            }
            ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded => {
                "ReservedFunctionConcurrentInvocationLimitExceeded"
            }
        }
    }
}
