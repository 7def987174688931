//! Journals.

use bytes::Bytes;
use futures_util::future::join_all;
use store::{
    APPEND_ENTRIES_MAX, Before, Direction, Error, JournalEntry, NewEntry, Page, Position,
    SCAN_ENTRIES_MAX, Span, Store, VALUE_BYTES_MAX,
};

use crate::Subject;
use Direction::{Backward, Forward};

/// Appends one entry for each time, with that number as its content.
async fn append(store: &Store, stream: &str, times: &[i64]) -> u64 {
    let entries: Vec<NewEntry> = times
        .iter()
        .map(|time_ms| (*time_ms, time_ms.to_string().into()))
        .collect();
    let appended = store.journal.append(stream, entries).await.unwrap();
    assert_eq!(
        appended.last_seq - appended.first_seq + 1,
        times.len() as u64
    );
    appended.first_seq
}

async fn read(store: &Store, span: Span, limit: usize, direction: Direction) -> Page {
    store
        .journal
        .read("s", span, limit, direction)
        .await
        .unwrap()
}

async fn times(store: &Store, span: Span, direction: Direction) -> Vec<i64> {
    let page = read(store, span, 100, direction).await;
    assert!(!page.more);
    assert!(
        page.entries
            .iter()
            .all(|entry| entry.body == entry.time_ms.to_string())
    );
    page.entries.iter().map(|entry| entry.time_ms).collect()
}

fn reversed(times: &[i64]) -> Vec<i64> {
    times.iter().rev().copied().collect()
}

pub async fn by_arrival_and_by_time(subject: &mut Subject) {
    let store = &subject.store;
    let first = append(store, "s", &[30, 10, 20]).await;
    append(store, "other", &[1, 2, 3]).await;
    let second = append(store, "s", &[10, -5]).await;
    assert!(second > first + 2);
    for (span, is) in [
        (Span::since(0), &[30, 10, 20, 10, -5][..]),
        (Span::since(first + 1), &[10, 20, 10, -5]),
        (Span::Arrival(first + 1..second + 1), &[10, 20, 10]),
        (Span::Arrival(5..5), &[]),
        (Span::all(), &[-5, 10, 10, 20, 30]),
        (Span::times(10, 30), &[10, 10, 20]),
        (Span::times(11, 31), &[20, 30]),
        (Span::times(i64::MIN, 10), &[-5]),
        (Span::times(20, 10), &[]),
    ] {
        assert_eq!(times(store, span.clone(), Forward).await, is, "{span:?}");
        assert_eq!(
            times(store, span.clone(), Backward).await,
            reversed(is),
            "{span:?}"
        );
    }
    let all = read(store, Span::all(), 100, Forward).await.entries;
    assert_eq!([all[1].seq, all[2].seq], [first + 1, second]);
    let nothing = store
        .journal
        .read("none", Span::all(), 10, Forward)
        .await
        .unwrap();
    assert_eq!(nothing, Page::default());
}

async fn walk(
    store: &Store,
    direction: Direction,
    mut span: impl FnMut(Option<&JournalEntry>) -> Span,
) -> Vec<JournalEntry> {
    let mut all: Vec<JournalEntry> = Vec::new();
    loop {
        let page = read(store, span(all.last()), 3, direction).await;
        all.extend(page.entries);
        if !page.more {
            return all;
        }
    }
}

pub async fn pages_by_arrival(subject: &mut Subject) {
    let store = &subject.store;
    append(store, "s", &[5, 4, 3, 2, 1]).await;
    append(store, "other", &[9]).await;
    append(store, "s", &[0, 7, 6, 8]).await;
    let is = [5, 4, 3, 2, 1, 0, 7, 6, 8];
    let forward = walk(store, Forward, |last| {
        Span::since(last.map_or(0, |last| last.seq + 1))
    })
    .await;
    let backward = walk(store, Backward, |last| {
        Span::Arrival(0..last.map_or(u64::MAX, |last| last.seq))
    })
    .await;
    assert_eq!(
        forward
            .iter()
            .map(|entry| entry.time_ms)
            .collect::<Vec<_>>(),
        is
    );
    assert_eq!(
        backward
            .iter()
            .map(|entry| entry.time_ms)
            .collect::<Vec<_>>(),
        reversed(&is)
    );
}

pub async fn pages_by_time(subject: &mut Subject) {
    let store = &subject.store;
    append(store, "s", &[2, 1, 2, 2, 3, 2, 1, 2]).await;
    let begin = Position::start_of(i64::MIN);
    let end = Position::start_of(i64::MAX);
    let forward = walk(store, Forward, |last| {
        Span::Time(last.map_or(begin, JournalEntry::after)..end)
    })
    .await;
    let backward = walk(store, Backward, |last| {
        Span::Time(begin..last.map_or(end, JournalEntry::at))
    })
    .await;
    assert_eq!(
        forward
            .iter()
            .map(|entry| entry.time_ms)
            .collect::<Vec<_>>(),
        [1, 1, 2, 2, 2, 2, 2, 3]
    );
    assert!(forward.iter().eq(backward.iter().rev()));
    let exactly = read(store, Span::times(2, 3), 5, Forward).await;
    assert!(exactly.entries.len() == 5 && !exactly.more);
}

pub async fn trims(subject: &mut Subject) {
    let store = &subject.store;
    let first = append(store, "s", &[3, 1, 2, 5, 4]).await;
    append(store, "other", &[1]).await;
    assert_eq!(store.journal.trim("s", Before::Time(3)).await.unwrap(), 2);
    assert_eq!(times(store, Span::since(0), Forward).await, [3, 5, 4]);
    assert_eq!(
        store
            .journal
            .trim("s", Before::Seq(first + 4))
            .await
            .unwrap(),
        2
    );
    assert_eq!(times(store, Span::all(), Forward).await, [4]);
    let info = store.journal.info("s").await.unwrap().unwrap();
    assert_eq!((info.entries, info.bytes, info.last_seq), (1, 1, first + 4));
    assert_eq!((info.first_ms, info.last_ms), (Some(4), Some(4)));
    assert_eq!(
        store
            .journal
            .trim("s", Before::Time(i64::MAX))
            .await
            .unwrap(),
        1
    );
    let info = store.journal.info("s").await.unwrap().unwrap();
    assert_eq!(
        (info.entries, info.bytes, info.last_seq, info.first_ms),
        (0, 0, first + 4, None)
    );
    assert_eq!(
        store.journal.info("other").await.unwrap().unwrap().entries,
        1
    );
    assert_eq!(
        store.journal.trim("none", Before::Time(0)).await.unwrap(),
        0
    );
    let many: Vec<i64> = (0..6000).collect();
    append(store, "s", &many).await;
    assert_eq!(
        store.journal.trim("s", Before::Time(5500)).await.unwrap(),
        5500
    );
    assert_eq!(store.journal.info("s").await.unwrap().unwrap().entries, 500);
}

pub async fn numbers_are_never_used_twice(subject: &mut Subject) {
    let many: Vec<i64> = (0..5000).collect();
    let before = append(&subject.store, "s", &many).await;
    assert!(subject.store.journal.drop_stream("s").await.unwrap());
    assert!(!subject.store.journal.drop_stream("s").await.unwrap());
    assert_eq!(subject.store.journal.info("s").await.unwrap(), None);
    subject.reopen().await;
    let after = append(&subject.store, "s", &[7]).await;
    assert!(after > before + 4999);
    assert_eq!(times(&subject.store, Span::all(), Forward).await, [7]);
    assert_eq!(
        subject
            .store
            .journal
            .info("s")
            .await
            .unwrap()
            .unwrap()
            .entries,
        1
    );
}

pub async fn describes_streams(subject: &mut Subject) {
    let store = &subject.store;
    assert_eq!(store.journal.info("s").await.unwrap(), None);
    append(store, "s", &[30, 10]).await;
    let last = append(store, "s", &[200]).await;
    let info = store.journal.info("s").await.unwrap().unwrap();
    assert_eq!(
        (&*info.name, info.entries, info.bytes, info.last_seq),
        ("s", 3, 7, last)
    );
    assert_eq!((info.first_ms, info.last_ms), (Some(10), Some(200)));
}

pub async fn lists_streams(subject: &mut Subject) {
    let store = &subject.store;
    for stream in ["g/b", "g/a", "g", "g/c", "h", "f"] {
        append(store, stream, &[1]).await;
    }
    let list = async |after, limit| {
        let found = store.journal.list("g/", after, limit).await.unwrap();
        found.into_iter().map(|info| info.name).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 10).await, ["g/a", "g/b", "g/c"]);
    assert_eq!(list(None, 2).await, ["g/a", "g/b"]);
    assert_eq!(list(Some("g/b"), 2).await, ["g/c"]);
    store
        .journal
        .trim("g/a", Before::Time(i64::MAX))
        .await
        .unwrap();
    store.journal.drop_stream("g/b").await.unwrap();
    assert_eq!(list(None, 10).await, ["g/a", "g/c"]);
}

pub async fn pages_end_after_many_bytes(subject: &mut Subject) {
    let store = &subject.store;
    let large = Bytes::from(vec![1; VALUE_BYTES_MAX]);
    for time_ms in 0..3 {
        store
            .journal
            .append("s", vec![(time_ms, large.clone())])
            .await
            .unwrap();
    }
    let page = read(store, Span::all(), 10, Forward).await;
    assert!(page.entries.len() == 2 && page.more);
    let page = read(store, Span::since(page.entries[1].seq + 1), 10, Forward).await;
    assert!(page.entries.len() == 1 && !page.more);
}

pub async fn limits(subject: &mut Subject) {
    let journal = &subject.store.journal;
    assert!(matches!(
        journal.append("s", Vec::new()).await,
        Err(Error::EmptyAppend)
    ));
    assert!(matches!(
        journal.append("", vec![(0, Bytes::new())]).await,
        Err(Error::InvalidName { .. })
    ));
    let entry = (0, Bytes::new());
    let many = vec![entry.clone(); APPEND_ENTRIES_MAX + 1];
    assert!(matches!(
        journal.append("s", many).await,
        Err(Error::OverLimit { .. })
    ));
    let large = vec![entry, (0, vec![0; VALUE_BYTES_MAX + 1].into())];
    assert!(matches!(
        journal.append("s", large).await,
        Err(Error::OverLimit { .. })
    ));
    assert!(
        journal
            .read("s", Span::all(), SCAN_ENTRIES_MAX + 1, Forward)
            .await
            .is_err()
    );
    assert_eq!(journal.info("s").await.unwrap(), None);
}

pub async fn many_writers(subject: &mut Subject) {
    let store = &subject.store;
    join_all((0..50).map(|n| async move {
        for _ in 0..4 {
            append(store, "s", &[n; 10]).await;
        }
    }))
    .await;
    let entries = read(store, Span::since(0), SCAN_ENTRIES_MAX, Forward)
        .await
        .entries;
    assert_eq!(entries.len(), 2000);
    // Each append is in one piece.
    assert!(
        entries
            .chunks(10)
            .all(|chunk| chunk.iter().all(|entry| entry.time_ms == chunk[0].time_ms))
    );
}

pub async fn survives_reopening(subject: &mut Subject) {
    let first = append(&subject.store, "s", &[3, 1, 2]).await;
    subject.reopen().await;
    assert_eq!(
        times(&subject.store, Span::since(first), Forward).await,
        [3, 1, 2]
    );
    assert!(append(&subject.store, "s", &[4]).await > first + 2);
}
