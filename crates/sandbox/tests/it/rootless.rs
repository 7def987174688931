//! The same tests once more as an ordinary user, when they run as root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use sandbox::{Error, Host, Mode};

use crate::common::{BROKER, config, folder};

const NOBODY: &str = "65534";

#[test]
fn an_ordinary_user_is_isolated_too() {
    if std::env::var_os(BROKER).is_some() || Host::start(&config()).unwrap().mode() != Mode::Root {
        return;
    }
    // Where that user can execute them.
    let folder = folder();
    let tests = folder.path().join("tests");
    let broker = folder.path().join("broker");
    fs::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    fs::copy(config().broker_path, &broker).unwrap();
    for program in [&tests, &broker] {
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
        .arg(&tests)
        .args(["--test-threads", "2"])
        .env(BROKER, &broker)
        .current_dir("/")
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
}

/// Set in the process that has no namespaces.
const BARE: &str = "SANDBOX_TEST_BARE";

#[test]
fn without_namespaces_it_refuses_with_advice() {
    if std::env::var_os(BARE).is_some() {
        let refused = Host::start(&config())
            .err()
            .expect("isolation must be impossible here");
        println!("{refused}");
        assert!(
            matches!(&refused, Error::NoIsolation(why) if why.contains("user.max_user_namespaces"))
        );
        let probe = Host::probe(&config()).unwrap();
        assert!(!probe.works(), "{probe}");
        return;
    }
    if std::env::var_os(BROKER).is_some() {
        return;
    }
    // Root in name only: no capabilities, and no user namespaces to be had below this one.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all -- \"$@\"";
    let output = Command::new("unshare")
        .args(["-Ur", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "rootless::without_namespaces_it_refuses_with_advice",
            "--nocapture",
        ])
        .env(BARE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("cannot isolate functions"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
