//! Layers: packages that functions share, seen under `/opt` (<https://docs.aws.amazon.com/lambda/latest/dg/chapter-layers.html>).

use std::sync::Arc;

use wire::{Arn, Blob, Context, Http, Operation, Scope, Shape, text};

use crate::Functions;
use crate::configuration::date;
use crate::create::BODY_BYTES_MAX;
use crate::error::Error;
use crate::function::ResolvedS3Object;
use crate::name::{LayerRef, LayerVersionRef};
use crate::paging::{self, MaxLayerItems, PAGE_MAX};
use crate::permission::{StatementId, add, principal, statement_json};
use crate::record::{LayerRecord, LayerVersion, Statement, new_id};
use crate::settings::{
    Architecture, BucketName, CompatibleArchitectures, CompatibleRuntimes, Description,
    KnownRuntime, ObjectKey, S3ObjectStorageMode,
};
use crate::source::Source;
use crate::state::policy_json;

text! {
    /// A licence, or where it is.
    pub struct LicenseInfo: 0..=512;

    /// What a layer's policy can allow.
    pub struct LayerAction: 0..=22, "lambda:GetLayerVersion";

    /// Whom it can allow it.
    pub struct LayerPrincipal: 0..=10_000, r"\d{12}|\*|arn:(aws[a-zA-Z-]*):iam::\d{12}:root";

    /// An organization.
    pub struct OrganizationId: 0..=34, "o-[a-z0-9]{10,32}";
}

/// Publishes a version of a layer (<https://docs.aws.amazon.com/lambda/latest/api/API_PublishLayerVersion.html>).
#[derive(Debug, Shape)]
pub struct PublishLayerVersion {
    layer_name: LayerRef,
    description: Option<Description>,
    content: LayerVersionContentInput,
    compatible_architectures: Option<CompatibleArchitectures>,
    compatible_runtimes: Option<CompatibleRuntimes>,
    license_info: Option<LicenseInfo>,
}

/// The layer's package.
#[derive(Debug, Shape)]
pub struct LayerVersionContentInput {
    #[shape(name = "S3Bucket")]
    s3_bucket: Option<BucketName>,
    /// Until there are buckets, the name of one is enough to refuse the request.
    #[shape(name = "S3Key")]
    s3_key: Option<ObjectKey>,
    #[shape(name = "S3ObjectVersion")]
    s3_object_version: Option<ObjectKey>,
    #[shape(name = "S3ObjectStorageMode")]
    s3_object_storage_mode: Option<S3ObjectStorageMode>,
    zip_file: Option<Blob>,
}

/// A version of a layer, with its content.
#[derive(Debug, Shape)]
pub struct LayerVersionOutput {
    content: Option<LayerVersionContentOutput>,
    layer_arn: Option<Arn>,
    layer_version_arn: Option<Arn>,
    description: Option<String>,
    created_date: Option<String>,
    version: Option<i64>,
    compatible_architectures: Option<CompatibleArchitectures>,
    compatible_runtimes: Option<CompatibleRuntimes>,
    license_info: Option<String>,
}

/// Where the package can be downloaded from.
#[derive(Debug, Shape)]
pub struct LayerVersionContentOutput {
    location: Option<String>,
    code_sha256: Option<String>,
    code_size: Option<u64>,
    signing_profile_version_arn: Option<Arn>,
    signing_job_arn: Option<Arn>,
    #[shape(name = "ResolvedS3Object")]
    resolved_s3_object: Option<ResolvedS3Object>,
}

impl Operation for PublishLayerVersion {
    type Service = Functions;
    type Output = LayerVersionOutput;
    const NAME: &'static str = "PublishLayerVersion";
    const HTTP: Http =
        Http::new("POST", "/2018-10-31/layers/{LayerName}/versions", 201).body_max(BODY_BYTES_MAX);

    fn resource(&self, at: &Scope) -> Arn {
        self.layer_name.arn(at, None)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<LayerVersionOutput, wire::Error> {
        let at = functions.layer_scope(&self.layer_name, cx)?;
        let name = self.layer_name.name();
        let source = Source {
            zip: self.content.zip_file.map(|blob| blob.0),
            bucket: self.content.s3_bucket.as_ref(),
            key: self.content.s3_key.as_ref(),
            version: self.content.s3_object_version.as_ref(),
            mode: self.content.s3_object_storage_mode,
        };
        let (package, pin) = functions.take_code(cx, &at, source).await?;
        let version = LayerVersion {
            package,
            description: self
                .description
                .map(Description::into_string)
                .unwrap_or_default(),
            created_ms: cx.now_ms,
            architectures: self.compatible_architectures.map(|list| list.0),
            runtimes: self.compatible_runtimes.map(|list| list.0),
            license: self.license_info.map(LicenseInfo::into_string),
            policy: Vec::new(),
            policy_revision_id: new_id(),
        };
        let number = functions
            .inner
            .change_layer(&at, name, |layer| {
                layer.last_version += 1;
                layer.versions.insert(layer.last_version, version.clone());
                Ok(layer.last_version)
            })
            .await?;
        drop(pin);
        Ok(functions.layer_output(&at, name, number, &version, cx))
    }
}

/// A version of a layer (<https://docs.aws.amazon.com/lambda/latest/api/API_GetLayerVersion.html>).
#[derive(Debug, Shape)]
pub struct GetLayerVersion {
    layer_name: LayerRef,
    version_number: i64,
}

impl Operation for GetLayerVersion {
    type Service = Functions;
    type Output = LayerVersionOutput;
    const NAME: &'static str = "GetLayerVersion";
    const HTTP: Http = Http::new(
        "GET",
        "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}",
        200,
    );

    fn resource(&self, at: &Scope) -> Arn {
        self.layer_name.arn(at, Some(self.version_number))
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<LayerVersionOutput, wire::Error> {
        if self.version_number < 1 {
            return Err(Error::LayerVersionTooSmall.into());
        }
        let at = functions.layer_scope(&self.layer_name, cx)?;
        let (name, number) = (self.layer_name.name(), self.version_number);
        let version = functions.layer_version(&at, name, number);
        let version = version.ok_or(Error::NotThere)?;
        Ok(functions.layer_output(&at, name, number, &version, cx))
    }
}

/// The same, by ARN (<https://docs.aws.amazon.com/lambda/latest/api/API_GetLayerVersionByArn.html>).
#[derive(Debug, Shape)]
pub struct GetLayerVersionByArn {
    arn: LayerVersionRef,
}

impl Operation for GetLayerVersionByArn {
    type Service = Functions;
    type Output = LayerVersionOutput;
    const NAME: &'static str = "GetLayerVersionByArn";
    const ACTION: &'static str = "GetLayerVersion";
    const HTTP: Http =
        Http::new("GET", "/2018-10-31/layers?find=LayerVersion", 200).query(&[("Arn", "Arn")]);

    fn resource(&self, _: &Scope) -> Arn {
        self.arn.arn()
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<LayerVersionOutput, wire::Error> {
        let LayerVersionRef {
            scope,
            name,
            version: number,
        } = &self.arn;
        let version = functions.layer_version(scope, name, *number);
        let version = version.ok_or(Error::NotThere)?;
        Ok(functions.layer_output(scope, name, *number, &version, cx))
    }
}

/// Layers, each with its newest version that fits (<https://docs.aws.amazon.com/lambda/latest/api/API_ListLayers.html>).
#[derive(Debug, Shape)]
pub struct ListLayers {
    compatible_runtime: Option<KnownRuntime>,
    marker: Option<String>,
    max_items: Option<MaxLayerItems>,
    compatible_architecture: Option<Architecture>,
}

/// See [`ListLayers`].
#[derive(Debug, Shape)]
pub struct ListLayersOutput {
    next_marker: Option<String>,
    layers: Option<Vec<LayersListItem>>,
}

/// A layer in a list.
#[derive(Debug, Shape)]
pub struct LayersListItem {
    layer_name: Option<String>,
    layer_arn: Option<Arn>,
    latest_matching_version: Option<LayerVersionsListItem>,
}

/// A version of a layer in a list.
#[derive(Debug, Shape)]
pub struct LayerVersionsListItem {
    layer_version_arn: Option<Arn>,
    version: Option<i64>,
    description: Option<String>,
    created_date: Option<String>,
    compatible_architectures: Option<CompatibleArchitectures>,
    compatible_runtimes: Option<CompatibleRuntimes>,
    license_info: Option<String>,
}

impl Operation for ListLayers {
    type Service = Functions;
    type Output = ListLayersOutput;
    const NAME: &'static str = "ListLayers";
    const HTTP: Http = Http::new("GET", "/2018-10-31/layers", 200).query(&[
        ("CompatibleRuntime", "CompatibleRuntime"),
        ("Marker", "Marker"),
        ("MaxItems", "MaxItems"),
        ("CompatibleArchitecture", "CompatibleArchitecture"),
    ]);

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<ListLayersOutput, wire::Error> {
        let at = &cx.scope;
        let after = paging::after(self.marker.as_deref())?;
        let fits = |version: &LayerVersion| {
            is_compatible(
                version,
                self.compatible_runtime.as_ref(),
                self.compatible_architecture,
            )
        };
        let layers = functions.inner.layers.list(at, after.as_deref());
        let items = layers.into_iter().filter_map(|(name, layer)| {
            let versions = layer.record.versions.iter().rev();
            let (number, version) = versions.into_iter().find(|(_, v)| fits(v))?;
            let item = LayersListItem {
                layer_arn: Some(Arn::layer(at, &name, None)),
                latest_matching_version: Some(list_item(at, &name, *number, version)),
                layer_name: Some(name.clone()),
            };
            Some((name, item))
        });
        let asked = self.max_items.map(MaxLayerItems::get);
        let (page, next_marker) = paging::page(items.collect(), asked, PAGE_MAX);
        Ok(ListLayersOutput {
            next_marker,
            layers: Some(page),
        })
    }
}

/// The versions of a layer, newest first (<https://docs.aws.amazon.com/lambda/latest/api/API_ListLayerVersions.html>).
#[derive(Debug, Shape)]
pub struct ListLayerVersions {
    compatible_runtime: Option<KnownRuntime>,
    layer_name: LayerRef,
    marker: Option<String>,
    max_items: Option<MaxLayerItems>,
    compatible_architecture: Option<Architecture>,
}

/// See [`ListLayerVersions`].
#[derive(Debug, Shape)]
pub struct ListLayerVersionsOutput {
    next_marker: Option<String>,
    layer_versions: Option<Vec<LayerVersionsListItem>>,
}

impl Operation for ListLayerVersions {
    type Service = Functions;
    type Output = ListLayerVersionsOutput;
    const NAME: &'static str = "ListLayerVersions";
    const HTTP: Http = Http::new("GET", "/2018-10-31/layers/{LayerName}/versions", 200).query(&[
        ("CompatibleRuntime", "CompatibleRuntime"),
        ("Marker", "Marker"),
        ("MaxItems", "MaxItems"),
        ("CompatibleArchitecture", "CompatibleArchitecture"),
    ]);

    fn resource(&self, at: &Scope) -> Arn {
        self.layer_name.arn(at, None)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<ListLayerVersionsOutput, wire::Error> {
        let at = functions.layer_scope(&self.layer_name, cx)?;
        let name = self.layer_name.name();
        let before = paging::after(self.marker.as_deref())?;
        let before = before.and_then(|number| number.parse::<i64>().ok());
        let layer = functions.inner.layers.get(&at, name);
        let versions = layer.map(|l| l.record.versions.clone()).unwrap_or_default();
        let items = versions
            .iter()
            .rev()
            .filter(|(number, _)| before.is_none_or(|before| **number < before))
            .filter(|(_, version)| {
                is_compatible(
                    version,
                    self.compatible_runtime.as_ref(),
                    self.compatible_architecture,
                )
            })
            .map(|(number, version)| (number.to_string(), list_item(&at, name, *number, version)));
        let asked = self.max_items.map(MaxLayerItems::get);
        let (page, next_marker) = paging::page(items.collect(), asked, PAGE_MAX);
        Ok(ListLayerVersionsOutput {
            next_marker,
            layer_versions: Some(page),
        })
    }
}

/// Deletes a version of a layer; functions that use it keep it
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_DeleteLayerVersion.html>).
#[derive(Debug, Shape)]
pub struct DeleteLayerVersion {
    layer_name: LayerRef,
    version_number: i64,
}

impl Operation for DeleteLayerVersion {
    type Service = Functions;
    type Output = ();
    const NAME: &'static str = "DeleteLayerVersion";
    const HTTP: Http = Http::new(
        "DELETE",
        "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}",
        204,
    );

    fn resource(&self, at: &Scope) -> Arn {
        self.layer_name.arn(at, Some(self.version_number))
    }

    async fn run(self, functions: &Functions, cx: &Context) -> Result<(), wire::Error> {
        if self.version_number < 1 {
            return Err(Error::LayerVersionTooSmall.into());
        }
        let at = functions.layer_scope(&self.layer_name, cx)?;
        let name = self.layer_name.name();
        if functions
            .layer_version(&at, name, self.version_number)
            .is_none()
        {
            // Deleted already, as on AWS.
            return Ok(());
        }
        let change = functions.inner.change_layer(&at, name, |layer| {
            layer.versions.remove(&self.version_number);
            Ok(())
        });
        change.await?;
        functions.inner.garbage.notify_one();
        Ok(())
    }
}

/// Lets another account use a version of a layer
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_AddLayerVersionPermission.html>).
#[derive(Debug, Shape)]
pub struct AddLayerVersionPermission {
    layer_name: LayerRef,
    version_number: i64,
    statement_id: StatementId,
    action: LayerAction,
    principal: LayerPrincipal,
    organization_id: Option<OrganizationId>,
    revision_id: Option<String>,
}

/// See [`AddLayerVersionPermission`].
#[derive(Debug, Shape)]
pub struct AddLayerVersionPermissionOutput {
    statement: Option<String>,
    revision_id: Option<String>,
}

impl Operation for AddLayerVersionPermission {
    type Service = Functions;
    type Output = AddLayerVersionPermissionOutput;
    const NAME: &'static str = "AddLayerVersionPermission";
    const HTTP: Http = Http::new(
        "POST",
        "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy",
        201,
    )
    .query(&[("RevisionId", "RevisionId")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.layer_name.arn(at, Some(self.version_number))
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<AddLayerVersionPermissionOutput, wire::Error> {
        let at = functions.layer_scope(&self.layer_name, cx)?;
        let arn = self.layer_name.arn(&cx.scope, Some(self.version_number));
        let statement = Statement {
            sid: self.statement_id.to_string(),
            effect: "Allow".to_owned(),
            principal: principal(&self.principal)?,
            action: self.action.to_string(),
            resource: arn.to_string(),
            condition: self.organization_id.as_ref().map(
                |id| serde_json::json!({ "StringEquals": { "aws:PrincipalOrgID": id.as_str() } }),
            ),
        };
        let change = functions
            .inner
            .change_layer(&at, self.layer_name.name(), |layer| {
                let version = version_mut(layer, self.version_number, &arn)?;
                check_layer_revision(self.revision_id.as_deref(), version)?;
                add(&mut version.policy, &statement)?;
                version.policy_revision_id = new_id();
                Ok(version.policy_revision_id.clone())
            });
        let revision_id = change.await?;
        Ok(AddLayerVersionPermissionOutput {
            statement: Some(statement_json(&statement)),
            revision_id: Some(revision_id),
        })
    }
}

/// Removes a statement (<https://docs.aws.amazon.com/lambda/latest/api/API_RemoveLayerVersionPermission.html>).
#[derive(Debug, Shape)]
pub struct RemoveLayerVersionPermission {
    layer_name: LayerRef,
    version_number: i64,
    statement_id: StatementId,
    revision_id: Option<String>,
}

impl Operation for RemoveLayerVersionPermission {
    type Service = Functions;
    type Output = ();
    const NAME: &'static str = "RemoveLayerVersionPermission";
    const HTTP: Http = Http::new(
        "DELETE",
        "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy/{StatementId}",
        204,
    )
    .query(&[("RevisionId", "RevisionId")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.layer_name.arn(at, Some(self.version_number))
    }

    async fn run(self, functions: &Functions, cx: &Context) -> Result<(), wire::Error> {
        let at = functions.layer_scope(&self.layer_name, cx)?;
        let arn = self.layer_name.arn(&cx.scope, Some(self.version_number));
        let change = functions
            .inner
            .change_layer(&at, self.layer_name.name(), |layer| {
                let version = version_mut(layer, self.version_number, &arn)?;
                check_layer_revision(self.revision_id.as_deref(), version)?;
                let sid = self.statement_id.as_str();
                let index = version.policy.iter().position(|known| known.sid == sid);
                let index = index.ok_or_else(|| Error::StatementNotFound(sid.to_owned()))?;
                version.policy.remove(index);
                version.policy_revision_id = new_id();
                Ok(())
            });
        Ok(change.await?)
    }
}

/// The policy (<https://docs.aws.amazon.com/lambda/latest/api/API_GetLayerVersionPolicy.html>).
#[derive(Debug, Shape)]
pub struct GetLayerVersionPolicy {
    layer_name: LayerRef,
    version_number: i64,
}

/// See [`GetLayerVersionPolicy`].
#[derive(Debug, Shape)]
pub struct GetLayerVersionPolicyOutput {
    policy: Option<String>,
    revision_id: Option<String>,
}

impl Operation for GetLayerVersionPolicy {
    type Service = Functions;
    type Output = GetLayerVersionPolicyOutput;
    const NAME: &'static str = "GetLayerVersionPolicy";
    const HTTP: Http = Http::new(
        "GET",
        "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy",
        200,
    );

    fn resource(&self, at: &Scope) -> Arn {
        self.layer_name.arn(at, Some(self.version_number))
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<GetLayerVersionPolicyOutput, wire::Error> {
        let at = functions.layer_scope(&self.layer_name, cx)?;
        let (name, number) = (self.layer_name.name(), self.version_number);
        let version = functions.layer_version(&at, name, number);
        let arn = self.layer_name.arn(&cx.scope, Some(number));
        let version = version.ok_or(Error::LayerVersionNotFound(arn))?;
        if version.policy.is_empty() {
            return Err(Error::NoPolicy.into());
        }
        Ok(GetLayerVersionPolicyOutput {
            policy: Some(policy_json(&version.policy).to_string()),
            revision_id: Some(version.policy_revision_id),
        })
    }
}

fn is_compatible(
    version: &LayerVersion,
    runtime: Option<&KnownRuntime>,
    architecture: Option<Architecture>,
) -> bool {
    let lists = |list: &Option<Vec<String>>, wanted: Option<&str>| {
        wanted.is_none_or(|wanted| list.iter().flatten().any(|item| item == wanted))
    };
    lists(&version.runtimes, runtime.map(|runtime| runtime.0.as_str()))
        && lists(
            &version.architectures,
            architecture.as_ref().map(Architecture::as_str),
        )
}

fn list_item(at: &Scope, name: &str, number: i64, version: &LayerVersion) -> LayerVersionsListItem {
    let version = version.clone();
    LayerVersionsListItem {
        layer_version_arn: Some(Arn::layer(at, name, Some(number))),
        version: Some(number),
        description: Some(version.description),
        created_date: Some(date(version.created_ms)),
        compatible_architectures: version.architectures.map(CompatibleArchitectures),
        compatible_runtimes: version.runtimes.map(CompatibleRuntimes),
        license_info: version.license,
    }
}

fn version_mut<'a>(
    layer: &'a mut LayerRecord,
    number: i64,
    arn: &Arn,
) -> Result<&'a mut LayerVersion, Error> {
    let version = layer.versions.get_mut(&number);
    version.ok_or_else(|| Error::LayerVersionNotFound(arn.clone()))
}

fn check_layer_revision(given: Option<&str>, version: &LayerVersion) -> Result<(), Error> {
    match given.is_none_or(|given| given == version.policy_revision_id) {
        true => Ok(()),
        false => Err(Error::StaleLayerRevision),
    }
}

impl Functions {
    /// Where the layer is, if it can be reached from the caller's region.
    fn layer_scope(&self, layer: &LayerRef, cx: &Context) -> Result<Scope, Error> {
        let at = layer.scope(&cx.scope);
        match at.region == cx.scope.region {
            true => Ok(at),
            false => Err(Error::NotThere),
        }
    }

    fn layer_version(&self, at: &Scope, name: &str, number: i64) -> Option<LayerVersion> {
        let layer = self.inner.layers.get(at, name)?;
        layer.record.versions.get(&number).cloned()
    }

    /// The policy of a layer version, for the authorizer.
    pub(crate) fn layer_policy(&self, at: &Scope, name: &str, number: i64) -> Option<Arc<str>> {
        let layer = self.inner.layers.get(at, name)?;
        let policy = &layer.record.versions.get(&number)?.policy;
        (!policy.is_empty()).then(|| policy_json(policy))
    }

    fn layer_output(
        &self,
        at: &Scope,
        name: &str,
        number: i64,
        version: &LayerVersion,
        cx: &Context,
    ) -> LayerVersionOutput {
        let version = version.clone();
        let location = self
            .inner
            .download_key
            .location(cx, &version.package.digest);
        LayerVersionOutput {
            content: Some(LayerVersionContentOutput {
                location: Some(location),
                code_sha256: Some(version.package.sha256()),
                code_size: Some(version.package.size),
                signing_profile_version_arn: None,
                signing_job_arn: None,
                resolved_s3_object: None,
            }),
            layer_arn: Some(Arn::layer(at, name, None)),
            layer_version_arn: Some(Arn::layer(at, name, Some(number))),
            description: Some(version.description),
            created_date: Some(date(version.created_ms)),
            version: Some(number),
            compatible_architectures: version.architectures.map(CompatibleArchitectures),
            compatible_runtimes: version.runtimes.map(CompatibleRuntimes),
            license_info: version.license,
        }
    }
}
