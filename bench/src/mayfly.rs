//! A server of its own for the run, and a signing client.

use std::collections::HashMap;
use std::io::{Cursor, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use wire::sigv4::{Credentials, Signer};

use crate::until;

/// A running server with a data folder of its own.
pub struct Mayfly {
    child: Child,
    address: String,
    credentials: Credentials,
    region: String,
    _data: tempfile::TempDir,
}

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

impl Mayfly {
    /// Starts the binary and waits until it answers.
    pub async fn start(binary: &Path) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let address = format!("127.0.0.1:{port}");
        let flags = [
            "--data".as_ref(),
            data.path().as_os_str(),
            "--listen".as_ref(),
            address.as_ref(),
        ];
        let child = Command::new(binary)
            .arg("serve")
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}; build it first", binary.display()))?;
        until("the server to be ready", async || {
            is_healthy(&address).await.ok()
        })
        .await?;
        let env = Command::new(binary).arg("env").args(flags).output()?;
        let env = String::from_utf8(env.stdout)?;
        let variables: HashMap<&str, &str> = env
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name, value.trim_matches(['"', '\''])))
            .collect();
        let variable = |name: &str| {
            let value = variables.get(name).map(|v| (*v).to_owned());
            value.with_context(|| format!("`mayfly env` does not print {name}"))
        };
        Ok(Self {
            child,
            credentials: Credentials {
                access_key_id: variable("AWS_ACCESS_KEY_ID")?,
                secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?,
                session_token: None,
            },
            region: variable("AWS_REGION")?,
            address,
            _data: data,
        })
    }

    /// A new connection.
    pub async fn client(&self) -> Result<Client> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Client {
            sender,
            address: self.address.clone(),
            credentials: self.credentials.clone(),
            region: self.region.clone(),
        })
    }

    /// Creates a Python function with a role that may write logs, and waits until it is active.
    pub async fn deploy(&self, name: &str, source: &str) -> Result<()> {
        let mut client = self.client().await?;
        let role = client
            .query(
                "iam",
                &[
                    ("Action", "CreateRole"),
                    ("Version", "2010-05-08"),
                    ("RoleName", name),
                    ("AssumeRolePolicyDocument", TRUST),
                ],
            )
            .await?;
        let begin = role.find("<Arn>").context("CreateRole answers no ARN")? + "<Arn>".len();
        let length = role[begin..]
            .find("</Arn>")
            .context("CreateRole answers no ARN")?;
        let policy = wire::Arn::aws_managed_policy("service-role/AWSLambdaBasicExecutionRole");
        client
            .query(
                "iam",
                &[
                    ("Action", "AttachRolePolicy"),
                    ("Version", "2010-05-08"),
                    ("RoleName", name),
                    ("PolicyArn", policy.as_str()),
                ],
            )
            .await?;
        let body = serde_json::json!({
            "FunctionName": name,
            "Runtime": python_runtime()?,
            "Handler": "lambda_function.lambda_handler",
            "Role": &role[begin..begin + length],
            "MemorySize": 1769,
            "Code": {"ZipFile": wire_blob(zip(source)?)},
        });
        let (status, reply) = client
            .rest(
                "POST",
                "/2015-03-31/functions",
                Bytes::from(body.to_string()),
            )
            .await?;
        anyhow::ensure!(
            status == 201,
            "CreateFunction: {}",
            String::from_utf8_lossy(&reply)
        );
        let path = format!("/2015-03-31/functions/{name}/configuration");
        until("the function to be active", async || {
            let (_, reply) = client.rest("GET", &path, Bytes::new()).await.ok()?;
            let reply: serde_json::Value = serde_json::from_slice(&reply).ok()?;
            (reply["State"] == "Active").then_some(())
        })
        .await
    }

    /// Stops the server and waits for it.
    pub async fn stop(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// The port is bound before the server is ready, so that connecting alone tells nothing.
async fn is_healthy(address: &str) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = http::Request::get("/_/health").header("host", address);
    let reply = sender
        .send_request(request.body(Full::<Bytes>::default())?)
        .await?;
    anyhow::ensure!(reply.status() == 200, "not healthy yet");
    Ok(())
}

impl Drop for Mayfly {
    fn drop(&mut self) {
        // A run that failed half-way; the process may be gone already.
        let _already_gone = self.child.kill();
    }
}

/// The identifier of this machine's own Python.
fn python_runtime() -> Result<String> {
    let output = Command::new("/usr/bin/python3")
        .args([
            "-c",
            "import sys; print('python%d.%d' % sys.version_info[:2])",
        ])
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn zip(source: &str) -> Result<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file(
        "lambda_function.py",
        zip::write::SimpleFileOptions::default().unix_permissions(0o644),
    )?;
    archive.write_all(source.as_bytes())?;
    Ok(archive.finish()?.into_inner())
}

/// A blob as JSON spells it.
fn wire_blob(bytes: Vec<u8>) -> serde_json::Value {
    serde_json::to_value(wire::Node::Bytes(bytes.into())).unwrap_or_default()
}

/// One connection that signs what it sends.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: String,
    credentials: Credentials,
    region: String,
}

impl Client {
    /// A request to Lambda.
    pub async fn rest(&mut self, method: &str, path: &str, body: Bytes) -> Result<(u16, Bytes)> {
        let builder = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json");
        self.send("lambda", builder, body).await
    }

    /// A request to a service that speaks Query.
    async fn query(&mut self, service: &str, form: &[(&str, &str)]) -> Result<String> {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let body: Vec<String> = form
            .iter()
            .map(|(k, v)| format!("{}={}", encode(k), encode(v)))
            .collect();
        let builder =
            http::Request::post("/").header("content-type", "application/x-www-form-urlencoded");
        let (status, reply) = self
            .send(service, builder, Bytes::from(body.join("&")))
            .await?;
        let reply = String::from_utf8(reply.to_vec())?;
        anyhow::ensure!(status == 200, "{service}: {reply}");
        Ok(reply)
    }

    async fn send(
        &mut self,
        service: &str,
        builder: http::request::Builder,
        body: Bytes,
    ) -> Result<(u16, Bytes)> {
        let (mut parts, ()) = builder.header("host", &self.address).body(())?.into_parts();
        let signer = Signer::new(self.credentials.clone(), &self.region, service);
        signer.sign(&mut parts, &body, jiff::Timestamp::now());
        // The connection is free for the next request a moment after the last byte of the reply before.
        self.sender.ready().await?;
        let reply = self
            .sender
            .send_request(http::Request::from_parts(parts, Full::new(body)))
            .await?;
        let status = reply.status().as_u16();
        Ok((status, reply.into_body().collect().await?.to_bytes()))
    }
}
