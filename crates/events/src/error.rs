//! What can go wrong, in AWS's words.

use wire::Arn;

/// Why an operation failed. The texts are AWS's where AWS has one.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says what it is")]
pub enum Error {
    // Buses.
    #[error("Event bus {0} does not exist.")]
    NoBus(String),
    #[error("Event bus {0} already exists.")]
    BusExists(String),
    #[error("Cannot delete event bus default.")]
    DefaultStays,
    #[error("EventBus can't be deleted since it has rules.")]
    BusHasRules,
    #[error("Event bus name must not contain '/'.")]
    SlashInBus,
    #[error("Statement with the provided id does not exist.")]
    NoStatement,
    #[error("EventBus does not have a policy.")]
    NoPolicy,
    #[error("The final policy size ({0}) is bigger than the limit (10240).")]
    PolicyTooLong(usize),

    // Rules and targets.
    #[error("Rule {rule} does not exist on EventBus {bus}.")]
    NoRule { rule: String, bus: String },
    #[error("Rule can't be deleted since it has targets.")]
    RuleHasTargets,
    #[error("Parameter(s) EventPattern or ScheduleExpression must be specified.")]
    NothingToFire,
    #[error("ScheduleExpression is supported only on the default event bus.")]
    ScheduleElsewhere,
    #[error("Event pattern is not valid. Reason: {0}")]
    Pattern(String),
    #[error("Parameter ScheduleExpression is not valid. {0}")]
    Schedule(String),
    #[error("The requested resource exceeds the maximum number allowed.")]
    LimitExceeded,

    // Connections and API destinations.
    #[error("Failed to describe the connection(s). Connection '{0}' does not exist.")]
    NoConnection(String),
    #[error("Failed to describe the api-destination(s). An api-destination '{0}' does not exist.")]
    NoDestination(String),
    #[error("{kind} {name} already exists.")]
    Exists { kind: &'static str, name: String },

    // Archives and replays.
    #[error("Archive {0} does not exist.")]
    NoArchive(String),
    #[error("Replay {0} does not exist.")]
    NoReplay(String),
    #[error("Replay {0} is not in a valid state for this operation.")]
    ReplayEnded(String),

    // Any.
    #[error("Parameter {0} is not valid. Reason: Provided Arn is not in correct format.")]
    NotAnArn(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{setting} is not supported by Mayfly yet. {advice}")]
    Unsupported {
        setting: &'static str,
        advice: &'static str,
    },
    #[error("Resource {0} does not exist.")]
    NoResource(Arn),
    #[error("The resource changed while it was being changed. Please try again.")]
    Contended,

    // Ours.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// AWS's code.
    fn code(&self) -> &'static str {
        match self {
            Error::NoBus(_)
            | Error::NoRule { .. }
            | Error::NoStatement
            | Error::NoPolicy
            | Error::NoConnection(_)
            | Error::NoDestination(_)
            | Error::NoArchive(_)
            | Error::NoReplay(_)
            | Error::NoResource(_) => "ResourceNotFoundException",
            Error::BusExists(_) | Error::Exists { .. } => "ResourceAlreadyExistsException",
            Error::Pattern(_) => "InvalidEventPatternException",
            Error::LimitExceeded => "LimitExceededException",
            Error::PolicyTooLong(_) => "PolicyLengthExceededException",
            Error::ReplayEnded(_) => "IllegalStatusException",
            Error::Contended => "ConcurrentModificationException",
            Error::DefaultStays
            | Error::BusHasRules
            | Error::SlashInBus
            | Error::RuleHasTargets
            | Error::NothingToFire
            | Error::ScheduleElsewhere
            | Error::Schedule(_)
            | Error::NotAnArn(_)
            | Error::Invalid(_)
            | Error::Unsupported { .. } => "ValidationException",
            Error::Internal(_) => "InternalException",
        }
    }
}

impl From<Error> for wire::Error {
    fn from(error: Error) -> Self {
        let code = error.code();
        match error {
            Error::Internal(cause) => {
                let mut hidden = wire::Error::internal(cause);
                hidden.code = code.into();
                hidden
            }
            error => wire::Error::new(code, 400, error.to_string()),
        }
    }
}

impl From<delivery::Error> for Error {
    fn from(error: delivery::Error) -> Self {
        Error::Internal(error.to_string())
    }
}

impl From<crate::ShelfError> for Error {
    fn from(error: crate::ShelfError) -> Self {
        match error {
            crate::ShelfError::Contended => Error::Contended,
            crate::ShelfError::Store(error) => error.into(),
            error @ (crate::ShelfError::Sealed(_) | crate::ShelfError::NoRandom) => {
                Error::Internal(error.to_string())
            }
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Error::Internal(error.to_string())
    }
}
