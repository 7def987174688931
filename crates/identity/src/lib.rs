//! IAM and STS: who may do what. Owns users, groups, roles, policies, credentials and their evaluation.
//!
//! [`Identity`] is the handle: it knows access keys, authorizes, and makes sessions, all from memory. [`Iam`] and [`Sts`]
//! are the two services. Other services' resources are known here only as ARNs with the policy attached to them.

mod authorize;
mod credentials;
mod error;
mod handle;
pub mod iam;
mod ids;
pub mod limits;
mod managed;
pub mod policy;
mod records;
mod session;
mod state;
pub mod sts;

pub use credentials::{CannotAssume, Found, RoleSession, SessionCredentials};
pub use error::Error;
pub use handle::{Identity, RootCredential, Settings};
pub use iam::Iam;
pub use sts::Sts;
