//! Replication of one partition: what its leader and its followers decide. Synchronous, without clock and I/O.
//!
//! The protocol is Kafka's: followers pull, the in-sync set changes only through the controller, the high watermark is what all of it
//! holds, and logs that differ are cut by leader epoch. What is different: only *durable* ends count, so a replica that was in sync
//! has everything committed even after a power failure.
//!
//! A [`Replica`] is what a node is to one partition; it is a [`Leader`], a [`Follower`], or neither. Whoever drives it:
//! * hands it each version of the partition's metadata in order, and none that is older than the node's own registration
//!   ([`Incarnation::may_act_on`]);
//! * asks a follower what to fetch, carries the request to the leader and the answer back, and does what [`FollowerStep`] says;
//! * tells a leader when its own log became more durable, carries its [`Proposal`]s to the controller, and answers the
//!   producers that [`Leader::take_answered`] names.
//!
//! It is a crate of its own so that it cannot reach a runtime, a socket or the controller, and so that its tests build in seconds.
//! Called by `duolog-core` and by the simulator.

mod acks;
mod fetch;
mod follower;
mod heal;
mod leader;
mod replica;
mod state;

pub use acks::{AckOutcome, AckQueueFull, MAX_WAITING_ACKS, Ticket};
pub use duolog_base::mutant::{MUTANTS, Mutant, planted};
#[cfg(feature = "mutants")]
pub use duolog_base::mutant::{Planted, plant};
pub use fetch::{FetchGrant, FetchRefusal, FollowerFetch};
pub use follower::{Follower, FollowerStep};
pub use heal::Damage;
pub use leader::{Leader, NotEnoughReplicas, Proposal, ReplicationLimits};
pub use replica::{Assumed, Replica, Role};
pub use state::{EpochEnds, Incarnation, LogView, PartitionState, Peer};
