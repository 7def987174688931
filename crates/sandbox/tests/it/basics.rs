//! Processes, descriptors, mounts, listeners, freezing: the ordinary life of a sandbox.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sandbox::{Error, Exit, Late, Mode, Mount, Process, Spec};

use crate::common::{LONG, command, folder, host, python, run, sandbox, sh, start, until};

#[test]
fn exit_codes_and_signals_are_told() {
    let (host, cases) = (
        host(),
        [
            ("exit 0", Exit::Code(0)),
            ("exit 7", Exit::Code(7)),
            ("kill -9 $$", Exit::Signal(9)),
            ("kill -15 $$", Exit::Signal(15)),
        ],
    );
    let sandbox = sandbox(&host);
    for (script, expected) in cases {
        assert_eq!(sh(&sandbox, script), (String::new(), expected), "{script}");
    }
}

#[test]
fn a_program_that_cannot_run_is_an_error() {
    let host = host();
    let sandbox = sandbox(&host);
    for (program, errno) in [
        ("/missing", libc_errno::ENOENT),
        ("/etc/passwd", libc_errno::EACCES),
        ("/tmp", libc_errno::EACCES),
    ] {
        match sandbox.spawn(command(&[program])) {
            Err(Error::Exec { source, .. }) => {
                assert_eq!(source.raw_os_error(), Some(errno), "{program}")
            }
            other => panic!("{program}: {other:?}"),
        }
    }
    // It is still usable.
    assert_eq!(sh(&sandbox, "echo on").0, "on\n");
}

#[test]
fn what_is_optional_is_mounted_if_it_is_there() {
    let (host, files) = (host(), folder());
    fs::write(files.path().join("modules"), "here").unwrap();
    let sandbox = sandbox(&host);
    let late = |mounts| Late {
        mounts,
        tmp_bytes: 512 << 20,
        memory_bytes: 128 << 20,
    };
    let (there, missing) = (files.path(), files.path().join("missing"));
    let mounts = vec![
        Mount::optional(&missing, "/var/bytecode/opt"),
        Mount::optional(there, "/var/bytecode/task"),
    ];
    sandbox.attach(late(mounts)).unwrap();
    let seen = "cd /var/bytecode; cat task/modules; ls opt; echo $?; echo x > task/modules";
    let (said, exit) = sh(&sandbox, seen);
    assert!(
        said.starts_with("here0\n") && exit != Exit::Code(0),
        "{said}"
    );

    let needed = vec![Mount::read_only(&missing, "/var/task")];
    assert!(sandbox.attach(late(needed)).is_err());
    let spec = Spec {
        mounts: vec![Mount::optional(there, "/opt")],
        ..Spec::new("test")
    };
    assert!(matches!(host.create(spec), Err(Error::Spec(_))));
}

#[test]
fn a_poised_process_waits_for_its_variables() {
    let host = host();
    let sandbox = sandbox(&host);
    let (mut read, write) = std::io::pipe().unwrap();
    let process = Process {
        stdout: Some(OwnedFd::from(write)),
        ..command(&["/bin/sh", "-c", "echo $A; exit 3"])
    };
    let (child, poised) = sandbox.poise(process).unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    // Others can be started meanwhile, and do not hold it up.
    assert_eq!(sh(&sandbox, "echo on").0, "on\n");
    let loading = poised.go(&[("A".to_owned(), "late".to_owned())]).unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(3));
    assert!(loading.fault().is_none());
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    assert_eq!(text, "late\n");

    let (child, missing) = sandbox.poise(command(&["/missing"])).unwrap();
    let loading = missing.go(&[]).unwrap();
    child.wait().unwrap();
    match loading.fault() {
        Some(Error::Exec { source, program }) => {
            assert_eq!(source.raw_os_error(), Some(libc_errno::ENOENT));
            assert_eq!(program, "/missing");
        }
        other => panic!("{other:?}"),
    }

    let (_, poised) = sandbox.poise(command(&["/bin/true"])).unwrap();
    let two = ("A".to_owned(), "one\0B=another".to_owned());
    assert!(matches!(poised.go(&[two]), Err(Error::Io { .. })));

    // All but the init. In `/proc` they do not see each other.
    let seen =
        "p=1; while [ $p -lt 999 ]; do p=$((p+1)); kill -0 $p 2>&- && n=$((n+1)); done; echo $n";
    let processes = || -> i32 { sh(&sandbox, seen).0.trim().parse().unwrap() };
    drop(sandbox.poise(command(&["/bin/sleep", "1000"])).unwrap());
    until("the end of what was poised", || processes() == 1);

    // Beside it is one that its memory is left to, which holds nothing that it was given.
    let (mut read, write) = std::io::pipe().unwrap();
    let process = Process {
        stdout: Some(OwnedFd::from(write)),
        ..command(&["/bin/sh", "-c", "exec >/dev/null; exec sleep 1000"])
    };
    let (child, poised) = sandbox.poise(process).unwrap();
    until("both to be there", || processes() == 3);
    poised.go(&[]).unwrap();
    read.read_to_end(&mut Vec::new()).unwrap();
    until("the end of the other one", || processes() == 2);
    child.signal(9).unwrap();
    child.wait().unwrap();
}

/// The two numbers that are needed; the same on every architecture.
mod libc_errno {
    pub const ENOENT: i32 = 2;
    pub const EACCES: i32 = 13;
}

#[test]
fn environment_folder_and_descriptors_are_exactly_those_given() {
    let host = host();
    let sandbox = sandbox(&host);
    let (read, write) = std::io::pipe().unwrap();
    let process = Process {
        env: vec![
            ("A".to_owned(), "1=2".to_owned()),
            ("ÜB".to_owned(), "ß\n".to_owned()),
        ],
        cwd: "/usr/lib".into(),
        fds: vec![(7, OwnedFd::from(write))],
        ..command(&[
            "/usr/bin/python3",
            "-I",
            "-S",
            "-c",
            "import os; os.write(7, b'seven'); print(sorted(os.environ.items()), os.getcwd(), len(os.listdir('/proc/self/fd')))",
        ])
    };
    let (output, exit) = run(&sandbox, process);
    assert_eq!(exit, Exit::Code(0), "{output}");
    assert!(output.starts_with("[('A', '1=2'), "), "{output}");
    assert!(output.ends_with("/usr/lib 5\n"), "{output}");
    let mut seven = String::new();
    std::fs::File::from(OwnedFd::from(read))
        .read_to_string(&mut seven)
        .unwrap();
    assert_eq!(seven, "seven");
}

#[test]
fn mounts_appear_where_asked() {
    let host = host();
    let (code, secret) = (folder(), folder());
    // An interpreter may live where only root can go: the way there must not matter.
    fs::create_dir(secret.path().join("python")).unwrap();
    fs::write(secret.path().join("python/version"), "3.11").unwrap();
    fs::set_permissions(secret.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(code.path().join("handler"), "code").unwrap();
    let file = code.path().join("handler");
    let mounts = vec![
        Mount::read_only(code.path(), "/var/task"),
        Mount::read_only(secret.path().join("python"), "/var/lang"),
        Mount::read_only(secret.path().join("python"), "/root/versions/python"),
        Mount::read_only(file, "/opt/one/file"),
    ];
    let sandbox = host
        .create(Spec {
            mounts,
            ..Spec::new("mounts")
        })
        .unwrap();
    let (output, _) = sh(
        &sandbox,
        "cat /var/task/handler /var/lang/version /root/versions/python/version /opt/one/file; ls -A /root",
    );
    assert_eq!(output, "code3.113.11codeversions\n");
    let (output, exit) = sh(&sandbox, "touch /var/task/new");
    assert_ne!(exit, Exit::Code(0));
    assert!(
        output.contains("Read-only file system") || output.contains("Permission denied"),
        "{output}"
    );
    for target in [
        "/usr/x",
        "/proc",
        "/",
        "/tmp/x",
        "relative",
        "/var/../etc",
        "/var",
    ] {
        let mounts = vec![Mount::read_only(code.path(), target)];
        assert!(
            matches!(
                host.create(Spec {
                    mounts,
                    ..Spec::new("bad")
                }),
                Err(Error::Spec(_))
            ),
            "{target}"
        );
    }
}

/// What is mounted in a sandbox: its own root, and of the files of others nothing.
#[test]
fn a_sandbox_has_its_own_mounts_and_nobody_elses() {
    let code = folder();
    fs::write(code.path().join("secret"), "s").unwrap();
    let mounted = Spec {
        mounts: vec![Mount::read_only(code.path(), "/var/task/code")],
        ..Spec::new("mounts")
    };
    let host = host();
    let first = host.create(mounted).unwrap();
    first
        .attach(Late {
            mounts: vec![Mount::read_only(code.path(), "/opt")],
            tmp_bytes: 1 << 20,
            memory_bytes: 128 << 20,
        })
        .unwrap();
    sh(&first, "echo 1 > /tmp/one; echo 1 > /dev/shm/one");
    let second = sandbox(&host);
    let mounts = |sandbox| -> Vec<Vec<String>> {
        let (text, exit) = sh(sandbox, "cat /proc/self/mountinfo");
        assert_eq!(exit, Exit::Code(0));
        let words = |line: &str| line.split(' ').map(str::to_owned).collect();
        text.lines().map(words).collect()
    };
    let (of_first, of_second) = (mounts(&first), mounts(&second));
    let points = |mounts: &[Vec<String>]| -> Vec<String> {
        mounts.iter().map(|mount| mount[4].clone()).collect()
    };
    let (there, elsewhere) = (points(&of_first), points(&of_second));
    for own in ["/opt", "/var/task/code"] {
        assert!(there.contains(&own.to_owned()) && !elsewhere.contains(&own.to_owned()));
    }
    for mounts in [&of_first, &of_second] {
        // Nothing is left of the host's tree.
        assert!(mounts.iter().all(|mount| !mount[4].starts_with("/host")));
        assert!(
            !mounts
                .iter()
                .any(|mount| mount[4].contains("/sys/fs/cgroup")),
            "{mounts:#?}"
        );
        let root = mounts.iter().find(|mount| mount[4] == "/").unwrap();
        assert!(root[5].split(',').any(|option| option == "ro"), "{root:?}");
    }
    // No mount is shared between the two, nor with the host.
    let ids = |mounts: &[Vec<String>]| -> Vec<String> {
        mounts.iter().map(|mount| mount[0].clone()).collect()
    };
    assert!(
        ids(&of_first)
            .iter()
            .all(|id| !ids(&of_second).contains(id))
    );
    assert!(
        !of_first
            .iter()
            .chain(&of_second)
            .flatten()
            .any(|word| word.starts_with("shared:"))
    );
    let (text, _) = sh(
        &second,
        "ls /tmp /dev/shm; cat /opt/secret /var/task/code/secret /proc/1/root/opt/secret",
    );
    assert!(
        !text.lines().any(|line| line == "one" || line == "s"),
        "{text}"
    );
}

#[test]
fn listeners_inside_are_served_from_outside() {
    let host = host();
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9001);
    let spec = Spec {
        listeners: vec![address, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80)],
        udp: vec![address],
        ..Spec::new("net")
    };
    // The same address in two sandboxes, and neither of them outside.
    let (mut one, two) = (
        host.create(spec.clone()).unwrap(),
        host.create(spec).unwrap(),
    );
    assert_eq!(two.listeners()[0].local_addr().unwrap(), address.into());
    assert!(TcpStream::connect_timeout(&address.into(), Duration::from_secs(1)).is_err());
    let udp = one.take_udp().remove(0);
    let listener = one.take_listeners().remove(0);
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello from outside").unwrap();
    });
    let script = "import socket\ns = socket.create_connection(('127.0.0.1', 9001))\nprint(s.makefile().read())\n\
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'datagram', ('127.0.0.1', 9001))";
    assert_eq!(python(&one, script).0, "hello from outside\n");
    server.join().unwrap();
    let mut datagram = [0; 64];
    udp.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(udp.recv(&mut datagram).unwrap(), 8);
}

#[test]
fn several_processes_share_one_sandbox() {
    let host = host();
    let sandbox = sandbox(&host);
    let (first, _output) = start(&sandbox, command(&["/bin/sleep", "1000"]));
    assert_eq!(
        sh(
            &sandbox,
            &format!(
                "echo x > /tmp/x; test -d /proc/{} && kill {}",
                first.pid(),
                first.pid()
            )
        )
        .1,
        Exit::Code(0)
    );
    assert_eq!(first.wait_timeout(LONG).unwrap(), Some(Exit::Signal(15)));
    assert_eq!(sh(&sandbox, "cat /tmp/x").0, "x\n");
}

#[test]
fn reset_kills_processes_and_keeps_tmp() {
    let host = host();
    let sandbox = sandbox(&host);
    let (child, _output) = start(
        &sandbox,
        command(&[
            "/bin/sh",
            "-c",
            "echo kept > /tmp/file; (sleep 1000 &) ; trap '' TERM; while :; do sleep 1000; done",
        ]),
    );
    until("the file", || sandbox.tmp_used_bytes() > 0);
    sandbox.reset().unwrap();
    assert_eq!(child.try_wait().unwrap(), Some(Exit::Signal(9)));
    assert_eq!(
        sh(&sandbox, "cat /tmp/file; ls /proc | grep -c '^[0-9]'")
            .0
            .lines()
            .next(),
        Some("kept")
    );
}

#[test]
fn frozen_processes_do_not_run() {
    let host = host();
    let sandbox = sandbox(&host);
    let (child, mut output) = start(
        &sandbox,
        command(&["/bin/sh", "-c", "while :; do echo x; sleep 0.001; done"]),
    );
    let mut byte = [0];
    output.read_exact(&mut byte).unwrap();
    sandbox.freeze().unwrap();
    let state = || {
        fs::read_to_string(format!("/proc/{}/stat", outside(&child)))
            .unwrap()
            .rsplit(") ")
            .next()
            .unwrap()
            .chars()
            .next()
    };
    until("stopping", || matches!(state(), Some('T' | 'D')));
    sandbox.thaw().unwrap();
    until("going on", || matches!(state(), Some('R' | 'S')));
    // Killing works on frozen ones too.
    sandbox.freeze().unwrap();
    sandbox.kill();
    assert_eq!(child.wait_timeout(LONG).unwrap(), Some(Exit::Signal(9)));
}

/// The pid outside, from the pidfd.
fn outside(child: &sandbox::Child) -> i32 {
    use std::os::fd::AsRawFd;
    let info =
        fs::read_to_string(format!("/proc/self/fdinfo/{}", child.pidfd().as_raw_fd())).unwrap();
    info.lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn signals_reach_the_process() {
    let host = host();
    let sandbox = sandbox(&host);
    let (child, mut output) = start(
        &sandbox,
        command(&[
            "/bin/sh",
            "-c",
            "trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.01; done",
        ]),
    );
    let mut ready = [0; 6];
    output.read_exact(&mut ready).unwrap();
    child.signal(15).unwrap();
    assert_eq!(child.wait_timeout(LONG).unwrap(), Some(Exit::Code(3)));
    child.signal(15).unwrap();
}

#[test]
fn what_makes_no_sense_is_refused() {
    let host = host();
    let base = Spec::new("x");
    let cases = [
        Spec {
            name: "../x".to_owned(),
            ..base.clone()
        },
        Spec {
            name: String::new(),
            ..base.clone()
        },
        Spec {
            hostname: "a b".to_owned(),
            ..base.clone()
        },
        Spec {
            memory_bytes: 0,
            ..base.clone()
        },
        Spec {
            cpu_millis: Some(0),
            ..base.clone()
        },
        Spec {
            pids_max: 0,
            ..base.clone()
        },
    ];
    for spec in cases {
        assert!(
            matches!(host.create(spec.clone()), Err(Error::Spec(_))),
            "{spec:?}"
        );
    }
    let sandbox = sandbox(&host);
    let bad = |process: Process| assert!(matches!(sandbox.spawn(process), Err(Error::Spec(_))));
    bad(Process::default());
    bad(command(&["/bin/echo", "zero\0byte"]));
    bad(Process {
        env: vec![("A=B".to_owned(), String::new())],
        ..command(&["/bin/true"])
    });
    let missing = vec![Mount::read_only("/does/not/exist", "/opt")];
    assert!(matches!(
        host.create(Spec {
            mounts: missing,
            ..base
        }),
        Err(Error::Io { .. })
    ));
}

#[test]
fn the_machine_can_be_asked() {
    let probe = sandbox::Host::probe(&crate::common::config()).unwrap();
    println!("{probe}");
    assert!(probe.works());
    let host = host();
    println!("{:?}, {}", host.mode(), host.limits());
    assert!(
        host.mode() == Mode::Root
            || probe
                .findings
                .iter()
                .any(|finding| finding.advice.is_some())
    );
}

#[test]
fn other_languages_start() {
    let host = host();
    let sandbox = host
        .create(Spec {
            memory_bytes: 1 << 30,
            ..Spec::new("languages")
        })
        .unwrap();
    let node = "const fs = require('fs'); const { Worker } = require('worker_threads');\n\
        fs.writeFileSync('/tmp/x', require('crypto').randomBytes(9));\n\
        const server = require('http').createServer((q, r) => r.end('node')).listen(0, '127.0.0.1', () =>\n\
        fetch('http://127.0.0.1:' + server.address().port).then(r => r.text()).then(t => {\n\
        new Worker(`require('worker_threads').parentPort.postMessage(1)`, { eval: true }).on('message', () => {\n\
        console.log(t, require('child_process').execSync('echo child').toString()); process.exit(0); }); }));";
    let java = "echo 'public class X { public static void main(String[] a) throws Exception {\
        var t = new Thread(() -> System.out.println(\"java\")); t.start(); t.join();\
        new ProcessBuilder(\"/bin/echo\", \"child\").inheritIO().start().waitFor(); } }' > /tmp/X.java && java /tmp/X.java";
    let perl = "print \"perl\\n\"; system('echo child')";
    for (program, arguments, expected) in [
        ("/usr/bin/node", ["-e", node], "node child\n\n"),
        ("/usr/bin/java", ["-c", java], "java\nchild\n"),
        ("/usr/bin/perl", ["-e", perl], "perl\nchild\n"),
    ] {
        if !std::path::Path::new(program).exists() {
            println!("skipped: no {program}");
            continue;
        }
        let started = if program.ends_with("java") {
            "/bin/sh"
        } else {
            program
        };
        let (output, exit) = run(&sandbox, command(&[started, arguments[0], arguments[1]]));
        assert_eq!(
            (output.as_str(), exit),
            (expected, Exit::Code(0)),
            "{program}"
        );
    }
}
