//! Sessions.

use std::time::Duration;

use wire::sigv4::Refusal;

use crate::{ACCOUNT, ADMIN, OTHER, World, account, allow, trust};

#[tokio::test]
async fn everyone_may_ask_who_they_are() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    let who = world.sts(&alice, "GetCallerIdentity", &[]).await.ok();
    assert_eq!(
        (who.text("Arn"), who.text("Account")),
        (
            format!("arn:aws:iam::{ACCOUNT}:user/alice"),
            ACCOUNT.to_owned()
        )
    );
    assert!(who.text("UserId").starts_with("AIDA"));
    let who = world
        .sts(&world.root(), "GetCallerIdentity", &[])
        .await
        .ok();
    assert_eq!(
        (who.text("Arn"), who.text("UserId")),
        (format!("arn:aws:iam::{ACCOUNT}:root"), ACCOUNT.to_owned())
    );
    let info = world
        .sts(
            &world.root(),
            "GetAccessKeyInfo",
            &[("AccessKeyId", &alice.access_key_id)],
        )
        .await
        .ok();
    assert_eq!(info.text("Account"), ACCOUNT);
}

#[tokio::test]
async fn a_role_is_assumed_by_whom_it_trusts() {
    let world = World::new().await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let role = world
        .role("app", &trust(&format!("arn:aws:iam::{ACCOUNT}:user/alice")))
        .await;
    let assume = [("RoleArn", role.as_str()), ("RoleSessionName", "s1")];
    let made = world.sts(&alice, "AssumeRole", &assume).await.ok();
    assert_eq!(
        made.text("Arn"),
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/app/s1")
    );
    assert_eq!(made.text("Expiration"), "2026-01-01T01:00:00Z");
    let session = world.session(&made);
    let who = world.sts(&session, "GetCallerIdentity", &[]).await.ok();
    assert_eq!(who.text("UserId"), made.text("AssumedRoleId"));

    let refusal = format!(
        "User: arn:aws:iam::{ACCOUNT}:user/bob is not authorized to perform: sts:AssumeRole on resource: {role}"
    );
    world
        .sts(&bob, "AssumeRole", &assume)
        .await
        .refused(403, "AccessDenied", &refusal);
    // Strangers must not learn which roles there are.
    let nobody = role.replace("app", "nope");
    let refusal = refusal.replace("role/app", "role/nope");
    world
        .sts(
            &bob,
            "AssumeRole",
            &[("RoleArn", &nobody), ("RoleSessionName", "s1")],
        )
        .await
        .refused(403, "AccessDenied", &refusal);
    world
        .sts(&world.root(), "AssumeRole", &assume)
        .await
        .refused(
            403,
            "AccessDenied",
            "Roles may not be assumed by root accounts.",
        );
    let bad = world
        .sts(
            &alice,
            "AssumeRole",
            &[("RoleArn", &role), ("RoleSessionName", "a b")],
        )
        .await;
    bad.refused(400, "ValidationError", r"1 validation error detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*");
}

#[tokio::test]
async fn an_account_in_a_trust_policy_delegates() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    let role = world.role("app", &trust(ACCOUNT)).await;
    let assume = [("RoleArn", role.as_str()), ("RoleSessionName", "s1")];
    assert_eq!(world.sts(&alice, "AssumeRole", &assume).await.status, 403);
    world
        .inline("User", "alice", "p", &allow("sts:AssumeRole", &role))
        .await
        .ok();
    world.sts(&alice, "AssumeRole", &assume).await.ok();
}

#[tokio::test]
async fn across_accounts_both_sides_agree() {
    let world = World::new().await;
    world
        .identity
        .create_account(&account(OTHER))
        .await
        .unwrap();
    let theirs = world.root_of(OTHER);
    world
        .iam(&theirs, "CreateUser", &[("UserName", "carol")])
        .await
        .ok();
    let key = world
        .iam(&theirs, "CreateAccessKey", &[("UserName", "carol")])
        .await
        .ok();
    let carol = world.caller(&key.text("AccessKeyId"), None);
    let secret = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"444455556666"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"s3cret"}}}]}"#;
    let role = world.role("shared", secret).await;
    let assume = [
        ("RoleArn", role.as_str()),
        ("RoleSessionName", "s1"),
        ("ExternalId", "s3cret"),
    ];
    assert_eq!(
        world.sts(&carol, "AssumeRole", &assume).await.status,
        403,
        "carol's own account has not allowed it"
    );
    let document = allow("sts:AssumeRole", &role);
    let put = [
        ("UserName", "carol"),
        ("PolicyName", "p"),
        ("PolicyDocument", document.as_str()),
    ];
    world.iam(&theirs, "PutUserPolicy", &put).await.ok();
    world.sts(&carol, "AssumeRole", &assume).await.ok();
    assert_eq!(
        world.sts(&carol, "AssumeRole", &assume[..2]).await.status,
        403,
        "without the external id"
    );
}

#[tokio::test]
async fn session_policies_limit() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    let role = world
        .role("app", &trust(&format!("arn:aws:iam::{ACCOUNT}:user/alice")))
        .await;
    world
        .iam(
            &world.root(),
            "AttachRolePolicy",
            &[("RoleName", "app"), ("PolicyArn", ADMIN)],
        )
        .await
        .ok();
    let policy = allow("iam:ListRoles", "*");
    let assume = [
        ("RoleArn", role.as_str()),
        ("RoleSessionName", "s1"),
        ("Policy", policy.as_str()),
    ];
    let made = world.sts(&alice, "AssumeRole", &assume).await.ok();
    assert!(made.text("PackedPolicySize").parse::<u32>().unwrap() > 0);
    let session = world.session(&made);
    world.iam(&session, "ListRoles", &[]).await.ok();
    let denied = world.iam(&session, "ListUsers", &[]).await;
    denied.refused(403, "AccessDenied", &format!("User: arn:aws:sts::{ACCOUNT}:assumed-role/app/s1 is not authorized to perform: iam:ListUsers on resource: arn:aws:iam::{ACCOUNT}:user/ because no session policy allows the iam:ListUsers action"));
    let readonly = "arn:aws:iam::aws:policy/IAMReadOnlyAccess";
    let assume = [
        ("RoleArn", role.as_str()),
        ("RoleSessionName", "s1"),
        ("PolicyArns.member.1.arn", readonly),
    ];
    let session = world.session(&world.sts(&alice, "AssumeRole", &assume).await.ok());
    world.iam(&session, "ListUsers", &[]).await.ok();
    assert_eq!(
        world
            .iam(&session, "CreateUser", &[("UserName", "x")])
            .await
            .status,
        403
    );
    let broken = [
        ("RoleArn", role.as_str()),
        ("RoleSessionName", "s1"),
        ("Policy", "{}"),
    ];
    assert_eq!(
        world.sts(&alice, "AssumeRole", &broken).await.text("Code"),
        "MalformedPolicyDocument"
    );
    let long = allow(
        "s3:GetObject",
        &format!("arn:aws:s3:::{}", "x".repeat(2_100)),
    );
    let big = [
        ("RoleArn", role.as_str()),
        ("RoleSessionName", "s1"),
        ("Policy", long.as_str()),
    ];
    assert_eq!(
        world.sts(&alice, "AssumeRole", &big).await.text("Code"),
        "PackedPolicyTooLarge"
    );
}

#[tokio::test]
async fn tags_of_a_session() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    let plain = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"},"Action":"sts:AssumeRole"}]}"#;
    let role = world.role("plain", plain).await;
    let tagged = |role: &str| {
        vec![
            ("RoleArn", role.to_owned()),
            ("RoleSessionName", "s1".into()),
            ("Tags.member.1.Key", "team".into()),
            ("Tags.member.1.Value", "red".into()),
            ("TransitiveTagKeys.member.1", "team".into()),
        ]
    };
    let call = async |caller, members: Vec<(&str, String)>| {
        let members: Vec<(&str, &str)> = members
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        world.sts(caller, "AssumeRole", &members).await
    };
    let denied = call(&alice, tagged(&role)).await;
    assert!(
        denied
            .text("Message")
            .contains("is not authorized to perform: sts:TagSession"),
        "{}",
        denied.body
    );
    let role = world
        .role(
            "tagging",
            &trust(&format!("arn:aws:iam::{ACCOUNT}:user/alice")),
        )
        .await;
    let own = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/team":"red"}}}]}"#;
    world.inline("Role", "tagging", "p", own).await.ok();
    let session = world.session(&call(&alice, tagged(&role)).await.ok());
    world.iam(&session, "ListUsers", &[]).await.ok();
    let without = vec![("RoleArn", role.clone()), ("RoleSessionName", "s1".into())];
    let bare = world.session(&call(&alice, without).await.ok());
    assert_eq!(world.iam(&bare, "ListUsers", &[]).await.status, 403);

    // Transitive tags go along, and a chained session lasts an hour at most.
    let next = world
        .role(
            "next",
            &trust(&format!("arn:aws:iam::{ACCOUNT}:role/tagging")),
        )
        .await;
    world.inline("Role", "next", "p", own).await.ok();
    let chained = world.session(
        &call(
            &session,
            vec![("RoleArn", next.clone()), ("RoleSessionName", "s2".into())],
        )
        .await
        .ok(),
    );
    world.iam(&chained, "ListUsers", &[]).await.ok();
    let long = vec![
        ("RoleArn", next.clone()),
        ("RoleSessionName", "s2".into()),
        ("DurationSeconds", "3601".into()),
    ];
    call(&session, long).await.refused(400, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining");
    let long = vec![
        ("RoleArn", role),
        ("RoleSessionName", "s2".into()),
        ("DurationSeconds", "3601".into()),
    ];
    call(&alice, long).await.refused(
        400,
        "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    );
}

#[tokio::test]
async fn a_user_made_anew_is_not_trusted() {
    let world = World::new().await;
    let root = world.root();
    world
        .iam(&root, "CreateUser", &[("UserName", "alice")])
        .await
        .ok();
    let role = world
        .role("app", &trust(&format!("arn:aws:iam::{ACCOUNT}:user/alice")))
        .await;
    world
        .iam(&root, "DeleteUser", &[("UserName", "alice")])
        .await
        .ok();
    let alice = world.user("alice").await;
    let assume = [("RoleArn", role.as_str()), ("RoleSessionName", "s1")];
    assert_eq!(world.sts(&alice, "AssumeRole", &assume).await.status, 403);
    let again = trust(&format!("arn:aws:iam::{ACCOUNT}:user/alice"));
    world
        .iam(
            &root,
            "UpdateAssumeRolePolicy",
            &[("RoleName", "app"), ("PolicyDocument", &again)],
        )
        .await
        .ok();
    world.sts(&alice, "AssumeRole", &assume).await.ok();
}

#[tokio::test]
async fn sessions_of_users() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    world
        .inline("User", "alice", "p", &allow("*", "*"))
        .await
        .ok();
    let made = world
        .sts(&alice, "GetSessionToken", &[("DurationSeconds", "900")])
        .await
        .ok();
    let session = world.session(&made);
    assert_eq!(session.arn, alice.arn);
    let cx = world.context(&session);
    let ask = |action| {
        wire::Authorizer::authorize(
            &world.identity,
            &cx,
            &wire::Ask {
                action,
                resource: &wire::Arn::any(),
                owner: None,
                keys: &Vec::new(),
                resource_policy: None,
            },
        )
    };
    assert_eq!(ask("s3:ListAllMyBuckets"), Ok(()));
    // Without a second factor such a session may call neither IAM nor most of STS.
    assert!(ask("iam:ListUsers").is_err());
    let again = world.sts(&session, "GetSessionToken", &[]).await;
    again.refused(
        403,
        "AccessDenied",
        "Cannot call GetSessionToken with session credentials",
    );

    let (key, token) = (made.text("AccessKeyId"), made.text("SessionToken"));
    assert_eq!(
        world.identity.find_key(&key, None, world.now()).err(),
        Some(Refusal::UnknownClient)
    );
    assert_eq!(
        world
            .identity
            .find_key(&alice.access_key_id, Some(&token), world.now())
            .err(),
        Some(Refusal::UnknownClient)
    );
    let mut forged = token.clone().into_bytes();
    forged[40] ^= 1;
    let forged = String::from_utf8(forged).unwrap();
    assert_eq!(
        world
            .identity
            .find_key(&key, Some(&forged), world.now())
            .err(),
        Some(Refusal::UnknownClient)
    );
    world.clock.advance(Duration::from_secs(899));
    assert!(
        world
            .identity
            .find_key(&key, Some(&token), world.now())
            .is_ok()
    );
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(
        world
            .identity
            .find_key(&key, Some(&token), world.now())
            .err(),
        Some(Refusal::ExpiredToken)
    );
}

#[tokio::test]
async fn federated_users_have_what_both_policies_allow() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    world
        .inline("User", "alice", "p", &allow("*", "*"))
        .await
        .ok();
    let policy = allow("s3:*", "*");
    let made = world
        .sts(
            &alice,
            "GetFederationToken",
            &[("Name", "al"), ("Policy", &policy)],
        )
        .await
        .ok();
    let session = world.session(&made);
    assert_eq!(
        session.arn.as_str(),
        format!("arn:aws:sts::{ACCOUNT}:federated-user/al")
    );
    let ask = |session, action| {
        let cx = world.context(session);
        wire::Authorizer::authorize(
            &world.identity,
            &cx,
            &wire::Ask {
                action,
                resource: &wire::Arn::any(),
                owner: None,
                keys: &Vec::new(),
                resource_policy: None,
            },
        )
        .is_ok()
    };
    assert!(ask(&session, "s3:ListAllMyBuckets"));
    assert!(!ask(&session, "sqs:ListQueues"));
    let bare = world.session(
        &world
            .sts(&alice, "GetFederationToken", &[("Name", "al")])
            .await
            .ok(),
    );
    assert!(
        !ask(&bare, "s3:ListAllMyBuckets"),
        "without a session policy there is nothing"
    );
    world.sts(&session, "GetCallerIdentity", &[]).await.ok();
}

#[tokio::test]
async fn tokens_can_be_made_longer() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    let made = world
        .sts(
            &alice,
            "GetSessionToken",
            &[("MinimumSessionTokenSize", "3000")],
        )
        .await
        .ok();
    let token = made.text("SessionToken");
    assert!((3_000..3_010).contains(&token.len()));
    assert_eq!(made.text("SessionTokenSize"), token.len().to_string());
    world.session(&made);
    let refused = world
        .sts(
            &alice,
            "AssumeRole",
            &[
                ("RoleArn", "arn:aws:iam::111122223333:role/r"),
                ("RoleSessionName", "s1"),
                (
                    "ProvidedContexts.member.1.ProviderArn",
                    "arn:aws:iam::aws:contextProvider/IdentityCenter",
                ),
            ],
        )
        .await;
    assert_eq!(
        (refused.status, refused.text("Code").as_str()),
        (400, "ValidationError")
    );
}
