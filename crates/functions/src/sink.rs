//! [`Sink`]: the other side of the engine. Log lines go to telemetry where the execution role may write them, and
//! environments are served Mayfly's own endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::{Events, FunctionSpec, LogLine, LogTarget, Report, Serving};
use telemetry::{May, Telemetry};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use wire::{AccountId, Arn, Region, Scope};

use crate::Roles;

/// How long it is believed what a role may do with a log group.
const BELIEVED: Duration = Duration::from_secs(5);
/// How many answers are remembered.
const ANSWERS_MAX: usize = 10_000;

/// Serves AWS's APIs to environments.
pub trait Endpoint: Send + Sync {
    /// On a listener inside an environment, until it is told to stop.
    fn listen(&self, listener: TcpListener, stop: CancellationToken) -> Serving;

    /// On a connection that a function made to one of AWS's host names, by HTTPS or plain.
    fn serve(&self, stream: TcpStream, tls: bool) -> Serving;
}

/// What the engine tells, passed on.
pub struct Sink {
    telemetry: Telemetry,
    roles: Arc<dyn Roles>,
    endpoint: Arc<dyn Endpoint>,
    answers: Mutex<Answers>,
}

/// By log group and role, with the time of asking.
#[derive(Default)]
struct Answers {
    of_groups: HashMap<String, HashMap<Arc<str>, (Instant, Answer)>>,
    count: usize,
}

impl Answers {
    fn get(&self, to: &LogTarget) -> Option<Answer> {
        let (asked, answer) = self.of_groups.get(&to.group)?.get(&to.role)?;
        (asked.elapsed() < BELIEVED).then_some(*answer)
    }

    fn insert(&mut self, to: &LogTarget, answer: Answer) {
        if self.count >= ANSWERS_MAX {
            *self = Self::default();
        }
        let of_group = self.of_groups.entry(to.group.clone()).or_default();
        let before = of_group.insert(Arc::clone(&to.role), (Instant::now(), answer));
        self.count += usize::from(before.is_none());
    }
}

/// What a role may do with a log group.
#[derive(Clone, Copy)]
struct Answer {
    put: bool,
    may: May,
}

impl Sink {
    /// To be given to the engine when it starts.
    pub fn new(telemetry: Telemetry, roles: Arc<dyn Roles>, endpoint: Arc<dyn Endpoint>) -> Sink {
        Sink {
            telemetry,
            roles,
            endpoint,
            answers: Mutex::default(),
        }
    }

    fn ask(&self, at: &Scope, to: &LogTarget) -> Answer {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answers.get(to) {
            return answer;
        }
        let group = Arn::log_group(at, &to.group);
        let stream = Arn::log_stream(at, &to.group, &to.stream);
        let may = |action, resource| self.roles.may(&to.role, at, action, resource);
        let answer = Answer {
            put: may("logs:PutLogEvents", &stream),
            may: May {
                create_group: may("logs:CreateLogGroup", &group),
                create_stream: may("logs:CreateLogStream", &group),
            },
        };
        answers.insert(to, answer);
        answer
    }
}

impl Events for Sink {
    fn lines(&self, to: &LogTarget, lines: Vec<LogLine>) {
        let Some(at) = scope(&to.account_region) else {
            tracing::error!(at = to.account_region, "log lines from an odd place");
            return;
        };
        let answer = self.ask(&at, to);
        if answer.put {
            let lines = lines.into_iter().map(|line| (line.time_ms, line.text));
            self.telemetry
                .lines(&at, &to.group, &to.stream, answer.may, lines.collect());
        }
    }

    /// Metrics are made where the alias is known that was called.
    fn report(&self, _: &FunctionSpec, _: &Report) {}

    fn endpoint(
        &self,
        _: &FunctionSpec,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Serving {
        self.endpoint.listen(listener, stop)
    }

    fn connection(&self, stream: TcpStream, tls: bool) -> Serving {
        self.endpoint.serve(stream, tls)
    }
}

/// [`Scope::key`], read.
fn scope(key: &str) -> Option<Scope> {
    let (account, region) = key.split_once('/')?;
    Some(Scope {
        account: AccountId::new(account)?,
        region: Region::new(region)?,
    })
}
