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
pub mod state;
pub mod tidied;
#[cfg(test)]
mod tests;

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

/// Copies `value` into `bytes` at `at`. For buffers whose size is a constant of the format.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The `N` bytes at `at`. For buffers whose size is a constant of the format.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}
