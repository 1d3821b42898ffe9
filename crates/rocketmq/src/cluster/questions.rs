//! What handlers want to know of queues and groups, wherever these live.
//!
//! A question about a queue goes to the node that leads it, one about a group to its home, and one about everything to all nodes that
//! live. A node answers from what is its own; one that is the wrong node says so, and the question is asked again, with
//! [`Patience`]. At a node alone, and where the answer is at hand, nothing is sent.

use super::messages::{self, QUESTION};
use super::{CALL_LIMIT, PAUSE, Patience, Place, REQUESTS, lost};
use crate::node::Node;
use crate::offsets::Progress;
use crate::progress::QueueOffsets;
use crate::remoting::Refusal;
use bytes::Bytes;
use duolog_base::{LeaderEpoch, NodeId, Offset, PartitionIndex, TimestampMs};
use duolog_core::broker::{OffsetLookup, PartitionEnds};
use duolog_core::metadata::TopicImage;
use duolog_core::query::FoundKeys;
use duolog_peer::CallRefusal;
use duolog_wire::remoting::body::ProducerInfo;
use duolog_wire::remoting::code::response;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// Places of a key that one node tells, its newest first: messages of another time than is asked for do not count otherwise.
const KEY_PLACES: usize = 4096;
/// How often a node is told of offsets that were set.
const ATTEMPTS: usize = 5;

/// A queue by its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct QueueName {
    topic: String,
    queue: i32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Question {
    // Of a queue.
    Ends(QueueName),
    AtTime(QueueName, i64),
    StoredAt(QueueName, i64),
    Message(QueueName, i64, SocketAddr),
    IsYoung(QueueName),
    // Of a group.
    Committed(String, QueueName),
    /// Group, topic, offsets, and whether they are those of messages delivered one by one.
    Commit(String, String, Vec<(i32, i64)>, bool),
    Progress(String),
    HasGroup(String),
    // Of everything that is a node's own.
    TopicProgress(String),
    Groups,
    Subscribers(String),
    Producers,
    Key(String, Vec<u8>),
    /// Members of a group are to be told of offsets that were set: group, topic, offsets.
    Reset(String, String, Vec<(i32, i64)>),
    /// They have been told, or need not be.
    ResetDone(String, String, Vec<i32>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    applied: u64,
    question: Question,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Another node has to be asked.
    NotHere,
    Refused(i32, String),
    Ends(i64, i64, i32),
    Offset(Option<i64>),
    /// And whether it is that of messages delivered one by one.
    Committed(Option<(i64, bool)>),
    Is(bool),
    /// Behind the head.
    Message(bool),
    Done,
    Progress(BTreeMap<String, BTreeMap<i32, i64>>),
    Names(Vec<String>),
    Producers(Vec<(String, Vec<(SocketAddr, ProducerInfo)>)>),
    Places(Vec<(i32, i64)>, bool),
}

type Answered = Result<(Reply, Bytes), Refusal>;

/// Who is the one for a question.
#[derive(Clone, Copy)]
enum Whose<'a> {
    Queue(&'a TopicImage, PartitionIndex),
    Group(&'a str),
}

fn only(reply: Reply) -> Answered {
    Ok((reply, Bytes::new()))
}

fn unexpected() -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, "another node answers something else than it was asked")
}

fn name(topic: &TopicImage, queue: PartitionIndex) -> QueueName {
    QueueName { topic: topic.name.clone(), queue: queue.0 }
}

fn plain(offsets: &[(PartitionIndex, Offset)]) -> Vec<(i32, i64)> {
    offsets.iter().map(|(queue, offset)| (queue.0, offset.0)).collect()
}

fn typed(offsets: &[(i32, i64)]) -> Vec<(PartitionIndex, Offset)> {
    offsets.iter().map(|(queue, offset)| (PartitionIndex(*queue), Offset(*offset))).collect()
}

fn plain_progress(progress: BTreeMap<String, QueueOffsets>) -> Reply {
    let of = |offsets: QueueOffsets| offsets.into_iter().map(|(queue, offset)| (queue, offset.0)).collect();
    Reply::Progress(progress.into_iter().map(|(name, offsets)| (name, of(offsets))).collect())
}

fn typed_progress(progress: BTreeMap<String, BTreeMap<i32, i64>>) -> BTreeMap<String, QueueOffsets> {
    let of = |offsets: BTreeMap<i32, i64>| offsets.into_iter().map(|(queue, offset)| (queue, Offset(offset))).collect();
    progress.into_iter().map(|(name, offsets)| (name, of(offsets))).collect()
}

impl Node {
    /// Where the queue begins and ends.
    pub(crate) async fn queue_ends(&self, topic: &TopicImage, queue: PartitionIndex) -> Result<PartitionEnds, Refusal> {
        match self.ask_leader(topic, queue, Question::Ends(name(topic, queue))).await?.0 {
            Reply::Ends(start, end, epoch) => {
                let end = Offset(end);
                Ok(PartitionEnds {
                    log_start: Offset(start),
                    high_watermark: end,
                    last_stable: end,
                    leader_epoch: LeaderEpoch(epoch),
                })
            }
            _ => Err(unexpected()),
        }
    }

    /// The first message born then or later.
    pub(crate) async fn offset_at(
        &self,
        topic: &TopicImage,
        queue: PartitionIndex,
        time: TimestampMs,
    ) -> Result<Option<Offset>, Refusal> {
        let asked = self.ask_leader(topic, queue, Question::AtTime(name(topic, queue), time.0)).await?;
        offset(asked.0)
    }

    /// When the message at the offset, or the next one that is there, was stored; `None` if there is none.
    pub(crate) async fn stored_at(&self, topic: &TopicImage, queue: i32, offset: Offset) -> Result<Option<i64>, Refusal> {
        let queue = PartitionIndex(queue);
        match self.ask_leader(topic, queue, Question::StoredAt(name(topic, queue), offset.0)).await?.0 {
            Reply::Offset(time) => Ok(time),
            _ => Err(unexpected()),
        }
    }

    /// The message at an offset, as clients read it; `None` if it is not there.
    pub(crate) async fn message_anywhere(
        &self,
        topic: &TopicImage,
        queue: PartitionIndex,
        offset: Offset,
        store_host: SocketAddr,
    ) -> Result<Option<Bytes>, Refusal> {
        match self.ask_leader(topic, queue, Question::Message(name(topic, queue), offset.0, store_host)).await? {
            (Reply::Message(is_there), message) => Ok(is_there.then_some(message)),
            _ => Err(unexpected()),
        }
    }

    /// Whether a group without an offset begins at 0: nothing was deleted from the queue yet, and it is not large.
    pub(crate) async fn is_young_anywhere(&self, topic: &TopicImage, queue: PartitionIndex) -> Result<bool, Refusal> {
        match self.ask_leader(topic, queue, Question::IsYoung(name(topic, queue))).await?.0 {
            Reply::Is(young) => Ok(young),
            _ => Err(unexpected()),
        }
    }

    /// The offset that the group has at its home.
    pub(crate) async fn committed_at_home(
        &self,
        group: &str,
        topic: &str,
        queue: PartitionIndex,
    ) -> Result<Option<Progress>, Refusal> {
        let queue = QueueName { topic: topic.to_owned(), queue: queue.0 };
        match self.ask_home(group, Question::Committed(group.to_owned(), queue)).await? {
            Reply::Committed(committed) => {
                Ok(committed.map(|(offset, is_delivered)| Progress { offset: Offset(offset), is_delivered }))
            }
            _ => Err(unexpected()),
        }
    }

    /// Stores offsets of a group at its home.
    pub(crate) async fn commit_at_home(
        &self,
        group: &str,
        topic: &TopicImage,
        offsets: &[(PartitionIndex, Offset)],
        is_delivered: bool,
    ) -> Result<(), Refusal> {
        let question = Question::Commit(group.to_owned(), topic.name.clone(), plain(offsets), is_delivered);
        match self.ask_home(group, question).await? {
            Reply::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// The offsets of a group, by topic.
    pub(crate) async fn progress(&self, group: &str) -> Result<BTreeMap<String, QueueOffsets>, Refusal> {
        self.empty_outbox().await;
        match self.ask_home(group, Question::Progress(group.to_owned())).await? {
            Reply::Progress(progress) => Ok(typed_progress(progress)),
            _ => Err(unexpected()),
        }
    }

    /// Whether anybody has configured the group, is in it, or has offsets in it.
    pub(crate) async fn has_group(&self, group: &str) -> Result<bool, Refusal> {
        self.empty_outbox().await;
        match self.ask_home(group, Question::HasGroup(group.to_owned())).await? {
            Reply::Is(there) => Ok(there),
            _ => Err(unexpected()),
        }
    }

    /// The offsets in a topic, by group; groups without any are left out.
    pub(crate) async fn topic_progress(&self, topic: &TopicImage) -> Result<BTreeMap<String, QueueOffsets>, Refusal> {
        let mut all = BTreeMap::new();
        for reply in self.ask_all(Question::TopicProgress(topic.name.clone())).await? {
            let Reply::Progress(progress) = reply else { return Err(unexpected()) };
            all.extend(typed_progress(progress));
        }
        Ok(all)
    }

    /// The groups that somebody has configured, is in, or has offsets in.
    pub(crate) async fn group_names(&self) -> Result<BTreeSet<String>, Refusal> {
        self.names_of_all(Question::Groups).await
    }

    /// The groups whose members want the topic.
    pub(crate) async fn subscribers(&self, topic: &str) -> Result<BTreeSet<String>, Refusal> {
        self.names_of_all(Question::Subscribers(topic.to_owned())).await
    }

    async fn names_of_all(&self, question: Question) -> Result<BTreeSet<String>, Refusal> {
        let mut all = BTreeSet::new();
        for reply in self.ask_all(question).await? {
            let Reply::Names(names) = reply else { return Err(unexpected()) };
            all.extend(names);
        }
        Ok(all)
    }

    /// The producers of all nodes and their addresses, by group.
    pub(crate) async fn producers_anywhere(&self) -> Result<BTreeMap<String, Vec<(SocketAddr, ProducerInfo)>>, Refusal> {
        let mut all: BTreeMap<String, Vec<(SocketAddr, ProducerInfo)>> = BTreeMap::new();
        for reply in self.ask_all(Question::Producers).await? {
            let Reply::Producers(groups) = reply else { return Err(unexpected()) };
            groups.into_iter().for_each(|(group, members)| all.entry(group).or_default().extend(members));
        }
        Ok(all)
    }

    /// What each node finds of messages with the key.
    pub(crate) async fn find_key(&self, topic: &TopicImage, key: &[u8]) -> Result<Vec<FoundKeys>, Refusal> {
        let replies = self.ask_all(Question::Key(topic.name.clone(), key.to_vec())).await?;
        let found = replies.into_iter().map(|reply| match reply {
            Reply::Places(places, complete) => Ok(FoundKeys { places: typed(&places), complete }),
            _ => Err(unexpected()),
        });
        found.collect()
    }

    /// Members of the group are sent to new offsets, whichever nodes they pull from.
    pub(crate) async fn spread_reset(&self, group: &str, topic: &str, offsets: &[(PartitionIndex, Offset)]) {
        let question = Question::Reset(group.to_owned(), topic.to_owned(), plain(offsets));
        self.tell_others(question).await;
    }

    /// Members of the group know of new offsets.
    pub(crate) fn spread_reset_done(self: &Arc<Self>, group: &str, topic: &str, queues: Vec<i32>) {
        if self.cluster.is_none() {
            return;
        }
        let (node, question) = (self.clone(), Question::ResetDone(group.to_owned(), topic.to_owned(), queues));
        tokio::spawn(async move { node.tell_others(question).await });
    }

    async fn tell_others(&self, question: Question) {
        for other in self.others() {
            for _ in 0..ATTEMPTS {
                match self.ask_node(other, question.clone()).await {
                    Ok(_) => break,
                    // One that does not hear of it at last goes by what members say, or waits for them.
                    Err(error) => tracing::debug!(%other, error = error.remark, "a node is not told of new offsets"),
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn ask_leader(&self, topic: &TopicImage, queue: PartitionIndex, question: Question) -> Answered {
        self.ask(Whose::Queue(topic, queue), question).await
    }

    async fn ask_home(&self, group: &str, question: Question) -> Result<Reply, Refusal> {
        Ok(self.ask(Whose::Group(group), question).await?.0)
    }

    async fn place_for(&self, whose: Whose<'_>) -> Result<Place, Refusal> {
        match whose {
            Whose::Group(group) => Ok(self.home(group).await),
            Whose::Queue(topic, queue) => {
                let image = self.broker.image();
                let known = image.topic(&topic.name).filter(|known| known.id == topic.id);
                let partition = known.and_then(|known| known.partition(queue));
                Ok(self.place_of(&image, partition.ok_or_else(|| crate::topics::unknown(&topic.name))?))
            }
        }
    }

    /// Asks whoever is the one for it.
    async fn ask(&self, whose: Whose<'_>, question: Question) -> Answered {
        if self.cluster.is_none() {
            return self.reply(question).await;
        }
        let mut patience = Patience::new(self);
        loop {
            patience.begin();
            let reply = match self.place_for(whose).await? {
                Place::Here => self.reply(question.clone()).await,
                Place::At(node) => self.ask_node(node, question.clone()).await,
                Place::Nowhere => Err(Refusal::not_here()),
            };
            match reply {
                Ok((Reply::NotHere, _)) => {}
                Err(refusal) if refusal.is_not_here() => {}
                Ok((Reply::Refused(code, remark), _)) => return Err(Refusal::new(code, remark)),
                reply => return reply,
            }
            if !patience.wait().await {
                return Err(Refusal::busy());
            }
        }
    }

    /// Asks all nodes that live, this one first. One that does not answer makes the answer none at all.
    async fn ask_all(&self, question: Question) -> Result<Vec<Reply>, Refusal> {
        let mut replies = vec![self.reply(question.clone()).await?.0];
        if self.cluster.is_some() {
            for other in self.others() {
                match self.ask_node(other, question.clone()).await?.0 {
                    Reply::Refused(code, remark) => return Err(Refusal::new(code, remark)),
                    reply => replies.push(reply),
                }
            }
        }
        Ok(replies)
    }

    async fn ask_node(&self, node: NodeId, question: Question) -> Answered {
        let Some(cluster) = &self.cluster else { return Err(Refusal::not_here()) };
        let asked = Asked { applied: self.broker.image().applied, question };
        let answer = cluster.peers.call(node, REQUESTS, QUESTION, messages::pack_alone(&asked), CALL_LIMIT).await;
        messages::unpack(answer.map_err(|error| lost(&error))?).map_err(|_| unexpected())
    }

    /// A question of another node.
    pub(super) async fn asked(self: &Arc<Self>, body: Bytes) -> Result<Vec<Bytes>, CallRefusal> {
        let Asked { applied, question } = messages::unpack_alone(body)?;
        self.catch_up(applied).await;
        let (reply, raw) = match self.reply(question).await {
            Ok(reply) => reply,
            Err(refusal) if refusal.is_not_here() => (Reply::NotHere, Bytes::new()),
            Err(refusal) => (Reply::Refused(refusal.code, refusal.remark), Bytes::new()),
        };
        Ok(vec![messages::pack_alone(&reply), raw])
    }

    /// The queue, if this node leads it.
    fn own(&self, at: &QueueName) -> Result<(Arc<TopicImage>, PartitionIndex), Refusal> {
        let (image, queue) = (self.broker.image(), PartitionIndex(at.queue));
        // Who asks has seen it: it is on its way.
        let topic = image.topic(&at.topic).ok_or_else(Refusal::not_here)?;
        let partition = topic.partition(queue).ok_or_else(Refusal::not_here)?;
        match self.place_of(&image, partition) {
            Place::Here => Ok((topic.clone(), queue)),
            _ => Err(Refusal::not_here()),
        }
    }

    fn own_group(&self, group: &str) -> Result<(), Refusal> {
        if self.home_now(group) == Place::Here { Ok(()) } else { Err(Refusal::not_here()) }
    }

    /// The answer from what is this node's own.
    async fn reply(&self, question: Question) -> Answered {
        match question {
            Question::Ends(at) => {
                let (topic, queue) = self.own(&at)?;
                let ends = self.broker.ends(&topic, queue).ok_or_else(Refusal::not_here)?;
                only(Reply::Ends(ends.log_start.0, ends.high_watermark.0, ends.leader_epoch.0))
            }
            Question::AtTime(at, time) => {
                let (topic, queue) = self.own(&at)?;
                let found = self.broker.find_offset(&topic, queue, OffsetLookup::AtTime(TimestampMs(time))).await?;
                only(Reply::Offset(found.map(|found| found.offset.0)))
            }
            Question::StoredAt(at, offset) => {
                let (topic, queue) = self.own(&at)?;
                only(Reply::Offset(self.stored_here(&topic, queue, Offset(offset)).await?))
            }
            Question::Message(at, offset, store_host) => {
                let (topic, queue) = self.own(&at)?;
                let message = self.message_at(&topic, queue, Offset(offset), store_host).await?;
                Ok((Reply::Message(message.is_some()), message.unwrap_or_default()))
            }
            Question::IsYoung(at) => {
                let (topic, queue) = self.own(&at)?;
                only(Reply::Is(self.is_young(&topic, queue)))
            }
            question => self.reply_of_groups(question).await,
        }
    }

    async fn reply_of_groups(&self, question: Question) -> Answered {
        match question {
            Question::Committed(group, at) => {
                self.own_group(&group)?;
                let committed = self.committed_here(&group, &at.topic, PartitionIndex(at.queue)).await?;
                only(Reply::Committed(committed.map(|progress| (progress.offset.0, progress.is_delivered))))
            }
            Question::Commit(group, topic, offsets, is_delivered) => {
                self.own_group(&group)?;
                let image = self.broker.image();
                let topic = image.topic(&topic).ok_or_else(Refusal::not_here)?;
                self.commit_here(&group, topic, &typed(&offsets), is_delivered).await?;
                only(Reply::Done)
            }
            Question::Progress(group) => {
                self.own_group(&group)?;
                only(plain_progress(self.progress_here(&group).await?))
            }
            Question::HasGroup(group) => {
                self.own_group(&group)?;
                only(Reply::Is(self.has_group_here(&group).await?))
            }
            question => self.reply_of_all(question).await,
        }
    }

    async fn reply_of_all(&self, question: Question) -> Answered {
        only(match question {
            Question::TopicProgress(topic) => match self.broker.image().topic(&topic) {
                Some(topic) => plain_progress(self.topic_progress_here(topic).await?),
                None => Reply::Progress(BTreeMap::new()),
            },
            Question::Groups => Reply::Names(self.group_names_here().await?.into_iter().collect()),
            Question::Subscribers(topic) => Reply::Names(self.clients.subscribers(&topic)),
            Question::Producers => Reply::Producers(crate::remoting::producers_here(self)),
            Question::Key(topic, key) => match self.broker.image().topic(&topic) {
                Some(topic) => self.key_here(topic, &key).await,
                None => Reply::Places(Vec::new(), true),
            },
            Question::Reset(group, topic, offsets) => {
                // If there is no room, those that were set before are forgotten.
                let _ = self.offsets.resets.add(&group, &topic, &typed(&offsets), |_| false);
                Reply::Done
            }
            Question::ResetDone(group, topic, queues) => {
                let done: Vec<_> = queues.into_iter().map(|queue| (PartitionIndex(queue), Offset(0))).collect();
                self.offsets.resets.forget(&group, &topic, &done);
                Reply::Done
            }
            _ => return Err(unexpected()),
        })
    }

    /// Of the queues that this node leads.
    async fn key_here(&self, topic: &TopicImage, key: &[u8]) -> Reply {
        let found = self.broker.find_by_key(topic, key, KEY_PLACES).await;
        let image = self.broker.image();
        let is_led = |queue: PartitionIndex| {
            topic.partition(queue).is_some_and(|partition| self.place_of(&image, partition) == Place::Here)
        };
        let led = found.places.into_iter().filter(|(queue, _)| is_led(*queue));
        Reply::Places(led.map(|(queue, offset)| (queue.0, offset.0)).collect(), found.complete)
    }
}

fn offset(reply: Reply) -> Result<Option<Offset>, Refusal> {
    match reply {
        Reply::Offset(offset) => Ok(offset.map(Offset)),
        _ => Err(unexpected()),
    }
}
