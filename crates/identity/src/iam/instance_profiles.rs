//! Instance profiles. Nothing here starts instances; deployment tools make profiles all the same.

use wire::{Permission, Shape};

use super::holders::{TagList, tag_operations};
use super::paging::{listing, page};
use super::shapes::{
    InstanceProfileShape, Marker, MaxItems, Name, Path, ShortName, TagKeys, Tags, check_name,
    checked_path, new_tags, request_tags, tag_keys,
};
use super::target::Target;
use super::{id, now, operation};
use crate::limits::INSTANCE_PROFILES_MAX;
use crate::records::InstanceProfile;
use crate::state::Change;
use crate::{Error, ids};

/// An instance profile.
#[derive(Debug, Shape)]
pub struct InstanceProfileOutput {
    instance_profile: InstanceProfileShape,
}

operation! {
    /// Makes an instance profile.
    CreateInstanceProfile {
        instance_profile_name: Name,
        path: Option<Path>,
        tags: Option<Tags>,
    } -> InstanceProfileOutput;
    on |op| Target::New("instance-profile", op.path.as_ref(), &op.instance_profile_name);
    keys |op| request_tags(op.tags.as_ref());
    run |op, iam, cx| {
        let name = &op.instance_profile_name;
        check_name("instanceProfileName", name)?;
        let profile = InstanceProfile {
            name: name.to_string(),
            path: checked_path(op.path.as_ref())?,
            id: ids::unique("AIPA")?,
            created_ms: now(cx),
            tags: new_tags(op.tags.as_ref())?,
            role: None,
        };
        iam.change(cx, |account| {
            if account.profile(name).is_ok() {
                return Err(Error::InstanceProfileExists(name.to_string()));
            }
            if account.profiles.len() >= INSTANCE_PROFILES_MAX {
                return Err(Error::Quota { name: "InstanceProfilesPerAccount", limit: INSTANCE_PROFILES_MAX });
            }
            let output = InstanceProfileOutput { instance_profile: InstanceProfileShape::full(&id(cx), account, &profile) };
            Ok((Change::put(id(cx), account, profile.clone())?, output))
        })
        .await
    }
}

operation! {
    /// Shows an instance profile.
    GetInstanceProfile { instance_profile_name: Name } -> InstanceProfileOutput;
    on |op| Target::Profile(&op.instance_profile_name);
    run |op, iam, cx| iam.look(cx, |account| {
        let profile = account.profile(&op.instance_profile_name)?;
        Ok(InstanceProfileOutput { instance_profile: InstanceProfileShape::full(&id(cx), account, profile) })
    })
}

listing! {
    /// Instance profiles.
    InstanceProfileList { instance_profiles: InstanceProfileShape }
}
operation! {
    /// Lists instance profiles.
    ListInstanceProfiles {
        path_prefix: Option<Path>,
        marker: Option<Marker>,
        max_items: Option<MaxItems>,
    } -> InstanceProfileList;
    on |op| Target::All("instance-profile");
    run |op, iam, cx| iam.look(cx, |account| {
        let under = |profile: &InstanceProfile| {
            op.path_prefix.as_ref().is_none_or(|prefix| profile.path.starts_with(prefix.as_str()))
        };
        let profiles = account.profiles.iter().filter(|(_, profile)| under(&profile.record));
        let shapes = profiles.map(|(key, profile)| (key, InstanceProfileShape::listed(&id(cx), account, &profile.record)));
        page(shapes, op.marker.as_ref(), op.max_items).map(InstanceProfileList::of)
    })
}
operation! {
    /// Lists the instance profiles of a role.
    ListInstanceProfilesForRole {
        role_name: ShortName,
        marker: Option<Marker>,
        max_items: Option<MaxItems>,
    } -> InstanceProfileList;
    on |op| Target::Role(&op.role_name);
    run |op, iam, cx| iam.look(cx, |account| {
        let role = &account.role(&op.role_name)?.base.name;
        let profiles = account.profiles.iter().filter(|(_, profile)| profile.record.role.as_ref() == Some(role));
        let shapes = profiles.map(|(key, profile)| (key, InstanceProfileShape::listed(&id(cx), account, &profile.record)));
        page(shapes, op.marker.as_ref(), op.max_items).map(InstanceProfileList::of)
    })
}

operation! {
    /// Deletes an instance profile without a role.
    DeleteInstanceProfile { instance_profile_name: Name } -> ();
    on |op| Target::Profile(&op.instance_profile_name);
    run |op, iam, cx| iam.change(cx, |account| {
        let profile = account.profile(&op.instance_profile_name)?;
        if profile.role.is_some() {
            return Err(Error::DeleteConflict("Cannot delete entity, must remove roles from instance profile first."));
        }
        Ok((Change::delete::<InstanceProfile>(id(cx), account, &profile.name), ()))
    })
    .await
}

operation! {
    /// Puts a role into an instance profile, which holds one.
    AddRoleToInstanceProfile { instance_profile_name: Name, role_name: ShortName } -> ();
    on |op| Target::Profile(&op.instance_profile_name);
    also |op, iam, cx| vec![Permission {
        action: "iam:PassRole",
        resource: Target::Role(&op.role_name).arn(iam, cx),
        keys: vec![("iam:PassedToService".into(), vec!["ec2.amazonaws.com".to_owned()])],
        resource_policy: None,
    }];
    run |op, iam, cx| iam.change(cx, |account| {
        let mut profile = account.profile(&op.instance_profile_name)?.clone();
        let role = account.role(&op.role_name)?;
        if profile.role.is_some() {
            return Err(Error::Quota { name: "InstanceSessionsPerInstanceProfile", limit: 1 });
        }
        profile.role = Some(role.base.name.clone());
        Ok((Change::put(id(cx), account, profile)?, ()))
    })
    .await
}

operation! {
    /// Takes the role out of an instance profile.
    RemoveRoleFromInstanceProfile { instance_profile_name: Name, role_name: ShortName } -> ();
    on |op| Target::Profile(&op.instance_profile_name);
    run |op, iam, cx| iam.change(cx, |account| {
        let mut profile = account.profile(&op.instance_profile_name)?.clone();
        let role = account.role(&op.role_name)?;
        if profile.role.as_ref() != Some(&role.base.name) {
            return Err(Error::NoRoleInProfile(op.role_name.to_string()));
        }
        profile.role = None;
        Ok((Change::put(id(cx), account, profile)?, ()))
    })
    .await
}

tag_operations!(
    InstanceProfile, Target::Profile, instance_profile_name: Name;
    TagInstanceProfile UntagInstanceProfile ListInstanceProfileTags
);
