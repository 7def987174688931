//! IAM and STS through the wire: forms in, XML out, with the real authorizer between.
#![allow(clippy::unwrap_used, missing_docs)]

mod authorization;
mod groups;
mod persistence;
mod policies;
mod roles;
mod simulation;
mod sts;
mod users;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::{Iam, Identity, RoleSession, Settings, Sts};
use store::{Clock, ManualClock, Store};
use wire::{AccountId, Arn, Body, Caller, Context, Mount, Region, Router, Scope};

pub const ACCOUNT: &str = "111122223333";
pub const OTHER: &str = "444455556666";
/// 2026-01-01T00:00:00Z.
pub const NOW_MS: i64 = 1_767_225_600_000;
pub const TRUST_LAMBDA: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
pub const BASIC: &str = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole";
pub const ADMIN: &str = "arn:aws:iam::aws:policy/AdministratorAccess";

pub fn account(id: &str) -> AccountId {
    AccountId::new(id).unwrap()
}

pub fn allow(action: &str, resource: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}]}}"#
    )
}

pub fn deny(action: &str, resource: &str) -> String {
    allow(action, resource).replace("Allow", "Deny")
}

pub fn trust(principal: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}}]}}"#
    )
}

/// An installation.
pub struct World {
    pub identity: Identity,
    pub clock: Arc<ManualClock>,
    store: Store,
    dir: tempfile::TempDir,
    router: Router,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The text of the first element of this name.
    pub fn text(&self, name: &str) -> String {
        self.all(name)
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no {name} in {}", self.body))
    }

    /// The texts of all elements of this name.
    pub fn all(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        self.body
            .split(&open)
            .skip(1)
            .filter_map(|rest| Some(unescape(rest.split_once(&close)?.0)))
            .collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.body.contains(&format!("<{name}>"))
    }

    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }

    /// Asserts a refusal.
    pub fn refused(&self, status: u16, code: &str, message: &str) {
        assert_eq!(
            (
                self.status,
                self.text("Code").as_str(),
                self.text("Message").as_str()
            ),
            (status, code, message)
        );
    }
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

impl World {
    pub async fn new() -> Self {
        Self::with(false).await
    }

    pub async fn with(dev: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::open(dir, Arc::new(ManualClock::at(NOW_MS)), dev).await
    }

    async fn open(dir: tempfile::TempDir, clock: Arc<ManualClock>, dev: bool) -> Self {
        let store = Store::open_with(dir.path(), clock.clone()).unwrap();
        let settings = Settings {
            account: account(ACCOUNT),
            dev,
        };
        let identity = Identity::open(&store, settings).await.unwrap();
        let router = Router::new(vec![
            Mount::new(Arc::new(Iam(identity.clone()))),
            Mount::new(Arc::new(Sts(identity.clone()))),
        ]);
        Self {
            identity,
            clock,
            store,
            dir,
            router,
        }
    }

    /// Stops and starts again.
    pub async fn restart(self) -> Self {
        let Self {
            identity,
            clock,
            store,
            dir,
            router,
        } = self;
        store.close().await;
        drop((identity, store, router));
        Self::open(dir, clock, false).await
    }

    /// The store, for tests that look behind the scenes.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.clock.now_ms()).unwrap()
    }

    pub fn root(&self) -> Caller {
        self.root_of(ACCOUNT)
    }

    pub fn root_of(&self, id: &str) -> Caller {
        let root = self.identity.root_credential_of(&account(id)).unwrap();
        self.caller(&root.access_key_id, None)
    }

    pub fn caller(&self, key: &str, token: Option<&str>) -> Caller {
        self.identity
            .find_key(key, token, self.now())
            .unwrap()
            .caller
    }

    /// Makes a user with a key, and answers who that is.
    pub async fn user(&self, name: &str) -> Caller {
        let root = self.root();
        self.iam(&root, "CreateUser", &[("UserName", name)])
            .await
            .ok();
        let key = self
            .iam(&root, "CreateAccessKey", &[("UserName", name)])
            .await
            .ok();
        self.caller(&key.text("AccessKeyId"), None)
    }

    /// Makes a role.
    pub async fn role(&self, name: &str, trust: &str) -> String {
        let members = [("RoleName", name), ("AssumeRolePolicyDocument", trust)];
        self.iam(&self.root(), "CreateRole", &members)
            .await
            .ok()
            .text("Arn")
    }

    pub async fn inline(&self, kind: &str, name: &str, policy: &str, document: &str) -> Answer {
        let member = format!("{kind}Name");
        let members = [
            (member.as_str(), name),
            ("PolicyName", policy),
            ("PolicyDocument", document),
        ];
        self.iam(&self.root(), &format!("Put{kind}Policy"), &members)
            .await
    }

    /// The caller behind the credentials in an answer of STS.
    pub fn session(&self, answer: &Answer) -> Caller {
        self.caller(
            &answer.text("AccessKeyId"),
            Some(&answer.text("SessionToken")),
        )
    }

    pub async fn iam(&self, caller: &Caller, action: &str, members: &[(&str, &str)]) -> Answer {
        self.call("2010-05-08", caller, action, members).await
    }

    pub async fn sts(&self, caller: &Caller, action: &str, members: &[(&str, &str)]) -> Answer {
        self.call("2011-06-15", caller, action, members).await
    }

    pub fn context(&self, caller: &Caller) -> Context {
        Context {
            request_id: "request".to_owned(),
            caller: caller.clone(),
            scope: Scope {
                account: caller.account,
                region: Region::new("us-east-1").unwrap(),
            },
            source_ip: Some("203.0.113.9".parse().unwrap()),
            user_agent: "aws-cli/1".to_owned(),
            secure: false,
            now_ms: self.clock.now_ms(),
            host: "localhost".to_owned(),
            trace_id: None,
        }
    }

    async fn call(
        &self,
        version: &str,
        caller: &Caller,
        action: &str,
        members: &[(&str, &str)],
    ) -> Answer {
        let fixed = [("Action", action), ("Version", version)];
        let pairs = fixed
            .iter()
            .chain(members)
            .map(|(name, value)| format!("{name}={}", encode(value)));
        let body = Bytes::from(pairs.collect::<Vec<_>>().join("&"));
        let request = http::Request::post("/").header(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        );
        let (head, ()) = request.body(()).unwrap().into_parts();
        let found = self.router.find(&head, None).unwrap();
        let settled = found.settle(&self.router, &head, &body);
        let reply = settled
            .run(&head, body, &self.context(caller), &self.identity)
            .await;
        let status = reply.status().as_u16();
        let Body::Whole(bytes) = reply.into_body() else {
            panic!("a stream")
        };
        Answer {
            status,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// Lambda's question for a session of a function.
pub fn lambda_session(role: &Arn) -> RoleSession<'_> {
    RoleSession {
        role,
        name: "hello",
        service: "lambda.amazonaws.com",
        source_arn: None,
        region: "us-east-1",
        duration: Duration::from_secs(3_600),
    }
}
