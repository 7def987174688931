//! The services, wired together. A reset ends one `App` and starts another over an emptied folder.

use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use buckets::Buckets;
use bytes::Bytes;
use delivery::{Courier, Delivery, Observer, Outbox, Recipient};
use engine::runtimes::Catalogue;
use engine::{Engine, NetworkPolicy};
use events::{
    Agenda, ApiDestinationRecipient, BusRecipient, Clock, Events, Firing, Outcomes, Scheduler,
};
use functions::{DOWNLOAD_PATH, Functions, ObjectName, Sink, Unread};
use gateway::{Gateway, Page, Services};
use identity::{Iam, Identity, Sts};
use store::Store;
use telemetry::Telemetry;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use wire::{Mount, Router};

use crate::authority::Authority;
use crate::config::Config;
use crate::credentials::RootCredential;
use crate::folder::Folder;
use crate::inside::Inside;
use crate::meter::EventMeter;
use crate::outbound::WayOut;
use crate::scheduler_metrics::SchedulerMetrics;
use crate::trail::Trail;
use crate::trust;
use crate::universal::{Platform, UniversalTargets};
use crate::vault::Vault;
use crate::workers::Workers;

/// Everything behind the door.
pub struct App {
    store: Store,
    identity: Identity,
    telemetry: Telemetry,
    engine: Engine,
    functions: Functions,
    buckets: Buckets,
    scheduler: Scheduler,
    platform: Arc<Platform>,
    events: Events,
    outbox: Outbox,
    trail: Arc<Trail>,
    workers: Workers,
}

/// What an app shares with the server around it.
pub struct Around {
    /// The configuration.
    pub config: Arc<Config>,
    /// The data folder.
    pub folder: Folder,
    /// What runs functions on this machine, which no reset changes.
    pub catalogue: Catalogue,
    /// The door, once there is one: sandboxes get listeners of it.
    pub gateway: Arc<SetOnce<Gateway>>,
    /// Cancelled when the server must end because something broke.
    pub broken: CancellationToken,
}

/// Has the server end when no function can run any more, for whoever supervises it to start it again.
async fn watch(engine: Engine, broken: CancellationToken) {
    match engine.broken().await {
        Ok(()) => error!("the sandbox broker has ended, and without it no function can run"),
        Err(cause) => error!(%cause, "the sandbox broker cannot be watched"),
    }
    broken.cancel();
}

impl App {
    /// Opens the store and starts every service over it.
    pub async fn start(around: &Around) -> Result<App> {
        let Around {
            config,
            folder,
            catalogue,
            gateway,
            broken,
        } = around;
        let store = Store::open(&folder.store())?;
        let identity = Identity::open(&store, identity_settings(config)).await?;
        if let Some(root) = identity.root_credential() {
            RootCredential::from(root).write(folder)?;
        }
        let (telemetry, telemetry_workers) = Telemetry::open(&store).await?;
        let roles = Arc::new(identity.clone());
        let inside = Inside::new(folder, gateway)?;
        let sink = Sink::new(telemetry.clone(), roles.clone(), Arc::new(inside));
        let engine = Engine::start(engine_config(config, folder), Arc::new(sink))?;
        let workers = Workers::new(broken.clone());
        workers.spawn("sandboxes", watch(engine.clone(), broken.clone()));
        let outbox = Outbox::open(&store);
        let (functions, function_workers) = Functions::open(
            &store,
            roles,
            telemetry.clone(),
            Arc::new(engine.clone()),
            outbox.clone(),
            functions_config(config, folder, catalogue.clone()),
        )
        .await?;
        for worker in telemetry_workers {
            workers.spawn(worker.name, worker.run);
        }
        for worker in function_workers {
            workers.spawn(worker.name, worker.run);
        }
        let platform = Platform::new(identity.clone(), store.clock.clone());
        let agenda = Arc::new(Agenda::new(store.clock.clone()));
        let scheduler = Scheduler::open(&store, &agenda, platform.clone()).await?;
        let authority = Arc::new(Authority(identity.clone()));
        let meter = Arc::new(EventMeter(telemetry.clone()));
        let vault = Arc::new(Vault::open(folder)?);
        let secret = buckets::Secret::new(&vault.secret("objects")?);
        let (events, event_workers) =
            Events::open(&store, outbox.clone(), authority, meter, vault, &agenda).await?;
        for worker in event_workers {
            workers.spawn(worker.name, worker.run);
        }
        let (trail, scribe) = Trail::new(events.clone());
        let trail = Arc::new(trail);
        workers.spawn("trail", scribe.run());
        let around = buckets::Surroundings {
            authorizer: Arc::new(identity.clone()),
            language: Arc::new(Authority(identity.clone())),
            destinations: Arc::new(Told(functions.clone())),
            outbox: outbox.clone(),
            secret: Arc::new(secret),
            witness: trail.clone(),
        };
        let (buckets, bucket_workers) = Buckets::open(&store, around).await?;
        functions.read_code_from(Some(Arc::new(Code(buckets.clone()))));
        for worker in bucket_workers {
            workers.spawn(worker.name, worker.run);
        }
        let app = App {
            store,
            identity,
            telemetry,
            engine,
            functions,
            buckets,
            scheduler,
            platform,
            events,
            outbox,
            trail,
            workers,
        };
        let router = Router::new(app.mounts()).witnessed_by(app.trail.clone());
        app.platform.set_router(Some(router));
        app.deliver(&agenda);
        Ok(app)
    }

    /// Starts the workers that put into the outbox and bring out of it.
    fn deliver(&self, agenda: &Arc<Agenda>) {
        let authority = Arc::new(Authority(self.identity.clone()));
        let way_out = Arc::new(WayOut(self.engine.clone()));
        let recipients: Vec<Arc<dyn Recipient>> = vec![
            self.functions.recipient(),
            Arc::new(BusRecipient(self.events.clone())),
            Arc::new(ApiDestinationRecipient::new(self.events.clone(), way_out)),
            Arc::new(self.telemetry.log_groups(authority)),
            Arc::new(UniversalTargets(self.platform.clone())),
        ];
        let metrics = SchedulerMetrics {
            telemetry: self.telemetry.clone(),
            clock: self.store.clock.clone(),
        };
        let observers: Vec<Arc<dyn Observer>> = vec![
            self.functions.observer(),
            Arc::new(metrics),
            Arc::new(Outcomes(self.events.clone())),
        ];
        let courier = Courier::new(&self.outbox, recipients, observers.clone());
        self.workers.spawn("courier", courier.run());
        let (events, scheduler) = (&self.events, &self.scheduler);
        let clock = Clock::new(agenda, events, scheduler, &self.outbox, observers);
        self.workers.spawn("clock", clock.run());
        let scheduler = self.scheduler.clone();
        self.workers.spawn("schedule groups", scheduler.sweep());
    }

    /// What the gateway needs.
    pub fn services(&self) -> Services {
        let firing = Firing::new(&self.events, &self.scheduler, &self.outbox);
        let mut mounts = self.mounts();
        mounts.push(Mount::new(Arc::new(firing)));
        mounts.push(Mount::new(Arc::new(self.outbox.clone())));
        Services {
            router: Router::new(mounts).witnessed_by(self.trail.clone()),
            storage: Some(self.buckets.storage()),
            keyring: Arc::new(self.identity.clone()),
            authorizer: Arc::new(self.identity.clone()),
            pages: vec![Arc::new(CodeLinks(self.functions.clone()))],
        }
    }

    /// AWS's services.
    fn mounts(&self) -> Vec<Mount> {
        vec![
            Mount::new(Arc::new(self.functions.clone())),
            Mount::new(Arc::new(self.events.clone())),
            Mount::new(Arc::new(self.scheduler.clone())),
            Mount::new(Arc::new(Iam(self.identity.clone()))),
            Mount::new(Arc::new(Sts(self.identity.clone()))),
            Mount::new(self.telemetry.logs()),
            Mount::new(self.telemetry.cloudwatch()),
        ]
    }

    /// Stops the services, from the ones that start work to the ones that keep its traces. Work under way gets
    /// `limit` to finish.
    pub async fn stop(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let left = || until.saturating_duration_since(Instant::now());
        self.platform.set_router(None);
        self.functions.read_code_from(None);
        self.functions.drain(left()).await;
        self.engine.drain(left()).await;
        self.telemetry.flush().await;
        self.workers.stop().await;
        self.store.close().await;
    }

    /// Appends what the services count, for `/_/metrics`.
    pub fn measure(&self, out: &mut String) {
        let (store, telemetry) = (self.store.stats(), self.telemetry.stats());
        let egress = self.engine.egress_counts();
        let deliveries = self.outbox.stats();
        for (name, help, value) in [
            ("store_writes_total", "Writes made durable.", store.writes),
            (
                "store_commits_total",
                "Commits that made them durable.",
                store.commits,
            ),
            (
                "store_writes_failed_total",
                "Writes that failed.",
                store.failed,
            ),
            (
                "log_lines_stored_total",
                "Log lines of functions that are on disk.",
                telemetry.lines_stored,
            ),
            (
                "log_lines_dropped_full_total",
                "Log lines dropped for want of room.",
                telemetry.lines_dropped_full,
            ),
            (
                "log_lines_dropped_refused_total",
                "Log lines dropped for want of permission.",
                telemetry.lines_dropped_refused,
            ),
            (
                "log_lines_dropped_failed_total",
                "Log lines dropped because the store failed.",
                telemetry.lines_dropped_failed,
            ),
            (
                "outbound_connections_allowed_total",
                "Connections of functions to the internet.",
                egress.allowed,
            ),
            (
                "outbound_connections_refused_total",
                "Connections of functions that were refused.",
                egress.refused,
            ),
            (
                "outbound_connections_failed_total",
                "Connections of functions that their target did not accept.",
                egress.failed,
            ),
            (
                "aws_connections_redirected_total",
                "Connections of functions to AWS's host names, which are served here.",
                egress.redirected,
            ),
            (
                "aws_names_redirected_total",
                "DNS queries of functions for AWS's host names, which are answered here.",
                egress.names_redirected,
            ),
            (
                "outbound_names_answered_total",
                "DNS queries of functions that were answered.",
                egress.queries,
            ),
            (
                "outbound_names_failed_total",
                "DNS queries of functions that were not.",
                egress.queries_failed,
            ),
            (
                "trail_calls_dropped_total",
                "Calls that EventBridge was not told of, as too many were at once.",
                self.trail.dropped(),
            ),
            (
                "deliveries_accepted_total",
                "Deliveries taken into the outbox.",
                deliveries.accepted,
            ),
            (
                "deliveries_repeated_total",
                "Deliveries put again that were there already.",
                deliveries.repeated,
            ),
            (
                "deliveries_delivered_total",
                "Deliveries that their recipient has.",
                deliveries.delivered,
            ),
            (
                "deliveries_retried_total",
                "Attempts to deliver that failed for now.",
                deliveries.retried,
            ),
            (
                "deliveries_dead_lettered_total",
                "Deliveries given up and sent to a dead-letter queue.",
                deliveries.dead_lettered,
            ),
            (
                "deliveries_buried_total",
                "Deliveries given up and set aside in the outbox.",
                deliveries.buried,
            ),
            (
                "deliveries_expired_total",
                "Deliveries set aside for two weeks and removed.",
                deliveries.expired,
            ),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "# HELP mayfly_{name} {help}\n# TYPE mayfly_{name} counter\nmayfly_{name} {value}"
            );
        }
        let slots = self.engine.slots();
        for (name, help, value) in [
            (
                "sandboxes_waiting",
                "Sandboxes that were made ahead and wait for a function.",
                slots.all() as u64,
            ),
            (
                "sandboxes_bare",
                "Of these, those for a second call at the same time, for which a process is forked then.",
                slots.bare as u64,
            ),
            (
                "templates",
                "Templates of functions that environments are forked of.",
                self.engine.templates() as u64,
            ),
            (
                "deliveries_waiting",
                "Deliveries on their way.",
                deliveries.waiting,
            ),
            (
                "deliveries_set_aside",
                "Undelivered events that are kept in the outbox.",
                deliveries.graves,
            ),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "# HELP mayfly_{name} {help}\n# TYPE mayfly_{name} gauge\nmayfly_{name} {value}"
            );
        }
    }
}

fn identity_settings(config: &Config) -> identity::Settings {
    identity::Settings {
        account: config.account,
        dev: config.dev,
    }
}

fn engine_config(config: &Config, folder: &Folder) -> engine::Config {
    let memory = config.environments_memory_mb_max;
    engine::Config {
        idle_timeout: config.environment_idle,
        prediction: config.prediction,
        zygotes: config.zygotes,
        environments_max: config.environments_max,
        memory_mb_max: memory.unwrap_or_else(|| machine_memory_mb() / 4 * 3),
        egress: config.egress(),
        answers: Some(wire::is_aws_host),
        sandbox: sandbox::Config {
            ca_bundle: Some(trust::bundle(folder)),
            ..sandbox::Config::this_exe()
        },
        ..engine::Config::new(folder.path().join("engine"))
    }
}

/// Buckets, for functions whose code is there.
struct Code(Buckets);

#[async_trait::async_trait]
impl functions::Objects for Code {
    async fn read(
        &self,
        cx: &wire::Context,
        object: &ObjectName<'_>,
        bytes_max: u64,
    ) -> std::result::Result<Bytes, Unread> {
        let ObjectName {
            bucket,
            key,
            version,
        } = *object;
        let read = self.0.read(cx, bucket, key, version, bytes_max).await;
        read.map_err(|error| match error {
            buckets::Error::Denied(_) => Unread::Denied,
            buckets::Error::EntityTooLarge => Unread::TooLarge,
            error => Unread::Failed {
                code: error.code().0.to_owned(),
                message: error.to_string(),
            },
        })
    }
}

/// Those whom buckets notify.
struct Told(Functions);

impl buckets::Destinations for Told {
    fn check(&self, delivery: &Delivery) -> std::result::Result<(), String> {
        self.0
            .would_receive(delivery)
            .map_err(|refusal| refusal.to_string())
    }
}

/// The memory of this machine, in megabytes.
fn machine_memory_mb() -> u64 {
    let about = rustix::system::sysinfo();
    let unit = u64::from(about.mem_unit.max(1));
    about.totalram.saturating_mul(unit) >> 20
}

fn functions_config(config: &Config, folder: &Folder, runtimes: Catalogue) -> functions::Config {
    let endpoint = format!("http://127.0.0.1:{}", engine::ENDPOINT_PORT_DEFAULT);
    functions::Config {
        platform_variables: [("AWS_ENDPOINT_URL", endpoint)]
            .into_iter()
            .chain(trust::variables())
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        network: match config.internet {
            true => NetworkPolicy::Internet,
            false => NetworkPolicy::Endpoint,
        },
        internet_by_tag: config.internet_by_tag,
        templates: config.templates,
        renewed_session: config.renewed_session,
        account_concurrency: config.concurrency,
        ..functions::Config::new(folder.path().join("functions"), runtimes)
    }
}

/// Looks for toolchains. Running those that are not known yet takes its time, and only who needs one waits for it.
pub async fn discover(config: &Config, folder: &Folder) -> Result<Catalogue> {
    let config = config.runtimes_config(&folder.toolchains());
    let catalogue = tokio::task::spawn_blocking(move || Catalogue::discover(&config)).await?;
    let catalogue = catalogue.context("cannot look for runtimes")?;
    let all = catalogue.clone();
    tokio::task::spawn_blocking(move || {
        let found: Vec<&str> = all.found().map(|runtime| runtime.id).collect();
        match found.is_empty() {
            true => warn!("no runtime was found on this machine; `mayfly doctor` says more"),
            false => info!(runtimes = found.join(" "), "found"),
        }
    });
    Ok(catalogue)
}

/// The links of GetFunction.
struct CodeLinks(Functions);

impl Page for CodeLinks {
    fn prefix(&self) -> &'static str {
        DOWNLOAD_PATH
    }

    fn get<'a>(
        &'a self,
        token: &'a str,
    ) -> Pin<Box<dyn Future<Output = Option<(&'static str, Bytes)>> + Send + 'a>> {
        Box::pin(async move { Some(("application/zip", self.0.code_download(token).await?)) })
    }
}
