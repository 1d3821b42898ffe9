//! Why a request is not done, as gRPC clients are told: a code in the answer's body. The gRPC status itself is OK.

use crate::deliveries::DeliveryError;
use crate::message::MessageError;
use crate::remoting::Refusal;
use duolog_core::broker::{FetchError, LookupError, ProduceError};
use duolog_core::config::ConfigError;
use duolog_core::filter::FilterError;
use duolog_core::group::GroupError;
use duolog_core::metadata::NameProblem;
use duolog_rocketmq_proto::{Code, Status};
use duolog_wire::remoting::body_compression::BodyError;
use duolog_wire::remoting::code::response;

/// Why a request, or a part of it, is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) code: Code,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Refused {
        Refused { code, message: message.into() }
    }

    /// A topic name that cannot be one.
    pub(super) fn topic(name: &str, problem: NameProblem) -> Refused {
        Refused::new(Code::IllegalTopic, format!("topic {name:?}: {problem}"))
    }

    pub(super) fn unknown_topic(name: &str) -> Refused {
        Refused::new(Code::TopicNotFound, format!("no topic {name}"))
    }

    pub(super) fn status(self) -> Status {
        Status { code: self.code.into(), message: self.message }
    }
}

pub(super) fn ok() -> Status {
    Status { code: Code::Ok.into(), message: "OK".to_owned() }
}

/// The status of a whole request from those of its parts: theirs if they agree.
pub(super) fn of_all<'a>(parts: impl Iterator<Item = &'a Status>) -> Status {
    let mut parts = parts.peekable();
    let Some(first) = parts.peek().map(|first| (*first).clone()) else { return ok() };
    match parts.all(|part| part.code == first.code) {
        true => first,
        false => Status { code: Code::MultipleResults.into(), message: "the results differ".to_owned() },
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        let code = match refusal.code {
            response::TOPIC_NOT_EXIST => Code::TopicNotFound,
            response::NO_PERMISSION => Code::Forbidden,
            response::MESSAGE_ILLEGAL | response::INVALID_PARAMETER | response::ILLEGAL_OPERATION => Code::BadRequest,
            response::SUBSCRIPTION_PARSE_FAILED => Code::IllegalFilterExpression,
            response::SYSTEM_BUSY => Code::TooManyRequests,
            response::SERVICE_NOT_AVAILABLE | response::NOT_LEADER_FOR_QUEUE => Code::HaNotAvailable,
            _ => Code::InternalServerError,
        };
        Refused::new(code, refusal.remark)
    }
}

impl From<DeliveryError> for Refused {
    fn from(error: DeliveryError) -> Refused {
        let code = match error {
            DeliveryError::StaleHandle | DeliveryError::BegunAnew => Code::InvalidReceiptHandle,
            DeliveryError::UnknownTopic(_) => Code::TopicNotFound,
            DeliveryError::TooManyTopics => Code::TooManyRequests,
            DeliveryError::Refused(refusal) => return refusal.into(),
        };
        Refused::new(code, error.to_string())
    }
}

impl From<ProduceError> for Refused {
    fn from(error: ProduceError) -> Refused {
        let code = match &error {
            ProduceError::TooLarge { .. } => Code::MessageBodyTooLarge,
            _ => return Refusal::from(error).into(),
        };
        Refused::new(code, error.to_string())
    }
}

impl From<FetchError> for Refused {
    fn from(error: FetchError) -> Refused {
        Refusal::from(error).into()
    }
}

impl From<LookupError> for Refused {
    fn from(error: LookupError) -> Refused {
        Refusal::from(error).into()
    }
}

impl From<MessageError> for Refused {
    fn from(error: MessageError) -> Refused {
        let code = match &error {
            MessageError::Properties { .. } => Code::MessagePropertiesTooLarge,
            MessageError::Body(BodyError::TooLarge { .. }) => Code::MessageBodyTooLarge,
            MessageError::Body(_) => Code::MessageCorrupted,
            MessageError::Batch(_) => Code::PayloadTooLarge,
        };
        Refused::new(code, error.to_string())
    }
}

impl From<GroupError> for Refused {
    fn from(error: GroupError) -> Refused {
        Refusal::from(error).into()
    }
}

impl From<FilterError> for Refused {
    fn from(error: FilterError) -> Refused {
        Refused::new(Code::IllegalFilterExpression, error.to_string())
    }
}

impl From<ConfigError> for Refused {
    fn from(error: ConfigError) -> Refused {
        Refused::new(Code::InternalServerError, error.to_string())
    }
}
