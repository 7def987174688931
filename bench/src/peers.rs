//! What people would use instead, as far as it can be installed here from a package registry.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use wire::sigv4::Credentials;

use crate::Bench;
use crate::client::Access;
use crate::floor::on_one_cpu;
use crate::mayfly::until;
use crate::table::{Series, Table};

/// The version that the tests pin as well.
const AWSLAMBDARIC: &str = "awslambdaric==4.2.2";
const MINISTACK: &str = "ministack==1.5.33";
/// How long a peer may take to be there.
const PAUSE: Duration = Duration::from_millis(50);

const HANDLER: &str = "def lambda_handler(event, context):\n    return event['key1']\n";
const EVENT: &str = r#"{"key3":"value3","key2":"value2","key1":"value1"}"#;

/// Puts the rows into the table.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    table.section("Peers: what people would use instead");
    let f3 = &bench.floors.f3;
    match stock_client(bench) {
        Ok(alone) => {
            let what = "awslambdaric, no sandbox, no API: start to first answer";
            table.times(what, alone.first, &bench.floors.f1, None);
            let what = "awslambdaric, no sandbox, no API: warm";
            table.times(what, alone.answer, f3, None);
        }
        Err(why) => table.missing("awslambdaric, no sandbox, no API", &why),
    }
    match ministack(bench) {
        Ok((cold, warm)) => {
            table.times("ministack: first invocation", cold, &bench.floors.f1, None);
            table.times("ministack: warm invoke", warm, f3, None);
        }
        Err(why) => table.missing("ministack", &why),
    }
    match serverless_offline(bench) {
        Ok((cold, warm)) => {
            table.times(
                "serverless-offline: first invocation",
                cold,
                &bench.floors.f1,
                None,
            );
            table.times("serverless-offline: warm invoke", warm, f3, None);
        }
        Err(why) => table.missing("serverless-offline", &why),
    }
    Ok(())
}

/// A folder with AWS's runtime client for the Python in /usr/bin.
pub fn awslambdaric(bench: &Bench) -> Result<PathBuf> {
    packages(bench, "awslambdaric", &[AWSLAMBDARIC])
}

/// A folder with packages from PyPI, and what they need, for the Python in /usr/bin.
pub fn packages(bench: &Bench, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = bench.downloads.join(name);
    if !folder.is_dir() {
        let draft = tempfile::tempdir_in(&bench.downloads)?;
        let mut pip = Command::new("/usr/bin/python3");
        let options = ["--quiet", "--only-binary", ":all:", "--target"];
        pip.args(["-m", "pip", "install"]).args(options);
        // Readable for functions, as the draft around it is not.
        let made = draft.path().join(name);
        install(pip.arg(&made).args(packages))?;
        std::fs::rename(made, &folder)?;
    }
    Ok(folder)
}

fn install(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| name.clone())?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    ensure!(
        output.status.success(),
        "cannot be installed here ({name}: {})",
        last.unwrap_or("no reason given")
    );
    Ok(())
}

/// AWS's client by itself.
pub struct Stock {
    /// From its start to its first answer.
    pub first: Series,
    /// From an event to its answer.
    pub answer: Series,
    /// From an event until it asks for the next: no caller can have more answers from it.
    pub round: Series,
}

/// AWS's client against the smallest Runtime API there can be, outside of any sandbox, both on one CPU.
pub fn stock_client(bench: &Bench) -> Result<Stock> {
    let client = awslambdaric(bench)?;
    let code = tempfile::tempdir()?;
    std::fs::write(code.path().join("app.py"), HANDLER)?;
    let (starts, rounds) = (10, bench.invocations);
    on_one_cpu(move || {
        let mut firsts = Vec::new();
        for _ in 0..starts {
            firsts.push(RuntimeApi::start(&client, code.path())?.first);
        }
        let mut api = RuntimeApi::start(&client, code.path())?;
        let (mut answers, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let begin = Instant::now();
            answers.push(api.turn()?);
            whole.push(begin.elapsed());
        }
        Ok(Stock {
            first: Series::of(firsts),
            answer: Series::of(answers),
            round: Series::of(whole),
        })
    })
}

/// A Runtime API for one client that asks in turn.
struct RuntimeApi {
    client: Killed,
    requests: BufReader<TcpStream>,
    first: Duration,
}

impl RuntimeApi {
    /// Starts the client, and waits for its first answer.
    fn start(client: &Path, code: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let begin = Instant::now();
        let client = Command::new("/usr/bin/python3")
            .args(["-m", "awslambdaric", "app.lambda_handler"])
            .current_dir(code)
            .env(
                "PYTHONPATH",
                format!("{}:{}", client.display(), code.display()),
            )
            .env("AWS_LAMBDA_RUNTIME_API", listener.local_addr()?.to_string())
            .env("LAMBDA_TASK_ROOT", code)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let client = Killed(client);
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut api = Self {
            client,
            requests: BufReader::new(stream),
            first: Duration::ZERO,
        };
        api.read_request()?;
        api.turn()?;
        api.first = begin.elapsed();
        Ok(api)
    }

    /// Answers the client's waiting request with an event, and takes its answer.
    fn turn(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        self.reply("200 OK", "lambda-runtime-aws-request-id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\nlambda-runtime-deadline-ms: 9999999999999\r\nlambda-runtime-invoked-function-arn: x\r\n", EVENT)?;
        let answer = self.read_request()?;
        let took = begin.elapsed();
        ensure!(answer == "\"value1\"", "the client answered {answer}");
        self.reply("202 Accepted", "", "")?;
        self.read_request()?;
        Ok(took)
    }

    fn read_request(&mut self) -> Result<String> {
        let mut length = 0;
        loop {
            let mut line = String::new();
            ensure!(self.requests.read_line(&mut line)? > 0, "the client ended");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.requests.read_exact(&mut body)?;
        Ok(String::from_utf8(body)?)
    }

    fn reply(&mut self, status: &str, headers: &str, body: &str) -> Result<()> {
        let reply = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(self.requests.get_mut().write_all(reply.as_bytes())?)
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        // So that it does not see a broken connection first; it may have ended already.
        let _ended = self.client.0.kill();
    }
}

/// A process that is killed when this is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn ministack(bench: &Bench) -> Result<(Series, Series)> {
    let folder = bench.downloads.join("ministack");
    let program = folder.join("bin/ministack");
    if !program.exists() {
        install(
            Command::new("/usr/bin/python3")
                .args(["-m", "venv"])
                .arg(&folder),
        )?;
        let mut pip = Command::new(folder.join("bin/pip"));
        install(pip.args(["install", "--quiet", MINISTACK]))?;
    }
    let port = free_port()?;
    let server = Command::new(&program)
        .env("GATEWAY_PORT", port.to_string())
        .env("PATH", std::env::join_paths(["/usr/bin", "/bin"])?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let _server = Killed(server);
    let access = Access {
        address: format!("127.0.0.1:{port}"),
        credentials: Credentials {
            access_key_id: "test".to_owned(),
            secret_access_key: "test".to_owned(),
            session_token: None,
        },
        region: "us-east-1".to_owned(),
    };
    let mut client = until("ministack", PAUSE, || access.connect().ok())?;
    let archive = crate::mayfly::packed(HANDLER)?;
    let account = wire::AccountId::new("000000000000").context("twelve digits")?;
    let body = serde_json::json!({
        "FunctionName": "hello",
        "Runtime": crate::mayfly::python_runtime()?,
        "Handler": "lambda_function.lambda_handler",
        "Role": wire::Arn::role(&account, "/", "any").as_str(),
        "Code": {"ZipFile": archive},
    });
    let create = access.request(
        "lambda",
        ("POST", "/2015-03-31/functions"),
        "application/json",
        body.to_string().as_bytes(),
    )?;
    let (status, reply) = client.exchange(&create)?;
    ensure!(
        status == 201,
        "CreateFunction: {status} {}",
        String::from_utf8_lossy(reply)
    );
    let invoke = access.request(
        "lambda",
        ("POST", "/2015-03-31/functions/hello/invocations"),
        "application/json",
        EVENT.as_bytes(),
    )?;
    first_and_warm(&access, &invoke, bench.invocations.min(500))
}

fn serverless_offline(bench: &Bench) -> Result<(Series, Series)> {
    let folder = bench.downloads.join("serverless-offline");
    std::fs::create_dir_all(&folder)?;
    if !folder.join("node_modules/serverless-offline").is_dir() {
        std::fs::write(folder.join("package.json"), "{\"private\": true}\n")?;
        let mut npm = Command::new("npm");
        npm.current_dir(&folder)
            .args(["install", "--silent", "--no-audit", "--no-fund"]);
        install(npm.args(["serverless@3", "serverless-offline@13"]))?;
    }
    std::fs::write(folder.join("lambda_function.py"), HANDLER)?;
    let (http, lambda) = (free_port()?, free_port()?);
    let config = format!(
        "service: bench\nprovider:\n  name: aws\n  runtime: {}\nplugins: [serverless-offline]\nfunctions:\n  hello:\n    handler: lambda_function.lambda_handler\ncustom:\n  serverless-offline: {{httpPort: {http}, lambdaPort: {lambda}}}\n",
        crate::mayfly::python_runtime()?
    );
    std::fs::write(folder.join("serverless.yml"), config)?;
    let server = Command::new(folder.join("node_modules/.bin/serverless"))
        .arg("offline")
        .current_dir(&folder)
        .env("SLS_TELEMETRY_DISABLED", "1")
        .env("SLS_NOTIFICATIONS_MODE", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let _server = Killed(server);
    let access = Access {
        address: format!("127.0.0.1:{lambda}"),
        credentials: Credentials {
            access_key_id: "any".to_owned(),
            secret_access_key: "any".to_owned(),
            session_token: None,
        },
        region: "us-east-1".to_owned(),
    };
    until("serverless-offline", PAUSE, || access.connect().ok())?;
    let path = "/2015-03-31/functions/bench-dev-hello/invocations";
    let invoke = access.request(
        "lambda",
        ("POST", path),
        "application/json",
        EVENT.as_bytes(),
    )?;
    first_and_warm(&access, &invoke, bench.invocations.min(500))
}

/// The first invocation, and those after it.
fn first_and_warm(access: &Access, invoke: &[u8], count: usize) -> Result<(Series, Series)> {
    let mut client = access.connect()?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..=count {
        let begin = Instant::now();
        let (status, reply) = client.exchange(invoke)?;
        times.push(begin.elapsed());
        let reply = String::from_utf8_lossy(reply);
        ensure!(
            status == 200 && reply.contains("value1"),
            "an invocation answered {status} {reply}"
        );
    }
    let warm = times.split_off(1);
    Ok((Series::of(times), Series::of(warm)))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
