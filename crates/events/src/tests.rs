//! Every accepted event reaches every target of the rules that it matches, once in all that the recipient can tell, while
//! answers are lost, leases end early and the store crashes: by seed, in memory.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use delivery::{Courier, Delivery, Outbox, Recipient, Refusal, Sender};
use store::sim::{Faults, Sim};
use store::{Clock, ManualClock, Store};
use wire::{AccountId, Arn, Ask, Authorizer, Context, Region, Scope};

use crate::names::BusRef;
use crate::record::{RuleRecord, TargetRecord, rule_key};
use crate::shelf::Edit;
use crate::{Agenda, Authority, Error, Events, Meter, NewEvent, Unit, Vault};

const SEEDS: std::ops::Range<u64> = 0..40;
const EVENTS: usize = 12;

fn scope() -> Scope {
    Scope {
        account: AccountId::new("123456789012").unwrap(),
        region: Region::new("eu-central-1").unwrap(),
    }
}

/// Lets everyone do everything, and counts nothing.
struct Anything;

impl Authorizer for Anything {
    fn authorize(&self, _: &Context, _: &Ask<'_>) -> Result<(), String> {
        Ok(())
    }
}

impl Authority for Anything {
    fn check_policy(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn may_deliver(&self, _: &Sender, _: AccountId, _: &Scope, _: &Ask<'_>) -> Result<(), String> {
        Ok(())
    }
}

impl Vault for Anything {
    fn seal(&self, _: &str, plain: &[u8]) -> Option<Vec<u8>> {
        Some(plain.to_vec())
    }
    fn open(&self, _: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        Some(sealed.to_vec())
    }
}

impl Meter for Anything {
    fn put(&self, _: &Scope, _: &'static str, _: &[(&'static str, &str)], _: Unit, _: f64, _: i64) {
    }
}

/// Keeps the ids of what it gets.
#[derive(Default)]
struct Inbox(Mutex<Vec<String>>);

#[async_trait]
impl Recipient for Inbox {
    fn takes(&self, _: &Arn) -> bool {
        true
    }
    async fn receive(&self, delivery: &Delivery) -> Result<(), Refusal> {
        self.0.lock().unwrap().push(delivery.id.clone());
        Ok(())
    }
}

/// One life of the server between two crashes.
struct Life {
    events: Events,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

async fn begin(store: &Store, inbox: &Arc<Inbox>) -> Life {
    let outbox = Outbox::open(store);
    let agenda = Arc::new(Agenda::new(Arc::clone(&store.clock)));
    let (events, workers) = loop {
        let opened = Events::open(
            store,
            outbox.clone(),
            Arc::new(Anything),
            Arc::new(Anything),
            Arc::new(Anything),
            &agenda,
        );
        if let Ok(opened) = opened.await {
            break opened;
        }
    };
    let courier = Courier::new(&outbox, vec![Arc::clone(inbox) as _], Vec::new());
    let mut tasks = vec![tokio::spawn(courier.run())];
    tasks.extend(workers.into_iter().map(|worker| tokio::spawn(worker.run)));
    Life { events, tasks }
}

impl Life {
    fn end(self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }

    /// Makes a rule with two targets that matches the source `shop`.
    async fn put_rule(&self, name: &str) {
        let bus = BusRef::default_in(&scope());
        let target = |id: &str| TargetRecord {
            id: id.to_owned(),
            arn: Arn::function(&scope(), id, None).to_string(),
            role: None,
            input: Default::default(),
            attempts_max: None,
            age_max_seconds: None,
            dead_letter: None,
            http: None,
            message_group: None,
            partition_key_path: None,
        };
        let record = RuleRecord {
            pattern: Some(r#"{"source": ["shop"]}"#.to_owned()),
            schedule: None,
            scheduled_ms: 0,
            progress: Default::default(),
            state: "ENABLED".to_owned(),
            description: None,
            role: None,
            created_by: "123456789012".to_owned(),
            tags: Default::default(),
            targets: vec![target("a"), target("b")],
        };
        let put = |_: Option<&RuleRecord>| Ok(Edit::Put(record.clone(), ()));
        while let Err(error) = self
            .events
            .inner
            .rules
            .change(&rule_key(&bus, name), put)
            .await
        {
            assert!(matches!(error, Error::Internal(_)), "{error}");
        }
    }

    /// Puts until it is acknowledged, as a client does that gets a failure.
    async fn put(&self, id: &str, source: &str, now_ms: i64) {
        let event = NewEvent {
            id,
            source,
            detail_type: "test",
            at: &scope(),
            time_ms: now_ms,
            resources: &[],
            detail: "{}",
        };
        while self.events.put(&event).await.is_err() {}
    }
}

/// Lets time pass, also that of those who wait after a failure of the store.
async fn turns(clock: &ManualClock, count: u64) {
    for _ in 0..count {
        tokio::time::sleep(Duration::from_millis(100)).await;
        clock.advance(Duration::from_millis(100));
    }
}

/// An archived event is replayed to every target once in all that the recipient can tell, and only to the rules that the
/// replay is kept to, while everything fails and the server crashes in the middle.
#[test]
fn every_archived_event_is_replayed_through_faults_and_crashes() {
    for seed in SEEDS {
        println!("seed {seed}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(one_replay(seed));
    }
}

async fn one_replay(seed: u64) {
    let (sim, clock) = Sim::new(seed, Faults::ALL);
    let inbox = Arc::new(Inbox::default());
    let mut life = begin(&sim.store(), &inbox).await;
    life.put_rule("r").await;
    life.put_rule("other").await;
    let bus = BusRef::default_in(&scope());
    until_done(async || {
        crate::archive::make(&life.events, &bus, "all", r#"{"detail-type":["test"]}"#).await
    })
    .await;
    for n in 0..EVENTS {
        life.put(&format!("event-{n}"), "shop", clock.now_ms())
            .await;
    }
    for _ in 0..2000 {
        if crate::archive::kept(&life.events, &scope(), "all").await == EVENTS {
            break;
        }
        turns(&clock, 20).await;
    }
    turns(&clock, 1).await;
    let until_ms = clock.now_ms();
    until_done(async || {
        let filters = vec![bus.rule_arn("r").to_string()];
        crate::replay::begin(&life.events, &bus, "all", "again", filters, (0, until_ms)).await
    })
    .await;
    let expected: BTreeSet<String> = (0..EVENTS)
        .flat_map(|n| ["a", "b"].map(|target| (n, target)))
        .map(|(n, target)| {
            let rule = bus.rule_arn("r");
            format!("event-{n}@again/{until_ms}>{rule}>{target}")
        })
        .collect();
    let got = || -> BTreeSet<String> {
        let all = inbox.0.lock().unwrap();
        all.iter()
            .filter(|id| id.contains("@again/"))
            .cloned()
            .collect()
    };
    for round in 0..2000 {
        if got() == expected {
            break;
        }
        turns(&clock, 20).await;
        // Now and then again, because what waits after a failure may wait for a time that stands still here.
        if round % 7 == seed % 7 && round < 30 || round % 50 == 49 {
            life.end();
            life = begin(&sim.crash(), &inbox).await;
        }
    }
    assert_eq!(got(), expected);
    life.end();
}

/// Tries until it works: what was half done before is done again.
async fn until_done(attempt: impl AsyncFn() -> Result<(), Error>) {
    while let Err(error) = attempt().await {
        match error {
            // It was written, and the answer was lost.
            Error::Exists { .. } => return,
            Error::Internal(_) => {}
            error => panic!("{error}"),
        }
    }
}

#[test]
fn every_accepted_event_reaches_its_targets_through_faults_and_crashes() {
    for seed in SEEDS {
        // The test prints the output of a failure only, and so the seed.
        println!("seed {seed}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(one_world(seed));
    }
}

async fn one_world(seed: u64) {
    let (sim, clock) = Sim::new(seed, Faults::ALL);
    let inbox = Arc::new(Inbox::default());
    let mut life = begin(&sim.store(), &inbox).await;
    life.put_rule("r").await;
    for n in 0..EVENTS {
        life.put(&format!("event-{n}"), "shop", clock.now_ms())
            .await;
        life.put(&format!("other-{n}"), "elsewhere", clock.now_ms())
            .await;
        if n % 4 == 3 {
            turns(&clock, (seed * 7 + n as u64 * 13) % 60).await;
            life.end();
            life = begin(&sim.crash(), &inbox).await;
        }
    }
    let expected: BTreeSet<String> = (0..EVENTS)
        .flat_map(|n| ["a", "b"].map(|target| (n, target)))
        .map(|(n, target)| {
            let rule = Arn::rule(&scope(), "default", "r");
            format!("event-{n}>{rule}>{target}")
        })
        .collect();
    let got = || -> BTreeSet<String> { inbox.0.lock().unwrap().iter().cloned().collect() };
    for _ in 0..2000 {
        if got() == expected {
            break;
        }
        turns(&clock, 20).await;
    }
    assert_eq!(got(), expected);
    life.end();
}
