//! What happens behind a created or updated function: its code and layers are brought to the disk, its runtime is
//! found, and it becomes `Active`, or its update `Successful`. And the sweeping of code that nobody refers to.
//!
//! An activation takes no input but the function's record, so that it is the same after a crash.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use wire::Scope;

use crate::code::{Marked, merged_name};
use crate::create::packages;
use crate::error::Error;
use crate::record::{Content, FailureCode, FunctionRecord, LastUpdate, State, new_id};
use crate::state::Function;
use crate::{Functions, Inner};

/// How often garbage is looked for when nothing says that there is some: environments may have kept code in use.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

impl Functions {
    /// Begins what makes a function active, in the background.
    pub(crate) fn activate(&self, at: &Scope, name: &str) {
        self.inner.spawn_activation(at.clone(), name.to_owned());
    }
}

impl Inner {
    fn spawn_activation(self: &Arc<Self>, at: Scope, name: String) {
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Err(error) = inner.run_activation(&at, &name).await {
                // The record says that it is not done; the next start of Mayfly goes on with it.
                tracing::error!(%error, function = %name, "could not activate");
            }
        });
    }

    /// Goes on with the activations that a crash interrupted.
    pub(crate) async fn resume_activations(self: &Arc<Self>) -> Result<(), Error> {
        let functions = self.functions.all();
        let (settled, open): (Vec<_>, Vec<_>) = functions
            .into_iter()
            .partition(|function| is_settled(&function.record));
        let sound: BTreeSet<_> = settled
            .iter()
            .map(|function| function.record.latest.code.digest)
            .collect();
        for function in open {
            // The folder was perhaps not on the disk when the power went.
            let digest = function.record.latest.code.digest;
            if !sound.contains(&digest) {
                self.code.distrust(&digest).await?;
            }
            self.spawn_activation(function.at.clone(), function.name.clone());
        }
        Ok(())
    }

    /// Unpacks again what is missing on the disk, such as after a backup without the unpacked folders was put back.
    pub(crate) async fn repair(&self) -> Result<(), Error> {
        for function in self.functions.all() {
            let contents = function.contents.values().map(|content| &**content);
            for content in contents.chain([&function.record.latest]) {
                let layers = packages(&content.layers);
                let merged = self.code.layers_folder(&layers);
                let code = self.code.package_folder(&content.code.digest);
                if code.is_dir() && merged.is_none_or(|folder| folder.is_dir()) {
                    continue;
                }
                if let Err((_, reason)) = self.prepare(content).await {
                    tracing::error!(function = function.name, reason, "code is missing");
                }
            }
        }
        Ok(())
    }

    async fn run_activation(&self, at: &Scope, name: &str) -> Result<(), Error> {
        self.settle_latest(at, name).await?;
        self.initialise_versions(at, name).await
    }

    async fn settle_latest(&self, at: &Scope, name: &str) -> Result<(), Error> {
        let Some(function) = self.functions.get(at, name) else {
            return Ok(());
        };
        let content = function.record.latest.clone();
        let prepared = self.prepare(&content).await;
        let changed = self.change(at, name, |before, record| {
            if record.id != function.record.id || record.latest.id != content.id {
                return Ok(None);
            }
            settle(before, record, &prepared);
            let old = before
                .runnable(None)
                .and_then(|runnable| runnable.as_ref().ok());
            Ok(old.map(|spec| spec.key.clone()))
        });
        match changed.await {
            Ok((after, Some(old))) => {
                let current = after.runnable(None).and_then(|r| r.as_ref().ok());
                if current.is_none_or(|spec| spec.key != old) {
                    // The slash ends the content's id.
                    self.engine.retire(&old);
                }
                self.garbage.notify_one();
                Ok(())
            }
            // Deleted in the meantime.
            Ok((_, None)) | Err(Error::FunctionNotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Brings everything that the content needs to the disk.
    async fn prepare(&self, content: &Content) -> Result<(), (FailureCode, String)> {
        if let Err(error) = self.config.runtimes.resolve_existing(&content.runtime) {
            return Err((FailureCode::InvalidRuntime, error.to_string()));
        }
        let bring = async {
            self.code.folder(&content.code).await?;
            self.code.merge(&packages(&content.layers)).await?;
            self.code.sync().await
        };
        bring.await.map_err(|error| {
            tracing::error!(%error, "could not bring code to the disk");
            let reason = "The function's code could not be unpacked.".to_owned();
            (FailureCode::InternalError, reason)
        })
    }
}

/// What failed is tried again with every start of Mayfly: a toolchain may be there now, or room on the disk.
fn is_settled(record: &FunctionRecord) -> bool {
    is_latest_settled(record)
        && record
            .versions
            .values()
            .all(|v| v.head.state == State::Active)
}

/// What an activation leaves in the record. As recorded from AWS, the revision of `$LATEST` changes with its state, that
/// of a version does not.
fn settle(
    before: &Function,
    record: &mut FunctionRecord,
    prepared: &Result<(), (FailureCode, String)>,
) {
    let (settled, revision) = (
        is_latest_settled(record),
        record.latest_head.revision_id.clone(),
    );
    let state = match prepared.clone() {
        Ok(()) => State::Active,
        Err((code, reason)) => State::Failed { code, reason },
    };
    for version in record.versions.values_mut() {
        let content = before.contents.get(&version.content);
        // Those with SnapStart are not active before their init has run.
        let waits = prepared.is_ok() && content.is_some_and(|content| content.snap_start);
        if version.head.state != State::Active && !waits {
            version.head.state = state.clone();
        }
    }
    let created = record.latest_head.state == State::Pending;
    if record.latest_head.state != State::Active {
        record.latest_head.state = state;
    }
    record.last_update = match prepared.clone() {
        Ok(()) => LastUpdate::Successful,
        Err(_) if created => LastUpdate::Successful,
        Err((code, reason)) => LastUpdate::Failed { code, reason },
    };
    record.latest_head.revision_id = match settled {
        // Only a version was waited for.
        true => revision,
        false => new_id(),
    };
}

fn is_latest_settled(record: &FunctionRecord) -> bool {
    record.last_update == LastUpdate::Successful && record.latest_head.state == State::Active
}

/// Removes code that nobody refers to, whenever there may be some.
pub(crate) async fn sweep(inner: Arc<Inner>) {
    loop {
        // Read before the round: what becomes garbage meanwhile wakes the next one.
        let garbage = inner.garbage.notified();
        let since_ms = inner.clock.now_ms();
        if let Err(error) = inner.code.sweep(since_ms, || inner.mark()).await {
            tracing::error!(%error, "could not sweep code");
        }
        let Marked { packages, merged } = inner.mark();
        let contents = packages.into_iter().chain(merged).collect();
        inner.engine.sweep_bytecode(contents);
        let every = i64::try_from(SWEEP_EVERY.as_millis()).unwrap_or(i64::MAX);
        tokio::select! {
            () = garbage => {}
            () = inner.clock.sleep_until(since_ms + every) => {}
            () = inner.closing.cancelled() => return,
        }
    }
}

impl Inner {
    /// The code that functions and layers refer to.
    fn mark(&self) -> Marked {
        let mut marked = Marked::default();
        for function in self.functions.all() {
            let contents = function.contents.values().map(|content| &**content);
            for content in contents.chain([&function.record.latest]) {
                marked.packages.insert(content.code.digest.to_string());
                let layers = packages(&content.layers);
                let digests = layers.iter().map(|layer| layer.digest.to_string());
                marked.packages.extend(digests);
                marked.merged.insert(merged_name(&layers));
            }
        }
        for layer in self.layers.all() {
            let versions = layer.record.versions.values();
            let digests = versions.map(|version| version.package.digest.to_string());
            marked.packages.extend(digests);
        }
        marked
    }
}
