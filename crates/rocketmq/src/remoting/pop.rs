//! What the requests of POP share: who asks for which queues, which nodes have them, and waiting until one of these may have something.
//!
//! A request for one queue is done by the queue's leader, as any other. One for any queue (-1) is done by the node that it came to,
//! which looks at its own queues and at those of the other leaders, beginning with another one each time. Where all of them have
//! nothing it asks the others to say when that changes (NOTIFICATION), and looks at those that do.

use crate::cluster::{Place, pass_on};
use crate::deliveries::{Begin, DeliveryError, Order, Reader};
use crate::names::check_group;
use crate::node::Node;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::topics;
use bytes::Bytes;
use duolog_base::{NodeId, PartitionIndex};
use duolog_core::metadata::TopicImage;
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{Header, NotificationRequest, NotificationResponse};
use duolog_wire::remoting::{Command, Fields};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The number of a queue that means any.
pub(super) const ANY_QUEUE: i32 = -1;
/// How long a request is held at most; clients ask for 15 to 20 s.
const MOST_POLLING: Duration = Duration::from_secs(30);
/// How long another node is asked at a time to say when it has something.
const NOTIFIED: Duration = Duration::from_secs(5);
/// How long a node is left alone that could not say it, or said it and had nothing.
const PAUSE: Duration = Duration::from_millis(100);

/// Who asks for messages of which queues.
pub(super) struct Asker {
    pub(super) group: String,
    pub(super) topic: Arc<TopicImage>,
    /// `None` for any.
    pub(super) queue: Option<PartitionIndex>,
    pub(super) is_ordered: bool,
    /// Names a receive in order, so that it can be asked for again.
    pub(super) attempt_id: Option<String>,
    pub(super) begin: Begin,
}

impl Asker {
    /// A group that may consume, and a queue that is there.
    pub(super) fn new(node: &Node, group: &str, topic: &str, queue: i32) -> Result<Asker, Refusal> {
        check_group(group).map_err(|problem| Refusal::new(response::INVALID_PARAMETER, problem.to_string()))?;
        let image = node.broker.image();
        let topic = topics::find(&image, topic)?;
        let refused = |what: String| Err(Refusal::new(response::NO_PERMISSION, what));
        if !topic.config.perm.may_read() {
            return refused(format!("the topic[{}] peeking message is forbidden", topic.name));
        }
        if !node.group_config(group)?.consume {
            return refused(format!("subscription group no permission, {group}"));
        }
        let queue = match queue {
            ANY_QUEUE => None,
            queue => Some(topics::queue(topic, queue)?),
        };
        let (group, topic) = (group.to_owned(), topic.clone());
        Ok(Asker { group, topic, queue, is_ordered: false, attempt_id: None, begin: Begin::Usual })
    }

    pub(super) fn queue_id(&self) -> i32 {
        self.queue.map_or(ANY_QUEUE, |queue| queue.0)
    }

    pub(super) fn order(&self) -> Order<'_> {
        match self.is_ordered {
            true => Order::Ordered { attempt_id: self.attempt_id.as_deref() },
            false => Order::Any,
        }
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { group: &self.group, topic: self.topic.clone(), order: self.order(), begin: self.begin }
    }

    /// The queues to look at, beginning with another one each time.
    pub(super) fn queues(&self, turn: usize) -> Vec<PartitionIndex> {
        let count = self.topic.partitions.len();
        match self.queue {
            Some(queue) => vec![queue],
            None => (0..count).map(|ahead| PartitionIndex(((turn + ahead) % count) as i32)).collect(),
        }
    }
}

/// How long a request is held, by what it says: until so long after it was made, by the client's clock. A clock that is wrong by more
/// than that does not count.
pub(super) fn holding(node: &Node, born_ms: i64, poll_ms: i64) -> Duration {
    let poll = Duration::from_millis(u64::try_from(poll_ms).unwrap_or(0)).min(MOST_POLLING);
    let age = Duration::from_millis(u64::try_from(node.broker.clock().now().0.saturating_sub(born_ms)).unwrap_or(0));
    if age < poll { poll - age } else { poll }
}

/// Which nodes lead queues of the topic, this one first; this one alone where the request is for one queue, or was passed on.
pub(super) fn leaders(call: &Call, asker: &Asker) -> Vec<Place> {
    let node = &call.node;
    if asker.queue.is_some() || node.cluster.is_none() || node.is_guest(&call.channel) {
        return vec![Place::Here];
    }
    let image = node.broker.image();
    let Some(topic) = image.topic(&asker.topic.name).filter(|topic| topic.id == asker.topic.id) else { return vec![Place::Here] };
    let places = topic.partitions.iter().map(|partition| node.place_of(&image, partition));
    let others: BTreeSet<NodeId> =
        places.filter_map(|place| if let Place::At(node) = place { Some(node) } else { None }).collect();
    std::iter::once(Place::Here).chain(others.into_iter().map(Place::At)).collect()
}

/// Has another node do a request for any queue, as far as it leads them, without waiting. What it cannot do counts as nothing.
pub(super) async fn look_at(call: &Call, other: NodeId) -> Option<Answer> {
    let kept = call.command.fields.iter().filter(|(name, _)| *name != "pollTime");
    let fields = kept.chain([("pollTime", "0")]).collect();
    let asked = with_command(call, Command { fields, ..call.command.clone() });
    pass_on(&asked, other).await.ok().filter(|answer| answer.code == response::SUCCESS)
}

fn with_command(call: &Call, command: Command) -> Call {
    Call { node: call.node.clone(), channel: call.channel.clone(), command, held: Default::default() }
}

/// Waiting for any of the leaders to have something.
pub(super) struct Arrivals<'a> {
    call: &'a Call,
    asker: &'a Asker,
    leaders: Vec<Place>,
    /// The other nodes that are asked to say so, and those that will be, after a pause.
    asked: JoinSet<NodeId>,
    to_ask: Vec<(NodeId, Duration)>,
    deadline: Instant,
}

impl<'a> Arrivals<'a> {
    pub(super) fn new(call: &'a Call, asker: &'a Asker, leaders: Vec<Place>, deadline: Instant) -> Arrivals<'a> {
        let to_ask = others(&leaders);
        Arrivals { call, asker, leaders, asked: JoinSet::new(), to_ask, deadline }
    }

    /// Where there may be something now; `None` when the time is over, or the node stops.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Place>>, DeliveryError> {
        let node = &self.call.node;
        let mut images = node.broker.metadata().changes();
        let queues = self.asker.queues(0);
        // Asked only now: until now they may have been looked at by a request of the same number.
        for (other, pause) in std::mem::take(&mut self.to_ask) {
            self.ask(other, pause);
        }
        let mut here = std::pin::pin!(node.deliveries.ready(node, self.asker.reader(), &queues, self.deadline));
        loop {
            let leaders = leaders(self.call, self.asker);
            if leaders != self.leaders {
                self.asked = JoinSet::new();
                self.to_ask = others(&leaders);
                self.leaders.clone_from(&leaders);
                return Ok(Some(leaders));
            }
            tokio::select! {
                biased;
                ready = &mut here => return Ok(ready?.then(|| vec![Place::Here])),
                Some(Ok(other)) = self.asked.join_next() => {
                    self.to_ask.push((other, PAUSE));
                    return Ok(Some(vec![Place::At(other)]));
                }
                _ = images.changed() => {}
            }
        }
    }

    fn ask(&mut self, other: NodeId, pause: Duration) {
        let Asker { group, topic, is_ordered, attempt_id, .. } = self.asker;
        let header = NotificationRequest {
            consumer_group: group,
            topic: &topic.name,
            queue_id: ANY_QUEUE,
            poll_time: NOTIFIED.as_millis() as i64,
            order: *is_ordered,
            attempt_id: attempt_id.as_deref(),
            ..NotificationRequest::default()
        };
        let mut fields = Fields::new();
        header.put(&mut fields);
        let command = Command { code: request::NOTIFICATION, fields, body: Bytes::new(), ..self.call.command.clone() };
        let call = with_command(self.call, command);
        self.asked.spawn(async move {
            tokio::time::sleep(pause).await;
            while !has_something(&call, other).await {}
            other
        });
    }
}

fn others(leaders: &[Place]) -> Vec<(NodeId, Duration)> {
    let others = leaders.iter().filter_map(|place| if let Place::At(node) = place { Some(*node) } else { None });
    others.map(|other| (other, Duration::ZERO)).collect()
}

/// Asks a node once; it answers when it has something, or after a while that it has nothing.
async fn has_something(asked: &Call, other: NodeId) -> bool {
    let answer = match pass_on(asked, other).await {
        Ok(answer) if answer.code == response::SUCCESS => answer,
        _ => {
            tokio::time::sleep(PAUSE).await;
            return false;
        }
    };
    NotificationResponse::from_fields(&answer.fields).is_ok_and(|answer| answer.has_msg)
}

impl From<DeliveryError> for Refusal {
    fn from(error: DeliveryError) -> Refusal {
        let remark = error.to_string();
        match error {
            DeliveryError::StaleHandle | DeliveryError::BegunAnew => Refusal::new(response::NO_MESSAGE, remark),
            DeliveryError::UnknownTopic(topic) => topics::unknown(&topic),
            DeliveryError::TooManyTopics => Refusal::new(response::SYSTEM_BUSY, remark),
            DeliveryError::Refused(refusal) => refusal,
        }
    }
}
