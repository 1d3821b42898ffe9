//! Incremental fetch sessions (KIP-227): the server remembers what a consumer fetches, so that requests and responses
//! name only the partitions that changed.
//!
//! A session is taken out of the cache while a request uses it and put back by its guard, so two requests never work
//! on the same one. A fetch without a session uses the same [`Session`], which then lives for one request.

use duolog_base::{LeaderEpoch, Offset, TopicId};
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::fetch_request::{FetchPartition, FetchRequest};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// A session must have been unused, or have existed, so long before another one may take its place; Kafka's value.
const EVICTION_MS: u64 = 120_000;
/// The session id that stands for none.
pub(crate) const NO_SESSION: i32 = 0;
/// The epoch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch that asks for none, and ends the one named.
const FINAL_EPOCH: i32 = -1;

/// The sessions of all connections.
pub(crate) struct FetchSessions {
    /// Bound on the sessions: `max.incremental.fetch.session.cache.slots`.
    slots: usize,
    ids: RandomState,
    /// Guards the table only; sessions in use are not in it.
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<i32, Slot>,
    created: u64,
}

struct Slot {
    /// `None` while a request uses it.
    session: Option<Box<Session>>,
    partitions: usize,
    created_ms: u64,
    used_ms: u64,
}

/// What one consumer fetches.
pub(crate) struct Session {
    pub(crate) id: i32,
    /// The epoch that the next request must carry.
    epoch: i32,
    by_id: bool,
    /// Whether unchanged partitions are left out of the response.
    pub(crate) incremental: bool,
    pub(crate) topics: Vec<SessionTopic>,
    pub(crate) entries: Vec<Entry>,
    index: HashMap<(u32, i32), usize>,
    /// Index into `topics`: by id if the session uses ids, else by name.
    ids: HashMap<TopicId, u32>,
    names: HashMap<String, u32>,
    /// Where the next read begins, so that every partition has its turn.
    pub(crate) turn: usize,
    /// The image that `topics` was resolved from.
    resolved: Option<u64>,
}

pub(crate) struct SessionTopic {
    pub(crate) name: String,
    pub(crate) id: TopicId,
    pub(crate) image: Option<Arc<TopicImage>>,
}

/// One partition of a session.
#[derive(Clone, Copy, Debug)]
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
}

impl Session {
    fn new(by_id: bool) -> Session {
        Session {
            id: NO_SESSION,
            epoch: INITIAL_EPOCH,
            by_id,
            incremental: false,
            topics: Vec::new(),
            entries: Vec::new(),
            index: HashMap::new(),
            ids: HashMap::new(),
            names: HashMap::new(),
            turn: 0,
            resolved: None,
        }
    }

    /// Takes in what the request adds, changes and forgets.
    fn update(&mut self, request: &FetchRequest<'_>) {
        for topic in &request.topics {
            let at = self.topic(topic.topic, topic.topic_id);
            for partition in &topic.partitions {
                self.put(at, partition);
            }
        }
        for topic in &request.forgotten_topics_data {
            let at = self.topic(topic.topic, topic.topic_id);
            for partition in &topic.partitions {
                self.forget(at, *partition);
            }
        }
    }

    fn topic(&mut self, name: &str, id: TopicId) -> u32 {
        let known = if self.by_id { self.ids.get(&id) } else { self.names.get(name) };
        if let Some(at) = known {
            return *at;
        }
        let at = self.topics.len() as u32;
        match self.by_id {
            true => self.ids.insert(id, at),
            false => self.names.insert(name.to_owned(), at),
        };
        self.topics.push(SessionTopic { name: name.to_owned(), id, image: None });
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
        };
        match self.index.get(&(topic, partition.partition)) {
            Some(at) => self.entries[*at] = Entry { told: self.entries[*at].told, ..entry },
            None => {
                self.index.insert((topic, partition.partition), self.entries.len());
                self.entries.push(entry);
            }
        }
    }

    fn forget(&mut self, topic: u32, partition: i32) {
        let Some(at) = self.index.remove(&(topic, partition)) else { return };
        self.entries.swap_remove(at);
        if let Some(moved) = self.entries.get(at) {
            self.index.insert((moved.topic, moved.partition), at);
        }
    }

    /// Looks the topics up in the image, if it is another one than last time.
    pub(crate) fn resolve(&mut self, image: &MetadataImage) {
        if self.resolved == Some(image.applied) {
            return;
        }
        self.resolved = Some(image.applied);
        for topic in &mut self.topics {
            let found = if self.by_id { image.topic_by_id(topic.id) } else { image.topic(&topic.name) };
            topic.image = found.cloned();
        }
    }

    /// What a topic that does not exist is answered with.
    pub(crate) fn unknown_topic(&self) -> ErrorCode {
        if self.by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition }
    }
}

impl FetchSessions {
    pub(crate) fn new(slots: usize) -> FetchSessions {
        FetchSessions { slots, ids: RandomState::new(), table: Mutex::default() }
    }

    /// The session the request belongs to, with what the request says taken in.
    pub(crate) fn begin(
        self: &Arc<Self>,
        request: &FetchRequest<'_>,
        by_id: bool,
        now_ms: u64,
    ) -> Result<SessionGuard, ErrorCode> {
        if matches!(request.session_epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            return Ok(self.begin_full(request, by_id, now_ms));
        }
        let mut guard = self.take(request, by_id)?;
        let session = guard.session_mut();
        session.update(request);
        session.incremental = true;
        // After the largest epoch comes 1.
        session.epoch = session.epoch.checked_add(1).unwrap_or(1);
        if session.entries.is_empty() {
            // Nothing is left to fetch: the session ends, and the answer says so.
            session.id = NO_SESSION;
        }
        guard.now_ms = now_ms;
        Ok(guard)
    }

    fn begin_full(self: &Arc<Self>, request: &FetchRequest<'_>, by_id: bool, now_ms: u64) -> SessionGuard {
        let mut session = Box::new(Session::new(by_id));
        session.update(request);
        let mut table = self.table.lock();
        if request.session_id != NO_SESSION {
            table.sessions.remove(&request.session_id);
        }
        let wanted = request.session_epoch == INITIAL_EPOCH && !session.entries.is_empty();
        if wanted && self.make_room(&mut table, session.entries.len(), now_ms) {
            session.id = self.new_id(&mut table);
            session.epoch = INITIAL_EPOCH + 1;
            let slot = Slot { session: None, partitions: session.entries.len(), created_ms: now_ms, used_ms: now_ms };
            table.sessions.insert(session.id, slot);
        }
        let slot = session.id;
        SessionGuard { sessions: self.clone(), slot, session: Some(session), now_ms }
    }

    fn take(self: &Arc<Self>, request: &FetchRequest<'_>, by_id: bool) -> Result<SessionGuard, ErrorCode> {
        let mut table = self.table.lock();
        let slot = table.sessions.get_mut(&request.session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        // Another request is using it, which has raised its epoch.
        let session = slot.session.as_ref().ok_or(ErrorCode::InvalidFetchSessionEpoch)?;
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let session = slot.session.take();
        Ok(SessionGuard { sessions: self.clone(), slot: request.session_id, session, now_ms: 0 })
    }

    /// Kafka's rule: a full cache gives up a session that is long unused, else an old one that is smaller than the new.
    fn make_room(&self, table: &mut Table, partitions: usize, now_ms: u64) -> bool {
        if table.sessions.len() < self.slots {
            return true;
        }
        let idle = |slot: &Slot| now_ms.saturating_sub(slot.used_ms) > EVICTION_MS;
        let old_and_small = |slot: &Slot| now_ms.saturating_sub(slot.created_ms) > EVICTION_MS && slot.partitions < partitions;
        let candidates = table.sessions.iter().filter(|(_, slot)| idle(slot) || old_and_small(slot));
        let victim = candidates.min_by_key(|(_, slot)| (!idle(slot), slot.partitions, slot.used_ms)).map(|(id, _)| *id);
        victim.is_some_and(|id| table.sessions.remove(&id).is_some())
    }

    fn new_id(&self, table: &mut Table) -> i32 {
        loop {
            table.created += 1;
            let id = (self.ids.hash_one(table.created) as i32) & i32::MAX;
            if id != NO_SESSION && !table.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    fn put_back(&self, slot: i32, session: Box<Session>, now_ms: u64) {
        let mut table = self.table.lock();
        if session.id == NO_SESSION {
            table.sessions.remove(&slot);
            return;
        }
        // The session may have been ended or given up meanwhile.
        if let Some(slot) = table.sessions.get_mut(&slot) {
            slot.partitions = session.entries.len();
            slot.used_ms = now_ms;
            slot.session = Some(session);
        }
    }
}

/// A session in use; goes back into the cache when dropped.
pub(crate) struct SessionGuard {
    sessions: Arc<FetchSessions>,
    /// Id under which the session was taken; [`NO_SESSION`] if it was never in the cache.
    slot: i32,
    session: Option<Box<Session>>,
    now_ms: u64,
}

impl SessionGuard {
    pub(crate) fn session(&self) -> &Session {
        self.session.as_ref().expect("a guard holds its session until it is dropped")
    }

    pub(crate) fn session_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("a guard holds its session until it is dropped")
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        if let Some(session) = self.session.take()
            && self.slot != NO_SESSION
        {
            self.sessions.put_back(self.slot, session, self.now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_wire::kafka::messages::fetch_request::{FetchTopic, ForgottenTopic};

    fn request(id: i32, epoch: i32, partitions: &[i32]) -> FetchRequest<'static> {
        let partitions: Vec<_> =
            partitions.iter().map(|partition| FetchPartition { partition: *partition, ..Default::default() }).collect();
        let topics =
            if partitions.is_empty() { Vec::new() } else { vec![FetchTopic { topic: "t", partitions, ..Default::default() }] };
        FetchRequest { session_id: id, session_epoch: epoch, topics, ..Default::default() }
    }

    fn partitions(guard: &SessionGuard) -> Vec<i32> {
        let mut partitions: Vec<_> = guard.session().entries.iter().map(|entry| entry.partition).collect();
        partitions.sort_unstable();
        partitions
    }

    fn begin(sessions: &Arc<FetchSessions>, request: &FetchRequest<'_>, now_ms: u64) -> Result<SessionGuard, ErrorCode> {
        sessions.begin(request, false, now_ms)
    }

    #[test]
    fn a_session_remembers_and_forgets_partitions() {
        let sessions = Arc::new(FetchSessions::new(10));
        let id = begin(&sessions, &request(0, 0, &[0, 1, 2]), 0).unwrap().session().id;
        assert_ne!(id, NO_SESSION);
        assert_eq!(partitions(&begin(&sessions, &request(id, 1, &[5]), 0).unwrap()), [0, 1, 2, 5]);
        let mut forgetting = request(id, 2, &[]);
        forgetting.forgotten_topics_data = vec![ForgottenTopic { topic: "t", partitions: vec![0, 5], ..Default::default() }];
        assert_eq!(partitions(&begin(&sessions, &forgetting, 0).unwrap()), [1, 2]);
        let mut last = request(id, 3, &[]);
        last.forgotten_topics_data = vec![ForgottenTopic { topic: "t", partitions: vec![1, 2], ..Default::default() }];
        assert_eq!(begin(&sessions, &last, 0).unwrap().session().id, NO_SESSION);
        assert_eq!(begin(&sessions, &request(id, 4, &[]), 0).err(), Some(ErrorCode::FetchSessionIdNotFound));
    }

    #[test]
    fn epochs_are_checked_and_a_session_serves_one_request_at_a_time() {
        let sessions = Arc::new(FetchSessions::new(10));
        let guard = begin(&sessions, &request(0, 0, &[0]), 0).unwrap();
        let id = guard.session().id;
        assert_eq!(begin(&sessions, &request(id, 1, &[]), 0).err(), Some(ErrorCode::InvalidFetchSessionEpoch));
        drop(guard);
        assert_eq!(begin(&sessions, &request(id, 2, &[]), 0).err(), Some(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(sessions.begin(&request(id, 1, &[]), true, 0).err(), Some(ErrorCode::FetchSessionTopicIdError));
        assert!(begin(&sessions, &request(id, 1, &[]), 0).is_ok());
        // A final epoch ends it.
        assert_eq!(begin(&sessions, &request(id, -1, &[0]), 0).unwrap().session().id, NO_SESSION);
        assert_eq!(begin(&sessions, &request(id, 2, &[]), 0).err(), Some(ErrorCode::FetchSessionIdNotFound));
    }

    #[test]
    fn a_full_cache_gives_up_idle_sessions_then_small_old_ones() {
        let sessions = Arc::new(FetchSessions::new(1));
        let first = begin(&sessions, &request(0, 0, &[0, 1]), 0).unwrap().session().id;
        assert_eq!(begin(&sessions, &request(0, 0, &[0, 1, 2]), 10).unwrap().session().id, NO_SESSION, "too young to go");
        drop(begin(&sessions, &request(first, 1, &[]), EVICTION_MS).unwrap());
        let later = EVICTION_MS + 1;
        assert_eq!(begin(&sessions, &request(0, 0, &[0]), later).unwrap().session().id, NO_SESSION, "smaller than the old one");
        assert_ne!(begin(&sessions, &request(0, 0, &[0, 1, 2]), later).unwrap().session().id, NO_SESSION);
        let idle = later + EVICTION_MS + 1;
        assert_ne!(begin(&sessions, &request(0, 0, &[0]), idle).unwrap().session().id, NO_SESSION);
    }
}
