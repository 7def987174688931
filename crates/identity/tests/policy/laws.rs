//! What holds for every policy there is.

use identity::policy::{
    Attached, Context, Flavour, Policies, Policy, Principal, Request, Why, evaluate,
};
use proptest::prelude::*;

use crate::{ACCOUNT, OTHER, attached, policy, session, user};

fn statement(effect: &'static str, principal: bool) -> impl Strategy<Value = String> {
    let action = prop::sample::select(vec!["*", "s3:*", "s3:Get*", "s3:GetObject", "sqs:*"]);
    let resource = prop::sample::select(vec![
        "*",
        "arn:aws:s3:::b/*",
        "arn:aws:s3:::b/k",
        "arn:aws:s3:::c",
        "arn:aws:s3:::b/${aws:username}",
    ]);
    let not = (any::<bool>(), any::<bool>());
    let who = prop::sample::select(vec![
        r#""*""#,
        r#"{"AWS":"111122223333"}"#,
        r#"{"AWS":"arn:aws:iam::111122223333:user/alice"}"#,
        r#"{"AWS":"arn:aws:iam::111122223333:role/app"}"#,
        r#"{"AWS":"arn:aws:sts::111122223333:assumed-role/app/s1"}"#,
        r#"{"Service":"events.amazonaws.com"}"#,
    ]);
    let condition = prop::sample::select(vec![
        "",
        r#","Condition":{"StringEquals":{"aws:username":"k"}}"#,
        r#","Condition":{"StringNotEquals":{"aws:username":"k"}}"#,
        r#","Condition":{"Null":{"aws:username":"true"}}"#,
    ]);
    (action, resource, not, who, condition).prop_map(move |(action, resource, (not_action, not_resource), who, condition)| {
        let a = if not_action { "Not" } else { "" };
        let r = if not_resource { "Not" } else { "" };
        let who = if principal { format!(r#","Principal":{who}"#) } else { String::new() };
        format!(r#"{{"Effect":"{effect}","{a}Action":"{action}","{r}Resource":"{resource}"{who}{condition}}}"#)
    })
}

fn statements(principal: bool) -> impl Strategy<Value = String> {
    let one = prop_oneof![3 => statement("Allow", principal), 1 => statement("Deny", principal)];
    prop::collection::vec(one, 1..4).prop_map(|all| policy(&all.join(",")))
}

fn who() -> impl Strategy<Value = Principal> {
    prop::sample::select(vec![
        user(ACCOUNT, "alice"),
        session(ACCOUNT, "app", "s1"),
        Principal::Root {
            account: ACCOUNT.into(),
        },
        user(OTHER, "carol"),
        Principal::Anonymous,
        Principal::Service {
            name: "events.amazonaws.com".into(),
        },
    ])
}

#[derive(Debug, Clone)]
struct World {
    who: Principal,
    identity: Vec<String>,
    boundary: Option<String>,
    session: Option<String>,
    resource: Option<String>,
    named: bool,
    trust: bool,
}

fn world() -> impl Strategy<Value = World> {
    let identity = prop::collection::vec(statements(false), 0..3);
    let (boundary, session) = (
        prop::option::of(statements(false)),
        prop::option::of(statements(false)),
    );
    (
        who(),
        identity,
        boundary,
        session,
        prop::option::of(statements(true)),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(who, identity, boundary, session, resource, named, trust)| World {
                who,
                identity,
                boundary,
                session,
                resource,
                named,
                trust,
            },
        )
}

impl World {
    fn why(&self) -> Why {
        let mut context = Context::default();
        if self.named {
            context.set("aws:username", "k");
        }
        let inline = |text: &String| attached("p", text, Flavour::Inline);
        let identity: Vec<Attached> = self.identity.iter().map(inline).collect();
        let boundary = self.boundary.as_ref().map(inline);
        let session: Option<Vec<Attached>> = self.session.as_ref().map(|text| vec![inline(text)]);
        let resource = self
            .resource
            .as_ref()
            .map(|text| attached("r", text, Flavour::Resource));
        let request = Request {
            principal: &self.who,
            action: "s3:GetObject",
            resource: "arn:aws:s3:::b/k",
            resource_account: ACCOUNT,
            context: &context,
            resource_policy_required: self.trust,
        };
        let policies = Policies {
            identity: &identity,
            boundary: boundary.as_ref(),
            session: session.as_deref(),
            resource: resource.as_ref(),
        };
        evaluate(&request, &policies).why
    }

    fn allowed(&self) -> bool {
        matches!(self.why(), Why::Allowed(_) | Why::Root)
    }
}

const DENY_ALL: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;
const ALLOW_ALL: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_deny_anywhere_wins(world in world()) {
        let mut identity = world.clone();
        identity.identity.push(DENY_ALL.into());
        prop_assert!(!identity.allowed());
        let mut boundary = world.clone();
        boundary.boundary = Some(DENY_ALL.into());
        prop_assert!(!boundary.allowed());
        let mut resource = world;
        resource.resource = Some(DENY_ALL.replace("\"Action\"", "\"Principal\":\"*\",\"Action\""));
        prop_assert!(!resource.allowed());
    }

    #[test]
    fn adding_a_deny_never_allows_more(world in world(), deny in statement("Deny", false), at in 0..3usize) {
        let before = world.allowed();
        let mut after = world;
        after.identity.insert(at.min(after.identity.len()), policy(&deny));
        prop_assert!(before || !after.allowed());
    }

    #[test]
    fn adding_a_limit_never_allows_more(world in world(), limit in statements(false)) {
        let mut with = world;
        for slot in [0, 1] {
            let mut without = with.clone();
            if slot == 0 { without.boundary = None; with.boundary = Some(limit.clone()); }
            else { without.session = None; with.session = Some(limit.clone()); }
            prop_assert!(without.allowed() || !with.allowed());
        }
    }

    #[test]
    fn adding_an_allow_never_denies(world in world()) {
        let before = world.allowed();
        let mut after = world;
        after.identity.push(ALLOW_ALL.into());
        prop_assert!(!before || after.allowed());
    }

    #[test]
    fn the_order_of_policies_says_nothing(world in world()) {
        let mut reversed = world.clone();
        reversed.identity.reverse();
        prop_assert_eq!(world.allowed(), reversed.allowed());
    }

    #[test]
    fn without_any_allow_nothing_is_allowed(who in who(), deny in prop::collection::vec(statement("Deny", false), 0..3)) {
        let root = matches!(&who, Principal::Root { account } if account == ACCOUNT);
        let world = World { who, identity: deny.iter().map(|one| policy(one)).collect(), boundary: None, session: None, resource: None, named: false, trust: false };
        prop_assert!(root || !world.allowed());
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,400}") {
        for flavour in [Flavour::Managed, Flavour::Inline, Flavour::Resource, Flavour::Trust] {
            drop(Policy::parse(&text, flavour));
        }
    }

    #[test]
    fn nearly_right_documents_too(text in statements(true), cut in any::<prop::sample::Index>(), noise in ".{0,3}") {
        let mut at = cut.index(text.len());
        while !text.is_char_boundary(at) { at -= 1; }
        let text = format!("{}{noise}{}", &text[..at], &text[at..]);
        drop(Policy::parse(&text, Flavour::Resource));
    }
}

#[test]
fn hostile_documents_end_soon() {
    let deep = format!("{}1{}", "[".repeat(60_000), "]".repeat(60_000));
    let wide = format!(
        r#"{{"Version":"2012-10-17","Statement":[{}1]}}"#,
        "1,".repeat(60_000)
    );
    let keys: String = (0..10_000).map(|at| format!(r#""k{at}":1,"#)).collect();
    let many = format!(r#"{{{keys}"z":1}}"#);
    let stars = policy(&format!(
        r#"{{"Effect":"Allow","Action":"s3:{}","Resource":"*"}}"#,
        "*a".repeat(50_000)
    ));
    let braces = policy(&format!(
        r#"{{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::{}"}}"#,
        "${".repeat(60_000)
    ));
    for text in [deep, wide, many, stars, braces] {
        drop(Policy::parse(&text, Flavour::Managed));
    }
}
