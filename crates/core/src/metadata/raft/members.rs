//! Who takes part in the quorum: voters, and observers that follow the log without a vote.
//!
//! Voters are changed through a joint set, one change at a time; the library sees to it that each is committed by both sets. All changes
//! are asked of the leader.

use super::RaftLog;
use super::types::{node_id, raft_id};
use crate::metadata::error::{ChangeVotersError, MetadataOpenError, Unavailable};
use duolog_base::NodeId;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a change of the members may take.
const MEMBERS_LIMIT: Duration = Duration::from_secs(3);

/// The members of the quorum as this node knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::metadata) struct Members {
    /// Of both sets while they change.
    pub(in crate::metadata) voters: BTreeSet<NodeId>,
    /// Those who vote however a change ends. As long as it is under way most of the old set are needed, too.
    pub(in crate::metadata) settled_voters: BTreeSet<NodeId>,
    /// The set that is changed to, while it is not the only one.
    pub(in crate::metadata) changing_to: Option<BTreeSet<NodeId>>,
    /// Of voters and observers; empty of one that was alone.
    pub(in crate::metadata) addresses: BTreeMap<NodeId, String>,
}

impl RaftLog {
    pub(in crate::metadata) fn check_is_member(&self, members: &Members) -> Result<(), MetadataOpenError> {
        if members.addresses.contains_key(&self.node) {
            return Ok(());
        }
        let found = members.voters.first().copied().unwrap_or_default();
        Err(MetadataOpenError::OtherNode { dir: self.dir.clone(), found, expected: self.node })
    }

    pub(in crate::metadata) fn members(&self) -> Members {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let sets = membership.get_joint_config();
        let nodes = |set: &BTreeSet<u64>| set.iter().copied().map(node_id).collect();
        Members {
            voters: membership.voter_ids().map(node_id).collect(),
            settled_voters: membership.voter_ids().filter(|id| sets.iter().all(|set| set.contains(id))).map(node_id).collect(),
            changing_to: sets.last().filter(|_| sets.len() > 1).map(nodes),
            addresses: membership.nodes().map(|(id, node)| (node_id(*id), node.addr.clone())).collect(),
        }
    }

    /// Makes a node an observer.
    pub(in crate::metadata) async fn add_observer(&self, node: NodeId, address: &str) -> Result<(), ChangeVotersError> {
        let members = BTreeMap::from([(raft_id(node), BasicNode { addr: address.to_owned() })]);
        self.change_members(ChangeMembers::AddNodes(members), true).await
    }

    /// A member is at another address.
    pub(in crate::metadata) async fn move_member(&self, node: NodeId, address: &str) -> Result<(), ChangeVotersError> {
        let members = BTreeMap::from([(raft_id(node), BasicNode { addr: address.to_owned() })]);
        self.change_members(ChangeMembers::SetNodes(members), true).await
    }

    /// Makes observers voters.
    pub(in crate::metadata) async fn add_voters(&self, nodes: &BTreeSet<NodeId>) -> Result<(), ChangeVotersError> {
        self.change_members(ChangeMembers::AddVoterIds(nodes.iter().copied().map(raft_id).collect()), true).await
    }

    /// Ends a change of voters that a former leader has begun.
    pub(in crate::metadata) async fn finish_change(&self, voters: &BTreeSet<NodeId>) -> Result<(), ChangeVotersError> {
        self.change_members(ChangeMembers::ReplaceAllVoters(voters.iter().copied().map(raft_id).collect()), true).await
    }

    /// Takes a node off the members, be it a voter or an observer.
    pub(in crate::metadata) async fn remove_member(&self, node: NodeId) -> Result<(), ChangeVotersError> {
        let members = self.members();
        let nodes = BTreeSet::from([raft_id(node)]);
        match (members.addresses.contains_key(&node), members.voters.contains(&node)) {
            (false, _) => Ok(()),
            (true, true) if members.voters.len() == 1 => Err(ChangeVotersError::LastVoter { node }),
            (true, true) => self.change_members(ChangeMembers::RemoveVoters(nodes), false).await,
            (true, false) => self.change_members(ChangeMembers::RemoveNodes(nodes), false).await,
        }
    }

    async fn change_members(&self, change: ChangeMembers<u64, BasicNode>, retain: bool) -> Result<(), ChangeVotersError> {
        let changed = tokio::time::timeout(MEMBERS_LIMIT, self.raft.change_membership(change, retain)).await;
        match changed.map_err(|_| Unavailable::TimedOut)? {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(Unavailable::NotController.into()),
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                tracing::info!(%error, "the metadata's members cannot be changed now");
                Err(Unavailable::NotController.into())
            }
            Err(RaftError::Fatal(error)) => {
                tracing::error!(%error, "the metadata's members cannot be changed");
                Err(Unavailable::Stopped.into())
            }
        }
    }
}
