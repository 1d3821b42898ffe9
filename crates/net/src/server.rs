//! Listens, accepts, and runs one task a connection; stops without losing an answer that is on its way.

use crate::addresses::Place;
use crate::bound::{BindError, Bound};
use crate::door::Door;
use crate::listener::{Listener, Peer};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;

/// How long to wait after accepting failed, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every Linux has that does not pace.
#[cfg(target_os = "linux")]
const UNPACED: &str = "reno";

/// Ids of connections, unique for the life of the process.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// One who serves connections.
pub trait Service: Send + Sync + 'static {
    /// Serves one client until it leaves, sends what it must not, or `stop` turns true.
    fn serve(self: Arc<Self>, stream: TcpStream, peer: Peer, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + Send;

    /// Told of a connection that was closed because its address has as many as it may.
    fn refused(&self);
}

/// Bound sockets and who serves on them.
pub struct Server<S> {
    listeners: Vec<(Listener, TcpListener)>,
    service: Arc<S>,
    door: Arc<Door>,
}

impl<S: Service> Server<S> {
    /// Begins to listen; within a tokio runtime. Clients may connect from now on and are answered by [`Server::serve`].
    pub fn listen(bound: Vec<Bound>, service: Arc<S>, door: Arc<Door>) -> Result<Server<S>, BindError> {
        let listeners = bound.into_iter().map(Bound::listen).collect::<Result<_, _>>()?;
        Ok(Server { listeners, service, door })
    }

    pub fn service(&self) -> &Arc<S> {
        &self.service
    }

    /// Where the listeners are bound, in the order given.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(_, socket)| socket.local_addr().ok()).collect()
    }

    /// Serves until `stop` turns true, then answers what is pending and returns.
    pub async fn serve(self, stop: watch::Receiver<bool>) -> io::Result<()> {
        let mut accepting = JoinSet::new();
        for (listener, socket) in self.listeners {
            let (service, door, stop) = (self.service.clone(), self.door.clone(), stop.clone());
            accepting.spawn(Acceptor { listener, socket, service, door, stop }.run());
        }
        while let Some(ended) = accepting.join_next().await {
            ended.map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// One listening socket and the connections that came through it.
struct Acceptor<S> {
    listener: Listener,
    socket: TcpListener,
    service: Arc<S>,
    door: Arc<Door>,
    stop: watch::Receiver<bool>,
}

impl<S: Service> Acceptor<S> {
    async fn run(self) {
        let mut tasks = JoinSet::new();
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = told_to_stop(&mut stop) => break,
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => report_panic(ended),
                accepted = accept(&self.socket, &self.door) => match accepted {
                    Ok((stream, remote, permit)) => {
                        let Some(place) = self.enter(remote) else { continue };
                        let (service, stop) = (self.service.clone(), self.stop.clone());
                        tasks.spawn(serve(service, self.listener.clone(), stream, remote, (permit, place), stop));
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
        let place = self.door.enter(remote.ip());
        if place.is_none() {
            self.service.refused();
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
async fn accept(socket: &TcpListener, door: &Door) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = door.wait().await?;
    let (stream, remote) = socket.accept().await?;
    Ok((stream, remote, permit))
}

async fn serve<S: Service>(
    service: Arc<S>,
    listener: Listener,
    stream: TcpStream,
    remote: SocketAddr,
    _counted: (OwnedSemaphorePermit, Place),
    stop: watch::Receiver<bool>,
) {
    let Ok(local) = stream.local_addr() else { return };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%remote, %error, "connection lost at once");
        return;
    }
    let connection = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
    let Listener { name: listener, advertised, .. } = listener;
    let peer = Peer { local, remote, listener, advertised, connection };
    if peer.is_here() {
        send_without_pacing(&stream);
    }
    service.serve(stream, peer, stop).await;
}

/// Between two processes of one machine there is no path to be fair on. A system that uses BBR sends by a timer there too, which took
/// half of the CPU time of sending from the page cache.
#[cfg(target_os = "linux")]
fn send_without_pacing(stream: &TcpStream) {
    if let Err(error) = rustix::net::sockopt::set_tcp_congestion(stream, UNPACED) {
        tracing::debug!(%error, "a connection keeps the system's congestion control");
    }
}

#[cfg(not(target_os = "linux"))]
fn send_without_pacing(_stream: &TcpStream) {}

/// Resolves once the server stops, or is gone.
pub async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Resolves when the server has been stopping for so long.
pub async fn stopped_for(stop: &watch::Receiver<bool>, grace: Duration) {
    told_to_stop(&mut stop.clone()).await;
    tokio::time::sleep(grace).await;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clients_of_this_machine_are_not_paced_whatever_the_system_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (stream, remote) = accepted.unwrap();
        let (local, listener) = (stream.local_addr().unwrap(), "kafka".to_owned());
        let peer = Peer { local, remote, listener, advertised: None, connection: 1 };
        assert!(peer.is_here());
        send_without_pacing(&stream);
        assert_eq!(rustix::net::sockopt::tcp_congestion(&stream).unwrap(), UNPACED);
        let elsewhere = |remote: &str| Peer { remote: remote.parse().unwrap(), ..peer.clone() };
        assert!(!elsewhere("192.0.2.1:9").is_here());
        assert!(elsewhere("[::ffff:127.0.0.1]:9").is_here());
    }
}
