//! What the log implies about each partition beyond its queue, at one position: the state section of an index.
//!
//! ```text
//! for every partition, in ascending order of the number:
//!   4  partition number
//!   4  flags (bit 0: quarantined, bit 1: there are truncations)
//!   8  next offset
//!   8  log start
//!   4  leader epoch
//!   4  count of epochs, then for each: 4 epoch, 8 start offset
//!   4  count of aborted transactions (none yet: 0)
//!   4  count of producers, then for each in ascending order of the id:
//!        8 producer id, 8 time of the last append, 2 epoch, 2 zero, 4 count of batches (0 to 5), then for each, oldest first:
//!          8 base offset, 4 first sequence, 4 last offset delta
//!   with bit 1: 4 count of truncations, then for each, oldest first: 8 position, 8 end
//! ```
//! No alignment, no gaps; the index's header has the length and the checksum.

use crate::cuts::{Cut, Cuts};
use crate::partition::{EpochStart, Partition};
use crate::producer::{ProducerState, SequencedBatch, WINDOW_BATCHES};
use duolog_base::{ProducerEpoch, ProducerId, TimestampMs};

const QUARANTINED: u32 = 1;
const TRUNCATED: u32 = 2;

/// Appends the state of one partition.
pub fn encode_partition(out: &mut Vec<u8>, number: u32, partition: &Partition) {
    let cuts = partition.cuts().as_slice();
    let quarantined = if partition.quarantine().is_some() { QUARANTINED } else { 0 };
    let flags = quarantined | if cuts.is_empty() { 0 } else { TRUNCATED };
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&partition.next_offset().to_le_bytes());
    out.extend_from_slice(&partition.log_start().to_le_bytes());
    out.extend_from_slice(&partition.leader_epoch().to_le_bytes());
    out.extend_from_slice(&(partition.epochs().len() as u32).to_le_bytes());
    for epoch in partition.epochs() {
        out.extend_from_slice(&epoch.epoch.to_le_bytes());
        out.extend_from_slice(&epoch.start.to_le_bytes());
    }
    out.extend_from_slice(&0u32.to_le_bytes());
    let producers = partition.producers().sorted();
    out.extend_from_slice(&(producers.len() as u32).to_le_bytes());
    for (id, producer) in producers {
        encode_producer(out, id, producer);
    }
    if !cuts.is_empty() {
        out.extend_from_slice(&(cuts.len() as u32).to_le_bytes());
    }
    for cut in cuts {
        out.extend_from_slice(&cut.position.to_le_bytes());
        out.extend_from_slice(&cut.end.to_le_bytes());
    }
}

fn encode_producer(out: &mut Vec<u8>, id: ProducerId, producer: &ProducerState) {
    out.extend_from_slice(&id.0.to_le_bytes());
    out.extend_from_slice(&producer.last_append.0.to_le_bytes());
    out.extend_from_slice(&producer.epoch.0.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(producer.batches().len() as u32).to_le_bytes());
    for batch in producer.batches() {
        out.extend_from_slice(&batch.base_offset.to_le_bytes());
        out.extend_from_slice(&batch.first_sequence.to_le_bytes());
        out.extend_from_slice(&batch.last_offset_delta.to_le_bytes());
    }
}

/// Reads a whole state section; `None` if it is not one.
pub fn decode(bytes: &[u8]) -> Option<Vec<(u32, Partition)>> {
    let mut reader = Reader { bytes };
    let mut partitions = Vec::new();
    while !reader.bytes.is_empty() {
        partitions.push(decode_partition(&mut reader)?);
    }
    Some(partitions)
}

/// The partitions of a section with their next offsets, and nothing else of it; `None` if it is not a section.
pub fn ends(bytes: &[u8]) -> Option<Vec<(u32, i64)>> {
    let mut reader = Reader { bytes };
    let mut ends = Vec::new();
    while !reader.bytes.is_empty() {
        let number = u32::from_le_bytes(reader.take()?);
        let flags = u32::from_le_bytes(reader.take()?);
        ends.push((number, i64::from_le_bytes(reader.take()?)));
        let _start_and_epoch: [u8; 12] = reader.take()?;
        for _ in 0..u32::from_le_bytes(reader.take()?) {
            let _epoch: [u8; 12] = reader.take()?;
        }
        if u32::from_le_bytes(reader.take()?) != 0 {
            return None;
        }
        for _ in 0..u32::from_le_bytes(reader.take()?) {
            let _producer: [u8; 20] = reader.take()?;
            for _ in 0..u32::from_le_bytes(reader.take()?) {
                let _batch: [u8; 16] = reader.take()?;
            }
        }
        let cuts = if flags & TRUNCATED != 0 { u32::from_le_bytes(reader.take()?) } else { 0 };
        for _ in 0..cuts {
            let _cut: [u8; 16] = reader.take()?;
        }
    }
    Some(ends)
}

fn decode_partition(reader: &mut Reader<'_>) -> Option<(u32, Partition)> {
    let number = u32::from_le_bytes(reader.take()?);
    let flags = u32::from_le_bytes(reader.take()?);
    let next_offset = i64::from_le_bytes(reader.take()?);
    let log_start = i64::from_le_bytes(reader.take()?);
    let leader_epoch = i32::from_le_bytes(reader.take()?);
    let mut partition = Partition::restored(next_offset, log_start, leader_epoch);
    for _ in 0..u32::from_le_bytes(reader.take()?) {
        let epoch = i32::from_le_bytes(reader.take()?);
        partition.restore_epoch(EpochStart { epoch, start: i64::from_le_bytes(reader.take()?) });
    }
    if u32::from_le_bytes(reader.take()?) != 0 {
        return None;
    }
    for _ in 0..u32::from_le_bytes(reader.take()?) {
        let (id, producer) = decode_producer(reader)?;
        partition.producers_mut().insert(id, producer);
    }
    if flags & TRUNCATED != 0 {
        let mut cuts = Cuts::default();
        let count = u32::from_le_bytes(reader.take()?) as usize;
        for _ in 0..count {
            let position = u64::from_le_bytes(reader.take()?);
            cuts.push(Cut { position, end: i64::from_le_bytes(reader.take()?) });
        }
        let ascend = cuts.as_slice().is_sorted_by_key(|cut| cut.position);
        if count == 0 || cuts.as_slice().len() != count || !ascend {
            return None;
        }
        partition.restore_cuts(cuts);
    }
    if flags & QUARANTINED != 0 {
        partition.set_quarantine();
    }
    Some((number, partition))
}

fn decode_producer(reader: &mut Reader<'_>) -> Option<(ProducerId, ProducerState)> {
    let id = ProducerId(i64::from_le_bytes(reader.take()?));
    let last_append = TimestampMs(i64::from_le_bytes(reader.take()?));
    let epoch = ProducerEpoch(i16::from_le_bytes(reader.take()?));
    let _zero: [u8; 2] = reader.take()?;
    let count = u32::from_le_bytes(reader.take()?);
    if count as usize > WINDOW_BATCHES {
        return None;
    }
    let mut producer = ProducerState::new(epoch, last_append);
    for _ in 0..count {
        producer.push(SequencedBatch {
            base_offset: i64::from_le_bytes(reader.take()?),
            first_sequence: i32::from_le_bytes(reader.take()?),
            last_offset_delta: i32::from_le_bytes(reader.take()?),
        });
    }
    Some((id, producer))
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*head)
    }
}
