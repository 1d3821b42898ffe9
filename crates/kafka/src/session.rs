//! What one consumer fetches, and which of its partitions must be looked at.
//!
//! An incremental fetch must not cost more than what has changed, so the session keeps a queue of partitions to read: those
//! that have data beyond what the client has, something it has not been told, or an error. Every other partition is
//! *armed*: the session's watch, kept between polls, brings it back into the queue when it advances. The queue is also
//! what makes partitions take turns: one that gave data goes to its end, one for which there was no room to its front.
//!
//! Two things come without a report. A change of the metadata puts everything into the queue, and since a log's start
//! moves unreported, so does the passing of [`REFRESH_MS`].

use duolog_base::{LeaderEpoch, Offset, PartitionIndex, PartitionNumber, TopicId};
use duolog_core::broker::Watch;
use duolog_core::config::FlushMode;
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::fetch_request::{FetchPartition, FetchRequest};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::sessions::NO_SESSION;

/// A poll that comes so long after the last look at all partitions looks at all of them again.
const REFRESH_MS: u64 = 5_000;

/// What one consumer fetches.
pub(crate) struct Session {
    pub(crate) id: i32,
    /// The epoch that the next request must carry.
    epoch: i32,
    by_id: bool,
    /// Whether unchanged partitions are left out of the response.
    incremental: bool,
    topics: Slots<SessionTopic>,
    entries: Slots<Entry>,
    /// Index into `entries` by topic and partition.
    index: HashMap<(u32, i32), u32>,
    /// Index into `entries` by the number the partition has in the log.
    numbers: HashMap<PartitionNumber, u32>,
    /// Index into `topics`: by id if the session uses ids, else by name.
    ids: HashMap<TopicId, u32>,
    names: HashMap<String, u32>,
    /// Entries to read, in this order.
    queue: VecDeque<u32>,
    watch: Option<Watch>,
    /// The image that `topics` was resolved from.
    resolved: Option<u64>,
    /// When all partitions were put into the queue.
    refreshed_ms: u64,
}

pub(crate) struct SessionTopic {
    pub(crate) name: String,
    pub(crate) id: TopicId,
    pub(crate) image: Option<Arc<TopicImage>>,
    /// Entries of this topic; without any it leaves the session.
    entries: usize,
}

/// One partition of a session.
pub(crate) struct Entry {
    /// Index into the session's topics.
    pub(crate) topic: u32,
    pub(crate) partition: i32,
    pub(crate) from: Offset,
    pub(crate) max_bytes: i32,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) last_fetched_epoch: LeaderEpoch,
    /// High watermark and log start as last told; `None` has the partition told whatever comes.
    pub(crate) told: Option<(i64, i64)>,
    queued: bool,
    /// The number under which the watch will tell of it.
    armed: Option<PartitionNumber>,
}

/// What a look at a partition gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Data for the response.
    Served,
    /// There is something to read or to tell, but not now.
    Unserved,
    /// Nothing until the watch tells.
    Idle,
}

impl Session {
    pub(crate) fn new(by_id: bool, now_ms: u64) -> Session {
        Session {
            id: NO_SESSION,
            epoch: 0,
            by_id,
            incremental: false,
            topics: Slots::default(),
            entries: Slots::default(),
            index: HashMap::new(),
            numbers: HashMap::new(),
            ids: HashMap::new(),
            names: HashMap::new(),
            queue: VecDeque::new(),
            watch: None,
            resolved: None,
            refreshed_ms: now_ms,
        }
    }

    /// Number of partitions.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn epoch(&self) -> i32 {
        self.epoch
    }

    pub(crate) fn by_id(&self) -> bool {
        self.by_id
    }

    pub(crate) fn incremental(&self) -> bool {
        self.incremental
    }

    pub(crate) fn entry(&self, at: u32) -> &Entry {
        self.entries.get(at).expect("a partition that is looked at is in the session")
    }

    pub(crate) fn entry_mut(&mut self, at: u32) -> &mut Entry {
        self.entries.get_mut(at).expect("a partition that is looked at is in the session")
    }

    pub(crate) fn topic(&self, entry: &Entry) -> &SessionTopic {
        self.topics.get(entry.topic).expect("a topic with partitions is in the session")
    }

    #[cfg(test)]
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.slots.iter().flatten()
    }

    /// The session gets its id, and with it the epoch that the next request must carry.
    pub(crate) fn established(&mut self, id: i32, epoch: i32) {
        self.id = id;
        self.epoch = epoch;
    }

    /// A further request came.
    pub(crate) fn continued(&mut self, now_ms: u64) {
        // After the largest epoch comes 1.
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        self.incremental = true;
        if now_ms.saturating_sub(self.refreshed_ms) >= REFRESH_MS {
            self.refreshed_ms = now_ms;
            self.queue_all();
        }
    }

    /// Takes in what the request adds, changes and forgets.
    pub(crate) fn update(&mut self, request: &FetchRequest<'_>) {
        for topic in &request.topics {
            for partition in &topic.partitions {
                let at = self.topic_slot(topic.topic, topic.topic_id);
                self.put(at, partition);
            }
        }
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                let Some(at) = self.known_topic(topic.topic, topic.topic_id) else { break };
                self.forget(at, *partition);
            }
        }
        if !request.forgotten_topics_data.is_empty() {
            self.queue.retain(|at| self.entries.get(*at).is_some());
        }
    }

    fn known_topic(&self, name: &str, id: TopicId) -> Option<u32> {
        if self.by_id { self.ids.get(&id) } else { self.names.get(name) }.copied()
    }

    fn topic_slot(&mut self, name: &str, id: TopicId) -> u32 {
        if let Some(at) = self.known_topic(name, id) {
            return at;
        }
        let at = self.topics.insert(SessionTopic { name: name.to_owned(), id, image: None, entries: 0 });
        match self.by_id {
            true => self.ids.insert(id, at),
            false => self.names.insert(name.to_owned(), at),
        };
        self.resolved = None;
        at
    }

    fn put(&mut self, topic: u32, partition: &FetchPartition) {
        let entry = Entry {
            topic,
            partition: partition.partition,
            from: Offset(partition.fetch_offset),
            max_bytes: partition.partition_max_bytes,
            leader_epoch: LeaderEpoch(partition.current_leader_epoch),
            last_fetched_epoch: LeaderEpoch(partition.last_fetched_epoch),
            told: None,
            queued: false,
            armed: None,
        };
        let at = match self.index.get(&(topic, partition.partition)) {
            Some(at) => {
                let known = self.entries.get_mut(*at).expect("the index names live entries");
                *known = Entry { told: known.told, queued: known.queued, armed: known.armed, ..entry };
                *at
            }
            None => {
                let at = self.entries.insert(entry);
                self.index.insert((topic, partition.partition), at);
                self.topics.get_mut(topic).expect("just found or inserted").entries += 1;
                at
            }
        };
        self.enqueue(at);
    }

    fn forget(&mut self, topic: u32, partition: i32) {
        let Some(at) = self.index.remove(&(topic, partition)) else { return };
        self.disarm(at);
        self.entries.remove(at);
        let Some(known) = self.topics.get_mut(topic) else { return };
        known.entries -= 1;
        if known.entries == 0 {
            self.ids.remove(&known.id);
            self.names.remove(&known.name);
            self.topics.remove(topic);
        }
    }

    /// Looks the topics up in the image, if it is another one than last time.
    pub(crate) fn resolve(&mut self, image: &MetadataImage) {
        if self.resolved == Some(image.applied) {
            return;
        }
        self.resolved = Some(image.applied);
        for topic in self.topics.slots.iter_mut().flatten() {
            let found = if self.by_id { image.topic_by_id(topic.id) } else { image.topic(&topic.name) };
            topic.image = found.cloned();
        }
        // Numbers and flush modes may be others now.
        for at in 0..self.entries.slots.len() as u32 {
            self.disarm(at);
        }
        self.queue_all();
    }

    fn disarm(&mut self, at: u32) {
        let Some(number) = self.entries.get_mut(at).and_then(|entry| entry.armed.take()) else { return };
        self.numbers.remove(&number);
        if let Some(watch) = &mut self.watch {
            watch.remove(number);
        }
    }

    fn enqueue(&mut self, at: u32) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        if !entry.queued {
            entry.queued = true;
            self.queue.push_back(at);
        }
    }

    /// Has every partition looked at in the next round.
    pub(crate) fn queue_all(&mut self) {
        for at in 0..self.entries.slots.len() as u32 {
            self.enqueue(at);
        }
    }

    /// The watch that brings partitions back into the queue, if there is one yet.
    pub(crate) fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// From now on partitions may leave the queue and are brought back by the watch.
    pub(crate) fn watch_with(&mut self, watch: Watch) {
        self.watch = Some(watch);
        self.queue_all();
    }

    /// The partitions to look at now, in order; those that have advanced are among them. All are armed before they are
    /// looked at, so that nothing that arrives meanwhile is missed. What becomes of them is told by [`Session::settle`].
    pub(crate) fn begin_round(&mut self) -> VecDeque<u32> {
        for number in self.watch.as_ref().map(Watch::take).unwrap_or_default() {
            self.advanced(number);
        }
        if let Some(watch) = &mut self.watch {
            let arming: Vec<_> = self.queue.iter().filter_map(|at| arm(&self.topics, &mut self.entries, *at)).collect();
            self.numbers.extend(arming.iter().map(|(at, number, _)| (*number, *at)));
            watch.add(arming.iter().map(|(_, number, flush)| (*number, *flush)));
        }
        std::mem::take(&mut self.queue)
    }

    /// The partition has advanced and is no longer watched.
    fn advanced(&mut self, number: PartitionNumber) {
        let Some(at) = self.numbers.remove(&number) else { return };
        if let Some(entry) = self.entries.get_mut(at) {
            entry.armed = None;
        }
        self.enqueue(at);
    }

    /// Ends a round: what each partition looked at gave, in the order of the looks, and the partitions that it did not
    /// come to.
    pub(crate) fn settle(&mut self, looks: &[(u32, Look)], rest: VecDeque<u32>) {
        assert!(self.queue.is_empty(), "a round takes the whole queue");
        for (at, look) in looks {
            let (watched, entry) = (self.watch.is_some(), self.entry_mut(*at));
            entry.queued = *look != Look::Idle;
            assert!(entry.queued || !watched || entry.armed.is_some(), "what leaves the queue is brought back by the watch");
        }
        let with = |wanted| looks.iter().filter(move |(_, look)| *look == wanted).map(|(at, _)| *at);
        self.queue = with(Look::Unserved).chain(rest).chain(with(Look::Served)).collect();
    }

    /// What a topic that does not exist is answered with.
    pub(crate) fn unknown_topic(&self) -> ErrorCode {
        if self.by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition }
    }
}

/// Marks the entry as armed, if it exists and is not armed yet: its index, number and flush mode.
fn arm(topics: &Slots<SessionTopic>, entries: &mut Slots<Entry>, at: u32) -> Option<(u32, PartitionNumber, FlushMode)> {
    let entry = entries.get_mut(at).filter(|entry| entry.armed.is_none())?;
    let topic = topics.get(entry.topic)?.image.as_ref()?;
    let number = topic.partition(PartitionIndex(entry.partition))?.number;
    entry.armed = Some(number);
    Some((at, number, topic.config.flush))
}

/// Things that keep their place; places of things that are gone are used again.
struct Slots<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    fn insert(&mut self, thing: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self.slots[at as usize] = Some(thing);
            return at;
        }
        self.slots.push(Some(thing));
        self.slots.len() as u32 - 1
    }

    fn remove(&mut self, at: u32) -> Option<T> {
        let thing = self.slots.get_mut(at as usize)?.take()?;
        self.free.push(at);
        Some(thing)
    }

    fn get(&self, at: u32) -> Option<&T> {
        self.slots.get(at as usize)?.as_ref()
    }

    fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.slots.get_mut(at as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_wire::kafka::messages::fetch_request::{FetchTopic, ForgottenTopic};

    fn session(partitions: i32) -> Session {
        let mut session = Session::new(false, 0);
        session.update(&fetching("t", 0..partitions));
        session
    }

    fn fetching(topic: &str, partitions: impl IntoIterator<Item = i32>) -> FetchRequest<'_> {
        let partitions = partitions.into_iter().map(|partition| FetchPartition { partition, ..Default::default() }).collect();
        FetchRequest { topics: vec![FetchTopic { topic, partitions, ..Default::default() }], ..Default::default() }
    }

    fn forgetting(topic: &str, partitions: impl IntoIterator<Item = i32>) -> FetchRequest<'_> {
        let partitions = partitions.into_iter().collect();
        let forgotten_topics_data = vec![ForgottenTopic { topic, partitions, ..Default::default() }];
        FetchRequest { forgotten_topics_data, ..Default::default() }
    }

    /// One round that looks at up to so many partitions; which they were.
    fn round(session: &mut Session, most: usize, look: impl Fn(i32) -> Look) -> Vec<i32> {
        let mut queue = session.begin_round();
        let rest = queue.split_off(most.min(queue.len()));
        let looks: Vec<_> = queue.iter().map(|at| (*at, look(session.entry(*at).partition))).collect();
        session.settle(&looks, rest);
        looks.iter().map(|(at, _)| session.entry(*at).partition).collect()
    }

    /// As if the watch knew partition n as number n.
    fn arm_all(session: &mut Session) {
        for at in 0..session.len() as u32 {
            let number = PartitionNumber(session.entry(at).partition as u32);
            session.entry_mut(at).armed = Some(number);
            session.numbers.insert(number, at);
        }
    }

    #[test]
    fn a_round_looks_at_what_changed_only() {
        let mut session = session(10_000);
        assert_eq!(round(&mut session, usize::MAX, |_| Look::Idle).len(), 10_000);
        arm_all(&mut session);
        assert!(round(&mut session, usize::MAX, |_| Look::Idle).is_empty());
        session.advanced(PartitionNumber(7));
        session.advanced(PartitionNumber(7));
        assert_eq!(round(&mut session, usize::MAX, |_| Look::Served), [7]);
        assert_eq!(round(&mut session, usize::MAX, |_| Look::Idle), [7], "the client may not have taken it");
        session.update(&fetching("t", [9]));
        assert_eq!(round(&mut session, usize::MAX, |_| Look::Idle), [9]);
    }

    #[test]
    fn partitions_take_turns_and_none_starves() {
        let mut session = session(5);
        let mut served = [0; 5];
        for _ in 0..10 {
            // Partition 0 always has more, and there is room for two.
            for partition in round(&mut session, 2, |_| Look::Served) {
                served[partition as usize] += 1;
            }
        }
        assert_eq!(served, [4; 5]);
        // What found no room is the first next time.
        let large_third = |partition| if partition == 2 { Look::Unserved } else { Look::Served };
        round(&mut session, 5, large_third);
        assert_eq!(round(&mut session, 1, |_| Look::Served), [2]);
    }

    #[test]
    fn what_is_forgotten_leaves_the_tables_and_its_places_are_used_again() {
        let mut session = session(3);
        for round_number in 0..100 {
            let topic = format!("t{round_number}");
            session.update(&fetching(&topic, 0..50));
            session.update(&forgetting(&topic, (0..50).chain([1_000])));
        }
        session.update(&forgetting("unknown", [0]));
        assert_eq!((session.len(), session.entries().count(), session.names.len(), session.queue.len()), (3, 3, 1, 3));
        assert_eq!((session.topics.slots.len(), session.entries.slots.len()), (2, 53));
        assert_eq!(round(&mut session, usize::MAX, |_| Look::Idle), [0, 1, 2]);
        session.update(&forgetting("t", 0..3));
        assert_eq!((session.len(), session.names.len()), (0, 0));
    }

    #[test]
    fn all_is_looked_at_again_after_a_while() {
        let mut session = session(3);
        round(&mut session, usize::MAX, |_| Look::Idle);
        session.continued(REFRESH_MS - 1);
        assert!(round(&mut session, usize::MAX, |_| Look::Idle).is_empty());
        session.continued(REFRESH_MS);
        assert_eq!(round(&mut session, usize::MAX, |_| Look::Idle).len(), 3);
        session.continued(REFRESH_MS + 1);
        assert!(round(&mut session, usize::MAX, |_| Look::Idle).is_empty());
    }
}
