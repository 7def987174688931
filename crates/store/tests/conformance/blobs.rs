//! Blobs.

use std::io;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use store::{BlobStream, Digest};

use crate::Subject;

const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn pieces(pieces: Vec<io::Result<Bytes>>) -> BlobStream {
    Box::pin(stream::iter(pieces))
}

async fn whole(stream: BlobStream) -> Vec<u8> {
    stream
        .try_fold(Vec::new(), |mut whole, piece| async move {
            whole.extend(piece);
            Ok(whole)
        })
        .await
        .unwrap()
}

pub async fn content_by_digest(subject: &mut Subject) {
    let blobs = &subject.store.blobs;
    let digest = blobs.put("hello".into()).await.unwrap();
    assert_eq!(digest.to_string(), HELLO);
    assert_eq!(digest, HELLO.parse().unwrap());
    assert_eq!(digest, Digest::of(b"hello"));
    assert_eq!(blobs.put("hello".into()).await.unwrap(), digest);
    assert_eq!(blobs.get(&digest, None).await.unwrap().unwrap(), "hello");
    let info = blobs.info(&digest).await.unwrap().unwrap();
    assert_eq!(
        (info.digest, info.size_bytes, info.touched_ms),
        (digest, 5, subject.now_ms())
    );
    if let Some(path) = blobs.path(&digest) {
        assert_eq!(std::fs::read(path).unwrap(), b"hello");
    }
    let none = Digest::of(b"none");
    assert_eq!(blobs.get(&none, None).await.unwrap(), None);
    assert!(blobs.get_stream(&none, None).await.unwrap().is_none());
    assert_eq!(blobs.info(&none).await.unwrap(), None);
    for text in [
        "",
        "2cf2",
        &HELLO.to_uppercase(),
        &HELLO.replace('2', "g"),
        &format!("{HELLO}0"),
    ] {
        assert!(text.parse::<Digest>().is_err(), "{text}");
    }
}

pub async fn ranges(subject: &mut Subject) {
    let blobs = &subject.store.blobs;
    let digest = blobs.put("0123456789".into()).await.unwrap();
    for (range, is) in [
        (0..10, "0123456789"),
        (2..5, "234"),
        (8..99, "89"),
        (10..12, ""),
        (99..u64::MAX, ""),
        (3..3, ""),
    ] {
        assert_eq!(
            blobs
                .get(&digest, Some(range.clone()))
                .await
                .unwrap()
                .unwrap(),
            is
        );
        let stream = blobs
            .get_stream(&digest, Some(range))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(whole(stream).await, is.as_bytes());
    }
    let empty = blobs.put(Bytes::new()).await.unwrap();
    assert_eq!(blobs.get(&empty, None).await.unwrap().unwrap(), "");
}

pub async fn streams(subject: &mut Subject) {
    let blobs = &subject.store.blobs;
    let large: Vec<Bytes> = (0..40u8).map(|n| Bytes::from(vec![n; 50_000])).collect();
    let digest = blobs
        .put_stream(pieces(large.iter().cloned().map(Ok).collect()))
        .await
        .unwrap();
    let content = large.concat();
    assert_eq!(digest, Digest::of(&content));
    assert!(whole(blobs.get_stream(&digest, None).await.unwrap().unwrap()).await == content);
    let part = blobs
        .get_stream(&digest, Some(49_999..1_900_001))
        .await
        .unwrap()
        .unwrap();
    assert!(whole(part).await == content[49_999..1_900_001]);
    let mut unread = blobs.get_stream(&digest, None).await.unwrap().unwrap();
    assert!(unread.next().await.is_some());
    let again = blobs
        .put_stream(pieces(vec![
            Ok("he".into()),
            Ok(Bytes::new()),
            Ok("llo".into()),
        ]))
        .await
        .unwrap();
    assert_eq!(again.to_string(), HELLO);
}

pub async fn a_broken_stream_stores_nothing(subject: &mut Subject) {
    let blobs = &subject.store.blobs;
    let broken = vec![
        Ok(Bytes::from("hello")),
        Err(io::Error::other("the client went away")),
    ];
    let error = blobs.put_stream(pieces(broken)).await.unwrap_err();
    assert!(
        error.to_string().contains("the client went away"),
        "{error}"
    );
    assert_eq!(blobs.list(None, 10).await.unwrap(), []);
}

pub async fn deletes(subject: &mut Subject) {
    let blobs = &subject.store.blobs;
    let digest = blobs.put("hello".into()).await.unwrap();
    assert!(blobs.delete(&digest).await.unwrap());
    assert!(!blobs.delete(&digest).await.unwrap());
    assert_eq!(blobs.get(&digest, None).await.unwrap(), None);
    blobs.put("hello".into()).await.unwrap();
    assert!(blobs.get(&digest, None).await.unwrap().is_some());
}

pub async fn collecting_garbage(subject: &mut Subject) {
    let blobs = &subject.store.blobs;
    let digest = blobs.put("hello".into()).await.unwrap();
    let same_moment = subject.now_ms();
    assert!(!blobs.delete_untouched(&digest, same_moment).await.unwrap());
    subject.advance_ms(1000);
    let marking = subject.now_ms();
    blobs.put("hello".into()).await.unwrap();
    assert!(!blobs.delete_untouched(&digest, marking).await.unwrap());
    subject.advance_ms(1);
    assert!(
        blobs
            .delete_untouched(&digest, subject.now_ms())
            .await
            .unwrap()
    );
    assert!(
        !blobs
            .delete_untouched(&digest, subject.now_ms())
            .await
            .unwrap()
    );
}

pub async fn list_is_paged(subject: &mut Subject) {
    let blobs = &subject.store.blobs;
    let mut all = Vec::new();
    for n in 0..50u8 {
        all.push(blobs.put(vec![n].into()).await.unwrap());
    }
    all.sort();
    let mut listed: Vec<Digest> = Vec::new();
    loop {
        let page = blobs.list(listed.last(), 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.iter().all(|blob| blob.size_bytes == 1));
        listed.extend(page.iter().map(|blob| blob.digest));
    }
    assert_eq!(listed, all);
}

pub async fn the_same_content_at_once(subject: &mut Subject) {
    let blobs = &subject.store.blobs;
    let digests = join_all((0..16).map(|_| blobs.put("hello".into()))).await;
    assert!(
        digests
            .into_iter()
            .all(|digest| digest.unwrap().to_string() == HELLO)
    );
    assert_eq!(blobs.list(None, 10).await.unwrap().len(), 1);
}

pub async fn survives_reopening(subject: &mut Subject) {
    let digest = subject.store.blobs.put("hello".into()).await.unwrap();
    subject.reopen().await;
    assert_eq!(
        subject
            .store
            .blobs
            .get(&digest, None)
            .await
            .unwrap()
            .unwrap(),
        "hello"
    );
    assert_eq!(
        subject.store.blobs.put("hello".into()).await.unwrap(),
        digest
    );
    assert_eq!(subject.store.blobs.list(None, 10).await.unwrap().len(), 1);
}
