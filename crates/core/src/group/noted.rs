//! Offsets that somebody says without waiting for an answer: noted at once, and stored together a moment later.
//!
//! What is said later counts: an offset that is committed or deleted by whomever drops what was noted of it before, also what is
//! being stored at that moment. One who has no member's word but a state of his own to go by says which offset he takes the group
//! to have; if the group has another one, what he said is dropped. A crash costs what was noted since it was stored last.
//!
//! The table only; [`GroupCoordinator`](super::GroupCoordinator) stores what is in it.

use super::request::{CommitPartition, CommitTopic};
use crate::metadata::{MetadataImage, TopicImage};
use duolog_base::{LeaderEpoch, Offset, PartitionIndex};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;

/// Offsets noted and not stored at most; those of more are left to the next time they are said.
const NOTED_OFFSETS: usize = 200_000;

/// When an offset that was noted counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    Always,
    /// If the group has none, or a lower one.
    Ahead,
    /// If the group still has this offset; `None`: if it still has none.
    Unchanged(Option<Offset>),
}

/// What is stored beside an offset up to which messages were delivered one by one and are done with: who has state of its own to go by finds
/// its own word again by it, and what others have set by its absence.
pub const DELIVERED: &str = "duolog.delivered";

impl Basis {
    /// Whether one has said it who has a state of his own to go by.
    pub fn is_of_deliveries(self) -> bool {
        matches!(self, Basis::Unchanged(_))
    }

    pub fn holds(self, offset: Offset, committed: Option<Offset>) -> bool {
        match self {
            Basis::Always => true,
            Basis::Ahead => committed.is_none_or(|committed| committed < offset),
            Basis::Unchanged(expected) => expected == committed,
        }
    }
}

/// A partition of a group, by name.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub partition: PartitionIndex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    offset: Offset,
    basis: Basis,
}

/// Notes of one group, by topic and partition.
pub(super) type GroupNotes = HashMap<String, HashMap<i32, Note>>;

/// What was noted of all groups.
#[derive(Default)]
pub(super) struct Noted {
    /// Guards what was noted; held for one look-up.
    table: Mutex<Table>,
    /// Held by the one who stores.
    pub(super) turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Table {
    groups: HashMap<String, GroupNotes>,
    count: usize,
    /// Noted before, and being stored now.
    storing: Arc<HashMap<String, GroupNotes>>,
}

/// What was dropped for a commit that may fail.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    notes: Vec<(String, i32, Note)>,
    /// Older offsets are on their way, and must not come after what is committed now.
    pub(super) is_storing: bool,
}

impl Noted {
    /// Notes an offset, unless it does not count; whether it does.
    pub(super) fn note(&self, at: Place<'_>, offset: Offset, basis: Basis, is_held: impl FnOnce() -> bool) -> bool {
        let mut table = self.table.lock();
        if is_held() {
            return false;
        }
        let before = table.find(at);
        if before.is_some_and(|before| !basis.holds(offset, Some(before.offset))) {
            return false;
        }
        let noted = find(&table.groups, at);
        if noted.is_none() && table.count == NOTED_OFFSETS {
            return false;
        }
        table.count += usize::from(noted.is_none());
        // What was noted first knows what the group has.
        let basis = if basis == Basis::Always { basis } else { noted.map_or(basis, |noted| noted.basis) };
        let partitions = table.groups.entry_ref(at.group).or_default().entry_ref(at.topic).or_default();
        partitions.insert(at.partition.0, Note { offset, basis });
        true
    }

    pub(super) fn find(&self, at: Place<'_>) -> Option<(Offset, Basis)> {
        self.table.lock().find(at).map(|note| (note.offset, note.basis))
    }

    /// Drops what was noted of these partitions.
    pub(super) fn drop_partitions<'a>(
        &self,
        group: &str,
        partitions: impl Iterator<Item = (&'a str, PartitionIndex)>,
    ) -> Dropped {
        let mut table = self.table.lock();
        let mut dropped = Dropped::default();
        for (topic, partition) in partitions {
            let at = Place { group, topic, partition };
            dropped.is_storing |= find(&table.storing, at).is_some();
            if let Some(note) = table.take(at) {
                dropped.notes.push((topic.to_owned(), partition.0, note));
            }
        }
        dropped
    }

    /// Drops all that was noted of a group.
    pub(super) fn drop_group(&self, group: &str) -> Dropped {
        let mut table = self.table.lock();
        let mut dropped = Dropped { is_storing: table.storing.contains_key(group), notes: Vec::new() };
        for (topic, partitions) in table.groups.remove(group).unwrap_or_default() {
            dropped.notes.extend(partitions.into_iter().map(|(partition, note)| (topic.clone(), partition, note)));
        }
        table.count -= dropped.notes.len();
        dropped
    }

    /// The commit has failed: what was noted counts after all, where nothing was noted since.
    pub(super) fn restore(&self, group: &str, dropped: Dropped) {
        let mut table = self.table.lock();
        for (topic, partition, note) in dropped.notes {
            let at = Place { group, topic: &topic, partition: PartitionIndex(partition) };
            if find(&table.groups, at).is_none() {
                table.groups.entry_ref(group).or_default().entry(topic).or_default().insert(partition, note);
                table.count += 1;
            }
        }
    }

    /// Takes all that is there to be stored, until [`Noted::end_storing`].
    pub(super) fn begin_storing(&self) -> Arc<HashMap<String, GroupNotes>> {
        let mut table = self.table.lock();
        table.storing = Arc::new(std::mem::take(&mut table.groups));
        table.count = 0;
        table.storing.clone()
    }

    pub(super) fn end_storing(&self) {
        self.table.lock().storing = Arc::default();
    }
}

impl Table {
    fn find(&self, at: Place<'_>) -> Option<Note> {
        find(&self.groups, at).or_else(|| find(&self.storing, at))
    }

    fn take(&mut self, at: Place<'_>) -> Option<Note> {
        let note = self.groups.get_mut(at.group)?.get_mut(at.topic)?.remove(&at.partition.0)?;
        self.count -= 1;
        Some(note)
    }
}

fn find(groups: &HashMap<String, GroupNotes>, at: Place<'_>) -> Option<Note> {
    groups.get(at.group)?.get(at.topic)?.get(&at.partition.0).copied()
}

/// What is to be committed of a group's notes, and on which basis: of the partitions that exist.
pub(super) fn to_commit(image: &MetadataImage, notes: &GroupNotes) -> (Vec<CommitTopic>, Vec<Vec<Basis>>) {
    let known = notes.iter().filter_map(|(name, partitions)| Some((image.topic(name)?, partitions)));
    let topics = known.map(|(topic, partitions)| commit_topic(topic, partitions));
    topics.filter(|(topic, _)| !topic.partitions.is_empty()).unzip()
}

fn commit_topic(topic: &TopicImage, notes: &HashMap<i32, Note>) -> (CommitTopic, Vec<Basis>) {
    let exists = |partition: &PartitionIndex| topic.partition(*partition).is_some();
    let known =
        notes.iter().map(|(partition, note)| (PartitionIndex(*partition), note)).filter(|(partition, _)| exists(partition));
    let commit = |(partition, note): (PartitionIndex, &Note)| {
        let metadata = if note.basis.is_of_deliveries() { DELIVERED.to_owned() } else { String::new() };
        let commit = CommitPartition { partition, offset: note.offset, leader_epoch: LeaderEpoch::NONE, metadata };
        (commit, note.basis)
    };
    let (partitions, bases) = known.map(commit).unzip();
    (CommitTopic { name: topic.name.clone(), id: topic.id, partitions }, bases)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Place<'_> = Place { group: "g", topic: "t", partition: PartitionIndex(0) };

    fn note(noted: &Noted, offset: i64, basis: Basis) -> bool {
        noted.note(AT, Offset(offset), basis, || false)
    }

    fn drop_it(noted: &Noted) -> Dropped {
        noted.drop_partitions("g", [("t", PartitionIndex(0))].into_iter())
    }

    #[test]
    fn what_was_noted_is_dropped_and_comes_back_if_the_commit_fails() {
        let noted = Noted::default();
        assert!(note(&noted, 5, Basis::Always));
        assert!(!noted.note(AT, Offset(6), Basis::Always, || true), "held");
        let dropped = drop_it(&noted);
        assert_eq!((noted.find(AT), dropped.is_storing), (None, false));
        noted.restore("g", dropped);
        assert_eq!(noted.find(AT), Some((Offset(5), Basis::Always)));
        let dropped = noted.drop_group("g");
        assert!(note(&noted, 7, Basis::Always));
        noted.restore("g", dropped);
        assert_eq!(
            (noted.find(AT), noted.table.lock().count),
            (Some((Offset(7), Basis::Always)), 1),
            "what was noted since is newer"
        );
    }

    #[test]
    fn what_is_being_stored_is_found_and_waited_for() {
        let noted = Noted::default();
        note(&noted, 5, Basis::Always);
        noted.begin_storing();
        assert_eq!(noted.find(AT), Some((Offset(5), Basis::Always)));
        assert!(drop_it(&noted).is_storing && noted.drop_group("g").is_storing);
        noted.end_storing();
        assert_eq!((noted.find(AT), drop_it(&noted).is_storing), (None, false));
    }

    #[test]
    fn one_who_takes_the_group_to_be_elsewhere_is_not_heard() {
        let noted = Noted::default();
        assert!(note(&noted, 5, Basis::Unchanged(Some(Offset(4)))));
        assert!(note(&noted, 6, Basis::Unchanged(Some(Offset(5)))));
        assert_eq!(find(&noted.table.lock().groups, AT).unwrap().basis, Basis::Unchanged(Some(Offset(4))));
        assert!(!note(&noted, 9, Basis::Unchanged(Some(Offset(5)))));
        assert!(note(&noted, 1, Basis::Always));
        assert!(!note(&noted, 7, Basis::Unchanged(Some(Offset(6)))));
        assert_eq!(noted.find(AT), Some((Offset(1), Basis::Always)));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let noted = Noted::default();
        let at = |partition| Place { partition: PartitionIndex(partition), ..AT };
        assert!((0..NOTED_OFFSETS as i32).all(|partition| noted.note(at(partition), Offset(1), Basis::Always, || false)));
        assert!(!noted.note(at(NOTED_OFFSETS as i32), Offset(1), Basis::Always, || false));
        assert!(noted.note(at(7), Offset(2), Basis::Always, || false), "no further one");
    }
}
