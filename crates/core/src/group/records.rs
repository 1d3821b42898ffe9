//! The records of `__consumer_offsets`, in Kafka's schema and in the versions that Kafka 4.3 writes.
//!
//! A key is its record type (16 bits) and a message of version 0; a value is its version (16 bits) and a message.
//! Locks have a type of our own, which Kafka's tools and brokers pass over. Type 0 is an offset written by brokers before 0.10 and read as type 1. Other types belong to kinds of groups that
//! are not served; they are passed over, so that a topic taken over from Kafka can be read.

use super::locks::NamedPartition;
use super::member::Member;
use super::offsets::CommittedOffset;
use super::state::Group;
use crate::coordinator::{Record, ReplayError};
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};
use duolog_wire::kafka::messages::group_metadata_key::GroupMetadataKey;
use duolog_wire::kafka::messages::group_metadata_value::{GroupMetadataValue, MemberMetadata};
use duolog_wire::kafka::messages::legacy_offset_commit_key::LegacyOffsetCommitKey;
use duolog_wire::kafka::messages::legacy_offset_commit_value::LegacyOffsetCommitValue;
use duolog_wire::kafka::messages::offset_commit_key::OffsetCommitKey;
use duolog_wire::kafka::messages::offset_commit_value::OffsetCommitValue;
use duolog_wire::kafka::{Decoder, EncodeError, Encoder};

const KEY_VERSION: i16 = 0;
const GROUP_VALUE_VERSION: i16 = 3;
const OFFSET_VALUE_VERSION: i16 = 4;
/// The type of a lock's record, far from the numbers that Kafka gives out one after the other. The key goes on like that of an offset; the
/// value is a version and the client's name.
const LOCK_TYPE: i16 = 0x4C4B;
const LOCK_VALUE_VERSION: i16 = 0;
/// The only version that can say when an offset expires.
const EXPIRING_OFFSET_VALUE_VERSION: i16 = 1;

/// A record as read.
#[derive(Debug)]
pub enum OffsetsRecord<'a> {
    Group {
        id: &'a str,
        value: Option<GroupMetadataValue<'a>>,
    },
    Offset {
        group: &'a str,
        topic: &'a str,
        partition: PartitionIndex,
        committed: Option<CommittedOffset>,
    },
    /// `None`: it was given back, or has died.
    Lock {
        group: &'a str,
        topic: &'a str,
        partition: PartitionIndex,
        client: Option<&'a str>,
    },
    /// Of a kind that is not served.
    Other,
}

/// Reads a record of `__consumer_offsets`.
pub fn decode<'a>(key: &'a [u8], value: Option<&'a [u8]>) -> Result<OffsetsRecord<'a>, ReplayError> {
    let mut decoder = Decoder::new(key);
    match decoder.i16()? {
        GroupMetadataKey::RECORD_TYPE => {
            let key = GroupMetadataKey::decode(&mut decoder, KEY_VERSION)?;
            let value = value.map(decode_group).transpose()?;
            Ok(OffsetsRecord::Group { id: key.group, value })
        }
        OffsetCommitKey::RECORD_TYPE => {
            let key = OffsetCommitKey::decode(&mut decoder, KEY_VERSION)?;
            let committed = value.map(decode_offset).transpose()?;
            Ok(OffsetsRecord::Offset { group: key.group, topic: key.topic, partition: PartitionIndex(key.partition), committed })
        }
        LegacyOffsetCommitKey::RECORD_TYPE => {
            let key = LegacyOffsetCommitKey::decode(&mut decoder, KEY_VERSION)?;
            let committed = value.map(decode_legacy_offset).transpose()?;
            Ok(OffsetsRecord::Offset { group: key.group, topic: key.topic, partition: PartitionIndex(key.partition), committed })
        }
        LOCK_TYPE => {
            let key = OffsetCommitKey::decode(&mut decoder, KEY_VERSION)?;
            let client = value.map(decode_lock).transpose()?;
            Ok(OffsetsRecord::Lock { group: key.group, topic: key.topic, partition: PartitionIndex(key.partition), client })
        }
        _ => Ok(OffsetsRecord::Other),
    }
}

fn decode_group(value: &[u8]) -> Result<GroupMetadataValue<'_>, ReplayError> {
    let mut decoder = Decoder::new(value);
    let version = decoder.i16()?;
    Ok(GroupMetadataValue::decode(&mut decoder, version)?)
}

fn decode_offset(value: &[u8]) -> Result<CommittedOffset, ReplayError> {
    let mut decoder = Decoder::new(value);
    let version = decoder.i16()?;
    let value = OffsetCommitValue::decode(&mut decoder, version)?;
    Ok(CommittedOffset {
        offset: Offset(value.offset),
        leader_epoch: LeaderEpoch(value.leader_epoch),
        metadata: value.metadata.to_owned(),
        committed_at: TimestampMs(value.commit_timestamp),
        expires_at: (value.expire_timestamp != -1).then_some(TimestampMs(value.expire_timestamp)),
        topic_id: value.topic_id,
    })
}

fn decode_legacy_offset(value: &[u8]) -> Result<CommittedOffset, ReplayError> {
    let mut decoder = Decoder::new(value);
    let version = decoder.i16()?;
    let value = LegacyOffsetCommitValue::decode(&mut decoder, version)?;
    Ok(CommittedOffset {
        offset: Offset(value.offset),
        leader_epoch: LeaderEpoch::NONE,
        metadata: value.metadata.to_owned(),
        committed_at: TimestampMs(value.commit_timestamp),
        expires_at: None,
        topic_id: TopicId::NONE,
    })
}

fn decode_lock(value: &[u8]) -> Result<&str, ReplayError> {
    let mut decoder = Decoder::new(value);
    let _version = decoder.i16()?;
    Ok(decoder.string(false)?)
}

/// The group as it stands: its members with what they say for the chosen protocol, and their shares.
pub(super) fn group(group: &Group) -> Record {
    let metadata: Vec<_> = group.members.values().map(|member| member.metadata(group.protocol_name.as_deref())).collect();
    let members = group.members.values().zip(&metadata).map(|(member, metadata)| MemberMetadata {
        member_id: &member.id,
        group_instance_id: member.instance_id.as_deref(),
        client_id: &member.client_id,
        client_host: &member.client_host,
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: metadata,
        assignment: &member.assignment,
    });
    let value = GroupMetadataValue {
        protocol_type: group.protocol_type.as_deref().unwrap_or_default(),
        generation: group.generation,
        protocol: group.protocol_name.as_deref(),
        leader: group.leader.as_deref(),
        current_state_timestamp: group.since.unwrap_or(TimestampMs::NONE).0,
        members: members.collect(),
    };
    let value = encode(GROUP_VALUE_VERSION, |encoder| value.encode(encoder, GROUP_VALUE_VERSION));
    debug_assert!(value.len() <= group_bytes(group), "the bound is one");
    Record { key: group_key(&group.id), value: Some(value) }
}

/// What the value of the group's record takes at the most.
pub(super) fn group_bytes(group: &Group) -> usize {
    /// Numbers and lengths of the group, and of each member.
    const FIXED_BYTES: usize = 64;
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let of_member = |member: &Member| {
        let instance = member.instance_id.as_deref().map_or(0, str::len);
        let texts = member.id.len() + instance + member.client_id.len() + member.client_host.len();
        FIXED_BYTES + texts + member.metadata(group.protocol_name.as_deref()).len() + member.assignment.len()
    };
    let names = text(&group.protocol_type) + text(&group.protocol_name) + group.leader.as_deref().map_or(0, str::len);
    FIXED_BYTES + names + group.members.values().map(of_member).sum::<usize>()
}

pub(super) fn group_tombstone(id: &str) -> Record {
    Record { key: group_key(id), value: None }
}

pub(super) fn offset(group: &str, topic: &str, partition: PartitionIndex, committed: &CommittedOffset) -> Record {
    let version = match committed.expires_at {
        Some(_) => EXPIRING_OFFSET_VALUE_VERSION,
        None => OFFSET_VALUE_VERSION,
    };
    let value = OffsetCommitValue {
        offset: committed.offset.0,
        leader_epoch: committed.leader_epoch.0,
        metadata: &committed.metadata,
        commit_timestamp: committed.committed_at.0,
        expire_timestamp: committed.expires_at.unwrap_or(TimestampMs::NONE).0,
        topic_id: committed.topic_id,
    };
    let value = encode(version, |encoder| value.encode(encoder, version));
    Record { key: partition_key(OffsetCommitKey::RECORD_TYPE, group, topic, partition), value: Some(value) }
}

pub(super) fn offset_tombstone(group: &str, topic: &str, partition: PartitionIndex) -> Record {
    Record { key: partition_key(OffsetCommitKey::RECORD_TYPE, group, topic, partition), value: None }
}

pub(super) fn lock(group: &str, (topic, partition): &NamedPartition, client: &str) -> Record {
    let value = encode(LOCK_VALUE_VERSION, |encoder| encoder.string(client, false));
    Record { key: partition_key(LOCK_TYPE, group, topic, *partition), value: Some(value) }
}

pub(super) fn lock_tombstone(group: &str, (topic, partition): &NamedPartition) -> Record {
    Record { key: partition_key(LOCK_TYPE, group, topic, *partition), value: None }
}

fn group_key(group: &str) -> Vec<u8> {
    encode(GroupMetadataKey::RECORD_TYPE, |encoder| GroupMetadataKey { group }.encode(encoder, KEY_VERSION))
}

fn partition_key(kind: i16, group: &str, topic: &str, partition: PartitionIndex) -> Vec<u8> {
    let key = OffsetCommitKey { group, topic, partition: partition.0 };
    encode(kind, |encoder| key.encode(encoder, KEY_VERSION))
}

fn encode(prefix: i16, message: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.i16(prefix);
    match message(&mut encoder) {
        Ok(()) => encoder.buffer().to_vec(),
        // All strings came through the same limit on their way in; ids that we made are shorter than that.
        Err(error) => unreachable!("a record of a group does not fit its schema: {error}"),
    }
}
