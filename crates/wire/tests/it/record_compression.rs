//! Codecs alone: foreign framings, damage, and data that grows without end.

use duolog_wire::record::{Compression, CompressionError, DecompressLimits, compress, decompress};

const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn pack(codec: Compression, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(codec, None, input, &mut out).unwrap();
    out
}

fn unpack(codec: Compression, input: &[u8], limits: DecompressLimits) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    decompress(codec, input, limits, &mut out).map(|()| out)
}

#[test]
fn names_and_numbers_are_kafkas() {
    for (id, name) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let codec = Compression::from_id(id as u8).unwrap();
        assert_eq!((codec as usize, codec.name(), Compression::from_name(name)), (id, name, Some(codec)));
    }
    assert_eq!((Compression::from_id(5), Compression::from_name("brotli")), (None, None));
}

#[test]
fn every_level_round_trips_and_levels_out_of_range_are_clamped() {
    let input = b"level".repeat(10_000);
    for codec in CODECS {
        for level in [None, Some(-100), Some(1), Some(9), Some(19), Some(1_000)] {
            let mut packed = Vec::new();
            compress(codec, level, &input, &mut packed).unwrap();
            assert!(packed.len() < input.len() / 2, "{codec:?} {level:?}");
            assert!(unpack(codec, &packed, DecompressLimits::default()).unwrap() == input, "{codec:?} {level:?}");
        }
        assert_eq!(unpack(codec, &pack(codec, b""), DecompressLimits::default()).unwrap(), b"");
    }
}

#[test]
fn bombs_are_refused_by_size_and_by_ratio() {
    let bomb = vec![0; 8 << 20];
    let by_size = DecompressLimits { max_bytes: 1 << 20, max_ratio: 1_000_000, free_bytes: usize::MAX };
    let by_ratio = DecompressLimits { max_bytes: usize::MAX, max_ratio: 2, free_bytes: 1 << 10 };
    for codec in CODECS {
        let packed = pack(codec, &bomb);
        assert!(packed.len() < bomb.len() / 10);
        assert_eq!(unpack(codec, &packed, by_size).map(|data| data.len()), Err(CompressionError::TooLarge { limit: 1 << 20 }));
        assert_eq!(
            unpack(codec, &packed, by_ratio).map(|data| data.len()),
            Err(CompressionError::TooLarge { limit: (packed.len() * 2).max(by_ratio.free_bytes) })
        );
        let exact = DecompressLimits { max_bytes: bomb.len(), max_ratio: 1_000_000, free_bytes: 0 };
        assert_eq!(unpack(codec, &packed, exact).unwrap().len(), bomb.len());
    }
    assert_eq!(unpack(Compression::None, &bomb, by_size), Err(CompressionError::TooLarge { limit: 1 << 20 }));
}

#[test]
fn a_bomb_that_is_refused_never_took_much_memory() {
    let packed = pack(Compression::Zstd, &vec![0; 64 << 20]);
    let limits = DecompressLimits { max_bytes: 1 << 20, ..DecompressLimits::default() };
    let mut out = Vec::new();
    decompress(Compression::Zstd, &packed, limits, &mut out).unwrap_err();
    assert!(out.capacity() < 4 << 20);
}

#[test]
fn snappy_is_read_with_and_without_the_java_framing() {
    let input = b"snappy ".repeat(20_000);
    let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert_eq!(unpack(Compression::Snappy, &raw, DecompressLimits::default()).unwrap(), input);
    let framed = pack(Compression::Snappy, &input);
    assert!(framed.starts_with(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"));
    assert_eq!(unpack(Compression::Snappy, &framed, DecompressLimits::default()).unwrap(), input);
}

#[test]
fn the_old_frames_of_lz4_are_refused() {
    let block = lz4_flex::block::compress(&b"lz4 ".repeat(1_000));
    let framed = [&[0x02, 0x21, 0x4c, 0x18][..], &(block.len() as u32).to_le_bytes(), &block].concat();
    let refused = CompressionError::Corrupt { codec: Compression::Lz4 };
    assert_eq!(unpack(Compression::Lz4, &framed, DecompressLimits::default()), Err(refused));
}

#[test]
fn a_snappy_length_that_the_data_cannot_reach_is_refused_before_it_is_allocated() {
    // 64 MiB claimed by six bytes.
    let claim = [0x80, 0x80, 0x80, 0x20, 0x00, 0x61];
    let limits = DecompressLimits { free_bytes: 100 << 20, ..DecompressLimits::default() };
    assert_eq!(unpack(Compression::Snappy, &claim, limits), Err(CompressionError::Corrupt { codec: Compression::Snappy }));
}

#[test]
fn lz4_and_gzip_in_other_shapes_are_read() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;
    let input = b"linked blocks and checksums ".repeat(30_000);
    let info = FrameInfo::new()
        .block_size(BlockSize::Max4MB)
        .block_mode(BlockMode::Linked)
        .content_checksum(true)
        .block_checksums(true)
        .content_size(Some(input.len() as u64));
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(&input).unwrap();
    let packed = encoder.finish().unwrap();
    assert_eq!(unpack(Compression::Lz4, &packed, DecompressLimits::default()).unwrap(), input);

    let members = [pack(Compression::Gzip, b"one "), pack(Compression::Gzip, b"two")].concat();
    assert_eq!(unpack(Compression::Gzip, &members, DecompressLimits::default()).unwrap(), b"one two");
}

#[test]
fn data_that_is_cut_off_is_corrupt() {
    let input: Vec<u8> = (0..50_000u32).flat_map(|n| (n % 251).wrapping_mul(n).to_le_bytes()).collect();
    for codec in CODECS {
        let packed = pack(codec, &input);
        // The LZ4 library takes a cut-off end mark (4 bytes) for the end. The data before it is whole; a batch that lacks a
        // block is noticed by its record count.
        let end_mark = if codec == Compression::Lz4 { 4 } else { 0 };
        for end in [1, packed.len() / 2, packed.len() - end_mark - 1] {
            let error = unpack(codec, &packed[..end], DecompressLimits::default()).map(|data| data.len());
            assert_eq!(error, Err(CompressionError::Corrupt { codec }), "{codec:?} cut at {end} of {}", packed.len());
        }
    }
}
