//! A frame: 64 bytes of header, then the payload, padded with zeros to a multiple of eight.
//!
//! ```text
//!  at  bytes  field
//!   0    4    magic "DLf1"
//!   4    1    kind
//!   5    1    encoding of the payload (0: as it is)
//!   6    2    zero
//!   8    8    position of this frame in the log
//!  16    8    tag filter of the batch
//!  24    8    offset: base offset of the batch, or the kind's own offset
//!  32    4    generation of the log when the frame was written
//!  36    4    partition number
//!  40    4    payload bytes
//!  44    4    leader epoch
//!  48    4    last offset delta of the batch
//!  52    4    lag: how far the log was durable when the frame was written, in units of 8 bytes before its position
//!  56    4    CRC32C of the payload
//!  60    4    CRC32C of bytes 0 to 59
//! ```
//! The position and the generation tell a frame from what a recycled file or a cut tail left at the same place. The lag says
//! which bytes before this frame were on disk for good when it was written: damage there is corruption, damage after it may
//! be a torn tail.

use super::{aligned, checksum, field, put};

pub const FRAME_HEADER_BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"DLf1";

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// A record batch of a partition; the payload is the batch.
    Batch = 1,
    /// Cuts a partition's end to `offset`; the payload is its state after that, as in a state section.
    Truncation = 2,
    /// Raises the log start of a partition to `offset`.
    LogStart = 3,
    /// Forgets a partition.
    Drop = 4,
    /// The log was opened; `generation` counts from here on.
    GenerationStart = 5,
}

impl FrameKind {
    fn from_number(number: u8) -> Option<FrameKind> {
        match number {
            1 => Some(FrameKind::Batch),
            2 => Some(FrameKind::Truncation),
            3 => Some(FrameKind::LogStart),
            4 => Some(FrameKind::Drop),
            5 => Some(FrameKind::GenerationStart),
            _ => None,
        }
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub kind: FrameKind,
    pub encoding: u8,
    pub position: u64,
    pub tag_filter: u64,
    pub offset: i64,
    pub generation: u32,
    pub partition: u32,
    pub payload_bytes: u32,
    pub leader_epoch: i32,
    pub last_offset_delta: i32,
    /// Everything before this position was on disk for good when the frame was written (rounded down).
    pub durable: u64,
    pub body_crc: u32,
}

/// Why 64 bytes are not the header of a frame that this binary can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameHeaderError {
    /// No magic, or a wrong checksum.
    NotAFrame,
    /// Intact, but of a kind or encoding that this binary does not know.
    Unknown { kind: u8, encoding: u8 },
}

/// Bytes a frame with this payload takes in the file.
pub const fn frame_bytes(payload_bytes: usize) -> u64 {
    FRAME_HEADER_BYTES as u64 + aligned(payload_bytes as u64)
}

impl FrameHeader {
    /// Where the next frame begins.
    pub fn end(&self) -> u64 {
        self.position + frame_bytes(self.payload_bytes as usize)
    }

    pub fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let lag = (self.position.saturating_sub(self.durable)).div_ceil(8).min(u32::MAX.into()) as u32;
        put(&mut bytes, 0, &MAGIC);
        bytes[4] = self.kind as u8;
        bytes[5] = self.encoding;
        put(&mut bytes, 8, &self.position.to_le_bytes());
        put(&mut bytes, 16, &self.tag_filter.to_le_bytes());
        put(&mut bytes, 24, &self.offset.to_le_bytes());
        put(&mut bytes, 32, &self.generation.to_le_bytes());
        put(&mut bytes, 36, &self.partition.to_le_bytes());
        put(&mut bytes, 40, &self.payload_bytes.to_le_bytes());
        put(&mut bytes, 44, &self.leader_epoch.to_le_bytes());
        put(&mut bytes, 48, &self.last_offset_delta.to_le_bytes());
        put(&mut bytes, 52, &lag.to_le_bytes());
        put(&mut bytes, 56, &self.body_crc.to_le_bytes());
        let crc = checksum(&bytes[..60]);
        put(&mut bytes, 60, &crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<FrameHeader, FrameHeaderError> {
        if !begins_frame(bytes) || checksum(&bytes[..60]) != u32::from_le_bytes(field(bytes, 60)) {
            return Err(FrameHeaderError::NotAFrame);
        }
        let (kind, encoding) = (bytes[4], bytes[5]);
        let Some(known) = FrameKind::from_number(kind).filter(|_| encoding == 0) else {
            return Err(FrameHeaderError::Unknown { kind, encoding });
        };
        let position = u64::from_le_bytes(field(bytes, 8));
        let lag = u64::from(u32::from_le_bytes(field(bytes, 52))) * 8;
        Ok(FrameHeader {
            kind: known,
            encoding,
            position,
            tag_filter: u64::from_le_bytes(field(bytes, 16)),
            offset: i64::from_le_bytes(field(bytes, 24)),
            generation: u32::from_le_bytes(field(bytes, 32)),
            partition: u32::from_le_bytes(field(bytes, 36)),
            payload_bytes: u32::from_le_bytes(field(bytes, 40)),
            leader_epoch: i32::from_le_bytes(field(bytes, 44)),
            last_offset_delta: i32::from_le_bytes(field(bytes, 48)),
            durable: position.saturating_sub(lag),
            body_crc: u32::from_le_bytes(field(bytes, 56)),
        })
    }
}

/// A quick look for the magic, before the checksum is computed.
pub fn begins_frame(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_rounded_so_that_less_is_claimed_durable() {
        let header = FrameHeader {
            kind: FrameKind::Batch,
            encoding: 0,
            position: 4096,
            tag_filter: 0,
            offset: 0,
            generation: 1,
            partition: 1,
            payload_bytes: 0,
            leader_epoch: 0,
            last_offset_delta: 0,
            durable: 4001,
            body_crc: 0,
        };
        let decoded = FrameHeader::decode(&header.encode()).unwrap();
        assert_eq!(decoded.durable, 4000);
        assert_eq!(FrameHeader { durable: 4000, ..header }, decoded);
    }
}
