//! Zygotes and what they fork: whom they may send signals to.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use sandbox::{Exit, Host, Late, Mount, Outputs, Process, Sandbox, Spec, Zygote};
use tempfile::TempDir;

use crate::common::{LONG, command, folder, host, run, start};

/// What both programs do: which other processes there are, found by number since `/proc` hides them, and which of these a
/// signal gets to.
const PROBE: &str = "
import os

def probe(signal=0):
    seen, reached = [], []
    for pid in range(1, 300):
        if pid == os.getpid(): continue
        try:
            os.kill(pid, signal)
            reached.append(pid)
        except ProcessLookupError:
            continue
        except PermissionError:
            pass
        seen.append(pid)
    return [len(seen), reached]
";

/// A zygote that first tells what it can send a signal to, and whose forks tell the same when they are asked.
const PROGRAM: &str = "
import sys, time
import mayfly_zygote
from probe import *

template = mayfly_zygote.Template()
template.freeze()
template.say(ready=probe())
template.serve()
print(probe(), flush=True)
own = os.fork()
if own == 0:
    time.sleep(1000)
print(probe()[1] == [own], flush=True)
time.sleep(1000)
";

/// What is started beside a fork tries to kill it.
const BESIDE: &str = "
from probe import *
print(probe(9))
";

struct Bed {
    nursery: Host,
    code: TempDir,
}

impl Bed {
    fn new() -> Bed {
        let code = folder();
        for (name, text) in [
            ("probe.py", PROBE),
            ("program.py", PROGRAM),
            ("beside.py", BESIDE),
        ] {
            fs::write(code.path().join(name), text).unwrap();
        }
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtimes/python");
        let module = fs::read(module.join("mayfly_zygote.py")).unwrap();
        fs::write(code.path().join("mayfly_zygote.py"), module).unwrap();
        Bed {
            nursery: host().nursery().unwrap(),
            code,
        }
    }

    fn late(&self) -> Late {
        let spec = Spec::new("late");
        Late {
            mounts: vec![Mount::read_only(self.code.path(), "/opt")],
            tmp_bytes: spec.tmp_bytes,
            memory_bytes: spec.memory_bytes,
        }
    }

    /// One, and what it said when it was ready.
    fn zygote(&self) -> (Zygote, String) {
        let (mut errors, write) = std::io::pipe().unwrap();
        let process = Process {
            stderr: Some(OwnedFd::from(write)),
            ..command(&["/usr/bin/python3", "-S", "/opt/program.py"])
        };
        let zygote = self
            .nursery
            .zygote(Spec::new("zygote"), self.late(), process);
        let zygote = zygote.unwrap();
        let Some(said) = zygote.message(LONG) else {
            let mut text = String::new();
            errors.read_to_string(&mut text).unwrap();
            panic!("a zygote ended: {text}");
        };
        (zygote, String::from_utf8(said).unwrap())
    }

    fn sandbox(&self) -> Sandbox {
        let sandbox = self.nursery.create(Spec::new("fork")).unwrap();
        sandbox.attach(self.late()).unwrap();
        sandbox
    }
}

#[test]
fn a_zygote_reaches_nobody() {
    let bed = Bed::new();
    let (_first, said) = bed.zygote();
    // The nursery's broker is there.
    assert_eq!(said, r#"{"ready": [1, []]}"#);
    // And the first one, whose user and process namespace are the same.
    let (_second, said) = bed.zygote();
    assert_eq!(said, r#"{"ready": [2, []]}"#);
}

#[test]
fn a_fork_and_what_is_started_beside_it_reach_only_their_own() {
    let bed = Bed::new();
    let (zygote, _) = bed.zygote();
    let sandbox = bed.sandbox();
    // Of the fork's very user, but a child of the init.
    let (_asleep, _pipe) = start(&sandbox, command(&["/bin/sleep", "1000"]));
    let (read, write) = std::io::pipe().unwrap();
    let outputs = Outputs {
        output: write.as_fd(),
        third: write.as_fd(),
    };
    let fork = zygote.fork(&sandbox, &outputs).unwrap();
    let mut said = BufReader::new(read).lines();
    // The init and the sleeper are there.
    assert_eq!(said.next().unwrap().unwrap(), "[2, []]");
    assert_eq!(said.next().unwrap().unwrap(), "True");
    let beside = run(
        &sandbox,
        command(&["/usr/bin/python3", "-S", "/opt/beside.py"]),
    );
    // These, the fork and its child.
    assert_eq!(beside, ("[4, []]\n".to_owned(), Exit::Code(0)));
    // And the host reaches it.
    sandbox.kill();
    assert_eq!(fork.wait_timeout(LONG).unwrap(), Some(Exit::Signal(9)));
}
