//! Modules that have been loaded ahead: a function finds them as if it had been the first to ask for them.

use std::sync::Arc;

use crate::bed::Bed;
use crate::parked::ahead;

/// Fork handlers, seeds and the main thread are its own process's; `logging` is not there before it is asked for.
const USES: &str = r#"
import sys, time
BEGAN = time.time()
EARLY = [name for name in ("uuid", "logging") if name in sys.modules]
import json, logging, os, random, threading

def draws_alike():
    r, w = os.pipe()
    if os.fork() == 0:
        os.write(w, repr(random.random()).encode("ascii"))
        os._exit(0)
    os.wait()
    return os.read(r, 100).decode("ascii") == repr(random.random())

class Age(logging.Handler):
    def emit(self, record):
        self.age = record.relativeCreated / 1000 - (time.time() - BEGAN)

def handler(event, context):
    age = Age()
    logging.getLogger().addHandler(age)
    logging.getLogger().warning("told to the log")
    thread = getattr(threading, "main_thread", object)()
    return json.dumps({
        "early": EARLY,
        "handlers": len(logging.getLogger().handlers),
        "older by": age.age,
        "alike": sys.version_info >= (3, 7) and draws_alike(),
        "thread": getattr(thread, "native_id", os.getpid()) == os.getpid(),
    })
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_loaded_ahead_is_as_if_the_function_had_loaded_it() {
    let bed = Bed::new();
    let mut told = 0;
    for python in bed.pythons() {
        let id = python.id;
        let spec = Arc::new(bed.function_on(python, "app.handler", &[("app.py", USES)]));
        ahead(&bed, &spec).await;
        let answer = bed.invoke(&spec, "{}").await;
        assert!(!answer.failed(), "{id}: {}", answer.text());
        let text: String = serde_json::from_str(&answer.text()).unwrap();
        let said: serde_json::Value = serde_json::from_str(&text).unwrap();
        let early: &[&str] = if id == "python2.7" { &[] } else { &["uuid"] };
        assert_eq!(said["early"], serde_json::json!(early), "{id}");
        assert_eq!(said["handlers"], 2, "{id}");
        let older = said["older by"].as_f64().unwrap();
        assert!(
            older < 0.05,
            "{id}: logging was loaded {older} s before it was asked for"
        );
        assert_eq!(said["alike"], false, "{id}");
        assert_eq!(said["thread"], true, "{id}");
        let line =
            |line: &&String| line.starts_with("[WARNING]\t") && line.contains("\ttold to the log");
        told += 1;
        assert_eq!(bed.recorder.all().iter().filter(line).count(), told, "{id}");
        bed.engine.retire("");
        bed.engine.shed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_has_its_own_modules_by_the_names_of_what_is_loaded_ahead() {
    let bed = Bed::new();
    let app = "
import uuid, logging
def handler(event, context):
    return [uuid.__file__, logging.__file__]
";
    for (name, text) in [("uuid.py", ""), ("logging/__init__.py", "MINE = 1\n")] {
        let files = [("app.py", app), (name, text)];
        let spec = Arc::new(bed.function_on(bed.python(), "app.handler", &files));
        ahead(&bed, &spec).await;
        let text = bed.invoke(&spec, "{}").await.text();
        assert!(text.contains(&format!("/var/task/{name}")), "{text}");
        bed.engine.retire("");
    }
}
