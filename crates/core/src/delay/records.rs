//! The records of `__delayed_messages`: their bytes, in both directions. docs/storage-format.md has the same maps.
//!
//! ```text
//! timer     key   0 u8 | id, 16 bytes
//!           value 1 u8 | time i64 | partition number u32 | partition i32 | tag word u64 | topic: length u16, name | a record batch of one record
//! recalled or delivered
//!           key   as above; value null; header `duolog.timer`: time i64 | offset of the timer i64
//! intent    key   1 u8 | partition number u32
//!           value 1 u8 | producer id i64 | first sequence i32 | count u32 | count times: time i64 | offset i64
//! done      key   as above; value null
//! ```
//! Integers are big-endian. Keys are unique, so that compaction leaves what is pending and little else.

use super::pending::Timer;
use crate::coordinator::ReplayError;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use duolog_base::{Offset, PartitionIndex, PartitionNumber, ProducerId, TimestampMs};
use duolog_wire::record::{BatchBuilder, BuildError, Compression, Header, Headers, NewRecord};

const TIMER: u8 = 0;
const INTENT: u8 = 1;
const VERSION: u8 = 1;
/// On a timer's tombstone: which timer it was.
const TIMER_HEADER: &[u8] = b"duolog.timer";

/// Names a timer among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u128);

/// Where a delayed record goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub number: PartitionNumber,
    pub topic: String,
    pub partition: PartitionIndex,
}

/// A record that is delivered later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delayed {
    pub at: TimestampMs,
    pub target: Target,
    /// What is known of its tags, as for a batch that is appended at once.
    pub tags: u64,
    /// A batch of the one record, as it would have been appended at once.
    pub batch: Bytes,
}

/// A batch of timers that is about to be appended to its target, under a sequence by which the target knows it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    pub producer: ProducerId,
    pub base_sequence: i32,
    /// In the order in which their records are appended.
    pub timers: Vec<Timer>,
}

/// A record as it is read back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Timer(Timer),
    /// Recalled or delivered.
    Gone(Timer),
    Intent(PartitionNumber, Intent),
    Done(PartitionNumber),
}

fn malformed(what: &'static str) -> ReplayError {
    ReplayError::Malformed(what)
}

/// What a record of the partition says. Of a timer only its time is looked at.
pub(super) fn decode(offset: Offset, key: &[u8], value: Option<&[u8]>, headers: &Headers<'_>) -> Result<Entry, ReplayError> {
    let (&kind, rest) = key.split_first().ok_or(malformed("empty key"))?;
    match (kind, value) {
        (TIMER, Some(value)) => {
            let mut value = value;
            check_version(&mut value)?;
            let at = TimestampMs(value.try_get_i64().map_err(|_| malformed("timer"))?);
            Ok(Entry::Timer(Timer { at, offset }))
        }
        (TIMER, None) => {
            let mut header = headers.last_value(TIMER_HEADER).flatten().ok_or(malformed("tombstone without its timer"))?;
            take_timer(&mut header).map(Entry::Gone)
        }
        (INTENT, value) => {
            let mut rest = rest;
            let number = PartitionNumber(rest.try_get_u32().map_err(|_| malformed("key of an intent"))?);
            value.map_or(Ok(Entry::Done(number)), |value| Ok(Entry::Intent(number, decode_intent(value)?)))
        }
        _ => Err(malformed("unknown key")),
    }
}

fn check_version(value: &mut &[u8]) -> Result<(), ReplayError> {
    match value.try_get_u8() {
        Ok(VERSION) => Ok(()),
        _ => Err(malformed("unknown version")),
    }
}

fn take_timer(bytes: &mut &[u8]) -> Result<Timer, ReplayError> {
    let mut take = || bytes.try_get_i64().map_err(|_| malformed("reference to a timer"));
    let timer = Timer { at: TimestampMs(take()?), offset: Offset(take()?) };
    if timer.offset.0 < 0 { Err(malformed("negative offset")) } else { Ok(timer) }
}

fn decode_intent(mut value: &[u8]) -> Result<Intent, ReplayError> {
    check_version(&mut value)?;
    let cut = |_| malformed("intent");
    let producer = ProducerId(value.try_get_i64().map_err(cut)?);
    let base_sequence = value.try_get_i32().map_err(cut)?;
    let count = value.try_get_u32().map_err(cut)? as usize;
    if count != value.len() / (2 * size_of::<i64>()) {
        return Err(malformed("intent"));
    }
    let timers = (0..count).map(|_| take_timer(&mut value)).collect::<Result<_, _>>()?;
    Ok(Intent { producer, base_sequence, timers })
}

/// The whole of a timer's record.
pub(super) fn decode_delayed(key: &[u8], value: &[u8]) -> Result<(TimerId, Delayed), ReplayError> {
    let cut = |_| malformed("timer");
    let (mut key, mut value) = (key, value);
    if key.try_get_u8() != Ok(TIMER) {
        return Err(malformed("key of a timer"));
    }
    let id = TimerId(key.try_get_u128().map_err(cut)?);
    check_version(&mut value)?;
    let at = TimestampMs(value.try_get_i64().map_err(cut)?);
    let number = PartitionNumber(value.try_get_u32().map_err(cut)?);
    let partition = PartitionIndex(value.try_get_i32().map_err(cut)?);
    let tags = value.try_get_u64().map_err(cut)?;
    let length = usize::from(value.try_get_u16().map_err(cut)?);
    let (topic, batch) = value.split_at_checked(length).ok_or(malformed("timer"))?;
    let topic = str::from_utf8(topic).map_err(|_| malformed("name of a topic"))?.to_owned();
    Ok((id, Delayed { at, target: Target { number, topic, partition }, tags, batch: Bytes::copy_from_slice(batch) }))
}

fn timer_key(id: TimerId) -> [u8; 17] {
    let mut key = [TIMER; 17];
    key[1..].copy_from_slice(&id.0.to_be_bytes());
    key
}

fn intent_key(number: PartitionNumber) -> [u8; 5] {
    let mut key = [INTENT; 5];
    key[1..].copy_from_slice(&number.0.to_be_bytes());
    key
}

fn put_timer(out: &mut impl BufMut, timer: Timer) {
    out.put_i64(timer.at.0);
    out.put_i64(timer.offset.0);
}

/// Records on their way into the partition of timers, as one batch: all of them are stored, or none.
pub(super) struct Writing {
    now: TimestampMs,
    builder: BatchBuilder,
}

impl Writing {
    pub(super) fn new(now: TimestampMs) -> Writing {
        Writing { now, builder: BatchBuilder::new(Compression::None) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    fn push(&mut self, key: &[u8], value: Option<&[u8]>, headers: &[Header<'_>]) -> Result<(), BuildError> {
        self.builder.push(NewRecord { timestamp: self.now, key: Some(key), value, headers })
    }

    pub(super) fn timer(&mut self, id: TimerId, delayed: &Delayed) -> Result<(), BuildError> {
        let Delayed { at, target, tags, batch } = delayed;
        let mut value = BytesMut::with_capacity(64 + target.topic.len() + batch.len());
        value.put_u8(VERSION);
        value.put_i64(at.0);
        value.put_u32(target.number.0);
        value.put_i32(target.partition.0);
        value.put_u64(*tags);
        value.put_u16(u16::try_from(target.topic.len()).expect("names of topics are short"));
        value.put_slice(target.topic.as_bytes());
        value.put_slice(batch);
        self.push(&timer_key(id), Some(&value), &[])
    }

    /// The timer is recalled, or delivered.
    pub(super) fn gone(&mut self, id: TimerId, timer: Timer) -> Result<(), BuildError> {
        let mut reference = Vec::with_capacity(2 * size_of::<i64>());
        put_timer(&mut reference, timer);
        self.push(&timer_key(id), None, &[Header { key: TIMER_HEADER, value: Some(&reference) }])
    }

    pub(super) fn intent(&mut self, number: PartitionNumber, intent: &Intent) -> Result<(), BuildError> {
        let mut value = Vec::with_capacity(32 + intent.timers.len() * 2 * size_of::<i64>());
        value.put_u8(VERSION);
        value.put_i64(intent.producer.0);
        value.put_i32(intent.base_sequence);
        value.put_u32(intent.timers.len() as u32);
        intent.timers.iter().for_each(|timer| put_timer(&mut value, *timer));
        self.push(&intent_key(number), Some(&value), &[])
    }

    /// The intent is no more. Of its timers those that are not gone are pending again.
    pub(super) fn done(&mut self, number: PartitionNumber) -> Result<(), BuildError> {
        self.push(&intent_key(number), None, &[])
    }

    pub(super) fn finish(self) -> Result<BytesMut, BuildError> {
        let mut bytes = BytesMut::with_capacity(self.builder.uncompressed_bytes());
        self.builder.build(&mut bytes)?;
        Ok(bytes)
    }
}
