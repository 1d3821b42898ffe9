//! What each frame changes, found again in the order it was written.

use super::Recovery;
use crate::OpenError;
use crate::append::take_batch;
use crate::files::log_path;
use crate::format::frame::{FrameHeader, FrameKind};
use crate::format::index::QueueEntry;
use crate::partition::Partition;
use crate::truncate::decode_truncation;
use duolog_base::mutant::{Mutant, planted};
use duolog_base::{LeaderEpoch, PartitionNumber, Position};
use duolog_wire::record::BatchHeader;

impl Recovery<'_> {
    pub(super) fn replay(&mut self, frame: &FrameHeader, payload: &[u8]) -> Result<(), OpenError> {
        self.generation = self.generation.max(frame.generation);
        let number = PartitionNumber(frame.partition);
        match frame.kind {
            FrameKind::Batch => return self.replay_batch(number, frame, payload),
            FrameKind::Truncation if planted(Mutant::TruncationFramesSkipped) => {}
            FrameKind::Truncation => return self.replay_truncation(number, frame, payload),
            FrameKind::LogStart => {
                self.partitions.entry(number).or_default().raise_log_start(frame.offset);
            }
            FrameKind::Drop => {
                self.partitions.remove(&number);
                self.damage.dropped(number);
            }
            FrameKind::GenerationStart => {}
        }
        Ok(())
    }

    fn replay_batch(&mut self, number: PartitionNumber, frame: &FrameHeader, payload: &[u8]) -> Result<(), OpenError> {
        let sound = BatchHeader::parse(payload)
            .ok()
            .filter(|header| header.total_bytes() == payload.len() && header.base_offset.0 == frame.offset)
            .filter(|header| header.last_offset_delta == frame.last_offset_delta);
        let Some(header) = sound else {
            return Err(self.wrong_payload(frame, "a frame does not hold a record batch"));
        };
        let entry = QueueEntry::of_frame(frame, header.max_timestamp.0);
        let trusted = self.trusted;
        let partition = self.partitions.entry(number).or_insert_with(|| match trusted {
            true => Partition::default(),
            // What was there before is known to nobody any more; the partition begins here.
            false => Partition::restored(frame.offset, frame.offset, frame.leader_epoch),
        });
        self.damage.seen(number, partition.next_offset(), frame.offset);
        if frame.offset < partition.next_offset() {
            self.damage.overlap(number);
            return Ok(());
        }
        take_batch(partition, entry, LeaderEpoch(frame.leader_epoch), &header, self.now);
        Ok(())
    }

    fn replay_truncation(&mut self, number: PartitionNumber, frame: &FrameHeader, payload: &[u8]) -> Result<(), OpenError> {
        let Some(after) = decode_truncation(frame, payload) else {
            return Err(self.wrong_payload(frame, "a frame does not hold the state of its partition"));
        };
        let partition = self.partitions.entry(number).or_default();
        self.damage.truncated(number, partition.next_offset(), &after);
        partition.cut(frame.position, after);
        Ok(())
    }

    /// The checksums are right: this was written so.
    fn wrong_payload(&self, frame: &FrameHeader, problem: &'static str) -> OpenError {
        let path = log_path(self.dir, self.bases.iter().rev().copied().find(|base| *base <= frame.position).unwrap_or(0));
        OpenError::Corrupt { path, position: Position(frame.position), problem }
    }
}
