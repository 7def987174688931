//! Policies: any text is a policy or an error; a policy decides any request, and a denial added to it never allows more.
#![no_main]

use std::sync::Arc;

use identity::policy::{
    Attached, Context, Flavour, Policies, Policy, Principal, Request, evaluate,
};
use libfuzzer_sys::fuzz_target;

const DENY_ALL: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;

fuzz_target!(|text: &str| {
    let Ok(policy) = Policy::parse(text, Flavour::Inline) else {
        return;
    };
    let attached = |policy: Policy| Attached {
        name: "fuzzed".into(),
        policy: Arc::new(policy),
    };
    let context: Context = [("aws:username", "a*b"), ("aws:SourceIp", "10.0.0.1")]
        .into_iter()
        .collect();
    let principal = Principal::User {
        arn: "arn:aws:iam::123456789012:user/a*b".into(),
        account: "123456789012".into(),
    };
    let request = Request {
        principal: &principal,
        action: "s3:GetObject",
        resource: "arn:aws:s3:::bucket/a*b/key",
        resource_account: "123456789012",
        context: &context,
        resource_policy_required: false,
    };
    let deny = attached(Policy::parse(DENY_ALL, Flavour::Inline).expect("a constant"));
    let both = [attached(policy), deny];
    let ask = |identity: &[Attached]| {
        evaluate(
            &request,
            &Policies {
                identity,
                ..Policies::default()
            },
        )
        .allowed()
    };
    let _either_way = ask(&both[..1]);
    assert!(!ask(&both), "an explicit deny wins");
});
