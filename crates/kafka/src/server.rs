//! Listens, accepts, and runs one task a connection; stops without losing an answer that is on its way.

use crate::Services;
use crate::addresses::{Addresses, Place};
use crate::budget::Budget;
use crate::call::Peer;
use crate::connection::{Connection, ConnectionError, Shared, told_to_stop};
use crate::limits::ConnectionLimits;
use crate::listener::Listener;
use crate::sessions::FetchSessions;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;
/// How long to wait after accepting failed, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bound sockets and what is needed to serve on them.
pub struct KafkaServer {
    listeners: Vec<(Listener, TcpListener)>,
    shared: Arc<Shared>,
    /// One permit a connection.
    connections: Arc<Semaphore>,
    addresses: Arc<Addresses>,
}

/// Ids of connections, unique for the life of the process.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

impl KafkaServer {
    /// Binds all listeners; within a tokio runtime. Clients may connect from now on and are answered by
    /// [`KafkaServer::serve`].
    pub fn bind(listeners: Vec<Listener>, services: Arc<Services>, limits: ConnectionLimits) -> io::Result<KafkaServer> {
        let bound = listeners.into_iter().map(|listener| {
            let socket = bind(listener.address)?;
            Ok((listener, socket))
        });
        let listeners = bound.collect::<io::Result<Vec<_>>>()?;
        let connections = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        let addresses = Addresses::new(limits.connections_per_ip);
        let budget = Budget::new(limits.total_bytes_in_flight);
        let sessions = Arc::new(FetchSessions::new(services.broker.config().fetch_session_slots));
        let shared = Arc::new(Shared { services, limits, sessions, budget });
        Ok(KafkaServer { listeners, shared, connections, addresses })
    }

    /// Where the listeners are bound, in the order given.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(_, socket)| socket.local_addr().ok()).collect()
    }

    /// Serves until `stop` turns true, then answers what is pending and returns.
    pub async fn serve(self, stop: watch::Receiver<bool>) -> io::Result<()> {
        let mut accepting = JoinSet::new();
        for (listener, socket) in self.listeners {
            let acceptor = Acceptor {
                listener,
                socket,
                shared: self.shared.clone(),
                connections: self.connections.clone(),
                addresses: self.addresses.clone(),
                stop: stop.clone(),
            };
            accepting.spawn(acceptor.run());
        }
        while let Some(ended) = accepting.join_next().await {
            ended.map_err(io::Error::other)?;
        }
        Ok(())
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// One listening socket and the connections that came through it.
struct Acceptor {
    listener: Listener,
    socket: TcpListener,
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    stop: watch::Receiver<bool>,
}

impl Acceptor {
    async fn run(self) {
        let mut tasks = JoinSet::new();
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = told_to_stop(&mut stop) => break,
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => report_panic(ended),
                accepted = accept(&self.socket, &self.connections) => match accepted {
                    Ok((stream, remote, permit)) => {
                        let Some(place) = self.enter(remote) else { continue };
                        let (shared, stop) = (self.shared.clone(), self.stop.clone());
                        let advertised = self.listener.advertised.clone();
                        tasks.spawn(serve(shared, advertised, stream, remote, (permit, place), stop));
                    }
                    Err(error) => {
                        tracing::warn!(listener = self.listener.name, %error, "accepting a connection failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.socket);
        while let Some(ended) = tasks.join_next().await {
            report_panic(ended);
        }
    }

    /// A place for one more connection of the address; without one the connection is dropped.
    fn enter(&self, remote: SocketAddr) -> Option<Place> {
        let place = self.addresses.enter(remote.ip());
        if place.is_none() {
            self.shared.services.broker.metrics().connections_refused.add(1);
            tracing::warn!(%remote, "connection closed: its address has as many as it may");
        }
        place
    }
}

/// A connection whose handler panicked is gone; the others go on. One that is cancelled ends with the process.
fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended by a bug in the server");
    }
}

/// Takes the next connection; at the limit, only after another one has gone.
async fn accept(socket: &TcpListener, connections: &Arc<Semaphore>) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, remote) = socket.accept().await?;
    Ok((stream, remote, permit))
}

async fn serve(
    shared: Arc<Shared>,
    advertised: Option<(String, u16)>,
    stream: TcpStream,
    remote: SocketAddr,
    _counted: (OwnedSemaphorePermit, Place),
    stop: watch::Receiver<bool>,
) {
    let services = shared.services.clone();
    let metrics = services.broker.metrics();
    let Ok(local) = stream.local_addr() else { return };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%remote, %error, "connection lost at once");
        return;
    }
    let connection = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
    let peer = Peer { local, remote, advertised };
    metrics.connections.increment();
    let ended = Connection::new(shared, stream, peer).run(stop).await;
    metrics.connections.decrement();
    match ended {
        Ok(()) => {}
        Err(ConnectionError::Io(error)) => tracing::debug!(%remote, connection, %error, "connection lost"),
        Err(ConnectionError::Idle) => tracing::debug!(%remote, connection, "idle connection closed"),
        Err(reason) => {
            metrics.connections_refused.add(1);
            tracing::warn!(%remote, connection, %reason, "connection closed");
        }
    }
}
