//! The same tests once more as an ordinary user, when they run as root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use sandbox::{Host, Mode};

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
