//! What could not be delivered and has no dead-letter queue: kept in the outbox for the operator to see, and to send
//! on its way again once the cause is gone.

use wire::Arn;

use crate::outbox::{Inner, queue_of, recipient_of};
use crate::stats::{down, up};
use crate::{Delivery, Error, Outbox, record};

/// How long they are kept: as long as SQS keeps a message at most.
pub(crate) const KEPT_MS: i64 = 14 * 24 * 3_600_000;
/// What one look at them holds in memory; it ends early where they are larger.
const LOOK_BYTES_MAX: usize = 64 << 20;
/// Taken from the store at once.
const PAGE: usize = 100;

/// A delivery that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grave {
    /// The delivery, if it can still be read.
    pub delivery: Option<Delivery>,
    /// Its id.
    pub id: String,
    /// Its recipient.
    pub to: Arn,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was set aside, in milliseconds since 1970.
    pub buried_ms: i64,
    /// The code and the sentence of the last refusal.
    pub why: String,
}

impl Outbox {
    /// At most `limit` deliveries that were set aside, by recipient, oldest first; fewer when they are large.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn graves(&self, limit: usize) -> Result<Vec<Grave>, Error> {
        let mut graves: Vec<Grave> = Vec::new();
        let mut bytes = 0;
        for queue in self.inner.all_queues().await? {
            let Some(to) = recipient_of(&queue) else {
                continue;
            };
            let left = limit - graves.len();
            if left == 0 || bytes >= LOOK_BYTES_MAX {
                break;
            }
            let mut after: Option<String> = None;
            let mut found = 0;
            while found < left && bytes < LOOK_BYTES_MAX {
                let page = PAGE.min(left - found);
                let queues = &self.inner.queues;
                let buried = queues.buried(&queue, after.as_deref(), page).await?;
                let Some(last) = buried.last() else { break };
                after = Some(last.id.clone());
                found += buried.len();
                bytes += buried.iter().map(|one| one.body.len()).sum::<usize>();
                graves.extend(buried.into_iter().map(|buried| Grave {
                    delivery: record::decode(buried.body).ok(),
                    id: buried.id,
                    to: to.clone(),
                    attempts: buried.attempts,
                    buried_ms: buried.buried_ms,
                    why: buried.why,
                }));
            }
        }
        Ok(graves)
    }

    /// Sends what was set aside for a recipient on its way again, all or the one with this id, and tells how many.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn redrive(&self, to: &Arn, id: Option<&str>) -> Result<u64, Error> {
        let queue = queue_of(to);
        let mut sent = 0;
        loop {
            let ids = match id {
                Some(id) => vec![id.to_owned()],
                None => self.inner.first_buried(&queue).await?,
            };
            if ids.is_empty() {
                break;
            }
            let now_ms = self.inner.clock.now_ms();
            for id in &ids {
                if self.inner.queues.exhume(&queue, id, now_ms).await? {
                    sent += 1;
                    up(&self.inner.counts.waiting);
                    down(&self.inner.counts.graves);
                }
            }
            if id.is_some() {
                break;
            }
        }
        self.inner.wake(queue);
        Ok(sent)
    }
}

impl Inner {
    async fn first_buried(&self, queue: &str) -> store::Result<Vec<String>> {
        let buried = self.queues.buried(queue, None, PAGE).await?;
        Ok(buried.into_iter().map(|buried| buried.id).collect())
    }

    /// Removes what was set aside long ago.
    pub(crate) async fn expire(&self, queue: &str) -> store::Result<()> {
        let before_ms = self.clock.now_ms() - KEPT_MS;
        loop {
            let buried = self.queues.buried(queue, None, PAGE).await?;
            let old = buried.iter().filter(|grave| grave.buried_ms < before_ms);
            let mut removed = 0;
            for grave in old {
                if self.queues.remove(queue, &grave.id).await? {
                    removed += 1;
                    up(&self.counts.expired);
                    down(&self.counts.graves);
                    tracing::warn!(
                        queue,
                        id = grave.id,
                        why = grave.why,
                        "an undelivered event is removed after two weeks"
                    );
                }
            }
            if removed == 0 {
                return Ok(());
            }
        }
    }
}
