//! Consumer groups: who is in them, who consumes what, and how far each group has come.
//!
//! This is Kafka's classic group protocol (with KIP-345 static members, KIP-394 required member ids, KIP-429 cooperative
//! rebalancing, which needs nothing of the broker), the store of committed offsets, and who is in share groups. The records in
//! `__consumer_offsets` have Kafka's own schema and versions, so that tools which read that topic work.
//!
//! [`GroupShard`] decides, for the groups of one partition, without waiting, clock or I/O; [`GroupCoordinator`] finds a
//! group's shard and is what both front ends call. Times: deadlines on the monotonic clock, what is written down in wall
//! time. Errors are [`GroupError`], which a front end turns into its protocol's codes.
//!
//! | file | what |
//! |---|---|
//! | `request` | what is asked and answered, free of any protocol's wire form |
//! | `member`, `state` | one member, one group: data and the rules that hold between them |
//! | `shard` | the groups of a partition: look-up, replay, timers |
//! | `join`, `rebalance`, `sync`, `leave` | the way of a group through its states |
//! | `offsets`, `commit`, `expiry` | committed offsets |
//! | `noted` | offsets that are committed a moment later |
//! | `locks` | who consumes a partition in order |
//! | `admin` | describe, list, delete |
//! | `metrics` | what is counted |
//! | `records` | the records of `__consumer_offsets` |
//! | `share` | share groups, which live beside the others |
//! | `service` | [`GroupCoordinator`] |

mod admin;
mod commit;
mod error;
mod expiry;
mod java_hash;
mod join;
mod leave;
mod locks;
mod member;
mod metrics;
mod noted;
mod offsets;
mod rebalance;
mod records;
mod request;
mod service;
mod settings;
mod shard;
pub mod share;
mod state;
mod subscription;
mod sync;
#[cfg(test)]
mod tests;
mod timers;
mod topics;

pub use error::GroupError;
pub use java_hash::partition_for;
pub use locks::NamedPartition;
pub use metrics::{GroupCensus, GroupMetrics};
pub use noted::{Basis, DELIVERED, Place};
pub use offsets::CommittedOffset;
pub use records::{OffsetsRecord, decode as decode_offsets_record};
pub use request::{
    CommitPartition, CommitRequest, CommitTopic, CommittedPartition, CommittedTopic, DeleteOffsetsTopic, Departed, Departure,
    DescribedGroup, DescribedMember, FetchRequest, FetchTopic, HeartbeatRequest, JoinAnswer, JoinMember, JoinRequest,
    JoinedGeneration, LeaveRequest, ListFilter, ListedGroup, PartitionOutcome, Protocol, SyncAnswer, SyncRequest, TopicOutcome,
};
pub use service::GroupCoordinator;
pub use settings::GroupSettings;
pub use shard::GroupShard;
