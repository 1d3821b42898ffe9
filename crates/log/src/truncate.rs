//! Cutting off the end of a partition, and beginning it anew: what a follower does whose log is not the leader's.
//!
//! A truncation is a frame with the partition's new end and, as its payload, all that is known of it from then on beside its
//! batches. So a recovery takes over what it says, and nothing has to be found out again. It needs no sync of its own: it is durable
//! before anything that is appended after it, and if a crash drops it, the old end is back as it was.
//!
//! Entries that were cut in memory are gone. Those in sealed files are hidden by the partition's truncations (see `cuts`).

use crate::cuts::Cuts;
use crate::format::frame::{FrameHeader, FrameKind};
use crate::format::state::{self, encode_partition};
use crate::log::{Log, State};
use crate::partition::Partition;
use crate::producer::Producers;
use crate::sealed::{Sealed, SealedFiles, runs_from};
use crate::{LogOptions, ReadError, ReadLimits, TruncateError};
use bytes::Bytes;
use duolog_base::{Offset, PartitionNumber, Position};
use duolog_wire::record::batches;
use std::io;
use std::sync::Arc;

/// Bytes read at once to find out about producers.
const PORTION_BYTES: usize = 1 << 20;

/// The partition as it was when the cut was prepared.
struct Before {
    next_offset: i64,
    log_start: i64,
    cuts: Cuts,
    sealed: Arc<SealedFiles>,
    /// The first offset that is in memory, if any.
    first_unsealed: Option<i64>,
    producers: Producers,
}

impl Log {
    /// Cuts everything at or behind `to`; a batch that holds `to` goes as a whole. The position to wait for: once it is durable, the
    /// old end does not come back. Whatever is appended afterwards becomes durable together with the cut. Nothing is done if the
    /// log ends at `to` or before. May wait for the disk, to read batches of producers of which nothing else is left.
    pub fn truncate(&self, partition: PartitionNumber, to: Offset) -> Result<Position, TruncateError> {
        loop {
            let Some(before) = self.before_cut(partition, to)? else {
                return Ok(Position(self.state.lock().next));
            };
            let end = self.whole_batches(partition, to.0, &before)?;
            let producers = self.producers_at(partition, end, &before)?;
            if let Some(position) = self.cut(partition, end, &before, producers)? {
                return Ok(position);
            }
        }
    }

    /// Throws everything away that the partition holds and begins anew, empty, at `at`. What was wrong with it does not matter any more.
    pub fn restart_at(&self, partition: PartitionNumber, at: Offset) -> Result<Position, TruncateError> {
        let mut state = self.state.lock();
        if state.progress.is_stopped() {
            return Err(TruncateError::Stopped);
        }
        assert!(at >= Offset(0), "offsets begin at zero");
        let known = state.partitions.get(&partition).ok_or(TruncateError::UnknownPartition(partition))?;
        let after = known.after_restart(at.0);
        state.queue_truncation(partition, after, &self.options);
        Ok(self.cut_queued(state))
    }

    /// [`Log::open_partition`] for a partition that this log may have held before and dropped: unless it is known, it begins anew, and
    /// nothing counts of what sealed files and checkpoints still say of it. A truncation frame; the log's end behind it.
    pub fn open_partition_anew(&self, partition: PartitionNumber) -> Position {
        let mut state = self.state.lock();
        if state.progress.is_stopped() {
            state.partitions.entry(partition).or_default();
        } else if !state.partitions.contains_key(&partition) {
            state.queue_truncation(partition, Partition::default().after_restart(0), &self.options);
        }
        self.cut_queued(state)
    }

    /// What lies at `end` or behind it may still be cut off, and is not compacted by key: records before it would go because of it. Where
    /// nothing was said, all of a partition may be compacted.
    pub fn set_stable_end(&self, partition: PartitionNumber, end: Offset) {
        if let Some(known) = self.state.lock().partitions.get_mut(&partition) {
            known.set_stable_end(end.0);
        }
    }

    /// `None` if there is nothing to cut.
    fn before_cut(&self, partition: PartitionNumber, to: Offset) -> Result<Option<Before>, TruncateError> {
        let mut state = self.state.lock();
        if state.progress.is_stopped() {
            return Err(TruncateError::Stopped);
        }
        let known = state.partitions.get(&partition).ok_or(TruncateError::UnknownPartition(partition))?;
        if let Some(reason) = known.quarantine() {
            return Err(TruncateError::Quarantined(reason.to_owned()));
        }
        let (log_start, next_offset) = (known.log_start(), known.next_offset());
        if to.0 < log_start {
            return Err(TruncateError::BelowStart { asked: to, start: Offset(log_start) });
        }
        if to.0 >= next_offset {
            state.preserve(partition);
            if let Some(known) = state.partitions.get_mut(&partition) {
                known.forget_epochs_from(to.0);
            }
            return Ok(None);
        }
        Ok(Some(Before {
            next_offset,
            log_start,
            cuts: known.cuts().clone(),
            sealed: self.sealed.load_full(),
            first_unsealed: known.first_unsealed(),
            producers: known.producers().clone(),
        }))
    }

    /// The offset at or before `to` at which a batch begins, or none is.
    fn whole_batches(&self, partition: PartitionNumber, to: i64, before: &Before) -> Result<i64, TruncateError> {
        if before.first_unsealed.is_some_and(|first| to >= first) {
            let state = self.state.lock();
            let known = state.partitions.get(&partition).ok_or(TruncateError::UnknownPartition(partition))?;
            return Ok(known.unsealed_from(to).next().map_or(to, |entry| entry.base_offset.clamp(before.log_start, to)));
        }
        for (file, run) in runs_from(&before.sealed, partition.0, to, &before.cuts) {
            let mut entries = file.run_entries(&run, to).map_err(|error| self.cannot_be_read(error))?;
            if let Some(entry) = entries.next() {
                return Ok(entry.base_offset.clamp(before.log_start, to));
            }
        }
        Ok(to)
    }

    /// The producers as of `end`. As a rule what is remembered of each tells it; one whose remembered batches are all behind `end` is
    /// looked for in what is left.
    fn producers_at(&self, partition: PartitionNumber, end: i64, before: &Before) -> Result<Producers, TruncateError> {
        let (mut kept, lost) = before.producers.cut(end);
        if lost.is_empty() {
            return Ok(kept);
        }
        let (mut next, mut found) = known_producers(partition, end, before);
        while next < end {
            let limits = ReadLimits { upto: Offset(end), max_bytes: PORTION_BYTES, at_least_one: true, tags: None };
            let plan = self.read(partition, Offset(next), limits)?;
            let bytes = plan.materialize()?;
            for batch in batches(&bytes) {
                let damaged = |_| self.cannot_be_read(io::ErrorKind::InvalidData.into());
                let (header, _) = batch.map_err(damaged)?;
                let time = before.producers.last_append(header.producer_id).unwrap_or(header.max_timestamp);
                found.appended(&header, header.base_offset, time);
            }
            if plan.next.0 <= next {
                break;
            }
            next = plan.next.0;
        }
        kept.take_from(found, &lost);
        Ok(kept)
    }

    /// Cuts, unless the partition is another one by now.
    fn cut(
        &self,
        partition: PartitionNumber,
        end: i64,
        before: &Before,
        producers: Producers,
    ) -> Result<Option<Position>, TruncateError> {
        let mut state = self.state.lock();
        if state.progress.is_stopped() {
            return Err(TruncateError::Stopped);
        }
        let known = state.partitions.get(&partition).ok_or(TruncateError::UnknownPartition(partition))?;
        let same = known.next_offset() == before.next_offset && *known.cuts() == before.cuts;
        if !same || known.log_start() > end {
            return Ok(None);
        }
        let after = known.after_cut(end, producers);
        state.queue_truncation(partition, after, &self.options);
        Ok(Some(self.cut_queued(state)))
    }

    fn cut_queued(&self, state: parking_lot::MutexGuard<'_, State>) -> Position {
        let end = Position(state.next);
        drop(state);
        self.shell.wake_syncer();
        end
    }

    fn cannot_be_read(&self, error: io::Error) -> TruncateError {
        TruncateError::Read(self.read_failed(error))
    }
}

/// What the newest sealed file says of the producers of whose end nothing was cut, and which ends at `end` or before; and how far that
/// goes. From there on all batches must be readable: nothing is known where the log begins.
fn known_producers(partition: PartitionNumber, end: i64, before: &Before) -> (i64, Producers) {
    let says = |file: &&Arc<Sealed>| {
        let known = file.index().find(partition.0);
        let readable = before.log_start..=end.min(before.cuts.end_for(file.end));
        known.is_some_and(|record| readable.contains(&record.end_offset))
    };
    let newest = before.sealed.iter().rev().find(says);
    let found = newest.and_then(|file| state::decode(file.index().state()));
    let known = found.into_iter().flatten().find(|(number, _)| *number == partition.0);
    known.map_or_else(|| (before.log_start, Producers::default()), |(_, known)| (known.next_offset(), known.producers().clone()))
}

impl State {
    /// Queues the frame, then takes over the state after it.
    fn queue_truncation(&mut self, number: PartitionNumber, after: Partition, options: &LogOptions) {
        let mut payload = Vec::new();
        encode_partition(&mut payload, number.0, &after);
        let (end, epoch) = (after.next_offset(), after.leader_epoch());
        // The frame comes first: if it begins a new file, the old file's state must not know of it.
        let position = self.queue_control(FrameKind::Truncation, number, end, epoch, Bytes::from(payload), options);
        self.preserve(number);
        self.partitions.entry(number).or_default().cut(position, after);
    }
}

/// The state of the partition after a truncation; `None` if the payload is not that.
pub(crate) fn decode_truncation(frame: &FrameHeader, payload: &[u8]) -> Option<Partition> {
    let mut states = state::decode(payload)?;
    let (number, after) = states.pop()?;
    let sound = states.is_empty() && number == frame.partition && after.next_offset() == frame.offset;
    (sound && (0..=after.next_offset()).contains(&after.log_start())).then_some(after)
}

impl From<ReadError> for TruncateError {
    fn from(error: ReadError) -> TruncateError {
        TruncateError::Read(error)
    }
}
