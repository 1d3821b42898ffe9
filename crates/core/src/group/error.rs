//! Why a group does not do what was asked.

use crate::coordinator::Unavailable;

/// One error for the whole protocol: members see the same few conditions whatever they ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error("group id is empty")]
    InvalidGroupId,
    #[error("session timeout of {session_timeout_ms} ms is outside {min_ms}..={max_ms}")]
    InvalidSessionTimeout { session_timeout_ms: i32, min_ms: i32, max_ms: i32 },
    #[error("a member must join again with the id given to it")]
    MemberIdRequired,
    #[error("unknown member")]
    UnknownMember,
    #[error("another member took over the instance id")]
    FencedInstance,
    #[error("generation {asked} is not the present one, {current}")]
    IllegalGeneration { asked: i32, current: i32 },
    #[error("member epoch {asked} is not the present one, {current}")]
    FencedMemberEpoch { asked: i32, current: i32 },
    #[error("the group's members share no such protocol")]
    InconsistentProtocol,
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    #[error("the group has {max} members already")]
    GroupFull { max: usize },
    #[error("group does not exist")]
    GroupNotFound,
    #[error("the group has members")]
    NonEmptyGroup,
    #[error("a member of the group consumes the topic")]
    SubscribedToTopic,
    #[error("metadata of {bytes} bytes is larger than {max}")]
    MetadataTooLarge { bytes: usize, max: usize },
    #[error("the group's record of {bytes} bytes is larger than {max}")]
    RecordTooLarge { bytes: usize, max: usize },
    #[error("the request is malformed: {problem}")]
    InvalidRequest { problem: &'static str },
    #[error("what the group has a state of cannot be changed now")]
    StatesUnavailable,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
