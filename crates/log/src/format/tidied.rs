//! The end of a tidied file: where its index begins.
//!
//! ```text
//! a tidied file is: file header (`file_header.rs`), frames in order of partition and offset, a queue index (`index.rs`, magic
//! "DUOLOGti"), and these 32 bytes
//!  at  bytes  field
//!   0    8    magic "DUOLOGte"
//!   8    4    format version
//!  12    4    zero
//!  16    8    where the index begins, counted in the file; the frames end there
//!  24    4    zero
//!  28    4    CRC32C of bytes 0 to 27
//! ```

use super::{FORMAT_VERSION, checksum, field, put};

pub const TIDIED_END_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"DUOLOGte";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TidiedEnd {
    pub version: u32,
    pub index_at: u64,
}

impl TidiedEnd {
    pub fn new(index_at: u64) -> TidiedEnd {
        TidiedEnd { version: FORMAT_VERSION, index_at }
    }

    pub fn encode(&self) -> [u8; TIDIED_END_BYTES] {
        let mut bytes = [0; TIDIED_END_BYTES];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &self.version.to_le_bytes());
        put(&mut bytes, 16, &self.index_at.to_le_bytes());
        let crc = checksum(&bytes[..28]);
        put(&mut bytes, 28, &crc.to_le_bytes());
        bytes
    }

    /// `None` if the bytes are damaged. The caller checks the version.
    pub fn decode(bytes: &[u8; TIDIED_END_BYTES]) -> Option<TidiedEnd> {
        if !bytes.starts_with(&MAGIC) || checksum(&bytes[..28]) != u32::from_le_bytes(field(bytes, 28)) {
            return None;
        }
        let version = u32::from_le_bytes(field(bytes, 8));
        Some(TidiedEnd { version, index_at: u64::from_le_bytes(field(bytes, 16)) })
    }
}
