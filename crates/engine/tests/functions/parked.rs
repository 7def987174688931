//! Environments that were made ahead: they behave like all others, and nothing of one function reaches another.

use std::sync::Arc;
use std::time::Duration;

use engine::{FunctionSpec, Initialization, SlotCounts};

use crate::bed::Bed;
use crate::prediction::Minutes;

/// An eighth of this much memory, in MB, is for one sandbox that is made ahead of demand and forked.
pub(crate) const MEMORY_FOR_ONE: u64 = 8 * 4;

/// Waits until a sandbox waits for anybody's function of this kind, and one for this function.
pub(crate) async fn ahead(bed: &Bed, spec: &Arc<FunctionSpec>) {
    bed.engine.expect(spec);
    waiting(bed, |slots| slots >= 2).await;
}

pub(crate) async fn waiting(bed: &Bed, enough: impl Fn(usize) -> bool) {
    for _ in 0..4000 {
        if enough(bed.engine.slots().whole) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?} sandboxes are there", bed.engine.slots());
}

/// Waits until so many sandboxes wait and go on waiting, while the janitor looks more than once.
async fn settles_at(bed: &Bed, count: usize) {
    settles(bed, |slots| slots.whole == count).await;
}

async fn settles(bed: &Bed, as_wanted: impl Fn(SlotCounts) -> bool) {
    let mut seen = 0;
    for _ in 0..4000 {
        seen = if as_wanted(bed.engine.slots()) {
            seen + 1
        } else {
            0
        };
        if seen == 500 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?} sandboxes are there", bed.engine.slots());
}

/// So many versions, all alike.
fn versions(bed: &Bed, count: usize) -> Vec<Arc<FunctionSpec>> {
    let one = |_| Arc::new(bed.function("def handler(event, context):\n    return 1"));
    (0..count).map(one).collect()
}

/// What a function sees of its surroundings, less what differs by design.
const SURROUNDINGS: &str = "
import json, os, sys
def handler(event, context):
    env = dict(os.environ)
    stream = env.pop('AWS_LAMBDA_LOG_STREAM_NAME')
    assert len(stream.rsplit(']', 1)[1]) == 32, stream
    fds = sorted(os.listdir('/proc/self/fd'), key=int)
    return json.dumps({
        'env': env, 'path': sys.path, 'argv': sys.argv, 'cwd': os.getcwd(), 'uid': os.getuid(), 'gid': os.getgid(),
        'modules': sorted(m for m in sys.modules if 'mayfly' in m or m == 'ctypes' and 'uuid' not in sys.modules),
        'finders': [getattr(finder, '__name__', type(finder).__name__) for finder in sys.meta_path],
        'loader': sorted(vars(__loader__)) if '__loader__' in globals() else None, 'file': __file__, 'name': __name__,
        'task': sorted(os.listdir('/var/task')), 'opt': os.listdir('/opt'), 'tmp': os.listdir('/tmp'),
        'tmp_mb': os.statvfs('/tmp').f_blocks * os.statvfs('/tmp').f_frsize >> 20,
        'pids': sorted(int(p) for p in os.listdir('/proc') if p.isdigit())[:1], 'fds': len(fds),
        'status': sorted(l.strip() for l in open('/proc/self/status')
                         if l.split(':')[0] in ('CapEff', 'CapPrm', 'CapInh', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp',
                                                'Groups', 'Uid', 'Gid')),
    }, sort_keys=True)
";

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_interpreter_is_like_one_that_was_executed() {
    let bed = Bed::new();
    for python in bed.pythons() {
        let id = python.id;
        let files = [
            ("pack/__init__.py", "import os\n"),
            ("pack/app.py", SURROUNDINGS),
        ];
        let mut spec = bed.function_on(python, "pack/app.handler", &files);
        spec.env = vec![("MINE".to_owned(), "gr\u{fc}n".to_owned())];
        spec.ephemeral_mb = 600;
        spec.memory_mb = 300;
        let spec = Arc::new(spec);
        let executed = bed.invoke(&spec, "{}").await;
        assert!(!executed.failed(), "{id}: {}", executed.text());
        bed.engine.retire("");
        ahead(&bed, &spec).await;
        // One is furnished, one is for anybody, and what the third gets is made while it waits.
        let call = || bed.invoke(&spec, "{}");
        let (first, second, third) = tokio::join!(call(), call(), call());
        for parked in [first, second, third] {
            assert_eq!(parked.text(), executed.text(), "{id}");
        }
        bed.engine.retire("");
        bed.engine.shed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_environment_runs_init_and_reports_it() {
    let bed = Bed::new();
    let spec = Arc::new(bed.function(
        "
import os, random
token = random.random()
print('init of', os.environ['AWS_LAMBDA_FUNCTION_NAME'])
def handler(event, context): return token
",
    ));
    let mut tokens = Vec::new();
    for round in 0..3 {
        ahead(&bed, &spec).await;
        tokens.push(bed.invoke(&spec, "{}").await.text());
        bed.engine.retire("");
        let text = bed.recorder.text();
        let count = |what: &str| text.matches(what).count();
        assert_eq!(count("init of"), round + 1);
        assert_eq!(count("Init Duration: "), round + 1, "{text}");
        assert_eq!(count("INIT_START"), round + 1);
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 3, "{tokens:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_init_is_told_as_ever() {
    let bed = Bed::new();
    let spec = Arc::new(bed.function("import nope"));
    ahead(&bed, &spec).await;
    let answer = bed.invoke(&spec, "{}").await;
    assert!(
        answer.text().contains("Runtime.ImportModuleError"),
        "{}",
        answer.text()
    );
    // What compiling says is said when the module is imported.
    let warned = "print('before')\ndef handler(event, context):\n    return event is 1";
    let warned = Arc::new(bed.function(warned));
    ahead(&bed, &warned).await;
    bed.invoke(&warned, "{}").await.gives("false");
    let lines = bed.recorder.all();
    let says = |line: &&String| line.contains("SyntaxWarning");
    assert_eq!(lines.iter().filter(says).count(), 1, "{lines:?}");
    let at = lines.iter().position(|line| says(&line)).unwrap();
    assert!(lines[at - 1].starts_with("INIT_START"), "{lines:?}");
    let exits = Arc::new(bed.function("import os\nos._exit(3)"));
    ahead(&bed, &exits).await;
    let answer = bed.invoke(&exits, "{}").await;
    assert!(answer.text().contains("exit status 3"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_those_of_the_function() {
    let bed = Bed::new();
    let code = "
import time
def handler(event, context):
    held = bytearray(event << 20)
    if event > 100: time.sleep(5)
    return len(held)
";
    let mut spec = bed.function(code);
    spec.memory_mb = 128;
    let spec = Arc::new(spec);
    ahead(&bed, &spec).await;
    bed.invoke(&spec, "60").await.gives(&(60 << 20).to_string());
    let answer = bed.invoke(&spec, "200").await;
    assert!(answer.failed(), "{}", answer.text());
    assert!(
        bed.recorder.text().contains("Runtime.OutOfMemory"),
        "{}",
        bed.recorder.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_bind_at_start_are_there_at_start() {
    let bed = Bed::new();
    let mut spec =
        bed.function("import sys\ndef handler(event, context):\n    return sys.flags.optimize");
    ahead(&bed, &Arc::new(spec.clone())).await;
    // Another revision.
    spec.key += "1";
    spec.env = vec![("PYTHONOPTIMIZE".to_owned(), "2".to_owned())];
    bed.invoke(&Arc::new(spec), "{}").await.gives("2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_runtime_finds_a_slot() {
    let bed = Bed::new();
    let runtime = bed.catalogue.resolve("provided.al2023").unwrap();
    let script = "#!/bin/sh\necho ran as $(id -u) >&2\nexit 7\n";
    let spec = Arc::new(bed.function_on(runtime, "any", &[("bootstrap", script)]));
    ahead(&bed, &spec).await;
    let answer = bed.invoke(&spec, "{}").await;
    assert!(answer.text().contains("exit status 7"), "{}", answer.text());
    assert!(
        bed.recorder.text().contains("ran as 993"),
        "{}",
        bed.recorder.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_know_why_they_were_initialised() {
    let bed = Bed::new();
    let code = "import os\ndef handler(event, context):\n    return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']";
    for (kind, word) in [
        (Initialization::OnDemand, "on-demand"),
        (Initialization::Provisioned, "provisioned-concurrency"),
        (Initialization::SnapStart, "snap-start"),
    ] {
        let mut spec = bed.function(code);
        spec.initialization = kind;
        bed.invoke(&Arc::new(spec), "{}")
            .await
            .gives(&format!("\"{word}\""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn init_can_run_ahead() {
    let bed = Bed::new();
    let spec = Arc::new(bed.function("print('init')\ndef handler(event, context):\n    return 1"));
    bed.engine.prepare(spec.clone()).await.unwrap();
    bed.invoke(&spec, "{}").await.gives("1");
    assert_eq!(bed.recorder.text().matches("init\n").count(), 1);
    let broken = Arc::new(bed.function("raise ValueError('no')"));
    match bed.engine.prepare(broken).await {
        Err(engine::Unprepared::Init {
            error_type,
            document,
        }) => {
            assert_eq!(error_type, "ValueError");
            assert!(String::from_utf8_lossy(&document).contains("\"errorMessage\": \"no\""));
        }
        other => panic!("{other:?}"),
    }
}

/// What a function finds of its interpreter: the seed of hashes, which forks of one zygote share, and random numbers.
const SEEDS: &str = "
import os, random
def handler(event, context):
    return [hash('seed'), random.random(), os.urandom(8).hex()]
";

#[tokio::test(flavor = "multi_thread")]
async fn interpreters_that_wait_are_forked_unless_told_otherwise() {
    for zygotes in [true, false] {
        let bed = Bed::with(|config| config.zygotes = zygotes);
        let spec = Arc::new(bed.function(SEEDS));
        let mut seen = Vec::new();
        for _ in 0..2 {
            ahead(&bed, &spec).await;
            let text = bed.invoke(&spec, "{}").await.text();
            seen.push(serde_json::from_str::<(i64, f64, String)>(&text).unwrap());
            bed.engine.retire("");
        }
        assert_eq!(seen[0].0 == seen[1].0, zygotes, "{seen:?}");
        assert_ne!(seen[0].1, seen[1].1);
        assert_ne!(seen[0].2, seen[1].2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_furnished_goes_with_its_version_and_makes_way_for_others() {
    let bed = Bed::with(|config| config.memory_mb_max = 64 * MEMORY_FOR_ONE);
    let versions = versions(&bed, 36);
    ahead(&bed, &versions[0]).await;
    bed.engine.retire(&versions[0].key);
    // What is for anybody stays.
    waiting(&bed, |slots| slots == 1).await;
    for version in &versions {
        bed.engine.expect(version);
    }
    // Half of the 64 for which there is memory, and one for anybody.
    settles_at(&bed, 33).await;
    bed.invoke(&versions[0], "{}").await.gives("1");
    bed.invoke(&versions[35], "{}").await.gives("1");
    bed.engine.retire("");
    waiting(&bed, |slots| slots == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_last_waits_where_there_is_no_room_for_all() {
    let bed = Bed::with(|config| config.memory_mb_max = 4 * MEMORY_FOR_ONE);
    let versions = versions(&bed, 6);
    for version in &versions[..5] {
        bed.engine.expect(version);
    }
    // One for anybody, a bare one, and two versions'.
    waiting(&bed, |slots| slots == 3).await;
    for _ in 0..400 {
        bed.engine.expect(&versions[5]);
        tokio::time::sleep(Duration::from_millis(25)).await;
        bed.engine.retire(&versions[5].key);
        if bed.engine.slots().whole == 2 {
            return;
        }
    }
    panic!("nothing made way");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_memory_is_short_versions_out_of_use_lose_theirs() {
    let minutes = Minutes::default();
    let bed = Bed::with(|config| (config.clock, config.environments_max) = (minutes.clock(), 2));
    let versions = versions(&bed, 3);
    bed.engine.expect(&versions[0]);
    // One for anybody, and its own.
    waiting(&bed, |slots| slots == 2).await;
    minutes.pass(61);
    for version in &versions[1..] {
        bed.engine.expect(version);
    }
    settles_at(&bed, 4).await;
    // Each leaves an environment, and there is no room for more.
    for version in &versions[1..] {
        bed.invoke(version, "{}").await.gives("1");
    }
    settles_at(&bed, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_have_the_descriptors_first() {
    // For six sandboxes, and all else.
    let bed = Bed::with(|config| config.descriptors_max = 1024 + 6 * 20);
    let versions = versions(&bed, 4);
    for version in &versions[..3] {
        bed.engine.expect(version);
    }
    settles(&bed, |slots| slots.all() == 5).await;
    for version in &versions[1..] {
        bed.invoke(version, "{}").await.gives("1");
    }
    settles(&bed, |slots| slots.all() == 3).await;
    assert_eq!(bed.engine.environments(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interpreter_that_shares_nothing_takes_the_place_of_four() {
    let bed = Bed::with(|config| {
        (config.memory_mb_max, config.zygotes) = (64 * MEMORY_FOR_ONE, false);
    });
    let versions = versions(&bed, 12);
    for version in &versions {
        bed.engine.expect(version);
    }
    // Eight versions', and one for anybody.
    settles_at(&bed, 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interpreter_is_not_forked_for_longer_than_an_hour() {
    let minutes = Minutes::default();
    let bed = Bed::with(|config| config.clock = minutes.clock());
    let spec = Arc::new(bed.function(SEEDS));
    let mut seeds = Vec::new();
    // What waits is of the hour in which it was made; the second call of each takes what was made after the first.
    for pass in [0, 0, 59, 0, 2, 0] {
        minutes.pass(pass);
        ahead(&bed, &spec).await;
        let text = bed.invoke(&spec, "{}").await.text();
        seeds.push(serde_json::from_str::<(i64, f64, String)>(&text).unwrap().0);
        bed.engine.retire("");
        bed.engine.expect(&spec);
    }
    assert_eq!(seeds[1], seeds[3], "{seeds:?}");
    assert_ne!(seeds[1], seeds[5], "{seeds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interpreter_is_not_forked_more_often_than_it_may_be() {
    let bed = Bed::with(|config| config.zygote_forks_max = 3);
    let spec = Arc::new(bed.function(SEEDS));
    let mut forks = std::collections::BTreeMap::new();
    for _ in 0..4 {
        ahead(&bed, &spec).await;
        let text = bed.invoke(&spec, "{}").await.text();
        let (seed, ..) = serde_json::from_str::<(i64, f64, String)>(&text).unwrap();
        *forks.entry(seed).or_insert(0) += 1;
        bed.engine.retire("");
    }
    // Each takes one that waits, and more wait than are taken.
    assert!(forks.len() > 1, "{forks:?}");
    assert!(forks.values().all(|forks| *forks <= 3), "{forks:?}");
}
