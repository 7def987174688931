//! What the host makes sure of before a fork may go on.
//!
//! What forked belongs to a tenant, so nothing that it says is believed, not even which process it is. All of this is
//! asked of the kernel: that the process is in every namespace of the one sandbox, has the user that functions have
//! there, and has no right left and no way to get one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::channel;
use crate::rootfs;
use crate::spec::Mode;
use crate::sys;

/// Where a fork must be.
pub(crate) struct Entered<'a> {
    pub mounts: BorrowedFd<'a>,
    /// In the order of [`NAMESPACES`], and what else comes behind them.
    pub others: &'a [OwnedFd],
    pub mode: Mode,
}

/// Names of [`Entered::others`], in the order in which a sandbox's init gives them.
const NAMESPACES: [&str; 6] = ["pid", "net", "ipc", "uts", "cgroup", "user"];
/// Sets of capabilities, all of which must be empty.
const CAPABILITIES: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// The pid inside, or what is wrong. `process` names the one that `pid` means now.
pub(crate) fn inspect(
    pid: i32,
    process: BorrowedFd<'_>,
    entered: &Entered<'_>,
) -> Result<i32, String> {
    for (name, namespace) in namespaces(entered)? {
        let there = rustix::fs::stat(format!("/proc/{pid}/ns/{name}")).map_err(text)?;
        let wanted = rustix::fs::fstat(namespace).map_err(text)?;
        if (there.st_dev, there.st_ino) != (wanted.st_dev, wanted.st_ino) {
            return Err(format!("it is not in the sandbox's {name} namespace"));
        }
    }
    let read = |name: &str| sys::read_file(format!("/proc/{pid}/{name}").as_ref()).map_err(text);
    let status = read("status")?;
    let user = mapped(&read("uid_map")?, rootfs::USER).ok_or("no user is mapped")?;
    let group = mapped(&read("gid_map")?, rootfs::GROUP).ok_or("no group is mapped")?;
    let inside = Status::parse(&status).judge(&user, &group, entered.mode)?;
    // Had it ended, its number may have been another's by now.
    match channel::wait_readable(process, Some(Duration::ZERO)) {
        Ok(false) => Ok(inside),
        Ok(true) => Err("it has ended".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn namespaces<'a>(
    entered: &'a Entered<'_>,
) -> Result<impl Iterator<Item = (&'static str, BorrowedFd<'a>)>, String> {
    // Those of a sandbox are given away once.
    if entered.others.len() < NAMESPACES.len() {
        return Err("the sandbox has been entered before".to_owned());
    }
    let others = NAMESPACES
        .into_iter()
        .zip(entered.others.iter().map(AsFd::as_fd));
    Ok([("mnt", entered.mounts)].into_iter().chain(others))
}

/// The lines of `/proc/PID/status`.
struct Status<'a>(Vec<(&'a str, Vec<&'a str>)>);

impl<'a> Status<'a> {
    fn parse(text: &'a str) -> Status<'a> {
        let split = |line: &'a str| {
            let (name, words) = line.split_once(':')?;
            Some((name, words.split_whitespace().collect()))
        };
        Status(text.lines().filter_map(split).collect())
    }

    fn words(&self, name: &str) -> &[&'a str] {
        let found = self.0.iter().find(|(named, _)| *named == name);
        found.map_or(&[], |(_, words)| words)
    }

    /// The pid in the innermost namespace, when all is as it must be.
    fn judge(&self, user: &str, group: &str, mode: Mode) -> Result<i32, String> {
        for name in CAPABILITIES {
            match self.words(name) {
                // A kernel without one of the sets does not print it.
                [] if name == "CapAmb" => {}
                [set] if set.bytes().all(|digit| digit == b'0') => {}
                other => return Err(format!("it has rights: {name} is {other:?}")),
            }
        }
        let is = |name: &str, wanted: &[&str]| match self.words(name) {
            found if found == wanted => Ok(()),
            found => Err(format!("{name} is {found:?} instead of {wanted:?}")),
        };
        is("Uid", &[user; 4])?;
        is("Gid", &[group; 4])?;
        if mode == Mode::Root {
            is("Groups", &[])?;
        }
        is("NoNewPrivs", &["1"])?;
        is("Seccomp", &["2"])?;
        is("Threads", &["1"])?;
        let inside = self.words("NSpid").last().and_then(|pid| pid.parse().ok());
        match inside {
            Some(pid) if pid > 1 => Ok(pid),
            _ => Err(format!("it is process {inside:?} of the sandbox")),
        }
    }
}

/// What an id inside is outside, by a map of `/proc`.
fn mapped(map: &str, id: u32) -> Option<String> {
    map.lines().find_map(|line| {
        let mut words = line.split_whitespace().map(str::parse::<u32>);
        let (inside, outside, count) = (
            words.next()?.ok()?,
            words.next()?.ok()?,
            words.next()?.ok()?,
        );
        let offset = id.checked_sub(inside).filter(|offset| *offset < count)?;
        Some((outside + offset).to_string())
    })
}

fn text(error: impl Into<io::Error>) -> String {
    error.into().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Name:\tpython3\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t \nNSpid:\t900\t40\t2\nThreads:\t1\n\
                        CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
                        CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    fn check(changed: &str, to: &str, expected: Result<i32, &str>) {
        let text = GOOD.replace(changed, to);
        let found = Status::parse(&text).judge("7", "8", Mode::Root);
        match (&found, expected) {
            (Ok(pid), Ok(wanted)) => assert_eq!(*pid, wanted),
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            _ => panic!("{changed} -> {to}: {found:?}"),
        }
    }

    #[test]
    fn what_is_not_confined_is_found_out() {
        check("", "", Ok(2));
        check("CapAmb:\t0000000000000000\n", "", Ok(2));
        check(
            "CapPrm:\t0000000000000000",
            "CapPrm:\t0000000000200000",
            Err("CapPrm"),
        );
        check(
            "CapBnd:\t0000000000000000",
            "CapBnd:\t000001ffffffffff",
            Err("CapBnd"),
        );
        check("CapEff:\t0000000000000000\n", "", Err("CapEff"));
        check("Uid:\t7\t7\t7\t7", "Uid:\t7\t0\t7\t7", Err("Uid"));
        check("Gid:\t8\t8\t8\t8", "Gid:\t8\t8\t8\t0", Err("Gid"));
        check("Groups:\t ", "Groups:\t0 ", Err("Groups"));
        check("NoNewPrivs:\t1", "NoNewPrivs:\t0", Err("NoNewPrivs"));
        check("Seccomp:\t2", "Seccomp:\t0", Err("Seccomp"));
        check("Threads:\t1", "Threads:\t2", Err("Threads"));
        check("40\t2", "40\t1", Err("process"));
        check("NSpid:\t900\t40\t2\n", "", Err("process"));
    }

    #[test]
    fn ids_are_looked_up_in_maps() {
        let map = "         0 1879048192          1\n       993 1880096770          1\n";
        assert_eq!(mapped(map, 993), Some("1880096770".to_owned()));
        assert_eq!(mapped(map, 5), None);
        assert_eq!(mapped("0 100 10", 9), Some("109".to_owned()));
    }
}
