//! How commands of ours ask the running server: of a data folder, on this machine and as its root user, unless variables
//! that every AWS client reads say otherwise.

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

/// What a server says of keys that are not its own.
const KEY_FAULTS: &[&str] = &["UnrecognizedClientException", "InvalidSignatureException"];

/// What `--help` says of it.
pub const PRECEDENCE: &str = "The variables AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), AWS_REGION \
    or AWS_DEFAULT_REGION, and AWS_ENDPOINT_URL count before what the data folder says, each where it is set, as with every \
    AWS client; --listen and MAYFLY_LISTEN count before AWS_ENDPOINT_URL.";

/// The server that is meant.
pub struct Server {
    endpoint: Uri,
    signer: Signer,
    /// The keys are from variables.
    keys_are_said: bool,
}

impl Server {
    /// Of the configuration and the variables of this process; whether it runs is found when it is asked.
    pub fn of(config: &Config) -> Result<Self> {
        Self::meant(config, |name| std::env::var(name).ok())
    }

    fn meant(config: &Config, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let said = |name: &str| variable(name).filter(|value| !value.is_empty());
        let folder = || Folder::open(&config.data);
        let endpoint = match said("AWS_ENDPOINT_URL") {
            _ if config.listen_is_given => config.url(config.listen),
            Some(said) => said,
            None => folder()?
                .endpoint()
                .unwrap_or_else(|| config.url(config.listen)),
        };
        let endpoint: Uri = endpoint
            .parse()
            .with_context(|| format!("{endpoint} is no URL"))?;
        if endpoint.scheme_str() != Some("http") {
            bail!(
                "this command talks plain HTTP to this machine, and {endpoint} is not that; see docs/delivery.md for the \
                 request to sign and send"
            );
        }
        let keys = said_keys(said)?;
        let keys_are_said = keys.is_some();
        let credentials = match keys {
            Some(keys) => keys,
            None => root_keys(&folder()?)?,
        };
        let region = said("AWS_REGION").or_else(|| said("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| config.region.to_string());
        Ok(Self {
            signer: Signer::new(credentials, &region, "mayfly"),
            endpoint,
            keys_are_said,
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
            let message = message.unwrap_or(status.as_str());
            let kind = told["__type"].as_str().unwrap_or_default();
            if self.keys_are_said && KEY_FAULTS.iter().any(|fault| kind.ends_with(fault)) {
                bail!(
                    "{message} (the keys are those of AWS_ACCESS_KEY_ID; without it they are the data folder's)"
                );
            }
            bail!("{message}");
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

/// The keys that variables say, if they do.
fn said_keys(said: impl Fn(&str) -> Option<String>) -> Result<Option<Credentials>> {
    match (said("AWS_ACCESS_KEY_ID"), said("AWS_SECRET_ACCESS_KEY")) {
        (None, None) => Ok(None),
        (Some(access_key_id), Some(secret_access_key)) => Ok(Some(Credentials {
            access_key_id,
            secret_access_key,
            session_token: said("AWS_SESSION_TOKEN"),
        })),
        _ => {
            bail!("one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set and the other is not")
        }
    }
}

fn root_keys(folder: &Folder) -> Result<Credentials> {
    let root = RootCredential::read(folder)?;
    Ok(Credentials {
        access_key_id: root.access_key_id,
        secret_access_key: root.secret_access_key,
        session_token: None,
    })
}
