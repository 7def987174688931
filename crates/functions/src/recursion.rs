//! Recursive loops: a function that is invoked again and again in one chain of events is stopped
//! (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>).
//!
//! The chain is told by the trace header, which AWS's SDKs pass on from inside a function and deliveries carry. Its
//! lineage counts, for each function in the chain, how often it ran.

use std::sync::Arc;

use store::Digest;
use wire::{Arn, Context, Http, Operation, Scope, Shape};

use crate::Functions;
use crate::error::Error;
use crate::name::FunctionRef;
use crate::state::Function;

/// How often a function runs in one chain: "approximately 16 times".
const PASSES_MAX: u32 = 16;
/// Functions that a lineage remembers. A longer loop is forgotten before it closes.
const LINEAGE_FUNCTIONS_MAX: usize = 32;
/// Room for the lineage of most.
const LINEAGE_BYTES_USUAL: usize = 64;
/// The part of the header.
const LINEAGE: &str = "Lineage=";

/// What happens in a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum RecursiveLoop {
    Allow,
    Terminate,
}

/// The reply of both operations.
#[derive(Debug, Shape)]
pub struct FunctionRecursionConfig {
    recursive_loop: Option<RecursiveLoop>,
}

/// Says what happens in a loop (<https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionRecursionConfig.html>).
#[derive(Debug, Shape)]
pub struct PutFunctionRecursionConfig {
    function_name: FunctionRef,
    recursive_loop: RecursiveLoop,
}

impl Operation for PutFunctionRecursionConfig {
    type Service = Functions;
    type Output = FunctionRecursionConfig;
    const NAME: &'static str = "PutFunctionRecursionConfig";
    const HTTP: Http = Http::new(
        "PUT",
        "/2024-08-31/functions/{FunctionName}/recursion-config",
        200,
    );

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<FunctionRecursionConfig, wire::Error> {
        let function = whole(functions, &self.function_name, cx)?;
        let allowed = self.recursive_loop == RecursiveLoop::Allow;
        let inner = &functions.inner;
        let change = inner.change(&function.at, &function.name, |_, record| {
            record.recursion_allowed = allowed;
            Ok(())
        });
        change.await?;
        Ok(FunctionRecursionConfig {
            recursive_loop: Some(self.recursive_loop),
        })
    }
}

/// What happens in a loop (<https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionRecursionConfig.html>).
#[derive(Debug, Shape)]
pub struct GetFunctionRecursionConfig {
    function_name: FunctionRef,
}

impl Operation for GetFunctionRecursionConfig {
    type Service = Functions;
    type Output = FunctionRecursionConfig;
    const NAME: &'static str = "GetFunctionRecursionConfig";
    const HTTP: Http = Http::new(
        "GET",
        "/2024-08-31/functions/{FunctionName}/recursion-config",
        200,
    );

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<FunctionRecursionConfig, wire::Error> {
        let function = whole(functions, &self.function_name, cx)?;
        Ok(FunctionRecursionConfig {
            recursive_loop: Some(match function.record.recursion_allowed {
                true => RecursiveLoop::Allow,
                false => RecursiveLoop::Terminate,
            }),
        })
    }
}

/// The function; versions and aliases have no such setting.
fn whole(functions: &Functions, name: &FunctionRef, cx: &Context) -> Result<Arc<Function>, Error> {
    match name.own_qualifier() {
        Some(_) => Err(Error::FunctionsOnly),
        None => Ok(functions.find(name, None, cx)?.0),
    }
}

/// Whether this invocation goes on with a loop that is to be stopped.
pub(crate) fn is_loop(function: &Function, trace_id: Option<&str>) -> bool {
    let mut passes = lineage(trace_id.unwrap_or_default());
    !function.record.recursion_allowed
        && passes.any(|(other, passes)| passes >= PASSES_MAX && other == function.lineage_name)
}

/// The trace header that the function sees: the one of its cause, and one pass more.
pub(crate) fn with_pass(function: &Function, trace_id: &str) -> String {
    let own = &function.lineage_name;
    let mut passes: Vec<(&str, u32)> = lineage(trace_id).collect();
    let own_passes = passes
        .iter()
        .find(|(function, _)| function == own)
        .map_or(0, |(_, passes)| *passes);
    passes.retain(|(function, _)| function != own);
    let forgotten = (passes.len() + 1).saturating_sub(LINEAGE_FUNCTIONS_MAX);
    passes.drain(..forgotten);
    passes.push((own, own_passes.saturating_add(1)));
    let mut seen = String::with_capacity(trace_id.len() + LINEAGE_BYTES_USUAL);
    let rest = trace_id
        .split(';')
        .filter(|part| !part.starts_with(LINEAGE) && !part.is_empty());
    for part in rest {
        seen += part;
        seen.push(';');
    }
    seen += LINEAGE;
    for (index, (function, passes)) in passes.iter().enumerate() {
        if index > 0 {
            seen.push('|');
        }
        seen += function;
        seen.push(':');
        seen += &passes.to_string();
    }
    seen
}

/// Functions and how often they ran, oldest first. What cannot be read is left out: anyone may send the header.
fn lineage(trace_id: &str) -> impl Iterator<Item = (&str, u32)> {
    let part = trace_id
        .split(';')
        .find_map(|part| part.trim().strip_prefix(LINEAGE));
    part.unwrap_or_default().split('|').filter_map(|entry| {
        let (function, passes) = entry.rsplit_once(':')?;
        Some((function, passes.parse().ok()?))
    })
}

/// What stands for a function in a lineage.
pub(crate) fn lineage_name(at: &Scope, name: &str) -> String {
    let digest = Digest::of(Arn::function(at, name, None).as_str().as_bytes()).to_hex();
    digest[..8].to_owned()
}
