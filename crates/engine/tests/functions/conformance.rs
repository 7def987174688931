//! AWS's own runtime clients, unmodified, are the proof that the Runtime API is the Runtime API.
//!
//! They come from PyPI and crates.io, so they are fetched only when `MAYFLY_CONFORMANCE=1` asks for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use engine::Mode;
use engine::runtimes::{Catalogue, RuntimesConfig};
use tokio::sync::mpsc;

use crate::bed::{Answer, Bed, invocation};

fn asked() -> bool {
    let asked = std::env::var("MAYFLY_CONFORMANCE").is_ok_and(|value| value == "1");
    if !asked {
        println!("skipped: set MAYFLY_CONFORMANCE=1 to fetch and run AWS's own clients");
    }
    asked
}

/// The newest client that each Python takes as a wheel; older ones would have to be compiled.
const CLIENTS: &[(&str, &str)] = &[
    ("python3.9", "4.0.4"),
    ("python3.10", "4.2.2"),
    ("python3.11", "4.2.2"),
    ("python3.12", "4.2.2"),
    ("python3.13", "4.2.2"),
    ("python3.14", "4.2.2"),
];

/// Installs the client for the interpreter that the catalogue found, unless an earlier run did.
fn install_client(bed: &Bed, id: &str, version: &str) -> Option<PathBuf> {
    let runtime = bed.catalogue.resolve(id).ok()?;
    let prefix = runtime
        .mounts
        .iter()
        .find(|mount| mount.target == "/var/lang")?
        .source
        .clone();
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("awslambdaric-{version}-{id}"));
    if !folder.join("awslambdaric").is_dir() {
        let status = Command::new(prefix.join("bin/python3"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-compile",
            ])
            .args(["--only-binary", ":all:", "--target"])
            .arg(&folder)
            .arg(format!("awslambdaric=={version}"))
            .status();
        if !status.is_ok_and(|status| status.success()) {
            println!("skipped: awslambdaric {version} could not be installed for {id}");
            return None;
        }
    }
    Some(folder)
}

const HANDLER: &str = "
import logging
def handler(event, context):
    logging.getLogger().warning('two\\nlines')
    print('printed')
    if event == 'error': raise ValueError('wrong')
    if event == 'exit': __import__('sys').exit(3)
    if event == 'big': return 'x' * (7 << 20)
    return [event, context.function_name, context.aws_request_id, context.memory_limit_in_mb]
";

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_as_an_option() {
    if !asked() {
        return;
    }
    let bed = Bed::new();
    for (id, version) in CLIENTS {
        let Some(client) = install_client(&bed, id, version) else {
            continue;
        };
        let config = RuntimesConfig {
            data: bed.folder.path().join("runtimes"),
            aws_clients: BTreeMap::from([((*id).to_owned(), client)]),
            ..RuntimesConfig::default()
        };
        let runtime = Catalogue::discover(&config).unwrap().resolve(id).unwrap();
        let spec = Arc::new(bed.function_on(runtime, "app.handler", &[("app.py", HANDLER)]));
        check_client(&bed, &spec).await;
        let missing = bed.function_on(spec.runtime.clone(), "nope.handler", &[("app.py", HANDLER)]);
        let answer = bed.once(missing, "{}").await;
        answer.fails(
            "Runtime.ImportModuleError",
            "Unable to import module 'nope': No module named 'nope'",
        );
        println!("{id}: awslambdaric {version} conforms");
    }
    bed.end().await;
}

async fn check_client(bed: &Bed, spec: &Arc<engine::FunctionSpec>) {
    for event in ["1", "\"two\""] {
        let answer = bed.invoke(spec, event).await;
        let expected = format!(
            "[{event}, \"{}\", \"{}\", \"256\"]",
            spec.name, answer.0.report.request_id
        );
        answer.gives(&expected);
        assert!(
            answer.tail().contains("\ttwo\nlines\n") && answer.tail().contains("printed\n"),
            "{}",
            answer.tail()
        );
    }
    let error = bed.invoke(spec, "\"error\"").await;
    error.fails("ValueError", "wrong");
    assert!(
        error
            .tail()
            .contains("[ERROR] ValueError: wrong\nTraceback"),
        "{}",
        error.tail()
    );
    let exit = bed.invoke(spec, "\"exit\"").await;
    exit.fails(
        "Runtime.ExitError",
        "RequestId: REQUEST Error: Runtime exited with error: exit status 3",
    );
    let text = "Response payload size exceeded maximum allowed payload size (6291556 bytes).";
    bed.invoke(spec, "\"big\"")
        .await
        .fails("Function.ResponseSizeTooLarge", text);
    assert!(!bed.invoke(spec, "1").await.failed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_as_a_custom_runtime() {
    if !asked() {
        return;
    }
    let bed = Bed::new();
    let Some(client) = install_client(&bed, "python3.11", "4.2.2") else {
        return;
    };
    let python = Path::new("/usr/bin/python3.11");
    if !python.exists() {
        println!("skipped: a provided function needs the system's own Python 3.11 here");
        return;
    }
    // The client comes as a layer, as it would in a container image's root.
    let bootstrap = "#!/bin/sh\nexport PYTHONPATH=/opt\nexec /usr/bin/python3.11 -S -m awslambdaric \"$_HANDLER\"\n";
    let runtime = bed.catalogue.resolve("provided.al2023").unwrap();
    let files = [("bootstrap", bootstrap), ("app.py", HANDLER)];
    let mut spec = bed.function_on(runtime, "app.handler", &files);
    spec.layers = Some(client);
    check_client(&bed, &Arc::new(spec)).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_client() {
    if !asked() {
        return;
    }
    let bed = Bed::new();
    let Some(program) = build_rust_function() else {
        return;
    };
    let runtime = bed.catalogue.resolve("provided.al2023").unwrap();
    let function = |stream: bool| {
        let mut spec =
            bed.function_on(runtime.clone(), "any", &[("README", "a compiled function")]);
        std::fs::copy(&program, spec.code.join("bootstrap")).unwrap();
        spec.env
            .extend(stream.then(|| ("STREAM".to_owned(), "1".to_owned())));
        Arc::new(spec)
    };
    let spec = function(false);
    bed.invoke(&spec, r#"{"a":[1,2]}"#)
        .await
        .gives(r#"{"a":[1,2]}"#);
    let context = bed.invoke(&spec, "\"context\"").await;
    assert_eq!(context.json()["id"], context.0.report.request_id);
    assert_eq!(context.json()["memory"], 256);
    let error = bed.invoke(&spec, "\"error\"").await;
    assert!(
        error.failed() && error.json()["errorMessage"] == "it went wrong",
        "{}",
        error.text()
    );
    let panic = bed.invoke(&spec, "\"panic\"").await;
    assert!(
        panic.failed() && panic.text().contains("at the disco"),
        "{}",
        panic.text()
    );
    bed.invoke(&spec, "1").await.gives("1");

    let spec = function(true);
    // As on AWS, a caller of plain Invoke sees the HTTP prelude that this client writes before the body.
    let buffered = bed.invoke(&spec, "1").await.text();
    assert!(
        buffered.starts_with("{\"statusCode\":200,") && buffered.ends_with("\0one two three"),
        "{buffered}"
    );
    let (sender, mut receiver) = mpsc::channel(16);
    let mut streamed = invocation("1");
    streamed.mode = Mode::Streaming(sender);
    let outcome = Answer(bed.engine.invoke(spec.clone(), streamed).await.unwrap());
    assert!(!outcome.failed());
    let mut parts = 0;
    while receiver.recv().await.is_some() {
        parts += 1;
    }
    assert!(parts >= 2, "a head and at least one chunk");
    bed.end().await;
}

/// Builds `tests/functions/rust-hello`, which is outside of the workspace.
fn build_rust_function() -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/functions/rust-hello");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rust-hello");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(source.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status();
    if !status.is_ok_and(|status| status.success()) {
        println!("skipped: the Rust function could not be built");
        return None;
    }
    Some(target.join("release/bootstrap"))
}
