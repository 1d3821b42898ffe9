//! Reads the primitive values of Kafka's protocol from a slice that a peer sent.
//!
//! Every read is checked against the end of the slice, every length against what remains before anything is
//! allocated. Strings and bytes are borrowed. The generated messages call it.

use super::Records;
use duolog_base::TopicId;

/// Longest string in bytes, at any version.
pub(super) const MAX_STRING_BYTES: usize = 0x7fff;

/// Memory that the arrays of any message may take, however small it is, in bytes.
pub const MEMORY_FREE_BYTES: usize = 1 << 20;
/// Memory that the arrays of a message may take beyond that, for each byte of it. An element can take one byte on the wire and a
/// hundred in memory.
pub const MEMORY_RATIO: usize = 2;
/// The same for an answer, which we have asked for: partitions of a Metadata response take four times their bytes.
pub const RESPONSE_MEMORY_RATIO: usize = 8;

/// A position in a slice of bytes, moving forward.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    position: usize,
    /// How many bytes of memory arrays may still take.
    memory_left: usize,
}

/// Why bytes are not the message they were taken for. Positions count from the beginning of the decoder's slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{needed} bytes are needed at {position} and {remaining} are left")]
    Truncated { position: usize, needed: usize, remaining: usize },
    #[error("the length {length} at {position} is not valid")]
    InvalidLength { position: usize, length: i64 },
    #[error("the array at {position} needs {needed} bytes of memory where the message has {left} left")]
    TooMuchMemory { position: usize, needed: usize, left: usize },
    #[error("the value at {position} must not be null")]
    UnexpectedNull { position: usize },
    #[error("the string at {position} is not UTF-8")]
    InvalidUtf8 { position: usize },
    #[error("the varint at {position} has more than 32 bits")]
    VarintTooLong { position: usize },
    #[error("the tagged field that should end at {expected} ends at {position}")]
    TaggedFieldLength { position: usize, expected: usize },
    #[error("{remaining} bytes are left over at {position}")]
    TrailingBytes { position: usize, remaining: usize },
    #[error("{message} has no version {version}")]
    UnsupportedVersion { message: &'static str, version: i16 },
    #[error("{key} is not the key of a request")]
    UnknownApi { key: i16 },
}

impl<'a> Decoder<'a> {
    /// For bytes from anybody: a request, or a record that a client may have written.
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder::with_memory_ratio(bytes, MEMORY_RATIO)
    }

    /// For the answer to a request of ours.
    pub fn of_response(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder::with_memory_ratio(bytes, RESPONSE_MEMORY_RATIO)
    }

    fn with_memory_ratio(bytes: &'a [u8], ratio: usize) -> Decoder<'a> {
        let memory_left = bytes.len().saturating_mul(ratio).saturating_add(MEMORY_FREE_BYTES);
        Decoder { bytes, position: 0, memory_left }
    }

    /// How many bytes are still unread.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Succeeds if everything has been read.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            remaining => Err(DecodeError::TrailingBytes { position: self.position, remaining }),
        }
    }

    pub(super) fn expect_version(&self, message: &'static str, version: i16, low: i16, high: i16) -> Result<(), DecodeError> {
        if (low..=high).contains(&version) { Ok(()) } else { Err(DecodeError::UnsupportedVersion { message, version }) }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.position..];
        match rest.get(..count) {
            Some(taken) => {
                self.position += count;
                Ok(taken)
            }
            None => Err(DecodeError::Truncated { position: self.position, needed: count, remaining: rest.len() }),
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.bytes[self.position..].first_chunk() {
            Some(chunk) => {
                self.position += N;
                Ok(*chunk)
            }
            None => Err(DecodeError::Truncated { position: self.position, needed: N, remaining: self.remaining() }),
        }
    }

    /// Anything but zero is true.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.fixed().map(i8::from_be_bytes)
    }

    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.fixed().map(u16::from_be_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.fixed().map(u32::from_be_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.fixed().map(i64::from_be_bytes)
    }

    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        self.fixed().map(f64::from_be_bytes)
    }

    pub fn uuid(&mut self) -> Result<TopicId, DecodeError> {
        self.fixed().map(|bytes| TopicId(u128::from_be_bytes(bytes)))
    }

    /// An unsigned varint of at most 32 bits: seven bits a byte, the lowest first.
    pub fn varint(&mut self) -> Result<u32, DecodeError> {
        let start = self.position;
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong { position: start })
    }

    /// A length that is compact (a varint, one more than the length) or not; `None` stands for null.
    fn length(&mut self, compact: bool) -> Result<Option<usize>, DecodeError> {
        let position = self.position;
        let length = if compact { i64::from(self.varint()?) - 1 } else { i64::from(self.i32()?) };
        if length > i64::from(i32::MAX) {
            return Err(DecodeError::InvalidLength { position, length });
        }
        Ok(usize::try_from(length).ok())
    }

    pub fn nullable_string(&mut self, compact: bool) -> Result<Option<&'a str>, DecodeError> {
        let position = self.position;
        let length = if compact { self.length(true)? } else { usize::try_from(self.i16()?).ok() };
        let Some(length) = length else { return Ok(None) };
        if length > MAX_STRING_BYTES {
            return Err(DecodeError::InvalidLength { position, length: length as i64 });
        }
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| DecodeError::InvalidUtf8 { position })
    }

    pub fn string(&mut self, compact: bool) -> Result<&'a str, DecodeError> {
        let position = self.position;
        self.nullable_string(compact)?.ok_or(DecodeError::UnexpectedNull { position })
    }

    pub fn nullable_bytes(&mut self, compact: bool) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.length(compact)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    pub fn bytes(&mut self, compact: bool) -> Result<&'a [u8], DecodeError> {
        let position = self.position;
        self.nullable_bytes(compact)?.ok_or(DecodeError::UnexpectedNull { position })
    }

    pub fn nullable_records(&mut self, compact: bool) -> Result<Option<Records<'a>>, DecodeError> {
        Ok(self.nullable_bytes(compact)?.map(Records::Borrowed))
    }

    pub fn records(&mut self, compact: bool) -> Result<Records<'a>, DecodeError> {
        self.bytes(compact).map(Records::Borrowed)
    }

    /// An array whose elements take `least` bytes or more each, so that a false length cannot make us allocate.
    pub fn nullable_array<T>(
        &mut self,
        compact: bool,
        least: usize,
        element: impl Fn(&mut Decoder<'a>) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let position = self.position;
        let Some(count) = self.length(compact)? else { return Ok(None) };
        if count.saturating_mul(least) > self.remaining() {
            let remaining = self.remaining();
            return Err(DecodeError::Truncated { position, needed: count.saturating_mul(least), remaining });
        }
        let (needed, left) = (count.saturating_mul(size_of::<T>()), self.memory_left);
        self.memory_left = left.checked_sub(needed).ok_or(DecodeError::TooMuchMemory { position, needed, left })?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// As [`Decoder::nullable_array`], where null is an error.
    pub fn array<T>(
        &mut self,
        compact: bool,
        least: usize,
        element: impl Fn(&mut Decoder<'a>) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let position = self.position;
        self.nullable_array(compact, least, element)?.ok_or(DecodeError::UnexpectedNull { position })
    }

    /// The mark before a struct that may be null.
    pub(super) fn presence(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? >= 0)
    }

    /// The mark before a struct that may be null within a tagged field.
    pub(super) fn tagged_presence(&mut self) -> Result<bool, DecodeError> {
        Ok(self.varint()? != 0)
    }

    /// How many tagged fields follow. Each takes two bytes or more.
    pub(super) fn tag_count(&mut self) -> Result<usize, DecodeError> {
        let position = self.position;
        let count = self.varint()? as usize;
        if count.saturating_mul(2) > self.remaining() {
            let remaining = self.remaining();
            return Err(DecodeError::Truncated { position, needed: count.saturating_mul(2), remaining });
        }
        Ok(count)
    }

    /// Reads a tagged field's tag and size; gives the tag and the position where the field ends.
    pub(super) fn begin_tagged_field(&mut self) -> Result<(u32, usize), DecodeError> {
        let tag = self.varint()?;
        let size = self.varint()? as usize;
        if size > self.remaining() {
            return Err(DecodeError::Truncated { position: self.position, needed: size, remaining: self.remaining() });
        }
        Ok((tag, self.position + size))
    }

    /// Skips an unknown tagged field; `end` is what [`Decoder::begin_tagged_field`] gave.
    pub(super) fn skip_to(&mut self, end: usize) {
        debug_assert!(self.position <= end && end <= self.bytes.len());
        self.position = end;
    }

    pub(super) fn end_tagged_field(&self, end: usize) -> Result<(), DecodeError> {
        if self.position == end { Ok(()) } else { Err(DecodeError::TaggedFieldLength { position: self.position, expected: end }) }
    }

    /// Skips the section of tagged fields of a struct that has none of its own.
    pub(super) fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.tag_count()? {
            let (_, end) = self.begin_tagged_field()?;
            self.skip_to(end);
        }
        Ok(())
    }
}
