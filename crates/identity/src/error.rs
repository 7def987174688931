//! Why IAM or STS refused, in AWS's sentences.

use crate::policy::PolicyError;

/// A refused or failed operation of IAM or STS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such user, group, role, or inline policy of one.
    #[error("The {noun} with name {name} cannot be found.")]
    NotFound {
        /// What was looked for: `user`, `role policy`, ...
        noun: String,
        /// By which name.
        name: String,
    },
    /// No such instance profile.
    #[error("Instance Profile {0} cannot be found.")]
    NoInstanceProfile(String),
    /// No such access key.
    #[error("The Access Key with id {0} cannot be found.")]
    NoAccessKey(String),
    /// No such managed policy.
    #[error("Policy {0} was not found.")]
    NoPolicy(String),
    /// No such managed policy to attach.
    #[error("Policy {0} does not exist or is not attachable.")]
    NotAttachable(String),
    /// No such managed policy to be a permissions boundary.
    #[error("Scope ARN: {0} does not exist or is not attachable.")]
    NoBoundary(String),
    /// No such version of a managed policy.
    #[error("Policy {arn} version {version} does not exist or is not attachable.")]
    NoPolicyVersion {
        /// The policy.
        arn: String,
        /// The version asked for.
        version: String,
    },
    /// The role is not in the instance profile.
    #[error("Role {0} in Instance Profile cannot be found.")]
    NoRoleInProfile(String),
    /// The account has another alias, or none.
    #[error("The account alias {0} cannot be found.")]
    NoAlias(String),
    /// No such deletion.
    #[error("The deletion task id {0} is not valid.")]
    NoDeletionTask(String),
    /// The name is taken, in whatever capitals.
    #[error("{noun} with name {name} already exists.")]
    Exists {
        /// `User`, `Group` or `Role`.
        noun: &'static str,
        /// The name.
        name: String,
    },
    /// The name is taken.
    #[error("A policy called {0} already exists. Duplicate names are not allowed.")]
    PolicyExists(String),
    /// The name is taken.
    #[error("Instance Profile {0} already exists.")]
    InstanceProfileExists(String),
    /// The alias is taken.
    #[error("The account alias {0} already exists.")]
    AliasExists(String),
    /// Something still hangs on what is to be deleted.
    #[error("{0}")]
    DeleteConflict(&'static str),
    /// A quota (`IAM/latest/UserGuide/reference_iam-quotas.html`).
    #[error("Cannot exceed quota for {name}: {limit}")]
    Quota {
        /// AWS's name of the quota.
        name: &'static str,
        /// How much is allowed.
        limit: usize,
    },
    /// The inline policies of one user, group or role together are too long.
    #[error("Maximum policy size of {limit} bytes exceeded for {noun} {name}")]
    PolicySize {
        /// How much is allowed.
        limit: usize,
        /// `user`, `group` or `role`.
        noun: &'static str,
        /// Whose.
        name: String,
    },
    /// A managed policy has all the versions it may have.
    #[error(
        "A managed policy can have up to {} versions. Before you create a new version, you must delete an existing version.",
        crate::limits::POLICY_VERSIONS_MAX
    )]
    PolicyVersions,
    /// A policy document that is not accepted.
    #[error(transparent)]
    Malformed(#[from] PolicyError),
    /// Two tags with one key.
    #[error("Duplicate tag keys found. Please note that Tag keys are case insensitive.")]
    DuplicateTags,
    /// A name with characters that names do not have.
    #[error(
        "The specified value for {0} is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"
    )]
    InvalidName(&'static str),
    /// A path that is none.
    #[error(
        "The specified value for {0} is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters."
    )]
    InvalidPath(&'static str),
    /// A name, path or service that AWS keeps for itself, or a value that makes no sense.
    #[error("{0}")]
    InvalidInput(String),
    /// A role that belongs to a service.
    #[error(
        "Cannot perform the operation on the protected role '{0}' - this role is only modifiable by AWS"
    )]
    Protected(String),
    /// A policy that belongs to AWS.
    #[error("Cannot perform the operation on the AWS managed policy {0}.")]
    AwsManaged(String),
    /// The caller is no user, so the request must say which.
    #[error("Must specify userName when calling with non-User credentials")]
    NeedsUserName,
    /// A marker that no list of ours gave out.
    #[error("Invalid Marker.")]
    InvalidMarker,
    /// Not an ARN, or not one of the kind wanted.
    #[error("ARN {0} is not valid.")]
    InvalidArn(String),
    /// A value that breaks a constraint which depends on another value.
    #[error("{0}")]
    Validation(String),
    /// Somebody else changed the same thing at the same time.
    #[error(
        "The request was rejected because multiple requests to change this object were submitted simultaneously. Wait a few minutes and submit your request again."
    )]
    Concurrent,
    /// The role's trust policy or the caller's own policies do not allow it, or there is no such role:
    /// strangers must not learn which.
    #[error("User: {who} is not authorized to perform: {action} on resource: {resource}")]
    MayNot {
        /// The caller.
        who: String,
        /// `sts:AssumeRole` or `sts:TagSession`.
        action: &'static str,
        /// The role.
        resource: String,
    },
    /// A call that this kind of credentials may never make.
    #[error("{0}")]
    AccessDenied(&'static str),
    /// Session policies and tags together do not fit into a token.
    #[error("Packed policy consumes {percent}% of allotted space, please use smaller policy.")]
    PackedPolicy {
        /// How full it would be.
        percent: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Something stored cannot be read any more.
    #[error("the stored {what} is damaged: {detail}")]
    Damaged {
        /// Its key.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The operating system's source of randomness, or the cipher, failed.
    #[error("no randomness to be had, or the cipher failed")]
    Crypto,
}

impl Error {
    pub(crate) fn not_found(noun: impl Into<String>, name: &str) -> Self {
        Self::NotFound {
            noun: noun.into(),
            name: name.to_owned(),
        }
    }

    /// AWS's code and status, as the "Errors" sections of the API references list them.
    fn code(&self) -> (&'static str, u16) {
        match self {
            Self::NotFound { .. }
            | Self::NoInstanceProfile(_)
            | Self::NoAccessKey(_)
            | Self::NoPolicy(_)
            | Self::NotAttachable(_)
            | Self::NoBoundary(_)
            | Self::NoPolicyVersion { .. }
            | Self::NoRoleInProfile(_)
            | Self::NoAlias(_)
            | Self::NoDeletionTask(_) => ("NoSuchEntity", 404),
            Self::Exists { .. }
            | Self::PolicyExists(_)
            | Self::InstanceProfileExists(_)
            | Self::AliasExists(_) => ("EntityAlreadyExists", 409),
            Self::DeleteConflict(_) => ("DeleteConflict", 409),
            Self::Quota { .. } | Self::PolicySize { .. } | Self::PolicyVersions => {
                ("LimitExceeded", 409)
            }
            Self::Malformed(_) => ("MalformedPolicyDocument", 400),
            Self::DuplicateTags | Self::InvalidInput(_) => ("InvalidInput", 400),
            Self::InvalidName(_)
            | Self::InvalidPath(_)
            | Self::NeedsUserName
            | Self::InvalidMarker
            | Self::InvalidArn(_)
            | Self::Validation(_) => ("ValidationError", 400),
            Self::Protected(_) => ("UnmodifiableEntity", 400),
            Self::Concurrent => ("ConcurrentModification", 409),
            Self::AwsManaged(_) | Self::MayNot { .. } | Self::AccessDenied(_) => {
                ("AccessDenied", 403)
            }
            Self::PackedPolicy { .. } => ("PackedPolicyTooLarge", 400),
            Self::Store(_) | Self::Damaged { .. } | Self::Crypto => ("ServiceFailure", 500),
        }
    }
}

impl From<Error> for wire::Error {
    fn from(error: Error) -> Self {
        match error.code() {
            (_, 500) => Self::internal(error),
            (code, status) => Self::new(code, status, error.to_string()),
        }
    }
}
