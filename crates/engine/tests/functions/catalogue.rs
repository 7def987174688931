//! Which identifiers there are, and what is said about those that do not work here.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use engine::runtimes::{Catalogue, IDENTIFIERS, Policy, RuntimesConfig};

fn catalogue(folder: &Path, policy: Policy, paths: &[(&str, &Path)]) -> io::Result<Catalogue> {
    let paths: BTreeMap<_, _> = paths
        .iter()
        .map(|(id, path)| ((*id).to_owned(), (*path).to_owned()))
        .collect();
    Catalogue::discover(&RuntimesConfig {
        data: folder.to_owned(),
        policy,
        paths,
        ..RuntimesConfig::default()
    })
}

#[test]
fn every_identifier_works_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = catalogue(folder.path(), Policy::Permissive, &[]).unwrap();
    for known in IDENTIFIERS {
        match catalogue.resolve(known.id) {
            Ok(runtime) => assert_eq!(runtime.id, known.id),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    text.starts_with(&format!(
                        "The runtime {} has no toolchain on this machine. ",
                        known.id
                    )),
                    "{text}"
                );
            }
        }
    }
    let text = catalogue.resolve("python4.0").unwrap_err().to_string();
    assert!(text.starts_with("Value python4.0 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["), "{text}");
    assert!(text.ends_with("] or be a valid ARN"), "{text}");
}

#[test]
fn a_client_of_aws_that_functions_cannot_read_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let client = folder.path().join("client");
    let module = client.join("awslambdaric/__init__.py");
    fs::create_dir_all(module.parent().unwrap()).unwrap();
    fs::write(&module, "").unwrap();
    let discover = || {
        Catalogue::discover(&RuntimesConfig {
            data: folder.path().join("data"),
            aws_clients: BTreeMap::from([("python3.11".to_owned(), client.clone())]),
            ..RuntimesConfig::default()
        })
    };
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let package = module.parent().unwrap();
    for (path, usual) in [(&*client, 0o755), (package, 0o755), (&*module, 0o644)] {
        mode(&client, 0o755);
        mode(package, 0o755);
        mode(&module, 0o644);
        assert!(discover().is_ok(), "{}", path.display());
        mode(path, usual & 0o700);
        match discover() {
            // Functions run as the user that owns it.
            Ok(_) => assert!(!rustix::process::geteuid().is_root()),
            Err(error) => {
                let text = error.to_string();
                let named = format!("cannot read {}; `chmod -R o+rX ", path.display());
                assert!(text.contains(&named), "{text}");
            }
        }
    }
}

#[test]
fn the_policy_of_aws_refuses_what_aws_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = catalogue(folder.path(), Policy::Aws, &[]).unwrap();
    let text = catalogue.resolve("java8").unwrap_err().to_string();
    assert_eq!(
        text,
        "The runtime parameter of java8 is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions."
    );
    assert!(
        catalogue.resolve("provided").is_err() && catalogue.resolve_existing("provided").is_ok()
    );
    assert!(catalogue.resolve("provided.al2023").is_ok());
}

#[test]
fn a_configured_interpreter_must_run() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [("python3.11", Path::new("/nonesuch"))];
    let error = catalogue(folder.path(), Policy::Permissive, &paths).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nonesuch is set for python3.11 and does not run"
    );
}

#[test]
fn an_interpreter_that_was_replaced_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("python");
    let count = folder.path().join("count");
    let install = |micro: u8| {
        let draft = folder.path().join("draft");
        let said = format!("3 11 {micro}\n/usr\n/usr/lib/python3.11");
        let script = format!("#!/bin/sh\necho >> {}\nprintf '{said}'\n", count.display());
        fs::write(&draft, script).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        // As package managers do it: in one step, and with the time of the build.
        let times = FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        File::open(&draft).unwrap().set_times(times).unwrap();
        fs::rename(&draft, &python).unwrap();
    };
    let begin = || {
        let paths = [("python3.11", python.as_path())];
        let catalogue = catalogue(folder.path(), Policy::Permissive, &paths).unwrap();
        let asked = fs::read(&count).unwrap().len();
        let runtime = catalogue.resolve("python3.11").unwrap();
        assert_eq!(runtime.interpreter.as_deref(), Some(python.as_path()));
        (asked, runtime.version.clone(), runtime.digest.clone())
    };
    install(5);
    let (first, version, digest) = begin();
    assert_eq!(version, "python:3.11.v5");
    fs::write(&count, "").unwrap();
    let again = begin();
    assert_eq!(again, (0, version, digest.clone()), "nothing ran anew");
    fs::write(&count, "").unwrap();
    install(6);
    let (asked, version, new_digest) = begin();
    assert_eq!((asked, version.as_str()), (first, "python:3.11.v6"));
    assert_ne!(new_digest, digest);
}
