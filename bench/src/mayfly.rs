//! A server of its own for the run, and functions on it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{Cursor, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use wire::sigv4::Credentials;

use crate::client::{Access, Client};
use crate::process;

/// How long anything may take to become ready.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// A running server with a data folder of its own.
pub struct Mayfly {
    child: Child,
    /// Its administrator.
    pub access: Access,
    /// From starting the process to the first request that it answered.
    pub start: Duration,
    data: tempfile::TempDir,
}

/// Files of a function, by their names.
pub type Files = Vec<(String, Vec<u8>)>;

impl Mayfly {
    /// Starts the binary and waits until it answers.
    pub fn start(binary: &Path, flags: &[&OsStr]) -> Result<Self> {
        Self::start_on(binary, tempfile::tempdir()?, flags)
    }

    fn start_on(binary: &Path, data: tempfile::TempDir, more: &[&OsStr]) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let address = format!("127.0.0.1:{port}");
        let flags: [&OsStr; 4] = [
            "--data".as_ref(),
            data.path().as_os_str(),
            "--listen".as_ref(),
            address.as_ref(),
        ];
        let begin = Instant::now();
        let child = Command::new(binary)
            .arg("serve")
            .args(flags)
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}; build it first", binary.display()))?;
        let pause = Duration::from_millis(1);
        until("the server to be ready", pause, || {
            is_healthy(&address).ok()
        })?;
        let start = begin.elapsed();
        let env = Command::new(binary).arg("env").args(flags).output()?;
        let access = access(&String::from_utf8(env.stdout)?, address)?;
        Ok(Self {
            child,
            access,
            start,
            data,
        })
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the server and starts it anew on the same data.
    pub fn restart(mut self, binary: &Path, flags: &[&OsStr]) -> Result<Self> {
        self.child.kill()?;
        self.child.wait()?;
        let data = std::mem::replace(&mut self.data, tempfile::tempdir()?);
        Self::start_on(binary, data, flags)
    }

    /// Creates a role that a service may act in; its ARN.
    pub fn role(&self, client: &mut Client, name: &str, service: &str) -> Result<String> {
        let trust = policy(&serde_json::json!({
            "Effect": "Allow",
            "Principal": {"Service": service},
            "Action": "sts:AssumeRole",
        }));
        let role = self.query(
            client,
            &[
                ("Action", "CreateRole"),
                ("RoleName", name),
                ("AssumeRolePolicyDocument", &trust),
            ],
        )?;
        let arn = role
            .split_once("<Arn>")
            .and_then(|(_, rest)| rest.split_once("</Arn>"));
        let (arn, _) = arn.context("CreateRole answers no ARN")?;
        Ok(arn.to_owned())
    }

    /// Lets a role do this everywhere.
    pub fn allow(&self, client: &mut Client, role: &str, action: &str) -> Result<()> {
        let statement = serde_json::json!({"Effect": "Allow", "Action": action, "Resource": "*"});
        self.query(
            client,
            &[
                ("Action", "PutRolePolicy"),
                ("RoleName", role),
                ("PolicyName", "bench"),
                ("PolicyDocument", &policy(&statement)),
            ],
        )?;
        Ok(())
    }

    /// Creates a function with a role that may write logs, waits until it is active, and returns its ARN.
    pub fn deploy(&self, name: &str, runtime: &str, files: &Files) -> Result<String> {
        let mut client = self.access.connect()?;
        let arn = self.role(&mut client, name, "lambda.amazonaws.com")?;
        let policy = wire::Arn::aws_managed_policy("service-role/AWSLambdaBasicExecutionRole");
        self.query(
            &mut client,
            &[
                ("Action", "AttachRolePolicy"),
                ("RoleName", name),
                ("PolicyArn", policy.as_str()),
            ],
        )?;
        let body = serde_json::json!({
            "FunctionName": name,
            "Runtime": runtime,
            "Handler": "lambda_function.lambda_handler",
            "Role": arn,
            "MemorySize": 1769,
            "Code": {"ZipFile": wire_blob(zip(files)?)},
        });
        let (status, reply) = self.rest(
            &mut client,
            "POST",
            "/2015-03-31/functions",
            &body.to_string(),
        )?;
        ensure!(status == 201, "CreateFunction: {reply}");
        let reply: serde_json::Value = serde_json::from_str(&reply)?;
        let arn = reply["FunctionArn"].as_str();
        let arn = arn.context("a function without an ARN")?.to_owned();
        self.wait_for(&mut client, name, "State", "Active")?;
        Ok(arn)
    }

    /// Changes the configuration of a function, and waits until that is done.
    pub fn configure(&self, name: &str, change: &serde_json::Value) -> Result<()> {
        let mut client = self.access.connect()?;
        let path = format!("/2015-03-31/functions/{name}/configuration");
        let (status, reply) = self.rest(&mut client, "PUT", &path, &change.to_string())?;
        ensure!(status == 200, "UpdateFunctionConfiguration: {reply}");
        self.wait_for(&mut client, name, "LastUpdateStatus", "Successful")
    }

    /// Publishes a version, waits until it is active, and returns its number.
    pub fn publish(&self, name: &str) -> Result<String> {
        let mut client = self.access.connect()?;
        let path = format!("/2015-03-31/functions/{name}/versions");
        let (status, reply) = self.rest(&mut client, "POST", &path, "{}")?;
        ensure!(status == 201, "PublishVersion: {reply}");
        let reply: serde_json::Value = serde_json::from_str(&reply)?;
        let version = reply["Version"]
            .as_str()
            .context("a version without a number")?;
        self.wait_for(&mut client, &format!("{name}:{version}"), "State", "Active")?;
        Ok(version.to_owned())
    }

    /// Deletes a version.
    pub fn delete_version(&self, function: &str, version: usize) -> Result<()> {
        let mut client = self.access.connect()?;
        let path = format!("/2015-03-31/functions/{function}:{version}");
        let (status, reply) = self.rest(&mut client, "DELETE", &path, "")?;
        ensure!(status == 204, "DeleteFunction: {reply}");
        Ok(())
    }

    /// Waits until the log of a function says that so many of its invocations were restored: the forks of templates, and no
    /// environments that ran init or had run it before.
    pub fn expect_restores(&self, function: &str, expected: usize) -> Result<()> {
        let mut client = self.access.connect()?;
        let wanted = serde_json::json!({
            "logGroupName": format!("/aws/lambda/{function}"),
            "filterPattern": "\"Billed Restore Duration\"",
        });
        let what = format!("{expected} invocations of {function} to be restored");
        until(&what, PAUSE, || {
            let found = self.json(
                &mut client,
                "logs",
                "Logs_20140328.FilterLogEvents",
                &wanted,
            );
            (found.ok()?["events"].as_array()?.len() == expected).then_some(())
        })
    }

    fn wait_for(&self, client: &mut Client, name: &str, member: &str, value: &str) -> Result<()> {
        let path = format!("/2015-03-31/functions/{name}/configuration");
        until(&format!("{name} to be {value}"), PAUSE, || {
            let (_, reply) = self.rest(client, "GET", &path, "").ok()?;
            let reply: serde_json::Value = serde_json::from_str(&reply).ok()?;
            (reply[member] == value).then_some(())
        })
    }

    /// Makes AWS's SDK importable for a runtime, from the next start on.
    pub fn add_sdk(&self, binary: &Path, runtime: &str) -> Result<()> {
        let mut add = Command::new(binary);
        add.args(["runtime", "add-sdk", runtime, "--data"]);
        let output = add.arg(self.data.path()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", said.trim());
        Ok(())
    }

    /// Private memory of a Python environment, the mean of all that have used so much CPU time.
    pub fn environments_mb(&self, used: Duration) -> Result<f64> {
        let tree = process::tree(self.pid());
        let ours = tree.into_iter().filter(|pid| {
            process::command(*pid).contains("/var/runtime/bootstrap")
                && process::cpu_time(&[*pid]) >= used
                // What they were forked of has children.
                && process::tree(*pid).len() == 1
        });
        let sizes: Vec<f64> = ours
            .filter_map(|pid| process::private_mb(pid).ok())
            .collect();
        ensure!(!sizes.is_empty(), "no environment is there");
        let count = u32::try_from(sizes.len())?;
        Ok(sizes.iter().sum::<f64>() / f64::from(count))
    }

    /// Calls an operation of AWS's JSON protocol, which must succeed.
    pub fn json(
        &self,
        client: &mut Client,
        service: &str,
        target: &str,
        request: &serde_json::Value,
    ) -> Result<serde_json::Value> {
        let body = request.to_string();
        let request = self.access.json(service, target, body.as_bytes())?;
        let (status, reply) = client.exchange(&request)?;
        let reply = String::from_utf8_lossy(reply);
        ensure!(status == 200, "{target}: {reply}");
        match reply.is_empty() {
            true => Ok(serde_json::Value::Null),
            false => Ok(serde_json::from_str(&reply)?),
        }
    }

    /// Calls an operation of Lambda; status and reply.
    pub fn rest(
        &self,
        client: &mut Client,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, String)> {
        let call = (method, path);
        let request = self
            .access
            .request("lambda", call, "application/json", body.as_bytes())?;
        let (status, reply) = client.exchange(&request)?;
        Ok((status, String::from_utf8_lossy(reply).into_owned()))
    }

    fn query(&self, client: &mut Client, form: &[(&str, &str)]) -> Result<String> {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let fields = form.iter().chain(&[("Version", "2010-05-08")]);
        let body: Vec<String> = fields
            .map(|(k, v)| format!("{}={}", encode(k), encode(v)))
            .collect();
        let kind = "application/x-www-form-urlencoded";
        let request = self
            .access
            .request("iam", ("POST", "/"), kind, body.join("&").as_bytes())?;
        let (status, reply) = client.exchange(&request)?;
        let reply = String::from_utf8_lossy(reply).into_owned();
        ensure!(status == 200, "iam: {reply}");
        Ok(reply)
    }

    /// Stops the server and waits for it.
    pub fn stop(mut self) -> Result<()> {
        // In order, so that a build that counts for `scripts/release` writes down what it counted.
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Mayfly {
    fn drop(&mut self) {
        // A run that failed half-way; the process may be gone already.
        let _already_gone = self.child.kill();
    }
}

/// The port is bound before the server is ready, so that connecting alone tells nothing.
fn is_healthy(address: &str) -> Result<()> {
    let request = format!("GET /_/health HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let mut client = Client::connect(address)?;
    let (status, _) = client.exchange(request.as_bytes())?;
    ensure!(status == 200, "not healthy yet");
    Ok(())
}

/// What `mayfly env` prints.
fn access(env: &str, address: String) -> Result<Access> {
    let variables: HashMap<&str, &str> = env
        .lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
        .map(|(name, value)| (name, value.trim_matches(['"', '\''])))
        .collect();
    let variable = |name: &str| {
        let value = variables.get(name).map(|v| (*v).to_owned());
        value.with_context(|| format!("`mayfly env` does not print {name}"))
    };
    Ok(Access {
        address,
        credentials: Credentials {
            access_key_id: variable("AWS_ACCESS_KEY_ID")?,
            secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?,
            session_token: None,
        },
        region: variable("AWS_REGION")?,
    })
}

/// Where a function is invoked, or a version, as `NAME:VERSION`.
pub fn invocations(function: &str) -> String {
    match function.split_once(':') {
        Some((name, version)) => {
            format!("/2015-03-31/functions/{name}/invocations?Qualifier={version}")
        }
        None => format!("/2015-03-31/functions/{function}/invocations"),
    }
}

/// A function that answers with a part of its event.
pub fn hello() -> Files {
    let source = "def lambda_handler(event, context):\n    return event['key1']\n";
    vec![("lambda_function.py".to_owned(), source.into())]
}

/// Every file below a folder, by its path in it.
pub fn files_below(folder: &Path) -> Result<Files> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
            files.push((name, std::fs::read(&path)?));
        }
    }
    Ok(files)
}

/// The identifier of this machine's own Python.
pub fn python_runtime() -> Result<String> {
    let say = "import sys; print('python%d.%d' % sys.version_info[:2])";
    let output = Command::new("/usr/bin/python3")
        .args(["-c", say])
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn zip(files: &Files) -> Result<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
        archive.start_file(name.as_str(), options)?;
        archive.write_all(content)?;
    }
    Ok(archive.finish()?.into_inner())
}

/// A function of one file, as CreateFunction takes it.
pub fn packed(source: &str) -> Result<serde_json::Value> {
    let files = vec![("lambda_function.py".to_owned(), source.into())];
    Ok(wire_blob(zip(&files)?))
}

/// A policy of one statement.
fn policy(statement: &serde_json::Value) -> String {
    serde_json::json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

/// A blob as JSON spells it.
fn wire_blob(bytes: Vec<u8>) -> serde_json::Value {
    serde_json::to_value(wire::Node::Bytes(bytes.into())).unwrap_or_default()
}

/// Waits for something that may take a while, asking again and again.
pub fn until<T>(what: &str, pause: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "gave up waiting for {what}");
        std::thread::sleep(pause);
    }
}
