//! Promises that must hold while answers are lost, leases end early and the store crashes: by seed, in memory.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use store::sim::{Faults, Sim};
use store::{Direction, Error, Expect, ManualClock, Span, Store};

const SEEDS: std::ops::Range<u64> = 0..150;
const LEASE: Duration = Duration::from_secs(30);

fn run(test: impl AsyncFn(u64)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for seed in SEEDS {
        // The test prints the output of a failure only, and so the seed.
        println!("seed {seed}");
        runtime.block_on(test(seed));
    }
}

/// Does it until an answer comes back.
async fn insist<T>(mut call: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    loop {
        match call().await {
            Err(Error::Unknown) => {}
            answer => return answer,
        }
    }
}

/// Adds a name to a list in one record, once, whatever happens to the answers.
async fn sign(store: &Store, name: &str) -> Result<(), Error> {
    loop {
        let entry = insist(async || store.kv.get("list").await).await?;
        let (list, expect) = entry.map_or((String::new(), Expect::Absent), |entry| {
            (
                String::from_utf8(entry.value.to_vec()).unwrap(),
                Expect::Revision(entry.revision),
            )
        });
        if list.split_whitespace().any(|signed| signed == name) {
            return Ok(());
        }
        match store
            .kv
            .put("list", format!("{list} {name}").into(), expect)
            .await
        {
            Ok(_) => return Ok(()),
            Err(Error::Conflict { .. } | Error::Unknown) => {}
            Err(error) => return Err(error),
        }
    }
}

#[test]
fn compare_and_swap_loses_and_doubles_nothing() {
    run(async |seed| {
        let (sim, _clock) = Sim::new(seed, Faults::ALL);
        let store = sim.store();
        let names: Vec<String> = (0..12).map(|n| format!("n{n}")).collect();
        let signed = join_all(names.iter().map(|name| sign(&store, name))).await;
        assert!(signed.into_iter().all(|signed| signed.is_ok()));
        let entry = insist(async || store.kv.get("list").await)
            .await
            .unwrap()
            .unwrap();
        let list = String::from_utf8(entry.value.to_vec()).unwrap();
        let mut list: Vec<&str> = list.split_whitespace().collect();
        list.sort_unstable();
        let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
        all.sort_unstable();
        assert_eq!(list, all);
    });
}

#[test]
fn concurrent_writes_are_reordered_and_answers_are_lost() {
    let orders: Arc<Mutex<BTreeSet<Vec<String>>>> = Arc::default();
    run(async |seed| {
        let (sim, _clock) = Sim::new(seed, Faults::DELAYS);
        let store = sim.store();
        let appends =
            (0..4).map(|n: u8| store.journal.append("s", vec![(0, vec![b'0' + n].into())]));
        assert!(
            join_all(appends)
                .await
                .into_iter()
                .all(|appended| appended.is_ok())
        );
        let page = store
            .journal
            .read("s", Span::since(0), 10, Direction::Forward)
            .await
            .unwrap();
        let order = page
            .entries
            .iter()
            .map(|entry| String::from_utf8(entry.body.to_vec()).unwrap());
        orders.lock().unwrap().insert(order.collect());
    });
    assert!(orders.lock().unwrap().len() > 10);

    let outcomes: Arc<Mutex<BTreeSet<(bool, bool)>>> = Arc::default();
    run(async |seed| {
        let (sim, _clock) = Sim::new(seed, Faults::ALL);
        let answered = sim
            .store()
            .kv
            .put("k", "v".into(), Expect::Any)
            .await
            .is_ok();
        sim.set_faults(Faults::NONE);
        let happened = sim.store().kv.get("k").await.unwrap().is_some();
        outcomes.lock().unwrap().insert((answered, happened));
    });
    assert_eq!(
        outcomes.lock().unwrap().iter().copied().collect::<Vec<_>>(),
        [(false, false), (false, true), (true, true)]
    );
}

#[test]
fn the_same_seed_does_the_same() {
    run(async |seed| {
        let mut traces = Vec::new();
        for _ in 0..2 {
            let (sim, _clock) = Sim::new(seed, Faults::ALL);
            let store = sim.store();
            let writes = (0..20).map(|n: u32| {
                let store = &store;
                async move {
                    store
                        .kv
                        .put(&format!("k{}", n % 5), n.to_string().into(), Expect::Any)
                        .await
                }
            });
            let answers: Vec<_> = join_all(writes).await.into_iter().map(Result::ok).collect();
            sim.set_faults(Faults::NONE);
            traces.push((answers, store.kv.scan_all("").await.unwrap()));
        }
        assert_eq!(traces[0], traces[1]);
    });
}

/// What a set of workers did, as they know it.
#[derive(Default)]
struct Log {
    /// Done, and how often.
    done: BTreeMap<String, u32>,
    acknowledged: BTreeSet<String>,
}

/// Works the queue off until it is empty or the store is gone.
async fn work(store: &Store, clock: &ManualClock, log: &Mutex<Log>) -> Result<(), Error> {
    while insist(async || store.queues.depth("q").await).await?.live() > 0 {
        // What is acknowledged before a lease begins is not in it. The answer may be old when it comes.
        let acknowledged = log.lock().unwrap().acknowledged.clone();
        let leased = match store.queues.lease("q", 3, LEASE).await {
            Err(Error::Unknown) => continue,
            answer => answer?,
        };
        if leased.is_empty() {
            // A lost answer to a lease leaves the messages to nobody, until time passes.
            clock.advance(LEASE);
        }
        for message in leased {
            assert!(
                !acknowledged.contains(&message.id),
                "{} came back",
                message.id
            );
            *log.lock()
                .unwrap()
                .done
                .entry(message.id.clone())
                .or_default() += 1;
            match store.queues.ack(&message.token).await {
                Ok(()) => drop(log.lock().unwrap().acknowledged.insert(message.id)),
                Err(Error::Unknown | Error::LeaseLost { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[test]
fn every_message_is_worked_on_and_some_twice() {
    let twice = Mutex::new(0);
    run(async |seed| {
        let (sim, clock) = Sim::new(seed, Faults::ALL);
        let store = sim.store();
        for n in 0..15 {
            let id = format!("m{n}");
            insist(async || store.queues.push("q", &id, 0, id.clone().into()).await)
                .await
                .unwrap();
        }
        let log = Mutex::default();
        let workers = join_all((0..3).map(|_| work(&store, &clock, &log))).await;
        assert!(workers.into_iter().all(|worked| worked.is_ok()));
        let log = log.into_inner().unwrap();
        assert_eq!(log.done.len(), 15);
        *twice.lock().unwrap() += log.done.values().filter(|times| **times > 1).count();
    });
    assert!(*twice.lock().unwrap() > 100);
}

#[test]
fn a_crash_keeps_what_was_acknowledged() {
    let in_flight: Mutex<BTreeSet<bool>> = Mutex::default();
    run(async |seed| {
        let (sim, _clock) = Sim::new(seed, Faults::ALL);
        let kept: Mutex<Vec<(String, u64)>> = Mutex::default();
        let mut tried = 0;
        for life in 0..5u64 {
            let store = sim.store();
            let writes = (0..8).map(|n| {
                let (store, kept) = (&store, &kept);
                async move {
                    let key = format!("{life}-{n}");
                    if let Ok(revision) =
                        store.kv.put(&key, key.clone().into(), Expect::Absent).await
                    {
                        kept.lock().unwrap().push((key, revision));
                    }
                }
            });
            tried += 8;
            let crash = async {
                for _ in 0..(seed + life) % 9 {
                    tokio::task::yield_now().await;
                }
                drop(sim.crash());
            };
            tokio::join!(join_all(writes), crash);
            assert!(matches!(store.kv.get("k").await, Err(Error::Closed { .. })));
        }
        sim.set_faults(Faults::NONE);
        let store = sim.store();
        let found: BTreeMap<_, _> = store
            .kv
            .scan_all("")
            .await
            .unwrap()
            .into_iter()
            .map(|(key, entry)| (key, entry.revision))
            .collect();
        let kept = kept.into_inner().unwrap();
        assert!(
            kept.iter()
                .all(|(key, revision)| found.get(key) == Some(revision))
        );
        in_flight
            .lock()
            .unwrap()
            .extend([found.len() > kept.len(), found.len() == tried]);
    });
    // Of what was under way, crashes kept some and dropped some.
    assert_eq!(in_flight.into_inner().unwrap().len(), 2);
}

#[test]
fn workers_start_over_after_a_crash() {
    run(async |seed| {
        let (sim, clock) = Sim::new(
            seed,
            Faults {
                lost_before: 20,
                lost_after: 20,
                ..Faults::ALL
            },
        );
        let log = Mutex::default();
        let store = sim.store();
        for n in 0..10 {
            let id = format!("m{n}");
            insist(async || store.queues.push("q", &id, 0, id.clone().into()).await)
                .await
                .unwrap();
        }
        loop {
            let store = sim.store();
            let crash = async {
                for _ in 0..20 + seed % 40 {
                    tokio::task::yield_now().await;
                }
                drop(sim.crash());
            };
            let (worked, ()) = tokio::join!(work(&store, &clock, &log), crash);
            match worked {
                Ok(()) => break,
                Err(Error::Closed { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(log.into_inner().unwrap().done.len(), 10);
    });
}
