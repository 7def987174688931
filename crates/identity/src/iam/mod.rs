//! IAM, the service (`IAM/latest/APIReference`): its operations, each a type beside its siblings in a module named as
//! AWS names the thing.

pub mod access_keys;
pub mod account;
pub mod groups;
mod holders;
pub mod instance_profiles;
mod paging;
pub mod policies;
pub mod roles;
mod shapes;
pub mod simulation;
mod target;
pub mod users;

use wire::{AccountId, Context, Protocol, Route, Service, Unbuilt};

use crate::state::{Account, Change, State};
use crate::{Error, Identity};
pub(crate) use shapes::{Tags, Unfulfilled, new_tags, request_tags};
use target::Target;

/// The IAM service.
#[derive(Clone)]
pub struct Iam(pub Identity);

impl Iam {
    pub(crate) fn look<T>(
        &self,
        cx: &Context,
        look: impl FnOnce(&Account) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.0.0.book.look(&cx.scope.account, look)
    }

    /// Decides on a change in the caller's account and carries it out.
    pub(crate) async fn change<T>(
        &self,
        cx: &Context,
        mut decide: impl FnMut(&Account) -> Result<(Change, T), Error>,
    ) -> Result<T, Error> {
        self.0
            .0
            .book
            .change(&cx.scope.account, |_: &State, account| decide(account))
            .await
    }
}

/// The account of a request: its caller's.
pub(crate) fn id(cx: &Context) -> AccountId {
    cx.scope.account
}

/// When a request was made, in whole seconds as IAM tells time.
pub(crate) fn now(cx: &Context) -> i64 {
    cx.now_ms.div_euclid(1000) * 1000
}

/// Declares an operation: its members, its reply, what it is authorized on, and its body.
macro_rules! operation {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? } -> $output:ty;
        on |$target_of:ident| $target:expr;
        $(keys |$keys_of:ident| $keys:expr;)?
        $(also |$also_of:ident, $also_iam:ident, $also_cx:ident| $also:expr;)?
        run |$request:ident, $iam:ident, $cx:ident| $body:expr
    ) => {
        $(#[$meta])*
        #[doc = concat!("\n\nSee `IAM/latest/APIReference/API_", stringify!($name), ".html`.")]
        #[derive(Debug, wire::Shape)]
        pub struct $name {
            $($(#[$field_meta])* $field: $type,)*
        }

        impl $name {
            #[allow(unused_variables)]
            fn target(&self) -> crate::iam::Target<'_> {
                let $target_of = self;
                $target
            }
        }

        impl wire::Operation for $name {
            type Service = crate::iam::Iam;
            type Output = $output;
            const NAME: &'static str = stringify!($name);

            fn resource(&self, _: &wire::Scope) -> wire::Arn {
                // Paths are not in requests: see `find_resource`.
                wire::Arn::any()
            }

            fn find_resource(&self, iam: &crate::iam::Iam, cx: &wire::Context) -> wire::Arn {
                self.target().arn(iam, cx)
            }

            fn condition_keys(&self, iam: &crate::iam::Iam, cx: &wire::Context) -> wire::Keys {
                #[allow(unused_mut)]
                let mut keys = self.target().keys(iam, cx);
                $(
                    let $keys_of = self;
                    keys.extend($keys);
                )?
                keys
            }

            $(
                fn also_needs(&self, $also_iam: &crate::iam::Iam, $also_cx: &wire::Context) -> Vec<wire::Permission> {
                    let $also_of = self;
                    $also
                }
            )?

            #[allow(unused_variables)]
            async fn run(self, $iam: &crate::iam::Iam, $cx: &wire::Context) -> Result<$output, wire::Error> {
                let $request = self;
                let done: Result<$output, crate::Error> = async { $body }.await;
                done.map_err(Into::into)
            }
        }
    };
}
pub(crate) use operation;

impl Service for Iam {
    const NAME: &'static str = "iam";
    const MODEL: &'static str = "iam";
    const PROTOCOLS: &'static [Protocol] = &[Protocol::Query];
    const API_VERSION: &'static str = "2010-05-08";
    const XML_NAMESPACE: &'static str = "https://iam.amazonaws.com/doc/2010-05-08/";
    const VALIDATION: (&'static str, u16) = ("ValidationError", 400);
    const SERIALIZATION: (&'static str, u16) = ("MalformedInput", 400);

    const OPERATIONS: &'static [Route<Self>] = &[
        Route::of::<users::CreateUser>(),
        Route::of::<users::GetUser>(),
        Route::of::<users::ListUsers>(),
        Route::of::<users::UpdateUser>(),
        Route::of::<users::DeleteUser>(),
        Route::of::<users::PutUserPermissionsBoundary>(),
        Route::of::<users::DeleteUserPermissionsBoundary>(),
        Route::of::<users::TagUser>(),
        Route::of::<users::UntagUser>(),
        Route::of::<users::ListUserTags>(),
        Route::of::<users::PutUserPolicy>(),
        Route::of::<users::GetUserPolicy>(),
        Route::of::<users::DeleteUserPolicy>(),
        Route::of::<users::ListUserPolicies>(),
        Route::of::<users::AttachUserPolicy>(),
        Route::of::<users::DetachUserPolicy>(),
        Route::of::<users::ListAttachedUserPolicies>(),
        Route::of::<access_keys::CreateAccessKey>(),
        Route::of::<access_keys::ListAccessKeys>(),
        Route::of::<access_keys::UpdateAccessKey>(),
        Route::of::<access_keys::DeleteAccessKey>(),
        Route::of::<access_keys::GetAccessKeyLastUsed>(),
        Route::of::<groups::CreateGroup>(),
        Route::of::<groups::GetGroup>(),
        Route::of::<groups::ListGroups>(),
        Route::of::<groups::UpdateGroup>(),
        Route::of::<groups::DeleteGroup>(),
        Route::of::<groups::AddUserToGroup>(),
        Route::of::<groups::RemoveUserFromGroup>(),
        Route::of::<groups::ListGroupsForUser>(),
        Route::of::<groups::PutGroupPolicy>(),
        Route::of::<groups::GetGroupPolicy>(),
        Route::of::<groups::DeleteGroupPolicy>(),
        Route::of::<groups::ListGroupPolicies>(),
        Route::of::<groups::AttachGroupPolicy>(),
        Route::of::<groups::DetachGroupPolicy>(),
        Route::of::<groups::ListAttachedGroupPolicies>(),
        Route::of::<roles::CreateRole>(),
        Route::of::<roles::GetRole>(),
        Route::of::<roles::ListRoles>(),
        Route::of::<roles::UpdateRole>(),
        Route::of::<roles::UpdateRoleDescription>(),
        Route::of::<roles::UpdateAssumeRolePolicy>(),
        Route::of::<roles::DeleteRole>(),
        Route::of::<roles::PutRolePermissionsBoundary>(),
        Route::of::<roles::DeleteRolePermissionsBoundary>(),
        Route::of::<roles::CreateServiceLinkedRole>(),
        Route::of::<roles::DeleteServiceLinkedRole>(),
        Route::of::<roles::GetServiceLinkedRoleDeletionStatus>(),
        Route::of::<roles::TagRole>(),
        Route::of::<roles::UntagRole>(),
        Route::of::<roles::ListRoleTags>(),
        Route::of::<roles::PutRolePolicy>(),
        Route::of::<roles::GetRolePolicy>(),
        Route::of::<roles::DeleteRolePolicy>(),
        Route::of::<roles::ListRolePolicies>(),
        Route::of::<roles::AttachRolePolicy>(),
        Route::of::<roles::DetachRolePolicy>(),
        Route::of::<roles::ListAttachedRolePolicies>(),
        Route::of::<policies::CreatePolicy>(),
        Route::of::<policies::GetPolicy>(),
        Route::of::<policies::ListPolicies>(),
        Route::of::<policies::DeletePolicy>(),
        Route::of::<policies::CreatePolicyVersion>(),
        Route::of::<policies::GetPolicyVersion>(),
        Route::of::<policies::ListPolicyVersions>(),
        Route::of::<policies::DeletePolicyVersion>(),
        Route::of::<policies::SetDefaultPolicyVersion>(),
        Route::of::<policies::ListEntitiesForPolicy>(),
        Route::of::<policies::TagPolicy>(),
        Route::of::<policies::UntagPolicy>(),
        Route::of::<policies::ListPolicyTags>(),
        Route::of::<instance_profiles::CreateInstanceProfile>(),
        Route::of::<instance_profiles::GetInstanceProfile>(),
        Route::of::<instance_profiles::ListInstanceProfiles>(),
        Route::of::<instance_profiles::ListInstanceProfilesForRole>(),
        Route::of::<instance_profiles::DeleteInstanceProfile>(),
        Route::of::<instance_profiles::AddRoleToInstanceProfile>(),
        Route::of::<instance_profiles::RemoveRoleFromInstanceProfile>(),
        Route::of::<instance_profiles::TagInstanceProfile>(),
        Route::of::<instance_profiles::UntagInstanceProfile>(),
        Route::of::<instance_profiles::ListInstanceProfileTags>(),
        Route::of::<account::CreateAccountAlias>(),
        Route::of::<account::DeleteAccountAlias>(),
        Route::of::<account::ListAccountAliases>(),
        Route::of::<account::GetAccountSummary>(),
        Route::of::<account::GetAccountAuthorizationDetails>(),
        Route::of::<simulation::SimulateCustomPolicy>(),
        Route::of::<simulation::SimulatePrincipalPolicy>(),
        Route::of::<simulation::GetContextKeysForCustomPolicy>(),
        Route::of::<simulation::GetContextKeysForPrincipalPolicy>(),
    ];

    const UNBUILT: &'static [Unbuilt] = &[
        Unbuilt::named("AcceptDelegationRequest"),
        Unbuilt::named("AcquireRole"),
        Unbuilt::named("AddClientIDToOpenIDConnectProvider"),
        Unbuilt::named("AssociateDelegationRequest"),
        Unbuilt::named("ChangePassword"),
        Unbuilt::named("CreateDelegationRequest"),
        Unbuilt::named("CreateLoginProfile"),
        Unbuilt::named("CreateOpenIDConnectProvider"),
        Unbuilt::named("CreateSAMLProvider"),
        Unbuilt::named("CreateServiceSpecificCredential"),
        Unbuilt::named("CreateVirtualMFADevice"),
        Unbuilt::named("DeactivateMFADevice"),
        Unbuilt::named("DeleteAccountPasswordPolicy"),
        Unbuilt::named("DeleteLoginProfile"),
        Unbuilt::named("DeleteOpenIDConnectProvider"),
        Unbuilt::named("DeleteSAMLProvider"),
        Unbuilt::named("DeleteSSHPublicKey"),
        Unbuilt::named("DeleteServerCertificate"),
        Unbuilt::named("DeleteServiceSpecificCredential"),
        Unbuilt::named("DeleteSigningCertificate"),
        Unbuilt::named("DeleteVirtualMFADevice"),
        Unbuilt::named("DisableOrganizationsRootCredentialsManagement"),
        Unbuilt::named("DisableOrganizationsRootSessions"),
        Unbuilt::named("DisableOutboundWebIdentityFederation"),
        Unbuilt::named("EnableMFADevice"),
        Unbuilt::named("EnableOrganizationsRootCredentialsManagement"),
        Unbuilt::named("EnableOrganizationsRootSessions"),
        Unbuilt::named("EnableOutboundWebIdentityFederation"),
        Unbuilt::named("GenerateCredentialReport"),
        Unbuilt::named("GenerateOrganizationsAccessReport"),
        Unbuilt::named("GenerateServiceLastAccessedDetails"),
        Unbuilt::named("GetAccountPasswordPolicy"),
        Unbuilt::named("GetAccountProperties"),
        Unbuilt::named("GetCredentialReport"),
        Unbuilt::named("GetDelegationRequest"),
        Unbuilt::named("GetHumanReadableSummary"),
        Unbuilt::named("GetLoginProfile"),
        Unbuilt::named("GetMFADevice"),
        Unbuilt::named("GetOpenIDConnectProvider"),
        Unbuilt::named("GetOrganizationsAccessReport"),
        Unbuilt::named("GetOutboundWebIdentityFederationInfo"),
        Unbuilt::named("GetRoleTemplateVersion"),
        Unbuilt::named("GetSAMLProvider"),
        Unbuilt::named("GetSSHPublicKey"),
        Unbuilt::named("GetServerCertificate"),
        Unbuilt::named("GetServiceLastAccessedDetails"),
        Unbuilt::named("GetServiceLastAccessedDetailsWithEntities"),
        Unbuilt::named("ListDelegationRequests"),
        Unbuilt::named("ListMFADeviceTags"),
        Unbuilt::named("ListMFADevices"),
        Unbuilt::named("ListOpenIDConnectProviderTags"),
        Unbuilt::named("ListOpenIDConnectProviders"),
        Unbuilt::named("ListOrganizationsFeatures"),
        Unbuilt::named("ListPoliciesGrantingServiceAccess"),
        Unbuilt::named("ListSAMLProviderTags"),
        Unbuilt::named("ListSAMLProviders"),
        Unbuilt::named("ListSSHPublicKeys"),
        Unbuilt::named("ListServerCertificateTags"),
        Unbuilt::named("ListServerCertificates"),
        Unbuilt::named("ListServiceSpecificCredentials"),
        Unbuilt::named("ListSigningCertificates"),
        Unbuilt::named("ListVirtualMFADevices"),
        Unbuilt::named("PutAccountProperties"),
        Unbuilt::named("RejectDelegationRequest"),
        Unbuilt::named("RemoveClientIDFromOpenIDConnectProvider"),
        Unbuilt::named("ResetServiceSpecificCredential"),
        Unbuilt::named("ResyncMFADevice"),
        Unbuilt::named("SendDelegationToken"),
        Unbuilt::named("SetSecurityTokenServicePreferences"),
        Unbuilt::named("TagMFADevice"),
        Unbuilt::named("TagOpenIDConnectProvider"),
        Unbuilt::named("TagSAMLProvider"),
        Unbuilt::named("TagServerCertificate"),
        Unbuilt::named("UntagMFADevice"),
        Unbuilt::named("UntagOpenIDConnectProvider"),
        Unbuilt::named("UntagSAMLProvider"),
        Unbuilt::named("UntagServerCertificate"),
        Unbuilt::named("UpdateAccountPasswordPolicy"),
        Unbuilt::named("UpdateDelegationRequest"),
        Unbuilt::named("UpdateLoginProfile"),
        Unbuilt::named("UpdateOpenIDConnectProviderThumbprint"),
        Unbuilt::named("UpdateSAMLProvider"),
        Unbuilt::named("UpdateSSHPublicKey"),
        Unbuilt::named("UpdateServerCertificate"),
        Unbuilt::named("UpdateServiceSpecificCredential"),
        Unbuilt::named("UpdateSigningCertificate"),
        Unbuilt::named("UploadSSHPublicKey"),
        Unbuilt::named("UploadServerCertificate"),
        Unbuilt::named("UploadSigningCertificate"),
    ];
}
