//! One client's connection: reads frames, starts their requests, sends the answers in the order in which they are ready.
//!
//! One task does it. The sends that one read brings are one append to the log; their answers leave when they are stored. Any
//! other request is started at once; one that has to wait goes on in a task of its own. Frames of the server's own to the
//! client go out with the answers. A frame that cannot be understood closes the connection, and so does a client that is too slow.

use crate::clients::{Channel, ChannelRef};
use crate::cluster::Lanes;
use crate::node::Node;
use crate::remoting::call::{Call, Refusal, encoded};
use crate::remoting::output::Output;
use crate::remoting::send::{PendingSends, Sends, is_send};
use crate::remoting::unanswered::Unanswered;
use crate::remoting::{Handling, answer};
use duolog_net::{Arrived, Budget, ConnectionLimits, Intake, Late, Peer, told_to_stop};
use duolog_wire::remoting::{Command, FrameError};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

/// Smallest frame: the word with form and length of the header.
const LEAST_FRAME_BYTES: usize = 4;
/// Requests of one connection that wait for their answers. A consumer has a long poll for each of its queues.
const REQUESTS_IN_FLIGHT: usize = 16 << 10;
/// Bytes of answers that are not sent; past it nothing is read and no answer is taken in.
const OUTPUT_BYTES: usize = 8 << 20;

/// Why a connection ended, other than by the client's closing it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Size(#[from] duolog_net::FrameError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Late(#[from] Late),
    #[error("the client does not take its answers")]
    Unread,
    #[error("answers took too long while the server stopped")]
    Stopped,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) node: Arc<Node>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) budget: Budget,
}

pub(crate) struct Connection {
    shared: Arc<Shared>,
    stream: TcpStream,
    channel: ChannelRef,
    /// Answers of requests that run by themselves, and frames of the server's own.
    frames: mpsc::Receiver<Command>,
    intake: Intake,
    unanswered: Arc<Unanswered>,
    appends: Vec<PendingSends>,
    /// On a cluster: sends that are on their way to other nodes.
    lanes: Option<Arc<Lanes>>,
    output: Output,
    /// Set when the server stops: when the answers must be out.
    deadline: Option<Instant>,
}

/// What has happened on the socket or behind it.
enum Event {
    Appended,
    Frame(Command),
    Sent,
    Received(usize),
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, stream: TcpStream, peer: Peer) -> Connection {
        let (channel, frames) = Channel::new(peer);
        let lanes = shared.node.cluster.as_ref().map(|_| Lanes::new(shared.node.clone(), channel.clone()));
        Connection {
            intake: Intake::new(&shared.limits, LEAST_FRAME_BYTES),
            shared,
            stream,
            channel,
            frames,
            unanswered: Arc::default(),
            appends: Vec::new(),
            lanes,
            output: Output::new(),
            deadline: None,
        }
    }

    /// Serves the client until it leaves, sends what it must not, or the server stops.
    pub(crate) async fn run(mut self, stop: watch::Receiver<bool>) -> Result<(), ConnectionError> {
        let ended = self.serve(stop).await;
        // First of all, so that a heartbeat that comes to its end now sees it, or is seen by the next line.
        self.frames.close();
        self.shared.node.clients.gone(&self.channel);
        self.shared.node.connection_gone(&self.channel);
        self.channel.closed();
        ended
    }

    async fn serve(&mut self, stop: watch::Receiver<bool>) -> Result<(), ConnectionError> {
        let shared = self.shared.clone();
        let limits = &shared.limits;
        let mut timer = pin!(sleep_until((self.intake.received() + limits.idle).into()));
        let (mut told, mut closing) = (stop, self.channel.closing());
        let mut stopping = pin!(told_to_stop(&mut told));
        let mut closing = pin!(told_to_stop(&mut closing));
        let unanswered = self.unanswered.clone();
        loop {
            poll_fn(|context| Poll::Ready(self.start_requests(context))).await?;
            if self.deadline.is_some() && unanswered.requests() == 0 && self.is_done() {
                return Ok(());
            }
            let reading = self.may_start() && self.intake.lacking().is_none();
            if let Some(limit) = self.intake.upload_limit(reading, limits)
                && limit < timer.deadline().into_std()
            {
                timer.as_mut().reset(limit.into());
            }
            let lacking = self.intake.lacking().filter(|_| self.may_start());
            tokio::select! {
                biased;
                event = poll_fn(|context| self.poll_event(context, reading)) => match event? {
                    Event::Received(0) => return Ok(()),
                    Event::Frame(frame) => self.output.push(&frame),
                    Event::Appended | Event::Sent | Event::Received(_) => {}
                },
                room = shared.budget.take(lacking.unwrap_or(0)), if lacking.is_some() => self.intake.granted(room),
                () = unanswered.changed(), if !reading || self.deadline.is_some() => {}
                () = &mut closing => return Ok(()),
                () = &mut stopping, if self.deadline.is_none() => {
                    let deadline = Instant::now() + limits.stop_grace;
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
        self.deadline.is_none()
            && self.output.bytes() < OUTPUT_BYTES
            && self.unanswered.requests() < REQUESTS_IN_FLIGHT
            && self.unanswered.bytes() < self.shared.limits.bytes_in_flight
    }

    /// Whether all answers that were given have been sent.
    fn is_done(&mut self) -> bool {
        while let Ok(frame) = self.frames.try_recv() {
            self.output.push(&frame);
        }
        self.output.is_empty()
    }

    /// Waits for what comes first. Answers that are ready are taken in before any are sent, so that they leave together.
    fn poll_event(&mut self, context: &mut Context<'_>, reading: bool) -> Poll<Result<Event, ConnectionError>> {
        if self.poll_appends(context) {
            return Poll::Ready(Ok(Event::Appended));
        }
        if self.output.bytes() < OUTPUT_BYTES
            && let Poll::Ready(Some(frame)) = self.frames.poll_recv(context)
        {
            return Poll::Ready(Ok(Event::Frame(frame)));
        }
        if !self.output.is_empty() && self.output.poll_flush(context, &self.stream)?.is_ready() {
            return Poll::Ready(Ok(Event::Sent));
        }
        if reading && let Poll::Ready(received) = self.intake.poll_fill(context, &mut self.stream, &self.shared.limits) {
            return Poll::Ready(Ok(Event::Received(received?)));
        }
        Poll::Pending
    }

    /// Answers the sends that are stored; whether there were any.
    fn poll_appends(&mut self, context: &mut Context<'_>) -> bool {
        let (appends, output) = (&mut self.appends, &mut self.output);
        let before = appends.len();
        appends.retain_mut(|sends| {
            let done = sends.poll_done(context).is_ready();
            if done {
                sends.answers(|answer| output.push(&answer));
            }
            !done
        });
        appends.len() < before
    }

    /// Does what is due, and answers when there will be something again.
    fn timer_fired(&mut self) -> Result<Instant, ConnectionError> {
        let (now, limits) = (Instant::now(), &self.shared.limits);
        if let Some(deadline) = self.deadline {
            return if deadline <= now { Err(ConnectionError::Stopped) } else { Ok(deadline) };
        }
        let busy = self.unanswered.requests() > 0 || !self.output.is_empty();
        let limit = self.intake.client_limit(now, busy, limits)?;
        if self.output.is_empty() {
            return Ok(limit);
        }
        let unread_limit = self.output.progress() + limits.idle;
        if unread_limit <= now { Err(ConnectionError::Unread) } else { Ok(limit.min(unread_limit)) }
    }

    /// Starts the requests whose bytes are here, as far as there is room for them.
    fn start_requests(&mut self, context: &mut Context<'_>) -> Result<(), ConnectionError> {
        let mut sends = Sends::new(self.shared.node.clone(), self.channel.clone(), self.lanes.clone());
        while self.may_start() {
            let allowance = self.unanswered.allowance();
            match self.intake.next(&self.shared.budget, &self.shared.limits, allowance)? {
                Some(arrived) => self.start(arrived, &mut sends, context)?,
                None => break,
            }
        }
        if !sends.is_empty() {
            self.appends.push(sends.append());
        }
        Ok(())
    }

    fn start(&mut self, arrived: Arrived, sends: &mut Sends, context: &mut Context<'_>) -> Result<(), ConnectionError> {
        let bytes = arrived.frame.len();
        let command = Command::decode(arrived.frame.freeze())?;
        if command.is_response() {
            self.channel.answered(command);
            return Ok(());
        }
        let held = self.unanswered.hold(bytes, arrived.charge);
        let waiting = self.unanswered.begin();
        let call = Call { node: self.shared.node.clone(), channel: self.channel.clone(), command, held };
        let one_way = call.command.is_one_way();
        let to_client = call.command.answer(0);
        let handling = if is_send(call.command.code) {
            match sends.add(call, waiting) {
                None => return Ok(()),
                Some((handling, waiting)) => (handling, waiting),
            }
        } else {
            (answer(call), waiting)
        };
        self.drive(handling, to_client, one_way, context);
        Ok(())
    }

    /// Runs a handler as far as it comes without waiting, and on in a task of its own.
    fn drive(
        &mut self,
        (mut handling, waiting): (Handling, super::unanswered::Waiting),
        answer: Command,
        one_way: bool,
        context: &mut Context<'_>,
    ) {
        if let Poll::Ready(outcome) = handling.as_mut().poll(context) {
            if !one_way {
                self.output.push(&encoded(answer, outcome.map_err(Refusal::shown)));
            }
            return;
        }
        let frames = self.channel.frames().clone();
        tokio::spawn(async move {
            let outcome = handling.await;
            if !one_way {
                // If the connection is gone nobody waits for the answer.
                let _ = frames.send(encoded(answer, outcome.map_err(Refusal::shown))).await;
            }
            drop(waiting);
        });
    }
}
