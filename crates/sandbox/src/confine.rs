//! The Landlock domain of everything inside. The sandbox's init enters it once and its children inherit it.

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};

use crate::channel::Fault;

/// Folders and what may be done below them. A missing one is skipped: nothing is then allowed there.
pub(crate) struct Folder {
    pub path: String,
    pub write: bool,
    pub exec: bool,
}

/// Confines the current thread to these folders, for ever, as far as the kernel's Landlock goes.
pub(crate) fn confine(folders: &[Folder]) -> Result<(), Fault> {
    let abi = ABI::V7;
    let list = AccessFs::ReadDir;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_write(abi);
    let landlock = |error: landlock::RulesetError| Fault {
        step: format!("landlock: {error}"),
        errno: libc::EINVAL,
    };
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|ruleset| ruleset.scope(Scope::AbstractUnixSocket | Scope::Signal))
        .and_then(Ruleset::create)
        .map_err(landlock)?;
    // Folders can be listed anywhere, or `os.listdir('/')` would break: a rule always covers what is below it.
    let everywhere = Folder {
        path: "/".to_owned(),
        write: false,
        exec: false,
    };
    for folder in [&everywhere].into_iter().chain(folders) {
        let Ok(path) = PathFd::new(&folder.path) else {
            continue;
        };
        let mut access = if folder.path == "/" {
            list.into()
        } else {
            read
        };
        if folder.write {
            access |= write;
        }
        if folder.exec {
            access |= AccessFs::Execute;
        }
        ruleset = ruleset
            .add_rule(PathBeneath::new(path, access))
            .map_err(landlock)?;
    }
    ruleset.restrict_self().map(drop).map_err(landlock)
}
