//! The requests this client sends, each with the versions it can write and read.
//!
//! The upper ends stay where requests still name topics by name, so that no id must be looked up first.

/// One request kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Api {
    pub(super) key: i16,
    pub(super) name: &'static str,
    pub(super) min: i16,
    pub(super) max: i16,
}

const fn api(key: i16, name: &'static str, min: i16, max: i16) -> Api {
    Api { key, name, min, max }
}

pub(super) const PRODUCE: Api = api(0, "Produce", 3, 11);
pub(super) const FETCH: Api = api(1, "Fetch", 4, 12);
pub(super) const LIST_OFFSETS: Api = api(2, "ListOffsets", 1, 9);
pub(super) const METADATA: Api = api(3, "Metadata", 5, 12);
pub(super) const OFFSET_COMMIT: Api = api(8, "OffsetCommit", 2, 9);
pub(super) const OFFSET_FETCH: Api = api(9, "OffsetFetch", 2, 7);
pub(super) const FIND_COORDINATOR: Api = api(10, "FindCoordinator", 1, 3);
pub(super) const JOIN_GROUP: Api = api(11, "JoinGroup", 4, 9);
pub(super) const HEARTBEAT: Api = api(12, "Heartbeat", 3, 4);
pub(super) const LEAVE_GROUP: Api = api(13, "LeaveGroup", 3, 5);
pub(super) const SYNC_GROUP: Api = api(14, "SyncGroup", 3, 5);
pub(super) const DESCRIBE_GROUPS: Api = api(15, "DescribeGroups", 3, 6);
pub(super) const LIST_GROUPS: Api = api(16, "ListGroups", 2, 5);
pub(super) const API_VERSIONS: Api = api(18, "ApiVersions", 0, 3);
pub(super) const CREATE_TOPICS: Api = api(19, "CreateTopics", 4, 7);
pub(super) const DELETE_TOPICS: Api = api(20, "DeleteTopics", 3, 5);
pub(super) const DELETE_RECORDS: Api = api(21, "DeleteRecords", 0, 2);
pub(super) const INIT_PRODUCER_ID: Api = api(22, "InitProducerId", 1, 4);
pub(super) const DESCRIBE_CONFIGS: Api = api(32, "DescribeConfigs", 1, 4);
pub(super) const DESCRIBE_LOG_DIRS: Api = api(35, "DescribeLogDirs", 1, 4);
pub(super) const CREATE_PARTITIONS: Api = api(37, "CreatePartitions", 1, 3);
pub(super) const DELETE_GROUPS: Api = api(42, "DeleteGroups", 1, 2);
pub(super) const INCREMENTAL_ALTER_CONFIGS: Api = api(44, "IncrementalAlterConfigs", 0, 1);
pub(super) const ALTER_PARTITION_REASSIGNMENTS: Api = api(45, "AlterPartitionReassignments", 0, 0);
pub(super) const LIST_PARTITION_REASSIGNMENTS: Api = api(46, "ListPartitionReassignments", 0, 0);
pub(super) const DESCRIBE_QUORUM: Api = api(55, "DescribeQuorum", 0, 2);
pub(super) const DESCRIBE_CLUSTER: Api = api(60, "DescribeCluster", 0, 2);
pub(super) const UNREGISTER_BROKER: Api = api(64, "UnregisterBroker", 0, 0);
pub(super) const REMOVE_RAFT_VOTER: Api = api(81, "RemoveRaftVoter", 0, 0);
