//! One request on its way through: what a handler gets, and what it gives back.

use crate::clients::ChannelRef;
use crate::node::Node;
use crate::remoting::unanswered::Held;
use bytes::Bytes;
use duolog_core::broker::{FetchError, LookupError, ProduceError};
use duolog_core::coordinator::Unavailable;
use duolog_core::filter::FilterError;
use duolog_core::group::GroupError;
use duolog_wire::remoting::body::{self, BodyError};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::{Header, HeaderError};
use duolog_wire::remoting::{Command, Fields};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// One request.
pub struct Call {
    pub node: Arc<Node>,
    /// The connection it came on: who is there, and a way to tell it something.
    pub channel: ChannelRef,
    pub command: Command,
    /// What the request takes up until it is answered.
    pub(crate) held: Held,
}

impl Call {
    /// The request's header; a refusal if a field is missing or malformed.
    pub fn header<'a, T: Header<'a>>(&'a self) -> Result<T, Refusal> {
        Ok(T::from_fields(&self.command.fields)?)
    }

    /// The request's JSON body.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        Ok(body::from_json(&self.command.body)?)
    }

    /// Gives back the request's bytes and their room, for handlers that wait for other clients.
    pub fn release(&mut self) {
        self.command.fields = Fields::new();
        self.command.body = Bytes::new();
        self.held.release();
    }

    /// Gives back the room only, for small requests that may have to be done again.
    pub(crate) fn release_room(&mut self) {
        self.held.release();
    }
}

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: i32,
    pub remark: Option<String>,
    pub fields: Fields,
    pub body: Bytes,
}

impl Answer {
    /// Success, and nothing to say.
    pub fn ok() -> Answer {
        Answer::of(response::SUCCESS)
    }

    /// An outcome that has header fields of its own even if it is no success.
    pub fn of(code: i32) -> Answer {
        Answer { code, remark: None, fields: Fields::new(), body: Bytes::new() }
    }

    pub fn header<'a>(mut self, header: impl Header<'a>) -> Answer {
        header.put(&mut self.fields);
        self
    }

    pub fn remark(mut self, remark: impl Into<String>) -> Answer {
        self.remark = Some(remark.into());
        self
    }

    pub fn bytes(mut self, body: Bytes) -> Answer {
        self.body = body;
        self
    }

    pub fn json(self, body: &impl Serialize) -> Answer {
        self.bytes(body::to_json(body))
    }
}

/// Why a request is not done: the response code and an explanation for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: i32,
    pub remark: String,
}

impl Refusal {
    pub fn new(code: i32, remark: impl Into<String>) -> Refusal {
        Refusal { code, remark: remark.into() }
    }

    /// This node is not the one that does it. Clients are never told so: the request is tried elsewhere.
    pub(crate) fn not_here() -> Refusal {
        Refusal::new(response::NOT_LEADER_FOR_QUEUE, "this node is not the one for it")
    }

    pub(crate) fn is_not_here(&self) -> bool {
        self.code == response::NOT_LEADER_FOR_QUEUE
    }

    /// A client tries again.
    pub(crate) fn busy() -> Refusal {
        Refusal::new(response::SYSTEM_BUSY, "no node of the cluster can do it for now")
    }

    /// The same for producers.
    pub(crate) fn unavailable() -> Refusal {
        Refusal::new(response::SERVICE_NOT_AVAILABLE, "no node of the cluster can store it for now")
    }

    /// As a client may see it.
    pub(super) fn shown(self) -> Refusal {
        if self.is_not_here() { Refusal::busy() } else { self }
    }
}

/// The answer in a frame.
pub(crate) fn encoded(mut answer: Command, outcome: Result<Answer, Refusal>) -> Command {
    match outcome {
        Ok(Answer { code, remark, fields, body }) => Command { code, remark, fields, body, ..answer },
        Err(Refusal { code, remark }) => {
            answer.code = code;
            answer.remark = Some(remark);
            answer
        }
    }
}

impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Refusal {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Refusal {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<FilterError> for Refusal {
    fn from(error: FilterError) -> Refusal {
        Refusal::new(response::SUBSCRIPTION_PARSE_FAILED, error.to_string())
    }
}

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Refusal {
        let code = match error {
            GroupError::Unavailable(Unavailable::NotCoordinator) => response::NOT_LEADER_FOR_QUEUE,
            GroupError::Unavailable(_) => response::SYSTEM_BUSY,
            GroupError::UnknownMember => {
                let remark = "the group has members that use Kafka's protocol, and its offsets are theirs";
                return Refusal::new(response::SYSTEM_ERROR, remark);
            }
            _ => response::SYSTEM_ERROR,
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<ProduceError> for Refusal {
    /// Codes after which producers try again are for what may be over by then.
    fn from(error: ProduceError) -> Refusal {
        let code = match &error {
            ProduceError::UnknownPartition => response::TOPIC_NOT_EXIST,
            ProduceError::InternalTopic { .. } => response::NO_PERMISSION,
            ProduceError::Overloaded { .. } => response::SYSTEM_BUSY,
            ProduceError::NotLeader => response::NOT_LEADER_FOR_QUEUE,
            ProduceError::DiskFull { .. }
            | ProduceError::NotEnoughReplicas { .. }
            | ProduceError::NotEnoughReplicasAfterAppend
            | ProduceError::Stopped => response::SERVICE_NOT_AVAILABLE,
            ProduceError::TooLarge { .. }
            | ProduceError::Invalid { .. }
            | ProduceError::Timestamp { .. }
            | ProduceError::KeyMissing { .. } => response::MESSAGE_ILLEGAL,
            _ => response::SYSTEM_ERROR,
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<FetchError> for Refusal {
    fn from(error: FetchError) -> Refusal {
        let code = match &error {
            FetchError::UnknownPartition => response::TOPIC_NOT_EXIST,
            FetchError::NotLeader => response::NOT_LEADER_FOR_QUEUE,
            _ => response::SYSTEM_ERROR,
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<LookupError> for Refusal {
    fn from(error: LookupError) -> Refusal {
        let code = match &error {
            LookupError::UnknownPartition => response::TOPIC_NOT_EXIST,
            LookupError::NotLeader => response::NOT_LEADER_FOR_QUEUE,
            _ => response::SYSTEM_ERROR,
        };
        Refusal::new(code, error.to_string())
    }
}
