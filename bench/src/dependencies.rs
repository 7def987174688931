//! Cold starts of functions whose code is mostly that of others.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Bench;
use crate::cold::Starts;
use crate::mayfly::{self, Files, Mayfly};
use crate::table::Table;

/// What a function with an HTTP client and a validation library brings along, roughly.
const MODULES: usize = 300;
const CLASSES: usize = 6;
const STARTS: usize = 20;
/// The sandbox for the next call has been made by then.
const MADE: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(20);

/// Puts the rows into the table.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    table.section("Cold, with dependencies: a function that loads 300 modules of its own, 1.9 MB of source without bytecode");
    let server = Mayfly::start(&bench.mayfly, &[])?;
    server.deploy("vendored", &bench.python, &vendored())?;
    let cache = server.data().join("engine/bytecode");
    let wait = || mayfly::until("the modules to be compiled", TICK, || entry(&cache));
    wait()?;
    let f1 = &bench.floors.f1;
    let starts = Starts::on(&server, &bench.python)?;
    let times = starts.changed("vendored", STARTS)?;
    table.cold("bytecode that Mayfly made", times, f1, None);
    let times = starts.cold(STARTS, |count| {
        let change = serde_json::json!({"Description": format!("without {count}")});
        server.configure("vendored", &change)?;
        wait()?;
        std::thread::sleep(MADE);
        // Nothing is under way, and the next environment finds nothing.
        std::fs::remove_dir_all(&cache).context("the cache")?;
        Ok("vendored".to_owned())
    })?;
    table.cold("compiled as they are imported", times, f1, None);
    server.stop()
}

/// Something that is finished.
fn entry(cache: &Path) -> Option<()> {
    let mut entries = std::fs::read_dir(cache).ok()?.flatten();
    let is_finished = |name: &str| !name.starts_with("draft");
    entries
        .any(|entry| is_finished(&entry.file_name().to_string_lossy()))
        .then_some(())
}

fn vendored() -> Files {
    let imports: String = (0..MODULES)
        .map(|number| format!("from vendor import part_{number}\n"))
        .collect();
    let handler = "\ndef lambda_handler(event, context):\n    return event['key1']\n";
    let mut files = vec![
        ("lambda_function.py".to_owned(), (imports + handler).into()),
        ("vendor/__init__.py".to_owned(), Vec::new()),
    ];
    files.extend((0..MODULES).map(|number| {
        let path = format!("vendor/part_{number}.py");
        (path, module(number).into_bytes())
    }));
    files
}

/// A module as libraries have them: classes, functions, tables, and texts about them.
fn module(number: usize) -> String {
    let mut source = format!("\"\"\"Part {number} of a library.\"\"\"\nimport os\nimport sys\n\n");
    for class in 0..CLASSES {
        source += &format!(
            "TABLE_{class} = {{'name': 'part_{number}', 'codes': [{class}, 2, 3], 'limits': ({number}, 64)}}\n\n\n\
            class Client{class}(object):\n    \"\"\"Sends requests and keeps what came of them.\"\"\"\n\n    \
            retries = {class}\n\n    \
            def __init__(self, url, timeout=30, headers=None):\n        \
            self.url, self.timeout = url, timeout\n        \
            self.headers = dict(headers or {{}})\n        self.history = []\n\n    \
            def request(self, method, path, body=None, **options):\n        \
            \"\"\"One request, which is repeated if it fails.\"\"\"\n        \
            for attempt in range(self.retries + 1):\n            try:\n                \
            found = self.send(method, '%s/%s' % (self.url, path), body, options)\n            \
            except (IOError, ValueError) as error:\n                \
            self.history.append((attempt, str(error)))\n                continue\n            \
            if found['status'] in TABLE_{class}['codes']:\n                return found\n        \
            raise RuntimeError('no answer from {{}}'.format(path))\n\n    \
            def send(self, method, url, body, options):\n        \
            return {{'status': 1, 'url': url, 'size': len(body or b''), 'more': sorted(options)}}\n\n\n"
        );
    }
    source
}
