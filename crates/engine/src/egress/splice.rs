//! Two connections made one.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

/// Held for each direction of each connection.
const BUFFER_BYTES: usize = 16 * 1024;

/// Copies both ways until both sides have ended, one has failed, or nothing has moved for `idle_limit`. The end of one
/// side is passed on as such: the other may go on answering.
pub(crate) async fn splice(
    inside: &mut TcpStream,
    outside: &mut TcpStream,
    idle_limit: Duration,
) -> io::Result<()> {
    let moved = Moved::new();
    let (inside_read, inside_write) = inside.split();
    let (outside_read, outside_write) = outside.split();
    let both = async {
        tokio::try_join!(
            pump(inside_read, outside_write, &moved),
            pump(outside_read, inside_write, &moved)
        )
    };
    tokio::select! {
        ended = both => ended.map(drop),
        () = moved.idle_for(idle_limit) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, moved: &Moved) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        moved.note();
        if count == 0 {
            return match to.shutdown().await {
                // It has gone altogether, and this was all there was for it.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                other => other,
            };
        }
        to.write_all(&buffer[..count]).await?;
        moved.note();
    }
}

/// When something moved last, in milliseconds since the beginning.
struct Moved {
    began: Instant,
    last_ms: AtomicU64,
}

impl Moved {
    fn new() -> Moved {
        Moved {
            began: Instant::now(),
            last_ms: AtomicU64::new(0),
        }
    }

    fn note(&self) {
        let now_ms = self.began.elapsed().as_millis();
        let now_ms = u64::try_from(now_ms).expect("a connection is not older than the universe");
        self.last_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Waits until nothing has moved for so long.
    async fn idle_for(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let end = self.began + last + limit;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}
