//! Why a runtime did not answer, in the words that AWS uses for it: the payload, the log line, the REPORT.

use std::time::Duration;

use sandbox::Exit;

use crate::api::{RuntimeError, error_document};
use crate::spec::Status;

/// What went wrong with an environment, rather than in the function's code.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The runtime said itself that it cannot start.
    Init(RuntimeError),
    /// The runtime's process ended.
    Exit(Exit),
    /// The kernel ended it because memory ran out.
    OutOfMemory,
    /// The time was up; how much there was.
    Timeout(Duration),
    /// There was nothing to execute, or it could not be.
    Entrypoint(String),
    /// An extension failed.
    Extension {
        error_type: &'static str,
        text: String,
    },
}

impl Failure {
    /// `Runtime.ExitError` and the like.
    pub(crate) fn error_type(&self) -> &str {
        match self {
            Failure::Init(error) => error.error_type.as_deref().unwrap_or("Runtime.Unknown"),
            Failure::Exit(_) => "Runtime.ExitError",
            Failure::OutOfMemory => "Runtime.OutOfMemory",
            Failure::Timeout(_) => "Sandbox.Timedout",
            Failure::Entrypoint(_) => "Runtime.InvalidEntrypoint",
            Failure::Extension { error_type, .. } => error_type,
        }
    }

    /// Whether the function asked for AWS's SDK for Python, which is not there.
    pub(crate) fn misses_sdk(&self) -> bool {
        matches!(self, Failure::Init(error) if misses_sdk(error))
    }

    /// How REPORT and INIT_REPORT call it.
    pub(crate) fn status(&self) -> Status {
        match self {
            Failure::Timeout(_) => Status::Timeout,
            _ => Status::Failure,
        }
    }

    /// The payload of the invocation that met it.
    pub(crate) fn document(&self, request_id: &str) -> RuntimeError {
        match self {
            Failure::Init(error) => error.clone(),
            _ => error_document(
                self.error_type(),
                &format!("RequestId: {request_id} Error: {}", self.text()),
            ),
        }
    }

    /// The line that the log gets, between the function's own output and END.
    pub(crate) fn log_line(&self, request_id: &str, now: &str) -> Option<String> {
        match self {
            Failure::Init(_) => None,
            // The older form, with the time in front; log viewers and alarms look for its words.
            Failure::Timeout(_) => Some(format!("{now} {request_id} {}\n\n", self.text())),
            _ => Some(format!(
                "RequestId: {request_id} Error: {}\n{}\n",
                self.text(),
                self.error_type()
            )),
        }
    }

    fn text(&self) -> String {
        match self {
            Failure::Init(_) => String::new(),
            Failure::Exit(Exit::Code(0)) => "Runtime exited without providing a reason".to_owned(),
            Failure::Exit(Exit::Code(code)) => {
                format!("Runtime exited with error: exit status {code}")
            }
            Failure::Exit(Exit::Signal(signal)) => {
                format!(
                    "Runtime exited with error: signal: {}",
                    signal_name(*signal)
                )
            }
            Failure::OutOfMemory => "Runtime exited with error: signal: killed".to_owned(),
            Failure::Timeout(limit) => {
                format!("Task timed out after {:.2} seconds", limit.as_secs_f64())
            }
            Failure::Entrypoint(text) | Failure::Extension { text, .. } => text.clone(),
        }
    }
}

/// Whether a function failed for want of AWS's SDK for Python. The name is in quotes, but for Python 2.
pub(crate) fn misses_sdk(error: &RuntimeError) -> bool {
    const MISSING: [&[u8]; 2] = [b"No module named 'boto", b"No module named boto"];
    let says = |words: &[u8]| error.body.windows(words.len()).any(|text| text == words);
    MISSING.into_iter().any(says)
}

/// The names that AWS's supervisor prints.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        31 => "bad system call",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failure: &Failure, payload: &str) {
        let document = failure.document("R");
        assert_eq!(String::from_utf8_lossy(&document.body), payload);
    }

    #[test]
    fn aws_words() {
        check(
            &Failure::Timeout(Duration::from_secs(1)),
            r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: R Error: Task timed out after 1.00 seconds"}"#,
        );
        check(
            &Failure::Exit(Exit::Code(0)),
            r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: R Error: Runtime exited without providing a reason"}"#,
        );
        check(
            &Failure::Exit(Exit::Code(127)),
            r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: R Error: Runtime exited with error: exit status 127"}"#,
        );
        check(
            &Failure::Exit(Exit::Signal(11)),
            r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: R Error: Runtime exited with error: signal: segmentation fault"}"#,
        );
        check(
            &Failure::OutOfMemory,
            r#"{"errorType":"Runtime.OutOfMemory","errorMessage":"RequestId: R Error: Runtime exited with error: signal: killed"}"#,
        );
    }
}
