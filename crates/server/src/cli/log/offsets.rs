//! Records of `__consumer_offsets` in words. A record that is not understood is `None`, and shown as bytes.

use crate::instant;
use duolog_base::TimestampMs;
use duolog_core::group::{OffsetsRecord, decode_offsets_record};
use duolog_wire::kafka::Decoder;
use duolog_wire::kafka::messages::consumer_protocol_assignment::ConsumerProtocolAssignment;
use duolog_wire::kafka::messages::group_metadata_value::{GroupMetadataValue, MemberMetadata};
use serde_json::{Map, Value, json};

pub(super) fn sentence(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<String> {
    let text = match decode_offsets_record(key?, value).ok()? {
        OffsetsRecord::Offset { group, topic, partition, committed: Some(committed) } => {
            let metadata = match committed.metadata.is_empty() {
                true => String::new(),
                false => format!(" metadata {:?}", committed.metadata),
            };
            let when = instant::format(committed.committed_at);
            format!("group {group} commits {topic}-{partition} offset {} at {when}{metadata}", committed.offset)
        }
        OffsetsRecord::Offset { group, topic, partition, committed: None } => {
            format!("group {group} forgets {topic}-{partition}")
        }
        OffsetsRecord::Group { id, value: Some(value) } => group_sentence(id, &value),
        OffsetsRecord::Group { id, value: None } => format!("group {id} is deleted"),
        OffsetsRecord::Lock { group, topic, partition, client: Some(client) } => {
            format!("group {group} locks {topic}-{partition} for {client}")
        }
        OffsetsRecord::Lock { group, topic, partition, client: None } => format!("group {group} unlocks {topic}-{partition}"),
        OffsetsRecord::Other => return None,
    };
    Some(text)
}

fn group_sentence(id: &str, value: &GroupMetadataValue<'_>) -> String {
    let mut text = format!("group {id} generation {}", value.generation);
    if let Some(protocol) = value.protocol {
        text += &format!(" {} {protocol}", value.protocol_type);
    }
    if value.members.is_empty() {
        text += " without members";
    }
    for member in &value.members {
        let leads = if value.leader == Some(member.member_id) { " (leads)" } else { "" };
        text += &format!(" [{}{leads} of {}: {}]", member.member_id, member.client_host, shares(member).join(" "));
    }
    text
}

/// The partitions of a member, as `topic-index`; none if the assignment is in no known form.
fn shares(member: &MemberMetadata<'_>) -> Vec<String> {
    let assignment = assignment(member.assignment);
    let partitions = assignment.iter().flat_map(|share| &share.assigned_partitions);
    partitions.flat_map(|topic| topic.partitions.iter().map(move |index| format!("{}-{index}", topic.topic))).collect()
}

/// Later versions begin with version 0.
fn assignment(bytes: &[u8]) -> Option<ConsumerProtocolAssignment<'_>> {
    let mut decoder = Decoder::new(bytes);
    let _version = decoder.i16().ok()?;
    ConsumerProtocolAssignment::decode(&mut decoder, 0).ok()
}

pub(super) fn value(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Value> {
    let decoded = match decode_offsets_record(key?, value).ok()? {
        OffsetsRecord::Offset { group, topic, partition, committed } => {
            let mut decoded = json!({ "type": "offset", "group": group, "topic": topic, "partition": partition.0 });
            decoded["committed"] = committed.map_or(Value::Null, |committed| {
                json!({
                    "offset": committed.offset.0,
                    "leader_epoch": committed.leader_epoch.0,
                    "metadata": committed.metadata,
                    "committed_at": committed.committed_at.0,
                    "expires_at": committed.expires_at.map(|TimestampMs(at)| at),
                })
            });
            decoded
        }
        OffsetsRecord::Group { id, value } => {
            json!({ "type": "group", "group": id, "state": value.map(|value| group_value(&value)) })
        }
        OffsetsRecord::Lock { group, topic, partition, client } => {
            json!({ "type": "lock", "group": group, "topic": topic, "partition": partition.0, "client": client })
        }
        OffsetsRecord::Other => return None,
    };
    Some(decoded)
}

fn group_value(value: &GroupMetadataValue<'_>) -> Value {
    let member = |member: &MemberMetadata<'_>| {
        let shares: Map<String, Value> = assignment(member.assignment)
            .iter()
            .flat_map(|share| &share.assigned_partitions)
            .map(|topic| (topic.topic.to_owned(), topic.partitions.clone().into()))
            .collect();
        json!({
            "member": member.member_id,
            "instance": member.group_instance_id,
            "client": member.client_id,
            "host": member.client_host,
            "session_timeout_ms": member.session_timeout,
            "assignment": shares,
        })
    };
    json!({
        "generation": value.generation,
        "protocol_type": value.protocol_type,
        "protocol": value.protocol,
        "leader": value.leader,
        "members": value.members.iter().map(member).collect::<Vec<_>>(),
    })
}
