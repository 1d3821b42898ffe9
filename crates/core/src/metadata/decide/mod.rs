//! The controller's decisions: a request and the image go in, records or a refusal come out. Pure.
//!
//! Nothing here reads a clock, draws a random number of its own, or waits. [`super::Metadata`] commits the records.

mod alter_partition;
mod balance;
mod configs;
mod elections;
mod exchange;
mod give_up;
mod membership;
mod placement;
mod reassign;
mod settle;
mod spread;
mod storage;
mod topics;
mod widen;

pub use alter_partition::{AlterPartition, decide_alter_partition};
pub use balance::{Balance, BalanceLimits, decide_balance};
pub(super) use configs::decide_configs;
pub use configs::{ConfigChange, ConfigOperation, ConfigResource, ConfigUpdate};
pub use elections::{Election, decide_elections, partitions_to_elect};
pub use give_up::{GivenUp, decide_giving_up};
pub use membership::{
    Decided, Heartbeat, HeartbeatAnswer, Registration, decide_fencing, decide_heartbeat, decide_registration,
    decide_unregistration, successor,
};
pub use placement::FreeSpace;
pub use reassign::{Reassignment, decide_reassignments};
pub use storage::{Storage, StorageReport};
pub use topics::{MAX_NEW_PARTITIONS, NewPartitions, NewTopic, TopicReference, decide_create_topics};
pub(super) use topics::{decide_create_partitions, decide_delete_topics};

use super::record::MetadataRecord;

/// An answer for each item of a request, and the records that make the good ones true.
#[derive(Clone, Debug)]
pub struct Decision<T, E> {
    pub results: Vec<Result<T, E>>,
    pub records: Vec<MetadataRecord>,
}

impl<T, E> Decision<T, E> {
    fn new() -> Decision<T, E> {
        Decision { results: Vec::new(), records: Vec::new() }
    }
}
