//! The adversarial suite: `hostile.py` tries its table of ways out; every row is asserted.

use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use sandbox::{Child, Exit, Host, Late, Mode, Mount, Outputs, Process, Sandbox, Spec};
use tempfile::TempDir;

use crate::common::{LONG, command, folder, host, run, start};

/// Fewer rows than this means that the table was not run.
const ATTACKS_MIN: usize = 200;
const NORMAL_MIN: usize = 18;

#[test]
fn a_hostile_function_stays_inside() {
    let host = host();
    let stage = Stage::new(&host);
    let sandbox = host.create(stage.spec()).unwrap();
    let process = Process {
        cwd: "/var/task".into(),
        ..command(&[
            "/usr/bin/python3",
            "-S",
            "/var/task/hostile.py",
            &stage.facts(host.mode() == Mode::Root),
        ])
    };
    let (output, exit) = run(&sandbox, process);
    assert_all_held(&output, exit);
}

/// A zygote whose fork does the same.
const ZYGOTE: &str = "
import os, runpy, sys
import mayfly_zygote

template = mayfly_zygote.Template()
template.freeze()
template.say(ready=True)
template.serve()
# What a runtime goes on with, and has by right.
template.connected.close()
os.chdir('/var/task')
os.close(3)
runpy.run_path('/var/task/hostile.py', run_name='__main__')
";

#[test]
fn a_hostile_fork_of_a_template_stays_inside() {
    let host = host();
    let stage = Stage::new(&host);
    let nursery = host.nursery(Vec::new()).unwrap();
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtimes/python");
    let module = fs::read(module.join("mayfly_zygote.py")).unwrap();
    fs::write(stage.code.path().join("mayfly_zygote.py"), module).unwrap();
    fs::write(stage.code.path().join("zygote.py"), ZYGOTE).unwrap();
    // Root's files look like nobody's in a nursery.
    let facts = stage.facts(false);
    let program = command(&["/usr/bin/python3", "-S", "/var/task/zygote.py", &facts]);
    let spec = stage.spec();
    let late = Late {
        mounts: Vec::new(),
        tmp_bytes: spec.tmp_bytes,
        memory_bytes: spec.memory_bytes,
    };
    let zygote = nursery.zygote(spec, late, program).unwrap();
    assert!(zygote.message(LONG).is_some());
    let sandbox = nursery.create(stage.spec()).unwrap();
    let (mut read, write) = std::io::pipe().unwrap();
    let outputs = Outputs {
        output: write.as_fd(),
        third: write.as_fd(),
    };
    let (fork, _) = zygote.fork(&sandbox, &outputs, true, None).unwrap();
    drop(write);
    let mut output = Vec::new();
    read.read_to_end(&mut output).unwrap();
    let exit = fork.wait_timeout(LONG).unwrap().unwrap();
    assert_all_held(&String::from_utf8_lossy(&output), exit);
}

/// What there is to be found outside: ports, sockets, shared memory, another function.
struct Stage {
    code: TempDir,
    secrets: TempDir,
    facts: String,
    shm: i32,
    _port: TcpListener,
    _sockets: [UnixListener; 2],
    _neighbour: (Sandbox, (Child, File)),
}

impl Stage {
    fn new(host: &Host) -> Stage {
        let (code, secrets) = (folder(), folder());
        fs::write(code.path().join("hostile.py"), include_str!("hostile.py")).unwrap();
        fs::write(secrets.path().join("secret"), "secret").unwrap();
        let program = secrets.path().join("program");
        fs::write(&program, "#!/bin/sh\nexit 0\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sandbox-test-{}-{number}", std::process::id());
        let in_abstract =
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let socket_file = secrets.path().join("socket");
        let in_file = UnixListener::bind(&socket_file).unwrap();
        let shm = shared_memory();
        let neighbour = Spec {
            mounts: vec![Mount::read_only(secrets.path(), "/var/task")],
            listeners: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9001)],
            ..Spec::new("neighbour")
        };
        let neighbour = host.create(neighbour).unwrap();
        let asleep = start(&neighbour, command(&["/bin/sleep", "1000"]));
        let facts = format!(
            r#""host_file": {:?}, "neighbour_code": "/var/task/secret", "host_port": {},
            "host_addresses": ["0.0.0.0", "127.0.0.2"], "abstract": "{name}", "socket_file": {socket_file:?},
            "shm": {shm}, "host_pid": {}, "bash": {}, "no_exec": "/opt/program""#,
            secrets.path().join("secret"),
            port.local_addr().unwrap().port(),
            std::process::id(),
            Path::new("/bin/bash").exists(),
        );
        Stage {
            code,
            secrets,
            facts,
            shm,
            _port: port,
            _sockets: [in_abstract, in_file],
            _neighbour: (neighbour, asleep),
        }
    }

    /// What `hostile.py` wants to know, and whether root's files look like root's.
    fn facts(&self, root: bool) -> String {
        format!("{{{}, \"root\": {root}}}", self.facts)
    }

    fn spec(&self) -> Spec {
        let program = Mount {
            exec: false,
            ..Mount::read_only(self.secrets.path().join("program"), "/opt/program")
        };
        Spec {
            mounts: vec![Mount::read_only(self.code.path(), "/var/task"), program],
            memory_bytes: 256 << 20,
            ..Spec::new("hostile")
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        remove_shared_memory(self.shm);
    }
}

fn assert_all_held(output: &str, exit: Exit) {
    println!("{output}");
    let rows: Vec<Vec<&str>> = output
        .lines()
        .map(|line| line.splitn(3, '\t').collect())
        .collect();
    let bad: Vec<_> = rows
        .iter()
        .filter(|row| row.len() != 3 || !matches!(row[0], "BLOCKED" | "WORKS"))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}\n{exit:?}");
    let count = |word: &str| rows.iter().filter(|row| row[0] == word).count();
    assert!(
        count("BLOCKED") >= ATTACKS_MIN && count("WORKS") >= NORMAL_MIN,
        "{} {}",
        count("BLOCKED"),
        count("WORKS")
    );
}

/// A System V segment of the host that everyone may read, or -1.
fn shared_memory() -> i32 {
    let output = Command::new("ipcmk")
        .args(["-M", "4096", "-p", "0666"])
        .output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.rsplit(' ')
        .next()
        .and_then(|word| word.trim().parse().ok())
        .unwrap_or(-1)
}

fn remove_shared_memory(id: i32) {
    if id >= 0 {
        assert!(
            Command::new("ipcrm")
                .args(["-m", &id.to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
}
