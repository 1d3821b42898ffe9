//! One client's connection: reads frames, starts requests in the order they came, answers in the same order.
//!
//! One task does all of it. A request whose handler is [`Handled::Deferred`](crate::call::Handled) lets the next one start at once (Produce,
//! once its batches have their offsets); any other lets the next one start when it is done. Replies that are ready
//! together are sent together. A request that cannot be understood closes the connection, which is all it harms, and so
//! does one that comes too slowly.

use crate::Services;
use crate::api;
use crate::budget::{Budget, Room};
use crate::call::{Call, CallError, Context, Peer, Reply};
use crate::frames::{FrameError, FrameReader, Next};
use crate::limits::ConnectionLimits;
use crate::output::Output;
use crate::pending::PendingReplies;
use crate::sessions::FetchSessions;
use bytes::BytesMut;
use duolog_wire::kafka::{DecodeError, frame};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::watch;
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
    #[error("of a request under way only {bytes} bytes came in {period:?}")]
    Slow { bytes: usize, period: Duration },
    #[error("answers took too long while the server stopped")]
    Stopped,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) services: Arc<Services>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) sessions: Arc<FetchSessions>,
    pub(crate) budget: Budget,
}

pub(crate) struct Connection {
    shared: Arc<Shared>,
    stream: TcpStream,
    context: Arc<Context>,
    reader: FrameReader,
    /// What the frame at the front has been given.
    charge: Charge,
    /// What it asked for in vain.
    lacking: Option<Lacking>,
    upload: Option<Upload>,
    pending: PendingReplies,
    output: Output,
    received: Instant,
    /// Set when the server stops: when the answers must be out.
    deadline: Option<Instant>,
}

/// Room of one frame.
#[derive(Default)]
struct Charge {
    /// Bytes of the connection's own allowance.
    allowance: usize,
    room: Room,
}

/// Room for the next bytes of a frame: the part that the allowance has, and the part that the budget had not.
#[derive(Clone, Copy)]
struct Lacking {
    allowance: usize,
    pool: usize,
}

/// The period in which enough of a frame must come.
struct Upload {
    since: Instant,
    bytes: usize,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, stream: TcpStream, peer: Peer) -> Connection {
        let reader = FrameReader::new(shared.limits.frame_bytes);
        Connection {
            context: Arc::new(Context { shared: shared.clone(), peer }),
            shared,
            stream,
            reader,
            charge: Charge::default(),
            lacking: None,
            upload: None,
            pending: PendingReplies::default(),
            output: Output::default(),
            received: Instant::now(),
            deadline: None,
        }
    }

    /// Serves the client until it leaves, sends what it must not, or the server stops.
    pub(crate) async fn run(mut self, stop: watch::Receiver<bool>) -> Result<(), ConnectionError> {
        let mut timer = pin!(sleep_until((self.received + self.shared.limits.idle).into()));
        // Waited for once: a new wait for each message would be a registration with what all connections share.
        let mut told = stop.clone();
        let mut stopping = pin!(told_to_stop(&mut told));
        loop {
            self.start_requests()?;
            if self.deadline.is_some() && self.pending.is_empty() {
                return Ok(());
            }
            let reading = self.may_start() && self.lacking.is_none();
            let limits = [self.upload_limit(reading), self.pending.deadline()];
            if let Some(limit) = limits.into_iter().flatten().min()
                && limit < timer.deadline().into_std()
            {
                timer.as_mut().reset(limit.into());
            }
            tokio::select! {
                biased;
                () = self.pending.progress(), if !self.pending.is_empty() => {
                    let grace = self.shared.limits.stop_grace;
                    tokio::select! {
                        biased;
                        answered = self.answer() => answered?,
                        () = stopped_for(&stop, grace) => return Err(ConnectionError::Stopped),
                    }
                }
                // Other branches may end the wait and lose the place in the queue, but only as often as there are
                // unanswered requests, since no other one starts meanwhile.
                room = self.shared.budget.take(self.lacking.map_or(0, |lacking| lacking.pool)),
                    if self.lacking.is_some() && self.may_start() => self.granted(room),
                received = poll_fn(|context| self.reader.poll_fill(context, &mut self.stream)), if reading => {
                    match received? {
                        0 => return Ok(()),
                        bytes => self.received(bytes),
                    }
                }
                () = &mut stopping, if self.deadline.is_none() => {
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
            && !self.pending.in_order()
            && self.pending.len() < limits.requests_in_flight
            && self.pending.bytes() < limits.bytes_in_flight
    }

    /// When the client must have sent more of the frame under way. Time in which the server does not read is the client's.
    fn upload_limit(&mut self, reading: bool) -> Option<Instant> {
        if !reading || !self.reader.under_way() {
            self.upload = None;
            return None;
        }
        let upload = self.upload.get_or_insert_with(|| Upload { since: Instant::now(), bytes: 0 });
        Some(upload.since + self.shared.limits.upload_period)
    }

    fn received(&mut self, bytes: usize) {
        self.received = Instant::now();
        if let Some(upload) = &mut self.upload {
            upload.bytes += bytes;
            if upload.bytes >= self.shared.limits.upload_least_bytes {
                *upload = Upload { since: self.received, bytes: 0 };
            }
        }
    }

    /// Does what is due, and answers when there will be something again.
    fn timer_fired(&mut self) -> Result<Instant, ConnectionError> {
        let now = Instant::now();
        self.pending.expire(now);
        let limit = match self.deadline {
            Some(deadline) if deadline <= now => return Err(ConnectionError::Stopped),
            Some(deadline) => deadline,
            None => self.client_limit(now)?,
        };
        Ok(self.pending.deadline().map_or(limit, |deadline| deadline.min(limit)))
    }

    /// When the client must have sent something; an error if that has passed.
    fn client_limit(&self, now: Instant) -> Result<Instant, ConnectionError> {
        let limits = &self.shared.limits;
        let upload_limit = self.upload.as_ref().map(|upload| upload.since + limits.upload_period);
        if let Some(upload) = &self.upload
            && upload_limit <= Some(now)
        {
            return Err(ConnectionError::Slow { bytes: upload.bytes, period: limits.upload_period });
        }
        let idle_limit = match self.received + limits.idle {
            limit if limit > now => limit,
            // A client that waits for an answer or for room is not idle.
            _ if self.pending.is_empty() && self.lacking.is_none() => return Err(ConnectionError::Idle),
            _ => now + limits.idle,
        };
        Ok(upload_limit.map_or(idle_limit, |limit| limit.min(idle_limit)))
    }

    /// Starts the requests whose bytes are here, as far as there is room for them.
    fn start_requests(&mut self) -> Result<(), ConnectionError> {
        self.lacking = None;
        while self.may_start() {
            match self.reader.next()? {
                Next::Frame(frame) => {
                    self.upload = None;
                    self.start(frame)?;
                }
                Next::Room(bytes) if self.charge(bytes) => self.reader.grant(bytes),
                Next::Room(_) => return Ok(()),
                Next::Incomplete => {
                    self.reader.release();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Charges bytes of the frame at the front to the connection's allowance, and what does not fit there to the budget.
    fn charge(&mut self, bytes: usize) -> bool {
        let taken = self.pending.allowance() + self.charge.allowance;
        let allowance = bytes.min(self.shared.limits.allowance_bytes.saturating_sub(taken));
        let pool = bytes - allowance;
        let fits = self.shared.budget.try_take(&mut self.charge.room, pool);
        match fits {
            true => self.charge.allowance += allowance,
            false => self.lacking = Some(Lacking { allowance, pool }),
        }
        fits
    }

    /// Takes in the room that was lacking.
    fn granted(&mut self, room: Room) {
        let Some(Lacking { allowance, pool }) = self.lacking.take() else { return };
        self.charge.allowance += allowance;
        self.charge.room.add(room);
        self.reader.grant(allowance + pool);
    }

    /// Hands one request to its handler.
    fn start(&mut self, frame: BytesMut) -> Result<(), ConnectionError> {
        let bytes = frame.len();
        let charge = std::mem::take(&mut self.charge);
        let call = self.call(frame, charge.room)?;
        let api = api::find(call.api_key).ok_or(ConnectionError::UnknownApi { key: call.api_key })?;
        // ApiVersions answers any version itself: the client asks because it does not know (KIP-511).
        if !(api.min..=api.max).contains(&call.version) && api.key != api::API_VERSIONS {
            return Err(ConnectionError::UnsupportedVersion { name: api.name, version: call.version });
        }
        self.shared.services.broker.metrics().request(api.key);
        self.pending.push((api.handle)(call), bytes, charge.allowance);
        Ok(())
    }

    fn call(&self, frame: BytesMut, room: Room) -> Result<Call, DecodeError> {
        let (header, decoder) = frame::decode_request_header(&frame)?;
        let body = frame.len() - decoder.remaining();
        Ok(Call {
            context: self.context.clone(),
            api_key: header.request_api_key,
            version: header.request_api_version,
            correlation: header.correlation_id,
            body,
            frame,
            room,
        })
    }

    /// Sends all replies that are ready and whose turn it is.
    async fn answer(&mut self) -> Result<(), ConnectionError> {
        while let Some(reply) = self.pending.pop_ready() {
            if let Reply::Message(message) = reply? {
                self.output.push(message).map_err(CallError::Response)?;
            }
        }
        Ok(self.output.flush(&self.stream, self.shared.limits.idle).await?)
    }
}

/// Resolves once the server stops, or is gone.
pub(crate) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Resolves when the server has been stopping for so long.
async fn stopped_for(stop: &watch::Receiver<bool>, grace: Duration) {
    told_to_stop(&mut stop.clone()).await;
    tokio::time::sleep(grace).await;
}
