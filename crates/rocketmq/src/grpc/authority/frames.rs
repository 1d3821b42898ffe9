//! The HTTP/2 frames of a client (RFC 9113), as far as they matter here: holds each header block until it is whole, and lets
//! all else pass; called by [`super::stream`]. It does no I/O, and no two ways to cut the bytes give different results.

use super::fields::readdress;
use crate::grpc::limits::METADATA_BYTES;

/// What a client says before its first frame, in bytes.
const PREFACE_BYTES: usize = 24;
/// Length (3 bytes), kind, flags, stream (4 bytes).
const HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x04;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;
/// Bytes of a stream's priority, and of the length of padding.
const PRIORITY_BYTES: usize = 5;
const PADDING_BYTES: usize = 1;
/// Every peer takes frames as long as this.
const WRITTEN_FRAME_BYTES: usize = 16 << 10;
/// Frames of a header block that are held, and their bytes; of a larger one nothing is held, and it is refused behind.
const HELD_FRAMES: usize = 8;
pub(super) const HELD_BYTES: usize = METADATA_BYTES as usize;

/// Where in the connection's bytes it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// In what passes: the preface, or a frame's payload.
    Passing { left: usize },
    /// In the head of a frame.
    Head,
    /// In the payload of a frame that is held, maybe the last of its block.
    Holding { left: usize, is_last: bool },
    /// This client needs nothing.
    Through,
}

/// What is held of one connection, and where it is.
pub(super) struct Frames {
    place: Place,
    head: Vec<u8>,
    /// Whole frames of an unfinished header block, and the beginning of the next.
    held: Vec<u8>,
    held_frames: usize,
    /// Whether an authority has been replaced; until then, the first whole block tells whether one ever will be.
    is_needed: bool,
}

/// The head of a frame.
#[derive(Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

impl Head {
    fn read(bytes: [u8; HEAD_BYTES]) -> Head {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        Head { length: u32::from_be_bytes([0, a, b, c]) as usize, kind, flags, stream }
    }

    fn write(self, written: &mut Vec<u8>) {
        written.extend_from_slice(&(self.length as u32).to_be_bytes()[1..]);
        written.extend_from_slice(&[self.kind, self.flags]);
        written.extend_from_slice(&self.stream);
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The first frame of `bytes`, if it is whole, and what is behind it.
fn split(bytes: &[u8]) -> Option<(Head, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    let head = Head::read(*head);
    let (payload, rest) = rest.split_at_checked(head.length)?;
    Some((head, payload, rest))
}

impl Frames {
    pub(super) fn new() -> Frames {
        Frames {
            place: Place::Passing { left: PREFACE_BYTES },
            head: Vec::with_capacity(HEAD_BYTES),
            held: Vec::new(),
            held_frames: 0,
            is_needed: false,
        }
    }

    /// Whether all that follows passes, and nothing is held.
    pub(super) fn is_through(&self) -> bool {
        self.place == Place::Through
    }

    /// Takes bytes of the client, and writes what they are to the server.
    pub(super) fn take(&mut self, mut bytes: &[u8], written: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let most = match self.place {
                Place::Passing { left } | Place::Holding { left, .. } => left,
                Place::Head => HEAD_BYTES - self.head.len(),
                Place::Through => bytes.len(),
            };
            let (now, rest) = bytes.split_at(most.min(bytes.len()));
            bytes = rest;
            match self.place {
                Place::Passing { left } => {
                    written.extend_from_slice(now);
                    self.place = Place::Passing { left: left - now.len() };
                }
                Place::Holding { left, is_last } => {
                    self.held.extend_from_slice(now);
                    self.place = Place::Holding { left: left - now.len(), is_last };
                }
                Place::Head => {
                    self.head.extend_from_slice(now);
                    if let Ok(head) = self.head.as_slice().try_into() {
                        self.begin(head, written);
                        self.head.clear();
                    }
                }
                Place::Through => written.extend_from_slice(now),
            }
            match self.place {
                Place::Passing { left: 0 } => self.place = Place::Head,
                Place::Holding { left: 0, is_last: false } => self.place = Place::Head,
                Place::Holding { left: 0, is_last: true } => self.end(written),
                _ => {}
            }
        }
    }

    /// The client says no more: what is held goes on as it is.
    pub(super) fn finish(&mut self, written: &mut Vec<u8>) {
        self.release(written);
        written.append(&mut self.head);
        self.place = Place::Through;
    }

    /// A frame begins.
    fn begin(&mut self, bytes: [u8; HEAD_BYTES], written: &mut Vec<u8>) {
        let head = Head::read(bytes);
        let goes_on = split(&self.held).is_some_and(|(first, ..)| head.kind == CONTINUATION && head.stream == first.stream);
        if !goes_on {
            self.release(written);
        }
        let has_room = self.held_frames < HELD_FRAMES && self.held.len() + HEAD_BYTES + head.length <= HELD_BYTES;
        if has_room && (goes_on || head.kind == HEADERS) {
            self.held.extend_from_slice(&bytes);
            self.held_frames += 1;
            self.place = Place::Holding { left: head.length, is_last: head.has(END_HEADERS) };
        } else {
            self.release(written);
            written.extend_from_slice(&bytes);
            self.place = Place::Passing { left: head.length };
        }
    }

    /// The block that is held is whole.
    fn end(&mut self, written: &mut Vec<u8>) {
        let block = Block::read(&self.held);
        if let Some((block, fields)) = block.and_then(|block| readdress(&block.fields).map(|fields| (block, fields))) {
            Block { fields, ..block }.write(written);
            self.held.clear();
            self.is_needed = true;
        }
        self.release(written);
        self.place = if self.is_needed { Place::Head } else { Place::Through };
    }

    fn release(&mut self, written: &mut Vec<u8>) {
        written.append(&mut self.held);
        self.held_frames = 0;
    }
}

/// A header block, whatever frames it came in.
struct Block {
    stream: [u8; 4],
    /// Those that do not say how it is written: the end of the stream, and that it has a priority.
    flags: u8,
    priority: Vec<u8>,
    fields: Vec<u8>,
}

/// The priority and the fields in the payload of a HEADERS frame, without the padding.
fn fields_of(head: Head, mut payload: &[u8]) -> Option<(&[u8], &[u8])> {
    if head.has(PADDED) {
        let (padding, rest) = payload.split_at_checked(PADDING_BYTES)?;
        payload = &rest[..rest.len().checked_sub(usize::from(padding[0]))?];
    }
    payload.split_at_checked(if head.has(PRIORITY) { PRIORITY_BYTES } else { 0 })
}

impl Block {
    /// Reads whole frames, unless the first contradicts itself.
    fn read(frames: &[u8]) -> Option<Block> {
        let (first, payload, mut rest) = split(frames)?;
        let (priority, fields) = fields_of(first, payload)?;
        let mut fields = fields.to_vec();
        while let Some((_, payload, behind)) = split(rest) {
            fields.extend_from_slice(payload);
            rest = behind;
        }
        let flags = first.flags & !(PADDED | END_HEADERS);
        Some(Block { stream: first.stream, flags, priority: priority.to_vec(), fields })
    }

    /// Writes it in as few frames as it needs.
    fn write(&self, written: &mut Vec<u8>) {
        let (now, mut rest) = self.fields.split_at(self.fields.len().min(WRITTEN_FRAME_BYTES - self.priority.len()));
        let end = if rest.is_empty() { END_HEADERS } else { 0 };
        let length = self.priority.len() + now.len();
        Head { length, kind: HEADERS, flags: self.flags | end, stream: self.stream }.write(written);
        written.extend_from_slice(&self.priority);
        written.extend_from_slice(now);
        while !rest.is_empty() {
            let (now, behind) = rest.split_at(rest.len().min(WRITTEN_FRAME_BYTES));
            let flags = if behind.is_empty() { END_HEADERS } else { 0 };
            Head { length: now.len(), kind: CONTINUATION, flags, stream: self.stream }.write(written);
            written.extend_from_slice(now);
            rest = behind;
        }
    }
}

#[cfg(test)]
mod tests;
