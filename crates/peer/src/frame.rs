//! Frames of an authenticated connection.
//!
//! ```text
//! frame = length u32 | kind u8 | call u64 | detail u16 | body        length: of what follows it; big-endian
//! ```
//! `detail` is the kind of a call, or why it was refused.

use crate::service::CallRefusal;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

/// Longest frame, in bytes.
pub const MAX_FRAME_BYTES: usize = 64 << 20;
/// Longest body of a call or an answer, in bytes.
pub const MAX_BODY_BYTES: usize = MAX_FRAME_BYTES - HEADER_BYTES;
pub(crate) const HEADER_BYTES: usize = 15;
const LENGTH_BYTES: usize = 4;
/// Room made at a time for what arrives, in bytes: memory is taken for bytes that came, not for those announced.
const READ_STEP_BYTES: usize = 256 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Call,
    Answer,
    Refused,
    /// Asks for a sign of life.
    Ping,
    Pong,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: FrameKind,
    pub(crate) call: u64,
    pub(crate) detail: u16,
    pub(crate) body: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameProblem {
    #[error("a frame of {bytes} bytes is over the limit of {MAX_FRAME_BYTES}")]
    Oversize { bytes: usize },
    #[error("a frame of {bytes} bytes has no room for its header")]
    Undersize { bytes: usize },
    #[error("no frame is of kind {kind}")]
    UnknownKind { kind: u8 },
}

/// The header with the length of a body of `body_bytes`.
pub(crate) fn header(kind: FrameKind, call: u64, detail: u16, body_bytes: usize) -> [u8; HEADER_BYTES] {
    let length = HEADER_BYTES - LENGTH_BYTES + body_bytes;
    assert!(length <= MAX_FRAME_BYTES, "checked before it is sent");
    let mut bytes = [0; HEADER_BYTES];
    let mut out = &mut bytes[..];
    out.put_u32(length as u32);
    out.put_u8(kind as u8);
    out.put_u64(call);
    out.put_u16(detail);
    bytes
}

/// Whether a body of this length fits into a frame.
pub(crate) fn fits(body_bytes: usize) -> bool {
    body_bytes <= MAX_BODY_BYTES
}

/// Takes a whole frame off the front; `None` if it is not all there.
pub(crate) fn take(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameProblem> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(FrameProblem::Oversize { bytes: length });
    }
    if length < HEADER_BYTES - LENGTH_BYTES {
        return Err(FrameProblem::Undersize { bytes: length });
    }
    if buffer.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    let mut frame = buffer.split_to(LENGTH_BYTES + length).freeze();
    frame.advance(LENGTH_BYTES);
    let kind = match frame.get_u8() {
        0 => FrameKind::Call,
        1 => FrameKind::Answer,
        2 => FrameKind::Refused,
        3 => FrameKind::Ping,
        4 => FrameKind::Pong,
        kind => return Err(FrameProblem::UnknownKind { kind }),
    };
    let (call, detail) = (frame.get_u64(), frame.get_u16());
    Ok(Some(Frame { kind, call, detail, body: frame }))
}

/// When bytes last arrived on a connection.
#[derive(Clone)]
pub(crate) struct Heard(Arc<Mutex<Instant>>);

impl Heard {
    pub(crate) fn silent_for(&self) -> Duration {
        self.0.lock().elapsed()
    }
}

/// Reads frames off a connection.
pub(crate) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    heard: Heard,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(stream: R) -> FrameReader<R> {
        FrameReader { stream, buffer: BytesMut::new(), heard: Heard(Arc::new(Mutex::new(Instant::now()))) }
    }

    pub(crate) fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// The next frame; `None` at the end of the connection. Nothing is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let taken = take(&mut self.buffer).map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))?;
            if taken.is_some() {
                return Ok(taken);
            }
            self.buffer.reserve(READ_STEP_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
            *self.heard.0.lock() = Instant::now();
        }
    }
}

pub(crate) fn refusal_code(refusal: CallRefusal) -> u16 {
    match refusal {
        CallRefusal::NotServed => 1,
        CallRefusal::Malformed => 2,
        CallRefusal::Busy => 3,
        CallRefusal::Stopping => 4,
    }
}

/// A code of a later version counts as one that may pass.
pub(crate) fn refusal(code: u16) -> CallRefusal {
    match code {
        1 => CallRefusal::NotServed,
        2 => CallRefusal::Malformed,
        4 => CallRefusal::Stopping,
        _ => CallRefusal::Busy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_taken_once_it_is_whole() {
        let mut bytes = header(FrameKind::Answer, 7, 9, 3).to_vec();
        bytes.extend_from_slice(b"abc");
        let mut buffer = BytesMut::from(&bytes[..bytes.len() - 1]);
        assert_eq!(take(&mut buffer), Ok(None));
        buffer.extend_from_slice(b"cd");
        let frame = Frame { kind: FrameKind::Answer, call: 7, detail: 9, body: Bytes::from_static(b"abc") };
        assert_eq!((take(&mut buffer), &buffer[..]), (Ok(Some(frame)), &b"d"[..]));
    }

    #[test]
    fn lengths_out_of_bounds_are_refused_before_anything_follows() {
        let take_length = |length: u32| take(&mut BytesMut::from(&length.to_be_bytes()[..]));
        assert_eq!(take_length(MAX_FRAME_BYTES as u32 + 1), Err(FrameProblem::Oversize { bytes: MAX_FRAME_BYTES + 1 }));
        assert_eq!(take_length(10), Err(FrameProblem::Undersize { bytes: 10 }));
        assert_eq!(take_length(11), Ok(None));
    }

    #[test]
    fn every_refusal_has_a_code_of_its_own() {
        for each in [CallRefusal::NotServed, CallRefusal::Malformed, CallRefusal::Busy, CallRefusal::Stopping] {
            assert_eq!(refusal(refusal_code(each)), each);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = take(&mut buffer) {
                prop_assert!(frame.body.len() <= bytes.len());
            }
        }
    }
}
