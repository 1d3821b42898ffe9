//! Who consumes what: QUERY_TOPIC_CONSUME_BY_WHO (300), QUERY_CORRECTION_OFFSET (308), QUERY_TOPICS_BY_CONSUMER (343),
//! QUERY_SUBSCRIPTION_BY_CONSUMER (345).

use crate::clients::ConsumerGroup;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::topics;
use duolog_wire::remoting::body::{CorrectionOffsets, GroupList, QuerySubscriptionResponse, TopicList};
use duolog_wire::remoting::header::{CorrectionOffsetRequest, GroupRequest, SubscriptionRequest, TopicRequest};
use std::collections::BTreeMap;

/// What tells a tool that a group is behind the others in a queue.
const BEHIND: i64 = i64::MAX;

pub(super) async fn groups_of_topic(call: Call) -> Result<Answer, Refusal> {
    let header: TopicRequest<'_> = call.header()?;
    let (node, image) = (&call.node, call.node.broker.image());
    let mut groups = node.subscribers(header.topic).await?;
    if let Ok(topic) = topics::find(&image, header.topic) {
        groups.extend(node.topic_progress(topic).await?.into_keys());
    }
    Ok(Answer::ok().json(&GroupList { group_list: groups.into_iter().collect() }))
}

pub(super) async fn topics_of_group(call: Call) -> Result<Answer, Refusal> {
    let header: GroupRequest<'_> = call.header()?;
    let topic_list = call.node.progress(header.group).await?.into_keys().collect();
    let broker_addr = Some(call.node.address(call.channel.peer()));
    Ok(Answer::ok().json(&TopicList { broker_addr, topic_list }))
}

pub(super) async fn subscription(call: Call) -> Result<Answer, Refusal> {
    let header: SubscriptionRequest<'_> = call.header()?;
    let topic = header.topic.unwrap_or_default();
    let find = |group: &ConsumerGroup| group.subscriptions.get(topic).map(|found| found.data.clone());
    let subscription_data = call.node.clients.with_consumers(header.group, find).flatten();
    let (group, topic) = (header.group.to_owned(), topic.to_owned());
    Ok(Answer::ok().json(&QuerySubscriptionResponse { group, subscription_data, topic }))
}

/// The smallest offset that any group has in each queue; marked where the group in question is behind it.
pub(super) async fn correction(call: Call) -> Result<Answer, Refusal> {
    let header: CorrectionOffsetRequest<'_> = call.header()?;
    let image = call.node.broker.image();
    let groups = call.node.topic_progress(topics::find(&image, header.topic)?).await?;
    let left_out: Vec<&str> = header.filter_groups.unwrap_or_default().split(',').map(str::trim).collect();
    let mut smallest: BTreeMap<i32, i64> = BTreeMap::new();
    for (_, offsets) in groups.iter().filter(|(group, _)| !left_out.contains(&group.as_str())) {
        for (queue, offset) in offsets {
            let least = smallest.entry(*queue).or_insert(offset.0);
            *least = offset.0.min(*least);
        }
    }
    for (queue, offset) in groups.get(header.compare_group).into_iter().flatten() {
        if let Some(least) = smallest.get_mut(queue)
            && *least > offset.0
        {
            *least = BEHIND;
        }
    }
    Ok(Answer::ok().json(&CorrectionOffsets { correction_offsets: smallest }))
}
