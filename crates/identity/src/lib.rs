//! IAM and STS: who may do what. Owns users, groups, roles, policies, credentials and their evaluation.
//! It knows no other service's resources; those arrive as ARNs with the policy attached to them.

pub mod policy;
