//! Roles, their trust, and services acting in them.

use identity::CannotAssume;
use wire::{Arn, Ask, Authorizer};

use crate::{ACCOUNT, ADMIN, BASIC, TRUST_LAMBDA, World, allow, lambda_session, trust};

#[tokio::test]
async fn the_first_commands_of_every_tutorial() {
    let world = World::new().await;
    let root = world.root();
    let members = [
        ("RoleName", "lambda_basic_execution"),
        ("AssumeRolePolicyDocument", TRUST_LAMBDA),
    ];
    let made = world.iam(&root, "CreateRole", &members).await.ok();
    assert_eq!(
        made.text("Arn"),
        format!("arn:aws:iam::{ACCOUNT}:role/lambda_basic_execution")
    );
    assert!(
        made.text("AssumeRolePolicyDocument")
            .starts_with("%7B%22Version")
    );
    let attach = [("RoleName", "lambda_basic_execution"), ("PolicyArn", BASIC)];
    world.iam(&root, "AttachRolePolicy", &attach).await.ok();
    let got = world
        .iam(&root, "GetRole", &[("RoleName", "lambda_basic_execution")])
        .await
        .ok();
    assert_eq!(got.text("MaxSessionDuration"), "3600");
    let again = world.iam(&root, "CreateRole", &members).await;
    again.refused(
        409,
        "EntityAlreadyExists",
        "Role with name lambda_basic_execution already exists.",
    );
    let none = world.iam(&root, "GetRole", &[("RoleName", "nope")]).await;
    none.refused(
        404,
        "NoSuchEntity",
        "The role with name nope cannot be found.",
    );
}

#[tokio::test]
async fn lambda_acts_in_a_role_that_trusts_it() {
    let world = World::new().await;
    let arn = Arn::parse(&world.role("worker", TRUST_LAMBDA).await).unwrap();
    world
        .inline(
            "Role",
            "worker",
            "logs",
            &allow("logs:*", "arn:aws:logs:*:*:*"),
        )
        .await
        .ok();
    let made = world.identity.role_session(&lambda_session(&arn)).unwrap();
    assert!(made.access_key_id.starts_with("ASIA"));
    let caller = world.caller(&made.access_key_id, Some(&made.session_token));
    assert_eq!(
        caller.arn.as_str(),
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/worker/hello")
    );

    let cx = world.context(&caller);
    let group = Arn::log_group(&cx.scope, "/aws/lambda/hello");
    let keys = Vec::new();
    let ask = |action| Ask {
        action,
        resource: &group,
        owner: None,
        keys: &keys,
        resource_policy: None,
    };
    assert_eq!(
        world.identity.authorize(&cx, &ask("logs:PutLogEvents")),
        Ok(())
    );
    let denied = world
        .identity
        .authorize(&cx, &ask("s3:GetObject"))
        .unwrap_err();
    assert_eq!(
        denied,
        format!(
            "User: arn:aws:sts::{ACCOUNT}:assumed-role/worker/hello is not authorized to perform: s3:GetObject on resource: {group} because no identity-based policy allows the s3:GetObject action"
        )
    );

    let stranger = Arn::parse(
        &world
            .role("human", &trust(&format!("arn:aws:iam::{ACCOUNT}:root")))
            .await,
    )
    .unwrap();
    assert!(matches!(
        world.identity.role_session(&lambda_session(&stranger)),
        Err(CannotAssume::NotTrusted { .. })
    ));
    let nobody = Arn::parse(&format!("arn:aws:iam::{ACCOUNT}:role/nobody")).unwrap();
    assert!(matches!(
        world.identity.may_assume(&lambda_session(&nobody)),
        Err(CannotAssume::NoRole(_))
    ));
    let elsewhere = Arn::parse("arn:aws:iam::999999999999:role/worker").unwrap();
    assert!(matches!(
        world.identity.may_assume(&lambda_session(&elsewhere)),
        Err(CannotAssume::NoRole(_))
    ));
    let other_path = Arn::parse(&format!("arn:aws:iam::{ACCOUNT}:role/x/worker")).unwrap();
    assert!(matches!(
        world.identity.may_assume(&lambda_session(&other_path)),
        Err(CannotAssume::NoRole(_))
    ));
}

#[tokio::test]
async fn a_session_ends_with_its_role() {
    let world = World::new().await;
    let root = world.root();
    let arn = Arn::parse(&world.role("worker", TRUST_LAMBDA).await).unwrap();
    let made = world.identity.role_session(&lambda_session(&arn)).unwrap();
    world
        .iam(&root, "DeleteRole", &[("RoleName", "worker")])
        .await
        .ok();
    let now = world.now();
    assert!(
        world
            .identity
            .find_key(&made.access_key_id, Some(&made.session_token), now)
            .is_err()
    );
    // A role made anew under the name is another one.
    world.role("worker", TRUST_LAMBDA).await;
    assert!(
        world
            .identity
            .find_key(&made.access_key_id, Some(&made.session_token), now)
            .is_err()
    );
}

#[tokio::test]
async fn trust_policies_are_checked() {
    let world = World::new().await;
    let root = world.root();
    let nobody = trust(&format!("arn:aws:iam::{ACCOUNT}:user/nobody"));
    let cases = [
        ("nonsense", "This policy contains invalid Json".to_owned()),
        (
            &*nobody,
            format!("Invalid principal in policy: \"AWS\":\"arn:aws:iam::{ACCOUNT}:user/nobody\""),
        ),
        (
            &*allow("sts:AssumeRole", "*"),
            "Missing required field Principal".to_owned(),
        ),
    ];
    for (document, message) in cases {
        let members = [("RoleName", "r"), ("AssumeRolePolicyDocument", document)];
        world.iam(&root, "CreateRole", &members).await.refused(
            400,
            "MalformedPolicyDocument",
            &message,
        );
    }
}

#[tokio::test]
async fn a_role_with_something_left_stays() {
    let world = World::new().await;
    let root = world.root();
    world.role("r", TRUST_LAMBDA).await;
    world
        .iam(
            &root,
            "CreateInstanceProfile",
            &[("InstanceProfileName", "p")],
        )
        .await
        .ok();
    let pair = [("InstanceProfileName", "p"), ("RoleName", "r")];
    world
        .iam(&root, "AddRoleToInstanceProfile", &pair)
        .await
        .ok();
    let second = world.iam(&root, "AddRoleToInstanceProfile", &pair).await;
    second.refused(
        409,
        "LimitExceeded",
        "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
    );
    let conflict = world.iam(&root, "DeleteRole", &[("RoleName", "r")]).await;
    conflict.refused(
        409,
        "DeleteConflict",
        "Cannot delete entity, must remove roles from instance profile first.",
    );
    let listed = world
        .iam(&root, "ListInstanceProfilesForRole", &[("RoleName", "r")])
        .await
        .ok();
    assert_eq!(listed.all("InstanceProfileName"), ["p"]);
    world
        .iam(&root, "RemoveRoleFromInstanceProfile", &pair)
        .await
        .ok();
    world
        .iam(
            &root,
            "DeleteInstanceProfile",
            &[("InstanceProfileName", "p")],
        )
        .await
        .ok();
    world
        .iam(&root, "DeleteRole", &[("RoleName", "r")])
        .await
        .ok();
}

#[tokio::test]
async fn roles_linked_to_services_are_theirs() {
    let world = World::new().await;
    let root = world.root();
    let service = "ops.apigateway.amazonaws.com";
    let made = world
        .iam(
            &root,
            "CreateServiceLinkedRole",
            &[("AWSServiceName", service)],
        )
        .await
        .ok();
    let name = "AWSServiceRoleForAPIGateway";
    assert_eq!(
        made.text("Arn"),
        format!("arn:aws:iam::{ACCOUNT}:role/aws-service-role/{service}/{name}")
    );
    let protected = format!(
        "Cannot perform the operation on the protected role '{name}' - this role is only modifiable by AWS"
    );
    let attach = [("RoleName", name), ("PolicyArn", ADMIN)];
    world.iam(&root, "AttachRolePolicy", &attach).await.refused(
        400,
        "UnmodifiableEntity",
        &protected,
    );
    world
        .iam(&root, "DeleteRole", &[("RoleName", name)])
        .await
        .refused(400, "UnmodifiableEntity", &protected);
    let again = world
        .iam(
            &root,
            "CreateServiceLinkedRole",
            &[("AWSServiceName", service)],
        )
        .await;
    assert_eq!(again.text("Code"), "InvalidInput");
    let task = world
        .iam(&root, "DeleteServiceLinkedRole", &[("RoleName", name)])
        .await
        .ok()
        .text("DeletionTaskId");
    let status = world
        .iam(
            &root,
            "GetServiceLinkedRoleDeletionStatus",
            &[("DeletionTaskId", &task)],
        )
        .await
        .ok();
    assert_eq!(status.text("Status"), "SUCCEEDED");
}

#[tokio::test]
async fn a_role_can_be_changed() {
    let world = World::new().await;
    let root = world.root();
    world.role("r", TRUST_LAMBDA).await;
    let longer = [
        ("RoleName", "r"),
        ("MaxSessionDuration", "7200"),
        ("Description", "mine"),
    ];
    let answer = world.iam(&root, "UpdateRole", &longer).await.ok();
    assert!(answer.has("UpdateRoleResult"), "{}", answer.body);
    let got = world.iam(&root, "GetRole", &[("RoleName", "r")]).await.ok();
    assert_eq!(
        (
            got.text("MaxSessionDuration").as_str(),
            got.text("Description").as_str()
        ),
        ("7200", "mine")
    );
    let document = trust(&format!("arn:aws:iam::{ACCOUNT}:root"));
    world
        .iam(
            &root,
            "UpdateAssumeRolePolicy",
            &[("RoleName", "r"), ("PolicyDocument", &document)],
        )
        .await
        .ok();
    let got = world.iam(&root, "GetRole", &[("RoleName", "r")]).await.ok();
    assert!(got.text("AssumeRolePolicyDocument").contains("%3Aroot"));
    let tag = [
        ("RoleName", "r"),
        ("Tags.member.1.Key", "k"),
        ("Tags.member.1.Value", "v"),
    ];
    world.iam(&root, "TagRole", &tag).await.ok();
    assert_eq!(
        world
            .iam(&root, "ListRoleTags", &[("RoleName", "r")])
            .await
            .ok()
            .all("Key"),
        ["k"]
    );
}
