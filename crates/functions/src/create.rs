//! CreateFunction.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wire::{Arn, Context, Http, Keys, List, Operation, Permission, Scope, Shape};

use crate::Functions;
use crate::code::{Package, check_total};
use crate::configuration::{FunctionConfiguration, Shown};
use crate::destination::check_dead_letter;
use crate::error::Error;
use crate::name::{FunctionRef, LayerVersionRef};
use crate::record::{
    Content, FunctionRecord, Head, LastUpdate, LayerUse, Logging, State, VersionHead, new_id,
};
use crate::settings::{
    AcceleratorConfig, Architectures, CapacityProviderConfig, DeadLetterConfig, Description,
    DurableConfig, Environment, EphemeralStorage, FileSystemConfig, FunctionCode,
    FunctionRuntimeConfig, Handler, ImageConfig, KmsKeyArn, LogFormat, LoggingConfig, MemorySize,
    NotApplied, PackageType, PublishTo, RoleArn, RuntimeId, SnapStart, TenancyConfig, Timeout,
    TracingConfig, VpcConfig, check_architecture, check_variables, refuse,
};
use crate::snapstart;
use crate::source::Source;
use crate::spec::default_log_group;
use crate::tag::{Tags, request_tags};

/// The largest request that may carry a package, as AWS has it: a package of 50 MB in base64 and some room.
pub(crate) const BODY_BYTES_MAX: usize = 70_167_211;
/// Layers of a function.
const LAYERS_MAX: usize = 5;
/// Seconds of an invocation unless told otherwise.
const TIMEOUT_DEFAULT: i64 = 3;
/// Megabytes of memory unless told otherwise.
const MEMORY_DEFAULT: i64 = 128;
/// Megabytes of `/tmp` unless told otherwise.
const EPHEMERAL_DEFAULT: i64 = 512;

/// Creates a function (<https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html>).
#[derive(Debug, Shape)]
pub struct CreateFunction {
    function_name: FunctionRef,
    runtime: Option<RuntimeId>,
    role: RoleArn,
    handler: Option<Handler>,
    code: FunctionCode,
    description: Option<Description>,
    timeout: Option<Timeout>,
    memory_size: Option<MemorySize>,
    publish: Option<bool>,
    publish_to: Option<PublishTo>,
    vpc_config: Option<VpcConfig>,
    package_type: Option<PackageType>,
    dead_letter_config: Option<DeadLetterConfig>,
    environment: Option<Environment>,
    #[shape(name = "KMSKeyArn")]
    kms_key_arn: Option<KmsKeyArn>,
    tracing_config: Option<TracingConfig>,
    tags: Option<Tags>,
    layers: Option<Vec<LayerVersionRef>>,
    file_system_configs: Option<List<FileSystemConfig, 0, 1>>,
    code_signing_config_arn: Option<String>,
    image_config: Option<ImageConfig>,
    architectures: Option<Architectures>,
    ephemeral_storage: Option<EphemeralStorage>,
    snap_start: Option<SnapStart>,
    logging_config: Option<LoggingConfig>,
    tenancy_config: Option<TenancyConfig>,
    capacity_provider_config: Option<CapacityProviderConfig>,
    durable_config: Option<DurableConfig>,
    runtime_config: Option<FunctionRuntimeConfig>,
    accelerator_config: Option<AcceleratorConfig>,
}

impl Operation for CreateFunction {
    type Service = Functions;
    type Output = FunctionConfiguration;
    const NAME: &'static str = "CreateFunction";
    const HTTP: Http = Http::new("POST", "/2015-03-31/functions", 201).body_max(BODY_BYTES_MAX);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    fn condition_keys(&self, _: &Functions, _: &Context) -> Keys {
        let mut keys = layer_keys(self.layers.as_deref());
        keys.extend(request_tags(self.tags.as_ref()));
        keys
    }

    fn also_needs(&self, functions: &Functions, cx: &Context) -> Vec<Permission> {
        let function = self.function_name.arn(&cx.scope);
        let mut needs = pass_role(Some(&self.role), &function);
        needs.extend(functions.get_layers(self.layers.as_deref()));
        // What a tag can open is opened only by those who may tag.
        if self.tags.as_ref().is_some_and(Tags::names_internet) {
            needs.push(Permission {
                action: "lambda:TagResource",
                resource: function,
                keys: request_tags(self.tags.as_ref()),
                resource_policy: None,
            });
        }
        needs
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<FunctionConfiguration, wire::Error> {
        Ok(self.create(functions, cx).await?)
    }
}

impl CreateFunction {
    async fn create(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<FunctionConfiguration, Error> {
        let inner = &functions.inner;
        let at = self.function_name.reach(&cx.scope)?;
        let name = self.function_name.name().to_owned();
        self.check(functions, &at).await?;
        if inner.functions.get(&at, &name).is_some() {
            return Err(Error::FunctionExists(name));
        }
        let layers = functions.layers_in_use(&at, self.layers.as_deref())?;
        let source = Source {
            zip: self.code.zip_file.as_ref().map(|blob| blob.0.clone()),
            bucket: self.code.s3_bucket.as_ref(),
            key: self.code.s3_key.as_ref(),
            version: self.code.s3_object_version.as_ref(),
            mode: self.code.s3_object_storage_mode,
        };
        let (package, pin) = functions.take_code(cx, &at, source).await?;
        check_total(package.unzipped, &packages(&layers))?;
        let publish = self.publish == Some(true);
        let tags = self.tags.clone().map(|tags| tags.0).unwrap_or_default();
        let content = self.content(&name, package, layers, cx.now_ms)?;
        snapstart::check(&content, inner.config.runtimes.policy())?;
        let (record, contents) = new_record(content, tags, publish);
        let function = inner.create(&at, &name, record, contents).await?;
        drop(pin);
        inner.apply_concurrency(&at, &name);
        functions.activate(&at, &name);

        let digest = functions.runtime_digest(&function.record.latest.runtime);
        let mut shown = Shown {
            runtime_digest: digest,
            ..Shown::latest(&at, &name, &function.record)
        };
        if let (true, Some(first)) = (publish, function.record.versions.get(&1)) {
            shown.version = Some(1);
            shown.head = &first.head;
        }
        Ok(shown.into())
    }

    /// All that can be said without looking at the code.
    async fn check(&self, functions: &Functions, at: &Scope) -> Result<(), Error> {
        if self.function_name.own_qualifier().is_some() {
            return Err(Error::QualifiedCreate);
        }
        self.not_applied().refuse()?;
        let image = self.package_type == Some(PackageType::Image) || self.code.image_uri.is_some();
        const LEAVE_OUT: &str = "Leave it out.";
        refuse(
            "PackageType Image",
            image,
            "Deploy a zip, also with a bootstrap of your own for provided.al2023.",
        )?;
        refuse(
            "CodeSigningConfigArn",
            self.code_signing_config_arn
                .iter()
                .any(|arn| !arn.is_empty()),
            LEAVE_OUT,
        )?;
        refuse("TenancyConfig", self.tenancy_config.is_some(), LEAVE_OUT)?;
        refuse("PublishTo", self.publish_to.is_some(), LEAVE_OUT)?;
        let key = self
            .code
            .source_kms_key_arn
            .iter()
            .any(|key| !key.is_empty());
        refuse("Code.SourceKMSKeyArn", key, LEAVE_OUT)?;
        check_architecture(self.architectures.as_ref())?;
        let (Some(runtime), Some(_)) = (&self.runtime, &self.handler) else {
            return Err(Error::RuntimeAndHandlerNeeded);
        };
        functions.inner.check_runtime(&runtime.0).await?;
        functions.check_role(at, self.function_name.name(), &self.role)?;
        let dead_letter = self.dead_letter_config.as_ref();
        if let Some(target) = dead_letter.and_then(DeadLetterConfig::target) {
            check_dead_letter(&functions.inner, at, &self.role, target)?;
        }
        if let Some(variables) = variables(self.environment.as_ref()) {
            check_variables(variables)?;
        }
        let Some(tags) = &self.tags else {
            return Ok(());
        };
        tags.check()?;
        functions.inner.config.check_own_tags(&tags.0)
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

    fn content(
        self,
        name: &str,
        code: Package,
        layers: Vec<LayerUse>,
        now_ms: i64,
    ) -> Result<Content, Error> {
        Ok(Content {
            id: new_id(),
            code,
            layers,
            runtime: self.runtime.map(|runtime| runtime.0).unwrap_or_default(),
            role: self.role.into_string(),
            handler: self.handler.map(Handler::into_string).unwrap_or_default(),
            description: self
                .description
                .map(Description::into_string)
                .unwrap_or_default(),
            timeout_s: self.timeout.map_or(TIMEOUT_DEFAULT, Timeout::get),
            memory_mb: self.memory_size.map_or(MEMORY_DEFAULT, MemorySize::get),
            ephemeral_mb: self
                .ephemeral_storage
                .map_or(EPHEMERAL_DEFAULT, |storage| storage.size.get()),
            variables: variables(self.environment.as_ref()).cloned(),
            logging: logging(name, None, self.logging_config.unwrap_or_default())?,
            dead_letter: self
                .dead_letter_config
                .as_ref()
                .and_then(DeadLetterConfig::target)
                .map(str::to_owned),
            modified_ms: now_ms,
            snap_start: snapstart::asked(self.snap_start.as_ref()).unwrap_or_default(),
        })
    }
}

/// The record of a function that was not there before, and of its first version when it is to be published at once.
fn new_record(
    content: Content,
    tags: BTreeMap<String, String>,
    publish: bool,
) -> (FunctionRecord, HashMap<String, Arc<Content>>) {
    let pending = || Head {
        revision_id: new_id(),
        state: State::Pending,
    };
    let mut record = FunctionRecord {
        id: new_id(),
        latest: content.clone(),
        latest_head: pending(),
        last_update: LastUpdate::Successful,
        next_version: 1,
        versions: BTreeMap::new(),
        aliases: BTreeMap::new(),
        policies: BTreeMap::new(),
        tags,
        reserved_concurrency: None,
        provisioned: BTreeMap::new(),
        event_invoke: BTreeMap::new(),
        recursion_allowed: false,
    };
    let mut contents = HashMap::new();
    if publish {
        let version = VersionHead {
            head: pending(),
            content: new_id(),
        };
        contents.insert(version.content.clone(), Arc::new(content));
        record.versions.insert(1, version);
        record.next_version = 2;
    }
    (record, contents)
}

/// The variables, if any are given. An empty map takes them away, as on AWS.
pub(crate) fn variables(environment: Option<&Environment>) -> Option<&BTreeMap<String, String>> {
    let variables = environment?.variables.as_ref()?;
    (!variables.is_empty()).then_some(variables)
}

/// `LoggingConfig` over what was there before, with AWS's defaults
/// (<https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html>).
pub(crate) fn logging(
    name: &str,
    before: Option<&Logging>,
    given: LoggingConfig,
) -> Result<Logging, Error> {
    let json = match given.log_format {
        Some(format) => format == LogFormat::Json,
        None => before.is_some_and(|before| before.json),
    };
    let application = given.application_log_level.map(|l| l.as_str().to_owned());
    let system = given.system_log_level.map(|l| l.as_str().to_owned());
    if !json && (application.is_some() || system.is_some()) {
        return Err(Error::LevelsNeedJson);
    }
    let level = |given: Option<String>, before: Option<&Option<String>>| {
        let level = given.or_else(|| before.cloned().flatten());
        json.then(|| level.unwrap_or_else(|| "INFO".to_owned()))
    };
    Ok(Logging {
        json,
        application_level: level(application, before.map(|b| &b.application_level)),
        system_level: level(system, before.map(|b| &b.system_level)),
        group: match given.log_group {
            Some(group) => group.into_string(),
            None => before.map_or_else(|| default_log_group(name), |b| b.group.clone()),
        },
    })
}

/// Whoever gives a function a role must be allowed to pass it
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html>).
pub(crate) fn pass_role(role: Option<&RoleArn>, function: &Arn) -> Vec<Permission> {
    let role = role.and_then(|role| Arn::parse(role));
    let permission = |resource| Permission {
        action: "iam:PassRole",
        resource,
        keys: vec![
            (
                "iam:PassedToService".into(),
                vec!["lambda.amazonaws.com".to_owned()],
            ),
            (
                "iam:AssociatedResourceArn".into(),
                vec![function.to_string()],
            ),
        ],
        resource_policy: None,
    };
    role.map(permission).into_iter().collect()
}

/// `lambda:Layer`.
pub(crate) fn layer_keys(layers: Option<&[LayerVersionRef]>) -> Keys {
    match layers {
        None | Some([]) => Keys::new(),
        Some(layers) => {
            let arns = layers.iter().map(|layer| layer.arn().to_string());
            vec![("lambda:Layer".into(), arns.collect())]
        }
    }
}

pub(crate) fn packages(layers: &[LayerUse]) -> Vec<Package> {
    layers.iter().map(|layer| layer.package.clone()).collect()
}

impl Functions {
    /// Whoever uses a layer must be allowed to get it, by an identity's policy or the layer's own.
    pub(crate) fn get_layers(&self, layers: Option<&[LayerVersionRef]>) -> Vec<Permission> {
        let need = |layer: &LayerVersionRef| Permission {
            action: "lambda:GetLayerVersion",
            resource: layer.arn(),
            keys: Keys::new(),
            resource_policy: self.layer_policy(&layer.scope, &layer.name, layer.version),
        };
        layers.unwrap_or_default().iter().map(need).collect()
    }

    /// The layers that a request names.
    pub(crate) fn layers_in_use(
        &self,
        at: &Scope,
        layers: Option<&[LayerVersionRef]>,
    ) -> Result<Vec<LayerUse>, Error> {
        let layers = layers.unwrap_or_default();
        if layers.len() > LAYERS_MAX {
            return Err(Error::TooManyLayers);
        }
        let mut used: Vec<LayerUse> = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            let same =
                |other: &&LayerVersionRef| other.scope == layer.scope && other.name == layer.name;
            if let Some(first) = layers[..index].iter().find(same) {
                return Err(Error::LayerTwice {
                    first: first.arn(),
                    second: layer.arn(),
                });
            }
            if layer.scope.region != at.region {
                return Err(Error::LayerElsewhere(at.region.clone()));
            }
            let found = self.inner.layers.get(&layer.scope, &layer.name);
            let version = found.and_then(|l| l.record.versions.get(&layer.version).cloned());
            let version = version.ok_or_else(|| Error::LayerNotThere(layer.arn()))?;
            used.push(LayerUse {
                arn: layer.arn().to_string(),
                package: version.package,
            });
        }
        Ok(used)
    }

    /// The role must be the account's own and let Lambda assume it.
    pub(crate) fn check_role(&self, at: &Scope, name: &str, role: &RoleArn) -> Result<(), Error> {
        let elsewhere = Arn::parse(role).is_some_and(|arn| arn.account() != &*at.account);
        if elsewhere {
            return Err(Error::RoleElsewhere);
        }
        let function = Arn::function(at, name, None);
        match self.inner.roles.assumable(role, &function) {
            true => Ok(()),
            false => Err(Error::RoleNotAssumable),
        }
    }

    /// The last part of the runtime version's ARN.
    pub(crate) fn runtime_digest(&self, runtime: &str) -> Option<String> {
        let found = self.inner.config.runtimes.resolve_existing(runtime);
        found.ok().map(|runtime| runtime.digest.clone())
    }
}
