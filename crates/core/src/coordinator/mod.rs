//! Stateful services that live on internal partitions: records out, replay in.
//!
//! A service is split into shards, one for each partition of an internal topic. A [`Shard`] is a plain state machine:
//! an operation changes its state at once and puts into [`Output`] the records that make the change last, and the
//! answers that may leave once it has. The [`Runtime`] appends the records, in the order of the operations, and lets an
//! answer go when everything appended before it is committed; so nobody sees what could still be lost, and a read
//! sees every write that was accepted before it. While the log takes nothing, operations that may write are turned away
//! before they touch the shard; what is refused all the same is brought again for a while. When an append fails, the shard
//! is thrown away with everything that waits in it and rebuilt by replaying its partition from the log start, which is
//! also how it starts. A shard belongs to one leadership of this node over its partition, appends in that leader epoch only, and serves
//! once all that was replayed is committed.
//!
//! A shard never waits, reads no clock and does no I/O: it can be tested by calling it. Groups are the first service
//! built so; the partition it stands on is the [`InternalLog`] door.

mod broker_log;
mod driver;
mod flights;
mod internal_log;
mod output;
mod replay;
mod runtime;
#[cfg(test)]
mod tests;

pub use broker_log::{BrokerLog, InternalTopic};
pub use flights::{Flight, Flights};
pub use internal_log::{AppendFuture, Chunk, InternalLog, InternalLogError, LogFuture};
pub use output::{Now, Output, Record, Ticket, Waiting, ticket};
pub use replay::{ReplayError, replay_batches};
pub use runtime::{Runtime, RuntimeMetrics, Unavailable};

/// The state of one partition of a service.
///
/// The runtime calls `replay` for every record of the partition, then `loaded` once, and from then on operations and
/// `poll_timers`. Replaying all records that a shard ever put out must give the state that survives a restart.
pub trait Shard: Send + 'static {
    /// Folds one committed record into the state. A value of `None` is a tombstone.
    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError>;

    /// All records have been replayed; the first deadlines are counted from `now`.
    fn loaded(&mut self, now: Now, out: &mut Output);

    /// Does what is due at `now`.
    fn poll_timers(&mut self, now: Now, out: &mut Output);

    /// When `poll_timers` wants to be called next, on the monotonic clock; `None` if nothing is awaited.
    fn next_deadline(&self) -> Option<u64>;
}
