//! The house rules that a program can check. Each is a row of [`RULES`]; what it finds is printed as `file:line: words`.
//!
//! A rule reads text, not syntax: it knows comments and string literals well enough for this repository, and a line
//! that fools it is better rewritten than excused.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// A file longer than this is split, or named in [`LONG`] with the reason.
const LINES_MAX: usize = 900;

/// Files that may be longer, and why.
const LONG: &[(&str, &str)] = &[(
    "crates/identity/tests/policy/conditions.rs",
    "one table of cases",
)];

/// Our crates and the ones of ours that each may depend on; the same list is drawn in ARCHITECTURE.md.
const EDGES: &[(&str, &[&str])] = &[
    ("store", &[]),
    ("sandbox", &[]),
    ("wire-derive", &[]),
    ("wire", &["wire-derive"]),
    ("identity", &["store", "wire"]),
    ("delivery", &["store", "wire"]),
    ("telemetry", &["delivery", "store", "wire"]),
    ("buckets", &["delivery", "store", "wire"]),
    ("events", &["delivery", "store", "wire"]),
    ("engine", &["sandbox", "store"]),
    ("gateway", &["identity", "wire"]),
    (
        "functions",
        &[
            "delivery",
            "engine",
            "identity",
            "telemetry",
            "store",
            "wire",
        ],
    ),
    (
        "server",
        &[
            "buckets",
            "delivery",
            "engine",
            "events",
            "functions",
            "gateway",
            "identity",
            "sandbox",
            "store",
            "telemetry",
            "wire",
        ],
    ),
    (
        "xtask",
        &[
            "buckets",
            "events",
            "functions",
            "identity",
            "telemetry",
            "wire",
        ],
    ),
];

/// One tracked file.
struct File {
    path: String,
    text: String,
}

/// One thing found wrong.
struct Finding {
    path: String,
    line: usize,
    words: String,
}

type Rule = fn(&[File]) -> Vec<Finding>;

const RULES: &[(&str, Rule)] = &[
    ("only wire spells ARNs", arns),
    ("unsafe only in sandbox", unsafe_code),
    ("nothing left to do", left_to_do),
    ("a dropped result says why", dropped_results),
    ("files stay short", lengths),
    ("crates depend downwards", edges),
    ("ARCHITECTURE.md names every crate", architecture),
    ("no paths of one machine", machine_paths),
    ("links lead somewhere", links),
];

/// Checks every rule over every tracked file.
pub fn check() -> Result<()> {
    let files = files()?;
    let mut failed = 0;
    for (name, rule) in RULES {
        let findings = rule(&files);
        for Finding { path, line, words } in &findings {
            eprintln!("{path}:{line}: {words} ({name})");
        }
        failed += findings.len();
    }
    ensure!(failed == 0, "tidy: {failed} findings");
    println!(
        "tidy: {} rules hold over {} files",
        RULES.len(),
        files.len()
    );
    Ok(())
}

/// Every text file that git tracks or would track.
fn files() -> Result<Vec<File>> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .context("tidy asks git for the list of files")?;
    ensure!(listed.status.success(), "git ls-files failed");
    let mut files = Vec::new();
    for path in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            // Deleted in the work tree and not yet in the index.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => bail!("{path}: {error}"),
        };
        // Not text, and so nothing to read here.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        let path = path.to_owned();
        files.push(File { path, text });
    }
    Ok(files)
}

impl File {
    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|e| e == "rs")
    }

    /// The crate whose folder the file is in.
    fn of_crate(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    fn is_test(&self) -> bool {
        let folder = |name| self.path.split('/').rev().skip(1).any(|part| part == name);
        folder("tests")
            || folder("benches")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
    }

    /// Rust lines that are not tests, each with its number. A `#[cfg(test)]` module closes its file, by our custom.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let in_tests = self.is_test() || !self.is_rust();
        let lines: Vec<_> = self.text.lines().collect();
        // Further attributes may stand between the two.
        let opens_tests = |from: &usize| {
            let mut after = lines[from + 1..].iter().map(|line| line.trim());
            let module = after.find(|line| !line.starts_with("#["));
            lines[*from].trim() == "#[cfg(test)]"
                && module.is_some_and(|line| line.starts_with("mod ") && !line.ends_with(';'))
        };
        let end = (0..lines.len()).find(opens_tests).unwrap_or(lines.len());
        let end = if in_tests { 0 } else { end };
        lines
            .into_iter()
            .take(end)
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    fn finding(&self, line: usize, words: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            words: words.into(),
        }
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// A line without its comment; a `//` within a string literal is kept.
fn without_comment(line: &str) -> &str {
    let mut quotes = 0;
    let bytes = line.as_bytes();
    for index in 0..bytes.len() {
        match bytes[index] {
            b'"' if index == 0 || bytes[index - 1] != b'\\' => quotes += 1,
            b'/' if quotes % 2 == 0 && bytes.get(index + 1) == Some(&b'/') => {
                return &line[..index];
            }
            _ => {}
        }
    }
    line
}

/// Whether `word` stands in `line` with no letter, digit or underscore next to it.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(part)
            && !line[at + word.len()..].chars().next().is_some_and(part)
    })
}

/// ARNs are made by `wire::Arn`; a literal elsewhere is a format that two places must keep alike.
fn arns(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files
        .iter()
        .filter(|f| f.of_crate().is_some_and(|c| c != "wire" && c != "xtask"))
    {
        for (number, line) in file.code().filter(|(_, line)| !is_comment(line)) {
            // AWS's patterns of ARNs go into error messages as they are; they spell none.
            if line.replace("\"arn:aws[", "").contains("\"arn:aws") {
                found.push(file.finding(number, "an ARN is spelled here"));
            }
        }
    }
    found
}

fn unsafe_code(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files
        .iter()
        .filter(|f| f.is_rust() && !matches!(f.of_crate(), Some("sandbox" | "xtask")))
    {
        for (index, line) in file.text.lines().enumerate() {
            if has_word(without_comment(line), "unsafe") && !line.contains('"') {
                found.push(file.finding(index + 1, "unsafe code"));
            }
        }
    }
    found
}

fn left_to_do(files: &[File]) -> Vec<Finding> {
    let source = |path: &str| {
        [".rs", ".py", ".sh", ".toml", ".md", "Makefile"]
            .iter()
            .any(|e| path.ends_with(e))
    };
    let ours = |f: &&File| source(&f.path) && !f.path.starts_with("crates/xtask/");
    let mut found = Vec::new();
    for file in files.iter().filter(ours) {
        for (index, line) in file.text.lines().enumerate() {
            let word = ["TODO", "FIXME", "XXX"]
                .into_iter()
                .find(|word| has_word(line, word));
            let call = ["todo!(", "unimplemented!("]
                .into_iter()
                .find(|call| line.contains(call));
            if let Some(word) = word.or(call) {
                found.push(file.finding(index + 1, format!("{word}: finish it, or file an issue")));
            }
        }
    }
    found
}

/// `let _ = fallible()` hides a failure; the line or the comment above it says why that is right.
fn dropped_results(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files {
        let mut reason_above = false;
        for (number, line) in file.code() {
            let drops = !is_comment(line) && line.trim_start().starts_with("let _ = ");
            if drops && !reason_above && without_comment(line).len() == line.len() {
                found.push(file.finding(number, "a result is dropped without a word why"));
            }
            // One comment may speak for several drops in a row.
            reason_above = is_comment(line) || (drops && reason_above);
        }
    }
    found
}

fn lengths(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files
        .iter()
        .filter(|f| f.is_rust() || f.path.ends_with(".py"))
    {
        let count = file.text.lines().count();
        if count > LINES_MAX && !LONG.iter().any(|(path, _)| *path == file.path) {
            found.push(file.finding(count, format!("{count} lines, more than {LINES_MAX}")));
        }
    }
    found
}

/// The names in one table of a Cargo.toml, each with its line.
fn dependencies<'a>(file: &'a File, table: &str) -> Vec<(usize, &'a str)> {
    let mut within = false;
    let mut names = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if line.starts_with('[') {
            within = line.trim() == table;
        } else if within {
            let end = line.find([' ', '.', '=']).unwrap_or(line.len());
            names.push((index + 1, &line[..end]));
        }
    }
    names
}

fn edges(files: &[File]) -> Vec<Finding> {
    let allowed: BTreeMap<_, _> = EDGES.iter().copied().collect();
    let mut found = Vec::new();
    for file in files.iter().filter(|f| f.path.ends_with("/Cargo.toml")) {
        let Some(name) = file.of_crate() else {
            continue;
        };
        let Some(below) = allowed.get(name) else {
            found.push(file.finding(
                1,
                format!("{name} is not in the list of crates and their edges"),
            ));
            continue;
        };
        for (number, to) in dependencies(file, "[dependencies]") {
            if allowed.contains_key(to) && !below.contains(&to) {
                found.push(file.finding(number, format!("{name} may not depend on {to}")));
            }
        }
    }
    found
}

fn architecture(files: &[File]) -> Vec<Finding> {
    const LINES: usize = 200;
    let Some(page) = files.iter().find(|f| f.path == "ARCHITECTURE.md") else {
        return vec![Finding {
            path: "ARCHITECTURE.md".into(),
            line: 1,
            words: "missing".into(),
        }];
    };
    let mut found: Vec<_> = EDGES
        .iter()
        .filter(|(name, _)| !page.text.contains(&format!("`{name}`")))
        .map(|(name, _)| page.finding(1, format!("does not name `{name}`")))
        .collect();
    let count = page.text.lines().count();
    if count > LINES {
        found.push(page.finding(count, format!("{count} lines, more than {LINES}")));
    }
    found
}

fn machine_paths(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files
        .iter()
        .filter(|f| !f.path.starts_with("crates/xtask/"))
    {
        for (index, line) in file.text.lines().enumerate() {
            // The user of AWS's own sandboxes has a home too; functions see its name.
            let person = |rest: &str| {
                rest.starts_with(|c: char| c.is_ascii_lowercase()) && !rest.starts_with("sbx_user")
            };
            let home = line.split("/home/").skip(1).any(person);
            let toolchain = ["/root/.cargo", "/root/.pyenv", "/root/.rustup"];
            if home || line.contains("/work/") || toolchain.iter().any(|p| line.contains(p)) {
                found.push(file.finding(index + 1, "a path that only one machine has"));
            }
        }
    }
    found
}

/// Relative links of our pages lead to files that are there.
fn links(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|f| f.path.ends_with(".md")) {
        let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
        for (index, line) in file.text.lines().enumerate() {
            for rest in line.split("](").skip(1) {
                let target = rest.split([')', '#']).next().unwrap_or_default();
                if !target.is_empty() && !target.contains(':') && !folder.join(target).exists() {
                    found.push(file.finding(index + 1, format!("no file at {target}")));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `rule` finds in one file, as `line: words`.
    fn check(rule: Rule, path: &str, text: &str, expected: &[usize]) {
        let file = File {
            path: path.into(),
            text: text.into(),
        };
        let lines: Vec<_> = rule(&[file]).into_iter().map(|f| f.line).collect();
        assert_eq!(lines, expected, "{path}: {text}");
    }

    #[test]
    fn rules_find_what_they_name() {
        let source = "crates/engine/src/pool.rs";
        check(arns, source, "let a = \"arn:aws:x\";", &[1]);
        check(arns, source, "// \"arn:aws:x\"", &[]);
        check(arns, source, "r\"arn:aws[a-z-]*:x\"", &[]);
        check(
            arns,
            source,
            "#[cfg(test)]\n#[allow(x)]\nmod tests {\n\"arn:aws:x\"",
            &[],
        );
        check(arns, "crates/engine/tests/pool.rs", "\"arn:aws:x\"", &[]);
        check(arns, "crates/wire/src/arn.rs", "\"arn:aws:x\"", &[]);
        check(unsafe_code, source, "unsafe { x() }", &[1]);
        check(unsafe_code, source, "// unsafe\nlet unsafe_code = 1;", &[]);
        check(
            unsafe_code,
            "crates/sandbox/src/lib.rs",
            "unsafe { x() }",
            &[],
        );
        check(left_to_do, source, "\n// TODO: more", &[2]);
        check(left_to_do, source, "todo!()", &[1]);
        check(dropped_results, source, "let _ = send();", &[1]);
        check(
            dropped_results,
            source,
            "let _ = send(); // the receiver may be gone",
            &[],
        );
        check(
            dropped_results,
            source,
            "// Gone is fine.\nlet _ = a();\nlet _ = b();\n\nlet _ = c();",
            &[5],
        );
        check(dropped_results, source, "let _ = get(\"http://x\");", &[1]);
        check(
            edges,
            "crates/wire/Cargo.toml",
            "[dependencies]\nstore.workspace = true",
            &[2],
        );
        check(
            edges,
            "crates/wire/Cargo.toml",
            "[dev-dependencies]\nstore.workspace = true",
            &[],
        );
        check(machine_paths, source, "\"/home/ann/x\" \"/home/*/x\"", &[1]);
        check(
            links,
            "README.md",
            "[a](nowhere.md) [b](https://x) [c](Cargo.toml#x)",
            &[1],
        );
        check(
            lengths,
            source,
            &"\n".repeat(LINES_MAX + 1),
            &[LINES_MAX + 1],
        );
    }
}
