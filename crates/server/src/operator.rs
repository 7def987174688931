//! How commands of ours ask the running server of a data folder, on this machine and as its root user.

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use wire::sigv4::{Credentials, Signer};

use crate::config::Config;
use crate::credentials::RootCredential;
use crate::folder::Folder;

/// How long the server may take to answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// The largest answer.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Runs what waits for the server.
pub fn waited<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

/// The server of a data folder.
pub struct Server {
    endpoint: Uri,
    signer: Signer,
}

impl Server {
    /// Of the configuration; whether it runs is found when it is asked.
    pub fn of(config: &Config) -> Result<Self> {
        let folder = Folder::open(&config.data)?;
        let root = RootCredential::read(&folder)?;
        let endpoint = match folder.endpoint() {
            Some(written) if !config.listen_is_given => written,
            _ => config.url(config.listen),
        };
        let endpoint: Uri = endpoint.parse()?;
        if endpoint.scheme_str() != Some("http") {
            bail!(
                "this command talks plain HTTP to this machine, and {endpoint} is not that; see docs/delivery.md for the \
                 request to sign and send"
            );
        }
        let credentials = Credentials {
            access_key_id: root.access_key_id,
            secret_access_key: root.secret_access_key,
            session_token: None,
        };
        Ok(Self {
            signer: Signer::new(credentials, &config.region, "mayfly"),
            endpoint,
        })
    }

    /// Runs an operation of the service `mayfly`, as its target header names it.
    pub async fn ask<T: DeserializeOwned>(&self, operation: &str, request: &Value) -> Result<T> {
        let body = Bytes::from(serde_json::to_vec(request)?);
        let request = Request::post(self.endpoint.clone())
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", operation)
            .body(())?;
        let (mut parts, ()) = request.into_parts();
        self.signer.sign(&mut parts, &body, Timestamp::now());
        let request = Request::from_parts(parts, Full::new(body));
        let answer = timeout(ANSWER_WAIT_MAX, self.send(request)).await;
        let (status, body) = answer.context("the server did not answer")??;
        if !status.is_success() {
            let told: Value = serde_json::from_slice(&body).unwrap_or_default();
            let message = told["message"].as_str().or(told["Message"].as_str());
            bail!("{}", message.unwrap_or(status.as_str()));
        }
        Ok(serde_json::from_slice(&body)?)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(http::StatusCode, Bytes)> {
        let authority = self
            .endpoint
            .authority()
            .context("the endpoint has no host")?;
        let port = authority.port_u16().unwrap_or(80);
        let host = authority.host().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, port))
            .await
            .with_context(|| format!("no server answers at {}; is it running?", self.endpoint))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Its end is the answer's, which is awaited.
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        connection.abort();
        let body = body.map_err(|error| anyhow!(error))?;
        Ok((status, body.to_bytes()))
    }
}
