//! Tags of log groups, in the form by ARN and in the older form by name.

use std::collections::BTreeMap;

use wire::{
    Arn, Context, Decoder, Error as Refused, List, Node, Operation, Schema, Scope, Shape, text,
};

use super::Logs;
use super::names::{LogGroupName, arn_group};
use crate::{Error, Result};

/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/Working-with-log-groups-and-streams.html#log-group-tagging>
const TAGS_MAX: usize = 50;

text! {
    /// The ARN of something with tags.
    pub struct ResourceArn: 1..=1011, r"[\w+=/:,.@-]*";
    /// The key of a tag.
    pub struct TagKey: 1..=128, r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]+)$";
    /// The value of a tag.
    pub struct TagValue: 0..=256, r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$";
}

/// Keys and values of tags, each checked.
#[derive(Debug, Clone, Default)]
pub struct Tags(pub(super) BTreeMap<String, String>);

impl Shape for Tags {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        let tags: BTreeMap<String, TagValue> = Shape::decode(node, at)?;
        let mut sound = true;
        for key in tags.keys() {
            for constraint in TagKey::new(key.clone()).err().unwrap_or_default() {
                at.violation(key, &constraint);
                sound = false;
            }
        }
        if tags.is_empty() || tags.len() > TAGS_MAX {
            let bound = match tags.len() {
                0 => "greater than or equal to 1".to_owned(),
                _ => format!("less than or equal to {TAGS_MAX}"),
            };
            at.violation("{}", &format!("Member must have length {bound}"));
            return None;
        }
        sound.then(|| {
            let tags = tags.into_iter();
            Self(
                tags.map(|(key, value)| (key, value.into_string()))
                    .collect(),
            )
        })
    }
    fn encode(self) -> Node {
        self.0.encode()
    }
    fn schema() -> Schema {
        BTreeMap::<String, TagValue>::schema()
    }
}

impl Tags {
    /// Adds them to a group's, if it may have that many.
    pub(super) fn add_to(&self, tags: &mut BTreeMap<String, String>) -> Result<()> {
        if let Some(key) = self
            .0
            .keys()
            .find(|key| key.to_lowercase().starts_with("aws:"))
        {
            return Err(Error::InvalidParameter(format!(
                "Tag keys starting with \"aws:\" are reserved for internal use: {key}"
            )));
        }
        tags.extend(self.0.clone());
        match tags.len() > TAGS_MAX {
            true => Err(Error::TooManyTags(format!(
                "A resource can have no more than {TAGS_MAX} tags."
            ))),
            false => Ok(()),
        }
    }

    /// `aws:RequestTag/KEY` and `aws:TagKeys`, for policies.
    pub(super) fn condition_keys(&self) -> wire::Keys {
        let tags = self.0.iter();
        wire::tags::request_tags(tags.map(|(key, value)| (key.as_str(), value.as_str())))
    }
}

/// The group behind an ARN with tags.
fn tagged<'a>(at: &Scope, arn: &'a ResourceArn) -> Result<&'a str> {
    arn_group(at, arn)
}

/// The ARN as the resource of a policy: these operations are authorized on the group without `:*`.
fn resource(arn: &ResourceArn) -> Arn {
    Arn::parse(arn).unwrap_or_else(Arn::any)
}

/// Adds tags or replaces their values.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_TagResource.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct TagResource {
    resource_arn: ResourceArn,
    tags: Tags,
}

impl Operation for TagResource {
    type Service = Logs;
    type Output = ();
    const NAME: &'static str = "TagResource";

    fn resource(&self, _: &Scope) -> Arn {
        resource(&self.resource_arn)
    }
    fn condition_keys(&self, _: &Logs, _: &Context) -> wire::Keys {
        self.tags.condition_keys()
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<(), Refused> {
        let group = tagged(&cx.scope, &self.resource_arn)?;
        let add = |group: &mut super::archive::Group| self.tags.add_to(&mut group.tags);
        Ok(logs.archive.change_group(&cx.scope, group, add).await?)
    }
}

/// Removes tags.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_UntagResource.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct UntagResource {
    resource_arn: ResourceArn,
    tag_keys: List<TagKey, 0, TAGS_MAX>,
}

impl Operation for UntagResource {
    type Service = Logs;
    type Output = ();
    const NAME: &'static str = "UntagResource";

    fn resource(&self, _: &Scope) -> Arn {
        resource(&self.resource_arn)
    }
    fn condition_keys(&self, _: &Logs, _: &Context) -> wire::Keys {
        wire::tags::tag_keys(self.tag_keys.iter().map(|key| key.as_str()))
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<(), Refused> {
        let group = tagged(&cx.scope, &self.resource_arn)?;
        Ok(remove(logs, &cx.scope, group, &self.tag_keys).await?)
    }
}

/// Answers the tags of a group.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_ListTagsForResource.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct ListTagsForResource {
    resource_arn: ResourceArn,
}

impl Operation for ListTagsForResource {
    type Service = Logs;
    type Output = TagsOutput;
    const NAME: &'static str = "ListTagsForResource";

    fn resource(&self, _: &Scope) -> Arn {
        resource(&self.resource_arn)
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<TagsOutput, Refused> {
        let group = tagged(&cx.scope, &self.resource_arn)?;
        let tags = logs.archive.group(&cx.scope, group).await?.tags;
        Ok(TagsOutput { tags })
    }
}

/// The older form of [`TagResource`].
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_TagLogGroup.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct TagLogGroup {
    log_group_name: LogGroupName,
    tags: Tags,
}

impl Operation for TagLogGroup {
    type Service = Logs;
    type Output = ();
    const NAME: &'static str = "TagLogGroup";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::log_group(at, &self.log_group_name)
    }
    fn condition_keys(&self, _: &Logs, _: &Context) -> wire::Keys {
        self.tags.condition_keys()
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<(), Refused> {
        let add = |group: &mut super::archive::Group| {
            self.tags
                .add_to(&mut group.tags)
                .map_err(|error| match error {
                    // The older operation knows no error of its own for this.
                    Error::TooManyTags(text) => Error::InvalidParameter(text),
                    other => other,
                })
        };
        let change = logs
            .archive
            .change_group(&cx.scope, &self.log_group_name, add);
        Ok(change.await?)
    }
}

/// The older form of [`UntagResource`].
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_UntagLogGroup.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct UntagLogGroup {
    log_group_name: LogGroupName,
    tags: List<TagKey, 1, { usize::MAX }>,
}

impl Operation for UntagLogGroup {
    type Service = Logs;
    type Output = ();
    const NAME: &'static str = "UntagLogGroup";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::log_group(at, &self.log_group_name)
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<(), Refused> {
        Ok(remove(logs, &cx.scope, &self.log_group_name, &self.tags).await?)
    }
}

/// The older form of [`ListTagsForResource`].
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_ListTagsLogGroup.html>
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct ListTagsLogGroup {
    log_group_name: LogGroupName,
}

impl Operation for ListTagsLogGroup {
    type Service = Logs;
    type Output = TagsOutput;
    const NAME: &'static str = "ListTagsLogGroup";

    fn resource(&self, at: &Scope) -> Arn {
        Arn::log_group(at, &self.log_group_name)
    }
    async fn run(self, logs: &Logs, cx: &Context) -> Result<TagsOutput, Refused> {
        let group = logs.archive.group(&cx.scope, &self.log_group_name).await?;
        Ok(TagsOutput { tags: group.tags })
    }
}

/// The tags of a group.
#[derive(Shape)]
#[shape(rename_all = "camelCase")]
pub struct TagsOutput {
    tags: BTreeMap<String, String>,
}

async fn remove(logs: &Logs, at: &Scope, group: &str, keys: &[TagKey]) -> Result<()> {
    let remove = |group: &mut super::archive::Group| {
        group
            .tags
            .retain(|key, _| !keys.iter().any(|gone| gone.as_str() == key));
        Ok(())
    };
    logs.archive.change_group(at, group, remove).await
}
