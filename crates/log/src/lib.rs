//! The storage engine: one commit log for all partitions of a data directory.
//!
//! [`Log`] is the only door. It owns what the log implies about each partition (next offset, log start,
//! leader epochs, producer states, queue index) and rebuilds all of it from the frames on disk. It knows
//! nothing of topics, protocols or groups, starts no runtime, and never reads a clock: time is a parameter.
//!
//! Promises, in the words of the callers:
//! * [`Log::append`] gives each batch its offsets in the order of the calls and returns at once;
//! * what is below [`LogEnds::durable`] survives power loss, what is below [`LogEnds::written`] survives a crash
//!   of the process;
//! * after a write or sync error the log is stopped: nothing more is acknowledged, every waiter is told.
//!
//! Called by `duolog-core`. Files: see `docs/storage-format.md`.

mod api;

pub use api::{
    Advance, AppendBatch, AppendError, AppendReceipt, Appended, BatchLocation, EpochEnd, Log, LogEnds, LogFailure, LogObserver,
    LogOptions, OpenError, PartitionError, ProducerSnapshot, ReadError, ReadLimits, ReadPart, ReadPlan, RecoveryReport,
    RetentionPolicy, SyncOutcome,
};
