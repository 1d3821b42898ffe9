//! QUERY_ASSIGNMENT (400), SET_MESSAGE_REQUEST_MODE (401) and GET_ALL_MESSAGE_REQUEST_MODE (402): which queues a member of a group is
//! to read, decided by the server for clients that ask it to.
//!
//! *Behaviour*: as in the original the server knows two ways to share queues out, `AVG` and `AVG_BY_CIRCLE`. To any other it says
//! no, after which clients share the queues out by themselves. A client of whose membership, or of whose topic, nothing is known
//! is told nothing, and leaves all as it is. A group pulls a topic unless somebody has chosen POP for both: then all members get
//! "any queue" (-1), or each its share and those of so many members after it. The choice is part of the group's configuration.

use super::admin::{alter, check_group_name, invalid, message_queue};
use crate::names::RETRY_PREFIX;
use crate::node::Node;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::remoting::pop::ANY_QUEUE;
use crate::request_modes::{self, POP_TOPICS};
use crate::topics;
use bytes::Bytes;
use duolog_core::config::GroupConfig;
use duolog_core::metadata::{ConfigOperation, ConfigResource, ConfigUpdate};
use duolog_wire::remoting::body::{
    MessageModel, MessageQueueAssignment, MessageRequestMode, MessageRequestModes, QueryAssignmentRequest,
    QueryAssignmentResponse, SetMessageRequestMode,
};
use duolog_wire::remoting::code::response;
use std::ops::Range;

/// A body without assignments: other than no queues, it means that nothing is known.
const NOTHING_KNOWN: &[u8] = b"{}";

pub(super) async fn query(call: Call) -> Result<Answer, Refusal> {
    let asked: QueryAssignmentRequest = call.body()?;
    let strategy = Sharing::named(&asked.strategy_name).ok_or_else(|| {
        let remark = format!("strategy {:?} is not served: let the clients allocate", asked.strategy_name);
        Refusal::new(response::REQUEST_CODE_NOT_SUPPORTED, remark)
    })?;
    let nothing = || Ok(Answer::ok().bytes(Bytes::from_static(NOTHING_KNOWN)));
    let image = call.node.broker.image();
    let Ok(topic) = topics::find(&image, &asked.topic) else { return nothing() };
    let count = topic.partitions.len();
    let shared = match asked.message_model {
        MessageModel::Broadcasting => None,
        MessageModel::Clustering => shared_by(&call.node, &asked)?,
    };
    let queues: Vec<i32> = match asked.message_model {
        MessageModel::Broadcasting => (0..count as i32).collect(),
        MessageModel::Clustering => {
            let members = call.node.clients.with_consumers(&asked.consumer_group, |group| group.client_ids());
            let members = members.unwrap_or_default();
            let Ok(index) = members.binary_search(&asked.client_id) else { return nothing() };
            match shared {
                None => numbers(strategy.queues(count, members.len(), index)),
                Some(more) => popped(strategy, count, members.len(), index, more),
            }
        }
    };
    let mode = if shared.is_some() { MessageRequestMode::Pop } else { MessageRequestMode::Pull };
    let assign = |queue: i32| MessageQueueAssignment {
        attachments: None,
        message_queue: message_queue(&call.node, &asked.topic, queue),
        mode,
    };
    Ok(Answer::ok().json(&QueryAssignmentResponse { message_queue_assignments: queues.into_iter().map(assign).collect() }))
}

/// By how many more members than its own a queue is shared, where the group consumes the topic by POP.
fn shared_by(node: &Node, asked: &QueryAssignmentRequest) -> Result<Option<i32>, Refusal> {
    let config = node.group_config(&asked.consumer_group)?;
    Ok(request_modes::pop_topics(&config).get(&asked.topic).copied())
}

fn numbers(queues: Vec<usize>) -> Vec<i32> {
    queues.into_iter().map(|queue| queue as i32).collect()
}

/// The queues of the member `index` that consumes by POP.
fn popped(strategy: Sharing, queues: usize, members: usize, index: usize, more: i32) -> Vec<i32> {
    let more = usize::try_from(more).unwrap_or(0);
    if more == 0 || more + 1 >= members || queues == 0 {
        return vec![ANY_QUEUE];
    }
    if members > queues {
        return vec![(index % queues) as i32];
    }
    let shares = (0..=more).flat_map(|ahead| strategy.queues(queues, members, (index + ahead) % members));
    numbers(shares.collect())
}

pub(super) async fn set_mode(call: Call) -> Result<Answer, Refusal> {
    let wanted: SetMessageRequestMode = call.body()?;
    if wanted.topic.starts_with(RETRY_PREFIX) {
        return Err(Refusal::new(response::NO_PERMISSION, "retry topic is not allowed to set mode"));
    }
    check_group_name(&wanted.consumer_group)?;
    let image = call.node.broker.image();
    topics::find(&image, &wanted.topic)?;
    let mut topics = request_modes::pop_topics(&call.node.group_config(&wanted.consumer_group)?);
    match wanted.mode {
        MessageRequestMode::Pull => drop(topics.remove(&wanted.topic)),
        MessageRequestMode::Pop => drop(topics.insert(wanted.topic, wanted.pop_share_queue_num.max(0))),
    }
    // Those of topics that are gone make room.
    topics.retain(|topic, _| image.topic(topic).is_some());
    if topics.len() > POP_TOPICS {
        return Err(invalid(format!("a group consumes at most {POP_TOPICS} topics by POP")));
    }
    let value = ConfigOperation::Set(Some(request_modes::text(&topics)));
    let update = ConfigUpdate::Incremental(vec![("rocketmq.pop.topics".to_owned(), value)]);
    alter(&call.node, ConfigResource::Group(wanted.consumer_group), update).await?;
    Ok(Answer::ok())
}

/// The topics and groups for which somebody has chosen POP.
pub(super) async fn modes(call: Call) -> Result<Answer, Refusal> {
    let mut modes = MessageRequestModes::default();
    for (group, own) in &call.node.broker.image().group_config {
        for (topic, pop_share_queue_num) in request_modes::pop_topics(&GroupConfig::resolve(own)?) {
            let mode = SetMessageRequestMode {
                consumer_group: group.clone(),
                mode: MessageRequestMode::Pop,
                pop_share_queue_num,
                topic: topic.clone(),
            };
            modes.message_request_mode_map.entry(topic).or_default().insert(group.clone(), mode);
        }
    }
    Ok(Answer::ok().json(&modes))
}

/// How queues are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// Neighbouring queues together.
    Average,
    /// One after the other.
    AverageByCircle,
}

impl Sharing {
    /// The one of this name; a client that has none leaves it to the server.
    fn named(name: &str) -> Option<Sharing> {
        match name {
            "" | "AVG" => Some(Sharing::Average),
            "AVG_BY_CIRCLE" => Some(Sharing::AverageByCircle),
            _ => None,
        }
    }

    /// The queues of the member `index` of so many.
    fn queues(self, queues: usize, members: usize, index: usize) -> Vec<usize> {
        match self {
            Sharing::Average => neighbours(queues, members, index).collect(),
            Sharing::AverageByCircle => (index..queues).step_by(members).collect(),
        }
    }
}

/// The first members have one queue more if they do not divide evenly.
fn neighbours(queues: usize, members: usize, index: usize) -> Range<usize> {
    let (least, larger) = (queues / members, queues % members);
    let start = index * least + index.min(larger);
    start..start + least + usize::from(index < larger)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn queues_are_shared_out_as_clients_do_it() {
        let all = |strategy: Sharing, queues, members| -> Vec<Vec<usize>> {
            (0..members).map(|index| strategy.queues(queues, members, index)).collect()
        };
        assert_eq!(all(Sharing::Average, 8, 3), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        assert_eq!(all(Sharing::Average, 2, 3), [vec![0], vec![1], vec![]]);
        assert_eq!(all(Sharing::AverageByCircle, 8, 3), [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]);
        assert_eq!(all(Sharing::AverageByCircle, 2, 3), [vec![0], vec![1], vec![]]);
        assert_eq!(Sharing::named("CONSISTENT_HASH"), None);
    }

    #[test]
    fn popped_queues_are_shared_as_an_administrator_says() {
        let all = |queues, members, more| -> Vec<Vec<i32>> {
            (0..members).map(|index| popped(Sharing::Average, queues, members, index, more)).collect()
        };
        assert_eq!(all(8, 2, 0), [vec![-1], vec![-1]]);
        assert_eq!(all(8, 2, 1), [vec![-1], vec![-1]], "all share all");
        assert_eq!(all(4, 4, 1), [vec![0, 1], vec![1, 2], vec![2, 3], vec![3, 0]]);
        assert_eq!(all(2, 4, 1), [vec![0], vec![1], vec![0], vec![1]], "more members than queues");
    }

    proptest! {
        #[test]
        fn every_queue_has_one_reader(queues in 0usize..200, members in 1usize..50) {
            for strategy in [Sharing::Average, Sharing::AverageByCircle] {
                let mut all: Vec<usize> = (0..members).flat_map(|index| strategy.queues(queues, members, index)).collect();
                all.sort_unstable();
                prop_assert_eq!(all, (0..queues).collect::<Vec<_>>());
            }
        }
    }
}
