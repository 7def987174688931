//! `POST /_/reset` of dev mode: everything ends, is deleted, and begins anew, behind a door that stays open.

use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;
use gateway::{Measures, Reset, Services};
use tokio::sync::Mutex;
use tracing::{error, warn};

use crate::app::{App, Around};

/// The services of a server, which a reset replaces.
pub struct Apps {
    around: Around,
    /// The present one. Held throughout a reset, so that resets follow each other.
    app: Mutex<App>,
}

impl Apps {
    /// Starts the services.
    pub async fn start(around: Around) -> Result<Apps> {
        let app = Mutex::new(App::start(&around).await?);
        Ok(Apps { around, app })
    }

    /// What the gateway needs.
    pub async fn services(&self) -> Services {
        self.app.lock().await.services()
    }

    /// Stops the services; what runs gets `limit` to finish.
    pub async fn stop(&self, limit: Duration) {
        self.app.lock().await.stop(limit).await;
    }

    async fn begin_anew(&self) -> Result<()> {
        let mut app = self.app.lock().await;
        warn!("reset: emptying everything, as told");
        app.stop(Duration::ZERO).await;
        self.around.folder.empty()?;
        *app = App::start(&self.around).await?;
        if let Some(gateway) = self.around.gateway.get() {
            gateway.replace(app.services());
        }
        Ok(())
    }
}

impl Reset for Apps {
    fn reset(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async {
            self.begin_anew().await.map_err(|cause| {
                // Half a server is none.
                error!(cause = format!("{cause:#}"), "the reset failed");
                self.around.broken.cancel();
                format!("the reset failed, and the server ends: {cause:#}")
            })
        })
    }
}

impl Measures for Apps {
    fn write(&self, out: &mut String) {
        // During a reset there is nothing to count.
        if let Ok(app) = self.app.try_lock() {
            app.measure(out);
        }
    }
}
