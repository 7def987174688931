//! `mayfly run` and `mayfly doctor`: no server, the same sandbox.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use common::{Ended, mayfly};

struct Ran {
    code: Option<i32>,
    result: String,
    log: String,
}

fn run(code: &Path, args: &[&str]) -> Ran {
    let data = tempfile::tempdir().unwrap();
    let output = mayfly()
        .arg("run")
        .arg(code)
        .args(args)
        .arg("--data")
        .arg(data.path())
        .output()
        .unwrap();
    Ran {
        code: output.status.code(),
        result: String::from_utf8(output.stdout).unwrap(),
        log: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs Python code from a file.
fn python(source: &str, args: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lambda_function.py");
    fs::write(&file, source).unwrap();
    run(&file, args)
}

const ECHO: &str = "
import json, os
def lambda_handler(event, context):
    print('value1 = ' + event['key1'])
    return event['key1'] + os.environ.get('EXTRA', '')
";

#[test]
fn a_file_is_run_once() {
    let ran = python(ECHO, &["--event", r#"{"key1":"one"}"#, "--env", "EXTRA=!"]);
    assert_eq!(ran.result, "\"one!\"\n", "{}", ran.log);
    assert_eq!(ran.code, Some(0));
    let at = |text: &str| {
        ran.log
            .find(text)
            .unwrap_or_else(|| panic!("no {text:?} in {}", ran.log))
    };
    assert!(at("START RequestId: ") < at("value1 = one"));
    assert!(at("value1 = one") < at("END RequestId: "));
    assert!(at("END RequestId: ") < at("REPORT RequestId: "));
    assert!(ran.log.contains("Memory Size: 128 MB"), "{}", ran.log);
}

#[test]
fn a_function_that_fails_fails_the_command() {
    let ran = python(
        "def lambda_handler(event, context):\n    raise ValueError('no')\n",
        &[],
    );
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.result.contains(r#""errorType": "ValueError""#),
        "{}",
        ran.result
    );
    let ran = python(
        "import time\ndef lambda_handler(event, context):\n    time.sleep(60)\n",
        &["--timeout", "1"],
    );
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.result.contains("Task timed out after 1.00 seconds"),
        "{}",
        ran.result
    );
}

#[test]
fn a_folder_and_an_event_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("pkg")).unwrap();
    fs::write(folder.path().join("pkg/words.py"), "GREETING = 'hello '\n").unwrap();
    fs::write(folder.path().join("app.py"), "from pkg.words import GREETING\ndef main(event, context):\n    return GREETING + event['name']\n").unwrap();
    let event = folder.path().join("event.json");
    fs::write(&event, r#"{"name":"Ann"}"#).unwrap();
    let ran = run(
        folder.path(),
        &[
            "--handler",
            "app.main",
            "--event-file",
            event.to_str().unwrap(),
        ],
    );
    assert_eq!(ran.result, "\"hello Ann\"\n", "{}", ran.log);
}

#[test]
fn a_zip() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("function.zip");
    let zip = |name: &str| {
        let mut zip = zip::ZipWriter::new(fs::File::create(&file).unwrap());
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(ECHO.as_bytes()).unwrap();
        zip.finish().unwrap();
    };
    zip("lambda_function.py");
    let ran = run(&file, &["--event", r#"{"key1":"zipped"}"#]);
    assert_eq!(ran.result, "\"zipped\"\n", "{}", ran.log);
    zip("../lambda_function.py");
    let ran = run(&file, &[]);
    assert!(ran.log.contains("cannot unpack"), "{}", ran.log);
    fs::write(&file, "no zip").unwrap();
    let ran = run(&file, &[]);
    assert!(ran.log.contains("it is not a zip file"), "{}", ran.log);
}

#[test]
fn a_bootstrap_in_shell() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("anything");
    fs::write(&file, "#!/bin/sh\necho started >&2\nexit 3\n").unwrap();
    let ran = run(&file, &[]);
    assert!(
        ran.log
            .contains("is neither a .py file, a .zip, a folder nor executable"),
        "{}",
        ran.log
    );
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&file, mode).unwrap();
    let ran = run(&file, &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.log);
    assert!(ran.result.contains("Runtime.ExitError"), "{}", ran.result);
}

#[test]
fn a_watched_file_is_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("handler.py");
    let write = |answer: &str| {
        let source = format!("def lambda_handler(event, context):\n    return '{answer}'\n");
        fs::write(&file, source).unwrap();
    };
    write("first");
    let child = mayfly()
        .arg("run")
        .arg(&file)
        .args(["--watch", "--data"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let mut results = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert_eq!(results.next().unwrap().unwrap(), "\"first\"");
    write("the second");
    assert_eq!(results.next().unwrap().unwrap(), "\"the second\"");
}

#[test]
fn what_is_not_understood_is_refused() {
    let ran = python(ECHO, &["--event", "{"]);
    assert!(ran.log.contains("the event is not JSON"), "{}", ran.log);
    assert_eq!(ran.code, Some(1));
    for (args, expected) in [
        (["--memory", "64"], "64 is not in 128..=10240"),
        (["--timeout", "901"], "901 is not in 1..=900"),
        (["--env", "PATH"], "write it as KEY=VALUE"),
        (["--env", "AWS_REGION=x"], "AWS_REGION is reserved"),
        (["--runtime", "python9.9"], "python9.9"),
    ] {
        let ran = python(ECHO, &args);
        assert!(ran.log.contains(expected), "{}", ran.log);
        assert_ne!(ran.code, Some(0));
    }
}

#[test]
fn the_doctor_looks_at_everything() {
    let data = tempfile::tempdir().unwrap();
    let output = mayfly()
        .args(["doctor", "--data"])
        .arg(data.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for part in [
        "Isolation",
        "namespaces",
        "limits",
        "landlock",
        "seccomp",
        "Runtimes",
    ] {
        assert!(said.contains(part), "{said}");
    }
}
