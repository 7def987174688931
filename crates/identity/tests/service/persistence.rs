//! What is acknowledged is there after a restart, and nothing of it needs the disk.

use store::Expect;

use crate::{ACCOUNT, BASIC, TRUST_LAMBDA, World, allow, lambda_session};

#[tokio::test]
async fn everything_survives_a_restart() {
    let world = World::new().await;
    let root = world.root();
    let alice = world.user("alice").await;
    world
        .inline("User", "alice", "p", &allow("iam:List*", "*"))
        .await
        .ok();
    world
        .iam(&root, "CreateGroup", &[("GroupName", "g")])
        .await
        .ok();
    world
        .iam(
            &root,
            "AddUserToGroup",
            &[("GroupName", "g"), ("UserName", "alice")],
        )
        .await
        .ok();
    let arn = wire::Arn::parse(&world.role("worker", TRUST_LAMBDA).await).unwrap();
    world
        .iam(
            &root,
            "AttachRolePolicy",
            &[("RoleName", "worker"), ("PolicyArn", BASIC)],
        )
        .await
        .ok();
    let made = world.identity.role_session(&lambda_session(&arn)).unwrap();
    let before = world
        .iam(&root, "GetAccountAuthorizationDetails", &[])
        .await
        .ok();

    let world = world.restart().await;
    assert_eq!(world.root().access_key_id, root.access_key_id);
    let alice = world.caller(&alice.access_key_id, None);
    world.iam(&alice, "ListUsers", &[]).await.ok();
    let session = world.caller(&made.access_key_id, Some(&made.session_token));
    assert_eq!(
        session.arn.as_str(),
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/worker/hello")
    );
    let after = world
        .iam(&world.root(), "GetAccountAuthorizationDetails", &[])
        .await
        .ok();
    let without_last_use = |answer: &crate::Answer| {
        answer
            .body
            .split("<RoleLastUsed>")
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(without_last_use(&before), without_last_use(&after));
}

#[tokio::test]
async fn a_rename_cut_short_is_finished() {
    let world = World::new().await;
    let root = world.root();
    let alice = world.user("alice").await;
    let old_key = format!("identity/account/{ACCOUNT}/user/alice");
    let old = world.store().kv.get(&old_key).await.unwrap().unwrap();
    world
        .iam(
            &root,
            "UpdateUser",
            &[("UserName", "alice"), ("NewUserName", "alison")],
        )
        .await
        .ok();
    // As if the crash had come between the two writes.
    world
        .store()
        .kv
        .put(&old_key, old.value, Expect::Absent)
        .await
        .unwrap();
    let world = world.restart().await;
    let names = world
        .iam(&world.root(), "ListUsers", &[])
        .await
        .ok()
        .all("UserName");
    assert_eq!(names, ["alison"]);
    assert_eq!(
        world.caller(&alice.access_key_id, None).arn.as_str(),
        format!("arn:aws:iam::{ACCOUNT}:user/alison")
    );
    assert!(world.store().kv.get(&old_key).await.unwrap().is_none());
}

#[tokio::test]
async fn a_write_of_somebody_else_is_taken_over() {
    let world = World::new().await;
    let root = world.root();
    world
        .iam(&root, "CreateUser", &[("UserName", "alice")])
        .await
        .ok();
    let key = format!("identity/account/{ACCOUNT}/user/alice");
    let entry = world.store().kv.get(&key).await.unwrap().unwrap();
    let changed = String::from_utf8(entry.value.to_vec())
        .unwrap()
        .replace("\"/\"", "\"/elsewhere/\"");
    world
        .store()
        .kv
        .put(&key, changed.into(), Expect::Revision(entry.revision))
        .await
        .unwrap();
    let tag = [
        ("UserName", "alice"),
        ("Tags.member.1.Key", "k"),
        ("Tags.member.1.Value", "v"),
    ];
    world.iam(&root, "TagUser", &tag).await.ok();
    let got = world
        .iam(&root, "GetUser", &[("UserName", "alice")])
        .await
        .ok();
    assert_eq!(
        (got.text("Path").as_str(), got.text("Key").as_str()),
        ("/elsewhere/", "k")
    );
}

#[tokio::test]
async fn a_damaged_record_stops_the_start() {
    let world = World::new().await;
    world.user("alice").await;
    let key = format!("identity/account/{ACCOUNT}/user/alice");
    world
        .store()
        .kv
        .put(&key, "{".into(), Expect::Any)
        .await
        .unwrap();
    let settings = identity::Settings {
        account: crate::account(ACCOUNT),
        dev: false,
    };
    assert!(
        identity::Identity::open(world.store(), settings)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_reset_begins_anew() {
    let world = World::with(true).await;
    let root = world.root();
    let alice = world.user("alice").await;
    world.identity.reset().await.unwrap();
    assert!(
        world
            .identity
            .find_key(&alice.access_key_id, None, world.now())
            .is_err()
    );
    assert_ne!(world.root().access_key_id, root.access_key_id);
    assert!(
        world
            .iam(&world.root(), "ListUsers", &[])
            .await
            .ok()
            .all("UserName")
            .is_empty()
    );
}
