//! Functions without a server around them, for `mayfly run` and `mayfly doctor`: there is no role and no AWS.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use engine::runtimes::Runtime;
use engine::{
    Credentials, FunctionSpec, Initialization, Invocation, LogConfig, LogFormat, LogLevel, Mode,
    NetworkPolicy, PoolKey,
};
use wire::{AccountId, Arn, Region, Scope};

const REGION: &str = "us-east-1";

/// What differs from one such function to another.
pub struct Alone {
    /// Its name.
    pub name: &'static str,
    /// Tells its revision from others; environments of an older one are not used.
    pub round: u64,
    /// The unpacked code, readable by everyone.
    pub code: PathBuf,
    /// What to call.
    pub handler: String,
    /// What runs it.
    pub runtime: Arc<Runtime>,
    /// The time limit.
    pub timeout: Duration,
    /// The memory, in megabytes.
    pub memory_mb: u32,
    /// Its own environment variables.
    pub env: Vec<(String, String)>,
}

impl Alone {
    /// For the engine.
    pub fn spec(self) -> FunctionSpec {
        FunctionSpec {
            key: format!("{}/{}", self.name, self.round),
            pool: PoolKey {
                account_region: "alone".to_owned(),
                function: self.name.to_owned(),
            },
            name: self.name.to_owned(),
            version: "$LATEST".to_owned(),
            region: REGION.to_owned(),
            handler: self.handler,
            runtime_version_arn: Some(Arn::runtime(REGION, &self.runtime.digest).to_string()),
            runtime: self.runtime,
            timeout: self.timeout,
            memory_mb: self.memory_mb,
            ephemeral_mb: 512,
            code: self.code,
            layers: None,
            content_named: false,
            platform_env: Vec::new(),
            env: self.env,
            log: LogConfig {
                group: format!("/aws/lambda/{}", self.name),
                custom_group: false,
                format: LogFormat::Text,
                application_level: LogLevel::Info,
                system_level: LogLevel::Info,
                role: "".into(),
            },
            credentials: Arc::new(|_| Ok(no_credentials())),
            network: NetworkPolicy::Endpoint,
            initialization: Initialization::OnDemand,
            template: false,
        }
    }
}

/// One invocation of it.
pub fn invocation(spec: &FunctionSpec, payload: Bytes) -> Invocation {
    let scope = Scope {
        account: AccountId::new("000000000000").expect("twelve digits"),
        region: Region::new(REGION).expect("a region"),
    };
    Invocation {
        request_id: uuid::Uuid::new_v4().to_string(),
        payload,
        invoked_arn: Arn::function(&scope, &spec.name, None).to_string(),
        client_context: None,
        cognito_identity: None,
        trace_id: None,
        tail: false,
        mode: Mode::Buffered,
    }
}

/// There is no role without a server. The names are set all the same, since SDKs want some to start.
fn no_credentials() -> Credentials {
    Credentials {
        access_key_id: "none".to_owned(),
        secret_access_key: "none".to_owned(),
        session_token: "none".to_owned(),
        expires: SystemTime::now() + Duration::from_secs(12 * 3600),
    }
}
