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
//! Inside: `append` decides under the one lock and queues; `writer` and `sync` move the queue to the disk, `threads` repeats their
//! steps, with what both layouts share (`progress`, `shell`);
//! `read` and `queries` look at unsealed entries (`partition`, `entries`) and sealed files (`sealed`); `house` seals,
//! zero-fills and frees, `checkpoint` and `snapshot` write down what a recovery starts from;
//! `recover` rebuilds everything at start; `format` alone knows bytes.
//!
//! [`Store`] is several of them, one a data directory, as one.
//!
//! Called by `duolog-core`. Files: see `docs/storage-format.md`.

mod api;
mod append;
mod checkpoint;
pub mod clean;
mod cuts;
pub mod dedicated;
mod entries;
mod files;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod house;
mod index_file;
pub mod inspect;
mod keys;
mod log;
mod map;
mod pages;
mod partition;
mod producer;
mod progress;
mod queries;
mod read;
mod recover;
mod recycle;
mod repair;
mod replica;
mod retention;
mod scan;
mod sealed;
mod shell;
mod snapshot;
mod statistics;
mod store;
mod stored;
mod sync;
mod tags;
mod tail_cache;
mod threads;
mod tidy;
mod truncate;
mod waiters;
mod writer;
mod zero;

pub use api::{
    Advance, AppendBatch, AppendError, AppendOrigin, AppendReceipt, Appended, BatchLocation, EpochEnd, LogEnds, LogFailure,
    LogObserver, LogOptions, OpenError, PartitionError, ProducerSnapshot, ReadError, ReadLimits, ReadPart, ReadPlan,
    RecoveryReport, ReplicaAppendError, ReplicaBatch, ReplicaReceipt, RetentionPolicy, SyncOutcome, TruncateError,
};
pub use keys::{KeyExtractor, KeyOptions, KeyPlaces};
pub use log::Log;
pub use statistics::LogStatistics;
pub use store::{
    DirectoryIdentity, IdentityError, Layout, LogPosition, MAX_DIRECTORIES, Place, Store, StoreReceipt, StoreReplicaReceipt,
};
pub use stored::StoredFrame;
pub use tags::{MAX_WANTED_TAGS, TAGS_KNOWN, TagFilter, word_covers};
pub use tidy::TidyOptions;
