//! [`Error`]: what a client sees when an operation fails. Each crate has its own enum and turns it into this at its edge.

use std::borrow::Cow;
use std::fmt;

use crate::Node;

/// A failed operation: AWS's code, status and sentence, and what else its envelope carries.
#[derive(Debug)]
pub struct Error {
    /// AWS's code, such as `ResourceNotFoundException`.
    pub code: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// The sentence for the user.
    pub message: String,
    /// Further members of the error structure, such as Lambda's `Type` and `Reason`.
    pub members: Vec<(&'static str, Node)>,
    /// Further response headers, such as `Retry-After`.
    pub headers: Vec<(&'static str, String)>,
    /// The code for clients that still read the service's older Query form.
    pub query_code: Option<&'static str>,
}

impl Error {
    /// An error of this code, HTTP status and sentence.
    pub fn new(
        code: impl Into<Cow<'static, str>>,
        status: u16,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code: code.into(),
            status,
            message: message.into(),
            members: Vec::new(),
            headers: Vec::new(),
            query_code: None,
        }
    }

    /// Something of ours went wrong. The cause goes to the log, with the request id of the span; the client learns
    /// only that id.
    pub fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(%cause, "internal failure");
        Self::new(
            "InternalFailure",
            500,
            "The request processing has failed because of an unknown error, exception or failure.",
        )
    }

    /// Adds a member to the error structure.
    pub fn with(mut self, name: &'static str, value: impl Into<Node>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// Adds a response header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.message)
    }
}

impl std::error::Error for Error {}
