//! What groups are asked and what they answer, free of any protocol's wire form.

use super::GroupError;
use bytes::Bytes;
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, TopicId};

/// A way of sharing partitions that a member knows, and what it has to say for it (for consumers: its subscription).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: String,
    pub metadata: Bytes,
}

/// A member wants to be in the next generation.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    pub group_id: String,
    /// Empty for a member that has no id yet.
    pub member_id: String,
    /// Set by static members (KIP-345).
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    /// The member's favourites first.
    pub protocols: Vec<Protocol>,
    /// Why it joins, for the log (KIP-800).
    pub reason: Option<String>,
    /// The client can be told to come back with the id given to it (KIP-394).
    pub takes_member_id: bool,
    /// The client, if leader, can be told not to share out partitions (KIP-814).
    pub can_skip_assignment: bool,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub metadata: Bytes,
}

/// The generation that a member is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAnswer {
    /// The id to use from now on; also set beside [`GroupError::MemberIdRequired`].
    pub member_id: String,
    /// What became of the join.
    pub outcome: Result<JoinedGeneration, GroupError>,
}

/// What a member that joined is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedGeneration {
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub leader: String,
    pub skip_assignment: bool,
    /// All members for the leader, nobody for the others.
    pub members: Vec<JoinMember>,
}

/// A member wants its share; the leader brings everybody's.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    pub group_id: String,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
    /// Checked against the group's if given.
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    /// Member id and share.
    pub assignments: Vec<(String, Bytes)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncAnswer {
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub assignment: Bytes,
}

#[derive(Clone, Debug)]
pub struct HeartbeatRequest {
    pub group_id: String,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
}

#[derive(Clone, Debug)]
pub struct LeaveRequest {
    pub group_id: String,
    pub members: Vec<Departure>,
}

/// Who leaves: a member by id, or a static member by instance id alone (an administrator removes it).
#[derive(Clone, Debug)]
pub struct Departure {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub outcome: Result<(), GroupError>,
}

/// Offsets to be kept.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    pub group_id: String,
    /// -1 for consumers that use the group as a store of offsets only.
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
    /// Keep them for so long instead of the broker's retention; `None` for the broker's.
    pub retention_ms: Option<i64>,
    /// The client knows [`GroupError::GroupNotFound`]; others are told of a wrong generation instead.
    pub knows_group_not_found: bool,
    pub topics: Vec<CommitTopic>,
}

impl CommitRequest {
    /// Of one who uses the group as a store of offsets only.
    pub fn anonymous(group_id: &str, topics: Vec<CommitTopic>) -> CommitRequest {
        CommitRequest {
            group_id: group_id.to_owned(),
            generation: -1,
            member_id: String::new(),
            instance_id: None,
            retention_ms: None,
            knows_group_not_found: true,
            topics,
        }
    }
}

/// The caller has made sure that the topic and its partitions exist.
#[derive(Clone, Debug)]
pub struct CommitTopic {
    pub name: String,
    pub id: TopicId,
    pub partitions: Vec<CommitPartition>,
}

#[derive(Clone, Debug)]
pub struct CommitPartition {
    pub partition: PartitionIndex,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub metadata: String,
}

/// One outcome for each partition of a topic, in the order asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOutcome {
    pub topic: String,
    pub partitions: Vec<PartitionOutcome>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOutcome {
    pub partition: PartitionIndex,
    pub outcome: Result<(), GroupError>,
}

#[derive(Clone, Debug)]
pub struct FetchRequest {
    pub group_id: String,
    /// `None` asks for everything the group has committed.
    pub topics: Option<Vec<FetchTopic>>,
}

#[derive(Clone, Debug)]
pub struct FetchTopic {
    pub name: String,
    pub partitions: Vec<PartitionIndex>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    pub name: String,
    pub partitions: Vec<CommittedPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedPartition {
    pub partition: PartitionIndex,
    /// `None` if the group has committed nothing there.
    pub committed: Option<super::CommittedOffset>,
}

#[derive(Clone, Debug)]
pub struct DeleteOffsetsTopic {
    pub name: String,
    pub partitions: Vec<PartitionIndex>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    pub group_id: String,
    pub state: &'static str,
    pub protocol_type: String,
    /// Set while the group is stable.
    pub protocol_name: String,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// Set while the group is stable.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// Which groups to list; an empty list lets all through. Upper and lower case are the same.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    pub states: Vec<String>,
    pub types: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub group_id: String,
    pub protocol_type: String,
    pub state: &'static str,
    pub group_type: &'static str,
}
