//! The tables, and how a file becomes one of the present format.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{failure, from_sql};
use crate::{Error, Result};

/// "Mayf": marks the file as ours, for `file` and for us.
const APPLICATION_ID: i64 = 0x4d61_7966;
/// One step per format; the number of steps taken is the file's format. Never change a step that was released.
const STEPS: &[&str] = &[FORMAT_1, FORMAT_2];
/// How long a connection waits for somebody who inspects the file or copies it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Statements kept prepared on each connection.
const STATEMENTS_MAX: usize = 64;

/// - `counter` holds the last number used, for revisions, messages and entries alike.
/// - `message.due_ms` is when a message may be taken: its time if nobody has it, the end of the lease otherwise.
///   `lease` counts how often it was handed out; unlike `attempts`, nothing sets it back.
///   `number` completes `message_due`, which therefore has the order in which messages are leased.
/// - `entry.id` is its number in the store; it completes both indexes, so `entry_time` is ordered by stream, time and
///   number, `entry_stream` by stream and number. A clustered table would not need them, but its inner pages would
///   hold whole log lines, and a stream's entries would be spread over the file with each append.
/// - `dropped` are streams whose entries are being removed little by little.
const FORMAT_1: &str = "
    CREATE TABLE counter (last INTEGER NOT NULL) STRICT;
    INSERT INTO counter VALUES (0);

    CREATE TABLE kv (
        key TEXT NOT NULL UNIQUE,
        revision INTEGER NOT NULL,
        value BLOB NOT NULL
    ) STRICT;

    CREATE TABLE message (
        number INTEGER PRIMARY KEY,
        queue TEXT NOT NULL,
        id TEXT NOT NULL,
        due_ms INTEGER NOT NULL,
        leased INTEGER NOT NULL DEFAULT 0,
        lease INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        body BLOB NOT NULL,
        UNIQUE (queue, id)
    ) STRICT;
    CREATE INDEX message_due ON message (queue, due_ms);
    CREATE INDEX message_leased ON message (queue, due_ms) WHERE leased = 1;

    CREATE TABLE buried (
        number INTEGER PRIMARY KEY,
        queue TEXT NOT NULL,
        id TEXT NOT NULL,
        lease INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        buried_ms INTEGER NOT NULL,
        why TEXT NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (queue, id)
    ) STRICT;
    CREATE INDEX buried_queue ON buried (queue);

    CREATE TABLE stream (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        entries INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL DEFAULT 0,
        last_seq INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY,
        stream INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX entry_time ON entry (stream, time_ms);
    CREATE INDEX entry_stream ON entry (stream);
    CREATE TABLE dropped (stream INTEGER PRIMARY KEY) STRICT;
";

/// `done` are messages that must not be pushed again until then. `message` is a digest of queue and id: there may be
/// millions, and nobody asks for their names.
const FORMAT_2: &str = "
    CREATE TABLE done (message BLOB PRIMARY KEY, until_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX done_until ON done (until_ms);
";

/// Opens the file for writing, brings it to the present format, and tells the last number used.
pub(super) fn open(path: &Path) -> Result<(Connection, u64)> {
    let opened = open_writer(path).and_then(|mut connection| {
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found <= known() {
            evolve(&mut connection, found)?;
        }
        Ok((connection, found))
    });
    let (connection, found) = opened.map_err(|error| failure(path, &error))?;
    if !(0..=known()).contains(&found) {
        let dir = path.parent().unwrap_or(path).to_owned();
        return Err(Error::TooNew {
            dir,
            found,
            known: known(),
        });
    }
    let last = start(&connection).map_err(|error| failure(path, &error))?;
    Ok((connection, from_sql(last)))
}

/// Opens the file for reading.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// What is damaged, in the engine's words.
pub(super) fn check(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let found: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // FULL syncs the log at every commit; NORMAL, the usual choice with WAL, may lose the last commits with the
    // power. The size limit gives back the space of a log that a burst made large.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 4000;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -16384;
         PRAGMA temp_store = MEMORY;",
    )?;
    Ok(connection)
}

fn evolve(connection: &mut Connection, found: i64) -> rusqlite::Result<()> {
    let taken = usize::try_from(found).unwrap_or(usize::MAX);
    for (step, number) in STEPS.iter().zip(1i64..).skip(taken) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Gives back what the last process was working on: nobody else can be, as the folder is locked.
fn start(connection: &Connection) -> rusqlite::Result<i64> {
    connection.execute(
        "UPDATE message SET leased = 0, due_ms = 0 WHERE leased = 1",
        [],
    )?;
    connection.query_row("SELECT last FROM counter", [], |row| row.get(0))
}

fn known() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}
