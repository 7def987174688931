//! Moves between cgroups that do not wait.
//!
//! Who moves a process waits until the kernel's RCU has seen every CPU, 5 to 10 ms after a pause, unless a hierarchy asks the
//! kernel to favour moves (`favordynmods`, Linux 6.0). That is an option of one hierarchy and holds for all of them: threads
//! that begin and end pay a memory barrier for it. So the broker asks with a hierarchy of its own, which has no controllers
//! and is mounted nowhere, and leaves everybody else's as they are. Up to 6.17 it holds as long as the broker lives, later
//! until the machine is started again.
//!
//! Kernel documentation: `Documentation/admin-guide/cgroup-v2.rst`.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::channel::{Fault, Step};

/// The first cgroup namespace (`PROC_CGROUP_INIT_INO`), the only one in which hierarchies can be made.
const FIRST_NAMESPACE: &str = "cgroup:[4026531835]";
/// What tells the hierarchy from others, in `/proc/self/cgroup`.
const NAME: &str = "mayfly";

/// Has moves favoured as long as the descriptor is held. Only root can, in the first cgroup namespace.
pub(crate) fn favor() -> Result<OwnedFd, Fault> {
    let context = context()?;
    fsconfig_create(context.as_fd()).step("a hierarchy with favordynmods")?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .step("mounting a hierarchy")
}

/// Whether that would succeed, without having it done.
pub(crate) fn is_possible() -> Result<(), Fault> {
    context()?;
    let namespace = std::fs::read_link("/proc/self/ns/cgroup").step("the cgroup namespace")?;
    if namespace == std::path::Path::new(FIRST_NAMESPACE) {
        return Ok(());
    }
    Err(Fault {
        step: "a cgroup namespace of its own, as containers have".to_owned(),
        errno: libc::EPERM,
    })
}

fn context() -> Result<OwnedFd, Fault> {
    let context = fsopen("cgroup", FsOpenFlags::FSOPEN_CLOEXEC).step("a hierarchy of cgroups")?;
    fsconfig_set_flag(context.as_fd(), "none").step("one without controllers")?;
    fsconfig_set_string(context.as_fd(), "name", NAME).step("naming a hierarchy")?;
    fsconfig_set_flag(context.as_fd(), "favordynmods").step("favordynmods, of Linux 6.0")?;
    Ok(context)
}
