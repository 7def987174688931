//! A client that costs as little as one can: blocking, one connection, requests signed before they are timed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use wire::sigv4::{Credentials, PathRule, Signer, sha256};

/// How long a reply may take; some peers never give one.
const REPLY_WAIT_MAX: Duration = Duration::from_secs(120);
/// The longest reply.
const REPLY_BYTES_MAX: usize = 16 << 20;

/// Who asks, and where.
#[derive(Clone)]
pub struct Access {
    /// `HOST:PORT`.
    pub address: String,
    /// Who signs.
    pub credentials: Credentials,
    /// The region of the scope.
    pub region: String,
}

impl Access {
    /// The bytes of a signed request.
    ///
    /// # Errors
    /// If the parts make no request.
    pub fn request(
        &self,
        service: &str,
        (method, path): (&str, &str),
        content_type: &str,
        body: &[u8],
    ) -> Result<Vec<u8>> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type);
        self.signed(service, request, body)
    }

    /// The bytes of a signed request of AWS's JSON protocol. `target` names the operation.
    ///
    /// # Errors
    /// If the parts make no request.
    pub fn json(&self, service: &str, target: &str, body: &[u8]) -> Result<Vec<u8>> {
        let request = http::Request::post("/")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", target);
        self.signed(service, request, body)
    }

    /// The head of a signed request of S3, whose body comes behind it. The signature says what the body is.
    ///
    /// # Errors
    /// If the parts make no request.
    pub fn s3(&self, (method, path): (&str, &str), body: &[u8]) -> Result<Vec<u8>> {
        let digest: String = sha256(body).iter().map(|b| format!("{b:02x}")).collect();
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("x-amz-content-sha256", digest);
        self.signed_head("s3", PathRule::Once, request, body)
    }

    fn signed(
        &self,
        service: &str,
        request: http::request::Builder,
        body: &[u8],
    ) -> Result<Vec<u8>> {
        let mut bytes = self.signed_head(service, PathRule::Normalised, request, body)?;
        bytes.extend_from_slice(body);
        Ok(bytes)
    }

    fn signed_head(
        &self,
        service: &str,
        path: PathRule,
        request: http::request::Builder,
        body: &[u8],
    ) -> Result<Vec<u8>> {
        let request = request.header("host", &self.address).body(())?;
        let (mut parts, ()) = request.into_parts();
        let signer = Signer {
            path,
            ..Signer::new(self.credentials.clone(), &self.region, service)
        };
        signer.sign(&mut parts, body, jiff::Timestamp::now());
        let mut bytes = format!("{} {} HTTP/1.1\r\n", parts.method, parts.uri).into_bytes();
        for (name, value) in &parts.headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        Ok(bytes)
    }

    /// A new connection.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn connect(&self) -> Result<Client> {
        Client::connect(&self.address)
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_WAIT_MAX))?;
        Ok(Self {
            stream,
            received: vec![0; 256 << 10],
        })
    }

    /// Sends a request whose body is apart, and reads the reply: its status and its body.
    ///
    /// # Errors
    /// As for [`Client::exchange`].
    pub fn upload(&mut self, head: &[u8], body: &[u8]) -> Result<(u16, &[u8])> {
        self.stream.write_all(head)?;
        self.exchange(body)
    }

    /// Sends a request and throws away the body of the reply as it comes: its status, and the bytes that came.
    ///
    /// # Errors
    /// If the connection breaks or the reply is no HTTP with a length.
    pub fn download(&mut self, request: &[u8]) -> Result<(u16, usize)> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        let (status, begin, end) = loop {
            ensure!(
                filled < self.received.len(),
                "the head of a reply is too long"
            );
            let count = self.stream.read(&mut self.received[filled..])?;
            ensure!(count > 0, "the connection ended in a reply");
            filled += count;
            if let Some(head) = parsed(&self.received[..filled])? {
                break head;
            }
        };
        while filled < end {
            let count = self.stream.read(&mut self.received)?;
            ensure!(count > 0, "the connection ended in a reply");
            filled += count;
        }
        Ok((status, end - begin))
    }

    /// Sends a request and reads the reply: its status and its body.
    ///
    /// # Errors
    /// If the connection breaks or the reply is no HTTP with a length.
    pub fn exchange(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        loop {
            if filled == self.received.len() {
                ensure!(filled < REPLY_BYTES_MAX, "a reply is too long");
                self.received.resize(filled * 2, 0);
            }
            let count = self.stream.read(&mut self.received[filled..])?;
            ensure!(count > 0, "the connection ended in a reply");
            filled += count;
            if let Some((status, begin, end)) = whole(&self.received[..filled])? {
                return Ok((status, &self.received[begin..end]));
            }
        }
    }
}

/// Status and the place of the body, once all of it is there.
fn whole(received: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let found = parsed(received)?;
    Ok(found.filter(|(_, _, end)| received.len() >= *end))
}

/// Status and the place of the body, once the head is there.
fn parsed(received: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let mut slots = [httparse::EMPTY_HEADER; 64];
    let mut reply = httparse::Response::new(&mut slots);
    let httparse::Status::Complete(begin) = reply.parse(received)? else {
        return Ok(None);
    };
    let status = reply.code.context("a reply without status")?;
    let length = reply
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: usize = match length {
        Some(length) => std::str::from_utf8(length.value)?.parse()?,
        None => 0,
    };
    Ok(Some((status, begin, begin + length)))
}
