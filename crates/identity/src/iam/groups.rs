//! Groups, and who is in them.

use wire::Shape;

use super::holders::{AttachedPolicies, PolicyNames, policy_operations};
use super::paging::{listing, page};
use super::shapes::{
    Document, GroupShape, Marker, MaxItems, Name, Path, PolicyArn, UserShape, check_name,
    checked_path, encoded,
};
use super::target::{Target, policy_arn};
use super::users::rename;
use super::{id, operation};
use crate::limits::{GROUPS_MAX, GROUPS_PER_USER_MAX};
use crate::records::{Group, Identified, User};
use crate::state::{Change, Entity};
use crate::{Error, ids};

/// A group.
#[derive(Debug, Shape)]
pub struct GroupOutput {
    group: GroupShape,
}

operation! {
    /// Makes a group.
    CreateGroup { path: Option<Path>, group_name: Name } -> GroupOutput;
    on |op| Target::New("group", op.path.as_ref(), &op.group_name);
    run |op, iam, cx| {
        check_name("groupName", &op.group_name)?;
        let path = checked_path(op.path.as_ref())?;
        let group = Group { base: Identified::new(&op.group_name, path, ids::unique("AGPA")?, cx) };
        iam.change(cx, |account| {
            if account.group(&op.group_name).is_ok() {
                return Err(Error::Exists { noun: "Group", name: op.group_name.to_string() });
            }
            if account.groups.len() >= GROUPS_MAX {
                return Err(Error::Quota { name: "GroupsPerAccount", limit: GROUPS_MAX });
            }
            let output = GroupOutput { group: GroupShape::of(&id(cx), &group) };
            Ok((Change::put(id(cx), account, group.clone())?, output))
        })
        .await
    }
}

listing! {
    /// A group and its users.
    GroupMembers { users: UserShape, group: GroupShape }
}
operation! {
    /// Shows a group and who is in it.
    GetGroup { group_name: Name, marker: Option<Marker>, max_items: Option<MaxItems> } -> GroupMembers;
    on |op| Target::Group(&op.group_name);
    run |op, iam, cx| iam.look(cx, |account| {
        let group = account.group(&op.group_name)?;
        let users = account.members_of(group);
        let users = users.map(|user| (user.base.name.to_ascii_lowercase(), UserShape::listed(&id(cx), user)));
        let page = page(users, op.marker.as_ref(), op.max_items)?;
        Ok(GroupMembers::of(GroupShape::of(&id(cx), group), page))
    })
}

listing! {
    /// Groups.
    GroupList { groups: GroupShape }
}
operation! {
    /// Lists groups.
    ListGroups { path_prefix: Option<Path>, marker: Option<Marker>, max_items: Option<MaxItems> } -> GroupList;
    on |op| Target::All("group");
    run |op, iam, cx| iam.look(cx, |account| {
        let under = |group: &Group| op.path_prefix.as_ref().is_none_or(|prefix| group.base.path.starts_with(prefix.as_str()));
        let groups = account.groups.iter().filter(|(_, group)| under(&group.record));
        let shapes = groups.map(|(key, group)| (key, GroupShape::of(&id(cx), &group.record)));
        page(shapes, op.marker.as_ref(), op.max_items).map(GroupList::of)
    })
}
operation! {
    /// Lists the groups of a user.
    ListGroupsForUser { user_name: Name, marker: Option<Marker>, max_items: Option<MaxItems> } -> GroupList;
    on |op| Target::User(&op.user_name);
    run |op, iam, cx| iam.look(cx, |account| {
        let groups = account.groups_of(account.user(&op.user_name)?);
        let shapes = groups.map(|group| (group.record.name().to_ascii_lowercase(), GroupShape::of(&id(cx), &group.record)));
        page(shapes, op.marker.as_ref(), op.max_items).map(GroupList::of)
    })
}

operation! {
    /// Renames or moves a group.
    UpdateGroup { group_name: Name, new_path: Option<Path>, new_group_name: Option<Name> } -> ();
    on |op| Target::Group(&op.group_name);
    run |op, iam, cx| {
        if let Some(name) = &op.new_group_name {
            check_name("newGroupName", name)?;
        }
        let path = op.new_path.as_ref().map(|path| checked_path(Some(path))).transpose()?;
        iam.change(cx, |account| {
            let mut group = account.group(&op.group_name)?.clone();
            rename(&mut group.base, op.new_group_name.as_deref(), path.as_deref());
            let taken = account.group(&group.base.name).is_ok_and(|other| other.base.id != group.base.id);
            if taken {
                return Err(Error::Exists { noun: "Group", name: group.base.name });
            }
            Ok((Change::rename(id(cx), account, &op.group_name, group)?, ()))
        })
        .await
    }
}

operation! {
    /// Deletes a group that has nothing and nobody left.
    DeleteGroup { group_name: Name } -> ();
    on |op| Target::Group(&op.group_name);
    run |op, iam, cx| iam.change(cx, |account| {
        let group = account.group(&op.group_name)?;
        if account.members_of(group).next().is_some() {
            return Err(Error::DeleteConflict("Cannot delete entity, must remove users from group first."));
        }
        if !group.base.inline.is_empty() {
            return Err(Error::DeleteConflict("Cannot delete entity, must delete policies first."));
        }
        if !group.base.attached.is_empty() {
            return Err(Error::DeleteConflict("Cannot delete entity, must detach all policies first."));
        }
        Ok((Change::delete::<Group>(id(cx), account, group.name()), ()))
    })
    .await
}

operation! {
    /// Puts a user into a group.
    AddUserToGroup { group_name: Name, user_name: Name } -> ();
    on |op| Target::Group(&op.group_name);
    run |op, iam, cx| iam.edit::<User>(cx, &op.user_name, |account, user| {
        let group = account.group(&op.group_name)?;
        if user.groups.contains(&group.base.id) {
            return Ok(());
        }
        if user.groups.len() >= GROUPS_PER_USER_MAX {
            return Err(Error::Quota { name: "GroupsPerUser", limit: GROUPS_PER_USER_MAX });
        }
        user.groups.push(group.base.id.clone());
        Ok(())
    })
    .await
}

operation! {
    /// Takes a user out of a group.
    RemoveUserFromGroup { group_name: Name, user_name: Name } -> ();
    on |op| Target::Group(&op.group_name);
    run |op, iam, cx| iam.edit::<User>(cx, &op.user_name, |account, user| {
        let group = account.group(&op.group_name)?;
        user.groups.retain(|id| *id != group.base.id);
        Ok(())
    })
    .await
}

policy_operations!(
    Group, Target::Group, group_name: Name;
    PutGroupPolicy GetGroupPolicy -> GroupPolicy, DeleteGroupPolicy ListGroupPolicies AttachGroupPolicy
    DetachGroupPolicy ListAttachedGroupPolicies
);
