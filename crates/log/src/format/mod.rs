//! What lies on disk, byte for byte: frames, file headers, queue indexes and the state beside them.
//!
//! Pure functions from values to bytes and back; no I/O. Numbers here are stable for good: `docs/storage-format.md` has the byte
//! maps, golden files hold them fixed. All integers are little-endian, all structures 8-byte aligned. Decoders take bytes
//! that may be damaged in any way: they answer `None` or an error and never panic.
//!
//! Called by the writer, by recovery, by sealing and by the inspection tools.

pub mod file_header;
pub mod frame;
pub mod index;
pub mod keys;
mod runs;
pub mod state;
#[cfg(test)]
mod tests;
pub mod tidied;

/// Version of everything in a data directory's `shared/`. A newer one than this is refused.
pub const FORMAT_VERSION: u32 = 1;

/// Frames begin at multiples of this.
pub const ALIGNMENT: u64 = 8;

/// `bytes` rounded up to the alignment of frames.
pub const fn aligned(bytes: u64) -> u64 {
    (bytes + ALIGNMENT - 1) & !(ALIGNMENT - 1)
}

/// CRC32C (Castagnoli).
pub fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// The [`checksum`] of bytes that come in parts.
pub struct Checksum(crc_fast::Digest);

impl Default for Checksum {
    fn default() -> Self {
        Checksum(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }
}

impl Checksum {
    pub fn add(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    pub fn value(&self) -> u32 {
        self.0.finalize() as u32
    }
}

/// Copies `value` into `bytes` at `at`. For buffers whose size is a constant of the format.
fn put<const N: usize>(bytes: &mut [u8], at: usize, value: &[u8; N]) {
    // As an array of known size, so that it is a store and no call.
    *bytes[at..].first_chunk_mut().expect("the format's buffers have room for their fields") = *value;
}

/// The `N` bytes at `at`. For buffers whose size is a constant of the format.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the format's buffers hold their fields")
}
