//! The listening end: takes connections of authenticated nodes and hands their calls to the switchboard.

use crate::frame::{self, Frame, FrameKind, FrameReader, fits, header};
use crate::handshake;
use crate::identity::Identity;
use crate::link::SILENCE_LIMIT;
use crate::service::{CallKind, CallRefusal, PeerService, Switchboard};
use bytes::Bytes;
use duolog_base::NodeId;
use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Calls of one connection that are served at the same time; the next ones are not read meanwhile.
pub const MAX_CALLS_SERVED: usize = 256;
/// Connections that have not said who they are; more wait to be accepted.
const MAX_STRANGERS: usize = 64;
/// How long to wait after accepting failed, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A dialer asks for a sign of life long before it has been silent for so long.
const DIALER_SILENCE_LIMIT: Duration = SILENCE_LIMIT.saturating_mul(4);
const WRITE_BUFFER_BYTES: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
#[error("listening for peers on {address}: {error}")]
pub struct ListenError {
    pub address: String,
    pub error: io::Error,
}

/// A bound socket and the task that serves it.
pub struct PeerListener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl PeerListener {
    /// Listens on `address` (`host:port`) from now on.
    pub async fn bind(
        address: &str,
        identity: Arc<Identity>,
        switchboard: Arc<Switchboard>,
    ) -> Result<PeerListener, ListenError> {
        let failed = |error| ListenError { address: address.to_owned(), error };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let stop = watch::Sender::new(false);
        let told = stop.subscribe();
        let task = tokio::spawn(accept_all(socket, identity, switchboard, told));
        Ok(PeerListener { address, stop, task: Mutex::new(Some(task)) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more calls and ends all connections; answers that are not sent yet are not sent.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the listener for peers ended by a bug");
        }
    }
}

async fn accept_all(
    socket: TcpListener,
    identity: Arc<Identity>,
    switchboard: Arc<Switchboard>,
    mut stop: watch::Receiver<bool>,
) {
    let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = told_to_stop(&mut stop) => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => report_panic(ended),
            accepted = accept(&socket, &strangers) => match accepted {
                Ok((stream, remote, stranger)) => {
                    connections.spawn(serve(stream, remote, stranger, identity.clone(), switchboard.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a peer failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

/// Resolves once the listener stops, or is gone.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept(socket: &TcpListener, strangers: &Arc<Semaphore>) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let stranger = strangers.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, remote) = socket.accept().await?;
    Ok((stream, remote, stranger))
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a peer's connection ended by a bug in the server");
    }
}

async fn serve(
    mut stream: TcpStream,
    remote: SocketAddr,
    stranger: OwnedSemaphorePermit,
    identity: Arc<Identity>,
    switchboard: Arc<Switchboard>,
) {
    let known = match handshake::accept(&mut stream, &identity).await {
        Ok(known) => known,
        Err(error) => {
            tracing::warn!(%remote, %error, "somebody who is no peer was turned away");
            return;
        }
    };
    drop(stranger);
    let from = known.node;
    tracing::debug!(%from, %remote, purpose = known.purpose, "a peer has connected");
    if let Err(error) = converse(stream, from, &switchboard).await {
        tracing::debug!(%from, %remote, %error, "a peer's connection was lost");
    }
}

/// What goes back to the dialer.
struct Outgoing {
    kind: FrameKind,
    call: u64,
    detail: u16,
    parts: Vec<Bytes>,
}

async fn converse(stream: TcpStream, from: NodeId, switchboard: &Switchboard) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let (answers, outgoing) = mpsc::channel(MAX_CALLS_SERVED);
    // Dropped with this future: what is being served for a connection that is gone is given up.
    let mut served = JoinSet::new();
    let calls = take_calls(FrameReader::new(reader), from, switchboard, answers, &mut served);
    tokio::select! {
        ended = calls => ended,
        ended = send_answers(BufWriter::with_capacity(WRITE_BUFFER_BYTES, writer), outgoing) => ended,
    }
}

async fn take_calls<R: AsyncRead + Unpin>(
    mut reader: FrameReader<R>,
    from: NodeId,
    switchboard: &Switchboard,
    answers: mpsc::Sender<Outgoing>,
    served: &mut JoinSet<()>,
) -> io::Result<()> {
    loop {
        while served.len() >= MAX_CALLS_SERVED {
            served.join_next().await;
        }
        while served.try_join_next().is_some() {}
        let next = tokio::time::timeout(DIALER_SILENCE_LIMIT, reader.next()).await;
        let Some(frame) = next.map_err(|_| io::ErrorKind::TimedOut)?? else { return Ok(()) };
        match frame.kind {
            FrameKind::Call => {
                let service = switchboard.find(CallKind(frame.detail));
                served.spawn(answer(frame, from, service, answers.clone()));
            }
            FrameKind::Ping => {
                let pong = Outgoing { kind: FrameKind::Pong, call: frame.call, detail: 0, parts: Vec::new() };
                answers.send(pong).await.map_err(io::Error::other)?;
            }
            FrameKind::Answer | FrameKind::Refused | FrameKind::Pong => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

async fn answer(frame: Frame, from: NodeId, service: Option<Arc<dyn PeerService>>, answers: mpsc::Sender<Outgoing>) {
    let result = match service {
        None => Err(CallRefusal::NotServed),
        Some(service) => service.call(from, CallKind(frame.detail), frame.body).await,
    };
    let outgoing = match result {
        Ok(parts) if fits(parts.iter().map(Bytes::len).sum()) => {
            Outgoing { kind: FrameKind::Answer, call: frame.call, detail: 0, parts }
        }
        Ok(_) => refused(frame.call, CallRefusal::Busy),
        Err(refusal) => refused(frame.call, refusal),
    };
    // Without the connection nobody waits for it.
    let _ = answers.send(outgoing).await;
}

fn refused(call: u64, refusal: CallRefusal) -> Outgoing {
    Outgoing { kind: FrameKind::Refused, call, detail: frame::refusal_code(refusal), parts: Vec::new() }
}

async fn send_answers<W: AsyncWrite + Unpin>(mut writer: BufWriter<W>, mut outgoing: mpsc::Receiver<Outgoing>) -> io::Result<()> {
    while let Some(first) = outgoing.recv().await {
        let mut next = Some(first);
        while let Some(answer) = next.take().or_else(|| outgoing.try_recv().ok()) {
            let body_bytes = answer.parts.iter().map(Bytes::len).sum();
            writer.write_all(&header(answer.kind, answer.call, answer.detail, body_bytes)).await?;
            for part in &answer.parts {
                writer.write_all(part).await?;
            }
        }
        writer.flush().await?;
    }
    Ok(())
}
