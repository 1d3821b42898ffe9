//! Retention: how far a policy wants the log start raised. A segment is given up as a whole, as Kafka does.
//!
//! Raising the log start is the caller's act; removing files is the housekeeping's.

use super::format::manifest::SegmentRecord;
use super::log::DedicatedLog;
use crate::RetentionPolicy;
use duolog_base::{Offset, PartitionNumber, TimestampMs};

impl DedicatedLog {
    /// Bytes of the partition's segments.
    pub fn partition_bytes(&self, partition: PartitionNumber) -> u64 {
        let state = self.state.lock();
        let Some(known) = state.partitions.get(&partition) else { return 0 };
        let start = known.log.log_start();
        let dead: u64 = known.sealed.iter().take_while(|segment| segment.end <= start).map(|segment| segment.bytes).sum();
        known.total_bytes() - dead
    }

    /// The log start the policy asks for, if it is above the present one. Never beyond the durable end. The active segment goes only
    /// when all of it is too old.
    pub fn retention_target(&self, partition: PartitionNumber, policy: RetentionPolicy, now: TimestampMs) -> Option<Offset> {
        if policy.max_age_ms.is_none() && policy.max_bytes.is_none() {
            return None;
        }
        let mut excess = policy.max_bytes.map_or(0, |max| self.partition_bytes(partition).saturating_sub(max));
        // Timestamps below zero mean "none": such segments do not age.
        let oldest = policy.max_age_ms.map_or(0, |age| now.0.saturating_sub(age)).max(0);
        let state = self.state.lock();
        let known = state.partitions.get(&partition).filter(|known| known.quarantine.is_none())?;
        let start = known.log.log_start();
        let durable = known.log.end_at(state.progress.durable);
        let active_base = known.active.as_ref().map(|active| active.growing.base);
        let unsealed = known.unsealed().map(|segment| segment.growing.bounds());
        let segments: Vec<SegmentRecord> = known.sealed.iter().copied().chain(unsealed).collect();
        let mut target = start;
        for segment in segments.iter().filter(|segment| segment.end > start) {
            let too_old = (0..oldest).contains(&segment.max_timestamp);
            let too_much = segment.bytes <= excess && excess > 0 && Some(segment.base) != active_base;
            if !(too_old || too_much) || segment.end > durable {
                break;
            }
            excess = excess.saturating_sub(segment.bytes);
            target = segment.end;
        }
        (target > start).then_some(Offset(target))
    }
}
