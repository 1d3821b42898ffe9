//! The four codecs: what they yield and hold stays within the limits given, and what was packed comes back.

use crate::memory::{FREE_BYTES, within};
use duolog_wire::record::{Compression, DecompressLimits, compress, decompress};

/// Small, so that a run is quick; the rules are the same at any size.
pub(super) const LIMITS: DecompressLimits = DecompressLimits { max_bytes: 2 << 20, max_ratio: 100, free_bytes: 512 << 10 };

/// What a decoder may hold beside its output: an lz4 block of 4 MiB, twice, with the window before it.
const CODEC_BYTES: usize = 9 << 20;
/// Bytes asked of a decoder at a time, by which the limit can be passed before it is noticed.
const CHUNK_BYTES: usize = 64 << 10;

/// Bytes that unpacking `input_bytes` may hold at once. The output grows by doubling.
pub(super) fn most_held(input_bytes: usize) -> usize {
    2 * (most_yielded(input_bytes) + CHUNK_BYTES) + CODEC_BYTES + FREE_BYTES
}

fn most_yielded(input_bytes: usize) -> usize {
    (input_bytes * LIMITS.max_ratio).clamp(LIMITS.free_bytes, LIMITS.max_bytes)
}

/// The codec, then what it should unpack.
pub(super) fn run(input: &[u8]) {
    let Some((id, packed)) = input.split_first() else { return };
    let codec = Compression::ALL[usize::from(*id) % Compression::ALL.len()];
    let mut out = Vec::new();
    let unpacked = within(most_held(packed.len()), || decompress(codec, packed, LIMITS, &mut out));
    if unpacked.is_err() {
        return;
    }
    if codec != Compression::None {
        assert!(out.len() <= most_yielded(packed.len()), "{} bytes of {}", out.len(), packed.len());
    }
    let mut again = Vec::new();
    compress(codec, None, &out, &mut again).expect("anything can be packed");
    let roomy = DecompressLimits { max_bytes: out.len(), max_ratio: usize::MAX, free_bytes: out.len() };
    let mut back = Vec::new();
    decompress(codec, &again, roomy, &mut back).expect("what was packed can be unpacked");
    assert!(back == out, "what comes back is not what was packed");
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let text: Vec<u8> =
        (0..4_000u32).map(|number| b"the same and the same again "[number as usize % 28] ^ (number / 900) as u8).collect();
    let mut seeds = Vec::new();
    for codec in Compression::ALL {
        for content in [&text[..], &text[..20], &[0; 100_000], b""] {
            let mut seed = vec![codec as u8];
            compress(codec, None, content, &mut seed).expect("anything can be packed");
            seeds.push(seed);
        }
    }
    // Snappy without the framing of the Java library.
    seeds.push([&[Compression::Snappy as u8, 5, 4 << 2][..], b"plain"].concat());
    seeds
}
