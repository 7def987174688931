//! Which identifiers there are, and what is said about those that do not work here.

use std::collections::BTreeMap;

use engine::runtimes::{Catalogue, IDENTIFIERS, Policy, RuntimesConfig};

fn catalogue(policy: Policy, paths: &[(&str, &str)]) -> std::io::Result<Catalogue> {
    let folder = tempfile::tempdir().unwrap();
    let paths: BTreeMap<_, _> = paths
        .iter()
        .map(|(id, path)| ((*id).to_owned(), path.into()))
        .collect();
    let data = folder.path().to_owned();
    Catalogue::discover(&RuntimesConfig {
        data,
        policy,
        paths,
        ..RuntimesConfig::default()
    })
}

#[test]
fn every_identifier_works_or_says_why_not() {
    let catalogue = catalogue(Policy::Permissive, &[]).unwrap();
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
fn the_policy_of_aws_refuses_what_aws_refuses() {
    let catalogue = catalogue(Policy::Aws, &[]).unwrap();
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
    let error = catalogue(Policy::Permissive, &[("python3.11", "/nonesuch")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nonesuch is set for python3.11 and does not run"
    );
}
