//! Users.

use wire::{Context, Shape};

use super::holders::{
    AttachedPolicies, PolicyNames, TagList, check_arn, policy_operations, tag_operations,
};
use super::paging::{listing, page};
use super::shapes::{
    Document, Marker, MaxItems, Name, Path, PolicyArn, ShortName, TagKeys, Tags, UserShape,
    check_name, checked_path, encoded, new_tags, request_tags, tag_keys,
};
use super::target::{Target, asked_boundary, policy_arn};
use super::{id, now, operation};
use crate::limits::USERS_MAX;
use crate::records::{Identified, User};
use crate::state::{Account, Change, Entity};
use crate::{Error, ids};

/// A user.
#[derive(Debug, Shape)]
pub struct UserOutput {
    user: UserShape,
}

operation! {
    /// Makes a user.
    CreateUser {
        path: Option<Path>,
        user_name: ShortName,
        permissions_boundary: Option<PolicyArn>,
        tags: Option<Tags>,
    } -> UserOutput;
    on |op| Target::New("user", op.path.as_ref(), &op.user_name);
    keys |op| {
        let mut keys = request_tags(op.tags.as_ref());
        keys.extend(asked_boundary(op.permissions_boundary.as_deref()));
        keys
    };
    run |op, iam, cx| {
        check_name("userName", &op.user_name)?;
        let user = User {
            base: Identified::new(&op.user_name, checked_path(op.path.as_ref())?, ids::unique("AIDA")?, cx),
            tags: new_tags(op.tags.as_ref())?,
            boundary: op.permissions_boundary.map(PolicyArn::into_string),
            groups: Vec::new(),
            keys: Vec::new(),
        };
        iam.change(cx, |account| {
            if account.user(&op.user_name).is_ok() {
                return Err(Error::Exists { noun: "User", name: op.user_name.to_string() });
            }
            if account.users.len() >= USERS_MAX {
                return Err(Error::Quota { name: "UsersPerAccount", limit: USERS_MAX });
            }
            check_boundary(account, cx, user.boundary.as_deref())?;
            let output = UserOutput { user: UserShape::full(&id(cx), &user) };
            Ok((Change::put(id(cx), account, user.clone())?, output))
        })
        .await
    }
}

impl Identified {
    pub(crate) fn new(name: &str, path: String, unique_id: String, cx: &Context) -> Self {
        Self {
            name: name.to_owned(),
            path,
            id: unique_id,
            created_ms: now(cx),
            inline: std::collections::BTreeMap::new(),
            attached: Vec::new(),
            renamed_from: None,
        }
    }
}

pub(crate) fn check_boundary(
    account: &Account,
    cx: &Context,
    arn: Option<&str>,
) -> Result<(), Error> {
    let Some(arn) = arn else { return Ok(()) };
    check_arn(arn)?;
    account
        .attachable(&id(cx), arn)
        .map(drop)
        .ok_or_else(|| Error::NoBoundary(arn.to_owned()))
}

/// The user that a request means: the one it names, else the caller.
pub(crate) fn named_or_caller(name: Option<&Name>, cx: &Context) -> Result<String, Error> {
    match (name, &cx.caller.kind) {
        (Some(name), _) => Ok(name.to_string()),
        (None, wire::CallerKind::User) => Ok(cx
            .caller
            .arn
            .resource()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned()),
        (None, _) => Err(Error::NeedsUserName),
    }
}

operation! {
    /// Shows a user, or without a name the caller.
    GetUser { user_name: Option<Name> } -> UserOutput;
    on |op| Target::UserOrSelf(op.user_name.as_deref());
    run |op, iam, cx| {
        if op.user_name.is_none() && cx.caller.kind == wire::CallerKind::Root {
            let created = iam.look(cx, |account| Ok(account.root().map_or(0, |root| root.created_ms)))?;
            return Ok(UserOutput { user: UserShape::root(&id(cx), created) });
        }
        let name = named_or_caller(op.user_name.as_ref(), cx)?;
        iam.look(cx, |account| Ok(UserOutput { user: UserShape::full(&id(cx), account.user(&name)?) }))
    }
}

listing! {
    /// Users.
    UserList { users: UserShape }
}
operation! {
    /// Lists users.
    ListUsers { path_prefix: Option<Path>, marker: Option<Marker>, max_items: Option<MaxItems> } -> UserList;
    on |op| Target::All("user");
    run |op, iam, cx| iam.look(cx, |account| {
        let under = |user: &User| op.path_prefix.as_ref().is_none_or(|prefix| user.base.path.starts_with(prefix.as_str()));
        let users = account.users.iter().filter(|(_, user)| under(&user.record));
        let shapes = users.map(|(key, user)| (key, UserShape::listed(&id(cx), &user.record)));
        page(shapes, op.marker.as_ref(), op.max_items).map(UserList::of)
    })
}

operation! {
    /// Renames or moves a user. Keys, policies and groups stay; the unique id too.
    UpdateUser { user_name: Name, new_path: Option<Path>, new_user_name: Option<ShortName> } -> ();
    on |op| Target::User(&op.user_name);
    run |op, iam, cx| {
        if let Some(name) = &op.new_user_name {
            check_name("newUserName", name)?;
        }
        let path = op.new_path.as_ref().map(|path| checked_path(Some(path))).transpose()?;
        iam.change(cx, |account| {
            let mut user = account.user(&op.user_name)?.clone();
            rename(&mut user.base, op.new_user_name.as_deref(), path.as_deref());
            let taken = account.user(&user.base.name).is_ok_and(|other| other.base.id != user.base.id);
            if taken {
                return Err(Error::Exists { noun: "User", name: user.base.name });
            }
            Ok((Change::rename(id(cx), account, &op.user_name, user)?, ()))
        })
        .await
    }
}

pub(crate) fn rename(base: &mut Identified, name: Option<&str>, path: Option<&str>) {
    if let Some(name) = name {
        let old = base.name.to_ascii_lowercase();
        base.renamed_from = (name.to_ascii_lowercase() != old).then_some(old);
        base.name = name.to_owned();
    }
    if let Some(path) = path {
        base.path = path.to_owned();
    }
}

operation! {
    /// Deletes a user who has nothing left.
    DeleteUser { user_name: Name } -> ();
    on |op| Target::User(&op.user_name);
    run |op, iam, cx| iam.change(cx, |account| {
        let user = account.user(&op.user_name)?;
        let left = [
            (!user.keys.is_empty(), "Cannot delete entity, must delete access keys first."),
            (!user.base.inline.is_empty(), "Cannot delete entity, must delete policies first."),
            (!user.base.attached.is_empty(), "Cannot delete entity, must detach all policies first."),
            (!user.groups.is_empty(), "Cannot delete entity, must remove users from group first."),
        ];
        if let Some((_, sentence)) = left.into_iter().find(|(is_left, _)| *is_left) {
            return Err(Error::DeleteConflict(sentence));
        }
        Ok((Change::delete::<User>(id(cx), account, user.name()), ()))
    })
    .await
}

operation! {
    /// Limits a user to what a managed policy allows.
    PutUserPermissionsBoundary { user_name: Name, permissions_boundary: PolicyArn } -> ();
    on |op| Target::User(&op.user_name);
    keys |op| asked_boundary(Some(&op.permissions_boundary));
    run |op, iam, cx| iam.edit::<User>(cx, &op.user_name, |account, user| {
        check_boundary(account, cx, Some(&op.permissions_boundary))?;
        user.boundary = Some(op.permissions_boundary.to_string());
        Ok(())
    })
    .await
}

operation! {
    /// Lifts a user's limit.
    DeleteUserPermissionsBoundary { user_name: Name } -> ();
    on |op| Target::User(&op.user_name);
    run |op, iam, cx| iam.edit::<User>(cx, &op.user_name, |_, user| {
        user.boundary = None;
        Ok(())
    })
    .await
}

tag_operations!(User, Target::User, user_name: Name; TagUser UntagUser ListUserTags);
policy_operations!(
    User, Target::User, user_name: Name;
    PutUserPolicy GetUserPolicy -> UserPolicy, DeleteUserPolicy ListUserPolicies AttachUserPolicy DetachUserPolicy
    ListAttachedUserPolicies
);
