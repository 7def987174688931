//! Zygotes and what they fork: whom they may send signals to.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sandbox::{
    CA_BUNDLE, Config, Exit, Host, Late, Mode, Mount, Outputs, Process, Sandbox, Spec, Zygote,
};
use tempfile::TempDir;

use crate::common::{LONG, command, config, folder, host, run, sh, start, until};

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

/// A zygote whose forks do not do what they must before they say that they have.
const LIAR: &str = "
import os, socket, struct, sys, time
import mayfly_zygote as zygote

class Liar(zygote.Template):
    def become_child(self, fds):
        lie = sys.argv[1]
        kernel = self.kernel
        if lie == 'capabilities':
            kernel.drop_capabilities = lambda: None
        if lie in ('bounding set', 'user namespace'):
            header = (kernel.ctypes.c_uint32 * 2)(0x20080522, 0)
            kernel.drop_capabilities = lambda: kernel.libc.capset(header, (kernel.ctypes.c_uint32 * 6)())
        if lie == 'user':
            zygote.USER = 992
        if lie == 'groups':
            os.setgroups = lambda groups, set=os.setgroups: set([990])
        if lie in ('net', 'user namespace', 'mnt'):
            skipped = {'mnt': fds[zygote.MOUNTS], 'net': fds[zygote.PIDS + 1], 'user namespace': fds[zygote.DOMAIN - 1]}[lie]
            kernel.enter = lambda fd, kind=0, enter=kernel.enter: None if fd == skipped else enter(fd, kind)
        if lie == 'another':
            for fd in [fds[zygote.MOUNTS]] + fds[zygote.PIDS + 1:zygote.DOMAIN - 1]:
                kernel.enter(fd)
            ready = socket.socket(fileno=fds[zygote.READY])
            named = struct.pack('iII', 1, os.getuid(), os.getgid())
            ready.sendmsg([b'2'], [(socket.SOL_SOCKET, 2, named)])
            time.sleep(1000)
        if lie == 'thread':
            import threading
            drop, another = kernel.drop_capabilities, threading.Thread(target=time.sleep, args=(1000,), daemon=True)
            kernel.drop_capabilities = lambda: drop() or another.start()
        zygote.Template.become_child(self, fds)

template = Liar()
template.freeze()
template.say(ready=True)
template.serve()
print(sorted(line.split(':')[2].strip() for line in open('/proc/self/cgroup') if 'memory' in line or 'pids' in line), flush=True)
time.sleep(1000)
";

struct Bed {
    nursery: Host,
    code: TempDir,
}

impl Bed {
    fn new() -> Bed {
        Bed::of(&host())
    }

    fn of(host: &Host) -> Bed {
        let code = folder();
        for (name, text) in [
            ("probe.py", PROBE),
            ("program.py", PROGRAM),
            ("beside.py", BESIDE),
            ("liar.py", LIAR),
        ] {
            fs::write(code.path().join(name), text).unwrap();
        }
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtimes/python");
        let module = fs::read(module.join("mayfly_zygote.py")).unwrap();
        fs::write(code.path().join("mayfly_zygote.py"), module).unwrap();
        Bed {
            nursery: host.nursery(Vec::new()).unwrap(),
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
        self.started(&["/opt/program.py"])
    }

    fn started(&self, program: &[&str]) -> (Zygote, String) {
        let (mut errors, write) = std::io::pipe().unwrap();
        let process = Process {
            stderr: Some(OwnedFd::from(write)),
            ..command(&[&["/usr/bin/python3", "-S"], program].concat())
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
    let (fork, _) = zygote.fork(&sandbox, &outputs, true, None).unwrap();
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

#[test]
fn every_sandbox_of_a_nursery_has_its_files_and_no_other_has() {
    let host = host();
    let code = folder();
    fs::write(code.path().join("file"), "of the nursery").unwrap();
    let mounts = vec![Mount::read_only(code.path(), "/opt")];
    let nursery = host.nursery(mounts.clone()).unwrap();
    for _ in 0..2 {
        let sandbox = nursery.create(Spec::new("inside")).unwrap();
        let read = sh(&sandbox, "cat /opt/file; echo x 2>&- > /opt/file");
        assert!(read.0.starts_with("of the nursery"), "{read:?}");
        assert_ne!(read.1, Exit::Code(0));
    }
    for other in [host.clone(), host.nursery(Vec::new()).unwrap()] {
        let sandbox = other.create(Spec::new("outside")).unwrap();
        assert_ne!(sh(&sandbox, "cat /opt/file").1, Exit::Code(0));
    }
    let writable = Mount {
        read_only: false,
        ..mounts[0].clone()
    };
    assert!(host.nursery(vec![writable]).is_err());
    assert!(
        host.nursery(vec![Mount::read_only(code.path(), "/etc")])
            .is_err()
    );
}

#[test]
fn a_fork_that_is_not_confined_is_found_out() {
    let bed = Bed::new();
    for (lie, found, by_root) in [
        ("capabilities", "it has rights: Cap", false),
        ("bounding set", "it has rights: CapBnd", false),
        // An ordinary user has only one to give, and without the namespace not even that.
        ("user", "Uid is", true),
        ("groups", "Groups is", true),
        ("mnt", "it is not in the sandbox's mnt namespace", false),
        ("net", "it is not in the sandbox's net namespace", false),
        (
            "user namespace",
            "it is not in the sandbox's user namespace",
            true,
        ),
        ("thread", "Threads is", false),
        // It says that it was the sandbox's init.
        ("another", "it has rights: Cap", true),
    ] {
        if by_root && bed.nursery.mode() != Mode::Root {
            continue;
        }
        let (zygote, _) = bed.started(&["/opt/liar.py", lie]);
        let (mut read, write) = std::io::pipe().unwrap();
        let outputs = Outputs {
            output: write.as_fd(),
            third: write.as_fd(),
        };
        match zygote.fork(&bed.sandbox(), &outputs, true, None) {
            Err(sandbox::Error::Unfit(why)) => assert!(why.starts_with(found), "{lie}: {why}"),
            Ok(_) => panic!("{lie}: it was not found out"),
            other => {
                drop(write);
                let mut text = String::new();
                read.read_to_string(&mut text).unwrap();
                panic!("{lie}: {other:?} {text}")
            }
        }
        until("the zygote's end", || !zygote.is_alive());
    }
    // One that tells the truth is taken, and put under its limits.
    let (zygote, _) = bed.started(&["/opt/liar.py", "none"]);
    let (read, write) = std::io::pipe().unwrap();
    let outputs = Outputs {
        output: write.as_fd(),
        third: write.as_fd(),
    };
    let sandbox = bed.sandbox();
    zygote.fork(&sandbox, &outputs, true, None).unwrap();
    let groups = BufReader::new(read).lines().next().unwrap().unwrap();
    assert!(!groups.contains(".."), "{groups}");
}

#[test]
fn certificates_that_only_the_server_may_read_are_there() {
    let private = tempfile::tempdir().unwrap();
    let bundle = private.path().join("bundle.pem");
    fs::write(&bundle, "trusted").unwrap();
    fs::set_permissions(&bundle, fs::Permissions::from_mode(0o600)).unwrap();
    let config = Config {
        ca_bundle: Some(bundle),
        ..config()
    };
    let bed = Bed::of(&Host::start(&config).unwrap());
    let (text, _) = run(&bed.sandbox(), command(&["/bin/cat", CA_BUNDLE]));
    assert_eq!(text, "trusted");
}
