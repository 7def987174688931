//! What a schedule may call: a function, an event bus, or any operation that Mayfly has and that changes something
//! (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets.html>).

use delivery::RetryPolicy;
use wire::{Arn, Scope};

use super::record::{EventRecord, TargetRecord};
use super::shapes::Target;
use super::{Error, Scheduler};

/// "EventBridge Scheduler does not support read-only API actions that begin with the following list of prefixes"
/// (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html>).
const READ_ONLY: &[&str] = &[
    "get",
    "describe",
    "list",
    "poll",
    "receive",
    "search",
    "scan",
    "query",
    "select",
    "read",
    "lookup",
    "discover",
    "validate",
    "batchGet",
    "batchDescribe",
    "batchRead",
    "transactGet",
    "adminGet",
    "adminList",
    "testMigration",
    "retrieve",
    "testConnection",
    "translateDocument",
    "isAuthorized",
    "invokeModel",
];

/// What kinds of targets there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Function,
    Bus,
    Operation,
}

/// The kind of an ARN: its service, how its resource begins.
const KINDS: &[(&str, &str, Kind)] = &[
    ("lambda", "function:", Kind::Function),
    ("events", "event-bus/", Kind::Bus),
    ("scheduler", OPERATION, Kind::Operation),
];

/// How the resource of an ARN begins that names an operation: `aws-sdk:lambda:invoke` follows.
const OPERATION: &str = "aws-sdk:";

/// The policy that holds: AWS's default where nothing was said.
pub(crate) fn retry_of(target: &TargetRecord) -> RetryPolicy {
    let RetryPolicy {
        attempts_max,
        age_max_seconds,
    } = RetryPolicy::DEFAULT;
    RetryPolicy {
        attempts_max: target.attempts_max.unwrap_or(attempts_max),
        age_max_seconds: target.age_max_seconds.unwrap_or(age_max_seconds),
    }
}

/// The service and the operation of a universal target's ARN.
pub fn operation_of(arn: &Arn) -> Option<(&str, &str)> {
    let named = arn.resource().strip_prefix(OPERATION);
    let (service, operation) = named?.split_once(':')?;
    let sound = arn.service() == "scheduler" && !service.is_empty() && !operation.is_empty();
    sound.then_some((service, operation))
}

impl Scheduler {
    /// The target as it is stored, if a schedule of this group may have it.
    pub(super) fn check_target(
        &self,
        target: Target,
        at: &Scope,
        group: &Arn,
    ) -> Result<TargetRecord, Error> {
        let not_an_arn = || Error::Invalid("Provided Arn is not in correct format.".to_owned());
        let arn = Arn::parse(&target.arn).ok_or_else(not_an_arn)?;
        let kind = kind_of(&arn)?;
        check_parameters(&target, kind)?;
        if kind == Kind::Function && arn.region() != &*at.region {
            return Err(Error::Invalid(format!(
                "The target {arn} is in another region than the schedule."
            )));
        }
        let input = target.input.as_deref();
        if let Some(input) = input {
            crate::json::check(input).map_err(|place| {
                Error::Invalid(format!("Target Input is not valid JSON: {place}."))
            })?;
        }
        if kind == Kind::Operation {
            if !input.is_none_or(crate::json::is_object) {
                return Err(Error::Invalid(
                    "Invalid RequestJson provided. Reason The parameters of an operation are a JSON object.".to_owned(),
                ));
            }
            self.check_operation(&arn, input)?;
        }
        let role = Arn::parse(&target.role_arn).ok_or_else(not_an_arn)?;
        if role.account() != &*at.account {
            return Err(Error::Invalid(
                "The execution role must be in the account of the schedule.".to_owned(),
            ));
        }
        if !self.inner.surroundings.assumable(&role, group) {
            return Err(Error::Invalid(
                "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.".to_owned(),
            ));
        }
        Ok(record(target))
    }

    fn check_operation(&self, arn: &Arn, input: Option<&str>) -> Result<(), Error> {
        let Some((service, operation)) = operation_of(arn) else {
            return Err(Error::Invalid(
                "Provided Arn is not in correct format.".to_owned(),
            ));
        };
        if READ_ONLY.iter().any(|prefix| operation.starts_with(prefix)) {
            return Err(Error::Invalid(format!(
                "{arn} is not a supported target: its operation only reads."
            )));
        }
        self.inner
            .surroundings
            .check_operation(service, operation, input)
            .map_err(Error::Invalid)
    }
}

fn kind_of(arn: &Arn) -> Result<Kind, Error> {
    let mut kinds = KINDS.iter();
    let kind = kinds
        .find(|(service, head, _)| arn.service() == *service && arn.resource().starts_with(head));
    kind.map(|(_, _, kind)| *kind).ok_or_else(|| {
        Error::Invalid(format!(
            "Mayfly has no targets of the service {} yet: {arn}. Functions, event buses and the operations of Mayfly's services (aws-sdk:service:operation) are targets.",
            arn.service()
        ))
    })
}

/// Parameters must be those of the target's kind.
fn check_parameters(target: &Target, kind: Kind) -> Result<(), Error> {
    let bus = target.event_bridge_parameters.is_some();
    if kind == Kind::Bus && !bus {
        return Err(Error::Invalid(
            "EventBridgeParameters must be provided for an event bus target.".to_owned(),
        ));
    }
    let given = [
        ("EventBridgeParameters", bus && kind != Kind::Bus),
        ("EcsParameters", target.ecs_parameters.is_some()),
        (
            "EventBridgePutEventsV2Parameters",
            target.event_bridge_put_events_v2_parameters.is_some(),
        ),
        (
            "EventBridgePutRawEventsParameters",
            target.event_bridge_put_raw_events_parameters.is_some(),
        ),
        ("KinesisParameters", target.kinesis_parameters.is_some()),
        (
            "SageMakerPipelineParameters",
            target.sage_maker_pipeline_parameters.is_some(),
        ),
        ("SqsParameters", target.sqs_parameters.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => Err(Error::Invalid(format!(
            "{name} cannot be given for the target {}.",
            target.arn
        ))),
    }
}

fn record(target: Target) -> TargetRecord {
    let number = |value: i64| u32::try_from(value).ok();
    let retry = target.retry_policy;
    TargetRecord {
        attempts_max: retry
            .and_then(|retry| retry.maximum_retry_attempts)
            .and_then(|attempts| number(attempts.get())),
        age_max_seconds: retry
            .and_then(|retry| retry.maximum_event_age_in_seconds)
            .and_then(|age| number(age.get())),
        dead_letter: target
            .dead_letter_config
            .and_then(|config| config.arn)
            .map(|arn| arn.into_string()),
        event: target.event_bridge_parameters.map(|event| EventRecord {
            detail_type: event.detail_type.into_string(),
            source: event.source.into_string(),
        }),
        input: target.input.map(|input| input.into_string()),
        arn: target.arn.into_string(),
        role: target.role_arn.into_string(),
    }
}
