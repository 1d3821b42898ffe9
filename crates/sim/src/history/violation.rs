//! What cannot happen on a sound log, under the names that Jepsen gives it, and the list of what did.

use super::event::{Origin, Reader, ValueHash};
use duolog_base::{Offset, PartitionNumber, ProducerId};
use std::collections::{BTreeMap, HashSet};

/// Violations kept; a broken log has many, and the first ones tell.
pub const MOST_VIOLATIONS: usize = 1_000;

/// What cannot happen on a sound log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A promised record was passed over by a reader, lies past the end, or was not there when everything was read again.
    LostWrite { partition: PartitionNumber, offset: Offset, value: ValueHash },
    /// A reader that was given the time to reach the end never got a record that is owed.
    Unseen { reader: Reader, partition: PartitionNumber, at: Offset, offset: Offset },
    /// A record with an origin at two offsets.
    Duplicate { partition: PartitionNumber, origin: Origin, first: Offset, second: Offset },
    /// Two values at one offset.
    InconsistentOffsets { partition: PartitionNumber, offset: Offset, first: ValueHash, second: ValueHash },
    /// A reader went from one offset to a later one though no gap is legal.
    PollSkip { reader: Reader, partition: PartitionNumber, from: Offset, to: Offset },
    /// The same within what one poll gave.
    IntPollSkip { reader: Reader, partition: PartitionNumber, from: Offset, to: Offset },
    /// A reader got an offset before the one it was at.
    NonmonotonicPoll { reader: Reader, partition: PartitionNumber, at: Offset, got: Offset },
    /// The same within what one poll gave.
    IntNonmonotonicPoll { reader: Reader, partition: PartitionNumber, at: Offset, got: Offset },
    /// A producer's records lie in another order than they were sent.
    NonmonotonicSend { partition: PartitionNumber, producer: ProducerId, earlier: Offset, later: Offset },
    /// Nobody sent that value to this partition.
    NeverSent { partition: PartitionNumber, offset: Offset, value: ValueHash },
    /// The append of that value had failed.
    RefusedSeen { partition: PartitionNumber, offset: Offset, value: ValueHash },
    /// The durable end of a partition became smaller.
    EndWentBack { partition: PartitionNumber, from: Offset, to: Offset },
}

impl Violation {
    /// Jepsen's name for it where there is one; "int" is what is wrong within one operation.
    pub fn name(&self) -> &'static str {
        match self {
            Violation::LostWrite { .. } => "lost-write",
            Violation::Unseen { .. } => "unseen",
            Violation::Duplicate { .. } => "duplicate",
            Violation::InconsistentOffsets { .. } => "inconsistent-offsets",
            Violation::PollSkip { .. } => "poll-skip",
            Violation::IntPollSkip { .. } => "int-poll-skip",
            Violation::NonmonotonicPoll { .. } => "nonmonotonic-poll",
            Violation::IntNonmonotonicPoll { .. } => "int-nonmonotonic-poll",
            Violation::NonmonotonicSend { .. } => "nonmonotonic-send",
            Violation::NeverSent { .. } => "never-sent",
            Violation::RefusedSeen { .. } => "refused-seen",
            Violation::EndWentBack { .. } => "end-went-back",
        }
    }
}

/// The first violations, and how many there were of each kind.
#[derive(Debug, Default)]
pub(super) struct Violations {
    pub(super) list: Vec<Violation>,
    pub(super) counts: BTreeMap<&'static str, usize>,
    /// Lost records, each of which is reported once however many readers miss it.
    pub(super) lost: HashSet<(PartitionNumber, ValueHash)>,
}

impl Violations {
    pub(super) fn push(&mut self, violation: Violation) {
        if let Violation::LostWrite { partition, value, .. } = violation
            && !self.lost.insert((partition, value))
        {
            return;
        }
        *self.counts.entry(violation.name()).or_default() += 1;
        if self.list.len() < MOST_VIOLATIONS {
            self.list.push(violation);
        }
    }
}
