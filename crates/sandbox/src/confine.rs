//! The Landlock domain of everything inside. The sandbox's init enters it once and its children inherit it; what a zygote
//! forks enters one like it.

use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};

use crate::channel::Fault;

/// Confines the current thread, for ever, as far as the kernel's Landlock goes: everything that is mounted may be read
/// and executed (mounts say where not), and only what is below these folders may be changed. A missing one is skipped.
///
/// `signals` keeps signals within the domain. The init of a nursery's sandbox must reach what a zygote forked, whose
/// domain is another; the process namespace is its limit, and its children call [`scope_signals`].
pub(crate) fn confine(writable: &[String], signals: bool) -> Result<(), Fault> {
    let ruleset = ruleset(writable, signals)?;
    ruleset.restrict_self().map(drop).map_err(landlock)
}

/// What a zygote's child confines itself with. None where the kernel has no Landlock.
pub(crate) fn domain(writable: &[String]) -> Result<Option<OwnedFd>, Fault> {
    ruleset(writable, true).map(Into::into)
}

fn ruleset(writable: &[String], signals: bool) -> Result<RulesetCreated, Fault> {
    let scope = if signals {
        Scope::AbstractUnixSocket | Scope::Signal
    } else {
        Scope::AbstractUnixSocket.into()
    };
    let abi = ABI::V7;
    let use_it = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute;
    let change = AccessFs::from_write(abi);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|ruleset| ruleset.scope(scope))
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
    Ok(ruleset)
}

/// Confines the current thread and all that comes of it, for ever, to signals and abstract sockets of its own domain.
pub(crate) fn scope_signals() -> Result<(), Fault> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::AbstractUnixSocket | Scope::Signal)
        .and_then(Ruleset::create)
        .map_err(landlock)?;
    ruleset.restrict_self().map(drop).map_err(landlock)
}

fn landlock(error: landlock::RulesetError) -> Fault {
    Fault {
        step: format!("landlock: {error}"),
        errno: libc::EINVAL,
    }
}
