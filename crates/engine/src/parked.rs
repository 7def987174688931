//! Interpreters that wait: what they are told, and what they ask for.
//!
//! One has a connection to the Runtime API before there is an environment. On it it asks for its *assignment*: the variables
//! of its function, and of the environment that it will be. What is known when it is made is told at once, and a fork
//! hears it with the word that lets it go on. So a fork that a call waits for starts while its environment is put
//! together, and one of a template that is made ahead has been restored and waits for its first event.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Serialize, Serializer};

use crate::api::Client;
use crate::events::LogTarget;
use crate::grant::Grant;
use crate::http::{Connection, Method, OK, Stream, whole_reply};
use crate::process::Process;
use crate::spec::{FunctionSpec, Initialization, Lasting};
use crate::variables::{About, furnished_variables};

/// What our bootstraps ask for while they wait.
const ASSIGNMENT_PATH: &str = "/2018-06-01/mayfly/assignment";
const NEXT_PATH: &str = "/2018-06-01/runtime/invocation/next";
/// How long one that waits may take to take on its function's variables.
const TAKE_ON_LIMIT: Duration = Duration::from_secs(10);

/// A call that waits for an interpreter, or an environment that is made for one.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) initialization: Initialization,
    /// Of the invocation that it starts for.
    pub(crate) trace_id: Option<&'a str>,
}

/// What an environment is to others.
#[derive(Clone)]
pub(crate) struct Identity {
    /// Where its log goes.
    pub(crate) target: LogTarget,
    /// How it gets its credentials.
    pub(crate) grant: Arc<Grant>,
}

impl Identity {
    /// That of a new environment with this name.
    ///
    /// # Errors
    /// Why the role of the function cannot be assumed.
    pub(crate) fn new(spec: &FunctionSpec, name: &str) -> Result<Identity, String> {
        // Where some are forks of a template all of them ask, so that a function finds the same in each.
        let grant = match spec.wants_template() {
            true => Grant::asked(spec.credentials.clone(), SystemTime::now())?,
            false => Grant::Keys((spec.credentials)(Lasting::Long)?),
        };
        Ok(Identity {
            target: LogTarget::of(spec, name),
            grant: Arc::new(grant),
        })
    }

    /// What the variables of its runtime tell.
    pub(crate) fn about<'a>(
        &'a self,
        spec: &'a FunctionSpec,
        initialization: Initialization,
        trace_id: Option<&'a str>,
    ) -> About<'a> {
        About {
            spec,
            initialization,
            grant: &self.grant,
            log_stream: &self.target.stream,
            trace_id,
        }
    }
}

/// What an interpreter has of its function and its environment.
pub(crate) enum Knowledge {
    /// Nothing of either. It has asked for it.
    Nothing,
    /// The variables that do not depend on the environment. It has asked for the others, unless it has these by itself.
    Function,
    /// All. It was told while a call waited, or has asked for its first event.
    All(Identity),
}

impl Knowledge {
    /// The variables of an environment that it does not have.
    fn lacks(&self, about: About<'_>) -> Vec<(String, String)> {
        match self {
            Knowledge::Nothing => about.variables(),
            Knowledge::Function => about.own_variables(),
            Knowledge::All(_) => Vec::new(),
        }
    }
}

/// What an interpreter is told before there is an environment, and does then.
pub(crate) struct Briefing {
    /// Its assignment, or as much of it as is known.
    assignment: Option<Vec<u8>>,
    /// What it will ask for, if somebody waits for that.
    question: Option<&'static str>,
    knowledge: Knowledge,
}

impl Briefing {
    /// Nothing to one that knows so much.
    pub(crate) fn none(knowledge: Knowledge) -> Briefing {
        Briefing {
            assignment: None,
            question: Some(ASSIGNMENT_PATH),
            knowledge,
        }
    }

    /// Whose it will be, but nothing of the environment.
    pub(crate) fn furnished(spec: &FunctionSpec) -> Briefing {
        Briefing {
            assignment: Some(assignment(&furnished_variables(spec), Rest::Ahead)),
            question: Some(ASSIGNMENT_PATH),
            knowledge: Knowledge::Function,
        }
    }

    /// Everything to one that knows so much, for a call that waits or ahead of one. That a role cannot be assumed is for its
    /// environment to find out.
    pub(crate) fn whole(
        spec: &FunctionSpec,
        name: &str,
        call: Option<Call<'_>>,
        knowledge: Knowledge,
    ) -> Briefing {
        let Ok(identity) = Identity::new(spec, name) else {
            return Briefing::none(knowledge);
        };
        let initialization = call.map_or(spec.initialization, |call| call.initialization);
        let about = identity.about(spec, initialization, call.and_then(|call| call.trace_id));
        Briefing {
            assignment: Some(assignment(&knowledge.lacks(about), Rest::None)),
            question: call.is_none().then_some(NEXT_PATH),
            knowledge: Knowledge::All(identity),
        }
    }

    /// What a fork finds on its connection.
    pub(crate) fn words(&self) -> Option<Vec<u8>> {
        let assignment = self.assignment.as_ref();
        assignment.map(|assignment| whole_reply(OK, assignment))
    }
}

/// An interpreter that waits, or starts.
pub(crate) struct Parked {
    pub(crate) process: Process,
    /// Its connection to the Runtime API.
    pub(crate) client: Client,
    pub(crate) knowledge: Knowledge,
    /// Since when it starts, if a call waits for it.
    pub(crate) since: Option<Instant>,
}

impl Parked {
    /// Waits until it has asked for what it will. A fork has been told by then.
    pub(crate) async fn new(
        child: sandbox::Child,
        channel: UnixStream,
        briefing: Briefing,
        forked: Option<Instant>,
    ) -> std::io::Result<Parked> {
        channel.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(channel)?;
        let mut connection = Connection::new(Stream::Unix(stream));
        if forked.is_none()
            && let Some(assignment) = &briefing.assignment
        {
            asked(&mut connection, ASSIGNMENT_PATH).await?;
            connection.reply(OK, &[], assignment);
        }
        if let Some(question) = briefing.question {
            asked(&mut connection, question).await?;
        }
        Ok(Parked {
            process: Process::watch(child).map_err(std::io::Error::other)?,
            client: Client::new(connection),
            knowledge: briefing.knowledge,
            since: forked.filter(|_| briefing.question.is_none()),
        })
    }

    /// Who it was told to be, now that an environment needs it. The keys of one that has waited are made anew.
    ///
    /// # Errors
    /// Why the role of the function cannot be assumed any more.
    pub(crate) fn be_needed(&self) -> Option<Result<Identity, String>> {
        let Knowledge::All(identity) = &self.knowledge else {
            return None;
        };
        let renewed = match self.asks_for_event() {
            true => identity.grant.renew(SystemTime::now()),
            false => Ok(()),
        };
        Some(renewed.map(|()| identity.clone()))
    }

    /// Whether it has asked for its first event.
    pub(crate) fn asks_for_event(&self) -> bool {
        matches!(self.knowledge, Knowledge::All(_)) && self.since.is_none()
    }

    /// Tells one that knows nothing yet whose it is, while the function's files come: all, or what does not depend on the
    /// environment. That a role cannot be assumed is for its environment to find out.
    pub(crate) fn tell_early(&mut self, spec: &FunctionSpec, name: &str, call: Option<Call<'_>>) {
        let identity = call.and_then(|call| Some((call, Identity::new(spec, name).ok()?)));
        let Some((call, identity)) = identity else {
            self.tell(&furnished_variables(spec), Rest::Early);
            self.knowledge = Knowledge::Function;
            return;
        };
        let about = identity.about(spec, call.initialization, call.trace_id);
        self.tell(&about.variables(), Rest::Early);
        self.knowledge = Knowledge::All(identity);
    }

    /// Waits until it has asked for the rest, and lets it go on if there is none. That it does not is for its environment to
    /// find out.
    pub(crate) async fn has_taken_it_on(&mut self) {
        let asked = asked(&mut self.client.connection, ASSIGNMENT_PATH);
        if !matches!(tokio::time::timeout(TAKE_ON_LIMIT, asked).await, Ok(Ok(()))) {
            tracing::warn!("an interpreter that waited does not ask for its assignment");
        }
        if matches!(self.knowledge, Knowledge::All(_)) {
            self.since = Some(Instant::now());
            self.tell(&[], Rest::None);
        }
    }

    /// Tells it whose it is, unless it knows. It goes on as if it had just been executed.
    pub(crate) fn assign(&mut self, about: About<'_>) {
        if !matches!(self.knowledge, Knowledge::All(_)) {
            self.tell(&self.knowledge.lacks(about), Rest::None);
        }
    }

    fn tell(&mut self, variables: &[(String, String)], rest: Rest) {
        let connection = &mut self.client.connection;
        connection.reply(OK, &[], &assignment(variables, rest));
        connection.send();
    }
}

/// What follows an assignment.
#[derive(PartialEq)]
enum Rest {
    None,
    /// What is the environment's own. The function's files are there.
    Ahead,
    /// The same, with the files.
    Early,
}

/// What an interpreter that waits is answered.
#[derive(Serialize)]
struct Assignment<'a> {
    #[serde(serialize_with = "as_object")]
    environment: &'a [(String, String)],
    early: bool,
    ahead: bool,
}

fn as_object<S: Serializer>(variables: &[(String, String)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(variables.iter().map(|(name, value)| (name, value)))
}

fn assignment(environment: &[(String, String)], rest: Rest) -> Vec<u8> {
    let assignment = Assignment {
        environment,
        early: rest == Rest::Early,
        ahead: rest == Rest::Ahead,
    };
    // Nothing in it can fail.
    serde_json::to_vec(&assignment).unwrap_or_default()
}

async fn asked(connection: &mut Connection, path: &str) -> std::io::Result<()> {
    match connection.head().await? {
        Some(head) if head.method == Method::Get && head.path == path => Ok(()),
        _ => Err(std::io::Error::other("it asked for something else")),
    }
}
