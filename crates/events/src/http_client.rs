//! HTTP out of this machine: one request, one connection. Where it may go is decided by [`Outbound`], and redirects are not
//! followed, so that nobody is led to where they may not go.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long a request may take, as on AWS
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-api-destinations.html>).
const LIMIT: Duration = Duration::from_secs(5);
/// As much of an answer as is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Where systems keep the certificates of authorities, unless `SSL_CERT_FILE` says otherwise.
const AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The way out of this machine.
#[async_trait]
pub trait Outbound: Send + Sync {
    /// Connects to a host that may be reached.
    ///
    /// # Errors
    /// Says whether another attempt may go better.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, NoWay>;
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    /// Nobody may go there.
    #[error("{0}")]
    Closed(String),
    /// It was tried in vain.
    #[error("{0}")]
    Failed(String),
}

/// A request.
pub(crate) struct Request {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The status and the beginning of the body.
pub(crate) type Answer = (StatusCode, Bytes);

/// Sends a request and reads its answer.
pub(crate) async fn send(out: &dyn Outbound, request: Request) -> Result<Answer, NoWay> {
    let late = |_| NoWay::Failed(format!("no answer within {} seconds", LIMIT.as_secs()));
    tokio::time::timeout(LIMIT, exchange(out, request))
        .await
        .map_err(late)?
}

async fn exchange(out: &dyn Outbound, request: Request) -> Result<Answer, NoWay> {
    let closed = |text: &str| NoWay::Closed(text.to_owned());
    let host = request.uri.host().ok_or_else(|| closed("no host"))?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let secure = request.uri.scheme_str() == Some("https");
    let port = request.uri.port_u16();
    let port = port.unwrap_or(if secure { 443 } else { 80 });
    let stream = out.connect(&host, port).await?;
    match secure {
        false => speak(stream, request).await,
        true => {
            let name = ServerName::try_from(host).map_err(|_| closed("not a host"))?;
            let failed = |error: std::io::Error| NoWay::Failed(error.to_string());
            let connector = TlsConnector::from(tls()?);
            speak(
                connector.connect(name, stream).await.map_err(failed)?,
                request,
            )
            .await
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request,
) -> Result<Answer, NoWay> {
    let failed = |error: hyper::Error| NoWay::Failed(error.to_string());
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(failed)?;
    let authority = request.uri.authority().map(ToString::to_string);
    let path = request
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let mut built = http::Request::builder()
        .method(request.method)
        .uri(path)
        .body(Full::new(request.body))
        .map_err(|error| NoWay::Closed(error.to_string()))?;
    *built.headers_mut() = request.headers;
    let host = authority.unwrap_or_default().parse();
    let host = host.map_err(|_| NoWay::Closed("not a host".to_owned()))?;
    built.headers_mut().insert(http::header::HOST, host);
    let answering = async {
        let answer = sender.send_request(built).await.map_err(failed)?;
        let status = answer.status();
        // What is longer than we read was not meant for us.
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        Ok((status, body))
    };
    tokio::pin!(connection);
    tokio::pin!(answering);
    // The connection moves what is sent and read; it ends with the answer, or before it.
    tokio::select! {
        answer = &mut answering => answer,
        ended = &mut connection => match ended {
            Ok(()) => answering.await,
            Err(error) => Err(failed(error)),
        },
    }
}

/// TLS as a client, trusting the authorities that this machine trusts.
fn tls() -> Result<Arc<ClientConfig>, NoWay> {
    static CONFIG: LazyLock<Result<Arc<ClientConfig>, String>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        let named = std::env::var("SSL_CERT_FILE").ok();
        let files = named.iter().map(String::as_str);
        let files: Vec<&str> = match &named {
            Some(_) => files.collect(),
            None => AUTHORITIES.to_vec(),
        };
        for file in files {
            let Ok(certificates) = CertificateDer::pem_file_iter(file) else {
                continue;
            };
            roots.add_parsable_certificates(certificates.filter_map(Result::ok));
            if !roots.is_empty() {
                break;
            }
        }
        if roots.is_empty() {
            return Err("this machine has no certificates of authorities".to_owned());
        }
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    });
    CONFIG.clone().map_err(NoWay::Failed)
}
