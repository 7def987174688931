//! Streams in SQLite.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::writer::{Stop, Transaction};
use super::{Embedded, first_name, from_sql, limit_to_sql, to_sql};
use crate::limits::{check_append, check_page, check_stream};
use crate::{
    Appended, Before, Direction, Journal, JournalEntry, NewEntry, PAGE_BYTES_MAX, Page, Position,
    Result, Span, StreamInfo,
};

/// Entries that one commit removes, to let other writes pass.
const REMOVE_STEP: usize = 2000;

#[async_trait]
impl Journal for Embedded {
    async fn append(&self, stream: &str, entries: Vec<NewEntry>) -> Result<Appended> {
        let bytes = check_append(stream, &entries)?;
        let stream = stream.to_owned();
        self.writer
            .write(bytes, move |transaction| {
                append(transaction, &stream, &entries, bytes)
            })
            .await
    }

    async fn read(
        &self,
        stream: &str,
        span: Span,
        limit: usize,
        direction: Direction,
    ) -> Result<Page> {
        check_stream(stream)?;
        check_page(limit)?;
        let stream = stream.to_owned();
        let page = self.readers.read(move |connection| {
            let Some(id) = stream_id(connection, &stream)? else {
                return Ok(Page::default());
            };
            match span {
                Span::Arrival(seqs) => read_arrival(connection, id, &seqs, limit, direction),
                Span::Time(times) => read_time(connection, id, &times, limit, direction),
            }
        });
        page.await
    }

    async fn trim(&self, stream: &str, before: Before) -> Result<u64> {
        check_stream(stream)?;
        let mut trimmed = 0;
        loop {
            let stream = stream.to_owned();
            let removed = self.writer.write(0, move |transaction| {
                let id = stream_id(transaction.connection, &stream)?;
                Ok(id.map_or(Ok(0), |id| trim_some(transaction.connection, id, before))?)
            });
            let removed = removed.await?;
            trimmed += removed as u64;
            if removed < REMOVE_STEP {
                return Ok(trimmed);
            }
        }
    }

    async fn drop_stream(&self, stream: &str) -> Result<bool> {
        check_stream(stream)?;
        let stream = stream.to_owned();
        let dropped = self.writer.write(0, move |transaction| {
            let Some(id) = stream_id(transaction.connection, &stream)? else {
                return Ok(false);
            };
            transaction
                .connection
                .prepare_cached("DELETE FROM stream WHERE id = ?1")?
                .execute([id])?;
            transaction
                .connection
                .prepare_cached("INSERT INTO dropped VALUES (?1)")?
                .execute([id])?;
            transaction.sweep = true;
            Ok(true)
        });
        dropped.await
    }

    async fn info(&self, stream: &str) -> Result<Option<StreamInfo>> {
        check_stream(stream)?;
        let stream = stream.to_owned();
        let info = self.readers.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!("{INFO} WHERE name = ?1"))?;
            statement.query_row([&stream], info_from).optional()
        });
        info.await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StreamInfo>> {
        check_page(limit)?;
        let (prefix, first) = (prefix.to_owned(), first_name(prefix, after));
        self.readers
            .read(move |connection| list(connection, &prefix, &first, limit))
            .await
    }
}

/// Removes some entries of streams that were dropped, and tells whether there may be more.
pub(super) fn sweep(connection: &Connection) -> rusqlite::Result<bool> {
    let mut next = connection.prepare_cached("SELECT stream FROM dropped LIMIT 1")?;
    let Some(id) = next.query_row([], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(false);
    };
    let mut delete = connection
        .prepare_cached("DELETE FROM entry WHERE id IN (SELECT id FROM entry WHERE stream = ?1 ORDER BY id LIMIT ?2)")?;
    if delete.execute((id, limit_to_sql(REMOVE_STEP)))? < REMOVE_STEP {
        connection
            .prepare_cached("DELETE FROM dropped WHERE stream = ?1")?
            .execute([id])?;
    }
    Ok(true)
}

fn append(
    transaction: &mut Transaction<'_>,
    stream: &str,
    entries: &[NewEntry],
    bytes: usize,
) -> Result<Appended, Stop> {
    let first_seq = transaction.numbers(entries.len() as u64);
    let last_seq = first_seq + entries.len() as u64 - 1;
    // The number of the first entry names a new stream, so that no name of a dropped one comes back.
    let mut upsert = transaction.connection.prepare_cached(
        "INSERT INTO stream (id, name, entries, bytes, last_seq) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (name) DO UPDATE SET
             entries = entries + excluded.entries, bytes = bytes + excluded.bytes, last_seq = excluded.last_seq
         RETURNING id",
    )?;
    let count = limit_to_sql(entries.len());
    let row = (
        to_sql(first_seq),
        stream,
        count,
        limit_to_sql(bytes),
        to_sql(last_seq),
    );
    let id: i64 = upsert.query_row(row, |row| row.get(0))?;
    let mut insert = transaction
        .connection
        .prepare_cached("INSERT INTO entry (id, stream, time_ms, body) VALUES (?1, ?2, ?3, ?4)")?;
    for ((time_ms, body), seq) in entries.iter().zip(first_seq..) {
        insert.execute((to_sql(seq), id, time_ms, &body[..]))?;
    }
    Ok(Appended {
        first_seq,
        last_seq,
    })
}

fn stream_id(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT id FROM stream WHERE name = ?1")?;
    statement.query_row([name], |row| row.get(0)).optional()
}

fn read_arrival(
    connection: &Connection,
    stream: i64,
    seqs: &Range<u64>,
    limit: usize,
    direction: Direction,
) -> rusqlite::Result<Page> {
    let sql = match direction {
        Direction::Forward => {
            "SELECT id, time_ms, body FROM entry WHERE stream = ?1 AND id >= ?2 AND id < ?3 ORDER BY id"
        }
        Direction::Backward => {
            "SELECT id, time_ms, body FROM entry WHERE stream = ?1 AND id >= ?2 AND id < ?3 ORDER BY id DESC"
        }
    };
    page(
        connection,
        sql,
        (stream, to_sql(seqs.start), to_sql(seqs.end)),
        limit,
    )
}

fn read_time(
    connection: &Connection,
    stream: i64,
    times: &Range<Position>,
    limit: usize,
    direction: Direction,
) -> rusqlite::Result<Page> {
    let sql = match direction {
        Direction::Forward => {
            "SELECT id, time_ms, body FROM entry
             WHERE stream = ?1 AND (time_ms, id) >= (?2, ?3) AND (time_ms, id) < (?4, ?5) ORDER BY time_ms, id"
        }
        Direction::Backward => {
            "SELECT id, time_ms, body FROM entry
             WHERE stream = ?1 AND (time_ms, id) >= (?2, ?3) AND (time_ms, id) < (?4, ?5)
             ORDER BY time_ms DESC, id DESC"
        }
    };
    let (from, to) = (times.start, times.end);
    page(
        connection,
        sql,
        (
            stream,
            from.time_ms,
            to_sql(from.seq),
            to.time_ms,
            to_sql(to.seq),
        ),
        limit,
    )
}

fn page(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    limit: usize,
) -> rusqlite::Result<Page> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut page = Page::default();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if page.entries.len() == limit || bytes >= PAGE_BYTES_MAX {
            page.more = true;
            break;
        }
        let body = Bytes::from(row.get::<_, Vec<u8>>(2)?);
        bytes += body.len();
        page.entries.push(JournalEntry {
            seq: from_sql(row.get(0)?),
            time_ms: row.get(1)?,
            body,
        });
    }
    Ok(page)
}

fn trim_some(connection: &Connection, stream: i64, before: Before) -> rusqlite::Result<usize> {
    let (sql, bound) = match before {
        Before::Seq(seq) => (
            "DELETE FROM entry
             WHERE id IN (SELECT id FROM entry WHERE stream = ?1 AND id < ?2 ORDER BY id LIMIT ?3)
             RETURNING length(body)",
            to_sql(seq),
        ),
        Before::Time(time_ms) => (
            "DELETE FROM entry
             WHERE id IN (SELECT id FROM entry WHERE stream = ?1 AND time_ms < ?2 ORDER BY time_ms LIMIT ?3)
             RETURNING length(body)",
            time_ms,
        ),
    };
    let mut delete = connection.prepare_cached(sql)?;
    let removed: Vec<i64> = delete
        .query_map((stream, bound, limit_to_sql(REMOVE_STEP)), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut update = connection.prepare_cached(
        "UPDATE stream SET entries = entries - ?2, bytes = bytes - ?3 WHERE id = ?1",
    )?;
    update.execute((
        stream,
        limit_to_sql(removed.len()),
        removed.iter().sum::<i64>(),
    ))?;
    Ok(removed.len())
}

/// The earliest and latest time come from the index, so that a trim needs no second look.
const INFO: &str = "
    SELECT name, entries, bytes, last_seq,
           (SELECT min(time_ms) FROM entry WHERE entry.stream = stream.id),
           (SELECT max(time_ms) FROM entry WHERE entry.stream = stream.id)
    FROM stream";

fn info_from(row: &Row<'_>) -> rusqlite::Result<StreamInfo> {
    Ok(StreamInfo {
        name: row.get(0)?,
        entries: from_sql(row.get(1)?),
        bytes: from_sql(row.get(2)?),
        last_seq: from_sql(row.get(3)?),
        first_ms: row.get(4)?,
        last_ms: row.get(5)?,
    })
}

fn list(
    connection: &Connection,
    prefix: &str,
    first: &str,
    limit: usize,
) -> rusqlite::Result<Vec<StreamInfo>> {
    let mut statement =
        connection.prepare_cached(&format!("{INFO} WHERE name >= ?1 ORDER BY name LIMIT ?2"))?;
    let rows = statement.query_map((first, limit_to_sql(limit)), info_from)?;
    let in_prefix = |info: &rusqlite::Result<StreamInfo>| match info {
        Ok(info) => info.name.starts_with(prefix),
        Err(_) => true,
    };
    rows.take_while(in_prefix).collect()
}
