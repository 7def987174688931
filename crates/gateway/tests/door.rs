//! The front door over real sockets, before a toy service.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gateway::{Gateway, Key, Keyring, Limits, Page, Reset, Services, Settings, Tls};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use wire::sigv4::{Credentials, Refusal, Signer};
use wire::{
    AccountId, Arn, Ask, Authorizer, ByteStream, Caller, CallerKind, Context, Error, Http, Mount,
    Node, Operation, Protocol, Route, Router, Scope, Service, Shape, Unbuilt,
};

/// A service whose one operation does what its request says.
#[derive(Default)]
struct Toys {
    began: Notify,
    release: Notify,
    done: AtomicUsize,
    pieces: tokio::sync::Mutex<Option<mpsc::Receiver<Bytes>>>,
}

#[derive(Shape)]
struct Play {
    how: String,
    data: Option<String>,
}

#[derive(Shape)]
struct PlayOutput {
    who: String,
    from: String,
    length: i64,
}

const BODY_MAX: usize = 64 * 1024;

impl Operation for Play {
    type Service = Toys;
    type Output = PlayOutput;
    const NAME: &'static str = "Play";
    const HTTP: Http = Http::new("POST", "/toys/{How}", 200).body_max(BODY_MAX);

    fn resource(&self, at: &Scope) -> Arn {
        Arn::regional("toys", at, &self.how)
    }

    async fn run(self, toys: &Toys, cx: &Context) -> Result<PlayOutput, Error> {
        match self.how.as_str() {
            "panic" => panic!("a defect"),
            "wait" => {
                toys.began.notify_one();
                toys.release.notified().await;
            }
            _ => {}
        }
        toys.done.fetch_add(1, Ordering::SeqCst);
        toys.began.notify_one();
        Ok(PlayOutput {
            who: format!("{} {}", cx.caller.arn, cx.scope.region),
            from: format!("{:?} {}", cx.source_ip, cx.secure),
            length: i64::try_from(self.data.unwrap_or_default().len()).unwrap(),
        })
    }
}

#[derive(Shape)]
struct Pour {}

/// A reply whose payload is a stream.
struct Poured(ByteStream);

impl Shape for Poured {
    fn schema() -> wire::Schema {
        wire::Schema::Structure(Vec::new())
    }
    fn decode(_: Node, _: &mut wire::Decoder) -> Option<Self> {
        None
    }
    fn encode(self) -> Node {
        Node::Map(vec![("Body".into(), Node::Stream(self.0))])
    }
}

impl Operation for Pour {
    type Service = Toys;
    type Output = Poured;
    const NAME: &'static str = "Pour";
    const HTTP: Http = Http::new("GET", "/pour", 200).reply_payload("Body");

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(self, toys: &Toys, _: &Context) -> Result<Poured, Error> {
        let pieces = toys.pieces.lock().await.take().unwrap();
        let stream = futures_util::stream::unfold(pieces, |mut pieces| async {
            let piece = pieces.recv().await?;
            Some((Ok(piece), pieces))
        });
        Ok(Poured(ByteStream(Box::pin(stream))))
    }
}

impl Service for Toys {
    const NAME: &'static str = "toys";
    const MODEL: &'static str = "toys";
    const PROTOCOLS: &'static [Protocol] = &[Protocol::RestJson, Protocol::Json11, Protocol::Query];
    const TARGET_PREFIX: &'static str = "Toys";
    const API_VERSION: &'static str = "2020-01-01";
    const OPERATIONS: &'static [Route<Self>] = &[Route::of::<Play>(), Route::of::<Pour>()];
    const UNBUILT: &'static [Unbuilt] = &[Unbuilt::rest("Mend", "PUT", "/toys/{How}")];
}

/// A second service with forms, to be confused with the first.
struct Games;

impl Service for Games {
    const NAME: &'static str = "games";
    const MODEL: &'static str = "games";
    const PROTOCOLS: &'static [Protocol] = &[Protocol::Query];
    const API_VERSION: &'static str = "1999-01-01";
    const OPERATIONS: &'static [Route<Self>] = &[];
    const UNBUILT: &'static [Unbuilt] = &[];
}

struct Ring;

impl Keyring for Ring {
    fn find(&self, key: &str, token: Option<&str>, _: Timestamp) -> Result<Key, Refusal> {
        let account = AccountId::new("123456789012").unwrap();
        match (key, token) {
            ("AKIDEXAMPLE", None) => Ok(Key {
                secret: b"secret".as_slice().into(),
                caller: Caller {
                    kind: CallerKind::Root,
                    arn: Arn::root(&account),
                    account,
                    user_id: account.to_string(),
                    access_key_id: key.to_owned(),
                    session: None,
                },
            }),
            _ => Err(Refusal::UnknownClient),
        }
    }
}

struct AllowAll;

impl Authorizer for AllowAll {
    fn authorize(&self, _: &Context, _: &Ask<'_>) -> Result<(), String> {
        Ok(())
    }
}

fn services(toys: &Arc<Toys>) -> Services {
    Services {
        storage: None,
        router: Router::new(vec![Mount::new(toys.clone()), Mount::new(Arc::new(Games))]),
        keyring: Arc::new(Ring),
        authorizer: Arc::new(AllowAll),
        pages: vec![Arc::new(Link)],
    }
}

/// A link to fetch something by.
struct Link;

impl Page for Link {
    fn prefix(&self) -> &'static str {
        "/_/toys/"
    }

    fn get<'a>(
        &'a self,
        rest: &'a str,
    ) -> Pin<Box<dyn Future<Output = Option<(&'static str, Bytes)>> + Send + 'a>> {
        let found = (rest == "good").then(|| ("application/zip", Bytes::from("PK")));
        Box::pin(async move { found })
    }
}

struct Server {
    gateway: Gateway,
    toys: Arc<Toys>,
    at: SocketAddr,
}

impl Server {
    async fn start() -> Server {
        Server::with(Settings::default(), None).await
    }

    async fn with(settings: Settings, tls: Option<Tls>) -> Server {
        let toys = Arc::new(Toys::default());
        let gateway = Gateway::new(services(&toys), settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        gateway.listen(listener, tls);
        Server { gateway, toys, at }
    }

    fn request(&self, method: &str, path: &str, body: &'static str) -> Request<Bytes> {
        let uri = format!("http://{}{path}", self.at);
        let request = Request::builder().method(method).uri(uri);
        request.body(Bytes::from(body)).unwrap()
    }

    async fn send(&self, request: Request<Bytes>) -> Answer {
        let stream = TcpStream::connect(self.at).await.unwrap();
        send_over(stream, request).await
    }

    async fn play(&self, how: &str) -> Answer {
        let path = format!("/toys/{how}");
        self.send(signed(self.request("POST", &path, ""))).await
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

fn signer() -> Signer {
    let credentials = Credentials {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: "secret".into(),
        session_token: None,
    };
    Signer::new(credentials, "eu-west-1", "toys")
}

fn signed(request: Request<Bytes>) -> Request<Bytes> {
    signed_with(request, |_| {})
}

/// Signs, then edits.
fn signed_with(request: Request<Bytes>, edit: impl Fn(&mut Parts)) -> Request<Bytes> {
    let (mut parts, body) = request.into_parts();
    signer().sign(&mut parts, &body, Timestamp::now());
    edit(&mut parts);
    Request::from_parts(parts, body)
}

async fn send_over<S>(stream: S, request: Request<Bytes>) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    let host = parts.uri.authority().unwrap().to_string();
    parts.headers.entry("host").or_insert(host.parse().unwrap());
    let path = parts.uri.path_and_query().unwrap().to_string();
    parts.uri = path.parse().unwrap();
    let request = Request::from_parts(parts, Full::new(body));
    answer(sender.send_request(request).await.unwrap()).await
}

async fn answer(response: http::Response<hyper::body::Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

#[track_caller]
fn check(answer: &Answer, status: u16, code: &str) {
    let header = answer.headers.get("x-amzn-errortype");
    let header = header.map_or("", |value| value.to_str().unwrap());
    assert_eq!(
        (answer.status.as_u16(), header),
        (status, code),
        "{answer:?}"
    );
    let id = answer.headers["x-amzn-requestid"].to_str().unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 4);
}

#[tokio::test]
async fn a_signed_request_reaches_its_operation() {
    let server = Server::start().await;
    let answer = server.play("ball").await;
    check(&answer, 200, "");
    let who = r#"{"Who":"arn:aws:iam::123456789012:root eu-west-1","From":"Some(127.0.0.1) false","Length":0}"#;
    assert_eq!(answer.body, who);
}

#[tokio::test]
async fn claims_that_do_not_hold_are_refused() {
    let server = Server::start().await;
    let request = || server.request("POST", "/toys/ball", "{}");
    let answer = server.send(request()).await;
    check(&answer, 403, "MissingAuthenticationTokenException");
    assert_eq!(answer.body, r#"{"message":"Missing Authentication Token"}"#);
    let edit = |from: &'static str, to: &'static str| {
        signed_with(request(), move |parts| {
            let header = parts.headers["authorization"].to_str().unwrap();
            let header = header.replacen(from, to, 1);
            parts
                .headers
                .insert("authorization", header.parse().unwrap());
        })
    };
    let forged = edit("Signature=", "Signature=0").map(|_| Bytes::from("{}"));
    check(&server.send(forged).await, 403, "InvalidSignatureException");
    let unknown = edit("AKIDEXAMPLE", "AKIDNOBODY");
    check(
        &server.send(unknown).await,
        403,
        "UnrecognizedClientException",
    );
    let other = server.send(edit("/toys/", "/games/")).await;
    check(&other, 403, "InvalidSignatureException");
    assert!(
        other
            .body
            .contains("Credential should be scoped to correct service: 'toys'.")
    );
    let body = signed(request()).map(|_| Bytes::from("[]"));
    check(&server.send(body).await, 403, "InvalidSignatureException");
    assert_eq!(server.toys.done.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_not_built_and_what_nobody_has() {
    let server = Server::start().await;
    let send = |method, path| server.send(signed(server.request(method, path, "")));
    let unbuilt = send("PUT", "/toys/ball").await;
    check(&unbuilt, 501, "NotImplemented");
    assert!(unbuilt.body.contains("toys:Mend"), "{}", unbuilt.body);
    let nowhere = send("GET", "/bucket/key").await;
    check(&nowhere, 501, "NotImplemented");
    let stranger = server.send(server.request("GET", "/bucket/key", "")).await;
    check(&stranger, 403, "MissingAuthenticationTokenException");
}

#[tokio::test]
async fn a_form_is_for_the_service_that_it_was_signed_for() {
    let server = Server::start().await;
    let form = |body: &'static str| {
        let mut request = server.request("POST", "/", body);
        let value = "application/x-www-form-urlencoded".parse().unwrap();
        request.headers_mut().insert("content-type", value);
        request
    };
    let play = form("Action=Play&Version=2020-01-01&How=ball");
    let answer = server.send(signed(play.clone())).await;
    assert!(
        answer
            .body
            .contains("<Who>arn:aws:iam::123456789012:root eu-west-1</Who>"),
        "{answer:?}"
    );
    let (mut parts, body) = play.into_parts();
    let games = Signer {
        service: "games".into(),
        ..signer()
    };
    games.sign(&mut parts, &body, Timestamp::now());
    let answer = server.send(Request::from_parts(parts, body)).await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.body.contains("<Code>SignatureDoesNotMatch</Code>"),
        "{answer:?}"
    );
    let nothing = server
        .send(form("Action=Play&Version=2020-01-01&How=ball"))
        .await;
    assert_eq!(nothing.status, 403);
    assert!(
        nothing
            .body
            .contains("<Code>MissingAuthenticationToken</Code>"),
        "{nothing:?}"
    );
}

#[tokio::test]
async fn presigned_urls_work_without_headers() {
    let server = Server::start().await;
    let url = "/?Action=Play&Version=2020-01-01&How=ball";
    let (mut parts, body) = server.request("GET", url, "").into_parts();
    signer().presign(&mut parts, Duration::from_secs(60), Timestamp::now());
    let answer = server.send(Request::from_parts(parts, body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_answered_and_read_to_its_end() {
    let server = Server::start().await;
    let large: &'static str = Box::leak(" ".repeat(3 << 20).into());
    let answer = server
        .send(signed(server.request("POST", "/toys/ball", large)))
        .await;
    check(&answer, 413, "RequestEntityTooLargeException");
    let text = "Request must be smaller than 65536 bytes for the Play operation";
    assert!(answer.body.contains(text), "{}", answer.body);
    let unsigned = server
        .send(server.request("POST", "/toys/ball", large))
        .await;
    check(&unsigned, 403, "MissingAuthenticationTokenException");
}

#[tokio::test]
async fn a_chunked_body_is_read_as_far_as_the_limit() {
    let server = Server::start().await;
    let request = signed(server.request("POST", "/toys/ball", ""));
    let send = async |chunks: usize| {
        let mut stream = TcpStream::connect(server.at).await.unwrap();
        let mut text = String::from("POST /toys/ball HTTP/1.1\r\ntransfer-encoding: chunked\r\n");
        for (name, value) in request.headers() {
            text += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        text += "connection: close\r\n\r\n";
        stream.write_all(text.as_bytes()).await.unwrap();
        for _ in 0..chunks {
            let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
            stream.write_all(chunk.as_bytes()).await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.lines().next().unwrap().to_owned()
    };
    assert_eq!(send(0).await, "HTTP/1.1 200 OK");
    assert_eq!(send(16).await, "HTTP/1.1 403 Forbidden");
    assert_eq!(send(17).await, "HTTP/1.1 413 Payload Too Large");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = Limits {
        body_wait: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = Server::with(
        Settings {
            limits,
            ..Settings::default()
        },
        None,
    )
    .await;
    let request = signed(server.request("POST", "/toys/ball", ""));
    let mut stream = TcpStream::connect(server.at).await.unwrap();
    let mut text =
        String::from("POST /toys/ball HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 5\r\n");
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    stream
        .write_all(format!("{text}\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_panic_ends_one_request_only() {
    let server = Server::start().await;
    let answer = server.play("panic").await;
    check(&answer, 500, "InternalFailure");
    assert!(!answer.body.contains("defect"));
    check(&server.play("ball").await, 200, "");
    let metrics = server
        .send(server.request("GET", "/_/metrics", ""))
        .await
        .body;
    assert!(metrics.contains("mayfly_panics_total 1\n"), "{metrics}");
    let one = r#"mayfly_requests_total{service="toys",operation="Play",status="200"} 1"#;
    assert!(metrics.contains(one), "{metrics}");
}

#[tokio::test]
async fn an_operation_ends_though_its_client_left() {
    let server = Server::start().await;
    let request = signed(server.request("POST", "/toys/wait", ""));
    let stream = TcpStream::connect(server.at).await.unwrap();
    let client = tokio::spawn(send_over(stream, request));
    server.toys.began.notified().await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    server.toys.release.notify_one();
    server.toys.began.notified().await;
    assert_eq!(server.toys.done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_streamed_reply_comes_piece_by_piece() {
    let server = Server::start().await;
    let (sender, receiver) = mpsc::channel(1);
    *server.toys.pieces.lock().await = Some(receiver);
    let request = signed(server.request("GET", "/pour", "")).map(Full::new);
    let io = TokioIo::new(TcpStream::connect(server.at).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut response = client.send_request(request).await.unwrap();
    for piece in ["one", "two"] {
        sender.send(Bytes::from(piece)).await.unwrap();
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(sender);
    assert!(response.body_mut().frame().await.is_none());
}

#[tokio::test]
async fn draining_waits_for_what_is_under_way() {
    let server = Server::start().await;
    // An idle connection, kept alive.
    let idle = TcpStream::connect(server.at).await.unwrap();
    let request = signed(server.request("POST", "/toys/wait", ""));
    let stream = TcpStream::connect(server.at).await.unwrap();
    let client = tokio::spawn(send_over(stream, request));
    server.toys.began.notified().await;
    let mut drained = Box::pin(server.gateway.drain(Duration::from_secs(60)));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut drained).await;
    assert!(early.is_err(), "drained although a request was under way");
    while TcpStream::connect(server.at).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.toys.release.notify_one();
    check(&client.await.unwrap(), 200, "");
    assert!(drained.await);
    drop(idle);
}

#[tokio::test]
async fn draining_has_a_limit() {
    let server = Server::start().await;
    let request = signed(server.request("POST", "/toys/wait", ""));
    let stream = TcpStream::connect(server.at).await.unwrap();
    let _client = tokio::spawn(send_over(stream, request));
    server.toys.began.notified().await;
    assert!(!server.gateway.drain(Duration::from_millis(10)).await);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let server = Server::with(
        Settings {
            limits,
            ..Settings::default()
        },
        None,
    )
    .await;
    let first = TcpStream::connect(server.at).await.unwrap();
    let mut second = Box::pin(server.play("ball"));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
    assert!(early.is_err(), "served although the place was taken");
    drop(first);
    check(&second.await, 200, "");
}

#[tokio::test]
async fn http2_without_tls() {
    let server = Server::start().await;
    let request = signed_with(server.request("POST", "/toys/ball", ""), |parts| {
        // HTTP/2 clients sign the authority and send no host.
        parts.headers.remove("host");
    });
    let io = TokioIo::new(TcpStream::connect(server.at).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let response = client.send_request(request.map(Full::new)).await.unwrap();
    check(&answer(response).await, 200, "");
}

#[tokio::test]
async fn tls_with_a_certificate() {
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto, pki_types::ServerName};
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (
        folder.path().join("chain.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = Tls::from_pem_files(&chain, &key).unwrap();
    let server = Server::with(Settings::default(), Some(tls)).await;

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(server.at).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    let answer = send_over(stream, signed(server.request("POST", "/toys/ball", ""))).await;
    check(&answer, 200, "");
    assert!(
        answer.body.contains(r#""From":"Some(127.0.0.1) true""#),
        "{}",
        answer.body
    );

    assert!(Tls::from_pem_files(&key, &key).is_err());
    assert!(Tls::from_pem_files(&chain, &folder.path().join("none.pem")).is_err());
}

#[tokio::test]
async fn a_sandbox_has_a_listener_of_its_own() {
    let server = Server::with(dev_settings(), None).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (gateway, until) = (server.gateway.clone(), stop.clone());
    tokio::spawn(async move { gateway.serve_sandbox(listener, until).await });
    let inside = |request: Request<Bytes>| async move {
        send_over(TcpStream::connect(at).await.unwrap(), request).await
    };
    let answer = inside(signed(server.request("POST", "/toys/ball", ""))).await;
    assert!(answer.body.contains(r#""From":"None false""#), "{answer:?}");
    for (method, page) in [("GET", "metrics"), ("POST", "reset")] {
        let answer = inside(server.request(method, &format!("/_/{page}"), "")).await;
        assert_eq!(answer.status, 403, "{page} from inside a sandbox");
    }
    // A drain neither waits for sandboxes nor shuts them out.
    assert!(server.gateway.drain(Duration::from_secs(60)).await);
    let answer = inside(signed(server.request("POST", "/toys/ball", ""))).await;
    check(&answer, 200, "");
    stop.cancel();
    while TcpStream::connect(at).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

struct CountResets(AtomicUsize);

impl Reset for CountResets {
    fn reset(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }
}

fn dev_settings() -> Settings {
    Settings {
        reset: Some(Arc::new(CountResets(AtomicUsize::new(0)))),
        ..Settings::default()
    }
}

#[tokio::test]
async fn our_own_pages() {
    let server = Server::start().await;
    let get = |path: &'static str| server.send(server.request("GET", path, ""));
    let health = get("/_/health").await;
    assert_eq!(health.status, 200);
    assert!(health.body.starts_with(r#"{"status":"ok","version":"#));
    assert_eq!(get("/_/nothing").await.status, 404);
    assert_eq!(get("/_/metrics").await.status, 200);
    let mut forwarded = server.request("GET", "/_/metrics", "");
    let someone = "203.0.113.9".parse().unwrap();
    forwarded.headers_mut().insert("x-forwarded-for", someone);
    assert_eq!(server.send(forwarded).await.status, 403);
    let link = get("/_/toys/good").await;
    assert_eq!((link.status.as_u16(), link.body.as_str()), (200, "PK"));
    assert_eq!(link.headers["content-type"], "application/zip");
    assert_eq!(get("/_/toys/bad").await.status, 403);
    let reset = server.send(server.request("POST", "/_/reset", "")).await;
    assert_eq!(reset.status, 404, "reset outside dev mode");
    let head = server.send(server.request("HEAD", "/_/health", "")).await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
    let options = server
        .send(server.request("OPTIONS", "/toys/ball", ""))
        .await;
    assert_eq!(options.status, 204);
    assert!(!options.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn dev_mode_does_not_answer_web_pages() {
    let server = Server::with(dev_settings(), None).await;
    let reset = || server.request("POST", "/_/reset", "");
    assert_eq!(server.send(reset()).await.status, 200);
    let from_page = |mut request: Request<Bytes>| {
        let origin = "https://evil.example".parse().unwrap();
        request.headers_mut().insert("origin", origin);
        request
    };
    assert_eq!(server.send(from_page(reset())).await.status, 403);
    let signed = signed(server.request("POST", "/toys/ball", ""));
    check(&server.send(signed.clone()).await, 200, "");
    check(
        &server.send(from_page(signed)).await,
        403,
        "AccessDeniedException",
    );
}

#[tokio::test]
async fn services_can_be_replaced() {
    let server = Server::start().await;
    check(&server.play("ball").await, 200, "");
    let fresh = Arc::new(Toys::default());
    server.gateway.replace(services(&fresh));
    check(&server.play("ball").await, 200, "");
    assert_eq!(server.toys.done.load(Ordering::SeqCst), 1);
    assert_eq!(fresh.done.load(Ordering::SeqCst), 1);
}
