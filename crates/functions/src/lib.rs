//! AWS Lambda's API: functions, versions, aliases, layers, permissions, concurrency, and invocations in all three types.
//!
//! It owns what functions are: their records in the store, their code on disk, and in memory all that a request needs.
//! It refuses settings that Mayfly does not apply. Running is the engine's, logs and metrics are telemetry's, and who may
//! do what is identity's; [`Functions`] is the handle on all of it and the service to mount.

mod account;
mod activation;
mod alias;
mod archive;
mod code;
mod concurrency;
mod configuration;
mod create;
mod destination;
mod download;
mod error;
mod event;
mod event_config;
mod executor;
mod function;
mod inbox;
mod invoke;
mod layer;
mod meter;
mod name;
mod network;
mod paging;
mod permission;
mod provisioned;
mod record;
mod recursion;
mod resource;
mod roles;
mod settings;
mod sink;
mod snapstart;
mod source;
mod spec;
mod state;
mod table;
mod tag;
mod unbuilt;
mod update;
mod version;
mod wishes;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use delivery::{Observer, Outbox, Recipient};
use engine::NetworkPolicy;
use engine::runtimes::Catalogue;
use store::{Clock, Kv, Queues, Store};
use telemetry::Telemetry;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::{Arn, Protocol, ResourceFacts, Route, Service, Unbuilt};

use code::CodeStore;
use concurrency::Ledger;
use meter::Meter;
use state::{Function, Layer};
use table::Table;

pub use archive::{Refused, unpack};
pub use download::DOWNLOAD_PATH;
pub use error::Error;
pub use executor::{Executor, Preparing, Running};
pub use roles::{Roles, SESSION_MAX};
pub use sink::{Endpoint, Sink};
pub use source::{ObjectName, Objects, Unread};

/// AWS Lambda. Clones are handles to the same one.
#[derive(Clone)]
pub struct Functions {
    inner: Arc<Inner>,
}

/// What an operator decides about functions.
#[derive(Clone, Debug)]
pub struct Config {
    /// A folder of this crate's own for unpacked code; made when absent.
    pub data: PathBuf,
    /// The runtimes of this machine.
    pub runtimes: Catalogue,
    /// Variables that every function sees beyond AWS's, such as `AWS_ENDPOINT_URL`.
    pub platform_variables: Vec<(String, String)>,
    /// What functions may reach that say nothing about it.
    pub network: NetworkPolicy,
    /// Whether a function may open the internet for itself, by the tag `mayfly:internet`. Closing it that way is always
    /// possible.
    pub internet_by_tag: bool,
    /// Whether environments are forks of a template without SnapStart, unless the tag `mayfly:template` says otherwise.
    pub templates: bool,
    /// How long the credentials of an execution role are good that an environment asks for, again and again.
    pub renewed_session: Duration,
    /// Executions at once in an account and region.
    pub account_concurrency: u32,
    /// A number from 0 to 1, without it, which decides for aliases that share their invocations.
    pub random: fn() -> f64,
}

impl Config {
    /// Defaults for code that is kept in `data`.
    pub fn new(data: impl Into<PathBuf>, runtimes: Catalogue) -> Config {
        Config {
            data: data.into(),
            runtimes,
            platform_variables: Vec::new(),
            network: NetworkPolicy::default(),
            internet_by_tag: false,
            templates: false,
            renewed_session: SESSION_MAX,
            account_concurrency: engine::ACCOUNT_CONCURRENCY_DEFAULT,
            random,
        }
    }
}

/// From the version-4 part of a UUID, which has more than the 53 bits that a double holds.
fn random() -> f64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    let bits = (high << 32 ^ low) >> 11 & ((1 << 53) - 1);
    bits as f64 / (1_u64 << 53) as f64
}

/// A task that must run for as long as the server does. It ends when it is dropped.
pub struct Worker {
    /// For the log.
    pub name: &'static str,
    /// The task.
    pub run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// All that operations work with.
struct Inner {
    kv: Arc<dyn Kv>,
    queues: Arc<dyn Queues>,
    outbox: Outbox,
    clock: Arc<dyn Clock>,
    code: Arc<CodeStore>,
    roles: Arc<dyn Roles>,
    engine: Arc<dyn Executor>,
    config: Config,
    functions: Table<Function>,
    layers: Table<Layer>,
    reserved: Ledger,
    download_key: download::Key,
    /// Where code in buckets is read.
    objects: RwLock<Option<Arc<dyn Objects>>>,
    meter: Meter,
    telemetry: Telemetry,
    event_workers: event::Workers,
    initialising: snapstart::Initialising,
    /// Counts changes of functions, for those who wait for one.
    changes: watch::Sender<u64>,
    /// Something may have become garbage.
    garbage: Notify,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Inner {
    fn tell_change(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Functions {
    /// Reads what the store holds, and goes on with what a crash interrupted. The workers must be spawned.
    pub async fn open(
        store: &Store,
        roles: Arc<dyn Roles>,
        telemetry: Telemetry,
        engine: Arc<dyn Executor>,
        outbox: Outbox,
        config: Config,
    ) -> Result<(Functions, Vec<Worker>), Error> {
        let code = CodeStore::open(config.data.join("code"), Arc::clone(&store.blobs))?;
        let download_key = download::Key::open(store).await?;
        let inner = Arc::new(Inner {
            kv: Arc::clone(&store.kv),
            queues: Arc::clone(&store.queues),
            outbox,
            clock: Arc::clone(&store.clock),
            code,
            roles,
            engine,
            functions: Table::default(),
            layers: Table::default(),
            reserved: Ledger::new(config.account_concurrency),
            download_key,
            objects: RwLock::default(),
            meter: Meter::new(telemetry.clone()),
            telemetry,
            event_workers: event::Workers::default(),
            initialising: snapstart::Initialising::default(),
            changes: watch::Sender::new(0),
            garbage: Notify::new(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            config,
        });
        inner.load().await?;
        inner.repair().await?;
        // Not before the code is there: environments may be made at once.
        inner.restore_concurrency();
        inner.resume_activations().await?;
        let sweeper = Worker {
            name: "code sweeper",
            run: Box::pin(activation::sweep(Arc::clone(&inner))),
        };
        let templates = Worker {
            name: "SnapStart",
            run: Box::pin(Arc::clone(&inner).initialise_again()),
        };
        let events = event::starter(Arc::clone(&inner));
        Ok((Functions { inner }, vec![sweeper, templates, events]))
    }

    /// Takes deliveries to functions.
    pub fn recipient(&self) -> Arc<dyn Recipient> {
        Arc::new(inbox::Inbox(self.clone()))
    }

    /// Counts deliveries of functions that failed.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(destination::Failures(Arc::clone(&self.inner)))
    }

    /// Takes no more events from the queues, and waits up to `limit` for what is going on. Events that were not handled
    /// stay in their queues.
    pub async fn drain(&self, limit: Duration) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(limit, self.inner.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("events and activations did not end in time");
        }
    }
}

impl Service for Functions {
    const NAME: &'static str = "lambda";
    const MODEL: &'static str = "lambda";
    const PROTOCOLS: &'static [Protocol] = &[Protocol::RestJson];
    const API_VERSION: &'static str = "2015-03-31";
    const OPERATIONS: &'static [Route<Self>] = &[
        Route::of::<create::CreateFunction>(),
        Route::of::<function::GetFunction>(),
        Route::of::<function::GetFunctionConfiguration>(),
        Route::of::<function::ListFunctions>(),
        Route::of::<function::DeleteFunction>(),
        Route::of::<update::UpdateFunctionCode>(),
        Route::of::<update::UpdateFunctionConfiguration>(),
        Route::of::<version::PublishVersion>(),
        Route::of::<version::ListVersionsByFunction>(),
        Route::of::<alias::CreateAlias>(),
        Route::of::<alias::UpdateAlias>(),
        Route::of::<alias::GetAlias>(),
        Route::of::<alias::ListAliases>(),
        Route::of::<alias::DeleteAlias>(),
        Route::of::<layer::PublishLayerVersion>(),
        Route::of::<layer::GetLayerVersion>(),
        // Before ListLayers, which has the same path.
        Route::of::<layer::GetLayerVersionByArn>(),
        Route::of::<layer::ListLayers>(),
        Route::of::<layer::ListLayerVersions>(),
        Route::of::<layer::DeleteLayerVersion>(),
        Route::of::<layer::AddLayerVersionPermission>(),
        Route::of::<layer::RemoveLayerVersionPermission>(),
        Route::of::<layer::GetLayerVersionPolicy>(),
        Route::of::<permission::AddPermission>(),
        Route::of::<permission::RemovePermission>(),
        Route::of::<permission::GetPolicy>(),
        Route::of::<concurrency::PutFunctionConcurrency>(),
        Route::of::<concurrency::GetFunctionConcurrency>(),
        Route::of::<concurrency::DeleteFunctionConcurrency>(),
        // Before GetProvisionedConcurrencyConfig, which has the same path.
        Route::of::<provisioned::ListProvisionedConcurrencyConfigs>(),
        Route::of::<provisioned::PutProvisionedConcurrencyConfig>(),
        Route::of::<provisioned::GetProvisionedConcurrencyConfig>(),
        Route::of::<provisioned::DeleteProvisionedConcurrencyConfig>(),
        // Before GetFunctionEventInvokeConfig, whose path this one goes on from.
        Route::of::<event_config::ListFunctionEventInvokeConfigs>(),
        Route::of::<event_config::PutFunctionEventInvokeConfig>(),
        Route::of::<event_config::UpdateFunctionEventInvokeConfig>(),
        Route::of::<event_config::GetFunctionEventInvokeConfig>(),
        Route::of::<event_config::DeleteFunctionEventInvokeConfig>(),
        Route::of::<recursion::PutFunctionRecursionConfig>(),
        Route::of::<recursion::GetFunctionRecursionConfig>(),
        Route::of::<tag::TagResource>(),
        Route::of::<tag::UntagResource>(),
        Route::of::<tag::ListTags>(),
        Route::of::<account::GetAccountSettings>(),
        Route::of::<invoke::Invoke>(),
        Route::of::<invoke::InvokeAsync>(),
    ];
    const UNBUILT: &'static [Unbuilt] = unbuilt::UNBUILT;

    fn facts_of(&self, resource: &Arn) -> ResourceFacts {
        self.facts(resource)
    }
}
