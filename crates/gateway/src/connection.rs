//! One connection: HTTP/1 or HTTP/2, and a watch over clients that are too slow.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::in_place::InPlace;
use crate::{Gateway, Origin};

/// Headers of a request, in number and in bytes. Session tokens and policies make AWS's requests large.
const HEADERS_MAX: usize = 128;
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// How long HTTP/2 waits in silence before it asks whether the other end is still there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long the other end may leave our bytes unread.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(60);
/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Gateway {
    /// Serves one connection to its end, or to the end of its present request once `closing` is cancelled.
    pub(crate) async fn serve<S>(&self, stream: S, origin: Origin, closing: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let limits = self.0.settings.limits;
        let _open = self.0.metrics.connection();
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_wait)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEADER_BYTES_MAX as usize * 2);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_BYTES_MAX)
            .keep_alive_interval(PING_EVERY);
        let gateway = self.clone();
        let service = service_fn(move |request| {
            let gateway = gateway.clone();
            async move { Ok::<_, Infallible>(gateway.answer(request, origin).await) }
        });
        let stream = TokioIo::new(Watched::new(stream, limits.head_wait));
        let mut connection = InPlace::new(builder.serve_connection(stream, service));
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = closing.cancelled() => {
                connection.get().graceful_shutdown();
                connection.await
            }
        };
        if let Err(cause) = ended {
            debug!(?origin, cause, "the connection broke");
        }
    }
}

/// A stream that fails when the client takes too long for its first bytes, or to read ours. The waits in
/// between are hyper's (the rest of a head) and the body reader's.
struct Watched<S> {
    stream: S,
    /// Until when the first bytes must have told HTTP/1 from HTTP/2, and how many have come. hyper looks for
    /// the HTTP/2 preface without a deadline of its own.
    first: Option<(Pin<Box<Sleep>>, usize)>,
    /// Until when the bytes waiting to be written must have moved.
    write: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    fn new(stream: S, first_wait: Duration) -> Self {
        let until = sleep_until(Instant::now() + first_wait);
        Watched {
            stream,
            first: Some((Box::pin(until), 0)),
            write: None,
        }
    }

    /// Takes note of bytes that came.
    fn came(&mut self, bytes: &[u8]) {
        if let Some((_, count)) = &mut self.first {
            let still_preface = PREFACE[*count..].starts_with(bytes);
            *count += bytes.len();
            if !still_preface || *count >= PREFACE.len() {
                self.first = None;
            }
        }
    }

    /// Watches over one attempt to write.
    fn wrote<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write = None;
            return result;
        }
        let until = self
            .write
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE_WAIT_MAX)));
        ready!(until.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(result) => {
                this.came(&buf.filled()[before..]);
                Poll::Ready(result)
            }
            Poll::Pending => {
                let Some((until, _)) = &mut this.first else {
                    return Poll::Pending;
                };
                ready!(until.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.wrote(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_flush(cx);
        this.wrote(cx, result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.wrote(cx, result)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_let_go() {
        for said in ["", "P", "PRI * HTTP/2.0"] {
            let (near, mut far) = tokio::io::duplex(1024);
            far.write_all(said.as_bytes()).await.unwrap();
            let mut watched = Watched::new(near, Duration::from_secs(60));
            let mut all = Vec::new();
            let error = watched.read_to_end(&mut all).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_said_something_may_be_silent() {
        for said in ["GET", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let (near, mut far) = tokio::io::duplex(1024);
            far.write_all(said.as_bytes()).await.unwrap();
            let mut watched = Watched::new(near, Duration::from_secs(60));
            let mut all = Vec::new();
            let reading = watched.read_to_end(&mut all);
            let waited = tokio::time::timeout(Duration::from_secs(3600), reading).await;
            assert!(waited.is_err(), "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_let_go() {
        let (near, _far) = tokio::io::duplex(16);
        let mut watched = Watched::new(near, Duration::from_secs(60));
        let error = watched.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
