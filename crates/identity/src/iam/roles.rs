//! Roles, those linked to services included.

use std::collections::BTreeMap;

use wire::{AccountId, Arn, Context, Keys, Shape};

use super::holders::{
    AttachedPolicies, Holder as _, PolicyNames, TagList, policy_operations, tag_operations,
};
use super::paging::{listing, page};
use super::shapes::{
    Description, Document, Empty, Marker, MaxItems, Name, Path, PolicyArn, RoleShape,
    SessionSecondsMax, ShortName, Suffix, TagKeys, Tags, check_name, checked_path, encoded,
    new_tags, request_tags, tag_keys,
};
use super::target::{Target, asked_boundary, policy_arn};
use super::users::check_boundary;
use super::{id, operation};
use crate::limits::{ROLES_MAX, TRUST_POLICY_SIZE_MAX};
use crate::policy::{Flavour, Policy, PolicyError, size_without_white_space};
use crate::records::{Identified, Role};
use crate::state::{Change, Entity, State};
use crate::{Error, Identity, ids};

/// How long sessions of a role may last when nobody says otherwise.
const SESSION_SECONDS: i64 = 3_600;
/// Where roles live that are linked to a service.
const SERVICE_PATH: &str = "/aws-service-role/";

/// A role.
#[derive(Debug, Shape)]
pub struct RoleOutput {
    role: RoleShape,
}

operation! {
    /// Makes a role.
    CreateRole {
        path: Option<Path>,
        role_name: ShortName,
        assume_role_policy_document: Document,
        description: Option<Description>,
        max_session_duration: Option<SessionSecondsMax>,
        permissions_boundary: Option<PolicyArn>,
        tags: Option<Tags>,
    } -> RoleOutput;
    on |op| Target::New("role", op.path.as_ref(), &op.role_name);
    keys |op| {
        let mut keys = request_tags(op.tags.as_ref());
        keys.extend(asked_boundary(op.permissions_boundary.as_deref()));
        keys
    };
    run |op, iam, cx| {
        check_name("roleName", &op.role_name)?;
        let path = checked_path(op.path.as_ref())?;
        if path.starts_with(SERVICE_PATH) {
            return Err(Error::InvalidInput(format!("The path {SERVICE_PATH} is reserved for service-linked roles.")));
        }
        let trusted_ids = trusted(&iam.0, cx, &op.assume_role_policy_document)?;
        let role = Role {
            base: Identified::new(&op.role_name, path, ids::unique("AROA")?, cx),
            tags: new_tags(op.tags.as_ref())?,
            boundary: op.permissions_boundary.map(PolicyArn::into_string),
            description: op.description.map(Description::into_string),
            session_seconds_max: op.max_session_duration.map_or(SESSION_SECONDS, SessionSecondsMax::get),
            trust: op.assume_role_policy_document.into_string(),
            trusted_ids,
            service: None,
        };
        create(&iam.0, cx, &role).await?;
        Ok(RoleOutput { role: RoleShape::created(&id(cx), &role).with_tags(&role) })
    }
}

async fn create(identity: &Identity, cx: &Context, role: &Role) -> Result<(), Error> {
    let change = identity.0.book.change(&cx.scope.account, |_, account| {
        if account.role(&role.base.name).is_ok() {
            return Err(Error::Exists {
                noun: "Role",
                name: role.base.name.clone(),
            });
        }
        if account.roles.len() >= ROLES_MAX {
            return Err(Error::Quota {
                name: "RolesPerAccount",
                limit: ROLES_MAX,
            });
        }
        check_boundary(account, cx, role.boundary.as_deref())?;
        Ok((Change::put(id(cx), account, role.clone())?, ()))
    });
    change.await
}

/// Checks a trust policy, and notes the unique ids of the users and roles that it names.
fn trusted(
    identity: &Identity,
    cx: &Context,
    document: &str,
) -> Result<BTreeMap<String, String>, Error> {
    let policy = Policy::parse(document, Flavour::Trust)?;
    if size_without_white_space(document) > TRUST_POLICY_SIZE_MAX {
        return Err(Error::Quota {
            name: "ACLSizePerRole",
            limit: TRUST_POLICY_SIZE_MAX,
        });
    }
    identity.0.book.read(|state| {
        let mut ids = BTreeMap::new();
        for arn in policy.principal_arns() {
            let id = unique_id(state, arn, cx)
                .ok_or_else(|| PolicyError::InvalidPrincipal(format!("\"AWS\":\"{arn}\"")))?;
            ids.extend(id.map(|id| (arn.to_owned(), id)));
        }
        Ok(ids)
    })
}

/// The unique id of a user or role in any account here: `None` for one that is not there, `Some(None)` for sessions,
/// which need not exist yet.
fn unique_id(state: &State, text: &str, cx: &Context) -> Option<Option<String>> {
    let arn = Arn::parse(text)?;
    let id = AccountId::new(arn.account())?;
    let account = state.account(&id);
    if id == cx.scope.account && account.is_none() {
        return None;
    }
    let name = arn.resource().rsplit('/').next()?;
    match arn.resource().split('/').next()? {
        "user" => {
            let user = account?.user(name).ok()?;
            (user.arn(&id) == arn).then(|| Some(user.base.id.clone()))
        }
        "role" => {
            let role = account?.role(name).ok()?;
            (role.arn(&id) == arn).then(|| Some(role.base.id.clone()))
        }
        _ => Some(None),
    }
}

operation! {
    /// Shows a role.
    GetRole { role_name: ShortName } -> RoleOutput;
    on |op| Target::Role(&op.role_name);
    run |op, iam, cx| iam.look(cx, |account| {
        let role = account.role(&op.role_name)?;
        Ok(RoleOutput { role: RoleShape::full(&iam.0, &id(cx), role) })
    })
}

listing! {
    /// Roles.
    RoleList { roles: RoleShape }
}
operation! {
    /// Lists roles.
    ListRoles { path_prefix: Option<Path>, marker: Option<Marker>, max_items: Option<MaxItems> } -> RoleList;
    on |op| Target::All("role");
    run |op, iam, cx| iam.look(cx, |account| {
        let under = |role: &Role| op.path_prefix.as_ref().is_none_or(|prefix| role.base.path.starts_with(prefix.as_str()));
        let roles = account.roles.iter().filter(|(_, role)| under(&role.record));
        let shapes = roles.map(|(key, role)| (key, RoleShape::listed(&id(cx), &role.record)));
        page(shapes, op.marker.as_ref(), op.max_items).map(RoleList::of)
    })
}

operation! {
    /// Changes a role's description and longest session.
    UpdateRole {
        role_name: ShortName,
        description: Option<Description>,
        max_session_duration: Option<SessionSecondsMax>,
    } -> Empty;
    on |op| Target::Role(&op.role_name);
    run |op, iam, cx| {
        iam.edit::<Role>(cx, &op.role_name, |_, role| {
            // "If you do not specify a value for this setting, the default value of one hour is applied."
            role.session_seconds_max = op.max_session_duration.map_or(SESSION_SECONDS, SessionSecondsMax::get);
            role.description = op.description.as_ref().map(|text| text.to_string());
            Ok(())
        })
        .await?;
        Ok(Empty {})
    }
}

operation! {
    /// Changes a role's description.
    UpdateRoleDescription { role_name: ShortName, description: Description } -> RoleOutput;
    on |op| Target::Role(&op.role_name);
    run |op, iam, cx| {
        iam.edit::<Role>(cx, &op.role_name, |_, role| {
            role.description = Some(op.description.to_string());
            Ok(())
        })
        .await?;
        iam.look(cx, |account| Ok(RoleOutput { role: RoleShape::listed(&id(cx), account.role(&op.role_name)?) }))
    }
}

operation! {
    /// Replaces a role's trust policy.
    UpdateAssumeRolePolicy { role_name: ShortName, policy_document: Document } -> ();
    on |op| Target::Role(&op.role_name);
    run |op, iam, cx| {
        iam.look(cx, |account| account.role(&op.role_name).and_then(crate::iam::holders::Holder::may_change))?;
        let ids = trusted(&iam.0, cx, &op.policy_document)?;
        iam.edit::<Role>(cx, &op.role_name, |_, role| {
            role.trust = op.policy_document.to_string();
            role.trusted_ids = ids.clone();
            Ok(())
        })
        .await
    }
}

operation! {
    /// Deletes a role that has nothing left.
    DeleteRole { role_name: ShortName } -> ();
    on |op| Target::Role(&op.role_name);
    run |op, iam, cx| iam.change(cx, |account| {
        let role = account.role(&op.role_name)?;
        role.may_change()?;
        if account.profiles.values().any(|profile| profile.record.role.as_deref() == Some(role.name())) {
            return Err(Error::DeleteConflict("Cannot delete entity, must remove roles from instance profile first."));
        }
        if !role.base.attached.is_empty() {
            return Err(Error::DeleteConflict("Cannot delete entity, must detach all policies first."));
        }
        if !role.base.inline.is_empty() {
            return Err(Error::DeleteConflict("Cannot delete entity, must delete policies first."));
        }
        Ok((Change::delete::<Role>(id(cx), account, role.name()), ()))
    })
    .await
}

operation! {
    /// Limits a role to what a managed policy allows.
    PutRolePermissionsBoundary { role_name: ShortName, permissions_boundary: PolicyArn } -> ();
    on |op| Target::Role(&op.role_name);
    keys |op| asked_boundary(Some(&op.permissions_boundary));
    run |op, iam, cx| iam.edit::<Role>(cx, &op.role_name, |account, role| {
        check_boundary(account, cx, Some(&op.permissions_boundary))?;
        role.boundary = Some(op.permissions_boundary.to_string());
        Ok(())
    })
    .await
}

operation! {
    /// Lifts a role's limit.
    DeleteRolePermissionsBoundary { role_name: ShortName } -> ();
    on |op| Target::Role(&op.role_name);
    run |op, iam, cx| iam.edit::<Role>(cx, &op.role_name, |_, role| {
        role.boundary = None;
        Ok(())
    })
    .await
}

/// Services that link roles to themselves: principal, and the role's name after `AWSServiceRoleFor`
/// (`IAM/latest/UserGuide/reference_aws-services-that-work-with-iam.html`).
const LINKED: &[(&str, &str)] = &[
    (
        "apidestinations.events.amazonaws.com",
        "AmazonEventBridgeApiDestinations",
    ),
    ("autoscaling.amazonaws.com", "AutoScaling"),
    (
        "dynamodb.application-autoscaling.amazonaws.com",
        "ApplicationAutoScaling_DynamoDBTable",
    ),
    ("elasticloadbalancing.amazonaws.com", "ElasticLoadBalancing"),
    ("events.amazonaws.com", "CloudWatchEvents"),
    (
        "kinesisreplication.dynamodb.amazonaws.com",
        "KinesisReplicationForDynamoDB",
    ),
    ("lambda.amazonaws.com", "Lambda"),
    (
        "lambda.application-autoscaling.amazonaws.com",
        "ApplicationAutoScaling_LambdaConcurrency",
    ),
    ("logger.cloudfront.amazonaws.com", "CloudFrontLogger"),
    ("ops.apigateway.amazonaws.com", "APIGateway"),
    ("rds.amazonaws.com", "RDS"),
    ("replicator.lambda.amazonaws.com", "LambdaReplicator"),
    ("schemas.amazonaws.com", "Schemas"),
    ("xray.amazonaws.com", "XRay"),
];
/// The one of these that tells its roles apart by suffixes.
const WITH_SUFFIX: &str = "autoscaling.amazonaws.com";

operation! {
    /// Makes the role that a service keeps for itself.
    CreateServiceLinkedRole {
        #[shape(name = "AWSServiceName")]
        aws_service_name: Name,
        description: Option<Description>,
        custom_suffix: Option<Suffix>,
    } -> RoleOutput;
    on |op| Target::New("role", None, linked_name(&op.aws_service_name).unwrap_or("aws-service-role"));
    keys |op| service_name(&op.aws_service_name);
    run |op, iam, cx| {
        let service = &op.aws_service_name;
        let unsupported = || Error::InvalidInput(format!("Service principal {service} does not have a service-linked role."));
        let mut name = format!("AWSServiceRoleFor{}", linked_name(service).ok_or_else(unsupported)?);
        if let Some(suffix) = &op.custom_suffix {
            check_name("customSuffix", suffix)?;
            if **service != *WITH_SUFFIX {
                return Err(Error::InvalidInput("Custom suffix is not allowed for this service.".to_owned()));
            }
            name = format!("{name}_{}", &**suffix);
        }
        let role = Role {
            base: Identified::new(&name, format!("{SERVICE_PATH}{service}/"), ids::unique("AROA")?, cx),
            tags: Vec::new(),
            boundary: None,
            description: op.description.as_ref().map(|text| text.to_string()),
            session_seconds_max: SESSION_SECONDS,
            trust: service_trust(service),
            trusted_ids: BTreeMap::new(),
            service: Some(service.to_string()),
        };
        match create(&iam.0, cx, &role).await {
            Err(Error::Exists { name, .. }) => Err(Error::InvalidInput(format!(
                "Service role name {name} has been taken in this account, please try a different suffix."
            ))),
            Err(error) => Err(error),
            Ok(()) => Ok(RoleOutput { role: RoleShape::created(&id(cx), &role) }),
        }
    }
}

fn service_name(service: &str) -> Keys {
    vec![("iam:AWSServiceName".into(), vec![service.to_owned()])]
}

fn linked_name(service: &str) -> Option<&'static str> {
    LINKED
        .iter()
        .find(|(own, _)| *own == service)
        .map(|(_, name)| *name)
}

fn service_trust(service: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"Service":["{service}"]}},"Action":["sts:AssumeRole"]}}]}}"#
    )
}

/// The deletion of a service-linked role.
#[derive(Debug, Shape)]
pub struct DeletionTask {
    deletion_task_id: String,
}

operation! {
    /// Deletes the role that a service keeps for itself. AWS takes its time; here it is done at once.
    DeleteServiceLinkedRole { role_name: ShortName } -> DeletionTask;
    on |op| Target::Role(&op.role_name);
    run |op, iam, cx| {
        let task = ids::unique("")?;
        iam.change(cx, |account| {
            let role = account.role(&op.role_name)?;
            let Some(service) = &role.service else { return Err(Error::not_found("role", &op.role_name)) };
            let deletion_task_id = format!("task{SERVICE_PATH}{service}/{}/{task}", role.name());
            Ok((Change::delete::<Role>(id(cx), account, role.name()), DeletionTask { deletion_task_id }))
        })
        .await
    }
}

/// How far a deletion is.
#[derive(Debug, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeletionStatus {
    /// Done.
    Succeeded,
    /// Under way.
    InProgress,
    /// Refused by the service.
    Failed,
    /// Waiting.
    NotStarted,
}

/// How far a deletion is.
#[derive(Debug, Shape)]
pub struct DeletionStatusOutput {
    status: DeletionStatus,
}

wire::text! {
    /// What `DeleteServiceLinkedRole` answered.
    pub struct TaskId: 1..=1_000;
}

operation! {
    /// Shows how far a deletion is: done, for every task that was ever given out.
    GetServiceLinkedRoleDeletionStatus { deletion_task_id: TaskId } -> DeletionStatusOutput;
    on |op| Target::Role(op.deletion_task_id.rsplit('/').nth(1).unwrap_or_default());
    run |op, iam, cx| {
        let parts: Vec<&str> = op.deletion_task_id.split('/').collect();
        match parts.as_slice() {
            ["task", "aws-service-role", service, _, _] if linked_name(service).is_some() => {
                Ok(DeletionStatusOutput { status: DeletionStatus::Succeeded })
            }
            _ => Err(Error::NoDeletionTask(op.deletion_task_id.to_string())),
        }
    }
}

tag_operations!(Role, Target::Role, role_name: ShortName; TagRole UntagRole ListRoleTags);
policy_operations!(
    Role, Target::Role, role_name: ShortName;
    PutRolePolicy GetRolePolicy -> RolePolicy, DeleteRolePolicy ListRolePolicies AttachRolePolicy DetachRolePolicy
    ListAttachedRolePolicies
);
