//! Every delivery reaches its recipient, once in all that it can tell, while answers are lost, leases end early and the
//! store crashes: by seed, in memory.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use delivery::{
    Courier, Delivery, Error, Observer, Outbox, Outcome, REPEATS_MS, Recipient, Refusal,
    RetryPolicy, Sender,
};
use store::sim::{Faults, Sim};
use store::{Clock, ManualClock, Store};
use wire::{AccountId, Arn, Region, Scope};

const SEEDS: std::ops::Range<u64> = 0..60;

fn scope() -> Scope {
    Scope {
        account: AccountId::new("123456789012").unwrap(),
        region: Region::new("eu-central-1").unwrap(),
    }
}

fn arn(service: &str, name: &str) -> Arn {
    Arn::regional(service, &scope(), name)
}

fn delivery(id: &str, to: &Arn, accepted_ms: i64) -> Delivery {
    Delivery {
        id: id.to_owned(),
        scope: scope(),
        to: to.clone(),
        from: Sender {
            service: "events.amazonaws.com".to_owned(),
            arn: arn("events", "rule/r"),
            role: None,
        },
        payload: Bytes::from(format!("payload of {id}")),
        parameters: BTreeMap::from([("RULE_ARN".to_owned(), "r".to_owned())]),
        retry: RetryPolicy::DEFAULT,
        dead_letter: None,
        trace_id: Some("Root=1".to_owned()),
        attempt_mark: None,
        accepted_ms,
    }
}

/// A recipient that keeps what it gets, and answers as it is told.
#[derive(Default)]
struct Inbox {
    service: &'static str,
    got: Mutex<Vec<Delivery>>,
    /// What it answers to each id, in order, before it accepts.
    refusals: Mutex<BTreeMap<String, Vec<Refusal>>>,
    /// Never answers these.
    hangs: Option<Arn>,
}

impl Inbox {
    fn of(service: &'static str) -> Arc<Inbox> {
        Arc::new(Inbox {
            service,
            ..Inbox::default()
        })
    }

    fn refuse(&self, id: &str, refusals: impl IntoIterator<Item = Refusal>) {
        let mut all = self.refusals.lock().unwrap();
        all.insert(id.to_owned(), refusals.into_iter().collect());
    }

    fn times(&self, id: &str) -> usize {
        self.got
            .lock()
            .unwrap()
            .iter()
            .filter(|d| d.id == id)
            .count()
    }
}

#[async_trait]
impl Recipient for Inbox {
    fn takes(&self, to: &Arn) -> bool {
        to.service() == self.service
    }

    async fn receive(&self, delivery: &Delivery) -> Result<(), Refusal> {
        if self.hangs.as_ref() == Some(&delivery.to) {
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
        let refusal = match self.refusals.lock().unwrap().get_mut(&delivery.id) {
            Some(left) if !left.is_empty() => Some(left.remove(0)),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        self.got.lock().unwrap().push(delivery.clone());
        Ok(())
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<(String, Outcome)>>);

impl Observer for Log {
    fn saw(&self, delivery: &Delivery, outcome: &Outcome) {
        let seen = (delivery.id.clone(), outcome.clone());
        self.0.lock().unwrap().push(seen);
    }
}

fn run(test: impl AsyncFn(u64)) {
    for seed in SEEDS {
        // The test prints the output of a failure only, and so the seed.
        println!("seed {seed}");
        alone(test(seed));
    }
}

fn alone(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test);
}

fn courier(
    outbox: &Outbox,
    recipients: &[&Arc<Inbox>],
    log: &Arc<Log>,
) -> tokio::task::JoinHandle<()> {
    let recipients = recipients.iter().map(|one| Arc::clone(*one) as _).collect();
    tokio::spawn(Courier::new(outbox, recipients, vec![Arc::clone(log) as _]).run())
}

/// Puts until the answer is known.
async fn put(outbox: &Outbox, delivery: &Delivery) -> Result<(), Error> {
    loop {
        match outbox.put(delivery).await {
            Err(Error::Store(store::Error::Unknown)) => {}
            answer => return answer.map(drop),
        }
    }
}

/// Lets time pass until it is so.
async fn until(clock: &ManualClock, step: Duration, mut so: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if so() {
            return;
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        clock.advance(step);
    }
    panic!("it never came to be");
}

async fn is_empty(store: &Store) -> bool {
    matches!(store.queues.list("", None, 1).await, Ok(queues) if queues.is_empty())
}

#[test]
fn every_delivery_arrives_through_faults_and_crashes() {
    let (twice, crashes) = (Mutex::new(0), Mutex::new(0));
    run(async |seed| {
        let (sim, clock) = Sim::new(seed, Faults::ALL);
        let inbox = Inbox::of("lambda");
        let log = Arc::new(Log::default());
        let targets: Vec<Arn> = (0..4)
            .map(|n| arn("lambda", &format!("function:f{n}")))
            .collect();
        let all: Vec<Delivery> = (0..24)
            .map(|n| delivery(&format!("tick-{n}"), &targets[n % 4], clock.now_ms()))
            .collect();
        for one in all.iter().step_by(3) {
            inbox.refuse(&one.id, [Refusal::transient("THROTTLING", "slow down")]);
        }
        // Whoever puts does so again after each crash, as it never knows whether the last put was kept.
        let mut store = sim.store();
        for life in 0..4 {
            let outbox = Outbox::open(&store);
            let courier = courier(&outbox, &[&inbox], &log);
            for one in &all[..6 * (life + 1)] {
                put(&outbox, one).await.unwrap();
            }
            for _ in 0..(seed * 7 + life as u64 * 13) % 60 {
                tokio::task::yield_now().await;
                clock.advance(Duration::from_millis(100));
            }
            courier.abort();
            store = sim.crash();
            *crashes.lock().unwrap() += 1;
        }
        let outbox = Outbox::open(&store);
        let courier = courier(&outbox, &[&inbox], &log);
        for one in &all {
            put(&outbox, one).await.unwrap();
        }
        let arrived = || all.iter().all(|one| inbox.times(&one.id) > 0);
        until(&clock, Duration::from_secs(1), arrived).await;
        sim.set_faults(Faults::DELAYS);
        let mut turns = 0;
        while !is_empty(&store).await && turns < 10_000 {
            clock.advance(Duration::from_millis(100));
            turns += 1;
        }
        assert!(is_empty(&store).await);
        // Known to be delivered: a repeated put does nothing.
        let before = inbox.got.lock().unwrap().len();
        for one in &all {
            assert!(!outbox.put(one).await.unwrap(), "{}", one.id);
        }
        assert!(is_empty(&store).await);
        courier.abort();
        *twice.lock().unwrap() += before - all.len();
        let got = inbox.got.lock().unwrap();
        for one in got.iter() {
            assert!(all.contains(one));
        }
    });
    println!("{} repeats", twice.into_inner().unwrap());
    assert_eq!(crashes.into_inner().unwrap(), 4 * SEEDS.count());
}

#[test]
fn once_and_only_once_without_faults() {
    alone(async {
        let (sim, clock) = Sim::new(1, Faults::NONE);
        let (outbox, inbox, log) = (
            Outbox::open(&sim.store()),
            Inbox::of("lambda"),
            Arc::new(Log::default()),
        );
        let courier = courier(&outbox, &[&inbox], &log);
        let one = delivery("a", &arn("lambda", "function:f"), clock.now_ms());
        assert!(outbox.put(&one).await.unwrap());
        until(&clock, Duration::ZERO, || inbox.times("a") == 1).await;
        for _ in 0..3 {
            assert!(!outbox.put(&one).await.unwrap());
        }
        // The same id for someone else is another delivery.
        let other = delivery("a", &arn("lambda", "function:g"), clock.now_ms());
        assert!(outbox.put(&other).await.unwrap());
        until(&clock, Duration::ZERO, || inbox.times("a") == 2).await;
        // And for the first it is again, once it is forgotten.
        clock.advance(Duration::from_millis(REPEATS_MS.try_into().unwrap()));
        assert!(outbox.put(&one).await.unwrap());
        until(&clock, Duration::ZERO, || inbox.times("a") == 3).await;
        let stats = outbox.stats();
        assert_eq!((stats.accepted, stats.repeated, stats.delivered), (3, 3, 3));
        courier.abort();
    });
}

#[test]
fn what_fails_for_now_is_tried_with_growing_waits() {
    alone(async {
        let (sim, clock) = Sim::new(1, Faults::NONE);
        let (outbox, inbox, log) = (
            Outbox::open(&sim.store()),
            Inbox::of("lambda"),
            Arc::new(Log::default()),
        );
        let courier = courier(&outbox, &[&inbox], &log);
        let begun_ms = clock.now_ms();
        let refusal = Refusal::transient("THROTTLING", "slow down");
        inbox.refuse("a", vec![refusal.clone(); 1000]);
        outbox
            .put(&delivery("a", &arn("lambda", "function:f"), begun_ms))
            .await
            .unwrap();
        let ended = || matches!(log.0.lock().unwrap().last(), Some((_, Outcome::Buried(_))));
        until(&clock, Duration::from_secs(10), ended).await;
        courier.abort();
        let tries = log.0.lock().unwrap().len();
        let hours = (clock.now_ms() - begun_ms) / 3_600_000;
        // AWS's 185 attempts within a day, by the one limit or the other.
        assert!((170..=186).contains(&tries), "{tries}");
        assert!((22..=24).contains(&hours), "{hours}");
        let graves = outbox.graves(&scope().account, None, 10).await.unwrap();
        assert_eq!(
            (graves.len(), graves[0].why.as_str()),
            (1, "THROTTLING: slow down")
        );
    });
}

#[test]
fn each_attempt_may_say_its_number() {
    alone(async {
        let (sim, clock) = Sim::new(1, Faults::NONE);
        let (outbox, inbox, log) = (
            Outbox::open(&sim.store()),
            Inbox::of("lambda"),
            Arc::new(Log::default()),
        );
        let queue = Inbox::of("sqs");
        let courier = courier(&outbox, &[&inbox, &queue], &log);
        let refusal = || Refusal::transient("THROTTLING", "slow down");
        let of = |id: &str| Delivery {
            payload: Bytes::from("attempt <n> of <n>"),
            attempt_mark: Some("<n>".to_owned()),
            dead_letter: Some(arn("sqs", "dlq")),
            ..delivery(id, &arn("lambda", "function:f"), clock.now_ms())
        };
        inbox.refuse("third", [refusal(), refusal()]);
        inbox.refuse("never", [Refusal::permanent("NO_RESOURCE", "gone")]);
        outbox.put(&of("third")).await.unwrap();
        outbox.put(&of("never")).await.unwrap();
        until(&clock, Duration::from_secs(1), || {
            inbox.times("third") == 1 && queue.times("never>dead-letter") == 1
        })
        .await;
        courier.abort();
        assert_eq!(inbox.got.lock().unwrap()[0].payload, "attempt 3 of 3");
        assert_eq!(queue.got.lock().unwrap()[0].payload, "attempt 1 of 1");
    });
}

#[test]
fn limits_are_kept() {
    alone(async {
        let (sim, clock) = Sim::new(1, Faults::NONE);
        let (outbox, inbox, log) = (
            Outbox::open(&sim.store()),
            Inbox::of("lambda"),
            Arc::new(Log::default()),
        );
        let queue = Inbox::of("sqs");
        let courier = courier(&outbox, &[&inbox, &queue], &log);
        let to = arn("lambda", "function:f");
        let mut one = delivery("attempts", &to, clock.now_ms());
        one.retry.attempts_max = 2;
        one.dead_letter = Some(arn("sqs", "dlq"));
        let mut two = delivery("age", &to, clock.now_ms());
        two.retry.age_max_seconds = 60;
        two.dead_letter = Some(arn("sqs", "dlq"));
        for id in ["attempts", "age"] {
            inbox.refuse(id, vec![Refusal::transient("TIMEOUT", "too slow"); 1000]);
        }
        outbox.put(&one).await.unwrap();
        outbox.put(&two).await.unwrap();
        until(&clock, Duration::from_secs(1), || {
            queue.got.lock().unwrap().len() == 2
        })
        .await;
        courier.abort();
        for letter in queue.got.lock().unwrap().iter() {
            let attribute = |name| letter.parameters.get(name).map(String::as_str);
            assert_eq!(attribute("TARGET_ARN"), Some(to.as_str()));
            assert_eq!(attribute("ERROR_CODE"), Some("TIMEOUT"));
            assert_eq!(attribute("ERROR_MESSAGE"), Some("too slow"));
            // What the sender said goes along.
            assert_eq!(attribute("RULE_ARN"), Some("r"));
            let (payload, exhausted) = match letter.id.as_str() {
                "attempts>dead-letter" => ("payload of attempts", "MaximumRetryAttempts"),
                _ => ("payload of age", "MaximumEventAgeInSeconds"),
            };
            assert_eq!(&*letter.payload, payload.as_bytes());
            assert_eq!(attribute("EXHAUSTED_RETRY_CONDITION"), Some(exhausted));
            if exhausted == "MaximumRetryAttempts" {
                assert_eq!(attribute("RETRY_ATTEMPTS"), Some("2"));
            }
        }
        assert_eq!(outbox.stats().dead_lettered, 2);
    });
}

#[test]
fn what_cannot_succeed_is_set_aside_at_once_until_it_is_sent_again() {
    alone(async {
        let (sim, clock) = Sim::new(1, Faults::NONE);
        let (outbox, inbox, log) = (
            Outbox::open(&sim.store()),
            Inbox::of("lambda"),
            Arc::new(Log::default()),
        );
        let running = courier(&outbox, &[&inbox], &log);
        let (f, nowhere) = (arn("lambda", "function:f"), arn("sqs", "q"));
        inbox.refuse(
            "denied",
            [Refusal::permanent("NO_PERMISSIONS", "not allowed")],
        );
        for (id, to) in [("denied", &f), ("nowhere", &nowhere), ("fine", &f)] {
            outbox.put(&delivery(id, to, clock.now_ms())).await.unwrap();
        }
        until(&clock, Duration::ZERO, || log.0.lock().unwrap().len() == 3).await;
        assert_eq!(inbox.times("fine"), 1);
        let graves = outbox.graves(&scope().account, None, 10).await.unwrap();
        let found: Vec<(&str, &str, u32)> = graves
            .iter()
            .map(|g| (&*g.id, &*g.why, g.attempts))
            .collect();
        let why =
            format!("NO_RESOURCE: Mayfly has nothing yet that takes a delivery for {nowhere}.");
        assert_eq!(
            found,
            [
                ("denied", "NO_PERMISSIONS: not allowed", 1),
                ("nowhere", &*why, 1)
            ]
        );
        assert_eq!(
            outbox
                .graves(&scope().account, None, 1)
                .await
                .unwrap()
                .len(),
            1
        );
        // Putting it again does not bring it back, the operator does.
        assert!(
            !outbox
                .put(&delivery("denied", &f, clock.now_ms()))
                .await
                .unwrap()
        );
        assert_eq!(
            outbox
                .redrive(&scope().account, Some(&f), Some("other"))
                .await
                .unwrap(),
            0
        );
        assert_eq!(
            outbox
                .redrive(&scope().account, Some(&f), None)
                .await
                .unwrap(),
            1
        );
        until(&clock, Duration::ZERO, || inbox.times("denied") == 1).await;
        assert_eq!(
            outbox
                .redrive(&scope().account, None, Some("nowhere"))
                .await
                .unwrap(),
            1
        );
        until(&clock, Duration::ZERO, || outbox.stats().buried == 3).await;
        // And what nobody deals with for two weeks is removed.
        assert_eq!(outbox.stats().graves, 1);
        clock.advance(Duration::from_secs(14 * 24 * 3600 + 1));
        until(&clock, Duration::ZERO, || outbox.stats().expired == 1).await;
        assert!(is_empty(&sim.store()).await);
        running.abort();
    });
}

#[test]
fn one_that_hangs_holds_up_nobody_else() {
    alone(async {
        let (sim, clock) = Sim::new(1, Faults::NONE);
        let (slow, quick) = (
            arn("lambda", "function:slow"),
            arn("lambda", "function:quick"),
        );
        let inbox = Arc::new(Inbox {
            service: "lambda",
            hangs: Some(slow.clone()),
            ..Inbox::default()
        });
        let (outbox, log) = (Outbox::open(&sim.store()), Arc::new(Log::default()));
        let courier = courier(&outbox, &[&inbox], &log);
        for n in 0..100 {
            let mut one = delivery(&format!("s{n}"), &slow, clock.now_ms());
            one.retry.attempts_max = 0;
            outbox.put(&one).await.unwrap();
        }
        for n in 0..100 {
            outbox
                .put(&delivery(&format!("q{n}"), &quick, clock.now_ms()))
                .await
                .unwrap();
        }
        until(&clock, Duration::ZERO, || {
            inbox.got.lock().unwrap().len() == 100
        })
        .await;
        // The hanging ones end by the deadline of an attempt; the runtime's own clock jumps there by itself.
        while outbox.stats().buried < 100 {
            tokio::time::sleep(Courier::ATTEMPT_MAX).await;
        }
        let graves = outbox.graves(&scope().account, None, 1000).await.unwrap();
        assert!(
            graves
                .iter()
                .all(|grave| grave.why.starts_with("TIMEOUT: "))
        );
        courier.abort();
    });
}

#[test]
fn what_cannot_be_kept_is_refused() {
    alone(async {
        let (sim, clock) = Sim::new(1, Faults::NONE);
        let outbox = Outbox::open(&sim.store());
        let mut large = delivery("a", &arn("lambda", "function:f"), clock.now_ms());
        large.payload = Bytes::from(vec![b'x'; delivery::PAYLOAD_BYTES_MAX]);
        assert!(outbox.put(&large).await.unwrap());
        large.id = "b".to_owned();
        large.payload = Bytes::from(vec![b'x'; delivery::PAYLOAD_BYTES_MAX + 1]);
        assert!(matches!(
            outbox.put(&large).await,
            Err(Error::TooLarge { .. })
        ));
    });
}
