//! Offsets that members said at a node that is not their group's home: noted at once, and brought to the home a moment later.
//!
//! Pulls carry them. Until the home has taken one it is found here, by those who ask at this node. A crash costs what was not
//! brought yet, which the clients send again.

use super::messages::{self, NOTES};
use super::{CALL_LIMIT, Place, REQUESTS};
use crate::node::Node;
use duolog_base::{NodeId, Offset, PartitionIndex};
use duolog_core::group::{Basis, Place as GroupPlace};
use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Offsets that wait at most; those of more are left to the next time they are said.
const NOTES_KEPT: usize = 200_000;
/// Notes of one call.
const NOTES_A_CALL: usize = 10_000;

/// Group, topic and queue.
type Key = (String, String, i32);

#[derive(Default)]
pub(super) struct Outbox {
    /// Guards the notes; held for one look-up, or to copy them.
    notes: Mutex<HashMap<Key, Noted>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Noted {
    offset: Offset,
    basis: Basis,
}

/// A note on its way.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Note {
    group: String,
    topic: String,
    queue: i32,
    offset: i64,
    counts: Counts,
}

/// [`Basis`], between nodes.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Counts {
    Always,
    Ahead,
    Unchanged(Option<i64>),
}

impl Note {
    fn new((group, topic, queue): &Key, noted: Noted) -> Note {
        let counts = match noted.basis {
            Basis::Always => Counts::Always,
            Basis::Ahead => Counts::Ahead,
            Basis::Unchanged(offset) => Counts::Unchanged(offset.map(|offset| offset.0)),
        };
        Note { group: group.clone(), topic: topic.clone(), queue: *queue, offset: noted.offset.0, counts }
    }

    fn basis(&self) -> Basis {
        match self.counts {
            Counts::Always => Basis::Always,
            Counts::Ahead => Basis::Ahead,
            Counts::Unchanged(offset) => Basis::Unchanged(offset.map(Offset)),
        }
    }
}

impl Outbox {
    /// Notes an offset, unless it does not count; whether it does.
    pub(super) fn note(&self, at: GroupPlace<'_>, offset: Offset, basis: Basis) -> bool {
        let mut notes = self.notes.lock();
        let key = (at.group.to_owned(), at.topic.to_owned(), at.partition.0);
        let before = notes.get(&key).copied();
        let basis = match before {
            Some(before) if !basis.holds(offset, Some(before.offset)) => return false,
            // What the first one goes by is what the home knows.
            Some(before) if basis != Basis::Always => before.basis,
            _ => basis,
        };
        if before.is_none() && notes.len() >= NOTES_KEPT {
            return false;
        }
        notes.insert(key, Noted { offset, basis });
        true
    }

    pub(super) fn find(&self, at: GroupPlace<'_>) -> Option<(Offset, Basis)> {
        let notes = self.notes.lock();
        if notes.is_empty() {
            return None;
        }
        notes.get(&(at.group.to_owned(), at.topic.to_owned(), at.partition.0)).map(|noted| (noted.offset, noted.basis))
    }

    /// What somebody sets counts more than what was noted of it before.
    pub(super) fn forget(&self, group: &str, topic: &str, queues: impl Iterator<Item = PartitionIndex>) {
        let mut notes = self.notes.lock();
        if !notes.is_empty() {
            for queue in queues {
                notes.remove(&(group.to_owned(), topic.to_owned(), queue.0));
            }
        }
    }

    fn copy(&self) -> Vec<(Key, Noted)> {
        self.notes.lock().iter().map(|(key, noted)| (key.clone(), *noted)).collect()
    }

    /// Brought, unless another one was noted meanwhile.
    fn brought(&self, brought: &[(Key, Noted)]) {
        let mut notes = self.notes.lock();
        for (key, noted) in brought {
            if notes.get(key) == Some(noted) {
                notes.remove(key);
            } else if let Some(later) = notes.get_mut(key)
                && matches!(later.basis, Basis::Unchanged(_))
            {
                later.basis = Basis::Unchanged(Some(noted.offset));
            }
        }
    }
}

impl Node {
    /// Notes an offset for a group whose home is elsewhere.
    pub(crate) fn note_elsewhere(&self, at: GroupPlace<'_>, offset: Offset, basis: Basis) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.outbox.note(at, offset, basis))
    }

    /// What was noted here and has not been brought to the group's home yet.
    pub(crate) fn noted_elsewhere(&self, at: GroupPlace<'_>) -> Option<(Offset, Basis)> {
        self.cluster.as_ref()?.outbox.find(at)
    }

    /// What is set counts more than what was noted here before.
    pub(crate) fn forget_noted(&self, group: &str, topic: &str, queues: impl Iterator<Item = PartitionIndex>) {
        if let Some(cluster) = &self.cluster {
            cluster.outbox.forget(group, topic, queues);
        }
    }

    /// Brings what was noted here to the homes of its groups.
    pub(crate) async fn empty_outbox(&self) {
        let Some(cluster) = &self.cluster else { return };
        let mut by_home: BTreeMap<NodeId, Vec<(Key, Noted)>> = BTreeMap::new();
        for (key, noted) in cluster.outbox.copy() {
            match self.home(&key.0).await {
                Place::At(node) => by_home.entry(node).or_default().push((key, noted)),
                Place::Here => {
                    self.note_at_home(&Note::new(&key, noted));
                    cluster.outbox.brought(&[(key, noted)]);
                }
                Place::Nowhere => {}
            }
        }
        for (home, notes) in by_home {
            for some in notes.chunks(NOTES_A_CALL) {
                let told: Vec<Note> = some.iter().map(|(key, noted)| Note::new(key, *noted)).collect();
                match cluster.peers.call(home, REQUESTS, NOTES, messages::pack_alone(&told), CALL_LIMIT).await {
                    // If that is not the home any more, they go to where it is the next time.
                    Ok(answer) if messages::unpack_alone(answer.clone()) != Ok(true) => {}
                    Ok(_) => cluster.outbox.brought(some),
                    Err(error) => tracing::debug!(%error, "offsets are not brought to their groups"),
                }
            }
        }
    }

    /// Offsets that another node brings; false, and none is taken, if one of the groups is not at home here.
    pub(super) fn take_notes(&self, notes: &[Note]) -> bool {
        let is_home = notes.iter().all(|note| self.home_now(&note.group) == Place::Here);
        if is_home {
            notes.iter().for_each(|note| self.note_at_home(note));
        }
        is_home
    }

    fn note_at_home(&self, note: &Note) {
        let at = GroupPlace { group: &note.group, topic: &note.topic, partition: PartitionIndex(note.queue) };
        let is_held = || self.offsets.resets.holds(at.group, at.topic, at.partition);
        self.groups.note(at, Offset(note.offset), note.basis(), is_held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(queue: i32) -> GroupPlace<'static> {
        GroupPlace { group: "g", topic: "t", partition: PartitionIndex(queue) }
    }

    #[test]
    fn what_was_said_last_is_found_until_it_is_brought() {
        let outbox = Outbox::default();
        assert!(outbox.note(at(0), Offset(5), Basis::Always));
        let first = outbox.copy();
        assert!(outbox.note(at(0), Offset(6), Basis::Always));
        outbox.brought(&first);
        assert_eq!(outbox.find(at(0)), Some((Offset(6), Basis::Always)), "it came after");
        outbox.brought(&outbox.copy());
        assert_eq!(outbox.find(at(0)), None);
    }

    #[test]
    fn what_goes_by_an_offset_counts_only_with_that() {
        let outbox = Outbox::default();
        assert!(outbox.note(at(0), Offset(5), Basis::Unchanged(Some(Offset(4)))));
        assert!(!outbox.note(at(0), Offset(9), Basis::Unchanged(Some(Offset(8)))));
        let first = outbox.copy();
        assert!(outbox.note(at(0), Offset(6), Basis::Unchanged(Some(Offset(5)))));
        let expected = |outbox: &Outbox| outbox.copy()[0].1.basis;
        assert!(expected(&outbox) == Basis::Unchanged(Some(Offset(4))), "what the home knows");
        outbox.brought(&first);
        assert!(expected(&outbox) == Basis::Unchanged(Some(Offset(5))));
    }

    #[test]
    fn what_is_set_counts_more_than_what_was_said_before() {
        let outbox = Outbox::default();
        for queue in 0..2 {
            outbox.note(at(queue), Offset(5), Basis::Always);
        }
        outbox.forget("g", "t", [PartitionIndex(0)].into_iter());
        assert_eq!((outbox.find(at(0)), outbox.find(at(1))), (None, Some((Offset(5), Basis::Always))));
    }
}
