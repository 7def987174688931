//! EventBridge and EventBridge Scheduler: buses, rules and their patterns, targets and their input, schedules.
//!
//! What fires is put into the outbox of `delivery`; nothing here knows how a target takes it. [`Events`] is the handle and
//! the service to mount.

mod api_destination;
mod archive;
mod bus;
mod bus_recipient;
mod clock;
mod connection;
mod connection_shown;
mod error;
mod event;
mod fire;
mod http_client;
mod http_recipient;
mod ingest;
mod input;
mod json;
mod matcher;
mod meter;
mod names;
mod paging;
pub mod pattern;
mod permission;
mod put_events;
mod raw;
mod record;
mod replay;
mod resource;
mod rule;
mod rule_ticks;
pub mod samples;
pub mod schedule;
pub mod scheduler;
mod shelf;
mod tag;
mod target;
mod test_event_pattern;
#[cfg(test)]
mod tests;
pub mod transform;
mod unbuilt;
mod vault;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use delivery::{Outbox, Sender};
use store::{Journal, Queues, Store};
use tokio::sync::Notify;
use wire::{
    AccountId, Arn, Ask, Authorizer, Protocol, ResourceFacts, Route, Scope, Service, Unbuilt,
};

pub use bus_recipient::BusRecipient;
pub use clock::{Agenda, Clock};
pub use error::Error;
pub use event::NewEvent;
pub use fire::Firing;
pub use http_client::{NoWay, Outbound};
pub use http_recipient::ApiDestinationRecipient;
pub use meter::{Meter, NAMESPACE, Outcomes, Unit};
pub use scheduler::Scheduler;
pub use shelf::Error as ShelfError;
pub use vault::Vault;

use archive::{ARCHIVES, ArchiveRecord};
use clock::Entry;
use matcher::Matcher;
use record::{
    BUSES, BusRecord, CONNECTIONS, ConnectionRecord, DESTINATIONS, DestinationRecord, RULES,
    RuleRecord,
};
use replay::{REPLAYS, ReplayRecord};
use shelf::Shelf;

/// As whom EventBridge acts.
pub(crate) const PRINCIPAL: &str = "events.amazonaws.com";

/// Who may do what, as identity knows it. Never touches the disk.
pub trait Authority: Authorizer {
    /// Whether a text is a resource policy.
    ///
    /// # Errors
    /// Why it is not, for the user.
    fn check_policy(&self, policy: &str) -> Result<(), String>;

    /// Whether a sender may do this in a scope: as its role, which must trust its service; else as `home`, its account.
    ///
    /// # Errors
    /// Why not, for the user.
    fn may_deliver(
        &self,
        sender: &Sender,
        home: AccountId,
        at: &Scope,
        ask: &Ask<'_>,
    ) -> Result<(), String>;
}

/// A task that must run for as long as the server does. It ends when it is dropped.
pub struct Worker {
    /// For the log.
    pub name: &'static str,
    /// The task.
    pub run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// EventBridge. Clones are handles to the same one.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

/// All that operations work with.
struct Inner {
    queues: Arc<dyn Queues>,
    clock: Arc<dyn store::Clock>,
    buses: Shelf<BusRecord>,
    rules: Shelf<RuleRecord>,
    journal: Arc<dyn Journal>,
    connections: Shelf<ConnectionRecord>,
    destinations: Shelf<DestinationRecord>,
    archives: Shelf<ArchiveRecord>,
    replays: Shelf<ReplayRecord>,
    /// Told when there is a replay to do.
    replaying: Notify,
    matcher: Arc<Matcher>,
    outbox: Outbox,
    authority: Arc<dyn Authority>,
    meter: Arc<dyn Meter>,
}

impl Events {
    /// Reads what the store holds, connections with the vault's key; what is due goes to the agenda. The workers must be
    /// spawned; they go on with what a crash interrupted.
    ///
    /// # Errors
    /// If the store fails, or holds a record that cannot be read.
    pub async fn open(
        store: &Store,
        outbox: Outbox,
        authority: Arc<dyn Authority>,
        meter: Arc<dyn Meter>,
        vault: Arc<dyn Vault>,
        agenda: &Arc<Agenda>,
    ) -> Result<(Events, Vec<Worker>), Error> {
        let kv = || Arc::clone(&store.kv);
        let matcher = Arc::new(Matcher::default());
        let noting = Arc::clone(&matcher);
        let agenda = Arc::clone(agenda);
        let note = move |key: &str, rule: Option<&RuleRecord>| {
            noting.note(key, rule);
            agenda.note(Entry::Rule(key.to_owned()), key, rule);
        };
        let inner = Inner {
            queues: Arc::clone(&store.queues),
            clock: Arc::clone(&store.clock),
            buses: Shelf::open(kv(), BUSES, |_, _| {}).await?,
            rules: Shelf::open(kv(), RULES, note).await?,
            connections: Shelf::open_sealed(kv(), vault, CONNECTIONS).await?,
            destinations: Shelf::open(kv(), DESTINATIONS, |_, _| {}).await?,
            archives: Shelf::open(kv(), ARCHIVES, |_, _| {}).await?,
            replays: Shelf::open(kv(), REPLAYS, |_, _| {}).await?,
            replaying: Notify::new(),
            journal: Arc::clone(&store.journal),
            matcher,
            outbox,
            authority,
            meter,
        };
        let events = Events {
            inner: Arc::new(inner),
        };
        let matching = Worker {
            name: "event matching",
            run: Box::pin(events.clone().match_arrivals()),
        };
        let replaying = Worker {
            name: "event replays",
            run: Box::pin(events.clone().replay_archives()),
        };
        let expiring = Worker {
            name: "event archive retention",
            run: Box::pin(events.clone().expire()),
        };
        Ok((events, vec![matching, replaying, expiring]))
    }

    pub(crate) fn authority(&self) -> &dyn Authority {
        &*self.inner.authority
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.inner.clock.now_ms()
    }
}

impl Service for Events {
    const NAME: &'static str = "events";
    const MODEL: &'static str = "events";
    const PROTOCOLS: &'static [Protocol] = &[Protocol::Json11];
    const TARGET_PREFIX: &'static str = "AWSEvents";
    const OPERATIONS: &'static [Route<Self>] = &[
        Route::of::<bus::CreateEventBus>(),
        Route::of::<bus::DescribeEventBus>(),
        Route::of::<bus::ListEventBuses>(),
        Route::of::<bus::UpdateEventBus>(),
        Route::of::<bus::DeleteEventBus>(),
        Route::of::<put_events::PutEvents>(),
        Route::of::<permission::PutPermission>(),
        Route::of::<permission::RemovePermission>(),
        Route::of::<rule::PutRule>(),
        Route::of::<rule::DescribeRule>(),
        Route::of::<rule::ListRules>(),
        Route::of::<rule::DeleteRule>(),
        Route::of::<rule::EnableRule>(),
        Route::of::<rule::DisableRule>(),
        Route::of::<target::PutTargets>(),
        Route::of::<target::RemoveTargets>(),
        Route::of::<target::ListTargetsByRule>(),
        Route::of::<target::ListRuleNamesByTarget>(),
        Route::of::<tag::TagResource>(),
        Route::of::<tag::UntagResource>(),
        Route::of::<tag::ListTagsForResource>(),
        Route::of::<connection::CreateConnection>(),
        Route::of::<connection::DescribeConnection>(),
        Route::of::<connection::ListConnections>(),
        Route::of::<connection::UpdateConnection>(),
        Route::of::<connection::DeauthorizeConnection>(),
        Route::of::<connection::DeleteConnection>(),
        Route::of::<api_destination::CreateApiDestination>(),
        Route::of::<api_destination::DescribeApiDestination>(),
        Route::of::<api_destination::ListApiDestinations>(),
        Route::of::<api_destination::UpdateApiDestination>(),
        Route::of::<api_destination::DeleteApiDestination>(),
        Route::of::<archive::CreateArchive>(),
        Route::of::<archive::DescribeArchive>(),
        Route::of::<archive::ListArchives>(),
        Route::of::<archive::UpdateArchive>(),
        Route::of::<archive::DeleteArchive>(),
        Route::of::<replay::StartReplay>(),
        Route::of::<replay::DescribeReplay>(),
        Route::of::<replay::ListReplays>(),
        Route::of::<replay::CancelReplay>(),
        Route::of::<test_event_pattern::TestEventPattern>(),
    ];
    const UNBUILT: &'static [Unbuilt] = unbuilt::UNBUILT;

    fn facts_of(&self, resource: &Arn) -> ResourceFacts {
        self.facts(resource)
    }
}
