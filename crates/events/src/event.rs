//! Events as they are on buses (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events.html>).

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wire::Scope;

use crate::error::Error;

/// An event: its id, and the document that patterns match and targets receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub id: String,
    /// The JSON.
    pub document: String,
}

/// What an event is made of.
#[derive(Debug)]
pub struct NewEvent<'a> {
    /// Names the event; a repeat with the same id is taken for the same.
    pub id: &'a str,
    /// Who says so, such as `aws.s3`.
    pub source: &'a str,
    /// What kind of thing happened.
    pub detail_type: &'a str,
    /// Where it happened.
    pub at: &'a Scope,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The ARNs of what it is about.
    pub resources: &'a [String],
    /// The rest, a JSON object.
    pub detail: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    version: &'static str,
    id: &'a str,
    detail_type: &'a str,
    source: &'a str,
    account: &'a str,
    time: String,
    region: &'a str,
    resources: &'a [String],
    detail: &'a RawValue,
}

impl NewEvent<'_> {
    /// The event, if its detail is a JSON object.
    pub(crate) fn event(&self) -> Result<Event, Error> {
        let malformed = || Error::Invalid("Detail is malformed.".to_owned());
        if !crate::json::is_object(self.detail) {
            return Err(malformed());
        }
        let document = Document {
            version: "0",
            id: self.id,
            detail_type: self.detail_type,
            source: self.source,
            account: &self.at.account,
            time: time(self.time_ms),
            region: &self.at.region,
            resources: self.resources,
            detail: serde_json::from_str(self.detail.trim()).map_err(|_| malformed())?,
        };
        let document =
            serde_json::to_string(&document).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Event {
            id: self.id.to_owned(),
            document,
        })
    }
}

/// A moment as events have it: whole seconds.
pub(crate) fn time(ms: i64) -> String {
    let moment = jiff::Timestamp::from_second(ms.div_euclid(1000));
    moment.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

impl Event {
    /// The same event under another id, as it is on another bus. `None` if the document is no object.
    pub(crate) fn renamed(document: &str, id: &str) -> Option<Event> {
        Some(Event {
            id: id.to_owned(),
            document: with_member(document, "id", id)?,
        })
    }
}

/// A JSON object with a text as member, in place of the one of that name. `None` if the document is no object.
pub(crate) fn with_member(document: &str, name: &str, value: &str) -> Option<String> {
    let mut members: Members<'_> = serde_json::from_str(document).ok()?;
    let value = serde_json::value::to_raw_value(value).ok()?;
    match members.0.iter_mut().find(|(known, _)| known == name) {
        Some((_, place)) => *place = Cow::Owned(value),
        None => members.0.push((Cow::Borrowed(name), Cow::Owned(value))),
    }
    serde_json::to_string(&members).ok()
}

/// The members of an object, in order, each as it was written.
struct Members<'a>(Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut from: A,
            ) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = from.next_key::<String>()? {
                    let value: &'de RawValue = from.next_value()?;
                    members.push((Cow::Owned(name), Cow::Borrowed(value)));
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Visitor)
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value.as_ref())?;
        }
        map.end()
    }
}

/// An id that is the same whenever it is made from the same text, in the form of a UUID.
pub(crate) fn id_of(text: &str) -> String {
    let digest = store::Digest::of(text.as_bytes());
    let bytes: [u8; 16] = std::array::from_fn(|index| digest.as_bytes()[index]);
    uuid::Builder::from_custom_bytes(bytes)
        .into_uuid()
        .to_string()
}

/// What a delivery to a bus is made of when it is not an event yet.
pub(crate) fn from_parameters(parameters: &BTreeMap<String, String>) -> Option<(&str, &str)> {
    let source = parameters.get("Source")?;
    let detail_type = parameters.get("DetailType")?;
    Some((source, detail_type))
}

#[cfg(test)]
mod tests {
    use wire::{AccountId, Region};

    use super::*;

    fn scope() -> Scope {
        Scope {
            account: AccountId::new("123456789012").expect("twelve digits"),
            region: Region::new("eu-west-1").expect("a region"),
        }
    }

    #[test]
    fn documents_have_the_members_of_aws_in_their_order() {
        let resources = ["arn:x".to_owned()];
        let event = NewEvent {
            id: "i",
            source: "shop",
            detail_type: "Order Placed",
            at: &scope(),
            time_ms: 1_700_000_000_999,
            resources: &resources,
            detail: " {\"b\": 1.50, \"a\": [\"\\u00e9\"]} ",
        };
        assert_eq!(
            event.event().expect("an object").document,
            r#"{"version":"0","id":"i","detail-type":"Order Placed","source":"shop","account":"123456789012","time":"2023-11-14T22:13:20Z","region":"eu-west-1","resources":["arn:x"],"detail":{"b": 1.50, "a": ["\u00e9"]}}"#
        );
    }

    #[test]
    fn another_id_changes_nothing_else() {
        let document = r#"{"version":"0","id":"one","detail":{"id":"kept","n":1.50}}"#;
        let event = Event::renamed(document, "two").expect("an object");
        assert_eq!(
            event.document,
            r#"{"version":"0","id":"two","detail":{"id":"kept","n":1.50}}"#
        );
        assert_eq!(Event::renamed("[]", "two"), None);
        assert_eq!(Event::renamed("{", "two"), None);
    }

    #[test]
    fn ids_made_of_text_are_stable() {
        assert_eq!(id_of("a"), id_of("a"));
        assert_ne!(id_of("a"), id_of("b"));
        assert_eq!(id_of("a").len(), 36);
    }
}
