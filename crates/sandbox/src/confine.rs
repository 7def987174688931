//! The Landlock domain of everything inside. The sandbox's init enters it once and its children inherit it.

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};

use crate::channel::Fault;

/// Confines the current thread, for ever, as far as the kernel's Landlock goes: everything that is mounted may be read
/// and executed (mounts say where not), and only what is below these folders may be changed. A missing one is skipped.
pub(crate) fn confine(writable: &[String]) -> Result<(), Fault> {
    let abi = ABI::V7;
    let use_it = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute;
    let change = AccessFs::from_write(abi);
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
    let everywhere = [("/", use_it)].into_iter();
    for (path, access) in everywhere.chain(writable.iter().map(|path| (path.as_str(), change))) {
        let Ok(path) = PathFd::new(path) else {
            continue;
        };
        ruleset = ruleset
            .add_rule(PathBeneath::new(path, access))
            .map_err(landlock)?;
    }
    ruleset.restrict_self().map(drop).map_err(landlock)
}
