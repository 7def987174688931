//! What can go wrong, in AWS's words.

/// Why an operation of Scheduler failed. The texts are AWS's where AWS has one.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says what it is")]
pub enum Error {
    #[error("Schedule {0} does not exist.")]
    NoSchedule(String),
    #[error("Schedule group {0} does not exist.")]
    NoGroup(String),
    #[error("Schedule {0} already exists.")]
    ScheduleExists(String),
    #[error("Schedule group {0} already exists.")]
    GroupExists(String),
    #[error("Schedule group {0} is being deleted.")]
    GroupDeleting(String),
    #[error("The default schedule group cannot be deleted.")]
    DefaultStays,
    #[error("{what} limit exceeded: {limit}.")]
    Quota { what: &'static str, limit: usize },
    #[error("{0}")]
    Invalid(String),
    #[error("The resource changed while it was being changed. Please try again.")]
    Contended,
    #[error("{0}")]
    Internal(String),
}

impl Error {
    fn code(&self) -> (&'static str, u16) {
        match self {
            Error::NoSchedule(_) | Error::NoGroup(_) => ("ResourceNotFoundException", 404),
            Error::ScheduleExists(_)
            | Error::GroupExists(_)
            | Error::GroupDeleting(_)
            | Error::Contended => ("ConflictException", 409),
            Error::DefaultStays | Error::Invalid(_) => ("ValidationException", 400),
            Error::Quota { .. } => ("ServiceQuotaExceededException", 402),
            Error::Internal(_) => ("InternalServerException", 500),
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
                hidden
            }
            error => wire::Error::new(code, status, error.to_string()),
        }
    }
}

/// What the shelf says.
impl From<crate::shelf::Error> for Error {
    fn from(error: crate::shelf::Error) -> Self {
        match error {
            crate::shelf::Error::Contended => Error::Contended,
            error => Error::Internal(error.to_string()),
        }
    }
}
