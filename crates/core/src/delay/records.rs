//! The records of `__delayed_messages`: their bytes, in both directions. docs/storage-format.md has the same maps.
//!
//! ```text
//! timer     key   0 u8 | id, 16 bytes
//!           value 1 u8 | time i64 | partition number u32 | partition i32 | tag word u64 | topic: length u16, name | a record batch of one record
//! half      key   2 u8 | id, 16 bytes
//!           value as of a timer, its time being that of the first question; in front of the batch: group: length u16, name |
//!                 transaction: length u16, name
//! fate      key   3 u8 | id, 16 bytes
//!           value 1 u8 | offset of the half i64 | 0 u8 | time of the next question i64 | questions so far u32
//!              or 1 u8 | offset of the half i64 | 1 u8, once it is committed
//! recalled, rolled back or delivered
//!           key   of the timer or half; value null; header `duolog.timer`: time i64 | offset of the timer or half i64
//!           and of a half its fate; value null
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
const HALF: u8 = 2;
const FATE: u8 = 3;
const VERSION: u8 = 1;
const FATE_ASKED: u8 = 0;
const FATE_COMMITTED: u8 = 1;
/// On a timer's tombstone: which timer it was.
const TIMER_HEADER: &[u8] = b"duolog.timer";

/// Names a timer among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u128);

/// Whether a time or an owner says when a record is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Timer,
    Half,
}

/// Names a timer or a half: its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    pub kind: Kind,
    pub id: TimerId,
}

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

/// Who says what becomes of a half record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Any member of it may.
    pub group: String,
    /// What the group calls the transaction; empty if it has no name for it.
    pub transaction: String,
}

/// A record that is delivered once its owner says so. The time of `delayed` is when the owner is asked first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Half {
    pub delayed: Delayed,
    pub owner: Owner,
}

/// What has become of a half record so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its owner was asked, so many times in all.
    Asked { next: TimestampMs, questions: u32 },
    /// It is to be delivered.
    Committed,
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
pub enum Entry {
    Timer(Timer),
    /// Its time is that of the first question.
    Half(Timer),
    Fate(Offset, Fate),
    /// A half is gone, which another record says.
    FateGone,
    /// Recalled, rolled back or delivered.
    Gone(Timer),
    Intent(PartitionNumber, Intent),
    Done(PartitionNumber),
}

fn malformed(what: &'static str) -> ReplayError {
    ReplayError::Malformed(what)
}

/// What a record of the partition says. Of a timer only its time is looked at.
pub fn decode(offset: Offset, key: &[u8], value: Option<&[u8]>, headers: &Headers<'_>) -> Result<Entry, ReplayError> {
    let (&kind, rest) = key.split_first().ok_or(malformed("empty key"))?;
    match (kind, value) {
        (TIMER | HALF, Some(value)) => {
            let mut value = value;
            check_version(&mut value)?;
            let at = TimestampMs(value.try_get_i64().map_err(|_| malformed("timer"))?);
            let timer = Timer { at, offset };
            Ok(if kind == TIMER { Entry::Timer(timer) } else { Entry::Half(timer) })
        }
        (FATE, Some(value)) => decode_fate(value),
        (FATE, None) => Ok(Entry::FateGone),
        (TIMER | HALF, None) => {
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

fn decode_fate(mut value: &[u8]) -> Result<Entry, ReplayError> {
    check_version(&mut value)?;
    let cut = |_| malformed("fate");
    let half = Offset(value.try_get_i64().map_err(cut)?);
    let fate = match value.try_get_u8().map_err(cut)? {
        FATE_ASKED => {
            let next = TimestampMs(value.try_get_i64().map_err(cut)?);
            Fate::Asked { next, questions: value.try_get_u32().map_err(cut)? }
        }
        FATE_COMMITTED => Fate::Committed,
        _ => return Err(malformed("fate")),
    };
    Ok(Entry::Fate(half, fate))
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

/// The whole of a timer's or half's record.
#[derive(Debug)]
pub struct Stored {
    pub name: Name,
    pub delayed: Delayed,
    /// Of a half.
    pub owner: Option<Owner>,
}

/// Whether a record of this key is one.
pub fn is_stored(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(TIMER | HALF)))
}

pub fn decode_stored(key: &[u8], value: &[u8]) -> Result<Stored, ReplayError> {
    let cut = |_| malformed("timer");
    let (mut key, mut value) = (key, value);
    let kind = match key.try_get_u8() {
        Ok(TIMER) => Kind::Timer,
        Ok(HALF) => Kind::Half,
        _ => return Err(malformed("key of a timer")),
    };
    let id = TimerId(key.try_get_u128().map_err(cut)?);
    check_version(&mut value)?;
    let at = TimestampMs(value.try_get_i64().map_err(cut)?);
    let number = PartitionNumber(value.try_get_u32().map_err(cut)?);
    let partition = PartitionIndex(value.try_get_i32().map_err(cut)?);
    let tags = value.try_get_u64().map_err(cut)?;
    let topic = take_text(&mut value)?;
    let owner = match kind {
        Kind::Timer => None,
        Kind::Half => Some(Owner { group: take_text(&mut value)?, transaction: take_text(&mut value)? }),
    };
    let delayed = Delayed { at, target: Target { number, topic, partition }, tags, batch: Bytes::copy_from_slice(value) };
    Ok(Stored { name: Name { kind, id }, delayed, owner })
}

fn take_text(value: &mut &[u8]) -> Result<String, ReplayError> {
    let length = usize::from(value.try_get_u16().map_err(|_| malformed("timer"))?);
    let (text, rest) = value.split_at_checked(length).ok_or(malformed("timer"))?;
    *value = rest;
    Ok(str::from_utf8(text).map_err(|_| malformed("name in a timer"))?.to_owned())
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u16(u16::try_from(text.len()).expect("names are short"));
    out.put_slice(text.as_bytes());
}

fn key_of(kind: u8, id: TimerId) -> [u8; 17] {
    let mut key = [kind; 17];
    key[1..].copy_from_slice(&id.0.to_be_bytes());
    key
}

impl Name {
    fn key(self) -> [u8; 17] {
        match self.kind {
            Kind::Timer => key_of(TIMER, self.id),
            Kind::Half => key_of(HALF, self.id),
        }
    }
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
pub struct Writing {
    now: TimestampMs,
    builder: BatchBuilder,
}

impl Writing {
    pub fn new(now: TimestampMs) -> Writing {
        Writing { now, builder: BatchBuilder::new(Compression::None) }
    }

    pub fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    fn push(&mut self, key: &[u8], value: Option<&[u8]>, headers: &[Header<'_>]) -> Result<(), BuildError> {
        self.builder.push(NewRecord { timestamp: self.now, key: Some(key), value, headers })
    }

    pub fn timer(&mut self, id: TimerId, delayed: &Delayed) -> Result<(), BuildError> {
        self.pending(Name { kind: Kind::Timer, id }, delayed, None)
    }

    pub fn half(&mut self, id: TimerId, half: &Half) -> Result<(), BuildError> {
        self.pending(Name { kind: Kind::Half, id }, &half.delayed, Some(&half.owner))
    }

    fn pending(&mut self, name: Name, delayed: &Delayed, owner: Option<&Owner>) -> Result<(), BuildError> {
        let Delayed { at, target, tags, batch } = delayed;
        let mut value = BytesMut::with_capacity(64 + target.topic.len() + batch.len());
        value.put_u8(VERSION);
        value.put_i64(at.0);
        value.put_u32(target.number.0);
        value.put_i32(target.partition.0);
        value.put_u64(*tags);
        put_text(&mut value, &target.topic);
        if let Some(Owner { group, transaction }) = owner {
            put_text(&mut value, group);
            put_text(&mut value, transaction);
        }
        value.put_slice(batch);
        self.push(&name.key(), Some(&value), &[])
    }

    pub fn fate(&mut self, id: TimerId, half: Offset, fate: Fate) -> Result<(), BuildError> {
        let mut value = Vec::with_capacity(32);
        value.put_u8(VERSION);
        value.put_i64(half.0);
        match fate {
            Fate::Asked { next, questions } => {
                value.put_u8(FATE_ASKED);
                value.put_i64(next.0);
                value.put_u32(questions);
            }
            Fate::Committed => value.put_u8(FATE_COMMITTED),
        }
        self.push(&key_of(FATE, id), Some(&value), &[])
    }

    /// It is recalled, rolled back, or delivered.
    pub fn gone(&mut self, name: Name, timer: Timer) -> Result<(), BuildError> {
        let mut reference = Vec::with_capacity(2 * size_of::<i64>());
        put_timer(&mut reference, timer);
        self.push(&name.key(), None, &[Header { key: TIMER_HEADER, value: Some(&reference) }])?;
        match name.kind {
            Kind::Timer => Ok(()),
            Kind::Half => self.push(&key_of(FATE, name.id), None, &[]),
        }
    }

    pub fn intent(&mut self, number: PartitionNumber, intent: &Intent) -> Result<(), BuildError> {
        let mut value = Vec::with_capacity(32 + intent.timers.len() * 2 * size_of::<i64>());
        value.put_u8(VERSION);
        value.put_i64(intent.producer.0);
        value.put_i32(intent.base_sequence);
        value.put_u32(intent.timers.len() as u32);
        intent.timers.iter().for_each(|timer| put_timer(&mut value, *timer));
        self.push(&intent_key(number), Some(&value), &[])
    }

    /// The intent is no more. Of its timers those that are not gone are pending again.
    pub fn done(&mut self, number: PartitionNumber) -> Result<(), BuildError> {
        self.push(&intent_key(number), None, &[])
    }

    pub fn finish(self) -> Result<BytesMut, BuildError> {
        let mut bytes = BytesMut::with_capacity(self.builder.uncompressed_bytes());
        self.builder.build(&mut bytes)?;
        Ok(bytes)
    }
}
