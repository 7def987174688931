//! Members that many operations share, and the structures of replies.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use wire::{AccountId, Keys, List, Shape, Timestamp, number, text};

use crate::limits::TAGS_MAX;
use crate::records::{Group, InstanceProfile, Role, Tag, User};
use crate::state::Account;
use crate::{Error, Identity};

text! {
    /// A user to look up, or a group.
    pub struct Name: 1..=128;
    /// A new user, and any role.
    pub struct ShortName: 1..=64;
    /// Where a new thing goes.
    pub struct Path: 1..=512;
    /// A managed policy.
    pub struct PolicyArn: 20..=2048;
    /// A policy's text.
    pub struct Document: 1..=131_072;
    /// Of a role or a policy.
    pub struct Description: 0..=1_000;
    /// A tag's key.
    pub struct TagKey: 1..=128;
    /// A tag's value.
    pub struct TagValue: 0..=256;
    /// Where the next page begins.
    pub struct Marker: 1..=4_096;
    /// `v1`, `v2`, ...
    pub struct VersionId: 2..=64, r"v[1-9][0-9]*(\.[A-Za-z0-9-]*)?";
    /// An access key's id.
    pub struct KeyId: 16..=128;
    /// A name for the whole account.
    pub struct Alias: 3..=63;
    /// What distinguishes two roles linked to one service.
    pub struct Suffix: 1..=64;
}
number! {
    /// How many a page holds.
    pub struct MaxItems: 1..=1_000;
    /// Seconds.
    pub struct SessionSecondsMax: 3_600..=43_200;
}

/// A member of a feature that is not built: any value of it is refused, for it would be answered as if it had none.
#[derive(Debug)]
pub struct Unfulfilled;

impl Shape for Unfulfilled {
    fn decode(_: wire::Node, at: &mut wire::Decoder) -> Option<Self> {
        at.violation("", "Member is not supported by Mayfly yet");
        None
    }
    fn encode(self) -> wire::Node {
        wire::Node::Null
    }
    fn schema() -> wire::Schema {
        wire::Schema::Any
    }
}

/// An answer that is there and says nothing.
#[derive(Debug, Shape)]
pub struct Empty {}

/// A tag on the wire.
#[derive(Debug, Clone, Shape)]
pub struct TagShape {
    key: TagKey,
    value: TagValue,
}

/// Tags of a request.
pub(crate) type Tags = List<TagShape, 0, TAGS_MAX>;
/// Keys of tags to remove.
pub(crate) type TagKeys = List<TagKey, 0, TAGS_MAX>;

impl TagShape {
    pub fn from_record(tag: &Tag) -> Self {
        Self {
            key: TagKey::new(tag.key.as_str()).expect("stored from one"),
            value: TagValue::new(tag.value.as_str()).expect("stored from one"),
        }
    }
}

/// Adds tags to those that are there. Keys keep their capitals and differ by more than those.
pub(crate) fn add_tags(tags: &mut Vec<Tag>, more: &[TagShape]) -> Result<(), Error> {
    for (at, tag) in more.iter().enumerate() {
        if more[..at]
            .iter()
            .any(|other| other.key.eq_ignore_ascii_case(&tag.key))
        {
            return Err(Error::DuplicateTags);
        }
        if tag.key.to_ascii_lowercase().starts_with("aws:") {
            return Err(Error::InvalidInput(
                "System tags cannot be added/updated by requester".to_owned(),
            ));
        }
        tags.retain(|own| !own.key.eq_ignore_ascii_case(&tag.key));
        tags.push(Tag {
            key: tag.key.to_string(),
            value: tag.value.to_string(),
        });
    }
    if tags.len() > TAGS_MAX {
        return Err(Error::Quota {
            name: "TagsPerResource",
            limit: TAGS_MAX,
        });
    }
    Ok(())
}

/// The tags of a new thing.
pub(crate) fn new_tags(tags: Option<&Tags>) -> Result<Vec<Tag>, Error> {
    let mut all = Vec::new();
    add_tags(&mut all, tags.map_or(&[], |tags| tags))?;
    Ok(all)
}

pub(crate) fn remove_tags(tags: &mut Vec<Tag>, keys: &[TagKey]) {
    tags.retain(|own| !keys.iter().any(|key| own.key.eq_ignore_ascii_case(key)));
}

/// The condition keys of the tags in a request.
pub(crate) fn request_tags(tags: Option<&Tags>) -> Keys {
    let Some(tags) = tags.filter(|tags| !tags.is_empty()) else {
        return Keys::new();
    };
    wire::tags::request_tags(
        tags.iter()
            .map(|tag| (tag.key.as_str(), tag.value.as_str())),
    )
}

/// The condition key of an untagging.
pub(crate) fn tag_keys(keys: &TagKeys) -> Keys {
    wire::tags::tag_keys(keys.iter().map(|key| key.as_str()))
}

/// Letters, digits and `+=,.@_-` only.
pub(crate) fn check_name(field: &'static str, name: &str) -> Result<(), Error> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    if name.bytes().all(legal) {
        Ok(())
    } else {
        Err(Error::InvalidName(field))
    }
}

/// A path begins and ends with a slash; without one it is the root.
pub(crate) fn checked_path(path: Option<&Path>) -> Result<String, Error> {
    let Some(path) = path else {
        return Ok("/".to_owned());
    };
    let legal = |byte: u8| (0x21..=0x7e).contains(&byte);
    if path.starts_with('/') && path.ends_with('/') && path.bytes().all(legal) {
        Ok(path.to_string())
    } else {
        Err(Error::InvalidPath("path"))
    }
}

/// What RFC 3986 leaves as it is: IAM sends policy documents percent-encoded inside XML.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

pub(crate) fn encoded(document: &str) -> String {
    utf8_percent_encode(document, ENCODED).to_string()
}

/// A permissions boundary on the wire.
#[derive(Debug, Clone, Shape)]
pub struct BoundaryShape {
    permissions_boundary_type: &'static str,
    permissions_boundary_arn: String,
}

impl BoundaryShape {
    pub fn of(arn: Option<&String>) -> Option<Self> {
        arn.map(|arn| Self {
            permissions_boundary_type: "Policy",
            permissions_boundary_arn: arn.clone(),
        })
    }
}

fn tags_if_any(tags: &[Tag]) -> Option<Vec<TagShape>> {
    (!tags.is_empty()).then(|| tags.iter().map(TagShape::from_record).collect())
}

/// A user in replies.
#[derive(Debug, Shape)]
pub struct UserShape {
    path: String,
    user_name: Option<String>,
    user_id: String,
    arn: String,
    create_date: Timestamp,
    permissions_boundary: Option<BoundaryShape>,
    tags: Option<Vec<TagShape>>,
}

impl UserShape {
    pub fn full(id: &AccountId, user: &User) -> Self {
        Self {
            permissions_boundary: BoundaryShape::of(user.boundary.as_ref()),
            tags: tags_if_any(&user.tags),
            ..Self::listed(id, user)
        }
    }

    /// "IAM resource-listing operations return a subset of the available attributes": no tags, no boundary.
    pub fn listed(id: &AccountId, user: &User) -> Self {
        Self {
            path: user.base.path.clone(),
            user_name: Some(user.base.name.clone()),
            user_id: user.base.id.clone(),
            arn: user.arn(id).to_string(),
            create_date: Timestamp(user.base.created_ms),
            permissions_boundary: None,
            tags: None,
        }
    }

    pub fn root(id: &AccountId, created_ms: i64) -> Self {
        Self {
            path: "/".to_owned(),
            user_name: None,
            user_id: id.to_string(),
            arn: wire::Arn::root(id).to_string(),
            create_date: Timestamp(created_ms),
            permissions_boundary: None,
            tags: None,
        }
    }
}

/// A group in replies.
#[derive(Debug, Shape)]
pub struct GroupShape {
    path: String,
    group_name: String,
    group_id: String,
    arn: String,
    create_date: Timestamp,
}

impl GroupShape {
    pub fn of(id: &AccountId, group: &Group) -> Self {
        Self {
            path: group.base.path.clone(),
            group_name: group.base.name.clone(),
            group_id: group.base.id.clone(),
            arn: group.arn(id).to_string(),
            create_date: Timestamp(group.base.created_ms),
        }
    }
}

/// When a role was used last.
#[derive(Debug, Clone, Shape)]
pub struct RoleLastUsed {
    last_used_date: Option<Timestamp>,
    region: Option<String>,
}

impl RoleLastUsed {
    pub fn of(identity: &Identity, role: &Role) -> Self {
        let used = identity.last_used(&role.base.id);
        Self {
            last_used_date: used
                .as_ref()
                .map(|used| Timestamp(used.at_ms.div_euclid(1000) * 1000)),
            region: used.map(|used| used.region),
        }
    }
}

/// A role in replies.
#[derive(Debug, Shape)]
pub struct RoleShape {
    path: String,
    role_name: String,
    role_id: String,
    arn: String,
    create_date: Timestamp,
    assume_role_policy_document: String,
    description: Option<String>,
    max_session_duration: Option<i64>,
    permissions_boundary: Option<BoundaryShape>,
    tags: Option<Vec<TagShape>>,
    role_last_used: Option<RoleLastUsed>,
}

impl RoleShape {
    pub fn full(identity: &Identity, id: &AccountId, role: &Role) -> Self {
        Self {
            permissions_boundary: BoundaryShape::of(role.boundary.as_ref()),
            tags: tags_if_any(&role.tags),
            role_last_used: Some(RoleLastUsed::of(identity, role)),
            ..Self::listed(id, role)
        }
    }

    /// Without tags, boundary and last use.
    pub fn listed(id: &AccountId, role: &Role) -> Self {
        Self {
            max_session_duration: Some(role.session_seconds_max),
            ..Self::created(id, role)
        }
    }

    /// As `CreateRole` and instance profiles show it.
    pub fn created(id: &AccountId, role: &Role) -> Self {
        Self {
            path: role.base.path.clone(),
            role_name: role.base.name.clone(),
            role_id: role.base.id.clone(),
            arn: role.arn(id).to_string(),
            create_date: Timestamp(role.base.created_ms),
            assume_role_policy_document: encoded(&role.trust),
            description: role.description.clone(),
            max_session_duration: None,
            permissions_boundary: None,
            tags: None,
            role_last_used: None,
        }
    }

    pub fn with_tags(mut self, role: &Role) -> Self {
        self.tags = tags_if_any(&role.tags);
        self.permissions_boundary = BoundaryShape::of(role.boundary.as_ref());
        self
    }
}

/// An instance profile in replies.
#[derive(Debug, Shape)]
pub struct InstanceProfileShape {
    path: String,
    instance_profile_name: String,
    instance_profile_id: String,
    arn: String,
    create_date: Timestamp,
    roles: Vec<RoleShape>,
    tags: Option<Vec<TagShape>>,
}

impl InstanceProfileShape {
    pub fn full(id: &AccountId, account: &Account, profile: &InstanceProfile) -> Self {
        Self {
            tags: tags_if_any(&profile.tags),
            ..Self::listed(id, account, profile)
        }
    }

    pub fn listed(id: &AccountId, account: &Account, profile: &InstanceProfile) -> Self {
        let roles = profile
            .role
            .iter()
            .filter_map(|name| account.role(name).ok());
        Self {
            path: profile.path.clone(),
            instance_profile_name: profile.name.clone(),
            instance_profile_id: profile.id.clone(),
            arn: profile.arn(id).to_string(),
            create_date: Timestamp(profile.created_ms),
            roles: roles.map(|role| RoleShape::created(id, role)).collect(),
            tags: None,
        }
    }
}
