//! What becomes of asynchronous invocations: how often and how long they are tried, and where the record of the last
//! attempt goes, for each function, version and alias
//! (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-configuring.html>).

use wire::{Arn, Context, Http, Operation, Scope, Shape, Timestamp, number, text};

use crate::Functions;
use crate::destination::{Kind, check_destination};
use crate::error::Error;
use crate::name::{FunctionRef, LATEST, Qualifier};
use crate::paging;
use crate::record::{EventInvoke, FunctionRecord};
use crate::state::{Function, version_number};

text! {
    /// A destination's ARN, or nothing.
    pub struct DestinationArn: 0..=350, r"$|kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)";
}

number! {
    /// Attempts after the first that ended with the function's error.
    pub struct MaximumRetryAttempts: 0..=2;

    /// How old an event gets, in seconds.
    pub struct MaximumEventAgeInSeconds: 60..=21_600;

    /// Most configurations of a page.
    pub struct MaxConfigItems: 1..=50;
}

/// Where records of invocations go.
#[derive(Debug, Clone, Default, Shape)]
pub struct DestinationConfig {
    on_success: Option<OnSuccess>,
    on_failure: Option<OnFailure>,
}

/// Where those of successful ones go.
#[derive(Debug, Clone, Default, Shape)]
pub struct OnSuccess {
    destination: Option<DestinationArn>,
}

/// Where those of failed ones go.
#[derive(Debug, Clone, Default, Shape)]
pub struct OnFailure {
    destination: Option<DestinationArn>,
}

/// A configuration in replies.
#[derive(Debug, Shape)]
pub struct FunctionEventInvokeConfig {
    last_modified: Option<Timestamp>,
    function_arn: Option<Arn>,
    maximum_retry_attempts: Option<MaximumRetryAttempts>,
    maximum_event_age_in_seconds: Option<MaximumEventAgeInSeconds>,
    destination_config: Option<DestinationConfig>,
}

const PATH: &str = "/2019-09-25/functions/{FunctionName}/event-invoke-config";

/// Replaces the configuration
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html>).
#[derive(Debug, Shape)]
pub struct PutFunctionEventInvokeConfig {
    function_name: FunctionRef,
    qualifier: Option<Qualifier>,
    maximum_retry_attempts: Option<MaximumRetryAttempts>,
    maximum_event_age_in_seconds: Option<MaximumEventAgeInSeconds>,
    destination_config: Option<DestinationConfig>,
}

impl Operation for PutFunctionEventInvokeConfig {
    type Service = Functions;
    type Output = FunctionEventInvokeConfig;
    const NAME: &'static str = "PutFunctionEventInvokeConfig";
    const HTTP: Http = Http::new("PUT", PATH, 200).query(&[("Qualifier", "Qualifier")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<FunctionEventInvokeConfig, wire::Error> {
        let settings = Settings {
            retries: self.maximum_retry_attempts,
            age: self.maximum_event_age_in_seconds,
            destinations: self.destination_config,
        };
        let named = (&self.function_name, self.qualifier.as_ref());
        let replace = |_, _: &Arn| Ok(EventInvoke::default());
        Ok(settings.put(functions, cx, named, replace).await?)
    }
}

/// Changes what is given and keeps the rest
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionEventInvokeConfig.html>).
#[derive(Debug, Shape)]
pub struct UpdateFunctionEventInvokeConfig {
    function_name: FunctionRef,
    qualifier: Option<Qualifier>,
    maximum_retry_attempts: Option<MaximumRetryAttempts>,
    maximum_event_age_in_seconds: Option<MaximumEventAgeInSeconds>,
    destination_config: Option<DestinationConfig>,
}

impl Operation for UpdateFunctionEventInvokeConfig {
    type Service = Functions;
    type Output = FunctionEventInvokeConfig;
    const NAME: &'static str = "UpdateFunctionEventInvokeConfig";
    const HTTP: Http = Http::new("POST", PATH, 200).query(&[("Qualifier", "Qualifier")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<FunctionEventInvokeConfig, wire::Error> {
        let settings = Settings {
            retries: self.maximum_retry_attempts,
            age: self.maximum_event_age_in_seconds,
            destinations: self.destination_config,
        };
        let named = (&self.function_name, self.qualifier.as_ref());
        let keep = |before: Option<EventInvoke>, arn: &Arn| {
            before.ok_or_else(|| Error::NoEventInvokeConfig(arn.clone()))
        };
        Ok(settings.put(functions, cx, named, keep).await?)
    }
}

/// What a request gives.
struct Settings {
    retries: Option<MaximumRetryAttempts>,
    age: Option<MaximumEventAgeInSeconds>,
    destinations: Option<DestinationConfig>,
}

impl Settings {
    /// Writes them over what `base` makes of the configuration before.
    async fn put(
        self,
        functions: &Functions,
        cx: &Context,
        (name, qualifier): (&FunctionRef, Option<&Qualifier>),
        base: impl Fn(Option<EventInvoke>, &Arn) -> Result<EventInvoke, Error>,
    ) -> Result<FunctionEventInvokeConfig, Error> {
        if self.retries.is_none() && self.age.is_none() && self.destinations.is_none() {
            return Err(Error::Invalid(
                "You must specify at least one of error handling or destination setting."
                    .to_owned(),
            ));
        }
        let (at, key) = (name.reach(&cx.scope)?, key(name, qualifier)?);
        let change = functions
            .inner
            .change(&at, name.name(), |function, record| {
                let role = role_behind(function, record, &key)?;
                let arn = function.arn(Some(&key));
                let mut config = base(record.event_invoke.get(&key).cloned(), &arn)?;
                self.write_over(&mut config);
                config.modified_ms = cx.now_ms;
                self.check(functions, function, &role)?;
                record.event_invoke.insert(key.clone(), config.clone());
                Ok(config)
            });
        let (function, config) = change.await.map_err(|error| match error {
            Error::FunctionNotFound(_) => Error::NoSuchFunction,
            other => other,
        })?;
        Ok(shown(&function, &key, &config))
    }

    fn write_over(&self, config: &mut EventInvoke) {
        if let Some(retries) = self.retries {
            config.retries_max = usize::try_from(retries.get()).ok();
        }
        if let Some(age) = self.age {
            config.age_max_seconds = Some(age.get());
        }
        let Some(destinations) = &self.destinations else {
            return;
        };
        let text = |arn: &DestinationArn| (!arn.is_empty()).then(|| arn.to_string());
        if let Some(success) = &destinations.on_success {
            config.on_success = success.destination.as_ref().and_then(text);
        }
        if let Some(failure) = &destinations.on_failure {
            config.on_failure = failure.destination.as_ref().and_then(text);
        }
    }

    fn check(&self, functions: &Functions, function: &Function, role: &str) -> Result<(), Error> {
        let Some(destinations) = &self.destinations else {
            return Ok(());
        };
        let success = destinations.on_success.as_ref();
        let failure = destinations.on_failure.as_ref();
        let all = [
            (success.and_then(|s| s.destination.as_ref()), Kind::SUCCESS),
            (failure.and_then(|f| f.destination.as_ref()), Kind::FAILURE),
        ];
        for (destination, kinds) in all {
            if let Some(arn) = destination.filter(|arn| !arn.is_empty()) {
                check_destination(&functions.inner, function, role, arn, kinds)?;
            }
        }
        Ok(())
    }
}

/// The configuration (<https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionEventInvokeConfig.html>).
#[derive(Debug, Shape)]
pub struct GetFunctionEventInvokeConfig {
    function_name: FunctionRef,
    qualifier: Option<Qualifier>,
}

impl Operation for GetFunctionEventInvokeConfig {
    type Service = Functions;
    type Output = FunctionEventInvokeConfig;
    const NAME: &'static str = "GetFunctionEventInvokeConfig";
    const HTTP: Http = Http::new("GET", PATH, 200).query(&[("Qualifier", "Qualifier")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<FunctionEventInvokeConfig, wire::Error> {
        let at = self.function_name.reach(&cx.scope)?;
        let name = self.function_name.name();
        let key = key(&self.function_name, self.qualifier.as_ref())?;
        let missing = || Error::NoEventInvokeConfig(Arn::function(&at, name, Some(&key)));
        let function = functions
            .inner
            .functions
            .get(&at, name)
            .ok_or_else(missing)?;
        let config = function.record.event_invoke.get(&key).ok_or_else(missing)?;
        Ok(shown(&function, &key, config))
    }
}

/// Removes the configuration
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunctionEventInvokeConfig.html>).
#[derive(Debug, Shape)]
pub struct DeleteFunctionEventInvokeConfig {
    function_name: FunctionRef,
    qualifier: Option<Qualifier>,
}

impl Operation for DeleteFunctionEventInvokeConfig {
    type Service = Functions;
    type Output = ();
    const NAME: &'static str = "DeleteFunctionEventInvokeConfig";
    const HTTP: Http = Http::new("DELETE", PATH, 204).query(&[("Qualifier", "Qualifier")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(self, functions: &Functions, cx: &Context) -> Result<(), wire::Error> {
        let at = self.function_name.reach(&cx.scope)?;
        let name = self.function_name.name();
        let key = key(&self.function_name, self.qualifier.as_ref())?;
        let missing = || Error::NoEventInvokeConfig(Arn::function(&at, name, Some(&key)));
        if functions.inner.functions.get(&at, name).is_none() {
            return Err(missing().into());
        }
        let change = functions.inner.change(&at, name, |_, record| {
            let removed = record.event_invoke.remove(&key);
            removed.map(drop).ok_or_else(missing)
        });
        change.await?;
        Ok(())
    }
}

/// The configurations of a function, its versions and aliases
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctionEventInvokeConfigs.html>).
#[derive(Debug, Shape)]
pub struct ListFunctionEventInvokeConfigs {
    function_name: FunctionRef,
    marker: Option<String>,
    max_items: Option<MaxConfigItems>,
}

/// See [`ListFunctionEventInvokeConfigs`].
#[derive(Debug, Shape)]
pub struct ListFunctionEventInvokeConfigsOutput {
    function_event_invoke_configs: Option<Vec<FunctionEventInvokeConfig>>,
    next_marker: Option<String>,
}

impl Operation for ListFunctionEventInvokeConfigs {
    type Service = Functions;
    type Output = ListFunctionEventInvokeConfigsOutput;
    const NAME: &'static str = "ListFunctionEventInvokeConfigs";
    const HTTP: Http = Http::new(
        "GET",
        "/2019-09-25/functions/{FunctionName}/event-invoke-config/list",
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
    ) -> Result<ListFunctionEventInvokeConfigsOutput, wire::Error> {
        let at = self.function_name.reach(&cx.scope)?;
        let function = functions
            .inner
            .functions
            .get(&at, self.function_name.name());
        let function = function.ok_or(Error::NoSuchFunction)?;
        let after = paging::after(self.marker.as_deref())?;
        let configs = function.record.event_invoke.iter();
        let items = configs
            .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
            .map(|(key, config)| (key.clone(), shown(&function, key, config)));
        let asked = self.max_items.map(MaxConfigItems::get);
        let (page, next_marker) = paging::page(items.collect(), asked, paging::PAGE_MAX);
        Ok(ListFunctionEventInvokeConfigsOutput {
            function_event_invoke_configs: Some(page),
            next_marker,
        })
    }
}

/// What the configuration is kept under: the version's number, the alias, or `$LATEST`.
fn key(name: &FunctionRef, qualifier: Option<&Qualifier>) -> Result<String, Error> {
    let qualifier = name.qualifier(qualifier)?;
    Ok(qualifier.unwrap_or_else(|| LATEST.to_owned()))
}

/// The execution role of what a qualifier means, which must be there.
fn role_behind(function: &Function, record: &FunctionRecord, key: &str) -> Result<String, Error> {
    if key == LATEST {
        return Ok(record.latest.role.clone());
    }
    let version = match record.aliases.get(key) {
        Some(alias) => alias.version.as_str(),
        None => key,
    };
    if version == LATEST {
        return Ok(record.latest.role.clone());
    }
    let content = version_number(version).and_then(|number| function.version(number));
    Ok(content.ok_or(Error::NoSuchFunction)?.role.clone())
}

fn shown(function: &Function, key: &str, config: &EventInvoke) -> FunctionEventInvokeConfig {
    let arn = |text: &Option<String>| {
        let text = text.as_ref()?;
        DestinationArn::new(text.clone()).ok()
    };
    let retries = config.retries_max.and_then(|n| i64::try_from(n).ok());
    FunctionEventInvokeConfig {
        last_modified: Some(Timestamp(config.modified_ms)),
        function_arn: Some(function.arn(Some(key))),
        maximum_retry_attempts: retries.and_then(MaximumRetryAttempts::new),
        maximum_event_age_in_seconds: config
            .age_max_seconds
            .and_then(MaximumEventAgeInSeconds::new),
        destination_config: Some(DestinationConfig {
            on_success: Some(OnSuccess {
                destination: arn(&config.on_success),
            }),
            on_failure: Some(OnFailure {
                destination: arn(&config.on_failure),
            }),
        }),
    }
}
