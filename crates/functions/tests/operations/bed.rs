//! What every test stands on: functions over a store in a temporary folder, with a stand-in for the engine and for roles,
//! asked through HTTP heads and bodies.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use delivery::{Courier, Delivery, Outbox, Recipient};
use engine::runtimes::{Catalogue, RuntimesConfig};
use engine::{
    Concurrency, Credentials, FunctionError, FunctionSpec, Invocation, Outcome, PoolKey, Provision,
    Provisioned, Refusal, Report, Status, ThrottleReason,
};
use functions::{Config, Executor, Functions, Preparing, Roles, Running};
use serde_json::{Value, json};
use store::{ManualClock, Store};
use telemetry::Telemetry;
use wire::{
    AccountId, Arn, Ask, Authorizer, Body, Caller, CallerKind, Context, Mount, Region, Router,
    Scope,
};
use zip::write::SimpleFileOptions;

pub const ACCOUNT: &str = "123456789012";
pub const REGION: &str = "eu-west-1";
pub const ROLE: &str = "arn:aws:iam::123456789012:role/lambda";
pub const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:hello";
/// A moment in November 2026.
pub const NOW_MS: i64 = 1_795_424_400_175;

/// Waits for something that no signal tells, and gives up in the end.
pub async fn until(mut there: impl AsyncFnMut() -> bool) {
    const LIMIT: Duration = Duration::from_secs(60);
    let waiting = async {
        while !there().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .expect("it never came");
}

/// A zip with these files.
pub fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        let options = SimpleFileOptions::default().unix_permissions(0o755);
        writer.start_file(*name, options).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Roles whose name begins with `no-` are not there.
pub struct AnyRole;

impl Authorizer for AnyRole {
    fn authorize(&self, _: &Context, ask: &Ask<'_>) -> Result<(), String> {
        let hidden = ask.resource.as_str().ends_with(":hidden");
        if hidden { Err("no".to_owned()) } else { Ok(()) }
    }
}

impl Roles for AnyRole {
    fn assumable(&self, role: &str, _: &Arn) -> bool {
        !role.contains("/no-")
    }
    fn credentials(&self, _: &str, _: &Arn, _: Duration) -> Result<Credentials, String> {
        Err("not in this test".to_owned())
    }
    fn session(&self, _: &Arn, _: &str, _: &Arn) -> Result<Caller, String> {
        Err("not in this test".to_owned())
    }
    fn may(&self, role: &str, _: &Scope, _: &str, resource: &Arn) -> bool {
        !role.contains("/weak") && !resource.as_str().ends_with(":hidden")
    }
}

/// Takes what is sent to the services that are not built.
#[derive(Default)]
pub struct Mail {
    pub got: Mutex<Vec<Delivery>>,
    pub told: tokio::sync::Notify,
}

#[async_trait::async_trait]
impl Recipient for Mail {
    fn takes(&self, to: &Arn) -> bool {
        matches!(to.service(), "sqs" | "sns" | "events") && !to.resource().ends_with("nowhere")
    }
    async fn receive(&self, delivery: &Delivery) -> Result<(), delivery::Refusal> {
        self.got.lock().unwrap().push(delivery.clone());
        self.told.notify_waiters();
        Ok(())
    }
}

impl Mail {
    /// Waits until this many deliveries have come.
    pub async fn arrived(&self, count: usize) -> Vec<Delivery> {
        loop {
            let told = self.told.notified();
            let got = self.got.lock().unwrap().clone();
            if got.len() >= count {
                return got;
            }
            told.await;
        }
    }
}

/// One invocation that reached the engine.
#[derive(Debug, Clone)]
pub struct Ran {
    pub key: String,
    pub version: String,
    pub arn: String,
    pub payload: Bytes,
    pub client_context: Option<String>,
    pub request_id: String,
    pub trace_id: Option<String>,
}

/// Stands in for the engine: answers with the event, or as told.
#[derive(Default)]
pub struct Recorder {
    pub ran: Mutex<Vec<Ran>>,
    pub retired: Mutex<Vec<String>>,
    pub reserved: Mutex<BTreeMap<String, Option<u32>>>,
    /// Versions whose init was run ahead.
    pub prepared: Mutex<Vec<String>>,
    /// How the next ones end, first one first; then well. Nothing ends while the gate is locked.
    pub inits: Mutex<Vec<engine::Unprepared>>,
    pub gate: tokio::sync::Mutex<()>,
    /// What is to be provisioned, by function: versions and how many of each.
    pub provisioned: Mutex<BTreeMap<String, Vec<(String, u32)>>>,
    /// How far that is, by the version.
    pub allocated: Mutex<BTreeMap<String, Provisioned>>,
    /// What the next invocations come to, first one first; then success.
    pub script: Mutex<Vec<Script>>,
    pub specs: Mutex<Vec<Arc<FunctionSpec>>>,
    /// Functions and versions that may be called, as they were heard of.
    pub expected: Mutex<Vec<(String, String)>>,
    pub told: tokio::sync::Notify,
}

#[derive(Debug, Clone, Copy)]
pub enum Script {
    Error,
    Throttle(ThrottleReason),
}

impl Executor for Recorder {
    fn invoke(&self, spec: Arc<FunctionSpec>, invocation: Invocation) -> Running<'_> {
        Box::pin(async move {
            self.ran.lock().unwrap().push(Ran {
                key: spec.key.clone(),
                version: spec.version.clone(),
                arn: invocation.invoked_arn.clone(),
                payload: invocation.payload.clone(),
                client_context: invocation.client_context.clone(),
                request_id: invocation.request_id.clone(),
                trace_id: invocation.trace_id.clone(),
            });
            self.specs.lock().unwrap().push(spec.clone());
            let next = {
                let mut script = self.script.lock().unwrap();
                (!script.is_empty()).then(|| script.remove(0))
            };
            self.told.notify_waiters();
            let error = match next {
                Some(Script::Throttle(reason)) => return Err(Refusal::Throttled(reason)),
                Some(Script::Error) => true,
                None => false,
            };
            Ok(Outcome {
                payload: match error {
                    true => Bytes::from_static(b"{\"errorMessage\":\"x\"}"),
                    false => invocation.payload,
                },
                function_error: error.then_some(FunctionError::Unhandled),
                provisioned: None,
                log_tail: invocation.tail.then(|| b"the log".to_vec()),
                report: Report {
                    request_id: invocation.request_id,
                    duration: Duration::from_millis(3),
                    billed: Duration::from_millis(3),
                    init_duration: None,
                    restore_duration: None,
                    initialization: spec.initialization,
                    memory_mb: spec.memory_mb,
                    max_memory_mb: 30,
                    status: if error {
                        Status::Error
                    } else {
                        Status::Success
                    },
                    error_type: None,
                },
            })
        })
    }
    fn expect(&self, spec: &Arc<FunctionSpec>) {
        let expected = (spec.name.clone(), spec.version.clone());
        self.expected.lock().unwrap().push(expected);
    }
    fn prepare(&self, spec: Arc<FunctionSpec>) -> Preparing<'_> {
        Box::pin(async move {
            self.prepared.lock().unwrap().push(spec.version.clone());
            let _gate = self.gate.lock().await;
            let mut inits = self.inits.lock().unwrap();
            if !inits.is_empty() {
                return Err(inits.remove(0));
            }
            Ok(engine::Prepared {
                init_duration: Duration::from_millis(5),
                template: Ok(()),
            })
        })
    }
    fn retire(&self, key_prefix: &str) {
        self.retired.lock().unwrap().push(key_prefix.to_owned());
    }
    fn set_reserved(&self, pool: &PoolKey, reserved: Option<u32>) {
        self.reserved
            .lock()
            .unwrap()
            .insert(pool.function.clone(), reserved);
    }
    fn set_account_limit(&self, _: &str, _: u32) {}
    fn set_provisioned(&self, pool: &PoolKey, wanted: Vec<Provision>) {
        let of = |wanted: Provision| (wanted.spec.version.clone(), wanted.count);
        self.provisioned
            .lock()
            .unwrap()
            .insert(pool.function.clone(), wanted.into_iter().map(of).collect());
    }
    fn provisioned(&self, key: &str) -> Provisioned {
        let version = key.rsplit('/').nth(1).unwrap_or_default();
        let allocated = self.allocated.lock().unwrap();
        allocated.get(version).cloned().unwrap_or_default()
    }
    fn concurrency(&self, _: &PoolKey) -> Concurrency {
        Concurrency::default()
    }
}

/// Lets everyone do everything but what is listed; keeps what was asked.
#[derive(Default)]
pub struct Guard {
    pub denied: Mutex<Vec<String>>,
    pub asked: Mutex<Vec<Asked>>,
}

#[derive(Debug, Clone)]
pub struct Asked {
    pub action: String,
    pub resource: String,
    pub keys: wire::Keys,
    pub policy: Option<String>,
}

impl Authorizer for Guard {
    fn authorize(&self, _: &Context, ask: &Ask<'_>) -> Result<(), String> {
        self.asked.lock().unwrap().push(Asked {
            action: ask.action.to_owned(),
            resource: ask.resource.to_string(),
            keys: ask.keys.clone(),
            policy: ask.resource_policy.map(|policy| policy.to_string()),
        });
        match self.denied.lock().unwrap().iter().any(|d| d == ask.action) {
            true => Err(format!("not authorized to perform: {}", ask.action)),
            false => Ok(()),
        }
    }
}

pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {:?} {}", self.body, self.status))
    }

    /// The reply's status and JSON, when it is a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.status < 300, "{} {:?}", self.status, self.body);
        match self.body.is_empty() {
            true => Value::Null,
            false => self.json(),
        }
    }

    /// Asserts AWS's code, status and sentence.
    #[track_caller]
    pub fn fails(self, status: u16, code: &str, message: &str) {
        let text = self.json();
        let found = text["message"].as_str().or(text["Message"].as_str());
        assert_eq!(
            (
                self.status,
                self.headers["x-amzn-errortype"].to_str().unwrap(),
                found
            ),
            (status, code, Some(message)),
        );
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub struct Bed {
    pub functions: Functions,
    pub store: Store,
    pub clock: Arc<ManualClock>,
    pub recorder: Arc<Recorder>,
    pub outbox: Outbox,
    pub mail: Arc<Mail>,
    pub guard: Arc<Guard>,
    pub telemetry: Telemetry,
    pub folder: tempfile::TempDir,
    pub runtimes: Catalogue,
    router: Router,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

impl Bed {
    pub async fn new() -> Bed {
        Bed::with(|_| {}).await
    }

    /// With another configuration, until it is restarted.
    pub async fn with(change: fn(&mut Config)) -> Bed {
        Bed::in_folder(tempfile::tempdir().unwrap(), NOW_MS, change).await
    }

    async fn in_folder(folder: tempfile::TempDir, now_ms: i64, change: fn(&mut Config)) -> Bed {
        let clock = Arc::new(ManualClock::at(now_ms));
        let store = Store::open_with(&folder.path().join("store"), clock.clone()).unwrap();
        let runtimes = RuntimesConfig {
            data: folder.path().join("runtimes"),
            ..RuntimesConfig::default()
        };
        let catalogue = Catalogue::discover(&runtimes).unwrap();
        let found = catalogue.clone();
        let (telemetry, mut workers) = {
            let (telemetry, workers) = Telemetry::open(&store).await.unwrap();
            let spawn = |worker: telemetry::Worker| tokio::spawn(worker.run);
            (
                telemetry,
                workers.into_iter().map(spawn).collect::<Vec<_>>(),
            )
        };
        let recorder = Arc::new(Recorder::default());
        let mut config = Config {
            // Every second one, beginning with the larger.
            random: || 0.25,
            ..Config::new(folder.path().join("functions"), catalogue)
        };
        change(&mut config);
        let outbox = Outbox::open(&store);
        let (functions, own) = Functions::open(
            &store,
            Arc::new(AnyRole),
            telemetry.clone(),
            recorder.clone(),
            outbox.clone(),
            config,
        )
        .await
        .unwrap();
        workers.extend(own.into_iter().map(|worker| tokio::spawn(worker.run)));
        let mail = Arc::new(Mail::default());
        let recipients = vec![functions.recipient(), mail.clone() as _];
        let courier = Courier::new(&outbox, recipients, vec![functions.observer()]);
        workers.push(tokio::spawn(courier.run()));
        Bed {
            router: Router::new(vec![Mount::new(Arc::new(functions.clone()))]),
            functions,
            store,
            clock,
            recorder,
            outbox,
            mail,
            guard: Arc::default(),
            telemetry,
            folder,
            runtimes: found,
            workers,
        }
    }

    /// Ends everything and begins again with what is on the disk.
    pub async fn restart(self) -> Bed {
        use store::Clock as _;
        let now_ms = self.clock.now_ms();
        self.functions.drain(Duration::from_secs(5)).await;
        for worker in self.workers {
            worker.abort();
            // It was told to end just now.
            let _ = worker.await;
        }
        drop((self.router, self.functions));
        self.store.close().await;
        drop((self.store, self.telemetry));
        Bed::in_folder(self.folder, now_ms, |_| {}).await
    }

    pub async fn send(&self, request: http::Request<Bytes>) -> Reply {
        self.send_as(request, ACCOUNT).await
    }

    pub async fn send_as(&self, request: http::Request<Bytes>, account: &str) -> Reply {
        use store::Clock as _;
        let (head, body) = request.into_parts();
        let account = AccountId::new(account).unwrap();
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
                region: Region::new(REGION).unwrap(),
            },
            source_ip: None,
            user_agent: String::new(),
            secure: false,
            now_ms: self.clock.now_ms(),
            host: "127.0.0.1:4566".to_owned(),
            trace_id: head
                .headers
                .get("x-amzn-trace-id")
                .map(|value| value.to_str().unwrap().to_owned()),
        };
        let found = self.router.find(&head, Some("lambda")).unwrap();
        let settled = found.settle(&self.router, &head, &body);
        let reply = settled.run(&head, body, &cx, &*self.guard).await;
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
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        self.send(request).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.ask("POST", path, body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.ask("PUT", path, body).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.ask("DELETE", path, Value::Null).await
    }

    /// CreateFunction with these members over the usual ones.
    pub async fn create_with(&self, over: Value) -> Reply {
        let mut body = json!({
            "FunctionName": "hello",
            "Runtime": "provided.al2023",
            "Role": ROLE,
            "Handler": "app.handler",
            "Code": { "ZipFile": base64(&zip(&[("bootstrap", "#!/bin/sh")])) },
        });
        for (key, value) in over.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.post("/2015-03-31/functions", body).await
    }

    /// A function called `hello`, active.
    pub async fn hello(&self) -> Value {
        self.create_with(json!({})).await.ok();
        self.active("hello").await
    }

    /// The configuration, once nothing is on its way.
    pub async fn active(&self, name: &str) -> Value {
        let path = format!("/2015-03-31/functions/{name}/configuration");
        let mut last = Value::Null;
        until(async || {
            last = self.get(&path).await.ok();
            last["State"] != "Pending" && last["LastUpdateStatus"] != "InProgress"
        })
        .await;
        last
    }

    /// New code, whose content is the text.
    pub async fn new_code(&self, text: &str) {
        let zip = base64(&zip(&[("bootstrap", text)]));
        let body = json!({ "ZipFile": zip });
        self.put("/2015-03-31/functions/hello/code", body)
            .await
            .ok();
        self.active("hello").await;
    }

    pub async fn publish(&self) -> Value {
        let path = "/2015-03-31/functions/hello/versions";
        self.post(path, json!({})).await.ok()
    }

    /// Like [`Bed::invoke`], caused by what has this trace.
    pub async fn invoke_traced(&self, name: &str, headers: &[(&str, &str)], trace: &str) -> Reply {
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .copied()
            .chain([("x-amzn-trace-id", trace)])
            .collect();
        self.invoke(name, &headers, "{}").await
    }

    pub async fn invoke(&self, name: &str, headers: &[(&str, &str)], payload: &str) -> Reply {
        let mut request = http::Request::builder()
            .method("POST")
            .uri(format!("/2015-03-31/functions/{name}/invocations"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Bytes::from(payload.to_owned());
        self.send(request.body(body).unwrap()).await
    }
}
