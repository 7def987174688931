//! The whole stack but the front door.

use std::io::{Cursor, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delivery::Outbox;
use engine::Engine;
use engine::runtimes::{Catalogue, RuntimesConfig};
use functions::{Config, Functions, Sink};
use identity::{Iam, Identity, Settings};
use serde_json::{Value, json};
use store::Store;
use telemetry::Telemetry;
use wire::{AccountId, Arn, Body, Caller, CallerKind, Context, Mount, Region, Router, Scope};
use zip::write::SimpleFileOptions;

pub const ACCOUNT: &str = "123456789012";
pub const ROLE: &str = "arn:aws:iam::123456789012:role/runs";
pub const MUTE: &str = "arn:aws:iam::123456789012:role/mute";
/// No scene takes longer; a test that hangs says so.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Bed {
    router: Router,
    functions: Functions,
    identity: Identity,
    engine: Engine,
    telemetry: Telemetry,
    pub python: String,
    workers: Vec<tokio::task::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Reply {
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(self.status < 300, "{} {:?}", self.status, self.body);
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The end of the log, when it was asked for.
    pub fn log(&self) -> String {
        use base64::Engine as _;
        let text = self.header("x-amz-log-result");
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap();
        String::from_utf8(bytes).unwrap()
    }
}

pub fn zip(files: &[(&str, &str)]) -> String {
    use base64::Engine as _;
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        let mode = if *name == "bootstrap" { 0o755 } else { 0o644 };
        let options = SimpleFileOptions::default().unix_permissions(mode);
        writer.start_file(*name, options).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    let bytes = writer.finish().unwrap().into_inner();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Waits for something that no signal tells, and gives up in the end.
pub async fn until(mut there: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !there().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("it never came");
}

impl Bed {
    pub async fn new() -> Bed {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let account = AccountId::new(ACCOUNT).unwrap();
        let settings = Settings {
            account,
            dev: false,
        };
        let identity = Identity::open(&store, settings).await.unwrap();
        let (telemetry, workers) = Telemetry::open(&store).await.unwrap();
        let mut workers: Vec<_> = workers.into_iter().map(|w| tokio::spawn(w.run)).collect();
        let roles = Arc::new(identity.clone());
        let sink = Sink::new(telemetry.clone(), roles.clone(), Arc::new(Nowhere));
        let config = engine::Config::new(folder.path().join("engine"));
        let engine = Engine::start(config, Arc::new(sink)).unwrap();
        let runtimes = RuntimesConfig {
            data: folder.path().join("runtimes"),
            ..RuntimesConfig::default()
        };
        let catalogue = Catalogue::discover(&runtimes).unwrap();
        let wanted = [
            "python3.11",
            "python3.12",
            "python3.13",
            "python3.10",
            "python3.9",
        ];
        let python = wanted.iter().find(|id| catalogue.resolve(id).is_ok());
        let python = (*python.expect("these tests need a Python on the machine")).to_owned();
        let config = Config {
            platform_variables: vec![(
                "AWS_ENDPOINT_URL".to_owned(),
                "http://127.0.0.1:4566".to_owned(),
            )],
            ..Config::new(folder.path().join("functions"), catalogue)
        };
        let (functions, own) = Functions::open(
            &store,
            roles,
            telemetry.clone(),
            Arc::new(engine.clone()),
            Outbox::open(&store),
            config,
        )
        .await
        .unwrap();
        workers.extend(own.into_iter().map(|w| tokio::spawn(w.run)));
        let router = Router::new(vec![
            Mount::new(Arc::new(Iam(identity.clone()))),
            Mount::new(Arc::new(functions.clone())),
            Mount::new(telemetry.logs()),
            Mount::new(telemetry.cloudwatch()),
        ]);
        let bed = Bed {
            router,
            functions,
            identity,
            engine,
            telemetry,
            python,
            workers,
            _folder: folder,
        };
        bed.make_roles().await;
        bed
    }

    async fn make_roles(&self) {
        let trust = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}}"#;
        for role in ["runs", "mute"] {
            self.iam(&[
                ("Action", "CreateRole"),
                ("RoleName", role),
                ("AssumeRolePolicyDocument", trust),
            ])
            .await;
        }
        let policy = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole";
        self.iam(&[
            ("Action", "AttachRolePolicy"),
            ("RoleName", "runs"),
            ("PolicyArn", policy),
        ])
        .await;
        let untrusting = trust.replace("lambda.amazonaws.com", "ec2.amazonaws.com");
        self.iam(&[
            ("Action", "CreateRole"),
            ("RoleName", "other"),
            ("AssumeRolePolicyDocument", &untrusting),
        ])
        .await;
    }

    async fn iam(&self, form: &[(&str, &str)]) {
        let encode = |text: &str| -> String {
            text.bytes()
                .map(|b| match b.is_ascii_alphanumeric() {
                    true => char::from(b).to_string(),
                    false => format!("%{b:02X}"),
                })
                .collect()
        };
        let mut body = "Version=2010-05-08".to_owned();
        for (name, value) in form {
            body += &format!("&{name}={}", encode(value));
        }
        let request = http::Request::builder()
            .method("POST")
            .uri("/")
            .header("content-type", "application/x-www-form-urlencoded");
        let reply = self.send(request.body(Bytes::from(body)).unwrap()).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
    }

    pub async fn send(&self, request: http::Request<Bytes>) -> Reply {
        let (head, body) = request.into_parts();
        let account = AccountId::new(ACCOUNT).unwrap();
        let cx = Context {
            request_id: uuid::Uuid::new_v4().to_string(),
            caller: Caller {
                kind: CallerKind::Root,
                arn: Arn::root(&account),
                account,
                user_id: account.to_string(),
                access_key_id: String::new(),
                session: None,
            },
            scope: Scope {
                account,
                region: Region::new("eu-west-1").unwrap(),
            },
            source_ip: None,
            user_agent: String::new(),
            secure: false,
            now_ms: jiff::Timestamp::now().as_millisecond(),
            host: "127.0.0.1:4566".to_owned(),
            trace_id: None,
        };
        let found = self.router.find(&head, None).unwrap();
        let settled = found.settle(&self.router, &head, &body);
        let reply = settled.run(&head, body, &cx, &self.identity);
        let reply = tokio::time::timeout(PATIENCE, reply)
            .await
            .expect("no reply in time");
        let (parts, body) = reply.into_parts();
        let Body::Whole(body) = body else {
            panic!("no streams here")
        };
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    pub async fn ask(&self, method: &str, path: &str, body: Value) -> Reply {
        let body = match body {
            Value::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        let request = http::Request::builder().method(method).uri(path);
        self.send(request.body(body).unwrap()).await
    }

    /// An operation of CloudWatch Logs or CloudWatch.
    pub async fn target(&self, target: &str, body: Value) -> Value {
        let request = http::Request::builder()
            .method("POST")
            .uri("/")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", target);
        let body = Bytes::from(body.to_string());
        self.send(request.body(body).unwrap()).await.ok()
    }

    /// A Python function whose module `app` is this text, with these members over the usual ones; active.
    pub async fn python(&self, name: &str, code: &str, over: Value) {
        let mut body = json!({
            "FunctionName": name, "Runtime": self.python, "Role": ROLE, "Handler": "app.handler",
            "Code": { "ZipFile": zip(&[("app.py", code)]) },
        });
        for (key, value) in over.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.ask("POST", "/2015-03-31/functions", body).await.ok();
        self.settled(name).await;
    }

    pub async fn settled(&self, name: &str) {
        let path = format!("/2015-03-31/functions/{name}/configuration");
        until(async || {
            let configuration = self.ask("GET", &path, Value::Null).await.ok();
            configuration["State"] == "Active" && configuration["LastUpdateStatus"] == "Successful"
        })
        .await;
    }

    pub async fn invoke(&self, name: &str, payload: &str) -> Reply {
        self.invoke_with(name, &[("x-amz-log-type", "Tail")], payload)
            .await
    }

    pub async fn invoke_with(&self, name: &str, headers: &[(&str, &str)], payload: &str) -> Reply {
        let mut request = http::Request::builder()
            .method("POST")
            .uri(format!("/2015-03-31/functions/{name}/invocations"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Bytes::from(payload.to_owned());
        self.send(request.body(body).unwrap()).await
    }

    /// All that a function logged, once it is on the disk.
    pub async fn logged(&self, name: &str) -> Vec<String> {
        self.telemetry.flush().await;
        let body = json!({ "logGroupName": format!("/aws/lambda/{name}") });
        let request = http::Request::builder()
            .method("POST")
            .uri("/")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "Logs_20140328.FilterLogEvents");
        let body = Bytes::from(body.to_string());
        let reply = self.send(request.body(body).unwrap()).await;
        let events = serde_json::from_slice::<Value>(&reply.body).unwrap();
        let events = events["events"].as_array().cloned().unwrap_or_default();
        let text = |event: &Value| event["message"].as_str().unwrap().to_owned();
        events.iter().map(text).collect()
    }

    /// The sum of a metric of a function over the last and next minutes.
    pub async fn metric(&self, dimensions: Value, name: &str) -> f64 {
        self.telemetry.flush().await;
        let now = jiff::Timestamp::now().as_second();
        let body = json!({
            "Namespace": "AWS/Lambda", "MetricName": name, "Dimensions": dimensions, "Period": 60,
            "Statistics": ["Sum"], "StartTime": now - 600, "EndTime": now + 120,
        });
        let found = self
            .target("GraniteServiceVersion20100801.GetMetricStatistics", body)
            .await;
        let points = found["Datapoints"].as_array().cloned().unwrap_or_default();
        points
            .iter()
            .map(|point| point["Sum"].as_f64().unwrap())
            .sum()
    }

    pub async fn end(self) {
        self.functions.drain(PATIENCE).await;
        self.engine.drain(PATIENCE).await;
        for worker in self.workers {
            worker.abort();
            // It was told to end just now.
            let _ = worker.await;
        }
    }
}

/// Functions of these tests call nobody.
struct Nowhere;

impl functions::Endpoint for Nowhere {
    fn listen(
        &self,
        _: tokio::net::TcpListener,
        _: tokio_util::sync::CancellationToken,
    ) -> engine::Serving {
        Box::pin(async {})
    }

    fn serve(&self, stream: tokio::net::TcpStream, _: bool) -> engine::Serving {
        Box::pin(async move { drop(stream) })
    }
}
