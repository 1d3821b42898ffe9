//! Appending what a leader has appended to the dedicated layout; see the shared layout's `replica`.
//!
//! A batch behind a gap is no different on disk from one whose offset was damaged, which no checksum covers. So before the first one
//! is queued, the manifest says that there are gaps; from then on a recovery takes them for what they are.

use super::files::replace;
use super::log::{DedicatedLog, State};
use super::names::MANIFEST;
use crate::append::{Piece, sound_header};
use crate::replica::check_follows;
use crate::{AppendOrigin, Appended, LogFailure, ReplicaAppendError, ReplicaBatch, ReplicaReceipt};
use bytes::Bytes;
use duolog_base::{Offset, PartitionNumber, Position, TimestampMs};
use duolog_wire::record::BatchHeader;
use hashbrown::HashMap;
use std::io;

impl DedicatedLog {
    /// Queues all batches for one group commit, as they are. They have the room of [`AppendOrigin::Internal`]. Waits for the disk if
    /// a partition has its first gap.
    ///
    /// Panics if a range does not hold exactly one sound batch: the caller has validated them.
    pub fn append_replica(&self, buffer: Bytes, batches: &[ReplicaBatch], now: TimestampMs) -> ReplicaReceipt {
        let headers: Vec<BatchHeader> = batches.iter().map(|batch| sound_header(&buffer[batch.range.clone()])).collect();
        let first_gaps = self.state.lock().first_gaps(batches, &headers);
        if first_gaps.into_iter().any(|partition| self.announce_gaps(partition).is_err()) {
            return refused(ReplicaAppendError::Stopped, batches);
        }
        let mut state = self.state.lock();
        if let Some(refusal) = state.refusal(AppendOrigin::Internal, buffer.len(), batches.len(), &self.options) {
            return refused(refusal.into(), batches);
        }
        let first_queued = state.queue.len();
        let mut positions = Vec::with_capacity(batches.len());
        let mut results = Vec::with_capacity(batches.len());
        for (batch, header) in batches.iter().zip(&headers) {
            positions.push(state.next);
            results.push(state.admit_replica(batch, header, &buffer[batch.range.clone()], now));
        }
        let pieces = batches.iter().zip(&results).map(|(batch, result)| Piece { range: &batch.range, queued: result.is_ok() });
        state.attach(first_queued, buffer, pieces.zip(positions.iter().copied()));
        let queued = state.queue.len() > first_queued;
        let end = Position(if queued { state.next } else { 0 });
        let queued_bytes = state.progress.queued_bytes;
        drop(state);
        if queued {
            self.shell.queued(queued_bytes);
        }
        ReplicaReceipt { results, end }
    }

    /// Has the manifest say, durably, that the partition has gaps.
    fn announce_gaps(&self, partition: PartitionNumber) -> Result<(), LogFailure> {
        // The directory may still have to be made, by what is queued.
        for is_queued in [true, false] {
            {
                let _house = self.house.lock();
                let _writer = self.writer.lock();
                let (dir, manifest) = {
                    let mut state = self.state.lock();
                    state.progress.check()?;
                    let Some(known) = state.partitions.get_mut(&partition) else { return Ok(()) };
                    (known.gaps, known.touched) = (true, true);
                    if !known.has_directory {
                        // The one with which its directory is made says so.
                        return Ok(());
                    }
                    (self.directory(&known.name), known.manifest(partition, false))
                };
                let disk = self.disk.as_ref();
                match replace(disk, &dir.join(MANIFEST), &manifest.encode()).and_then(|()| disk.sync_dir(&dir)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound && is_queued => {}
                    result => return result.map_err(|error| self.fail("announce gaps", &dir, error)),
                }
            }
            self.write_step()?;
        }
        Ok(())
    }
}

fn refused(refusal: ReplicaAppendError, batches: &[ReplicaBatch]) -> ReplicaReceipt {
    ReplicaReceipt { results: vec![Err(refusal); batches.len()], end: Position(0) }
}

impl State {
    /// Partitions that would have their first gap.
    fn first_gaps(&self, batches: &[ReplicaBatch], headers: &[BatchHeader]) -> Vec<PartitionNumber> {
        let mut ends: HashMap<PartitionNumber, i64> = HashMap::new();
        let mut found = Vec::new();
        for (batch, header) in batches.iter().zip(headers) {
            let Some(known) = self.partitions.get(&batch.partition).filter(|known| !known.gaps) else { continue };
            let end = ends.entry(batch.partition).or_insert_with(|| known.log.next_offset());
            if header.base_offset.0 > *end {
                found.push(batch.partition);
            }
            *end = header.base_offset.0.saturating_add(header.last_offset_delta.into()).saturating_add(1);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn admit_replica(
        &mut self,
        batch: &ReplicaBatch,
        header: &BatchHeader,
        bytes: &[u8],
        now: TimestampMs,
    ) -> Result<Appended, ReplicaAppendError> {
        let number = batch.partition;
        let partition = self.partitions.get(&number).ok_or(ReplicaAppendError::UnknownPartition(number))?;
        if let Some(reason) = &partition.quarantine {
            return Err(ReplicaAppendError::Quarantined(reason.clone()));
        }
        check_follows(&partition.log, header)?;
        let log_start = Offset(partition.log.log_start());
        let last_offset = self.queue_batch(number, header, bytes, batch.tag_filter, now);
        Ok(Appended { base_offset: header.base_offset, last_offset, log_start, duplicate: false })
    }
}
