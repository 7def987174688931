//! PutEvents (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>): each entry is taken or refused
//! for itself, and one that is taken is on the disk before the answer.

use futures_util::future::join_all;
use wire::{Arn, Context, Http, Keys, List, Operation, Permission, Scope, Shape, Timestamp, text};

use crate::Events;
use crate::error::Error;
use crate::event::{Event, NewEvent};
use crate::ingest::Arrival;
use crate::meter::Unit;
use crate::names::{BusRef, OwnBusNameOrArn};

/// All entries of a request, counted as AWS counts them.
const ENTRIES_BYTES_MAX: usize = 1_048_576;
/// What AWS counts for a time that is given.
const TIME_BYTES: usize = 14;
/// JSON within JSON grows: every quote is escaped.
const BODY_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Sources that begin so are AWS's services.
const RESERVED: &str = "aws.";

text! {
    /// The ARN of what an event is about.
    pub struct EventResource: 0..=2048;
    /// A trace.
    pub struct TraceHeader: 1..=500;
    /// A global endpoint.
    pub struct EndpointId: 1..=50, r"^[A-Za-z0-9\-]+[\.][A-Za-z0-9\-]+$";
}

/// An event that comes in.
#[derive(Debug, Shape)]
pub struct PutEventsRequestEntry {
    time: Option<Timestamp>,
    source: Option<String>,
    resources: Option<Vec<EventResource>>,
    detail_type: Option<String>,
    detail: Option<String>,
    event_bus_name: Option<OwnBusNameOrArn>,
    trace_header: Option<TraceHeader>,
}

/// Puts events on buses.
#[derive(Debug, Shape)]
pub struct PutEvents {
    entries: List<PutEventsRequestEntry, 1, 10>,
    endpoint_id: Option<EndpointId>,
}

/// See [`PutEvents`].
#[derive(Debug, Shape)]
pub struct PutEventsOutput {
    failed_entry_count: Option<i32>,
    entries: Option<Vec<PutEventsResultEntry>>,
}

/// What became of an entry.
#[derive(Debug, Default, Shape)]
pub struct PutEventsResultEntry {
    event_id: Option<String>,
    error_code: Option<&'static str>,
    error_message: Option<String>,
}

/// Why an entry is refused: AWS's code and sentence.
type Refused = (&'static str, String);

impl PutEventsRequestEntry {
    fn bus(&self, at: &Scope) -> BusRef {
        BusRef::of(self.event_bus_name.as_deref(), at)
    }

    /// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size>
    fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let resources = self.resources.iter().flatten();
        let resources: usize = resources.map(|resource| resource.len()).sum();
        let time = if self.time.is_some() { TIME_BYTES } else { 0 };
        time + text(&self.source) + text(&self.detail_type) + text(&self.detail) + resources
    }

    /// Condition keys of this entry.
    fn keys(&self) -> Keys {
        let mut keys: Keys = vec![("events:eventBusInvocation".into(), vec!["false".to_owned()])];
        for (key, value) in [
            ("events:source", &self.source),
            ("events:detail-type", &self.detail_type),
        ] {
            if let Some(value) = value {
                keys.push((key.into(), vec![value.clone()]));
            }
        }
        keys
    }

    fn event(&self, cx: &Context) -> Result<Event, Refused> {
        let required = |name: &str, text: &Option<String>| match text.as_deref() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err((
                "InvalidArgument",
                format!("Parameter {name} is not valid. Reason: {name} is a required argument."),
            )),
        };
        let source = required("Source", &self.source)?;
        let detail_type = required("DetailType", &self.detail_type)?;
        let detail = required("Detail", &self.detail)?;
        if source.to_lowercase().starts_with(RESERVED) {
            return Err((
                "NotAuthorizedForSourceException",
                "Not authorized for the source.".to_owned(),
            ));
        }
        let resources = self.resources.iter().flatten();
        let resources: Vec<String> = resources.map(ToString::to_string).collect();
        let event = NewEvent {
            id: &uuid::Uuid::new_v4().to_string(),
            source: &source,
            detail_type: &detail_type,
            at: &cx.scope,
            time_ms: self.time.map_or(cx.now_ms, |time| time.0),
            resources: &resources,
            detail: &detail,
        };
        let malformed = |_| ("MalformedDetail", "Detail is malformed.".to_owned());
        event.event().map_err(malformed)
    }
}

impl Operation for PutEvents {
    type Service = Events;
    type Output = PutEventsOutput;
    const NAME: &'static str = "PutEvents";
    const EFFECT: wire::Effect = wire::Effect::Data;
    const HTTP: Http = Http::ROOT.body_max(BODY_BYTES_MAX);

    fn resource(&self, at: &Scope) -> Arn {
        let first = self.entries.first();
        first.map_or_else(Arn::any, |entry| entry.bus(at).arn())
    }

    fn condition_keys(&self, _: &Events, _: &Context) -> Keys {
        let first = self.entries.first();
        first.map_or_else(Keys::new, PutEventsRequestEntry::keys)
    }

    /// Every entry is asked about for itself; the first one is the operation's own.
    fn also_needs(&self, events: &Events, cx: &Context) -> Vec<Permission> {
        let others = self.entries.iter().skip(1);
        others
            .map(|entry| {
                let bus = entry.bus(&cx.scope);
                Permission {
                    action: "events:PutEvents",
                    resource: bus.arn(),
                    keys: entry.keys(),
                    resource_policy: events.policy_of(&bus),
                }
            })
            .collect()
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<PutEventsOutput, wire::Error> {
        if self.endpoint_id.is_some() {
            return Err(Error::Unsupported {
                setting: "EndpointId",
                advice: "Mayfly has no global endpoints; leave it out.",
            }
            .into());
        }
        let bytes: usize = self.entries.iter().map(PutEventsRequestEntry::bytes).sum();
        if bytes > ENTRIES_BYTES_MAX {
            let text = "Total size of the entries in the request is over the limit.";
            return Err(Error::Invalid(text.to_owned()).into());
        }
        let entries = self.entries.iter().map(|entry| put(events, cx, entry));
        let entries = join_all(entries).await;
        let failed = entries.iter().filter(|entry| entry.error_code.is_some());
        let failed = failed.count();
        measure(events, &cx.scope, entries.len(), failed);
        Ok(PutEventsOutput {
            // At most ten.
            failed_entry_count: Some(i32::try_from(failed).unwrap_or(i32::MAX)),
            entries: Some(entries),
        })
    }
}

async fn put(events: &Events, cx: &Context, entry: &PutEventsRequestEntry) -> PutEventsResultEntry {
    let refused = |(code, message): Refused| PutEventsResultEntry {
        error_code: Some(code),
        error_message: Some(message),
        ..Default::default()
    };
    let event = match entry.event(cx) {
        Ok(event) => event,
        Err(why) => return refused(why),
    };
    let id = event.id.clone();
    let arrival = Arrival {
        bus: entry.bus(&cx.scope),
        hops: 0,
        event,
        ingested_ms: cx.now_ms,
    };
    match events.accept(arrival).await {
        Ok(()) => PutEventsResultEntry {
            event_id: Some(id),
            ..Default::default()
        },
        Err(error) => {
            let hidden = wire::Error::internal(error);
            refused(("InternalFailure", hidden.message))
        }
    }
}

fn measure(events: &Events, at: &Scope, entries: usize, failed: usize) {
    let count = |name, value: usize| {
        // At most ten.
        events.measure_account(at, name, Unit::Count, value as f64);
    };
    count("PutEventsApproximateCallCount", 1);
    count("PutEventsEntriesCount", entries);
    count("PutEventsFailedEntriesCount", failed);
}
