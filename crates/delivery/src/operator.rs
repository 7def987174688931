//! The outbox for its operator: what was set aside, and sending it again. An API of our own, since AWS has none: operations of
//! the service `mayfly`. It is signed and authorized like any other, and shows an account its own.

use wire::{
    Arn, Context, Operation, Protocol, Route, Scope, Service, Shape, Timestamp, Unbuilt, number,
    text,
};

use crate::{Error, Grave, Outbox, Place};

/// How many are shown unless the request says it.
const SHOWN: usize = 100;

number! {
    /// How many to show.
    pub struct MaxItems: 1..=1000;
}

text! {
    /// The id of a delivery.
    pub struct DeliveryId: 1..=2048;
    /// Where the next page begins.
    pub struct NextToken: 1..=4096;
}

impl Service for Outbox {
    const NAME: &'static str = "mayfly";
    const MODEL: &'static str = "";
    const PROTOCOLS: &'static [Protocol] = &[Protocol::Json11];
    const TARGET_PREFIX: &'static str = "MayflyOutbox";
    const OPERATIONS: &'static [Route<Self>] =
        &[Route::of::<ListUndelivered>(), Route::of::<Redrive>()];
    const UNBUILT: &'static [Unbuilt] = &[];
}

/// Shows what was set aside.
#[derive(Debug, Shape)]
pub struct ListUndelivered {
    max_items: Option<MaxItems>,
    next_token: Option<NextToken>,
}

/// See [`ListUndelivered`].
#[derive(Debug, Shape)]
pub struct ListUndeliveredOutput {
    deliveries: Vec<Undelivered>,
    next_token: Option<String>,
}

/// A delivery that was set aside, without what it carries.
#[derive(Debug, Shape)]
pub struct Undelivered {
    id: String,
    to: Arn,
    /// The rule, schedule or function that sent it, if it can still be read.
    from: Option<Arn>,
    /// How often it was tried.
    attempts: u32,
    set_aside: Timestamp,
    /// The code and the sentence of the last refusal.
    why: String,
    payload_bytes: Option<usize>,
}

impl Operation for ListUndelivered {
    type Service = Outbox;
    type Output = ListUndeliveredOutput;
    const NAME: &'static str = "ListUndelivered";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(
        self,
        outbox: &Outbox,
        cx: &Context,
    ) -> Result<ListUndeliveredOutput, wire::Error> {
        let asked = self
            .max_items
            .and_then(|max| usize::try_from(max.get()).ok());
        let after = self.next_token.as_deref().map(read_token).transpose()?;
        let (account, limit) = (&cx.scope.account, asked.unwrap_or(SHOWN));
        let graves = outbox.graves(account, after.as_ref(), limit).await;
        let graves = graves.map_err(internal)?;
        Ok(ListUndeliveredOutput {
            // A page may end early, so only an empty one is known to be the last.
            next_token: graves.last().map(token),
            deliveries: graves.into_iter().map(undelivered).collect(),
        })
    }
}

/// No ARN has a line break.
fn token(last: &Grave) -> String {
    format!("{}\n{}", last.to, last.id)
}

fn read_token(token: &str) -> Result<Place, wire::Error> {
    let place = token.split_once('\n').and_then(|(to, id)| {
        Some(Place {
            to: Arn::parse(to)?,
            id: id.to_owned(),
        })
    });
    let text = "The NextToken provided is not valid.";
    place.ok_or_else(|| wire::Error::new("ValidationException", 400, text))
}

fn undelivered(grave: Grave) -> Undelivered {
    let delivery = grave.delivery.as_ref();
    Undelivered {
        from: delivery.map(|delivery| delivery.from.arn.clone()),
        payload_bytes: delivery.map(|delivery| delivery.payload.len()),
        id: grave.id,
        to: grave.to,
        attempts: grave.attempts,
        set_aside: Timestamp(grave.buried_ms),
        why: grave.why,
    }
}

/// Sends what was set aside on its way again: all, or what is for one recipient, or one delivery.
#[derive(Debug, Shape)]
pub struct Redrive {
    to: Option<Arn>,
    id: Option<DeliveryId>,
}

/// See [`Redrive`].
#[derive(Debug, Shape)]
pub struct RedriveOutput {
    sent: u64,
}

impl Operation for Redrive {
    type Service = Outbox;
    type Output = RedriveOutput;
    const NAME: &'static str = "Redrive";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(self, outbox: &Outbox, cx: &Context) -> Result<RedriveOutput, wire::Error> {
        let (to, id) = (self.to.as_ref(), self.id.as_deref());
        let sent = outbox.redrive(&cx.scope.account, to, id).await;
        Ok(RedriveOutput {
            sent: sent.map_err(internal)?,
        })
    }
}

fn internal(error: Error) -> wire::Error {
    wire::Error::internal(error.to_string())
}
