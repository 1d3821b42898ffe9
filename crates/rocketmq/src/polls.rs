//! POP's requests that are held until there is something: how many, by what they wait for. Past a limit a request is not held.

use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests that are held at a time, and those of one group for the same queue.
const POLLS: usize = 100_000;
const POLLS_OF_QUEUE: usize = 1024;

/// Group, topic and queue; -1 is any queue.
type Key = (String, String, i32);

#[derive(Default)]
pub(crate) struct Polls {
    /// Guards the counts; held for one look-up.
    table: Mutex<Table>,
    turns: AtomicUsize,
}

#[derive(Default)]
struct Table {
    all: usize,
    by_key: HashMap<Key, usize>,
}

/// A place among the requests that are held.
pub(crate) struct Poll<'a> {
    polls: &'a Polls,
    key: Key,
}

impl Polls {
    /// A place for one request more; `None` if there is none.
    pub(crate) fn hold(&self, group: &str, topic: &str, queue: i32) -> Option<Poll<'_>> {
        let key = (group.to_owned(), topic.to_owned(), queue);
        let mut table = self.table.lock();
        if table.all >= POLLS || table.by_key.get(&key).is_some_and(|count| *count >= POLLS_OF_QUEUE) {
            return None;
        }
        table.all += 1;
        *table.by_key.entry(key.clone()).or_default() += 1;
        Some(Poll { polls: self, key })
    }

    /// A number for whoever begins with another queue, or node, each time.
    pub(crate) fn turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// How many are held.
    pub(crate) fn count(&self, group: &str, topic: &str, queue: i32) -> usize {
        self.table.lock().by_key.get(&(group.to_owned(), topic.to_owned(), queue)).copied().unwrap_or_default()
    }
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        let mut table = self.polls.table.lock();
        table.all -= 1;
        if let Some(count) = table.by_key.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                table.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_so_many_places_and_gives_them_back() {
        let polls = Polls::default();
        let mut held: Vec<_> = (0..POLLS_OF_QUEUE).map(|_| polls.hold("g", "t", -1).unwrap()).collect();
        assert!(polls.hold("g", "t", -1).is_none());
        assert!(polls.hold("g", "t", 0).is_some() && polls.hold("h", "t", -1).is_some());
        held.pop();
        assert_eq!(polls.count("g", "t", -1), POLLS_OF_QUEUE - 1);
        assert!(polls.hold("g", "t", -1).is_some());
        drop(held);
        assert_eq!(polls.count("g", "t", -1), 0);
    }
}
