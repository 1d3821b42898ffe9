//! The first 64 bytes of a commit log file.
//!
//! ```text
//!  at  bytes  field
//!   0    8    magic "DUOLOGcl"
//!   8    4    format version
//!  12    4    generation of the log when the file was begun
//!  16    8    base: position of this header in the log; the file's name says the same
//!  24   36    zero
//!  60    4    CRC32C of bytes 0 to 59
//! ```

use super::{FORMAT_VERSION, checksum, field, put};

pub const FILE_HEADER_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"DUOLOGcl";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    pub version: u32,
    pub generation: u32,
    pub base: u64,
}

impl FileHeader {
    pub fn new(generation: u32, base: u64) -> FileHeader {
        FileHeader { version: FORMAT_VERSION, generation, base }
    }

    pub fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = [0; FILE_HEADER_BYTES];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &self.version.to_le_bytes());
        put(&mut bytes, 12, &self.generation.to_le_bytes());
        put(&mut bytes, 16, &self.base.to_le_bytes());
        let crc = checksum(&bytes[..60]);
        put(&mut bytes, 60, &crc.to_le_bytes());
        bytes
    }

    /// `None` if the bytes are damaged or were never written. The caller checks version and base.
    pub fn decode(bytes: &[u8; FILE_HEADER_BYTES]) -> Option<FileHeader> {
        if !bytes.starts_with(&MAGIC) || checksum(&bytes[..60]) != u32::from_le_bytes(field(bytes, 60)) {
            return None;
        }
        Some(FileHeader {
            version: u32::from_le_bytes(field(bytes, 8)),
            generation: u32::from_le_bytes(field(bytes, 12)),
            base: u64::from_le_bytes(field(bytes, 16)),
        })
    }
}
