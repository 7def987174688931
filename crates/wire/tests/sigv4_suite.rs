//! AWS's own signing suite, as it ships inside the aws-sigv4 crate: every signed request of it must verify,
//! and must not once any part of it changed. The files are read from the registry, never copied.
#![allow(clippy::unwrap_used)]

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::process::Command;
use wire::sigv4::{Head, KeyCache, PathRule, Refusal, Regions, Rules, Verified, sha256, verify};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn suite() -> PathBuf {
    // Packages for other platforms need not have been fetched.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline"])
        .args(["--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|package| package["name"] == "aws-sigv4")
        .unwrap();
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    manifest.with_file_name("aws-signing-test-suite").join("v4")
}

/// A request of the suite. Its targets hold raw spaces and UTF-8, which `http::Uri` would refuse.
#[derive(Clone)]
struct Request {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    fn parse(text: &str) -> Request {
        let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
        let head = head.replace("\n ", " ");
        let mut lines = head.lines();
        let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
        let target = target.strip_suffix(" HTTP/1.1").unwrap_or(target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.trim().as_bytes()).unwrap(),
            );
        }
        Request {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            headers,
            body: body.into(),
        }
    }

    fn head(&self) -> Head<'_> {
        Head {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            authority: None,
        }
    }
}

struct Case {
    name: String,
    request: Request,
    path: PathRule,
    token: Option<String>,
    at: Timestamp,
}

impl Case {
    fn verify(&self, request: &Request) -> Result<Verified, Refusal> {
        let rules = Rules {
            path: self.path,
            ..Rules::new(&["service", "lambda"], Regions::Any)
        };
        verify(
            &request.head(),
            &rules,
            &sha256(&request.body),
            self.at,
            &KeyCache::new(),
            |key, token| match (key, token) {
                ("AKIDEXAMPLE", token) if token == self.token.as_deref() => Ok(SECRET),
                ("ANOTREAL", None) => Ok("notrealrnrELgWzOk3IfjzDKtFBhDby"),
                _ => Err(Refusal::UnknownClient),
            },
        )
    }

    fn check(&self) {
        let verified = self.verify(&self.request);
        assert!(verified.is_ok(), "{}: {verified:?}", self.name);
        for (what, changed) in self.changes() {
            assert!(
                self.verify(&changed).is_err(),
                "{}: verified although {what}",
                self.name
            );
        }
    }

    /// The request with one part changed, each of which is signed.
    fn changes(&self) -> Vec<(&'static str, Request)> {
        let change = |edit: &dyn Fn(&mut Request)| {
            let mut request = self.request.clone();
            edit(&mut request);
            request
        };
        vec![
            ("the method changed", change(&|r| r.method = "PUT".into())),
            ("the path changed", change(&|r| r.path.push_str("/x"))),
            ("the query changed", change(&|r| r.query.push_str("&x=1"))),
            ("the body changed", change(&|r| r.body.push(b'x'))),
            (
                "the host changed",
                change(&|r| {
                    r.headers
                        .insert("host", HeaderValue::from_static("evil.example.com"));
                }),
            ),
            (
                "an amz header came along",
                change(&|r| {
                    r.headers
                        .insert("x-amz-copy-source", HeaderValue::from_static("x"));
                }),
            ),
            (
                "the host is gone",
                change(&|r| {
                    r.headers.remove("host");
                }),
            ),
        ]
    }
}

fn read(dir: &Path, file: &str) -> String {
    std::fs::read_to_string(dir.join(file)).unwrap()
}

#[test]
fn every_request_of_the_suite_verifies_and_none_that_was_changed() {
    let mut names: Vec<PathBuf> = std::fs::read_dir(suite())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let mut checked = 0;
    for dir in names {
        // The two cases without a context have a test of their own.
        let Ok(context) = std::fs::read(dir.join("context.json")) else {
            continue;
        };
        let context: serde_json::Value = serde_json::from_slice(&context).unwrap();
        for file in ["header-signed-request.txt", "query-signed-request.txt"] {
            let case = Case {
                name: format!("{}/{file}", dir.file_name().unwrap().to_string_lossy()),
                request: Request::parse(&read(&dir, file)),
                path: match context["normalize"].as_bool().unwrap() {
                    true => PathRule::Normalised,
                    false => PathRule::AsIs,
                },
                token: context["credentials"]["token"].as_str().map(str::to_owned),
                at: context["timestamp"].as_str().unwrap().parse().unwrap(),
            };
            case.check();
            checked += 1;
        }
    }
    assert!(checked >= 76, "the suite has shrunk to {checked} requests");
}

/// Two cases carry no context file; theirs is in the tests of the crate.
#[test]
fn paths_that_are_encoded_already_are_encoded_again() {
    for (name, at) in [
        ("double-url-encode", "2021-05-11T15:40:45Z"),
        ("double-encode-path", "2015-08-30T12:36:00Z"),
    ] {
        let case = Case {
            name: name.into(),
            request: Request::parse(&read(&suite().join(name), "header-signed-request.txt")),
            path: PathRule::Normalised,
            token: None,
            at: at.parse().unwrap(),
        };
        case.check();
    }
}
