//! Listeners: the network's, with or without TLS, and those of the sandboxes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::{Gateway, Origin, Shards};

/// How long a TLS handshake may take.
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);
/// The pause after the kernel refused to hand out a connection, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A certificate to serve with.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// No certificate in the file.
    #[error("{path} holds no certificate")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Key and certificate do not belong together, or are of a kind that is not supported.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Tls {
    /// Reads a certificate chain and its key from PEM files.
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Read { path, source }
        };
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect)
            .map_err(failed(chain))?;
        if certificates.is_empty() {
            let path = chain.to_owned();
            return Err(TlsError::Empty { path });
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, key)?;
        Ok(Tls::from(config))
    }
}

impl From<ServerConfig> for Tls {
    fn from(mut config: ServerConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Tls(TlsAcceptor::from(Arc::new(config)))
    }
}

impl Gateway {
    pub(crate) async fn accept_outside(self, listener: TcpListener, tls: Option<Tls>) {
        let closing = self.0.closing.clone();
        let room = self.0.connections.clone();
        let shards = self.0.settings.shards.as_ref();
        let places = (&room, &self.0.tasks, shards);
        let accept = self.accept(listener, places, move |gateway, stream, peer| {
            let tls = tls.clone();
            async move {
                let Some(tls) = tls else {
                    let origin = Origin::Outside { peer, tls: false };
                    return gateway.serve(stream, origin, &gateway.0.closing).await;
                };
                match tokio::time::timeout(HANDSHAKE_WAIT_MAX, tls.0.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let origin = Origin::Outside { peer, tls: true };
                        gateway.serve(stream, origin, &gateway.0.closing).await;
                    }
                    Ok(Err(cause)) => debug!(%peer, %cause, "no TLS handshake"),
                    Err(_) => debug!(%peer, "the TLS handshake took too long"),
                }
            }
        });
        // Dropping the future closes the port.
        let _ = closing.run_until_cancelled(accept).await;
    }

    pub(crate) async fn accept_inside(self, listener: TcpListener, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(self.0.settings.limits.connections_inside));
        // Not stopped when the door closes: functions that finish during a drain still need AWS's APIs. Their
        // environments end, and `stop` with them, before the drain does.
        let places = (&room, &self.0.inside, None);
        let until = stop.clone();
        let accept = self.accept(listener, places, move |gateway, stream, _| {
            let stop = until.clone();
            async move {
                gateway
                    .serve(stream, Origin::Inside { tls: false }, &stop)
                    .await
            }
        });
        // Accepting never ends by itself, so this is `None`: stopped.
        let _ = stop.run_until_cancelled(accept).await;
    }

    /// Whoever accepted it ends it by dropping this future, so nothing else does.
    pub(crate) async fn serve_name(&self, stream: TcpStream, tls: Option<&Tls>) {
        let never = CancellationToken::new();
        let Some(tls) = tls else {
            let origin = Origin::Inside { tls: false };
            return self.serve(stream, origin, &never).await;
        };
        match tokio::time::timeout(HANDSHAKE_WAIT_MAX, tls.0.accept(stream)).await {
            Ok(Ok(stream)) => {
                let origin = Origin::Inside { tls: true };
                self.serve(stream, origin, &never).await;
            }
            Ok(Err(cause)) => debug!(%cause, "no TLS handshake with a function"),
            Err(_) => debug!("the TLS handshake with a function took too long"),
        }
    }

    /// Accepts for ever, as long as there is room, and serves each connection in a task of its own.
    async fn accept<F: Future<Output = ()> + Send + 'static>(
        &self,
        listener: TcpListener,
        (room, tasks, shards): (&Arc<Semaphore>, &TaskTracker, Option<&Shards>),
        serve: impl Fn(Gateway, TcpStream, std::net::SocketAddr) -> F + Clone + Send + 'static,
    ) {
        loop {
            let place = room.clone().acquire_owned().await;
            let place = place.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Err(cause) = stream.set_nodelay(true) {
                        debug!(%peer, %cause, "the connection went away at once");
                        continue;
                    }
                    let (gateway, serve) = (self.clone(), serve.clone());
                    let Some(shards) = shards else {
                        tasks.spawn(async move {
                            serve(gateway, stream, peer).await;
                            drop(place);
                        });
                        continue;
                    };
                    let (shard, count) = shards.choose(&stream);
                    let moved = stream.into_std();
                    let serving = async move {
                        // The shard waits for the connection itself.
                        match moved.and_then(TcpStream::from_std) {
                            Ok(stream) => serve(gateway, stream, peer).await,
                            Err(cause) => warn!(%peer, %cause, "a connection was not served"),
                        }
                        drop((place, count));
                    };
                    tasks.spawn_on(serving, shard);
                }
                Err(cause) if is_of_one_connection(&cause) => debug!(%cause, "not accepted"),
                Err(cause) => {
                    warn!(%cause, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Whether an error of accept() is about the one connection that went away, not about ourselves.
fn is_of_one_connection(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
