//! One invocation of a schedule's target: what is put into the outbox for a tick.

use bytes::Bytes;
use delivery::{Delivery, Sender};
use store::Digest;
use wire::{Arn, Scope};

use super::record::{ScheduleRecord, of_schedule_key};
use super::target::retry_of;
use super::{PRINCIPAL, group_arn, schedule_arn};

/// What an input may say for things that are known only when the target is invoked
/// (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html>).
const SCHEDULE_ARN: &str = "<aws.scheduler.schedule-arn>";
const SCHEDULED_TIME: &str = "<aws.scheduler.scheduled-time>";
const EXECUTION_ID: &str = "<aws.scheduler.execution-id>";
/// The courier puts it in, as it alone knows.
const ATTEMPT_NUMBER: &str = "<aws.scheduler.attempt-number>";

/// How long an execution's id is.
const EXECUTION_ID_LENGTH: usize = 16;

/// An invocation that is to be.
struct Occasion<'a> {
    at: &'a Scope,
    schedule: Arn,
    time: String,
    execution: String,
}

/// The delivery of a tick. Its id is the same every time, and so is all that is made from it. `None` for a record that
/// cannot be read, which is in the log.
pub(crate) fn delivery(
    key: &str,
    record: &ScheduleRecord,
    tick_ms: i64,
    accepted_ms: i64,
    id: String,
) -> Option<Delivery> {
    let (at, group, name) = of_schedule_key(key)?;
    let target = &record.target;
    let input = target.input.as_deref();
    let schedule = schedule_arn(&at, group, name);
    let occasion = Occasion {
        at: &at,
        time: iso(tick_ms),
        execution: Digest::of(id.as_bytes()).to_string()[..EXECUTION_ID_LENGTH].to_owned(),
        schedule: schedule.clone(),
    };
    let mut parameters = std::collections::BTreeMap::new();
    let mut parameter = |name: &str, value: &str| {
        parameters.insert(name.to_owned(), value.to_owned());
    };
    parameter("SCHEDULE_ARN", schedule.as_str());
    parameter("SCHEDULED_TIME", &occasion.time);
    parameter("EXECUTION_ID", &occasion.execution);
    if let Some(event) = &target.event {
        parameter(delivery::parameter::DETAIL_TYPE, &event.detail_type);
        parameter(delivery::parameter::SOURCE, &event.source);
    }
    Some(Delivery {
        id,
        to: Arn::parse(&target.arn)?,
        from: Sender {
            service: PRINCIPAL.to_owned(),
            // On whose behalf: for trust policies that is the group
            // (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html>).
            arn: group_arn(&at, group),
            role: Arn::parse(&target.role),
        },
        payload: Bytes::from(occasion.payload(input)),
        parameters,
        retry: retry_of(target),
        dead_letter: target.dead_letter.as_deref().and_then(Arn::parse),
        trace_id: None,
        attempt_mark: input
            .is_some_and(|input| input.contains(ATTEMPT_NUMBER))
            .then(|| ATTEMPT_NUMBER.to_owned()),
        accepted_ms,
        scope: at,
    })
}

impl Occasion<'_> {
    fn payload(&self, input: Option<&str>) -> String {
        match input {
            Some(input) => input
                .replace(SCHEDULE_ARN, self.schedule.as_str())
                .replace(SCHEDULED_TIME, &self.time)
                .replace(EXECUTION_ID, &self.execution),
            None => self.event(),
        }
    }

    /// What a target receives where the schedule has no input.
    fn event(&self) -> String {
        serde_json::json!({
            "version": "0",
            "id": uuid(self.execution.as_bytes()),
            "detail-type": "Scheduled Event",
            "source": "aws.scheduler",
            "account": &*self.at.account,
            "time": self.time,
            "region": &*self.at.region,
            "resources": [self.schedule.as_str()],
            "detail": "{}",
        })
        .to_string()
    }
}

/// A UUID that is the same for the same seed, so that a repeated event is the same event.
fn uuid(seed: &[u8]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Digest::of(seed).as_bytes()[..16]);
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string()
}

/// Seconds in UTC, as AWS prints them.
fn iso(ms: i64) -> String {
    let moment = jiff::Timestamp::from_second(ms.div_euclid(1000));
    // Ticks are within the calendar: the schedule found them there.
    moment.map(|moment| moment.to_string()).unwrap_or_default()
}
