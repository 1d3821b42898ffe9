//! One client's connection: reads frames, starts requests in the order they came, answers in the same order.
//!
//! One task does all of it. A request whose handler is [`Handled::Deferred`] lets the next one start at once (Produce,
//! once its batches have their offsets); any other lets the next one start when it is done. Replies that are ready
//! together are sent together. A request that cannot be understood closes the connection, which is all it harms.

use crate::Services;
use crate::api;
use crate::call::{Call, CallError, Handled, Peer, Reply, ReplyFuture};
use crate::frames::{FrameError, FrameReader, Next};
use crate::limits::ConnectionLimits;
use crate::output::Output;
use crate::session::FetchSessions;
use bytes::BytesMut;
use duolog_wire::kafka::{DecodeError, frame};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep_until;

/// Why a connection ended, other than by the client's closing it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("malformed request header: {0}")]
    Header(#[from] DecodeError),
    #[error("request {key} is not served")]
    UnknownApi { key: i16 },
    #[error("{name} version {version} is not served")]
    UnsupportedVersion { name: &'static str, version: i16 },
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("nothing was received for too long")]
    Idle,
    #[error("answers took too long while the server stopped")]
    Stopped,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) services: Arc<Services>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) sessions: Arc<FetchSessions>,
    /// One permit a byte of requests in flight.
    pub(crate) budget: Arc<Semaphore>,
}

pub(crate) struct Connection {
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: Arc<Peer>,
    reader: FrameReader,
    /// What the reader has come to and there was no room for.
    waiting: Option<Waiting>,
    /// Room for what is waiting, or for the large frame being read.
    granted: Option<OwnedSemaphorePermit>,
    pending: PendingReplies,
    output: Output,
    received: Instant,
    /// Set when the server stops: when the answers must be out.
    deadline: Option<Instant>,
}

enum Waiting {
    Frame(BytesMut),
    Large(usize),
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, stream: TcpStream, peer: Peer) -> Connection {
        let reader = FrameReader::new(shared.limits.frame_bytes);
        Connection {
            shared,
            stream,
            peer: Arc::new(peer),
            reader,
            waiting: None,
            granted: None,
            pending: PendingReplies::default(),
            output: Output::default(),
            received: Instant::now(),
            deadline: None,
        }
    }

    /// Serves the client until it leaves, sends what it must not, or the server stops.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), ConnectionError> {
        let mut timer = pin!(sleep_until((self.received + self.shared.limits.idle).into()));
        loop {
            self.start_requests()?;
            if self.deadline.is_some() && self.pending.is_empty() {
                return Ok(());
            }
            let reading = self.may_start() && self.waiting.is_none();
            tokio::select! {
                biased;
                () = self.pending.progress(), if !self.pending.is_empty() => {
                    let grace = self.shared.limits.stop_grace;
                    tokio::select! {
                        answered = self.answer() => answered?,
                        () = stopped_for(stop.clone(), grace) => return Err(ConnectionError::Stopped),
                    }
                }
                room = self.shared.budget.clone().acquire_many_owned(waiting_bytes(&self.waiting)),
                    if self.waiting.is_some() && self.may_start() =>
                {
                    self.granted = Some(room.map_err(io::Error::other)?);
                }
                ready = self.stream.readable(), if reading => {
                    ready?;
                    if self.receive()? == Received::End {
                        return Ok(());
                    }
                }
                () = told_to_stop(&mut stop), if self.deadline.is_none() => {
                    let deadline = Instant::now() + self.shared.limits.stop_grace;
                    self.deadline = Some(deadline);
                    timer.as_mut().reset(deadline.into());
                }
                () = &mut timer => {
                    let next = self.timer_fired()?;
                    timer.as_mut().reset(next.into());
                }
            }
        }
    }

    /// Whether one more request may start now.
    fn may_start(&self) -> bool {
        let limits = &self.shared.limits;
        self.deadline.is_none()
            && !self.pending.in_order
            && self.pending.entries.len() < limits.requests_in_flight
            && self.pending.bytes < limits.bytes_in_flight
    }

    fn timer_fired(&self) -> Result<Instant, ConnectionError> {
        if self.deadline.is_some() {
            return Err(ConnectionError::Stopped);
        }
        let limit = self.received + self.shared.limits.idle;
        match limit <= Instant::now() {
            // A client that waits for an answer is not idle.
            true if self.pending.is_empty() => Err(ConnectionError::Idle),
            true => Ok(Instant::now() + self.shared.limits.idle),
            false => Ok(limit),
        }
    }

    fn receive(&mut self) -> Result<Received, ConnectionError> {
        match self.reader.fill(&self.stream) {
            Ok(0) => Ok(Received::End),
            Ok(_) => {
                self.received = Instant::now();
                Ok(Received::Some)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                self.reader.release();
                Ok(Received::Some)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Starts the requests whose bytes are here, as far as there is room for them.
    fn start_requests(&mut self) -> Result<(), ConnectionError> {
        while self.may_start() {
            let waiting = match self.waiting.take() {
                Some(waiting) => waiting,
                None => match self.reader.next()? {
                    Next::Frame(frame) => Waiting::Frame(frame),
                    Next::Large(size) => Waiting::Large(size),
                    Next::Incomplete => {
                        self.reader.release();
                        return Ok(());
                    }
                },
            };
            let Some(room) = self.room(waiting.bytes()) else {
                self.waiting = Some(waiting);
                return Ok(());
            };
            match waiting {
                Waiting::Large(size) => {
                    self.reader.begin_large(size);
                    self.granted = Some(room);
                }
                Waiting::Frame(frame) => self.start(frame, room)?,
            }
        }
        Ok(())
    }

    fn room(&mut self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        match self.granted.take() {
            Some(room) => Some(room),
            None => self.shared.budget.clone().try_acquire_many_owned(bytes).ok(),
        }
    }

    /// Hands one request to its handler.
    fn start(&mut self, frame: BytesMut, room: OwnedSemaphorePermit) -> Result<(), ConnectionError> {
        let bytes = frame.len();
        let call = self.call(frame)?;
        let api = api::find(call.api_key).ok_or(ConnectionError::UnknownApi { key: call.api_key })?;
        // ApiVersions answers any version itself: the client asks because it does not know (KIP-511).
        if !(api.min..=api.max).contains(&call.version) && api.key != api::API_VERSIONS {
            return Err(ConnectionError::UnsupportedVersion { name: api.name, version: call.version });
        }
        self.shared.services.broker.metrics().request(api.key);
        let (reply, in_order) = match (api.handle)(call) {
            Handled::InOrder(reply) => (reply, true),
            Handled::Deferred(reply) => (reply, false),
        };
        self.pending.push(PendingReply { slot: Slot::Waiting(reply), bytes, _room: room }, in_order);
        Ok(())
    }

    fn call(&self, frame: BytesMut) -> Result<Call, DecodeError> {
        let (header, decoder) = frame::decode_request_header(&frame)?;
        let body = frame.len() - decoder.remaining();
        Ok(Call {
            services: self.shared.services.clone(),
            peer: self.peer.clone(),
            sessions: self.shared.sessions.clone(),
            api_key: header.request_api_key,
            version: header.request_api_version,
            correlation: header.correlation_id,
            client_id: header.client_id.map(str::to_owned),
            body,
            frame,
        })
    }

    /// Sends all replies that are ready and whose turn it is.
    async fn answer(&mut self) -> Result<(), ConnectionError> {
        // The rooms are given back once the replies are sent.
        let mut answered = smallvec::SmallVec::<[PendingReply; 8]>::new();
        while let Some(mut entry) = self.pending.pop_ready() {
            if let Slot::Ready(reply) = std::mem::replace(&mut entry.slot, Slot::Taken)
                && let Reply::Message(message) = reply?
            {
                self.output.push(message).map_err(CallError::Response)?;
            }
            answered.push(entry);
        }
        Ok(self.output.flush(&self.stream, self.shared.limits.idle).await?)
    }
}

#[derive(PartialEq, Eq)]
enum Received {
    Some,
    End,
}

impl Waiting {
    fn bytes(&self) -> u32 {
        let bytes = match self {
            Waiting::Frame(frame) => frame.len(),
            Waiting::Large(size) => *size,
        };
        u32::try_from(bytes).expect("frame sizes are positive 32-bit numbers")
    }
}

fn waiting_bytes(waiting: &Option<Waiting>) -> u32 {
    waiting.as_ref().map_or(0, Waiting::bytes)
}

/// Replies in the order of their requests.
#[derive(Default)]
struct PendingReplies {
    entries: VecDeque<PendingReply>,
    /// The last entry must be done before the next request starts.
    in_order: bool,
    bytes: usize,
}

struct PendingReply {
    slot: Slot,
    bytes: usize,
    _room: OwnedSemaphorePermit,
}

enum Slot {
    Waiting(ReplyFuture),
    Ready(Result<Reply, CallError>),
    Taken,
}

impl PendingReply {
    /// Drives the handler; true once its reply is there.
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        if let Slot::Waiting(reply) = &mut self.slot {
            let Poll::Ready(reply) = reply.as_mut().poll(context) else { return false };
            self.slot = Slot::Ready(reply);
        }
        true
    }
}

impl PendingReplies {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn push(&mut self, entry: PendingReply, in_order: bool) {
        assert!(!self.in_order, "nothing starts behind a request that must finish first");
        self.bytes += entry.bytes;
        self.in_order = in_order;
        self.entries.push_back(entry);
    }

    /// Resolves when the reply whose turn it is is ready, or when the next request may start.
    async fn progress(&mut self) {
        poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut progressed = false;
        // All that are ready at the front, so that they are sent together.
        for entry in &mut self.entries {
            if !entry.poll(context) {
                break;
            }
            progressed = true;
        }
        // After the others, so that no reply becomes ready unseen between the two looks at it.
        if self.in_order
            && let Some(last) = self.entries.back_mut()
            && last.poll(context)
        {
            self.in_order = false;
            progressed = true;
        }
        if progressed { Poll::Ready(()) } else { Poll::Pending }
    }

    fn pop_ready(&mut self) -> Option<PendingReply> {
        match self.entries.front()?.slot {
            Slot::Waiting(_) => None,
            Slot::Ready(_) | Slot::Taken => {
                let entry = self.entries.pop_front()?;
                self.bytes -= entry.bytes;
                Some(entry)
            }
        }
    }
}

/// Resolves once the server stops, or is gone.
pub(crate) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Resolves when the server has been stopping for so long.
async fn stopped_for(mut stop: watch::Receiver<bool>, grace: Duration) {
    told_to_stop(&mut stop).await;
    tokio::time::sleep(grace).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_reply_that_becomes_ready_between_two_looks_lets_the_next_request_start() {
        let mut looks = 0;
        let second_time = poll_fn(move |_| {
            looks += 1;
            if looks == 2 { Poll::Ready(Ok(Reply::Silence)) } else { Poll::Pending }
        });
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut pending = PendingReplies::default();
        pending.push(PendingReply { slot: Slot::Waiting(Box::pin(second_time)), bytes: 1, _room: room }, true);
        let mut context = Context::from_waker(Waker::noop());
        let progressed = pending.poll(&mut context).is_ready() || pending.poll(&mut context).is_ready();
        assert!(progressed && pending.pop_ready().is_some());
        assert!(!pending.in_order, "nothing is pending, so the next request may start");
    }
}
