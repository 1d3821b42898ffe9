//! Why a message is not given, or what was said of one does not count.

use super::CONSUMED_TOPICS;
use crate::remoting::Refusal;
use duolog_core::share::ShareError;
use duolog_wire::remoting::code::response;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeliveryError {
    #[error("the receipt handle is not that of the last delivery")]
    StaleHandle,
    #[error("the group begins anew in the queue")]
    BegunAnew,
    #[error("no topic {0}")]
    UnknownTopic(String),
    #[error("{CONSUMED_TOPICS} topics are consumed already")]
    TooManyTopics,
    /// Reading or storing is refused.
    #[error("{}", .0.remark)]
    Refused(Refusal),
}

impl DeliveryError {
    /// Another node leads the queue, or the group goes on somewhere else in it: there is nothing here now.
    pub(super) fn is_nothing_here(&self) -> bool {
        let elsewhere = |code| matches!(code, response::SERVICE_NOT_AVAILABLE | response::NOT_LEADER_FOR_QUEUE);
        match self {
            DeliveryError::BegunAnew => true,
            DeliveryError::Refused(refusal) => elsewhere(refusal.code),
            DeliveryError::StaleHandle | DeliveryError::UnknownTopic(_) | DeliveryError::TooManyTopics => false,
        }
    }
}

impl From<Refusal> for DeliveryError {
    fn from(refusal: Refusal) -> DeliveryError {
        DeliveryError::Refused(refusal)
    }
}

impl From<ShareError> for DeliveryError {
    fn from(error: ShareError) -> DeliveryError {
        let refused = |code| DeliveryError::Refused(Refusal::new(code, error.to_string()));
        match &error {
            ShareError::InvalidRecordState => DeliveryError::StaleHandle,
            ShareError::GroupIdNotFound | ShareError::FencedStateEpoch => DeliveryError::BegunAnew,
            ShareError::NotLeader | ShareError::FencedLeaderEpoch => Refusal::not_here().into(),
            ShareError::UnknownPartition => refused(response::TOPIC_NOT_EXIST),
            ShareError::Loading | ShareError::Unavailable(_) => refused(response::SYSTEM_BUSY),
            ShareError::InvalidRequest | ShareError::Storage(_) => refused(response::SYSTEM_ERROR),
        }
    }
}
