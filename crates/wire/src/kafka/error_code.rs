//! Kafka's error codes: the number and name the protocol gives, whether a client retries, and what it means.
//!
//! A closed set: a number that Kafka 4.4 does not define is no [`ErrorCode`]. The front end maps the errors of the
//! rest of the server to these, and nothing further inside knows them.

/// An error as the protocol names it. `None` is success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum ErrorCode {
    UnknownServerError = -1,
    #[default]
    None = 0,
    OffsetOutOfRange = 1,
    CorruptMessage = 2,
    UnknownTopicOrPartition = 3,
    InvalidFetchSize = 4,
    LeaderNotAvailable = 5,
    NotLeaderOrFollower = 6,
    RequestTimedOut = 7,
    BrokerNotAvailable = 8,
    ReplicaNotAvailable = 9,
    MessageTooLarge = 10,
    StaleControllerEpoch = 11,
    OffsetMetadataTooLarge = 12,
    NetworkException = 13,
    CoordinatorLoadInProgress = 14,
    CoordinatorNotAvailable = 15,
    NotCoordinator = 16,
    InvalidTopicException = 17,
    RecordListTooLarge = 18,
    NotEnoughReplicas = 19,
    NotEnoughReplicasAfterAppend = 20,
    InvalidRequiredAcks = 21,
    IllegalGeneration = 22,
    InconsistentGroupProtocol = 23,
    InvalidGroupId = 24,
    UnknownMemberId = 25,
    InvalidSessionTimeout = 26,
    RebalanceInProgress = 27,
    InvalidCommitOffsetSize = 28,
    TopicAuthorizationFailed = 29,
    GroupAuthorizationFailed = 30,
    ClusterAuthorizationFailed = 31,
    InvalidTimestamp = 32,
    UnsupportedSaslMechanism = 33,
    IllegalSaslState = 34,
    UnsupportedVersion = 35,
    TopicAlreadyExists = 36,
    InvalidPartitions = 37,
    InvalidReplicationFactor = 38,
    InvalidReplicaAssignment = 39,
    InvalidConfig = 40,
    NotController = 41,
    InvalidRequest = 42,
    UnsupportedForMessageFormat = 43,
    PolicyViolation = 44,
    OutOfOrderSequenceNumber = 45,
    DuplicateSequenceNumber = 46,
    InvalidProducerEpoch = 47,
    InvalidTxnState = 48,
    InvalidProducerIdMapping = 49,
    InvalidTransactionTimeout = 50,
    ConcurrentTransactions = 51,
    TransactionCoordinatorFenced = 52,
    TransactionalIdAuthorizationFailed = 53,
    SecurityDisabled = 54,
    OperationNotAttempted = 55,
    KafkaStorageError = 56,
    LogDirNotFound = 57,
    SaslAuthenticationFailed = 58,
    UnknownProducerId = 59,
    ReassignmentInProgress = 60,
    DelegationTokenAuthDisabled = 61,
    DelegationTokenNotFound = 62,
    DelegationTokenOwnerMismatch = 63,
    DelegationTokenRequestNotAllowed = 64,
    DelegationTokenAuthorizationFailed = 65,
    DelegationTokenExpired = 66,
    InvalidPrincipalType = 67,
    NonEmptyGroup = 68,
    GroupIdNotFound = 69,
    FetchSessionIdNotFound = 70,
    InvalidFetchSessionEpoch = 71,
    ListenerNotFound = 72,
    TopicDeletionDisabled = 73,
    FencedLeaderEpoch = 74,
    UnknownLeaderEpoch = 75,
    UnsupportedCompressionType = 76,
    StaleBrokerEpoch = 77,
    OffsetNotAvailable = 78,
    MemberIdRequired = 79,
    PreferredLeaderNotAvailable = 80,
    GroupMaxSizeReached = 81,
    FencedInstanceId = 82,
    EligibleLeadersNotAvailable = 83,
    ElectionNotNeeded = 84,
    NoReassignmentInProgress = 85,
    GroupSubscribedToTopic = 86,
    InvalidRecord = 87,
    UnstableOffsetCommit = 88,
    ThrottlingQuotaExceeded = 89,
    ProducerFenced = 90,
    ResourceNotFound = 91,
    DuplicateResource = 92,
    UnacceptableCredential = 93,
    InconsistentVoterSet = 94,
    InvalidUpdateVersion = 95,
    FeatureUpdateFailed = 96,
    PrincipalDeserializationFailure = 97,
    SnapshotNotFound = 98,
    PositionOutOfRange = 99,
    UnknownTopicId = 100,
    DuplicateBrokerRegistration = 101,
    BrokerIdNotRegistered = 102,
    InconsistentTopicId = 103,
    InconsistentClusterId = 104,
    TransactionalIdNotFound = 105,
    FetchSessionTopicIdError = 106,
    IneligibleReplica = 107,
    NewLeaderElected = 108,
    OffsetMovedToTieredStorage = 109,
    FencedMemberEpoch = 110,
    UnreleasedInstanceId = 111,
    UnsupportedAssignor = 112,
    StaleMemberEpoch = 113,
    MismatchedEndpointType = 114,
    UnsupportedEndpointType = 115,
    UnknownControllerId = 116,
    UnknownSubscriptionId = 117,
    TelemetryTooLarge = 118,
    InvalidRegistration = 119,
    TransactionAbortable = 120,
    InvalidRecordState = 121,
    ShareSessionNotFound = 122,
    InvalidShareSessionEpoch = 123,
    FencedStateEpoch = 124,
    InvalidVoterKey = 125,
    DuplicateVoter = 126,
    VoterNotFound = 127,
    InvalidRegularExpression = 128,
    RebootstrapRequired = 129,
    StreamsInvalidTopology = 130,
    StreamsInvalidTopologyEpoch = 131,
    StreamsTopologyFenced = 132,
    ShareSessionLimitReached = 133,
    GroupDeletionFailed = 134,
    StreamsTopologyDescriptionUpdateFailed = 135,
    ControllerIdNotRegistered = 136,
}

/// A line of the table.
struct Entry {
    error: ErrorCode,
    name: &'static str,
    retriable: bool,
    message: &'static str,
}

impl ErrorCode {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        self as i16
    }

    /// The error with this number.
    pub fn from_code(code: i16) -> Option<ErrorCode> {
        let at = usize::try_from(i32::from(code) - i32::from(FIRST_CODE)).ok()?;
        TABLE.get(at).map(|entry| entry.error)
    }

    /// Kafka's name, in capitals.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// Whether the same request may succeed later without a change.
    pub fn is_retriable(self) -> bool {
        self.entry().retriable
    }

    /// What it means, in a few words.
    pub fn message(self) -> &'static str {
        self.entry().message
    }

    pub fn is_error(self) -> bool {
        self != ErrorCode::None
    }

    fn entry(self) -> &'static Entry {
        &TABLE[(self.code() - FIRST_CODE) as usize]
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.code(), self.message())
    }
}

const fn entry(error: ErrorCode, name: &'static str, retriable: bool, message: &'static str) -> Entry {
    Entry { error, name, retriable, message }
}

/// The code of the table's first line; the others follow without a gap.
const FIRST_CODE: i16 = -1;

const TABLE: &[Entry] = &[
    entry(ErrorCode::UnknownServerError, "UNKNOWN_SERVER_ERROR", false, "the server failed in a way it did not foresee"),
    entry(ErrorCode::None, "NONE", false, "no error"),
    entry(ErrorCode::OffsetOutOfRange, "OFFSET_OUT_OF_RANGE", false, "the partition does not hold this offset"),
    entry(ErrorCode::CorruptMessage, "CORRUPT_MESSAGE", true, "the checksum, size or key of a record is wrong"),
    entry(ErrorCode::UnknownTopicOrPartition, "UNKNOWN_TOPIC_OR_PARTITION", true, "no such topic or partition here"),
    entry(ErrorCode::InvalidFetchSize, "INVALID_FETCH_SIZE", false, "the fetch size makes no sense"),
    entry(ErrorCode::LeaderNotAvailable, "LEADER_NOT_AVAILABLE", true, "the partition has no leader at the moment"),
    entry(ErrorCode::NotLeaderOrFollower, "NOT_LEADER_OR_FOLLOWER", true, "this node does not lead or follow the partition"),
    entry(ErrorCode::RequestTimedOut, "REQUEST_TIMED_OUT", true, "the request ran out of time"),
    entry(ErrorCode::BrokerNotAvailable, "BROKER_NOT_AVAILABLE", false, "the broker is down"),
    entry(ErrorCode::ReplicaNotAvailable, "REPLICA_NOT_AVAILABLE", true, "the replica is not available here"),
    entry(ErrorCode::MessageTooLarge, "MESSAGE_TOO_LARGE", false, "a batch exceeds the largest accepted size"),
    entry(ErrorCode::StaleControllerEpoch, "STALE_CONTROLLER_EPOCH", false, "another controller has taken over"),
    entry(
        ErrorCode::OffsetMetadataTooLarge,
        "OFFSET_METADATA_TOO_LARGE",
        false,
        "the metadata of a committed offset is too long",
    ),
    entry(ErrorCode::NetworkException, "NETWORK_EXCEPTION", true, "the connection broke before the answer came"),
    entry(
        ErrorCode::CoordinatorLoadInProgress,
        "COORDINATOR_LOAD_IN_PROGRESS",
        true,
        "the coordinator is still loading its state",
    ),
    entry(ErrorCode::CoordinatorNotAvailable, "COORDINATOR_NOT_AVAILABLE", true, "there is no coordinator at the moment"),
    entry(ErrorCode::NotCoordinator, "NOT_COORDINATOR", true, "this node is not the coordinator asked for"),
    entry(
        ErrorCode::InvalidTopicException,
        "INVALID_TOPIC_EXCEPTION",
        false,
        "the topic's name is not valid or may not be used so",
    ),
    entry(ErrorCode::RecordListTooLarge, "RECORD_LIST_TOO_LARGE", false, "the batches together exceed a segment's size"),
    entry(ErrorCode::NotEnoughReplicas, "NOT_ENOUGH_REPLICAS", true, "too few replicas are in sync to accept the write"),
    entry(
        ErrorCode::NotEnoughReplicasAfterAppend,
        "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
        true,
        "written, but on too few replicas in sync",
    ),
    entry(ErrorCode::InvalidRequiredAcks, "INVALID_REQUIRED_ACKS", false, "acks must be -1, 0 or 1"),
    entry(ErrorCode::IllegalGeneration, "ILLEGAL_GENERATION", false, "the group is in another generation"),
    entry(
        ErrorCode::InconsistentGroupProtocol,
        "INCONSISTENT_GROUP_PROTOCOL",
        false,
        "the member shares no protocol with its group",
    ),
    entry(ErrorCode::InvalidGroupId, "INVALID_GROUP_ID", false, "the group's id is not valid"),
    entry(ErrorCode::UnknownMemberId, "UNKNOWN_MEMBER_ID", false, "the group has no such member"),
    entry(
        ErrorCode::InvalidSessionTimeout,
        "INVALID_SESSION_TIMEOUT",
        false,
        "the session timeout is outside of the permitted range",
    ),
    entry(ErrorCode::RebalanceInProgress, "REBALANCE_IN_PROGRESS", false, "the group is rebalancing; join again"),
    entry(
        ErrorCode::InvalidCommitOffsetSize,
        "INVALID_COMMIT_OFFSET_SIZE",
        false,
        "the committed offset's data has the wrong size",
    ),
    entry(ErrorCode::TopicAuthorizationFailed, "TOPIC_AUTHORIZATION_FAILED", false, "not permitted on this topic"),
    entry(ErrorCode::GroupAuthorizationFailed, "GROUP_AUTHORIZATION_FAILED", false, "not permitted on this group"),
    entry(ErrorCode::ClusterAuthorizationFailed, "CLUSTER_AUTHORIZATION_FAILED", false, "not permitted on this cluster"),
    entry(ErrorCode::InvalidTimestamp, "INVALID_TIMESTAMP", false, "a record's timestamp is too far off"),
    entry(ErrorCode::UnsupportedSaslMechanism, "UNSUPPORTED_SASL_MECHANISM", false, "the SASL mechanism is not offered"),
    entry(ErrorCode::IllegalSaslState, "ILLEGAL_SASL_STATE", false, "the request does not fit the state of authentication"),
    entry(ErrorCode::UnsupportedVersion, "UNSUPPORTED_VERSION", false, "this version of the request is not supported"),
    entry(ErrorCode::TopicAlreadyExists, "TOPIC_ALREADY_EXISTS", false, "a topic of this name exists"),
    entry(ErrorCode::InvalidPartitions, "INVALID_PARTITIONS", false, "the number of partitions is not valid"),
    entry(
        ErrorCode::InvalidReplicationFactor,
        "INVALID_REPLICATION_FACTOR",
        false,
        "the replication factor is below 1 or above the number of brokers",
    ),
    entry(ErrorCode::InvalidReplicaAssignment, "INVALID_REPLICA_ASSIGNMENT", false, "the assignment of replicas is not valid"),
    entry(ErrorCode::InvalidConfig, "INVALID_CONFIG", false, "a configuration key or value is not valid"),
    entry(ErrorCode::NotController, "NOT_CONTROLLER", true, "this node is not the controller"),
    entry(ErrorCode::InvalidRequest, "INVALID_REQUEST", false, "the request is malformed or contradicts itself"),
    entry(
        ErrorCode::UnsupportedForMessageFormat,
        "UNSUPPORTED_FOR_MESSAGE_FORMAT",
        false,
        "the stored message format does not allow the request",
    ),
    entry(ErrorCode::PolicyViolation, "POLICY_VIOLATION", false, "a configured policy forbids the request"),
    entry(
        ErrorCode::OutOfOrderSequenceNumber,
        "OUT_OF_ORDER_SEQUENCE_NUMBER",
        false,
        "a batch is missing before this one of the producer",
    ),
    entry(ErrorCode::DuplicateSequenceNumber, "DUPLICATE_SEQUENCE_NUMBER", false, "the producer sent this batch before"),
    entry(ErrorCode::InvalidProducerEpoch, "INVALID_PRODUCER_EPOCH", false, "the producer's epoch is too old"),
    entry(ErrorCode::InvalidTxnState, "INVALID_TXN_STATE", false, "the transaction's state does not allow the operation"),
    entry(
        ErrorCode::InvalidProducerIdMapping,
        "INVALID_PRODUCER_ID_MAPPING",
        false,
        "the producer id does not belong to the transactional id",
    ),
    entry(
        ErrorCode::InvalidTransactionTimeout,
        "INVALID_TRANSACTION_TIMEOUT",
        false,
        "the transaction timeout exceeds the permitted maximum",
    ),
    entry(
        ErrorCode::ConcurrentTransactions,
        "CONCURRENT_TRANSACTIONS",
        true,
        "another operation on the transaction is under way",
    ),
    entry(
        ErrorCode::TransactionCoordinatorFenced,
        "TRANSACTION_COORDINATOR_FENCED",
        false,
        "the sender no longer coordinates the transaction",
    ),
    entry(
        ErrorCode::TransactionalIdAuthorizationFailed,
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        false,
        "not permitted on this transactional id",
    ),
    entry(ErrorCode::SecurityDisabled, "SECURITY_DISABLED", false, "security is switched off"),
    entry(
        ErrorCode::OperationNotAttempted,
        "OPERATION_NOT_ATTEMPTED",
        false,
        "the operation was not tried because another one failed",
    ),
    entry(ErrorCode::KafkaStorageError, "KAFKA_STORAGE_ERROR", true, "the disk that holds the log failed"),
    entry(ErrorCode::LogDirNotFound, "LOG_DIR_NOT_FOUND", false, "the broker has no such log directory"),
    entry(ErrorCode::SaslAuthenticationFailed, "SASL_AUTHENTICATION_FAILED", false, "authentication failed"),
    entry(ErrorCode::UnknownProducerId, "UNKNOWN_PRODUCER_ID", false, "nothing is known of this producer id"),
    entry(ErrorCode::ReassignmentInProgress, "REASSIGNMENT_IN_PROGRESS", false, "the partition is being reassigned"),
    entry(ErrorCode::DelegationTokenAuthDisabled, "DELEGATION_TOKEN_AUTH_DISABLED", false, "delegation tokens are switched off"),
    entry(ErrorCode::DelegationTokenNotFound, "DELEGATION_TOKEN_NOT_FOUND", false, "no such delegation token"),
    entry(
        ErrorCode::DelegationTokenOwnerMismatch,
        "DELEGATION_TOKEN_OWNER_MISMATCH",
        false,
        "the principal neither owns nor may renew the token",
    ),
    entry(
        ErrorCode::DelegationTokenRequestNotAllowed,
        "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
        false,
        "tokens cannot be asked for over this connection",
    ),
    entry(
        ErrorCode::DelegationTokenAuthorizationFailed,
        "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
        false,
        "not permitted on delegation tokens",
    ),
    entry(ErrorCode::DelegationTokenExpired, "DELEGATION_TOKEN_EXPIRED", false, "the delegation token has expired"),
    entry(ErrorCode::InvalidPrincipalType, "INVALID_PRINCIPAL_TYPE", false, "this type of principal is not supported"),
    entry(ErrorCode::NonEmptyGroup, "NON_EMPTY_GROUP", false, "the group still has members"),
    entry(ErrorCode::GroupIdNotFound, "GROUP_ID_NOT_FOUND", false, "no such group"),
    entry(ErrorCode::FetchSessionIdNotFound, "FETCH_SESSION_ID_NOT_FOUND", true, "no such fetch session"),
    entry(ErrorCode::InvalidFetchSessionEpoch, "INVALID_FETCH_SESSION_EPOCH", true, "the fetch session is at another epoch"),
    entry(ErrorCode::ListenerNotFound, "LISTENER_NOT_FOUND", true, "the leader lacks the listener that was asked"),
    entry(ErrorCode::TopicDeletionDisabled, "TOPIC_DELETION_DISABLED", false, "topics may not be deleted"),
    entry(ErrorCode::FencedLeaderEpoch, "FENCED_LEADER_EPOCH", true, "the request's leader epoch is older than the broker's"),
    entry(ErrorCode::UnknownLeaderEpoch, "UNKNOWN_LEADER_EPOCH", true, "the request's leader epoch is newer than the broker's"),
    entry(
        ErrorCode::UnsupportedCompressionType,
        "UNSUPPORTED_COMPRESSION_TYPE",
        false,
        "the client cannot read the partition's compression",
    ),
    entry(ErrorCode::StaleBrokerEpoch, "STALE_BROKER_EPOCH", false, "the broker has registered anew since"),
    entry(ErrorCode::OffsetNotAvailable, "OFFSET_NOT_AVAILABLE", true, "a new leader cannot vouch for its offsets yet"),
    entry(ErrorCode::MemberIdRequired, "MEMBER_ID_REQUIRED", false, "join again with the member id given here"),
    entry(
        ErrorCode::PreferredLeaderNotAvailable,
        "PREFERRED_LEADER_NOT_AVAILABLE",
        true,
        "the preferred leader is not available",
    ),
    entry(ErrorCode::GroupMaxSizeReached, "GROUP_MAX_SIZE_REACHED", false, "the group is full"),
    entry(ErrorCode::FencedInstanceId, "FENCED_INSTANCE_ID", false, "another member has taken over the instance id"),
    entry(ErrorCode::EligibleLeadersNotAvailable, "ELIGIBLE_LEADERS_NOT_AVAILABLE", true, "no replica may become leader"),
    entry(ErrorCode::ElectionNotNeeded, "ELECTION_NOT_NEEDED", true, "the leader is already the right one"),
    entry(ErrorCode::NoReassignmentInProgress, "NO_REASSIGNMENT_IN_PROGRESS", false, "the partition is not being reassigned"),
    entry(ErrorCode::GroupSubscribedToTopic, "GROUP_SUBSCRIBED_TO_TOPIC", false, "the group is subscribed to the topic"),
    entry(ErrorCode::InvalidRecord, "INVALID_RECORD", false, "a record was refused"),
    entry(ErrorCode::UnstableOffsetCommit, "UNSTABLE_OFFSET_COMMIT", true, "a transaction has yet to settle the offsets"),
    entry(ErrorCode::ThrottlingQuotaExceeded, "THROTTLING_QUOTA_EXCEEDED", true, "the quota is used up for now"),
    entry(ErrorCode::ProducerFenced, "PRODUCER_FENCED", false, "a newer producer uses the transactional id"),
    entry(ErrorCode::ResourceNotFound, "RESOURCE_NOT_FOUND", false, "no such resource"),
    entry(ErrorCode::DuplicateResource, "DUPLICATE_RESOURCE", false, "the request names a resource twice"),
    entry(ErrorCode::UnacceptableCredential, "UNACCEPTABLE_CREDENTIAL", false, "the credential does not meet the requirements"),
    entry(ErrorCode::InconsistentVoterSet, "INCONSISTENT_VOTER_SET", false, "the sender or receiver is not among the voters"),
    entry(ErrorCode::InvalidUpdateVersion, "INVALID_UPDATE_VERSION", false, "the feature level is not valid"),
    entry(ErrorCode::FeatureUpdateFailed, "FEATURE_UPDATE_FAILED", false, "the feature levels could not be changed"),
    entry(
        ErrorCode::PrincipalDeserializationFailure,
        "PRINCIPAL_DESERIALIZATION_FAILURE",
        false,
        "the forwarded principal cannot be read",
    ),
    entry(ErrorCode::SnapshotNotFound, "SNAPSHOT_NOT_FOUND", false, "no such snapshot"),
    entry(ErrorCode::PositionOutOfRange, "POSITION_OUT_OF_RANGE", false, "the position lies outside of the snapshot"),
    entry(ErrorCode::UnknownTopicId, "UNKNOWN_TOPIC_ID", true, "no topic with this id here"),
    entry(ErrorCode::DuplicateBrokerRegistration, "DUPLICATE_BROKER_REGISTRATION", false, "the broker id is in use"),
    entry(ErrorCode::BrokerIdNotRegistered, "BROKER_ID_NOT_REGISTERED", false, "no broker with this id is registered"),
    entry(ErrorCode::InconsistentTopicId, "INCONSISTENT_TOPIC_ID", true, "the log belongs to another topic id"),
    entry(ErrorCode::InconsistentClusterId, "INCONSISTENT_CLUSTER_ID", false, "this is another cluster"),
    entry(ErrorCode::TransactionalIdNotFound, "TRANSACTIONAL_ID_NOT_FOUND", false, "no such transactional id"),
    entry(
        ErrorCode::FetchSessionTopicIdError,
        "FETCH_SESSION_TOPIC_ID_ERROR",
        true,
        "the fetch session mixes topic ids and names",
    ),
    entry(ErrorCode::IneligibleReplica, "INELIGIBLE_REPLICA", false, "a replica may not join the in-sync set"),
    entry(ErrorCode::NewLeaderElected, "NEW_LEADER_ELECTED", false, "the change was made, and the leader is another one now"),
    entry(ErrorCode::OffsetMovedToTieredStorage, "OFFSET_MOVED_TO_TIERED_STORAGE", false, "the offset lies in tiered storage"),
    entry(
        ErrorCode::FencedMemberEpoch,
        "FENCED_MEMBER_EPOCH",
        false,
        "the member is fenced; it gives up its partitions and joins again",
    ),
    entry(ErrorCode::UnreleasedInstanceId, "UNRELEASED_INSTANCE_ID", false, "another member still holds the instance id"),
    entry(ErrorCode::UnsupportedAssignor, "UNSUPPORTED_ASSIGNOR", false, "the group does not support the assignor"),
    entry(ErrorCode::StaleMemberEpoch, "STALE_MEMBER_EPOCH", false, "the member's epoch is out of date; heartbeat, then retry"),
    entry(ErrorCode::MismatchedEndpointType, "MISMATCHED_ENDPOINT_TYPE", false, "the request went to the wrong kind of endpoint"),
    entry(ErrorCode::UnsupportedEndpointType, "UNSUPPORTED_ENDPOINT_TYPE", false, "this kind of endpoint is not supported"),
    entry(ErrorCode::UnknownControllerId, "UNKNOWN_CONTROLLER_ID", false, "no controller with this id"),
    entry(ErrorCode::UnknownSubscriptionId, "UNKNOWN_SUBSCRIPTION_ID", false, "the telemetry subscription is out of date"),
    entry(ErrorCode::TelemetryTooLarge, "TELEMETRY_TOO_LARGE", false, "the pushed telemetry is too large"),
    entry(ErrorCode::InvalidRegistration, "INVALID_REGISTRATION", false, "the broker's registration was refused"),
    entry(ErrorCode::TransactionAbortable, "TRANSACTION_ABORTABLE", false, "the transaction failed; abort it and go on"),
    entry(ErrorCode::InvalidRecordState, "INVALID_RECORD_STATE", false, "the record is not in a state that can be acknowledged"),
    entry(ErrorCode::ShareSessionNotFound, "SHARE_SESSION_NOT_FOUND", true, "no such share session"),
    entry(ErrorCode::InvalidShareSessionEpoch, "INVALID_SHARE_SESSION_EPOCH", true, "the share session is at another epoch"),
    entry(ErrorCode::FencedStateEpoch, "FENCED_STATE_EPOCH", false, "the share state is at another epoch"),
    entry(ErrorCode::InvalidVoterKey, "INVALID_VOTER_KEY", false, "the voter key is not that of the receiver"),
    entry(ErrorCode::DuplicateVoter, "DUPLICATE_VOTER", false, "the voter is in the set already"),
    entry(ErrorCode::VoterNotFound, "VOTER_NOT_FOUND", false, "the voter is not in the set"),
    entry(ErrorCode::InvalidRegularExpression, "INVALID_REGULAR_EXPRESSION", false, "the regular expression is not valid"),
    entry(
        ErrorCode::RebootstrapRequired,
        "REBOOTSTRAP_REQUIRED",
        false,
        "the client must start again from its bootstrap servers",
    ),
    entry(ErrorCode::StreamsInvalidTopology, "STREAMS_INVALID_TOPOLOGY", false, "the streams topology is not valid"),
    entry(
        ErrorCode::StreamsInvalidTopologyEpoch,
        "STREAMS_INVALID_TOPOLOGY_EPOCH",
        false,
        "the epoch of the streams topology is not valid",
    ),
    entry(ErrorCode::StreamsTopologyFenced, "STREAMS_TOPOLOGY_FENCED", false, "the streams topology is out of date"),
    entry(ErrorCode::ShareSessionLimitReached, "SHARE_SESSION_LIMIT_REACHED", true, "there are too many share sessions"),
    entry(ErrorCode::GroupDeletionFailed, "GROUP_DELETION_FAILED", false, "the group could not be deleted"),
    entry(
        ErrorCode::StreamsTopologyDescriptionUpdateFailed,
        "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED",
        false,
        "the description of the streams topology was not taken",
    ),
    entry(
        ErrorCode::ControllerIdNotRegistered,
        "CONTROLLER_ID_NOT_REGISTERED",
        false,
        "no controller with this id is registered",
    ),
];

#[cfg(test)]
mod tests {
    use super::{ErrorCode, FIRST_CODE, TABLE};

    #[test]
    fn every_line_stands_at_its_code() {
        for (at, entry) in TABLE.iter().enumerate() {
            let code = at as i16 + FIRST_CODE;
            assert_eq!(entry.error.code(), code);
            assert_eq!(ErrorCode::from_code(code), Some(entry.error));
        }
    }

    #[test]
    fn numbers_outside_of_the_table_are_no_errors() {
        for code in [i16::MIN, -2, TABLE.len() as i16 - 1, i16::MAX] {
            assert_eq!(ErrorCode::from_code(code), None);
        }
    }

    #[test]
    fn well_known_codes_are_kafkas() {
        assert_eq!(ErrorCode::NotLeaderOrFollower.code(), 6);
        assert_eq!(ErrorCode::UnsupportedVersion.code(), 35);
        assert_eq!(ErrorCode::from_code(100), Some(ErrorCode::UnknownTopicId));
        assert!(ErrorCode::CoordinatorLoadInProgress.is_retriable());
        assert!(!ErrorCode::InvalidRequest.is_retriable());
    }
}
