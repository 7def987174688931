//! Log groups as targets of rules: each delivery is one event, in a stream of the sender's own.

use std::sync::Arc;

use async_trait::async_trait;
use delivery::{Delivery, Recipient, Refusal, Sender};
use wire::{AccountId, Arn, Ask, Keys, Region, Scope};

use super::archive::{EVENT_OVERHEAD_BYTES, NewEvent};
use super::names::LogGroupName;
use super::{Archive, EVENT_BYTES_MAX, May, policies};
use crate::Error;

/// Who may write, as identity knows it.
pub trait Writers: Send + Sync {
    /// Whether a sender may do this in a scope: as its role, which must trust its service; else as the service itself.
    ///
    /// # Errors
    /// Why not, for the user.
    fn may_write(&self, sender: &Sender, at: &Scope, ask: &Ask<'_>) -> Result<(), String>;
}

/// Takes deliveries for log groups. As on AWS, the group must be there and a resource policy of the account must let the
/// sending service write into it.
pub struct LogGroupRecipient {
    pub(crate) archive: Archive,
    pub(crate) writers: Arc<dyn Writers>,
}

/// Account, region and name of a log group's ARN.
fn group_of(arn: &Arn) -> Option<(Scope, &str)> {
    let name = arn.resource().strip_prefix("log-group:")?;
    let name = name.strip_suffix(":*").unwrap_or(name);
    let at = Scope {
        account: AccountId::new(arn.account())?,
        region: Region::new(arn.region())?,
    };
    let sound = arn.service() == "logs" && LogGroupName::new(name).is_ok();
    sound.then_some((at, name))
}

#[async_trait]
impl Recipient for LogGroupRecipient {
    fn takes(&self, to: &Arn) -> bool {
        group_of(to).is_some()
    }

    async fn receive(&self, delivery: &Delivery) -> Result<(), Refusal> {
        let invalid = |text: &str| Refusal::permanent("INVALID_PARAMETER", text);
        let (at, group) =
            group_of(&delivery.to).ok_or_else(|| invalid("This is not a log group."))?;
        let message = String::from_utf8(delivery.payload.to_vec());
        let message = message.map_err(|_| invalid("The event is not UTF-8."))?;
        if message.len() + EVENT_OVERHEAD_BYTES > EVENT_BYTES_MAX {
            return Err(invalid(
                "The event is larger than an event of a log may be.",
            ));
        }
        let stream = stream_of(&delivery.from);
        self.authorize(delivery, &at, group, &stream).await?;
        let may = May {
            create_group: false,
            create_stream: true,
        };
        let event = NewEvent {
            time_ms: delivery.accepted_ms,
            message,
        };
        let appended = self
            .archive
            .append_creating(&at, group, &stream, may, vec![event]);
        appended.await.map_err(|error| match error {
            Error::GroupNotFound => Refusal::permanent("NO_RESOURCE", error.to_string()),
            error => failed(&error),
        })
    }
}

impl LogGroupRecipient {
    async fn authorize(
        &self,
        delivery: &Delivery,
        at: &Scope,
        group: &str,
        stream: &str,
    ) -> Result<(), Refusal> {
        let policy = policies::whole(self.archive.kv(), at).await;
        let policy = policy.map_err(|error| failed(&error))?;
        let sender = &delivery.from;
        let keys: Keys = vec![
            ("aws:SourceArn".into(), vec![sender.arn.to_string()]),
            (
                "aws:SourceAccount".into(),
                vec![sender.arn.account().to_owned()],
            ),
        ];
        let resource = Arn::log_stream(at, group, stream);
        for action in ["logs:CreateLogStream", "logs:PutLogEvents"] {
            let ask = Ask {
                action,
                resource: &resource,
                owner: None,
                keys: &keys,
                resource_policy: policy.as_ref(),
            };
            let allowed = self.writers.may_write(sender, at, &ask);
            allowed.map_err(|why| Refusal::permanent("NO_PERMISSIONS", why))?;
        }
        Ok(())
    }
}

/// The stream of a sender: its name cannot hold an ARN's colons, so it is made of it, in the form of AWS's.
fn stream_of(sender: &Sender) -> String {
    let digest = store::Digest::of(sender.arn.as_str().as_bytes());
    let bytes: [u8; 16] = std::array::from_fn(|index| digest.as_bytes()[index]);
    uuid::Builder::from_custom_bytes(bytes)
        .into_uuid()
        .to_string()
}

fn failed(error: &Error) -> Refusal {
    tracing::error!(%error, "an event could not be written to a log group");
    Refusal::transient("INTERNAL_ERROR", "The event could not be stored.")
}
