//! What every crate shares: identifiers as newtypes, and the only doors to the outside world.
//!
//! Nothing here knows about topics, protocols or files of a particular format. Code that decides takes
//! time as a parameter; code that reads or writes goes through [`Disk`]; both exist once for production
//! ([`SystemClock`], [`RealDisk`]) and once for the simulator (crate `duolog-sim`).

mod clock;
mod disk;
mod ids;
pub mod mutant;
mod page_cache;

pub use clock::{Clock, SystemClock};
pub use disk::{DIRECT_ALIGNMENT, Disk, DiskFile, OpenMode, RealDisk};
pub use ids::{
    BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, PartitionNumber, Position,
    ProducerEpoch, ProducerId, TimestampMs, TopicId,
};
