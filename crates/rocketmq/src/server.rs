//! The RocketMQ listeners: [`duolog_net::Server`] with connections that speak remoting, and what is done from time to time.

use crate::node::{BrokerAddress, Node};
use crate::offsets::STORE_PERIOD;
use crate::remoting::{Connection, ConnectionError, Shared};
use duolog_net::{BindError, Bound, Budget, ConnectionLimits, Door, Late, Peer, Server, Service, told_to_stop};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Largest frame, in bytes: what the original takes by default.
const FRAME_BYTES: usize = 16 << 20;
/// How often clients are looked at for those that have died, and counters for rates.
const EXPIRY_PERIOD: Duration = Duration::from_secs(5);

/// Listening sockets and what is needed to serve on them.
pub struct RocketMqServer {
    server: Server<Shared>,
    node: Arc<Node>,
    /// The first listeners are the broker's, the others the name server's.
    brokers: usize,
}

impl RocketMqServer {
    /// Begins to listen; within a tokio runtime. Routes name the first listener of the broker.
    pub fn listen(
        brokers: Vec<Bound>,
        name_servers: Vec<Bound>,
        node: Arc<Node>,
        door: Arc<Door>,
    ) -> Result<RocketMqServer, BindError> {
        let frame_bytes = door.limits().frame_bytes.min(FRAME_BYTES);
        let limits = ConnectionLimits { frame_bytes, ..door.limits().clone() };
        let budget = Budget::new(limits.total_bytes_in_flight);
        let shared = Arc::new(Shared { node: node.clone(), limits, budget });
        let count = brokers.len();
        let advertised = brokers.first().and_then(|bound| bound.listener().advertised.clone());
        let server = Server::listen(brokers.into_iter().chain(name_servers).collect(), shared, door)?;
        if let Some(bound) = server.local_addresses().first() {
            node.set_address(BrokerAddress { bound: *bound, advertised });
        }
        node.connect();
        Ok(RocketMqServer { server, node, brokers: count })
    }

    /// Where the broker's listeners are bound, in the order given.
    pub fn broker_addresses(&self) -> Vec<SocketAddr> {
        self.server.local_addresses().into_iter().take(self.brokers).collect()
    }

    /// Where the name server's listeners are bound, in the order given.
    pub fn name_server_addresses(&self) -> Vec<SocketAddr> {
        self.server.local_addresses().into_iter().skip(self.brokers).collect()
    }

    /// Serves until `stop` turns true, then answers what is pending, stores what was noted and returns.
    pub async fn serve(self, stop: watch::Receiver<bool>) -> io::Result<()> {
        let keeping = tokio::spawn(keep(self.node.clone(), stop.clone()));
        let ended = self.server.serve(stop).await;
        keeping.await.map_err(io::Error::other)?;
        self.node.store_offsets().await;
        self.node.disconnect();
        ended
    }
}

/// What is done from time to time.
async fn keep(node: Arc<Node>, mut stop: watch::Receiver<bool>) {
    let mut store = tokio::time::interval(STORE_PERIOD);
    let mut expire = tokio::time::interval(EXPIRY_PERIOD);
    store.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stopping = std::pin::pin!(told_to_stop(&mut stop));
    loop {
        tokio::select! {
            () = &mut stopping => return,
            _ = store.tick() => node.store_offsets().await,
            () = node.offsets.said.notified() => node.store_offsets().await,
            _ = expire.tick() => {
                let now_ms = node.monotonic_ms();
                node.clients.expire(now_ms);
                node.deliveries.expire(now_ms);
                node.expire_guests();
                node.sample_rates();
            }
        }
    }
}

impl Service for Shared {
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: Peer, stop: watch::Receiver<bool>) {
        let node = self.node.clone();
        let metrics = node.broker.metrics();
        let (remote, connection) = (peer.remote, peer.connection);
        metrics.connections.increment();
        let ended = Connection::new(self, stream, peer).run(stop).await;
        metrics.connections.decrement();
        match ended {
            Ok(()) => {}
            Err(ConnectionError::Io(error)) => tracing::debug!(%remote, connection, %error, "connection lost"),
            Err(ConnectionError::Late(Late::Idle)) => tracing::debug!(%remote, connection, "idle connection closed"),
            Err(reason) => {
                metrics.connections_refused.add(1);
                tracing::warn!(%remote, connection, %reason, "connection closed");
            }
        }
    }

    fn refused(&self) {
        self.node.broker.metrics().connections_refused.add(1);
    }
}
