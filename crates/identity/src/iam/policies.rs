//! Managed policies and their versions: the account's own, and AWS's, which can be read and attached only.

use wire::{AccountId, Shape, Timestamp};

use super::holders::{TagList, check_arn, tag_operations};
use super::paging::{Page, listing, page};
use super::shapes::{
    Description, Document, Marker, MaxItems, Name, Path, PolicyArn, TagKeys, TagShape, Tags,
    VersionId, check_name, checked_path, encoded, new_tags, request_tags, tag_keys,
};
use super::target::Target;
use super::{id, now, operation};
use crate::limits::{MANAGED_POLICY_SIZE_MAX, POLICIES_MAX, POLICY_VERSIONS_MAX};
use crate::managed::{self, AwsPolicy};
use crate::policy::{Flavour, Policy, size_without_white_space};
use crate::records::{Identified, ManagedPolicy, PolicyVersion};
use crate::state::{Account, Change};
use crate::{Error, ids};

/// A managed policy in replies.
#[derive(Debug, Shape)]
pub struct PolicyShape {
    policy_name: String,
    policy_id: String,
    arn: String,
    path: String,
    default_version_id: String,
    attachment_count: usize,
    permissions_boundary_usage_count: usize,
    is_attachable: bool,
    description: Option<String>,
    create_date: Timestamp,
    update_date: Timestamp,
    tags: Option<Vec<TagShape>>,
}

/// A managed policy.
#[derive(Debug, Shape)]
pub struct PolicyOutput {
    policy: PolicyShape,
}

impl PolicyShape {
    fn own(id: &AccountId, account: &Account, policy: &ManagedPolicy) -> Self {
        let arn = policy.arn(id).to_string();
        Self {
            policy_name: policy.name.clone(),
            policy_id: policy.id.clone(),
            path: policy.path.clone(),
            default_version_id: version_id(policy.default_version),
            attachment_count: attachments(account, &arn),
            permissions_boundary_usage_count: boundaries(account, &arn),
            is_attachable: true,
            description: None,
            create_date: Timestamp(policy.created_ms),
            update_date: Timestamp(policy.updated_ms),
            tags: None,
            arn,
        }
    }

    fn own_full(id: &AccountId, account: &Account, policy: &ManagedPolicy) -> Self {
        let tags = policy.tags.iter().map(TagShape::from_record).collect();
        Self {
            description: policy.description.clone(),
            tags: Some(tags),
            ..Self::own(id, account, policy)
        }
    }

    fn aws(account: &Account, policy: &AwsPolicy) -> Self {
        Self {
            policy_name: policy.name.clone(),
            policy_id: policy.id.clone(),
            arn: policy.arn.clone(),
            path: policy.path.clone(),
            default_version_id: policy.version.clone(),
            attachment_count: attachments(account, &policy.arn),
            permissions_boundary_usage_count: boundaries(account, &policy.arn),
            is_attachable: true,
            description: None,
            create_date: Timestamp(policy.created_ms),
            update_date: Timestamp(policy.updated_ms),
            tags: None,
        }
    }
}

pub(crate) fn version_id(number: u32) -> String {
    format!("v{number}")
}

fn number_of(id: &str) -> Option<u32> {
    id.strip_prefix('v')?.parse().ok()
}

fn holders(account: &Account) -> impl Iterator<Item = &Identified> {
    let users = account.users.values().map(|user| &user.record.base);
    let groups = account.groups.values().map(|group| &group.record.base);
    let roles = account.roles.values().map(|role| &role.record.base);
    users.chain(groups).chain(roles)
}

fn attachments(account: &Account, arn: &str) -> usize {
    holders(account)
        .filter(|base| base.attached.iter().any(|own| own == arn))
        .count()
}

fn boundaries(account: &Account, arn: &str) -> usize {
    let users = account
        .users
        .values()
        .filter(|user| user.record.boundary.as_deref() == Some(arn))
        .count();
    users
        + account
            .roles
            .values()
            .filter(|role| role.record.boundary.as_deref() == Some(arn))
            .count()
}

fn check_document(document: &Document) -> Result<(), Error> {
    Policy::parse(document, Flavour::Managed)?;
    if size_without_white_space(document) > MANAGED_POLICY_SIZE_MAX {
        return Err(Error::Quota {
            name: "PolicySize",
            limit: MANAGED_POLICY_SIZE_MAX,
        });
    }
    Ok(())
}

/// The account's own policy, which alone can be changed.
fn own<'a>(
    account: &'a Account,
    id: &AccountId,
    arn: &PolicyArn,
) -> Result<&'a ManagedPolicy, Error> {
    check_arn(arn)?;
    if managed::find(arn).is_some() {
        return Err(Error::AwsManaged(arn.to_string()));
    }
    let held = account
        .held_policy(id, arn)
        .ok_or_else(|| Error::NoPolicy(arn.to_string()))?;
    Ok(&held.record)
}

operation! {
    /// Makes a managed policy.
    CreatePolicy {
        policy_name: Name,
        path: Option<Path>,
        policy_document: Document,
        description: Option<Description>,
        tags: Option<Tags>,
    } -> PolicyOutput;
    on |op| Target::New("policy", op.path.as_ref(), &op.policy_name);
    keys |op| request_tags(op.tags.as_ref());
    run |op, iam, cx| {
        check_name("policyName", &op.policy_name)?;
        check_document(&op.policy_document)?;
        let at = now(cx);
        let policy = ManagedPolicy {
            name: op.policy_name.to_string(),
            path: checked_path(op.path.as_ref())?,
            id: ids::unique("ANPA")?,
            created_ms: at,
            updated_ms: at,
            description: op.description.map(Description::into_string),
            tags: new_tags(op.tags.as_ref())?,
            versions: vec![PolicyVersion { number: 1, document: op.policy_document.into_string(), created_ms: at }],
            default_version: 1,
            last_version: 1,
        };
        iam.change(cx, |account| {
            if account.get::<ManagedPolicy>(&policy.name).is_some() {
                return Err(Error::PolicyExists(policy.name.clone()));
            }
            if account.policies.len() >= POLICIES_MAX {
                return Err(Error::Quota { name: "PoliciesPerAccount", limit: POLICIES_MAX });
            }
            let output = PolicyOutput { policy: PolicyShape::own_full(&id(cx), account, &policy) };
            Ok((Change::put(id(cx), account, policy.clone())?, output))
        })
        .await
    }
}

operation! {
    /// Shows a managed policy.
    GetPolicy { policy_arn: PolicyArn } -> PolicyOutput;
    on |op| Target::Policy(&op.policy_arn);
    run |op, iam, cx| {
        check_arn(&op.policy_arn)?;
        iam.look(cx, |account| {
            let policy = match managed::find(&op.policy_arn) {
                Some(policy) => PolicyShape::aws(account, policy),
                None => PolicyShape::own_full(&id(cx), account, own(account, &id(cx), &op.policy_arn)?),
            };
            Ok(PolicyOutput { policy })
        })
    }
}

/// Whose policies to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum PolicyScope {
    /// Everyone's.
    All,
    /// AWS's.
    #[shape(name = "AWS")]
    Aws,
    /// The account's own.
    Local,
}

/// How a policy is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum PolicyUsage {
    /// Attached.
    PermissionsPolicy,
    /// As a boundary.
    PermissionsBoundary,
}

listing! {
    /// Managed policies.
    PolicyList { policies: PolicyShape }
}
operation! {
    /// Lists managed policies.
    ListPolicies {
        scope: Option<PolicyScope>,
        only_attached: Option<bool>,
        path_prefix: Option<Path>,
        policy_usage_filter: Option<PolicyUsage>,
        marker: Option<Marker>,
        max_items: Option<MaxItems>,
    } -> PolicyList;
    on |op| Target::All("policy");
    run |op, iam, cx| iam.look(cx, |account| {
        let scope = op.scope.unwrap_or(PolicyScope::All);
        let aws = managed::all().filter(|_| scope != PolicyScope::Local).map(|policy| PolicyShape::aws(account, policy));
        let own = account.policies.values().filter(|_| scope != PolicyScope::Aws);
        let own = own.map(|policy| PolicyShape::own(&id(cx), account, &policy.record));
        let wanted = |policy: &PolicyShape| {
            let used = match op.policy_usage_filter {
                Some(PolicyUsage::PermissionsBoundary) => policy.permissions_boundary_usage_count,
                Some(PolicyUsage::PermissionsPolicy) => policy.attachment_count,
                None => policy.attachment_count + policy.permissions_boundary_usage_count,
            };
            let must_be_used = op.only_attached.unwrap_or(false) || op.policy_usage_filter.is_some();
            (used > 0 || !must_be_used) && op.path_prefix.as_ref().is_none_or(|prefix| policy.path.starts_with(prefix.as_str()))
        };
        let shapes = own.chain(aws).filter(wanted).map(|policy| (policy.arn.clone(), policy));
        page(shapes, op.marker.as_ref(), op.max_items).map(PolicyList::of)
    })
}

operation! {
    /// Deletes a policy that nothing uses and that has one version left.
    DeletePolicy { policy_arn: PolicyArn } -> ();
    on |op| Target::Policy(&op.policy_arn);
    run |op, iam, cx| iam.change(cx, |account| {
        let policy = own(account, &id(cx), &op.policy_arn)?;
        if attachments(account, &op.policy_arn) + boundaries(account, &op.policy_arn) > 0 {
            return Err(Error::DeleteConflict("Cannot delete a policy attached to entities."));
        }
        if policy.versions.len() > 1 {
            return Err(Error::DeleteConflict(
                "This policy has more than one version. Before you delete a policy, you must delete the policy's \
                 versions. The default version is deleted with the policy.",
            ));
        }
        Ok((Change::delete::<ManagedPolicy>(id(cx), account, &policy.name), ()))
    })
    .await
}

/// A version of a policy.
#[derive(Debug, Shape)]
pub struct PolicyVersionShape {
    document: Option<String>,
    version_id: String,
    is_default_version: bool,
    create_date: Timestamp,
}

/// A version of a policy.
#[derive(Debug, Shape)]
pub struct PolicyVersionOutput {
    policy_version: PolicyVersionShape,
}

impl PolicyVersionShape {
    fn listed(policy: &ManagedPolicy, version: &PolicyVersion) -> Self {
        Self {
            document: None,
            version_id: version_id(version.number),
            is_default_version: version.number == policy.default_version,
            create_date: Timestamp(version.created_ms),
        }
    }

    fn full(policy: &ManagedPolicy, version: &PolicyVersion) -> Self {
        Self {
            document: Some(encoded(&version.document)),
            ..Self::listed(policy, version)
        }
    }

    fn aws(policy: &AwsPolicy, with_document: bool) -> Self {
        Self {
            document: with_document.then(|| encoded(&policy.document)),
            version_id: policy.version.clone(),
            is_default_version: true,
            create_date: Timestamp(policy.updated_ms),
        }
    }
}

operation! {
    /// Adds a version to a policy.
    CreatePolicyVersion {
        policy_arn: PolicyArn,
        policy_document: Document,
        set_as_default: Option<bool>,
    } -> PolicyVersionOutput;
    on |op| Target::Policy(&op.policy_arn);
    run |op, iam, cx| {
        check_document(&op.policy_document)?;
        iam.change(cx, |account| {
            let mut policy = own(account, &id(cx), &op.policy_arn)?.clone();
            if policy.versions.len() >= POLICY_VERSIONS_MAX {
                return Err(Error::PolicyVersions);
            }
            policy.last_version += 1;
            policy.updated_ms = now(cx);
            let number = policy.last_version;
            let version = PolicyVersion { number, document: op.policy_document.to_string(), created_ms: now(cx) };
            if op.set_as_default.unwrap_or(false) {
                policy.default_version = number;
            }
            let output = PolicyVersionOutput { policy_version: PolicyVersionShape::listed(&policy, &version) };
            policy.versions.push(version);
            Ok((Change::put(id(cx), account, policy)?, output))
        })
        .await
    }
}

fn no_version(arn: &PolicyArn, version: &VersionId) -> Error {
    Error::NoPolicyVersion {
        arn: arn.to_string(),
        version: version.to_string(),
    }
}

operation! {
    /// Shows a version, its document percent-encoded.
    GetPolicyVersion { policy_arn: PolicyArn, version_id: VersionId } -> PolicyVersionOutput;
    on |op| Target::Policy(&op.policy_arn);
    run |op, iam, cx| {
        check_arn(&op.policy_arn)?;
        let none = || no_version(&op.policy_arn, &op.version_id);
        if let Some(policy) = managed::find(&op.policy_arn) {
            let there = Some(policy).filter(|policy| *policy.version == *op.version_id).ok_or_else(none)?;
            return Ok(PolicyVersionOutput { policy_version: PolicyVersionShape::aws(there, true) });
        }
        iam.look(cx, |account| {
            let policy = own(account, &id(cx), &op.policy_arn)?;
            let version = number_of(&op.version_id).and_then(|number| policy.version(number)).ok_or_else(none)?;
            Ok(PolicyVersionOutput { policy_version: PolicyVersionShape::full(policy, version) })
        })
    }
}

listing! {
    /// Versions.
    PolicyVersionList { versions: PolicyVersionShape }
}
operation! {
    /// Lists a policy's versions, newest first.
    ListPolicyVersions { policy_arn: PolicyArn, marker: Option<Marker>, max_items: Option<MaxItems> } -> PolicyVersionList;
    on |op| Target::Policy(&op.policy_arn);
    run |op, iam, cx| {
        check_arn(&op.policy_arn)?;
        if let Some(policy) = managed::find(&op.policy_arn) {
            let items = vec![PolicyVersionShape::aws(policy, false)];
            return Ok(PolicyVersionList::of(Page { items, is_truncated: false, marker: None }));
        }
        iam.look(cx, |account| {
            let policy = own(account, &id(cx), &op.policy_arn)?;
            // Pages are ordered by key: counted down, the newest version comes first.
            let key = |version: &PolicyVersion| format!("{:010}", u32::MAX - version.number);
            let versions = policy.versions.iter().map(|version| (key(version), PolicyVersionShape::listed(policy, version)));
            page(versions, op.marker.as_ref(), op.max_items).map(PolicyVersionList::of)
        })
    }
}

operation! {
    /// Deletes a version that is not in force.
    DeletePolicyVersion { policy_arn: PolicyArn, version_id: VersionId } -> ();
    on |op| Target::Policy(&op.policy_arn);
    run |op, iam, cx| iam.change(cx, |account| {
        let mut policy = own(account, &id(cx), &op.policy_arn)?.clone();
        let number = number_of(&op.version_id).filter(|number| policy.version(*number).is_some());
        let number = number.ok_or_else(|| no_version(&op.policy_arn, &op.version_id))?;
        if number == policy.default_version {
            return Err(Error::DeleteConflict("Cannot delete the default version of a policy."));
        }
        policy.versions.retain(|version| version.number != number);
        policy.updated_ms = now(cx);
        Ok((Change::put(id(cx), account, policy)?, ()))
    })
    .await
}

operation! {
    /// Puts a version in force, for everyone the policy is attached to.
    SetDefaultPolicyVersion { policy_arn: PolicyArn, version_id: VersionId } -> ();
    on |op| Target::Policy(&op.policy_arn);
    run |op, iam, cx| iam.change(cx, |account| {
        let mut policy = own(account, &id(cx), &op.policy_arn)?.clone();
        let number = number_of(&op.version_id).filter(|number| policy.version(*number).is_some());
        policy.default_version = number.ok_or_else(|| no_version(&op.policy_arn, &op.version_id))?;
        policy.updated_ms = now(cx);
        Ok((Change::put(id(cx), account, policy)?, ()))
    })
    .await
}

/// What kind of thing uses a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum EntityType {
    /// Users.
    User,
    /// Roles.
    Role,
    /// Groups.
    Group,
    /// Policies of the account's own.
    LocalManagedPolicy,
    /// Policies of AWS's.
    #[shape(name = "AWSManagedPolicy")]
    AwsManagedPolicy,
}

/// A group that a policy is attached to.
#[derive(Debug, Shape)]
pub struct PolicyGroup {
    group_name: String,
    group_id: String,
}

/// A user that a policy is attached to.
#[derive(Debug, Shape)]
pub struct PolicyUser {
    user_name: String,
    user_id: String,
}

/// A role that a policy is attached to.
#[derive(Debug, Shape)]
pub struct PolicyRole {
    role_name: String,
    role_id: String,
}

/// Everything that a policy is attached to.
#[derive(Debug, Shape)]
pub struct PolicyEntities {
    policy_groups: Vec<PolicyGroup>,
    policy_users: Vec<PolicyUser>,
    policy_roles: Vec<PolicyRole>,
    is_truncated: bool,
    marker: Option<String>,
}

operation! {
    /// Lists what a policy is attached to, or is the boundary of.
    ListEntitiesForPolicy {
        policy_arn: PolicyArn,
        entity_filter: Option<EntityType>,
        path_prefix: Option<Path>,
        policy_usage_filter: Option<PolicyUsage>,
        marker: Option<Marker>,
        max_items: Option<MaxItems>,
    } -> PolicyEntities;
    on |op| Target::Policy(&op.policy_arn);
    run |op, iam, cx| {
        check_arn(&op.policy_arn)?;
        iam.look(cx, |account| {
            if managed::find(&op.policy_arn).is_none() {
                own(account, &id(cx), &op.policy_arn)?;
            }
            let page = page(op.entities(account), op.marker.as_ref(), op.max_items)?;
            let mut output = PolicyEntities {
                policy_groups: Vec::new(),
                policy_users: Vec::new(),
                policy_roles: Vec::new(),
                is_truncated: page.is_truncated,
                marker: page.marker,
            };
            for (kind, base) in page.items {
                let (name, id) = (base.name.clone(), base.id.clone());
                match kind {
                    EntityType::User => output.policy_users.push(PolicyUser { user_name: name, user_id: id }),
                    EntityType::Group => output.policy_groups.push(PolicyGroup { group_name: name, group_id: id }),
                    _ => output.policy_roles.push(PolicyRole { role_name: name, role_id: id }),
                }
            }
            Ok(output)
        })
    }
}

impl ListEntitiesForPolicy {
    fn entities<'a>(&self, account: &'a Account) -> Vec<(String, (EntityType, &'a Identified))> {
        let users = account.users.values().map(|user| &user.record);
        let users = users.map(|user| (EntityType::User, &user.base, user.boundary.as_deref()));
        let groups = account
            .groups
            .values()
            .map(|group| (EntityType::Group, &group.record.base, None));
        let roles = account.roles.values().map(|role| &role.record);
        let roles = roles.map(|role| (EntityType::Role, &role.base, role.boundary.as_deref()));
        let wanted = |kind: EntityType, base: &Identified, boundary: Option<&str>| {
            let attached = base.attached.iter().any(|own| **own == *self.policy_arn);
            let limits = boundary == Some(&*self.policy_arn);
            let used = match self.policy_usage_filter {
                Some(PolicyUsage::PermissionsPolicy) => attached,
                Some(PolicyUsage::PermissionsBoundary) => limits,
                None => attached || limits,
            };
            used && self.entity_filter.is_none_or(|filter| filter == kind)
                && self
                    .path_prefix
                    .as_ref()
                    .is_none_or(|prefix| base.path.starts_with(prefix.as_str()))
        };
        users
            .chain(groups)
            .chain(roles)
            .filter(|(kind, base, boundary)| wanted(*kind, base, *boundary))
            .map(|(kind, base, _)| {
                (
                    format!("{kind:?}/{}", base.name.to_ascii_lowercase()),
                    (kind, base),
                )
            })
            .collect()
    }
}

/// A managed policy with all its versions.
#[derive(Debug, Shape)]
pub struct ManagedPolicyDetail {
    policy_name: String,
    policy_id: String,
    arn: String,
    path: String,
    default_version_id: String,
    attachment_count: usize,
    permissions_boundary_usage_count: usize,
    is_attachable: bool,
    description: Option<String>,
    create_date: Timestamp,
    update_date: Timestamp,
    policy_version_list: Vec<PolicyVersionShape>,
}

impl ManagedPolicyDetail {
    fn new(policy: PolicyShape, versions: Vec<PolicyVersionShape>) -> Self {
        Self {
            policy_name: policy.policy_name,
            policy_id: policy.policy_id,
            arn: policy.arn,
            path: policy.path,
            default_version_id: policy.default_version_id,
            attachment_count: policy.attachment_count,
            permissions_boundary_usage_count: policy.permissions_boundary_usage_count,
            is_attachable: policy.is_attachable,
            description: policy.description,
            create_date: policy.create_date,
            update_date: policy.update_date,
            policy_version_list: versions,
        }
    }

    pub(crate) fn own(id: &AccountId, account: &Account, policy: &ManagedPolicy) -> Self {
        let versions = policy
            .versions
            .iter()
            .rev()
            .map(|version| PolicyVersionShape::full(policy, version))
            .collect();
        Self::new(PolicyShape::own(id, account, policy), versions)
    }

    /// AWS's policies are part of the account's details where something uses them.
    pub(crate) fn aws_in_use(account: &Account) -> Vec<Self> {
        let used = managed::all().map(|policy| (policy, PolicyShape::aws(account, policy)));
        used.filter(|(_, shape)| {
            shape.attachment_count + shape.permissions_boundary_usage_count > 0
        })
        .map(|(policy, shape)| Self::new(shape, vec![PolicyVersionShape::aws(policy, true)]))
        .collect()
    }

    pub(crate) fn arn(&self) -> &str {
        &self.arn
    }
}

tag_operations!(ManagedPolicy, Target::Policy, policy_arn: PolicyArn; TagPolicy UntagPolicy ListPolicyTags);
