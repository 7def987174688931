//! The floor of object storage: a plain HTTP server that writes a body to a file and syncs it, or sends a file. It looks at
//! nothing, checks nothing and knows no names.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The pieces in which a file is read.
const PIECE_BYTES: usize = 256 << 10;

/// A server of one folder. It stops when it is dropped.
pub struct Plain {
    /// Runs the connections.
    _runtime: Runtime,
    /// `HOST:PORT`.
    pub address: String,
    _folder: tempfile::TempDir,
}

impl Plain {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_io()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?.to_string();
        runtime.spawn(serve(listener, Arc::new(folder.path().join("object"))));
        Ok(Self {
            _runtime: runtime,
            address,
            _folder: folder,
        })
    }

    /// The head of a request to it.
    pub fn request(&self, method: &str, length: usize) -> Vec<u8> {
        let host = &self.address;
        format!("{method} /object HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n")
            .into_bytes()
    }
}

async fn serve(listener: TcpListener, path: Arc<PathBuf>) {
    while let Ok((stream, _)) = listener.accept().await {
        // A socket that is gone already needs no option.
        let _ = stream.set_nodelay(true);
        let path = path.clone();
        let service = service_fn(move |request| answer(request, path.clone()));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // The client has closed it, or notices by itself.
            let _ = connection.await;
        });
    }
}

type Reply = Response<BoxBody<Bytes, io::Error>>;

async fn answer(request: Request<Incoming>, path: Arc<PathBuf>) -> Result<Reply, Infallible> {
    let is_get = request.method() == Method::GET;
    let answered = match is_get {
        true => content(&path).map_err(anyhow::Error::from),
        false => write(request.into_body(), &path).await,
    };
    Ok(answered.unwrap_or_else(|error| {
        let mut reply = Response::new(whole(error.to_string()));
        *reply.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        reply
    }))
}

/// Nothing else runs on this thread, so that it may block.
async fn write(mut body: Incoming, path: &Path) -> Result<Reply> {
    let mut file = File::create(path)?;
    while let Some(frame) = body.frame().await {
        let data = frame?.into_data().map_err(|_| anyhow!("not data"))?;
        file.write_all(&data)?;
    }
    file.sync_data()?;
    Ok(Response::new(whole("")))
}

fn content(path: &Path) -> io::Result<Reply> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let pieces = stream::unfold(file, |mut file| async move {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let limit = PIECE_BYTES as u64;
        let read = (&mut file).take(limit).read_to_end(&mut piece);
        match read {
            Ok(0) => None,
            read => Some((read.map(|_| Frame::data(Bytes::from(piece))), file)),
        }
    });
    let mut reply = Response::new(BodyExt::boxed(StreamBody::new(pieces)));
    let headers = reply.headers_mut();
    headers.insert(hyper::header::CONTENT_LENGTH, length.into());
    Ok(reply)
}

fn whole(text: impl Into<Bytes>) -> BoxBody<Bytes, io::Error> {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed()
}
