//! GetFunction, GetFunctionConfiguration, ListFunctions, DeleteFunction.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::{Arn, Ask, Context, Http, Operation, Scope, Shape, text};

use crate::Functions;
use crate::concurrency::Concurrency;
use crate::configuration::{ErrorDetail, FunctionConfiguration, Shown};
use crate::error::Error;
use crate::name::{FunctionRef, LATEST, Qualifier};
use crate::paging::{self, MaxItems, PAGE_MAX};
use crate::record::event_queue;
use crate::spec::key_prefix;
use crate::state::{Function, version_number};

/// A function with its code and tags (<https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html>).
#[derive(Debug, Shape)]
pub struct GetFunction {
    function_name: FunctionRef,
    qualifier: Option<Qualifier>,
}

/// See [`GetFunction`].
#[derive(Debug, Shape)]
pub struct GetFunctionOutput {
    configuration: Option<FunctionConfiguration>,
    code: Option<FunctionCodeLocation>,
    tags: Option<BTreeMap<String, String>>,
    tags_error: Option<TagsError>,
    concurrency: Option<Concurrency>,
}

/// Where the code can be downloaded from.
#[derive(Debug, Default, Shape)]
pub struct FunctionCodeLocation {
    repository_type: Option<&'static str>,
    location: Option<String>,
    image_uri: Option<String>,
    resolved_image_uri: Option<String>,
    #[shape(name = "ResolvedS3Object")]
    resolved_s3_object: Option<ResolvedS3Object>,
    #[shape(name = "SourceKMSKeyArn")]
    source_kms_key_arn: Option<String>,
    error: Option<ErrorDetail>,
}

/// The object in S3 that code was taken from.
#[derive(Debug, Shape)]
pub struct ResolvedS3Object {
    #[shape(name = "S3Bucket")]
    s3_bucket: Option<String>,
    #[shape(name = "S3Key")]
    s3_key: Option<String>,
    #[shape(name = "S3ObjectVersion")]
    s3_object_version: Option<String>,
}

/// Why the tags are not shown.
#[derive(Debug, Shape)]
pub struct TagsError {
    error_code: String,
    message: String,
}

impl Operation for GetFunction {
    type Service = Functions;
    type Output = GetFunctionOutput;
    const NAME: &'static str = "GetFunction";
    const HTTP: Http = Http::new("GET", "/2015-03-31/functions/{FunctionName}", 200)
        .query(&[("Qualifier", "Qualifier")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<GetFunctionOutput, wire::Error> {
        let (function, qualifier) =
            functions.find(&self.function_name, self.qualifier.as_ref(), cx)?;
        let shown = functions.shown(&function, qualifier.as_deref())?;
        let location = functions
            .inner
            .download_key
            .location(cx, &shown.content.code.digest);
        let configuration = shown.into();
        let record = &function.record;
        let (tags, tags_error) = functions.tags_shown(&function, cx);
        Ok(GetFunctionOutput {
            configuration: Some(configuration),
            code: Some(FunctionCodeLocation {
                repository_type: Some("S3"),
                location: Some(location),
                ..FunctionCodeLocation::default()
            }),
            tags,
            tags_error,
            concurrency: record.reserved_concurrency.map(Concurrency::of),
        })
    }
}

/// A function without its code (<https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConfiguration.html>).
#[derive(Debug, Shape)]
pub struct GetFunctionConfiguration {
    function_name: FunctionRef,
    qualifier: Option<Qualifier>,
}

impl Operation for GetFunctionConfiguration {
    type Service = Functions;
    type Output = FunctionConfiguration;
    const NAME: &'static str = "GetFunctionConfiguration";
    const HTTP: Http = Http::new(
        "GET",
        "/2015-03-31/functions/{FunctionName}/configuration",
        200,
    )
    .query(&[("Qualifier", "Qualifier")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<FunctionConfiguration, wire::Error> {
        let (function, qualifier) =
            functions.find(&self.function_name, self.qualifier.as_ref(), cx)?;
        let shown = functions.shown(&function, qualifier.as_deref())?;
        Ok(shown.into())
    }
}

text! {
    /// A region of Lambda@Edge, or `ALL`.
    pub struct MasterRegion: 1..=50, r"ALL|(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}";
}

/// Which versions are listed.
#[derive(Debug, Clone, Copy, Shape)]
pub enum FunctionVersion {
    /// All, not only `$LATEST`.
    #[shape(name = "ALL")]
    All,
}

/// All functions (<https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctions.html>).
#[derive(Debug, Shape)]
pub struct ListFunctions {
    /// Only Lambda@Edge's replicas from there, of which there are none here.
    master_region: Option<MasterRegion>,
    function_version: Option<FunctionVersion>,
    marker: Option<String>,
    max_items: Option<MaxItems>,
}

/// See [`ListFunctions`].
#[derive(Debug, Shape)]
pub struct ListFunctionsOutput {
    next_marker: Option<String>,
    functions: Option<Vec<FunctionConfiguration>>,
}

impl Operation for ListFunctions {
    type Service = Functions;
    type Output = ListFunctionsOutput;
    const NAME: &'static str = "ListFunctions";
    const HTTP: Http = Http::new("GET", "/2015-03-31/functions", 200).query(&[
        ("MasterRegion", "MasterRegion"),
        ("FunctionVersion", "FunctionVersion"),
        ("Marker", "Marker"),
        ("MaxItems", "MaxItems"),
    ]);

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<ListFunctionsOutput, wire::Error> {
        if let Some(region) = &self.master_region {
            if self.function_version.is_none() {
                return Err(Error::Invalid(
                    "FunctionVersion must be set to ALL when MasterRegion is given.".to_owned(),
                )
                .into());
            }
            if region.as_str() != "ALL" {
                return Ok(ListFunctionsOutput {
                    next_marker: None,
                    functions: Some(Vec::new()),
                });
            }
        }
        let after = paging::after(self.marker.as_deref())?;
        // A version's key is `NAME!NUMBER`: no character of a name sorts before the mark.
        let from = after
            .as_deref()
            .map(|key| key.split('!').next().unwrap_or(key));
        let versions = self.function_version.is_some();
        let mut items = Vec::new();
        if let Some(name) = from.filter(|_| versions)
            && let Some(function) = functions.inner.functions.get(&cx.scope, name)
        {
            items.extend(keyed_versions(functions, &function));
        }
        for (_, function) in functions.inner.functions.list(&cx.scope, from) {
            if items.len() > PAGE_MAX * 2 {
                break;
            }
            match versions {
                true => items.extend(keyed_versions(functions, &function)),
                false => items.push((function.name.clone(), functions.listed(&function))),
            }
        }
        items.retain(|(key, _)| after.as_ref().is_none_or(|after| key > after));
        let asked = self.max_items.map(MaxItems::get);
        let (page, next_marker) = paging::page(items, asked, PAGE_MAX);
        Ok(ListFunctionsOutput {
            next_marker,
            functions: Some(page),
        })
    }
}

fn keyed_versions(
    functions: &Functions,
    function: &Arc<Function>,
) -> Vec<(String, FunctionConfiguration)> {
    let key = |(key, item)| (format!("{}!{key}", function.name), item);
    let versions = functions.versions_listed(function);
    versions.into_iter().map(key).collect()
}

/// Deletes a function or one of its versions (<https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunction.html>).
#[derive(Debug, Shape)]
pub struct DeleteFunction {
    function_name: FunctionRef,
    qualifier: Option<Qualifier>,
}

/// See [`DeleteFunction`].
#[derive(Debug, Shape)]
pub struct DeleteFunctionOutput {
    status_code: Option<i64>,
}

impl Operation for DeleteFunction {
    type Service = Functions;
    type Output = DeleteFunctionOutput;
    const NAME: &'static str = "DeleteFunction";
    const HTTP: Http = Http::new("DELETE", "/2015-03-31/functions/{FunctionName}", 200)
        .query(&[("Qualifier", "Qualifier")])
        .reply_status("StatusCode");

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<DeleteFunctionOutput, wire::Error> {
        let at = self.function_name.reach(&cx.scope)?;
        let name = self.function_name.name();
        let qualifier = self.function_name.qualifier(self.qualifier.as_ref())?;
        match qualifier.as_deref() {
            None => functions.delete(&at, name).await?,
            Some(LATEST) => return Err(Error::LatestCannotBeDeleted.into()),
            Some(qualifier) => match version_number(qualifier) {
                Some(number) => functions.delete_version(&at, name, number).await?,
                None => return Err(Error::AliasNotAVersion(qualifier.to_owned()).into()),
            },
        }
        // The model says 200 and lets the service say otherwise, which it does.
        Ok(DeleteFunctionOutput {
            status_code: Some(204),
        })
    }
}

impl Functions {
    /// The function and qualifier that a request names.
    pub(crate) fn find(
        &self,
        function: &FunctionRef,
        beside: Option<&Qualifier>,
        cx: &Context,
    ) -> Result<(Arc<Function>, Option<String>), Error> {
        let at = function.reach(&cx.scope)?;
        let qualifier = function.qualifier(beside)?;
        let found = self
            .inner
            .function(&at, function.name(), qualifier.as_deref())?;
        Ok((found, qualifier))
    }

    /// The version that a qualifier means, ready to be shown.
    pub(crate) fn shown<'a>(
        &self,
        function: &'a Function,
        qualifier: Option<&'a str>,
    ) -> Result<Shown<'a>, Error> {
        let Function { at, record, .. } = function;
        let not_found = || Error::FunctionNotFound(function.arn(qualifier));
        let target = match qualifier.filter(|qualifier| version_number(qualifier).is_none()) {
            None | Some(LATEST) => qualifier,
            Some(alias) => {
                let alias = record.aliases.get(alias).ok_or_else(not_found)?;
                Some(alias.version.as_str())
            }
        };
        let mut shown = Shown::latest(at, &function.name, record);
        if let Some(number) = target.and_then(version_number) {
            let head = record.versions.get(&number).ok_or_else(not_found)?;
            shown.version = Some(number);
            shown.content = function.version(number).ok_or_else(not_found)?;
            shown.head = &head.head;
            shown.last_update = None;
        }
        shown.qualifier = qualifier.map(str::to_owned);
        shown.runtime_digest = self.runtime_digest(&shown.content.runtime);
        Ok(shown)
    }

    /// The tags, for those who may list them; others are told that they may not.
    fn tags_shown(
        &self,
        function: &Function,
        cx: &Context,
    ) -> (Option<BTreeMap<String, String>>, Option<TagsError>) {
        let tags = &function.record.tags;
        if tags.is_empty() {
            return (None, None);
        }
        let ask = Ask {
            action: "lambda:ListTags",
            resource: &function.arn(None),
            owner: None,
            keys: &wire::tags::resource_tags(tags),
            resource_policy: None,
        };
        match self.inner.roles.authorize(cx, &ask) {
            Ok(()) => (Some(tags.clone()), None),
            Err(message) => {
                let error_code = "AccessDeniedException".to_owned();
                let error = TagsError {
                    error_code,
                    message,
                };
                (None, Some(error))
            }
        }
    }

    /// `$LATEST` as lists show it.
    pub(crate) fn listed(&self, function: &Function) -> FunctionConfiguration {
        let shown = Shown::latest(&function.at, &function.name, &function.record);
        FunctionConfiguration::from(shown).listed()
    }

    /// Deletes a function with all that belongs to it.
    async fn delete(&self, at: &Scope, name: &str) -> Result<(), Error> {
        let inner = &self.inner;
        let gone = inner.remove(at, name, |_| Ok(())).await?;
        inner.engine.retire(&key_prefix(at, name));
        inner.apply_concurrency(at, name);
        // What is left after a crash here is removed when Mayfly starts: nothing names it any more.
        inner.delete_contents(&gone).await?;
        inner.queues.purge(&event_queue(at, name)).await?;
        inner.garbage.notify_one();
        Ok(())
    }
}
