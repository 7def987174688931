//! PublishVersion, ListVersionsByFunction, and the deletion of versions.

use std::sync::Arc;

use store::Expect;
use wire::{Arn, Context, Http, Operation, Scope, Shape};

use crate::configuration::{FunctionConfiguration, Shown};
use crate::error::Error;
use crate::name::FunctionRef;
use crate::paging::{self, MaxItems, PAGE_MAX};
use crate::record::{
    Content, FunctionRecord, Head, LastUpdate, State, VersionHead, new_id, version_key,
};
use crate::settings::{Description, PublishTo, refuse};
use crate::spec::key_prefix;
use crate::state::Function;
use crate::{Functions, Inner};

/// Publishes `$LATEST` as a version (<https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html>).
#[derive(Debug, Shape)]
pub struct PublishVersion {
    function_name: FunctionRef,
    code_sha256: Option<String>,
    description: Option<Description>,
    revision_id: Option<String>,
    publish_to: Option<PublishTo>,
}

impl Operation for PublishVersion {
    type Service = Functions;
    type Output = FunctionConfiguration;
    const NAME: &'static str = "PublishVersion";
    const HTTP: Http = Http::new("POST", "/2015-03-31/functions/{FunctionName}/versions", 201);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<FunctionConfiguration, wire::Error> {
        refuse("PublishTo", self.publish_to.is_some(), "Leave it out.")?;
        let (function, qualifier) = functions.find(&self.function_name, None, cx)?;
        functions.shown(&function, qualifier.as_deref())?;
        let (at, name) = (&function.at.clone(), &function.name.clone());
        let (function, number) = functions
            .inner
            .change_with(at, name, |function, record, made| {
                self.check(function, record)?;
                let description = self.description.as_ref().map(Description::as_str);
                // What SnapStart makes is made by the activation.
                let state = match record.latest.snap_start {
                    true => State::Pending,
                    false => record.latest_head.state.clone(),
                };
                let (number, content) = publish(function, record, description, state);
                made.extend(content);
                Ok(number)
            })
            .await?;
        if *function.state(Some(number)) == State::Pending {
            functions.activate(at, name);
        }
        Ok(functions.version_shown(&function, number)?.into())
    }
}

impl PublishVersion {
    fn check(&self, function: &Function, record: &FunctionRecord) -> Result<(), Error> {
        check_revision(self.revision_id.as_deref(), &record.latest_head.revision_id)?;
        let current = record.latest.code.sha256();
        if let Some(given) = self.code_sha256.as_ref().filter(|given| **given != current) {
            return Err(Error::CodeDiffers {
                given: given.clone(),
                current,
            });
        }
        check_settled(function, record)
    }
}

/// A stale `RevisionId` is refused.
pub(crate) fn check_revision(given: Option<&str>, current: &str) -> Result<(), Error> {
    match given.is_none_or(|given| given == current) {
        true => Ok(()),
        false => Err(Error::StaleRevision),
    }
}

/// Nothing can be changed while a change is on its way.
pub(crate) fn check_settled(function: &Function, record: &FunctionRecord) -> Result<(), Error> {
    if record.latest_head.state == State::Pending {
        return Err(Error::NotActive("Pending"));
    }
    if record.last_update == LastUpdate::InProgress {
        return Err(Error::UpdateInProgress(function.arn(None)));
    }
    Ok(())
}

/// Makes a version of `$LATEST`, unless the newest version is just that. Returns its number, and its content if it is new.
pub(crate) fn publish(
    function: &Function,
    record: &mut FunctionRecord,
    description: Option<&str>,
    state: State,
) -> (u64, Option<(String, Arc<Content>)>) {
    let newest = record.next_version - 1;
    let unchanged = function
        .version(newest)
        .is_some_and(|content| content.id == record.latest.id);
    if unchanged {
        return (newest, None);
    }
    let mut content = record.latest.clone();
    if let Some(description) = description {
        description.clone_into(&mut content.description);
    }
    let number = record.next_version;
    let version = VersionHead {
        head: Head {
            revision_id: new_id(),
            state,
        },
        content: new_id(),
    };
    let made = (version.content.clone(), Arc::new(content));
    record.versions.insert(number, version);
    record.next_version += 1;
    // As recorded from AWS: publishing changes the revision of $LATEST too.
    record.latest_head.revision_id = new_id();
    (number, Some(made))
}

/// All versions (<https://docs.aws.amazon.com/lambda/latest/api/API_ListVersionsByFunction.html>).
#[derive(Debug, Shape)]
pub struct ListVersionsByFunction {
    function_name: FunctionRef,
    marker: Option<String>,
    max_items: Option<MaxItems>,
}

/// See [`ListVersionsByFunction`].
#[derive(Debug, Shape)]
pub struct ListVersionsByFunctionOutput {
    next_marker: Option<String>,
    versions: Option<Vec<FunctionConfiguration>>,
}

impl Operation for ListVersionsByFunction {
    type Service = Functions;
    type Output = ListVersionsByFunctionOutput;
    const NAME: &'static str = "ListVersionsByFunction";
    const HTTP: Http = Http::new("GET", "/2015-03-31/functions/{FunctionName}/versions", 200)
        .query(&[("Marker", "Marker"), ("MaxItems", "MaxItems")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<ListVersionsByFunctionOutput, wire::Error> {
        let (function, _) = functions.find(&self.function_name, None, cx)?;
        let after = paging::after(self.marker.as_deref())?;
        let mut items = functions.versions_listed(&function);
        items.retain(|(key, _)| after.as_ref().is_none_or(|after| key > after));
        let asked = self.max_items.map(MaxItems::get);
        let (page, next_marker) = paging::page(items, asked, PAGE_MAX);
        Ok(ListVersionsByFunctionOutput {
            next_marker,
            versions: Some(page),
        })
    }
}

impl Functions {
    /// A version, with its ARN.
    pub(crate) fn version_shown<'a>(
        &self,
        function: &'a Function,
        number: u64,
    ) -> Result<Shown<'a>, Error> {
        let qualifier = number.to_string();
        let not_found = || Error::FunctionNotFound(function.arn(Some(&qualifier)));
        let head = function
            .record
            .versions
            .get(&number)
            .ok_or_else(not_found)?;
        let content = function.version(number).ok_or_else(not_found)?;
        Ok(Shown {
            version: Some(number),
            content,
            head: &head.head,
            last_update: None,
            runtime_digest: self.runtime_digest(&content.runtime),
            qualifier: Some(qualifier),
            ..Shown::latest(&function.at, &function.name, &function.record)
        })
    }

    /// `$LATEST` and all versions as lists show them, each with a key by which they order.
    pub(crate) fn versions_listed(
        &self,
        function: &Arc<Function>,
    ) -> Vec<(String, FunctionConfiguration)> {
        let mut latest = self.listed(function);
        latest.function_arn = Some(function.arn(Some(crate::name::LATEST)));
        let mut items = vec![(String::from("0"), latest)];
        for number in function.record.versions.keys() {
            if let Ok(shown) = self.version_shown(function, *number) {
                let version = FunctionConfiguration::from(shown).listed();
                items.push((format!("{number:020}"), version));
            }
        }
        items
    }

    /// Deletes a version. One that is not there is deleted already, as on AWS.
    pub(crate) async fn delete_version(
        &self,
        at: &Scope,
        name: &str,
        number: u64,
    ) -> Result<(), Error> {
        let inner = &self.inner;
        let change = inner.change(at, name, |function, record| {
            let users: Vec<&str> = record
                .aliases
                .iter()
                .filter(|(_, alias)| {
                    let number = number.to_string();
                    alias.version == number || alias.weights.contains_key(&number)
                })
                .map(|(name, _)| name.as_str())
                .collect();
            if !users.is_empty() {
                return Err(Error::VersionInUse(users.join(", ")));
            }
            record.policies.remove(&number.to_string());
            record.provisioned.remove(&number.to_string());
            record.event_invoke.remove(&number.to_string());
            let removed = record.versions.remove(&number);
            Ok(removed.map(|version| (function.record.id.clone(), version.content)))
        });
        let (_, removed) = change.await?;
        if let Some((id, content)) = removed {
            inner
                .engine
                .retire(&format!("{}{number}/", key_prefix(at, name)));
            let key = version_key(at, name, &id, &content);
            inner.kv.delete(&key, Expect::Any).await?;
            inner.garbage.notify_one();
        }
        Ok(())
    }
}

impl Inner {
    /// Removes the records of all versions of a function that is gone.
    pub(crate) async fn delete_contents(&self, gone: &Function) -> Result<(), Error> {
        for version in gone.record.versions.values() {
            let key = version_key(&gone.at, &gone.name, &gone.record.id, &version.content);
            self.kv.delete(&key, Expect::Any).await?;
        }
        Ok(())
    }
}
