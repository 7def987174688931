//! Drives the built binary.
// Not every test file needs all of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use http::Request;
use wire::sigv4::{Credentials, Signer};

/// Longer than anything takes on a busy machine: a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, in a clean environment.
pub fn mayfly() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mayfly"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MAYFLY_") {
            command.env_remove(name);
        }
    }
    command
}

/// A running server.
pub struct Server {
    child: Child,
    log: Mutex<Receiver<String>>,
    pub url: String,
}

impl Server {
    /// Starts a server on any port and waits until it is ready.
    pub fn start(data: &Path, flags: &[&str]) -> Server {
        let mut child = Server::spawn(data, flags);
        let log = lines(&mut child);
        let mut seen = String::new();
        let url = loop {
            let Ok(line) = log.recv_timeout(PATIENCE) else {
                panic!("not ready; it said:\n{seen}");
            };
            seen += &format!("{line}\n");
            if let Some((_, rest)) = line.split_once("\"endpoint\":\"") {
                break rest.split('"').next().unwrap().to_owned();
            }
        };
        Server {
            child,
            log: Mutex::new(log),
            url,
        }
    }

    fn spawn(data: &Path, flags: &[&str]) -> Child {
        mayfly()
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--log-format",
                "json",
                "--data",
            ])
            .arg(data)
            .args(flags)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Waits for a line of the log that contains `text`.
    pub fn wait_for(&self, text: &str) -> String {
        loop {
            let line = self.log.lock().unwrap().recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("the log never said {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end of the process.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends a child when the test does.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lines(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            // Nobody listens once the test is over.
            let _ = sender.send(line);
        }
    });
    receiver
}

/// Runs the binary to its end.
pub fn run(data: &Path, args: &[&str]) -> Output {
    mayfly()
        .args(args)
        .arg("--data")
        .arg(data)
        .output()
        .unwrap()
}

/// What `mayfly env` prints, by name.
pub fn env(data: &Path, flags: &[&str]) -> BTreeMap<String, String> {
    let output = run(data, &[&["env"], flags].concat());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let exports = text.lines().filter_map(|line| line.strip_prefix("export "));
    exports
        .map(|line| line.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The root credential of a data folder.
pub fn root(data: &Path) -> Credentials {
    let env = env(data, &[]);
    Credentials {
        access_key_id: env["AWS_ACCESS_KEY_ID"].clone(),
        secret_access_key: env["AWS_SECRET_ACCESS_KEY"].clone(),
        session_token: None,
    }
}

/// Another key pair.
pub fn credentials(id: &str, secret: &str) -> Credentials {
    Credentials {
        access_key_id: id.to_owned(),
        secret_access_key: secret.to_owned(),
        session_token: None,
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// The text of a request without its body, signed.
pub fn signed_head(server: &Server, who: &Credentials, now: jiff::Timestamp, body: &str) -> String {
    signed_head_for(server, who, "sts", now, body)
}

fn signed_head_for(
    server: &Server,
    who: &Credentials,
    service: &str,
    now: jiff::Timestamp,
    body: &str,
) -> String {
    let uri = format!("{}/", server.url);
    let request = Request::post(uri).header("content-type", "application/x-www-form-urlencoded");
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    Signer::new(who.clone(), "us-east-1", service).sign(&mut parts, body.as_bytes(), now);
    let mut head = String::from("POST / HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in &parts.headers {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    head + &format!("content-length: {}\r\n\r\n", body.len())
}

/// Sends text and reads the answer.
pub fn send(server: &Server, text: &str) -> Answer {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    receive(stream)
}

/// Reads an answer until the connection closes.
pub fn receive(mut stream: TcpStream) -> Answer {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or("0").parse().unwrap();
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// Sends an unsigned request without a body.
pub fn plain(server: &Server, method: &str, path: &str) -> Answer {
    let host = server.address();
    send(
        server,
        &format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
    )
}

pub const WHO_AM_I: &str = "Action=GetCallerIdentity&Version=2011-06-15";

/// Calls an operation of a service that reads paths and JSON.
pub fn rest(server: &Server, who: &Credentials, method: &str, path: &str, body: &str) -> Answer {
    signed_call(server, who, "lambda", (method, path), &[], body)
}

/// Calls an operation of a service that reads a target header.
pub fn json(
    server: &Server,
    who: &Credentials,
    service: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    signed_call(server, who, service, ("POST", "/"), headers, body)
}

fn signed_call(
    server: &Server,
    who: &Credentials,
    service: &str,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let signer = Signer::new(who.clone(), "us-east-1", service);
    signer.sign(&mut parts, body.as_bytes(), jiff::Timestamp::now());
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in &parts.headers {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    send(server, &(head + body))
}

/// Makes a role and a Python function of this source, and waits until it is active.
pub fn create_function(server: &Server, who: &Credentials, name: &str, source: &str) {
    let trust = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}}"#;
    let trust: String = trust.bytes().map(|b| format!("%{b:02X}")).collect();
    let role = format!(
        "Action=CreateRole&Version=2010-05-08&RoleName={name}&AssumeRolePolicyDocument={trust}"
    );
    let made = call(server, who, "iam", &role);
    assert_eq!(made.status, 200, "{made:?}");
    let policy = format!(
        "Action=AttachRolePolicy&Version=2010-05-08&RoleName={name}&PolicyArn=arn%3Aaws%3Aiam%3A%3Aaws%3Apolicy%2Fservice-role%2FAWSLambdaBasicExecutionRole"
    );
    let attached = call(server, who, "iam", &policy);
    assert_eq!(attached.status, 200, "{attached:?}");
    let arn = made.body.split_once("<Arn>").unwrap().1;
    let arn = arn.split_once("</Arn>").unwrap().0;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("lambda_function.py", options).unwrap();
    zip.write_all(source.as_bytes()).unwrap();
    let zip = BASE64_STANDARD.encode(zip.finish().unwrap().into_inner());
    let body = format!(
        r#"{{"FunctionName":"{name}","Runtime":"python3.11","Handler":"lambda_function.lambda_handler","Role":"{arn}","Timeout":60,"Code":{{"ZipFile":"{zip}"}}}}"#
    );
    let made = rest(server, who, "POST", "/2015-03-31/functions", &body);
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/2015-03-31/functions/{name}/configuration");
    eventually(|| {
        rest(server, who, "GET", &path, "")
            .body
            .contains(r#""State":"Active""#)
    });
}

/// Invokes a function; `kind` is `RequestResponse` or `Event`.
pub fn invoke(server: &Server, who: &Credentials, name: &str, kind: &str, event: &str) -> Answer {
    let path = format!("/2015-03-31/functions/{name}/invocations");
    let headers = [("x-amz-invocation-type", kind)];
    signed_call(server, who, "lambda", ("POST", &path), &headers, event)
}

/// Asks again and again, for what happens by itself some time later.
pub fn eventually(mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it never came to be");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Calls an operation of a service that reads forms.
pub fn call(server: &Server, who: &Credentials, service: &str, body: &str) -> Answer {
    let head = signed_head_for(server, who, service, jiff::Timestamp::now(), body);
    send(server, &(head + body))
}

/// Asks STS who the owner of a key is.
pub fn who_am_i(server: &Server, who: &Credentials) -> Answer {
    let head = signed_head(server, who, jiff::Timestamp::now(), WHO_AM_I);
    send(server, &(head + WHO_AM_I))
}
