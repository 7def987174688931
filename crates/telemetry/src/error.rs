//! Everything that CloudWatch Logs and CloudWatch answer when they do not do what was asked.

use crate::filter::PatternError;

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation of CloudWatch Logs or CloudWatch.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Logs: no such group.
    #[error("The specified log group does not exist.")]
    GroupNotFound,
    /// Logs: no such stream.
    #[error("The specified log stream does not exist.")]
    StreamNotFound,
    /// Logs: the group's name is taken.
    #[error("The specified log group already exists")]
    GroupExists,
    /// Logs: the stream's name is taken.
    #[error("The specified log stream already exists")]
    StreamExists,
    /// Logs: a paging token that no call has answered.
    #[error("The specified nextToken is invalid.")]
    LogsToken,
    /// Logs: parameters that do not go together or break a limit.
    #[error("{0}")]
    InvalidParameter(String),
    /// Logs: a filter pattern that is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Logs: not possible with this group.
    #[error("{0}")]
    InvalidOperation(String),
    /// Logs: no such resource policy.
    #[error("Policy with that name does not exist.")]
    PolicyNotFound,
    /// Logs: a quota is used up.
    #[error("{0}")]
    LimitExceeded(String),
    /// Logs: more tags than a resource may have.
    #[error("{0}")]
    TooManyTags(String),
    /// Logs: the group is protected.
    #[error("{0}")]
    Protected(String),
    /// Logs: others changed the same group again and again.
    #[error("Multiple concurrent requests to update the same resource were in conflict.")]
    Aborted,
    /// CloudWatch: a value out of its bounds.
    #[error("{0}")]
    InvalidValue(String),
    /// CloudWatch: parameters that exclude each other.
    #[error("{0}")]
    InvalidCombination(String),
    /// CloudWatch: a parameter that must be there.
    #[error("{0}")]
    Missing(String),
    /// CloudWatch: a query that cannot be answered as it stands.
    #[error("{0}")]
    Validation(String),
    /// CloudWatch: a paging token that no call has answered.
    #[error("The service cannot process this request because the NextToken is not valid.")]
    MetricsToken,
    /// Values could not be stored; the cause is in our log.
    #[error("metric values could not be stored: {0}")]
    NotStored(String),
    /// The store did not do what it was asked; the cause stays in our log.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// AWS's code in JSON and CBOR, the code of the older Query form where it differs, and the HTTP status.
    const fn code(&self) -> (&'static str, Option<&'static str>, u16) {
        match self {
            Self::GroupNotFound | Self::StreamNotFound | Self::PolicyNotFound => {
                ("ResourceNotFoundException", None, 400)
            }
            Self::GroupExists | Self::StreamExists => ("ResourceAlreadyExistsException", None, 400),
            Self::LogsToken | Self::InvalidParameter(_) | Self::Pattern(_) => {
                ("InvalidParameterException", None, 400)
            }
            Self::InvalidOperation(_) => ("InvalidOperationException", None, 400),
            Self::LimitExceeded(_) => ("LimitExceededException", None, 400),
            Self::TooManyTags(_) => ("TooManyTagsException", None, 400),
            Self::Protected(_) => ("ValidationException", None, 400),
            Self::Aborted => ("OperationAbortedException", None, 400),
            Self::InvalidValue(_) => (
                "InvalidParameterValueException",
                Some("InvalidParameterValue"),
                400,
            ),
            Self::InvalidCombination(_) => (
                "InvalidParameterCombinationException",
                Some("InvalidParameterCombination"),
                400,
            ),
            Self::Missing(_) => (
                "MissingRequiredParameterException",
                Some("MissingParameter"),
                400,
            ),
            Self::Validation(_) => ("ValidationError", None, 400),
            Self::MetricsToken => ("InvalidNextToken", None, 400),
            Self::Store(_) | Self::NotStored(_) => ("InternalFailure", None, 500),
        }
    }
}

impl From<Error> for wire::Error {
    fn from(error: Error) -> Self {
        if matches!(error, Error::Store(_) | Error::NotStored(_)) {
            return Self::internal(error);
        }
        let (code, query_code, status) = error.code();
        let mut answer = Self::new(code, status, error.to_string());
        answer.query_code = query_code;
        answer
    }
}
