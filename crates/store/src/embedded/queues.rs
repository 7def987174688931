//! Messages in SQLite.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};

use super::writer::{Stop, Transaction};
use super::{Embedded, first_name, from_sql, limit_to_sql, to_sql};
use crate::clock::after as time_after;
use crate::limits::{check_lease, check_message, check_page, check_push, check_queue, check_value};
use crate::{Buried, Depth, Digest, Error, Leased, PAGE_BYTES_MAX, Queues, Result, Token, signals};

#[async_trait]
impl Queues for Embedded {
    async fn push(&self, queue: &str, id: &str, not_before_ms: i64, body: Bytes) -> Result<bool> {
        check_push(queue, id, &body)?;
        let (queue, id, clock) = (queue.to_owned(), id.to_owned(), self.clock.clone());
        let push = self
            .writer
            .write(queue.len() + id.len() + body.len(), move |transaction| {
                if is_done(transaction, &queue, &id, clock.now_ms())? {
                    return Ok(false);
                }
                push(transaction, &queue, &id, not_before_ms, &body)
            });
        push.await
    }

    async fn lease(&self, queue: &str, max: usize, time: Duration) -> Result<Vec<Leased>> {
        check_lease(queue, max)?;
        let (queue, clock) = (queue.to_owned(), self.clock.clone());
        let lease = self.writer.write(0, move |transaction| {
            let now_ms = clock.now_ms();
            lease(transaction, &queue, max, now_ms, time_after(now_ms, time))
        });
        lease.await
    }

    async fn ack(&self, token: &Token) -> Result<()> {
        self.settle(token, delete).await
    }

    async fn ack_once(&self, token: &Token, until_ms: i64) -> Result<()> {
        let clock = self.clock.clone();
        self.settle(token, move |transaction, held| {
            remember(transaction, held, until_ms, clock.now_ms())?;
            delete(transaction, held)
        })
        .await
    }

    async fn extend(&self, token: &Token, time: Duration) -> Result<()> {
        let clock = self.clock.clone();
        self.settle(token, move |transaction, held| {
            let until_ms = time_after(clock.now_ms(), time);
            let mut statement = transaction
                .connection
                .prepare_cached("UPDATE message SET due_ms = ?2 WHERE number = ?1")?;
            statement.execute((held.number, until_ms))?;
            // A shorter lease makes the message due earlier than those who wait know.
            transaction.wake(&held.queue);
            Ok(())
        })
        .await
    }

    async fn retry(&self, token: &Token, not_before_ms: i64) -> Result<()> {
        self.settle(token, move |transaction, held| {
            let mut statement = transaction
                .connection
                .prepare_cached("UPDATE message SET due_ms = ?2, leased = 0 WHERE number = ?1")?;
            statement.execute((held.number, not_before_ms))?;
            transaction.wake(&held.queue);
            Ok(())
        })
        .await
    }

    async fn bury(&self, token: &Token, why: &str) -> Result<()> {
        check_value("the bytes of a reason", why.len())?;
        let (why, clock) = (why.to_owned(), self.clock.clone());
        self.settle(token, move |transaction, held| {
            let mut copy = transaction.connection.prepare_cached(
                "INSERT INTO buried (number, queue, id, lease, attempts, buried_ms, why, body)
                 SELECT ?2, queue, id, lease, attempts, ?3, ?4, body FROM message WHERE number = ?1",
            )?;
            // A number of its own, so that they list in the order in which they were set aside.
            let number = to_sql(transaction.numbers(1));
            copy.execute((held.number, number, clock.now_ms(), why))?;
            delete(transaction, held)
        })
        .await
    }

    async fn depth(&self, queue: &str) -> Result<Depth> {
        check_queue(queue)?;
        let (queue, now_ms) = (queue.to_owned(), self.clock.now_ms());
        self.readers
            .read(move |connection| depth(connection, &queue, now_ms))
            .await
    }

    async fn ready(&self, queue: &str) -> Result<()> {
        check_queue(queue)?;
        signals::ready(&self.signals, &*self.clock, queue, || self.earliest(queue)).await
    }

    async fn buried(&self, queue: &str, after: Option<&str>, limit: usize) -> Result<Vec<Buried>> {
        check_queue(queue)?;
        check_page(limit)?;
        let (queue, after) = (queue.to_owned(), after.map(str::to_owned));
        self.readers
            .read(move |connection| buried(connection, &queue, after.as_deref(), limit))
            .await
    }

    async fn exhume(&self, queue: &str, id: &str, not_before_ms: i64) -> Result<bool> {
        check_message(queue, id)?;
        let (queue, id) = (queue.to_owned(), id.to_owned());
        let exhume = self.writer.write(0, move |transaction| {
            let number = to_sql(transaction.numbers(1));
            let mut copy = transaction.connection.prepare_cached(
                "INSERT INTO message (number, queue, id, due_ms, lease, body)
                 SELECT ?3, queue, id, ?4, lease, body FROM buried WHERE queue = ?1 AND id = ?2",
            )?;
            if copy.execute((&queue, &id, number, not_before_ms))? == 0 {
                return Ok(false);
            }
            let mut delete = transaction
                .connection
                .prepare_cached("DELETE FROM buried WHERE queue = ?1 AND id = ?2")?;
            delete.execute((&queue, &id))?;
            transaction.wake(&queue);
            Ok(true)
        });
        exhume.await
    }

    async fn remove(&self, queue: &str, id: &str) -> Result<bool> {
        check_message(queue, id)?;
        let (queue, id) = (queue.to_owned(), id.to_owned());
        let remove = self.writer.write(0, move |transaction| {
            let mut removed = 0;
            for delete in [
                "DELETE FROM message WHERE queue = ?1 AND id = ?2",
                "DELETE FROM buried WHERE queue = ?1 AND id = ?2",
            ] {
                removed += transaction
                    .connection
                    .prepare_cached(delete)?
                    .execute((&queue, &id))?;
            }
            Ok(removed > 0)
        });
        remove.await
    }

    async fn purge(&self, queue: &str) -> Result<u64> {
        check_queue(queue)?;
        let mut purged = 0;
        loop {
            let queue = queue.to_owned();
            match self
                .writer
                .write(0, move |transaction| purge_some(transaction, &queue))
                .await?
            {
                0 => return Ok(purged),
                some => purged += some,
            }
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        check_page(limit)?;
        let (prefix, first) = (prefix.to_owned(), first_name(prefix, after));
        self.readers
            .read(move |connection| list(connection, &prefix, first, limit))
            .await
    }
}

/// A purge takes this many messages in one commit, to let other writes pass.
const PURGE_STEP: i64 = 5000;

/// With each message that is remembered, this many are forgotten whose time has passed: their number falls as fast as
/// it rose.
const FORGET_STEP: i64 = 4;
/// What is kept of the digest of a message's name: no two of any number that a disk can hold have it in common.
const NAME_BYTES: usize = 16;

/// The message of a lease that still holds.
struct Held {
    number: i64,
    queue: String,
}

fn delete(transaction: &mut Transaction<'_>, held: &Held) -> Result<(), Stop> {
    let mut statement = transaction
        .connection
        .prepare_cached("DELETE FROM message WHERE number = ?1")?;
    statement.execute([held.number])?;
    Ok(())
}

/// Keeps the message from being pushed again.
fn remember(
    transaction: &mut Transaction<'_>,
    held: &Held,
    until_ms: i64,
    now_ms: i64,
) -> Result<(), Stop> {
    let connection = transaction.connection;
    let mut id = connection.prepare_cached("SELECT id FROM message WHERE number = ?1")?;
    let id: String = id.query_row([held.number], |row| row.get(0))?;
    let mut forget = connection.prepare_cached(
        "DELETE FROM done WHERE message IN (SELECT message FROM done WHERE until_ms <= ?1 LIMIT ?2)",
    )?;
    forget.execute((now_ms, FORGET_STEP))?;
    let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO done VALUES (?1, ?2)")?;
    insert.execute((name(&held.queue, &id), until_ms))?;
    Ok(())
}

fn is_done(
    transaction: &Transaction<'_>,
    queue: &str,
    id: &str,
    now_ms: i64,
) -> Result<bool, Stop> {
    let mut done = transaction
        .connection
        .prepare_cached("SELECT 1 FROM done WHERE message = ?1 AND until_ms > ?2")?;
    Ok(done.exists((name(queue, id), now_ms))?)
}

/// Stands for a message in `done`. No name has a zero byte.
fn name(queue: &str, id: &str) -> [u8; NAME_BYTES] {
    let digest = Digest::of(format!("{queue}\0{id}").as_bytes());
    let mut name = [0; NAME_BYTES];
    name.copy_from_slice(&digest.as_bytes()[..NAME_BYTES]);
    name
}

impl Embedded {
    /// Does the work if the token is that of the last lease of its message. A lease that ran out still counts until
    /// the message is handed out again: the work was done, and doing it twice helps nobody.
    async fn settle(
        &self,
        token: &Token,
        work: impl FnOnce(&mut Transaction<'_>, &Held) -> Result<(), Stop> + Send + 'static,
    ) -> Result<()> {
        let token = token.clone();
        let settle = self.writer.write(0, move |transaction| {
            let mut statement = transaction.connection.prepare_cached(
                "SELECT queue FROM message WHERE number = ?1 AND lease = ?2 AND leased = 1",
            )?;
            let queue = statement
                .query_row((token.message, token.lease), |row| row.get(0))
                .optional()?;
            let Some(queue) = queue else {
                return Err(Error::LeaseLost {
                    token: token.to_string(),
                }
                .into());
            };
            work(
                transaction,
                &Held {
                    number: token.message,
                    queue,
                },
            )
        });
        settle.await
    }

    async fn earliest(&self, queue: &str) -> Result<Option<i64>> {
        let queue = queue.to_owned();
        let earliest = self.readers.read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT min(due_ms) FROM message WHERE queue = ?1")?;
            statement.query_row([&queue], |row| row.get(0))
        });
        earliest.await
    }
}

fn push(
    transaction: &mut Transaction<'_>,
    queue: &str,
    id: &str,
    not_before_ms: i64,
    body: &[u8],
) -> Result<bool, Stop> {
    let mut is_buried = transaction
        .connection
        .prepare_cached("SELECT 1 FROM buried WHERE queue = ?1 AND id = ?2")?;
    if is_buried.exists((queue, id))? {
        return Ok(false);
    }
    let number = to_sql(transaction.numbers(1));
    let mut insert = transaction.connection.prepare_cached(
        "INSERT INTO message (number, queue, id, due_ms, body) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (queue, id) DO NOTHING",
    )?;
    let pushed = insert.execute((number, queue, id, not_before_ms, body))? > 0;
    if pushed {
        transaction.wake(queue);
    }
    Ok(pushed)
}

fn lease(
    transaction: &mut Transaction<'_>,
    queue: &str,
    max: usize,
    now_ms: i64,
    until_ms: i64,
) -> Result<Vec<Leased>, Stop> {
    let mut due = transaction.connection.prepare_cached(
        "SELECT number, id, attempts, lease, body FROM message
         WHERE queue = ?1 AND due_ms <= ?2 ORDER BY due_ms, number LIMIT ?3",
    )?;
    let mut rows = due.query((queue, now_ms, limit_to_sql(max)))?;
    let mut leased = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let message = leased_from(row, until_ms)?;
        bytes += message.body.len();
        leased.push(message);
        if bytes >= PAGE_BYTES_MAX {
            break;
        }
    }
    drop(rows);
    let mut update = transaction.connection.prepare_cached(
        "UPDATE message SET due_ms = ?2, leased = 1, lease = ?3, attempts = attempts + 1 WHERE number = ?1",
    )?;
    for message in &leased {
        update.execute((message.token.message, until_ms, message.token.lease))?;
    }
    Ok(leased)
}

fn leased_from(row: &Row<'_>, until_ms: i64) -> rusqlite::Result<Leased> {
    Ok(Leased {
        id: row.get(1)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(4)?),
        attempts: row.get::<_, u32>(2)?.saturating_add(1),
        until_ms,
        token: Token {
            message: row.get(0)?,
            lease: row.get::<_, i64>(3)? + 1,
        },
    })
}

fn depth(connection: &Connection, queue: &str, now_ms: i64) -> rusqlite::Result<Depth> {
    // A lease that ran out is due again. Each count is a walk over one index.
    let mut statement = connection.prepare_cached(
        "SELECT (SELECT count(*) FROM message WHERE queue = ?1 AND due_ms <= ?2),
                (SELECT count(*) FROM message WHERE queue = ?1 AND due_ms > ?2),
                (SELECT count(*) FROM message WHERE queue = ?1 AND due_ms > ?2 AND leased = 1),
                (SELECT count(*) FROM buried WHERE queue = ?1)",
    )?;
    statement.query_row((queue, now_ms), |row| {
        let [due, later, leased, buried] =
            [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?].map(from_sql);
        Ok(Depth {
            due,
            delayed: later - leased,
            leased,
            buried,
        })
    })
}

fn buried(
    connection: &Connection,
    queue: &str,
    after: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<Buried>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, body, attempts, buried_ms, why FROM buried
         WHERE queue = ?1
           AND number > coalesce((SELECT number FROM buried WHERE queue = ?1 AND id = ?2), 0)
         ORDER BY number LIMIT ?3",
    )?;
    let mut rows = statement.query((queue, after, limit_to_sql(limit)))?;
    let mut found = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let body = Bytes::from(row.get::<_, Vec<u8>>(1)?);
        bytes += body.len();
        found.push(Buried {
            id: row.get(0)?,
            body,
            attempts: row.get(2)?,
            buried_ms: row.get(3)?,
            why: row.get(4)?,
        });
        if bytes >= PAGE_BYTES_MAX {
            break;
        }
    }
    Ok(found)
}

fn purge_some(transaction: &mut Transaction<'_>, queue: &str) -> Result<u64, Stop> {
    let mut purged = 0;
    for delete in [
        "DELETE FROM message WHERE number IN (SELECT number FROM message WHERE queue = ?1 LIMIT ?2)",
        "DELETE FROM buried WHERE number IN (SELECT number FROM buried WHERE queue = ?1 LIMIT ?2)",
    ] {
        purged += transaction
            .connection
            .prepare_cached(delete)?
            .execute((queue, PURGE_STEP))?;
    }
    Ok(purged as u64)
}

fn list(
    connection: &Connection,
    prefix: &str,
    mut first: String,
    limit: usize,
) -> rusqlite::Result<Vec<String>> {
    // One look at the indexes for each queue, however many messages it has.
    let mut next = connection.prepare_cached(
        "SELECT min(queue) FROM (
             SELECT min(queue) AS queue FROM message WHERE queue >= ?1
             UNION ALL
             SELECT min(queue) FROM buried WHERE queue >= ?1
         )",
    )?;
    let mut found: Vec<String> = Vec::new();
    while found.len() < limit {
        let name: Option<String> = next.query_row([&first], |row| row.get(0))?;
        let Some(name) = name.filter(|name| name.starts_with(prefix)) else {
            break;
        };
        first = first_name(prefix, Some(&name));
        found.push(name);
    }
    Ok(found)
}
