//! One client's connection: reads frames, starts requests in the order they came, answers in the same order.
//!
//! One task does all of it. A request whose handler is [`Handled::Deferred`](crate::call::Handled) lets the next one start at once (Produce,
//! once its batches have their offsets); any other lets the next one start when it is done. Replies that are ready
//! together are sent together. A request that cannot be understood closes the connection, which is all it harms, and so
//! does one that comes too slowly.

use crate::Services;
use crate::api;
use crate::call::{Call, CallError, Context, Reply};
use crate::output::Output;
use crate::pending::PendingReplies;
use crate::ranges::SendError;
use crate::sessions::FetchSessions;
use crate::share_sessions::ShareSessions;
use bytes::BytesMut;
use duolog_net::{Arrived, Budget, ConnectionLimits, Door, FrameError, Intake, Late, Peer, Room, stopped_for, told_to_stop};
use duolog_wire::kafka::{DecodeError, frame};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep_until;

/// Why a connection ended, other than by the client's closing it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Send(#[from] SendError),
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
    #[error(transparent)]
    Late(#[from] Late),
    #[error("answers took too long while the server stopped")]
    Stopped,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) services: Arc<Services>,
    pub(crate) door: Arc<Door>,
    pub(crate) sessions: Arc<FetchSessions>,
    pub(crate) share_sessions: ShareSessions,
    pub(crate) budget: Budget,
}

pub(crate) struct Connection {
    shared: Arc<Shared>,
    stream: TcpStream,
    context: Arc<Context>,
    intake: Intake,
    pending: PendingReplies,
    output: Output,
    /// Set when the server stops: when the answers must be out.
    deadline: Option<Instant>,
}

/// Smallest request: key, version and correlation id.
const LEAST_FRAME_BYTES: usize = 8;

impl Shared {
    pub(crate) fn limits(&self) -> &ConnectionLimits {
        self.door.limits()
    }
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, stream: TcpStream, peer: Peer) -> Connection {
        Connection {
            intake: Intake::new(shared.limits(), LEAST_FRAME_BYTES),
            context: Arc::new(Context { shared: shared.clone(), peer }),
            shared,
            stream,
            pending: PendingReplies::default(),
            output: Output::default(),
            deadline: None,
        }
    }

    /// Serves the client until it leaves, sends what it must not, or the server stops.
    pub(crate) async fn run(mut self, stop: watch::Receiver<bool>) -> Result<(), ConnectionError> {
        let mut timer = pin!(sleep_until((self.intake.received() + self.shared.limits().idle).into()));
        // Waited for once: a new wait for each message would be a registration with what all connections share.
        let mut told = stop.clone();
        let mut stopping = pin!(told_to_stop(&mut told));
        loop {
            self.start_requests()?;
            if self.deadline.is_some() && self.pending.is_empty() {
                return Ok(());
            }
            let reading = self.may_start() && self.intake.lacking().is_none();
            let limits = [self.intake.upload_limit(reading, self.shared.door.limits()), self.pending.deadline()];
            if let Some(limit) = limits.into_iter().flatten().min()
                && limit < timer.deadline().into_std()
            {
                timer.as_mut().reset(limit.into());
            }
            tokio::select! {
                biased;
                () = self.pending.progress(), if !self.pending.is_empty() => {
                    let grace = self.shared.limits().stop_grace;
                    tokio::select! {
                        biased;
                        answered = self.answer() => answered?,
                        () = stopped_for(&stop, grace) => return Err(ConnectionError::Stopped),
                    }
                }
                // Other branches may end the wait and lose the place in the queue, but only as often as there are
                // unanswered requests, since no other one starts meanwhile.
                room = self.shared.budget.take(self.intake.lacking().unwrap_or(0)),
                    if self.intake.lacking().is_some() && self.may_start() => self.intake.granted(room),
                received = poll_fn(|context| {
                    self.intake.poll_fill(context, &mut self.stream, self.shared.door.limits())
                }), if reading => {
                    if received? == 0 {
                        return Ok(());
                    }
                }
                () = &mut stopping, if self.deadline.is_none() => {
                    let deadline = Instant::now() + self.shared.limits().stop_grace;
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
        let limits = self.shared.limits();
        self.deadline.is_none()
            && !self.pending.in_order()
            && self.pending.len() < limits.requests_in_flight
            && self.pending.bytes() < limits.bytes_in_flight
    }

    /// Does what is due, and answers when there will be something again.
    fn timer_fired(&mut self) -> Result<Instant, ConnectionError> {
        let now = Instant::now();
        self.pending.expire(now);
        let limit = match self.deadline {
            Some(deadline) if deadline <= now => return Err(ConnectionError::Stopped),
            Some(deadline) => deadline,
            None => self.intake.client_limit(now, !self.pending.is_empty(), self.shared.limits())?,
        };
        Ok(self.pending.deadline().map_or(limit, |deadline| deadline.min(limit)))
    }

    /// Starts the requests whose bytes are here, as far as there is room for them.
    fn start_requests(&mut self) -> Result<(), ConnectionError> {
        while self.may_start() {
            let shared = &self.shared;
            match self.intake.next(&shared.budget, shared.limits(), self.pending.allowance())? {
                Some(arrived) => self.start(arrived)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Hands one request to its handler.
    fn start(&mut self, Arrived { frame, charge }: Arrived) -> Result<(), ConnectionError> {
        let bytes = frame.len();
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
        Ok(self.output.flush(&self.stream, self.shared.limits().idle).await?)
    }
}
