#![allow(clippy::unwrap_used, missing_docs)]
use bytes::Bytes;
use std::time::Duration;
use store::*;

#[tokio::test]
async fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let s = Store::open(dir.path()).unwrap();
    let r =
        s.kv.put("a", Bytes::from_static(b"1"), Expect::Absent)
            .await
            .unwrap();
    assert!(
        matches!(s.kv.put("a", Bytes::new(), Expect::Absent).await, Err(Error::Conflict { found: Some(f), .. }) if f == r)
    );
    let d = s.blobs.put(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(s.blobs.get(&d, Some(1..3)).await.unwrap().unwrap(), "el");
    assert!(s.queues.push("q", "m", 0, Bytes::new()).await.unwrap());
    s.queues.ready("q").await.unwrap();
    let l = s
        .queues
        .lease("q", 10, Duration::from_secs(1))
        .await
        .unwrap();
    s.queues.bury(&l[0].token, "no").await.unwrap();
    assert_eq!(s.queues.list("", None, 10).await.unwrap(), ["q"]);
    s.journal
        .append("s", vec![(2, "b".into()), (1, "a".into())])
        .await
        .unwrap();
    let p = s
        .journal
        .read("s", Span::all(), 10, Direction::Forward)
        .await
        .unwrap();
    assert_eq!(p.entries[0].body, "a");
    assert!(matches!(Store::open(dir.path()), Err(Error::Locked { .. })));
    assert!(s.check().await.unwrap().is_empty());
    s.close().await;
    let s = Store::open(dir.path()).unwrap();
    assert!(s.kv.get("a").await.unwrap().is_some());
}
