//! The keys of records that are not done with, by which order is kept. Decides only; called by [`super::pick`].

use super::OffsetRange;
use duolog_base::Offset;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};

/// What stands for a record's key. Keys that are alike have the same; others may, and wait for each other then.
pub type KeyHash = u64;

/// What stands for a key within this process.
pub fn key_hash(key: &[u8]) -> KeyHash {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    by_offset: BTreeMap<Offset, KeyHash>,
    by_key: HashMap<KeyHash, BTreeSet<Offset>>,
}

impl Keys {
    pub(super) fn add(&mut self, offset: Offset, key: KeyHash) {
        self.by_offset.insert(offset, key);
        self.by_key.entry(key).or_default().insert(offset);
    }

    /// Whether a record of this key lies behind `after`, or anywhere without one, and before `before`.
    pub(super) fn has_between(&self, key: KeyHash, after: Option<Offset>, before: Offset) -> bool {
        let from = after.map_or(Offset(i64::MIN), |after| after.plus(1));
        from < before && self.by_key.get(&key).is_some_and(|offsets| offsets.range(from..before).next().is_some())
    }

    /// These records are done with. Whether others of their keys are left.
    pub(super) fn remove(&mut self, range: OffsetRange) -> bool {
        let gone: Vec<(Offset, KeyHash)> =
            self.by_offset.range(range.first..=range.last).map(|(offset, key)| (*offset, *key)).collect();
        let mut leaves_others = false;
        for (offset, key) in gone {
            self.by_offset.remove(&offset);
            if let Some(offsets) = self.by_key.get_mut(&key) {
                offsets.remove(&offset);
                leaves_others |= !offsets.is_empty();
                if offsets.is_empty() {
                    self.by_key.remove(&key);
                }
            }
        }
        leaves_others
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (Offset, KeyHash)> {
        self.by_offset.iter().map(|(offset, key)| (*offset, *key))
    }

    /// Everything below is done with, as [`Keys::remove`] has it.
    pub(super) fn remove_below(&mut self, start: Offset) -> bool {
        self.remove(OffsetRange { first: Offset(i64::MIN), last: start.plus(-1) })
    }
}
