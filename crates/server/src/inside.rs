//! AWS's APIs as functions reach them: at their endpoint, and at AWS's own host names.

use std::sync::Arc;

use anyhow::Result;
use engine::Serving;
use gateway::{Gateway, Tls};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use crate::folder::Folder;
use crate::trust;

/// Serves sandboxes through the same door as everyone. Events that a crash left behind may run before there is one; their
/// connections wait.
pub struct Inside {
    gateway: Arc<SetOnce<Gateway>>,
    tls: Tls,
}

impl Inside {
    /// Makes what sandboxes are to trust, too.
    pub fn new(folder: &Folder, gateway: &Arc<SetOnce<Gateway>>) -> Result<Self> {
        Ok(Inside {
            gateway: gateway.clone(),
            tls: trust::open(folder)?.tls()?,
        })
    }
}

impl functions::Endpoint for Inside {
    fn listen(&self, listener: TcpListener, stop: CancellationToken) -> Serving {
        let gateway = self.gateway.clone();
        Box::pin(async move {
            if let Some(gateway) = stop.run_until_cancelled(gateway.wait()).await {
                gateway.serve_sandbox(listener, stop.clone()).await;
            }
        })
    }

    fn serve(&self, stream: TcpStream, tls: bool) -> Serving {
        let (gateway, tls) = (self.gateway.clone(), tls.then(|| self.tls.clone()));
        Box::pin(async move {
            let gateway = gateway.wait().await;
            gateway.serve_inside(stream, tls.as_ref()).await;
        })
    }
}
