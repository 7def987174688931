//! Aliases: names for versions, which may share the invocations between two of them.

use std::collections::BTreeMap;

use wire::{Arn, Context, Http, Operation, Scope, Shape, text};

use crate::Functions;
use crate::error::Error;
use crate::name::{AliasName, FunctionRef, LATEST};
use crate::paging::{self, MaxItems, PAGE_MAX};
use crate::provisioned::check_alias;
use crate::record::{Alias, FunctionRecord, new_id};
use crate::settings::Description;
use crate::state::{Function, version_number};
use crate::version::check_revision;

/// Aliases of a function. AWS names no number; the record of a function must stay small enough to be written at once.
const ALIASES_MAX: usize = 1000;

text! {
    /// What an alias may point to.
    pub struct AliasedVersion: 1..=1024, r"(\$LATEST(\.PUBLISHED)?|[0-9]+)";
}

/// How an alias shares invocations.
#[derive(Debug, Clone, Shape)]
pub struct AliasRoutingConfiguration {
    /// A further version, and its share.
    additional_version_weights: Option<BTreeMap<String, f64>>,
}

/// An alias (<https://docs.aws.amazon.com/lambda/latest/api/API_AliasConfiguration.html>).
#[derive(Debug, Shape)]
pub struct AliasConfiguration {
    alias_arn: Option<Arn>,
    name: Option<String>,
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<AliasRoutingConfiguration>,
    revision_id: Option<String>,
}

/// Creates an alias (<https://docs.aws.amazon.com/lambda/latest/api/API_CreateAlias.html>).
#[derive(Debug, Shape)]
pub struct CreateAlias {
    function_name: FunctionRef,
    name: AliasName,
    function_version: AliasedVersion,
    description: Option<Description>,
    routing_config: Option<AliasRoutingConfiguration>,
}

impl Operation for CreateAlias {
    type Service = Functions;
    type Output = AliasConfiguration;
    const NAME: &'static str = "CreateAlias";
    const HTTP: Http = Http::new("POST", "/2015-03-31/functions/{FunctionName}/aliases", 201);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<AliasConfiguration, wire::Error> {
        let (function, _) = functions.find(&self.function_name, None, cx)?;
        let (at, name) = (&function.at, &function.name);
        let change = functions.inner.change(at, name, |function, record| {
            let arn = function.arn(Some(self.name.as_str()));
            if record.aliases.contains_key(self.name.as_str()) {
                return Err(Error::AliasExists(arn));
            }
            if record.aliases.len() >= ALIASES_MAX {
                return Err(Error::TooManyAliases(ALIASES_MAX));
            }
            let alias = Alias {
                version: self.function_version.to_string(),
                weights: weights(self.routing_config.as_ref()),
                description: text_of(self.description.as_ref()),
                revision_id: new_id(),
            };
            check(function, record, &alias)?;
            let alias = record
                .aliases
                .entry(self.name.as_str().to_owned())
                .or_insert(alias);
            Ok(alias.clone())
        });
        let (function, alias) = change.await?;
        Ok(shown(&function, self.name.as_str(), &alias))
    }
}

/// Changes an alias; what is not given stays (<https://docs.aws.amazon.com/lambda/latest/api/API_UpdateAlias.html>).
#[derive(Debug, Shape)]
pub struct UpdateAlias {
    function_name: FunctionRef,
    name: AliasName,
    function_version: Option<AliasedVersion>,
    description: Option<Description>,
    routing_config: Option<AliasRoutingConfiguration>,
    revision_id: Option<String>,
}

impl Operation for UpdateAlias {
    type Service = Functions;
    type Output = AliasConfiguration;
    const NAME: &'static str = "UpdateAlias";
    const HTTP: Http = Http::new(
        "PUT",
        "/2015-03-31/functions/{FunctionName}/aliases/{Name}",
        200,
    );

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<AliasConfiguration, wire::Error> {
        let (function, _) = functions.find(&self.function_name, None, cx)?;
        let (at, name) = (&function.at, &function.name);
        let change = functions.inner.change(at, name, |function, record| {
            let arn = function.arn(Some(self.name.as_str()));
            let before = record.aliases.get(self.name.as_str());
            let mut alias = before.ok_or(Error::AliasNotFound(arn))?.clone();
            check_revision(self.revision_id.as_deref(), &alias.revision_id)?;
            if let Some(version) = &self.function_version {
                alias.version = version.to_string();
            }
            if self.description.is_some() {
                alias.description = text_of(self.description.as_ref());
            }
            if self.routing_config.is_some() {
                alias.weights = weights(self.routing_config.as_ref());
            }
            alias.revision_id = new_id();
            check(function, record, &alias)?;
            if record.provisioned.contains_key(self.name.as_str()) {
                check_alias(record, self.name.as_str(), &alias)?;
            }
            record
                .aliases
                .insert(self.name.as_str().to_owned(), alias.clone());
            Ok(alias)
        });
        let (function, alias) = change.await?;
        Ok(shown(&function, self.name.as_str(), &alias))
    }
}

/// An alias (<https://docs.aws.amazon.com/lambda/latest/api/API_GetAlias.html>).
#[derive(Debug, Shape)]
pub struct GetAlias {
    function_name: FunctionRef,
    name: AliasName,
}

impl Operation for GetAlias {
    type Service = Functions;
    type Output = AliasConfiguration;
    const NAME: &'static str = "GetAlias";
    const HTTP: Http = Http::new(
        "GET",
        "/2015-03-31/functions/{FunctionName}/aliases/{Name}",
        200,
    );

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<AliasConfiguration, wire::Error> {
        // AWS does not say which of the two is missing.
        let at = self.function_name.reach(&cx.scope)?;
        let name = self.name.as_str();
        let missing =
            || Error::AliasNotFound(Arn::function(&at, self.function_name.name(), Some(name)));
        let function = functions
            .inner
            .functions
            .get(&at, self.function_name.name());
        let function = function.ok_or_else(missing)?;
        let alias = function.record.aliases.get(name).ok_or_else(missing)?;
        Ok(shown(&function, name, alias))
    }
}

/// The aliases of a function (<https://docs.aws.amazon.com/lambda/latest/api/API_ListAliases.html>).
#[derive(Debug, Shape)]
pub struct ListAliases {
    function_name: FunctionRef,
    function_version: Option<AliasedVersion>,
    marker: Option<String>,
    max_items: Option<MaxItems>,
}

/// See [`ListAliases`].
#[derive(Debug, Shape)]
pub struct ListAliasesOutput {
    next_marker: Option<String>,
    aliases: Option<Vec<AliasConfiguration>>,
}

impl Operation for ListAliases {
    type Service = Functions;
    type Output = ListAliasesOutput;
    const NAME: &'static str = "ListAliases";
    const HTTP: Http =
        Http::new("GET", "/2015-03-31/functions/{FunctionName}/aliases", 200).query(&[
            ("FunctionVersion", "FunctionVersion"),
            ("Marker", "Marker"),
            ("MaxItems", "MaxItems"),
        ]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<ListAliasesOutput, wire::Error> {
        let (function, _) = functions.find(&self.function_name, None, cx)?;
        let after = paging::after(self.marker.as_deref())?;
        let wanted = self.function_version.as_deref();
        let items = function
            .record
            .aliases
            .iter()
            .filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after))
            .filter(|(_, alias)| {
                wanted.is_none_or(|version| {
                    alias.version == version || alias.weights.contains_key(version)
                })
            })
            .map(|(name, alias)| (name.clone(), shown(&function, name, alias)));
        let asked = self.max_items.map(MaxItems::get);
        let (page, next_marker) = paging::page(items.collect(), asked, PAGE_MAX);
        Ok(ListAliasesOutput {
            next_marker,
            aliases: Some(page),
        })
    }
}

/// Deletes an alias (<https://docs.aws.amazon.com/lambda/latest/api/API_DeleteAlias.html>).
#[derive(Debug, Shape)]
pub struct DeleteAlias {
    function_name: FunctionRef,
    name: AliasName,
}

impl Operation for DeleteAlias {
    type Service = Functions;
    type Output = ();
    const NAME: &'static str = "DeleteAlias";
    const HTTP: Http = Http::new(
        "DELETE",
        "/2015-03-31/functions/{FunctionName}/aliases/{Name}",
        204,
    );

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(self, functions: &Functions, cx: &Context) -> Result<(), wire::Error> {
        let (function, _) = functions.find(&self.function_name, None, cx)?;
        let name = self.name.as_str();
        if !function.record.aliases.contains_key(name) {
            // Deleted already, as on AWS.
            return Ok(());
        }
        let change = functions
            .inner
            .change(&function.at, &function.name, |_, record| {
                record.aliases.remove(name);
                record.policies.remove(name);
                record.provisioned.remove(name);
                record.event_invoke.remove(name);
                Ok(())
            });
        change.await?;
        Ok(())
    }
}

fn weights(routing: Option<&AliasRoutingConfiguration>) -> BTreeMap<String, f64> {
    routing
        .and_then(|routing| routing.additional_version_weights.clone())
        .unwrap_or_default()
}

fn text_of(description: Option<&Description>) -> String {
    description.map_or_else(String::new, Description::to_string)
}

/// The versions must be there, and the weights make sense
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuring-alias-routing.html>).
fn check(function: &Function, record: &FunctionRecord, alias: &Alias) -> Result<(), Error> {
    let there = |version: &str| match version {
        LATEST => true,
        version => version_number(version).is_some_and(|n| record.versions.contains_key(&n)),
    };
    let missing = |version: &str| Error::FunctionNotFound(function.arn(Some(version)));
    if !there(&alias.version) {
        return Err(missing(&alias.version));
    }
    if alias.weights.len() > 1 {
        return Err(Error::TooManyWeights);
    }
    for (version, weight) in &alias.weights {
        let broken = |what: &str| {
            Err(Error::BrokenConstraint(format!(
                "1 validation error detected: Value '{{{version}={weight}}}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: {what}"
            )))
        };
        if !(0.0..=1.0).contains(weight) {
            return broken(
                "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value greater than or equal to 0.0, Member must not be null]",
            );
        }
        if *version == alias.version {
            return Err(Error::VersionRoutedTwice(version.clone()));
        }
        if alias.version == LATEST {
            return Err(Error::LatestNotRouted);
        }
        if version_number(version).is_none() {
            return broken(
                "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [0-9]+, Member must not be null]",
            );
        }
        if !there(version) {
            return Err(missing(version));
        }
        check_alike(function, &alias.version, version)?;
    }
    Ok(())
}

/// Both versions must have one role and one dead-letter target.
fn check_alike(function: &Function, first: &str, second: &str) -> Result<(), Error> {
    let settings = |version: &str| {
        let content = version_number(version).and_then(|number| function.version(number));
        content.map(|content| (content.role.clone(), content.dead_letter.clone()))
    };
    let (first, second) = (settings(first), settings(second));
    let role = |settings: &Option<(String, _)>| settings.clone().map(|(role, _)| role);
    let what = match role(&first) == role(&second) {
        true if first == second => return Ok(()),
        true => "dead-letter configurations",
        false => "execution roles",
    };
    Err(Error::Invalid(format!(
        "The {what} of the two versions of an alias must be the same."
    )))
}

fn shown(function: &Function, name: &str, alias: &Alias) -> AliasConfiguration {
    AliasConfiguration {
        alias_arn: Some(function.arn(Some(name))),
        name: Some(name.to_owned()),
        function_version: Some(alias.version.clone()),
        description: Some(alias.description.clone()),
        routing_config: (!alias.weights.is_empty()).then(|| AliasRoutingConfiguration {
            additional_version_weights: Some(alias.weights.clone()),
        }),
        revision_id: Some(alias.revision_id.clone()),
    }
}
