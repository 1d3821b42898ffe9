//! Says of each batch of a partition what is left of it.
//!
//! A record stays if no newer one of its key is in the map; a tombstone, and a mark whose transaction is all gone, stays
//! until the delete horizon of its batch (KIP-534): the first pass that finds it writes the horizon into the batch, a pass after that
//! time drops it. Records without a key do not belong into a compacted topic and go.
//!
//! Fed with all batches in offset order from the log start on. Called by the keepers of both layouts.

use super::decide::CleaningPolicy;
use super::offset_map::OffsetMap;
use super::transactions::{AbortedTransaction, Transactions};
use super::{CleanError, decode_checked};
use bytes::BytesMut;
use duolog_base::{Offset, ProducerEpoch, ProducerId, TimestampMs};
use duolog_wire::record::{
    BatchBuilder, BatchHeader, DecodedBatch, DecompressLimits, HEADER_BYTES, Header, NewRecord, Record, put_emptied_batch,
};
use hashbrown::HashMap;

/// What a known producer wrote last in the partition. Its sequence or epoch must outlive its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerEnd {
    /// Last offset of its newest batch with records; `None` if only marks of it are known.
    pub last_data_offset: Option<Offset>,
    pub epoch: ProducerEpoch,
}

/// Of all producers that are still known. Empty where producer state does not come from the batches.
pub type ProducerEnds = HashMap<ProducerId, ProducerEnd>;

/// Where a pass begins to be dirty, where it must end, and when it began.
#[derive(Clone, Copy, Debug)]
pub struct PassBounds {
    pub first_dirty: Offset,
    /// First uncleanable offset. The last batch before it stays, if only as a header, so that the offset is not forgotten.
    pub first_uncleanable: Offset,
    pub now: TimestampMs,
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleaned {
    /// It stays byte for byte.
    Keep,
    /// Nothing of it is left.
    Drop,
    /// This batch, with the same base and last offset, takes its place.
    Replace(BytesMut),
}

/// What a pass has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleaningStatistics {
    pub bytes_read: u64,
    pub bytes_kept: u64,
    pub records_read: u64,
    pub records_kept: u64,
    /// Records dropped because they had no key.
    pub keyless_records: u64,
    /// Batches that could not be read and stay as they are.
    pub damaged_batches: u64,
}

/// One pass.
pub struct Cleaner<'a> {
    map: &'a OffsetMap,
    bounds: PassBounds,
    delete_retention_ms: i64,
    producers: &'a ProducerEnds,
    transactions: Transactions,
    limits: DecompressLimits,
    statistics: CleaningStatistics,
}

/// What a pass knows at a point of its walk, for whoever walks in several steps.
#[derive(Default)]
pub struct CleanerWalk {
    transactions: Transactions,
    statistics: CleaningStatistics,
}

impl CleanerWalk {
    /// The beginning of a walk; see [`Cleaner::new`].
    pub fn new(aborted: impl IntoIterator<Item = AbortedTransaction>) -> CleanerWalk {
        CleanerWalk { transactions: Transactions::new(aborted), statistics: CleaningStatistics::default() }
    }
}

/// How a batch is treated, before its records are looked at.
#[derive(Clone, Copy)]
struct Treatment {
    /// No record stays.
    discard: bool,
    /// It is a mark whose transaction is all gone: it needs a delete horizon.
    lonely_mark: bool,
    /// If no record stays, the header does.
    keep_header: bool,
}

/// What a look at the records of a batch found.
#[derive(Default)]
struct Survey {
    kept: i32,
    /// Tombstones stay that the pass covers.
    tombstones: bool,
    /// Of them, some that no earlier pass has covered.
    fresh_tombstones: bool,
}

impl<'a> Cleaner<'a> {
    /// `aborted` holds all aborted transactions before [`OffsetMap::end`].
    pub fn new(
        map: &'a OffsetMap,
        bounds: PassBounds,
        policy: &CleaningPolicy,
        producers: &'a ProducerEnds,
        aborted: impl IntoIterator<Item = AbortedTransaction>,
        limits: DecompressLimits,
    ) -> Cleaner<'a> {
        Cleaner::resume(map, bounds, policy, producers, CleanerWalk::new(aborted), limits)
    }

    /// Goes on where a walk over the same partition was paused.
    pub fn resume(
        map: &'a OffsetMap,
        bounds: PassBounds,
        policy: &CleaningPolicy,
        producers: &'a ProducerEnds,
        walk: CleanerWalk,
        limits: DecompressLimits,
    ) -> Cleaner<'a> {
        Cleaner {
            map,
            bounds,
            delete_retention_ms: policy.delete_retention_ms,
            producers,
            transactions: walk.transactions,
            limits,
            statistics: walk.statistics,
        }
    }

    /// Ends a stretch of the walk; see [`Cleaner::resume`].
    pub fn pause(self) -> CleanerWalk {
        CleanerWalk { transactions: self.transactions, statistics: self.statistics }
    }

    /// Decides about the batch at the beginning of `batch`. One that cannot be read is an error; the caller keeps it.
    pub fn clean(&mut self, batch: &[u8]) -> Result<Cleaned, CleanError> {
        let cleaned = self.decide(batch);
        let bytes = BatchHeader::parse(batch).map_or(batch.len(), |header| header.total_bytes()) as u64;
        self.statistics.bytes_read += bytes;
        self.statistics.bytes_kept += match &cleaned {
            Ok(Cleaned::Keep) | Err(_) => bytes,
            Ok(Cleaned::Drop) => 0,
            Ok(Cleaned::Replace(replacement)) => replacement.len() as u64,
        };
        if cleaned.is_err() {
            self.transactions.see_damaged();
            self.statistics.damaged_batches += 1;
        }
        cleaned
    }

    pub fn statistics(&self) -> CleaningStatistics {
        self.statistics
    }

    /// The aborted transactions before [`OffsetMap::end`] readers must still be told of: what a rebuilt transaction index holds,
    /// and what the next pass is given.
    pub fn into_retained_aborts(mut self) -> Vec<AbortedTransaction> {
        self.take_retained_aborts()
    }

    /// Those of them whose marks were met since they were last taken.
    pub fn take_retained_aborts(&mut self) -> Vec<AbortedTransaction> {
        self.transactions.take_retained()
    }

    fn decide(&mut self, bytes: &[u8]) -> Result<Cleaned, CleanError> {
        let header = BatchHeader::parse(bytes)?;
        if header.base_offset >= self.map.end() {
            return Ok(Cleaned::Keep);
        }
        let batch = decode_checked(bytes, self.limits)?;
        let treatment = self.treatment(&batch)?;
        let survey = self.survey(&batch, treatment);
        self.statistics.records_read += header.record_count as u64;
        self.statistics.records_kept += survey.kept as u64;
        if survey.kept == 0 {
            return Ok(emptied(&header, treatment.keep_header));
        }
        let horizon = self.horizon(&header, treatment, &survey);
        if survey.kept == header.record_count && horizon == horizon_of(&header) {
            return Ok(Cleaned::Keep);
        }
        self.rewrite(&batch, treatment, horizon)
    }

    fn treatment(&mut self, batch: &DecodedBatch<'_>) -> Result<Treatment, CleanError> {
        let header = &batch.header;
        let keep_header = self.ends_a_producer(header) || header.next_offset() == self.bounds.first_uncleanable;
        if !header.attributes.is_control() {
            let discard = self.transactions.see_batch(header);
            return Ok(Treatment { discard, lonely_mark: false, keep_header });
        }
        let lonely_mark = self.transactions.see_control(batch)?;
        let discard = lonely_mark && horizon_of(header).is_some_and(|horizon| horizon <= self.bounds.now);
        Ok(Treatment { discard, lonely_mark, keep_header })
    }

    /// Whether the batch holds the last sequence, or else the last epoch, of a producer that is still known.
    fn ends_a_producer(&self, header: &BatchHeader) -> bool {
        let known = self.producers.get(&header.producer_id).filter(|_| header.is_idempotent());
        known.is_some_and(|end| match end.last_data_offset {
            Some(offset) => header.last_offset() == offset,
            None => header.attributes.is_control() && header.producer_epoch == end.epoch,
        })
    }

    fn survey(&mut self, batch: &DecodedBatch<'_>, treatment: Treatment) -> Survey {
        let mut survey = Survey::default();
        let header = &batch.header;
        for record in batch.records().filter_map(Result::ok) {
            if self.stays(header, &record, treatment) {
                survey.kept += 1;
                let tombstone = self.is_tombstone(header, &record);
                survey.tombstones |= tombstone;
                survey.fresh_tombstones |= tombstone && record.offset >= self.bounds.first_dirty;
            } else if record.key.is_none() && !treatment.discard {
                self.statistics.keyless_records += 1;
            }
        }
        survey
    }

    fn stays(&self, header: &BatchHeader, record: &Record<'_>, treatment: Treatment) -> bool {
        if treatment.discard {
            return false;
        }
        if header.attributes.is_control() || record.offset >= self.map.end() {
            return true;
        }
        let Some(key) = record.key else { return false };
        let newest = self.map.get(key).is_none_or(|newest| record.offset >= newest);
        newest && (record.value.is_some() || self.tombstone_stays(header, record.offset))
    }

    fn is_tombstone(&self, header: &BatchHeader, record: &Record<'_>) -> bool {
        !header.attributes.is_control() && record.value.is_none() && record.offset < self.map.end()
    }

    fn tombstone_stays(&self, header: &BatchHeader, offset: Offset) -> bool {
        // In a batch that an earlier pass covered in part, the horizon was set before this tombstone was covered.
        let unseen = self.is_split(header) && offset >= self.bounds.first_dirty;
        unseen || horizon_of(header).is_none_or(|horizon| self.bounds.now < horizon)
    }

    /// Whether an earlier pass ended within the batch.
    fn is_split(&self, header: &BatchHeader) -> bool {
        header.base_offset < self.bounds.first_dirty && self.bounds.first_dirty <= header.last_offset()
    }

    /// The delete horizon the batch is to have.
    fn horizon(&self, header: &BatchHeader, treatment: Treatment, survey: &Survey) -> Option<TimestampMs> {
        let new = TimestampMs(self.bounds.now.0.saturating_add(self.delete_retention_ms));
        if survey.fresh_tombstones && self.is_split(header) {
            return Some(new);
        }
        let needed = survey.tombstones || treatment.lonely_mark;
        horizon_of(header).or(needed.then_some(new))
    }

    fn rewrite(
        &self,
        batch: &DecodedBatch<'_>,
        treatment: Treatment,
        horizon: Option<TimestampMs>,
    ) -> Result<Cleaned, CleanError> {
        let header = &batch.header;
        let mut builder = BatchBuilder::in_place_of(header);
        if let Some(horizon) = horizon {
            builder = builder.delete_horizon(horizon);
        }
        for record in batch.records().filter_map(Result::ok).filter(|record| self.stays(header, record, treatment)) {
            let headers: Vec<Header<'_>> = record.headers.clone().collect();
            let delta = (record.offset.0 - header.base_offset.0) as i32;
            let kept = NewRecord { timestamp: record.timestamp, key: record.key, value: record.value, headers: &headers };
            builder.push_at(delta, kept)?;
        }
        builder.end_at(header.last_offset_delta)?;
        let mut replacement = BytesMut::new();
        builder.build(&mut replacement)?;
        Ok(Cleaned::Replace(replacement))
    }
}

fn horizon_of(header: &BatchHeader) -> Option<TimestampMs> {
    header.attributes.has_delete_horizon().then_some(header.base_timestamp)
}

fn emptied(header: &BatchHeader, keep_header: bool) -> Cleaned {
    if !keep_header {
        return Cleaned::Drop;
    }
    if header.record_count == 0 {
        return Cleaned::Keep;
    }
    let mut replacement = BytesMut::with_capacity(HEADER_BYTES);
    put_emptied_batch(header, &mut replacement);
    Cleaned::Replace(replacement)
}
