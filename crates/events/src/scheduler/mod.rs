//! EventBridge Scheduler: schedules and their groups (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/what-is-scheduler.html>).
//!
//! What runs them is the clock of this crate. [`Scheduler`] is the handle and the service to mount.

mod error;
mod group;
mod list;
mod occasion;
mod paging;
mod record;
mod schedule;
mod shapes;
mod sweep;
mod tag;
mod target;

use std::sync::Arc;

use store::{Clock, Store};
use tokio::sync::Notify;
use wire::{Arn, Protocol, ResourceFacts, Route, Scope, Service, Unbuilt};

pub use error::Error;

use crate::clock::{Agenda, Entry};
use crate::shelf::Shelf;
pub(crate) use occasion::delivery;
pub(crate) use record::ScheduleRecord;
use record::{GROUPS, GroupRecord, SCHEDULES};
pub use target::operation_of;

/// As whom Scheduler acts.
pub const PRINCIPAL: &str = "scheduler.amazonaws.com";
/// The group that is always there.
pub(crate) const DEFAULT_GROUP: &str = "default";

/// What identity and the other services say about targets. Never touches the disk.
pub trait Surroundings: Send + Sync {
    /// Whether the role's trust policy lets Scheduler act in it for the schedules of a group.
    fn assumable(&self, role: &Arn, group: &Arn) -> bool;

    /// Whether Mayfly has an operation with such parameters, by the SDKs' name of the service in lower case and AWS's name of
    /// the operation in camelCase; else why not, for the user.
    fn check_operation(
        &self,
        service: &str,
        operation: &str,
        input: Option<&str>,
    ) -> Result<(), String>;
}

/// EventBridge Scheduler. Clones are handles to the same one.
#[derive(Clone)]
pub struct Scheduler {
    inner: Arc<Inner>,
}

struct Inner {
    schedules: Arc<Shelf<ScheduleRecord>>,
    groups: Shelf<GroupRecord>,
    clock: Arc<dyn Clock>,
    surroundings: Arc<dyn Surroundings>,
    /// Told when a group is to be swept away.
    sweep: Notify,
}

impl Scheduler {
    /// Reads what the store holds; what is due goes to the agenda.
    ///
    /// # Errors
    /// If the store fails, or holds a record that cannot be read.
    pub async fn open(
        store: &Store,
        agenda: &Arc<Agenda>,
        surroundings: Arc<dyn Surroundings>,
    ) -> Result<Self, crate::ShelfError> {
        let agenda = Arc::clone(agenda);
        let kv = || Arc::clone(&store.kv);
        let note = move |key: &str, record: Option<&ScheduleRecord>| {
            agenda.note(Entry::Schedule(key.to_owned()), key, record);
        };
        let inner = Inner {
            schedules: Arc::new(Shelf::open(kv(), SCHEDULES, note).await?),
            groups: Shelf::open(kv(), GROUPS, |_, _| {}).await?,
            clock: Arc::clone(&store.clock),
            surroundings,
            sweep: Notify::new(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

impl Scheduler {
    /// The schedules, for the clock.
    pub(crate) fn schedules(&self) -> &Arc<Shelf<ScheduleRecord>> {
        &self.inner.schedules
    }

    /// A schedule's key, ARN and record.
    pub(crate) fn find(
        &self,
        at: &Scope,
        group: &str,
        name: &str,
    ) -> Option<(String, Arn, ScheduleRecord)> {
        let key = record::schedule_key(at, group, name);
        let held = self.inner.schedules.get(&key)?;
        Some((key, schedule_arn(at, group, name), held.record.clone()))
    }

    /// Group and name of a schedule's ARN in this scope.
    pub(crate) fn named_by(&self, arn: &Arn, at: &Scope) -> Option<(String, String)> {
        let (group, name) = arn.resource().strip_prefix("schedule/")?.split_once('/')?;
        let found = (group.to_owned(), name.to_owned());
        (schedule_arn(at, group, name) == *arn).then_some(found)
    }
}

fn group_arn(at: &Scope, group: &str) -> Arn {
    Arn::schedule_group(at, group)
}

fn schedule_arn(at: &Scope, group: &str, name: &str) -> Arn {
    Arn::schedule(at, group, name)
}

impl Service for Scheduler {
    const NAME: &'static str = "scheduler";
    const MODEL: &'static str = "scheduler";
    const PROTOCOLS: &'static [Protocol] = &[Protocol::RestJson];
    const OPERATIONS: &'static [Route<Self>] = &[
        Route::of::<schedule::CreateSchedule>(),
        Route::of::<schedule::GetSchedule>(),
        Route::of::<schedule::UpdateSchedule>(),
        Route::of::<schedule::DeleteSchedule>(),
        Route::of::<list::ListSchedules>(),
        Route::of::<group::CreateScheduleGroup>(),
        Route::of::<group::GetScheduleGroup>(),
        Route::of::<group::DeleteScheduleGroup>(),
        Route::of::<list::ListScheduleGroups>(),
        Route::of::<tag::TagResource>(),
        Route::of::<tag::UntagResource>(),
        Route::of::<tag::ListTagsForResource>(),
    ];
    const UNBUILT: &'static [Unbuilt] = &[];

    fn facts_of(&self, resource: &Arn) -> ResourceFacts {
        ResourceFacts {
            policy: None,
            keys: self.keys_of(resource),
        }
    }
}
