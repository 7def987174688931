//! Targets: where what a rule fires goes (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-targets.html>).

use std::collections::BTreeMap;

use wire::{
    Arn, Context, Decoder, Keys, List, Node, Operation, Permission, Schema, Scope, Shape, number,
    text,
};

use crate::Events;
use crate::bus::DeadLetterConfig;
use crate::error::Error;
use crate::names::{
    BusNameOrArn, BusRef, Limit, NextToken, ResourceArn, RoleArn, RuleName, scope_of,
};
use crate::paging::page;
use crate::record::{HttpRecord, InputRecord, RuleRecord, TargetRecord, rules_prefix};
use crate::rule::pass_role;

/// Targets of one rule, AWS's default quota.
const TARGETS_MAX: usize = 5;
/// Parts of the event that a transformer may name.
const PATHS_MAX: usize = 100;

text! {
    /// Names a target within its rule.
    pub struct TargetId: 1..=64, r"[\.\-_A-Za-z0-9]+";
    /// What a target is.
    pub struct TargetArn: 1..=1600;
    /// What a target always receives.
    pub struct TargetInput: 0..=8192;
    /// The part of the event that a target receives.
    pub struct TargetInputPath: 0..=256;
    /// What a target receives, with names of parts of the event in it.
    pub struct TransformerInput: 1..=8192;
    /// Which shard of a stream.
    pub struct TargetPartitionKeyPath: 0..=256;
    /// Which group of a queue.
    pub struct MessageGroupId: 0..=100;
    /// A header's value.
    pub struct HeaderValue: 0..=512, r"^[ \t]*[\x20-\x7E]+([ \t]+[\x20-\x7E]+)*[ \t]*$";
    /// A parameter's value.
    pub struct QueryStringValue: 0..=512, r"[^\x00-\x09\x0B\x0C\x0E-\x1F\x7F]+";
    /// A part of the path.
    pub struct PathParameter: 1..=2048;
}

number! {
    /// Attempts after the first.
    pub struct MaximumRetryAttempts: 0..=185;
    /// How old an event gets, in seconds.
    pub struct MaximumEventAgeInSeconds: 60..=86_400;
}

/// What a target receives, made of parts of the event.
#[derive(Debug, Clone, Shape)]
pub struct InputTransformer {
    input_paths_map: Option<BTreeMap<String, TargetInputPath>>,
    input_template: TransformerInput,
}

/// For a target that is a stream.
#[derive(Debug, Clone, Shape)]
pub struct KinesisParameters {
    partition_key_path: TargetPartitionKeyPath,
}

/// For a target that is a queue.
#[derive(Debug, Clone, Shape)]
pub struct SqsParameters {
    message_group_id: Option<MessageGroupId>,
}

/// For a target that is an API destination.
#[derive(Debug, Clone, Shape)]
pub struct HttpParameters {
    path_parameter_values: Option<Vec<PathParameter>>,
    header_parameters: Option<BTreeMap<String, HeaderValue>>,
    query_string_parameters: Option<BTreeMap<String, QueryStringValue>>,
}

/// How often and how long it is tried.
#[derive(Debug, Clone, Copy, Shape)]
pub struct RetryPolicy {
    maximum_retry_attempts: Option<MaximumRetryAttempts>,
    maximum_event_age_in_seconds: Option<MaximumEventAgeInSeconds>,
}

/// The parameters of a service that Mayfly has not. Any value is refused.
#[derive(Debug, Clone)]
pub struct OtherService;

impl Shape for OtherService {
    fn decode(_: Node, _: &mut Decoder) -> Option<Self> {
        Some(Self)
    }
    fn encode(self) -> Node {
        Node::Null
    }
    fn schema() -> Schema {
        Schema::Any
    }
}

/// A target.
#[derive(Debug, Clone, Shape)]
pub struct Target {
    id: TargetId,
    arn: TargetArn,
    role_arn: Option<RoleArn>,
    input: Option<TargetInput>,
    input_path: Option<TargetInputPath>,
    input_transformer: Option<InputTransformer>,
    kinesis_parameters: Option<KinesisParameters>,
    run_command_parameters: Option<OtherService>,
    ecs_parameters: Option<OtherService>,
    batch_parameters: Option<OtherService>,
    sqs_parameters: Option<SqsParameters>,
    http_parameters: Option<HttpParameters>,
    redshift_data_parameters: Option<OtherService>,
    sage_maker_pipeline_parameters: Option<OtherService>,
    dead_letter_config: Option<DeadLetterConfig>,
    retry_policy: Option<RetryPolicy>,
    app_sync_parameters: Option<OtherService>,
}

/// What kinds of targets there are. Queues and streams are another issue's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Function,
    Bus,
    LogGroup,
    ApiDestination,
}

const KINDS: &[(&str, &str, Kind)] = &[
    ("lambda", "function:", Kind::Function),
    ("events", "event-bus/", Kind::Bus),
    ("events", "api-destination/", Kind::ApiDestination),
    ("logs", "log-group:", Kind::LogGroup),
];

impl Kind {
    fn of(arn: &Arn) -> Result<Self, Error> {
        let found = KINDS.iter().find(|(service, head, _)| {
            arn.service() == *service && arn.resource().starts_with(head)
        });
        found.map(|(_, _, kind)| *kind).ok_or(Error::Unsupported {
            setting: "This kind of target",
            advice: "Functions, event buses, log groups and API destinations are.",
        })
    }
}

impl Target {
    /// The target as it is stored, if a rule of this bus may have it.
    fn check(self, bus: &BusRef) -> Result<TargetRecord, Error> {
        let arn = Arn::parse(&self.arn).ok_or_else(|| Error::NotAnArn(self.arn.to_string()))?;
        let kind = Kind::of(&arn)?;
        self.check_parameters(kind)?;
        let at = scope_of(&arn).ok_or_else(|| Error::NotAnArn(self.arn.to_string()))?;
        let role = self.role_arn.as_deref().filter(|role| !role.is_empty());
        let role_needed = match kind {
            Kind::Function | Kind::LogGroup => false,
            // The bus of another account of the region may let the whole account in.
            Kind::Bus => at.account == bus.at.account || at.region != bus.at.region,
            Kind::ApiDestination => true,
        };
        if role_needed && role.is_none() {
            let text = format!("RoleArn is required for target {arn}.");
            return Err(Error::Invalid(text));
        }
        if role.is_some_and(|role| Arn::parse(role).is_none_or(|role| role.service() != "iam")) {
            return Err(Error::NotAnArn(role.unwrap_or_default().to_owned()));
        }
        if kind != Kind::Bus && at.region != bus.at.region {
            let text = format!("Target {arn} is in another region than its rule.");
            return Err(Error::Invalid(text));
        }
        let dead_letter = self.dead_letter_config.as_ref();
        let dead_letter = dead_letter.and_then(|queue| queue.arn.as_deref());
        if let Some(queue) = dead_letter
            && Arn::parse(queue).is_none_or(|queue| queue.service() != "sqs")
        {
            return Err(Error::NotAnArn(queue.to_owned()));
        }
        let retry = self.retry_policy;
        let number = |value: i64| u32::try_from(value).ok();
        Ok(TargetRecord {
            role: role.map(str::to_owned),
            attempts_max: retry
                .and_then(|retry| retry.maximum_retry_attempts)
                .and_then(|attempts| number(attempts.get())),
            age_max_seconds: retry
                .and_then(|retry| retry.maximum_event_age_in_seconds)
                .and_then(|age| number(age.get())),
            dead_letter: dead_letter.map(str::to_owned),
            input: self.input(kind)?,
            http: self.http_parameters.map(HttpParameters::record),
            message_group: None,
            partition_key_path: None,
            id: self.id.into_string(),
            arn: self.arn.into_string(),
        })
    }

    /// Parameters must be those of the target's kind.
    fn check_parameters(&self, kind: Kind) -> Result<(), Error> {
        let given = [
            ("KinesisParameters", self.kinesis_parameters.is_some()),
            (
                "RunCommandParameters",
                self.run_command_parameters.is_some(),
            ),
            ("EcsParameters", self.ecs_parameters.is_some()),
            ("BatchParameters", self.batch_parameters.is_some()),
            ("SqsParameters", self.sqs_parameters.is_some()),
            (
                "RedshiftDataParameters",
                self.redshift_data_parameters.is_some(),
            ),
            (
                "SageMakerPipelineParameters",
                self.sage_maker_pipeline_parameters.is_some(),
            ),
            ("AppSyncParameters", self.app_sync_parameters.is_some()),
            (
                "HttpParameters",
                self.http_parameters.is_some() && kind != Kind::ApiDestination,
            ),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((name, _)) => Err(Error::Invalid(format!(
                "{name} is not a parameter of target {}.",
                self.arn
            ))),
        }
    }

    fn input(&self, kind: Kind) -> Result<InputRecord, Error> {
        let id = &self.id;
        let given = [
            self.input.is_some(),
            self.input_path.is_some(),
            self.input_transformer.is_some(),
        ];
        let given = given.iter().filter(|given| **given).count();
        if given > 1 {
            return Err(Error::Invalid(format!(
                "Only one of Input, InputPath, or InputTransformer must be provided for target {id}."
            )));
        }
        // "You can't use input transformation with event buses": the event goes on as it is.
        if given > 0 && kind == Kind::Bus {
            return Err(Error::Invalid(format!(
                "Input, InputPath and InputTransformer are not supported for target {id}, an event bus."
            )));
        }
        let input = if let Some(input) = self.input.as_deref().filter(|input| !input.is_empty()) {
            InputRecord::Constant(input.to_owned())
        } else if let Some(path) = self.input_path.as_deref().filter(|path| !path.is_empty()) {
            InputRecord::Path(path.to_owned())
        } else if let Some(transformer) = &self.input_transformer {
            transformer.record(id)?
        } else {
            InputRecord::Event
        };
        input.check(id)?;
        Ok(input)
    }

    /// As it goes out.
    fn of(record: TargetRecord) -> Self {
        // What is stored has come in as these types.
        let text = |text: Option<String>| text.and_then(|text| ResourceArn::new(text).ok());
        let mut target = Self {
            id: TargetId::new(record.id).expect("an id that was checked when it came in"),
            arn: TargetArn::new(record.arn).expect("an ARN that was checked when it came in"),
            role_arn: record.role.and_then(|role| RoleArn::new(role).ok()),
            input: None,
            input_path: None,
            input_transformer: None,
            kinesis_parameters: None,
            run_command_parameters: None,
            ecs_parameters: None,
            batch_parameters: None,
            sqs_parameters: None,
            http_parameters: record.http.map(HttpParameters::of),
            redshift_data_parameters: None,
            sage_maker_pipeline_parameters: None,
            dead_letter_config: text(record.dead_letter)
                .map(|arn| DeadLetterConfig { arn: Some(arn) }),
            retry_policy: None,
            app_sync_parameters: None,
        };
        if record.attempts_max.is_some() || record.age_max_seconds.is_some() {
            target.retry_policy = Some(RetryPolicy {
                maximum_retry_attempts: record
                    .attempts_max
                    .and_then(|attempts| MaximumRetryAttempts::new(attempts.into())),
                maximum_event_age_in_seconds: record
                    .age_max_seconds
                    .and_then(|age| MaximumEventAgeInSeconds::new(age.into())),
            });
        }
        match record.input {
            InputRecord::Event => {}
            InputRecord::Constant(input) => target.input = TargetInput::new(input).ok(),
            InputRecord::Path(path) => target.input_path = TargetInputPath::new(path).ok(),
            InputRecord::Transformer { paths, template } => {
                let paths = paths.into_iter();
                let paths =
                    paths.filter_map(|(name, path)| Some((name, TargetInputPath::new(path).ok()?)));
                target.input_transformer =
                    TransformerInput::new(template)
                        .ok()
                        .map(|input_template| InputTransformer {
                            input_paths_map: Some(paths.collect()),
                            input_template,
                        });
            }
        }
        target
    }
}

impl InputTransformer {
    fn record(&self, id: &str) -> Result<InputRecord, Error> {
        let paths = self.input_paths_map.clone().unwrap_or_default();
        if paths.len() > PATHS_MAX {
            return Err(Error::Invalid(format!(
                "InputPathsMap for target {id} has more than {PATHS_MAX} entries."
            )));
        }
        let paths = paths.into_iter();
        let paths = paths
            .map(|(name, path)| (name, path.into_string()))
            .collect();
        let template = self.input_template.to_string();
        Ok(InputRecord::Transformer { paths, template })
    }
}

impl HttpParameters {
    fn record(self) -> HttpRecord {
        let path_values = self.path_parameter_values.unwrap_or_default();
        let headers = self.header_parameters.unwrap_or_default();
        let query = self.query_string_parameters.unwrap_or_default();
        HttpRecord {
            path_values: path_values
                .into_iter()
                .map(PathParameter::into_string)
                .collect(),
            headers: headers
                .into_iter()
                .map(|(name, value)| (name, value.into_string()))
                .collect(),
            query: query
                .into_iter()
                .map(|(name, value)| (name, value.into_string()))
                .collect(),
        }
    }

    fn of(record: HttpRecord) -> Self {
        let values = record.path_values.into_iter();
        let headers = record.headers.into_iter();
        let query = record.query.into_iter();
        Self {
            path_parameter_values: Some(
                values
                    .filter_map(|value| PathParameter::new(value).ok())
                    .collect(),
            ),
            header_parameters: Some(
                headers
                    .filter_map(|(name, value)| Some((name, HeaderValue::new(value).ok()?)))
                    .collect(),
            ),
            query_string_parameters: Some(
                query
                    .filter_map(|(name, value)| Some((name, QueryStringValue::new(value).ok()?)))
                    .collect(),
            ),
        }
    }
}

/// Adds targets to a rule, or replaces those with the same ids
/// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutTargets.html>).
#[derive(Debug, Shape)]
pub struct PutTargets {
    rule: RuleName,
    event_bus_name: Option<BusNameOrArn>,
    targets: List<Target, 1, 100>,
}

/// See [`PutTargets`].
#[derive(Debug, Shape)]
pub struct PutTargetsOutput {
    failed_entry_count: Option<i32>,
    failed_entries: Option<Vec<FailedTarget>>,
}

/// A target that could not be put or removed. All or none are, so there never is one.
#[derive(Debug, Shape)]
pub struct FailedTarget {
    target_id: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
}

impl Operation for PutTargets {
    type Service = Events;
    type Output = PutTargetsOutput;
    const NAME: &'static str = "PutTargets";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.event_bus_name.as_deref(), at).rule_arn(&self.rule)
    }

    fn condition_keys(&self, _: &Events, _: &Context) -> Keys {
        let arns = self.targets.iter().map(|target| target.arn.to_string());
        vec![("events:TargetArn".into(), arns.collect())]
    }

    fn also_needs(&self, _: &Events, _: &Context) -> Vec<Permission> {
        let roles = self.targets.iter().map(|target| target.role_arn.as_deref());
        roles.flat_map(pass_role).collect()
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<PutTargetsOutput, wire::Error> {
        let bus = BusRef::of(self.event_bus_name.as_deref(), &cx.scope).in_region(&cx.scope)?;
        events.rule(&bus, &self.rule)?;
        let new = self.targets.into_iter().map(|target| target.check(&bus));
        let new: Vec<TargetRecord> = new.collect::<Result<_, _>>()?;
        let put = |record: &mut RuleRecord| {
            for target in &new {
                match record
                    .targets
                    .iter_mut()
                    .find(|known| known.id == target.id)
                {
                    Some(known) => *known = target.clone(),
                    None => record.targets.push(target.clone()),
                }
            }
            match record.targets.len() > TARGETS_MAX {
                true => Err(Error::LimitExceeded),
                false => Ok(()),
            }
        };
        events.change_rule(&bus, &self.rule, put).await?;
        Ok(PutTargetsOutput {
            failed_entry_count: Some(0),
            failed_entries: Some(Vec::new()),
        })
    }
}

/// Removes targets from a rule (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_RemoveTargets.html>). Those that
/// are not there are as good as removed.
#[derive(Debug, Shape)]
pub struct RemoveTargets {
    rule: RuleName,
    event_bus_name: Option<BusNameOrArn>,
    ids: List<TargetId, 1, 100>,
    force: Option<bool>,
}

impl Operation for RemoveTargets {
    type Service = Events;
    type Output = PutTargetsOutput;
    const NAME: &'static str = "RemoveTargets";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.event_bus_name.as_deref(), at).rule_arn(&self.rule)
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<PutTargetsOutput, wire::Error> {
        let bus = BusRef::of(self.event_bus_name.as_deref(), &cx.scope).in_region(&cx.scope)?;
        events.bus(&bus)?;
        let gone = |target: &TargetRecord| self.ids.iter().any(|id| id.as_str() == target.id);
        let remove = |record: &mut RuleRecord| {
            record.targets.retain(|target| !gone(target));
            Ok(())
        };
        events.change_rule(&bus, &self.rule, remove).await?;
        Ok(PutTargetsOutput {
            failed_entry_count: Some(0),
            failed_entries: Some(Vec::new()),
        })
    }
}

/// The targets of a rule (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListTargetsByRule.html>).
#[derive(Debug, Shape)]
pub struct ListTargetsByRule {
    rule: RuleName,
    event_bus_name: Option<BusNameOrArn>,
    next_token: Option<NextToken>,
    limit: Option<Limit>,
}

/// See [`ListTargetsByRule`].
#[derive(Debug, Shape)]
pub struct ListTargetsByRuleOutput {
    targets: Option<Vec<Target>>,
    next_token: Option<String>,
}

impl Operation for ListTargetsByRule {
    type Service = Events;
    type Output = ListTargetsByRuleOutput;
    const NAME: &'static str = "ListTargetsByRule";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.event_bus_name.as_deref(), at).rule_arn(&self.rule)
    }

    async fn run(
        self,
        events: &Events,
        cx: &Context,
    ) -> Result<ListTargetsByRuleOutput, wire::Error> {
        let bus = BusRef::of(self.event_bus_name.as_deref(), &cx.scope).in_region(&cx.scope)?;
        let targets = events.rule(&bus, &self.rule)?.record.targets.clone();
        let mut targets: Vec<_> = targets
            .into_iter()
            .map(|target| (target.id.clone(), Target::of(target)))
            .collect();
        targets.sort_by(|a, b| a.0.cmp(&b.0));
        let (targets, next_token) = page(targets, self.next_token.as_ref(), self.limit)?;
        Ok(ListTargetsByRuleOutput {
            targets: Some(targets),
            next_token,
        })
    }
}

/// The rules that have a target (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListRuleNamesByTarget.html>).
#[derive(Debug, Shape)]
pub struct ListRuleNamesByTarget {
    target_arn: TargetArn,
    event_bus_name: Option<BusNameOrArn>,
    next_token: Option<NextToken>,
    limit: Option<Limit>,
}

/// See [`ListRuleNamesByTarget`].
#[derive(Debug, Shape)]
pub struct ListRuleNamesByTargetOutput {
    rule_names: Option<Vec<String>>,
    next_token: Option<String>,
}

impl Operation for ListRuleNamesByTarget {
    type Service = Events;
    type Output = ListRuleNamesByTargetOutput;
    const NAME: &'static str = "ListRuleNamesByTarget";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.event_bus_name.as_deref(), at).rule_arn("*")
    }

    async fn run(
        self,
        events: &Events,
        cx: &Context,
    ) -> Result<ListRuleNamesByTargetOutput, wire::Error> {
        let bus = BusRef::of(self.event_bus_name.as_deref(), &cx.scope).in_region(&cx.scope)?;
        events.bus(&bus)?;
        let wanted = |target: &TargetRecord| target.arn == self.target_arn.as_str();
        let rules = events.inner.rules.list(&rules_prefix(&bus));
        let rules = rules
            .into_iter()
            .filter(|(_, held)| held.record.targets.iter().any(wanted))
            .map(|(name, _)| (name.clone(), name))
            .collect();
        let (names, next_token) = page(rules, self.next_token.as_ref(), self.limit)?;
        Ok(ListRuleNamesByTargetOutput {
            rule_names: Some(names),
            next_token,
        })
    }
}
