//! The clock: fires the rules with a schedule, and the schedules of EventBridge Scheduler.
//!
//! What is due when is in memory, made from the records. A tick is claimed by one compare-and-swap on its record, its
//! deliveries are put into the outbox under ids made from record and tick, and the claim is given back. A crash in
//! between leaves the claim; when it has run out, whoever sees it does the rest again, and the ids make that harmless.
//! So a tick goes into the outbox once, also when several nodes have a clock, and none after a rule or a schedule is
//! gone.

mod agenda;
mod ticks;

use std::sync::Arc;

use delivery::{Delivery, Observer, Outbox, Outcome, Refusal};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use store::record::Record;

pub use agenda::Agenda;
pub(crate) use agenda::Entry;
pub(crate) use ticks::{Claim, Missed, Plan, Progress, Ticks};

use crate::Events;
use crate::scheduler::{ScheduleRecord, Scheduler};
use crate::shelf::{self, Edit, Shelf};

/// Why a tick could not be fired now.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Shelf(#[from] shelf::Error),
    #[error(transparent)]
    Outbox(delivery::Error),
}

/// Ticks that are put into the outbox at once.
const FIRED_AT_ONCE_MAX: usize = 256;
/// For how long nobody else takes a claimed tick.
const CLAIM_MS: i64 = 5_000;
/// How long until a tick is tried again that could not be claimed.
const RETRY_MS: i64 = 1_000;

/// A record that the clock looks after.
pub(crate) trait Timed: Record + Clone + Send + Sync {
    /// When it fires, if it does.
    fn ticks(&self, key: &str) -> Option<Ticks>;
    /// How far the clock is.
    fn progress(&self) -> &Progress;
    /// The same, to be changed.
    fn progress_mut(&mut self) -> &mut Progress;
    /// Whether it goes after this tick.
    fn goes_after(&self, key: &str, tick_ms: i64) -> bool;
    /// What a tick puts into the outbox, which is accepted at this time; the ids begin with `id`.
    fn deliveries(&self, key: &str, tick_ms: i64, accepted_ms: i64, id: &str) -> Vec<Delivery>;
}

impl Timed for ScheduleRecord {
    fn ticks(&self, key: &str) -> Option<Ticks> {
        self.ticks(key)
    }
    fn progress(&self) -> &Progress {
        &self.progress
    }
    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }
    fn goes_after(&self, key: &str, tick_ms: i64) -> bool {
        self.delete_at_end
            && self
                .ticks(key)
                .is_some_and(|ticks| ticks.ends_with(tick_ms))
    }
    fn deliveries(&self, key: &str, tick_ms: i64, accepted_ms: i64, id: &str) -> Vec<Delivery> {
        let id = format!("{id}>target");
        crate::scheduler::delivery(key, self, tick_ms, accepted_ms, id)
            .into_iter()
            .collect()
    }
}

/// Fires what is due.
pub struct Clock {
    agenda: Arc<Agenda>,
    outbox: Outbox,
    schedules: Arc<Shelf<ScheduleRecord>>,
    events: Events,
    observers: Vec<Arc<dyn Observer>>,
    /// Tells this process's claims from others'.
    me: String,
}

impl Clock {
    /// A clock for the rules and schedules that note what is due in this agenda. Observers are told of what is too old.
    pub fn new(
        agenda: &Arc<Agenda>,
        events: &Events,
        scheduler: &Scheduler,
        outbox: &Outbox,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Self {
        Self {
            agenda: Arc::clone(agenda),
            outbox: outbox.clone(),
            schedules: Arc::clone(scheduler.schedules()),
            events: events.clone(),
            observers,
            me: uuid::Uuid::new_v4().to_string(),
        }
    }

    /// Works until it is dropped. What is under way then is done by the next clock.
    pub async fn run(self) {
        let time = Arc::clone(&self.agenda.time);
        let mut firing = FuturesUnordered::new();
        loop {
            while firing.len() < FIRED_AT_ONCE_MAX
                && let Some(entry) = self.agenda.take_due(time.now_ms())
            {
                firing.push(self.fire_entry(entry));
            }
            let full = firing.len() >= FIRED_AT_ONCE_MAX;
            let next_ms = self.agenda.first_ms().filter(|_| !full);
            tokio::select! {
                Some(()) = firing.next(), if !firing.is_empty() => {}
                () = self.agenda.earlier(), if !full => {}
                () = time.sleep_until(next_ms.unwrap_or(i64::MAX)), if next_ms.is_some() => {}
            }
        }
    }

    async fn fire_entry(&self, entry: Entry) {
        let fired = match &entry {
            Entry::Rule(key) => self.fire_rule(&entry, key).await,
            Entry::Schedule(key) => self.fire(&self.schedules, &entry, key).await.map(drop),
        };
        if let Err(error) = fired {
            tracing::error!(%error, ?entry, "a tick could not be fired; it is tried again");
            let again_ms = self.agenda.time.now_ms() + RETRY_MS;
            self.agenda.set(entry, Some(again_ms));
        }
    }

    async fn fire_rule(&self, entry: &Entry, key: &str) -> Result<(), Error> {
        let rules = &self.events.inner.rules;
        if let Some((rule, deliveries)) = self.fire(rules, entry, key).await? {
            self.events.measure_tick(key, &rule, deliveries);
        }
        Ok(())
    }

    /// Fires the tick that is due: the record as it was then, and how many deliveries it made.
    async fn fire<R: Timed>(
        &self,
        shelf: &Shelf<R>,
        entry: &Entry,
        key: &str,
    ) -> Result<Option<(R, usize)>, Error> {
        let Some((record, tick_ms)) = self.claim(shelf, key).await? else {
            // Somebody else has it, or it is not due after all. It was taken off the agenda.
            let held = shelf.get(key);
            self.agenda
                .note(entry.clone(), key, held.as_ref().map(|held| &held.record));
            return Ok(None);
        };
        let id = tick_id(key, tick_ms);
        // Its age counts from when it was due.
        let due_ms = record
            .ticks(key)
            .map_or(tick_ms, |ticks| ticks.due(tick_ms));
        let deliveries = record.deliveries(key, tick_ms, due_ms, &id);
        for delivery in &deliveries {
            self.put(delivery).await?;
        }
        release(shelf, key, tick_ms).await?;
        Ok(Some((record, deliveries.len())))
    }

    /// Claims the tick that is due, if one is and nobody else has it.
    async fn claim<R: Timed>(
        &self,
        shelf: &Shelf<R>,
        key: &str,
    ) -> Result<Option<(R, i64)>, Error> {
        let now_ms = self.agenda.time.now_ms();
        let claim = |before: Option<&R>| {
            let due = before.and_then(|before| Some((before, self.due(before, key, now_ms)?)));
            let Some((before, tick_ms)) = due else {
                return Ok(Edit::Keep(None));
            };
            let mut record = before.clone();
            record.progress_mut().claim = Some(Claim {
                tick_ms,
                by: self.me.clone(),
                until_ms: now_ms + CLAIM_MS,
            });
            Ok(Edit::Put(record.clone(), Some((record, tick_ms))))
        };
        shelf.change(key, claim).await
    }

    fn due<R: Timed>(&self, record: &R, key: &str, now_ms: i64) -> Option<i64> {
        let progress = record.progress();
        match &progress.claim {
            Some(claim) if claim.by != self.me && claim.until_ms > now_ms => None,
            Some(claim) => Some(claim.tick_ms),
            None => match record.ticks(key)?.plan(progress.done_ms, now_ms) {
                Plan::Fire(tick_ms) => Some(tick_ms),
                Plan::Wait(_) | Plan::Never => None,
            },
        }
    }

    async fn put(&self, delivery: &Delivery) -> Result<(), Error> {
        let now_ms = self.agenda.time.now_ms();
        let age_max_ms = i64::from(delivery.retry.age_max_seconds) * 1000;
        match now_ms - delivery.accepted_ms > age_max_ms {
            true => self.expire(delivery, now_ms).await,
            false => self.put_out(delivery).await,
        }
    }

    /// Gives up what was missed for so long that its target does not want it any more.
    async fn expire(&self, delivery: &Delivery, now_ms: i64) -> Result<(), Error> {
        let refusal = Refusal::permanent(
            "EVENT_AGE_EXCEEDED",
            "The invocation was missed, and is older than its MaximumEventAgeInSeconds.",
        );
        let (retries, exhausted) = (0, Some("MaximumEventAgeInSeconds"));
        let letter = delivery.dead_letter(&refusal, retries, exhausted, now_ms);
        let (id, age_ms) = (&delivery.id, now_ms - delivery.accepted_ms);
        tracing::warn!(id, age_ms, dead_letter = letter.is_some(), %refusal, "a tick is given up");
        if let Some(letter) = letter {
            self.put_out(&letter).await?;
        }
        let outcome = Outcome::Expired(refusal);
        for observer in &self.observers {
            observer.saw(delivery, &outcome);
        }
        Ok(())
    }

    async fn put_out(&self, delivery: &Delivery) -> Result<(), Error> {
        match self.outbox.put(delivery).await {
            Ok(_) => Ok(()),
            // It will be too large the next time too.
            Err(error @ delivery::Error::TooLarge { .. }) => {
                tracing::error!(%error, id = delivery.id, "a tick is lost");
                Ok(())
            }
            Err(error) => Err(Error::Outbox(error)),
        }
    }
}

/// Gives back a claim: the tick is in the outbox.
async fn release<R: Timed>(shelf: &Shelf<R>, key: &str, tick_ms: i64) -> Result<(), Error> {
    let release = |before: Option<&R>| {
        let claimed = |record: &&R| {
            let claim = record.progress().claim.as_ref();
            claim.is_some_and(|claim| claim.tick_ms == tick_ms)
        };
        let Some(mut record) = before.filter(claimed).cloned() else {
            return Ok(Edit::Keep(()));
        };
        record.progress_mut().finish(tick_ms);
        Ok(match record.goes_after(key, tick_ms) {
            true => Edit::Remove(()),
            false => Edit::Put(record, ()),
        })
    };
    shelf.change(key, release).await
}

/// What the ids of a tick's deliveries begin with.
fn tick_id(key: &str, tick_ms: i64) -> String {
    format!("{key}@{tick_ms}")
}
