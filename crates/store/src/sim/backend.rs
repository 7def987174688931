//! The four traits over a [`World`], with faults.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::world::World;
use super::{Shared, lock};
use crate::clock::after as time_after;
use crate::feed::Feed;
use crate::limits::{
    check_append, check_lease, check_message, check_name, check_page, check_push, check_put,
    check_queue, check_stream, check_value,
};
use crate::signals::{self, Signals};
use crate::{
    Appended, Backend, Before, BlobInfo, BlobStream, Blobs, Buried, Change, Depth, Digest,
    Direction, Entry, Error, Expect, Journal, Kv, Leased, NewEntry, Page, Queues, Result, Span,
    Stats, Store, StreamInfo, Token, Watch,
};

/// One life of a simulated store: from an opening to a crash or a close.
pub(super) struct Life {
    shared: Arc<Shared>,
    feed: Feed,
    signals: Arc<Signals>,
    closing: AtomicBool,
    over: AtomicBool,
    under_way: AtomicUsize,
    writes: AtomicU64,
    failed: AtomicU64,
}

/// What an effect leaves to tell.
#[derive(Default)]
struct News {
    change: Option<Change>,
    wake: Option<String>,
}

impl News {
    fn wake(queue: impl Into<String>) -> News {
        News {
            change: None,
            wake: Some(queue.into()),
        }
    }
}

impl Life {
    pub(super) fn new(shared: &Arc<Shared>) -> Arc<Life> {
        Arc::new(Life {
            shared: Arc::clone(shared),
            feed: Feed::default(),
            signals: Arc::default(),
            closing: AtomicBool::new(false),
            over: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            writes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    pub(super) fn store(self: &Arc<Self>) -> Store {
        Store {
            kv: Arc::clone(self) as _,
            blobs: Arc::clone(self) as _,
            // One shelf for both, where nobody removes anything.
            objects: Arc::clone(self) as _,
            queues: Arc::clone(self) as _,
            journal: Arc::clone(self) as _,
            clock: Arc::clone(&self.shared.clock),
            backend: Arc::clone(self) as _,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(super) fn end(&self) {
        {
            // Under the lock of the world, so that no effect happens after the end.
            let _world = lock(&self.shared.world);
            self.over.store(true, Ordering::SeqCst);
        }
        self.feed.close();
        self.signals.send_all();
    }

    /// A read, which may be late or not answered at all.
    async fn read<T>(&self, look: impl FnOnce(&World) -> T) -> Result<T> {
        let _under_way = self.begin()?;
        self.shared.dawdle().await;
        let seen = look(&*self.alive(&mut lock(&self.shared.world))?);
        self.shared.dawdle().await;
        if self.shared.strikes(self.shared.faults().lost_before) {
            return Err(Error::Unknown);
        }
        self.alive(&mut ()).map(|_alive| seen)
    }

    /// A write, whose effect happens at some moment between the call and the answer, or never.
    async fn write<T>(
        &self,
        effect: impl FnOnce(&mut World, i64) -> Result<(T, News)>,
    ) -> Result<T> {
        let _under_way = self.begin()?;
        self.shared.dawdle().await;
        let faults = self.shared.faults();
        if self.shared.strikes(faults.lost_before) {
            return self.unknown();
        }
        let value = {
            let mut world = lock(&self.shared.world);
            let (value, news) = effect(self.alive(&mut world)?, self.shared.clock.now_ms())?;
            // Told under the lock, so that changes come in the order of their revisions.
            self.feed.tell(news.change.as_slice());
            news.wake.iter().for_each(|queue| self.signals.send(queue));
            value
        };
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.shared.dawdle().await;
        self.alive(&mut ())?;
        if self.shared.strikes(faults.lost_after) {
            self.unknown()
        } else {
            Ok(value)
        }
    }

    fn unknown<T>(&self) -> Result<T> {
        self.failed.fetch_add(1, Ordering::SeqCst);
        Err(Error::Unknown)
    }

    fn alive<'a, T>(&self, thing: &'a mut T) -> Result<&'a mut T> {
        if self.is_over() {
            Err(Error::CLOSED)
        } else {
            Ok(thing)
        }
    }

    fn begin(&self) -> Result<UnderWay<'_>> {
        if self.closing.load(Ordering::SeqCst) || self.is_over() {
            return Err(Error::CLOSED);
        }
        self.under_way.fetch_add(1, Ordering::SeqCst);
        Ok(UnderWay(self))
    }
}

/// An operation that a close waits for.
struct UnderWay<'a>(&'a Life);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Backend for Life {
    async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        while self.under_way.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
        self.end();
    }

    async fn check(&self) -> Result<Vec<String>> {
        self.read(|_world| Vec::new()).await
    }

    fn stats(&self) -> Stats {
        let writes = self.writes.load(Ordering::SeqCst);
        let failed = self.failed.load(Ordering::SeqCst);
        Stats {
            writes,
            commits: writes,
            largest_group: writes.min(1),
            failed,
        }
    }
}

/// A put, and its revision.
fn told(change: Change) -> Result<(u64, News)> {
    let Change::Put { entry, .. } = &change else {
        unreachable!("a put is told as one")
    };
    let revision = entry.revision;
    let news = News {
        change: Some(change),
        wake: None,
    };
    Ok((revision, news))
}

#[async_trait]
impl Kv for Life {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        check_name("key", key)?;
        self.read(|world| world.get(key)).await
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<u64> {
        check_put(key, &value)?;
        self.write(|world, _now| told(world.put(key, value, expect)?))
            .await
    }

    async fn put_with(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        (other, content): (&str, Bytes),
    ) -> Result<u64> {
        check_put(key, &value)?;
        check_put(other, &content)?;
        self.write(|world, _now| {
            let change = world.put(key, value, expect)?;
            world.put(other, content, Expect::Any)?;
            told(change)
        })
        .await
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool> {
        check_name("key", key)?;
        self.write(|world, _now| {
            let change = world.delete(key, expect)?;
            Ok((change.is_some(), News { change, wake: None }))
        })
        .await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Entry)>> {
        check_page(limit)?;
        self.read(|world| world.scan(prefix, after, limit)).await
    }

    async fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, u64)>> {
        let page = self.scan(prefix, after, limit).await?;
        let key = |(key, entry): (String, Entry)| (key, entry.revision);
        Ok(page.into_iter().map(key).collect())
    }

    async fn watch(&self, prefix: &str) -> Result<Watch> {
        self.alive(&mut ())?;
        Ok(self.feed.watch(prefix))
    }
}

#[async_trait]
impl Blobs for Life {
    async fn put(&self, content: Bytes) -> Result<Digest> {
        self.write(|world, now_ms| Ok((world.put_blob(content, now_ms), News::default())))
            .await
    }

    async fn put_stream(&self, mut content: BlobStream) -> Result<Digest> {
        let mut whole = Vec::new();
        while let Some(piece) = content.next().await {
            whole.extend(piece.map_err(|error| Error::Source {
                detail: error.to_string(),
            })?);
        }
        Blobs::put(self, whole.into()).await
    }

    async fn touch(&self, digest: &Digest) -> Result<bool> {
        self.write(|world, now_ms| Ok((world.touch_blob(digest, now_ms), News::default())))
            .await
    }

    async fn get(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Bytes>> {
        self.read(|world| world.blob(digest, range.as_ref())).await
    }

    async fn get_stream(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<BlobStream>> {
        let content = Blobs::get(self, digest, range).await?;
        Ok(content.map(|content| Box::pin(stream::iter([Ok(content)])) as BlobStream))
    }

    async fn info(&self, digest: &Digest) -> Result<Option<BlobInfo>> {
        self.read(|world| world.blob_info(digest)).await
    }

    fn path(&self, _digest: &Digest) -> Option<PathBuf> {
        None
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.delete_untouched(digest, i64::MAX).await
    }

    async fn delete_untouched(&self, digest: &Digest, since_ms: i64) -> Result<bool> {
        self.write(|world, _now| Ok((world.delete_blob(digest, since_ms), News::default())))
            .await
    }

    async fn list(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobInfo>> {
        check_page(limit)?;
        self.read(|world| world.list_blobs(after, limit)).await
    }
}

#[async_trait]
impl Queues for Life {
    async fn push(&self, queue: &str, id: &str, not_before_ms: i64, body: Bytes) -> Result<bool> {
        check_push(queue, id, &body)?;
        self.write(|world, now_ms| {
            Ok((
                world.push(queue, id, not_before_ms, body, now_ms),
                News::wake(queue),
            ))
        })
        .await
    }

    async fn lease(&self, queue: &str, max: usize, time: Duration) -> Result<Vec<Leased>> {
        check_lease(queue, max)?;
        self.write(|world, now_ms| {
            let leased = world.lease(queue, max, now_ms, time_after(now_ms, time));
            for message in &leased {
                if self.shared.strikes(self.shared.faults().leases_cut) {
                    world.cut_lease(&message.token, now_ms);
                }
            }
            Ok((leased, News::wake(queue)))
        })
        .await
    }

    async fn ack(&self, token: &Token) -> Result<()> {
        self.write(|world, _now| Ok(((), News::wake(world.ack(token)?))))
            .await
    }

    async fn ack_once(&self, token: &Token, until_ms: i64) -> Result<()> {
        self.write(|world, _now| Ok(((), News::wake(world.ack_once(token, until_ms)?))))
            .await
    }

    async fn extend(&self, token: &Token, time: Duration) -> Result<()> {
        self.write(|world, now_ms| {
            Ok((
                (),
                News::wake(world.extend(token, time_after(now_ms, time))?),
            ))
        })
        .await
    }

    async fn retry(&self, token: &Token, not_before_ms: i64) -> Result<()> {
        self.write(|world, _now| Ok(((), News::wake(world.retry(token, not_before_ms)?))))
            .await
    }

    async fn bury(&self, token: &Token, why: &str) -> Result<()> {
        check_value("the bytes of a reason", why.len())?;
        self.write(|world, now_ms| Ok(((), News::wake(world.bury(token, why, now_ms)?))))
            .await
    }

    async fn depth(&self, queue: &str) -> Result<Depth> {
        check_queue(queue)?;
        let now_ms = self.shared.clock.now_ms();
        self.read(|world| world.depth(queue, now_ms)).await
    }

    async fn ready(&self, queue: &str) -> Result<()> {
        check_queue(queue)?;
        signals::ready(&self.signals, &*self.shared.clock, queue, || {
            self.read(|world| world.earliest(queue))
        })
        .await
    }

    async fn buried(&self, queue: &str, after: Option<&str>, limit: usize) -> Result<Vec<Buried>> {
        check_queue(queue)?;
        check_page(limit)?;
        self.read(|world| world.buried(queue, after, limit)).await
    }

    async fn exhume(&self, queue: &str, id: &str, not_before_ms: i64) -> Result<bool> {
        check_message(queue, id)?;
        self.write(|world, _now| Ok((world.exhume(queue, id, not_before_ms), News::wake(queue))))
            .await
    }

    async fn remove(&self, queue: &str, id: &str) -> Result<bool> {
        check_message(queue, id)?;
        self.write(|world, _now| Ok((world.remove(queue, id), News::default())))
            .await
    }

    async fn purge(&self, queue: &str) -> Result<u64> {
        check_queue(queue)?;
        self.write(|world, _now| Ok((world.purge(queue), News::default())))
            .await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        check_page(limit)?;
        self.read(|world| world.list_queues(prefix, after, limit))
            .await
    }
}

#[async_trait]
impl Journal for Life {
    async fn append(&self, stream: &str, entries: Vec<NewEntry>) -> Result<Appended> {
        check_append(stream, &entries)?;
        self.write(|world, _now| Ok((world.append(stream, entries), News::default())))
            .await
    }

    async fn read(
        &self,
        stream: &str,
        span: Span,
        limit: usize,
        direction: Direction,
    ) -> Result<Page> {
        check_stream(stream)?;
        check_page(limit)?;
        Life::read(self, |world| world.read(stream, &span, limit, direction)).await
    }

    async fn trim(&self, stream: &str, before: Before) -> Result<u64> {
        check_stream(stream)?;
        self.write(|world, _now| Ok((world.trim(stream, before), News::default())))
            .await
    }

    async fn drop_stream(&self, stream: &str) -> Result<bool> {
        check_stream(stream)?;
        self.write(|world, _now| Ok((world.drop_stream(stream), News::default())))
            .await
    }

    async fn info(&self, stream: &str) -> Result<Option<StreamInfo>> {
        check_stream(stream)?;
        Life::read(self, |world| world.stream_info(stream)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StreamInfo>> {
        check_page(limit)?;
        Life::read(self, |world| world.list_streams(prefix, after, limit)).await
    }
}
