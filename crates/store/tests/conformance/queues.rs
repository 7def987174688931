//! Queues.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use store::{
    Depth, Error, KEY_BYTES_MAX, LEASE_MESSAGES_MAX, Leased, Store, Token, VALUE_BYTES_MAX,
};

use crate::Subject;

const SECOND: Duration = Duration::from_secs(1);

async fn push(store: &Store, id: &str, not_before_ms: i64) -> bool {
    store
        .queues
        .push("q", id, not_before_ms, format!("body of {id}").into())
        .await
        .unwrap()
}

async fn lease(store: &Store, max: usize) -> Vec<Leased> {
    store.queues.lease("q", max, SECOND).await.unwrap()
}

async fn lease_one(store: &Store) -> Leased {
    let mut leased = lease(store, 1).await;
    assert_eq!(leased.len(), 1);
    leased.remove(0)
}

fn ids(leased: &[Leased]) -> Vec<&str> {
    leased.iter().map(|message| &*message.id).collect()
}

fn assert_lost(result: Result<(), Error>) {
    assert!(matches!(result, Err(Error::LeaseLost { .. })), "{result:?}");
}

async fn depth(store: &Store) -> [u64; 4] {
    let Depth {
        due,
        delayed,
        leased,
        buried,
    } = store.queues.depth("q").await.unwrap();
    [due, delayed, leased, buried]
}

pub async fn due_in_order(subject: &mut Subject) {
    let (store, now_ms) = (&subject.store, subject.now_ms());
    for (id, due_ms) in [
        ("c", now_ms - 1),
        ("a", now_ms - 2),
        ("d", now_ms),
        ("b", now_ms - 2),
    ] {
        assert!(push(store, id, due_ms).await);
    }
    let first = lease(store, 3).await;
    assert_eq!(ids(&first), ["a", "b", "c"]);
    assert_eq!(
        (&first[0].body[..], first[0].attempts),
        (&b"body of a"[..], 1)
    );
    assert_eq!(first[0].until_ms, now_ms + 1000);
    assert_eq!(ids(&lease(store, 3).await), ["d"]);
    assert_eq!(
        ids(&store.queues.lease("other", 3, SECOND).await.unwrap()),
        [""; 0]
    );
}

pub async fn delayed(subject: &mut Subject) {
    let store = &subject.store;
    push(store, "later", subject.now_ms() + 10).await;
    subject.advance_ms(9);
    assert!(lease(store, 1).await.is_empty());
    subject.advance_ms(1);
    assert_eq!(lease_one(store).await.id, "later");
}

pub async fn a_lease_hides(subject: &mut Subject) {
    let store = &subject.store;
    push(store, "a", 0).await;
    let leased = lease_one(store).await;
    subject.advance_ms(999);
    assert!(lease(store, 1).await.is_empty());
    store.queues.ack(&leased.token).await.unwrap();
    subject.advance_ms(10_000);
    assert!(lease(store, 1).await.is_empty());
    assert_lost(store.queues.ack(&leased.token).await);
    assert_eq!(depth(store).await, [0; 4]);
}

pub async fn an_expired_lease_returns(subject: &mut Subject) {
    let store = &subject.store;
    push(store, "a", 0).await;
    let first = lease_one(store).await;
    subject.advance_ms(1000);
    let second = lease_one(store).await;
    assert_eq!((second.attempts, &second.body), (2, &first.body));
    assert_lost(store.queues.ack(&first.token).await);
    assert_lost(store.queues.retry(&first.token, 0).await);
    assert_lost(store.queues.extend(&first.token, SECOND).await);
    assert_lost(store.queues.bury(&first.token, "late").await);
    store.queues.ack(&second.token).await.unwrap();
}

pub async fn a_late_answer_counts_until_handed_out_again(subject: &mut Subject) {
    let store = &subject.store;
    push(store, "a", 0).await;
    let leased = lease_one(store).await;
    subject.advance_ms(5000);
    assert_eq!(depth(store).await, [1, 0, 0, 0]);
    store.queues.ack(&leased.token).await.unwrap();
    assert!(lease(store, 1).await.is_empty());
}

pub async fn push_is_idempotent_while_present(subject: &mut Subject) {
    let store = &subject.store;
    assert!(push(store, "a", 0).await);
    assert!(!push(store, "a", 0).await);
    let leased = lease_one(store).await;
    assert!(!push(store, "a", 0).await);
    store.queues.bury(&leased.token, "bad").await.unwrap();
    assert!(!push(store, "a", 0).await);
    assert!(store.queues.exhume("q", "a", 0).await.unwrap());
    assert!(!push(store, "a", 0).await);
    let leased = lease_one(store).await;
    store.queues.ack(&leased.token).await.unwrap();
    assert!(push(store, "a", 0).await);
    assert!(
        store
            .queues
            .push("other", "a", 0, Bytes::new())
            .await
            .unwrap()
    );
    assert_lost(store.queues.ack(&leased.token).await);
    assert_eq!(lease_one(store).await.attempts, 1);
}

pub async fn done_once_is_not_pushed_again(subject: &mut Subject) {
    let until_ms = subject.now_ms() + 100;
    push(&subject.store, "a", 0).await;
    let leased = lease_one(&subject.store).await;
    let queues = &subject.store.queues;
    queues.ack_once(&leased.token, until_ms).await.unwrap();
    assert_lost(queues.ack_once(&leased.token, until_ms).await);
    assert!(!push(&subject.store, "a", 0).await);
    assert!(queues.push("other", "a", 0, Bytes::new()).await.unwrap());
    subject.reopen().await;
    assert!(!push(&subject.store, "a", 0).await);
    assert_eq!(depth(&subject.store).await, [0; 4]);
    subject.advance_ms(100);
    assert!(push(&subject.store, "a", 0).await);
    // The same again, in place of what was remembered before.
    let leased = lease_one(&subject.store).await;
    let until_ms = subject.now_ms() + 10;
    let queues = &subject.store.queues;
    queues.ack_once(&leased.token, until_ms).await.unwrap();
    subject.advance_ms(9);
    assert!(!push(&subject.store, "a", 0).await);
    subject.advance_ms(1);
    assert!(push(&subject.store, "a", 0).await);
}

pub async fn retry_and_extend(subject: &mut Subject) {
    let store = &subject.store;
    push(store, "a", 0).await;
    let first = lease_one(store).await;
    store
        .queues
        .retry(&first.token, subject.now_ms() + 100)
        .await
        .unwrap();
    assert_lost(store.queues.ack(&first.token).await);
    assert_eq!(depth(store).await, [0, 1, 0, 0]);
    assert!(lease(store, 1).await.is_empty());
    subject.advance_ms(100);
    let second = lease_one(store).await;
    assert_eq!(second.attempts, 2);
    subject.advance_ms(900);
    store.queues.extend(&second.token, SECOND).await.unwrap();
    subject.advance_ms(999);
    assert!(lease(store, 1).await.is_empty());
    assert_eq!(depth(store).await, [0, 0, 1, 0]);
    subject.advance_ms(1);
    assert_eq!(lease_one(store).await.attempts, 3);
}

pub async fn bury_and_exhume(subject: &mut Subject) {
    let store = &subject.store;
    for id in ["z", "b", "a"] {
        push(store, id, 0).await;
    }
    for message in lease(store, 3).await {
        store
            .queues
            .bury(&message.token, "cannot be done")
            .await
            .unwrap();
        assert_lost(store.queues.ack(&message.token).await);
    }
    assert_eq!(depth(store).await, [0, 0, 0, 3]);
    subject.advance_ms(100_000);
    assert!(lease(store, 3).await.is_empty());
    let buried = store.queues.buried("q", None, 2).await.unwrap();
    assert_eq!(
        buried
            .iter()
            .map(|message| &*message.id)
            .collect::<Vec<_>>(),
        ["z", "b"]
    );
    assert_eq!((&*buried[0].why, buried[0].attempts), ("cannot be done", 1));
    assert_eq!(
        (&buried[0].body[..], buried[0].buried_ms),
        (&b"body of z"[..], subject.now_ms() - 100_000)
    );
    let rest = store.queues.buried("q", Some("b"), 2).await.unwrap();
    assert_eq!(
        rest.iter().map(|message| &*message.id).collect::<Vec<_>>(),
        ["a"]
    );
    assert!(store.queues.exhume("q", "b", 0).await.unwrap());
    assert!(!store.queues.exhume("q", "b", 0).await.unwrap());
    let back = lease_one(store).await;
    assert_eq!(
        (&*back.id, &back.body[..], back.attempts),
        ("b", &b"body of b"[..], 1)
    );
}

pub async fn an_exhumed_message_forgets_its_tokens(subject: &mut Subject) {
    let store = &subject.store;
    push(store, "a", 0).await;
    let old = lease_one(store).await;
    store.queues.bury(&old.token, "bad").await.unwrap();
    store.queues.exhume("q", "a", 0).await.unwrap();
    assert_lost(store.queues.ack(&old.token).await);
    let new = lease_one(store).await;
    assert_lost(store.queues.ack(&old.token).await);
    store.queues.ack(&new.token).await.unwrap();
}

pub async fn remove_and_purge(subject: &mut Subject) {
    let store = &subject.store;
    for id in ["waiting", "leased", "buried", "left"] {
        push(store, id, 0).await;
    }
    let leased = lease(store, 3).await;
    store.queues.bury(&leased[2].token, "bad").await.unwrap();
    for id in ["waiting", "leased", "buried"] {
        assert!(store.queues.remove("q", id).await.unwrap());
        assert!(!store.queues.remove("q", id).await.unwrap());
    }
    assert_lost(store.queues.ack(&leased[1].token).await);
    assert_eq!(depth(store).await, [1, 0, 0, 0]);
    store
        .queues
        .push("q2", "other", 0, Bytes::new())
        .await
        .unwrap();
    push(store, "more", 0).await;
    assert_eq!(store.queues.purge("q").await.unwrap(), 2);
    assert_eq!(store.queues.purge("q").await.unwrap(), 0);
    assert_eq!(depth(store).await, [0; 4]);
    assert_eq!(store.queues.depth("q2").await.unwrap().live(), 1);
}

pub async fn ready_at_once_and_on_push(subject: &mut Subject) {
    let store = &subject.store;
    let (ready, _) = tokio::join!(store.queues.ready("q"), push(store, "a", 0));
    ready.unwrap();
    store.queues.ready("q").await.unwrap();
    let (first, second, _) = tokio::join!(
        store.queues.ready("r"),
        store.queues.ready("r"),
        store.queues.push("r", "a", 0, Bytes::new())
    );
    first.and(second).unwrap();
}

pub async fn ready_in_time(subject: &mut Subject) {
    let store = &subject.store;
    push(store, "later", subject.now_ms() + 1000).await;
    let ready = store.queues.ready("q");
    tokio::pin!(ready);
    // Whatever the clock was before, nothing is due.
    store.queues.depth("q").await.unwrap();
    assert!(ready.as_mut().now_or_never().is_none());
    // One that is due earlier wakes those who wait for the later one.
    push(store, "earlier", subject.now_ms() + 500).await;
    assert!(ready.as_mut().now_or_never().is_none());
    subject.advance_ms(500);
    ready.await.unwrap();
    assert_eq!(lease_one(store).await.id, "earlier");
}

pub async fn ready_when_a_lease_ends(subject: &mut Subject) {
    let store = &subject.store;
    push(store, "a", 0).await;
    let leased = lease_one(store).await;
    let (ready, ()) = tokio::join!(store.queues.ready("q"), async { subject.advance_ms(1000) });
    ready.unwrap();
    let again = lease_one(store).await;
    assert_ne!(again.token, leased.token);
    let (ready, retried) =
        tokio::join!(store.queues.ready("q"), store.queues.retry(&again.token, 0));
    ready.and(retried).unwrap();
}

pub async fn ready_ends_with_the_store(subject: &mut Subject) {
    let (ready, ()) = tokio::join!(subject.store.queues.ready("q"), subject.store.close());
    assert!(matches!(ready, Err(Error::Closed { .. })));
    subject.reopen().await;
}

pub async fn many_workers_share(subject: &mut Subject) {
    let store = &subject.store;
    join_all((0..200).map(|n| async move { push(store, &format!("{n:03}"), 0).await })).await;
    let takes = join_all((0..40).map(|_| lease(store, 7))).await;
    let taken: Vec<&str> = takes.iter().flat_map(|leased| ids(leased)).collect();
    assert_eq!(taken.len(), 200);
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 200);
    let acks = takes
        .iter()
        .flatten()
        .map(|message| store.queues.ack(&message.token));
    assert!(join_all(acks).await.into_iter().all(|acked| acked.is_ok()));
    assert_eq!(depth(store).await, [0; 4]);
}

pub async fn lists_queues(subject: &mut Subject) {
    let store = &subject.store;
    for (queue, id) in [
        ("b", "1"),
        ("a/1", "1"),
        ("a/2", "1"),
        ("a/2", "2"),
        ("a/3", "1"),
        ("a", "1"),
    ] {
        store.queues.push(queue, id, 0, Bytes::new()).await.unwrap();
    }
    let leased = store.queues.lease("a/2", 1, SECOND).await.unwrap();
    store.queues.bury(&leased[0].token, "bad").await.unwrap();
    store.queues.purge("a/1").await.unwrap();
    store.queues.remove("a/2", "2").await.unwrap();
    assert_eq!(
        store.queues.list("a/", None, 10).await.unwrap(),
        ["a/2", "a/3"]
    );
    assert_eq!(
        store.queues.list("a/", Some("a/2"), 10).await.unwrap(),
        ["a/3"]
    );
    assert_eq!(store.queues.list("", None, 2).await.unwrap(), ["a", "a/2"]);
}

pub async fn limits(subject: &mut Subject) {
    let queues = &subject.store.queues;
    let long = "n".repeat(KEY_BYTES_MAX + 1);
    for name in ["", &long] {
        assert!(queues.push(name, "a", 0, Bytes::new()).await.is_err());
        assert!(queues.push("q", name, 0, Bytes::new()).await.is_err());
        assert!(queues.lease(name, 1, SECOND).await.is_err());
    }
    assert!(
        queues
            .push("q", "a", 0, Bytes::from(vec![0; VALUE_BYTES_MAX + 1]))
            .await
            .is_err()
    );
    assert!(
        queues
            .lease("q", LEASE_MESSAGES_MAX + 1, SECOND)
            .await
            .is_err()
    );
    let largest = Bytes::from(vec![1; VALUE_BYTES_MAX]);
    for id in ["1", "2", "3"] {
        queues.push("q", id, 0, largest.clone()).await.unwrap();
    }
    assert_eq!(
        ids(&queues.lease("q", 10, SECOND).await.unwrap()),
        ["1", "2"]
    );
    assert_eq!(ids(&queues.lease("q", 10, SECOND).await.unwrap()), ["3"]);
}

pub async fn survives_reopening(subject: &mut Subject) {
    let later_ms = subject.now_ms() + 1000;
    for (id, due_ms) in [
        ("leased", 0),
        ("buried", 1),
        ("acked", 2),
        ("waiting", 3),
        ("later", later_ms),
    ] {
        push(&subject.store, id, due_ms).await;
    }
    let leased = lease(&subject.store, 3).await;
    subject
        .store
        .queues
        .bury(&leased[1].token, "bad")
        .await
        .unwrap();
    subject.store.queues.ack(&leased[2].token).await.unwrap();
    subject.reopen().await;
    // Whoever held a lease is gone with the last process: nobody waits for it to run out.
    assert_eq!(depth(&subject.store).await, [2, 1, 0, 1]);
    assert_lost(subject.store.queues.ack(&leased[0].token).await);
    let again = lease(&subject.store, 3).await;
    assert_eq!(ids(&again), ["leased", "waiting"]);
    assert_eq!((again[0].attempts, again[1].attempts), (2, 1));
    assert!(!push(&subject.store, "buried", 0).await);
    assert!(push(&subject.store, "acked", 0).await);
}

pub async fn tokens_are_text(subject: &mut Subject) {
    let store = &subject.store;
    push(store, "a", 0).await;
    let leased = lease_one(store).await;
    let token: Token = leased.token.to_string().parse().unwrap();
    store.queues.ack(&token).await.unwrap();
    for text in ["", "1", "1.", ".1", "a.b", "1.2.3"] {
        assert!(text.parse::<Token>().is_err(), "{text}");
    }
}
