//! Which answers wait for which records on their way to the log, and when they leave.
//!
//! It waits for nothing itself: whoever drives a shard brings the batches to the log, learns how its appends end, and says so here. What
//! an append is to it (a future, an offset) is its own affair.
//!
//! Called by [`super::driver`], and by the simulator of clusters.

use super::{Output, Record};
use bytes::BytesMut;
use duolog_base::TimestampMs;
use duolog_replica::{Mutant, planted};
use duolog_wire::record::{BatchBuilder, BuildError, Compression, NewRecord};
use std::collections::VecDeque;

/// Records beyond this many bytes start another batch.
const BATCH_BYTES: usize = 512 << 10;

/// Batches on their way to the disk, and the answers that wait for them.
pub struct Flight<A> {
    /// Not taken by the log yet. Empty but in the last flight, and there while the shard rests.
    pub refused: VecDeque<BytesMut>,
    pub appends: VecDeque<A>,
    output: Output,
}

/// All flights of a shard, the oldest first. They land in this order.
pub struct Flights<A> {
    flights: VecDeque<Flight<A>>,
}

impl<A> Default for Flights<A> {
    fn default() -> Flights<A> {
        Flights { flights: VecDeque::new() }
    }
}

impl<A> Flights<A> {
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Makes batches of the records of `out` and answers the flight that they are to be brought to the log for; its answers leave when it
    /// lands. Without records there is no flight: the answers leave with the last one on its way, or at once if there is none.
    pub fn depart(&mut self, out: &mut Output, now: TimestampMs) -> Result<Option<&mut Flight<A>>, BuildError> {
        let records = out.take_records();
        if records.is_empty() {
            match self.flights.back_mut() {
                Some(flight) => flight.output.join_answers(out),
                None => out.release(),
            }
            return Ok(None);
        }
        let refused = build(&records, now)?.into();
        let mut output = std::mem::take(out);
        if planted(Mutant::AnswersBeforeCommit) {
            output.release();
        }
        self.flights.push_back(Flight { refused, appends: VecDeque::new(), output });
        Ok(self.flights.back_mut())
    }

    pub fn oldest(&mut self) -> Option<&mut Flight<A>> {
        self.flights.front_mut()
    }

    pub fn newest(&mut self) -> Option<&mut Flight<A>> {
        self.flights.back_mut()
    }

    /// The oldest flight's batches are committed: its answers leave.
    pub fn land(&mut self) {
        if let Some(mut flight) = self.flights.pop_front() {
            flight.output.release();
        }
    }

    /// The oldest flight will never be committed, as far as anybody knows: who waits for it is told that there will be no answer.
    pub fn lose(&mut self) {
        self.flights.pop_front();
    }
}

fn build(records: &[Record], now: TimestampMs) -> Result<Vec<BytesMut>, BuildError> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(Compression::None);
    for record in records {
        let bytes = record.key.len() + record.value.as_ref().map_or(0, Vec::len);
        if !builder.is_empty() && builder.uncompressed_bytes() + bytes > BATCH_BYTES {
            let full = std::mem::replace(&mut builder, BatchBuilder::new(Compression::None));
            batches.push(finish(full)?);
        }
        builder.push(NewRecord { timestamp: now, key: Some(&record.key), value: record.value.as_deref(), headers: &[] })?;
    }
    batches.push(finish(builder)?);
    Ok(batches)
}

fn finish(builder: BatchBuilder) -> Result<BytesMut, BuildError> {
    let mut bytes = BytesMut::with_capacity(builder.uncompressed_bytes());
    builder.build(&mut bytes)?;
    Ok(bytes)
}
