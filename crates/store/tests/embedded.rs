//! What only the embedded backend has: a folder, a lock, files that may be damaged.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use store::{Digest, Direction, Error, Expect, Span, Store};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn paths_under(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            paths.extend(paths_under(&path));
        }
        paths.push(path);
    }
    paths
}

async fn fill(store: &Store) -> Digest {
    store.kv.put("k", "v".into(), Expect::Any).await.unwrap();
    store
        .queues
        .push("q", "id", 0, "body".into())
        .await
        .unwrap();
    store
        .journal
        .append("s", vec![(0, "line".into())])
        .await
        .unwrap();
    store.blobs.put("blob".into()).await.unwrap()
}

#[tokio::test]
async fn only_the_owner_reads_the_folder() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/b");
    let store = Store::open(&dir).unwrap();
    fill(&store).await;
    assert_eq!(mode(&dir), 0o700);
    let paths = paths_under(&dir);
    assert!(paths.len() > 5);
    for path in paths {
        assert_eq!(
            mode(&path),
            if path.is_dir() { 0o700 } else { 0o600 },
            "{}",
            path.display()
        );
    }
}

#[tokio::test]
async fn an_empty_folder_is_closed_to_others_and_a_shared_one_is_left_alone() {
    let empty = tempfile::tempdir().unwrap();
    fs::set_permissions(empty.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let _store = Store::open(empty.path()).unwrap();
    assert_eq!(mode(empty.path()), 0o700);
    let shared = tempfile::tempdir().unwrap();
    fs::write(shared.path().join("somebody's file"), "").unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let _store = Store::open(shared.path()).unwrap();
    assert_eq!(mode(shared.path()), 0o755);
    assert_eq!(mode(&shared.path().join("mayfly.db")), 0o600);
}

#[tokio::test]
async fn one_store_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let error =
        Store::open(&dir.path().join("../").join(dir.path().file_name().unwrap())).unwrap_err();
    assert!(
        matches!(&error, Error::Locked { holder: Some(pid), .. } if *pid == std::process::id()),
        "{error}"
    );
    first.close().await;
    let second = Store::open(dir.path()).unwrap();
    assert!(Store::open(dir.path()).is_err());
    drop(first);
    assert!(Store::open(dir.path()).is_err());
    // A store that is not closed but dropped is free at once, too.
    drop(second);
    Store::open(dir.path()).unwrap();
}

#[tokio::test]
async fn a_closed_store_is_one_file_and_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    fill(&store).await;
    store.close().await;
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["blobs", "lock", "mayfly.db", "objects"]);
}

#[tokio::test]
async fn damaged_and_foreign_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mayfly.db");
    fs::write(
        &file,
        "this is not a database, however long one looks at it".repeat(100),
    )
    .unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { path, .. } if path.ends_with("mayfly.db")),
        "{error}"
    );
    // The lock was given back.
    fs::remove_file(&file).unwrap();
    let store = Store::open(dir.path()).unwrap();
    fill(&store).await;
    store.close().await;
    // The format is a number in the header of the file, at byte 60.
    let mut bytes = fs::read(&file).unwrap();
    bytes[60..64].copy_from_slice(&99u32.to_be_bytes());
    fs::write(&file, bytes).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::TooNew { found: 99, .. }), "{error}");
    let not_a_folder = dir.path().join("mayfly.db");
    assert!(matches!(Store::open(&not_a_folder), Err(Error::Io { .. })));
}

#[tokio::test]
async fn a_damaged_page_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for n in 0..200 {
        store
            .kv
            .put(&format!("k{n}"), vec![7; 300].into(), Expect::Absent)
            .await
            .unwrap();
    }
    store.close().await;
    let file = dir.path().join("mayfly.db");
    let mut bytes = fs::read(&file).unwrap();
    let page = bytes.len() - 4096;
    bytes[page..page + 200].fill(0xee);
    fs::write(&file, bytes).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let found = store.check().await;
    assert!(
        matches!(&found, Err(Error::Corrupt { .. }))
            || found.as_ref().is_ok_and(|found| !found.is_empty()),
        "{found:?}"
    );
}

#[tokio::test]
async fn what_a_crash_left_unfinished_is_removed_and_strangers_are_no_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = fill(&store).await;
    store.close().await;
    let blobs = dir.path().join("blobs");
    fs::write(blobs.join("unfinished/7"), "half a blo").unwrap();
    fs::write(blobs.join(&digest.to_hex()[..2]).join("README"), "hello").unwrap();
    fs::create_dir(blobs.join("zz")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(fs::read_dir(blobs.join("unfinished")).unwrap().count(), 0);
    let listed = store.blobs.list(None, 10).await.unwrap();
    assert_eq!(
        listed.iter().map(|blob| blob.digest).collect::<Vec<_>>(),
        [digest]
    );
}

#[tokio::test]
async fn writes_at_once_share_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let keys: Vec<String> = (0..500).map(|n| format!("k{n}")).collect();
    let writes = keys
        .iter()
        .map(|key| store.kv.put(key, "v".into(), Expect::Absent));
    assert!(
        join_all(writes)
            .await
            .into_iter()
            .all(|written| written.is_ok())
    );
    let stats = store.stats();
    assert_eq!((stats.writes, stats.failed), (500, 0));
    assert!(stats.commits < 250 && stats.largest_group > 2, "{stats:?}");
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_its_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let write = store.kv.put("k", "v".into(), Expect::Any);
    // Asked once, it is handed in; then nobody waits for it any more.
    assert!(write.now_or_never().is_none());
    store
        .kv
        .put("later", "v".into(), Expect::Any)
        .await
        .unwrap();
    assert!(store.kv.get("k").await.unwrap().is_some());
}

#[tokio::test]
async fn a_dropped_stream_is_swept_away_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for _ in 0..3 {
        let entries = (0..10_000)
            .map(|n| (n, "a line that is not very long".into()))
            .collect();
        store.journal.append("s", entries).await.unwrap();
    }
    store.journal.drop_stream("s").await.unwrap();
    assert!(
        store
            .journal
            .read("s", Span::all(), 1, Direction::Forward)
            .await
            .unwrap()
            .entries
            .is_empty()
    );
    // Closing waits for writes, not for the sweep: the next life goes on with it.
    store.close().await;
    let store = Store::open(dir.path()).unwrap();
    while rows(dir.path(), "entry") + rows(dir.path(), "dropped") > 0 {
        store.queues.lease("q", 1, Duration::ZERO).await.unwrap();
    }
    assert_eq!(store.check().await.unwrap(), [""; 0]);
}

/// Looks into the file, as anyone may.
fn rows(dir: &Path, table: &str) -> i64 {
    let connection = rusqlite::Connection::open(dir.join("mayfly.db")).unwrap();
    connection
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            row.get(0)
        })
        .unwrap()
}
