//! Core errors as Kafka's codes: the only place where the two meet. One function a core error.

use duolog_core::broker::{DeleteRecordsError, FetchError, LookupError, ProduceError};
use duolog_core::config::ConfigError;
use duolog_core::coordinator;
use duolog_core::group::GroupError;
use duolog_core::metadata::{
    AlterConfigError, ChangeVotersError, CreatePartitionsError, CreateTopicError, DeleteTopicError, ElectLeaderError,
    ReassignError, Unavailable, UnregisterError,
};
use duolog_core::share::ShareError;
use duolog_wire::kafka::ErrorCode;

pub(crate) fn produce(error: &ProduceError) -> ErrorCode {
    match error {
        ProduceError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        ProduceError::InternalTopic { .. } => ErrorCode::InvalidTopicException,
        ProduceError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        ProduceError::Corrupt { .. } => ErrorCode::CorruptMessage,
        ProduceError::OldFormat { .. } => ErrorCode::UnsupportedForMessageFormat,
        ProduceError::Empty | ProduceError::Invalid { .. } | ProduceError::KeyMissing { .. } => ErrorCode::InvalidRecord,
        ProduceError::Timestamp { .. } => ErrorCode::InvalidTimestamp,
        ProduceError::Transactional => ErrorCode::InvalidTxnState,
        ProduceError::Compression => ErrorCode::UnknownServerError,
        ProduceError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        ProduceError::FencedProducer { .. } => ErrorCode::InvalidProducerEpoch,
        ProduceError::FencedLeader { .. } | ProduceError::NotLeader => ErrorCode::NotLeaderOrFollower,
        ProduceError::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
        ProduceError::NotEnoughReplicasAfterAppend => ErrorCode::NotEnoughReplicasAfterAppend,
        // Kafka's producers retry this one, and so go on once there is space or the queue has drained.
        ProduceError::DiskFull { .. }
        | ProduceError::Overloaded { .. }
        | ProduceError::Timers(_)
        | ProduceError::Quarantined(_)
        | ProduceError::Stopped => ErrorCode::KafkaStorageError,
    }
}

pub(crate) fn fetch(error: &FetchError) -> ErrorCode {
    match error {
        FetchError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        FetchError::NotLeader => ErrorCode::NotLeaderOrFollower,
        FetchError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        FetchError::Quarantined(_) | FetchError::Io(_) => ErrorCode::KafkaStorageError,
    }
}

pub(crate) fn lookup(error: &LookupError) -> ErrorCode {
    match error {
        LookupError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        LookupError::NotLeader => ErrorCode::NotLeaderOrFollower,
        LookupError::Unsettled => ErrorCode::OffsetNotAvailable,
        LookupError::Undecodable { .. } => ErrorCode::CorruptMessage,
        LookupError::Quarantined(_) | LookupError::Io(_) => ErrorCode::KafkaStorageError,
    }
}

pub(crate) fn delete_records(error: &DeleteRecordsError) -> ErrorCode {
    match error {
        DeleteRecordsError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        DeleteRecordsError::NotLeader => ErrorCode::NotLeaderOrFollower,
        DeleteRecordsError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        DeleteRecordsError::PolicyForbids => ErrorCode::PolicyViolation,
        DeleteRecordsError::Stopped => ErrorCode::KafkaStorageError,
    }
}

pub(crate) fn unavailable(error: &Unavailable) -> ErrorCode {
    match error {
        Unavailable::Stopped | Unavailable::DiskFull { .. } => ErrorCode::KafkaStorageError,
        Unavailable::NotController => ErrorCode::NotController,
        Unavailable::TimedOut => ErrorCode::RequestTimedOut,
    }
}

pub(crate) fn create_topic(error: &CreateTopicError) -> ErrorCode {
    match error {
        CreateTopicError::InvalidName { .. } | CreateTopicError::Collision { .. } => ErrorCode::InvalidTopicException,
        CreateTopicError::Exists { .. } => ErrorCode::TopicAlreadyExists,
        CreateTopicError::Repeated { .. } | CreateTopicError::AssignmentAndCount => ErrorCode::InvalidRequest,
        CreateTopicError::InvalidPartitions { .. } => ErrorCode::InvalidPartitions,
        CreateTopicError::TooManyPartitions { .. } => ErrorCode::PolicyViolation,
        CreateTopicError::InvalidReplicationFactor { .. } | CreateTopicError::TooFewNodes { .. } => {
            ErrorCode::InvalidReplicationFactor
        }
        CreateTopicError::Assignment(_) => ErrorCode::InvalidReplicaAssignment,
        CreateTopicError::Config(_) => ErrorCode::InvalidConfig,
        CreateTopicError::Unavailable(error) => unavailable(error),
    }
}

pub(crate) fn delete_topic(error: &DeleteTopicError) -> ErrorCode {
    match error {
        DeleteTopicError::UnknownName { .. } => ErrorCode::UnknownTopicOrPartition,
        DeleteTopicError::UnknownId { .. } => ErrorCode::UnknownTopicId,
        DeleteTopicError::Disabled => ErrorCode::TopicDeletionDisabled,
        DeleteTopicError::Internal { .. } | DeleteTopicError::Repeated => ErrorCode::InvalidRequest,
        DeleteTopicError::Unavailable(error) => unavailable(error),
    }
}

pub(crate) fn create_partitions(error: &CreatePartitionsError) -> ErrorCode {
    match error {
        CreatePartitionsError::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
        CreatePartitionsError::Repeated { .. } | CreatePartitionsError::Internal { .. } => ErrorCode::InvalidRequest,
        CreatePartitionsError::NoIncrease { .. } => ErrorCode::InvalidPartitions,
        CreatePartitionsError::TooManyPartitions { .. } => ErrorCode::PolicyViolation,
        CreatePartitionsError::Assignment(_) => ErrorCode::InvalidReplicaAssignment,
        CreatePartitionsError::Unavailable(error) => unavailable(error),
    }
}

pub(crate) fn elect_leader(error: &ElectLeaderError) -> ErrorCode {
    match error {
        ElectLeaderError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        ElectLeaderError::NotNeeded => ErrorCode::ElectionNotNeeded,
        ElectLeaderError::PreferredNotAvailable { .. } => ErrorCode::PreferredLeaderNotAvailable,
        ElectLeaderError::NobodyAvailable => ErrorCode::EligibleLeadersNotAvailable,
        ElectLeaderError::Unavailable(error) => unavailable(error),
    }
}

pub(crate) fn reassign(error: &ReassignError) -> ErrorCode {
    match error {
        ReassignError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        ReassignError::Repeated => ErrorCode::InvalidRequest,
        ReassignError::NotInProgress => ErrorCode::NoReassignmentInProgress,
        ReassignError::NoReplicas | ReassignError::RepeatedNode { .. } | ReassignError::UnknownNode { .. } => {
            ErrorCode::InvalidReplicaAssignment
        }
        ReassignError::OtherFactor { .. } => ErrorCode::InvalidReplicationFactor,
        // It passes once others are in sync: clients may try again.
        ReassignError::TooFewInSync { .. } => ErrorCode::NotEnoughReplicas,
        ReassignError::Unavailable(error) => unavailable(error),
    }
}

pub(crate) fn unregister(error: &UnregisterError) -> ErrorCode {
    match error {
        UnregisterError::Unregistered { .. } => ErrorCode::BrokerIdNotRegistered,
        UnregisterError::Live { .. } | UnregisterError::HoldsReplicas { .. } => ErrorCode::InvalidRequest,
        UnregisterError::Unavailable(error) => unavailable(error),
    }
}

pub(crate) fn change_voters(error: &ChangeVotersError) -> ErrorCode {
    match error {
        ChangeVotersError::UnknownNode { .. } => ErrorCode::VoterNotFound,
        ChangeVotersError::LastVoter { .. } | ChangeVotersError::Alone => ErrorCode::InvalidRequest,
        ChangeVotersError::Unavailable(error) => unavailable(error),
    }
}

pub(crate) fn alter_config(error: &AlterConfigError) -> ErrorCode {
    match error {
        AlterConfigError::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
        AlterConfigError::InvalidName { .. } => ErrorCode::InvalidTopicException,
        AlterConfigError::OtherNode { .. } | AlterConfigError::Repeated | AlterConfigError::EmptyGroup => {
            ErrorCode::InvalidRequest
        }
        AlterConfigError::TooLarge { .. } => ErrorCode::PolicyViolation,
        AlterConfigError::Config(ConfigError::NoValue { .. } | ConfigError::Repeated { .. }) => ErrorCode::InvalidRequest,
        AlterConfigError::Config(_) => ErrorCode::InvalidConfig,
        AlterConfigError::Unavailable(error) => unavailable(error),
    }
}

pub(crate) fn group(error: &GroupError) -> ErrorCode {
    match error {
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::InvalidSessionTimeout { .. } => ErrorCode::InvalidSessionTimeout,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::UnknownMember => ErrorCode::UnknownMemberId,
        GroupError::FencedInstance => ErrorCode::FencedInstanceId,
        GroupError::IllegalGeneration { .. } => ErrorCode::IllegalGeneration,
        GroupError::FencedMemberEpoch { .. } => ErrorCode::FencedMemberEpoch,
        GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::GroupFull { .. } => ErrorCode::GroupMaxSizeReached,
        GroupError::GroupNotFound => ErrorCode::GroupIdNotFound,
        GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        GroupError::SubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        GroupError::MetadataTooLarge { .. } => ErrorCode::OffsetMetadataTooLarge,
        GroupError::RecordTooLarge { .. } => ErrorCode::UnknownServerError,
        GroupError::InvalidRequest { .. } => ErrorCode::InvalidRequest,
        GroupError::Unavailable(coordinator::Unavailable::NotCoordinator) => ErrorCode::NotCoordinator,
        GroupError::Unavailable(coordinator::Unavailable::Loading) => ErrorCode::CoordinatorLoadInProgress,
        GroupError::StatesUnavailable
        | GroupError::Unavailable(
            coordinator::Unavailable::Overloaded
            | coordinator::Unavailable::Failed
            | coordinator::Unavailable::Stopped
            | coordinator::Unavailable::Log(_),
        ) => ErrorCode::CoordinatorNotAvailable,
    }
}

pub(crate) fn share(error: &ShareError) -> ErrorCode {
    match error {
        // What was never initialized is, to a member, no partition of its group.
        ShareError::UnknownPartition | ShareError::GroupIdNotFound => ErrorCode::UnknownTopicOrPartition,
        ShareError::NotLeader | ShareError::FencedLeaderEpoch => ErrorCode::NotLeaderOrFollower,
        ShareError::FencedStateEpoch => ErrorCode::FencedStateEpoch,
        ShareError::InvalidRecordState => ErrorCode::InvalidRecordState,
        ShareError::InvalidRequest => ErrorCode::InvalidRequest,
        ShareError::Loading => ErrorCode::CoordinatorLoadInProgress,
        ShareError::Unavailable(_) => ErrorCode::CoordinatorNotAvailable,
        ShareError::Storage(_) => ErrorCode::KafkaStorageError,
    }
}

/// As [`group`], for what may be missing altogether.
pub(crate) fn group_outcome(outcome: &Result<(), GroupError>) -> ErrorCode {
    outcome.as_ref().map_or_else(group, |()| ErrorCode::None)
}

/// As [`group`], for OffsetFetch: before 3.9, consumers retry it on fewer codes.
pub(crate) fn group_fetch(error: &GroupError) -> ErrorCode {
    match group(error) {
        ErrorCode::CoordinatorNotAvailable => ErrorCode::NotCoordinator,
        code => code,
    }
}
