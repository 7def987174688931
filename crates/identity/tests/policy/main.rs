//! The policy language against the pages that define it: every case names its page under
//! docs.aws.amazon.com/IAM/latest/UserGuide.
#![allow(clippy::unwrap_used, missing_docs)]

mod conditions;
mod documents;
mod interplay;
mod laws;
mod patterns;
mod principals;

use std::sync::Arc;

use identity::policy::{
    Attached, Context, Flavour, Policies, Policy, Principal, Request, Why, evaluate,
};

/// Where most requests of these tests happen.
pub const ACCOUNT: &str = "111122223333";
/// Another account.
pub const OTHER: &str = "444455556666";

/// How many cases the tables hold together, at least.
const CASES_MIN: usize = 200;

#[test]
fn tables_are_as_large_as_promised() {
    let cases = conditions::CASES.len()
        + patterns::RESOURCES.len()
        + patterns::ACTIONS.len()
        + principals::CASES.len()
        + interplay::cases().len()
        + documents::CASES.len();
    assert!(cases >= CASES_MIN, "{cases} cases");
}

pub fn attached(name: &str, text: &str, flavour: Flavour) -> Attached {
    let policy = Policy::parse(text, flavour).unwrap_or_else(|error| panic!("{error}: {text}"));
    Attached {
        name: name.into(),
        policy: Arc::new(policy),
    }
}

/// A policy of one statement, in the current language.
pub fn policy(statement: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#)
}

pub fn user(account: &str, name: &str) -> Principal {
    Principal::User {
        account: account.to_owned(),
        arn: format!("arn:aws:iam::{account}:user/{name}"),
    }
}

pub fn session(account: &str, role: &str, name: &str) -> Principal {
    Principal::Session {
        account: account.to_owned(),
        role: format!("arn:aws:iam::{account}:role/{role}"),
        arn: format!("arn:aws:sts::{account}:assumed-role/{role}/{name}"),
    }
}

/// Whether one identity policy allows one request.
pub fn allowed(text: &str, action: &str, resource: &str, context: &Context) -> bool {
    let identity = [attached("test", text, Flavour::Inline)];
    let principal = user(ACCOUNT, "alice");
    let request = Request {
        principal: &principal,
        action,
        resource,
        resource_account: ACCOUNT,
        context,
        resource_policy_required: false,
    };
    let decision = evaluate(
        &request,
        &Policies {
            identity: &identity,
            ..Policies::default()
        },
    );
    assert!(!matches!(decision.why, Why::Root));
    decision.allowed()
}

/// Splits `key=value` texts into a context. `key=a|b` has two values, `key=` one empty one, `key` alone none.
pub fn context(pairs: &str) -> Context {
    let mut context = Context::default();
    for pair in pairs
        .split(';')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        match pair.split_once('=') {
            Some((key, values)) => {
                context.set_all(key, values.split('|').map(str::to_owned).collect())
            }
            None => context.set_all(pair, Vec::new()),
        }
    }
    context
}
