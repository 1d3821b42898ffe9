//! Offsets in ranges, each range with what holds of all its offsets. Ranges never overlap, and neighbours that are equal are one.
//!
//! Used for what a leader knows of the records it has delivered, and for what is stored of them.

use duolog_base::Offset;
use std::collections::BTreeMap;

/// Offsets from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    pub first: Offset,
    pub last: Offset,
}

impl OffsetRange {
    /// How many offsets there are.
    pub fn count(self) -> i64 {
        self.last.0 - self.first.0 + 1
    }
}

/// A value for ranges of offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ranges<V> {
    /// By its first offset: the last one, and the value.
    map: BTreeMap<i64, (i64, V)>,
}

impl<V> Default for Ranges<V> {
    fn default() -> Ranges<V> {
        Ranges { map: BTreeMap::new() }
    }
}

impl<V: Clone + PartialEq> Ranges<V> {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (OffsetRange, &V)> {
        self.map.iter().map(|(first, (last, value))| (OffsetRange { first: Offset(*first), last: Offset(*last) }, value))
    }

    /// The first range and its value.
    pub(super) fn first(&self) -> Option<(OffsetRange, &V)> {
        self.iter().next()
    }

    /// The last offset that has a value.
    pub(super) fn last(&self) -> Option<Offset> {
        self.map.last_key_value().map(|(_, (last, _))| Offset(*last))
    }

    /// The parts of `range` that have a value, in order.
    pub(super) fn within(&self, range: OffsetRange) -> impl Iterator<Item = (OffsetRange, &V)> {
        let (from, to) = (range.first.0, range.last.0);
        let begin = self.map.range(..=from).next_back().map_or(from, |(first, _)| *first);
        let touched = self.map.range(begin..=to).filter(move |(first, (last, _))| *last >= from && **first <= to);
        touched.map(move |(first, (last, value))| {
            (OffsetRange { first: Offset((*first).max(from)), last: Offset((*last).min(to)) }, value)
        })
    }

    /// Gives all of `range` the value.
    pub(super) fn set(&mut self, range: OffsetRange, value: V) {
        assert!(range.first <= range.last, "a range has offsets");
        self.remove(range);
        let (mut first, mut last) = (range.first.0, range.last.0);
        if let Some((before, (end, known))) = self.map.range(..first).next_back()
            && *end == first - 1
            && *known == value
        {
            first = *before;
        }
        if let Some((end, known)) = self.map.get(&(last + 1))
            && *known == value
        {
            let (after, end) = (last + 1, *end);
            self.map.remove(&after);
            last = end;
        }
        self.map.insert(first, (last, value));
    }

    /// Gives each part of `range` what `change` makes of the value it had, if any.
    pub(super) fn update(&mut self, range: OffsetRange, mut change: impl FnMut(Option<&V>) -> V) {
        let mut changed = Vec::new();
        let mut next = range.first;
        for (part, value) in self.within(range) {
            if next < part.first {
                changed.push((OffsetRange { first: next, last: part.first.plus(-1) }, change(None)));
            }
            changed.push((part, change(Some(value))));
            next = part.last.plus(1);
        }
        if next <= range.last {
            changed.push((OffsetRange { first: next, last: range.last }, change(None)));
        }
        changed.into_iter().for_each(|(part, value)| self.set(part, value));
    }

    /// Takes the value away from all of `range`.
    pub(super) fn remove(&mut self, range: OffsetRange) {
        self.cut(range.first.0);
        self.cut(range.last.0 + 1);
        let gone: Vec<i64> = self.map.range(range.first.0..=range.last.0).map(|(first, _)| *first).collect();
        for first in gone {
            self.map.remove(&first);
        }
    }

    /// Takes the value away from everything before `start`.
    pub(super) fn remove_below(&mut self, start: Offset) {
        self.cut(start.0);
        self.map = self.map.split_off(&start.0);
    }

    /// Makes a range begin at `at`, if one covers it.
    fn cut(&mut self, at: i64) {
        if let Some((_, (last, value))) = self.map.range_mut(..at).next_back()
            && *last >= at
        {
            let behind = (*last, value.clone());
            *last = at - 1;
            self.map.insert(at, behind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(first: i64, last: i64) -> OffsetRange {
        OffsetRange { first: Offset(first), last: Offset(last) }
    }

    fn listed(ranges: &Ranges<u8>) -> Vec<(i64, i64, u8)> {
        ranges.iter().map(|(range, value)| (range.first.0, range.last.0, *value)).collect()
    }

    #[test]
    fn equal_neighbours_are_one_range_and_what_is_overwritten_is_split() {
        let mut ranges = Ranges::default();
        ranges.set(range(0, 9), 1);
        ranges.set(range(10, 19), 1);
        assert_eq!(listed(&ranges), [(0, 19, 1)]);
        ranges.set(range(5, 6), 2);
        assert_eq!(listed(&ranges), [(0, 4, 1), (5, 6, 2), (7, 19, 1)]);
        ranges.set(range(5, 6), 1);
        assert_eq!(listed(&ranges), [(0, 19, 1)]);
        ranges.remove_below(Offset(3));
        ranges.remove(range(8, 30));
        assert_eq!(listed(&ranges), [(3, 7, 1)]);
    }

    #[test]
    fn an_update_sees_what_is_there_and_what_is_missing() {
        let mut ranges = Ranges::default();
        ranges.set(range(3, 4), 7);
        ranges.update(range(0, 9), |value| value.map_or(1, |value| value + 1));
        assert_eq!(listed(&ranges), [(0, 2, 1), (3, 4, 8), (5, 9, 1)]);
    }

    proptest! {
        /// Against one value for each offset.
        #[test]
        fn ranges_are_as_offsets_would_be(steps in prop::collection::vec((0..4u8, 0..40i64, 0..12i64, 0..3u8), 0..60)) {
            let mut ranges = Ranges::default();
            let mut naive: BTreeMap<i64, u8> = BTreeMap::new();
            for (what, first, length, value) in steps {
                let (all, last) = (range(first, first + length), first + length);
                match what {
                    0 => {
                        ranges.set(all, value);
                        naive.extend((first..=last).map(|at| (at, value)));
                    }
                    1 => {
                        ranges.update(all, |known| known.map_or(value, |known| known.wrapping_add(1)));
                        for at in first..=last {
                            let known = naive.get(&at).map_or(value, |known| known.wrapping_add(1));
                            naive.insert(at, known);
                        }
                    }
                    2 => {
                        ranges.remove(all);
                        naive.retain(|at, _| !(first..=last).contains(at));
                    }
                    _ => {
                        ranges.remove_below(Offset(first / 2));
                        naive.retain(|at, _| *at >= first / 2);
                    }
                }
                let each = |(range, value): (OffsetRange, &u8)| (range.first.0..=range.last.0).map(|at| (at, *value)).collect::<Vec<_>>();
                let spread: Vec<(i64, u8)> = ranges.iter().flat_map(each).collect();
                prop_assert_eq!(&spread, &naive.clone().into_iter().collect::<Vec<_>>());
                let part: Vec<(i64, u8)> = ranges.within(all).flat_map(each).collect();
                prop_assert_eq!(part, naive.range(first..=last).map(|(at, value)| (*at, *value)).collect::<Vec<_>>());
                let listed = listed(&ranges);
                prop_assert!(listed.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0 || pair[0].2 != pair[1].2));
                prop_assert_eq!(ranges.last().map(|last| last.0), naive.keys().next_back().copied());
            }
        }
    }
}
