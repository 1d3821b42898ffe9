//! INVOKE_BROKER_TO_RESET_OFFSET (222): a tool sets the offsets of a group, by time or for one queue by number.
//!
//! *Behaviour*: the offsets are stored at once, whether anybody is online or not. Members are told of them with
//! RESET_CONSUMER_CLIENT_OFFSET (220), in the form for C++ where that is what they speak; one that does not listen is sent to the
//! new offset at its next pull. Offsets that members still say of the time before do not count. Without force, no queue is set
//! further ahead than the group has come.

use super::admin::message_queue;
use crate::node::Node;
use crate::offsets::ResetError;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::topics;
use duolog_base::{Offset, PartitionIndex, TimestampMs};
use duolog_core::metadata::TopicImage;
use duolog_wire::remoting::body::{QueueOffset, ResetOffset, ResetOffsetForC, to_json};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{Header, ResetOffsetRequest};
use duolog_wire::remoting::{Command, HeaderForm, language};

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: ResetOffsetRequest<'_> = call.header()?;
    let node = &call.node;
    let image = node.broker.image();
    let topic = topics::find(&image, header.topic)?;
    check_known(node, header.group).await?;
    let offsets = targets(node, topic, &header).await?;
    node.reset(header.group, topic, &offsets).await?;
    let moved = |(queue, at): &(PartitionIndex, Offset)| (message_queue(node, &topic.name, queue.0), at.0);
    let table = ResetOffset { offset_table: offsets.iter().map(moved).collect() };
    tell_members(node, &header, &table);
    Ok(Answer::ok().json(&table))
}

/// Refuses groups that nobody has heard of: a slip of the pen would make a group.
async fn check_known(node: &Node, group: &str) -> Result<(), Refusal> {
    match node.has_group(group).await? {
        true => Ok(()),
        false => Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, format!("Group {group} does not exist"))),
    }
}

/// Where each queue is to be read from.
async fn targets(
    node: &Node,
    topic: &TopicImage,
    header: &ResetOffsetRequest<'_>,
) -> Result<Vec<(PartitionIndex, Offset)>, Refusal> {
    if header.queue_id >= 0 {
        let queue = topics::queue(topic, header.queue_id)?;
        let offset = match header.offset.filter(|offset| *offset >= 0) {
            Some(offset) => within(node, topic, queue, Offset(offset)).await?,
            None => at_time(node, topic, queue, header).await?,
        };
        return Ok(vec![(queue, offset)]);
    }
    let mut offsets = Vec::with_capacity(topic.partitions.len());
    for queue in (0..topic.partitions.len() as i32).map(PartitionIndex) {
        offsets.push((queue, at_time(node, topic, queue, header).await?));
    }
    Ok(offsets)
}

/// The offset, if the queue reaches there.
async fn within(node: &Node, topic: &TopicImage, queue: PartitionIndex, offset: Offset) -> Result<Offset, Refusal> {
    let ends = node.queue_ends(topic, queue).await?;
    if (ends.log_start..=ends.high_watermark).contains(&offset) {
        return Ok(offset);
    }
    let (start, end) = (ends.log_start, ends.high_watermark);
    Err(Refusal::new(response::SYSTEM_ERROR, format!("Target offset {offset} not in consume queue range [{start}-{end}]")))
}

/// The first message not older than the time asked for, or the end; a negative time means the end.
async fn at_time(
    node: &Node,
    topic: &TopicImage,
    queue: PartitionIndex,
    header: &ResetOffsetRequest<'_>,
) -> Result<Offset, Refusal> {
    let found = match header.timestamp < 0 {
        true => None,
        false => node.offset_at(topic, queue, TimestampMs(header.timestamp)).await?,
    };
    let offset = match found {
        Some(found) => found,
        None => node.queue_ends(topic, queue).await?.high_watermark,
    };
    if header.is_force {
        return Ok(offset);
    }
    let committed = node.committed(header.group, &topic.name, queue).await?;
    Ok(committed.map_or(offset, |committed| committed.min(offset)))
}

fn tell_members(node: &Node, header: &ResetOffsetRequest<'_>, table: &ResetOffset) {
    let mut notice = Command::request(request::RESET_CONSUMER_CLIENT_OFFSET, 0, HeaderForm::Json);
    ResetOffsetRequest { queue_id: -1, offset: None, ..*header }.put(&mut notice.fields);
    let (ordinary, for_c) = (to_json(table), to_json(&for_c(table)));
    node.clients.with_consumers(header.group, |group| {
        for member in group.members() {
            let body = if member.language == language::CPP { &for_c } else { &ordinary };
            if let Err(error) = member.channel.notify(notice.clone().with_body(body.clone())) {
                tracing::debug!(group = header.group, client = member.id, %error, "client is not told of its new offsets");
            }
        }
    });
}

/// As clients in C++ read it.
fn for_c(table: &ResetOffset) -> ResetOffsetForC {
    let offsets = table.offset_table.0.iter().map(|(queue, offset)| QueueOffset {
        broker_name: queue.broker_name.clone(),
        offset: *offset,
        queue_id: queue.queue_id,
        topic: queue.topic.clone(),
    });
    ResetOffsetForC { offset_table: offsets.collect() }
}

impl From<ResetError> for Refusal {
    fn from(error: ResetError) -> Refusal {
        match error {
            ResetError::Refused(refusal) => refusal,
            ResetError::TooMany(error) => Refusal::new(response::SYSTEM_BUSY, error.to_string()),
        }
    }
}
