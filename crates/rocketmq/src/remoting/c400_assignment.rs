//! QUERY_ASSIGNMENT (400), SET_MESSAGE_REQUEST_MODE (401) and GET_ALL_MESSAGE_REQUEST_MODE (402): which queues a member of a group is
//! to read, decided by the server for clients that ask it to.
//!
//! *Behaviour*: as in the original the server knows two ways to share queues out, `AVG` and `AVG_BY_CIRCLE`. To any other it says
//! no, after which clients share the queues out by themselves. A client of whose membership, or of whose topic, nothing is known
//! is told nothing, and leaves all as it is. Queues are read by pulling; POP is refused.

use super::admin::message_queue;
use crate::names::RETRY_PREFIX;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::topics;
use bytes::Bytes;
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
    let queues: Vec<usize> = match asked.message_model {
        MessageModel::Broadcasting => (0..count).collect(),
        MessageModel::Clustering => {
            let members = call.node.clients.with_consumers(&asked.consumer_group, |group| group.client_ids());
            let members = members.unwrap_or_default();
            let Ok(index) = members.binary_search(&asked.client_id) else { return nothing() };
            strategy.queues(count, members.len(), index)
        }
    };
    let assign = |queue: usize| MessageQueueAssignment {
        attachments: None,
        message_queue: message_queue(&call.node, &asked.topic, queue as i32),
        mode: MessageRequestMode::Pull,
    };
    Ok(Answer::ok().json(&QueryAssignmentResponse { message_queue_assignments: queues.into_iter().map(assign).collect() }))
}

pub(super) async fn set_mode(call: Call) -> Result<Answer, Refusal> {
    let wanted: SetMessageRequestMode = call.body()?;
    if wanted.topic.starts_with(RETRY_PREFIX) {
        return Err(Refusal::new(response::NO_PERMISSION, "retry topic is not allowed to set mode"));
    }
    topics::find(&call.node.broker.image(), &wanted.topic)?;
    match wanted.mode {
        // It is what everybody does.
        MessageRequestMode::Pull => Ok(Answer::ok()),
        MessageRequestMode::Pop => Err(Refusal::new(response::REQUEST_CODE_NOT_SUPPORTED, "consuming by POP is not served")),
    }
}

/// No topic and group has a mode of its own.
pub(super) async fn modes(_call: Call) -> Result<Answer, Refusal> {
    Ok(Answer::ok().json(&MessageRequestModes::default()))
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
