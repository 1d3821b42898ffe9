//! What nodes ask of the one that leads the metadata's quorum, besides Raft itself: JSON.

use crate::metadata::error::{ChangeVotersError, MembershipError, Unavailable};
use crate::metadata::node::{QuorumMember, QuorumState};
use crate::metadata::raft::recode;
use crate::metadata::record::Change;
use crate::metadata::{Heartbeat, HeartbeatAnswer, StorageReport};
use bytes::Bytes;
use duolog_base::{BrokerEpoch, NodeId, TimestampMs};
use duolog_peer::CallKind;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// All kinds of calls of the metadata, Raft's among them.
pub(super) const KINDS: RangeInclusive<u16> = 1..=31;
pub(super) const LAST_RAFT_KIND: u16 = 3;
pub(super) const PROPOSE: CallKind = CallKind(8);
pub(super) const HEARTBEAT: CallKind = CallKind(9);
pub(super) const JOIN: CallKind = CallKind(10);
pub(super) const CHANGE_VOTERS: CallKind = CallKind(11);
pub(super) const QUORUM: CallKind = CallKind(12);
/// A [`StorageReport`].
pub(super) const STORAGE: CallKind = CallKind(13);

/// A change to be committed; one without records asks only whether its base is the newest state.
pub(super) type Propose = Change;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ProposeAnswer {
    Committed {
        index: u64,
    },
    /// Decided on an older state than that of `applied`.
    Stale {
        applied: u64,
    },
    Failed(Failure),
}

/// [`Unavailable`] as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Failure {
    NotLeader,
    DiskFull { free_bytes: u64, needed_bytes: u64 },
    TimedOut,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeartbeatCall {
    node: i32,
    epoch: u64,
    applied: u64,
    wants_stop: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum HeartbeatReply {
    Heard { fenced: bool, may_stop: bool },
    Unregistered,
    Duplicate,
    StaleEpoch { current: u64 },
    Failed(Failure),
}

/// A node asks to follow the metadata, or says where it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Join {
    pub(super) node: i32,
    pub(super) address: String,
    /// Whether it has nothing: if it is a member, it has lost what it had.
    pub(super) is_new: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum JoinAnswer {
    Joined {
        cluster: String,
    },
    /// Another node leads.
    AskAt {
        node: i32,
        address: String,
    },
    /// Another node that is alive has its id.
    Taken,
    NotNow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ChangeVoters {
    Add(i32),
    Remove(i32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ChangeVotersAnswer {
    Changed,
    UnknownNode,
    LastVoter,
    Failed(Failure),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Quorum {
    leader: Option<i32>,
    epoch: u64,
    high_watermark: u64,
    log_end: u64,
    members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    node: i32,
    address: String,
    is_voter: bool,
    log_end: Option<u64>,
    last_fetch: Option<i64>,
    last_caught_up: Option<i64>,
}

/// The bytes as each message that they are, written again. For the fuzz targets.
pub(in crate::metadata) fn recode_all(bytes: &[u8]) -> Vec<Bytes> {
    let questions =
        [recode::<Propose>(bytes), recode::<HeartbeatCall>(bytes), recode::<Join>(bytes), recode::<ChangeVoters>(bytes)];
    let answers = [
        recode::<ProposeAnswer>(bytes),
        recode::<HeartbeatReply>(bytes),
        recode::<JoinAnswer>(bytes),
        recode::<ChangeVotersAnswer>(bytes),
        recode::<Quorum>(bytes),
        recode::<StorageReport>(bytes),
    ];
    questions.into_iter().chain(answers).flatten().collect()
}

impl From<Unavailable> for Failure {
    fn from(error: Unavailable) -> Failure {
        match error {
            Unavailable::Stopped => Failure::Stopped,
            Unavailable::DiskFull { free_bytes, needed_bytes } => Failure::DiskFull { free_bytes, needed_bytes },
            Unavailable::NotController => Failure::NotLeader,
            Unavailable::TimedOut => Failure::TimedOut,
        }
    }
}

impl From<Failure> for Unavailable {
    fn from(failure: Failure) -> Unavailable {
        match failure {
            // It is the other node that has stopped.
            Failure::NotLeader | Failure::Stopped => Unavailable::NotController,
            Failure::DiskFull { free_bytes, needed_bytes } => Unavailable::DiskFull { free_bytes, needed_bytes },
            Failure::TimedOut => Unavailable::TimedOut,
        }
    }
}

impl From<Heartbeat> for HeartbeatCall {
    fn from(heartbeat: Heartbeat) -> HeartbeatCall {
        let Heartbeat { node, epoch, applied, wants_stop } = heartbeat;
        HeartbeatCall { node: node.0, epoch: epoch.0, applied, wants_stop }
    }
}

impl From<HeartbeatCall> for Heartbeat {
    fn from(call: HeartbeatCall) -> Heartbeat {
        let HeartbeatCall { node, epoch, applied, wants_stop } = call;
        Heartbeat { node: NodeId(node), epoch: BrokerEpoch(epoch), applied, wants_stop }
    }
}

impl From<Result<HeartbeatAnswer, MembershipError>> for HeartbeatReply {
    fn from(result: Result<HeartbeatAnswer, MembershipError>) -> HeartbeatReply {
        match result {
            Ok(HeartbeatAnswer { fenced, may_stop }) => HeartbeatReply::Heard { fenced, may_stop },
            Err(MembershipError::Unregistered { .. }) => HeartbeatReply::Unregistered,
            Err(MembershipError::Duplicate { .. }) => HeartbeatReply::Duplicate,
            Err(MembershipError::StaleEpoch { current, .. }) => HeartbeatReply::StaleEpoch { current: current.0 },
            Err(MembershipError::Unavailable(error)) => HeartbeatReply::Failed(error.into()),
        }
    }
}

impl HeartbeatReply {
    /// What it says to the one who sent this heartbeat.
    pub(super) fn result(self, heartbeat: Heartbeat) -> Result<HeartbeatAnswer, MembershipError> {
        let Heartbeat { node, epoch: got, .. } = heartbeat;
        match self {
            HeartbeatReply::Heard { fenced, may_stop } => Ok(HeartbeatAnswer { fenced, may_stop }),
            HeartbeatReply::Unregistered => Err(MembershipError::Unregistered { node }),
            HeartbeatReply::Duplicate => Err(MembershipError::Duplicate { node }),
            HeartbeatReply::StaleEpoch { current } => {
                Err(MembershipError::StaleEpoch { node, current: BrokerEpoch(current), got })
            }
            HeartbeatReply::Failed(failure) => Err(Unavailable::from(failure).into()),
        }
    }
}

impl From<Result<(), ChangeVotersError>> for ChangeVotersAnswer {
    fn from(result: Result<(), ChangeVotersError>) -> ChangeVotersAnswer {
        match result {
            Ok(()) => ChangeVotersAnswer::Changed,
            Err(ChangeVotersError::UnknownNode { .. }) => ChangeVotersAnswer::UnknownNode,
            Err(ChangeVotersError::LastVoter { .. }) => ChangeVotersAnswer::LastVoter,
            Err(ChangeVotersError::Alone) => ChangeVotersAnswer::Failed(Failure::NotLeader),
            Err(ChangeVotersError::Unavailable(error)) => ChangeVotersAnswer::Failed(error.into()),
        }
    }
}

impl ChangeVotersAnswer {
    /// What it says to the one who asked for this change.
    pub(super) fn result(self, change: ChangeVoters) -> Result<(), ChangeVotersError> {
        let (ChangeVoters::Add(node) | ChangeVoters::Remove(node)) = change;
        match self {
            ChangeVotersAnswer::Changed => Ok(()),
            ChangeVotersAnswer::UnknownNode => Err(ChangeVotersError::UnknownNode { node: NodeId(node) }),
            ChangeVotersAnswer::LastVoter => Err(ChangeVotersError::LastVoter { node: NodeId(node) }),
            ChangeVotersAnswer::Failed(failure) => Err(Unavailable::from(failure).into()),
        }
    }
}

impl From<QuorumState> for Quorum {
    fn from(state: QuorumState) -> Quorum {
        let member = |member: QuorumMember| Member {
            node: member.node.0,
            address: member.address,
            is_voter: member.is_voter,
            log_end: member.log_end,
            last_fetch: member.last_fetch.map(|time| time.0),
            last_caught_up: member.last_caught_up.map(|time| time.0),
        };
        Quorum {
            leader: state.leader.map(|node| node.0),
            epoch: state.epoch,
            high_watermark: state.high_watermark,
            log_end: state.log_end,
            members: state.members.into_iter().map(member).collect(),
        }
    }
}

impl From<Quorum> for QuorumState {
    fn from(quorum: Quorum) -> QuorumState {
        let voters = quorum.members.iter().filter(|member| member.is_voter).map(|member| NodeId(member.node)).collect();
        let member = |member: Member| QuorumMember {
            node: NodeId(member.node),
            address: member.address,
            is_voter: member.is_voter,
            log_end: member.log_end,
            last_fetch: member.last_fetch.map(TimestampMs),
            last_caught_up: member.last_caught_up.map(TimestampMs),
        };
        QuorumState {
            leader: quorum.leader.map(NodeId),
            epoch: quorum.epoch,
            high_watermark: quorum.high_watermark,
            log_end: quorum.log_end,
            voters,
            members: quorum.members.into_iter().map(member).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::raft::{decode, encode};
    use crate::metadata::record::MetadataRecord;
    use proptest::prelude::*;

    #[test]
    fn refusals_and_failures_reach_the_one_who_asked() {
        let node = NodeId(7);
        let heartbeat = Heartbeat { node, epoch: BrokerEpoch(3), applied: 9, wants_stop: true };
        for result in [
            Ok(HeartbeatAnswer { fenced: true, may_stop: false }),
            Err(MembershipError::Unregistered { node }),
            Err(MembershipError::Duplicate { node }),
            Err(MembershipError::StaleEpoch { node, current: BrokerEpoch(5), got: BrokerEpoch(3) }),
            Err(Unavailable::TimedOut.into()),
            Err(Unavailable::DiskFull { free_bytes: 1, needed_bytes: 2 }.into()),
        ] {
            assert_eq!(HeartbeatReply::from(result.clone()).result(heartbeat), result);
        }
        for result in [
            Ok(()),
            Err(ChangeVotersError::UnknownNode { node }),
            Err(ChangeVotersError::LastVoter { node }),
            Err(Unavailable::NotController.into()),
        ] {
            assert_eq!(ChangeVotersAnswer::from(result.clone()).result(ChangeVoters::Add(7)), result);
        }
        assert_eq!(Heartbeat::from(HeartbeatCall::from(heartbeat)), heartbeat);
    }

    #[test]
    fn the_state_of_the_quorum_arrives_as_it_was() {
        let member = |node, is_voter| QuorumMember {
            node: NodeId(node),
            address: "a:1".to_owned(),
            is_voter,
            log_end: Some(5),
            last_fetch: None,
            last_caught_up: Some(TimestampMs(8)),
        };
        let members = vec![member(1, true), member(2, false)];
        let voters = vec![NodeId(1)];
        let state = QuorumState { leader: Some(NodeId(1)), epoch: 3, high_watermark: 4, log_end: 5, voters, members };
        let sent: Quorum = decode(&encode(&Quorum::from(state.clone()))).unwrap();
        assert_eq!(QuorumState::from(sent), state);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), next: i64, base: u64) {
            let _: Option<Propose> = decode(&bytes);
            let _: Option<ProposeAnswer> = decode(&bytes);
            let _: Option<HeartbeatCall> = decode(&bytes);
            let _: Option<Join> = decode(&bytes);
            let _: Option<Quorum> = decode(&bytes);
            let change = Change::new(vec![MetadataRecord::ProducerIds { next }]).decided_on(base);
            prop_assert_eq!(decode::<Propose>(&encode(&change)), Some(change));
        }
    }
}
