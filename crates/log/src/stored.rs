//! Holding batches in files to what their frames say, before a reader gets them.
//!
//! Only what is scanned at an opening is looked at then. A batch in any other file may have been damaged, or may be another one
//! that a misdirected write has put there, and the checksum with which clients check a batch does not cover where it belongs:
//! neither its offset nor its partition. The frame's header does, and its checksum of the payload follows from the payload's first bytes
//! and the checksum the batch carries. So a long batch that is sent from its file is held to its frame without being read.
//!
//! [`ReadPlan::materialize`] checks what it reads; whoever sends the ranges of a plan checks them when it has them in memory.

use crate::format::checksum;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::{ReadPart, ReadPlan};
use duolog_base::{Offset, PartitionNumber, Position};
use std::io;

/// A batch up to this size is read whole when it is checked: that costs no more than reading its beginning.
const SHORT_BYTES: usize = 4 << 10;
/// A record batch up to the end of its checksum, which covers all that follows.
const BATCH_START_BYTES: usize = 21;
const BATCH_CRC_AT: usize = 17;

/// What the frame in front of a batch in a file must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoredFrame {
    pub partition: PartitionNumber,
    pub base_offset: Offset,
    /// Of the frame, in the log.
    pub position: Position,
}

/// A file does not hold what the index says.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the commit log is damaged: at position {} there is not the batch with offset {} of partition {}", .0.position, .0.base_offset, .0.partition)]
struct NotThere(StoredFrame);

impl From<NotThere> for io::Error {
    fn from(error: NotThere) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

impl StoredFrame {
    /// The frame in front of its batch.
    pub const HEADER_BYTES: usize = FRAME_HEADER_BYTES;

    /// How many bytes from the beginning of its frame on tell whether a batch of this size is the right one.
    pub fn checked_bytes(batch_bytes: usize) -> usize {
        FRAME_HEADER_BYTES + if batch_bytes <= SHORT_BYTES { batch_bytes } else { BATCH_START_BYTES }
    }

    /// Checks a frame that was read whole, or only as far as [`StoredFrame::checked_bytes`]. A batch that is found to be the right one
    /// may still be damaged behind those bytes, which its own checksum tells the client.
    pub fn check(&self, frame: &[u8], batch_bytes: usize) -> io::Result<()> {
        let Some((header, batch)) = frame.split_first_chunk::<FRAME_HEADER_BYTES>() else { return Err(NotThere(*self).into()) };
        let sound = FrameHeader::decode(header).is_ok_and(|header| {
            header.kind == FrameKind::Batch
                && header.position == self.position.0
                && header.partition == self.partition.0
                && header.offset == self.base_offset.0
                && header.payload_bytes as usize == batch_bytes
                && Some(header.body_crc) == payload_checksum(batch, batch_bytes)
        });
        if sound { Ok(()) } else { Err(NotThere(*self).into()) }
    }
}

/// The checksum of a payload, which may be known by its beginning only.
fn payload_checksum(known: &[u8], payload_bytes: usize) -> Option<u32> {
    if known.len() == payload_bytes {
        return Some(checksum(known));
    }
    let start = known.first_chunk::<BATCH_START_BYTES>()?;
    let [.., a, b, c, d] = *start;
    let rest_bytes = payload_bytes.checked_sub(BATCH_START_BYTES)?;
    Some(joined(checksum(start), u32::from_be_bytes([a, b, c, d]), rest_bytes))
}

/// The checksum of two pieces, of which the second has so many bytes: the first one's moved by that many zeros, and the second one's.
/// The library's own function builds its tables anew in each call, which takes as long as reading 100 KB.
fn joined(first: u32, second: u32, second_bytes: usize) -> u32 {
    let mut moved = first;
    let mut bits = second_bytes as u64 * 8;
    for power in &POWERS {
        if bits & 1 == 1 {
            moved = product(*power, moved);
        }
        bits >>= 1;
    }
    assert_eq!(bits, 0, "no payload is that long");
    moved ^ second
}

/// CRC-32C's polynomial, the bit of the lowest power first, as all polynomials here.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x to the power of 2^n modulo the polynomial.
static POWERS: [u32; 40] = {
    let mut powers = [1 << 30; 40];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = product(powers[at - 1], powers[at - 1]);
        at += 1;
    }
    powers
};

/// The product of two polynomials modulo CRC-32C's.
const fn product(left: u32, mut right: u32) -> u32 {
    let mut product = 0;
    let mut bit = 0;
    while bit < u32::BITS {
        // Without branches: what they would depend on is as good as random.
        product ^= right & (left >> (31 - bit) & 1).wrapping_neg();
        right = right >> 1 ^ POLYNOMIAL & (right & 1).wrapping_neg();
        bit += 1;
    }
    product
}

const _: () = assert!(BATCH_CRC_AT + size_of::<u32>() == BATCH_START_BYTES);

impl ReadPlan {
    /// Leaves out the batch at this index, which lies in a file with frames, and all behind it.
    pub fn end_before(&mut self, at: usize) {
        let ReadPart::File { frame: Some(frame), .. } = &self.parts[at] else { unreachable!("the batch has a frame") };
        self.next = frame.base_offset;
        for part in self.parts.drain(at..) {
            self.bytes -= match part {
                ReadPart::Memory(batch) => batch.len(),
                ReadPart::File { bytes, .. } => bytes,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_payload_follows_from_its_beginning() {
        for length in [BATCH_START_BYTES, 61, 5_000, 1 << 20] {
            let mut payload: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
            let rest = checksum(&payload[BATCH_START_BYTES..]);
            payload[BATCH_CRC_AT..BATCH_START_BYTES].copy_from_slice(&rest.to_be_bytes());
            assert_eq!(payload_checksum(&payload[..BATCH_START_BYTES], length), Some(checksum(&payload)), "{length}");
        }
    }
}
