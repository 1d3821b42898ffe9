//! The gRPC listeners: [`duolog_net::Server`] with connections that speak HTTP/2, in plain text or within TLS as the client begins.

use super::authority::ClientStream;
use super::body::{ChargedBody, SharedRoom};
use super::call::Front;
use super::clients::GrpcClients;
use super::limits::{
    ANSWER_BYTES, CONNECTION_WINDOW_BYTES, FRAME_BYTES, METADATA_BYTES, OPENING, PING_PERIOD, PING_TIMEOUT, REQUEST_BYTES,
    SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, STREAMS,
};
use super::service::Connection;
use super::tls::{HANDSHAKE, TlsError, acceptor};
use crate::node::Node;
use duolog_net::{BindError, Bound, Budget, ConnectionLimits, Door, Peer, Server, Service, stopped_for, told_to_stop};
use duolog_rocketmq_proto::messaging_service_server::MessagingServiceServer;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tonic::codegen::Service as _;

/// How often clients that are gone are looked for, and what others have is renewed.
const EXPIRY_PERIOD: Duration = Duration::from_secs(1);
/// The one RPC whose request stays open.
const TELEMETRY: &str = "/apache.rocketmq.v2.MessagingService/Telemetry";

/// Listening sockets and what is needed to serve on them.
pub struct GrpcServer {
    server: Server<Gate>,
    front: Arc<Front>,
}

/// Why the listeners are not there.
#[derive(Debug, thiserror::Error)]
pub enum GrpcBindError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What all connections share.
struct Gate {
    front: Arc<Front>,
    limits: ConnectionLimits,
    budget: Arc<Budget>,
    tls: TlsAcceptor,
}

impl GrpcServer {
    /// Begins to listen; within a tokio runtime.
    pub fn listen(listeners: Vec<Bound>, node: Arc<Node>, door: Arc<Door>) -> Result<GrpcServer, GrpcBindError> {
        let limits = door.limits().clone();
        let budget = Arc::new(Budget::new(limits.total_bytes_in_flight));
        let front = Arc::new(Front { clients: GrpcClients::default(), node });
        let gate = Arc::new(Gate { front: front.clone(), limits, budget, tls: acceptor()? });
        front.node.connect();
        Ok(GrpcServer { server: Server::listen(listeners, gate, door)?, front })
    }

    /// Where the listeners are bound, in the order given.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.server.local_addresses()
    }

    /// Serves until `stop` turns true, then answers what is pending, stores what was noted and returns.
    pub async fn serve(self, stop: watch::Receiver<bool>) -> io::Result<()> {
        let node = self.front.node.clone();
        let keeping = tokio::spawn(keep(self.front, stop.clone()));
        let ended = self.server.serve(stop).await;
        keeping.await.map_err(io::Error::other)?;
        node.store_offsets().await;
        ended
    }
}

/// What is done from time to time.
async fn keep(front: Arc<Front>, mut stop: watch::Receiver<bool>) {
    let mut expire = tokio::time::interval(EXPIRY_PERIOD);
    expire.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stopping = std::pin::pin!(told_to_stop(&mut stop));
    loop {
        tokio::select! {
            () = &mut stopping => return,
            _ = expire.tick() => {
                let now_ms = front.node.monotonic_ms();
                for client in front.clients.expire(now_ms) {
                    tracing::info!(client = &*client, "client is gone");
                    front.node.deliveries.release(&front.node, &client).await;
                }
                front.node.deliveries.renew(&front.node, |client| front.clients.is_alive(client, now_ms)).await;
                front.node.deliveries.expire(now_ms);
            }
        }
    }
}

impl Service for Gate {
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: Peer, stop: watch::Receiver<bool>) {
        let metrics = self.front.node.broker.metrics();
        let (remote, connection) = (peer.remote, peer.connection);
        metrics.connections.increment();
        let ended = self.open(stream, peer, stop).await;
        metrics.connections.decrement();
        if let Err(error) = ended {
            tracing::debug!(%remote, connection, %error, "connection lost");
        }
    }

    fn refused(&self) {
        self.front.node.broker.metrics().connections_refused.add(1);
    }
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

impl Gate {
    /// Finds out whether the client speaks TLS, and serves it.
    async fn open(&self, stream: TcpStream, peer: Peer, stop: watch::Receiver<bool>) -> Result<(), ConnectionError> {
        let mut first = [0];
        let mut stopping = stop.clone();
        let begun = tokio::select! {
            begun = tokio::time::timeout(OPENING, stream.peek(&mut first)) => begun??,
            () = told_to_stop(&mut stopping) => return Ok(()),
        };
        match first {
            _ if begun == 0 => Ok(()),
            [HANDSHAKE] => {
                let stream = tokio::time::timeout(OPENING, self.tls.accept(stream)).await??;
                self.speak(stream, peer, stop).await
            }
            _ => self.speak(stream, peer, stop).await,
        }
    }

    /// Serves HTTP/2 until the client leaves, is idle for too long, or the server stops and all is answered.
    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send,
        peer: Peer,
        stop: watch::Receiver<bool>,
    ) -> Result<(), ConnectionError> {
        let activity = Arc::new(Activity::default());
        let connection = Connection { front: self.front.clone(), peer: Arc::new(peer), stop: stop.clone() };
        let service = MessagingServiceServer::new(connection)
            .max_decoding_message_size(self.limits.frame_bytes.min(REQUEST_BYTES))
            .max_encoding_message_size(ANSWER_BYTES);
        let entrance = Entrance {
            service,
            budget: self.budget.clone(),
            upload: self.limits.upload_period,
            activity: activity.clone(),
            front: self.front.clone(),
        };
        let served = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_frame_size(FRAME_BYTES)
            .max_header_list_size(METADATA_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(PING_PERIOD)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(TokioIo::new(ClientStream::new(stream)), entrance);
        let mut served = std::pin::pin!(served);
        let mut is_leaving = false;
        let mut stopping = stop.clone();
        loop {
            tokio::select! {
                ended = served.as_mut() => return Ok(ended?),
                () = told_to_stop(&mut stopping), if !is_leaving => {
                    is_leaving = true;
                    served.as_mut().graceful_shutdown();
                }
                () = tokio::time::sleep(self.limits.idle), if !is_leaving => {
                    if activity.is_idle(self.front.node.monotonic_ms(), self.limits.idle) {
                        is_leaving = true;
                        served.as_mut().graceful_shutdown();
                    }
                }
                () = stopped_for(&stop, self.limits.stop_grace) => return Ok(()),
            }
        }
    }
}

/// Whether requests of a connection are under way, and when the last one ended.
#[derive(Default)]
struct Activity {
    requests: AtomicUsize,
    last_ms: AtomicU64,
}

impl Activity {
    fn is_idle(&self, now_ms: u64, limit: Duration) -> bool {
        let quiet = now_ms.saturating_sub(self.last_ms.load(Ordering::Relaxed));
        self.requests.load(Ordering::Relaxed) == 0 && quiet >= limit.as_millis() as u64
    }
}

/// Where requests of one connection come in.
struct Entrance {
    service: MessagingServiceServer<Connection>,
    budget: Arc<Budget>,
    upload: Duration,
    activity: Arc<Activity>,
    front: Arc<Front>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<tonic::body::Body>, Infallible>> + Send>>;

impl hyper::service::Service<Request<Incoming>> for Entrance {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let room = SharedRoom::default();
        let under_way = UnderWay::new(self.activity.clone(), self.front.clone());
        let late = (request.uri().path() != TELEMETRY).then(|| Box::pin(tokio::time::sleep(self.upload)));
        let budget = self.budget.clone();
        let request = request.map(|incoming| ChargedBody::new(incoming, budget, room.clone(), late));
        let mut service = self.service.clone();
        Box::pin(async move {
            let answer = service.call(request).await;
            drop((room, under_way));
            answer
        })
    }
}

/// Counts a request for as long as it is not answered.
struct UnderWay {
    activity: Arc<Activity>,
    front: Arc<Front>,
}

impl UnderWay {
    fn new(activity: Arc<Activity>, front: Arc<Front>) -> UnderWay {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        UnderWay { activity, front }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.activity.last_ms.store(self.front.node.monotonic_ms(), Ordering::Relaxed);
        self.activity.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
