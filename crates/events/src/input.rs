//! What a target receives of an event, between the record and [`crate::transform`].

use bytes::Bytes;

use crate::error::Error;
use crate::event::{Event, time};
use crate::names::BusRef;
use crate::record::InputRecord;
use crate::transform::{Fired, Input, Options};

impl InputRecord {
    fn options(&self) -> Options<'_> {
        let mut options = Options::default();
        match self {
            InputRecord::Event => {}
            InputRecord::Constant(text) => options.input = Some(text),
            InputRecord::Path(path) => options.path = Some(path),
            InputRecord::Transformer { paths, template } => {
                options.transformer = Some((paths, template));
            }
        }
        options
    }

    /// Refuses what no event could be given through, in AWS's words.
    pub(crate) fn check(&self, target: &str) -> Result<(), Error> {
        let read = Input::new(target, self.options());
        read.map(drop)
            .map_err(|why| Error::Invalid(why.to_string()))
    }
}

/// What the target receives of this event.
pub(crate) fn of(
    input: &InputRecord,
    target: &str,
    event: &Event,
    bus: &BusRef,
    rule: &str,
    ingested_ms: i64,
) -> Result<Bytes, Error> {
    let invalid = |why: String| Error::Invalid(why);
    let read = Input::new(target, input.options());
    let read = read.map_err(|why| invalid(why.to_string()))?;
    let given = read.of(&Fired {
        event: &event.document,
        rule_arn: bus.rule_arn(rule).as_str(),
        rule_name: rule,
        ingestion_time: &time(ingested_ms),
    });
    given
        .map(Bytes::from)
        .map_err(|why| invalid(why.to_string()))
}
