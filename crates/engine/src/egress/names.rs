//! DNS for functions: queries are passed on to the resolvers of this machine, answers are passed back. Nothing is read
//! in them but the header: who may reach an address is decided when it is connected to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use super::Door;

/// The port of DNS.
pub(crate) const PORT: u16 = 53;
/// The header of every message.
const HEADER_BYTES: usize = 12;
/// Largest message over UDP; what is larger is asked for again over TCP.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Most resolvers asked for one query, as in C libraries.
const RESOLVERS_MAX: usize = 3;
/// How long one resolver has. Three of them are quicker than the 10 seconds that resolv.conf inside grants.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// The file of resolvers is read again after this long: laptops change networks.
const FILE_FRESH: Duration = Duration::from_secs(5);
/// Where this machine keeps its resolvers.
const FILE: &str = "/etc/resolv.conf";

/// Who answers.
pub(crate) struct Resolvers {
    given: Vec<SocketAddr>,
    read: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Resolvers {
    /// These, or those of the machine when there are none.
    pub(crate) fn new(given: Vec<SocketAddr>) -> Resolvers {
        Resolvers {
            given,
            read: Mutex::new(None),
        }
    }

    pub(crate) fn list(&self) -> Vec<SocketAddr> {
        if !self.given.is_empty() {
            return self.given.iter().take(RESOLVERS_MAX).copied().collect();
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((at, list)) if at.elapsed() < FILE_FRESH => list.clone(),
            _ => {
                // A missing file means what it means to C libraries: the resolver on this machine.
                let list = parse(&std::fs::read_to_string(Path::new(FILE)).unwrap_or_default());
                *read = Some((Instant::now(), list.clone()));
                list
            }
        }
    }
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| -> Option<SocketAddr> {
        let mut words = line.split_whitespace();
        let address = (words.next() == Some("nameserver")).then(|| words.next())??;
        // Link-local ones name an interface as well, which an address type cannot hold.
        Some(SocketAddr::new(address.parse().ok()?, PORT))
    };
    let mut list: Vec<SocketAddr> = text.lines().filter_map(address).collect();
    list.truncate(RESOLVERS_MAX);
    if list.is_empty() {
        list.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
    }
    list
}

/// Answers the queries that arrive on a socket inside, until the environment stops.
pub(crate) async fn serve(door: Arc<Door>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; MESSAGE_BYTES_MAX + 1];
    loop {
        let received = tokio::select! {
            () = door.stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        // An error is about an earlier answer that found nobody any more.
        let Ok((length, from)) = received else {
            continue;
        };
        let query = &buffer[..length];
        if !is_query(query) || length > MESSAGE_BYTES_MAX {
            continue;
        }
        let Some(permits) = door.room_for_query() else {
            door.egress.counts.query_failed();
            // A client that is gone needs no answer.
            let _ = socket.try_send_to(&failure(query), from);
            continue;
        };
        let (door, socket, query) = (door.clone(), socket.clone(), query.to_vec());
        door.tasks.clone().spawn(async move {
            let _permits = permits;
            let resolvers = door.egress.resolvers.list();
            let answer = tokio::select! {
                () = door.stop.cancelled() => return,
                answer = ask(&resolvers, &query) => answer,
            };
            match &answer {
                Some(_) => door.egress.counts.query(),
                None => door.egress.counts.query_failed(),
            }
            let answer = answer.unwrap_or_else(|| failure(&query));
            // Nobody may be waiting for it any more.
            let _ = socket.send_to(&answer, from).await;
        });
    }
}

/// The first answer of any of them.
async fn ask(resolvers: &[SocketAddr], query: &[u8]) -> Option<Vec<u8>> {
    for resolver in resolvers {
        match tokio::time::timeout(ANSWER_WAIT, ask_one(*resolver, query)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%resolver, %error, "a resolver was not asked"),
            Err(_) => tracing::debug!(%resolver, "a resolver did not answer in time"),
        }
    }
    None
}

/// Each query has a socket and so a random port of its own, and takes answers from nobody but the resolver.
async fn ask_one(resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(query).await?;
    let mut answer = vec![0; MESSAGE_BYTES_MAX + 1];
    loop {
        let length = socket.recv(&mut answer).await?;
        let same = answer[..length].get(..2) == query.get(..2);
        if length < HEADER_BYTES || !same || is_query(&answer[..length]) {
            continue;
        }
        if length > MESSAGE_BYTES_MAX {
            return Ok(truncated(query));
        }
        answer.truncate(length);
        return Ok(answer);
    }
}

fn is_query(message: &[u8]) -> bool {
    message.len() >= HEADER_BYTES && message[2] & 0x80 == 0
}

/// An answer without records: the query with other flags.
fn answer(query: &[u8], flags: u8, code: u8) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] = query[2] & 0x79 | 0x80 | flags;
    answer[3] = 0x80 | code;
    answer
}

/// SERVFAIL.
fn failure(query: &[u8]) -> Vec<u8> {
    answer(query, 0, 2)
}

/// Ask again over TCP.
fn truncated(query: &[u8]) -> Vec<u8> {
    answer(query, 0x02, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, expected: &[&str]) {
        let list: Vec<String> = parse(file).iter().map(ToString::to_string).collect();
        assert_eq!(list, expected, "{file:?}");
    }

    #[test]
    fn resolvers_are_read_as_c_libraries_do() {
        check("nameserver 10.0.0.2\n", &["10.0.0.2:53"]);
        check(
            "# x\nsearch a.b\n nameserver\t9.9.9.9 # y\nnameserver ::1\noptions rotate",
            &["9.9.9.9:53", "[::1]:53"],
        );
        check("nameserver fe80::1%eth0\nnameserver", &["127.0.0.1:53"]);
        check("", &["127.0.0.1:53"]);
        let many = "nameserver 1.1.1.1\n".repeat(5);
        check(&many, &["1.1.1.1:53"; 3]);
    }

    #[test]
    fn failures_are_answers_to_their_query() {
        let query = [7, 9, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1];
        assert!(is_query(&query) && !is_query(&failure(&query)) && !is_query(&query[..11]));
        assert_eq!(failure(&query)[..4], [7, 9, 0x81, 0x82]);
        assert_eq!(truncated(&query)[..4], [7, 9, 0x83, 0x80]);
        assert_eq!(failure(&query)[4..], query[4..]);
    }
}
