//! Which addresses a sandbox reaches: none, or all of them by way of the host process. Nothing in here leaves the
//! machine, because a sandbox has no way to: its only interface is its own loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use sandbox::{Egress, Exit, Host, Sandbox, Spec};

use crate::common::{LONG, host, python};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn transparent(host: &Host, ports: &[u16]) -> Sandbox {
    let spec = Spec {
        listeners: ports.iter().map(|p| SocketAddrV4::new(ANY, *p)).collect(),
        udp: vec![SocketAddrV4::new(ANY, 53)],
        egress: Egress::Transparent,
        ..Spec::new("egress")
    };
    host.create(spec).unwrap()
}

/// Connects and tells the error's name, or "connected".
fn connect(sandbox: &Sandbox, address: &str, port: u16) -> String {
    let script = format!(
        "import socket, errno\ntry:\n  socket.create_connection(('{address}', {port}), 20)\n  print('connected')\n\
         except OSError as e:\n  print(errno.errorcode.get(e.errno, e))"
    );
    python(sandbox, &script).0.trim().to_owned()
}

#[test]
fn a_connection_to_any_address_reaches_the_host_process() {
    let host = host();
    let mut sandbox = transparent(&host, &[443, 5432]);
    let listeners = sandbox.take_listeners();
    for (address, listener, port) in [
        ("198.51.100.7", 0, 443),
        ("10.1.2.3", 1, 5432),
        ("169.254.169.254", 0, 443),
    ] {
        let listener = listeners[listener].try_clone().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            stream.write_all(text.to_uppercase().as_bytes()).unwrap();
            stream.local_addr().unwrap()
        });
        let script = format!(
            "import socket\ns = socket.create_connection(('{address}', {port}))\np = s.getpeername()[0]\ns.sendall(b'hello')\n\
             s.shutdown(socket.SHUT_WR)\nprint(s.makefile().read(), p)"
        );
        let (output, exit) = python(&sandbox, &script);
        assert_eq!(
            (output, exit),
            (format!("HELLO {address}\n"), Exit::Code(0))
        );
        // The host learns what was meant.
        assert_eq!(
            server.join().unwrap().to_string(),
            format!("{address}:{port}")
        );
    }
}

#[test]
fn a_datagram_to_any_address_is_answered_from_there() {
    let host = host();
    let mut sandbox = transparent(&host, &[]);
    let socket = sandbox.take_udp().remove(0);
    socket.set_read_timeout(Some(LONG)).unwrap();
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let mut datagram = [0; 64];
            let (length, from) = socket.recv_from(&mut datagram).unwrap();
            socket.send_to(&datagram[..length], from).unwrap();
        }
    });
    // A connected socket takes datagrams from nobody else.
    for address in ["127.0.0.1", "203.0.113.53"] {
        let script = format!(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(20)\n\
             s.connect(('{address}', 53))\ns.send(b'query')\nprint(s.recv(64).decode())"
        );
        assert_eq!(python(&sandbox, &script).0, "query\n", "{address}");
    }
    server.join().unwrap();
}

#[test]
fn what_has_no_listener_is_refused_and_ipv6_is_unreachable() {
    let host = host();
    let sandbox = transparent(&host, &[443]);
    assert_eq!(connect(&sandbox, "198.51.100.7", 443), "connected");
    assert_eq!(connect(&sandbox, "198.51.100.7", 444), "ECONNREFUSED");
    assert_eq!(connect(&sandbox, "2001:db8::7", 443), "ENETUNREACH");
    assert_eq!(connect(&sandbox, "::ffff:198.51.100.7", 443), "connected");
}

#[test]
fn without_egress_every_address_is_unreachable() {
    let host = host();
    let spec = Spec {
        listeners: vec![SocketAddrV4::new(ANY, 443)],
        ..Spec::new("closed")
    };
    let sandbox = host.create(spec).unwrap();
    for address in ["198.51.100.7", "10.1.2.3", "169.254.169.254", "2001:db8::7"] {
        assert_eq!(connect(&sandbox, address, 443), "ENETUNREACH", "{address}");
    }
}

#[test]
fn nothing_inside_changes_routes() {
    let host = host();
    for egress in [Egress::None, Egress::Transparent] {
        let spec = Spec {
            egress,
            ..Spec::new("routes")
        };
        let sandbox = host.create(spec).unwrap();
        // RTM_NEWROUTE (24) and RTM_DELROUTE (25) of the local default route; the answer is an errno.
        let script = "import socket, struct, errno\nfor kind, flags in (24, 0x405), (25, 5):\n  \
             s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n  \
             m = struct.pack('BBBBBBBBI', 2, 0, 0, 0, 255, 4, 254, 2, 0) + struct.pack('HHI', 8, 4, 1)\n  \
             try:\n    s.send(struct.pack('IHHII', 16 + len(m), kind, flags, 1, 0) + m)\n    \
             print(errno.errorcode[-struct.unpack('i', s.recv(4096)[16:20])[0]])\n  \
             except OSError as e:\n    print(errno.errorcode[e.errno])";
        assert_eq!(python(&sandbox, script).0, "EPERM\nEPERM\n");
    }
}

#[test]
fn accepted_connections_end_with_the_sandbox() {
    let host = host();
    let mut sandbox = transparent(&host, &[443]);
    let listener = sandbox.take_listeners().remove(0);
    let script = "import socket\ns = socket.create_connection(('198.51.100.7', 443))\ns.recv(1)";
    let process = crate::common::command(&["/usr/bin/python3", "-S", "-c", script]);
    let (_child, _output) = crate::common::start(&sandbox, process);
    let (mut stream, _) = listener.accept().unwrap();
    assert!(matches!(stream.local_addr().unwrap(), SocketAddr::V4(_)));
    drop(sandbox);
    stream.set_read_timeout(Some(LONG)).unwrap();
    // The end of the stream or its reset, never the time-out.
    match stream.read(&mut [0; 8]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}
