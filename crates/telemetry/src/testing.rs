//! A server of this crate's services without sockets: requests go through the router as bytes and come back so.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::Value;
use store::{ManualClock, Store};
use wire::{
    AccountId, Arn, Ask, Authorizer, Body, ByteStream, Caller, CallerKind, Context, Mount, Region,
    Reply, Router, Scope,
};

use crate::Telemetry;

/// 2027-01-15T08:00:00Z.
pub(crate) const NOW_MS: i64 = 1_800_000_000_000;

pub(crate) struct Server {
    pub(crate) telemetry: Telemetry,
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) asked: Arc<Asked>,
    router: Router,
    workers: Vec<tokio::task::JoinHandle<()>>,
    dir: tempfile::TempDir,
}

/// Allows everything and remembers what was asked.
#[derive(Default)]
pub(crate) struct Asked(pub(crate) Mutex<Vec<String>>);

impl Authorizer for Asked {
    fn authorize(&self, _: &Context, ask: &Ask<'_>) -> Result<(), String> {
        let mut asked = self.0.lock().unwrap();
        asked.push(format!("{} {}", ask.action, ask.resource));
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.abort();
        }
    }
}

pub(crate) fn scope() -> Scope {
    scope_of("123456789012", "us-east-1")
}

pub(crate) fn scope_of(account: &str, region: &str) -> Scope {
    Scope {
        account: AccountId::new(account).unwrap(),
        region: Region::new(region).unwrap(),
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), NOW_MS).await
    }

    async fn start_in(dir: tempfile::TempDir, now_ms: i64) -> Self {
        let clock = Arc::new(ManualClock::at(now_ms));
        let store = Store::open_with(dir.path(), clock.clone()).unwrap();
        let (telemetry, workers) = Telemetry::open(&store).await.unwrap();
        let router = Router::new(vec![
            Mount::new(telemetry.logs()),
            Mount::new(telemetry.cloudwatch()),
        ]);
        let workers = workers
            .into_iter()
            .map(|worker| tokio::spawn(worker.run))
            .collect();
        Self {
            telemetry,
            store,
            clock,
            asked: Arc::default(),
            router,
            workers,
            dir,
        }
    }

    /// Stops without draining anything, as a killed process does, and starts again on the same folder.
    pub(crate) async fn restart(mut self) -> Self {
        for worker in self.workers.drain(..) {
            worker.abort();
            let _aborted = worker.await;
        }
        self.store.close().await;
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        let now_ms = store::Clock::now_ms(&*self.clock);
        drop(self);
        Self::start_in(dir, now_ms).await
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// A whole request.
    pub(crate) async fn send(&self, at: &Scope, request: http::Request<Bytes>) -> Reply {
        let (head, body) = request.into_parts();
        let found = self.router.find(&head, None).expect("a service takes it");
        let cx = Context {
            request_id: "c0ffee00-0000-4000-8000-000000000000".into(),
            caller: Caller {
                kind: CallerKind::Root,
                arn: Arn::root(&at.account),
                account: at.account,
                user_id: at.account.to_string(),
                access_key_id: "AKIDEXAMPLE".into(),
                session: None,
            },
            scope: at.clone(),
            source_ip: None,
            user_agent: String::new(),
            secure: false,
            now_ms: store::Clock::now_ms(&*self.clock),
            host: "127.0.0.1:4566".into(),
            trace_id: None,
        };
        let settled = found.settle(&self.router, &head, &body);
        settled.run(&head, body, &cx, &*self.asked).await
    }

    /// A JSON request; answers status and body.
    pub(crate) async fn json(&self, at: &Scope, target: &str, body: &Value) -> (u16, Value) {
        let version = if target.starts_with("Logs") { "1" } else { "0" };
        let request = http::Request::post("/")
            .header(
                "content-type",
                format!("application/x-amz-json-1.{version}"),
            )
            .header("x-amz-target", target)
            .body(Bytes::from(body.to_string()))
            .unwrap();
        let (status, bytes) = whole(self.send(at, request).await);
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes).unwrap(),
        };
        (status, body)
    }

    /// An operation of Logs that must succeed.
    #[track_caller]
    pub(crate) fn logs<'a>(
        &'a self,
        operation: &'a str,
        body: &'a Value,
    ) -> impl Future<Output = Value> + 'a {
        self.ok(format!("Logs_20140328.{operation}"), body)
    }

    /// An operation of Logs that must be refused with this code and sentence.
    pub(crate) async fn logs_refused(&self, operation: &str, body: &Value, code: &str, text: &str) {
        self.refused(&format!("Logs_20140328.{operation}"), body, code, text)
            .await;
    }

    /// An operation of CloudWatch that must succeed.
    pub(crate) fn metrics<'a>(
        &'a self,
        operation: &'a str,
        body: &'a Value,
    ) -> impl Future<Output = Value> + 'a {
        self.ok(format!("GraniteServiceVersion20100801.{operation}"), body)
    }

    /// An operation of CloudWatch that must be refused with this code and sentence.
    pub(crate) async fn metrics_refused(
        &self,
        operation: &str,
        body: &Value,
        code: &str,
        text: &str,
    ) {
        let target = format!("GraniteServiceVersion20100801.{operation}");
        self.refused(&target, body, code, text).await;
    }

    async fn ok(&self, target: String, body: &Value) -> Value {
        let (status, answer) = self.json(&scope(), &target, body).await;
        assert_eq!(status, 200, "{target} {body}: {answer}");
        answer
    }

    async fn refused(&self, target: &str, body: &Value, code: &str, text: &str) {
        let (status, answer) = self.json(&scope(), target, body).await;
        let found = answer["__type"].as_str().unwrap_or_default();
        let found = found.rsplit('#').next().unwrap();
        let message = answer["message"].as_str();
        assert_eq!(
            (status, found, message),
            (400, code, Some(text)),
            "{target} {body}"
        );
    }

    /// A request whose answer is a stream.
    pub(crate) async fn stream(&self, target: &str, body: &Value) -> ByteStream {
        let request = http::Request::post("/")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", target)
            .body(Bytes::from(body.to_string()))
            .unwrap();
        let reply = self.send(&scope(), request).await;
        assert_eq!(reply.status(), 200);
        match reply.into_body() {
            Body::Stream(stream) => stream,
            Body::Whole(bytes) => panic!("{bytes:?} is no stream"),
        }
    }
}

/// Status and bytes of a reply that is no stream.
pub(crate) fn whole(reply: Reply) -> (u16, Bytes) {
    let status = reply.status().as_u16();
    match reply.into_body() {
        Body::Whole(bytes) => (status, bytes),
        Body::Stream(_) => panic!("a stream"),
    }
}

/// The next chunk of a stream.
pub(crate) async fn next_chunk(stream: &mut ByteStream) -> Option<Bytes> {
    stream.0.next().await.map(Result::unwrap)
}
