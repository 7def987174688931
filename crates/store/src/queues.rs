//! Messages that stay until somebody says that the work is done.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::Result;

/// Queues by name. A queue is there when it has messages.
///
/// Delivery is at least once: a lease that runs out hands the message to the next, and an answer that came too late
/// is told so. Due messages come in the order in which they became due.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Adds a message that nobody gets before `not_before_ms`. Does nothing, and answers `false`, while the queue
    /// has a message with this id, buried ones among them.
    /// The same after [`Queues::ack_once`], until the time given there.
    async fn push(&self, queue: &str, id: &str, not_before_ms: i64, body: Bytes) -> Result<bool>;

    /// Takes at most `max` (up to [`crate::LEASE_MESSAGES_MAX`]) due messages, which nobody else gets for that time.
    async fn lease(&self, queue: &str, max: usize, time: Duration) -> Result<Vec<Leased>>;

    /// The work is done: removes the message. [`crate::Error::LeaseLost`] when somebody else has it by now.
    async fn ack(&self, token: &Token) -> Result<()>;

    /// Like [`Queues::ack`], and until `until_ms` nobody can push the message again: for those whose pushes are
    /// repeated after a crash, or by somebody who never got the answer.
    async fn ack_once(&self, token: &Token, until_ms: i64) -> Result<()>;

    /// The work takes longer: the lease ends this much after now.
    async fn extend(&self, token: &Token, time: Duration) -> Result<()>;

    /// The work failed: gives the message back, for nobody to get before `not_before_ms`.
    async fn retry(&self, token: &Token, not_before_ms: i64) -> Result<()>;

    /// The work can never be done: sets the message aside with the reason.
    async fn bury(&self, token: &Token, why: &str) -> Result<()>;

    /// How many messages there are.
    async fn depth(&self, queue: &str) -> Result<Depth>;

    /// Resolves when the queue has a message to lease: at once, on a push, or when the earliest becomes due. Another
    /// worker may take it first, so lease and come back here when there was nothing.
    async fn ready(&self, queue: &str) -> Result<()>;

    /// At most `limit` messages that were set aside, oldest first, beginning after the one with the id `after`.
    async fn buried(&self, queue: &str, after: Option<&str>, limit: usize) -> Result<Vec<Buried>>;

    /// Gives a message that was set aside another chance, with its attempts forgotten; `false` if there is none.
    async fn exhume(&self, queue: &str, id: &str, not_before_ms: i64) -> Result<bool>;

    /// Removes the message in whatever state it is, and tells whether there was one. Its lease, if any, is lost.
    async fn remove(&self, queue: &str, id: &str) -> Result<bool>;

    /// Removes every message of the queue and tells how many there were.
    async fn purge(&self, queue: &str) -> Result<u64>;

    /// At most `limit` names of queues that have messages and begin with `prefix`, in order, after `after`.
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>>;
}

/// A message and the right to work on it for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// What it was pushed as.
    pub id: String,
    /// Its content.
    pub body: Bytes,
    /// How often it was handed out, this time included.
    pub attempts: u32,
    /// When the lease ends.
    pub until_ms: i64,
    /// What to answer with.
    pub token: Token,
}

/// Names one handing out of one message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Token {
    pub(crate) message: i64,
    pub(crate) lease: i64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.message, self.lease)
    }
}

/// Text that is not a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a token has two numbers with a dot between them")]
pub struct InvalidToken;

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Token, InvalidToken> {
        let (message, lease) = text.split_once('.').ok_or(InvalidToken)?;
        let number = |digits: &str| digits.parse().map_err(|_not_a_number| InvalidToken);
        Ok(Token {
            message: number(message)?,
            lease: number(lease)?,
        })
    }
}

/// How many messages a queue has, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Could be leased now.
    pub due: u64,
    /// Wait for their time.
    pub delayed: u64,
    /// Are being worked on.
    pub leased: u64,
    /// Were set aside.
    pub buried: u64,
}

impl Depth {
    /// Those that wait or are worked on.
    pub fn live(&self) -> u64 {
        self.due + self.delayed + self.leased
    }
}

/// A message that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buried {
    /// What it was pushed as.
    pub id: String,
    /// Its content.
    pub body: Bytes,
    /// How often it was handed out.
    pub attempts: u32,
    /// When it was set aside.
    pub buried_ms: i64,
    /// The reason.
    pub why: String,
}
