//! The settings of a function, as requests give them, and the ones that Mayfly refuses: a setting that is not applied is
//! never stored and ignored (<https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html>).

use std::collections::BTreeMap;

use engine::runtimes::IDENTIFIERS;
use wire::{Blob, Decoder, List, Node, Schema, Shape, number, text};

use crate::error::Error;

text! {
    /// A role's ARN.
    pub struct RoleArn: 0..=10_000, r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+";

    /// What the runtime calls.
    pub struct Handler: 0..=128, r"[^\s]+";

    /// Free text.
    pub struct Description: 0..=256;

    /// Where the function logs.
    pub struct LogGroup: 1..=512, r"[\.\-_/#A-Za-z0-9]+";

    /// A bucket's name.
    pub struct BucketName: 3..=63, r"[0-9A-Za-z\.\-_]*[0-9A-Za-z\-_]";

    /// An object's key.
    pub struct ObjectKey: 1..=1024;

    /// A key of KMS, or nothing.
    pub struct KmsKeyArn: 0..=10_000, r"(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()";

    /// Something's ARN, or nothing.
    pub struct TargetArn: 0..=10_000, r"(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()";

    /// A subnet.
    pub struct SubnetId: 0..=1024, "subnet-[0-9a-z]*";

    /// A security group.
    pub struct SecurityGroupId: 0..=1024, "sg-[0-9a-zA-Z]*";

    /// Where a file system is seen.
    pub struct LocalMountPath: 0..=160, "/mnt/[a-zA-Z0-9-_.]+";
}

number! {
    /// Seconds one invocation may take. The model goes further for managed instances, which are not built.
    pub struct Timeout: 1..=900;

    /// Megabytes. The model goes further for managed instances, which are not built.
    pub struct MemorySize: 128..=10_240;

    /// Megabytes of `/tmp`.
    pub struct EphemeralStorageSize: 512..=10_240;
}

/// Every runtime identifier, for the comparison with AWS's model.
static RUNTIMES: [&str; IDENTIFIERS.len()] = {
    let mut names = [""; IDENTIFIERS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = IDENTIFIERS[index].id;
        index += 1;
    }
    names
};

/// A runtime's identifier. Whether there is such a one is found out later, because AWS answers an unknown one with a
/// sentence of its own.
#[derive(Debug, Clone)]
pub struct RuntimeId(pub String);

impl Shape for RuntimeId {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        at.string(node).map(|text| Self(text.into_owned()))
    }
    fn encode(self) -> Node {
        Node::from(self.0)
    }
    fn schema() -> Schema {
        Schema::Enum(&RUNTIMES)
    }
}

/// A runtime's identifier where an unknown one is a broken constraint like any other.
#[derive(Debug, Clone)]
pub struct KnownRuntime(pub String);

impl Shape for KnownRuntime {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        let text = at.string(node)?.into_owned();
        if !RUNTIMES.contains(&text.as_str()) {
            at.not_in_set(&text, &RUNTIMES);
            return None;
        }
        Some(Self(text))
    }
    fn encode(self) -> Node {
        Node::from(self.0)
    }
    fn schema() -> Schema {
        Schema::Enum(&RUNTIMES)
    }
}

/// A list of strings of a closed set, which AWS judges as a whole: `Value '[x, y]' at 'compatibleRuntimes'`.
macro_rules! judged_as_a_whole {
    ($($(#[$meta:meta])* $name:ident of $item:ty: $bounds:expr, $known:expr;)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default)]
        pub struct $name(pub Vec<String>);

        impl Shape for $name {
            fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
                let items = Vec::<String>::decode(node, at)?;
                let bounds: std::ops::RangeInclusive<usize> = $bounds;
                let known: &[&str] = $known;
                let value = format!("[{}]", items.join(", "));
                if items.len() > *bounds.end() {
                    at.violation(&value, &format!("Member must have length less than or equal to {}", bounds.end()));
                    return None;
                }
                if items.len() < *bounds.start() {
                    at.violation(&value, &format!("Member must have length greater than or equal to {}", bounds.start()));
                    return None;
                }
                if items.iter().any(|item| !known.contains(&item.as_str())) {
                    at.violation(&value, &format!(
                        "Member must satisfy constraint: [Member must satisfy enum value set: [{}], Member must not be null]",
                        known.join(", "),
                    ));
                    return None;
                }
                Some(Self(items))
            }
            fn encode(self) -> Node {
                self.0.encode()
            }
            fn schema() -> Schema {
                Schema::List(<$item as Shape>::schema)
            }
        }
    )*};
}

judged_as_a_whole! {
    /// The machine type.
    Architectures of Architecture: 1..=1, Architecture::VALUES;
    /// Machine types that a layer is for.
    CompatibleArchitectures of Architecture: 0..=2, Architecture::VALUES;
    /// Runtimes that a layer is for.
    CompatibleRuntimes of KnownRuntime: 0..=15, &RUNTIMES;
}

/// A machine type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit x86.
    #[shape(name = "x86_64")]
    X86,
    /// 64-bit ARM.
    Arm64,
}

impl Architecture {
    /// This machine's. Functions run on it directly, so there is no other.
    pub const HERE: Architecture = if cfg!(target_arch = "aarch64") {
        Architecture::Arm64
    } else {
        Architecture::X86
    };
}

/// How the code comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum PackageType {
    Zip,
    Image,
}

/// The code of a function.
#[derive(Debug, Shape)]
pub struct FunctionCode {
    pub zip_file: Option<Blob>,
    #[shape(name = "S3Bucket")]
    pub s3_bucket: Option<BucketName>,
    #[shape(name = "S3Key")]
    pub s3_key: Option<ObjectKey>,
    #[shape(name = "S3ObjectVersion")]
    pub s3_object_version: Option<ObjectKey>,
    #[shape(name = "S3ObjectStorageMode")]
    pub s3_object_storage_mode: Option<S3ObjectStorageMode>,
    pub image_uri: Option<String>,
    #[shape(name = "SourceKMSKeyArn")]
    pub source_kms_key_arn: Option<KmsKeyArn>,
}

/// Whether code in S3 is copied or used in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum S3ObjectStorageMode {
    Copy,
    Reference,
}

/// Environment variables.
#[derive(Debug, Clone, Shape)]
pub struct Environment {
    /// By name.
    pub variables: Option<BTreeMap<String, String>>,
}

/// `/tmp`.
#[derive(Debug, Clone, Copy, Shape)]
pub struct EphemeralStorage {
    /// In megabytes.
    pub size: EphemeralStorageSize,
}

/// How the function logs.
#[derive(Debug, Clone, Default, Shape)]
pub struct LoggingConfig {
    pub log_format: Option<LogFormat>,
    pub application_log_level: Option<ApplicationLogLevel>,
    pub system_log_level: Option<SystemLogLevel>,
    pub log_group: Option<LogGroup>,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum LogFormat {
    #[shape(name = "JSON")]
    Json,
    Text,
}

/// Levels of the function's own lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ApplicationLogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

/// Levels of the platform's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SystemLogLevel {
    Debug,
    Info,
    Warn,
}

/// X-Ray.
#[derive(Debug, Clone, Shape)]
pub struct TracingConfig {
    /// Whether invocations are sampled here.
    pub mode: Option<TracingMode>,
}

/// Whether X-Ray samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum TracingMode {
    Active,
    PassThrough,
}

/// Snapshots of initialized environments.
#[derive(Debug, Clone, Shape)]
pub struct SnapStart {
    /// What they are made of.
    pub apply_on: Option<SnapStartApplyOn>,
}

/// What snapshots are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum SnapStartApplyOn {
    PublishedVersions,
    None,
}

/// Where failed events go.
#[derive(Debug, Clone, Shape)]
pub struct DeadLetterConfig {
    /// A queue or a topic.
    pub target_arn: Option<TargetArn>,
}

impl DeadLetterConfig {
    /// The target, if the request names one; an empty one takes it away.
    pub(crate) fn target(&self) -> Option<&str> {
        self.target_arn.as_deref().filter(|arn| !arn.is_empty())
    }
}

/// A private network.
#[derive(Debug, Clone, Shape)]
pub struct VpcConfig {
    pub subnet_ids: Option<List<SubnetId, 0, 16>>,
    pub security_group_ids: Option<List<SecurityGroupId, 0, 5>>,
    pub ipv6_allowed_for_dual_stack: Option<bool>,
}

/// A file system.
#[derive(Debug, Clone, Shape)]
pub struct FileSystemConfig {
    pub arn: String,
    pub local_mount_path: LocalMountPath,
    #[shape(name = "S3FilesConfig")]
    pub s3_files_config: Option<S3FilesConfig>,
}

/// How a file system in S3 reads.
#[derive(Debug, Clone, Shape)]
pub struct S3FilesConfig {
    /// Around the cache or not.
    #[shape(name = "DirectS3Read")]
    pub direct_s3_read: Option<DirectS3Read>,
}

/// Around the cache or not.
#[derive(Debug, Clone, Copy, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DirectS3Read {
    Enabled,
    Disabled,
    Auto,
}

/// What a container image runs.
#[derive(Debug, Clone, Shape)]
pub struct ImageConfig {
    pub entry_point: Option<List<String, 0, 1500>>,
    pub command: Option<List<String, 0, 1500>>,
    pub working_directory: Option<String>,
}

/// Tenants.
#[derive(Debug, Clone, Shape)]
pub struct TenancyConfig {
    /// How they are kept apart.
    pub tenant_isolation_mode: TenantIsolationMode,
}

/// How tenants are kept apart.
#[derive(Debug, Clone, Copy, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TenantIsolationMode {
    PerTenant,
}

/// Managed instances.
#[derive(Debug, Clone, Shape)]
pub struct CapacityProviderConfig {
    /// The provider.
    pub lambda_managed_instances_capacity_provider_config:
        LambdaManagedInstancesCapacityProviderConfig,
}

/// The provider of managed instances.
#[derive(Debug, Clone, Shape)]
pub struct LambdaManagedInstancesCapacityProviderConfig {
    pub capacity_provider_arn: String,
    pub per_execution_environment_max_concurrency: Option<i64>,
    #[shape(name = "ExecutionEnvironmentMemoryGiBPerVCpu")]
    pub execution_environment_memory_gib_per_vcpu: Option<f64>,
}

/// Durable executions.
#[derive(Debug, Clone, Shape)]
pub struct DurableConfig {
    #[shape(name = "KMSKeyArn")]
    pub kms_key_arn: Option<KmsKeyArn>,
    pub retention_period_in_days: Option<i64>,
    pub execution_timeout: Option<i64>,
}

/// A customer-managed runtime.
#[derive(Debug, Clone, Shape)]
pub struct FunctionRuntimeConfig {
    pub runtime_arn: String,
    pub runtime_alias: String,
}

/// Accelerators.
#[derive(Debug, Clone, Shape)]
pub struct AcceleratorConfig {
    /// Their memory.
    pub accelerator_memory_size: i64,
}

/// Where versions are published to.
#[derive(Debug, Clone, Copy, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PublishTo {
    LatestPublished,
}

/// Settings that AWS has and Mayfly does not apply, from either of the two requests that set them.
#[derive(Debug, Default)]
pub(crate) struct NotApplied<'a> {
    pub vpc: Option<&'a VpcConfig>,
    pub kms_key: Option<&'a KmsKeyArn>,
    pub tracing: Option<&'a TracingConfig>,
    pub file_systems: Option<&'a List<FileSystemConfig, 0, 1>>,
    pub image: Option<&'a ImageConfig>,
    pub capacity_provider: Option<&'a CapacityProviderConfig>,
    pub durable: Option<&'a DurableConfig>,
    pub runtime: Option<&'a FunctionRuntimeConfig>,
    pub accelerator: Option<&'a AcceleratorConfig>,
}

impl NotApplied<'_> {
    /// Refuses what would change something; what is empty or says the default passes.
    pub(crate) fn refuse(&self) -> Result<(), Error> {
        let vpc = self.vpc.is_some_and(|vpc| {
            vpc.subnet_ids.iter().any(|ids| !ids.is_empty())
                || vpc.security_group_ids.iter().any(|ids| !ids.is_empty())
                || vpc.ipv6_allowed_for_dual_stack == Some(true)
        });
        let image = self.image.is_some_and(|image| {
            image.entry_point.iter().any(|list| !list.is_empty())
                || image.command.iter().any(|list| !list.is_empty())
                || image.working_directory.iter().any(|text| !text.is_empty())
        });
        let tracing = self.tracing.and_then(|config| config.mode) == Some(TracingMode::Active);
        const NETWORK: &str = "Functions reach Mayfly's own endpoint; leave it out.";
        const LEAVE_OUT: &str = "Leave it out.";
        let rows = [
            ("VpcConfig", vpc, NETWORK),
            (
                "KMSKeyArn",
                self.kms_key.is_some_and(|key| !key.is_empty()),
                LEAVE_OUT,
            ),
            ("TracingConfig Active", tracing, "Use PassThrough."),
            (
                "FileSystemConfigs",
                self.file_systems.is_some_and(|list| !list.is_empty()),
                LEAVE_OUT,
            ),
            ("ImageConfig", image, "Use the package type Zip."),
            (
                "CapacityProviderConfig",
                self.capacity_provider.is_some(),
                LEAVE_OUT,
            ),
            ("DurableConfig", self.durable.is_some(), LEAVE_OUT),
            (
                "RuntimeConfig",
                self.runtime.is_some(),
                "Use provided.al2023 with a bootstrap of your own.",
            ),
            ("AcceleratorConfig", self.accelerator.is_some(), LEAVE_OUT),
        ];
        for (setting, given, advice) in rows {
            refuse(setting, given, advice)?;
        }
        Ok(())
    }
}

/// Refuses one setting when it is given.
pub(crate) fn refuse(
    setting: &'static str,
    given: bool,
    advice: &'static str,
) -> Result<(), Error> {
    match given {
        true => Err(Error::Unsupported { setting, advice }),
        false => Ok(()),
    }
}

/// Refuses machine types that are not this machine's.
pub(crate) fn check_architecture(given: Option<&Architectures>) -> Result<(), Error> {
    let other = given.is_some_and(|list| {
        list.0
            .iter()
            .any(|name| name != Architecture::HERE.as_str())
    });
    let advice = match Architecture::HERE {
        Architecture::X86 => "This machine is x86_64.",
        Architecture::Arm64 => "This machine is arm64.",
    };
    refuse("A machine type other than this machine's", other, advice)
}

/// All variables together, as JSON (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>).
const VARIABLES_BYTES_MAX: usize = 4096;

/// Checks names, reserved names and the size of environment variables.
pub(crate) fn check_variables(variables: &BTreeMap<String, String>) -> Result<(), Error> {
    let legal = |name: &str| {
        name.len() >= 2
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if !variables.keys().all(|name| legal(name)) {
        // The values are secret, so AWS prints nothing of them.
        return Err(Error::BrokenConstraint(
            "1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]".to_owned(),
        ));
    }
    let reserved: Vec<&str> = variables
        .keys()
        .map(String::as_str)
        .filter(|name| engine::RESERVED_VARIABLES.contains(name))
        .collect();
    if !reserved.is_empty() {
        return Err(Error::ReservedVariables(reserved.join(", ")));
    }
    let text = serde_json::to_string(variables).map_err(|e| Error::Internal(e.to_string()))?;
    if text.len() > VARIABLES_BYTES_MAX {
        return Err(Error::VariablesTooLarge(text));
    }
    if variables.values().any(|value| value.contains('\0')) {
        return Err(Error::Invalid(
            "Environment variables must not contain a zero byte.".to_owned(),
        ));
    }
    Ok(())
}
