//! What users, groups and roles have in common: inline policies, attached policies; and what everything tagged has.

use wire::Context;

use super::paging::{Page, page};
use super::shapes::{
    Document, Marker, MaxItems, Name, Path, PolicyArn, TagKey, TagShape, add_tags, check_name,
    remove_tags,
};
use super::{Iam, id};
use crate::Error;
use crate::limits::{
    ATTACHED_POLICIES_MAX, GROUP_POLICY_SIZE_MAX, ROLE_POLICY_SIZE_MAX, USER_POLICY_SIZE_MAX,
};
use crate::policy::{Flavour, Policy, size_without_white_space};
use crate::records::{Group, Identified, InstanceProfile, ManagedPolicy, Role, Tag, User};
use crate::state::{Account, Change, Entity};

/// A user, group or role.
pub(crate) trait Holder: Entity {
    /// In sentences.
    const NOUN: &'static str;
    const INLINE_SIZE_MAX: usize;
    const ATTACHED_QUOTA: &'static str;
    fn find<'a>(account: &'a Account, name: &str) -> Result<&'a Self, Error>;
    fn base_ref(&self) -> &Identified;
    fn base_mut(&mut self) -> &mut Identified;
    /// Refuses changes to what belongs to AWS.
    fn may_change(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Holder for User {
    const NOUN: &'static str = "user";
    const INLINE_SIZE_MAX: usize = USER_POLICY_SIZE_MAX;
    const ATTACHED_QUOTA: &'static str = "PoliciesPerUser";
    fn find<'a>(account: &'a Account, name: &str) -> Result<&'a Self, Error> {
        account.user(name)
    }
    fn base_ref(&self) -> &Identified {
        &self.base
    }
    fn base_mut(&mut self) -> &mut Identified {
        &mut self.base
    }
}

impl Holder for Group {
    const NOUN: &'static str = "group";
    const INLINE_SIZE_MAX: usize = GROUP_POLICY_SIZE_MAX;
    const ATTACHED_QUOTA: &'static str = "PoliciesPerGroup";
    fn find<'a>(account: &'a Account, name: &str) -> Result<&'a Self, Error> {
        account.group(name)
    }
    fn base_ref(&self) -> &Identified {
        &self.base
    }
    fn base_mut(&mut self) -> &mut Identified {
        &mut self.base
    }
}

impl Holder for Role {
    const NOUN: &'static str = "role";
    const INLINE_SIZE_MAX: usize = ROLE_POLICY_SIZE_MAX;
    const ATTACHED_QUOTA: &'static str = "PoliciesPerRole";
    fn find<'a>(account: &'a Account, name: &str) -> Result<&'a Self, Error> {
        account.role(name)
    }
    fn base_ref(&self) -> &Identified {
        &self.base
    }
    fn base_mut(&mut self) -> &mut Identified {
        &mut self.base
    }
    fn may_change(&self) -> Result<(), Error> {
        match self.service {
            Some(_) => Err(Error::Protected(self.base.name.clone())),
            None => Ok(()),
        }
    }
}

/// A managed policy as attached.
#[derive(Debug, wire::Shape)]
pub struct AttachedPolicy {
    policy_name: String,
    policy_arn: String,
}

impl AttachedPolicy {
    pub fn of(arn: &str) -> Self {
        let name = arn.rsplit('/').next().unwrap_or_default();
        Self {
            policy_name: name.to_owned(),
            policy_arn: arn.to_owned(),
        }
    }
}

impl Iam {
    /// Changes one user, group or role that is there.
    pub(crate) async fn edit<E: Holder>(
        &self,
        cx: &Context,
        name: &str,
        edit: impl Fn(&Account, &mut E) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.change(cx, |account| {
            let mut record = E::find(account, name)?.clone();
            record.may_change()?;
            edit(account, &mut record)?;
            Ok((Change::put(id(cx), account, record)?, ()))
        })
        .await
    }

    pub(crate) async fn put_inline<E: Holder>(
        &self,
        cx: &Context,
        name: &str,
        policy: &Name,
        document: &Document,
    ) -> Result<(), Error> {
        check_name("policyName", policy)?;
        Policy::parse(document, Flavour::Inline)?;
        self.edit::<E>(cx, name, |_, record| {
            record
                .base_mut()
                .inline
                .insert(policy.to_string(), document.to_string());
            let size: usize = record
                .base_ref()
                .inline
                .values()
                .map(|text| size_without_white_space(text))
                .sum();
            if size > E::INLINE_SIZE_MAX {
                let name = record.base_ref().name.clone();
                return Err(Error::PolicySize {
                    limit: E::INLINE_SIZE_MAX,
                    noun: E::NOUN,
                    name,
                });
            }
            Ok(())
        })
        .await
    }

    pub(crate) fn get_inline<E: Holder>(
        &self,
        cx: &Context,
        name: &str,
        policy: &str,
    ) -> Result<(String, String), Error> {
        self.look(cx, |account| {
            let base = E::find(account, name)?.base_ref();
            let text = base
                .inline
                .get(policy)
                .ok_or_else(|| no_inline::<E>(policy))?;
            Ok((base.name.clone(), text.clone()))
        })
    }

    pub(crate) async fn delete_inline<E: Holder>(
        &self,
        cx: &Context,
        name: &str,
        policy: &str,
    ) -> Result<(), Error> {
        self.edit::<E>(cx, name, |_, record| {
            record
                .base_mut()
                .inline
                .remove(policy)
                .map(drop)
                .ok_or_else(|| no_inline::<E>(policy))
        })
        .await
    }

    pub(crate) fn list_inline<E: Holder>(
        &self,
        cx: &Context,
        name: &str,
        marker: Option<&Marker>,
        max: Option<MaxItems>,
    ) -> Result<Page<String>, Error> {
        self.look(cx, |account| {
            let names = E::find(account, name)?.base_ref().inline.keys();
            page(names.map(|name| (name.clone(), name.clone())), marker, max)
        })
    }

    pub(crate) async fn attach<E: Holder>(
        &self,
        cx: &Context,
        name: &str,
        arn: &PolicyArn,
    ) -> Result<(), Error> {
        check_arn(arn)?;
        self.edit::<E>(cx, name, |account, record| {
            account
                .attachable(&id(cx), arn)
                .ok_or_else(|| Error::NotAttachable(arn.to_string()))?;
            let attached = &mut record.base_mut().attached;
            if attached.iter().any(|own| **own == **arn) {
                return Ok(());
            }
            if attached.len() >= ATTACHED_POLICIES_MAX {
                return Err(Error::Quota {
                    name: E::ATTACHED_QUOTA,
                    limit: ATTACHED_POLICIES_MAX,
                });
            }
            attached.push(arn.to_string());
            Ok(())
        })
        .await
    }

    pub(crate) async fn detach<E: Holder>(
        &self,
        cx: &Context,
        name: &str,
        arn: &PolicyArn,
    ) -> Result<(), Error> {
        check_arn(arn)?;
        self.edit::<E>(cx, name, |_, record| {
            let attached = &mut record.base_mut().attached;
            let at = attached.iter().position(|own| **own == **arn);
            attached.remove(at.ok_or_else(|| Error::NoPolicy(arn.to_string()))?);
            Ok(())
        })
        .await
    }

    pub(crate) fn list_attached<E: Holder>(
        &self,
        cx: &Context,
        name: &str,
        prefix: Option<&Path>,
        marker: Option<&Marker>,
        max: Option<MaxItems>,
    ) -> Result<Page<AttachedPolicy>, Error> {
        self.look(cx, |account| {
            let attached = E::find(account, name)?.base_ref().attached.iter();
            let here = attached.filter(|arn| {
                prefix.is_none_or(|prefix| path_in(arn).starts_with(prefix.as_str()))
            });
            page(
                here.map(|arn| (arn.clone(), AttachedPolicy::of(arn))),
                marker,
                max,
            )
        })
    }
}

/// The path inside a policy's ARN.
pub(crate) fn path_in(arn: &str) -> &str {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
    let from = resource.find('/').unwrap_or(0);
    let to = resource.rfind('/').map_or(from, |at| at + 1);
    &resource[from..to]
}

pub(crate) fn check_arn(arn: &str) -> Result<(), Error> {
    wire::Arn::parse(arn)
        .map(drop)
        .ok_or_else(|| Error::InvalidArn(arn.to_owned()))
}

fn no_inline<E: Holder>(policy: &str) -> Error {
    Error::not_found(format!("{} policy", E::NOUN), policy)
}

/// Something with tags.
pub(crate) trait Tagged: Entity {
    fn find_tagged<'a>(account: &'a Account, cx: &Context, name: &str) -> Result<&'a Self, Error>;
    fn tags(&self) -> &[Tag];
    fn tags_mut(&mut self) -> &mut Vec<Tag>;
}

macro_rules! tagged {
    ($($record:ty: |$account:ident, $cx:ident, $name:ident| $find:expr;)*) => {$(
        impl Tagged for $record {
            fn find_tagged<'a>($account: &'a Account, $cx: &Context, $name: &str) -> Result<&'a Self, Error> {
                $find
            }
            fn tags(&self) -> &[Tag] {
                &self.tags
            }
            fn tags_mut(&mut self) -> &mut Vec<Tag> {
                &mut self.tags
            }
        }
    )*};
}
tagged! {
    User: |account, _cx, name| account.user(name);
    Role: |account, _cx, name| account.role(name);
    InstanceProfile: |account, _cx, name| account.profile(name);
    ManagedPolicy: |account, cx, arn| {
        let held = account.held_policy(&id(cx), arn);
        held.map(|held| &held.record).ok_or_else(|| Error::NoPolicy(arn.to_owned()))
    };
}

impl Iam {
    pub(crate) async fn tag<E: Tagged>(
        &self,
        cx: &Context,
        name: &str,
        tags: &[TagShape],
    ) -> Result<(), Error> {
        self.change(cx, |account| {
            let mut record = E::find_tagged(account, cx, name)?.clone();
            add_tags(record.tags_mut(), tags)?;
            Ok((Change::put(id(cx), account, record)?, ()))
        })
        .await
    }

    pub(crate) async fn untag<E: Tagged>(
        &self,
        cx: &Context,
        name: &str,
        keys: &[TagKey],
    ) -> Result<(), Error> {
        self.change(cx, |account| {
            let mut record = E::find_tagged(account, cx, name)?.clone();
            remove_tags(record.tags_mut(), keys);
            Ok((Change::put(id(cx), account, record)?, ()))
        })
        .await
    }

    pub(crate) fn list_tags<E: Tagged>(
        &self,
        cx: &Context,
        name: &str,
        marker: Option<&Marker>,
        max: Option<MaxItems>,
    ) -> Result<Page<TagShape>, Error> {
        self.look(cx, |account| {
            let tags = E::find_tagged(account, cx, name)?.tags();
            page(
                tags.iter()
                    .map(|tag| (tag.key.clone(), TagShape::from_record(tag))),
                marker,
                max,
            )
        })
    }
}

/// Declares the seven policy operations of a kind of holder.
macro_rules! policy_operations {
    (
        $record:ty, $target:path, $field:ident: $name_type:ty;
        $put:ident $get:ident -> $got:ident, $delete:ident $list:ident $attach:ident $detach:ident
        $list_attached:ident
    ) => {
        operation! {
            /// Adds an inline policy, or replaces the one of that name.
            $put { $field: $name_type, policy_name: Name, policy_document: Document } -> ();
            on |op| $target(&op.$field);
            run |op, iam, cx| iam.put_inline::<$record>(cx, &op.$field, &op.policy_name, &op.policy_document).await
        }
        operation! {
            /// Shows an inline policy.
            $get { $field: $name_type, policy_name: Name } -> $got;
            on |op| $target(&op.$field);
            run |op, iam, cx| {
                let ($field, text) = iam.get_inline::<$record>(cx, &op.$field, &op.policy_name)?;
                Ok($got { $field, policy_name: op.policy_name.to_string(), policy_document: encoded(&text) })
            }
        }
        /// An inline policy, its document percent-encoded.
        #[derive(Debug, wire::Shape)]
        pub struct $got {
            $field: String,
            policy_name: String,
            policy_document: String,
        }
        operation! {
            /// Deletes an inline policy.
            $delete { $field: $name_type, policy_name: Name } -> ();
            on |op| $target(&op.$field);
            run |op, iam, cx| iam.delete_inline::<$record>(cx, &op.$field, &op.policy_name).await
        }
        operation! {
            /// Lists the names of inline policies.
            $list { $field: $name_type, marker: Option<Marker>, max_items: Option<MaxItems> } -> PolicyNames;
            on |op| $target(&op.$field);
            run |op, iam, cx| {
                iam.list_inline::<$record>(cx, &op.$field, op.marker.as_ref(), op.max_items).map(PolicyNames::of)
            }
        }
        operation! {
            /// Attaches a managed policy. Attaching it again changes nothing.
            $attach { $field: $name_type, policy_arn: PolicyArn } -> ();
            on |op| $target(&op.$field);
            keys |op| policy_arn(&op.policy_arn);
            run |op, iam, cx| iam.attach::<$record>(cx, &op.$field, &op.policy_arn).await
        }
        operation! {
            /// Detaches a managed policy.
            $detach { $field: $name_type, policy_arn: PolicyArn } -> ();
            on |op| $target(&op.$field);
            keys |op| policy_arn(&op.policy_arn);
            run |op, iam, cx| iam.detach::<$record>(cx, &op.$field, &op.policy_arn).await
        }
        operation! {
            /// Lists attached managed policies.
            $list_attached {
                $field: $name_type,
                path_prefix: Option<Path>,
                marker: Option<Marker>,
                max_items: Option<MaxItems>,
            } -> AttachedPolicies;
            on |op| $target(&op.$field);
            run |op, iam, cx| {
                let prefix = op.path_prefix.as_ref();
                iam.list_attached::<$record>(cx, &op.$field, prefix, op.marker.as_ref(), op.max_items)
                    .map(AttachedPolicies::of)
            }
        }
    };
}
pub(crate) use policy_operations;

/// Declares the three tag operations of a kind of thing.
macro_rules! tag_operations {
    ($record:ty, $target:path, $field:ident: $name_type:ty; $tag:ident $untag:ident $list:ident) => {
        operation! {
            /// Adds tags, or changes their values.
            $tag { $field: $name_type, tags: Tags } -> ();
            on |op| $target(&op.$field);
            keys |op| request_tags(Some(&op.tags));
            run |op, iam, cx| iam.tag::<$record>(cx, &op.$field, &op.tags).await
        }
        operation! {
            /// Removes tags.
            $untag { $field: $name_type, tag_keys: TagKeys } -> ();
            on |op| $target(&op.$field);
            keys |op| tag_keys(&op.tag_keys);
            run |op, iam, cx| iam.untag::<$record>(cx, &op.$field, &op.tag_keys).await
        }
        operation! {
            /// Lists tags.
            $list { $field: $name_type, marker: Option<Marker>, max_items: Option<MaxItems> } -> TagList;
            on |op| $target(&op.$field);
            run |op, iam, cx| {
                iam.list_tags::<$record>(cx, &op.$field, op.marker.as_ref(), op.max_items).map(TagList::of)
            }
        }
    };
}
pub(crate) use tag_operations;

super::paging::listing! {
    /// Names of inline policies.
    PolicyNames { policy_names: String }
}
super::paging::listing! {
    /// Attached managed policies.
    AttachedPolicies { attached_policies: AttachedPolicy }
}
super::paging::listing! {
    /// Tags.
    TagList { tags: TagShape }
}
