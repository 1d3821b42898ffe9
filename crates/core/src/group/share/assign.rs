//! Sharing partitions out among the members of a share group. Pure.
//!
//! Each partition gets a member, and each member a partition of what it subscribes to: with more members than partitions several members
//! read one. Loads differ by one at the most where all subscribe to the same topics, and a member keeps what it has as far as that allows.

use super::request::ShareAssignment;
use duolog_base::{PartitionIndex, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Partition = (TopicId, PartitionIndex);

/// Everybody's share. `wishes` are the members with the topics they subscribe to, `current` what they had.
pub(super) fn share_out(
    partitions: &ShareAssignment,
    wishes: &BTreeMap<Arc<str>, BTreeSet<TopicId>>,
    current: &BTreeMap<Arc<str>, ShareAssignment>,
) -> BTreeMap<Arc<str>, ShareAssignment> {
    let mut hand = Hand::new(partitions, wishes, current);
    hand.keep();
    hand.give();
    hand.join_others();
    hand.shares.into_iter().map(|(member, share)| (member.clone(), grouped(&share))).collect()
}

struct Hand<'a> {
    wishes: &'a BTreeMap<Arc<str>, BTreeSet<TopicId>>,
    current: BTreeMap<&'a Arc<str>, BTreeSet<Partition>>,
    /// How many members read each partition.
    readers: BTreeMap<Partition, usize>,
    shares: BTreeMap<&'a Arc<str>, BTreeSet<Partition>>,
}

impl<'a> Hand<'a> {
    fn new(
        partitions: &ShareAssignment,
        wishes: &'a BTreeMap<Arc<str>, BTreeSet<TopicId>>,
        current: &BTreeMap<Arc<str>, ShareAssignment>,
    ) -> Hand<'a> {
        let readers: BTreeMap<Partition, usize> = flat(partitions).map(|partition| (partition, 0)).collect();
        let had = |member: &Arc<str>, topics: &BTreeSet<TopicId>| {
            let had = current.get(member).into_iter().flat_map(flat);
            had.filter(|partition| readers.contains_key(partition) && topics.contains(&partition.0)).collect()
        };
        Hand {
            current: wishes.iter().map(|(member, topics)| (member, had(member, topics))).collect(),
            shares: wishes.keys().map(|member| (member, BTreeSet::new())).collect(),
            wishes,
            readers,
        }
    }

    /// Members keep as much of what they have as an even share allows; those that have most keep what is over.
    fn keep(&mut self) {
        let choosers = self.wishes.values().filter(|topics| !topics.is_empty()).count().max(1);
        let (even, mut over) = (self.readers.len() / choosers, self.readers.len() % choosers);
        let mut members: Vec<&Arc<str>> = self.wishes.keys().collect();
        members.sort_by_key(|member| std::cmp::Reverse(self.current[*member].len()));
        for member in members {
            let most = even + usize::from(over > 0);
            let free = self.current[member].iter().filter(|partition| self.readers[*partition] == 0);
            let kept: Vec<Partition> = free.take(most).copied().collect();
            over -= usize::from(kept.len() > even);
            kept.into_iter().for_each(|partition| self.put(member, partition));
        }
    }

    /// What nobody reads goes to whoever has least of those who want it.
    fn give(&mut self) {
        let unread: Vec<Partition> = self.readers.iter().filter(|(_, readers)| **readers == 0).map(|(one, _)| *one).collect();
        for partition in unread {
            let takers = self.wishes.iter().filter(|(_, topics)| topics.contains(&partition.0));
            if let Some((member, _)) = takers.min_by_key(|(member, _)| self.shares[*member].len()) {
                self.put(member, partition);
            }
        }
    }

    /// Who has nothing reads with others: what it read before unless that is crowded, else what has fewest readers.
    fn join_others(&mut self) {
        let idle: Vec<&Arc<str>> = self.wishes.keys().filter(|member| self.shares[*member].is_empty()).collect();
        let crowd = self.wishes.len().div_ceil(self.readers.len().max(1));
        let mut strangers = Vec::new();
        for member in idle {
            match self.current[member].iter().find(|partition| self.readers[*partition] < crowd).copied() {
                Some(partition) => self.put(member, partition),
                None => strangers.push(member),
            }
        }
        for member in strangers {
            let topics = &self.wishes[member];
            let wanted = self.readers.iter().filter(|(partition, _)| topics.contains(&partition.0));
            if let Some(partition) = wanted.min_by_key(|(_, readers)| **readers).map(|(partition, _)| *partition) {
                self.put(member, partition);
            }
        }
    }

    fn put(&mut self, member: &Arc<str>, partition: Partition) {
        if let (Some(share), Some(readers)) = (self.shares.get_mut(member), self.readers.get_mut(&partition)) {
            share.insert(partition);
            *readers += 1;
        }
    }
}

fn flat(partitions: &ShareAssignment) -> impl Iterator<Item = Partition> {
    partitions.iter().flat_map(|(topic, indexes)| indexes.iter().map(move |index| (*topic, *index)))
}

fn grouped(partitions: &BTreeSet<Partition>) -> ShareAssignment {
    let mut grouped = ShareAssignment::new();
    for (topic, index) in partitions {
        grouped.entry(*topic).or_default().insert(*index);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: TopicId = TopicId(1);
    const SECOND: TopicId = TopicId(2);

    fn partitions(topics: &[(TopicId, i32)]) -> ShareAssignment {
        topics.iter().map(|(id, count)| (*id, (0..*count).map(PartitionIndex).collect())).collect()
    }

    fn wishes(count: usize, topics: &[TopicId]) -> BTreeMap<Arc<str>, BTreeSet<TopicId>> {
        (0..count).map(|at| (Arc::from(format!("m{at}")), topics.iter().copied().collect())).collect()
    }

    fn load(share: &ShareAssignment) -> usize {
        share.values().map(BTreeSet::len).sum()
    }

    /// Loads, and how many read each partition, both in rising order.
    fn shape(target: &BTreeMap<Arc<str>, ShareAssignment>) -> (Vec<usize>, Vec<usize>) {
        let mut readers: BTreeMap<Partition, usize> = BTreeMap::new();
        target.values().flat_map(flat).for_each(|partition| *readers.entry(partition).or_default() += 1);
        let (mut loads, mut readers): (Vec<_>, Vec<_>) = (target.values().map(load).collect(), readers.into_values().collect());
        loads.sort_unstable();
        readers.sort_unstable();
        (loads, readers)
    }

    /// How many partitions changed hands to members that did not have them.
    fn moved(before: &BTreeMap<Arc<str>, ShareAssignment>, after: &BTreeMap<Arc<str>, ShareAssignment>) -> usize {
        let had = |member: &Arc<str>, partition: &Partition| {
            before.get(member).is_some_and(|had| flat(had).any(|one| one == *partition))
        };
        after.iter().map(|(member, share)| flat(share).filter(|partition| !had(member, partition)).count()).sum()
    }

    #[test]
    fn every_partition_is_read_and_every_member_has_something() {
        for (members, count) in [(1, 5), (2, 5), (3, 4), (4, 4), (5, 2), (7, 3), (10, 1)] {
            let target = share_out(&partitions(&[(FIRST, count)]), &wishes(members, &[FIRST]), &BTreeMap::new());
            let (loads, readers) = shape(&target);
            assert_eq!(readers.len(), count as usize, "{members} members, {count} partitions");
            for counts in [&loads, &readers] {
                assert!(
                    counts[0] >= 1 && counts[counts.len() - 1] - counts[0] <= 1,
                    "{members} members, {count} partitions: {counts:?}"
                );
            }
        }
    }

    #[test]
    fn members_keep_what_they_have() {
        let topic = partitions(&[(FIRST, 6)]);
        let two = share_out(&topic, &wishes(2, &[FIRST]), &BTreeMap::new());
        let three = share_out(&topic, &wishes(3, &[FIRST]), &two);
        assert_eq!((shape(&three).0, moved(&two, &three)), (vec![2, 2, 2], 2));
        assert_eq!(share_out(&topic, &wishes(3, &[FIRST]), &three), three);
        let back = share_out(&topic, &wishes(2, &[FIRST]), &three);
        assert_eq!((shape(&back).0, moved(&three, &back)), (vec![3, 3], 2));
        let one = partitions(&[(FIRST, 2)]);
        let crowded = share_out(&one, &wishes(5, &[FIRST]), &BTreeMap::new());
        assert_eq!(moved(&crowded, &share_out(&one, &wishes(6, &[FIRST]), &crowded)), 1);
    }

    #[test]
    fn members_are_given_what_they_subscribe_to() {
        let mut wishes = wishes(2, &[FIRST, SECOND]);
        wishes.insert(Arc::from("only-second"), BTreeSet::from([SECOND]));
        wishes.insert(Arc::from("nothing"), BTreeSet::new());
        let target = share_out(&partitions(&[(FIRST, 2), (SECOND, 2)]), &wishes, &BTreeMap::new());
        assert_eq!(target["nothing"], ShareAssignment::new());
        assert!(!target["only-second"].is_empty() && target["only-second"].keys().all(|topic| *topic == SECOND));
        assert_eq!(shape(&target).1.len(), 4, "nothing is left unread: {target:?}");
    }
}
