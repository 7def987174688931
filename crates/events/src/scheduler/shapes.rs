//! The shapes that several operations share.

use wire::{Decoder, Node, Schema, Shape, Timestamp, number, text};

use super::record::{EventRecord, TargetRecord};

text! {
    /// A schedule's name.
    pub struct Name: 1..=64, r"[0-9a-zA-Z-_.]+";
    /// A group's name.
    pub struct GroupName: 1..=64, r"[0-9a-zA-Z-_.]+";
    /// What names begin with.
    pub struct NamePrefix: 1..=64, r"[0-9a-zA-Z-_.]+";
    /// When it runs, not yet read.
    pub struct ScheduleExpression: 1..=256;
    /// A name of the time zone database, not yet looked up.
    pub struct ScheduleExpressionTimezone: 1..=50;
    /// What a schedule is for.
    pub struct Description: 0..=512;
    /// A key of KMS.
    pub struct KmsKeyArn: 1..=2048, r"arn:aws[a-z-]*:kms:[a-z0-9\-]+:\d{12}:(key|alias)\/[0-9a-zA-Z-_]*";
    /// Makes a request one that can be repeated.
    pub struct ClientToken: 1..=64, r"[a-zA-Z0-9-_]+";
    /// Where the next page begins.
    pub struct NextToken: 1..=2048;
    /// What a schedule calls, not yet read.
    pub struct TargetArn: 1..=1600;
    /// As what it calls.
    pub struct RoleArn: 1..=1600, r"arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@\/-]+";
    /// A queue.
    pub struct DeadLetterArn: 1..=1600, r"arn:aws[a-z-]*:sqs:[a-z0-9\-]+:\d{12}:[a-zA-Z0-9\-_]+";
    /// What the target receives.
    pub struct TargetInput: 1..=262_144;
    /// The detail type of an event.
    pub struct DetailType: 1..=128;
    /// The group of a FIFO queue's message.
    pub struct MessageGroupId: 1..=128;
    /// The shard of a stream.
    pub struct TargetPartitionKey: 1..=256;
}

number! {
    /// The items of a page.
    pub struct MaxResults: 1..=100;
    /// The width of a flexible window.
    pub struct MaximumWindowInMinutes: 1..=1440;
    /// How old an invocation gets.
    pub struct MaximumEventAgeInSeconds: 60..=86_400;
    /// Attempts after the first.
    pub struct MaximumRetryAttempts: 0..=185;
}

/// Whether a schedule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ScheduleState {
    /// It does.
    Enabled,
    /// It does not.
    Disabled,
}

impl ScheduleState {
    pub(super) fn of(enabled: bool) -> Self {
        match enabled {
            true => Self::Enabled,
            false => Self::Disabled,
        }
    }
}

/// Whether a schedule outlives its last invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ActionAfterCompletion {
    /// It does.
    None,
    /// It does not.
    Delete,
}

/// Whether a group is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ScheduleGroupState {
    /// It is not.
    Active,
    /// It is.
    Deleting,
}

/// Whether invocations are spread over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FlexibleTimeWindowMode {
    /// No.
    Off,
    /// Yes.
    Flexible,
}

/// How much an invocation may be put off.
#[derive(Debug, Clone, Shape)]
pub struct FlexibleTimeWindow {
    pub(super) mode: FlexibleTimeWindowMode,
    pub(super) maximum_window_in_minutes: Option<MaximumWindowInMinutes>,
}

/// How often and how long a target is tried.
#[derive(Debug, Clone, Copy, Shape)]
pub struct RetryPolicy {
    pub(super) maximum_event_age_in_seconds: Option<MaximumEventAgeInSeconds>,
    pub(super) maximum_retry_attempts: Option<MaximumRetryAttempts>,
}

/// Where invocations go that did not succeed.
#[derive(Debug, Clone, Shape)]
pub struct DeadLetterConfig {
    pub(super) arn: Option<DeadLetterArn>,
}

/// What an event on a bus says of itself.
#[derive(Debug, Clone, Shape)]
pub struct EventBridgeParameters {
    pub(super) detail_type: DetailType,
    pub(super) source: Source,
}

/// For a target that is a stream.
#[derive(Debug, Clone, Shape)]
pub struct KinesisParameters {
    partition_key: TargetPartitionKey,
}

/// For a target that is a queue.
#[derive(Debug, Clone, Shape)]
pub struct SqsParameters {
    message_group_id: Option<MessageGroupId>,
}

/// The source of an event: anything but one of AWS's own.
#[derive(Debug, Clone)]
pub struct Source(String);

impl Source {
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl Shape for Source {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        const LENGTH_MAX: usize = 256;
        let text = at.string(node)?.into_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/.-_".contains(c);
        let sound = text.starts_with(plain) && !text.starts_with("aws.") || text.starts_with('$');
        if !(1..=LENGTH_MAX).contains(&text.chars().count()) || !sound {
            at.violation(
                &text,
                r"Member must satisfy regular expression pattern: (?=[/\.\-_A-Za-z0-9]+)((?!aws\.).*)|(\$(\.[\w_-]+(\[(\d+|\*)\])*)*)",
            );
            return None;
        }
        Some(Self(text))
    }
    fn encode(self) -> Node {
        Node::from(self.0)
    }
    fn schema() -> Schema {
        Schema::String
    }
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

/// What a schedule calls.
#[derive(Debug, Clone, Shape)]
pub struct Target {
    pub(super) arn: TargetArn,
    pub(super) role_arn: RoleArn,
    pub(super) dead_letter_config: Option<DeadLetterConfig>,
    pub(super) retry_policy: Option<RetryPolicy>,
    pub(super) input: Option<TargetInput>,
    pub(super) ecs_parameters: Option<OtherService>,
    pub(super) event_bridge_parameters: Option<EventBridgeParameters>,
    #[shape(name = "EventBridgePutEventsV2Parameters")]
    pub(super) event_bridge_put_events_v2_parameters: Option<OtherService>,
    pub(super) event_bridge_put_raw_events_parameters: Option<OtherService>,
    pub(super) kinesis_parameters: Option<KinesisParameters>,
    pub(super) sage_maker_pipeline_parameters: Option<OtherService>,
    pub(super) sqs_parameters: Option<SqsParameters>,
}

impl Target {
    /// As it goes out. AWS shows the retry policy that holds, also where none was given.
    pub(super) fn of(record: TargetRecord) -> Self {
        let retry = super::target::retry_of(&record);
        let event = |event: EventRecord| {
            Some(EventBridgeParameters {
                detail_type: DetailType::new(event.detail_type).ok()?,
                source: Source(event.source),
            })
        };
        Self {
            arn: TargetArn::new(record.arn).expect("an ARN that was checked when it came in"),
            role_arn: RoleArn::new(record.role).expect("a role that was checked when it came in"),
            dead_letter_config: record
                .dead_letter
                .and_then(|arn| DeadLetterArn::new(arn).ok())
                .map(|arn| DeadLetterConfig { arn: Some(arn) }),
            retry_policy: Some(RetryPolicy {
                maximum_event_age_in_seconds: MaximumEventAgeInSeconds::new(
                    retry.age_max_seconds.into(),
                ),
                maximum_retry_attempts: MaximumRetryAttempts::new(retry.attempts_max.into()),
            }),
            input: record.input.and_then(|input| TargetInput::new(input).ok()),
            event_bridge_parameters: record.event.and_then(event),
            ecs_parameters: None,
            event_bridge_put_events_v2_parameters: None,
            event_bridge_put_raw_events_parameters: None,
            kinesis_parameters: None,
            sage_maker_pipeline_parameters: None,
            sqs_parameters: None,
        }
    }
}

/// A moment of a record.
pub(super) fn moment(ms: Option<i64>) -> Option<Timestamp> {
    ms.map(Timestamp)
}
