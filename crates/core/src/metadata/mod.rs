//! Cluster state: records in one replicated log, folded into an immutable image.
//!
//! Everything the controller decides (topics, partitions, configurations, producer id blocks) is a
//! [`MetadataRecord`] committed through Raft; a single node is a quorum of one and takes the same path.
//! Readers take the current image with [`Metadata::image`] and never wait. A change is durable, folded into the
//! image, and seen by the [`ImageListener`] before the call that asked for it returns.
//!
//! * `decide`: request + image -> records or refusals. Pure.
//! * `fold`: image + records -> image. Pure.
//! * `storage`: the journal and the snapshots on disk.
//! * `raft`: the only place that knows the Raft library.

mod cluster;
mod decide;
mod error;
mod fold;
#[doc(hidden)]
pub mod fuzzing;
mod image;
mod name;
mod node;
mod offline;
mod published;
mod raft;
mod record;
mod replicas;
mod sessions;
mod storage;
mod topic_id;

pub use cluster::{
    ClusterOptions, DEFAULT_REPLICA_LAG, DEFAULT_REQUEST_LIMIT, DEFAULT_SESSION, DEFAULT_VOTERS, HEARTBEAT_INTERVAL,
};
pub use decide::{
    AlterPartition, Balance, BalanceLimits, ConfigChange, ConfigOperation, ConfigResource, ConfigUpdate, Decided, Decision,
    Election, FreeSpace, GivenUp, Heartbeat, HeartbeatAnswer, MAX_NEW_PARTITIONS, NewPartitions, NewTopic, Reassignment,
    Registration, Storage, StorageReport, TopicReference, decide_alter_partition, decide_balance, decide_create_topics,
    decide_elections, decide_fencing, decide_giving_up, decide_heartbeat, decide_reassignments, decide_registration,
    decide_unregistration, partitions_to_elect, successor,
};
pub use error::{
    AdoptTopicsError, AllocateProducerIdsError, AlterConfigError, AlterPartitionError, AssignmentProblem, ChangeVotersError,
    CreatePartitionsError, CreateTopicError, DeleteTopicError, ElectLeaderError, GiveUpError, MembershipError, MetadataOpenError,
    ReassignError, Unavailable, UnregisterError,
};
pub use fold::{FoldError, fold};
pub use image::{Endpoint, Membership, MetadataImage, NodeDirectory, NodeImage, PartitionImage, TopicImage};
pub use name::{
    DELAYED_TOPIC, MAX_TOPIC_NAME, NameProblem, NameRules, OFFSETS_TOPIC, SHARE_STATE_TOPIC, TRANSACTIONS_TOPIC,
    check_topic_name, is_internal_topic,
};
pub use node::{ImageListener, Metadata, MetadataOptions, QuorumMember, QuorumState};
pub use offline::{MetadataReport, read_image, verify};
pub use record::{
    Change, ConfigOwner, DirectoryRecord, EndpointRecord, FEATURE_LEVEL, LayoutRecord, MetadataRecord, PartitionRecord,
};
pub use sessions::Sessions;
pub use topic_id::{IdSource, RandomIds, parse_topic_id};

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod node_tests;
#[cfg(test)]
mod offline_tests;
