//! Compaction by key: passes over partitions, whose decisions are carried out while files are tidied.

use crate::clean::{Cleaned, Cleaner, CleaningPolicy, OffsetMap, PassBounds, ProducerEnds};
use duolog_wire::record::{BatchHeader, DecompressLimits};
use hashbrown::HashMap;

/// What is decided about the batches of one partition.
pub(crate) struct Pass {
    pub map: OffsetMap,
    pub bounds: PassBounds,
    pub policy: CleaningPolicy,
}

/// The passes under way, by partition number.
#[derive(Default)]
pub(crate) struct Passes {
    pub passes: HashMap<u32, Pass>,
    /// Producer windows are kept in the state of the log, not in its batches: none must stay because of them.
    no_producers: ProducerEnds,
}

impl Passes {
    /// Decides about the batches of a partition, if it is being compacted.
    pub fn cleaner(&self, partition: u32) -> Option<BatchCleaner<'_>> {
        let pass = self.passes.get(&partition)?;
        let limits = DecompressLimits::default();
        Some(BatchCleaner { cleaner: Cleaner::new(&pass.map, pass.bounds, &pass.policy, &self.no_producers, [], limits) })
    }
}

pub(crate) struct BatchCleaner<'a> {
    cleaner: Cleaner<'a>,
}

impl BatchCleaner<'_> {
    /// What becomes of a batch. One that cannot be unpacked stays. So do marks of transactions: whether they may go depends on all
    /// batches before them, and a job sees some of them only.
    pub fn decide(&mut self, batch: &[u8]) -> Cleaned {
        let control = BatchHeader::parse(batch).is_ok_and(|header| header.attributes.is_control());
        if control { Cleaned::Keep } else { self.cleaner.clean(batch).unwrap_or(Cleaned::Keep) }
    }
}
