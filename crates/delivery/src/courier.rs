//! The courier: takes deliveries out of the outbox and brings them to their recipients, until each is taken or given up.
//!
//! Each queue that has something in it has a porter, a task that leases and hands over. The patrol looks at all queues
//! when the courier begins and once a minute: what a crash left and what just came are found in the same way.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use store::Leased;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

use crate::outbox::{Inner, REPEATS_MS};
use crate::stats::{down, up};
use crate::{Delivery, Outbox, Recipient, Refusal, record};

/// Deliveries handed over at once, to all recipients.
const HANDED_OVER_MAX: usize = 512;
/// Deliveries handed over at once to one recipient: those that hang leave room for the others.
const PER_RECIPIENT_MAX: usize = 16;
/// How long nobody else gets a delivery that is being handed over. Longer than [`Courier::ATTEMPT_MAX`].
const LEASE: Duration = Duration::from_secs(60);
/// How often the patrol goes round.
const PATROL_EVERY_MS: i64 = 60_000;
/// How long a porter waits after the store failed.
const STORE_PAUSE_MS: i64 = 1000;
/// The first wait between two attempts.
const BACK_OFF_FIRST_MS: u64 = 1000;
/// The longest. With the jitter, AWS's 185 attempts then take its 24 hours.
const BACK_OFF_LAST_MS: u64 = 640_000;
/// The longest reason that is kept with what is set aside.
const WHY_BYTES_MAX: usize = 4096;

/// Brings deliveries to recipients.
pub struct Courier {
    outbox: Arc<Inner>,
    recipients: Vec<Arc<dyn Recipient>>,
    observers: Vec<Arc<dyn Observer>>,
    room: Arc<Semaphore>,
}

/// Learns what becomes of deliveries, for the metrics of those who sent them. Told after it is on the disk; a crash may
/// come in between, or make it happen twice.
pub trait Observer: Send + Sync {
    /// Something became of a delivery.
    fn saw(&self, delivery: &Delivery, outcome: &Outcome);
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The recipient has it.
    Delivered,
    /// Not taken this time; another attempt follows.
    Retried(Refusal),
    /// Given up, and put into the outbox again for its dead-letter queue.
    DeadLettered(Refusal),
    /// Given up, and set aside in the outbox.
    Buried(Refusal),
    /// Given up by its sender before it was tried: it was too old by then. What is in the outbox is never that.
    Expired(Refusal),
}

impl Courier {
    /// A recipient that has not answered for this long did not take the delivery.
    pub const ATTEMPT_MAX: Duration = Duration::from_secs(30);

    /// A courier for these recipients, asked in this order. One for each outbox.
    pub fn new(
        outbox: &Outbox,
        recipients: Vec<Arc<dyn Recipient>>,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Courier {
        Courier {
            outbox: Arc::clone(&outbox.inner),
            recipients,
            observers,
            room: Arc::new(Semaphore::new(HANDED_OVER_MAX)),
        }
    }

    /// Works until it is dropped. What is under way then is delivered again by the next courier.
    pub async fn run(self) {
        let courier = Arc::new(self);
        let mut porters = JoinSet::new();
        let mut served: HashSet<String> = HashSet::new();
        let mut patrol_ms = courier.outbox.clock.now_ms();
        loop {
            let mut queues = courier.outbox.take_news();
            if courier.outbox.clock.now_ms() >= patrol_ms {
                queues.extend(courier.patrol().await);
                patrol_ms = courier.outbox.clock.now_ms() + PATROL_EVERY_MS;
            }
            for queue in queues {
                if served.insert(queue.clone()) {
                    porters.spawn(Arc::clone(&courier).carry(queue));
                }
            }
            tokio::select! {
                () = courier.outbox.woken.notified() => {}
                () = courier.outbox.clock.sleep_until(patrol_ms) => {}
                Some(ended) = porters.join_next() => {
                    let Some(queue) = sound(ended) else { return };
                    served.remove(&queue);
                    // Something may have come after the porter looked last and before it was known to be gone.
                    if courier.is_live(&queue).await {
                        courier.outbox.wake(queue);
                    }
                }
            }
        }
    }

    /// Every queue; counts what is in them and removes what is too old. A store that fails is asked again.
    async fn patrol(&self) -> Vec<String> {
        loop {
            match self.go_round().await {
                Ok(queues) => return queues,
                Err(error) => {
                    tracing::error!(%error, "could not look through the outbox");
                    self.pause().await;
                }
            }
        }
    }

    async fn go_round(&self) -> store::Result<Vec<String>> {
        let queues = self.outbox.all_queues().await?;
        for queue in &queues {
            self.outbox.expire(queue).await?;
        }
        self.outbox.count(&queues).await?;
        Ok(queues)
    }

    async fn pause(&self) {
        let clock = &self.outbox.clock;
        clock.sleep_until(clock.now_ms() + STORE_PAUSE_MS).await;
    }

    /// Whether there is something to carry, now or later. When in doubt there is.
    async fn is_live(&self, queue: &str) -> bool {
        let depth = self.outbox.queues.depth(queue).await;
        !depth.is_ok_and(|depth| depth.live() == 0)
    }

    /// Carries what is in a queue until it is empty, and returns its name.
    async fn carry(self: Arc<Self>, queue: String) -> String {
        let mut under_way = JoinSet::new();
        loop {
            match self.round(&queue, &mut under_way).await {
                Ok(true) => {}
                Ok(false) => return queue,
                Err(error) => {
                    tracing::error!(%error, queue, "could not take deliveries");
                    self.pause().await;
                }
            }
        }
    }

    /// Takes what is due and begins to hand it over, or waits for more; `false` when there is nothing left at all.
    async fn round(
        self: &Arc<Self>,
        queue: &str,
        under_way: &mut JoinSet<()>,
    ) -> store::Result<bool> {
        while under_way.len() >= PER_RECIPIENT_MAX {
            under_way.join_next().await.and_then(sound);
        }
        let mut permits = self.permits(PER_RECIPIENT_MAX - under_way.len()).await;
        let queues = &self.outbox.queues;
        let leased = queues.lease(queue, permits.len(), LEASE).await?;
        if !leased.is_empty() {
            for message in leased {
                let (courier, permit) = (Arc::clone(self), permits.pop());
                under_way.spawn(async move {
                    courier.hand_over(message).await;
                    drop(permit);
                });
            }
            return Ok(true);
        }
        drop(permits);
        if under_way.is_empty() && queues.depth(queue).await?.live() == 0 {
            return Ok(false);
        }
        tokio::select! {
            ready = queues.ready(queue) => ready?,
            Some(ended) = under_way.join_next() => drop(sound(ended)),
        }
        Ok(true)
    }

    /// Room for at least one, and for at most `max`.
    async fn permits(&self, max: usize) -> Vec<OwnedSemaphorePermit> {
        let room = Arc::clone(&self.room);
        // The semaphore is never closed.
        let first = room.acquire_owned().await.into_iter();
        let more = std::iter::from_fn(|| Arc::clone(&self.room).try_acquire_owned().ok());
        first.chain(more.take(max - 1)).collect()
    }

    /// Hands one delivery over and says in the queue what became of it. What cannot be said happens again.
    async fn hand_over(&self, leased: Leased) {
        let told = match record::decode(leased.body.clone()) {
            Ok(delivery) => {
                let delivery = delivery.numbered(leased.attempts);
                let result = self.attempt(&delivery).await;
                self.settle(&delivery, &leased, result).await
            }
            Err(error) => {
                tracing::error!(%error, id = leased.id, "a delivery cannot be read");
                self.bury(&leased, "it cannot be read").await
            }
        };
        if let Err(error) = told {
            tracing::warn!(%error, id = leased.id, "a delivery will be made again");
        }
    }

    async fn attempt(&self, delivery: &Delivery) -> Result<(), Refusal> {
        let to = &delivery.to;
        let Some(recipient) = self.recipients.iter().find(|one| one.takes(to)) else {
            let why = format!("Mayfly has nothing yet that takes a delivery for {to}.");
            return Err(Refusal::permanent("NO_RESOURCE", why));
        };
        match tokio::time::timeout(Courier::ATTEMPT_MAX, recipient.receive(delivery)).await {
            Ok(result) => result,
            Err(_) => Err(Refusal::transient(
                "TIMEOUT",
                "The target did not answer in time.",
            )),
        }
    }

    async fn settle(
        &self,
        delivery: &Delivery,
        leased: &Leased,
        result: Result<(), Refusal>,
    ) -> Result<(), crate::Error> {
        let now_ms = self.outbox.clock.now_ms();
        let (queues, counts) = (&self.outbox.queues, &self.outbox.counts);
        let outcome = match result
            .map_err(|refusal| (next(delivery, leased, &refusal, now_ms), refusal))
        {
            Ok(()) => {
                self.done(leased, now_ms).await?;
                up(&counts.delivered);
                Outcome::Delivered
            }
            Err((Next::Attempt(at_ms), refusal)) => {
                queues.retry(&leased.token, at_ms).await?;
                up(&counts.retried);
                tracing::info!(id = delivery.id, to = %delivery.to, %refusal, "a delivery is tried again later");
                Outcome::Retried(refusal)
            }
            Err((Next::GiveUp(exhausted), refusal)) => {
                self.give_up(delivery, leased, refusal, exhausted, now_ms)
                    .await?
            }
        };
        for observer in &self.observers {
            observer.saw(delivery, &outcome);
        }
        Ok(())
    }

    async fn give_up(
        &self,
        delivery: &Delivery,
        leased: &Leased,
        refusal: Refusal,
        exhausted: Option<&'static str>,
        now_ms: i64,
    ) -> Result<Outcome, crate::Error> {
        let counts = &self.outbox.counts;
        let retries = leased.attempts - 1;
        if let Some(letter) = delivery.dead_letter(&refusal, retries, exhausted, now_ms) {
            let outbox = Outbox {
                inner: Arc::clone(&self.outbox),
            };
            outbox.put(&letter).await?;
            self.done(leased, now_ms).await?;
            up(&counts.dead_lettered);
            tracing::warn!(id = delivery.id, to = %delivery.to, %refusal, queue = %letter.to, "a delivery was given up and goes to its dead-letter queue");
            return Ok(Outcome::DeadLettered(refusal));
        }
        self.bury(leased, &refusal.to_string()).await?;
        tracing::warn!(id = delivery.id, to = %delivery.to, %refusal, "a delivery was given up and stays in the outbox");
        Ok(Outcome::Buried(refusal))
    }

    async fn done(&self, leased: &Leased, now_ms: i64) -> store::Result<()> {
        let queues = &self.outbox.queues;
        queues.ack_once(&leased.token, now_ms + REPEATS_MS).await?;
        down(&self.outbox.counts.waiting);
        Ok(())
    }

    async fn bury(&self, leased: &Leased, why: &str) -> Result<(), crate::Error> {
        let why = &why[..why.floor_char_boundary(WHY_BYTES_MAX)];
        self.outbox.queues.bury(&leased.token, why).await?;
        down(&self.outbox.counts.waiting);
        up(&self.outbox.counts.buried);
        up(&self.outbox.counts.graves);
        Ok(())
    }
}

/// What follows a refusal.
enum Next {
    /// Another attempt, at this time.
    Attempt(i64),
    /// None; with the limit that was reached, if it was one.
    GiveUp(Option<&'static str>),
}

fn next(delivery: &Delivery, leased: &Leased, refusal: &Refusal, now_ms: i64) -> Next {
    if !refusal.transient {
        return Next::GiveUp(None);
    }
    // An attempt that a crash cut off counts too.
    if leased.attempts > delivery.retry.attempts_max {
        return Next::GiveUp(Some("MaximumRetryAttempts"));
    }
    let wait_ms = i64::try_from(back_off_ms(&delivery.id, leased.attempts)).unwrap_or(i64::MAX);
    let age_max_ms = i64::from(delivery.retry.age_max_seconds) * 1000;
    let at_ms = now_ms.saturating_add(wait_ms);
    if at_ms > delivery.accepted_ms.saturating_add(age_max_ms) {
        return Next::GiveUp(Some("MaximumEventAgeInSeconds"));
    }
    Next::Attempt(at_ms)
}

/// The wait after so many attempts: doubled each time up to the longest, and between half of that and all of it. What
/// the id says decides, so that deliveries that failed together do not come back together.
fn back_off_ms(id: &str, attempts: u32) -> u64 {
    let doublings = attempts.saturating_sub(1).min(16);
    let whole = (BACK_OFF_FIRST_MS << doublings).min(BACK_OFF_LAST_MS);
    let mut hasher = DefaultHasher::new();
    (id, attempts).hash(&mut hasher);
    whole / 2 + hasher.finish() % (whole / 2 + 1)
}

/// What a task returned; its panic is ours, for whoever watches over the courier. `None` when the runtime ends.
fn sound<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(value) => Some(value),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_cancelled)) => None,
    }
}
