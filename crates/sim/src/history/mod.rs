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
//! Used by the crash tests of the storage engine over the simulated disk, by those of the real process and by `cargo xtask chaos`.

mod event;
mod partition;
mod violation;

pub use event::{Crash, Event, Gaps, Origin, Promise, Reader, ValueHash};
pub use violation::{MOST_VIOLATIONS, Violation};

use duolog_base::{Offset, PartitionNumber};
use partition::Partition;
use std::collections::{BTreeMap, HashMap, HashSet};
use violation::Violations;

/// The checker.
#[derive(Debug)]
pub struct History {
    gaps: Gaps,
    partitions: HashMap<PartitionNumber, Partition>,
    readers: HashMap<(Reader, PartitionNumber), Position>,
    violations: Violations,
}

/// How far a reader is in a partition, and what it got since it sought.
#[derive(Debug, Default)]
struct Position {
    /// The offset it is at; none before its first record when it never said where it starts.
    at: Option<Offset>,
    got: HashSet<ValueHash>,
}

impl History {
    pub fn new(gaps: Gaps) -> History {
        History { gaps, partitions: HashMap::new(), readers: HashMap::new(), violations: Violations::default() }
    }

    /// Takes the next event.
    pub fn record(&mut self, event: Event) {
        match event {
            Event::Sent { partition, value, origin } => self.partition(partition).sent(value, origin),
            Event::Acked { partition, offset, value, promise } => {
                self.place(partition, offset, value, promise);
                self.partition(partition).acked(value, offset);
            }
            Event::Refused { partition, value } => self.partition(partition).refused(value),
            Event::Sought { reader, partition, offset } => {
                self.readers.insert((reader, partition), Position { at: Some(offset), got: HashSet::new() });
            }
            Event::Polled { reader, partition, records, promise } => self.polled(reader, partition, &records, promise),
            Event::AtEnd { partition, end, promise } => self.at_end(partition, end, promise),
            Event::LogStart { partition, start } => {
                let known = self.partition(partition);
                known.log_start = known.log_start.max(start);
            }
            Event::CaughtUp { reader, partition } => self.caught_up(reader, partition),
            Event::Reread { reader, partition } => self.reread(reader, partition),
            Event::Crashed(Crash::Kill) => {}
            Event::Crashed(Crash::PowerLoss) => self.partitions.values_mut().for_each(Partition::power_lost),
        }
    }

    /// Everything that went wrong so far, at most [`MOST_VIOLATIONS`].
    pub fn check(&self) -> &[Violation] {
        &self.violations.list
    }

    /// How many violations of each kind there were, also of those beyond [`MOST_VIOLATIONS`].
    pub fn counts(&self) -> &BTreeMap<&'static str, usize> {
        &self.violations.counts
    }

    /// Records that were acknowledged and are owed still, or lost.
    pub fn acknowledged(&self) -> usize {
        self.partitions.values().map(|known| known.acknowledged().count()).sum()
    }

    /// Those of the acknowledged records that are lost.
    pub fn lost(&self) -> usize {
        let acknowledged =
            self.partitions.iter().flat_map(|(partition, known)| known.acknowledged().map(|(value, _)| (*partition, value)));
        acknowledged.filter(|record| self.violations.lost.contains(record)).count()
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
        for (index, (offset, value)) in records.iter().enumerate() {
            let position = self.readers.entry((reader, partition)).or_default();
            // A reader that never said where it starts may start anywhere.
            let at = position.at.replace(offset.plus(1)).unwrap_or(*offset);
            position.got.insert(*value);
            if *offset < at {
                let got = *offset;
                self.violations.push(match index {
                    0 => Violation::NonmonotonicPoll { reader, partition, at, got },
                    _ => Violation::IntNonmonotonicPoll { reader, partition, at, got },
                });
            }
            self.skipped(reader, partition, at, *offset, index);
            self.place(partition, *offset, *value, promise);
        }
    }

    /// A reader has gone from `at` to `to` and seen nothing between; `index` is the place in what the poll gave.
    fn skipped(&mut self, reader: Reader, partition: PartitionNumber, at: Offset, to: Offset, index: usize) {
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
            self.violations.push(match index {
                0 => Violation::PollSkip { reader, partition, from, to },
                _ => Violation::IntPollSkip { reader, partition, from, to },
            });
        }
    }

    fn caught_up(&mut self, reader: Reader, partition: PartitionNumber) {
        let at = self.readers.get(&(reader, partition)).and_then(|position| position.at).unwrap_or(Offset(0));
        let known = self.partitions.entry(partition).or_default();
        for offset in known.placed.range(at.max(known.log_start)..).map(|(offset, _)| *offset) {
            self.violations.push(Violation::Unseen { reader, partition, at, offset });
        }
    }

    fn reread(&mut self, reader: Reader, partition: PartitionNumber) {
        let position = self.readers.entry((reader, partition)).or_default();
        let known = self.partitions.entry(partition).or_default();
        let mut lost: Vec<_> = known.acknowledged().filter(|(value, _)| !position.got.contains(value)).collect();
        lost.sort_by_key(|(_, offset)| *offset);
        for (value, offset) in lost {
            self.violations.push(Violation::LostWrite { partition, offset, value });
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
