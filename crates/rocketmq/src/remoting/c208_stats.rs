//! How far topics reach and groups have come: GET_TOPIC_STATS_INFO (202), GET_CONSUME_STATS (208), QUERY_CONSUME_TIME_SPAN (303),
//! VIEW_BROKER_STATS_DATA (315), GET_BROKER_CONSUME_STATS (317).
//!
//! *Behaviour*: groups of Kafka's clients are answered like any other. The rate at which a group consumes is not measured and always
//! 0; that of a topic is of the messages born in the last minute. Statistics by topic or group (315) are not kept: asked for, none
//! exists.

use super::admin::message_queue;
use crate::node::Node;
use crate::progress::QueueOffsets;
use crate::queues::ask_each;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::topics;
use duolog_base::{Offset, PartitionIndex};
use duolog_core::broker::PartitionEnds;
use duolog_core::metadata::TopicImage;
use duolog_wire::remoting::body::{
    ConsumeOffset, ConsumeStats, ConsumeStatsList, ConsumeTimeSpans, QueueTimeSpan, TopicOffset, TopicStats,
};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::{
    BrokerConsumeStatsRequest, BrokerStatsRequest, ConsumeStatsRequest, ConsumeTimeSpanRequest, TopicRequest,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What stands for the time of a message that is not there.
const NO_TIME: i64 = 0;

/// The queues of a topic with their ends.
async fn queues(node: &Arc<Node>, topic: &Arc<TopicImage>) -> Result<Vec<(i32, PartitionEnds)>, Refusal> {
    let asked = ask_each(0..topic.partitions.len() as i32, |queue| {
        let (node, topic) = (node.clone(), topic.clone());
        async move { Ok((queue, node.queue_ends(&topic, PartitionIndex(queue)).await?)) }
    });
    asked.await
}

/// The message in front of the offset, if it is there.
fn before(ends: PartitionEnds, to: Offset) -> Option<Offset> {
    Some(Offset(to.0 - 1)).filter(|at| (ends.log_start..ends.high_watermark).contains(at))
}

/// When the message of each queue was stored, if there is one.
async fn times(
    node: &Arc<Node>,
    topic: &Arc<TopicImage>,
    messages: impl Iterator<Item = (i32, Option<Offset>)>,
) -> Result<Vec<Option<i64>>, Refusal> {
    let asked = ask_each(messages, |(queue, offset)| {
        let (node, topic) = (node.clone(), topic.clone());
        async move {
            match offset {
                Some(offset) => node.stored_at(&topic, queue, offset).await,
                None => Ok(None),
            }
        }
    });
    asked.await
}

pub(super) async fn topic(call: Call) -> Result<Answer, Refusal> {
    let header: TopicRequest<'_> = call.header()?;
    let node = &call.node;
    let image = node.broker.image();
    let topic = topics::find(&image, header.topic)?;
    let mut stats = TopicStats { topic_put_tps: node.put_rate(topic).await?, ..TopicStats::default() };
    let queues = queues(node, topic).await?;
    let newest = queues.iter().map(|(queue, ends)| (*queue, before(*ends, ends.high_watermark)));
    for ((queue, ends), time) in queues.iter().zip(times(node, topic, newest).await?) {
        let offset = TopicOffset {
            last_update_timestamp: time.unwrap_or(NO_TIME),
            max_offset: ends.high_watermark.0,
            min_offset: ends.log_start.0,
        };
        stats.offset_table.0.push((message_queue(node, header.topic, *queue), offset));
    }
    Ok(Answer::ok().json(&stats))
}

pub(super) async fn group(call: Call) -> Result<Answer, Refusal> {
    let header: ConsumeStatsRequest<'_> = call.header()?;
    let (node, group) = (&call.node, header.consumer_group);
    let progress = node.progress(group).await?;
    let listed: Vec<&str> = words(header.topic_list).collect();
    let is_listed = !listed.is_empty();
    let asked: Vec<&str> = match header.topic.filter(|topic| !topic.is_empty()) {
        _ if is_listed => listed,
        Some(topic) => vec![topic],
        None => progress.keys().map(String::as_str).collect(),
    };
    let mut stats = ConsumeStats::default();
    let image = node.broker.image();
    for name in asked {
        let Ok(topic) = topics::find(&image, name) else { continue };
        if is_listed || consumes(node, group, name) {
            add_stats(node, topic, progress.get(name), &mut stats).await?;
        }
    }
    Ok(Answer::ok().json(&stats))
}

/// The topics in a list that is joined by semicolons.
fn words(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(';').map(str::trim).filter(|word| !word.is_empty())
}

/// Whether the group's members want the topic; nobody says that they do not if there are none.
fn consumes(node: &Node, group: &str, topic: &str) -> bool {
    let wants =
        node.clients.with_consumers(group, |group| group.subscriptions.is_empty() || group.subscriptions.contains_key(topic));
    wants.unwrap_or(true)
}

async fn add_stats(
    node: &Arc<Node>,
    topic: &Arc<TopicImage>,
    offsets: Option<&QueueOffsets>,
    stats: &mut ConsumeStats,
) -> Result<(), Refusal> {
    let queues = queues(node, topic).await?;
    let consumed = |queue| offsets.and_then(|offsets| offsets.get(queue)).copied().unwrap_or(Offset(0));
    let last = queues.iter().map(|(queue, ends)| (*queue, before(*ends, consumed(queue))));
    for ((queue, ends), time) in queues.iter().zip(times(node, topic, last).await?) {
        let offset = ConsumeOffset {
            broker_offset: ends.high_watermark.0,
            consumer_offset: consumed(queue).0,
            last_timestamp: time.unwrap_or(NO_TIME),
            pull_offset: consumed(queue).0,
        };
        stats.offset_table.0.push((message_queue(node, &topic.name, *queue), offset));
    }
    Ok(())
}

pub(super) async fn all_groups(call: Call) -> Result<Answer, Refusal> {
    let header: BrokerConsumeStatsRequest = call.header()?;
    let node = &call.node;
    let image = node.broker.image();
    let mut list = ConsumeStatsList { broker_addr: node.address(call.channel.peer()), ..ConsumeStatsList::default() };
    for group in node.group_names().await? {
        let mut of_group = Vec::new();
        for (name, offsets) in node.progress(&group).await? {
            let Ok(topic) = topics::find(&image, &name) else { continue };
            if (header.is_order && !topic.config.is_ordered) || !consumes(node, &group, &name) {
                continue;
            }
            let mut stats = ConsumeStats::default();
            add_stats(node, topic, Some(&offsets), &mut stats).await?;
            list.total_diff += stats.offset_table.0.iter().map(|(_, at)| at.broker_offset - at.consumer_offset).sum::<i64>();
            of_group.push(stats);
        }
        list.consume_stats_list.push(BTreeMap::from([(group, of_group)]));
    }
    Ok(Answer::ok().json(&list))
}

pub(super) async fn time_span(call: Call) -> Result<Answer, Refusal> {
    let header: ConsumeTimeSpanRequest<'_> = call.header()?;
    let node = &call.node;
    let image = node.broker.image();
    let topic = topics::find(&image, header.topic)?;
    let progress = node.progress(header.group).await?;
    let offsets = progress.get(header.topic);
    let now = node.broker.clock().now().0;
    let queues = queues(node, topic).await?;
    // Of each queue the first message, the last one that was consumed, the next one, and the newest.
    let messages = queues.iter().flat_map(|(queue, ends)| {
        let consumed = offsets.and_then(|offsets| offsets.get(queue)).copied().unwrap_or(ends.log_start);
        let next = Some(consumed.max(ends.log_start)).filter(|_| consumed < ends.high_watermark);
        [Some(ends.log_start), before(*ends, consumed), next, before(*ends, ends.high_watermark)].map(|at| (*queue, at))
    });
    let times = times(node, topic, messages).await?;
    let mut spans = ConsumeTimeSpans::default();
    for ((queue, _), times) in queues.iter().zip(times.as_chunks().0) {
        let [first, consumed, next, newest] = *times;
        let min_time_stamp = first.unwrap_or(NO_TIME);
        spans.consume_time_span_set.push(QueueTimeSpan {
            consume_time_stamp: consumed.filter(|time| *time != NO_TIME).unwrap_or(min_time_stamp),
            delay_time: next.map_or(0, |next| (now - next).max(0)),
            max_time_stamp: newest.unwrap_or(NO_TIME),
            message_queue: message_queue(node, header.topic, *queue),
            min_time_stamp,
        });
    }
    Ok(Answer::ok().json(&spans))
}

pub(super) async fn statistics(call: Call) -> Result<Answer, Refusal> {
    let header: BrokerStatsRequest<'_> = call.header()?;
    let remark = format!("The stats <{}> <{}> not exist", header.stats_name, header.stats_key);
    Err(Refusal::new(response::SYSTEM_ERROR, remark))
}
