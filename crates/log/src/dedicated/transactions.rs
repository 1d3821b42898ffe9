//! The open transactions of a partition, as its batches tell of them: for the transaction index and the producer snapshots.
//!
//! Plain state; fed with every batch in order, when it is appended and when recovery finds it.

use super::format::transactions::AbortedTransaction;
use duolog_base::ProducerId;
use duolog_wire::record::{BatchHeader, ControlRecord, DecompressLimits, TransactionOutcome, decode_batch};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transactions {
    /// First offset of the open transaction, by producer.
    open: BTreeMap<i64, i64>,
    /// Epoch of the coordinator that ended the producer's last transaction.
    coordinators: BTreeMap<i64, i32>,
}

impl Transactions {
    /// Takes note of a batch; answers the transaction it aborts.
    pub fn take(&mut self, header: &BatchHeader, batch: &[u8]) -> Option<AbortedTransaction> {
        if header.attributes.is_control() {
            return self.end(header, batch);
        }
        if header.attributes.is_transactional() && header.is_idempotent() {
            self.open.entry(header.producer_id.0).or_insert(header.base_offset.0);
        }
        None
    }

    fn end(&mut self, header: &BatchHeader, batch: &[u8]) -> Option<AbortedTransaction> {
        // A mark that does not decode ends nothing; compaction leaves control batches without records.
        let decoded = decode_batch(batch, DecompressLimits::default()).ok()?;
        let record = decoded.records().next()?.ok()?;
        let ControlRecord::EndTransaction { outcome, coordinator_epoch } = ControlRecord::decode(&record).ok()? else {
            return None;
        };
        let producer_id = header.producer_id.0;
        self.coordinators.insert(producer_id, coordinator_epoch);
        let first_offset = self.open.remove(&producer_id)?;
        let last_offset = header.base_offset.0;
        let last_stable_offset = self.open.values().copied().min().unwrap_or(last_offset + 1);
        let aborted = AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset };
        (outcome == TransactionOutcome::Abort).then_some(aborted)
    }

    /// First offset of the oldest open transaction.
    pub fn first_open(&self) -> Option<i64> {
        self.open.values().copied().min()
    }

    /// Restores what a snapshot says of a producer; -1 stands for none.
    pub fn restore(&mut self, producer_id: i64, coordinator_epoch: i32, first_offset: i64) {
        if coordinator_epoch >= 0 {
            self.coordinators.insert(producer_id, coordinator_epoch);
        }
        if first_offset >= 0 {
            self.open.insert(producer_id, first_offset);
        }
    }

    /// Coordinator epoch and first offset for a snapshot; -1 for none.
    pub fn of(&self, producer: ProducerId) -> (i32, i64) {
        let coordinator_epoch = self.coordinators.get(&producer.0).copied().unwrap_or(-1);
        (coordinator_epoch, self.open.get(&producer.0).copied().unwrap_or(-1))
    }

    /// Producers of which it knows something.
    pub fn producers(&self) -> impl Iterator<Item = ProducerId> {
        self.open.keys().chain(self.coordinators.keys()).map(|id| ProducerId(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use duolog_base::{Offset, ProducerEpoch, TimestampMs};
    use duolog_wire::record::{BatchBuilder, Compression, NewRecord, encode_end_transaction, patch_base_offset};

    fn take(transactions: &mut Transactions, offset: i64, batch: BytesMut) -> Option<AbortedTransaction> {
        let mut batch = batch;
        patch_base_offset(&mut batch, Offset(offset));
        transactions.take(&BatchHeader::parse(&batch).unwrap(), &batch)
    }

    fn data(id: i64) -> BytesMut {
        let mut builder = BatchBuilder::new(Compression::None).producer(ProducerId(id), ProducerEpoch(0), 0).transactional();
        builder.push(NewRecord { value: Some(b"v"), ..NewRecord::default() }).unwrap();
        let mut out = BytesMut::new();
        builder.build(&mut out).unwrap();
        out
    }

    fn mark(id: i64, outcome: TransactionOutcome) -> BytesMut {
        let mut out = BytesMut::new();
        encode_end_transaction((ProducerId(id), ProducerEpoch(0)), outcome, 5, TimestampMs(1), &mut out).unwrap();
        out
    }

    #[test]
    fn an_abort_names_the_transaction_and_the_last_stable_offset_then() {
        let mut transactions = Transactions::default();
        for (offset, id) in [(0, 1), (1, 2), (2, 1)] {
            assert_eq!(take(&mut transactions, offset, data(id)), None);
        }
        let expected = AbortedTransaction { producer_id: 1, first_offset: 0, last_offset: 3, last_stable_offset: 1 };
        assert_eq!(take(&mut transactions, 3, mark(1, TransactionOutcome::Abort)), Some(expected));
        assert_eq!(take(&mut transactions, 4, mark(1, TransactionOutcome::Abort)), None, "nothing was open");
        assert_eq!(transactions.of(ProducerId(2)), (-1, 1));
        assert_eq!(take(&mut transactions, 5, mark(2, TransactionOutcome::Commit)), None);
        assert_eq!((transactions.of(ProducerId(2)), transactions.of(ProducerId(9))), ((5, -1), (-1, -1)));
    }
}
