//! What is known of one partition: what was sent to it, and what lies where.
//!
//! A record that somebody was told of is owed to every later reader until power loss or the log start releases it. Used by `History` only.

use super::event::{Origin, Promise, ValueHash};
use super::violation::{Violation, Violations};
use duolog_base::{Offset, PartitionNumber, ProducerId};
use std::collections::{BTreeMap, HashMap};

/// What is known of one partition.
#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) sent: HashMap<ValueHash, Sent>,
    /// Number of the next send.
    next_send: u64,
    /// Records that are owed, by offset.
    pub(super) placed: BTreeMap<Offset, Placed>,
    /// For each producer, the numbers of the sends at its offsets; they must rise.
    order: HashMap<ProducerId, BTreeMap<Offset, u64>>,
    pub(super) log_start: Offset,
    pub(super) durable_end: Offset,
}

#[derive(Debug)]
pub(super) struct Sent {
    number: u64,
    origin: Option<Origin>,
    refused: bool,
    /// Where a record with an origin is.
    offset: Option<Offset>,
    /// Where its producer was told that it is.
    pub(super) acked: Option<Offset>,
}

#[derive(Debug)]
pub(super) struct Placed {
    pub(super) value: ValueHash,
    pub(super) promise: Promise,
}

impl Partition {
    pub(super) fn sent(&mut self, value: ValueHash, origin: Option<Origin>) {
        let number = self.next_send;
        self.next_send += 1;
        let sent = self.sent.entry(value).or_insert(Sent { number, origin, refused: false, offset: None, acked: None });
        // Sent again after it was refused: it may appear after all, in its new turn.
        if sent.refused {
            *sent = Sent { number, origin, refused: false, offset: None, acked: None };
        }
    }

    pub(super) fn refused(&mut self, value: ValueHash) {
        if let Some(sent) = self.sent.get_mut(&value) {
            sent.refused = true;
        }
    }

    /// What producers were told of and readers are owed, with its offset.
    pub(super) fn acknowledged(&self) -> impl Iterator<Item = (ValueHash, Offset)> {
        let acked = self.sent.iter().filter_map(|(value, sent)| Some((*value, sent.acked?)));
        acked.filter(|(_, offset)| *offset >= self.log_start)
    }

    /// Its producer was told where it is; of several times the first counts.
    pub(super) fn acked(&mut self, value: ValueHash, offset: Offset) {
        if let Some(sent) = self.sent.get_mut(&value) {
            sent.acked.get_or_insert(offset);
        }
    }

    /// Somebody saw `value` at `offset`, or was told that it is there.
    pub(super) fn place(
        &mut self,
        partition: PartitionNumber,
        offset: Offset,
        value: ValueHash,
        promise: Promise,
        violations: &mut Violations,
    ) {
        match self.sent.get(&value) {
            None => return violations.push(Violation::NeverSent { partition, offset, value }),
            Some(sent) if sent.refused => return violations.push(Violation::RefusedSeen { partition, offset, value }),
            Some(_) => {}
        }
        match self.placed.get_mut(&offset) {
            Some(placed) if placed.value == value => placed.promise = placed.promise.max(promise),
            Some(placed) => {
                let (first, second) = (placed.value, value);
                violations.push(Violation::InconsistentOffsets { partition, offset, first, second });
            }
            None => {
                self.placed.insert(offset, Placed { value, promise });
                self.check_origin(partition, offset, value, violations);
            }
        }
    }

    /// At most once, and in the order of the sends.
    fn check_origin(&mut self, partition: PartitionNumber, offset: Offset, value: ValueHash, violations: &mut Violations) {
        let Some(sent) = self.sent.get_mut(&value) else { return };
        let Some(origin) = sent.origin else { return };
        if let Some(first) = sent.offset {
            return violations.push(Violation::Duplicate { partition, origin, first, second: offset });
        }
        sent.offset = Some(offset);
        let producer = origin.producer;
        let order = self.order.entry(producer).or_default();
        if let Some((earlier, _)) = order.range(..offset).next_back().filter(|(_, number)| **number > sent.number) {
            violations.push(Violation::NonmonotonicSend { partition, producer, earlier: *earlier, later: offset });
        }
        if let Some((later, _)) = order.range(offset..).next().filter(|(_, number)| **number < sent.number) {
            violations.push(Violation::NonmonotonicSend { partition, producer, earlier: offset, later: *later });
        }
        order.insert(offset, sent.number);
    }

    /// What was only written may be gone, and its offset given to another record.
    pub(super) fn power_lost(&mut self) {
        let gone = self.placed.extract_if(.., |_, placed| placed.promise == Promise::Written);
        for (offset, placed) in gone {
            let Some(sent) = self.sent.get_mut(&placed.value) else { continue };
            sent.acked = sent.acked.filter(|acked| *acked != offset);
            let Some(origin) = sent.origin else { continue };
            if sent.offset == Some(offset) {
                sent.offset = None;
            }
            if let Some(order) = self.order.get_mut(&origin.producer) {
                order.remove(&offset);
            }
        }
    }
}
