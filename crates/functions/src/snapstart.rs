//! SnapStart: a version's init runs once, when it is published, and its environments begin where that ended
//! (<https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html>).
//!
//! How environments are made out of it is the engine's. Here is which functions may have it, and the life of a version:
//! `Pending` until its init has run, then `Active`, or `Failed` with the reason.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use engine::Unprepared;
use engine::runtimes::Policy;
use wire::Scope;

use crate::Inner;
use crate::error::Error;
use crate::record::{Content, FailureCode, State};
use crate::settings::{SnapStart, SnapStartApplyOn};
use crate::state::Function;

/// The largest `/tmp` of a function with SnapStart, in megabytes.
const EPHEMERAL_MB_MAX: i64 = 512;
/// The first Python that has SnapStart on AWS.
const PYTHON_FIRST: u32 = 12;

/// Whether a request asks for it; `None` says nothing.
pub(crate) fn asked(given: Option<&SnapStart>) -> Option<bool> {
    let apply_on = given?.apply_on?;
    Some(apply_on == SnapStartApplyOn::PublishedVersions)
}

/// Refuses what cannot have SnapStart.
pub(crate) fn check(content: &Content, policy: Policy) -> Result<(), Error> {
    if !content.snap_start {
        return Ok(());
    }
    if !has_it(&content.runtime, policy) {
        return Err(Error::WithoutSnapStart(content.runtime.clone()));
    }
    if content.ephemeral_mb > EPHEMERAL_MB_MAX {
        let what = format!("EphemeralStorage greater than {EPHEMERAL_MB_MAX} MB");
        return Err(Error::WithoutSnapStart(what));
    }
    Ok(())
}

/// AWS begins with Python 3.12; nothing in what we do needs that, so older ones have it too unless AWS's rules are wanted.
fn has_it(runtime: &str, policy: Policy) -> bool {
    let Some(version) = runtime.strip_prefix("python") else {
        return false;
    };
    let minor = version
        .strip_prefix("3.")
        .and_then(|minor| minor.parse::<u32>().ok());
    match policy {
        Policy::Permissive => true,
        Policy::Aws => minor.is_some_and(|minor| minor >= PYTHON_FIRST),
    }
}

/// Versions whose init runs right now, so that no two activations run it twice.
#[derive(Default)]
pub(crate) struct Initialising(Mutex<BTreeSet<String>>);

impl Initialising {
    fn begin(&self, key: &str) -> Option<Guard<'_>> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(key.to_owned()).then(|| Guard {
            all: self,
            key: key.to_owned(),
        })
    }
}

struct Guard<'a> {
    all: &'a Initialising,
    key: String,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut running = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.key);
    }
}

impl Inner {
    /// Runs the init of every version that waits for it.
    pub(crate) async fn initialise_versions(&self, at: &Scope, name: &str) -> Result<(), Error> {
        let Some(function) = self.functions.get(at, name) else {
            return Ok(());
        };
        for (number, version) in &function.record.versions {
            if version.head.state != State::Active
                && let Some(content) = function.version(*number).filter(|c| c.snap_start)
            {
                let content = Arc::clone(content);
                self.initialise(&function, *number, &content).await?;
            }
        }
        Ok(())
    }

    async fn initialise(
        &self,
        function: &Function,
        number: u64,
        content: &Content,
    ) -> Result<(), Error> {
        let (at, name) = (&function.at, &function.name);
        let wishes = self.config.wishes_of(&function.record.tags);
        let spec = self.specification(at, name, Some(number), content, wishes);
        let prepared = match spec {
            Ok(spec) => {
                let Some(_running) = self.initialising.begin(&spec.key) else {
                    return Ok(());
                };
                self.engine.expect(&spec);
                self.engine.prepare(spec).await
            }
            Err(why) => Err(Unprepared::Refused(engine::Refusal::NoRuntime(why))),
        };
        let state = match prepared {
            // Why there is no template, if there is none, has been logged.
            Ok(_) => State::Active,
            Err(unprepared) => failed(&unprepared),
        };
        let changed = self.change(at, name, |_, record| {
            let same = record.id == function.record.id;
            if let Some(version) = record.versions.get_mut(&number).filter(|_| same) {
                version.head.state = state.clone();
            }
            Ok(())
        });
        match changed.await {
            Ok(_) | Err(Error::FunctionNotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// After a start the templates are gone: init runs again for every version with SnapStart, one after the other. Until
    /// then, and where it fails, environments start the ordinary way.
    pub(crate) async fn initialise_again(self: Arc<Self>) {
        for function in self.functions.all() {
            for (number, version) in &function.record.versions {
                let snap_start = function.version(*number).is_some_and(|c| c.snap_start);
                if !snap_start || version.head.state != State::Active {
                    continue;
                }
                let Some(Ok(spec)) = function.runnable(Some(*number)) else {
                    continue;
                };
                let Some(_running) = self.initialising.begin(&spec.key) else {
                    continue;
                };
                let prepared = tokio::select! {
                    prepared = self.engine.prepare(Arc::clone(spec)) => prepared,
                    () = self.closing.cancelled() => return,
                };
                if let Err(error) = prepared {
                    tracing::warn!(function = function.name, version = number, %error, "init failed");
                }
            }
        }
    }
}

/// `StateReason` and its code of a version whose init failed.
fn failed(unprepared: &Unprepared) -> State {
    let (error_type, document) = match unprepared {
        Unprepared::Refused(refusal) => {
            return State::Failed {
                code: FailureCode::InternalError,
                reason: format!("The function's init could not run: {refusal}."),
            };
        }
        Unprepared::Init {
            error_type,
            document,
        } => (error_type.as_str(), document),
    };
    let code = match error_type {
        "Sandbox.Timedout" => FailureCode::InitTimeout,
        "Runtime.InvalidEntrypoint" => FailureCode::InvalidEntryPoint,
        "Runtime.OutOfMemory" => FailureCode::InitResourceExhausted,
        other if other.starts_with("Extension.") => FailureCode::ExtensionInitError,
        _ => FailureCode::RuntimeInitError,
    };
    let document: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
    let message = document["errorMessage"].as_str().unwrap_or_default();
    State::Failed {
        code,
        reason: format!("Function initialization failed: {error_type}: {message}"),
    }
}
