//! What must be true after every event, whatever goes wrong.
//!
//! The oracle sees what readers and producers may see: everything below a high watermark that any node believes in is *committed*, and
//! from then on for ever. It also looks behind the scenes, so that a loss is found when it becomes possible and not only when it happens:
//! everybody in the controller's in-sync set or eligible must hold all that is committed where power loss does not reach it.

use crate::delivery::{DueViolation, Dues, ShareViolation, Shares, values};
use crate::groups::{GroupViolation, Groups, Promise};
use crate::log::{Log, Partition, Record};
use crate::message::Answer;
use bytes::Bytes;
use duolog_base::{LeaderEpoch, NodeId, Offset};
use duolog_core::group::CommittedTopic;
use std::collections::BTreeMap;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two readers see different records at one offset, or an acknowledged record is another one.
    Changed {
        partition: Partition,
        offset: usize,
        was: u64,
        is: u64,
        node: NodeId,
    },
    /// A node shows more than it has.
    Missing {
        partition: Partition,
        offset: usize,
        node: NodeId,
    },
    /// A record that nobody sent.
    Unsent {
        partition: Partition,
        offset: usize,
        value: u64,
    },
    /// A record stands twice in a partition.
    Repeated {
        partition: Partition,
        offset: usize,
        value: u64,
    },
    /// A record was acknowledged at an offset that is not committed, or holds another one.
    AckedTooEarly {
        partition: Partition,
        offset: usize,
        value: u64,
    },
    /// Two nodes lead in one epoch.
    TwoLeaders {
        partition: Partition,
        epoch: LeaderEpoch,
        nodes: [NodeId; 2],
    },
    /// A leader lacks a committed record.
    LeaderLacks {
        partition: Partition,
        offset: usize,
        node: NodeId,
    },
    /// Somebody in sync or eligible does not hold a committed record for good.
    CountedLacks {
        partition: Partition,
        offset: usize,
        node: NodeId,
    },
    /// A high watermark went back within one life of a node.
    WentBack {
        partition: Partition,
        node: NodeId,
        from: Offset,
        to: Offset,
    },
    /// A follower was told to cut what is committed.
    Quarantined {
        partition: Partition,
        node: NodeId,
        committed: Offset,
        cut: Offset,
    },
    /// The answer to a fetch does not fit the log that it was asked for.
    Misfit {
        partition: Partition,
        node: NodeId,
    },
    /// After everything has healed a partition does not come back, or its replicas differ.
    NotHealed {
        partition: Partition,
        what: &'static str,
    },
    /// Records of an older leadership stand behind those of a newer one.
    EpochWentBack {
        partition: Partition,
        offset: usize,
        from: LeaderEpoch,
        to: LeaderEpoch,
    },
    /// The log takes for damage what power loss has left, or does not do what it must.
    Damaged {
        node: NodeId,
        damage: String,
    },
    /// A coordinator cannot read its partition.
    NotReplayed {
        node: NodeId,
        epoch: LeaderEpoch,
    },
    Group {
        node: NodeId,
        what: GroupViolation,
    },
    Share {
        node: NodeId,
        what: ShareViolation,
    },
    Due(DueViolation),
}

#[derive(Debug, Default)]
pub struct Oracle {
    committed: BTreeMap<Partition, Vec<u64>>,
    /// Where each value stands, as far as committed.
    places: BTreeMap<(Partition, u64), usize>,
    leaders: BTreeMap<(Partition, LeaderEpoch), NodeId>,
    sent: u64,
    acked: u64,
    last_acked_ms: BTreeMap<Partition, u64>,
    violation: Option<Violation>,
    /// The epoch of the newest committed record.
    epochs: BTreeMap<Partition, LeaderEpoch>,
    /// What the values of the internal partition stand for: batches of the coordinator's records.
    batches: BTreeMap<u64, Bytes>,
    /// Of the values that stand for delivered batches: producer, first sequence and count.
    stamps: BTreeMap<u64, (i64, i32, i32)>,
    /// Set if the run plays delivery, whose internal partitions no group folds.
    plays_delivery: bool,
    pub groups: Groups,
    pub shares: Shares,
    pub dues: Dues,
}

impl Oracle {
    pub fn new(plays_delivery: bool) -> Oracle {
        Oracle { plays_delivery, ..Oracle::default() }
    }

    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// The first one counts.
    pub fn fail(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    pub fn acked(&self) -> u64 {
        self.acked
    }

    pub fn committed(&self, partition: Partition) -> usize {
        self.committed.get(&partition).map_or(0, Vec::len)
    }

    pub fn total_committed(&self) -> u64 {
        self.committed.values().map(|values| values.len() as u64).sum()
    }

    pub fn last_acked_ms(&self, partition: Partition) -> Option<u64> {
        self.last_acked_ms.get(&partition).copied()
    }

    /// A value that nobody has sent yet; 0 is none.
    pub fn next_value(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// A value that stands for this batch.
    pub fn next_batch(&mut self, batch: Bytes) -> u64 {
        let value = self.next_value();
        self.batches.insert(value, batch);
        value
    }

    /// A value that stands for a batch of what was due, with the producer, the first sequence and the count of its records.
    pub fn next_delivery(&mut self, batch: Bytes, stamp: (i64, i32, i32)) -> u64 {
        let value = self.next_batch(batch);
        self.stamps.insert(value, stamp);
        value
    }

    pub fn stamp(&self, value: u64) -> Option<(i64, i32, i32)> {
        self.stamps.get(&value).copied()
    }

    /// What delivery has come to break.
    pub fn judge_delivery(&mut self) {
        if let Some((node, what)) = self.shares.take_violation() {
            self.fail(Violation::Share { node, what });
        }
        if let Some(what) = self.dues.take_violation() {
            self.fail(Violation::Due(what));
        }
    }

    pub fn batch(&self, value: u64) -> &Bytes {
        &self.batches[&value]
    }

    /// The present coordinator has replayed what is committed.
    pub fn replayed(&mut self, group: &str, found: &[CommittedTopic], node: NodeId) {
        self.groups.replayed(group, found);
        self.judge_groups(node);
    }

    /// An answer leaves a coordinator.
    pub fn answered(&mut self, internal: Partition, promise: &Promise, answer: &Answer, node: NodeId, now_ms: u64) {
        if self.groups.answered(promise, answer, now_ms) {
            self.last_acked_ms.insert(internal, now_ms);
        }
        self.judge_groups(node);
    }

    fn judge_groups(&mut self, node: NodeId) {
        if let Some(what) = self.groups.take_violation() {
            self.fail(Violation::Group { node, what });
        }
    }

    /// A node's high watermark moved: everything between is shown to readers. Answers whether more is committed than before.
    pub fn shown(&mut self, partition: Partition, node: NodeId, log: &Log, from: Offset, to: Offset) -> bool {
        if to < from {
            self.fail(Violation::WentBack { partition, node, from, to });
            return false;
        }
        let before = self.committed(partition);
        for offset in from.0 as usize..to.0 as usize {
            match log.record(partition, offset) {
                Some(record) => self.show(partition, node, offset, record),
                None => self.fail(Violation::Missing { partition, offset, node }),
            }
        }
        self.committed(partition) > before
    }

    fn show(&mut self, partition: Partition, node: NodeId, offset: usize, record: Record) {
        let is = record.value;
        let values = self.committed.entry(partition).or_default();
        match values.get(offset) {
            Some(was) if *was == is => {}
            Some(was) => {
                let was = *was;
                self.fail(Violation::Changed { partition, offset, was, is, node });
            }
            None if is == 0 || is > self.sent => self.fail(Violation::Unsent { partition, offset, value: is }),
            None => {
                values.push(is);
                if self.places.insert((partition, is), offset).is_some() {
                    self.fail(Violation::Repeated { partition, offset, value: is });
                }
                self.commit(partition, node, offset, record);
            }
        }
    }

    fn commit(&mut self, partition: Partition, node: NodeId, offset: usize, record: Record) {
        let from = self.epochs.insert(partition, record.epoch).unwrap_or(LeaderEpoch::NONE);
        if record.epoch < from {
            self.fail(Violation::EpochWentBack { partition, offset, from, to: record.epoch });
        }
        if self.stamps.contains_key(&record.value) {
            for value in values(&self.batches[&record.value]) {
                self.dues.came_at(value, partition, offset);
            }
        } else if let Some(batch) = self.batches.get(&record.value).filter(|_| !self.plays_delivery) {
            self.groups.fold(offset, batch);
            self.judge_groups(node);
        }
    }

    pub fn ack(&mut self, partition: Partition, offset: usize, value: u64, now_ms: u64) {
        self.acked += 1;
        self.last_acked_ms.insert(partition, now_ms);
        if self.committed.get(&partition).and_then(|values| values.get(offset)) != Some(&value) {
            self.fail(Violation::AckedTooEarly { partition, offset, value });
        }
    }

    /// A node begins to lead. If the epoch is the present one, it must have what is committed; one that comes late may lack what is
    /// newer than its epoch.
    pub fn leads(&mut self, partition: Partition, epoch: LeaderEpoch, is_present: bool, node: NodeId, log: &Log) {
        let known = *self.leaders.entry((partition, epoch)).or_insert(node);
        if known != node {
            self.fail(Violation::TwoLeaders { partition, epoch, nodes: [known, node] });
        }
        let lacking = self.first_lacking(partition, |offset, value| holds(log, partition, offset, value));
        if let Some(offset) = lacking.filter(|_| is_present) {
            self.fail(Violation::LeaderLacks { partition, offset, node });
        }
    }

    /// The node is in sync or eligible, as the controller has it.
    pub fn counts(&mut self, partition: Partition, node: NodeId, log: &Log) {
        if let Some(offset) = self.first_lacking(partition, |offset, value| log.keeps(partition, offset, value)) {
            self.fail(Violation::CountedLacks { partition, offset, node });
        }
    }

    /// The newest committed record only: the others were looked at before.
    pub fn counts_still(&mut self, partition: Partition, node: NodeId, log: &Log) {
        let Some((value, offset)) = self.committed.get(&partition).and_then(|values| Some((*values.last()?, values.len() - 1)))
        else {
            return;
        };
        if !log.keeps(partition, offset, value) {
            self.fail(Violation::CountedLacks { partition, offset, node });
        }
    }

    fn first_lacking(&self, partition: Partition, holds: impl Fn(usize, u64) -> bool) -> Option<usize> {
        let values = self.committed.get(&partition)?;
        values.iter().enumerate().find(|(offset, value)| !holds(*offset, **value)).map(|(offset, _)| offset)
    }

    /// In the end every replica holds what is committed, up to what has just come.
    pub fn holds_most(&self, partition: Partition, log: &Log) -> bool {
        let settled = self.committed(partition).saturating_sub(20);
        self.first_lacking(partition, |offset, value| offset >= settled || holds(log, partition, offset, value)).is_none()
    }
}

fn holds(log: &Log, partition: Partition, offset: usize, value: u64) -> bool {
    log.record(partition, offset).is_some_and(|record| record.value == value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Disk;

    fn log(values: &[u64]) -> Log {
        let mut log = Log::open(Disk::default());
        for value in values {
            log.append(0, Record { epoch: LeaderEpoch(0), value: *value });
        }
        log
    }

    fn oracle(sent: u64) -> Oracle {
        Oracle { sent, ..Oracle::default() }
    }

    const ONE: NodeId = NodeId(1);
    const TWO: NodeId = NodeId(2);

    #[test]
    fn a_sound_history_passes() {
        let mut oracle = oracle(3);
        assert!(oracle.shown(0, ONE, &log(&[1, 2]), Offset(0), Offset(2)));
        assert!(!oracle.shown(0, TWO, &log(&[1, 2, 3]), Offset(0), Offset(1)));
        oracle.ack(0, 1, 2, 5);
        oracle.leads(0, LeaderEpoch(0), false, ONE, &log(&[]));
        oracle.leads(0, LeaderEpoch(1), true, TWO, &log(&[1, 2, 3]));
        assert_eq!(oracle.violation(), None);
    }

    /// What the oracle says of a history, begun with records 1 and 2 committed.
    fn says(change: impl Fn(&mut Oracle)) -> Violation {
        let mut oracle = oracle(3);
        oracle.shown(0, ONE, &log(&[1, 2]), Offset(0), Offset(2));
        change(&mut oracle);
        oracle.violation().cloned().expect("a violation")
    }

    #[test]
    fn bad_histories_are_found() {
        let (partition, node) = (0, TWO);
        let shown = |values: &'static [u64], to| {
            says(move |oracle| {
                oracle.shown(0, TWO, &log(values), Offset(0), Offset(to));
            })
        };
        assert_eq!(shown(&[1, 3], 2), Violation::Changed { partition, offset: 1, was: 2, is: 3, node });
        assert_eq!(shown(&[1, 2], 3), Violation::Missing { partition, offset: 2, node });
        assert_eq!(shown(&[1, 2, 9], 3), Violation::Unsent { partition, offset: 2, value: 9 });
        assert_eq!(shown(&[1, 2, 1], 3), Violation::Repeated { partition, offset: 2, value: 1 });
        let early = says(|oracle| oracle.ack(0, 2, 3, 5));
        assert_eq!(early, Violation::AckedTooEarly { partition, offset: 2, value: 3 });
        let lacks = says(|oracle| oracle.leads(0, LeaderEpoch(1), true, TWO, &log(&[1])));
        assert_eq!(lacks, Violation::LeaderLacks { partition, offset: 1, node });
        let epoch = LeaderEpoch(1);
        let two = says(|oracle| [ONE, TWO].iter().for_each(|node| oracle.leads(0, epoch, true, *node, &log(&[1, 2]))));
        assert_eq!(two, Violation::TwoLeaders { partition, epoch, nodes: [ONE, TWO] });
        let unsynced = says(|oracle| oracle.counts(0, TWO, &log(&[1, 2])));
        assert_eq!(unsynced, Violation::CountedLacks { partition, offset: 0, node });
        let back = says(|oracle| {
            oracle.shown(0, TWO, &log(&[1, 2]), Offset(2), Offset(1));
        });
        assert_eq!(back, Violation::WentBack { partition, node, from: Offset(2), to: Offset(1) });
    }
}
