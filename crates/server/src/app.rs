//! The services, wired together. A reset ends one `App` and starts another over an emptied folder.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use gateway::{Gateway, Services};
use identity::{Iam, Identity, Sts};
use store::Store;
use telemetry::Telemetry;
use tokio_util::sync::CancellationToken;
use wire::{Mount, Router};

use crate::config::Config;
use crate::credentials::RootCredential;
use crate::folder::Folder;
use crate::workers::Workers;

/// Everything behind the door.
pub struct App {
    store: Store,
    identity: Identity,
    telemetry: Telemetry,
    workers: Workers,
}

/// What an app shares with the server around it.
pub struct Around {
    /// The configuration.
    pub config: Arc<Config>,
    /// The data folder.
    pub folder: Folder,
    /// The door, once there is one: sandboxes get listeners of it.
    pub gateway: Arc<OnceLock<Gateway>>,
    /// Cancelled when the server must end because something broke.
    pub broken: CancellationToken,
}

impl App {
    /// Opens the store and starts every service over it.
    pub async fn start(around: &Around) -> Result<App> {
        let Around {
            config,
            folder,
            broken,
            ..
        } = around;
        let store = Store::open(&folder.store())?;
        let identity = Identity::open(&store, identity_settings(config)).await?;
        if let Some(root) = identity.root_credential() {
            RootCredential::from(root).write(folder)?;
        }
        let (telemetry, telemetry_workers) = Telemetry::open(&store).await?;
        let workers = Workers::new(broken.clone());
        for worker in telemetry_workers {
            workers.spawn(worker.name, worker.run);
        }
        Ok(App {
            store,
            identity,
            telemetry,
            workers,
        })
    }

    /// What the gateway needs.
    pub fn services(&self) -> Services {
        let mounts = vec![
            Mount::new(Arc::new(Iam(self.identity.clone()))),
            Mount::new(Arc::new(Sts(self.identity.clone()))),
            Mount::new(self.telemetry.logs()),
            Mount::new(self.telemetry.cloudwatch()),
        ];
        Services {
            router: Router::new(mounts),
            keyring: Arc::new(self.identity.clone()),
            authorizer: Arc::new(self.identity.clone()),
            pages: Vec::new(),
        }
    }

    /// Stops the services, from the ones that start work to the ones that keep its traces. Work under way gets
    /// `limit` to finish.
    pub async fn stop(&self, _limit: Duration) {
        self.telemetry.flush().await;
        self.workers.stop().await;
        self.store.close().await;
    }

    /// Appends what the services count, for `/_/metrics`.
    pub fn measure(&self, out: &mut String) {
        let (store, telemetry) = (self.store.stats(), self.telemetry.stats());
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
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "# HELP mayfly_{name} {help}\n# TYPE mayfly_{name} counter\nmayfly_{name} {value}"
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
