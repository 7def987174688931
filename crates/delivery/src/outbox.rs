//! The outbox: one durable queue for each recipient of each account's deliveries, so that one that is slow holds up nobody
//! else, and an account finds its own without looking at others'.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::{Clock, Queues, Store};
use tokio::sync::Notify;
use wire::{AccountId, Arn};

use crate::stats::{Counts, Stats, up};
use crate::{Delivery, Error, record};

/// For how long a delivery is remembered after it was made: within this time a put with its id does nothing.
pub const REPEATS_MS: i64 = 3_600_000;
/// The largest payload. The rest of what the store takes at once is for what stands beside it.
pub const PAYLOAD_BYTES_MAX: usize = store::VALUE_BYTES_MAX - 256 * 1024;
/// The most deliveries that wait or were set aside. Those who put more are told so.
const DELIVERIES_MAX: u64 = 1_000_000;

/// Prefix of the queues.
const QUEUES: &str = "delivery/";

/// Where deliveries go. Clones are handles to the same one.
#[derive(Clone)]
pub struct Outbox {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub queues: Arc<dyn Queues>,
    pub clock: Arc<dyn Clock>,
    pub counts: Counts,
    /// Queues in which there is something new.
    news: Mutex<BTreeSet<String>>,
    pub woken: Notify,
}

impl Outbox {
    /// The outbox in a store. Nothing leaves it until there is a [`crate::Courier`].
    pub fn open(store: &Store) -> Outbox {
        Outbox {
            inner: Arc::new(Inner {
                queues: Arc::clone(&store.queues),
                clock: Arc::clone(&store.clock),
                counts: Counts::default(),
                news: Mutex::default(),
                woken: Notify::new(),
            }),
        }
    }

    /// Puts a delivery on the disk. When this returns it will be brought to its recipient, or be found in its
    /// dead-letter place, whatever happens. `false` when the id is there already, or was within [`REPEATS_MS`].
    ///
    /// # Errors
    /// If it is too large or there are too many; then nothing was taken. If the store fails; then put it again, which is
    /// harmless.
    pub async fn put(&self, delivery: &Delivery) -> Result<bool, Error> {
        let inner = &self.inner;
        if delivery.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLarge {
                bytes: delivery.payload.len(),
                limit: PAYLOAD_BYTES_MAX,
            });
        }
        let Stats {
            waiting, graves, ..
        } = inner.counts.read();
        if waiting + graves >= DELIVERIES_MAX {
            return Err(Error::Full {
                limit: DELIVERIES_MAX,
            });
        }
        let queue = queue_of(&delivery.scope.account, &delivery.to);
        let body = record::encode(delivery)?;
        let now_ms = inner.clock.now_ms();
        let pushed = inner
            .queues
            .push(&queue, &delivery.id, now_ms, body)
            .await?;
        match pushed {
            true => {
                up(&inner.counts.accepted);
                up(&inner.counts.waiting);
            }
            false => up(&inner.counts.repeated),
        }
        inner.wake(queue);
        Ok(pushed)
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        self.inner.counts.read()
    }
}

impl Inner {
    /// Tells the courier that there is something in a queue.
    pub fn wake(&self, queue: String) {
        self.news().insert(queue);
        self.woken.notify_one();
    }

    /// The queues in which there is something new since the last call.
    pub fn take_news(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.news())
    }

    /// Every queue that there is.
    pub async fn all_queues(&self) -> store::Result<Vec<String>> {
        self.queues_below(QUEUES).await
    }

    /// The queues of an account's deliveries.
    pub async fn queues_of(&self, account: &AccountId) -> store::Result<Vec<String>> {
        self.queues_below(&prefix_of(account)).await
    }

    async fn queues_below(&self, prefix: &str) -> store::Result<Vec<String>> {
        const PAGE: usize = 1000;
        let mut all: Vec<String> = Vec::new();
        loop {
            let after = all.last().map(String::as_str);
            let page = self.queues.list(prefix, after, PAGE).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Counts what is in the outbox.
    pub async fn count(&self, queues: &[String]) -> store::Result<()> {
        let (mut waiting, mut graves) = (0, 0);
        for queue in queues {
            let depth = self.queues.depth(queue).await?;
            waiting += depth.live();
            graves += depth.buried;
        }
        self.counts.waiting.store(waiting, Ordering::Relaxed);
        self.counts.graves.store(graves, Ordering::Relaxed);
        Ok(())
    }

    fn news(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // Nothing panics while it is held.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of an account's deliveries to a recipient.
pub(crate) fn queue_of(account: &AccountId, to: &Arn) -> String {
    format!("{}{to}", prefix_of(account))
}

/// The recipient of a queue.
pub(crate) fn recipient_of(queue: &str) -> Option<Arn> {
    let (_account, to) = queue.strip_prefix(QUEUES)?.split_once('/')?;
    Arn::parse(to)
}

fn prefix_of(account: &AccountId) -> String {
    format!("{QUEUES}{account}/")
}
