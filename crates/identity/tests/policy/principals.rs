//! Whom a resource's policy names. Callers come without identity-based policies: what is allowed is allowed by the element alone.

use identity::policy::{Flavour, Policies, Principal, Request, evaluate};

use crate::{ACCOUNT, OTHER, attached, context, policy, session, user};

const PRINCIPAL: &str = "reference_policies_elements_principal";
const NOT_PRINCIPAL: &str = "reference_policies_elements_notprincipal";
const SERVICES: &str = "reference_policies_elements_principal#principal-services";
const DEPUTY: &str = "confused-deputy";

#[derive(Clone, Copy, Debug)]
pub enum Who {
    Root,
    Alice,
    Bob,
    /// Session `s1` of the role `app` in the same account.
    App,
    AppTwo,
    Stranger,
    OtherUser,
    Events,
    EventsFor(&'static str),
    Sns,
    Federated,
    Google,
}

impl Who {
    fn principal(self) -> Principal {
        match self {
            Self::Root => Principal::Root {
                account: ACCOUNT.into(),
            },
            Self::Alice => user(ACCOUNT, "alice"),
            Self::Bob => user(ACCOUNT, "bob"),
            Self::App => session(ACCOUNT, "app", "s1"),
            Self::AppTwo => session(ACCOUNT, "app", "s2"),
            Self::Stranger => Principal::Anonymous,
            Self::OtherUser => user(OTHER, "carol"),
            Self::Events | Self::EventsFor(_) => Principal::Service {
                name: "events.amazonaws.com".into(),
            },
            Self::Sns => Principal::Service {
                name: "sns.amazonaws.com".into(),
            },
            Self::Federated => Principal::Federated {
                account: ACCOUNT.into(),
                user: format!("arn:aws:iam::{ACCOUNT}:user/alice"),
                arn: format!("arn:aws:sts::{ACCOUNT}:federated-user/al"),
            },
            Self::Google => Principal::Web {
                provider: "accounts.google.com".into(),
            },
        }
    }
}

/// Page, `Principal` element and what follows it, who asks, whether the policy lets them.
type Case = (&'static str, &'static str, Who, bool);

pub const CASES: &[Case] = &[
    (PRINCIPAL, r#""Principal":"*""#, Who::Stranger, true),
    (PRINCIPAL, r#""Principal":{"AWS":"*"}"#, Who::Stranger, true),
    (PRINCIPAL, r#""Principal":"*""#, Who::Alice, true),
    (PRINCIPAL, r#""Principal":"*""#, Who::Events, true),
    (PRINCIPAL, r#""Principal":{"AWS":"*"}"#, Who::Sns, true),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"}"#,
        Who::Alice,
        true,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"}"#,
        Who::Bob,
        false,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"}"#,
        Who::Stranger,
        false,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":["arn:aws:iam::111122223333:user/alice","arn:aws:iam::111122223333:user/bob"]}"#,
        Who::Bob,
        true,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"arn:aws:iam::111122223333:role/app"}"#,
        Who::App,
        true,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"arn:aws:iam::111122223333:role/app"}"#,
        Who::Alice,
        false,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/app/s1"}"#,
        Who::App,
        true,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/app/s1"}"#,
        Who::AppTwo,
        false,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"111122223333"}"#,
        Who::Root,
        true,
    ),
    // The account delegates: without identity-based policies its users have nothing.
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"111122223333"}"#,
        Who::Alice,
        false,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"arn:aws:iam::111122223333:root"}"#,
        Who::App,
        false,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"444455556666"}"#,
        Who::OtherUser,
        false,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"arn:aws:iam::444455556666:user/carol"}"#,
        Who::OtherUser,
        false,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"arn:aws:sts::111122223333:federated-user/al"}"#,
        Who::Federated,
        true,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"}"#,
        Who::Federated,
        true,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"AWS":"AIDACKCEVSQ6C2EXAMPLE"}"#,
        Who::Alice,
        false,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"Federated":"accounts.google.com"}"#,
        Who::Google,
        true,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"Federated":"graph.facebook.com"}"#,
        Who::Google,
        false,
    ),
    (
        PRINCIPAL,
        r#""Principal":{"CanonicalUser":"79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"}"#,
        Who::Alice,
        false,
    ),
    (
        SERVICES,
        r#""Principal":{"Service":"events.amazonaws.com"}"#,
        Who::Events,
        true,
    ),
    (
        SERVICES,
        r#""Principal":{"Service":"events.amazonaws.com"}"#,
        Who::Sns,
        false,
    ),
    (
        SERVICES,
        r#""Principal":{"Service":["events.amazonaws.com","sns.amazonaws.com"]}"#,
        Who::Sns,
        true,
    ),
    (
        SERVICES,
        r#""Principal":{"Service":"events.amazonaws.com"}"#,
        Who::Alice,
        false,
    ),
    (SERVICES, r#""Principal":{"Service":"*"}"#, Who::Sns, true),
    (
        SERVICES,
        r#""Principal":{"Service":"*"}"#,
        Who::Stranger,
        false,
    ),
    (
        SERVICES,
        r#""Principal":{"AWS":"arn:aws:iam::111122223333:user/bob","Service":"sns.amazonaws.com"}"#,
        Who::Bob,
        true,
    ),
    (
        DEPUTY,
        r#""Principal":{"Service":"events.amazonaws.com"},"Condition":{"ArnLike":{"AWS:SourceArn":"arn:aws:events:us-east-1:111122223333:rule/nightly"},"StringEquals":{"AWS:SourceAccount":"111122223333"}}"#,
        Who::EventsFor("arn:aws:events:us-east-1:111122223333:rule/nightly"),
        true,
    ),
    (
        DEPUTY,
        r#""Principal":{"Service":"events.amazonaws.com"},"Condition":{"ArnLike":{"AWS:SourceArn":"arn:aws:events:us-east-1:111122223333:rule/nightly"}}"#,
        Who::EventsFor("arn:aws:events:us-east-1:111122223333:rule/other"),
        false,
    ),
    (
        DEPUTY,
        r#""Principal":{"Service":"events.amazonaws.com"},"Condition":{"ArnLike":{"AWS:SourceArn":"arn:aws:events:us-east-1:111122223333:rule/nightly"}}"#,
        Who::Events,
        false,
    ),
    (
        DEPUTY,
        r#""Principal":"*","Condition":{"ArnEquals":{"aws:SourceArn":"arn:aws:events:us-east-1:111122223333:rule/*"}}"#,
        Who::Stranger,
        false,
    ),
    (
        NOT_PRINCIPAL,
        r#""NotPrincipal":{"AWS":"arn:aws:iam::111122223333:user/alice"}"#,
        Who::Alice,
        false,
    ),
    (
        NOT_PRINCIPAL,
        r#""NotPrincipal":{"AWS":"arn:aws:iam::111122223333:user/alice"}"#,
        Who::Bob,
        true,
    ),
    (
        NOT_PRINCIPAL,
        r#""NotPrincipal":{"AWS":"arn:aws:iam::111122223333:role/app"}"#,
        Who::App,
        false,
    ),
];

fn permits(text: &str, who: Who) -> bool {
    let principal = who.principal();
    let mut context = context("");
    if let Who::EventsFor(rule) = who {
        context.set("aws:SourceArn", rule);
        context.set("aws:SourceAccount", ACCOUNT);
    }
    let resource = attached("resource", text, Flavour::Resource);
    let request = Request {
        principal: &principal,
        action: "lambda:InvokeFunction",
        resource: "arn:aws:lambda:us-east-1:111122223333:function:f",
        resource_account: ACCOUNT,
        context: &context,
        resource_policy_required: matches!(who, Who::Root),
    };
    evaluate(
        &request,
        &Policies {
            resource: Some(&resource),
            ..Policies::default()
        },
    )
    .allowed()
}

#[test]
fn principal_elements() {
    for (page, element, who, expected) in CASES {
        let text = policy(&format!(
            r#"{{"Effect":"Allow","Action":"lambda:*","Resource":"*",{element}}}"#
        ));
        assert_eq!(
            permits(&text, *who),
            *expected,
            "{page}: {element} for {who:?}"
        );
    }
}

/// `Deny` with `NotPrincipal` spares only those listed with their account, and sessions only with their role too.
#[test]
fn deny_all_but() {
    let cases: &[(&str, Who, bool)] = &[
        (
            r#"{"AWS":["arn:aws:iam::111122223333:user/alice","111122223333"]}"#,
            Who::Alice,
            true,
        ),
        (
            r#"{"AWS":["arn:aws:iam::111122223333:user/alice"]}"#,
            Who::Alice,
            false,
        ),
        (
            r#"{"AWS":["arn:aws:iam::111122223333:user/alice","111122223333"]}"#,
            Who::Bob,
            false,
        ),
        (
            r#"{"AWS":["arn:aws:sts::111122223333:assumed-role/app/s1","arn:aws:iam::111122223333:role/app","111122223333"]}"#,
            Who::App,
            true,
        ),
        (
            r#"{"AWS":["arn:aws:iam::111122223333:role/app","111122223333"]}"#,
            Who::App,
            false,
        ),
        (
            r#"{"AWS":["arn:aws:iam::111122223333:user/alice"]}"#,
            Who::Stranger,
            false,
        ),
        (r#"{"Service":"events.amazonaws.com"}"#, Who::Events, true),
        (r#"{"Service":"events.amazonaws.com"}"#, Who::Sns, false),
    ];
    for (element, who, expected) in cases {
        let text = policy(&format!(
            r#"{{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}},
               {{"Effect":"Deny","NotPrincipal":{element},"Action":"*","Resource":"*"}}"#
        ));
        assert_eq!(
            permits(&text, *who),
            *expected,
            "{NOT_PRINCIPAL}: {element} for {who:?}"
        );
    }
}
