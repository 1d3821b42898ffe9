//! What goes over the simulated network.

use crate::delivery::Parcel;
use crate::log::{Partition, Record};
use duolog_base::BrokerEpoch;
use duolog_core::group::{
    CommitRequest, CommittedTopic, FetchRequest, GroupError, HeartbeatRequest, JoinAnswer, JoinRequest, LeaveRequest, SyncAnswer,
    SyncRequest, TopicOutcome,
};
use duolog_core::metadata::{AlterPartition, Heartbeat, HeartbeatAnswer, Registration};
use duolog_replica::{FetchGrant, FetchRefusal, FollowerFetch, PartitionState};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    Controller,
    /// By index.
    Node(usize),
    Client(usize),
    /// A member of a group.
    Member(usize),
    /// A consumer of a share group.
    Consumer(usize),
    /// Of delayed and half records.
    Owner(usize),
}

#[derive(Clone, Debug)]
pub enum Message {
    // A node to the controller.
    Register(Registration),
    Heartbeat(Heartbeat),
    Alter {
        partition: Partition,
        request: AlterPartition,
    },
    // The controller to a node.
    Registered {
        incarnation: String,
        epoch: BrokerEpoch,
    },
    /// The answer to a heartbeat, and how far the metadata log reaches.
    Beat {
        epoch: BrokerEpoch,
        answer: HeartbeatAnswer,
        newest: usize,
    },
    /// The node has been registered again since: the process of this life has no place any more.
    Superseded {
        epoch: BrokerEpoch,
    },
    /// `None`: refused.
    Altered {
        partition: Partition,
        number: u64,
        state: Option<PartitionState>,
    },
    /// The metadata log reaches so far.
    Newest(usize),
    // A follower to its leader, and back.
    Fetch {
        partition: Partition,
        request: FollowerFetch,
    },
    Fetched {
        partition: Partition,
        request: FollowerFetch,
        answer: Result<FetchGrant, FetchRefusal>,
        records: Vec<Record>,
    },
    // A producer to a node, and back.
    Produce {
        partition: Partition,
        request: u64,
        value: u64,
    },
    /// The offset, if it is committed.
    Produced {
        request: u64,
        offset: Option<usize>,
    },
    // A member to a coordinator, and back.
    Ask {
        request: u64,
        ask: Box<Ask>,
    },
    Answered {
        request: u64,
        answer: Box<Answer>,
    },
    /// What delivery has to say.
    Parcel(Box<Parcel>),
}

/// What a member of a group wants of its coordinator.
#[derive(Clone, Debug)]
pub enum Ask {
    Join(JoinRequest),
    Sync(SyncRequest),
    Heartbeat(HeartbeatRequest),
    Commit(CommitRequest),
    Fetch(FetchRequest),
    Leave(LeaveRequest),
}

#[derive(Clone, Debug)]
pub enum Answer {
    Join(JoinAnswer),
    Sync(Result<SyncAnswer, GroupError>),
    Heartbeat(Result<(), GroupError>),
    Commit(Result<Vec<TopicOutcome>, GroupError>),
    Fetch(Vec<CommittedTopic>),
    Left,
    /// The node does not lead the internal partition.
    NotCoordinator,
    /// It does, but is not ready, or the log takes nothing now.
    Unavailable,
}

impl Ask {
    pub fn group_id(&self) -> &str {
        match self {
            Ask::Join(request) => &request.group_id,
            Ask::Sync(request) => &request.group_id,
            Ask::Heartbeat(request) => &request.group_id,
            Ask::Commit(request) => &request.group_id,
            Ask::Fetch(request) => &request.group_id,
            Ask::Leave(request) => &request.group_id,
        }
    }

    pub fn may_write(&self) -> bool {
        !matches!(self, Ask::Heartbeat(_) | Ask::Fetch(_))
    }
}
