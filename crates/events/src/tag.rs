//! Tags of buses and rules (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-tagging.html>).

use std::collections::BTreeMap;

use wire::{Arn, Context, Keys, Operation, Scope, Shape, text};

use crate::Events;
use crate::error::Error;
use crate::names::{BusRef, ResourceArn, rule_of_arn};

/// Tags of one resource.
const TAGS_MAX: usize = 50;

text! {
    /// The key of a tag.
    pub struct TagKey: 1..=128;
    /// The value of a tag.
    pub struct TagValue: 0..=256;
}

/// A tag.
#[derive(Debug, Clone, Shape)]
pub struct Tag {
    key: TagKey,
    value: TagValue,
}

/// Tags in a request.
pub type TagList = Vec<Tag>;

/// Adds tags to those that are there.
pub(crate) fn check_tags(
    new: TagList,
    mut tags: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Error> {
    for Tag { key, value } in new {
        if key.to_lowercase().starts_with("aws:") {
            let text = format!("Tag keys starting with \"aws:\" are reserved: {key}");
            return Err(Error::Invalid(text));
        }
        tags.insert(key.into_string(), value.into_string());
    }
    match tags.len() > TAGS_MAX {
        true => Err(Error::LimitExceeded),
        false => Ok(tags),
    }
}

/// The condition keys of the tags in a request.
pub(crate) fn request_tags(tags: Option<&TagList>) -> Keys {
    let Some(tags) = tags.filter(|tags| !tags.is_empty()) else {
        return Keys::new();
    };
    wire::tags::request_tags(
        tags.iter()
            .map(|tag| (tag.key.as_str(), tag.value.as_str())),
    )
}

/// What an ARN with tags is the ARN of.
enum Tagged {
    Bus(BusRef),
    Rule(BusRef, String),
}

fn tagged(arn: &ResourceArn) -> Result<Tagged, Error> {
    let parsed = Arn::parse(arn).ok_or_else(|| Error::NotAnArn(arn.to_string()))?;
    let bus = BusRef::of_arn(&parsed).map(Tagged::Bus);
    let rule = || rule_of_arn(&parsed).map(|(bus, rule)| Tagged::Rule(bus, rule));
    bus.or_else(rule)
        .ok_or_else(|| Error::NotAnArn(arn.to_string()))
}

fn resource(arn: &ResourceArn) -> Arn {
    Arn::parse(arn).unwrap_or_else(Arn::any)
}

fn tags_of(events: &Events, arn: &ResourceArn) -> Result<BTreeMap<String, String>, Error> {
    match tagged(arn)? {
        Tagged::Bus(bus) => Ok(events.bus(&bus)?.tags),
        Tagged::Rule(bus, rule) => Ok(events.rule(&bus, &rule)?.record.tags.clone()),
    }
}

async fn change_tags(
    events: &Events,
    arn: &ResourceArn,
    cx: &Context,
    edit: impl Fn(BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Error>,
) -> Result<(), Error> {
    match tagged(arn)? {
        Tagged::Bus(bus) => {
            let bus = bus.in_region(&cx.scope)?;
            let change = |record: &mut crate::record::BusRecord| {
                record.tags = edit(std::mem::take(&mut record.tags))?;
                Ok(())
            };
            events.change_bus(&bus, cx.now_ms, change).await
        }
        Tagged::Rule(bus, rule) => {
            let bus = bus.in_region(&cx.scope)?;
            let change = |record: &mut crate::record::RuleRecord| {
                record.tags = edit(std::mem::take(&mut record.tags))?;
                Ok(())
            };
            events.change_rule(&bus, &rule, change).await
        }
    }
}

/// Adds tags or replaces their values (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_TagResource.html>).
#[derive(Debug, Shape)]
pub struct TagResource {
    #[shape(name = "ResourceARN")]
    resource_arn: ResourceArn,
    tags: TagList,
}

/// See [`TagResource`].
#[derive(Debug, Shape)]
pub struct TagResourceOutput {}

impl Operation for TagResource {
    type Service = Events;
    type Output = TagResourceOutput;
    const NAME: &'static str = "TagResource";

    fn resource(&self, _: &Scope) -> Arn {
        resource(&self.resource_arn)
    }

    fn condition_keys(&self, _: &Events, _: &Context) -> Keys {
        request_tags(Some(&self.tags))
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<TagResourceOutput, wire::Error> {
        let add = |tags| check_tags(self.tags.clone(), tags);
        change_tags(events, &self.resource_arn, cx, add).await?;
        Ok(TagResourceOutput {})
    }
}

/// Removes tags (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_UntagResource.html>).
#[derive(Debug, Shape)]
pub struct UntagResource {
    #[shape(name = "ResourceARN")]
    resource_arn: ResourceArn,
    tag_keys: Vec<TagKey>,
}

/// See [`UntagResource`].
#[derive(Debug, Shape)]
pub struct UntagResourceOutput {}

impl Operation for UntagResource {
    type Service = Events;
    type Output = UntagResourceOutput;
    const NAME: &'static str = "UntagResource";

    fn resource(&self, _: &Scope) -> Arn {
        resource(&self.resource_arn)
    }

    fn condition_keys(&self, _: &Events, _: &Context) -> Keys {
        wire::tags::tag_keys(self.tag_keys.iter().map(|key| key.as_str()))
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<UntagResourceOutput, wire::Error> {
        let remove = |mut tags: BTreeMap<String, String>| {
            tags.retain(|key, _| !self.tag_keys.iter().any(|gone| gone.as_str() == key));
            Ok(tags)
        };
        change_tags(events, &self.resource_arn, cx, remove).await?;
        Ok(UntagResourceOutput {})
    }
}

/// The tags (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListTagsForResource.html>).
#[derive(Debug, Shape)]
pub struct ListTagsForResource {
    #[shape(name = "ResourceARN")]
    resource_arn: ResourceArn,
}

/// See [`ListTagsForResource`].
#[derive(Debug, Shape)]
pub struct ListTagsForResourceOutput {
    tags: Option<Vec<TagOutput>>,
}

/// A tag in a reply.
#[derive(Debug, Shape)]
pub struct TagOutput {
    key: String,
    value: String,
}

impl Operation for ListTagsForResource {
    type Service = Events;
    type Output = ListTagsForResourceOutput;
    const NAME: &'static str = "ListTagsForResource";

    fn resource(&self, _: &Scope) -> Arn {
        resource(&self.resource_arn)
    }

    async fn run(
        self,
        events: &Events,
        _: &Context,
    ) -> Result<ListTagsForResourceOutput, wire::Error> {
        let tags = tags_of(events, &self.resource_arn)?;
        let tags = tags.into_iter();
        Ok(ListTagsForResourceOutput {
            tags: Some(tags.map(|(key, value)| TagOutput { key, value }).collect()),
        })
    }
}
