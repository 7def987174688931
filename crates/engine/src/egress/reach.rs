//! Connections of the server's own that go where functions may go.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use tokio::net::TcpStream;

use super::policy::judge;
use super::{Cidr, Egress};

/// How long a target may take to be found and to accept.
const LIMIT: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoWay {
    /// It may not go there.
    Closed(String),
    /// It was tried in vain.
    Failed(String),
}

impl fmt::Display for NoWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoWay::Closed(why) | NoWay::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for NoWay {}

impl Egress {
    /// Connects to a host by the rules for functions. What a name leads to is judged and then connected to, so that a name
    /// that leads elsewhere the next time leads nowhere.
    pub(crate) async fn reach(&self, host: &str, port: u16) -> Result<TcpStream, NoWay> {
        let reached = self.way_to(host, port).await;
        match &reached {
            Ok(_) => self.counts.allowed(),
            Err(NoWay::Closed(_)) => self.counts.refused(),
            Err(NoWay::Failed(_)) => self.counts.failed(),
        }
        let why = reached.as_ref().err();
        let why = why.map_or_else(|| "it is open".to_owned(), NoWay::to_string);
        tracing::debug!(host, port, why, "the server's own connection was decided");
        reached
    }

    async fn way_to(&self, host: &str, port: u16) -> Result<TcpStream, NoWay> {
        let Some(internet) = &self.internet else {
            let text = "The operator of this server has not opened the internet (internet).";
            return Err(NoWay::Closed(text.to_owned()));
        };
        if !internet.ports.contains(&port) {
            let text =
                format!("Port {port} is not among the open ports of this server (internet_ports).");
            return Err(NoWay::Closed(text));
        }
        let late = |_| {
            NoWay::Failed(format!(
                "{host} did not accept within {} seconds.",
                LIMIT.as_secs()
            ))
        };
        tokio::time::timeout(LIMIT, reach(host, port, &internet.allow))
            .await
            .map_err(late)?
    }
}

async fn reach(host: &str, port: u16, allow: &[Cidr]) -> Result<TcpStream, NoWay> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| NoWay::Failed(format!("{host} was not found: {error}")))?;
    let mut last = NoWay::Failed(format!("{host} has no IPv4 address."));
    for address in found {
        let IpAddr::V4(ip) = address.ip() else {
            continue;
        };
        let target = SocketAddrV4::new(ip, port);
        if let Err(why) = judge(ip, allow, sandbox::delivery) {
            last = NoWay::Closed(format!("{host} may not be reached: {why}."));
            continue;
        }
        match TcpStream::connect(SocketAddr::V4(target)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = NoWay::Failed(format!("{host} did not accept: {error}.")),
        }
    }
    Err(last)
}
