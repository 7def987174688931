//! `kill -9` at a random moment under load, again and again: what was acknowledged is there, what was not is there
//! or not but never in part, and the files are sound.
//!
//! The test runs itself as the process to kill. That one says on its output what it is about to do and what was
//! acknowledged; the parent reads along, kills, opens the store and compares.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use store::{Before, Digest, Direction, Error, Expect, SCAN_ENTRIES_MAX, Span, Store};

const ROUNDS: u32 = 220;
/// The most lines that a round reads before it kills.
const LINES_MAX: u64 = 250;
/// Rounds after which the store is emptied, so that checking stays quick.
const EMPTIED_EVERY: u32 = 10;
const WRITERS: u32 = 4;
const STREAMS: u32 = 2;
const BATCH: i64 = 25;
const CHILD_DIR: &str = "STORE_KILL_TEST_DIR";
const CHILD_ROUND: &str = "STORE_KILL_TEST_ROUND";

#[test]
fn acknowledged_writes_survive_kill_9() {
    let seed = u64::from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .subsec_nanos(),
    );
    println!("seed {seed}");
    let mut dice = seed;
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut expected = Expected::default();
    for round in 1..=ROUNDS {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        run_and_kill(dir.path(), round, (dice >> 33) % LINES_MAX, &mut expected);
        runtime.block_on(check(dir.path(), round, &mut expected));
    }
    // Otherwise this test tested nothing.
    assert!(
        expected.acknowledged > 1000,
        "only {} writes",
        expected.acknowledged
    );
    println!(
        "{} acknowledged writes in {ROUNDS} rounds",
        expected.acknowledged
    );
}

/// Not a test: the process to kill.
#[test]
fn child() {
    let (Ok(dir), Ok(round)) = (std::env::var(CHILD_DIR), std::env::var(CHILD_ROUND)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(load(Path::new(&dir), &round));
}

#[test]
fn a_second_process_is_told_who_has_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = spawn(dir.path(), 1);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Whoever acknowledges has the store open.
    assert!(lines.any(|line| line.unwrap().starts_with("ok ")));
    let error = Store::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Locked { holder: Some(pid), .. } if *pid == child.id()),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .ends_with(&format!("(process {})", child.id())),
        "{error}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    Store::open(dir.path()).unwrap();
}

/// What the parent knows from the lines it read. A value is `true` once acknowledged, `false` while under way.
#[derive(Default)]
struct Expected {
    acknowledged: u64,
    counters: BTreeMap<String, u64>,
    pushed: BTreeMap<String, bool>,
    acked: BTreeMap<String, bool>,
    buried: BTreeMap<String, bool>,
    batches: BTreeMap<String, u64>,
    blobs: BTreeSet<Digest>,
}

impl Expected {
    fn read(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let ([what @ ("try" | "ok"), kind, name] | [what @ ("try" | "ok"), kind, name, _]) =
            words[..]
        else {
            return;
        };
        let ok = what == "ok";
        self.acknowledged += u64::from(ok);
        let name = name.to_owned();
        let number = || words[3].parse::<u64>().unwrap();
        match kind {
            "put" if ok => drop(self.counters.insert(name, number())),
            "append" if ok => drop(self.batches.insert(name, number())),
            "blob" if ok => drop(self.blobs.insert(name.parse().unwrap())),
            "push" => drop(self.pushed.insert(name, ok)),
            "ack" => drop(self.acked.insert(name, ok)),
            "bury" => drop(self.buried.insert(name, ok)),
            _ => panic!("{line}"),
        }
    }
}

fn spawn(dir: &Path, round: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .env(CHILD_ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn run_and_kill(dir: &Path, round: u32, lines: u64, expected: &mut Expected) {
    let mut child = spawn(dir, round);
    let mut output = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
    for _ in 0..lines {
        let line = output
            .next()
            .expect("the child works until it is killed")
            .unwrap();
        expected.read(&String::from_utf8(line).unwrap());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for line in output {
        expected.read(&String::from_utf8(line.unwrap()).unwrap());
    }
}

// The process to kill.

fn say(line: &str) {
    // One write for each line, so that none is cut. The parent reads until the end.
    std::io::stdout()
        .lock()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

async fn load(dir: &Path, round: &str) {
    // The harness has begun a line of its own.
    say("");
    let store = Store::open(dir).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..WRITERS {
        tasks.spawn(count(store.clone(), format!("counter{n}")));
        tasks.spawn(push(store.clone(), format!("{round}/{n}")));
    }
    for n in 0..STREAMS {
        tasks.spawn(append(store.clone(), format!("stream{n}")));
        tasks.spawn(work(store.clone()));
    }
    tasks.spawn(put_blobs(store.clone(), round.to_owned()));
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

async fn count(store: Store, key: String) {
    let entry = store.kv.get(&key).await.unwrap();
    let (mut expect, mut number) = entry.map_or((Expect::Absent, 0), |entry| {
        (Expect::Revision(entry.revision), parse(&entry.value))
    });
    loop {
        number += 1;
        let value = Bytes::from(number.to_string());
        // Of every other counter the same is written beside it, in one step.
        let put = match beside(&key) {
            Some(other) => {
                let with = (other.as_str(), value.clone());
                store.kv.put_with(&key, value, expect, with).await
            }
            None => store.kv.put(&key, value, expect).await,
        };
        let revision = put.unwrap();
        say(&format!("ok put {key} {number}"));
        expect = Expect::Revision(revision);
    }
}

fn beside(key: &str) -> Option<String> {
    let odd = key.ends_with(['1', '3', '5', '7', '9']);
    odd.then(|| format!("beside/{key}"))
}

async fn push(store: Store, writer: String) {
    for n in 0.. {
        let id = format!("{writer}/{n}");
        say(&format!("try push {id}"));
        assert!(
            store
                .queues
                .push("q", &id, 0, id.clone().into())
                .await
                .unwrap()
        );
        say(&format!("ok push {id}"));
    }
}

async fn work(store: Store) {
    for n in 0u64.. {
        store.queues.ready("q").await.unwrap();
        for message in store
            .queues
            .lease("q", 5, Duration::from_secs(600))
            .await
            .unwrap()
        {
            let (kind, id) = (
                if n.is_multiple_of(5) { "bury" } else { "ack" },
                &message.id,
            );
            say(&format!("try {kind} {id}"));
            match kind {
                "bury" => store.queues.bury(&message.token, "a test").await.unwrap(),
                _ => store.queues.ack(&message.token).await.unwrap(),
            }
            say(&format!("ok {kind} {id}"));
        }
    }
}

async fn append(store: Store, stream: String) {
    let info = store.journal.info(&stream).await.unwrap();
    let mut batches = info.map_or(0, |info| info.entries / BATCH.unsigned_abs());
    loop {
        let entries = (0..BATCH)
            .map(|n| (n, format!("{batches}").into()))
            .collect();
        store.journal.append(&stream, entries).await.unwrap();
        batches += 1;
        say(&format!("ok append {stream} {batches}"));
    }
}

async fn put_blobs(store: Store, round: String) {
    for n in 0usize.. {
        let content = format!("{round}/{n} ").repeat(1 + n * 997 % 5000);
        let digest = store.blobs.put(content.into()).await.unwrap();
        say(&format!("ok blob {digest}"));
    }
}

fn parse(value: &Bytes) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

// What the parent finds.

async fn check(dir: &Path, round: u32, expected: &mut Expected) {
    let store = Store::open(dir).unwrap();
    assert_eq!(store.check().await.unwrap(), [""; 0]);
    check_counters(&store, expected).await;
    check_queue(&store, expected).await;
    check_streams(&store, expected).await;
    check_blobs(&store, expected).await;
    if round.is_multiple_of(EMPTIED_EVERY) {
        empty(&store, expected).await;
    }
    store.close().await;
}

async fn check_counters(store: &Store, expected: &mut Expected) {
    for n in 0..WRITERS {
        let key = format!("counter{n}");
        let acknowledged = expected.counters.get(&key).copied().unwrap_or(0);
        let found = store
            .kv
            .get(&key)
            .await
            .unwrap()
            .map_or(0, |entry| parse(&entry.value));
        assert!(
            (acknowledged..=acknowledged + 1).contains(&found),
            "{key}: {found}, {acknowledged} acknowledged"
        );
        if let Some(other) = beside(&key) {
            let other = store.kv.get(&other).await.unwrap();
            let other = other.map_or(0, |entry| parse(&entry.value));
            assert_eq!(other, found, "{key} was written in part");
        }
        expected.counters.insert(key, found);
    }
}

async fn check_queue(store: &Store, expected: &mut Expected) {
    let mut live = BTreeSet::new();
    loop {
        let leased = store
            .queues
            .lease("q", 1000, Duration::from_secs(600))
            .await
            .unwrap();
        if leased.is_empty() {
            break;
        }
        live.extend(
            leased
                .into_iter()
                .inspect(|message| assert_eq!(message.id, message.body))
                .map(|message| message.id),
        );
    }
    let buried = store
        .queues
        .buried("q", None, SCAN_ENTRIES_MAX)
        .await
        .unwrap();
    let buried: BTreeSet<String> = buried.into_iter().map(|message| message.id).collect();
    for (id, pushed) in &expected.pushed {
        let places = usize::from(live.contains(id)) + usize::from(buried.contains(id));
        match (expected.acked.get(id), expected.buried.get(id)) {
            (Some(true), None) => assert_eq!(places, 0, "{id} was acknowledged and came back"),
            (Some(false), None) => assert!(places <= 1 && !buried.contains(id), "{id}"),
            (None, Some(true)) => assert!(
                buried.contains(id) && places == 1,
                "{id} was buried and is not"
            ),
            (None, Some(false)) => assert_eq!(places, 1, "{id} was neither lost nor doubled"),
            (None, None) if *pushed => assert!(
                live.contains(id) && places == 1,
                "{id} was pushed and is not there"
            ),
            (None, None) => assert!(!buried.contains(id), "{id}"),
            // Under way as one thing when the process was killed, and as the other in a later life.
            (Some(_), Some(_)) => assert!(places <= 1, "{id}"),
        }
    }
    assert!(
        live.union(&buried)
            .all(|id| expected.pushed.contains_key(id))
    );
    // What was under way is settled now, and the next life may take it up again.
    expected.pushed = live.union(&buried).map(|id| (id.clone(), true)).collect();
    expected.acked.clear();
    expected.buried = buried.into_iter().map(|id| (id, true)).collect();
}

async fn check_streams(store: &Store, expected: &mut Expected) {
    for n in 0..STREAMS {
        let stream = format!("stream{n}");
        let acknowledged = expected.batches.get(&stream).copied().unwrap_or(0);
        let mut seen: Vec<(i64, u64)> = Vec::new();
        let mut from = 0;
        loop {
            let page = store
                .journal
                .read(&stream, Span::since(from), 1000, Direction::Forward)
                .await
                .unwrap();
            seen.extend(
                page.entries
                    .iter()
                    .map(|entry| (entry.time_ms, parse(&entry.body))),
            );
            from = page.entries.last().map_or(0, |entry| entry.seq + 1);
            if !page.more {
                break;
            }
        }
        let found = seen.len() as u64 / BATCH.unsigned_abs();
        assert!(
            (acknowledged..=acknowledged + 1).contains(&found),
            "{stream}: {found}, {acknowledged} acknowledged"
        );
        let whole = (0..found).flat_map(|batch| (0..BATCH).map(move |n| (n, batch)));
        assert!(
            seen.iter().copied().eq(whole),
            "{stream} has a batch in part"
        );
        let info = store.journal.info(&stream).await.unwrap();
        assert_eq!(info.map_or(0, |info| info.entries), seen.len() as u64);
        expected.batches.insert(stream, found);
    }
}

async fn check_blobs(store: &Store, expected: &Expected) {
    let found = store.blobs.list(None, SCAN_ENTRIES_MAX).await.unwrap();
    for blob in &found {
        let content = store.blobs.get(&blob.digest, None).await.unwrap().unwrap();
        assert_eq!(Digest::of(&content), blob.digest, "a blob is not whole");
    }
    let found: BTreeSet<Digest> = found.into_iter().map(|blob| blob.digest).collect();
    assert!(expected.blobs.is_subset(&found), "a blob is gone");
}

/// Leaves little for the next rounds to check, by the operations that remove.
async fn empty(store: &Store, expected: &mut Expected) {
    store.queues.purge("q").await.unwrap();
    store.journal.drop_stream("stream0").await.unwrap();
    store
        .journal
        .trim("stream1", Before::Time(i64::MAX))
        .await
        .unwrap();
    store.journal.drop_stream("stream1").await.unwrap();
    for blob in store.blobs.list(None, SCAN_ENTRIES_MAX).await.unwrap() {
        store.blobs.delete(&blob.digest).await.unwrap();
    }
    let counters = std::mem::take(&mut expected.counters);
    *expected = Expected {
        acknowledged: expected.acknowledged,
        counters,
        ..Expected::default()
    };
}
