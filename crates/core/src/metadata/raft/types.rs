//! The Raft library's types, and their stored forms.
//!
//! What is on disk is defined by [`storage`](crate::metadata::storage), not by the library, whose own forms may change with a version.

use crate::metadata::record::Change;
use crate::metadata::storage::{Body, Entry, EntryId, Members, Vote};
use duolog_base::NodeId;
use openraft::{BasicNode, CommittedLeaderId, EntryPayload, LogId, Membership, StoredMembership};
use std::fmt;
use std::io::Cursor;

openraft::declare_raft_types!(
    /// The library's type parameters. Applying a change answers whether it had an effect.
    pub(super) Types:
        D = Change,
        R = bool,
        NodeId = u64,
        Node = BasicNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(super) type RaftNode = openraft::Raft<Types>;
pub(super) type StorageError = openraft::StorageError<u64>;
pub(super) type StorageFault = openraft::StorageIOError<u64>;
pub(super) type RaftMembership = StoredMembership<u64, BasicNode>;

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records of level {}", self.records.len(), self.level)
    }
}

/// Node ids are never negative: the configuration does not take them.
pub(super) fn raft_id(node: NodeId) -> u64 {
    u64::try_from(node.0).unwrap_or_default()
}

pub(super) fn node_id(id: u64) -> NodeId {
    NodeId(i32::try_from(id).unwrap_or(-1))
}

pub(super) fn stored_id(id: LogId<u64>) -> EntryId {
    EntryId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

pub(super) fn log_id(id: EntryId) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(id.term, id.node), id.index)
}

pub(super) fn stored_vote(vote: &openraft::Vote<u64>) -> Vote {
    Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, won: vote.committed }
}

pub(super) fn raft_vote(vote: Vote) -> openraft::Vote<u64> {
    match vote.won {
        true => openraft::Vote::new_committed(vote.term, vote.node),
        false => openraft::Vote::new(vote.term, vote.node),
    }
}

pub(super) fn stored_entry(entry: openraft::Entry<Types>) -> Entry {
    let body = match entry.payload {
        EntryPayload::Blank => Body::Blank,
        EntryPayload::Normal(change) => Body::Change(change),
        EntryPayload::Membership(membership) => Body::Members(stored_members(&membership)),
    };
    Entry { id: stored_id(entry.log_id), body }
}

pub(super) fn raft_entry(entry: Entry) -> openraft::Entry<Types> {
    let payload = match entry.body {
        Body::Blank => EntryPayload::Blank,
        Body::Change(change) => EntryPayload::Normal(change),
        Body::Members(members) => EntryPayload::Membership(membership(members)),
    };
    openraft::Entry { log_id: log_id(entry.id), payload }
}

pub(super) fn stored_members(membership: &Membership<u64, BasicNode>) -> Members {
    Members {
        voters: membership.get_joint_config().clone(),
        addresses: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
    }
}

pub(super) fn membership(members: Members) -> Membership<u64, BasicNode> {
    let nodes: std::collections::BTreeMap<u64, BasicNode> =
        members.addresses.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
    Membership::new(members.voters, nodes)
}
