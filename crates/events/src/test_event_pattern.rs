//! TestEventPattern (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_TestEventPattern.html>): whether an event
//! would match, without a rule.

use wire::{Arn, Context, Operation, Scope, Shape};

use crate::Events;
use crate::error::Error;
use crate::pattern::{Event, Pattern};
use crate::rule::EventPattern;

/// What an event must have at least.
const MANDATORY: &[&str] = &["id", "account", "source", "time", "region", "detail-type"];

/// Matches an event against a pattern.
#[derive(Debug, Shape)]
pub struct TestEventPattern {
    event_pattern: EventPattern,
    event: String,
}

/// See [`TestEventPattern`].
#[derive(Debug, Shape)]
pub struct TestEventPatternOutput {
    result: Option<bool>,
}

impl Operation for TestEventPattern {
    type Service = Events;
    type Output = TestEventPatternOutput;
    const NAME: &'static str = "TestEventPattern";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(self, _: &Events, _: &Context) -> Result<TestEventPatternOutput, wire::Error> {
        let invalid = || Error::Invalid("Parameter Event is not valid.".to_owned());
        let event = Event::parse(&self.event).map_err(|_| invalid())?;
        if !MANDATORY.iter().all(|name| event.has(name)) {
            return Err(invalid().into());
        }
        let pattern = Pattern::parse(&self.event_pattern)
            .map_err(|error| Error::Pattern(error.reason().to_owned()))?;
        Ok(TestEventPatternOutput {
            result: Some(pattern.matches(&event)),
        })
    }
}
