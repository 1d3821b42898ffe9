//! Reads the dirty part of a partition and notes the newest offset of each key.
//!
//! Fed with batches in offset order, from the one that holds the first dirty offset up to the first uncleanable one. Batches
//! of aborted transactions do not count. Called by the keepers of both layouts; the map goes to [`super::Cleaner`].

use super::offset_map::{MapFull, OffsetMap};
use super::transactions::{AbortedTransaction, Transactions};
use super::{CleanError, decode_checked};
use duolog_base::Offset;
use duolog_wire::record::{BatchHeader, DecodedBatch, DecompressLimits};

/// Whether a scan wants more batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanState {
    /// Feed the next batch, if there is one before the bound.
    Open,
    /// The map is full or the bound is reached: what follows is for a later pass.
    Closed,
}

/// One scan.
pub struct KeyScan {
    map: OffsetMap,
    first_dirty: Offset,
    bound: Offset,
    /// First offset that is not covered, if the scan is closed.
    closed_at: Option<Offset>,
    /// Everything below was covered so far.
    covered: Offset,
    transactions: Transactions,
    limits: DecompressLimits,
}

impl KeyScan {
    /// `bound` is the first uncleanable offset. `aborted` holds the aborted transactions that touch the dirty part.
    pub fn new(
        map: OffsetMap,
        first_dirty: Offset,
        bound: Offset,
        aborted: impl IntoIterator<Item = AbortedTransaction>,
        limits: DecompressLimits,
    ) -> KeyScan {
        assert!(map.keys() == 0, "a map serves one pass");
        let closed_at = (first_dirty >= bound).then_some(first_dirty);
        let transactions = Transactions::new(aborted);
        KeyScan { map, first_dirty, bound, closed_at, covered: first_dirty, transactions, limits }
    }

    /// Reads the batch at the beginning of `batch`. An error closes the scan before that batch: what was read before it can
    /// still be cleaned. If nothing was ([`OffsetMap::end`] is the first dirty offset) the partition cannot be cleaned.
    pub fn feed(&mut self, batch: &[u8]) -> Result<ScanState, CleanError> {
        if self.closed_at.is_some() {
            return Ok(ScanState::Closed);
        }
        let read = self.read(batch);
        if read.is_err() {
            self.closed_at = Some(self.covered);
        }
        read?;
        Ok(if self.closed_at.is_some() { ScanState::Closed } else { ScanState::Open })
    }

    /// The map, which knows how far it reaches. Offsets without a batch before the bound count as covered.
    pub fn finish(mut self) -> OffsetMap {
        self.map.set_end(self.closed_at.unwrap_or(self.bound));
        self.map
    }

    fn read(&mut self, batch: &[u8]) -> Result<(), CleanError> {
        let header = BatchHeader::parse(batch)?;
        if header.base_offset >= self.bound {
            self.closed_at = Some(self.bound);
            return Ok(());
        }
        let decoded = decode_checked(batch, self.limits)?;
        if header.attributes.is_control() {
            self.transactions.see_control(&decoded)?;
        } else if !self.transactions.see_batch(&header) {
            self.closed_at = self.note_keys(&decoded);
        }
        self.covered = self.covered.max(header.next_offset().min(self.bound));
        Ok(())
    }

    /// Puts the keys of a batch into the map; the offset of the record that found no room, if there was one.
    fn note_keys(&mut self, batch: &DecodedBatch<'_>) -> Option<Offset> {
        let dirty = self.first_dirty..self.bound;
        let records = batch.records().filter_map(Result::ok).filter(|record| dirty.contains(&record.offset));
        for record in records {
            if let Some(Err(MapFull { .. })) = record.key.map(|key| self.map.put(key, record.offset)) {
                return Some(record.offset);
            }
        }
        None
    }
}
