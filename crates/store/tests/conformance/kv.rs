//! Records.

use bytes::Bytes;
use futures_util::future::join_all;
use store::{Change, Error, Expect, KEY_BYTES_MAX, SCAN_ENTRIES_MAX, Store, VALUE_BYTES_MAX};

use crate::Subject;

async fn put(store: &Store, key: &str, value: &'static str) -> u64 {
    store.kv.put(key, value.into(), Expect::Any).await.unwrap()
}

async fn keys(store: &Store, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let found = store.kv.scan(prefix, after, limit).await.unwrap();
    found.into_iter().map(|(key, _entry)| key).collect()
}

fn assert_conflict<T: std::fmt::Debug>(result: Result<T, Error>, is: Option<u64>) {
    assert!(
        matches!(&result, Err(Error::Conflict { key, found }) if key == "k" && *found == is),
        "{result:?}"
    );
}

pub async fn compare_and_swap(subject: &mut Subject) {
    let kv = &subject.store.kv;
    assert_eq!(kv.get("k").await.unwrap(), None);
    assert_conflict(kv.put("k", "0".into(), Expect::Revision(1)).await, None);
    let first = kv.put("k", "1".into(), Expect::Absent).await.unwrap();
    assert_conflict(kv.put("k", "x".into(), Expect::Absent).await, Some(first));
    let second = kv
        .put("k", "2".into(), Expect::Revision(first))
        .await
        .unwrap();
    assert!(second > first);
    assert_conflict(
        kv.put("k", "x".into(), Expect::Revision(first)).await,
        Some(second),
    );
    let third = kv
        .put("k", Bytes::from_static(b"\0\xff"), Expect::Any)
        .await
        .unwrap();
    let entry = kv.get("k").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.revision), (&b"\0\xff"[..], third));
}

pub async fn content_comes_with_its_record_or_not_at_all(subject: &mut Subject) {
    let store = &subject.store;
    let put = async |key, value: &'static str, expect, content: &'static str| {
        let with = ("c/1", content.into());
        store.kv.put_with(key, value.into(), expect, with).await
    };
    let mut watch = store.kv.watch("").await.unwrap();
    let revision = put("r/1", "one", Expect::Absent, "first").await.unwrap();
    assert_eq!(
        store.kv.get("r/1").await.unwrap().unwrap().revision,
        revision
    );
    assert_eq!(store.kv.get("c/1").await.unwrap().unwrap().value, "first");
    // A refusal writes neither.
    let refused = put("r/1", "two", Expect::Absent, "second").await;
    assert!(matches!(refused, Err(Error::Conflict { .. })));
    assert_eq!(store.kv.get("c/1").await.unwrap().unwrap().value, "first");
    // Content has revisions of its own, so that it is known whether somebody wrote it again.
    let keys = store.kv.keys("c/", None, 10).await.unwrap();
    put("r/1", "two", Expect::Revision(revision), "first")
        .await
        .unwrap();
    let again = store.kv.keys("c/", None, 10).await.unwrap();
    assert_eq!(
        (&keys[0].0, &again[0].0),
        (&"c/1".to_owned(), &"c/1".to_owned())
    );
    assert!(keys[0].1 > revision && again[0].1 > keys[0].1);
    assert_eq!(store.kv.keys("c/", Some("c/1"), 10).await.unwrap(), []);
    // Watchers hear of the record alone.
    for _ in 0..2 {
        assert_eq!(watch.next().await.unwrap().key(), Some("r/1"));
    }
    assert_eq!(watch.try_next(), None);
}

pub async fn delete_expects_too(subject: &mut Subject) {
    let kv = &subject.store.kv;
    assert!(!kv.delete("k", Expect::Any).await.unwrap());
    assert!(!kv.delete("k", Expect::Absent).await.unwrap());
    assert_conflict(kv.delete("k", Expect::Revision(1)).await, None);
    let first = put(&subject.store, "k", "1").await;
    let second = put(&subject.store, "k", "2").await;
    assert_conflict(kv.delete("k", Expect::Revision(first)).await, Some(second));
    assert_conflict(kv.delete("k", Expect::Absent).await, Some(second));
    assert!(kv.delete("k", Expect::Revision(second)).await.unwrap());
    assert_eq!(kv.get("k").await.unwrap(), None);
}

pub async fn revisions_are_never_used_twice(subject: &mut Subject) {
    let before = put(&subject.store, "k", "1").await;
    subject.store.kv.delete("k", Expect::Any).await.unwrap();
    subject.reopen().await;
    let after = subject
        .store
        .kv
        .put("k", "1".into(), Expect::Absent)
        .await
        .unwrap();
    assert!(after > before);
    assert_conflict(
        subject
            .store
            .kv
            .put("k", "2".into(), Expect::Revision(before))
            .await,
        Some(after),
    );
}

pub async fn one_of_many_writers_wins(subject: &mut Subject) {
    let revision = put(&subject.store, "k", "0").await;
    let writes = (0..64).map(|n: u64| {
        let kv = &subject.store.kv;
        async move {
            kv.put("k", n.to_string().into(), Expect::Revision(revision))
                .await
                .map(|won| (n, won))
        }
    });
    let results = join_all(writes).await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let [Ok((winner, revision))] = won[..] else {
        panic!("{won:?}")
    };
    let entry = subject.store.kv.get("k").await.unwrap().unwrap();
    assert_eq!(
        (entry.value, entry.revision),
        (Bytes::from(winner.to_string()), revision)
    );
    lost.into_iter()
        .for_each(|result| assert_conflict(result, Some(revision)));
}

pub async fn scan_is_ordered_and_paged(subject: &mut Subject) {
    let store = &subject.store;
    for key in ["b/2", "a", "b/10", "b/", "b", "b/é", "b/z", "c"] {
        put(store, key, "v").await;
    }
    let all = ["b/", "b/10", "b/2", "b/z", "b/é"];
    assert_eq!(keys(store, "b/", None, 10).await, all);
    assert_eq!(keys(store, "b/", None, 2).await, all[..2]);
    assert_eq!(keys(store, "b/", Some("b/10"), 2).await, all[2..4]);
    assert_eq!(keys(store, "b/", Some("b/11"), 10).await, all[2..]);
    assert_eq!(keys(store, "b/", Some("b/é"), 10).await, [""; 0]);
    assert_eq!(keys(store, "b/", Some("a"), 1).await, all[..1]);
    assert_eq!(keys(store, "b/", Some("c"), 1).await, [""; 0]);
    assert_eq!(keys(store, "", None, 10).await.len(), 8);
    assert_eq!(store.kv.scan_all("b/").await.unwrap().len(), 5);
    assert!(store.kv.scan("", None, SCAN_ENTRIES_MAX + 1).await.is_err());
}

pub async fn scan_knows_where_a_prefix_ends(subject: &mut Subject) {
    let store = &subject.store;
    for key in ["a\u{10ffff}", "a\u{10ffff}x", "a%", "a_", "ab", "A", "b"] {
        put(store, key, "v").await;
    }
    assert_eq!(
        keys(store, "a\u{10ffff}", None, 10).await,
        ["a\u{10ffff}", "a\u{10ffff}x"]
    );
    assert_eq!(keys(store, "a%", None, 10).await, ["a%"]);
    assert_eq!(keys(store, "a_", None, 10).await, ["a_"]);
}

pub async fn scan_ends_after_many_bytes(subject: &mut Subject) {
    let store = &subject.store;
    let large = Bytes::from(vec![7; VALUE_BYTES_MAX]);
    for key in ["1", "2", "3"] {
        store
            .kv
            .put(key, large.clone(), Expect::Absent)
            .await
            .unwrap();
    }
    assert_eq!(keys(store, "", None, 10).await, ["1", "2"]);
    assert_eq!(keys(store, "", Some("2"), 10).await, ["3"]);
    assert_eq!(store.kv.scan_all("").await.unwrap().len(), 3);
}

pub async fn watch_tells_every_change(subject: &mut Subject) {
    let store = &subject.store;
    put(store, "a/before", "0").await;
    let mut watch = store.kv.watch("a/").await.unwrap();
    assert_eq!(watch.try_next(), None);
    let first = put(store, "a/1", "1").await;
    put(store, "b/1", "other").await;
    assert!(
        store
            .kv
            .put("a/1", "x".into(), Expect::Absent)
            .await
            .is_err()
    );
    let second = put(store, "a/1", "2").await;
    store.kv.delete("a/1", Expect::Any).await.unwrap();
    store.kv.delete("a/1", Expect::Any).await.unwrap();
    for (value, is) in [("1", first), ("2", second)] {
        let Some(Change::Put { key, entry }) = watch.next().await else {
            panic!()
        };
        assert_eq!(
            (&*key, &entry.value[..], entry.revision),
            ("a/1", value.as_bytes(), is)
        );
    }
    let Some(Change::Deleted { key, revision }) = watch.next().await else {
        panic!()
    };
    assert!(key == "a/1" && revision > second);
    assert_eq!(watch.try_next(), None);
    // One who waits already is woken.
    let (told, _) = tokio::join!(watch.next(), put(store, "a/2", "3"));
    assert_eq!(told.unwrap().key(), Some("a/2"));
}

pub async fn watch_that_falls_behind_lists_again(subject: &mut Subject) {
    let store = &subject.store;
    let mut slow = store.kv.watch("a").await.unwrap();
    let mut other = store.kv.watch("b").await.unwrap();
    put(store, "b", "1").await;
    join_all((0..2000).map(|n| {
        let kv = &store.kv;
        async move {
            kv.put(&format!("a{n}"), Bytes::new(), Expect::Absent)
                .await
                .unwrap()
        }
    }))
    .await;
    assert_eq!(slow.next().await, Some(Change::Relist));
    assert_eq!(slow.try_next(), None);
    put(store, "a", "again").await;
    assert_eq!(slow.next().await.unwrap().key(), Some("a"));
    assert_eq!(other.next().await.unwrap().key(), Some("b"));
}

pub async fn watch_ends_with_the_store(subject: &mut Subject) {
    let mut watch = subject.store.kv.watch("a").await.unwrap();
    put(&subject.store, "a", "1").await;
    subject.store.close().await;
    assert!(watch.next().await.is_some());
    assert_eq!(watch.next().await, None);
    subject.reopen().await;
}

pub async fn keys_and_values_have_limits(subject: &mut Subject) {
    let kv = &subject.store.kv;
    let longest = "k".repeat(KEY_BYTES_MAX);
    kv.put(
        &longest,
        Bytes::from(vec![1; VALUE_BYTES_MAX]),
        Expect::Absent,
    )
    .await
    .unwrap();
    for key in ["", "a\0b", &format!("{longest}k")] {
        assert!(matches!(
            kv.put(key, Bytes::new(), Expect::Any).await,
            Err(Error::InvalidName { .. })
        ));
        assert!(matches!(kv.get(key).await, Err(Error::InvalidName { .. })));
        assert!(matches!(
            kv.delete(key, Expect::Any).await,
            Err(Error::InvalidName { .. })
        ));
    }
    let large = Bytes::from(vec![1; VALUE_BYTES_MAX + 1]);
    assert!(matches!(
        kv.put("k", large, Expect::Any).await,
        Err(Error::OverLimit { .. })
    ));
}

pub async fn survives_reopening(subject: &mut Subject) {
    let revision = put(&subject.store, "kept", "1").await;
    put(&subject.store, "removed", "2").await;
    subject
        .store
        .kv
        .delete("removed", Expect::Any)
        .await
        .unwrap();
    subject.reopen().await;
    let all = subject.store.kv.scan_all("").await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(
        (&*all[0].0, &all[0].1.value[..], all[0].1.revision),
        ("kept", &b"1"[..], revision)
    );
}
