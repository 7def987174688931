//! The way of an event from a bus to the outbox. It is in a durable queue before it is acknowledged; a worker takes it
//! out, matches it and puts one delivery for each target into the outbox, and removes it afterwards. Whatever a crash
//! interrupts is done again, and the deliveries' ids make the repeat harmless.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use delivery::{Delivery, RetryPolicy, Sender};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::Leased;
use wire::{AccountId, Arn, Region, Scope};

use crate::error::Error;
use crate::event::{Event, NewEvent};
use crate::meter::Unit;
use crate::names::BusRef;
use crate::record::{RuleRecord, TargetRecord, rule_key};
use crate::{Events, PRINCIPAL};

/// The queue of all buses.
const QUEUE: &str = "events/ingest";
/// Events taken out of it at once.
const LEASE_MAX: usize = 100;
/// How long nobody else gets an event that is being matched.
const LEASE: Duration = Duration::from_secs(60);
/// How long an event waits after it could not be put into the outbox.
const RETRY_AFTER_MS: i64 = 1000;
/// How long the worker waits after the store failed.
const STORE_PAUSE_MS: i64 = 1000;
/// Buses that an event may come through: rules may send it in circles.
pub(crate) const HOPS_MAX: u32 = 10;

/// The parameter of a delivery that says through how many buses an event has come.
pub(crate) const HOPS: &str = "Hops";

/// An event in the queue.
#[derive(Serialize, Deserialize)]
struct Message<'a> {
    account: String,
    region: String,
    bus: String,
    hops: u32,
    ingested_ms: i64,
    id: String,
    #[serde(borrow)]
    event: &'a RawValue,
}

/// An event that has arrived at a bus.
pub(crate) struct Arrival {
    pub bus: BusRef,
    /// Buses that it has come through before.
    pub hops: u32,
    pub event: Event,
    pub ingested_ms: i64,
}

impl Arrival {
    fn encode(&self) -> Result<Bytes, Error> {
        let failed = |error: serde_json::Error| Error::Internal(error.to_string());
        let message = Message {
            account: self.bus.at.account.to_string(),
            region: self.bus.at.region.to_string(),
            bus: self.bus.name.clone(),
            hops: self.hops,
            ingested_ms: self.ingested_ms,
            id: self.event.id.clone(),
            event: serde_json::from_str(&self.event.document).map_err(failed)?,
        };
        Ok(serde_json::to_vec(&message).map_err(failed)?.into())
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let message: Message<'_> = serde_json::from_slice(body).ok()?;
        let at = Scope {
            account: AccountId::new(&message.account)?,
            region: Region::new(message.region)?,
        };
        Some(Self {
            bus: BusRef {
                at,
                name: message.bus,
            },
            hops: message.hops,
            event: Event {
                id: message.id,
                document: message.event.get().to_owned(),
            },
            ingested_ms: message.ingested_ms,
        })
    }
}

impl Events {
    /// Puts an event on a bus, for a service of ours: nobody is asked whether it may. When this returns the event is on
    /// the disk. A bus that is not there takes everything and matches nothing, as on AWS.
    ///
    /// # Errors
    /// If the detail is no JSON object, or the store fails.
    pub async fn put(&self, event: &NewEvent<'_>) -> Result<(), Error> {
        self.accept(Arrival {
            bus: BusRef::default_in(event.at),
            hops: 0,
            event: event.event()?,
            ingested_ms: self.inner.clock.now_ms(),
        })
        .await
    }

    /// Whether anything that happens in this scope could match a rule of its default bus: whoever makes events that are seldom
    /// wanted asks first. Touches no disk.
    pub fn has_rules(&self, at: &Scope) -> bool {
        self.inner.matcher.has_rules(&BusRef::default_in(at))
    }

    /// Puts an event that has arrived on the disk.
    pub(crate) async fn accept(&self, arrival: Arrival) -> Result<(), Error> {
        let body = arrival.encode()?;
        let queues = &self.inner.queues;
        let id = format!("{}@{}", arrival.event.id, arrival.bus.arn());
        queues.push(QUEUE, &id, arrival.ingested_ms, body).await?;
        Ok(())
    }

    /// The worker: matches what has arrived, until it is dropped.
    pub(crate) async fn match_arrivals(self) {
        loop {
            if let Err(error) = self.round().await {
                tracing::error!(%error, "could not take events");
                self.pause().await;
            }
        }
    }

    /// Waits after a failure of the store.
    pub(crate) async fn pause(&self) {
        let clock = &self.inner.clock;
        clock.sleep_until(clock.now_ms() + STORE_PAUSE_MS).await;
    }

    async fn round(&self) -> Result<(), Error> {
        let queues = &self.inner.queues;
        let leased = queues.lease(QUEUE, LEASE_MAX, LEASE).await?;
        if leased.is_empty() {
            return Ok(queues.ready(QUEUE).await?);
        }
        futures_util::stream::iter(leased)
            .for_each_concurrent(LEASE_MAX, |leased| self.handle(leased))
            .await;
        Ok(())
    }

    /// Handles one event and says so to the queue. What cannot be said is handled again.
    async fn handle(&self, leased: Leased) {
        let queues = &self.inner.queues;
        let told = match Arrival::decode(&leased.body) {
            None => {
                tracing::error!(id = leased.id, "an event is damaged and was set aside");
                queues.bury(&leased.token, "the event cannot be read").await
            }
            Some(arrival) => match self.dispatch(&arrival).await {
                Ok(()) => queues.ack(&leased.token).await,
                Err(error) => {
                    tracing::error!(%error, id = leased.id, "an event is tried again");
                    let not_before_ms = self.inner.clock.now_ms() + RETRY_AFTER_MS;
                    queues.retry(&leased.token, not_before_ms).await
                }
            },
        };
        if let Err(error) = told {
            tracing::warn!(%error, id = leased.id, "an event will be matched again");
        }
    }

    /// Puts the event into the outbox for every target of every rule that it matches, and keeps it in archives.
    async fn dispatch(&self, arrival: &Arrival) -> Result<(), Error> {
        let bus = &arrival.bus;
        if self.bus(bus).is_err() {
            tracing::info!(bus = bus.name, "an event's bus is not there");
            return Ok(());
        }
        for rule in self.inner.matcher.matches(bus, &arrival.event) {
            // Removed or disabled since it was matched.
            let Some(held) = self.inner.rules.get(&rule_key(bus, &rule)) else {
                continue;
            };
            if !held.record.enabled() {
                continue;
            }
            self.measure_rule(bus, &rule, "MatchedEvents", Unit::Count, 1.0);
            self.fire(bus, &rule, &held.record, arrival).await?;
        }
        self.keep(arrival).await
    }

    /// Puts an event into the outbox for every target of a rule. The event's id must be made of what caused it.
    pub(crate) async fn fire(
        &self,
        bus: &BusRef,
        name: &str,
        rule: &RuleRecord,
        arrival: &Arrival,
    ) -> Result<(), Error> {
        self.measure_rule(bus, name, "TriggeredRules", Unit::Count, 1.0);
        for target in &rule.targets {
            match delivery(bus, name, target, arrival) {
                Ok(delivery) => {
                    self.inner.outbox.put(&delivery).await?;
                }
                // What the target's input makes of this event is nothing: another attempt would not go better.
                Err(why) => {
                    let target = &target.id;
                    tracing::warn!(rule = name, target, %why, "an event was not delivered");
                    self.measure_rule(bus, name, "FailedInvocations", Unit::Count, 1.0);
                }
            }
        }
        Ok(())
    }
}

/// What brings an event to one target of a rule.
pub(crate) fn delivery(
    bus: &BusRef,
    rule: &str,
    target: &TargetRecord,
    arrival: &Arrival,
) -> Result<Delivery, Error> {
    let arn = |text: &str| Arn::parse(text).ok_or_else(|| Error::NotAnArn(text.to_owned()));
    let from = bus.rule_arn(rule);
    let to = arn(&target.arn)?;
    // An attribute of what goes to the dead-letter queue
    // (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html>).
    let mut parameters = BTreeMap::from([("RULE_ARN".to_owned(), from.to_string())]);
    if BusRef::of_arn(&to).is_some() {
        parameters.insert(HOPS.to_owned(), (arrival.hops + 1).to_string());
    }
    if let Some(http) = &target.http {
        let http = serde_json::to_string(http);
        let http = http.map_err(|error| Error::Internal(error.to_string()))?;
        parameters.insert("HttpParameters".to_owned(), http);
    }
    let (input, event) = (&target.input, &arrival.event);
    let payload = crate::input::of(input, &target.id, event, bus, rule, arrival.ingested_ms)?;
    Ok(Delivery {
        id: format!("{}>{from}>{}", arrival.event.id, target.id),
        scope: bus.at.clone(),
        to,
        payload,
        parameters,
        retry: RetryPolicy {
            attempts_max: target
                .attempts_max
                .unwrap_or(RetryPolicy::DEFAULT.attempts_max),
            age_max_seconds: target
                .age_max_seconds
                .unwrap_or(RetryPolicy::DEFAULT.age_max_seconds),
        },
        dead_letter: target.dead_letter.as_deref().map(arn).transpose()?,
        trace_id: None,
        attempt_mark: None,
        accepted_ms: arrival.ingested_ms,
        from: Sender {
            service: PRINCIPAL.to_owned(),
            arn: from,
            role: target.role.as_deref().map(arn).transpose()?,
        },
    })
}
