//! The adversarial suite: `hostile.py` tries its table of ways out; every row is asserted.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use sandbox::{Mode, Mount, Process, Spec};

use crate::common::{command, folder, host, run, start};

/// Fewer rows than this means that the table was not run.
const ATTACKS_MIN: usize = 200;
const NORMAL_MIN: usize = 18;

#[test]
fn a_hostile_function_stays_inside() {
    let host = host();
    let (code, secrets) = (folder(), folder());
    fs::write(code.path().join("hostile.py"), include_str!("hostile.py")).unwrap();
    fs::write(secrets.path().join("secret"), "secret").unwrap();
    let program = secrets.path().join("program");
    fs::write(&program, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();

    // What there is to be found outside: ports, sockets, shared memory, another function.
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let port6 = TcpListener::bind(("::1", port.local_addr().unwrap().port()));
    let everywhere = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let name = format!("sandbox-test-{}", std::process::id());
    let _abstract =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let socket_file = secrets.path().join("socket");
    let _socket = UnixListener::bind(&socket_file).unwrap();
    let shm = shared_memory();
    let neighbour = Spec {
        mounts: vec![Mount::read_only(secrets.path(), "/var/task")],
        listeners: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9001)],
        ..Spec::new("neighbour")
    };
    let neighbour = host.create(neighbour).unwrap();
    let (_asleep, _output) = start(&neighbour, command(&["/bin/sleep", "1000"]));

    let facts = format!(
        r#"{{"host_file": {:?}, "neighbour_code": "/var/task/secret", "host_port": {}, "host_addresses": ["0.0.0.0", "127.0.0.2"],
            "abstract": "{name}", "socket_file": {socket_file:?}, "shm": {shm}, "host_pid": {}, "bash": {}, "root": {},
            "no_exec": "/opt/program"}}"#,
        secrets.path().join("secret"),
        port.local_addr().unwrap().port(),
        std::process::id(),
        std::path::Path::new("/bin/bash").exists(),
        host.mode() == Mode::Root,
    );
    drop((port6, everywhere));
    let mounts = vec![
        Mount::read_only(code.path(), "/var/task"),
        Mount {
            exec: false,
            ..Mount::read_only(secrets.path().join("program"), "/opt/program")
        },
    ];
    let sandbox = host
        .create(Spec {
            mounts,
            memory_bytes: 256 << 20,
            ..Spec::new("hostile")
        })
        .unwrap();
    let process = Process {
        cwd: "/var/task".into(),
        ..command(&["/usr/bin/python3", "-S", "/var/task/hostile.py", &facts])
    };
    let (output, exit) = run(&sandbox, process);
    remove_shared_memory(shm);
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
