//! What a walk over a partition knows about transactions: which batches belong to aborted ones, and whether anything is
//! left of the transaction that a mark ends.
//!
//! A mark may go only when no batch of its transaction is left; this holds only if the walk began at the log start.
//! Used by the scan and by the cleaner, each with a walk of its own.

use super::CleanError;
use duolog_base::{Offset, ProducerId};
use duolog_wire::record::{BatchHeader, ControlRecord, DecodedBatch, TransactionOutcome};
use hashbrown::{HashMap, HashSet};
use std::collections::VecDeque;

/// An aborted transaction of the partition, as the transaction index holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    /// Of the first batch.
    pub first_offset: Offset,
    /// Of the mark that ends it.
    pub last_offset: Offset,
    /// Last stable offset when the mark was written; only passed on.
    pub last_stable_offset: Offset,
}

struct OngoingAbort {
    transaction: AbortedTransaction,
    batches_seen: bool,
}

impl OngoingAbort {
    fn ended_before(&self, offset: Offset) -> bool {
        self.transaction.last_offset < offset
    }
}

/// State of one walk in offset order.
#[derive(Default)]
pub(super) struct Transactions {
    /// Aborted ones whose first offset has not been reached, in that order.
    ahead: VecDeque<AbortedTransaction>,
    aborting: HashMap<ProducerId, OngoingAbort>,
    /// Producers of which batches were seen that are not aborted, since their last mark.
    committing: HashSet<ProducerId>,
    /// Aborted transactions of which something is left.
    retained: Vec<AbortedTransaction>,
    /// A batch could not be read: it may belong to any transaction, so that no mark may go from here on.
    unsure: bool,
}

impl Transactions {
    pub fn new(aborted: impl IntoIterator<Item = AbortedTransaction>) -> Transactions {
        let mut ahead: Vec<_> = aborted.into_iter().collect();
        ahead.sort_by_key(|transaction| transaction.first_offset);
        Transactions {
            ahead: ahead.into(),
            aborting: HashMap::new(),
            committing: HashSet::new(),
            retained: Vec::new(),
            unsure: false,
        }
    }

    /// Takes note of a batch that is no mark; whether it belongs to an aborted transaction.
    pub fn see_batch(&mut self, header: &BatchHeader) -> bool {
        self.advance(header);
        if !header.attributes.is_transactional() {
            return false;
        }
        match self.aborting.get_mut(&header.producer_id) {
            Some(ongoing) => {
                ongoing.batches_seen = true;
                true
            }
            None => {
                self.committing.insert(header.producer_id);
                false
            }
        }
    }

    /// Takes note of a control batch; whether it ends a transaction of which nothing is left. Other control records are kept.
    pub fn see_control(&mut self, batch: &DecodedBatch<'_>) -> Result<bool, CleanError> {
        self.advance(&batch.header);
        let Some(record) = batch.records().next() else {
            // Emptied by an earlier pass: there is no record left to decide about.
            return Ok(false);
        };
        let ControlRecord::EndTransaction { outcome, .. } = ControlRecord::decode(&record?)? else {
            return Ok(false);
        };
        let producer = batch.header.producer_id;
        Ok(match outcome {
            TransactionOutcome::Commit => !self.committing.remove(&producer) && !self.unsure,
            TransactionOutcome::Abort => match self.aborting.remove(&producer) {
                Some(ongoing) if ongoing.batches_seen || self.unsure => {
                    self.retained.push(ongoing.transaction);
                    false
                }
                _ => !self.unsure,
            },
        })
    }

    /// Takes note of a batch that could not be read.
    pub fn see_damaged(&mut self) {
        self.unsure = true;
    }

    /// Aborted transactions whose mark was met and of which batches were left when the walk began.
    pub fn take_retained(&mut self) -> Vec<AbortedTransaction> {
        std::mem::take(&mut self.retained)
    }

    fn advance(&mut self, header: &BatchHeader) {
        while let Some(transaction) = self.ahead.pop_front_if(|next| next.first_offset <= header.last_offset()) {
            let ended =
                self.aborting.get(&transaction.producer_id).is_none_or(|ongoing| ongoing.ended_before(transaction.first_offset));
            if ended {
                self.aborting.insert(transaction.producer_id, OngoingAbort { transaction, batches_seen: false });
            }
        }
        // Its mark is gone already, and the caller still names it: it must not swallow the producer's next transaction.
        if self.aborting.get(&header.producer_id).is_some_and(|ongoing| ongoing.ended_before(header.base_offset)) {
            self.aborting.remove(&header.producer_id);
        }
    }
}
