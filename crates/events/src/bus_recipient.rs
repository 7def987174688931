//! Buses as targets: what another rule, a schedule or a function sends arrives like an event that was put.

use async_trait::async_trait;
use delivery::{Delivery, Recipient, Refusal};
use serde::Deserialize;
use wire::{Arn, Keys, Scope};

use crate::Events;
use crate::error::Error;
use crate::event::{Event, NewEvent, from_parameters, id_of};
use crate::ingest::{Arrival, HOPS, HOPS_MAX};
use crate::names::{BusRef, scope_of};

/// Takes deliveries for buses.
///
/// The payload is an event as it was on another bus; or with the parameters `Source` and `DetailType` (and `Resources`, a
/// JSON list) it is the detail of a new one.
pub struct BusRecipient(pub Events);

#[async_trait]
impl Recipient for BusRecipient {
    fn takes(&self, to: &Arn) -> bool {
        BusRef::of_arn(to).is_some()
    }

    async fn receive(&self, delivery: &Delivery) -> Result<(), Refusal> {
        let events = &self.0;
        let invalid = |text: &str| Refusal::permanent("INVALID_PARAMETER", text);
        let bus = BusRef::of_arn(&delivery.to).ok_or_else(|| invalid("This is not a bus."))?;
        let event = read(delivery)?;
        self.authorize(&bus, delivery, &event.1)?;
        if let Err(gone) = events.bus(&bus) {
            return Err(Refusal::permanent("NO_RESOURCE", gone.to_string()));
        }
        let hops = delivery.parameters.get(HOPS);
        let hops: u32 = hops.and_then(|hops| hops.parse().ok()).unwrap_or(0);
        if hops > HOPS_MAX {
            let text = format!(
                "The event has come through {HOPS_MAX} buses, which rules send in circles."
            );
            return Err(Refusal::permanent("LOOP_DETECTED", text));
        }
        let arrival = Arrival {
            bus,
            hops,
            event: event.0,
            ingested_ms: events.inner.clock.now_ms(),
        };
        let failed = |error: Error| {
            tracing::error!(%error, "an event did not arrive at a bus");
            Refusal::transient("INTERNAL_ERROR", "The event could not be stored.")
        };
        events.accept(arrival).await.map_err(failed)
    }
}

/// Whether a service of AWS's tells of itself, which needs no permission within its user's account. Nobody else can be the
/// source.
fn is_service_event(delivery: &Delivery) -> bool {
    let source = delivery.parameters.get("Source");
    let service = source.and_then(|source| source.strip_prefix("aws."));
    service.is_some_and(|service| delivery.from.service == format!("{service}.amazonaws.com"))
}

/// What policies ask of an event.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Head {
    source: String,
    detail_type: String,
}

/// The event, with an id that is the same whenever the delivery is repeated, and its condition keys.
fn read(delivery: &Delivery) -> Result<(Event, Keys), Refusal> {
    let invalid = |text: &str| Refusal::permanent("INVALID_PARAMETER", text);
    let payload = std::str::from_utf8(&delivery.payload);
    let payload = payload.map_err(|_| invalid("The event is not UTF-8."))?;
    let id = id_of(&delivery.id);
    let mut keys: Keys = vec![("events:eventBusInvocation".into(), vec!["true".to_owned()])];
    let mut about = |source: &str, detail_type: &str| {
        keys.push(("events:source".into(), vec![source.to_owned()]));
        keys.push(("events:detail-type".into(), vec![detail_type.to_owned()]));
    };
    let Some((source, detail_type)) = from_parameters(&delivery.parameters) else {
        let no_event = || invalid("This is not an event.");
        let head: Head = serde_json::from_str(payload).map_err(|_| no_event())?;
        about(&head.source, &head.detail_type);
        let event = Event::renamed(payload, &id).ok_or_else(no_event)?;
        return Ok((event, keys));
    };
    about(source, detail_type);
    let resources = delivery.parameters.get("Resources");
    let resources = resources.map_or(Ok(Vec::new()), |text| serde_json::from_str(text));
    let resources: Vec<String> = resources.map_err(|_| invalid("Resources is not a list."))?;
    let event = NewEvent {
        id: &id,
        source,
        detail_type,
        at: &delivery.scope,
        time_ms: delivery.accepted_ms,
        resources: &resources,
        detail: payload,
    };
    let event = event.event();
    Ok((event.map_err(|error| invalid(&error.to_string()))?, keys))
}

impl BusRecipient {
    /// Whether the sender may put events there: its role if it has one, else the account that it is in.
    fn authorize(&self, bus: &BusRef, delivery: &Delivery, keys: &Keys) -> Result<(), Refusal> {
        let events = &self.0;
        let denied = |why: String| Refusal::permanent("NO_PERMISSIONS", why);
        let sender = &delivery.from;
        let home = scope_of(&sender.arn).map_or(delivery.scope.account, |at: Scope| at.account);
        if sender.role.is_none() && home == bus.at.account {
            if is_service_event(delivery) {
                return Ok(());
            }
            let text = "Sending to a bus of the same account needs a role.";
            return Err(denied(text.to_owned()));
        }
        let mut keys = keys.clone();
        keys.push(("aws:SourceArn".into(), vec![sender.arn.to_string()]));
        keys.push(("aws:SourceAccount".into(), vec![home.to_string()]));
        let policy = events.policy_of(bus);
        let authority = &events.inner.authority;
        let ask = wire::Ask {
            action: "events:PutEvents",
            resource: &bus.arn(),
            owner: None,
            keys: &keys,
            resource_policy: policy.as_ref(),
        };
        authority
            .may_deliver(sender, home, &bus.at, &ask)
            .map_err(denied)
    }
}
