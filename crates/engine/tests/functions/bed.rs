//! What every test stands on: an engine with a recorder, and functions made from a few lines of text.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use engine::runtimes::{Catalogue, Runtime, RuntimesConfig};
use engine::{
    Config, Credentials, Engine, Events, FunctionSpec, Invocation, LogConfig, LogFormat, LogLevel,
    LogLine, LogTarget, Mode, NetworkPolicy, Outcome, PoolKey, Refusal, Report, Serving,
};
use tokio_util::sync::CancellationToken;

/// Keeps everything the engine tells.
#[derive(Default)]
pub struct Recorder {
    lines: Mutex<BTreeMap<String, Vec<String>>>,
    pub reports: Mutex<Vec<Report>>,
}

impl Events for Recorder {
    fn lines(&self, to: &LogTarget, lines: Vec<LogLine>) {
        let mut all = self.lines.lock().unwrap();
        all.entry(to.stream.clone())
            .or_default()
            .extend(lines.into_iter().map(|line| line.text));
    }

    fn report(&self, _function: &FunctionSpec, report: &Report) {
        self.reports.lock().unwrap().push(report.clone());
    }

    fn endpoint(
        &self,
        _function: &FunctionSpec,
        listener: tokio::net::TcpListener,
        stop: CancellationToken,
    ) -> Serving {
        // Says hello to whoever connects, until the environment ends.
        Box::pin(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { return };
                        // The function may have gone away; the test sees it by what it read.
                        let _ = stream.try_write(b"hello from the endpoint");
                    }
                }
            }
        })
    }
}

impl Recorder {
    /// Every event of every stream, in order within a stream.
    pub fn all(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap()
            .values()
            .flatten()
            .cloned()
            .collect()
    }

    pub fn text(&self) -> String {
        self.all().concat()
    }
}

pub struct Bed {
    pub engine: Engine,
    pub recorder: Arc<Recorder>,
    pub catalogue: Catalogue,
    pub folder: tempfile::TempDir,
    count: AtomicU64,
}

impl Bed {
    pub fn new() -> Bed {
        Bed::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Bed {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut config = Config::new(folder.path().join("engine"));
        config.sandbox =
            sandbox::Config::with_broker(env!("CARGO_BIN_EXE_engine-broker"), [] as [&str; 0]);
        change(&mut config);
        let recorder = Arc::new(Recorder::default());
        let engine = Engine::start(config, recorder.clone()).unwrap();
        let runtimes = RuntimesConfig {
            data: shared_runtimes(),
            ..RuntimesConfig::default()
        };
        let catalogue = Catalogue::discover(&runtimes).unwrap();
        Bed {
            engine,
            recorder,
            catalogue,
            folder,
            count: AtomicU64::new(0),
        }
    }

    /// Every Python of this machine, oldest first.
    pub fn pythons(&self) -> Vec<Arc<Runtime>> {
        self.catalogue
            .found()
            .filter(|runtime| runtime.id.starts_with("python"))
            .collect()
    }

    /// The Python that a test uses when any will do.
    pub fn python(&self) -> Arc<Runtime> {
        let any = ["python3.11", "python3.12", "python3.13", "python3.10"];
        let found = any.iter().find_map(|id| self.catalogue.resolve(id).ok());
        found
            .or_else(|| self.pythons().pop())
            .expect("these tests need a Python on the machine")
    }

    /// A folder with these files; `bootstrap` and what is in `extensions/` may be executed.
    pub fn files(&self, files: &[(&str, &str)]) -> PathBuf {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.path().join(format!("code{number}"));
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let executable = name.ends_with("bootstrap")
                || name.starts_with("extensions/")
                || name.ends_with(".sh");
            fs::set_permissions(
                &path,
                fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }),
            )
            .unwrap();
        }
        folder
    }

    /// A Python function in `app.py`.
    pub fn function(&self, code: &str) -> FunctionSpec {
        self.function_on(self.python(), "app.handler", &[("app.py", code)])
    }

    pub fn function_on(
        &self,
        runtime: Arc<Runtime>,
        handler: &str,
        files: &[(&str, &str)],
    ) -> FunctionSpec {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        FunctionSpec {
            key: format!("111122223333/eu-west-1/fn{number}/$LATEST/1"),
            pool: PoolKey {
                account_region: "111122223333/eu-west-1".to_owned(),
                function: format!("fn{number}"),
            },
            name: format!("fn{number}"),
            version: "$LATEST".to_owned(),
            region: "eu-west-1".to_owned(),
            handler: handler.to_owned(),
            runtime,
            runtime_version_arn: Some("arn:aws:lambda:eu-west-1::runtime:0".to_owned()),
            timeout: Duration::from_secs(20),
            memory_mb: 256,
            ephemeral_mb: 512,
            code: self.files(files),
            layers: None,
            content_named: false,
            platform_env: vec![(
                "AWS_ENDPOINT_URL".to_owned(),
                "http://127.0.0.1:4566".to_owned(),
            )],
            env: Vec::new(),
            log: LogConfig {
                group: format!("/aws/lambda/fn{number}"),
                role: "role".into(),
                custom_group: false,
                format: LogFormat::Text,
                application_level: LogLevel::Info,
                system_level: LogLevel::Info,
            },
            credentials: Arc::new(|_| {
                Ok(Credentials {
                    access_key_id: "ASIAEXAMPLE".to_owned(),
                    secret_access_key: "secret".to_owned(),
                    session_token: "token".to_owned(),
                    expires: SystemTime::now() + Duration::from_secs(3600),
                })
            }),
            network: NetworkPolicy::Endpoint,
            initialization: engine::Initialization::OnDemand,
            template: false,
        }
    }

    pub async fn try_invoke(
        &self,
        spec: &Arc<FunctionSpec>,
        event: &str,
    ) -> Result<Outcome, Refusal> {
        self.engine.invoke(spec.clone(), invocation(event)).await
    }

    pub async fn invoke(&self, spec: &Arc<FunctionSpec>, event: &str) -> Answer {
        Answer(self.try_invoke(spec, event).await.expect("it is let in"))
    }

    /// Makes the function and invokes it once.
    pub async fn once(&self, spec: FunctionSpec, event: &str) -> Answer {
        self.invoke(&Arc::new(spec), event).await
    }

    pub async fn end(self) {
        self.engine.drain(Duration::from_secs(10)).await;
    }
}

/// Waits for something that no signal tells, and gives up in the end.
pub async fn wait_until(done: impl Fn() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(std::time::Instant::now() < end, "it never came true");
        // Spinning would take the processor from what is waited for.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The runtimes' folder is shared by all tests of a run: compiling bootstraps once is enough.
fn shared_runtimes() -> PathBuf {
    static FOLDER: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    FOLDER
        .get_or_init(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("runtimes"))
        .clone()
}

pub fn invocation(event: &str) -> Invocation {
    Invocation {
        request_id: uuid::Uuid::new_v4().to_string(),
        payload: Bytes::copy_from_slice(event.as_bytes()),
        invoked_arn: "arn:aws:lambda:eu-west-1:111122223333:function:fn".to_owned(),
        client_context: None,
        cognito_identity: None,
        trace_id: Some("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0".to_owned()),
        tail: true,
        mode: Mode::Buffered,
    }
}

/// An outcome with short ways to look at it.
pub struct Answer(pub Outcome);

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.payload).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.0.payload)
            .unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub fn failed(&self) -> bool {
        self.0.function_error.is_some()
    }

    pub fn tail(&self) -> String {
        String::from_utf8_lossy(self.0.log_tail.as_deref().unwrap_or_default()).into_owned()
    }

    /// Fails the test, with everything known, unless the payload is this.
    #[track_caller]
    pub fn gives(&self, payload: &str) {
        assert!(
            self.text() == payload && !self.failed(),
            "{}\n{}",
            self.text(),
            self.tail()
        );
    }

    /// Fails the test unless the invocation failed with this type and message.
    #[track_caller]
    pub fn fails(&self, error_type: &str, message: &str) {
        assert!(
            self.failed(),
            "it did not fail: {}\n{}",
            self.text(),
            self.tail()
        );
        let json = self.json();
        let have = (
            json["errorType"].as_str().unwrap_or("?"),
            json["errorMessage"].as_str().unwrap_or("?"),
        );
        let message = message.replace("REQUEST", &self.0.report.request_id);
        assert_eq!(have, (error_type, message.as_str()), "{}", self.tail());
    }
}
