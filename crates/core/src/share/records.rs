//! The records of `__share_group_state`, in Kafka's schema.
//!
//! A key is its record type (16 bits) and a message of version 0; a value is its version (16 bits) and a message. A snapshot is the whole
//! state of a share-partition. An update is everything that was written since the snapshot whose epoch it carries, so that of each key the
//! newest record is enough, and the topic can be compacted. (Kafka's updates hold what one write brought, and are never compacted.)

use super::OffsetRange;
use super::SharePartition;
use super::state::{Stage, StateBatch, Stored};
use crate::coordinator::{Record, ReplayError};
use duolog_base::{Offset, PartitionIndex, TimestampMs};
use duolog_wire::kafka::messages::share_snapshot_key::ShareSnapshotKey;
use duolog_wire::kafka::messages::share_snapshot_value::{self, ShareSnapshotValue};
use duolog_wire::kafka::messages::share_update_key::ShareUpdateKey;
use duolog_wire::kafka::messages::share_update_value::{self, ShareUpdateValue};
use duolog_wire::kafka::{Decoder, EncodeError, Encoder};
use std::sync::Arc;

const VERSION: i16 = 0;
/// A start offset that nobody has found out yet.
const NO_START: i64 = -1;

/// A record as it is read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ShareRecord {
    Snapshot(Snapshot),
    Update(Update),
    /// The share-partition has no snapshot any more.
    Gone,
    /// Nothing was written since the snapshot.
    NoUpdate,
    /// Of a kind that is not known.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) snapshot_epoch: i32,
    pub(super) state_epoch: i32,
    pub(super) leader_epoch: i32,
    pub(super) start: Option<Offset>,
    pub(super) delivery_complete_count: i32,
    pub(super) created: TimestampMs,
    pub(super) written: TimestampMs,
    pub(super) batches: Vec<StateBatch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) snapshot_epoch: i32,
    pub(super) leader_epoch: i32,
    /// `None` if it has not changed.
    pub(super) start: Option<Offset>,
    pub(super) delivery_complete_count: i32,
    pub(super) batches: Vec<StateBatch>,
}

/// Reads a record. The share-partition is that of the key.
pub(super) fn decode(key: &[u8], value: Option<&[u8]>) -> Result<(SharePartition, ShareRecord), ReplayError> {
    let mut decoder = Decoder::new(key);
    match decoder.i16()? {
        ShareSnapshotKey::RECORD_TYPE => {
            let key = ShareSnapshotKey::decode(&mut decoder, VERSION)?;
            let record = value.map_or(Ok(ShareRecord::Gone), decode_snapshot)?;
            Ok((place(key.group_id, key.topic_id, key.partition), record))
        }
        ShareUpdateKey::RECORD_TYPE => {
            let key = ShareUpdateKey::decode(&mut decoder, VERSION)?;
            let record = value.map_or(Ok(ShareRecord::NoUpdate), decode_update)?;
            Ok((place(key.group_id, key.topic_id, key.partition), record))
        }
        _ => Ok((place("", duolog_base::TopicId::NONE, 0), ShareRecord::Other)),
    }
}

fn place(group: &str, topic: duolog_base::TopicId, partition: i32) -> SharePartition {
    SharePartition { group: Arc::from(group), topic, partition: PartitionIndex(partition) }
}

fn offset(number: i64) -> Option<Offset> {
    (number >= 0).then_some(Offset(number))
}

fn batch(first: i64, last: i64, state: i8, delivery_count: i16) -> Result<StateBatch, ReplayError> {
    let stage = Stage::from_number(state).ok_or(ReplayError::Malformed("state of a delivery"))?;
    let range = OffsetRange { first: Offset(first), last: Offset(last) };
    let batch = StateBatch::new(range, Stored { stage, delivery_count });
    batch.range().map(|_| batch).ok_or(ReplayError::Malformed("offsets of a batch"))
}

fn decode_snapshot(value: &[u8]) -> Result<ShareRecord, ReplayError> {
    let mut decoder = Decoder::new(value);
    let version = decoder.i16()?;
    let value = ShareSnapshotValue::decode(&mut decoder, version)?;
    let batches = value.state_batches.iter();
    let batches = batches.map(|of| batch(of.first_offset, of.last_offset, of.delivery_state, of.delivery_count));
    Ok(ShareRecord::Snapshot(Snapshot {
        snapshot_epoch: value.snapshot_epoch,
        state_epoch: value.state_epoch,
        leader_epoch: value.leader_epoch,
        start: offset(value.start_offset),
        delivery_complete_count: value.delivery_complete_count,
        created: TimestampMs(value.create_timestamp),
        written: TimestampMs(value.write_timestamp),
        batches: batches.collect::<Result<_, _>>()?,
    }))
}

fn decode_update(value: &[u8]) -> Result<ShareRecord, ReplayError> {
    let mut decoder = Decoder::new(value);
    let version = decoder.i16()?;
    let value = ShareUpdateValue::decode(&mut decoder, version)?;
    let batches = value.state_batches.iter();
    let batches = batches.map(|of| batch(of.first_offset, of.last_offset, of.delivery_state, of.delivery_count));
    Ok(ShareRecord::Update(Update {
        snapshot_epoch: value.snapshot_epoch,
        leader_epoch: value.leader_epoch,
        start: offset(value.start_offset),
        delivery_complete_count: value.delivery_complete_count,
        batches: batches.collect::<Result<_, _>>()?,
    }))
}

pub(super) fn snapshot(at: &SharePartition, snapshot: &Snapshot) -> Record {
    let batches = snapshot.batches.iter().filter_map(|batch| {
        let (range, Stored { stage, delivery_count }) = (batch.range()?, batch.stored());
        let (first_offset, last_offset) = (range.first.0, range.last.0);
        Some(share_snapshot_value::StateBatch { first_offset, last_offset, delivery_state: stage.number(), delivery_count })
    });
    let value = ShareSnapshotValue {
        snapshot_epoch: snapshot.snapshot_epoch,
        state_epoch: snapshot.state_epoch,
        leader_epoch: snapshot.leader_epoch,
        start_offset: snapshot.start.map_or(NO_START, |start| start.0),
        delivery_complete_count: snapshot.delivery_complete_count,
        create_timestamp: snapshot.created.0,
        write_timestamp: snapshot.written.0,
        state_batches: batches.collect(),
    };
    Record { key: snapshot_key(at), value: Some(encode(VERSION, |encoder| value.encode(encoder, VERSION))) }
}

pub(super) fn update(at: &SharePartition, update: &Update) -> Record {
    let batches = update.batches.iter().filter_map(|batch| {
        let (range, Stored { stage, delivery_count }) = (batch.range()?, batch.stored());
        let (first_offset, last_offset) = (range.first.0, range.last.0);
        Some(share_update_value::StateBatch { first_offset, last_offset, delivery_state: stage.number(), delivery_count })
    });
    let value = ShareUpdateValue {
        snapshot_epoch: update.snapshot_epoch,
        leader_epoch: update.leader_epoch,
        start_offset: update.start.map_or(NO_START, |start| start.0),
        delivery_complete_count: update.delivery_complete_count,
        state_batches: batches.collect(),
    };
    Record { key: update_key(at), value: Some(encode(VERSION, |encoder| value.encode(encoder, VERSION))) }
}

/// That nothing is known of the share-partition any more.
pub(super) fn tombstones(at: &SharePartition) -> [Record; 2] {
    [Record { key: snapshot_key(at), value: None }, Record { key: update_key(at), value: None }]
}

fn snapshot_key(at: &SharePartition) -> Vec<u8> {
    let key = ShareSnapshotKey { group_id: &at.group, topic_id: at.topic, partition: at.partition.0 };
    encode(ShareSnapshotKey::RECORD_TYPE, |encoder| key.encode(encoder, VERSION))
}

fn update_key(at: &SharePartition) -> Vec<u8> {
    let key = ShareUpdateKey { group_id: &at.group, topic_id: at.topic, partition: at.partition.0 };
    encode(ShareUpdateKey::RECORD_TYPE, |encoder| key.encode(encoder, VERSION))
}

fn encode(prefix: i16, message: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.i16(prefix);
    match message(&mut encoder) {
        Ok(()) => encoder.buffer().to_vec(),
        // Names of groups are checked when they come in.
        Err(error) => unreachable!("a record of a share-partition does not fit its schema: {error}"),
    }
}
