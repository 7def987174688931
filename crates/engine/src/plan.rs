//! What a sandbox has of a runtime, and of a function: files, listeners and limits.

use std::net::SocketAddrV4;

use sandbox::Late;

use crate::runtimes::Runtime;
use crate::shared::Shared;
use crate::spec::FunctionSpec;
use crate::variables::RUNTIME_API_PORT;

/// More than any function may have, for what belongs to none: zygotes, and what sets a limit of its own.
const PARKED_MEMORY_BYTES: u64 = 10_240 << 20;

/// The sandbox of a runtime, without code and layers.
pub(crate) fn plan(runtime: &Runtime, name: &str, endpoint_port: u16) -> sandbox::Spec {
    let mut plan = sandbox::Spec::new(name);
    plan.mounts = files(runtime);
    plan.memory_bytes = PARKED_MEMORY_BYTES;
    let local = std::net::Ipv4Addr::LOCALHOST;
    plan.listeners = [RUNTIME_API_PORT, endpoint_port]
        .map(|port| SocketAddrV4::new(local, port))
        .to_vec();
    plan
}

/// The runtime's own files.
pub(crate) fn files(runtime: &Runtime) -> Vec<sandbox::Mount> {
    let mount =
        |mount: &crate::runtimes::Mount| sandbox::Mount::read_only(&mount.source, &mount.target);
    runtime.mounts.iter().map(mount).collect()
}

/// What a slot lacks of a function.
pub(crate) fn late(shared: &Shared, spec: &FunctionSpec) -> Late {
    let task = sandbox::Mount::read_only(&spec.code, "/var/task");
    let layers = spec.layers.as_ref();
    let layers = layers.map(|layers| sandbox::Mount::read_only(layers, "/opt"));
    let bytecode = shared.bytecode.mounts(spec, shared.now());
    Late {
        mounts: [task].into_iter().chain(layers).chain(bytecode).collect(),
        tmp_bytes: u64::from(spec.ephemeral_mb) << 20,
        memory_bytes: u64::from(spec.memory_mb) << 20,
    }
}
