//! Inline and managed policies.

use crate::{ACCOUNT, ADMIN, BASIC, World, allow};

fn managed(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:policy/{name}")
}

#[tokio::test]
async fn versions_of_a_managed_policy() {
    let world = World::new().await;
    let root = world.root();
    let first = allow("s3:GetObject", "*");
    let made = world
        .iam(
            &root,
            "CreatePolicy",
            &[("PolicyName", "p"), ("PolicyDocument", &first)],
        )
        .await
        .ok();
    let arn = made.text("Arn");
    assert_eq!(
        (arn.as_str(), made.text("DefaultVersionId").as_str()),
        (managed("p").as_str(), "v1")
    );
    let again = world
        .iam(
            &root,
            "CreatePolicy",
            &[("PolicyName", "P"), ("PolicyDocument", &first)],
        )
        .await;
    again.refused(
        409,
        "EntityAlreadyExists",
        "A policy called P already exists. Duplicate names are not allowed.",
    );

    let next = allow("s3:*", "*");
    let version = [
        ("PolicyArn", arn.as_str()),
        ("PolicyDocument", &next),
        ("SetAsDefault", "true"),
    ];
    for number in 2..=5 {
        let made = world.iam(&root, "CreatePolicyVersion", &version).await.ok();
        assert_eq!(made.text("VersionId"), format!("v{number}"));
    }
    let sixth = world.iam(&root, "CreatePolicyVersion", &version).await;
    sixth.refused(
        409,
        "LimitExceeded",
        "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.",
    );
    let conflict = world
        .iam(
            &root,
            "DeletePolicyVersion",
            &[("PolicyArn", &arn), ("VersionId", "v5")],
        )
        .await;
    conflict.refused(
        409,
        "DeleteConflict",
        "Cannot delete the default version of a policy.",
    );
    let listed = world
        .iam(&root, "ListPolicyVersions", &[("PolicyArn", &arn)])
        .await
        .ok();
    assert_eq!(listed.all("VersionId"), ["v5", "v4", "v3", "v2", "v1"]);
    let got = world
        .iam(
            &root,
            "GetPolicyVersion",
            &[("PolicyArn", &arn), ("VersionId", "v1")],
        )
        .await
        .ok();
    assert!(
        got.text("Document")
            .starts_with("%7B%22Version%22%3A%222012-10-17%22")
    );
    let none = world
        .iam(
            &root,
            "GetPolicyVersion",
            &[("PolicyArn", &arn), ("VersionId", "v9")],
        )
        .await;
    none.refused(
        404,
        "NoSuchEntity",
        &format!("Policy {arn} version v9 does not exist or is not attachable."),
    );

    let conflict = world
        .iam(&root, "DeletePolicy", &[("PolicyArn", &arn)])
        .await;
    assert_eq!(conflict.text("Code"), "DeleteConflict");
    for version in ["v1", "v2", "v3", "v4"] {
        world
            .iam(
                &root,
                "DeletePolicyVersion",
                &[("PolicyArn", &arn), ("VersionId", version)],
            )
            .await
            .ok();
    }
    world
        .iam(&root, "DeletePolicy", &[("PolicyArn", &arn)])
        .await
        .ok();
    let gone = world.iam(&root, "GetPolicy", &[("PolicyArn", &arn)]).await;
    gone.refused(404, "NoSuchEntity", &format!("Policy {arn} was not found."));
}

#[tokio::test]
async fn the_version_in_force_decides() {
    let world = World::new().await;
    let (root, alice) = (world.root(), world.user("alice").await);
    let none = allow("s3:GetObject", "*");
    let arn = world
        .iam(
            &root,
            "CreatePolicy",
            &[("PolicyName", "p"), ("PolicyDocument", &none)],
        )
        .await
        .ok()
        .text("Arn");
    world
        .iam(
            &root,
            "AttachUserPolicy",
            &[("UserName", "alice"), ("PolicyArn", &arn)],
        )
        .await
        .ok();
    assert_eq!(world.iam(&alice, "ListUsers", &[]).await.status, 403);
    let lists = allow("iam:ListUsers", "*");
    world
        .iam(
            &root,
            "CreatePolicyVersion",
            &[("PolicyArn", &arn), ("PolicyDocument", &lists)],
        )
        .await
        .ok();
    assert_eq!(world.iam(&alice, "ListUsers", &[]).await.status, 403);
    world
        .iam(
            &root,
            "SetDefaultPolicyVersion",
            &[("PolicyArn", &arn), ("VersionId", "v2")],
        )
        .await
        .ok();
    world.iam(&alice, "ListUsers", &[]).await.ok();
    let used = world
        .iam(&root, "ListEntitiesForPolicy", &[("PolicyArn", &arn)])
        .await
        .ok();
    assert_eq!(used.all("UserName"), ["alice"]);
    assert_eq!(
        world
            .iam(&root, "GetPolicy", &[("PolicyArn", &arn)])
            .await
            .ok()
            .text("AttachmentCount"),
        "1"
    );
    let conflict = world
        .iam(&root, "DeletePolicy", &[("PolicyArn", &arn)])
        .await;
    conflict.refused(
        409,
        "DeleteConflict",
        "Cannot delete a policy attached to entities.",
    );
}

#[tokio::test]
async fn documents_are_checked_and_measured() {
    let world = World::new().await;
    let root = world.root();
    world
        .iam(&root, "CreateUser", &[("UserName", "alice")])
        .await
        .ok();
    let bad = world.inline("User", "alice", "p", "not json").await;
    bad.refused(400, "MalformedPolicyDocument", "Syntax errors in policy.");
    let long = allow(
        "s3:GetObject",
        &format!("arn:aws:s3:::{}", "x".repeat(2_000)),
    );
    let bad = world.inline("User", "alice", "p", &long).await;
    bad.refused(
        409,
        "LimitExceeded",
        "Maximum policy size of 2048 bytes exceeded for user alice",
    );
    // White space does not count.
    let airy = allow("s3:GetObject", "*").replace(',', &format!(",{}", " ".repeat(3_000)));
    world.inline("User", "alice", "p", &airy).await.ok();
    let got = world
        .iam(
            &root,
            "GetUserPolicy",
            &[("UserName", "alice"), ("PolicyName", "p")],
        )
        .await
        .ok();
    assert!(got.text("PolicyDocument").contains("%20%20"));
    let huge = allow(
        "s3:GetObject",
        &format!("arn:aws:s3:::{}", "x".repeat(6_200)),
    );
    let bad = world
        .iam(
            &root,
            "CreatePolicy",
            &[("PolicyName", "p"), ("PolicyDocument", &huge)],
        )
        .await;
    bad.refused(
        409,
        "LimitExceeded",
        "Cannot exceed quota for PolicySize: 6144",
    );
    let none = world
        .iam(
            &root,
            "GetUserPolicy",
            &[("UserName", "alice"), ("PolicyName", "q")],
        )
        .await;
    none.refused(
        404,
        "NoSuchEntity",
        "The user policy with name q cannot be found.",
    );
    assert_eq!(
        world
            .iam(&root, "ListUserPolicies", &[("UserName", "alice")])
            .await
            .ok()
            .all("member"),
        ["p"]
    );
}

#[tokio::test]
async fn policies_of_aws() {
    let world = World::new().await;
    let root = world.root();
    let got = world
        .iam(&root, "GetPolicy", &[("PolicyArn", BASIC)])
        .await
        .ok();
    assert_eq!(
        (
            got.text("Path").as_str(),
            got.text("DefaultVersionId").as_str()
        ),
        ("/service-role/", "v1")
    );
    let version = world
        .iam(
            &root,
            "GetPolicyVersion",
            &[("PolicyArn", BASIC), ("VersionId", "v1")],
        )
        .await
        .ok();
    assert!(version.text("Document").contains("logs%3APutLogEvents"));
    let mine = world
        .iam(&root, "ListPolicies", &[("Scope", "Local")])
        .await
        .ok();
    assert!(mine.all("PolicyName").is_empty());
    let aws = world
        .iam(
            &root,
            "ListPolicies",
            &[
                ("Scope", "AWS"),
                ("PathPrefix", "/service-role/"),
                ("MaxItems", "1000"),
            ],
        )
        .await
        .ok();
    assert!(
        aws.all("PolicyName")
            .contains(&"AWSLambdaBasicExecutionRole".to_owned())
    );
    let document = allow("s3:*", "*");
    let refused = world
        .iam(
            &root,
            "CreatePolicyVersion",
            &[("PolicyArn", ADMIN), ("PolicyDocument", &document)],
        )
        .await;
    assert_eq!(
        (refused.status, refused.text("Code").as_str()),
        (403, "AccessDenied")
    );

    world
        .iam(&root, "CreateUser", &[("UserName", "alice")])
        .await
        .ok();
    let missing = managed("nope");
    let refused = world
        .iam(
            &root,
            "AttachUserPolicy",
            &[("UserName", "alice"), ("PolicyArn", &missing)],
        )
        .await;
    refused.refused(
        404,
        "NoSuchEntity",
        &format!("Policy {missing} does not exist or is not attachable."),
    );
    let refused = world
        .iam(
            &root,
            "DetachUserPolicy",
            &[("UserName", "alice"), ("PolicyArn", BASIC)],
        )
        .await;
    refused.refused(
        404,
        "NoSuchEntity",
        &format!("Policy {BASIC} was not found."),
    );
    for _ in 0..2 {
        world
            .iam(
                &root,
                "AttachUserPolicy",
                &[("UserName", "alice"), ("PolicyArn", BASIC)],
            )
            .await
            .ok();
    }
    let attached = world
        .iam(&root, "ListAttachedUserPolicies", &[("UserName", "alice")])
        .await
        .ok();
    assert_eq!(
        (attached.all("PolicyArn"), attached.all("PolicyName")),
        (
            vec![BASIC.to_owned()],
            vec!["AWSLambdaBasicExecutionRole".to_owned()]
        )
    );
    let attached = world
        .iam(&root, "ListPolicies", &[("OnlyAttached", "true")])
        .await
        .ok();
    assert_eq!(attached.all("Arn"), [BASIC]);
}

#[tokio::test]
async fn the_whole_account_at_once() {
    let world = World::new().await;
    let root = world.root();
    world.user("alice").await;
    world
        .iam(&root, "CreateGroup", &[("GroupName", "g")])
        .await
        .ok();
    world.role("r", crate::TRUST_LAMBDA).await;
    world
        .iam(
            &root,
            "AttachRolePolicy",
            &[("RoleName", "r"), ("PolicyArn", BASIC)],
        )
        .await
        .ok();
    let document = allow("s3:*", "*");
    world
        .iam(
            &root,
            "CreatePolicy",
            &[("PolicyName", "p"), ("PolicyDocument", &document)],
        )
        .await
        .ok();
    let all = world
        .iam(&root, "GetAccountAuthorizationDetails", &[])
        .await
        .ok();
    for (list, name) in [
        ("UserDetailList", "alice"),
        ("GroupDetailList", "g"),
        ("RoleDetailList", "r"),
        ("Policies", "AWSLambdaBasicExecutionRole"),
    ] {
        assert!(
            all.text(list).contains(&format!(">{name}<")),
            "{list}: {}",
            all.body
        );
    }
    let users = world
        .iam(
            &root,
            "GetAccountAuthorizationDetails",
            &[("Filter.member.1", "User")],
        )
        .await
        .ok();
    assert!(users.text("RoleDetailList").is_empty());
    let summary = world.iam(&root, "GetAccountSummary", &[]).await.ok();
    assert!(
        summary
            .body
            .contains("<entry><key>Users</key><value>1</value></entry>"),
        "{}",
        summary.body
    );
    world
        .iam(
            &root,
            "CreateAccountAlias",
            &[("AccountAlias", "my-account")],
        )
        .await
        .ok();
    assert_eq!(
        world
            .iam(&root, "ListAccountAliases", &[])
            .await
            .ok()
            .all("member"),
        ["my-account"]
    );
}
