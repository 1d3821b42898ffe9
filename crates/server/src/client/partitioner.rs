//! Which partition a record with a key goes to: the same as with Kafka's own producers, so that records of one key
//! stay together whoever sends them. The hash is MurmurHash2 (32 bits, Kafka's seed), masked to be positive.

use duolog_base::PartitionIndex;

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// The partition of `key` among `partitions`, which is at least one.
pub fn partition_for_key(key: &[u8], partitions: usize) -> PartitionIndex {
    assert!(partitions > 0, "a topic has a partition");
    let positive = murmur2(key) & 0x7fff_ffff;
    PartitionIndex((u64::from(positive) % partitions as u64) as i32)
}

fn murmur2(data: &[u8]) -> u32 {
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    for (index, byte) in tail.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !tail.is_empty() {
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::murmur2;

    #[test]
    fn the_hash_is_kafkas() {
        // Values of Kafka's Utils.murmur2, as its clients in other languages test them.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }
}
