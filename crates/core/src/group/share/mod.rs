//! Share groups (KIP-932): who is in them and who may read which partitions. Which records a member works on is not known here: that is
//! decided where the partitions are led ([`crate::share`]).
//!
//! Members say what they subscribe to with every heartbeat that changes it, and are told their share in the answer. The group has an
//! epoch that rises when members, subscriptions or partitions change; the share of everybody is worked out anew in that epoch
//! ([`assign`]), and each member takes it over with its next heartbeat, without waiting for anybody: a partition may be read by several
//! members at a time. A partition is shared out once its state has been initialized at the share coordinator.
//!
//! A share group lives in the shard of its id like any other group, in records of Kafka's own schema; one id is one kind of group.

mod admin;
mod assign;
mod heartbeat;
mod records;
mod request;
mod service;
mod state;
#[cfg(test)]
mod tests;

pub(super) use records::replay;
pub use request::{
    AlteredShareOffset, DescribedShareGroup, DescribedShareMember, ShareAssignment, ShareHeartbeatAnswer, ShareHeartbeatRequest,
    SharePartitions,
};
pub use service::StateOutcome;
pub(super) use state::ShareGroup;

/// The member epoch of a heartbeat with which a member joins, and of one with which it leaves.
pub const JOIN_EPOCH: i32 = 0;
pub const LEAVE_EPOCH: i32 = -1;

/// Most members a share group; Kafka's default.
pub(super) const MAX_MEMBERS: usize = 200;
/// Topics that a member may name, and their names' length in all, in bytes.
pub(super) const MAX_SUBSCRIBED_TOPICS: usize = 10_000;
pub(super) const MAX_SUBSCRIBED_BYTES: usize = 1 << 20;
/// How long a member may be silent after a replay, before it has said anything itself; Kafka's default.
pub(super) const REPLAYED_SESSION_MS: u64 = 45_000;

/// Kafka's names for the kind of group, also its protocol type, and for the one way of sharing partitions out.
pub(super) const GROUP_TYPE: &str = "share";
pub(super) const ASSIGNOR: &str = "simple";
