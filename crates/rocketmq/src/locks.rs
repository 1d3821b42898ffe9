//! Which client consumes a queue in order: locks of LOCK_BATCH_MQ, which die if they are not renewed.
//!
//! Time is given by the caller, in milliseconds of a clock that never goes back.

use duolog_wire::remoting::body::MessageQueue;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// How long a lock lives without being renewed; clients renew theirs every 20 s.
pub const LOCK_LIFE_MS: u64 = 60_000;
/// Locks of one group at most; a client that asks for more gets none of the rest.
const LOCKS_OF_GROUP: usize = 100_000;

/// The locks of all groups.
#[derive(Default)]
pub struct Locks {
    /// Guards all locks, by group; held for one request.
    groups: Mutex<HashMap<String, HashMap<Queue, Lock>>>,
}

/// The broker's name does not matter: this node has only one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Queue {
    topic: String,
    id: i32,
}

#[derive(Debug)]
struct Lock {
    client: String,
    renewed_ms: u64,
}

impl Lock {
    fn is_alive(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.renewed_ms) <= LOCK_LIFE_MS
    }
}

impl Queue {
    fn of(queue: &MessageQueue) -> Queue {
        Queue { topic: queue.topic.clone(), id: queue.queue_id }
    }
}

impl Locks {
    /// Takes or renews the locks; the queues that the client holds then.
    pub fn lock(&self, group: &str, client: &str, queues: Vec<MessageQueue>, now_ms: u64) -> Vec<MessageQueue> {
        let mut groups = self.groups.lock();
        let locks = groups.entry_ref(group).or_default();
        let held = queues.into_iter().filter(|queue| {
            let key = Queue::of(queue);
            let free = locks.get(&key).is_none_or(|lock| lock.client == client || !lock.is_alive(now_ms));
            let room = locks.len() < LOCKS_OF_GROUP || locks.contains_key(&key);
            if free && room {
                locks.insert(key, Lock { client: client.to_owned(), renewed_ms: now_ms });
            }
            free && room
        });
        let held = held.collect();
        if locks.is_empty() {
            groups.remove(group);
        }
        held
    }

    /// Forgets the locks of groups that this node does not keep any longer.
    pub fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        self.groups.lock().retain(|group, _| is_kept(group));
    }

    /// Gives back those of the locks that are the client's.
    pub fn unlock(&self, group: &str, client: &str, queues: &[MessageQueue]) {
        let mut groups = self.groups.lock();
        let Some(locks) = groups.get_mut(group) else { return };
        for queue in queues {
            let key = Queue::of(queue);
            if locks.get(&key).is_some_and(|lock| lock.client == client) {
                locks.remove(&key);
            }
        }
        if locks.is_empty() {
            groups.remove(group);
        }
    }

    /// Forgets the locks that have died.
    pub fn expire(&self, now_ms: u64) {
        self.groups.lock().retain(|_, locks| {
            locks.retain(|_, lock| lock.is_alive(now_ms));
            !locks.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue { broker_name: "duolog".to_owned(), queue_id: id, topic: "t".to_owned() }
    }

    #[test]
    fn a_queue_has_one_owner_until_it_unlocks_or_falls_silent() {
        let locks = Locks::default();
        assert_eq!(locks.lock("g", "a", vec![queue(0), queue(1)], 0).len(), 2);
        assert_eq!(locks.lock("g", "b", vec![queue(1), queue(2)], 10), [queue(2)]);
        assert_eq!(locks.lock("other", "b", vec![queue(1)], 10), [queue(1)]);
        locks.unlock("g", "b", &[queue(0)]);
        locks.unlock("g", "a", &[queue(1)]);
        assert_eq!(locks.lock("g", "b", vec![queue(0), queue(1)], 20), [queue(1)]);
        assert_eq!(locks.lock("g", "a", vec![queue(0)], 50_000), [queue(0)], "renewed");
        assert_eq!(locks.lock("g", "b", vec![queue(0)], 50_000 + LOCK_LIFE_MS), []);
        assert_eq!(locks.lock("g", "b", vec![queue(0)], 50_001 + LOCK_LIFE_MS), [queue(0)]);
    }

    #[test]
    fn what_has_died_is_forgotten() {
        let locks = Locks::default();
        locks.lock("g", "a", vec![queue(0)], 0);
        locks.expire(LOCK_LIFE_MS);
        assert_eq!(locks.groups.lock().len(), 1);
        locks.expire(LOCK_LIFE_MS + 1);
        assert!(locks.groups.lock().is_empty());
    }
}
