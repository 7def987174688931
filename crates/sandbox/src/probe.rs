//! What this machine offers for isolation, for people: each finding with what to do about it.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::broker::Hello;
use crate::cgroup::Tree;
use crate::moves;
use crate::spec::Limits;
use crate::sys;

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// As wished.
    Good,
    /// It works, with something less.
    Weaker,
    /// Functions cannot run without it.
    Missing,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub name: String,
    /// How good.
    pub level: Level,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// Everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// In the order of importance.
    pub findings: Vec<Finding>,
}

impl Probe {
    /// Whether functions can be isolated here at all.
    pub fn works(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.level != Level::Missing)
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding {
            name,
            level,
            detail,
            advice,
        } in &self.findings
        {
            let word = match level {
                Level::Good => "ok",
                Level::Weaker => "weaker",
                Level::Missing => "missing",
            };
            writeln!(f, "{word:8}{name}: {detail}")?;
            if let Some(advice) = advice {
                writeln!(f, "        {advice}")?;
            }
        }
        Ok(())
    }
}

/// Looks around. Runs in the broker's process, which has one thread.
pub(crate) fn look(hello: &Hello) -> Probe {
    Probe {
        findings: vec![
            namespaces(),
            cgroups(hello),
            moves(),
            landlock(),
            seccomp(),
            overlay(),
        ],
    }
}

fn finding(name: &str, level: Level, detail: impl Into<String>, advice: Option<String>) -> Finding {
    Finding {
        name: name.to_owned(),
        level,
        detail: detail.into(),
        advice,
    }
}

/// Tries it in a child and tells whether it worked.
fn attempt(flags: i32) -> bool {
    match sys::fork() {
        Ok(None) => sys::exit_now(i32::from(sys::unshare(flags).is_err())),
        Ok(Some(_)) => matches!(sys::reap(true), Some((_, 0))),
        Err(_) => false,
    }
}

fn namespaces() -> Finding {
    const ALL: i32 = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let name = "namespaces";
    if rustix::process::geteuid().is_root() && attempt(ALL | libc::CLONE_NEWUSER) && attempt(ALL) {
        return finding(
            name,
            Level::Good,
            "all seven, as root; every sandbox has a user id of its own",
            None,
        );
    }
    if attempt(ALL | libc::CLONE_NEWUSER) {
        let advice = "run as root to give every sandbox a user id of its own";
        return finding(
            name,
            Level::Weaker,
            "all seven, in a user namespace; sandboxes share one user id",
            Some(advice.to_owned()),
        );
    }
    finding(
        name,
        Level::Missing,
        "neither root's rights nor user namespaces",
        Some(userns_advice()),
    )
}

/// What to do when user namespaces are refused.
pub(crate) fn userns_advice() -> String {
    let is =
        |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if is(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ) {
        "run as root, or set sysctl kernel.apparmor_restrict_unprivileged_userns=0".to_owned()
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "run as root, or set sysctl kernel.unprivileged_userns_clone=1".to_owned()
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "run as root, or set sysctl user.max_user_namespaces=15000".to_owned()
    } else {
        "run as root; in a container add --privileged, or --cap-add SYS_ADMIN with seccomp and AppArmor unconfined".to_owned()
    }
}

fn cgroups(hello: &Hello) -> Finding {
    let tree = Tree::detect(Path::new("/"), &hello.cgroup_name);
    tree.forget(Path::new("/"));
    match tree.limits() {
        Limits::CgroupV2 => finding("limits", Level::Good, "cgroup v2", None),
        Limits::CgroupV1 => finding("limits", Level::Good, "cgroup v1 (memory, cpu, pids)", None),
        Limits::BestEffort(why) => {
            let advice =
                "run as root, or inside `systemd-run --user --scope -p Delegate=yes`".to_owned();
            finding(
                "limits",
                Level::Weaker,
                format!("best effort: {why}"),
                Some(advice),
            )
        }
    }
}

fn moves() -> Finding {
    let name = "moving processes under their limits";
    match moves::is_possible() {
        Ok(()) => finding(name, Level::Good, "at once (favordynmods)", None),
        Err(fault) => finding(
            name,
            Level::Weaker,
            format!("5 to 10 ms after a pause: {fault}"),
            Some("run as root on Linux 6.0 or newer, in a container with the host's cgroup namespace".to_owned()),
        ),
    }
}

fn landlock() -> Finding {
    /// The first that confines signals and abstract sockets.
    const WANTED: i32 = 6;
    match sys::landlock_abi() {
        0 => finding(
            "landlock",
            Level::Weaker,
            "not enabled",
            Some("boot with lsm=landlock,... (Linux 5.13 or newer)".to_owned()),
        ),
        abi if abi < WANTED => finding(
            "landlock",
            Level::Weaker,
            format!("version {abi}"),
            Some("Linux 6.12 confines signals and abstract sockets too".to_owned()),
        ),
        abi => finding("landlock", Level::Good, format!("version {abi}"), None),
    }
}

fn seccomp() -> Finding {
    match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.contains("errno") => {
            finding("seccomp", Level::Good, "filters", None)
        }
        _ => finding(
            "seccomp",
            Level::Missing,
            "no filters",
            Some("use a kernel with CONFIG_SECCOMP_FILTER".to_owned()),
        ),
    }
}

fn overlay() -> Finding {
    let known = fs::read_to_string("/proc/filesystems")
        .is_ok_and(|text| text.lines().any(|line| line.ends_with("\toverlay")));
    if known {
        finding("overlay", Level::Good, "available", None)
    } else {
        finding(
            "overlay",
            Level::Good,
            "not loaded; nothing needs it yet",
            None,
        )
    }
}
