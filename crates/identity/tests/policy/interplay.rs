//! Several policies at once: which kind decides, and the sentence of the denial.

use identity::policy::{
    Attached, Context, Decision, Flavour, Policies, PolicyKind, Principal, Request, Why, evaluate,
};

use crate::{ACCOUNT, OTHER, attached, policy, session, user};

const ONE: &str = "reference_policies_evaluation-logic_policy-eval-basics-single-account";
const CROSS: &str = "reference_policies_evaluation-logic-cross-account";
const DENY: &str = "reference_policies_evaluation-logic_AccessPolicyLanguage_Interplay";
const BOUNDARY: &str = "access_policies_boundaries";
const SESSION: &str = "access_policies#policies_session";
const TRUST: &str = "id_roles_update-role-trust-policy";

const ALLOW: &str = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
const DENIES: &str = r#"{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}"#;
const ELSE: &str = r#"{"Effect":"Allow","Action":"sqs:*","Resource":"*"}"#;
const TO_ALICE: &str = r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"},"Action":"*","Resource":"*"}"#;
const TO_ALL: &str = r#"{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}"#;
const TO_ROLE: &str = r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/app"},"Action":"*","Resource":"*"}"#;
const TO_SESSION: &str = r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/app/s1"},"Action":"*","Resource":"*"}"#;
const TO_ACCOUNT: &str =
    r#"{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"*","Resource":"*"}"#;
const TO_OTHER: &str = r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::444455556666:root"},"Action":"*","Resource":"*"}"#;
const DENY_ALICE: &str = r#"{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"},"Action":"*","Resource":"*"}"#;
const DENY_ACCOUNT: &str =
    r#"{"Effect":"Deny","Principal":{"AWS":"111122223333"},"Action":"*","Resource":"*"}"#;

/// What a case expects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expect {
    Allowed(PolicyKind),
    Root,
    Denied(PolicyKind),
    Missing(PolicyKind),
}
use Expect::{Allowed, Denied, Missing};
use PolicyKind::{Boundary, Identity, Resource, Session, Trust};

#[derive(Clone, Debug)]
pub struct Case {
    page: &'static str,
    who: Principal,
    identity: Option<&'static str>,
    boundary: Option<&'static str>,
    session: Option<&'static str>,
    resource: Option<&'static str>,
    trust: bool,
    expect: Expect,
}

fn case(page: &'static str, who: Principal, expect: Expect) -> Case {
    Case {
        page,
        who,
        identity: None,
        boundary: None,
        session: None,
        resource: None,
        trust: false,
        expect,
    }
}

impl Case {
    fn identity(mut self, statement: &'static str) -> Self {
        self.identity = Some(statement);
        self
    }
    fn boundary(mut self, statement: &'static str) -> Self {
        self.boundary = Some(statement);
        self
    }
    fn session(mut self, statement: &'static str) -> Self {
        self.session = Some(statement);
        self
    }
    fn resource(mut self, statement: &'static str) -> Self {
        self.resource = Some(statement);
        self
    }
    /// The resource's policy is like a trust policy: it must name the principal.
    fn trust(mut self, statement: &'static str) -> Self {
        self.trust = true;
        self.resource(statement)
    }

    fn decide(&self) -> Decision {
        let one = |statement: &str, flavour| attached("p", &policy(statement), flavour);
        let many = |statement: &str| -> Vec<Attached> {
            vec![attached("p", &policy(statement), Flavour::Inline)]
        };
        let identity = self.identity.map(many).unwrap_or_default();
        let boundary = self.boundary.map(|text| one(text, Flavour::Managed));
        let session = self.session.map(many);
        let resource = self.resource.map(|text| one(text, Flavour::Resource));
        let request = Request {
            principal: &self.who,
            action: "s3:GetObject",
            resource: "arn:aws:s3:::b/k",
            resource_account: ACCOUNT,
            context: &Context::default(),
            resource_policy_required: self.trust,
        };
        let policies = Policies {
            identity: &identity,
            boundary: boundary.as_ref(),
            session: session.as_deref(),
            resource: resource.as_ref(),
        };
        evaluate(&request, &policies)
    }
}

pub fn cases() -> Vec<Case> {
    let alice = || user(ACCOUNT, "alice");
    let app = || session(ACCOUNT, "app", "s1");
    let carol = || user(OTHER, "carol");
    let root = || Principal::Root {
        account: ACCOUNT.into(),
    };
    let other_root = || Principal::Root {
        account: OTHER.into(),
    };
    let events = || Principal::Service {
        name: "events.amazonaws.com".into(),
    };
    let federated = || Principal::Federated {
        account: ACCOUNT.into(),
        user: format!("arn:aws:iam::{ACCOUNT}:user/alice"),
        arn: format!("arn:aws:sts::{ACCOUNT}:federated-user/al"),
    };
    vec![
        // One account.
        case(ONE, alice(), Missing(Identity)),
        case(ONE, alice(), Allowed(Identity)).identity(ALLOW),
        case(ONE, alice(), Missing(Identity)).identity(ELSE),
        case(ONE, alice(), Allowed(Resource)).resource(TO_ALICE),
        case(ONE, alice(), Allowed(Resource)).resource(TO_ALL),
        case(ONE, alice(), Missing(Identity)).resource(TO_ACCOUNT),
        case(ONE, alice(), Allowed(Identity)).identity(ALLOW).resource(TO_ACCOUNT),
        case(ONE, alice(), Allowed(Identity)).identity(ALLOW).resource(TO_ROLE),
        case(ONE, root(), Expect::Root),
        case(ONE, root(), Denied(Resource)).resource(DENY_ACCOUNT),
        case(ONE, app(), Allowed(Resource)).resource(TO_ROLE),
        case(ONE, app(), Allowed(Resource)).resource(TO_SESSION),
        case(ONE, app(), Missing(Identity)).resource(TO_ALICE),
        case(ONE, Principal::Anonymous, Allowed(Resource)).resource(TO_ALL),
        case(ONE, Principal::Anonymous, Missing(Resource)),
        case(ONE, Principal::Anonymous, Missing(Resource)).resource(TO_ACCOUNT),
        case(ONE, events(), Missing(Resource)).resource(TO_ALICE),
        // An explicit deny anywhere wins.
        case(DENY, alice(), Denied(Identity)).identity(r#"{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"},{"Effect":"Allow","Action":"*","Resource":"*"}"#),
        case(DENY, alice(), Denied(Identity)).identity(r#"{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}"#),
        case(DENY, alice(), Denied(Identity)).identity(DENIES).resource(TO_ALICE),
        case(DENY, alice(), Denied(Resource)).identity(ALLOW).resource(DENY_ALICE),
        case(DENY, alice(), Denied(Resource)).identity(ALLOW).resource(DENY_ACCOUNT),
        case(DENY, alice(), Denied(Boundary)).identity(ALLOW).boundary(DENIES),
        case(DENY, alice(), Denied(Boundary)).boundary(DENIES).resource(TO_ALICE),
        case(DENY, app(), Denied(Session)).identity(ALLOW).session(DENIES),
        case(DENY, app(), Denied(Session)).session(DENIES).resource(TO_SESSION),
        case(DENY, app(), Denied(Identity)).identity(r#"{"Effect":"Deny","NotAction":"sqs:*","Resource":"*"}"#).resource(TO_SESSION),
        // Boundaries limit and do not grant.
        case(BOUNDARY, alice(), Missing(Identity)).boundary(ALLOW),
        case(BOUNDARY, alice(), Allowed(Identity)).identity(ALLOW).boundary(ALLOW),
        case(BOUNDARY, alice(), Missing(Boundary)).identity(ALLOW).boundary(ELSE),
        case(BOUNDARY, alice(), Allowed(Resource)).boundary(ELSE).resource(TO_ALICE),
        case(BOUNDARY, alice(), Missing(Boundary)).identity(ALLOW).boundary(ELSE).resource(TO_ACCOUNT),
        case(BOUNDARY, app(), Missing(Boundary)).boundary(ELSE).resource(TO_ROLE),
        case(BOUNDARY, app(), Missing(Boundary)).identity(ALLOW).boundary(ELSE).resource(TO_ROLE),
        case(BOUNDARY, app(), Allowed(Resource)).boundary(ELSE).resource(TO_SESSION),
        case(BOUNDARY, app(), Allowed(Resource)).boundary(ALLOW).resource(TO_ROLE),
        case(BOUNDARY, app(), Allowed(Resource)).boundary(ELSE).resource(TO_ALL),
        case(BOUNDARY, app(), Allowed(Resource)).boundary(ELSE).resource(TO_ROLE_AND_SESSION),
        // Session policies limit and do not grant.
        case(SESSION, app(), Missing(Identity)).session(ALLOW),
        case(SESSION, app(), Missing(Session)).identity(ALLOW).session(ELSE),
        case(SESSION, app(), Allowed(Identity)).identity(ALLOW).session(ALLOW),
        case(SESSION, app(), Missing(Session)).session(ELSE).resource(TO_ROLE),
        case(SESSION, app(), Allowed(Resource)).session(ELSE).resource(TO_SESSION),
        case(SESSION, app(), Missing(Boundary)).identity(ALLOW).boundary(ELSE).session(ALLOW),
        case(SESSION, app(), Missing(Session)).identity(ALLOW).boundary(ALLOW).session(ELSE),
        case(SESSION, federated(), Missing(Session)).identity(ALLOW).session(ELSE).resource(TO_ALICE),
        case(SESSION, federated(), Allowed(Resource)).session(ALLOW).resource(TO_ALICE),
        case(SESSION, root(), Missing(Session)).session(ELSE),
        // Across accounts both sides must agree.
        case(CROSS, carol(), Missing(Identity)).resource(TO_OTHER),
        case(CROSS, carol(), Missing(Resource)).identity(ALLOW),
        case(CROSS, carol(), Missing(Resource)).identity(ALLOW).resource(TO_ACCOUNT),
        case(CROSS, carol(), Allowed(Resource)).identity(ALLOW).resource(TO_OTHER),
        case(CROSS, carol(), Allowed(Resource)).identity(ALLOW).resource(TO_ALL),
        case(CROSS, carol(), Missing(Identity)).resource(TO_ALL),
        case(CROSS, carol(), Missing(Boundary)).identity(ALLOW).boundary(ELSE).resource(TO_OTHER),
        case(CROSS, carol(), Denied(Identity)).identity(DENIES).resource(TO_OTHER),
        case(CROSS, session(OTHER, "app", "s1"), Missing(Session)).identity(ALLOW).session(ELSE).resource(TO_ALL),
        case(CROSS, other_root(), Allowed(Resource)).resource(TO_OTHER),
        case(CROSS, other_root(), Missing(Resource)),
        // A trust policy must name the principal; then, in the same account, it is enough.
        case(TRUST, alice(), Missing(Trust)).identity(ALLOW).trust(TO_ROLE),
        case(TRUST, alice(), Allowed(Trust)).trust(TO_ALICE),
        case(TRUST, alice(), Missing(Identity)).trust(TO_ACCOUNT),
        case(TRUST, alice(), Allowed(Identity)).identity(ALLOW).trust(TO_ACCOUNT),
        case(TRUST, root(), Missing(Trust)).trust(TO_ALICE),
        case(TRUST, events(), Missing(Trust)).trust(TO_ALICE),
        case(TRUST, carol(), Missing(Trust)).identity(ALLOW).trust(TO_ACCOUNT),
        case(TRUST, carol(), Allowed(Trust)).identity(ALLOW).trust(TO_OTHER),
        case(TRUST, alice(), Denied(Trust)).identity(ALLOW).trust(DENY_ALICE),
    ]
}

const TO_ROLE_AND_SESSION: &str = r#"{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::111122223333:role/app","arn:aws:sts::111122223333:assumed-role/app/s1"]},"Action":"*","Resource":"*"}"#;

#[test]
fn which_policy_decides() {
    for case in cases() {
        let got = match case.decide().why {
            Why::Allowed(matched) => Allowed(matched.kind),
            Why::Root => Expect::Root,
            Why::ExplicitDeny(matched) => Denied(matched.kind),
            Why::ImplicitDeny(kind) => Missing(kind),
        };
        assert_eq!(got, case.expect, "{}: {case:?}", case.page);
    }
}

#[test]
fn denials_speak_as_aws_does() {
    let page = "troubleshoot_access-denied";
    let who = "arn:aws:iam::111122223333:user/alice";
    let start = format!(
        "User: {who} is not authorized to perform: s3:GetObject on resource: arn:aws:s3:::b/k "
    );
    let alice = || user(ACCOUNT, "alice");
    let cases = [
        (
            case(page, alice(), Missing(Identity)),
            "because no identity-based policy allows the s3:GetObject action",
        ),
        (
            case(page, alice(), Denied(Identity)).identity(DENIES),
            "with an explicit deny in an identity-based policy",
        ),
        (
            case(page, alice(), Missing(Boundary))
                .identity(ALLOW)
                .boundary(ELSE),
            "because no permissions boundary allows the s3:GetObject action",
        ),
        (
            case(page, alice(), Denied(Boundary))
                .identity(ALLOW)
                .boundary(DENIES),
            "with an explicit deny in a permissions boundary",
        ),
        (
            case(page, alice(), Missing(Session))
                .identity(ALLOW)
                .session(ELSE),
            "because no session policy allows the s3:GetObject action",
        ),
        (
            case(page, alice(), Denied(Session))
                .identity(ALLOW)
                .session(DENIES),
            "with an explicit deny in a session policy",
        ),
        (
            case(page, user(OTHER, "carol"), Missing(Resource)).identity(ALLOW),
            "because no resource-based policy allows the s3:GetObject action",
        ),
        (
            case(page, alice(), Denied(Resource))
                .identity(ALLOW)
                .resource(DENY_ALICE),
            "with an explicit deny in a resource-based policy",
        ),
        (
            case(page, alice(), Missing(Trust)).trust(TO_ROLE),
            "because no role trust policy allows the s3:GetObject action",
        ),
    ];
    for (case, end) in cases {
        let denial = case
            .decide()
            .denial(who, "s3:GetObject", "arn:aws:s3:::b/k");
        assert_eq!(denial, Some(format!("{start}{end}")));
    }
    assert_eq!(
        case(page, alice(), Allowed(Identity))
            .identity(ALLOW)
            .decide()
            .denial(who, "s3:GetObject", "*"),
        None
    );
}

#[test]
fn a_decision_names_its_statement() {
    let text = policy(
        r#"{"Sid":"One","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"Two","Effect":"Deny","Action":"s3:*","Resource":"*"}"#,
    );
    let identity = [attached("inline-policy", &text, Flavour::Inline)];
    let request = Request {
        principal: &user(ACCOUNT, "alice"),
        action: "S3:getobject",
        resource: "arn:aws:s3:::b/k",
        resource_account: ACCOUNT,
        context: &Context::default(),
        resource_policy_required: false,
    };
    let Why::ExplicitDeny(matched) = evaluate(
        &request,
        &Policies {
            identity: &identity,
            ..Policies::default()
        },
    )
    .why
    else {
        panic!("allowed");
    };
    assert_eq!(
        (&*matched.policy, matched.sid.as_deref()),
        ("inline-policy", Some("Two"))
    );
    assert!(text[matched.span].starts_with(r#"{"Sid":"Two""#));
}
