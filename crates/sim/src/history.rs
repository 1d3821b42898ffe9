//! What clients of a log saw, checked while it happens.
//!
//! Tests feed [`History::record`] with events in the order in which they became known: `Sent` *before* the record is handed over,
//! `Acked` and `Polled` when the answer has arrived. [`History::check`] tells what could not have happened on a sound log.
//! The names are those that Jepsen gives the anomalies of Kafka-like systems.
//!
//! Records are known by a hash of their value, so every value of a partition must differ from the others; a running number
//! in it will do. A retry of the client library keeps its value; what a test gives up on and sends anew needs a new one.
//! What the log may forget follows from the [`Promise`]: what is only `Written` is owed until the next power loss,
//! what is `Durable` for good (or until the log start passes it).
//!
//! Used by the crash tests of the storage engine over the simulated disk and by those of the real process.

use duolog_base::{Offset, PartitionNumber, ProducerEpoch, ProducerId};
use std::collections::{BTreeMap, HashMap};

/// Violations kept; a broken log has many, and the first ones tell.
pub const MOST_VIOLATIONS: usize = 1_000;

/// Hash of a record's value, unique in its partition.
pub type ValueHash = u64;

/// A reader, as the test numbers them.
pub type Reader = u32;

/// How long a record is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// It survives the death of the process.
    Written,
    /// It survives power loss.
    Durable,
}

/// What ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process died; the page cache survived.
    Kill,
    /// The machine died.
    PowerLoss,
}

/// Whether offsets may be missing: compaction and transactions leave gaps, plain appends do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    Illegal,
    Legal,
}

/// Which send of which producer. A client that does not know its sequences may count for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub producer: ProducerId,
    pub epoch: ProducerEpoch,
    pub sequence: i32,
}

/// Something a client did or saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// About to be appended. With an origin, it must appear at most once and after what that producer sent before;
    /// without one, it may be appended again by retries.
    Sent {
        partition: PartitionNumber,
        value: ValueHash,
        origin: Option<Origin>,
    },
    /// The append succeeded.
    Acked {
        partition: PartitionNumber,
        offset: Offset,
        value: ValueHash,
        promise: Promise,
    },
    /// The append failed for certain (a time-out is not certain): nobody may ever see the record.
    Refused {
        partition: PartitionNumber,
        value: ValueHash,
    },
    /// A reader starts, or goes on, at an offset of its choice.
    Sought {
        reader: Reader,
        partition: PartitionNumber,
        offset: Offset,
    },
    /// The next records that reader got, in order.
    Polled {
        reader: Reader,
        partition: PartitionNumber,
        records: Vec<(Offset, ValueHash)>,
        promise: Promise,
    },
    /// The log said that it ends here.
    AtEnd {
        partition: PartitionNumber,
        end: Offset,
        promise: Promise,
    },
    /// Records before `start` may be gone from now on.
    LogStart {
        partition: PartitionNumber,
        start: Offset,
    },
    Crashed(Crash),
}

/// What cannot happen on a sound log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A promised record was passed over by a reader, or lies past the end.
    LostWrite { partition: PartitionNumber, offset: Offset, value: ValueHash },
    /// A record with an origin at two offsets.
    Duplicate { partition: PartitionNumber, origin: Origin, first: Offset, second: Offset },
    /// Two values at one offset.
    InconsistentOffsets { partition: PartitionNumber, offset: Offset, first: ValueHash, second: ValueHash },
    /// A reader went from one offset to a later one though no gap is legal.
    PollSkip { reader: Reader, partition: PartitionNumber, from: Offset, to: Offset },
    /// A reader got an offset before the one it was at.
    NonmonotonicPoll { reader: Reader, partition: PartitionNumber, at: Offset, got: Offset },
    /// A producer's records lie in another order than they were sent.
    NonmonotonicSend { partition: PartitionNumber, producer: ProducerId, earlier: Offset, later: Offset },
    /// Nobody sent that value to this partition.
    NeverSent { partition: PartitionNumber, offset: Offset, value: ValueHash },
    /// The append of that value had failed.
    RefusedSeen { partition: PartitionNumber, offset: Offset, value: ValueHash },
    /// The durable end of a partition became smaller.
    EndWentBack { partition: PartitionNumber, from: Offset, to: Offset },
}

/// The checker.
#[derive(Debug)]
pub struct History {
    gaps: Gaps,
    partitions: HashMap<PartitionNumber, Partition>,
    readers: HashMap<(Reader, PartitionNumber), Offset>,
    violations: Violations,
}

impl History {
    pub fn new(gaps: Gaps) -> History {
        History { gaps, partitions: HashMap::new(), readers: HashMap::new(), violations: Violations::default() }
    }

    /// Takes the next event.
    pub fn record(&mut self, event: Event) {
        match event {
            Event::Sent { partition, value, origin } => self.partition(partition).sent(value, origin),
            Event::Acked { partition, offset, value, promise } => self.place(partition, offset, value, promise),
            Event::Refused { partition, value } => self.partition(partition).refused(value),
            Event::Sought { reader, partition, offset } => _ = self.readers.insert((reader, partition), offset),
            Event::Polled { reader, partition, records, promise } => self.polled(reader, partition, &records, promise),
            Event::AtEnd { partition, end, promise } => self.at_end(partition, end, promise),
            Event::LogStart { partition, start } => {
                let known = self.partition(partition);
                known.log_start = known.log_start.max(start);
            }
            Event::Crashed(Crash::Kill) => {}
            Event::Crashed(Crash::PowerLoss) => self.partitions.values_mut().for_each(Partition::power_lost),
        }
    }

    /// Everything that went wrong so far, at most [`MOST_VIOLATIONS`].
    pub fn check(&self) -> &[Violation] {
        &self.violations.list
    }

    /// Records owed to readers of a partition now.
    pub fn owed(&self, partition: PartitionNumber) -> usize {
        self.partitions.get(&partition).map_or(0, |known| known.placed.range(known.log_start..).count())
    }

    fn partition(&mut self, partition: PartitionNumber) -> &mut Partition {
        self.partitions.entry(partition).or_default()
    }

    fn place(&mut self, partition: PartitionNumber, offset: Offset, value: ValueHash, promise: Promise) {
        let known = self.partitions.entry(partition).or_default();
        known.place(partition, offset, value, promise, &mut self.violations);
    }

    fn polled(&mut self, reader: Reader, partition: PartitionNumber, records: &[(Offset, ValueHash)], promise: Promise) {
        for (offset, value) in records {
            // A reader that never said where it starts may start anywhere.
            let at = self.readers.insert((reader, partition), offset.plus(1)).unwrap_or(*offset);
            if *offset < at {
                self.violations.push(Violation::NonmonotonicPoll { reader, partition, at, got: *offset });
            }
            self.skipped(reader, partition, at, *offset);
            self.place(partition, *offset, *value, promise);
        }
    }

    /// A reader has gone from `at` to `to` and seen nothing between.
    fn skipped(&mut self, reader: Reader, partition: PartitionNumber, at: Offset, to: Offset) {
        let known = self.partitions.entry(partition).or_default();
        let from = at.max(known.log_start);
        if from >= to {
            return;
        }
        let mut lost = false;
        for (offset, placed) in known.placed.range(from..to) {
            lost = true;
            self.violations.push(Violation::LostWrite { partition, offset: *offset, value: placed.value });
        }
        if !lost && self.gaps == Gaps::Illegal {
            self.violations.push(Violation::PollSkip { reader, partition, from, to });
        }
    }

    fn at_end(&mut self, partition: PartitionNumber, end: Offset, promise: Promise) {
        let known = self.partitions.entry(partition).or_default();
        for (offset, placed) in known.placed.range(end.max(known.log_start)..).filter(|(_, placed)| placed.promise >= promise) {
            self.violations.push(Violation::LostWrite { partition, offset: *offset, value: placed.value });
        }
        if promise == Promise::Durable {
            if end < known.durable_end {
                self.violations.push(Violation::EndWentBack { partition, from: known.durable_end, to: end });
            }
            known.durable_end = end;
        }
    }
}

/// What is known of one partition.
#[derive(Debug, Default)]
struct Partition {
    sent: HashMap<ValueHash, Sent>,
    /// Number of the next send.
    next_send: u64,
    /// Records that are owed, by offset.
    placed: BTreeMap<Offset, Placed>,
    /// For each producer, the numbers of the sends at its offsets; they must rise.
    order: HashMap<ProducerId, BTreeMap<Offset, u64>>,
    log_start: Offset,
    durable_end: Offset,
}

#[derive(Debug)]
struct Sent {
    number: u64,
    origin: Option<Origin>,
    refused: bool,
    /// Where a record with an origin is.
    offset: Option<Offset>,
}

#[derive(Debug)]
struct Placed {
    value: ValueHash,
    promise: Promise,
}

impl Partition {
    fn sent(&mut self, value: ValueHash, origin: Option<Origin>) {
        let number = self.next_send;
        self.next_send += 1;
        let sent = self.sent.entry(value).or_insert(Sent { number, origin, refused: false, offset: None });
        // Sent again after it was refused: it may appear after all, in its new turn.
        if sent.refused {
            *sent = Sent { number, origin, refused: false, offset: None };
        }
    }

    fn refused(&mut self, value: ValueHash) {
        if let Some(sent) = self.sent.get_mut(&value) {
            sent.refused = true;
        }
    }

    /// Somebody saw `value` at `offset`, or was told that it is there.
    fn place(
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
    fn power_lost(&mut self) {
        let gone = self.placed.extract_if(.., |_, placed| placed.promise == Promise::Written);
        for (offset, placed) in gone {
            let Some(sent) = self.sent.get_mut(&placed.value) else { continue };
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

#[derive(Debug, Default)]
struct Violations {
    list: Vec<Violation>,
}

impl Violations {
    fn push(&mut self, violation: Violation) {
        if self.list.len() < MOST_VIOLATIONS {
            self.list.push(violation);
        }
    }
}
