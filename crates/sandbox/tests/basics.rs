//! A sandbox from creation to nothing.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

use sandbox::{Config, Error, Exit, Host, Process, Sandbox, Spec};

fn host() -> Host {
    Host::start(&Config::with_broker(
        env!("CARGO_BIN_EXE_sandbox-broker"),
        ["__sandbox"],
    ))
    .unwrap()
}

/// Runs a shell command inside; its output and end.
fn sh(sandbox: &Sandbox, command: &str) -> (String, Exit) {
    let (read, write) = std::io::pipe().unwrap();
    let process = Process {
        argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), command.to_owned()],
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        stdout: Some(OwnedFd::from(write.try_clone().unwrap())),
        stderr: Some(OwnedFd::from(write)),
        ..Process::default()
    };
    let child = sandbox.spawn(process).unwrap();
    let mut output = String::new();
    File::from(OwnedFd::from(read))
        .read_to_string(&mut output)
        .unwrap();
    (
        output,
        child
            .wait_timeout(Duration::from_secs(20))
            .unwrap()
            .unwrap(),
    )
}

#[test]
fn a_process_runs_and_ends() {
    let host = host();
    println!("{:?} {}", host.mode(), host.limits());
    let sandbox = host.create(Spec::new("basic")).unwrap();
    let (output, exit) = sh(&sandbox, "id -un; exit 7");
    assert_eq!(output, "sbx_user1051\n");
    assert_eq!(exit, Exit::Code(7));
    let missing = sandbox.spawn(Process {
        argv: vec!["/missing".to_owned()],
        ..Process::default()
    });
    assert!(matches!(missing, Err(Error::Exec { source, .. }) if source.raw_os_error() == Some(2)));
}
