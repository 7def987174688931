//! What can go wrong, in AWS's words.

use engine::ThrottleReason;
use engine::runtimes::Unavailable;
use wire::{Arn, Region};

use crate::archive::UNZIPPED_BYTES_MAX;
use crate::code::ZIPPED_BYTES_MAX;

/// Why an operation failed. The texts are AWS's where AWS has one
/// (<https://docs.aws.amazon.com/lambda/latest/api/CommonErrors.html> and each operation's page).
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says what it is")]
pub enum Error {
    // Names.
    #[error("Function not found: {0}")]
    FunctionNotFound(Arn),
    #[error("Functions from '{wanted}' are not reachable in this region ('{here}')")]
    OtherRegion { wanted: Region, here: Region },
    #[error(
        "1 validation error detected: Value '{0}' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64"
    )]
    NameTooLong(String),
    #[error("The derived qualifier from the function name does not match the specified qualifier.")]
    QualifiersDiffer,
    #[error("The function name to create must not have a qualifier.")]
    QualifiedCreate,
    #[error("Function already exist: {0}")]
    FunctionExists(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    BrokenConstraint(String),

    // Settings.
    #[error("{setting} is not supported by Mayfly yet. {advice}")]
    Unsupported {
        setting: &'static str,
        advice: &'static str,
    },
    #[error("The role defined for the function cannot be assumed by Lambda.")]
    RoleNotAssumable,
    #[error("Cross-account pass role is not allowed.")]
    RoleElsewhere,
    #[error(
        "Log level is not supported when LogFormat is set to Text. Remove log level from your request or change the LogFormat to JSON and try again."
    )]
    LevelsNeedJson,
    #[error(transparent)]
    Runtime(#[from] Unavailable),
    #[error(
        "Runtime and Handler are mandatory parameters for functions created with deployment packages."
    )]
    RuntimeAndHandlerNeeded,
    #[error(
        "Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: {0}"
    )]
    ReservedVariables(String),
    #[error(
        "Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: {0}"
    )]
    VariablesTooLarge(String),
    #[error("{0} is not supported for SnapStart enabled functions.")]
    WithoutSnapStart(String),
    #[error("Number of tags exceeds resource tag limit.")]
    TooManyTags,
    #[error("The value of the tag mayfly:internet must be open or closed.")]
    InternetTag,
    #[error("The value of the tag mayfly:template must be true or false.")]
    TemplateTag,
    #[error(
        "The tag mayfly:internet cannot open the internet on this server. Its operator may set internet_by_tag."
    )]
    InternetClosed,
    #[error(
        "Tags on function aliases and versions are not supported. Please specify either a function name or an unqualified function ARN."
    )]
    TagsOnFunctionsOnly,

    // Code.
    #[error("Zipped size must be smaller than {ZIPPED_BYTES_MAX} bytes")]
    PackageTooLarge,
    #[error(
        "Could not unzip uploaded file. Please check your file, then try to upload again. ({0})"
    )]
    NotAPackage(String),
    #[error("Unzipped size must be smaller than {UNZIPPED_BYTES_MAX} bytes")]
    UnzippedTooLarge,
    #[error(
        "Function code combined with layers exceeds the maximum allowed size of {UNZIPPED_BYTES_MAX} bytes. The actual size is {total} bytes."
    )]
    CodeWithLayersTooLarge { total: u64 },
    #[error("Code storage limit exceeded.")]
    CodeStorageExceeded,
    #[error("Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {message}")]
    CodeNotRead { code: String, message: String },
    #[error(
        "Your access has been denied by S3, please make sure your request credentials have permission to GetObject for {object}. S3 Error Code: AccessDenied. S3 Error Message: Access Denied"
    )]
    CodeDenied { object: String },

    // Layers.
    #[error("Cannot reference more than 5 layers.")]
    TooManyLayers,
    #[error(
        "Two different versions of the same layer are not allowed to be referenced in the same function. {first} and {second} are versions of the same layer."
    )]
    LayerTwice { first: Arn, second: Arn },
    #[error(
        "Layers are not in the same region as the function. Layers are expected to be in region {0}."
    )]
    LayerElsewhere(Region),
    #[error("Layer version {0} does not exist.")]
    LayerNotThere(Arn),
    #[error("Layer version {0} does not exist.")]
    LayerVersionNotFound(Arn),
    #[error("Layer Version Cannot be less than 1")]
    LayerVersionTooSmall,

    // States and revisions.
    #[error(
        "The operation cannot be performed at this time. An update is in progress for resource: {0}"
    )]
    UpdateInProgress(Arn),
    #[error(
        "The operation cannot be performed at this time. The function is currently in the following state: {0}"
    )]
    NotActive(&'static str),
    #[error(
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
    )]
    StaleRevision,
    #[error(
        "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the latest Revision Id"
    )]
    StaleLayerRevision,
    #[error("The resource changed while it was being changed. Please try again.")]
    Contended,

    // Versions and aliases.
    #[error("$LATEST version cannot be deleted without deleting the function.")]
    LatestCannotBeDeleted,
    #[error("Unable to delete version because the following aliases reference it: [{0}]")]
    VersionInUse(String),
    #[error("The alias {0} cannot be deleted here. Use DeleteAlias.")]
    AliasNotAVersion(String),
    #[error(
        "CodeSHA256 ({given}) is different from current CodeSHA256 in $LATEST ({current}). Please try again with the CodeSHA256 in $LATEST."
    )]
    CodeDiffers { given: String, current: String },
    #[error("Alias already exists: {0}")]
    AliasExists(Arn),
    #[error("Cannot find alias arn: {0}")]
    AliasNotFound(Arn),
    #[error("A function can have at most {0} aliases.")]
    TooManyAliases(usize),
    #[error("$LATEST is not supported for an alias pointing to more than 1 version")]
    LatestNotRouted,
    #[error("Number of items in AdditionalVersionWeights cannot be greater than 1")]
    TooManyWeights,
    #[error(
        "Invalid function version {0}. Function version {0} is already included in routing configuration."
    )]
    VersionRoutedTwice(String),

    // Policies.
    #[error("We currently do not support adding policies for $LATEST.")]
    PolicyOnLatest,
    #[error("Statement {0} is not found in resource policy.")]
    StatementNotFound(String),
    #[error(
        "The statement id ({0}) provided already exists. Please provide a new statement id, or remove the existing statement."
    )]
    StatementExists(String),
    #[error("The provided principal was invalid. Please check the principal and try again.")]
    InvalidPrincipal,
    #[error("The final policy size ({0}) is bigger than the limit (20480).")]
    PolicyTooLong(usize),
    #[error("No policy is associated with the given resource.")]
    NoPolicy,
    #[error("No policy found for: {0}")]
    NoPolicyFor(Arn),
    #[error("The resource you requested does not exist.")]
    NotThere,

    // Concurrency.
    #[error(
        "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [{0}]."
    )]
    ReservedTooHigh(u32),
    #[error(
        "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN."
    )]
    FunctionsOnly,

    #[error(
        "ReservedConcurrentExecutions should not be lower than function's total provisioned concurrency [{0}]."
    )]
    ReservedBelowProvisioned(u64),
    #[error("Provisioned Concurrency Configs cannot be applied to unpublished function versions.")]
    UnpublishedProvisioned,
    #[error("The function resource provided must be an alias or a published version.")]
    NotPublished,
    #[error("No Provisioned Concurrency Config found for this function")]
    NoProvisionedConfig,
    #[error(
        "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
    )]
    VersionProvisioned,
    #[error("Version is pointed by a Provisioned Concurrency alias")]
    ProvisionedByAlias,
    #[error("Alias with weights can not be used with Provisioned Concurrency")]
    WeightsProvisioned,
    #[error(
        "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
    )]
    ProvisionedAboveReserved,
    #[error(
        "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{0}]."
    )]
    ProvisionedAboveUnreserved(u64),
    #[error(
        "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [{0}]."
    )]
    ProvisionedTooHigh(u32),
    // Asynchronous invocations.
    #[error("The function {0} doesn't have an EventInvokeConfig")]
    NoEventInvokeConfig(Arn),
    #[error("The function doesn't exist.")]
    NoSuchFunction,
    #[error("The function was invoked again and again in a loop, which has been stopped.")]
    Recursive,

    // Invoke.
    #[error(
        "{bytes} byte payload is too large for the {kind} invocation type (limit {limit} bytes)"
    )]
    PayloadTooLarge {
        bytes: usize,
        kind: &'static str,
        limit: usize,
    },
    #[error("Could not parse request body into json: Could not parse payload into json: {0}")]
    PayloadNotJson(String),
    #[error("Client context must be a valid Base64-encoded JSON object.")]
    ClientContextNotJson,
    #[error("Client context must be smaller than 3583 bytes after Base64 encoding.")]
    ClientContextTooLarge,
    #[error("Rate Exceeded.")]
    Throttled(ThrottleReason),
    #[error(
        "Lambda is initializing your function. It will be ready to invoke once your function state becomes ACTIVE."
    )]
    SnapStartNotReady,
    #[error(
        "The afterRestore() runtime hook encountered an error. For more information, check the Amazon CloudWatch logs."
    )]
    SnapStart,
    #[error("Lambda couldn't restore the snapshot within the timeout limit.")]
    SnapStartTimeout,
    #[error("{0}")]
    RuntimeGone(String),
    #[error("{0}")]
    Unavailable(String),

    // Ours.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// AWS's code and HTTP status.
    fn code(&self) -> (&'static str, u16) {
        match self {
            Error::FunctionNotFound(_)
            | Error::OtherRegion { .. }
            | Error::AliasNotFound(_)
            | Error::StatementNotFound(_)
            | Error::NoPolicy
            | Error::NoPolicyFor(_)
            | Error::LayerVersionNotFound(_)
            | Error::NoEventInvokeConfig(_)
            | Error::NoSuchFunction
            | Error::NotThere => ("ResourceNotFoundException", 404),
            Error::NameTooLong(_)
            | Error::QualifiersDiffer
            | Error::Invalid(_)
            | Error::Unsupported { .. }
            | Error::RoleNotAssumable
            | Error::LevelsNeedJson
            | Error::Runtime(_)
            | Error::RuntimeAndHandlerNeeded
            | Error::ReservedVariables(_)
            | Error::VariablesTooLarge(_)
            | Error::WithoutSnapStart(_)
            | Error::TooManyTags
            | Error::InternetTag
            | Error::TemplateTag
            | Error::InternetClosed
            | Error::TagsOnFunctionsOnly
            | Error::NotAPackage(_)
            | Error::UnzippedTooLarge
            | Error::CodeWithLayersTooLarge { .. }
            | Error::CodeNotRead { .. }
            | Error::TooManyLayers
            | Error::LayerTwice { .. }
            | Error::LayerElsewhere(_)
            | Error::LayerNotThere(_)
            | Error::LayerVersionTooSmall
            | Error::LatestCannotBeDeleted
            | Error::AliasNotAVersion(_)
            | Error::CodeDiffers { .. }
            | Error::LatestNotRouted
            | Error::TooManyWeights
            | Error::VersionRoutedTwice(_)
            | Error::PolicyOnLatest
            | Error::InvalidPrincipal
            | Error::ReservedTooHigh(_)
            | Error::ReservedBelowProvisioned(_)
            | Error::UnpublishedProvisioned
            | Error::NotPublished
            | Error::WeightsProvisioned
            | Error::ProvisionedAboveReserved
            | Error::ProvisionedAboveUnreserved(_)
            | Error::ProvisionedTooHigh(_)
            | Error::FunctionsOnly => ("InvalidParameterValueException", 400),
            Error::NoProvisionedConfig => ("ProvisionedConcurrencyConfigNotFoundException", 404),
            Error::QualifiedCreate | Error::BrokenConstraint(_) => ("ValidationException", 400),
            Error::FunctionExists(_)
            | Error::UpdateInProgress(_)
            | Error::NotActive(_)
            | Error::Contended
            | Error::VersionInUse(_)
            | Error::VersionProvisioned
            | Error::ProvisionedByAlias
            | Error::AliasExists(_)
            | Error::StatementExists(_) => ("ResourceConflictException", 409),
            Error::StaleRevision | Error::StaleLayerRevision => {
                ("PreconditionFailedException", 412)
            }
            Error::RoleElsewhere | Error::CodeDenied { .. } => ("AccessDeniedException", 403),
            Error::TooManyAliases(_) => ("AliasLimitExceededException", 400),
            Error::Recursive => ("RecursiveInvocationException", 400),
            Error::PolicyTooLong(_) => ("PolicyLengthExceededException", 400),
            Error::CodeStorageExceeded => ("CodeStorageExceededException", 400),
            Error::PackageTooLarge => ("RequestEntityTooLargeException", 413),
            Error::PayloadTooLarge { .. } => ("RequestTooLargeException", 413),
            Error::PayloadNotJson(_)
            | Error::ClientContextNotJson
            | Error::ClientContextTooLarge => ("InvalidRequestContentException", 400),
            Error::SnapStartNotReady => ("SnapStartNotReadyException", 409),
            Error::SnapStart => ("SnapStartException", 400),
            Error::SnapStartTimeout => ("SnapStartTimeoutException", 408),
            Error::Throttled(_) => ("TooManyRequestsException", 429),
            Error::RuntimeGone(_) => ("InvalidRuntimeException", 502),
            Error::Unavailable(_) => ("ServiceUnavailableException", 503),
            Error::Internal(_) => ("ServiceException", 500),
        }
    }
}

impl From<Error> for wire::Error {
    fn from(error: Error) -> Self {
        let (code, status) = error.code();
        match error {
            Error::Internal(cause) => {
                let mut hidden = wire::Error::internal(cause);
                hidden.code = code.into();
                // The model spells this one's sentence with a capital.
                let message = hidden.message.clone();
                hidden.with("Message", message)
            }
            // Constraint violations come from AWS's front end, which does not say whose fault they are.
            Error::QualifiedCreate | Error::BrokenConstraint(_) | Error::RoleElsewhere => {
                wire::Error::new(code, status, error.to_string())
            }
            Error::Throttled(reason) => wire::Error::new(code, status, error.to_string())
                .with("Type", "User")
                .with("Reason", reason.as_str()),
            Error::RuntimeGone(_)
            | Error::Recursive
            | Error::SnapStartNotReady
            | Error::SnapStart
            | Error::SnapStartTimeout => wire::Error::new(code, status, error.to_string())
                .with("Type", "User")
                .with("Message", error.to_string()),
            error => wire::Error::new(code, status, error.to_string()).with("Type", "User"),
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Error::Internal(error.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Internal(error.to_string())
    }
}
