//! What the engine runs: one immutable specification for each version of a function, made once and kept in memory.

use std::sync::Arc;
use std::time::Duration;

use engine::{FunctionSpec, Initialization, Lasting, LogConfig, LogFormat, LogLevel, PoolKey};
use wire::{Arn, Scope};

use crate::Inner;
use crate::code::Package;
use crate::configuration::version_name;
use crate::error::Error;
use crate::name::LATEST;
use crate::record::{Content, Logging};
use crate::roles::SESSION_MAX;
use crate::state::Runnable;
use crate::wishes::Wishes;

/// The key of a specification: the function, the version, what it is made of, what it wishes.
pub(crate) fn key(
    at: &Scope,
    name: &str,
    version: Option<u64>,
    content: &str,
    wishes: Wishes,
) -> String {
    let (prefix, version) = (key_prefix(at, name), version_name(version));
    wishes.key_for(format!("{prefix}{version}/{content}"))
}

/// What the keys of all specifications of a function begin with.
pub(crate) fn key_prefix(at: &Scope, name: &str) -> String {
    format!("{}/{name}/", at.key())
}

/// Where a function's concurrency is counted.
pub(crate) fn pool(at: &Scope, name: &str) -> PoolKey {
    PoolKey {
        account_region: at.key(),
        function: name.to_owned(),
    }
}

/// The group that a function logs to unless told otherwise.
pub(crate) fn default_log_group(name: &str) -> String {
    format!("/aws/lambda/{name}")
}

impl Inner {
    /// Whether functions may be made for this runtime. An interpreter that is asked for the first time is run, away from
    /// the threads that others wait for.
    pub(crate) async fn check_runtime(&self, id: &str) -> Result<(), Error> {
        let (runtimes, id) = (self.config.runtimes.clone(), id.to_owned());
        let resolved = tokio::task::spawn_blocking(move || runtimes.resolve(&id).map(drop)).await;
        Ok(resolved.map_err(|error| Error::Internal(error.to_string()))??)
    }

    /// Makes the specification. Touches no disk.
    pub(crate) fn specification(
        &self,
        at: &Scope,
        name: &str,
        version: Option<u64>,
        content: &Content,
        wishes: Wishes,
    ) -> Runnable {
        let runtime = self.config.runtimes.resolve_existing(&content.runtime);
        let runtime = runtime.map_err(|error| error.to_string())?;
        let runtime_version_arn = Arn::runtime(&at.region, &runtime.digest);
        let layers: Vec<Package> = content.layers.iter().map(|l| l.package.clone()).collect();
        let (roles, role) = (Arc::clone(&self.roles), content.role.clone());
        let function = Arn::function(at, name, None);
        let renewed = self.config.renewed_session;
        let spec = Arc::new(FunctionSpec {
            key: key(at, name, version, &content.id, wishes),
            pool: pool(at, name),
            name: name.to_owned(),
            version: version_name(version),
            region: at.region.to_string(),
            handler: content.handler.clone(),
            runtime,
            runtime_version_arn: Some(runtime_version_arn.to_string()),
            timeout: Duration::from_secs(content.timeout_s.unsigned_abs()),
            memory_mb: u32::try_from(content.memory_mb).unwrap_or(u32::MAX),
            ephemeral_mb: u32::try_from(content.ephemeral_mb).unwrap_or(u32::MAX),
            code: self.code.package_folder(&content.code.digest),
            layers: self.code.layers_folder(&layers),
            content_named: true,
            platform_env: self.config.platform_variables.clone(),
            env: content
                .variables
                .clone()
                .unwrap_or_default()
                .into_iter()
                .collect(),
            log: log_config(name, &content.role, &content.logging),
            credentials: Arc::new(move |lasting| {
                let lasting = match lasting {
                    Lasting::Long => SESSION_MAX,
                    Lasting::Renewed => renewed,
                };
                roles.credentials(&role, &function, lasting)
            }),
            network: wishes.network,
            initialization: match content.snap_start && version.is_some() {
                true => Initialization::SnapStart,
                false => Initialization::OnDemand,
            },
            template: wishes.template,
        });
        self.code.keep(&spec);
        Ok(spec)
    }
}

fn log_config(name: &str, role: &str, logging: &Logging) -> LogConfig {
    let level = |text: &Option<String>| {
        let parsed = text.as_deref().and_then(LogLevel::parse);
        parsed.unwrap_or(LogLevel::Info)
    };
    LogConfig {
        group: logging.group.clone(),
        custom_group: logging.group != default_log_group(name),
        role: role.into(),
        format: match logging.json {
            true => LogFormat::Json,
            false => LogFormat::Text,
        },
        application_level: level(&logging.application_level),
        system_level: level(&logging.system_level),
    }
}

/// Whether a qualifier says `$LATEST`.
pub(crate) fn is_latest(qualifier: Option<&str>) -> bool {
    qualifier.is_none_or(|qualifier| qualifier == LATEST)
}
