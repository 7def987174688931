//! The authorizer, with real users, roles, boundaries and other services' resources.

use std::sync::Arc;

use wire::{Arn, Ask, Authorizer, Caller, CallerKind};

use crate::{ACCOUNT, ADMIN, OTHER, World, account, allow, deny};

fn ask(
    world: &World,
    caller: &Caller,
    action: &str,
    resource: &str,
    policy: Option<&str>,
) -> Result<(), String> {
    let resource = if resource == "*" {
        Arn::any()
    } else {
        Arn::parse(resource).unwrap()
    };
    let policy: Option<Arc<str>> = policy.map(Into::into);
    let ask = Ask {
        action,
        resource: &resource,
        owner: None,
        keys: &Vec::new(),
        resource_policy: policy.as_ref(),
    };
    world.identity.authorize(&world.context(caller), &ask)
}

const FUNCTION: &str = "arn:aws:lambda:us-east-1:111122223333:function:hello";

fn function_policy(principal: &str, condition: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Id":"default","Statement":[{{"Sid":"a-1","Effect":"Allow","Principal":{principal},"Action":"lambda:InvokeFunction","Resource":"{FUNCTION}"{condition}}}]}}"#
    )
}

#[tokio::test]
async fn the_root_user_may_do_everything_at_home() {
    let world = World::new().await;
    assert_eq!(
        ask(
            &world,
            &world.root(),
            "lambda:InvokeFunction",
            FUNCTION,
            None
        ),
        Ok(())
    );
    world
        .identity
        .create_account(&account(OTHER))
        .await
        .unwrap();
    let stranger = world.root_of(OTHER);
    let denied = ask(&world, &stranger, "lambda:InvokeFunction", FUNCTION, None).unwrap_err();
    assert!(
        denied
            .ends_with("because no resource-based policy allows the lambda:InvokeFunction action"),
        "{denied}"
    );
    let policy = function_policy(&format!(r#"{{"AWS":"arn:aws:iam::{OTHER}:root"}}"#), "");
    assert_eq!(
        ask(
            &world,
            &stranger,
            "lambda:InvokeFunction",
            FUNCTION,
            Some(&policy)
        ),
        Ok(())
    );
}

#[tokio::test]
async fn denials_name_the_kind_of_policy() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    let start = format!(
        "User: arn:aws:iam::{ACCOUNT}:user/alice is not authorized to perform: lambda:InvokeFunction on resource: {FUNCTION} "
    );
    let invoke = |policy| ask(&world, &alice, "lambda:InvokeFunction", FUNCTION, policy);
    assert_eq!(
        invoke(None),
        Err(format!(
            "{start}because no identity-based policy allows the lambda:InvokeFunction action"
        ))
    );
    world
        .inline("User", "alice", "all", &allow("lambda:*", "*"))
        .await
        .ok();
    assert_eq!(invoke(None), Ok(()));
    let boundary = allow("s3:*", "*");
    let made = world
        .iam(
            &world.root(),
            "CreatePolicy",
            &[("PolicyName", "limit"), ("PolicyDocument", &boundary)],
        )
        .await
        .ok();
    let arn = made.text("Arn");
    let limit = [("UserName", "alice"), ("PermissionsBoundary", arn.as_str())];
    world
        .iam(&world.root(), "PutUserPermissionsBoundary", &limit)
        .await
        .ok();
    assert_eq!(
        invoke(None),
        Err(format!(
            "{start}because no permissions boundary allows the lambda:InvokeFunction action"
        ))
    );
    // A resource policy that names the user is not limited by the boundary.
    let names = function_policy(
        &format!(r#"{{"AWS":"arn:aws:iam::{ACCOUNT}:user/alice"}}"#),
        "",
    );
    assert_eq!(invoke(Some(&names)), Ok(()));
    let conflict = world
        .iam(&world.root(), "DeletePolicy", &[("PolicyArn", &arn)])
        .await;
    assert_eq!(conflict.text("Code"), "DeleteConflict");
    world
        .inline("User", "alice", "no", &deny("lambda:*", "*"))
        .await
        .ok();
    assert_eq!(
        invoke(Some(&names)),
        Err(format!(
            "{start}with an explicit deny in an identity-based policy"
        ))
    );
}

#[tokio::test]
async fn services_come_by_the_resource_policy() {
    let world = World::new().await;
    let events = Caller {
        kind: CallerKind::Service("events.amazonaws.com".into()),
        ..world.root()
    };
    let policy = function_policy(
        r#"{"Service":"events.amazonaws.com"}"#,
        r#","Condition":{"ArnLike":{"AWS:SourceArn":"arn:aws:events:us-east-1:111122223333:rule/nightly"}}"#,
    );
    let resource = Arn::parse(FUNCTION).unwrap();
    let policy: Arc<str> = policy.into();
    let from = |rule: &str| {
        let keys = vec![("aws:SourceArn".into(), vec![rule.to_owned()])];
        let ask = Ask {
            action: "lambda:InvokeFunction",
            resource: &resource,
            owner: None,
            keys: &keys,
            resource_policy: Some(&policy),
        };
        world.identity.authorize(&world.context(&events), &ask)
    };
    assert_eq!(
        from("arn:aws:events:us-east-1:111122223333:rule/nightly"),
        Ok(())
    );
    let denied = from("arn:aws:events:us-east-1:111122223333:rule/other").unwrap_err();
    assert!(
        denied.starts_with(
            "User: events.amazonaws.com is not authorized to perform: lambda:InvokeFunction"
        ),
        "{denied}"
    );
    // A policy that cannot be read might hold a denial: nobody comes in.
    let broken = ask(
        &world,
        &world.root(),
        "lambda:InvokeFunction",
        FUNCTION,
        Some("{"),
    );
    assert!(
        broken
            .unwrap_err()
            .ends_with("with an explicit deny in a resource-based policy")
    );
}

#[tokio::test]
async fn strangers_need_everyone() {
    let world = World::new().await;
    let nobody = Caller {
        kind: CallerKind::Anonymous,
        arn: Arn::any(),
        ..world.root()
    };
    let denied = ask(&world, &nobody, "lambda:InvokeFunction", FUNCTION, None).unwrap_err();
    assert!(
        denied.starts_with("User: anonymous is not authorized"),
        "{denied}"
    );
    assert_eq!(
        ask(
            &world,
            &nobody,
            "lambda:InvokeFunction",
            FUNCTION,
            Some(&function_policy("\"*\"", ""))
        ),
        Ok(())
    );
}

#[tokio::test]
async fn paths_tags_and_boundaries_of_users_hold() {
    let world = World::new().await;
    let root = world.root();
    let alice = world.user("alice").await;
    let own_path = allow("iam:*", &format!("arn:aws:iam::{ACCOUNT}:user/dev/*"));
    world.inline("User", "alice", "p", &own_path).await.ok();
    world
        .iam(
            &alice,
            "CreateUser",
            &[("UserName", "bob"), ("Path", "/dev/")],
        )
        .await
        .ok();
    world
        .iam(&alice, "GetUser", &[("UserName", "bob")])
        .await
        .ok();
    let denied = world
        .iam(
            &alice,
            "CreateUser",
            &[("UserName", "carl"), ("Path", "/ops/")],
        )
        .await;
    assert_eq!(
        (denied.status, denied.text("Code").as_str()),
        (403, "AccessDenied")
    );
    assert!(denied.text("Message").contains(&format!(
        "iam:CreateUser on resource: arn:aws:iam::{ACCOUNT}:user/ops/carl"
    )));
    assert_eq!(
        world
            .iam(&alice, "GetUser", &[("UserName", "alice")])
            .await
            .status,
        403
    );

    // A delegated administrator who must set a boundary.
    let must = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"iam:CreateUser","Resource":"*","Condition":{{"StringEquals":{{"iam:PermissionsBoundary":"{ADMIN}"}}}}}},
           {{"Effect":"Allow","Action":"iam:TagUser","Resource":"*","Condition":{{"StringEquals":{{"aws:ResourceTag/team":"${{aws:username}}"}},"ForAllValues:StringEquals":{{"aws:TagKeys":["cost"]}}}}}}]}}"#
    );
    let dora = world.user("dora").await;
    world.inline("User", "dora", "p", &must).await.ok();
    assert_eq!(
        world
            .iam(&dora, "CreateUser", &[("UserName", "x")])
            .await
            .status,
        403
    );
    world
        .iam(
            &dora,
            "CreateUser",
            &[("UserName", "x"), ("PermissionsBoundary", ADMIN)],
        )
        .await
        .ok();
    let cost = [
        ("UserName", "x"),
        ("Tags.member.1.Key", "cost"),
        ("Tags.member.1.Value", "1"),
    ];
    assert_eq!(world.iam(&dora, "TagUser", &cost).await.status, 403);
    let team = [
        ("UserName", "x"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "dora"),
    ];
    world.iam(&root, "TagUser", &team).await.ok();
    world.iam(&dora, "TagUser", &cost).await.ok();
    assert_eq!(world.iam(&dora, "TagUser", &team).await.status, 403);
}

#[tokio::test]
async fn the_facts_of_a_request() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    let tag = [
        ("UserName", "alice"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "red"),
    ];
    world.iam(&world.root(), "TagUser", &tag).await.ok();
    let holds = async |condition: &str| {
        let document = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"x:Y","Resource":"*","Condition":{condition}}}]}}"#
        );
        world.inline("User", "alice", "p", &document).await.ok();
        ask(&world, &alice, "x:Y", "*", None).is_ok()
    };
    for condition in [
        r#"{"StringEquals":{"aws:username":"alice","aws:PrincipalType":"User","aws:PrincipalAccount":"111122223333"}}"#,
        r#"{"StringLike":{"aws:userid":"AIDA*","aws:PrincipalArn":"arn:aws:iam::*:user/alice"}}"#,
        r#"{"StringEquals":{"aws:PrincipalTag/Team":"red","aws:RequestedRegion":"us-east-1"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"},"Bool":{"aws:SecureTransport":"false"}}"#,
        r#"{"StringLike":{"aws:UserAgent":"aws-cli/*"},"DateEquals":{"aws:CurrentTime":"2026-01-01"}}"#,
        r#"{"DateLessThan":{"aws:EpochTime":"2026-01-02"},"NumericGreaterThan":{"aws:EpochTime":"1767225599"}}"#,
        r#"{"Null":{"aws:TokenIssueTime":"true","aws:MultiFactorAuthPresent":"true"}}"#,
    ] {
        assert!(holds(condition).await, "{condition}");
    }
    assert!(!holds(r#"{"StringEquals":{"aws:username":"bob"}}"#).await);
}

#[tokio::test]
async fn roles_of_other_accounts_are_not_passed() {
    let world = World::new().await;
    let foreign = format!("arn:aws:iam::{OTHER}:role/r");
    let denied = ask(&world, &world.root(), "iam:PassRole", &foreign, None).unwrap_err();
    assert!(
        denied.ends_with("Cross-account pass role is not allowed."),
        "{denied}"
    );
}

#[tokio::test]
async fn dev_credentials_are_a_switch() {
    let world = World::with(true).await;
    for (key, id) in [("test", "000000000000"), (OTHER, OTHER)] {
        let found = world.identity.find_key(key, None, world.now()).unwrap();
        assert_eq!((&*found.secret, &*found.caller.account), (&b"test"[..], id));
        assert_eq!(found.caller.kind, CallerKind::Root);
        world
            .iam(&found.caller, "CreateUser", &[("UserName", "alice")])
            .await
            .ok();
    }
    let world = World::new().await;
    for key in ["test", OTHER, "", "AKIAtest"] {
        assert!(world.identity.find_key(key, None, world.now()).is_err());
    }
}
