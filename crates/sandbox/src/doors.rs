//! Doors of a cgroup: files by which a process moves itself in.
//!
//! Who moves another process waits until the kernel's RCU has seen every CPU, half a millisecond while much is moved and 5 to
//! 10 ms otherwise. A process without threads that moves itself by v1's `tasks` need not wait for anything, since the kernel
//! knows that it neither ends nor starts a thread meanwhile. The right to do so is that of who opened the file, so it is not given to code that is a
//! tenant's. v2 has `CLONE_INTO_CGROUP` instead, for who clones.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::cgroup::{Group, below};
use crate::channel::{Fault, Step};

/// The doors of a group, which go to the process that is to enter; none of v2.
pub(crate) fn open(group: Option<&Group>, root: &Path) -> Result<Vec<OwnedFd>, Fault> {
    let v1 = group.filter(|group| group.unified().is_none());
    let open = |dir: &Path| {
        let path = below(root, dir).join("tasks");
        let file = File::options().write(true).open(&path);
        file.map(OwnedFd::from)
            .step(format!("opening {}", path.display()))
    };
    let dirs = v1.map_or(Vec::new(), Group::dirs);
    dirs.into_iter().map(open).collect()
}

/// Moves the process that calls it in.
pub(crate) fn enter(doors: Vec<OwnedFd>) -> Result<(), Fault> {
    for door in doors {
        rustix::io::write(&door, b"0").step("entering a cgroup")?;
    }
    Ok(())
}
