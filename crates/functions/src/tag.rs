//! TagResource, UntagResource, ListTags; and tags as condition keys.

use std::collections::BTreeMap;

use wire::{Arn, Context, Decoder, Http, Keys, Node, Operation, Schema, Scope, Shape};

use crate::Functions;
use crate::error::Error;
use crate::name::FunctionRef;
use crate::record::new_id;
use crate::spec::key_prefix;

/// Tags of a resource (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-tags.html>).
const TAGS_MAX: usize = 50;
/// Longest key.
const KEY_LENGTH_MAX: usize = 128;
/// Longest value.
const VALUE_LENGTH_MAX: usize = 256;

/// Tags in a request.
#[derive(Debug, Clone)]
pub struct Tags(pub(crate) BTreeMap<String, String>);

impl Tags {
    /// AWS counts them after it has read them.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.0.len() <= TAGS_MAX {
            true => Ok(()),
            false => Err(Error::TooManyTags),
        }
    }
}

impl Tags {
    /// Whether they say what the function may reach.
    pub(crate) fn names_internet(&self) -> bool {
        self.0.contains_key(crate::network::TAG)
    }
}

impl Shape for Tags {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        let printed = node.to_string();
        let tags = BTreeMap::<String, String>::decode(node, at)?;
        let legal = |text: &str| {
            text.chars()
                .all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c))
        };
        let key = |key: &String| (1..=KEY_LENGTH_MAX).contains(&key.chars().count()) && legal(key);
        let value = |value: &String| value.chars().count() <= VALUE_LENGTH_MAX && legal(value);
        if !tags.keys().all(key) {
            at.violation(&printed, r"Map keys must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: ([\p{L}\p{Z}\p{N}_.:/=+\-@]*), Member must not be null]");
            return None;
        }
        if !tags.values().all(value) {
            at.violation(&printed, r"Map value must satisfy constraint: [Member must have length less than or equal to 256, Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: ([\p{L}\p{Z}\p{N}_.:/=+\-@]*), Member must not be null]");
            return None;
        }
        Some(Self(tags))
    }
    fn encode(self) -> Node {
        self.0.encode()
    }
    fn schema() -> Schema {
        Schema::Map(String::schema)
    }
}

/// The condition keys of the tags in a request.
pub(crate) fn request_tags(tags: Option<&Tags>) -> Keys {
    let keys = |Tags(tags): &Tags| {
        let tags = tags.iter();
        wire::tags::request_tags(tags.map(|(key, value)| (key.as_str(), value.as_str())))
    };
    tags.map_or_else(Keys::new, keys)
}

/// Something that can have tags: a function, by its ARN.
#[derive(Debug, Clone)]
pub struct TaggableResource {
    arn: Arn,
    function: Option<FunctionRef>,
}

impl TaggableResource {
    /// The function. Other things that AWS tags are not built, so they are not there.
    fn function(&self) -> Result<&FunctionRef, Error> {
        let function = self.function.as_ref().ok_or(Error::NotThere)?;
        match function.own_qualifier() {
            None => Ok(function),
            Some(_) => Err(Error::TagsOnFunctionsOnly),
        }
    }
}

impl Shape for TaggableResource {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        const PATTERN: &str = r"arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|(capacity-provider|network-connector):[a-zA-Z0-9-_]{1,64})";
        const OTHERS: [&str; 4] = [
            "code-signing-config:",
            "event-source-mapping:",
            "capacity-provider:",
            "network-connector:",
        ];
        let text = at.string(node)?;
        let arn = Arn::parse(&text).filter(|arn| arn.service() == "lambda");
        let known = arn.and_then(|arn| {
            let function = match arn.resource().starts_with("function:") {
                true => Some(FunctionRef::parse(&text)?),
                false => None,
            };
            let other = OTHERS.iter().any(|kind| arn.resource().starts_with(kind));
            (function.is_some() || other).then_some(Self { arn, function })
        });
        if known.is_none() {
            at.violation(
                &text,
                &format!("Member must satisfy regular expression pattern: {PATTERN}"),
            );
        }
        known
    }
    fn encode(self) -> Node {
        Node::from(self.arn.to_string())
    }
    fn schema() -> Schema {
        Schema::String
    }
}

impl Functions {
    async fn change_tags(
        &self,
        resource: &TaggableResource,
        cx: &Context,
        edit: impl Fn(&mut BTreeMap<String, String>),
    ) -> Result<(), Error> {
        let inner = &self.inner;
        let (function, _) = self.find(resource.function()?, None, cx)?;
        let change = inner.change(&function.at, &function.name, |before, record| {
            edit(&mut record.tags);
            Tags(record.tags.clone()).check()?;
            record.latest_head.revision_id = new_id();
            Ok(inner.config.wishes_of(&before.record.tags))
        });
        let (after, wishes) = change.await?;
        if inner.config.wishes_of(&after.record.tags) != wishes {
            // Environments with the other reach, or without a template, serve nobody any more.
            inner.engine.retire(&key_prefix(&after.at, &after.name));
        }
        Ok(())
    }
}

/// Adds tags (<https://docs.aws.amazon.com/lambda/latest/api/API_TagResource.html>).
#[derive(Debug, Shape)]
pub struct TagResource {
    resource: TaggableResource,
    tags: Tags,
}

impl Operation for TagResource {
    type Service = Functions;
    type Output = ();
    const NAME: &'static str = "TagResource";
    const HTTP: Http = Http::new("POST", "/2017-03-31/tags/{Resource}", 204);

    fn resource(&self, _: &Scope) -> Arn {
        self.resource.arn.clone()
    }

    fn condition_keys(&self, _: &Functions, _: &Context) -> Keys {
        request_tags(Some(&self.tags))
    }

    async fn run(self, functions: &Functions, cx: &Context) -> Result<(), wire::Error> {
        functions.inner.config.check_own_tags(&self.tags.0)?;
        let add = |tags: &mut BTreeMap<_, _>| tags.extend(self.tags.0.clone());
        Ok(functions.change_tags(&self.resource, cx, add).await?)
    }
}

/// Removes tags (<https://docs.aws.amazon.com/lambda/latest/api/API_UntagResource.html>).
#[derive(Debug, Shape)]
pub struct UntagResource {
    resource: TaggableResource,
    tag_keys: Vec<String>,
}

impl Operation for UntagResource {
    type Service = Functions;
    type Output = ();
    const NAME: &'static str = "UntagResource";
    const HTTP: Http =
        Http::new("DELETE", "/2017-03-31/tags/{Resource}", 204).query(&[("tagKeys", "TagKeys")]);

    fn resource(&self, _: &Scope) -> Arn {
        self.resource.arn.clone()
    }

    fn condition_keys(&self, _: &Functions, _: &Context) -> Keys {
        wire::tags::tag_keys(self.tag_keys.iter().map(String::as_str))
    }

    async fn run(self, functions: &Functions, cx: &Context) -> Result<(), wire::Error> {
        let remove = |tags: &mut BTreeMap<_, _>| tags.retain(|key, _| !self.tag_keys.contains(key));
        Ok(functions.change_tags(&self.resource, cx, remove).await?)
    }
}

/// The tags of a function (<https://docs.aws.amazon.com/lambda/latest/api/API_ListTags.html>).
#[derive(Debug, Shape)]
pub struct ListTags {
    resource: TaggableResource,
}

/// See [`ListTags`].
#[derive(Debug, Shape)]
pub struct ListTagsOutput {
    tags: Option<BTreeMap<String, String>>,
}

impl Operation for ListTags {
    type Service = Functions;
    type Output = ListTagsOutput;
    const NAME: &'static str = "ListTags";
    const HTTP: Http = Http::new("GET", "/2017-03-31/tags/{Resource}", 200);

    fn resource(&self, _: &Scope) -> Arn {
        self.resource.arn.clone()
    }

    async fn run(self, functions: &Functions, cx: &Context) -> Result<ListTagsOutput, wire::Error> {
        let (function, _) = functions.find(self.resource.function()?, None, cx)?;
        Ok(ListTagsOutput {
            tags: Some(function.record.tags.clone()),
        })
    }
}
