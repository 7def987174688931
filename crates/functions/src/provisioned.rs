//! Provisioned concurrency of aliases and published versions
//! (<https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html>).
//!
//! What is asked for is a part of the function's record; how far it is, the engine knows. After a start the engine is told
//! anew, and makes the environments again.

use std::sync::Arc;

use engine::{Provision, ProvisionFailure, Provisioned};
use wire::{Arn, Context, Http, Operation, Scope, Shape, number};

use crate::configuration::date;
use crate::error::Error;
use crate::name::{FunctionRef, LATEST, Qualifier};
use crate::paging::{self, PAGE_MAX};
use crate::record::{Alias, FunctionRecord, ProvisionedConfig, State};
use crate::state::{Function, version_number};
use crate::{Functions, Inner};

number! {
    /// Environments that are kept ready.
    pub struct ProvisionedConcurrentExecutions: 1..=2_147_483_647;

    /// Most configurations of a page.
    pub struct MaxProvisionedConcurrencyConfigListItems: 1..=50;
}

/// How far an allocation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProvisionedConcurrencyStatus {
    InProgress,
    Ready,
    Failed,
}

/// What an alias or a version has.
#[derive(Debug, Shape)]
pub struct ProvisionedConcurrency {
    requested_provisioned_concurrent_executions: Option<u32>,
    available_provisioned_concurrent_executions: Option<u32>,
    allocated_provisioned_concurrent_executions: Option<u32>,
    status: Option<ProvisionedConcurrencyStatus>,
    status_reason: Option<String>,
    last_modified: Option<String>,
}

/// The same in a list.
#[derive(Debug, Shape)]
pub struct ProvisionedConcurrencyConfigListItem {
    function_arn: Option<Arn>,
    requested_provisioned_concurrent_executions: Option<u32>,
    available_provisioned_concurrent_executions: Option<u32>,
    allocated_provisioned_concurrent_executions: Option<u32>,
    status: Option<ProvisionedConcurrencyStatus>,
    status_reason: Option<String>,
    last_modified: Option<String>,
}

const PATH: &str = "/2019-09-30/functions/{FunctionName}/provisioned-concurrency";

/// Asks for environments that are kept ready
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_PutProvisionedConcurrencyConfig.html>).
#[derive(Debug, Shape)]
pub struct PutProvisionedConcurrencyConfig {
    function_name: FunctionRef,
    qualifier: Qualifier,
    provisioned_concurrent_executions: ProvisionedConcurrentExecutions,
}

impl Operation for PutProvisionedConcurrencyConfig {
    type Service = Functions;
    type Output = ProvisionedConcurrency;
    const NAME: &'static str = "PutProvisionedConcurrencyConfig";
    const HTTP: Http = Http::new("PUT", PATH, 202).query(&[("Qualifier", "Qualifier")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.qualified_arn(at, Some(&self.qualifier))
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<ProvisionedConcurrency, wire::Error> {
        let unpublished = Error::UnpublishedProvisioned;
        let (function, qualifier) =
            functions.find_published(&self.function_name, &self.qualifier, unpublished, cx)?;
        let asked = self.provisioned_concurrent_executions.get();
        let asked = u32::try_from(asked).unwrap_or(u32::MAX);
        let inner = &functions.inner;
        let change = inner.change(&function.at, &function.name, |function, record| {
            check_target(function, record, &qualifier)?;
            let sum = record.provisioned_sum(&qualifier) + u64::from(asked);
            let reserved = record.reserved_concurrency;
            let ledger = &inner.reserved;
            ledger.provision(&function.at, &function.name, reserved, sum)?;
            let config = ProvisionedConfig {
                requested: asked,
                modified_ms: cx.now_ms,
            };
            record.provisioned.insert(qualifier.clone(), config);
            Ok(())
        });
        let changed = change.await;
        inner.apply_concurrency(&function.at, &function.name);
        let (function, ()) = changed?;
        let mut shown = inner.provisioned_shown(&function, &qualifier)?;
        // The answer is to the request, so it says that there is something to be done, as on AWS.
        shown.status = Some(ProvisionedConcurrencyStatus::InProgress);
        shown.status_reason = None;
        Ok(shown)
    }
}

/// What an alias or a version has
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_GetProvisionedConcurrencyConfig.html>).
#[derive(Debug, Shape)]
pub struct GetProvisionedConcurrencyConfig {
    function_name: FunctionRef,
    qualifier: Qualifier,
}

impl Operation for GetProvisionedConcurrencyConfig {
    type Service = Functions;
    type Output = ProvisionedConcurrency;
    const NAME: &'static str = "GetProvisionedConcurrencyConfig";
    const HTTP: Http = Http::new("GET", PATH, 200).query(&[("Qualifier", "Qualifier")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.qualified_arn(at, Some(&self.qualifier))
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<ProvisionedConcurrency, wire::Error> {
        let unpublished = Error::NotPublished;
        let (function, qualifier) =
            functions.find_published(&self.function_name, &self.qualifier, unpublished, cx)?;
        Ok(functions.inner.provisioned_shown(&function, &qualifier)?)
    }
}

/// All that a function has
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_ListProvisionedConcurrencyConfigs.html>).
#[derive(Debug, Shape)]
pub struct ListProvisionedConcurrencyConfigs {
    function_name: FunctionRef,
    marker: Option<String>,
    max_items: Option<MaxProvisionedConcurrencyConfigListItems>,
}

/// See [`ListProvisionedConcurrencyConfigs`].
#[derive(Debug, Shape)]
pub struct ListProvisionedConcurrencyConfigsOutput {
    provisioned_concurrency_configs: Option<Vec<ProvisionedConcurrencyConfigListItem>>,
    next_marker: Option<String>,
}

impl Operation for ListProvisionedConcurrencyConfigs {
    type Service = Functions;
    type Output = ListProvisionedConcurrencyConfigsOutput;
    const NAME: &'static str = "ListProvisionedConcurrencyConfigs";
    const HTTP: Http = Http::new(
        "GET",
        "/2019-09-30/functions/{FunctionName}/provisioned-concurrency?List=ALL",
        200,
    )
    .query(&[("Marker", "Marker"), ("MaxItems", "MaxItems")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<ListProvisionedConcurrencyConfigsOutput, wire::Error> {
        let (function, _) = functions.find(&self.function_name, None, cx)?;
        let after = paging::after(self.marker.as_deref())?;
        let mut items = Vec::new();
        for qualifier in function.record.provisioned.keys() {
            if after.as_ref().is_none_or(|after| qualifier > after) {
                let shown = functions.inner.provisioned_shown(&function, qualifier)?;
                items.push((qualifier.clone(), listed(&function, qualifier, shown)));
            }
        }
        let asked = self
            .max_items
            .map(MaxProvisionedConcurrencyConfigListItems::get);
        let (page, next_marker) = paging::page(items, asked, PAGE_MAX);
        Ok(ListProvisionedConcurrencyConfigsOutput {
            provisioned_concurrency_configs: Some(page),
            next_marker,
        })
    }
}

/// Gives it back; where there is none, it is given back already, as on AWS
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_DeleteProvisionedConcurrencyConfig.html>).
#[derive(Debug, Shape)]
pub struct DeleteProvisionedConcurrencyConfig {
    function_name: FunctionRef,
    qualifier: Qualifier,
}

impl Operation for DeleteProvisionedConcurrencyConfig {
    type Service = Functions;
    type Output = ();
    const NAME: &'static str = "DeleteProvisionedConcurrencyConfig";
    const HTTP: Http = Http::new("DELETE", PATH, 204).query(&[("Qualifier", "Qualifier")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.qualified_arn(at, Some(&self.qualifier))
    }

    async fn run(self, functions: &Functions, cx: &Context) -> Result<(), wire::Error> {
        let unpublished = Error::NotPublished;
        let (function, qualifier) =
            functions.find_published(&self.function_name, &self.qualifier, unpublished, cx)?;
        if !function.record.provisioned.contains_key(&qualifier) {
            return Ok(());
        }
        let inner = &functions.inner;
        let change = inner.change(&function.at, &function.name, |_, record| {
            record.provisioned.remove(&qualifier);
            Ok(())
        });
        change.await?;
        Ok(())
    }
}

impl Functions {
    /// The function, and an alias or a version of it that is there; `$LATEST` is refused with `unpublished`.
    fn find_published(
        &self,
        name: &FunctionRef,
        qualifier: &Qualifier,
        unpublished: Error,
        cx: &Context,
    ) -> Result<(Arc<Function>, String), Error> {
        let at = name.reach(&cx.scope)?;
        let Some(qualifier) = name.qualifier(Some(qualifier))?.filter(|q| q != LATEST) else {
            return Err(unpublished);
        };
        let missing = || {
            let arn = Arn::function(&at, name.name(), Some(&qualifier));
            match version_number(&qualifier) {
                Some(_) => Error::FunctionNotFound(arn),
                None => Error::AliasNotFound(arn),
            }
        };
        let function = self.inner.functions.get(&at, name.name());
        let function = function.ok_or_else(missing)?;
        let there = match version_number(&qualifier) {
            Some(number) => function.record.versions.contains_key(&number),
            None => function.record.aliases.contains_key(&qualifier),
        };
        match there {
            true => Ok((function, qualifier)),
            false => Err(missing()),
        }
    }
}

/// Whether this alias or version may have provisioned concurrency. One version has it in one way only.
fn check_target(
    function: &Function,
    record: &FunctionRecord,
    qualifier: &str,
) -> Result<(), Error> {
    let number = match version_number(qualifier) {
        Some(number) => {
            let aliased = |(name, alias): (&String, &Alias)| {
                record.provisioned.contains_key(name) && routes_to(alias, number)
            };
            if record.aliases.iter().any(aliased) {
                return Err(Error::ProvisionedByAlias);
            }
            number
        }
        None => {
            let missing = || Error::AliasNotFound(function.arn(Some(qualifier)));
            let alias = record.aliases.get(qualifier).ok_or_else(missing)?;
            if !alias.weights.is_empty() {
                return Err(Error::WeightsProvisioned);
            }
            check_alias(record, qualifier, alias)?;
            version_number(&alias.version).ok_or(Error::UnpublishedProvisioned)?
        }
    };
    if function.has_snap_start(Some(number)) {
        let what = "Provisioned Concurrency".to_owned();
        return Err(Error::WithoutSnapStart(what));
    }
    let missing = || Error::FunctionNotFound(function.arn(Some(&number.to_string())));
    let version = record.versions.get(&number).ok_or_else(missing)?;
    match version.head.state {
        State::Active => Ok(()),
        State::Pending => Err(Error::NotActive("Pending")),
        State::Failed { .. } => Err(Error::NotActive("Failed")),
    }
}

/// An alias with provisioned concurrency leads to versions that have none of their own, nor by another alias.
pub(crate) fn check_alias(record: &FunctionRecord, name: &str, alias: &Alias) -> Result<(), Error> {
    for (version, _) in shares(alias, 0) {
        let number = version.ok_or(Error::UnpublishedProvisioned)?;
        if record.provisioned.contains_key(&number.to_string()) {
            return Err(Error::VersionProvisioned);
        }
        let others = record.aliases.iter().filter(|(other, _)| *other != name);
        let mut provisioned = others.filter(|(other, _)| record.provisioned.contains_key(*other));
        if provisioned.any(|(_, other)| routes_to(other, number)) {
            return Err(Error::ProvisionedByAlias);
        }
    }
    Ok(())
}

fn routes_to(alias: &Alias, number: u64) -> bool {
    shares(alias, 0)
        .iter()
        .any(|(version, _)| *version == Some(number))
}

/// How an alias shares its provisioned environments between the versions it leads to (`None`: `$LATEST`): as it shares
/// the invocations.
fn shares(alias: &Alias, count: u32) -> Vec<(Option<u64>, u32)> {
    let further = alias.weights.iter().next().map(|(version, weight)| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a weight is from 0 to 1, so the share is from 0 to the count"
        )]
        let share = (f64::from(count) * weight).round() as u32;
        (version_number(version), share.min(count))
    });
    let rest = count - further.map_or(0, |(_, share)| share);
    let main = (version_number(&alias.version), rest);
    [Some(main), further].into_iter().flatten().collect()
}

impl Function {
    /// The versions that a qualifier's environments are of, and how many each has.
    fn provisions_of(&self, qualifier: &str, count: u32) -> Vec<(u64, u32)> {
        if let Some(number) = version_number(qualifier) {
            return vec![(number, count)];
        }
        let alias = self.record.aliases.get(qualifier);
        let shares = alias.map(|alias| shares(alias, count)).unwrap_or_default();
        let numbered = |(version, share): (Option<u64>, u32)| Some((version?, share));
        shares.into_iter().filter_map(numbered).collect()
    }

    /// All that the engine is to keep ready.
    pub(crate) fn provisions(&self) -> Vec<Provision> {
        let mut out = Vec::new();
        for (qualifier, config) in &self.record.provisioned {
            for (number, count) in self.provisions_of(qualifier, config.requested) {
                let Some(Ok(spec)) = self.runnable(Some(number)) else {
                    continue;
                };
                out.push(Provision {
                    spec: Arc::clone(spec),
                    count,
                    request: config.modified_ms,
                });
            }
        }
        out
    }
}

impl FunctionRecord {
    /// Environments that are asked for, by whatever qualifier but this.
    pub(crate) fn provisioned_sum(&self, except: &str) -> u64 {
        let configs = self.provisioned.iter();
        let others = configs.filter(|(qualifier, _)| *qualifier != except);
        others.map(|(_, config)| u64::from(config.requested)).sum()
    }
}

impl Inner {
    fn provisioned_shown(
        &self,
        function: &Function,
        qualifier: &str,
    ) -> Result<ProvisionedConcurrency, Error> {
        let config = function.record.provisioned.get(qualifier);
        let config = config.ok_or(Error::NoProvisionedConfig)?;
        let mut allocated = 0;
        let mut complete = true;
        let mut reason = None;
        for (number, count) in function.provisions_of(qualifier, config.requested) {
            let there = match function.runnable(Some(number)) {
                Some(Ok(spec)) => self.engine.provisioned(&spec.key),
                Some(Err(why)) => {
                    reason = Some(why.clone());
                    Provisioned::default()
                }
                None => Provisioned::default(),
            };
            allocated += there.allocated.min(count);
            complete &= there.allocated >= count;
            reason = reason.or(there.failure.map(|failure| status_reason(&failure)));
        }
        let status = match (complete, &reason) {
            (true, _) => ProvisionedConcurrencyStatus::Ready,
            (false, Some(_)) => ProvisionedConcurrencyStatus::Failed,
            (false, None) => ProvisionedConcurrencyStatus::InProgress,
        };
        Ok(ProvisionedConcurrency {
            requested_provisioned_concurrent_executions: Some(config.requested),
            available_provisioned_concurrent_executions: Some(allocated),
            allocated_provisioned_concurrent_executions: Some(allocated),
            status: Some(status),
            status_reason: reason.filter(|_| !complete),
            last_modified: Some(date(config.modified_ms)),
        })
    }
}

/// AWS's word where it has one.
fn status_reason(failure: &ProvisionFailure) -> String {
    let text = match failure {
        ProvisionFailure::Init => "FUNCTION_ERROR_INIT_FAILURE",
        ProvisionFailure::NoRoom => {
            "Mayfly has no room for the environments. Its operator may raise environments_memory_mb_max and environments_max."
        }
        ProvisionFailure::Role => "The role defined for the function cannot be assumed by Lambda.",
        ProvisionFailure::Internal => "INTERNAL_ERROR",
    };
    text.to_owned()
}

fn listed(
    function: &Function,
    qualifier: &str,
    shown: ProvisionedConcurrency,
) -> ProvisionedConcurrencyConfigListItem {
    ProvisionedConcurrencyConfigListItem {
        function_arn: Some(function.arn(Some(qualifier))),
        requested_provisioned_concurrent_executions: shown
            .requested_provisioned_concurrent_executions,
        available_provisioned_concurrent_executions: shown
            .available_provisioned_concurrent_executions,
        allocated_provisioned_concurrent_executions: shown
            .allocated_provisioned_concurrent_executions,
        status: shown.status,
        status_reason: shown.status_reason,
        last_modified: shown.last_modified,
    }
}
