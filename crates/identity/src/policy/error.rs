//! Why a policy document was refused, in AWS's sentences.

/// A policy document that is not accepted. IAM answers `MalformedPolicyDocument` with this sentence
/// (`IAM/latest/APIReference/API_CreatePolicy.html`, Errors).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not JSON, not an object, an element that is unknown, repeated or of the wrong type.
    #[error("Syntax errors in policy.")]
    Syntax,
    /// A trust policy that is not JSON.
    #[error("This policy contains invalid Json")]
    InvalidJson,
    /// Longer than IAM takes from the wire.
    #[error(
        "Policy document is too large: it must have length less than or equal to {}",
        super::DOCUMENT_BYTES_MAX
    )]
    TooLarge,
    /// Managed policies must use the current language.
    #[error("Policy document must be version 2012-10-17 or greater.")]
    OldVersion,
    /// A value AWS's older parser trips over, such as a date that is none.
    #[error("The policy failed legacy parsing")]
    Legacy,
    /// Two statements share a `Sid`.
    #[error("Statement IDs (SID) in a single policy must be unique.")]
    DuplicateSid,
    /// A `Sid` in an IAM policy with other than letters and digits.
    #[error(
        "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
    )]
    SidCharacters,
    /// Neither `Action` nor `NotAction`.
    #[error("Policy statement must contain actions.")]
    NoActions,
    /// Neither `Resource` nor `NotResource`.
    #[error("Policy statement must contain resources.")]
    NoResources,
    /// An identity policy with `Principal` or `NotPrincipal`.
    #[error("Policy document should not specify a principal.")]
    PrincipalInIdentityPolicy,
    /// A trust or resource policy without a principal.
    #[error("Missing required field Principal")]
    MissingPrincipal,
    /// An element that this flavour of policy may not have.
    #[error("Has prohibited field {0}")]
    Prohibited(&'static str),
    /// A principal that is no account, user, role, session or service. Holds `"AWS":"..."` as AWS prints it.
    #[error("Invalid principal in policy: {0}")]
    InvalidPrincipal(String),
    /// A trust policy about something else than assuming the role.
    #[error("AssumeRole policy may only specify STS AssumeRole actions.")]
    NotAssumeRole,
    /// An action or condition key without a service prefix.
    #[error("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")]
    NoVendor,
    /// An action with more than one colon.
    #[error("Actions/Condition can contain only one colon.")]
    TwoColons,
    /// A service prefix with characters no service has.
    #[error("Vendor {0} is not valid")]
    Vendor(String),
    /// A resource that is neither an ARN nor `*`.
    #[error("Resource {0} must be in ARN format or \"*\".")]
    NotAnArn(String),
    /// An ARN of another partition.
    #[error("Partition \"{partition}\" is not valid for resource \"{resource}\".")]
    Partition {
        /// The partition as written.
        partition: String,
        /// The resource as written, its missing parts as `*`.
        resource: String,
    },
    /// An ARN that stops before its service.
    #[error("Resource vendor must be fully qualified and cannot contain regexes.")]
    ResourceVendor,
    /// IAM is global: its ARNs have no region.
    #[error("IAM resource {0} cannot contain region information.")]
    IamRegion(String),
    /// An IAM ARN that names nothing IAM has.
    #[error("IAM resource path must either be \"*\" or start with {}.", super::document::IAM_PATHS.join(", "))]
    IamPath,
}
