//! Writes the primitive values of Kafka's protocol into a growing buffer.
//!
//! Record batches need not be copied: [`Records::External`] writes only their length and leaves a [`Cut`], the place
//! where the caller sends them from elsewhere. The generated messages call it, and those who send frames.

use super::Records;
use super::decoder::MAX_STRING_BYTES;
use bytes::{BufMut, BytesMut};
use duolog_base::TopicId;

/// Bytes under construction.
#[derive(Debug, Default)]
pub struct Encoder {
    buffer: BytesMut,
    cuts: Vec<Cut>,
    /// Sum of the bytes of all cuts.
    external: usize,
}

/// A place in the buffer where bytes from elsewhere belong. Cuts are in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Position in the encoder's buffer: what lies before goes out first.
    pub at: usize,
    /// How many bytes belong there.
    pub bytes: usize,
}

/// Why a message cannot be written as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{message} has no version {version}")]
    UnsupportedVersion { message: &'static str, version: i16 },
    #[error("{message} has no field {field} at version {version}")]
    UnsupportedField { message: &'static str, field: &'static str, version: i16 },
    #[error("{field} of {message} must not be null")]
    UnexpectedNull { message: &'static str, field: &'static str },
    #[error("{length} is too long")]
    TooLong { length: usize },
}

/// The error for a value that a version cannot carry.
pub(crate) fn unsupported(message: &'static str, field: &'static str, version: i16) -> EncodeError {
    EncodeError::UnsupportedField { message, field, version }
}

/// The value of a field that may not be null at the version being written.
pub(crate) fn required<T>(value: Option<T>, message: &'static str, field: &'static str) -> Result<T, EncodeError> {
    value.ok_or(EncodeError::UnexpectedNull { message, field })
}

impl Encoder {
    pub fn new() -> Encoder {
        Encoder::default()
    }

    pub fn with_capacity(bytes: usize) -> Encoder {
        Encoder { buffer: BytesMut::with_capacity(bytes), cuts: Vec::new(), external: 0 }
    }

    /// What has been written, without what belongs into the cuts.
    pub fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// The size of everything: the buffer and what belongs into the cuts.
    pub fn total_bytes(&self) -> usize {
        self.buffer.len() + self.external
    }

    pub fn into_parts(self) -> (BytesMut, Vec<Cut>) {
        (self.buffer, self.cuts)
    }

    /// Overwrites four bytes written earlier, such as a length that was not known then.
    pub fn patch_i32(&mut self, at: usize, value: i32) {
        self.buffer[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    pub(super) fn expect_version(&self, message: &'static str, version: i16, low: i16, high: i16) -> Result<(), EncodeError> {
        if (low..=high).contains(&version) { Ok(()) } else { Err(EncodeError::UnsupportedVersion { message, version }) }
    }

    pub fn bool(&mut self, value: bool) {
        self.buffer.put_u8(u8::from(value));
    }

    pub fn i8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    pub fn i16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.buffer.put_u16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.buffer.put_u32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    pub fn f64(&mut self, value: f64) {
        self.buffer.put_f64(value);
    }

    pub fn uuid(&mut self, value: TopicId) {
        self.buffer.put_u128(value.0);
    }

    /// An unsigned varint: seven bits a byte, the lowest first.
    pub fn varint(&mut self, value: u32) {
        let (bytes, length) = varint(value);
        self.buffer.put_slice(&bytes[..length]);
    }

    /// A length that is compact (a varint, one more than the length) or not.
    fn length(&mut self, length: usize, compact: bool) -> Result<(), EncodeError> {
        let short = i32::try_from(length).map_err(|_| EncodeError::TooLong { length })?;
        if compact {
            self.varint(short as u32 + 1)
        } else {
            self.i32(short)
        }
        Ok(())
    }

    fn null(&mut self, compact: bool) {
        if compact { self.varint(0) } else { self.i32(-1) }
    }

    pub fn string(&mut self, value: &str, compact: bool) -> Result<(), EncodeError> {
        let length = value.len();
        if length > MAX_STRING_BYTES {
            return Err(EncodeError::TooLong { length });
        }
        if compact {
            self.length(length, true)?
        } else {
            self.i16(length as i16)
        }
        self.buffer.put_slice(value.as_bytes());
        Ok(())
    }

    pub fn nullable_string(&mut self, value: Option<&str>, compact: bool) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.string(value, compact)?,
            None if compact => self.varint(0),
            None => self.i16(-1),
        }
        Ok(())
    }

    pub fn bytes(&mut self, value: &[u8], compact: bool) -> Result<(), EncodeError> {
        self.length(value.len(), compact)?;
        self.buffer.put_slice(value);
        Ok(())
    }

    pub fn nullable_bytes(&mut self, value: Option<&[u8]>, compact: bool) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.bytes(value, compact)?,
            None => self.null(compact),
        }
        Ok(())
    }

    pub fn records(&mut self, value: Records<'_>, compact: bool) -> Result<(), EncodeError> {
        match value {
            Records::Borrowed(bytes) => self.bytes(bytes, compact)?,
            Records::External(bytes) => {
                self.length(bytes, compact)?;
                self.cuts.push(Cut { at: self.buffer.len(), bytes });
                self.external += bytes;
            }
        }
        Ok(())
    }

    pub fn nullable_records(&mut self, value: Option<Records<'_>>, compact: bool) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.records(value, compact)?,
            None => self.null(compact),
        }
        Ok(())
    }

    /// Begins an array; its elements follow.
    pub fn array_length(&mut self, count: usize, compact: bool) -> Result<(), EncodeError> {
        self.length(count, compact)
    }

    pub fn null_array(&mut self, compact: bool) {
        self.null(compact);
    }

    /// The mark before a struct that may be null.
    pub(super) fn presence(&mut self, present: bool) {
        self.i8(if present { 1 } else { -1 });
    }

    /// The mark before a struct that may be null within a tagged field.
    pub(super) fn tagged_presence(&mut self, present: bool) {
        self.varint(u32::from(present));
    }

    /// Begins the section of tagged fields; they follow in ascending order of their tags.
    pub(super) fn tag_count(&mut self, count: usize) -> Result<(), EncodeError> {
        let count = u32::try_from(count).map_err(|_| EncodeError::TooLong { length: count })?;
        self.varint(count);
        Ok(())
    }

    /// Writes the tag; the field's value follows, then [`Encoder::end_tagged_field`] with what this returns.
    pub(super) fn begin_tagged_field(&mut self, tag: u32) -> usize {
        self.varint(tag);
        self.buffer.len()
    }

    /// Inserts the size before the value, which moves by the one or few bytes that takes.
    pub(super) fn end_tagged_field(&mut self, start: usize) -> Result<(), EncodeError> {
        debug_assert!(self.cuts.last().is_none_or(|cut| cut.at < start), "no message has records in a tagged field");
        let size = self.buffer.len() - start;
        let (prefix, length) = varint(u32::try_from(size).map_err(|_| EncodeError::TooLong { length: size })?);
        self.buffer.put_bytes(0, length);
        self.buffer.copy_within(start..start + size, start + length);
        self.buffer[start..start + length].copy_from_slice(&prefix[..length]);
        Ok(())
    }
}

fn varint(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    (bytes, length + 1)
}
