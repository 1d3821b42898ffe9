//! The outside world, simulated: a disk that loses what was not synced, a clock that moves when told, and a checker of what
//! clients saw.
//!
//! Everything is deterministic: what a crash loses follows from a seed, so that a failure found once can be found again.
//! Called by the tests of the storage engine and of the broker, and by those of the real process (the checker only).

mod clock;
mod disk;
mod history;
mod random;

pub use clock::SimClock;
pub use disk::{Failure, Operation, PAGE_BYTES, SECTOR_BYTES, SimDisk};
pub use history::{Crash, Event, Gaps, History, MOST_VIOLATIONS, Origin, Promise, Reader, ValueHash, Violation};
pub use random::Random;
