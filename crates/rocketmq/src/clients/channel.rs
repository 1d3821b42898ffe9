//! A client's connection as the rest of the node sees it: a way to tell it something, and to ask it and wait for the answer.

use duolog_net::Peer;
use duolog_wire::remoting::Command;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Frames to one client that wait for its connection.
pub(crate) const CHANNEL_FRAMES: usize = 1024;
/// Calls to one client that wait for its answer.
const CALLS_IN_FLIGHT: usize = 256;

/// Kept by whoever may have to tell the client something; the connection itself may be gone meanwhile.
pub struct Channel {
    peer: Peer,
    frames: mpsc::Sender<Command>,
    /// Guards the calls that wait for their answers.
    calls: Mutex<Calls>,
    closing: watch::Sender<bool>,
}

pub type ChannelRef = Arc<Channel>;

#[derive(Default)]
struct Calls {
    last_opaque: i32,
    waiting: HashMap<i32, oneshot::Sender<Command>>,
}

/// Why a client did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    #[error("the client's connection is closed")]
    Closed,
    #[error("the client has too much to read or to answer already")]
    Full,
    #[error("the client has not answered within {0:?}")]
    TimedOut(Duration),
}

impl Channel {
    /// The channel, and where its connection finds what is to be sent.
    pub(crate) fn new(peer: Peer) -> (ChannelRef, mpsc::Receiver<Command>) {
        let (frames, receiver) = mpsc::channel(CHANNEL_FRAMES);
        let channel = Channel { peer, frames, calls: Mutex::default(), closing: watch::Sender::new(false) };
        (Arc::new(channel), receiver)
    }

    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Unique for the life of the process.
    pub fn id(&self) -> u64 {
        self.peer.connection
    }

    pub(crate) fn frames(&self) -> &mpsc::Sender<Command> {
        &self.frames
    }

    /// Sends a request that is not answered.
    pub fn notify(&self, request: Command) -> Result<(), ChannelError> {
        self.send(request.one_way())
    }

    /// Sends a request and waits for the client's answer.
    pub async fn call(&self, request: Command, limit: Duration) -> Result<Command, ChannelError> {
        let (tell, answer) = oneshot::channel();
        let opaque = self.calls.lock().begin(tell)?;
        let _forget = Forget { channel: self, opaque };
        self.send(Command { opaque, ..request })?;
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer.map_err(|_| ChannelError::Closed),
            Err(_) => Err(ChannelError::TimedOut(limit)),
        }
    }

    /// The client has answered a call; an answer that nobody waits for is dropped.
    pub(crate) fn answered(&self, answer: Command) {
        if let Some(waiting) = self.calls.lock().waiting.remove(&answer.opaque) {
            let _ = waiting.send(answer);
        }
    }

    /// Whether the connection has ended.
    pub fn is_gone(&self) -> bool {
        self.frames.is_closed()
    }

    /// Resolves when the connection has ended: nobody waits for an answer any more.
    pub async fn gone(&self) {
        self.frames.closed().await;
    }

    /// Asks the connection to end.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Turns true when the connection is to end.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// The connection has ended: nobody who waits is answered any more.
    pub(crate) fn closed(&self) {
        self.calls.lock().waiting.clear();
    }

    fn send(&self, frame: Command) -> Result<(), ChannelError> {
        self.frames.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ChannelError::Full,
            mpsc::error::TrySendError::Closed(_) => ChannelError::Closed,
        })
    }
}

impl Calls {
    fn begin(&mut self, tell: oneshot::Sender<Command>) -> Result<i32, ChannelError> {
        if self.waiting.len() == CALLS_IN_FLIGHT {
            return Err(ChannelError::Full);
        }
        // Numbers that still wait are far behind.
        self.last_opaque = self.last_opaque.wrapping_add(1);
        self.waiting.insert(self.last_opaque, tell);
        Ok(self.last_opaque)
    }
}

/// Ends a call's claim to an answer, however the call ends.
struct Forget<'a> {
    channel: &'a Channel,
    opaque: i32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.channel.calls.lock().waiting.remove(&self.opaque);
    }
}
