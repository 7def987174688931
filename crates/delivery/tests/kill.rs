//! `kill -9` at a random moment, again and again, while deliveries are put and made: each that was promised arrives.
//!
//! The test runs itself as the process to kill. That one says on its output which puts were acknowledged, and its
//! recipient writes down what it got.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use delivery::{Courier, Delivery, Outbox, Recipient, Refusal, RetryPolicy, Sender};
use store::{Clock, Store, SystemClock};
use wire::{AccountId, Arn, Region, Scope};

const ROUNDS: u64 = 40;
/// The most puts that a round acknowledges before it is killed.
const PUTS_MAX: u64 = 120;
const CHILD_DIR: &str = "DELIVERY_KILL_TEST_DIR";
const CHILD_ROUND: &str = "DELIVERY_KILL_TEST_ROUND";

#[test]
fn promised_deliveries_survive_kill_9() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = u64::from(seed.subsec_nanos());
    println!("seed {seed}");
    let mut dice = seed;
    let dir = tempfile::tempdir().unwrap();
    let mut promised = BTreeSet::new();
    for round in 0..ROUNDS {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        run_and_kill(dir.path(), round, (dice >> 33) % PUTS_MAX, &mut promised);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(finish(dir.path()));
    let mut received: BTreeMap<String, u32> = BTreeMap::new();
    for id in fs::read_to_string(dir.path().join("received"))
        .unwrap()
        .lines()
    {
        *received.entry(id.to_owned()).or_default() += 1;
    }
    let lost: Vec<&String> = promised
        .iter()
        .filter(|id| !received.contains_key(*id))
        .collect();
    assert!(lost.is_empty(), "lost {lost:?}");
    // Otherwise this test tested nothing.
    assert!(promised.len() > 500, "only {} promised", promised.len());
    let repeats: u32 = received.values().map(|times| times - 1).sum();
    println!(
        "{} promised, {ROUNDS} kills, {repeats} repeats",
        promised.len()
    );
    // A kill repeats what was under way: at most sixteen for each of four recipients.
    assert!(u64::from(repeats) <= ROUNDS * 64, "{repeats} repeats");
}

fn run_and_kill(dir: &Path, round: u64, puts: u64, promised: &mut BTreeSet<String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .env(CHILD_ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut note = |line: std::io::Result<String>| {
        let line = line.unwrap();
        line.strip_prefix("ok ")
            .map(|id| promised.insert(id.to_owned()))
            .is_some()
    };
    let mut seen = 0;
    while seen < puts {
        seen += u64::from(note(
            lines.next().expect("the child runs until it is killed"),
        ));
    }
    child.kill().unwrap();
    // What it said before it died counts too, but for a line that was cut off.
    for line in lines.map_while(Result::ok) {
        note(Ok(line));
    }
    child.wait().unwrap();
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
    runtime.block_on(async {
        let store = Store::open(Path::new(&dir)).unwrap();
        let outbox = start(&store, Path::new(&dir));
        for n in 0.. {
            let id = format!("{round}-{n}.");
            outbox.put(&delivery(&id, n)).await.unwrap();
            // In one write, so that no half of it is taken for another id.
            std::io::stdout()
                .write_all(format!("ok {id}\n").as_bytes())
                .unwrap();
        }
    });
}

/// Delivers what is left.
async fn finish(dir: &Path) {
    let store = Store::open(dir).unwrap();
    let outbox = start(&store, dir);
    while !store
        .queues
        .list("delivery/", None, 1)
        .await
        .unwrap()
        .is_empty()
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(outbox.stats().buried, 0);
}

fn start(store: &Store, dir: &Path) -> Outbox {
    let outbox = Outbox::open(store);
    let book = Arc::new(Book(dir.join("received")));
    tokio::spawn(Courier::new(&outbox, vec![book], Vec::new()).run());
    outbox
}

/// Writes down what it gets.
struct Book(PathBuf);

#[async_trait]
impl Recipient for Book {
    fn takes(&self, _: &Arn) -> bool {
        true
    }

    async fn receive(&self, delivery: &Delivery) -> Result<(), Refusal> {
        let failed =
            |error: std::io::Error| Refusal::transient("INTERNAL_ERROR", error.to_string());
        let mut book = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.0)
            .map_err(failed)?;
        book.write_all(format!("{}\n", delivery.id).as_bytes())
            .map_err(failed)
    }
}

fn delivery(id: &str, n: u64) -> Delivery {
    let scope = Scope {
        account: AccountId::new("123456789012").unwrap(),
        region: Region::new("eu-central-1").unwrap(),
    };
    Delivery {
        id: id.to_owned(),
        to: Arn::function(&scope, &format!("f{}", n % 4), None),
        from: Sender {
            service: "events.amazonaws.com".to_owned(),
            arn: Arn::regional("events", &scope, "rule/r"),
            role: None,
        },
        scope,
        payload: "{}".into(),
        parameters: BTreeMap::new(),
        retry: RetryPolicy::DEFAULT,
        dead_letter: None,
        trace_id: None,
        attempt_mark: None,
        accepted_ms: SystemClock.now_ms(),
    }
}
