//! What could not be delivered and has no dead-letter queue: kept in the outbox for the operator to see, and to send
//! on its way again once the cause is gone.

use wire::{AccountId, Arn};

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

/// The place of a delivery among those that were set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its recipient.
    pub to: Arn,
    /// Its id.
    pub id: String,
}

impl Outbox {
    /// At most `limit` deliveries of an account that were set aside, by recipient, oldest first, after the one at a place;
    /// fewer when they are large, but one at least if there is one.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn graves(
        &self,
        account: &AccountId,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Grave>, Error> {
        let first = after.map(|place| queue_of(account, &place.to));
        let mut queues = self.inner.queues_of(account).await?;
        queues.retain(|queue| first.as_ref().is_none_or(|first| queue >= first));
        let mut graves = Vec::new();
        let mut bytes = 0;
        for queue in queues {
            let Some(to) = recipient_of(&queue) else {
                continue;
            };
            let place = after.filter(|place| place.to == to);
            let mut last = place.map(|place| place.id.clone());
            while graves.len() < limit && bytes < LOOK_BYTES_MAX {
                let page = PAGE.min(limit - graves.len());
                let store = &self.inner.queues;
                let buried = store.buried(&queue, last.as_deref(), page).await?;
                let Some(end) = buried.last() else { break };
                last = Some(end.id.clone());
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

    /// Sends what was set aside of an account on its way again, all or what is for one recipient, or the one with this id,
    /// and tells how many.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn redrive(
        &self,
        account: &AccountId,
        to: Option<&Arn>,
        id: Option<&str>,
    ) -> Result<u64, Error> {
        let queues = match to {
            Some(to) => vec![queue_of(account, to)],
            None => self.inner.queues_of(account).await?,
        };
        let mut sent = 0;
        for queue in queues {
            sent += match id {
                Some(id) => u64::from(self.inner.exhume(&queue, id).await?),
                None => self.inner.exhume_all(&queue).await?,
            };
            self.inner.wake(queue);
        }
        Ok(sent)
    }
}

impl Inner {
    async fn exhume(&self, queue: &str, id: &str) -> store::Result<bool> {
        let exhumed = self.queues.exhume(queue, id, self.clock.now_ms()).await?;
        if exhumed {
            up(&self.counts.waiting);
            down(&self.counts.graves);
        }
        Ok(exhumed)
    }

    async fn exhume_all(&self, queue: &str) -> store::Result<u64> {
        let mut sent = 0;
        // What fails again in the meantime comes behind those that are known now, and stays.
        let now_ms = self.clock.now_ms();
        loop {
            let buried = self.queues.buried(queue, None, PAGE).await?;
            let known = buried.iter().filter(|grave| grave.buried_ms <= now_ms);
            let mut some = 0;
            for grave in known {
                some += u64::from(self.exhume(queue, &grave.id).await?);
            }
            if some == 0 {
                return Ok(sent);
            }
            sent += some;
        }
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
