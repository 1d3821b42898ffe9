//! What a message's `sysFlag` says about the compression of its body.
//!
//! Clients compress a large body with zlib, an LZ4 frame or a zstd frame; number 0 is what clients send that know of zlib only.
//! A body is unpacked up to a limit that the caller names.

use super::message::sys_flag;
use crate::record::{Compression, CompressionError, DecompressLimits, compress, decompress};
use flate2::bufread::ZlibDecoder;
use flate2::write::ZlibEncoder;
use std::io::{self, Read, Write};

/// How a body is compressed; the numbers are those of `sysFlag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyCompression {
    Lz4 = 1,
    Zstd = 2,
    Zlib = 3,
}

/// Why a body could not be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("unknown compression {number} of the body")]
    UnknownCompression { number: i32 },
    #[error("the body is damaged, or not compressed as it says ({compression:?})")]
    Corrupt { compression: BodyCompression },
}

impl BodyCompression {
    /// The compression of a message's body; `None` if it is not compressed.
    pub fn of(sys_flag: i32) -> Result<Option<BodyCompression>, BodyError> {
        if sys_flag & sys_flag::COMPRESSED == 0 {
            return Ok(None);
        }
        match (sys_flag & sys_flag::COMPRESSION_MASK) >> sys_flag::COMPRESSION_SHIFT {
            1 => Ok(Some(BodyCompression::Lz4)),
            2 => Ok(Some(BodyCompression::Zstd)),
            0 | 3 => Ok(Some(BodyCompression::Zlib)),
            number => Err(BodyError::UnknownCompression { number }),
        }
    }

    /// What `sysFlag` has of a message with such a body.
    pub fn sys_flag(self) -> i32 {
        sys_flag::COMPRESSED | (self as i32) << sys_flag::COMPRESSION_SHIFT
    }
}

/// The body as the application gave it: `body` itself, or what it was unpacked to in `buffer`.
pub fn plain_body<'a>(sys_flag: i32, body: &'a [u8], max_bytes: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], BodyError> {
    let Some(compression) = BodyCompression::of(sys_flag)? else {
        return if body.len() <= max_bytes { Ok(body) } else { Err(BodyError::TooLarge { limit: max_bytes }) };
    };
    buffer.clear();
    match compression {
        BodyCompression::Zlib => inflate(body, max_bytes, buffer)?,
        BodyCompression::Lz4 => unpack(compression, Compression::Lz4, body, max_bytes, buffer)?,
        BodyCompression::Zstd => unpack(compression, Compression::Zstd, body, max_bytes, buffer)?,
    }
    Ok(buffer)
}

fn inflate(body: &[u8], max_bytes: usize, buffer: &mut Vec<u8>) -> Result<(), BodyError> {
    let mut reader = ZlibDecoder::new(body).take(max_bytes as u64 + 1);
    reader.read_to_end(buffer).map_err(|_| BodyError::Corrupt { compression: BodyCompression::Zlib })?;
    if buffer.len() > max_bytes { Err(BodyError::TooLarge { limit: max_bytes }) } else { Ok(()) }
}

fn unpack(
    compression: BodyCompression,
    codec: Compression,
    body: &[u8],
    max_bytes: usize,
    buffer: &mut Vec<u8>,
) -> Result<(), BodyError> {
    let limits = DecompressLimits { max_bytes, max_ratio: usize::MAX, free_bytes: max_bytes };
    decompress(codec, body, limits, buffer).map_err(|error| match error {
        CompressionError::TooLarge { limit } => BodyError::TooLarge { limit },
        CompressionError::Corrupt { .. } | CompressionError::Encoder { .. } => BodyError::Corrupt { compression },
    })
}

/// Appends `body` compressed to `out`, as a client does.
pub fn compress_body(compression: BodyCompression, body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    match compression {
        BodyCompression::Zlib => {
            let mut encoder = ZlibEncoder::new(out, flate2::Compression::default());
            encoder.write_all(body)?;
            encoder.finish().map(|_| ())
        }
        BodyCompression::Lz4 => compress(Compression::Lz4, None, body, out).map_err(io::Error::other),
        BodyCompression::Zstd => compress(Compression::Zstd, None, body, out).map_err(io::Error::other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [BodyCompression; 3] = [BodyCompression::Lz4, BodyCompression::Zstd, BodyCompression::Zlib];

    fn packed(compression: BodyCompression, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress_body(compression, body, &mut out).unwrap();
        out
    }

    #[test]
    fn a_plain_body_is_itself() {
        assert_eq!(plain_body(sys_flag::COMPRESSION_MASK, b"x", 1, &mut Vec::new()), Ok(&b"x"[..]));
        assert_eq!(plain_body(0, b"xy", 1, &mut Vec::new()), Err(BodyError::TooLarge { limit: 1 }));
    }

    #[test]
    fn every_compression_is_unpacked_up_to_the_limit() {
        let body = vec![b'x'; 100_000];
        for compression in ALL {
            let bytes = packed(compression, &body);
            let mut buffer = b"of the message before".to_vec();
            assert_eq!(plain_body(compression.sys_flag(), &bytes, 100_000, &mut buffer), Ok(&body[..]), "{compression:?}");
            let short = plain_body(compression.sys_flag(), &bytes, 99_999, &mut buffer);
            assert_eq!(short, Err(BodyError::TooLarge { limit: 99_999 }), "{compression:?}");
        }
    }

    #[test]
    fn senders_that_name_no_compression_mean_zlib() {
        let bytes = packed(BodyCompression::Zlib, b"body");
        assert_eq!(plain_body(sys_flag::COMPRESSED, &bytes, 10, &mut Vec::new()), Ok(&b"body"[..]));
    }

    #[test]
    fn what_is_not_compressed_as_it_says_is_refused() {
        for compression in ALL {
            let result = plain_body(compression.sys_flag(), b"not at all", 1_000, &mut Vec::new()).map(<[u8]>::len);
            assert_eq!(result, Err(BodyError::Corrupt { compression }));
            let bytes = packed(compression, &[b'x'; 1_000]);
            let cut = plain_body(compression.sys_flag(), &bytes[..bytes.len() - 6], 1_000, &mut Vec::new()).map(<[u8]>::len);
            assert_eq!(cut, Err(BodyError::Corrupt { compression }));
        }
        let unknown = sys_flag::COMPRESSED | 5 << sys_flag::COMPRESSION_SHIFT;
        assert_eq!(plain_body(unknown, b"", 1, &mut Vec::new()), Err(BodyError::UnknownCompression { number: 5 }));
    }
}
