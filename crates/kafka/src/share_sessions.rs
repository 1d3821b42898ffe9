//! Share sessions (KIP-932): which partitions a member of a share group reads at this node.
//!
//! A member's first request at a node opens its session, later ones name only what is added and what is left out, and the last one closes
//! it. A session also ends with the connection that opened it. Whoever ends a session gives the member's records back.

use duolog_base::{PartitionIndex, TopicId};
use duolog_wire::kafka::ErrorCode;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// Sessions of all connections at a time; Kafka's default.
const MAX_SESSIONS: usize = 2_000;
/// The epoch that opens a session.
pub(crate) const INITIAL_EPOCH: i32 = 0;
/// The epoch that closes it.
pub(crate) const FINAL_EPOCH: i32 = -1;

/// A partition of a session.
pub(crate) type Place = (TopicId, PartitionIndex);

/// The member of a group that has a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) group: String,
    pub(crate) id: String,
}

/// The sessions of all connections.
pub(crate) struct ShareSessions {
    limit: usize,
    /// Held for look-ups and changes of one session.
    sessions: Mutex<HashMap<Member, Session>>,
}

struct Session {
    /// The epoch that the next request must carry.
    epoch: i32,
    partitions: BTreeSet<Place>,
    connection: u64,
}

impl Default for ShareSessions {
    fn default() -> ShareSessions {
        ShareSessions::new(MAX_SESSIONS)
    }
}

impl ShareSessions {
    fn new(limit: usize) -> ShareSessions {
        ShareSessions { limit, sessions: Mutex::default() }
    }

    /// Opens a session in the place of the one there may be.
    pub(crate) fn open(&self, member: &Member, partitions: BTreeSet<Place>, connection: u64) -> Result<(), ErrorCode> {
        let mut sessions = self.sessions.lock();
        sessions.remove(member);
        if sessions.len() >= self.limit {
            return Err(ErrorCode::ShareSessionLimitReached);
        }
        sessions.insert(member.clone(), Session { epoch: next(INITIAL_EPOCH), partitions, connection });
        Ok(())
    }

    /// A further request: takes in what it adds and leaves out, and answers the partitions to read, those first that have waited longest.
    pub(crate) fn go_on(
        &self,
        member: &Member,
        epoch: i32,
        added: impl IntoIterator<Item = Place>,
        left_out: impl IntoIterator<Item = Place>,
    ) -> Result<Vec<Place>, ErrorCode> {
        let mut sessions = self.sessions.lock();
        let session = sessions.get_mut(member).ok_or(ErrorCode::ShareSessionNotFound)?;
        if epoch != session.epoch {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        session.partitions.extend(added);
        for place in left_out {
            session.partitions.remove(&place);
        }
        session.epoch = next(epoch);
        let mut places: Vec<Place> = session.partitions.iter().copied().collect();
        if !places.is_empty() {
            let turn = epoch as usize % places.len();
            places.rotate_left(turn);
        }
        Ok(places)
    }

    pub(crate) fn is_open(&self, member: &Member) -> bool {
        self.sessions.lock().contains_key(member)
    }

    /// Ends a session; its partitions.
    pub(crate) fn close(&self, member: &Member) -> Option<BTreeSet<Place>> {
        self.sessions.lock().remove(member).map(|session| session.partitions)
    }

    /// Ends the sessions that a connection opened.
    pub(crate) fn close_all(&self, connection: u64) -> Vec<(Member, BTreeSet<Place>)> {
        let mut sessions = self.sessions.lock();
        let ended = sessions.extract_if(|_, session| session.connection == connection);
        ended.map(|(member, session)| (member, session.partitions)).collect()
    }
}

/// After the largest epoch comes 1.
fn next(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str) -> Member {
        Member { group: "g".to_owned(), id: id.to_owned() }
    }

    fn places(indexes: impl IntoIterator<Item = i32>) -> BTreeSet<Place> {
        indexes.into_iter().map(|index| (TopicId(1), PartitionIndex(index))).collect()
    }

    fn indexes(places: Result<Vec<Place>, ErrorCode>) -> Result<Vec<i32>, ErrorCode> {
        places.map(|places| places.into_iter().map(|(_, index)| index.0).collect())
    }

    #[test]
    fn a_session_remembers_and_partitions_take_turns() {
        let (sessions, a) = (ShareSessions::new(10), member("a"));
        sessions.open(&a, places(0..3), 1).expect("there is room");
        assert_eq!(indexes(sessions.go_on(&a, 1, [], [])), Ok(vec![1, 2, 0]));
        assert_eq!(indexes(sessions.go_on(&a, 2, places([7]), places([1]))), Ok(vec![7, 0, 2]));
        assert_eq!(indexes(sessions.go_on(&a, 2, [], [])), Err(ErrorCode::InvalidShareSessionEpoch), "it has had this one");
        assert_eq!(indexes(sessions.go_on(&member("b"), 1, [], [])), Err(ErrorCode::ShareSessionNotFound));
        assert_eq!(sessions.close(&a), Some(places([0, 2, 7])));
        assert!(!sessions.is_open(&a));
        assert_eq!(indexes(sessions.go_on(&a, 3, [], [])), Err(ErrorCode::ShareSessionNotFound));
    }

    #[test]
    fn epochs_begin_again_at_one() {
        let (sessions, a) = (ShareSessions::new(10), member("a"));
        sessions.open(&a, places(0..3), 1).expect("there is room");
        sessions.sessions.lock().get_mut(&a).expect("just opened").epoch = i32::MAX;
        assert!(sessions.go_on(&a, i32::MAX, [], []).is_ok());
        assert!(sessions.go_on(&a, 1, [], []).is_ok());
    }

    #[test]
    fn there_are_so_many_sessions_and_each_ends_with_its_connection() {
        let sessions = ShareSessions::new(2);
        sessions.open(&member("a"), places([0]), 1).expect("there is room");
        sessions.open(&member("b"), places([1]), 2).expect("there is room");
        assert_eq!(sessions.open(&member("c"), places([2]), 3), Err(ErrorCode::ShareSessionLimitReached));
        sessions.open(&member("b"), places([3]), 4).expect("in the place of the old one");
        assert_eq!(sessions.close_all(2), []);
        assert_eq!(sessions.close_all(4), [(member("b"), places([3]))]);
        sessions.open(&member("c"), places([2]), 3).expect("there is room");
    }
}
