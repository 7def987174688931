//! Random operations against the plainest model of them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use store::{Error, Expect, Token};

use crate::Subject;

#[derive(Debug, Clone)]
enum KvOp {
    Put { key: u8, value: u8, expect: Guess },
    Delete { key: u8, expect: Guess },
    Get { key: u8 },
    Scan { prefix: u8, after: u8, limit: usize },
    Reopen,
}

#[derive(Debug, Clone, Copy)]
enum Guess {
    Absent,
    Right,
    Stale,
    Any,
}

fn guess() -> impl Strategy<Value = Guess> {
    prop_oneof![
        Just(Guess::Absent),
        Just(Guess::Right),
        Just(Guess::Stale),
        Just(Guess::Any)
    ]
}

fn kv_op() -> impl Strategy<Value = KvOp> {
    prop_oneof![
        6 => (0..12u8, any::<u8>(), guess()).prop_map(|(key, value, expect)| KvOp::Put { key, value, expect }),
        3 => (0..12u8, guess()).prop_map(|(key, expect)| KvOp::Delete { key, expect }),
        3 => (0..12u8).prop_map(|key| KvOp::Get { key }),
        3 => (0..5u8, 0..12u8, 0..6usize).prop_map(|(prefix, after, limit)| KvOp::Scan { prefix, after, limit }),
        1 => Just(KvOp::Reopen),
    ]
}

/// Keys with shared prefixes: "a", "aa", "ab", "ac", "b", ...
fn key(n: u8) -> String {
    let first = char::from(b'a' + n / 4);
    match n % 4 {
        0 => first.to_string(),
        rest => format!("{first}{}", char::from(b'a' - 1 + rest)),
    }
}

async fn check_kv(subject: &mut Subject, ops: Vec<KvOp>) {
    let mut model: BTreeMap<String, (u8, u64)> = BTreeMap::new();
    let mut latest = 0;
    let expectation = |guess, found: Option<u64>| match guess {
        Guess::Absent => Expect::Absent,
        Guess::Right => found.map_or(Expect::Absent, Expect::Revision),
        Guess::Stale => Expect::Revision(found.unwrap_or(1) - 1),
        Guess::Any => Expect::Any,
    };
    for op in ops {
        match op {
            KvOp::Put {
                key: n,
                value,
                expect,
            } => {
                let found = model.get(&key(n)).map(|(_, revision)| *revision);
                let expect = expectation(expect, found);
                match subject
                    .store
                    .kv
                    .put(&key(n), vec![value].into(), expect)
                    .await
                {
                    Ok(revision) => {
                        assert!(expect.admits(found) && revision > latest);
                        latest = revision;
                        model.insert(key(n), (value, revision));
                    }
                    Err(Error::Conflict { found: told, .. }) => {
                        assert!(!expect.admits(found) && told == found)
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            KvOp::Delete { key: n, expect } => {
                let found = model.get(&key(n)).map(|(_, revision)| *revision);
                let expect = expectation(expect, found);
                match subject.store.kv.delete(&key(n), expect).await {
                    Ok(removed) => {
                        assert!(expect.admits(found));
                        assert_eq!(removed, model.remove(&key(n)).is_some());
                    }
                    Err(Error::Conflict { found: told, .. }) => {
                        assert!(!expect.admits(found) && told == found)
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            KvOp::Get { key: n } => {
                let got = subject.store.kv.get(&key(n)).await.unwrap();
                let got = got.map(|entry| (entry.value[0], entry.revision));
                assert_eq!(got, model.get(&key(n)).copied());
            }
            KvOp::Scan {
                prefix,
                after,
                limit,
            } => {
                let prefix = if prefix == 4 {
                    String::new()
                } else {
                    key(4 * prefix)
                };
                let got = subject
                    .store
                    .kv
                    .scan(&prefix, Some(&key(after)), limit)
                    .await
                    .unwrap();
                let got: Vec<_> = got
                    .into_iter()
                    .map(|(key, entry)| (key, (entry.value[0], entry.revision)))
                    .collect();
                let is = model
                    .iter()
                    .filter(|(name, _)| name.starts_with(&prefix) && **name > key(after));
                let is: Vec<_> = is
                    .take(limit)
                    .map(|(key, value)| (key.clone(), *value))
                    .collect();
                assert_eq!(got, is);
            }
            KvOp::Reopen => subject.reopen().await,
        }
    }
}

#[derive(Debug, Clone)]
enum QueueOp {
    Push { id: u8, delay_ms: i64 },
    Lease { max: usize, time_ms: u64 },
    Ack { held: usize },
    AckOnce { held: usize, time_ms: i64 },
    Retry { held: usize, delay_ms: i64 },
    Extend { held: usize, time_ms: u64 },
    Bury { held: usize },
    Exhume { id: u8 },
    Remove { id: u8 },
    Advance { by_ms: u64 },
    Reopen,
}

fn queue_op() -> impl Strategy<Value = QueueOp> {
    prop_oneof![
        6 => (0..8u8, 0..30i64).prop_map(|(id, delay_ms)| QueueOp::Push { id, delay_ms }),
        6 => (0..4usize, 0..30u64).prop_map(|(max, time_ms)| QueueOp::Lease { max, time_ms }),
        3 => any::<usize>().prop_map(|held| QueueOp::Ack { held }),
        2 => (any::<usize>(), 0..60i64).prop_map(|(held, time_ms)| QueueOp::AckOnce { held, time_ms }),
        3 => (any::<usize>(), 0..30i64).prop_map(|(held, delay_ms)| QueueOp::Retry { held, delay_ms }),
        2 => (any::<usize>(), 0..30u64).prop_map(|(held, time_ms)| QueueOp::Extend { held, time_ms }),
        2 => any::<usize>().prop_map(|held| QueueOp::Bury { held }),
        1 => (0..8u8).prop_map(|id| QueueOp::Exhume { id }),
        1 => (0..8u8).prop_map(|id| QueueOp::Remove { id }),
        6 => (0..20u64).prop_map(|by_ms| QueueOp::Advance { by_ms }),
        1 => Just(QueueOp::Reopen),
    ]
}

#[derive(Debug, Clone)]
struct Message {
    id: String,
    order: u64,
    due_ms: i64,
    attempts: u32,
    holder: Option<Token>,
}

#[derive(Debug, Default)]
struct QueueModel {
    live: Vec<Message>,
    buried: Vec<String>,
    /// Done once, until then.
    done: BTreeMap<String, i64>,
    pushes: u64,
}

impl QueueModel {
    fn has(&self, id: &str) -> bool {
        self.live.iter().any(|message| message.id == id)
            || self.buried.iter().any(|buried| buried == id)
    }

    fn push(&mut self, id: String, due_ms: i64) {
        self.pushes += 1;
        self.live.push(Message {
            id,
            order: self.pushes,
            due_ms,
            attempts: 0,
            holder: None,
        });
    }

    fn held(&mut self, token: &Token) -> Option<usize> {
        self.live
            .iter()
            .position(|message| message.holder.as_ref() == Some(token))
    }
}

async fn check_queue(subject: &mut Subject, ops: Vec<QueueOp>) {
    let mut model = QueueModel::default();
    let mut tokens: Vec<Token> = Vec::new();
    for op in ops {
        let now_ms = subject.now_ms();
        let queues = subject.store.queues.clone();
        // A token, out of all that there ever were, and the message that it should still hold.
        let mut pick = |held: usize| {
            let token = tokens.get(held.checked_rem(tokens.len())?)?.clone();
            let at = model.held(&token);
            Some((token, at))
        };
        let settled = |result: Result<(), Error>, at: Option<usize>| match (result, at) {
            (Ok(()), Some(at)) => Some(at),
            (Err(Error::LeaseLost { .. }), None) => None,
            other => panic!("{other:?}"),
        };
        match op {
            QueueOp::Push { id, delay_ms } => {
                let pushed = queues
                    .push("q", &id.to_string(), now_ms + delay_ms, vec![id].into())
                    .await
                    .unwrap();
                let done = model.done.get(&id.to_string());
                let done = done.is_some_and(|until_ms| *until_ms > now_ms);
                assert_eq!(pushed, !done && !model.has(&id.to_string()));
                if pushed {
                    model.push(id.to_string(), now_ms + delay_ms);
                }
            }
            QueueOp::Lease { max, time_ms } => {
                let leased = queues
                    .lease("q", max, Duration::from_millis(time_ms))
                    .await
                    .unwrap();
                model
                    .live
                    .sort_by_key(|message| (message.due_ms, message.order));
                let due = model
                    .live
                    .iter_mut()
                    .filter(|message| message.due_ms <= now_ms)
                    .take(max);
                let mut got = leased.into_iter();
                for message in due {
                    let got = got.next().unwrap();
                    message.attempts += 1;
                    assert_eq!((&got.id, got.attempts), (&message.id, message.attempts));
                    assert_eq!(got.body, Bytes::from(vec![message.id.parse().unwrap()]));
                    message.due_ms = got.until_ms;
                    assert!(!tokens.contains(&got.token));
                    tokens.push(got.token.clone());
                    message.holder = Some(got.token);
                }
                assert_eq!(got.next(), None);
            }
            QueueOp::Ack { held } => {
                let Some((token, at)) = pick(held) else {
                    continue;
                };
                if let Some(at) = settled(queues.ack(&token).await, at) {
                    model.live.remove(at);
                }
            }
            QueueOp::AckOnce { held, time_ms } => {
                let Some((token, at)) = pick(held) else {
                    continue;
                };
                let until_ms = now_ms + time_ms;
                if let Some(at) = settled(queues.ack_once(&token, until_ms).await, at) {
                    model.done.insert(model.live.remove(at).id, until_ms);
                }
            }
            QueueOp::Retry { held, delay_ms } => {
                let Some((token, at)) = pick(held) else {
                    continue;
                };
                if let Some(at) = settled(queues.retry(&token, now_ms + delay_ms).await, at) {
                    model.live[at].due_ms = now_ms + delay_ms;
                    model.live[at].holder = None;
                }
            }
            QueueOp::Extend { held, time_ms } => {
                let Some((token, at)) = pick(held) else {
                    continue;
                };
                if let Some(at) = settled(
                    queues.extend(&token, Duration::from_millis(time_ms)).await,
                    at,
                ) {
                    model.live[at].due_ms = now_ms + i64::try_from(time_ms).unwrap();
                }
            }
            QueueOp::Bury { held } => {
                let Some((token, at)) = pick(held) else {
                    continue;
                };
                if let Some(at) = settled(queues.bury(&token, "why").await, at) {
                    model.buried.push(model.live.remove(at).id);
                }
            }
            QueueOp::Exhume { id } => {
                let exhumed = queues.exhume("q", &id.to_string(), now_ms).await.unwrap();
                let at = model
                    .buried
                    .iter()
                    .position(|buried| *buried == id.to_string());
                assert_eq!(exhumed, at.is_some());
                if let Some(at) = at {
                    let id = model.buried.remove(at);
                    model.push(id, now_ms);
                }
            }
            QueueOp::Remove { id } => {
                let removed = queues.remove("q", &id.to_string()).await.unwrap();
                assert_eq!(removed, model.has(&id.to_string()));
                model.live.retain(|message| message.id != id.to_string());
                model.buried.retain(|buried| *buried != id.to_string());
            }
            QueueOp::Advance { by_ms } => subject.advance_ms(by_ms),
            QueueOp::Reopen => {
                subject.reopen().await;
                for message in model
                    .live
                    .iter_mut()
                    .filter(|message| message.holder.is_some())
                {
                    message.holder = None;
                    message.due_ms = 0;
                }
            }
        }
        let depth = subject.store.queues.depth("q").await.unwrap();
        assert_eq!(
            (depth.live(), depth.buried),
            (model.live.len() as u64, model.buried.len() as u64)
        );
        let due = model
            .live
            .iter()
            .filter(|message| message.due_ms <= subject.now_ms())
            .count();
        assert_eq!(depth.due, due as u64);
        let buried = subject.store.queues.buried("q", None, 100).await.unwrap();
        assert_eq!(
            buried.iter().map(|buried| &*buried.id).collect::<Vec<_>>(),
            model.buried
        );
    }
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future);
}

/// The embedded backend waits for the disk at each write, so it gets fewer cases.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn kv_in_sim(seed in any::<u64>(), ops in prop::collection::vec(kv_op(), 1..80)) {
        run(check_kv(&mut Subject::sim(seed), ops));
    }

    #[test]
    fn queue_in_sim(seed in any::<u64>(), ops in prop::collection::vec(queue_op(), 1..80)) {
        run(check_queue(&mut Subject::sim(seed), ops));
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn kv_embedded(ops in prop::collection::vec(kv_op(), 1..80)) {
        run(async {
            let mut subject = Subject::embedded();
            check_kv(&mut subject, ops).await;
            subject.assert_sound().await;
        });
    }

    #[test]
    fn queue_embedded(ops in prop::collection::vec(queue_op(), 1..80)) {
        run(async {
            let mut subject = Subject::embedded();
            check_queue(&mut subject, ops).await;
            subject.assert_sound().await;
        });
    }
}
