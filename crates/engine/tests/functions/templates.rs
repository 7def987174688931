//! Environments that are forks of one that has been initialised: what they share, what they must not, and when there is
//! no template.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::runtimes::Family;
use engine::{FunctionSpec, Initialization, Refusal};

use crate::bed::{Bed, wait_until};
use crate::parked::{MEMORY_FOR_ONE, ahead};
use crate::prediction::Minutes;

fn snap(bed: &Bed, code: &str) -> Arc<FunctionSpec> {
    let mut spec = bed.function(code);
    spec.initialization = Initialization::SnapStart;
    Arc::new(spec)
}

async fn prepared(bed: &Bed, spec: &Arc<FunctionSpec>) {
    let prepared = bed.engine.prepare(spec.clone()).await.unwrap();
    assert_eq!(prepared.template, Ok(()), "{}", bed.recorder.text());
}

async fn is_restored(bed: &Bed, spec: &Arc<FunctionSpec>) -> bool {
    let answer = bed.invoke(spec, "{}").await;
    answer.0.report.restore_duration.is_some()
}

/// What the answers of `count` environments at once are.
async fn at_once(bed: &Arc<Bed>, spec: &Arc<FunctionSpec>, count: usize) -> Vec<serde_json::Value> {
    let mut running = Vec::new();
    for _ in 0..count {
        let (bed, spec) = (bed.clone(), spec.clone());
        running.push(tokio::spawn(async move { bed.invoke(&spec, "{}").await }));
    }
    let mut answers = Vec::new();
    for one in running {
        let answer = one.await.unwrap();
        assert!(
            !answer.failed(),
            "{} {}",
            answer.text(),
            bed.recorder.text()
        );
        answers.push(serde_json::from_str(&answer.text()).unwrap());
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn init_runs_once_and_children_are_told_apart() {
    let bed = Arc::new(Bed::new());
    let spec = snap(
        &bed,
        "
import os, random, time, uuid
print('init ran')
made = random.random()
data = open('/var/task/app.py')
data.read(5)
open('/tmp/left', 'w').write('by init')
counter = [0]
def handler(event, context):
    counter[0] += 1
    time.sleep(0.2)
    open('/tmp/mine', 'a').write('x')
    return {'made': made, 'random': random.random(), 'uuid': str(uuid.uuid4()), 'count': counter[0],
            'left': open('/tmp/left').read(), 'mine': open('/tmp/mine').read(), 'at': data.tell(), 'next': data.read(3),
            'keys': [n for n in os.environ if 'ACCESS_KEY' in n or 'SESSION_TOKEN' in n], 'type': os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'],
            'stream': os.environ.get('AWS_LAMBDA_LOG_STREAM_NAME'),
            'parked': sorted(n for n in os.environ if 'MAYFLY' in n)}
",
    );
    prepared(&bed, &spec).await;
    let answers = at_once(&bed, &spec, 3).await;
    let different = |name: &str| {
        let mut values: Vec<String> = answers.iter().map(|a| a[name].to_string()).collect();
        values.sort();
        values.dedup();
        values.len()
    };
    assert_eq!(different("made"), 1);
    for name in ["random", "uuid"] {
        assert_eq!(different(name), 3, "{name}: {answers:?}");
    }
    for answer in &answers {
        assert_eq!(answer["count"], 1);
        assert_eq!(answer["left"], "by init");
        assert_eq!(answer["mine"], "x");
        assert_eq!(answer["at"], 5);
        assert_eq!(answer["next"], "rt ");
        assert_eq!(answer["keys"], serde_json::json!([]));
        assert_eq!(answer["type"], "snap-start");
        // As on AWS, where SnapStart has no such variable.
        assert_eq!(answer["stream"], serde_json::Value::Null);
        assert_eq!(answer["parked"], serde_json::json!([]));
    }
    let text = bed.recorder.text();
    assert_eq!(text.matches("init ran").count(), 1, "{text}");
    assert_eq!(text.matches("RESTORE_START").count(), 3, "{text}");
    assert_eq!(text.matches("\tRestore Duration: ").count(), 3, "{text}");
    assert!(!text.contains("\tInit Duration: "), "{text}");
}

/// Each has a process that waits; sandboxes for a second call at the same time are the last to be made, and there is room for 64.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_versions_have_a_sandbox_for_a_second_call_too() {
    let bed = Bed::with(|config| config.memory_mb_max = 64 * MEMORY_FOR_ONE);
    for version in 0..36 {
        let code = format!("VERSION = {version}\ndef handler(event, context):\n    return 1\n");
        prepared(&bed, &snap(&bed, &code)).await;
        // Templates alone would not take all of it.
        bed.engine.expect(&Arc::new(bed.function(&code)));
    }
    let counts = || (bed.engine.slots().whole, bed.engine.slots().bare);
    wait_until(|| counts() == (56, 8)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(counts(), (56, 8));
}

/// What its function opens, in as many descriptors as a function may have.
const FULL_OF_DESCRIPTORS: &str = "
import os, resource, time
KEPT = [open(__file__) for _ in range(980)]
def handler(event, context):
    time.sleep(3)
    return [os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'], resource.getrlimit(resource.RLIMIT_NOFILE)]
";

/// It keeps a descriptor for each fork, which take no place of the function's.
#[tokio::test(flavor = "multi_thread")]
async fn a_template_has_descriptors_enough_for_its_forks() {
    let bed = Arc::new(Bed::new());
    let spec = snap(&bed, FULL_OF_DESCRIPTORS);
    prepared(&bed, &spec).await;
    for answer in at_once(&bed, &spec, 60).await {
        assert_eq!(answer, serde_json::json!(["snap-start", [1024, 1024]]));
    }
    let log = bed.recorder.text();
    assert_eq!(log.matches("RESTORE_START").count(), 60, "{log}");
}

/// Where a function sees to it that there cannot be more, calls beyond that go without it, and nobody loses what was forked before.
#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_runs_out_of_descriptors_goes_on() {
    let bed = Arc::new(Bed::new());
    let limit = "resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))";
    let spec = snap(&bed, &format!("{FULL_OF_DESCRIPTORS}{limit}\n"));
    prepared(&bed, &spec).await;
    for answer in at_once(&bed, &spec, 40).await {
        assert_eq!(answer[0], "snap-start");
    }
    let log = bed.recorder.text();
    assert!(log.matches("RESTORE_START").count() >= 10, "{log}");
    assert!(log.matches("INIT_START").count() >= 2, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_has_no_more_rights_than_an_executed_runtime() {
    let bed = Arc::new(Bed::new());
    let code = "
import ctypes, json, os, socket
def attempt(work):
    try: return repr(work())
    except Exception as error: return '%s %s' % (type(error).__name__, getattr(error, 'errno', ''))
def call(number, *args):
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(number, *args), ctypes.get_errno()
def domains():
    handled = ctypes.c_uint64(1 << 1)
    ruleset, _ = call(444, ctypes.byref(handled), ctypes.c_size_t(8), 0)
    return sum(call(446, ruleset, 0)[0] == 0 for _ in range(17))
def handler(event, context):
    fds = {}
    for fd in os.listdir('/proc/self/fd'):
        try: fds[fd] = os.readlink('/proc/self/fd/' + fd).split(':')[0]
        except OSError: pass
    status = {l.split(':')[0]: l.split(':')[1].split() for l in open('/proc/self/status')}
    return json.dumps({
        'status': [status[n] for n in ('CapEff', 'CapPrm', 'CapInh', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Groups',
                                       'Uid', 'Gid')],
        'fds': sorted(fds.values()), 'pids': len([p for p in os.listdir('/proc') if p.isdigit()]),
        'parent': os.getppid(), 'session': os.getsid(0) == os.getpid(), 'host': socket.gethostname(),
        'write': attempt(lambda: open('/var/task/x', 'w')), 'etc': attempt(lambda: open('/etc/x', 'w')),
        'shadow': attempt(lambda: open('/etc/shadow')), 'dev': sorted(os.listdir('/dev')),
        'mount': call(165, b'none', b'/tmp', b'tmpfs', 0, None), 'unshare': call(272, 0x10000000),
        'chroot': attempt(lambda: os.chroot('/tmp')), 'setuid': attempt(lambda: os.setuid(0)),
        'hostname': attempt(lambda: socket.sethostname('x')), 'kill': attempt(lambda: os.kill(1, 9)),
        'cgroup': [l.split(':')[-1].strip() for l in open('/proc/self/cgroup') if 'memory' in l],
        'nofile': __import__('resource').getrlimit(7), 'umask': oct(os.umask(0o22)),
        'root': sorted(os.listdir('/')), 'abstract': attempt(lambda: socket.socket(socket.AF_VSOCK)),
        'domains': domains(),
    }, sort_keys=True)
";
    let mut executed = bed.function(code);
    executed.env = vec![("PYTHONWARNINGS".to_owned(), "ignore".to_owned())];
    let executed = Arc::new(executed);
    let spec = snap(&bed, code);
    prepared(&bed, &spec).await;
    let mut expected = at_once(&bed, &executed, 1).await.remove(0);
    let mut found = at_once(&bed, &spec, 1).await.remove(0);
    let parse = |value: &mut serde_json::Value| -> serde_json::Value {
        serde_json::from_str(value.as_str().unwrap()).unwrap()
    };
    assert!(
        bed.recorder.text().contains("RESTORE_START"),
        "it is no fork"
    );
    let (mut expected, mut found) = (parse(&mut expected), parse(&mut found));
    // The fork's parent is out of sight, so it looks like none.
    expected["parent"] = 0.into();
    found["parent"] = 0.into();
    // Landlock stacks sixteen domains. The template is in one, and the fork in one of its own; executed runtimes may not ask.
    let domains = found["domains"].take();
    assert!(domains == 14 || domains == 0, "{domains} more domains");
    expected["domains"].take();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_forked_is_refused_and_runs_without() {
    let bed = Bed::new();
    let mut inits = 0;
    for (name, left, reason) in [
        (
            "thread",
            "import threading\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
            "threads",
        ),
        (
            "process",
            "import subprocess\nsubprocess.Popen(['sleep', '9'])",
            "child processes",
        ),
        (
            "socket",
            "import socket\nkept = socket.socketpair()",
            "socket",
        ),
        ("pipe", "import os\nkept = os.pipe()", "pipe"),
        (
            "tmp",
            "open('/tmp/large', 'wb').write(bytes(2 << 20))",
            "in /tmp",
        ),
        (
            "network",
            "import socket\nsocket.create_connection(('127.0.0.1', 4566))",
            "without network",
        ),
    ] {
        let code = format!(
            "import time\nprint('init begins')\n{left}\ndef handler(event, context):\n    return '{name}'"
        );
        let spec = snap(&bed, &code);
        let prepared = bed.engine.prepare(spec.clone()).await.unwrap();
        let why = prepared.template.unwrap_err();
        assert!(why.contains(reason), "{name}: {why}");
        bed.invoke(&spec, "{}").await.gives(&format!("\"{name}\""));
        let text = bed.recorder.text();
        assert_eq!(text.matches(&why).count(), 1, "{text}");
        inits += 2;
        // In the template, and ahead in the environment that the invocation met.
        assert_eq!(text.matches("init begins").count(), inits, "{text}");
        bed.engine.retire("");
    }
    assert_eq!(bed.engine.templates(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_init_made_of_variables_stays() {
    let bed = Bed::new();
    let mut spec = FunctionSpec::clone(&snap(
        &bed,
        "
import os
os.environ['CHANGED'] = 'by init'
del os.environ['GONE']
def handler(event, context):
    return [os.environ['CHANGED'], os.environ.get('GONE'), os.environ['KEPT']]
",
    ));
    let given = ["CHANGED", "GONE", "KEPT"].map(|name| (name.to_owned(), "given".to_owned()));
    spec.env = given.into_iter().collect();
    let spec = Arc::new(spec);
    prepared(&bed, &spec).await;
    let answer = bed.invoke(&spec, "{}").await;
    answer.gives("[\"by init\", null, \"given\"]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_does_not_confine_its_forks_is_given_up() {
    let bed = Bed::new();
    let spec = snap(
        &bed,
        "
import sys
zygote = sys.modules.get('mayfly_zygote')
if zygote: zygote.Kernel.drop_capabilities = lambda self: None
def handler(event, context):
    return [l for l in open('/proc/self/status') if l.startswith('CapPrm')][0].split()[1]
",
    );
    prepared(&bed, &spec).await;
    bed.invoke(&spec, "{}").await.gives("\"0000000000000000\"");
    let text = bed.recorder.text();
    assert!(!text.contains("RESTORE_START"), "{text}");
    assert_eq!(bed.engine.templates(), 0);
    bed.invoke(&spec, "{}").await.gives("\"0000000000000000\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_take_half_of_the_memory_at_most_and_make_way() {
    let minutes = Minutes::default();
    let bed = Bed::with(|config| {
        config.memory_mb_max = 700;
        config.clock = minutes.clock();
    });
    let code = "held = b'x' * (150 << 20)\ndef handler(event, context): return len(held) >> 20";
    let spec = snap(&bed, code);
    let version = |number: u32, memory_mb| {
        Arc::new(FunctionSpec {
            memory_mb,
            key: format!("{}{number}/", spec.key),
            ..FunctionSpec::clone(&spec)
        })
    };
    let (first, second) = (version(1, 250), version(2, 250));
    prepared(&bed, &first).await;
    // It holds less than its MemorySize, and still there is no room for both: the one that was used least lately goes.
    prepared(&bed, &second).await;
    assert_eq!(bed.engine.templates(), 1);
    assert!(is_restored(&bed, &second).await);
    // A call does not take away what was used just now, and its environment runs init itself.
    assert!(!is_restored(&bed, &first).await);
    minutes.pass(10);
    bed.engine.retire_environments("");
    let restored = async {
        while !is_restored(&bed, &first).await {
            bed.engine.retire_environments("");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, restored).await.unwrap();
    assert_eq!(bed.engine.templates(), 1);
    let large = bed.engine.prepare(version(3, 351)).await.unwrap();
    assert!(large.template.unwrap_err().contains("part of the memory"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_outlives_many_forks() {
    let bed = Arc::new(Bed::with(|config| config.memory_mb_max = 128 * 41));
    // What forks leave with their template is charged to it, and this one has hardly any room.
    let code = "
import time
held = b'x' * (100 << 20)
def handler(event, context):
    time.sleep(1)
    return 1
";
    let spec = Arc::new(FunctionSpec {
        memory_mb: 128,
        ..FunctionSpec::clone(&snap(&bed, code))
    });
    prepared(&bed, &spec).await;
    at_once(&bed, &spec, 40).await;
    assert_eq!(bed.engine.templates(), 1);
    let text = bed.recorder.text();
    assert_eq!(text.matches("RESTORE_REPORT").count(), 40, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_may_be_handed_out_in_any_way() {
    let bed = Bed::new();
    let code = "held = b'x' * (60 << 20)\ndef handler(event, context):\n    return len(held)";
    let mut spec = FunctionSpec::clone(&snap(&bed, code));
    spec.memory_mb = 128;
    spec.env = vec![("PYTHONMALLOC".to_owned(), "malloc".to_owned())];
    let spec = Arc::new(spec);
    prepared(&bed, &spec).await;
    assert!(is_restored(&bed, &spec).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn forks_count_no_references_to_what_no_function_made() {
    let code = "
import json, os, sys, weakref
class Thing(object):
    pass
thing = Thing()
seen = weakref.ref(thing)
def handler(event, context):
    del globals()['thing']
    counts = [sys.getrefcount(function.__code__) for function in (json.loads, os.getenv, os.path.join)]
    return {'counted': min(counts) < 1 << 28, 'freed': seen() is None}
";
    for runtime in Bed::new().pythons() {
        let bed = Bed::new();
        let function = || bed.function_on(runtime.clone(), "app.handler", &[("app.py", code)]);
        let ordinary = Arc::new(function());
        ahead(&bed, &ordinary).await;
        let mut answers = vec![bed.invoke(&ordinary, "{}").await.text()];
        let mut restored = function();
        restored.initialization = Initialization::SnapStart;
        let restored = Arc::new(restored);
        let prepared = bed.engine.prepare(restored.clone()).await;
        if prepared.is_ok_and(|prepared| prepared.template.is_ok()) {
            answers.push(bed.invoke(&restored, "{}").await.text());
        }
        // Interpreters before PEP 683 count them all.
        let counted = !matches!(runtime.family, Family::Python(3, 12..));
        for answer in answers {
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            let expected = serde_json::json!({"counted": counted, "freed": true});
            assert_eq!(answer, expected, "{}", runtime.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_fails_fails_the_preparation() {
    let bed = Bed::new();
    match bed
        .engine
        .prepare(snap(&bed, "raise ValueError('no')"))
        .await
    {
        Err(engine::Unprepared::Init { error_type, .. }) => assert_eq!(error_type, "ValueError"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_on_both_sides() {
    let bed = Arc::new(Bed::new());
    let code = "
import snapshot_restore_py as hooks
seen = []
hooks.register_before_snapshot(seen.append, 'first')
hooks.register_before_snapshot(seen.append, 'second')
@hooks.register_after_restore
def restored(): seen.append('third')
def handler(event, context): return seen
";
    let spec = snap(&bed, code);
    prepared(&bed, &spec).await;
    bed.invoke(&spec, "{}")
        .await
        .gives("[\"second\", \"first\", \"third\"]");
    let spec = snap(&bed, &code.replace("seen.append('third')", "int('third')"));
    prepared(&bed, &spec).await;
    match bed.try_invoke(&spec, "{}").await {
        Err(Refusal::NotRestored(error_type)) => assert_eq!(error_type, "ValueError"),
        other => panic!("{other:?}"),
    }
    let text = bed.recorder.text();
    assert!(
        text.contains(" ms\tStatus: error\tError Type: ValueError\n"),
        "{text}"
    );
}

/// As on AWS: what they are for is to make fresh what has grown old.
#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_when_a_call_comes_and_not_before() {
    let bed = Arc::new(Bed::new());
    let code = "
import os, time, snapshot_restore_py
times = []
os.register_at_fork(after_in_child=lambda: times.append(time.time()))
@snapshot_restore_py.register_after_restore
def restored(): times.append(time.time())
def handler(event, context): return times
";
    let spec = snap(&bed, code);
    prepared(&bed, &spec).await;
    crate::parked::waiting(&bed, |slots| slots >= 1).await;
    let called = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let times: [f64; 2] = serde_json::from_value(bed.invoke(&spec, "{}").await.json()).unwrap();
    let [forked, restored] = times.map(Duration::from_secs_f64);
    assert!(forked < called, "it was made ahead");
    assert!(called < restored, "it was restored for the call");
}

/// Its keys were made when it was, and more is asked of them than not to have ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_that_waits_is_of_no_use_when_its_role_is_gone() {
    let bed = Arc::new(Bed::new());
    let mut spec = FunctionSpec::clone(&snap(&bed, "def handler(event, context): return 1"));
    let (source, gone) = (spec.credentials.clone(), Arc::new(AtomicBool::new(false)));
    let is_gone = gone.clone();
    spec.credentials = Arc::new(move |lasting| match is_gone.load(Ordering::Acquire) {
        true => Err("there is no such role".to_owned()),
        false => source(lasting),
    });
    let spec = Arc::new(spec);
    prepared(&bed, &spec).await;
    crate::parked::waiting(&bed, |slots| slots >= 1).await;
    gone.store(true, Ordering::Release);
    match bed.try_invoke(&spec, "{}").await {
        Err(Refusal::Credentials(why)) => assert_eq!(why, "there is no such role"),
        other => panic!("{other:?}"),
    }
    gone.store(false, Ordering::Release);
    bed.invoke(&spec, "{}").await.gives("1");
}

/// It takes the ten seconds that a restore has.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_takes_too_long_refuses_the_invocation() {
    let bed = Arc::new(Bed::new());
    let code = "
import time, snapshot_restore_py
@snapshot_restore_py.register_after_restore
def restored(): time.sleep(60)
def handler(event, context): return 1
";
    let spec = snap(&bed, code);
    prepared(&bed, &spec).await;
    match bed.try_invoke(&spec, "{}").await {
        Err(Refusal::RestoreTimeout) => {}
        other => panic!("{other:?}"),
    }
    let text = bed.recorder.text();
    assert!(
        text.contains("RESTORE_REPORT") && text.contains("Status: timeout"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_snap_start_a_function_may_have_a_template_too() {
    let bed = Arc::new(Bed::new());
    let mut spec = bed.function(
        "
import os, time
print('init ran')
def handler(event, context):
    time.sleep(0.2)
    return [os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'], os.environ['AWS_LAMBDA_LOG_STREAM_NAME'],
            context.log_stream_name]
",
    );
    spec.template = true;
    let spec = Arc::new(spec);
    prepared(&bed, &spec).await;
    let mut answers = at_once(&bed, &spec, 2).await;
    for answer in &answers {
        assert_eq!(answer[0], "on-demand");
        assert_eq!(answer[1], answer[2]);
    }
    answers.dedup();
    assert_eq!(answers.len(), 2, "each has a stream of its own");
    let text = bed.recorder.text();
    assert_eq!(text.matches("init ran").count(), 1, "{text}");
    assert_eq!(text.matches("\tRestore Duration: ").count(), 2, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_that_ends_is_told_and_its_limits_are_the_function_s() {
    let bed = Bed::new();
    let code = "
import os, time
def handler(event, context):
    if event == 1: os._exit(3)
    held = bytearray(event << 20)
    if event > 100: time.sleep(5)
    return len(held)
";
    let mut spec = FunctionSpec::clone(&snap(&bed, code));
    // With a CPU's share that fills it in time.
    spec.memory_mb = 256;
    let spec = Arc::new(spec);
    prepared(&bed, &spec).await;
    let answer = bed.invoke(&spec, "1").await;
    assert!(answer.text().contains("exit status 3"), "{}", answer.text());
    assert!(
        bed.recorder.text().contains("RESTORE_START"),
        "it is no fork"
    );
    bed.engine.retire("");
    prepared(&bed, &spec).await;
    bed.invoke(&spec, "50").await.gives(&(50 << 20).to_string());
    let answer = bed.invoke(&spec, "400").await;
    assert!(answer.failed(), "{}", answer.text());
    assert!(
        bed.recorder.text().contains("Runtime.OutOfMemory"),
        "{}",
        bed.recorder.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_end_with_their_version() {
    let bed = Arc::new(Bed::new());
    let spec = snap(
        &bed,
        "import os\ndef handler(event, context):\n    return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']",
    );
    prepared(&bed, &spec).await;
    assert_eq!(bed.engine.templates(), 1);
    bed.invoke(&spec, "{}").await.gives("\"snap-start\"");
    assert!(bed.recorder.text().contains("RESTORE_START"));
    bed.engine.retire(&spec.key);
    assert_eq!(bed.engine.templates(), 0);
    for _ in 0..2000 {
        if bed.engine.environments() == 0 && bed.engine.is_quiet() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(bed.engine.environments(), 0);
    // A template that was retired is not what the next environment comes from.
    bed.invoke(&spec, "{}").await.gives("\"snap-start\"");
    assert_eq!(bed.recorder.text().matches("RESTORE_START").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_ends_a_fork() {
    let bed = Bed::new();
    let code = "
import os, time
def handler(event, context):
    if event == 1: time.sleep(60)
    others = [p for p in os.listdir('/proc') if p.isdigit() and int(p) not in (1, os.getpid())]
    return len(others)
";
    let mut spec = FunctionSpec::clone(&snap(&bed, code));
    spec.timeout = Duration::from_secs(3);
    let spec = Arc::new(spec);
    prepared(&bed, &spec).await;
    let answer = bed.invoke(&spec, "1").await;
    assert!(answer.text().contains("timed out"), "{}", answer.text());
    bed.invoke(&spec, "0").await.gives("0");
}
