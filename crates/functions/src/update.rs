//! UpdateFunctionCode and UpdateFunctionConfiguration: both change `$LATEST`, which runs as before until the update is done.

use std::sync::Arc;

use wire::{Arn, Blob, Context, Http, Keys, List, Operation, Permission, Scope, Shape};

use crate::Functions;
use crate::code::check_total;
use crate::configuration::{FunctionConfiguration, Shown};
use crate::create::{BODY_BYTES_MAX, layer_keys, logging, packages, pass_role, variables};
use crate::destination::check_dead_letter;
use crate::error::Error;
use crate::name::{FunctionRef, LayerVersionRef};
use crate::record::{Content, FunctionRecord, LastUpdate, LayerUse, State, new_id};
use crate::settings::{
    AcceleratorConfig, Architectures, BucketName, CapacityProviderConfig, DeadLetterConfig,
    Description, DurableConfig, Environment, EphemeralStorage, FileSystemConfig,
    FunctionRuntimeConfig, Handler, ImageConfig, KmsKeyArn, LoggingConfig, MemorySize, NotApplied,
    ObjectKey, PublishTo, RoleArn, RuntimeId, S3ObjectStorageMode, SnapStart, Timeout,
    TracingConfig, VpcConfig, check_architecture, check_variables, refuse,
};
use crate::snapstart;
use crate::source::Source;
use crate::state::Function;
use crate::version::{check_revision, check_settled, publish};

/// Replaces the code of `$LATEST` (<https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html>).
#[derive(Debug, Shape)]
pub struct UpdateFunctionCode {
    function_name: FunctionRef,
    zip_file: Option<Blob>,
    #[shape(name = "S3Bucket")]
    s3_bucket: Option<BucketName>,
    #[shape(name = "S3Key")]
    s3_key: Option<ObjectKey>,
    #[shape(name = "S3ObjectVersion")]
    s3_object_version: Option<ObjectKey>,
    #[shape(name = "S3ObjectStorageMode")]
    s3_object_storage_mode: Option<S3ObjectStorageMode>,
    image_uri: Option<String>,
    architectures: Option<Architectures>,
    publish: Option<bool>,
    publish_to: Option<PublishTo>,
    dry_run: Option<bool>,
    revision_id: Option<String>,
    #[shape(name = "SourceKMSKeyArn")]
    source_kms_key_arn: Option<KmsKeyArn>,
}

impl Operation for UpdateFunctionCode {
    type Service = Functions;
    type Output = FunctionConfiguration;
    const NAME: &'static str = "UpdateFunctionCode";
    const HTTP: Http =
        Http::new("PUT", "/2015-03-31/functions/{FunctionName}/code", 200).body_max(BODY_BYTES_MAX);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<FunctionConfiguration, wire::Error> {
        Ok(self.update(functions, cx).await?)
    }
}

impl UpdateFunctionCode {
    async fn update(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<FunctionConfiguration, Error> {
        if self.image_uri.is_some() {
            return Err(Error::Invalid(
                "Please don't provide ImageUri when updating a function with packageType Zip."
                    .to_owned(),
            ));
        }
        let key = self.source_kms_key_arn.iter().any(|key| !key.is_empty());
        refuse("SourceKMSKeyArn", key, "Leave it out.")?;
        refuse("PublishTo", self.publish_to.is_some(), "Leave it out.")?;
        check_architecture(self.architectures.as_ref())?;
        let function = functions.find_unqualified(&self.function_name, cx)?;
        check_revision(
            self.revision_id.as_deref(),
            &function.record.latest_head.revision_id,
        )?;
        check_settled(&function, &function.record)?;
        let source = Source {
            zip: self.zip_file.as_ref().map(|blob| blob.0.clone()),
            bucket: self.s3_bucket.as_ref(),
            key: self.s3_key.as_ref(),
            version: self.s3_object_version.as_ref(),
            mode: self.s3_object_storage_mode,
        };
        let (package, pin) = functions.take_code(cx, &function.at, source).await?;

        let edit = |function: &Function, record: &mut FunctionRecord| {
            check_revision(self.revision_id.as_deref(), &record.latest_head.revision_id)?;
            check_total(package.unzipped, &packages(&record.latest.layers))?;
            let mut content = record.latest.clone();
            content.code = package.clone();
            begin_update(function, record, content, cx.now_ms)
        };
        if self.dry_run == Some(true) {
            let mut record = function.record.clone();
            edit(&function, &mut record)?;
            let shown = Shown::latest(&function.at, &function.name, &record);
            return Ok(shown.into());
        }
        let publishes = self.publish == Some(true);
        let change =
            functions
                .inner
                .change_with(&function.at, &function.name, |before, record, made| {
                    edit(before, record)?;
                    if !publishes {
                        return Ok(None);
                    }
                    let (number, content) = publish(before, record, None, State::Pending);
                    made.extend(content);
                    Ok(Some(number))
                });
        let (after, version) = change.await?;
        drop(pin);
        functions.activate(&after.at, &after.name);
        functions.updated(&after, version)
    }
}

/// Changes the configuration of `$LATEST`
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionConfiguration.html>).
#[derive(Debug, Shape)]
pub struct UpdateFunctionConfiguration {
    function_name: FunctionRef,
    role: Option<RoleArn>,
    handler: Option<Handler>,
    description: Option<Description>,
    timeout: Option<Timeout>,
    memory_size: Option<MemorySize>,
    vpc_config: Option<VpcConfig>,
    environment: Option<Environment>,
    runtime: Option<RuntimeId>,
    dead_letter_config: Option<DeadLetterConfig>,
    #[shape(name = "KMSKeyArn")]
    kms_key_arn: Option<KmsKeyArn>,
    tracing_config: Option<TracingConfig>,
    revision_id: Option<String>,
    layers: Option<Vec<LayerVersionRef>>,
    file_system_configs: Option<List<FileSystemConfig, 0, 1>>,
    image_config: Option<ImageConfig>,
    ephemeral_storage: Option<EphemeralStorage>,
    snap_start: Option<SnapStart>,
    logging_config: Option<LoggingConfig>,
    capacity_provider_config: Option<CapacityProviderConfig>,
    durable_config: Option<DurableConfig>,
    runtime_config: Option<FunctionRuntimeConfig>,
    accelerator_config: Option<AcceleratorConfig>,
}

impl Operation for UpdateFunctionConfiguration {
    type Service = Functions;
    type Output = FunctionConfiguration;
    const NAME: &'static str = "UpdateFunctionConfiguration";
    const HTTP: Http = Http::new(
        "PUT",
        "/2015-03-31/functions/{FunctionName}/configuration",
        200,
    );

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    fn condition_keys(&self, _: &Functions, _: &Context) -> Keys {
        layer_keys(self.layers.as_deref())
    }

    fn also_needs(&self, functions: &Functions, cx: &Context) -> Vec<Permission> {
        let function = self.function_name.arn(&cx.scope);
        let mut needs = pass_role(self.role.as_ref(), &function);
        needs.extend(functions.get_layers(self.layers.as_deref()));
        needs
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<FunctionConfiguration, wire::Error> {
        Ok(self.update(functions, cx).await?)
    }
}

impl UpdateFunctionConfiguration {
    async fn update(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<FunctionConfiguration, Error> {
        self.not_applied().refuse()?;
        if let Some(variables) = variables(self.environment.as_ref()) {
            check_variables(variables)?;
        }
        if let Some(runtime) = &self.runtime {
            functions.inner.check_runtime(&runtime.0).await?;
        }
        let function = functions.find_unqualified(&self.function_name, cx)?;
        let (at, name) = (&function.at, &function.name);
        if let Some(role) = &self.role {
            functions.check_role(at, name, role)?;
        }
        let layers = match &self.layers {
            None => None,
            Some(layers) => Some(functions.layers_in_use(at, Some(layers))?),
        };
        let change = functions.inner.change(at, name, |before, record| {
            check_revision(self.revision_id.as_deref(), &record.latest_head.revision_id)?;
            let content = self.over(name, &record.latest, layers.as_deref())?;
            check_total(content.code.unzipped, &packages(&content.layers))?;
            if let Some(target) = &content.dead_letter {
                check_dead_letter(&functions.inner, at, &content.role, target)?;
            }
            snapstart::check(&content, functions.inner.config.runtimes.policy())?;
            begin_update(before, record, content, cx.now_ms)
        });
        let (after, ()) = change.await?;
        functions.activate(at, name);
        functions.updated(&after, None)
    }

    /// The configuration with what the request gives over it.
    fn over(
        &self,
        name: &str,
        before: &Content,
        layers: Option<&[LayerUse]>,
    ) -> Result<Content, Error> {
        let mut content = before.clone();
        let text = |to: &mut String, given: Option<&str>| {
            if let Some(given) = given {
                given.clone_into(to);
            }
        };
        text(&mut content.role, self.role.as_deref());
        text(&mut content.handler, self.handler.as_deref());
        text(&mut content.description, self.description.as_deref());
        text(
            &mut content.runtime,
            self.runtime.as_ref().map(|runtime| runtime.0.as_str()),
        );
        let number = |to: &mut i64, given: Option<i64>| *to = given.unwrap_or(*to);
        number(&mut content.timeout_s, self.timeout.map(Timeout::get));
        number(
            &mut content.memory_mb,
            self.memory_size.map(MemorySize::get),
        );
        number(
            &mut content.ephemeral_mb,
            self.ephemeral_storage.map(|storage| storage.size.get()),
        );
        if self.environment.is_some() {
            content.variables = variables(self.environment.as_ref()).cloned();
        }
        if let Some(given) = &self.logging_config {
            content.logging = logging(name, Some(&before.logging), given.clone())?;
        }
        if let Some(given) = &self.dead_letter_config {
            content.dead_letter = given.target().map(str::to_owned);
        }
        if let Some(layers) = layers {
            content.layers = layers.to_vec();
        }
        if let Some(asked) = snapstart::asked(self.snap_start.as_ref()) {
            content.snap_start = asked;
        }
        Ok(content)
    }

    fn not_applied(&self) -> NotApplied<'_> {
        NotApplied {
            vpc: self.vpc_config.as_ref(),
            kms_key: self.kms_key_arn.as_ref(),
            tracing: self.tracing_config.as_ref(),
            file_systems: self.file_system_configs.as_ref(),
            image: self.image_config.as_ref(),
            capacity_provider: self.capacity_provider_config.as_ref(),
            durable: self.durable_config.as_ref(),
            runtime: self.runtime_config.as_ref(),
            accelerator: self.accelerator_config.as_ref(),
        }
    }
}

/// Puts a new content in place, which becomes effective when its activation is done.
fn begin_update(
    function: &Function,
    record: &mut FunctionRecord,
    mut content: Content,
    now_ms: i64,
) -> Result<(), Error> {
    check_settled(function, record)?;
    // An equal content keeps its id: then there is nothing to publish, and environments live on.
    if content != record.latest {
        content.id = new_id();
    }
    content.modified_ms = now_ms;
    record.latest = content;
    record.last_update = LastUpdate::InProgress;
    record.latest_head.revision_id = new_id();
    Ok(())
}

impl Functions {
    /// A function whose `$LATEST` is to be changed. AWS takes no other qualifier here.
    fn find_unqualified(
        &self,
        function: &FunctionRef,
        cx: &Context,
    ) -> Result<Arc<Function>, Error> {
        let (found, qualifier) = self.find(function, None, cx)?;
        match crate::spec::is_latest(qualifier.as_deref()) {
            true => Ok(found),
            false => Err(Error::FunctionNotFound(found.arn(qualifier.as_deref()))),
        }
    }

    fn updated(
        &self,
        function: &Function,
        version: Option<u64>,
    ) -> Result<FunctionConfiguration, Error> {
        if let Some(number) = version {
            return Ok(self.version_shown(function, number)?.into());
        }
        let shown = Shown::latest(&function.at, &function.name, &function.record);
        let runtime_digest = self.runtime_digest(&shown.content.runtime);
        Ok(Shown {
            runtime_digest,
            ..shown
        }
        .into())
    }
}
