//! `FunctionConfiguration`, which most operations answer with
//! (<https://docs.aws.amazon.com/lambda/latest/api/API_FunctionConfiguration.html>).

use std::collections::BTreeMap;

use jiff::Timestamp;
use wire::{Arn, List, Scope, Shape};

use crate::name::LATEST;
use crate::record::{Content, FunctionRecord, Head, LastUpdate, LayerUse, State};
use crate::settings::{
    AcceleratorConfig, ApplicationLogLevel, Architecture, Architectures, CapacityProviderConfig,
    DeadLetterConfig, DurableConfig, EphemeralStorage, EphemeralStorageSize, FileSystemConfig,
    FunctionRuntimeConfig, ImageConfig, LogFormat, LogGroup, LoggingConfig, PackageType, RuntimeId,
    SnapStartApplyOn, SystemLogLevel, TargetArn, TenancyConfig, TracingMode,
};

/// A version of a function.
#[derive(Debug, Default, Shape)]
pub struct FunctionConfiguration {
    pub function_name: Option<String>,
    pub function_arn: Option<Arn>,
    pub runtime: Option<RuntimeId>,
    pub role: Option<String>,
    pub handler: Option<String>,
    pub code_size: Option<u64>,
    pub description: Option<String>,
    pub timeout: Option<i64>,
    pub memory_size: Option<i64>,
    pub last_modified: Option<String>,
    pub code_sha256: Option<String>,
    pub version: Option<String>,
    pub vpc_config: Option<VpcConfigResponse>,
    pub dead_letter_config: Option<DeadLetterConfig>,
    pub environment: Option<EnvironmentResponse>,
    #[shape(name = "KMSKeyArn")]
    pub kms_key_arn: Option<String>,
    pub tracing_config: Option<TracingConfigResponse>,
    pub master_arn: Option<Arn>,
    pub revision_id: Option<String>,
    pub layers: Option<Vec<Layer>>,
    pub state: Option<StateName>,
    pub state_reason: Option<String>,
    pub state_reason_code: Option<StateReasonCode>,
    pub last_update_status: Option<LastUpdateStatus>,
    pub last_update_status_reason: Option<String>,
    pub last_update_status_reason_code: Option<LastUpdateStatusReasonCode>,
    pub file_system_configs: Option<List<FileSystemConfig, 0, 1>>,
    pub signing_profile_version_arn: Option<Arn>,
    pub signing_job_arn: Option<Arn>,
    pub package_type: Option<PackageType>,
    pub image_config_response: Option<ImageConfigResponse>,
    pub architectures: Option<Architectures>,
    pub ephemeral_storage: Option<EphemeralStorage>,
    pub snap_start: Option<SnapStartResponse>,
    pub runtime_version_config: Option<RuntimeVersionConfig>,
    pub logging_config: Option<LoggingConfig>,
    pub tenancy_config: Option<TenancyConfig>,
    pub capacity_provider_config: Option<CapacityProviderConfig>,
    pub config_sha256: Option<String>,
    pub durable_config: Option<DurableConfig>,
    pub runtime_config: Option<FunctionRuntimeConfig>,
    pub accelerator_config: Option<AcceleratorConfig>,
}

/// Environment variables in replies.
#[derive(Debug, Shape)]
pub struct EnvironmentResponse {
    pub variables: Option<BTreeMap<String, String>>,
    pub error: Option<ErrorDetail>,
}

/// Why a part of the configuration could not be shown.
#[derive(Debug, Shape)]
pub struct ErrorDetail {
    pub error_code: Option<String>,
    pub message: Option<String>,
}

/// A private network in replies.
#[derive(Debug, Shape)]
pub struct VpcConfigResponse {
    pub subnet_ids: Option<List<String, 0, 16>>,
    pub security_group_ids: Option<List<String, 0, 5>>,
    pub vpc_id: Option<String>,
    pub ipv6_allowed_for_dual_stack: Option<bool>,
}

/// X-Ray in replies.
#[derive(Debug, Shape)]
pub struct TracingConfigResponse {
    pub mode: Option<TracingMode>,
}

/// A layer of a function.
#[derive(Debug, Shape)]
pub struct Layer {
    pub arn: Option<String>,
    pub code_size: Option<u64>,
    pub signing_profile_version_arn: Option<Arn>,
    pub signing_job_arn: Option<Arn>,
}

/// What a container image runs, in replies.
#[derive(Debug, Shape)]
pub struct ImageConfigResponse {
    pub image_config: Option<ImageConfig>,
    pub error: Option<ErrorDetail>,
}

/// Snapshots in replies.
#[derive(Debug, Shape)]
pub struct SnapStartResponse {
    pub apply_on: Option<SnapStartApplyOn>,
    pub optimization_status: Option<SnapStartOptimizationStatus>,
}

/// Whether there are snapshots.
#[derive(Debug, Clone, Copy, Shape)]
pub enum SnapStartOptimizationStatus {
    On,
    Off,
}

/// The version of the runtime.
#[derive(Debug, Shape)]
pub struct RuntimeVersionConfig {
    pub runtime_version_arn: Option<Arn>,
    pub error: Option<ErrorDetail>,
}

/// Where a function is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum StateName {
    Pending,
    Active,
    Inactive,
    Failed,
    Deactivating,
    Deactivated,
    ActiveNonInvocable,
    Deleting,
}

/// How the last update went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum LastUpdateStatus {
    Successful,
    Failed,
    InProgress,
}

/// AWS has the two lists of reasons apart by a few words.
macro_rules! reason_codes {
    ($($(#[$meta:meta])* $name:ident { $($extra:ident),* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
        pub enum $name {
            $($extra,)*
            EniLimitExceeded,
            InsufficientRolePermissions,
            InvalidConfiguration,
            InternalError,
            #[shape(name = "SubnetOutOfIPAddresses")]
            SubnetOutOfIpAddresses,
            InvalidSubnet,
            InvalidSecurityGroup,
            ImageDeleted,
            ImageAccessDenied,
            InvalidImage,
            #[shape(name = "KMSKeyAccessDenied")]
            KmsKeyAccessDenied,
            #[shape(name = "KMSKeyNotFound")]
            KmsKeyNotFound,
            #[shape(name = "InvalidStateKMSKey")]
            InvalidStateKmsKey,
            #[shape(name = "DisabledKMSKey")]
            DisabledKmsKey,
            #[shape(name = "EFSIOError")]
            EfsIoError,
            #[shape(name = "EFSMountConnectivityError")]
            EfsMountConnectivityError,
            #[shape(name = "EFSMountFailure")]
            EfsMountFailure,
            #[shape(name = "EFSMountTimeout")]
            EfsMountTimeout,
            InvalidRuntime,
            InvalidZipFileException,
            FunctionError,
            ServiceQuotaExceededException,
            VcpuLimitExceeded,
            CapacityProviderScalingLimitExceeded,
            InsufficientCapacity,
            #[shape(name = "EC2RequestLimitExceeded")]
            Ec2RequestLimitExceeded,
            #[shape(name = "FunctionError.InitTimeout")]
            InitTimeout,
            #[shape(name = "FunctionError.RuntimeInitError")]
            RuntimeInitError,
            #[shape(name = "FunctionError.ExtensionInitError")]
            ExtensionInitError,
            #[shape(name = "FunctionError.InvalidEntryPoint")]
            InvalidEntryPoint,
            #[shape(name = "FunctionError.InvalidWorkingDirectory")]
            InvalidWorkingDirectory,
            #[shape(name = "FunctionError.PermissionDenied")]
            PermissionDenied,
            #[shape(name = "FunctionError.TooManyExtensions")]
            TooManyExtensions,
            #[shape(name = "FunctionError.InitResourceExhausted")]
            InitResourceExhausted,
            DisallowedByVpcEncryptionControl,
            IncompatibleAcceleratorInstanceTypes,
            DependencyError,
        }
    )*};
}

reason_codes! {
    /// Why a function is in its state.
    StateReasonCode { Idle, Creating, Restoring, DrainingDurableExecutions }
    /// Why the last update is where it is. AWS's model lacks `Creating`, which its service sends.
    LastUpdateStatusReasonCode {}
}

/// What `StateReason` says while a function or an update is on its way, as recorded from AWS for both.
const CREATING: &str = "The function is being created.";

/// A version to be shown: what it is made of, and what changes about it.
pub(crate) struct Shown<'a> {
    pub at: &'a Scope,
    pub name: &'a str,
    /// `None` for `$LATEST`.
    pub version: Option<u64>,
    /// What the ARN ends with, if anything.
    pub qualifier: Option<String>,
    pub content: &'a Content,
    pub head: &'a Head,
    /// Only `$LATEST` has one.
    pub last_update: Option<&'a LastUpdate>,
    /// The last part of the runtime version's ARN.
    pub runtime_digest: Option<String>,
}

impl<'a> Shown<'a> {
    /// `$LATEST` of a function.
    pub(crate) fn latest(at: &'a Scope, name: &'a str, record: &'a FunctionRecord) -> Self {
        Shown {
            at,
            name,
            version: None,
            qualifier: None,
            content: &record.latest,
            head: &record.latest_head,
            last_update: Some(&record.last_update),
            runtime_digest: None,
        }
    }
}

impl From<Shown<'_>> for FunctionConfiguration {
    fn from(shown: Shown<'_>) -> Self {
        let Shown {
            at, content, head, ..
        } = shown;
        let (state, state_reason, state_reason_code) = state(&head.state);
        let (last_update_status, reason, code) = match shown.last_update {
            Some(update) => last_update(update),
            // Versions report the update that they came from, which was successful.
            None => (LastUpdateStatus::Successful, None, None),
        };
        let pending = shown.last_update.is_some() && head.state == State::Pending;
        FunctionConfiguration {
            function_name: Some(shown.name.to_owned()),
            function_arn: Some(Arn::function(at, shown.name, shown.qualifier.as_deref())),
            runtime: Some(RuntimeId(content.runtime.clone())),
            role: Some(content.role.clone()),
            handler: Some(content.handler.clone()),
            code_size: Some(content.code.size),
            description: Some(content.description.clone()),
            timeout: Some(content.timeout_s),
            memory_size: Some(content.memory_mb),
            last_modified: Some(date(content.modified_ms)),
            code_sha256: Some(content.code.sha256()),
            version: Some(version_name(shown.version)),
            environment: content
                .variables
                .clone()
                .map(|variables| EnvironmentResponse {
                    variables: Some(variables),
                    error: None,
                }),
            dead_letter_config: content.dead_letter.clone().map(|arn| DeadLetterConfig {
                target_arn: TargetArn::new(arn).ok(),
            }),
            tracing_config: Some(TracingConfigResponse {
                mode: Some(TracingMode::PassThrough),
            }),
            revision_id: Some(head.revision_id.clone()),
            layers: layers(&content.layers),
            state: Some(state),
            state_reason,
            state_reason_code,
            last_update_status: (!pending).then_some(last_update_status),
            last_update_status_reason: reason,
            last_update_status_reason_code: code,
            package_type: Some(PackageType::Zip),
            architectures: Some(Architectures(vec![Architecture::HERE.as_str().to_owned()])),
            ephemeral_storage: EphemeralStorageSize::new(content.ephemeral_mb)
                .map(|size| EphemeralStorage { size }),
            snap_start: Some(snap_start(content, shown.version)),
            runtime_version_config: shown.runtime_digest.map(|digest| RuntimeVersionConfig {
                runtime_version_arn: Some(Arn::runtime(&at.region, &digest)),
                error: None,
            }),
            logging_config: Some(logging(content)),
            ..FunctionConfiguration::default()
        }
    }
}

impl FunctionConfiguration {
    /// As lists show it: AWS leaves out what changes by itself.
    pub(crate) fn listed(mut self) -> Self {
        self.state = None;
        self.state_reason = None;
        self.state_reason_code = None;
        self.last_update_status = None;
        self.last_update_status_reason = None;
        self.last_update_status_reason_code = None;
        self.runtime_version_config = None;
        self
    }
}

/// What a version is called.
pub(crate) fn version_name(version: Option<u64>) -> String {
    version.map_or_else(|| LATEST.to_owned(), |number| number.to_string())
}

/// A moment as AWS prints it in strings: `2026-11-23T09:00:18.175+0000`.
pub(crate) fn date(time_ms: i64) -> String {
    let moment = Timestamp::from_millisecond(time_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string()
}

fn state(state: &State) -> (StateName, Option<String>, Option<StateReasonCode>) {
    match state {
        State::Pending => (
            StateName::Pending,
            Some(CREATING.to_owned()),
            Some(StateReasonCode::Creating),
        ),
        State::Active => (StateName::Active, None, None),
        State::Failed { code, reason } => (
            StateName::Failed,
            Some(reason.clone()),
            StateReasonCode::parse(code.as_str()),
        ),
    }
}

fn last_update(
    update: &LastUpdate,
) -> (
    LastUpdateStatus,
    Option<String>,
    Option<LastUpdateStatusReasonCode>,
) {
    match update {
        LastUpdate::Successful => (LastUpdateStatus::Successful, None, None),
        LastUpdate::InProgress => (
            LastUpdateStatus::InProgress,
            Some(CREATING.to_owned()),
            None,
        ),
        LastUpdate::Failed { code, reason } => (
            LastUpdateStatus::Failed,
            Some(reason.clone()),
            LastUpdateStatusReasonCode::parse(code.as_str()),
        ),
    }
}

/// Only versions are optimized.
fn snap_start(content: &Content, version: Option<u64>) -> SnapStartResponse {
    SnapStartResponse {
        apply_on: Some(match content.snap_start {
            true => SnapStartApplyOn::PublishedVersions,
            false => SnapStartApplyOn::None,
        }),
        optimization_status: Some(match content.snap_start && version.is_some() {
            true => SnapStartOptimizationStatus::On,
            false => SnapStartOptimizationStatus::Off,
        }),
    }
}

fn layers(layers: &[LayerUse]) -> Option<Vec<Layer>> {
    let shown = layers.iter().map(|layer| Layer {
        arn: Some(layer.arn.clone()),
        code_size: Some(layer.package.size),
        signing_profile_version_arn: None,
        signing_job_arn: None,
    });
    (!layers.is_empty()).then(|| shown.collect())
}

fn logging(content: &Content) -> LoggingConfig {
    let logging = &content.logging;
    let parsed = |level: &Option<String>| level.clone().unwrap_or_default();
    LoggingConfig {
        log_format: Some(match logging.json {
            true => LogFormat::Json,
            false => LogFormat::Text,
        }),
        application_log_level: ApplicationLogLevel::parse(&parsed(&logging.application_level)),
        system_log_level: SystemLogLevel::parse(&parsed(&logging.system_level)),
        log_group: LogGroup::new(logging.group.clone()).ok(),
    }
}
