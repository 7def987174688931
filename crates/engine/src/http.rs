//! One kept-alive HTTP/1.1 connection of a runtime or an extension, parsed by hand.
//!
//! This is the path of every event and every answer, and the clients are a handful of known ones on this machine, so it is
//! httparse over one buffer and no more: no upgrade, no compression, no HTTP/2. Everything a function sends is bounded.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};

/// A request line and its headers; clients put X-Ray documents of up to 1 MiB into a header.
const HEAD_BYTES_MAX: usize = (1 << 20) + (64 << 10);
/// Headers of one request.
const HEADERS_MAX: usize = 96;
/// A size line or the trailers of a chunked body.
const CHUNK_LINE_BYTES_MAX: usize = (1 << 20) + (64 << 10);
/// What is read and thrown away of a body that is too large, before the connection is closed.
const DISCARD_BYTES_MAX: u64 = 256 << 20;
/// One read.
const READ_BYTES: usize = 64 << 10;

/// The head of a request.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    body: BodyKind,
    close: bool,
    expects_continue: bool,
}

/// Methods that any of our endpoints takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Put,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyKind {
    Length(u64),
    Chunked,
}

impl Head {
    /// A header by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A body read to its end.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it.
    Complete(Bytes),
    /// It was larger than allowed, and has been thrown away.
    TooLarge,
}

/// A part of a body that is read as it comes.
#[derive(Debug)]
pub(crate) enum BodyPart {
    Chunk(Bytes),
    /// The end, with trailers by lower-case name.
    End(Vec<(String, String)>),
}

/// Where a connection is in the body of the current request.
#[derive(Debug, Clone, Copy)]
enum Reading {
    Done,
    Length { left: u64 },
    ChunkSize,
    Chunk { left: u64 },
    ChunkEnd,
    Trailers,
}

/// What a connection goes over.
#[derive(Debug)]
pub(crate) enum Stream {
    /// The address that every runtime is told.
    Tcp(TcpStream),
    /// What an interpreter that waits was born with: the kernel takes half as long for it.
    Unix(UnixStream),
}

impl Stream {
    async fn read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read_buf(into).await,
            Stream::Unix(stream) => stream.read_buf(into).await,
        }
    }

    /// Writes what there is room for.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write(bytes),
            Stream::Unix(stream) => stream.try_write(bytes),
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.writable().await,
            Stream::Unix(stream) => stream.writable().await,
        }
    }

    /// Replies are single writes, and need no waiting for more.
    fn send_at_once(&self) {
        if let Stream::Tcp(stream) = self {
            // It only matters for latency, so a refusal is no reason to fail.
            let _ = stream.set_nodelay(true);
        }
    }

    /// Clients that leave Nagle's algorithm on, as AWS's for Rust does, hold the next part of a body back until the last is
    /// acknowledged; a delayed acknowledgement would cost 40 ms.
    fn acknowledge_at_once(&self) {
        if let Stream::Tcp(stream) = self {
            // Only a hint: failing is no matter.
            let _ = rustix::net::sockopt::set_tcp_quickack(stream, true);
        }
    }
}

/// One connection. Dropping a future of its methods loses nothing: all progress is kept here.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    input: BytesMut,
    output: Vec<u8>,
    sent: usize,
    reading: Reading,
    collected: BytesMut,
    collected_total: u64,
    close_after_reply: bool,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Connection {
        stream.send_at_once();
        Connection {
            stream,
            input: BytesMut::with_capacity(8 << 10),
            output: Vec::with_capacity(1 << 10),
            sent: 0,
            reading: Reading::Done,
            collected: BytesMut::new(),
            collected_total: 0,
            close_after_reply: false,
        }
    }

    /// The next request's head; `None` when the client went away between requests.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(head) = self.parse_head()? {
                self.close_after_reply = head.close;
                self.reading = match head.body {
                    BodyKind::Length(0) => Reading::Done,
                    BodyKind::Length(left) => Reading::Length { left },
                    BodyKind::Chunked => Reading::ChunkSize,
                };
                self.collected.clear();
                self.collected_total = 0;
                if head.expects_continue && self.input.is_empty() {
                    self.output
                        .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                return Ok(Some(head));
            }
            if self.input.len() > HEAD_BYTES_MAX {
                return Err(bad("the head of a request is too large"));
            }
            self.flush().await?;
            if self.close_after_reply || self.fill().await? == 0 {
                return if self.input.is_empty() {
                    Ok(None)
                } else {
                    Err(bad("the connection ended in a request"))
                };
            }
        }
    }

    /// The whole body, as far as it is not larger than `limit`.
    pub(crate) async fn body(&mut self, limit: usize) -> io::Result<Body> {
        loop {
            match self.part().await? {
                BodyPart::Chunk(chunk) => {
                    self.collected_total += chunk.len() as u64;
                    if self.collected_total > DISCARD_BYTES_MAX {
                        return Err(bad("the body is far too large"));
                    }
                    if self.collected_total > limit as u64 {
                        self.collected = BytesMut::new();
                    } else if self.collected.is_empty() && matches!(self.reading, Reading::Done) {
                        return Ok(Body::Complete(chunk));
                    } else {
                        self.collected.extend_from_slice(&chunk);
                    }
                }
                BodyPart::End(_) if self.collected_total > limit as u64 => {
                    return Ok(Body::TooLarge);
                }
                BodyPart::End(_) => return Ok(Body::Complete(self.collected.split().freeze())),
            }
        }
    }

    /// The next part of the body.
    pub(crate) async fn part(&mut self) -> io::Result<BodyPart> {
        loop {
            match self.reading {
                Reading::Done => return Ok(BodyPart::End(Vec::new())),
                Reading::Length { left } if !self.input.is_empty() => {
                    let (chunk, left) = self.take(left);
                    self.reading = if left == 0 {
                        Reading::Done
                    } else {
                        Reading::Length { left }
                    };
                    return Ok(BodyPart::Chunk(chunk));
                }
                Reading::Chunk { left } if !self.input.is_empty() => {
                    let (chunk, left) = self.take(left);
                    self.reading = if left == 0 {
                        Reading::ChunkEnd
                    } else {
                        Reading::Chunk { left }
                    };
                    return Ok(BodyPart::Chunk(chunk));
                }
                Reading::ChunkSize => {
                    if let Some(line) = self.line()? {
                        let digits = line.split(';').next().unwrap_or("").trim();
                        let left = u64::from_str_radix(digits, 16)
                            .map_err(|_| bad("a chunk has no size"))?;
                        self.reading = if left == 0 {
                            Reading::Trailers
                        } else {
                            Reading::Chunk { left }
                        };
                        continue;
                    }
                }
                Reading::ChunkEnd => {
                    if let Some(line) = self.line()? {
                        if !line.is_empty() {
                            return Err(bad("a chunk is longer than its size"));
                        }
                        self.reading = Reading::ChunkSize;
                        continue;
                    }
                }
                Reading::Trailers => {
                    if let Some(trailers) = self.trailers()? {
                        self.reading = Reading::Done;
                        return Ok(BodyPart::End(trailers));
                    }
                }
                Reading::Length { .. } | Reading::Chunk { .. } => {}
            }
            self.flush().await?;
            if self.fill().await? == 0 {
                return Err(bad("the connection ended in a body"));
            }
        }
    }

    /// Queues a reply; it leaves when the connection next waits for the client. A reply that is followed by another
    /// request already received travels with that request's reply, in one write.
    pub(crate) fn reply(&mut self, status: &str, headers: &[(&str, &str)], body: &[u8]) {
        let closes = self.close_after_reply;
        write_head(&mut self.output, status, headers, body.len(), closes);
        self.output.extend_from_slice(body);
    }

    /// Queues the event reply of `next` and sends it with whatever waits.
    pub(crate) async fn deliver(
        &mut self,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        self.reply(OK, headers, body);
        self.flush().await
    }

    /// Sends what is queued as far as that needs no waiting. The rest, and an error, are for whoever reads next.
    pub(crate) fn send(&mut self) {
        if let Ok(count) = self.stream.try_write(&self.output[self.sent..]) {
            self.sent += count;
        }
    }

    /// Sends what is queued.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.output.len() {
            match self.stream.try_write(&self.output[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await?
                }
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }

    fn parse_head(&mut self) -> io::Result<Option<Head>> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut slots);
        let length = match request.parse(&self.input) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(bad(&format!("not HTTP: {error}"))),
        };
        let head = read_head(&request)?;
        self.input.advance(length);
        Ok(Some(head))
    }

    fn take(&mut self, left: u64) -> (Bytes, u64) {
        let count = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(self.input.len());
        (self.input.split_to(count).freeze(), left - count as u64)
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") else {
            return if self.input.len() > CHUNK_LINE_BYTES_MAX {
                Err(bad("a line is too long"))
            } else {
                Ok(None)
            };
        };
        let line = String::from_utf8_lossy(&self.input[..end]).into_owned();
        self.input.advance(end + 2);
        Ok(Some(line))
    }

    fn trailers(&mut self) -> io::Result<Option<Vec<(String, String)>>> {
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        match httparse::parse_headers(&self.input, &mut slots) {
            Ok(httparse::Status::Complete((length, headers))) => {
                let trailers = headers.iter().map(owned_header).collect();
                self.input.advance(length);
                Ok(Some(trailers))
            }
            Ok(httparse::Status::Partial) if self.input.len() > CHUNK_LINE_BYTES_MAX => {
                Err(bad("the trailers are too large"))
            }
            Ok(httparse::Status::Partial) => Ok(None),
            Err(error) => Err(bad(&format!("bad trailers: {error}"))),
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        if !matches!(self.reading, Reading::Done) {
            self.stream.acknowledge_at_once();
        }
        self.input.reserve(READ_BYTES.min(self.wanted()));
        self.stream.read(&mut self.input).await
    }

    /// How much to make room for: little when a head is awaited, for most connections never send more.
    fn wanted(&self) -> usize {
        match self.reading {
            Reading::Done => 4 << 10,
            _ => READ_BYTES,
        }
    }
}

/// A reply by itself, for a client that will not have asked for it.
pub(crate) fn whole_reply(status: &str, body: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    write_head(&mut reply, status, &[], body.len(), false);
    reply.extend_from_slice(body);
    reply
}

fn write_head(
    out: &mut Vec<u8>,
    status: &str,
    headers: &[(&str, &str)],
    length: usize,
    closes: bool,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_bytes());
    out.extend_from_slice(b"\r\nContent-Type: application/json\r\n");
    for (name, value) in headers {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        // A line break would end the header; nothing that comes here may contain one, but callers' texts do arrive.
        out.extend(value.bytes().map(|byte| {
            if byte < 0x20 || byte == 0x7f {
                b' '
            } else {
                byte
            }
        }));
        out.extend_from_slice(b"\r\n");
    }
    if closes {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"Content-Length: ");
    out.extend_from_slice(length.to_string().as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
}

/// Headers about the connection, for which nobody asks a [`Head`].
const UNTOLD: [&str; 6] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "expect",
    "user-agent",
];

/// Status lines.
pub(crate) const OK: &str = "200 OK";

fn read_head(request: &httparse::Request<'_, '_>) -> io::Result<Head> {
    let find = |name: &str| {
        let mut headers = request.headers.iter();
        let header = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    let chunked = find("transfer-encoding")
        .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
    let body = match find("content-length") {
        _ if chunked => BodyKind::Chunked,
        Some(length) => BodyKind::Length(
            length
                .trim()
                .parse()
                .map_err(|_| bad("Content-Length is not a number"))?,
        ),
        None => BodyKind::Length(0),
    };
    let connection = find("connection").unwrap_or("").to_ascii_lowercase();
    let close = connection.contains("close")
        || (request.version == Some(0) && !connection.contains("keep-alive"));
    let expects_continue =
        find("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("POST") => Method::Post,
        Some("PUT") => Method::Put,
        _ => Method::Other,
    };
    let path = request.path.unwrap_or("/").to_owned();
    let is_told = |name: &str| !UNTOLD.iter().any(|told| told.eq_ignore_ascii_case(name));
    let told = request.headers.iter().filter(|header| is_told(header.name));
    let headers = told.map(owned_header).collect();
    Ok(Head {
        method,
        path,
        headers,
        body,
        close,
        expects_continue,
    })
}

fn owned_header(header: &httparse::Header<'_>) -> (String, String) {
    (
        header.name.to_ascii_lowercase(),
        String::from_utf8_lossy(header.value).into_owned(),
    )
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}
