//! One connection to one node for one purpose, and the task that keeps it.
//!
//! The task dials when there is something to send. After a failure it does not try again for a moment that grows up to
//! [`MAX_PAUSE`]; what is asked for meanwhile fails at once. An answer finds its call by number, so calls overtake each other.

use crate::frame::{self, Frame, FrameKind, FrameReader, Heard, header};
use crate::identity::Identity;
use crate::peers::{CallError, Purpose, Unreachable, connect};
use crate::service::CallKind;
use bytes::Bytes;
use duolog_base::NodeId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

/// Calls under way on one connection; more wait for their turn.
const MAX_CALLS_IN_FLIGHT: usize = 256;
/// How long to wait after the first failed attempt to connect; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// A connection on which nothing has arrived for so long is asked for a sign of life, and given up if it gives none.
pub(crate) const PING_AFTER: Duration = Duration::from_secs(1);
pub(crate) const SILENCE_LIMIT: Duration = Duration::from_secs(4);
const WRITE_BUFFER_BYTES: usize = 64 << 10;

type Answered = Result<Bytes, CallError>;

/// A call that waits to be sent.
struct Outgoing {
    number: u64,
    kind: CallKind,
    body: Bytes,
}

/// Calls that wait for their answers, by number.
#[derive(Default)]
struct Pending(Mutex<HashMap<u64, oneshot::Sender<Answered>>>);

impl Pending {
    fn finish(&self, number: u64, answer: Answered) {
        // One that is not there has been given up by its caller.
        if let Some(caller) = self.0.lock().remove(&number) {
            let _ = caller.send(answer);
        }
    }

    fn fail_all(&self, error: &CallError) {
        for (_, caller) in self.0.lock().drain() {
            let _ = caller.send(Err(error.clone()));
        }
    }
}

/// Takes a call off the list when its caller goes away.
struct Listed<'a> {
    pending: &'a Pending,
    number: u64,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.pending.0.lock().remove(&self.number);
    }
}

/// The callers' end. The task ends when this is dropped.
pub(crate) struct Link {
    node: NodeId,
    queue: mpsc::Sender<Outgoing>,
    pending: Arc<Pending>,
    numbers: AtomicU64,
    in_flight: Semaphore,
    task: tokio::task::AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

impl Link {
    pub(crate) fn start(
        identity: Arc<Identity>,
        node: NodeId,
        purpose: Purpose,
        address: watch::Receiver<Option<String>>,
    ) -> Arc<Link> {
        let (queue, outgoing) = mpsc::channel(MAX_CALLS_IN_FLIGHT);
        let pending = Arc::new(Pending::default());
        let keeper = Keeper { identity, node, purpose, address, outgoing, pending: pending.clone(), pause: None };
        let task = tokio::spawn(keeper.run()).abort_handle();
        let in_flight = Semaphore::new(MAX_CALLS_IN_FLIGHT);
        Arc::new(Link { node, queue, pending, numbers: AtomicU64::new(0), in_flight, task })
    }

    /// Ends the connection; later calls fail.
    pub(crate) fn close(&self) {
        self.in_flight.close();
        self.task.abort();
        self.pending.fail_all(&CallError::Lost { node: self.node });
    }

    pub(crate) async fn call(&self, kind: CallKind, body: Bytes) -> Answered {
        let lost = || CallError::Lost { node: self.node };
        let _place = self.in_flight.acquire().await.map_err(|_| lost())?;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (caller, answer) = oneshot::channel();
        self.pending.0.lock().insert(number, caller);
        let _listed = Listed { pending: &self.pending, number };
        self.queue.send(Outgoing { number, kind, body }).await.map_err(|_| lost())?;
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

/// The task of a link.
struct Keeper {
    identity: Arc<Identity>,
    node: NodeId,
    purpose: Purpose,
    address: watch::Receiver<Option<String>>,
    outgoing: mpsc::Receiver<Outgoing>,
    pending: Arc<Pending>,
    /// After failures: until when nothing is tried, how long that was, and why.
    pause: Option<(Instant, Duration, Unreachable)>,
}

impl Keeper {
    async fn run(mut self) {
        while let Some(first) = self.outgoing.recv().await {
            let node = self.node;
            match self.connect().await {
                Err(problem) => self.pending.finish(first.number, Err(CallError::Unreachable { node, problem })),
                Ok(stream) => {
                    if let Err(error) = self.converse(stream, first).await {
                        tracing::debug!(%node, %error, "the connection to a peer was lost");
                    }
                    self.pending.fail_all(&CallError::Lost { node });
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<TcpStream, Unreachable> {
        let moved = self.address.has_changed().unwrap_or(false);
        let address = self.address.borrow_and_update().clone();
        if let Some((until, _, problem)) = &self.pause
            && Instant::now() < *until
            && !moved
        {
            return Err(problem.clone());
        }
        let connected = match address {
            None => Err(Unreachable::NoAddress),
            Some(address) => connect(&self.identity, &address, self.node, self.purpose).await,
        };
        match connected {
            Ok((stream, _)) => {
                self.pause = None;
                Ok(stream)
            }
            Err(problem) => {
                let pause = self.pause.as_ref().map_or(FIRST_PAUSE, |(_, pause, _)| (*pause * 2).min(MAX_PAUSE));
                if self.pause.as_ref().is_none_or(|(_, _, before)| *before != problem) {
                    tracing::info!(node = %self.node, %problem, "a peer cannot be reached");
                }
                self.pause = Some((Instant::now() + pause, pause, problem.clone()));
                Err(problem)
            }
        }
    }

    /// Sends calls and takes answers until the connection is lost, or the node has moved.
    async fn converse(&mut self, stream: TcpStream, first: Outgoing) -> io::Result<()> {
        let (reader, writer) = stream.into_split();
        let reader = FrameReader::new(reader);
        let heard = reader.heard();
        let writer = BufWriter::with_capacity(WRITE_BUFFER_BYTES, writer);
        tokio::select! {
            ended = take_answers(reader, &self.pending, self.node) => ended,
            ended = send_calls(writer, &mut self.outgoing, &self.pending, first, &heard) => ended,
            ended = silence(&heard) => ended,
            _ = self.address.changed() => Err(io::Error::other("the node has another address")),
        }
    }
}

/// Ends when nothing has arrived for too long, though a sign of life was asked for.
async fn silence(heard: &Heard) -> io::Result<()> {
    loop {
        let silent = heard.silent_for();
        if silent >= SILENCE_LIMIT {
            return Err(io::ErrorKind::TimedOut.into());
        }
        tokio::time::sleep(SILENCE_LIMIT - silent).await;
    }
}

async fn take_answers<R: AsyncRead + Unpin>(mut reader: FrameReader<R>, pending: &Pending, node: NodeId) -> io::Result<()> {
    while let Some(frame) = reader.next().await? {
        if let Some((number, answer)) = answer(frame, node)? {
            pending.finish(number, answer);
        }
    }
    Err(io::ErrorKind::ConnectionReset.into())
}

/// What a frame from the listener says; `None` for a sign of life.
fn answer(frame: Frame, node: NodeId) -> io::Result<Option<(u64, Answered)>> {
    match frame.kind {
        FrameKind::Answer => Ok(Some((frame.call, Ok(frame.body)))),
        FrameKind::Refused => {
            let refusal = frame::refusal(frame.detail);
            Ok(Some((frame.call, Err(CallError::Refused { node, refusal }))))
        }
        FrameKind::Pong => Ok(None),
        FrameKind::Call | FrameKind::Ping => Err(io::ErrorKind::InvalidData.into()),
    }
}

async fn send_calls<W: AsyncWrite + Unpin>(
    mut writer: BufWriter<W>,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    pending: &Pending,
    first: Outgoing,
    heard: &Heard,
) -> io::Result<()> {
    let mut next = Some(first);
    let mut pinged = false;
    loop {
        while let Some(call) = next.take().or_else(|| outgoing.try_recv().ok()) {
            // Nobody waits any longer for one that was given up in the queue.
            if pending.0.lock().contains_key(&call.number) {
                writer.write_all(&header(FrameKind::Call, call.number, call.kind.0, call.body.len())).await?;
                writer.write_all(&call.body).await?;
            }
        }
        writer.flush().await?;
        let silent = heard.silent_for();
        if silent < PING_AFTER {
            pinged = false;
        } else if !pinged {
            pinged = true;
            writer.write_all(&header(FrameKind::Ping, 0, 0, 0)).await?;
            writer.flush().await?;
        }
        let look = if pinged { PING_AFTER } else { PING_AFTER - silent };
        next = match tokio::time::timeout(look, outgoing.recv()).await {
            Err(_) => None,
            Ok(Some(call)) => Some(call),
            Ok(None) => return Ok(()),
        };
    }
}

/// One call over a connection of its own.
pub(crate) async fn call_once(mut stream: TcpStream, node: NodeId, kind: CallKind, body: Bytes) -> Answered {
    let asked = async {
        stream.write_all(&header(FrameKind::Call, 0, kind.0, body.len())).await?;
        stream.write_all(&body).await?;
        let mut reader = FrameReader::new(&mut stream);
        while let Some(frame) = reader.next().await? {
            if let Some((_, answer)) = answer(frame, node)? {
                return Ok(answer);
            }
        }
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    };
    asked.await.unwrap_or(Err(CallError::Lost { node }))
}
