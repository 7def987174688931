//! Rules (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rules.html>): what fires, by an event pattern or by the
//! clock. Their targets are in [`crate::target`].

use std::sync::Arc;

use wire::{Arn, Context, Keys, Operation, Permission, Scope, Shape, text};

use crate::Events;
use crate::error::Error;
use crate::names::{BusNameOrArn, BusRef, Description, Limit, NextToken, RoleArn, RuleName};
use crate::paging::page;
use crate::pattern::Pattern;
use crate::record::{RuleRecord, rule_key, rules_prefix};
use crate::schedule::Schedule;
use crate::shelf::{Edit, Held};
use crate::tag::{TagList, check_tags, request_tags};

/// Rules of one bus. AWS's default quota is 300, and is raised on request.
const RULES_MAX: usize = 10_000;

text! {
    /// What events must look like.
    pub struct EventPattern: 0..=4096;
    /// When a rule fires.
    pub struct ScheduleExpression: 0..=256;
}

/// Whether a rule fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RuleState {
    /// It does.
    #[default]
    Enabled,
    /// It does not.
    Disabled,
    /// It does, also for calls that only read.
    #[shape(name = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS")]
    EnabledWithAllCloudtrailManagementEvents,
}

/// Makes a rule, or replaces all but its targets and tags
/// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html>).
#[derive(Debug, Shape)]
pub struct PutRule {
    name: RuleName,
    schedule_expression: Option<ScheduleExpression>,
    event_pattern: Option<EventPattern>,
    state: Option<RuleState>,
    description: Option<Description>,
    role_arn: Option<RoleArn>,
    tags: Option<TagList>,
    event_bus_name: Option<BusNameOrArn>,
}

/// See [`PutRule`].
#[derive(Debug, Shape)]
pub struct PutRuleOutput {
    rule_arn: Option<String>,
}

impl PutRule {
    /// The schedule and the pattern, each in order.
    fn check(&self, bus: &BusRef) -> Result<(), Error> {
        let given = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
        if !given(self.event_pattern.as_deref()) && !given(self.schedule_expression.as_deref()) {
            return Err(Error::NothingToFire);
        }
        if given(self.schedule_expression.as_deref()) && !bus.is_default() {
            return Err(Error::ScheduleElsewhere);
        }
        let schedule = self.schedule_expression.as_deref();
        if let Some(schedule) = schedule.filter(|text| !text.is_empty()) {
            let read = Schedule::parse_for_rule(schedule);
            read.map_err(|error| Error::Schedule(error.advice().to_owned()))?;
        }
        if let Some(pattern) = self
            .event_pattern
            .as_deref()
            .filter(|text| !text.is_empty())
        {
            let read = Pattern::parse(pattern);
            read.map_err(|error| Error::Pattern(error.reason().to_owned()))?;
        }
        Ok(())
    }
}

impl Operation for PutRule {
    type Service = Events;
    type Output = PutRuleOutput;
    const NAME: &'static str = "PutRule";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.event_bus_name.as_deref(), at).rule_arn(&self.name)
    }

    fn condition_keys(&self, events: &Events, cx: &Context) -> Keys {
        let mut keys = request_tags(self.tags.as_ref());
        let bus = BusRef::of(self.event_bus_name.as_deref(), &cx.scope);
        if events.rule(&bus, &self.name).is_err() {
            // It is about to be the caller's.
            let creator = cx.caller.account.to_string();
            keys.push(("events:creatorAccount".into(), vec![creator]));
        }
        keys
    }

    fn also_needs(&self, _: &Events, cx: &Context) -> Vec<Permission> {
        let mut needed = pass_role(self.role_arn.as_deref());
        if self.tags.as_ref().is_some_and(|tags| !tags.is_empty()) {
            needed.push(Permission {
                action: "events:TagResource",
                resource: self.resource(&cx.scope),
                keys: request_tags(self.tags.as_ref()),
                resource_policy: None,
            });
        }
        needed
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<PutRuleOutput, wire::Error> {
        let bus = BusRef::of(self.event_bus_name.as_deref(), &cx.scope).in_region(&cx.scope)?;
        events.bus(&bus)?;
        self.check(&bus)?;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let pattern = self.event_pattern.as_deref().and_then(text);
        let schedule = self.schedule_expression.as_deref().and_then(text);
        let state = self.state.unwrap_or_default().as_str().to_owned();
        let count = events.inner.rules.list(&rules_prefix(&bus)).len();
        let put = |before: Option<&RuleRecord>| {
            if before.is_none() && count >= RULES_MAX {
                return Err(Error::LimitExceeded);
            }
            let mut record = RuleRecord {
                pattern: pattern.clone(),
                schedule: schedule.clone(),
                scheduled_ms: cx.now_ms,
                progress: Default::default(),
                state: state.clone(),
                description: self.description.as_deref().map(str::to_owned),
                role: self.role_arn.as_deref().map(str::to_owned),
                created_by: cx.caller.account.to_string(),
                tags: Default::default(),
                targets: Vec::new(),
            };
            match before {
                // "Tags are ignored when a rule is updated", and targets are another operation's.
                Some(before) => {
                    record.tags = before.tags.clone();
                    record.targets = before.targets.clone();
                    record.progress = before.progress.clone();
                    record.created_by = before.created_by.clone();
                    if before.schedule == record.schedule && before.enabled() {
                        record.scheduled_ms = before.scheduled_ms;
                    }
                }
                None => {
                    let tags = self.tags.clone().unwrap_or_default();
                    record.tags = check_tags(tags, Default::default())?;
                }
            }
            Ok(Edit::Put(record, ()))
        };
        let key = rule_key(&bus, &self.name);
        events.inner.rules.change::<_, Error>(&key, put).await?;
        // The bus may have been removed meanwhile; it would not have been with this rule.
        if let Err(gone) = events.bus(&bus) {
            let remove = |_: Option<&RuleRecord>| Ok(Edit::Remove(()));
            events.inner.rules.change::<_, Error>(&key, remove).await?;
            return Err(gone.into());
        }
        Ok(PutRuleOutput {
            rule_arn: Some(bus.rule_arn(&self.name).to_string()),
        })
    }
}

/// `iam:PassRole` for a role that EventBridge is to use.
pub(crate) fn pass_role(role: Option<&str>) -> Vec<Permission> {
    let Some(role) = role.filter(|role| !role.is_empty()) else {
        return Vec::new();
    };
    vec![Permission {
        action: "iam:PassRole",
        resource: Arn::parse(role).unwrap_or_else(Arn::any),
        keys: vec![(
            "iam:PassedToService".into(),
            vec![crate::PRINCIPAL.to_owned()],
        )],
        resource_policy: None,
    }]
}

/// A rule (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeRule.html>).
#[derive(Debug, Shape)]
pub struct DescribeRule {
    name: RuleName,
    event_bus_name: Option<BusNameOrArn>,
}

/// See [`DescribeRule`].
#[derive(Debug, Shape)]
pub struct DescribeRuleOutput {
    name: Option<String>,
    arn: Option<String>,
    event_pattern: Option<String>,
    schedule_expression: Option<String>,
    state: Option<RuleState>,
    description: Option<String>,
    role_arn: Option<String>,
    event_bus_name: Option<String>,
    created_by: Option<String>,
}

impl Operation for DescribeRule {
    type Service = Events;
    type Output = DescribeRuleOutput;
    const NAME: &'static str = "DescribeRule";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.event_bus_name.as_deref(), at).rule_arn(&self.name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<DescribeRuleOutput, wire::Error> {
        let bus = BusRef::of(self.event_bus_name.as_deref(), &cx.scope).in_region(&cx.scope)?;
        let rule = events.rule(&bus, &self.name)?.record.clone();
        Ok(DescribeRuleOutput {
            name: Some(self.name.to_string()),
            arn: Some(bus.rule_arn(&self.name).to_string()),
            state: RuleState::parse(&rule.state),
            event_pattern: rule.pattern,
            schedule_expression: rule.schedule,
            description: rule.description,
            role_arn: rule.role,
            event_bus_name: Some(bus.name),
            created_by: Some(rule.created_by),
        })
    }
}

/// The rules of a bus (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListRules.html>).
#[derive(Debug, Shape)]
pub struct ListRules {
    name_prefix: Option<RuleName>,
    event_bus_name: Option<BusNameOrArn>,
    next_token: Option<NextToken>,
    limit: Option<Limit>,
}

/// See [`ListRules`].
#[derive(Debug, Shape)]
pub struct ListRulesOutput {
    rules: Option<Vec<Rule>>,
    next_token: Option<String>,
}

/// One rule of a list.
#[derive(Debug, Shape)]
pub struct Rule {
    name: Option<String>,
    arn: Option<String>,
    event_pattern: Option<String>,
    state: Option<RuleState>,
    description: Option<String>,
    schedule_expression: Option<String>,
    role_arn: Option<String>,
    event_bus_name: Option<String>,
}

impl Operation for ListRules {
    type Service = Events;
    type Output = ListRulesOutput;
    const NAME: &'static str = "ListRules";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.event_bus_name.as_deref(), at).rule_arn("*")
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<ListRulesOutput, wire::Error> {
        let bus = BusRef::of(self.event_bus_name.as_deref(), &cx.scope).in_region(&cx.scope)?;
        events.bus(&bus)?;
        let prefix = self.name_prefix.as_deref().unwrap_or_default();
        let rules = events.inner.rules.list(&rules_prefix(&bus));
        let rules = rules
            .into_iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, held)| (name.clone(), (name, held)))
            .collect();
        let (rules, next_token) = page(rules, self.next_token.as_ref(), self.limit)?;
        let rules = rules.into_iter().map(|(name, held)| {
            let rule = held.record.clone();
            Rule {
                arn: Some(bus.rule_arn(&name).to_string()),
                name: Some(name),
                state: RuleState::parse(&rule.state),
                event_pattern: rule.pattern,
                description: rule.description,
                schedule_expression: rule.schedule,
                role_arn: rule.role,
                event_bus_name: Some(bus.name.clone()),
            }
        });
        Ok(ListRulesOutput {
            rules: Some(rules.collect()),
            next_token,
        })
    }
}

/// Removes a rule (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DeleteRule.html>). One that is not there is as
/// good as removed.
#[derive(Debug, Shape)]
pub struct DeleteRule {
    name: RuleName,
    event_bus_name: Option<BusNameOrArn>,
    force: Option<bool>,
}

impl Operation for DeleteRule {
    type Service = Events;
    type Output = ();
    const NAME: &'static str = "DeleteRule";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.event_bus_name.as_deref(), at).rule_arn(&self.name)
    }

    /// `Force` is about rules that AWS's services made, and Mayfly makes none.
    async fn run(self, events: &Events, cx: &Context) -> Result<(), wire::Error> {
        let bus = BusRef::of(self.event_bus_name.as_deref(), &cx.scope).in_region(&cx.scope)?;
        events.bus(&bus)?;
        let remove = |before: Option<&RuleRecord>| match before
            .is_some_and(|rule| !rule.targets.is_empty())
        {
            true => Err(Error::RuleHasTargets),
            false => Ok(Edit::Remove(())),
        };
        let key = rule_key(&bus, &self.name);
        Ok(events.inner.rules.change::<_, Error>(&key, remove).await?)
    }
}

/// Lets a rule fire (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_EnableRule.html>).
#[derive(Debug, Shape)]
pub struct EnableRule {
    name: RuleName,
    event_bus_name: Option<BusNameOrArn>,
}

impl Operation for EnableRule {
    type Service = Events;
    type Output = ();
    const NAME: &'static str = "EnableRule";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.event_bus_name.as_deref(), at).rule_arn(&self.name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<(), wire::Error> {
        let bus = self.event_bus_name.as_deref();
        Ok(set_state(events, bus, &self.name, RuleState::Enabled, cx).await?)
    }
}

/// Keeps a rule from firing (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DisableRule.html>).
#[derive(Debug, Shape)]
pub struct DisableRule {
    name: RuleName,
    event_bus_name: Option<BusNameOrArn>,
}

impl Operation for DisableRule {
    type Service = Events;
    type Output = ();
    const NAME: &'static str = "DisableRule";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.event_bus_name.as_deref(), at).rule_arn(&self.name)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<(), wire::Error> {
        let bus = self.event_bus_name.as_deref();
        Ok(set_state(events, bus, &self.name, RuleState::Disabled, cx).await?)
    }
}

async fn set_state(
    events: &Events,
    bus: Option<&str>,
    rule: &str,
    state: RuleState,
    cx: &Context,
) -> Result<(), Error> {
    let bus = BusRef::of(bus, &cx.scope).in_region(&cx.scope)?;
    events.bus(&bus)?;
    let set = |record: &mut RuleRecord| {
        let was_enabled = record.enabled();
        record.state = state.as_str().to_owned();
        if !was_enabled && record.enabled() {
            record.scheduled_ms = cx.now_ms;
        }
        Ok(())
    };
    events.change_rule(&bus, rule, set).await
}

impl Events {
    /// The rule.
    pub(crate) fn rule(&self, bus: &BusRef, name: &str) -> Result<Arc<Held<RuleRecord>>, Error> {
        self.bus(bus)?;
        let held = self.inner.rules.get(&rule_key(bus, name));
        held.ok_or_else(|| no_rule(bus, name))
    }

    /// Changes a rule that is there.
    pub(crate) async fn change_rule<T>(
        &self,
        bus: &BusRef,
        name: &str,
        mut edit: impl FnMut(&mut RuleRecord) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let change = |before: Option<&RuleRecord>| {
            let mut record = before.ok_or_else(|| no_rule(bus, name))?.clone();
            let value = edit(&mut record)?;
            Ok(Edit::Put(record, value))
        };
        self.inner
            .rules
            .change::<_, Error>(&rule_key(bus, name), change)
            .await
    }
}

fn no_rule(bus: &BusRef, name: &str) -> Error {
    Error::NoRule {
        rule: name.to_owned(),
        bus: bus.name.clone(),
    }
}
