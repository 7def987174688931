//! DNS for functions: names of AWS are answered here, so that clients with their endpoints built in find this server. With
//! the internet, other queries are passed on to the resolvers of this machine and answers are passed back. Nothing is read
//! in them but the question: who may reach an address is decided when it is connected to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::Door;

/// The port of DNS.
pub(crate) const PORT: u16 = 53;
/// The header of every message.
const HEADER_BYTES: usize = 12;
/// Largest message over UDP; what is larger is asked for again over TCP.
const MESSAGE_BYTES_MAX: usize = 4096;
/// How long an answer of ours may be remembered.
const TTL_S: u32 = 60;
/// Type and class of a question for an IPv4 address.
const A: u16 = 1;
const IN: u16 = 1;
/// Longest name in a question.
const NAME_BYTES_MAX: usize = 253;
/// Most resolvers asked for one query, as in C libraries.
const RESOLVERS_MAX: usize = 3;
/// How long one resolver has. Three of them are quicker than the 10 seconds that resolv.conf inside grants.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// The file of resolvers is read again after this long: laptops change networks.
const FILE_FRESH: Duration = Duration::from_secs(5);
/// Where this machine keeps its resolvers.
const FILE: &str = "/etc/resolv.conf";
/// Why a query that was passed on has no answer.
const NOBODY: &str = "no resolver of this machine answered";

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
        if let Some(answer) = door.own_answer(query) {
            // As above; and whoever asks again is answered again.
            let _ = socket.try_send_to(&answer, from);
            continue;
        }
        let permits = match door.admit_query() {
            Ok(permits) => permits,
            Err(why) => {
                door.tell_unanswered(query, why);
                // A client that is gone needs no answer.
                let _ = socket.try_send_to(&failure(query), from);
                continue;
            }
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
                None => door.tell_unanswered(&query, NOBODY),
            }
            let answer = answer.unwrap_or_else(|| failure(&query));
            // Nobody may be waiting for it any more.
            let _ = socket.send_to(&answer, from).await;
        });
    }
}

/// Answers the queries on a connection inside, one after the other, until it ends.
pub(crate) async fn serve_stream(door: &Door, mut inside: TcpStream, cut: CancellationToken) {
    let serving = async {
        loop {
            let query = tokio::time::timeout(door.idle_limit(), read_message(&mut inside));
            let query = query.await.map_err(|_| io::ErrorKind::TimedOut)??;
            if !is_query(&query) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let answer = match door.own_answer(&query) {
                Some(answer) => answer,
                None => match ask_over_tcp(&door.egress.resolvers.list(), &query).await {
                    Some(answer) => {
                        door.egress.counts.query();
                        answer
                    }
                    None => {
                        door.tell_unanswered(&query, NOBODY);
                        failure(&query)
                    }
                },
            };
            write_message(&mut inside, &answer).await?;
        }
    };
    let ended: Option<io::Result<()>> = cut.run_until_cancelled(serving).await;
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "a connection for names ended");
    }
}

async fn ask_over_tcp(resolvers: &[SocketAddr], query: &[u8]) -> Option<Vec<u8>> {
    for resolver in resolvers {
        let asking = async {
            let mut outside = TcpStream::connect(resolver).await?;
            write_message(&mut outside, query).await?;
            read_message(&mut outside).await
        };
        match tokio::time::timeout(ANSWER_WAIT, asking).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%resolver, %error, "a resolver was not asked"),
            Err(_) => tracing::debug!(%resolver, "a resolver did not answer in time"),
        }
    }
    None
}

/// A message with its length before it, at most 64 KiB.
async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let whole = [&length.to_be_bytes()[..], message].concat();
    stream.write_all(&whole).await
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

/// The name and the answer, when a query is for a name of ours: `address`, and nothing to questions for anything else.
pub(crate) fn own_answer(
    query: &[u8],
    is_ours: fn(&str) -> bool,
    address: Ipv4Addr,
) -> Option<(String, Vec<u8>)> {
    let (name, end) = question(query)?;
    if !is_ours(&name) {
        return None;
    }
    let [type_high, type_low, class_high, class_low] = *query.get(end - 4..end)?.first_chunk()?;
    let kind = u16::from_be_bytes([type_high, type_low]);
    let class = u16::from_be_bytes([class_high, class_low]);
    let has_record = kind == A && class == IN;
    let mut answer = query[..end].to_vec();
    // An answer, authoritative, recursion available, no error; one question, at most one record, nothing else.
    answer[2] = query[2] & 0x01 | 0x84;
    answer[3] = 0x80;
    answer[6..HEADER_BYTES].copy_from_slice(&[0, u8::from(has_record), 0, 0, 0, 0]);
    if has_record {
        // The name is the one at the end of the header.
        answer.extend([0xc0, 12]);
        answer.extend([A, IN].map(u16::to_be_bytes).as_flattened());
        answer.extend(TTL_S.to_be_bytes());
        answer.extend(4_u16.to_be_bytes());
        answer.extend(address.octets());
    }
    Some((name, answer))
}

/// The name in a query's only question.
pub(crate) fn name(query: &[u8]) -> Option<String> {
    question(query).map(|(name, _)| name)
}

/// The name in a query's only question, and where the question ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    if query.len() < HEADER_BYTES || query[2] & 0x78 != 0 || query[4..6] != [0, 1] {
        return None;
    }
    let (mut name, mut at) = (String::new(), HEADER_BYTES);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // A question has no pointers, and a label is at most 63 bytes.
        let label = query.get(at..at + length).filter(|_| length < 64)?;
        at += length;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(std::str::from_utf8(label).ok()?);
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
    }
    let end = at + 4;
    (query.len() >= end).then_some((name, end))
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

    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut query = vec![7, 9, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap_or(255));
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, kind, 0, 1]);
        // What EDNS adds.
        query.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        query
    }

    #[test]
    fn names_of_ours_are_answered_with_one_address() {
        let is_ours = |name: &str| name == "sts.Amazonaws.com";
        let ask = |query: &[u8]| own_answer(query, is_ours, Ipv4Addr::new(127, 0, 0, 2));
        let asked = query("sts.Amazonaws.com", 1);
        let (name, answer) = ask(&asked).unwrap_or_default();
        assert_eq!(name, "sts.Amazonaws.com");
        let question_end = asked.len() - 11;
        assert_eq!(answer[..12], [7, 9, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(answer[12..question_end], asked[12..question_end]);
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 2];
        assert_eq!(answer[question_end..], record);
        // IPv6: the name is there, an address is not.
        let (_, answer) = ask(&query("sts.Amazonaws.com", 28)).unwrap_or_default();
        assert_eq!(answer[..12], [7, 9, 0x85, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answer.len(), question_end);
        assert_eq!(ask(&query("example.com", 1)), None);
    }

    #[test]
    fn no_bytes_are_read_as_a_name_that_are_none() {
        let is_ours = |_: &str| true;
        let ask = |query: &[u8]| own_answer(query, is_ours, Ipv4Addr::LOCALHOST).is_some();
        let asked = query("a.bc", 1);
        assert!(ask(&asked));
        for cut in 0..asked.len() - 11 {
            assert!(!ask(&asked[..cut]), "{cut} bytes");
        }
        let pointer = [&asked[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
        assert!(!ask(&pointer));
        let mut two = asked.clone();
        two[5] = 2;
        assert!(!ask(&two));
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
