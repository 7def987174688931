//! Schedules (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule.html>): made, shown, changed, removed.

use jiff::tz::TimeZone;
use wire::{Arn, Context, Http, Operation, Permission, Scope, Shape, Timestamp};

use super::record::{ScheduleRecord, schedule_key, schedules_prefix};
use super::shapes::{
    ActionAfterCompletion, ClientToken, Description, FlexibleTimeWindow, FlexibleTimeWindowMode,
    GroupName, KmsKeyArn, MaximumWindowInMinutes, Name, ScheduleExpression,
    ScheduleExpressionTimezone, ScheduleState, Target, moment,
};
use super::{DEFAULT_GROUP, Error, PRINCIPAL, Scheduler, group_arn, schedule_arn};
use crate::clock::Progress;
use crate::schedule::Schedule;
use crate::shelf::Edit;

/// AWS's default quota of an account in a region.
const SCHEDULES_MAX: usize = 1_000_000;
/// How long ago a start may lie.
const START_AGE_MAX_MS: i64 = 5 * 60_000;

/// Makes a schedule (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html>).
#[derive(Debug, Shape)]
pub struct CreateSchedule {
    name: Name,
    group_name: Option<GroupName>,
    schedule_expression: ScheduleExpression,
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
    description: Option<Description>,
    schedule_expression_timezone: Option<ScheduleExpressionTimezone>,
    state: Option<ScheduleState>,
    kms_key_arn: Option<KmsKeyArn>,
    target: Target,
    flexible_time_window: FlexibleTimeWindow,
    client_token: Option<ClientToken>,
    action_after_completion: Option<ActionAfterCompletion>,
}

/// See [`CreateSchedule`].
#[derive(Debug, Shape)]
pub struct CreateScheduleOutput {
    schedule_arn: String,
}

impl Operation for CreateSchedule {
    type Service = Scheduler;
    type Output = CreateScheduleOutput;
    const NAME: &'static str = "CreateSchedule";
    const HTTP: Http = Http::new("POST", "/schedules/{Name}", 200);

    fn resource(&self, at: &Scope) -> Arn {
        schedule_arn(at, group_of(self.group_name.as_ref()), &self.name)
    }

    fn also_needs(&self, _: &Scheduler, _: &Context) -> Vec<Permission> {
        pass_role(&self.target)
    }

    async fn run(
        self,
        scheduler: &Scheduler,
        cx: &Context,
    ) -> Result<CreateScheduleOutput, wire::Error> {
        let group = group_of(self.group_name.as_ref()).to_owned();
        let (at, name) = (&cx.scope, self.name.to_string());
        let token = self.client_token.clone().map(ClientToken::into_string);
        scheduler.group(at, &group)?;
        let record = ScheduleRecord {
            token: token.clone(),
            ..Wanted::from(self).check(scheduler, cx, &group)?
        };
        let count = scheduler.inner.schedules.count(&schedules_prefix(at));
        let put = |before: Option<&ScheduleRecord>| match before {
            // The same request again; the client lost the answer.
            Some(before) if token.is_some() && before.token == token => Ok(Edit::Keep(())),
            Some(_) => Err(Error::ScheduleExists(name.clone())),
            None if count >= SCHEDULES_MAX => Err(Error::Quota {
                what: "Schedules",
                limit: SCHEDULES_MAX,
            }),
            None => Ok(Edit::Put(record.clone(), ())),
        };
        let key = schedule_key(at, &group, &name);
        let schedules = &scheduler.inner.schedules;
        schedules.change(&key, put).await?;
        // The group may have been removed meanwhile; it would not have been with this schedule.
        if let Err(gone) = scheduler.group(at, &group) {
            let remove = |_: Option<&ScheduleRecord>| Ok::<_, Error>(Edit::Remove(()));
            schedules.change(&key, remove).await?;
            return Err(gone.into());
        }
        Ok(CreateScheduleOutput {
            schedule_arn: schedule_arn(at, &group, &name).to_string(),
        })
    }
}

/// Replaces all of a schedule (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_UpdateSchedule.html>): what is not
/// given gets its default.
#[derive(Debug, Shape)]
pub struct UpdateSchedule {
    name: Name,
    group_name: Option<GroupName>,
    schedule_expression: ScheduleExpression,
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
    description: Option<Description>,
    schedule_expression_timezone: Option<ScheduleExpressionTimezone>,
    state: Option<ScheduleState>,
    kms_key_arn: Option<KmsKeyArn>,
    target: Target,
    flexible_time_window: FlexibleTimeWindow,
    /// Replacing twice is as good as once.
    client_token: Option<ClientToken>,
    action_after_completion: Option<ActionAfterCompletion>,
}

/// See [`UpdateSchedule`].
#[derive(Debug, Shape)]
pub struct UpdateScheduleOutput {
    schedule_arn: String,
}

impl Operation for UpdateSchedule {
    type Service = Scheduler;
    type Output = UpdateScheduleOutput;
    const NAME: &'static str = "UpdateSchedule";
    const HTTP: Http = Http::new("PUT", "/schedules/{Name}", 200);

    fn resource(&self, at: &Scope) -> Arn {
        schedule_arn(at, group_of(self.group_name.as_ref()), &self.name)
    }

    fn also_needs(&self, _: &Scheduler, _: &Context) -> Vec<Permission> {
        pass_role(&self.target)
    }

    async fn run(
        self,
        scheduler: &Scheduler,
        cx: &Context,
    ) -> Result<UpdateScheduleOutput, wire::Error> {
        let group = group_of(self.group_name.as_ref()).to_owned();
        let (at, name) = (&cx.scope, self.name.to_string());
        scheduler.group(at, &group)?;
        let key = schedule_key(at, &group, &name);
        let schedules = &scheduler.inner.schedules;
        if schedules.get(&key).is_none() {
            return Err(Error::NoSchedule(name).into());
        }
        let record = Wanted::from(self).check(scheduler, cx, &group)?;
        let replace = |before: Option<&ScheduleRecord>| match before {
            Some(before) => Ok(Edit::Put(record.clone().in_place_of(before, cx.now_ms), ())),
            None => Err(Error::NoSchedule(name.clone())),
        };
        schedules.change(&key, replace).await?;
        Ok(UpdateScheduleOutput {
            schedule_arn: schedule_arn(at, &group, &name).to_string(),
        })
    }
}

/// Shows a schedule (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_GetSchedule.html>).
#[derive(Debug, Shape)]
pub struct GetSchedule {
    name: Name,
    group_name: Option<GroupName>,
}

/// See [`GetSchedule`].
#[derive(Debug, Shape)]
pub struct GetScheduleOutput {
    arn: Option<String>,
    group_name: Option<String>,
    name: Option<String>,
    schedule_expression: Option<String>,
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
    description: Option<String>,
    schedule_expression_timezone: Option<String>,
    state: Option<ScheduleState>,
    creation_date: Option<Timestamp>,
    last_modification_date: Option<Timestamp>,
    kms_key_arn: Option<String>,
    target: Option<Target>,
    flexible_time_window: Option<FlexibleTimeWindow>,
    action_after_completion: Option<ActionAfterCompletion>,
}

impl Operation for GetSchedule {
    type Service = Scheduler;
    type Output = GetScheduleOutput;
    const NAME: &'static str = "GetSchedule";
    const HTTP: Http =
        Http::new("GET", "/schedules/{Name}", 200).query(&[("groupName", "GroupName")]);

    fn resource(&self, at: &Scope) -> Arn {
        schedule_arn(at, group_of(self.group_name.as_ref()), &self.name)
    }

    async fn run(
        self,
        scheduler: &Scheduler,
        cx: &Context,
    ) -> Result<GetScheduleOutput, wire::Error> {
        let group = group_of(self.group_name.as_ref());
        scheduler.group(&cx.scope, group)?;
        let key = schedule_key(&cx.scope, group, &self.name);
        let held = scheduler.inner.schedules.get(&key);
        let held = held.ok_or_else(|| Error::NoSchedule(self.name.to_string()))?;
        let record = held.record.clone();
        Ok(GetScheduleOutput {
            arn: Some(schedule_arn(&cx.scope, group, &self.name).to_string()),
            group_name: Some(group.to_owned()),
            name: Some(self.name.to_string()),
            schedule_expression: Some(record.expression),
            start_date: moment(record.start_ms),
            end_date: moment(record.end_ms),
            description: record.description,
            schedule_expression_timezone: Some(record.zone.unwrap_or_else(|| "UTC".to_owned())),
            state: Some(ScheduleState::of(record.enabled)),
            creation_date: moment(Some(record.created_ms)),
            last_modification_date: moment(Some(record.modified_ms)),
            kms_key_arn: None,
            target: Some(Target::of(record.target)),
            flexible_time_window: Some(window_of(record.window_minutes)),
            action_after_completion: Some(match record.delete_at_end {
                true => ActionAfterCompletion::Delete,
                false => ActionAfterCompletion::None,
            }),
        })
    }
}

/// Removes a schedule (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_DeleteSchedule.html>).
#[derive(Debug, Shape)]
pub struct DeleteSchedule {
    name: Name,
    group_name: Option<GroupName>,
    /// Nothing is left that could remember it.
    client_token: Option<ClientToken>,
}

/// See [`DeleteSchedule`].
#[derive(Debug, Shape)]
pub struct DeleteScheduleOutput {}

impl Operation for DeleteSchedule {
    type Service = Scheduler;
    type Output = DeleteScheduleOutput;
    const NAME: &'static str = "DeleteSchedule";
    const HTTP: Http = Http::new("DELETE", "/schedules/{Name}", 200)
        .query(&[("groupName", "GroupName"), ("clientToken", "ClientToken")]);

    fn resource(&self, at: &Scope) -> Arn {
        schedule_arn(at, group_of(self.group_name.as_ref()), &self.name)
    }

    async fn run(
        self,
        scheduler: &Scheduler,
        cx: &Context,
    ) -> Result<DeleteScheduleOutput, wire::Error> {
        let group = group_of(self.group_name.as_ref());
        scheduler.group(&cx.scope, group)?;
        let remove = |before: Option<&ScheduleRecord>| match before {
            Some(_) => Ok(Edit::Remove(())),
            None => Err(Error::NoSchedule(self.name.to_string())),
        };
        let key = schedule_key(&cx.scope, group, &self.name);
        scheduler.inner.schedules.change(&key, remove).await?;
        Ok(DeleteScheduleOutput {})
    }
}

/// What CreateSchedule and UpdateSchedule say alike.
struct Wanted {
    expression: ScheduleExpression,
    zone: Option<ScheduleExpressionTimezone>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    description: Option<Description>,
    state: Option<ScheduleState>,
    kms_key: Option<KmsKeyArn>,
    target: Target,
    window: FlexibleTimeWindow,
    after: Option<ActionAfterCompletion>,
}

impl From<CreateSchedule> for Wanted {
    fn from(create: CreateSchedule) -> Self {
        Self {
            expression: create.schedule_expression,
            zone: create.schedule_expression_timezone,
            start: create.start_date,
            end: create.end_date,
            description: create.description,
            state: create.state,
            kms_key: create.kms_key_arn,
            target: create.target,
            window: create.flexible_time_window,
            after: create.action_after_completion,
        }
    }
}

impl From<UpdateSchedule> for Wanted {
    fn from(update: UpdateSchedule) -> Self {
        Self {
            expression: update.schedule_expression,
            zone: update.schedule_expression_timezone,
            start: update.start_date,
            end: update.end_date,
            description: update.description,
            state: update.state,
            kms_key: update.kms_key_arn,
            target: update.target,
            window: update.flexible_time_window,
            after: update.action_after_completion,
        }
    }
}

impl Wanted {
    /// The record of a new schedule.
    fn check(
        self,
        scheduler: &Scheduler,
        cx: &Context,
        group: &str,
    ) -> Result<ScheduleRecord, Error> {
        self.check_times(cx.now_ms)?;
        if self.kms_key.is_some() {
            // There is no KMS here; a key that is stored and never used would be a lie.
            return Err(Error::Invalid(
                "Mayfly has no KMS yet: leave out KmsKeyArn.".to_owned(),
            ));
        }
        let window_minutes = self.window_minutes()?;
        let group = group_arn(&cx.scope, group);
        let target = scheduler.check_target(self.target, &cx.scope, &group)?;
        Ok(ScheduleRecord {
            expression: self.expression.into_string(),
            zone: self.zone.map(ScheduleExpressionTimezone::into_string),
            start_ms: self.start.map(|start| start.0),
            end_ms: self.end.map(|end| end.0),
            description: self.description.map(Description::into_string),
            enabled: self.state != Some(ScheduleState::Disabled),
            window_minutes,
            delete_at_end: self.after == Some(ActionAfterCompletion::Delete),
            target,
            created_ms: cx.now_ms,
            modified_ms: cx.now_ms,
            scheduled_ms: cx.now_ms,
            token: None,
            progress: Progress::default(),
        })
    }

    fn check_times(&self, now_ms: i64) -> Result<(), Error> {
        let schedule = Schedule::parse(&self.expression)
            .map_err(|invalid| Error::Invalid(invalid.of_scheduler()))?;
        let zone = match &self.zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| {
                Error::Invalid(format!(
                    "Invalid Schedule Expression Timezone {name}. Write a name of the IANA time zone database, such as Europe/Berlin."
                ))
            })?,
        };
        if let Schedule::At(at) = schedule {
            return match at.moment_ms(&zone) {
                Some(_) => Ok(()),
                None => Err(Error::Invalid(format!(
                    "Invalid Schedule Expression {}. The clocks of the time zone skip this time.",
                    self.expression
                ))),
            };
        }
        if self
            .start
            .is_some_and(|start| start.0 < now_ms - START_AGE_MAX_MS)
        {
            return Err(Error::Invalid(
                "The StartDate you specify cannot be earlier than 5 minutes ago.".to_owned(),
            ));
        }
        let begin_ms = self.start.map_or(now_ms, |start| start.0.max(now_ms));
        if self.end.is_some_and(|end| end.0 <= begin_ms) {
            return Err(Error::Invalid(
                "The EndDate you specify must come after the StartDate and the current time."
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn window_minutes(&self) -> Result<Option<u32>, Error> {
        let minutes = self.window.maximum_window_in_minutes;
        match (self.window.mode, minutes) {
            (FlexibleTimeWindowMode::Off, None) => Ok(None),
            (FlexibleTimeWindowMode::Flexible, Some(minutes)) => {
                Ok(u32::try_from(minutes.get()).ok())
            }
            (FlexibleTimeWindowMode::Off, Some(_)) => Err(Error::Invalid(
                "MaximumWindowInMinutes must not be provided when the FlexibleTimeWindow is OFF."
                    .to_owned(),
            )),
            (FlexibleTimeWindowMode::Flexible, None) => Err(Error::Invalid(
                "MaximumWindowInMinutes must be provided when the FlexibleTimeWindow is FLEXIBLE."
                    .to_owned(),
            )),
        }
    }
}

impl ScheduleRecord {
    /// This schedule under the name of another, which it replaces now.
    fn in_place_of(self, before: &Self, now_ms: i64) -> Self {
        let mut progress = before.progress.clone();
        if (&self.expression, &self.zone) != (&before.expression, &before.zone) {
            // The new times have not come yet, even those that lie before the last old one.
            progress.done_ms = 0;
        } else if !before.enabled {
            // What it slept through does not come.
            progress.done_ms = now_ms;
        }
        let scheduled_ms = match self.has_times_of(before) {
            true => before.scheduled_ms,
            false => now_ms,
        };
        Self {
            created_ms: before.created_ms,
            token: before.token.clone(),
            scheduled_ms,
            progress,
            ..self
        }
    }
}

/// The group that a request means.
pub(super) fn group_of(name: Option<&GroupName>) -> &str {
    name.map_or(DEFAULT_GROUP, |name| name.as_str())
}

fn window_of(minutes: Option<u32>) -> FlexibleTimeWindow {
    FlexibleTimeWindow {
        mode: match minutes {
            Some(_) => FlexibleTimeWindowMode::Flexible,
            None => FlexibleTimeWindowMode::Off,
        },
        maximum_window_in_minutes: minutes
            .and_then(|minutes| MaximumWindowInMinutes::new(minutes.into())),
    }
}

/// `iam:PassRole` for the role that Scheduler is to use.
fn pass_role(target: &Target) -> Vec<Permission> {
    vec![Permission {
        action: "iam:PassRole",
        resource: Arn::parse(&target.role_arn).unwrap_or_else(Arn::any),
        keys: vec![("iam:PassedToService".into(), vec![PRINCIPAL.to_owned()])],
        resource_policy: None,
    }]
}
