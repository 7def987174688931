//! IAM's quotas (`IAM/latest/UserGuide/reference_iam-quotas.html`), and the bounds of our own caches.

/// Users in an account.
pub const USERS_MAX: usize = 5_000;
/// Groups in an account.
pub const GROUPS_MAX: usize = 300;
/// Roles in an account.
pub const ROLES_MAX: usize = 1_000;
/// Customer managed policies in an account.
pub const POLICIES_MAX: usize = 1_500;
/// Instance profiles in an account.
pub const INSTANCE_PROFILES_MAX: usize = 1_000;
/// Groups of one user.
pub const GROUPS_PER_USER_MAX: usize = 10;
/// Access keys of one user, or of the root user.
pub const ACCESS_KEYS_MAX: usize = 2;
/// Managed policies attached to one user, group or role.
pub const ATTACHED_POLICIES_MAX: usize = 10;
/// Versions of one managed policy.
pub const POLICY_VERSIONS_MAX: usize = 5;
/// Tags of one thing.
pub const TAGS_MAX: usize = 50;
/// Characters of a managed policy, white space apart.
pub const MANAGED_POLICY_SIZE_MAX: usize = 6_144;
/// Characters of a trust policy, white space apart.
pub const TRUST_POLICY_SIZE_MAX: usize = 2_048;
/// Characters of a user's inline policies together, white space apart.
pub const USER_POLICY_SIZE_MAX: usize = 2_048;
/// Characters of a group's inline policies together, white space apart.
pub const GROUP_POLICY_SIZE_MAX: usize = 5_120;
/// Characters of a role's inline policies together, white space apart.
pub const ROLE_POLICY_SIZE_MAX: usize = 10_240;
/// Characters of session policies and tags together (`STS/latest/APIReference/API_AssumeRole.html`).
pub const SESSION_POLICY_SIZE_MAX: usize = 2_048;
/// Managed session policies.
pub const SESSION_POLICY_ARNS_MAX: usize = 10;
/// Opened session tokens remembered. A token beyond is opened again: a few microseconds.
pub const OPEN_SESSIONS_MAX: usize = 4_096;
/// Compiled resource policies remembered.
pub const RESOURCE_POLICIES_MAX: usize = 1_024;
/// Accounts in one installation.
pub const ACCOUNTS_MAX: usize = 1_000;
/// How often a change is decided anew when somebody else was faster.
pub const CHANGE_ATTEMPTS_MAX: usize = 5;
/// Keys and roles whose last use is remembered.
pub const LAST_USED_MAX: usize = 100_000;
/// The longest session token. What goes into one is limited elsewhere; with long unique names and AWS's longest policies
/// it stays below this.
pub const TOKEN_BYTES_MAX: usize = 8_192;
