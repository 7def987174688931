//! Names on the wire, and the bus that one of them means.

use wire::{AccountId, Arn, Region, Scope, number, text};

use crate::error::Error;

/// The bus that is always there.
pub(crate) const DEFAULT: &str = "default";

text! {
    /// A rule's name.
    pub struct RuleName: 1..=64, r"[\.\-_A-Za-z0-9]+";
    /// A bus's name.
    pub struct BusName: 1..=256, r"[/\.\-_A-Za-z0-9]+";
    /// The name of a bus that is no partner's.
    pub struct OwnBusName: 1..=256, r"[\.\-_A-Za-z0-9]+";
    /// A bus's name, or its ARN.
    pub struct BusNameOrArn: 1..=1600, r"(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:[0-9]{12}:event-bus\/)?[/\.\-_A-Za-z0-9]+";
    /// The name or ARN of a bus that is no partner's.
    pub struct OwnBusNameOrArn: 1..=1600, r"(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:[0-9]{12}:event-bus\/)?[\.\-_A-Za-z0-9]+";
    /// What a bus is for.
    pub struct Description: 0..=512;
    /// A KMS key.
    pub struct KmsKeyIdentifier: 0..=2048, r"^[a-zA-Z0-9_\-/:]*$";
    /// A role.
    pub struct RoleArn: 1..=1600;
    /// The ARN of anything.
    pub struct ResourceArn: 1..=1600;
    /// Where the next page begins.
    pub struct NextToken: 1..=2048;
}

number! {
    /// Most items of a page.
    pub struct Limit: 1..=100;
}

/// A bus by account, region and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BusRef {
    pub at: Scope,
    pub name: String,
}

impl BusRef {
    /// The default bus.
    pub(crate) fn default_in(at: &Scope) -> Self {
        Self {
            at: at.clone(),
            name: DEFAULT.to_owned(),
        }
    }

    /// What a name or an ARN means to a caller in this scope; nothing said means the default bus.
    pub(crate) fn of(text: Option<&str>, at: &Scope) -> Self {
        let Some(text) = text else {
            return Self::default_in(at);
        };
        let from_arn = Arn::parse(text).and_then(|arn| Self::of_arn(&arn));
        from_arn.unwrap_or_else(|| Self {
            at: at.clone(),
            name: text.to_owned(),
        })
    }

    /// The bus of an ARN that is one's.
    pub(crate) fn of_arn(arn: &Arn) -> Option<Self> {
        let name = arn.resource().strip_prefix("event-bus/")?;
        if arn.service() != "events" || name.is_empty() {
            return None;
        }
        Some(Self {
            at: scope_of(arn)?,
            name: name.to_owned(),
        })
    }

    pub(crate) fn is_default(&self) -> bool {
        self.name == DEFAULT
    }

    pub(crate) fn arn(&self) -> Arn {
        Arn::event_bus(&self.at, &self.name)
    }

    /// The ARN of one of its rules.
    pub(crate) fn rule_arn(&self, rule: &str) -> Arn {
        Arn::rule(&self.at, &self.name, rule)
    }

    /// Refuses a bus of another region: each region manages its own.
    pub(crate) fn in_region(self, at: &Scope) -> Result<Self, Error> {
        match self.at.region == at.region {
            true => Ok(self),
            false => Err(Error::NoBus(self.name)),
        }
    }
}

/// Account and region of an ARN.
pub(crate) fn scope_of(arn: &Arn) -> Option<Scope> {
    Some(Scope {
        account: AccountId::new(arn.account())?,
        region: Region::new(arn.region())?,
    })
}

/// The bus and the name of a rule's ARN.
pub(crate) fn rule_of_arn(arn: &Arn) -> Option<(BusRef, String)> {
    let rest = arn.resource().strip_prefix("rule/")?;
    if arn.service() != "events" {
        return None;
    }
    let (bus, rule) = rest.rsplit_once('/').unwrap_or((DEFAULT, rest));
    let bus = BusRef {
        at: scope_of(arn)?,
        name: bus.to_owned(),
    };
    Some((bus, rule.to_owned()))
}
