//! Makes one input out of others: flips, splices, truncations and edits of what may be a length or a count.
//!
//! The same seed gives the same input on every machine.

use duolog_sim::Random;

/// Most changes made to one input.
const MOST_CHANGES: u64 = 6;
/// Longest run that is inserted, removed or repeated, in bytes.
const MOST_RUN_BYTES: u64 = 64;

/// Values at which lengths, counts and offsets go wrong.
const EDGES: [i64; 14] = [
    0,
    1,
    -1,
    -2,
    i8::MAX as i64,
    i8::MIN as i64,
    i16::MAX as i64,
    i16::MIN as i64,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    i64::MAX,
    i64::MIN,
    1 << 20,
];

/// A damaged copy of `input`, or a mixture of it and `other`, of at most `most` bytes.
pub fn mutate(random: &mut Random, input: &[u8], other: &[u8], most: usize) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(MOST_CHANGES) {
        change(random, &mut bytes, other);
    }
    bytes.truncate(most);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    if bytes.is_empty() {
        return bytes.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    let at = random.below(bytes.len() as u64) as usize;
    let run = (1 + random.below(MOST_RUN_BYTES) as usize).min(bytes.len() - at);
    match random.below(12) {
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = random.next_u64() as u8,
        3 | 4 => overwrite(random, bytes, at),
        5 => bytes[at] = bytes[at].wrapping_add_signed(random.pick(&[-1, 1, 2, -2, 16])),
        6 => bytes.truncate(at),
        7 => drop(bytes.drain(at..at + run)),
        8 => {
            let repeated = bytes[at..at + run].repeat(1 + random.below(4) as usize);
            bytes.splice(at..at, repeated);
        }
        9 => {
            let noise: Vec<u8> = (0..run).map(|_| random.next_u64() as u8).collect();
            bytes.splice(at..at, noise);
        }
        10 => varint(random, bytes, at),
        _ => splice(random, bytes, at, other),
    }
}

/// Writes an edge, in either byte order, over one, two, four or eight bytes.
fn overwrite(random: &mut Random, bytes: &mut [u8], at: usize) {
    let edge = random.pick(&EDGES);
    let size = random.pick(&[1usize, 2, 4, 4, 8]).min(bytes.len() - at);
    match random.chance(1, 2) {
        true => bytes[at..at + size].copy_from_slice(&edge.to_be_bytes()[8 - size..]),
        false => bytes[at..at + size].copy_from_slice(&edge.to_le_bytes()[..size]),
    }
}

/// Puts a varint of up to five bytes in place of one byte.
fn varint(random: &mut Random, bytes: &mut Vec<u8>, at: usize) {
    let mut value = random.pick(&EDGES) as u64 & u64::from(u32::MAX);
    let mut encoded = Vec::new();
    while value >= 0x80 {
        encoded.push(value as u8 | 0x80);
        value >>= 7;
    }
    encoded.push(value as u8);
    bytes.splice(at..=at, encoded);
}

/// Goes on with the rest of `other` from somewhere, or takes a run of it in.
fn splice(random: &mut Random, bytes: &mut Vec<u8>, at: usize, other: &[u8]) {
    let from = random.below(other.len() as u64 + 1) as usize;
    let rest = &other[from..];
    match random.chance(1, 2) {
        true => {
            bytes.truncate(at);
            bytes.extend_from_slice(rest);
        }
        false => {
            let run = rest.len().min(MOST_RUN_BYTES as usize);
            bytes.splice(at..at, rest[..run].iter().copied());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs_of_bounded_size() {
        let run = |seed| {
            let mut random = Random::new(seed);
            (0..500).map(|_| mutate(&mut random, b"an input", b"another one", 32)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(1).iter().all(|input| input.len() <= 32));
    }
}
