//! Records in SQLite.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

use super::writer::{Stop, Transaction};
use super::{Embedded, first_name, from_sql, limit_to_sql, to_sql};
use crate::limits::{check_name, check_page, check_put};
use crate::{Change, Entry, Error, Expect, Kv, PAGE_BYTES_MAX, Result, Watch};

#[async_trait]
impl Kv for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        check_name("key", key)?;
        let key = key.to_owned();
        self.readers
            .read(move |connection| get(connection, &key))
            .await
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<u64> {
        check_put(key, &value)?;
        let key = key.to_owned();
        let put = self
            .writer
            .write(key.len() + value.len(), move |transaction| {
                put(transaction, key, value, expect)
            });
        put.await
    }

    async fn put_with(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        (other, content): (&str, Bytes),
    ) -> Result<u64> {
        check_put(key, &value)?;
        check_put(other, &content)?;
        let (key, other) = (key.to_owned(), other.to_owned());
        let bytes = key.len() + value.len() + other.len() + content.len();
        let put = self.writer.write(bytes, move |transaction| {
            // First what may be refused, which must have written nothing.
            let revision = put(transaction, key, value, expect)?;
            let beside = transaction.numbers(1);
            write(transaction, &other, beside, &content)?;
            Ok(revision)
        });
        put.await
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool> {
        check_name("key", key)?;
        let key = key.to_owned();
        let delete = self.writer.write(key.len(), move |transaction| {
            if check_expected(transaction.connection, &key, expect)?.is_none() {
                return Ok(false);
            }
            transaction
                .connection
                .prepare_cached("DELETE FROM kv WHERE key = ?1")?
                .execute([&key])?;
            let revision = transaction.numbers(1);
            transaction.changed(Change::Deleted { key, revision });
            Ok(true)
        });
        delete.await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Entry)>> {
        check_page(limit)?;
        let prefix = prefix.to_owned();
        let first = first_name(&prefix, after);
        self.readers
            .read(move |connection| scan(connection, &prefix, &first, limit))
            .await
    }

    async fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, u64)>> {
        check_page(limit)?;
        let prefix = prefix.to_owned();
        let first = first_name(&prefix, after);
        self.readers
            .read(move |connection| keys(connection, &prefix, &first, limit))
            .await
    }

    async fn watch(&self, prefix: &str) -> Result<Watch> {
        Ok(self.feed.watch(prefix))
    }
}

fn put(
    transaction: &mut Transaction<'_>,
    key: String,
    value: Bytes,
    expect: Expect,
) -> Result<u64, Stop> {
    check_expected(transaction.connection, &key, expect)?;
    let revision = transaction.numbers(1);
    write(transaction, &key, revision, &value)?;
    transaction.changed(Change::Put {
        key,
        entry: Entry { value, revision },
    });
    Ok(revision)
}

fn write(
    transaction: &Transaction<'_>,
    key: &str,
    revision: u64,
    value: &[u8],
) -> rusqlite::Result<()> {
    let mut statement = transaction.connection.prepare_cached(
        "INSERT INTO kv (key, revision, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, value = excluded.value",
    )?;
    statement.execute((key, to_sql(revision), value))?;
    Ok(())
}

fn get(connection: &Connection, key: &str) -> rusqlite::Result<Option<Entry>> {
    let mut statement =
        connection.prepare_cached("SELECT revision, value FROM kv WHERE key = ?1")?;
    let entry = |row: &rusqlite::Row<'_>| {
        Ok(Entry {
            revision: from_sql(row.get(0)?),
            value: Bytes::from(row.get::<_, Vec<u8>>(1)?),
        })
    };
    statement.query_row([key], entry).optional()
}

fn check_expected(connection: &Connection, key: &str, expect: Expect) -> Result<Option<u64>, Stop> {
    let mut statement = connection.prepare_cached("SELECT revision FROM kv WHERE key = ?1")?;
    let found = statement
        .query_row([key], |row| row.get(0))
        .optional()?
        .map(from_sql);
    if expect.admits(found) {
        Ok(found)
    } else {
        Err(Error::Conflict {
            key: key.to_owned(),
            found,
        }
        .into())
    }
}

fn scan(
    connection: &Connection,
    prefix: &str,
    first: &str,
    limit: usize,
) -> rusqlite::Result<Vec<(String, Entry)>> {
    // The first key past the prefix may not be text, so the end is looked for here and not in the query.
    let mut statement = connection.prepare_cached(
        "SELECT key, revision, value FROM kv WHERE key >= ?1 ORDER BY key LIMIT ?2",
    )?;
    let mut rows = statement.query((first, limit_to_sql(limit)))?;
    let mut found = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        if !key.starts_with(prefix) || bytes >= PAGE_BYTES_MAX {
            break;
        }
        let value = Bytes::from(row.get::<_, Vec<u8>>(2)?);
        bytes += value.len();
        found.push((
            key,
            Entry {
                revision: from_sql(row.get(1)?),
                value,
            },
        ));
    }
    Ok(found)
}

fn keys(
    connection: &Connection,
    prefix: &str,
    first: &str,
    limit: usize,
) -> rusqlite::Result<Vec<(String, u64)>> {
    let mut statement = connection
        .prepare_cached("SELECT key, revision FROM kv WHERE key >= ?1 ORDER BY key LIMIT ?2")?;
    let mut rows = statement.query((first, limit_to_sql(limit)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        if !key.starts_with(prefix) {
            break;
        }
        found.push((key, from_sql(row.get(1)?)));
    }
    Ok(found)
}
