//! The codecs of a batch's records: gzip, snappy, lz4, zstd.
//!
//! Decompression is streamed and stops at a limit that is known before the first byte is unpacked, so that a few
//! kilobytes from a client cannot become gigabytes here. Which errors the libraries report is not told on: a block is either
//! [`CompressionError::Corrupt`] or [`CompressionError::TooLarge`].
//!
//! Lz4's old frame format is refused, as Kafka does: its blocks are 8 MiB, twice what any other takes.
//!
//! Snappy is written in the block framing of the Java library (xerial), as Kafka's clients do, and read with or without it.

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use std::cell::RefCell;
use std::io::{self, BufReader, Read, Write};

/// A codec; the numbers are those of the batch attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Compression {
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    pub fn from_id(id: u8) -> Option<Compression> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// The name in Kafka's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    pub fn from_name(name: &str) -> Option<Compression> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

/// How much decompression may yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressLimits {
    /// Never more than this many bytes.
    pub max_bytes: usize,
    /// Not more than this many times the input, once the output exceeds `free_bytes`.
    pub max_ratio: usize,
    /// Output up to this size is allowed at any ratio: small batches of equal records compress extremely well.
    pub free_bytes: usize,
}

impl Default for DecompressLimits {
    fn default() -> Self {
        DecompressLimits { max_bytes: 100 << 20, max_ratio: 1_000, free_bytes: 16 << 20 }
    }
}

impl DecompressLimits {
    /// Bytes that `input_bytes` of compressed data may become.
    fn allowed(&self, input_bytes: usize) -> usize {
        input_bytes.saturating_mul(self.max_ratio).max(self.free_bytes).min(self.max_bytes)
    }
}

/// Why a block could not be packed or unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    #[error("records decompress to more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("corrupt {} data", codec.name())]
    Corrupt { codec: Compression },
    #[error("the {} encoder failed", codec.name())]
    Encoder { codec: Compression },
}

/// Bytes asked of a streaming decoder at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Start of lz4's old frame format.
const LZ4_LEGACY_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// Start of the Java snappy library's framing, followed by two 32-bit version numbers.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_HEADER_BYTES: usize = 16;
/// Uncompressed bytes in each of its blocks.
const XERIAL_BLOCK_BYTES: usize = 32 << 10;
/// One snappy copy element of three bytes yields at most 64, so no honest length exceeds the input by more.
const SNAPPY_MAX_RATIO: usize = 64;
/// Level when the configuration names none: Kafka's defaults.
const GZIP_DEFAULT_LEVEL: u32 = 6;
const GZIP_LEVELS: std::ops::RangeInclusive<i32> = 1..=9;
const ZSTD_DEFAULT_LEVEL: i32 = 3;

/// Appends the decompressed `input` to `out`, which on an error holds an unspecified part of it.
pub fn decompress(codec: Compression, input: &[u8], limits: DecompressLimits, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let limit = limits.allowed(input.len());
    match codec {
        Compression::None if input.len() > limits.max_bytes => Err(CompressionError::TooLarge { limit: limits.max_bytes }),
        Compression::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => read_limited(MultiGzDecoder::new(input), codec, limit, out),
        Compression::Snappy => decompress_snappy(input, limit, out),
        Compression::Lz4 if input.starts_with(&LZ4_LEGACY_MAGIC) => Err(CompressionError::Corrupt { codec }),
        Compression::Lz4 => read_limited(FrameDecoder::new(input), codec, limit, out),
        Compression::Zstd => decompress_zstd(input, limit, out),
    }
}

fn read_limited(mut reader: impl Read, codec: Compression, limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let start = out.len();
    loop {
        let filled = out.len();
        out.resize(filled + CHUNK_BYTES, 0);
        // The input is in memory, so that the only errors are the data's.
        let read = reader.read(&mut out[filled..]).map_err(|_| CompressionError::Corrupt { codec })?;
        out.truncate(filled + read);
        if out.len() - start > limit {
            return Err(CompressionError::TooLarge { limit });
        }
        if read == 0 {
            return Ok(());
        }
    }
}

fn decompress_zstd(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    thread_local! {
        // A context is some 100 KB; one a thread serves all batches that thread unpacks.
        static CONTEXT: RefCell<zstd::zstd_safe::DCtx<'static>> = RefCell::new(zstd::zstd_safe::DCtx::create());
    }
    let codec = Compression::Zstd;
    CONTEXT.with_borrow_mut(|context| {
        context.reset(zstd::zstd_safe::ResetDirective::SessionOnly).map_err(|_| CompressionError::Corrupt { codec })?;
        let reader = BufReader::with_capacity(CHUNK_BYTES, input);
        read_limited(zstd::stream::read::Decoder::with_context(reader, context), codec, limit, out)
    })
}

fn decompress_snappy(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    const CORRUPT: CompressionError = CompressionError::Corrupt { codec: Compression::Snappy };
    if !input.starts_with(&XERIAL_MAGIC) {
        return decompress_snappy_block(input, limit, limit, out);
    }
    let start = out.len();
    let mut rest = input.get(XERIAL_HEADER_BYTES..).ok_or(CORRUPT)?;
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| CORRUPT)?;
        let (block, behind) = behind.split_at_checked(length).ok_or(CORRUPT)?;
        decompress_snappy_block(block, limit - (out.len() - start), limit, out)?;
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { Err(CORRUPT) }
}

fn decompress_snappy_block(block: &[u8], room: usize, limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    const CORRUPT: CompressionError = CompressionError::Corrupt { codec: Compression::Snappy };
    let bytes = snap::raw::decompress_len(block).map_err(|_| CORRUPT)?;
    if bytes > room {
        return Err(CompressionError::TooLarge { limit });
    }
    if bytes / SNAPPY_MAX_RATIO > block.len() {
        return Err(CORRUPT);
    }
    let start = out.len();
    out.resize(start + bytes, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(|_| CORRUPT)?;
    Ok(())
}

/// Appends the compressed `input` to `out`. `level` is the codec's own scale; out-of-range levels are clamped, codecs without
/// levels ignore it.
pub fn compress(codec: Compression, level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let packed = match codec {
        Compression::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => compress_gzip(level, input, out),
        Compression::Snappy => compress_snappy(input, out),
        Compression::Lz4 => compress_lz4(input, out),
        Compression::Zstd => zstd::stream::copy_encode(input, out, level.unwrap_or(ZSTD_DEFAULT_LEVEL)),
    };
    packed.map_err(|_| CompressionError::Encoder { codec })
}

fn compress_gzip(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let level = level.map_or(GZIP_DEFAULT_LEVEL, |level| level.clamp(*GZIP_LEVELS.start(), *GZIP_LEVELS.end()) as u32);
    let mut encoder = GzEncoder::new(out, flate2::Compression::new(level));
    encoder.write_all(input)?;
    encoder.finish()?;
    Ok(())
}

/// Independent blocks of 64 KB without content checksum, as Kafka's own encoder writes them.
fn compress_lz4(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input)?;
    encoder.finish()?;
    Ok(())
}

fn compress_snappy(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&XERIAL_VERSIONS);
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(XERIAL_BLOCK_BYTES) {
        let packed = encoder.compress_vec(block).map_err(io::Error::other)?;
        out.extend_from_slice(&(packed.len() as i32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(())
}
