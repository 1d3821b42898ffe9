//! Batches of Kafka's producers with records that say in a header when they are delivered.
//!
//! A batch is divided: what is delivered later becomes timers, and the rest takes the place of the batch in its partition, with the producer, the
//! sequence and the end of the batch that came, even if no record is left. So offsets and order stay as the producer counts them, the
//! offsets of delayed records are gaps as compaction leaves them, and the partition knows the batch again when it is sent once more.
//!
//! The timers are stored first. A batch that is repeated is appended without them, because its rest is there already. Exactly once has one
//! limit: if the partition's leader fails, or loses its lead, between storing the timers and storing the rest, a producer that sends the batch again
//! has them stored twice.
//!
//! Called by the Kafka front end, for topics with `duolog.delay.enable`.

use super::records::{Delayed, Target, TimerId, Writing};
use super::{DelayError, Delays, check};
use crate::broker::{Acks, Broker, Origin, ProduceBatch, ProduceError, Produced};
use crate::metadata::{IdSource, RandomIds, TopicImage};
use bytes::BytesMut;
use duolog_base::{PartitionIndex, PartitionNumber, ProducerId, TimestampMs};
use duolog_wire::record::{
    BatchBuilder, BatchHeader, Compression, DecompressLimits, Header, Headers, NewRecord, Record, decode_batch, put_emptied_batch,
};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Notify;

/// Milliseconds of the epoch, in decimal digits.
pub const DELIVER_AT: &str = "duolog-deliver-at";
/// Milliseconds from when the record is taken, in decimal digits.
pub const DELIVER_AFTER: &str = "duolog-deliver-after-ms";

/// Bytes of one batch's delayed records, as they are stored.
const MAX_LATER_BYTES: usize = 16 << 20;
/// What a timer takes beside its record, about.
const TIMER_BYTES: usize = 160;

/// A batch, divided.
#[derive(Debug, PartialEq, Eq)]
pub struct Divided {
    later: Vec<Delayed>,
    /// What takes its place.
    rest: BytesMut,
}

/// The producers whose batches are being taken, each with the partition it sends to: of these one batch at a time.
#[derive(Default)]
pub(super) struct Turns {
    taken: Mutex<BTreeSet<(PartitionNumber, ProducerId)>>,
    given_back: Notify,
}

/// Given back when dropped.
struct Turn<'a> {
    turns: &'a Turns,
    of: (PartitionNumber, ProducerId),
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.taken.lock().remove(&self.of);
        self.turns.given_back.notify_waiters();
    }
}

impl Turns {
    async fn take(&self, of: (PartitionNumber, ProducerId)) -> Turn<'_> {
        loop {
            let given_back = self.given_back.notified();
            if self.taken.lock().insert(of) {
                return Turn { turns: self, of };
            }
            given_back.await;
        }
    }
}

/// Divides a batch that a client sent; `None` if it is to be appended as it came, also because appending it is how to find out what is wrong with it.
pub fn divide(
    topic: &TopicImage,
    partition: PartitionIndex,
    batch: &[u8],
    now: TimestampMs,
) -> Result<Option<Divided>, ProduceError> {
    let Some(number) = topic.partition(partition).map(|partition| partition.number) else { return Ok(None) };
    let Some(header) = sound_header(batch) else { return Ok(None) };
    let undecodable = || ProduceError::Corrupt { problem: "records cannot be decoded" };
    let decoded = decode_batch(batch, DecompressLimits::default()).map_err(|_| undecodable())?;
    let (mut later, mut rest, mut bytes) = (Vec::new(), BatchBuilder::in_place_of(&header), 0);
    for (delta, record) in decoded.records().enumerate() {
        let record = record.map_err(|_| undecodable())?;
        match time_of(&record.headers, now)?.filter(|at| *at > now) {
            None => {
                let headers: Vec<Header<'_>> = record.headers.clone().collect();
                rest.push_at(delta as i32, again(&record, &headers)).map_err(|_| ProduceError::Compression)?;
            }
            Some(_) if header.attributes.is_transactional() => {
                return Err(ProduceError::Invalid { problem: "records of a transaction cannot be delivered later" });
            }
            Some(at) => {
                let target = Target { number, topic: topic.name.clone(), partition };
                let batch = alone(&record, at)?.freeze();
                bytes += batch.len() + TIMER_BYTES;
                if bytes > MAX_LATER_BYTES {
                    return Err(ProduceError::TooLarge { bytes, limit: MAX_LATER_BYTES });
                }
                later.push(Delayed { at, target, tags: 0, batch });
            }
        }
    }
    if later.is_empty() {
        return Ok(None);
    }
    let mut out = BytesMut::new();
    if rest.is_empty() {
        put_emptied_batch(&header, &mut out);
    } else {
        rest.end_at(header.last_offset_delta).map_err(|_| ProduceError::Compression)?;
        rest.build(&mut out).map_err(|_| ProduceError::Compression)?;
    }
    Ok(Some(Divided { later, rest: out }))
}

/// The header of a batch that may be looked into.
fn sound_header(batch: &[u8]) -> Option<BatchHeader> {
    let header = BatchHeader::parse(batch).ok().filter(|header| header.total_bytes() == batch.len())?;
    (header.verify_crc(batch).is_ok() && header.validate_from_producer().is_ok()).then_some(header)
}

fn again<'a>(record: &Record<'a>, headers: &'a [Header<'a>]) -> NewRecord<'a> {
    NewRecord { timestamp: record.timestamp, key: record.key, value: record.value, headers }
}

/// The record as it is delivered: without what delayed it, and with the time of its delivery.
fn alone(record: &Record<'_>, at: TimestampMs) -> Result<BytesMut, ProduceError> {
    let headers: Vec<Header<'_>> = record.headers.clone().filter(|header| !is_mark(header.key)).collect();
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(NewRecord { timestamp: at, ..again(record, &headers) }).map_err(|_| ProduceError::Compression)?;
    let mut out = BytesMut::with_capacity(builder.uncompressed_bytes());
    builder.build(&mut out).map_err(|_| ProduceError::Compression)?;
    Ok(out)
}

fn is_mark(header: &[u8]) -> bool {
    header == DELIVER_AT.as_bytes() || header == DELIVER_AFTER.as_bytes()
}

/// When the record says that it is to be delivered.
fn time_of(headers: &Headers<'_>, now: TimestampMs) -> Result<Option<TimestampMs>, ProduceError> {
    let mut marks = headers.clone().filter(|header| is_mark(header.key));
    let Some(mark) = marks.next() else { return Ok(None) };
    if marks.next().is_some() {
        return Err(ProduceError::Invalid {
            problem: "a record has one header duolog-deliver-at or duolog-deliver-after-ms at most",
        });
    }
    let (is_time, problem) = match mark.key == DELIVER_AT.as_bytes() {
        true => (true, "header duolog-deliver-at is not a time in milliseconds, in decimal digits"),
        false => (false, "header duolog-deliver-after-ms is not a number of milliseconds, in decimal digits"),
    };
    let digits = mark.value.filter(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit));
    let number = digits.and_then(|digits| str::from_utf8(digits).ok()?.parse::<i64>().ok());
    let number = number.ok_or(ProduceError::Invalid { problem })?;
    Ok(Some(TimestampMs(if is_time { number } else { now.0.saturating_add(number) })))
}

impl Delays {
    /// Stores the timers of a batch and then what is left of it; the answer is what the whole batch would have got.
    pub async fn append_divided(
        &self,
        topic: &TopicImage,
        partition: PartitionIndex,
        divided: Divided,
        acks: Acks,
    ) -> Result<Produced, ProduceError> {
        let Divided { later, rest } = divided;
        let broker: &Arc<Broker> = &self.shared.broker;
        let number = topic.partition(partition).ok_or(ProduceError::UnknownPartition)?.number;
        let header = BatchHeader::parse(&rest).expect("built by dividing");
        let _turn = match header.is_idempotent() {
            true => Some(self.turns.take((number, header.producer_id)).await),
            false => None,
        };
        let batches = [ProduceBatch { topic, partition, range: 0..rest.len(), tag_filter: 0 }];
        if !broker.is_repeated(&batches[0], &rest, acks)? {
            self.schedule_all(topic, &later).await.map_err(|error| match error {
                DelayError::Refused(error) => error,
                error => ProduceError::Timers(error.to_string()),
            })?;
        }
        let pending = broker.append(rest, &batches, acks, Origin::Remainder);
        pending.done().await.pop().expect("an append of one batch has one answer")
    }

    /// Stores records for later, all or none.
    async fn schedule_all(&self, topic: &TopicImage, later: &[Delayed]) -> Result<(), DelayError> {
        later.iter().try_for_each(|delayed| check(topic, delayed))?;
        let timers = |writing: &mut Writing| {
            let new_id = || TimerId(RandomIds.next_id().0);
            later.iter().try_for_each(|delayed| writing.timer(new_id(), delayed))
        };
        self.store(timers).await.map(|_| ())
    }
}
