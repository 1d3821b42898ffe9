//! The cache of incremental fetch sessions (KIP-227): the server remembers what a consumer fetches, so that requests and
//! responses name only the partitions that changed.
//!
//! A session is taken out of the cache while a request uses it and put back by its guard, so two requests never work
//! on the same one. A fetch without a session uses the same [`Session`], which then lives for one request.

use crate::session::Session;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::fetch_request::FetchRequest;
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
        session.continued(now_ms);
        if session.len() == 0 {
            // Nothing is left to fetch: the session ends, and the answer says so.
            session.id = NO_SESSION;
        }
        guard.now_ms = now_ms;
        Ok(guard)
    }

    fn begin_full(self: &Arc<Self>, request: &FetchRequest<'_>, by_id: bool, now_ms: u64) -> SessionGuard {
        let mut session = Box::new(Session::new(by_id, now_ms));
        session.update(request);
        let mut table = self.table.lock();
        if request.session_id != NO_SESSION {
            table.sessions.remove(&request.session_id);
        }
        let wanted = request.session_epoch == INITIAL_EPOCH && session.len() > 0;
        if wanted && self.make_room(&mut table, session.len(), now_ms) {
            session.established(self.new_id(&mut table), INITIAL_EPOCH + 1);
            let slot = Slot { session: None, partitions: session.len(), created_ms: now_ms, used_ms: now_ms };
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
        if session.epoch() != request.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id() != by_id {
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
            slot.partitions = session.len();
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
    #[cfg(test)]
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
    use duolog_wire::kafka::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};

    fn request(id: i32, epoch: i32, partitions: &[i32]) -> FetchRequest<'static> {
        let partitions: Vec<_> =
            partitions.iter().map(|partition| FetchPartition { partition: *partition, ..Default::default() }).collect();
        let topics =
            if partitions.is_empty() { Vec::new() } else { vec![FetchTopic { topic: "t", partitions, ..Default::default() }] };
        FetchRequest { session_id: id, session_epoch: epoch, topics, ..Default::default() }
    }

    fn partitions(guard: &SessionGuard) -> Vec<i32> {
        let mut partitions: Vec<_> = guard.session().entries().map(|entry| entry.partition).collect();
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
