//! The account: its alias, its numbers, and everything in it at once.

use std::collections::BTreeMap;

use wire::{AccountId, Shape, Timestamp};

use super::holders::AttachedPolicy;
use super::paging::{listing, page};
use super::policies::{EntityType, ManagedPolicyDetail};
use super::shapes::{
    Alias, BoundaryShape, InstanceProfileShape, Marker, MaxItems, RoleLastUsed, TagShape, encoded,
};
use super::target::Target;
use super::{id, operation};
use crate::limits::{
    ACCESS_KEYS_MAX, ATTACHED_POLICIES_MAX, GROUP_POLICY_SIZE_MAX, GROUPS_MAX, GROUPS_PER_USER_MAX,
    INSTANCE_PROFILES_MAX, MANAGED_POLICY_SIZE_MAX, POLICIES_MAX, POLICY_VERSIONS_MAX,
    ROLE_POLICY_SIZE_MAX, ROLES_MAX, TRUST_POLICY_SIZE_MAX, USER_POLICY_SIZE_MAX, USERS_MAX,
};
use crate::records::{Group, Identified, Role, Root, User};
use crate::state::{Account, Change};
use crate::{Error, Identity};

operation! {
    /// Gives the account a name. It has at most one: a new one replaces the old.
    CreateAccountAlias { account_alias: Alias } -> ();
    on |op| Target::None;
    run |op, iam, cx| {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let alias = op.account_alias.as_str();
        let form = alias.bytes().all(legal) && !alias.starts_with('-') && !alias.ends_with('-') && !alias.contains("--");
        if !form {
            return Err(Error::Validation("The account alias must contain only digits, lowercase letters, and hyphens (-), but cannot begin or end with a hyphen.".to_owned()));
        }
        let change = iam.0.0.book.change(&cx.scope.account, |state, account| {
            let of = |other: &AccountId| state.account(other).and_then(|account| account.root()?.alias.clone());
            if state.account_ids().any(|other| *other != id(cx) && of(other).as_deref() == Some(alias)) {
                return Err(Error::AliasExists(alias.to_owned()));
            }
            let root = Root { alias: Some(alias.to_owned()), ..account.root().cloned().unwrap_or_default() };
            Ok((Change::put(id(cx), account, root)?, ()))
        });
        change.await
    }
}

operation! {
    /// Takes the account's name away.
    DeleteAccountAlias { account_alias: Alias } -> ();
    on |op| Target::None;
    run |op, iam, cx| iam.change(cx, |account| {
        let root = account.root().cloned().unwrap_or_default();
        if root.alias.as_deref() != Some(&*op.account_alias) {
            return Err(Error::NoAlias(op.account_alias.to_string()));
        }
        Ok((Change::put(id(cx), account, Root { alias: None, ..root })?, ()))
    })
    .await
}

listing! {
    /// Names of the account: none or one.
    AliasList { account_aliases: String }
}
operation! {
    /// Lists the account's name.
    ListAccountAliases { marker: Option<Marker>, max_items: Option<MaxItems> } -> AliasList;
    on |op| Target::None;
    run |op, iam, cx| iam.look(cx, |account| {
        let alias = account.root().and_then(|root| root.alias.clone());
        page(alias.map(|alias| (alias.clone(), alias)), op.marker.as_ref(), op.max_items).map(AliasList::of)
    })
}

/// Numbers by name.
#[derive(Debug, Shape)]
pub struct AccountSummary {
    summary_map: BTreeMap<String, usize>,
}

operation! {
    /// Counts what is in the account, beside its quotas.
    GetAccountSummary {} -> AccountSummary;
    on |op| Target::None;
    run |op, iam, cx| iam.look(cx, |account| {
        let versions = account.policies.values().map(|policy| policy.record.versions.len()).sum();
        let root_keys = account.root().is_some_and(|root| !root.keys.is_empty());
        let numbers = [
            ("Users", account.users.len()),
            ("UsersQuota", USERS_MAX),
            ("Groups", account.groups.len()),
            ("GroupsQuota", GROUPS_MAX),
            ("Roles", account.roles.len()),
            ("RolesQuota", ROLES_MAX),
            ("Policies", account.policies.len()),
            ("PoliciesQuota", POLICIES_MAX),
            ("PolicyVersionsInUse", versions),
            ("PolicyVersionsInUseQuota", POLICIES_MAX * POLICY_VERSIONS_MAX),
            ("VersionsPerPolicyQuota", POLICY_VERSIONS_MAX),
            ("PolicySizeQuota", MANAGED_POLICY_SIZE_MAX),
            ("InstanceProfiles", account.profiles.len()),
            ("InstanceProfilesQuota", INSTANCE_PROFILES_MAX),
            ("GroupsPerUserQuota", GROUPS_PER_USER_MAX),
            ("AccessKeysPerUserQuota", ACCESS_KEYS_MAX),
            ("AttachedPoliciesPerUserQuota", ATTACHED_POLICIES_MAX),
            ("AttachedPoliciesPerGroupQuota", ATTACHED_POLICIES_MAX),
            ("AttachedPoliciesPerRoleQuota", ATTACHED_POLICIES_MAX),
            ("UserPolicySizeQuota", USER_POLICY_SIZE_MAX),
            ("GroupPolicySizeQuota", GROUP_POLICY_SIZE_MAX),
            ("RolePolicySizeQuota", ROLE_POLICY_SIZE_MAX),
            ("AssumeRolePolicySizeQuota", TRUST_POLICY_SIZE_MAX),
            ("AccountAccessKeysPresent", usize::from(root_keys)),
            ("AccountMFAEnabled", 0),
            ("AccountPasswordPresent", 0),
            ("AccountSigningCertificatesPresent", 0),
            ("GlobalEndpointTokenVersion", 2),
            ("MFADevices", 0),
            ("MFADevicesInUse", 0),
            ("Providers", 0),
            ("ServerCertificates", 0),
            ("ServerCertificatesQuota", 20),
            ("SigningCertificatesPerUserQuota", 2),
        ];
        let summary_map = numbers.into_iter().map(|(name, number)| (name.to_owned(), number)).collect();
        Ok(AccountSummary { summary_map })
    })
}

/// An inline policy, its document percent-encoded.
#[derive(Debug, Shape)]
pub struct PolicyDetail {
    policy_name: String,
    policy_document: String,
}

/// A user with everything that belongs to them.
#[derive(Debug, Shape)]
pub struct UserDetail {
    path: String,
    user_name: String,
    user_id: String,
    arn: String,
    create_date: Timestamp,
    user_policy_list: Vec<PolicyDetail>,
    group_list: Vec<String>,
    attached_managed_policies: Vec<AttachedPolicy>,
    permissions_boundary: Option<BoundaryShape>,
    tags: Vec<TagShape>,
}

/// A group with everything that belongs to it.
#[derive(Debug, Shape)]
pub struct GroupDetail {
    path: String,
    group_name: String,
    group_id: String,
    arn: String,
    create_date: Timestamp,
    group_policy_list: Vec<PolicyDetail>,
    attached_managed_policies: Vec<AttachedPolicy>,
}

/// A role with everything that belongs to it.
#[derive(Debug, Shape)]
pub struct RoleDetail {
    path: String,
    role_name: String,
    role_id: String,
    arn: String,
    create_date: Timestamp,
    assume_role_policy_document: String,
    instance_profile_list: Vec<InstanceProfileShape>,
    role_policy_list: Vec<PolicyDetail>,
    attached_managed_policies: Vec<AttachedPolicy>,
    permissions_boundary: Option<BoundaryShape>,
    tags: Vec<TagShape>,
    role_last_used: RoleLastUsed,
}

/// Everything in the account, a page of it.
#[derive(Debug, Shape)]
pub struct AccountDetails {
    user_detail_list: Vec<UserDetail>,
    group_detail_list: Vec<GroupDetail>,
    role_detail_list: Vec<RoleDetail>,
    policies: Vec<ManagedPolicyDetail>,
    is_truncated: bool,
    marker: Option<String>,
}

enum Detail {
    User(Box<UserDetail>),
    Group(Box<GroupDetail>),
    Role(Box<RoleDetail>),
    Policy(Box<ManagedPolicyDetail>),
}

operation! {
    /// Shows everything in the account.
    GetAccountAuthorizationDetails {
        filter: Option<Vec<EntityType>>,
        max_items: Option<MaxItems>,
        marker: Option<Marker>,
    } -> AccountDetails;
    on |op| Target::None;
    run |op, iam, cx| iam.look(cx, |account| {
        let wanted = |kind| op.filter.as_ref().is_none_or(|filter| filter.is_empty() || filter.contains(&kind));
        let page = page(details(&iam.0, &id(cx), account, wanted), op.marker.as_ref(), op.max_items)?;
        let mut output = AccountDetails {
            user_detail_list: Vec::new(),
            group_detail_list: Vec::new(),
            role_detail_list: Vec::new(),
            policies: Vec::new(),
            is_truncated: page.is_truncated,
            marker: page.marker,
        };
        for detail in page.items {
            match detail {
                Detail::User(user) => output.user_detail_list.push(*user),
                Detail::Group(group) => output.group_detail_list.push(*group),
                Detail::Role(role) => output.role_detail_list.push(*role),
                Detail::Policy(policy) => output.policies.push(*policy),
            }
        }
        Ok(output)
    })
}

fn details(
    identity: &Identity,
    id: &AccountId,
    account: &Account,
    wanted: impl Fn(EntityType) -> bool,
) -> Vec<(String, Detail)> {
    let mut all = Vec::new();
    if wanted(EntityType::User) {
        let users = account
            .users
            .iter()
            .map(|(key, user)| (key, user_detail(id, account, &user.record)));
        all.extend(users.map(|(key, user)| (format!("user/{key}"), Detail::User(Box::new(user)))));
    }
    if wanted(EntityType::Group) {
        let groups = account
            .groups
            .iter()
            .map(|(key, group)| (key, group_detail(id, &group.record)));
        all.extend(
            groups.map(|(key, group)| (format!("group/{key}"), Detail::Group(Box::new(group)))),
        );
    }
    if wanted(EntityType::Role) {
        let roles = account
            .roles
            .iter()
            .map(|(key, role)| (key, role_detail(identity, id, account, &role.record)));
        all.extend(roles.map(|(key, role)| (format!("role/{key}"), Detail::Role(Box::new(role)))));
    }
    let mut policies = Vec::new();
    if wanted(EntityType::LocalManagedPolicy) {
        policies.extend(
            account
                .policies
                .values()
                .map(|held| ManagedPolicyDetail::own(id, account, &held.record)),
        );
    }
    if wanted(EntityType::AwsManagedPolicy) {
        policies.extend(ManagedPolicyDetail::aws_in_use(account));
    }
    all.extend(policies.into_iter().map(|policy| {
        (
            format!("policy/{}", policy.arn()),
            Detail::Policy(Box::new(policy)),
        )
    }));
    all
}

fn inline(base: &Identified) -> Vec<PolicyDetail> {
    let detail = |(name, text): (&String, &String)| PolicyDetail {
        policy_name: name.clone(),
        policy_document: encoded(text),
    };
    base.inline.iter().map(detail).collect()
}

fn attached(base: &Identified) -> Vec<AttachedPolicy> {
    base.attached
        .iter()
        .map(|arn| AttachedPolicy::of(arn))
        .collect()
}

fn user_detail(id: &AccountId, account: &Account, user: &User) -> UserDetail {
    UserDetail {
        path: user.base.path.clone(),
        user_name: user.base.name.clone(),
        user_id: user.base.id.clone(),
        arn: user.arn(id).to_string(),
        create_date: Timestamp(user.base.created_ms),
        user_policy_list: inline(&user.base),
        group_list: account
            .groups_of(user)
            .map(|group| group.record.base.name.clone())
            .collect(),
        attached_managed_policies: attached(&user.base),
        permissions_boundary: BoundaryShape::of(user.boundary.as_ref()),
        tags: user.tags.iter().map(TagShape::from_record).collect(),
    }
}

fn group_detail(id: &AccountId, group: &Group) -> GroupDetail {
    GroupDetail {
        path: group.base.path.clone(),
        group_name: group.base.name.clone(),
        group_id: group.base.id.clone(),
        arn: group.arn(id).to_string(),
        create_date: Timestamp(group.base.created_ms),
        group_policy_list: inline(&group.base),
        attached_managed_policies: attached(&group.base),
    }
}

fn role_detail(identity: &Identity, id: &AccountId, account: &Account, role: &Role) -> RoleDetail {
    let profiles = account.profiles.values().map(|profile| &profile.record);
    let profiles = profiles.filter(|profile| profile.role.as_ref() == Some(&role.base.name));
    RoleDetail {
        path: role.base.path.clone(),
        role_name: role.base.name.clone(),
        role_id: role.base.id.clone(),
        arn: role.arn(id).to_string(),
        create_date: Timestamp(role.base.created_ms),
        assume_role_policy_document: encoded(&role.trust),
        instance_profile_list: profiles
            .map(|profile| InstanceProfileShape::listed(id, account, profile))
            .collect(),
        role_policy_list: inline(&role.base),
        attached_managed_policies: attached(&role.base),
        permissions_boundary: BoundaryShape::of(role.boundary.as_ref()),
        tags: role.tags.iter().map(TagShape::from_record).collect(),
        role_last_used: RoleLastUsed::of(identity, role),
    }
}
