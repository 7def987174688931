//! Tags, which groups have and schedules have not
//! (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-group.html>).

use std::collections::BTreeMap;

use wire::{Arn, Context, Http, Keys, List, Operation, Scope, Shape, text};

use super::record::GroupRecord;
use super::{Error, Scheduler};

/// Tags of one group.
const TAGS_MAX: usize = 50;

text! {
    /// The key of a tag.
    pub struct TagKey: 1..=128;
    /// The value of a tag.
    pub struct TagValue: 1..=256;
    /// A group's ARN.
    pub struct TagResourceArn: 1..=1011, r"arn:aws[a-z-]*:scheduler:[a-z0-9\-]+:\d{12}:schedule-group\/[0-9a-zA-Z-_.]+";
}

/// A tag.
#[derive(Debug, Clone, Shape)]
pub struct Tag {
    key: TagKey,
    value: TagValue,
}

/// Tags in a request.
pub type TagList = List<Tag, 0, 200>;

/// Adds tags to those that are there.
pub(super) fn check_tags(
    new: TagList,
    mut tags: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Error> {
    for Tag { key, value } in new {
        if key.to_lowercase().starts_with("aws:") {
            return Err(Error::Invalid(format!(
                "Tag keys starting with \"aws:\" are reserved: {key}"
            )));
        }
        tags.insert(key.into_string(), value.into_string());
    }
    match tags.len() > TAGS_MAX {
        true => Err(Error::Quota {
            what: "Tags",
            limit: TAGS_MAX,
        }),
        false => Ok(tags),
    }
}

/// The condition keys of the tags in a request.
pub(super) fn request_tags(tags: Option<&TagList>) -> Keys {
    let Some(tags) = tags.filter(|tags| !tags.is_empty()) else {
        return Keys::new();
    };
    wire::tags::request_tags(
        tags.iter()
            .map(|tag| (tag.key.as_str(), tag.value.as_str())),
    )
}

fn resource(arn: &TagResourceArn) -> Arn {
    Arn::parse(arn).unwrap_or_else(Arn::any)
}

/// The group of an ARN, if it is one of this account and region.
fn group_of<'a>(arn: &'a TagResourceArn, at: &Scope) -> Result<&'a str, Error> {
    let parsed = Arn::parse(arn);
    let here =
        parsed.is_some_and(|arn| arn.account() == &*at.account && arn.region() == &*at.region);
    let name = arn.rsplit('/').next().unwrap_or_default();
    match here {
        true => Ok(name),
        false => Err(Error::NoGroup(name.to_owned())),
    }
}

/// Adds tags or replaces their values (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_TagResource.html>).
#[derive(Debug, Shape)]
pub struct TagResource {
    resource_arn: TagResourceArn,
    tags: TagList,
}

/// See [`TagResource`].
#[derive(Debug, Shape)]
pub struct TagResourceOutput {}

impl Operation for TagResource {
    type Service = Scheduler;
    type Output = TagResourceOutput;
    const NAME: &'static str = "TagResource";
    const HTTP: Http = Http::new("POST", "/tags/{ResourceArn}", 200);

    fn resource(&self, _: &Scope) -> Arn {
        resource(&self.resource_arn)
    }

    fn condition_keys(&self, _: &Scheduler, _: &Context) -> Keys {
        request_tags(Some(&self.tags))
    }

    async fn run(
        self,
        scheduler: &Scheduler,
        cx: &Context,
    ) -> Result<TagResourceOutput, wire::Error> {
        let group = group_of(&self.resource_arn, &cx.scope)?;
        let add = |record: &mut GroupRecord| {
            record.tags = check_tags(self.tags.clone(), std::mem::take(&mut record.tags))?;
            Ok(())
        };
        scheduler.change_group(&cx.scope, group, add).await?;
        Ok(TagResourceOutput {})
    }
}

/// Removes tags (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_UntagResource.html>).
#[derive(Debug, Shape)]
pub struct UntagResource {
    resource_arn: TagResourceArn,
    tag_keys: List<TagKey, 0, 200>,
}

/// See [`UntagResource`].
#[derive(Debug, Shape)]
pub struct UntagResourceOutput {}

impl Operation for UntagResource {
    type Service = Scheduler;
    type Output = UntagResourceOutput;
    const NAME: &'static str = "UntagResource";
    const HTTP: Http =
        Http::new("DELETE", "/tags/{ResourceArn}", 200).query(&[("TagKeys", "TagKeys")]);

    fn resource(&self, _: &Scope) -> Arn {
        resource(&self.resource_arn)
    }

    fn condition_keys(&self, _: &Scheduler, _: &Context) -> Keys {
        wire::tags::tag_keys(self.tag_keys.iter().map(|key| key.as_str()))
    }

    async fn run(
        self,
        scheduler: &Scheduler,
        cx: &Context,
    ) -> Result<UntagResourceOutput, wire::Error> {
        let group = group_of(&self.resource_arn, &cx.scope)?;
        let remove = |record: &mut GroupRecord| {
            let gone = |key: &String| self.tag_keys.iter().any(|gone| gone.as_str() == key);
            record.tags.retain(|key, _| !gone(key));
            Ok(())
        };
        scheduler.change_group(&cx.scope, group, remove).await?;
        Ok(UntagResourceOutput {})
    }
}

/// The tags (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_ListTagsForResource.html>).
#[derive(Debug, Shape)]
pub struct ListTagsForResource {
    resource_arn: TagResourceArn,
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
    type Service = Scheduler;
    type Output = ListTagsForResourceOutput;
    const NAME: &'static str = "ListTagsForResource";
    const HTTP: Http = Http::new("GET", "/tags/{ResourceArn}", 200);

    fn resource(&self, _: &Scope) -> Arn {
        resource(&self.resource_arn)
    }

    async fn run(
        self,
        scheduler: &Scheduler,
        cx: &Context,
    ) -> Result<ListTagsForResourceOutput, wire::Error> {
        let group = group_of(&self.resource_arn, &cx.scope)?;
        let tags = scheduler.group(&cx.scope, group)?.tags.into_iter();
        Ok(ListTagsForResourceOutput {
            tags: Some(tags.map(|(key, value)| TagOutput { key, value }).collect()),
        })
    }
}
