//! Lists of schedules and groups.

use wire::{Arn, Context, Http, Operation, Scope, Shape, Timestamp};

use super::group::ScheduleGroupSummary;
use super::paging::page;
use super::record::schedules_prefix;
use super::shapes::{GroupName, MaxResults, NamePrefix, NextToken, ScheduleState, moment};
use super::{Scheduler, group_arn, schedule_arn};

/// Lists schedules (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_ListSchedules.html>), by group and name.
#[derive(Debug, Shape)]
pub struct ListSchedules {
    group_name: Option<GroupName>,
    name_prefix: Option<NamePrefix>,
    state: Option<ScheduleState>,
    next_token: Option<NextToken>,
    max_results: Option<MaxResults>,
}

/// See [`ListSchedules`].
#[derive(Debug, Shape)]
pub struct ListSchedulesOutput {
    next_token: Option<String>,
    schedules: Vec<ScheduleSummary>,
}

/// An item of the list.
#[derive(Debug, Shape)]
pub struct ScheduleSummary {
    arn: Option<String>,
    name: Option<String>,
    group_name: Option<String>,
    state: Option<ScheduleState>,
    creation_date: Option<Timestamp>,
    last_modification_date: Option<Timestamp>,
    target: Option<TargetSummary>,
}

/// What a schedule calls.
#[derive(Debug, Shape)]
pub struct TargetSummary {
    arn: String,
}

impl Operation for ListSchedules {
    type Service = Scheduler;
    type Output = ListSchedulesOutput;
    const NAME: &'static str = "ListSchedules";
    const HTTP: Http = Http::new("GET", "/schedules", 200).query(&[
        ("ScheduleGroup", "GroupName"),
        ("NamePrefix", "NamePrefix"),
        ("State", "State"),
        ("NextToken", "NextToken"),
        ("MaxResults", "MaxResults"),
    ]);

    fn resource(&self, at: &Scope) -> Arn {
        schedule_arn(at, self.group_name.as_deref().unwrap_or("*"), "*")
    }

    async fn run(
        self,
        scheduler: &Scheduler,
        cx: &Context,
    ) -> Result<ListSchedulesOutput, wire::Error> {
        let mut prefix = schedules_prefix(&cx.scope);
        if let Some(group) = self.group_name.as_deref() {
            scheduler.group(&cx.scope, group)?;
            prefix += group;
            prefix.push('/');
        }
        let begin = self.name_prefix.as_deref().unwrap_or_default();
        let found = scheduler.inner.schedules.list(&prefix).into_iter();
        let found = found.filter_map(|(rest, held)| {
            let (group, name) = match self.group_name.as_deref() {
                Some(group) => (group, rest.as_str()),
                None => rest.split_once('/')?,
            };
            let state = ScheduleState::of(held.record.enabled);
            let wanted = name.starts_with(begin) && self.state.is_none_or(|s| s == state);
            let summary = || ScheduleSummary {
                arn: Some(schedule_arn(&cx.scope, group, name).to_string()),
                name: Some(name.to_owned()),
                group_name: Some(group.to_owned()),
                state: Some(state),
                creation_date: moment(Some(held.record.created_ms)),
                last_modification_date: moment(Some(held.record.modified_ms)),
                target: Some(TargetSummary {
                    arn: held.record.target.arn.clone(),
                }),
            };
            wanted.then(|| (rest.clone(), summary()))
        });
        let token = self.next_token.as_ref();
        let (schedules, next_token) = page(found.collect(), token, self.max_results)?;
        Ok(ListSchedulesOutput {
            next_token,
            schedules,
        })
    }
}

/// Lists groups (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_ListScheduleGroups.html>).
#[derive(Debug, Shape)]
pub struct ListScheduleGroups {
    name_prefix: Option<NamePrefix>,
    next_token: Option<NextToken>,
    max_results: Option<MaxResults>,
}

/// See [`ListScheduleGroups`].
#[derive(Debug, Shape)]
pub struct ListScheduleGroupsOutput {
    next_token: Option<String>,
    schedule_groups: Vec<ScheduleGroupSummary>,
}

impl Operation for ListScheduleGroups {
    type Service = Scheduler;
    type Output = ListScheduleGroupsOutput;
    const NAME: &'static str = "ListScheduleGroups";
    const HTTP: Http = Http::new("GET", "/schedule-groups", 200).query(&[
        ("NamePrefix", "NamePrefix"),
        ("NextToken", "NextToken"),
        ("MaxResults", "MaxResults"),
    ]);

    fn resource(&self, at: &Scope) -> Arn {
        group_arn(at, "*")
    }

    async fn run(
        self,
        scheduler: &Scheduler,
        cx: &Context,
    ) -> Result<ListScheduleGroupsOutput, wire::Error> {
        let begin = self.name_prefix.as_deref().unwrap_or_default();
        let groups = scheduler.groups(&cx.scope).into_iter();
        let groups = groups.filter(|(name, _)| name.starts_with(begin));
        let groups = groups.map(|(name, record)| {
            let summary = ScheduleGroupSummary::of(&cx.scope, name.clone(), &record);
            (name, summary)
        });
        let token = self.next_token.as_ref();
        let (schedule_groups, next_token) = page(groups.collect(), token, self.max_results)?;
        Ok(ListScheduleGroupsOutput {
            next_token,
            schedule_groups,
        })
    }
}
