//! The records of share groups in `__consumer_offsets`, in Kafka's schema: types 10 to 15.

use super::super::timers::Deadline;
use super::request::ShareAssignment;
use super::state::{ShareGroup, ShareMember};
use crate::coordinator::{Record, ReplayError};
use duolog_base::{PartitionIndex, TimestampMs, TopicId};
use duolog_wire::kafka::messages::share_group_current_member_assignment_key::ShareGroupCurrentMemberAssignmentKey;
use duolog_wire::kafka::messages::share_group_current_member_assignment_value::{
    ShareGroupCurrentMemberAssignmentValue, TopicPartitions,
};
use duolog_wire::kafka::messages::share_group_member_metadata_key::ShareGroupMemberMetadataKey;
use duolog_wire::kafka::messages::share_group_member_metadata_value::ShareGroupMemberMetadataValue;
use duolog_wire::kafka::messages::share_group_metadata_key::ShareGroupMetadataKey;
use duolog_wire::kafka::messages::share_group_metadata_value::ShareGroupMetadataValue;
use duolog_wire::kafka::messages::share_group_state_partition_metadata_key::ShareGroupStatePartitionMetadataKey;
use duolog_wire::kafka::messages::share_group_state_partition_metadata_value::{
    ShareGroupStatePartitionMetadataValue, TopicPartitionsInfo,
};
use duolog_wire::kafka::messages::share_group_target_assignment_member_key::ShareGroupTargetAssignmentMemberKey;
use duolog_wire::kafka::messages::share_group_target_assignment_member_value::{
    ShareGroupTargetAssignmentMemberValue, TopicPartition,
};
use duolog_wire::kafka::messages::share_group_target_assignment_metadata_key::ShareGroupTargetAssignmentMetadataKey;
use duolog_wire::kafka::messages::share_group_target_assignment_metadata_value::ShareGroupTargetAssignmentMetadataValue;
use duolog_wire::kafka::{DecodeError, Decoder, EncodeError, Encoder};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The only version of every key and value here.
const VERSION: i16 = 0;
/// Kafka's number for a member that has its whole share.
const STABLE: i8 = 0;

/// Folds a record into the groups. Records of other types are passed over.
pub(in super::super) fn replay(
    groups: &mut BTreeMap<Arc<str>, ShareGroup>,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), ReplayError> {
    let mut key = Decoder::new(key);
    match key.i16()? {
        ShareGroupMetadataKey::RECORD_TYPE => {
            let key = ShareGroupMetadataKey::decode(&mut key, VERSION)?;
            match value.map(|value| decode(value, ShareGroupMetadataValue::decode)).transpose()? {
                Some(value) => {
                    let group = known(groups, key.group_id);
                    (group.epoch, group.metadata_hash) = (value.epoch, value.metadata_hash);
                }
                None => drop(groups.remove(key.group_id)),
            }
        }
        ShareGroupMemberMetadataKey::RECORD_TYPE => {
            let key = ShareGroupMemberMetadataKey::decode(&mut key, VERSION)?;
            let value = value.map(|value| decode(value, ShareGroupMemberMetadataValue::decode)).transpose()?;
            replay_member(groups, &key, value);
        }
        ShareGroupTargetAssignmentMetadataKey::RECORD_TYPE => {
            let key = ShareGroupTargetAssignmentMetadataKey::decode(&mut key, VERSION)?;
            if let Some(value) = value {
                let value = decode(value, ShareGroupTargetAssignmentMetadataValue::decode)?;
                known(groups, key.group_id).assignment_epoch = value.assignment_epoch;
            }
        }
        ShareGroupTargetAssignmentMemberKey::RECORD_TYPE => {
            let key = ShareGroupTargetAssignmentMemberKey::decode(&mut key, VERSION)?;
            match value.map(|value| decode(value, ShareGroupTargetAssignmentMemberValue::decode)).transpose()? {
                Some(value) => {
                    let share = value.topic_partitions.iter().map(|topic| (topic.topic_id, indexes(&topic.partitions)));
                    known(groups, key.group_id).target.insert(Arc::from(key.member_id), share.collect());
                }
                None => drop(groups.get_mut(key.group_id).and_then(|group| group.target.remove(key.member_id))),
            }
        }
        ShareGroupCurrentMemberAssignmentKey::RECORD_TYPE => {
            let key = ShareGroupCurrentMemberAssignmentKey::decode(&mut key, VERSION)?;
            let value = value.map(|value| decode(value, ShareGroupCurrentMemberAssignmentValue::decode)).transpose()?;
            let member = groups.get_mut(key.group_id).and_then(|group| group.members.get_mut(key.member_id));
            if let (Some(member), Some(value)) = (member, value) {
                (member.epoch, member.previous_epoch) = (value.member_epoch, value.previous_member_epoch);
                member.assigned =
                    value.assigned_partitions.iter().map(|topic| (topic.topic_id, indexes(&topic.partitions))).collect();
            }
        }
        ShareGroupStatePartitionMetadataKey::RECORD_TYPE => {
            let key = ShareGroupStatePartitionMetadataKey::decode(&mut key, VERSION)?;
            if let Some(value) = value {
                let value = decode(value, ShareGroupStatePartitionMetadataValue::decode)?;
                replay_partitions(known(groups, key.group_id), &value);
            }
        }
        _ => {}
    }
    Ok(())
}

fn known<'a>(groups: &'a mut BTreeMap<Arc<str>, ShareGroup>, id: &str) -> &'a mut ShareGroup {
    let id: Arc<str> = Arc::from(id);
    groups.entry(id.clone()).or_insert_with(|| ShareGroup::new(id))
}

fn replay_member(
    groups: &mut BTreeMap<Arc<str>, ShareGroup>,
    key: &ShareGroupMemberMetadataKey<'_>,
    value: Option<ShareGroupMemberMetadataValue<'_>>,
) {
    let Some(value) = value else {
        if let Some(group) = groups.get_mut(key.group_id) {
            group.members.remove(key.member_id);
        }
        return;
    };
    let group = known(groups, key.group_id);
    let member = group.members.entry(Arc::from(key.member_id)).or_default();
    member.rack = value.rack_id.map(str::to_owned);
    member.client_id = value.client_id.to_owned();
    member.client_host = value.client_host.to_owned();
    member.topics = value.subscribed_topic_names.iter().map(|name| (*name).to_owned()).collect();
    member.session = Deadline::default();
}

fn replay_partitions(group: &mut ShareGroup, value: &ShareGroupStatePartitionMetadataValue<'_>) {
    let read = |topics: &[TopicPartitionsInfo<'_>]| -> ShareAssignment {
        topics.iter().map(|topic| (topic.topic_id, indexes(&topic.partitions))).collect()
    };
    group.initialized = read(&value.initialized_topics);
    group.initializing = read(&value.initializing_topics);
    let topics = value.initialized_topics.iter().chain(&value.initializing_topics);
    group.names = topics.map(|topic| (topic.topic_id, topic.topic_name.to_owned())).collect();
}

fn indexes(partitions: &[i32]) -> std::collections::BTreeSet<PartitionIndex> {
    partitions.iter().copied().map(PartitionIndex).collect()
}

fn numbers(partitions: &std::collections::BTreeSet<PartitionIndex>) -> Vec<i32> {
    partitions.iter().map(|partition| partition.0).collect()
}

/// Reads a value of the one version there is, behind its number.
fn decode<'a, T>(value: &'a [u8], read: impl FnOnce(&mut Decoder<'a>, i16) -> Result<T, DecodeError>) -> Result<T, ReplayError> {
    let mut decoder = Decoder::new(value);
    let version = decoder.i16()?;
    Ok(read(&mut decoder, version)?)
}

pub(super) fn group(group: &ShareGroup) -> Record {
    let value = ShareGroupMetadataValue { epoch: group.epoch, metadata_hash: group.metadata_hash };
    Record { key: group_key(&group.id), value: Some(encode(VERSION, |encoder| value.encode(encoder, VERSION))) }
}

pub(super) fn member(group: &ShareGroup, member_id: &str, member: &ShareMember) -> Record {
    let value = ShareGroupMemberMetadataValue {
        rack_id: member.rack.as_deref(),
        client_id: &member.client_id,
        client_host: &member.client_host,
        subscribed_topic_names: member.topics.iter().map(String::as_str).collect(),
    };
    Record { key: member_key(&group.id, member_id), value: Some(encode(VERSION, |encoder| value.encode(encoder, VERSION))) }
}

pub(super) fn assignment_epoch(group: &ShareGroup, now: TimestampMs) -> Record {
    let value = ShareGroupTargetAssignmentMetadataValue { assignment_epoch: group.assignment_epoch, assignment_timestamp: now.0 };
    Record { key: assignment_key(&group.id), value: Some(encode(VERSION, |encoder| value.encode(encoder, VERSION))) }
}

pub(super) fn target(group: &ShareGroup, member_id: &str, share: &ShareAssignment) -> Record {
    let topics =
        share.iter().map(|(topic_id, partitions)| TopicPartition { topic_id: *topic_id, partitions: numbers(partitions) });
    let value = ShareGroupTargetAssignmentMemberValue { topic_partitions: topics.collect() };
    Record { key: target_key(&group.id, member_id), value: Some(encode(VERSION, |encoder| value.encode(encoder, VERSION))) }
}

pub(super) fn current(group: &ShareGroup, member_id: &str, member: &ShareMember) -> Record {
    let topics = member
        .assigned
        .iter()
        .map(|(topic_id, partitions)| TopicPartitions { topic_id: *topic_id, partitions: numbers(partitions) });
    let value = ShareGroupCurrentMemberAssignmentValue {
        member_epoch: member.epoch,
        previous_member_epoch: member.previous_epoch,
        state: STABLE,
        assigned_partitions: topics.collect(),
    };
    Record { key: current_key(&group.id, member_id), value: Some(encode(VERSION, |encoder| value.encode(encoder, VERSION))) }
}

pub(super) fn partitions(group: &ShareGroup) -> Record {
    let info = |(topic_id, partitions): (&TopicId, &std::collections::BTreeSet<PartitionIndex>)| TopicPartitionsInfo {
        topic_id: *topic_id,
        topic_name: group.names.get(topic_id).map_or("", String::as_str),
        partitions: numbers(partitions),
    };
    let value = ShareGroupStatePartitionMetadataValue {
        initializing_topics: group.initializing.iter().map(info).collect(),
        initialized_topics: group.initialized.iter().map(info).collect(),
        deleting_topics: Vec::new(),
    };
    Record { key: partitions_key(&group.id), value: Some(encode(VERSION, |encoder| value.encode(encoder, VERSION))) }
}

/// What takes a member out of the log.
pub(super) fn member_tombstones(group: &str, member_id: &str) -> [Record; 3] {
    let keys = [current_key(group, member_id), target_key(group, member_id), member_key(group, member_id)];
    keys.map(|key| Record { key, value: None })
}

/// What takes a group without members out of the log.
pub(super) fn group_tombstones(group: &str) -> [Record; 3] {
    [assignment_key(group), partitions_key(group), group_key(group)].map(|key| Record { key, value: None })
}

fn group_key(group_id: &str) -> Vec<u8> {
    encode(ShareGroupMetadataKey::RECORD_TYPE, |encoder| ShareGroupMetadataKey { group_id }.encode(encoder, VERSION))
}

fn member_key(group_id: &str, member_id: &str) -> Vec<u8> {
    let key = ShareGroupMemberMetadataKey { group_id, member_id };
    encode(ShareGroupMemberMetadataKey::RECORD_TYPE, |encoder| key.encode(encoder, VERSION))
}

fn assignment_key(group_id: &str) -> Vec<u8> {
    let key = ShareGroupTargetAssignmentMetadataKey { group_id };
    encode(ShareGroupTargetAssignmentMetadataKey::RECORD_TYPE, |encoder| key.encode(encoder, VERSION))
}

fn target_key(group_id: &str, member_id: &str) -> Vec<u8> {
    let key = ShareGroupTargetAssignmentMemberKey { group_id, member_id };
    encode(ShareGroupTargetAssignmentMemberKey::RECORD_TYPE, |encoder| key.encode(encoder, VERSION))
}

fn current_key(group_id: &str, member_id: &str) -> Vec<u8> {
    let key = ShareGroupCurrentMemberAssignmentKey { group_id, member_id };
    encode(ShareGroupCurrentMemberAssignmentKey::RECORD_TYPE, |encoder| key.encode(encoder, VERSION))
}

fn partitions_key(group_id: &str) -> Vec<u8> {
    let key = ShareGroupStatePartitionMetadataKey { group_id };
    encode(ShareGroupStatePartitionMetadataKey::RECORD_TYPE, |encoder| key.encode(encoder, VERSION))
}

fn encode(prefix: i16, message: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.i16(prefix);
    match message(&mut encoder) {
        Ok(()) => encoder.buffer().to_vec(),
        // All strings came through the same limit on their way in.
        Err(error) => unreachable!("a record of a share group does not fit its schema: {error}"),
    }
}
