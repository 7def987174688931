//! The outbox for its operator: what was set aside, and sending it again. An API of our own, since AWS has none: operations of
//! the service `mayfly`. It is signed and authorized like any other, and shows an account its own.

use wire::{
    AccountId, Arn, Context, Operation, Protocol, Route, Scope, Service, Shape, Timestamp, Unbuilt,
    number, text,
};

use crate::{Error, Grave, Outbox};

/// How many are shown unless the request says it.
const SHOWN: usize = 100;
/// How many are looked at for the ones of an account.
const LOOKED_AT_MAX: usize = 10_000;

number! {
    /// How many to show.
    pub struct MaxItems: 1..=1000;
}

text! {
    /// The id of a delivery.
    pub struct DeliveryId: 1..=2048;
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
}

/// See [`ListUndelivered`].
#[derive(Debug, Shape)]
pub struct ListUndeliveredOutput {
    deliveries: Vec<Undelivered>,
}

/// A delivery that was set aside, without what it carries.
#[derive(Debug, Shape)]
pub struct Undelivered {
    id: String,
    to: Arn,
    /// The rule, schedule or function that sent it.
    from: Arn,
    /// How often it was tried.
    attempts: u32,
    set_aside: Timestamp,
    /// The code and the sentence of the last refusal.
    why: String,
    payload_bytes: usize,
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
        let own = outbox.own_graves(&cx.scope.account).await?;
        let shown = own.into_iter().take(asked.unwrap_or(SHOWN));
        Ok(ListUndeliveredOutput {
            deliveries: shown.filter_map(undelivered).collect(),
        })
    }
}

fn undelivered(grave: Grave) -> Option<Undelivered> {
    let delivery = grave.delivery?;
    Some(Undelivered {
        id: grave.id,
        to: grave.to,
        from: delivery.from.arn,
        attempts: grave.attempts,
        set_aside: Timestamp(grave.buried_ms),
        why: grave.why,
        payload_bytes: delivery.payload.len(),
    })
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
        let mut sent = 0;
        for grave in outbox.own_graves(&cx.scope.account).await? {
            let wanted = self.to.as_ref().is_none_or(|to| *to == grave.to)
                && self.id.as_ref().is_none_or(|id| id.as_str() == grave.id);
            if wanted {
                sent += outbox
                    .redrive(&grave.to, Some(&grave.id))
                    .await
                    .map_err(internal)?;
            }
        }
        Ok(RedriveOutput { sent })
    }
}

impl Outbox {
    /// What was set aside of an account.
    async fn own_graves(&self, account: &AccountId) -> Result<Vec<Grave>, wire::Error> {
        let mut graves = self.graves(LOOKED_AT_MAX).await.map_err(internal)?;
        graves.retain(|grave| {
            let delivery = grave.delivery.as_ref();
            delivery.is_some_and(|delivery| delivery.scope.account == *account)
        });
        Ok(graves)
    }
}

fn internal(error: Error) -> wire::Error {
    wire::Error::internal(error.to_string())
}
