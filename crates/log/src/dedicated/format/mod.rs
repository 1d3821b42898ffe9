//! What lies in the files beside the record batches, byte for byte: Kafka's indexes, snapshots and checkpoints, and our manifest.
//!
//! Pure functions from values to bytes and back. Kafka's integers are big-endian; its text files end every line with a
//! newline. Decoders take bytes that may be damaged in any way, answer `None` for what is not sound, and never panic.

pub mod checkpoints;
pub mod indexes;
pub mod manifest;
pub mod snapshot;
pub mod transactions;

/// CRC32C (Castagnoli), which Kafka uses as well.
pub use crate::format::checksum;

/// The `N` bytes at `at`; `None` if the bytes end before.
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
