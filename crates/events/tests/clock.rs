//! The clock over a store in memory and a time that the test moves: a day takes milliseconds, and crashes come when the
//! seed says.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use delivery::{Delivery, Observer, Outbox, Outcome, Sender};
use events::scheduler::Surroundings;
use events::{Agenda, Authority, Clock, Events, Meter, Scheduler, Unit, Vault};
use serde_json::json;
use store::sim::{Faults, Sim};
use store::{ManualClock, Store};
use tokio::task::JoinHandle;
use wire::{
    AccountId, Arn, Ask, Authorizer, Caller, CallerKind, Context, Mount, Node, Region, Router,
    Scope,
};

const MINUTE: Duration = Duration::from_secs(60);
/// Turns of the runtime after which what has not happened will not.
const TURNS_MAX: usize = 200_000;

/// All roles may be assumed, and all requests are allowed: who may what is tested elsewhere.
struct Everything;

impl Surroundings for Everything {
    fn assumable(&self, _: &Arn, _: &Arn) -> bool {
        true
    }
    fn check_operation(&self, _: &str, _: &str, _: Option<&str>) -> Result<(), String> {
        Ok(())
    }
}

impl Authorizer for Everything {
    fn authorize(&self, _: &Context, _: &Ask<'_>) -> Result<(), String> {
        Ok(())
    }
}

impl Authority for Everything {
    fn check_policy(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn may_deliver(&self, _: &Sender, _: AccountId, _: &Scope, _: &Ask<'_>) -> Result<(), String> {
        Ok(())
    }
}

impl Vault for Everything {
    fn seal(&self, _: &str, plain: &[u8]) -> Option<Vec<u8>> {
        Some(plain.to_vec())
    }
    fn open(&self, _: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        Some(sealed.to_vec())
    }
}

impl Meter for Everything {
    fn put(&self, _: &Scope, _: &'static str, _: &[(&'static str, &str)], _: Unit, _: f64, _: i64) {
    }
}

fn scope() -> Scope {
    Scope {
        account: AccountId::new("123456789012").unwrap(),
        region: Region::new("eu-central-1").unwrap(),
    }
}

fn ms(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// What was given up before it was in the outbox.
#[derive(Default)]
struct Expired(Mutex<Vec<String>>);

impl Observer for Expired {
    fn saw(&self, delivery: &Delivery, outcome: &Outcome) {
        assert!(matches!(outcome, Outcome::Expired(_)), "{outcome:?}");
        self.0.lock().unwrap().push(delivery.to.to_string());
    }
}

/// A server's buses, scheduler and clock.
struct Bed {
    store: Store,
    expired: Arc<Expired>,
    time: Arc<ManualClock>,
    router: Router,
    running: JoinHandle<()>,
}

impl Bed {
    async fn open(store: Store, time: &Arc<ManualClock>) -> Result<Bed, events::Error> {
        let agenda = Arc::new(Agenda::new(time.clone()));
        let scheduler = Scheduler::open(&store, &agenda, Arc::new(Everything)).await?;
        let all = || Arc::new(Everything);
        let outbox = Outbox::open(&store);
        // Nothing is put on a bus here, so its worker may rest.
        let (events, _) =
            Events::open(&store, outbox.clone(), all(), all(), all(), &agenda).await?;
        let expired = Arc::new(Expired::default());
        let observers: Vec<Arc<dyn Observer>> = vec![expired.clone()];
        let clock = Clock::new(&agenda, &events, &scheduler, &outbox, observers);
        Ok(Bed {
            expired,
            running: tokio::spawn(clock.run()),
            router: Router::new(vec![
                Mount::new(Arc::new(scheduler)),
                Mount::new(Arc::new(events)),
            ]),
            time: time.clone(),
            store,
        })
    }

    async fn ask(&self, operation: &str, parameters: &str) -> Result<Node, wire::Error> {
        let service = match operation.contains("Schedule") {
            true => "scheduler",
            false => "events",
        };
        let call = self.router.operation(service, operation).unwrap();
        let parameters = call.parameters(parameters.as_bytes())?;
        let cx = Context {
            request_id: "r".to_owned(),
            caller: Caller {
                kind: CallerKind::Root,
                arn: Arn::root(&scope().account),
                account: scope().account,
                user_id: String::new(),
                access_key_id: String::new(),
                session: None,
            },
            scope: scope(),
            source_ip: None,
            user_agent: String::new(),
            secure: false,
            now_ms: store::Clock::now_ms(&*self.time),
            host: String::new(),
            trace_id: None,
        };
        call.run(parameters, &cx, &Everything).await
    }

    /// Makes a schedule whose target is a function of the same name.
    async fn create(&self, name: &str, expression: &str, more: &str) -> Result<Node, wire::Error> {
        let mut whole = json!({
            "Name": name,
            "ScheduleExpression": expression,
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ClientToken": name,
            "Target": {"Arn": target(name).as_str(), "RoleArn": "arn:aws:iam::123456789012:role/r"},
        });
        let more: serde_json::Value = serde_json::from_str(more).unwrap();
        for (key, value) in more.as_object().unwrap() {
            whole[key] = value.clone();
        }
        self.ask("CreateSchedule", &whole.to_string()).await
    }

    /// Makes or changes a rule; its targets are functions.
    async fn put_rule(&self, name: &str, expression: &str, state: &str) {
        let rule = json!({"Name": name, "ScheduleExpression": expression, "State": state});
        self.ask("PutRule", &rule.to_string()).await.unwrap();
    }

    async fn put_targets(&self, rule: &str, functions: &[&str]) {
        let of = |name: &&str| json!({"Id": name, "Arn": target(name).as_str()});
        let targets: Vec<_> = functions.iter().map(of).collect();
        let targets = json!({"Rule": rule, "Targets": targets});
        self.ask("PutTargets", &targets.to_string()).await.unwrap();
    }

    /// How many invocations of a schedule are in the outbox.
    async fn fired(&self, name: &str) -> u64 {
        let queue = format!("delivery/123456789012/{}", target(name));
        self.store.queues.depth(&queue).await.unwrap().due
    }

    /// Lets the clock work until this many are there.
    async fn until_fired(&self, name: &str, count: u64) {
        for _ in 0..TURNS_MAX {
            if self.fired(name).await == count {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{name} fired {} times, not {count}", self.fired(name).await);
    }

    /// Lets the clock do whatever it still has to do.
    async fn settle(&self) {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }
}

fn target(name: &str) -> Arn {
    Arn::function(&scope(), name, None)
}

async fn bed(begin: &str) -> Bed {
    let time = Arc::new(ManualClock::at(ms(begin)));
    let sim = Sim::with_clock(1, Faults::NONE, time.clone());
    Bed::open(sim.store(), &time).await.unwrap()
}

#[tokio::test]
async fn a_day_takes_milliseconds() {
    // The day on which New York's clocks leap from 2:00 to 3:00.
    let bed = bed("2026-03-08T00:00-05:00").await;
    let new_york = r#"{"ScheduleExpressionTimezone": "America/New_York"}"#;
    bed.create("minute", "rate(1 minute)", "{}").await.unwrap();
    bed.create("gap", "cron(30 2 * * ? *)", new_york)
        .await
        .unwrap();
    bed.create("noon", "cron(0 12 * * ? *)", new_york)
        .await
        .unwrap();
    bed.create("hours", "cron(0 * * * ? *)", new_york)
        .await
        .unwrap();
    bed.create(
        "once",
        "at(2026-03-08T07:00:00)",
        r#"{"ActionAfterCompletion": "DELETE"}"#,
    )
    .await
    .unwrap();
    bed.create("off", "rate(1 minute)", r#"{"State": "DISABLED"}"#)
        .await
        .unwrap();
    let end = ms("2026-03-08T06:30-05:00") / 1000;
    bed.create(
        "ends",
        "cron(0/10 * * * ? *)",
        &format!(r#"{{"EndDate": {end}}}"#),
    )
    .await
    .unwrap();
    for minutes in 0..24 * 60 {
        bed.until_fired("minute", minutes + 1).await;
        bed.time.advance(MINUTE);
    }
    bed.until_fired("minute", 24 * 60 + 1).await;
    bed.until_fired("noon", 1).await;
    // 0:00 and 1:00, then 3:00 to 24:00 and, after 24 hours, 1:00 of the next day.
    bed.until_fired("hours", 25).await;
    bed.until_fired("once", 1).await;
    bed.until_fired("ends", 6 * 6 + 4).await;
    assert_eq!(bed.fired("gap").await, 0);
    assert_eq!(bed.fired("off").await, 0);
    bed.settle().await;
    let gone = bed.ask("GetSchedule", r#"{"Name": "once"}"#).await;
    assert_eq!(gone.unwrap_err().message, "Schedule once does not exist.");
    assert!(bed.ask("GetSchedule", r#"{"Name": "ends"}"#).await.is_ok());
    assert!(!bed.running.is_finished());
}

#[tokio::test]
async fn a_month_away_is_made_up_for_once() {
    let bed = bed("2026-01-01T00:00Z").await;
    let parameters = r#"{"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5}}"#;
    bed.create("daily", "cron(0 6 * * ? *)", "{}")
        .await
        .unwrap();
    bed.create("once", "at(2026-02-01T00:00:00)", "{}")
        .await
        .unwrap();
    bed.create("old", "at(2026-01-10T00:00:00)", "{}")
        .await
        .unwrap();
    bed.create("wide", "cron(0 6 * * ? *)", parameters)
        .await
        .unwrap();
    bed.settle().await;
    bed.time
        .advance(Duration::from_secs(31 * 86_400 + 12 * 3600));
    for name in ["daily", "once", "wide"] {
        bed.until_fired(name, 1).await;
    }
    bed.settle().await;
    // As if nothing had been: the next day it comes in time, and the single one is over.
    bed.time.set(ms("2026-02-02T06:05Z"));
    bed.until_fired("daily", 2).await;
    bed.until_fired("wide", 2).await;
    bed.settle().await;
    assert_eq!(bed.fired("once").await, 1);
    assert_eq!(bed.fired("old").await, 0, "older than a day");
    assert_eq!(*bed.expired.0.lock().unwrap(), [target("old").to_string()]);
}

#[tokio::test]
async fn what_is_too_old_is_a_dead_letter() {
    let bed = bed("2026-01-01T00:00Z").await;
    let letters = "arn:aws:sqs:eu-central-1:123456789012:letters";
    let target = json!({
        "Arn": target("old").as_str(),
        "RoleArn": "arn:aws:iam::123456789012:role/r",
        "RetryPolicy": {"MaximumEventAgeInSeconds": 3600},
        "DeadLetterConfig": {"Arn": letters},
    });
    let more = json!({"Target": target}).to_string();
    bed.create("old", "at(2026-01-10T00:00:00)", &more)
        .await
        .unwrap();
    bed.settle().await;
    bed.time.set(ms("2026-01-10T01:00:01Z"));
    let queue = format!("delivery/123456789012/{letters}");
    for _ in 0..TURNS_MAX {
        if bed.store.queues.depth(&queue).await.unwrap().due == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let leased = bed.store.queues.lease(&queue, 10, MINUTE).await.unwrap();
    let at_midnight = ms("2026-01-10T00:00:00Z");
    let id = format!(
        "scheduler/schedule:123456789012/eu-central-1/default/old@{at_midnight}>target>dead-letter"
    );
    assert_eq!(leased[0].id, id);
    let body = String::from_utf8_lossy(&leased[0].body).into_owned();
    for said in [
        r#""ERROR_CODE":"EVENT_AGE_EXCEEDED""#,
        r#""EXHAUSTED_RETRY_CONDITION":"MaximumEventAgeInSeconds""#,
        r#""RETRY_ATTEMPTS":"0""#,
    ] {
        assert!(body.contains(said), "{body}");
    }
    assert_eq!(bed.expired.0.lock().unwrap().len(), 1);
    assert_eq!(bed.fired("old").await, 0);
}

#[tokio::test]
async fn changes_count_from_when_they_are_made() {
    let bed = bed("2026-01-01T00:00Z").await;
    bed.create("s", "rate(1 hour)", "{}").await.unwrap();
    bed.until_fired("s", 1).await;
    bed.time.advance(MINUTE * 30);
    let update = |expression: &str, state: &str| {
        json!({
            "Name": "s", "ScheduleExpression": expression, "State": state, "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {"Arn": target("s").as_str(), "RoleArn": "arn:aws:iam::123456789012:role/r"},
        })
        .to_string()
    };
    // The same times: nothing begins anew.
    bed.ask("UpdateSchedule", &update("rate(1 hour)", "ENABLED"))
        .await
        .unwrap();
    bed.settle().await;
    assert_eq!(bed.fired("s").await, 1);
    bed.time.advance(MINUTE * 30);
    bed.until_fired("s", 2).await;
    // Other times begin when they are given; switched off, they do not come, and do not come later either.
    bed.time.advance(MINUTE);
    bed.ask("UpdateSchedule", &update("rate(2 hours)", "ENABLED"))
        .await
        .unwrap();
    bed.until_fired("s", 3).await;
    bed.ask(
        "UpdateSchedule",
        &update("at(2026-01-01T02:00:00)", "DISABLED"),
    )
    .await
    .unwrap();
    bed.time.advance(MINUTE * 90);
    bed.settle().await;
    bed.ask(
        "UpdateSchedule",
        &update("at(2026-01-01T02:00:00)", "ENABLED"),
    )
    .await
    .unwrap();
    bed.settle().await;
    assert_eq!(bed.fired("s").await, 3);
    bed.ask("DeleteSchedule", r#"{"Name": "s"}"#).await.unwrap();
    bed.time.advance(MINUTE * 600);
    bed.settle().await;
    assert_eq!(bed.fired("s").await, 3);
}

#[tokio::test]
async fn rules_fire_by_the_clock() {
    let bed = bed("2026-01-02T00:00Z").await;
    bed.put_rule("rate", "rate(1 minute)", "ENABLED").await;
    bed.put_targets("rate", &["a", "b"]).await;
    // 2 January 2026 is a Friday, and the zone is UTC.
    bed.put_rule("work", "cron(0 6 ? * MON-FRI *)", "ENABLED")
        .await;
    bed.put_targets("work", &["c"]).await;
    bed.put_rule("off", "rate(1 minute)", "DISABLED").await;
    bed.put_targets("off", &["d"]).await;
    bed.settle().await;
    assert_eq!(bed.fired("a").await, 0, "a rate counts from the creation");
    for minutes in 1..=2 * 24 * 60 {
        bed.time.advance(MINUTE);
        bed.until_fired("a", minutes).await;
    }
    bed.until_fired("b", 2 * 24 * 60).await;
    bed.until_fired("c", 1).await;
    bed.settle().await;
    assert_eq!(bed.fired("d").await, 0);
}

#[tokio::test]
async fn what_is_done_to_a_rule_takes_effect_at_once() {
    let bed = bed("2026-01-01T00:00Z").await;
    let named = json!({"Name": "r"}).to_string();
    bed.put_rule("r", "rate(1 hour)", "ENABLED").await;
    bed.put_targets("r", &["a"]).await;
    bed.time.advance(MINUTE * 30);
    // The same schedule goes on; another begins anew.
    bed.put_rule("r", "rate(1 hour)", "ENABLED").await;
    bed.time.advance(MINUTE * 30);
    bed.until_fired("a", 1).await;
    bed.put_rule("r", "rate(5 minutes)", "ENABLED").await;
    bed.time.advance(MINUTE * 5);
    bed.until_fired("a", 2).await;
    bed.ask("DisableRule", &named).await.unwrap();
    bed.time.advance(MINUTE * 8);
    bed.settle().await;
    bed.ask("EnableRule", &named).await.unwrap();
    bed.time.advance(MINUTE * 4);
    bed.settle().await;
    assert_eq!(bed.fired("a").await, 2);
    bed.time.advance(MINUTE);
    bed.until_fired("a", 3).await;
    let removal = json!({"Rule": "r", "Ids": ["a"]}).to_string();
    bed.ask("RemoveTargets", &removal).await.unwrap();
    bed.ask("DeleteRule", &named).await.unwrap();
    bed.time.advance(MINUTE * 60);
    bed.settle().await;
    assert_eq!(bed.fired("a").await, 3);
}

#[tokio::test]
async fn a_rule_s_missed_ticks_are_lost() {
    let bed = bed("2026-01-01T00:00Z").await;
    bed.put_rule("r", "cron(0 6 * * ? *)", "ENABLED").await;
    bed.put_targets("r", &["a"]).await;
    bed.settle().await;
    bed.time.set(ms("2026-01-03T06:01:01Z"));
    bed.settle().await;
    assert_eq!(bed.fired("a").await, 0);
    // Within a minute it was not missed.
    bed.time.set(ms("2026-01-04T06:00:59Z"));
    bed.until_fired("a", 1).await;
    let queue = format!("delivery/123456789012/{}", target("a"));
    let leased = bed.store.queues.lease(&queue, 10, MINUTE).await.unwrap();
    let at_six = ms("2026-01-04T06:00:00Z");
    let id = format!("events/rule:123456789012/eu-central-1/default/r@{at_six}>a");
    assert_eq!(leased[0].id, id);
    let body = String::from_utf8_lossy(&leased[0].body).into_owned();
    let (head, tail) = (
        r#"{"version":"0","id":""#,
        r#"","detail-type":"Scheduled Event","source":"aws.events","account":"123456789012","time":"2026-01-04T06:00:00Z","region":"eu-central-1","resources":["arn:aws:events:eu-central-1:123456789012:rule/r"],"detail":{}}"#,
    );
    assert!(body.contains(head) && body.ends_with(tail), "{body}");
}

/// Whatever crashes and whatever answer is lost, every tick is in the outbox, and once.
#[tokio::test]
async fn no_crash_loses_or_repeats_a_tick() {
    for seed in 0..12 {
        let time = Arc::new(ManualClock::at(ms("2026-01-01T00:00Z")));
        let sim = Sim::with_clock(seed, Faults::ALL, time.clone());
        let mut bed = reopened(&sim, &time).await;
        while bed.create("s", "rate(1 minute)", "{}").await.is_err() {}
        // Ten minutes in steps of ten seconds, in which claims of the dead run out.
        for step in 0..60 {
            for _ in 0..(seed * 7 + step * 13) % 120 {
                tokio::task::yield_now().await;
            }
            if (seed + step) % 4 == 0 {
                bed.running.abort();
                sim.crash();
                bed = reopened(&sim, &time).await;
            }
            time.advance(Duration::from_secs(10));
        }
        for _ in 0..20 {
            bed.settle().await;
            time.advance(Duration::from_millis(2_000));
        }
        bed.settle().await;
        bed.running.abort();
        let ids = ids(&bed.store, &time).await;
        let minutes: BTreeSet<i64> = ids.iter().map(|ms| ms / 60_000).collect();
        assert_eq!(
            minutes.len(),
            ids.len(),
            "seed {seed}: a tick is there twice"
        );
        let (first, last) = (*minutes.first().unwrap(), *minutes.last().unwrap());
        let expected: BTreeSet<i64> = (first..=last).collect();
        assert_eq!(minutes, expected, "seed {seed}: a tick is missing");
        assert!(minutes.len() >= 10, "seed {seed}: {minutes:?}");
    }
}

async fn reopened(sim: &Sim, time: &Arc<ManualClock>) -> Bed {
    loop {
        if let Ok(bed) = Bed::open(sim.store(), time).await {
            return bed;
        }
    }
}

/// The ticks in the outbox, by the ids of their deliveries.
async fn ids(store: &Store, time: &ManualClock) -> Vec<i64> {
    let queue = format!("delivery/123456789012/{}", target("s"));
    let mut ids = Vec::new();
    let mut misses = 0;
    while misses < 50 {
        match store
            .queues
            .lease(&queue, 1000, Duration::from_secs(3600))
            .await
        {
            Ok(leased) if leased.is_empty() => misses += 1,
            Ok(leased) => ids.extend(leased.into_iter().map(|message| message.id)),
            // The lease may have been made and its answer lost: it must end for the messages to be seen.
            Err(_) => {
                misses += 1;
                time.advance(Duration::from_secs(3601));
            }
        }
    }
    let unique: BTreeSet<String> = ids.into_iter().collect();
    let tick = |id: &String| {
        let (_, rest) = id.split_once('@').unwrap();
        rest.strip_suffix(">target").unwrap().parse().unwrap()
    };
    unique.iter().map(tick).collect()
}
