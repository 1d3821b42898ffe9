//! What a history is made of: the things clients do and see. Made by tests and by the chaos runs, taken by `History`.

use duolog_base::{Offset, PartitionNumber, ProducerEpoch, ProducerId};

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
    /// That reader was given all the time it wanted and was told that it is at the end; nobody writes meanwhile.
    CaughtUp {
        reader: Reader,
        partition: PartitionNumber,
    },
    /// That reader began when all writers had ended, and got everything from the log start to the end.
    Reread {
        reader: Reader,
        partition: PartitionNumber,
    },
    Crashed(Crash),
}
