//! The server's own way out of the machine: by the rules for functions.

use async_trait::async_trait;
use engine::Engine;
use events::{NoWay, Outbound};
use tokio::net::TcpStream;

/// What is called from here goes where functions may go.
pub struct WayOut(pub Engine);

#[async_trait]
impl Outbound for WayOut {
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, NoWay> {
        let reached = self.0.reach(host, port).await;
        reached.map_err(|why| match why {
            engine::NoWay::Closed(why) => NoWay::Closed(why),
            engine::NoWay::Failed(why) => NoWay::Failed(why),
        })
    }
}
