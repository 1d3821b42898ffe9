//! The newest offset of each key in the dirty part of a partition, in bounded memory.
//!
//! An open-addressed table of 24-byte entries: a 128-bit hash of the key and the offset. Keys are told apart by their hash
//! alone, so it is a keyed one: with a key that producers do not know nobody can choose two record keys that collide (which
//! would lose the older of the two), and by chance two of a billion keys collide with a probability of 1 in 10^20.
//!
//! One map serves one pass: [`super::KeyScan`] fills it, [`super::Cleaner`] asks it.

use duolog_base::Offset;
use siphasher::sip128::SipHasher24;

/// Hash (two words), then the offset plus one; all zero is an empty entry.
type Entry = [u64; 3];

/// The table is full when this part of it is taken: past it, looking for absent keys becomes slow.
const MAX_LOAD_NUMERATOR: usize = 3;
const MAX_LOAD_DENOMINATOR: usize = 4;
/// Smallest table; one key must fit.
const MIN_SLOTS: usize = 4;

/// Key of the hash. The caller draws it at random.
#[derive(Clone, Copy, Debug)]
pub struct HashKey(pub [u64; 2]);

/// There is no room for one more key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the map holds its {keys} keys already")]
pub struct MapFull {
    pub keys: usize,
}

/// Newest offset of each key; see the head of this file.
pub struct OffsetMap {
    entries: Vec<Entry>,
    keys: usize,
    most_keys: usize,
    hasher: SipHasher24,
    end: Offset,
}

impl OffsetMap {
    /// Memory that one key takes when the map is not full.
    pub const ENTRY_BYTES: usize = size_of::<Entry>();

    /// A map that takes at most `memory_bytes` (or four entries, if that is more), and not more than `expected_keys` need: the
    /// number of offsets in the dirty part is a good bound.
    pub fn new(memory_bytes: usize, expected_keys: u64, key: HashKey) -> OffsetMap {
        let needed = expected_keys.saturating_mul(MAX_LOAD_DENOMINATOR as u64) / MAX_LOAD_NUMERATOR as u64 + 1;
        let slots = (memory_bytes / Self::ENTRY_BYTES).min(usize::try_from(needed).unwrap_or(usize::MAX)).max(MIN_SLOTS);
        OffsetMap {
            entries: vec![[0; 3]; slots],
            keys: 0,
            most_keys: slots / MAX_LOAD_DENOMINATOR * MAX_LOAD_NUMERATOR
                + slots % MAX_LOAD_DENOMINATOR * MAX_LOAD_NUMERATOR / MAX_LOAD_DENOMINATOR,
            hasher: SipHasher24::new_with_keys(key.0[0], key.0[1]),
            end: Offset(0),
        }
    }

    /// Notes that `key` was written at `offset`. Later calls for a key come with higher offsets.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) -> Result<(), MapFull> {
        let (slot, hash) = self.find(key);
        let entry = &mut self.entries[slot];
        if entry[2] == 0 {
            if self.keys == self.most_keys {
                return Err(MapFull { keys: self.keys });
            }
            self.keys += 1;
        }
        *entry = [hash[0], hash[1], offset.0 as u64 + 1];
        Ok(())
    }

    /// Newest offset of `key` in the part that was scanned.
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        let (slot, _) = self.find(key);
        self.entries[slot][2].checked_sub(1).map(|offset| Offset(offset as i64))
    }

    /// The entry of the key, or the empty one where it belongs. There always is one, since the table is never filled.
    fn find(&self, key: &[u8]) -> (usize, [u64; 2]) {
        let hash = self.hasher.hash(key);
        let hash = [hash.h1, hash.h2];
        let mut slot = ((u128::from(hash[0]) * self.entries.len() as u128) >> u64::BITS) as usize;
        loop {
            let entry = &self.entries[slot];
            if entry[2] == 0 || entry[..2] == hash {
                return (slot, hash);
            }
            slot = if slot + 1 == self.entries.len() { 0 } else { slot + 1 };
        }
    }

    /// Number of different keys.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Memory of the table.
    pub fn memory_bytes(&self) -> usize {
        self.entries.len() * Self::ENTRY_BYTES
    }

    /// First offset the scan did not cover. Records from here on are not touched, and the next pass is dirty from here.
    pub fn end(&self) -> Offset {
        self.end
    }

    pub(super) fn set_end(&mut self, end: Offset) {
        self.end = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HashKey = HashKey([1, 2]);

    #[test]
    fn the_newest_offset_of_a_key_is_found() {
        let mut map = OffsetMap::new(1 << 20, 1_000, KEY);
        for offset in 0..1_000 {
            map.put(&[(offset % 300) as u8, (offset % 300 / 256) as u8], Offset(offset)).unwrap();
        }
        assert_eq!(map.keys(), 300);
        for key in 0..300i64 {
            let newest = if key < 100 { 900 + key } else { 600 + key };
            assert_eq!(map.get(&[key as u8, (key / 256) as u8]), Some(Offset(newest)));
        }
        assert_eq!((map.get(b"absent"), map.get(b"")), (None, None));
    }

    #[test]
    fn memory_is_bounded_by_the_limit_and_by_the_need() {
        assert!(OffsetMap::new(128 << 20, 10, KEY).memory_bytes() < 512);
        assert!(OffsetMap::new(4_800, u64::MAX, KEY).memory_bytes() <= 4_800);
    }

    #[test]
    fn a_full_map_refuses_new_keys_and_takes_known_ones() {
        let mut map = OffsetMap::new(0, 0, KEY);
        assert_eq!(map.memory_bytes(), MIN_SLOTS * OffsetMap::ENTRY_BYTES);
        for key in [b"a", b"b", b"c"] {
            map.put(key, Offset(0)).unwrap();
        }
        assert_eq!(map.put(b"d", Offset(1)), Err(MapFull { keys: 3 }));
        assert_eq!(map.put(b"a", Offset(2)), Ok(()));
        assert_eq!((map.get(b"a"), map.get(b"b"), map.get(b"d")), (Some(Offset(2)), Some(Offset(0)), None));
    }

    #[test]
    fn as_many_keys_fit_as_were_expected() {
        for expected in [1, 2, 3, 5, 17, 1_000] {
            let mut map = OffsetMap::new(1 << 20, expected, KEY);
            for key in 0..expected {
                map.put(&key.to_be_bytes(), Offset(key as i64)).unwrap();
            }
        }
    }
}
