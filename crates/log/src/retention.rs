//! Retention: which batches of a partition are live, and how far a policy wants the log start raised.
//!
//! A sealed file's run of a partition is given up as a whole, as Kafka gives up segments; unsealed and tidied batches one by one.
//! Raising the log start is the caller's act; freeing files is the housekeeping's.

use crate::RetentionPolicy;
use crate::cuts::Cuts;
use crate::format::index::QueueEntry;
use crate::log::Log;
use crate::queries::{Stretch, Walk};
use duolog_base::{Offset, PartitionNumber, TimestampMs};

/// Batches that are given up together.
struct Unit {
    end_offset: i64,
    max_timestamp: i64,
    bytes: u64,
}

impl Log {
    /// Live bytes of the partition (batches from the log start on).
    pub fn partition_bytes(&self, partition: PartitionNumber) -> u64 {
        let Some((start, cuts, unsealed)) = self.live_unsealed(partition) else { return 0 };
        let files = self.sealed.load_full();
        let sealed = crate::sealed::runs_from(&files, partition.0, start, &cuts);
        let runs: u64 = sealed.map(|(file, record)| live_bytes(file, &record, start)).sum();
        runs + unsealed
    }

    /// The log start the policy asks for, if it is above the present one. Never beyond the durable end.
    pub fn retention_target(&self, partition: PartitionNumber, policy: RetentionPolicy, now: TimestampMs) -> Option<Offset> {
        if policy.max_age_ms.is_none() && policy.max_bytes.is_none() {
            return None;
        }
        let ends = self.ends(partition)?;
        let mut excess = policy.max_bytes.map_or(0, |max| self.partition_bytes(partition).saturating_sub(max));
        // Timestamps below zero mean "none": such batches do not age.
        let oldest = policy.max_age_ms.map_or(0, |age| now.0.saturating_sub(age)).max(0);
        let mut target = ends.start.0;
        let mut give_up = |unit: &Unit| {
            let too_old = (0..oldest).contains(&unit.max_timestamp);
            let too_much = unit.bytes <= excess && excess > 0;
            let given_up = (too_old || too_much) && unit.end_offset <= ends.durable.0;
            if given_up {
                excess = excess.saturating_sub(unit.bytes);
                target = unit.end_offset;
            }
            given_up
        };
        let mut walk = Walk::new(self, partition, ends.start.0);
        'walk: loop {
            match walk.next() {
                Ok(Stretch::Sealed(runs)) => {
                    for (file, record) in &runs {
                        let bytes = live_bytes(file, record, ends.start.0);
                        let unit = Unit { end_offset: record.end_offset, max_timestamp: record.max_timestamp, bytes };
                        if give_up(&unit) {
                            continue;
                        }
                        // What tidying has put together is as much as a file, and given up batch by batch.
                        if file.is_tidied()
                            && let Ok(entries) = file.run_entries(record, ends.start.0)
                        {
                            entries.map(|entry| unit_of(&entry)).take_while(|unit| give_up(unit)).for_each(drop);
                        }
                        break 'walk;
                    }
                }
                Ok(Stretch::Unsealed(entries)) => {
                    if !entries.iter().all(|entry| give_up(&unit_of(entry))) {
                        break;
                    }
                }
                Ok(Stretch::End) | Err(_) => break,
            }
        }
        (target > ends.start.0).then_some(Offset(target))
    }

    /// The log start, the truncations, and the bytes of unsealed batches that reach above the start.
    fn live_unsealed(&self, partition: PartitionNumber) -> Option<(i64, Cuts, u64)> {
        let state = self.state.lock();
        let known = state.partitions.get(&partition)?;
        let start = known.log_start();
        let dead = known.unsealed().iter().take_while(|entry| entry.last_offset() < start);
        let dead: u64 = dead.map(|entry| u64::from(entry.batch_bytes)).sum();
        Some((start, known.cuts().clone(), known.unsealed_bytes() - dead))
    }
}

fn unit_of(entry: &QueueEntry) -> Unit {
    Unit { end_offset: entry.last_offset() + 1, max_timestamp: entry.max_timestamp, bytes: entry.batch_bytes.into() }
}

/// Bytes of the run's batches that reach above `start`, up to its end.
fn live_bytes(file: &crate::sealed::Sealed, record: &crate::format::index::DirectoryRecord, start: i64) -> u64 {
    if record.base_offset >= start && !file.is_cut(record) {
        return record.bytes;
    }
    // A damaged index counts as a whole: nothing is given up because of it.
    file.run_entries(record, start).map_or(record.bytes, |entries| entries.map(|entry| u64::from(entry.batch_bytes)).sum())
}
