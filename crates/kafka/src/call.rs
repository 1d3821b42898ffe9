//! One request on its way through: what a handler gets, and what it gives back.

use bytes::BytesMut;
use duolog_log::ReadPart;
use duolog_net::{Peer, Room};
use duolog_wire::kafka::{DecodeError, Decoder, EncodeError, Encoder, frame};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::Services;
use crate::api::ProduceReply;
use crate::connection::Shared;
use crate::sessions::FetchSessions;
use crate::share_sessions::ShareSessions;

/// Room for an ordinary response, in bytes.
const RESPONSE_BYTES: usize = 256;

/// What the requests of one connection have in common.
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: Peer,
}

/// One request: its header's fields and the whole frame.
pub(crate) struct Call {
    pub(crate) context: Arc<Context>,
    pub(crate) api_key: i16,
    pub(crate) version: i16,
    pub(crate) correlation: i32,
    /// The frame without its length prefix; uniquely owned, so that Produce can patch batches in place.
    pub(crate) frame: BytesMut,
    /// Where the body starts in `frame`.
    pub(crate) body: usize,
    /// What the frame takes up of all connections' budget.
    pub(crate) room: Room,
}

/// A future that gives the reply.
pub(crate) type ReplyFuture = Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send>>;

/// How far a handler got before it had to wait.
pub(crate) enum Handled {
    /// The next request of the connection starts only after this one has finished.
    InOrder(ReplyFuture),
    /// What must happen in order has happened, and this is the reply.
    Done(Result<Reply, CallError>),
    /// What must happen in order has happened; the reply may take its time while later requests start.
    Deferred(ProduceReply),
}

/// What goes back to the client.
pub(crate) enum Reply {
    /// Header and body, with file ranges and shared memory to be sent at the marked places.
    Message(Message),
    /// Nothing (Produce with acks=0).
    Silence,
}

/// An encoded response. The size in front is filled in when it is sent.
pub(crate) struct Message {
    pub(crate) encoder: Encoder,
    /// One entry for each cut of the encoder, in order.
    pub(crate) external: Vec<Vec<ReadPart>>,
}

/// Why a connection is closed instead of answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("malformed request: {0}")]
    Malformed(#[from] DecodeError),
    #[error("response does not fit its version: {0}")]
    Response(#[from] EncodeError),
    #[error("{0}")]
    Refused(&'static str),
}

impl Call {
    pub(crate) fn services(&self) -> &Services {
        &self.context.shared.services
    }

    pub(crate) fn sessions(&self) -> &Arc<FetchSessions> {
        &self.context.shared.sessions
    }

    pub(crate) fn share_sessions(&self) -> &ShareSessions {
        &self.context.shared.share_sessions
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.context.peer
    }

    /// What the client calls itself. Read from the frame when asked for: few requests need it.
    pub(crate) fn client_id(&self) -> Result<Option<&str>, DecodeError> {
        Ok(frame::decode_request_header(&self.frame)?.0.client_id)
    }

    /// Decoder over the request's body.
    pub(crate) fn decoder(&self) -> Decoder<'_> {
        Decoder::new(&self.frame[self.body..])
    }

    /// Gives back the frame and its room, for handlers that wait for other clients.
    pub(crate) fn release(&mut self) {
        self.frame = BytesMut::new();
        self.body = 0;
        self.room = Room::default();
    }

    /// Starts the response: an encoder that holds room for the size, and the response header.
    pub(crate) fn response(&self) -> Encoder {
        self.response_start().encoder()
    }

    /// What is needed to start the response, for handlers that give the frame away first.
    pub(crate) fn response_start(&self) -> ResponseStart {
        ResponseStart { api_key: self.api_key, version: self.version, correlation: self.correlation }
    }
}

/// The fields of a request from which its response's header follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseStart {
    pub(crate) api_key: i16,
    pub(crate) version: i16,
    pub(crate) correlation: i32,
}

impl ResponseStart {
    pub(crate) fn encoder(self) -> Encoder {
        self.encoder_with(0)
    }

    /// An encoder with room for a body of so many bytes.
    pub(crate) fn encoder_with(self, bytes: usize) -> Encoder {
        let mut encoder = Encoder::with_capacity(RESPONSE_BYTES + bytes);
        frame::begin_frame(&mut encoder);
        frame::encode_response_header(&mut encoder, self.api_key, self.version, self.correlation)
            .expect("a response header has no field that a version could lack");
        encoder
    }
}

impl Reply {
    /// A response that lies in the encoder as a whole.
    pub(crate) fn plain(encoder: Encoder) -> Reply {
        Reply::Message(Message { encoder, external: Vec::new() })
    }
}
