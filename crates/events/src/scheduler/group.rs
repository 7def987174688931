//! Groups of schedules (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-group.html>).

use wire::{
    AccountId, Arn, Context, Http, Keys, Operation, Permission, Region, Scope, Shape, Timestamp,
};

use super::record::{GroupRecord, group_key, groups_prefix};
use super::shapes::{ClientToken, GroupName, ScheduleGroupState, moment};
use super::tag::{TagList, check_tags, request_tags};
use super::{DEFAULT_GROUP, Error, Scheduler, group_arn};
use crate::shelf::Edit;

/// AWS's default quota of an account in a region.
const GROUPS_MAX: usize = 500;

impl Scheduler {
    /// A group that schedules can be in. The default group is always there.
    pub(super) fn group(&self, at: &Scope, name: &str) -> Result<GroupRecord, Error> {
        let record = self.any_group(at, name)?;
        match record.deleting {
            false => Ok(record),
            true => Err(Error::GroupDeleting(name.to_owned())),
        }
    }

    /// A group, perhaps one that is being removed.
    fn any_group(&self, at: &Scope, name: &str) -> Result<GroupRecord, Error> {
        match self.inner.groups.get(&group_key(at, name)) {
            Some(held) => Ok(held.record.clone()),
            None if name == DEFAULT_GROUP => Ok(GroupRecord::default()),
            None => Err(Error::NoGroup(name.to_owned())),
        }
    }

    /// All groups of a scope by name, the default one among them.
    pub(super) fn groups(&self, at: &Scope) -> Vec<(String, GroupRecord)> {
        let listed = self.inner.groups.list(&groups_prefix(at)).into_iter();
        let mut groups: Vec<_> = listed
            .map(|(name, held)| (name, held.record.clone()))
            .collect();
        if let Err(place) = groups.binary_search_by(|(name, _)| name.as_str().cmp(DEFAULT_GROUP)) {
            groups.insert(place, (DEFAULT_GROUP.to_owned(), GroupRecord::default()));
        }
        groups
    }

    /// Condition keys about a group. What is not there has no tags; the operation itself says so.
    pub(super) fn keys_of(&self, resource: &Arn) -> Keys {
        let (account, region) = (resource.account(), resource.region());
        let at = AccountId::new(account).zip(Region::new(region));
        let name = resource.resource().strip_prefix("schedule-group/");
        let group = at.zip(name).and_then(|((account, region), name)| {
            self.any_group(&Scope { account, region }, name).ok()
        });
        group.map_or_else(Keys::new, |group| wire::tags::resource_tags(&group.tags))
    }

    /// Changes a group that is there.
    pub(super) async fn change_group(
        &self,
        at: &Scope,
        name: &str,
        change: impl Fn(&mut GroupRecord) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let edit = |before: Option<&GroupRecord>| {
            let mut record = match before {
                Some(before) => before.clone(),
                None if name == DEFAULT_GROUP => GroupRecord::default(),
                None => return Err(Error::NoGroup(name.to_owned())),
            };
            change(&mut record)?;
            Ok(Edit::Put(record, ()))
        };
        self.inner.groups.change(&group_key(at, name), edit).await
    }
}

/// Makes a group (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateScheduleGroup.html>).
#[derive(Debug, Shape)]
pub struct CreateScheduleGroup {
    name: GroupName,
    tags: Option<TagList>,
    client_token: Option<ClientToken>,
}

/// See [`CreateScheduleGroup`].
#[derive(Debug, Shape)]
pub struct CreateScheduleGroupOutput {
    schedule_group_arn: String,
}

impl Operation for CreateScheduleGroup {
    type Service = Scheduler;
    type Output = CreateScheduleGroupOutput;
    const NAME: &'static str = "CreateScheduleGroup";
    const HTTP: Http = Http::new("POST", "/schedule-groups/{Name}", 200);

    fn resource(&self, at: &Scope) -> Arn {
        group_arn(at, &self.name)
    }

    fn condition_keys(&self, _: &Scheduler, _: &Context) -> Keys {
        request_tags(self.tags.as_ref())
    }

    fn also_needs(&self, _: &Scheduler, cx: &Context) -> Vec<Permission> {
        match self.tags.as_ref().is_some_and(|tags| !tags.is_empty()) {
            false => Vec::new(),
            true => vec![Permission {
                action: "scheduler:TagResource",
                resource: self.resource(&cx.scope),
                keys: request_tags(self.tags.as_ref()),
                resource_policy: None,
            }],
        }
    }

    async fn run(
        self,
        scheduler: &Scheduler,
        cx: &Context,
    ) -> Result<CreateScheduleGroupOutput, wire::Error> {
        let (at, name) = (&cx.scope, self.name.to_string());
        let token = self.client_token.map(ClientToken::into_string);
        let tags = self.tags.map_or_else(
            || Ok(Default::default()),
            |tags| check_tags(tags, Default::default()),
        );
        let record = GroupRecord {
            created_ms: Some(cx.now_ms),
            modified_ms: Some(cx.now_ms),
            deleting: false,
            tags: tags?,
            token: token.clone(),
        };
        let groups = &scheduler.inner.groups;
        let count = groups.count(&groups_prefix(at));
        let put = |before: Option<&GroupRecord>| match before {
            // The same request again; the client lost the answer.
            Some(before) if token.is_some() && before.token == token && !before.deleting => {
                Ok(Edit::Keep(()))
            }
            Some(before) if before.deleting => Err(Error::GroupDeleting(name.clone())),
            Some(_) => Err(Error::GroupExists(name.clone())),
            None if name == DEFAULT_GROUP => Err(Error::GroupExists(name.clone())),
            None if count >= GROUPS_MAX => Err(Error::Quota {
                what: "Schedule groups",
                limit: GROUPS_MAX,
            }),
            None => Ok(Edit::Put(record.clone(), ())),
        };
        groups.change(&group_key(at, &name), put).await?;
        Ok(CreateScheduleGroupOutput {
            schedule_group_arn: group_arn(at, &name).to_string(),
        })
    }
}

/// Shows a group (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_GetScheduleGroup.html>).
#[derive(Debug, Shape)]
pub struct GetScheduleGroup {
    name: GroupName,
}

/// See [`GetScheduleGroup`]; also an item of a list.
#[derive(Debug, Shape)]
pub struct ScheduleGroupSummary {
    arn: Option<String>,
    name: Option<String>,
    state: Option<ScheduleGroupState>,
    creation_date: Option<Timestamp>,
    last_modification_date: Option<Timestamp>,
}

impl ScheduleGroupSummary {
    pub(super) fn of(at: &Scope, name: String, record: &GroupRecord) -> Self {
        Self {
            arn: Some(group_arn(at, &name).to_string()),
            name: Some(name),
            state: Some(match record.deleting {
                true => ScheduleGroupState::Deleting,
                false => ScheduleGroupState::Active,
            }),
            creation_date: moment(record.created_ms),
            last_modification_date: moment(record.modified_ms),
        }
    }
}

impl Operation for GetScheduleGroup {
    type Service = Scheduler;
    type Output = ScheduleGroupSummary;
    const NAME: &'static str = "GetScheduleGroup";
    const HTTP: Http = Http::new("GET", "/schedule-groups/{Name}", 200);

    fn resource(&self, at: &Scope) -> Arn {
        group_arn(at, &self.name)
    }

    async fn run(
        self,
        scheduler: &Scheduler,
        cx: &Context,
    ) -> Result<ScheduleGroupSummary, wire::Error> {
        let record = scheduler.any_group(&cx.scope, &self.name)?;
        let name = self.name.into_string();
        Ok(ScheduleGroupSummary::of(&cx.scope, name, &record))
    }
}

/// Removes a group with its schedules
/// (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_DeleteScheduleGroup.html>). It is DELETING until they are gone.
#[derive(Debug, Shape)]
pub struct DeleteScheduleGroup {
    name: GroupName,
    /// Nothing is left that could remember it.
    client_token: Option<ClientToken>,
}

/// See [`DeleteScheduleGroup`].
#[derive(Debug, Shape)]
pub struct DeleteScheduleGroupOutput {}

impl Operation for DeleteScheduleGroup {
    type Service = Scheduler;
    type Output = DeleteScheduleGroupOutput;
    const NAME: &'static str = "DeleteScheduleGroup";
    const HTTP: Http = Http::new("DELETE", "/schedule-groups/{Name}", 200)
        .query(&[("clientToken", "ClientToken")]);

    fn resource(&self, at: &Scope) -> Arn {
        group_arn(at, &self.name)
    }

    async fn run(
        self,
        scheduler: &Scheduler,
        cx: &Context,
    ) -> Result<DeleteScheduleGroupOutput, wire::Error> {
        if self.name.as_str() == DEFAULT_GROUP {
            return Err(Error::DefaultStays.into());
        }
        let mark = |group: &mut GroupRecord| {
            group.deleting = true;
            group.modified_ms = Some(cx.now_ms);
            Ok(())
        };
        scheduler.change_group(&cx.scope, &self.name, mark).await?;
        scheduler.inner.sweep.notify_one();
        Ok(DeleteScheduleGroupOutput {})
    }
}
