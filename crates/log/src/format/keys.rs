//! A part of the key index: where in the log messages with a key are, for a range of positions.
//!
//! ```text
//! blocks of 4096 bytes, the last 4 of each the CRC32C of those before; the first one is the header
//!    0    8    magic "DUOLOGky"
//!    8    4    format version
//!   12    4    zero
//!   16    8    from: the part knows every key of frames that began at this position or later ...
//!   24    8    to: ... and before this one
//!   32    8    number of entries
//!   40 4052    zero
//! each further one 204 entries, ascending in hash, partition and offset; fewer in the last one, and zeros
//!    0    8    hash of the key
//!    8    4    partition number
//!   12    8    offset
//! ```
//! A block is checked when it is looked at, so that a search in a large part reads a few blocks only.

use super::{FORMAT_VERSION, checksum, field, put};

pub const BLOCK_BYTES: usize = 4096;
/// Where in a block its checksum lies.
const CRC_AT: usize = BLOCK_BYTES - 4;
const ENTRY_BYTES: usize = 20;
pub const BLOCK_ENTRIES: usize = CRC_AT / ENTRY_BYTES;
const MAGIC: [u8; 8] = *b"DUOLOGky";

/// A message has a key of this hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyEntry {
    pub hash: u64,
    pub partition: u32,
    pub offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysHeader {
    pub from: u64,
    pub to: u64,
    pub entries: u64,
}

/// Why bytes are not a part, or not all of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysProblem {
    Header,
    NewerVersion(u32),
    Length,
    Block,
    Order,
}

impl KeysProblem {
    pub fn describe(self) -> &'static str {
        match self {
            KeysProblem::Header => "header of a key index is damaged",
            KeysProblem::NewerVersion(_) => "key index was written by a newer version",
            KeysProblem::Length => "key index has another length than its header says",
            KeysProblem::Block => "entries of a key index are damaged",
            KeysProblem::Order => "entries of a key index are out of order",
        }
    }
}

/// The bytes of a part. The entries are ascending.
pub fn encode(from: u64, to: u64, entries: &[KeyEntry]) -> Vec<u8> {
    let blocks = 1 + entries.len().div_ceil(BLOCK_ENTRIES);
    let mut bytes = vec![0; blocks * BLOCK_BYTES];
    let (header, rest) = bytes.split_at_mut(BLOCK_BYTES);
    put(header, 0, &MAGIC);
    put(header, 8, &FORMAT_VERSION.to_le_bytes());
    put(header, 16, &from.to_le_bytes());
    put(header, 24, &to.to_le_bytes());
    put(header, 32, &(entries.len() as u64).to_le_bytes());
    seal_block(header);
    for (block, entries) in rest.chunks_exact_mut(BLOCK_BYTES).zip(entries.chunks(BLOCK_ENTRIES)) {
        for (slot, entry) in block.chunks_exact_mut(ENTRY_BYTES).zip(entries) {
            put(slot, 0, &entry.hash.to_le_bytes());
            put(slot, 8, &entry.partition.to_le_bytes());
            put(slot, 12, &entry.offset.to_le_bytes());
        }
        seal_block(block);
    }
    bytes
}

fn seal_block(block: &mut [u8]) {
    let crc = checksum(&block[..CRC_AT]);
    put(block, CRC_AT, &crc.to_le_bytes());
}

fn is_intact(block: &[u8]) -> bool {
    checksum(&block[..CRC_AT]) == u32::from_le_bytes(field(block, CRC_AT))
}

/// A part whose header is sound and fits its length.
#[derive(Clone, Copy, Debug)]
pub struct KeysView<'a> {
    blocks: &'a [u8],
    pub header: KeysHeader,
}

impl<'a> KeysView<'a> {
    pub fn check(bytes: &'a [u8]) -> Result<KeysView<'a>, KeysProblem> {
        let first: &[u8; BLOCK_BYTES] = bytes.first_chunk().ok_or(KeysProblem::Length)?;
        if !first.starts_with(&MAGIC) || !is_intact(first) {
            return Err(KeysProblem::Header);
        }
        let version = u32::from_le_bytes(field(first, 8));
        if version > FORMAT_VERSION {
            return Err(KeysProblem::NewerVersion(version));
        }
        let number = |at| u64::from_le_bytes(field(first, at));
        let header = KeysHeader { from: number(16), to: number(24), entries: number(32) };
        if header.from >= header.to {
            return Err(KeysProblem::Header);
        }
        let blocks = &bytes[BLOCK_BYTES..];
        let needed = header.entries.div_ceil(BLOCK_ENTRIES as u64).checked_mul(BLOCK_BYTES as u64);
        if needed != Some(blocks.len() as u64) {
            return Err(KeysProblem::Length);
        }
        Ok(KeysView { blocks, header })
    }

    /// Every entry with this hash, ascending in partition and offset.
    pub fn find(&self, hash: u64, found: &mut dyn FnMut(KeyEntry)) -> Result<(), KeysProblem> {
        let mut block = self.first_block_of(hash)?;
        while block < self.block_count() {
            for entry in self.block(block)? {
                match entry.hash.cmp(&hash) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => found(entry),
                    std::cmp::Ordering::Greater => return Ok(()),
                }
            }
            block += 1;
        }
        Ok(())
    }

    /// All entries, if every block is intact and they are in order.
    pub fn all(&self) -> Result<Vec<KeyEntry>, KeysProblem> {
        let mut all = Vec::with_capacity(self.header.entries as usize);
        for block in 0..self.block_count() {
            all.extend(self.block(block)?);
        }
        if all.is_sorted() { Ok(all) } else { Err(KeysProblem::Order) }
    }

    fn block_count(&self) -> usize {
        self.blocks.len() / BLOCK_BYTES
    }

    fn block(&self, number: usize) -> Result<impl Iterator<Item = KeyEntry> + use<'a>, KeysProblem> {
        let block = &self.blocks[number * BLOCK_BYTES..][..BLOCK_BYTES];
        if !is_intact(block) {
            return Err(KeysProblem::Block);
        }
        let entries = (self.header.entries as usize - number * BLOCK_ENTRIES).min(BLOCK_ENTRIES);
        Ok(block.chunks_exact(ENTRY_BYTES).take(entries).map(decode_entry))
    }

    /// The first block in which the hash can be.
    fn first_block_of(&self, hash: u64) -> Result<usize, KeysProblem> {
        let (mut low, mut high) = (0, self.block_count());
        // Hashes are spread evenly, so the block is near where it should be, and the way to it touches few pages of the file.
        let expected = ((u128::from(hash) * high as u128) >> u64::BITS) as usize;
        let reach = 1 + high.isqrt() / 8;
        for near in [expected.saturating_sub(reach), expected + reach] {
            if low < near && near < high {
                if self.begins_before(near, hash)? { low = near } else { high = near }
            }
        }
        // Blocks up to `low` begin before the hash, those from `high` on do not.
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if self.begins_before(middle, hash)? { low = middle } else { high = middle }
        }
        Ok(low)
    }

    fn begins_before(&self, block: usize, hash: u64) -> Result<bool, KeysProblem> {
        Ok(self.block(block)?.next().is_some_and(|first| first.hash < hash))
    }
}

fn decode_entry(bytes: &[u8]) -> KeyEntry {
    KeyEntry {
        hash: u64::from_le_bytes(field(bytes, 0)),
        partition: u32::from_le_bytes(field(bytes, 8)),
        offset: i64::from_le_bytes(field(bytes, 12)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(hash: u64, partition: u32, offset: i64) -> KeyEntry {
        KeyEntry { hash, partition, offset }
    }

    fn found(view: &KeysView<'_>, hash: u64) -> Vec<KeyEntry> {
        let mut found = Vec::new();
        view.find(hash, &mut |entry| found.push(entry)).unwrap();
        found
    }

    /// Hashes that are spread, and some that are all at one end.
    fn many(count: u64, spread: u64) -> Vec<KeyEntry> {
        let mut entries: Vec<_> =
            (0..count).map(|number| entry((number / 2).wrapping_mul(spread), number as u32 % 3, 7)).collect();
        entries.sort_unstable();
        entries
    }

    #[test]
    fn what_is_put_in_is_found_and_nothing_else() {
        for count in [0, 1, 2, 203, 204, 205, 5000] {
            for spread in [0, 1, 0x9e37_79b9_7f4a_7c15] {
                let entries = many(count, spread);
                let bytes = encode(64, 128, &entries);
                let view = KeysView::check(&bytes).unwrap();
                assert_eq!(view.all().unwrap(), entries);
                for number in (0..=count / 2).chain([u64::MAX]) {
                    let hash = number.wrapping_mul(spread);
                    let expected: Vec<_> = entries.iter().copied().filter(|entry| entry.hash == hash).collect();
                    assert_eq!(found(&view, hash), expected, "{hash:x} of {count} spread by {spread:x}");
                }
            }
        }
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let sound = encode(64, 128, &many(300, 0x9e37_79b9_7f4a_7c15));
        for at in (0..64).chain((64..sound.len()).step_by(5)).chain([BLOCK_BYTES - 1, 2 * BLOCK_BYTES - 1]) {
            let mut bytes = sound.clone();
            bytes[at] ^= 4;
            assert!(KeysView::check(&bytes).and_then(|view| view.all()).is_err(), "byte {at}");
        }
        for length in [0, 40, BLOCK_BYTES, sound.len() - 1] {
            assert!(KeysView::check(&sound[..length]).is_err());
        }
    }
}
