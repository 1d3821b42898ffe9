//! The Kafka listeners: [`duolog_net::Server`] with connections that speak Kafka's protocol.

use crate::Services;
use crate::api::release_share;
use crate::connection::{Connection, ConnectionError, Shared};
use crate::ranges::SendError;
use crate::sessions::FetchSessions;
use crate::share_sessions::ShareSessions;
use duolog_net::{BindError, Bound, Budget, Door, Late, Peer, Server, Service};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Listening sockets and what is needed to serve on them.
pub struct KafkaServer(Server<Shared>);

impl KafkaServer {
    /// Begins to listen; within a tokio runtime. Clients may connect from now on and are answered by
    /// [`KafkaServer::serve`].
    pub fn listen(listeners: Vec<Bound>, services: Arc<Services>, door: Arc<Door>) -> Result<KafkaServer, BindError> {
        let budget = Budget::new(door.limits().total_bytes_in_flight);
        let sessions = Arc::new(FetchSessions::new(services.broker.config().fetch_session_slots));
        let share_sessions = ShareSessions::default();
        let shared = Arc::new(Shared { services, door: door.clone(), sessions, share_sessions, budget });
        Ok(KafkaServer(Server::listen(listeners, shared, door)?))
    }

    /// Where the listeners are bound, in the order given.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.0.local_addresses()
    }

    /// Serves until `stop` turns true, then answers what is pending and returns.
    pub async fn serve(self, stop: watch::Receiver<bool>) -> io::Result<()> {
        self.0.serve(stop).await
    }
}

impl Service for Shared {
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: Peer, stop: watch::Receiver<bool>) {
        let services = self.services.clone();
        let metrics = services.broker.metrics();
        let (remote, connection) = (peer.remote, peer.connection);
        metrics.connections.increment();
        let ended = Connection::new(self.clone(), stream, peer).run(stop).await;
        metrics.connections.decrement();
        for (member, partitions) in self.share_sessions.close_all(connection) {
            release_share(&services, &member, partitions, true);
        }
        match ended {
            Ok(()) => {}
            Err(ConnectionError::Io(error) | ConnectionError::Send(SendError::Socket(error))) => {
                tracing::debug!(%remote, connection, %error, "connection lost");
            }
            Err(ConnectionError::Send(reason)) => {
                metrics.answers_cut.add(1);
                // What is damaged was told with its place.
                if let SendError::Unreadable { .. } = reason {
                    tracing::error!(%remote, connection, %reason, "an answer that had begun cannot be finished");
                }
            }
            Err(ConnectionError::Late(Late::Idle)) => tracing::debug!(%remote, connection, "idle connection closed"),
            Err(reason) => {
                metrics.connections_refused.add(1);
                tracing::warn!(%remote, connection, %reason, "connection closed");
            }
        }
    }

    fn refused(&self) {
        self.services.broker.metrics().connections_refused.add(1);
    }
}
