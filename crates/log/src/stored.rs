//! Holding batches in files to what their frames say, before a reader gets them.
//!
//! Only what is scanned at an opening is looked at then. A batch in any other file may have been damaged, or may be another one
//! that a misdirected write has put there, and the checksum with which clients check a batch does not cover where it belongs:
//! neither its offset nor its partition. The frame's header does, and its checksum of the payload follows from the payload's first bytes
//! and the checksum the batch carries. So a long batch that is sent from its file is held to its frame without being read.

use crate::format::checksum;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::{ReadPart, ReadPlan};
use bytes::Bytes;
use duolog_base::{DiskFile, Offset, PartitionNumber, Position};
use std::io;
use std::sync::Arc;

/// A batch up to this size is read whole when it is checked: that costs no more than reading its beginning.
const SHORT_BYTES: usize = 4 << 10;
/// A record batch up to the end of its checksum, which covers all that follows.
const BATCH_START_BYTES: usize = 21;
const BATCH_CRC_AT: usize = 17;

/// What the frame in front of a batch in a file must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Checks a frame that was read whole, or only as far as the batch's own checksum.
    pub(crate) fn check(&self, frame: &[u8], batch_bytes: usize) -> io::Result<()> {
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
    let rest = u32::from_be_bytes([a, b, c, d]);
    let rest_bytes = (payload_bytes - BATCH_START_BYTES) as u64;
    let algorithm = crc_fast::CrcAlgorithm::Crc32Iscsi;
    Some(crc_fast::checksum_combine(algorithm, checksum(start).into(), rest.into(), rest_bytes) as u32)
}

const _: () = assert!(BATCH_CRC_AT + size_of::<u32>() == BATCH_START_BYTES);

impl ReadPlan {
    /// Holds the ranges in files to their frames, so that what is sent from them is what was appended, and takes short ones into
    /// memory. The plan ends before the first batch that is not there; if that is the first one, it is an error. `read` fills
    /// a buffer from a position on. Ranges that it would have to wait for (an error of kind `WouldBlock`) are left unchecked, except that
    /// for the first one the error is returned.
    pub fn check(&mut self, mut read: impl FnMut(&dyn DiskFile, &mut [u8], u64) -> io::Result<()>) -> io::Result<()> {
        for at in 0..self.parts.len() {
            match check_part(&mut self.parts[at], &mut read) {
                Err(error) if at == 0 => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "a read ends here");
                    self.end_before(at);
                    return Ok(());
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn end_before(&mut self, at: usize) {
        if let ReadPart::File { frame: Some(frame), .. } = &self.parts[at] {
            self.next = frame.base_offset;
        }
        for part in self.parts.drain(at..) {
            self.bytes -= part.bytes();
        }
    }
}

impl ReadPart {
    fn bytes(&self) -> usize {
        match self {
            ReadPart::Memory(batch) => batch.len(),
            ReadPart::File { bytes, .. } => *bytes,
        }
    }
}

fn check_part(part: &mut ReadPart, mut read: impl FnMut(&dyn DiskFile, &mut [u8], u64) -> io::Result<()>) -> io::Result<()> {
    let ReadPart::File { file, position, bytes, frame: Some(frame), .. } = part else { return Ok(()) };
    let short = *bytes <= SHORT_BYTES;
    let known = if short { *bytes } else { BATCH_START_BYTES };
    let mut buffer = vec![0; FRAME_HEADER_BYTES + known];
    read(Arc::as_ref(file), &mut buffer, *position - FRAME_HEADER_BYTES as u64)?;
    frame.check(&buffer, *bytes)?;
    if short {
        *part = ReadPart::Memory(Bytes::from(buffer).slice(FRAME_HEADER_BYTES..));
    }
    Ok(())
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
