//! What this machine does at best: the floors that figures are divided by.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::net::{TcpListener, TcpStream};

use crate::Series;

const ROUNDS: usize = 20_000;

/// F3: one byte there and back over a Unix socket, between two threads on one CPU.
pub fn unix_socket_ping_pong() -> Result<Series> {
    let measure = || -> Result<Series> {
        let mut one_cpu = CpuSet::new();
        one_cpu.set(0);
        sched_setaffinity(None, &one_cpu)?;
        let (mut here, mut there) = UnixStream::pair()?;
        let echo = std::thread::spawn(move || {
            let mut byte = [0];
            while there.read_exact(&mut byte).is_ok() && there.write_all(&byte).is_ok() {}
        });
        let mut byte = [1];
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            here.write_all(&byte)?;
            here.read_exact(&mut byte)?;
            times.push(begin.elapsed());
        }
        drop(here);
        echo.join()
            .map_err(|_| anyhow::anyhow!("the echo thread panicked"))?;
        Ok(Series::of(times))
    };
    // In a thread of its own (which the echo thread inherits from), so that nothing else stays pinned.
    std::thread::spawn(measure)
        .join()
        .map_err(|_| anyhow::anyhow!("the measuring thread panicked"))?
}

/// The same client and server libraries, with nothing between them.
pub async fn http_echo(count: usize) -> Result<Series> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let echo = service_fn(|request: hyper::Request<Incoming>| async {
                let body = request.into_body().collect().await?.to_bytes();
                Ok::<_, hyper::Error>(hyper::Response::new(Full::new(body)))
            });
            stream.set_nodelay(true).ok();
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), echo),
            );
        }
    });
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let request = hyper::Request::post("/")
            .header("host", "floor")
            .body(Full::new(Bytes::from_static(crate::EVENT)))?;
        sender.ready().await?;
        let begin = Instant::now();
        let reply = sender.send_request(request).await?;
        reply.into_body().collect().await?;
        times.push(begin.elapsed());
    }
    connection.abort();
    server.abort();
    Ok(Series::of(times))
}
