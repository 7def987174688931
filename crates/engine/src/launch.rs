//! What there is to launch in an environment: extensions, and the bootstrap of a custom runtime.

use std::path::Path;

use crate::api::EXTENSIONS_MAX;
use crate::failure::Failure;
use crate::runtimes::{Family, HANDLER_ARGUMENT};
use crate::spec::FunctionSpec;

/// Where a function's code is, and its runtime starts.
pub(crate) const TASK_ROOT: &str = "/var/task";

/// Executables in /opt/extensions, in order of their names.
pub(crate) fn external_extensions(layers: Option<&Path>) -> Vec<String> {
    let Some(Ok(entries)) = layers.map(|layers| std::fs::read_dir(layers.join("extensions")))
    else {
        return Vec::new();
    };
    let files = entries.flatten().filter(|entry| entry.path().is_file());
    let mut names: Vec<String> = files
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names.truncate(EXTENSIONS_MAX);
    names
}

/// Whether other programs start before its runtime does.
pub(crate) fn has_extensions(spec: &FunctionSpec) -> bool {
    !external_extensions(spec.layers.as_deref()).is_empty()
}

/// What executes the function. A wrapper script comes first for managed runtimes
/// (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-modify.html>).
pub(crate) fn runtime_argv(spec: &FunctionSpec) -> Result<Vec<String>, Failure> {
    if spec.runtime.family == Family::Provided {
        return provided_bootstrap(spec).map(|path| vec![path]);
    }
    let argument = |argument: &String| match argument.as_str() {
        HANDLER_ARGUMENT => spec.handler.clone(),
        other => other.to_owned(),
    };
    Ok(wrapper(spec)
        .into_iter()
        .chain(spec.runtime.argv.iter().map(argument))
        .collect())
}

/// The script that is executed in a managed runtime's stead.
pub(crate) fn wrapper(spec: &FunctionSpec) -> Option<String> {
    let mut variables = spec.env.iter();
    let (_, path) = variables.find(|(name, _)| name == "AWS_LAMBDA_EXEC_WRAPPER")?;
    Some(path.clone()).filter(|path| !path.is_empty())
}

/// The first of the places where a custom runtime may be.
fn provided_bootstrap(spec: &FunctionSpec) -> Result<String, Failure> {
    let runtime = spec
        .runtime
        .mounts
        .iter()
        .find(|mount| mount.target == "/var/runtime");
    let runtime = (
        "/var/runtime/bootstrap",
        runtime.map(|mount| mount.source.join("bootstrap")),
    );
    let task = ("/var/task/bootstrap", Some(spec.code.join("bootstrap")));
    let layer = (
        "/opt/bootstrap",
        spec.layers.as_ref().map(|layers| layers.join("bootstrap")),
    );
    for (inside, outside) in [runtime, task, layer] {
        if outside.is_some_and(|path| path.symlink_metadata().is_ok_and(|meta| !meta.is_dir())) {
            return Ok(inside.to_owned());
        }
    }
    let text = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]";
    Err(Failure::Entrypoint(text.to_owned()))
}

/// The kernel's words without Rust's "(os error N)".
pub(crate) fn errno_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase()
}
