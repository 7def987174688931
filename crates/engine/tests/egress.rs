//! The internet as a function sees it. What stands for it here are listeners on loopback addresses, opened by name; no
//! test sends anything to another machine.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "functions/bed.rs"]
#[allow(dead_code)]
mod bed;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bed::Bed;
use engine::{EgressConfig, EgressCounts, FunctionSpec, NetworkPolicy};

/// Stands for a server on the internet.
const SERVER: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);
/// No test waits longer than this for anything.
const LONG: Duration = Duration::from_secs(60);

/// A handler that connects where its event says and answers with what it read, or the error's name.
const CLIENT: &str = "
import errno, socket

def talk(host, port, text=''):
    try:
        with socket.create_connection((host, port), 20) as s:
            s.sendall(text.encode())
            s.shutdown(socket.SHUT_WR)
            return s.makefile().read()
    except OSError as e:
        return errno.errorcode.get(e.errno, repr(e))

def handler(event, context):
    return [talk(*target) for target in event]
";

struct Internet {
    bed: Bed,
    server: TcpListener,
}

impl Internet {
    fn new() -> Internet {
        Internet::with(|_| {})
    }

    /// A server, and an engine whose functions may reach it.
    fn with(change: impl FnOnce(&mut EgressConfig)) -> Internet {
        let server = TcpListener::bind((SERVER, 0)).unwrap();
        let mut egress = EgressConfig {
            ports: vec![server.local_addr().unwrap().port()],
            allow: vec![format!("{SERVER}/32").parse().unwrap()],
            // Nobody: a test that asks for names brings its own.
            resolvers: vec![SocketAddr::from((SERVER, 9))],
            ..EgressConfig::default()
        };
        change(&mut egress);
        let bed = Bed::with(|config| config.egress = Some(egress));
        Internet { bed, server }
    }

    fn port(&self) -> u16 {
        self.server.local_addr().unwrap().port()
    }

    fn function(&self, code: &str) -> Arc<FunctionSpec> {
        self.function_with(code, NetworkPolicy::Internet)
    }

    fn function_with(&self, code: &str, network: NetworkPolicy) -> Arc<FunctionSpec> {
        let mut spec = self.bed.function(code);
        spec.network = network;
        Arc::new(spec)
    }

    /// Invokes the client with one target.
    async fn talk(&self, spec: &Arc<FunctionSpec>, host: &str, port: u16) -> String {
        let event = format!(r#"[["{host}", {port}]]"#);
        let json = self.bed.invoke(spec, &event).await.json();
        json[0].as_str().unwrap().to_owned()
    }

    fn counts(&self) -> EgressCounts {
        self.bed.engine.egress_counts()
    }

    /// Waits until no connection is open.
    async fn until_closed(&self) {
        let closed = async {
            while self.counts().open > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, closed).await.unwrap();
    }
}

/// Accepts one connection, reads it to its end and answers then.
fn serve_one(listener: &TcpListener) -> std::thread::JoinHandle<usize> {
    let listener = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let answer = format!("{} {}", text.len(), "y".repeat(text.len()));
        stream.write_all(answer.as_bytes()).unwrap();
        text.len()
    })
}

/// The next connection, which may not take for ever.
fn accept(listener: &TcpListener) -> TcpStream {
    let end = std::time::Instant::now() + LONG;
    listener.set_nonblocking(true).unwrap();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return stream;
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        assert!(std::time::Instant::now() < end, "nobody connected");
        std::thread::yield_now();
    }
}

/// Whether the other side ended the connection, one way or the other.
fn is_over(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(LONG)).unwrap();
    match stream.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_go_both_ways_and_ends_are_passed_on() {
    let net = Internet::new();
    let spec = net.function(CLIENT);
    // The server answers only after the end of the request: a half-closed connection still answers.
    for length in [0, 5, 3_000_000] {
        let server = serve_one(&net.server);
        let code = format!(
            r#"[["{SERVER}", {}, "{}"]]"#,
            net.port(),
            "x".repeat(length)
        );
        let answer = net.bed.invoke(&spec, &code).await.json();
        let expected = format!("{length} {}", "y".repeat(length));
        assert!(answer[0] == expected.as_str(), "{length} bytes");
        assert_eq!(server.join().unwrap(), length);
    }
    net.until_closed().await;
    let counts = net.counts();
    assert_eq!((counts.allowed, counts.refused, counts.failed), (3, 0, 0));
    net.bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_internet_is_refused() {
    let net = Internet::new();
    let spec = net.function(CLIENT);
    let closed = [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "169.254.170.2",
        "100.64.0.1",
        "198.18.0.1",
        "240.0.0.1",
        "127.0.0.1",
        "127.77.0.2",
        "0.0.0.0",
        "::ffff:10.0.0.1",
    ];
    for address in closed {
        let answer = net.talk(&spec, address, net.port()).await;
        assert_eq!(answer, "ECONNRESET", "{address}");
    }
    // This machine under its other addresses, whatever they are, is not the internet either.
    let own = net
        .talk(&spec, &own_address().to_string(), net.port())
        .await;
    assert_eq!(own, "ECONNRESET");
    let counts = net.counts();
    assert_eq!(counts.refused, u64::try_from(closed.len()).unwrap() + 1);
    assert_eq!(counts.allowed, 0);
    net.server.set_nonblocking(true).unwrap();
    assert!(net.server.accept().is_err(), "nobody got here");
    net.bed.end().await;
}

/// An address of this machine beyond loopback if it has one. Choosing it sends nothing.
fn own_address() -> std::net::IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    match socket.connect("198.51.100.1:9") {
        Ok(()) => socket.local_addr().unwrap().ip(),
        Err(_) => Ipv4Addr::LOCALHOST.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_that_are_not_named_are_closed() {
    let net = Internet::new();
    let spec = net.function(CLIENT);
    let other = TcpListener::bind((SERVER, 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let answer = net.talk(&spec, &SERVER.to_string(), port).await;
    assert_eq!(answer, "ECONNREFUSED");
    assert_eq!(net.talk(&spec, "2001:db8::1", 443).await, "ENETUNREACH");
    // Open, and nobody listens there any more.
    let (port, Internet { bed, server }) = (net.port(), net);
    drop(server);
    let event = format!(r#"[["{SERVER}", {port}]]"#);
    assert_eq!(bed.invoke(&spec, &event).await.json()[0], "ECONNRESET");
    assert_eq!(bed.engine.egress_counts().failed, 1);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leave_there_is_no_way() {
    let net = Internet::new();
    let spec = net.function_with(CLIENT, NetworkPolicy::Endpoint);
    let server = SERVER.to_string();
    assert_eq!(net.talk(&spec, &server, net.port()).await, "ECONNREFUSED");
    for address in ["198.51.100.7", "10.0.0.1", "169.254.169.254"] {
        let answer = net.talk(&spec, address, net.port()).await;
        assert_eq!(answer, "ENETUNREACH", "{address}");
    }
    for port in [53, 80, 443] {
        assert_eq!(net.talk(&spec, "127.0.0.1", port).await, "ECONNREFUSED");
    }
    // Names are not resolved, and that is known at once.
    let names = "import socket\ndef handler(e, c):\n  try:\n    return socket.getaddrinfo('example.com', 80)\n  \
                 except OSError as e:\n    return type(e).__name__";
    let names = net.function_with(names, NetworkPolicy::Endpoint);
    net.bed.invoke(&names, "{}").await.gives("\"gaierror\"");
    assert_eq!(net.counts(), EgressCounts::default());
    net.bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_the_internet_has_none_to_give() {
    let bed = Bed::new();
    let mut spec = bed.function(CLIENT);
    spec.network = NetworkPolicy::Internet;
    let refusal = bed.try_invoke(&Arc::new(spec), "[]").await.unwrap_err();
    assert!(matches!(refusal, engine::Refusal::Internal(_)), "{refusal}");
    bed.end().await;
}

/// Answers every name with the server's address. Names beginning with `long` are too long for a
/// datagram.
fn resolver() -> SocketAddr {
    let socket = UdpSocket::bind((SERVER, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let tcp = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let query = &query[..length];
            let long = query[13..].starts_with(b"long");
            let answer = if long {
                let mut answer = query.to_vec();
                // Truncated, by one who recurses: C libraries pass over answers of others.
                answer[2] |= 0x82;
                answer[3] |= 0x80;
                answer
            } else {
                record(query)
            };
            socket.send_to(&answer, from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).unwrap();
                let answer = record(&query);
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                stream
                    .write_all(&[&length, answer.as_slice()].concat())
                    .unwrap();
            }
        }
    });
    address
}

/// An A record for a query of one, nothing for others.
fn record(query: &[u8]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let is_a = query[end - 4..end - 2] == [0, 1];
    let mut answer = query[..end].to_vec();
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    if is_a {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(SERVER.octets());
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_asked_of_the_resolvers_of_the_machine() {
    let net = Internet::with(|egress| egress.resolvers = vec![resolver()]);
    let code = "
import socket, struct
def handler(event, context):
    names = [socket.getaddrinfo(n, 80, type=socket.SOCK_STREAM) for n in ('db.example.com', 'long.example.com')]
    # A library that brings its own resolver's address gets its answer from there.
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(20)
    s.connect(('203.0.113.53', 53))
    query = struct.pack('>HHHHHH', 7, 0x100, 1, 0, 0, 0) + b'\\x01a\\x00\\x00\\x01\\x00\\x01'
    s.send(b'short')
    s.send(query)
    own = socket.inet_ntoa(s.recv(512)[-4:])
    return [sorted({a[4][0] for a in n}) for n in names] + [own]
";
    let spec = net.function(code);
    let answer = net.bed.invoke(&spec, "{}").await;
    answer.gives(&format!(r#"[["{SERVER}"], ["{SERVER}"], "{SERVER}"]"#));
    // The name leads to an address, and the address is judged: one that is not open stays closed.
    let (spec, server) = (net.function(CLIENT), serve_one(&net.server));
    assert_eq!(net.talk(&spec, "db.example.com", net.port()).await, "0 ");
    server.join().unwrap();
    assert!(net.counts().queries >= 3, "{:?}", net.counts());
    net.bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_that_is_not_there_is_a_failure_at_once() {
    let net = Internet::new();
    let code = "import socket\ndef handler(e, c):\n  try:\n    return socket.getaddrinfo('db.example.com', 80)\n  \
                except OSError as e:\n    return type(e).__name__";
    let spec = net.function(code);
    net.bed.invoke(&spec, "{}").await.gives("\"gaierror\"");
    assert!(net.counts().queries_failed > 0);
    net.bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_at_once_are_limited_and_the_environment_takes_all_with_it() {
    let net = Internet::with(|egress| egress.connections_max = 2);
    let code = "
import socket
kept = []
def handler(event, context):
    seen = []
    for _ in range(3):
        try:
            # A reset may come as early as here.
            s = socket.create_connection((event['host'], event['port']), 20)
            kept.append(s)
            seen.append(s.recv(5).decode())
        except OSError as e:
            seen.append(type(e).__name__)
    return seen
";
    let spec = net.function(code);
    let listener = net.server.try_clone().unwrap();
    let server = std::thread::spawn(move || {
        let accept = |_| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"hello").unwrap();
            stream
        };
        (0..2).map(accept).collect::<Vec<TcpStream>>()
    });
    let event = format!(r#"{{"host": "{SERVER}", "port": {}}}"#, net.port());
    let answer = net.bed.invoke(&spec, &event).await;
    answer.gives(r#"["hello", "hello", "ConnectionResetError"]"#);
    let mut streams = server.join().unwrap();
    let counts = net.counts();
    assert_eq!((counts.allowed, counts.refused, counts.open), (2, 1, 2));
    // The function keeps them between invocations, as it may; they end with its environment.
    net.bed.engine.retire("");
    assert!(streams.iter_mut().all(is_over));
    net.until_closed().await;
    net.bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_ends_its_connections() {
    let net = Internet::new();
    let code = "
import socket, time
def handler(event, context):
    s = socket.create_connection((event['host'], event['port']), 20)
    s.sendall(b'x')
    time.sleep(1000)
";
    let mut spec = net.bed.function(code);
    spec.network = NetworkPolicy::Internet;
    // Long enough to connect on a busy machine.
    spec.timeout = Duration::from_secs(6);
    let listener = net.server.try_clone().unwrap();
    let server = std::thread::spawn(move || {
        let mut stream = accept(&listener);
        stream.read_exact(&mut [0]).unwrap();
        is_over(&mut stream)
    });
    let event = format!(r#"{{"host": "{SERVER}", "port": {}}}"#, net.port());
    let answer = net.bed.once(spec, &event).await;
    assert!(answer.failed(), "{}", answer.text());
    assert!(server.join().unwrap());
    net.until_closed().await;
    net.bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_connection() {
    let net = Internet::with(|egress| egress.idle_limit = Duration::from_millis(50));
    let spec = net.function(CLIENT);
    let listener = net.server.try_clone().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The request and its end; then it is our turn to speak, and we never do.
        stream.read_to_end(&mut Vec::new()).unwrap();
        stream
    });
    let answer = net.talk(&spec, &SERVER.to_string(), net.port()).await;
    assert_eq!(answer, "ECONNRESET");
    net.until_closed().await;
    drop(server.join().unwrap());
    net.bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_with_another_meaning_inside_are_refused() {
    let refuse = |ports: Vec<u16>| {
        let folder = tempfile::tempdir().unwrap();
        let mut config = engine::Config::new(folder.path());
        config.egress = Some(EgressConfig {
            ports,
            ..EgressConfig::default()
        });
        let recorder = Arc::new(bed::Recorder::default());
        engine::Engine::start(config, recorder)
            .err()
            .unwrap()
            .to_string()
    };
    for ports in [vec![0], vec![53], vec![9001], vec![4566], vec![443, 443]] {
        let error = refuse(ports.clone());
        assert!(error.contains("another meaning"), "{ports:?}: {error}");
    }
    let error = refuse((1000..1025).collect());
    assert!(error.contains("at most 24"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_still_find_mayfly_and_each_other_s_ports_are_apart() {
    let net = Internet::new();
    let spec = net.function(CLIENT);
    let endpoint = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4566);
    let answer = net
        .talk(&spec, &endpoint.ip().to_string(), endpoint.port())
        .await;
    assert_eq!(answer, "hello from the endpoint");
    // Two environments with the same listeners.
    let two = net.function(CLIENT);
    let server = serve_one(&net.server);
    assert_eq!(net.talk(&two, &SERVER.to_string(), net.port()).await, "0 ");
    server.join().unwrap();
    net.bed.end().await;
}
